/* blob.c: bytes by their hash. A chunk is stored bare under its SHA-256, which is all the record that it needs.
 * Chunks come first and the root chunk last, each group in its own synced transaction: a root that is there is whole.
 */
#include "base/fault.h"
#include "store/record.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define ROOT_MAGIC      "AMRT"
#define ROOT_FORMAT     1
#define ROOT_HEAD_BYTES 16
#define GROUP_CHUNKS    256        /* 16 MB of a blob per transaction */
#define PAGES_BYTES     (1u << 20) /* the tree's own pages of a group */
#define PUT_TRIES       24         /* each try doubles the map */

_Static_assert(ROOT_HEAD_BYTES + STORE_BLOB_CHUNKS_MAX * HASH_BYTES <= STORE_CHUNK_BYTES, "a root is one chunk");

static struct store__bytes hash_key(const struct hash *hash)
{
	return (struct store__bytes){ hash->bytes, HASH_BYTES };
}

static int chunk_fail(struct store *store, const struct hash *hash, int code, const char *why, struct err *e)
{
	char hex[HASH_HEX_BYTES];
	hash_hex(hash, hex);
	return err_set(e, code, "%s/blobs: chunk %s: %s", store->folder, hex, why);
}

static int chunk_check(struct store *store, const struct hash *hash, const void *bytes, size_t byte_count,
		       const char *why, struct err *e)
{
	struct hash found;
	hash_of(bytes, byte_count, &found);
	return hash_equal(&found, hash) ? 0 : chunk_fail(store, hash, ERR_CORRUPT, why, e);
}

/* --- Writing */

/* A chunk that is there with other bytes was damaged on disk: the new ones heal it. So do they one that was set apart.
 */
static int put_one(struct store_txn *txn, const struct store_chunk *chunk, bool *written, struct err *e)
{
	struct store__bytes there, bytes = { chunk->bytes, chunk->byte_count };
	int rc = store__get(txn, STORE__TABLE_CHUNK, hash_key(&chunk->hash), &there, e);
	if (!rc && there.len == bytes.len && (!bytes.len || memcmp(there.data, bytes.data, bytes.len) == 0))
		return 0;
	if (rc && rc != ERR_NOT_FOUND)
		return rc;
	err_clear(e);
	*written = true;
	rc = store__put(txn, STORE__TABLE_CHUNK, hash_key(&chunk->hash), bytes, e);
	return rc ? rc : store__quarantine_leave(txn, &chunk->hash, e);
}

static int put_once(struct store *store, const struct store_chunk *chunks, size_t chunk_count, size_t need_bytes,
		    bool *written, struct err *e)
{
	struct store_txn *txn;
	int rc = store__txn_begin(store, store->blobs, true, need_bytes, &txn, e);
	if (rc)
		return rc;
	*written = false;
	for (size_t i = 0; !rc && i < chunk_count; i++)
		rc = put_one(txn, &chunks[i], written, e);
	if (rc || !*written) {
		store__txn_abort(&txn);
		return rc;
	}
	return store__txn_commit(&txn, e);
}

/* The hashes are known to be right. */
static int put_checked(struct store *store, const struct store_chunk *chunks, size_t chunk_count, struct err *e)
{
	size_t need_bytes = PAGES_BYTES;
	bool written;
	int rc = 0;
	for (size_t i = 0; !rc && i < chunk_count; i++) {
		need_bytes += chunks[i].byte_count + 8192;
		rc = store__recent_add(store, &chunks[i].hash, e);
	}
	if (rc)
		return rc;
	if (fault_point("store.blob.before"))
		return err_set(e, ERR_FAULT, "%s/blobs: fault planted before the commit", store->folder);
	/* Full pages may leave less room than counted: then the map grows and the same chunks are put again. */
	for (int tries = 0; tries < PUT_TRIES; tries++) {
		rc = put_once(store, chunks, chunk_count, need_bytes, &written, e);
		if (rc != ERR_AGAIN)
			break;
	}
	if (!rc && fault_point("store.blob.after"))
		rc = err_set(e, ERR_FAULT, "%s/blobs: fault planted after the commit: it is kept", store->folder);
	return rc;
}

int store_chunks_put(struct store *store, const struct store_chunk *chunks, size_t chunk_count, struct err *e)
{
	for (size_t i = 0; i < chunk_count; i++) {
		const struct store_chunk *c = &chunks[i];
		if (c->byte_count > STORE_CHUNK_BYTES)
			return chunk_fail(store, &c->hash, ERR_LIMIT, "is longer than a chunk may be", e);
		int rc = chunk_check(store, &c->hash, c->bytes, c->byte_count,
				     "the bytes given do not match it: fetch it again", e);
		if (rc)
			return rc;
	}
	return put_checked(store, chunks, chunk_count, e);
}

static size_t chunk_count_of(size_t byte_count)
{
	return byte_count / STORE_CHUNK_BYTES + (byte_count % STORE_CHUNK_BYTES != 0);
}

/* Hashes and stores one group; adds the hashes to the root. */
static int put_group(struct store *store, const uint8_t *bytes, size_t byte_count, struct store_chunk *chunks,
		     struct buf *root, struct err *e)
{
	size_t chunk_count = 0;
	for (size_t at = 0; at < byte_count; at += STORE_CHUNK_BYTES) {
		struct store_chunk *c = &chunks[chunk_count++];
		c->bytes = bytes + at;
		c->byte_count = byte_count - at < STORE_CHUNK_BYTES ? byte_count - at : STORE_CHUNK_BYTES;
		hash_of(c->bytes, c->byte_count, &c->hash);
		buf_append(root, c->hash.bytes, HASH_BYTES);
	}
	return put_checked(store, chunks, chunk_count, e);
}

static int put_root(struct store *store, struct buf *root, struct hash *out, struct err *e)
{
	if (buf_failed(root))
		return err_set(e, ERR_NOMEM, "%s/blobs: storing a blob: out of memory", store->folder);
	struct store_chunk chunk = { .bytes = root->data, .byte_count = root->len };
	hash_of(root->data, root->len, &chunk.hash);
	int rc = put_checked(store, &chunk, 1, e);
	if (!rc)
		*out = chunk.hash;
	return rc;
}

int store_blob_put(struct store *store, const void *bytes, size_t byte_count, struct hash *root, struct err *e)
{
	const size_t group_bytes = (size_t)GROUP_CHUNKS * STORE_CHUNK_BYTES;
	struct buf list = BUF_INIT;
	int rc = 0;
	if (chunk_count_of(byte_count) > STORE_BLOB_CHUNKS_MAX)
		return err_set(e, ERR_LIMIT, "%s/blobs: a blob of %zu bytes is over %zu", store->folder, byte_count,
			       (size_t)STORE_BLOB_CHUNKS_MAX * STORE_CHUNK_BYTES);
	struct store_chunk *chunks = fault_malloc(GROUP_CHUNKS * sizeof(*chunks));
	if (!chunks)
		return err_set(e, ERR_NOMEM, "%s/blobs: storing a blob: out of memory", store->folder);
	buf_append(&list, ROOT_MAGIC, 4);
	buf_u32le(&list, ROOT_FORMAT);
	buf_u64le(&list, byte_count);
	for (size_t at = 0; !rc && at < byte_count; at += group_bytes) {
		size_t part = byte_count - at < group_bytes ? byte_count - at : group_bytes;
		rc = put_group(store, (const uint8_t *)bytes + at, part, chunks, &list, e);
	}
	if (!rc)
		rc = put_root(store, &list, root, e);
	free(chunks);
	buf_free(&list);
	return rc;
}

/* --- Reading */

static int chunk_append(struct store *store, struct store_txn *txn, const struct hash *hash, struct buf *out,
			struct err *e)
{
	struct store__bytes value;
	int rc = store__get(txn, STORE__TABLE_CHUNK, hash_key(hash), &value, e);
	if (rc == ERR_NOT_FOUND)
		return chunk_fail(store, hash, ERR_NOT_FOUND, "is not here: fetch it", e);
	if (!rc)
		rc = chunk_check(store, hash, value.data, value.len,
				 "does not match its hash: fetch it again, or restore a backup", e);
	if (rc)
		return rc;
	buf_append(out, value.data, value.len);
	return buf_failed(out) ? chunk_fail(store, hash, ERR_NOMEM, "reading it: out of memory", e) : 0;
}

int store_chunk_get(struct store *store, const struct hash *hash, struct buf *out, struct err *e)
{
	struct store_txn *txn;
	int rc = store__txn_begin(store, store->blobs, false, 0, &txn, e);
	if (rc)
		return rc;
	rc = chunk_append(store, txn, hash, out, e);
	store__txn_abort(&txn);
	return rc;
}

int store_chunk_has(struct store *store, const struct hash *hash, bool *has, struct err *e)
{
	struct store_txn *txn;
	struct store__bytes value;
	int rc = store__txn_begin(store, store->blobs, false, 0, &txn, e);
	if (rc)
		return rc;
	rc = store__get(txn, STORE__TABLE_CHUNK, hash_key(hash), &value, e);
	store__txn_abort(&txn);
	if (rc && rc != ERR_NOT_FOUND)
		return rc;
	*has = rc == 0;
	if (*has) /* who hears that it is here does not bring it again */
		return store__recent_add(store, hash, e);
	err_clear(e);
	return 0;
}

int store_root_parse(const void *root_chunk, size_t root_len, struct buf *hashes, uint64_t *byte_count, struct err *e)
{
	struct reader r;
	reader_init(&r, root_chunk, root_len);
	const void *magic = reader_bytes(&r, 4);
	uint32_t format = reader_u32le(&r);
	uint64_t length = reader_u64le(&r);
	if (r.overrun || memcmp(magic, ROOT_MAGIC, 4) != 0)
		return err_set(e, ERR_CORRUPT, "root chunk: is none: its first bytes are not \"%s\"", ROOT_MAGIC);
	if (format != ROOT_FORMAT)
		return err_set(e, ERR_CORRUPT, "root chunk: has format %" PRIu32 ", this program reads %d", format,
			       ROOT_FORMAT);
	if (length > (uint64_t)STORE_BLOB_CHUNKS_MAX * STORE_CHUNK_BYTES)
		return err_set(e, ERR_CORRUPT, "root chunk: says %" PRIu64 " bytes, more than a blob may have", length);
	size_t chunk_count = chunk_count_of((size_t)length);
	if (root_len - r.at != chunk_count * HASH_BYTES)
		return err_set(e, ERR_CORRUPT, "root chunk: lists %zu bytes of hashes for a blob of %" PRIu64 " bytes",
			       root_len - r.at, length);
	buf_append(hashes, reader_bytes(&r, chunk_count * HASH_BYTES), chunk_count * HASH_BYTES);
	if (buf_failed(hashes))
		return err_set(e, ERR_NOMEM, "root chunk: reading it: out of memory");
	*byte_count = length;
	return 0;
}

static int read_root(struct store *store, const struct hash *root, struct buf *hashes, uint64_t *byte_count,
		     struct err *e)
{
	struct buf chunk = BUF_INIT;
	char hex[HASH_HEX_BYTES];
	int rc = store_chunk_get(store, root, &chunk, e);
	if (!rc && (rc = store_root_parse(chunk.data, chunk.len, hashes, byte_count, e))) {
		hash_hex(root, hex);
		err_wrap(e, "%s/blobs: blob %s", store->folder, hex);
	}
	buf_free(&chunk);
	return rc;
}

/* The hash of chunk `i`, from bytes without alignment. */
static struct hash nth(const struct buf *hashes, size_t i)
{
	struct hash h;
	memcpy(h.bytes, hashes->data + i * HASH_BYTES, HASH_BYTES);
	return h;
}

static int read_chunks(struct store *store, const struct buf *hashes, uint64_t byte_count, struct buf *out,
		       struct err *e)
{
	size_t begin = out->len;
	for (size_t i = 0; i < hashes->len / HASH_BYTES; i++) {
		struct hash h = nth(hashes, i);
		int rc = store_chunk_get(store, &h, out, e);
		if (rc)
			return rc;
		uint64_t end = (uint64_t)(i + 1) * STORE_CHUNK_BYTES;
		if (out->len - begin != (end < byte_count ? end : byte_count))
			return chunk_fail(store, &h, ERR_CORRUPT, "has another length than its blob says", e);
	}
	return 0;
}

int store_blob_get(struct store *store, const struct hash *root, size_t byte_limit, struct buf *out, struct err *e)
{
	struct buf hashes = BUF_INIT;
	uint64_t byte_count = 0;
	char hex[HASH_HEX_BYTES];
	size_t begin = out->len;
	int rc = read_root(store, root, &hashes, &byte_count, e);
	if (!rc && byte_count > byte_limit) {
		hash_hex(root, hex);
		rc = err_set(e, ERR_LIMIT, "%s/blobs: blob %s: its %" PRIu64 " bytes are over %zu", store->folder, hex,
			     byte_count, byte_limit);
	}
	if (!rc)
		rc = read_chunks(store, &hashes, byte_count, out, e);
	if (rc)
		out->len = begin;
	buf_free(&hashes);
	return rc;
}

/* Without `verify`, a chunk that is there counts as whole. */
static int add_if_bad(struct store *store, const struct hash *hash, bool verify, struct buf *scratch,
		      struct buf *hashes, struct err *e)
{
	bool has = false;
	int rc;
	if (verify) {
		buf_clear(scratch);
		rc = store_chunk_get(store, hash, scratch, e);
		has = rc == 0;
		if (rc == ERR_NOT_FOUND || rc == ERR_CORRUPT) {
			err_clear(e);
			rc = 0;
		}
	} else {
		rc = store_chunk_has(store, hash, &has, e);
	}
	if (!rc && !has) {
		buf_append(hashes, hash->bytes, HASH_BYTES);
		if (buf_failed(hashes))
			rc = chunk_fail(store, hash, ERR_NOMEM, "listing it: out of memory", e);
	}
	return rc;
}

static int list_bad(struct store *store, const struct hash *root, bool verify, struct buf *hashes, struct err *e)
{
	struct buf all = BUF_INIT, chunk = BUF_INIT;
	uint64_t byte_count;
	size_t before = hashes->len;
	/* The root chunk itself is always verified: it says what else there is. */
	int rc = add_if_bad(store, root, true, &chunk, hashes, e);
	if (!rc && hashes->len == before)
		rc = read_root(store, root, &all, &byte_count, e);
	for (size_t i = 0; !rc && i < all.len / HASH_BYTES; i++) {
		struct hash h = nth(&all, i);
		rc = add_if_bad(store, &h, verify, &chunk, hashes, e);
	}
	buf_free(&all);
	buf_free(&chunk);
	return rc;
}

int store_blob_missing(struct store *store, const struct hash *root, struct buf *hashes, struct err *e)
{
	return list_bad(store, root, false, hashes, e);
}

int store_blob_damaged(struct store *store, const struct hash *root, struct buf *hashes, struct err *e)
{
	return list_bad(store, root, true, hashes, e);
}
