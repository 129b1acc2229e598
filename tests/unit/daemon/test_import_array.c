/* JSON arrays cut into items, and what follows a broken item. */
#include "tests/unit/daemon/import_fixture.h"

#define A "{\"prompt\":\"a\",\"target_new\":\"t\"}"
#define B "{\"prompt\":\"b\",\"target_new\":\"t\"}"

static void items_stand_anywhere(void **state)
{
	static const char *const texts[] = {
		"[" A "," B "]",
		"[" A "\n," B "]\n",
		" [ " A " ,\t" B " ] ",
	};
	static const char *const wanted[] = { "1 " A "\n1 " B "\n", "1 " A "\n2 " B "\n", "1 " A "\n1 " B "\n" };
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		import_expect_text(*state, "f.json", texts[i], IMPORT_AUTO, wanted[i]);
}

/* Brackets and quotes inside texts are text; an item over several lines becomes one line. */
static void texts_may_hold_anything(void **state)
{
	import_expect_text(*state, "f.json",
			   "[\n {\"prompt\": \"a ]}, \\\" \\\\\",\n  \"target_new\": \"t\"},\n " B "\n]", IMPORT_AUTO,
			   "2 {\"prompt\":\"a ]}, \\\" \\\\\",\"target_new\":\"t\"}\n"
			   "4 " B "\n");
}

static void broken_items_do_not_take_the_next_one(void **state)
{
	static const struct {
		const char *text, *wanted;
	} cases[] = {
		/* a quote is missing: items of this file begin in column 1 */
		{ "[\n {\"prompt\":\"a,\n  \"x\":[\n   {\"y\":1}]},\n " B "\n]",
		  "2! record: a line break inside a text: its closing quote is missing\n5 " B "\n" },
		{ "[\n" A "\n" B ",\n" A "]",
		  "2 " A "\n3! record: a comma or ] must follow the item before\n3 " B "\n4 " A "\n" },
		{ "[" A ", , " B "]", "1 " A "\n1! record: no item follows the comma\n1 " B "\n" },
		{ "[" A ",]", "1 " A "\n1! record: no item follows the comma\n" },
		{ "[ 7, null, \"text\", [1], {} , " B "]",
		  "1! record: must be a JSON object\n1! record: must be a JSON object\n"
		  "1! record: must be a JSON object\n1! record: must be a JSON object\n1! prompt: missing\n1 " B "\n" },
		{ "[\n}, " A ",\n" B "\n]", "2! record: } without {\n3 " B "\n" },
		{ "[" A "] x " B, "1 " A "\n1! record: text after the end of the array\n" },
		{ "[" A ",\n" B, "1 " A "\n2 " B "\n2! record: the file ends inside the array: it was cut short\n" },
		{ "[" A ",\n {\"prompt\":", "1 " A "\n2! record: the file ends inside it: it was cut short\n" },
		{ "[", "1! record: the file ends inside the array: it was cut short\n" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		import_expect_text(*state, "f.json", cases[i].text, IMPORT_AUTO, cases[i].wanted);
}

/* Behind a bracket that is never closed everything looks like the item: after a megabyte it is given up. */
static void an_endless_item_is_given_up(void **state)
{
	struct buf text = BUF_INIT, log = BUF_INIT;
	struct err e = ERR_INIT;
	char path[TEST_PATH_BYTES];
	test_path(path, *state, "f.json");
	buf_puts(&text, "[\n{\"prompt\":\"open\",\n");
	while (text.len < 2 * IMPORT_ITEM_BYTES_MAX)
		buf_puts(&text, A ",\n");
	buf_puts(&text, B "\n]");
	assert_ok(&e, file_write_atomic(path, text.data, text.len, 0600, &e));
	assert_int_equal(import_read(path, IMPORT_AUTO, &log), ERR_NOT_FOUND);
	const char *got = buf_cstr(&log);
	assert_int_equal(strncmp(got, "2! record: over 1048576 bytes, or a bracket is not closed\n", 58), 0);
	assert_non_null(strstr(got, B));
	assert_null(strchr(strchr(got, '!') + 1, '!'));
	buf_free(&text);
	buf_free(&log);
}

#define T(test) cmocka_unit_test_setup_teardown(test, test_setup_folder, test_teardown_folder)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(items_stand_anywhere),
		T(texts_may_hold_anything),
		T(broken_items_do_not_take_the_next_one),
		T(an_endless_item_is_given_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
