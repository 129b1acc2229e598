/* cpu_avx512.c: the row kernels for AVX-512F. */
#include "model/cpu_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET        __attribute__((target("avx512f,avx2,fma")))
#define LANES         16
#define V             __m512
#define V_LOAD(p)     _mm512_loadu_ps(p)
#define V_STORE(p, v) _mm512_storeu_ps(p, v)
/* The first n lanes, n ≤ LANES; the others are `fill`, or are not stored. */
#define V_LOAD_PART(p, n, fill) _mm512_mask_loadu_ps(_mm512_set1_ps(fill), first_lanes(n), p)
#define V_STORE_PART(p, n, v)   _mm512_mask_storeu_ps(p, first_lanes(n), v)
#define V_SET(f)                _mm512_set1_ps(f)
#define V_ADD(a, b)             _mm512_add_ps(a, b)
#define V_SUB(a, b)             _mm512_sub_ps(a, b)
#define V_MUL(a, b)             _mm512_mul_ps(a, b)
#define V_DIV(a, b)             _mm512_div_ps(a, b)
#define V_FMA(a, b, c)          _mm512_fmadd_ps(a, b, c)
#define V_MAX(a, b)             _mm512_max_ps(a, b)
#define V_SQRT(a)               _mm512_sqrt_ps(a)
#define V_SWAP(a)               _mm512_permute_ps(a, 0xB1)
#define V_SUM(a)                _mm512_reduce_add_ps(a)
#define V_SUM_FOUR(to, v)       sum_four(to, v)
#define V_HMAX(a)               _mm512_reduce_max_ps(a)
#define V_EXP(a)                exp_lanes(a)

static inline __mmask16 first_lanes(size_t n)
{
	return (__mmask16)((1u << n) - 1u);
}

TARGET static inline void sum_four(float *to, const __m512 *v)
{
	const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(v[0], v[1]), _mm512_unpackhi_ps(v[0], v[1])),
		     cd = _mm512_add_ps(_mm512_unpacklo_ps(v[2], v[3]), _mm512_unpackhi_ps(v[2], v[3]));
	const __m512 all = _mm512_add_ps(_mm512_shuffle_ps(ab, cd, _MM_SHUFFLE(1, 0, 1, 0)),
					 _mm512_shuffle_ps(ab, cd, _MM_SHUFFLE(3, 2, 3, 2)));
	const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all),
					  _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(all), 1)));
	_mm_storeu_ps(to, _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1)));
}

/* exp by 2^n · e^r, |r| ≤ ln2/2, with the polynomial of Cephes' expf (about 1 ulp). Clamped: no infinities, no
 * denormals. */
TARGET static inline __m512 exp_lanes(__m512 x)
{
	x = _mm512_min_ps(_mm512_max_ps(x, _mm512_set1_ps(-87.3f)), _mm512_set1_ps(88.0f));
	__m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)),
					_MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
	__m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
	r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
	__m512 p = _mm512_set1_ps(1.9875691500e-4f);
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999507e-3f));
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519073e-3f));
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665795894e-2f));
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665459e-1f));
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001201e-1f));
	p = _mm512_add_ps(_mm512_fmadd_ps(_mm512_mul_ps(r, r), p, r), _mm512_set1_ps(1.0f));
	return _mm512_scalef_ps(p, n);
}

#include "model/cpu_kernels.inc"

static const struct model__cpu_kernels table = KERNEL_TABLE("avx512");

const struct model__cpu_kernels *model__cpu_kernels_avx512(void)
{
	return __builtin_cpu_supports("avx512f") ? &table : NULL;
}
#else
const struct model__cpu_kernels *model__cpu_kernels_avx512(void)
{
	return NULL;
}
#endif
