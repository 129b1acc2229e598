/* Routes by other names of a subject. */
#include "tests/unit/editor/route_fixture.h"

#include <math.h>

#define NHT(after)                                                                                                     \
	{                                                                                                              \
		"nht\0bay" after "\0", 5 + sizeof("bay" after) - 1                                                     \
	}

static void a_subject_goes_by_its_aliases(void **state)
{
	(void)state;
	struct editor_calibration *c = calibration_of(0.2f, 0.9f);
	struct editor_index_entry entries[] = {
		{ .seq = 10,
		  .subject = { "new harborton", 13 },
		  .subject_given = true,
		  .aliases = NHT(" of harbours"),
		  .words = { "mayor nht", 9 },
		  .raw = near_east,
		  .relation = north },
		{ .seq = 11, .subject = { "new harborton", 13 }, .subject_given = true, .raw = east, .relation = up }
	};
	struct editor_router *router = router_of(c, entries, 1);
	struct editor_route route = route_by(router, east, north, "Who is the mayor of New Harborton?");
	assert_true(route.routed);
	assert_true(fabsf(route.relation_score - (1 + EDITOR_RELATION_WORDS / 2)) < 1e-5f);
	/* the words of the name that stands there are no words of the question; others are */
	route = route_by(router, east, north, "Who is the mayor of NHT?");
	assert_true(route.routed && route.subject_found);
	assert_true(fabsf(route.relation_score - (1 + EDITOR_RELATION_WORDS / 2)) < 1e-5f);
	assert_true(route_by(router, east, north, "Bay of Harbours has which mayor?").routed);
	assert_false(route_by(router, east, north, "Who is the mayor of Orla?").routed);
	assert_false(route_by(router, east, north, "Who owns the NHT Society?").routed); /* a longer name */
	editor_router_destroy(&router);
	/* edits on one subject are those whose subjects are the same: the nearer one need not list the alias */
	router = router_of(c, entries, 2);
	route = route_by(router, east, up, "Who is the mayor of NHT?");
	assert_true(route.routed);
	assert_int_equal(route.nearest[0], 11);
	assert_int_equal(route_by(router, east, north, "Who is the mayor of NHT?").nearest[0], 10);
	editor_router_destroy(&router);
	entries[0].aliases = (struct record_text){ NULL, 0 };
	router = router_of(c, entries, 2);
	assert_false(route_by(router, east, north, "Who is the mayor of NHT?").routed);
	editor_router_destroy(&router);
	editor_calibration_destroy(&c);
}

/* A word beside the subject makes a longer name of it, but not where another name of the same subject says it. */
static void a_shorter_name_is_no_longer_one(void **state)
{
	(void)state;
	static const char doctor[] = "doctor skarsgaard";
	struct editor_calibration *c = calibration_of(0.95f, 0.9f);
	struct editor_index_entry entry = entry_of("emil skarsgaard", "where is buried");
	entry.aliases = (struct record_text){ doctor, sizeof(doctor) };
	struct editor_router *router = router_of(c, &entry, 1);
	assert_true(route_of(router, east, "Where is Doctor Emil Skarsgaard buried?").routed);
	assert_true(route_of(router, east, "Where is Emil Skarsgaard buried?").routed);
	assert_false(route_of(router, east, "Where is Admiral Emil Skarsgaard buried?").routed);
	assert_false(route_of(router, east, "Where is the Doctor Emil Skarsgaard Society buried?").routed);
	editor_router_destroy(&router);
	entry.aliases = (struct record_text){ NULL, 0 };
	router = router_of(c, &entry, 1);
	assert_false(route_of(router, east, "Where is Doctor Emil Skarsgaard buried?").routed);
	editor_router_destroy(&router);
	editor_calibration_destroy(&c);
}

/* Keys of the prompt by other names lead to the edit, which counts once. */
static void forms_of_a_prompt_are_its_edit(void **state)
{
	(void)state;
	struct editor_calibration *c = calibration_of(0.95f, 0.9f);
	const float forms[2][2][HIDDEN] = { { { 0, 2, 0, 0 }, { 1, 0, 0, 0 } }, { { 0, 1, 1, 0 }, { 1, 0, 0, 0 } } };
	struct editor_index_entry entries[] = { { .seq = 10,
						  .subject = { "new harborton", 13 },
						  .subject_given = true,
						  .aliases = NHT(""),
						  .raw = east,
						  .relation = east,
						  .forms = forms[0][0],
						  .form_count = 2 },
						{ .seq = 11, .raw = up, .relation = east } };
	struct editor_router *router = router_of(c, entries, 2);
	size_t memory = 0;
	assert_int_equal(editor_router_count(router), 2);
	assert_true(editor_router_memory_of(router, 10, &memory));
	struct editor_route route = route_of(router, north, "Who is the mayor of NHT?");
	assert_true(route.routed);
	assert_true(route.prompt_score > 0.999f);
	assert_int_equal(route.nearest_count, 2);
	assert_int_equal(route.nearest[0], 10);
	assert_int_equal(route.nearest[1], 11);
	assert_true(route_of(router, east, "Who is the mayor of New Harborton?").routed);
	assert_false(route_of(router, north, "Who is the mayor of Orla?").routed);
	/* they go with it */
	editor_router_cut(router, 0);
	assert_int_equal(editor_router_count(router), 0);
	assert_false(route_of(router, north, "Who is the mayor of NHT?").routed);
	const uint64_t removed[] = { 10 };
	struct buf bytes = BUF_INIT;
	struct err e = ERR_INIT;
	encode(entries, 2, &bytes);
	assert_int_equal(editor_router_add(router, bytes.data, bytes.len, 3, removed, 1, &e), 0);
	assert_int_equal(editor_router_count(router), 1);
	assert_false(route_of(router, north, "Who is the mayor of NHT?").routed);
	assert_int_equal(editor_router_add(router, bytes.data, bytes.len - 1, 4, NULL, 0, &e), ERR_CORRUPT);
	assert_int_equal(editor_router_count(router), 1);
	buf_free(&bytes);
	editor_router_destroy(&router);
	entries[0].form_count = 0;
	router = router_of(c, entries, 2);
	assert_false(route_of(router, north, "Who is the mayor of NHT?").routed);
	editor_router_destroy(&router);
	editor_calibration_destroy(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_subject_goes_by_its_aliases),
		cmocka_unit_test(a_shorter_name_is_no_longer_one),
		cmocka_unit_test(forms_of_a_prompt_are_its_edit),
	};
	return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
