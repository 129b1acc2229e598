/* Steps and passes (editor/train.c): which edits a step holds, how each is read, and when training ends. What a step
 * held is told by its loss, at a rate that changes nothing. */
#include "editor/shard_internal.h"

#include "tests/unit/editor/tiny_fixture.h"

#include <math.h>

#define STEPS_MAX 128
#define STILL     1e-8f /* a rate */

struct seen {
	double losses[STEPS_MAX]; /* of steps of training */
	size_t count, inputs, stop_after;
};

static int see(void *context, const char *phase, size_t done, size_t total, double loss)
{
	struct seen *seen = context;
	assert_true(done <= total);
	if (strcmp(phase, "train") != 0) {
		seen->inputs++;
		return 0;
	}
	assert_true(seen->count < STEPS_MAX);
	seen->losses[seen->count++] = loss;
	return seen->count == seen->stop_after;
}

static struct editor_config config(void)
{
	struct editor_config c;
	editor_config_default(model_shape_of(model), &c);
	c.layer = 2;
	c.plain_view = false;
	c.views = 1;
	c.noise = 0;
	c.stream_replay = 0;
	c.stream_protect = 0;
	c.stream_rate = STILL;
	c.stream_steps_max = 6;
	c.stream_stop_loss = 0; /* never */
	return c;
}

/* An edit with so many other names of its subject: as many views. */
static void add(struct editor_shard *shard, uint64_t seq, size_t names)
{
	static const char *const aliases[] = { "", "\"Vint\"", "\"Vint\",\"Old Rask\"" };
	char text[256];
	struct record *record = NULL;
	struct err e = ERR_INIT;
	snprintf(text, sizeof(text),
		 "{\"prompt\":\"where is Orla "
		 "%c?\",\"target_new\":\"%c\",\"subject\":\"Orla\",\"subject_aliases\":[%s]}",
		 (int)('b' + seq), (int)('p' + seq % 7), aliases[names]);
	assert_ok(&e, record_parse(text, strlen(text), &record, &e));
	assert_ok(&e, editor_shard_add(shard, seq, record, &e));
	record_destroy(&record);
}

static struct editor_shard *shard_of(const struct editor_config *c, size_t edits)
{
	struct editor_shard *shard = shard_open(c);
	for (size_t i = 0; i < edits; i++)
		add(shard, i + 1, 0);
	return shard;
}

/* Of all edits, each read as it stands. */
static double own_loss(struct editor_shard *shard)
{
	float *gradient = malloc(editor__matrix_size(shard) * sizeof(*gradient));
	struct err e = ERR_INIT;
	double loss = 0;
	assert_non_null(gradient);
	assert_ok(&e, editor_shard_gradient(shard, shard->delta, &loss, gradient, &e));
	free(gradient);
	return loss;
}

static bool same(double a, double b)
{
	return fabs(a - b) < 1e-3;
}

/* The first `group_count` edits, with those behind them to be replayed; the steps made. */
static size_t stream(struct editor_shard *shard, size_t group_count, bool again, struct seen *seen)
{
	size_t group[32];
	const struct editor_watch watch = { see, seen };
	struct editor_train_stats stats = { .mode = EDITOR_STREAM };
	struct err e = ERR_INIT;
	const size_t stop_after = seen->stop_after;
	*seen = (struct seen){ .stop_after = stop_after };
	for (size_t i = 0; i < group_count; i++)
		group[i] = i;
	const int rc = editor__train_group(shard, group, group_count, shard->edit_count, again, 1, &watch, &stats, &e);
	assert_int_equal(rc, stop_after > 0 ? ERR_INTERRUPTED : 0);
	return stats.steps;
}

static void learn(struct editor_shard *shard)
{
	struct seen seen = { .stop_after = 0 };
	shard->config.stream_rate = 3e-3f;
	shard->config.stream_steps_max = STEPS_MAX / 2;
	(void)stream(shard, shard->edit_count, false, &seen);
	shard->config.stream_rate = STILL;
	shard->config.stream_steps_max = 6;
}

/* Own and view, one after the other, and edits in turn. */
static void every_second_turn_reads_a_view(void **state)
{
	(void)state;
	const struct editor_config c = config();
	struct editor_shard *shard = shard_open(&c);
	struct seen seen = { .stop_after = 0 };
	add(shard, 1, 1);
	const double own = own_loss(shard);
	assert_int_equal(stream(shard, 1, false, &seen), 2 * 6); /* as many of its own as without views */
	for (size_t i = 0; i < 12; i++)
		assert_int_equal(same(seen.losses[i], own), i % 2 == 0);
	add(shard, 2, 1);
	const double both = own_loss(shard);
	(void)stream(shard, 2, false, &seen);
	assert_false(same(seen.losses[0], both)); /* the second has its view when the first has its own */
	assert_false(same(seen.losses[1], both));
	editor_shard_destroy(&shard);
	shard = shard_of(&c, 1);
	assert_int_equal(stream(shard, 1, false, &seen), 6);
	editor_shard_destroy(&shard);
}

/* When what is learnt is right in each of its ways: the edit with most views counts. */
static void it_ends_when_every_way_is_right(void **state)
{
	(void)state;
	const struct editor_config c = config();
	struct seen seen = { .stop_after = 0 };
	for (size_t names = 0; names < 3; names++) {
		struct editor_shard *shard = shard_open(&c);
		add(shard, 1, names);
		add(shard, 2, 0);
		learn(shard);
		shard->config.stream_stop_loss = 1e9f;
		assert_int_equal(stream(shard, 2, false, &seen), names > 0 ? 2 * names - 1 : 0);
		editor_shard_destroy(&shard);
	}
	/* a low loss is none of it while an answer is wrong */
	struct editor_shard *shard = shard_of(&c, 1);
	shard->config.stream_stop_loss = 1e9f;
	assert_int_equal(stream(shard, 1, false, &seen), 6);
	editor_shard_destroy(&shard);
}

/* Steps in a row: every second one is not enough. */
static void one_way_that_is_not_right_goes_on(void **state)
{
	(void)state;
	const struct editor_config c = config();
	struct editor_shard *shard = shard_open(&c);
	struct seen seen = { .stop_after = 0 };
	add(shard, 1, 1);
	learn(shard);
	(void)stream(shard, 1, false, &seen);
	assert_false(same(seen.losses[0], seen.losses[1]));
	shard->config.stream_stop_loss = (float)(seen.losses[0] + seen.losses[1]) / 2;
	assert_int_equal(stream(shard, 1, false, &seen), 2 * 6);
	shard->config.stream_stop_loss = 1e9f;
	assert_int_equal(stream(shard, 1, false, &seen), 1);
	editor_shard_destroy(&shard);
}

/* Beside the first edit one of the others is replayed; when it has failed before, the two nearest and three others. A
 * group of ten replays twice as many, and a greater one no more. */
static void so_many_are_replayed(void **state)
{
	(void)state;
	static const struct {
		size_t edits, group;
		bool again, all; /* whether all edits are in a step */
	} cases[] = {
		{ 2, 1, false, true },   { 4, 1, false, false },   { 6, 1, true, true },    { 7, 1, true, false },
		{ 12, 10, false, true }, { 13, 10, false, false }, { 21, 19, false, true }, { 22, 19, false, false },
	};
	struct seen seen = { .stop_after = 0 };
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct editor_config c = config();
		c.stream_replay = 1;
		struct editor_shard *shard = shard_of(&c, cases[i].edits);
		(void)stream(shard, cases[i].group, cases[i].again, &seen);
		assert_int_equal(same(seen.losses[0], own_loss(shard)), cases[i].all);
		editor_shard_destroy(&shard);
	}
}

static void what_cannot_be_learnt_is_not_replayed(void **state)
{
	(void)state;
	struct editor_config c = config();
	struct seen seen = { .stop_after = 0 };
	c.stream_replay = 4;
	struct editor_shard *alone = shard_of(&c, 1), *shard = shard_of(&c, 2);
	const double one = own_loss(alone), both = own_loss(shard);
	assert_false(same(one, both));
	(void)stream(shard, 1, false, &seen);
	assert_true(same(seen.losses[0], both));
	shard->edits[1].gave_up = true;
	(void)stream(shard, 1, false, &seen);
	assert_true(same(seen.losses[0], one));
	editor_shard_destroy(&alone);
	editor_shard_destroy(&shard);
}

/* What has failed before: without noise, twice the steps, half the rate. */
static void what_failed_is_trained_with_care(void **state)
{
	(void)state;
	struct editor_config c = config();
	struct seen seen = { .stop_after = 0 };
	c.noise = 1;
	struct editor_shard *shard = shard_of(&c, 1);
	const double own = own_loss(shard);
	assert_int_equal(stream(shard, 1, true, &seen), 2 * 6);
	assert_true(same(seen.losses[0], own));
	assert_int_equal(stream(shard, 1, false, &seen), 6);
	assert_false(same(seen.losses[0], own));
	editor_shard_destroy(&shard);
}

/* Adam's first step, with an epsilon of four times the gradient's root mean square: rate·g / (|g| + ε). */
static void the_first_step_is_calm(void **state)
{
	(void)state;
	struct seen seen = { .stop_after = 1 };
	static const struct {
		size_t group;
		bool again;
		float rate; /* times the configured one */
	} cases[] = { { 1, false, 1 }, { 1, true, 0.5f }, { 10, false, 2 }, { 11, false, 2 } };
	for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
		struct editor_config c = config();
		c.stream_rate = 1e-2f;
		struct editor_shard *shard = shard_of(&c, cases[k].group);
		const size_t n = editor__matrix_size(shard);
		float *gradient = malloc(n * sizeof(*gradient));
		struct err e = ERR_INIT;
		double loss, square = 0;
		assert_non_null(gradient);
		assert_ok(&e, editor_shard_gradient(shard, NULL, &loss, gradient, &e));
		(void)stream(shard, cases[k].group, cases[k].again, &seen);
		for (size_t i = 0; i < n; i++)
			square += (double)gradient[i] * (double)gradient[i];
		const double epsilon = 4 * sqrt(square / (double)n), rate = (double)(c.stream_rate * cases[k].rate);
		for (size_t i = 0; i < n; i++) {
			const double g = (double)gradient[i], step = -rate * g / (fabs(g) + epsilon);
			assert_true(fabs((double)shard->trainer.delta[i] - step) < 0.02 * rate);
		}
		free(gradient);
		editor_shard_destroy(&shard);
	}
}

/* How far the outputs of the second edit's inputs have moved when the first was trained for a step. */
static double moved(float protect)
{
	struct seen seen = { .stop_after = 1 };
	struct editor_config c = config();
	double sum = 0;
	c.stream_rate = 1e-2f;
	c.stream_protect = protect;
	struct editor_shard *shard = shard_of(&c, 2);
	(void)stream(shard, 1, false, &seen);
	const struct editor__edit *kept = &shard->edits[1];
	for (size_t r = 0; r < editor__edit_rows(kept); r++) {
		for (size_t h = 0; h < TINY_HIDDEN; h++) {
			double y = 0;
			for (size_t i = 0; i < TINY_FFN; i++)
				y += (double)shard->trainer.delta[h * TINY_FFN + i] *
				     (double)kept->inputs[r * TINY_FFN + i];
			sum += y * y;
		}
	}
	editor_shard_destroy(&shard);
	return sum;
}

static void the_others_keep_their_outputs(void **state)
{
	(void)state;
	assert_true(moved(1e-3f) < 0.25 * moved(0));
}

/* A shard of few edits makes more passes; passes take turns, too. */
static void passes_take_turns(void **state)
{
	(void)state;
	struct editor_config c = config();
	struct seen seen = { .stop_after = 0 };
	const struct editor_watch watch = { see, &seen };
	struct editor_train_stats stats;
	struct err e = ERR_INIT;
	c.rate = STILL;
	c.epochs = 1;
	c.batch_edits = 8;
	struct editor_shard *shard = shard_open(&c);
	add(shard, 1, 1);
	const double own = own_loss(shard);
	assert_ok(&e, editor_shard_train(shard, EDITOR_BREADTH_FIRST, 0, 1, 1, &watch, &stats, &e));
	assert_int_equal(stats.steps, 40);
	for (size_t i = 0; i < 40; i++)
		assert_int_equal(same(seen.losses[i], own), i % 2 == 0);
	shard->config.epochs = 41;
	seen.count = 0;
	assert_ok(&e, editor_shard_train(shard, EDITOR_BREADTH_FIRST, 0, 1, 1, &watch, &stats, &e));
	assert_int_equal(stats.steps, 41);
	editor_shard_destroy(&shard);
}

/* Views are made once for a merge, not for each of its rounds; what was added since has them in the next. */
static void a_merge_makes_its_views_once(void **state)
{
	(void)state;
	const struct editor_config c = config();
	struct editor_shard *shard = shard_open(&c);
	struct seen seen = { .stop_after = 0 };
	const struct editor_watch watch = { see, &seen };
	struct err e = ERR_INIT;
	double loss;
	add(shard, 1, 0);
	struct record *record = NULL;
	const char other[] = "{\"prompt\":\"who rules all of Rask?\",\"target_new\":\"q\",\"subject\":\"Rask\"}";
	assert_ok(&e, record_parse(other, strlen(other), &record, &e));
	assert_ok(&e, editor_shard_add(shard, 2, record, &e));
	record_destroy(&record);
	float *out = calloc(editor__matrix_size(shard), sizeof(*out));
	assert_non_null(out);
	for (size_t merge = 0; merge < 2; merge++) {
		editor_shard_local_begin(shard, 0, 0);
		for (size_t round = 0; round < 3; round++) {
			seen = (struct seen){ .stop_after = 0 };
			assert_ok(&e, editor_shard_local_passes(shard, shard->delta, 2, STILL, round, out, &loss,
								&watch, &e));
			assert_int_equal(seen.inputs > 0, round == 0);
		}
	}
	free(out);
	editor_shard_destroy(&shard);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_second_turn_reads_a_view),
		cmocka_unit_test(it_ends_when_every_way_is_right),
		cmocka_unit_test(one_way_that_is_not_right_goes_on),
		cmocka_unit_test(so_many_are_replayed),
		cmocka_unit_test(what_cannot_be_learnt_is_not_replayed),
		cmocka_unit_test(what_failed_is_trained_with_care),
		cmocka_unit_test(the_first_step_is_calm),
		cmocka_unit_test(the_others_keep_their_outputs),
		cmocka_unit_test(passes_take_turns),
		cmocka_unit_test(a_merge_makes_its_views_once),
	};
	return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
