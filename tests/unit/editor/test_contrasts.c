/* Words of which one rules another out. */
#include "editor/contrasts.h"

#include "tests/lib/test.h"

static struct editor__contrasts said(const char *text)
{
	struct editor__contrasts said = { { 0 } };
	assert_int_equal(editor__contrasts_in(&said, text, strlen(text)), 0);
	return said;
}

static bool apart(const char *asked, const char *edit)
{
	const struct editor__contrasts a = said(asked), b = said(edit);
	return editor__contrasts_apart(&a, &a, &b);
}

static void one_of_a_set_rules_the_others_out(void **state)
{
	(void)state;
	static const char *const pairs[][2] = {
		{ "how deep is the lake in winter", "how deep is the lake in spring" },
		{ "who is the mother of x", "who is the father of x" },
		{ "when does it open on fridays", "when does it open on mondays" },
		{ "who guards the south gate", "who guards the north gate" },
		{ "who is the actress", "who is the actor" },
		{ "what is the last name", "what is the first name" },
		{ "who is the next mayor", "who is the current mayor" },
		{ "how cold is it in july", "how cold is it in january" },
		{ "who lost the final", "who won the final" },
		{ "what is the rear tyre pressure", "the front tyre pressure is" },
	};
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		assert_true(apart(pairs[i][0], pairs[i][1]));
		assert_true(apart(pairs[i][1], pairs[i][0]));
		assert_false(apart(pairs[i][0], pairs[i][0]));
	}
	/* another word for it, and one of another set */
	assert_false(apart("how deep is it in the fall", "how deep is it in autumn"));
	assert_false(apart("in which year was x born", "what is the birth year of x"));
	assert_false(apart("how deep is it in winter", "how deep is it on fridays"));
	/* the mother's father is asked, not the father; what says less may mean the same */
	assert_true(apart("who is the mother of the father of x", "who is the father of x"));
	assert_false(apart("who is the father", "who is the mother of the father of x"));
	assert_false(apart("how deep is it in winter", "how deep is it"));
	assert_false(apart("how deep is it", "how deep is it in winter"));
}

static void some_words_tell_it_alone(void **state)
{
	(void)state;
	static const char *const more[] = { "who is the deputy mayor", "who is the former mayor",
					    "who is the acting mayor", "who is the third mayor",
					    "who is the vice mayor",   "who is her ex mayor" };
	for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++) {
		assert_true(apart(more[i], "who is the mayor"));
		assert_true(apart("who is the mayor", more[i]));
		assert_false(apart(more[i], more[i]));
	}
	assert_true(apart("who was the third wife", "who was the second wife"));
	assert_false(apart("who was the 2nd wife", "who was the second wife"));
	assert_false(apart("who was mayor before", "who is the former mayor"));
	assert_false(apart("who was the former mayor", "who used to be mayor"));
	assert_false(apart("who used to be mayor", "who is the mayor")); /* it asks for nothing by itself */
}

/* What the rest of a text says may be what the edit does; it is not asked. */
static void the_rest_of_the_text_counts(void **state)
{
	(void)state;
	const struct editor__contrasts former = said("the former mayor is ill who is it"), who = said("who is it"),
				       mayor = said("the mayor");
	assert_false(editor__contrasts_apart(&who, &former, &former));
	assert_true(editor__contrasts_apart(&who, &who, &former));
	assert_false(editor__contrasts_apart(&who, &former, &mayor));
	assert_true(editor__contrasts_meet(&former, &former));
	assert_false(editor__contrasts_meet(&former, &mayor));
}

static void only_whole_words_are_known(void **state)
{
	(void)state;
	assert_true(editor__contrasts_has("2nd", 3));
	assert_true(editor__contrasts_has("after", 5)); /* the first and the last of the table */
	assert_true(editor__contrasts_has("youngest", 8));
	assert_false(editor__contrasts_has("wint", 4));
	assert_false(editor__contrasts_has("winters", 7));
	assert_false(editor__contrasts_has("2", 1));
	assert_false(editor__contrasts_has("may", 3));
	assert_false(apart("a b c", "d e f"));
	struct editor__contrasts nothing = said("");
	assert_int_equal(editor__contrasts_in(&nothing, "\xff", 1), ERR_INVALID);
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
