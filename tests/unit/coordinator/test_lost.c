/* Memories of which nobody has a chunk any more: their edits are trained again from the ledger. */
#include "tests/unit/coordinator/candidate_fixture.h"
#include "tests/unit/coordinator/lost_fixture.h"

/* Their edits `seq` and the next. */
static void expect_lost_events(struct cluster *c, uint64_t seq, size_t count)
{
	char says[64];
	snprintf(says, sizeof says, "\"seqs\":[%d,%d]", (int)seq, (int)seq + 1);
	struct store_txn *txn = NULL;
	struct store_event event;
	uint64_t last;
	size_t found = 0;
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_event_last(txn, &last, NULL, &c->e));
	for (uint64_t at = 1; at <= last; at++) {
		assert_ok(&c->e, store_event_get(txn, at, &event, &c->e));
		if (event.type != STORE_EVENT_SHARD_LOST)
			continue;
		found += memmem(event.payload, event.payload_len, says, strlen(says)) != NULL ? 1 : 100;
	}
	store_abort(&txn);
	assert_int_equal(found, count);
}

static void damage_text(struct cluster *c, char out[1024])
{
	struct msg msg = { .type = MSG_FLEET };
	end_clear(&c->client);
	end_send(&c->client, &msg);
	cluster_run(c);
	struct msg_received *reply = end_expect(&c->client, MSG_FLEET_REPLY);
	snprintf(out, 1024, "%.*s", (int)reply->msg.u.fleet_reply.damage.len, reply->msg.u.fleet_reply.damage.text);
	msg_free(&reply);
}

static void expect_shown(struct cluster *c, uint64_t seq, const char *what)
{
	struct msg msg = { .type = MSG_EDIT_LIST,
			   .u.edit_list = { .from_seq = seq, .limit = 1, .with_payload = true } };
	bool found = false;
	end_clear(&c->client);
	end_send(&c->client, &msg);
	cluster_run(c);
	struct msg_received *reply = end_expect(&c->client, MSG_EDIT_LIST_REPLY);
	const struct msg_edit *edit = &reply->msg.u.edit_list_reply.edits[0];
	for (size_t i = 0; i < edit->history_count; i++)
		found = found || (edit->history[i].what.len == strlen(what) &&
				  memcmp(edit->history[i].what.text, what, strlen(what)) == 0);
	assert_true(found);
	msg_free(&reply);
}

static void test_what_nobody_has_is_trained_again(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	char text[1024];
	c->config.retrain_ms = RETRAIN_MS;
	prepare(c, &f);
	node_hello(&c->node, 1);
	node_status(&c->node, 1);
	assert_int_equal(edit_state(c, f.seq), STORE_EDIT_STATE_SERVED);
	const struct hash root = delta_of(c, 1, 0);
	test_log_begin(c->folder);
	lose(c, &root, 2);
	wait(c, RETRAIN_MS - 4000); /* it is lost meanwhile, and may still come back */
	assert_int_equal(edit_state(c, f.seq), STORE_EDIT_STATE_SERVED);
	wait(c, 60000);
	assert_int_equal(edit_state(c, f.seq), STORE_EDIT_STATE_PLACED);
	expect_shown(c, f.seq, "memory lost");
	expect_lost_events(c, f.seq, 1);
	damage_text(c, text);
	assert_non_null(strstr(text, "2 edits of 1 shard whose memory was lost are trained again from the ledger"));
	problem_of(c, 1, text);
	assert_non_null(strstr(text, "chunks of it are lost"));
	assert_int_equal(newest(c), 1); /* without a memory there is nothing to publish */
	cluster_restart(c);
	worker_hello(&c->worker, 3);
	assert_int_equal(retrain(c, 1), 2);
	assert_int_equal(memories_of(c, 2), 1);
	node_hello(&c->node, 2);
	node_status(&c->node, 2);
	assert_int_equal(edit_state(c, f.seq), STORE_EDIT_STATE_SERVED);
	struct store_edit edit;
	edit_get(c, f.seq, &edit);
	assert_int_equal(edit.version, 2);
	assert_string_equal(edit.reason, "");
	damage_text(c, text);
	assert_null(strstr(text, "trained again"));
	test_log_end();
	assert_int_equal(test_log_count("COORDINATOR-SHARD-LOST"), 1);
}

/* A version without it is there at once, for nodes that have none. */
static void test_other_memories_are_published_without_it(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	c->config.retrain_ms = RETRAIN_MS;
	c->config.edits_per_shard = 2;
	prepare(c, &f);
	other_shard_train(c, &f);
	const uint64_t before = newest(c);
	assert_int_equal(memories_of(c, before), 2);
	lose_memory(c, before);
	assert_int_equal(newest(c), before + 1);
	assert_int_equal(memories_of(c, before + 1), 1);
	assert_int_equal(edit_state(c, f.seq), STORE_EDIT_STATE_PLACED);
	const uint64_t after = retrain(c, shard_of(c, f.shard).version);
	assert_int_equal(after, before + 2);
	assert_int_equal(memories_of(c, after), 2);
	assert_int_equal(edit_state(c, f.seq), STORE_EDIT_STATE_TRAINED);
}

static void test_nothing_is_given_up_without_a_worker_or_the_setting(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	prepare(c, &f);
	lose_memory(c, 1);
	assert_int_equal(edit_state(c, f.seq), STORE_EDIT_STATE_TRAINED);
	cluster_stop(c);
	c->config.retrain_ms = RETRAIN_MS;
	cluster_start(c);
	for (int i = 0; i < 60; i++)
		cluster_advance(c, 2000);
	assert_int_equal(edit_state(c, f.seq), STORE_EDIT_STATE_TRAINED);
	worker_hello(&c->worker, 3);
	wait(c, 20000);
	assert_int_equal(edit_state(c, f.seq), STORE_EDIT_STATE_PLACED);
	expect_lost_events(c, f.seq, 1);
}

/* In the ledger, too; the memory is whole: the next version has another manifest. */
static void test_a_lost_manifest_is_replaced(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	c->config.retrain_ms = RETRAIN_MS;
	prepare(c, &f);
	copy_lose(c);
	lose_manifest(c, 1);
	assert_int_equal(newest(c), 2);
	assert_int_equal(memories_of(c, 2), 1);
	assert_int_equal(edit_state(c, f.seq), STORE_EDIT_STATE_TRAINED);
	expect_lost_events(c, f.seq, 0);
}

static void test_crashes_around_it(void **state)
{
	static const char *const points[] = { "coordinator.lost.before_commit=errno@1",
					      "coordinator.lost.after_commit=errno@1" };
	struct cluster *c = *state;
	struct fact f;
	c->config.retrain_ms = RETRAIN_MS;
	prepare(c, &f);
	const struct hash root = delta_of(c, 1, 0);
	lose(c, &root, 2);
	for (uint64_t i = 0; i < 2; i++) {
		assert_ok(&c->e, fault_arm(points[i], &c->e));
		wait(c, 2 * RETRAIN_MS);
		assert_true(coordinator_failed(c->coordinator, NULL));
		fault_disarm_all();
		cluster_restart(c);
		assert_int_equal(edit_state(c, f.seq), i == 0 ? STORE_EDIT_STATE_TRAINED : STORE_EDIT_STATE_PLACED);
		worker_hello(&c->worker, 3 + i);
	}
	assert_int_equal(retrain(c, 1), 2);
	assert_int_equal(edit_state(c, f.seq), STORE_EDIT_STATE_TRAINED);
	expect_lost_events(c, f.seq, 1);
}

/* In the ledger: a record says nothing of the others. */
static void test_a_damaged_record_hides_no_other_version(void **state)
{
	struct cluster *c = *state;
	struct buf file = BUF_INIT;
	struct fact f;
	char path[TEST_PATH_BYTES], text[256];
	prepare(c, &f);
	client_facts(c, 3, 1);
	worker_turn(&c->worker, f.shard, f.epoch);
	const struct store_version rec = version_get(c, 1);
	end_clear(&c->worker);
	cluster_stop(c);
	test_path(path, c->folder, "store/ledger/data.mdb");
	assert_ok(&c->e, file_read(path, (size_t)1 << 30, &file, &c->e));
	for (uint8_t *at = file.data;
	     (at = memmem(at, (size_t)(file.data + file.len - at), rec.content.bytes, HASH_BYTES)) != NULL;)
		at[3] ^= 4;
	assert_ok(&c->e, file_write_atomic(path, file.data, file.len, 0600, &c->e));
	buf_free(&file);
	cluster_start(c);
	problem_of(c, 1, text);
	assert_non_null(strstr(text, "record in the ledger is damaged"));
	problem_of(c, 2, text);
	assert_string_equal(text, "");
}

/* A version goes through the gate as any other does; what it waits for is trained again. */
static void test_behind_a_gate_too(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	c->config.retrain_ms = RETRAIN_MS;
	served_facts(c, &f);
	lose_memory(c, 1);
	assert_int_equal(edit_state(c, f.seq), STORE_EDIT_STATE_PLACED);
	assert_string_equal(look(c).state, "none");
	assert_int_equal(retrain(c, 1), 0);
	assert_int_equal(newest(c), 1);
	assert_int_equal(approve(c).version, 2);
	node_hello(&c->node, 2);
	node_status(&c->node, 2);
	assert_int_equal(edit_state(c, f.seq), STORE_EDIT_STATE_SERVED);
}

/* What it would change is not known, until somebody goes back to a version that is whole. */
static void test_a_lost_manifest_behind_a_gate(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	c->config.retrain_ms = RETRAIN_MS;
	served_facts(c, &f);
	const uint64_t seq = fact_more(c, &f);
	assert_int_equal(approve(c).version, 2);
	copy_lose(c);
	lose_manifest(c, 2);
	assert_string_equal(look(c).state, "none");
	const struct revoked r = client_revoke(c, f.edit.id, NULL, false);
	assert_int_equal(r.code, ERR_AGAIN);
	assert_non_null(strstr(r.text, "`amend version rollback`"));
	assert_int_equal(say(&c->admin, MSG_PUBLISH_ROLLBACK, NULL, "its manifest is lost").version, 3);
	assert_int_equal(say(&c->admin, MSG_PUBLISH_RESUME, NULL, "").code, 0);
	assert_int_equal(client_revoke(c, f.edit.id, NULL, false).version, 4);
	assert_int_equal(look(c).first_added, seq);
	assert_int_equal(approve(c).version, 5);
	assert_int_equal(memories_of(c, 5), 1);
}

/* Its own manifest, which nobody else has yet. */
static void test_a_candidate_whose_manifest_is_lost_is_made_anew(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	c->config.retrain_ms = RETRAIN_MS;
	held_facts(c, &f);
	const struct hash root = candidate_get(c).root;
	rot_found(c, &root);
	wait(c, 2 * RETRAIN_MS);
	assert_string_equal(look(c).state, "waiting");
	assert_int_equal(approve(c).version, 1);
	assert_int_equal(memories_of(c, 1), 1);
}

static void test_a_lost_merged_memory_is_merged_anew(void **state)
{
	struct cluster *c = *state;
	struct msg run = { .type = MSG_MERGE_RUN };
	struct fact f;
	c->config.retrain_ms = RETRAIN_MS;
	c->config.edits_per_shard = 2;
	prepare(c, &f);
	end_send(&c->client, &run);
	cluster_run(c);
	cluster_advance(c, 100);
	merge_gate(c, 2);
	assert_int_equal(newest(c), 2);
	const struct hash root = merged_of(c, 2);
	assert_false(hash_is_zero(&root));
	assert_int_equal(c->fake.starts, 1);
	lose(c, &root, 2);
	wait(c, 2 * RETRAIN_MS);
	assert_int_equal(c->fake.starts, 2);
	const struct hash without = merged_of(c, newest(c));
	assert_true(hash_is_zero(&without));
	assert_int_equal(edit_state(c, f.seq), STORE_EDIT_STATE_TRAINED); /* its shard is whole */
	expect_lost_events(c, f.seq, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, cluster_setup, cluster_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_what_nobody_has_is_trained_again),
		T(test_other_memories_are_published_without_it),
		T(test_nothing_is_given_up_without_a_worker_or_the_setting),
		T(test_a_lost_manifest_is_replaced),
		T(test_crashes_around_it),
		T(test_behind_a_gate_too),
		T(test_a_lost_manifest_behind_a_gate),
		T(test_a_candidate_whose_manifest_is_lost_is_made_anew),
		T(test_a_lost_merged_memory_is_merged_anew),
		T(test_a_damaged_record_hides_no_other_version),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
