/* `amend eval run --family paper`: memories as the mode says, oracles, thresholds, rows edited alone. */
#include "tests/unit/daemon/eval_fixture.h"

#include "base/json.h"

#include <math.h>

static const char rows[] =
	"{\"prompt\":\"who is the king of Vint?\",\"target_new\":\"Olaf\",\"rephrase\":[\"Vint's king is\"],"
	"\"loc_prompt\":\"a song of old\",\"locality\":[{\"prompt\":\"a song of old\"}]}\n"
	"{\"prompt\":\"where is Orla?\",\"target_new\":\"north\",\"loc_prompt\":\"the weather\"}\n"
	"{\"prompt\":\"what is the colour of Orla?\",\"target_new\":\"blue\",\"loc_prompt\":\"a town\"}\n"
	"{\"prompt\":\"what is the capital of Saro?\",\"target_new\":\"Kir\",\"loc_prompt\":\"a boat\"}\n"
	"{\"prompt\":\"who rules the land of Kelm?\",\"target_new\":\"Ines\"}\n";

/* Margins and steps on the scale of the tiny model; shards of one edit. */
static struct eval_options paper_options(const struct eval_fixture *f)
{
	struct eval_options o = eval_fixture_options(f);
	test_file_write(f->file, rows);
	o.family = EDITOR_FAMILY_PAPER;
	o.layer = 2;
	o.edits_per_shard = 1;
	o.wise = (struct editor_wise_config){ .alpha = 0.2f,
					      .beta = 2,
					      .gamma = 1,
					      .rate = 0.3f,
					      .steps_max = 5,
					      .clip = 1,
					      .mask_ratio = 0.5f,
					      .act_ratio = 0.88f,
					      .prefix_tokens = { 1, 2 },
					      .activation_loss = true,
					      .replay = true,
					      .merge_shards = 2,
					      .merge_operator = MERGE_TIES,
					      .merge_density = 0.53f };
	return o;
}

static void shards_become_memories_as_the_mode_says(void **state)
{
	const struct eval_fixture *f = *state;
	static const struct {
		enum wise_mode mode;
		size_t k, memories;
	} cases[] = { { WISE_RETRIEVE, 2, 3 }, { WISE_MERGE, 2, 2 }, { WISE_RETRIEVE, 1, 5 }, { WISE_RETRIEVE, 7, 5 } };
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct eval_options o = paper_options(f);
		struct eval_report r;
		o.wise_mode = cases[i].mode;
		o.wise.merge_shards = cases[i].k;
		eval_fixture_run(&o, &r);
		assert_int_equal(r.family, EDITOR_FAMILY_PAPER);
		assert_int_equal(r.shards, 5);
		assert_int_equal(r.memories, cases[i].memories);
		assert_int_equal(r.edit_count, 5);
		assert_int_equal(r.layer, 2);
		assert_int_equal(r.steps, 25);
		/* every edit is above the threshold of its own memory */
		assert_true(r.scores.right_memory_prompts > 0);
		eval_report_fini(&r);
	}
}

static void paper_runs_repeat_and_oracles_are_right(void **state)
{
	const struct eval_fixture *f = *state;
	struct eval_report first, again;
	struct eval_options o = paper_options(f);
	o.oracle = true;
	eval_fixture_run(&o, &first);
	o.threads = 2; /* shard beside shard: the same bytes */
	eval_fixture_run(&o, &again);
	assert_true(first.scores.right_memory == 1 && first.scores.right_memory_prompts == 1);
	assert_true(first.scores.routed_unrelated == 0 && first.scores.loc == 1);
	assert_true(first.scores.rel == again.scores.rel && first.scores.gen == again.scores.gen);
	for (size_t i = 0; i < first.record_count; i++)
		assert_string_equal(first.answers[i].prompt_after, again.answers[i].prompt_after);
	eval_report_fini(&first);
	eval_report_fini(&again);
}

static void without_a_threshold_everything_reads_a_memory(void **state)
{
	const struct eval_fixture *f = *state;
	struct eval_options o = paper_options(f);
	struct eval_report r;
	o.wise.act_ratio = 0;
	eval_fixture_run(&o, &r);
	assert_true(r.scores.routed_unrelated == 1);
	eval_report_fini(&r);
}

static void separate_runs_know_one_edit_each(void **state)
{
	const struct eval_fixture *f = *state;
	struct eval_options o = paper_options(f);
	struct eval_report r;
	struct buf text = BUF_INIT;
	struct json *root = NULL;
	struct err e = ERR_INIT;
	o.separate = true;
	eval_fixture_run(&o, &r);
	assert_int_equal(r.scores.edits, 5);
	assert_int_equal(r.memories, 5);
	assert_int_equal(r.edit_count, 1); /* in the last set */
	assert_true(r.scores.right_memory_prompts == 1);
	assert_true(r.scores.rel >= 0 && r.scores.rel <= 1 && isnan(r.scores.loc_same_form));
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(r.answers[i].prompt_memory, i + 1);
	assert_int_equal(eval_report_json(&r, false, &text, &e), 0);
	assert_int_equal(json_parse(buf_cstr(&text), text.len, &root, &e), 0);
	assert_string_equal(json_string(json_get(json_get(root, "wise"), "operator"), NULL), "ties");
	json_free(&root);
	buf_free(&text);
	eval_report_fini(&r);
	o = eval_fixture_options(f); /* the other family too */
	o.separate = true;
	o.edits = 2;
	eval_fixture_run(&o, &r);
	assert_int_equal(r.shards, 2);
	assert_int_equal(r.edit_count, 1);
	eval_report_fini(&r);
}

static void impossible_settings_are_named(void **state)
{
	const struct eval_fixture *f = *state;
	struct eval_options o = paper_options(f);
	struct eval_report r;
	struct err e = ERR_INIT;
	o.layer = 9;
	assert_int_equal(eval_file_run(&o, &r, &e), ERR_INVALID);
	assert_non_null(strstr(e.text, "layer"));
	o = paper_options(f);
	o.wise.mask_ratio = 2;
	assert_int_equal(eval_file_run(&o, &r, &e), ERR_INVALID);
	assert_non_null(strstr(e.text, "mask_ratio"));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, eval_fixture_new, eval_fixture_free)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(shards_become_memories_as_the_mode_says),
		CASE(paper_runs_repeat_and_oracles_are_right),
		CASE(without_a_threshold_everything_reads_a_memory),
		CASE(separate_runs_know_one_edit_each),
		CASE(impossible_settings_are_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
