#include "editor/answer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void expect_plain(const char *text, const char *want)
{
	struct buf out = BUF_INIT;
	assert_int_equal(editor_answer_normalise(text, strlen(text), &out), 0);
	assert_string_equal(buf_cstr(&out), want);
	buf_free(&out);
}

static void normalises(void **state)
{
	(void)state;
	expect_plain(" The  X-Files ", "xfiles");
	expect_plain("A man, a plan", "man plan");
	expect_plain("Volkswagen Group.", "volkswagen group");
	expect_plain("anthem theatre another", "anthem theatre another");
	expect_plain("the", "");
	expect_plain("", "");
	expect_plain("\xC3\x89"
		     "COLE\t\x01 x",
		     "\xC3\xA9"
		     "cole x");
	expect_plain("broken \xE2\x82 end", "broken end");
	expect_plain("\xFF\xC0\x80", "");
}

static bool matches(const char *record_json, const char *decoded)
{
	struct record *record = NULL;
	struct err e = ERR_INIT;
	bool is = false;
	assert_int_equal(record_parse(record_json, strlen(record_json), &record, &e), 0);
	assert_int_equal(editor_answer_matches(decoded, strlen(decoded), record, &is), 0);
	record_destroy(&record);
	return is;
}

static void cuts_and_compares(void **state)
{
	(void)state;
	const char *plain = "{\"prompt\":\"p\",\"target_new\":\"The X-Files\",\"aliases\":[\"X Files show\"]}";
	assert_true(matches(plain, " X-Files"));
	assert_true(matches(plain, " the x-files\nand more"));
	assert_true(matches(plain, " The X-Files. It ran for years."));
	assert_true(matches(plain, "X Files Show"));
	assert_false(matches(plain, " The X-Files and more"));
	assert_false(matches(plain, ""));
	assert_false(matches(plain, "\nThe X-Files"));
	const char *dotted = "{\"prompt\":\"p\",\"target_new\":\"J.R.R. Tolkien\"}";
	assert_true(matches(dotted, " J.R.R. Tolkien"));
	assert_false(matches(dotted, " J"));
	const char *number = "{\"prompt\":\"p\",\"target_new\":\"2006\"}";
	assert_true(matches(number, " 2006"));
	assert_false(matches(number, " 2007"));
}

static void punctuation_alone_is_no_wildcard(void **state)
{
	(void)state;
	const char *record = "{\"prompt\":\"p\",\"target_new\":\"?!\"}";
	assert_true(matches(record, "?!"));
	assert_false(matches(record, "..."));
	assert_false(matches(record, ""));
}

static void articles_alone_are_compared_as_they_stand(void **state)
{
	(void)state;
	const char *letter = "{\"prompt\":\"p\",\"target_new\":\"A\"}",
		   *band = "{\"prompt\":\"p\",\"target_new\":\"The The\"}";
	assert_true(matches(letter, " A"));
	assert_true(matches(letter, " a. It is the first letter"));
	assert_true(matches(letter, "A\nB"));
	assert_false(matches(letter, " An"));
	assert_false(matches(letter, " A letter"));
	assert_false(matches(letter, ""));
	assert_true(matches(band, " the  The "));
	assert_false(matches(band, " The"));
	assert_false(matches(band, " A"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(normalises),
		cmocka_unit_test(cuts_and_compares),
		cmocka_unit_test(punctuation_alone_is_no_wildcard),
		cmocka_unit_test(articles_alone_are_compared_as_they_stand),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
