/* sample.c: greedy picks, shares of draws, and what top_p leaves out. */
#include "base/rng.h"
#include "model/model.h"
#include "tests/lib/tiny_model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct model *model;
static struct model_run *run;

static int set_up(void **state)
{
	struct err e = ERR_INIT;
	(void)state;
	if (tiny_model_open(SIZE_MAX, 1, &model, &e) != 0 || model_run_new(model, 32, &run, &e) != 0) {
		print_error("%s\n", e.text);
		return -1;
	}
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	model_run_destroy(&run);
	model_close(&model);
	return 0;
}

static int32_t sampled(float *logits, size_t n, const struct model_sampling *sampling, float uniform)
{
	int32_t id = -1;
	assert_int_equal(model_sample(logits, n, sampling, uniform, run, &id), 0);
	return id;
}

#define DRAWS 20000

static void share_of(const float *logits, size_t n, struct model_sampling sampling, double *share)
{
	struct rng rng;
	rng_init(&rng, 1);
	memset(share, 0, n * sizeof(*share));
	for (int d = 0; d < DRAWS; d++) {
		float copy[16];
		memcpy(copy, logits, n * sizeof(*copy));
		int32_t id = sampled(copy, n, &sampling, rng_uniform(&rng));
		assert_true(id >= 0 && (size_t)id < n);
		share[id] += 1.0 / DRAWS;
	}
}

static void test_greedy(void **state)
{
	float logits[5] = { -3, 2, 7, 7, 1 }, low[3] = { -5, -6, -7 };
	const struct model_sampling greedy = { 0, 0.5f };
	(void)state;
	assert_int_equal(sampled(logits, 5, &greedy, 0.9f), 2); /* the lowest id wins ties */
	assert_int_equal(sampled(low, 3, &greedy, 0.9f), 0);
}

static void test_temperature(void **state)
{
	const float logits[3] = { logf(0.5f), logf(0.3f), logf(0.2f) };
	double share[3];
	(void)state;
	share_of(logits, 3, (struct model_sampling){ 1, 1 }, share);
	assert_true(fabs(share[0] - 0.5) < 0.02 && fabs(share[1] - 0.3) < 0.02);
	/* p^2 / sum: .25 .09 .04 */
	share_of(logits, 3, (struct model_sampling){ 0.5f, 1 }, share);
	assert_true(fabs(share[0] - 0.25 / 0.38) < 0.02 && fabs(share[2] - 0.04 / 0.38) < 0.02);
}

static void test_top_p(void **state)
{
	const float logits[4] = { logf(0.1f), logf(0.5f), logf(0.1f), logf(0.3f) };
	double share[4];
	(void)state;
	share_of(logits, 4, (struct model_sampling){ 1, 0.75f }, share); /* .5 + .3 reach .75 */
	assert_true(share[0] == 0 && share[2] == 0);
	assert_true(fabs(share[1] - 0.5 / 0.8) < 0.02);
	share_of(logits, 4, (struct model_sampling){ 1, 0.4f }, share); /* the likeliest alone */
	assert_true(share[1] > 0.999);
	share_of(logits, 4, (struct model_sampling){ 1, 0.85f }, share); /* equal ones: the lower id */
	assert_true(share[0] > 0 && share[2] == 0);
}

static void test_edges_of_uniform(void **state)
{
	const struct model_sampling whole = { 1, 1 }, nucleus = { 1, 0.9f };
	float logits[4] = { 0, 1, 2, -1000 }, copy[4];
	(void)state;
	memcpy(copy, logits, sizeof(copy));
	assert_int_equal(sampled(copy, 4, &whole, 0), 0);
	memcpy(copy, logits, sizeof(copy));
	assert_int_equal(sampled(copy, 4, &whole, 0.99999994f), 2);
	memcpy(copy, logits, sizeof(copy));
	assert_int_equal(sampled(copy, 4, &nucleus, 0), 2);
	memcpy(copy, logits, sizeof(copy));
	assert_int_equal(sampled(copy, 4, &nucleus, 0.99999994f), 1);
}

static void test_what_is_no_number_is_refused(void **state)
{
	static const struct model_sampling kinds[] = { { 0, 1 }, { 1, 1 }, { 1, 0.9f } };
	const float bad[] = { NAN, INFINITY, -INFINITY };
	(void)state;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		for (size_t at = 0; at < 4; at++) {
			for (size_t j = 0; j < sizeof(bad) / sizeof(bad[0]); j++) {
				float logits[4] = { 0, 1, 2, 3 };
				int32_t id = -7;
				logits[at] = bad[j];
				assert_int_equal(model_sample(logits, 4, &kinds[i], 0.5f, run, &id), ERR_CORRUPT);
				assert_int_equal(id, -7);
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_greedy),
		cmocka_unit_test(test_temperature),
		cmocka_unit_test(test_top_p),
		cmocka_unit_test(test_edges_of_uniform),
		cmocka_unit_test(test_what_is_no_number_is_refused),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
