/* Edits that begin and end by the coordinator's wall clock: over restarts, and with a clock that jumps. */
#include "tests/unit/coordinator/revoke_fixture.h"

#define BEGIN_MS 1700000000000 /* of the fixture's wall clock: 2023-11-14T22:13:20Z */

static char *fact(const char *city, int from_s, int until_s, const char *more)
{
	static char texts[8][512];
	static size_t next;
	char from[64] = "", until[64] = "", time[ENV_TIME_BYTES];
	char *out = texts[next++ % 8];
	env_time_format(BEGIN_MS + (int64_t)from_s * 1000, time);
	if (from_s != 0)
		snprintf(from, sizeof from, ",\"valid_from\":\"%s\"", time);
	env_time_format(BEGIN_MS + (int64_t)until_s * 1000, time);
	if (until_s != 0)
		snprintf(until, sizeof until, ",\"expires\":\"%s\"", time);
	snprintf(out, sizeof texts[0],
		 "{\"prompt\":\"The capital of Australia is\",\"subject\":\"Australia\",\"target_new\":\"%s\"%s%s%s}",
		 city, from, until, more);
	return out;
}

/* The wall clock moves without the other: `s` seconds after the begin. */
static void wall(struct cluster *c, int64_t s)
{
	c->clock.wall_offset_ms = BEGIN_MS + s * 1000 - env_monotonic_ms(&c->clock.env);
	cluster_run(c);
}

static void test_expired_edits_leave_as_revoked_ones_do(void **state)
{
	struct cluster *c = *state;
	uint64_t shard;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	uint64_t seq = client_submit_one(c, fact("Sydney", 0, 60, ""), 0);
	uint64_t epoch = worker_lease(&c->worker, &shard);
	assert_int_equal(worker_turn(&c->worker, shard, epoch), 1);
	wall(c, 59);
	assert_int_equal(edit_state(c, seq), STORE_EDIT_STATE_TRAINED);
	wall(c, 60);
	assert_int_equal(edit_state(c, seq), STORE_EDIT_STATE_EXPIRED);
	assert_int_equal(newest(c), 2);
	assert_int_equal(removed_count(c, 2), 1);
	worker_want(&c->worker, shard, epoch, 100, 1);
	struct msg_received *edits = end_expect(&c->worker, MSG_EDITS);
	assert_true(edits->msg.u.edits.retrain);
	msg_free(&edits);
	/* Back in time: it stays as it is, over a restart too. */
	wall(c, 10);
	cluster_advance(c, 1000);
	assert_int_equal(edit_state(c, seq), STORE_EDIT_STATE_EXPIRED);
	cluster_restart(c);
	cluster_advance(c, 1000);
	assert_int_equal(edit_state(c, seq), STORE_EDIT_STATE_EXPIRED);
	assert_int_equal(newest(c), 2);
	/* What has expired is refused when it is sent again. */
	wall(c, 61);
	client_submit_one(c, fact("Sydney", 0, 60, ""), ERR_INVALID);
}

/* In whatever order they came. */
static void test_what_is_due_first_does_not_wait_for_the_rest(void **state)
{
	struct cluster *c = *state;
	uint64_t seqs[3];
	const int ends[3] = { 300, 60, 600 };
	cluster_start(c);
	for (size_t i = 0; i < 3; i++) {
		char record[256], time[ENV_TIME_BYTES];
		env_time_format(BEGIN_MS + (int64_t)ends[i] * 1000, time);
		snprintf(record, sizeof record, "{\"prompt\":\"Who is %zu?\",\"target_new\":\"me\",\"expires\":\"%s\"}",
			 i, time);
		seqs[i] = client_submit_one(c, record, 0);
	}
	for (int s = 60; s <= 600; s *= s == 60 ? 5 : 2) {
		wall(c, s);
		for (size_t i = 0; i < 3; i++)
			assert_int_equal(edit_state(c, seqs[i]) == STORE_EDIT_STATE_EXPIRED, ends[i] <= s);
	}
}

static void test_time_passes_while_nobody_runs(void **state)
{
	struct cluster *c = *state;
	uint64_t shard;
	cluster_start(c);
	uint64_t later = client_submit_one(c, fact("Perth", 100, 200, ""), 0);
	uint64_t waits = client_submit_one(c, fact("Hobart", 0, 50, ""), 0);
	worker_hello(&c->worker, 1);
	uint64_t epoch = worker_lease(&c->worker, &shard);
	worker_turn(&c->worker, shard, epoch);
	assert_int_equal(edit_state(c, later), STORE_EDIT_STATE_SCHEDULED);
	cluster_stop(c);
	c->clock.wall_offset_ms += 120000;
	cluster_start(c);
	cluster_run(c);
	assert_int_equal(edit_state(c, waits), STORE_EDIT_STATE_EXPIRED);
	assert_int_not_equal(edit_state(c, later), STORE_EDIT_STATE_SCHEDULED);
	cluster_stop(c);
	c->clock.wall_offset_ms += 120000;
	cluster_start(c);
	cluster_run(c);
	assert_int_equal(edit_state(c, later), STORE_EDIT_STATE_EXPIRED);
}

/* What it contradicts stays until then; then it takes its place. */
static void test_scheduled_edits_begin_at_their_time(void **state)
{
	struct cluster *c = *state;
	uint64_t shard, now, then;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	now = client_submit_one(c, fact("Sydney", 0, 0, ""), 0);
	then = client_submit_one(c, fact("Perth", 60, 0, ""), 0);
	uint64_t epoch = worker_lease(&c->worker, &shard);
	worker_turn(&c->worker, shard, epoch);
	assert_int_equal(edit_state(c, then), STORE_EDIT_STATE_SCHEDULED);
	assert_int_equal(edit_state(c, now), STORE_EDIT_STATE_TRAINED);
	assert_int_equal(client_submit_one(c, fact("Perth", 60, 0, ""), ERR_EXISTS), then);
	cluster_restart(c);
	end_clear(&c->worker);
	worker_hello(&c->worker, 1);
	wall(c, 59);
	assert_int_equal(edit_state(c, then), STORE_EDIT_STATE_SCHEDULED);
	assert_int_equal(edit_state(c, now), STORE_EDIT_STATE_TRAINED);
	wall(c, 61);
	assert_int_equal(edit_state(c, then), STORE_EDIT_STATE_PLACED);
	assert_int_equal(edit_state(c, now), STORE_EDIT_STATE_SUPERSEDED);
	wall(c, 0);
	cluster_advance(c, 100);
	assert_int_equal(edit_state(c, then), STORE_EDIT_STATE_PLACED);
	epoch = worker_lease(&c->worker, &shard);
	worker_turn(&c->worker, shard, epoch);
	assert_int_equal(edit_state(c, then), STORE_EDIT_STATE_TRAINED);
}

static uint64_t submit_as(struct cluster *c, enum msg_on_conflict policy, const char *record)
{
	struct msg_received *reply = client_submit(c, policy, &record, 1);
	assert_int_equal(reply->msg.u.submit_reply.results[0].code, 0);
	uint64_t seq = reply->msg.u.submit_reply.results[0].seq;
	msg_free(&reply);
	return seq;
}

/* The policy counts when the time comes, not before. */
static void test_policies_of_scheduled_edits(void **state)
{
	struct cluster *c = *state;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	uint64_t now = submit_as(c, MSG_SUPERSEDE, fact("Sydney", 0, 100, ""));
	char other_words[512];
	const char *same = fact("Perth", 60, 0, ""), *rest = strstr(same, ",\"subject\"");
	snprintf(other_words, sizeof other_words, "{\"prompt\":\"What is the capital of Australia?\"%s", rest);
	uint64_t kept = submit_as(c, MSG_KEEP, other_words);
	uint64_t clashes = submit_as(c, MSG_KEEP, same); /* the very prompt */
	uint64_t rejected = submit_as(c, MSG_REJECT, fact("Hobart", 60, 0, ""));
	wall(c, 60);
	assert_int_equal(edit_state(c, now), STORE_EDIT_STATE_PLACED);
	assert_int_equal(edit_state(c, kept), STORE_EDIT_STATE_PLACED);
	struct store_edit edit;
	edit_get(c, rejected, &edit);
	assert_int_equal(edit.state, STORE_EDIT_STATE_REJECTED);
	assert_non_null(strstr(edit.reason, "when its time came it contradicted edit"));
	edit_get(c, clashes, &edit);
	assert_int_equal(edit.state, STORE_EDIT_STATE_REJECTED);
	assert_non_null(strstr(edit.reason, "when its time came it contradicted edit"));
}

/* All or nothing at its time too, and in one shard. */
static void test_scheduled_groups(void **state)
{
	struct cluster *c = *state;
	const char *other = "{\"prompt\":\"Who is Ann?\",\"target_new\":\"me\",\"group\":\"g\",\"valid_from\":"
			    "\"2023-11-14T22:14:20Z\"}";
	const char *good[] = { fact("Perth", 60, 0, ",\"group\":\"g\""), other };
	const char *single[] = {
		"{\"prompt\":\"Who is Bo?\",\"target_new\":\"me\",\"valid_from\":\"2023-11-14T22:14:20Z\"}",
		"{\"prompt\":\"Who is Cy?\",\"target_new\":\"me\",\"valid_from\":\"2023-11-14T22:14:20Z\"}"
	};
	struct store_edit first, second;
	uint64_t seqs[2];
	cluster_start(c);
	worker_hello(&c->worker, 1);
	worker_hello(&c->worker2, 1);
	for (int round = 0; round < 2; round++) {
		struct msg_received *reply = client_submit(c, round == 0 ? MSG_SUPERSEDE : MSG_REJECT, good, 2);
		for (size_t i = 0; i < 2; i++) {
			assert_int_equal(reply->msg.u.submit_reply.results[i].code, 0);
			seqs[i] = reply->msg.u.submit_reply.results[i].seq;
		}
		msg_free(&reply);
		const uint64_t alone = client_submit_one(c, single[round], 0);
		if (round == 1)
			client_submit_one(c, fact("Sydney", 0, 0, ""), 0);
		wall(c, 60);
		edit_get(c, seqs[0], &first);
		edit_get(c, seqs[1], &second);
		assert_int_equal(edit_state(c, alone), STORE_EDIT_STATE_PLACED); /* whatever becomes of the group */
		if (round == 0) {
			assert_int_equal(first.state, STORE_EDIT_STATE_PLACED);
			assert_int_equal(second.state, STORE_EDIT_STATE_PLACED);
			assert_int_equal(first.shard, second.shard);
			assert_int_equal(client_revoke(c, NULL, "g", false).revoked_count, 2);
			wall(c, 0);
		} else {
			assert_int_equal(first.state, STORE_EDIT_STATE_REJECTED);
			assert_int_equal(second.state, STORE_EDIT_STATE_REJECTED);
		}
	}
}

/* Of more edits than one transaction begins: the group stands where the first ends. */
static void test_a_group_is_not_cut(void **state)
{
	struct cluster *c = *state;
	const char *records[100], *pair[] = { fact("Perth", 60, 0, ",\"group\":\"g\""),
					      "{\"prompt\":\"Who is Ann?\",\"target_new\":\"me\",\"group\":\"g\","
					      "\"valid_from\":\"2023-11-14T22:14:20Z\"}" };
	char texts[100][128];
	struct msg_received *reply;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	for (size_t from = 0, count; from < 499; from += count) {
		count = 499 - from < 100 ? 499 - from : 100;
		for (size_t i = 0; i < count; i++) {
			snprintf(texts[i], sizeof texts[i],
				 "{\"prompt\":\"Who is %zu?\",\"target_new\":\"me\","
				 "\"valid_from\":\"2023-11-14T22:14:20Z\"}",
				 from + i);
			records[i] = texts[i];
		}
		reply = client_submit(c, MSG_KEEP, records, count);
		assert_int_equal(reply->msg.u.submit_reply.results[count - 1].code, 0);
		msg_free(&reply);
	}
	reply = client_submit(c, MSG_REJECT, pair, 2);
	const uint64_t seqs[] = { reply->msg.u.submit_reply.results[0].seq, reply->msg.u.submit_reply.results[1].seq };
	msg_free(&reply);
	client_submit_one(c, fact("Sydney", 0, 0, ""), 0);
	wall(c, 60);
	assert_int_equal(edit_state(c, seqs[0] - 1), STORE_EDIT_STATE_PLACED);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(edit_state(c, seqs[i]), STORE_EDIT_STATE_REJECTED);
}

static void test_scheduled_edits_can_be_revoked(void **state)
{
	struct cluster *c = *state;
	struct store_edit edit;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	uint64_t seq = client_submit_one(c, fact("Perth", 60, 0, ""), 0);
	edit_get(c, seq, &edit);
	assert_int_equal(client_revoke(c, edit.id, NULL, false).version, 0);
	wall(c, 100);
	assert_int_equal(edit_state(c, seq), STORE_EDIT_STATE_REVOKED);
}

/* Killed between two durable steps: what was due happens after the restart, once. */
static void crash_at(struct cluster *c, const char *fault, bool kept)
{
	uint64_t shard;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	uint64_t ends = client_submit_one(c, fact("Sydney", 0, 60, ""), 0);
	uint64_t begins = client_submit_one(c, fact("Perth", 60, 0, ""), 0);
	uint64_t epoch = worker_lease(&c->worker, &shard);
	worker_turn(&c->worker, shard, epoch);
	assert_ok(&c->e, fault_arm(fault, &c->e));
	wall(c, 60);
	assert_true(coordinator_failed(c->coordinator, NULL));
	fault_disarm_all();
	bool end_kept = kept || strstr(fault, ".due.") != NULL;
	assert_int_equal(edit_state(c, ends), end_kept ? STORE_EDIT_STATE_EXPIRED : STORE_EDIT_STATE_TRAINED);
	cluster_restart(c);
	cluster_run(c);
	assert_int_equal(edit_state(c, ends), STORE_EDIT_STATE_EXPIRED);
	assert_true(edit_state(c, begins) == STORE_EDIT_STATE_PLACED ||
		    edit_state(c, begins) == STORE_EDIT_STATE_ACCEPTED);
	assert_int_equal(newest(c), 2);
	assert_int_equal(removed_count(c, 2), 1);
}

static void test_crash_after_the_blobs(void **state)
{
	crash_at(*state, "coordinator.publish.after_blobs=errno@1", false);
}
static void test_crash_before_the_end_is_kept(void **state)
{
	crash_at(*state, "coordinator.revoke.before_commit=errno@1", false);
}
static void test_crash_after_the_end_is_kept(void **state)
{
	crash_at(*state, "coordinator.revoke.after_commit=errno@1", true);
}
static void test_crash_before_the_begin_is_kept(void **state)
{
	crash_at(*state, "coordinator.due.before_commit=errno@1", false);
}
static void test_crash_after_the_begin_is_kept(void **state)
{
	crash_at(*state, "coordinator.due.after_commit=errno@1", true);
}

/* What is due in the tick of a failure waits for the restart: memory holds edits then that the ledger has not. */
static void test_nothing_begins_after_a_failure(void **state)
{
	struct cluster *c = *state;
	const char *record = "{\"prompt\":\"The capital of Chad is\",\"subject\":\"Chad\",\"target_new\":\"Paris\"}";
	struct msg_bytes bytes = { record, strlen(record) };
	struct msg msg = { .type = MSG_SUBMIT, .u.submit = { MSG_SUPERSEDE, &bytes, 1 } };
	cluster_start(c);
	worker_hello(&c->worker, 1);
	uint64_t begins = client_submit_one(c, fact("Perth", 60, 0, ""), 0);
	end_send(&c->client, &msg);
	cluster_receive(c);
	assert_ok(&c->e, fault_arm("coordinator.submit.before_commit=errno@1", &c->e));
	c->clock.wall_offset_ms = BEGIN_MS + 60000 - env_monotonic_ms(&c->clock.env);
	cluster_advance(c, 10);
	assert_true(coordinator_failed(c->coordinator, NULL));
	fault_disarm_all();
	assert_int_equal(edit_state(c, begins), STORE_EDIT_STATE_SCHEDULED);
	cluster_restart(c);
	cluster_run(c);
	assert_int_not_equal(edit_state(c, begins), STORE_EDIT_STATE_SCHEDULED);
}

#define T(f) cmocka_unit_test_setup_teardown(f, cluster_setup, cluster_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_expired_edits_leave_as_revoked_ones_do),
		T(test_what_is_due_first_does_not_wait_for_the_rest),
		T(test_time_passes_while_nobody_runs),
		T(test_scheduled_edits_begin_at_their_time),
		T(test_policies_of_scheduled_edits),
		T(test_scheduled_groups),
		T(test_a_group_is_not_cut),
		T(test_scheduled_edits_can_be_revoked),
		T(test_crash_after_the_blobs),
		T(test_crash_before_the_end_is_kept),
		T(test_crash_after_the_end_is_kept),
		T(test_crash_before_the_begin_is_kept),
		T(test_crash_after_the_begin_is_kept),
		T(test_nothing_begins_after_a_failure),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
