#include "editor/key_scan.h"

#include <stdbool.h>
#include <string.h>

#define KEYS EDITOR__SCAN_KEYS

struct tail { /* of a block */
	float scales[KEYS], errors[KEYS];
	int32_t sums[KEYS];
};

void editor__scan_portable(const uint8_t *blocks, size_t block_count, size_t group_count,
			   const struct editor__scan_query *query, float *upper)
{
	for (size_t b = 0; b < block_count; b++, blocks += editor__scan_block_bytes(group_count)) {
		int32_t dots[KEYS] = { 0 };
		struct tail tail;
		for (size_t g = 0; g < group_count; g++) {
			const int8_t *keys = (const int8_t *)blocks + g * 4 * KEYS, *q = query->bytes + 4 * g;
			for (size_t i = 0; i < KEYS; i++)
				dots[i] += keys[4 * i] * q[0] + keys[4 * i + 1] * q[1] + keys[4 * i + 2] * q[2] +
					   keys[4 * i + 3] * q[3];
		}
		memcpy(&tail, blocks + group_count * 4 * KEYS, sizeof(tail));
		for (size_t i = 0; i < KEYS; i++)
			upper[b * KEYS + i] = query->scale * tail.scales[i] * (float)dots[i] +
					      query->length * tail.errors[i] + query->slack;
	}
}

#if defined(__x86_64__)
#include <immintrin.h>

static inline int32_t word_at(const void *bytes, size_t group)
{
	int32_t word;
	memcpy(&word, (const uint8_t *)bytes + 4 * group, sizeof(word));
	return word;
}

#define AVX2 __attribute__((target("avx2")))

/* |q| · sign(q) k: the product of an unsigned and a signed byte; two of 127 × 127 do not saturate. */
AVX2 static inline __m256i add_products(__m256i sums, __m256i keys, __m256i absolute, __m256i bytes)
{
	const __m256i pairs = _mm256_maddubs_epi16(absolute, _mm256_sign_epi8(keys, bytes));
	return _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

AVX2 static inline void put_upper(const struct editor__scan_query *query, const float *tail, __m256i dots, float *upper)
{
	const __m256 scale = _mm256_mul_ps(_mm256_set1_ps(query->scale), _mm256_loadu_ps(tail));
	const __m256 error = _mm256_mul_ps(_mm256_set1_ps(query->length), _mm256_loadu_ps(tail + KEYS));
	const __m256 score = _mm256_mul_ps(scale, _mm256_cvtepi32_ps(dots));
	_mm256_storeu_ps(upper, _mm256_add_ps(_mm256_add_ps(score, error), _mm256_set1_ps(query->slack)));
}

struct sums { /* of a block */
	__m256i low, high;
};

AVX2 static inline struct sums add_group(struct sums sums, const uint8_t *group, __m256i absolute, __m256i bytes)
{
	const __m256i *keys = (const __m256i *)(const void *)group;
	sums.low = add_products(sums.low, _mm256_loadu_si256(keys), absolute, bytes);
	sums.high = add_products(sums.high, _mm256_loadu_si256(keys + 1), absolute, bytes);
	return sums;
}

AVX2 static inline void put_block(const struct editor__scan_query *query, const uint8_t *tail, struct sums sums,
				  float *upper)
{
	put_upper(query, (const float *)(const void *)tail, sums.low, upper);
	put_upper(query, (const float *)(const void *)tail + KEYS / 2, sums.high, upper + KEYS / 2);
}

/* Two blocks at once share the query's loads. */
AVX2 static void scan_avx2(const uint8_t *blocks, size_t block_count, size_t group_count,
			   const struct editor__scan_query *query, float *upper)
{
	const size_t size = editor__scan_block_bytes(group_count), tail = group_count * 4 * KEYS;
	for (size_t b = 0; b < block_count; b += 2, blocks += 2 * size) {
		const bool paired = b + 1 < block_count;
		const uint8_t *second = paired ? blocks + size : blocks;
		struct sums one = { _mm256_setzero_si256(), _mm256_setzero_si256() }, two = one;
#pragma GCC unroll 4
		for (size_t g = 0; g < group_count; g++) {
			const __m256i absolute = _mm256_set1_epi32(word_at(query->absolute, g));
			const __m256i bytes = _mm256_set1_epi32(word_at(query->bytes, g));
			one = add_group(one, blocks + g * 4 * KEYS, absolute, bytes);
			two = add_group(two, second + g * 4 * KEYS, absolute, bytes);
		}
		put_block(query, blocks + tail, one, upper + b * KEYS);
		if (paired)
			put_block(query, second + tail, two, upper + (b + 1) * KEYS);
	}
}

editor__scan *editor__scan_avx2(void)
{
	return __builtin_cpu_supports("avx2") ? scan_avx2 : NULL;
}

#define VNNI __attribute__((target("avx512f,avx512vnni")))

/* The instruction multiplies unsigned by signed bytes: the query is shifted by 128, and 128 × the key's sum taken off
 * again. */
VNNI static void scan_vnni(const uint8_t *blocks, size_t block_count, size_t group_count,
			   const struct editor__scan_query *query, float *upper)
{
	for (size_t b = 0; b < block_count; b++, blocks += editor__scan_block_bytes(group_count)) {
		__m512i even = _mm512_setzero_si512(), odd = even;
		size_t g = 0;
		for (; g + 2 <= group_count; g += 2) {
			const uint8_t *keys = blocks + g * 4 * KEYS;
			even = _mm512_dpbusd_epi32(even, _mm512_set1_epi32(word_at(query->shifted, g)),
						   _mm512_loadu_si512(keys));
			odd = _mm512_dpbusd_epi32(odd, _mm512_set1_epi32(word_at(query->shifted, g + 1)),
						  _mm512_loadu_si512(keys + 4 * KEYS));
		}
		if (g < group_count)
			even = _mm512_dpbusd_epi32(even, _mm512_set1_epi32(word_at(query->shifted, g)),
						   _mm512_loadu_si512(blocks + g * 4 * KEYS));
		const float *tail = (const float *)(const void *)(blocks + group_count * 4 * KEYS);
		const __m512i dots = _mm512_sub_epi32(_mm512_add_epi32(even, odd), _mm512_loadu_si512(tail + 2 * KEYS));
		const __m512 scale = _mm512_mul_ps(_mm512_set1_ps(query->scale), _mm512_loadu_ps(tail));
		const __m512 error = _mm512_mul_ps(_mm512_set1_ps(query->length), _mm512_loadu_ps(tail + KEYS));
		const __m512 score = _mm512_mul_ps(scale, _mm512_cvtepi32_ps(dots));
		_mm512_storeu_ps(upper + b * KEYS,
				 _mm512_add_ps(_mm512_add_ps(score, error), _mm512_set1_ps(query->slack)));
	}
}

editor__scan *editor__scan_avx512vnni(void)
{
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vnni") ? scan_vnni : NULL;
}
#else
editor__scan *editor__scan_avx2(void)
{
	return NULL;
}

editor__scan *editor__scan_avx512vnni(void)
{
	return NULL;
}
#endif
