/* quarantine.c: chunks that the disk changed. A walk finds them; they are set apart, so that they count as missing, and
 * their bytes are kept as they were found until the right ones are put. */
#include "base/log.h"
#include "store/env.h"

#include <string.h>

static struct store__bytes hash_key(const struct hash *hash)
{
	return (struct store__bytes){ hash->bytes, HASH_BYTES };
}

int store__hash_next(struct store_txn *txn, enum store__table table, struct hash *last, bool *begun,
		     struct store__bytes *value, struct err *e)
{
	uint8_t from[HASH_BYTES + 1] = { 0 };
	struct store__bytes key;
	memcpy(from, last->bytes, HASH_BYTES);
	int rc = store__seek(txn, table, (struct store__bytes){ from, *begun ? sizeof(from) : 1 }, &key, value, e);
	if (!rc && key.len != HASH_BYTES)
		rc = err_set(e, ERR_CORRUPT, "%s: the key of a chunk has %zu bytes", store__txn_path(txn), key.len);
	if (rc)
		return rc;
	memcpy(last->bytes, key.data, HASH_BYTES);
	*begun = true;
	return 0;
}

static bool is_damaged(const struct hash *hash, struct store__bytes value)
{
	struct hash found;
	hash_of(value.data, value.len, &found);
	return !hash_equal(&found, hash);
}

struct moved {
	struct buf *apart; /* struct hash */
	size_t rewritten_count;
};

/* The disk has it wrong and memory still has it right: LMDB puts it on other pages. */
static int rewrite(struct store_txn *txn, const struct hash *hash, struct store__bytes value, struct buf *bytes,
		   struct moved *moved, struct err *e)
{
	buf_append(bytes, value.data, value.len);
	if (buf_failed(bytes))
		return store__txn_spoil(txn, err_set(e, ERR_NOMEM, "writing a chunk anew: out of memory"));
	moved->rewritten_count++;
	return store__put(txn, STORE__TABLE_CHUNK, hash_key(hash), (struct store__bytes){ bytes->data, bytes->len }, e);
}

/* The value is copied: a write may move the page that it lies on. What the disk does not give is not touched. */
static int move_one(struct store_txn *txn, struct store__disk *disk, const struct hash *hash, struct buf *bytes,
		    struct moved *moved, struct err *e)
{
	struct store__bytes value, found = { NULL, 0 };
	int rc = store__get(txn, STORE__TABLE_CHUNK, hash_key(hash), &value, e);
	if (rc == ERR_NOT_FOUND)
		err_clear(e);
	if (rc)
		return rc == ERR_NOT_FOUND ? 0 : rc;
	buf_clear(bytes);
	const bool read = store__disk_read(disk, value, &found);
	const bool disk_damaged = !read || is_damaged(hash, found);
	if (read && !is_damaged(hash, value))
		return disk_damaged ? rewrite(txn, hash, value, bytes, moved, e) : 0;
	if (!read)
		rc = store__disk_head_renew(disk, value, e);
	if (rc)
		return store__txn_spoil(txn, rc);
	if (read)
		buf_append(bytes, value.data, value.len);
	buf_append(moved->apart, hash->bytes, HASH_BYTES);
	if (buf_failed(bytes) || buf_failed(moved->apart))
		return store__txn_spoil(txn, err_set(e, ERR_NOMEM, "setting a damaged chunk apart: out of memory"));
	rc = store__put(txn, STORE__TABLE_QUARANTINE, hash_key(hash), (struct store__bytes){ bytes->data, bytes->len },
			e);
	return rc ? rc : store__remove(txn, STORE__TABLE_CHUNK, hash_key(hash), e);
}

static int move_all(struct store *store, const struct hash *hashes, size_t hash_count, struct buf *apart, struct err *e)
{
	struct store_txn *txn;
	struct store__disk disk;
	struct buf bytes = BUF_INIT;
	struct moved moved = { apart, 0 };
	const size_t before = apart->len;
	int rc = store__txn_begin(store, store->blobs, true, ((size_t)1 << 20) + hash_count * STORE_CHUNK_BYTES, &txn,
				  e);
	if (rc)
		return rc;
	rc = store__disk_open(txn, &disk, e);
	for (size_t i = 0; !rc && i < hash_count; i++)
		rc = move_one(txn, &disk, &hashes[i], &bytes, &moved, e);
	store__disk_close(&disk);
	if (!rc && (apart->len > before || moved.rewritten_count > 0))
		rc = store__txn_commit(&txn, e);
	else
		store__txn_abort(&txn);
	if (rc)
		apart->len = before;
	else if (moved.rewritten_count > 0)
		log_event(LOG_ERROR, "STORE-CHUNKS-REWRITTEN", LOGF_U("chunks", moved.rewritten_count),
			  LOGF_S("why", "the disk has changed what memory still had"));
	buf_free(&bytes);
	return rc;
}

int store_quarantine_put(struct store *store, const struct hash *hashes, size_t hash_count, struct buf *apart,
			 struct err *e)
{
	if (!store__env_has_quarantine(store->blobs))
		return err_set(e, ERR_UNSUPPORTED, "%s/blobs: is a cache: what is damaged there is fetched again",
			       store->folder);
	int rc = move_all(store, hashes, hash_count, apart, e);
	return rc == ERR_AGAIN ? move_all(store, hashes, hash_count, apart, e) : rc; /* the map has grown meanwhile */
}

int store__quarantine_leave(struct store_txn *txn, const struct hash *hash, struct err *e)
{
	struct store__bytes value;
	if (!store__env_has_quarantine(txn->env))
		return 0;
	int rc = store__get(txn, STORE__TABLE_QUARANTINE, hash_key(hash), &value, e);
	if (!rc)
		return store__remove(txn, STORE__TABLE_QUARANTINE, hash_key(hash), e);
	if (rc == ERR_NOT_FOUND)
		err_clear(e);
	return rc == ERR_NOT_FOUND ? 0 : rc;
}

static int add_once(struct store *copy, const struct store_chunk *chunks, size_t chunk_count, size_t byte_count,
		    struct err *e)
{
	struct store_txn *txn;
	int rc = store__txn_begin(copy, copy->blobs, true, ((size_t)1 << 20) + byte_count, &txn, e);
	if (rc)
		return rc;
	for (size_t i = 0; !rc && i < chunk_count; i++) {
		struct store__bytes there, key = hash_key(&chunks[i].hash);
		rc = store__get(txn, STORE__TABLE_CHUNK, key, &there, e);
		if (rc != ERR_NOT_FOUND)
			continue;
		err_clear(e);
		rc = store__put(txn, STORE__TABLE_QUARANTINE, key,
				(struct store__bytes){ chunks[i].bytes, chunks[i].byte_count }, e);
	}
	if (!rc)
		return store__txn_commit(&txn, e);
	store__txn_abort(&txn);
	return rc;
}

int store__quarantine_add(struct store *copy, const struct store_chunk *chunks, size_t chunk_count, struct err *e)
{
	size_t byte_count = 0;
	for (size_t i = 0; i < chunk_count; i++)
		byte_count += chunks[i].byte_count + 8192;
	int rc = add_once(copy, chunks, chunk_count, byte_count, e);
	return rc == ERR_AGAIN ? add_once(copy, chunks, chunk_count, byte_count, e) : rc; /* the map has grown */
}

int store__quarantine_count(struct store *store, uint64_t *count, struct err *e)
{
	struct store_txn *txn;
	*count = 0;
	if (!store__env_has_quarantine(store->blobs))
		return 0;
	int rc = store__txn_begin(store, store->blobs, false, 0, &txn, e);
	if (rc)
		return rc;
	rc = store__count(txn, STORE__TABLE_QUARANTINE, count, e);
	store__txn_abort(&txn);
	return rc;
}

int store_quarantine_has(struct store *store, const struct hash *hash, bool *has, struct err *e)
{
	struct store_txn *txn;
	struct store__bytes value;
	*has = false;
	if (!store__env_has_quarantine(store->blobs))
		return 0;
	int rc = store__txn_begin(store, store->blobs, false, 0, &txn, e);
	if (rc)
		return rc;
	rc = store__get(txn, STORE__TABLE_QUARANTINE, hash_key(hash), &value, e);
	store__txn_abort(&txn);
	*has = rc == 0;
	if (rc == ERR_NOT_FOUND)
		err_clear(e);
	return rc == ERR_NOT_FOUND ? 0 : rc;
}

int store_quarantine_list(struct store *store, size_t max, struct buf *hashes, struct err *e)
{
	struct store_txn *txn;
	struct store__bytes value;
	struct hash last = { { 0 } };
	bool begun = false;
	if (!store__env_has_quarantine(store->blobs))
		return 0;
	int rc = store__txn_begin(store, store->blobs, false, 0, &txn, e);
	if (rc)
		return rc;
	for (size_t i = 0; !rc && i < max; i++) {
		rc = store__hash_next(txn, STORE__TABLE_QUARANTINE, &last, &begun, &value, e);
		if (!rc)
			buf_append(hashes, last.bytes, HASH_BYTES);
	}
	store__txn_abort(&txn);
	if (rc == ERR_NOT_FOUND) {
		err_clear(e);
		rc = 0;
	}
	return rc || !buf_failed(hashes) ? rc : err_set(e, ERR_NOMEM, "listing damaged chunks: out of memory");
}

int store_scrub_step(struct store *store, struct store_scrub *scrub, size_t chunk_max, struct buf *bad, struct err *e)
{
	struct store_txn *txn;
	struct store__disk disk;
	int rc = store__txn_begin(store, store->blobs, false, 0, &txn, e);
	if (rc)
		return rc;
	rc = store__disk_open(txn, &disk, e);
	for (size_t i = 0; !rc && i < chunk_max; i++) {
		struct store__bytes value, found;
		rc = store__hash_next(txn, STORE__TABLE_CHUNK, &scrub->last, &scrub->begun, &value, e);
		if (rc)
			break;
		scrub->chunk_count++;
		scrub->byte_count += value.len;
		if (!store__disk_read(&disk, value, &found) || is_damaged(&scrub->last, found))
			buf_append(bad, scrub->last.bytes, HASH_BYTES);
	}
	store__disk_close(&disk);
	store__txn_abort(&txn);
	if (rc == ERR_NOT_FOUND) {
		err_clear(e);
		scrub->ended = true;
		rc = 0;
	}
	return rc || !buf_failed(bad) ? rc : err_set(e, ERR_NOMEM, "listing damaged chunks: out of memory");
}
