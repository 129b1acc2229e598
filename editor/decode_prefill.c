/* Prompts: the layers below the route, the route, the layers above it; a part of a text with a route is asked aside. */
#include "editor/decode_internal.h"

#include "base/fault.h"
#include "editor/route_text.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- Room */

int editor__decoder_reserve(struct editor_decoder *d, size_t rows, struct err *e)
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

/* ---- Prefill */

struct model_reading editor__decoder_reading(const struct editor_decoder *d, struct editor__slot *slot, size_t row,
					     size_t from)
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

size_t editor__decoder_group(const struct editor_decoder *d, const struct editor_request *requests, size_t from,
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

static int anchors_load(struct editor_decoder *d, struct editor__slot *slot, struct err *e)
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
		     struct editor__slot *slot, struct editor__parts *parts, struct err *e)
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

/* A set that only routes (memory.h). */
static int side_check(const struct editor__slot *slot, struct err *e)
{
	if (slot->side == NULL || slot->side->delta != NULL)
		return 0;
	return err_set(e, ERR_NOT_FOUND, "decoder: memory %llu is there without its delta",
		       (unsigned long long)slot->out.memory_id);
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
		struct editor__slot *slot = &d->slots[d->which[i]];
		rc = side_check(slot, e);
		if (rc == 0)
			rc = anchors_load(d, slot, e);
		d->readings[i] = editor__decoder_reading(d, slot, 0, requests[i].id_count - 1);
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
		struct editor__slot *slot = &d->slots[d->which[i]];
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
	struct editor__slot *slot = &d->slots[index];
	int rc = editor__decoder_reserve(d, count, e);
	if (rc != 0)
		return rc;
	memcpy(d->ids, tokens->ids, count * sizeof(*d->ids));
	d->segments[0] = (struct model_segment){ .slot = index, .position = 0, .row_count = count };
	d->readings[0] = editor__decoder_reading(d, slot, 0, count - 1);
	d->which[0] = index;
	d->rows[0] = 0;
	slot->position = count;
	slot->fed = tokens->ids[count - 1];
	rc = embed_rows(d, count, e);
	if (rc == 0)
		rc = prefill_layers(d, 1, count, 0, layers, e);
	if (rc != 0)
		return rc;
	if (count > 1)
		d->backend->ops->copy(d->backend, d->x, d->x + (count - 1) * hidden, hidden);
	return editor__decoder_sample(d, 1, e);
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

int editor__decoder_go_back(struct editor_decoder *d, size_t index, struct err *e)
{
	struct editor__slot *slot = &d->slots[index];
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

int editor__decoder_prefill(struct editor_decoder *d, const struct editor_request *requests, size_t count,
			    struct editor_key_layers key_layers, struct err *e)
{
	const size_t hidden = model_shape_of(d->model)->hidden;
	size_t row_count = 0, left = 0;
	for (size_t i = 0; i < count; i++)
		row_count += requests[i].id_count;
	int rc = editor__decoder_reserve(d, row_count, e);
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
		d->slots[d->which[i]].fed = requests[i].ids[rows - 1];
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
		rc = editor__decoder_sample(d, left, e);
	return rc == 0 ? asides_prefill(d, e) : rc;
}
