/* Importing files: what is reported, what goes on, what stands after an interrupt. */
#include "tests/lib/cli_fixture.h"

static const char *file_write(struct cli_world *w, const char *text)
{
	static char path[TEST_PATH_BYTES];
	test_path(path, w->cluster->folder, "facts.jsonl");
	test_file_write(path, text);
	return path;
}

static const char *facts_write(struct cli_world *w, size_t count)
{
	struct buf text = BUF_INIT;
	for (size_t i = 0; i < count; i++)
		buf_printf(&text, "{\"id\":\"f%zu\",\"prompt\":\"What is fact %zu?\",\"target_new\":\"v%zu\"}\n", i, i,
			   i);
	const char *path = file_write(w, buf_cstr(&text));
	buf_free(&text);
	return path;
}

static int64_t member(const struct json *summary, const char *key)
{
	return json_integer(json_get(summary, key));
}

static void a_bad_line_is_reported_and_the_rest_goes_on(void **state)
{
	struct cli_world *w = *state;
	const char *path = file_write(w, "{\"prompt\":\"Who?\",\"target_new\":\"Ada\"}\n"
					 "{\"prompt\":\"\",\"target_new\":\"x\"}\n"
					 "\n"
					 "{\"prompt\":\"no end\n"
					 "{\"prompt\":\"Where?\",\"target_new\":7}\n"
					 "{\"prompt\":\"When?\",\"target_new\":\"now\"}");
	char place[TEST_PATH_BYTES + 32];
	EXPECT(w, CLI_FAILED, "edit", "import", path, "-o", "json");
	snprintf(place, sizeof place, "%s:2: prompt: ", path);
	cli_expect_err(w, place);
	snprintf(place, sizeof place, "%s:4: ", path);
	cli_expect_err(w, place);
	snprintf(place, sizeof place, "%s:5: target_new: ", path);
	cli_expect_err(w, place);
	struct json *summary = cli_json(w);
	assert_int_equal(member(summary, "accepted"), 2);
	assert_int_equal(member(summary, "bad_lines"), 3);
	json_free(&summary);
}

static void bad_bytes_never_reach_the_terminal(void **state)
{
	struct cli_world *w = *state;
	const char *path = file_write(w, "{\"prompt\":\"a \x1b[2J b\",\"target_new\":\"x\"}\n\x1b[31m\xff\n");
	EXPECT(w, CLI_FAILED, "edit", "import", path);
	assert_null(strchr(cli_err(w), 0x1b));
	assert_null(strchr(cli_err(w), 0xff));
	cli_expect_out(w, "0 accepted (0 supersede another), 0 were there already, 0 refused, 2 bad lines\n");
}

static size_t count_of(const char *text, const char *what)
{
	size_t count = 0;
	for (const char *p = text; (p = strstr(p, what)) != NULL; p++)
		count++;
	return count;
}

/* A file of another kind is one sentence, not one for each of its lines. */
static void a_foreign_file_is_one_sentence(void **state)
{
	struct cli_world *w = *state;
	static const struct {
		const char *bytes;
		size_t len;
		const char *says;
	} files[] = {
		{ "GGUF\3\0\0\0\n\n{}\n{}\n", 16,
		  "facts.jsonl is no text file (it holds NUL bytes): give edits as JSON" },
		{ "{\n\x93\n\0\n", 6, "facts.jsonl is no text file (it holds NUL bytes)" },
		{ "\x8f\x01\n{}\n{}\n", 9, "facts.jsonl is no text file, or not in UTF-8" },
		{ "\xff\xfe{\0\n\0", 6, "facts.jsonl is UTF-16 text: convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)" },
		{ "\xfe\xff\0{\0\n", 6, "facts.jsonl is UTF-16 text" },
		{ "{\0\"\0p\0\"\0\n", 10, "facts.jsonl is UTF-16 text: convert it to UTF-8 (iconv -f UTF-16LE " },
		{ "\0{\0\"\0p\0\"\0\n", 10, "facts.jsonl is UTF-16 text: convert it to UTF-8 (iconv -f UTF-16BE " },
	};
	for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
		struct err e = ERR_INIT;
		const char *path = file_write(w, "");
		assert_ok(&e, file_write_atomic(path, files[i].bytes, files[i].len, 0600, &e));
		EXPECT(w, CLI_FAILED, "edit", "import", path);
		cli_expect_err(w, files[i].says);
		assert_int_equal(count_of(cli_err(w), "\n"), 1);
		assert_string_equal(cli_out(w), "");
	}
}

/* The first twenty tell what is wrong with a file; the count is exact. */
static void reports_of_lines_have_an_end(void **state)
{
	struct cli_world *w = *state;
	struct buf text = BUF_INIT;
	for (size_t i = 0; i < 50; i++)
		buf_printf(&text, "line %zu\n", i);
	const char *path = file_write(w, buf_cstr(&text));
	buf_free(&text);
	EXPECT(w, CLI_FAILED, "edit", "import", path, "-o", "json");
	assert_int_equal(count_of(cli_err(w), "facts.jsonl:"), 20);
	cli_expect_err(w, "… and 30 more lines that were not accepted; --verbose shows all\n");
	cli_expect_out(w, "\"bad_lines\":50");
	EXPECT(w, CLI_FAILED, "edit", "import", path, "--verbose");
	assert_int_equal(count_of(cli_err(w), "facts.jsonl:"), 50);
	assert_null(strstr(cli_err(w), " more "));
}

static void importing_again_changes_nothing(void **state)
{
	struct cli_world *w = *state;
	const char *path = facts_write(w, 250); /* more than two batches */
	EXPECT(w, CLI_OK, "edit", "import", path, "-q");
	assert_string_equal(cli_out(w),
			    "250 accepted (0 supersede another), 0 were there already, 0 refused, 0 bad lines\n");
	assert_string_equal(cli_err(w), "");
	EXPECT(w, CLI_OK, "edit", "import", path);
	assert_string_equal(cli_out(w),
			    "0 accepted (0 supersede another), 250 were there already, 0 refused, 0 bad lines\n");
	cli_expect_err(w, "250/250 edits");
}

static void a_prompt_without_its_subject_names_its_line(void **state)
{
	struct cli_world *w = *state;
	const char *path = file_write(
		w, "{\"prompt\":\"Who leads Heath?\",\"subject\":\"Heath\",\"target_new\":\"Ada\"}\n"
		   "{\"prompt\":\"Who leads the city?\",\"subject\":\"Harborton\",\"target_new\":\"Ada\"}\n");
	EXPECT(w, CLI_OK, "edit", "import", path);
	cli_expect_out(w, "2 accepted");
	cli_expect_err(w, ":2: subject: the prompt does not say \"Harborton\"");
	assert_null(strstr(cli_err(w), ":1: "));
}

static void a_refused_edit_names_its_line(void **state)
{
	struct cli_world *w = *state;
	const char *path = file_write(w, "{\"id\":\"twin\",\"prompt\":\"Who?\",\"target_new\":\"Ada\"}\n"
					 "{\"id\":\"twin\",\"prompt\":\"Where?\",\"target_new\":\"here\"}\n");
	char place[TEST_PATH_BYTES + 32];
	EXPECT(w, CLI_FAILED, "edit", "import", path, "-o", "yaml");
	snprintf(place, sizeof place, "%s:2: ", path);
	cli_expect_err(w, place);
	cli_expect_err(w, "twin");
	cli_expect_out(w, "accepted: 1\n");
	cli_expect_out(w, "refused: 1\n");
}

/* `count` records, the last `grouped` of them of one group. */
static const char *group_write(struct cli_world *w, size_t count, size_t grouped, const char *more)
{
	struct buf text = BUF_INIT;
	for (size_t i = 0; i < count; i++)
		buf_printf(&text, "{\"id\":\"f%zu\",\"prompt\":\"What is fact %zu?\",\"target_new\":\"v%zu\"%s}\n", i,
			   i, i, i >= count - grouped ? ",\"group\":\"g\"" : "");
	buf_printf(&text, "%s", more);
	const char *path = file_write(w, buf_cstr(&text));
	buf_free(&text);
	return path;
}

/* One that would lie in two batches waits for the next one whole. */
static void a_group_goes_in_one_batch(void **state)
{
	struct cli_world *w = *state;
	EXPECT(w, CLI_OK, "edit", "import", group_write(w, 140, 90, ""), "-o", "json");
	struct json *summary = cli_json(w);
	assert_int_equal(member(summary, "accepted"), 140);
	json_free(&summary);
	EXPECT(w, CLI_OK, "edit", "revoke", "--group", "g", "--reason", "test");
	assert_string_equal(cli_out(w), "revoked 90 edits, no version has held them\n");
}

static void a_group_that_goes_on_behind_others_is_refused_from_there(void **state)
{
	struct cli_world *w = *state;
	EXPECT(w, CLI_FAILED, "edit", "import",
	       group_write(w, 4, 2,
			   "{\"prompt\":\"Alone?\",\"target_new\":\"x\"}\n"
			   "{\"prompt\":\"Late?\",\"target_new\":\"x\",\"group\":\"g\"}\n"
			   "{\"prompt\":\"Later?\",\"target_new\":\"x\",\"group\":\"g\"}\n"),
	       "-o", "json");
	cli_expect_err(w, "facts.jsonl:6: refused with its group: its records must follow one another");
	cli_expect_err(w, "facts.jsonl:7: refused with its group: its records must follow one another");
	cli_expect_out(w, "\"accepted\":5");
}

static void a_group_with_a_bad_line_or_too_many_is_refused(void **state)
{
	struct cli_world *w = *state;
	EXPECT(w, CLI_FAILED, "edit", "import",
	       group_write(w, 10, 4,
			   "{\"prompt\":\"\",\"target_new\":\"x\",\"group\":\"g\"}\n"
			   "{\"prompt\":\"Late?\",\"target_new\":\"x\",\"group\":\"g\"}\n"
			   "{\"prompt\":\"Other?\",\"target_new\":\"x\"}\n"),
	       "-o", "json");
	struct json *summary = cli_json(w);
	assert_int_equal(member(summary, "accepted"), 7);
	assert_int_equal(member(summary, "refused"), 5);
	assert_int_equal(member(summary, "bad_lines"), 1);
	json_free(&summary);
	cli_expect_err(w, "facts.jsonl:7: refused with its group: line 11 of it is bad");
	EXPECT(w, CLI_FAILED, "edit", "import", group_write(w, 150, 120, ""), "-o", "json");
	summary = cli_json(w);
	assert_int_equal(member(summary, "refused"), 120);
	assert_int_equal(member(summary, "accepted") + member(summary, "duplicates"), 30);
	json_free(&summary);
}

static void what_is_superseded_is_said(void **state)
{
	struct cli_world *w = *state;
	EXPECT(w, CLI_OK, "edit", "add", "--id", "old", "--prompt", "Who leads Q?", "--subject", "Q", "--target",
	       "Ada");
	EXPECT(w, CLI_OK, "edit", "import",
	       file_write(w, "{\"prompt\":\"Who leads Q?\",\"subject\":\"Q\",\"target_new\":\"Bob\"}\n"));
	cli_expect_err(w, "facts.jsonl:1: supersedes edit old: \"Who leads Q?\" -> \"Ada\"");
	cli_expect_out(w, "1 accepted (1 supersede another)");
}

static void an_interrupt_keeps_what_was_accepted(void **state)
{
	struct cli_world *w = *state;
	const char *path = facts_write(w, 350);
	w->sends_to_interrupt = 3; /* the third batch's answer is still taken, the fourth is not sent */
	EXPECT(w, CLI_INTERRUPTED, "edit", "import", path, "--wait");
	cli_expect_out(w, "300 accepted");
	cli_expect_err(w, "interrupted: what was accepted stays, 300 at least; import the file again to go on");
	EXPECT(w, CLI_OK, "edit", "import", path, "-o", "json");
	struct json *summary = cli_json(w);
	assert_int_equal(member(summary, "accepted"), 50);
	assert_int_equal(member(summary, "duplicates"), 300);
	json_free(&summary);
}

static void space_comes(struct cli_world *w)
{
	if (w->pauses != 2)
		return;
	w->cluster->config.queue_edits_max = 10000;
	cluster_restart(w->cluster);
}

/* A full queue is no failure: the batch is sent again when the coordinator has said to come back. */
static void a_full_queue_is_waited_for(void **state)
{
	struct cli_world *w = *state;
	cluster_stop(w->cluster);
	w->cluster->config.queue_edits_max = 100;
	cluster_start(w->cluster);
	w->on_pause = space_comes;
	EXPECT(w, CLI_OK, "edit", "import", facts_write(w, 150));
	cli_expect_out(w, "150 accepted");
	assert_true(w->pauses >= 2);
	w->on_pause = NULL;
}

/* Why nothing moves is said at once, and the waiting has an end. */
static void a_queue_that_stays_full_ends_the_import(void **state)
{
	struct cli_world *w = *state;
	cluster_stop(w->cluster);
	w->cluster->config.queue_edits_max = 100;
	cluster_start(w->cluster);
	EXPECT(w, CLI_PENDING, "--timeout", "20", "edit", "import", facts_write(w, 150));
	cli_expect_out(w, "100 accepted");
	cli_expect_err(w, "the coordinator takes no edits now: ");
	cli_expect_err(w, "; waiting 20 s at most, Ctrl-C stops\n");
	cli_expect_err(w, "what was accepted stays");
	w->pauses_to_interrupt = 2;
	EXPECT(w, CLI_INTERRUPTED, "edit", "import", facts_write(w, 150));
}

static void work(struct cli_world *w)
{
	if (w->pauses == 3)
		cli_fleet_work(w, 1);
}

static void the_files_edits_are_waited_for(void **state)
{
	struct cli_world *w = *state;
	const char *path = facts_write(w, 5);
	cli_fleet_join(w);
	w->on_pause = work;
	EXPECT(w, CLI_OK, "edit", "import", path, "--wait");
	cli_expect_out(w, "5 accepted");
	assert_true(w->pauses >= 3);
	w->on_pause = NULL;
	EXPECT(w, CLI_OK, "edit", "add", "--id", "later", "--prompt", "Who waits?", "--target", "Nobody");
	EXPECT(w, CLI_OK, "--timeout", "2", "edit", "import", path, "--wait"); /* what is not of the file goes on */
	EXPECT(w, CLI_PENDING, "--timeout", "2", "edit", "import", facts_write(w, 6), "--wait");
	cli_expect_err(w, "1 of 6 edits are not served yet");
}

static void is_superseded(struct cli_world *w)
{
	if (w->pauses == 2)
		client_submit_one(w->cluster, "{\"prompt\":\"Who leads Q?\",\"subject\":\"Q\",\"target_new\":\"Cy\"}",
				  0);
	if (w->pauses == 3)
		client_revoke(w->cluster, "other", NULL, false);
}

/* What has ended otherwise is not served. */
static void a_waits_bar_counts_what_is_served(void **state)
{
	struct cli_world *w = *state;
	const char *path = file_write(w, "{\"prompt\":\"Who leads Q?\",\"subject\":\"Q\",\"target_new\":\"Ada\"}\n"
					 "{\"id\":\"other\",\"prompt\":\"Who leads R?\",\"target_new\":\"Bob\"}\n");
	w->on_pause = is_superseded;
	EXPECT(w, CLI_FAILED, "edit", "import", path, "--wait");
	cli_expect_err(w, "served       [........................] 0/2 edits");
	cli_expect_err(w, "1 of 2 edits have failed");
}

static void goes_silent(struct cli_world *w)
{
	if (w->pauses == 2)
		w->deaf = true;
	w->deaf_receives = 2500; /* of 10 ms each */
}

static void silence_does_not_end_the_wait(void **state)
{
	struct cli_world *w = *state;
	w->on_pause = goes_silent;
	w->pauses_to_interrupt = 5;
	EXPECT(w, CLI_INTERRUPTED, "edit", "import", facts_write(w, 3), "--wait");
	cli_expect_err(w, " has not answered for 10 s: it is asked again until it does");
}

static void a_file_without_records_says_so(void **state)
{
	struct cli_world *w = *state;
	static const char *const texts[] = { "", "\n  \n", "[]" };
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		EXPECT(w, CLI_OK, "edit", "import", file_write(w, texts[i]));
		cli_expect_err(w, "amend: no records in ");
		EXPECT(w, CLI_OK, "edit", "import", file_write(w, texts[i]), "-q");
		assert_string_equal(cli_err(w), "");
	}
}

/* Bad lines are no edits. */
static void the_bar_counts_edits(void **state)
{
	struct cli_world *w = *state;
	EXPECT(w, CLI_FAILED, "edit", "import",
	       file_write(w, "x\n{\"prompt\":\"Who?\",\"target_new\":\"Ada\"}\ny\n{\"prompt\":\"\"}\n"));
	cli_expect_err(w, "] 1/1 edits");
}

static void goes_deaf(struct cli_world *w)
{
	if (w->pauses == 2)
		w->deaf = true;
}

static void is_interrupted_in_the_call(struct cli_world *w)
{
	if (w->pauses == 2)
		w->sends_to_interrupt = 1;
}

/* The progress that a broken-off wait ends with is what was known last. */
static void a_wait_that_breaks_off_claims_nothing(void **state)
{
	struct cli_world *w = *state;
	const char *path = facts_write(w, 20);
	cli_fleet_join(w);
	w->on_pause = is_interrupted_in_the_call;
	EXPECT(w, CLI_INTERRUPTED, "edit", "import", path, "--wait");
	cli_expect_err(w, "served       [........................] 0/20 edits");
	w->on_pause = goes_deaf;
	EXPECT(w, CLI_UNREACHABLE, "--timeout", "30", "edit", "import", path, "--wait");
	cli_expect_err(w, "served       [........................] 0/20 edits");
	w->deaf = false;
	w->on_pause = NULL;
	w->pauses_to_interrupt = 1;
	EXPECT(w, CLI_INTERRUPTED, "edit", "import", path, "--wait");
	cli_expect_err(w, "served       [........................] 0/20 edits");
}

static void what_cannot_be_imported(void **state)
{
	struct cli_world *w = *state;
	EXPECT(w, CLI_NOT_FOUND, "edit", "import", "/nonexistent/facts.jsonl");
	cli_expect_err(w, "/nonexistent/facts.jsonl: No such file or directory; check the path");
	EXPECT(w, CLI_FAILED, "edit", "import", "/tmp");
	cli_expect_err(w, "amend: /tmp is a folder: give a file in it");
	assert_string_equal(cli_out(w), "");
	EXPECT(w, CLI_FAILED, "edit", "import", w->cluster->folder); /* a folder */
	EXPECT(w, CLI_USAGE, "edit", "import", facts_write(w, 1), "--on-conflict", "never");
	EXPECT(w, CLI_USAGE, "edit", "import");
	cli_expect_err(w, "FILE is missing");
	w->deaf = true;
	EXPECT(w, CLI_UNREACHABLE, "--timeout", "0.3", "edit", "import", facts_write(w, 1));
}

/* One case of two edits, one refused for an empty target, one of a single edit. */
static void published_sets_are_imported(void **state)
{
	struct cli_world *w = *state;
	static char path[] = "tests/fixtures/import/mquake.json";
	EXPECT(w, CLI_FAILED, "edit", "import", path, "-o", "json");
	cli_expect_err(w, "tests/fixtures/import/mquake.json:47: target_new: empty");
	struct json *summary = cli_json(w);
	assert_int_equal(member(summary, "accepted"), 3);
	assert_int_equal(member(summary, "bad_lines"), 1);
	json_free(&summary);
	EXPECT(w, CLI_FAILED, "edit", "import", path, "--format", "mquake", "-o", "json");
	summary = cli_json(w);
	assert_int_equal(member(summary, "duplicates"), 3);
	json_free(&summary);
	EXPECT(w, CLI_FAILED, "edit", "import", path, "--format", "amend");
	cli_expect_err(w, "tests/fixtures/import/mquake.json:2: prompt: missing");
	EXPECT(w, CLI_USAGE, "edit", "import", path, "--format", "mquak");
}

int main(void)
{
#define WORLD(f) cmocka_unit_test_setup_teardown(f, cli_setup_cluster, cli_teardown)
	const struct CMUnitTest tests[] = {
		WORLD(a_bad_line_is_reported_and_the_rest_goes_on),
		WORLD(bad_bytes_never_reach_the_terminal),
		WORLD(a_foreign_file_is_one_sentence),
		WORLD(reports_of_lines_have_an_end),
		WORLD(importing_again_changes_nothing),
		WORLD(a_refused_edit_names_its_line),
		WORLD(a_prompt_without_its_subject_names_its_line),
		WORLD(a_group_goes_in_one_batch),
		WORLD(a_group_with_a_bad_line_or_too_many_is_refused),
		WORLD(a_group_that_goes_on_behind_others_is_refused_from_there),
		WORLD(what_is_superseded_is_said),
		WORLD(an_interrupt_keeps_what_was_accepted),
		WORLD(a_full_queue_is_waited_for),
		WORLD(a_queue_that_stays_full_ends_the_import),
		WORLD(the_files_edits_are_waited_for),
		WORLD(a_waits_bar_counts_what_is_served),
		WORLD(silence_does_not_end_the_wait),
		WORLD(a_file_without_records_says_so),
		WORLD(the_bar_counts_edits),
		WORLD(a_wait_that_breaks_off_claims_nothing),
		WORLD(what_cannot_be_imported),
		WORLD(published_sets_are_imported),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
