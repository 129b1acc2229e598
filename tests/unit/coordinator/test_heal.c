/* Chunks that the disk changed: never served, set apart, fetched anew from who has them, and what nobody has is told.
 */
#include "tests/unit/coordinator/rot.h"

#define ROUNDS_MS 25000 /* two rounds and what lies between them */

struct rotten {
	struct hash root, hash; /* of the delta of version 1, and its chunk */
	struct buf bytes;       /* the right ones */
};

/* Version 1 is there, and the coordinator stopped. */
static void delta_read(struct cluster *c, struct rotten *r)
{
	struct proto_manifest manifest;
	struct arena *arena = NULL;
	*r = (struct rotten){ .bytes = BUF_INIT };
	cluster_start(c);
	fact_train(c, 1, 1);
	assert_int_equal(arena_new(4096, 0, &arena), 0);
	manifest_read(c, 1, arena, &manifest);
	r->root = manifest.memories[0].delta_root;
	arena_destroy(&arena);
	assert_ok(&c->e, store_blob_get(c->store, &r->root, 1 << 20, &r->bytes, &c->e));
	hash_of(r->bytes.data, r->bytes.len, &r->hash);
	end_clear(&c->worker);
	end_clear(&c->node);
	cluster_stop(c);
}

static void rotten_setup(struct cluster *c, struct rotten *r)
{
	delta_read(c, r);
	rot(c, &r->bytes);
}

static void chunk_bring(struct end_peer *end, const struct hash *hash, const void *bytes, size_t len, int code)
{
	struct msg msg = { .type = MSG_CHUNK, .u.chunk = { *hash, code, { bytes, len } } };
	end_send(end, &msg);
	cluster_run(end->cluster);
}

static void expect_asked(struct end_peer *end, const struct hash *hash)
{
	struct msg_received *asked = end_expect(end, MSG_NEED);
	assert_int_equal(asked->msg.u.hashes.hash_count, 1);
	assert_true(hash_equal(&asked->msg.u.hashes.hashes[0], hash));
	msg_free(&asked);
}

static int expect_chunk(struct end_peer *end, const struct rotten *r)
{
	struct msg_received *chunk = end_expect(end, MSG_CHUNK);
	const int code = chunk->msg.u.chunk.code;
	if (code == 0) {
		assert_int_equal(chunk->msg.u.chunk.data.len, r->bytes.len);
		assert_memory_equal(chunk->msg.u.chunk.data.bytes, r->bytes.data, r->bytes.len);
	}
	msg_free(&chunk);
	return code;
}

static void expect_metric(struct cluster *c, const char *line)
{
	struct buf page = BUF_INIT;
	coordinator_metrics(c->coordinator, &page);
	if (strstr(buf_cstr(&page), line) == NULL)
		fail_msg("\"%s\" is not in: %s", line, buf_cstr(&page));
	buf_free(&page);
}

static void fleet_damage(struct cluster *c, char out[1024])
{
	struct msg msg = { .type = MSG_FLEET };
	end_clear(&c->client);
	end_send(&c->client, &msg);
	cluster_run(c);
	struct msg_received *reply = end_expect(&c->client, MSG_FLEET_REPLY);
	snprintf(out, 1024, "%.*s", (int)reply->msg.u.fleet_reply.damage.len, reply->msg.u.fleet_reply.damage.text);
	msg_free(&reply);
}

static bool is_whole(struct cluster *c, const struct hash *root)
{
	struct buf bad = BUF_INIT;
	assert_ok(&c->e, store_blob_damaged(c->store, root, &bad, &c->e));
	const bool whole = bad.len == 0;
	buf_free(&bad);
	return whole;
}

static void test_a_damaged_chunk_is_fetched_from_the_worker_that_made_it(void **state)
{
	struct cluster *c = *state;
	struct rotten r;
	bool apart = false;
	rotten_setup(c, &r);
	test_log_begin(c->folder);
	cluster_start(c);
	worker_hello(&c->worker, 1);
	end_clear(&c->worker);
	end_need(&c->node, &r.hash);
	assert_null(end_take(&c->node, MSG_CHUNK)); /* nothing is served, and nothing refused yet */
	assert_ok(&c->e, store_quarantine_has(c->store, &r.hash, &apart, &c->e));
	assert_true(apart);
	expect_metric(c, "amend_store_damaged_chunks{state=\"wanted\"} 1\n");
	expect_asked(&c->worker, &r.hash);
	chunk_bring(&c->worker, &r.hash, "something else", 14, 0); /* a lie heals nothing */
	assert_false(is_whole(c, &r.root));
	end_need(&c->node, &r.hash);
	assert_null(end_take(&c->node, MSG_CHUNK));
	chunk_bring(&c->worker, &r.hash, r.bytes.data, r.bytes.len, 0);
	assert_true(is_whole(c, &r.root));
	end_need(&c->node, &r.hash);
	assert_int_equal(expect_chunk(&c->node, &r), 0);
	expect_metric(c, "amend_store_damaged_chunks{state=\"wanted\"} 0\n");
	expect_metric(c, "amend_store_chunks_damaged_total 1\n");
	expect_metric(c, "amend_store_chunks_healed_total 1\n");
	test_log_end();
	assert_int_equal(test_log_count("COORDINATOR-CHUNK-DAMAGED"), 1);
	assert_int_equal(test_log_count("COORDINATOR-CHUNK-HEALED"), 1);
	buf_free(&r.bytes);
}

/* The first that is asked has not got it: the next one is asked at once. */
static void test_a_node_may_give_what_the_worker_has_not(void **state)
{
	struct cluster *c = *state;
	struct rotten r;
	rotten_setup(c, &r);
	cluster_start(c);
	worker_hello(&c->worker, 1);
	node_hello(&c->node, 1);
	end_clear(&c->worker);
	end_need(&c->client, &r.hash);
	expect_asked(&c->worker, &r.hash);
	assert_null(end_take(&c->node, MSG_NEED));
	chunk_bring(&c->worker, &r.hash, NULL, 0, ERR_NOT_FOUND);
	expect_asked(&c->node, &r.hash);
	chunk_bring(&c->node, &r.hash, r.bytes.data, r.bytes.len, 0);
	assert_true(is_whole(c, &r.root));
	buf_free(&r.bytes);
}

static void test_readers_bring_only_what_was_asked_for(void **state)
{
	struct cluster *c = *state;
	struct hash hash;
	bool has = true;
	cluster_start(c);
	hash_of("ballast", 7, &hash);
	chunk_bring(&c->node, &hash, "ballast", 7, 0);
	struct msg_received *refused = end_expect(&c->node, MSG_CHUNK_STORED);
	assert_int_equal(refused->msg.u.chunk.code, ERR_DENIED);
	msg_free(&refused);
	assert_null(end_take(&c->node, MSG_ERROR)); /* with which a node would end: it may only have come second */
	assert_ok(&c->e, store_chunk_has(c->store, &hash, &has, &c->e));
	assert_false(has);
}

/* Versions that need it are named, and so is one that does not; a restart knows it still, and who has it later is
 * welcome. */
static void test_what_nobody_has_is_told_until_somebody_has(void **state)
{
	struct cluster *c = *state;
	struct rotten r;
	char text[1024];
	rotten_setup(c, &r);
	cluster_start(c);
	fact_train(c, 2, 2); /* version 2, which has another delta */
	end_need(&c->node, &r.hash);
	end_clear(&c->node);
	cluster_advance(c, ROUNDS_MS);
	for (int i = 0; i < 4; i++)
		cluster_advance(c, 11000);
	fleet_damage(c, text);
	if (strstr(text, "1 damaged chunk: version v1 needs what is damaged; no worker and no node has it") != text ||
	    strstr(text, "amend store restore") == NULL || strstr(text, "amend version rollback v2") == NULL)
		fail_msg("%s", text);
	end_need(&c->node, &r.hash);
	assert_int_equal(expect_chunk(&c->node, &r), ERR_NOT_FOUND);
	expect_metric(c, "amend_store_damaged_chunks{state=\"lost\"} 1\n");
	cluster_restart(c);
	expect_metric(c, "amend_store_damaged_chunks{state=\"wanted\"} 1\n");
	for (int i = 0; i < 4; i++)
		cluster_advance(c, 11000);
	expect_metric(c, "amend_store_damaged_chunks{state=\"lost\"} 1\n");
	node_hello(&c->node, 3);
	for (int i = 0; i < 4; i++) {
		worker_beat(&c->node, 0, 0);
		cluster_advance(c, 3000);
	}
	expect_asked(&c->node, &r.hash);
	chunk_bring(&c->node, &r.hash, r.bytes.data, r.bytes.len, 0);
	fleet_damage(c, text);
	assert_string_equal(text, "");
	expect_metric(c, "amend_store_damaged_chunks{state=\"lost\"} 0\n");
	assert_true(is_whole(c, &r.root));
	buf_free(&r.bytes);
}

/* Nobody reads it: the scrub does. */
static void test_the_scrub_finds_what_nobody_reads(void **state)
{
	struct cluster *c = *state;
	struct rotten r;
	rotten_setup(c, &r);
	cluster_start(c);
	for (int i = 0; i < 10; i++)
		cluster_advance(c, 1000);
	expect_metric(c, "amend_store_scrub_passes_total 0\n"); /* the fixture's is off */
	expect_metric(c, "amend_store_chunks_damaged_total 0\n");
	cluster_stop(c);
	c->config.scrub_bytes_per_s = 1 << 20;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	for (int i = 0; i < 10; i++)
		cluster_advance(c, 1000);
	expect_metric(c, "amend_store_scrub_passes_total 1\n");
	expect_metric(c, "amend_store_chunks_damaged_total 1\n");
	expect_asked(&c->worker, &r.hash);
	buf_free(&r.bytes);
}

static void test_a_thread_scrubs_while_the_loop_writes(void **state)
{
	struct cluster *c = *state;
	struct rotten r;
	struct msg_received *asked = NULL;
	int64_t since = 0;
	rotten_setup(c, &r);
	cluster_stop(c);
	c->config.scrub_bytes_per_s = 1 << 20;
	c->config.store_threads = 1;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	for (size_t fact = 100; (asked = end_take(&c->worker, MSG_NEED)) == NULL && test_wait(&since); fact++) {
		if (fact < 150)
			client_facts(c, fact, 1);
		cluster_advance(c, 100);
	}
	assert_non_null(asked);
	assert_true(hash_equal(&asked->msg.u.hashes.hashes[0], &r.hash));
	msg_free(&asked);
	chunk_bring(&c->worker, &r.hash, r.bytes.data, r.bytes.len, 0);
	assert_true(is_whole(c, &r.root));
	buf_free(&r.bytes);
}

/* What the start itself finds, the root chunks: it goes on and asks. */
static void test_a_damaged_root_chunk_is_asked_for_at_the_start(void **state)
{
	struct cluster *c = *state;
	struct rotten r;
	struct buf root = BUF_INIT;
	delta_read(c, &r);
	cluster_store(c);
	assert_ok(&c->e, store_chunk_get(c->store, &r.root, &root, &c->e));
	cluster_stop(c);
	rot(c, &root);
	cluster_start(c);
	cluster_restart(c); /* it is apart now, and no reason to stand still either */
	worker_hello(&c->worker, 1);
	cluster_advance(c, 11000);
	worker_beat(&c->worker, 0, 0);
	cluster_advance(c, 1000);
	expect_asked(&c->worker, &r.root);
	chunk_bring(&c->worker, &r.root, root.data, root.len, 0);
	assert_true(is_whole(c, &r.root));
	buf_free(&root);
	buf_free(&r.bytes);
}

/* First it is found by the copy itself, then it had been set apart before. */
static void test_a_backup_of_what_is_damaged_can_be_started(void **state)
{
	struct cluster *c = *state;
	struct store_backup_tally tally;
	struct rotten r;
	char store[TEST_PATH_BYTES], copy[TEST_PATH_BYTES];
	test_path(store, c->folder, "store");
	test_path(copy, c->folder, "copy");
	rotten_setup(c, &r);
	for (uint64_t again = 0; again < 2; again++) {
		cluster_store(c);
		assert_ok(&c->e, store_backup(c->store, copy, NULL, &tally, &c->e));
		assert_int_equal(tally.bad_count, 1);
		cluster_stop(c);
		test_folder_remove(store);
		assert_int_equal(rename(copy, store), 0);
		cluster_start(c);
		worker_hello(&c->worker, 2 + again);
		cluster_advance(c, ROUNDS_MS);
		worker_beat(&c->worker, 0, 0);
		cluster_advance(c, 1000);
		expect_asked(&c->worker, &r.hash);
		end_clear(&c->worker);
	}
	chunk_bring(&c->worker, &r.hash, r.bytes.data, r.bytes.len, 0);
	assert_true(is_whole(c, &r.root));
	buf_free(&r.bytes);
}

#define MANY 5000 /* two messages and a part of one name so many chunks */

static void many_rot(struct cluster *c, struct store_chunk *chunks)
{
	static char texts[MANY][64];
	const struct buf needle = { .data = (uint8_t *)", which rots on this disk", .len = 25 };
	for (int i = 0; i < MANY; i++) {
		snprintf(texts[i], sizeof texts[i], "chunk number %d%s", i, (const char *)needle.data);
		chunks[i] = (struct store_chunk){ .bytes = texts[i], .byte_count = strlen(texts[i]) };
		hash_of(chunks[i].bytes, chunks[i].byte_count, &chunks[i].hash);
	}
	cluster_store(c);
	assert_ok(&c->e, store_chunks_put(c->store, chunks, MANY, &c->e));
	cluster_stop(c);
	rot(c, &needle);
}

/* The worker has none of those that it is asked for, but the last. */
static size_t many_answer(struct cluster *c, const struct store_chunk *chunks, bool *seen)
{
	struct msg_received *asked;
	size_t count = 0;
	while ((asked = end_take(&c->worker, MSG_NEED)) != NULL) {
		const struct msg_hashes *need = &asked->msg.u.hashes;
		bool last = false;
		for (size_t i = 0; i < need->hash_count; i++)
			for (size_t k = 0; k < MANY; k++)
				if (hash_equal(&need->hashes[i], &chunks[k].hash)) {
					count += !seen[k];
					seen[k] = true;
					last = last || k == MANY - 1;
				}
		if (last)
			chunk_bring(&c->worker, &chunks[MANY - 1].hash, chunks[MANY - 1].bytes,
				    chunks[MANY - 1].byte_count, 0);
		else
			chunk_bring(&c->worker, &need->hashes[0], NULL, 0, ERR_NOT_FOUND);
		msg_free(&asked);
	}
	return count;
}

/* What nobody has is no reason to ask for nothing else. */
static void test_more_than_one_message_names_is_asked_for(void **state)
{
	struct cluster *c = *state;
	static struct store_chunk chunks[MANY];
	static bool seen[MANY];
	char text[1024];
	size_t count = 0;
	c->config.scrub_bytes_per_s = 1 << 30;
	many_rot(c, chunks);
	test_log_begin(c->folder);
	cluster_start(c);
	worker_hello(&c->worker, 1);
	for (int i = 0; i < 300; i++) {
		worker_beat(&c->worker, 0, 0);
		cluster_advance(c, 1000);
		count += many_answer(c, chunks, seen);
	}
	test_log_end();
	assert_int_equal(test_log_count("COORDINATOR-CHUNK-DAMAGED"), MANY);
	assert_int_equal(count, MANY);
	expect_metric(c, "amend_store_damaged_chunks{state=\"wanted\"} 0\n");
	expect_metric(c, "amend_store_damaged_chunks{state=\"lost\"} 4999\n");
	expect_metric(c, "amend_store_chunks_healed_total 1\n");
	fleet_damage(c, text);
	assert_non_null(strstr(text, "4999 damaged chunks: nothing needs what is damaged"));
}

static void test_a_search_ends_when_it_is_told_to(void **state)
{
	struct cluster *c = *state;
	struct coordinator_damage damage;
	struct rotten r;
	struct buf chunks = BUF_INIT;
	atomic_bool stop;
	rotten_setup(c, &r);
	cluster_store(c);
	buf_append(&chunks, r.hash.bytes, HASH_BYTES);
	atomic_init(&stop, true);
	assert_int_equal(coordinator_damage_find(c->store, &chunks, &stop, &damage, &c->e), ERR_INTERRUPTED);
	atomic_store(&stop, false);
	assert_ok(&c->e, coordinator_damage_find(c->store, &chunks, &stop, &damage, &c->e));
	assert_int_equal(damage.versions.len, sizeof(uint64_t));
	coordinator_damage_fini(&damage);
	buf_free(&chunks);
	buf_free(&r.bytes);
}

#define T(f) cmocka_unit_test_setup_teardown(f, cluster_setup, cluster_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_a_damaged_chunk_is_fetched_from_the_worker_that_made_it),
		T(test_a_node_may_give_what_the_worker_has_not),
		T(test_readers_bring_only_what_was_asked_for),
		T(test_what_nobody_has_is_told_until_somebody_has),
		T(test_the_scrub_finds_what_nobody_reads),
		T(test_a_thread_scrubs_while_the_loop_writes),
		T(test_a_damaged_root_chunk_is_asked_for_at_the_start),
		T(test_a_backup_of_what_is_damaged_can_be_started),
		T(test_more_than_one_message_names_is_asked_for),
		T(test_a_search_ends_when_it_is_told_to),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
