/* canaries_ask.c: the canaries on the engine's thread: once read, each candidate costs their routes, and answers only
 * where a memory takes one. */
#include "daemon/canaries_internal.h"

#include "base/fault.h"
#include "base/text.h"
#include "editor/chat.h"
#include "editor/decode.h"

#include <stdlib.h>
#include <string.h>

#define ANSWER_TOKENS 16
#define SLOTS         16
#define ROWS_MAX      512
#define AHEAD         16 /* canaries that are read in one go while nothing else is to do */

struct asking {
	struct canaries *canaries;
	struct model *model;
	struct store *blobs;
	const struct proto_manifest *manifest;
	struct editor_memory_set *set; /* borrowed */
	bool bare;                     /* it is the kept one, which reads deltas when answers need them */
	enum editor_set_kind kind;
	const struct editor_watch *watch;
	struct editor_request *requests; /* room for two a question */
	int rc;
};

/* --- What is kept. */

void canaries__forget(struct canaries *c)
{
	for (size_t i = 0; i < c->question_count; i++) {
		free(c->questions[i].ids);
		buf_free(&c->questions[i].before);
		buf_free(&c->questions[i].after);
	}
	free(c->questions);
	c->questions = NULL;
	c->question_count = 0;
	c->model = NULL;
	editor_kept_destroy(&c->kept);
	version_routes_fini(&c->routes);
}

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
static int questions_make(struct canaries *c, const struct model *model, struct err *e)
{
	const size_t context = model_shape_of(model)->context;
	if (c->model == model)
		return 0;
	canaries__forget(c);
	c->questions = fault_calloc(c->count + 1, sizeof *c->questions);
	if (c->questions == NULL)
		return err_set(e, ERR_NOMEM, "canaries: out of memory");
	for (size_t i = 0; i < c->count; i++) {
		struct question *q = &c->questions[c->question_count];
		struct err unfit = ERR_INIT;
		q->canary = &c->list[i];
		int rc = tokenize(model, q, &unfit);
		if (rc == ERR_NOMEM)
			return err_set(e, rc, "canaries: out of memory");
		if (rc == 0 && q->id_count > 0 && q->id_count + ANSWER_TOKENS <= context) {
			c->question_count++;
			continue;
		}
		free(q->ids);
		*q = (struct question){ .canary = NULL };
	}
	if (c->question_count == 0)
		return err_set(e, ERR_INVALID, "none of the canaries fits the model");
	c->model = model;
	return 0;
}

/* Reads `count` more questions for routes at these layers. */
static int keep_more(struct canaries *c, struct model *model, struct editor_key_layers layers, size_t count,
		     const struct editor_watch *watch, struct err *e)
{
	if (c->kept != NULL && !editor_key_layers_same(editor_kept_layers(c->kept), layers))
		editor_kept_destroy(&c->kept);
	int rc = c->kept == NULL ? editor_kept_new(model, layers, &c->kept, e) : 0;
	if (rc != 0)
		return rc;
	const size_t from = editor_kept_count(c->kept), left = c->question_count - from;
	count = count < left ? count : left;
	struct editor_kept_text *texts = fault_calloc(count + 1, sizeof *texts);
	if (texts == NULL)
		return err_set(e, ERR_NOMEM, "canaries: out of memory");
	for (size_t i = 0; i < count; i++) {
		const struct question *q = &c->questions[from + i];
		texts[i] = (struct editor_kept_text){ q->ids, q->id_count, q->first, q->count };
	}
	rc = count > 0 ? editor_kept_add(c->kept, texts, count, watch, e) : 0;
	free(texts);
	return rc;
}

/* Where a version with this calibration takes keys. */
static int layers_of(const struct model *model, const void *calibration, size_t calibration_len,
		     struct editor_key_layers *out, struct err *e)
{
	const struct model_shape *shape = model_shape_of(model);
	struct editor_memory_set *set = NULL;
	/* which layer is edited says nothing of where keys are taken, but they are taken below it */
	int rc = editor_memory_set_new(shape, model_digest(model), shape->layers - 1, 0, calibration, calibration_len,
				       NULL, 0, NULL, 0, EDITOR_SET_RETRIEVE, &set, e);
	if (rc == 0)
		*out = editor_memory_set_key_layers(set);
	editor_memory_set_release(&set);
	return rc;
}

int canaries__prepare(void *context, struct model *model, const void *calibration, size_t calibration_len,
		      const struct editor_watch *watch, bool *more, struct err *e)
{
	struct canaries *c = context;
	struct editor_key_layers layers = { 0 };
	*more = false;
	int rc = questions_make(c, model, e);
	if (rc == 0 && c->kept != NULL)
		layers = editor_kept_layers(c->kept);
	else if (rc == 0)
		rc = layers_of(model, calibration, calibration_len, &layers, e);
	if (rc != 0 || layers.gap != 0 || editor_key_layers_top(layers) == 0)
		return rc;
	rc = keep_more(c, model, layers, AHEAD, watch, e);
	*more = rc == 0 && editor_kept_count(c->kept) < c->question_count;
	return rc;
}

/* --- Asking. */

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

static uint64_t edit_of(const struct editor_route *route)
{
	return route->routed && route->nearest_count > 0 ? route->nearest[0] : 0;
}

static void on_routed(void *context, size_t request, const struct editor_sequence *sequence)
{
	struct asking *a = context;
	struct question *q = a->requests[request].user;
	q->memory = sequence->memory_id;
	q->edit = edit_of(&sequence->route);
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

/* Without keys that can be kept (family `paper`) the decoder routes: it reads them all anew. */
static int routes_decode(struct asking *a, struct err *e)
{
	struct canaries *c = a->canaries;
	for (size_t i = 0; i < c->question_count; i++)
		request_fill(a, &c->questions[i], true, 1, &a->requests[i]);
	return run(a, c->question_count, on_routed, e);
}

static int routes_look_up(struct asking *a, struct err *e)
{
	struct canaries *c = a->canaries;
	int rc = keep_more(c, a->model, editor_memory_set_key_layers(a->set), c->question_count, a->watch, e);
	for (size_t i = 0; rc == 0 && i < c->question_count; i++) {
		struct editor_route route;
		const struct model_side *side;
		rc = editor_kept_route(c->kept, i, a->set, a->kind, &route, &side, &c->questions[i].memory, e);
		c->questions[i].edit = rc == 0 ? edit_of(&route) : 0;
	}
	return rc;
}

static int routes_find(struct asking *a, struct err *e)
{
	if (editor_memory_set_edit_count(a->set) > 0)
		return editor_memory_set_family(a->set) == EDITOR_FAMILY_AMEND ? routes_look_up(a, e)
									       : routes_decode(a, e);
	for (size_t i = 0; i < a->canaries->question_count; i++)
		a->canaries->questions[i].memory = 0;
	return 0;
}

/* Of the memories that take a canary. */
static int deltas_read(struct asking *a, struct err *e)
{
	const struct canaries *c = a->canaries;
	int rc = 0;
	for (size_t i = 0; rc == 0 && a->bare && i < c->question_count; i++) {
		const uint64_t memory = c->questions[i].memory;
		size_t first = 0;
		while (first < i && (c->questions[first].memory != memory || c->questions[first].changed))
			first++;
		if (memory != 0 && !c->questions[i].changed && first == i)
			rc = version_routes_delta_read(&a->canaries->routes, a->blobs, a->manifest,
						       model_shape_of(a->model), memory, e);
	}
	return rc;
}

static void deltas_drop(struct asking *a)
{
	for (size_t i = 0; a->bare && i < a->canaries->question_count; i++)
		if (a->canaries->questions[i].memory != 0)
			version_routes_delta_drop(&a->canaries->routes, model_shape_of(a->model),
						  a->canaries->questions[i].memory);
}

/* First the routes alone: what stays with the main memory is answered by the base model. */
static int set_ask(struct asking *a, enum editor_set_kind kind, struct err *e)
{
	struct canaries *c = a->canaries;
	size_t count = 0;
	a->kind = kind;
	int rc = routes_find(a, e);
	for (size_t i = 0; rc == 0 && i < c->question_count; i++) {
		struct question *q = &c->questions[i];
		if (q->memory == 0 || q->changed)
			continue;
		request_fill(a, q, true, ANSWER_TOKENS, &a->requests[count++]);
		if (!q->before_known)
			request_fill(a, q, false, ANSWER_TOKENS, &a->requests[count++]);
	}
	if (rc == 0)
		rc = deltas_read(a, e);
	if (rc == 0)
		rc = run(a, count, on_answered, e);
	deltas_drop(a);
	for (size_t i = 0; rc == 0 && i < c->question_count; i++) {
		struct question *q = &c->questions[i];
		q->before_known = q->before_known || (q->memory != 0 && !q->changed);
		if (q->changed || q->memory == 0 || !differs(q))
			continue;
		q->changed = true;
		q->changed_memory = q->memory;
		q->changed_edit = q->edit;
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
	change->memory = q->changed_memory;
	change->edit = q->changed_edit;
	out->changed_count += rc == 0;
	return rc;
}

static int answer_make(const struct canaries *c, struct worker_canary_answer *out, struct err *e)
{
	int rc = arena_new(1 << 14, 0, &out->arena);
	out->asked = (uint32_t)c->question_count;
	for (size_t i = 0; rc == 0 && i < c->question_count; i++) {
		out->changed_total += c->questions[i].changed;
		if (c->questions[i].changed && out->changed_count < MSG_CANARY_CHANGES_MAX)
			rc = change_keep(&c->questions[i], out);
	}
	return rc == 0 ? 0 : err_set(e, rc, "canaries: out of memory");
}

static int sets_ask(struct asking *a, struct err *e)
{
	struct canaries *c = a->canaries;
	for (size_t i = 0; i < c->question_count; i++)
		c->questions[i].changed = false;
	a->requests = fault_calloc(2 * c->question_count, sizeof *a->requests);
	if (a->requests == NULL)
		return err_set(e, ERR_NOMEM, "canaries: out of memory");
	int rc = set_ask(a, EDITOR_SET_RETRIEVE, e);
	if (rc == 0 && editor_memory_set_has_merged(a->set))
		rc = set_ask(a, EDITOR_SET_MERGED, e);
	free(a->requests);
	return rc;
}

static int whole_ask(struct asking *a, struct err *e)
{
	struct editor_memory_set *set = NULL;
	int rc = version_set_build(a->blobs, a->manifest, model_shape_of(a->model), &set, e);
	a->set = set;
	a->bare = false;
	if (rc == 0)
		rc = sets_ask(a, e);
	editor_memory_set_release(&set);
	return rc;
}

/* Family `paper` routes by the deltas themselves. */
static int version_ask(struct asking *a, struct err *e)
{
	struct canaries *c = a->canaries;
	if (a->manifest->family.len == 5 && memcmp(a->manifest->family.text, "paper", 5) == 0)
		return whole_ask(a, e);
	int rc = version_routes_renew(&c->routes, a->blobs, a->manifest, model_shape_of(a->model), e);
	a->set = c->routes.set;
	a->bare = true;
	if (rc == 0)
		rc = sets_ask(a, e);
	if (rc != ERR_NOT_FOUND)
		return rc;
	err_clear(e); /* a route at its very threshold: the decoder's last bits are not those that were kept */
	return whole_ask(a, e);
}

int canaries__ask(void *context, struct model *model, struct store *blobs, const struct msg_canary_run *asked,
		  const struct editor_watch *watch, struct worker_canary_answer *out, struct err *e)
{
	struct canaries *c = context;
	struct proto_manifest manifest;
	struct asking a = { .canaries = c, .model = model, .blobs = blobs, .manifest = &manifest, .watch = watch };
	struct arena *arena = NULL;
	int rc = arena_new(1 << 16, 0, &arena) != 0 ? err_set(e, ERR_NOMEM, "out of memory") : 0;
	if (rc == 0)
		rc = version_manifest_read(blobs, &asked->root, &asked->content, model_digest(model), arena, &manifest,
					   e);
	if (rc == 0)
		rc = questions_make(c, model, e);
	if (rc == 0)
		rc = version_ask(&a, e);
	if (rc == 0)
		rc = answer_make(c, out, e);
	arena_destroy(&arena);
	return rc;
}

int canaries__roots(void *context, struct store *blobs, const struct msg_canary_run *asked, struct buf *out,
		    struct err *e)
{
	struct proto_manifest manifest;
	struct arena *arena = NULL;
	(void)context;
	int rc = arena_new(1 << 16, 0, &arena) != 0 ? err_set(e, ERR_NOMEM, "out of memory") : 0;
	if (rc == 0)
		rc = version_manifest_read(blobs, &asked->root, &asked->content, NULL, arena, &manifest, e);
	if (rc == 0)
		rc = proto_manifest_roots(&manifest, out, e);
	arena_destroy(&arena);
	return rc;
}
