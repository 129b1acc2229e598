/* forward.c and backward.c on the tiny random model. Two ways to the same number may differ by float32 rounding in
 * another order (batched products and row by row), hence NEAR of values of size about one. */
#include "base/fault.h"
#include "base/rng.h"
#include "model/model.h"
#include "tests/lib/test.h"
#include "tests/lib/tiny_model.h"

#include <math.h>

#define NEAR     2e-4f
#define ROWS_MAX 64

static struct model *model;
static struct model_run *run;

static int set_up(void **state)
{
	struct err e = ERR_INIT;
	(void)state;
	if (tiny_model_open(2, 2, &model, &e) != 0 || model_run_new(model, ROWS_MAX, &run, &e) != 0) {
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

static void ids_make(int32_t *ids, size_t count, uint64_t seed)
{
	struct rng rng;
	rng_init(&rng, seed);
	for (size_t i = 0; i < count; i++)
		ids[i] = (int32_t)(TINY_BYTE + rng_below(&rng, 256));
}

static void layers(float *x, struct model_kv *kv, const int32_t *ids, const struct model_segment *segments,
		   size_t segment_count, const struct model_reading *readings)
{
	struct err e = ERR_INIT;
	size_t rows = 0;
	for (size_t s = 0; s < segment_count; s++)
		rows += segments[s].row_count;
	assert_int_equal(model_embed(run, x, ids, rows, &e), 0);
	if (model_layers(run, x, kv, segments, segment_count, 0, TINY_LAYERS, readings, NULL, 0, &e) != 0)
		fail_msg("%s", e.text);
}

static void assert_near(const float *a, const float *b, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!(fabsf(a[i] - b[i]) <= NEAR * (1 + fabsf(b[i]))))
			fail_msg("value %zu: %g and %g", i, (double)a[i], (double)b[i]);
	}
}

static void test_prefill_is_decode(void **state)
{
	int32_t ids[20];
	float batch[20 * TINY_HIDDEN], single[20 * TINY_HIDDEN];
	struct model_kv *kv = NULL;
	struct err e = ERR_INIT;
	(void)state;
	ids_make(ids, 20, 1);
	assert_int_equal(model_kv_new(model, 2, 32, &kv, &e), 0);
	layers(batch, kv, ids, &(struct model_segment){ 0, 0, 20 }, 1, NULL);
	for (size_t i = 0; i < 20; i++)
		layers(single + i * TINY_HIDDEN, kv, ids + i, &(struct model_segment){ 1, i, 1 }, 1, NULL);
	assert_near(batch, single, 20 * TINY_HIDDEN);
	layers(single, NULL, ids, &(struct model_segment){ 0, 0, 20 }, 1, NULL); /* no cache */
	assert_near(batch, single, 20 * TINY_HIDDEN);
	model_kv_destroy(&kv);
}

static void test_packed_is_separate(void **state)
{
	const struct model_segment segments[3] = { { 0, 0, 7 }, { 0, 0, 1 }, { 0, 0, 12 } };
	int32_t ids[20];
	float packed[20 * TINY_HIDDEN], single[20 * TINY_HIDDEN];
	(void)state;
	ids_make(ids, 20, 2);
	layers(packed, NULL, ids, segments, 3, NULL);
	for (size_t s = 0, row = 0; s < 3; row += segments[s].row_count, s++)
		layers(single + row * TINY_HIDDEN, NULL, ids + row, &segments[s], 1, NULL);
	assert_near(packed, single, 20 * TINY_HIDDEN);
}

static void test_stages_are_whole(void **state)
{
	const struct model_segment segment = { 0, 0, 9 };
	int32_t ids[9];
	float whole[9 * TINY_HIDDEN], staged[9 * TINY_HIDDEN], input[9 * TINY_HIDDEN], residual[9 * TINY_HIDDEN],
		a[9 * TINY_FFN];
	float *w = malloc(sizeof(*w) * TINY_HIDDEN * TINY_FFN);
	const struct model_tap taps[3] = { { MODEL_TAP_INPUT, 2, input },
					   { MODEL_TAP_DOWN_RESIDUAL, 1, residual },
					   { MODEL_TAP_DOWN_INPUT, 1, a } };
	struct model_backend *b = model_backend_of(model);
	struct err e = ERR_INIT;
	(void)state;
	assert_non_null(w);
	ids_make(ids, 9, 3);
	layers(whole, NULL, ids, &segment, 1, NULL);
	assert_int_equal(model_embed(run, staged, ids, 9, &e), 0);
	assert_int_equal(model_layers(run, staged, NULL, &segment, 1, 0, 3, NULL, taps, 3, &e), 0);
	assert_int_equal(model_layers(run, staged, NULL, &segment, 1, 3, TINY_LAYERS, NULL, NULL, 0, &e), 0);
	assert_memory_equal(whole, staged, sizeof(whole));
	/* input of layer 2 = residual of layer 1 + A · Wᵀ of its down_proj */
	model_down_proj_get(model, 1, w);
	assert_int_equal(b->ops->gemm(b, residual, a, w, false, true, 1, 1, 9, TINY_HIDDEN, TINY_FFN), 0);
	assert_near(residual, input, 9 * TINY_HIDDEN);
	free(w);
}

static void test_side_by_segment(void **state)
{
	const struct model_segment segments[3] = { { 0, 0, 5 }, { 0, 0, 4 }, { 0, 0, 6 } };
	int32_t ids[15];
	float plain[15 * TINY_HIDDEN], mixed[15 * TINY_HIDDEN], alone[15 * TINY_HIDDEN];
	float *delta = malloc(sizeof(*delta) * TINY_HIDDEN * TINY_FFN);
	struct rng rng;
	(void)state;
	assert_non_null(delta);
	rng_init(&rng, 9);
	for (size_t i = 0; i < (size_t)TINY_HIDDEN * TINY_FFN; i++)
		delta[i] = 0.1f * rng_normal(&rng);
	const struct model_side side = { 1, delta };
	const struct model_reading sides[3] = { { 0 }, { .side = &side }, { 0 } }, one[1] = { { .side = &side } };
	ids_make(ids, 15, 4);
	layers(plain, NULL, ids, segments, 3, NULL);
	layers(mixed, NULL, ids, segments, 3, sides);
	assert_near(mixed, plain, 5 * TINY_HIDDEN);
	assert_near(mixed + 9 * TINY_HIDDEN, plain + 9 * TINY_HIDDEN, 6 * TINY_HIDDEN);
	float difference = 0;
	for (size_t i = 5 * TINY_HIDDEN; i < 9 * TINY_HIDDEN; i++)
		difference = fmaxf(difference, fabsf(mixed[i] - plain[i]));
	assert_true(difference > 100 * NEAR);
	layers(alone, NULL, ids + 5, &segments[1], 1, one);
	assert_near(mixed + 5 * TINY_HIDDEN, alone, 4 * TINY_HIDDEN);
	free(delta);
}

/* Anchored rows add anchor·Dᵀ to what W gives, the others A·Dᵀ; nothing reaches past the segment's end. */
static void test_anchored_rows_read_their_anchors(void **state)
{
	enum { ROWS = 9, FIRST = 4, LAYER = 1 }; /* the second segment's rows 4 … 8: rows 6, 7 and 8 are anchored */
	const struct model_segment segments[2] = { { 0, 0, FIRST }, { 0, 0, ROWS - FIRST } };
	int32_t ids[ROWS];
	static float plain[ROWS * TINY_HIDDEN], read[ROWS * TINY_HIDDEN], inputs[ROWS * TINY_FFN];
	static float delta[TINY_HIDDEN * TINY_FFN], anchors[4 * TINY_FFN];
	struct rng rng;
	struct err e = ERR_INIT;
	(void)state;
	rng_init(&rng, 9);
	for (size_t i = 0; i < (size_t)TINY_HIDDEN * TINY_FFN; i++)
		delta[i] = 0.1f * rng_normal(&rng);
	for (size_t i = 0; i < (size_t)4 * TINY_FFN; i++)
		anchors[i] = rng_normal(&rng);
	ids_make(ids, ROWS, 4);
	const struct model_side side = { LAYER, delta };
	const struct model_reading readings[2] = {
		{ .side = &side },
		{ .side = &side,
		  .anchors = anchors,
		  .anchor_from = 2,
		  .anchor_count = 4 } /* one more than there is room */
	};
	const struct model_tap tap = { MODEL_TAP_DOWN_INPUT, LAYER, inputs };
	for (int with = 0; with < 2; with++) {
		float *x = with ? read : plain;
		assert_int_equal(model_embed(run, x, ids, ROWS, &e), 0);
		assert_ok(&e,
			  model_layers(run, x, NULL, segments, 2, 0, LAYER + 1, with ? readings : NULL, &tap, 1, &e));
	}
	for (size_t r = 0; r < ROWS; r++) {
		const float *a = r < FIRST + 2 ? inputs + r * TINY_FFN : anchors + (r - FIRST - 2) * TINY_FFN;
		for (size_t h = 0; h < TINY_HIDDEN; h++) {
			double sum = 0;
			for (size_t k = 0; k < TINY_FFN; k++)
				sum += (double)a[k] * (double)delta[h * TINY_FFN + k];
			const float added = read[r * TINY_HIDDEN + h] - plain[r * TINY_HIDDEN + h];
			assert_true(fabsf(added - (float)sum) < 10 * NEAR); /* sums of 128 products of size about 0.1 */
		}
	}
}

static void test_head_and_loss_agree(void **state)
{
	enum { COUNT = 10 };
	const size_t rows[3] = { 9, 0, 4 };
	const int32_t labels[3] = { 11, 12, 13 };
	int32_t ids[COUNT], argmax[3];
	float x[COUNT * TINY_HIDDEN], loss[3];
	size_t vocabulary = model_shape_of(model)->vocabulary;
	float *logits = malloc(3 * vocabulary * sizeof(*logits));
	struct err e = ERR_INIT;
	(void)state;
	assert_non_null(logits);
	ids_make(ids, COUNT, 6);
	layers(x, NULL, ids, &(struct model_segment){ 0, 0, COUNT }, 1, NULL);
	assert_int_equal(model_head(run, logits, x, rows, 3, &e), 0);
	assert_int_equal(model_head_loss(run, loss, argmax, x, rows, labels, 3, &e), 0);
	for (size_t k = 0; k < 3; k++) {
		double sum = 0;
		for (size_t i = 0; i < vocabulary; i++)
			sum += exp((double)logits[k * vocabulary + i]);
		assert_true(fabs(log(sum) - (double)logits[k * vocabulary + (size_t)labels[k]] - (double)loss[k]) <
			    1e-4);
		for (size_t i = 0; i < vocabulary; i++)
			assert_true(logits[k * vocabulary + i] <= logits[k * vocabulary + (size_t)argmax[k]]);
	}
	assert_int_equal(model_head_loss(run, NULL, argmax, x, rows, NULL, 3, &e), 0);
	free(logits);
}

/* --- model_loss */

static const struct model_segment train_segments[2] = { { 0, 0, 6 }, { 0, 0, 5 } };
static const size_t train_rows[4] = { 3, 4, 9, 5 };
static const int32_t train_labels[4] = { 20, 70, 30, 40 };
static const float train_scale[4] = { 0.5f, 1, 0.25f, 0.7f };

static double total_loss(const float *y, size_t from, float *dy)
{
	float loss[4];
	int32_t argmax[4];
	struct err e = ERR_INIT;
	double sum = 0;
	if (model_loss(run, loss, argmax, dy, y, train_segments, 2, from, train_rows, train_labels, train_scale, 4,
		       &e) != 0)
		fail_msg("%s", e.text);
	for (size_t k = 0; k < 4; k++)
		sum += (double)train_scale[k] * (double)loss[k];
	return sum;
}

/* Central differences in a random direction: sum over all entries at once, so float32 noise stays small beside the
 * slope. */
static void check_gradient(size_t from)
{
	enum { N = 11 * TINY_HIDDEN };
	int32_t ids[11];
	float y[N], moved[N], dy[N], again[N];
	struct err e = ERR_INIT;
	struct rng rng;
	ids_make(ids, 11, 7);
	rng_init(&rng, from + 1);
	assert_int_equal(model_embed(run, y, ids, 11, &e), 0);
	assert_int_equal(model_layers(run, y, NULL, train_segments, 2, 0, from, NULL, NULL, 0, &e), 0);
	double loss = total_loss(y, from, dy);
	assert_true(fabs(loss - total_loss(y, from, NULL)) < 1e-5);
	(void)total_loss(y, from, again);
	assert_memory_equal(dy, again, sizeof(dy)); /* the same bits */
	for (int direction = 0; direction < 4; direction++) {
		float d[N], step = 2e-3f;
		double slope = 0, length = 0;
		for (size_t i = 0; i < N; i++) {
			d[i] = rng_normal(&rng) + (direction % 2 == 0 ? 20 * dy[i] : 0);
			slope += (double)d[i] * (double)dy[i];
			length += (double)dy[i] * (double)dy[i];
		}
		for (size_t i = 0; i < N; i++)
			moved[i] = y[i] + step * d[i];
		double above = total_loss(moved, from, NULL);
		for (size_t i = 0; i < N; i++)
			moved[i] = y[i] - step * d[i];
		double measured = (above - total_loss(moved, from, NULL)) / (2 * (double)step);
		if (fabs(measured - slope) > 0.01 * fabs(slope) + 0.02 * sqrt(length))
			fail_msg("from layer %zu: differences say %g, backward says %g", from, measured, slope);
	}
	/* the last row of the second segment stands after every label: nothing depends on it */
	for (size_t i = 10 * TINY_HIDDEN; i < N; i++)
		assert_true(dy[i] == 0);
}

static void test_gradient(void **state)
{
	(void)state;
	check_gradient(2);
	check_gradient(3);
	check_gradient(TINY_LAYERS);
}

/* The last layer is edited: only the head is above it. */
static void test_gradient_of_the_head_alone(void **state)
{
	struct model *shared = model;
	struct model_run *shared_run = run;
	struct err e = ERR_INIT;
	(void)state;
	assert_ok(&e, tiny_model_open(TINY_LAYERS, 1, &model, &e));
	assert_ok(&e, model_run_new(model, ROWS_MAX, &run, &e));
	check_gradient(TINY_LAYERS);
	model_run_destroy(&run);
	model_close(&model);
	model = shared;
	run = shared_run;
}

static void test_loss_is_head_loss(void **state)
{
	int32_t ids[11], argmax[4], argmax_want[4];
	float y[11 * TINY_HIDDEN], loss[4], want[4];
	struct err e = ERR_INIT;
	(void)state;
	ids_make(ids, 11, 8);
	assert_int_equal(model_embed(run, y, ids, 11, &e), 0);
	assert_int_equal(model_loss(run, loss, argmax, NULL, y, train_segments, 2, 0, train_rows, train_labels,
				    train_scale, 4, &e),
			 0);
	assert_int_equal(model_layers(run, y, NULL, train_segments, 2, 0, TINY_LAYERS, NULL, NULL, 0, &e), 0);
	assert_int_equal(model_head_loss(run, want, argmax_want, y, train_rows, train_labels, 4, &e), 0);
	assert_near(loss, want, 4);
	assert_memory_equal(argmax, argmax_want, sizeof(argmax));
}

static void test_refusals(void **state)
{
	float x[70 * TINY_HIDDEN] = { 0 }, loss[1], scale[1] = { 1 };
	int32_t ids[1] = { -1 }, label[1] = { 0 }, argmax[1];
	const size_t row[1] = { 0 }, far_row[1] = { 5 };
	struct err e = ERR_INIT;
	const struct model_segment one = { 0, 0, 1 }, none = { 0, 0, 0 }, later = { 0, 3, 1 }, large = { 0, 0, 65 };
	(void)state;
	assert_int_equal(model_embed(run, x, ids, 1, &e), ERR_INVALID);
	ids[0] = (int32_t)model_shape_of(model)->vocabulary;
	assert_int_equal(model_embed(run, x, ids, 1, &e), ERR_INVALID);
	assert_int_equal(model_layers(run, x, NULL, &one, 0, 0, 1, NULL, NULL, 0, &e), ERR_INVALID);
	assert_int_equal(model_layers(run, x, NULL, &none, 1, 0, 1, NULL, NULL, 0, &e), ERR_INVALID);
	assert_int_equal(model_layers(run, x, NULL, &later, 1, 0, 1, NULL, NULL, 0, &e), ERR_INVALID);
	assert_int_equal(model_layers(run, x, NULL, &large, 1, 0, 1, NULL, NULL, 0, &e), ERR_LIMIT);
	assert_int_equal(model_layers(run, x, NULL, &one, 1, 0, TINY_LAYERS + 1, NULL, NULL, 0, &e), ERR_INVALID);
	assert_int_equal(model_layers(run, x, NULL, &one, 1, 2, 1, NULL, NULL, 0, &e), ERR_INVALID);
	assert_int_equal(model_loss(run, loss, argmax, NULL, x, &one, 1, 2, far_row, label, scale, 1, &e), ERR_INVALID);
	assert_int_equal(model_loss(run, loss, argmax, NULL, x, &one, 1, 2, row, label, scale, 0, &e), ERR_INVALID);
	assert_int_equal(model_loss(run, loss, argmax, x, x, &one, 1, 1, row, label, scale, 1, &e),
			 ERR_INVALID); /* opened from 2 on */
	label[0] = -5;
	assert_int_equal(model_loss(run, loss, argmax, NULL, x, &one, 1, 2, row, label, scale, 1, &e), ERR_INVALID);
	assert_int_equal(model_run_new(model, 0, &(struct model_run *){ NULL }, &e), ERR_INVALID);
}

/* The allocations of open, run and a first loss fail one after the other; nothing leaks. */
static int open_and_use(struct err *e)
{
	struct model *m = NULL;
	struct model_run *r = NULL;
	float x[11 * TINY_HIDDEN] = { 0 }, loss[4];
	int32_t argmax[4];
	int rc = tiny_model_open(2, 1, &m, e);
	if (rc == 0)
		rc = model_run_new(m, ROWS_MAX, &r, e);
	if (rc == 0)
		rc = model_loss(r, loss, argmax, x, x, train_segments, 2, 2, train_rows, train_labels, train_scale, 4,
				e);
	model_run_destroy(&r);
	model_close(&m);
	return rc;
}

static void test_out_of_memory(void **state)
{
	struct err e = ERR_INIT;
	int failures = 0;
	(void)state;
	for (int64_t n = 0; n < 200; n++) {
		fault_set(n, 1);
		int rc = open_and_use(&e);
		fault_set(-1, 0);
		assert_true(
			rc == 0 ||
			rc == ERR_NOMEM); /* 0: compiled expressions and the table of rotations can be done without */
		failures += rc != 0;
	}
	assert_true(failures > 100);
	assert_int_equal(open_and_use(&e), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prefill_is_decode),
		cmocka_unit_test(test_packed_is_separate),
		cmocka_unit_test(test_stages_are_whole),
		cmocka_unit_test(test_side_by_segment),
		cmocka_unit_test(test_head_and_loss_agree),
		cmocka_unit_test(test_gradient),
		cmocka_unit_test(test_loss_is_head_loss),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_out_of_memory),
		cmocka_unit_test(test_gradient_of_the_head_alone),
		cmocka_unit_test(test_anchored_rows_read_their_anchors),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
