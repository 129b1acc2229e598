/* The command line: what is sorted where, and what a wrong one is told. */
#include "tests/lib/cli_fixture.h"

struct parsed {
	struct cli cli;
	struct cli_args args;
	struct err e;
	int rc;
	char *argv[CLI_WORDS_MAX];
};

static void parse(struct parsed *p, const char *const *words)
{
	int argc = 1;
	*p = (struct parsed){ .argv = { (char *)(uintptr_t) "amend" } };
	for (; words[argc - 1] != NULL; argc++)
		p->argv[argc] = (char *)(uintptr_t)words[argc - 1];
	p->rc = cli_args_parse(&p->cli, argc, p->argv, &p->args, &p->e);
}
#define PARSE(p, ...) parse(p, (const char *const[]){ __VA_ARGS__, NULL })

static void options_stand_anywhere(void **state)
{
	struct parsed p;
	(void)state;
	PARSE(&p, "-q", "edit", "--data=d", "add", "--prompt", "-x", "-ojson", "--target=--wait", "--wait");
	assert_int_equal(p.rc, 0);
	assert_string_equal(p.args.command->verb, "add");
	assert_true(p.cli.quiet && p.cli.output == CLI_JSON);
	assert_string_equal(p.cli.data, "d");
	assert_string_equal(cli_value(&p.args, "prompt"), "-x"); /* a value may begin with a dash */
	assert_string_equal(cli_value(&p.args, "target"), "--wait");
	assert_true(cli_switch(&p.args, "wait"));
	assert_null(cli_value(&p.args, "subject"));
	assert_int_equal(p.args.word_count, 0);
	cli_args_fini(&p.args);
}

static void an_edit_has_many_rephrases(void **state)
{
	struct parsed p;
	(void)state;
	PARSE(&p, "edit", "add", "--rephrase", "a", "--prompt", "q", "--rephrase=b", "--prompt", "r");
	assert_int_equal(p.rc, 0);
	assert_string_equal(cli_value_at(&p.args, "rephrase", 0), "a");
	assert_string_equal(cli_value_at(&p.args, "rephrase", 1), "b");
	assert_null(cli_value_at(&p.args, "rephrase", 2));
	assert_null(cli_value_at(&p.args, "alias", 0));
	assert_string_equal(cli_value(&p.args, "prompt"), "r"); /* of one that stands for itself the last */
	cli_args_fini(&p.args);
}

static void the_word_that_is_missing_is_named(void **state)
{
	struct parsed p;
	(void)state;
	PARSE(&p, "eval", "compare");
	assert_int_equal(p.rc, ERR_INVALID);
	assert_string_equal(p.e.text, "A is missing");
	cli_args_fini(&p.args);
	PARSE(&p, "eval", "compare", "a.json");
	assert_int_equal(p.rc, ERR_INVALID);
	assert_string_equal(p.e.text, "B is missing");
	cli_args_fini(&p.args);
}

static void two_dashes_end_the_options(void **state)
{
	struct parsed p;
	(void)state;
	PARSE(&p, "ask", "--explain", "--", "--base");
	assert_int_equal(p.rc, 0);
	assert_int_equal(p.args.word_count, 1);
	assert_string_equal(p.args.words[0], "--base");
	assert_false(cli_switch(&p.args, "base"));
	cli_args_fini(&p.args);
	PARSE(&p, "edit", "import", "-"); /* standard input is a word */
	assert_int_equal(p.rc, 0);
	assert_string_equal(p.args.words[0], "-");
	cli_args_fini(&p.args);
}

static void a_command_has_its_flag_before_the_global_one(void **state)
{
	struct parsed p;
	(void)state;
	PARSE(&p, "ask", "--version", "v3", "why?");
	assert_int_equal(p.rc, 0);
	assert_string_equal(cli_value(&p.args, "version"), "v3");
	assert_false(p.args.version);
	assert_string_equal(p.args.words[0], "why?");
	cli_args_fini(&p.args);
	PARSE(&p, "--version");
	assert_true(p.rc == 0 && p.args.version);
	cli_args_fini(&p.args);
}

static void settings_are_kept_for_later(void **state)
{
	struct parsed p;
	(void)state;
	PARSE(&p, "up", "--model", "m.gguf", "--no-merge.isolate", "--lease-ms=5");
	assert_int_equal(p.rc, ERR_INVALID); /* --lease-ms is no setting's name: lease.ms is */
	cli_args_fini(&p.args);
	PARSE(&p, "up", "--model", "m.gguf", "--no-merge.isolate", "--lease.heartbeat-ms=50", "--timeout", "1.5");
	assert_int_equal(p.rc, 0);
	assert_int_equal(p.args.setting_count, 5);
	assert_string_equal(p.args.settings[1], "--model");
	assert_string_equal(p.args.settings[2], "m.gguf");
	assert_string_equal(p.args.settings[3], "--no-merge.isolate");
	assert_string_equal(p.args.settings[4], "--lease.heartbeat-ms=50");
	assert_int_equal(p.cli.timeout_ms, 1500);
	assert_int_equal(p.cli.wait_ms, 1500);
	cli_args_fini(&p.args);
	PARSE(&p, "edit", "list", "--workers", "3"); /* a setting of another command is none of this one's */
	assert_int_equal(p.rc, ERR_INVALID);
	cli_args_fini(&p.args);
}

static void help_is_found_everywhere(void **state)
{
	static const char *const lines[][4] = { { "help", "edit", "add" },
						{ "edit", "add", "--help" },
						{ "-h", "edit", "add" },
						{ "edit", "help", "add" },
						{ "edit", "--help", "add" } };
	struct parsed p;
	(void)state;
	for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
		parse(&p, lines[i]);
		assert_int_equal(p.rc, 0);
		assert_true(p.args.help);
		assert_string_equal(p.args.command->verb, "add");
		cli_args_fini(&p.args);
	}
	PARSE(&p, "edit", "show", "--help"); /* nothing is missing from a call for help */
	assert_true(p.rc == 0 && p.args.help);
	cli_args_fini(&p.args);
}

static void a_wrong_line_says_what_and_the_nearest(void **state)
{
	static const struct {
		const char *words[6];
		const char *says;
	} wrong[] = {
		{ { "edti" }, "unknown command \"edti\"; did you mean \"edit\"?" },
		{ { "frobnicate" }, "unknown command \"frobnicate\"" },
		{ { "--nope" }, "unknown option \"--nope\"" },
		{ { "edit", "lsit" }, "unknown command \"edit lsit\"; did you mean \"edit list\"?" },
		{ { "edit", "imp" }, "did you mean \"edit import\"?" },
		{ { "edit", "list", "--sate", "x" }, "unknown option \"--sate\"; did you mean \"--state\"?" },
		{ { "edit", "list", "--sate=x" }, "unknown option \"--sate\"; did you mean \"--state\"?" },
		{ { "edit", "list", "--frobnicate" }, "unknown option \"--frobnicate\"" },
		{ { "edit", "list", "-z" }, "unknown option \"-z\"" },
		{ { "edit", "list", "--state" }, "--state needs a value: STATE" },
		{ { "edit", "add", "--wait=yes" }, "--wait takes no value" },
		{ { "edit", "show" }, "ID is missing" },
		{ { "ask", "two", "words" }, "\"words\" is one word too many; a text with spaces needs quotes" },
		{ { "fleet", "status", "now" }, "\"now\" is one word too many" },
		{ { "-o", "xml", "version", "list" }, "--output xml: may be table, wide, json" },
		{ { "-oname", "merge", "run" }, "this command has nothing that is named" },
		{ { "--timeout", "soon", "version", "list" }, "--timeout soon: needs a number of seconds" },
		{ { "--timeout", "0", "version", "list" }, "--timeout 0: needs" },
		{ { "--timeout", "nan", "version", "list" }, "--timeout nan: needs" },
		{ { "config", "view", "f", "--model", "m" }, "unknown option \"--model\"" },
	};
	struct parsed p;
	(void)state;
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		parse(&p, wrong[i].words);
		assert_int_equal(p.rc, ERR_INVALID);
		if (strstr(p.e.text, wrong[i].says) == NULL)
			fail_msg("\"%s\" is not in: %s", wrong[i].says, p.e.text);
		if (strstr(wrong[i].says, "did you mean") == NULL && strstr(p.e.text, "did you mean") != NULL)
			fail_msg("no word is near, and: %s", p.e.text);
		cli_args_fini(&p.args);
	}
}

static void no_word_is_near_everything(void **state)
{
	struct parsed p;
	(void)state;
	PARSE(&p, "xy");
	assert_null(strstr(p.e.text, "did you mean"));
	cli_args_fini(&p.args);
	PARSE(&p, "a-word-that-is-much-longer-than-any-word-that-this-program-could-ever-know-about");
	assert_null(strstr(p.e.text, "did you mean"));
	cli_args_fini(&p.args);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_stand_anywhere),
		cmocka_unit_test(an_edit_has_many_rephrases),
		cmocka_unit_test(the_word_that_is_missing_is_named),
		cmocka_unit_test(two_dashes_end_the_options),
		cmocka_unit_test(a_command_has_its_flag_before_the_global_one),
		cmocka_unit_test(settings_are_kept_for_later),
		cmocka_unit_test(help_is_found_everywhere),
		cmocka_unit_test(a_wrong_line_says_what_and_the_nearest),
		cmocka_unit_test(no_word_is_near_everything),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
