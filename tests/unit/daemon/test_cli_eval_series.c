/* The command line of `amend eval run` for checkpoints, seeds and reports. */
#include "daemon/cli_eval_series.h"

#include "tests/lib/cli_fixture.h"
#include "tests/unit/daemon/eval_fixture.h"

#include <stdlib.h>

#define RUN "eval", "run", "edits.jsonl", "--model", "m.gguf"

static void what_cannot_be_meant_is_a_usage_error(void **state)
{
	struct cli_world *w = *state;
	EXPECT(w, CLI_USAGE, RUN, "--checkpoints", "4,1");
	cli_expect_err(w, "must be larger");
	EXPECT(w, CLI_USAGE, RUN, "--checkpoints", "1,,2");
	EXPECT(w, CLI_USAGE, RUN, "--checkpoints", "0");
	EXPECT(w, CLI_USAGE, RUN, "--repeat", "1,2,1");
	cli_expect_err(w, "stands there twice");
	EXPECT(w, CLI_USAGE, RUN, "--edits", "3", "--checkpoints", "1");
	cli_expect_err(w, "--edits");
	EXPECT(w, CLI_USAGE, RUN, "--version", "v1", "--repeat", "1,2");
	cli_expect_err(w, "--version");
	EXPECT(w, CLI_USAGE, RUN, "--report", "");
	cli_expect_err(w, "--report: the folder's name is empty");
	EXPECT(w, CLI_USAGE, RUN, "--set", "all");
	EXPECT(w, CLI_USAGE, RUN, "--set", "merged", "--separate");
	cli_expect_err(w, "--separate");
	EXPECT(w, CLI_USAGE, RUN, "--set", "merged", "--family", "paper");
	cli_expect_err(w, "--wise merge");
}

static void a_right_line_goes_on_to_the_files(void **state)
{
	struct cli_world *w = *state;
	EXPECT(w, CLI_NOT_FOUND, RUN, "--checkpoints", "1,10", "--repeat", "1,2", "--corpus", "c.tsv");
	cli_expect_err(w, "opening edits.jsonl: No such file or directory; check the path");
	EXPECT(w, CLI_FAILED, "eval", "run", w->folder, "--model", "m.gguf");
	cli_expect_err(w, " is a folder: give a file in it");
}

static void expect_said(struct cli_world *w, const char *file, const char *rest)
{
	char text[TEST_PATH_BYTES + 64];
	snprintf(text, sizeof(text), "%s%s", file, rest);
	cli_expect_err(w, text);
}

/* As `edit import` does: named by their file, the others measured, exit 1. */
static void bad_lines_are_said_and_fail(void **state)
{
	struct cli_world *w = *state;
	char report[TEST_PATH_BYTES], probes[TEST_PATH_BYTES];
	struct eval_fixture *f = NULL;
	assert_int_equal(eval_fixture_new((void **)&f), 0);
	setenv("XDG_CACHE_HOME", f->folder, 1);
	test_path(report, f->folder, "report");
	test_path(probes, f->folder, "probes.jsonl");
	test_file_write(f->file,
			"{\"prompt\":\"what is the capital of Vint?\",\"target_new\":\"Sul\"}\n{\"prompt\":\n");
	test_file_write(probes, "{\"prompt\":\"what is the capital of Orla?\",\"target_new\":\"Sul\"}\n\n{}\n");
#define FILES "eval", "run", f->file, "--model", f->model, "--corpus", f->corpus, "--threads", "1"
	EXPECT(w, CLI_FAILED, FILES, "--probes-file", probes);
	expect_said(w, f->file, ":2: record: ");
	expect_said(w, probes, ":3: prompt: missing\n");
	cli_expect_out(w, "2 bad lines were left out");
	for (int i = 0; i < 2; i++) { /* measured, and kept from before */
		EXPECT(w, CLI_FAILED, FILES, "--report", report);
		expect_said(w, f->file, ":2: record: ");
	}
	test_file_write(f->file, "{\"prompt\":\"what is the capital of Vint?\",\"target_new\":\"Sul\"}\n");
	EXPECT(w, CLI_OK, FILES);
	cli_expect_out(w, "1 edit in 1 shard, ");
	eval_fixture_free((void **)&f);
}

static void a_merge_is_told_in_the_table_and_the_report(void **state)
{
	static const char *const figures[] = { "passed",      "rounds",  "reduces",    "reduced_bytes",
					       "delta_bytes", "seconds", "shards.rel", "shards.free_rel" };
	struct cli_world *w = *state;
	char report[TEST_PATH_BYTES], path[TEST_PATH_BYTES], row[64];
	struct buf page = BUF_INIT;
	struct err e = ERR_INIT;
	struct eval_fixture *f = NULL;
	assert_int_equal(eval_fixture_new((void **)&f), 0);
	setenv("XDG_CACHE_HOME", f->folder, 1);
	test_path(report, f->folder, "report");
	test_path(path, report, "report.md");
	test_file_write(f->file, "{\"prompt\":\"where is Orla?\",\"target_new\":\"north\",\"subject\":\"Orla\"}\n"
				 "{\"prompt\":\"where is Saro?\",\"target_new\":\"south\",\"subject\":\"Saro\"}\n");
	EXPECT(w, CLI_OK, FILES, "--report", report, "--set", "merged", "--shard.edits", "1", "--quick");
	assert_ok(&e, file_read(path, 1 << 20, &page, &e));
	for (size_t i = 0; i < sizeof(figures) / sizeof(figures[0]); i++) {
		snprintf(row, sizeof(row), "\nmerged.%s ", figures[i]);
		cli_expect_out(w, row);
		snprintf(row, sizeof(row), "\n| merged.%s | ", figures[i]);
		if (strstr(buf_cstr(&page), row) == NULL)
			fail_msg("no merged.%s in %s", figures[i], buf_cstr(&page));
	}
	cli_expect_out(w, " 10      of training and putting together\n");
	buf_free(&page);
	eval_fixture_free((void **)&f);
}

/* Every row that is no edit of the run is accounted for, in the report of one run and in the table. */
static void rows_that_are_no_edits_are_told(void **state)
{
	struct cli_world *w = *state;
	struct eval_fixture *f = NULL;
	assert_int_equal(eval_fixture_new((void **)&f), 0);
	setenv("XDG_CACHE_HOME", f->folder, 1);
#define ROW(prompt, target) "{\"prompt\":\"" prompt "\",\"target_new\":\"" target "\",\"subject\":\"Orla\"}\n"
	test_file_write(f->file, ROW("where is Orla?", "north") ROW("where is Orla?", "north")
					 ROW("where is Orla?", "south") ROW("Where is Orla", "east"));
	EXPECT(w, CLI_OK, FILES, "--quick");
	cli_expect_out(w, "1 edit in 1 shard, ");
	cli_expect_out(w, "\n1 row was left out: the same record stands earlier in the file\n");
	cli_expect_out(w, "\n2 rows were superseded: a later one ");
	EXPECT(w, CLI_OK, FILES, "--quick", "--on-conflict", "reject");
	cli_expect_out(w, "\n2 rows were refused: an earlier one ");
	EXPECT(w, CLI_OK, FILES, "--quick", "--checkpoints", "2,4");
	cli_expect_out(w, "of the first T rows\n");
	cli_expect_out(w, "\n1 row was left out: the same record ");
	cli_expect_out(w, "\n2 rows were superseded: a later one ");
	eval_fixture_free((void **)&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_cannot_be_meant_is_a_usage_error, cli_setup_plain, cli_teardown),
		cmocka_unit_test_setup_teardown(bad_lines_are_said_and_fail, cli_setup_plain, cli_teardown),
		cmocka_unit_test_setup_teardown(a_merge_is_told_in_the_table_and_the_report, cli_setup_plain,
						cli_teardown),
		cmocka_unit_test_setup_teardown(rows_that_are_no_edits_are_told, cli_setup_plain, cli_teardown),
		cmocka_unit_test_setup_teardown(a_right_line_goes_on_to_the_files, cli_setup_plain, cli_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
