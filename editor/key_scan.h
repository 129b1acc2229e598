/* key_scan.h: the passes of key_search.c that bound scores from above, and the scores, one kernel an instruction set.
 * All kernels form the same integers, so the same bounds but for the rounding that the bound has room for, and the same
 * scores. Inside editor/ only. Pure. */
#ifndef AMEND_EDITOR_KEY_SCAN_H
#define AMEND_EDITOR_KEY_SCAN_H

#include <stddef.h>
#include <stdint.h>

#define EDITOR__SCAN_KEYS  32u /* keys of a block, side by side: no sums across lanes */
#define EDITOR__SCAN_ALIGN 64u

/* A key stands in 8 bits a component, 16 · high + low, and its components in two parts: the first 8 · front_groups are
 * its front, the others its rest. The high halves of the front stand in blocks, those of the rest in a row a key, the
 * low halves of both in another row. Two components share a byte: of a part with 2 · n components byte i has component
 * i in its lower and component n + i in its upper four bits. */

/* Block, fronts: by groups of four bytes the 32 keys' four bytes each, and behind them: */
struct editor__scan_tails {
	float scale[EDITOR__SCAN_KEYS];
	float front_error[EDITOR__SCAN_KEYS], rest_error[EDITOR__SCAN_KEYS]; /* of the high halves */
	float rest_length[EDITOR__SCAN_KEYS];                                /* of the components themselves */
};

static inline size_t editor__scan_block_bytes(size_t front_groups)
{
	return front_groups * 4 * EDITOR__SCAN_KEYS + sizeof(struct editor__scan_tails);
}

/* Row, the low halves of one key: those of its front, of its rest, then zeros, and its end is: */
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
	int8_t *lower, *upper;       /* as bytes in [−127, 127] the components that keys have in their lower and upper
					four bits, front and then rest; editor__scan_row_bytes each, 0 behind the width */
	int32_t front_sum, rest_sum; /* of the bytes */
	float scale;                 /* query ≈ scale × bytes */
	float length;                /* upper bound of its norm */
	float front_length, rest_length; /* the same of its parts */
	float slack;                     /* what is the same for all keys */
};

/* From bytes · high halves of a part of a key, `sum` of the part's bytes. */
static inline float editor__scan_estimate(const struct editor__scan_query *query, float scale, int32_t dot, int32_t sum)
{
	return query->scale * scale * (float)(16 * dot - 120 * sum);
}

/* rest: the error of its high halves where the estimate has them, else its length. */
static inline float editor__scan_bound(const struct editor__scan_query *query, float estimate, float front_error,
				       float rest)
{
	return estimate + (query->front_length * front_error + query->rest_length * rest) + query->slack;
}

struct editor__scan_top { /* the largest of a block */
	float estimate, bound;
};

struct editor__scan_kernel {
	const char *name; /* of the instructions */
	/* Estimates by the fronts of block_count × 32 keys, and their bounds. */
	void (*fronts)(const uint8_t *blocks, size_t block_count, size_t front_groups,
		       const struct editor__scan_query *query, float *estimates, float *bounds,
		       struct editor__scan_top *tops);
	/* Adds what the rests, rows one behind the other, estimate; bounds that are the closer. */
	void (*rests)(const uint8_t *blocks, const uint8_t *rests, size_t block_count, size_t front_groups,
		      size_t rest_bytes, const struct editor__scan_query *query, float *estimates, float *bounds,
		      struct editor__scan_top *tops);
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
