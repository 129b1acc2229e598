#include "tests/lib/store_fixture.h"

#include "base/fault.h"

#include <pthread.h>
#include <sys/stat.h>

#define ALL 1000

static struct hash put(struct fixture *f, unsigned number, size_t byte_count)
{
	struct hash root;
	uint8_t *bytes = calloc(1, byte_count);
	assert_non_null(bytes);
	for (size_t i = 0; i < byte_count; i++)
		bytes[i] = (uint8_t)(number * 31 + i / 1000);
	memcpy(bytes, &number, sizeof(number));
	OK(f, store_blob_put(f->store, bytes, byte_count, &root, &f->e));
	free(bytes);
	return root;
}

static bool whole(struct fixture *f, const struct hash *root)
{
	struct buf missing = BUF_INIT;
	OK(f, store_blob_missing(f->store, root, &missing, &f->e));
	bool is = missing.len == 0;
	buf_free(&missing);
	return is;
}

static void pass(struct fixture *f, int64_t ms)
{
	env_manual_advance(&f->clock, ms * 1000);
}

static void grace_pass(struct fixture *f)
{
	pass(f, 2 * STORE_GRACE_MS);
}

/* All slices of one collection. */
static int collect(struct fixture *f, const struct hash *roots, size_t root_count, struct store_collect_tally *out)
{
	struct store_collect *c = NULL;
	struct store_collect_tally slice = { .more = true };
	memset(out, 0, sizeof(*out));
	int rc = store_collect_new(f->store, &c, &f->e);
	if (rc == 0)
		rc = store_collect_keep(c, roots, root_count, &f->e);
	while (rc == 0 && slice.more) {
		rc = store_collect_slice(c, ALL, &slice, &f->e);
		out->chunk_count += slice.chunk_count;
		out->byte_count += slice.byte_count;
		out->kept_count += slice.kept_count;
	}
	store_collect_destroy(&c);
	return rc;
}

static void test_what_no_root_reaches_goes(void **state)
{
	struct fixture *f = *state;
	struct store_collect_tally tally;
	struct hash a = put(f, 1, 200000), b = put(f, 2, 200000), c = put(f, 3, 100);
	const struct hash roots[] = { a, c, a };
	grace_pass(f);
	OK(f, collect(f, roots, 3, &tally));
	assert_true(whole(f, &a) && whole(f, &c));
	assert_false(whole(f, &b));
	assert_int_equal(tally.chunk_count, 5);                   /* four and the root */
	assert_in_range(tally.byte_count, 200000, 200000 + 1000); /* with the root, and nothing of what stays */
	assert_int_equal(tally.kept_count, 5 + 2);
	assert_false(tally.more);
	OK(f, collect(f, roots, 3, &tally)); /* nothing is left to go */
	assert_int_equal(tally.chunk_count, 0);
	put(f, 2, 200000); /* and what went may come again */
	assert_true(whole(f, &b));
}

static void test_chunks_that_two_share_stay(void **state)
{
	struct fixture *f = *state;
	struct store_collect_tally tally;
	uint8_t bytes[2 * STORE_CHUNK_BYTES] = { 0 };
	struct hash a, b;
	memset(bytes, 7, STORE_CHUNK_BYTES);
	OK(f, store_blob_put(f->store, bytes, sizeof(bytes), &a, &f->e));
	OK(f, store_blob_put(f->store, bytes, STORE_CHUNK_BYTES + 1, &b, &f->e));
	grace_pass(f);
	OK(f, collect(f, &a, 1, &tally));
	assert_true(whole(f, &a));
	assert_int_equal(tally.chunk_count, 2); /* the last one and the root of b */
}

static void test_a_slice_at_a_time(void **state)
{
	struct fixture *f = *state;
	struct store_collect_tally tally;
	uint64_t sum = 0;
	int calls = 0;
	struct store_collect *c = NULL;
	put(f, 1, 10 * STORE_CHUNK_BYTES);
	put(f, 2, 3 * STORE_CHUNK_BYTES);
	grace_pass(f);
	OK(f, store_collect_new(f->store, &c, &f->e));
	do {
		OK(f, store_collect_slice(c, 4, &tally, &f->e));
		assert_true(tally.chunk_count <= 4);
		sum += tally.chunk_count;
		calls++;
	} while (tally.more);
	store_collect_destroy(&c);
	assert_int_equal(sum, 15);
	assert_int_equal(calls, 4);
}

/* A slice begins where the one before ended, ends after a bound of chunks that stay, too, and no root is read twice. */
static void test_slices_do_no_work_twice(void **state)
{
	struct fixture *f = *state;
	struct store_collect_tally tally = { .more = true };
	struct store_collect *c = NULL;
	struct hash a = put(f, 1, 100 * STORE_CHUNK_BYTES);
	uint64_t deleted = 0, kept = 0;
	int calls = 0;
	put(f, 2, 9 * STORE_CHUNK_BYTES);
	grace_pass(f);
	OK(f, store_collect_new(f->store, &c, &f->e));
	for (; tally.more; calls++) {
		OK(f, store_collect_keep(c, &a, 1, &f->e));
		OK(f, store_collect_slice(c, 1, &tally, &f->e));
		assert_true(tally.chunk_count + tally.kept_count <= 32);
		deleted += tally.chunk_count;
		kept += tally.kept_count;
		fault_set(1, 1);
		OK(f, store_collect_keep(c, &a, 1, &f->e)); /* read before: it needs nothing */
		fault_set(-1, 0);
	}
	store_collect_destroy(&c);
	assert_int_equal(deleted, 10);
	assert_int_equal(kept, 101);
	assert_true(calls <= 10 + 111 / 32 + 1);
	assert_true(whole(f, &a));
}

static void test_what_comes_between_slices_stays(void **state)
{
	struct fixture *f = *state;
	struct store_collect_tally tally = { .more = true };
	struct store_collect *c = NULL;
	struct hash a = put(f, 1, 20 * STORE_CHUNK_BYTES), b;
	grace_pass(f);
	OK(f, store_collect_new(f->store, &c, &f->e));
	OK(f, store_collect_slice(c, 1, &tally, &f->e));
	b = put(f, 2, 20 * STORE_CHUNK_BYTES);
	while (tally.more)
		OK(f, store_collect_slice(c, 4, &tally, &f->e));
	store_collect_destroy(&c);
	assert_true(whole(f, &b));
	assert_false(whole(f, &a));
}

/* Asked for again and again, a chunk is one chunk. */
static void test_what_is_asked_for_often_counts_once(void **state)
{
	struct fixture *f = *state;
	struct store_collect_tally tally;
	struct hash a;
	bool has;
	grace_pass(f);
	a = put(f, 1, 100);
	for (int i = 0; i < 1000001; i++)
		OK(f, store_chunk_has(f->store, &a, &has, &f->e));
	OK(f, collect(f, NULL, 0, &tally));
	assert_true(whole(f, &a));
}

/* An upload has no root yet, and one that hears "it is here" does not bring it again. */
static void test_what_came_lately_stays(void **state)
{
	struct fixture *f = *state;
	struct store_collect_tally tally;
	struct store_chunk chunk = { .bytes = "of an upload", .byte_count = 12 };
	bool has;
	hash_of(chunk.bytes, chunk.byte_count, &chunk.hash);
	FAILS(ERR_AGAIN, collect(f, NULL, 0, &tally)); /* uploads of before the start */
	assert_non_null(strstr(f->e.text, "ask again in 600 s"));
	grace_pass(f);
	OK(f, store_chunks_put(f->store, &chunk, 1, &f->e));
	for (int minute = 0; minute < 9; minute++) {
		OK(f, collect(f, NULL, 0, &tally));
		assert_int_equal(tally.chunk_count, 0);
		pass(f, 60000);
	}
	pass(f, 2 * STORE_GRACE_MS - 9 * 60000 - 1000);
	OK(f, store_chunk_has(f->store, &chunk.hash, &has, &f->e));
	assert_true(has);
	pass(f, STORE_GRACE_MS - 1000);
	OK(f, collect(f, NULL, 0, &tally));
	assert_int_equal(tally.chunk_count, 0);
	grace_pass(f); /* nobody has finished it */
	OK(f, collect(f, NULL, 0, &tally));
	assert_int_equal(tally.chunk_count, 1);
	OK(f, store_chunk_has(f->store, &chunk.hash, &has, &f->e));
	assert_false(has);
	pass(f, STORE_GRACE_MS - 1000); /* since the last look: what came until now is told from what comes later */
	OK(f, store_chunks_put(f->store, &chunk, 1, &f->e));
	pass(f, 2000);
	OK(f, collect(f, NULL, 0, &tally));
	assert_int_equal(tally.chunk_count, 0);
}

static void test_nothing_goes_where_a_root_is_damaged(void **state)
{
	struct fixture *f = *state;
	struct store_collect_tally tally;
	struct hash a = put(f, 1, 100), b = put(f, 2, 100), none;
	hash_of("none", 4, &none);
	grace_pass(f);
	FAILS(ERR_CORRUPT, collect(f, &none, 1, &tally));
	assert_non_null(strstr(f->e.text, "is missing: nothing is deleted"));
	store_close(&f->store);
	assert_true(fixture_tamper(f, "blobs", a.bytes, HASH_BYTES, HASH_BYTES - 1) > 0);
	fixture_open(f);
	grace_pass(f);
	FAILS(ERR_CORRUPT, collect(f, &a, 1, &tally));
	assert_true(whole(f, &b));
}

static void test_the_place_is_used_again(void **state)
{
	struct fixture *f = *state;
	struct store_collect_tally tally;
	struct store_space before, after;
	for (unsigned i = 0; i < 20; i++)
		put(f, i, 10 * STORE_CHUNK_BYTES);
	OK(f, store_space_get(f->store, &before, &f->e));
	for (unsigned round = 1; round < 6; round++) {
		grace_pass(f);
		OK(f, collect(f, NULL, 0, &tally));
		assert_int_equal(tally.chunk_count, 20 * 11);
		for (unsigned i = 0; i < 20; i++)
			put(f, round * 100 + i, 10 * STORE_CHUNK_BYTES);
	}
	OK(f, store_space_get(f->store, &after, &f->e));
	assert_true(after.blobs_bytes < before.blobs_bytes * 5 / 4);
}

struct copy {
	struct fixture *f;
	char folder[TEST_PATH_BYTES];
	struct err e;
	int rc;
};

static void *copy_run(void *context)
{
	struct copy *copy = context;
	struct store_backup_tally tally;
	copy->rc = store_backup(copy->f->store, copy->folder, NULL, &tally, &copy->e);
	return NULL;
}

static void test_nothing_goes_while_a_copy_is_made(void **state)
{
	struct fixture *f = *state;
	struct copy copy = { .f = f };
	struct store_collect_tally tally;
	char ledger[TEST_PATH_BYTES];
	struct stat st;
	pthread_t thread;
	int64_t since = 0;
	struct hash a = put(f, 1, 100);
	test_path(copy.folder, f->folder, "copy");
	test_path(ledger, f->folder, "copy.part/ledger/data.mdb");
	grace_pass(f);
	OK(f, fault_arm("store.backup.ledger=delay-500@1", &f->e));
	assert_int_equal(pthread_create(&thread, NULL, copy_run, &copy), 0);
	while (stat(ledger, &st) != 0)
		assert_true(test_wait(&since));
	int rc = collect(f, NULL, 0, &tally);
	pthread_join(thread, NULL);
	fault_disarm_all();
	assert_string_equal(err_name(rc), "ERR_AGAIN");
	assert_ok(&copy.e, copy.rc);
	assert_true(whole(f, &a));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_what_no_root_reaches_goes, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(test_chunks_that_two_share_stay, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(test_a_slice_at_a_time, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(test_slices_do_no_work_twice, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(test_what_comes_between_slices_stays, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(test_what_is_asked_for_often_counts_once, fixture_setup,
						fixture_teardown),
		cmocka_unit_test_setup_teardown(test_what_came_lately_stays, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(test_nothing_goes_where_a_root_is_damaged, fixture_setup,
						fixture_teardown),
		cmocka_unit_test_setup_teardown(test_the_place_is_used_again, fixture_setup, fixture_teardown),
		cmocka_unit_test_setup_teardown(test_nothing_goes_while_a_copy_is_made, fixture_setup,
						fixture_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
