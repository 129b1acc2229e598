/* Every operation of every backend that this machine has against `reference`. */
#include "tests/numerics/ops_fixture.h"

#include "model/packed.h"
#include "model/quant.h"
#include "tests/lib/quantise.h"

#define SUMMING 5e-5 /* sums of up to some thousand products in another order, in float32 instead of double */
#define BF16    1e-2 /* of factors with 8 bits, a few alone */
#define EPS     1e-5f

/* --- Rows do not depend on what they were batched with */

static void check_rows_apart(struct model_backend *b, size_t out, size_t in, bool accumulate)
{
	enum { ROWS = 320 };
	const size_t least = model__packed_ready() && strstr(b->ops->describe(b), "amx") == NULL ? 1 : 16;
	float *w = numbers(out * in, 0.05f), *x = numbers(ROWS * in, 1), *y = numbers(ROWS * out, 1);
	float *all = same(y, ROWS * out);
	struct model_weight *weight = NULL;
	assert_int_equal(b->ops->weight_new(b, MODEL_F32, w, out, in, false, &weight), 0);
	assert_int_equal(b->ops->weight_forward(b, all, x, weight, accumulate, ROWS), 0);
	for (size_t rows = least; rows <= ROWS; rows += rows < 40 ? 1 : 7) {
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
		check_rows_apart(b, 32, 8192, false);
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
	assert_int_equal(b->ops->weight_new(b, MODEL_F32, w, out, in, true, &weight), 0);
	assert_int_equal(oracle->ops->weight_new(oracle, MODEL_F32, w, out, in, true, &weight_want), 0);
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

/* Weights as the file stores them: the oracle rounds the same rows to the same integers, so only the order of the sums
 * in float32 differs. */
static void check_stored(struct model_backend *b, enum model_type type, size_t rows, size_t out, size_t in)
{
	float *w = numbers(out * in, 0.05f), *x = numbers(rows * in, 1), *y = numbers(rows * out, 1);
	float *want = same(y, rows * out), *alone = same(y, rows * out);
	uint8_t *file = malloc(quantise_bytes(type, out * in));
	struct model_weight *weight = NULL, *weight_want = NULL;
	assert_non_null(file);
	quantise(type, w, out * in, file);
	assert_int_equal(b->ops->weight_new_stored(b, type, file, out, in, &weight), 0);
	assert_int_equal(oracle->ops->weight_new_stored(oracle, type, file, out, in, &weight_want), 0);
	memset(file, 0, quantise_bytes(type, out * in)); /* it was copied */
	for (size_t r = 0; r < rows; r++)
		assert_int_equal(b->ops->weight_forward(b, alone + r * out, x + r * in, weight, true, 1), 0);
	b->stepping = true; /* and on the team's threads */
	assert_int_equal(b->ops->weight_forward(b, y, x, weight, true, rows), 0);
	b->stepping = false;
	assert_int_equal(oracle->ops->weight_forward(oracle, want, x, weight_want, true, rows), 0);
	assert_memory_equal(alone, y, rows * out * sizeof(*y));
	check_near("weight as stored", y, want, rows * out, SUMMING);
	assert_int_equal(b->ops->weight_backward(b, x, y, weight, false, rows), ERR_INVALID);
	b->ops->weight_destroy(b, &weight);
	oracle->ops->weight_destroy(oracle, &weight_want);
	float *all[] = { w, x, y, want, alone };
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		free(all[i]);
	free(file);
}

/* Of two types in one call, which is as one call each. */
static void check_stored_together(struct model_backend *b, size_t rows)
{
	enum { IN = 576, OUT0 = 192, OUT1 = 40 };
	float *w = numbers((size_t)IN * OUT0, 0.05f), *x = numbers(rows * IN, 1);
	float *y[2] = { numbers(rows * OUT0, 1), numbers(rows * OUT1, 1) },
	      *want[2] = { numbers(rows * OUT0, 1), numbers(rows * OUT1, 1) };
	uint8_t *file = malloc(sizeof(float) * IN * OUT0);
	struct model_weight *weights[2];
	assert_non_null(file);
	quantise(MODEL_Q4_1, w, (size_t)IN * OUT0, file);
	assert_int_equal(b->ops->weight_new_stored(b, MODEL_Q4_1, file, OUT0, IN, &weights[0]), 0);
	quantise(MODEL_BF16, w, (size_t)IN * OUT1, file);
	assert_int_equal(b->ops->weight_new_stored(b, MODEL_BF16, file, OUT1, IN, &weights[1]), 0);
	assert_int_equal(b->ops->weights_forward(b, y, x, (const struct model_weight *const *)weights, 2, rows), 0);
	for (size_t i = 0; i < 2; i++) {
		const size_t out = i == 0 ? OUT0 : OUT1;
		assert_int_equal(b->ops->weight_forward(b, want[i], x, weights[i], false, rows), 0);
		assert_memory_equal(y[i], want[i], rows * out * sizeof(float));
		b->ops->weight_destroy(b, &weights[i]);
		free(y[i]);
		free(want[i]);
	}
	assert_int_equal(b->ops->weight_new_stored(b, MODEL_Q4_1, file, 8, 33, &weights[0]), ERR_UNSUPPORTED);
	assert_int_equal(b->ops->weight_new_stored(b, MODEL_F16, file, 8, 32, &weights[0]), ERR_UNSUPPORTED);
	free(w);
	free(x);
	free(file);
}

static void check_all_stored(struct model_backend *b)
{
	static const enum model_type types[] = { MODEL_Q4_1, MODEL_Q8_0, MODEL_BF16 };
	static const size_t rows[] = { 1, 2, 5, 16, 33 };
	if (b->ops->weight_new_stored == NULL)
		return;
	for (size_t t = 0; t < 3; t++) {
		for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
			check_stored(b, types[t], rows[r], 1, 32);
			check_stored(b, types[t], rows[r], 100, 576);
			check_stored(b, types[t], rows[r], 192, 1536);
		}
	}
	check_stored_together(b, 1);
	check_stored_together(b, 9);
}

/* A side memory and attention in a step: the same numbers by other threads. */
static void check_step(struct model_backend *b, size_t rows)
{
	enum { OUT = 192, IN = 512, HEADS = 6, KV = 2, SIZE = 64, KEYS = 40 };
	float *x = numbers(rows * IN, 1), *d = numbers((size_t)OUT * IN, 1), *y = numbers(rows * OUT, 1),
	      *y_want = same(y, rows * OUT);
	float *q = numbers(rows * HEADS * SIZE, 1), *out = numbers(rows * HEADS * SIZE, 1),
	      *out_want = same(out, rows * HEADS * SIZE), *keys = numbers((size_t)KEYS * KV * SIZE, 1),
	      *gate = numbers(rows * IN, 2), *up = numbers(rows * IN, 1), *silu = numbers(rows * IN, 1),
	      *silu_want = same(silu, rows * IN);
	struct model_segment segments[33];
	const float *at[33];
	for (size_t r = 0; r < rows; r++) {
		segments[r] = (struct model_segment){ 0, r % KEYS, 1 };
		at[r] = keys;
	}
	b->stepping = true;
	float *alone = same(y, rows * OUT);
	assert_int_equal(b->ops->gemm(b, y, x, d, false, true, 1, 1, rows, OUT, IN), 0);
	for (size_t r = 0; r < rows; r++)
		assert_int_equal(b->ops->gemm(b, alone + r * OUT, x + r * IN, d, false, true, 1, 1, 1, OUT, IN), 0);
	if (b->ops->weight_new_stored != NULL) /* else there are no steps */
		assert_memory_equal(alone, y, rows * OUT * sizeof(*y));
	free(alone);
	assert_int_equal(b->ops->attention(b, out, q, at, at, segments, rows, HEADS, KV, SIZE, 0), 0);
	b->ops->silu_mul(b, silu, gate, up, rows * IN);
	b->stepping = false;
	assert_int_equal(oracle->ops->gemm(oracle, y_want, x, d, false, true, 1, 1, rows, OUT, IN), 0);
	assert_int_equal(oracle->ops->attention(oracle, out_want, q, at, at, segments, rows, HEADS, KV, SIZE, 0), 0);
	oracle->ops->silu_mul(oracle, silu_want, gate, up, rows * IN);
	check_near("gemm in a step", y, y_want, rows * OUT, SUMMING);
	check_near("attention in a step", out, out_want, rows * HEADS * SIZE, SUMMING);
	check_near("silu in a step", silu, silu_want, rows * IN, ROUNDING);
	float *all[] = { x, d, y, y_want, q, out, out_want, keys, gate, up, silu, silu_want };
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		free(all[i]);
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

/* In a step of training. */
static void check_trained_gemm(struct model_backend *b, size_t m, size_t n, size_t k, double tolerance)
{
	float *x = numbers(m * k, 1), *y = numbers(n * k, 1);
	for (int variant = 0; variant < 8; variant++) {
		const bool ta = (variant & 1) != 0, tb = (variant & 2) != 0;
		const float beta = (variant & 4) != 0 ? 1.0f : 0.0f;
		float *c = numbers(m * n, 1), *want = same(c, m * n);
		b->training = true;
		assert_int_equal(b->ops->gemm(b, c, x, y, ta, tb, 1, beta, m, n, k), 0);
		b->training = false;
		assert_int_equal(oracle->ops->gemm(oracle, want, x, y, ta, tb, 1, beta, m, n, k), 0);
		check_near("gemm of a training", c, want, m * n, tolerance);
		free(c);
		free(want);
	}
	free(x);
	free(y);
}

/* One bfloat16 a factor: exact where the factors are no more than that. */
static void check_bf16(struct model_backend *b, size_t rows, size_t out, size_t in)
{
	float *w = numbers(out * in, 1), *x = numbers(rows * in, 1), *y = numbers(rows * out, 1);
	float *want = same(y, rows * out), *rounded = same(y, rows * out), *plain = same(y, rows * out);
	struct model_weight *weight = NULL;
	assert_int_equal(b->ops->weight_new(b, MODEL_F32, w, out, in, true, &weight), 0);
	b->training = true;
	assert_int_equal(b->ops->weight_forward(b, y, x, weight, false, rows), 0);
	assert_int_equal(b->ops->gemm(b, plain, x, w, false, true, 1, 0, rows, out, in), 0);
	b->training = false;
	for (size_t i = 0; i < out * in; i++)
		w[i] = model_quant_from_bf16(model_quant_to_bf16(w[i]));
	assert_int_equal(b->ops->weight_forward(b, rounded, x, weight, false, rows), 0);
	assert_memory_not_equal(rounded, y, rows * out * sizeof(*y));
	for (size_t i = 0; i < rows * in; i++)
		x[i] = model_quant_from_bf16(model_quant_to_bf16(x[i]));
	assert_int_equal(oracle->ops->gemm(oracle, want, x, w, false, true, 1, 0, rows, out, in), 0);
	check_near("weight in bf16", y, want, rows * out, SUMMING);
	check_near("gemm in bf16", plain, want, rows * out, SUMMING);
	b->ops->weight_destroy(b, &weight);
	float *all[] = { w, x, y, want, rounded, plain };
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		free(all[i]);
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
static const struct model_segment fresh[] = { { 0, 0, 6 }, { 0, 0, 1 }, { 0, 0, 70 } };

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
	size_t nq = 77 * heads * head_size, nk = 77 * kv_heads * head_size;
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
	check_all_stored(b);
	check_step(b, 1);
	check_step(b, 8);
	check_step(b, 33);
	check_gemm(b, 1, 1, 1);
	check_gemm(b, 7, 33, 5);
	check_gemm(b, 100, 64, 130);
	const double trained = strstr(b->ops->describe(b), "bf16") == NULL ? SUMMING : BF16;
	check_trained_gemm(b, 1, 1, 1, trained);
	check_trained_gemm(b, 7, 33, 5, trained);
	check_trained_gemm(b, 100, 70, 1570, trained);
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

static void test_bf16(void **state)
{
	struct err e = ERR_INIT;
	struct model_backend *b = NULL;
	(void)state;
	check_named("cpu:bf16", 2);
	assert_int_equal(model_backend_new("cpu:bf16", 1, &b, &e), 0);
	rng_init(&rng, 8);
	check_bf16(b, 9, 33, 100);
	check_bf16(b, 70, 100, 1570);
	model_backend_destroy(&b);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unknown_backend),
		cmocka_unit_test(test_rows_apart),
		cmocka_unit_test(test_cpu),
		cmocka_unit_test(test_cpu_three_threads),
		cmocka_unit_test(test_amx),
		cmocka_unit_test(test_bf16),
		cmocka_unit_test(test_avx512),
		cmocka_unit_test(test_avx2),
		cmocka_unit_test(test_portable),
		cmocka_unit_test(test_cuda),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
