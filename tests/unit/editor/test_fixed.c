/* Every kernel that this machine has against plain sums, in fixed point. */
#include "editor/fixed.h"

#include "base/rng.h"
#include "tests/lib/test.h"

#include <math.h>

#define ARRAYS_MAX 9
#define COUNT      ((size_t)1300)

static const char *const names[] = { "avx512", "avx2", "portable" };

static const struct editor__fixed_kernel *kernel_of(size_t i)
{
	const struct editor__fixed_kernel *kernel = editor__fixed_kernel_of(names[i]);
	assert_true(kernel == NULL || strcmp(kernel->name, names[i]) == 0);
	return kernel;
}

/* ---- What one rank adds up */

static void numbers_round_to_nearest_ties_to_even(void **state)
{
	float values[COUNT];
	struct rng rng;
	(void)state;
	rng_init(&rng, 3);
	for (size_t i = 0; i < COUNT; i++) /* halves of a step, small ones, and what goes one by one */
		values[i] = i % 5 == 0   ? ((float)i - 600) * 0x1p-41f
			    : i % 5 == 1 ? (float)rng_uniform(&rng) * 1e-9f
			    : i == 902   ? 5e6f
			    : i == 1299  ? -8e6f
					 : (float)(rng_uniform(&rng) - 0.5) * 100;
	for (size_t k = 0; k < 3; k++) {
		int64_t fixed[COUNT];
		struct err e = ERR_INIT;
		if (kernel_of(k) == NULL)
			continue;
		for (size_t i = 0; i < COUNT; i++)
			fixed[i] = (int64_t)i - 7;
		assert_ok(&e, editor__fixed_add(kernel_of(k), fixed, values, COUNT, &e));
		for (size_t i = 0; i < COUNT; i++)
			assert_int_equal(fixed[i], (int64_t)i - 7 + llrint((double)values[i] * EDITOR_FIXED_SCALE));
	}
}

/* What a kernel cannot round by itself, where its sum changes sign or leaves the exponents on either side: in a whole
 * block each, so that it sees them. For SAN=undefined, too. */
static void what_is_too_large_for_a_kernel_goes_one_by_one(void **state)
{
	static const float tried[] = { 2048, 4096, 6144, 6144.5f, 8192, 12288, 12288.5f, 16384, 1e6f };
	(void)state;
	for (size_t k = 0; k < 3; k++) {
		for (size_t t = 0; kernel_of(k) != NULL && t < 6 * sizeof(tried) / sizeof(*tried); t++) {
			const float towards = t % 3 == 0 ? 0 : t % 3 == 1 ? tried[t / 6] : 1e9f;
			const float value = nextafterf(tried[t / 6], towards) * (t % 6 < 3 ? 1 : -1);
			float values[EDITOR__FIXED_BLOCK] = { 1, -3 };
			int64_t fixed[EDITOR__FIXED_BLOCK] = { 5 };
			struct err e = ERR_INIT;
			values[40] = value;
			assert_ok(&e, editor__fixed_add(kernel_of(k), fixed, values, EDITOR__FIXED_BLOCK, &e));
			assert_int_equal(fixed[0], 5 + (int64_t)EDITOR_FIXED_SCALE);
			assert_int_equal(fixed[40], llrint((double)value * EDITOR_FIXED_SCALE));
		}
	}
}

/* As one by one: with the number of the entry, and what comes before it added. */
static void the_first_that_does_not_fit_is_named(void **state)
{
	static const float bad[] = { NAN, INFINITY, -INFINITY, 9e6f, -9e6f };
	(void)state;
	for (size_t k = 0; k < 3; k++) {
		for (size_t b = 0; kernel_of(k) != NULL && b < 6; b++) {
			float values[200];
			int64_t fixed[200] = { 0 };
			struct err e = ERR_INIT;
			for (size_t i = 0; i < 200; i++)
				values[i] = 1;
			if (b < 5)
				values[100] = bad[b];
			else
				fixed[100] = INT64_MAX - 5; /* each fits, their sum does not */
			assert_int_equal(editor__fixed_add(kernel_of(k), fixed, values, 200, &e), ERR_LIMIT);
			assert_non_null(strstr(e.text, "entry 100"));
			assert_true(fixed[99] == (int64_t)EDITOR_FIXED_SCALE && fixed[101] == 0);
		}
	}
}

/* ---- What ranks add up together */

static void fill(int64_t *const *arrays, size_t count, uint64_t seed)
{
	struct rng rng;
	rng_init(&rng, seed);
	for (size_t a = 0; a < count; a++) {
		for (size_t i = 0; i < COUNT; i++)
			arrays[a][i] = (int64_t)(rng_u64(&rng) >> 8) - (INT64_C(1) << 55);
	}
}

static void check_gather(const struct editor__fixed_kernel *kernel, int64_t *const *arrays, size_t count, size_t from,
			 size_t to)
{
	int64_t want[COUNT];
	fill(arrays, count, count);
	for (size_t i = 0; i < COUNT; i++) {
		want[i] = 0;
		for (size_t a = 0; a < count; a++)
			want[i] += arrays[a][i];
	}
	const int64_t before = arrays[count - 1][from > 0 ? from - 1 : 0];
	assert_int_equal(editor__fixed_gather(kernel, arrays, count, from, to, INT64_MAX / count), 0);
	for (size_t a = 0; a < count; a++)
		assert_memory_equal(arrays[a] + from, want + from, (to - from) * sizeof(*want));
	if (from > 0)
		assert_int_equal(arrays[count - 1][from - 1], before);
}

static void every_array_gets_the_sum(void **state)
{
	int64_t *arrays[ARRAYS_MAX];
	(void)state;
	for (size_t a = 0; a < ARRAYS_MAX; a++)
		arrays[a] = malloc(COUNT * sizeof(int64_t));
	for (size_t k = 0; k < 3; k++) {
		for (size_t count = 1; kernel_of(k) != NULL && count <= ARRAYS_MAX; count++) {
			check_gather(kernel_of(k), arrays, count, 0, COUNT);
			check_gather(kernel_of(k), arrays, count, 3, 1111);
			check_gather(kernel_of(k), arrays, count, 5, 5);
		}
	}
	for (size_t a = 0; a < ARRAYS_MAX; a++)
		free(arrays[a]);
}

static void one_over_the_limit_is_told(void **state)
{
	enum { LIMIT = 1000 };
	static const int64_t tried[] = { LIMIT, -LIMIT, LIMIT + 1, -LIMIT - 1, INT64_MAX, INT64_MIN };
	static const uint64_t told[] = { 0, 0, LIMIT + 1, LIMIT + 1, INT64_MAX, UINT64_C(1) << 63 };
	int64_t one[COUNT], other[COUNT], *const arrays[2] = { one, other };
	(void)state;
	for (size_t k = 0; k < 3; k++) {
		for (size_t i = 0; kernel_of(k) != NULL && i < 6; i++) {
			memset(one, 0, sizeof(one));
			memset(other, 0, sizeof(other));
			other[777] = tried[i];
			one[3] = LIMIT - 1;
			assert_true(editor__fixed_gather(kernel_of(k), arrays, 2, 0, COUNT, LIMIT) == told[i]);
			assert_true(told[i] != 0 || (one[777] == tried[i] && other[3] == LIMIT - 1));
		}
	}
	for (size_t i = 0; i < 6; i++) { /* by whichever it takes */
		memset(one, 0, sizeof(one));
		memset(other, 0, sizeof(other));
		other[777] = tried[i];
		assert_true(editor_fixed_largest(other, COUNT) == (told[i] != 0 ? told[i] : LIMIT));
		assert_true(editor_fixed_gather(arrays, 2, 0, COUNT, LIMIT) == told[i]);
		assert_true(told[i] != 0 || one[777] == tried[i]);
	}
	assert_true(editor_fixed_largest(NULL, 0) == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_round_to_nearest_ties_to_even),
		cmocka_unit_test(what_is_too_large_for_a_kernel_goes_one_by_one),
		cmocka_unit_test(the_first_that_does_not_fit_is_named),
		cmocka_unit_test(every_array_gets_the_sum),
		cmocka_unit_test(one_over_the_limit_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
