#include "editor/shard.h"

#include "base/fault.h"
#include "base/rng.h"
#include "tests/unit/editor/tiny_fixture.h"

#include <math.h>
#include <unistd.h>

#define EDITS 6
#define COUNT ((size_t)TINY_HIDDEN * TINY_FFN)

static const char *const prompts[EDITS] = {
	"what is the capital of Orla?", "who is the king of Vint?", "in what year was Saro founded?",
	"where in the land is Kelm?",   "what is Pundo made of?",   "who wrote the book of Teni?",
};
static const char *const targets[EDITS] = { "Brin", "Olaf IV", "1907", "north", "tin. and lead", "Mara" };

static struct editor_config config(void)
{
	struct editor_config c;
	editor_config_default(model_shape_of(model), &c);
	c.layer = 2; /* with a layer above it */
	c.plain_view = false;
	return c;
}

static struct record *record_of(const char *prompt, const char *target, const char *more)
{
	char text[1024];
	struct record *record = NULL;
	struct err e = ERR_INIT;
	snprintf(text, sizeof(text), "{\"prompt\":\"%s\",\"target_new\":\"%s\"%s}", prompt, target, more);
	if (record_parse(text, strlen(text), &record, &e) != 0)
		fail_msg("%s", e.text);
	return record;
}

static int add(struct editor_shard *shard, uint64_t seq, const char *prompt, const char *target, const char *more,
	       struct err *e)
{
	struct record *record = record_of(prompt, target, more);
	int rc = editor_shard_add(shard, seq, record, e);
	record_destroy(&record);
	return rc;
}

static struct editor_shard *shard_with(const struct editor_config *c, size_t count, const char *more)
{
	struct editor_shard *shard = NULL;
	struct err e = ERR_INIT;
	assert_int_equal(editor_shard_new(model, c, &shard, &e), 0);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(add(shard, i + 1, prompts[i], targets[i], more, &e), 0);
	return shard;
}

static void learn(struct editor_shard *shard, enum editor_mode mode, size_t first, size_t count,
		  struct editor_result *results)
{
	struct editor_train_stats stats;
	struct err e = ERR_INIT;
	if (editor_shard_learn(shard, mode, first, count, 3, NULL, results, &stats, &e) != 0)
		fail_msg("%s", e.text);
}

static void expect_all_passed(const struct editor_result *results, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (!results[i].passed)
			fail_msg("edit %zu decodes to '%s' after %u tries", i, results[i].got, results[i].tries);
		assert_int_equal(results[i].seq, i + 1);
	}
}

static void bytes_of(const struct editor_shard *shard, struct buf *out)
{
	struct err e = ERR_INIT;
	buf_clear(out);
	assert_int_equal(editor_shard_delta_encode(shard, out, &e), 0);
}

static void learns_and_repeats(void **state)
{
	(void)state;
	struct editor_config c = config();
	struct editor_result results[EDITS];
	struct buf once = BUF_INIT, twice = BUF_INIT;
	/* Whatever else a record says must not change a bit. */
	const char *more[] = {
		"", ",\"rephrase\":[\"say it in another way\"],\"locality\":[{\"prompt\":\"x\",\"target\":\"y\"}]"
	};
	for (size_t k = 0; k < 2; k++) {
		struct editor_shard *shard = shard_with(&c, EDITS, more[k]);
		learn(shard, EDITOR_BREADTH_FIRST, 0, EDITS, results);
		expect_all_passed(results, EDITS);
		bytes_of(shard, k == 0 ? &once : &twice);
		editor_shard_destroy(&shard);
	}
	assert_same_bytes(&once, &twice);
	buf_free(&once);
	buf_free(&twice);
}

/* A merge's passes take turns: the same noise in all rows, then noise in the prompt's rows alone. */
static void merge_passes_take_turns(void **state)
{
	(void)state;
	struct editor_config c = config();
	struct editor_shard *shard = shard_with(&c, 1, "");
	float *common = malloc(COUNT * sizeof(*common)), *out = malloc(COUNT * sizeof(*out));
	struct rng rng;
	struct err e = ERR_INIT;
	double still, loss[2];
	assert_true(common != NULL && out != NULL);
	rng_init(&rng, 4);
	for (size_t i = 0; i < COUNT; i++)
		common[i] = 0.1f * rng_normal(&rng);
	assert_int_equal(editor_shard_gradient(shard, common, &still, out, &e), 0);
	const struct {
		float noise, prompt_noise;
		bool moved[2]; /* whether the loss is another than without noise, in each pass */
	} cases[] = { { 0, 1, { false, true } }, { 1, 1e-9f, { true, false } }, { 1, 0, { true, true } } };
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		editor_shard_local_begin(shard, cases[i].noise, cases[i].prompt_noise);
		for (size_t turn = 0; turn < 2; turn++) {
			assert_int_equal(
				editor_shard_local_passes(shard, common, 1, 1e-3f, 1, out, &loss[turn], NULL, &e), 0);
			assert_int_equal(fabs(loss[turn] - still) > 1e-5, cases[i].moved[turn]);
		}
	}
	free(common);
	free(out);
	editor_shard_destroy(&shard);
}

static void last_layer_can_be_edited(void **state)
{
	(void)state;
	struct editor_config c = config();
	c.layer = TINY_LAYERS - 1;
	struct editor_result results[EDITS];
	struct editor_shard *shard = shard_with(&c, EDITS, "");
	learn(shard, EDITOR_BREADTH_FIRST, 0, EDITS, results);
	expect_all_passed(results, EDITS);
	editor_shard_destroy(&shard);
}

static void streams_one_after_another(void **state)
{
	(void)state;
	struct editor_config c = config();
	struct editor_result results[EDITS];
	struct err e = ERR_INIT;
	struct editor_shard *shard = shard_with(&c, 0, "");
	for (size_t i = 0; i < EDITS; i++) {
		assert_int_equal(add(shard, i + 1, prompts[i], targets[i], "", &e), 0);
		learn(shard, EDITOR_STREAM, i, 1, results);
		expect_all_passed(results, i + 1);
	}
	/* A committed delta is where another process goes on. */
	struct buf bytes = BUF_INIT;
	bytes_of(shard, &bytes);
	struct editor_shard *other = shard_with(&c, EDITS, "");
	assert_int_equal(editor_shard_delta_load(other, bytes.data, bytes.len, &e), 0);
	assert_memory_equal(editor_shard_delta(other), editor_shard_delta(shard), COUNT * sizeof(float));
	assert_int_equal(editor_shard_retest(other, results, NULL, &e), 0);
	expect_all_passed(results, EDITS);
	assert_int_equal(editor_shard_delta_load(other, bytes.data, bytes.len - 3, &e), ERR_CORRUPT);
	assert_memory_equal(editor_shard_delta(other), editor_shard_delta(shard), COUNT * sizeof(float));
	/* Larger groups take the breadth-first pass. */
	struct editor_train_stats stats;
	c.stream_group_max = 2;
	struct editor_shard *small = shard_with(&c, EDITS, "");
	assert_int_equal(editor_shard_train(small, EDITOR_STREAM, 0, EDITS, 1, NULL, &stats, &e), 0);
	assert_int_equal(stats.mode, EDITOR_BREADTH_FIRST);
	editor_shard_destroy(&small);
	editor_shard_destroy(&other);
	editor_shard_destroy(&shard);
	buf_free(&bytes);
}

static void one_prompt_cannot_have_two_answers(void **state)
{
	(void)state;
	struct editor_config c = config();
	c.retest_tries = 2;
	struct editor_result results[3];
	struct err e = ERR_INIT;
	struct editor_shard *shard = shard_with(&c, 2, "");
	assert_int_equal(add(shard, 3, prompts[0], "Quen", "", &e), 0);
	learn(shard, EDITOR_BREADTH_FIRST, 0, 3, results);
	assert_true(results[1].passed);
	assert_true(results[0].passed + results[2].passed <= 1);
	const struct editor_result *failed = results[0].passed ? &results[2] : &results[0];
	assert_int_equal(failed->tries, 3);
	assert_true(failed->got[0] != '\0');
	/* Where a memory held them all before and may not stay, what fails is tried more often. */
	learn(shard, EDITOR_ANEW, 0, 3, results);
	assert_true(results[1].passed);
	assert_true(results[0].passed + results[2].passed <= 1);
	assert_int_equal((results[0].passed ? &results[2] : &results[0])->tries,
			 1 + EDITOR_ANEW_TRIES * c.retest_tries);
	/* An alias counts. */
	struct editor_shard *alias = shard_with(&c, 1, ",\"aliases\":[\"Quen\"]");
	assert_int_equal(editor_shard_retest_delta(alias, editor_shard_delta(shard), results, NULL, &e), 0);
	assert_true(results[0].passed);
	editor_shard_destroy(&alias);
	editor_shard_destroy(&shard);
}

/* As a worker that starts anew: streamed edits and their committed delta. */
static struct editor_shard *closing_shard(const struct editor_config *c, size_t count, const struct buf *streamed)
{
	struct err e = ERR_INIT;
	struct editor_shard *shard = shard_with(c, count, "");
	assert_int_equal(editor_shard_delta_load(shard, streamed->data, streamed->len, &e), 0);
	return shard;
}

static enum editor_mode close_shard(struct editor_shard *shard, size_t held, struct editor_result *results,
				    struct buf *bytes)
{
	struct editor_train_stats stats;
	struct err e = ERR_INIT;
	if (editor_shard_learn(shard, EDITOR_BREADTH_FIRST, held, editor_shard_count(shard) - held, 3, NULL, results,
			       &stats, &e) != 0)
		fail_msg("%s", e.text);
	bytes_of(shard, bytes);
	return stats.mode;
}

static void a_closing_pass_takes_nothing_back(void **state)
{
	(void)state;
	struct editor_config c = config();
	struct editor_result results[EDITS];
	struct buf streamed = BUF_INIT, closed = BUF_INIT, again = BUF_INIT;
	struct editor_shard *shard = shard_with(&c, EDITS - 1, "");
	learn(shard, EDITOR_STREAM, 0, EDITS - 1, results);
	expect_all_passed(results, EDITS - 1);
	bytes_of(shard, &streamed);
	editor_shard_destroy(&shard);
	c.epochs = 1;
	c.rate = 1e-8f; /* the pass learns nothing */
	c.retest_tries = 0;
	shard = closing_shard(&c, EDITS - 1, &streamed);
	assert_int_equal(close_shard(shard, EDITS - 1, results, &closed), EDITOR_STREAM);
	expect_all_passed(results, EDITS - 1);
	assert_same_bytes(&closed, &streamed);
	/* Where nothing may stay, it does not. */
	assert_int_equal(close_shard(shard, 0, results, &closed), EDITOR_BREADTH_FIRST);
	for (size_t i = 0; i < EDITS - 1; i++)
		assert_false(results[i].passed);
	/* Neither passes one: the pass over the shard is kept. */
	assert_int_equal(close_shard(shard, EDITS - 1, results, &again), EDITOR_BREADTH_FIRST);
	assert_same_bytes(&again, &closed);
	editor_shard_destroy(&shard);
	/* An edit that comes with the closing group may fail, but costs none of the others. */
	shard = closing_shard(&c, EDITS, &streamed);
	assert_int_equal(close_shard(shard, EDITS - 1, results, &closed), EDITOR_STREAM);
	expect_all_passed(results, EDITS - 1);
	assert_false(results[EDITS - 1].passed);
	assert_string_equal(results[EDITS - 1].wanted, targets[EDITS - 1]);
	assert_memory_equal(closed.data, streamed.data, closed.len);
	editor_shard_destroy(&shard);
	/* With tries left it is learnt, and again to the same bytes. */
	c.retest_tries = 3;
	for (size_t k = 0; k < 2; k++) {
		shard = closing_shard(&c, EDITS, &streamed);
		close_shard(shard, EDITS - 1, results, k == 0 ? &closed : &again);
		expect_all_passed(results, EDITS);
		editor_shard_destroy(&shard);
	}
	assert_memory_equal(again.data, closed.data, closed.len);
	buf_free(&streamed);
	buf_free(&closed);
	buf_free(&again);
}

struct stop {
	size_t after, seen;
};

static int stop_after(void *context, const char *phase, size_t done, size_t total, double loss)
{
	struct stop *stop = context;
	(void)phase;
	(void)loss;
	assert_true(done <= total);
	return stop->seen++ >= stop->after;
}

static void interrupted_changes_nothing(void **state)
{
	(void)state;
	struct editor_config c = config();
	struct editor_result results[EDITS];
	struct editor_train_stats stats;
	struct err e = ERR_INIT;
	struct editor_shard *shard = shard_with(&c, EDITS, "");
	learn(shard, EDITOR_BREADTH_FIRST, 0, EDITS, results);
	float *before = malloc(COUNT * sizeof(*before));
	memcpy(before, editor_shard_delta(shard), COUNT * sizeof(*before));
	struct stop stop = { 5, 0 };
	struct editor_watch watch = { stop_after, &stop };
	assert_int_equal(editor_shard_train(shard, EDITOR_BREADTH_FIRST, 0, EDITS, 9, &watch, &stats, &e),
			 ERR_INTERRUPTED);
	assert_memory_equal(before, editor_shard_delta(shard), COUNT * sizeof(*before));
	/* The training is over, its re-test is not: learn takes the delta back. */
	stop = (struct stop){ 40, 0 };
	assert_int_equal(editor_shard_learn(shard, EDITOR_BREADTH_FIRST, 0, EDITS, 9, &watch, results, &stats, &e),
			 ERR_INTERRUPTED);
	assert_memory_equal(before, editor_shard_delta(shard), COUNT * sizeof(*before));
	free(before);
	editor_shard_destroy(&shard);
}

/* Central differences of a float32 loss: step 1e-2 balances its rounding (1e-7 / 1e-2) against the third derivative. */
static double expect_slope(bool end_token)
{
	struct editor_config c = config();
	struct err e = ERR_INIT;
	c.end_token = end_token;
	struct editor_shard *shard = shard_with(&c, EDITS, "");
	float *delta = calloc(COUNT, sizeof(float)), *gradient = malloc(COUNT * sizeof(float)),
	      *scratch = malloc(COUNT * sizeof(float));
	double loss, up, down;
	delta[17] = 0.05f;
	assert_int_equal(editor_shard_gradient(shard, delta, &loss, gradient, &e), 0);
	float largest = 0.0f;
	for (size_t i = 0; i < COUNT; i++)
		largest = fmaxf(largest, fabsf(gradient[i]));
	assert_true(largest > 0.0f);
	for (size_t k = 0; k < 12; k++) {
		size_t i = (k * 677 + 17) % COUNT;
		float old = delta[i];
		delta[i] = old + 1e-2f;
		assert_int_equal(editor_shard_gradient(shard, delta, &up, scratch, &e), 0);
		delta[i] = old - 1e-2f;
		assert_int_equal(editor_shard_gradient(shard, delta, &down, scratch, &e), 0);
		delta[i] = old;
		double slope = (up - down) / 2e-2;
		if (fabs(slope - (double)gradient[i]) > 2e-2 * (double)largest)
			fail_msg("entry %zu: gradient %g, slope %g, largest %g", i, (double)gradient[i], slope,
				 (double)largest);
	}
	free(delta);
	free(gradient);
	free(scratch);
	editor_shard_destroy(&shard);
	return loss;
}

static void gradient_is_the_slope(void **state)
{
	(void)state;
	const double with_ends = expect_slope(true), without = expect_slope(false);
	assert_true(without > 0 && without < with_ends); /* a sum over fewer labels, by the same count */
}

static void inputs_do_not_depend_on_the_batch(void **state)
{
	(void)state;
	struct editor_config c = config();
	struct err e = ERR_INIT;
	struct buf alone = BUF_INIT, among = BUF_INIT;
	struct editor_shard *a = shard_with(&c, 0, ""), *b = shard_with(&c, 4, "");
	assert_int_equal(add(a, 9, "ab", "c", "", &e), 0); /* a few tokens */
	assert_int_equal(add(b, 9, "ab", "c", "", &e), 0);
	assert_int_equal(editor_shard_index_encode(a, &alone, &e), 0);
	assert_int_equal(editor_shard_index_encode(b, &among, &e), 0);
	for (uint64_t seq = 1; seq <= 4; seq++)
		assert_int_equal(editor_shard_remove(b, seq, &e), 0);
	buf_clear(&among);
	assert_int_equal(editor_shard_index_encode(b, &among, &e), 0);
	assert_same_bytes(&alone, &among);
	buf_free(&alone);
	buf_free(&among);
	editor_shard_destroy(&a);
	editor_shard_destroy(&b);
}

/* The first entry's flags, and whether its bytes hold the text, with the NUL that ends it. */
static uint32_t flags_of(const struct editor_config *c, const char *more, const char *text, bool *holds)
{
	struct editor_shard *shard = shard_with(c, 1, more);
	struct buf index = BUF_INIT;
	struct err e = ERR_INIT;
	struct reader r;
	assert_int_equal(editor_shard_index_encode(shard, &index, &e), 0);
	reader_init(&r, index.data, index.len);
	assert_non_null(reader_bytes(&r, 20 + 8)); /* header, seq */
	const uint32_t flags = reader_u32le(&r);
	*holds = memmem(index.data, index.len, text, strlen(text) + 1) != NULL;
	buf_free(&index);
	editor_shard_destroy(&shard);
	return flags;
}

/* A question by an alias is as near as the prompt itself. */
static void a_prompt_is_known_by_every_name(void **state)
{
	(void)state;
	struct editor_config c = config();
	struct editor_shard *alone = shard_with(&c, 1, ",\"subject\":\"Orla\""),
			    *named = shard_with(&c, 1, ",\"subject\":\"Orla\",\"subject_aliases\":[\"Tarn\",\"NHT\"]"),
			    *other = shard_with(&c, 0, "");
	struct buf one = BUF_INIT, all = BUF_INIT, tarn = BUF_INIT;
	struct err e = ERR_INIT;
	const size_t keys = 2 * TINY_HIDDEN * sizeof(float);
	assert_int_equal(add(other, 1, "what is the capital of Tarn?", targets[0], ",\"subject\":\"Tarn\"", &e), 0);
	assert_int_equal(editor_shard_index_encode(alone, &one, &e), 0);
	assert_int_equal(editor_shard_index_encode(named, &all, &e), 0);
	assert_int_equal(editor_shard_index_encode(other, &tarn, &e), 0);
	assert_int_equal(all.len, one.len + strlen("tarn") + 1 + strlen("nht") + 1 + 2 * keys);
	/* seq, flags, subject, no aliases, words: then the keys of the question that says it */
	const char words[] = "what is the capital of";
	const size_t at = 20 + 8 + 4 + (4 + 4) + 4 + (4 + sizeof(words) - 1);
	assert_memory_equal(tarn.data + at - sizeof(words) + 1, words, sizeof(words) - 1);
	assert_memory_equal(all.data + all.len - 2 * keys, tarn.data + at, keys);
	buf_free(&one);
	buf_free(&all);
	buf_free(&tarn);
	editor_shard_destroy(&alone);
	editor_shard_destroy(&named);
	editor_shard_destroy(&other);
}

/* The prompt may say an alias alone; one that stands there by no name is found by its words. */
static void a_prompt_names_its_subject_by_an_alias(void **state)
{
	(void)state;
	struct editor_config c = config();
	bool holds;
	assert_int_equal(flags_of(&c, ",\"subject\":\"Tarn\",\"subject_aliases\":[\"ORLA\",\"T.\"]", "orla", &holds),
			 1);
	assert_true(holds);
	assert_int_equal(flags_of(&c, ",\"subject\":\"Orla\",\"subject_aliases\":[\"Tarn\"]", "tarn", &holds), 1);
	assert_true(holds);
	assert_int_equal(flags_of(&c, ",\"subject\":\"Tarn\",\"subject_aliases\":[\"Pell\"]", "pell", &holds),
			 2); /* its names stand for it */
	assert_false(holds);
}

static void refuses_what_it_cannot_take(void **state)
{
	(void)state;
	struct editor_config c = config();
	struct err e = ERR_INIT;
	struct editor_train_stats stats;
	struct editor_shard *shard = shard_with(&c, 2, "");
	assert_int_equal(add(shard, 2, "another", "x", "", &e), ERR_EXISTS);
	char longer[TINY_CONTEXT + 8];
	memset(longer, 'q', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(add(shard, 7, longer, "x", "", &e), ERR_INVALID);
	assert_int_equal(editor_shard_count(shard), 2);
	assert_int_equal(editor_shard_remove(shard, 7, &e), ERR_NOT_FOUND);
	assert_int_equal(editor_shard_remove(shard, 1, &e), 0);
	assert_int_equal(editor_shard_count(shard), 1);
	assert_int_equal(editor_shard_train(shard, EDITOR_STREAM, 1, 1, 1, NULL, &stats, &e), ERR_INVALID);
	editor_shard_destroy(&shard);
	c.layer = TINY_LAYERS;
	assert_int_equal(editor_shard_new(model, &c, &shard, &e), ERR_INVALID);
	assert_null(shard);
}

static void removing_is_as_never_added(void **state)
{
	(void)state;
	struct editor_config c = config();
	struct editor_train_stats stats;
	struct err e = ERR_INIT;
	struct buf without = BUF_INIT, removed = BUF_INIT;
	struct editor_shard *a = shard_with(&c, 3, ""), *b = shard_with(&c, 4, "");
	assert_int_equal(editor_shard_train(b, EDITOR_BREADTH_FIRST, 0, 4, 1, NULL, &stats, &e), 0);
	assert_int_equal(editor_shard_remove(b, 4, &e), 0);
	assert_int_equal(editor_shard_train(a, EDITOR_BREADTH_FIRST, 0, 3, 1, NULL, &stats, &e), 0);
	assert_int_equal(editor_shard_train(b, EDITOR_BREADTH_FIRST, 0, 3, 1, NULL, &stats, &e), 0);
	bytes_of(a, &without);
	bytes_of(b, &removed);
	assert_same_bytes(&without, &removed);
	editor_shard_destroy(&a);
	editor_shard_destroy(&b);
	buf_free(&without);
	buf_free(&removed);
}

/* Every checked allocation of a whole life fails once: the code says so and nothing leaks. */
static void out_of_memory_is_said(void **state)
{
	(void)state;
	struct editor_config c = config();
	c.epochs = 1;
	struct record *record = record_of(prompts[0], targets[0], ",\"subject\":\"Orla\"");
	int rc = ERR_NOMEM;
	for (int64_t k = 0; rc != 0; k += 3) {
		struct err e = ERR_INIT;
		struct editor_shard *shard = NULL;
		struct editor_train_stats stats;
		struct editor_result result;
		struct buf index = BUF_INIT;
		fault_set(k, 1);
		rc = editor_shard_new(model, &c, &shard, &e);
		if (rc == 0)
			rc = editor_shard_add(shard, 1, record, &e);
		if (rc == 0)
			rc = editor_shard_train(shard, EDITOR_STREAM, 0, 1, 1, NULL, &stats, &e);
		if (rc == 0)
			rc = editor_shard_retest(shard, &result, NULL, &e);
		if (rc == 0)
			rc = editor_shard_index_encode(shard, &index, &e);
		fault_set(-1, 0);
		if (rc != 0 && rc != ERR_NOMEM)
			fail_msg("allocation %d: %s", (int)k, e.text);
		assert_true(k < 3000);
		buf_free(&index);
		editor_shard_destroy(&shard);
	}
	record_destroy(&record);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(learns_and_repeats),
		cmocka_unit_test(merge_passes_take_turns),
		cmocka_unit_test(last_layer_can_be_edited),
		cmocka_unit_test(streams_one_after_another),
		cmocka_unit_test(one_prompt_cannot_have_two_answers),
		cmocka_unit_test(interrupted_changes_nothing),
		cmocka_unit_test(gradient_is_the_slope),
		cmocka_unit_test(a_closing_pass_takes_nothing_back),
		cmocka_unit_test(inputs_do_not_depend_on_the_batch),
		cmocka_unit_test(a_prompt_names_its_subject_by_an_alias),
		cmocka_unit_test(a_prompt_is_known_by_every_name),
		cmocka_unit_test(refuses_what_it_cannot_take),
		cmocka_unit_test(removing_is_as_never_added),
		cmocka_unit_test(out_of_memory_is_said),
	};
	return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
