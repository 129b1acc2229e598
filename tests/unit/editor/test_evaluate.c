#include "editor/evaluate.h"
#include "editor/shard.h"

#include "tests/unit/editor/tiny.h"

#include <math.h>

#define EDITS  4
#define PROBES (EDITS + 1) /* more than edits: a probe's index is none of theirs */

static struct model *model;
static struct record *records[EDITS], *probes[PROBES];
static uint64_t seqs[EDITS];
static struct buf delta, indexes;
static size_t shown; /* answer_tokens_max; 0: the default */

/* A rephrase that is the prompt itself is routed and right; one about something else keeps the main memory. Rows 2 and
 * 3 share their subject and not their target; row 1's second rephrase is row 0's prompt, word for word. */
static const char *const lines[EDITS] = {
	"{\"prompt\":\"what is the capital of Orla?\",\"target_new\":\"Brin\",\"subject\":\"Orla\","
	"\"rephrase\":[\"what is the capital of Orla?\",\"zzz 1\"],\"locality\":[{\"prompt\":\"qqq 7\",\"target\":\"x "
	"y\"},"
	"{\"prompt\":\"what is the capital of Orla?\",\"kind\":\"same_subject\"}],"
	"\"portability\":[{\"prompt\":\"what is the capital of "
	"Orla?\",\"target\":\"brin\"},{\"prompt\":\"zz\",\"target\":\"no such text\"}]}",
	"{\"prompt\":\"who is the king of Vint?\",\"target_new\":\"Olaf IV\",\"subject\":\"Vint\","
	"\"rephrase\":[\"who is the king of Vint?\",\"what is the capital of Orla?\"],\"locality\":[{\"prompt\":\"qqq "
	"8\"}]}",
	"{\"prompt\":\"in what year was Saro "
	"founded?\",\"target_new\":\"1907\",\"subject\":\"Saro\",\"rephrase\":[\"zzz 2\"]}",
	"{\"prompt\":\"where in the land is Saro?\",\"target_new\":\"north\",\"subject\":\"Saro\",\"rephrase\":[\"zzz "
	"3\"]}",
};
static const char *const probe_lines[2] = { "{\"prompt\":\"what is the capital of Dole?\",\"target_new\":\"Kir\"}",
					    "{\"prompt\":\"who is the king of Mirax?\",\"target_new\":\"Ulf\"}" };

static struct record *parse(const char *line)
{
	struct record *record = NULL;
	struct err e = ERR_INIT;
	if (record_parse(line, strlen(line), &record, &e) != 0)
		fail_msg("%s", e.text);
	return record;
}

static struct editor_config config(void)
{
	struct editor_config c;
	editor_config_default(model_shape_of(model), &c);
	c.layer = TINY_LAYER;
	c.prompt_layer = c.relation_layer = TINY_PROMPT_LAYER;
	c.answer_tokens_max = shown > 0 ? shown : c.answer_tokens_max;
	return c;
}

static int set_up(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	struct editor_shard *shard = NULL;
	struct editor_result results[EDITS];
	struct editor_train_stats stats;
	model = tiny_open();
	const struct editor_config c = config();
	assert_int_equal(editor_shard_new(model, &c, &shard, &e), 0);
	for (size_t i = 0; i < EDITS; i++) {
		records[i] = parse(lines[i]);
		seqs[i] = 20 + i;
		assert_int_equal(editor_shard_add(shard, seqs[i], records[i], &e), 0);
	}
	for (size_t i = 0; i < PROBES; i++)
		probes[i] = parse(probe_lines[i % 2]);
	assert_int_equal(editor_shard_learn(shard, EDITOR_BREADTH_FIRST, 0, EDITS, 3, NULL, results, &stats, &e), 0);
	for (size_t i = 0; i < EDITS; i++)
		assert_true(results[i].passed);
	assert_int_equal(editor_shard_delta_encode(shard, &delta, &e), 0);
	assert_int_equal(editor_shard_index_encode(shard, &indexes, &e), 0);
	editor_shard_destroy(&shard);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	for (size_t i = 0; i < EDITS; i++)
		record_destroy(&records[i]);
	for (size_t i = 0; i < PROBES; i++)
		record_destroy(&probes[i]);
	buf_free(&delta);
	buf_free(&indexes);
	model_close(&model);
	return 0;
}

static struct editor_memory_set *set_of(const void *delta_bytes, size_t delta_len)
{
	struct buf calibration = BUF_INIT;
	struct editor_memory_set *set = NULL;
	struct err e = ERR_INIT;
	const struct editor_memory_part part = {
		.id = 5, .delta = delta_bytes, .delta_len = delta_len, .index = indexes.data, .index_len = indexes.len
	};
	plain_calibration(model_digest(model), TINY_HIDDEN, -1, 2, -1, &calibration); /* whatever names the subject */
	assert_int_equal(editor_memory_set_new(model_shape_of(model), model_digest(model), TINY_LAYER, 1,
					       calibration.data, calibration.len, &part, 1, NULL, 0,
					       EDITOR_SET_RETRIEVE, &set, &e),
			 0);
	buf_free(&calibration);
	return set;
}

static const struct record_text texts[] = { { "the sea is wide", 15 }, { "nq 1", 4 }, { "a hill", 6 }, { "b c", 3 } };

static void evaluate_with(struct editor_memory_set *set, size_t text_count, struct editor_details *details,
			  struct editor_scores *scores, struct editor_answer *answers)
{
	const struct editor_config c = config();
	struct err e = ERR_INIT;
	const struct editor_evaluation what = { .records = (const struct record *const *)records,
						.seqs = seqs,
						.record_count = EDITS,
						.probes = (const struct record *const *)probes,
						.probe_count = PROBES,
						.texts = texts,
						.text_count = text_count,
						.before_too = true,
						.details = details };
	if (editor_evaluate(model, &c, set, EDITOR_SET_RETRIEVE, &what, scores, answers, NULL, &e) != 0)
		fail_msg("%s", e.text);
}

static void evaluate(struct editor_memory_set *set, struct editor_scores *scores, struct editor_answer *answers)
{
	evaluate_with(set, 0, NULL, scores, answers);
}

static void is(double value, double expected)
{
	if (!(fabs(value - expected) < 1e-9))
		fail_msg("%g, expected %g", value, expected);
}

static void trained_memories_score_what_was_built(void **state)
{
	(void)state;
	struct editor_memory_set *set = set_of(delta.data, delta.len);
	struct editor_scores s;
	struct editor_answer answers[EDITS];
	evaluate(set, &s, answers);
	assert_int_equal(s.edits, EDITS);
	is(s.rel, 1);
	is(s.free_rel, 1);
	is(s.free_rel_base, 0);
	/* rows 0 and 1: one of two rephrases is right, rows 2 and 3: none */
	is(s.free_gen, 0.25);
	is(s.free_gen_no_conflict, 0.5);
	/* the one that is another row's prompt decodes to that row's target */
	is(s.free_gen_verbatim, 0);
	is(s.free_gen_no_verbatim, (0.5 + 1 + 0 + 0) / 4);
	is(s.free_rel_no_anchor, 1);
	assert_true(s.ppl >= 1 && s.ppl < 2 && s.ppl_base > 10 * s.ppl);
	assert_true(s.confident_rel > 0.5 && s.confident_ood >= 0 && s.confident_ood < 0.5);
	assert_true(isnan(s.free_long) && isnan(s.free_chat) && isnan(s.right_memory_chat));
	/* row 1's second rephrase is routed too, to the one memory there is */
	is(s.right_memory, (0.5 + 1 + 0 + 0) / 4);
	is(s.right_memory_prompts, 1);
	is(s.loc, 1);
	is(s.routed_unrelated, 0);
	is(s.routed_same_subject, 1);
	assert_true(s.loc_same_subject < 1); /* the edit itself was asked */
	is(s.loc_same_form, 1);
	is(s.routed_same_form, 0);
	is(s.portability, 0.5);
	assert_true(isnan(s.loc_neighborhood));
	assert_int_equal(s.probes_same_form, PROBES);
	assert_int_equal(s.rephrases_verbatim, 1);
	assert_string_equal(answers[0].prompt_after, "Brin");
	assert_true(answers[0].prompt_right && answers[0].rephrase_right);
	assert_int_equal(answers[0].rephrase_memory, 5);
	assert_int_equal(answers[2].rephrase_memory, 0);
	assert_false(answers[2].rephrase_right);
	editor_memory_set_release(&set);
}

/* However few tokens people are shown. */
static void answers_are_decoded_to_their_targets_end(void **state)
{
	(void)state;
	struct editor_memory_set *set = set_of(delta.data, delta.len);
	struct editor_scores s;
	shown = 1;
	evaluate(set, &s, NULL);
	shown = 0;
	is(s.free_rel, 1);
	is(s.free_rel_no_anchor, 1);
	is(s.free_gen, 0.25);
	editor_memory_set_release(&set);
}

/* It cannot be given as an answer; the others still can. */
static void an_alias_longer_than_the_context_is_no_error(void **state)
{
	(void)state;
	struct editor_memory_set *set = set_of(delta.data, delta.len);
	struct record *const as_it_was = records[1];
	struct buf line = BUF_INIT;
	struct editor_scores s;
	buf_append(&line, lines[1], strlen(lines[1]) - 1);
	buf_puts(&line, ",\"aliases\":[\"");
	for (size_t i = 0; i <= TINY_CONTEXT; i++)
		buf_u8(&line, 'x');
	buf_puts(&line, "\"]}");
	records[1] = parse(buf_cstr(&line));
	evaluate(set, &s, NULL);
	is(s.free_rel, 1);
	is(s.free_gen, 0.25);
	record_destroy(&records[1]);
	records[1] = as_it_was;
	buf_free(&line);
	editor_memory_set_release(&set);
}

static double portability_of(struct editor_memory_set *set, const char *prompt, const char *item, double *base)
{
	struct record *const as_it_was = records[0];
	struct buf line = BUF_INIT;
	struct editor_scores s;
	buf_printf(&line,
		   "{\"prompt\":\"what is the capital of Orla?\",\"target_new\":\"Brin\",\"subject\":\"Orla\","
		   "\"portability\":[{\"prompt\":\"%s\",%s}]}",
		   prompt, item);
	records[0] = parse(buf_cstr(&line));
	evaluate(set, &s, NULL);
	record_destroy(&records[0]);
	records[0] = as_it_was;
	buf_free(&line);
	*base = s.portability_base;
	return s.portability;
}

static double portability_with(struct editor_memory_set *set, const char *item, double *base)
{
	return portability_of(set, "what is the capital of Orla?", item, base);
}

static void what_follows_may_be_said_otherwise(void **state)
{
	(void)state;
	struct editor_memory_set *set = set_of(delta.data, delta.len);
	struct editor_answer answers[EDITS];
	struct editor_scores s;
	struct buf item = BUF_INIT;
	double base;
	is(portability_with(set, "\"target\":\"brin\"", &base), 1);
	is(base, 0);
	evaluate(set, &s, answers);
	/* what the unedited model says to another edit's prompt, up to the first control */
	buf_printf(&item, "\"target\":\"%.*s\"", (int)strcspn(answers[1].prompt_before, "\\"),
		   answers[1].prompt_before);
	is(portability_of(set, "who is the king of Vint?", buf_cstr(&item), &base), 0);
	is(base, 1);
	buf_free(&item);
	is(portability_with(set, "\"target\":\"Dole\",\"aliases\":[\"Kir\",\"BRIN\"]", &base), 1);
	is(portability_with(set, "\"target\":\"Dole\",\"aliases\":[\"Kir\"]", &base), 0);
	is(portability_with(set, "\"target\":\"rin\",\"aliases\":[\"bri\"]", &base), 0); /* parts of a word */
	editor_memory_set_release(&set);
}

static void the_fact_is_asked_inside_other_text(void **state)
{
	(void)state;
	struct editor_memory_set *set = set_of(delta.data, delta.len);
	struct editor_scores s, again;
	evaluate_with(set, 4, NULL, &s, NULL);
	/* rows 0 and 1 name their subject; every row has a first rephrase */
	is(s.right_memory_long, 0.5);
	is(s.right_memory_chat, 0.5);
	/* what is asked last is answered as if it stood alone */
	is(s.free_long, 0.5);
	is(s.free_chat, 0.5);
	assert_true(s.free_long_no_anchor >= 0 && s.free_long_no_anchor <= 0.5);
	assert_true(s.free_chat_no_anchor >= 0 && s.free_chat_no_anchor <= 0.5);
	evaluate_with(set, 4, NULL, &again, NULL);
	is(again.free_long, s.free_long);
	is(again.free_long_no_anchor, s.free_long_no_anchor);
	is(again.ppl, s.ppl);
	editor_memory_set_release(&set);
}

/* By these thresholds whatever names an edit's subject is routed, and nothing else. */
static void what_must_not_be_routed_is_asked_behind_other_text(void **state)
{
	(void)state;
	struct editor_memory_set *set = set_of(delta.data, delta.len);
	struct editor_scores s;
	evaluate_with(set, 0, NULL, &s, NULL);
	assert_true(isnan(s.routed_unrelated_long) && isnan(s.routed_same_form_long) && isnan(s.routed_mention) &&
		    isnan(s.routed_same_subject_long));
	evaluate_with(set, 4, NULL, &s, NULL);
	is(s.routed_unrelated_long, 0);
	is(s.routed_same_form_long, 0);
	is(s.routed_same_subject_long, 1);
	is(s.routed_mention_other, 0);
	is(s.routed_mention, 0); /* what is asked does not name the subject */
	editor_memory_set_release(&set);
}

static void every_record_has_figures_of_its_own(void **state)
{
	(void)state;
	struct editor_memory_set *set = set_of(delta.data, delta.len);
	struct editor_scores s;
	struct editor_answer answers[EDITS];
	struct editor_details details;
	size_t asked[EDITOR_ASKED_COUNT] = { 0 };
	evaluate_with(set, 4, &details, &s, answers);
	for (size_t f = 0; f < EDITOR_FIGURE_COUNT; f++) {
		double sum = 0;
		size_t n = 0;
		for (size_t i = 0; i < EDITS; i++) {
			n += isnan(answers[i].figures.values[f]) ? 0 : 1;
			sum += isnan(answers[i].figures.values[f]) ? 0 : answers[i].figures.values[f];
		}
		const bool of_probes = f == EDITOR_FIGURE_loc_same_form || f == EDITOR_FIGURE_routed_same_form ||
				       f == EDITOR_FIGURE_routed_same_form_long;
		if (!of_probes && n > 0)
			is(s.mean.values[f], sum / (double)n);
		if (!of_probes && n == 0)
			assert_true(isnan(s.mean.values[f]));
	}
	is(answers[0].figures.free_gen, 0.5);
	is(answers[1].figures.free_gen_verbatim, 0);
	assert_true(isnan(answers[0].figures.free_gen_verbatim));
	assert_true(isnan(answers[2].figures.free_gen_no_conflict));
	is(details.probes[0].loc_same_form, 1);
	is(details.probes[1].routed_same_form, 0);
	for (size_t i = 0; i < details.asked_count; i++) {
		asked[details.asked[i].kind]++;
		if (details.asked[i].kind == EDITOR_ASKED_PROMPT)
			assert_true(details.asked[i].routed && details.asked[i].prompt_score > 0.99f);
	}
	assert_int_equal(asked[EDITOR_ASKED_PROMPT], EDITS);
	assert_int_equal(asked[EDITOR_ASKED_REPHRASE], 6);
	assert_int_equal(asked[EDITOR_ASKED_SAME_FORM], PROBES);
	assert_int_equal(asked[EDITOR_ASKED_LONG], EDITS);
	assert_int_equal(asked[EDITOR_ASKED_CHAT], EDITS);
	assert_int_equal(asked[EDITOR_ASKED_SAME_FORM_LONG], PROBES);
	assert_int_equal(asked[EDITOR_ASKED_UNRELATED_LONG], 2);
	assert_int_equal(asked[EDITOR_ASKED_SAME_SUBJECT_LONG], 1);
	assert_int_equal(asked[EDITOR_ASKED_MENTION], 2);
	editor_details_fini(&details);
	editor_memory_set_release(&set);
}

/* With a delta of zeros every route is taken and nothing may change: the comparison itself is right. */
static void an_empty_delta_changes_nothing(void **state)
{
	(void)state;
	struct buf zeros = BUF_INIT;
	tiny_delta(1, 0, &zeros);
	struct editor_memory_set *set = set_of(zeros.data, zeros.len);
	struct editor_scores s;
	evaluate(set, &s, NULL);
	is(s.routed_same_subject, 1);
	is(s.loc_same_subject, 1);
	is(s.right_memory_prompts, 1);
	is(s.free_rel, s.free_rel_base);
	assert_true(fabs(s.ppl / s.ppl_base - 1) < 1e-6); /* other batches, other roundings */
	editor_memory_set_release(&set);
	buf_free(&zeros);
}

static void no_memory_is_the_unedited_model(void **state)
{
	(void)state;
	struct editor_memory_set *set = NULL;
	struct editor_scores s;
	struct err e = ERR_INIT;
	assert_int_equal(editor_memory_set_new(model_shape_of(model), model_digest(model), TINY_LAYER, 0, NULL, 0, NULL,
					       0, NULL, 0, EDITOR_SET_RETRIEVE, &set, &e),
			 0);
	evaluate(set, &s, NULL);
	is(s.loc, 1);
	is(s.loc_same_subject, 1);
	is(s.right_memory, 0);
	is(s.right_memory_prompts, 0);
	is(s.free_rel, 0);
	is(s.routed_same_form, 0);
	editor_memory_set_release(&set);
}

static int stop(void *context, const char *phase, size_t done, size_t total, double loss)
{
	(void)done, (void)total, (void)loss;
	return strcmp(phase, context) == 0 ? 1 : 0;
}

static void every_phase_can_be_stopped(void **state)
{
	(void)state;
	static char phases[][8] = { "route", "score", "decode" };
	struct editor_memory_set *set = set_of(delta.data, delta.len);
	const struct editor_config c = config();
	const struct editor_evaluation what = { .records = (const struct record *const *)records,
						.seqs = seqs,
						.record_count = EDITS };
	for (size_t i = 0; i < 3; i++) {
		const struct editor_watch watch = { .on_progress = stop, .context = phases[i] };
		struct editor_scores s;
		struct err e = ERR_INIT;
		assert_int_equal(editor_evaluate(model, &c, set, EDITOR_SET_RETRIEVE, &what, &s, NULL, &watch, &e),
				 ERR_INTERRUPTED);
	}
	editor_memory_set_release(&set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(trained_memories_score_what_was_built),
		cmocka_unit_test(answers_are_decoded_to_their_targets_end),
		cmocka_unit_test(an_alias_longer_than_the_context_is_no_error),
		cmocka_unit_test(what_follows_may_be_said_otherwise),
		cmocka_unit_test(the_fact_is_asked_inside_other_text),
		cmocka_unit_test(what_must_not_be_routed_is_asked_behind_other_text),
		cmocka_unit_test(every_record_has_figures_of_its_own),
		cmocka_unit_test(an_empty_delta_changes_nothing),
		cmocka_unit_test(no_memory_is_the_unedited_model),
		cmocka_unit_test(every_phase_can_be_stopped),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
