#include "tests/lib/store_fixture.h"

#include "base/fault.h"
#include "base/rng.h"

#include <pthread.h>

static uint8_t *noise(size_t byte_count, uint64_t seed)
{
	struct rng r;
	uint8_t *bytes = malloc(byte_count + 8);
	assert_non_null(bytes);
	rng_init(&r, seed);
	for (size_t i = 0; i < byte_count; i += 8) {
		uint64_t v = rng_u64(&r);
		memcpy(bytes + i, &v, 8);
	}
	return bytes;
}

static void round_trip(struct fixture *f, size_t byte_count)
{
	uint8_t *bytes = noise(byte_count, byte_count);
	struct buf found = BUF_INIT;
	struct hash root, again;
	OK(f, store_blob_put(f->store, bytes, byte_count, &root, &f->e));
	OK(f, store_blob_put(f->store, bytes, byte_count, &again, &f->e));
	assert_true(hash_equal(&root, &again));
	buf_puts(&found, "before");
	OK(f, store_blob_get(f->store, &root, byte_count, &found, &f->e));
	assert_int_equal(found.len, 6 + byte_count);
	assert_memory_equal(found.data, "before", 6);
	if (byte_count)
		assert_memory_equal(found.data + 6, bytes, byte_count);
	if (byte_count) {
		FAILS(ERR_LIMIT, store_blob_get(f->store, &root, byte_count - 1, &found, &f->e));
		assert_int_equal(found.len, 6 + byte_count);
	}
	buf_free(&found);
	free(bytes);
}

static void test_round_trips_at_the_edges_of_chunks(void **state)
{
	struct fixture *f = *state;
	const size_t sizes[] = {
		0, 1, STORE_CHUNK_BYTES - 1, STORE_CHUNK_BYTES, STORE_CHUNK_BYTES + 1, 3 * STORE_CHUNK_BYTES
	};
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		round_trip(f, sizes[i]);
}

/* The root is computed here as the header describes it, without the store's help. */
static void test_root_has_the_stated_form(void **state)
{
	struct fixture *f = *state;
	const size_t byte_count = STORE_CHUNK_BYTES + 10;
	uint8_t *bytes = noise(byte_count, 5);
	struct buf expected = BUF_INIT, found = BUF_INIT, hashes = BUF_INIT;
	struct hash h, root;
	uint64_t length;
	buf_puts(&expected, "AMRT");
	buf_u32le(&expected, 1);
	buf_u64le(&expected, byte_count);
	hash_of(bytes, STORE_CHUNK_BYTES, &h);
	buf_append(&expected, h.bytes, HASH_BYTES);
	hash_of(bytes + STORE_CHUNK_BYTES, 10, &h);
	buf_append(&expected, h.bytes, HASH_BYTES);
	hash_of(expected.data, expected.len, &h);
	OK(f, store_blob_put(f->store, bytes, byte_count, &root, &f->e));
	assert_true(hash_equal(&root, &h));
	OK(f, store_chunk_get(f->store, &root, &found, &f->e));
	assert_same_bytes(&found, &expected);
	OK(f, store_root_parse(found.data, found.len, &hashes, &length, &f->e));
	assert_int_equal(length, byte_count);
	assert_int_equal(hashes.len, 2 * sizeof(struct hash));
	assert_memory_equal(hashes.data, expected.data + 16, hashes.len);
	buf_free(&expected);
	buf_free(&found);
	buf_free(&hashes);
	free(bytes);
}

static void test_root_parse_refuses_every_other_form(void **state)
{
	(void)state;
	struct buf root = BUF_INIT, hashes = BUF_INIT;
	struct err e = ERR_INIT;
	uint64_t length;
	buf_puts(&root, "AMRT");
	buf_u32le(&root, 1);
	buf_u64le(&root, 100);
	for (int i = 0; i < HASH_BYTES; i++)
		buf_u8(&root, 7);
	assert_ok(&e, store_root_parse(root.data, root.len, &hashes, &length, &e));
	for (size_t len = 0; len < root.len; len++)
		FAILS(ERR_CORRUPT, store_root_parse(root.data, len, &hashes, &length, &e));
	buf_u8(&root, 0);
	FAILS(ERR_CORRUPT, store_root_parse(root.data, root.len, &hashes, &length, &e));
	root.len--;
	for (size_t i = 0; i < 16; i++) {
		/* A length from 1 to 65,520 still is one chunk, so the low two bytes of it are not checked here. */
		if (i == 8 || i == 9)
			continue;
		root.data[i] ^= 0x80;
		FAILS(ERR_CORRUPT, store_root_parse(root.data, root.len, &hashes, &length, &e));
		root.data[i] ^= 0x80;
	}
	memset(root.data + 8, 0xff, 8);
	FAILS(ERR_CORRUPT, store_root_parse(root.data, root.len, &hashes, &length, &e));
	assert_int_equal(hashes.len, HASH_BYTES);
	buf_free(&root);
	buf_free(&hashes);
}

static void test_chunks_are_checked_before_they_are_kept(void **state)
{
	struct fixture *f = *state;
	static const uint8_t big[STORE_CHUNK_BYTES + 1];
	struct store_chunk chunks[2] = { { .bytes = "good", .byte_count = 4 }, { .bytes = "bad", .byte_count = 3 } };
	bool has = true;
	hash_of("good", 4, &chunks[0].hash);
	hash_of("other", 5, &chunks[1].hash);
	FAILS(ERR_CORRUPT, store_chunks_put(f->store, chunks, 2, &f->e));
	OK(f, store_chunk_has(f->store, &chunks[0].hash, &has, &f->e));
	assert_false(has);
	chunks[1] = (struct store_chunk){ .bytes = big, .byte_count = sizeof(big) };
	hash_of(big, sizeof(big), &chunks[1].hash);
	FAILS(ERR_LIMIT, store_chunks_put(f->store, chunks, 2, &f->e));
	OK(f, store_chunks_put(f->store, chunks, 1, &f->e));
	OK(f, store_chunks_put(f->store, chunks, 0, &f->e));
	OK(f, store_chunk_has(f->store, &chunks[0].hash, &has, &f->e));
	assert_true(has);
}

static void test_missing_lists_only_what_is_not_here(void **state)
{
	struct fixture *f = *state;
	struct store_chunk chunks[3], root = { .bytes = NULL };
	struct buf list = BUF_INIT, missing = BUF_INIT, found = BUF_INIT;
	uint8_t *bytes = noise(3 * STORE_CHUNK_BYTES, 1);
	buf_puts(&list, "AMRT");
	buf_u32le(&list, 1);
	buf_u64le(&list, 3 * STORE_CHUNK_BYTES);
	for (size_t i = 0; i < 3; i++) {
		chunks[i].bytes = bytes + i * STORE_CHUNK_BYTES;
		chunks[i].byte_count = STORE_CHUNK_BYTES;
		hash_of(chunks[i].bytes, STORE_CHUNK_BYTES, &chunks[i].hash);
		buf_append(&list, chunks[i].hash.bytes, HASH_BYTES);
	}
	root.bytes = list.data;
	root.byte_count = list.len;
	hash_of(list.data, list.len, &root.hash);
	OK(f, store_blob_missing(f->store, &root.hash, &missing, &f->e));
	assert_int_equal(missing.len, HASH_BYTES);
	assert_memory_equal(missing.data, root.hash.bytes, HASH_BYTES);
	OK(f, store_chunks_put(f->store, &root, 1, &f->e));
	OK(f, store_chunks_put(f->store, &chunks[1], 1, &f->e));
	buf_clear(&missing);
	OK(f, store_blob_missing(f->store, &root.hash, &missing, &f->e));
	assert_int_equal(missing.len, 2 * HASH_BYTES);
	assert_memory_equal(missing.data, chunks[0].hash.bytes, HASH_BYTES);
	assert_memory_equal(missing.data + HASH_BYTES, chunks[2].hash.bytes, HASH_BYTES);
	FAILS(ERR_NOT_FOUND, store_blob_get(f->store, &root.hash, SIZE_MAX, &found, &f->e));
	char hex[HASH_HEX_BYTES];
	hash_hex(&chunks[0].hash, hex);
	assert_non_null(strstr(f->e.text, hex));
	OK(f, store_chunks_put(f->store, chunks, 3, &f->e));
	buf_clear(&missing);
	OK(f, store_blob_missing(f->store, &root.hash, &missing, &f->e));
	assert_int_equal(missing.len, 0);
	OK(f, store_blob_get(f->store, &root.hash, SIZE_MAX, &found, &f->e));
	assert_memory_equal(found.data, bytes, found.len);
	buf_free(&list);
	buf_free(&missing);
	buf_free(&found);
	free(bytes);
}

static void test_damage_is_found_listed_and_healed(void **state)
{
	struct fixture *f = *state;
	const size_t byte_count = 2 * STORE_CHUNK_BYTES + 100;
	uint8_t *bytes = noise(byte_count, 3);
	struct buf found = BUF_INIT, damaged = BUF_INIT;
	struct store_chunk chunk = { .bytes = bytes + STORE_CHUNK_BYTES, .byte_count = STORE_CHUNK_BYTES };
	struct hash root;
	hash_of(chunk.bytes, chunk.byte_count, &chunk.hash);
	OK(f, store_blob_put(f->store, bytes, byte_count, &root, &f->e));
	OK(f, store_blob_damaged(f->store, &root, &damaged, &f->e));
	assert_int_equal(damaged.len, 0);
	store_close(&f->store);
	assert_int_equal(fixture_tamper(f, "blobs", bytes + STORE_CHUNK_BYTES + 999, 64, 10), 1);
	fixture_open(f);
	FAILS(ERR_CORRUPT, store_blob_get(f->store, &root, SIZE_MAX, &found, &f->e));
	char hex[HASH_HEX_BYTES];
	hash_hex(&chunk.hash, hex);
	assert_non_null(strstr(f->e.text, hex));
	assert_int_equal(found.len, 0);
	FAILS(ERR_CORRUPT, store_chunk_get(f->store, &chunk.hash, &found, &f->e));
	OK(f, store_blob_missing(f->store, &root, &damaged, &f->e));
	assert_int_equal(damaged.len, 0);
	OK(f, store_blob_damaged(f->store, &root, &damaged, &f->e));
	assert_int_equal(damaged.len, HASH_BYTES);
	assert_memory_equal(damaged.data, chunk.hash.bytes, HASH_BYTES);
	OK(f, store_chunks_put(f->store, &chunk, 1, &f->e));
	OK(f, store_blob_get(f->store, &root, SIZE_MAX, &found, &f->e));
	assert_int_equal(found.len, byte_count);
	assert_memory_equal(found.data, bytes, byte_count);
	buf_free(&found);
	buf_free(&damaged);
	free(bytes);
}

static void test_a_blob_that_is_too_large_is_refused_at_once(void **state)
{
	struct fixture *f = *state;
	struct hash root;
	FAILS(ERR_LIMIT,
	      store_blob_put(f->store, "", (size_t)STORE_BLOB_CHUNKS_MAX * STORE_CHUNK_BYTES + 1, &root, &f->e));
}

static void test_fault_points(void **state)
{
	struct fixture *f = *state;
	struct buf found = BUF_INIT;
	struct hash root, chunk;
	bool has;
	hash_of("text", 4, &chunk);
	OK(f, fault_arm("store.blob.before=errno@1", &f->e));
	FAILS(ERR_FAULT, store_blob_put(f->store, "text", 4, &root, &f->e));
	OK(f, store_chunk_has(f->store, &chunk, &has, &f->e));
	assert_false(has);
	fault_disarm_all();
	OK(f, fault_arm("store.blob.after=errno@1", &f->e));
	FAILS(ERR_FAULT, store_blob_put(f->store, "text", 4, &root, &f->e));
	OK(f, store_chunk_has(f->store, &chunk, &has, &f->e));
	assert_true(has);
	fault_disarm_all();
	OK(f, store_blob_put(f->store, "text", 4, &root, &f->e));
	OK(f, store_blob_get(f->store, &root, 4, &found, &f->e));
	buf_free(&found);
}

struct trip {
	struct fixture *f;
	uint8_t *bytes;
	size_t byte_count;
};

static int put_and_get(void *context)
{
	struct trip *t = context;
	struct buf found = BUF_INIT, missing = BUF_INIT;
	struct hash root;
	struct err *e = &t->f->e;
	int rc = store_blob_put(t->f->store, t->bytes, t->byte_count, &root, e);
	if (!rc)
		rc = store_blob_get(t->f->store, &root, SIZE_MAX, &found, e);
	if (!rc)
		rc = store_blob_missing(t->f->store, &root, &missing, e);
	if (!rc)
		assert_memory_equal(found.data, t->bytes, t->byte_count);
	buf_free(&found);
	buf_free(&missing);
	return rc;
}

static void test_out_of_memory(void **state)
{
	struct trip t = { *state, noise(2 * STORE_CHUNK_BYTES, 9), 2 * STORE_CHUNK_BYTES };
	assert_true(test_walk_allocations(put_and_get, &t) > 8);
	free(t.bytes);
}

struct reading {
	struct store *store;
	struct hash root;
	size_t byte_count;
	int failed;
};

static void *read_again_and_again(void *context)
{
	struct reading *r = context;
	for (int i = 0; i < 60 && !r->failed; i++) {
		struct buf found = BUF_INIT;
		struct err e = ERR_INIT;
		r->failed = store_blob_get(r->store, &r->root, SIZE_MAX, &found, &e);
		if (!r->failed && found.len != r->byte_count)
			r->failed = ERR_CORRUPT;
		buf_free(&found);
	}
	return NULL;
}

/* 120 MB in a map that begins with 64: it must grow under two readers. */
static void test_map_grows_while_others_read(void **state)
{
	struct fixture *f = *state;
	struct reading readings[2];
	pthread_t threads[2];
	struct hash root;
	const size_t byte_count = 20 * STORE_CHUNK_BYTES;
	uint8_t *bytes = noise(24 * STORE_CHUNK_BYTES, 2);
	OK(f, store_blob_put(f->store, bytes, byte_count, &root, &f->e));
	for (int i = 0; i < 2; i++) {
		readings[i] = (struct reading){ f->store, root, byte_count, 0 };
		assert_int_equal(pthread_create(&threads[i], NULL, read_again_and_again, &readings[i]), 0);
	}
	int rc = 0;
	for (int i = 0; i < 100 && !rc; i++) {
		struct hash other;
		bytes[0] = (uint8_t)i;
		for (size_t c = 0; c < 19; c++)
			bytes[c * STORE_CHUNK_BYTES] = (uint8_t)(i + 1);
		rc = store_blob_put(f->store, bytes, 19 * STORE_CHUNK_BYTES, &other, &f->e);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	free(bytes);
	OK(f, rc);
	assert_int_equal(readings[0].failed, 0);
	assert_int_equal(readings[1].failed, 0);
	struct store_space space;
	OK(f, store_space_get(f->store, &space, &f->e));
	assert_true(space.blobs_bytes > 100u << 20);
}

static int setup_small(void **state)
{
	int rc = fixture_setup_closed(state);
	struct fixture *f = *state;
	f->options.blobs_only = true;
	f->options.blobs_map_bytes_max = (size_t)2 << 20;
	if (!rc)
		fixture_open(f);
	return rc;
}

static void test_the_maximum_is_a_limit_and_reading_goes_on(void **state)
{
	struct fixture *f = *state;
	struct buf found = BUF_INIT;
	struct hash root, big;
	uint8_t *bytes = noise(4 << 20, 4);
	OK(f, store_blob_put(f->store, "small", 5, &root, &f->e));
	FAILS(ERR_LIMIT, store_blob_put(f->store, bytes, 4 << 20, &big, &f->e));
	OK(f, store_blob_get(f->store, &root, 5, &found, &f->e));
	OK(f, store_blob_put(f->store, bytes, 1000, &big, &f->e));
	FAILS(ERR_UNSUPPORTED, store_begin(f->store, &f->txn, &f->e));
	FAILS(ERR_UNSUPPORTED, store_begin_read(f->store, &f->txn, &f->e));
	buf_free(&found);
	free(bytes);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(test_round_trips_at_the_edges_of_chunks),
		T(test_root_has_the_stated_form),
		cmocka_unit_test(test_root_parse_refuses_every_other_form),
		T(test_chunks_are_checked_before_they_are_kept),
		T(test_missing_lists_only_what_is_not_here),
		T(test_damage_is_found_listed_and_healed),
		T(test_a_blob_that_is_too_large_is_refused_at_once),
		T(test_fault_points),
		T(test_out_of_memory),
		T(test_map_grows_while_others_read),
		cmocka_unit_test_setup_teardown(test_the_maximum_is_a_limit_and_reading_goes_on, setup_small,
						fixture_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
