/* What a merged memory has lost: its index names the edits, and their shards answer them. */
#include "tests/unit/coordinator/revoke_fixture.h"

#include "proto/codec.h"

/* A merge of a closed shard of three edits (seqs in the order of the gate's lease) is at its gate; its epoch. */
static uint64_t at_the_gate(struct cluster *c, uint64_t seqs[3])
{
	uint64_t shard;
	c->config.edits_per_shard = 3;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	client_facts(c, 1, 3);
	const uint64_t trained = worker_lease(&c->worker, &shard);
	assert_int_equal(worker_turn(&c->worker, shard, trained), 1);
	struct msg msg = { .type = MSG_MERGE_RUN };
	end_send(&c->client, &msg);
	cluster_run(c);
	end_clear(&c->client);
	struct msg_received *lease = end_expect(&c->worker, MSG_LEASE);
	assert_int_equal(lease->msg.u.lease.kind, MSG_LEASE_GATE);
	const uint64_t epoch = lease->msg.u.lease.epoch;
	msg_free(&lease);
	worker_want(&c->worker, 1, epoch, 100, 0);
	struct msg_received *edits = end_expect(&c->worker, MSG_EDITS);
	assert_int_equal(edits->msg.u.edits.item_count, 3);
	for (size_t i = 0; i < 3; i++)
		seqs[i] = edits->msg.u.edits.items[i].seq;
	msg_free(&edits);
	return epoch;
}

/* As the worker leaves it. */
static struct hash index_put(struct cluster *c, const uint64_t *lost, size_t count)
{
	const struct proto_merge_index index = { lost, count };
	struct buf bytes = BUF_INIT;
	struct hash root;
	assert_ok(&c->e, proto_merge_index_encode(&index, &bytes, &c->e));
	assert_ok(&c->e, store_blob_put(c->store, bytes.data, bytes.len, &root, &c->e));
	buf_free(&bytes);
	return root;
}

static int result_send(struct cluster *c, uint64_t epoch, uint32_t passed, const struct hash *index)
{
	struct msg msg = { .type = MSG_GATE_RESULT, .u.gate_result = { 1, epoch, passed, 3, *index } };
	end_send(&c->worker, &msg);
	cluster_run(c);
	struct msg_received *reply = end_expect(&c->worker, MSG_SHARD_COMMIT_REPLY);
	const int code = reply->msg.u.shard_commit_reply.code;
	msg_free(&reply);
	return code;
}

static void expect_ended_event(struct cluster *c, const char *says)
{
	struct store_txn *txn = NULL;
	struct store_event event;
	uint64_t last;
	bool found = false;
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_event_last(txn, &last, NULL, &c->e));
	for (uint64_t at = 1; at <= last; at++) {
		assert_ok(&c->e, store_event_get(txn, at, &event, &c->e));
		if (event.type == STORE_EVENT_MERGE_ENDED)
			found = memmem(event.payload, event.payload_len, says, strlen(says)) != NULL;
	}
	store_abort(&txn);
	assert_true(found);
}

static void what_a_merge_lost_is_named(void **state)
{
	struct cluster *c = *state;
	struct arena *arena = NULL;
	struct proto_manifest manifest;
	struct store_edit edit;
	uint64_t seqs[3];
	char says[STORE_ID_BYTES + 64];
	const uint64_t epoch = at_the_gate(c, seqs);
	const struct hash index = index_put(c, &seqs[1], 1);
	assert_int_equal(result_send(c, epoch, 2, &index), 0);
	assert_int_equal(arena_new(65536, 0, &arena), 0);
	manifest_read(c, newest(c), arena, &manifest);
	assert_int_equal(manifest.memory_count, 2);
	assert_int_equal(manifest.memories[1].kind, PROTO_MEMORY_MERGED);
	assert_true(hash_equal(&manifest.memories[1].index_root, &index));
	edit_get(c, seqs[1], &edit);
	snprintf(says, sizeof says, "\"lost\":1,\"lost_edits\":[\"%s\"]", edit.id);
	expect_ended_event(c, says);
	arena_destroy(&arena);
}

/* Lies, and slips: none of them becomes a version; what is right afterwards does. */
static void indexes_that_do_not_fit_are_refused(void **state)
{
	struct cluster *c = *state;
	uint64_t seqs[3], strangers[2];
	const uint64_t epoch = at_the_gate(c, seqs);
	strangers[0] = seqs[0];
	strangers[1] = 4000000;
	const struct hash one = index_put(c, seqs, 1), stranger = index_put(c, strangers, 2);
	struct hash garbage, absent;
	hash_of("absent", 6, &absent);
	assert_ok(&c->e, store_blob_put(c->store, "no index", 8, &garbage, &c->e));
	assert_int_equal(result_send(c, epoch, 1, &one), ERR_INVALID); /* two are lost */
	assert_int_equal(result_send(c, epoch, 3, &one), ERR_INVALID);
	assert_int_equal(result_send(c, epoch, 1, &stranger), ERR_INVALID);
	assert_int_equal(result_send(c, epoch, 2, &garbage), ERR_INVALID);
	assert_int_equal(result_send(c, epoch, 2, &absent), ERR_NOT_FOUND);
	assert_int_equal(result_send(c, epoch, 2, &one), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, cluster_setup, cluster_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(what_a_merge_lost_is_named),
		T(indexes_that_do_not_fit_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
