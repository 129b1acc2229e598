/* Edits that are superseded and answered still, as a version without them waits: they can be taken back. */
#include "tests/unit/coordinator/candidate_fixture.h"

#define FACT_1_AGAIN "{\"prompt\":\"What is fact 1?\",\"subject\":\"fact 1\",\"target_new\":\"another\"}"

/* What a candidate supersedes is answered until that is published, and may be taken back meanwhile. */
static void test_what_is_superseded_and_served_is_revoked(void **state)
{
	struct cluster *c = *state;
	struct store_edit edit, by;
	struct fact f;
	served_facts(c, &f);
	edit_get(c, client_submit_one(c, FACT_1_AGAIN, 0), &by);
	assert_int_equal(worker_turn(&c->worker, f.shard, f.epoch), 0);
	assert_int_equal(edit_state(c, f.seq), STORE_EDIT_STATE_SUPERSEDED);
	assert_false(removed_in(c, newest(c), f.seq));
	struct revoked r = client_revoke(c, f.edit.id, NULL, false);
	assert_int_equal(r.code, 0);
	assert_int_equal(r.version, 2);
	assert_int_equal(r.revoked_count, 1);
	assert_true(removed_in(c, 2, f.seq));
	edit_get(c, f.seq, &edit);
	assert_int_equal(edit.state, STORE_EDIT_STATE_SUPERSEDED);
	assert_int_equal(edit.superseded_by, by.seq);
	assert_non_null(strstr(edit.reason, ", then revoked: "));
	assert_true(event_says(c, edit.ended_event, STORE_EVENT_EDIT_REVOKED, &c->client, "\"seqs\":["));
	assert_true(shard_of(c, f.shard).removal_count > 0);
	assert_true(client_revoke(c, f.edit.id, NULL, false).already);
	end_clear(&c->worker);
	end_clear(&c->node);
	cluster_restart(c);
	assert_true(client_revoke(c, f.edit.id, NULL, false).already);
	assert_int_equal(approve(c).version, 3);
	assert_true(removed_in(c, 3, f.seq));
	/* what was taken back does not come back */
	r = client_revoke(c, by.id, NULL, true);
	assert_int_equal(r.code, 0);
	assert_int_equal(r.restored_count, 0);
}

static void test_what_is_superseded_and_served_expires(void **state)
{
	struct cluster *c = *state;
	char record[200], time[ENV_TIME_BYTES];
	struct store_edit edit;
	struct fact f;
	served_facts(c, &f);
	env_time_format(env_wall_ms(&c->clock.env) + 20000, time);
	snprintf(record, sizeof record,
		 "{\"prompt\":\"What is x?\",\"target_new\":\"t\",\"subject\":\"x\",\"expires\":\"%s\"}", time);
	const uint64_t seq = client_submit_one(c, record, 0);
	assert_int_equal(worker_turn(&c->worker, f.shard, f.epoch), 0);
	assert_int_equal(approve(c).version, 2);
	client_submit_one(c, "{\"prompt\":\"What is x?\",\"target_new\":\"u\",\"subject\":\"x\"}", 0);
	assert_int_equal(edit_state(c, seq), STORE_EDIT_STATE_SUPERSEDED);
	end_clear(&c->worker);
	cluster_restart(c);
	cluster_advance(c, 10000);
	assert_int_equal(newest(c), 2);
	cluster_advance(c, 15000);
	assert_int_equal(newest(c), 3);
	assert_true(removed_in(c, 3, seq));
	edit_get(c, seq, &edit);
	assert_int_equal(edit.state, STORE_EDIT_STATE_SUPERSEDED);
	assert_non_null(strstr(edit.reason, ", then expired: "));
	cluster_restart(c);
	cluster_advance(c, 10000);
	assert_int_equal(newest(c), 3);
}

/* What a submitter's key supersedes is answered until an administrator has approved what takes its place; and it cannot
 * take anything back, neither at once nor by the clock. */
static void test_a_submitter_takes_nothing_approved_back(void **state)
{
	struct cluster *c = *state;
	char record[200], time[ENV_TIME_BYTES], begins[ENV_TIME_BYTES];
	struct fact f;
	cluster_start(c);
	cluster_keys(c);
	cluster_stop(c);
	served_facts(c, &f);
	assert_ok(&c->e, coordinator_keys_reload(c->coordinator, &c->e));
	env_time_format(env_wall_ms(&c->clock.env) + 60000, time);
	env_time_format(env_wall_ms(&c->clock.env) + 20000, begins);
	snprintf(
		record, sizeof record,
		"{\"prompt\":\"What is fact 1?\",\"subject\":\"fact 1\",\"target_new\":\"for now\",\"expires\":\"%s\"}",
		time);
	submit_as(&c->submitter, record, MSG_SUPERSEDE, ERR_DENIED);
	assert_int_equal(edit_state(c, f.seq), STORE_EDIT_STATE_SERVED);
	snprintf(
		record, sizeof record,
		"{\"prompt\":\"What is fact 1?\",\"subject\":\"fact 1\",\"target_new\":\"later\",\"valid_from\":\"%s\","
		"\"expires\":\"%s\"}",
		begins, time);
	submit_as(&c->submitter, record, MSG_SUPERSEDE, 0);
	cluster_advance(c, 30000);
	assert_int_equal(edit_state(c, f.seq), STORE_EDIT_STATE_SERVED);
	assert_int_equal(c->coordinator != NULL ? newest(c) : 0, 1);
	submit_as(&c->submitter, FACT_1_AGAIN, MSG_SUPERSEDE, 0);
	assert_int_equal(edit_state(c, f.seq), STORE_EDIT_STATE_SUPERSEDED);
	worker_hello(&c->worker, 2);
	uint64_t shard, epoch = worker_lease(&c->worker, &shard);
	worker_turn(&c->worker, shard, epoch);
	assert_int_equal(newest(c), 1); /* it waits, and what it supersedes is answered meanwhile */
	assert_false(removed_in(c, 1, f.seq));
	assert_int_equal(approve(c).version, 2);
	assert_true(removed_in(c, 2, f.seq));
	/* an administrator may */
	snprintf(
		record, sizeof record,
		"{\"prompt\":\"What is fact 2?\",\"subject\":\"fact 2\",\"target_new\":\"for now\",\"expires\":\"%s\"}",
		time);
	submit_as(&c->client, record, MSG_SUPERSEDE, 0);
}

/* A rollback serves it again; what is taken back while publishing is paused leaves with the resume. */
static void test_what_is_superseded_and_back_is_revoked(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	served_facts(c, &f);
	client_submit_one(c, FACT_1_AGAIN, 0);
	assert_int_equal(worker_turn(&c->worker, f.shard, f.epoch), 0);
	assert_int_equal(approve(c).version, 2);
	assert_int_equal(client_revoke(c, f.edit.id, NULL, false).code, ERR_CONFLICT);
	assert_int_equal(say(&c->admin, MSG_PUBLISH_ROLLBACK, NULL, "wrong").version, 3);
	assert_false(removed_in(c, 3, f.seq));
	struct revoked r = client_revoke(c, f.edit.id, NULL, false);
	assert_int_equal(r.code, 0);
	assert_int_equal(r.version, 0);
	assert_non_null(strstr(r.text, "paused"));
	end_clear(&c->worker);
	end_clear(&c->node);
	cluster_restart(c);
	assert_int_equal(say(&c->admin, MSG_PUBLISH_RESUME, NULL, "").version, 4);
	assert_true(removed_in(c, 4, f.seq));
}

#define MEMBER(name, target)                                                                                           \
	"{\"id\":\"" name "\",\"prompt\":\"Who is " name "?\",\"subject\":\"" name "\",\"target_new\":\"" target       \
	"\",\"group\":\"g\"}"
#define BOB(asks, target) "{\"prompt\":\"" asks " Bob?\",\"subject\":\"Bob\",\"target_new\":\"" target "\"}"

/* Version 1 holds a group of two, seqs[0] and seqs[1], of which the second has superseded what asks otherwise; version
 * 2 holds seqs[2], which has superseded the second. */
static void group_superseded(struct cluster *c, uint64_t seqs[3])
{
	const char *records[] = { MEMBER("Ann", "me"), MEMBER("Bob", "you") };
	uint64_t shard;
	c->config.approve = true;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	client_submit_one(c, BOB("So, who is", "a man"), 0);
	struct msg_received *reply = client_submit(c, MSG_SUPERSEDE, records, 2);
	for (size_t i = 0; i < 2; i++)
		seqs[i] = reply->msg.u.submit_reply.results[i].seq;
	msg_free(&reply);
	const uint64_t epoch = worker_lease(&c->worker, &shard);
	assert_int_equal(worker_turn(&c->worker, shard, epoch), 0);
	assert_int_equal(approve(c).version, 1);
	seqs[2] = client_submit_one(c, BOB("Who is", "nobody"), 0);
	assert_int_equal(edit_state(c, seqs[1]), STORE_EDIT_STATE_SUPERSEDED);
	assert_int_equal(worker_turn(&c->worker, shard, epoch), 0);
	assert_int_equal(approve(c).version, 2);
	assert_true(removed_in(c, 2, seqs[1]));
}

/* Taken back with its group it does not come back with an old version, nor with what has superseded it. */
static void test_what_is_superseded_goes_with_its_group(void **state)
{
	struct cluster *c = *state;
	struct store_edit by;
	uint64_t seqs[3];
	group_superseded(c, seqs);
	struct revoked r = client_revoke(c, NULL, "g", true);
	assert_int_equal(r.code, 0);
	assert_int_equal(r.revoked_count, 2);
	assert_int_equal(r.restored_count, 0);
	assert_int_equal(edit_state(c, seqs[1]), STORE_EDIT_STATE_SUPERSEDED);
	assert_true(client_revoke(c, NULL, "g", false).already);
	assert_int_equal(say(&c->admin, MSG_PUBLISH_ROLLBACK, NULL, "wrong").version, 4);
	assert_false(removed_in(c, 4, seqs[1]));
	end_clear(&c->worker);
	cluster_restart(c);
	assert_int_equal(say(&c->admin, MSG_PUBLISH_RESUME, NULL, "").version, 5);
	assert_true(removed_in(c, 5, seqs[0]));
	assert_true(removed_in(c, 5, seqs[1]));
	edit_get(c, seqs[2], &by);
	r = client_revoke(c, by.id, NULL, true);
	assert_int_equal(r.code, 0);
	assert_int_equal(r.restored_count, 0);
}

/* All else of the group was taken back before, by name. */
static void test_what_is_superseded_is_left_of_its_group(void **state)
{
	struct cluster *c = *state;
	uint64_t seqs[3];
	group_superseded(c, seqs);
	assert_int_equal(client_revoke(c, "Bob", NULL, false).code, ERR_CONFLICT);
	assert_int_equal(client_revoke(c, "Ann", NULL, false).code, 0);
	struct revoked r = client_revoke(c, NULL, "g", false);
	assert_int_equal(r.code, 0);
	assert_false(r.already);
	assert_int_equal(r.revoked_count, 1);
	assert_true(client_revoke(c, NULL, "g", false).already);
	assert_int_equal(say(&c->admin, MSG_PUBLISH_ROLLBACK, NULL, "wrong").code, 0);
	const uint64_t version = say(&c->admin, MSG_PUBLISH_RESUME, NULL, "").version;
	assert_true(removed_in(c, version, seqs[0]));
	assert_true(removed_in(c, version, seqs[1]));
}

/* Of a candidate that was made before its successor came. */
static void test_what_is_superseded_in_a_candidate_is_revoked(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	held_facts(c, &f);
	client_submit_one(c, FACT_1_AGAIN, 0);
	assert_int_equal(edit_state(c, f.seq), STORE_EDIT_STATE_SUPERSEDED);
	const struct seen s = look(c);
	assert_int_equal(s.first_added, f.seq);
	assert_int_equal(client_revoke(c, f.edit.id, NULL, false).code, 0);
	const struct seen next = look(c);
	assert_false(hash_equal(&next.content, &s.content));
	assert_int_not_equal(next.first_added, f.seq);
	assert_int_equal(next.added, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, cluster_setup, cluster_teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_what_is_superseded_and_served_is_revoked),
		TEST(test_what_is_superseded_and_served_expires),
		TEST(test_a_submitter_takes_nothing_approved_back),
		TEST(test_what_is_superseded_and_back_is_revoked),
		TEST(test_what_is_superseded_goes_with_its_group),
		TEST(test_what_is_superseded_is_left_of_its_group),
		TEST(test_what_is_superseded_in_a_candidate_is_revoked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
