/* gemm.h: the one matrix product of the cpu backend, behind which oneDNN (gemm_dnnl.c) or OpenBLAS (gemm_blas.c)
 * stands. */
#ifndef AMEND_MODEL_GEMM_H
#define AMEND_MODEL_GEMM_H

#include "base/err.h"

#include <stdbool.h>

struct model__gemm {
	/* "oneDNN 2.6.0"; static or of the library. */
	const char *(*describe)(void);
	/* c (m × n) = alpha · op(a) · op(b) + beta · c, row-major without gaps; ta: a is k × m; tb: b is n × k. beta 0
	 * does not read c. Runs on exactly `thread_count` threads of the calling thread's team. ERR_EXTERNAL or
	 * ERR_LIMIT. */
	int (*product)(float *c, const float *a, const float *b, bool ta, bool tb, float alpha, float beta, size_t m,
		       size_t n, size_t k, size_t thread_count);
};

extern const struct model__gemm model__gemm_dnnl; /* defined where AMEND_DNNL is 1 */
extern const struct model__gemm model__gemm_blas; /* defined where AMEND_BLAS is 1 */

#endif
