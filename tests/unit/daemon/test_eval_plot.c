#include "daemon/eval_plot.h"

#include "base/env.h"
#include "base/json.h"
#include "tests/lib/test.h"

#define SUMMARY "\"summary\":[{\"edits\":3,\"rel\":{\"mean\":1},\"seconds_per_edit\":{\"mean\":0.1}}]"
#define GAPS                                                                                                           \
	"\"scores\":{\"prompt\":[[0,1,150,0,100],[1,1,120,0,100]],\"rephrase\":[[0,1,110,0,100]],"                     \
	"\"unrelated\":[[0,0,20,0,50]],\"same_subject\":[]}"

static struct json *report_of(const char *run)
{
	struct buf text = BUF_INIT;
	struct json *report = NULL;
	struct err e = ERR_INIT;
	buf_printf(&text, "{" SUMMARY ",\"runs\":[%s]}", run);
	assert_ok(&e, json_parse(buf_cstr(&text), text.len, &report, &e));
	buf_free(&text);
	return report;
}

static void names_are(const char *run, const char *expected)
{
	struct json *report = report_of(run);
	const char *names[EVAL_PLOTS_MAX];
	struct buf all = BUF_INIT;
	const size_t count = eval_plot_names(report, names);
	for (size_t i = 0; i < count; i++)
		buf_printf(&all, "%s ", names[i]);
	assert_string_equal(buf_cstr(&all), expected);
	buf_free(&all);
	json_free(&report);
}

static void a_family_has_plots_of_its_own_scores(void **state)
{
	(void)state;
	names_are("{\"family\":\"amend\"," GAPS "}", "scores routing-prompt routing-relation time ");
	names_are("{\"family\":\"paper\"," GAPS "}", "scores routing-gap time ");
}

static void rows_edited_apart_have_no_routes_to_plot(void **state)
{
	(void)state;
	names_are("{\"family\":\"paper\",\"scores\":{\"prompt\":[],\"unrelated\":[]}}", "scores time ");
	names_are("{\"family\":\"amend\",\"scores\":{\"prompt\":[]}}", "scores time ");
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
	struct err e = ERR_INIT;
	double at, prompt, rephrase, unrelated, form, subject, outside = 0;
	assert_ok(&e, eval_plot(report, folder, &notice, &e));
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
		cmocka_unit_test_setup_teardown(gaps_stand_as_multiples_of_their_threshold, test_setup_folder,
						test_teardown_folder),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
