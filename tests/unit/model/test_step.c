/* Decode steps with weights as the file stores them, on the tiny model in each form. */
#include "base/fault.h"
#include "base/rng.h"
#include "model/cpu.h"
#include "model/model.h"
#include "tests/lib/test.h"
#include "tests/lib/tiny_model.h"

#include <math.h>

#define TOKENS    12
#define SEQUENCES 16
/* Of values of size about one. The same numbers by another order of sums may fall on the other side of a half and be
 * rounded to the next one of 65,025 steps. */
#define STEPS_APART 2e-3f
#define NEAR        2e-4f

static const enum model_type types[] = { MODEL_Q4_1, MODEL_Q8_0, MODEL_BF16 };

struct decoding {
	struct model *model;
	struct model_run *run;
	struct model_kv *kv;
	float *logits; /* of the last step */
	float x[SEQUENCES * TINY_HIDDEN];
};

static void decoding_open(struct decoding *d, enum model_type type, const struct model_options *options)
{
	struct err e = ERR_INIT;
	memset(d, 0, sizeof(*d));
	assert_ok(&e, tiny_model_open_as(type, options, &d->model, &e));
	assert_ok(&e, model_run_new(d->model, 32, &d->run, &e));
	assert_ok(&e, model_kv_new(d->model, SEQUENCES, TOKENS + 1, &d->kv, &e));
	d->logits = calloc(SEQUENCES * tiny_model_vocabulary(), sizeof(float));
	assert_non_null(d->logits);
}

static void decoding_close(struct decoding *d)
{
	free(d->logits);
	model_kv_destroy(&d->kv);
	model_run_destroy(&d->run);
	model_close(&d->model);
}

static struct model_options options_of(const char *backend, size_t threads)
{
	return (struct model_options){ .backend = backend,
				       .thread_count = threads,
				       .backward_from = SIZE_MAX,
				       .stored_too = true,
				       .skip_digest = true };
}

static int32_t token(size_t sequence, size_t position)
{
	return (int32_t)(TINY_BYTE + (sequence * 31 + position * 57 + sequence * position) % 256);
}

static float delta[2][TINY_HIDDEN * TINY_FFN], anchors[TINY_FFN];
static struct model_side sides[2] = { { 1, delta[0] }, { 2, delta[1] } };

static int make_sides(void **state)
{
	struct rng rng;
	(void)state;
	rng_init(&rng, 9);
	for (size_t i = 0; i < 2 * (size_t)TINY_HIDDEN * TINY_FFN; i++)
		delta[i / ((size_t)TINY_HIDDEN * TINY_FFN)][i % ((size_t)TINY_HIDDEN * TINY_FFN)] = 0.1f *
												    rng_normal(&rng);
	for (size_t i = 0; i < TINY_FFN; i++)
		anchors[i] = rng_normal(&rng);
	return 0;
}

/* Ten neighbours read one memory, others another or none; some with another's inputs, at every third token. */
static struct model_reading reading_of(size_t sequence, size_t position)
{
	struct model_reading reading = { .side = &sides[sequence == 1 || sequence > 12 ? 1 : 0] };
	if (sequence == 12)
		reading.side = NULL;
	if (sequence % 4 == 1 && position % 3 == 0) {
		reading.anchors = anchors;
		reading.anchor_count = 1;
	}
	return reading;
}

/* TOKENS steps of sequences [first, first + count), each in its slot. */
static void decode(struct decoding *d, size_t first, size_t count)
{
	struct err e = ERR_INIT;
	struct model_segment segments[SEQUENCES];
	struct model_reading readings[SEQUENCES];
	int32_t ids[SEQUENCES];
	size_t rows[SEQUENCES];
	for (size_t t = 0; t < TOKENS; t++) {
		for (size_t i = 0; i < count; i++) {
			segments[i] = (struct model_segment){ first + i, t, 1 };
			readings[i] = reading_of(first + i, t);
			ids[i] = token(first + i, t);
			rows[i] = i;
		}
		assert_ok(&e, model_embed(d->run, d->x, ids, count, &e));
		assert_ok(&e, model_step(d->run, d->x, d->kv, segments, count, readings, &e));
	}
	assert_ok(&e, model_head(d->run, d->logits, d->x, rows, count, &e));
}

static void assert_near(const char *what, const float *a, const float *b, size_t n, float tolerance)
{
	for (size_t i = 0; i < n; i++) {
		if (!(fabsf(a[i] - b[i]) <= tolerance * (1 + fabsf(b[i]))))
			fail_msg("%s, value %zu: %g and %g", what, i, (double)a[i], (double)b[i]);
	}
}

static void every_backend_steps_as_the_reference(void **state)
{
	static const char *const backends[] = { "cpu", "cpu:amx", "cpu:avx512", "cpu:avx2", "cpu:portable" };
	(void)state;
	for (size_t t = 0; t < 3; t++) {
		struct decoding want, got;
		struct model_options options = options_of("reference", 1);
		decoding_open(&want, types[t], &options);
		decode(&want, 0, 3);
		for (size_t b = 0; b < sizeof(backends) / sizeof(backends[0]); b++) {
			struct model_backend *there = NULL;
			struct err e = ERR_INIT;
			if (model_backend_new(backends[b], 1, &there, &e) != 0)
				continue; /* test_ops says which */
			model_backend_destroy(&there);
			options = options_of(backends[b], 2);
			decoding_open(&got, types[t], &options);
			decode(&got, 0, 3);
			const float tolerance = types[t] == MODEL_BF16 ? NEAR : STEPS_APART;
			assert_near(backends[b], got.x, want.x, 3 * (size_t)TINY_HIDDEN, tolerance);
			assert_near(backends[b], got.logits, want.logits, 3 * tiny_model_vocabulary(), tolerance);
			decoding_close(&got);
		}
		decoding_close(&want);
	}
}

/* Alone, with one thread, and among sixteen with three: the same bits, also behind memories. */
static void a_row_has_the_same_bits_in_any_company(void **state)
{
	(void)state;
	for (size_t t = 0; t < 3; t++) {
		struct decoding all, one;
		const struct model_options options = options_of("cpu", 3), alone = options_of("cpu", 1);
		decoding_open(&all, types[t], &options);
		decoding_open(&one, types[t], &alone);
		decode(&all, 0, SEQUENCES);
		for (size_t s = 0; s < SEQUENCES; s++) {
			decode(&one, s, 1);
			assert_memory_equal(one.x, all.x + s * TINY_HIDDEN, TINY_HIDDEN * sizeof(float));
			assert_memory_equal(one.logits, all.logits + s * tiny_model_vocabulary(),
					    tiny_model_vocabulary() * sizeof(float));
		}
		decoding_close(&all);
		decoding_close(&one);
	}
}

/* Root of the mean square of what differs, as a share of that of the values. */
static double apart(const float *a, const float *b, size_t n)
{
	double difference = 0, all = 0;
	for (size_t i = 0; i < n; i++) {
		difference += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
		all += (double)b[i] * (double)b[i];
	}
	return sqrt(difference / all);
}

/* Half a step of 65,025 is a hundred-thousandth of the block's largest number; four layers, twelve tokens and memories
 * that double it make it no more than some ten times that. */
static void a_step_is_near_the_float_path(void **state)
{
	(void)state;
	for (size_t t = 0; t < 3; t++) {
		struct decoding stored, packed;
		struct model_options options = options_of("cpu", 1);
		decoding_open(&stored, types[t], &options);
		options.stored_too = false;
		decoding_open(&packed, types[t], &options);
		decode(&stored, 0, 4);
		decode(&packed, 0, 4);
		const double share = apart(stored.logits, packed.logits, 4 * tiny_model_vocabulary());
		print_message("type %d: logits off by %.2g of their size\n", (int)types[t], share);
		assert_true(share < (2e-4));
		if (types[t] != MODEL_BF16)
			assert_memory_not_equal(stored.logits, packed.logits, sizeof(float) * tiny_model_vocabulary());
		decoding_close(&stored);
		decoding_close(&packed);
	}
}

static void without_stored_weights_a_step_is_the_layers(void **state)
{
	struct decoding d, f32;
	struct model_options options = options_of("cpu", 1);
	float x[TINY_HIDDEN];
	struct err e = ERR_INIT;
	const int32_t id = token(0, 0);
	const struct model_segment segment = { 0, 0, 1 };
	(void)state;
	options.stored_too = false;
	decoding_open(&d, MODEL_Q4_1, &options);
	assert_ok(&e, model_embed(d.run, x, &id, 1, &e));
	assert_ok(&e, model_layers(d.run, x, d.kv, &segment, 1, 0, TINY_LAYERS, NULL, NULL, 0, &e));
	assert_ok(&e, model_embed(d.run, d.x, &id, 1, &e));
	assert_ok(&e, model_step(d.run, d.x, d.kv, &segment, 1, NULL, &e));
	assert_memory_equal(d.x, x, sizeof(x));
	options.stored_too = true; /* of a type that has no kernels */
	decoding_open(&f32, MODEL_F32, &options);
	decode(&f32, 0, 2);
	decoding_close(&f32);
	decoding_close(&d);
}

/* The layers, which make keys and are trained above, know nothing of it. */
static void stored_weights_leave_the_layers_as_they_are(void **state)
{
	enum { ROWS = 20 };
	float x[2][ROWS * TINY_HIDDEN], loss[2][ROWS];
	int32_t ids[ROWS], argmax[2][ROWS];
	size_t rows[ROWS];
	struct err e = ERR_INIT;
	(void)state;
	for (size_t i = 0; i < ROWS; i++) {
		ids[i] = token(1, i);
		rows[i] = i;
	}
	for (size_t t = 0; t < 3; t++) {
		for (size_t k = 0; k < 2; k++) {
			struct model *model = NULL;
			struct model_run *run = NULL;
			struct model_options options = options_of("cpu", 2);
			const struct model_segment segment = { 0, 0, ROWS };
			options.stored_too = k == 1;
			assert_ok(&e, tiny_model_open_as(types[t], &options, &model, &e));
			assert_ok(&e, model_run_new(model, ROWS, &run, &e));
			assert_ok(&e, model_embed(run, x[k], ids, ROWS, &e));
			assert_ok(&e, model_layers(run, x[k], NULL, &segment, 1, 0, TINY_LAYERS, NULL, NULL, 0, &e));
			assert_ok(&e, model_head_loss(run, loss[k], argmax[k], x[k], rows, ids, ROWS, &e));
			model_run_destroy(&run);
			model_close(&model);
		}
		assert_memory_equal(x[0], x[1], sizeof(x[0]));
		assert_memory_equal(loss[0], loss[1], sizeof(loss[0]));
		assert_memory_equal(argmax[0], argmax[1], sizeof(argmax[0]));
	}
}

static void a_head_as_stored_is_enough(void **state)
{
	struct decoding both, only;
	struct model_options options = options_of("cpu", 1);
	float loss[2], want[2];
	int32_t argmax[2];
	const int32_t labels[2] = { TINY_BYTE, TINY_BYTE + 7 };
	const size_t rows[2] = { 0, 1 }, vocabulary = tiny_model_vocabulary();
	struct err e = ERR_INIT;
	(void)state;
	decoding_open(&both, MODEL_Q8_0, &options);
	options.head_stored_only = true;
	decoding_open(&only, MODEL_Q8_0, &options);
	decode(&both, 0, 2);
	decode(&only, 0, 2);
	assert_memory_equal(only.logits, both.logits, 2 * vocabulary * sizeof(float));
	assert_ok(&e, model_head_loss(only.run, loss, argmax, only.x, rows, labels, 2, &e));
	for (size_t r = 0; r < 2; r++) { /* of the very logits that were sampled from */
		double sum = 0;
		for (size_t i = 0; i < vocabulary; i++)
			sum += exp((double)only.logits[r * vocabulary + i]);
		want[r] = (float)(log(sum) - (double)only.logits[r * vocabulary + (size_t)labels[r]]);
	}
	assert_near("loss", loss, want, 2, 1e-5f);
	decoding_close(&both);
	decoding_close(&only);
}

/* Sixteen rows by three threads, or by one where the others cannot be started: the same bits. */
static void without_a_team_a_step_has_one_thread(void **state)
{
	(void)state;
	const struct model_options options = options_of("cpu:portable", 3);
	float want[SEQUENCES * TINY_HIDDEN];
	size_t alone = 0;
	for (int64_t n = -1; n < 40; n++) {
		struct decoding d;
		struct err e = ERR_INIT;
		struct model_segment segments[SEQUENCES];
		int32_t ids[SEQUENCES];
		decoding_open(&d, MODEL_Q4_1, &options);
		for (size_t i = 0; i < SEQUENCES; i++) {
			segments[i] = (struct model_segment){ i, 0, 1 };
			ids[i] = token(i, 0);
		}
		assert_ok(&e, model_embed(d.run, d.x, ids, SEQUENCES, &e));
		fault_set(n, n < 0 ? 0 : 1);
		const int rc = model_step(d.run, d.x, d.kv, segments, SEQUENCES, NULL, &e);
		fault_set(-1, 0);
		const struct model__cpu *cpu = (const struct model__cpu *)model_run_backend(d.run);
		assert_true(rc == 0 || rc == ERR_NOMEM);
		if (n < 0)
			memcpy(want, d.x, sizeof(want));
		else if (rc == 0)
			assert_memory_equal(d.x, want, sizeof(want));
		assert_int_equal(n < 0 && cpu->team == NULL, 0);
		alone += rc == 0 && cpu->teamless ? 1 : 0;
		decoding_close(&d);
	}
	assert_int_equal(alone, 1); /* one of the failures met the team */
}

static int open_and_step(void *context)
{
	struct err e = ERR_INIT;
	struct model *model = NULL;
	struct model_run *run = NULL;
	struct model_kv *kv = NULL;
	const struct model_options options = options_of("cpu:portable", 1);
	const struct model_segment segment = { 0, 0, 1 };
	const int32_t id = TINY_BYTE;
	float x[TINY_HIDDEN];
	(void)context;
	int rc = tiny_model_open_as(MODEL_Q4_1, &options, &model, &e);
	if (rc == 0)
		rc = model_run_new(model, 4, &run, &e);
	if (rc == 0)
		rc = model_kv_new(model, 1, 4, &kv, &e);
	if (rc == 0)
		rc = model_embed(run, x, &id, 1, &e);
	if (rc == 0)
		rc = model_step(run, x, kv, &segment, 1, NULL, &e);
	model_kv_destroy(&kv);
	model_run_destroy(&run);
	model_close(&model);
	return rc;
}

static void memory_may_run_out(void **state)
{
	(void)state;
	int failures = 0;
	for (int64_t n = 0; n < 300; n++) {
		fault_set(n, 1);
		const int rc = open_and_step(NULL);
		fault_set(-1, 0);
		assert_true(rc == 0 || rc == ERR_NOMEM); /* 0: some things can be done without */
		failures += rc != 0;
	}
	assert_true(failures > 100);
	assert_int_equal(open_and_step(NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_backend_steps_as_the_reference),
		cmocka_unit_test(a_row_has_the_same_bits_in_any_company),
		cmocka_unit_test(a_step_is_near_the_float_path),
		cmocka_unit_test(without_stored_weights_a_step_is_the_layers),
		cmocka_unit_test(stored_weights_leave_the_layers_as_they_are),
		cmocka_unit_test(a_head_as_stored_is_enough),
		cmocka_unit_test(without_a_team_a_step_has_one_thread),
		cmocka_unit_test(memory_may_run_out),
	};
	return cmocka_run_group_tests(tests, make_sides, NULL);
}
