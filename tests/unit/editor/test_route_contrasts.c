/* What asks about the winter is not answered by what an edit says of the summer (contrasts.h). */
#include "tests/unit/editor/route_fixture.h"

#define WORDS(text)                                                                                                    \
	{                                                                                                              \
		text, sizeof(text) - 1                                                                                 \
	}

static void the_other_of_two_is_asked_of_no_edit(void **state)
{
	(void)state;
	struct editor_calibration *c = calibration_of(0.2f, 0.9f);
	struct editor_index_entry entry = entry_of("lake sarn", "how deep is in spring");
	entry.aliases = (struct record_text){ "winter pond\0", 12 };
	struct editor_router *router = router_of(c, &entry, 1);
	assert_true(route_of(router, east, "How deep is Lake Sarn in spring?").routed);
	assert_true(route_of(router, east, "How deep is Lake Sarn?").routed);
	const struct editor_route winter = route_of(router, east, "How deep is Lake Sarn in winter?");
	assert_false(winter.routed);
	assert_true(winter.told_apart && winter.subject_found);
	assert_true(winter.prompt_threshold == 0.2f); /* the subject's */
	const struct editor_route borra = route_of(router, east, "How deep is Lake Borra in winter?");
	assert_true(borra.prompt_threshold == 0.9f); /* any text's */
	assert_false(route_of(router, east, "How deep is Lake Sarn?").told_apart);
	assert_false(route_of(router, east, "How deep is Lake Borra in winter?").told_apart);
	assert_true(route_of(router, east, "How deep is Winter Pond in spring?").routed);  /* its name says so, */
	assert_false(route_of(router, east, "How deep is Winter Pond in winter?").routed); /* and it is asked */
	assert_true(route_of(router, east, "Good winter, how deep is Lake Sarn?").routed); /* before what is asked */
	assert_false(route_of(router, east, "In winter, how deep is Lake Sarn?").routed);
	editor_router_destroy(&router);
	editor_calibration_destroy(&c);
}

/* Though its relation key is farther than the other's. */
static void the_edit_of_the_word_wins(void **state)
{
	(void)state;
	struct editor_calibration *c = calibration_of(0.2f, 0.9f);
	const struct record_text moen = WORDS("harald moen");
	const float between[HIDDEN] = { 0.8f, 0.6f, 0, 0 };
	const struct editor_index_entry entries[] = { { .seq = 10,
							.subject = moen,
							.subject_given = true,
							.words = WORDS("who was the second wife of"),
							.raw = east,
							.relation = north },
						      { .seq = 11,
							.subject = moen,
							.subject_given = true,
							.words = WORDS("who was the third wife of"),
							.raw = east,
							.relation = east } };
	struct editor_router *router = router_of(c, entries, 2);
	assert_int_equal(route_by(router, east, between, "Who was the 2nd wife of Harald Moen?").nearest[0], 10);
	assert_int_equal(route_by(router, east, between, "Who was the third wife of Harald Moen?").nearest[0], 11);
	assert_false(route_by(router, east, between, "Who was the fourth wife of Harald Moen?").routed);
	assert_false(route_by(router, east, between, "Who was the wife of Harald Moen?").routed);
	editor_router_destroy(&router);
	editor_calibration_destroy(&c);
}

/* The latest of those that ask the same is meant, and these do not. */
static void the_latest_of_other_words_is_not_meant(void **state)
{
	(void)state;
	struct editor_calibration *c = calibration_of(0.2f, 0.9f);
	const struct record_text moen = WORDS("harald moen");
	const float nearly[HIDDEN] = { 1, 0.05f, 0, 0 };
	struct editor_index_entry entries[] = { { .seq = 10,
						  .subject = moen,
						  .subject_given = true,
						  .words = WORDS("where lived"),
						  .raw = near_east,
						  .relation = east },
						{ .seq = 11,
						  .subject = moen,
						  .subject_given = true,
						  .words = WORDS("where lived"),
						  .raw = near_east,
						  .relation = nearly } };
	for (size_t k = 0; k < 2; k++) {
		struct editor_router *router = router_of(c, entries, 2);
		assert_int_equal(route_of(router, east, "Where lived Harald Moen?").nearest[0], k == 0 ? 11 : 10);
		editor_router_destroy(&router);
		entries[1].words = (struct record_text)WORDS("where lived the former");
	}
	editor_calibration_destroy(&c);
}

/* Words that stand for a subject that nobody gave are the prompt's. */
static void without_a_subject_words_tell_too(void **state)
{
	(void)state;
	struct editor_calibration *c = calibration_of(0.2f, 0.9f);
	struct editor_index_entry entry = entry_of("winter", "what is the price of a room in");
	entry.subject_given = false;
	struct editor_router *router = router_of(c, &entry, 1);
	assert_true(route_of(router, east, "What is the price of a room in winter?").routed);
	assert_false(route_of(router, east, "What is the price of a room in summer?").routed);
	editor_router_destroy(&router);
	editor_calibration_destroy(&c);
}

/* What the sentences before a question say is not what it asks, but may be what the edit says. */
static void only_the_question_asks(void **state)
{
	(void)state;
	static const char text[] = "I ask in winter: how deep is it? How deep is Lake Sarn?",
			  asked[] = "How deep is Lake Sarn?",
			  pond[] = "How deep is the water of Winter Pond in spring?",
			  former[] = "The former one is meant. How deep is the water of Winter Pond in spring?";
	struct editor_calibration *c = calibration_of(0.2f, 0.9f);
	struct editor_index_entry entry = entry_of("lake sarn", "how deep is in spring");
	entry.aliases = (struct record_text){ "winter pond\0", 12 };
	struct editor_router *router = router_of(c, &entry, 1);
	assert_true(route_asking(router, east, east, text, strlen(asked)).routed);
	assert_false(route_of(router, east, text).routed);
	editor_router_destroy(&router);
	entry.words = (struct record_text)WORDS("how deep is the former water of in spring");
	router = router_of(c, &entry, 1);
	assert_true(route_asking(router, east, east, former, strlen(pond)).routed);
	assert_false(route_asking(router, east, east, pond, strlen(pond)).routed);
	editor_router_destroy(&router);
	editor_calibration_destroy(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_other_of_two_is_asked_of_no_edit),
		cmocka_unit_test(the_edit_of_the_word_wins),
		cmocka_unit_test(the_latest_of_other_words_is_not_meant),
		cmocka_unit_test(without_a_subject_words_tell_too),
		cmocka_unit_test(only_the_question_asks),
	};
	return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
