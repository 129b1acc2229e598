/* Keys, configuration files. */
#include "tests/lib/cli_fixture.h"

#include <sys/stat.h>

static const char *path_of(struct cli_world *w, const char *name)
{
	static char path[TEST_PATH_BYTES];
	test_path(path, w->folder, name);
	return path;
}

static void a_key_is_made_once(void **state)
{
	struct cli_world *w = *state;
	struct proto_keypair pair;
	struct err e = ERR_INIT;
	struct stat st;
	char hex[65], public[66];
	const char *path = path_of(w, "a.key");
	EXPECT(w, CLI_OK, "key", "new", path);
	assert_ok(&e, proto_keypair_load(path, &pair, &e));
	proto_key_hex(pair.public_key, hex);
	snprintf(public, sizeof public, "%s\n", hex);
	assert_string_equal(cli_out(w), public);
	cli_expect_err(w, "allow list (");
	cli_expect_err(w, "/keys/allow after `amend up`");
	cli_expect_err(w, "ROLES are submitter, reader (a node too), worker, auditor, admin");
	cli_expect_err(w, "`amend key allow ");
	proto_key_hex(pair.secret_key, hex);
	assert_null(strstr(cli_err(w), hex));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	EXPECT(w, CLI_CONFLICT, "key", "new", path); /* never over another */
	cli_expect_err(w, path);
	assert_string_equal(cli_out(w), "");
}

static void a_key_for_scripts(void **state)
{
	struct cli_world *w = *state;
	const char *path = path_of(w, "b.key");
	EXPECT(w, CLI_OK, "-q", "key", "new", path, "-o", "json");
	assert_string_equal(cli_err(w), "");
	struct json *key = cli_json(w);
	assert_string_equal(json_string(json_get(key, "file"), NULL), path);
	assert_int_equal(strlen(json_string(json_get(key, "public"), NULL)), 64);
	json_free(&key);
}

static void the_sample_passes_the_check(void **state)
{
	struct cli_world *w = *state;
	const char *path = path_of(w, "sample.yaml");
	EXPECT(w, CLI_OK, "config", "sample");
	test_file_write(path, cli_out(w));
	EXPECT(w, CLI_OK, "config", "check", path);
	cli_expect_out(w, ": fine\n");
	EXPECT(w, CLI_OK, "config", "check", "-q", path);
	assert_string_equal(cli_out(w), "");
}

static void a_wrong_setting_is_named(void **state)
{
	struct cli_world *w = *state;
	const char *path = path_of(w, "wrong.yaml");
	test_file_write(path, "lease:\n  ms: 50000000\n");
	EXPECT(w, CLI_FAILED, "config", "check", path);
	cli_expect_err(w, path);
	cli_expect_err(w, "lease.ms");
	cli_expect_err(w, "600000");
	test_file_write(path, "lease:\n  mss: 5\n");
	EXPECT(w, CLI_FAILED, "config", "check", path);
	cli_expect_err(w, "mss");
	test_file_write(path, "lease: [1, 2\n");
	EXPECT(w, CLI_FAILED, "config", "check", path);
	EXPECT(w, CLI_NOT_FOUND, "config", "check", "/nonexistent/amend.yaml");
	EXPECT(w, CLI_USAGE, "config", "check");
}

static void view_shows_what_the_file_says(void **state)
{
	struct cli_world *w = *state;
	const char *path = path_of(w, "mine.yaml");
	test_file_write(path, "lease:\n  ms: 1234\n");
	EXPECT(w, CLI_OK, "config", "view", path);
	cli_expect_out(w, "  ms: 1234\n");
	cli_expect_out(w, "  heartbeat_ms: 1000\n"); /* and the defaults */
	EXPECT(w, CLI_OK, "config", "view", path, "-o", "json");
	struct json *view = cli_json(w);
	assert_int_equal(json_integer(json_get(json_get(view, "lease"), "ms")), 1234);
	assert_string_equal(json_string(json_get(json_get(view, "node"), "set"), NULL), "auto");
	json_free(&view);
}

int main(void)
{
#define PLAIN(f) cmocka_unit_test_setup_teardown(f, cli_setup_plain, cli_teardown)
	const struct CMUnitTest tests[] = {
		PLAIN(a_key_is_made_once),
		PLAIN(a_key_for_scripts),
		PLAIN(the_sample_passes_the_check),
		PLAIN(a_wrong_setting_is_named),
		PLAIN(view_shows_what_the_file_says),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
