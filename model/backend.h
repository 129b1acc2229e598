/* backend.h: the table of operations a model runs on. Rows: `reference` (plain C loops, the oracle), `cpu` (oneDNN or
 * OpenBLAS for GEMM, own row kernels with AVX-512/AVX2 dispatch at run time and portable C otherwise), `cuda` (cuBLAS
 * and small kernels).
 *
 * All arrays are row-major float32. "rows" are tokens of a packed batch. Outputs first, sizes last. Outputs must not
 * alias inputs unless the comment says so. Fallible only where memory is needed. One backend object serves one thread
 * at a time (its own scratch); weights are read-only and may be used by every backend object made by the same name.
 * Arrays may be plain host memory; those from `alloc` are faster where the device has its own. Results can be read by
 * the host when an op returns. Same inputs, backend, instruction set and thread count give the same bits. Every row is
 * compared with `reference` by tests/numerics. The cpu row multiplies by packed weights in split bfloat16 where the
 * processor has AMX (cpu_amx.h: 16 bits of each factor); "cpu:avx512" is full float32 on the same machine. */
#ifndef AMEND_MODEL_BACKEND_H
#define AMEND_MODEL_BACKEND_H

#include "model/gguf.h"

struct model_backend;

struct model_weight; /* a prepared matrix out × in: packed once for the backend's GEMM */

/* Rows of one sequence in a packed batch and where its keys stand in the cache. */
struct model_segment {
	size_t slot;     /* KV-cache slot, ignored where no cache is used */
	size_t position; /* position of its first row in the sequence (0: start) */
	size_t row_count;
};

#define MODEL_ROWS_APART   16u /* of a product: see weight_forward */
#define MODEL_TOGETHER_MAX 4u  /* weights of one weights_forward */

struct model_backend_ops {
	const char *name;        /* "reference", "cpu", "cuda" */
	bool fills_side_by_side; /* weight_new and weight_new_stored may be called by several threads at once */
	/* Says what runs: "avx512+oneDNN 2.6", threads. Goes into ledger entries. */
	const char *(*describe)(const struct model_backend *b);
	void (*destroy)(struct model_backend *b);
	/* Memory for activations: host memory for reference and cpu (64-byte aligned). NULL when out of memory. */
	float *(*alloc)(struct model_backend *b, size_t float_count);
	/* The same for memory that is filled here and there, and perhaps never as a whole: on small pages, so that what
	 * is not filled takes none. */
	float *(*alloc_sparse)(struct model_backend *b, size_t float_count);
	void (*free)(struct model_backend *b, float *p);
	/* dst = src, n floats; either side may be plain host memory, and dst can be read by the host afterwards. clear:
	 * dst = 0. */
	void (*copy)(struct model_backend *b, float *dst, const float *src, size_t n);
	void (*clear)(struct model_backend *b, float *dst, size_t n);

	/* Prepares a weight of out × in elements of `type` at `data`, as in a file (copied; `in` is whole blocks of the
	 * type). `transposed_too`: the backward GEMM will be used. Its memory may stay the backend's until that goes.
	 */
	int (*weight_new)(struct model_backend *b, enum model_type type, const void *data, size_t out_size,
			  size_t in_size, bool transposed_too, struct model_weight **weight);
	void (*weight_destroy)(struct model_backend *b, struct model_weight **weight);
	/* A weight kept as the file stores it, out × in elements of `type` at `data` (copied, in another order), for
	 * the forward product of few rows: it reads a half to a sixth of the bytes. Rows are rounded to 16 bits a
	 * block where the type is quantised, and have the same bits in any company (stored.h). Its memory
	 * may stay the backend's, too. NULL: this backend has none. ERR_UNSUPPORTED: not for this type; ERR_NOMEM. */
	int (*weight_new_stored)(struct model_backend *b, enum model_type type, const void *data, size_t out_size,
				 size_t in_size, struct model_weight **weight);
	/* y (rows × out) = x (rows × in) · Wᵀ, added to y when `accumulate`. With MODEL_ROWS_APART rows or more, the
	 * bits of a row do not depend on the others, or on how many there are (cpu with oneDNN or AMX; not promised of
	 * OpenBLAS and cuda). */
	int (*weight_forward)(struct model_backend *b, float *y, const float *x, const struct model_weight *w,
			      bool accumulate, size_t rows);
	/* y[i] = x · W[i]ᵀ for `count` weights of the same `in`, as one weight_forward after the other gives it. NULL
	 * where nothing is won by it. 1 ≤ count ≤ MODEL_TOGETHER_MAX. */
	int (*weights_forward)(struct model_backend *b, float *const *y, const float *x,
			       const struct model_weight *const *w, size_t count, size_t rows);
	/* dx (rows × in) = dy (rows × out) · W, added when `accumulate`. Not of a weight kept as stored. */
	int (*weight_backward)(struct model_backend *b, float *dx, const float *dy, const struct model_weight *w,
			       bool accumulate, size_t rows);
	/* c (m × n) = alpha · op(a) · op(b) + beta · c for plain matrices (side memories, gradients, logit rows). ta: a
	 * is k × m; tb: b is n × k. */
	int (*gemm)(struct model_backend *b, float *c, const float *a, const float *bm, bool ta, bool tb, float alpha,
		    float beta, size_t m, size_t n, size_t k);

	/* y = x / rms(x) · g; rms = sqrt(mean(x²) + eps) (Zhang and Sennrich 2019). */
	void (*rmsnorm)(struct model_backend *b, float *y, const float *x, const float *g, float eps, size_t rows,
			size_t width);
	/* dx += gradient of rmsnorm with respect to x. */
	void (*rmsnorm_backward)(struct model_backend *b, float *dx, const float *dy, const float *x, const float *g,
				 float eps, size_t rows, size_t width);
	/* Rotates x in place (rows × heads × head_size), position of row i is positions[i]; pairs (2j, 2j+1) when
	 * `interleaved` (GGUF llama layout), else (j, j + head_size/2). `inverse` is the backward. (Su et al. 2021)
	 * freq: head_size/2 floats. */
	void (*rope)(struct model_backend *b, float *x, const int32_t *positions, const float *freq, bool interleaved,
		     bool inverse, size_t rows, size_t heads, size_t head_size);
	/* Causal grouped-query attention of `segment_count` segments (rows in order). q: rows × heads × head_size; the
	 * keys and values of segment s, positions 0 … position+row_count−1, stand at keys[s], values[s] (token-major,
	 * kv_heads × head_size each). window > 0: only the last `window` positions are seen. out: rows × heads ×
	 * head_size. */
	int (*attention)(struct model_backend *b, float *out, const float *q, const float *const *keys,
			 const float *const *values, const struct model_segment *segments, size_t segment_count,
			 size_t heads, size_t kv_heads, size_t head_size, size_t window);
	/* Backward of attention for segments that start at position 0: dq, dk, dv (same shapes, dk and dv packed like
	 * rows) are set. */
	int (*attention_backward)(struct model_backend *b, float *dq, float *dk, float *dv, const float *dout,
				  const float *q, const float *k, const float *v, const struct model_segment *segments,
				  size_t segment_count, size_t heads, size_t kv_heads, size_t head_size, size_t window);
	/* y = silu(gate) · up; n elements. May alias gate. */
	void (*silu_mul)(struct model_backend *b, float *y, const float *gate, const float *up, size_t n);
	/* dgate, dup from dy. May alias (dgate = gate's buffer is not allowed). */
	void (*silu_mul_backward)(struct model_backend *b, float *dgate, float *dup, const float *dy, const float *gate,
				  const float *up, size_t n);
	/* y += x. */
	void (*add)(struct model_backend *b, float *y, const float *x, size_t n);
	/* Per row: loss = −log softmax(logits)[label], argmax (lowest index wins ties). dlogits (may be NULL, may alias
	 * logits) = scale[row] · (softmax − onehot). */
	void (*softmax_cross_entropy)(struct model_backend *b, float *loss, int32_t *argmax, float *dlogits,
				      const float *logits, const int32_t *labels, const float *scale, size_t rows,
				      size_t width);
	/* One Adam step (Kingma and Ba 2015) with bias correction for step ≥ 1; no weight decay. n elements. */
	void (*adam)(struct model_backend *b, float *w, float *m, float *v, const float *grad, float rate, float beta1,
		     float beta2, float eps, uint64_t step, size_t n);
};

struct model_backend { /* first member of every backend's own struct */
	const struct model_backend_ops *ops;
	size_t thread_count;
	bool training; /* set during a step of training: the cpu row's products then have the precision that its name
			  asks for, plain ones as those with weights */
	bool stepping; /* set while few rows run through weights as stored: the cpu row's loops then share the threads
			  of those products */
};

/* `name`: "auto" (cuda when a device is found, else cpu), "reference", "cpu", "cuda". "cpu:amx",
 * "cpu:avx512", "cpu:avx2" and "cpu:portable" ask for those instructions (replays, tests), "cpu:bf16" for training by
 * one bfloat16 a factor (8 bits; with AMX), all else being as by "cpu:amx". thread_count 0: all cores of
 * the affinity mask. ERR_UNSUPPORTED when the build or the machine lacks it: says why. */
int model_backend_new(const char *name, size_t thread_count, struct model_backend **out, struct err *e) MUST_CHECK;
void model_backend_destroy(struct model_backend **backend);
/* Names compiled in, "reference cpu cuda(no device)"; for --version. */
const char *model_backend_list(void);

/* The rows' constructors; called by backend.c only. cuda_count: devices that can be used, 0 without CUDA. */
size_t model__backend_cuda_count(void);
int model__backend_reference_new(size_t thread_count, struct model_backend **out, struct err *e) MUST_CHECK;
int model__backend_cpu_new(const char *instructions, size_t thread_count, struct model_backend **out,
			   struct err *e) MUST_CHECK;
int model__backend_cuda_new(size_t thread_count, struct model_backend **out, struct err *e) MUST_CHECK;

#endif
