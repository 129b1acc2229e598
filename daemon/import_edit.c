/* What the formats share: texts and lists out of an item, and the record they make. */
#include "base/text.h"
#include "daemon/import_internal.h"

#include <stdio.h>
#include <string.h>

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static struct record_text trimmed(const char *text, size_t len)
{
	while (len > 0 && is_space(text[len - 1]))
		len--;
	while (len > 0 && is_space(*text)) {
		text++;
		len--;
	}
	return (struct record_text){ len > 0 ? text : NULL, len };
}

/* A number as it is written, for years and the like. */
static int number_text(struct arena *arena, const struct json *value, struct record_text *out, struct err *e)
{
	struct buf text = BUF_INIT;
	json_canonical(value, &text);
	out->text = buf_failed(&text) ? NULL : arena_strndup(arena, buf_cstr(&text), text.len);
	out->len = text.len;
	buf_free(&text);
	return out->text != NULL ? 0 : err_set(e, ERR_NOMEM, "out of memory for a number");
}

int import__text(struct arena *arena, const struct json *value, const char *name, struct record_text *out,
		 struct err *e)
{
	size_t len;
	*out = (struct record_text){ NULL, 0 };
	if (value == NULL || json_type(value) == JSON_NULL)
		return 0;
	if (json_type(value) == JSON_NUMBER)
		return number_text(arena, value, out, e);
	const char *text = json_string(value, &len);
	if (text == NULL)
		return err_set(e, ERR_INVALID, "%s: must be a string", name);
	*out = trimmed(text, len);
	return 0;
}

int import__required(struct arena *arena, const struct json *value, const char *name, struct record_text *out,
		     struct err *e)
{
	int rc = import__text(arena, value, name, out, e);
	if (rc == 0 && out->text == NULL)
		rc = err_set(e, ERR_INVALID, "%s: %s", name,
			     value == NULL || json_type(value) == JSON_NULL
				     ? "missing"
				     : "empty: write its text, or take the row out");
	return rc;
}

static bool same(const struct record_text *a, const struct record_text *b)
{
	return a->len == b->len && memcmp(a->text, b->text, a->len) == 0;
}

static bool holds(const struct import__list *list, const struct record_text *text)
{
	for (size_t i = 0; i < list->count; i++) {
		if (same(&list->items[i], text))
			return true;
	}
	return false;
}

static int add_one(struct arena *arena, const struct json *value, const char *name, struct import__list *list,
		   struct err *e)
{
	struct record_text text;
	int rc = import__text(arena, value, name, &text, e);
	if (rc != 0 || text.text == NULL || list->count == RECORD_LIST_MAX || holds(list, &text))
		return rc;
	if (list->items == NULL)
		list->items = arena_array(arena, RECORD_LIST_MAX, sizeof(*list->items));
	if (list->items == NULL)
		return err_set(e, ERR_NOMEM, "%s: out of memory", name);
	list->items[list->count++] = text;
	return 0;
}

int import__add(struct arena *arena, const struct json *value, const char *name, struct import__list *list,
		struct err *e)
{
	if (value == NULL || json_type(value) != JSON_ARRAY)
		return add_one(arena, value, name, list, e);
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < json_length(value); i++)
		rc = import__add(arena, json_at(value, i), name, list, e);
	return rc;
}

int import__answers(struct arena *arena, const struct json *value, const char *name, struct record_text *first,
		    struct import__list *rest, struct err *e)
{
	struct import__list all = { NULL, 0 };
	int rc = import__add(arena, value, name, &all, e);
	*first = (struct record_text){ NULL, 0 };
	*rest = (struct import__list){ NULL, 0 };
	if (rc != 0 || all.count == 0)
		return rc;
	*first = all.items[0];
	*rest = (struct import__list){ all.items + 1, all.count - 1 };
	return 0;
}

int import__probe(struct arena *arena, struct import__probes *probes, const struct import__probe *probe, struct err *e)
{
	if (probe->prompt.text == NULL || probes->count == RECORD_LIST_MAX)
		return 0;
	if (probes->items == NULL)
		probes->items = arena_array(arena, RECORD_LIST_MAX, sizeof(*probes->items));
	if (probes->items == NULL)
		return err_set(e, ERR_NOMEM, "out of memory for a probe");
	probes->items[probes->count++] = *probe;
	return 0;
}

int import__new_question(struct arena *arena, const struct json *item, struct import__edit *edit, struct err *e)
{
	const struct json *group = json_get(item, "portability");
	struct import__probe probe = { .kind = "reasoning" };
	int rc = import__text(arena, json_get(group, "New Question"), "portability.New Question", &probe.prompt, e);
	if (rc == 0)
		rc = import__answers(arena, json_get(group, "New Answer"), "portability.New Answer", &probe.target,
				     &probe.aliases, e);
	return rc != 0 || probe.target.text == NULL ? rc : import__probe(arena, &edit->portability, &probe, e);
}

/* `template` with every {} replaced by the subject. */
static int fill(struct arena *arena, const struct record_text *template, const struct record_text *subject,
		struct record_text *out, struct err *e)
{
	struct buf text = BUF_INIT;
	for (size_t i = 0; i < template->len; i++) {
		if (i + 1 < template->len && template->text[i] == '{' && template->text[i + 1] == '}') {
			buf_append(&text, subject->text, subject->len);
			i++;
		} else {
			buf_u8(&text, (uint8_t) template->text[i]);
		}
	}
	out->text = buf_failed(&text) ? NULL : arena_strndup(arena, buf_cstr(&text), text.len);
	out->len = text.len;
	buf_free(&text);
	return out->text != NULL ? 0 : err_set(e, ERR_NOMEM, "out of memory for a prompt");
}

static int target(struct arena *arena, const struct json *rewrite, const char *name, bool required,
		  struct record_text *out, struct err *e)
{
	char label[32];
	const struct json *v = json_get(rewrite, name);
	if (v != NULL && json_type(v) == JSON_OBJECT)
		v = json_get(v, "str");
	snprintf(label, sizeof(label), "%s_str", name);
	if (v == NULL)
		v = json_get(rewrite, label);
	return required ? import__required(arena, v, name, out, e) : import__text(arena, v, name, out, e);
}

int import__rewrite(struct arena *arena, const struct json *rewrite, struct import__edit *edit, struct err *e)
{
	struct record_text template;
	int rc = import__required(arena, json_get(rewrite, "prompt"), "prompt", &template, e);
	if (rc == 0)
		rc = import__required(arena, json_get(rewrite, "subject"), "subject", &edit->subject, e);
	if (rc == 0)
		rc = target(arena, rewrite, "target_new", true, &edit->target_new, e);
	if (rc == 0)
		rc = target(arena, rewrite, "target_true", false, &edit->target_true, e);
	if (rc == 0)
		rc = import__text(arena, json_get(rewrite, "relation_id"), "relation_id", &edit->relation, e);
	return rc == 0 ? fill(arena, &template, &edit->subject, &edit->prompt, e) : rc;
}

/* --- Writing */

struct writer {
	struct json_w w;
	struct buf composed;
	int rc; /* ERR_NOMEM */
};

/* Published sets hold decomposed letters and Windows line ends, which a record may not. What is no UTF-8 goes on as it
 * is, and record_parse refuses it. */
static void put_text(struct writer *p, const struct record_text *text)
{
	buf_clear(&p->composed);
	int rc = text_compose(text->text, text->len, &p->composed);
	if (rc == ERR_NOMEM)
		p->rc = rc;
	if (rc == 0)
		json_w_strn(&p->w, (const char *)p->composed.data, p->composed.len);
	else
		json_w_strn(&p->w, text->text, text->len);
}

static void put_member(struct writer *p, const char *key, const struct record_text *text)
{
	if (text->text == NULL)
		return;
	json_w_key(&p->w, key);
	put_text(p, text);
}

/* Those that say something that `known` does not. */
static void put_list(struct writer *p, const char *key, const struct import__list *list, size_t max,
		     const struct record_text *known)
{
	size_t put = 0;
	for (size_t i = 0; i < list->count && put < max; i++) {
		if (same(&list->items[i], known))
			continue;
		if (put++ == 0) {
			json_w_key(&p->w, key);
			json_w_open(&p->w, '[');
		}
		put_text(p, &list->items[i]);
	}
	if (put > 0)
		json_w_close(&p->w);
}

static void put_probes(struct writer *p, const char *key, const struct import__probes *probes)
{
	if (probes->count == 0)
		return;
	json_w_key(&p->w, key);
	json_w_open(&p->w, '[');
	for (size_t i = 0; i < probes->count; i++) {
		const struct import__probe *probe = &probes->items[i];
		json_w_open(&p->w, '{');
		put_member(p, "prompt", &probe->prompt);
		put_member(p, "target", &probe->target);
		json_w_key(&p->w, "kind");
		json_w_str(&p->w, probe->kind);
		if (probe->target.text != NULL)
			put_list(p, "aliases", &probe->aliases, IMPORT__ALIASES_MAX, &probe->target);
		json_w_close(&p->w);
	}
	json_w_close(&p->w);
}

static void put_edit(struct writer *p, const struct import__edit *edit)
{
	json_w_open(&p->w, '{');
	put_member(p, "prompt", &edit->prompt);
	put_member(p, "target_new", &edit->target_new);
	put_member(p, "subject", &edit->subject);
	put_list(p, "rephrase", &edit->rephrases, RECORD_LIST_MAX, &edit->prompt);
	put_list(p, "aliases", &edit->aliases, RECORD_LIST_MAX, &edit->target_new);
	put_member(p, "target_true", &edit->target_true);
	put_probes(p, "locality", &edit->locality);
	put_probes(p, "portability", &edit->portability);
	put_member(p, "group", &edit->group);
	if (edit->case_id.text != NULL || edit->relation.text != NULL) {
		json_w_key(&p->w, "tags");
		json_w_open(&p->w, '{');
		put_member(p, "case", &edit->case_id);
		put_member(p, "relation", &edit->relation);
		json_w_close(&p->w);
	}
	json_w_close(&p->w);
}

int import__emit(struct import__out *out, const struct import__edit *edit, struct err *e)
{
	struct writer p = { .composed = BUF_INIT };
	if (out->count == IMPORT__ROWS_MAX)
		return err_set(e, ERR_INVALID, "record: over %d edits in one item", IMPORT__ROWS_MAX);
	size_t at = out->text.len;
	json_w_init(&p.w, &out->text);
	put_edit(&p, edit);
	buf_free(&p.composed);
	if (p.rc != 0 || buf_failed(&out->text))
		return err_set(e, ERR_NOMEM, "out of memory for a record");
	out->rows[out->count].at = at;
	out->rows[out->count++].len = out->text.len - at;
	return 0;
}
