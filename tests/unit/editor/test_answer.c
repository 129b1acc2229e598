#include "editor/answer.h"

#include "tests/lib/test.h"

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

struct answer {
	const char *decoded;
	bool matches;
};

/* Up to one whose text is NULL. */
static void expect(const char *answers_json, const struct answer *decoded)
{
	struct buf json = BUF_INIT;
	struct record *record = NULL;
	struct err e = ERR_INIT;
	buf_printf(&json, "{\"prompt\":\"p\",%s}", answers_json);
	assert_ok(&e, record_parse(buf_cstr(&json), json.len, &record, &e));
	for (; decoded->decoded != NULL; decoded++) {
		bool matches = !decoded->matches;
		assert_int_equal(editor_answer_matches(decoded->decoded, strlen(decoded->decoded), record, &matches),
				 0);
		if (matches != decoded->matches)
			fail_msg("\"%s\" to %s", decoded->decoded, answers_json);
	}
	record_destroy(&record);
	buf_free(&json);
}

static void cuts_and_compares(void **state)
{
	(void)state;
	expect("\"target_new\":\"The X-Files\",\"aliases\":[\"X Files show\"]",
	       (const struct answer[]){ { " X-Files", true },
					{ " the x-files\nand more", true },
					{ " The X-Files. It ran for years.", true },
					{ "X Files Show", true },
					{ " The X-Files and more", false },
					{ "", false },
					{ "\nThe X-Files", false },
					{ NULL, false } });
	expect("\"target_new\":\"J.R.R. Tolkien\"",
	       (const struct answer[]){ { " J.R.R. Tolkien", true }, { " J", false }, { NULL, false } });
	expect("\"target_new\":\"2006\"",
	       (const struct answer[]){ { " 2006", true }, { " 2007", false }, { NULL, false } });
}

static void punctuation_alone_is_no_wildcard(void **state)
{
	(void)state;
	expect("\"target_new\":\"?!\"",
	       (const struct answer[]){ { "?!", true }, { "...", false }, { "", false }, { NULL, false } });
}

static void articles_alone_are_compared_as_they_stand(void **state)
{
	(void)state;
	expect("\"target_new\":\"A\"", (const struct answer[]){ { " A", true },
								{ " a. It is the first letter", true },
								{ "A\nB", true },
								{ " An", false },
								{ " A letter", false },
								{ "", false },
								{ NULL, false } });
	expect("\"target_new\":\"The The\"",
	       (const struct answer[]){ { " the  The ", true }, { " The", false }, { " A", false }, { NULL, false } });
}

static void stands_at_word_borders(void **state)
{
	(void)state;
	static const struct {
		const char *answer, *text;
		bool stands;
	} cases[] = {
		{ "no", "I don't know", false },
		{ "no", "No, it is not", true },
		{ "no", "not now, and no", true },
		{ "The Ilmen", "it crosses the ILMEN river", true },
		{ "art", "a start", false },
		{ "art", "start art", true }, /* not the first place */
		{ "U.S.", "in the US", true },
		{ "7", "in 1907", false },
		{ "Paris", "It is \xE2\x80\x9CParis\xE2\x80\x9D\xE2\x80\x94today", true },
		{ "\xD0\xB4\xD0\xB0", "\xD0\xB4\xD0\xB0\xD1\x82\xD0\xB0", false }, /* da in data */
		{ "n\xC3\xA9", "n\xC3\xA9\x65", false },                           /* né in née */
		{ "\xE6\x9D\xB1\xE4\xBA\xAC", "\xE6\x9D\xB1\xE4\xBA\xAC\xE3\x81\xA7\xE3\x81\x99",
		  true }, /* no spaces */
		{ "the", "the", false },
		{ "x", "", false },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct record_text answer = { cases[i].answer, strlen(cases[i].answer) };
		bool stands = !cases[i].stands;
		assert_int_equal(editor_answer_stands_in(cases[i].text, strlen(cases[i].text), &answer, &stands), 0);
		if (stands != cases[i].stands)
			fail_msg("\"%s\" in \"%s\"", cases[i].answer, cases[i].text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(normalises),
		cmocka_unit_test(cuts_and_compares),
		cmocka_unit_test(stands_at_word_borders),
		cmocka_unit_test(punctuation_alone_is_no_wildcard),
		cmocka_unit_test(articles_alone_are_compared_as_they_stand),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
