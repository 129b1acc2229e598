#include "editor/key_scan.h"

#include "editor/dot.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#define KEYS EDITOR__SCAN_KEYS

static const struct editor__scan_tails *tails_of(const uint8_t *block, size_t group_count)
{
	return (const struct editor__scan_tails *)(const void *)(block + group_count * 4 * KEYS);
}

#define ALWAYS_INLINE static inline __attribute__((always_inline)) /* for the instructions of who calls */

/* From a block's dots its bounds; the largest is returned. */
ALWAYS_INLINE float put_bounds(const struct editor__scan_query *query, const struct editor__scan_tails *tails,
			       const int32_t *dots, float *bounds)
{
	float top = -INFINITY;
#pragma omp simd reduction(max : top)
	for (size_t i = 0; i < KEYS; i++) {
		const float estimate = query->scale * tails->scale[i] * (float)(16 * dots[i] - 120 * query->sum);
		bounds[i] = estimate + editor__scan_doubt(query, tails->error[i]);
		top = bounds[i] > top ? bounds[i] : top;
	}
	return top;
}

static void blocks_portable(const uint8_t *blocks, size_t block_count, size_t group_count,
			    const struct editor__scan_query *query, float *bounds, float *tops)
{
	for (size_t b = 0; b < block_count; b++, blocks += editor__scan_block_bytes(group_count)) {
		int32_t dots[KEYS] = { 0 };
		for (size_t g = 0; g < group_count; g++) {
			const uint8_t *keys = blocks + g * 4 * KEYS;
			const int8_t *lower = query->lower + 4 * g, *upper = query->upper + 4 * g;
#pragma omp simd
			for (size_t i = 0; i < KEYS; i++)
				dots[i] += (keys[4 * i] & 15) * lower[0] + (keys[4 * i + 1] & 15) * lower[1] +
					   (keys[4 * i + 2] & 15) * lower[2] + (keys[4 * i + 3] & 15) * lower[3] +
					   (keys[4 * i] >> 4) * upper[0] + (keys[4 * i + 1] >> 4) * upper[1] +
					   (keys[4 * i + 2] >> 4) * upper[2] + (keys[4 * i + 3] >> 4) * upper[3];
		}
		tops[b] = put_bounds(query, tails_of(blocks, group_count), dots, bounds + b * KEYS);
	}
}

static int32_t row_portable(const uint8_t *row, size_t row_bytes, const int8_t *lowers, const int8_t *uppers)
{
	int32_t dot = 0;
#pragma omp simd reduction(+ : dot)
	for (size_t i = 0; i < row_bytes; i++) {
		const int16_t lower = (int16_t)((row[i] & 15) * lowers[i]),
			      upper = (int16_t)((row[i] >> 4) * uppers[i]);
		dot += (int16_t)(lower + upper);
	}
	return dot;
}

static void rows_portable(const uint8_t *const *rows, size_t row_count, size_t row_bytes, const int8_t *lower,
			  const int8_t *upper, int32_t *dots)
{
	for (size_t r = 0; r < row_count; r++)
		dots[r] = row_portable(rows[r], row_bytes, lower, upper);
}

static uint32_t reach_portable(const float *values, float least)
{
	uint32_t mask = 0;
	for (size_t i = 0; i < KEYS; i++)
		mask |= (uint32_t)(values[i] >= least) << i;
	return mask;
}

static void score_portable(const float *query, const float *const *keys, size_t key_count, size_t width, float *scores)
{
	for (size_t i = 0; i < key_count; i++)
		scores[i] = editor__dot(query, keys[i], width);
}

static const struct editor__scan_kernel portable = { "portable", blocks_portable, rows_portable, reach_portable,
						     score_portable };

#if defined(__x86_64__)
#include <immintrin.h>

#define AHEAD      2048u /* bytes: beyond what the processor fetches by itself at the end of a page */
#define ROWS_AHEAD 6u

/* The row that is ROWS_AHEAD of row `at`, if there is one. */
static inline void fetch_row(const uint8_t *const *rows, size_t row_count, size_t row_bytes, size_t at)
{
	for (size_t i = 0; at + ROWS_AHEAD < row_count && i < row_bytes; i += EDITOR__SCAN_ALIGN)
		__builtin_prefetch(rows[at + ROWS_AHEAD] + i);
}

static inline int32_t word_at(const int8_t *bytes, size_t group)
{
	int32_t word;
	memcpy(&word, bytes + 4 * group, sizeof(word));
	return word;
}

#define AVX2 __attribute__((target("avx2")))

/* Sums of four products of 15 × 127 at most: 16 bits hold them. */
AVX2 static inline __m256i products(const uint8_t *keys, __m256i lower, __m256i upper)
{
	const __m256i mask = _mm256_set1_epi8(15), both = _mm256_loadu_si256((const __m256i *)(const void *)keys);
	return _mm256_add_epi16(_mm256_maddubs_epi16(_mm256_and_si256(both, mask), lower),
				_mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(both, 4), mask), upper));
}

AVX2 static inline __m256i widened(__m256i pairs)
{
	return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

AVX2 static void blocks_avx2(const uint8_t *blocks, size_t block_count, size_t group_count,
			     const struct editor__scan_query *query, float *bounds, float *tops)
{
	enum { LANES = 8, PARTS = KEYS / LANES };
	for (size_t b = 0; b < block_count; b++, blocks += editor__scan_block_bytes(group_count)) {
		__m256i sums[PARTS];
		int32_t dots[KEYS];
		for (size_t p = 0; p < PARTS; p++)
			sums[p] = _mm256_setzero_si256();
		for (size_t g = 0; g < group_count; g++) {
			const __m256i lower = _mm256_set1_epi32(word_at(query->lower, g));
			const __m256i upper = _mm256_set1_epi32(word_at(query->upper, g));
			const uint8_t *keys = blocks + g * 4 * KEYS;
			__builtin_prefetch(keys + AHEAD, 0, 3);
			__builtin_prefetch(keys + AHEAD + 64, 0, 3);
#pragma GCC unroll 4
			for (size_t p = 0; p < PARTS; p++)
				sums[p] = _mm256_add_epi32(sums[p],
							   widened(products(keys + p * 4 * LANES, lower, upper)));
		}
		for (size_t p = 0; p < PARTS; p++)
			_mm256_storeu_si256((__m256i *)(void *)(dots + p * LANES), sums[p]);
		tops[b] = put_bounds(query, tails_of(blocks, group_count), dots, bounds + b * KEYS);
	}
}

AVX2 static inline int32_t row_avx2(const uint8_t *row, size_t row_bytes, const int8_t *lower, const int8_t *upper)
{
	__m256i sums = _mm256_setzero_si256();
	for (size_t i = 0; i < row_bytes; i += 32)
		sums = _mm256_add_epi32(
			sums, widened(products(row + i, _mm256_loadu_si256((const __m256i *)(const void *)(lower + i)),
					       _mm256_loadu_si256((const __m256i *)(const void *)(upper + i)))));
	__m128i sum = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
	sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
	return _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1)));
}

AVX2 static void rows_avx2(const uint8_t *const *rows, size_t row_count, size_t row_bytes, const int8_t *lower,
			   const int8_t *upper, int32_t *dots)
{
	for (size_t r = 0; r < row_count; r++) {
		fetch_row(rows, row_count, row_bytes, r);
		dots[r] = row_avx2(rows[r], row_bytes, lower, upper);
	}
}

AVX2 static uint32_t reach_avx2(const float *values, float least)
{
	uint32_t mask = 0;
	for (size_t i = 0; i < KEYS; i += 8)
		mask |= (uint32_t)_mm256_movemask_ps(
				_mm256_cmp_ps(_mm256_loadu_ps(values + i), _mm256_set1_ps(least), _CMP_GE_OQ))
			<< i;
	return mask;
}

/* Four dots side by side, so that none waits for its own last addition; each is formed in editor__dot's order. Four
 * keys more are fetched meanwhile. */
AVX2 static void score_four(const float *query, const float *const *keys, const float *const *next, size_t width,
			    float *scores)
{
	__m256 sums[4] = { _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps() };
	size_t i = 0;
	for (; i + 8 <= width; i += 8) {
		const __m256 part = _mm256_loadu_ps(query + i);
#pragma GCC unroll 4
		for (size_t k = 0; k < 4; k++) {
			__builtin_prefetch(next[k] + i);
			sums[k] = _mm256_add_ps(sums[k], _mm256_mul_ps(part, _mm256_loadu_ps(keys[k] + i)));
		}
	}
	for (size_t k = 0; k < 4; k++) {
		float lanes[8];
		_mm256_storeu_ps(lanes, sums[k]);
		for (size_t j = i; j < width; j++)
			lanes[0] += query[j] * keys[k][j];
		scores[k] = editor__dot_of_sums(lanes);
	}
}

AVX2 static void score_avx2(const float *query, const float *const *keys, size_t key_count, size_t width, float *scores)
{
	size_t i = 0;
	for (; i + 4 <= key_count; i += 4)
		score_four(query, keys + i, keys + (i + 8 <= key_count ? i + 4 : i), width, scores + i);
	score_portable(query, keys + i, key_count - i, width, scores + i);
}

static const struct editor__scan_kernel avx2 = { "avx2", blocks_avx2, rows_avx2, reach_avx2, score_avx2 };

#define VNNI __attribute__((target("avx2,avx512f,avx512vnni")))

struct sums {
	__m512i lower, upper; /* upper: 16 times what it stands for */
};

/* The upper four bits stay where they are, which saves a shift. */
VNNI static inline struct sums add_products(struct sums sums, const uint8_t *keys, __m512i lower, __m512i upper)
{
	const __m512i both = _mm512_loadu_si512(keys), mask = _mm512_set1_epi32(0x0f0f0f0f);
	sums.lower = _mm512_dpbusd_epi32(sums.lower, _mm512_and_si512(both, mask), lower);
	sums.upper = _mm512_dpbusd_epi32(sums.upper, _mm512_andnot_si512(mask, both), upper);
	return sums;
}

VNNI static inline __m512i dots_of(struct sums sums)
{
	return _mm512_add_epi32(sums.lower, _mm512_srai_epi32(sums.upper, 4));
}

/* Of one group of 32 keys, 16 by 16. */
VNNI static inline void add_group(struct sums sums[2], const uint8_t *blocks, const struct editor__scan_query *query,
				  size_t group)
{
	const __m512i lower = _mm512_set1_epi32(word_at(query->lower, group));
	const __m512i upper = _mm512_set1_epi32(word_at(query->upper, group));
	const uint8_t *keys = blocks + group * 4 * KEYS;
	__builtin_prefetch(keys + AHEAD, 0, 3);
	__builtin_prefetch(keys + AHEAD + 64, 0, 3);
	sums[0] = add_products(sums[0], keys, lower, upper);
	sums[1] = add_products(sums[1], keys + 64, lower, upper);
}

/* Every second group has sums of its own, so that fewer additions wait for one another. */
VNNI static void blocks_vnni(const uint8_t *blocks, size_t block_count, size_t group_count,
			     const struct editor__scan_query *query, float *bounds, float *tops)
{
	for (size_t b = 0; b < block_count; b++, blocks += editor__scan_block_bytes(group_count)) {
		const struct sums zero = { _mm512_setzero_si512(), _mm512_setzero_si512() };
		struct sums even[2] = { zero, zero }, odd[2] = { zero, zero };
		int32_t dots[KEYS];
		size_t g = 0;
		for (; g + 2 <= group_count; g += 2) {
			add_group(even, blocks, query, g);
			add_group(odd, blocks, query, g + 1);
		}
		if (g < group_count)
			add_group(even, blocks, query, g);
		_mm512_storeu_si512(dots, _mm512_add_epi32(dots_of(even[0]), dots_of(odd[0])));
		_mm512_storeu_si512(dots + KEYS / 2, _mm512_add_epi32(dots_of(even[1]), dots_of(odd[1])));
		tops[b] = put_bounds(query, tails_of(blocks, group_count), dots, bounds + b * KEYS);
	}
}

/* Of four rows side by side. */
VNNI static inline void four_rows(const uint8_t *const *rows, size_t row_bytes, const int8_t *lower,
				  const int8_t *upper, int32_t *dots)
{
	struct sums sums[4];
	__m512i all[4];
#pragma GCC unroll 4
	for (size_t r = 0; r < 4; r++)
		sums[r] = (struct sums){ _mm512_setzero_si512(), _mm512_setzero_si512() };
	for (size_t i = 0; i < row_bytes; i += 64) {
		const __m512i low = _mm512_loadu_si512(lower + i), up = _mm512_loadu_si512(upper + i);
#pragma GCC unroll 4
		for (size_t r = 0; r < 4; r++)
			sums[r] = add_products(sums[r], rows[r] + i, low, up);
	}
#pragma GCC unroll 4
	for (size_t r = 0; r < 4; r++)
		all[r] = dots_of(sums[r]);
	const __m512i one = _mm512_add_epi32(_mm512_unpacklo_epi32(all[0], all[1]),
					     _mm512_unpackhi_epi32(all[0], all[1])),
		      two = _mm512_add_epi32(_mm512_unpacklo_epi32(all[2], all[3]),
					     _mm512_unpackhi_epi32(all[2], all[3]));
	const __m512i both = _mm512_add_epi32(_mm512_unpacklo_epi64(one, two), _mm512_unpackhi_epi64(one, two));
	const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(both), _mm512_extracti64x4_epi64(both, 1));
	_mm_storeu_si128((__m128i *)(void *)dots,
			 _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1)));
}

VNNI static void rows_vnni(const uint8_t *const *rows, size_t row_count, size_t row_bytes, const int8_t *lower,
			   const int8_t *upper, int32_t *dots)
{
	for (size_t r = 0; r < row_count; r += 4) {
		const uint8_t *four[4];
		for (size_t k = 0; k < 4; k++) {
			four[k] = rows[r + k < row_count ? r + k : row_count - 1];
			fetch_row(rows, row_count, row_bytes, r + k);
		}
		four_rows(four, row_bytes, lower, upper, dots + r);
	}
}

VNNI static uint32_t reach_vnni(const float *values, float least)
{
	const __m512 bar = _mm512_set1_ps(least);
	return (uint32_t)_mm512_cmp_ps_mask(_mm512_loadu_ps(values), bar, _CMP_GE_OQ) |
	       (uint32_t)_mm512_cmp_ps_mask(_mm512_loadu_ps(values + 16), bar, _CMP_GE_OQ) << 16;
}

static const struct editor__scan_kernel vnni = { "avx512vnni", blocks_vnni, rows_vnni, reach_vnni, score_avx2 };

static bool processor_has(const struct editor__scan_kernel *kernel)
{
	if (kernel == &vnni)
		return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("avx512f") &&
		       __builtin_cpu_supports("avx512vnni");
	return kernel != &avx2 || __builtin_cpu_supports("avx2");
}

static const struct editor__scan_kernel *const kernels[] = { &vnni, &avx2, &portable };
#else
static bool processor_has(const struct editor__scan_kernel *kernel)
{
	(void)kernel;
	return true;
}

static const struct editor__scan_kernel *const kernels[] = { &portable };
#endif

const struct editor__scan_kernel *editor__scan_kernel_of(const char *name)
{
	for (size_t i = 0; i < sizeof(kernels) / sizeof(kernels[0]); i++) {
		if (processor_has(kernels[i]) && (name == NULL || strcmp(name, kernels[i]->name) == 0))
			return kernels[i];
	}
	return NULL;
}
