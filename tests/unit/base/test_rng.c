#include "tests/lib/test.h"

#include "base/rng.h"

#include <math.h>

/* xoshiro256** from the state {1, 2, 3, 4}: the authors' reference code gives these. */
static void reference_numbers(void **state)
{
	(void)state;
	static const uint64_t expected[] = { 11520, 0, 1509978240, 1215971899390074240 };
	struct rng r = { .s = { 1, 2, 3, 4 } };
	for (size_t i = 0; i < 4; i++)
		assert_true(rng_u64(&r) == expected[i]);
}

static void same_seed_same_numbers(void **state)
{
	(void)state;
	struct rng a, b;
	rng_init(&a, 42);
	rng_init(&b, 42);
	for (int i = 0; i < 100; i++)
		assert_true(rng_normal(&a) == rng_normal(&b));
	rng_init(&b, 43);
	assert_true(rng_u64(&a) != rng_u64(&b));
	assert_true(rng_derive(1, 2, 3) == rng_derive(1, 2, 3));
	assert_true(rng_derive(1, 2, 3) != rng_derive(1, 3, 2));
	assert_true(rng_derive(1, 2, 3) != rng_derive(2, 2, 3));
}

static void below_is_uniform(void **state)
{
	(void)state;
	struct rng r;
	size_t counts[7] = { 0 };
	rng_init(&r, 1);
	for (int i = 0; i < 70000; i++) {
		uint64_t v = rng_below(&r, 7);
		assert_true(v < 7);
		counts[v]++;
	}
	/* Five standard deviations of a binomial count of mean 10000. */
	for (size_t i = 0; i < 7; i++)
		assert_in_range(counts[i], 10000 - 463, 10000 + 463);
	assert_true(rng_below(&r, 1) == 0);
}

static void moments(void **state)
{
	(void)state;
	struct rng r;
	double sum = 0, squares = 0;
	const int n = 100000;
	rng_init(&r, 5);
	for (int i = 0; i < n; i++) {
		float u = rng_uniform(&r);
		assert_true(u >= 0.0f && u < 1.0f);
		double v = (double)rng_normal(&r);
		assert_true(isfinite(v));
		sum += v;
		squares += v * v;
	}
	assert_true(fabs(sum / n) < 0.016);           /* five standard errors: 5/sqrt(n) */
	assert_true(fabs(squares / n - 1.0) < 0.023); /* 5·sqrt(2/n) */
}

static void shuffles(void **state)
{
	(void)state;
	struct rng r;
	size_t items[50], seen[50] = { 0 }, moved = 0;
	rng_init(&r, 9);
	for (size_t i = 0; i < 50; i++)
		items[i] = i;
	rng_shuffle(&r, items, 50);
	for (size_t i = 0; i < 50; i++) {
		seen[items[i]]++;
		moved += items[i] != i ? 1 : 0;
	}
	for (size_t i = 0; i < 50; i++)
		assert_int_equal(seen[i], 1);
	assert_true(moved > 30);
	rng_shuffle(&r, NULL, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reference_numbers), cmocka_unit_test(same_seed_same_numbers),
		cmocka_unit_test(below_is_uniform),  cmocka_unit_test(moments),
		cmocka_unit_test(shuffles),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
