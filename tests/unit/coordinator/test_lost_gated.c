/* Memories and manifests that are lost where versions wait for approval: what is taken back leaves all the same, and
 * what was approved before is not asked of somebody else. */
#include "tests/unit/coordinator/candidate_fixture.h"
#include "tests/unit/coordinator/lost_fixture.h"

static bool is_whole(struct cluster *c, const struct hash *root)
{
	struct buf bytes = BUF_INIT;
	struct err unused = ERR_INIT;
	const int rc = store_blob_get(c->store, root, 1 << 20, &bytes, &unused);
	buf_free(&bytes);
	return rc == 0;
}

/* --- The newest version's manifest. */

static void test_a_revocation_passes_a_lost_manifest(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	c->config.retrain_ms = RETRAIN_MS;
	served_facts(c, &f);
	const uint64_t seq = fact_more(c, &f);
	lose_manifest(c, 1);
	assert_string_equal(look(c).state, "waiting");
	const struct revoked r = client_revoke(c, f.edit.id, NULL, false);
	assert_int_equal(r.code, 0);
	assert_int_equal(r.version, 2);
	assert_true(removed_in(c, 2, f.seq));
	assert_int_equal(memories_of(c, 2), 1);
	assert_int_equal(look(c).first_added, seq);
	assert_int_equal(approve(c).version, 3);
	assert_true(removed_in(c, 3, f.seq));
}

/* Not even for a moment. */
static void test_a_manifest_comes_back_from_the_ledger(void **state)
{
	struct cluster *c = *state;
	char text[256];
	struct fact f;
	served_facts(c, &f);
	const struct hash root = version_get(c, 1).root;
	lose(c, &root, 2);
	assert_true(is_whole(c, &root));
	assert_int_equal(newest(c), 1);
	problem_of(c, 1, text);
	assert_string_equal(text, "");
	assert_int_equal(client_revoke(c, f.edit.id, NULL, false).version, 2);
}

static void test_what_was_rolled_back_is_new_again(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	c->config.retrain_ms = RETRAIN_MS;
	served_facts(c, &f);
	const uint64_t seq = fact_more(c, &f);
	assert_int_equal(approve(c).version, 2);
	node_status(&c->node, 2);
	assert_int_equal(edit_state(c, seq), STORE_EDIT_STATE_SERVED);
	assert_int_equal(say(&c->admin, MSG_PUBLISH_ROLLBACK, NULL, "wrong").version, 3);
	assert_int_equal(say(&c->admin, MSG_PUBLISH_RESUME, NULL, "").code, 0);
	lose_manifest(c, 3);
	const struct seen candidate = look(c);
	assert_string_equal(candidate.state, "waiting");
	assert_int_equal(candidate.added, 1);
	assert_int_equal(candidate.first_added, seq);
	assert_int_equal(say(&c->client, MSG_PUBLISH_APPROVE, &candidate.content, "").code, ERR_DENIED);
	assert_int_equal(newest(c), 3);
}

/* --- A shard's memory. */

static void test_what_was_approved_is_ended_by_no_submitter(void **state)
{
	struct cluster *c = *state;
	char record[200], time[ENV_TIME_BYTES];
	struct fact f;
	c->config.retrain_ms = RETRAIN_MS;
	served_facts(c, &f);
	lose_memory(c, 1);
	env_time_format(env_wall_ms(&c->clock.env) + 600000, time);
	snprintf(
		record, sizeof record,
		"{\"prompt\":\"What is fact 1?\",\"subject\":\"fact 1\",\"target_new\":\"for now\",\"expires\":\"%s\"}",
		time);
	assert_int_equal(edit_state(c, f.seq), STORE_EDIT_STATE_PLACED);
	submit_as(&c->submitter, record, MSG_SUPERSEDE, ERR_DENIED);
	retrain(c, 1);
	assert_int_equal(edit_state(c, f.seq), STORE_EDIT_STATE_TRAINED);
	submit_as(&c->submitter, record, MSG_SUPERSEDE, ERR_DENIED);
	end_clear(&c->worker);
	cluster_restart(c);
	submit_as(&c->submitter, record, MSG_SUPERSEDE, ERR_DENIED);
}

/* Two facts of `client` in a shard of their own and one in another, in v2; the first shard's memory is lost, v3 is
 * without it, and it is trained again: its edits wait for approval anew. */
static void trained_again(struct cluster *c, struct fact *f)
{
	c->config.retrain_ms = RETRAIN_MS;
	c->config.edits_per_shard = 2;
	served_facts(c, f);
	other_shard_train(c, f);
	while (strcmp(look(c).state, "none") != 0)
		assert_int_equal(approve(c).code, 0);
	node_status(&c->node, newest(c));
	const uint64_t before = newest(c);
	lose_memory(c, before);
	assert_int_equal(edit_state(c, f->seq), STORE_EDIT_STATE_PLACED);
	assert_int_equal(look(c).removed, 2);
	assert_int_equal(look(c).added, 0);
	const struct seen without = look(c);
	assert_int_equal(say(&c->client, MSG_PUBLISH_APPROVE, &without.content, "").version, before + 1);
	retrain(c, shard_of(c, f->shard).version);
	assert_int_equal(look(c).added, 2);
}

/* Else two administrators who had approved what each other submitted would wait for a third. */
static void test_what_was_approved_is_not_asked_of_another(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	trained_again(c, &f);
	end_clear(&c->worker);
	cluster_restart(c);
	struct seen now = look(c);
	assert_int_equal(now.added, 2);
	const struct published p = say(&c->client, MSG_PUBLISH_APPROVE, &now.content, "");
	assert_int_equal(p.code, 0);
	assert_int_equal(version_of(c, f.seq), p.version);
	/* what is new is asked of another as ever */
	worker_hello(&c->worker, 3);
	client_facts(c, 4, 1);
	uint64_t shard, epoch = worker_lease(&c->worker, &shard);
	worker_turn(&c->worker, shard, epoch);
	now = look(c);
	assert_int_equal(now.added, 1);
	assert_int_equal(say(&c->client, MSG_PUBLISH_APPROVE, &now.content, "").code, ERR_DENIED);
	assert_int_equal(approve(c).version, p.version + 1);
}

/* The rollback takes back what approvals had said. */
static void test_after_a_rollback_it_is_asked_of_another(void **state)
{
	struct cluster *c = *state;
	struct msg back = { .type = MSG_PUBLISH };
	struct fact f;
	trained_again(c, &f);
	back.u.publish = (struct msg_publish){ .action = MSG_PUBLISH_ROLLBACK,
					       .version = newest(c),
					       .reason = { "to be sure", 10 } };
	end_send(&c->admin, &back);
	cluster_run(c);
	end_drop(&c->admin, MSG_PUBLISH_REPLY);
	assert_int_equal(say(&c->admin, MSG_PUBLISH_RESUME, NULL, "").code, 0);
	const struct seen now = look(c);
	assert_int_equal(now.added, 2);
	assert_int_equal(say(&c->client, MSG_PUBLISH_APPROVE, &now.content, "").code, ERR_DENIED);
	assert_int_equal(approve(c).code, 0);
}

/* --- What is taken back where all memories are lost. */

static void expect_gone(struct cluster *c, const struct fact *f, uint64_t version)
{
	assert_int_equal(newest(c), version);
	assert_int_equal(memories_of(c, version), 0);
	node_hello(&c->node, version);
	node_status(&c->node, version);
	assert_int_equal(edit_state(c, f->seq), STORE_EDIT_STATE_REVOKED);
}

static void test_a_revocation_leaves_nothing_of_what_is_lost(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	c->config.retrain_ms = RETRAIN_MS;
	prepare(c, &f);
	lose_memory(c, 1);
	assert_int_equal(newest(c), 1);
	assert_int_equal(client_revoke(c, f.edit.id, NULL, false).version, 2);
	expect_gone(c, &f, 2);
	assert_int_equal(retrain(c, 1), 3);
	assert_int_equal(memories_of(c, 3), 1);
	assert_true(removed_in(c, 3, f.seq));
	node_status(&c->node, 3);
	assert_int_equal(edit_state(c, f.seq), STORE_EDIT_STATE_REVOKED);
	assert_int_equal(edit_state(c, edit_from(c, f.seq + 1).seq), STORE_EDIT_STATE_SERVED);
}

static void test_nor_does_one_before_an_approval(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	c->config.retrain_ms = RETRAIN_MS;
	served_facts(c, &f);
	lose_memory(c, 1);
	assert_int_equal(client_revoke(c, f.edit.id, NULL, false).version, 2);
	expect_gone(c, &f, 2);
	assert_int_equal(retrain(c, 1), 0);
	const struct seen now = look(c);
	assert_int_equal(now.added, 1);
	assert_int_equal(say(&c->client, MSG_PUBLISH_APPROVE, &now.content, "").version, 3);
	assert_true(removed_in(c, 3, f.seq));
}

/* A node that could load neither v1 nor v2 has an older answer. */
static void test_what_was_taken_back_before_it_was_lost_leaves(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	c->config.retrain_ms = RETRAIN_MS;
	c->config.approve = true;
	served_facts(c, &f);
	assert_int_equal(client_revoke(c, f.edit.id, NULL, false).version, 2);
	lose_memory(c, 2);
	expect_gone(c, &f, 3);
	wait(c, 2 * RETRAIN_MS);
	assert_int_equal(newest(c), 3);
}

#define T(f) cmocka_unit_test_setup_teardown(f, cluster_setup, cluster_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_a_revocation_passes_a_lost_manifest),
		T(test_a_manifest_comes_back_from_the_ledger),
		T(test_what_was_rolled_back_is_new_again),
		T(test_what_was_approved_is_ended_by_no_submitter),
		T(test_what_was_approved_is_not_asked_of_another),
		T(test_after_a_rollback_it_is_asked_of_another),
		T(test_a_revocation_leaves_nothing_of_what_is_lost),
		T(test_nor_does_one_before_an_approval),
		T(test_what_was_taken_back_before_it_was_lost_leaves),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
