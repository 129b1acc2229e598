/* The command line of `amend eval run` for checkpoints, seeds and reports. */
#include "daemon/cli_eval_series.h"

#include "tests/lib/cli_fixture.h"

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
	cli_expect_err(w, "edits.jsonl");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_cannot_be_meant_is_a_usage_error, cli_setup_plain, cli_teardown),
		cmocka_unit_test_setup_teardown(a_right_line_goes_on_to_the_files, cli_setup_plain, cli_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
