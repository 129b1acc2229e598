/* cpu_avx2.c: the row kernels for AVX2 with FMA. */
#include "model/cpu_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET        __attribute__((target("avx2,fma")))
#define LANES         8
#define V             __m256
#define V_LOAD(p)     _mm256_loadu_ps(p)
#define V_STORE(p, v) _mm256_storeu_ps(p, v)
/* The first n lanes, n ≤ LANES; the others are `fill`, or are not stored. */
#define V_LOAD_PART(p, n, fill) load_part(p, n, fill)
#define V_STORE_PART(p, n, v)   _mm256_maskstore_ps(p, first_lanes(n), v)
#define V_SET(f)                _mm256_set1_ps(f)
#define V_ADD(a, b)             _mm256_add_ps(a, b)
#define V_SUB(a, b)             _mm256_sub_ps(a, b)
#define V_MUL(a, b)             _mm256_mul_ps(a, b)
#define V_DIV(a, b)             _mm256_div_ps(a, b)
#define V_FMA(a, b, c)          _mm256_fmadd_ps(a, b, c)
#define V_MAX(a, b)             _mm256_max_ps(a, b)
#define V_SQRT(a)               _mm256_sqrt_ps(a)
#define V_SWAP(a)               _mm256_permute_ps(a, 0xB1)
#define V_SUM(a)                sum_lanes(a)
#define V_SUM_FOUR(to, v)       sum_four(to, v)
#define V_HMAX(a)               max_lanes(a)
#define V_EXP(a)                exp_lanes(a)

TARGET static inline __m256i first_lanes(size_t n)
{
	static const int32_t lanes[16] = { -1, -1, -1, -1, -1, -1, -1, -1 };
	return _mm256_loadu_si256((const __m256i *)(const void *)(lanes + 8 - n));
}

TARGET static inline __m256 load_part(const float *p, size_t n, float fill)
{
	const __m256i mask = first_lanes(n);
	return _mm256_blendv_ps(_mm256_set1_ps(fill), _mm256_maskload_ps(p, mask), _mm256_castsi256_ps(mask));
}

TARGET static inline void sum_four(float *to, const __m256 *v)
{
	const __m256 all = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
	_mm_storeu_ps(to, _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1)));
}

TARGET static inline float sum_lanes(__m256 a)
{
	__m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
	s = _mm_add_ps(s, _mm_movehl_ps(s, s));
	return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

TARGET static inline float max_lanes(__m256 a)
{
	__m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
	s = _mm_max_ps(s, _mm_movehl_ps(s, s));
	return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

/* exp by 2^n · e^r, |r| ≤ ln2/2, with the polynomial of Cephes' expf (about 1 ulp). Clamped: no infinities, no
 * denormals. */
TARGET static inline __m256 exp_lanes(__m256 x)
{
	x = _mm256_min_ps(_mm256_max_ps(x, _mm256_set1_ps(-87.3f)), _mm256_set1_ps(88.0f));
	__m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)),
				   _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
	__m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
	r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
	__m256 p = _mm256_set1_ps(1.9875691500e-4f);
	p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.3981999507e-3f));
	p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(8.3334519073e-3f));
	p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(4.1665795894e-2f));
	p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.6666665459e-1f));
	p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(5.0000001201e-1f));
	p = _mm256_add_ps(_mm256_fmadd_ps(_mm256_mul_ps(r, r), p, r), _mm256_set1_ps(1.0f));
	__m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
	return _mm256_mul_ps(p, _mm256_castsi256_ps(power));
}

#include "model/cpu_kernels.inc"

static const struct model__cpu_kernels table = KERNEL_TABLE("avx2");

const struct model__cpu_kernels *model__cpu_kernels_avx2(void)
{
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &table : NULL;
}
#else
const struct model__cpu_kernels *model__cpu_kernels_avx2(void)
{
	return NULL;
}
#endif
