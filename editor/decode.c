#include "editor/decode_internal.h"

#include "base/fault.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS_MAX 4096u

/* ---- Room */

static int decoder_alloc(struct editor_decoder *d, struct err *e)
{
	const struct model_shape *shape = model_shape_of(d->model);
	int rc = model_run_new(d->model, d->rows_max, &d->run, e);
	if (rc != 0)
		return rc;
	d->backend = model_run_backend(d->run);
	d->slots = fault_calloc(d->slot_count, sizeof(*d->slots));
	d->logits = d->backend->ops->alloc(d->backend, d->slot_count * shape->vocabulary);
	d->segments = fault_calloc(d->slot_count, sizeof(*d->segments));
	d->readings = fault_calloc(d->slot_count, sizeof(*d->readings));
	d->rows = fault_calloc(d->slot_count, sizeof(*d->rows));
	d->which = fault_calloc(d->slot_count, sizeof(*d->which));
	if (d->slots == NULL || d->logits == NULL || d->segments == NULL || d->readings == NULL || d->rows == NULL ||
	    d->which == NULL)
		return err_set(e, ERR_NOMEM, "decoder of %zu sequences: out of memory", d->slot_count);
	rc = editor__decoder_reserve(d, d->rows_max, e);
	if (rc == 0)
		rc = model_kv_new(d->model, d->slot_count, d->token_max, &d->kv, e);
	return rc;
}

int editor_decoder_new(struct model *model, size_t slot_count, size_t token_max, size_t prefill_rows_max,
		       struct editor_decoder **out, struct err *e)
{
	const size_t context = model_shape_of(model)->context;
	if (slot_count == 0 || slot_count > SLOTS_MAX || prefill_rows_max == 0 || token_max < 2)
		return err_set(e, ERR_INVALID,
			       "decoder: %zu sequences (1 to %u) of %zu tokens (2 or more), prefill of %zu rows",
			       slot_count, SLOTS_MAX, token_max, prefill_rows_max);
	struct editor_decoder *d = fault_calloc(1, sizeof(*d));
	if (d == NULL)
		return err_set(e, ERR_NOMEM, "decoder: out of memory");
	d->model = model;
	d->slot_count = slot_count;
	d->token_max = token_max < context ? token_max : context;
	d->rows_max = prefill_rows_max > slot_count ? prefill_rows_max : slot_count;
	int rc = decoder_alloc(d, e);
	if (rc != 0) {
		editor_decoder_destroy(&d);
		return rc;
	}
	*out = d;
	return 0;
}

void editor_decoder_destroy(struct editor_decoder **decoder)
{
	struct editor_decoder *d = *decoder;
	if (d == NULL)
		return;
	for (size_t i = 0; d->slots != NULL && i < d->slot_count; i++) {
		if (d->slots[i].used)
			editor_decoder_release(d, i);
	}
	model_kv_destroy(&d->kv);
	if (d->x != NULL)
		d->backend->ops->free(d->backend, d->x);
	if (d->inputs != NULL)
		d->backend->ops->free(d->backend, d->inputs);
	if (d->logits != NULL)
		d->backend->ops->free(d->backend, d->logits);
	editor__packer_destroy(&d->packer);
	model_run_destroy(&d->run);
	free(d->states);
	free(d->relation_states);
	free(d->ids);
	free(d->slots);
	free(d->segments);
	free(d->readings);
	free(d->rows);
	free(d->which);
	free(d);
	*decoder = NULL;
}

size_t editor_decoder_free_slots(const struct editor_decoder *d)
{
	size_t used = 0;
	for (size_t i = 0; i < d->slot_count; i++)
		used += d->slots[i].used ? 1 : 0;
	return d->slot_count - used;
}

size_t editor_decoder_active(const struct editor_decoder *d)
{
	return d->active;
}

const struct editor_sequence *editor_decoder_sequence(const struct editor_decoder *d, size_t slot)
{
	return slot < d->slot_count && d->slots[slot].used ? &d->slots[slot].out : NULL;
}

static void finish(struct editor_decoder *d, struct editor__slot *slot, int how)
{
	slot->out.done = true;
	slot->out.finish = how == EDITOR_STOP ? EDITOR_STOP : how == EDITOR_FAILED ? EDITOR_FAILED : EDITOR_LENGTH;
	slot->side = NULL;
	free(slot->anchors);
	slot->anchors = NULL;
	editor__tokens_free(&slot->part, 1);
	editor__tokens_free(&slot->prompt, 1);
	slot->out.route.anchor = (struct editor_anchor){ 0 }; /* borrowed from the set */
	editor_memory_set_release(&slot->set);
	d->active--;
}

void editor_decoder_release(struct editor_decoder *d, size_t index)
{
	struct editor__slot *slot = &d->slots[index];
	assert(index < d->slot_count && slot->used);
	if (!slot->out.done)
		finish(d, slot, EDITOR_LENGTH);
	free(slot->out.ids);
	memset(slot, 0, sizeof(*slot));
}

/* ---- Tokens */

static bool is_newline(const struct editor_decoder *d, int32_t id, bool *text_before)
{
	size_t len;
	const char *piece = model_tokenizer_piece(model_tokenizer_of(d->model), id, &len);
	const char *newline = len > 0 ? memchr(piece, '\n', len) : NULL;
	*text_before = newline != NULL && newline != piece;
	return newline != NULL;
}

static bool says_target(const struct editor_decoder *d, const struct editor__slot *slot, int32_t id)
{
	return editor_anchor_says(&slot->out.route.anchor, model_tokenizer_of(d->model), slot->out.id_count, id);
}

/* Whether what a sequence says aside departs from its target with this token, or ends before it. */
static bool departs(const struct editor_decoder *d, const struct editor__slot *slot, int32_t id, bool end)
{
	const struct editor_anchor *target = &slot->out.route.anchor;
	if (slot->prompt.id_count == 0)
		return false;
	return end ? slot->out.id_count != target->id_count : !says_target(d, slot, id);
}

/* The first token that departs from the anchored edit's target is asked for once more, with stronger anchors; what that
 * row says is said. A sampled token may depart by chance: asking again would skew the draw. */
static bool press(const struct editor_decoder *d, struct editor__slot *slot, int32_t id)
{
	const struct editor_anchor *anchor = &slot->out.route.anchor;
	const size_t at = slot->out.id_count;
	if (slot->sampling.temperature > 0 || !slot->anchored || slot->pressed || at >= anchor->row_count ||
	    at >= anchor->id_count || says_target(d, slot, id))
		return false;
	const size_t ffn = model_shape_of(d->model)->ffn;
	for (size_t i = at * ffn; i < anchor->row_count * ffn; i++)
		slot->anchors[i] *= EDITOR_ANCHOR_PRESS;
	slot->pressed = true;
	slot->out.anchored--; /* the row is read again */
	slot->position--;
	slot->next = slot->fed;
	return true;
}

/* Takes the next token of a sequence from its row of logits. */
static void take_token(struct editor_decoder *d, struct editor__slot *slot, float *logits)
{
	const struct model_tokenizer *tokenizer = model_tokenizer_of(d->model);
	const float uniform = slot->sampling.temperature > 0 ? rng_uniform(&slot->rng) : 0.0f;
	int32_t id;
	bool text_before = false;
	if (model_sample(logits, model_shape_of(d->model)->vocabulary, &slot->sampling, uniform, d->run, &id) != 0) {
		finish(d, slot, EDITOR_FAILED); /* the others go on */
		return;
	}
	/* every control token ends an answer: none of them is text */
	const bool end = id == model_tokenizer_eos(tokenizer) || model_tokenizer_is_control(tokenizer, id);
	if (press(d, slot, id))
		return;
	if (departs(d, slot, id, end)) { /* the token is not said */
		slot->departed = true;
		return;
	}
	if (end) {
		finish(d, slot, EDITOR_STOP);
		return;
	}
	slot->anchored = slot->anchored && says_target(d, slot, id);
	const bool newline = slot->stop_at_newline && is_newline(d, id, &text_before);
	if (!newline || text_before)
		slot->out.ids[slot->out.id_count++] = id;
	slot->next = id;
	if (newline)
		finish(d, slot, EDITOR_STOP);
	else if (slot->out.id_count == slot->token_max)
		finish(d, slot, EDITOR_LENGTH);
}

int editor__decoder_sample(struct editor_decoder *d, size_t count, struct err *e)
{
	const size_t vocabulary = model_shape_of(d->model)->vocabulary;
	int rc = model_head(d->run, d->logits, d->x, d->rows, count, e);
	for (size_t i = 0; i < count && rc == 0; i++)
		take_token(d, &d->slots[d->which[i]], d->logits + i * vocabulary);
	return rc;
}

static int check_request(const struct editor_decoder *d, const struct editor_request *request, struct err *e)
{
	if (request->id_count == 0 || request->token_max == 0)
		return err_set(e, ERR_INVALID, "decoder: a request needs a prompt and a token to generate");
	if (request->id_count >= d->token_max)
		return err_set(e, ERR_LIMIT,
			       "decoder: the prompt has %zu tokens, at most %zu fit with an answer: shorten it",
			       request->id_count, d->token_max - 1);
	if (request->route_count > 0 && (request->route_first >= request->id_count ||
					 request->route_count > request->id_count - request->route_first))
		return err_set(e, ERR_INVALID, "decoder: the route's tokens are not in the prompt");
	if (request->set != NULL && editor_memory_set_layer(request->set) >= model_shape_of(d->model)->layers)
		return err_set(e, ERR_MISMATCH, "decoder: the memory set belongs to another model");
	return 0;
}

static int slot_begin(struct editor_decoder *d, const struct editor_request *request, size_t *index, struct err *e)
{
	size_t at = 0;
	while (at < d->slot_count && d->slots[at].used)
		at++;
	assert(at < d->slot_count);
	struct editor__slot *slot = &d->slots[at];
	const size_t room = d->token_max - request->id_count;
	memset(slot, 0, sizeof(*slot));
	slot->token_max = request->token_max < room ? request->token_max : room;
	slot->out.ids = fault_calloc(slot->token_max, sizeof(*slot->out.ids));
	if (slot->out.ids == NULL)
		return err_set(e, ERR_NOMEM, "decoder: out of memory");
	slot->used = true;
	slot->out.user = request->user;
	slot->set = request->set != NULL ? editor_memory_set_acquire(request->set) : NULL;
	slot->side = request->forced;
	slot->no_anchor = request->no_anchor;
	slot->sampling = request->sampling;
	slot->stop_at_newline = request->stop_at_newline;
	rng_init(&slot->rng, request->seed);
	d->active++;
	*index = at;
	return 0;
}

int editor_decoder_admit(struct editor_decoder *d, const struct editor_request *requests, size_t request_count,
			 size_t *slots, struct err *e)
{
	if (request_count > editor_decoder_free_slots(d))
		return err_set(e, ERR_LIMIT, "decoder: %zu requests for %zu free slots", request_count,
			       editor_decoder_free_slots(d));
	int rc = 0;
	size_t begun = 0;
	for (size_t i = 0; i < request_count && rc == 0; i++)
		rc = check_request(d, &requests[i], e);
	for (; begun < request_count && rc == 0; begun += rc == 0 ? 1 : 0)
		rc = slot_begin(d, &requests[begun], &slots[begun], e);
	for (size_t at = 0, count = 0; at < request_count && rc == 0; at += count) {
		struct editor_key_layers layers;
		count = editor__decoder_group(d, requests, at, request_count, &layers);
		memcpy(d->which, slots + at, count * sizeof(*d->which));
		rc = editor__decoder_prefill(d, requests + at, count, layers, e);
	}
	for (size_t i = 0; i < begun && rc != 0; i++)
		editor_decoder_release(d, slots[i]);
	return rc;
}

/* ---- Steps */

int editor_decoder_step(struct editor_decoder *d, struct err *e)
{
	size_t count = 0;
	int rc = 0;
	for (size_t i = 0; i < d->slot_count && rc == 0; i++)
		rc = d->slots[i].departed ? editor__decoder_go_back(d, i, e) : 0;
	if (rc != 0)
		return rc;
	for (size_t i = 0; i < d->slot_count; i++) {
		struct editor__slot *slot = &d->slots[i];
		if (!slot->used || slot->out.done || slot->departed)
			continue;
		d->which[count] = i;
		d->ids[count] = slot->fed = slot->next;
		d->readings[count] = editor__decoder_reading(d, slot, slot->out.id_count, 0);
		d->rows[count] = count;
		d->segments[count++] = (struct model_segment){ .slot = i, .position = slot->position, .row_count = 1 };
	}
	if (count == 0)
		return 0;
	rc = model_embed(d->run, d->x, d->ids, count, e);
	if (rc == 0)
		rc = model_step(d->run, d->x, d->kv, d->segments, count, d->readings, e);
	for (size_t i = 0; i < count && rc == 0; i++)
		d->slots[d->which[i]].position++;
	return rc == 0 ? editor__decoder_sample(d, count, e) : rc;
}

/* ---- Many requests to their end */

struct batch {
	size_t *request_of; /* slot_count: request of a slot; SIZE_MAX: not ours */
	size_t *slots;      /* slot_count */
	size_t next, done;
};

static int admit_more(struct editor_decoder *d, const struct editor_request *requests, size_t request_count,
		      struct batch *b, struct err *e)
{
	const size_t free_slots = editor_decoder_free_slots(d), left = request_count - b->next;
	const size_t count = left < free_slots ? left : free_slots;
	if (count == 0)
		return b->done < b->next ? 0 : err_set(e, ERR_LIMIT, "decoder: every slot is taken by others");
	int rc = editor_decoder_admit(d, requests + b->next, count, b->slots, e);
	for (size_t i = 0; i < count && rc == 0; i++)
		b->request_of[b->slots[i]] = b->next++;
	return rc;
}

static int run_batch(struct editor_decoder *d, const struct editor_request *requests, size_t request_count,
		     struct batch *b,
		     void (*on_done)(void *context, size_t request, const struct editor_sequence *sequence),
		     void *context, const struct editor_watch *watch, struct err *e)
{
	while (b->done < request_count) {
		int rc = b->next < request_count ? admit_more(d, requests, request_count, b, e) : 0;
		if (rc == 0)
			rc = editor_decoder_step(d, e);
		if (rc != 0)
			return rc;
		for (size_t i = 0; i < d->slot_count; i++) {
			if (b->request_of[i] == SIZE_MAX || !d->slots[i].out.done)
				continue;
			on_done(context, b->request_of[i], &d->slots[i].out);
			b->request_of[i] = SIZE_MAX;
			b->done++;
			editor_decoder_release(d, i);
		}
		if (watch != NULL && watch->on_progress != NULL &&
		    watch->on_progress(watch->context, "decode", b->done, request_count, 0) != 0)
			return err_set(e, ERR_INTERRUPTED, "decoding: stopped after %zu of %zu", b->done,
				       request_count);
	}
	return 0;
}

int editor_decoder_run(struct editor_decoder *d, const struct editor_request *requests, size_t request_count,
		       void (*on_done)(void *context, size_t request, const struct editor_sequence *sequence),
		       void *context, const struct editor_watch *watch, struct err *e)
{
	struct batch b = { .request_of = fault_malloc(d->slot_count * sizeof(size_t)),
			   .slots = fault_calloc(d->slot_count, sizeof(size_t)) };
	int rc = b.request_of == NULL || b.slots == NULL ? err_set(e, ERR_NOMEM, "decoder: out of memory") : 0;
	if (rc == 0) {
		memset(b.request_of, 0xFF, d->slot_count * sizeof(size_t)); /* SIZE_MAX */
		rc = run_batch(d, requests, request_count, &b, on_done, context, watch, e);
		for (size_t i = 0; i < d->slot_count; i++) {
			if (b.request_of[i] != SIZE_MAX)
				editor_decoder_release(d, i);
		}
	}
	free(b.request_of);
	free(b.slots);
	return rc;
}
