/* What is learnt is kept (editor/protect.c): P against its definition, and however it came about. */
#include "editor/shard_internal.h"

#include "base/fault.h"
#include "tests/unit/editor/tiny_fixture.h"

#include <math.h>

#define EDITS 4
#define FFN   TINY_FFN

static struct editor_shard *shard_new(float protect)
{
	static const char *const prompts[EDITS] = { "what is the capital of Orla?", "who is the king of Vint?",
						    "where in the land is Kelm?", "who wrote it?" };
	struct editor_config c;
	struct editor_shard *shard = NULL;
	struct err e = ERR_INIT;
	editor_config_default(model_shape_of(model), &c);
	c.layer = 2;
	c.stream_protect = protect;
	assert_ok(&e, editor_shard_new(model, &c, &shard, &e));
	for (size_t i = 0; i < EDITS; i++) {
		char text[256];
		struct record *record = NULL;
		snprintf(text, sizeof(text), "{\"prompt\":\"%s\",\"target_new\":\"Brin %zu\"}", prompts[i], i);
		assert_ok(&e, record_parse(text, strlen(text), &record, &e));
		assert_ok(&e, editor_shard_add(shard, i + 1, record, &e));
		record_destroy(&record);
	}
	assert_ok(&e, editor__prefix_fill(shard, &e));
	assert_ok(&e, editor__trainer_prepare(shard, &e));
	return shard;
}

static void prepare(struct editor_shard *shard, const size_t *others, size_t count)
{
	struct err e = ERR_INIT;
	bool use = false;
	assert_ok(&e, editor__protect_prepare(shard, others, count, &use, &e));
	assert_true(use);
	assert_int_equal(shard->trainer.protected_count, count);
}

/* P of these edits, as a shard makes it that has made none. */
static void expect_fresh(const struct editor_shard *shard, const size_t *others, size_t count)
{
	struct editor_shard *fresh = shard_new(shard->config.stream_protect);
	prepare(fresh, others, count);
	assert_memory_equal(shard->trainer.protect, fresh->trainer.protect, (size_t)FFN * FFN * sizeof(float));
	editor_shard_destroy(&fresh);
}

/* P·(λI + Σ aᵀa) = λI, λ being that of the first edit. */
static void it_is_the_inverse(void **state)
{
	(void)state;
	static const size_t others[] = { 1, 2, 3 };
	static double sum[FFN][FFN];
	for (size_t k = 0; k < 2; k++) {
		const float share = k == 0 ? 0.25f : 4.0f;
		struct editor_shard *shard = shard_new(share);
		const struct editor__edit *first = &shard->edits[others[0]];
		const double lambda = (double)share * first->square_sum / (double)editor__edit_rows(first);
		double worst = 0;
		prepare(shard, others, 3);
		memset(sum, 0, sizeof(sum));
		for (size_t i = 0; i < FFN; i++)
			sum[i][i] = 1;
		for (size_t o = 0; o < 3; o++) {
			const struct editor__edit *edit = &shard->edits[others[o]];
			for (size_t r = 0; r < editor__edit_rows(edit); r++) {
				const float *a = edit->inputs + r * FFN;
				for (size_t i = 0; i < FFN; i++)
					for (size_t j = 0; j < FFN; j++)
						sum[i][j] += (double)a[i] * (double)a[j] / lambda;
			}
		}
		for (size_t i = 0; i < FFN; i++) {
			for (size_t j = 0; j < FFN; j++) {
				double product = i == j ? -1 : 0;
				for (size_t x = 0; x < FFN; x++)
					product += (double)shard->trainer.protect[i * FFN + x] * sum[x][j];
				worst = fabs(product) > worst ? fabs(product) : worst;
			}
		}
		assert_true(
			worst <
			0.02); /* floats, some processors with factors of 16 bits, times sums of up to some hundreds */
		editor_shard_destroy(&shard);
	}
}

/* It goes on where the edits before are the same, and begins anew where they are not. */
static void the_same_edits_give_the_same_bits(void **state)
{
	(void)state;
	static const size_t lists[][3] = { { 0 }, { 0, 1 }, { 0, 1, 2 }, { 0, 1, 2 }, { 0, 2 }, { 1, 2, 3 }, { 1 } };
	static const size_t counts[] = { 1, 2, 3, 2, 2, 3, 1 };
	struct editor_shard *shard = shard_new(1);
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		prepare(shard, lists[i], counts[i]);
		expect_fresh(shard, lists[i], counts[i]);
	}
	/* an edit that took another's place is another one */
	struct err e = ERR_INIT;
	prepare(shard, lists[2], 3);
	assert_true(editor_shard_remove(shard, 1, &e) == 0);
	prepare(shard, lists[1], 2);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(shard->trainer.protected_seqs[i], i + 2);
	static const size_t same[] = { 1, 2 };
	expect_fresh(shard, same, 2);
	editor_shard_destroy(&shard);
}

static void there_may_be_nothing_to_protect(void **state)
{
	(void)state;
	static const size_t others[] = { 0 };
	struct err e = ERR_INIT;
	for (size_t k = 0; k < 2; k++) {
		struct editor_shard *shard = shard_new((float)k);
		bool use = true;
		assert_ok(&e, editor__protect_prepare(shard, others, 1 - k, &use, &e));
		assert_false(use);
		assert_null(shard->trainer.protect);
		editor_shard_destroy(&shard);
	}
}

/* grad·P: what the edits' inputs would see of it is gone, nearly. */
static void a_gradient_loses_what_they_use(void **state)
{
	(void)state;
	static const size_t others[] = { 0, 1 };
	struct editor_shard *shard = shard_new(1e-3f);
	struct err e = ERR_INIT;
	const float *a = shard->edits[0].inputs, *p;
	double before = 0, after = 0;
	struct rng rng;
	prepare(shard, others, 2);
	p = shard->trainer.protect;
	rng_init(&rng, 3);
	float *given = malloc((size_t)TINY_HIDDEN * FFN * sizeof(*given));
	assert_non_null(given);
	for (size_t i = 0; i < (size_t)TINY_HIDDEN * FFN; i++)
		given[i] = shard->trainer.grad[i] = rng_normal(&rng);
	assert_ok(&e, editor__protect_gradient(shard, &e));
	for (size_t h = 0; h < TINY_HIDDEN; h++) {
		double seen = 0, left = 0;
		for (size_t j = 0; j < FFN; j++) {
			double product = 0;
			for (size_t i = 0; i < FFN; i++)
				product += (double)given[h * FFN + i] * (double)p[i * FFN + j];
			assert_true(fabs(product - (double)shard->trainer.grad[h * FFN + j]) < 1e-4);
			seen += (double)given[h * FFN + j] * (double)a[j];
			left += product * (double)a[j];
		}
		before += seen * seen;
		after += left * left;
	}
	assert_true(after < 1e-3 * before);
	free(given);
	editor_shard_destroy(&shard);
}

/* A product that fails when it has written half of P. */
static const struct model_backend_ops *real;
static int gemm_left;

static int gemm_that_breaks(struct model_backend *b, float *c, const float *x, const float *y, bool x_t, bool y_t,
			    float alpha, float beta, size_t m, size_t n, size_t k)
{
	if (gemm_left-- > 0)
		return real->gemm(b, c, x, y, x_t, y_t, alpha, beta, m, n, k);
	c[0] += 1;
	return ERR_EXTERNAL;
}

static void after_a_fault_it_begins_anew(void **state)
{
	(void)state;
	static const size_t others[] = { 0, 1, 2 };
	struct editor_shard *shard = shard_new(1);
	struct err e = ERR_INIT;
	bool use;
	real = shard->backend->ops;
	struct model_backend_ops ops = *real;
	ops.gemm = gemm_that_breaks;
	for (int i = 0; i < 9; i++) {
		prepare(shard, others, 1);
		shard->backend->ops = &ops;
		gemm_left = i;
		const int rc = editor__protect_prepare(shard, others, 3, &use, &e);
		shard->backend->ops = real;
		assert_int_equal(rc, i < 6 ? ERR_EXTERNAL : 0);
		prepare(shard, others, 3);
		expect_fresh(shard, others, 3);
		editor__protect_free(shard);
	}
	editor_shard_destroy(&shard);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_the_inverse),
		cmocka_unit_test(the_same_edits_give_the_same_bits),
		cmocka_unit_test(there_may_be_nothing_to_protect),
		cmocka_unit_test(a_gradient_loses_what_they_use),
		cmocka_unit_test(after_a_fault_it_begins_anew),
	};
	return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
