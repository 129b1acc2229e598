#include "tests/lib/test.h"

#include "base/fault.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

static int count_entries(const char *folder)
{
	DIR *d = opendir(folder);
	assert_non_null(d);
	int n = 0;
	for (struct dirent *entry; (entry = readdir(d)) != NULL;)
		n += entry->d_name[0] != '.' ? 1 : 0;
	closedir(d);
	return n;
}

static void write_and_read(void **state)
{
	char path[TEST_PATH_BYTES];
	struct err e = ERR_INIT;
	struct buf b = BUF_INIT;
	test_path(path, *state, "a");
	assert_ok(&e, file_write_atomic(path, "one", 3, 0600, &e));
	assert_ok(&e, file_write_atomic(path, "second", 6, 0640, &e));
	assert_ok(&e, file_read(path, 6, &b, &e));
	assert_string_equal(buf_cstr(&b), "second");
	struct stat s;
	assert_int_equal(stat(path, &s), 0);
	assert_int_equal(s.st_mode & 0777, 0640);
	assert_int_equal(count_entries(*state), 1);
	buf_free(&b);
}

static void a_write_is_checked_before(void **state)
{
	char path[TEST_PATH_BYTES], missing[TEST_PATH_BYTES];
	struct err e = ERR_INIT;
	struct buf b = BUF_INIT;
	test_path(path, *state, "a");
	test_path(missing, *state, "no/a");
	assert_ok(&e, file_write_check(path, &e));
	assert_int_equal(count_entries(*state), 0);
	assert_ok(&e, file_write_atomic(path, "one", 3, 0600, &e));
	assert_ok(&e, file_write_check(path, &e));
	assert_ok(&e, file_read(path, 3, &b, &e));
	assert_string_equal(buf_cstr(&b), "one");
	assert_int_equal(count_entries(*state), 1);
	assert_int_equal(file_write_check(missing, &e), ERR_NOT_FOUND);
	assert_int_equal(file_write_check(*state, &e), ERR_INVALID);
	assert_int_equal(file_write_check("", &e), ERR_INVALID);
	buf_free(&b);
}

static void read_limits(void **state)
{
	char path[TEST_PATH_BYTES];
	struct err e = ERR_INIT;
	struct buf b = BUF_INIT;
	buf_puts(&b, "before");
	test_path(path, *state, "a");
	assert_int_equal(file_read(path, 10, &b, &e), ERR_NOT_FOUND);
	test_file_write(path, "0123456789");
	assert_int_equal(file_read(path, 9, &b, &e), ERR_LIMIT);
	assert_non_null(strstr(e.text, path));
	assert_string_equal(buf_cstr(&b), "before");
	assert_ok(&e, file_read(path, 10, &b, &e));
	assert_string_equal(buf_cstr(&b), "before0123456789");
	buf_free(&b);
}

static void sealed_files_show_damage(void **state)
{
	char path[TEST_PATH_BYTES];
	struct err e = ERR_INIT;
	struct buf b = BUF_INIT, raw = BUF_INIT;
	test_path(path, *state, "a");
	buf_puts(&b, "before");
	assert_int_equal(file_read_sealed(path, 100, &b, &e), ERR_NOT_FOUND);
	assert_int_equal(b.len, 0);
	assert_ok(&e, file_write_sealed(path, "content", 7, 0600, &e));
	assert_ok(&e, file_read_sealed(path, 100, &b, &e));
	assert_string_equal(buf_cstr(&b), "content");
	assert_ok(&e, file_read(path, 100, &raw, &e));
	for (size_t i = 0; i < raw.len; i++) {
		raw.data[i] ^= 1;
		assert_ok(&e, file_write_atomic(path, raw.data, raw.len, 0600, &e));
		assert_int_equal(file_read_sealed(path, 100, &b, &e), ERR_CORRUPT);
		assert_non_null(strstr(e.text, path));
		assert_int_equal(b.len, 0);
		raw.data[i] ^= 1;
	}
	for (size_t len = 0; len < raw.len; len += 13) {
		assert_ok(&e, file_write_atomic(path, raw.data, len, 0600, &e));
		assert_int_equal(file_read_sealed(path, 100, &b, &e), ERR_CORRUPT);
	}
	assert_ok(&e, file_write_sealed(path, NULL, 0, 0600, &e));
	assert_ok(&e, file_read_sealed(path, 100, &b, &e));
	assert_int_equal(b.len, 0);
	buf_free(&raw);
	buf_free(&b);
}

/* A crash between the write and the rename leaves the old content and nothing beside it. */
static void fault_before_rename(void **state)
{
	char path[TEST_PATH_BYTES];
	struct err e = ERR_INIT;
	struct buf b = BUF_INIT;
	test_path(path, *state, "a");
	assert_ok(&e, file_write_atomic(path, "old", 3, 0600, &e));
	assert_ok(&e, fault_arm("base.file.before_rename=errno@1", &e));
	assert_int_equal(file_write_atomic(path, "new", 3, 0600, &e), ERR_FAULT);
	fault_disarm_all();
	assert_ok(&e, file_read(path, 100, &b, &e));
	assert_string_equal(buf_cstr(&b), "old");
	assert_int_equal(count_entries(*state), 1);
	buf_free(&b);
}

static void folders(void **state)
{
	char path[TEST_PATH_BYTES], file[TEST_PATH_BYTES];
	struct err e = ERR_INIT;
	test_path(path, *state, "x/y/z");
	assert_ok(&e, file_make_folder(path, &e));
	assert_ok(&e, file_make_folder(path, &e));
	struct stat s;
	assert_int_equal(stat(path, &s), 0);
	assert_int_equal(s.st_mode & 0777, 0700);
	test_path(file, path, "f");
	test_file_write(file, "x");
	assert_int_equal(file_make_folder(file, &e), ERR_EXISTS);
	assert_non_null(strstr(e.text, "a file of that name is there; remove it, or name another folder"));
	assert_int_equal(file_make_folder("/proc/x", &e), ERR_NOT_FOUND);
	assert_non_null(strstr(e.text, "making folder /proc/x: nothing can be made there; name another folder"));
	assert_int_equal(file_make_folder("", &e), ERR_INVALID);
	assert_non_null(strstr(e.text, "its name is empty; name one"));
	int code = file_make_folder("/sys/amend-test", &e); /* even to root */
	assert_true(code == ERR_DENIED || code == ERR_IO);  /* IO: mounted read-only */
	assert_non_null(strstr(e.text, "or name another folder"));
	test_path(path, *state, "none/f");
	assert_int_equal(file_write_atomic(path, "x", 1, 0600, &e), ERR_NOT_FOUND);
}

static int read_it(void *path)
{
	struct err e = ERR_INIT;
	struct buf b = BUF_INIT;
	int rc = file_read(path, 1000, &b, &e);
	if (rc != 0)
		assert_int_equal(b.len, 0);
	buf_free(&b);
	return rc;
}

static void a_new_file_replaces_nothing(void **state)
{
	char path[TEST_PATH_BYTES];
	struct buf b = BUF_INIT;
	struct stat st;
	test_path(path, *state, "new");
	assert_int_equal(fault_arm("base.file.new=errno@1", NULL), 0);
	assert_int_equal(file_write_new(path, "half", 4, 0600, NULL), ERR_FAULT);
	fault_disarm_all();
	assert_int_not_equal(access(path, F_OK), 0); /* half a file is none */
	assert_int_equal(file_write_new(path, "first", 5, 0600, NULL), 0);
	assert_int_equal(file_write_new(path, "second", 6, 0600, NULL), ERR_EXISTS);
	assert_int_equal(file_read(path, 100, &b, NULL), 0);
	assert_string_equal(buf_cstr(&b), "first");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	test_path(path, *state, "missing/new");
	assert_int_equal(file_write_new(path, "x", 1, 0600, NULL), ERR_NOT_FOUND);
	buf_free(&b);
}

static void folder_part(void **state)
{
	(void)state;
	static const char *const cases[][2] = { { "a", "." }, { "/a", "/" }, { "a/b", "a" }, { "/a/b/c", "/a/b" } };
	char out[8];
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		assert_int_equal(file_folder_of(cases[i][0], out, sizeof out, NULL), 0);
		assert_string_equal(out, cases[i][1]);
	}
	assert_int_equal(file_folder_of("a/12345678", out, sizeof out, NULL), ERR_LIMIT);
	assert_int_equal(file_sync_folder(".", NULL), 0);
	assert_int_equal(file_sync_folder("/nowhere/at/all", NULL), ERR_NOT_FOUND);
}

static void out_of_memory(void **state)
{
	char path[TEST_PATH_BYTES];
	test_path(path, *state, "a");
	test_file_write(path, "0123456789");
	assert_int_equal(test_walk_allocations(read_it, path), 2);
}

#define WITH_FOLDER(f) cmocka_unit_test_setup_teardown(f, test_setup_folder, test_teardown_folder)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FOLDER(write_and_read),
		WITH_FOLDER(a_write_is_checked_before),
		WITH_FOLDER(sealed_files_show_damage),
		WITH_FOLDER(read_limits),
		WITH_FOLDER(fault_before_rename),
		WITH_FOLDER(folders),
		WITH_FOLDER(out_of_memory),
		WITH_FOLDER(a_new_file_replaces_nothing),
		cmocka_unit_test(folder_part),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
