/* One shard of the paper's family: its edits, mask and training (wise.h). */
#include "editor/wise_internal.h"

#include "base/fault.h"
#include "editor/corpus.h"
#include "editor/delta.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MASK_STREAM   UINT64_C(0x6D61736B) /* what rng_derive makes seeds for */
#define CORPUS_STREAM UINT64_C(0x74657874)

/* ---- Pure parts */

void editor_wise_mask_draw(uint64_t seed, float ratio, size_t count, uint8_t *bits)
{
	struct rng rng;
	rng_init(&rng, rng_derive(seed, MASK_STREAM, 0));
	memset(bits, 0, (count + 7) / 8);
	for (size_t i = 0; i < count; i++) {
		if (rng_uniform(&rng) < ratio)
			bits[i / 8] |= (uint8_t)(1u << (i % 8));
	}
}

double editor_wise_threshold(const double *gaps, size_t gap_count, float act_ratio)
{
	double least = (double)INFINITY;
	for (size_t i = 0; i < gap_count; i++)
		least = gaps[i] < least ? gaps[i] : least;
	return gap_count > 0 ? least * (double)act_ratio : least;
}

size_t editor_wise_choose(const double *gaps, const double *thresholds, size_t memory_count)
{
	size_t best = SIZE_MAX;
	for (size_t i = 0; i < memory_count; i++) {
		if (gaps[i] > thresholds[i] && (best == SIZE_MAX || gaps[i] > gaps[best]))
			best = i;
	}
	return best;
}

/* ---- Life */

static void edit_fini(struct editor__wise_edit *edit)
{
	buf_free(&edit->prompt);
	buf_free(&edit->target);
	buf_free(&edit->irrelevant);
	free(edit->ids);
	free(edit->inputs);
}

static void edits_free(struct editor__wise_edits *edits)
{
	for (size_t i = 0; i < edits->count; i++)
		edit_fini(&edits->items[i]);
	free(edits->items);
	*edits = (struct editor__wise_edits){ 0 };
}

void editor_wise_destroy(struct editor_wise **wise)
{
	struct editor_wise *w = *wise;
	if (w == NULL)
		return;
	edits_free(&w->edits);
	for (size_t i = 0; i < w->group_count; i++)
		edits_free(&w->groups[i].edits);
	free(w->groups);
	for (size_t i = 0; i < EDITOR_WISE_PREFIXES; i++)
		buf_free(&w->prefixes[i]);
	for (size_t i = 0; i < w->corpus_count; i++)
		buf_free(&w->corpus[i]);
	free(w->corpus);
	editor__wise_rows_free(w);
	free(w->rows.spans);
	editor__batch_free(&w->batch, w->backend);
	if (w->work != NULL)
		w->backend->ops->free(w->backend, w->work);
	if (w->grad != NULL)
		w->backend->ops->free(w->backend, w->grad);
	model_run_destroy(&w->run);
	free(w->delta);
	free(w->mask);
	free(w);
	*wise = NULL;
}

static int put_text(struct buf *out, const char *text, size_t len, struct err *e)
{
	buf_append(out, text, len);
	(void)buf_cstr(out);
	return buf_failed(out) ? err_set(e, ERR_NOMEM, "edit: out of memory") : 0;
}

static int corpus_add(struct editor_wise *w, const char *text, size_t len, struct err *e)
{
	if (w->corpus_count == w->corpus_cap) {
		size_t cap = w->corpus_cap == 0 ? 256 : 2 * w->corpus_cap;
		struct buf *grown = fault_realloc(w->corpus, cap * sizeof(*grown));
		if (grown == NULL)
			return err_set(e, ERR_NOMEM, "corpus: out of memory");
		w->corpus = grown;
		w->corpus_cap = cap;
	}
	w->corpus[w->corpus_count] = (struct buf)BUF_INIT;
	return put_text(&w->corpus[w->corpus_count++], text, len, e);
}

/* Lines of another form are passed over: an edit, in whose training they are met, has no part in them. */
static int corpus_read(struct editor_wise *w, const char *corpus, size_t len, struct err *e)
{
	struct editor_corpus_line line;
	struct editor_corpus lines;
	struct err of_line = ERR_INIT;
	int rc = 0, found;
	editor_corpus_init(&lines, "calibration corpus", corpus, len);
	while (rc == 0 && (found = editor_corpus_next(&lines, &line, &of_line)) != ERR_NOT_FOUND) {
		if (found == 0 && line.kind == EDITOR_UNRELATED)
			rc = corpus_add(w, line.text.text, line.text.len, e);
	}
	return rc;
}

static int prepare(struct editor_wise *w, const char *corpus, size_t corpus_len, struct err *e)
{
	const size_t n = editor__wise_matrix_size(w);
	const size_t row_max = w->shape->context > EDITOR__ROWS_MAX ? w->shape->context : EDITOR__ROWS_MAX;
	int rc = model_run_new(w->model, row_max, &w->run, e);
	if (rc != 0)
		return rc;
	w->backend = model_run_backend(w->run);
	w->delta = fault_calloc(n, sizeof(float));
	w->mask = fault_malloc((n + 7) / 8);
	w->work = w->backend->ops->alloc(w->backend, n);
	w->grad = w->backend->ops->alloc(w->backend, n);
	if (w->delta == NULL || w->mask == NULL || w->work == NULL || w->grad == NULL)
		return err_set(e, ERR_NOMEM, "shard: out of memory for its delta");
	editor_wise_mask_draw(w->seed, w->config.wise.mask_ratio, n, w->mask);
	return corpus != NULL ? corpus_read(w, corpus, corpus_len, e) : 0;
}

/* To bf16, so that rounding the delta cannot take an entry over the clip. */
static float round_down(float value)
{
	uint32_t bits;
	memcpy(&bits, &value, sizeof(bits));
	bits &= UINT32_C(0xFFFF0000);
	memcpy(&value, &bits, sizeof(bits));
	return value;
}

int editor_wise_new(struct model *model, const struct editor_config *config, uint64_t shard_seed, const char *corpus,
		    size_t corpus_len, struct editor_wise **out, struct err *e)
{
	int rc = editor_config_check(config, model_shape_of(model), e);
	if (rc != 0)
		return rc;
	struct editor_wise *w = fault_calloc(1, sizeof(*w));
	if (w == NULL)
		return err_set(e, ERR_NOMEM, "shard: out of memory");
	w->model = model;
	w->config = *config;
	w->shape = model_shape_of(model);
	w->config.wise.clip = round_down(config->wise.clip);
	w->seed = shard_seed;
	w->rows.edit = SIZE_MAX;
	rc = prepare(w, corpus, corpus_len, e);
	if (rc != 0) {
		editor_wise_destroy(&w);
		return rc;
	}
	*out = w;
	return 0;
}

/* ---- Edits */

static int edits_reserve(struct editor__wise_edits *edits, struct err *e)
{
	if (edits->count < edits->cap)
		return 0;
	size_t cap = edits->cap == 0 ? 16 : 2 * edits->cap;
	struct editor__wise_edit *grown = fault_realloc(edits->items, cap * sizeof(*grown));
	if (grown == NULL)
		return err_set(e, ERR_NOMEM, "shard: out of memory for %zu edits", cap);
	edits->items = grown;
	edits->cap = cap;
	return 0;
}

static int put_irrelevant(struct editor_wise *w, struct editor__wise_edit *edit, const struct record *record,
			  struct err *e)
{
	if (record->loc_prompt.text != NULL && record->loc_prompt.len > 0)
		return put_text(&edit->irrelevant, record->loc_prompt.text, record->loc_prompt.len, e);
	if (w->corpus_count == 0)
		return err_set(e, ERR_INVALID,
			       "it has no loc_prompt and there is no corpus of unrelated texts: give it a loc_prompt");
	struct rng rng;
	rng_init(&rng, rng_derive(w->seed, CORPUS_STREAM, edit->seq));
	const struct buf *text = &w->corpus[rng_below(&rng, w->corpus_count)];
	return put_text(&edit->irrelevant, (const char *)text->data, text->len, e);
}

static int edit_make(struct editor_wise *w, const struct record *record, bool trained, struct editor__wise_edit *edit,
		     struct err *e)
{
	int rc = editor__tokenise(w->model, record->prompt.text, record->prompt.len, &record->target_new, false,
				  &edit->ids, &edit->id_count, &edit->prompt_count, e);
	if (rc == 0)
		rc = put_text(&edit->prompt, record->prompt.text, record->prompt.len, e);
	if (rc == 0)
		rc = put_text(&edit->target, record->target_new.text, record->target_new.len, e);
	if (rc == 0 && trained && w->config.wise.activation_loss)
		rc = put_irrelevant(w, edit, record, e);
	return rc;
}

static int edits_add(struct editor_wise *w, struct editor__wise_edits *edits, uint64_t seq, const struct record *record,
		     bool trained, struct err *e)
{
	for (size_t i = 0; i < edits->count; i++) {
		if (edits->items[i].seq == seq)
			return err_set(e, ERR_EXISTS, "edit %" PRIu64 " is in the shard already", seq);
	}
	int rc = edits_reserve(edits, e);
	if (rc != 0)
		return rc;
	w->rows.edit = SIZE_MAX; /* the room for replayed prompts may not do any more */
	struct editor__wise_edit *edit = &edits->items[edits->count];
	*edit = (struct editor__wise_edit){ .seq = seq };
	rc = edit_make(w, record, trained, edit, e);
	if (rc != 0) {
		edit_fini(edit);
		err_wrap(e, "edit %" PRIu64, seq);
		return rc;
	}
	edits->count++;
	return 0;
}

int editor_wise_add(struct editor_wise *wise, uint64_t seq, const struct record *record, struct err *e)
{
	return edits_add(wise, &wise->edits, seq, record, true, e);
}

static int group_of(struct editor_wise *w, uint64_t id, struct editor__wise_group **out, struct err *e)
{
	for (size_t i = 0; i < w->group_count; i++) {
		*out = &w->groups[i];
		if ((*out)->id == id)
			return 0;
	}
	if (w->group_count == w->group_cap) {
		size_t cap = w->group_cap == 0 ? 4 : 2 * w->group_cap;
		struct editor__wise_group *grown = fault_realloc(w->groups, cap * sizeof(*grown));
		if (grown == NULL)
			return err_set(e, ERR_NOMEM, "shard: out of memory");
		w->groups = grown;
		w->group_cap = cap;
	}
	*out = &w->groups[w->group_count];
	**out = (struct editor__wise_group){ .id = id };
	return 0;
}

int editor_wise_replay_add(struct editor_wise *wise, uint64_t group, uint64_t seq, const struct record *record,
			   struct err *e)
{
	struct editor__wise_group *to = NULL;
	int rc = group_of(wise, group, &to, e);
	if (rc != 0)
		return rc;
	rc = edits_add(wise, &to->edits, seq, record, false, e);
	bool is_new = to == &wise->groups[wise->group_count];
	if (rc == 0 && is_new)
		wise->group_count++;
	if (rc != 0 && is_new)
		edits_free(&to->edits);
	return rc;
}

size_t editor_wise_count(const struct editor_wise *wise)
{
	return wise->edits.count;
}

const uint8_t *editor_wise_mask(const struct editor_wise *wise)
{
	return wise->mask;
}

int editor_wise_prefix(struct editor_wise *wise, size_t index, const char **text, struct err *e)
{
	int rc = editor__wise_prefixes(wise, e);
	if (rc == 0)
		*text = buf_cstr(&wise->prefixes[index]);
	return rc;
}

/* ---- Training */

struct progress {
	const struct editor_watch *watch;
	size_t done, total;
};

static int train_edit(struct editor_wise *w, size_t edit, struct progress *progress, struct editor_wise_stats *stats,
		      struct err *e)
{
	const struct editor_wise_config *c = &w->config.wise;
	double previous = (double)INFINITY;
	*stats = (struct editor_wise_stats){ .seq = w->edits.items[edit].seq };
	int rc = editor__wise_rows_fill(w, edit, e);
	while (rc == 0 && stats->steps < c->steps_max) {
		rc = editor__wise_step(w, stats->steps, true, &stats->loss, e);
		if (rc != 0)
			break;
		double loss = stats->loss.total;
		if (!isfinite(loss))
			return err_set(e, ERR_INVALID,
				       "training: the loss of edit %" PRIu64
				       " is no number: revoke it, or lower the rate",
				       stats->seq);
		stats->stopped = fabs(loss - previous) <= (double)c->stop_delta && loss <= (double)c->stop_loss;
		if (stats->stopped)
			break;
		editor__wise_apply(w);
		previous = loss;
		stats->steps++;
		rc = editor__watch(progress->watch, "train", progress->done + stats->steps, progress->total, loss, e);
	}
	progress->done += c->steps_max;
	if (rc == 0)
		editor_delta_round(w->work, editor__wise_matrix_size(w));
	return rc;
}

int editor_wise_train(struct editor_wise *wise, size_t first, size_t count, const struct editor_watch *watch,
		      struct editor_wise_stats *stats, struct err *e)
{
	if (first > wise->edits.count || count > wise->edits.count - first)
		return err_set(e, ERR_INVALID, "training: edits %zu to %zu of %zu", first, first + count,
			       wise->edits.count);
	struct progress progress = { watch, 0, count * wise->config.wise.steps_max };
	int rc = 0;
	wise->backend->ops->copy(wise->backend, wise->work, wise->delta, editor__wise_matrix_size(wise));
	for (size_t i = 0; rc == 0 && i < count; i++) {
		struct editor_wise_stats one;
		rc = train_edit(wise, first + i, &progress, stats != NULL ? &stats[i] : &one, e);
	}
	if (rc == 0)
		wise->backend->ops->copy(wise->backend, wise->delta, wise->work, editor__wise_matrix_size(wise));
	return rc;
}

int editor_wise_loss_at(struct editor_wise *wise, size_t edit, size_t step, const float *delta,
			struct editor_wise_loss *loss, float *gradient, struct err *e)
{
	size_t n = editor__wise_matrix_size(wise);
	if (edit >= wise->edits.count)
		return err_set(e, ERR_INVALID, "loss: edit %zu of %zu", edit, wise->edits.count);
	wise->backend->ops->copy(wise->backend, wise->work, delta, n);
	int rc = editor__wise_rows_fill(wise, edit, e);
	if (rc == 0)
		rc = editor__wise_step(wise, step, gradient != NULL, loss, e);
	if (rc == 0 && gradient != NULL)
		wise->backend->ops->copy(wise->backend, gradient, wise->grad, n);
	return rc;
}

int editor_wise_gaps(struct editor_wise *wise, const float *delta, double *gaps, struct err *e)
{
	size_t longest = 1;
	int rc = editor__wise_inputs(wise, &wise->edits, wise->edits.count, e);
	for (size_t i = 0; i < wise->edits.count; i++) {
		if (wise->edits.items[i].prompt_count > longest)
			longest = wise->edits.items[i].prompt_count;
	}
	float *product = rc == 0 ? fault_malloc(longest * wise->shape->hidden * sizeof(*product)) : NULL;
	if (rc == 0 && product == NULL)
		rc = err_set(e, ERR_NOMEM, "gaps: out of memory");
	for (size_t i = 0; rc == 0 && i < wise->edits.count; i++) {
		const struct editor__wise_edit *edit = &wise->edits.items[i];
		rc = editor_wise_gap(wise->backend, edit->inputs, edit->prompt_count, delta, wise->shape->hidden,
				     wise->shape->ffn, product, &gaps[i], e);
	}
	free(product);
	return rc;
}

/* ---- The delta */

const float *editor_wise_delta(const struct editor_wise *wise)
{
	return wise->delta;
}

int editor_wise_delta_load(struct editor_wise *wise, const void *bytes, size_t len, struct err *e)
{
	float *loaded = fault_malloc(editor__wise_matrix_size(wise) * sizeof(*loaded));
	if (loaded == NULL)
		return err_set(e, ERR_NOMEM, "delta: out of memory");
	int rc = editor_delta_decode(bytes, len, wise->config.layer, wise->shape->hidden, wise->shape->ffn, loaded, e);
	if (rc != 0) {
		free(loaded);
		return rc;
	}
	free(wise->delta);
	wise->delta = loaded;
	return 0;
}

int editor_wise_delta_encode(const struct editor_wise *wise, struct buf *out, struct err *e)
{
	return editor_delta_encode(wise->delta, wise->config.layer, wise->shape->hidden, wise->shape->ffn, out, e);
}
