/* cpu_kernels.h: row kernels of the cpu backend, one table an instruction set. Each works on the calling thread and on
 * plain float arrays; backend_cpu.c and cpu_attention.c cut the work into threads. The bodies stand in cpu_kernels.inc.
 */
#ifndef AMEND_MODEL_CPU_KERNELS_H
#define AMEND_MODEL_CPU_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL__SKINNY_ROWS_MAX 8 /* rows that `skinny` takes in one pass over W */

struct model__cpu_kernels {
	const char *name;
	/* Columns [out_from, out_to) of y (rows × out_size) = or += x (rows × in_size) · Wᵀ; rows ≤
	 * MODEL__SKINNY_ROWS_MAX. */
	void (*skinny)(float *y, const float *x, const float *w, bool accumulate, size_t rows, size_t out_from,
		       size_t out_to, size_t out_size, size_t in_size);
	void (*rmsnorm)(float *y, const float *x, const float *g, float eps, size_t width);
	void (*rmsnorm_backward)(float *dx, const float *dy, const float *x, const float *g, float eps, size_t width);
	/* Interleaved pairs of `count` floats (a multiple of 2): cosines twice each, sines as −s, +s. */
	void (*rope_pairs)(float *x, const float *cosines, const float *sines, bool inverse, size_t count);
	float (*dot)(const float *a, const float *b, size_t n);
	void (*axpy)(float *y, float a, const float *x, size_t n); /* y += a · x */
	void (*softmax)(float *x, float scale, size_t n);          /* x = softmax(scale · x) in place, n ≥ 1 */
	/* scores[j] = q · k_j for `count` keys that stand `stride` floats apart. */
	void (*scores)(float *scores, const float *q, const float *k, size_t stride, size_t count, size_t head_size);
	/* out = Σ p[j] · v_j, added to out when `accumulate`. */
	void (*weighted_sum)(float *out, const float *p, const float *v, size_t stride, bool accumulate, size_t count,
			     size_t head_size);
	void (*silu_mul)(float *y, const float *gate, const float *up, size_t n);
	void (*silu_mul_backward)(float *dgate, float *dup, const float *dy, const float *gate, const float *up,
				  size_t n);
	void (*add)(float *y, const float *x, size_t n);
	void (*cross_entropy)(float *loss, int32_t *argmax, float *dlogits, const float *logits, int32_t label,
			      float scale, size_t width);
	/* correct1 = 1/(1 − beta1^step), correct2 = 1/(1 − beta2^step). */
	void (*adam)(float *w, float *m, float *v, const float *grad, float rate, float beta1, float beta2, float eps,
		     float correct1, float correct2, size_t n);
};

extern const struct model__cpu_kernels model__cpu_kernels_portable;
/* NULL where the processor, or the compiler's target, has no such instructions. */
const struct model__cpu_kernels *model__cpu_kernels_avx2(void);
const struct model__cpu_kernels *model__cpu_kernels_avx512(void);

#endif
