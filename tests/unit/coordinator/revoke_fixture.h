/* revoke_fixture.h: two trained facts, and what the tests of revocations look at. */
#ifndef AMEND_TESTS_UNIT_COORDINATOR_REVOKE_FIXTURE_H
#define AMEND_TESTS_UNIT_COORDINATOR_REVOKE_FIXTURE_H

#include "tests/lib/coordinator_fixture.h"

struct fact { /* a trained edit and where it is */
	uint64_t seq, shard, epoch;
	struct store_edit edit;
};

/* The first edit from `seq` on. */
static inline struct store_edit edit_from(struct cluster *c, uint64_t seq)
{
	struct store_txn *txn = NULL;
	struct store_edit edit;
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_edit_next(txn, seq, UINT32_MAX, &edit, &c->e));
	store_abort(&txn);
	return edit;
}

/* Two trained facts in one open shard; the one looked at is the first. */
static inline void prepare(struct cluster *c, struct fact *f)
{
	cluster_start(c);
	worker_hello(&c->worker, 1);
	client_facts(c, 1, 2);
	f->epoch = worker_lease(&c->worker, &f->shard);
	assert_int_equal(worker_turn(&c->worker, f->shard, f->epoch), 1);
	f->edit = edit_from(c, 1);
	f->seq = f->edit.seq;
}

static inline bool removed_in(struct cluster *c, uint64_t version, uint64_t seq)
{
	struct arena *arena = NULL;
	struct proto_manifest manifest;
	bool found = false;
	assert_int_equal(arena_new(65536, 0, &arena), 0);
	manifest_read(c, version, arena, &manifest);
	for (size_t i = 0; i < manifest.removed_count; i++)
		found = found || manifest.removed_seqs[i] == seq;
	arena_destroy(&arena);
	return found;
}

static inline size_t removed_count(struct cluster *c, uint64_t version)
{
	struct arena *arena = NULL;
	struct proto_manifest manifest;
	assert_int_equal(arena_new(65536, 0, &arena), 0);
	manifest_read(c, version, arena, &manifest);
	size_t count = manifest.removed_count;
	arena_destroy(&arena);
	return count;
}

static inline uint64_t newest(struct cluster *c)
{
	struct store_txn *txn = NULL;
	uint64_t last = 0;
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_version_last(txn, &last, &c->e));
	store_abort(&txn);
	return last;
}

/* What the worker is told with the next group; its commit is another call's. */
struct told {
	bool retrain, closing;
	size_t removed, items, group_count;
};
static inline struct told hear(struct end_peer *worker, uint64_t shard, uint64_t epoch, uint32_t received)
{
	struct told told = { .retrain = false };
	bool ended = false;
	worker_want(worker, shard, epoch, 100, received);
	while (!ended) {
		struct msg_received *edits = end_expect(worker, MSG_EDITS);
		const struct msg_edits *m = &edits->msg.u.edits;
		told.items += m->item_count;
		ended = m->group_end;
		told = (struct told){ m->retrain, m->closing, m->removed_count, told.items, m->group_count };
		msg_free(&edits);
	}
	return told;
}

static inline struct store_shard shard_of(struct cluster *c, uint64_t id)
{
	struct store_txn *txn = NULL;
	struct store_shard rec;
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_shard_get(txn, id, &rec, &c->e));
	store_abort(&txn);
	store_shard_fini(&rec);
	return rec;
}

/* So many edits of a merge are tested again under that lease, and pass: the code that the worker hears. */
static inline int gate_say(struct cluster *c, uint64_t merge, uint64_t epoch, uint32_t edits)
{
	struct msg msg = { .type = MSG_GATE_RESULT, .u.gate_result = { merge, epoch, edits, edits } };
	worker_want(&c->worker, merge, epoch, 100, 0);
	end_clear(&c->worker);
	end_send(&c->worker, &msg);
	cluster_run(c);
	struct msg_received *reply = end_expect(&c->worker, MSG_SHARD_COMMIT_REPLY);
	const int code = reply->msg.u.shard_commit_reply.code;
	msg_free(&reply);
	return code;
}

static inline int gate_result(struct cluster *c, uint32_t edits)
{
	uint64_t merge, epoch = worker_lease(&c->worker, &merge);
	return gate_say(c, merge, epoch, edits);
}

static inline void merge_gate(struct cluster *c, uint32_t edits)
{
	assert_int_equal(gate_result(c, edits), 0);
	end_clear(&c->worker);
}

#endif
