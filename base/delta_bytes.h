/* delta_bytes.h: the outer form of a side memory's delta (what editor/delta.h writes and reads), as far as those see it
 * who have no tensors: the coordinator refuses bytes that no node could load. Pure.
 *
 * "AMDL", u16 format, u16 encoding, u32 layer, u32 hidden, u32 ffn, u32 reserved (0), u64 non-zero entries, then one
 * zstd frame. The frame holds, dense: hidden·ffn low bytes, then as many high bytes of the bf16 values (planes compress
 * better than pairs); masked: a bit per entry, entry 0 in the lowest bit of the first byte, then the planes of the
 * non-zero values. Little-endian. */
#ifndef AMEND_BASE_DELTA_BYTES_H
#define AMEND_BASE_DELTA_BYTES_H

#include "base/buf.h"

#define DELTA_MAGIC       "AMDL"
#define DELTA_FORMAT      1
#define DELTA_ENTRIES_MAX (UINT64_C(1) << 31) /* 46,341 squared: past the widest layer of any model that this reads */
#define DELTA_VALUE_MAX   100.0f              /* an entry is within ± this */

enum delta_encoding { DELTA_DENSE, DELTA_MASKED };

struct delta_planes { /* of one delta; owns payload */
	uint8_t *payload;
	const uint8_t *mask;       /* NULL: dense */
	const uint8_t *low, *high; /* bytes of the entries that are there, in order */
	size_t entry_count, plane_count;
};
/* Bytes of a payload of n entries. */
size_t delta_payload_bytes(enum delta_encoding encoding, size_t n, uint64_t nonzero);
/* ERR_CORRUPT: no delta, or damaged; ERR_MISMATCH: another layer or shape than expected; ERR_INVALID: a shape that the
 * format has no room for; ERR_NOMEM. */
int delta_planes_open(const void *bytes, size_t len, size_t layer, size_t hidden, size_t ffn, struct delta_planes *out,
		      struct err *e) MUST_CHECK;
void delta_planes_fini(struct delta_planes *planes);
int delta_shape_check(size_t layer, size_t hidden, size_t ffn, struct err *e) MUST_CHECK; /* ERR_INVALID */
/* All of it: ERR_INVALID also for an entry that is NaN, infinite or not within ±DELTA_VALUE_MAX, which it names. */
int delta_bytes_check(const void *bytes, size_t len, size_t layer, size_t hidden, size_t ffn, struct err *e) MUST_CHECK;

#endif
