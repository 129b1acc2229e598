#include "base/record.h"

#include "base/env.h"
#include "base/fault.h"
#include "base/names.h"
#include "base/text.h"
#include "base/wording.h"

#include <stdlib.h>
#include <string.h>

#define NOTE_BYTES_MAX 2048 /* subject, group, actor, source, ticket, kinds and the like */
#define SCHEMA_VERSION 1

enum text_rule {
	RULE_REQUIRED = 1,
	RULE_MULTILINE = 2,
};

static int check_text(const char *field, const struct record_text *t, unsigned rule, size_t bytes_max, struct err *e)
{
	if (t->len > bytes_max)
		return err_set(e, ERR_INVALID, "%s: %zu bytes, %zu are possible", field, t->len, bytes_max);
	int rc = text_check(t->text, t->len, (rule & RULE_MULTILINE) != 0, e);
	if (rc != 0) {
		err_wrap(e, "%s", field);
		return rc;
	}
	if (text_is_blank(t->text, t->len))
		return err_set(e, ERR_INVALID, "%s: empty: write its text, white space alone is none%s", field,
			       rule & RULE_REQUIRED ? "" : ", or leave the field out");
	return 0;
}

static int read_text(const char *field, const struct json *v, unsigned rule, size_t bytes_max, struct record_text *out,
		     struct err *e)
{
	*out = (struct record_text){ NULL, 0 };
	if (v == NULL || json_type(v) == JSON_NULL)
		return rule & RULE_REQUIRED ? err_set(e, ERR_INVALID, "%s: missing", field) : 0;
	out->text = json_string(v, &out->len);
	if (out->text == NULL)
		return err_set(e, ERR_INVALID, "%s: must be a string", field);
	return check_text(field, out, rule, bytes_max, e);
}

/* How many texts a value that may be a string or a list of strings holds. */
static int count_list(const char *field, const struct json *v, size_t *count, struct err *e)
{
	*count = 0;
	if (v == NULL || json_type(v) == JSON_NULL)
		return 0;
	if (json_type(v) != JSON_STRING && json_type(v) != JSON_ARRAY)
		return err_set(e, ERR_INVALID, "%s: must be a string or a list", field);
	*count = json_type(v) == JSON_STRING ? 1 : json_length(v);
	if (*count > RECORD_LIST_MAX)
		return err_set(e, ERR_INVALID, "%s: %zu items, %d are possible", field, *count, RECORD_LIST_MAX);
	return 0;
}

static int read_texts(const char *field, const struct json *v, unsigned rule, size_t bytes_max,
		      struct record_text **out, size_t *out_count, struct err *e)
{
	size_t count;
	int rc = count_list(field, v, &count, e);
	if (rc != 0 || count == 0)
		return rc;
	*out = fault_calloc(count, sizeof(**out));
	if (*out == NULL)
		return err_set(e, ERR_NOMEM, "%s: out of memory", field);
	*out_count = count;
	for (size_t i = 0; i < count; i++) {
		const struct json *item = json_type(v) == JSON_STRING ? v : json_at(v, i);
		rc = read_text(field, item, RULE_REQUIRED | rule, bytes_max, &(*out)[i], e);
		if (rc != 0)
			return rc;
	}
	return 0;
}

static int read_probe(const char *field, const struct json *v, bool locality, struct record_probe *out, struct err *e)
{
	if (json_type(v) != JSON_OBJECT)
		return err_set(e, ERR_INVALID, "%s: every item must be an object with a prompt", field);
	int rc = read_text("prompt", json_get(v, "prompt"), RULE_REQUIRED | RULE_MULTILINE, RECORD_PROMPT_BYTES_MAX,
			   &out->prompt, e);
	if (rc == 0)
		rc = read_text("target", json_get(v, "target"), RULE_MULTILINE, RECORD_TARGET_BYTES_MAX, &out->target,
			       e);
	if (rc == 0)
		rc = read_text("kind", json_get(v, "kind"), 0, NOTE_BYTES_MAX, &out->kind, e);
	if (rc == 0)
		rc = read_texts("aliases", json_get(v, "aliases"), RULE_MULTILINE, RECORD_TARGET_BYTES_MAX,
				&out->aliases, &out->alias_count, e);
	if (rc != 0) {
		err_wrap(e, "%s", field);
		return rc;
	}
	if (!locality)
		return out->target.text != NULL ? 0 : err_set(e, ERR_INVALID, "%s: target: missing", field);
	if (out->kind.text == NULL)
		out->kind = (struct record_text){ "unrelated", 9 };
	if (strcmp(out->kind.text, "unrelated") != 0 && strcmp(out->kind.text, "same_subject") != 0 &&
	    strcmp(out->kind.text, "neighborhood") != 0)
		return err_set(e, ERR_INVALID, "%s: kind: must be unrelated, same_subject or neighborhood", field);
	return 0;
}

static int read_probes(const char *field, const struct json *v, bool locality, struct record_probe **out,
		       size_t *out_count, struct err *e)
{
	if (v == NULL || json_type(v) == JSON_NULL || (json_type(v) == JSON_ARRAY && json_length(v) == 0))
		return 0;
	if (json_type(v) != JSON_ARRAY)
		return err_set(e, ERR_INVALID, "%s: must be a list", field);
	size_t count = json_length(v);
	if (count > RECORD_LIST_MAX)
		return err_set(e, ERR_INVALID, "%s: %zu items, %d are possible", field, count, RECORD_LIST_MAX);
	*out = fault_calloc(count, sizeof(**out));
	if (*out == NULL)
		return err_set(e, ERR_NOMEM, "%s: out of memory", field);
	*out_count = count;
	for (size_t i = 0; i < count; i++) {
		int rc = read_probe(field, json_at(v, i), locality, &(*out)[i], e);
		if (rc != 0)
			return rc;
	}
	return 0;
}

static int check_time(const char *field, const struct json *v, int64_t *wall_ms, bool *given, struct err *e)
{
	struct record_text t;
	int rc = read_text(field, v, 0, NOTE_BYTES_MAX, &t, e);
	*given = rc == 0 && t.text != NULL;
	if (!*given)
		return rc;
	rc = env_time_parse(t.text, wall_ms, e);
	if (rc != 0)
		err_wrap(e, "%s", field);
	return rc;
}

/* What lies before 1970 lies in the past, as its first millisecond does: 0 says that no time is given. */
static int64_t after_epoch(int64_t wall_ms)
{
	return wall_ms > 0 ? wall_ms : 1;
}

static int read_period(struct record *r, const struct json *object, struct err *e)
{
	int64_t from = 0, until = 0;
	bool has_from, has_until;
	int rc = check_time("valid_from", json_get(object, "valid_from"), &from, &has_from, e);
	if (rc == 0)
		rc = check_time("expires", json_get(object, "expires"), &until, &has_until, e);
	if (rc == 0 && has_from && has_until && until <= from)
		rc = err_set(e, ERR_INVALID, "expires: must be after valid_from");
	r->valid_from_ms = rc == 0 && has_from ? after_epoch(from) : 0;
	r->expires_ms = rc == 0 && has_until ? after_epoch(until) : 0;
	return rc;
}

static int check_tags(const struct json *tags, struct err *e)
{
	if (tags == NULL || json_type(tags) == JSON_NULL)
		return 0;
	if (json_type(tags) != JSON_OBJECT)
		return err_set(e, ERR_INVALID, "tags: must be an object of strings");
	if (json_length(tags) > RECORD_LIST_MAX)
		return err_set(e, ERR_INVALID, "tags: %zu items, %d are possible", json_length(tags), RECORD_LIST_MAX);
	const char *key;
	const struct json *value;
	for (size_t i = 0; json_member(tags, i, &key, &value); i++) {
		if (json_type(value) != JSON_STRING)
			return err_set(e, ERR_INVALID, "tags: must be an object of strings");
	}
	return 0;
}

/* What the record only carries along still has to be text that can be shown and signed. */
static int check_carried(const struct json *v, struct err *e)
{
	size_t len;
	const char *text = json_string(v, &len), *key;
	const struct json *value;
	int rc = text != NULL ? text_check(text, len, true, e) : 0;
	for (size_t i = 0; rc == 0 && json_member(v, i, &key, &value); i++) {
		rc = text_check(key, strlen(key), false, e);
		if (rc != 0) {
			err_wrap(e, "a key");
			return rc;
		}
		rc = check_carried(value, e);
		if (rc != 0)
			err_wrap(e, "%s", key);
	}
	for (size_t i = 0; rc == 0 && json_type(v) == JSON_ARRAY && i < json_length(v); i++)
		rc = check_carried(json_at(v, i), e);
	return rc;
}

static int check_meta(struct record *r, const struct json *object, struct err *e)
{
	static const char *const notes[] = { "actor", "source", "ticket" };
	struct record_text unused;
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < sizeof(notes) / sizeof(notes[0]); i++)
		rc = read_text(notes[i], json_get(object, notes[i]), 0, NOTE_BYTES_MAX, &unused, e);
	if (rc == 0)
		rc = read_text("target_true", json_get(object, "target_true"), RULE_MULTILINE, RECORD_TARGET_BYTES_MAX,
			       &unused, e);
	if (rc == 0)
		rc = read_period(r, object, e);
	if (rc == 0)
		rc = check_tags(json_get(object, "tags"), e);
	const struct json *schema = json_get(object, "schema");
	if (rc == 0 && schema != NULL && (!json_is_integer(schema) || json_integer(schema) != SCHEMA_VERSION))
		rc = err_set(e, ERR_INVALID, "schema: must be %d, the only one that this program knows",
			     SCHEMA_VERSION);
	return rc;
}

static int read_core(struct record *r, const struct json *object, struct err *e)
{
	int rc = read_text("prompt", json_get(object, "prompt"), RULE_REQUIRED | RULE_MULTILINE,
			   RECORD_PROMPT_BYTES_MAX, &r->prompt, e);
	if (rc == 0)
		rc = read_text("target_new", json_get(object, "target_new"), RULE_REQUIRED | RULE_MULTILINE,
			       RECORD_TARGET_BYTES_MAX, &r->target_new, e);
	if (rc == 0)
		rc = read_text("subject", json_get(object, "subject"), 0, NOTE_BYTES_MAX, &r->subject, e);
	if (rc == 0)
		rc = read_text("loc_prompt", json_get(object, "loc_prompt"), RULE_MULTILINE, RECORD_PROMPT_BYTES_MAX,
			       &r->loc_prompt, e);
	if (rc == 0)
		rc = read_text("group", json_get(object, "group"), 0, NOTE_BYTES_MAX, &r->group, e);
	if (rc == 0)
		rc = read_text("id", json_get(object, "id"), 0, RECORD_ID_BYTES_MAX, &r->id, e);
	return rc;
}

static int read_lists(struct record *r, const struct json *object, struct err *e)
{
	int rc = read_texts("rephrase", json_get(object, "rephrase"), RULE_MULTILINE, RECORD_PROMPT_BYTES_MAX,
			    &r->rephrases, &r->rephrase_count, e);
	if (rc == 0)
		rc = read_texts("aliases", json_get(object, "aliases"), RULE_MULTILINE, RECORD_TARGET_BYTES_MAX,
				&r->aliases, &r->alias_count, e);
	if (rc == 0)
		rc = read_texts("subject_aliases", json_get(object, "subject_aliases"), 0, NOTE_BYTES_MAX,
				&r->subject_aliases, &r->subject_alias_count, e);
	if (rc == 0 && r->subject_alias_count > 0 && r->subject.text == NULL)
		rc = err_set(e, ERR_INVALID, "subject_aliases: other names of the subject: give the subject too");
	if (rc == 0)
		rc = read_probes("locality", json_get(object, "locality"), true, &r->locality, &r->locality_count, e);
	if (rc == 0)
		rc = read_probes("portability", json_get(object, "portability"), false, &r->portability,
				 &r->portability_count, e);
	return rc;
}

static int make_identity(struct record *r, struct err *e)
{
	struct buf canonical = BUF_INIT;
	json_canonical_without(r->document, "id", &canonical);
	bool failed = buf_failed(&canonical);
	if (!failed)
		hash_of(canonical.data, canonical.len, &r->content);
	buf_free(&canonical);
	if (failed)
		return err_set(e, ERR_NOMEM, "hashing a record: out of memory");
	r->id_explicit = r->id.text != NULL;
	if (!r->id_explicit) {
		hash_hex(&r->content, r->id_storage);
		r->id = (struct record_text){ r->id_storage, HASH_HEX_BYTES - 1 };
	}
	return 0;
}

static int fill(struct record *r, const char *json_text, size_t len, struct err *e)
{
	int rc = json_parse(json_text, len, &r->document, e);
	if (rc != 0) {
		err_wrap(e, "record");
		return rc == ERR_LIMIT ? err_set(e, ERR_INVALID, "record: JSON nested deeper than %d", JSON_DEPTH_MAX)
				       : rc;
	}
	if (json_type(r->document) != JSON_OBJECT)
		return err_set(e, ERR_INVALID, "record: must be a JSON object");
	rc = read_core(r, r->document, e);
	if (rc == 0)
		rc = read_lists(r, r->document, e);
	if (rc == 0)
		rc = check_meta(r, r->document, e);
	if (rc == 0)
		rc = check_carried(r->document, e);
	if (rc == 0)
		rc = make_identity(r, e);
	return rc;
}

int record_parse(const char *json_text, size_t len, struct record **out, struct err *e)
{
	if (len > RECORD_BYTES_MAX)
		return err_set(e, ERR_INVALID, "record: %zu bytes, %d are possible", len, RECORD_BYTES_MAX);
	struct record *r = fault_calloc(1, sizeof(*r));
	if (r == NULL)
		return err_set(e, ERR_NOMEM, "parsing a record: out of memory");
	int rc = fill(r, json_text, len, e);
	if (rc != 0) {
		record_destroy(&r);
		return rc;
	}
	*out = r;
	return 0;
}

static int find_content(void *context, const char *word, size_t len)
{
	bool *found = context;
	*found = wording_is_content(word, len);
	return *found ? 1 : 0;
}

/* A name of words that any question may say would take all of them for questions about the subject. */
static int check_subject_aliases(const struct record *r, struct err *e)
{
	for (size_t i = 0; i < r->subject_alias_count; i++) {
		const struct record_text *name = &r->subject_aliases[i];
		bool found = false;
		char shown[64];
		int rc = text_words(name->text, name->len, find_content, &found);
		if (rc == ERR_NOMEM)
			return err_set(e, rc, "subject_aliases: out of memory");
		if (found)
			continue;
		text_show_line(name->text, name->len, shown, sizeof(shown));
		return err_set(e, ERR_INVALID,
			       "subject_aliases: item %zu, \"%s\", has no word of its own, only such as any question "
			       "may say: give a name that does, or leave it out",
			       i + 1, shown);
	}
	return 0;
}

int record_parse_new(const char *json_text, size_t len, struct record **out, struct err *e)
{
	struct record *r = NULL;
	int rc = record_parse(json_text, len, &r, e);
	if (rc == 0)
		rc = check_subject_aliases(r, e);
	if (rc == 0)
		*out = r;
	else
		record_destroy(&r);
	return rc;
}

static void probes_free(struct record_probe *probes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(probes[i].aliases);
	free(probes);
}

void record_destroy(struct record **record)
{
	struct record *r = *record;
	if (r == NULL)
		return;
	json_free(&r->document);
	free(r->rephrases);
	free(r->aliases);
	free(r->subject_aliases);
	probes_free(r->locality, r->locality_count);
	probes_free(r->portability, r->portability_count);
	free(r);
	*record = NULL;
}

/* Where the text ends before its last mark of an end (".", "?", "!", ":", their wide and Arabic forms, an ellipsis) and
 * the blank there; `len` where no such mark is. */
static size_t before_end_mark(const char *text, size_t len)
{
	static const char *const marks[] = { ".",      "?",      "!",      ":",      "\u2026", "\u3002",
					     "\uff01", "\uff0e", "\uff1a", "\uff1f", "\u061f" };
	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
		const size_t bytes = strlen(marks[i]);
		if (len < bytes || memcmp(text + len - bytes, marks[i], bytes) != 0)
			continue;
		if (*marks[i] == '!' && len > 1 && text[len - 2] >= '0' && text[len - 2] <= '9')
			return len; /* a factorial */
		len -= bytes;
		return len > 0 && text[len - 1] == ' ' ? len - 1 : len;
	}
	return len;
}

int record_subject_key(const struct record *record, struct buf *out)
{
	return record->subject.text != NULL ? text_fold(record->subject.text, record->subject.len, out)
					    : record_prompt_key(record, out);
}

int record_prompt_key(const struct record *record, struct buf *out)
{
	const size_t start = out->len;
	int rc = text_fold(record->prompt.text, record->prompt.len, out);
	if (rc != 0)
		return rc;
	const char *text = (const char *)out->data + start;
	size_t len = out->len - start, next = before_end_mark(text, len);
	while (next > 0 && next < len) {
		len = next;
		next = before_end_mark(text, len);
	}
	if (next > 0) /* a prompt of marks alone keeps them */
		out->len = start + len;
	return 0;
}

/* Folds both through `fold` and compares. */
static int same_folded(const struct record *a, const struct record *b, int (*fold)(const struct record *, struct buf *),
		       bool *same)
{
	struct buf x = BUF_INIT, y = BUF_INIT;
	int rc = fold(a, &x);
	if (rc == 0)
		rc = fold(b, &y);
	if (rc == 0)
		*same = x.len == y.len && (x.len == 0 || memcmp(x.data, y.data, x.len) == 0);
	buf_free(&x);
	buf_free(&y);
	return rc;
}

static int fold_target(const struct record *r, struct buf *out)
{
	return text_fold(r->target_new.text, r->target_new.len, out);
}

/* The prompts of both with the names that `x`, then those that `y` lists for its subject resolved, compared as
 * questions about the subject of `y`; `a` and `b` are the two in any order. */
static int compare_prompts(const struct record *a, const struct record *b, const struct record *x,
			   const struct record *y, struct wording *wording)
{
	struct buf texts[2] = { BUF_INIT, BUF_INIT };
	int rc = 0;
	if (x->subject_alias_count == 0 && y->subject_alias_count == 0)
		return wording_compare(a->prompt.text, a->prompt.len, b->prompt.text, b->prompt.len, y->subject.text,
				       y->subject.len, wording);
	for (size_t i = 0; rc == 0 && i < 2; i++) {
		const struct record_text *prompt = i == 0 ? &a->prompt : &b->prompt;
		struct buf half = BUF_INIT;
		rc = names_resolve(x, prompt->text, prompt->len, &half);
		if (rc == 0)
			rc = names_resolve(y, buf_cstr(&half), half.len, &texts[i]);
		buf_free(&half);
	}
	if (rc == 0)
		rc = wording_compare(buf_cstr(&texts[0]), texts[0].len, buf_cstr(&texts[1]), texts[1].len,
				     y->subject.text, y->subject.len, wording);
	buf_free(&texts[0]);
	buf_free(&texts[1]);
	return rc;
}

/* `unnamed` has no subject; where `named` has none either, only the same prompt would be the same. */
static int same_question_unnamed(const struct record *unnamed, const struct record *named, bool *same)
{
	struct wording wording;
	if (named->subject.text == NULL)
		return 0;
	int rc = compare_prompts(unnamed, named, named, named, &wording);
	*same = rc == 0 && wording_alike_unnamed(&wording);
	return rc;
}

/* Both have a subject. *meant: the one whose subject both are about; NULL: they are about two. */
static int same_subject(const struct record *a, const struct record *b, const struct record **meant)
{
	bool same = false;
	int rc = same_folded(a, b, record_subject_key, &same);
	*meant = a;
	if (rc == 0 && !same)
		rc = names_list(a, &b->subject, &same);
	if (rc != 0 || same)
		return rc;
	rc = names_list(b, &a->subject, &same);
	*meant = same ? b : NULL;
	return rc;
}

int record_same_subject(const struct record *a, const struct record *b, bool *same)
{
	const struct record *meant = NULL;
	int rc = a->subject.text != NULL && b->subject.text != NULL ? same_subject(a, b, &meant) : 0;
	*same = rc == 0 && meant != NULL;
	return rc;
}

int record_clashes(const struct record *a, const struct record *b, bool *clashes)
{
	bool same_target = false;
	*clashes = false;
	int rc = same_folded(a, b, fold_target, &same_target);
	return rc != 0 || same_target ? rc : same_folded(a, b, record_prompt_key, clashes);
}

int record_conflicts(const struct record *a, const struct record *b, bool *conflicts)
{
	bool same_target = false;
	int rc = record_clashes(a, b, conflicts);
	if (rc == 0 && !*conflicts)
		rc = same_folded(a, b, fold_target, &same_target);
	if (rc != 0 || *conflicts || same_target)
		return rc;
	if (a->subject.text == NULL || b->subject.text == NULL)
		return a->subject.text == NULL ? same_question_unnamed(a, b, conflicts)
					       : same_question_unnamed(b, a, conflicts);
	const struct record *meant;
	struct wording wording;
	rc = same_subject(a, b, &meant);
	if (rc != 0 || meant == NULL)
		return rc;
	rc = compare_prompts(a, b, meant == a ? b : a, meant, &wording);
	*conflicts = rc == 0 && wording_alike(&wording);
	return rc;
}
