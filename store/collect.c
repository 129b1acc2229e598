/* collect.c: deletes chunks that nothing needs. What is needed is found from the roots; what came lately is kept, as it
 * may be named next. */
#include "base/fault.h"
#include "base/sync.h"
#include "store/env.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define RECENT_MAX  1000000 /* of one generation: 64 MB */
#define LOOK_FACTOR 32      /* a slice ends after so many times the chunks that it may delete, too */

/* Two generations: what is in either came within one or two times the grace. */
struct store__recent {
	pthread_mutex_t mutex;
	pthread_cond_t unused; /* sync_init makes both */
	const struct env *env;
	struct store__hashes young, old;
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
	store__hashes_free(&(*recent)->young);
	store__hashes_free(&(*recent)->old);
	free(*recent);
	*recent = NULL;
}

static void turn_locked(struct store__recent *r)
{
	int64_t now = env_monotonic_ms(r->env);
	if (now - r->turned_ms < STORE_GRACE_MS)
		return;
	store__hashes_free(&r->old);
	r->old = r->young;
	r->lost_before = r->lost;
	r->young = (struct store__hashes){ NULL, 0, 0 };
	r->lost = false;
	if (now - r->turned_ms >= 2 * STORE_GRACE_MS) {
		store__hashes_free(&r->old); /* nothing has come for so long that these are past it, too */
		r->lost_before = false;
	}
	r->turned_ms = now;
}

int store__recent_add(struct store *store, const struct hash *hash, struct err *e)
{
	struct store__recent *r = store->recent;
	int rc = 0;
	if (!r)
		return 0;
	pthread_mutex_lock(&r->mutex);
	turn_locked(r);
	if (r->young.count == RECENT_MAX && !store__hashes_has(&r->young, hash))
		r->lost = true;
	else if (store__hashes_add(&r->young, hash) != 0)
		rc = err_set(e, ERR_NOMEM, "%s/blobs: noting a chunk: out of memory", store->folder);
	pthread_mutex_unlock(&r->mutex);
	return rc;
}

static bool is_recent(struct store__recent *r, const struct hash *hash)
{
	pthread_mutex_lock(&r->mutex);
	bool is = store__hashes_has(&r->young, hash) || store__hashes_has(&r->old, hash);
	pthread_mutex_unlock(&r->mutex);
	return is;
}

/* --- A collection */

struct store_collect {
	struct store *store;
	struct store__hashes roots, kept; /* that were read; all chunks that they reach, their own too */
	struct hash last;                 /* the next slice begins behind it */
	bool begun;
};

/* Nothing is deleted while what may be about to be named is not known. */
static int may_delete(struct store *store, struct err *e)
{
	struct store__recent *r = store->recent;
	int rc = 0;
	if (!r)
		return err_set(e, ERR_UNSUPPORTED, "data folder %s: holds no ledger, or is only looked at",
			       store->folder);
	if (atomic_load(&store->backup_count) > 0)
		return err_set(e, ERR_AGAIN, "data folder %s: a backup is being made of it: wait for its end",
			       store->folder);
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
	pthread_mutex_unlock(&r->mutex);
	return rc;
}

int store_collect_new(struct store *store, struct store_collect **out, struct err *e)
{
	int rc = may_delete(store, e);
	if (rc)
		return rc;
	*out = fault_calloc(1, sizeof(**out));
	if (!*out)
		return err_set(e, ERR_NOMEM, "data folder %s: collecting: out of memory", store->folder);
	(*out)->store = store;
	return 0;
}

void store_collect_destroy(struct store_collect **collect)
{
	if (!*collect)
		return;
	store__hashes_free(&(*collect)->roots);
	store__hashes_free(&(*collect)->kept);
	free(*collect);
	*collect = NULL;
}

static int root_read(struct store *store, const struct hash *root, struct buf *chunks, struct err *e)
{
	struct buf chunk = BUF_INIT;
	uint64_t byte_count;
	char hex[HASH_HEX_BYTES];
	int rc = store_chunk_get(store, root, &chunk, e);
	if (!rc)
		rc = store_root_parse(chunk.data, chunk.len, chunks, &byte_count, e);
	buf_free(&chunk);
	if (rc != ERR_NOT_FOUND && rc != ERR_CORRUPT)
		return rc;
	hash_hex(root, hex);
	return err_set(e, ERR_CORRUPT,
		       "data folder %s: blob %s is needed, and its list of chunks is %s: nothing is deleted: look with "
		       "`amend store verify`",
		       store->folder, hex, rc == ERR_NOT_FOUND ? "missing" : "damaged");
}

static int root_keep(struct store_collect *c, const struct hash *root, struct err *e)
{
	struct buf chunks = BUF_INIT;
	int rc = root_read(c->store, root, &chunks, e);
	if (rc) {
		buf_free(&chunks);
		return rc;
	}
	bool full = buf_failed(&chunks) || store__hashes_add(&c->kept, root) != 0;
	const struct hash *reached = (const void *)chunks.data;
	for (size_t i = 0; !full && i < chunks.len / HASH_BYTES; i++)
		full = store__hashes_add(&c->kept, &reached[i]) != 0;
	buf_free(&chunks);
	/* last: one that was cut short is read again */
	if (full || store__hashes_add(&c->roots, root) != 0)
		return err_set(e, ERR_NOMEM, "data folder %s: listing what is needed: out of memory", c->store->folder);
	return 0;
}

int store_collect_keep(struct store_collect *collect, const struct hash *roots, size_t root_count, struct err *e)
{
	int rc = 0;
	for (size_t i = 0; !rc && i < root_count; i++)
		if (!store__hashes_has(&collect->roots, &roots[i]))
			rc = root_keep(collect, &roots[i], e);
	return rc;
}

/* --- What goes */

/* `last`: the last chunk that was looked at. */
static int garbage_list(const struct store_collect *c, size_t chunk_max, struct buf *garbage, struct hash *last,
			struct store_collect_tally *out, struct err *e)
{
	struct store_txn *txn = NULL;
	struct hash chunk = c->last;
	bool begun = c->begun;
	int rc = store__txn_begin(c->store, c->store->blobs, false, 0, &txn, e);
	for (size_t looked = 0; !rc && !out->more; looked++) {
		struct store__bytes value;
		rc = store__hash_next(txn, STORE__TABLE_CHUNK, &chunk, &begun, &value, e);
		if (rc)
			break;
		bool needed = store__hashes_has(&c->kept, &chunk) || is_recent(c->store->recent, &chunk);
		out->more = looked == LOOK_FACTOR * chunk_max || (!needed && garbage->len / HASH_BYTES == chunk_max);
		if (out->more)
			break;
		if (!needed)
			buf_append(garbage, chunk.bytes, HASH_BYTES);
		out->kept_count += needed;
		out->byte_count += needed ? 0 : value.len;
		*last = chunk;
	}
	if (txn)
		store__txn_abort(&txn);
	if (rc == ERR_NOT_FOUND) {
		err_clear(e);
		rc = 0;
	}
	return rc || !buf_failed(garbage) ? rc : err_set(e, ERR_NOMEM, "listing chunks: out of memory");
}

/* Damaged chunks that were set apart and that nothing needs: nobody looks for their bytes any more. */
static int apart_list(const struct store_collect *c, struct buf *apart, struct err *e)
{
	struct buf all = BUF_INIT;
	int rc = store_quarantine_list(c->store, SIZE_MAX, &all, e);
	for (size_t at = 0; !rc && at < all.len; at += HASH_BYTES) {
		struct hash hash;
		memcpy(hash.bytes, all.data + at, HASH_BYTES);
		if (!store__hashes_has(&c->kept, &hash))
			buf_append(apart, hash.bytes, HASH_BYTES);
	}
	buf_free(&all);
	return rc || !buf_failed(apart) ? rc : err_set(e, ERR_NOMEM, "listing damaged chunks: out of memory");
}

static int table_delete(struct store_txn *txn, enum store__table table, const struct buf *hashes, struct err *e)
{
	int rc = 0;
	for (size_t at = 0; !rc && at < hashes->len; at += HASH_BYTES)
		rc = store__remove(txn, table, (struct store__bytes){ hashes->data + at, HASH_BYTES }, e);
	return rc;
}

static int garbage_delete(struct store *store, const struct buf *garbage, const struct buf *apart, struct err *e)
{
	struct store_txn *txn;
	int rc = store__txn_begin(store, store->blobs, true, (size_t)1 << 20, &txn, e);
	if (rc)
		return rc;
	rc = table_delete(txn, STORE__TABLE_CHUNK, garbage, e);
	if (!rc)
		rc = table_delete(txn, STORE__TABLE_QUARANTINE, apart, e);
	if (!rc)
		return store__txn_commit(&txn, e);
	store__txn_abort(&txn);
	return rc;
}

int store_collect_slice(struct store_collect *collect, size_t chunk_max, struct store_collect_tally *out, struct err *e)
{
	struct buf garbage = BUF_INIT, apart = BUF_INIT;
	struct hash last = collect->last;
	memset(out, 0, sizeof(*out));
	int rc = may_delete(collect->store, e);
	if (!rc)
		rc = garbage_list(collect, chunk_max, &garbage, &last, out, e);
	if (!rc && !out->more)
		rc = apart_list(collect, &apart, e);
	if (!rc && garbage.len + apart.len > 0)
		rc = garbage_delete(collect->store, &garbage, &apart, e);
	if (!rc) {
		out->chunk_count = garbage.len / HASH_BYTES;
		collect->begun = collect->begun || out->chunk_count + out->kept_count > 0;
		collect->last = last;
	}
	buf_free(&garbage);
	buf_free(&apart);
	return rc;
}
