/* collect.c: deletes chunks that nothing needs. What is needed is counted from the roots; what came lately is kept, as
 * it may be named next. */
#include "base/fault.h"
#include "base/sync.h"
#include "store/env.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define RECENT_MAX 1000000 /* of one generation: 32 MB */

/* Two generations: what is in either came within one or two times the grace. */
struct store__recent {
	pthread_mutex_t mutex;
	pthread_cond_t unused; /* sync_init makes both */
	const struct env *env;
	struct buf young, old; /* struct hash, in the order of their coming */
	int64_t opened_ms, turned_ms;
	bool lost, lost_before; /* there were too many: nothing may be deleted until the generation is gone */
};

int store__recent_new(const struct env *env, struct store__recent **out, struct err *e)
{
	struct store__recent *recent = fault_calloc(1, sizeof(*recent));
	int rc = recent ? sync_init(&recent->mutex, &recent->unused) : ERR_NOMEM;
	if (rc) {
		free(recent);
		return err_set(e, rc, "opening a store: out of memory");
	}
	recent->env = env;
	recent->opened_ms = recent->turned_ms = env_monotonic_ms(env);
	*out = recent;
	return 0;
}

void store__recent_free(struct store__recent **recent)
{
	if (!*recent)
		return;
	sync_fini(&(*recent)->mutex, &(*recent)->unused);
	buf_free(&(*recent)->young);
	buf_free(&(*recent)->old);
	free(*recent);
	*recent = NULL;
}

static void turn_locked(struct store__recent *r)
{
	int64_t now = env_monotonic_ms(r->env);
	if (now - r->turned_ms < STORE_GRACE_MS)
		return;
	struct buf freed = r->old;
	r->old = r->young;
	r->lost_before = r->lost;
	r->young = (struct buf)BUF_INIT;
	r->lost = false;
	if (now - r->turned_ms >= 2 * STORE_GRACE_MS) {
		buf_free(&r->old); /* nothing has come for so long that these are past it, too */
		r->old = (struct buf)BUF_INIT;
		r->lost_before = false;
	}
	r->turned_ms = now;
	buf_free(&freed);
}

int store__recent_add(struct store *store, const struct hash *hash, struct err *e)
{
	struct store__recent *r = store->recent;
	int rc = 0;
	if (!r)
		return 0;
	pthread_mutex_lock(&r->mutex);
	turn_locked(r);
	if (r->young.len / HASH_BYTES < RECENT_MAX)
		buf_append(&r->young, hash->bytes, HASH_BYTES);
	else
		r->lost = true;
	if (buf_failed(&r->young)) {
		r->young.failed = false; /* what it held before is there */
		rc = err_set(e, ERR_NOMEM, "%s/blobs: noting a chunk: out of memory", store->folder);
	}
	pthread_mutex_unlock(&r->mutex);
	return rc;
}

static int hash_order(const void *a, const void *b)
{
	return memcmp(a, b, HASH_BYTES);
}

/* --- What is kept */

static int add_recent(struct store *store, struct buf *kept, struct err *e)
{
	struct store__recent *r = store->recent;
	int rc = 0;
	pthread_mutex_lock(&r->mutex);
	turn_locked(r);
	int64_t age_ms = env_monotonic_ms(r->env) - r->opened_ms;
	if (age_ms < STORE_GRACE_MS)
		rc = err_set(e, ERR_AGAIN,
			     "data folder %s: was opened %" PRId64
			     " s ago: what was uploaded before may be about to be used; ask again in %" PRId64 " s",
			     store->folder, age_ms / 1000, (STORE_GRACE_MS - age_ms + 999) / 1000);
	else if (r->lost || r->lost_before)
		rc = err_set(e, ERR_AGAIN, "data folder %s: over %d chunks came lately: ask again in %d minutes",
			     store->folder, RECENT_MAX, 2 * STORE_GRACE_MS / 60000);
	buf_append(kept, r->young.data, r->young.len);
	buf_append(kept, r->old.data, r->old.len);
	pthread_mutex_unlock(&r->mutex);
	return rc;
}

static int add_root(struct store *store, const struct hash *root, struct buf *kept, struct err *e)
{
	struct buf chunk = BUF_INIT;
	uint64_t byte_count;
	char hex[HASH_HEX_BYTES];
	int rc = store_chunk_get(store, root, &chunk, e);
	if (!rc)
		rc = store_root_parse(chunk.data, chunk.len, kept, &byte_count, e);
	buf_free(&chunk);
	buf_append(kept, root->bytes, HASH_BYTES);
	if (rc != ERR_NOT_FOUND && rc != ERR_CORRUPT)
		return rc;
	hash_hex(root, hex);
	return err_set(e, ERR_CORRUPT,
		       "data folder %s: blob %s is needed, and its list of chunks is %s: nothing is deleted: look with "
		       "`amend store verify`",
		       store->folder, hex, rc == ERR_NOT_FOUND ? "missing" : "damaged");
}

static int kept_list(struct store *store, const struct hash *roots, size_t root_count, struct buf *kept, struct err *e)
{
	int rc = add_recent(store, kept, e);
	for (size_t i = 0; !rc && i < root_count; i++)
		rc = add_root(store, &roots[i], kept, e);
	if (!rc && buf_failed(kept))
		rc = err_set(e, ERR_NOMEM, "data folder %s: listing what is needed: out of memory", store->folder);
	if (!rc && kept->len > 0)
		qsort(kept->data, kept->len / HASH_BYTES, HASH_BYTES, hash_order);
	return rc;
}

/* --- What goes */

/* Both are in the order of their hashes. */
static int garbage_list(struct store *store, const struct buf *kept, size_t chunk_max, struct buf *garbage,
			struct store_collect_tally *out, struct err *e)
{
	struct store_txn *txn = NULL;
	uint8_t from[HASH_BYTES + 1] = { 0 };
	size_t from_len = 1, at = 0;
	int rc = store__txn_begin(store, store->blobs, false, 0, &txn, e);
	while (!rc && !out->more) {
		struct store__bytes key, value;
		rc = store__seek(txn, STORE__TABLE_CHUNK, (struct store__bytes){ from, from_len }, &key, &value, e);
		if (rc || key.len != HASH_BYTES)
			break;
		memcpy(from, key.data, HASH_BYTES);
		from_len = sizeof(from);
		while (at < kept->len && memcmp(kept->data + at, from, HASH_BYTES) < 0)
			at += HASH_BYTES;
		if (at < kept->len && memcmp(kept->data + at, from, HASH_BYTES) == 0) {
			out->kept_count++;
		} else if (garbage->len / HASH_BYTES == chunk_max) {
			out->more = true;
		} else {
			buf_append(garbage, from, HASH_BYTES);
			out->byte_count += value.len;
		}
	}
	if (txn)
		store__txn_abort(&txn);
	if (rc == ERR_NOT_FOUND) {
		err_clear(e);
		rc = 0;
	}
	return rc || !buf_failed(garbage) ? rc : err_set(e, ERR_NOMEM, "listing chunks: out of memory");
}

static int garbage_delete(struct store *store, const struct buf *garbage, struct err *e)
{
	struct store_txn *txn;
	int rc = store__txn_begin(store, store->blobs, true, (size_t)1 << 20, &txn, e);
	if (rc)
		return rc;
	for (size_t at = 0; !rc && at < garbage->len; at += HASH_BYTES)
		rc = store__remove(txn, STORE__TABLE_CHUNK, (struct store__bytes){ garbage->data + at, HASH_BYTES }, e);
	if (!rc)
		return store__txn_commit(&txn, e);
	store__txn_abort(&txn);
	return rc;
}

int store_collect(struct store *store, const struct hash *roots, size_t root_count, size_t chunk_max,
		  struct store_collect_tally *out, struct err *e)
{
	struct buf kept = BUF_INIT, garbage = BUF_INIT;
	memset(out, 0, sizeof(*out));
	if (!store->recent)
		return err_set(e, ERR_UNSUPPORTED, "data folder %s: holds no ledger, or is only looked at",
			       store->folder);
	if (atomic_load(&store->backup_count) > 0)
		return err_set(e, ERR_AGAIN, "data folder %s: a backup is being made of it: wait for its end",
			       store->folder);
	int rc = kept_list(store, roots, root_count, &kept, e);
	if (!rc)
		rc = garbage_list(store, &kept, chunk_max, &garbage, out, e);
	if (!rc && garbage.len > 0)
		rc = garbage_delete(store, &garbage, e);
	if (!rc)
		out->chunk_count = garbage.len / HASH_BYTES;
	buf_free(&kept);
	buf_free(&garbage);
	return rc;
}
