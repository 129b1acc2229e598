/* Whitening by fewer dims than raw keys have, and the subspace that it stands in. */
#include "base/hash.h"
#include "base/rng.h"
#include "editor/subspace.h"
#include "editor/whiten.h"
#include "tests/lib/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 24, KEYS = 200 };

static double product_of(const double *a, const double *b, size_t n)
{
	double sum = 0;
	for (size_t i = 0; i < n; i++)
		sum += a[i] * b[i];
	return sum;
}

/* Orthonormal rows by reflections of the unit vectors: none of the code under test. */
static void draw_axes(struct rng *rng, double axes[N][N])
{
	memset(axes, 0, sizeof(double) * N * N);
	for (size_t i = 0; i < N; i++)
		axes[i][i] = 1;
	for (size_t step = 0; step < 4; step++) {
		double v[N];
		for (size_t i = 0; i < N; i++)
			v[i] = (double)rng_normal(rng);
		const double square = product_of(v, v, N);
		for (size_t r = 0; r < N; r++) {
			const double factor = 2 * product_of(axes[r], v, N) / square;
			for (size_t i = 0; i < N; i++)
				axes[r][i] -= factor * v[i];
		}
	}
}

static void matrix_of(double axes[N][N], const double *values, double *a)
{
	for (size_t i = 0; i < N; i++) {
		for (size_t j = 0; j < N; j++) {
			a[i * N + j] = 0;
			for (size_t k = 0; k < N; k++)
				a[i * N + j] += values[k] * axes[k][i] * axes[k][j];
		}
	}
}

/* What of the trace the rows hold. */
static double held(const double *a, const double *rows, size_t dims)
{
	double sum = 0;
	for (size_t r = 0; r < dims; r++) {
		for (size_t i = 0; i < N; i++)
			sum += rows[r * N + i] * product_of(a + i * N, rows + r * N, N);
	}
	return sum;
}

static void a_subspace_holds_nearly_the_largest_eigenvalues(void **state)
{
	(void)state;
	static double axes[N][N], a[N * N], rows[N * N], again[N * N], room[N * N];
	struct rng rng;
	rng_init(&rng, 7);
	for (size_t dims = 1; dims <= N; dims++) {
		double values[N], best = 0;
		for (size_t k = 0; k < N; k++)
			values[k] = 1 + 30 * pow(0.7, (double)k); /* as the keys' with their ridge */
		for (size_t k = 0; k < dims; k++)
			best += values[k];
		draw_axes(&rng, axes);
		matrix_of(axes, values, a);
		editor__subspace(a, N, dims, rows, room);
		for (size_t r = 0; r < dims; r++) {
			for (size_t s = 0; s <= r; s++)
				assert_true(fabs(product_of(rows + r * N, rows + s * N, N) - (r == s)) < 1e-12);
		}
		assert_true(held(a, rows, dims) <= best * (1 + 1e-12));
		assert_true(held(a, rows, dims) >= best * (dims < 3 ? 0.9 : 0.98));
		editor__subspace(a, N, dims, again, room);
		assert_memory_equal(rows, again, dims * N * sizeof(*rows));
	}
}

struct keys {
	float raw[KEYS * N];
	uint8_t use[KEYS]; /* all of them are */
};

/* Raw keys with a few directions in which they vary a lot. */
static void draw_keys(uint64_t seed, struct keys *keys)
{
	static double axes[N][N];
	struct rng rng;
	rng_init(&rng, seed);
	memset(keys->use, 1, sizeof(keys->use));
	draw_axes(&rng, axes);
	for (size_t t = 0; t < KEYS; t++) {
		float along[N];
		for (size_t k = 0; k < N; k++)
			along[k] = rng_normal(&rng) * (float)(5 * pow(0.75, (double)k) + 0.2);
		for (size_t i = 0; i < N; i++) {
			keys->raw[t * N + i] = (float)i;
			for (size_t k = 0; k < N; k++)
				keys->raw[t * N + i] += along[k] * (float)axes[k][i];
		}
	}
}

/* Wᵀ·(C + λI)·W is the identity, of as many dims as are asked for: sums over the keys, the definition's. */
static void check_whitening(const struct editor_calibration *c, const float *raw, double ridge, size_t dims)
{
	static double z[KEYS][N];
	double trace = 0;
	for (size_t t = 0; t < KEYS; t++) {
		for (size_t i = 0; i < N; i++) {
			z[t][i] = ((double)raw[t * N + i] - (double)c->mean[i]) / (double)c->deviation[i];
			trace += z[t][i] * z[t][i] / KEYS;
		}
	}
	for (size_t a = 0; a < dims; a++) {
		for (size_t b = 0; b <= a; b++) {
			double sum = 0;
			for (size_t i = 0; i < N; i++)
				sum += ridge * trace / N * (double)c->whiten[i * dims + a] *
				       (double)c->whiten[i * dims + b];
			for (size_t t = 0; t < KEYS; t++) {
				double x = 0, y = 0;
				for (size_t i = 0; i < N; i++) {
					x += z[t][i] * (double)c->whiten[i * dims + a];
					y += z[t][i] * (double)c->whiten[i * dims + b];
				}
				sum += x * y / KEYS;
			}
			assert_true(fabs(sum - (a == b)) < 1e-3); /* the matrix is rounded to 16 bits */
		}
	}
}

static void fewer_dims_are_white(void **state)
{
	(void)state;
	static struct keys keys;
	draw_keys(8, &keys);
	for (size_t dims = 1; dims <= N; dims++) {
		struct editor_calibration *c = NULL;
		struct err e = ERR_INIT;
		float key[N];
		double square = 0;
		assert_ok(&e, editor__calibration_new(N, dims, 0, &c, &e));
		assert_ok(&e, editor__whiten_fit(c, keys.raw, keys.use, KEYS, 1.0f, &e));
		check_whitening(c, keys.raw, 1.0, dims);
		editor_calibration_key(c, keys.raw, key);
		for (size_t i = 0; i < dims; i++)
			square += (double)key[i] * (double)key[i];
		assert_true(fabs(square - 1) < 1e-5);
		editor_calibration_destroy(&c);
	}
}

/* Mean distance of cosines by `dims` from those by all. */
static double distance_of(const struct keys *keys, size_t dims)
{
	struct editor_calibration *all = NULL, *few = NULL;
	struct err e = ERR_INIT;
	double distance = 0;
	assert_ok(&e, editor__calibration_new(N, N, 0, &all, &e));
	assert_ok(&e, editor__calibration_new(N, dims, 0, &few, &e));
	assert_ok(&e, editor__whiten_fit(all, keys->raw, keys->use, KEYS, 1.0f, &e));
	assert_ok(&e, editor__whiten_fit(few, keys->raw, keys->use, KEYS, 1.0f, &e));
	for (size_t t = 1; t < KEYS; t++) {
		float a[2][N], b[2][N], whole = 0, part = 0;
		for (size_t k = 0; k < 2; k++) {
			editor_calibration_key(all, keys->raw + k * t * N, a[k]);
			editor_calibration_key(few, keys->raw + k * t * N, b[k]);
		}
		for (size_t i = 0; i < N; i++)
			whole += a[0][i] * a[1][i];
		for (size_t i = 0; i < dims; i++)
			part += b[0][i] * b[1][i];
		distance += fabs((double)(whole - part)) / (KEYS - 1);
	}
	editor_calibration_destroy(&few);
	editor_calibration_destroy(&all);
	return distance;
}

static void what_varies_most_is_kept(void **state)
{
	(void)state;
	static struct keys keys;
	draw_keys(9, &keys);
	const double third = distance_of(&keys, N / 3), half = distance_of(&keys, N / 2),
		     more = distance_of(&keys, 5 * N / 6);
	assert_true(third < 0.2 && half < 0.8 * third && more < 0.5 * half && more > 0);
}

/* What calibrations hash, of 192 numbers a key as 128: a build by another compiler that gave other bits would make
 * versions that this one refuses. gcc 12 and clang 14 gave the same where these were taken down. */
static void every_compiler_gives_the_same_bits(void **state)
{
	enum { WIDE = 192, DIMS = 128, TEXTS = 300 };
	static double a[WIDE * WIDE], rows[DIMS * WIDE], room[DIMS * WIDE];
	static float raw[TEXTS * WIDE];
	static uint8_t use[TEXTS];
	struct editor_calibration *c = NULL;
	struct err e = ERR_INIT;
	struct rng rng;
	(void)state;
	rng_init(&rng, 10);
	memset(use, 1, sizeof(use));
	for (size_t t = 0; t < TEXTS; t++) {
		float *text = raw + t * WIDE;
		for (size_t i = 0; i < WIDE; i++)
			text[i] = (rng_uniform(&rng) - 0.5f) * (float)(i % 7 + 1) + (i > 0 ? text[i - 1] / 2 : 0);
		for (size_t i = 0; i < WIDE * WIDE; i++)
			a[i] += (double)text[i / WIDE] * (double)text[i % WIDE];
	}
	editor__subspace(a, WIDE, DIMS, rows, room);
	assert_ok(&e, editor__calibration_new(WIDE, DIMS, 0, &c, &e));
	assert_ok(&e, editor__whiten_fit(c, raw, use, TEXTS, 1.0f, &e));
	assert_true(hash_short(HASH_SHORT_INIT, rows, sizeof(rows)) == UINT64_C(0x75ab258687d14764));
	assert_true(hash_short(HASH_SHORT_INIT, c->whiten, WIDE * DIMS * sizeof(float)) ==
		    UINT64_C(0xa9983dc898d8b1d8));
	editor_calibration_destroy(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_subspace_holds_nearly_the_largest_eigenvalues),
		cmocka_unit_test(fewer_dims_are_white),
		cmocka_unit_test(what_varies_most_is_kept),
		cmocka_unit_test(every_compiler_gives_the_same_bits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
