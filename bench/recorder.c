#include "bench/recorder.h"

#include "bench/bench.h"
#include "model/backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WEIGHTS_MAX 1024
#define TURN_FLOPS  20e9 /* of training between two turns of its products by themselves: a fifth of a second */

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
	const struct model_weight *weights[MODEL_TOGETHER_MAX];
	size_t weight_count, widths[MODEL_TOGETHER_MAX]; /* 0: a plain product */
	enum op op;
	bool accumulate, ta, tb, training, stepping;
	size_t m, n, k; /* n: of all weights */
};

static struct {
	const struct model_backend_ops *real;
	struct model_backend_ops ops;
	struct {
		const struct model_weight *weight;
		size_t out_size, in_size;
	} weights[WEIGHTS_MAX];
	size_t weight_count;
	struct product *products; /* that wait for their turn */
	size_t count, cap;
	double waiting_flops;
	float *a, *b, *c; /* operands */
	size_t a_size, b_size, c_size;
	size_t thread_count;
	double flops, replayed_us, paused_us;
	size_t calls[OPS];
	double us[OPS];
} recorder;

static void take_turn(void);

static double now_us(void)
{
	return bench_clock_us(recorder.thread_count);
}

/* Of an operation; before it the products that wait have their turn when there are enough. */
static double begin(void)
{
	if (recorder.waiting_flops >= TURN_FLOPS)
		take_turn();
	return now_us();
}

static void took(enum op op, double began)
{
	recorder.us[op] += now_us() - began;
	recorder.calls[op]++;
}

static void keep(const struct product *product)
{
	const double flops = 2.0 * (double)product->m * (double)product->n * (double)product->k;
	recorder.waiting_flops += flops;
	recorder.flops += flops;
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

static void weight_made(const struct model_weight *weight, size_t out_size, size_t in_size)
{
	if (recorder.weight_count == WEIGHTS_MAX) {
		fprintf(stderr, "bench: more than %d weights\n", WEIGHTS_MAX);
		exit(1);
	}
	recorder.weights[recorder.weight_count].weight = weight;
	recorder.weights[recorder.weight_count].out_size = out_size;
	recorder.weights[recorder.weight_count++].in_size = in_size;
}

static int weight_new(struct model_backend *b, enum model_type type, const void *data, size_t out_size, size_t in_size,
		      bool transposed_too, struct model_weight **weight)
{
	const int rc = recorder.real->weight_new(b, type, data, out_size, in_size, transposed_too, weight);
	if (rc == 0)
		weight_made(*weight, out_size, in_size);
	return rc;
}

static int weight_new_stored(struct model_backend *b, enum model_type type, const void *data, size_t out_size,
			     size_t in_size, struct model_weight **weight)
{
	const int rc = recorder.real->weight_new_stored(b, type, data, out_size, in_size, weight);
	if (rc == 0)
		weight_made(*weight, out_size, in_size);
	return rc;
}

/* Another weight may come to stand where it stood. */
static void weight_destroy(struct model_backend *b, struct model_weight **weight)
{
	size_t i = 0;
	while (i < recorder.weight_count && recorder.weights[i].weight != *weight)
		i++;
	if (*weight != NULL && i < recorder.weight_count)
		recorder.weights[i] = recorder.weights[--recorder.weight_count];
	recorder.real->weight_destroy(b, weight);
}

/* Its products can have their turn no later. */
static void destroy(struct model_backend *b)
{
	take_turn();
	recorder.real->destroy(b);
}

static struct product of_weights(struct model_backend *b, enum op op, const struct model_weight *const *weights,
				 size_t count, bool accumulate, size_t rows)
{
	struct product product = { .backend = b,
				   .weight_count = count,
				   .op = op,
				   .accumulate = accumulate,
				   .training = b->training,
				   .stepping = b->stepping,
				   .m = rows };
	for (size_t w = 0; w < count; w++) {
		size_t i = 0;
		while (recorder.weights[i].weight != weights[w])
			i++;
		product.weights[w] = weights[w];
		product.widths[w] = recorder.weights[i].out_size;
		product.n += recorder.weights[i].out_size;
		product.k = recorder.weights[i].in_size;
	}
	return product;
}

static int weight_forward(struct model_backend *b, float *y, const float *x, const struct model_weight *w,
			  bool accumulate, size_t rows)
{
	const struct product product = of_weights(b, FORWARD, &w, 1, accumulate, rows);
	const double began = begin();
	const int rc = recorder.real->weight_forward(b, y, x, w, accumulate, rows);
	took(FORWARD, began);
	keep(&product);
	return rc;
}

static int weights_forward(struct model_backend *b, float *const *y, const float *x,
			   const struct model_weight *const *w, size_t count, size_t rows)
{
	const struct product product = of_weights(b, FORWARD, w, count, false, rows);
	const double began = begin();
	const int rc = recorder.real->weights_forward(b, y, x, w, count, rows);
	took(FORWARD, began);
	keep(&product);
	return rc;
}

static int weight_backward(struct model_backend *b, float *dx, const float *dy, const struct model_weight *w,
			   bool accumulate, size_t rows)
{
	const struct product product = of_weights(b, BACKWARD, &w, 1, accumulate, rows);
	const double began = begin();
	const int rc = recorder.real->weight_backward(b, dx, dy, w, accumulate, rows);
	took(BACKWARD, began);
	keep(&product);
	return rc;
}

static int gemm(struct model_backend *b, float *c, const float *a, const float *bm, bool ta, bool tb, float alpha,
		float beta, size_t m, size_t n, size_t k)
{
	const struct product product = { .backend = b,
					 .op = GEMM,
					 .accumulate = beta != 0,
					 .ta = ta,
					 .tb = tb,
					 .training = b->training,
					 .stepping = b->stepping,
					 .m = m,
					 .n = n,
					 .k = k };
	const double began = begin();
	const int rc = recorder.real->gemm(b, c, a, bm, ta, tb, alpha, beta, m, n, k);
	took(GEMM, began);
	keep(&product);
	return rc;
}

static void rmsnorm(struct model_backend *b, float *y, const float *x, const float *g, float eps, size_t rows,
		    size_t width)
{
	const double began = begin();
	recorder.real->rmsnorm(b, y, x, g, eps, rows, width);
	took(NORM, began);
}

static void rmsnorm_backward(struct model_backend *b, float *dx, const float *dy, const float *x, const float *g,
			     float eps, size_t rows, size_t width)
{
	const double began = begin();
	recorder.real->rmsnorm_backward(b, dx, dy, x, g, eps, rows, width);
	took(NORM_BACK, began);
}

static void rope(struct model_backend *b, float *x, const int32_t *positions, const float *freq, bool interleaved,
		 bool inverse, size_t rows, size_t heads, size_t head_size)
{
	const double began = begin();
	recorder.real->rope(b, x, positions, freq, interleaved, inverse, rows, heads, head_size);
	took(ROPE, began);
}

static int attention(struct model_backend *b, float *out, const float *q, const float *const *keys,
		     const float *const *values, const struct model_segment *segments, size_t segment_count,
		     size_t heads, size_t kv_heads, size_t head_size, size_t window)
{
	const double began = begin();
	const int rc = recorder.real->attention(b, out, q, keys, values, segments, segment_count, heads, kv_heads,
						head_size, window);
	took(ATTENTION, began);
	return rc;
}

static int attention_backward(struct model_backend *b, float *dq, float *dk, float *dv, const float *dout,
			      const float *q, const float *k, const float *v, const struct model_segment *segments,
			      size_t segment_count, size_t heads, size_t kv_heads, size_t head_size, size_t window)
{
	const double began = begin();
	const int rc = recorder.real->attention_backward(b, dq, dk, dv, dout, q, k, v, segments, segment_count, heads,
							 kv_heads, head_size, window);
	took(ATTENTION_BACK, began);
	return rc;
}

static void silu_mul(struct model_backend *b, float *y, const float *gate, const float *up, size_t n)
{
	const double began = begin();
	recorder.real->silu_mul(b, y, gate, up, n);
	took(SILU, began);
}

static void silu_mul_backward(struct model_backend *b, float *dgate, float *dup, const float *dy, const float *gate,
			      const float *up, size_t n)
{
	const double began = begin();
	recorder.real->silu_mul_backward(b, dgate, dup, dy, gate, up, n);
	took(SILU_BACK, began);
}

static void add(struct model_backend *b, float *y, const float *x, size_t n)
{
	const double began = begin();
	recorder.real->add(b, y, x, n);
	took(ADD, began);
}

static void cross_entropy(struct model_backend *b, float *loss, int32_t *argmax, float *dlogits, const float *logits,
			  const int32_t *labels, const float *scale, size_t rows, size_t width)
{
	const double began = begin();
	recorder.real->softmax_cross_entropy(b, loss, argmax, dlogits, logits, labels, scale, rows, width);
	took(LOSS, began);
}

static void adam(struct model_backend *b, float *w, float *m, float *v, const float *grad, float rate, float beta1,
		 float beta2, float eps, uint64_t step, size_t n)
{
	const double began = begin();
	recorder.real->adam(b, w, m, v, grad, rate, beta1, beta2, eps, step, n);
	took(ADAM, began);
}

static void copy(struct model_backend *b, float *dst, const float *src, size_t n)
{
	const double began = begin();
	recorder.real->copy(b, dst, src, n);
	took(MOVE, began);
}

static void clear(struct model_backend *b, float *dst, size_t n)
{
	const double began = begin();
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
		recorder.ops.destroy = destroy;
		recorder.ops.weight_new = weight_new;
		recorder.ops.weight_destroy = weight_destroy;
		recorder.ops.weight_new_stored = weight_new_stored;
		recorder.ops.weight_forward = weight_forward;
		recorder.ops.weights_forward = recorder.real->weights_forward == NULL ? NULL : weights_forward;
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

void recorder_clear(size_t thread_count)
{
	recorder.count = 0;
	recorder.thread_count = thread_count;
	recorder.waiting_flops = recorder.flops = recorder.replayed_us = recorder.paused_us = 0;
	memset(recorder.us, 0, sizeof(recorder.us));
	memset(recorder.calls, 0, sizeof(recorder.calls));
}

double recorder_flops(void)
{
	return recorder.flops;
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

static void operand(float **values, size_t *size, size_t wanted)
{
	if (wanted <= *size)
		return;
	free(*values);
	*values = bench_memory(wanted, sizeof(**values));
	*size = wanted;
	for (size_t i = 0; i < wanted; i++)
		(*values)[i] = (float)(i * 2654435761u % 1024) / 1024 - 0.5f;
}

static int replay(const struct product *p)
{
	const struct model_backend_ops *ops = recorder.real;
	float *y[MODEL_TOGETHER_MAX], *at = recorder.c;
	for (size_t i = 0; i < p->weight_count; at += p->m * p->widths[i], i++)
		y[i] = at;
	if (p->op == BACKWARD)
		return ops->weight_backward(p->backend, recorder.c, recorder.a, p->weights[0], p->accumulate, p->m);
	if (p->op == FORWARD && p->weight_count > 1)
		return ops->weights_forward(p->backend, y, recorder.a, p->weights, p->weight_count, p->m);
	if (p->op == FORWARD)
		return ops->weight_forward(p->backend, recorder.c, recorder.a, p->weights[0], p->accumulate, p->m);
	return ops->gemm(p->backend, recorder.c, recorder.a, recorder.b, p->ta, p->tb, 1, p->accumulate ? 1 : 0, p->m,
			 p->n, p->k);
}

static void replay_all(void)
{
	struct err e = ERR_INIT;
	for (size_t i = 0; i < recorder.count; i++) {
		const struct product *p = &recorder.products[i];
		const bool training = p->backend->training, stepping = p->backend->stepping;
		p->backend->training = p->training;
		p->backend->stepping = p->stepping;
		const int rc = replay(p);
		p->backend->training = training;
		p->backend->stepping = stepping;
		if (rc != 0)
			bench_need(err_set(&e, rc, "a product failed: %s", err_text(rc)), &e);
	}
}

/* The same operations, weights and shapes, with operands that stay where they are from product to product. */
static void take_turn(void)
{
	const double paused = now_us();
	for (size_t i = 0; i < recorder.count; i++) {
		const struct product *p = &recorder.products[i];
		operand(&recorder.c, &recorder.c_size, p->m * larger(p->n, p->k));
		operand(&recorder.a, &recorder.a_size, p->m * larger(p->n, p->k));
		operand(&recorder.b, &recorder.b_size, p->op == GEMM ? p->k * p->n : 0);
	}
	const double began = now_us();
	replay_all();
	recorder.count = 0;
	recorder.waiting_flops = 0;
	const double ended = now_us();
	recorder.replayed_us += ended - began;
	recorder.paused_us += ended - paused;
}

double recorder_replayed_us(void)
{
	take_turn();
	return recorder.replayed_us;
}

double recorder_paused_us(void)
{
	return recorder.paused_us;
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
