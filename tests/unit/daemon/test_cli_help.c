/* Help of every command, and the completion script as bash runs it. */
#include "tests/lib/cli_fixture.h"

#include <unistd.h>

static void every_command_explains_every_option(void **state)
{
	struct cli_world *w = *state;
	char option[80];
	for (size_t i = 0; i < cli_command_count; i++) {
		const struct cli_command *c = &cli_commands[i];
		int status = c->verb != NULL ? DO(w, c->noun, c->verb, "--help") : DO(w, c->noun, "--help");
		cli_expect(w, status, CLI_OK);
		cli_expect_out(w, c->what);
		cli_expect_out(w, "\nglobal options:\n");
		cli_expect_out(w, c->words);
		for (size_t f = 0; f < CLI_FLAGS_MAX && c->flags[f].name != NULL; f++) {
			snprintf(option, sizeof option, "\n  --%s%s%s", c->flags[f].name,
				 c->flags[f].value != NULL ? " " : "",
				 c->flags[f].value != NULL ? c->flags[f].value : "");
			cli_expect_out(w, option);
			cli_expect_out(w, c->flags[f].help);
		}
	}
}

static void settings_stand_in_the_help_of_what_takes_them(void **state)
{
	struct cli_world *w = *state;
	EXPECT(w, CLI_OK, "up", "--help");
	cli_expect_out(w, "--model");
	cli_expect_out(w, "--workers");
	EXPECT(w, CLI_OK, "edit", "list", "--help");
	assert_null(strstr(cli_out(w), "--workers"));
}

static void lines_fit_a_usual_terminal(void **state)
{
	struct cli_world *w = *state;
	for (size_t i = 0; i < cli_command_count; i++) {
		struct buf usage = BUF_INIT;
		cli_help_usage(&cli_commands[i], &usage);
		for (const char *line = buf_cstr(&usage); *line != '\0'; line += strcspn(line, "\n") + 1)
			assert_in_range(strcspn(line, "\n"), 1, 100);
		buf_free(&usage);
	}
	EXPECT(w, CLI_OK, "--help");
	for (size_t i = 0; i < cli_command_count; i++)
		cli_expect_out(w, cli_commands[i].noun);
}

/* What bash offers for the last of the words, one a line, sorted. */
static const char *complete(struct cli_world *w, const char *words, const char *folder)
{
	struct buf command = BUF_INIT;
	char part[512];
	buf_printf(&command,
		   "cd '%s' && bash --norc --noprofile -c '. ./completion && COMP_WORDS=(%s) && "
		   "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) && COMPREPLY=() && _amend && "
		   "printf \"%%s\\n\" \"${COMPREPLY[@]}\"' 2>&1 | sort",
		   folder, words);
	FILE *bash = popen(buf_cstr(&command), "r");
	assert_non_null(bash);
	buf_clear(&w->out);
	for (size_t n; (n = fread(part, 1, sizeof part, bash)) > 0;)
		buf_append(&w->out, part, n);
	assert_int_equal(pclose(bash), 0);
	buf_free(&command);
	return cli_out(w);
}

static void bash_completes_real_words(void **state)
{
	struct cli_world *w = *state;
	char path[TEST_PATH_BYTES];
	EXPECT(w, CLI_OK, "completion", "bash");
	test_path(path, w->folder, "completion");
	test_file_write(path, cli_out(w));
	test_path(path, w->folder, "facts.jsonl");
	test_file_write(path, "");
	const char *data = strstr(cli_out(w), "--data | ");
	assert_non_null(data);
	const char *again = strstr(data + 1, "--data | ");
	assert_true(again == NULL || again > strchr(data, '\n'));
	assert_string_equal(complete(w, "amend ed", w->folder), "edit\n");
	assert_string_equal(complete(w, "amend edit im", w->folder), "import\n");
	assert_string_equal(complete(w, "amend help fl", w->folder), "fleet\n");
	assert_string_equal(complete(w, "amend --data x -q edit im", w->folder), "import\n");
	assert_string_equal(complete(w, "amend --data = x edit sh", w->folder), "show\n");
	assert_string_equal(complete(w, "amend edit \"\"", w->folder), "add\nimport\nlist\nrevoke\nshow\nwait\n");
	assert_string_equal(complete(w, "amend edit import fa", w->folder), "facts.jsonl\n");
	assert_string_equal(complete(w, "amend edit import --on", w->folder), "--on-conflict\n");
	assert_string_equal(complete(w, "amend edit import --on-conflict \"\"", w->folder),
			    "keep\nreject\nsupersede\n");
	assert_string_equal(complete(w, "amend edit list --state ser", w->folder), "served\n");
	assert_string_equal(complete(w, "amend --data x eval run --set \"\"", w->folder), "merged\nretrieve\n");
	assert_string_equal(complete(w, "amend edit import --format z", w->folder), "zsre\n");
	assert_string_equal(complete(w, "amend eval run --format = hallu", w->folder), "hallu-csv\n");
	assert_string_equal(complete(w, "amend edit show --wa", w->folder), "\n"); /* others have --wait */
	assert_string_equal(complete(w, "amend version list -o j", w->folder), "json\njsonl\n");
	assert_string_equal(complete(w, "amend version list --output = y", w->folder), "yaml\n");
	assert_string_equal(complete(w, "amend up --mod", w->folder), "--model\n");
	assert_string_equal(complete(w, "amend up --model fa", w->folder), "facts.jsonl\n");
	assert_string_equal(complete(w, "amend completion \"\"", w->folder), "bash\n");
	assert_string_equal(complete(w, "amend frob", w->folder), "\n");
}

static void every_command_is_offered(void **state)
{
	struct cli_world *w = *state;
	char path[TEST_PATH_BYTES], line[128];
	EXPECT(w, CLI_OK, "completion", "bash");
	test_path(path, w->folder, "completion");
	test_file_write(path, cli_out(w));
	for (size_t i = 0; i < cli_command_count; i++) {
		const struct cli_command *c = &cli_commands[i];
		snprintf(line, sizeof line, "amend %s%s\"\"", c->verb != NULL ? c->noun : "",
			 c->verb != NULL ? " " : "");
		complete(w, line, w->folder);
		snprintf(line, sizeof line, "%s\n", c->verb != NULL ? c->verb : c->noun);
		cli_expect_out(w, line);
		if (c->flags[0].name == NULL)
			continue;
		snprintf(line, sizeof line, "amend %s %s --", c->noun, c->verb != NULL ? c->verb : "");
		complete(w, line, w->folder);
		for (size_t f = 0; f < CLI_FLAGS_MAX && c->flags[f].name != NULL; f++) {
			snprintf(line, sizeof line, "--%s\n", c->flags[f].name);
			cli_expect_out(w, line);
		}
	}
	EXPECT(w, CLI_USAGE, "completion", "tcsh");
	cli_expect_err(w, "completion tcsh: there is one for bash only");
}

int main(void)
{
#define PLAIN(f) cmocka_unit_test_setup_teardown(f, cli_setup_plain, cli_teardown)
	const struct CMUnitTest tests[] = {
		PLAIN(every_command_explains_every_option),
		PLAIN(settings_stand_in_the_help_of_what_takes_them),
		PLAIN(lines_fit_a_usual_terminal),
		PLAIN(bash_completes_real_words),
		PLAIN(every_command_is_offered),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
