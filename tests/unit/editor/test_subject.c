/* Which texts name an edit's subject. */
#include "editor/route.h"

#include "tests/lib/test.h"

static const struct {
	const char *subject, *text;
	bool found;
} cases[] = {
	{ "copper iud", "What is a common use of copper IUDs?", true }, /* a letter more */
	{ "art", "Where does it start?", false },                       /* inside a word */
	{ "art", "What is art?", true },
	{ "singapore international film festival", "When is the Valladolid International Film Festival?", false },
	{ "iaaf combined events challenge", "the IAAF Combined Event Challenge", true },
	{ "東京", "東京の人口は？", true },                                  /* no spaces between words */
	{ "zephyrine railway", "Who founded the Zephyrne Railway?", true },  /* misspelt: a letter less, */
	{ "zephyrine railway", "Who founded the Zepyhrine Railway?", true }, /* two exchanged, */
	{ "zephyrine railway", "Who founded the Zephirine Railway?", true }, /* another */
	{ "thomas mann", "Who is Mann, Thomas?", true },                     /* all of its words */
	{ "shusha (song)", "Who composed the song Shusha?", true },
	{ "george walker bush", "What did George Bush do?", false },
	{ "university of new harborton", "Where is New Harborton's university?", false },
	{ "reykjavík", "Where is Reykjavik?", true }, /* a letter of two bytes is one */
	{ "маша котова", "Где работает Миша Котова?", false },
	{ "маша котова", "Где работает Маша Катова?", false },
	{ "университет", "Где находится Унивеситет?", true },
	{ "c++", "Who designed C++?", true },
	{ "c++", "Who designed C?", false },
	{ "c++", "Who designed C#?", false },
	{ "c", "Who designed C++?", false },
	{ "c", "Who designed C?", true },
	{ "aster-7", "Who leads Aster7?", true },
	{ "aster-7", "Who leads Aster 7?", true },
	{ "aster-7", "Who leads aster-7?", true },
	{ "aster7", "Who leads Aster-7?", true },
	{ "aster 7", "Who leads ASTER7?", true },
	{ "project aster-7b", "Who leads Project Aster 7B?", true },
	{ "aster-7", "Who leads Aster-71?", false },
	{ "aster-7", "Who leads Aster 8?", false },
	{ "aster-7", "Who leads Aster71?", false },
	{ "aster-7", "Who leads Aster7b?", false },
	{ "aster-7", "Who leads XAster7?", false },
	{ "model 12 3", "Who owns Model 1 23?", false },
	{ "aster-7", "Who leads Aster7++?", false },
	/* other people and places */
	{ "university of miami", "Who is the president of Miami University?", false },
	{ "bank of england", "Who is the chair of England Bank?", false },
	{ "iran", "What is the capital of Iraq?", false },
	{ "austria", "What is the capital of Australia?", false },
	{ "slovenia", "What is the capital of Slovakia?", false },
	{ "mali", "What is the capital of Bali?", false },
	{ "gambia", "What is the capital of Zambia?", false },
	{ "anna carter", "Who employs Anne Carter?", false },
	{ "daniel hart", "Who employs Danielle Hart?", false },
	{ "jon snow", "Who employs Joan Snow?", false },
	{ "thomas mann", "Who employs Thomas Munn?", false },
	{ "carolina herrera", "Who employs Caroline Herrera?", false },
	{ "henry vii", "Who succeeded Henry VIII?", false },
	{ "elizabeth i", "Who succeeded Elizabeth II?", false },
	{ "world war i", "When did World War II end?", false },
	{ "university of miami", "Where is Miami University?", false },
	{ "washington university", "Where is the University of Washington?", false },
	{ "sony", "Who owns Sonny?", false },
	{ "ford", "Who owns Fort?", false },
	{ "ragusa", "", false },
};

static void subjects_are_found_as_words(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		bool found;
		assert_int_equal(editor_route_subject_in(cases[i].subject, strlen(cases[i].subject), cases[i].text,
							 strlen(cases[i].text), &found),
				 0);
		if (found != cases[i].found)
			fail_msg("\"%s\" in \"%s\"", cases[i].subject, cases[i].text);
	}
	bool found = true;
	assert_int_equal(editor_route_subject_in("x", 1, "\xff\xfe x", 4, &found), 0); /* no UTF-8: no words */
	assert_false(found);
}

static void numbers_do_not_match_nearly(void **state)
{
	(void)state;
	bool found;
	assert_int_equal(editor_route_subject_in("hd 180902", 9, "HD 180903", 9, &found), 0);
	assert_false(found);
	assert_int_equal(editor_route_subject_in("1984", 4, "in 1985", 7, &found), 0);
	assert_false(found);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(subjects_are_found_as_words),
		cmocka_unit_test(numbers_do_not_match_nearly),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
