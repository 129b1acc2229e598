/* stored_avx2.c: the products of stored.h for AVX2 with FMA: eight outputs a vector, up to four rows a pass. */
#include "model/stored.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#include <math.h>
#include <string.h>

#define TARGET __attribute__((target("avx2,fma,f16c")))
#define INLINE static inline __attribute__((always_inline)) TARGET
#define BLOCK  MODEL__STORED_BLOCK
#define PANEL  MODEL__STORED_PANEL
#define PASS   4u

INLINE __m256i bytes_at(const void *p)
{
	return _mm256_loadu_si256((const __m256i *)p);
}

INLINE __m256 halves_at(const uint8_t *p)
{
	return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}

/* Four depths of x in every lane. */
INLINE __m256i four_of(const int8_t *x)
{
	int32_t word;
	memcpy(&word, x, sizeof(word));
	return _mm256_set1_epi32(word);
}

INLINE float most_of(__m256 v)
{
	__m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
	m = _mm_max_ps(m, _mm_movehl_ps(m, m));
	return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

INLINE int32_t total_of(__m256i v)
{
	__m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
	s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
	return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}

INLINE __m256i times_base(__m256i v)
{
	return _mm256_sub_epi32(_mm256_slli_epi32(v, 8), v);
}

INLINE void put_bytes(int8_t *out, const __m256i *v)
{
	const __m256i packed = _mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));
	const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
	_mm256_storeu_si256((__m256i *)(void *)out, _mm256_permutevar8x32_epi32(packed, order));
}

TARGET static void round_block(struct model__rounded *out, const float *x)
{
	const __m256 sign = _mm256_set1_ps(-0.0f);
	__m256 v[4], most = _mm256_setzero_ps(), doubt = _mm256_setzero_ps();
	for (size_t i = 0; i < 4; i++) {
		v[i] = _mm256_loadu_ps(x + 8 * i);
		most = _mm256_max_ps(_mm256_andnot_ps(sign, v[i]), most);
		doubt = _mm256_add_ps(doubt, _mm256_mul_ps(v[i], _mm256_setzero_ps()));
	}
	if (_mm256_movemask_ps(_mm256_cmp_ps(doubt, doubt, _CMP_UNORD_Q)) != 0) {
		*out = (struct model__rounded){ .scale = NAN, .sum = NAN };
		return;
	}
	const float top = most_of(most);
	const __m256 inverse = _mm256_set1_ps(top > MODEL__STORED_LEAST ? MODEL__STORED_LARGEST / top : 0);
	__m256i total = _mm256_setzero_si256(), high[4], low[4];
	for (size_t i = 0; i < 4; i++) {
		const __m256i q = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse));
		high[i] = _mm256_cvtps_epi32(
			_mm256_mul_ps(_mm256_cvtepi32_ps(q), _mm256_set1_ps(1.0f / MODEL__STORED_BASE)));
		low[i] = _mm256_sub_epi32(q, times_base(high[i]));
		total = _mm256_add_epi32(total, q);
	}
	put_bytes(out->high, high);
	put_bytes(out->low, low);
	out->total = total_of(total);
	out->scale = top / MODEL__STORED_LARGEST;
	out->sum = out->scale * (float)out->total;
	out->spare = 0;
}

TARGET static void round_avx2(struct model__rounded *out, const float *x, size_t block_count)
{
	for (size_t b = 0; b < block_count; b++)
		round_block(out + b, x + b * BLOCK);
}

/* Eight products of at most 15 · 127 twice: 16 bits hold their sum. */
INLINE __m256i plane_q4(const __m256i *low, const __m256i *high, const int8_t *x)
{
	__m256i sum = _mm256_setzero_si256();
#pragma GCC unroll 4
	for (size_t v = 0; v < 4; v++) {
		sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(low[v], four_of(x + 4 * v)));
		sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(high[v], four_of(x + 4 * v + BLOCK / 2)));
	}
	return _mm256_madd_epi16(sum, _mm256_set1_epi16(1));
}

INLINE __m256i dot_q4(const __m256i *low, const __m256i *high, const struct model__rounded *x)
{
	return _mm256_add_epi32(times_base(plane_q4(low, high, x->high)), plane_q4(low, high, x->low));
}

INLINE void q4_1_rows(float *sums, const uint8_t *panel, const struct model__rounded *x, size_t block_count,
		      const size_t rows)
{
	const __m256i mask = _mm256_set1_epi8(15);
	for (size_t half = 0; half < 2; half++) {
		__m256 sum[PASS];
		const uint8_t *p = panel;
#pragma GCC unroll 4
		for (size_t r = 0; r < rows; r++)
			sum[r] = _mm256_setzero_ps();
		for (size_t b = 0; b < block_count; b++, p += 320) {
			__m256i low[4], high[4];
#pragma GCC unroll 4
			for (size_t v = 0; v < 4; v++) {
				const __m256i both = bytes_at(p + 64 * v + 32 * half);
				low[v] = _mm256_and_si256(both, mask);
				high[v] = _mm256_and_si256(_mm256_srli_epi16(both, 4), mask);
			}
			const __m256 d = halves_at(p + 256 + 16 * half), m = halves_at(p + 288 + 16 * half);
#pragma GCC unroll 4
			for (size_t r = 0; r < rows; r++) {
				const struct model__rounded *own = x + r * block_count + b;
				const __m256 scale = _mm256_mul_ps(d, _mm256_set1_ps(own->scale));
				sum[r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot_q4(low, high, own)), scale, sum[r]);
				sum[r] = _mm256_fmadd_ps(m, _mm256_set1_ps(own->sum), sum[r]);
			}
		}
#pragma GCC unroll 4
		for (size_t r = 0; r < rows; r++)
			_mm256_storeu_ps(sums + r * PANEL + 8 * half, sum[r]);
	}
}

/* |w| · (x with w's sign): twice 128 · 127 fit in 16 bits. */
INLINE __m256i plane_q8(const __m256i *w, const int8_t *x)
{
	__m256i sum = _mm256_setzero_si256();
#pragma GCC unroll 8
	for (size_t v = 0; v < 8; v++) {
		const __m256i pairs =
			_mm256_maddubs_epi16(_mm256_abs_epi8(w[v]), _mm256_sign_epi8(four_of(x + 4 * v), w[v]));
		sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
	}
	return sum;
}

INLINE __m256i dot_q8(const __m256i *w, const struct model__rounded *x)
{
	return _mm256_add_epi32(times_base(plane_q8(w, x->high)), plane_q8(w, x->low));
}

INLINE void q8_0_rows(float *sums, const uint8_t *panel, const struct model__rounded *x, size_t block_count,
		      const size_t rows)
{
	const uint8_t *scales = panel + block_count * 512;
	for (size_t half = 0; half < 2; half++) {
		__m256 sum[PASS];
#pragma GCC unroll 4
		for (size_t r = 0; r < rows; r++)
			sum[r] = _mm256_setzero_ps();
		for (size_t b = 0; b < block_count; b++) {
			__m256i w[8];
#pragma GCC unroll 8
			for (size_t v = 0; v < 8; v++)
				w[v] = _mm256_xor_si256(bytes_at(panel + b * 512 + 64 * v + 32 * half),
							_mm256_set1_epi8(-128));
			const __m256 d = halves_at(scales + b * 32 + 16 * half);
#pragma GCC unroll 4
			for (size_t r = 0; r < rows; r++) {
				const struct model__rounded *own = x + r * block_count + b;
				const __m256 scale = _mm256_mul_ps(d, _mm256_set1_ps(own->scale));
				sum[r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot_q8(w, own)), scale, sum[r]);
			}
		}
#pragma GCC unroll 4
		for (size_t r = 0; r < rows; r++)
			_mm256_storeu_ps(sums + r * PANEL + 8 * half, sum[r]);
	}
}

INLINE void bf16_rows(float *sums, const uint8_t *panel, const float *x, size_t depth, const size_t rows)
{
	const __m256i top = _mm256_set1_epi32((int)0xffff0000u);
	for (size_t half = 0; half < 2; half++) {
		__m256 even[PASS], odd[PASS];
#pragma GCC unroll 4
		for (size_t r = 0; r < rows; r++)
			even[r] = odd[r] = _mm256_setzero_ps();
		for (size_t k = 0; k < depth; k += 2) {
			const __m256i pair = bytes_at(panel + k / 2 * 64 + 32 * half);
			const __m256 first = _mm256_castsi256_ps(_mm256_slli_epi32(pair, 16)),
				     second = _mm256_castsi256_ps(_mm256_and_si256(pair, top));
			const bool both = k + 1 < depth;
#pragma GCC unroll 4
			for (size_t r = 0; r < rows; r++) {
				even[r] = _mm256_fmadd_ps(first, _mm256_set1_ps(x[r * depth + k]), even[r]);
				if (both)
					odd[r] = _mm256_fmadd_ps(second, _mm256_set1_ps(x[r * depth + k + 1]), odd[r]);
			}
		}
#pragma GCC unroll 4
		for (size_t r = 0; r < rows; r++)
			_mm256_storeu_ps(sums + r * PANEL + 8 * half, _mm256_add_ps(even[r], odd[r]));
	}
}

/* In passes of four, two and one row; the panel stays in the first-level cache. */
#define IN_PASSES(name_, x_type_)                                                                                      \
	TARGET static void name_##_avx2(float *sums, const uint8_t *panel, const x_type_ *x, size_t depth,             \
					size_t rows)                                                                   \
	{                                                                                                              \
		for (; rows >= 4; rows -= 4, sums += (size_t)4 * PANEL, x += 4 * depth)                                \
			name_##_rows(sums, panel, x, depth, 4);                                                        \
		for (; rows >= 2; rows -= 2, sums += (size_t)2 * PANEL, x += 2 * depth)                                \
			name_##_rows(sums, panel, x, depth, 2);                                                        \
		for (; rows >= 1; rows--, sums += PANEL, x += depth)                                                   \
			name_##_rows(sums, panel, x, depth, 1);                                                        \
	}

IN_PASSES(q4_1, struct model__rounded)
IN_PASSES(q8_0, struct model__rounded)
IN_PASSES(bf16, float)

static const struct model__stored_kernel avx2 = { "avx2", round_avx2, q4_1_avx2, q8_0_avx2, bf16_avx2 };

/* clang's __builtin_cpu_supports does not know it. */
static bool has_f16c(void)
{
	unsigned a, b, c, d;
	return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

const struct model__stored_kernel *model__stored_avx2(void)
{
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c() ? &avx2 : NULL;
}
#else
const struct model__stored_kernel *model__stored_avx2(void)
{
	return NULL;
}
#endif
