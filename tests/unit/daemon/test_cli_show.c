/* Tables, the forms of a JSON text, progress. What is printed is caught as a command's output would be. */
#include "tests/lib/cli_fixture.h"

#include <fcntl.h>
#include <unistd.h>

struct show {
	struct cli_world *w;
	struct env_manual clock;
	int saved[2];
	char paths[2][TEST_PATH_BYTES];
};

static void show_begin(struct show *s, struct cli_world *w)
{
	static const char *const names[] = { "out", "err" };
	*s = (struct show){ .w = w };
	env_manual_init(&s->clock, 1);
	w->cli.env = &s->clock.env;
	fflush(NULL);
	for (int i = 0; i < 2; i++) {
		test_path(s->paths[i], w->folder, names[i]);
		int fd = open(s->paths[i], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		assert_true(fd >= 0);
		s->saved[i] = dup(1 + i);
		dup2(fd, 1 + i);
		close(fd);
	}
}

static void show_end(struct show *s)
{
	struct buf *caught[] = { &s->w->out, &s->w->err };
	struct err e = ERR_INIT;
	fflush(NULL);
	for (int i = 0; i < 2; i++) {
		dup2(s->saved[i], 1 + i);
		close(s->saved[i]);
		buf_free(caught[i]);
		assert_ok(&e, file_read(s->paths[i], 1 << 20, caught[i], &e));
	}
}

static struct cli_table *table_make(void)
{
	static const char *const headers[] = { "A", "LONGER", "C" };
	struct cli_table *t = NULL;
	assert_int_equal(cli_table_new(headers, 3, &t), 0);
	cli_table_cell(t, "%d", 12345);
	cli_table_cell(t, "x");
	cli_table_cell(t, "%s", "\x1b[31mred");
	cli_table_cell(t, "\xC3\xA9");
	cli_table_cell(t, "%s", "");
	cli_table_cell(t, "z");
	return t;
}

static void columns_fit_their_content(void **state)
{
	struct cli_world *w = *state;
	struct show s;
	struct cli_table *t = table_make();
	show_begin(&s, w);
	int status = cli_table_print(&w->cli, &t);
	show_end(&s);
	assert_int_equal(status, CLI_OK);
	assert_null(t);
	cli_expect_out(w, "A      LONGER  C\n12345  x       ");
	cli_expect_out(w, "\n\xC3\xA9      -       z\n"); /* one column for é; an empty cell keeps its place */
	assert_null(strchr(cli_out(w), 0x1b));
}

static void headers_are_bold_on_a_terminal_only(void **state)
{
	struct cli_world *w = *state;
	struct show s;
	struct cli_table *t = table_make();
	show_begin(&s, w);
	w->cli.no_color = false;
	(void)cli_table_print(&w->cli, &t);
	show_end(&s);
	assert_memory_equal(cli_out(w), "\033[1mA      LONGER  C\033[0m\n", 25);
}

static struct cli_table *long_table(void)
{
	static const char *const headers[] = { "TEXT" };
	struct cli_table *t = NULL;
	char text[2001];
	memset(text, 'a', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	assert_int_equal(cli_table_new(headers, 1, &t), 0);
	cli_table_cell(t, "%s", text);
	cli_table_cell(t, "%.61s", text); /* one too many */
	cli_table_cell(t, "%.60s", text);
	return t;
}

static void long_cells_are_cut_unless_wide(void **state)
{
	struct cli_world *w = *state;
	struct show s;
	struct cli_table *t = long_table();
	show_begin(&s, w);
	(void)cli_table_print(&w->cli, &t);
	show_end(&s);
	assert_int_equal(w->out.len, 5 + 2 * (59 + 3 + 1) + 61);
	cli_expect_out(w, "a\xE2\x80\xA6\n");
	t = long_table();
	show_begin(&s, w);
	w->cli.output = CLI_WIDE;
	(void)cli_table_print(&w->cli, &t);
	show_end(&s);
	assert_int_equal(w->out.len, 5 + 2001 + 62 + 61);
}

static const char *emitted(struct cli_world *w, enum cli_output output, const char *text)
{
	struct show s;
	struct buf json = BUF_INIT;
	buf_puts(&json, text);
	show_begin(&s, w);
	w->cli.output = output;
	int status = cli_emit(&w->cli, &json);
	show_end(&s);
	assert_int_equal(status, CLI_OK);
	assert_null(json.data);
	return cli_out(w);
}

static void json_has_three_forms(void **state)
{
	static const char text[] = "[{\"b\":1,\"a\":{\"x\":[],\"y\":[1,[2,3]]}},{\"b\":\"a: #\\n\",\"a\":{}}]";
	struct cli_world *w = *state;
	char line[sizeof text + 1];
	snprintf(line, sizeof line, "%s\n", text);
	assert_string_equal(emitted(w, CLI_JSON, text), line);
	assert_string_equal(emitted(w, CLI_JSONL, text),
			    "{\"a\":{\"x\":[],\"y\":[1,[2,3]]},\"b\":1}\n{\"a\":{},\"b\":\"a: #\\n\"}\n");
	assert_string_equal(emitted(w, CLI_YAML, text), "- b: 1\n"
							"  a:\n"
							"    x: []\n"
							"    y:\n"
							"      - 1\n"
							"      - - 2\n"
							"        - 3\n"
							"- b: \"a: #\\n\"\n"
							"  a: {}\n");
	assert_string_equal(emitted(w, CLI_JSONL, "{\"b\":1,\"a\":2}"), "{\"b\":1,\"a\":2}\n"); /* one is one line */
	assert_string_equal(emitted(w, CLI_YAML, "[]"), "[]\n");
	assert_string_equal(emitted(w, CLI_JSONL, "[]"), "");
}

static void progress_is_a_line_now_and_then_without_a_terminal(void **state)
{
	struct cli_world *w = *state;
	struct cli_progress p;
	struct show s;
	show_begin(&s, w);
	cli_progress_begin(&w->cli, &p, "import", "edits", 200);
	for (int i = 0; i < 11; i++) {
		env_manual_advance(&s.clock, 1000000);
		cli_progress_set(&w->cli, &p, (uint64_t)(i + 1) * 10);
	}
	show_end(&s);
	assert_string_equal(cli_err(w),
			    "import       [######..................] 50/200 edits, 10.0/s, 5 s, 15 s left\n"
			    "import       [############............] 100/200 edits, 10.0/s, 10 s, 10 s left\n");
	assert_string_equal(cli_out(w), "");
}

/* Programs that start have no rate; who is missing is what one wants to know. */
static void progress_says_what_is_awaited(void **state)
{
	struct cli_world *w = *state;
	struct cli_progress p;
	struct show s;
	show_begin(&s, w);
	w->cli.stderr_is_terminal = true;
	cli_progress_begin(&w->cli, &p, "start", "programs", 4);
	p.awaited = "2 workers to load the model";
	env_manual_advance(&s.clock, 2000000);
	cli_progress_set(&w->cli, &p, 1);
	show_end(&s);
	assert_string_equal(cli_err(w), "\r\033[Kstart        [######..................] 1/4 programs, 2 s, "
					"waiting for 2 workers to load the model");
}

static void progress_of_a_pipe_has_no_end(void **state)
{
	struct cli_world *w = *state;
	struct cli_progress p;
	struct show s;
	show_begin(&s, w);
	w->cli.stderr_is_terminal = true;
	cli_progress_begin(&w->cli, &p, "import", "edits", 0);
	env_manual_advance(&s.clock, 2000000);
	cli_progress_set(&w->cli, &p, 3000);
	cli_progress_end(&w->cli, &p, 3000);
	show_end(&s);
	assert_string_equal(cli_err(w), "\r\033[Kimport       3000 edits, 1500/s, 2 s"
					"\r\033[Kimport       3000 edits, 1500/s, 2 s\n");
}

static void what_follows_a_bar_has_its_own_line(void **state)
{
	struct cli_world *w = *state;
	struct cli_progress p;
	struct show s;
	show_begin(&s, w);
	w->cli.stderr_is_terminal = true;
	cli_progress_begin(&w->cli, &p, "decode", "", 4);
	cli_progress_break(&w->cli, &p); /* nothing is drawn yet */
	env_manual_advance(&s.clock, 2000000);
	cli_progress_set(&w->cli, &p, 1);
	cli_progress_break(&w->cli, &p);
	cli_progress_break(&w->cli, &p);
	show_end(&s);
	assert_string_equal(cli_err(w), "\r\033[Kdecode       [######..................] 1/4, 0.50/s, 2 s, 6 s left\n");
}

static void quiet_shows_no_progress(void **state)
{
	struct cli_world *w = *state;
	struct cli_progress p;
	struct show s;
	show_begin(&s, w);
	w->cli.quiet = true;
	cli_progress_begin(&w->cli, &p, "merge", "%", 100);
	env_manual_advance(&s.clock, 60000000);
	cli_progress_set(&w->cli, &p, 50);
	cli_progress_end(&w->cli, &p, 100);
	show_end(&s);
	assert_string_equal(cli_err(w), "");
}

int main(void)
{
#define PLAIN(f) cmocka_unit_test_setup_teardown(f, cli_setup_plain, cli_teardown)
	const struct CMUnitTest tests[] = {
		PLAIN(columns_fit_their_content),
		PLAIN(headers_are_bold_on_a_terminal_only),
		PLAIN(long_cells_are_cut_unless_wide),
		PLAIN(json_has_three_forms),
		PLAIN(progress_is_a_line_now_and_then_without_a_terminal),
		PLAIN(progress_says_what_is_awaited),
		PLAIN(progress_of_a_pipe_has_no_end),
		PLAIN(what_follows_a_bar_has_its_own_line),
		PLAIN(quiet_shows_no_progress),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
