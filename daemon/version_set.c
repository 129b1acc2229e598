/* version_set.c: see version_set.h. */
#include "daemon/version_set.h"

#include "base/fault.h"
#include "base/order.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

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

/* The encoded bytes of a version's memories while its set is built. */
struct encoded {
	struct editor_memory_part *parts;
	struct buf *bytes; /* 2 a memory: delta, index */
	struct buf calibration;
	size_t count;
	struct arena *arena; /* of what is decoded of them */
};

static void encoded_free(struct encoded *x)
{
	for (size_t i = 0; x->bytes != NULL && i < 2 * x->count; i++)
		buf_free(&x->bytes[i]);
	buf_free(&x->calibration);
	free(x->bytes);
	free(x->parts);
	arena_destroy(&x->arena);
}

static bool family_is_paper(const struct proto_manifest *manifest)
{
	return manifest->family.len == 5 && memcmp(manifest->family.text, "paper", 5) == 0;
}

/* In place of the bytes of its index. */
static int lost_decode(struct encoded *x, struct editor_memory_part *part, struct err *e)
{
	struct proto_merge_index index;
	int rc = x->arena == NULL && arena_new(1 << 12, 0, &x->arena) != 0 ? err_set(e, ERR_NOMEM, "out of memory") : 0;
	if (rc == 0)
		rc = proto_merge_index_decode(part->index, part->index_len, x->arena, &index, e);
	if (rc != 0)
		return rc;
	part->lost = index.lost_seqs;
	part->lost_count = index.lost_count;
	part->index = NULL;
	part->index_len = 0;
	return 0;
}

static int memory_read(struct store *blobs, const struct proto_memory *memory, bool paper, bool with_delta,
		       struct encoded *x, size_t i, struct err *e)
{
	struct buf *delta = &x->bytes[2 * i], *index = &x->bytes[2 * i + 1];
	bool merged = memory->kind == PROTO_MEMORY_MERGED;
	int rc = with_delta ? store_blob_get(blobs, &memory->delta_root, BLOB_BYTES_MAX, delta, e) : 0;
	const bool indexed = !hash_is_zero(&memory->index_root);
	if (rc == 0 && (indexed || !merged))
		rc = store_blob_get(blobs, &memory->index_root, BLOB_BYTES_MAX, index, e);
	if (rc == 0)
		x->parts[i] = (struct editor_memory_part){
			.id = memory->id,
			.delta = with_delta ? delta->data : NULL,
			.delta_len = delta->len,
			.index = indexed || !merged ? index->data : NULL,
			.index_len = index->len,
			.merged = merged,
			.sources = memory->sources,
			.source_count = memory->source_count,
		};
	if (rc == 0 && merged && indexed && !paper)
		rc = lost_decode(x, &x->parts[i], e);
	if (rc != 0)
		err_wrap(e, "memory %" PRIu64, memory->id);
	return rc;
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

static int calibration_read(struct store *blobs, const struct proto_manifest *manifest, struct encoded *x,
			    struct err *e)
{
	return hash_is_zero(&manifest->calibration_root)
		       ? 0
		       : store_blob_get(blobs, &manifest->calibration_root, BLOB_BYTES_MAX, &x->calibration, e);
}

/* Those from `first` on. */
static int memories_read(struct store *blobs, const struct proto_manifest *manifest, size_t first, bool with_deltas,
			 struct encoded *x, struct err *e)
{
	const size_t count = manifest->memory_count - first;
	int rc = 0;
	if (count > 0) {
		x->parts = fault_calloc(count, sizeof *x->parts);
		x->bytes = fault_calloc(2 * count, sizeof *x->bytes);
		if (x->parts == NULL || x->bytes == NULL)
			return err_set(e, ERR_NOMEM, "out of memory for %zu memories", count);
	}
	for (size_t i = 0; i < count && rc == 0; i++) {
		x->count = i + 1;
		rc = memory_read(blobs, &manifest->memories[first + i], family_is_paper(manifest), with_deltas, x, i,
				 e);
	}
	return rc;
}

static enum editor_set_kind kind_of(const struct proto_manifest *manifest)
{
	return manifest->default_set == PROTO_SET_MERGED ? EDITOR_SET_MERGED : EDITOR_SET_RETRIEVE;
}

static int build(struct store *blobs, const struct proto_manifest *manifest, const struct model_shape *shape,
		 struct encoded *x, struct editor_memory_set **out, struct err *e)
{
	int rc = shape_check(manifest, shape, e);
	if (rc == 0)
		rc = calibration_read(blobs, manifest, x, e);
	if (rc == 0)
		rc = memories_read(blobs, manifest, 0, true, x, e);
	return rc != 0 ? rc
		       : editor_memory_set_new(shape, &manifest->base_model, manifest->layer, manifest->version,
					       x->calibration.data, x->calibration.len, x->parts,
					       manifest->memory_count, manifest->removed_seqs, manifest->removed_count,
					       kind_of(manifest), out, e);
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

/* --- Routes alone. */

static void hash_of_buf(struct buf *bytes, struct hash *out, bool *failed)
{
	hash_of(bytes->data, bytes->len, out);
	*failed = buf_failed(bytes);
	buf_free(bytes);
}

static bool head_of(const struct proto_manifest *manifest, struct hash *out)
{
	struct buf bytes = BUF_INIT;
	bool failed;
	buf_append(&bytes, &manifest->base_model, sizeof manifest->base_model);
	buf_append(&bytes, &manifest->calibration_root, sizeof manifest->calibration_root);
	buf_u32le(&bytes, manifest->layer);
	hash_of_buf(&bytes, out, &failed);
	return !failed;
}

/* `removed`: ascending. */
static bool stamp_of(const struct proto_memory *memory, const uint64_t *removed, size_t removed_count, struct hash *out)
{
	struct buf bytes = BUF_INIT;
	bool failed;
	buf_u64le(&bytes, memory->id);
	buf_u32le(&bytes, memory->kind);
	buf_append(&bytes, &memory->index_root, sizeof memory->index_root);
	buf_u64le(&bytes, memory->source_count);
	buf_append(&bytes, memory->sources, memory->source_count * sizeof *memory->sources);
	for (size_t i = 0; i < memory->seq_count && removed_count > 0; i++) {
		if (bsearch(&memory->seqs[i], removed, removed_count, sizeof *removed, order_u64) != NULL)
			buf_u64le(&bytes, memory->seqs[i]);
	}
	hash_of_buf(&bytes, out, &failed);
	return !failed;
}

static int stamps_of(const struct proto_manifest *manifest, struct buf *stamps, struct err *e)
{
	uint64_t *removed = fault_malloc((manifest->removed_count + 1) * sizeof *removed);
	bool good = removed != NULL;
	if (good && manifest->removed_count > 0)
		memcpy(removed, manifest->removed_seqs, manifest->removed_count * sizeof *removed);
	if (good)
		qsort(removed, manifest->removed_count, sizeof *removed, order_u64);
	for (size_t i = 0; good && i < manifest->memory_count; i++) {
		struct hash stamp;
		good = stamp_of(&manifest->memories[i], removed, manifest->removed_count, &stamp);
		buf_append(stamps, &stamp, sizeof stamp);
	}
	free(removed);
	return good && !buf_failed(stamps) ? 0 : err_set(e, ERR_NOMEM, "routes of a version: out of memory");
}

/* How many memories from the first on are those of the version before. */
static size_t same_first(const struct version_routes *routes, const struct hash *head, const struct buf *stamps)
{
	const struct hash *before = (const void *)routes->stamps.data, *now = (const void *)stamps->data;
	const size_t less = routes->stamps.len < stamps->len ? routes->stamps.len : stamps->len;
	size_t same = 0;
	if (routes->set == NULL || !hash_equal(&routes->head, head))
		return 0;
	while (same < less / sizeof *now && hash_equal(&before[same], &now[same]))
		same++;
	return same;
}

static int routes_build(struct version_routes *routes, struct store *blobs, const struct proto_manifest *manifest,
			const struct model_shape *shape, size_t kept, struct err *e)
{
	struct encoded x = { .calibration = BUF_INIT };
	int rc = shape_check(manifest, shape, e);
	if (rc == 0)
		rc = memories_read(blobs, manifest, kept, false, &x, e);
	if (rc == 0 && routes->set == NULL)
		rc = calibration_read(blobs, manifest, &x, e);
	if (rc == 0 && routes->set == NULL)
		rc = editor_memory_set_new(shape, &manifest->base_model, manifest->layer, manifest->version,
					   x.calibration.data, x.calibration.len, x.parts, manifest->memory_count,
					   manifest->removed_seqs, manifest->removed_count, kind_of(manifest),
					   &routes->set, e);
	else if (rc == 0)
		rc = editor_memory_set_renew(routes->set, shape, manifest->version, kept, x.parts,
					     manifest->memory_count - kept, manifest->removed_seqs,
					     manifest->removed_count, kind_of(manifest), e);
	encoded_free(&x);
	return rc;
}

int version_routes_renew(struct version_routes *routes, struct store *blobs, const struct proto_manifest *manifest,
			 const struct model_shape *shape, struct err *e)
{
	struct buf stamps = BUF_INIT;
	struct hash head;
	int rc = head_of(manifest, &head) ? stamps_of(manifest, &stamps, e)
					  : err_set(e, ERR_NOMEM, "routes of a version: out of memory");
	if (rc == 0 && routes->set != NULL && !hash_equal(&routes->head, &head))
		version_routes_fini(routes);
	if (rc == 0)
		rc = routes_build(routes, blobs, manifest, shape, same_first(routes, &head, &stamps), e);
	if (rc != 0) {
		err_wrap(e, "routes of version %" PRIu64, manifest->version);
		buf_free(&stamps);
		version_routes_fini(routes);
		return rc;
	}
	buf_free(&routes->stamps);
	routes->stamps = stamps;
	routes->head = head;
	return 0;
}

int version_routes_delta_read(struct version_routes *routes, struct store *blobs, const struct proto_manifest *manifest,
			      const struct model_shape *shape, uint64_t memory_id, struct err *e)
{
	struct buf delta = BUF_INIT;
	size_t at = 0;
	while (at < manifest->memory_count && manifest->memories[at].id != memory_id)
		at++;
	if (at == manifest->memory_count)
		return err_set(e, ERR_NOT_FOUND, "the version has no memory %" PRIu64, memory_id);
	int rc = store_blob_get(blobs, &manifest->memories[at].delta_root, BLOB_BYTES_MAX, &delta, e);
	if (rc == 0)
		rc = editor_memory_set_delta(routes->set, shape, memory_id, delta.data, delta.len, e);
	buf_free(&delta);
	if (rc != 0)
		err_wrap(e, "memory %" PRIu64, memory_id);
	return rc;
}

void version_routes_delta_drop(struct version_routes *routes, const struct model_shape *shape, uint64_t memory_id)
{
	struct err none = ERR_INIT;
	if (routes->set != NULL)
		(void)!editor_memory_set_delta(routes->set, shape, memory_id, NULL, 0, &none);
}

void version_routes_fini(struct version_routes *routes)
{
	editor_memory_set_release(&routes->set);
	buf_free(&routes->stamps);
	*routes = (struct version_routes){ .set = NULL };
}
