/* Which words of a question tell what it asks. */
#include "editor/asking.h"

#include "tests/lib/test.h"

static void what_stands_before_a_question_is_left_out(void **state)
{
	(void)state;
	static const struct {
		const char *text, *asks; /* a digit a word */
	} cases[] = {
		{ "Who is the mayor?", "1111" },
		{ "Wait a second, who is the mayor?", "0001111" },
		{ "Good evening: what opens?", "0011" },
		{ "My former boss asked who is mayor.", "0000111" },
		{ "Tell me which man is it!", "001111" },
		{ "#4 Who is it?", "0111" },
		{ "In winter, how deep is it?", "011111" },
		{ "For the third time, at the moment: who is it?", "0000011111" },
		/* where nothing stands between, or the question word stands first, all do */
		{ "Until what time is it open?", "111111" },
		{ "Who is the mayor, who was ill?", "1111111" },
		{ "X was named after what?", "11111" },
		{ "The mayor of X is", "11111" },
		{ "who", "1" },
		{ "", "" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct editor__query query;
		uint8_t asks[EDITOR__QUERY_WORDS_MAX];
		char got[32] = "";
		assert_int_equal(editor__query_init(&query, cases[i].text, strlen(cases[i].text)), 0);
		editor__asking_words(&query, cases[i].text, asks);
		assert_true(query.word_count < sizeof(got));
		for (size_t k = 0; k < query.word_count; k++)
			got[k] = asks[k] ? '1' : '0';
		if (strcmp(got, cases[i].asks) != 0)
			fail_msg("\"%s\": %s, not %s", cases[i].text, got, cases[i].asks);
		editor__query_fini(&query);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_stands_before_a_question_is_left_out),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
