/* Merges and what is taken back: before, while and after a memory holds it. */
#include "tests/unit/coordinator/candidate_fixture.h"

static int64_t merge_id(struct cluster *c)
{
	struct msg msg = { .type = MSG_MERGE_RUN };
	end_send(&c->client, &msg);
	cluster_run(c);
	struct msg_received *reply = end_expect(&c->client, MSG_MERGE_STATUS);
	int64_t id = reply->msg.u.merge_status.code == 0 ? (int64_t)reply->msg.u.merge_status.id : -1;
	msg_free(&reply);
	return id;
}

/* While a merge reads the shard it stays as it is; the merged memory holds the edit until it is merged anew. */
static void test_a_merging_shard_waits(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	c->config.edits_per_shard = 2;
	c->fake.ticks_left = -1;
	prepare(c, &f);
	assert_int_equal(merge_id(c), 1);
	cluster_advance(c, 100);
	assert_int_equal(shard_of(c, f.shard).state, STORE_SHARD_STATE_MERGING);
	assert_int_equal(client_revoke(c, f.edit.id, NULL, false).version, 2);
	cluster_advance(c, 100);
	assert_null(end_take(&c->worker, MSG_LEASE));
	c->fake.ticks_left = 0;
	cluster_advance(c, 100);
	merge_gate(c, 1);
	assert_int_equal(newest(c), 3);
	assert_true(removed_in(c, 3, f.seq));
	assert_int_equal(shard_of(c, f.shard).state, STORE_SHARD_STATE_MERGED);
	end_clear(&c->worker);
	worker_hello(&c->worker, 2);
	uint64_t shard, epoch = worker_lease(&c->worker, &shard);
	assert_true(hear(&c->worker, shard, epoch, 0).retrain);
	uint64_t seqs[] = { f.seq, f.seq + 1 };
	struct commit commit = {
		.shard = shard, .epoch = epoch, .version = 2, .first = 2, .closed = true, .seqs = seqs, .delta = "anew"
	};
	c->fake.ticks_left = -1;
	assert_int_equal(worker_commit(&c->worker, &commit, NULL), 0);
	assert_true(removed_in(c, 4, f.seq));
	/* The memory holds what its shard has forgotten: it is merged anew. */
	cluster_advance(c, 100);
	assert_int_equal(c->fake.starts, 2);
	assert_int_equal(shard_of(c, shard).state, STORE_SHARD_STATE_MERGING);
}

/* Which merged memories a version has: their number, and the id of the last. */
static size_t merged_in(struct cluster *c, uint64_t version, uint64_t *id, bool *serves)
{
	struct arena *arena = NULL;
	struct proto_manifest manifest;
	size_t count = 0;
	*id = 0;
	assert_int_equal(arena_new(65536, 0, &arena), 0);
	manifest_read(c, version, arena, &manifest);
	for (size_t i = 0; i < manifest.memory_count; i++) {
		if (manifest.memories[i].kind != PROTO_MEMORY_MERGED)
			continue;
		*id = manifest.memories[i].id - (UINT64_C(1) << 32);
		count++;
	}
	*serves = manifest.default_set == PROTO_SET_MERGED;
	arena_destroy(&arena);
	return count;
}

static void retrain(struct cluster *c, uint64_t shard, uint64_t version, const uint64_t *seqs)
{
	uint64_t id, epoch = worker_lease(&c->worker, &id);
	assert_int_equal(id, shard);
	assert_true(hear(&c->worker, shard, epoch, 0).retrain);
	struct commit commit = { .shard = shard,
				 .epoch = epoch,
				 .version = version,
				 .first = 2,
				 .closed = true,
				 .seqs = seqs,
				 .delta = version == 2 ? "anew" : "and again" };
	assert_int_equal(worker_commit(&c->worker, &commit, NULL), 0);
	end_clear(&c->worker);
}

/* A closed shard of two facts, merged; merge 1 is version 2. */
static void prepare_merged(struct cluster *c, struct fact *f)
{
	c->config.edits_per_shard = 2;
	prepare(c, f);
	assert_int_equal(merge_id(c), 1);
	cluster_advance(c, 100);
	merge_gate(c, 2);
	assert_int_equal(newest(c), 2);
	worker_hello(&c->worker, 2);
	end_clear(&c->worker);
}

static void expect_merged(struct cluster *c, uint64_t version, uint64_t merge)
{
	uint64_t id;
	bool serves;
	assert_int_equal(newest(c), version);
	assert_int_equal(merged_in(c, version, &id, &serves), 1);
	assert_int_equal(id, merge);
	assert_true(serves);
}

/* Nobody asks: tombstone, the shard without the edit, the memory merged anew. The old one serves until the new one has
 * passed its gate, and is in no version after that. */
static void test_a_merged_memory_is_merged_anew(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	prepare_merged(c, &f);
	const uint64_t seqs[] = { f.seq, f.seq + 1 };
	assert_int_equal(client_revoke(c, f.edit.id, NULL, false).version, 3);
	cluster_advance(c, 100);
	assert_int_equal(c->fake.starts, 1); /* not before the shard has forgotten it */
	retrain(c, f.shard, 2, seqs);
	cluster_advance(c, 100);
	assert_int_equal(c->fake.starts, 2);
	expect_merged(c, 4, 1);
	cluster_restart(c); /* at the gate */
	worker_hello(&c->worker, 3);
	cluster_run(c);
	merge_gate(c, 1);
	expect_merged(c, 5, 2);
	assert_true(removed_in(c, 5, f.seq));
	assert_int_equal(shard_of(c, f.shard).state, STORE_SHARD_STATE_MERGED);
	cluster_advance(c, 1000000); /* it is done, for the next process too */
	cluster_restart(c);
	worker_hello(&c->worker, 4);
	client_facts(c, 20, 1);
	uint64_t shard, epoch = worker_lease(&c->worker, &shard);
	worker_turn(&c->worker, shard, epoch);
	expect_merged(c, 6, 2);
	cluster_advance(c, 1000000);
	assert_int_equal(c->fake.starts, 2);
}

static void publish(struct cluster *c, enum msg_publish_action action, uint64_t version)
{
	struct msg msg = { .type = MSG_PUBLISH };
	msg.u.publish = (struct msg_publish){ .action = action, .version = version, .reason = { "why", 3 } };
	end_send(&c->client, &msg);
	cluster_run(c);
	struct msg_received *reply = end_expect(&c->client, MSG_PUBLISH_REPLY);
	assert_int_equal(reply->msg.u.publish_reply.code, 0);
	msg_free(&reply);
}

static void wait_long(struct cluster *c)
{
	for (int i = 0; i < 100; i++)
		cluster_advance(c, 10000);
}

/* In a pause no version tells what came after what. */
static void test_a_renewal_in_a_pause_is_one(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	prepare_merged(c, &f);
	const uint64_t seqs[] = { f.seq, f.seq + 1 };
	publish(c, MSG_PUBLISH_ROLLBACK, 2);
	client_revoke(c, f.edit.id, NULL, false);
	retrain(c, f.shard, 2, seqs);
	cluster_advance(c, 100);
	assert_int_equal(c->fake.starts, 2);
	worker_hello(&c->worker, 3);
	merge_gate(c, 1);
	wait_long(c);
	assert_int_equal(c->fake.starts, 2);
	publish(c, MSG_PUBLISH_RESUME, 0);
	expect_merged(c, 4, 2);
	wait_long(c);
	assert_int_equal(c->fake.starts, 2);
}

/* Merge, retraining and resume in one pause: the memory still holds what was revoked. */
static void test_a_renewal_comes_after_the_pause_too(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	c->config.edits_per_shard = 2;
	prepare(c, &f);
	const uint64_t seqs[] = { f.seq, f.seq + 1 };
	publish(c, MSG_PUBLISH_ROLLBACK, 1);
	assert_int_equal(merge_id(c), 1);
	cluster_advance(c, 100);
	merge_gate(c, 2);
	client_revoke(c, f.edit.id, NULL, false);
	c->fake.write_output = false;
	retrain(c, f.shard, 2, seqs);
	for (int i = 0; i < 3; i++)
		cluster_advance(c, 1000); /* its tries fail */
	publish(c, MSG_PUBLISH_RESUME, 0);
	expect_merged(c, 3, 1);
	c->fake.write_output = true;
	const int starts = c->fake.starts;
	for (int i = 0; i < 100 && c->fake.starts == starts; i++)
		cluster_advance(c, 10000);
	worker_hello(&c->worker, 3);
	cluster_advance(c, 100);
	merge_gate(c, 1);
	expect_merged(c, 4, 3);
}

/* Its shards are where they were, but the one whose edits all ended while it ran. */
static void test_what_a_second_attempt_leaves_out_is_let_go(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	uint64_t shard, seq;
	c->config.edits_per_shard = 2;
	c->fake.ticks_left = -1;
	prepare(c, &f);
	seq = f.seq + 1;
	client_facts(c, 10, 2);
	uint64_t epoch = worker_lease(&c->worker, &shard);
	assert_int_equal(worker_turn(&c->worker, shard, epoch), 2);
	assert_int_equal(merge_id(c), 1);
	cluster_advance(c, 100);
	assert_int_equal(shard_of(c, shard).state, STORE_SHARD_STATE_MERGING);
	for (int i = 0; i < 2; i++) {
		struct store_edit edit = edit_from(c, seq + 1);
		seq = edit.seq;
		assert_int_equal(edit.shard, shard);
		assert_int_equal(client_revoke(c, edit.id, NULL, false).code, 0);
	}
	c->fake.write_output = false;
	c->fake.ticks_left = 0;
	cluster_advance(c, 100);
	c->fake.ticks_left = -1;
	for (int i = 0; i < 5; i++)
		cluster_advance(c, 1000);
	assert_int_equal(c->fake.starts, 2);
	assert_int_equal(shard_of(c, f.shard).state, STORE_SHARD_STATE_MERGING);
	assert_int_equal(shard_of(c, shard).state, STORE_SHARD_STATE_CLOSED);
}

/* One that fails leaves the old memory as it was, and comes again: after a while, or when it is asked for. */
static void test_a_failed_renewal_comes_again(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	prepare_merged(c, &f);
	const uint64_t seqs[] = { f.seq, f.seq + 1 };
	client_revoke(c, f.edit.id, NULL, false);
	c->fake.write_output = false;
	retrain(c, f.shard, 2, seqs);
	for (int i = 0; i < 3; i++)
		cluster_advance(c, 1000);
	assert_int_equal(c->fake.starts, 3); /* two tries */
	assert_int_equal(shard_of(c, f.shard).state, STORE_SHARD_STATE_MERGED);
	expect_merged(c, 4, 1);
	for (int i = 0; i < 59; i++)
		cluster_advance(c, 10000);
	assert_int_equal(c->fake.starts, 3);
	cluster_advance(c, 10000);
	assert_int_equal(c->fake.starts, 4);
	for (int i = 0; i < 3; i++)
		cluster_advance(c, 1000);
	assert_int_equal(c->fake.starts, 5);
	c->fake.write_output = true;
	worker_hello(&c->worker, 3);
	end_clear(&c->worker);
	assert_int_equal(merge_id(c), 4);
	cluster_advance(c, 100);
	merge_gate(c, 1);
	expect_merged(c, 5, 4);
}

/* A worker whose key is revoked while it tests a merge again takes no try of the gate with it. */
static void test_a_barred_worker_costs_the_gate_no_try(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	uint64_t merge;
	struct msg msg = { .type = MSG_KEY_CHANGE, .u.key_change = { .action = MSG_KEY_REVOKE } };
	memcpy(msg.u.key_change.key.key, c->worker.key, PROTO_KEY_BYTES);
	c->config.edits_per_shard = 2;
	c->config.merge_tries_max = 1;
	prepare(c, &f);
	cluster_keys(c);
	worker_hello(&c->worker, 2);
	assert_int_equal(merge_id(c), 1);
	cluster_advance(c, 100);
	assert_true(worker_lease(&c->worker, &merge) > 0);
	assert_int_equal(merge, 1);
	end_send(&c->client, &msg);
	cluster_run(c);
	end_drop(&c->client, MSG_KEY_CHANGE_REPLY);
	worker_hello(&c->worker2, 3);
	cluster_run(c);
	assert_true(worker_lease(&c->worker2, &merge) > 0);
	assert_int_equal(merge, 1);
}

/* Then there is nothing to merge: the memory is in no version any more. */
static void test_a_merged_memory_without_edits_is_gone(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	struct store_edit other;
	uint64_t id;
	bool serves;
	prepare_merged(c, &f);
	const uint64_t seqs[] = { f.seq, f.seq + 1 };
	edit_get(c, f.seq + 1, &other);
	client_revoke(c, f.edit.id, NULL, false);
	client_revoke(c, other.id, NULL, false);
	assert_int_equal(merged_in(c, newest(c), &id, &serves), 0);
	assert_false(serves);
	retrain(c, f.shard, 2, seqs);
	cluster_advance(c, 1000);
	assert_int_equal(c->fake.starts, 1);
	assert_int_equal(merge_id(c), -1);
}

/* A merge waits for the retraining: what was taken back does not get into a merged memory. */
static void test_a_merge_waits_for_the_retraining(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	c->config.edits_per_shard = 2;
	prepare(c, &f);
	client_revoke(c, f.edit.id, NULL, false);
	assert_int_equal(merge_id(c), 1);
	cluster_advance(c, 100);
	assert_int_equal(c->fake.starts, 0);
	uint64_t epoch = worker_lease(&c->worker, NULL), seqs[] = { f.seq, f.seq + 1 };
	hear(&c->worker, f.shard, epoch, 0);
	struct commit commit = { .shard = f.shard,
				 .epoch = epoch,
				 .version = 2,
				 .first = 2,
				 .closed = true,
				 .seqs = seqs,
				 .delta = "anew" };
	assert_int_equal(worker_commit(&c->worker, &commit, NULL), 0);
	cluster_advance(c, 100);
	assert_int_equal(c->fake.starts, 1);
}

/* Shards without a live edit have nothing to merge. */
static void test_nothing_left_to_merge(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	struct store_edit other;
	c->config.edits_per_shard = 2;
	prepare(c, &f);
	edit_get(c, f.seq + 1, &other);
	client_revoke(c, f.edit.id, NULL, false);
	client_revoke(c, other.id, NULL, false);
	assert_int_equal(merge_id(c), -1);
}

/* The memory that it was to take the place of goes on, in later versions too, and the renewal is tried again later. */
static void test_a_refused_renewal_leaves_the_memory(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	prepare_merged(c, &f);
	c->config.approve = true;
	cluster_restart(c);
	worker_hello(&c->worker, 3);
	const uint64_t seqs[] = { f.seq, f.seq + 1 };
	assert_int_equal(client_revoke(c, f.edit.id, NULL, false).version, 3);
	retrain(c, f.shard, 2, seqs);
	cluster_advance(c, 100);
	assert_int_equal(c->fake.starts, 2);
	assert_int_equal(approve(c).version, 4);
	worker_hello(&c->worker, 4);
	cluster_run(c);
	merge_gate(c, 1);
	const struct seen s = look(c);
	assert_int_equal(s.version, 5);
	assert_int_equal(say(&c->admin, MSG_PUBLISH_REJECT, &s.content, "it forgets").code, 0);
	assert_string_equal(look(c).state, "none"); /* without it there is nothing new */
	assert_int_equal(shard_of(c, f.shard).state, STORE_SHARD_STATE_MERGED);
	cluster_advance(c, 1000);
	assert_int_equal(c->fake.starts, 2);
	end_clear(&c->worker);
	worker_hello(&c->worker, 5);
	client_facts(c, 20, 1);
	uint64_t shard, epoch = worker_lease(&c->worker, &shard);
	worker_turn(&c->worker, shard, epoch);
	assert_int_equal(approve(c).version, 5);
	expect_merged(c, 5, 1);
	cluster_advance(c, 600000);
	worker_hello(&c->worker, 6);
	cluster_advance(c, 100);
	assert_int_equal(c->fake.starts, 3);
}

#define T(f) cmocka_unit_test_setup_teardown(f, cluster_setup, cluster_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_a_merging_shard_waits),
		T(test_a_merge_waits_for_the_retraining),
		T(test_nothing_left_to_merge),
		T(test_a_merged_memory_is_merged_anew),
		T(test_a_refused_renewal_leaves_the_memory),
		T(test_a_failed_renewal_comes_again),
		T(test_a_merged_memory_without_edits_is_gone),
		T(test_a_barred_worker_costs_the_gate_no_try),
		T(test_a_renewal_in_a_pause_is_one),
		T(test_a_renewal_comes_after_the_pause_too),
		T(test_what_a_second_attempt_leaves_out_is_let_go),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
