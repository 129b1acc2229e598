#include "tests/unit/editor/wise_fixture.h"

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
	};
	return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
