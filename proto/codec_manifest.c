/* codec_manifest.c: manifest.proto and struct proto_manifest. The engine is that of the messages; the caps are larger,
 * because a manifest is fetched by hash from chunks and verified before it is read. */
#include "proto/codec_wire.h"

#include "proto/manifest.pb-c.h"

#include <string.h>

#define MEMORIES_MAX 65536
#define SEQS_MAX     (4u << 20)

static const struct codec__row memory_rows[] = {
	ROW_U64(1, proto_memory, id, 1, UINT64_MAX),
	ROW_ENUM(2, proto_memory, kind, PROTO_MEMORY_SHARD, PROTO_MEMORY_MERGED),
	ROW_U64(3, proto_memory, shard_version, 0, UINT64_MAX),
	ROW_HASH(4, proto_memory, delta_root),
	ROW_HASH(5, proto_memory, index_root),
	ROW_TEXT(6, proto_memory, encoding, CODEC_NAME_BYTES_MAX),
	ROW_U64S(7, proto_memory, seqs, seq_count, SEQS_MAX),
	ROW_U64S(8, proto_memory, sources, source_count, MEMORIES_MAX),
	ROW_SHARE(9, proto_memory, score),
};
static CODEC_TABLE(memory, amend__memory__descriptor, proto_memory, memory_rows);

static const struct codec__row manifest_rows[] = {
	ROW_U32(1, proto_manifest, format, 1, UINT32_MAX),
	ROW_U64(2, proto_manifest, version, 0, UINT64_MAX),
	ROW_HASH(3, proto_manifest, parent),
	ROW_HASH(4, proto_manifest, base_model),
	ROW_TEXT(5, proto_manifest, family, CODEC_NAME_BYTES_MAX),
	ROW_U32(6, proto_manifest, layer, 0, 1u << 16),
	ROW_U32(7, proto_manifest, hidden, 0, 1u << 24),
	ROW_U32(8, proto_manifest, ffn, 0, 1u << 24),
	ROW_TEXT(9, proto_manifest, tensor, CODEC_NAME_BYTES_MAX),
	ROW_HASH(10, proto_manifest, calibration_root),
	ROW_U64(11, proto_manifest, ledger_seq, 0, CODEC_SEQ_MAX),
	ROW_TIME(12, proto_manifest, published_ms),
	ROW_ENUM(13, proto_manifest, default_set, PROTO_SET_RETRIEVE, PROTO_SET_MERGED),
	ROW_LIST(14, proto_manifest, memories, memory_count, proto_memory, &memory, MEMORIES_MAX),
	ROW_U64S(15, proto_manifest, removed_seqs, removed_count, SEQS_MAX),
};
static CODEC_TABLE(manifest_table, amend__manifest__descriptor, proto_manifest, manifest_rows);

static const struct codec__row merge_index_rows[] = {
	ROW_U64S(1, proto_merge_index, lost_seqs, lost_count, SEQS_MAX),
};
static CODEC_TABLE(merge_index_table, amend__merge_index__descriptor, proto_merge_index, merge_index_rows);

static int manifest_check(const struct proto_manifest *m, struct err *e)
{
	if (m->format != 1)
		return err_set(e, ERR_UNSUPPORTED, "manifest format %u: this program knows format 1; update it",
			       m->format);
	for (size_t i = 1; i < m->memory_count; i++)
		if (m->memories[i].id <= m->memories[i - 1].id)
			return err_set(
				e, ERR_INVALID,
				"manifest of version %llu: memories are not in ascending order of id at place %zu",
				(unsigned long long)m->version, i);
	return 0;
}

int proto_manifest_encode(const struct proto_manifest *manifest, struct buf *out, struct err *e)
{
	int rc = manifest_check(manifest, e);
	if (rc != 0)
		return rc;
	buf_clear(out);
	rc = codec__encode(&manifest_table, manifest, PROTO_MANIFEST_BYTES_MAX, out, e);
	if (rc != 0)
		err_wrap(e, "encoding the manifest of version %llu", (unsigned long long)manifest->version);
	return rc;
}

/* A packed number of one byte unpacks to eight, and fields cost a small struct. */
static struct codec__caps caps_for(size_t len)
{
	struct codec__caps caps = { PROTO_MANIFEST_BYTES_MAX, 2u << 20, 0 };
	caps.unpack_bytes = (1u << 20) + 24 * (len < caps.body_bytes ? len : 0);
	return caps;
}

int proto_manifest_decode(const void *bytes, size_t len, struct arena *arena, struct proto_manifest *out, struct err *e)
{
	const struct codec__caps caps = caps_for(len);
	int rc = codec__decode(&manifest_table, bytes, len, &caps, arena, out, e);
	if (rc == 0)
		rc = manifest_check(out, e);
	if (rc != 0) {
		err_wrap(e, "reading a manifest of %zu bytes", len);
		memset(out, 0, sizeof(*out));
	}
	return rc;
}

static int merge_index_check(const struct proto_merge_index *index, struct err *e)
{
	if (index->lost_count == 0)
		return err_set(e, ERR_INVALID, "it names no edit");
	for (size_t i = 1; i < index->lost_count; i++)
		if (index->lost_seqs[i] <= index->lost_seqs[i - 1])
			return err_set(e, ERR_INVALID, "its edits are not in ascending order at place %zu", i);
	return 0;
}

int proto_merge_index_encode(const struct proto_merge_index *index, struct buf *out, struct err *e)
{
	buf_clear(out);
	int rc = merge_index_check(index, e);
	if (rc == 0)
		rc = codec__encode(&merge_index_table, index, PROTO_MANIFEST_BYTES_MAX, out, e);
	if (rc != 0)
		err_wrap(e, "encoding a merged memory's index");
	return rc;
}

int proto_merge_index_decode(const void *bytes, size_t len, struct arena *arena, struct proto_merge_index *out,
			     struct err *e)
{
	const struct codec__caps caps = caps_for(len);
	int rc = codec__decode(&merge_index_table, bytes, len, &caps, arena, out, e);
	if (rc == 0)
		rc = merge_index_check(out, e);
	if (rc != 0) {
		err_wrap(e, "reading a merged memory's index of %zu bytes", len);
		memset(out, 0, sizeof(*out));
	}
	return rc;
}

int proto_manifest_roots(const struct proto_manifest *manifest, struct buf *roots, struct err *e)
{
	if (!hash_is_zero(&manifest->calibration_root))
		buf_append(roots, &manifest->calibration_root, sizeof(struct hash));
	for (size_t i = 0; i < manifest->memory_count; i++) {
		const struct proto_memory *m = &manifest->memories[i];
		buf_append(roots, &m->delta_root, sizeof(struct hash));
		if (!hash_is_zero(&m->index_root))
			buf_append(roots, &m->index_root, sizeof(struct hash));
	}
	return buf_failed(roots)
		       ? err_set(e, ERR_NOMEM, "out of memory for the blobs of %zu memories", manifest->memory_count)
		       : 0;
}
