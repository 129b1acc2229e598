/* amend up and down. No amendd lies beside this test: a start gets as far as running it, and fails. */
#include "tests/lib/cli_fixture.h"
#include "tests/lib/tiny_model.h"

#include "base/fault.h"
#include "daemon/cli_process.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY "00112233445566778899aabbccddeeff00112233445566778899aabbccddee01"
#define ANY "--coordinator", "tcp://127.0.0.1:*", "--hints", "tcp://127.0.0.1:*", "--listen", "127.0.0.1:0"

static void model_make(const char *path)
{
	struct err e = ERR_INIT;
	assert_ok(&e, tiny_model_write(path, 5, &e));
}

static void data_path(struct cli_world *w, const char *name, char out[TEST_PATH_BYTES])
{
	test_path(out, w->folder, name);
}

static void expect_file(struct cli_world *w, const char *name, const char *text)
{
	char path[TEST_PATH_BYTES];
	struct buf now = BUF_INIT;
	struct err e = ERR_INIT;
	data_path(w, name, path);
	assert_ok(&e, file_read(path, 1 << 20, &now, &e));
	assert_string_equal(buf_cstr(&now), text);
	buf_free(&now);
}

/* A start that fails must not choose the model of the next one. */
static void a_failed_start_leaves_the_configuration(void **state)
{
	static const char before[] = "# mine\nmodel:\n  file: \"/srv/right.gguf\"\n";
	struct cli_world *w = *state;
	char wrong[TEST_PATH_BYTES], path[TEST_PATH_BYTES];
	data_path(w, "wrong.gguf", wrong);
	model_make(wrong);
	data_path(w, "amend.yaml", path);
	test_file_write(path, before);
	EXPECT(w, CLI_FAILED, "up", "--model", wrong, "--workers", "1", ANY);
	cli_expect_err(w, "coordinator ended: ");
	expect_file(w, "amend.yaml", before);
	EXPECT(w, CLI_NOT_FOUND, "up", ANY);
	cli_expect_err(w, "/srv/right.gguf");
}

static void a_failed_first_start_leaves_none(void **state)
{
	struct cli_world *w = *state;
	char wrong[TEST_PATH_BYTES], path[TEST_PATH_BYTES];
	data_path(w, "wrong.gguf", wrong);
	model_make(wrong);
	EXPECT(w, CLI_FAILED, "up", "--model", wrong, ANY);
	data_path(w, "amend.yaml", path);
	assert_int_not_equal(access(path, F_OK), 0);
	EXPECT(w, CLI_USAGE, "up", ANY);
	cli_expect_err(w, "needs --model FILE");
	EXPECT(w, CLI_NOT_FOUND, "fleet", "status");
}

static void a_wrong_model_leaves_no_folder(void **state)
{
	struct cli_world *w = *state;
	char wrong[TEST_PATH_BYTES], path[TEST_PATH_BYTES];
	data_path(w, "wrong.gguf", wrong);
	test_file_write(wrong, "no model");
	EXPECT(w, CLI_FAILED, "up", "--model", wrong, ANY);
	cli_expect_err(w, "wrong.gguf");
	data_path(w, "keys", path);
	assert_int_not_equal(access(path, F_OK), 0);
}

/* Two starts find no folder; the one that comes too late for the lock leaves the other's where it is. */
static void a_start_without_the_lock_removes_nothing(void **state)
{
	struct cli_world *w = *state;
	char model[TEST_PATH_BYTES], folder[TEST_PATH_BYTES];
	struct err e = ERR_INIT;
	data_path(w, "m.gguf", model);
	model_make(model);
	data_path(w, "new", folder);
	assert_ok(&e, fault_arm("cli.up.lock=errno@1", &e));
	EXPECT(w, CLI_FAILED, "--data", folder, "up", "--model", model, ANY);
	fault_disarm_all();
	cli_expect_err(w, "another `amend up` starts the cluster in ");
	assert_int_equal(access(folder, F_OK), 0);
}

/* rm -rf of the coordinator's folder alone. */
static void a_lost_coordinator_is_not_begun_anew(void **state)
{
	struct cli_world *w = *state;
	char model[TEST_PATH_BYTES], path[TEST_PATH_BYTES];
	data_path(w, "m.gguf", model);
	model_make(model);
	EXPECT(w, CLI_FAILED, "up", "--model", model, "--workers", "1", ANY);
	cli_expect_err(w, "coordinator ended: ");
	data_path(w, "coordinator", path);
	assert_int_equal(rmdir(path), 0);
	EXPECT(w, CLI_VERIFY, "up", "--model", model, "--workers", "1", ANY);
	cli_expect_err(w, "put coordinator/ back from a backup, or remove the whole folder");
	assert_int_not_equal(access(path, F_OK), 0);
}

static void too_little_space_is_said(void **state)
{
	struct cli_world *w = *state;
	char path[TEST_PATH_BYTES];
	data_path(w, "m.gguf", path);
	model_make(path);
	EXPECT(w, CLI_FAILED, "up", "--model", path, "--store.reserve_bytes", "1000000000000000", ANY);
	cli_expect_err(w, "less than store.reserve_bytes (953674316 MiB)");
}

static void expect_setting(struct cli_world *w, const char *name, const char *file)
{
	char path[TEST_PATH_BYTES], full[PATH_MAX], line[PATH_MAX + 64];
	struct buf now = BUF_INIT;
	struct err e = ERR_INIT;
	data_path(w, file, path);
	assert_non_null(realpath(path, full));
	data_path(w, "run/amend.yaml", path);
	assert_ok(&e, file_read(path, 1 << 20, &now, &e));
	snprintf(line, sizeof line, "%s: \"%s\"\n", name, full);
	if (strstr(buf_cstr(&now), line) == NULL)
		fail_msg("no %s in %s", line, buf_cstr(&now));
	buf_free(&now);
}

/* The next start may be made from another folder. */
static void files_are_kept_with_their_full_path(void **state)
{
	struct cli_world *w = *state;
	char here[PATH_MAX], path[TEST_PATH_BYTES];
	assert_non_null(getcwd(here, sizeof here));
	data_path(w, "m.gguf", path);
	model_make(path);
	data_path(w, "c.tsv", path);
	test_file_write(path, "unrelated\t\t\tA text.\n");
	data_path(w, "merge", path);
	test_file_write(path, "#!/bin/false\n");
	assert_int_equal(chdir(w->folder), 0);
	int status = DO(w, "up", "--model", "m.gguf", "--corpus", "c.tsv", "--merge.program", "./merge", ANY);
	int missing = DO(w, "up", "--model", "m.gguf", "--corpus", "none.tsv", ANY);
	assert_int_equal(chdir(here), 0);
	cli_expect(w, missing, CLI_NOT_FOUND);
	cli_expect_err(w, "calibration corpus none.tsv: No such file or directory; check the path");
	assert_int_equal(status, CLI_FAILED);
	expect_setting(w, "file", "m.gguf");
	expect_setting(w, "corpus", "c.tsv");
	expect_setting(w, "program", "merge");
}

static void keys_are_the_owners_alone(void **state)
{
	static const char *const keys[] = { "keys/coordinator.key", "keys/worker-0.key", "keys/node-0.key",
					    "keys/cli.key" };
	struct cli_world *w = *state;
	char path[TEST_PATH_BYTES];
	struct stat st;
	data_path(w, "wrong.gguf", path);
	model_make(path);
	EXPECT(w, CLI_FAILED, "up", "--model", path, "--workers", "1", ANY);
	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
		data_path(w, keys[i], path);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 0777, 0600);
	}
}

static void what_up_cannot_start_with(void **state)
{
	struct cli_world *w = *state;
	char path[TEST_PATH_BYTES];
	data_path(w, "wrong.gguf", path);
	model_make(path);
	EXPECT(w, CLI_NOT_FOUND, "up", "--model", "/nonexistent/m.gguf", ANY);
	cli_expect_err(w, "/nonexistent/m.gguf");
	EXPECT(w, CLI_FAILED, "up", "--model", path, "--coordinator", "nowhere");
	cli_expect_err(w, "coordinator.endpoint: \"nowhere\" is not tcp://HOST:PORT, such as tcp://127.0.0.1:7400");
	EXPECT(w, CLI_FAILED, "up", "--model", path, "--coordinator", "tcp://127.0.0.1:70000");
	cli_expect_err(w, "no port from 0 to 65535");
	EXPECT(w, CLI_FAILED, "up", "--model", path, "--coordinator", "tcp://example.org:80");
	cli_expect_err(w, "needs an IPv4 address");
	EXPECT(w, CLI_USAGE, "up", "now");
	EXPECT(w, CLI_USAGE, "up", "--workers", "0");
}

static struct cli_process program_start(struct cli_world *w)
{
	char *const argv[] = { (char *)(uintptr_t) "/bin/sleep", (char *)(uintptr_t) "600", NULL };
	char path[TEST_PATH_BYTES];
	struct cli_process process;
	struct err e = ERR_INIT;
	data_path(w, "run", path);
	assert_ok(&e, file_make_folder(path, &e));
	data_path(w, "sleep.log", path);
	assert_ok(&e, cli_process_start(w->folder, "worker-0", argv, path, &process, &e));
	return process;
}

static void what_runs_of_a_cluster_is_left_alone(void **state)
{
	struct cli_world *w = *state;
	struct cli_process process = program_start(w);
	char model[TEST_PATH_BYTES], path[TEST_PATH_BYTES], key[TEST_PATH_BYTES];
	data_path(w, "keys/cli.key", key);
	data_path(w, "m.gguf", model);
	model_make(model);
	EXPECT(w, CLI_NOT_FOUND, "up", "--model", model, ANY);
	cli_expect_err(w, "a part of a cluster runs in "); /* and nobody knows where it listens */
	data_path(w, "amend.yaml", path);
	test_file_write(path, "coordinator:\n  endpoint: tcp://127.0.0.1:20999\n  hints: tcp://127.0.0.1:20998\n");
	EXPECT(w, CLI_NOT_FOUND, "up", "--model", "/nonexistent/m.gguf", ANY);
	cli_expect_err(w, "runs already (1 program): the rest is started");
	EXPECT(w, CLI_FAILED, "up", "--model", model, "--workers", "1", ANY);
	cli_expect_err(w, "coordinator ended: ");
	EXPECT(w, CLI_UNREACHABLE, "--timeout", "0.2", "edit", "list", "--coordinator", "tcp://127.0.0.1:9",
	       "--server-key", KEY, "--key-file", key);
	cli_expect_err(w, "does not run; `amend up --data ");
	assert_true(cli_process_alive(&process)); /* and not stopped by the refusal */
	EXPECT(w, CLI_OK, "down");
	cli_expect_err(w, "stopped 1 program;");
	assert_false(cli_process_alive(&process));
	EXPECT(w, CLI_NOT_FOUND, "down");
	cli_expect_err(w, "no cluster runs in ");
}

/* A pid file that is left and a port where nobody listens need no waiting. */
static void a_dead_coordinator_is_told_at_once(void **state)
{
	struct cli_world *w = *state;
	char path[TEST_PATH_BYTES], key[TEST_PATH_BYTES];
	struct err e = ERR_INIT;
	data_path(w, "cli.key", key);
	EXPECT(w, CLI_OK, "-q", "key", "new", key);
	data_path(w, "run", path);
	assert_ok(&e, file_make_folder(path, &e));
	data_path(w, "run/coordinator.pid", path);
	test_file_write(path, "1 1\n"); /* a number that another process has now */
	for (int i = 0; i < 2; i++) {   /* the file is swept up meanwhile */
		int64_t began = env_monotonic_ms(env_system());
		EXPECT(w, CLI_UNREACHABLE, "--timeout", "30", "edit", "list", "--coordinator", "tcp://127.0.0.1:9",
		       "--server-key", KEY, "--key-file", key);
		assert_true(env_monotonic_ms(env_system()) - began < 20000);
		cli_expect_err(w, "nobody listens at tcp://127.0.0.1:9: the coordinator of ");
		cli_expect_err(w, "does not run; `amend up --data ");
	}
}

int main(void)
{
#define PLAIN(f) cmocka_unit_test_setup_teardown(f, cli_setup_plain, cli_teardown)
	const struct CMUnitTest tests[] = {
		PLAIN(a_failed_start_leaves_the_configuration),
		PLAIN(a_failed_first_start_leaves_none),
		PLAIN(a_wrong_model_leaves_no_folder),
		PLAIN(a_start_without_the_lock_removes_nothing),
		PLAIN(a_lost_coordinator_is_not_begun_anew),
		PLAIN(too_little_space_is_said),
		PLAIN(files_are_kept_with_their_full_path),
		PLAIN(keys_are_the_owners_alone),
		PLAIN(what_up_cannot_start_with),
		PLAIN(what_runs_of_a_cluster_is_left_alone),
		PLAIN(a_dead_coordinator_is_told_at_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
