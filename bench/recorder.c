#include "bench/recorder.h"

#include "bench/bench.h"
#include "model/backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WEIGHTS_MAX  1024
#define BACKENDS_MAX 64

enum op {
	FORWARD,
	BACKWARD,
	GEMM,
	NORM,
	NORM_BACK,
	ROPE,
	ATTENTION,
	ATTENTION_BACK,
	SILU,
	SILU_BACK,
	ADD,
	LOSS,
	ADAM,
	MOVE,
	OPS
};
static const char *const op_names[OPS] = { "weight forward",
					   "weight backward",
					   "plain products",
					   "rmsnorm",
					   "rmsnorm, backward",
					   "rope",
					   "attention",
					   "attention, backward",
					   "silu",
					   "silu, backward",
					   "add",
					   "cross entropy",
					   "adam",
					   "copy, clear" };

struct product {
	struct model_backend *backend;
	const struct model_weight *weight; /* NULL: a plain product */
	enum op op;
	bool accumulate, ta, tb;
	size_t m, n, k;
};

static struct {
	const struct model_backend_ops *real;
	struct model_backend_ops ops;
	struct {
		const struct model_weight *weight;
		size_t out_size, in_size;
	} weights[WEIGHTS_MAX];
	size_t weight_count;
	struct product *products;
	size_t count, cap;
	size_t calls[OPS];
	double us[OPS];
} recorder;

static void took(enum op op, double began)
{
	recorder.us[op] += bench_now_us() - began;
	recorder.calls[op]++;
}

static void keep(const struct product *product)
{
	if (recorder.count == recorder.cap) {
		recorder.cap = recorder.cap == 0 ? 4096 : 2 * recorder.cap;
		recorder.products = realloc(recorder.products, recorder.cap * sizeof(*product));
		if (recorder.products == NULL) {
			fprintf(stderr, "bench: out of memory\n");
			exit(1);
		}
	}
	recorder.products[recorder.count++] = *product;
}

/* ---- The operations */

static int weight_new(struct model_backend *b, enum model_type type, const void *data, size_t out_size, size_t in_size,
		      bool transposed_too, struct model_weight **weight)
{
	const int rc = recorder.real->weight_new(b, type, data, out_size, in_size, transposed_too, weight);
	if (rc != 0)
		return rc;
	if (recorder.weight_count == WEIGHTS_MAX) {
		fprintf(stderr, "bench: more than %d weights\n", WEIGHTS_MAX);
		exit(1);
	}
	recorder.weights[recorder.weight_count].weight = *weight;
	recorder.weights[recorder.weight_count].out_size = out_size;
	recorder.weights[recorder.weight_count++].in_size = in_size;
	return 0;
}

static struct product of_weight(struct model_backend *b, enum op op, const struct model_weight *weight, bool accumulate,
				size_t rows)
{
	size_t i = 0;
	while (recorder.weights[i].weight != weight)
		i++;
	return (struct product){ .backend = b,
				 .weight = weight,
				 .op = op,
				 .accumulate = accumulate,
				 .m = rows,
				 .n = recorder.weights[i].out_size,
				 .k = recorder.weights[i].in_size };
}

static int weight_forward(struct model_backend *b, float *y, const float *x, const struct model_weight *w,
			  bool accumulate, size_t rows)
{
	const struct product product = of_weight(b, FORWARD, w, accumulate, rows);
	const double began = bench_now_us();
	const int rc = recorder.real->weight_forward(b, y, x, w, accumulate, rows);
	took(FORWARD, began);
	keep(&product);
	return rc;
}

static int weight_backward(struct model_backend *b, float *dx, const float *dy, const struct model_weight *w,
			   bool accumulate, size_t rows)
{
	const struct product product = of_weight(b, BACKWARD, w, accumulate, rows);
	const double began = bench_now_us();
	const int rc = recorder.real->weight_backward(b, dx, dy, w, accumulate, rows);
	took(BACKWARD, began);
	keep(&product);
	return rc;
}

static int gemm(struct model_backend *b, float *c, const float *a, const float *bm, bool ta, bool tb, float alpha,
		float beta, size_t m, size_t n, size_t k)
{
	const struct product product = { b, NULL, GEMM, beta != 0, ta, tb, m, n, k };
	const double began = bench_now_us();
	const int rc = recorder.real->gemm(b, c, a, bm, ta, tb, alpha, beta, m, n, k);
	took(GEMM, began);
	keep(&product);
	return rc;
}

static void rmsnorm(struct model_backend *b, float *y, const float *x, const float *g, float eps, size_t rows,
		    size_t width)
{
	const double began = bench_now_us();
	recorder.real->rmsnorm(b, y, x, g, eps, rows, width);
	took(NORM, began);
}

static void rmsnorm_backward(struct model_backend *b, float *dx, const float *dy, const float *x, const float *g,
			     float eps, size_t rows, size_t width)
{
	const double began = bench_now_us();
	recorder.real->rmsnorm_backward(b, dx, dy, x, g, eps, rows, width);
	took(NORM_BACK, began);
}

static void rope(struct model_backend *b, float *x, const int32_t *positions, const float *freq, bool interleaved,
		 bool inverse, size_t rows, size_t heads, size_t head_size)
{
	const double began = bench_now_us();
	recorder.real->rope(b, x, positions, freq, interleaved, inverse, rows, heads, head_size);
	took(ROPE, began);
}

static int attention(struct model_backend *b, float *out, const float *q, const float *const *keys,
		     const float *const *values, const struct model_segment *segments, size_t segment_count,
		     size_t heads, size_t kv_heads, size_t head_size, size_t window)
{
	const double began = bench_now_us();
	const int rc = recorder.real->attention(b, out, q, keys, values, segments, segment_count, heads, kv_heads,
						head_size, window);
	took(ATTENTION, began);
	return rc;
}

static int attention_backward(struct model_backend *b, float *dq, float *dk, float *dv, const float *dout,
			      const float *q, const float *k, const float *v, const struct model_segment *segments,
			      size_t segment_count, size_t heads, size_t kv_heads, size_t head_size, size_t window)
{
	const double began = bench_now_us();
	const int rc = recorder.real->attention_backward(b, dq, dk, dv, dout, q, k, v, segments, segment_count, heads,
							 kv_heads, head_size, window);
	took(ATTENTION_BACK, began);
	return rc;
}

static void silu_mul(struct model_backend *b, float *y, const float *gate, const float *up, size_t n)
{
	const double began = bench_now_us();
	recorder.real->silu_mul(b, y, gate, up, n);
	took(SILU, began);
}

static void silu_mul_backward(struct model_backend *b, float *dgate, float *dup, const float *dy, const float *gate,
			      const float *up, size_t n)
{
	const double began = bench_now_us();
	recorder.real->silu_mul_backward(b, dgate, dup, dy, gate, up, n);
	took(SILU_BACK, began);
}

static void add(struct model_backend *b, float *y, const float *x, size_t n)
{
	const double began = bench_now_us();
	recorder.real->add(b, y, x, n);
	took(ADD, began);
}

static void cross_entropy(struct model_backend *b, float *loss, int32_t *argmax, float *dlogits, const float *logits,
			  const int32_t *labels, const float *scale, size_t rows, size_t width)
{
	const double began = bench_now_us();
	recorder.real->softmax_cross_entropy(b, loss, argmax, dlogits, logits, labels, scale, rows, width);
	took(LOSS, began);
}

static void adam(struct model_backend *b, float *w, float *m, float *v, const float *grad, float rate, float beta1,
		 float beta2, float eps, uint64_t step, size_t n)
{
	const double began = bench_now_us();
	recorder.real->adam(b, w, m, v, grad, rate, beta1, beta2, eps, step, n);
	took(ADAM, began);
}

static void copy(struct model_backend *b, float *dst, const float *src, size_t n)
{
	const double began = bench_now_us();
	recorder.real->copy(b, dst, src, n);
	took(MOVE, began);
}

static void clear(struct model_backend *b, float *dst, size_t n)
{
	const double began = bench_now_us();
	recorder.real->clear(b, dst, n);
	took(MOVE, began);
}

/* ---- Standing before the backend */

static void stand_before(struct model_backend *b)
{
	if (recorder.real == NULL) {
		recorder.real = b->ops;
		recorder.ops = *b->ops;
		recorder.ops.fills_side_by_side = false; /* the list of weights is not for several threads */
		recorder.ops.weight_new = weight_new;
		recorder.ops.weight_forward = weight_forward;
		recorder.ops.weight_backward = weight_backward;
		recorder.ops.gemm = gemm;
		recorder.ops.rmsnorm = rmsnorm;
		recorder.ops.rmsnorm_backward = rmsnorm_backward;
		recorder.ops.rope = rope;
		recorder.ops.attention = attention;
		recorder.ops.attention_backward = attention_backward;
		recorder.ops.silu_mul = silu_mul;
		recorder.ops.silu_mul_backward = silu_mul_backward;
		recorder.ops.add = add;
		recorder.ops.softmax_cross_entropy = cross_entropy;
		recorder.ops.adam = adam;
		recorder.ops.copy = copy;
		recorder.ops.clear = clear;
	}
	b->ops = &recorder.ops;
}

int __real_model_backend_new(const char *name, size_t thread_count, struct model_backend **out, struct err *e);
int __wrap_model_backend_new(const char *name, size_t thread_count, struct model_backend **out, struct err *e);

int __wrap_model_backend_new(const char *name, size_t thread_count, struct model_backend **out, struct err *e)
{
	const int rc = __real_model_backend_new(name, thread_count, out, e);
	if (rc == 0)
		stand_before(*out);
	return rc;
}

/* ---- What was recorded */

void recorder_clear(void)
{
	recorder.count = 0;
	memset(recorder.us, 0, sizeof(recorder.us));
	memset(recorder.calls, 0, sizeof(recorder.calls));
}

size_t recorder_products(void)
{
	return recorder.count;
}

double recorder_flops(void)
{
	double flops = 0;
	for (size_t i = 0; i < recorder.count; i++)
		flops += 2.0 * (double)recorder.products[i].m * (double)recorder.products[i].n *
			 (double)recorder.products[i].k;
	return flops;
}

double recorder_products_us(void)
{
	return recorder.us[FORWARD] + recorder.us[BACKWARD] + recorder.us[GEMM];
}

double recorder_all_us(void)
{
	double us = 0;
	for (size_t op = 0; op < OPS; op++)
		us += recorder.us[op];
	return us;
}

static size_t larger(size_t a, size_t b)
{
	return a > b ? a : b;
}

static float *operand(size_t count)
{
	float *values = bench_memory(count, sizeof(*values));
	for (size_t i = 0; i < count; i++)
		values[i] = (float)(i * 2654435761u % 1024) / 1024 - 0.5f;
	return values;
}

static int replay(const struct product *p, float *c, const float *a, const float *b)
{
	if (p->op == FORWARD)
		return recorder.real->weight_forward(p->backend, c, a, p->weight, p->accumulate, p->m);
	if (p->op == BACKWARD)
		return recorder.real->weight_backward(p->backend, c, a, p->weight, p->accumulate, p->m);
	return recorder.real->gemm(p->backend, c, a, b, p->ta, p->tb, 1, p->accumulate ? 1 : 0, p->m, p->n, p->k);
}

double recorder_replay_us(void)
{
	size_t c_size = 0, a_size = 0, b_size = 0;
	for (size_t i = 0; i < recorder.count; i++) {
		const struct product *p = &recorder.products[i];
		c_size = larger(c_size, p->m * larger(p->n, p->k));
		a_size = larger(a_size, p->m * larger(p->n, p->k));
		b_size = larger(b_size, p->op == GEMM ? p->k * p->n : 0);
	}
	float *c = operand(c_size), *a = operand(a_size), *b = operand(b_size);
	struct err e = ERR_INIT;
	const double began = bench_now_us();
	for (size_t i = 0; i < recorder.count; i++) {
		const int rc = replay(&recorder.products[i], c, a, b);
		if (rc != 0)
			bench_need(err_set(&e, rc, "a product failed: %s", err_text(rc)), &e);
	}
	const double us = bench_now_us() - began;
	free(c);
	free(a);
	free(b);
	return us;
}

void recorder_print(double total_us)
{
	for (size_t op = 0; op < OPS; op++)
		if (recorder.calls[op] > 0)
			printf("  %-20s %8zu calls %9.1f ms %5.1f %%\n", op_names[op], recorder.calls[op],
			       1e-3 * recorder.us[op], 100 * recorder.us[op] / total_us);
	const double rest = total_us - recorder_all_us();
	printf("  %-20s %14s %9.1f ms %5.1f %%\n", "all else", "", 1e-3 * rest, 100 * rest / total_us);
}
