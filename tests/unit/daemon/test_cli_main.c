/* From a command line to an exit code: help, usage errors, output that cannot be written. */
#include "tests/lib/cli_fixture.h"

#include <fcntl.h>
#include <unistd.h>

static void help_goes_to_stdout_and_usage_to_stderr(void **state)
{
	struct cli_world *w = *state;
	EXPECT(w, CLI_OK, "--help");
	cli_expect_out(w, "usage: amend COMMAND");
	assert_string_equal(cli_err(w), "");
	EXPECT(w, CLI_OK, "help", "edit");
	cli_expect_out(w, "usage: amend edit add|import|list|show|revoke|wait");
	EXPECT(w, CLI_USAGE, "edit");
	cli_expect_err(w, "usage: amend edit add|import|list|show|revoke|wait");
	assert_string_equal(cli_out(w), "");
	EXPECT(w, CLI_USAGE, "-q");
	cli_expect_err(w, "usage: amend COMMAND");
	EXPECT(w, CLI_OK, "--version");
	cli_expect_out(w, "amend ");
}

static void wrong_usage_is_shown_the_right_one(void **state)
{
	struct cli_world *w = *state;
	EXPECT(w, CLI_USAGE, "edit", "show");
	cli_expect_err(w, "amend: ID is missing\nusage: amend edit show ID\n");
	EXPECT(w, CLI_USAGE, "edit", "nothing");
	cli_expect_err(w, "  import ");
	EXPECT(w, CLI_USAGE, "nothing");
	cli_expect_err(w, "`amend --help` lists the commands");
	EXPECT(w, CLI_USAGE, "up", "--workers", "900");
	cli_expect_err(w, "'900' must be a whole number from 1 to 64");
	assert_string_equal(cli_out(w), "");
}

static void a_wrong_configuration_names_file_and_setting(void **state)
{
	struct cli_world *w = *state;
	char path[TEST_PATH_BYTES];
	test_path(path, w->folder, "amend.yaml");
	test_file_write(path, "lease:\n  ms: soon\n");
	EXPECT(w, CLI_FAILED, "fleet", "status"); /* the folder's own is read unasked */
	cli_expect_err(w, path);
	cli_expect_err(w, "lease.ms");
	EXPECT(w, CLI_OK, "completion", "bash"); /* needs none */
	EXPECT(w, CLI_NOT_FOUND, "--config", "/nonexistent/amend.yaml", "fleet", "status");
	cli_expect_err(w, "/nonexistent/amend.yaml");
}

static void a_full_disk_is_no_success(void **state)
{
	struct cli_world *w = *state;
	w->out_path = "/dev/full";
	EXPECT(w, CLI_FAILED, "config", "sample");
	cli_expect_err(w, "cannot write the output");
}

/* As in `amend config sample | head -1`. */
static void a_reader_that_left_is_no_failure(void **state)
{
	struct cli_world *w = *state;
	char path[TEST_PATH_BYTES];
	int ends[2];
	assert_int_equal(pipe(ends), 0);
	close(ends[0]);
	signal(SIGPIPE, SIG_IGN);
	snprintf(path, sizeof path, "/dev/fd/%d", ends[1]);
	w->out_path = path;
	EXPECT(w, CLI_OK, "config", "sample");
	assert_string_equal(cli_err(w), "");
	close(ends[1]);
}

int main(void)
{
#define PLAIN(f) cmocka_unit_test_setup_teardown(f, cli_setup_plain, cli_teardown)
	const struct CMUnitTest tests[] = {
		PLAIN(help_goes_to_stdout_and_usage_to_stderr),
		PLAIN(wrong_usage_is_shown_the_right_one),
		PLAIN(a_wrong_configuration_names_file_and_setting),
		PLAIN(a_full_disk_is_no_success),
		PLAIN(a_reader_that_left_is_no_failure),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
