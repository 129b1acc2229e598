/* packed.h: many texts through the model in packed batches: prompt keys, and teacher-forced predictions. Inside editor/
 * only. Token lists are borrowed. One thread a packer. */
#ifndef AMEND_EDITOR_PACKED_H
#define AMEND_EDITOR_PACKED_H

#include "editor/config.h"

struct editor__tokens {
	int32_t *ids; /* free() */
	size_t id_count;
};

/* Special tokens off. ERR_INVALID when nothing is left or it does not fit the model's context. */
int editor__tokens_of(const struct model *model, const char *text, size_t len, struct editor__tokens *out,
		      struct err *e) MUST_CHECK;
/* text + " " + target without the spaces around it, as one text (EasyEdit's convention): what training sees. */
int editor__tokens_of_pair(const struct model *model, const char *text, size_t len, const char *target,
			   size_t target_len, struct editor__tokens *out, struct err *e) MUST_CHECK;
void editor__tokens_free(struct editor__tokens *tokens, size_t count); /* their ids, not the array */

struct editor__packer;
/* Batches of about `rows` tokens; one longer text is a batch of its own. */
int editor__packer_new(struct model *model, size_t rows, struct editor__packer **out, struct err *e) MUST_CHECK;
void editor__packer_destroy(struct editor__packer **packer);

/* raw (prompt_count × hidden): the raw keys (route.h) at the input of `layer`. */
int editor__packer_keys(struct editor__packer *packer, size_t layer, const struct editor__tokens *prompts,
			size_t prompt_count, float *raw, const struct editor_watch *watch, const char *phase,
			struct err *e) MUST_CHECK;

/* What the model predicts at rows first−1 … id_count−2 of a text, for the labels ids[first …]. */
struct editor__forced {
	struct editor__tokens text;
	size_t first;                  /* ≥ 1: number of prompt tokens; no prediction when first ≥ id_count */
	const struct model_side *side; /* NULL: main memory */
	int32_t *argmax;               /* room for id_count − first */
};
int editor__packer_forced(struct editor__packer *packer, const struct editor__forced *items, size_t item_count,
			  const struct editor_watch *watch, const char *phase, struct err *e) MUST_CHECK;

#endif
