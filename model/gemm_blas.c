#include "model/gemm.h"

#include <cblas.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static const char *describe(void)
{
	static char text[32];
	if (text[0] == '\0') { /* name and version; what follows says how it was built */
		const char *config = openblas_get_config();
		size_t name = strcspn(config, " "),
		       version = config[name] == ' ' ? strcspn(config + name + 1, " ") + 1 : 0;
		snprintf(text, sizeof(text), "%.*s", (int)(name + version), config);
	}
	return text;
}

static int product(float *c, const float *a, const float *b, bool ta, bool tb, float alpha, float beta, size_t m,
		   size_t n, size_t k, size_t thread_count)
{
	if (m > INT32_MAX || n > INT32_MAX || k > INT32_MAX)
		return ERR_LIMIT;
	/* The setting is the process's: OpenBLAS has no other, and all backends of one program share one thread count.
	 */
	if (openblas_get_num_threads() != (int)thread_count)
		openblas_set_num_threads((int)thread_count);
	cblas_sgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, (int)m, (int)n,
		    (int)k, alpha, a, (int)(ta ? m : k), b, (int)(tb ? k : n), beta, c, (int)n);
	return 0;
}

const struct model__gemm model__gemm_blas = { describe, product };
