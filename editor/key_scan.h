/* key_scan.h: the passes of key_search.c that bound scores from above, and the scores, one kernel an instruction set.
 * All kernels form the same integers, so the same bounds but for the rounding that the bound has room for, and the same
 * scores. Inside editor/ only. Pure. */
#ifndef AMEND_EDITOR_KEY_SCAN_H
#define AMEND_EDITOR_KEY_SCAN_H

#include <stddef.h>
#include <stdint.h>

#define EDITOR__SCAN_KEYS  32u /* keys of a block, side by side: no sums across lanes */
#define EDITOR__SCAN_ALIGN 64u

/* A key stands in 8 bits a component, 16 · high + low. The high halves stand in blocks, the low halves in a row a key.
 * Two components share a byte: of 8 · group_count components byte i has component i in its lower and component
 * 4 · group_count + i in its upper four bits. */

/* Block: by groups of four bytes the 32 keys' four bytes each, and behind them: */
struct editor__scan_tails {
	float scale[EDITOR__SCAN_KEYS];
	float error[EDITOR__SCAN_KEYS]; /* of the high halves */
};

static inline size_t editor__scan_block_bytes(size_t group_count)
{
	return group_count * 4 * EDITOR__SCAN_KEYS + sizeof(struct editor__scan_tails);
}

/* Row, the low halves of one key, then zeros, and its end is: */
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
	int32_t sum;           /* of the bytes */
	float scale;           /* query ≈ scale × bytes */
	float length;          /* upper bound of its norm */
	float slack;           /* what is the same for all keys */
};

/* The bound less the estimate. */
static inline float editor__scan_doubt(const struct editor__scan_query *query, float error)
{
	return query->length * error + query->slack;
}

struct editor__scan_kernel {
	const char *name; /* of the instructions */
	/* Bounds of block_count × 32 keys by their high halves, and the largest of each block. */
	void (*blocks)(const uint8_t *blocks, size_t block_count, size_t group_count,
		       const struct editor__scan_query *query, float *bounds, float *tops);
	/* dots[i] = bytes · halves of rows[i]; row_bytes is a multiple of EDITOR__SCAN_ALIGN, dots has room for a
	 * multiple of 4. */
	void (*rows)(const uint8_t *const *rows, size_t row_count, size_t row_bytes, const int8_t *lower,
		     const int8_t *upper, int32_t *dots);
	/* Bit i: whether values[i], of EDITOR__SCAN_KEYS, is at least `least`. */
	uint32_t (*reach)(const float *values, float least);
	/* scores[i] = editor__dot of query and keys[i], width floats each. */
	void (*score)(const float *query, const float *const *keys, size_t key_count, size_t width, float *scores);
};

/* NULL: the best that the processor has. NULL is returned where it, or the compiler's target, has no such
 * instructions. */
const struct editor__scan_kernel *editor__scan_kernel_of(const char *name);

#endif
