/* ops_fixture.h: the reference backend, and arrays to compare with what it gives. Tolerances are relative to the
 * largest value of the expected array. */
#ifndef AMEND_TESTS_NUMERICS_OPS_FIXTURE_H
#define AMEND_TESTS_NUMERICS_OPS_FIXTURE_H

#include "base/rng.h"
#include "model/backend.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ROUNDING 1e-5 /* a few units in the last place of float32, the exponential's polynomial included */

static struct model_backend *oracle;
static struct rng rng;

static inline float *numbers(size_t count, float spread)
{
	float *v = calloc(count + 1, sizeof(*v));
	assert_non_null(v);
	for (size_t i = 0; i < count; i++)
		v[i] = spread * rng_normal(&rng);
	return v;
}

static inline float *same(const float *v, size_t count)
{
	float *copy = calloc(count + 1, sizeof(*copy));
	assert_non_null(copy);
	memcpy(copy, v, count * sizeof(*v));
	return copy;
}

/* Values may be left over in `got` beyond count: that they stay is checked by the guard element. */
static inline void check_near(const char *what, const float *got, const float *want, size_t count, double tolerance)
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

static inline int set_up(void **state)
{
	struct err e = ERR_INIT;
	(void)state;
	return model_backend_new("reference", 1, &oracle, &e);
}

static inline int tear_down(void **state)
{
	(void)state;
	model_backend_destroy(&oracle);
	return 0;
}

#endif
