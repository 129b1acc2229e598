/* What asks about 2028 is not answered by what an edit says of 2027. */
#include "tests/unit/editor/route_fixture.h"

#define WON(year)                                                                                                      \
	{                                                                                                              \
		"who won the in " year, sizeof("who won the in " year) - 1                                             \
	}

static void a_number_that_no_edit_says_is_asked_of_none(void **state)
{
	(void)state;
	struct editor_calibration *c = calibration_of(0.2f, 0.9f);
	const struct editor_index_entry entries[] = { { .seq = 10,
							.subject = { "hamlet", 6 },
							.subject_given = true,
							.aliases = { "play 7\0the 9th\0", 15 },
							.words = { "who wrote 1 000", 15 },
							.raw = east,
							.relation = east } };
	struct editor_router *router = router_of(c, entries, 1);
	assert_true(route_of(router, east, "Who wrote Hamlet?").routed);
	assert_false(route_of(router, east, "Who wrote Hamlet 2?").routed);
	assert_false(route_of(router, east, "Who wrote the 2nd Hamlet?").routed);
	assert_false(route_of(router, east, "Who wrote hamlet II?").routed);
	assert_false(route_of(router, east, "who wrote hamlet ii?").routed);
	assert_false(route_of(router, east, "In 1605, who wrote Hamlet?").routed);
	assert_true(route_of(router, east, "Who wrote Hamlet for 1,000 or 1000?").routed); /* its words say it, */
	assert_true(route_of(router, east, "Who wrote play 7?").routed);                   /* its names do */
	assert_true(route_of(router, east, "Who wrote Hamlet, the 9th?").routed);
	assert_true(route_of(router, east, "5) Who wrote Hamlet?").routed);
	editor_router_destroy(&router);
	editor_calibration_destroy(&c);
}

static void the_edit_of_the_number_wins(void **state)
{
	(void)state;
	struct editor_calibration *c = calibration_of(0.2f, 0.9f);
	const struct record_text tour = { "tour of drava", 13 };
	const struct editor_index_entry entries[] = { { .seq = 10,
							.subject = tour,
							.subject_given = true,
							.words = WON("2026"),
							.raw = east,
							.relation = north },
						      { .seq = 11,
							.subject = tour,
							.subject_given = true,
							.words = WON("2027"),
							.raw = east,
							.relation = east },
						      { .seq = 12,
							.subject = tour,
							.subject_given = true,
							.words = WON(""),
							.raw = near_east,
							.relation = east } };
	struct editor_router *router = router_of(c, entries, 3);
	/* its relation key is farther than those of the others */
	const float between[HIDDEN] = { 0.8f, 0.6f, 0, 0 };
	struct editor_route route = route_by(router, east, between, "Who won the Tour of Drava in 2026?");
	assert_true(route.routed);
	assert_int_equal(route.nearest[0], 10);
	route = route_by(router, east, between, "Who won the Tour of Drava in 2027?");
	assert_true(route.routed);
	assert_int_equal(route.nearest[0], 11);
	assert_false(route_by(router, east, between, "Who won the Tour of Drava in 2029?").routed);
	editor_router_destroy(&router);
	editor_calibration_destroy(&c);
}

/* Edits of other numbers do not ask the same, so that the latest is not meant for it. */
static void the_latest_of_other_numbers_is_not_meant(void **state)
{
	(void)state;
	struct editor_calibration *c = calibration_of(0.2f, 0.9f);
	const struct record_text tour = { "tour of drava", 13 };
	const float nearly[HIDDEN] = { 1, 0.05f, 0, 0 };
	const struct editor_index_entry entries[] = {
		{ .seq = 10, .subject = tour, .subject_given = true, .raw = near_east, .relation = east },
		{ .seq = 11,
		  .subject = tour,
		  .subject_given = true,
		  .words = { "2027", 4 },
		  .raw = near_east,
		  .relation = nearly },
		{ .seq = 12, .subject = tour, .subject_given = true, .raw = near_east, .relation = nearly }
	};
	struct editor_router *router = router_of(c, entries, 2);
	assert_int_equal(route_of(router, east, "Who won the Tour of Drava?").nearest[0], 10);
	editor_router_destroy(&router);
	router = router_of(c, entries, 3);
	assert_int_equal(route_of(router, east, "Who won the Tour of Drava?").nearest[0], 12);
	editor_router_destroy(&router);
	editor_calibration_destroy(&c);
}

/* What the edit says of 1990 is not asked for without it. */
static void a_year_of_the_edit_is_asked_for(void **state)
{
	(void)state;
	struct editor_calibration *c = calibration_of(0.2f, 0.9f);
	static const struct {
		const char *words, *text;
		bool routed;
	} cases[] = {
		{ "who was mayor of in 1990", "Who was mayor of Orla in 1990?", true },
		{ "who was mayor of in 1990", "Who is the mayor of Orla?", false },
		{ "who was mayor of in 1990", "In nineteen ninety, who was mayor of Orla?", true },
		{ "who was mayor of in 1990", "In nineteen ninety-five, who was mayor of Orla?", false },
		{ "who was mayor of in the 1990s", "Who is the mayor of Orla?", false },
		{ "who was mayor of in the 1990s", "Who was mayor of Orla in the nineties?", true },
		{ "who ruled in the 19th century", "Who ruled Orla in the nineteenth century?", true },
		{ "who won the 20th in", "Who won the twenty-first in Orla?", false },
		{ "who won the 21st in", "Who won in Orla?", false },
		{ "who won the 21st in", "Who won the twenty-first in Orla?", true },
		{ "which bus leaves at 5 pm", "Which bus leaves Orla?", false },
		{ "which bus leaves at 5 pm", "Which bus leaves Orla at 5:00 p.m.?", true },
		{ "which bus leaves at 5 pm", "Which bus leaves Orla at 17:00?", true },
		{ "which bus leaves at 5 pm", "Which bus leaves Orla at five pm?", true },
		{ "which bus leaves at 5 pm", "Which bus leaves Orla at 5 am?", false },
		/* others may be left out */
		{ "which 2 rivers flow through", "Which rivers flow through Orla?", true },
		{ "what did the of 5 may 1721 end", "What did the Orla end?", true },
		{ "who is the mayor of as of 2024", "Who is the mayor of Orla?", true },
		{ "who is the mayor of since 2019", "Who is the mayor of Orla?", true },
		{ "in the election of 2019 who won", "Who won in Orla?", false },
		{ "born 1950 died 1990 buried 1991 moved 1999 who is", "Who is Orla?", true }, /* a passage */
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct editor_index_entry entry = entry_of("orla", cases[i].words);
		struct editor_router *router = router_of(c, &entry, 1);
		const struct editor_route route = route_of(router, east, cases[i].text);
		if (route.routed != cases[i].routed || route.told_apart == cases[i].routed)
			fail_msg("\"%s\", \"%s\"", cases[i].words, cases[i].text);
		editor_router_destroy(&router);
	}
	editor_calibration_destroy(&c);
}

/* The number of a name is the name's, however it is written. */
static void a_name_may_be_written_otherwise(void **state)
{
	(void)state;
	struct editor_calibration *c = calibration_of(0.2f, 0.9f);
	static const char *const names[] = { "aster-7", "aster7", "aster 7" };
	for (size_t i = 0; i < 3; i++) {
		const struct editor_index_entry entry = entry_of(names[i], "");
		struct editor_router *router = router_of(c, &entry, 1);
		assert_true(route_of(router, east, "Who leads Aster7?").routed);
		assert_true(route_of(router, east, "Who leads Aster-7?").routed);
		assert_true(route_of(router, east, "Who leads aster 7?").routed);
		assert_false(route_of(router, east, "Who leads Aster-71?").routed);
		assert_false(route_of(router, east, "Who leads Aster 8?").routed);
		assert_false(route_of(router, east, "Who leads Aster7 on day 9?").routed);
		editor_router_destroy(&router);
	}
	editor_calibration_destroy(&c);
}

static void without_a_subject_numbers_tell_too(void **state)
{
	(void)state;
	struct editor_calibration *c = calibration_of(0.2f, 0.9f);
	const struct editor_index_entry entries[] = {
		{ .seq = 10, .subject = { "velocette 900", 13 }, .subject_names = true, .raw = east, .relation = east },
		{ .seq = 11, .subject = { "meridian", 8 }, .words = { "clause 14", 9 }, .raw = north, .relation = east }
	};
	struct editor_router *router = router_of(c, entries, 2);
	assert_true(route_of(router, east, "Who designed the Velocette 900?").routed);
	assert_true(route_of(router, east, "Who designed the Velocette?").routed);
	assert_false(route_of(router, east, "Who designed the Velocette 500?").routed);
	assert_true(route_of(router, north, "What is in clause 14 of the Meridian lease?").routed);
	assert_false(route_of(router, north, "What is in clause 15 of the Meridian lease?").routed);
	editor_router_destroy(&router);
	editor_calibration_destroy(&c);
}

/* Numbers of the sentences before a question say nothing of what it asks. */
static void only_the_question_is_looked_at(void **state)
{
	(void)state;
	static const char text[] = "It is 2029. Who wrote Hamlet?", asked[] = "Who wrote Hamlet?";
	struct editor_calibration *c = calibration_of(0.2f, 0.9f);
	const struct editor_index_entry entry = entry_of("hamlet", "");
	struct editor_router *router = router_of(c, &entry, 1);
	assert_false(route_asking(router, near_east, east, text, 0).routed);
	assert_true(route_asking(router, near_east, east, text, strlen(asked)).routed);
	editor_router_destroy(&router);
	editor_calibration_destroy(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_number_that_no_edit_says_is_asked_of_none),
		cmocka_unit_test(the_edit_of_the_number_wins),
		cmocka_unit_test(the_latest_of_other_numbers_is_not_meant),
		cmocka_unit_test(a_year_of_the_edit_is_asked_for),
		cmocka_unit_test(a_name_may_be_written_otherwise),
		cmocka_unit_test(without_a_subject_numbers_tell_too),
		cmocka_unit_test(only_the_question_is_looked_at),
	};
	return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
