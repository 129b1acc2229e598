/* version_set.c: see version_set.h. */
#include "daemon/version_set.h"

#include "base/fault.h"

#include <inttypes.h>
#include <stdlib.h>

#define BLOB_BYTES_MAX ((size_t)STORE_BLOB_CHUNKS_MAX * STORE_CHUNK_BYTES)

static int base_check(const struct proto_manifest *manifest, const struct hash *base_model, struct err *e)
{
	char theirs[HASH_HEX_BYTES], ours[HASH_HEX_BYTES];
	if (base_model == NULL || hash_equal(&manifest->base_model, base_model))
		return 0;
	hash_hex(&manifest->base_model, theirs);
	hash_hex(base_model, ours);
	return err_set(e, ERR_MISMATCH,
		       "version %" PRIu64
		       " belongs to the base model %.16s…, the one loaded here is %.16s…: start with "
		       "the model file that this cluster edits",
		       manifest->version, theirs, ours);
}

int version_manifest_read(struct store *blobs, const struct hash *root, const struct hash *content,
			  const struct hash *base_model, struct arena *arena, struct proto_manifest *out, struct err *e)
{
	struct buf bytes = BUF_INIT;
	struct hash actual;
	int rc = store_blob_get(blobs, root, PROTO_MANIFEST_BYTES_MAX, &bytes, e);
	if (rc == 0) {
		hash_of(bytes.data, bytes.len, &actual);
		if (!hash_equal(&actual, content)) {
			char want[HASH_HEX_BYTES], have[HASH_HEX_BYTES];
			hash_hex(content, want);
			hash_hex(&actual, have);
			rc = err_set(e, ERR_CORRUPT, "its bytes have the hash %.16s…, announced was %.16s…", have,
				     want);
		}
	}
	if (rc == 0)
		rc = proto_manifest_decode(bytes.data, bytes.len, arena, out, e);
	buf_free(&bytes);
	if (rc != 0) {
		err_wrap(e, "reading a version's manifest");
		return rc;
	}
	return base_check(out, base_model, e);
}

int version_manifest_roots(const struct proto_manifest *manifest, struct buf *roots, struct err *e)
{
	if (!hash_is_zero(&manifest->calibration_root))
		buf_append(roots, &manifest->calibration_root, sizeof(struct hash));
	for (size_t i = 0; i < manifest->memory_count; i++) {
		const struct proto_memory *memory = &manifest->memories[i];
		buf_append(roots, &memory->delta_root, sizeof(struct hash));
		if (!hash_is_zero(&memory->index_root))
			buf_append(roots, &memory->index_root, sizeof(struct hash));
	}
	return buf_failed(roots)
		       ? err_set(e, ERR_NOMEM, "out of memory for the blobs of %zu memories", manifest->memory_count)
		       : 0;
}

/* The encoded bytes of a version's memories while its set is built. */
struct encoded {
	struct editor_memory_part *parts;
	struct buf *bytes; /* 2 a memory: delta, index */
	struct buf calibration;
	size_t count;
};

static void encoded_free(struct encoded *x)
{
	for (size_t i = 0; x->bytes != NULL && i < 2 * x->count; i++)
		buf_free(&x->bytes[i]);
	buf_free(&x->calibration);
	free(x->bytes);
	free(x->parts);
}

static int memory_read(struct store *blobs, const struct proto_memory *memory, struct encoded *x, size_t i,
		       struct err *e)
{
	struct buf *delta = &x->bytes[2 * i], *index = &x->bytes[2 * i + 1];
	bool merged = memory->kind == PROTO_MEMORY_MERGED;
	int rc = store_blob_get(blobs, &memory->delta_root, BLOB_BYTES_MAX, delta, e);
	const bool indexed = !hash_is_zero(&memory->index_root);
	if (rc == 0 && (indexed || !merged))
		rc = store_blob_get(blobs, &memory->index_root, BLOB_BYTES_MAX, index, e);
	if (rc != 0) {
		err_wrap(e, "memory %" PRIu64, memory->id);
		return rc;
	}
	x->parts[i] = (struct editor_memory_part){
		.id = memory->id,
		.delta = delta->data,
		.delta_len = delta->len,
		.index = indexed || !merged ? index->data : NULL,
		.index_len = index->len,
		.merged = merged,
		.sources = memory->sources,
		.source_count = memory->source_count,
	};
	return 0;
}

static int shape_check(const struct proto_manifest *manifest, const struct model_shape *shape, struct err *e)
{
	if (manifest->hidden == shape->hidden && manifest->ffn == shape->ffn && manifest->layer < shape->layers)
		return 0;
	return err_set(e, ERR_MISMATCH,
		       "edits layer %" PRIu32 " of %" PRIu32 " x %" PRIu32
		       ", the model loaded here has %zu layers of %zu x %zu",
		       manifest->layer, manifest->hidden, manifest->ffn, shape->layers, shape->hidden, shape->ffn);
}

static int build(struct store *blobs, const struct proto_manifest *manifest, const struct model_shape *shape,
		 struct encoded *x, struct editor_memory_set **out, struct err *e)
{
	int rc = shape_check(manifest, shape, e);
	if (rc == 0 && manifest->memory_count > 0) {
		x->parts = fault_calloc(manifest->memory_count, sizeof *x->parts);
		x->bytes = fault_calloc(2 * manifest->memory_count, sizeof *x->bytes);
		if (x->parts == NULL || x->bytes == NULL)
			return err_set(e, ERR_NOMEM, "out of memory for %zu memories", manifest->memory_count);
	}
	if (rc == 0 && !hash_is_zero(&manifest->calibration_root))
		rc = store_blob_get(blobs, &manifest->calibration_root, BLOB_BYTES_MAX, &x->calibration, e);
	for (size_t i = 0; i < manifest->memory_count && rc == 0; i++) {
		x->count = i + 1;
		rc = memory_read(blobs, &manifest->memories[i], x, i, e);
	}
	if (rc != 0)
		return rc;
	enum editor_set_kind kind = manifest->default_set == PROTO_SET_MERGED ? EDITOR_SET_MERGED : EDITOR_SET_RETRIEVE;
	return editor_memory_set_new(shape, &manifest->base_model, manifest->layer, manifest->version,
				     x->calibration.data, x->calibration.len, x->parts, manifest->memory_count,
				     manifest->removed_seqs, manifest->removed_count, kind, out, e);
}

int version_set_build(struct store *blobs, const struct proto_manifest *manifest, const struct model_shape *shape,
		      struct editor_memory_set **out, struct err *e)
{
	struct encoded x = { .calibration = BUF_INIT };
	int rc = build(blobs, manifest, shape, &x, out, e);
	encoded_free(&x);
	if (rc != 0)
		err_wrap(e, "building version %" PRIu64, manifest->version);
	return rc;
}
