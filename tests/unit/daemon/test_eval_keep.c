#include "daemon/eval_keep.h"

#include "tests/lib/test.h"

#include <dirent.h>

static const struct hash key = { { 1, 2, 3 } }, other = { { 9 } };

static void put(struct eval_keep *keep, const char *text)
{
	struct buf content = BUF_INIT;
	struct err e = ERR_INIT;
	buf_puts(&content, text);
	assert_ok(&e, eval_keep_put(keep, "shard", &key, &content, &e));
	buf_free(&content);
}

static int get(struct eval_keep *keep, const char *kind, const struct hash *name, struct buf *out)
{
	struct err e = ERR_INIT;
	buf_clear(out);
	return eval_keep_get(keep, kind, name, out, &e);
}

static void what_was_put_is_found_again(void **state)
{
	struct eval_keep keep, again;
	struct buf out = BUF_INIT;
	struct err e = ERR_INIT;
	assert_ok(&e, eval_keep_open(&keep, *state, &e));
	assert_int_equal(get(&keep, "shard", &key, &out), ERR_NOT_FOUND);
	put(&keep, "one");
	put(&keep, "two");
	assert_ok(&e, eval_keep_open(&again, *state, &e));
	assert_int_equal(get(&again, "shard", &key, &out), 0);
	assert_string_equal(buf_cstr(&out), "two");
	assert_int_equal(get(&again, "run", &key, &out), ERR_NOT_FOUND);
	assert_int_equal(get(&again, "shard", &other, &out), ERR_NOT_FOUND);
	assert_int_equal(atomic_load(&again.reused), 1);
	assert_int_equal(atomic_load(&again.damaged), 0);
	buf_free(&out);
}

/* The path of the one file that is kept. */
static void only_file(const char *folder, char path[TEST_PATH_BYTES])
{
	char kept[TEST_PATH_BYTES];
	test_path(kept, folder, "kept");
	DIR *dir = opendir(kept);
	assert_non_null(dir);
	for (struct dirent *d; (d = readdir(dir)) != NULL;) {
		if (d->d_name[0] != '.')
			test_path(path, kept, d->d_name);
	}
	closedir(dir);
}

static void a_flipped_bit_anywhere_is_noticed(void **state)
{
	struct eval_keep keep;
	struct buf file = BUF_INIT, out = BUF_INIT;
	struct err e = ERR_INIT;
	char path[TEST_PATH_BYTES] = "";
	assert_ok(&e, eval_keep_open(&keep, *state, &e));
	put(&keep, "content");
	only_file(*state, path);
	assert_ok(&e, file_read(path, 1 << 20, &file, &e));
	for (size_t i = 0; i < file.len; i++) {
		file.data[i] ^= 4;
		assert_ok(&e, file_write_atomic(path, file.data, file.len, 0600, &e));
		assert_int_equal(get(&keep, "shard", &key, &out), ERR_NOT_FOUND);
		file.data[i] ^= 4;
	}
	for (size_t len = 0; len < file.len; len++) {
		assert_ok(&e, file_write_atomic(path, file.data, len, 0600, &e));
		assert_int_equal(get(&keep, "shard", &key, &out), ERR_NOT_FOUND);
	}
	assert_int_equal(atomic_load(&keep.damaged), 2 * file.len);
	put(&keep, "content");
	assert_int_equal(get(&keep, "shard", &key, &out), 0);
	buf_free(&file);
	buf_free(&out);
}

static void a_folder_that_cannot_be_made_is_an_error(void **state)
{
	struct eval_keep keep;
	struct err e = ERR_INIT;
	char path[TEST_PATH_BYTES];
	test_path(path, *state, "file");
	test_file_write(path, "x");
	assert_int_not_equal(eval_keep_open(&keep, path, &e), 0);
	assert_non_null(strstr(e.text, path));
	assert_int_equal(eval_keep_open(&keep, "", &e), ERR_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_was_put_is_found_again, test_setup_folder, test_teardown_folder),
		cmocka_unit_test_setup_teardown(a_flipped_bit_anywhere_is_noticed, test_setup_folder,
						test_teardown_folder),
		cmocka_unit_test_setup_teardown(a_folder_that_cannot_be_made_is_an_error, test_setup_folder,
						test_teardown_folder),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
