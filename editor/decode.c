#include "editor/decode.h"
#include "base/fault.h"
#include "base/rng.h"
#include "editor/packed.h"
#include "editor/route_text.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS_MAX 4096u

struct slot {
	struct editor_sequence out;
	bool used;
	struct editor_memory_set *set; /* held until the sequence ends */
	const struct model_side *side;
	float *anchors; /* rows of route.anchor, × ffn; NULL: none */
	bool anchored;  /* what was decoded so far is the anchored edit's target */
	bool no_anchor;
	/* A part of a longer text is asked aside, as if it stood alone, as long as what is said is the edit's target;
	 * the rest is said in the text's own context. */
	struct editor__tokens part;   /* to be asked aside; no tokens: nothing is, or it was begun */
	struct editor__tokens prompt; /* while it is asked: the whole text, to go back to */
	bool departed;                /* it is to go back */
	struct model_sampling sampling;
	struct rng rng;
	size_t position; /* of the next token in the sequence */
	size_t token_max;
	int32_t next; /* sampled, not yet in the cache */
	bool stop_at_newline;
};

struct editor_decoder {
	struct model *model;
	struct model_backend *backend;
	struct model_run *run;
	struct model_kv *kv;
	struct slot *slots;
	size_t slot_count, token_max, rows_max; /* rows of a call to the model */
	size_t active;
	float *x;      /* x_rows × hidden */
	float *states; /* the same, to read: at the layers of the two keys */
	float *relation_states;
	float *inputs; /* input_rows × ffn: A(x) of prompts that are routed by gap; NULL until there is one */
	size_t x_rows, input_rows;
	float *logits;                  /* slot_count × vocabulary */
	int32_t *ids;                   /* x_rows */
	struct model_segment *segments; /* slot_count */
	struct model_reading *readings; /* slot_count */
	size_t *rows;                   /* slot_count: rows whose logits are wanted */
	size_t *which;                  /* slot_count: slots of this call */
	struct editor__packer *packer;  /* what parts of texts go through; NULL until there is one */
};

/* ---- Room */

static int rows_reserve(struct editor_decoder *d, size_t rows, struct err *e)
{
	const size_t hidden = model_shape_of(d->model)->hidden;
	if (rows <= d->x_rows)
		return 0;
	float *x = d->backend->ops->alloc(d->backend, rows * hidden);
	float *states = fault_calloc(rows * hidden, sizeof(*states));
	float *relation_states = fault_calloc(rows * hidden, sizeof(*relation_states));
	int32_t *ids = fault_calloc(rows, sizeof(*ids));
	if (x == NULL || states == NULL || relation_states == NULL || ids == NULL) {
		if (x != NULL)
			d->backend->ops->free(d->backend, x);
		free(states);
		free(relation_states);
		free(ids);
		return err_set(e, ERR_NOMEM, "decoder: out of memory for %zu tokens", rows);
	}
	if (d->x != NULL)
		d->backend->ops->free(d->backend, d->x);
	free(d->states);
	free(d->relation_states);
	free(d->ids);
	d->x = x;
	d->states = states;
	d->relation_states = relation_states;
	d->ids = ids;
	d->x_rows = rows;
	return 0;
}

static int inputs_reserve(struct editor_decoder *d, size_t rows, struct err *e)
{
	if (rows <= d->input_rows)
		return 0;
	float *inputs = d->backend->ops->alloc(d->backend, rows * model_shape_of(d->model)->ffn);
	if (inputs == NULL)
		return err_set(e, ERR_NOMEM, "decoder: out of memory for the inputs of %zu tokens", rows);
	if (d->inputs != NULL)
		d->backend->ops->free(d->backend, d->inputs);
	d->inputs = inputs;
	d->input_rows = rows;
	return 0;
}

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
	rc = rows_reserve(d, d->rows_max, e);
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

static void finish(struct editor_decoder *d, struct slot *slot, int how)
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
	struct slot *slot = &d->slots[index];
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

/* Whether what a sequence says aside departs from its target with this token, or ends before it. */
static bool departs(const struct slot *slot, int32_t id, bool end)
{
	const struct editor_anchor *target = &slot->out.route.anchor;
	if (slot->prompt.id_count == 0)
		return false;
	return end ? slot->out.id_count != target->id_count : !editor_anchor_is(target, slot->out.id_count, id);
}

/* Takes the next token of a sequence from its row of logits. */
static void take_token(struct editor_decoder *d, struct slot *slot, float *logits)
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
	if (departs(slot, id, end)) { /* the token is not said */
		slot->departed = true;
		return;
	}
	if (end) {
		finish(d, slot, EDITOR_STOP);
		return;
	}
	slot->anchored = slot->anchored && editor_anchor_is(&slot->out.route.anchor, slot->out.id_count, id);
	const bool newline = slot->stop_at_newline && is_newline(d, id, &text_before);
	if (!newline || text_before)
		slot->out.ids[slot->out.id_count++] = id;
	slot->next = id;
	if (newline)
		finish(d, slot, EDITOR_STOP);
	else if (slot->out.id_count == slot->token_max)
		finish(d, slot, EDITOR_LENGTH);
}

/* The last of each segment's rows in x gives its sequence a token. */
static int sample_rows(struct editor_decoder *d, size_t count, struct err *e)
{
	const size_t vocabulary = model_shape_of(d->model)->vocabulary;
	int rc = model_head(d->run, d->logits, d->x, d->rows, count, e);
	for (size_t i = 0; i < count && rc == 0; i++)
		take_token(d, &d->slots[d->which[i]], d->logits + i * vocabulary);
	return rc;
}

/* ---- Prefill */

/* How row `row` of the answer reads its memory: row 0 is the prompt's last one, row t takes the token t−1 that was
 * decoded. `from` is where that row stands in its segment. */
static struct model_reading reading_of(const struct editor_decoder *d, struct slot *slot, size_t row, size_t from)
{
	struct model_reading reading = { .side = slot->side };
	if (slot->anchors == NULL || !slot->anchored || row >= slot->out.route.anchor.row_count)
		return reading;
	slot->out.anchored++;
	reading.anchors = slot->anchors + row * model_shape_of(d->model)->ffn;
	reading.anchor_from = from;
	reading.anchor_count = 1;
	return reading;
}

/* Where a request's route is decided: the layers at whose inputs the keys are taken; 0: no routing. */
static struct editor_key_layers route_layers(const struct editor_request *request)
{
	const struct editor_key_layers none = { 0 };
	if (request->set == NULL || request->forced != NULL || editor_memory_set_edit_count(request->set) == 0)
		return none;
	return editor_memory_set_key_layers(request->set);
}

static bool routes(struct editor_key_layers layers)
{
	return editor_key_layers_top(layers) != 0;
}

/* How many requests from `from` go through the model together: those that fit and whose routes are decided at the
 * same layers. */
static size_t group_size(const struct editor_decoder *d, const struct editor_request *requests, size_t from,
			 size_t count, struct editor_key_layers *layers)
{
	size_t rows = 0, n = 0;
	*layers = (struct editor_key_layers){ 0 };
	for (; from + n < count; n++) {
		const struct editor_request *request = &requests[from + n];
		const struct editor_key_layers own = route_layers(request);
		if (n > 0 && rows + request->id_count > d->rows_max)
			break;
		/* those that go to a gap pass the edited matrix before their route is known */
		const bool apart = n > 0 && (own.gap != 0 || layers->gap != 0);
		if ((apart || (routes(own) && routes(*layers))) && !editor_key_layers_same(own, *layers))
			break;
		if (routes(own))
			*layers = own;
		rows += request->id_count;
	}
	return n;
}

/* Runs layers [from, to) over all rows of the group, in calls of at most rows_max rows. Only a single long prompt takes
 * several: it goes through all layers below the route first, so that its route is known before the edited matrix is
 * reached. */
static int prefill_layers(struct editor_decoder *d, size_t count, size_t row_count, size_t from, size_t to,
			  struct err *e)
{
	const size_t hidden = model_shape_of(d->model)->hidden;
	if (from == to)
		return 0;
	if (row_count <= d->rows_max)
		return model_layers(d->run, d->x, d->kv, d->segments, count, from, to, d->readings, NULL, 0, e);
	assert(count == 1);
	int rc = 0;
	for (size_t at = 0; at < row_count && rc == 0; at += d->rows_max) {
		struct model_segment part = d->segments[0];
		part.position = at;
		part.row_count = row_count - at < d->rows_max ? row_count - at : d->rows_max;
		struct model_reading reading = d->readings[0];
		/* the anchored row, the last one, is in the last part */
		if (at + part.row_count < row_count)
			reading.anchor_count = 0;
		reading.anchor_from -= reading.anchor_count > 0 ? at : 0;
		rc = model_layers(d->run, d->x + at * hidden, d->kv, &part, 1, from, to, &reading, NULL, 0, e);
	}
	return rc;
}

static int embed_rows(struct editor_decoder *d, size_t row_count, struct err *e)
{
	const size_t hidden = model_shape_of(d->model)->hidden;
	int rc = 0;
	for (size_t at = 0; at < row_count && rc == 0; at += d->rows_max) {
		const size_t rows = row_count - at < d->rows_max ? row_count - at : d->rows_max;
		rc = model_embed(d->run, d->x + at * hidden, d->ids + at, rows, e);
	}
	return rc;
}

/* As prefill_layers, for the layers below the route. */
static int prefill_keys(struct editor_decoder *d, size_t count, size_t row_count, struct editor_key_layers layers,
			struct err *e)
{
	const size_t hidden = model_shape_of(d->model)->hidden, ffn = model_shape_of(d->model)->ffn;
	struct editor__states states = { d->states, d->relation_states, d->inputs };
	if (row_count <= d->rows_max)
		return editor__key_states(d->run, d->x, d->kv, d->segments, count, row_count * hidden, layers, &states,
					  e);
	assert(count == 1);
	int rc = 0;
	for (size_t at = 0; at < row_count && rc == 0; at += d->rows_max) {
		struct model_segment part = d->segments[0];
		part.position = at;
		part.row_count = row_count - at < d->rows_max ? row_count - at : d->rows_max;
		rc = editor__key_states(d->run, d->x + at * hidden, d->kv, &part, 1, part.row_count * hidden, layers,
					&states, e);
		states.prompt += part.row_count * hidden;
		states.relation += part.row_count * hidden;
		states.inputs += layers.gap != 0 ? part.row_count * ffn : 0;
	}
	return rc;
}

static int anchors_load(struct editor_decoder *d, struct slot *slot, struct err *e)
{
	const struct editor_anchor *anchor = &slot->out.route.anchor;
	const size_t ffn = model_shape_of(d->model)->ffn;
	if (slot->no_anchor || slot->side == NULL || anchor->row_count == 0)
		return 0;
	slot->anchors = fault_malloc(anchor->row_count * ffn * sizeof(*slot->anchors));
	if (slot->anchors == NULL)
		return err_set(e, ERR_NOMEM, "decoder: out of memory for %zu anchors", anchor->row_count);
	for (size_t r = 0; r < anchor->row_count; r++)
		editor_anchor_row(anchor, r, ffn, slot->anchors + r * ffn);
	slot->anchored = true;
	return 0;
}

static int parts_route(struct editor_decoder *d, const struct editor__parts *parts, struct editor_key_layers layers,
		       struct err *e)
{
	int rc = 0;
	if (parts->count > 0 && d->packer == NULL)
		rc = editor__packer_new(d->model, EDITOR__PART_ROWS, &d->packer, e);
	return rc == 0 ? editor__parts_route(parts, d->packer, d->model, layers, NULL, e) : rc;
}

static int route_one(struct editor_decoder *d, const struct editor_request *request, size_t first_row,
		     struct slot *slot, struct editor__parts *parts, struct err *e)
{
	const size_t hidden = model_shape_of(d->model)->hidden, ffn = model_shape_of(d->model)->ffn;
	const struct editor_prompt prompt = { .ids = request->ids,
					      .id_count = request->id_count,
					      .prompt_states = d->states + first_row * hidden,
					      .relation_states = d->relation_states + first_row * hidden,
					      .inputs = d->inputs != NULL ? d->inputs + first_row * ffn : NULL,
					      .backend = d->backend };
	const struct editor__text text = { .set = request->set,
					   .kind = request->kind,
					   .first = request->route_first,
					   .count = request->route_count,
					   .route = &slot->out.route,
					   .side = &slot->side,
					   .memory_id = &slot->out.memory_id,
					   .part = &slot->part };
	return editor__text_route(parts, d->model, &text, &prompt, e);
}

static int route_group(struct editor_decoder *d, const struct editor_request *requests, size_t count,
		       struct editor_key_layers layers, struct err *e)
{
	struct editor__parts parts = { 0 };
	int rc = 0;
	for (size_t i = 0, row = 0; i < count && rc == 0; row += requests[i].id_count, i++) {
		if (routes(route_layers(&requests[i])))
			rc = route_one(d, &requests[i], row, &d->slots[d->which[i]], &parts, e);
	}
	if (rc == 0)
		rc = parts_route(d, &parts, layers, e);
	editor__parts_free(&parts);
	for (size_t i = 0; i < count && rc == 0; i++) {
		struct slot *slot = &d->slots[d->which[i]];
		rc = anchors_load(d, slot, e);
		d->readings[i] = reading_of(d, slot, 0, requests[i].id_count - 1);
	}
	return rc;
}

/* The edited matrix was passed without a memory: what the routed ones read of theirs is added to their rows (eq. 2). */
static int add_sides(struct editor_decoder *d, const struct editor_request *requests, size_t count, struct err *e)
{
	const size_t hidden = model_shape_of(d->model)->hidden, ffn = model_shape_of(d->model)->ffn;
	int rc = 0;
	for (size_t i = 0, row = 0; i < count && rc == 0; row += requests[i].id_count, i++) {
		const struct model_side *side = d->slots[d->which[i]].side;
		if (side != NULL)
			rc = d->backend->ops->gemm(d->backend, d->x + row * hidden, d->inputs + row * ffn, side->delta,
						   false, true, 1, 1, requests[i].id_count, hidden, ffn);
	}
	return rc == 0 ? 0 : err_set(e, rc, "decoder: the side memory's product failed: %s", err_text(rc));
}

/* ---- Asked aside */

static int tokens_copy(struct editor__tokens *out, const int32_t *ids, size_t count, size_t room, struct err *e)
{
	out->ids = fault_malloc(room * sizeof(*out->ids));
	if (out->ids == NULL)
		return err_set(e, ERR_NOMEM, "decoder: out of memory for %zu tokens", room);
	memcpy(out->ids, ids, count * sizeof(*out->ids));
	out->id_count = count;
	return 0;
}

/* Without anchors nothing says what the answer should be: the text is answered where it stands. */
static int asides_begin(struct editor_decoder *d, const struct editor_request *requests, size_t count, struct err *e)
{
	int rc = 0;
	for (size_t i = 0; i < count && rc == 0; i++) {
		struct slot *slot = &d->slots[d->which[i]];
		if (slot->part.id_count > 0 && slot->anchors != NULL)
			rc = tokens_copy(&slot->prompt, requests[i].ids, requests[i].id_count,
					 requests[i].id_count + slot->token_max, e);
		else
			editor__tokens_free(&slot->part, 1);
	}
	return rc;
}

static bool is_aside(const struct editor_decoder *d, size_t at)
{
	return d->slots[d->which[at]].part.id_count > 0;
}

/* The group's layers above the route, but for those that are asked aside. What remains in d->which and d->rows: the
 * others; returns how many through *left. */
static int prefill_above(struct editor_decoder *d, size_t count, size_t row_count, size_t below, size_t *left,
			 struct err *e)
{
	const size_t layers = model_shape_of(d->model)->layers, hidden = model_shape_of(d->model)->hidden;
	size_t row = 0, kept = 0;
	int rc = 0;
	for (size_t i = 0, n; i < count && rc == 0; i += n) {
		size_t rows = 0;
		const bool aside = is_aside(d, i);
		for (n = 0; i + n < count && is_aside(d, i + n) == aside; n++)
			rows += d->segments[i + n].row_count;
		if (!aside && rows == row_count)
			rc = prefill_layers(d, count, row_count, below, layers, e);
		else if (!aside)
			rc = model_layers(d->run, d->x + row * hidden, d->kv, d->segments + i, n, below, layers,
					  d->readings + i, NULL, 0, e);
		row += rows;
	}
	for (size_t i = 0; i < count; i++) {
		if (is_aside(d, i))
			continue;
		d->rows[kept] = d->rows[i];
		d->which[kept++] = d->which[i];
	}
	*left = kept;
	return rc;
}

/* One sequence from its first token on, by itself. */
static int prefill_slot(struct editor_decoder *d, size_t index, const struct editor__tokens *tokens, struct err *e)
{
	const size_t layers = model_shape_of(d->model)->layers, hidden = model_shape_of(d->model)->hidden;
	const size_t count = tokens->id_count;
	struct slot *slot = &d->slots[index];
	int rc = rows_reserve(d, count, e);
	if (rc != 0)
		return rc;
	memcpy(d->ids, tokens->ids, count * sizeof(*d->ids));
	d->segments[0] = (struct model_segment){ .slot = index, .position = 0, .row_count = count };
	d->readings[0] = reading_of(d, slot, 0, count - 1);
	d->which[0] = index;
	d->rows[0] = 0;
	slot->position = count;
	rc = embed_rows(d, count, e);
	if (rc == 0)
		rc = prefill_layers(d, 1, count, 0, layers, e);
	if (rc != 0)
		return rc;
	if (count > 1)
		d->backend->ops->copy(d->backend, d->x, d->x + (count - 1) * hidden, hidden);
	return sample_rows(d, 1, e);
}

static int asides_prefill(struct editor_decoder *d, struct err *e)
{
	int rc = 0;
	for (size_t i = 0; i < d->slot_count && rc == 0; i++) {
		struct editor__tokens part = d->slots[i].part;
		if (part.id_count == 0)
			continue;
		d->slots[i].part = (struct editor__tokens){ 0 };
		d->slots[i].out.anchored = 0; /* the text's own row was not read */
		rc = prefill_slot(d, i, &part, e);
		editor__tokens_free(&part, 1);
	}
	return rc;
}

/* Goes on in the text's own context, behind what was said aside. */
static int go_back(struct editor_decoder *d, size_t index, struct err *e)
{
	struct slot *slot = &d->slots[index];
	struct editor__tokens all = slot->prompt;
	slot->prompt = (struct editor__tokens){ 0 };
	slot->departed = slot->anchored = false;
	if (slot->out.anchored > slot->out.id_count)
		slot->out.anchored = slot->out.id_count;
	memcpy(all.ids + all.id_count, slot->out.ids, slot->out.id_count * sizeof(*all.ids));
	all.id_count += slot->out.id_count;
	int rc = prefill_slot(d, index, &all, e);
	editor__tokens_free(&all, 1);
	return rc;
}

/* ---- Groups of requests */

/* The requests' slots stand in d->which. */
static int prefill_group(struct editor_decoder *d, const struct editor_request *requests, size_t count,
			 struct editor_key_layers key_layers, struct err *e)
{
	const size_t hidden = model_shape_of(d->model)->hidden;
	size_t row_count = 0, left = 0;
	for (size_t i = 0; i < count; i++)
		row_count += requests[i].id_count;
	int rc = rows_reserve(d, row_count, e);
	if (rc == 0 && key_layers.gap != 0)
		rc = inputs_reserve(d, row_count, e);
	if (rc != 0)
		return rc;
	for (size_t i = 0, row = 0; i < count; i++) {
		const size_t rows = requests[i].id_count;
		memcpy(d->ids + row, requests[i].ids, rows * sizeof(*d->ids));
		d->segments[i] = (struct model_segment){ .slot = d->which[i], .position = 0, .row_count = rows };
		d->readings[i] = (struct model_reading){ .side = d->slots[d->which[i]].side };
		row += rows;
		d->rows[i] = row - 1;
		d->slots[d->which[i]].position = rows;
	}
	rc = embed_rows(d, row_count, e);
	const size_t below = routes(key_layers) ? editor_key_layers_top(key_layers) : 0;
	if (rc == 0 && routes(key_layers)) {
		rc = prefill_keys(d, count, row_count, key_layers, e);
		if (rc == 0)
			rc = route_group(d, requests, count, key_layers, e);
		if (rc == 0 && key_layers.gap != 0)
			rc = add_sides(d, requests, count, e);
	}
	if (rc == 0)
		rc = asides_begin(d, requests, count, e);
	if (rc == 0)
		rc = prefill_above(d, count, row_count, below, &left, e);
	if (rc == 0 && left > 0 && row_count > d->rows_max) { /* the head takes rows_max rows: the last one is enough */
		d->backend->ops->copy(d->backend, d->x, d->x + d->rows[0] * hidden, hidden);
		d->rows[0] = 0;
	}
	if (rc == 0 && left > 0)
		rc = sample_rows(d, left, e);
	return rc == 0 ? asides_prefill(d, e) : rc;
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
	struct slot *slot = &d->slots[at];
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
		count = group_size(d, requests, at, request_count, &layers);
		memcpy(d->which, slots + at, count * sizeof(*d->which));
		rc = prefill_group(d, requests + at, count, layers, e);
	}
	for (size_t i = 0; i < begun && rc != 0; i++)
		editor_decoder_release(d, slots[i]);
	return rc;
}

/* ---- Steps */

int editor_decoder_step(struct editor_decoder *d, struct err *e)
{
	const size_t layers = model_shape_of(d->model)->layers;
	size_t count = 0;
	int rc = 0;
	for (size_t i = 0; i < d->slot_count && rc == 0; i++)
		rc = d->slots[i].departed ? go_back(d, i, e) : 0;
	if (rc != 0)
		return rc;
	for (size_t i = 0; i < d->slot_count; i++) {
		struct slot *slot = &d->slots[i];
		if (!slot->used || slot->out.done || slot->departed)
			continue;
		d->which[count] = i;
		d->ids[count] = slot->next;
		d->readings[count] = reading_of(d, slot, slot->out.id_count, 0);
		d->rows[count] = count;
		d->segments[count++] = (struct model_segment){ .slot = i, .position = slot->position, .row_count = 1 };
	}
	if (count == 0)
		return 0;
	rc = model_embed(d->run, d->x, d->ids, count, e);
	if (rc == 0)
		rc = model_layers(d->run, d->x, d->kv, d->segments, count, 0, layers, d->readings, NULL, 0, e);
	for (size_t i = 0; i < count && rc == 0; i++)
		d->slots[d->which[i]].position++;
	return rc == 0 ? sample_rows(d, count, e) : rc;
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
