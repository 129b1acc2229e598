/* route_fixture.h: routers of a few edits with keys of four numbers, for the tests of routes. */
#ifndef AMEND_TESTS_ROUTE_FIXTURE_H
#define AMEND_TESTS_ROUTE_FIXTURE_H

#include "editor/route.h"

#include "tests/unit/editor/tiny_fixture.h"

#define HIDDEN 4
#define FFN    6

static inline struct editor_calibration *calibration_of(float subject, float open)
{
	struct buf bytes = BUF_INIT;
	struct err e = ERR_INIT;
	struct editor_calibration *c = NULL;
	plain_calibration(model_digest(model), HIDDEN, subject, open, 0.5f, &bytes);
	assert_int_equal(editor_calibration_decode(bytes.data, bytes.len, &c, &e), 0);
	buf_free(&bytes);
	return c;
}

static const float east[HIDDEN] = { 1, 0, 0, 0 }, north[HIDDEN] = { 0, 2, 0, 0 }, up[HIDDEN] = { 0, 0, 5, 0 };
static const float near_east[HIDDEN] = { 0.9f, 0.3f, 0, 0 };

/* An edit of a given subject; without its words a prompt says just its subject. */
static inline struct editor_index_entry entry_of(const char *subject, const char *words)
{
	return (struct editor_index_entry){ .seq = 10,
					    .subject = { subject, strlen(subject) },
					    .subject_given = true,
					    .words = { words, strlen(words) },
					    .raw = east,
					    .relation = east };
}

static inline void encode(const struct editor_index_entry *entries, size_t count, struct buf *out)
{
	struct err e = ERR_INIT;
	assert_int_equal(editor_index_encode(entries, count, HIDDEN, FFN, out, &e), 0);
}

static inline struct editor_router *router_of(const struct editor_calibration *c,
					      const struct editor_index_entry *entries, size_t count)
{
	struct buf bytes = BUF_INIT;
	struct err e = ERR_INIT;
	struct editor_router *router = NULL;
	encode(entries, count, &bytes);
	assert_int_equal(editor_router_new(c, FFN, &router, &e), 0);
	assert_int_equal(editor_router_add(router, bytes.data, bytes.len, 3, NULL, 0, &e), 0);
	buf_free(&bytes);
	return router;
}

/* asked_bytes: as many of the text's last bytes ask; 0: all of it does. */
static inline struct editor_route route_asking(const struct editor_router *router, const float *raw,
					       const float *relation, const char *text, size_t asked_bytes)
{
	struct editor_route route;
	struct tiny_prompt p;
	struct err e = ERR_INIT;
	tiny_prompt_init(&p, model_tokenizer_of(model), text, raw, relation, HIDDEN);
	p.prompt.asked_bytes = asked_bytes;
	assert_ok(&e, editor_router_route(router, model_tokenizer_of(model), &p.prompt, &route, &e));
	tiny_prompt_fini(&p);
	return route;
}

static inline struct editor_route route_by(const struct editor_router *router, const float *raw, const float *relation,
					   const char *text)
{
	return route_asking(router, raw, relation, text, 0);
}

static inline struct editor_route route_of(const struct editor_router *router, const float *raw, const char *text)
{
	return route_by(router, raw, east, text);
}

#endif
