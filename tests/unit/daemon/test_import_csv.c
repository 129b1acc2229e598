/* CSV by RFC 4180: quotes, line breaks in fields, and what follows a broken row. */
#include "tests/unit/daemon/import_fixture.h"

#define HEAD "prompt,target_new,subject\n"

static void rows_become_records(void **state)
{
	static const struct {
		const char *text, *wanted;
	} cases[] = {
		{ HEAD "a,t,s\nb,\"t, \"\"u\"\"\",\n", "2 {\"prompt\":\"a\",\"target_new\":\"t\",\"subject\":\"s\"}\n"
						       "3 {\"prompt\":\"b\",\"target_new\":\"t, \\\"u\\\"\"}\n" },
		/* a quoted line break counts as a line of the file */
		{ HEAD "\"a\nb\",t,s\nc,t,", "2 {\"prompt\":\"a\\nb\",\"target_new\":\"t\",\"subject\":\"s\"}\n"
					     "4 {\"prompt\":\"c\",\"target_new\":\"t\"}\n" },
		{ "\xEF\xBB\xBF\r\n" HEAD "\r\n\r\na,t,s\r\n",
		  "5 {\"prompt\":\"a\",\"target_new\":\"t\",\"subject\":\"s\"}\n" },
		/* the index column of pandas, a name twice, a column that is not ours */
		{ ",prompt,prompt,target_new,score\n0,a,b,t,0.5\n",
		  "2 {\"prompt\":\"a\",\"target_new\":\"t\",\"score\":\"0.5\"}\n" },
		{ HEAD, "" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		import_expect_text(*state, "f.csv", cases[i].text, IMPORT_AUTO, cases[i].wanted);
}

static void broken_rows_do_not_take_the_next_one(void **state)
{
	static const struct {
		const char *text, *wanted;
	} cases[] = {
		{ HEAD "a,t\nb,t,s\n", "2! record: 2 fields, the header has 3\n3 "
				       "{\"prompt\":\"b\",\"target_new\":\"t\",\"subject\":\"s\"}\n" },
		{ HEAD "a,t\"u,s\nb,t,s\n", "2! record: a quote in the wrong place: quotes inside a field are doubled\n"
					    "3 {\"prompt\":\"b\",\"target_new\":\"t\",\"subject\":\"s\"}\n" },
		{ HEAD "a,\"t\"u,s\nb,t,s\n",
		  "2! record: a quote in the wrong place: quotes inside a field are doubled\n"
		  "3 {\"prompt\":\"b\",\"target_new\":\"t\",\"subject\":\"s\"}\n" },
		{ HEAD "b,t,s\na,\"t,s\n", "2 {\"prompt\":\"b\",\"target_new\":\"t\",\"subject\":\"s\"}\n"
					   "3! record: the file ends inside a quoted field\n" },
		{ HEAD "a,\xE9t\xE9,s\nb,t,s\n", "2! record: column 28: unable to decode byte 0xe9 near '\"'\n"
						 "3 {\"prompt\":\"b\",\"target_new\":\"t\",\"subject\":\"s\"}\n" },
		{ "a\"b,c\nd,e\n",
		  "1! header: record: a quote in the wrong place: quotes inside a field are doubled\n" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		import_expect_text(*state, "f.csv", cases[i].text, IMPORT_AUTO, cases[i].wanted);
}

/* The name or the format says that it is CSV; a file of JSON is read as such under any other name. */
static void the_name_or_the_format_says_csv(void **state)
{
	static const char text[] = "question,object\nq,o\n", wanted[] = "2 {\"prompt\":\"q\",\"target_new\":\"o\"}\n";
	import_expect_text(*state, "f.csv", text, IMPORT_AUTO, wanted);
	import_expect_text(*state, "f.csv", text, IMPORT_HALLU_CSV, wanted);
	import_expect_text(*state, "f.txt", text, IMPORT_HALLU_CSV, wanted);
	import_expect_text(*state, "f.json", "[{\"question\":\"q\",\"object\":\"o\"}]", IMPORT_HALLU_CSV,
			   "1 {\"prompt\":\"q\",\"target_new\":\"o\"}\n");
}

static void an_open_quote_is_given_up(void **state)
{
	struct buf text = BUF_INIT, log = BUF_INIT;
	struct err e = ERR_INIT;
	char path[TEST_PATH_BYTES];
	test_path(path, *state, "f.csv");
	buf_puts(&text, HEAD "a,\"t,s\n");
	while (text.len < 2 * IMPORT_ITEM_BYTES_MAX)
		buf_printf(&text, "b,t,%01000d\n", 1);
	assert_ok(&e, file_write_atomic(path, text.data, text.len, 0600, &e));
	assert_int_equal(import_read(path, IMPORT_AUTO, &log), ERR_NOT_FOUND);
	const char *got = buf_cstr(&log);
	assert_int_equal(strncmp(got, "2! record: over 1 MiB: is a quote not closed?\n", 46), 0);
	assert_non_null(strstr(got, " {\"prompt\":\"b\",\"target_new\":\"t\",\"subject\":\"000"));
	assert_null(strchr(strchr(got, '!') + 1, '!'));
	buf_free(&text);
	buf_free(&log);
}

static void too_many_columns_are_refused(void **state)
{
	struct buf text = BUF_INIT;
	for (int i = 0; i < 300; i++)
		buf_printf(&text, "%sc%d", i > 0 ? "," : "", i);
	buf_puts(&text, "\n1\n");
	import_expect_text(*state, "f.csv", buf_cstr(&text), IMPORT_AUTO, "1! header: 300 columns, 256 are possible\n");
	buf_free(&text);
}

#define T(test) cmocka_unit_test_setup_teardown(test, test_setup_folder, test_teardown_folder)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(rows_become_records),
		T(broken_rows_do_not_take_the_next_one),
		T(the_name_or_the_format_says_csv),
		T(an_open_quote_is_given_up),
		T(too_many_columns_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
