/* Collections that an administrator asks for, and what they leave alone. */
#include "tests/lib/store_fixture.h"
#include "tests/unit/coordinator/revoke_fixture.h"

struct status { /* a StoreStatus */
	int code;
	bool done;
	uint64_t chunk_count;
};

static struct status ask(struct end_peer *end, uint64_t id, uint64_t keep_versions)
{
	struct msg msg = { .type = MSG_STORE_RUN };
	msg.u.store_run = (struct msg_store_run){ id, MSG_STORE_COLLECT, { "", 0 }, keep_versions };
	end_send(end, &msg);
	cluster_receive(end->cluster);
	struct msg_received *reply = end_expect(end, MSG_STORE_STATUS);
	const struct msg_store_status *s = &reply->msg.u.store_status;
	struct status out = { s->code, s->done, s->chunk_count };
	msg_free(&reply);
	return out;
}

/* To its end. */
static struct status collect(struct cluster *c, uint64_t id, uint64_t keep_versions)
{
	struct status status = ask(&c->client, id, keep_versions);
	for (int i = 0; !status.done && i < 1000; i++) {
		coordinator_tick(c->coordinator);
		status = ask(&c->client, id, keep_versions);
	}
	assert_true(status.done);
	return status;
}

static void grace_pass(struct cluster *c)
{
	cluster_advance(c, 2 * STORE_GRACE_MS);
	end_clear(&c->worker);
}

/* A fact a version. */
static void versions(struct cluster *c, struct fact *f, uint64_t count)
{
	prepare(c, f);
	for (uint64_t v = 2; v <= count; v++) {
		client_facts(c, (size_t)v + 1, 1);
		assert_int_equal(worker_turn(&c->worker, f->shard, f->epoch), v);
	}
}

static bool is_kept(struct cluster *c, uint64_t version)
{
	struct store_txn *txn = NULL;
	bool kept = false;
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_version_kept(txn, version, &kept, &c->e));
	store_abort(&txn);
	return kept;
}

static bool is_whole(struct cluster *c, const struct hash *root)
{
	struct buf missing = BUF_INIT;
	assert_ok(&c->e, store_blob_missing(c->store, root, &missing, &c->e));
	bool whole = missing.len == 0;
	buf_free(&missing);
	return whole;
}

/* All that a version is made of. */
static bool version_whole(struct cluster *c, uint64_t version)
{
	struct arena *arena = NULL;
	struct proto_manifest manifest;
	const struct hash root = version_get(c, version).root;
	bool whole = is_whole(c, &root);
	assert_int_equal(arena_new(65536, 0, &arena), 0);
	if (whole)
		manifest_read(c, version, arena, &manifest);
	for (size_t i = 0; whole && i < manifest.memory_count; i++)
		whole = is_whole(c, &manifest.memories[i].delta_root);
	arena_destroy(&arena);
	return whole;
}

static int rollback_code(struct cluster *c, uint64_t version)
{
	struct msg msg = { .type = MSG_PUBLISH };
	msg.u.publish =
		(struct msg_publish){ .action = MSG_PUBLISH_ROLLBACK, .version = version, .reason = { "a test", 6 } };
	end_send(&c->client, &msg);
	cluster_run(c);
	struct msg_received *reply = end_expect(&c->client, MSG_PUBLISH_REPLY);
	int code = reply->msg.u.publish_reply.code;
	msg_free(&reply);
	return code;
}

static void test_what_is_refused_has_given_nothing_up(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	versions(c, &f, 3);
	assert_int_equal(collect(c, 1, 1).code, ERR_AGAIN); /* the first minutes */
	assert_true(is_kept(c, 1));
	assert_int_equal(rollback_code(c, 1), 0);
}

static void test_nothing_is_given_up_where_what_stays_cannot_be_read(void **state)
{
	struct cluster *c = *state;
	struct fixture store = { .store = NULL };
	struct fact f;
	versions(c, &f, 3);
	const struct hash root = version_get(c, 2).root;
	cluster_stop(c);
	test_path(store.folder, c->folder, "store");
	assert_true(fixture_tamper(&store, "blobs", root.bytes, HASH_BYTES, HASH_BYTES - 1) > 0);
	cluster_start(c);
	grace_pass(c);
	assert_int_not_equal(collect(c, 1, 2).code, 0);
	assert_true(is_kept(c, 1));
	assert_true(version_whole(c, 1));
	assert_int_equal(rollback_code(c, 1), 0);
}

static void test_old_versions_go_and_the_newest_stay(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	const uint64_t last = 40; /* more than one step lists */
	versions(c, &f, last);
	grace_pass(c);
	assert_int_equal(collect(c, 1, 0).chunk_count, 0);
	assert_true(version_whole(c, 1));
	grace_pass(c);
	assert_true(collect(c, 2, 20).chunk_count > 0);
	for (uint64_t v = 1; v <= last; v++)
		assert_true(is_kept(c, v) == version_whole(c, v) && is_kept(c, v) == (v > last - 20));
	assert_int_equal(rollback_code(c, 1), ERR_NOT_FOUND);
	assert_int_equal(rollback_code(c, last - 19), 0);
}

/* Made while it runs, and in no shard any more before it ends. */
static void test_a_version_of_meanwhile_stays(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	versions(c, &f, 20);
	grace_pass(c);
	worker_hello(&c->worker, 2);
	assert_false(ask(&c->client, 1, 1).done);
	coordinator_tick(c->coordinator); /* some are listed */
	client_facts(c, 50, 1);
	f.epoch = worker_lease(&c->worker, &f.shard);
	assert_int_equal(worker_turn(&c->worker, f.shard, f.epoch), 21);
	client_facts(c, 51, 1);
	assert_int_equal(worker_turn(&c->worker, f.shard, f.epoch), 22);
	assert_int_equal(collect(c, 1, 1).code, 0);
	assert_true(version_whole(c, 20) && version_whole(c, 21) && version_whole(c, 22));
	assert_int_equal(rollback_code(c, 21), 0);
}

/* Another administrator's begins before the first one has asked how its own ended. */
static void test_what_is_done_is_told_to_who_asked_for_it(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	versions(c, &f, 3);
	grace_pass(c);
	assert_false(ask(&c->client, 1, 2).done);
	assert_int_equal(ask(&c->client, 2, 0).code, ERR_BUSY);
	for (int i = 0; i < 10; i++)
		coordinator_tick(c->coordinator);
	for (uint64_t id = 2; id <= 8; id++)
		assert_int_equal(collect(c, id, 0).code, 0);
	struct status first = ask(&c->client, 1, 2);
	assert_true(first.done && first.code == 0 && first.chunk_count > 0);
	assert_int_equal(collect(c, 9, 0).code, 0);
}

static struct hash merge_root(struct cluster *c, uint64_t id)
{
	struct store_txn *txn = NULL;
	struct store_merge rec;
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_merge_get(txn, id, &rec, &c->e));
	store_abort(&txn);
	assert_int_equal(rec.state, STORE_MERGE_STATE_PUBLISHED);
	return rec.output_root;
}

/* A memory that was merged anew is in the versions of before alone, and goes with them. */
static void test_a_replaced_memory_goes_with_its_versions(void **state)
{
	struct cluster *c = *state;
	struct msg msg = { .type = MSG_MERGE_RUN };
	struct fact f;
	c->config.edits_per_shard = 2;
	prepare(c, &f);
	end_send(&c->client, &msg);
	cluster_run(c);
	end_drop(&c->client, MSG_MERGE_STATUS);
	cluster_advance(c, 100);
	merge_gate(c, 2);
	worker_hello(&c->worker, 2);
	end_clear(&c->worker);
	assert_int_equal(client_revoke(c, f.edit.id, NULL, false).version, 3);
	cluster_advance(c, 100);
	uint64_t epoch = worker_lease(&c->worker, &f.shard), seqs[] = { f.seq, f.seq + 1 };
	assert_true(hear(&c->worker, f.shard, epoch, 0).retrain);
	struct commit commit = {
		.shard = f.shard, .epoch = epoch, .version = 2, .first = 2, .closed = true, .seqs = seqs, .delta = "x"
	};
	assert_int_equal(worker_commit(&c->worker, &commit, NULL), 0);
	cluster_advance(c, 100);
	end_clear(&c->worker);
	worker_hello(&c->worker, 3);
	merge_gate(c, 1);
	assert_int_equal(newest(c), 5);
	struct hash old = merge_root(c, 1), fresh = merge_root(c, 2);
	assert_false(hash_equal(&old, &fresh));
	grace_pass(c);
	assert_int_equal(collect(c, 1, 0).code, 0);
	assert_true(is_whole(c, &old));
	grace_pass(c);
	assert_int_equal(collect(c, 2, 1).code, 0);
	assert_false(is_whole(c, &old));
	assert_true(is_whole(c, &fresh));
	cluster_restart(c); /* nor does a start need it */
	assert_true(version_whole(c, 5));
}

#define T(f) cmocka_unit_test_setup_teardown(f, cluster_setup, cluster_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_what_is_refused_has_given_nothing_up),
		T(test_nothing_is_given_up_where_what_stays_cannot_be_read),
		T(test_old_versions_go_and_the_newest_stay),
		T(test_a_version_of_meanwhile_stays),
		T(test_what_is_done_is_told_to_who_asked_for_it),
		T(test_a_replaced_memory_goes_with_its_versions),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
