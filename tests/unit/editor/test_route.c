#include "editor/route.h"

#include "tests/unit/editor/tiny.h"

#include <math.h>

#define HIDDEN 4

static struct editor_calibration *calibration_of(float subject, float open)
{
	struct buf bytes = BUF_INIT;
	struct err e = ERR_INIT;
	struct editor_calibration *c = NULL;
	plain_calibration(HIDDEN, subject, open, &bytes);
	assert_int_equal(editor_calibration_decode(bytes.data, bytes.len, &c, &e), 0);
	buf_free(&bytes);
	return c;
}

static const float east[HIDDEN] = { 1, 0, 0, 0 }, north[HIDDEN] = { 0, 2, 0, 0 }, up[HIDDEN] = { 0, 0, 5, 0 };
static const float near_east[HIDDEN] = { 0.9f, 0.3f, 0, 0 };

static void encode(const struct editor_index_entry *entries, size_t count, struct buf *out)
{
	struct err e = ERR_INIT;
	assert_int_equal(editor_index_encode(entries, count, HIDDEN, out, &e), 0);
}

static struct editor_router *router_of(const struct editor_calibration *c, const struct editor_index_entry *entries,
				       size_t count)
{
	struct buf bytes = BUF_INIT;
	struct err e = ERR_INIT;
	struct editor_router *router = NULL;
	encode(entries, count, &bytes);
	assert_int_equal(editor_router_new(c, &router, &e), 0);
	assert_int_equal(editor_router_add(router, bytes.data, bytes.len, 3, NULL, 0, &e), 0);
	buf_free(&bytes);
	return router;
}

static struct editor_route route_of(const struct editor_router *router, const float *raw, const char *text)
{
	struct editor_route route;
	struct err e = ERR_INIT;
	assert_int_equal(editor_router_route(router, raw, text, strlen(text), &route, &e), 0);
	return route;
}

static void open_routes_need_the_open_threshold(void **state)
{
	(void)state;
	struct editor_calibration *c = calibration_of(0.2f, 0.9f);
	const struct editor_index_entry entries[] = { { 10, { "", 0 }, east },
						      { 11, { "", 0 }, north },
						      { 12, { "", 0 }, up } };
	struct editor_router *router = router_of(c, entries, 3);
	struct editor_route route = route_of(router, near_east, "any");
	assert_true(route.routed);
	assert_int_equal(route.memory, 3);
	assert_int_equal(route.nearest_count, 3);
	assert_int_equal(route.nearest[0], 10);
	assert_int_equal(route.nearest[1], 11);
	assert_true(fabsf(route.prompt_score - 0.9f / sqrtf(0.9f)) < 1e-6f);
	assert_true(route.prompt_threshold == 0.9f);
	const float between[HIDDEN] = { 1, 1, 0, 0 };
	route = route_of(router, between, "any");
	assert_false(route.routed);
	assert_true(fabsf(route.prompt_score - 0.70710678f) < 1e-6f);
	assert_int_equal(route.nearest[0], 10); /* the earlier one wins a tie */
	editor_router_destroy(&router);
	editor_calibration_destroy(&c);
}

static void a_subject_must_stand_in_the_query(void **state)
{
	(void)state;
	struct editor_calibration *c = calibration_of(0.2f, 0.9f);
	const struct editor_index_entry entries[] = { { 10, { "hd 180902", 9 }, east },
						      { 11, { "dingo creek", 11 }, north } };
	struct editor_router *router = router_of(c, entries, 2);
	assert_false(
		route_of(router, east, "Which constellation is HD 177808 in?").routed); /* cosine 1, another subject */
	struct editor_route route = route_of(router, east, "Which constellation is HD 180902 in?");
	assert_true(route.routed && route.subject_found);
	assert_true(route.prompt_threshold == 0.2f);
	/* the farther edit is the one that is named: it comes first */
	route = route_of(router, near_east, "Where does DINGO  creek flow?");
	assert_true(route.routed);
	assert_int_equal(route.nearest[0], 11);
	assert_true(route.nearest_score[0] < route.nearest_score[1]);
	/* named, but the key is too far */
	assert_false(route_of(router, east, "dingo creek").routed);
	editor_router_destroy(&router);
	editor_calibration_destroy(&c);
}

static void subjects_are_found_as_words(void **state)
{
	(void)state;
	static const struct {
		const char *subject, *text;
		bool found;
	} cases[] = {
		{ "copper iud", "What is a common use of copper IUDs?", true }, /* a letter more */
		{ "art", "Where does it start?", false },                       /* inside a word */
		{ "art", "What is art?", true },
		{ "singapore international film festival", "When is the Valladolid International Film Festival?",
		  false },
		{ "iaaf combined events challenge", "the IAAF Combined Event Challenge", true },
		{ "東京", "東京の人口は？", true }, /* no spaces between words */
		{ "ragusa", "", false },
	};
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

static void removed_edits_are_left_out(void **state)
{
	(void)state;
	struct editor_calibration *c = calibration_of(0.2f, 0.9f);
	const struct editor_index_entry entries[] = { { 10, { "", 0 }, east }, { 11, { "", 0 }, north } };
	const uint64_t removed[] = { 10 };
	struct buf bytes = BUF_INIT;
	struct err e = ERR_INIT;
	struct editor_router *router = NULL;
	size_t memory = 0;
	encode(entries, 2, &bytes);
	assert_int_equal(editor_router_new(c, &router, &e), 0);
	assert_false(route_of(router, east, "empty").routed);
	assert_int_equal(editor_router_add(router, bytes.data, bytes.len, 5, removed, 1, &e), 0);
	assert_int_equal(editor_router_count(router), 1);
	assert_false(route_of(router, east, "any").routed);
	assert_true(editor_router_memory_of(router, 11, &memory));
	assert_int_equal(memory, 5);
	assert_false(editor_router_memory_of(router, 10, &memory));
	buf_free(&bytes);
	editor_router_destroy(&router);
	editor_calibration_destroy(&c);
}

static void damaged_indexes_are_refused(void **state)
{
	(void)state;
	struct editor_calibration *c = calibration_of(0.2f, 0.9f);
	const struct editor_index_entry entries[] = { { 10, { "abc", 3 }, east }, { 11, { "", 0 }, north } };
	struct buf bytes = BUF_INIT;
	struct err e = ERR_INIT;
	struct editor_router *router = NULL;
	encode(entries, 2, &bytes);
	assert_int_equal(editor_router_new(c, &router, &e), 0);
	for (size_t len = 0; len < bytes.len; len++)
		assert_int_equal(editor_router_add(router, bytes.data, len, 0, NULL, 0, &e), ERR_CORRUPT);
	assert_int_equal(editor_router_count(router), 0); /* nothing was taken */
	buf_u8(&bytes, 0);
	assert_int_equal(editor_router_add(router, bytes.data, bytes.len, 0, NULL, 0, &e), ERR_CORRUPT);
	bytes.len--;
	bytes.data[4] = 9; /* format */
	assert_int_equal(editor_router_add(router, bytes.data, bytes.len, 0, NULL, 0, &e), ERR_UNSUPPORTED);
	bytes.data[4] = 1;
	bytes.data[8] = HIDDEN + 1;
	assert_int_equal(editor_router_add(router, bytes.data, bytes.len, 0, NULL, 0, &e), ERR_MISMATCH);
	bytes.data[8] = HIDDEN;
	bytes.data[bytes.len - 1] = 0x7F; /* the last float: infinite or NaN */
	bytes.data[bytes.len - 2] = 0xC0;
	assert_int_equal(editor_router_add(router, bytes.data, bytes.len, 0, NULL, 0, &e), ERR_CORRUPT);
	buf_free(&bytes);
	editor_router_destroy(&router);
	editor_calibration_destroy(&c);
}

static void raw_keys_leave_the_first_token_out(void **state)
{
	(void)state;
	const float states[][2] = { { 100, 100 }, { 1, 2 }, { 3, 4 }, { 7, 9 } };
	const struct model_segment segments[] = { { .row_count = 3 }, { .row_count = 1 } };
	float raw[2][2];
	editor_route_raw_keys(&states[0][0], segments, 2, 2, &raw[0][0]);
	assert_true(raw[0][0] == 2 && raw[0][1] == 3);
	assert_true(raw[1][0] == 7 && raw[1][1] == 9); /* the only token counts */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(open_routes_need_the_open_threshold),
		cmocka_unit_test(a_subject_must_stand_in_the_query),
		cmocka_unit_test(subjects_are_found_as_words),
		cmocka_unit_test(numbers_do_not_match_nearly),
		cmocka_unit_test(removed_edits_are_left_out),
		cmocka_unit_test(damaged_indexes_are_refused),
		cmocka_unit_test(raw_keys_leave_the_first_token_out),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
