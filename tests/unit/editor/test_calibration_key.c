/* Keys of raw keys: the definition's bits, by 32 and by 16 bits a number. */
#include "editor/route.h"

#include "base/rng.h"
#include "editor/whiten.h"
#include "tests/lib/test.h"

#include <math.h>

static void unit_length(float *key, size_t count)
{
	double square = 0;
	for (size_t j = 0; j < count; j++)
		square += (double)key[j] * (double)key[j];
	for (size_t j = 0; j < count; j++)
		key[j] *= (float)(1.0 / sqrt(square));
}

/* Keys of stored edits and of queries meet across versions of the program: the definition's sums, one row after the
 * other, to the bit. */
static void keys_have_the_bits_of_the_definition(void **state)
{
	(void)state;
	enum { HIDDEN_MAX = 29, DIMS = 19 };
	float raw[HIDDEN_MAX], mean[HIDDEN_MAX], deviation[HIDDEN_MAX], whiten[HIDDEN_MAX * HIDDEN_MAX],
		head[HIDDEN_MAX * DIMS], key[HIDDEN_MAX], expected[HIDDEN_MAX];
	struct rng rng;
	rng_init(&rng, 3);
	for (size_t hidden = 1; hidden <= HIDDEN_MAX; hidden++) {
		const size_t dims = hidden % 3 == 0 ? hidden : 1 + hidden / 2; /* with fewer no triangle */
		struct editor_calibration c = {
			.hidden = hidden, .dims = dims, .mean = mean, .deviation = deviation, .whiten = whiten
		};
		for (size_t i = 0; i < hidden; i++) {
			raw[i] = rng_normal(&rng);
			mean[i] = rng_normal(&rng);
			deviation[i] = 0.5f + rng_uniform(&rng);
			for (size_t j = 0; j < dims; j++)
				whiten[i * dims + j] = j < i && dims == hidden ? 0 : rng_normal(&rng);
			for (size_t j = 0; j < DIMS; j++)
				head[i * DIMS + j] = rng_normal(&rng);
		}
		memset(expected, 0, sizeof(expected));
		for (size_t i = 0; i < hidden; i++) {
			for (size_t j = dims == hidden ? i : 0; j < dims; j++)
				expected[j] += (raw[i] - mean[i]) / deviation[i] * whiten[i * dims + j];
		}
		unit_length(expected, dims);
		editor_calibration_key(&c, raw, key);
		assert_memory_equal(key, expected, dims * sizeof(*key));

		c.relation.mean = mean;
		c.relation.deviation = deviation;
		for (size_t i = 0; i < hidden; i++)
			expected[i] = (raw[i] - mean[i]) / deviation[i];
		unit_length(expected, hidden);
		editor_calibration_relation_key(&c, raw, key);
		assert_memory_equal(key, expected, hidden * sizeof(*key));

		c.relation.dims = DIMS;
		c.relation.head = head;
		memset(expected, 0, sizeof(expected));
		for (size_t i = 0; i < hidden; i++) {
			for (size_t j = 0; j < DIMS; j++)
				expected[j] += (raw[i] - mean[i]) / deviation[i] * head[i * DIMS + j];
		}
		unit_length(expected, DIMS);
		editor_calibration_relation_key(&c, raw, key);
		assert_memory_equal(key, expected, DIMS * sizeof(*key));
	}
}

/* Of random rows that differ in size, rounded; some rows of zeros. `triangular`: row i begins with i zeros. */
static void draw_rows(struct rng *rng, float *rows, size_t row_count, size_t width, bool triangular)
{
	for (size_t i = 0; i < row_count; i++) {
		const float size = i % 7 == 3 ? 0 : ldexpf(1, (int)(i % 11) * 3 - 16);
		for (size_t j = 0; j < width; j++)
			rows[i * width + j] = triangular && j < i ? 0 : size * rng_normal(rng);
	}
	editor__shorts_round(rows, row_count, width);
}

/* 16 bits a number give the keys that 32 give, to the bit; what does not fit is kept in 32 alone. */
static void short_rows_give_the_same_bits(void **state)
{
	(void)state;
	enum { HIDDEN_MAX = 45, DIMS = 21 };
	float raw[HIDDEN_MAX], mean[HIDDEN_MAX], deviation[HIDDEN_MAX], key[HIDDEN_MAX], expected[HIDDEN_MAX];
	struct rng rng;
	struct err e = ERR_INIT;
	rng_init(&rng, 4);
	for (size_t hidden = 1; hidden <= HIDDEN_MAX; hidden++) {
		struct editor_calibration *c = calloc(1, sizeof(*c));
		assert_non_null(c);
		const size_t dims = hidden % 3 == 0 ? hidden : 1 + hidden / 2; /* with fewer no triangle */
		*c = (struct editor_calibration){ .hidden = hidden,
						  .dims = dims,
						  .whiten = calloc(hidden * dims, sizeof(float)),
						  .relation = { .dims = DIMS,
								.head = calloc(hidden * DIMS, sizeof(float)) } };
		c->mean = c->relation.mean = mean;
		c->deviation = c->relation.deviation = deviation;
		draw_rows(&rng, c->whiten, hidden, dims, dims == hidden);
		draw_rows(&rng, c->relation.head, hidden, DIMS, false);
		for (size_t i = 0; i < hidden; i++) {
			raw[i] = rng_normal(&rng);
			mean[i] = rng_normal(&rng);
			deviation[i] = 0.5f + rng_uniform(&rng);
		}
		assert_ok(&e, editor__calibration_shorten(c, &e));
		for (size_t odd = 0; odd < 2; odd++) {
			/* the second time with a component so small that its product with a step would lose bits */
			mean[hidden / 2] = odd == 0 ? mean[hidden / 2] : 0;
			raw[hidden / 2] = odd == 0 ? raw[hidden / 2] : 3e-38f;
			struct editor_calibration plain = *c;
			plain.short_whiten = plain.relation.short_head = NULL;
			editor_calibration_key(c, raw, key);
			editor_calibration_key(&plain, raw, expected);
			assert_memory_equal(key, expected, dims * sizeof(*key));
			float relation[DIMS], relation_expected[DIMS];
			editor_calibration_relation_key(c, raw, relation);
			editor_calibration_relation_key(&plain, raw, relation_expected);
			assert_memory_equal(relation, relation_expected, sizeof(relation));
		}
#if defined(__x86_64__)
		const bool read = __builtin_cpu_supports("avx2") != 0;
#else
		const bool read = false;
#endif
		assert_int_equal(c->short_whiten != NULL, read);
		assert_int_equal(c->relation.short_head != NULL, read);
		static const float odd[] = { 0.123456789f, -0.0f, 1e30f, INFINITY, NAN };
		for (size_t o = 0; o < sizeof(odd) / sizeof(odd[0]); o++) {
			editor__short_rows_destroy(&c->short_whiten);
			editor__short_rows_destroy(&c->relation.short_head);
			c->whiten[hidden * dims - 1] = odd[o];
			assert_ok(&e, editor__calibration_shorten(c, &e));
			assert_null(c->short_whiten);
			assert_int_equal(c->relation.short_head != NULL, read);
		}
		c->mean = c->deviation = c->relation.mean = c->relation.deviation = NULL;
		editor_calibration_destroy(&c);
	}
}

static void rounding_to_short_rows_is_near(void **state)
{
	(void)state;
	enum { WIDTH = 37 };
	struct rng rng;
	rng_init(&rng, 5);
	for (size_t t = 0; t < 300; t++) {
		float row[WIDTH], rounded[WIDTH], again[WIDTH], largest = 0;
		for (size_t i = 0; i < WIDTH; i++) {
			row[i] = ldexpf(rng_normal(&rng), (int)(t % 60) - 30);
			largest = fabsf(row[i]) > largest ? fabsf(row[i]) : largest;
		}
		if (t % 4 == 0) /* just below a power of two: rounds up to what does not fit at this step */
			row[5] = largest = nextafterf(ldexpf(8, (int)(t % 60) - 30), 0);
		memcpy(rounded, row, sizeof(row));
		editor__shorts_round(rounded, 1, WIDTH);
		for (size_t i = 0; i < WIDTH; i++)
			assert_true(fabsf(rounded[i] - row[i]) <= 0x1p-15f * largest);
		memcpy(again, rounded, sizeof(row));
		editor__shorts_round(again, 1, WIDTH);
		assert_memory_equal(again, rounded, sizeof(row));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_have_the_bits_of_the_definition),
		cmocka_unit_test(short_rows_give_the_same_bits),
		cmocka_unit_test(rounding_to_short_rows_is_near),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
