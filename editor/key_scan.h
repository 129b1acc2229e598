/* key_scan.h: the two passes of key_search.c that bound scores from above, one kernel an instruction set. All kernels
 * form the same integers, so the same bounds but for the rounding that the bound has room for. Inside editor/ only.
 * Pure. */
#ifndef AMEND_EDITOR_KEY_SCAN_H
#define AMEND_EDITOR_KEY_SCAN_H

#include <stddef.h>
#include <stdint.h>

#define EDITOR__SCAN_KEYS  32u /* keys of a block, side by side: no sums across lanes */
#define EDITOR__SCAN_ALIGN 64u

/* A key stands in 8 bits a component, 16 · high + low. Both halves are packed alike: byte i holds component i in its
 * lower and component 4 · group_count + i in its upper four bits; group_count = ⌈width / 8⌉. */

/* Block, the high halves: by groups of four bytes the 32 keys' four bytes each, then for the 32 keys scale and error
 * (floats). */
static inline size_t editor__scan_block_bytes(size_t group_count)
{
	return group_count * 4 * EDITOR__SCAN_KEYS + EDITOR__SCAN_KEYS * 2 * sizeof(float);
}

/* Row, the low halves of one key: 4 · group_count bytes, then zeros, and its end is: */
struct editor__scan_tail {
	float scale;
	float error; /* of all eight bits */
};

static inline size_t editor__scan_row_bytes(size_t group_count)
{
	return (4 * group_count + sizeof(struct editor__scan_tail) + EDITOR__SCAN_ALIGN - 1) / EDITOR__SCAN_ALIGN *
	       EDITOR__SCAN_ALIGN;
}

struct editor__scan_query {
	int8_t *lower, *upper; /* as bytes in [−127, 127] the components that keys have in their lower and upper four
				  bits; editor__scan_row_bytes each, 0 behind the width */
	int32_t sum;           /* of all of them */
	float scale;           /* query ≈ scale × bytes */
	float length;          /* upper bound of its norm */
	float slack;           /* what is the same for all keys */
};

struct editor__scan_top { /* the largest of a block */
	float estimate, bound;
};

struct editor__scan_kernel {
	const char *name; /* of the instructions */
	/* estimates[i] = query.scale × scale_i × (16 · bytes · high halves − 120 · sum) for block_count × 32 keys;
	 * a bound is estimates[i] + query.length × error_i + query.slack. */
	void (*coarse)(const uint8_t *blocks, size_t block_count, size_t group_count,
		       const struct editor__scan_query *query, float *estimates, struct editor__scan_top *tops);
	/* bytes · low halves of one key. */
	int32_t (*fine)(const uint8_t *row, size_t row_bytes, const struct editor__scan_query *query);
	/* scores[i] = editor__dot of query and keys[i], width floats each. */
	void (*score)(const float *query, const float *const *keys, size_t key_count, size_t width, float *scores);
};

/* NULL: the best that the processor has. NULL is returned where it, or the compiler's target, has no such
 * instructions. */
const struct editor__scan_kernel *editor__scan_kernel_of(const char *name);

#endif
