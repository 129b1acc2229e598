/* wise_internal.h: what wise.c (the shard), wise_rows.c (rows of an edit) and wise_step.c (loss, update) share. */
#ifndef AMEND_EDITOR_WISE_INTERNAL_H
#define AMEND_EDITOR_WISE_INTERNAL_H

#include "editor/shard_internal.h"
#include "editor/wise.h"

#define EDITOR__WISE_TEXTS (EDITOR_WISE_PREFIXES + 1) /* rows of an edit: the bare prompt first */

struct editor__wise_edit {
	uint64_t seq;
	struct buf prompt, target, irrelevant; /* irrelevant: empty where L_a is off */
	int32_t *ids;                          /* of the bare prompt and its target */
	size_t prompt_count, id_count;
	float *inputs; /* A(x) of the prompt: prompt_count × ffn; NULL until needed */
};

struct editor__wise_edits {
	struct editor__wise_edit *items;
	size_t count, cap;
};

struct editor__wise_group { /* closed before this shard's */
	uint64_t id;
	struct editor__wise_edits edits;
};

struct editor__wise_span { /* tokens whose gap counts, in the packed rows */
	size_t row, row_count;
	double gap, slope; /* slope: ∂loss/∂gap */
};

struct editor__wise_chunk { /* texts that go through the layers above together */
	size_t row, row_count, segment, segment_count, label, label_count;
};

/* The rows of the edit at hand: edit rows, then the irrelevant text, then the step's replayed prompts. What is frozen
 * stays in place from step to step: x of the batch, and base. */
struct editor__wise_rows {
	size_t edit; /* index; SIZE_MAX: none */
	size_t text_count, edit_row_count, fixed_row_count, row_count;
	size_t bare_label_count; /* the first labels are the bare prompt's */
	struct editor__wise_chunk chunks[EDITOR__WISE_TEXTS];
	size_t chunk_count;
	struct editor__wise_span *spans; /* text_count edit rows; the irrelevant text; replayed prompts, own last */
	size_t span_count, fixed_span_count;
	float *base;    /* rows × hidden: output of the edited layer at delta zero */
	float *product; /* rows × hidden: x · Dᵀ */
	size_t row_cap;
};

struct editor_wise {
	struct model *model;
	struct editor_config config;
	const struct model_shape *shape;
	struct model_backend *backend;
	struct model_run *run;
	uint64_t seed;
	uint8_t *mask;
	struct buf prefixes[EDITOR_WISE_PREFIXES];
	bool has_prefixes;
	struct buf *corpus; /* irrelevant texts */
	size_t corpus_count, corpus_cap;
	struct editor__wise_edits edits;
	struct editor__wise_group *groups;
	size_t group_count, group_cap;
	float *delta;       /* hidden × ffn, host: the committed one */
	float *work, *grad; /* hidden × ffn, backend memory */
	struct editor__batch batch;
	struct editor__wise_rows rows;
};

static inline size_t editor__wise_matrix_size(const struct editor_wise *w)
{
	return w->shape->hidden * w->shape->ffn;
}
static inline bool editor__wise_replays(const struct editor_wise *w)
{
	return w->config.wise.replay && w->group_count > 0;
}

/* wise_rows.c */
int editor__wise_prefixes(struct editor_wise *w, struct err *e) MUST_CHECK;
/* Packs the rows of an edit and computes what is frozen, unless they are there already. */
int editor__wise_rows_fill(struct editor_wise *w, size_t edit, struct err *e) MUST_CHECK;
/* inputs of the edits that lack them */
int editor__wise_inputs(struct editor_wise *w, struct editor__wise_edits *edits, size_t count,
			struct err *e) MUST_CHECK;
void editor__wise_rows_free(struct editor_wise *w);

/* wise_step.c: loss at w->work of the rows at hand and, if asked, w->grad. */
int editor__wise_step(struct editor_wise *w, size_t step, bool gradient, struct editor_wise_loss *loss,
		      struct err *e) MUST_CHECK;
/* w->work −= rate · mask ∘ w->grad, kept within ±clip. */
void editor__wise_apply(struct editor_wise *w);

#endif
