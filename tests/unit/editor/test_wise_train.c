/* Training of a shard: mask, clip, stop rule, repeatability, failures. */
#include "tests/unit/editor/wise_fixture.h"

static void learns_within_its_mask_and_clip(void **state)
{
	(void)state;
	struct editor_config c = config();
	c.wise.steps_max = 30;
	c.wise.clip = 0.03f; /* reached */
	struct editor_wise_stats stats[2];
	struct editor_wise_loss before;
	struct err e = ERR_INIT;
	float *zero = calloc(COUNT, sizeof(float));
	size_t moved = 0, clipped = 0;
	struct editor_wise *wise = wise_with(&c, 2);
	assert_int_equal(editor_wise_loss_at(wise, 0, 0, zero, &before, NULL, &e), 0);
	train(wise, 0, 2, stats);
	assert_int_equal(stats[0].seq, 1);
	assert_true(stats[0].loss.total < before.total);
	const float *delta = editor_wise_delta(wise);
	const uint8_t *mask = editor_wise_mask(wise);
	for (size_t i = 0; i < COUNT; i++) {
		if ((mask[i / 8] >> (i % 8) & 1) == 0)
			assert_true(delta[i] == 0.0f);
		assert_true(fabsf(delta[i]) <= 0.03f);
		moved += delta[i] != 0.0f;
		clipped += fabsf(delta[i]) > 0.0299f;
	}
	assert_true(moved > COUNT / 10 && clipped > 0);
	/* An entry that is loaded outside the mask stays. */
	struct buf bytes = BUF_INIT;
	float *loaded = calloc(COUNT, sizeof(float));
	size_t outside = 0;
	while ((mask[outside / 8] >> (outside % 8) & 1) != 0)
		outside++;
	loaded[outside] = 0.5f;
	assert_int_equal(editor_delta_encode(loaded, 2, TINY_HIDDEN, TINY_FFN, &bytes, &e), 0);
	assert_int_equal(editor_wise_delta_load(wise, bytes.data, bytes.len, &e), 0);
	assert_int_equal(editor_wise_delta_load(wise, bytes.data, bytes.len - 1, &e), ERR_CORRUPT);
	train(wise, 0, 1, stats);
	assert_true(editor_wise_delta(wise)[outside] == 0.5f);
	buf_free(&bytes);
	free(loaded);
	free(zero);
	editor_wise_destroy(&wise);
}

static void learns_an_edit(void **state)
{
	(void)state;
	struct editor_config c = config();
	c.wise.steps_max = 600;
	c.wise.rate = 0.1f; /* a hinge's gradient does not shrink: a higher rate swings around α */
	c.wise.alpha = 0.5f;
	struct editor_wise_stats stats[EDITS];
	struct err e = ERR_INIT;
	double gaps[EDITS];
	struct editor_wise *wise = wise_with(&c, EDITS);
	train(wise, 0, 1, stats);
	assert_true(stats[0].loss.right);
	assert_true(stats[0].loss.irrelevant < 0.4 && stats[0].loss.edit == 0.0 && stats[0].loss.margin == 0.0);
	assert_true(stats[0].loss.gap_edit > 5 * stats[0].loss.gap_irrelevant);
	assert_int_equal(editor_wise_gaps(wise, editor_wise_delta(wise), gaps, &e), 0);
	assert_true(gaps[0] > 2.0);
	editor_wise_destroy(&wise);
}

static void stops_when_it_is_learnt(void **state)
{
	(void)state;
	struct editor_config c = config();
	struct editor_wise_stats stats;
	c.wise.activation_loss = false;
	c.wise.prefixes = false;
	c.wise.rate = 2.0f;
	c.wise.steps_max = 2000;
	struct editor_wise *wise = wise_with(&c, 1);
	train(wise, 0, 1, &stats);
	assert_true(stats.stopped && stats.steps < 2000);
	assert_true(stats.loss.total <= 0.02 && stats.loss.right);
	editor_wise_destroy(&wise);
	/* A small loss is not enough while it still moves, nor a still one while it is large. */
	c.wise.stop_delta = 0.0f;
	c.wise.steps_max = 60;
	wise = wise_with(&c, 1);
	train(wise, 0, 1, &stats);
	assert_true(!stats.stopped && stats.steps == 60);
	editor_wise_destroy(&wise);
	c.wise.stop_delta = 100.0f;
	c.wise.stop_loss = 0.0f;
	wise = wise_with(&c, 1);
	train(wise, 0, 1, &stats);
	assert_true(!stats.stopped && stats.steps == 60);
	editor_wise_destroy(&wise);
	/* Two losses at least: the first has none to differ from. */
	c.wise.stop_loss = 100.0f;
	wise = wise_with(&c, 1);
	train(wise, 0, 1, &stats);
	assert_true(stats.stopped && stats.steps == 1);
	editor_wise_destroy(&wise);
}

static void same_seed_same_bytes(void **state)
{
	(void)state;
	struct editor_config c = config();
	c.wise.steps_max = 5;
	c.wise.replay = true;
	struct buf once = BUF_INIT, twice = BUF_INIT;
	struct err e = ERR_INIT;
	struct editor_wise *wise = wise_with(&c, EDITS);
	add_replay(wise, 1, 2);
	add_replay(wise, 1, 3);
	train(wise, 0, EDITS, NULL);
	assert_int_equal(editor_wise_delta_encode(wise, &once, &e), 0);
	editor_wise_destroy(&wise);
	/* Edit by edit, and over another process. */
	wise = wise_with(&c, EDITS);
	add_replay(wise, 1, 2);
	add_replay(wise, 1, 3);
	train(wise, 0, 2, NULL);
	struct buf half = BUF_INIT;
	assert_int_equal(editor_wise_delta_encode(wise, &half, &e), 0);
	editor_wise_destroy(&wise);
	wise = wise_with(&c, EDITS);
	add_replay(wise, 1, 2);
	add_replay(wise, 1, 3);
	assert_int_equal(editor_wise_delta_load(wise, half.data, half.len, &e), 0);
	train(wise, 2, 1, NULL);
	train(wise, 3, 1, NULL);
	assert_int_equal(editor_wise_delta_encode(wise, &twice, &e), 0);
	assert_same_bytes(&once, &twice);
	editor_wise_destroy(&wise);
	buf_free(&once);
	buf_free(&twice);
	buf_free(&half);
}

static void prefixes_are_generated_once(void **state)
{
	(void)state;
	static const char *const seeds[5] = { "I", "You", "Because", "Yes", "Q: " };
	struct editor_config c = config();
	struct err e = ERR_INIT;
	struct editor_wise *a = wise_with(&c, 1), *b = wise_with(&c, 0);
	for (size_t i = 0; i < EDITOR_WISE_PREFIXES; i++) {
		const char *text, *other, *shorter;
		assert_int_equal(editor_wise_prefix(a, i, &text, &e), 0);
		assert_int_equal(editor_wise_prefix(b, i, &other, &e), 0);
		assert_int_equal(editor_wise_prefix(a, i % 5, &shorter, &e), 0);
		assert_string_equal(text, other);
		assert_true(strncmp(text, seeds[i % 5], strlen(seeds[i % 5])) == 0);
		/* greedy: the longer continuation begins with the shorter */
		assert_true(strlen(text) >= strlen(shorter));
		assert_true(strncmp(text, shorter, strlen(shorter)) == 0);
	}
	/* They are trained on. */
	struct editor_wise_loss with, without;
	float *zero = calloc(COUNT, sizeof(float));
	assert_int_equal(editor_wise_loss_at(a, 0, 0, zero, &with, NULL, &e), 0);
	c.wise.prefixes = false;
	struct editor_wise *bare = wise_with(&c, 1);
	assert_int_equal(editor_wise_loss_at(bare, 0, 0, zero, &without, NULL, &e), 0);
	assert_true(with.cross_entropy != without.cross_entropy);
	editor_wise_destroy(&a);
	editor_wise_destroy(&b);
	editor_wise_destroy(&bare);
	free(zero);
}

static int stop_after(void *context, const char *phase, size_t done, size_t total, double loss)
{
	size_t *left = context;
	(void)phase;
	(void)loss;
	assert_true(done <= total);
	return (*left)-- == 0;
}

static void interrupted_changes_nothing(void **state)
{
	(void)state;
	struct editor_config c = config();
	c.wise.steps_max = 4;
	struct err e = ERR_INIT;
	float *before = malloc(COUNT * sizeof(*before));
	struct editor_wise *wise = wise_with(&c, 3);
	train(wise, 0, 1, NULL);
	memcpy(before, editor_wise_delta(wise), COUNT * sizeof(*before));
	size_t left = 5; /* in the second edit of the call */
	const struct editor_watch watch = { stop_after, &left };
	assert_int_equal(editor_wise_train(wise, 1, 2, &watch, NULL, &e), ERR_INTERRUPTED);
	assert_memory_equal(before, editor_wise_delta(wise), COUNT * sizeof(*before));
	editor_wise_destroy(&wise);
	free(before);
}

static void refuses_what_it_cannot_take(void **state)
{
	(void)state;
	struct editor_config c = config();
	struct err e = ERR_INIT;
	struct editor_wise *wise = NULL;
	assert_int_equal(editor_wise_new(model, &c, SEED, NULL, 0, &wise, &e), 0);
	assert_int_equal(add(wise, 0, NULL, &e), ERR_INVALID);
	assert_non_null(strstr(e.text, "loc_prompt"));
	assert_int_equal(add(wise, 0, "some text", &e), 0);
	assert_int_equal(add(wise, 0, "some text", &e), ERR_EXISTS);
	assert_int_equal(editor_wise_count(wise), 1);
	assert_int_equal(editor_wise_train(wise, 1, 1, NULL, NULL, &e), ERR_INVALID);
	editor_wise_destroy(&wise);
	/* Without L_a nothing irrelevant is needed. */
	c.wise.activation_loss = false;
	assert_int_equal(editor_wise_new(model, &c, SEED, NULL, 0, &wise, &e), 0);
	assert_int_equal(add(wise, 0, NULL, &e), 0);
	editor_wise_destroy(&wise);
	c.wise.rate = 0.0f;
	assert_int_equal(editor_wise_new(model, &c, SEED, NULL, 0, &wise, &e), ERR_INVALID);
	assert_null(wise);
}

/* Every checked allocation of a whole life fails once: the code says so and nothing leaks. */
static void out_of_memory_is_said(void **state)
{
	(void)state;
	struct editor_config c = config();
	c.wise.steps_max = 1;
	c.wise.replay = true;
	struct record *record = record_of(0, NULL), *earlier = record_of(1, NULL);
	int rc = ERR_NOMEM;
	for (int64_t k = 0; rc != 0; k++) {
		struct err e = ERR_INIT;
		struct editor_wise *wise = NULL;
		struct buf bytes = BUF_INIT;
		double gap;
		fault_set(k, 1);
		rc = editor_wise_new(model, &c, SEED, corpus, strlen(corpus), &wise, &e);
		if (rc == 0)
			rc = editor_wise_add(wise, 1, record, &e);
		if (rc == 0)
			rc = editor_wise_replay_add(wise, 1, 2, earlier, &e);
		if (rc == 0)
			rc = editor_wise_train(wise, 0, 1, NULL, NULL, &e);
		if (rc == 0)
			rc = editor_wise_gaps(wise, editor_wise_delta(wise), &gap, &e);
		if (rc == 0)
			rc = editor_wise_delta_encode(wise, &bytes, &e);
		if (rc == 0)
			rc = editor_wise_delta_load(wise, bytes.data, bytes.len, &e);
		fault_set(-1, 0);
		if (rc != 0 && rc != ERR_NOMEM)
			fail_msg("allocation %d: %s", (int)k, e.text);
		assert_true(k < 3000);
		buf_free(&bytes);
		editor_wise_destroy(&wise);
	}
	record_destroy(&record);
	record_destroy(&earlier);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(learns_within_its_mask_and_clip), cmocka_unit_test(learns_an_edit),
		cmocka_unit_test(stops_when_it_is_learnt),         cmocka_unit_test(same_seed_same_bytes),
		cmocka_unit_test(prefixes_are_generated_once),     cmocka_unit_test(interrupted_changes_nothing),
		cmocka_unit_test(refuses_what_it_cannot_take),     cmocka_unit_test(out_of_memory_is_said),
	};
	return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
