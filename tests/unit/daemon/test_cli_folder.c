/* The data folder of `amend up`: an empty cluster is not begun beside what is left of another. */
#include "tests/lib/test.h"

#include "daemon/cli_folder.h"

#include "base/buf.h"

#include <string.h>
#include <unistd.h>

struct fixture {
	char folder[TEST_PATH_BYTES];
	struct err e;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	if (f == NULL)
		return -1;
	test_folder_make(f->folder);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	test_folder_remove(f->folder);
	free(f);
	return 0;
}

static void make(struct fixture *f, const char *name)
{
	char path[TEST_PATH_BYTES];
	test_path(path, f->folder, name);
	assert_ok(&f->e, file_make_folder(path, &f->e));
}

static void write_file(struct fixture *f, const char *name, const char *text)
{
	char path[TEST_PATH_BYTES];
	test_path(path, f->folder, name);
	test_file_write(path, text);
}

static void expect_refused(struct fixture *f, const char *words)
{
	assert_string_equal(err_name(cli_folder_check(f->folder, &f->e)), "ERR_CORRUPT");
	if (strstr(f->e.text, words) == NULL)
		fail_msg("\"%s\" is not in: %s", words, f->e.text);
	assert_non_null(strstr(f->e.text, "put coordinator/ back from a backup, or remove the whole folder"));
	err_clear(&f->e);
}

static void a_new_folder_is_taken(void **state)
{
	struct fixture *f = *state;
	char path[TEST_PATH_BYTES];
	test_path(path, f->folder, "none");
	assert_ok(&f->e, cli_folder_check(path, &f->e));
	assert_ok(&f->e, cli_folder_check(f->folder, &f->e));
	make(f, "worker-0"); /* a calibration was put there */
	assert_ok(&f->e, cli_folder_check(f->folder, &f->e));
}

static void a_first_start_that_was_cut_short_is_gone_on_with(void **state)
{
	struct fixture *f = *state;
	assert_ok(&f->e, cli_folder_make(f->folder, &f->e));
	assert_ok(&f->e, cli_folder_check(f->folder, &f->e));
	make(f, "coordinator/ledger");
	write_file(f, "coordinator/ledger/data.mdb", "");
	assert_ok(&f->e, cli_folder_check(f->folder, &f->e));
}

static void keys_without_a_coordinator_are_refused(void **state)
{
	struct fixture *f = *state;
	make(f, "keys");
	expect_refused(f, "keys is there, but the coordinator's coordinator/ledger/data.mdb is gone");
}

static void a_cache_without_a_ledger_is_refused(void **state)
{
	struct fixture *f = *state;
	make(f, "node-0");
	make(f, "node-0/blobs");
	expect_refused(f, "node-0/blobs is there, but the coordinator's coordinator/ledger/data.mdb is gone");
	make(f, "coordinator");
	make(f, "coordinator/ledger");
	write_file(f, "coordinator/ledger/data.mdb", "");
	expect_refused(f, "coordinator/ledger/data.mdb is empty");
	write_file(f, "coordinator/ledger/data.mdb", "a ledger");
	assert_ok(&f->e, cli_folder_check(f->folder, &f->e));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_new_folder_is_taken),
		T(a_first_start_that_was_cut_short_is_gone_on_with),
		T(keys_without_a_coordinator_are_refused),
		T(a_cache_without_a_ledger_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
