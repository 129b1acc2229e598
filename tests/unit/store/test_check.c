/* Damaged data files: a cache is set aside and begun anew, the coordinator's are refused. */
#include "tests/lib/store_fixture.h"

#include "base/fault.h"
#include "base/rng.h"

#include <sys/stat.h>
#include <unistd.h>

#define CHUNKS 16

static struct hash roots[CHUNKS];

static void blobs_path(const struct fixture *f, char out[TEST_PATH_BYTES + 32])
{
	snprintf(out, TEST_PATH_BYTES + 32, "%s/blobs/data.mdb", f->folder);
}

/* A cache with long and short chunks, and pages that are free again. */
static int setup_cache(void **state)
{
	static uint8_t bytes[3 * STORE_CHUNK_BYTES];
	int rc = fixture_setup_closed(state);
	struct fixture *f = *state;
	f->options.blobs_only = true;
	fixture_open(f);
	for (int i = 0; rc == 0 && i < CHUNKS; i++) {
		memset(bytes, i, sizeof(bytes));
		OK(f, store_blob_put(f->store, bytes, i % 3 == 0 ? sizeof(bytes) : (size_t)i * 10, &roots[i], &f->e));
	}
	store_close(&f->store);
	return rc;
}

static void read_file(struct fixture *f, struct buf *out)
{
	char path[TEST_PATH_BYTES + 32];
	blobs_path(f, path);
	buf_clear(out);
	OK(f, file_read(path, (size_t)1 << 30, out, &f->e));
}

static void write_file(struct fixture *f, const struct buf *bytes)
{
	char path[TEST_PATH_BYTES + 32];
	blobs_path(f, path);
	OK(f, file_write_atomic(path, bytes->data, bytes->len, 0600, &f->e));
}

static bool is_set_aside(const struct fixture *f)
{
	char path[TEST_PATH_BYTES + 48];
	snprintf(path, sizeof(path), "%s/blobs/data.mdb.damaged", f->folder);
	bool there = access(path, F_OK) == 0;
	(void)unlink(path);
	return there;
}

/* What is still there is right or said to be damaged, and what is put again is there. */
static void use_all(struct fixture *f)
{
	struct buf blob = BUF_INIT, missing = BUF_INIT;
	struct hash root;
	for (int i = 0; i < CHUNKS; i++) {
		int rc = store_blob_get(f->store, &roots[i], (size_t)1 << 20, &blob, &f->e);
		if (rc != ERR_NOT_FOUND && rc != ERR_CORRUPT)
			OK(f, rc);
		OK(f, store_blob_damaged(f->store, &roots[i], &missing, &f->e));
	}
	buf_clear(&blob);
	for (int i = 0; i < 20000; i++)
		buf_u32le(&blob, (uint32_t)i);
	OK(f, store_blob_put(f->store, blob.data, blob.len, &root, &f->e));
	buf_clear(&missing);
	OK(f, store_blob_damaged(f->store, &root, &missing, &f->e));
	assert_int_equal(missing.len, 0);
	buf_free(&missing);
	buf_free(&blob);
}

static void test_a_whole_cache_is_kept(void **state)
{
	struct fixture *f = *state;
	struct buf blob = BUF_INIT;
	for (int round = 0; round < 3; round++) {
		fixture_open(f);
		assert_false(is_set_aside(f));
		for (int i = 0; i < CHUNKS; i++)
			OK(f, store_blob_get(f->store, &roots[i], (size_t)1 << 20, &blob, &f->e));
		use_all(f);
		store_close(&f->store);
	}
	buf_free(&blob);
}

static void test_a_cache_with_flipped_bits_opens(void **state)
{
	static const int flips[] = { 1, 30, 300, 3000 };
	struct fixture *f = *state;
	struct buf whole = BUF_INIT, copy = BUF_INIT;
	struct rng rng;
	int aside = 0;
	read_file(f, &whole);
	rng_init(&rng, 1);
	for (int round = 0; round < 96; round++) {
		buf_clear(&copy);
		buf_append(&copy, whole.data, whole.len);
		/* Half of the rounds damage the heads and the trees, which are a small part of the file. */
		size_t span = round % 2 != 0 ? whole.len : (size_t)8 * 4096;
		for (int i = 0; i < flips[round / 2 % 4] / (round % 2 != 0 ? 1 : 10) + 1; i++)
			copy.data[rng_below(&rng, span)] ^= (uint8_t)(1u << rng_below(&rng, 8));
		write_file(f, &copy);
		int rc = store_open(f->folder, &f->options, &f->store, &f->e);
		if (rc == ERR_UNSUPPORTED) /* a version's number was hit */
			continue;
		OK(f, rc);
		aside += is_set_aside(f);
		use_all(f);
		store_close(&f->store);
	}
	assert_true(aside > 24);
	buf_free(&copy);
	buf_free(&whole);
}

static void test_a_cache_cut_short_opens(void **state)
{
	struct fixture *f = *state;
	struct buf whole = BUF_INIT;
	char path[TEST_PATH_BYTES + 32];
	blobs_path(f, path);
	read_file(f, &whole);
	for (size_t len = 1; len < whole.len; len += len < 9000 ? 700 : 90000) {
		write_file(f, &whole);
		assert_int_equal(truncate(path, (off_t)len), 0);
		fixture_open(f);
		assert_true(is_set_aside(f));
		use_all(f);
		store_close(&f->store);
	}
	buf_free(&whole);
}

/* A head that counts far more pages than the file can name: damage, whatever memory there is to count them in. */
static void test_a_head_of_too_many_pages_is_damage(void **state)
{
	static const uint64_t map_bytes = UINT64_C(1) << 46, last_page = UINT64_C(1) << 33;
	struct fixture *f = *state;
	struct buf bytes = BUF_INIT;
	read_file(f, &bytes);
	for (size_t meta = 0; meta < 2 * 4096; meta += 4096) {
		memcpy(bytes.data + meta + 32, &map_bytes, sizeof(map_bytes));
		memcpy(bytes.data + meta + 136, &last_page, sizeof(last_page));
	}
	write_file(f, &bytes);
	fixture_open(f);
	assert_true(is_set_aside(f));
	use_all(f);
	buf_free(&bytes);
}

static uint64_t number_at(const uint8_t *p)
{
	uint64_t n;
	memcpy(&n, p, sizeof(n));
	return n;
}

/* A list of two free pages or more: its first page. (Offsets as in store/check.c: the root of the tree of free pages in
 * the newer head, the nodes of that leaf.) */
static uint8_t *free_pages(const struct buf *file)
{
	const uint8_t *meta = file->data;
	if (number_at(meta + 4096 + 144) > number_at(meta + 144))
		meta += 4096;
	uint8_t *leaf = file->data + number_at(meta + 80) * 4096;
	for (size_t i = 16; i < (leaf[12] | (size_t)leaf[13] << 8); i += 2) {
		uint8_t *list = leaf + (leaf[i] | (size_t)leaf[i + 1] << 8) + 16;
		if (number_at(list) >= 2)
			return list + 8;
	}
	fail_msg("no list of free pages");
	return NULL;
}

/* LMDB merges lists by their order. */
static void test_a_free_list_out_of_order_is_damage(void **state)
{
	struct fixture *f = *state;
	struct buf bytes = BUF_INIT;
	read_file(f, &bytes);
	uint8_t *pages = free_pages(&bytes), swapped[16];
	memcpy(swapped, pages + 8, 8);
	memcpy(swapped + 8, pages, 8);
	memcpy(pages, swapped, sizeof(swapped));
	write_file(f, &bytes);
	fixture_open(f);
	assert_true(is_set_aside(f));
	use_all(f);
	buf_free(&bytes);
}

/* One damaged file is kept, not one a start. */
static void test_the_damaged_file_is_kept_once(void **state)
{
	struct fixture *f = *state;
	struct buf kept = BUF_INIT;
	char path[TEST_PATH_BYTES + 48];
	blobs_path(f, path);
	test_file_write(path, "first");
	fixture_open(f);
	store_close(&f->store);
	blobs_path(f, path);
	test_file_write(path, "second");
	fixture_open(f);
	snprintf(path, sizeof(path), "%s/blobs/data.mdb.damaged", f->folder);
	OK(f, file_read(path, 100, &kept, &f->e));
	assert_string_equal(buf_cstr(&kept), "second");
	buf_free(&kept);
}

/* The coordinator's blobs: its ledger beside them. */
static void test_a_coordinators_blobs_are_refused(void **state)
{
	struct fixture *f = *state;
	struct buf whole = BUF_INIT;
	char path[TEST_PATH_BYTES + 32];
	blobs_path(f, path);
	read_file(f, &whole);
	assert_int_equal(unlink(path), 0);
	f->options.blobs_only = false;
	fixture_open(f);
	store_close(&f->store);
	write_file(f, &whole);
	fixture_open(f);
	store_close(&f->store);
	for (size_t len = 1; len < whole.len; len += len < 9000 ? 700 : 90000) {
		assert_int_equal(truncate(path, (off_t)len), 0);
		FAILS(ERR_CORRUPT, store_open(f->folder, &f->options, &f->store, &f->e));
		assert_non_null(strstr(f->e.text, "blobs/data.mdb: is damaged: "));
		assert_non_null(strstr(f->e.text, "restore the folder from a backup"));
		assert_false(is_set_aside(f));
		write_file(f, &whole);
	}
	buf_free(&whole);
}

/* What is no damage stays where it is. */
static void test_a_locked_cache_is_left_alone(void **state)
{
	struct fixture *f = *state;
	struct store *second = NULL;
	fixture_open(f);
	FAILS(ERR_BUSY, store_open(f->folder, &f->options, &second, &f->e));
	assert_false(is_set_aside(f));
}

static int open_and_close(void *context)
{
	struct fixture *f = context;
	int rc = store_open(f->folder, &f->options, &f->store, &f->e);
	store_close(&f->store);
	return rc;
}

static void test_out_of_memory_is_no_damage(void **state)
{
	struct fixture *f = *state;
	assert_true(test_walk_allocations(open_and_close, f) > 4);
	assert_false(is_set_aside(f));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup_cache, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(test_a_whole_cache_is_kept),
		T(test_a_cache_with_flipped_bits_opens),
		T(test_a_cache_cut_short_opens),
		T(test_a_head_of_too_many_pages_is_damage),
		T(test_the_damaged_file_is_kept_once),
		T(test_a_coordinators_blobs_are_refused),
		T(test_a_locked_cache_is_left_alone),
		T(test_out_of_memory_is_no_damage),
		T(test_a_free_list_out_of_order_is_damage),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
