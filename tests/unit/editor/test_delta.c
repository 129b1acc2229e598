#include "editor/delta.h"

#include "base/fault.h"
#include "base/rng.h"
#include "tests/lib/test.h"

#include <math.h>

#define HIDDEN 24
#define FFN    40
#define LAYER  3
#define COUNT  (HIDDEN * FFN)

static void fill(float *delta, double share)
{
	struct rng rng;
	rng_init(&rng, 7);
	for (size_t i = 0; i < COUNT; i++)
		delta[i] = (double)rng_uniform(&rng) < share ? 0.1f * rng_normal(&rng) : 0.0f;
	editor_delta_round(delta, COUNT);
}

static void round_trip(double share, size_t *len)
{
	float delta[COUNT], back[COUNT];
	struct buf bytes = BUF_INIT, again = BUF_INIT;
	struct err e = ERR_INIT;
	fill(delta, share);
	assert_int_equal(editor_delta_encode(delta, LAYER, HIDDEN, FFN, &bytes, &e), 0);
	assert_int_equal(editor_delta_encode(delta, LAYER, HIDDEN, FFN, &again, &e), 0);
	assert_same_bytes(&bytes, &again);
	assert_int_equal(editor_delta_decode(bytes.data, bytes.len, LAYER, HIDDEN, FFN, back, &e), 0);
	assert_memory_equal(delta, back, sizeof(delta));
	*len = bytes.len;
	buf_free(&bytes);
	buf_free(&again);
}

static void comes_back_the_same(void **state)
{
	(void)state;
	size_t none, few, all;
	round_trip(0.0, &none);
	round_trip(0.2, &few);
	round_trip(1.0, &all);
	assert_true(none < few && few < all);
	assert_true(few < COUNT * 2 / 3); /* the mask is worth it */
}

static void rounds_to_nearest_even(void **state)
{
	(void)state;
	float v[] = { 1.0f, 1.00390625f, 1.01171875f, -0.0f, 1e-40f, 0.1f };
	editor_delta_round(v, 6);
	assert_true(v[0] == 1.0f);
	assert_true(v[1] == 1.0f); /* half way: to even */
	assert_true(v[2] == 1.015625f);
	assert_true(v[3] == 0.0f && !signbit(v[3]));
	assert_true(fabsf(v[5] - 0.1f) <= 0.1f / 256);
	float once = v[5];
	editor_delta_round(&v[5], 1);
	assert_true(v[5] == once);
}

static void says_what_is_wrong(void **state)
{
	(void)state;
	float delta[COUNT], back[COUNT];
	struct buf bytes = BUF_INIT;
	struct err e = ERR_INIT;
	fill(delta, 1.0);
	assert_int_equal(editor_delta_encode(delta, LAYER, HIDDEN, FFN, &bytes, &e), 0);
	assert_int_equal(editor_delta_decode(bytes.data, bytes.len, LAYER + 1, HIDDEN, FFN, back, &e), ERR_MISMATCH);
	assert_int_equal(editor_delta_decode(bytes.data, bytes.len, LAYER, FFN, HIDDEN, back, &e), ERR_MISMATCH);
	assert_int_equal(editor_delta_decode(bytes.data, bytes.len - 1, LAYER, HIDDEN, FFN, back, &e), ERR_CORRUPT);
	for (size_t len = 0; len < 40; len++)
		assert_int_equal(editor_delta_decode(bytes.data, len, LAYER, HIDDEN, FFN, back, &e), ERR_CORRUPT);
	bytes.data[0] = 'X';
	assert_int_equal(editor_delta_decode(bytes.data, bytes.len, LAYER, HIDDEN, FFN, back, &e), ERR_CORRUPT);
	buf_clear(&bytes);
	const float bad[] = { NAN, INFINITY, -INFINITY, 100.5f };
	for (size_t i = 0; i < 4; i++) {
		delta[41] = bad[i];
		assert_int_equal(editor_delta_encode(delta, LAYER, HIDDEN, FFN, &bytes, &e), ERR_INVALID);
		assert_non_null(strstr(e.text, "(1, 1)"));
		assert_int_equal(bytes.len, 0);
	}
	buf_free(&bytes);
}

/* Damage is found, or harmless: never a crash, and never a value out of range. */
static void damage_is_safe(void **state)
{
	(void)state;
	float delta[COUNT], back[COUNT];
	struct buf bytes = BUF_INIT;
	struct err e = ERR_INIT;
	fill(delta, 0.2);
	assert_int_equal(editor_delta_encode(delta, LAYER, HIDDEN, FFN, &bytes, &e), 0);
	for (size_t i = 0; i < bytes.len; i++) {
		bytes.data[i] ^= 0x41;
		int rc = editor_delta_decode(bytes.data, bytes.len, LAYER, HIDDEN, FFN, back, &e);
		assert_true(rc == 0 || rc == ERR_CORRUPT || rc == ERR_MISMATCH || rc == ERR_INVALID);
		for (size_t k = 0; rc == 0 && k < COUNT; k++)
			assert_true(fabsf(back[k]) <= 100.0f);
		bytes.data[i] ^= 0x41;
	}
	buf_free(&bytes);
}

static void out_of_memory_is_said(void **state)
{
	(void)state;
	float delta[COUNT];
	struct err e = ERR_INIT;
	fill(delta, 1.0);
	int rc = ERR_NOMEM, failures = 0;
	for (int64_t k = 0; rc != 0; k++, failures++) {
		struct buf bytes = BUF_INIT;
		fault_set(k, 1);
		rc = editor_delta_encode(delta, LAYER, HIDDEN, FFN, &bytes, &e);
		fault_set(-1, 0);
		assert_true(rc == 0 || (rc == ERR_NOMEM && bytes.len == 0));
		buf_free(&bytes);
	}
	assert_true(failures >= 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(comes_back_the_same),   cmocka_unit_test(rounds_to_nearest_even),
		cmocka_unit_test(says_what_is_wrong),    cmocka_unit_test(damage_is_safe),
		cmocka_unit_test(out_of_memory_is_said),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
