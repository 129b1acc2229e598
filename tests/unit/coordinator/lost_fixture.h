/* lost_fixture.h: memories and manifests that the disk takes for good, and what is trained in their place. */
#ifndef AMEND_TESTS_UNIT_COORDINATOR_LOST_FIXTURE_H
#define AMEND_TESTS_UNIT_COORDINATOR_LOST_FIXTURE_H

#include "tests/unit/coordinator/revoke_fixture.h"
#include "tests/unit/coordinator/rot.h"

#include "proto/codec.h"

#define RETRAIN_MS 60000

static inline void bytes_of(struct cluster *c, const struct hash *root, struct buf *out)
{
	cluster_store(c);
	assert_ok(&c->e, store_blob_get(c->store, root, 1 << 20, out, &c->e));
	cluster_stop(c);
}

static inline struct hash delta_of(struct cluster *c, uint64_t version, size_t memory)
{
	struct proto_manifest manifest;
	struct arena *arena = NULL;
	assert_int_equal(arena_new(4096, 0, &arena), 0);
	manifest_read(c, version, arena, &manifest);
	const struct hash root = manifest.memories[memory].delta_root;
	arena_destroy(&arena);
	return root;
}

static inline size_t memories_of(struct cluster *c, uint64_t version)
{
	struct proto_manifest manifest;
	struct arena *arena = NULL;
	assert_int_equal(arena_new(4096, 0, &arena), 0);
	manifest_read(c, version, arena, &manifest);
	const size_t count = manifest.memory_count;
	arena_destroy(&arena);
	return count;
}

/* Zero: it has none. */
static inline struct hash merged_of(struct cluster *c, uint64_t version)
{
	struct proto_manifest manifest;
	struct arena *arena = NULL;
	struct hash root = { { 0 } };
	assert_int_equal(arena_new(65536, 0, &arena), 0);
	manifest_read(c, version, arena, &manifest);
	for (size_t i = 0; i < manifest.memory_count; i++)
		if (manifest.memories[i].kind == PROTO_MEMORY_MERGED)
			root = manifest.memories[i].delta_root;
	arena_destroy(&arena);
	return root;
}

/* A blob rots while the coordinator is stopped; then it starts, and somebody reads it. */
static inline void lose(struct cluster *c, const struct hash *root, uint64_t boot)
{
	struct buf bytes = BUF_INIT;
	struct hash hash;
	end_clear(&c->worker);
	end_clear(&c->node);
	cluster_stop(c);
	bytes_of(c, root, &bytes);
	rot(c, &bytes);
	hash_of(bytes.data, bytes.len, &hash);
	buf_free(&bytes);
	cluster_start(c);
	worker_hello(&c->worker, boot);
	end_need(&c->node, &hash);
}

/* Nobody gives anything for so long. */
static inline void wait(struct cluster *c, int64_t ms)
{
	for (int64_t at = 0; at < ms; at += 2000) {
		worker_beat(&c->worker, 0, 0);
		cluster_advance(c, 2000);
	}
	struct msg_received *asked;
	while ((asked = end_take(&c->worker, MSG_NEED)) != NULL)
		msg_free(&asked);
}

/* The first memory of a version. */
static inline void lose_memory(struct cluster *c, uint64_t version)
{
	const struct hash root = delta_of(c, version, 0);
	lose(c, &root, 2);
	wait(c, 2 * RETRAIN_MS);
}

static inline void lose_manifest(struct cluster *c, uint64_t version)
{
	const struct hash root = version_get(c, version).root;
	lose(c, &root, 2);
	wait(c, 2 * RETRAIN_MS);
}

/* A fact of `client` in a shard of its own, where two fill one. */
static inline void other_shard_train(struct cluster *c, const struct fact *f)
{
	client_facts(c, 3, 1);
	uint64_t shard, epoch = worker_lease(&c->worker, &shard);
	if (shard == f->shard) { /* the closing pass of the first comes before */
		worker_turn(&c->worker, shard, epoch);
		epoch = worker_lease(&c->worker, &shard);
	}
	worker_turn(&c->worker, shard, epoch);
}

static inline void problem_of(struct cluster *c, uint64_t version, char out[256])
{
	struct msg msg = { .type = MSG_VERSION_LIST, .u.version_list = { version, 1 } };
	end_clear(&c->client);
	end_send(&c->client, &msg);
	cluster_run(c);
	struct msg_received *reply = end_expect(&c->client, MSG_VERSION_LIST_REPLY);
	assert_int_equal(reply->msg.u.version_list_reply.version_count, 1);
	const struct msg_text problem = reply->msg.u.version_list_reply.versions[0].problem;
	snprintf(out, 256, "%.*s", (int)problem.len, problem.text);
	msg_free(&reply);
}

static inline uint64_t retrain(struct cluster *c, uint64_t version_before)
{
	struct msg_received *lease = end_expect(&c->worker, MSG_LEASE);
	struct msg_lease grant;
	do { /* the newest: earlier ones ended while nobody answered */
		grant = lease->msg.u.lease;
		msg_free(&lease);
	} while ((lease = end_take(&c->worker, MSG_LEASE)) != NULL);
	assert_true(hash_is_zero(&grant.delta_root)); /* there is nothing to begin with */
	assert_int_equal(grant.shard_version, version_before);
	worker_beat(&c->worker, grant.shard, grant.epoch);
	return worker_turn(&c->worker, grant.shard, grant.epoch);
}

#endif
