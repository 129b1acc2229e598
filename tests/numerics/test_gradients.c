/* The gradients of `reference` by finite differences: ∂(Σ out·dout)/∂x_i by central differences against what its
 * backward says. */
#include "tests/numerics/ops_fixture.h"

#define DIFFERENCE 1e-2 /* float32: step² and rounding/step meet at about 1e-2 of the largest entry */
#define EPS        1e-5f

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_difference_rmsnorm),   cmocka_unit_test(test_difference_silu),
		cmocka_unit_test(test_difference_attention), cmocka_unit_test(test_difference_cross_entropy),
		cmocka_unit_test(test_rope_inverse),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
