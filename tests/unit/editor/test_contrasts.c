/* Words of which one rules another out. */
#include "editor/contrasts.h"

#include "tests/lib/test.h"

static bool apart(const char *asked, const char *edit)
{
	struct editor__contrasts a, b;
	editor__contrasts_in(&a, asked, strlen(asked));
	editor__contrasts_in(&b, edit, strlen(edit));
	const struct editor__saying x = { &a, asked, strlen(asked) }, y = { &b, edit, strlen(edit) };
	return editor__contrasts_apart(&x, &x, &y);
}

static void one_of_a_set_rules_the_others_out(void **state)
{
	(void)state;
	static const char *const pairs[][2] = {
		{ "how deep is the lake in winter", "how deep is the lake in spring" },
		{ "who is the mother of x", "who is the father of x" },
		{ "who is the mother of x", "who is the grandmother of x" },
		{ "when does it open on fridays", "when does it open on mondays" },
		{ "when does it open", "when does it close" },
		{ "where did x die", "when did x die" },
		{ "what is the date of birth of x", "where was x born" },
		{ "who guards the south gate", "who guards the north gate" },
		{ "what is the last name", "what is the first name" },
		{ "who is the next mayor", "who is the current mayor" },
		{ "how cold is it in july", "how cold is it in january" },
		{ "who lost the final", "who won the final" },
		{ "what is the rear tyre pressure", "the front tyre pressure is" },
		{ "who opened the bridge", "when was the bridge opened" },
		{ "what is the height of the tower", "how old is the tower" },
		{ "how tall is the tower", "how wide is the tower" },
		{ "what is the population of x", "what is the capital of x" },
		{ "who is the ceo of x", "who is the chief financial officer of x" },
		{ "what is the salary of x", "what is the phone number of x" },
		{ "where does the meeting take place", "when does the meeting take place" },
		{ "who translated x into french", "who translated x into german" },
		{ "who translated x", "who illustrated x" },
		{ "which bus goes to x", "which train goes to x" },
		{ "who is the wife of x", "who is the mother of x" },
		{ "who is the daughter of x", "whom is x married to" },
		{ "what is the phone number of x", "what is the postal address of x" },
		{ "what is the monthly fee", "what is the annual fee" },
	};
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		assert_true(apart(pairs[i][0], pairs[i][1]));
		assert_true(apart(pairs[i][1], pairs[i][0]));
		assert_false(apart(pairs[i][0], pairs[i][0]));
	}
	/* another word for it, one of another set, and one that goes with both */
	assert_false(apart("how deep is it in the fall", "how deep is it in autumn"));
	assert_false(apart("in which year was x born", "what is the birth year of x"));
	assert_false(apart("how deep is it in winter", "how deep is it on fridays"));
	assert_false(apart("in which year was x founded", "when was x founded"));
	assert_false(apart("until what time is it open", "when does it close"));
	assert_false(apart("how tall is the tower", "what is the height of the tower"));
	assert_false(apart("where was x born", "what is the location of the birth of x"));
	assert_false(apart("how deep is the old mine", "what is the depth of the old mine"));
	assert_false(apart("what is the email of x", "what is the email address of x"));
	assert_false(apart("who is the wife of x", "who is the spouse of x"));
	assert_false(apart("what wife did give birth to", "the mother of is whom"));
	assert_false(apart("who wrote the song", "who is the composer of the song"));
	assert_false(apart("where does x work", "who does x work for"));
	assert_true(apart("where does x work", "who is mayor for the third time"));
	assert_false(apart("how many people live in the x area", "what is the population of x"));
	assert_false(apart("who leads x in england", "who is the british head of x"));
	/* what says less may mean the same, and so may what names both */
	assert_false(apart("how deep is it in winter", "how deep is it"));
	assert_false(apart("how deep is it", "how deep is it in winter"));
	assert_false(apart("who are the father and mother", "who is the mother"));
	assert_false(apart("when did the siege which would end in defeat begin", "when did the siege begin"));
}

static void some_words_tell_it_alone(void **state)
{
	(void)state;
	static const char *const more[] = { "who is the deputy mayor", "who is the former mayor",
					    "who is the acting mayor", "who is the third mayor",
					    "who is the vice mayor",   "who is her ex mayor",
					    "who is the next mayor",   "who was the first mayor",
					    "the co mayor is" };
	for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++) {
		assert_true(apart(more[i], "who is the mayor"));
		assert_true(apart("who is the mayor", more[i]));
		assert_false(apart(more[i], more[i]));
	}
	static const char *const kin[][2] = {
		{ "who is the mother in law of x", "who is the mother of x" },
		{ "who is the mother in law of x", "who is the father in law of x" },
		{ "who is the stepmother of x", "who is the mother of x" },
		{ "who is the grandson of x", "who is the son of x" },
		{ "who is the great grandmother of x", "who is the grandmother of x" },
		{ "who are the great uncles of x", "who are the uncles of x" },
		{ "who is the godfather of x", "who is the father of x" },
		{ "who is the adoptive mother of x", "who is the mother of x" },
		{ "who is the half brother of x", "who is the brother of x" },
		{ "who is the ex wife of x", "who is the wife of x" },
		{ "who is the exwife of x", "who is the wife of x" },
		{ "who is the vice president of x", "who is the president of x" },
		{ "who is a cofounder of x", "who is the founder of x" },
		/* somebody's */
		{ "who is the wife of the mayor of x", "who is the mayor of x" },
		{ "who is the mayor s wife", "who is the mayor" },
		{ "who was the predecessor of the mayor of x", "who is the mayor of x" },
	};
	for (size_t i = 0; i < sizeof(kin) / sizeof(kin[0]); i++) {
		if (!apart(kin[i][0], kin[i][1]) || !apart(kin[i][1], kin[i][0]) || apart(kin[i][0], kin[i][0]))
			fail_msg("\"%s\", \"%s\"", kin[i][0], kin[i][1]);
	}
	assert_false(apart("who is the step mother of x", "who is the stepmother of x"));
	assert_false(apart("who is the great grandmother of x", "who is the greatgrandmother of x"));
	assert_false(apart("who is a co founder of x", "who is a cofounder of x"));
	assert_false(apart("who is the wife of the mayor of x", "whom is the mayor of x married to"));
	assert_false(apart("who is the wife of x", "who is married to x"));
	assert_false(apart("who won the grand prix", "who won the prix")); /* of kin alone */
	assert_false(apart("what is the mother of the actor called", "who is the actress s mother"));
	assert_true(apart("who was the third wife", "who was the second wife"));
	assert_true(apart("the deputy head the acting chief or the former king", "the deputy head the acting chief or "
										 "the king"));
	assert_false(apart("who was the 2nd wife", "who was the second wife"));
	assert_false(apart("who was wife number two", "who was the second wife"));
	assert_false(apart("who was mayor before", "who is the former mayor"));
	assert_false(apart("who was the former mayor", "who used to be mayor"));
	assert_false(apart("who used to be mayor", "who is the mayor")); /* it asks for nothing by itself */
	/* before another noun they tell something else, and before some nouns nothing */
	assert_false(apart("who is the wife of former footballer x", "who is the wife of x"));
	assert_false(apart("who is the deputy minister in spain and what does x export", "what does x export"));
	assert_false(apart("what was the last year of x", "which year did x end"));
	assert_false(apart("who is mayor for the third time", "who is the mayor"));
}

/* What the rest of a text says may be what the edit does; it is not asked. */
static void the_rest_of_the_text_counts(void **state)
{
	(void)state;
	static const char text[] = "the former mayor is ill who is mayor", who[] = "who is mayor",
			  mayor[] = "the mayor";
	struct editor__contrasts in_text, in_who, in_mayor;
	editor__contrasts_in(&in_text, text, strlen(text));
	editor__contrasts_in(&in_who, who, strlen(who));
	editor__contrasts_in(&in_mayor, mayor, strlen(mayor));
	const struct editor__saying whole = { &in_text, text, strlen(text) }, asked = { &in_who, who, strlen(who) },
				    edit = { &in_mayor, mayor, strlen(mayor) };
	assert_false(editor__contrasts_apart(&asked, &whole, &whole));
	assert_true(editor__contrasts_apart(&asked, &asked, &whole));
	assert_false(editor__contrasts_apart(&asked, &whole, &edit));
	assert_true(editor__contrasts_apart(&whole, &whole, &edit));
}

static void only_whole_words_are_known(void **state)
{
	(void)state;
	assert_true(apart("the former king", "the king"));
	assert_false(apart("the formers king", "the king"));
	assert_false(apart("the form king", "the king"));
	assert_false(apart("king 2", "king"));
	assert_true(apart("the youngest son", "the oldest son")); /* the last of the table */
	assert_false(apart("open in may", "open in june"));
	assert_false(apart("a b c", "d e f"));
	assert_false(apart("", ""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_of_a_set_rules_the_others_out),
		cmocka_unit_test(some_words_tell_it_alone),
		cmocka_unit_test(the_rest_of_the_text_counts),
		cmocka_unit_test(only_whole_words_are_known),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
