/* `amend key list|allow|revoke|rotate` against a real coordinator. */
#include "tests/lib/cli_fixture.h"

#include <unistd.h>

static int setup_keys(void **state)
{
	if (cli_setup_cluster(state) != 0)
		return -1;
	struct cli_world *w = *state;
	cluster_keys(w->cluster);
	assert_ok(&w->cluster->e, file_make_folder(w->folder, &w->cluster->e));
	return 0;
}

static const char *path_of(struct cli_world *w, const char *name)
{
	static char path[TEST_PATH_BYTES];
	test_path(path, w->folder, name);
	return path;
}

static void the_list_has_names_and_roles(void **state)
{
	struct cli_world *w = *state;
	EXPECT(w, CLI_OK, "key", "list");
	cli_expect_out(w, "NAME       ROLES                   KEY\n");
	cli_expect_out(w, "client     submitter+reader+admin  0404040404");
	EXPECT(w, CLI_OK, "key", "list", "-o", "name");
	assert_string_equal(cli_out(w), "worker\nworker2\nnode\nclient\nsubmitter\nadmin\n");
	EXPECT(w, CLI_OK, "key", "list", "-o", "json");
	struct json *list = cli_json(w);
	assert_int_equal(json_length(list), 6);
	assert_string_equal(json_string(json_get(json_at(list, 2), "roles"), NULL), "reader");
	json_free(&list);
}

static void only_administrators_may(void **state)
{
	struct cli_world *w = *state;
	const char *key = "0909090909090909090909090909090909090909090909090909090909090909";
	for (uint8_t byte = 1; byte <= 5; byte++) {
		if (byte == 4)
			continue;
		cli_world_key(w, byte);
		EXPECT(w, CLI_DENIED, "key", "list");
		EXPECT(w, CLI_DENIED, "key", "allow", key, "--roles", "reader", "--name", "n");
		EXPECT(w, CLI_DENIED, "key", "revoke", "node");
	}
}

static void a_key_is_allowed_changed_and_revoked(void **state)
{
	struct cli_world *w = *state;
	const char *key = "0909090909090909090909090909090909090909090909090909090909090909";
	EXPECT(w, CLI_USAGE, "key", "allow", key);
	EXPECT(w, CLI_USAGE, "key", "allow", key, "--roles", "king", "--name", "n");
	EXPECT(w, CLI_NOT_FOUND, "key", "allow", "nowhere.key", "--roles", "reader", "--name", "n");
	EXPECT(w, CLI_OK, "key", "allow", key, "--roles", "reader", "--name", "n", "--reason", "a new node");
	assert_string_equal(cli_out(w), "allowed n (090909090909…)\n");
	EXPECT(w, CLI_OK, "key", "allow", key, "--roles", "reader", "--name", "n");
	cli_expect_out(w, "it was so before");
	EXPECT(w, CLI_OK, "key", "revoke", "09090909", "-o", "json");
	struct json *done = cli_json(w);
	assert_string_equal(json_string(json_get(done, "key"), NULL), key);
	json_free(&done);
	EXPECT(w, CLI_OK, "key", "revoke", "n");
	cli_expect_out(w, "it was so before");
	EXPECT(w, CLI_NOT_FOUND, "key", "revoke", "0909"); /* too few digits to name a key */
	EXPECT(w, CLI_CONFLICT, "key", "revoke", "client");
	cli_expect_err(w, "the key that you ask with");
	EXPECT(w, CLI_OK, "key", "allow", key, "--roles", "reader", "--name", "node");
	EXPECT(w, CLI_CONFLICT, "key", "revoke", "node");
	cli_expect_err(w, "2 keys have the name node");
	EXPECT(w, CLI_OK, "key", "list");
	cli_expect_out(w, "node");
}

static void public_of(const char *path, char hex[65])
{
	struct proto_keypair pair;
	struct err e = ERR_INIT;
	assert_ok(&e, proto_keypair_load(path, &pair, &e));
	proto_key_hex(pair.public_key, hex);
	proto_keypair_wipe(&pair);
}

static unsigned roles_of(struct cli_world *w, const char *hex, const char **name)
{
	uint8_t key[PROTO_KEY_BYTES];
	assert_int_equal(proto_key_parse(hex, key), 0);
	return proto_allow_roles(w->cluster->allow, key, name);
}

static void a_file_gets_another_pair(void **state)
{
	struct cli_world *w = *state;
	char path[TEST_PATH_BYTES], old[65], fresh[65];
	const char *name;
	test_path(path, w->folder, "w.key");
	EXPECT(w, CLI_OK, "key", "new", path);
	public_of(path, old);
	EXPECT(w, CLI_NOT_FOUND, "key", "rotate", path); /* nobody has allowed it */
	EXPECT(w, CLI_OK, "key", "allow", path, "--roles", "worker+reader", "--name", "w");
	EXPECT(w, CLI_OK, "key", "rotate", path);
	public_of(path, fresh);
	assert_string_not_equal(old, fresh);
	assert_int_equal(roles_of(w, old, &name), 0);
	assert_int_equal(roles_of(w, fresh, &name), PROTO_ROLE_WORKER | PROTO_ROLE_READER);
	assert_string_equal(name, "w");
	assert_int_not_equal(access(path_of(w, "w.key.next"), F_OK), 0);
	assert_int_not_equal(access(path_of(w, "w.key.last"), F_OK), 0);
	EXPECT(w, CLI_OK, "key", "rotate", path, "--keep-old");
	assert_int_not_equal(roles_of(w, fresh, &name), 0);
}

/* It is done again after each step at which it may have been interrupted. */
static void an_interrupted_rotation_goes_on(void **state)
{
	struct cli_world *w = *state;
	char path[TEST_PATH_BYTES], next[TEST_PATH_BYTES], last[TEST_PATH_BYTES], old[65], fresh[65], now[65];
	const char *name;
	test_path(path, w->folder, "w.key");
	test_path(next, w->folder, "w.key.next");
	test_path(last, w->folder, "w.key.last");
	for (int step = 0; step < 4; step++) {
		unlink(path);
		EXPECT(w, CLI_OK, "key", "new", path);
		EXPECT(w, CLI_OK, "key", "new", next);
		public_of(path, old);
		public_of(next, fresh);
		EXPECT(w, CLI_OK, "key", "allow", path, "--roles", "worker", "--name", "w");
		if (step >= 1)
			assert_int_equal(link(path, last), 0);
		if (step >= 2)
			assert_int_equal(rename(next, path), 0);
		if (step >= 3) {
			EXPECT(w, CLI_OK, "key", "allow", path, "--roles", "worker", "--name", "w");
			EXPECT(w, CLI_OK, "key", "revoke", old);
		}
		EXPECT(w, CLI_OK, "key", "rotate", path);
		public_of(path, now);
		assert_string_equal(now, fresh);
		assert_int_equal(roles_of(w, old, &name), 0);
		assert_int_equal(roles_of(w, now, &name), PROTO_ROLE_WORKER);
		assert_int_not_equal(access(last, F_OK), 0);
	}
	EXPECT(w, CLI_OK, "key", "rotate", path); /* and nothing stands in the way of the next one */
}

int main(void)
{
#define KEYS(f) cmocka_unit_test_setup_teardown(f, setup_keys, cli_teardown)
	const struct CMUnitTest tests[] = {
		KEYS(the_list_has_names_and_roles),         KEYS(only_administrators_may),
		KEYS(a_key_is_allowed_changed_and_revoked), KEYS(a_file_gets_another_pair),
		KEYS(an_interrupted_rotation_goes_on),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
