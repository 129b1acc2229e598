#include "tests/lib/test.h"

#include <errno.h>

static void set_and_wrap(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	assert_int_equal(err_set(&e, ERR_INVALID, "prompt: %s", "empty"), ERR_INVALID);
	err_wrap(&e, "line %d", 7);
	err_wrap(&e, "importing %s", "facts.jsonl");
	assert_string_equal(e.text, "importing facts.jsonl: line 7: prompt: empty");
	assert_int_equal(e.code, ERR_INVALID);
	err_clear(&e);
	assert_int_equal(e.code, 0);
	assert_string_equal(e.text, "");
}

static void null_err(void **state)
{
	(void)state;
	assert_int_equal(err_set(NULL, ERR_FULL, "x"), ERR_FULL);
	assert_int_equal(err_errno(NULL, ERR_IO, ENOSPC, "x"), ERR_FULL);
	err_wrap(NULL, "x");
	err_clear(NULL);
}

static void maps_errno(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	assert_int_equal(err_errno(&e, ERR_IO, EIO, "writing %s", "a"), ERR_IO);
	assert_string_equal(e.text, "writing a: Input/output error");
	assert_int_equal(err_errno(&e, ERR_IO, EDQUOT, "x"), ERR_FULL);
	assert_int_equal(err_errno(&e, ERR_IO, ENOMEM, "x"), ERR_NOMEM);
	assert_int_equal(e.code, ERR_NOMEM);
}

static void maps_what_open_says(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	assert_int_equal(err_open(&e, ENOENT, "opening %s", "a"), ERR_NOT_FOUND);
	assert_string_equal(e.text, "opening a: No such file or directory");
	assert_int_equal(err_open(&e, EACCES, "x"), ERR_DENIED);
	assert_int_equal(err_open(&e, EPERM, "x"), ERR_DENIED);
	assert_int_equal(err_open(&e, EEXIST, "x"), ERR_EXISTS);
	assert_int_equal(err_open(&e, EMFILE, "x"), ERR_IO);
	assert_int_equal(err_open(&e, ENOSPC, "x"), ERR_FULL);
	assert_int_equal(err_open(NULL, ENOENT, "x"), ERR_NOT_FOUND);
}

/* A text that is too long ends at a whole character, wherever the limit falls. */
static void cuts_at_character(void **state)
{
	(void)state;
	char text[3 * ERR_TEXT_BYTES_MAX] = "";
	for (size_t shift = 0; shift < 4; shift++) {
		memset(text, 'a', shift);
		size_t at = shift;
		for (; at + 5 < sizeof(text); at += 4)
			memcpy(text + at, "\xF0\x9F\x98\x80", 4);
		text[at] = '\0';
		struct err e = ERR_INIT;
		err_set(&e, ERR_INVALID, "%s", text);
		size_t len = strlen(e.text);
		assert_true(len < ERR_TEXT_BYTES_MAX && len > ERR_TEXT_BYTES_MAX - 5);
		assert_int_equal((len - shift) % 4, 0);
		err_wrap(&e, "é");
		assert_memory_equal(e.text, "é: ", 4);
		len = strlen(e.text);
		assert_true(len < ERR_TEXT_BYTES_MAX);
		assert_int_equal((len - 4 - shift) % 4, 0);
	}
}

/* What is no UTF-8, the wire does not take. */
static void holds_utf8_alone(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	err_set(&e, ERR_IO, "opening %s", "/data/\xE9t\xC3\xA9\xE2\x82");
	assert_string_equal(e.text, "opening /data/?t\xC3\xA9??");
	err_wrap(&e, "%s", "\xFF");
	assert_string_equal(e.text, "?: opening /data/?t\xC3\xA9??");
	err_errno(&e, ERR_IO, EIO, "\xFF");
	assert_string_equal(e.text, "?: Input/output error");
}

static void names(void **state)
{
	(void)state;
	assert_string_equal(err_name(ERR_NOMEM), "ERR_NOMEM");
	assert_string_equal(err_text(ERR_FENCED), "a newer holder has taken over");
	assert_string_equal(err_name(0), "ERR_OK");
	assert_string_equal(err_name(-999), "ERR_?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(set_and_wrap),
		cmocka_unit_test(null_err),
		cmocka_unit_test(maps_errno),
		cmocka_unit_test(maps_what_open_says),
		cmocka_unit_test(cuts_at_character),
		cmocka_unit_test(holds_utf8_alone),
		cmocka_unit_test(names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
