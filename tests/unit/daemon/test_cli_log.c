/* `amend audit log`: of a coordinator that runs, and of a folder. */
#include "tests/lib/cli_fixture.h"

#include "base/json.h"

static size_t entries(struct cli_world *w, const char *what)
{
	struct json *log = cli_json(w);
	size_t count = 0;
	for (size_t i = 0; i < json_length(log); i++)
		count += what == NULL || strcmp(json_string(json_get(json_at(log, i), "what"), NULL), what) == 0;
	json_free(&log);
	return count;
}

/* The `member` of the only entry of that kind; "": there is none. */
static void told(struct cli_world *w, const char *what, const char *member, char out[256])
{
	struct json *log = cli_json(w);
	out[0] = '\0';
	for (size_t i = 0; i < json_length(log); i++) {
		const struct json *entry = json_at(log, i);
		const char *text = json_string(json_get(entry, member), NULL);
		if (strcmp(json_string(json_get(entry, "what"), NULL), what) == 0)
			snprintf(out, 256, "%s", text != NULL ? text : "");
	}
	json_free(&log);
}

/* Two facts of the client, one superseded by the submitter, the other revoked by the administrator. */
static void story(struct cli_world *w)
{
	cluster_keys(w->cluster);
	cli_fleet_join(w);
	EXPECT(w, CLI_OK, "edit", "add", "--id", "e1", "--subject", "Lake Q", "--prompt", "How deep is Lake Q?",
	       "--target", "4", "--ticket", "KM-1");
	EXPECT(w, CLI_OK, "edit", "add", "--id", "e2", "--prompt", "Who leads Example Corp?", "--target", "Ada");
	cli_fleet_work(w, 1);
	cli_world_key(w, 5);
	EXPECT(w, CLI_OK, "edit", "add", "--id", "e3", "--subject", "Lake Q", "--prompt", "How deep is Lake Q?",
	       "--target", "5");
	cli_world_key(w, 6);
	EXPECT(w, CLI_OK, "edit", "revoke", "e2", "--reason", "she has left");
	EXPECT(w, CLI_OK, "version", "rollback", "v1", "--reason", "a second thought");
	EXPECT(w, CLI_OK, "version", "resume");
}

static void who_changed_what_and_why(void **state)
{
	struct cli_world *w = *state;
	char text[256];
	story(w);
	EXPECT(w, CLI_OK, "audit", "log", "-o", "json");
	assert_int_equal(entries(w, "accepted"), 3);
	told(w, "superseded", "edit", text);
	assert_string_equal(text, "e1");
	told(w, "revoked", "reason", text);
	assert_string_equal(text, "she has left");
	told(w, "rolled back", "reason", text);
	assert_string_equal(text, "a second thought");
	assert_int_equal(entries(w, "publishing resumed"), 1);
	assert_int_equal(entries(w, "cluster begun"), 1);
	assert_int_equal(entries(w, "key allow"), 6);
	EXPECT(w, CLI_OK, "audit", "log");
	cli_expect_out(w, "superseded");
	cli_expect_out(w, "submitter 0505050505050505");
	cli_expect_out(w, "How deep is Lake Q? -> 4, KM-1");
	EXPECT(w, CLI_OK, "audit", "log", "-o", "jsonl", "--limit", "1");
	cli_expect_out(w, "\"what\":\"published\",\"about\":\"v4\"");
	assert_null(strstr(cli_out(w), "accepted"));
}

static void it_is_narrowed(void **state)
{
	struct cli_world *w = *state;
	char time[ENV_TIME_BYTES];
	story(w);
	EXPECT(w, CLI_OK, "audit", "log", "-o", "json", "--subject", "lake q");
	assert_int_equal(entries(w, NULL), 3); /* two accepted, one superseded */
	EXPECT(w, CLI_OK, "audit", "log", "-o", "json", "--subject", "example corp");
	assert_int_equal(entries(w, "accepted"), 1);
	assert_int_equal(entries(w, "revoked"), 1);
	assert_int_equal(entries(w, "revocation"), 1);
	EXPECT(w, CLI_OK, "audit", "log", "-o", "json", "--actor", "submitter");
	assert_int_equal(entries(w, NULL), 2);
	EXPECT(w, CLI_OK, "audit", "log", "-o", "json", "--actor", "06060606");
	assert_int_equal(entries(w, "rolled back"), 1);
	assert_int_equal(entries(w, "accepted"), 0);
	env_time_format(env_wall_ms(&w->cluster->clock.env) + 1000, time);
	EXPECT(w, CLI_OK, "audit", "log", "-o", "json", "--since", time);
	assert_int_equal(entries(w, NULL), 0);
	EXPECT(w, CLI_OK, "audit", "log", "-o", "json", "--until", time, "--limit", "2");
	assert_int_equal(entries(w, NULL), 2);
	EXPECT(w, CLI_USAGE, "audit", "log", "--since", "yesterday");
	cli_expect_err(w, "--since");
}

static void it_takes_an_auditors_key_or_a_folder(void **state)
{
	struct cli_world *w = *state;
	struct buf live = BUF_INIT;
	char store[TEST_PATH_BYTES];
	story(w);
	EXPECT(w, CLI_OK, "audit", "log", "-o", "json");
	buf_puts(&live, cli_out(w));
	cli_world_key(w, 5);
	EXPECT(w, CLI_DENIED, "audit", "log");
	test_path(store, w->cluster->folder, "store");
	EXPECT(w, CLI_FAILED, "audit", "log", store);
	cli_expect_err(w, "in use by process");
	cluster_stop(w->cluster);
	EXPECT(w, CLI_OK, "audit", "log", store, "-o", "json");
	assert_string_equal(cli_out(w), buf_cstr(&live));
	EXPECT(w, CLI_NOT_FOUND, "audit", "log", "/nowhere");
	buf_free(&live);
}

#define WORLD(f) cmocka_unit_test_setup_teardown(f, cli_setup_cluster, cli_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD(who_changed_what_and_why),
		WORLD(it_is_narrowed),
		WORLD(it_takes_an_auditors_key_or_a_folder),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
