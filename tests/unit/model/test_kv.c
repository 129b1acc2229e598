/* kv.c: slots are apart, a slot can be used again, and a longer text can go on from what is kept. */
#include "base/fault.h"
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

static int layers(float *x, struct model_kv *kv, const int32_t *ids, size_t slot, size_t position, size_t rows)
{
	struct err e = ERR_INIT;
	const struct model_segment segment = { slot, position, rows };
	assert_int_equal(model_embed(run, x, ids, rows, &e), 0);
	return model_layers(run, x, kv, &segment, 1, 0, TINY_LAYERS, NULL, NULL, 0, &e);
}

static const int32_t text_a[8] = { 30, 40, 50, 60, 70, 80, 90, 100 };
static const int32_t text_b[8] = { 200, 33, 201, 35, 202, 37, 203, 39 };

static void assert_near(const float *a, const float *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_true(fabsf(a[i] - b[i]) <= 2e-4f * (1 + fabsf(b[i]))); /* another batch, another order of sums */
}

static void test_slots_are_apart(void **state)
{
	struct model_kv *kv = NULL;
	struct err e = ERR_INIT;
	float want[8 * TINY_HIDDEN], got[8 * TINY_HIDDEN], other[8 * TINY_HIDDEN];
	(void)state;
	assert_int_equal(model_kv_new(model, 2, 8, &kv, &e), 0);
	assert_int_equal(layers(want, NULL, text_a, 0, 0, 8), 0);
	assert_int_equal(layers(got, kv, text_a, 1, 0, 4), 0);
	assert_int_equal(layers(other, kv, text_b, 0, 0, 8), 0); /* does not touch slot 1 */
	assert_int_equal(layers(got + 4 * TINY_HIDDEN, kv, text_a + 4, 1, 4, 4), 0);
	assert_near(got, want, 8 * TINY_HIDDEN);
	model_kv_destroy(&kv);
	assert_null(kv);
}

static void test_slot_is_used_again(void **state)
{
	struct model_kv *kv = NULL;
	struct err e = ERR_INIT;
	float want[8 * TINY_HIDDEN], got[8 * TINY_HIDDEN];
	(void)state;
	assert_int_equal(model_kv_new(model, 1, 8, &kv, &e), 0);
	assert_int_equal(layers(got, kv, text_b, 0, 0, 8), 0);
	assert_int_equal(layers(got, kv, text_a, 0, 0, 8), 0); /* another text from the start */
	assert_int_equal(layers(want, NULL, text_a, 0, 0, 8), 0);
	assert_near(got, want, 8 * TINY_HIDDEN);
	assert_int_equal(layers(got, kv, text_a + 6, 0, 6, 2), 0); /* back to position 6: the first six stay */
	assert_near(got, want + 6 * TINY_HIDDEN, 2 * TINY_HIDDEN);
	model_kv_destroy(&kv);
}

static void test_limits(void **state)
{
	struct model_kv *kv = NULL;
	struct err e = ERR_INIT;
	float x[8 * TINY_HIDDEN];
	(void)state;
	assert_int_equal(model_kv_new(model, 0, 8, &kv, &e), ERR_INVALID);
	assert_int_equal(model_kv_new(model, 1, 0, &kv, &e), ERR_INVALID);
	assert_int_equal(model_kv_new(model, 1, TINY_CONTEXT + 1, &kv, &e), ERR_LIMIT);
	assert_int_equal(model_kv_new(model, SIZE_MAX / 8, 8, &kv, &e), ERR_LIMIT);
	for (int64_t n = 0; n < 3; n++) {
		fault_set(n, 1);
		assert_int_equal(model_kv_new(model, 1, 6, &kv, &e), ERR_NOMEM);
		fault_set(-1, 0);
		assert_null(kv);
	}
	assert_int_equal(model_kv_new(model, 1, 6, &kv, &e), 0);
	assert_int_equal(layers(x, kv, text_a, 1, 0, 1), ERR_INVALID); /* no such slot */
	assert_int_equal(layers(x, kv, text_a, 0, 0, 7), ERR_LIMIT);
	assert_int_equal(layers(x, kv, text_a, 0, 6, 1), ERR_LIMIT);
	assert_int_equal(layers(x, kv, text_a, 0, SIZE_MAX, 1), ERR_LIMIT);
	assert_int_equal(layers(x, kv, text_a, 0, 0, 6), 0);
	model_kv_destroy(&kv);
	model_kv_destroy(&kv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slots_are_apart),
		cmocka_unit_test(test_slot_is_used_again),
		cmocka_unit_test(test_limits),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
