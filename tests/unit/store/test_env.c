#include "tests/lib/store_fixture.h"

#include <errno.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAYLOAD_BYTES 30000

static char payload[PAYLOAD_BYTES];

/* One group of ten events; the code of the first call that fails. */
static int write_group(struct fixture *f, struct err *e)
{
	int rc = store_begin(f->store, &f->txn, e);
	if (rc)
		return rc;
	for (int i = 0; !rc && i < 10; i++)
		rc = store_event_append(f->txn, STORE_EVENT_EDIT_ACCEPTED, fixture_actor, payload, sizeof(payload),
					NULL, e);
	if (rc) {
		store_abort(&f->txn);
		return rc;
	}
	return store_commit(&f->txn, e);
}

static void expect_whole(struct fixture *f, uint64_t event_count)
{
	uint64_t bad, last;
	fixture_begin_read(f);
	OK(f, store_event_verify(f->txn, &bad, &f->e));
	OK(f, store_event_last(f->txn, &last, NULL, &f->e));
	assert_int_equal(last, event_count);
	fixture_abort(f);
}

static void data_path(const struct fixture *f, const char *environment, char out[TEST_PATH_BYTES + 32])
{
	snprintf(out, TEST_PATH_BYTES + 32, "%s/%s/data.mdb", f->folder, environment);
}

static void test_the_ledger_grows_past_its_first_map(void **state)
{
	struct fixture *f = *state;
	struct store_space space;
	for (int i = 0; i < 200; i++)
		OK(f, write_group(f, &f->e));
	OK(f, store_space_get(f->store, &space, &f->e));
	assert_true(space.ledger_bytes > 60u << 20);
	assert_true(space.disk_bytes >= space.disk_free_bytes && space.disk_free_bytes > 0);
	expect_whole(f, 2000);
	fixture_reopen(f);
	OK(f, write_group(f, &f->e));
	expect_whole(f, 2010);
}

/* A transaction larger than the map: ERR_AGAIN, then it fits, or ERR_AGAIN again while the map doubles. */
static void test_a_transaction_larger_than_the_map_fits_when_begun_again(void **state)
{
	struct fixture *f = *state;
	int again = 0, rc;
	do {
		fixture_begin(f);
		rc = 0;
		for (int i = 0; !rc && i < 2000; i++)
			rc = store_event_append(f->txn, STORE_EVENT_EDIT_ACCEPTED, fixture_actor, payload,
						sizeof(payload), NULL, &f->e);
		if (rc) {
			/* The failed write spoilt the transaction: a commit that ignores it keeps nothing. */
			FAILS(ERR_AGAIN, store_commit(&f->txn, &f->e));
			again++;
		}
	} while (rc == ERR_AGAIN && again < 10);
	OK(f, rc);
	assert_true(again >= 1);
	fixture_commit(f);
	expect_whole(f, 2000);
}

/* Past a quarter of the first map a writer would like to grow it, but must leave it where a reader looks at it. */
static void test_a_reader_of_the_same_thread_keeps_its_bytes(void **state)
{
	struct fixture *f = *state;
	struct store_txn *reader, *second;
	struct store_event event, none;
	OK(f, write_group(f, &f->e));
	OK(f, store_begin_read(f->store, &reader, &f->e));
	OK(f, store_begin_read(f->store, &second, &f->e));
	OK(f, store_event_get(reader, 10, &event, &f->e));
	for (int i = 0; i < 40; i++) {
		OK(f, write_group(f, &f->e));
		assert_int_equal(event.payload_len, sizeof(payload));
		assert_memory_equal(event.payload, payload, sizeof(payload));
	}
	FAILS(ERR_NOT_FOUND, store_event_get(reader, 11, &none, &f->e));
	FAILS(ERR_NOT_FOUND, store_event_get(second, 11, &none, &f->e));
	store_abort(&reader);
	store_abort(&second);
	for (int i = 0; i < 40; i++)
		OK(f, write_group(f, &f->e));
	expect_whole(f, 810);
}

static int setup_small(void **state)
{
	int rc = fixture_setup_closed(state);
	struct fixture *f = *state;
	f->options.ledger_map_bytes_max = (size_t)2 << 20;
	if (!rc)
		fixture_open(f);
	return rc;
}

static void test_at_the_maximum_writes_end_and_reads_go_on(void **state)
{
	struct fixture *f = *state;
	uint64_t groups = 0;
	int rc;
	while (!(rc = write_group(f, &f->e)) && groups < 100)
		groups++;
	assert_string_equal(err_name(rc), "ERR_LIMIT");
	assert_true(groups >= 2);
	expect_whole(f, groups * 10);
	/* A larger limit at the next start, and it goes on. */
	f->options.ledger_map_bytes_max = (size_t)8 << 20;
	fixture_reopen(f);
	OK(f, write_group(f, &f->e));
	expect_whole(f, groups * 10 + 10);
}

/* --- Full disks */

static void fill_then_free(struct fixture *f, void (*make_room)(struct fixture *f))
{
	uint64_t groups = 0;
	struct hash root;
	int rc;
	while (!(rc = write_group(f, &f->e)) && groups < 200)
		groups++;
	assert_string_equal(err_name(rc), "ERR_FULL");
	assert_non_null(strstr(f->e.text, "the disk is full"));
	expect_whole(f, groups * 10);
	FAILS(ERR_FULL, write_group(f, &f->e));
	make_room(f);
	OK(f, write_group(f, &f->e));
	expect_whole(f, groups * 10 + 10);
	OK(f, store_blob_put(f->store, "blob", 4, &root, &f->e));
	fixture_reopen(f);
	expect_whole(f, groups * 10 + 10);
}

static void lift_limit(struct fixture *f)
{
	(void)f;
	test_file_size_limit(UINT64_MAX);
}

static void test_a_file_size_limit_counts_as_a_full_disk(void **state)
{
	struct fixture *f = *state;
	test_file_size_limit(3 << 20);
	fill_then_free(f, lift_limit);
}

static void filler_path(const struct fixture *f, char out[TEST_PATH_BYTES + 16])
{
	snprintf(out, TEST_PATH_BYTES + 16, "%s/filler", f->folder);
}

static void remove_filler(struct fixture *f)
{
	char path[TEST_PATH_BYTES + 16];
	filler_path(f, path);
	assert_int_equal(unlink(path), 0);
}

static void test_a_full_file_system(void **state)
{
	struct fixture *f = *state;
	char path[TEST_PATH_BYTES + 16];
	if (mount("tmpfs", f->folder, "tmpfs", 0, "size=16m,mode=700")) {
		print_message("SKIPPED, NOT TESTED: a full file system: mounting a tmpfs needs root (%s)\n",
			      strerror(errno));
		skip();
	}
	fixture_open(f);
	filler_path(f, path);
	FILE *filler = fopen(path, "wb");
	assert_non_null(filler);
	for (int i = 0; i < 300; i++)
		assert_int_equal(fwrite(payload, 1, sizeof(payload), filler), sizeof(payload));
	assert_int_equal(fclose(filler), 0);
	fill_then_free(f, remove_filler);
}

static int teardown_mounted(void **state)
{
	struct fixture *f = *state;
	store_abort(&f->txn);
	store_close(&f->store);
	(void)!umount2(f->folder, MNT_DETACH); /* fails when the test was skipped */
	return fixture_teardown(state);
}

/* --- Files that are not ours, or not whole */

static void test_a_file_of_something_else(void **state)
{
	struct fixture *f = *state;
	char path[TEST_PATH_BYTES + 32];
	static char text[20000];
	memset(text, 'x', sizeof(text) - 1);
	store_close(&f->store);
	data_path(f, "blobs", path);
	test_file_write(path, text);
	FAILS(ERR_CORRUPT, store_open(f->folder, &f->options, &f->store, &f->e));
	assert_non_null(strstr(f->e.text, "blobs/data.mdb: is damaged: "));
	assert_non_null(strstr(f->e.text, "restore the folder from a backup"));
	assert_null(f->store);
}

static void test_data_of_another_program(void **state)
{
	struct fixture *f = *state;
	store_close(&f->store);
	/* The names of its tables become "gormat", "bhunk" and "puarantine". */
	assert_true(fixture_tamper(f, "blobs", "format", 6, 0) > 0);
	assert_true(fixture_tamper(f, "blobs", "chunk", 5, 0) > 0);
	assert_true(fixture_tamper(f, "blobs", "quarantine", 10, 0) > 0);
	FAILS(ERR_UNSUPPORTED, store_open(f->folder, &f->options, &f->store, &f->e));
	assert_non_null(strstr(f->e.text, "another program"));
	f->options.blobs_only = true; /* it is not ours to set aside */
	FAILS(ERR_UNSUPPORTED, store_open(f->folder, &f->options, &f->store, &f->e));
}

static void test_a_damaged_mark_is_not_another_program(void **state)
{
	struct fixture *f = *state;
	store_close(&f->store);
	assert_true(fixture_tamper(f, "ledger", "format", 6, 0) > 0);
	FAILS(ERR_CORRUPT, store_open(f->folder, &f->options, &f->store, &f->e));
	assert_non_null(strstr(f->e.text, "is damaged"));
	assert_non_null(strstr(f->e.text, "restore the folder from a backup"));
}

/* The format record as it lies in the file: type, record version, format, ledger, SHA-256 over its key and these. */
static void format_record(uint32_t format, struct buf *out)
{
	struct hash_stream s;
	struct hash hash;
	buf_clear(out);
	buf_u16le(out, 100);
	buf_u16le(out, 1);
	buf_u32le(out, format);
	buf_u8(out, 1);
	hash_begin(&s);
	hash_add(&s, "store", 5);
	hash_add(&s, out->data, out->len);
	hash_end(&s, &hash);
	buf_append(out, hash.bytes, HASH_BYTES);
}

static void test_a_newer_format_is_named(void **state)
{
	struct fixture *f = *state;
	char path[TEST_PATH_BYTES + 32];
	struct buf file = BUF_INIT, ours = BUF_INIT, newer = BUF_INIT;
	store_close(&f->store);
	data_path(f, "ledger", path);
	OK(f, file_read(path, (size_t)1 << 28, &file, &f->e));
	format_record(2, &ours);
	format_record(3, &newer);
	uint8_t *at = memmem(file.data, file.len, ours.data, ours.len);
	assert_non_null(at);
	memcpy(at, newer.data, newer.len);
	OK(f, file_write_atomic(path, file.data, file.len, 0600, &f->e));
	FAILS(ERR_UNSUPPORTED, store_open(f->folder, &f->options, &f->store, &f->e));
	assert_non_null(strstr(f->e.text, "has format 3, this program reads format 2"));
	buf_free(&file);
	buf_free(&ours);
	buf_free(&newer);
}

static void test_swapped_environments(void **state)
{
	struct fixture *f = *state;
	char ledger[TEST_PATH_BYTES + 32], blobs[TEST_PATH_BYTES + 32];
	store_close(&f->store);
	data_path(f, "ledger", ledger);
	data_path(f, "blobs", blobs);
	assert_int_equal(rename(blobs, ledger), 0);
	FAILS(ERR_UNSUPPORTED, store_open(f->folder, &f->options, &f->store, &f->e));
	assert_non_null(strstr(f->e.text, "swapped"));
}

/* Reading behind the end of a cut file must be an error, not the end of the process. */
static void test_a_file_cut_short(void **state)
{
	struct fixture *f = *state;
	char path[TEST_PATH_BYTES + 32];
	struct stat st;
	for (int i = 0; i < 5; i++)
		OK(f, write_group(f, &f->e));
	store_close(&f->store);
	data_path(f, "ledger", path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(truncate(path, st.st_size / 2), 0);
	FAILS(ERR_CORRUPT, store_open(f->folder, &f->options, &f->store, &f->e));
	assert_non_null(
		strstr(f->e.text, "ledger/data.mdb: is damaged: it is cut short: restore the folder from a backup"));
}

int main(void)
{
	memset(payload, 'p', sizeof(payload));
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(test_the_ledger_grows_past_its_first_map),
		T(test_a_transaction_larger_than_the_map_fits_when_begun_again),
		T(test_a_reader_of_the_same_thread_keeps_its_bytes),
		cmocka_unit_test_setup_teardown(test_at_the_maximum_writes_end_and_reads_go_on, setup_small,
						fixture_teardown),
		T(test_a_file_size_limit_counts_as_a_full_disk),
		cmocka_unit_test_setup_teardown(test_a_full_file_system, fixture_setup_closed, teardown_mounted),
		T(test_a_file_of_something_else),
		T(test_data_of_another_program),
		T(test_a_damaged_mark_is_not_another_program),
		T(test_a_newer_format_is_named),
		T(test_swapped_environments),
		T(test_a_file_cut_short),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
