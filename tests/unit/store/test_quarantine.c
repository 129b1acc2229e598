/* Chunks that the disk changed: found by a walk, set apart, and healed by the right bytes. */
#include "tests/lib/store_fixture.h"

#include "base/fault.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define CHUNKS 9

static struct store_chunk chunks[CHUNKS];
static char texts[CHUNKS][64];

static void chunks_put(struct fixture *f)
{
	for (int i = 0; i < CHUNKS; i++) {
		snprintf(texts[i], sizeof texts[i], "chunk number %d of this test, long enough to be found", i);
		chunks[i].bytes = texts[i];
		chunks[i].byte_count = strlen(texts[i]);
		hash_of(chunks[i].bytes, chunks[i].byte_count, &chunks[i].hash);
	}
	OK(f, store_chunks_put(f->store, chunks, CHUNKS, &f->e));
}

static void rot(struct fixture *f, int i)
{
	store_close(&f->store);
	assert_true(fixture_tamper(f, "blobs", texts[i], chunks[i].byte_count, 3) > 0);
	fixture_open(f);
}

static size_t scrub(struct fixture *f, size_t step, struct buf *bad)
{
	struct store_scrub walk = { .begun = false };
	buf_clear(bad);
	for (int steps = 0; !walk.ended; steps++) {
		assert_true(steps < CHUNKS + 2);
		OK(f, store_scrub_step(f->store, &walk, step, bad, &f->e));
	}
	return walk.chunk_count;
}

static void apart(struct fixture *f, size_t count, const struct hash *first)
{
	struct buf list = BUF_INIT;
	OK(f, store_quarantine_list(f->store, 100, &list, &f->e));
	assert_int_equal(list.len, count * HASH_BYTES);
	if (count > 0)
		assert_memory_equal(list.data, first->bytes, HASH_BYTES);
	buf_free(&list);
}

static void test_a_walk_reads_every_chunk_once(void **state)
{
	struct fixture *f = *state;
	struct buf bad = BUF_INIT;
	assert_int_equal(scrub(f, 4, &bad), 0); /* there are none */
	chunks_put(f);
	for (size_t step = 1; step < CHUNKS + 2; step++) {
		assert_int_equal(scrub(f, step, &bad), CHUNKS);
		assert_int_equal(bad.len, 0);
	}
	rot(f, 4);
	rot(f, 7);
	assert_int_equal(scrub(f, 2, &bad), CHUNKS);
	assert_int_equal(bad.len, 2 * HASH_BYTES);
	buf_free(&bad);
}

/* It counts as missing until it is put again, whatever else is put or opened meanwhile. */
static void test_what_is_damaged_is_set_apart_until_the_right_bytes_come(void **state)
{
	struct fixture *f = *state;
	struct buf list = BUF_INIT, bytes = BUF_INIT;
	bool has = true;
	chunks_put(f);
	rot(f, 4);
	const struct hash *hash = &chunks[4].hash;
	OK(f, store_quarantine_put(f->store, &chunks[0].hash, 1, &list, &f->e)); /* is whole */
	assert_int_equal(list.len, 0);
	for (int i = 0; i < CHUNKS; i++)
		OK(f, store_quarantine_put(f->store, &chunks[i].hash, 1, &list, &f->e));
	assert_int_equal(list.len, HASH_BYTES);
	assert_memory_equal(list.data, hash->bytes, HASH_BYTES);
	fixture_reopen(f);
	OK(f, store_chunk_has(f->store, hash, &has, &f->e));
	assert_false(has);
	FAILS(ERR_NOT_FOUND, store_chunk_get(f->store, hash, &bytes, &f->e));
	OK(f, store_quarantine_has(f->store, hash, &has, &f->e));
	assert_true(has);
	apart(f, 1, hash);
	assert_int_equal(scrub(f, 100, &list), CHUNKS - 1);
	assert_int_equal(list.len, 0);
	OK(f, store_chunks_put(f->store, chunks, 4, &f->e)); /* others */
	apart(f, 1, hash);
	OK(f, store_chunks_put(f->store, &chunks[4], 1, &f->e));
	apart(f, 0, NULL);
	OK(f, store_quarantine_has(f->store, hash, &has, &f->e));
	assert_false(has);
	OK(f, store_chunk_get(f->store, hash, &bytes, &f->e));
	assert_memory_equal(bytes.data, texts[4], chunks[4].byte_count);
	buf_free(&list);
	buf_free(&bytes);
}

/* What had been set apart before, and what the copy itself finds: as they were found. */
static void test_a_backup_takes_what_is_set_apart(void **state)
{
	struct fixture *f = *state;
	struct store_backup_tally tally;
	struct store *copy = NULL;
	struct buf list = BUF_INIT;
	char folder[TEST_PATH_BYTES];
	chunks_put(f);
	rot(f, 2);
	OK(f, store_quarantine_put(f->store, &chunks[2].hash, 1, &list, &f->e));
	rot(f, 5);
	test_path(folder, f->folder, "backup");
	OK(f, store_backup(f->store, folder, NULL, &tally, &f->e));
	assert_int_equal(tally.chunk_count, CHUNKS - 2);
	assert_int_equal(tally.bad_count, 2);
	OK(f, store_open(folder, &f->options, &copy, &f->e));
	for (int i = 0; i < CHUNKS; i++) {
		bool has, is_apart;
		OK(f, store_chunk_has(copy, &chunks[i].hash, &has, &f->e));
		OK(f, store_quarantine_has(copy, &chunks[i].hash, &is_apart, &f->e));
		assert_int_equal(has, i != 2 && i != 5);
		assert_int_equal(is_apart, !has);
	}
	OK(f, store_chunks_put(copy, chunks, CHUNKS, &f->e));
	buf_clear(&list);
	OK(f, store_quarantine_list(copy, 100, &list, &f->e));
	assert_int_equal(list.len, 0);
	store_close(&copy);
	buf_free(&list);
}

#define LONG_BYTES 60000

/* Where the file lies in this process's memory. */
static uint8_t *map_of(const char *path)
{
	char line[1024];
	unsigned long begin = 0;
	FILE *maps = fopen("/proc/self/maps", "r");
	assert_non_null(maps);
	while (begin == 0 && fgets(line, sizeof line, maps) != NULL)
		if (strstr(line, path) != NULL)
			assert_int_equal(sscanf(line, "%lx-", &begin), 1);
	fclose(maps);
	assert_true(begin != 0);
	return (uint8_t *)begin; // NOLINT
}

struct placed { /* a long chunk */
	char path[TEST_PATH_BYTES];
	uint8_t bytes[LONG_BYTES];
	struct store_chunk chunk;
	size_t at; /* in the file */
};

static void long_put(struct fixture *f, struct placed *p)
{
	struct buf file = BUF_INIT;
	for (size_t i = 0; i < LONG_BYTES; i++)
		p->bytes[i] = (uint8_t)(i * i >> 3 ^ i);
	p->chunk = (struct store_chunk){ .bytes = p->bytes, .byte_count = LONG_BYTES };
	hash_of(p->bytes, LONG_BYTES, &p->chunk.hash);
	OK(f, store_chunks_put(f->store, &p->chunk, 1, &f->e));
	fixture_reopen(f);
	test_path(p->path, f->folder, "blobs/data.mdb");
	OK(f, file_read(p->path, (size_t)1 << 30, &file, &f->e));
	const uint8_t *found = memmem(file.data, file.len, p->bytes, LONG_BYTES);
	assert_non_null(found);
	p->at = (size_t)(found - file.data);
	assert_int_equal(p->at % 4096, 16);
	buf_free(&file);
}

/* Touched, these pages would end the process, as those do that a disk does not give. */
static void test_what_the_disk_does_not_give_is_not_touched(void **state)
{
	struct fixture *f = *state;
	struct placed p;
	struct buf bad = BUF_INIT, list = BUF_INIT;
	struct store_scrub walk = { .begun = false };
	bool has;
	long_put(f, &p);
	uint8_t *page = map_of(p.path) + p.at - 16;
	assert_int_equal(mprotect(page, 4 * 4096, PROT_NONE), 0);
	OK(f, fault_arm("store.disk.read=errno@1:2", &f->e));
	OK(f, store_scrub_step(f->store, &walk, 10, &bad, &f->e));
	assert_int_equal(bad.len, HASH_BYTES);
	assert_memory_equal(bad.data, p.chunk.hash.bytes, HASH_BYTES);
	struct store_backup_tally tally;
	char folder[TEST_PATH_BYTES];
	test_path(folder, f->folder, "backup");
	OK(f, fault_arm("store.disk.read=errno@1:2", &f->e));
	OK(f, store_backup(f->store, folder, NULL, &tally, &f->e));
	assert_int_equal(tally.bad_count, 1);
	/* LMDB reads the head of the first page when it removes the chunk: that is written anew. */
	assert_int_equal(mprotect(page, 4096, PROT_READ), 0);
	OK(f, fault_arm("store.disk.read=errno@1:4", &f->e));
	OK(f, store_quarantine_put(f->store, &p.chunk.hash, 1, &list, &f->e));
	fault_disarm_all();
	apart(f, 1, &p.chunk.hash);
	fixture_reopen(f); /* looks through all pages */
	OK(f, store_chunk_has(f->store, &p.chunk.hash, &has, &f->e));
	assert_false(has);
	OK(f, store_chunks_put(f->store, &p.chunk, 1, &f->e));
	apart(f, 0, NULL);
	assert_int_equal(scrub(f, 10, &bad), 1);
	assert_int_equal(bad.len, 0);
	buf_free(&bad);
	buf_free(&list);
}

/* One read that fails is no damage. */
static void test_the_disk_is_asked_twice(void **state)
{
	struct fixture *f = *state;
	struct placed p;
	struct buf bad = BUF_INIT;
	long_put(f, &p);
	OK(f, fault_arm("store.disk.read=errno@1:1", &f->e));
	assert_int_equal(scrub(f, 10, &bad), 1);
	fault_disarm_all();
	assert_int_equal(bad.len, 0);
	buf_free(&bad);
}

/* The disk is wrong and memory right: a page of our own stands for the one in memory. */
static void test_what_memory_still_has_is_written_anew(void **state)
{
	struct fixture *f = *state;
	struct placed p;
	struct buf bad = BUF_INIT, list = BUF_INIT, bytes = BUF_INIT;
	struct store_scrub walk = { .begun = false };
	long_put(f, &p);
	uint8_t *page = map_of(p.path) + p.at - 16;
	uint8_t good[4096], wrong[1] = { (uint8_t)(p.bytes[100] ^ 4) };
	memcpy(good, page, sizeof good);
	assert_ptr_equal(
		mmap(page, sizeof good, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), page);
	memcpy(page, good, sizeof good);
	int fd = open(p.path, O_WRONLY);
	assert_int_equal(pwrite(fd, wrong, 1, (off_t)p.at + 100), 1);
	close(fd);
	OK(f, store_chunk_get(f->store, &p.chunk.hash, &bytes, &f->e)); /* from memory */
	OK(f, store_scrub_step(f->store, &walk, 10, &bad, &f->e));
	assert_int_equal(bad.len, HASH_BYTES);
	OK(f, store_quarantine_put(f->store, &p.chunk.hash, 1, &list, &f->e));
	assert_int_equal(list.len, 0);
	fixture_reopen(f);
	buf_clear(&bytes);
	OK(f, store_chunk_get(f->store, &p.chunk.hash, &bytes, &f->e));
	assert_memory_equal(bytes.data, p.bytes, LONG_BYTES);
	buf_free(&bad);
	buf_free(&list);
	buf_free(&bytes);
}

static void collect(struct fixture *f, const struct hash *roots, size_t root_count)
{
	struct store_collect *c = NULL;
	struct store_collect_tally slice = { .more = true };
	OK(f, store_collect_new(f->store, &c, &f->e));
	while (slice.more) {
		OK(f, store_collect_keep(c, roots, root_count, &f->e));
		OK(f, store_collect_slice(c, 1000, &slice, &f->e));
	}
	store_collect_destroy(&c);
}

static void test_a_collection_forgets_what_nothing_needs(void **state)
{
	struct fixture *f = *state;
	struct buf list = BUF_INIT;
	struct hash root;
	chunks_put(f);
	OK(f, store_blob_put(f->store, texts[5], chunks[5].byte_count, &root, &f->e));
	rot(f, 2);
	rot(f, 5);
	OK(f, store_quarantine_put(f->store, &chunks[2].hash, 1, &list, &f->e));
	OK(f, store_quarantine_put(f->store, &chunks[5].hash, 1, &list, &f->e));
	env_manual_advance(&f->clock, 2000 * (int64_t)STORE_GRACE_MS);
	collect(f, &root, 1);
	apart(f, 1, &chunks[5].hash);
	collect(f, NULL, 0);
	apart(f, 0, NULL);
	buf_free(&list);
}

static void test_caches_have_no_quarantine(void **state)
{
	struct fixture *f = *state;
	struct buf list = BUF_INIT;
	f->options.blobs_only = true;
	fixture_open(f);
	chunks_put(f);
	rot(f, 0);
	FAILS(ERR_UNSUPPORTED, store_quarantine_put(f->store, &chunks[0].hash, 1, &list, &f->e));
	apart(f, 0, NULL);
	OK(f, store_chunks_put(f->store, chunks, 1, &f->e)); /* heals it as ever */
	buf_free(&list);
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_a_walk_reads_every_chunk_once),
		T(test_what_is_damaged_is_set_apart_until_the_right_bytes_come),
		T(test_a_backup_takes_what_is_set_apart),
		T(test_what_the_disk_does_not_give_is_not_touched),
		T(test_the_disk_is_asked_twice),
		T(test_what_memory_still_has_is_written_anew),
		T(test_a_collection_forgets_what_nothing_needs),
		cmocka_unit_test_setup_teardown(test_caches_have_no_quarantine, fixture_setup_closed, fixture_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
