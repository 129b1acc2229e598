#include "editor/packed.h"
#include "base/fault.h"
#include "editor/route.h"

#include <stdlib.h>
#include <string.h>

struct editor__packer {
	struct model *model;
	struct model_run *run;
	size_t rows_max; /* what run and the arrays hold */
	float *x;        /* rows_max × hidden, the backend's memory */
	float *states;   /* the same, to read: at the prompt key's layer */
	float *relation_states;
	float *anchors; /* rows_max × ffn; A(x) while prompts are routed by gap */
	int32_t *ids;
	size_t *rows; /* rows whose prediction is wanted, and the tokens that follow */
	int32_t *labels;
	int32_t *argmax;
	float *loss;
	struct model_segment *segments;
	struct model_reading *readings;
};

/* ---- Room */

static void packer_free_arrays(struct editor__packer *packer)
{
	if (packer->x != NULL) {
		struct model_backend *backend = model_run_backend(packer->run);
		backend->ops->free(backend, packer->x);
	}
	model_run_destroy(&packer->run);
	free(packer->states);
	free(packer->relation_states);
	free(packer->anchors);
	free(packer->ids);
	free(packer->rows);
	free(packer->labels);
	free(packer->argmax);
	free(packer->loss);
	free(packer->segments);
	free(packer->readings);
}

static int packer_resize(struct editor__packer *packer, size_t rows, struct err *e)
{
	struct model *model = packer->model;
	const size_t hidden = model_shape_of(model)->hidden;
	packer_free_arrays(packer);
	*packer = (struct editor__packer){ .model = model, .rows_max = 0 };
	int rc = model_run_new(model, rows, &packer->run, e);
	if (rc != 0)
		return rc;
	struct model_backend *backend = model_run_backend(packer->run);
	packer->x = backend->ops->alloc(backend, rows * hidden);
	packer->states = fault_calloc(rows * hidden, sizeof(*packer->states));
	packer->relation_states = fault_calloc(rows * hidden, sizeof(*packer->relation_states));
	packer->anchors = fault_malloc(rows * model_shape_of(model)->ffn * sizeof(*packer->anchors));
	packer->ids = fault_calloc(rows, sizeof(*packer->ids));
	packer->rows = fault_calloc(rows, sizeof(*packer->rows));
	packer->labels = fault_calloc(rows, sizeof(*packer->labels));
	packer->argmax = fault_calloc(rows, sizeof(*packer->argmax));
	packer->loss = fault_calloc(rows, sizeof(*packer->loss));
	packer->segments = fault_calloc(rows, sizeof(*packer->segments));
	packer->readings = fault_calloc(rows, sizeof(*packer->readings));
	if (packer->x == NULL || packer->states == NULL || packer->relation_states == NULL || packer->anchors == NULL ||
	    packer->ids == NULL || packer->rows == NULL || packer->labels == NULL || packer->argmax == NULL ||
	    packer->loss == NULL || packer->segments == NULL || packer->readings == NULL)
		return err_set(e, ERR_NOMEM, "room for %zu tokens: out of memory", rows);
	packer->rows_max = rows;
	return 0;
}

struct model_backend *editor__packer_backend(struct editor__packer *packer)
{
	return model_run_backend(packer->run);
}

int editor__packer_new(struct model *model, size_t rows, struct editor__packer **out, struct err *e)
{
	struct editor__packer *packer = fault_calloc(1, sizeof(*packer));
	if (packer == NULL)
		return err_set(e, ERR_NOMEM, "out of memory");
	packer->model = model;
	int rc = packer_resize(packer, rows, e);
	if (rc != 0) {
		editor__packer_destroy(&packer);
		return rc;
	}
	*out = packer;
	return 0;
}

void editor__packer_destroy(struct editor__packer **packer)
{
	if (*packer == NULL)
		return;
	packer_free_arrays(*packer);
	free(*packer);
	*packer = NULL;
}

/* ---- Batches */

/* Puts texts from `tokens_of(context, i)` for i in [from, count) into the packer while they fit; returns how many, with
 * their rows. */
static int fill(struct editor__packer *packer, const struct editor__tokens *(*tokens_of)(const void *context, size_t i),
		const void *context, size_t from, size_t count, size_t *taken, size_t *row_count, struct err *e)
{
	size_t rows = 0, n = 0;
	const size_t first = tokens_of(context, from)->id_count;
	if (first > packer->rows_max) {
		int rc = packer_resize(packer, first, e);
		if (rc != 0)
			return rc;
	}
	for (; from + n < count; n++) {
		const struct editor__tokens *tokens = tokens_of(context, from + n);
		if (rows + tokens->id_count > packer->rows_max)
			break;
		memcpy(packer->ids + rows, tokens->ids, tokens->id_count * sizeof(*packer->ids));
		packer->segments[n] = (struct model_segment){ .slot = n, .position = 0, .row_count = tokens->id_count };
		rows += tokens->id_count;
	}
	*taken = n;
	*row_count = rows;
	return model_embed(packer->run, packer->x, packer->ids, rows, e);
}

static int report(const struct editor_watch *watch, const char *phase, size_t done, size_t total, struct err *e)
{
	if (watch != NULL && watch->on_progress != NULL &&
	    watch->on_progress(watch->context, phase, done, total, 0) != 0)
		return err_set(e, ERR_INTERRUPTED, "%s: stopped after %zu of %zu", phase, done, total);
	return 0;
}

static const struct editor__tokens *prompt_at(const void *context, size_t i)
{
	return (const struct editor__tokens *)context + i;
}

/* Family `paper`: A(x) of the edited matrix, which no memory is added to yet. */
static int gap_inputs(struct model_run *run, float *x, struct model_kv *kv, const struct model_segment *segments,
		      size_t segment_count, size_t top, float *inputs, struct err *e)
{
	const struct model_tap tap = { MODEL_TAP_DOWN_INPUT, top - 1, inputs };
	return model_layers(run, x, kv, segments, segment_count, 0, top, NULL, &tap, 1, e);
}

int editor__key_states(struct model_run *run, float *x, struct model_kv *kv, const struct model_segment *segments,
		       size_t segment_count, size_t floats, struct editor_key_layers layers,
		       const struct editor__states *out, struct err *e)
{
	struct model_backend *backend = model_run_backend(run);
	const size_t top = editor_key_layers_top(layers);
	if (layers.gap != 0)
		return gap_inputs(run, x, kv, segments, segment_count, top, out->inputs, e);
	struct model_tap tap = { .point = MODEL_TAP_INPUT };
	/* the state at the upper layer is what x holds afterwards */
	tap.layer = layers.prompt < top ? layers.prompt : layers.relation;
	tap.out = layers.prompt < top ? out->prompt : out->relation;
	int rc = model_layers(run, x, kv, segments, segment_count, 0, top, NULL, &tap, tap.layer < top ? 1 : 0, e);
	if (rc != 0)
		return rc;
	if (layers.prompt == top)
		backend->ops->copy(backend, out->prompt, x, floats);
	if (layers.relation == top)
		backend->ops->copy(backend, out->relation, x, floats);
	return 0;
}

static int hand_prompts(const struct editor__packer *packer, size_t count, size_t first,
			int (*each)(void *context, size_t at, const struct editor_prompt *prompt), void *context,
			struct err *e)
{
	const size_t hidden = model_shape_of(packer->model)->hidden, ffn = model_shape_of(packer->model)->ffn;
	for (size_t i = 0, row = 0; i < count; row += packer->segments[i].row_count, i++) {
		const struct editor_prompt prompt = { .ids = packer->ids + row,
						      .id_count = packer->segments[i].row_count,
						      .prompt_states = packer->states + row * hidden,
						      .relation_states = packer->relation_states + row * hidden,
						      .inputs = packer->anchors + row * ffn,
						      .backend = model_run_backend(packer->run) };
		int rc = each(context, first + i, &prompt);
		if (rc != 0)
			return rc == ERR_NOMEM ? err_set(e, rc, "keys of prompts: out of memory") : rc;
	}
	return 0;
}

int editor__packer_prompts(struct editor__packer *packer, struct editor_key_layers layers,
			   const struct editor__tokens *prompts, size_t prompt_count,
			   int (*each)(void *context, size_t at, const struct editor_prompt *prompt), void *context,
			   const struct editor_watch *watch, const char *phase, struct err *e)
{
	const size_t hidden = model_shape_of(packer->model)->hidden;
	int rc = 0;
	for (size_t at = 0, taken = 0, rows; at < prompt_count && rc == 0; at += taken) {
		rows = 0;
		rc = fill(packer, prompt_at, prompts, at, prompt_count, &taken, &rows, e);
		const struct editor__states states = { packer->states, packer->relation_states, packer->anchors };
		if (rc == 0)
			rc = editor__key_states(packer->run, packer->x, NULL, packer->segments, taken, rows * hidden,
						layers, &states, e);
		if (rc == 0)
			rc = hand_prompts(packer, taken, at, each, context, e);
		if (rc == 0)
			rc = report(watch, phase, at + taken, prompt_count, e);
	}
	return rc;
}

static const struct editor__tokens *forced_at(const void *context, size_t i)
{
	return &((const struct editor__forced *)context)[i].text;
}

/* How an item reads its memory; the rows of its anchor go to `anchors`. Returns how many. */
static size_t place_reading(const struct editor__packer *packer, const struct editor__forced *item, float *anchors,
			    struct model_reading *reading)
{
	const size_t ffn = model_shape_of(packer->model)->ffn;
	*reading = (struct model_reading){ .side = item->side };
	if (item->side == NULL || item->anchor == NULL || item->first >= item->text.id_count)
		return 0;
	const size_t answer = item->text.id_count - item->first;
	/* the last token of the text is an input of nothing here */
	const size_t count = editor_anchor_reach(item->anchor, model_tokenizer_of(packer->model),
						 item->text.ids + item->first, answer - 1);
	for (size_t r = 0; r < count; r++)
		editor_anchor_row(item->anchor, r, ffn, anchors + r * ffn);
	reading->anchors = anchors;
	reading->anchor_from = item->first - 1;
	reading->anchor_count = count;
	return count;
}

/* The rows whose prediction the items want, in order; returns how many. */
static size_t wanted_rows(struct editor__packer *packer, const struct editor__forced *items, size_t item_count)
{
	const size_t ffn = model_shape_of(packer->model)->ffn;
	size_t start = 0, wanted = 0, anchored = 0;
	for (size_t i = 0; i < item_count; i++) {
		for (size_t k = items[i].first; k < items[i].text.id_count; k++) {
			packer->labels[wanted] = items[i].text.ids[k];
			packer->rows[wanted++] = start + k - 1;
		}
		anchored += place_reading(packer, &items[i], packer->anchors + anchored * ffn, &packer->readings[i]);
		start += items[i].text.id_count;
	}
	return wanted;
}

static void hand_out(const struct editor__packer *packer, const struct editor__forced *items, size_t item_count)
{
	size_t at = 0;
	for (size_t i = 0; i < item_count; i++) {
		for (size_t k = items[i].first; k < items[i].text.id_count; k++, at++) {
			items[i].argmax[k - items[i].first] = packer->argmax[at];
			if (items[i].loss != NULL)
				items[i].loss[k - items[i].first] = packer->loss[at];
		}
	}
}

int editor__packer_forced(struct editor__packer *packer, const struct editor__forced *items, size_t item_count,
			  const struct editor_watch *watch, const char *phase, struct err *e)
{
	const size_t layers = model_shape_of(packer->model)->layers;
	int rc = 0;
	for (size_t at = 0, taken = 0, rows; at < item_count && rc == 0; at += taken) {
		rows = 0;
		rc = fill(packer, forced_at, items, at, item_count, &taken, &rows, e);
		if (rc != 0)
			break;
		const size_t wanted = wanted_rows(packer, items + at, taken);
		rc = model_layers(packer->run, packer->x, NULL, packer->segments, taken, 0, layers, packer->readings,
				  NULL, 0, e);
		if (rc == 0 && wanted > 0)
			rc = model_head_loss(packer->run, packer->loss, packer->argmax, packer->x, packer->rows,
					     packer->labels, wanted, e);
		if (rc != 0)
			break;
		hand_out(packer, items + at, taken);
		rc = report(watch, phase, at + taken, item_count, e);
	}
	return rc;
}
