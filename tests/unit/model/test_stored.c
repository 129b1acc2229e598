/* Every kernel that this machine has, by name, against plain C on the file's own bytes. */
#include "model/stored.h"

#include "base/rng.h"
#include "model/host_memory.h"
#include "model/quant.h"
#include "tests/lib/quantise.h"
#include "tests/lib/test.h"

#include <math.h>

#define ROWS_MAX 40
#define BLOCK    MODEL__STORED_BLOCK

static const char *const names[] = { "portable", "avx2", "avx512vnni" };
static const enum model_type types[] = { MODEL_Q4_1, MODEL_Q8_0, MODEL_BF16 };
static struct rng rng;

static float *numbers(size_t count, float spread)
{
	float *v = calloc(count, sizeof(*v));
	assert_non_null(v);
	for (size_t i = 0; i < count; i++)
		v[i] = spread * rng_normal(&rng);
	return v;
}

struct weight {
	enum model_type type;
	size_t width, depth, row_bytes;
	uint8_t *file;
	struct model__stored stored;
};

static void weight_make(struct weight *w, enum model_type type, size_t width, size_t depth)
{
	float *values = numbers(width * depth, 0.05f);
	const size_t bytes = model__stored_bytes(type, width, depth);
	assert_true(bytes > 0);
	*w = (struct weight){ type, width, depth, quantise_bytes(type, depth), NULL, { 0 } };
	w->file = malloc(width * w->row_bytes);
	void *memory = model__host_bytes(bytes);
	assert_true(w->file != NULL && memory != NULL);
	memset(memory, 0, bytes);
	for (size_t o = 0; o < width; o++)
		quantise(type, values + o * depth, depth, w->file + o * w->row_bytes);
	model__stored_pack(&w->stored, memory, type, w->file, width, depth);
	free(values);
}

static void weight_free(struct weight *w)
{
	model__host_bytes_free(w->stored.data);
	free(w->file);
}

/* Σ |terms| of a sum, which its rounding is a share of. */
static double weight_of_terms(const struct weight *w, const float *x, size_t out)
{
	double sum = 0;
	float *row = calloc(w->depth, sizeof(*row));
	assert_non_null(row);
	model_quant_dequantise(w->type, w->file + out * w->row_bytes, w->depth, row);
	for (size_t k = 0; k < w->depth; k++)
		sum += fabs((double)row[k] * (double)x[k]);
	/* a minimum and the steps above it may be far larger than what they come to */
	free(row);
	return w->type == MODEL_Q4_1 ? 4 * sum : sum;
}

static void check_product(const struct model__stored_kernel *kernel, const struct weight *w, const float *x,
			  const struct model__rounded *rounded, size_t rows, bool accumulate)
{
	float *y = numbers(rows * w->width, 1), *before = malloc(rows * w->width * sizeof(*before));
	assert_non_null(before);
	memcpy(before, y, rows * w->width * sizeof(*y));
	model__stored_product(kernel, y, x, rounded, &w->stored, accumulate, rows, 0, model__stored_panels(&w->stored));
	/* every block, or depth, is rounded twice where it is added */
	const double rounding = (double)(2 * w->depth / (w->type == MODEL_BF16 ? 1 : BLOCK) + 4) * 0x1p-24;
	for (size_t r = 0; r < rows; r++) {
		const float *xr = x + r * w->depth;
		for (size_t o = 0; o < w->width; o++) {
			const float want = model__stored_reference(rounded + r * (w->depth / BLOCK), xr, w->type,
								   w->file + o * w->row_bytes, w->depth);
			const size_t at = r * w->width + o;
			const double sum = (double)(accumulate ? before[at] : 0) + (double)want;
			if (fabs((double)y[at] - sum) > rounding * (weight_of_terms(w, xr, o) + fabs(sum)))
				fail_msg("%s, type %d, %zu x %zu, row %zu of %zu, output %zu: %.9g, wanted %.9g",
					 kernel->name, (int)w->type, w->width, w->depth, r, rows, o, (double)y[at],
					 sum);
		}
	}
	free(y);
	free(before);
}

/* Rows in smaller calls have the bits that they have together. */
static void check_rows_apart(const struct model__stored_kernel *kernel, const struct weight *w, const float *x,
			     const struct model__rounded *rounded)
{
	float *all = numbers(ROWS_MAX * w->width, 1), *some = numbers(ROWS_MAX * w->width, 1);
	const size_t panels = model__stored_panels(&w->stored), blocks = w->depth / BLOCK;
	model__stored_product(kernel, all, x, rounded, &w->stored, false, ROWS_MAX, 0, panels);
	for (size_t rows = 1; rows <= 17; rows++) {
		for (size_t first = 0; first + rows <= ROWS_MAX; first += 11)
			for (size_t p = 0; p < panels; p++) { /* and panels one by one */
				model__stored_product(kernel, some, x + first * w->depth, rounded + first * blocks,
						      &w->stored, false, rows, p, p + 1);
				if (p + 1 == panels)
					assert_memory_equal(some, all + first * w->width,
							    rows * w->width * sizeof(*some));
			}
	}
	free(all);
	free(some);
}

static void check_kernel(const struct model__stored_kernel *kernel)
{
	static const size_t shapes[][2] = { { 1, 32 }, { 16, 64 }, { 17, 96 }, { 192, 576 }, { 40, 1536 } };
	static const size_t rows[] = { 1, 2, 3, 4, 7, 8, 15, 16, 17, ROWS_MAX };
	for (size_t t = 0; t < 3; t++) {
		for (size_t s = 0; s < 5; s++) {
			struct weight w;
			const size_t odd = types[t] == MODEL_BF16 && s == 2 ? 1 : 0; /* whole blocks are not needed */
			weight_make(&w, types[t], shapes[s][0], shapes[s][1] + odd);
			const size_t blocks = w.depth / BLOCK;
			float *x = numbers(ROWS_MAX * w.depth, 1);
			struct model__rounded *rounded = calloc(ROWS_MAX * blocks, sizeof(*rounded));
			assert_non_null(rounded);
			for (size_t r = 0; r < ROWS_MAX; r++)
				kernel->round(rounded + r * blocks, x + r * w.depth, blocks);
			for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++)
				check_product(kernel, &w, x, rounded, rows[r], r % 2 == 1);
			check_rows_apart(kernel, &w, x, rounded);
			weight_free(&w);
			free(x);
			free(rounded);
		}
	}
}

static void every_kernel_computes_what_the_file_says(void **state)
{
	(void)state;
	rng_init(&rng, 11);
	for (size_t i = 0; i < 3; i++) {
		const struct model__stored_kernel *kernel = model__stored_kernel_of(names[i]);
		if (kernel == NULL) {
			print_message("NOT TESTED: this processor has no %s\n", names[i]);
			continue;
		}
		assert_string_equal(kernel->name, names[i]);
		check_kernel(kernel);
	}
	assert_non_null(model__stored_kernel_of(NULL));
	assert_null(model__stored_kernel_of("abacus"));
}

static void rows_are_rounded_alike_by_every_kernel(void **state)
{
	(void)state;
	enum { BLOCKS = 64 };
	struct model__rounded want[BLOCKS], got[BLOCKS];
	rng_init(&rng, 3);
	float *x = numbers(BLOCKS * BLOCK, 1);
	memset(x, 0, BLOCK * sizeof(*x));    /* nothing but zeros */
	x[2 * BLOCK] = 1e-30f;               /* one that is far smaller than the largest */
	x[3 * BLOCK + 5] = 3e38f;            /* the rest becomes zero */
	for (size_t i = 0; i < BLOCK; i++) { /* exact halves go to the even neighbour */
		x[4 * BLOCK + i] = (float)i - 0.5f;
		x[5 * BLOCK + i] = 1e-42f * (float)i; /* denormal */
	}
	x[4 * BLOCK] = -MODEL__STORED_LARGEST;
	x[6 * BLOCK + 9] = NAN;
	x[7 * BLOCK + 31] = INFINITY;
	x[8 * BLOCK] = -INFINITY;
	model__stored_portable.round(want, x, BLOCKS);
	for (size_t b = 0; b < BLOCKS; b++) {
		int32_t total = 0;
		for (size_t i = 0; i < BLOCK; i++) {
			const int32_t q = MODEL__STORED_BASE * want[b].high[i] + want[b].low[i];
			total += q;
			assert_in_range(want[b].low[i] + 127, 0, 254);
			if (b < 5 || b > 8)
				assert_true(fabsf(want[b].scale * (float)q - x[b * BLOCK + i]) <=
					    0.51f * want[b].scale);
		}
		assert_int_equal(total, want[b].total);
		assert_int_equal(isnan(want[b].scale), b >= 6 && b <= 8);
		assert_int_equal(isnan(want[b].sum), b >= 6 && b <= 8);
	}
	for (size_t i = 0; i < BLOCK; i++)
		assert_true(want[5].high[i] == 0 && want[5].low[i] == 0);
	assert_true(want[4].high[0] == -127 && want[4].low[0] == -127); /* −32,512 */
	assert_true(want[4].high[1] == 0 && want[4].low[1] == 0);       /* 0.5 */
	assert_true(want[4].high[2] == 0 && want[4].low[2] == 2);       /* 1.5 */
	for (size_t k = 1; k < 3; k++) {
		const struct model__stored_kernel *kernel = model__stored_kernel_of(names[k]);
		if (kernel == NULL)
			continue;
		memset(got, 0xAA, sizeof(got));
		kernel->round(got, x, BLOCKS);
		for (size_t b = 0; b < BLOCKS; b++) {
			if (b < 6 || b > 8)
				assert_memory_equal(&got[b], &want[b], sizeof(got[b]));
			else
				assert_true(isnan(got[b].scale) && isnan(got[b].sum) && got[b].total == 0);
		}
	}
	free(x);
}

/* A number that is none makes its row so, and no other. */
static void what_is_no_number_stays_in_its_row(void **state)
{
	(void)state;
	rng_init(&rng, 5);
	for (size_t t = 0; t < 3; t++) {
		for (size_t k = 0; k < 3; k++) {
			const struct model__stored_kernel *kernel = model__stored_kernel_of(names[k]);
			struct weight w;
			float y[3 * 20];
			if (kernel == NULL)
				continue;
			weight_make(&w, types[t], 20, 64);
			float *x = numbers(3 * 64, 1);
			struct model__rounded rounded[6];
			x[64 + 40] = NAN;
			kernel->round(rounded, x, 6);
			model__stored_product(kernel, y, x, rounded, &w.stored, false, 3, 0, 2);
			for (size_t i = 0; i < 60; i++)
				assert_int_equal(isnan(y[i]), i >= 20 && i < 40);
			weight_free(&w);
			free(x);
		}
	}
}

static void sizes_and_types(void **state)
{
	(void)state;
	assert_int_equal(model__stored_bytes(MODEL_Q4_1, 576, 1536), 576 * 1536 / 32 * 20);
	assert_int_equal(model__stored_bytes(MODEL_Q8_0, 49152, 576), 49152 * 576 / 32 * 34);
	assert_int_equal(model__stored_bytes(MODEL_BF16, 192, 576), 2 * 192 * 576);
	assert_int_equal(model__stored_bytes(MODEL_Q4_1, 576, 1537), 0);
	assert_int_equal(model__stored_bytes(MODEL_F32, 576, 1536), 0);
	assert_int_equal(model__stored_bytes(MODEL_Q6_K, 576, 1536), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kernel_computes_what_the_file_says),
		cmocka_unit_test(rows_are_rounded_alike_by_every_kernel),
		cmocka_unit_test(what_is_no_number_stays_in_its_row),
		cmocka_unit_test(sizes_and_types),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
