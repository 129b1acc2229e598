#include "tests/lib/store_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_makes_a_missing_folder(void **state)
{
	struct fixture *f = *state;
	char folder[TEST_PATH_BYTES + 16];
	struct stat st;
	snprintf(folder, sizeof(folder), "%s/a/b", f->folder);
	OK(f, store_open(folder, &f->options, &f->store, &f->e));
	assert_int_equal(stat(folder, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
}

static void test_a_second_opener_is_told_who_holds_it(void **state)
{
	struct fixture *f = *state;
	struct store *second = NULL;
	char text[64];
	fixture_open(f);
	FAILS(ERR_BUSY, store_open(f->folder, &f->options, &second, &f->e));
	assert_null(second);
	snprintf(text, sizeof(text), "process %ld ", (long)getpid());
	assert_non_null(strstr(f->e.text, text));
	store_close(&f->store);
	fixture_open(f);
}

/* The child opens the folder, says so through the pipe, and holds it until it is killed. */
static pid_t hold_in_child(struct fixture *f)
{
	int ready[2];
	char byte = 0;
	assert_int_equal(pipe(ready), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		close(ready[0]);
		if (store_open(f->folder, &f->options, &f->store, &f->e) || write(ready[1], "r", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return pid;
}

static void test_another_process_is_named_and_its_death_frees_the_folder(void **state)
{
	struct fixture *f = *state;
	char text[64];
	int status;
	pid_t pid = hold_in_child(f);
	FAILS(ERR_BUSY, store_open(f->folder, &f->options, &f->store, &f->e));
	snprintf(text, sizeof(text), "process %ld:", (long)pid);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_non_null(strstr(f->e.text, text));
	fixture_open(f);
}

static void test_files_in_the_way(void **state)
{
	struct fixture *f = *state;
	char path[TEST_PATH_BYTES + 32];
	snprintf(path, sizeof(path), "%s/file", f->folder);
	test_file_write(path, "a file");
	FAILS(ERR_INVALID, store_open(path, &f->options, &f->store, &f->e));
	FAILS(ERR_INVALID, store_open("", &f->options, &f->store, &f->e));
	snprintf(path, sizeof(path), "%s/ledger", f->folder);
	test_file_write(path, "a file");
	FAILS(ERR_INVALID, store_open(f->folder, &f->options, &f->store, &f->e));
	assert_non_null(strstr(f->e.text, "\"ledger\""));
	assert_int_equal(unlink(path), 0);
	fixture_open(f);
}

/* Root may write anywhere: such a run looks through the eyes of another user. */
static int open_as_nobody(struct fixture *f, const char *folder)
{
	int status;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		if (geteuid() == 0 && (setegid(65534) || seteuid(65534)))
			_exit(100);
		int rc = store_open(folder, &f->options, &f->store, &f->e);
		_exit(rc == ERR_DENIED && strstr(f->e.text, "give this user write access") ? 42 : -rc);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 101;
}

static void test_a_folder_without_write_access(void **state)
{
	struct fixture *f = *state;
	char folder[TEST_PATH_BYTES + 16];
	assert_int_equal(chmod(f->folder, 0755), 0);
	snprintf(folder, sizeof(folder), "%s/closed", f->folder);
	assert_int_equal(mkdir(folder, 0500), 0);
	assert_int_equal(open_as_nobody(f, folder), 42);
	assert_int_equal(chmod(folder, 0700), 0);
}

static void test_a_link_as_lock_file_is_not_followed(void **state)
{
	struct fixture *f = *state;
	char path[TEST_PATH_BYTES + 16];
	struct stat st;
	snprintf(path, sizeof(path), "%s/lock", f->folder);
	assert_int_equal(symlink("victim", path), 0);
	FAILS(ERR_IO, store_open(f->folder, &f->options, &f->store, &f->e));
	snprintf(path, sizeof(path), "%s/victim", f->folder);
	assert_int_equal(stat(path, &st), -1);
}

static int open_and_close(void *context)
{
	struct fixture *f = context;
	int rc = store_open(f->folder, &f->options, &f->store, &f->e);
	if (rc)
		assert_null(f->store);
	store_close(&f->store);
	return rc;
}

static void test_out_of_memory_lets_go_of_the_lock(void **state)
{
	assert_true(test_walk_allocations(open_and_close, *state) > 4);
}

static void lose(const struct fixture *f, const char *environment)
{
	char path[TEST_PATH_BYTES + 32];
	snprintf(path, sizeof(path), "%s/%s/data.mdb", f->folder, environment);
	assert_int_equal(unlink(path), 0);
}

static void empty_out(const struct fixture *f, const char *environment)
{
	lose(f, environment);
	char path[TEST_PATH_BYTES + 32];
	snprintf(path, sizeof(path), "%s/%s/data.mdb", f->folder, environment);
	test_file_write(path, "");
}

static void test_a_lost_ledger_is_not_begun_anew(void **state)
{
	struct fixture *f = *state;
	fixture_open(f);
	store_close(&f->store);
	lose(f, "ledger");
	FAILS(ERR_CORRUPT, store_open(f->folder, &f->options, &f->store, &f->e));
	assert_null(f->store);
	assert_non_null(strstr(f->e.text, "ledger/data.mdb is missing beside its blobs: put both back from a backup"));
	f->options.blobs_only = true; /* what has no ledger misses none */
	OK(f, store_open(f->folder, &f->options, &f->store, &f->e));
}

static void test_lost_blobs_of_versions_are_missed(void **state)
{
	struct fixture *f = *state;
	struct store_version version = { .version = 1 };
	fixture_open(f);
	store_close(&f->store);
	lose(f, "blobs");
	fixture_open(f); /* nothing refers to them: the first opening may have been cut short */
	fixture_begin(f);
	OK(f, store_version_put(f->txn, &version, &f->e));
	fixture_commit(f);
	store_close(&f->store);
	lose(f, "blobs");
	FAILS(ERR_CORRUPT, store_open(f->folder, &f->options, &f->store, &f->e));
	assert_null(f->store);
	assert_non_null(strstr(f->e.text, "blobs/data.mdb is missing beside a ledger of 1 version(s)"));
}

static void test_an_emptied_ledger_is_not_begun_anew(void **state)
{
	struct fixture *f = *state;
	fixture_open(f);
	store_close(&f->store);
	empty_out(f, "ledger");
	FAILS(ERR_CORRUPT, store_open(f->folder, &f->options, &f->store, &f->e));
	assert_non_null(strstr(f->e.text, "ledger/data.mdb is empty beside its blobs: put both back from a backup"));
	empty_out(f, "blobs");
	FAILS(ERR_CORRUPT, store_open(f->folder, &f->options, &f->store, &f->e));
	lose(f, "blobs"); /* a first opening that was cut short */
	fixture_open(f);
}

static void test_emptied_blobs_of_versions_are_missed(void **state)
{
	struct fixture *f = *state;
	struct store_version version = { .version = 1 };
	fixture_open(f);
	store_close(&f->store);
	empty_out(f, "blobs");
	fixture_open(f); /* as above */
	fixture_begin(f);
	OK(f, store_version_put(f->txn, &version, &f->e));
	fixture_commit(f);
	store_close(&f->store);
	empty_out(f, "blobs");
	FAILS(ERR_CORRUPT, store_open(f->folder, &f->options, &f->store, &f->e));
	assert_non_null(strstr(f->e.text, "blobs/data.mdb is empty beside a ledger of 1 version(s)"));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup_closed, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(test_makes_a_missing_folder),
		T(test_a_second_opener_is_told_who_holds_it),
		T(test_another_process_is_named_and_its_death_frees_the_folder),
		T(test_files_in_the_way),
		T(test_a_folder_without_write_access),
		T(test_a_link_as_lock_file_is_not_followed),
		T(test_out_of_memory_lets_go_of_the_lock),
		T(test_a_lost_ledger_is_not_begun_anew),
		T(test_lost_blobs_of_versions_are_missed),
		T(test_an_emptied_ledger_is_not_begun_anew),
		T(test_emptied_blobs_of_versions_are_missed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
