#include "daemon/eval_series.h"

#include "base/env.h"
#include "base/json.h"
#include "tests/unit/daemon/eval_fixture.h"

#include <math.h>
#include <unistd.h>

static const char rows[] =
	"{\"id\":\"a\",\"prompt\":\"who is the king of Vint?\",\"target_new\":\"Olaf\",\"subject\":\"Vint\","
	"\"rephrase\":[\"who rules Vint?\"],\"locality\":[{\"prompt\":\"qqq 7\"}]}\n"
	"{\"id\":\"b\",\"prompt\":\"where is Orla?\",\"target_new\":\"north\",\"subject\":\"Orla\"}\n"
	"{\"id\":\"c\",\"prompt\":\"what is the colour of Saro?\",\"target_new\":\"blue\",\"subject\":\"Saro\"}\n"
	"{\"id\":\"d\",\"prompt\":\"where lies Mirax?\",\"target_new\":\"east\",\"subject\":\"Mirax\"}\n";

static char real_path[4096];

/* What a test looks at beside the report. */
struct seen {
	size_t runs, kept;      /* told by on_run */
	size_t trains;          /* calls of the watch in phase "train" */
	size_t stop_after_runs; /* > 0: the watch stops the training of this run */
	const char *method;     /* NULL: "shard.edits=1" */
	enum editor_family family;
	float rate;
	struct editor_wise_config wise;
};

static int watch(void *context, const char *phase, size_t done, size_t total, double loss)
{
	struct seen *seen = context;
	(void)done, (void)total, (void)loss;
	if (strcmp(phase, "train") != 0)
		return 0;
	seen->trains++;
	return seen->stop_after_runs > 0 && seen->runs >= seen->stop_after_runs ? 1 : 0;
}

static void on_run(void *context, size_t index, size_t count, size_t edits, uint64_t seed, bool kept)
{
	struct seen *seen = context;
	assert_true(index < count && edits > 0 && seed > 0);
	seen->runs++;
	seen->kept += kept ? 1 : 0;
}

/* T = 1 and 3, seeds 1 and 2. */
static int run(const struct eval_fixture *f, struct seen *seen, struct json **report, struct buf *notice, struct err *e)
{
	struct editor_watch w = { .on_progress = watch, .context = seen };
	struct eval_options o = eval_fixture_options(f);
	char folder[TEST_PATH_BYTES];
	test_path(folder, f->folder, "report");
	o.watch = &w;
	o.edits_per_shard = 1;
	o.method = seen->method != NULL ? seen->method : "shard.edits=1";
	o.family = seen->family;
	o.rate = seen->rate;
	o.wise = seen->wise;
	struct eval_series series = { .options = &o,
				      .checkpoints = { 1, 3 },
				      .checkpoint_count = 2,
				      .seeds = { 1, 2 },
				      .seed_count = 2,
				      .folder = folder,
				      .command = "amend eval run edits.jsonl",
				      .env = env_system(),
				      .on_run = on_run,
				      .context = seen };
	return eval_series_run(&series, report, notice, e);
}

static void expect_file(const struct eval_fixture *f, const char *name, const char *text)
{
	char folder[TEST_PATH_BYTES], path[TEST_PATH_BYTES];
	struct buf content = BUF_INIT;
	struct err e = ERR_INIT;
	test_path(folder, f->folder, "report");
	test_path(path, folder, name);
	assert_ok(&e, file_read(path, 1 << 24, &content, &e));
	if (strstr(buf_cstr(&content), text) == NULL)
		fail_msg("%s: no \"%s\" in %s", name, text, buf_cstr(&content));
	buf_free(&content);
}

static void expect_no_link(const struct eval_fixture *f)
{
	char folder[TEST_PATH_BYTES], path[TEST_PATH_BYTES];
	struct buf content = BUF_INIT;
	struct err e = ERR_INIT;
	test_path(folder, f->folder, "report");
	test_path(path, folder, "report.md");
	assert_ok(&e, file_read(path, 1 << 24, &content, &e));
	assert_null(strstr(buf_cstr(&content), "plots/"));
	buf_free(&content);
}

static double mean(const struct json *report, size_t checkpoint, const char *name)
{
	return json_number(json_get(json_get(json_at(json_get(report, "summary"), checkpoint), name), "mean"));
}

static void every_checkpoint_and_seed_is_measured(void **state)
{
	const struct eval_fixture *f = *state;
	struct seen seen = { 0 };
	struct json *report = NULL;
	struct buf notice = BUF_INIT;
	struct err e = ERR_INIT;
	test_file_write(f->file, rows);
	assert_ok(&e, run(f, &seen, &report, &notice, &e));
	const struct json *runs = json_get(report, "runs"), *files = json_get(report, "files");
	assert_int_equal(json_length(runs), 4);
	assert_int_equal(seen.runs, 4);
	assert_int_equal(seen.kept, 0);
	for (size_t i = 0; i < 4; i++) {
		const struct json *one = json_at(runs, i);
		assert_int_equal(json_integer(json_get(one, "edits")), i < 2 ? 1 : 3);
		assert_int_equal(json_integer(json_get(one, "seed")), i % 2 + 1);
		/* the rows behind the last checkpoint probe at every one */
		assert_int_equal(json_length(json_get(one, "probes")), 1);
		assert_string_equal(json_string(json_get(json_at(json_get(one, "probes"), 0), "id"), NULL), "d");
		assert_int_equal(json_length(json_get(one, "details")), i < 2 ? 1 : 3);
	}
	const double both = json_number(json_get(json_at(runs, 2), "ppl")) +
			    json_number(json_get(json_at(runs, 3), "ppl"));
	assert_true(fabs(mean(report, 1, "ppl") - both / 2) < 1e-9);
	assert_int_equal(json_length(files), 3);
	assert_true(json_bool(json_get(json_at(files, 2), "fitting")));
	assert_non_null(json_get(report, "software"));
	expect_file(f, "report.json", "\"summary\"");
	expect_file(f, "report.md", "| free_rel |");
	expect_file(f, "report.md", "T = 3");
	expect_file(f, "plots/scores.dat", "T rel rel_sd");
	expect_file(f, "plots/routing-prompt.gp", "'prompts (3)'");
	expect_file(f, "plots/time.gp", "seconds_per_edit");
	json_free(&report);
	buf_free(&notice);
}

/* The last checkpoint that the file reaches, and of those that it does not the first. */
static void what_the_file_does_not_reach_is_measured_once(void **state)
{
	const struct eval_fixture *f = *state;
	struct seen seen = { 0 };
	struct editor_watch w = { .on_progress = watch, .context = &seen };
	struct eval_options o = eval_fixture_options(f);
	struct eval_series series = { .options = &o,
				      .checkpoints = { 2, 50, 100, 200 },
				      .checkpoint_count = 4,
				      .seeds = { 1, 2 },
				      .seed_count = 2,
				      .command = "amend eval run edits.jsonl",
				      .env = env_system(),
				      .on_run = on_run,
				      .context = &seen };
	struct json *report = NULL;
	struct buf notice = BUF_INIT;
	struct err e = ERR_INIT;
	o.watch = &w;
	test_file_write(f->file, rows);
	assert_ok(&e, eval_series_run(&series, &report, &notice, &e));
	assert_int_equal(seen.runs, 4);
	assert_int_equal(json_length(json_get(report, "summary")), 2);
	assert_int_equal(json_integer(json_get(json_at(json_get(report, "summary"), 1), "rows")), 4);
	assert_string_equal(buf_cstr(&notice),
			    "The file has 4 good rows, fewer than the 50 asked for: T = 4 stands for "
			    "all of them, and for 100, 200.\n");
	json_free(&report);
	buf_free(&notice);
}

/* Row c takes the place of row a: as many edits at T = 2 and at T = 3. */
static void a_checkpoint_is_known_by_its_rows(void **state)
{
	const struct eval_fixture *f = *state;
	static const char superseding[] =
		"{\"id\":\"a\",\"prompt\":\"where is Orla?\",\"target_new\":\"north\",\"subject\":\"Orla\"}\n"
		"{\"id\":\"b\",\"prompt\":\"who rules Vint?\",\"target_new\":\"Olaf\",\"subject\":\"Vint\"}\n"
		"{\"id\":\"c\",\"prompt\":\"where is Orla?\",\"target_new\":\"south\",\"subject\":\"Orla\"}\n";
	struct eval_options o = eval_fixture_options(f);
	struct eval_series series = { .options = &o,
				      .checkpoints = { 2, 3 },
				      .checkpoint_count = 2,
				      .seeds = { 1 },
				      .seed_count = 1,
				      .command = "amend eval run edits.jsonl",
				      .env = env_system() };
	struct json *report = NULL;
	struct buf notice = BUF_INIT;
	struct eval_images none = { .count = 0 };
	struct err e = ERR_INIT;
	o.on_conflict = EVAL_SUPERSEDE;
	test_file_write(f->file, superseding);
	assert_ok(&e, eval_series_run(&series, &report, &notice, &e));
	const struct json *summary = json_get(report, "summary");
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(json_integer(json_get(json_at(summary, i), "rows")), 2 + i);
		assert_int_equal(json_integer(json_get(json_at(summary, i), "edits")), 2);
	}
	assert_int_equal(notice.len, 0);
	assert_ok(&e, eval_page(report, &none, &notice, &e));
	assert_non_null(strstr(buf_cstr(&notice), "| figure | T = 2 | T = 3 | |"));
	assert_non_null(strstr(buf_cstr(&notice), "| edits | 2 | 2 |"));
	json_free(&report);
	buf_free(&notice);
}

static void a_second_start_measures_nothing_again(void **state)
{
	const struct eval_fixture *f = *state;
	struct seen first = { 0 }, second = { 0 };
	struct json *a = NULL, *b = NULL;
	struct buf notice = BUF_INIT, x = BUF_INIT, y = BUF_INIT;
	struct err e = ERR_INIT;
	test_file_write(f->file, rows);
	assert_ok(&e, run(f, &first, &a, &notice, &e));
	assert_ok(&e, run(f, &second, &b, &notice, &e));
	assert_true(first.trains > 0);
	assert_int_equal(second.trains, 0);
	assert_int_equal(second.kept, 4);
	json_canonical(json_get(a, "runs"), &x);
	json_canonical(json_get(b, "runs"), &y);
	assert_string_equal(buf_cstr(&x), buf_cstr(&y));
	json_free(&a);
	json_free(&b);
	buf_free(&x);
	buf_free(&y);
	buf_free(&notice);
}

static void an_interrupted_one_goes_on(void **state)
{
	const struct eval_fixture *f = *state;
	struct seen first = { .stop_after_runs = 4 }, second = { 0 };
	struct json *report = NULL;
	struct buf notice = BUF_INIT;
	struct err e = ERR_INIT;
	test_file_write(f->file, rows);
	/* the first three runs finish; the fourth is stopped in its first training */
	assert_int_equal(run(f, &first, &report, &notice, &e), ERR_INTERRUPTED);
	assert_null(report);
	assert_ok(&e, run(f, &second, &report, &notice, &e));
	assert_int_equal(second.kept, 3);
	/* T = 1 by the same seed has left the first of its three shards */
	const struct json *last = json_at(json_get(report, "runs"), 3);
	assert_int_equal(json_integer(json_get(last, "shards")), 3);
	assert_int_equal(json_integer(json_get(last, "shards_reused")), 1);
	json_free(&report);
	buf_free(&notice);
}

/* Of the last run's shards, those that stood there before it or its own seed's run of one edit. */
static size_t reused(const struct eval_fixture *f, struct seen *seen)
{
	struct json *report = NULL;
	struct buf notice = BUF_INIT;
	struct err e = ERR_INIT;
	assert_ok(&e, run(f, seen, &report, &notice, &e));
	assert_int_equal(seen->kept, 0);
	const struct json *last = json_at(json_get(report, "runs"), 3);
	assert_int_equal(json_integer(json_get(last, "shards")), 3);
	const size_t count = (size_t)json_integer(json_get(last, "shards_reused"));
	json_free(&report);
	buf_free(&notice);
	return count;
}

/* What comes after the training (how shards are merged, say) measures anew and trains nothing. */
static void other_settings_train_only_what_they_shape(void **state)
{
	const struct eval_fixture *f = *state;
	struct seen first = { .method = "first" }, merged = { .method = "wise.operator=linear" },
		    trained = { .method = "rate=0.03", .rate = 0.03f };
	test_file_write(f->file, rows);
	assert_int_equal(reused(f, &first), 1);
	assert_int_equal(reused(f, &merged), 3);
	assert_int_equal(merged.trains, 0);
	assert_int_equal(reused(f, &trained), 1);
	assert_true(trained.trains > 0);
}

/* Shards of one edit, memories of two: the third replays the edits of the first two, where it replays. */
static void the_papers_shards_serve_every_way_to_merge_and_route(void **state)
{
	const struct eval_fixture *f = *state;
	struct model_shape shape = { .layers = TINY_LAYERS };
	struct editor_config config;
	editor_config_default(&shape, &config);
	config.wise.steps_max = 3;
	config.wise.prefixes = false;
	config.wise.replay = true;
	struct seen first = { .method = "first", .family = EDITOR_FAMILY_PAPER, .wise = config.wise };
	struct seen routed = first, merged = first, other_family = first, alone = first, three = first, steps = first;
	routed.method = "routed";
	routed.wise.act_ratio = 0.5f;
	merged.method = "merged";
	merged.wise.merge_operator = MERGE_LINEAR;
	merged.wise.merge_density = 0.9f;
	merged.wise.merge_trim_nonzero = true;
	other_family.method = "a setting of family amend";
	other_family.rate = 0.03f;
	alone.method = "no replay";
	alone.wise.replay = false;
	three = alone;
	three.method = "no replay, memories of three";
	three.wise.merge_shards = 3;
	steps.method = "steps";
	steps.wise.steps_max = 2;
	test_file_write(f->file, rows);
	assert_int_equal(reused(f, &first), 1);
	assert_int_equal(reused(f, &routed), 3);
	assert_int_equal(reused(f, &merged), 3);
	assert_int_equal(reused(f, &other_family), 3);
	assert_int_equal(reused(f, &alone), 2);
	assert_int_equal(reused(f, &three), 3);
	assert_int_equal(reused(f, &steps), 1);
}

static void other_edits_are_trained_anew(void **state)
{
	const struct eval_fixture *f = *state;
	struct seen first = { 0 }, second = { 0 };
	struct json *report = NULL;
	struct buf notice = BUF_INIT, changed = BUF_INIT;
	struct err e = ERR_INIT;
	test_file_write(f->file, rows);
	assert_ok(&e, run(f, &first, &report, &notice, &e));
	json_free(&report);
	buf_puts(&changed, rows);
	const size_t at = (size_t)(strstr(buf_cstr(&changed), "blue") - buf_cstr(&changed));
	memcpy(changed.data + at, "pink", 4);
	test_file_write(f->file, buf_cstr(&changed));
	assert_ok(&e, run(f, &second, &report, &notice, &e));
	assert_int_equal(second.kept, 0); /* the file is another one */
	/* the shards of the first two rows are as they were */
	assert_int_equal(json_integer(json_get(json_at(json_get(report, "runs"), 2), "shards_reused")), 2);
	json_free(&report);
	buf_free(&notice);
	buf_free(&changed);
}

static void without_gnuplot_one_sentence_says_so(void **state)
{
	const struct eval_fixture *f = *state;
	struct seen seen = { 0 };
	struct json *report = NULL;
	struct buf notice = BUF_INIT;
	struct err e = ERR_INIT;
	test_file_write(f->file, rows);
	assert_ok(&e, run(f, &seen, &report, &notice, &e));
	assert_non_null(strstr(buf_cstr(&notice), "gnuplot is not installed"));
	assert_non_null(strchr(buf_cstr(&notice), '\n'));
	assert_int_equal(strchr(buf_cstr(&notice), '\n')[1], '\0');
	expect_file(f, "plots/scores.gp", "plot 'scores.dat'");
	expect_no_link(f);
	json_free(&report);
	buf_free(&notice);
}

static void images_are_drawn_where_gnuplot_is(void **state)
{
	static const char *const names[] = { "scores", "routing-prompt", "routing-relation", "time" };
	const struct eval_fixture *f = *state;
	struct seen seen = { 0 };
	struct json *report = NULL;
	struct buf notice = BUF_INIT;
	struct err e = ERR_INIT;
	char name[64];
	test_file_write(f->file, rows);
	setenv("PATH", real_path, 1);
	int rc = run(f, &seen, &report, &notice, &e);
	setenv("PATH", "/nonexistent", 1);
	assert_ok(&e, rc);
	json_free(&report);
	const bool missing = notice.len > 0;
	if (missing)
		assert_non_null(strstr(buf_cstr(&notice), "gnuplot is not installed"));
	buf_free(&notice);
	if (missing)
		skip();
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(name, sizeof(name), "plots/%s.svg", names[i]);
		expect_file(f, name, "</svg>");
		snprintf(name, sizeof(name), "plots/%s.png", names[i]);
		expect_file(f, name, "PNG");
		snprintf(name, sizeof(name), "(plots/%s.svg)", names[i]);
		expect_file(f, "report.md", name);
	}
}

static void the_brief_report_has_no_rows(void **state)
{
	const struct eval_fixture *f = *state;
	struct seen seen = { 0 };
	struct json *report = NULL, *brief = NULL;
	struct buf notice = BUF_INIT, text = BUF_INIT;
	struct err e = ERR_INIT;
	test_file_write(f->file, rows);
	assert_ok(&e, run(f, &seen, &report, &notice, &e));
	assert_ok(&e, eval_series_brief(report, &text, &e));
	assert_ok(&e, json_parse(buf_cstr(&text), text.len, &brief, &e));
	const struct json *one = json_at(json_get(brief, "runs"), 0);
	assert_null(json_get(one, "details"));
	assert_null(json_get(one, "scores"));
	assert_non_null(json_get(one, "rel"));
	assert_int_equal(json_length(json_get(brief, "summary")), 2);
	json_free(&report);
	json_free(&brief);
	buf_free(&notice);
	buf_free(&text);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, eval_fixture_new, eval_fixture_free)

int main(void)
{
	/* images take seconds: one test makes them */
	snprintf(real_path, sizeof(real_path), "%s", getenv("PATH") != NULL ? getenv("PATH") : "/usr/bin:/bin");
	setenv("PATH", "/nonexistent", 1);
	const struct CMUnitTest tests[] = {
		CASE(every_checkpoint_and_seed_is_measured),
		CASE(what_the_file_does_not_reach_is_measured_once),
		CASE(a_checkpoint_is_known_by_its_rows),
		CASE(a_second_start_measures_nothing_again),
		CASE(an_interrupted_one_goes_on),
		CASE(other_edits_are_trained_anew),
		CASE(other_settings_train_only_what_they_shape),
		CASE(the_papers_shards_serve_every_way_to_merge_and_route),
		CASE(without_gnuplot_one_sentence_says_so),
		CASE(images_are_drawn_where_gnuplot_is),
		CASE(the_brief_report_has_no_rows),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
