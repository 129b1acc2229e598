/* cpu.h: what the files of the cpu backend share. */
#ifndef AMEND_MODEL_CPU_H
#define AMEND_MODEL_CPU_H

#include "model/cpu_kernels.h"
#include "model/gemm.h"
#include "model/host_memory.h"
#include "model/packed.h"
#include "model/stored.h"

#include "base/team.h"

#define MODEL__ROPE_POSITIONS_MAX                                                                                      \
	((size_t)1 << 17) /* rows of the rotation table; farther positions are refused by model.c */

struct model__cpu {
	struct model_backend base;
	const struct model__cpu_kernels *k;
	const struct model__gemm *gemm;
	bool amx;                         /* weights as tiles (cpu_amx.c) */
	bool bf16;                        /* one bfloat16 a factor while `training` */
	struct model__products *products; /* not NULL: weights packed (packed.h) */
	float *rotations;                 /* by position: head_size cosines, head_size sines */
	size_t rotation_count, rotation_size;
	float rotation_freq[256]; /* the frequencies that the table was made for */
	float *scratch;           /* thread_count × scratch_size */
	size_t scratch_size;
	void *rows; /* rows of x in tile form, for cpu_amx.c */
	size_t rows_bytes;
	void *columns; /* of a plain matrix, too */
	size_t columns_bytes;
	const struct model__stored_kernel *stored;
	struct model__pages weight_pages;
	struct team *team; /* of decode steps; NULL until one is needed */
	bool teamless;     /* none could be started: steps have one thread */
	struct model__rounded *rounded;
	size_t rounded_blocks;
	char text[96];
};

/* OpenMP's threads for `work` multiply-adds (or about as costly elements): small jobs are not worth waking them for,
 * and steps do without. */
int model__cpu_threads(const struct model__cpu *cpu, size_t work);
/* Sees to `float_count` floats of scratch for every thread. ERR_NOMEM. */
int model__cpu_scratch(struct model__cpu *cpu, size_t float_count) MUST_CHECK;

/* cpu_stored.c: one(context, part, index) for every index under `count`, shared out among the team where `work` pays
 * for it; part < thread_count. For steps (struct model_backend). */
void model__cpu_loop(struct model__cpu *cpu, size_t work, size_t count,
		     void (*one)(void *context, size_t part, size_t index), void *context);
/* y[i] (rows × width of stored[i]) = or += x · W[i]ᵀ, all of the same depth. ERR_NOMEM. */
int model__cpu_stored_products(struct model__cpu *cpu, float *const *y, const float *x,
			       const struct model__stored *const *stored, size_t count, bool accumulate,
			       size_t rows) MUST_CHECK;

int model__cpu_attention(struct model_backend *b, float *out, const float *q, const float *const *keys,
			 const float *const *values, const struct model_segment *segments, size_t segment_count,
			 size_t heads, size_t kv_heads, size_t head_size, size_t window);
int model__cpu_attention_backward(struct model_backend *b, float *dq, float *dk, float *dv, const float *dout,
				  const float *q, const float *k, const float *v, const struct model_segment *segments,
				  size_t segment_count, size_t heads, size_t kv_heads, size_t head_size, size_t window);

/* The row-wise operations of struct model_backend_ops (cpu_rows.c). */
void model__cpu_rmsnorm(struct model_backend *b, float *y, const float *x, const float *g, float eps, size_t rows,
			size_t width);
void model__cpu_rmsnorm_backward(struct model_backend *b, float *dx, const float *dy, const float *x, const float *g,
				 float eps, size_t rows, size_t width);
void model__cpu_rope(struct model_backend *b, float *x, const int32_t *positions, const float *freq, bool interleaved,
		     bool inverse, size_t rows, size_t heads, size_t head_size);
void model__cpu_silu_mul(struct model_backend *b, float *y, const float *gate, const float *up, size_t n);
void model__cpu_silu_mul_backward(struct model_backend *b, float *dgate, float *dup, const float *dy, const float *gate,
				  const float *up, size_t n);
void model__cpu_add(struct model_backend *b, float *y, const float *x, size_t n);
void model__cpu_cross_entropy(struct model_backend *b, float *loss, int32_t *argmax, float *dlogits,
			      const float *logits, const int32_t *labels, const float *scale, size_t rows,
			      size_t width);
void model__cpu_adam(struct model_backend *b, float *w, float *m, float *v, const float *grad, float rate, float beta1,
		     float beta2, float eps, uint64_t step, size_t n);

#endif
