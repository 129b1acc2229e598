#include "editor/key_scan.h"

#include "editor/dot.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#define KEYS EDITOR__SCAN_KEYS

static void coarse_portable(const uint8_t *blocks, size_t block_count, size_t group_count,
			    const struct editor__scan_query *query, float *estimates, struct editor__scan_top *tops)
{
	for (size_t b = 0; b < block_count; b++, blocks += editor__scan_block_bytes(group_count), estimates += KEYS) {
		int32_t dots[KEYS] = { 0 };
		float scales[KEYS], errors[KEYS];
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
		memcpy(scales, blocks + group_count * 4 * KEYS, sizeof(scales));
		memcpy(errors, blocks + group_count * 4 * KEYS + sizeof(scales), sizeof(errors));
		tops[b] = (struct editor__scan_top){ -INFINITY, -INFINITY };
		for (size_t i = 0; i < KEYS; i++) {
			estimates[i] = query->scale * scales[i] * (float)(16 * dots[i] - 120 * query->sum);
			tops[b].estimate = fmaxf(tops[b].estimate, estimates[i]);
			tops[b].bound = fmaxf(tops[b].bound, estimates[i] + query->length * errors[i] + query->slack);
		}
	}
}

static int32_t fine_portable(const uint8_t *row, size_t row_bytes, const struct editor__scan_query *query)
{
	const int8_t *lowers = query->lower, *uppers = query->upper;
	int32_t dot = 0;
#pragma omp simd reduction(+ : dot)
	for (size_t i = 0; i < row_bytes; i++) {
		const int16_t lower = (int16_t)((row[i] & 15) * lowers[i]),
			      upper = (int16_t)((row[i] >> 4) * uppers[i]);
		dot += (int16_t)(lower + upper);
	}
	return dot;
}

static void score_portable(const float *query, const float *const *keys, size_t key_count, size_t width, float *scores)
{
	for (size_t i = 0; i < key_count; i++)
		scores[i] = editor__dot(query, keys[i], width);
}

static const struct editor__scan_kernel portable = { "portable", coarse_portable, fine_portable, score_portable };

#if defined(__x86_64__)
#include <immintrin.h>

#define AHEAD 2048u /* bytes: beyond what the processor fetches by itself at the end of a page */

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

struct tops_avx2 {
	__m256 estimates, bounds;
};

AVX2 static inline struct tops_avx2 put_avx2(const struct editor__scan_query *query, const float *tail, __m256i dots,
					     float *estimates, struct tops_avx2 tops)
{
	const __m256i whole = _mm256_sub_epi32(_mm256_slli_epi32(dots, 4), _mm256_set1_epi32(120 * query->sum));
	const __m256 scale = _mm256_mul_ps(_mm256_set1_ps(query->scale), _mm256_loadu_ps(tail));
	const __m256 error = _mm256_mul_ps(_mm256_set1_ps(query->length), _mm256_loadu_ps(tail + KEYS));
	const __m256 estimate = _mm256_mul_ps(scale, _mm256_cvtepi32_ps(whole));
	const __m256 bound = _mm256_add_ps(_mm256_add_ps(estimate, error), _mm256_set1_ps(query->slack));
	_mm256_storeu_ps(estimates, estimate);
	return (struct tops_avx2){ _mm256_max_ps(tops.estimates, estimate), _mm256_max_ps(tops.bounds, bound) };
}

AVX2 static inline float largest_avx2(__m256 a)
{
	__m128 half = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
	half = _mm_max_ps(half, _mm_movehl_ps(half, half));
	return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
}

AVX2 static void coarse_avx2(const uint8_t *blocks, size_t block_count, size_t group_count,
			     const struct editor__scan_query *query, float *estimates, struct editor__scan_top *tops)
{
	enum { LANES = 8, PARTS = KEYS / LANES };
	for (size_t b = 0; b < block_count; b++, blocks += editor__scan_block_bytes(group_count), estimates += KEYS) {
		__m256i dots[PARTS];
		for (size_t p = 0; p < PARTS; p++)
			dots[p] = _mm256_setzero_si256();
		for (size_t g = 0; g < group_count; g++) {
			const __m256i lower = _mm256_set1_epi32(word_at(query->lower, g));
			const __m256i upper = _mm256_set1_epi32(word_at(query->upper, g));
			const uint8_t *keys = blocks + g * 4 * KEYS;
			__builtin_prefetch(keys + AHEAD);
			__builtin_prefetch(keys + AHEAD + 64);
#pragma GCC unroll 4
			for (size_t p = 0; p < PARTS; p++)
				dots[p] = _mm256_add_epi32(dots[p],
							   widened(products(keys + p * 4 * LANES, lower, upper)));
		}
		const float *tail = (const float *)(const void *)(blocks + group_count * 4 * KEYS);
		struct tops_avx2 most = { _mm256_set1_ps(-INFINITY), _mm256_set1_ps(-INFINITY) };
		for (size_t p = 0; p < PARTS; p++)
			most = put_avx2(query, tail + p * LANES, dots[p], estimates + p * LANES, most);
		tops[b] = (struct editor__scan_top){ largest_avx2(most.estimates), largest_avx2(most.bounds) };
	}
}

AVX2 static int32_t fine_avx2(const uint8_t *row, size_t row_bytes, const struct editor__scan_query *query)
{
	__m256i dots = _mm256_setzero_si256();
	for (size_t i = 0; i < row_bytes; i += 32) {
		const __m256i lower = _mm256_loadu_si256((const __m256i *)(const void *)(query->lower + i));
		const __m256i upper = _mm256_loadu_si256((const __m256i *)(const void *)(query->upper + i));
		dots = _mm256_add_epi32(dots, widened(products(row + i, lower, upper)));
	}
	__m128i sum = _mm_add_epi32(_mm256_castsi256_si128(dots), _mm256_extracti128_si256(dots, 1));
	sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
	return _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1)));
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

static const struct editor__scan_kernel avx2 = { "avx2", coarse_avx2, fine_avx2, score_avx2 };

#define VNNI __attribute__((target("avx512f,avx512vnni")))

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

struct tops_vnni {
	__m512 estimates, bounds;
};

VNNI static inline struct tops_vnni put_vnni(const struct editor__scan_query *query, const float *tail,
					     struct sums sums, float *estimates)
{
	const __m512i dots = _mm512_add_epi32(_mm512_slli_epi32(sums.lower, 4), sums.upper);
	const __m512i whole = _mm512_sub_epi32(dots, _mm512_set1_epi32(120 * query->sum));
	const __m512 scale = _mm512_mul_ps(_mm512_set1_ps(query->scale), _mm512_loadu_ps(tail));
	const __m512 error = _mm512_mul_ps(_mm512_set1_ps(query->length), _mm512_loadu_ps(tail + KEYS));
	const __m512 estimate = _mm512_mul_ps(scale, _mm512_cvtepi32_ps(whole));
	_mm512_storeu_ps(estimates, estimate);
	return (struct tops_vnni){ estimate,
				   _mm512_add_ps(_mm512_add_ps(estimate, error), _mm512_set1_ps(query->slack)) };
}

VNNI static void coarse_vnni(const uint8_t *blocks, size_t block_count, size_t group_count,
			     const struct editor__scan_query *query, float *estimates, struct editor__scan_top *tops)
{
	for (size_t b = 0; b < block_count; b++, blocks += editor__scan_block_bytes(group_count), estimates += KEYS) {
		struct sums one = { _mm512_setzero_si512(), _mm512_setzero_si512() }, two = one;
#pragma GCC unroll 2
		for (size_t g = 0; g < group_count; g++) {
			const __m512i lower = _mm512_set1_epi32(word_at(query->lower, g));
			const __m512i upper = _mm512_set1_epi32(word_at(query->upper, g));
			const uint8_t *keys = blocks + g * 4 * KEYS;
			__builtin_prefetch(keys + AHEAD);
			__builtin_prefetch(keys + AHEAD + 64);
			one = add_products(one, keys, lower, upper);
			two = add_products(two, keys + 64, lower, upper);
		}
		const float *tail = (const float *)(const void *)(blocks + group_count * 4 * KEYS);
		const struct tops_vnni first = put_vnni(query, tail, one, estimates),
				       second = put_vnni(query, tail + KEYS / 2, two, estimates + KEYS / 2);
		tops[b] = (struct editor__scan_top){ _mm512_reduce_max_ps(
							     _mm512_max_ps(first.estimates, second.estimates)),
						     _mm512_reduce_max_ps(_mm512_max_ps(first.bounds, second.bounds)) };
	}
}

VNNI static int32_t fine_vnni(const uint8_t *row, size_t row_bytes, const struct editor__scan_query *query)
{
	struct sums sums = { _mm512_setzero_si512(), _mm512_setzero_si512() };
	for (size_t i = 0; i < row_bytes; i += 64)
		sums = add_products(sums, row + i, _mm512_loadu_si512(query->lower + i),
				    _mm512_loadu_si512(query->upper + i));
	return _mm512_reduce_add_epi32(_mm512_add_epi32(sums.lower, _mm512_srai_epi32(sums.upper, 4)));
}

static const struct editor__scan_kernel vnni = { "avx512vnni", coarse_vnni, fine_vnni, score_avx2 };

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
