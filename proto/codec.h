/* codec.h: frames and protobuf. Frame = header of 40 bytes {magic "AMND", protocol version u16, type u16, body length
 * u32, bulk length u32, flags u64, request id u64, trace id u64; little-endian}, the protobuf body, and at most one raw
 * bulk frame. Decoding: cap of the type checked first, then a pre-scan of depth and field count, then unpacking through
 * an allocator with a budget, then ranges and UTF-8; ERR_INVALID, ERR_LIMIT, ERR_UNSUPPORTED (type or version). The
 * header and Error are the same in every version, so that programs of two versions can tell each other. Pure;
 * thread-safe. */
#ifndef AMEND_PROTO_CODEC_H
#define AMEND_PROTO_CODEC_H

#include "base/buf.h"
#include "proto/msg.h"

#define PROTO_HEADER_BYTES 40

/* Replaces `head` (header + body) and gives the bulk bytes, borrowed from `msg`. ERR_LIMIT when over the type's cap. */
int proto_encode(const struct msg *msg, struct buf *head, struct msg_bytes *bulk, struct err *e) MUST_CHECK;
int proto_decode(const void *head, size_t head_len, const void *bulk, size_t bulk_len, struct msg_received **out,
		 struct err *e) MUST_CHECK;
/* ERR_UNSUPPORTED: it is of another version, and no Error. ERR_INVALID. */
int proto_version_check(const void *head, size_t head_len, struct err *e) MUST_CHECK;
/* Only the header: type (known or not) and ids, for deciding before any decoding. ERR_INVALID. */
int proto_peek(const void *head, size_t head_len, int *type, uint64_t *request_id, uint64_t *trace_id) MUST_CHECK;
size_t proto_body_cap(int type); /* bytes; 0 for unknown types */

/* The manifest (content-addressed, immutable; design.md "Things on disk"). */
enum proto_memory_kind { PROTO_MEMORY_SHARD = 1, PROTO_MEMORY_MERGED = 2 };
struct proto_memory {
	uint64_t id; /* unique in the cluster: shard id, or 2^32 + merge id */
	enum proto_memory_kind kind;
	uint64_t shard_version;
	struct hash delta_root, index_root; /* merged of family `amend`: its sources' indexes name its edits, and this
					       one (struct proto_merge_index) those that it does not answer; zero:
					       it answers all */
	struct msg_text encoding;           /* "bf16+zstd" */
	const uint64_t *seqs;               /* edits in it, in order */
	size_t seq_count;
	const uint64_t *sources; /* merged: memory ids of the shards it covers */
	size_t source_count;
	double score; /* re-test: share passed */
};
enum proto_set { PROTO_SET_RETRIEVE = 1, PROTO_SET_MERGED = 2 };
struct proto_manifest {
	uint32_t format; /* 1 */
	uint64_t version;
	struct hash parent; /* content hash of the version before, zero for the first */
	struct hash base_model;
	struct msg_text family; /* "amend" */
	uint32_t layer, hidden, ffn;
	struct msg_text tensor; /* "blk.25.ffn_down.weight" */
	struct hash calibration_root;
	uint64_t ledger_seq; /* covered */
	int64_t published_ms;
	enum proto_set default_set;
	const struct proto_memory *memories; /* ascending id */
	size_t memory_count;
	const uint64_t *removed_seqs; /* tombstones: superseded, revoked, expired */
	size_t removed_count;
};
/* The edits of a merged memory of family `amend` that failed its re-test: their own shards answer them. */
struct proto_merge_index {
	const uint64_t *lost_seqs; /* ascending, none twice, at least one */
	size_t lost_count;
};
#define PROTO_MANIFEST_BYTES_MAX (64 * 1024 * 1024)
int proto_manifest_encode(const struct proto_manifest *manifest, struct buf *out, struct err *e) MUST_CHECK;
/* Arrays live in `arena`. */
int proto_manifest_decode(const void *bytes, size_t len, struct arena *arena, struct proto_manifest *out,
			  struct err *e) MUST_CHECK;
int proto_merge_index_encode(const struct proto_merge_index *index, struct buf *out, struct err *e) MUST_CHECK;
/* The array lives in `arena`. ERR_INVALID, ERR_LIMIT. */
int proto_merge_index_decode(const void *bytes, size_t len, struct arena *arena, struct proto_merge_index *out,
			     struct err *e) MUST_CHECK;
/* The roots of all blobs that it names, appended as struct hash; a calibration or an index that is not there has none.
 * ERR_NOMEM. */
int proto_manifest_roots(const struct proto_manifest *manifest, struct buf *roots, struct err *e) MUST_CHECK;

#endif
