/* key_scan.h: the first pass of key_index.c: upper bounds of scores from 8-bit keys, one function an instruction set.
 * All give the same integers, so the same bounds but for the rounding that the bound has room for. Inside editor/
 * only. Pure. */
#ifndef AMEND_EDITOR_KEY_SCAN_H
#define AMEND_EDITOR_KEY_SCAN_H

#include <stddef.h>
#include <stdint.h>

#define EDITOR__SCAN_KEYS 16u /* keys of a block, side by side: no sums across lanes */

/* Block: by groups of four components the 16 keys' four bytes each (group_count × 64 bytes), then for the 16 keys
 * scale (float), error (float), and 128 × the sum of the bytes (int32). */
static inline size_t editor__scan_block_bytes(size_t group_count)
{
	return group_count * 4 * EDITOR__SCAN_KEYS + EDITOR__SCAN_KEYS * (2 * sizeof(float) + sizeof(int32_t));
}

struct editor__scan_query {
	int8_t *bytes;     /* 4 × group_count, in [−127, 127]; 0 behind the width */
	uint8_t *absolute; /* their absolute values */
	uint8_t *shifted;  /* bytes + 128 */
	float scale;       /* query ≈ scale × bytes */
	float length;      /* upper bound of its norm */
	float slack;       /* what is the same for all keys */
};

/* upper[i] = query.scale × scale_i × (bytes · key bytes) + query.length × error_i + query.slack for block_count × 16
 * keys. */
typedef void editor__scan(const uint8_t *blocks, size_t block_count, size_t group_count,
			  const struct editor__scan_query *query, float *upper);

editor__scan editor__scan_portable;
/* NULL where the processor, or the compiler's target, has no such instructions. */
editor__scan *editor__scan_avx2(void);
editor__scan *editor__scan_avx512vnni(void);

#endif
