/* canaries.c: see canaries.h. */
#include "daemon/canaries.h"

#include "base/fault.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/text.h"
#include "daemon/version_set.h"
#include "editor/chat.h"
#include "editor/decode.h"

#include <stdlib.h>
#include <string.h>

#define FILE_BYTES_MAX (4 * 1024 * 1024)
#define COUNT_MAX      10000
#define ANSWER_TOKENS  16
#define SLOTS          16
#define ROWS_MAX       512

struct canary {
	char *id, *prompt;
	bool chat;
};

struct canaries {
	struct canary *list;
	size_t count, cap;
	struct worker_canaries row;
};

/* --- Files. */

static bool is_there(const struct canaries *c, const char *id)
{
	for (size_t i = 0; i < c->count; i++)
		if (strcmp(c->list[i].id, id) == 0)
			return true;
	return false;
}

static int add(struct canaries *c, const char *id, const char *prompt, bool chat)
{
	if (c->count == c->cap) {
		const size_t cap = c->cap == 0 ? 256 : 2 * c->cap;
		struct canary *list = fault_realloc(c->list, cap * sizeof *list);
		if (list == NULL)
			return ERR_NOMEM;
		c->list = list;
		c->cap = cap;
	}
	struct canary *canary = &c->list[c->count];
	*canary = (struct canary){ strdup(id), strdup(prompt), chat };
	c->count++;
	return canary->id != NULL && canary->prompt != NULL ? 0 : ERR_NOMEM;
}

static const char *line_wrong(const struct canaries *c, const char *id, const char *prompt, const char *chat)
{
	if (id == NULL || *id == '\0' || strlen(id) > MSG_CANARY_ID_BYTES_MAX)
		return "needs an \"id\" of at most 64 bytes";
	if ((prompt == NULL) == (chat == NULL))
		return "needs a \"prompt\", or \"chat\"";
	const size_t len = strlen(prompt != NULL ? prompt : chat);
	if (len == 0 || len > MSG_CANARY_PROMPT_BYTES_MAX)
		return "its text is empty, or over 2048 bytes";
	if (is_there(c, id))
		return "its id stands before";
	return c->count == COUNT_MAX ? "at most 10000 canaries are possible" : NULL;
}

static int line_take(struct canaries *c, const char *line, size_t len, const char *path, size_t number, struct err *e)
{
	struct json *json = NULL;
	int rc = json_parse(line, len, &json, e);
	if (rc != 0) {
		err_wrap(e, "%s:%zu", path, number);
		return rc;
	}
	const char *id = json_string(json_get(json, "id"), NULL);
	const char *prompt = json_string(json_get(json, "prompt"), NULL);
	const char *chat = json_string(json_get(json, "chat"), NULL);
	const char *wrong = line_wrong(c, id, prompt, chat);
	if (wrong != NULL)
		rc = err_set(e, ERR_INVALID, "%s:%zu: %s", path, number, wrong);
	else if (add(c, id, prompt != NULL ? prompt : chat, chat != NULL) != 0)
		rc = err_set(e, ERR_NOMEM, "canaries: out of memory");
	json_free(&json);
	return rc;
}

static int file_take(struct canaries *c, const char *path, struct err *e)
{
	struct buf bytes = BUF_INIT;
	int rc = file_read(path, FILE_BYTES_MAX, &bytes, e);
	if (rc != 0)
		err_wrap(e, "canaries");
	const char *at = (const char *)bytes.data, *end = at + (rc == 0 ? bytes.len : 0);
	for (size_t number = 1; rc == 0 && at < end; number++) {
		const char *stop = memchr(at, '\n', (size_t)(end - at));
		const size_t len = (size_t)((stop != NULL ? stop : end) - at);
		if (len > 0)
			rc = line_take(c, at, len, path, number, e);
		at += len + 1;
	}
	buf_free(&bytes);
	return rc;
}

/* --- Asking. */

struct question {
	const struct canary *canary;
	int32_t *ids;
	size_t id_count, first, count; /* first, count: what the route is decided from; count 0: all */
	uint64_t memory;
	bool changed;
	struct buf before, after;
	bool before_failed, after_failed;
};

struct asking {
	struct model *model;
	struct editor_memory_set *set;
	enum editor_set_kind kind;
	const struct editor_watch *watch;
	struct question *questions;
	size_t count;
	struct editor_request *requests;
	int rc;
};

static int tokenize(const struct model *model, struct question *q, struct err *e)
{
	const struct model_tokenizer *tokenizer = model_tokenizer_of(model);
	const char *text = q->canary->prompt;
	const struct model_message message = { "user", text, strlen(text) };
	if (!q->canary->chat)
		return model_tokenizer_encode(tokenizer, text, strlen(text), false, &q->ids, &q->id_count, e);
	int rc = model_tokenizer_chat(tokenizer, &message, 1, &q->ids, &q->id_count, e);
	if (rc == 0)
		editor_chat_content(tokenizer, q->ids, q->id_count, 1, &q->first, &q->count);
	return rc;
}

/* What the model cannot take (no chat, too short a context) is not asked. */
static int questions_make(struct asking *a, const struct canaries *c, struct err *e)
{
	const size_t context = model_shape_of(a->model)->context;
	a->questions = fault_calloc(c->count + 1, sizeof *a->questions);
	a->requests = fault_calloc(2 * c->count + 1, sizeof *a->requests);
	if (a->questions == NULL || a->requests == NULL)
		return err_set(e, ERR_NOMEM, "canaries: out of memory");
	for (size_t i = 0; i < c->count; i++) {
		struct question *q = &a->questions[a->count];
		struct err unfit = ERR_INIT;
		q->canary = &c->list[i];
		int rc = tokenize(a->model, q, &unfit);
		if (rc == ERR_NOMEM)
			return err_set(e, rc, "canaries: out of memory");
		if (rc == 0 && q->id_count > 0 && q->id_count + ANSWER_TOKENS <= context) {
			a->count++;
			continue;
		}
		free(q->ids);
		*q = (struct question){ .canary = NULL };
	}
	return a->count > 0 ? 0 : err_set(e, ERR_INVALID, "none of the canaries fits the model");
}

static void request_fill(const struct asking *a, struct question *q, bool with_set, size_t tokens,
			 struct editor_request *out)
{
	*out = (struct editor_request){ .ids = q->ids,
					.id_count = q->id_count,
					.route_first = q->first,
					.route_count = q->count,
					.token_max = tokens,
					.set = with_set ? a->set : NULL,
					.kind = a->kind,
					.sampling = { .temperature = 0.0f, .top_p = 1.0f },
					.stop_at_newline = true,
					.user = q };
}

static int run(struct asking *a, size_t count, void (*on_done)(void *, size_t, const struct editor_sequence *),
	       struct err *e)
{
	struct editor_decoder *decoder = NULL;
	size_t token_max = 1, rows = ROWS_MAX;
	for (size_t i = 0; i < count; i++) {
		const size_t tokens = a->requests[i].id_count + a->requests[i].token_max;
		token_max = tokens > token_max ? tokens : token_max;
	}
	rows = token_max > rows ? token_max : rows;
	if (count == 0)
		return 0;
	int rc = editor_decoder_new(a->model, SLOTS, token_max, rows, &decoder, e);
	if (rc == 0)
		rc = editor_decoder_run(decoder, a->requests, count, on_done, a, a->watch, e);
	editor_decoder_destroy(&decoder);
	return rc == 0 && a->rc != 0 ? err_set(e, a->rc, "canaries: reading an answer failed: %s", err_text(a->rc))
				     : rc;
}

static void on_routed(void *context, size_t request, const struct editor_sequence *sequence)
{
	struct asking *a = context;
	struct question *q = a->requests[request].user;
	q->memory = sequence->memory_id;
}

static void on_answered(void *context, size_t request, const struct editor_sequence *sequence)
{
	struct asking *a = context;
	struct question *q = a->requests[request].user;
	struct buf *out = a->requests[request].set != NULL ? &q->after : &q->before;
	buf_clear(out);
	int rc = model_tokenizer_decode(model_tokenizer_of(a->model), sequence->ids, sequence->id_count, false, out);
	*(a->requests[request].set != NULL ? &q->after_failed : &q->before_failed) = sequence->finish == EDITOR_FAILED;
	if (a->rc == 0)
		a->rc = rc;
}

static bool differs(const struct question *q)
{
	return q->before_failed != q->after_failed || q->before.len != q->after.len ||
	       (q->after.len > 0 && memcmp(q->before.data, q->after.data, q->after.len) != 0);
}

/* First the routes alone: what stays with the main memory is answered by the base model. */
static int set_ask(struct asking *a, enum editor_set_kind kind, struct err *e)
{
	size_t count = 0;
	a->kind = kind;
	for (size_t i = 0; i < a->count; i++)
		request_fill(a, &a->questions[i], true, 1, &a->requests[i]);
	int rc = run(a, a->count, on_routed, e);
	for (size_t i = 0; rc == 0 && i < a->count; i++) {
		struct question *q = &a->questions[i];
		if (q->memory == 0 || q->changed)
			continue;
		request_fill(a, q, true, ANSWER_TOKENS, &a->requests[count++]);
		request_fill(a, q, false, ANSWER_TOKENS, &a->requests[count++]);
	}
	if (rc == 0)
		rc = run(a, count, on_answered, e);
	for (size_t i = 0; rc == 0 && i < count; i += 2) {
		struct question *q = a->requests[i].user;
		q->changed = differs(q);
	}
	return rc;
}

static int text_keep(struct arena *arena, const void *text, size_t len, size_t max, struct msg_text *out)
{
	char shown[MSG_CANARY_PROMPT_BYTES_MAX + 1];
	text_show_line(len > 0 ? text : "", len, shown, max + 1);
	const size_t kept = strlen(shown);
	char *copy = arena_alloc(arena, kept + 1);
	if (copy == NULL)
		return ERR_NOMEM;
	memcpy(copy, shown, kept + 1);
	*out = (struct msg_text){ copy, kept };
	return 0;
}

static int change_keep(const struct question *q, struct worker_canary_answer *out)
{
	struct msg_canary_change *change = &out->changed[out->changed_count];
	const char *id = q->canary->id, *prompt = q->canary->prompt;
	int rc = text_keep(out->arena, id, strlen(id), MSG_CANARY_ID_BYTES_MAX, &change->id);
	if (rc == 0)
		rc = text_keep(out->arena, prompt, strlen(prompt), MSG_CANARY_PROMPT_BYTES_MAX, &change->prompt);
	if (rc == 0)
		rc = text_keep(out->arena, q->before.data, q->before.len, MSG_CANARY_ANSWER_BYTES_MAX, &change->before);
	if (rc == 0)
		rc = text_keep(out->arena, q->after.data, q->after.len, MSG_CANARY_ANSWER_BYTES_MAX, &change->after);
	out->changed_count += rc == 0;
	return rc;
}

static int answer_make(const struct asking *a, struct worker_canary_answer *out, struct err *e)
{
	int rc = arena_new(1 << 14, 0, &out->arena);
	out->asked = (uint32_t)a->count;
	for (size_t i = 0; rc == 0 && i < a->count; i++) {
		out->changed_total += a->questions[i].changed;
		if (a->questions[i].changed && out->changed_count < MSG_CANARY_CHANGES_MAX)
			rc = change_keep(&a->questions[i], out);
	}
	return rc == 0 ? 0 : err_set(e, rc, "canaries: out of memory");
}

static void asking_free(struct asking *a, size_t cap)
{
	for (size_t i = 0; a->questions != NULL && i < cap; i++) {
		free(a->questions[i].ids);
		buf_free(&a->questions[i].before);
		buf_free(&a->questions[i].after);
	}
	free(a->questions);
	free(a->requests);
	editor_memory_set_release(&a->set);
}

static int ask(void *context, struct model *model, struct store *blobs, const struct msg_canary_run *asked,
	       const struct editor_watch *watch, struct worker_canary_answer *out, struct err *e)
{
	const struct canaries *c = context;
	struct asking a = { .model = model, .watch = watch };
	struct proto_manifest manifest;
	struct arena *arena = NULL;
	int rc = arena_new(1 << 16, 0, &arena) != 0 ? err_set(e, ERR_NOMEM, "out of memory") : 0;
	if (rc == 0)
		rc = version_manifest_read(blobs, &asked->root, &asked->content, model_digest(model), arena, &manifest,
					   e);
	if (rc == 0)
		rc = version_set_build(blobs, &manifest, model_shape_of(model), &a.set, e);
	if (rc == 0)
		rc = questions_make(&a, c, e);
	if (rc == 0)
		rc = set_ask(&a, EDITOR_SET_RETRIEVE, e);
	if (rc == 0 && editor_memory_set_has_merged(a.set))
		rc = set_ask(&a, EDITOR_SET_MERGED, e);
	if (rc == 0)
		rc = answer_make(&a, out, e);
	asking_free(&a, c->count);
	arena_destroy(&arena);
	return rc;
}

static int roots(void *context, struct store *blobs, const struct msg_canary_run *asked, struct buf *out, struct err *e)
{
	struct proto_manifest manifest;
	struct arena *arena = NULL;
	(void)context;
	int rc = arena_new(1 << 16, 0, &arena) != 0 ? err_set(e, ERR_NOMEM, "out of memory") : 0;
	if (rc == 0)
		rc = version_manifest_read(blobs, &asked->root, &asked->content, NULL, arena, &manifest, e);
	if (rc == 0)
		rc = version_manifest_roots(&manifest, out, e);
	arena_destroy(&arena);
	return rc;
}

/* --- Life. */

int canaries_open(const char *shipped, const char *own, struct canaries **out, struct err *e)
{
	struct canaries *c = fault_calloc(1, sizeof *c);
	if (c == NULL)
		return err_set(e, ERR_NOMEM, "canaries: out of memory");
	c->row = (struct worker_canaries){ c, roots, ask };
	int rc = file_take(c, shipped, e);
	if (rc == 0 && own != NULL)
		rc = file_take(c, own, e);
	if (rc != 0) {
		canaries_close(&c);
		return rc;
	}
	*out = c;
	return 0;
}

void canaries_close(struct canaries **canaries)
{
	struct canaries *c = *canaries;
	if (c == NULL)
		return;
	for (size_t i = 0; i < c->count; i++) {
		free(c->list[i].id);
		free(c->list[i].prompt);
	}
	free(c->list);
	free(c);
	*canaries = NULL;
}

size_t canaries_count(const struct canaries *canaries)
{
	return canaries->count;
}

const struct worker_canaries *canaries_worker(const struct canaries *canaries)
{
	return &canaries->row;
}
