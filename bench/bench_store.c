/* bench_store.c: what the disk allows: raw fdatasync, commits of one edit, commits of groups of 100, and blobs in and
 * out. Usage: bench_store [SECONDS-EACH [FOLDER]]. The folder (default: under $TMPDIR or /tmp) decides the figures. */
#include "base/env.h"
#include "base/rng.h"
#include "bench/bench.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAYLOAD_BYTES 400 /* a record of ordinary length */
#define BLOB_BYTES    (8u << 20)
#define RAW_PAGES     1024

static const uint8_t actor[STORE_KEY_BYTES] = "bench";

static int add_edit(struct store_txn *txn, struct err *e)
{
	static char payload[PAYLOAD_BYTES];
	struct store_edit edit;
	memset(&edit, 0, sizeof(edit));
	int rc = store_event_append(txn, STORE_EVENT_EDIT_ACCEPTED, actor, payload, sizeof(payload), &edit.seq, e);
	if (rc)
		return rc;
	int id_len = snprintf(edit.id, sizeof(edit.id), "edit-%" PRIu64, edit.seq);
	hash_of(edit.id, (size_t)id_len, &edit.content);
	rc = store_edit_put(txn, &edit, e);
	return rc ? rc : store_subject_add(txn, edit.id, (size_t)id_len, edit.seq, e);
}

static int commit_group(struct store *store, int edit_count, struct err *e)
{
	struct store_txn *txn;
	int rc = store_begin(store, &txn, e);
	if (rc)
		return rc;
	for (int i = 0; !rc && i < edit_count; i++)
		rc = add_edit(txn, e);
	if (rc) {
		store_abort(&txn);
		return rc;
	}
	return store_commit(&txn, e);
}

static int measure_commits(struct store *store, int edit_count, int64_t us, struct err *e)
{
	const struct env *env = env_system();
	int64_t start = env_monotonic_us(env), worst = 0, now = start;
	uint64_t commits = 0;
	while (now - start < us) {
		int64_t before = now;
		int rc = commit_group(store, edit_count, e);
		if (rc)
			return rc;
		now = env_monotonic_us(env);
		worst = now - before > worst ? now - before : worst;
		commits++;
	}
	double seconds = (double)(now - start) / 1e6;
	printf("groups of %3d: %9.0f commits/s %9.0f edits/s, mean %7.0f us, worst %7" PRId64 " us (%" PRIu64
	       " commits in %.1f s)\n",
	       edit_count, (double)commits / seconds, (double)commits * edit_count / seconds,
	       seconds * 1e6 / (double)commits, worst, commits, seconds);
	return 0;
}

/* One page overwritten and synced at a time: what no commit can be faster than. */
static int measure_syncs(const char *folder, int64_t us, struct err *e)
{
	const struct env *env = env_system();
	static uint8_t page[4096];
	char path[600];
	uint64_t count = 0;
	snprintf(path, sizeof(path), "%s/raw", folder);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || posix_fallocate(fd, 0, RAW_PAGES * (off_t)sizeof(page)) != 0)
		return err_errno(e, ERR_IO, errno, "%s", path);
	int64_t start = env_monotonic_us(env), now = start;
	int rc = 0;
	for (; rc == 0 && now - start < us; now = env_monotonic_us(env), count++) {
		page[0] = (uint8_t)count;
		off_t at = (off_t)(count % RAW_PAGES * sizeof(page));
		if (pwrite(fd, page, sizeof(page), at) != (ssize_t)sizeof(page) || fdatasync(fd) != 0)
			rc = err_errno(e, ERR_IO, errno, "%s", path);
	}
	close(fd);
	if (rc == 0)
		printf("raw fdatasync: %9.0f /s, a page of 4 KiB each (%" PRIu64 " in %.1f s)\n",
		       (double)count * 1e6 / (double)(now - start), count, (double)(now - start) / 1e6);
	return rc;
}

static int measure_verify(struct store *store, struct err *e)
{
	const struct env *env = env_system();
	struct store_txn *txn;
	uint64_t last, bad;
	int rc = store_begin_read(store, &txn, e);
	if (rc)
		return rc;
	int64_t start = env_monotonic_us(env);
	rc = store_event_verify(txn, &bad, e);
	double seconds = (double)(env_monotonic_us(env) - start) / 1e6;
	if (!rc)
		rc = store_event_last(txn, &last, NULL, e);
	store_abort(&txn);
	if (!rc)
		printf("chain verified: %9.0f events/s (%" PRIu64 " events of %d bytes in %.2f s)\n",
		       (double)last / seconds, last, PAYLOAD_BYTES, seconds);
	return rc;
}

static int measure_blobs(struct store *store, uint8_t *bytes, int64_t us, struct err *e)
{
	const struct env *env = env_system();
	struct buf out = BUF_INIT;
	struct hash root;
	struct rng rng;
	uint64_t count = 0;
	int rc = 0;
	rng_init(&rng, 1);
	int64_t start = env_monotonic_us(env), now = start;
	while (!rc && now - start < us && count < 64) {
		for (size_t i = 0; i < BLOB_BYTES; i += 4096) {
			uint64_t v = rng_u64(&rng);
			memcpy(bytes + i, &v, sizeof(v));
		}
		rc = store_blob_put(store, bytes, BLOB_BYTES, &root, e);
		now = env_monotonic_us(env);
		count++;
	}
	double seconds = (double)(now - start) / 1e6;
	if (!rc)
		printf("blobs of 8 MiB in:  %7.0f MB/s (%" PRIu64 " in %.1f s)\n",
		       (double)count * BLOB_BYTES / 1e6 / seconds, count, seconds);
	start = env_monotonic_us(env);
	for (int i = 0; !rc && i < 8; i++) {
		buf_clear(&out);
		rc = store_blob_get(store, &root, BLOB_BYTES, &out, e);
	}
	seconds = (double)(env_monotonic_us(env) - start) / 1e6;
	if (!rc)
		printf("blobs of 8 MiB out: %7.0f MB/s, each chunk's hash checked\n", 8.0 * BLOB_BYTES / 1e6 / seconds);
	buf_free(&out);
	return rc;
}

static int run(const char *folder, int64_t us, struct err *e)
{
	struct store_options options = { .env = env_system() };
	struct store *store;
	uint8_t *bytes = calloc(1, BLOB_BYTES);
	if (!bytes)
		return err_set(e, ERR_NOMEM, "out of memory");
	int rc = store_open(folder, &options, &store, e);
	if (rc) {
		free(bytes);
		return rc;
	}
	rc = measure_syncs(folder, us, e);
	if (!rc)
		rc = measure_commits(store, 1, us, e);
	if (!rc)
		rc = measure_commits(store, 100, us, e);
	if (!rc)
		rc = measure_verify(store, e);
	if (!rc)
		rc = measure_blobs(store, bytes, us, e);
	store_close(&store);
	free(bytes);
	return rc;
}

int main(int argc, char **argv)
{
	const char *tmp = getenv("TMPDIR");
	char folder[512];
	struct err e = ERR_INIT;
	double seconds = argc > 1 ? atof(argv[1]) : 2;
	snprintf(folder, sizeof(folder), "%s/amend-bench.XXXXXX", argc > 2 ? argv[2] : tmp ? tmp : "/tmp");
	if (seconds <= 0 || seconds > 600 || !mkdtemp(folder)) {
		fprintf(stderr,
			"usage: bench_store [SECONDS-EACH [FOLDER]]: 0 to 600 seconds, a folder that can be written\n");
		return 2;
	}
	int rc = run(folder, (int64_t)(seconds * 1e6), &e);
	if (rc)
		fprintf(stderr, "bench_store: %s\n", e.text);
	bench_folder_remove(folder);
	return rc ? 1 : 0;
}
