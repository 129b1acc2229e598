/* `amend edit revoke` against a real coordinator. */
#include "tests/lib/cli_fixture.h"

static void what_revoke_needs(void **state)
{
	struct cli_world *w = *state;
	EXPECT(w, CLI_USAGE, "edit", "revoke", "--reason", "x");
	cli_expect_err(w, "give an ID, or --group NAME");
	EXPECT(w, CLI_USAGE, "edit", "revoke", "a", "--group", "g", "--reason", "x");
	EXPECT(w, CLI_USAGE, "edit", "revoke", "a");
	cli_expect_err(w, "--reason");
	EXPECT(w, CLI_NOT_FOUND, "edit", "revoke", "nobody", "--reason", "x");
	EXPECT(w, CLI_NOT_FOUND, "edit", "revoke", "--group", "nobody", "--reason", "x");
	cli_world_key(w, 5); /* a submitter's: not even its own */
	EXPECT(w, CLI_OK, "edit", "add", "--id", "e1", "--prompt", "Who leads Q?", "--target", "Ada");
	EXPECT(w, CLI_DENIED, "edit", "revoke", "e1", "--reason", "x");
}

static void a_served_edit_is_revoked(void **state)
{
	struct cli_world *w = *state;
	cli_fleet_join(w);
	EXPECT(w, CLI_OK, "edit", "add", "--id", "e1", "--prompt", "Who leads Q?", "--subject", "Q", "--target", "Ada");
	cli_fleet_work(w, 1);
	EXPECT(w, CLI_OK, "edit", "revoke", "e1", "--reason", "the source was withdrawn");
	assert_string_equal(cli_out(w), "revoked 1 edit, gone from v2 on; the shard is trained anew without it\n");
	EXPECT(w, CLI_OK, "edit", "revoke", "e1", "--reason", "again");
	assert_string_equal(cli_out(w), "revoked before: nothing has changed\n");
	EXPECT(w, CLI_OK, "edit", "show", "e1", "-o", "json");
	struct json *shown = cli_json(w);
	assert_string_equal(json_string(json_get(shown, "state"), NULL), "revoked");
	const struct json *history = json_get(shown, "history");
	assert_int_equal(json_length(history), 4);
	const struct json *end = json_at(history, 3);
	assert_string_equal(json_string(json_get(end, "what"), NULL), "revoked");
	assert_string_equal(json_string(json_get(end, "text"), NULL), "the source was withdrawn");
	assert_memory_equal(json_string(json_get(end, "by"), NULL), "0404", 4);
	json_free(&shown);
	EXPECT(w, CLI_FAILED, "edit", "wait", "e1");
	cli_expect_err(w, "revoked");
}

static void a_superseded_one_comes_back(void **state)
{
	struct cli_world *w = *state;
	EXPECT(w, CLI_OK, "edit", "add", "--id", "old", "--prompt", "Who leads Q?", "--subject", "Q", "--target",
	       "Ada");
	EXPECT(w, CLI_OK, "edit", "add", "--id", "new", "--prompt", "Who leads Q?", "--subject", "Q", "--target",
	       "Bob");
	EXPECT(w, CLI_CONFLICT, "edit", "revoke", "old", "--reason", "x");
	cli_expect_err(w, "superseded by edit new");
	EXPECT(w, CLI_OK, "edit", "revoke", "new", "--reason", "x", "--restore-superseded", "-o", "json");
	struct json *result = cli_json(w);
	assert_int_equal(json_integer(json_get(result, "revoked")), 1);
	assert_int_equal(json_integer(json_get(result, "restored")), 1);
	const struct json *ids = json_get(result, "restored_ids");
	assert_int_equal(json_length(ids), 1);
	assert_string_equal(json_string(json_at(ids, 0), NULL), "old~2");
	assert_int_equal(json_type(json_get(result, "version")), JSON_NULL);
	json_free(&result);
	EXPECT(w, CLI_OK, "edit", "show", "old~2");
	cli_expect_out(w, "brings back edit old");
	EXPECT(w, CLI_OK, "edit", "add", "--id", "newer", "--prompt", "Who leads Q?", "--subject", "Q", "--target",
	       "Cid");
	EXPECT(w, CLI_OK, "edit", "revoke", "newer", "--reason", "x", "--restore-superseded");
	cli_expect_out(w, "; 1 superseded edit was submitted again as old~3\n");
	EXPECT(w, CLI_PENDING, "edit", "wait", "old~3", "--timeout", "0.05");
	EXPECT(w, CLI_OK, "edit", "revoke", "old~3", "--reason", "x", "--restore-superseded", "-o", "json");
	cli_expect_out(w, "\"restored_ids\":[]");
}

static void times_are_told(void **state)
{
	struct cli_world *w = *state;
	EXPECT(w, CLI_OK, "edit", "add", "--id", "later", "--prompt", "Who leads Q?", "--target", "Ada", "--valid-from",
	       "2099-01-01T00:00:00Z", "--expires", "2099-02-01T00:00:00Z", "--group", "g");
	EXPECT(w, CLI_FAILED, "edit", "add", "--prompt", "Who?", "--target", "Ada", "--expires",
	       "2001-01-01T00:00:00Z");
	cli_expect_err(w, "expires: lies in the past");
	EXPECT(w, CLI_OK, "edit", "list", "--state", "scheduled", "-o", "name");
	assert_string_equal(cli_out(w), "later\n");
	EXPECT(w, CLI_PENDING, "edit", "wait", "later");
	cli_expect_err(w, "it begins at 2099-01-01T00:00:00");
	EXPECT(w, CLI_OK, "edit", "wait");
	cli_expect_out(w, ", 1 scheduled\n");
	EXPECT(w, CLI_OK, "edit", "show", "later");
	cli_expect_out(w, "begins at 2099-01-01");
	EXPECT(w, CLI_OK, "edit", "revoke", "--group", "g", "--reason", "x");
}

int main(void)
{
#define WORLD(f) cmocka_unit_test_setup_teardown(f, cli_setup_cluster, cli_teardown)
	const struct CMUnitTest tests[] = {
		WORLD(what_revoke_needs),
		WORLD(a_served_edit_is_revoked),
		WORLD(a_superseded_one_comes_back),
		WORLD(times_are_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
