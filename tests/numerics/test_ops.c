/* Every operation of every backend that this machine has against `reference`, and the gradients of `reference` by
 * finite differences. Tolerances are relative to the largest value of the expected array: ROUNDING   element-wise
 * operations: a few units in the last place of float32, the exponential's polynomial included SUMMING    sums of up to
 * some thousand products in another order, in float32 instead of double DIFFERENCE central differences in float32:
 * step² and rounding/step meet at about 1e-2 of the largest entry */
#include "base/rng.h"
#include "model/backend.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ROUNDING   1e-5
#define SUMMING    5e-5
#define DIFFERENCE 1e-2
#define EPS        1e-5f

static struct model_backend *oracle;
static struct rng rng;

static float *numbers(size_t count, float spread)
{
	float *v = calloc(count + 1, sizeof(*v));
	assert_non_null(v);
	for (size_t i = 0; i < count; i++)
		v[i] = spread * rng_normal(&rng);
	return v;
}

static float *same(const float *v, size_t count)
{
	float *copy = calloc(count + 1, sizeof(*copy));
	assert_non_null(copy);
	memcpy(copy, v, count * sizeof(*v));
	return copy;
}

/* Values may be left over in `got` beyond count: that they stay is checked by the guard element. */
static void check_near(const char *what, const float *got, const float *want, size_t count, double tolerance)
{
	double largest = 1e-30, worst = 0;
	for (size_t i = 0; i < count; i++) {
		assert_true(isfinite(got[i]));
		largest = fmax(largest, fabs((double)want[i]));
		worst = fmax(worst, fabs((double)got[i] - (double)want[i]));
	}
	if (worst > tolerance * largest)
		fail_msg("%s: off by %.3e of the largest value, %.1e allowed", what, worst / largest, tolerance);
	assert_true(got[count] == 0); /* the guard of numbers() and same() */
}

/* --- Rows do not depend on what they were batched with */

static void check_rows_apart(struct model_backend *b, size_t out, size_t in, bool accumulate)
{
	enum { ROWS = 320 };
	float *w = numbers(out * in, 0.05f), *x = numbers(ROWS * in, 1), *y = numbers(ROWS * out, 1);
	float *all = same(y, ROWS * out);
	struct model_weight *weight = NULL;
	assert_int_equal(b->ops->weight_new(b, w, out, in, false, &weight), 0);
	assert_int_equal(b->ops->weight_forward(b, all, x, weight, accumulate, ROWS), 0);
	for (size_t rows = 16; rows <= ROWS; rows += rows < 40 ? 1 : 7) {
		const size_t first = (ROWS - rows) / 3;
		float *some = same(y + first * out, rows * out);
		assert_int_equal(b->ops->weight_forward(b, some, x + first * in, weight, accumulate, rows), 0);
		if (memcmp(some, all + first * out, rows * out * sizeof(*some)) != 0)
			fail_msg("%s: weight %zu x %zu, rows %zu to %zu%s", b->ops->describe(b), out, in, first,
				 first + rows, accumulate ? ", added" : "");
		assert_true(some[rows * out] == 0);
		free(some);
	}
	b->ops->weight_destroy(b, &weight);
	free(w);
	free(x);
	free(y);
	free(all);
}

static void test_rows_apart(void **state)
{
	(void)state;
	for (size_t threads = 1; threads <= 3; threads++) {
		struct model_backend *b = NULL;
		struct err e = ERR_INIT;
		assert_int_equal(model_backend_new("cpu", threads, &b, &e), 0);
		check_rows_apart(b, 24, 40, false);
		check_rows_apart(b, 24, 40, true);
		check_rows_apart(b, 192, 576, false);
		check_rows_apart(b, 96, 100, true);
		model_backend_destroy(&b);
	}
}

/* --- Against the oracle */

static void check_weight(struct model_backend *b, size_t rows, size_t out, size_t in, bool accumulate)
{
	float *w = numbers(out * in, 0.05f), *x = numbers(rows * in, 1), *dy = numbers(rows * out, 1);
	float *y = numbers(rows * out, 1), *dx = numbers(rows * in, 1);
	float *y_want = same(y, rows * out), *dx_want = same(dx, rows * in);
	struct model_weight *weight = NULL, *weight_want = NULL;
	char what[96];
	snprintf(what, sizeof(what), "weight %zu x %zu, %zu rows%s", out, in, rows, accumulate ? ", added" : "");
	assert_int_equal(b->ops->weight_new(b, w, out, in, true, &weight), 0);
	assert_int_equal(oracle->ops->weight_new(oracle, w, out, in, true, &weight_want), 0);
	memset(w, 0, out * in * sizeof(*w)); /* it was copied */
	assert_int_equal(b->ops->weight_forward(b, y, x, weight, accumulate, rows), 0);
	assert_int_equal(oracle->ops->weight_forward(oracle, y_want, x, weight_want, accumulate, rows), 0);
	check_near(what, y, y_want, rows * out, SUMMING);
	assert_int_equal(b->ops->weight_backward(b, dx, dy, weight, accumulate, rows), 0);
	assert_int_equal(oracle->ops->weight_backward(oracle, dx_want, dy, weight_want, accumulate, rows), 0);
	check_near(what, dx, dx_want, rows * in, SUMMING);
	float *again = same(y, rows * out);
	if (!accumulate) {
		assert_int_equal(b->ops->weight_forward(b, again, x, weight, false, rows), 0);
		assert_memory_equal(again, y, rows * out * sizeof(*y)); /* same bits every time */
	}
	b->ops->weight_destroy(b, &weight);
	oracle->ops->weight_destroy(oracle, &weight_want);
	assert_null(weight);
	float *all[] = { w, x, dy, y, dx, y_want, dx_want, again };
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		free(all[i]);
}

static void check_weights(struct model_backend *b)
{
	static const size_t shapes[][2] = { { 1, 1 },     { 3, 5 },      { 17, 33 },  { 64, 64 },
					    { 192, 576 }, { 100, 1537 }, { 1001, 96 } };
	static const size_t rows[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 33, 170 };
	for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++) {
		for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
			check_weight(b, rows[r], shapes[s][0], shapes[s][1], false);
			check_weight(b, rows[r], shapes[s][0], shapes[s][1], true);
		}
	}
}

static void check_gemm(struct model_backend *b, size_t m, size_t n, size_t k)
{
	for (int form = 0; form < 8; form++) {
		bool ta = (form & 1) != 0, tb = (form & 2) != 0;
		float beta = (form & 4) != 0 ? 0.5f : 0, *a = numbers(m * k, 1), *bm = numbers(k * n, 1),
		      *c = numbers(m * n, 1);
		float *want = same(c, m * n);
		if (beta == 0)
			c[0] = NAN; /* must not be read */
		assert_int_equal(b->ops->gemm(b, c, a, bm, ta, tb, 0.7f, beta, m, n, k), 0);
		assert_int_equal(oracle->ops->gemm(oracle, want, a, bm, ta, tb, 0.7f, beta, m, n, k), 0);
		check_near("gemm", c, want, m * n, SUMMING);
		free(a);
		free(bm);
		free(c);
		free(want);
	}
}

static void check_rmsnorm(struct model_backend *b, size_t rows, size_t width)
{
	size_t n = rows * width;
	float *x = numbers(n, 2), *g = numbers(width, 1), *dy = numbers(n, 1), *y = numbers(n, 1), *dx = numbers(n, 1);
	float *y_want = same(y, n), *dx_want = same(dx, n);
	b->ops->rmsnorm(b, y, x, g, EPS, rows, width);
	oracle->ops->rmsnorm(oracle, y_want, x, g, EPS, rows, width);
	check_near("rmsnorm", y, y_want, n, ROUNDING);
	b->ops->rmsnorm_backward(b, dx, dy, x, g, EPS, rows, width);
	oracle->ops->rmsnorm_backward(oracle, dx_want, dy, x, g, EPS, rows, width);
	check_near("rmsnorm_backward", dx, dx_want, n, ROUNDING);
	float *all[] = { x, g, dy, y, dx, y_want, dx_want };
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		free(all[i]);
}

static void check_rope(struct model_backend *b, size_t rows, size_t heads, size_t head_size)
{
	for (int form = 0; form < 4; form++) {
		bool interleaved = (form & 1) != 0, inverse = (form & 2) != 0;
		size_t n = rows * heads * head_size;
		float *x = numbers(n, 1), *want = same(x, n), *freq = numbers(head_size / 2, 1);
		int32_t positions[64];
		for (size_t r = 0; r < rows; r++)
			positions[r] = (int32_t)(r * 37 % 2000);
		for (size_t j = 0; j < head_size / 2; j++)
			freq[j] = powf(10000, -2 * (float)j / (float)head_size);
		b->ops->rope(b, x, positions, freq, interleaved, inverse, rows, heads, head_size);
		oracle->ops->rope(oracle, want, positions, freq, interleaved, inverse, rows, heads, head_size);
		check_near("rope", x, want, n, SUMMING); /* sines of angles in the thousands */
		free(x);
		free(want);
		free(freq);
	}
}

static const struct model_segment later[] = { { 0, 7, 1 }, { 0, 0, 5 }, { 0, 30, 9 } };
static const struct model_segment fresh[] = { { 0, 0, 6 }, { 0, 0, 1 }, { 0, 0, 23 } };

static void check_attention(struct model_backend *b, size_t heads, size_t kv_heads, size_t head_size, size_t window)
{
	const float *keys[3], *values[3];
	size_t q_count = 15 * heads * head_size;
	float *q = numbers(q_count, 1), *out = numbers(q_count, 1), *want = same(out, q_count), *memory[6];
	for (size_t s = 0; s < 3; s++) {
		size_t count = (later[s].position + later[s].row_count) * kv_heads * head_size;
		keys[s] = memory[2 * s] = numbers(count, 1);
		values[s] = memory[2 * s + 1] = numbers(count, 1);
	}
	assert_int_equal(b->ops->attention(b, out, q, keys, values, later, 3, heads, kv_heads, head_size, window), 0);
	assert_int_equal(
		oracle->ops->attention(oracle, want, q, keys, values, later, 3, heads, kv_heads, head_size, window), 0);
	check_near("attention", out, want, q_count, SUMMING);
	for (size_t i = 0; i < 6; i++)
		free(memory[i]);
	free(q);
	free(out);
	free(want);
}

static void check_attention_backward(struct model_backend *b, size_t heads, size_t kv_heads, size_t head_size,
				     size_t window)
{
	size_t nq = 30 * heads * head_size, nk = 30 * kv_heads * head_size;
	float *q = numbers(nq, 1), *k = numbers(nk, 1), *v = numbers(nk, 1), *dout = numbers(nq, 1);
	float *dq = numbers(nq, 1), *dk = numbers(nk, 1), *dv = numbers(nk, 1);
	float *dq_want = same(dq, nq), *dk_want = same(dk, nk), *dv_want = same(dv, nk);
	assert_int_equal(
		b->ops->attention_backward(b, dq, dk, dv, dout, q, k, v, fresh, 3, heads, kv_heads, head_size, window),
		0);
	assert_int_equal(oracle->ops->attention_backward(oracle, dq_want, dk_want, dv_want, dout, q, k, v, fresh, 3,
							 heads, kv_heads, head_size, window),
			 0);
	check_near("attention_backward dq", dq, dq_want, nq, SUMMING);
	check_near("attention_backward dk", dk, dk_want, nk, SUMMING);
	check_near("attention_backward dv", dv, dv_want, nk, SUMMING);
	float *all[] = { q, k, v, dout, dq, dk, dv, dq_want, dk_want, dv_want };
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		free(all[i]);
}

static void check_elements(struct model_backend *b, size_t n)
{
	float *gate = numbers(n, 4), *up = numbers(n, 1), *dy = numbers(n, 1), *y = numbers(n, 1), *y2 = same(y, n);
	float *dgate = numbers(n, 1), *dup = numbers(n, 1), *dgate_want = same(dgate, n), *dup_want = same(dup, n),
	      *aliased = same(gate, n);
	b->ops->add(b, y, up, n);
	oracle->ops->add(oracle, y2, up, n);
	check_near("add", y, y2, n, 0);
	b->ops->silu_mul(b, y, gate, up, n);
	oracle->ops->silu_mul(oracle, y2, gate, up, n);
	check_near("silu_mul", y, y2, n, ROUNDING);
	b->ops->silu_mul(b, aliased, aliased, up, n);
	assert_memory_equal(aliased, y, n * sizeof(*y));
	b->ops->silu_mul_backward(b, dgate, dup, dy, gate, up, n);
	oracle->ops->silu_mul_backward(oracle, dgate_want, dup_want, dy, gate, up, n);
	check_near("silu_mul_backward gate", dgate, dgate_want, n, ROUNDING);
	check_near("silu_mul_backward up", dup, dup_want, n, ROUNDING);
	b->ops->copy(b, y, gate, n);
	assert_memory_equal(y, gate, n * sizeof(*y));
	b->ops->clear(b, y, n);
	for (size_t i = 0; i < n; i++)
		assert_true(y[i] == 0);
	float *all[] = { gate, up, dy, y, y2, dgate, dup, dgate_want, dup_want, aliased };
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		free(all[i]);
}

static void check_cross_entropy(struct model_backend *b, size_t rows, size_t width)
{
	size_t n = rows * width;
	float *logits = numbers(n, 5), *gradient = numbers(n, 1), *want = same(gradient, n), *scale = numbers(rows, 1);
	float *loss = numbers(rows, 1), *loss_want = same(loss, rows);
	int32_t labels[40], argmax[40], argmax_want[40];
	for (size_t r = 0; r < rows; r++)
		labels[r] = (int32_t)rng_below(&rng, width);
	if (width > 2) /* equal largest logits: the lowest index is meant */
		logits[width - 1] = logits[1] = 40;
	b->ops->softmax_cross_entropy(b, loss, argmax, NULL, logits, labels, NULL, rows, width);
	oracle->ops->softmax_cross_entropy(oracle, loss_want, argmax_want, want, logits, labels, scale, rows, width);
	check_near("cross entropy, loss only", loss, loss_want, rows, ROUNDING);
	b->ops->softmax_cross_entropy(b, loss, argmax, gradient, logits, labels, scale, rows, width);
	check_near("cross entropy, loss", loss, loss_want, rows, ROUNDING);
	check_near("cross entropy, gradient", gradient, want, n, SUMMING);
	assert_memory_equal(argmax, argmax_want, rows * sizeof(*argmax));
	b->ops->softmax_cross_entropy(b, loss, argmax, logits, logits, labels, scale, rows, width); /* in place */
	assert_memory_equal(logits, gradient, n * sizeof(*logits));
	float *all[] = { logits, gradient, want, scale, loss, loss_want };
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		free(all[i]);
}

static void check_adam(struct model_backend *b, size_t n)
{
	float *w = numbers(n, 1), *m = calloc(n + 1, sizeof(float)), *v = calloc(n + 1, sizeof(float));
	float *w2 = same(w, n), *m2 = calloc(n + 1, sizeof(float)), *v2 = calloc(n + 1, sizeof(float));
	assert_true(m != NULL && v != NULL && m2 != NULL && v2 != NULL);
	for (uint64_t step = 1; step <= 5; step++) {
		float *gradient = numbers(n, 1);
		b->ops->adam(b, w, m, v, gradient, 2e-2f, 0.9f, 0.999f, 1e-8f, step, n);
		oracle->ops->adam(oracle, w2, m2, v2, gradient, 2e-2f, 0.9f, 0.999f, 1e-8f, step, n);
		free(gradient);
	}
	check_near("adam w", w, w2, n, ROUNDING);
	check_near("adam m", m, m2, n, ROUNDING);
	check_near("adam v", v, v2, n, SUMMING); /* 1 − 0.999 in float32 */
	float *all[] = { w, m, v, w2, m2, v2 };
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		free(all[i]);
}

static void check_backend(struct model_backend *b)
{
	print_message("%s\n", b->ops->describe(b));
	rng_init(&rng, 7);
	check_weights(b);
	check_gemm(b, 1, 1, 1);
	check_gemm(b, 7, 33, 5);
	check_gemm(b, 100, 64, 130);
	for (size_t width = 1; width < 100; width += 14)
		check_rmsnorm(b, 1 + width % 5, width);
	check_rmsnorm(b, 170, 576);
	check_rope(b, 5, 3, 2);
	check_rope(b, 33, 9, 64);
	check_rope(b, 8, 2, 30);
	for (size_t window = 0; window < 8; window += 3) {
		check_attention(b, 9, 3, 64, window);
		check_attention(b, 2, 2, 10, window);
		check_attention_backward(b, 9, 3, 64, window);
		check_attention_backward(b, 4, 1, 22, window);
	}
	for (size_t n = 1; n < 10000; n = 3 * n + 1)
		check_elements(b, n);
	check_cross_entropy(b, 1, 1);
	check_cross_entropy(b, 5, 37);
	check_cross_entropy(b, 40, 4099);
	check_adam(b, 1);
	check_adam(b, 5003);
}

static void check_named(const char *name, size_t thread_count)
{
	struct err e = ERR_INIT;
	struct model_backend *b = NULL;
	int rc = model_backend_new(name, thread_count, &b, &e);
	if (rc != 0) {
		assert_int_equal(rc, ERR_UNSUPPORTED);
		print_message("SKIPPED, NOT TESTED: %s: %s\n", name, e.text);
		skip();
	}
	check_backend(b);
	model_backend_destroy(&b);
}

static void test_cpu(void **state)
{
	(void)state;
	check_named("cpu", 1);
}

static void test_cpu_three_threads(void **state)
{
	(void)state;
	check_named("cpu", 3);
}

static void test_amx(void **state)
{
	(void)state;
	check_named("cpu:amx", 2);
}

static void test_avx512(void **state)
{
	(void)state;
	check_named("cpu:avx512", 2);
}

static void test_avx2(void **state)
{
	(void)state;
	check_named("cpu:avx2", 1);
}

static void test_portable(void **state)
{
	(void)state;
	check_named("cpu:portable", 1);
}

static void test_cuda(void **state)
{
	(void)state;
	check_named("cuda", 1);
}

static void test_unknown_backend(void **state)
{
	struct err e = ERR_INIT;
	struct model_backend *b = NULL;
	(void)state;
	assert_int_equal(model_backend_new("abacus", 1, &b, &e), ERR_UNSUPPORTED);
	assert_int_equal(model_backend_new("cpu:abacus", 1, &b, &e), ERR_UNSUPPORTED);
	assert_int_equal(model_backend_new("cpu", 1 << 20, &b, &e), ERR_LIMIT);
	assert_null(b);
}

/* --- Gradients of the oracle: ∂(Σ out·dout)/∂x_i by central differences against what its backward says. */

struct probe {
	size_t q_count, k_count, width, rows;
	float *q, *k, *v, *g, *out, *dout;
};

static void check_difference(const char *what, double (*f)(struct probe *), struct probe *p, float *x,
			     const float *gradient, size_t n)
{
	float largest = 0;
	for (size_t i = 0; i < n; i++)
		largest = fmaxf(largest, fabsf(gradient[i]));
	for (size_t i = 0; i < n; i++) {
		float before = x[i], step = 1e-2f;
		x[i] = before + step;
		double above = f(p);
		x[i] = before - step;
		double slope = (above - f(p)) / (2 * (double)step);
		x[i] = before;
		if (fabs(slope - (double)gradient[i]) > DIFFERENCE * (double)largest)
			fail_msg("%s: entry %zu: differences say %g, backward says %g", what, i, slope,
				 (double)gradient[i]);
	}
}

static double product(const struct probe *p, size_t n)
{
	double sum = 0;
	for (size_t i = 0; i < n; i++)
		sum += (double)p->out[i] * (double)p->dout[i];
	return sum;
}

static double rmsnorm_objective(struct probe *p)
{
	oracle->ops->rmsnorm(oracle, p->out, p->q, p->g, EPS, p->rows, p->width);
	return product(p, p->rows * p->width);
}

static double silu_objective(struct probe *p)
{
	oracle->ops->silu_mul(oracle, p->out, p->q, p->k, p->q_count);
	return product(p, p->q_count);
}

static const struct model_segment two[] = { { 0, 0, 4 }, { 0, 0, 3 } };

static double attention_objective(struct probe *p)
{
	const float *keys[2] = { p->k, p->k + 4 * 2 * 6 }, *values[2] = { p->v, p->v + 4 * 2 * 6 };
	assert_int_equal(oracle->ops->attention(oracle, p->out, p->q, keys, values, two, 2, 4, 2, 6, p->width), 0);
	return product(p, p->q_count);
}

static void probe_make(struct probe *p, size_t q_count, size_t k_count)
{
	rng_init(&rng, 11);
	*p = (struct probe){ .q_count = q_count,
			     .k_count = k_count,
			     .q = numbers(q_count, 1),
			     .k = numbers(k_count, 1),
			     .v = numbers(k_count, 1),
			     .g = numbers(q_count, 1),
			     .out = numbers(q_count, 1),
			     .dout = numbers(q_count, 1) };
}

static void probe_free(struct probe *p)
{
	float *all[] = { p->q, p->k, p->v, p->g, p->out, p->dout };
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		free(all[i]);
}

static void test_difference_rmsnorm(void **state)
{
	struct probe p;
	(void)state;
	probe_make(&p, 3 * 17, 1);
	p.rows = 3;
	p.width = 17;
	float *dx = calloc(3 * 17, sizeof(*dx));
	assert_non_null(dx);
	oracle->ops->rmsnorm_backward(oracle, dx, p.dout, p.q, p.g, EPS, 3, 17);
	check_difference("rmsnorm", rmsnorm_objective, &p, p.q, dx, 3 * 17);
	free(dx);
	probe_free(&p);
}

static void test_difference_silu(void **state)
{
	struct probe p;
	(void)state;
	probe_make(&p, 40, 40);
	float *dgate = numbers(40, 1), *dup = numbers(40, 1);
	oracle->ops->silu_mul_backward(oracle, dgate, dup, p.dout, p.q, p.k, 40);
	check_difference("silu gate", silu_objective, &p, p.q, dgate, 40);
	check_difference("silu up", silu_objective, &p, p.k, dup, 40);
	free(dgate);
	free(dup);
	probe_free(&p);
}

static void test_difference_attention(void **state)
{
	struct probe p;
	(void)state;
	for (size_t window = 0; window <= 2; window += 2) {
		size_t nq = 7 * 4 * 6, nk = 7 * 2 * 6;
		probe_make(&p, nq, nk);
		p.width = window;
		float *dq = numbers(nq, 1), *dk = numbers(nk, 1), *dv = numbers(nk, 1);
		assert_int_equal(oracle->ops->attention_backward(oracle, dq, dk, dv, p.dout, p.q, p.k, p.v, two, 2, 4,
								 2, 6, window),
				 0);
		check_difference("attention q", attention_objective, &p, p.q, dq, nq);
		check_difference("attention k", attention_objective, &p, p.k, dk, nk);
		check_difference("attention v", attention_objective, &p, p.v, dv, nk);
		free(dq);
		free(dk);
		free(dv);
		probe_free(&p);
	}
}

static double entropy_objective(struct probe *p)
{
	static const int32_t labels[3] = { 4, 0, 10 };
	float loss[3];
	int32_t argmax[3];
	oracle->ops->softmax_cross_entropy(oracle, loss, argmax, NULL, p->q, labels, NULL, 3, 11);
	return (double)loss[0] * (double)p->g[0] + (double)loss[1] * (double)p->g[1] +
	       (double)loss[2] * (double)p->g[2];
}

static void test_difference_cross_entropy(void **state)
{
	static const int32_t labels[3] = { 4, 0, 10 };
	struct probe p;
	float loss[3], gradient[33];
	int32_t argmax[3];
	(void)state;
	probe_make(&p, 33, 1);
	oracle->ops->softmax_cross_entropy(oracle, loss, argmax, gradient, p.q, labels, p.g, 3, 11);
	check_difference("cross entropy", entropy_objective, &p, p.q, gradient, 33);
	probe_free(&p);
}

/* A rotation's backward is its inverse: forward and inverse give the input back. */
static void test_rope_inverse(void **state)
{
	static const int32_t positions[2] = { 3, 100 };
	static const float freq[4] = { 1, 0.5f, 0.1f, 0.01f };
	(void)state;
	rng_init(&rng, 3);
	float *x = numbers(2 * 3 * 8, 1), *want = same(x, 2 * 3 * 8);
	for (int interleaved = 0; interleaved < 2; interleaved++) {
		oracle->ops->rope(oracle, x, positions, freq, interleaved != 0, false, 2, 3, 8);
		assert_true(fabsf(x[0] - want[0]) > 1e-3f);
		oracle->ops->rope(oracle, x, positions, freq, interleaved != 0, true, 2, 3, 8);
		check_near("rope back", x, want, 2 * 3 * 8, ROUNDING);
	}
	free(x);
	free(want);
}

static int set_up(void **state)
{
	struct err e = ERR_INIT;
	(void)state;
	return model_backend_new("reference", 1, &oracle, &e);
}

static int tear_down(void **state)
{
	(void)state;
	model_backend_destroy(&oracle);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_difference_rmsnorm),
		cmocka_unit_test(test_difference_silu),
		cmocka_unit_test(test_difference_attention),
		cmocka_unit_test(test_difference_cross_entropy),
		cmocka_unit_test(test_rope_inverse),
		cmocka_unit_test(test_unknown_backend),
		cmocka_unit_test(test_rows_apart),
		cmocka_unit_test(test_cpu),
		cmocka_unit_test(test_cpu_three_threads),
		cmocka_unit_test(test_amx),
		cmocka_unit_test(test_avx512),
		cmocka_unit_test(test_avx2),
		cmocka_unit_test(test_portable),
		cmocka_unit_test(test_cuda),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
