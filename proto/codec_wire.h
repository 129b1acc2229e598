/* codec_wire.h: inside the codec only. A message is described by one table of rows, each tying a protobuf field to a
 * member of the plain struct with its bounds; one engine (codec_wire.c) encodes, scans and decodes by it. Packed
 * structs never leave here. */
#ifndef AMEND_PROTO_CODEC_WIRE_H
#define AMEND_PROTO_CODEC_WIRE_H

#include "proto/codec.h"

#include <protobuf-c/protobuf-c.h>

enum codec__kind {
	CODEC_U32,  /* uint32_t or an enum; min..max */
	CODEC_U64,  /* min..max */
	CODEC_I64,  /* any */
	CODEC_TIME, /* milliseconds since 1970, 0..end of year 9999 */
	CODEC_CODE, /* 0 or one of ERR_LIST */
	CODEC_BOOL,
	CODEC_REAL,   /* finite */
	CODEC_SHARE,  /* 0..1 */
	CODEC_TEXT,   /* UTF-8 without NUL, at most max bytes */
	CODEC_BYTES,  /* at most max bytes */
	CODEC_HASH,   /* 32 bytes; absent: zero */
	CODEC_LIST,   /* structs of `sub`, at most max */
	CODEC_U64S,   /* uint64_t, at most max */
	CODEC_BLOBS,  /* struct msg_bytes, 1 to `each_max` bytes, at most max of them */
	CODEC_HASHES, /* struct hash, at most max */
};

struct codec__row {
	uint32_t number; /* of the protobuf field */
	enum codec__kind kind;
	size_t offset, count_offset;
	uint64_t min, max, each_max;
	const struct codec__table *sub;
};
struct codec__table {
	const ProtobufCMessageDescriptor *wire;
	size_t plain_bytes;
	const struct codec__row *rows;
	size_t row_count;
};

/* offsetof(s, m), and a compile error when the member has another type. An enum is an unsigned int to both compilers.
 */
#define CODEC_AT(s, m, type)                                                                                           \
	(offsetof(struct s, m) +                                                                                       \
	 0 * sizeof(char[__builtin_types_compatible_p(__typeof__(((struct s *)0)->m), type) ? 1 : -1]))
#define CODEC_AT_ENUM(s, m)                                                                                            \
	(offsetof(struct s, m) + 0 * sizeof(char[sizeof(((struct s *)0)->m) == sizeof(uint32_t) ? 1 : -1]))

#define ROW_U32(n, s, m, lo, hi)                                                                                       \
	{                                                                                                              \
		.number = (n), .kind = CODEC_U32, .offset = CODEC_AT(s, m, uint32_t), .min = (lo), .max = (hi)         \
	}
#define ROW_ENUM(n, s, m, lo, hi)                                                                                      \
	{                                                                                                              \
		.number = (n), .kind = CODEC_U32, .offset = CODEC_AT_ENUM(s, m), .min = (lo), .max = (hi)              \
	}
#define ROW_U64(n, s, m, lo, hi)                                                                                       \
	{                                                                                                              \
		.number = (n), .kind = CODEC_U64, .offset = CODEC_AT(s, m, uint64_t), .min = (lo), .max = (hi)         \
	}
#define ROW_I64(n, s, m)                                                                                               \
	{                                                                                                              \
		.number = (n), .kind = CODEC_I64, .offset = CODEC_AT(s, m, int64_t)                                    \
	}
#define ROW_TIME(n, s, m)                                                                                              \
	{                                                                                                              \
		.number = (n), .kind = CODEC_TIME, .offset = CODEC_AT(s, m, int64_t)                                   \
	}
#define ROW_CODE(n, s, m)                                                                                              \
	{                                                                                                              \
		.number = (n), .kind = CODEC_CODE, .offset = CODEC_AT(s, m, int)                                       \
	}
#define ROW_BOOL(n, s, m)                                                                                              \
	{                                                                                                              \
		.number = (n), .kind = CODEC_BOOL, .offset = CODEC_AT(s, m, bool)                                      \
	}
#define ROW_REAL(n, s, m)                                                                                              \
	{                                                                                                              \
		.number = (n), .kind = CODEC_REAL, .offset = CODEC_AT(s, m, double)                                    \
	}
#define ROW_SHARE(n, s, m)                                                                                             \
	{                                                                                                              \
		.number = (n), .kind = CODEC_SHARE, .offset = CODEC_AT(s, m, double)                                   \
	}
#define ROW_TEXT(n, s, m, hi)                                                                                          \
	{                                                                                                              \
		.number = (n), .kind = CODEC_TEXT, .offset = CODEC_AT(s, m, struct msg_text), .max = (hi)              \
	}
#define ROW_BYTES(n, s, m, hi)                                                                                         \
	{                                                                                                              \
		.number = (n), .kind = CODEC_BYTES, .offset = CODEC_AT(s, m, struct msg_bytes), .max = (hi)            \
	}
#define ROW_HASH(n, s, m)                                                                                              \
	{                                                                                                              \
		.number = (n), .kind = CODEC_HASH, .offset = CODEC_AT(s, m, struct hash)                               \
	}
#define ROW_KEY(n, s, m)                                                                                               \
	{                                                                                                              \
		.number = (n), .kind = CODEC_HASH, .offset = CODEC_AT(s, m, uint8_t[32])                               \
	}
#define CODEC_MANY(n, s, k, m, c, type, hi)                                                                            \
	.number = (n), .kind = (k), .offset = CODEC_AT(s, m, const type *), .count_offset = CODEC_AT(s, c, size_t),    \
	.max = (hi)
#define ROW_LIST(n, s, m, c, type, table, hi)                                                                          \
	{                                                                                                              \
		CODEC_MANY(n, s, CODEC_LIST, m, c, struct type, hi), .sub = (table)                                    \
	}
#define ROW_U64S(n, s, m, c, hi)                                                                                       \
	{                                                                                                              \
		CODEC_MANY(n, s, CODEC_U64S, m, c, uint64_t, hi)                                                       \
	}
#define ROW_BLOBS(n, s, m, c, hi, each)                                                                                \
	{                                                                                                              \
		CODEC_MANY(n, s, CODEC_BLOBS, m, c, struct msg_bytes, hi), .each_max = (each)                          \
	}
#define ROW_HASHES(n, s, m, c, hi)                                                                                     \
	{                                                                                                              \
		CODEC_MANY(n, s, CODEC_HASHES, m, c, struct hash, hi)                                                  \
	}

#define CODEC_TABLE(name, pb, s, rows_of)                                                                              \
	const struct codec__table name = { &(pb), sizeof(struct s), (rows_of), sizeof(rows_of) / sizeof((rows_of)[0]) }

#define CODEC_ID_BYTES_MAX     255
#define CODEC_NAME_BYTES_MAX   128  /* names, aliases, phases, states, versions of software */
#define CODEC_LINE_BYTES_MAX   512  /* backends, endpoints, folders */
#define CODEC_REASON_BYTES_MAX 1024 /* reasons, notes, texts of errors */
#define CODEC_RECORD_BYTES_MAX (60 * 1024)
#define CODEC_SEQ_MAX          (UINT64_C(1) << 62)

/* As many members as fit into a FleetReply when each has every field, all of the least length. */
#define CODEC_MEMBER_FIELDS 19 /* with the one that it is itself */
#define CODEC_MEMBER_BYTES  80
#define CODEC_MEMBERS_MAX   (MSG_FLEET_REPLY_BYTES_MAX / CODEC_MEMBER_BYTES)

extern const struct codec__table codec__submit, codec__submit_reply, codec__edit_list, codec__edit_list_reply;
extern const struct codec__table codec__hello, codec__hello_reply, codec__lease, codec__want, codec__edits,
	codec__heartbeat, codec__heartbeat_reply, codec__progress, codec__shard_commit, codec__shard_commit_reply,
	codec__fenced, codec__gate_result, codec__release, codec__canary_run, codec__canary_result;
extern const struct codec__table codec__hashes, codec__chunk;
extern const struct codec__table codec__hint, codec__get_manifest, codec__manifest_reply, codec__node_status,
	codec__version_list, codec__version_list_reply, codec__publish, codec__publish_reply, codec__candidate_reply;
extern const struct codec__table codec__merge_run, codec__merge_status, codec__fleet_reply, codec__nothing,
	codec__error, codec__revoke, codec__revoke_reply, codec__store_run, codec__store_status, codec__key_list,
	codec__key_list_reply, codec__key_change, codec__key_change_reply, codec__event_list, codec__event_list_reply;

/* What one body may cost. */
struct codec__caps {
	size_t body_bytes;   /* encoded */
	size_t field_count;  /* over all levels */
	size_t unpack_bytes; /* asked of the allocator by protobuf-c */
};

/* Appends the encoded struct to `out`. ERR_LIMIT, ERR_INVALID, ERR_NOMEM. */
int codec__encode(const struct codec__table *table, const void *plain, size_t body_cap, struct buf *out,
		  struct err *e) MUST_CHECK;
/* Fills `plain` (cleared first); arrays and texts are copied into `arena`. */
int codec__decode(const struct codec__table *table, const void *bytes, size_t len, const struct codec__caps *caps,
		  struct arena *arena, void *plain, struct err *e) MUST_CHECK;

/* codec_scan.c: the pre-scan, and the allocator with a budget. */
#define CODEC_DEPTH_MAX 4
int codec__scan(const ProtobufCMessageDescriptor *wire, const uint8_t *bytes, size_t len, size_t *fields_left,
		struct err *e) MUST_CHECK;
struct codec__budget {
	ProtobufCAllocator allocator;
	size_t left;
	bool exhausted, no_memory; /* why the allocator gave NULL */
};
void codec__budget_init(struct codec__budget *budget, size_t bytes);
/* RFC 3629 without NUL. Returns the offset of the first bad byte, or `len`. */
size_t codec__utf8_bad(const uint8_t *text, size_t len);

#endif
