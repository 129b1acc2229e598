#include "tests/lib/test.h"

#include "base/fault.h"
#include "proto/keys.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char hex_a[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
static const char hex_b[] = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

static void a_pair_is_saved_and_loaded(void **state)
{
	char path[TEST_PATH_BYTES];
	struct err e = ERR_INIT;
	struct proto_keypair pair, back, other;
	struct stat st;
	test_path(path, *state, "key");
	assert_ok(&e, proto_keypair_new(&pair, &e));
	assert_ok(&e, proto_keypair_new(&other, &e));
	assert_memory_not_equal(pair.secret_key, other.secret_key, 32);
	assert_ok(&e, proto_keypair_save(&pair, path, &e));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_ok(&e, proto_keypair_load(path, &back, &e));
	assert_memory_equal(&pair, &back, sizeof(pair));
	assert_int_equal(proto_keypair_save(&other, path, &e), ERR_EXISTS);
	assert_ok(&e, proto_keypair_load(path, &back, &e));
	assert_memory_equal(&pair, &back, sizeof(pair)); /* as it was */
	proto_keypair_wipe(&pair);
	for (size_t i = 0; i < sizeof(pair); i++)
		assert_int_equal(((uint8_t *)&pair)[i], 0);
}

static void a_key_that_others_can_read_is_refused(void **state)
{
	char path[TEST_PATH_BYTES];
	struct err e = ERR_INIT;
	struct proto_keypair pair;
	test_path(path, *state, "key");
	assert_ok(&e, proto_keypair_new(&pair, &e));
	assert_ok(&e, proto_keypair_save(&pair, path, &e));
	static const mode_t modes[] = { 0640, 0604, 0660, 0644, 0610 };
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		assert_int_equal(chmod(path, modes[i]), 0);
		assert_int_equal(proto_keypair_load(path, &pair, &e), ERR_DENIED);
		assert_non_null(strstr(e.text, "chmod 600"));
		assert_non_null(strstr(e.text, path));
	}
	assert_int_equal(chmod(path, 0400), 0);
	assert_ok(&e, proto_keypair_load(path, &pair, &e));
}

static int load_text(void *folder, const char *text)
{
	char path[TEST_PATH_BYTES];
	struct err e = ERR_INIT;
	struct proto_keypair pair;
	test_path(path, folder, "bad");
	test_file_write(path, text);
	assert_int_equal(chmod(path, 0600), 0);
	int rc = proto_keypair_load(path, &pair, &e);
	assert_true(rc == 0 || strstr(e.text, "restore it from a copy") != NULL);
	return rc;
}

static void broken_key_files_are_refused(void **state)
{
	char text[300], public_hex[65], secret_hex[65];
	struct proto_keypair pair;
	assert_int_equal(proto_keypair_new(&pair, NULL), 0);
	proto_key_hex(pair.public_key, public_hex);
	proto_key_hex(pair.secret_key, secret_hex);
	assert_int_equal(load_text(*state, ""), ERR_INVALID);
	assert_int_equal(load_text(*state, "public abc\nsecret def\n"), ERR_INVALID);
	snprintf(text, sizeof(text), "public %s\n", public_hex);
	assert_int_equal(load_text(*state, text), ERR_INVALID);
	snprintf(text, sizeof(text), "secret %s\npublic %s\n", secret_hex, public_hex);
	assert_int_equal(load_text(*state, text), ERR_INVALID);
	snprintf(text, sizeof(text), "public %s\nsecret %s\n", hex_a, secret_hex);
	assert_int_equal(load_text(*state, text), ERR_CORRUPT);
	snprintf(text, sizeof(text), "public %s\nsecret %s\n", public_hex, secret_hex);
	assert_int_equal(load_text(*state, text), 0);
	char path[TEST_PATH_BYTES];
	test_path(path, *state, "none");
	assert_int_equal(proto_keypair_load(path, &pair, NULL), ERR_NOT_FOUND);
	assert_int_equal(proto_keypair_load(*state, &pair, NULL),
			 ERR_INVALID); /* a folder is readable by none or not a file */
}

static void half_a_key_is_not_left_behind(void **state)
{
	char path[TEST_PATH_BYTES];
	struct proto_keypair pair;
	test_path(path, *state, "key");
	assert_int_equal(proto_keypair_new(&pair, NULL), 0);
	assert_int_equal(fault_arm("base.file.new=errno@1", NULL), 0);
	assert_int_equal(proto_keypair_save(&pair, path, NULL), ERR_FAULT);
	fault_disarm_all();
	assert_int_not_equal(access(path, F_OK), 0);
	assert_int_equal(proto_keypair_save(&pair, path, NULL), 0);
}

#define MASK 0x5a

/* Places of this process's writable memory that hold the bytes; they are given masked, so as not to be one themselves.
 */
static size_t memory_holds(const uint8_t *masked, size_t count)
{
	size_t found = 0;
	char line[512], mode[5];
	unsigned long from, to;
	FILE *maps = fopen("/proc/self/maps", "r");
	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps) != NULL) {
		if (sscanf(line, "%lx-%lx %4s", &from, &to, mode) != 3 || strncmp(mode, "rw", 2) != 0 ||
		    strstr(line, "[vvar") != NULL)
			continue;
		const volatile uint8_t *at = (const volatile uint8_t *)from;
		for (size_t i = 0; i + count <= to - from; i++) {
			size_t same = 0;
			while (same < count && (at[i + same] ^ MASK) == masked[same])
				same++;
			found += same == count;
		}
	}
	fclose(maps);
	return found;
}

static void mask(const void *bytes, uint8_t *out, size_t count)
{
	for (size_t i = 0; i < count; i++)
		out[i] = ((const uint8_t *)bytes)[i] ^ MASK;
}

static __attribute__((noinline)) void secret_use(const char *path, uint8_t masked[32], uint8_t masked_hex[64])
{
	struct proto_keypair pair;
	struct err e = ERR_INIT;
	char hex[65];
	assert_ok(&e, proto_keypair_new(&pair, &e));
	mask(pair.secret_key, masked, 32);
	proto_key_hex(pair.secret_key, hex);
	mask(hex, masked_hex, 64);
	memset(hex, 0, sizeof(hex));
	__asm__ volatile("" : : "r"(hex) : "memory");
	assert_true(memory_holds(masked, 32) > 0); /* the search finds it */
	assert_ok(&e, proto_keypair_save(&pair, path, &e));
	proto_keypair_wipe(&pair);
	assert_ok(&e, proto_keypair_load(path, &pair, &e));
	proto_keypair_wipe(&pair);
}

static void no_secret_is_left_in_memory(void **state)
{
	char path[TEST_PATH_BYTES];
	uint8_t masked[32], masked_hex[64];
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	skip(); /* most of what it maps as writable is no memory */
#endif
	test_path(path, *state, "w.key");
	secret_use(path, masked, masked_hex);
	assert_int_equal(memory_holds(masked, 32), 0);
	assert_int_equal(memory_holds(masked_hex, 64), 0);
}

static void keys_as_hex(void **state)
{
	(void)state;
	uint8_t key[PROTO_KEY_BYTES];
	char hex[65];
	assert_int_equal(proto_key_parse(hex_a, key), 0);
	proto_key_hex(key, hex);
	assert_string_equal(hex, hex_a);
	assert_int_equal(proto_key_parse("", key), ERR_INVALID);
	assert_int_equal(proto_key_parse("aa", key), ERR_INVALID);
	memcpy(hex, hex_a, 65);
	hex[63] = 'g';
	assert_int_equal(proto_key_parse(hex, key), ERR_INVALID);
}

static void roles_as_text(void **state)
{
	(void)state;
	unsigned roles = 0;
	char text[64];
	assert_int_equal(proto_roles_parse("worker", &roles), 0);
	assert_int_equal(roles, PROTO_ROLE_WORKER);
	assert_int_equal(proto_roles_parse("admin+reader+submitter", &roles), 0);
	assert_int_equal(roles, PROTO_ROLE_ADMIN | PROTO_ROLE_READER | PROTO_ROLE_SUBMITTER);
	proto_roles_format(roles, text, sizeof(text));
	assert_string_equal(text, "submitter+reader+admin");
	proto_roles_format(PROTO_ROLE_ALL, text, sizeof(text));
	assert_string_equal(text, "submitter+worker+reader+auditor+admin");
	proto_roles_format(0, text, sizeof(text));
	assert_string_equal(text, "");
	static const char *const bad[] = { "", "+", "worker+", "+worker", "Worker", "root", "worker reader", "worke" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(proto_roles_parse(bad[i], &roles), ERR_INVALID);
}

/* ---- The allow list. */

static void a_list_is_read(void **state)
{
	char path[TEST_PATH_BYTES], text[1000];
	struct err e = ERR_INIT;
	struct proto_allow *allow = NULL;
	uint8_t a[PROTO_KEY_BYTES], b[PROTO_KEY_BYTES], c[PROTO_KEY_BYTES] = { 1 };
	const char *name;
	assert_int_equal(proto_key_parse(hex_a, a), 0);
	assert_int_equal(proto_key_parse(hex_b, b), 0);
	test_path(path, *state, "allow");
	snprintf(text, sizeof(text), "# who may come in\n\n  %s worker w0\r\n%s\tsubmitter+admin\tops", hex_b, hex_a);
	test_file_write(path, text);
	assert_ok(&e, proto_allow_load(path, &allow, &e));
	assert_int_equal(proto_allow_roles(allow, a, &name), PROTO_ROLE_SUBMITTER | PROTO_ROLE_ADMIN);
	assert_string_equal(name, "ops");
	assert_int_equal(proto_allow_roles(allow, b, &name), PROTO_ROLE_WORKER);
	assert_string_equal(name, "w0");
	assert_int_equal(proto_allow_roles(allow, c, &name), 0);
	assert_null(name);
	assert_int_equal(proto_allow_roles(NULL, a, NULL), 0);
	proto_allow_destroy(&allow);
	assert_null(allow);
	test_file_write(path, "");
	assert_ok(&e, proto_allow_load(path, &allow, &e)); /* nobody */
	assert_int_equal(proto_allow_roles(allow, a, NULL), 0);
	proto_allow_destroy(&allow);
}

static void mistakes_name_their_line(void **state)
{
	static const struct {
		const char *line, *why;
		int code;
	} cases[] = {
		{ "%s", "expected", ERR_INVALID },
		{ "%s worker", "expected", ERR_INVALID },
		{ "%s worker a b", "expected", ERR_INVALID },
		{ "1234 worker a", "64 hex", ERR_INVALID },
		{ "%s boss a", "unknown role", ERR_INVALID },
		{ "%s worker+ a", "unknown role", ERR_INVALID },
		{ "%s worker \x1b[31mred", "name", ERR_INVALID },
		{ "%s worker w0\n%s reader r0", "earlier line", ERR_EXISTS },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char path[TEST_PATH_BYTES], text[1000] = "# one\n\n", where[TEST_PATH_BYTES + 8];
		struct err e = ERR_INIT;
		struct proto_allow *allow = NULL;
		const char *at = cases[i].line, *hex;
		while ((hex = strstr(at, "%s")) != NULL) {
			strncat(text, at, (size_t)(hex - at));
			strcat(text, hex_a);
			at = hex + 2;
		}
		strcat(text, at);
		test_path(path, *state, "allow");
		test_file_write(path, text);
		assert_int_equal(proto_allow_load(path, &allow, &e), cases[i].code);
		snprintf(where, sizeof(where), "%s:%d: ", path, cases[i].code == ERR_EXISTS ? 4 : 3);
		assert_non_null(strstr(e.text, where));
		assert_non_null(strstr(e.text, cases[i].why));
		assert_true(cases[i].code != ERR_INVALID || strstr(e.text, "; mend the line") != NULL);
		assert_null(allow);
	}
}

static void keys_are_added(void **state)
{
	char path[TEST_PATH_BYTES];
	struct err e = ERR_INIT;
	struct proto_allow *allow = NULL;
	uint8_t a[PROTO_KEY_BYTES], b[PROTO_KEY_BYTES];
	assert_int_equal(proto_key_parse(hex_a, a), 0);
	assert_int_equal(proto_key_parse(hex_b, b), 0);
	test_path(path, *state, "allow");
	assert_ok(&e, proto_allow_add(path, a, PROTO_ROLE_WORKER, "w0", &e));
	assert_ok(&e, proto_allow_add(path, b, PROTO_ROLE_ADMIN | PROTO_ROLE_READER, "ops", &e));
	assert_int_equal(proto_allow_add(path, a, PROTO_ROLE_READER, "again", &e), ERR_EXISTS);
	assert_int_equal(proto_allow_add(path, a, 0, "none", &e), ERR_INVALID);
	assert_int_equal(proto_allow_add(path, a, 1u << 9, "none", &e), ERR_INVALID);
	assert_int_equal(proto_allow_add(path, a, PROTO_ROLE_READER, "two words", &e), ERR_INVALID);
	assert_ok(&e, proto_allow_load(path, &allow, &e));
	assert_int_equal(proto_allow_roles(allow, a, NULL), PROTO_ROLE_WORKER);
	assert_int_equal(proto_allow_roles(allow, b, NULL), PROTO_ROLE_ADMIN | PROTO_ROLE_READER);
	proto_allow_destroy(&allow);
}

static void a_list_that_others_can_write_is_refused(void **state)
{
	char path[TEST_PATH_BYTES];
	struct err e = ERR_INIT;
	struct proto_allow *allow = NULL;
	test_path(path, *state, "allow");
	test_file_write(path, "# nobody\n");
	for (unsigned mode = 0; mode < 0100; mode++) {
		assert_int_equal(chmod(path, 0600 | mode), 0);
		assert_int_equal(proto_allow_load(path, &allow, &e), (mode & 022) != 0 ? ERR_DENIED : 0);
		if ((mode & 022) != 0)
			assert_non_null(strstr(e.text, "chmod go-w"));
		proto_allow_destroy(&allow);
	}
}

static void allowed_is(const struct proto_allow *allow, size_t index, uint8_t first, unsigned roles, const char *name)
{
	struct proto_allowed at;
	assert_true(proto_allow_at(allow, index, &at));
	assert_int_equal(at.key[0], first);
	assert_int_equal(at.roles, roles);
	assert_string_equal(at.name, name);
}

static void expect_roles(const char *path, const uint8_t *key, unsigned roles)
{
	struct err e = ERR_INIT;
	struct proto_allow *allow = NULL;
	assert_ok(&e, proto_allow_load(path, &allow, &e));
	assert_int_equal(proto_allow_roles(allow, key, NULL), roles);
	proto_allow_destroy(&allow);
}

/* A line is changed where it stands in capitals too; what people wrote beside it stays; who is revoked is not added. */
static void lines_are_changed(void **state)
{
	struct err e = ERR_INIT;
	char path[TEST_PATH_BYTES], text[400];
	uint8_t a[32], b[32], both[2][32];
	struct proto_allow *allow = NULL, *again = NULL;
	struct proto_allowed none;
	struct buf file = BUF_INIT, form = BUF_INIT;
	assert_int_equal(proto_key_parse(hex_a, a), 0);
	assert_int_equal(proto_key_parse(hex_b, b), 0);
	test_path(path, *state, "allow");
	snprintf(text, sizeof text, "# ours\n  %.63sB worker w0\n%s reader node\n# end", hex_b, hex_a);
	test_file_write(path, text);
	assert_ok(&e, proto_allow_set(path, b, PROTO_ROLE_WORKER | PROTO_ROLE_AUDITOR, "w1", &e));
	assert_ok(&e, proto_allow_revoke(path, a, 1, &e));
	assert_ok(&e, file_read(path, 4096, &file, &e));
	snprintf(text, sizeof text, "# ours\n# end\n%s worker+auditor w1\n%s revoked node\n", hex_b, hex_a);
	assert_string_equal(buf_cstr(&file), text);
	assert_ok(&e, proto_allow_load(path, &allow, &e));
	allowed_is(allow, 0, 0xaa, 0, "node");
	allowed_is(allow, 1, 0xbb, PROTO_ROLE_WORKER | PROTO_ROLE_AUDITOR, "w1");
	assert_false(proto_allow_at(allow, 2, &none));
	assert_int_equal(proto_allow_roles(allow, a, NULL), 0);
	proto_allow_format(allow, &form);
	assert_ok(&e, proto_allow_parse("kept", &form, &again, &e));
	allowed_is(again, 0, 0xaa, 0, "node");
	assert_int_equal(proto_allow_add(path, a, PROTO_ROLE_READER, "node", &e), ERR_EXISTS);
	assert_non_null(strstr(e.text, "revoked"));
	assert_ok(&e, proto_allow_set(path, a, PROTO_ROLE_READER, "node", &e)); /* asked for by name */
	memcpy(both[0], a, sizeof a);
	memcpy(both[1], b, sizeof b);
	assert_ok(&e, proto_allow_set(path, b, PROTO_ROLE_WORKER, "w1", &e));
	both[1][0] = 1; /* all of them or none */
	assert_int_equal(proto_allow_revoke(path, both[0], 2, &e), ERR_NOT_FOUND);
	expect_roles(path, a, PROTO_ROLE_READER);
	both[1][0] = b[0];
	assert_ok(&e, proto_allow_revoke(path, both[0], 2, &e));
	expect_roles(path, a, 0);
	expect_roles(path, b, 0);
	a[0] = 1;
	assert_int_equal(proto_allow_revoke(path, a, 1, &e), ERR_NOT_FOUND);
	proto_allow_destroy(&allow);
	proto_allow_destroy(&again);
	buf_free(&file);
	buf_free(&form);
}

static int load_list(void *context)
{
	struct proto_allow *allow = NULL;
	int rc = proto_allow_load(context, &allow, NULL);
	proto_allow_destroy(&allow);
	return rc;
}

static void no_memory_is_an_error(void **state)
{
	char path[TEST_PATH_BYTES], text[200];
	test_path(path, *state, "allow");
	snprintf(text, sizeof(text), "%s worker w0\n", hex_a);
	test_file_write(path, text);
	assert_true(test_walk_allocations(load_list, path) >= 2);
}

/* A list that holds all it may hold takes no more, so that it can still be read and keys be revoked. */
static void a_full_list_is_not_overfilled(void **state)
{
	char path[TEST_PATH_BYTES];
	struct err e = ERR_INIT;
	struct buf text = BUF_INIT, after = BUF_INIT;
	struct proto_allow *allow = NULL;
	uint8_t key[PROTO_KEY_BYTES];
	test_path(path, *state, "allow");
	for (unsigned i = 0; i < PROTO_ALLOW_KEYS_MAX; i++)
		buf_printf(&text, "%064x worker w-%u\n", i, i);
	assert_ok(&e, file_write_atomic(path, text.data, text.len, 0600, &e));
	assert_int_equal(proto_key_parse(hex_a, key), 0);
	assert_int_equal(proto_allow_add(path, key, PROTO_ROLE_WORKER, "a", &e), ERR_LIMIT);
	assert_non_null(strstr(e.text, "revoked"));
	assert_int_equal(proto_allow_set(path, key, PROTO_ROLE_WORKER, "a", &e), ERR_LIMIT);
	assert_ok(&e, file_read(path, 1 << 20, &after, &e));
	assert_same_bytes(&text, &after);
	memset(key, 0, sizeof key);
	assert_ok(&e, proto_allow_revoke(path, key, 1, &e));
	assert_ok(&e, proto_allow_load(path, &allow, &e));
	assert_int_equal(proto_allow_roles(allow, key, NULL), 0);
	proto_allow_destroy(&allow);
	buf_free(&text);
	buf_free(&after);
}

/* ---- The list in force, where the file was lost. */

static void lists_make(const char *path, struct proto_allow **in_force, struct buf *line)
{
	struct err e = ERR_INIT;
	char text[200];
	snprintf(text, sizeof(text), "%s worker w0\n", hex_a);
	test_file_write(path, text);
	assert_ok(&e, proto_allow_load(path, in_force, &e));
	assert_int_equal(unlink(path), 0);
	buf_printf(line, "%s reader new\n", hex_b);
}

static void expect_list(const char *path, const char *hex)
{
	struct err e = ERR_INIT;
	struct proto_allow *allow = NULL;
	struct proto_allowed first, second;
	uint8_t key[PROTO_KEY_BYTES];
	assert_int_equal(proto_key_parse(hex, key), 0);
	assert_ok(&e, proto_allow_load(path, &allow, &e));
	assert_true(proto_allow_at(allow, 0, &first));
	assert_memory_equal(first.key, key, sizeof(key));
	assert_false(proto_allow_at(allow, 1, &second));
	proto_allow_destroy(&allow);
}

static void a_lost_list_is_restored(void **state)
{
	char path[TEST_PATH_BYTES];
	struct err e = ERR_INIT;
	struct proto_allow *in_force = NULL, *empty = NULL;
	struct buf line = BUF_INIT, none = BUF_INIT;
	bool restored = true;
	test_path(path, *state, "allow");
	lists_make(path, &in_force, &line);
	assert_ok(&e, proto_allow_parse("none", &none, &empty, &e));
	assert_ok(&e, proto_allow_restore(path, empty, &restored, &e));
	assert_false(restored);
	assert_int_equal(access(path, F_OK), -1);
	assert_ok(&e, proto_allow_restore(path, in_force, &restored, &e));
	assert_true(restored);
	expect_list(path, hex_a);
	test_file_write(path, "# nobody\n");
	assert_ok(&e, proto_allow_restore(path, in_force, &restored, &e));
	assert_true(restored);
	expect_list(path, hex_a);
	test_file_write(path, buf_cstr(&line));
	assert_ok(&e, proto_allow_restore(path, in_force, &restored, &e));
	assert_false(restored);
	expect_list(path, hex_b);
	test_file_write(path, "no list\n");
	assert_int_equal(proto_allow_restore(path, in_force, &restored, &e), ERR_INVALID);
	assert_false(restored);
	proto_allow_destroy(&in_force);
	proto_allow_destroy(&empty);
	buf_free(&line);
	buf_free(&none);
}

static bool waits_for_lock(pid_t pid)
{
	char line[256], waiter[32];
	bool waits = false;
	FILE *locks = fopen("/proc/locks", "r");
	assert_non_null(locks);
	snprintf(waiter, sizeof(waiter), " %d ", (int)pid);
	while (fgets(line, sizeof(line), locks) != NULL)
		waits = waits || (strstr(line, "-> FLOCK") != NULL && strstr(line, waiter) != NULL);
	fclose(locks);
	return waits;
}

/* What another process writes under the lock stays. */
static void a_list_is_restored_under_the_lock(void **state)
{
	char path[TEST_PATH_BYTES];
	struct proto_allow *in_force = NULL;
	struct buf line = BUF_INIT;
	int64_t since = 0;
	int status = -1;
	test_path(path, *state, "allow");
	lists_make(path, &in_force, &line);
	const int folder = open(*state, O_RDONLY | O_DIRECTORY);
	assert_int_equal(flock(folder, LOCK_EX), 0);
	const pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct err e = ERR_INIT;
		bool restored;
		_exit(proto_allow_restore(path, in_force, &restored, &e) != 0 ? 2 : restored);
	}
	while (!waits_for_lock(pid) && waitpid(pid, &status, WNOHANG) == 0)
		assert_true(test_wait(&since));
	test_file_write(path, buf_cstr(&line));
	assert_int_equal(flock(folder, LOCK_UN), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0); /* it has restored nothing */
	expect_list(path, hex_b);
	close(folder);
	proto_allow_destroy(&in_force);
	buf_free(&line);
}

int main(void)
{
#define IN_FOLDER(f) cmocka_unit_test_setup_teardown(f, test_setup_folder, test_teardown_folder)
	const struct CMUnitTest tests[] = {
		IN_FOLDER(a_pair_is_saved_and_loaded),
		IN_FOLDER(a_key_that_others_can_read_is_refused),
		IN_FOLDER(broken_key_files_are_refused),
		IN_FOLDER(half_a_key_is_not_left_behind),
		IN_FOLDER(no_secret_is_left_in_memory),
		cmocka_unit_test(keys_as_hex),
		cmocka_unit_test(roles_as_text),
		IN_FOLDER(a_list_is_read),
		IN_FOLDER(mistakes_name_their_line),
		IN_FOLDER(keys_are_added),
		IN_FOLDER(lines_are_changed),
		IN_FOLDER(a_full_list_is_not_overfilled),
		IN_FOLDER(a_list_that_others_can_write_is_refused),
		IN_FOLDER(a_lost_list_is_restored),
		IN_FOLDER(a_list_is_restored_under_the_lock),
		IN_FOLDER(no_memory_is_an_error),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
