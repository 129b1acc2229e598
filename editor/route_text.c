#include "editor/route_text.h"

#include "base/fault.h"
#include "editor/segments.h"

#include <stdlib.h>
#include <string.h>

static int route(const struct editor__text *text, const struct model *model, const struct editor_prompt *prompt,
		 struct editor_route *out, const struct model_side **side, uint64_t *memory_id, struct err *e)
{
	return editor_memory_set_route(text->set, text->kind, model_tokenizer_of(model), prompt, out, side, memory_id,
				       e);
}

/* ---- Parts */

static int reserve(struct editor__parts *parts, size_t more, struct err *e)
{
	const size_t need = parts->count + more, cap = need > 2 * parts->cap ? need : 2 * parts->cap;
	if (need <= parts->cap)
		return 0;
	struct editor__tokens *tokens = fault_realloc(parts->tokens, cap * sizeof(*tokens));
	if (tokens != NULL)
		parts->tokens = tokens;
	struct part_of *of = tokens != NULL ? fault_realloc(parts->of, cap * sizeof(*of)) : NULL;
	if (of == NULL)
		return err_set(e, ERR_NOMEM, "route: out of memory for %zu parts of texts", need);
	parts->of = of;
	parts->cap = cap;
	return 0;
}

/* The tokens that the part has when it is asked alone: those inside the text may begin with a space. A part that is too
 * long is left out. */
static int add_part(struct editor__parts *parts, const struct model *model, const char *bytes, size_t len,
		    const struct editor__text *text, struct err *e)
{
	struct err why = ERR_INIT;
	struct editor__tokens *tokens = &parts->tokens[parts->count];
	if (editor__tokens_of(model, bytes, len, tokens, &why) == ERR_NOMEM)
		return err_set(e, ERR_NOMEM, "route: out of memory");
	if (tokens->id_count == 0 || tokens->id_count > EDITOR__PART_TOKENS_MAX) {
		editor__tokens_free(tokens, 1); /* or bytes of a character that is cut off */
		return 0;
	}
	parts->of[parts->count++] = (struct part_of){ .text = *text };
	return 0;
}

/* ---- Texts in capitals */

#define CAPITALS_MIN 8u /* fewer may be an abbreviation */

/* Whether all letters of a text are capitals, which hide its names and have states of their own. */
static bool is_in_capitals(const char *text, size_t len)
{
	size_t capitals = 0, others = 0;
	for (size_t i = 0; i < len; i++) {
		if (text[i] >= 'a' && text[i] <= 'z')
			return false;
		capitals += text[i] >= 'A' && text[i] <= 'Z';
		others += (unsigned char)text[i] >= 0x80;
	}
	return capitals >= CAPITALS_MIN && capitals > others;
}

/* The part in small letters behind its first. */
static int add_small_part(struct editor__parts *parts, const struct model *model, const char *bytes, size_t len,
			  const struct editor__text *text, struct err *e)
{
	struct buf small = BUF_INIT;
	buf_append(&small, bytes, len);
	if (buf_failed(&small)) {
		buf_free(&small);
		return err_set(e, ERR_NOMEM, "route: out of memory");
	}
	bool first = true;
	for (size_t i = 0; i < len; i++) {
		const bool capital = small.data[i] >= 'A' && small.data[i] <= 'Z';
		if (capital && !first)
			small.data[i] = (uint8_t)(small.data[i] + ('a' - 'A'));
		first = first && !capital;
	}
	int rc = add_part(parts, model, (const char *)small.data, len, text, e);
	buf_free(&small);
	return rc;
}

/* ---- Parts of a text */

/* How many of the text's last bytes ask: from the earliest of its last sentences and questions on. 0: it is one
 * sentence.
 */
static size_t asked_of(const struct editor_span *spans, size_t count, bool whole_first, size_t len)
{
	size_t start = len;
	for (size_t i = whole_first ? 1 : 0; i < count; i++)
		start = spans[i].start < start ? spans[i].start : start;
	return len - start;
}

/* A text, its spans (the first may be the text as a whole), and what they are spans of. */
struct spanned {
	const struct editor__text *text;
	struct editor_span spans[EDITOR_SEGMENTS_MAX];
	size_t count, asked; /* asked: asked_of */
	bool whole_first, in_chat, in_capitals;
	struct buf bytes;
};

static int add_span(struct editor__parts *parts, const struct model *model, const struct spanned *s, size_t i,
		    struct err *e)
{
	const char *bytes = (const char *)s->bytes.data + s->spans[i].start;
	const size_t len = s->spans[i].end - s->spans[i].start, before = parts->count,
		     behind = s->bytes.len - s->spans[i].end;
	const bool whole = i == 0 && s->whole_first;
	int rc = !whole || s->in_chat ? add_part(parts, model, bytes, len, s->text, e) : 0;
	if (rc == 0 && s->in_capitals)
		rc = add_small_part(parts, model, bytes, len, s->text, e);
	for (size_t k = before; k < parts->count && whole; k++)
		parts->of[k].asked = s->asked > behind ? s->asked - behind : 0;
	return rc;
}

/* *whole_too: the first part added is the text as a whole. *asked: asked_of. */
static int add_parts(struct editor__parts *parts, const struct model *model, const struct editor__text *text,
		     const struct editor_prompt *prompt, bool *whole_too, size_t *asked, struct err *e)
{
	const size_t before = parts->count;
	struct spanned s = { .text = text, .in_chat = text->count > 0, .bytes = BUF_INIT };
	int rc = model_tokenizer_decode(model_tokenizer_of(model), prompt->ids, prompt->id_count, false, &s.bytes);
	if (rc != 0) {
		buf_free(&s.bytes);
		return err_set(e, rc, "route: out of memory");
	}
	const char *all = buf_cstr(&s.bytes);
	s.in_capitals = is_in_capitals(all, s.bytes.len);
	s.whole_first = s.in_chat || s.in_capitals;
	s.count = editor_segments(all, s.bytes.len, s.whole_first, s.spans);
	*asked = s.asked = asked_of(s.spans, s.count, s.whole_first, s.bytes.len);
	*whole_too = false;
	rc = reserve(parts, s.in_capitals ? 2 * s.count : s.count, e);
	for (size_t i = 0; i < s.count && rc == 0; i++) {
		rc = add_span(parts, model, &s, i, e);
		*whole_too = *whole_too || (i == 0 && s.in_chat && parts->count > before);
	}
	const size_t looks = parts->count - before + (*whole_too ? 0 : 1);
	for (size_t i = before; i < parts->count; i++)
		parts->of[i].looks = looks;
	buf_free(&s.bytes);
	return rc;
}

void editor__parts_free(struct editor__parts *parts)
{
	if (parts->tokens != NULL)
		editor__tokens_free(parts->tokens, parts->count);
	free(parts->tokens);
	free(parts->of);
	*parts = (struct editor__parts){ 0 };
}

/* ---- Routes */

static struct editor_prompt message_of(const struct model *model, const struct editor_prompt *prompt, size_t first,
				       size_t count)
{
	const struct model_shape *shape = model_shape_of(model);
	struct editor_prompt own = *prompt;
	if (count == 0)
		return own;
	own.ids += first;
	own.id_count = count;
	own.prompt_states += first * shape->hidden;
	own.relation_states += first * shape->hidden;
	own.inputs += own.inputs != NULL ? first * shape->ffn : 0;
	return own;
}

static int parts_of(struct editor__parts *parts, const struct model *model, const struct editor__text *text,
		    struct editor_prompt *own, bool *whole, struct err *e)
{
	const size_t before = parts->count;
	bool whole_too = false;
	int rc = add_parts(parts, model, text, own, &whole_too, &own->asked_bytes, e);
	own->looks = parts->count > before ? parts->of[before].looks : 1;
	*whole = !whole_too;
	return rc;
}

int editor__text_parts(struct editor__parts *parts, const struct model *model, size_t first, size_t count, size_t owner,
		       const struct editor_prompt *prompt, struct editor_prompt *own, bool *whole, struct err *e)
{
	const struct editor__text text = { .first = first, .count = count };
	const size_t before = parts->count;
	*own = message_of(model, prompt, first, count);
	int rc = parts_of(parts, model, &text, own, whole, e);
	for (size_t i = before; i < parts->count; i++)
		parts->of[i].owner = owner;
	return rc;
}

int editor__text_route(struct editor__parts *parts, const struct model *model, const struct editor__text *text,
		       const struct editor_prompt *prompt, struct err *e)
{
	struct editor_prompt own = message_of(model, prompt, text->first, text->count);
	bool whole = true;
	int rc = 0;
	own.looks = 1;
	if (editor_memory_set_family(text->set) == EDITOR_FAMILY_AMEND)
		rc = parts_of(parts, model, text, &own, &whole, e);
	if (rc == 0 && whole)
		rc = route(text, model, &own, text->route, text->side, text->memory_id, e);
	return rc;
}

struct routing {
	const struct editor__parts *parts;
	const struct model *model;
	struct err *e;
};

bool editor__route_better(const struct editor_route *route, const struct editor_route *held)
{
	return held->nearest_count == 0 ||
	       (route->routed && (!held->routed || route->prompt_score > held->prompt_score));
}

static int keep_part(const struct editor__text *text, const struct editor_prompt *prompt, struct err *e)
{
	if (text->part == NULL)
		return 0;
	int32_t *ids = fault_malloc(prompt->id_count * sizeof(*ids));
	if (ids == NULL)
		return err_set(e, ERR_NOMEM, "route: out of memory");
	memcpy(ids, prompt->ids, prompt->id_count * sizeof(*ids));
	editor__tokens_free(text->part, 1);
	*text->part = (struct editor__tokens){ ids, prompt->id_count };
	return 0;
}

static int route_part(void *context, size_t at, const struct editor_prompt *prompt)
{
	const struct routing *r = context;
	const struct editor__text *text = &r->parts->of[at].text;
	struct editor_prompt part = *prompt;
	struct editor_route own;
	const struct model_side *side;
	uint64_t memory_id;
	part.looks = r->parts->of[at].looks;
	part.asked_bytes = r->parts->of[at].asked;
	int rc = route(text, r->model, &part, &own, &side, &memory_id, r->e);
	if (rc != 0 || !editor__route_better(&own, text->route))
		return rc;
	*text->route = own;
	*text->side = side;
	*text->memory_id = memory_id;
	return keep_part(text, prompt, r->e);
}

int editor__parts_route(const struct editor__parts *parts, struct editor__packer *packer, const struct model *model,
			struct editor_key_layers layers, const struct editor_watch *watch, struct err *e)
{
	struct routing routing = { parts, model, e };
	return parts->count > 0 ? editor__packer_prompts(packer, layers, parts->tokens, parts->count, route_part,
							 &routing, watch, "route parts", e)
				: 0;
}
