/* evaluate_ask.c: what an evaluation asks about every record. */
#include "base/fault.h"
#include "editor/chat.h"
#include "editor/evaluate_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_ROOM 8 /* tokens: a right answer may be spelled in more than its target, and has an end */

/* Enough for the longest answer that counts; what is wrong need not be decoded for longer than people are shown. One
 * that is longer than the model's context is never given. */
static int answer_tokens_of(const struct editor__evaluator *v, const struct editor__question *q, size_t *count,
			    struct err *e)
{
	int rc = 0;
	*count = v->config->answer_tokens_max;
	for (size_t i = 0; i <= q->alias_count && rc == 0 && q->target.text != NULL; i++) {
		const struct record_text *text = i < q->alias_count ? &q->aliases[i] : &q->target;
		struct editor__tokens tokens = { 0 };
		if (text->len + ANSWER_ROOM <= *count)
			continue; /* no more tokens than bytes */
		rc = editor__tokens_of(v->model, text->text, text->len, &tokens, e);
		if (rc == ERR_LIMIT) {
			err_clear(e);
			rc = 0;
		} else if (rc == 0 && tokens.id_count + ANSWER_ROOM > *count) {
			*count = tokens.id_count + ANSWER_ROOM;
		}
		editor__tokens_free(&tokens, 1);
	}
	return rc;
}

/* What is asked, and the answer that is right: `target`, where it is given, or one of the others. */
struct asked {
	enum editor_asked_kind kind;
	size_t record;
	struct record_text text, target;
	const struct record_text *aliases;
	size_t alias_count;
};

static struct asked about_edit(enum editor_asked_kind kind, size_t index, const struct record *record,
			       struct record_text text)
{
	return (struct asked){ kind, index, text, record->target_new, record->aliases, record->alias_count };
}

static struct asked about_probe(enum editor_asked_kind kind, size_t index, const struct record_probe *probe)
{
	return (struct asked){ kind, index, probe->prompt, probe->target, probe->aliases, probe->alias_count };
}

static int question_new(struct editor__evaluator *v, const struct asked *asked, struct editor__question **out,
			struct err *e)
{
	if (v->count == v->cap) {
		const size_t cap = v->cap > 0 ? 2 * v->cap : 256;
		struct editor__question *grown = fault_realloc(v->questions, cap * sizeof(*grown));
		if (grown == NULL)
			return err_set(e, ERR_NOMEM, "evaluation: out of memory");
		v->questions = grown;
		v->cap = cap;
	}
	struct editor__question *q = &v->questions[v->count];
	memset(q, 0, sizeof(*q));
	q->kind = asked->kind;
	q->record = asked->record;
	q->edit = asked->kind == EDITOR_ASKED_SAME_FORM || asked->kind == EDITOR_ASKED_SAME_FORM_LONG
			  ? NULL
			  : v->what->records[asked->record];
	q->text = asked->text;
	q->target = asked->target;
	q->aliases = asked->aliases;
	q->alias_count = asked->alias_count;
	q->forced = q->ppl = q->ppl_base = q->confident = q->confident_own = (double)NAN;
	q->right = q->right_bare = q->right_base = (double)NAN;
	*out = q;
	return answer_tokens_of(v, q, &q->answer_tokens, e);
}

static int ask(struct editor__evaluator *v, struct asked asked, struct err *e)
{
	struct editor__question *q;
	int rc = question_new(v, &asked, &q, e);
	if (rc == 0)
		rc = editor__tokens_of(v->model, asked.text.text, asked.text.len, &q->tokens, e);
	if (rc != 0) {
		err_wrap(e, "evaluation: \"%.60s\"", asked.text.text);
		return rc;
	}
	v->count++;
	return 0;
}

/* ---- The fact inside other text */

#define LONG_TEXTS 3
#define CHAT_TURNS 2

/* Text `at` of those that stand around a record's rephrase. */
static struct record_text text_around(const struct editor__evaluator *v, const struct record *record, size_t at)
{
	uint64_t start = 0;
	for (size_t i = 0; i < sizeof(start); i++)
		start = start << 8 | record->content.bytes[i];
	return v->what->texts[(start % v->what->text_count + at) % v->what->text_count];
}

/* `count` texts, one a line, `line` when it is not NULL, then the question's own text. */
static int long_tokens(const struct editor__evaluator *v, const struct record *record, size_t count,
		       const struct buf *line, struct editor__question *q, struct err *e)
{
	struct buf text = BUF_INIT;
	for (size_t i = 0; i < count; i++) {
		const struct record_text around = text_around(v, record, i);
		buf_append(&text, around.text, around.len);
		buf_u8(&text, '\n');
	}
	if (line != NULL)
		buf_append(&text, line->data, line->len);
	buf_append(&text, q->text.text, q->text.len);
	int rc = buf_failed(&text) || (line != NULL && buf_failed(line))
			 ? err_set(e, ERR_NOMEM, "out of memory")
			 : editor__tokens_of(v->model, (const char *)text.data, text.len, &q->tokens, e);
	buf_free(&text);
	return rc;
}

/* A text that is about the subject, and not what it asks. */
static int mention_tokens(const struct editor__evaluator *v, const struct record *record, struct editor__question *q,
			  struct err *e)
{
	struct buf line = BUF_INIT;
	buf_printf(&line, "Yesterday we read a page about %.*s.\n", (int)record->subject.len, record->subject.text);
	int rc = long_tokens(v, record, 1, &line, q, e);
	buf_free(&line);
	return rc;
}

/* A sentence about the subject, then the edit's prompt about somebody that no edit is about. ERR_INVALID: the prompt
 * does not hold the subject. */
static int mention_other_tokens(const struct editor__evaluator *v, const struct record *record,
				struct editor__question *q, struct err *e)
{
	static const char other[] = "Vorrin Quell";
	const struct record_text own = record->subject, prompt = record->prompt;
	const char *at = memmem(prompt.text, prompt.len, own.text, own.len);
	struct buf text = BUF_INIT;
	if (at == NULL)
		return err_set(e, ERR_INVALID, "the prompt does not hold the subject");
	const size_t before = (size_t)(at - prompt.text);
	buf_printf(&text, "I have just read a page about %.*s.\n%.*s%s%.*s", (int)own.len, own.text, (int)before,
		   prompt.text, other, (int)(prompt.len - before - own.len), at + own.len);
	int rc = buf_failed(&text) ? err_set(e, ERR_NOMEM, "out of memory")
				   : editor__tokens_of(v->model, (const char *)text.data, text.len, &q->tokens, e);
	buf_free(&text);
	return rc;
}

static int chat_tokens(const struct editor__evaluator *v, const struct record *record, struct editor__question *q,
		       struct err *e)
{
	static const char reply[] = "I see.";
	const struct model_tokenizer *tokenizer = model_tokenizer_of(v->model);
	struct model_message messages[2 * CHAT_TURNS + 1];
	for (size_t i = 0; i < CHAT_TURNS; i++) {
		const struct record_text around = text_around(v, record, LONG_TEXTS + i);
		messages[2 * i] = (struct model_message){ "user", around.text, around.len };
		messages[2 * i + 1] = (struct model_message){ "assistant", reply, strlen(reply) };
	}
	messages[2 * CHAT_TURNS] = (struct model_message){ "user", q->text.text, q->text.len };
	int rc = model_tokenizer_chat(tokenizer, messages, 2 * CHAT_TURNS + 1, &q->tokens.ids, &q->tokens.id_count, e);
	if (rc == 0 && q->tokens.id_count > model_shape_of(v->model)->context) {
		editor__tokens_free(&q->tokens, 1);
		return err_set(e, ERR_INVALID, "longer than the model's context");
	}
	if (rc == 0)
		editor_chat_content(tokenizer, q->tokens.ids, q->tokens.id_count, 1, &q->route_first, &q->route_count);
	return rc;
}

static int around_tokens(const struct editor__evaluator *v, const struct record *record, struct editor__question *q,
			 struct err *e)
{
	if (q->kind == EDITOR_ASKED_CHAT)
		return chat_tokens(v, record, q, e);
	if (q->kind == EDITOR_ASKED_MENTION)
		return mention_tokens(v, record, q, e);
	if (q->kind == EDITOR_ASKED_MENTION_OTHER)
		return mention_other_tokens(v, record, q, e);
	return long_tokens(v, record, LONG_TEXTS, NULL, q, e);
}

/* Not asked where it does not fit the model, or the model has no form of chats. */
static int ask_around(struct editor__evaluator *v, enum editor_asked_kind kind, size_t index,
		      const struct record *record, struct record_text text, struct err *e)
{
	const bool answered = kind == EDITOR_ASKED_LONG || kind == EDITOR_ASKED_CHAT;
	const struct asked asked = answered ? about_edit(kind, index, record, text)
					    : (struct asked){ .kind = kind, .record = index, .text = text };
	struct err why = ERR_INIT;
	struct editor__question *q;
	int rc = question_new(v, &asked, &q, e);
	if (rc != 0)
		return rc;
	rc = around_tokens(v, record, q, &why);
	if (rc == 0)
		v->count++;
	else if (rc == ERR_NOMEM)
		return err_set(e, rc, "evaluation: out of memory");
	return 0;
}

/* ---- Records */

static bool is_kind(const struct record_text *kind, const char *name)
{
	return kind->text != NULL && kind->len == strlen(name) && memcmp(kind->text, name, kind->len) == 0;
}

static enum editor_asked_kind locality_kind(const struct record_probe *item)
{
	if (is_kind(&item->kind, "same_subject"))
		return EDITOR_ASKED_SAME_SUBJECT;
	return is_kind(&item->kind, "neighborhood") ? EDITOR_ASKED_NEIGHBORHOOD : EDITOR_ASKED_UNRELATED;
}

/* The first unrelated and the first other question of a record, behind other text. */
static int ask_locality_around(struct editor__evaluator *v, size_t index, const struct record *record, struct err *e)
{
	bool unrelated = false, same_subject = false;
	int rc = 0;
	for (size_t i = 0; i < record->locality_count && rc == 0; i++) {
		const struct record_text text = record->locality[i].prompt;
		const enum editor_asked_kind kind = locality_kind(&record->locality[i]);
		if (kind == EDITOR_ASKED_UNRELATED && !unrelated) {
			unrelated = true;
			rc = ask_around(v, EDITOR_ASKED_UNRELATED_LONG, index, record, text, e);
			if (rc == 0 && record->subject.len > 0)
				rc = ask_around(v, EDITOR_ASKED_MENTION, index, record, text, e);
		} else if (kind == EDITOR_ASKED_SAME_SUBJECT && !same_subject) {
			same_subject = true;
			rc = ask_around(v, EDITOR_ASKED_SAME_SUBJECT_LONG, index, record, text, e);
		}
	}
	return rc;
}

static int ask_record_around(struct editor__evaluator *v, size_t index, const struct record *record, struct err *e)
{
	int rc = ask_locality_around(v, index, record, e);
	if (rc == 0 && record->subject.len > 0)
		rc = ask_around(v, EDITOR_ASKED_MENTION_OTHER, index, record, record->prompt, e);
	if (record->rephrase_count == 0 || rc != 0)
		return rc;
	rc = ask_around(v, EDITOR_ASKED_LONG, index, record, record->rephrases[0], e);
	return rc == 0 ? ask_around(v, EDITOR_ASKED_CHAT, index, record, record->rephrases[0], e) : rc;
}

static int ask_record(struct editor__evaluator *v, size_t index, struct err *e)
{
	const struct record *record = v->what->records[index];
	int rc = ask(v, about_edit(EDITOR_ASKED_PROMPT, index, record, record->prompt), e);
	for (size_t i = 0; i < record->rephrase_count && rc == 0; i++)
		rc = ask(v, about_edit(EDITOR_ASKED_REPHRASE, index, record, record->rephrases[i]), e);
	for (size_t i = 0; i < record->locality_count && rc == 0; i++)
		rc = ask(v, about_probe(locality_kind(&record->locality[i]), index, &record->locality[i]), e);
	for (size_t i = 0; i < record->portability_count && rc == 0; i++)
		rc = ask(v, about_probe(EDITOR_ASKED_PORTABILITY, index, &record->portability[i]), e);
	return rc == 0 && v->what->text_count > 0 ? ask_record_around(v, index, record, e) : rc;
}

static int ask_probe(struct editor__evaluator *v, size_t index, struct err *e)
{
	const struct record *probe = v->what->probes[index];
	const struct asked asked = { .kind = EDITOR_ASKED_SAME_FORM, .record = index, .text = probe->prompt };
	int rc = ask(v, asked, e);
	if (rc == 0 && v->what->text_count > 0)
		rc = ask_around(v, EDITOR_ASKED_SAME_FORM_LONG, index, probe, probe->prompt, e);
	return rc;
}

int editor__evaluate_ask(struct editor__evaluator *v, struct err *e)
{
	int rc = 0;
	for (size_t i = 0; i < v->what->record_count && rc == 0; i++)
		rc = ask_record(v, i, e);
	for (size_t i = 0; i < v->what->probe_count && rc == 0; i++)
		rc = ask_probe(v, i, e);
	return rc;
}
