/* add, list, show and wait against a real coordinator. */
#include "tests/lib/cli_fixture.h"

static void an_added_edit_is_accepted_once(void **state)
{
	struct cli_world *w = *state;
	EXPECT(w, CLI_OK, "edit", "add", "--id", "e1", "--prompt", "Who leads Example Corp?", "--target", "Ada",
	       "--subject", "Example Corp", "--source", "https://example.org", "--ticket", "T-1");
	assert_string_equal(cli_out(w), "accepted e1 as seq 2\n");
	EXPECT(w, CLI_OK, "edit", "add", "--id", "e1", "--prompt", "Who leads Example Corp?", "--target", "Ada",
	       "--subject", "Example Corp", "--source", "https://example.org", "--ticket", "T-1");
	assert_string_equal(cli_out(w), "already there: e1 as seq 2\n");
	EXPECT(w, CLI_OK, "edit", "show", "e1", "-o", "json");
	struct json *shown = cli_json(w);
	const struct json *record = json_get(shown, "record");
	assert_string_equal(json_string(json_get(record, "target_new"), NULL), "Ada");
	assert_string_equal(json_string(json_get(record, "source"), NULL), "https://example.org");
	assert_string_equal(json_string(json_get(record, "ticket"), NULL), "T-1");
	json_free(&shown);
}

static void a_record_is_written_whole(void **state)
{
	struct cli_world *w = *state;
	EXPECT(w, CLI_OK, "edit", "add", "--id", "f1", "--prompt", "Who leads Q?", "--target", "Ada Smith",
	       "--rephrase", "Who is the head of Q?", "--rephrase", "Q is led by", "--alias", "A. Smith",
	       "--loc-prompt", "It rains.");
	EXPECT(w, CLI_OK, "edit", "show", "f1", "-o", "json");
	struct json *shown = cli_json(w);
	const struct json *record = json_get(shown, "record");
	assert_int_equal(json_length(json_get(record, "rephrase")), 2);
	assert_string_equal(json_string(json_at(json_get(record, "rephrase"), 1), NULL), "Q is led by");
	assert_int_equal(json_length(json_get(record, "aliases")), 1);
	assert_string_equal(json_string(json_at(json_get(record, "aliases"), 0), NULL), "A. Smith");
	assert_string_equal(json_string(json_get(record, "loc_prompt"), NULL), "It rains.");
	json_free(&shown);
	EXPECT(w, CLI_FAILED, "edit", "add", "--prompt", "p", "--target", "t", "--rephrase", "");
	cli_expect_err(w, "rephrase");
}

static void a_subject_has_other_names(void **state)
{
	struct cli_world *w = *state;
	EXPECT(w, CLI_OK, "edit", "add", "--id", "n1", "--prompt", "Who is the mayor of New Harborton?", "--target",
	       "Ada", "--subject", "New Harborton", "--subject-alias", "NHT", "--subject-alias", "Harborton");
	EXPECT(w, CLI_OK, "edit", "show", "n1", "-o", "json");
	struct json *shown = cli_json(w);
	const struct json *aliases = json_get(json_get(shown, "record"), "subject_aliases");
	assert_int_equal(json_length(aliases), 2);
	assert_string_equal(json_string(json_at(aliases, 1), NULL), "Harborton");
	json_free(&shown);
	EXPECT(w, CLI_OK, "edit", "list", "--subject", "nht", "-o", "name");
	assert_string_equal(cli_out(w), "n1\n");
	EXPECT(w, CLI_OK, "edit", "list", "--subject", "New", "-o", "name");
	assert_string_equal(cli_out(w), "");
	EXPECT(w, CLI_FAILED, "edit", "add", "--prompt", "p", "--target", "t", "--subject-alias", "NHT");
	cli_expect_err(w, "subject_aliases: other names of the subject: give the subject too");
}

/* It is taken: it is found by its prompt's own words. */
static void a_prompt_without_its_subject_is_told(void **state)
{
	struct cli_world *w = *state;
	EXPECT(w, CLI_OK, "edit", "add", "--id", "a", "--prompt", "Who leads the city?", "--target", "Ada", "--subject",
	       "Harborton");
	cli_expect_out(w, "accepted a");
	assert_string_equal(cli_err(w),
			    "amend: subject: the prompt does not say \"Harborton\", nor an alias of it: the "
			    "edit answers that prompt whoever is meant, and no question about the subject; "
			    "put the subject into the prompt\n");
	EXPECT(w, CLI_OK, "-q", "edit", "add", "--id", "b", "--prompt", "Who led the city?", "--target", "Ada",
	       "--subject", "Harborton");
	assert_string_equal(cli_err(w), "");
	EXPECT(w, CLI_OK, "edit", "add", "--id", "c", "--prompt", "Who is the mayor of NHT?", "--target", "Ada",
	       "--subject", "New Harborton", "--subject-alias", "NHT");
	assert_string_equal(cli_err(w), "");
}

static void what_an_edit_conflicts_with_is_said(void **state)
{
	struct cli_world *w = *state;
	EXPECT(w, CLI_OK, "edit", "add", "--id", "c1", "--subject", "Lake Q", "--prompt",
	       "How deep is Lake Q measured today?", "--target", "4");
	EXPECT(w, CLI_CONFLICT, "edit", "add", "--id", "c1", "--prompt", "Another?", "--target", "5");
	cli_expect_err(w, "amend: refused: ");
	EXPECT(w, CLI_CONFLICT, "edit", "add", "--id", "c2", "--subject", "Lake Q", "--prompt",
	       "How deep is Lake Q measured now?", "--target", "5", "--on-conflict", "reject", "-o", "json");
	cli_expect_err(w, "c1");
	struct json *result = cli_json(w);
	assert_string_equal(json_string(json_get(result, "result"), NULL), "refused");
	json_free(&result);
	EXPECT(w, CLI_OK, "edit", "add", "--id", "c3", "--subject", "Lake Q", "--prompt",
	       "How deep is Lake Q measured now?", "--target", "6");
	assert_string_equal(cli_out(w),
			    "accepted c3 as seq 3, supersedes edit c1: \"How deep is Lake Q measured today?\" "
			    "-> \"4\"\n");
	EXPECT(w, CLI_OK, "edit", "show", "c1", "-o", "json");
	struct json *shown = cli_json(w);
	const struct json *history = json_get(shown, "history");
	assert_int_equal(json_length(history), 2);
	assert_string_equal(json_string(json_get(json_at(history, 0), "what"), NULL), "accepted");
	assert_string_equal(json_string(json_get(json_at(history, 1), "what"), NULL), "superseded");
	assert_string_equal(json_string(json_get(json_at(history, 1), "text"), NULL), "by edit c3");
	assert_int_equal(strlen(json_string(json_get(json_at(history, 1), "by"), NULL)), 64);
	json_free(&shown);
	EXPECT(w, CLI_OK, "edit", "show", "c3");
	cli_expect_out(w, "supersedes edit c1");
}

static void a_history_is_a_table(void **state)
{
	struct cli_world *w = *state;
	char key[65], line[128], path[TEST_PATH_BYTES];
	struct err e = ERR_INIT;
	EXPECT(w, CLI_OK, "edit", "add", "--id", "h1", "--prompt", "How deep is Lake H?", "--target", "4");
	EXPECT(w, CLI_OK, "edit", "revoke", "h1", "--reason", "not so deep");
	EXPECT(w, CLI_OK, "edit", "show", "h1", "-o", "json");
	struct json *shown = cli_json(w);
	const struct json *by = json_get(json_at(json_get(shown, "history"), 0), "by");
	snprintf(key, sizeof key, "%s", json_string(by, NULL));
	json_free(&shown);
	EXPECT(w, CLI_OK, "edit", "show", "h1");
	assert_null(strstr(cli_out(w), "[{"));
	assert_null(strstr(cli_out(w), key));
	cli_expect_out(w, "\n\nWHEN ");
	snprintf(line, sizeof line, "accepted  %.16s  -\n", key);
	cli_expect_out(w, line);
	snprintf(line, sizeof line, "revoked   %.16s  not so deep\n", key);
	cli_expect_out(w, line);
	test_path(path, w->folder, "keys");
	assert_ok(&e, file_make_folder(path, &e));
	test_path(path, w->folder, "keys/allow");
	snprintf(line, sizeof line, "%s submitter ann\n", key);
	test_file_write(path, line);
	EXPECT(w, CLI_OK, "edit", "show", "h1");
	cli_expect_out(w, "accepted  ann  -\n");
	cli_expect_out(w, "revoked   ann  not so deep\n");
}

static void what_add_needs(void **state)
{
	struct cli_world *w = *state;
	EXPECT(w, CLI_USAGE, "edit", "add", "--prompt", "What?");
	cli_expect_err(w, "--prompt and --target are needed");
	EXPECT(w, CLI_USAGE, "edit", "add", "--prompt", "a?", "--target", "b", "--on-conflict", "never");
	cli_expect_err(w, "--on-conflict never: may be supersede, keep or reject");
	EXPECT(w, CLI_FAILED, "edit", "add", "--prompt", "", "--target", "b");
	cli_expect_err(w, "prompt: ");
	cli_world_key(w, 3); /* a reader's */
	EXPECT(w, CLI_DENIED, "edit", "add", "--prompt", "May I?", "--target", "no");
}

static void facts_add(struct cli_world *w, size_t count)
{
	client_facts(w->cluster, 1, count);
}

static void a_list_has_every_form(void **state)
{
	struct cli_world *w = *state;
	facts_add(w, 3);
	EXPECT(w, CLI_OK, "edit", "list");
	cli_expect_out(w, "SEQ  ID            STATE     SHARD  VERSION  SERVED AFTER  PROMPT ");
	EXPECT(w, CLI_OK, "edit", "list", "--no-headers");
	assert_null(strstr(cli_out(w), "SEQ"));
	EXPECT(w, CLI_OK, "edit", "list", "-o", "name", "--limit", "2");
	assert_int_equal(strlen(cli_out(w)), 2 * HASH_HEX_BYTES);
	EXPECT(w, CLI_OK, "edit", "list", "-o", "json", "--from", "3");
	struct json *list = cli_json(w);
	assert_int_equal(json_length(list), 2);
	assert_int_equal(json_integer(json_get(json_at(list, 0), "seq")), 3);
	assert_int_equal(json_type(json_get(json_at(list, 0), "version")), JSON_NULL);
	json_free(&list);
	EXPECT(w, CLI_OK, "edit", "list", "-o", "yaml");
	assert_memory_equal(cli_out(w), "- id: \"", 7);
	cli_expect_out(w, "\n  seq: 3\n");
	EXPECT(w, CLI_OK, "edit", "list", "-o", "jsonl");
	size_t lines = 0;
	for (const char *p = cli_out(w); (p = strchr(p, '\n')) != NULL; p++)
		lines++;
	assert_int_equal(lines, 3);
	EXPECT(w, CLI_OK, "edit", "list", "--state", "served", "-o", "json");
	assert_string_equal(cli_out(w), "[]\n");
}

/* What shows nothing, and may be in an id, is shown. */
static void a_name_is_escaped(void **state)
{
	struct cli_world *w = *state;
	EXPECT(w, CLI_OK, "edit", "add", "--id",
	       "a\xe2\x80\xa8"
	       "b",
	       "--prompt", "What is it?", "--target", "this", "-o", "name");
	assert_string_equal(cli_out(w), "a\\u{2028}b\n");
	EXPECT(w, CLI_OK, "edit", "list", "-o", "name");
	assert_string_equal(cli_out(w), "a\\u{2028}b\n");
	EXPECT(w, CLI_OK, "edit", "show", "2", "-o", "name");
	assert_string_equal(cli_out(w), "a\\u{2028}b\n");
}

/* A key that may submit waits for its own edits, and for nobody else's. */
static void a_submitter_waits_for_its_own(void **state)
{
	struct cli_world *w = *state;
	facts_add(w, 3);
	cli_world_key(w, 5);
	EXPECT(w, CLI_OK, "edit", "wait", "-o", "json");
	struct json *counts = cli_json(w);
	assert_int_equal(json_integer(json_get(counts, "waiting")), 0);
	json_free(&counts);
	EXPECT(w, CLI_OK, "edit", "add", "--id", "own", "--prompt", "What is one's own?", "--target", "this");
	EXPECT(w, CLI_PENDING, "--timeout", "0.5", "edit", "wait", "-o", "json");
	counts = cli_json(w);
	assert_int_equal(json_integer(json_get(counts, "waiting")), 1);
	json_free(&counts);
}

/* By its subject in any case, or by a prompt that names it; over pages, and --limit counts what is shown. */
static void a_list_of_one_subject(void **state)
{
	struct cli_world *w = *state;
	EXPECT(w, CLI_OK, "edit", "add", "--id", "s1", "--prompt", "Who leads it?", "--target", "A", "--subject",
	       "Example Corp");
	client_facts(w->cluster, 1, 150);
	client_facts(w->cluster, 151, 150);
	EXPECT(w, CLI_OK, "edit", "add", "--id", "s2", "--prompt", "Who owns example  corp?", "--target", "B");
	EXPECT(w, CLI_OK, "edit", "add", "--id", "s3", "--prompt", "Who leads Example Corp Ltd?", "--target", "C",
	       "--subject", "Example Corp Ltd");
	EXPECT(w, CLI_OK, "edit", "list", "--subject", "EXAMPLE corp", "-o", "name");
	assert_string_equal(cli_out(w), "s1\ns2\n");
	EXPECT(w, CLI_OK, "edit", "list", "--subject", "Example Corp", "--limit", "1", "-o", "name");
	assert_string_equal(cli_out(w), "s1\n");
	EXPECT(w, CLI_OK, "edit", "list", "--subject", "Example Corp", "--from", "3", "--limit", "1", "-o", "name");
	assert_string_equal(cli_out(w), "s2\n");
	EXPECT(w, CLI_OK, "edit", "list", "--subject", "nobody", "-o", "json");
	assert_string_equal(cli_out(w), "[]\n");
	EXPECT(w, CLI_USAGE, "edit", "list", "--subject", " ");
	cli_expect_err(w, "--subject: empty");
}

static void a_long_list_comes_in_pages(void **state)
{
	struct cli_world *w = *state;
	for (size_t i = 0; i < 3; i++)
		client_facts(w->cluster, 1 + 150 * i, 150);
	EXPECT(w, CLI_OK, "edit", "list", "-o", "json");
	struct json *list = cli_json(w);
	assert_int_equal(json_length(list), 450);
	for (size_t i = 0; i < 450; i++)
		assert_int_equal(json_integer(json_get(json_at(list, i), "seq")), i + 2);
	json_free(&list);
}

static void list_refuses_what_is_no_state_or_number(void **state)
{
	struct cli_world *w = *state;
	EXPECT(w, CLI_USAGE, "edit", "list", "--state", "done");
	cli_expect_err(w, "--state done: may be ");
	cli_expect_err(w, "served");
	EXPECT(w, CLI_USAGE, "edit", "list", "--limit", "0");
	EXPECT(w, CLI_USAGE, "edit", "list", "--from", "99999999999999999999");
	cli_expect_err(w, "--from");
}

static void an_edit_is_found_by_number_and_beginning(void **state)
{
	struct cli_world *w = *state;
	EXPECT(w, CLI_OK, "edit", "add", "--id", "alpha-1", "--prompt", "Who leads Alpha?", "--target", "Ada");
	EXPECT(w, CLI_OK, "edit", "add", "--id", "alpha-2", "--prompt", "Who leads Alpha Two?", "--target", "Bob");
	EXPECT(w, CLI_OK, "edit", "add", "--id", "2", "--prompt", "Who leads Beta?", "--target", "Cy");
	EXPECT(w, CLI_OK, "edit", "show", "3", "-o", "name");
	assert_string_equal(cli_out(w), "alpha-2\n");
	EXPECT(w, CLI_OK, "edit", "show", "2", "-o", "name"); /* an id comes before a number */
	assert_string_equal(cli_out(w), "2\n");
	EXPECT(w, CLI_CONFLICT, "edit", "show", "alph");
	cli_expect_err(w, "alpha-1 and alpha-2");
	EXPECT(w, CLI_OK, "edit", "show", "alpha-2", "-o", "name");
	EXPECT(w, CLI_NOT_FOUND, "edit", "show", "alp"); /* too short to be meant */
	EXPECT(w, CLI_NOT_FOUND, "edit", "show", "99");
	EXPECT(w, CLI_OK, "edit", "add", "--id", "gamma-77", "--prompt", "Who leads Gamma?", "--target", "Di");
	EXPECT(w, CLI_OK, "edit", "show", "gamm", "-o", "json");
	struct json *shown = cli_json(w);
	assert_string_equal(json_string(json_get(shown, "id"), NULL), "gamma-77");
	assert_string_equal(json_string(json_get(json_get(shown, "record"), "target_new"), NULL), "Di");
	json_free(&shown);
}

static void a_list_shows_what_is_edited(void **state)
{
	struct cli_world *w = *state;
	EXPECT(w, CLI_OK, "edit", "add", "--id", "a", "--target", "Ada", "--prompt",
	       "Who is said to have led the Example Corporation of Somewhere?");
	EXPECT(w, CLI_OK, "edit", "list");
	cli_expect_out(w, "  Who is said to have led the Example Cor\xE2\x80\xA6  Ada ");
	EXPECT(w, CLI_OK, "edit", "list", "-o", "wide");
	cli_expect_out(w, "  Who is said to have led the Example Corporation of Somewhere?  Ada ");
	EXPECT(w, CLI_OK, "edit", "list", "-o", "json");
	struct json *list = cli_json(w);
	assert_string_equal(json_string(json_get(json_get(json_at(list, 0), "record"), "target_new"), NULL), "Ada");
	json_free(&list);
}

/* Columns as a terminal has them, and an end of each cell with -o wide too. */
static void a_list_keeps_its_columns(void **state)
{
	struct cli_world *w = *state;
	char target[600];
	memset(target, 'x', sizeof target);
	target[sizeof target - 1] = '\0';
	EXPECT(w, CLI_OK, "edit", "add", "--id", "a", "--prompt", "What is \xF0\x9F\x8D\x8E?", "--target", target);
	EXPECT(w, CLI_OK, "edit", "add", "--id", "b", "--prompt", "What is ab?", "--target", "t");
	EXPECT(w, CLI_OK, "edit", "list");
	cli_expect_out(w, "  What is \xF0\x9F\x8D\x8E?  xxx");
	cli_expect_out(w, "  What is ab?  t ");
	EXPECT(w, CLI_OK, "edit", "list", "-o", "wide");
	target[199] = '\0';
	assert_null(strstr(cli_out(w), "\xE2\x80\xA6x"));
	const char *at = strstr(cli_out(w), target);
	assert_non_null(at);
	assert_memory_equal(at + 199, "\xE2\x80\xA6", 3);
}

static void an_unknown_edit_is_not_found(void **state)
{
	struct cli_world *w = *state;
	EXPECT(w, CLI_NOT_FOUND, "edit", "show", "nobody");
	cli_expect_err(w, "no edit has the id \"nobody\"; `amend edit list` shows them all");
	EXPECT(w, CLI_NOT_FOUND, "edit", "wait", "nobody");
	assert_string_equal(cli_out(w), "");
}

static void serve(struct cli_world *w)
{
	if (w->pauses == 3)
		cli_fleet_work(w, 1);
}

static void a_wait_ends_when_all_is_served(void **state)
{
	struct cli_world *w = *state;
	cli_fleet_join(w);
	facts_add(w, 2);
	w->on_pause = serve;
	EXPECT(w, CLI_OK, "edit", "wait");
	assert_string_equal(cli_out(w), "2 served, 0 waiting, 0 ended otherwise (superseded, failed, …)\n");
	assert_true(w->pauses >= 3);
	EXPECT(w, CLI_OK, "edit", "wait", "-q", "-o", "json"); /* nothing is left to wait for */
	assert_string_equal(cli_out(w),
			    "{\"served\":2,\"waiting\":0,\"ended_otherwise\":0,\"scheduled\":0,\"lost\":0}\n");
	assert_string_equal(cli_err(w), "");
	assert_int_equal(w->pauses, 0);
}

static void one_edit_is_waited_for(void **state)
{
	struct cli_world *w = *state;
	cli_fleet_join(w);
	w->on_pause = serve;
	EXPECT(w, CLI_OK, "edit", "add", "--id", "e1", "--prompt", "Who leads Example Corp?", "--target", "Ada",
	       "--wait");
	assert_string_equal(cli_out(w), "accepted e1 as seq 3\ne1 is served as v1\n");
	EXPECT(w, CLI_OK, "edit", "wait", "e1");
	assert_string_equal(cli_out(w), "e1 is served as v1\n");
	EXPECT(w, CLI_OK, "edit", "add", "--id", "e2", "--prompt", "Who leads Example Corp?", "--target", "Bob");
	EXPECT(w, CLI_FAILED, "edit", "wait", "e1");
	cli_expect_err(w, "e1: superseded");
}

/* What is submitted later is none of this wait's business. */
static void add_waits_for_its_own_edit(void **state)
{
	struct cli_world *w = *state;
	cli_fleet_join(w);
	w->on_pause = serve;
	EXPECT(w, CLI_OK, "edit", "add", "--id", "e1", "--prompt", "Who leads?", "--target", "Ada", "--wait");
	w->on_pause = NULL;
	facts_add(w, 2);
	EXPECT(w, CLI_OK, "--timeout", "1", "edit", "add", "--id", "e1", "--prompt", "Who leads?", "--target", "Ada",
	       "--wait");
	cli_expect_out(w, "already there: e1");
	EXPECT(w, CLI_PENDING, "--timeout", "1", "edit", "add", "--id", "e9", "--prompt", "Who?", "--target", "Ada",
	       "--wait");
	cli_expect_err(w, "amend: e9: still placed; `amend edit wait e9` waits on");
}

static void a_wait_that_is_over_says_pending(void **state)
{
	struct cli_world *w = *state;
	facts_add(w, 2);
	EXPECT(w, CLI_OK, "edit", "add", "--id", "e3", "--prompt", "Who?", "--target", "Ada");
	EXPECT(w, CLI_PENDING, "--timeout", "2", "edit", "wait");
	cli_expect_out(w, "0 served, 3 waiting");
	assert_in_range(w->pauses, 10, 25);
	EXPECT(w, CLI_PENDING, "--timeout", "2", "edit", "wait", "e3");
	cli_expect_err(w, "e3: still accepted");
}

/* Each is told apart, those behind a failure too. */
static void every_failure_of_a_wait_is_named(void **state)
{
	struct cli_world *w = *state;
	cli_fleet_join(w);
	EXPECT(w, CLI_OK, "edit", "add", "--id", "k0", "--prompt", "Who leads K?", "--target", "Ada");
	EXPECT(w, CLI_OK, "edit", "add", "--id", "k1", "--prompt", "Who leads L?", "--target", "Bob");
	EXPECT(w, CLI_OK, "edit", "add", "--id", "a", "--prompt", "Who leads M?", "--target", "Cy");
	EXPECT(w, CLI_OK, "edit", "revoke", "k0", "--reason", "test");
	EXPECT(w, CLI_OK, "edit", "revoke", "k1", "--reason", "test");
	w->on_pause = serve;
	EXPECT(w, CLI_FAILED, "edit", "wait", "k0", "k1", "nobody", "a");
	cli_expect_err(w, "amend: k0: revoked: test\n");
	cli_expect_err(w, "amend: k1: revoked: test\n");
	cli_expect_err(w, "no edit has the id \"nobody\"");
	assert_string_equal(cli_out(w), "a is served as v1\n");
}

static void falls_silent(struct cli_world *w)
{
	if (w->pauses != 2)
		return;
	w->deaf = true;
	w->deaf_receives = 2500; /* of 10 ms each */
}

/* A coordinator that is stopped for longer than an answer may take is waited for, to the wait's own end. */
static void a_wait_outlasts_silence(void **state)
{
	struct cli_world *w = *state;
	static const char note[] = " has not answered for 10 s: it is asked again until it does; Ctrl-C stops";
	facts_add(w, 2);
	w->on_pause = falls_silent;
	for (int i = 0; i < 3; i++) {
		w->pauses_to_interrupt = 5;
		if (i == 0)
			EXPECT(w, CLI_INTERRUPTED, "edit", "wait");
		else if (i == 1)
			EXPECT(w, CLI_INTERRUPTED, "edit", "add", "--id", "e3", "--prompt", "Who?", "--target", "Ada",
			       "--wait");
		else
			EXPECT(w, CLI_INTERRUPTED, "edit", "wait", "e3");
		const char *at = strstr(cli_err(w), note);
		assert_non_null(at);
		assert_null(strstr(at + 1, note));
		assert_false(w->deaf);
	}
	w->on_pause = NULL;
	w->deaf = true; /* before the wait has begun */
	EXPECT(w, CLI_UNREACHABLE, "edit", "wait");
	assert_null(strstr(cli_err(w), note));
}

/* It may see its edits, and may not ask for the fleet. */
static void a_submitter_waits_too(void **state)
{
	struct cli_world *w = *state;
	cli_fleet_join(w);
	cli_world_key(w, 5);
	w->on_pause = serve;
	EXPECT(w, CLI_OK, "edit", "add", "--id", "e1", "--prompt", "Who leads?", "--target", "Ada", "--wait");
	cli_expect_out(w, "e1 is served as v1\n");
	w->on_pause = NULL;
	EXPECT(w, CLI_OK, "edit", "wait", "e1");
	EXPECT(w, CLI_OK, "edit", "wait");
}

static void node_fails(struct cli_world *w)
{
	if (w->pauses == 3)
		node_failed(&w->cluster->node, 6, "delta: made for layer 3");
}

static void expect_told_once(struct cli_world *w)
{
	static const char sentence[] = "amend: node cannot load v6 and tries again: delta: made for layer 3; ";
	const char *at = strstr(cli_err(w), sentence);
	assert_non_null(at);
	assert_null(strstr(at + 1, sentence));
}

static void a_wait_tells_of_a_node_that_cannot_load(void **state)
{
	struct cli_world *w = *state;
	cli_fleet_join(w);
	client_facts(w->cluster, 1, 1);
	w->on_pause = node_fails;
	EXPECT(w, CLI_PENDING, "--timeout", "8", "edit", "wait");
	expect_told_once(w);
	EXPECT(w, CLI_PENDING, "--timeout", "4", "edit", "add", "--id", "e9", "--prompt", "Who leads?", "--target",
	       "Ada", "--wait"); /* from the start */
	expect_told_once(w);
}

/* What it could not load before it went away says nothing of what the wait is for. */
static void a_wait_does_not_tell_of_a_node_that_is_lost(void **state)
{
	struct cli_world *w = *state;
	cli_fleet_join(w);
	client_facts(w->cluster, 1, 1);
	node_failed(&w->cluster->node, 6, "delta: made for layer 3");
	cluster_advance(w->cluster, w->cluster->config.lease_ms + 1);
	EXPECT(w, CLI_PENDING, "--timeout", "4", "edit", "wait");
	assert_null(strstr(cli_err(w), "cannot load"));
}

static void an_interrupted_wait_says_what_stands(void **state)
{
	struct cli_world *w = *state;
	facts_add(w, 2);
	EXPECT(w, CLI_OK, "edit", "add", "--id", "e3", "--prompt", "Who?", "--target", "Ada");
	w->pauses_to_interrupt = 2;
	EXPECT(w, CLI_INTERRUPTED, "edit", "wait");
	cli_expect_out(w, "0 served, 3 waiting");
	cli_expect_err(w, "what was accepted is still trained and served");
	w->pauses_to_interrupt = 2;
	EXPECT(w, CLI_INTERRUPTED, "edit", "wait", "e3");
	cli_expect_err(w, "interrupted: e3 is not served yet");
}

static void silence_is_unreachable(void **state)
{
	struct cli_world *w = *state;
	w->deaf = true;
	EXPECT(w, CLI_UNREACHABLE, "--timeout", "0.5", "edit", "list");
	cli_expect_err(w, "did not answer within 500 ms");
	assert_string_equal(cli_out(w), "");
}

int main(void)
{
#define WORLD(f) cmocka_unit_test_setup_teardown(f, cli_setup_cluster, cli_teardown)
	const struct CMUnitTest tests[] = {
		WORLD(an_added_edit_is_accepted_once),
		WORLD(a_record_is_written_whole),
		WORLD(a_subject_has_other_names),
		WORLD(a_prompt_without_its_subject_is_told),
		WORLD(what_an_edit_conflicts_with_is_said),
		WORLD(a_history_is_a_table),
		WORLD(what_add_needs),
		WORLD(a_name_is_escaped),
		WORLD(a_submitter_waits_for_its_own),
		WORLD(a_list_has_every_form),
		WORLD(a_list_of_one_subject),
		WORLD(a_long_list_comes_in_pages),
		WORLD(list_refuses_what_is_no_state_or_number),
		WORLD(an_edit_is_found_by_number_and_beginning),
		WORLD(a_list_shows_what_is_edited),
		WORLD(a_list_keeps_its_columns),
		WORLD(an_unknown_edit_is_not_found),
		WORLD(a_wait_ends_when_all_is_served),
		WORLD(one_edit_is_waited_for),
		WORLD(add_waits_for_its_own_edit),
		WORLD(every_failure_of_a_wait_is_named),
		WORLD(a_wait_outlasts_silence),
		WORLD(a_submitter_waits_too),
		WORLD(a_wait_that_is_over_says_pending),
		WORLD(a_wait_tells_of_a_node_that_cannot_load),
		WORLD(a_wait_does_not_tell_of_a_node_that_is_lost),
		WORLD(an_interrupted_wait_says_what_stands),
		WORLD(silence_is_unreachable),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
