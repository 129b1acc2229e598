/* cpu_avx512.c: the row kernels for AVX-512F. */
#include "model/cpu_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define TARGET         __attribute__((target("avx512f,avx2,fma")))
#define LANES          16
#define V              __m512
#define V_LOAD(p)      _mm512_loadu_ps(p)
#define V_STORE(p, v)  _mm512_storeu_ps(p, v)
#define V_SET(f)       _mm512_set1_ps(f)
#define V_ADD(a, b)    _mm512_add_ps(a, b)
#define V_SUB(a, b)    _mm512_sub_ps(a, b)
#define V_MUL(a, b)    _mm512_mul_ps(a, b)
#define V_DIV(a, b)    _mm512_div_ps(a, b)
#define V_FMA(a, b, c) _mm512_fmadd_ps(a, b, c)
#define V_MAX(a, b)    _mm512_max_ps(a, b)
#define V_SQRT(a)      _mm512_sqrt_ps(a)
#define V_SWAP(a)      _mm512_permute_ps(a, 0xB1)
#define V_SUM(a)       _mm512_reduce_add_ps(a)
#define V_HMAX(a)      _mm512_reduce_max_ps(a)
#define V_EXP(a)       exp_lanes(a)

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
