/* The simulated disk, and what a store makes of it. */
#include "tests/lib/test.h"

#include "base/env.h"
#include "store/store.h"
#include "tests/sim/disk.h"

#include <fcntl.h>
#include <unistd.h>

struct fixture {
	char folder[TEST_PATH_BYTES], path[TEST_PATH_BYTES];
	struct sim_disk disk;
	struct env_manual clock;
	struct store_options options;
	struct store *store;
	struct err e;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	assert_non_null(f);
	test_folder_make(f->folder);
	test_path(f->path, f->folder, "store");
	env_manual_init(&f->clock, 1);
	f->options.env = &f->clock.env;
	sim_disk_init(&f->disk, 1);
	sim_disk_now = &f->disk;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	store_close(&f->store);
	sim_disk_settle(&f->disk);
	sim_disk_now = NULL;
	test_folder_remove(f->folder);
	free(f);
	return 0;
}

static void open_store(struct fixture *f, bool cache)
{
	f->options.blobs_only = cache;
	assert_ok(&f->e, store_open(f->path, &f->options, &f->store, &f->e));
}

static int blob_put(struct fixture *f, uint8_t byte, struct hash *root)
{
	uint8_t bytes[5000];
	memset(bytes, byte, sizeof bytes);
	return store_blob_put(f->store, bytes, sizeof bytes, root, &f->e);
}

static void blob_is_there(struct fixture *f, const struct hash *root)
{
	struct buf bytes = BUF_INIT;
	assert_ok(&f->e, store_blob_get(f->store, root, 1 << 20, &bytes, &f->e));
	assert_int_equal(bytes.len, 5000);
	buf_free(&bytes);
}

static void what_is_synced_stays(void **state)
{
	struct fixture *f = *state;
	uint8_t bytes[64 * 512], read_back[sizeof bytes];
	size_t old = 0, new = 0;
	memset(bytes, 1, sizeof bytes);
	int fd = open(f->path, O_RDWR | O_CREAT, 0600);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, sizeof bytes, 0), sizeof bytes);
	assert_int_equal(fdatasync(fd), 0);
	memset(bytes, 2, sizeof bytes);
	assert_int_equal(pwrite(fd, bytes, sizeof bytes, 0), sizeof bytes);
	sim_disk_crash(&f->disk);
	assert_int_equal(pwrite(fd, bytes, 1, 0), -1); /* it is dead */
	sim_disk_settle(&f->disk);
	assert_int_equal(pread(fd, read_back, sizeof read_back, 0), sizeof read_back);
	for (size_t i = 0; i < sizeof read_back; i++) {
		assert_int_equal(read_back[i], read_back[i / 512 * 512]); /* a sector is never half of one */
		old += read_back[i] == 1;
		new += read_back[i] == 2;
	}
	assert_int_equal(old + new, sizeof read_back);
	assert_true(old > 0 && new > 0);
	close(fd);
}

/* At every operation of a commit: before the crash or after it, nothing else. */
static void a_commit_is_whole_or_not_there(void **state)
{
	struct fixture *f = *state;
	size_t kept = 0, lost = 0;
	int rc = ERR_IO;
	for (int64_t at = 1; rc != 0; at++) {
		struct hash root;
		bool has;
		open_store(f, false);
		f->disk.crash_in = at;
		rc = blob_put(f, (uint8_t)at, &root);
		sim_disk_crash(&f->disk);
		store_close(&f->store);
		sim_disk_settle(&f->disk);
		open_store(f, false);
		assert_ok(&f->e, store_chunk_has(f->store, &root, &has, &f->e));
		assert_true(has || rc != 0); /* what was said to be kept is */
		if (has)
			blob_is_there(f, &root);
		kept += has;
		lost += !has;
		store_close(&f->store);
	}
	assert_true(kept > 0 && lost > 0);
}

static void a_cache_mends_itself_after_an_error(void **state)
{
	struct fixture *f = *state;
	struct hash first, second;
	open_store(f, true);
	assert_ok(&f->e, blob_put(f, 1, &first));
	for (int64_t at = 1; at <= 3; at++) {
		f->disk.eio_in = at;
		assert_int_equal(blob_put(f, (uint8_t)(10 + at), &second), ERR_IO);
		blob_is_there(f, &first);
		assert_ok(&f->e, blob_put(f, (uint8_t)(10 + at), &second));
		blob_is_there(f, &second);
	}
}

static void a_cache_that_cannot_be_opened_again_says_so(void **state)
{
	struct fixture *f = *state;
	struct hash root;
	struct buf bytes = BUF_INIT;
	char path[TEST_PATH_BYTES], away[TEST_PATH_BYTES];
	test_path(path, f->path, "blobs");
	test_path(away, f->path, "away");
	open_store(f, true);
	f->disk.eio_in = 1;
	assert_int_equal(blob_put(f, 1, &root), ERR_IO);
	assert_int_equal(rename(path, away), 0);
	assert_int_not_equal(blob_put(f, 1, &root), 0);
	assert_int_not_equal(store_blob_get(f->store, &root, 1 << 20, &bytes, &f->e), 0);
	assert_int_equal(rename(away, path), 0);
	assert_ok(&f->e, blob_put(f, 1, &root));
	blob_is_there(f, &root);
	buf_free(&bytes);
}

/* What of the ledger's last write is on the disk nobody knows: only a start, which reads it, may go on. */
static void a_ledger_does_not(void **state)
{
	struct fixture *f = *state;
	struct hash root;
	open_store(f, false);
	f->disk.eio_in = 1;
	assert_int_equal(blob_put(f, 1, &root), ERR_IO);
	assert_int_equal(blob_put(f, 1, &root), ERR_IO);
	store_close(&f->store);
	open_store(f, false);
	assert_ok(&f->e, blob_put(f, 1, &root));
}

static void a_full_disk_refuses_and_goes_on(void **state)
{
	struct fixture *f = *state;
	struct hash first, second;
	int rc = 0;
	open_store(f, false);
	assert_ok(&f->e, blob_put(f, 1, &first));
	f->disk.full = true;
	for (uint8_t i = 2; rc == 0 && i < 200; i++)
		rc = blob_put(f, i, &second);
	assert_int_equal(rc, ERR_FULL);
	blob_is_there(f, &first);
	f->disk.full = false;
	assert_ok(&f->e, blob_put(f, 201, &second));
	blob_is_there(f, &second);
}

#define DISK(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		DISK(what_is_synced_stays),
		DISK(a_commit_is_whole_or_not_there),
		DISK(a_cache_mends_itself_after_an_error),
		DISK(a_cache_that_cannot_be_opened_again_says_so),
		DISK(a_ledger_does_not),
		DISK(a_full_disk_refuses_and_goes_on),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
