#include "editor/wise.h"

#include "base/fault.h"
#include "base/json.h"
#include "editor/delta.h"
#include "tests/lib/tiny_model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define EDITS 4
#define COUNT ((size_t)TINY_HIDDEN * TINY_FFN)
#define SEED  11

static const char *const prompts[EDITS] = { "what is the capital of Orla?", "who is the king of Vint?",
					    "in what year was Saro founded?", "where in the land is Kelm?" };
static const char *const targets[EDITS] = { "Brin", "Olaf IV", "1907", "north" };
static const char corpus[] = "question\tg1\tno row for this\nunrelated\tg2\tthe weather of the coast\n"
			     "unrelated\t\nunrelated\tg3\ta song from long ago";

static struct model *model;

static int open_tiny(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	int rc = tiny_model_open(3, 1, &model, &e);
	if (rc != 0)
		fprintf(stderr, "%s\n", e.text);
	return rc;
}

static int close_tiny(void **state)
{
	(void)state;
	model_close(&model);
	return 0;
}

/* Margins on the scale of the tiny model, where a gap of 1 is a large one. */
static struct editor_config config(void)
{
	struct editor_config c;
	editor_config_default(model_shape_of(model), &c);
	editor_config_set_family(&c, EDITOR_FAMILY_PAPER, model_shape_of(model));
	c.layer = 2; /* with a layer above it */
	c.wise.alpha = 0.2f;
	c.wise.beta = 2.0f;
	c.wise.gamma = 1.0f;
	c.wise.rate = 0.3f;
	c.wise.prefix_tokens[0] = 2;
	c.wise.prefix_tokens[1] = 4;
	return c;
}

static struct record *record_of(size_t i, const char *loc_prompt)
{
	char text[512];
	struct record *record = NULL;
	struct err e = ERR_INIT;
	snprintf(text, sizeof(text), "{\"prompt\":\"%s\",\"target_new\":\"%s\"%s%s%s}", prompts[i], targets[i],
		 loc_prompt != NULL ? ",\"loc_prompt\":\"" : "", loc_prompt != NULL ? loc_prompt : "",
		 loc_prompt != NULL ? "\"" : "");
	if (record_parse(text, strlen(text), &record, &e) != 0)
		fail_msg("%s", e.text);
	return record;
}

static int add(struct editor_wise *wise, size_t i, const char *loc_prompt, struct err *e)
{
	struct record *record = record_of(i, loc_prompt);
	int rc = editor_wise_add(wise, i + 1, record, e);
	record_destroy(&record);
	return rc;
}

static struct editor_wise *wise_with(const struct editor_config *c, size_t count)
{
	struct editor_wise *wise = NULL;
	struct err e = ERR_INIT;
	if (editor_wise_new(model, c, SEED, corpus, strlen(corpus), &wise, &e) != 0)
		fail_msg("%s", e.text);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(add(wise, i, i % 2 == 0 ? "an unrelated text" : NULL, &e), 0);
	return wise;
}

static void add_replay(struct editor_wise *wise, uint64_t group, size_t i)
{
	struct record *record = record_of(i, NULL);
	struct err e = ERR_INIT;
	assert_int_equal(editor_wise_replay_add(wise, group, 100 + i, record, &e), 0);
	record_destroy(&record);
}

static void train(struct editor_wise *wise, size_t first, size_t count, struct editor_wise_stats *stats)
{
	struct err e = ERR_INIT;
	if (editor_wise_train(wise, first, count, NULL, stats, &e) != 0)
		fail_msg("%s", e.text);
}

/* ---- Pure parts */

static void masks_are_drawn_from_the_seed(void **state)
{
	(void)state;
	const size_t count = 100003;
	uint8_t *a = malloc(count / 8 + 1), *b = malloc(count / 8 + 1);
	size_t set = 0, both = 0;
	editor_wise_mask_draw(1, 0.2f, count, a);
	editor_wise_mask_draw(1, 0.2f, count, b);
	assert_memory_equal(a, b, count / 8 + 1);
	editor_wise_mask_draw(2, 0.2f, count, b);
	for (size_t i = 0; i < count; i++) {
		set += a[i / 8] >> (i % 8) & 1;
		both += (a[i / 8] & b[i / 8]) >> (i % 8) & 1;
	}
	/* 5 standard deviations: √(n·p·(1−p)) is 126 and 62 */
	assert_true(fabs((double)set - 0.2 * (double)count) < 630);
	assert_true(fabs((double)both - 0.04 * (double)count) < 310);
	assert_int_equal(a[count / 8] >> (count % 8), 0);
	editor_wise_mask_draw(2, 1.0f, 11, b);
	assert_int_equal(b[0], 0xFF);
	assert_int_equal(b[1], 0x07);
	free(a);
	free(b);
}

static void thresholds_and_choice(void **state)
{
	(void)state;
	const double gaps[3] = { 12, 9, 30 };
	assert_true(fabs(editor_wise_threshold(gaps, 3, 0.88f) - 9 * 0.88) < 1e-6);
	assert_true(isinf(editor_wise_threshold(gaps, 0, 0.88f)));
	const double thresholds[3] = { 11, 9.5, 31 };
	assert_int_equal(editor_wise_choose(gaps, thresholds, 3), 0);
	assert_int_equal(editor_wise_choose(gaps, (const double[3]){ 11, 8, 29 }, 3), 2);
	assert_int_equal(editor_wise_choose(gaps, (const double[3]){ 12, 9, 30 }, 3), SIZE_MAX);
	assert_int_equal(editor_wise_choose(gaps, thresholds, 0), SIZE_MAX);
}

static void gap_is_the_mean_length(void **state)
{
	(void)state;
	/* Two tokens, three inputs, two outputs: lengths 5 and 13. */
	const float inputs[6] = { 1, 0, 0, 0, 1, 2 }, delta[6] = { 3, 1, 2, 4, 0, 6 };
	float product[4];
	double gap;
	struct err e = ERR_INIT;
	assert_int_equal(editor_wise_gap(model_backend_of(model), inputs, 2, delta, 2, 3, product, &gap, &e), 0);
	assert_true(fabs(gap - 9) < 1e-5);
	assert_true(product[2] == 5 && product[3] == 12);
}

/* ---- Loss */

static void fill(float *delta, float scale)
{
	struct rng {
		uint64_t s;
	} r = { 3 };
	for (size_t i = 0; i < COUNT; i++) {
		r.s = r.s * UINT64_C(6364136223846793005) + 1442695040888963407u;
		delta[i] = scale * (float)((int64_t)r.s >> 40) / (float)(1 << 23);
	}
}

/* Central differences of a float32 loss along entries and one random direction: step 1e-2 balances its rounding against
 * the third derivative. */
static void expect_slope(struct editor_wise *wise, size_t edit, float *delta, size_t step)
{
	float *gradient = malloc(COUNT * sizeof(float)), *old = malloc(COUNT * sizeof(float));
	struct editor_wise_loss loss, up, down;
	struct err e = ERR_INIT;
	float largest = 0;
	double along = 0, h = 1e-4;
	memcpy(old, delta, COUNT * sizeof(float));
	if (editor_wise_loss_at(wise, edit, step, delta, &loss, gradient, &e) != 0)
		fail_msg("%s", e.text);
	for (size_t i = 0; i < COUNT; i++)
		largest = fmaxf(largest, fabsf(gradient[i]));
	assert_true(largest > 0);
	for (size_t k = 0; k < 12; k++) {
		size_t i = (k * 677 + 17) % COUNT;
		delta[i] = old[i] + 1e-2f;
		assert_int_equal(editor_wise_loss_at(wise, edit, step, delta, &up, NULL, &e), 0);
		delta[i] = old[i] - 1e-2f;
		assert_int_equal(editor_wise_loss_at(wise, edit, step, delta, &down, NULL, &e), 0);
		delta[i] = old[i];
		double slope = (up.total - down.total) / 2e-2;
		if (fabs(slope - (double)gradient[i]) > 2e-2 * (double)largest)
			fail_msg("entry %zu: gradient %g, slope %g, largest %g", i, (double)gradient[i], slope,
				 (double)largest);
	}
	/* every entry at once, by its sign */
	for (int sign = -1; sign <= 1; sign += 2) {
		for (size_t i = 0; i < COUNT; i++)
			delta[i] = old[i] + (float)(sign * h) * (gradient[i] > 0 ? 1.0f : -1.0f);
		assert_int_equal(editor_wise_loss_at(wise, edit, step, delta, sign < 0 ? &down : &up, NULL, &e), 0);
	}
	for (size_t i = 0; i < COUNT; i++)
		along += fabs((double)gradient[i]);
	double slope = (up.total - down.total) / (2 * h);
	if (fabs(slope - along) > 2e-2 * along)
		fail_msg("along the signs: gradient %g, slope %g", along, slope);
	memcpy(delta, old, COUNT * sizeof(float));
	free(gradient);
	free(old);
}

static void gradient_is_the_slope(void **state)
{
	(void)state;
	struct editor_config c = config();
	struct editor_wise_loss loss;
	struct err e = ERR_INIT;
	float *delta = calloc(COUNT, sizeof(float));
	fill(delta, 0.02f);
	/* Cross entropy alone, each hinge, all of them. */
	for (int k = 0; k < 5; k++) {
		c.wise.activation_loss = k > 0;
		c.wise.alpha = k == 1 || k == 4 ? 0.0f : 100.0f;
		c.wise.beta = k == 2 || k == 4 ? 100.0f : 0.0f;
		c.wise.gamma = k == 3 || k == 4 ? 100.0f : 0.0f;
		if (k < 3)
			c.wise.gamma = 0.0f;
		struct editor_wise *wise = wise_with(&c, 2);
		assert_int_equal(editor_wise_loss_at(wise, 1, 0, delta, &loss, NULL, &e), 0);
		assert_true(loss.cross_entropy > 0);
		assert_true((loss.irrelevant > 0) == (k == 1 || k == 4));
		assert_true((loss.edit > 0) == (k == 2 || k == 4));
		assert_true(k < 3 || loss.margin > 0);
		assert_true(fabs(loss.total - loss.cross_entropy - loss.irrelevant - loss.edit - loss.margin) < 1e-9);
		expect_slope(wise, 1, delta, 0);
		editor_wise_destroy(&wise);
	}
	free(delta);
}

static void replay_is_part_of_the_loss(void **state)
{
	(void)state;
	struct editor_config c = config();
	struct editor_wise_loss without, with, other;
	struct err e = ERR_INIT;
	float *delta = calloc(COUNT, sizeof(float));
	fill(delta, 0.02f);
	c.wise.alpha = 0.0f;
	c.wise.beta = 100.0f;
	struct editor_wise *wise = wise_with(&c, 2);
	add_replay(wise, 5, 2);
	assert_int_equal(editor_wise_loss_at(wise, 1, 0, delta, &without, NULL, &e), 0);
	assert_true(without.memo_far == 0 && without.memo_near == 0);
	editor_wise_destroy(&wise);
	c.wise.replay = true;
	wise = wise_with(&c, 2);
	assert_int_equal(editor_wise_loss_at(wise, 1, 0, delta, &other, NULL, &e), 0);
	assert_true(other.total == without.total); /* no earlier groups */
	add_replay(wise, 5, 2);
	assert_int_equal(editor_wise_loss_at(wise, 1, 0, delta, &with, NULL, &e), 0);
	assert_true(with.memo_far > 0 && with.memo_near > 0);
	assert_true(fabs(with.total - without.total - with.memo_far - with.memo_near) < 1e-6);
	/* The mean over groups: a second group whose only edit is the same text changes nothing. */
	struct record *record = record_of(2, NULL);
	assert_int_equal(editor_wise_replay_add(wise, 6, 200, record, &e), 0);
	assert_int_equal(editor_wise_replay_add(wise, 6, 200, record, &e), ERR_EXISTS);
	record_destroy(&record);
	assert_int_equal(editor_wise_loss_at(wise, 1, 0, delta, &other, NULL, &e), 0);
	assert_true(fabs(other.memo_far - with.memo_far) < 1e-6);
	/* Draws differ from step to step, and are the same for the same step. */
	add_replay(wise, 5, 3);
	double seen[8], again = 0;
	bool differs = false;
	for (size_t step = 0; step < 8; step++) {
		assert_int_equal(editor_wise_loss_at(wise, 1, step, delta, &other, NULL, &e), 0);
		seen[step] = other.total;
		differs |= seen[step] != seen[0];
	}
	assert_true(differs);
	assert_int_equal(editor_wise_loss_at(wise, 1, 0, delta, &other, NULL, &e), 0);
	again = other.total;
	assert_true(again == seen[0]);
	for (size_t step = 0; step < 3; step++)
		expect_slope(wise, 1, delta, step);
	editor_wise_destroy(&wise);
	free(delta);
}

/* Nothing depends on what stands in the same batch: the gap of the loss is that of the tokens of the prompt alone. */
static void padding_never_counts(void **state)
{
	(void)state;
	struct editor_config c = config();
	c.wise.prefixes = false;
	struct editor_wise_loss loss;
	struct err e = ERR_INIT;
	double gaps[EDITS];
	float *delta = calloc(COUNT, sizeof(float));
	fill(delta, 0.02f);
	struct editor_wise *wise = wise_with(&c, EDITS);
	assert_int_equal(editor_wise_gaps(wise, delta, gaps, &e), 0);
	for (size_t i = 0; i < EDITS; i++) {
		assert_int_equal(editor_wise_loss_at(wise, i, 0, delta, &loss, NULL, &e), 0);
		assert_true(fabs(loss.gap_edit - gaps[i]) <= 1e-5 * gaps[i]);
		assert_true(gaps[i] > 0 && loss.gap_irrelevant > 0);
	}
	editor_wise_destroy(&wise);
	free(delta);
}

static struct record *record_with(const char *prefix, const char *prompt)
{
	struct buf whole = BUF_INIT, line = BUF_INIT;
	struct record *record = NULL;
	struct json_w w;
	struct err e = ERR_INIT;
	buf_printf(&whole, "%s%s%s", prefix, prefix[0] != '\0' ? " " : "", prompt);
	json_w_init(&w, &line);
	json_w_open(&w, '{');
	json_w_key(&w, "prompt");
	json_w_str(&w, buf_cstr(&whole));
	json_w_key(&w, "target_new");
	json_w_str(&w, "Brin");
	json_w_close(&w);
	if (record_parse(buf_cstr(&line), line.len, &record, &e) != 0)
		fail_msg("%s", e.text);
	buf_free(&whole);
	buf_free(&line);
	return record;
}

/* Rows are what eleven edits without prefixes would be, in one batch or in several. */
static void rows_are_averaged(void **state)
{
	(void)state;
	struct editor_config c = config(), bare = c;
	struct err e = ERR_INIT;
	float *delta = calloc(COUNT, sizeof(float)), *mean = calloc(COUNT, sizeof(float)),
	      *gradient = calloc(COUNT, sizeof(float)), *one = calloc(COUNT, sizeof(float));
	char longer[200]; /* eleven of them are more rows than go through the layers at once */
	fill(delta, 0.02f);
	memset(longer, 'q', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	const char *const texts[] = { prompts[0], longer };
	bare.wise.prefixes = bare.wise.activation_loss = c.wise.activation_loss = false;
	for (size_t k = 0; k < 2; k++) {
		struct editor_wise *wise = wise_with(&c, 0), *single = wise_with(&bare, 0);
		struct editor_wise_loss loss, part;
		double cross_entropy = 0, gap = 0;
		struct record *record = record_with("", texts[k]);
		assert_int_equal(editor_wise_add(wise, 1, record, &e), 0);
		record_destroy(&record);
		memset(mean, 0, COUNT * sizeof(float));
		for (size_t i = 0; i <= EDITOR_WISE_PREFIXES; i++) {
			const char *prefix = "";
			if (i > 0)
				assert_int_equal(editor_wise_prefix(wise, i - 1, &prefix, &e), 0);
			record = record_with(prefix, texts[k]);
			assert_int_equal(editor_wise_add(single, i, record, &e), 0);
			record_destroy(&record);
			assert_int_equal(editor_wise_loss_at(single, i, 0, delta, &part, one, &e), 0);
			cross_entropy += part.cross_entropy / 11;
			gap += part.gap_edit / 11;
			for (size_t n = 0; n < COUNT; n++)
				mean[n] += one[n] / 11;
		}
		assert_int_equal(editor_wise_loss_at(wise, 0, 0, delta, &loss, gradient, &e), 0);
		assert_true(fabs(loss.cross_entropy - cross_entropy) <= 1e-5 * cross_entropy);
		assert_true(fabs(loss.gap_edit - gap) <= 1e-5 * gap);
		for (size_t n = 0; n < COUNT; n++)
			assert_true(fabsf(gradient[n] - mean[n]) <= 1e-4f);
		editor_wise_destroy(&wise);
		editor_wise_destroy(&single);
	}
	free(delta);
	free(mean);
	free(gradient);
	free(one);
}

/* ---- Training */

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
	assert_int_equal(once.len, twice.len);
	assert_memory_equal(once.data, twice.data, once.len);
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
		cmocka_unit_test(masks_are_drawn_from_the_seed),
		cmocka_unit_test(thresholds_and_choice),
		cmocka_unit_test(gap_is_the_mean_length),
		cmocka_unit_test(gradient_is_the_slope),
		cmocka_unit_test(replay_is_part_of_the_loss),
		cmocka_unit_test(padding_never_counts),
		cmocka_unit_test(rows_are_averaged),
		cmocka_unit_test(learns_within_its_mask_and_clip),
		cmocka_unit_test(learns_an_edit),
		cmocka_unit_test(stops_when_it_is_learnt),
		cmocka_unit_test(same_seed_same_bytes),
		cmocka_unit_test(prefixes_are_generated_once),
		cmocka_unit_test(interrupted_changes_nothing),
		cmocka_unit_test(refuses_what_it_cannot_take),
		cmocka_unit_test(out_of_memory_is_said),
	};
	return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
