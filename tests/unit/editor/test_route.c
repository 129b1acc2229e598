#include "tests/unit/editor/route_fixture.h"

#include <math.h>

static void open_routes_need_the_open_threshold(void **state)
{
	(void)state;
	struct editor_calibration *c = calibration_of(0.2f, 0.9f);
	const struct editor_index_entry entries[] = { { .seq = 10, .raw = east, .relation = east },
						      { .seq = 11, .raw = north, .relation = east },
						      { .seq = 12, .raw = up, .relation = east } };
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

/* Words that only stand for a subject may be missing, but then few edits are no reason to be less strict. */
static void without_the_words_of_an_open_edit_a_text_must_be_nearer(void **state)
{
	(void)state;
	struct editor_calibration *c = calibration_of(0.2f, 0.5f);
	const struct editor_index_entry entry = {
		.seq = 10, .subject = { "kestrelburg", 11 }, .raw = east, .relation = east
	};
	c->thresholds[EDITOR_THRESHOLDS - 1].threshold = 0.97f;
	struct editor_router *router = router_of(c, &entry, 1);
	struct editor_route route = route_of(router, near_east, "Which river flows through Hamburg?");
	assert_false(route.routed || route.subject_found);
	assert_true(route.prompt_score > 0.94f && route.prompt_score < 0.95f);
	assert_true(route.prompt_threshold == 0.97f);
	assert_false(route_of(router, near_east, "Which river flows through Kestelburg?").routed); /* another name */
	route = route_of(router, near_east, "Kestrelburg lies on which river?");
	assert_true(route.routed);
	assert_true(route.prompt_threshold == 0.5f);
	assert_true(route_of(router, east, "Which river is in the town?").routed); /* as near as can be */
	editor_router_destroy(&router);
	editor_calibration_destroy(&c);
}

/* Names that nobody gave as the subject: a text that says few of them is about others, however near it is. */
static void most_of_the_names_of_an_open_edit_must_stand(void **state)
{
	(void)state;
	struct editor_calibration *c = calibration_of(0.2f, 0.9f);
	struct editor_index_entry entry = {
		.seq = 10, .subject = { "maria lopez", 11 }, .subject_names = true, .raw = east, .relation = east
	};
	for (size_t guess = 0; guess < 2; guess++) {
		struct editor_router *router = router_of(c, &entry, 1);
		assert_true(route_of(router, east, "Where was Maria Lopez born?").routed);
		assert_true(route_of(router, east, "Where was Lopez, Maria, born?").routed);
		assert_int_equal(route_of(router, east, "Where was Mario Lopez born?").routed, guess);
		assert_int_equal(route_of(router, east, "Where was Anna Stein born?").routed, guess);
		editor_router_destroy(&router);
		entry.subject_names = false; /* only the rarest words */
	}
	editor_calibration_destroy(&c);
}

/* Three looks at two edits have the threshold of one look at six. */
static void looks_share_the_bound_on_false_routes(void **state)
{
	(void)state;
	struct editor_calibration *c = calibration_of(0.2f, 0.9f);
	const struct editor_index_entry entries[] = { { .seq = 10, .raw = east, .relation = east },
						      { .seq = 11, .raw = north, .relation = east } };
	for (size_t i = 0; i < EDITOR_THRESHOLDS; i++)
		c->thresholds[i].threshold = 0.9f + 0.01f * (float)i;
	struct editor_router *router = router_of(c, entries, 2);
	static const size_t looks[] = { 0, 1, 3 }, edits[] = { 2, 2, 6 };
	for (size_t i = 0; i < 3; i++) {
		struct editor_route route;
		struct tiny_prompt p;
		struct err e = ERR_INIT;
		tiny_prompt_init(&p, model_tokenizer_of(model), "any", near_east, east, HIDDEN);
		p.prompt.looks = looks[i];
		assert_int_equal(editor_router_route(router, model_tokenizer_of(model), &p.prompt, &route, &e), 0);
		assert_true(route.prompt_threshold == editor_calibration_threshold(c, edits[i]));
		assert_true(route.routed == (route.prompt_score >= route.prompt_threshold));
		tiny_prompt_fini(&p);
	}
	assert_true(editor_calibration_threshold(c, 6) > editor_calibration_threshold(c, 2));
	editor_router_destroy(&router);
	editor_calibration_destroy(&c);
}

static void a_subject_must_stand_in_the_query(void **state)
{
	(void)state;
	struct editor_calibration *c = calibration_of(0.2f, 0.9f);
	const struct editor_index_entry entries[] = {
		{ .seq = 10, .subject = { "hd 180902", 9 }, .subject_given = true, .raw = east, .relation = east },
		{ .seq = 11, .subject = { "dingo creek", 11 }, .subject_given = true, .raw = north, .relation = east }
	};
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

static struct editor_route route_asked(const struct editor_router *router, const float *raw, const char *before,
				       const char *asked)
{
	struct editor_route route;
	struct tiny_prompt p;
	struct err e = ERR_INIT;
	char text[256];
	snprintf(text, sizeof(text), "%s%s", before, asked);
	tiny_prompt_init(&p, model_tokenizer_of(model), text, raw, east, HIDDEN);
	p.prompt.asked_bytes = strlen(asked);
	assert_int_equal(editor_router_route(router, model_tokenizer_of(model), &p.prompt, &route, &e), 0);
	tiny_prompt_fini(&p);
	return route;
}

/* What stands before the question does not say what it is about. */
static void the_question_must_name_the_subject(void **state)
{
	(void)state;
	struct editor_calibration *c = calibration_of(0.2f, 0.3f);
	const struct editor_index_entry entries[] = {
		{ .seq = 10, .subject = { "dove inn", 8 }, .subject_given = true, .raw = east, .relation = east },
		{ .seq = 11, .subject = { "kestrelburg", 11 }, .raw = north, .relation = east },
		{ .seq = 12, .raw = up, .relation = east },
	};
	const float fair_east[HIDDEN] = { 0.8f, 0.6f, 0, 0 }, fair_north[HIDDEN] = { 0.6f, 0.8f, 0, 0 },
		    fair_up[HIDDEN] = { 0, 0.6f, 0.8f, 0 };
	struct editor_router *router = router_of(c, entries, 3);
	assert_true(route_of(router, fair_east, "Dove Inn was full. Who owns Raven Inn?").routed);
	assert_false(route_asked(router, fair_east, "Dove Inn was full.", " Who owns Raven Inn?").routed);
	assert_true(route_asked(router, fair_east, "It was full.", " Who owns Dove Inn?").routed);
	assert_false(route_asked(router, fair_north, "Kestrelburg is wet.", " Which river is in Hamburg?").routed);
	assert_true(route_asked(router, fair_north, "It is wet.", " Which river is in Kestrelburg?").routed);
	assert_true(route_asked(router, fair_up, "Nothing.", " Stands for it.").routed);
	/* a mark inside a name ends no question */
	assert_true(route_asked(router, fair_east, "Who owns the Dove", " Inn? Thanks.").routed);
	/* the edit's own prompt may have its subject anywhere */
	assert_true(route_asked(router, east, "Dove Inn was full.", " It is owned by").routed);
	editor_router_destroy(&router);
	editor_calibration_destroy(&c);
}

static void a_longer_name_is_another_one(void **state)
{
	(void)state;
	struct editor_calibration *c = calibration_of(0.2f, 0.9f);
	const struct editor_index_entry entry = entry_of("dove inn", "owns hotel");
	const float fair_east[HIDDEN] = { 0.8f, 0.6f, 0, 0 };
	struct editor_router *router = router_of(c, &entry, 1);
	assert_false(route_of(router, east, "Who owns the Dove Inn Society?").routed);
	assert_true(route_of(router, fair_east, "Who owns the Dove Inn Hotel?").routed); /* so says the edit's prompt */
	assert_false(route_of(router, fair_east, "Who owns New Dove Inn?").routed);
	assert_true(route_of(router, fair_east, "Who owns the Hotel Dove Inn?").routed); /* again */
	assert_true(route_of(router, fair_east, "What did President Dove Inn own?").routed);
	assert_true(route_of(router, fair_east, "Does Dove Inn have an owner?").routed);
	assert_true(route_of(router, fair_east, "does Dove Inn have an owner?").routed);
	assert_false(
		route_of(router, fair_east, "Who owns the Hotel Dove Inn Society?").routed); /* which it does not */
	assert_true(route_of(router, fair_east, "Who owns the Dove Inn today?").routed);
	assert_true(route_of(router, fair_east, "Who owns Dove Inn, Kent?").routed);
	assert_true(route_of(router, fair_east, "Dove Inn: Who is its owner?").routed);
	assert_true(route_of(router, fair_east, "Who Owns The Dove Inn Today?").routed);   /* all words have capitals */
	assert_true(route_of(router, fair_east, "who owns the dove inn society?").routed); /* or none */
	editor_router_destroy(&router);
	editor_calibration_destroy(&c);
}

static void removed_edits_are_left_out(void **state)
{
	(void)state;
	struct editor_calibration *c = calibration_of(0.2f, 0.9f);
	const struct editor_index_entry entries[] = { { .seq = 10, .raw = east, .relation = east },
						      { .seq = 11, .raw = north, .relation = east } };
	const uint64_t removed[] = { 10 };
	struct buf bytes = BUF_INIT;
	struct err e = ERR_INIT;
	struct editor_router *router = NULL;
	size_t memory = 0;
	encode(entries, 2, &bytes);
	assert_int_equal(editor_router_new(c, FFN, &router, &e), 0);
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
	const struct editor_index_entry entries[] = { { .seq = 10,
							.subject = { "abc", 3 },
							.subject_given = true,
							.aliases = { "a\0b\0", 4 },
							.raw = east,
							.relation = east },
						      { .seq = 11, .raw = north, .relation = east } };
	struct buf bytes = BUF_INIT;
	struct err e = ERR_INIT;
	struct editor_router *router = NULL;
	encode(entries, 2, &bytes);
	assert_int_equal(editor_router_new(c, FFN, &router, &e), 0);
	for (size_t len = 0; len < bytes.len; len++)
		assert_int_equal(editor_router_add(router, bytes.data, len, 0, NULL, 0, &e), ERR_CORRUPT);
	assert_int_equal(editor_router_count(router), 0); /* nothing was taken */
	buf_u8(&bytes, 0);
	assert_int_equal(editor_router_add(router, bytes.data, bytes.len, 0, NULL, 0, &e), ERR_CORRUPT);
	bytes.len--;
	bytes.data[4] = 9; /* format */
	assert_int_equal(editor_router_add(router, bytes.data, bytes.len, 0, NULL, 0, &e), ERR_UNSUPPORTED);
	bytes.data[4] = 3; /* of earlier versions */
	assert_int_equal(editor_router_add(router, bytes.data, bytes.len, 0, NULL, 0, &e), ERR_UNSUPPORTED);
	bytes.data[4] = 4;
	const size_t alias_end = 20 + 8 + 4 + 4 + 3 + 4 + 3; /* header; seq, flags, subject, aliases */
	bytes.data[alias_end] = 'x';
	assert_int_equal(editor_router_add(router, bytes.data, bytes.len, 0, NULL, 0, &e), ERR_CORRUPT);
	assert_non_null(strstr(e.text, "an alias of edit 10 has no end"));
	bytes.data[alias_end] = 0;
	bytes.data[8] = HIDDEN + 1;
	assert_int_equal(editor_router_add(router, bytes.data, bytes.len, 0, NULL, 0, &e), ERR_MISMATCH);
	bytes.data[8] = HIDDEN;
	/* the last entry ends with its relation key, its counts of target tokens, anchors and forms */
	bytes.data[bytes.len - 13] = 0x7F; /* infinite or NaN */
	bytes.data[bytes.len - 14] = 0xC0;
	assert_int_equal(editor_router_add(router, bytes.data, bytes.len, 0, NULL, 0, &e), ERR_CORRUPT);
	bytes.data[bytes.len - 13] = 0x50; /* finite, but of no hidden state: 8.6e9 */
	bytes.data[bytes.len - 14] = 0;
	assert_int_equal(editor_router_add(router, bytes.data, bytes.len, 0, NULL, 0, &e), ERR_CORRUPT);
	buf_free(&bytes);
	editor_router_destroy(&router);
	editor_calibration_destroy(&c);
}

/* Nor are they made: a number that a router refuses is refused when it is written. */
static void keys_of_no_hidden_state_are_not_written(void **state)
{
	static const float odd[] = { NAN, INFINITY, -INFINITY, 8.6e9f };
	(void)state;
	for (size_t i = 0; i < 2 * sizeof(odd) / sizeof(odd[0]); i++) {
		const float key[HIDDEN] = { 1, odd[i / 2], 0, 0 };
		const struct editor_index_entry entry = { .seq = 10,
							  .raw = i % 2 == 0 ? key : east,
							  .relation = i % 2 == 0 ? east : key };
		struct buf bytes = BUF_INIT;
		struct err e = ERR_INIT;
		assert_int_equal(editor_index_encode(&entry, 1, HIDDEN, FFN, &bytes, &e), ERR_INVALID);
		assert_int_equal(bytes.len, 0);
		buf_free(&bytes);
	}
}

static void the_relation_must_be_near_too(void **state)
{
	(void)state;
	struct editor_calibration *c = calibration_of(0.2f, 0.9f);
	const struct editor_index_entry entries[] = {
		{ .seq = 10, .subject = { "orla", 4 }, .subject_given = true, .raw = east, .relation = north },
		{ .seq = 11, .subject = { "orla", 4 }, .subject_given = true, .raw = near_east, .relation = up },
		{ .seq = 12, .raw = up, .relation = north },
	};
	struct editor_router *router = router_of(c, entries, 3);
	/* two facts of one subject: the prompt key's nearest is not the one that is asked */
	struct editor_route route = route_by(router, east, up, "Who rules Orla?");
	assert_true(route.routed);
	assert_int_equal(route.nearest[0], 11);
	assert_true(route.relation_score > 0.999f);
	/* another question on the subject */
	route = route_by(router, east, east, "How old is Orla?");
	assert_false(route.routed);
	assert_true(route.relation_score < 0.01f);
	assert_true(route.relation_threshold == 0.5f);
	assert_true(route.subject_found);
	/* an edit without a subject needs it as well */
	assert_true(route_by(router, up, north, "anything else").routed);
	assert_false(route_by(router, up, east, "anything else").routed);
	editor_router_destroy(&router);
	editor_calibration_destroy(&c);
}

/* Two edits on one subject that the keys do not tell apart. */
static void shared_words_raise_the_relation(void **state)
{
	(void)state;
	struct editor_calibration *c = calibration_of(0.2f, 0.9f);
	const struct editor_index_entry entries[] = {
		{ .seq = 10,
		  .subject = { "dingo creek", 11 },
		  .subject_given = true,
		  .words = { "who owns", 8 },
		  .raw = east,
		  .relation = east },
		{ .seq = 11,
		  .subject = { "dingo creek", 11 },
		  .subject_given = true,
		  .words = { "which architect designed", 24 },
		  .raw = east,
		  .relation = east },
	};
	struct editor_router *router = router_of(c, entries, 2);
	struct editor_route route = route_of(router, east, "Who drew Dingo Creek?");
	assert_true(route.routed);
	assert_int_equal(route.nearest[0], 10); /* `who` of two words */
	assert_true(fabsf(route.relation_score - (1 + EDITOR_RELATION_WORDS / 2)) < 1e-5f);
	route = route_of(router, east, "The architect of Dingo Creek, which designed it?");
	assert_int_equal(route.nearest[0], 11);
	assert_true(fabsf(route.relation_score - (1 + EDITOR_RELATION_WORDS)) < 1e-5f);
	/* words of the subject are no words of the question */
	route = route_of(router, east, "dingo creek");
	assert_true(fabsf(route.relation_score - 1) < 1e-5f);
	/* the threshold is the score's: a key that is too far alone passes with the words */
	const float away[HIDDEN] = { 0.3f, 1, 0, 0 };
	assert_false(route_by(router, east, away, "Where is Dingo Creek?").routed);
	assert_true(route_by(router, east, away, "Who owns Dingo Creek?").routed);
	editor_router_destroy(&router);
	/* a word that many questions have counts for nothing */
	uint64_t common = hash_short(HASH_SHORT_INIT, "who", 3);
	free(c->relation.common);
	c->relation.common = &common;
	c->relation.common_count = 1;
	router = router_of(c, entries, 2);
	route = route_of(router, east, "Who owns Dingo Creek?");
	assert_true(fabsf(route.relation_score - (1 + EDITOR_RELATION_WORDS)) < 1e-5f);
	route = route_of(router, east, "Who is at Dingo Creek?");
	assert_true(fabsf(route.relation_score - 1) < 1e-5f);
	editor_router_destroy(&router);
	c->relation.common = NULL;
	editor_calibration_destroy(&c);
}

/* Two edits that ask the same: the later one is meant, unless the question is nearer to the other, or its very prompt.
 */
static void of_two_that_ask_the_same_the_later_is_meant(void **state)
{
	(void)state;
	struct editor_calibration *c = calibration_of(0.2f, 0.9f);
	const float turned[HIDDEN] = { 1, 0.2f, 0, 0 }, beside[HIDDEN] = { 0.9f, 0, 0.3f, 0 },
		    between[HIDDEN] = { 1, 1, 0, 0 };
	struct editor_index_entry entries[] = {
		{ .seq = 11, .raw = beside, .relation = turned },
		{ .seq = 10, .raw = east, .relation = east },
		{ .seq = 12, .raw = east, .relation = north },
	};
	for (size_t i = 0; i < 3; i++) {
		entries[i].subject = (struct record_text){ "dingo creek", 11 };
		entries[i].subject_given = true;
	}
	struct editor_router *router = router_of(c, entries, 3);
	struct editor_route route = route_by(router, near_east, east, "Whose is Dingo Creek?");
	assert_true(route.routed);
	assert_int_equal(route.nearest[0], 11);
	assert_true(fabsf(route.relation_score - 1 / sqrtf(1.04f)) < 1e-6f);
	assert_int_equal(route_of(router, east, "Whose is Dingo Creek?").nearest[0], 10); /* its prompt */
	const float away[HIDDEN] = { 1, -0.3f, 0, 0 }; /* nearer to 10 by more than a tie */
	assert_int_equal(route_by(router, near_east, away, "Whose is Dingo Creek?").nearest[0], 10);
	/* one that asks something else is no twin, however near the question is to both */
	editor_router_destroy(&router);
	router = router_of(c, entries + 1, 2);
	c->relation.threshold = 0.6f;
	route = route_by(router, near_east, between, "Whose is Dingo Creek?");
	assert_true(route.routed && route.nearest[0] == 10);
	editor_router_destroy(&router);
	editor_calibration_destroy(&c);
}

static void a_route_lends_the_anchor(void **state)
{
	(void)state;
	struct editor_calibration *c = calibration_of(0.2f, 0.9f);
	const float inputs[2][FFN] = { { 1, -127, 0, 64, 0.5f, 3 }, { 0 } };
	const int32_t target[] = { 70, 90 };
	const struct editor_index_entry entries[] = {
		{ .seq = 9, .raw = north, .relation = north },
		{ .seq = 10,
		  .raw = east,
		  .relation = east,
		  .target_ids = target,
		  .target_count = 2,
		  .anchors = inputs[0],
		  .anchor_count = 2 },
	};
	struct editor_router *router = router_of(c, entries, 2);
	struct editor_route route = route_of(router, east, "any");
	float row[FFN];
	assert_true(route.routed);
	assert_int_equal(route.anchor.row_count, 2);
	assert_int_equal(route.anchor.id_count, 2);
	editor_anchor_row(&route.anchor, 0, FFN, row);
	for (size_t i = 0; i < FFN; i++)
		assert_true(fabsf(row[i] - inputs[0][i]) <= 0.5f + 1e-5f); /* half a step of 127/127 */
	assert_true(fabsf(route.anchor.scale - 1) < 1e-4f);                /* the edit's own prompt */
	assert_true(fabsf(route_of(router, near_east, "any").anchor.scale - EDITOR_ANCHOR_SCALE) < 1e-6f);
	editor_anchor_row(&route.anchor, 1, FFN, row);
	for (size_t i = 0; i < FFN; i++)
		assert_true(row[i] == 0);
	const struct model_tokenizer *tokenizer = model_tokenizer_of(model);
	assert_true(editor_anchor_says(&route.anchor, tokenizer, 1, 90));
	assert_false(editor_anchor_says(&route.anchor, tokenizer, 1, 70));
	assert_false(editor_anchor_says(&route.anchor, tokenizer, 2, 0));
	/* an answer reads the anchor up to the row of the first token that departs from the target */
	assert_int_equal(editor_anchor_reach(&route.anchor, tokenizer, target, 0), 1);
	assert_int_equal(editor_anchor_reach(&route.anchor, tokenizer, target, 1), 2);
	assert_int_equal(editor_anchor_reach(&route.anchor, tokenizer, target, 2), 2);
	assert_int_equal(editor_anchor_reach(&route.anchor, tokenizer, target + 1, 1), 1);
	/* nothing is lent where nothing is routed, or where the edit has none */
	assert_int_equal(route_of(router, up, "any").anchor.row_count, 0);
	assert_int_equal(route_by(router, north, north, "any").anchor.row_count, 0);
	editor_router_destroy(&router);
	editor_calibration_destroy(&c);
}

static double cosine(const float *a, const float *b)
{
	double dot = 0, aa = 0, bb = 0;
	for (size_t k = 0; k < HIDDEN; k++) {
		dot += (double)a[k] * (double)b[k];
		aa += (double)a[k] * (double)a[k];
		bb += (double)b[k] * (double)b[k];
	}
	return dot / sqrt(aa * bb);
}

/* Enough of them for the index's first pass; an add that fails in between leaves nothing behind. */
static void the_nearest_of_many_edits_is_found(void **state)
{
	(void)state;
	enum { EDITS = 400, SHARD = 200 };
	struct editor_calibration *c = calibration_of(0.2f, 0.9f);
	struct editor_index_entry entries[EDITS];
	float raw[EDITS][HIDDEN], query[HIDDEN];
	struct editor_router *router = NULL;
	struct buf first = BUF_INIT, second = BUF_INIT;
	struct err e = ERR_INIT;
	struct rng rng;
	rng_init(&rng, 5);
	for (size_t i = 0; i < EDITS; i++) {
		for (size_t k = 0; k < HIDDEN; k++)
			raw[i][k] = rng_normal(&rng);
		entries[i] = (struct editor_index_entry){ .seq = 1000 + i, .raw = raw[i], .relation = east };
	}
	encode(entries, SHARD, &first);
	encode(entries + SHARD, EDITS - SHARD, &second);
	assert_int_equal(editor_router_new(c, FFN, &router, &e), 0);
	assert_int_equal(editor_router_add(router, first.data, first.len, 0, NULL, 0, &e), 0);
	assert_int_equal(editor_router_add(router, second.data, second.len - 1, 1, NULL, 0, &e), ERR_CORRUPT);
	assert_int_equal(editor_router_count(router), SHARD);
	assert_int_equal(editor_router_add(router, second.data, second.len, 1, NULL, 0, &e), 0);
	for (size_t q = 0; q < 50; q++) {
		for (size_t k = 0; k < HIDDEN; k++)
			query[k] = rng_normal(&rng);
		const struct editor_route route = route_of(router, query, "any");
		assert_int_equal(route.nearest_count, EDITOR_NEAREST);
		double before = 2;
		for (size_t n = 0; n < EDITOR_NEAREST; n++) {
			/* the best of those below the one before it */
			size_t best = 0;
			double score = -2;
			for (size_t i = 0; i < EDITS; i++) {
				const double own = cosine(query, raw[i]);
				if (own < before && own > score) {
					score = own;
					best = i;
				}
			}
			assert_int_equal(route.nearest[n], 1000 + best);
			assert_true(fabs((double)route.nearest_score[n] - score) < 1e-6);
			before = score;
		}
		assert_int_equal(route.memory, (route.nearest[0] - 1000) / SHARD);
	}
	buf_free(&first);
	buf_free(&second);
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
		cmocka_unit_test(without_the_words_of_an_open_edit_a_text_must_be_nearer),
		cmocka_unit_test(most_of_the_names_of_an_open_edit_must_stand),
		cmocka_unit_test(looks_share_the_bound_on_false_routes),
		cmocka_unit_test(a_subject_must_stand_in_the_query),
		cmocka_unit_test(the_question_must_name_the_subject),
		cmocka_unit_test(a_longer_name_is_another_one),
		cmocka_unit_test(removed_edits_are_left_out),
		cmocka_unit_test(damaged_indexes_are_refused),
		cmocka_unit_test(keys_of_no_hidden_state_are_not_written),
		cmocka_unit_test(the_relation_must_be_near_too),
		cmocka_unit_test(shared_words_raise_the_relation),
		cmocka_unit_test(of_two_that_ask_the_same_the_later_is_meant),
		cmocka_unit_test(a_route_lends_the_anchor),
		cmocka_unit_test(the_nearest_of_many_edits_is_found),
		cmocka_unit_test(raw_keys_leave_the_first_token_out),
	};
	return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
