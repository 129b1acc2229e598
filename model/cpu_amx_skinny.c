/* cpu_amx_skinny.c: few rows: reads the tiles once with ordinary vectors; hi + lo gives the weight back. */
#include "model/cpu_amx_internal.h"

#include "model/cpu.h"

#if defined(__x86_64__)
TARGET static inline __attribute__((always_inline)) void skinny_block(float *y, const float *x, const uint16_t *b,
								      bool accumulate, const size_t rows, size_t depth,
								      size_t width, size_t column_count)
{
	const __m512i top = _mm512_set1_epi32((int)0xffff0000u);
	__m512 sum[2 * MODEL__SKINNY_ROWS_MAX];
#pragma GCC unroll 16
	for (size_t i = 0; i < 2 * rows; i++)
		sum[i] = _mm512_setzero_ps();
	for (size_t k = 0; k < depth; k += 2) {
		size_t at = k / DEPTH * BLOCK_ITEMS + k % DEPTH / 2 * DEPTH;
		bool pair = k + 1 < depth;
#pragma GCC unroll 2
		for (size_t t = 0; t < 2; t++) {
			_mm_prefetch((const char *)(b + at + t * TILE_ITEMS + AHEAD * BLOCK_ITEMS), _MM_HINT_T0);
			_mm_prefetch((const char *)(b + at + (t + 2) * TILE_ITEMS + AHEAD * BLOCK_ITEMS), _MM_HINT_T0);
			__m512i hi = _mm512_loadu_si512(b + at + t * TILE_ITEMS),
				lo = _mm512_loadu_si512(b + at + (t + 2) * TILE_ITEMS);
			__m512 even = _mm512_add_ps(_mm512_castsi512_ps(_mm512_slli_epi32(hi, 16)),
						    _mm512_castsi512_ps(_mm512_slli_epi32(lo, 16)));
			__m512 odd = _mm512_add_ps(_mm512_castsi512_ps(_mm512_and_si512(hi, top)),
						   _mm512_castsi512_ps(_mm512_and_si512(lo, top)));
#pragma GCC unroll 8
			for (size_t r = 0; r < rows; r++) {
				sum[2 * r + t] =
					_mm512_fmadd_ps(even, _mm512_set1_ps(x[r * depth + k]), sum[2 * r + t]);
				if (pair)
					sum[2 * r + t] = _mm512_fmadd_ps(odd, _mm512_set1_ps(x[r * depth + k + 1]),
									 sum[2 * r + t]);
			}
		}
	}
	for (size_t r = 0; r < rows; r++) {
		float c[BLOCK];
		_mm512_storeu_ps(c, sum[2 * r]);
		_mm512_storeu_ps(c + 16, sum[2 * r + 1]);
		put_block(y + r * width, c, accumulate, 1, column_count, width);
	}
}

#define SKINNY_ROWS(rows_)                                                                                             \
	case rows_:                                                                                                    \
		skinny_block(y, x, b, accumulate, rows_, depth, width, column_count);                                  \
		break

TARGET static void skinny_columns(float *y, const float *x, const uint16_t *b, bool accumulate, size_t rows,
				  size_t depth, size_t width, size_t column_count)
{
	switch (rows) {
		SKINNY_ROWS(1);
		SKINNY_ROWS(2);
		SKINNY_ROWS(3);
		SKINNY_ROWS(4);
		SKINNY_ROWS(5);
		SKINNY_ROWS(6);
		SKINNY_ROWS(7);
		SKINNY_ROWS(8);
	default:
		break;
	}
}

void model__amx_skinny(struct model__cpu *cpu, float *y, const float *x, const struct model__tiles *tiles,
		       bool accumulate, size_t rows)
{
	size_t deep = blocks(tiles->depth), width = tiles->width;
	int threads = model__cpu_threads(cpu, rows * tiles->depth * width / 4);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
	for (size_t n = 0; n < blocks(width); n++)
		skinny_columns(y + n * BLOCK, x, tiles->data + n * deep * BLOCK_ITEMS, accumulate, rows, tiles->depth,
			       width, least(width - n * BLOCK, BLOCK));
}
#else
void model__amx_skinny(struct model__cpu *cpu, float *y, const float *x, const struct model__tiles *tiles,
		       bool accumulate, size_t rows)
{
	(void)cpu, (void)y, (void)x, (void)tiles, (void)accumulate, (void)rows;
}
#endif
