/* collect.c: gives back the chunks that nothing needs any more. What is needed: the blobs of the versions that are
 * kept, of every shard and merge as the ledger has them, and of the merge that runs; store/collect.c adds what was
 * uploaded lately. Each slice lists all of it anew, on the loop's thread: between two slices anything may become needed
 * again. */
#include "coordinator/internal.h"

#include "proto/codec.h"

#define SLICE_CHUNKS 2048 /* 134 MB */

static int manifest_add(struct coordinator *c, const struct store_version *version, struct buf *roots, struct err *e)
{
	struct arena *arena = NULL;
	struct proto_manifest manifest;
	struct buf bytes = BUF_INIT;
	int rc = arena_new(1 << 16, 0, &arena) != 0 ? err_set(e, ERR_NOMEM, "out of memory") : 0;
	if (rc == 0)
		rc = store_blob_get(c->store, &version->root, PROTO_MANIFEST_BYTES_MAX, &bytes, e);
	if (rc == 0)
		rc = proto_manifest_decode(bytes.data, bytes.len, arena, &manifest, e);
	if (rc != 0)
		err_wrap(e, "version %llu is kept, and its manifest cannot be read: nothing is deleted",
			 (unsigned long long)version->version);
	buf_append(roots, version->root.bytes, HASH_BYTES);
	if (rc == 0 && !hash_is_zero(&manifest.calibration_root))
		buf_append(roots, manifest.calibration_root.bytes, HASH_BYTES);
	for (size_t i = 0; rc == 0 && i < manifest.memory_count; i++) {
		buf_append(roots, manifest.memories[i].delta_root.bytes, HASH_BYTES);
		if (!hash_is_zero(&manifest.memories[i].index_root))
			buf_append(roots, manifest.memories[i].index_root.bytes, HASH_BYTES);
	}
	buf_free(&bytes);
	arena_destroy(&arena);
	return rc;
}

static int versions_add(struct coordinator *c, struct store_txn *txn, struct buf *roots, struct err *e)
{
	struct store_version version;
	bool kept;
	int rc = 0;
	for (uint64_t v = c->version; rc == 0 && v > 0; v--) {
		rc = store_version_kept(txn, v, &kept, e);
		if (rc != 0 || !kept)
			continue;
		rc = store_version_get(txn, v, &version, e);
		if (rc == 0)
			rc = manifest_add(c, &version, roots, e);
	}
	return rc;
}

static int roots_list(struct coordinator *c, struct buf *roots, struct err *e)
{
	struct store_txn *txn = NULL;
	int rc = store_begin_read(c->store, &txn, e);
	if (rc == 0)
		rc = store_ledger_roots(txn, roots, e);
	if (rc == 0)
		rc = versions_add(c, txn, roots, e);
	store_abort(&txn);
	if (rc == 0 && c->merge.active && !hash_is_zero(&c->merge.rec.output_root))
		buf_append(roots, c->merge.rec.output_root.bytes, HASH_BYTES); /* before its gate only we know it */
	return rc == 0 && buf_failed(roots) ? err_set(e, ERR_NOMEM, "out of memory") : rc;
}

int coordinator__collect_slice(struct coordinator *c, struct store_collect_tally *total, struct err *e)
{
	struct buf roots = BUF_INIT;
	struct store_collect_tally slice;
	int rc = roots_list(c, &roots, e);
	if (rc == 0)
		rc = store_collect(c->store, (const struct hash *)(const void *)roots.data, roots.len / HASH_BYTES,
				   SLICE_CHUNKS, &slice, e);
	buf_free(&roots);
	if (rc != 0)
		return rc;
	total->chunk_count += slice.chunk_count;
	total->byte_count += slice.byte_count;
	total->kept_count = slice.kept_count;
	total->more = slice.more;
	return 0;
}

/* In the ledger before the first chunk goes: whoever looks after a crash in between knows what may be gone. */
int coordinator__collect_begin(struct coordinator *c, uint64_t keep_versions, const uint8_t *actor, struct err *e)
{
	struct buf json = BUF_INIT;
	struct json_w w;
	if (keep_versions == 0 || keep_versions >= c->version)
		return 0;
	const uint64_t from = c->version - keep_versions + 1;
	json_w_init(&w, &json);
	json_w_open(&w, '{');
	json_w_member_uint(&w, "kept_from", from);
	json_w_close(&w);
	int rc = coordinator__begin(c, e);
	if (rc == 0)
		rc = coordinator__event(c, STORE_EVENT_CONFIG_CHANGED, actor, &json, NULL, e);
	else
		buf_free(&json);
	if (rc == 0)
		rc = store_kept_put(c->txn, from, e);
	if (rc == 0)
		rc = coordinator__commit(c, NULL, NULL, e);
	if (rc != 0)
		coordinator__txn_failed(c, e);
	return rc;
}
