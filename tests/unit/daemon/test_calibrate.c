/* `amend calibrate`: its command line, and what it makes of an operator's data on the tiny model. */
#include "daemon/calibrate.h"
#include "daemon/calibrate_search.h"

#include "tests/lib/cli_fixture.h"
#include "tests/unit/daemon/eval_fixture.h"

static void head_write(const char *path, size_t count)
{
	static const char *const asked[] = { "who leads", "where is", "what is the size of" }, *const rephrased[] = {
		"whose is", "the place of", "how large is"
	};
	struct buf text = BUF_INIT;
	for (size_t i = 0; i < count; i++)
		buf_printf(
			&text,
			"{\"prompt\":\"%s Town %zu?\",\"target_new\":\"x\",\"subject\":\"Town %zu\",\"rephrase\":[\"%s "
			"Town %zu?\"],\"locality\":[{\"prompt\":\"when was Town %zu of %zu built?\",\"kind\":"
			"\"same_subject\"}]}\n",
			asked[i % 3], i, i, rephrased[i % 3], i, i, i % 3);
	buf_puts(&text, "{\"prompt\":\"who?\",\"target_new\":\"x\",\"rephrase\":[\"whom?\"]}\n"); /* no subject */
	test_file_write(path, buf_cstr(&text));
	buf_free(&text);
}

static struct calibrate_options options(const struct eval_fixture *f)
{
	return (struct calibrate_options){
		.model = f->model, .backend = "cpu", .threads = 1, .corpus = f->corpus, .seed = 1
	};
}

static void groups_are_added_or_replace(void **state)
{
	struct eval_fixture *f = *state;
	struct calibrate_options o = options(f);
	struct calibrate_report r;
	struct buf bytes[3] = { BUF_INIT, BUF_INIT, BUF_INIT };
	struct err e = ERR_INIT;
	head_write(f->file, 12);
	assert_ok(&e, calibrate_run(&o, &bytes[0], &r, &e));
	assert_int_equal(r.texts.prompts, 6);
	assert_int_equal(r.texts.unrelated, 6);
	assert_int_equal(r.texts.relation.groups, 6);
	assert_false(r.texts.relation.forms_apart); /* the corpus has one form */
	assert_int_equal(r.file_count, 1);
	o.relation_head = f->file;
	assert_ok(&e, calibrate_run(&o, &bytes[1], &r, &e));
	assert_int_equal(r.head_rows, 13);
	assert_int_equal(r.head_left_out, 1);
	assert_int_equal(r.texts.relation.groups, 18);
	assert_int_equal(r.texts.prompts, 6); /* statistics stay the corpus's */
	assert_string_equal(r.files[1].role, "relation-head");
	o.groups_alone = true;
	assert_ok(&e, calibrate_run(&o, &bytes[2], &r, &e));
	assert_int_equal(r.texts.relation.groups, 12);
	assert_true(r.texts.relation.forms_apart);
	assert_true(r.texts.relation.fitted_least >= 2 && r.texts.relation.fitted_least <= 8);
	assert_int_equal(r.texts.relation.rephrases, 12);
	assert_int_equal(r.texts.relation.others, 12);
	assert_true(r.texts.relation.passed <= 0.2); /* .11 of twelve, the next one included */
	for (size_t i = 0; i < 3; i++)
		buf_free(&bytes[i]);
}

static void the_same_data_gives_the_same_file(void **state)
{
	struct eval_fixture *f = *state;
	struct calibrate_options o = options(f);
	struct calibrate_report r;
	struct buf bytes[2] = { BUF_INIT, BUF_INIT }, json = BUF_INIT;
	struct editor_calibration_file file;
	struct err e = ERR_INIT;
	struct hash digest = { { 0 } };
	bool found;
	head_write(f->file, 12);
	o.relation_head = f->file;
	for (size_t i = 0; i < 2; i++)
		assert_ok(&e, calibrate_run(&o, &bytes[i], &r, &e));
	assert_same_bytes(&bytes[0], &bytes[1]);
	assert_ok(&e, editor_calibration_file_decode(bytes[0].data, bytes[0].len, &file, &e));
	assert_ok(&e, editor_calibration_file_check(&file, "f", EDITOR_FAMILY_AMEND, &r.model_digest, &e));
	static const char *const asked[] = { "Whose is Town 3?", "when was town 3 of 0 built?",
					     "What is the capital of Bolt?" };
	for (size_t i = 0; i < 3; i++) {
		assert_ok(&e, editor_fitting_has(&file.fitting, asked[i], strlen(asked[i]), &found));
		assert_true(found);
	}
	assert_ok(&e, calibrate_report_json(&r, "own.cal", &digest, &json, &e));
	assert_non_null(strstr(buf_cstr(&json), "\"rephrases_kept\""));
	editor_calibration_file_fini(&file);
	for (size_t i = 0; i < 2; i++)
		buf_free(&bytes[i]);
	buf_free(&json);
}

static void on_bad(void *context, const char *file, size_t line_no, const char *reason)
{
	buf_printf(context, "%s:%zu: %s\n", strrchr(file, '/') + 1, line_no, reason);
}

static void a_bad_line_is_left_out(void **state)
{
	static const char bad[] = "{\"prompt\":\"\",\"target_new\":\"x\"}\n{\"prompt\"\n";
	struct eval_fixture *f = *state;
	struct calibrate_options o = options(f);
	struct calibrate_search_options search = {
		.model = f->model, .backend = "cpu", .threads = 1, .corpus = f->corpus, .edits = f->file, .seed = 1
	};
	struct calibrate_report r;
	struct calibrate_search_report searched;
	struct buf heard = BUF_INIT, all = BUF_INIT, bytes = BUF_INIT, wanted = BUF_INIT;
	struct err e = ERR_INIT;
	head_write(f->file, 12);
	assert_ok(&e, file_read(f->file, 1 << 20, &all, &e));
	buf_puts(&all, bad);
	test_file_write(f->file, buf_cstr(&all));
	o.relation_head = search.edits = f->file;
	o.bad = search.bad = (struct calibrate_bad){ on_bad, &heard };
	assert_ok(&e, calibrate_run(&o, &bytes, &r, &e));
	assert_int_equal(r.head_groups, 12);
	assert_int_equal(r.bad_lines, 2);
	buf_printf(&wanted, "%s:14: prompt: empty", strrchr(f->file, '/') + 1);
	assert_memory_equal(buf_cstr(&heard), buf_cstr(&wanted), wanted.len);
	assert_non_null(strstr(buf_cstr(&heard), ":15: record: "));
	buf_clear(&heard);
	assert_ok(&e, calibrate_search(&search, &searched, &e));
	assert_int_equal(searched.edit_count, 13);
	assert_memory_equal(buf_cstr(&heard), buf_cstr(&wanted), wanted.len);
	buf_free(&heard);
	buf_free(&all);
	buf_free(&bytes);
	buf_free(&wanted);
}

/* The calibration is made, and the exit code says that something was left out. */
static void the_command_tells_of_bad_lines(void **state)
{
	struct cli_world *w = *state;
	void *files = NULL;
	struct buf all = BUF_INIT;
	struct err e = ERR_INIT;
	char out[TEST_PATH_BYTES];
	assert_int_equal(eval_fixture_new(&files), 0);
	const struct eval_fixture *f = files;
	head_write(f->file, 12);
	assert_ok(&e, file_read(f->file, 1 << 20, &all, &e));
	test_path(out, w->folder, "own.cal");
	EXPECT(w, CLI_OK, "calibrate", "--out", out, "--model", f->model, "--corpus", f->corpus, "--relation-head",
	       f->file);
	for (size_t i = 0; i < 22; i++)
		buf_puts(&all, "{\"prompt\":\"\",\"target_new\":\"x\"}\n");
	test_file_write(f->file, buf_cstr(&all));
	EXPECT(w, CLI_FAILED, "calibrate", "--out", out, "--model", f->model, "--corpus", f->corpus, "--relation-head",
	       f->file, "-o", "json");
	cli_expect_err(w, ":33: prompt: empty");
	cli_expect_err(w, "and 2 more bad lines");
	assert_null(strstr(cli_err(w), ":34: prompt"));
	cli_expect_out(w, "\"bad_lines\":22");
	buf_free(&all);
	eval_fixture_free(&files);
}

static void data_that_teaches_nothing_is_refused(void **state)
{
	struct eval_fixture *f = *state;
	struct calibrate_options o = options(f);
	struct calibrate_report r;
	struct buf bytes = BUF_INIT;
	struct err e = ERR_INIT;
	o.relation_head = f->file;
	test_file_write(f->file, "{\"prompt\":\"who?\",\"target_new\":\"x\"}\n");
	assert_int_equal(calibrate_run(&o, &bytes, &r, &e), ERR_INVALID);
	assert_non_null(strstr(e.text, "locality item of kind same_subject"));
	test_file_write(f->file, "{\"prompt\":\"\",\"target_new\":\"x\"}\n");
	assert_int_equal(calibrate_run(&o, &bytes, &r, &e), ERR_INVALID);
	assert_non_null(strstr(e.text, ": no record is left to learn from: 1 bad line"));
	assert_int_equal(r.bad_lines, 1);
	test_file_write(f->file, "\n");
	assert_int_equal(calibrate_run(&o, &bytes, &r, &e), ERR_INVALID);
	assert_non_null(strstr(e.text, ": has no record"));
	head_write(f->file, 3);
	o.groups_alone = true;
	assert_int_equal(calibrate_run(&o, &bytes, &r, &e), ERR_INVALID);
	assert_non_null(strstr(e.text, "too few for a relation head"));
	o.relation_head = "/nowhere.jsonl";
	assert_int_equal(calibrate_run(&o, &bytes, &r, &e), ERR_NOT_FOUND);
	assert_memory_equal(e.text, "opening /nowhere.jsonl: ", 24); /* once */
	o.relation_head = f->file;
	test_file_write(f->file, "\x8f\x01\n");
	assert_int_equal(calibrate_run(&o, &bytes, &r, &e), ERR_INVALID);
	assert_ptr_equal(strstr(e.text, f->file), e.text);
	assert_ptr_equal(strstr(e.text, " is no text file"), e.text + strlen(f->file));
	assert_int_equal(bytes.len, 0);
	buf_free(&bytes);
}

/* --- The search of layer and rate. */

static int stop_in_the_second_trial(void *context, const char *phase, size_t done, size_t total, double loss)
{
	(void)context, (void)done, (void)total, (void)loss;
	return strstr(phase, "layer 2") != NULL;
}

static void layers_and_then_rates_are_tried(void **state)
{
	struct eval_fixture *f = *state;
	struct calibrate_search_options o = {
		.model = f->model, .backend = "cpu", .threads = 1, .corpus = f->corpus, .seed = 1
	};
	struct calibrate_search_report r;
	struct buf json = BUF_INIT;
	struct err e = ERR_INIT;
	assert_ok(&e, calibrate_search(&o, &r, &e));
	assert_int_equal(r.edit_count, 6);
	assert_int_equal(r.layers, TINY_LAYERS);
	assert_int_equal(r.trial_count, 5); /* layers 3, 2 and 1, then two rates */
	assert_int_equal(r.trials[0].layer, 3);
	assert_int_equal(r.trials[2].layer, 1);
	for (size_t i = 0; i < r.trial_count; i++) {
		assert_true(r.trials[i].prompts_right <= 6 && r.trials[i].rephrases_right <= 6);
		assert_true(r.trials[i].rephrases_right <= r.trials[r.best].rephrases_right);
	}
	assert_int_equal(r.trials[3].layer, r.trials[4].layer);
	assert_true(r.trials[3].rate < r.trials[0].rate && r.trials[4].rate > r.trials[0].rate);
	assert_ok(&e, calibrate_search_json(&r, &json, &e));
	assert_non_null(strstr(buf_cstr(&json), "\"trials\""));
	buf_free(&json);
	const struct editor_watch watch = { stop_in_the_second_trial, NULL };
	o.watch = &watch;
	assert_int_equal(calibrate_search(&o, &r, &e), ERR_INTERRUPTED);
	o.watch = NULL;
	o.edits = f->file;
	test_file_write(f->file, "{\"prompt\":\"who?\",\"target_new\":\"x\"}\n");
	assert_int_equal(calibrate_search(&o, &r, &e), ERR_INVALID);
	assert_non_null(strstr(e.text, "rephrases are what a layer is judged by"));
}

static void the_search_begins_where_it_is_told(void **state)
{
	struct eval_fixture *f = *state;
	struct calibrate_search_options o = { .model = f->model,
					      .backend = "cpu",
					      .threads = 1,
					      .corpus = f->corpus,
					      .layer = 1,
					      .rate = 0.05f,
					      .seed = 1 };
	struct calibrate_search_report r;
	struct err e = ERR_INIT;
	assert_ok(&e, calibrate_search(&o, &r, &e));
	assert_int_equal(r.trials[0].layer, 1);
	for (size_t i = 0; i + 2 < r.trial_count; i++)
		assert_true(r.trials[i].rate == 0.05f);
	assert_true(r.trials[r.trial_count - 1].rate == 0.1f);
	o.layer = TINY_LAYERS;
	assert_int_equal(calibrate_search(&o, &r, &e), ERR_INVALID);
	assert_non_null(strstr(e.text, "--layer may be 1 to 3"));
	o.layer = 0;
	o.rate = 0.8f;
	assert_int_equal(calibrate_search(&o, &r, &e), ERR_INVALID);
	assert_non_null(strstr(e.text, "--train.rate may be 2e-08 to 0.5"));
	assert_int_equal(r.trial_count, 0);
}

/* The command line's settings get there. */
static void the_command_hands_layer_and_rate_on(void **state)
{
	struct cli_world *w = *state;
	void *files = NULL;
	assert_int_equal(eval_fixture_new(&files), 0);
	const struct eval_fixture *f = files;
	EXPECT(w, CLI_FAILED, "calibrate", "--search", "--model", f->model, "--corpus", f->corpus, "--layer", "77");
	cli_expect_err(w, "begin at layer 77");
	EXPECT(w, CLI_FAILED, "calibrate", "--search", "--model", f->model, "--corpus", f->corpus, "--train.rate",
	       "0.9");
	cli_expect_err(w, "the rate 0.9");
	eval_fixture_free(&files);
}

static void margins_are_fitted_and_kept(void **state)
{
	struct eval_fixture *f = *state;
	struct calibrate_options o = options(f);
	struct calibrate_report r;
	struct editor_calibration_file file;
	struct editor_config config = { .layer = 0 };
	struct buf bytes = BUF_INIT, json = BUF_INIT;
	struct hash digest = { { 0 } };
	struct err e = ERR_INIT;
	struct model_shape shape = { .layers = TINY_LAYERS };
	editor_config_default(&shape, &config);
	o.family = EDITOR_FAMILY_PAPER;
	o.wise = config.wise;
	o.wise.steps_max = 10;
	o.wise.prefix_tokens[0] = o.wise.prefix_tokens[1] = 1;
	assert_ok(&e, calibrate_run(&o, &bytes, &r, &e));
	assert_ok(&e, editor_calibration_file_decode(bytes.data, bytes.len, &file, &e));
	assert_ok(&e, editor_calibration_file_check(&file, "f", EDITOR_FAMILY_PAPER, &r.model_digest, &e));
	config.wise.steps_max = 10;
	assert_ok(&e, editor_calibration_file_margins(&file, "f", r.layer, &config.wise, &e));
	assert_true(config.wise.alpha >= r.wise.alpha && config.wise.alpha <= r.wise.alpha);
	assert_int_equal(file.fitting.text_count, 2 * r.margins.edit_count + r.margins.unrelated_count);
	assert_ok(&e, calibrate_report_json(&r, "p.cal", &digest, &json, &e));
	assert_non_null(strstr(buf_cstr(&json), "\"epsilon_of_trial\""));
	editor_calibration_file_fini(&file);
	buf_free(&bytes);
	buf_free(&json);
}

static void wrong_lines_are_misuse(void **state)
{
	struct cli_world *w = *state;
	EXPECT(w, CLI_USAGE, "calibrate", "--model", "m.gguf");
	cli_expect_err(w, "--out FILE");
	EXPECT(w, CLI_USAGE, "calibrate", "--out", "o.cal");
	cli_expect_err(w, "--model");
	EXPECT(w, CLI_USAGE, "calibrate", "--out", "o.cal", "--head-groups", "replace");
	cli_expect_err(w, "--relation-head");
	EXPECT(w, CLI_USAGE, "calibrate", "--out", "o.cal", "--relation-head", "r", "--head-groups", "some");
	cli_expect_err(w, "add or replace");
	EXPECT(w, CLI_USAGE, "calibrate", "--search", "--out", "o.cal", "--model", "m.gguf");
	cli_expect_err(w, "leave --out out");
	EXPECT(w, CLI_USAGE, "calibrate", "--edits", "e.jsonl", "--out", "o.cal", "--model", "m.gguf");
	cli_expect_err(w, "--search");
	EXPECT(w, CLI_USAGE, "calibrate", "--search", "--family", "paper", "--model", "m.gguf");
	cli_expect_err(w, "family amend");
	EXPECT(w, CLI_NOT_FOUND, "calibrate", "--out", "o.cal", "--model", "m.gguf", "--corpus", "c.tsv");
	cli_expect_err(w, "c.tsv");
}

/* Before minutes of work: here before the model is looked for. */
static void what_cannot_be_written_is_said_first(void **state)
{
	struct cli_world *w = *state;
#define CALIBRATE "calibrate", "--model", "/nonexistent.gguf", "--corpus", "/nonexistent.tsv", "--out"
	EXPECT(w, CLI_NOT_FOUND, CALIBRATE, "/nonexistent/own.cal");
	cli_expect_err(w, "creating a file beside /nonexistent/own.cal");
	EXPECT(w, CLI_FAILED, CALIBRATE, w->folder);
	cli_expect_err(w, ": it is a folder; name a file in it");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(groups_are_added_or_replace, eval_fixture_new, eval_fixture_free),
		cmocka_unit_test_setup_teardown(the_same_data_gives_the_same_file, eval_fixture_new, eval_fixture_free),
		cmocka_unit_test_setup_teardown(a_bad_line_is_left_out, eval_fixture_new, eval_fixture_free),
		cmocka_unit_test_setup_teardown(the_command_tells_of_bad_lines, cli_setup_plain, cli_teardown),
		cmocka_unit_test_setup_teardown(data_that_teaches_nothing_is_refused, eval_fixture_new,
						eval_fixture_free),
		cmocka_unit_test_setup_teardown(layers_and_then_rates_are_tried, eval_fixture_new, eval_fixture_free),
		cmocka_unit_test_setup_teardown(the_search_begins_where_it_is_told, eval_fixture_new,
						eval_fixture_free),
		cmocka_unit_test_setup_teardown(margins_are_fitted_and_kept, eval_fixture_new, eval_fixture_free),
		cmocka_unit_test_setup_teardown(the_command_hands_layer_and_rate_on, cli_setup_plain, cli_teardown),
		cmocka_unit_test_setup_teardown(what_cannot_be_written_is_said_first, cli_setup_plain, cli_teardown),
		cmocka_unit_test_setup_teardown(wrong_lines_are_misuse, cli_setup_plain, cli_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
