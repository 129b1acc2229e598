/* Exit codes, numbers, and the way to a cluster. */
#include "tests/lib/cli_fixture.h"

static void every_error_has_its_exit_code(void **state)
{
	static const int codes[][2] = {
		{ ERR_NOT_FOUND, CLI_NOT_FOUND },     { ERR_DENIED, CLI_DENIED },       { ERR_CONFLICT, CLI_CONFLICT },
		{ ERR_EXISTS, CLI_CONFLICT },         { ERR_TIMEOUT, CLI_UNREACHABLE }, { ERR_CLOSED, CLI_UNREACHABLE },
		{ ERR_CORRUPT, CLI_VERIFY },          { ERR_AGAIN, CLI_PENDING },       { ERR_IO, CLI_FAILED },
		{ ERR_INTERRUPTED, CLI_INTERRUPTED }, { ERR_NOMEM, CLI_FAILED },
	};
	struct cli cli = { .quiet = false };
	(void)state;
	for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
		struct err e = ERR_INIT;
		err_set(&e, codes[i][0], "expected");
		assert_int_equal(cli_fail(&cli, &e), codes[i][1]);
	}
	struct err e = ERR_INIT;
	err_set(&e, ERR_TIMEOUT, "expected");
	cli.interrupted = 1; /* whatever broke off then, it was the interrupt */
	assert_int_equal(cli_fail(&cli, &e), CLI_INTERRUPTED);
	assert_int_equal(cli_misuse(&e), CLI_USAGE);
	err_set(&e, ERR_NOMEM, "expected");
	assert_int_equal(cli_misuse(&e), CLI_FAILED);
}

static void what_an_error_names_is_escaped(void **state)
{
	struct cli_world *w = *state;
	EXPECT(w, CLI_USAGE, "fleet", "status", "--\x1b[2J\xef\xbb\xbf");
	cli_expect_err(w, "--\\x1B[2J\\u{FEFF}");
	assert_null(strchr(cli_err(w), '\x1b'));
}

static void numbers_are_whole_and_in_range(void **state)
{
	static const char *const wrong[] = {
		"", "-1", "+1", "1x", " 1", "0x10", "11", "1", "18446744073709551616", "99999999999999999999999"
	};
	uint64_t n = 7;
	struct err e = ERR_INIT;
	(void)state;
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		assert_int_equal(cli_number(wrong[i], "--limit", 2, 10, &n, &e), ERR_INVALID);
		assert_non_null(strstr(e.text, "--limit"));
		assert_int_equal(n, 7);
	}
	assert_ok(&e, cli_number("10", "--limit", 2, 10, &n, &e));
	assert_int_equal(n, 10);
	assert_ok(&e, cli_number("18446744073709551615", "--limit", 0, UINT64_MAX, &n, &e));
	assert_true(n == UINT64_MAX);
}

static void without_a_cluster_it_says_how_to_get_one(void **state)
{
	struct cli_world *w = *state;
	EXPECT(w, CLI_NOT_FOUND, "fleet", "status");
	cli_expect_err(w, w->folder);
	cli_expect_err(w, "amend up --model FILE");
}

static void a_wrong_key_is_named(void **state)
{
	struct cli_world *w = *state;
	char path[TEST_PATH_BYTES];
	test_path(path, w->folder, "cli.key");
	EXPECT(w, CLI_FAILED, "--server-key", "abc", "--key-file", path, "fleet", "status");
	cli_expect_err(w, "key.server: needs 64 hex digits");
	EXPECT(w, CLI_NOT_FOUND, "--server-key", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
	       "--key-file", path, "fleet", "status");
	cli_expect_err(w, path);
}

static void nobody_there_is_unreachable(void **state)
{
	struct cli_world *w = *state;
	char path[TEST_PATH_BYTES];
	test_path(path, w->folder, "cli.key");
	EXPECT(w, CLI_OK, "-q", "key", "new", path);
	EXPECT(w, CLI_UNREACHABLE, "--timeout", "0.2", "--server-key",
	       "00112233445566778899aabbccddeeff00112233445566778899aabbccddee7f", "--key-file", path, "--coordinator",
	       "tcp://127.0.0.1:9", "fleet", "status");
	cli_expect_err(w, "tcp://127.0.0.1:9");
}

int main(void)
{
#define PLAIN(f) cmocka_unit_test_setup_teardown(f, cli_setup_plain, cli_teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_error_has_its_exit_code),
		PLAIN(what_an_error_names_is_escaped),
		cmocka_unit_test(numbers_are_whole_and_in_range),
		PLAIN(without_a_cluster_it_says_how_to_get_one),
		PLAIN(a_wrong_key_is_named),
		PLAIN(nobody_there_is_unreachable),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
