/* packed.h: many texts through the model in packed batches: prompt keys, and teacher-forced predictions. Inside editor/
 * only. Token lists are borrowed. One thread a packer. */
#ifndef AMEND_EDITOR_PACKED_H
#define AMEND_EDITOR_PACKED_H

#include "editor/route.h"
#include "editor/tokens.h"

struct editor__packer;
/* Batches of about `rows` tokens; one longer text is a batch of its own. */
int editor__packer_new(struct model *model, size_t rows, struct editor__packer **out, struct err *e) MUST_CHECK;
void editor__packer_destroy(struct editor__packer **packer);
struct model_backend *editor__packer_backend(struct editor__packer *packer); /* valid until the next call */

/* Calls `each` for every prompt with its states at those layers, in order; stops at the first code that is not 0
 * (ERR_NOMEM) and returns it. */
int editor__packer_prompts(struct editor__packer *packer, struct editor_key_layers layers,
			   const struct editor__tokens *prompts, size_t prompt_count,
			   int (*each)(void *context, size_t at, const struct editor_prompt *prompt), void *context,
			   const struct editor_watch *watch, const char *phase, struct err *e) MUST_CHECK;
struct editor__states { /* what a route is decided from, of all rows; those that the layers do not ask for are not
			   touched */
	float *prompt, *relation; /* rows × hidden, host memory */
	float *inputs;            /* rows × ffn: A(x) */
};
/* Runs layers [0, top of `layers`) over x (`floats` = rows × hidden), in place, without side memories. kv: as
 * model_layers. */
int editor__key_states(struct model_run *run, float *x, struct model_kv *kv, const struct model_segment *segments,
		       size_t segment_count, size_t floats, struct editor_key_layers layers,
		       const struct editor__states *out, struct err *e) MUST_CHECK;

/* What the model predicts at rows first−1 … id_count−2 of a text, for the labels ids[first …]. */
struct editor__forced {
	struct editor__tokens text;
	size_t first;                       /* ≥ 1: number of prompt tokens; no prediction when first ≥ id_count */
	const struct model_side *side;      /* NULL: main memory */
	const struct editor_anchor *anchor; /* NULL: none; else its rows are read as far as the text follows it */
	int32_t *argmax;                    /* room for id_count − first */
	float *loss;                        /* −log p of the labels, as many; NULL: not wanted */
};
int editor__packer_forced(struct editor__packer *packer, const struct editor__forced *items, size_t item_count,
			  const struct editor_watch *watch, const char *phase, struct err *e) MUST_CHECK;

#endif
