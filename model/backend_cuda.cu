/* backend_cuda.cu: the cuda row: cuBLAS for matrix products, one small kernel for each other operation. Activation memory is
 * managed memory, so the host can read it; every operation is finished when it returns. Arrays in plain host memory are copied
 * to the device and back (slower, same result). Sums run in a fixed order: no atomics.
 * Compiled by nvcc as C++; what it exports is C. */
extern "C" {
#include "model/backend.h"
#include "model/quant.h"
}

#include <cublas_v2.h>
#include <cuda_runtime.h>
#include <math.h>
#include <memory>
#include <new>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vector>

#define THREADS 256

struct model_weight {
	size_t out_size, in_size;
	float *w;
};

struct cuda_backend {
	struct model_backend base;
	cublasHandle_t blas;
	int failed; /* the first error of operations that return nothing; the next fallible one reports and forgets it */
	char text[160];
};

static cuda_backend *of(struct model_backend *b)
{
	return (cuda_backend *)b;
}

static int code_of(cudaError_t status)
{
	if (status == cudaSuccess)
		return 0;
	return status == cudaErrorMemoryAllocation ? ERR_NOMEM : ERR_EXTERNAL;
}

/* Keeps the first failure. The runtime forgets its own unless the device is lost: then every later call fails, too. */
static void remember(struct model_backend *b, int rc)
{
	if (rc == 0)
		return;
	(void)cudaGetLastError();
	if (of(b)->failed == 0)
		of(b)->failed = rc;
}

/* Waits for the device. */
static void finish(struct model_backend *b)
{
	int rc = code_of(cudaGetLastError());
	int wait = code_of(cudaDeviceSynchronize());
	remember(b, rc != 0 ? rc : wait);
}

/* For a fallible operation to return, once its arrays are back where they belong. */
static int take(struct model_backend *b)
{
	int rc = of(b)->failed;
	of(b)->failed = 0;
	return rc;
}

/* --- An array as the device sees it: itself, or a copy for the time of one operation. */
template <typename T> class on_device
{
      public:
	on_device(struct model_backend *b, const T *host, size_t count, bool read, bool write) : backend(b), source(host), items(count), writes(write)
	{
		cudaPointerAttributes attributes;
		if (host == nullptr || count == 0)
			return;
		if (cudaPointerGetAttributes(&attributes, host) == cudaSuccess && attributes.type != cudaMemoryTypeUnregistered) {
			device = const_cast<T *>(host);
			return;
		}
		(void)cudaGetLastError();
		copied = true;
		fail(cudaMalloc((void **)&device, count * sizeof(T)));
		if (device != nullptr && read)
			fail(cudaMemcpy(device, host, count * sizeof(T), cudaMemcpyHostToDevice));
	}
	~on_device()
	{
		if (!copied || device == nullptr)
			return;
		if (writes && of(backend)->failed == 0)
			fail(cudaMemcpy(const_cast<T *>(source), device, items * sizeof(T), cudaMemcpyDeviceToHost));
		cudaFree(device);
	}
	on_device(const on_device &) = delete;
	on_device &operator=(const on_device &) = delete;
	T *get() const
	{
		return device;
	}

      private:
	void fail(cudaError_t status)
	{
		remember(backend, code_of(status));
	}
	struct model_backend *backend;
	const T *source;
	T *device = nullptr;
	size_t items;
	bool writes, copied = false;
};

template <typename T> static on_device<T> in(struct model_backend *b, const T *p, size_t n)
{
	return on_device<T>(b, p, n, true, false);
}

template <typename T> static on_device<T> inout(struct model_backend *b, T *p, size_t n)
{
	return on_device<T>(b, p, n, true, true);
}

static unsigned grid_of(size_t n)
{
	return (unsigned)((n + THREADS - 1) / THREADS);
}

#include "model/cuda_kernels.inc"

/* --- The operations */

static const char *describe(const struct model_backend *b)
{
	return ((const cuda_backend *)b)->text;
}

static void destroy(struct model_backend *b)
{
	cublasDestroy(of(b)->blas);
	free(b);
}

static float *alloc(struct model_backend *b, size_t float_count)
{
	float *p = nullptr;
	size_t bytes;
	(void)b;
	if (__builtin_mul_overflow(float_count + 1, sizeof(float), &bytes) || cudaMallocManaged((void **)&p, bytes) != cudaSuccess) {
		(void)cudaGetLastError();
		return nullptr;
	}
	return p;
}

static void release(struct model_backend *b, float *p)
{
	(void)b;
	if (p != nullptr)
		cudaFree(p);
}

static void copy(struct model_backend *b, float *dst, const float *src, size_t n)
{
	remember(b, code_of(cudaMemcpy(dst, src, n * sizeof(float), cudaMemcpyDefault)));
	finish(b);
}

static void clear(struct model_backend *b, float *dst, size_t n)
{
	on_device<float> d = inout(b, dst, n);
	if (d.get() != nullptr && n > 0)
		cudaMemset(d.get(), 0, n * sizeof(float));
	finish(b);
}

/* cuBLAS is column-major: row-major c = op(a)·op(b) is its cᵀ = op(b)ᵀ·op(a)ᵀ. */
static int product(struct model_backend *b, float *c, const float *a, const float *bm, bool ta, bool tb, float alpha, float beta, size_t m,
		   size_t n, size_t k)
{
	if (m == 0 || n == 0)
		return 0;
	if (m > INT32_MAX || n > INT32_MAX || k > INT32_MAX)
		return ERR_LIMIT;
	{
		on_device<float> da = in(b, a, m * k), db = in(b, bm, k * n);
		on_device<float> dc(b, c, m * n, beta != 0, true);
		cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
		if (of(b)->failed == 0)
			status = cublasSgemm(of(b)->blas, tb ? CUBLAS_OP_T : CUBLAS_OP_N, ta ? CUBLAS_OP_T : CUBLAS_OP_N, (int)n, (int)m,
					     (int)k, &alpha, db.get(), (int)(tb ? k : n), da.get(), (int)(ta ? m : k), &beta, dc.get(),
					     (int)n);
		if (status != CUBLAS_STATUS_SUCCESS)
			remember(b, status == CUBLAS_STATUS_ALLOC_FAILED ? ERR_NOMEM : ERR_EXTERNAL);
		finish(b);
	}
	return take(b);
}

static void weight_destroy(struct model_backend *b, struct model_weight **weight)
{
	(void)b;
	if (*weight == nullptr)
		return;
	cudaFree((*weight)->w);
	free(*weight);
	*weight = nullptr;
}

static int weight_new(struct model_backend *b, enum model_type type, const void *data, size_t out_size, size_t in_size,
		      bool transposed_too, struct model_weight **weight)
{
	(void)transposed_too; /* cuBLAS reads the same bytes either way */
	struct model_weight *made = (struct model_weight *)calloc(1, sizeof(*made));
	if (made == nullptr)
		return ERR_NOMEM;
	made->out_size = out_size;
	made->in_size = in_size;
	float *w = (float *)malloc(out_size * in_size * sizeof(float));
	int rc = w == nullptr ? ERR_NOMEM : code_of(cudaMalloc((void **)&made->w, out_size * in_size * sizeof(float)));
	if (rc == 0) {
		model_quant_dequantise(type, data, out_size * in_size, w);
		rc = code_of(cudaMemcpy(made->w, w, out_size * in_size * sizeof(float), cudaMemcpyDefault));
	}
	free(w);
	if (rc != 0) {
		(void)cudaGetLastError();
		weight_destroy(b, &made);
		return rc;
	}
	*weight = made;
	return 0;
}

static int weight_forward(struct model_backend *b, float *y, const float *x, const struct model_weight *w, bool accumulate, size_t rows)
{
	return product(b, y, x, w->w, false, true, 1, accumulate ? 1.0f : 0.0f, rows, w->out_size, w->in_size);
}

static int weight_backward(struct model_backend *b, float *dx, const float *dy, const struct model_weight *w, bool accumulate, size_t rows)
{
	return product(b, dx, dy, w->w, false, false, 1, accumulate ? 1.0f : 0.0f, rows, w->in_size, w->out_size);
}

static void rmsnorm(struct model_backend *b, float *y, const float *x, const float *g, float eps, size_t rows, size_t width)
{
	on_device<float> dy = inout(b, y, rows * width), dx = in(b, x, rows * width), dg = in(b, g, width);
	if (of(b)->failed == 0 && rows > 0)
		rmsnorm_rows<<<(unsigned)rows, THREADS>>>(dy.get(), dx.get(), dg.get(), eps, width);
	finish(b);
}

static void rmsnorm_backward(struct model_backend *b, float *dx, const float *dy, const float *x, const float *g, float eps, size_t rows,
			     size_t width)
{
	size_t n = rows * width;
	on_device<float> ddx = inout(b, dx, n), ddy = in(b, dy, n), xx = in(b, x, n), dg = in(b, g, width);
	if (of(b)->failed == 0 && rows > 0)
		rmsnorm_backward_rows<<<(unsigned)rows, THREADS>>>(ddx.get(), ddy.get(), xx.get(), dg.get(), eps, width);
	finish(b);
}

static void rope(struct model_backend *b, float *x, const int32_t *positions, const float *freq, bool interleaved, bool inverse, size_t rows,
		 size_t heads, size_t head_size)
{
	size_t pairs = rows * heads * (head_size / 2);
	on_device<float> dx = inout(b, x, 2 * pairs), df = in(b, freq, head_size / 2);
	on_device<int32_t> dp = in(b, positions, rows);
	if (of(b)->failed == 0 && pairs > 0)
		rope_pairs<<<grid_of(pairs), THREADS>>>(dx.get(), dp.get(), df.get(), interleaved, inverse, pairs, heads, head_size / 2);
	finish(b);
}

static attention_sizes sizes_of(const struct model_segment *segments, size_t segment_count, size_t heads, size_t kv_heads, size_t head_size,
				size_t window)
{
	size_t length = 1;
	for (size_t s = 0; s < segment_count; s++) {
		size_t end = segments[s].position + segments[s].row_count;
		length = end > length ? end : length;
	}
	return attention_sizes{ heads, heads / kv_heads, kv_heads, head_size, window, length, 1.0f / sqrtf((float)head_size) };
}

static void attention_on(struct model_backend *b, float *out, const float *q, const std::vector<row_place> &rows, const attention_sizes s)
{
	size_t n = rows.size() * s.heads * s.head_size;
	float *p = alloc(b, rows.size() * s.heads * s.length);
	if (p == nullptr) {
		remember(b, ERR_NOMEM);
		return;
	}
	{
		on_device<float> o = inout(b, out, n), dq = in(b, q, n);
		on_device<row_place> dr = in(b, rows.data(), rows.size());
		if (of(b)->failed == 0)
			attention_rows<<<dim3((unsigned)rows.size(), (unsigned)s.heads), THREADS>>>(o.get(), p, dq.get(), dr.get(), s);
		finish(b);
	}
	release(b, p);
}

static int attention(struct model_backend *b, float *out, const float *q, const float *const *keys, const float *const *values,
		     const struct model_segment *segments, size_t segment_count, size_t heads, size_t kv_heads, size_t head_size, size_t window)
{
	attention_sizes s = sizes_of(segments, segment_count, heads, kv_heads, head_size, window);
	try {
		using array = std::unique_ptr<on_device<float>>;
		std::vector<array> held; /* keys and values, copied where they were in plain host memory */
		std::vector<row_place> rows;
		size_t row = 0;
		for (size_t i = 0; i < segment_count; row += segments[i].row_count, i++) {
			size_t n = (segments[i].position + segments[i].row_count) * kv_heads * head_size;
			held.push_back(array(new on_device<float>(b, keys[i], n, true, false)));
			held.push_back(array(new on_device<float>(b, values[i], n, true, false)));
			for (size_t r = 0; r < segments[i].row_count; r++)
				rows.push_back(row_place{ held[2 * i]->get(), held[2 * i + 1]->get(), segments[i].position + r, row });
		}
		if (!rows.empty())
			attention_on(b, out, q, rows, s);
	} catch (const std::bad_alloc &) {
		remember(b, ERR_NOMEM);
	}
	return take(b);
}

static int attention_backward(struct model_backend *b, float *dq, float *dk, float *dv, const float *dout, const float *q, const float *k,
			      const float *v, const struct model_segment *segments, size_t segment_count, size_t heads, size_t kv_heads,
			      size_t head_size, size_t window)
{
	attention_sizes s = sizes_of(segments, segment_count, heads, kv_heads, head_size, window);
	std::vector<row_place> rows;
	try {
		size_t row = 0;
		for (size_t i = 0; i < segment_count; row += segments[i].row_count, i++) {
			for (size_t r = 0; r < segments[i].row_count; r++)
				rows.push_back(row_place{ nullptr, nullptr, r, row });
		}
	} catch (const std::bad_alloc &) {
		return ERR_NOMEM;
	}
	if (rows.empty())
		return 0;
	size_t n = rows.size(), nq = n * heads * head_size, nk = n * kv_heads * head_size, np = n * heads * s.length;
	float *p = alloc(b, 2 * np);
	if (p == nullptr)
		return ERR_NOMEM;
	{
		on_device<float> ddq = inout(b, dq, nq), ddk = inout(b, dk, nk), ddv = inout(b, dv, nk), ddo = in(b, dout, nq);
		on_device<float> qq = in(b, q, nq), kk = in(b, k, nk), vv = in(b, v, nk);
		on_device<row_place> dr = in(b, rows.data(), n);
		if (of(b)->failed == 0) {
			attention_scores_backward<<<dim3((unsigned)n, (unsigned)heads), THREADS>>>(p, p + np, ddq.get(), ddo.get(), qq.get(),
												   kk.get(), vv.get(), dr.get(), s);
			attention_keys_backward<<<dim3((unsigned)n, (unsigned)kv_heads), THREADS>>>(ddk.get(), ddv.get(), p, p + np, ddo.get(),
												    qq.get(), dr.get(), n, s);
		}
		finish(b);
	}
	release(b, p);
	return take(b);
}

static void silu_mul(struct model_backend *b, float *y, const float *gate, const float *up, size_t n)
{
	on_device<float> dy = inout(b, y, n), dg = in(b, gate, n), du = in(b, up, n);
	if (of(b)->failed == 0 && n > 0)
		silu_mul_each<<<grid_of(n), THREADS>>>(dy.get(), dg.get(), du.get(), n);
	finish(b);
}

static void silu_mul_backward(struct model_backend *b, float *dgate, float *dup, const float *dy, const float *gate, const float *up, size_t n)
{
	on_device<float> ddg = inout(b, dgate, n), ddu = inout(b, dup, n), ddy = in(b, dy, n), dg = in(b, gate, n), du = in(b, up, n);
	if (of(b)->failed == 0 && n > 0)
		silu_mul_backward_each<<<grid_of(n), THREADS>>>(ddg.get(), ddu.get(), ddy.get(), dg.get(), du.get(), n);
	finish(b);
}

static void add(struct model_backend *b, float *y, const float *x, size_t n)
{
	on_device<float> dy = inout(b, y, n), dx = in(b, x, n);
	if (of(b)->failed == 0 && n > 0)
		add_each<<<grid_of(n), THREADS>>>(dy.get(), dx.get(), n);
	finish(b);
}

static void softmax_cross_entropy(struct model_backend *b, float *loss, int32_t *argmax, float *dlogits, const float *logits,
				  const int32_t *labels, const float *scale, size_t rows, size_t width)
{
	on_device<float> dl = inout(b, loss, rows), dd = inout(b, dlogits, rows * width), dx = in(b, logits, rows * width), ds = in(b, scale, rows);
	on_device<int32_t> da = inout(b, argmax, rows), dn = in(b, labels, rows);
	if (of(b)->failed == 0 && rows > 0)
		cross_entropy_rows<<<(unsigned)rows, THREADS>>>(dl.get(), da.get(), dd.get(), dx.get(), dn.get(), ds.get(), width);
	finish(b);
}

static void adam(struct model_backend *b, float *w, float *m, float *v, const float *grad, float rate, float beta1, float beta2, float eps,
		 uint64_t step, size_t n)
{
	float correct1 = (float)(1 / (1 - pow((double)beta1, (double)step))), correct2 = (float)(1 / (1 - pow((double)beta2, (double)step)));
	on_device<float> dw = inout(b, w, n), dm = inout(b, m, n), dv = inout(b, v, n), dg = in(b, grad, n);
	if (of(b)->failed == 0 && n > 0)
		adam_each<<<grid_of(n), THREADS>>>(dw.get(), dm.get(), dv.get(), dg.get(), rate * correct1, beta1, beta2, eps, correct2, n);
	finish(b);
}

static struct model_backend_ops table()
{
	struct model_backend_ops ops = {};
	ops.name = "cuda";
	ops.describe = describe;
	ops.destroy = destroy;
	ops.alloc = alloc;
	ops.alloc_sparse = alloc;
	ops.free = release;
	ops.copy = copy;
	ops.clear = clear;
	ops.weight_new = weight_new;
	ops.weight_destroy = weight_destroy;
	ops.weight_forward = weight_forward;
	ops.weight_backward = weight_backward;
	ops.gemm = product;
	ops.rmsnorm = rmsnorm;
	ops.rmsnorm_backward = rmsnorm_backward;
	ops.rope = rope;
	ops.attention = attention;
	ops.attention_backward = attention_backward;
	ops.silu_mul = silu_mul;
	ops.silu_mul_backward = silu_mul_backward;
	ops.add = add;
	ops.softmax_cross_entropy = softmax_cross_entropy;
	ops.adam = adam;
	return ops;
}

static const struct model_backend_ops cuda_ops = table();

extern "C" size_t model__backend_cuda_count(void)
{
	int count = 0;
	if (cudaGetDeviceCount(&count) != cudaSuccess) {
		(void)cudaGetLastError();
		return 0;
	}
	return count > 0 ? (size_t)count : 0;
}

extern "C" int model__backend_cuda_new(size_t thread_count, struct model_backend **out, struct err *e)
{
	int count = 0;
	cudaError_t status = cudaGetDeviceCount(&count);
	if (status != cudaSuccess || count == 0)
		return err_set(e, ERR_UNSUPPORTED, "no CUDA device: %s; choose --backend cpu, or install the NVIDIA driver",
			       status == cudaSuccess ? "none is attached" : cudaGetErrorString(status));
	cuda_backend *c = (cuda_backend *)calloc(1, sizeof(*c));
	if (c == nullptr)
		return err_set(e, ERR_NOMEM, "cuda backend: out of memory");
	if (cublasCreate(&c->blas) != CUBLAS_STATUS_SUCCESS) {
		free(c);
		return err_set(e, ERR_EXTERNAL, "cuBLAS did not start: check that the device has free memory and that the driver fits the toolkit");
	}
	/* float32 as promised: no TF32 */
	cublasSetMathMode(c->blas, CUBLAS_PEDANTIC_MATH);
	cudaDeviceProp device;
	int version = 0;
	cublasGetVersion(c->blas, &version);
	if (cudaGetDeviceProperties(&device, 0) != cudaSuccess)
		snprintf(device.name, sizeof(device.name), "unknown device");
	c->base.ops = &cuda_ops;
	c->base.thread_count = thread_count;
	snprintf(c->text, sizeof(c->text), "cuda %.80s, cuBLAS %d", device.name, version);
	*out = &c->base;
	return 0;
}
