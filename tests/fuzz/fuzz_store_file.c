/* A data file of a cache: what check.c lets pass is opened by LMDB, which trusts it, and read through; what it does not
 * is set aside. Pages of 4096 bytes: only what is not zero is in an input, "offset u32le, length u16le, bytes" after
 * "length of the file u32le". Limits: -max_len=16384 -malloc_limit_mb=16 -rss_limit_mb=1024 */
#include "tests/fuzz/fuzz.h"

#include "base/log.h"
#include "store/store.h"
#include "tests/lib/test.h"

#include <unistd.h>

#define FILE_BYTES_MAX (96 * 1024)
#define BLOBS          6
#define RUN_BYTES_MAX  512

static struct env_manual clock_at;

static size_t blob_of(size_t i, uint8_t bytes[8192])
{
	memset(bytes, (int)i, 8192);
	return i % 2 == 0 ? 8192 : i * 20;
}

static void root_of(size_t i, struct hash *root)
{
	uint8_t bytes[8192], chunk[4 + 4 + 8 + HASH_BYTES];
	struct buf b = BUF_INIT;
	struct hash hash;
	const size_t len = blob_of(i, bytes);
	hash_of(bytes, len, &hash);
	buf_append(&b, "AMRT", 4);
	buf_u32le(&b, 1);
	buf_u64le(&b, len);
	buf_append(&b, hash.bytes, HASH_BYTES);
	memcpy(chunk, b.data, sizeof(chunk));
	hash_of(chunk, sizeof(chunk), root);
	buf_free(&b);
}

static void use(struct store *store)
{
	uint8_t bytes[8192];
	for (size_t i = 0; i < BLOBS; i++) {
		struct hash root;
		struct buf out = BUF_INIT, missing = BUF_INIT;
		struct err e = ERR_INIT;
		const size_t len = blob_of(i, bytes);
		root_of(i, &root);
		if (store_blob_get(store, &root, sizeof(bytes), &out, &e) == 0)
			fuzz_check(out.len == len && memcmp(out.data, bytes, len) == 0, "a blob came back changed");
		(void)!store_blob_damaged(store, &root, &missing, &e);
		buf_free(&out);
		buf_free(&missing);
	}
	struct hash root;
	struct err e = ERR_INIT;
	(void)!store_blob_put(store, "new", 3, &root, &e);
}

static struct store *opened(const char *folder, int *rc)
{
	const struct store_options options = { .env = &clock_at.env,
					       .blobs_only = true,
					       .blobs_map_bytes_max = (size_t)1 << 24 };
	struct store *store = NULL;
	struct err e = ERR_INIT;
	*rc = store_open(folder, &options, &store, &e);
	return store;
}

static void unpack(const uint8_t *data, size_t len, struct buf *file)
{
	struct reader r;
	reader_init(&r, data, len);
	const size_t size = reader_u32le(&r) % (FILE_BYTES_MAX + 1);
	for (size_t i = 0; i < size; i++)
		buf_u8(file, 0);
	while (r.at < r.len && !r.overrun) {
		const size_t at = reader_u32le(&r), count = reader_u16le(&r);
		const void *bytes = reader_bytes(&r, count);
		if (bytes != NULL && at < size && count <= size - at)
			memcpy(file->data + at, bytes, count);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char folder[TEST_PATH_BYTES], path[TEST_PATH_BYTES];
	struct buf file = BUF_INIT;
	struct err e = ERR_INIT;
	int rc;
	env_manual_init(&clock_at, 1);
	log_level_set(LOG_OFF); /* every damaged file is told */
	test_folder_make(folder);
	test_path(path, folder, "blobs");
	fuzz_check(file_make_folder(path, &e) == 0, e.text);
	test_path(path, folder, "blobs/data.mdb");
	unpack(data, len, &file);
	fuzz_check(file_write_atomic(path, file.data, file.len, 0600, &e) == 0, e.text);
	struct store *store = opened(folder, &rc);
	if (store != NULL)
		use(store);
	store_close(&store);
	test_folder_remove(folder);
	buf_free(&file);
	return 0;
}

static void pack(const struct buf *file, struct buf *out)
{
	buf_u32le(out, (uint32_t)file->len);
	for (size_t at = 0; at < file->len;) {
		size_t end = at, last = at;
		if (file->data[at] == 0) {
			at++;
			continue;
		}
		while (end < file->len && end - at < RUN_BYTES_MAX && end - last < 8) {
			last = file->data[end] != 0 ? end : last;
			end++;
		}
		buf_u32le(out, (uint32_t)at);
		buf_u16le(out, (uint16_t)(last + 1 - at));
		buf_append(out, file->data + at, last + 1 - at);
		at = last + 1;
	}
}

void fuzz_seeds(void (*add)(const void *bytes, size_t len))
{
	char folder[TEST_PATH_BYTES], path[TEST_PATH_BYTES];
	uint8_t bytes[8192];
	env_manual_init(&clock_at, 1);
	test_folder_make(folder);
	test_path(path, folder, "blobs/data.mdb");
	for (size_t count = 1; count <= BLOBS; count += BLOBS - 1) {
		struct buf file = BUF_INIT, packed = BUF_INIT;
		struct err e = ERR_INIT;
		int rc;
		struct store *store = opened(folder, &rc);
		for (size_t i = 0; i < count; i++) {
			struct hash root, same;
			const size_t len = blob_of(i, bytes);
			fuzz_check(store != NULL && store_blob_put(store, bytes, len, &root, &e) == 0, "no seed");
			root_of(i, &same);
			fuzz_check(len == 0 || hash_equal(&root, &same), "the target names other roots");
		}
		store_close(&store);
		fuzz_check(file_read(path, (size_t)1 << 24, &file, &e) == 0, e.text);
		pack(&file, &packed);
		add(packed.data, packed.len);
		buf_free(&file);
		buf_free(&packed);
	}
	test_folder_remove(folder);
}
