#include "daemon/eval_plot.h"

#include "base/env.h"
#include "base/json.h"
#include "tests/lib/test.h"

#include <sys/stat.h>
#include <unistd.h>

#define SUMMARY "\"summary\":[{\"rows\":3,\"rel\":{\"mean\":1},\"seconds_per_edit\":{\"mean\":0.1}}]"
#define GAPS                                                                                                           \
	"\"scores\":{\"prompt\":[[0,1,150,0,100],[1,1,120,0,100]],\"rephrase\":[[0,1,110,0,100]],"                     \
	"\"unrelated\":[[0,0,20,0,50]],\"same_subject\":[]}"

static struct json *report_with(const char *summary, const char *run)
{
	struct buf text = BUF_INIT;
	struct json *report = NULL;
	struct err e = ERR_INIT;
	buf_printf(&text, "{%s,\"runs\":[%s]}", summary, run);
	assert_ok(&e, json_parse(buf_cstr(&text), text.len, &report, &e));
	buf_free(&text);
	return report;
}

static struct json *report_of(const char *run)
{
	return report_with(SUMMARY, run);
}

static void names_with(const char *summary, const char *run, const char *expected)
{
	struct json *report = report_with(summary, run);
	const char *names[EVAL_PLOTS_MAX];
	struct buf all = BUF_INIT;
	const size_t count = eval_plot_names(report, names);
	for (size_t i = 0; i < count; i++)
		buf_printf(&all, "%s ", names[i]);
	assert_string_equal(buf_cstr(&all), expected);
	buf_free(&all);
	json_free(&report);
}

static void names_are(const char *run, const char *expected)
{
	names_with(SUMMARY, run, expected);
}

static void a_family_has_plots_of_its_own_scores(void **state)
{
	(void)state;
	names_are("{\"family\":\"amend\",\"scores\":{\"prompt\":[[0,1,0.9,0.8,0.4]]}}",
		  "scores routing-prompt routing-relation time ");
	names_are("{\"family\":\"paper\"," GAPS "}", "scores routing-gap time ");
}

static void rows_edited_apart_have_no_routes_to_plot(void **state)
{
	(void)state;
	names_are("{\"family\":\"paper\",\"scores\":{\"prompt\":[],\"unrelated\":[]}}", "scores time ");
	names_are("{\"family\":\"amend\",\"scores\":{\"prompt\":[]}}", "scores time ");
}

static bool is_there(const char *folder, const char *name)
{
	char path[TEST_PATH_BYTES];
	test_path(path, folder, name);
	return access(path, F_OK) == 0;
}

/* A published version was trained elsewhere; where the prompt key lets nothing through no relation is asked. */
static void what_has_no_data_is_not_plotted(void **state)
{
	const char *folder = *state;
	static const char untimed[] = "\"summary\":[{\"rows\":3,\"rel\":{\"mean\":1}}]",
			  run[] = "{\"family\":\"amend\",\"scores\":{\"prompt\":[[0,0,0.1,0,0.4]]}}";
	struct json *report = report_with(untimed, run);
	struct eval_images images;
	struct buf notice = BUF_INIT;
	struct err e = ERR_INIT;
	names_with(untimed, run, "scores routing-prompt ");
	names_with("\"summary\":[{\"rows\":3}]", run, "routing-prompt ");
	assert_ok(&e, eval_plot(report, folder, &images, &notice, &e));
	assert_false(is_there(folder, "plots/time.gp"));
	assert_null(strstr(buf_cstr(&notice), "failed"));
	buf_free(&notice);
	json_free(&report);
}

/* With programs looked for in `path` alone. */
static void plot_with(const char *path, const struct json *report, const char *folder, struct eval_images *images,
		      struct buf *notice)
{
	struct err e = ERR_INIT;
	char *old = strdup(getenv("PATH"));
	assert_non_null(old);
	setenv("PATH", path, 1);
	int rc = eval_plot(report, folder, images, notice, &e);
	setenv("PATH", old, 1);
	free(old);
	assert_ok(&e, rc);
}

/* gnuplot that makes the images of scripts of scores, and fails on others. */
static void every_script_is_tried_and_failures_are_named(void **state)
{
	const char *folder = *state;
	struct json *report = report_of("{\"family\":\"paper\"," GAPS "}");
	char path[TEST_PATH_BYTES];
	struct eval_images images;
	struct buf notice = BUF_INIT;
	test_path(path, folder, "gnuplot");
	test_file_write(path, "#!/bin/sh\ncase $1 in\nrouting-gap.gp) : > routing-gap.svg; exit 1 ;;\n"
			      "*) for i in svg png; do : > \"${1%.gp}.$i\"; done ;;\nesac\n");
	assert_int_equal(chmod(path, 0700), 0);
	plot_with(folder, report, folder, &images, &notice);
	assert_memory_equal(buf_cstr(&notice), "No image of routing-gap: gnuplot failed; ", 41);
	assert_string_equal(strchr(buf_cstr(&notice), '\n'), "\n"); /* of no other */
	assert_int_equal(images.count, 2);
	assert_string_equal(images.names[0], "scores");
	assert_string_equal(images.names[1], "time");
	assert_true(is_there(folder, "plots/time.png"));
	assert_true(is_there(folder, "plots/routing-gap.gp"));
	assert_false(is_there(folder, "plots/routing-gap.svg"));
	buf_free(&notice);
	json_free(&report);
}

static void nothing_of_an_earlier_report_stays(void **state)
{
	const char *folder = *state;
	struct json *report = report_of("{\"family\":\"paper\"," GAPS "}");
	char path[TEST_PATH_BYTES];
	struct eval_images images;
	struct buf notice = BUF_INIT;
	test_path(path, folder, "plots");
	assert_int_equal(mkdir(path, 0700), 0);
	for (size_t i = 0; i < 3; i++) {
		static const char *const files[] = { "plots/routing-relation.dat", "plots/routing-prompt.svg",
						     "plots/scores.png" };
		test_path(path, folder, files[i]);
		test_file_write(path, "old");
	}
	test_path(path, folder, "plots/own.svg"); /* not ours */
	test_file_write(path, "other");
	plot_with("/nonexistent", report, folder, &images, &notice);
	assert_int_equal(images.count, 0);
	assert_false(is_there(folder, "plots/routing-relation.dat"));
	assert_false(is_there(folder, "plots/routing-prompt.svg"));
	assert_false(is_there(folder, "plots/scores.png"));
	assert_true(is_there(folder, "plots/own.svg"));
	buf_free(&notice);
	json_free(&report);
}

static void read_plot(const char *folder, const char *name, struct buf *out)
{
	struct err e = ERR_INIT;
	char path[TEST_PATH_BYTES];
	test_path(path, folder, name);
	out->len = 0;
	assert_ok(&e, file_read(path, 1 << 20, out, &e));
}

/* Gaps are compared with the threshold of their own memory: 1.5, 1.2, 1.1 and 0.4 of it. */
static void gaps_stand_as_multiples_of_their_threshold(void **state)
{
	const char *folder = *state;
	struct json *report = report_of("{\"family\":\"paper\"," GAPS "}");
	struct buf notice = BUF_INIT, text = BUF_INIT;
	struct eval_images images;
	struct err e = ERR_INIT;
	double at, prompt, rephrase, unrelated, form, subject, outside = 0;
	assert_ok(&e, eval_plot(report, folder, &images, &notice, &e));
	read_plot(folder, "plots/routing-gap.dat", &text);
	const char *line = strchr(buf_cstr(&text), '\n') + 1;
	for (; *line != '\0'; line = strchr(line, '\n') + 1) {
		assert_int_equal(
			sscanf(line, "%lf %lf %lf %lf %lf %lf", &at, &prompt, &rephrase, &unrelated, &form, &subject),
			6);
		if (at > 0.3 && at <= 0.4)
			outside += unrelated;
		if (at < 1 - 1.0 / 16 || at > 1.5)
			assert_true(prompt + rephrase <= 0);
		if (at > 1.44 && at <= 1.5)
			assert_true(prompt >= 0.5);
		assert_true(form + subject <= 0);
	}
	assert_true(outside >= 1);
	read_plot(folder, "plots/routing-gap.gp", &text);
	assert_non_null(strstr(buf_cstr(&text), "'prompts (2)'"));
	assert_non_null(strstr(buf_cstr(&text), "set arrow from 1.0000"));
	assert_null(strstr(buf_cstr(&text), "same subject"));
	if (notice.len == 0) /* gnuplot is there */
		read_plot(folder, "plots/routing-gap.svg", &text);
	buf_free(&text);
	buf_free(&notice);
	json_free(&report);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_family_has_plots_of_its_own_scores),
		cmocka_unit_test(rows_edited_apart_have_no_routes_to_plot),
		cmocka_unit_test_setup_teardown(what_has_no_data_is_not_plotted, test_setup_folder,
						test_teardown_folder),
		cmocka_unit_test_setup_teardown(every_script_is_tried_and_failures_are_named, test_setup_folder,
						test_teardown_folder),
		cmocka_unit_test_setup_teardown(nothing_of_an_earlier_report_stays, test_setup_folder,
						test_teardown_folder),
		cmocka_unit_test_setup_teardown(gaps_stand_as_multiples_of_their_threshold, test_setup_folder,
						test_teardown_folder),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
