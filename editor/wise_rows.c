/* The rows that an edit is trained on, and what of them is frozen: everything below and at the edited matrix. */
#include "editor/wise_internal.h"

#include "base/fault.h"
#include "base/text.h"
#include "editor/decode.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SEEDS (EDITOR_WISE_PREFIXES / 2)

static const char *const seeds[SEEDS] = { "I", "You", "Because", "Yes", "Q: " };

/* ---- Prefixes */

struct generation {
	struct editor_wise *wise;
	int32_t *ids[SEEDS]; /* of the seeds */
	size_t id_counts[SEEDS];
	int rc;
};

/* Keeps what is text: a continuation may end within a character. */
static void put_text(struct buf *out, const char *text, size_t len)
{
	char step[TEXT_ESCAPE_BYTES];
	for (size_t at = 0, step_len; at < len;) {
		size_t taken = text_escape_step(text + at, len - at, step, &step_len);
		bool plain = step_len == taken && memcmp(step, text + at, taken) == 0;
		if (plain || text[at] == '\n' || text[at] == '\t')
			buf_append(out, text + at, taken);
		at += taken;
	}
}

static void on_generated(void *context, size_t request, const struct editor_sequence *sequence)
{
	struct generation *g = context;
	const struct model_tokenizer *tokenizer = model_tokenizer_of(g->wise->model);
	struct buf text = BUF_INIT, *prefix = &g->wise->prefixes[request];
	int rc =
		model_tokenizer_decode(tokenizer, g->ids[request % SEEDS], g->id_counts[request % SEEDS], false, &text);
	if (rc == 0)
		rc = model_tokenizer_decode(tokenizer, sequence->ids, sequence->id_count, false, &text);
	buf_clear(prefix);
	put_text(prefix, buf_cstr(&text), text.len);
	if (rc == 0 && (buf_failed(&text) || buf_failed(prefix) || buf_cstr(prefix)[0] == '\0'))
		rc = ERR_NOMEM;
	if (rc != 0)
		g->rc = rc;
	buf_free(&text);
}

static int generate(struct generation *g, struct err *e)
{
	const struct editor_wise_config *c = &g->wise->config.wise;
	struct editor_request requests[EDITOR_WISE_PREFIXES] = { 0 };
	struct editor_decoder *decoder = NULL;
	size_t token_max = 0, row_count = 0;
	for (size_t i = 0; i < EDITOR_WISE_PREFIXES; i++) {
		requests[i].ids = g->ids[i % SEEDS];
		requests[i].id_count = g->id_counts[i % SEEDS];
		requests[i].token_max = c->prefix_tokens[i / SEEDS];
		row_count += requests[i].id_count;
		if (requests[i].id_count + requests[i].token_max > token_max)
			token_max = requests[i].id_count + requests[i].token_max;
	}
	int rc = editor_decoder_new(g->wise->model, EDITOR_WISE_PREFIXES, token_max, row_count, &decoder, e);
	if (rc == 0)
		rc = editor_decoder_run(decoder, requests, EDITOR_WISE_PREFIXES, on_generated, g, NULL, e);
	if (rc == 0 && g->rc != 0)
		rc = err_set(e, g->rc, "prefixes: a generated text could not be read: %s", err_text(g->rc));
	editor_decoder_destroy(&decoder);
	return rc;
}

int editor__wise_prefixes(struct editor_wise *w, struct err *e)
{
	struct generation g = { .wise = w };
	int rc = 0;
	if (w->has_prefixes)
		return 0;
	for (size_t i = 0; rc == 0 && i < SEEDS; i++)
		rc = model_tokenizer_encode(model_tokenizer_of(w->model), seeds[i], strlen(seeds[i]), false, &g.ids[i],
					    &g.id_counts[i], e);
	if (rc == 0)
		rc = generate(&g, e);
	w->has_prefixes = rc == 0;
	for (size_t i = 0; i < SEEDS; i++)
		free(g.ids[i]);
	return rc;
}

/* ---- Through the frozen layers */

/* base and x of packed texts from `ids` on, in calls of at most EDITOR__ROWS_MAX rows or one text. */
static int run_frozen(struct editor_wise *w, const int32_t *ids, const struct model_segment *segments,
		      size_t segment_count, float *base, float *x, struct err *e)
{
	size_t layer = w->config.layer, row = 0;
	int rc = 0;
	for (size_t first = 0, last; rc == 0 && first < segment_count; first = last) {
		size_t rows = segments[first].row_count;
		for (last = first + 1; last < segment_count; last++) {
			if (rows + segments[last].row_count > EDITOR__ROWS_MAX)
				break;
			rows += segments[last].row_count;
		}
		const struct model_tap tap = { MODEL_TAP_DOWN_INPUT, layer, x + row * w->shape->ffn };
		rc = model_embed(w->run, base + row * w->shape->hidden, ids + row, rows, e);
		if (rc == 0)
			rc = model_layers(w->run, base + row * w->shape->hidden, NULL, segments + first, last - first,
					  0, layer + 1, NULL, &tap, 1, e);
		row += rows;
	}
	return rc;
}

struct inputs { /* of a batch of prompts */
	int32_t *ids;
	struct model_segment *segments;
	float *base, *x;
};

static int keep_inputs(struct editor_wise *w, struct editor__wise_edit *edit, const float *x, struct err *e)
{
	size_t n = edit->prompt_count * w->shape->ffn;
	edit->inputs = fault_malloc(n * sizeof(*edit->inputs));
	if (edit->inputs == NULL)
		return err_set(e, ERR_NOMEM, "edit %" PRIu64 ": out of memory for its inputs", edit->seq);
	memcpy(edit->inputs, x, n * sizeof(*x));
	return 0;
}

static int run_inputs(struct editor_wise *w, struct inputs *in, struct editor__wise_edit *items, size_t count,
		      size_t rows, struct err *e)
{
	size_t segment_count = 0, row = 0;
	if (rows < MODEL_ROWS_APART) /* with fewer a prompt has other bits than in a larger batch */
		rows = MODEL_ROWS_APART;
	in->ids = fault_calloc(rows, sizeof(*in->ids));
	in->segments = fault_calloc(count + 1, sizeof(*in->segments));
	in->base = fault_malloc(rows * w->shape->hidden * sizeof(float));
	in->x = fault_malloc(rows * w->shape->ffn * sizeof(float));
	if (in->ids == NULL || in->segments == NULL || in->base == NULL || in->x == NULL)
		return err_set(e, ERR_NOMEM, "out of memory for the inputs of %zu edits", count);
	for (size_t i = 0; i < count; i++) {
		if (items[i].inputs != NULL)
			continue;
		memcpy(in->ids + row, items[i].ids, items[i].prompt_count * sizeof(*in->ids));
		in->segments[segment_count++].row_count = items[i].prompt_count;
		row += items[i].prompt_count;
	}
	if (row < rows) /* a text of nothing, that nobody looks at */
		in->segments[segment_count++].row_count = rows - row;
	int rc = run_frozen(w, in->ids, in->segments, segment_count, in->base, in->x, e);
	row = 0;
	for (size_t i = 0; rc == 0 && i < count; i++) {
		if (items[i].inputs != NULL)
			continue;
		rc = keep_inputs(w, &items[i], in->x + row * w->shape->ffn, e);
		row += items[i].prompt_count;
	}
	return rc;
}

int editor__wise_inputs(struct editor_wise *w, struct editor__wise_edits *edits, size_t count, struct err *e)
{
	int rc = 0;
	for (size_t first = 0, last; rc == 0 && first < count; first = last) {
		size_t rows = 0;
		for (last = first; last < count; last++) {
			const struct editor__wise_edit *edit = &edits->items[last];
			if (rows > 0 && rows + edit->prompt_count > EDITOR__ROWS_MAX)
				break;
			rows += edit->inputs == NULL ? edit->prompt_count : 0;
		}
		struct inputs in = { 0 };
		if (rows > 0)
			rc = run_inputs(w, &in, edits->items + first, last - first, rows, e);
		free(in.ids);
		free(in.segments);
		free(in.base);
		free(in.x);
	}
	return rc;
}

/* ---- The rows of one edit */

struct texts {
	struct {
		int32_t *ids;
		size_t id_count, prompt_count;
	} items[EDITOR__WISE_TEXTS + 1]; /* edit rows, then the irrelevant text */
	size_t count;                    /* edit rows */
};

static int tokenise(struct editor_wise *w, struct editor__wise_edit *edit, struct texts *t, struct err *e)
{
	const struct record_text target = { buf_cstr(&edit->target), edit->target.len };
	struct buf prompt = BUF_INIT;
	int rc = 0;
	t->count = w->config.wise.prefixes ? EDITOR__WISE_TEXTS : 1;
	for (size_t i = 0; rc == 0 && i < t->count; i++) {
		buf_clear(&prompt);
		if (i > 0)
			buf_printf(&prompt, "%s ", buf_cstr(&w->prefixes[i - 1]));
		buf_append(&prompt, edit->prompt.data, edit->prompt.len);
		rc = buf_failed(&prompt)
			     ? err_set(e, ERR_NOMEM, "edit: out of memory")
			     : editor__tokenise(w->model, buf_cstr(&prompt), prompt.len, &target, false,
						&t->items[i].ids, &t->items[i].id_count, &t->items[i].prompt_count, e);
	}
	if (rc == 0 && w->config.wise.activation_loss)
		rc = model_tokenizer_encode(model_tokenizer_of(w->model), buf_cstr(&edit->irrelevant),
					    edit->irrelevant.len, false, &t->items[t->count].ids,
					    &t->items[t->count].id_count, e);
	if (rc == 0 && w->config.wise.activation_loss && t->items[t->count].id_count == 0)
		rc = err_set(e, ERR_INVALID, "its irrelevant text has no tokens");
	/* Only its gap counts, a long one may be cut. */
	if (t->items[t->count].id_count > w->shape->context)
		t->items[t->count].id_count = w->shape->context;
	buf_free(&prompt);
	if (rc != 0)
		err_wrap(e, "edit %" PRIu64, edit->seq);
	return rc;
}

static void texts_free(struct texts *t)
{
	for (size_t i = 0; i <= EDITOR__WISE_TEXTS; i++)
		free(t->items[i].ids);
}

static size_t longest_prompt(const struct editor__wise_edits *edits)
{
	size_t longest = 0;
	for (size_t i = 0; i < edits->count; i++) {
		if (edits->items[i].prompt_count > longest)
			longest = edits->items[i].prompt_count;
	}
	return longest;
}

static size_t replay_rows(const struct editor_wise *w)
{
	size_t rows = editor__wise_replays(w) ? longest_prompt(&w->edits) : 0;
	for (size_t i = 0; editor__wise_replays(w) && i < w->group_count; i++)
		rows += longest_prompt(&w->groups[i].edits);
	return rows;
}

static int reserve(struct editor_wise *w, size_t rows, size_t labels, struct err *e)
{
	struct editor__wise_rows *r = &w->rows;
	size_t hidden = w->shape->hidden;
	int rc = editor__batch_reserve(&w->batch, w->backend, w->shape, rows, EDITOR__WISE_TEXTS + 1, labels, e);
	if (rc != 0)
		return rc;
	struct editor__wise_span *spans =
		fault_realloc(r->spans, (EDITOR__WISE_TEXTS + 2 + w->group_count) * sizeof(*spans));
	if (spans == NULL)
		return err_set(e, ERR_NOMEM, "edit: out of memory");
	r->spans = spans;
	if (rows <= r->row_cap)
		return 0;
	float *base = w->backend->ops->alloc(w->backend, rows * hidden);
	float *product = w->backend->ops->alloc(w->backend, rows * hidden);
	if (base == NULL || product == NULL) {
		if (base != NULL)
			w->backend->ops->free(w->backend, base);
		if (product != NULL)
			w->backend->ops->free(w->backend, product);
		return err_set(e, ERR_NOMEM, "edit: out of memory for %zu rows", rows);
	}
	editor__wise_rows_free(w);
	r->base = base;
	r->product = product;
	r->row_cap = rows;
	return 0;
}

/* Where a text of `rows` rows and `labels` labels goes among the chunks. */
static void put_in_chunk(struct editor_wise *w, size_t rows, size_t labels)
{
	struct editor__wise_rows *r = &w->rows;
	struct editor__wise_chunk *c = r->chunk_count > 0 ? &r->chunks[r->chunk_count - 1] : NULL;
	if (c == NULL || c->row_count + rows > EDITOR__ROWS_MAX) {
		c = &r->chunks[r->chunk_count++];
		*c = (struct editor__wise_chunk){ .row = w->batch.row_count,
						  .segment = w->batch.segment_count,
						  .label = w->batch.label_count };
	}
	c->row_count += rows;
	c->segment_count++;
	c->label_count += labels;
}

/* Puts the text's ids behind each other and notes its segment, labels and span. The last token of an edit row predicts
 * nothing: no row. */
static void pack_text(struct editor_wise *w, const struct texts *t, size_t i, int32_t *ids)
{
	struct editor__batch *b = &w->batch;
	struct editor__wise_rows *r = &w->rows;
	bool is_edit = i < t->count;
	size_t rows = t->items[i].id_count - (is_edit ? 1 : 0), prompt = is_edit ? t->items[i].prompt_count : rows;
	size_t labels = is_edit ? t->items[i].id_count - prompt : 0;
	memcpy(ids + b->row_count, t->items[i].ids, rows * sizeof(*ids));
	if (is_edit)
		put_in_chunk(w, rows, labels);
	size_t from = r->chunks[r->chunk_count - 1].row;
	for (size_t k = 0; k < labels; k++) {
		b->rows[b->label_count] = b->row_count + prompt + k - 1 - from;
		b->labels[b->label_count] = t->items[i].ids[prompt + k];
		b->scale[b->label_count++] = 1.0f / (float)(labels * t->count);
	}
	r->spans[r->span_count++] = (struct editor__wise_span){ .row = b->row_count, .row_count = prompt };
	b->segments[b->segment_count++] = (struct model_segment){ .row_count = rows };
	b->row_count += rows;
	if (is_edit)
		r->edit_row_count = b->row_count;
	if (i == 0)
		r->bare_label_count = labels;
}

static int pack(struct editor_wise *w, const struct texts *t, size_t rows, size_t labels, struct err *e)
{
	struct editor__batch *b = &w->batch;
	struct editor__wise_rows *r = &w->rows;
	int rc = reserve(w, rows + replay_rows(w), labels, e);
	if (rc != 0)
		return rc;
	int32_t *ids = fault_malloc(rows * sizeof(*ids));
	if (ids == NULL)
		return err_set(e, ERR_NOMEM, "edit: out of memory");
	b->row_count = b->segment_count = b->label_count = r->chunk_count = r->span_count = 0;
	for (size_t i = 0; i < t->count + (w->config.wise.activation_loss ? 1 : 0); i++)
		pack_text(w, t, i, ids);
	r->text_count = t->count;
	r->fixed_row_count = b->row_count;
	r->fixed_span_count = r->span_count;
	assert(b->row_count == rows && b->label_count == labels);
	rc = run_frozen(w, ids, b->segments, b->segment_count, r->base, b->x, e);
	free(ids);
	return rc;
}

int editor__wise_rows_fill(struct editor_wise *w, size_t edit, struct err *e)
{
	struct texts t = { 0 };
	size_t rows = 0, labels = 0;
	if (w->rows.edit == edit)
		return 0;
	w->rows.edit = SIZE_MAX;
	int rc = w->config.wise.prefixes ? editor__wise_prefixes(w, e) : 0;
	if (rc == 0)
		rc = tokenise(w, &w->edits.items[edit], &t, e);
	for (size_t i = 0; rc == 0 && i < t.count; i++) {
		rows += t.items[i].id_count - 1;
		labels += t.items[i].id_count - t.items[i].prompt_count;
	}
	if (rc == 0)
		rc = pack(w, &t, rows + t.items[t.count].id_count, labels, e);
	if (rc == 0)
		w->rows.edit = edit;
	texts_free(&t);
	return rc;
}

void editor__wise_rows_free(struct editor_wise *w)
{
	struct editor__wise_rows *r = &w->rows;
	if (r->base != NULL)
		w->backend->ops->free(w->backend, r->base);
	if (r->product != NULL)
		w->backend->ops->free(w->backend, r->product);
	r->base = r->product = NULL;
	r->row_cap = 0;
	r->edit = SIZE_MAX;
}
