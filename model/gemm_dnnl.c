#include "model/gemm.h"

#include <dnnl.h>
#include <omp.h>
#include <stdint.h>
#include <stdio.h>

static const char *describe(void)
{
	static char text[32];
	if (text[0] == '\0') {
		const dnnl_version_t *v = dnnl_version();
		snprintf(text, sizeof(text), "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
	}
	return text;
}

static int product(float *c, const float *a, const float *b, bool ta, bool tb, float alpha, float beta, size_t m,
		   size_t n, size_t k, size_t thread_count)
{
	if (m > INT32_MAX || n > INT32_MAX || k > INT32_MAX)
		return ERR_LIMIT;
	/* oneDNN takes its thread count from the calling thread's OpenMP setting, and the split decides the rounding.
	 */
	int before = omp_get_max_threads();
	if (before != (int)thread_count)
		omp_set_num_threads((int)thread_count);
	dnnl_status_t status = dnnl_sgemm(ta ? 'T' : 'N', tb ? 'T' : 'N', (dnnl_dim_t)m, (dnnl_dim_t)n, (dnnl_dim_t)k,
					  alpha, a, (dnnl_dim_t)(ta ? m : k), b, (dnnl_dim_t)(tb ? k : n), beta, c,
					  (dnnl_dim_t)n);
	if (before != (int)thread_count)
		omp_set_num_threads(before);
	if (status == dnnl_out_of_memory)
		return ERR_NOMEM;
	return status == dnnl_success ? 0 : ERR_EXTERNAL;
}

const struct model__gemm model__gemm_dnnl = { describe, product };
