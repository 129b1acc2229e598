/* stored_avx512.c: the products of stored.h for AVX-512 with VNNI: a panel's sixteen outputs in a vector, up to sixteen
 * rows a pass, every weight unpacked once for all of them. */
#include "model/stored.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vnni,avx2,fma,f16c")))
#define INLINE static inline __attribute__((always_inline)) TARGET
#define BLOCK  MODEL__STORED_BLOCK
#define PANEL  MODEL__STORED_PANEL
#define AHEAD  2048u /* bytes: beyond what the processor fetches by itself at the end of a page */

INLINE void fetch(const uint8_t *p, const size_t bytes)
{
#pragma GCC unroll 8
	for (size_t i = 0; i < bytes; i += 64)
		_mm_prefetch((const char *)p + AHEAD + i, _MM_HINT_T0);
}

INLINE __m512 halves_at(const uint8_t *p)
{
	return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

/* Four depths of x in every lane. */
INLINE __m512i four_of(const int8_t *x)
{
	int32_t word;
	memcpy(&word, x, sizeof(word));
	return _mm512_set1_epi32(word);
}

/* 255 · high + low */
INLINE __m512i joined(__m512i high, __m512i low)
{
	return _mm512_add_epi32(_mm512_sub_epi32(_mm512_slli_epi32(high, 8), high), low);
}

INLINE __m512i dot_q4(const __m512i *low, const __m512i *high, const struct model__rounded *x)
{
	__m512i highs = _mm512_setzero_si512(), lows = highs;
#pragma GCC unroll 4
	for (size_t v = 0; v < 4; v++) {
		highs = _mm512_dpbusd_epi32(highs, low[v], four_of(x->high + 4 * v));
		lows = _mm512_dpbusd_epi32(lows, low[v], four_of(x->low + 4 * v));
		highs = _mm512_dpbusd_epi32(highs, high[v], four_of(x->high + 4 * v + BLOCK / 2));
		lows = _mm512_dpbusd_epi32(lows, high[v], four_of(x->low + 4 * v + BLOCK / 2));
	}
	return joined(highs, lows);
}

INLINE void q4_1_rows(float *sums, const uint8_t *panel, const struct model__rounded *x, size_t block_count,
		      const size_t rows)
{
	const __m512i mask = _mm512_set1_epi32(0x0f0f0f0f);
	__m512 sum[MODEL__STORED_ROWS_MAX];
#pragma GCC unroll 16
	for (size_t r = 0; r < rows; r++)
		sum[r] = _mm512_setzero_ps();
	for (size_t b = 0; b < block_count; b++, panel += 320) {
		__m512i low[4], high[4];
		fetch(panel, 320);
#pragma GCC unroll 4
		for (size_t v = 0; v < 4; v++) {
			const __m512i both = _mm512_loadu_si512(panel + 64 * v);
			low[v] = _mm512_and_si512(both, mask);
			high[v] = _mm512_and_si512(_mm512_srli_epi32(both, 4), mask);
		}
		const __m512 d = halves_at(panel + 256), m = halves_at(panel + 288);
#pragma GCC unroll 16
		for (size_t r = 0; r < rows; r++) {
			const struct model__rounded *own = x + r * block_count + b;
			const __m512 scale = _mm512_mul_ps(d, _mm512_set1_ps(own->scale));
			sum[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot_q4(low, high, own)), scale, sum[r]);
			sum[r] = _mm512_fmadd_ps(m, _mm512_set1_ps(own->sum), sum[r]);
		}
	}
#pragma GCC unroll 16
	for (size_t r = 0; r < rows; r++)
		_mm512_storeu_ps(sums + r * PANEL, sum[r]);
}

/* Weights have 128 added: Σ (w + 128) · x − 128 · Σ x. */
INLINE __m512i dot_q8(const __m512i *w, const struct model__rounded *x)
{
	__m512i highs = _mm512_setzero_si512(), lows = _mm512_set1_epi32(-128 * x->total);
#pragma GCC unroll 8
	for (size_t v = 0; v < 8; v++) {
		highs = _mm512_dpbusd_epi32(highs, w[v], four_of(x->high + 4 * v));
		lows = _mm512_dpbusd_epi32(lows, w[v], four_of(x->low + 4 * v));
	}
	return joined(highs, lows);
}

INLINE void q8_0_rows(float *sums, const uint8_t *panel, const struct model__rounded *x, size_t block_count,
		      const size_t rows)
{
	const uint8_t *scales = panel + block_count * 512;
	__m512 sum[MODEL__STORED_ROWS_MAX];
#pragma GCC unroll 16
	for (size_t r = 0; r < rows; r++)
		sum[r] = _mm512_setzero_ps();
	for (size_t b = 0; b < block_count; b++, panel += 512, scales += 32) {
		__m512i w[8];
		fetch(panel, 512);
#pragma GCC unroll 8
		for (size_t v = 0; v < 8; v++)
			w[v] = _mm512_loadu_si512(panel + 64 * v);
		const __m512 d = halves_at(scales);
#pragma GCC unroll 16
		for (size_t r = 0; r < rows; r++) {
			const struct model__rounded *own = x + r * block_count + b;
			const __m512 scale = _mm512_mul_ps(d, _mm512_set1_ps(own->scale));
			sum[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot_q8(w, own)), scale, sum[r]);
		}
	}
#pragma GCC unroll 16
	for (size_t r = 0; r < rows; r++)
		_mm512_storeu_ps(sums + r * PANEL, sum[r]);
}

INLINE void bf16_rows(float *sums, const uint8_t *panel, const float *x, size_t depth, const size_t rows)
{
	const __m512i top = _mm512_set1_epi32((int)0xffff0000u);
	__m512 even[8], odd[8];
#pragma GCC unroll 8
	for (size_t r = 0; r < rows; r++)
		even[r] = odd[r] = _mm512_setzero_ps();
	for (size_t k = 0; k < depth; k += 2, panel += 64) {
		fetch(panel, 64);
		const __m512i pair = _mm512_loadu_si512(panel);
		const __m512 first = _mm512_castsi512_ps(_mm512_slli_epi32(pair, 16)),
			     second = _mm512_castsi512_ps(_mm512_and_si512(pair, top));
		const bool both = k + 1 < depth;
#pragma GCC unroll 8
		for (size_t r = 0; r < rows; r++) {
			even[r] = _mm512_fmadd_ps(first, _mm512_set1_ps(x[r * depth + k]), even[r]);
			if (both)
				odd[r] = _mm512_fmadd_ps(second, _mm512_set1_ps(x[r * depth + k + 1]), odd[r]);
		}
	}
#pragma GCC unroll 8
	for (size_t r = 0; r < rows; r++)
		_mm512_storeu_ps(sums + r * PANEL, _mm512_add_ps(even[r], odd[r]));
}

/* In passes of sixteen (bf16: eight), eight, four, two and one row; the panel stays in the second-level cache. */
#define PASS(name_, rows_)                                                                                             \
	for (; rows >= (rows_); rows -= (rows_), sums += (size_t)(rows_)*PANEL, x += (rows_)*depth)                    \
	name_##_rows(sums, panel, x, depth, rows_)

#define IN_PASSES(name_, x_type_, first_)                                                                              \
	TARGET static void name_##_avx512(float *sums, const uint8_t *panel, const x_type_ *x, size_t depth,           \
					  size_t rows)                                                                 \
	{                                                                                                              \
		PASS(name_, first_);                                                                                   \
		PASS(name_, 8);                                                                                        \
		PASS(name_, 4);                                                                                        \
		PASS(name_, 2);                                                                                        \
		PASS(name_, 1);                                                                                        \
	}

IN_PASSES(q4_1, struct model__rounded, 16)
IN_PASSES(q8_0, struct model__rounded, 16)
IN_PASSES(bf16, float, 8)

static void round_avx512(struct model__rounded *out, const float *x, size_t block_count)
{
	model__stored_avx2()->round(out, x, block_count);
}

static const struct model__stored_kernel avx512 = { "avx512vnni", round_avx512, q4_1_avx512, q8_0_avx512, bf16_avx512 };

const struct model__stored_kernel *model__stored_avx512(void)
{
	return model__stored_avx2() != NULL && __builtin_cpu_supports("avx512f") &&
			       __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni")
		       ? &avx512
		       : NULL;
}
#else
const struct model__stored_kernel *model__stored_avx512(void)
{
	return NULL;
}
#endif
