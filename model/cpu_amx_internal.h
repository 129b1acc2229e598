/* cpu_amx_internal.h: the form of tiles (cpu_amx.h), for cpu_amx.c and cpu_amx_skinny.c. */
#ifndef AMEND_MODEL_CPU_AMX_INTERNAL_H
#define AMEND_MODEL_CPU_AMX_INTERNAL_H

#include "model/cpu_amx.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET      __attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16,amx-tile,amx-bf16")))
#define TILE        16 /* rows of a tile, and floats in its rows */
#define DEPTH       32 /* bfloat16 in a tile's row */
#define BLOCK       32 /* rows and columns of a block: 2 × 2 tiles */
#define TILE_ITEMS  ((size_t)TILE * DEPTH)
#define BLOCK_ITEMS (4 * TILE_ITEMS) /* hi, hi, lo, lo */
#define AHEAD       ((size_t)2)      /* blocks of B to fetch ahead; past the end of the data a prefetch does nothing */

static inline size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

static inline size_t blocks(size_t n)
{
	return (n + BLOCK - 1) / BLOCK;
}

/* The first `count` of 16 lanes. */
static inline __mmask16 mask_of(size_t count)
{
	unsigned bits = count >= 16 ? 0xffffu : (1u << count) - 1u;
	return (__mmask16)bits;
}

/* c (32 × 32) to y, whose rows are `stride` apart. */
TARGET static inline void put_block(float *y, const float *c, bool accumulate, size_t row_count, size_t column_count,
				    size_t stride)
{
	__mmask16 left = mask_of(column_count);
	size_t more = column_count > 16 ? column_count - 16 : 0;
	__mmask16 right = mask_of(more);
	for (size_t r = 0; r < row_count; r++, y += stride, c += BLOCK) {
		__m512 v0 = _mm512_loadu_ps(c), v1 = _mm512_loadu_ps(c + 16);
		if (accumulate) {
			v0 = _mm512_add_ps(v0, _mm512_maskz_loadu_ps(left, y));
			v1 = _mm512_add_ps(v1, _mm512_maskz_loadu_ps(right, y + 16));
		}
		_mm512_mask_storeu_ps(y, left, v0);
		_mm512_mask_storeu_ps(y + 16, right, v1);
	}
}
#endif
#endif
