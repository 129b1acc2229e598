/* backend_cpu.c: weights and matrix products of the cpu backend, and its table. Few rows (decoding) are bound by
 * reading W once: an own kernel streams it; many rows go to the GEMM library. */
#include "model/cpu.h"

#include "base/fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORK_A_THREAD ((size_t)32 * 1024) /* fewer multiply-adds than this do not pay for waking another thread */
#define OUT_BLOCK     ((size_t)16)        /* columns a thread takes at once in the skinny product */

struct model_weight {
	size_t out_size, in_size;
	float *w;
};

int model__cpu_threads(const struct model__cpu *cpu, size_t work)
{
	size_t useful = work / WORK_A_THREAD;
	size_t count = useful < cpu->base.thread_count ? useful : cpu->base.thread_count;
	return count < 1 ? 1 : (int)count;
}

int model__cpu_scratch(struct model__cpu *cpu, size_t float_count)
{
	if (float_count <= cpu->scratch_size)
		return 0;
	size_t size = (2 * float_count + 15) & ~(size_t)15; /* whole cache lines: no false sharing */
	float *scratch = model__host_alloc(&cpu->base, size * cpu->base.thread_count);
	if (scratch == NULL)
		return ERR_NOMEM;
	model__host_bytes_free(cpu->scratch);
	cpu->scratch = scratch;
	cpu->scratch_size = size;
	return 0;
}

static const char *describe(const struct model_backend *b)
{
	return ((const struct model__cpu *)b)->text;
}

static void destroy(struct model_backend *b)
{
	struct model__cpu *cpu = (struct model__cpu *)b;
	model__host_bytes_free(cpu->scratch);
	model__host_bytes_free(cpu->rotations);
	model__host_bytes_free(cpu->rows);
	free(cpu);
}

static void weight_destroy(struct model_backend *b, struct model_weight **weight)
{
	(void)b;
	if (*weight == NULL)
		return;
	model__host_bytes_free((*weight)->w);
	free(*weight);
	*weight = NULL;
}

static int weight_new(struct model_backend *b, const float *w, size_t out_size, size_t in_size, bool transposed_too,
		      struct model_weight **weight)
{
	(void)transposed_too;
	struct model_weight *made = fault_calloc(1, sizeof(*made));
	if (made == NULL)
		return ERR_NOMEM;
	made->out_size = out_size;
	made->in_size = in_size;
	made->w = model__host_alloc(b, out_size * in_size);
	if (made->w == NULL) {
		free(made);
		return ERR_NOMEM;
	}
	memcpy(made->w, w, out_size * in_size * sizeof(float));
	*weight = made;
	return 0;
}

static void skinny(const struct model__cpu *cpu, float *y, const float *x, const struct model_weight *w,
		   bool accumulate, size_t rows)
{
	int threads = model__cpu_threads(cpu, rows * w->out_size * w->in_size / 4);
	size_t blocks = (w->out_size + OUT_BLOCK - 1) / OUT_BLOCK;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
	for (size_t block = 0; block < blocks; block++) {
		size_t from = block * OUT_BLOCK, to = from + OUT_BLOCK < w->out_size ? from + OUT_BLOCK : w->out_size;
		cpu->k->skinny(y, x, w->w, accumulate, rows, from, to, w->out_size, w->in_size);
	}
}

static int weight_forward(struct model_backend *b, float *y, const float *x, const struct model_weight *w,
			  bool accumulate, size_t rows)
{
	struct model__cpu *cpu = (struct model__cpu *)b;
	if (rows == 0)
		return 0;
	if (rows <= MODEL__SKINNY_ROWS_MAX) {
		skinny(cpu, y, x, w, accumulate, rows);
		return 0;
	}
	return cpu->gemm->product(y, x, w->w, false, true, 1, accumulate ? 1 : 0, rows, w->out_size, w->in_size,
				  b->thread_count);
}

static int weight_backward(struct model_backend *b, float *dx, const float *dy, const struct model_weight *w,
			   bool accumulate, size_t rows)
{
	struct model__cpu *cpu = (struct model__cpu *)b;
	if (rows == 0)
		return 0;
	return cpu->gemm->product(dx, dy, w->w, false, false, 1, accumulate ? 1 : 0, rows, w->in_size, w->out_size,
				  b->thread_count);
}

static int gemm(struct model_backend *b, float *c, const float *a, const float *bm, bool ta, bool tb, float alpha,
		float beta, size_t m, size_t n, size_t k)
{
	struct model__cpu *cpu = (struct model__cpu *)b;
	if (m == 0 || n == 0)
		return 0;
	return cpu->gemm->product(c, a, bm, ta, tb, alpha, beta, m, n, k, b->thread_count);
}

static const struct model_backend_ops cpu_ops = {
	.name = "cpu",
	.describe = describe,
	.destroy = destroy,
	.alloc = model__host_alloc,
	.free = model__host_free,
	.copy = model__host_copy,
	.clear = model__host_clear,
	.weight_new = weight_new,
	.weight_destroy = weight_destroy,
	.weight_forward = weight_forward,
	.weight_backward = weight_backward,
	.gemm = gemm,
	.rmsnorm = model__cpu_rmsnorm,
	.rmsnorm_backward = model__cpu_rmsnorm_backward,
	.rope = model__cpu_rope,
	.attention = model__cpu_attention,
	.attention_backward = model__cpu_attention_backward,
	.silu_mul = model__cpu_silu_mul,
	.silu_mul_backward = model__cpu_silu_mul_backward,
	.add = model__cpu_add,
	.softmax_cross_entropy = model__cpu_cross_entropy,
	.adam = model__cpu_adam,
};

static const struct model__cpu_kernels *kernels(void)
{
	const struct model__cpu_kernels *k = model__cpu_kernels_avx512();
	if (k == NULL)
		k = model__cpu_kernels_avx2();
	return k != NULL ? k : &model__cpu_kernels_portable;
}

int model__backend_cpu_new(size_t thread_count, struct model_backend **out, struct err *e)
{
	struct model__cpu *cpu = fault_calloc(1, sizeof(*cpu));
	if (cpu == NULL)
		return err_set(e, ERR_NOMEM, "cpu backend: out of memory");
	cpu->base.ops = &cpu_ops;
	cpu->base.thread_count = thread_count;
	cpu->k = kernels();
#if AMEND_DNNL
	cpu->gemm = &model__gemm_dnnl;
#else
	cpu->gemm = &model__gemm_blas;
#endif
	snprintf(cpu->text, sizeof(cpu->text), "%s+%s, %zu thread%s", cpu->k->name, cpu->gemm->describe(), thread_count,
		 thread_count == 1 ? "" : "s");
	*out = &cpu->base;
	return 0;
}
