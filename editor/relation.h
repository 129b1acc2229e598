/* relation.h: fits the relation head of a calibration (route.h): a linear map under which a prompt is near its rephrase
 * and far from other questions on the same subject and from questions of other forms. InfoNCE (van den Oord et al.
 * 2018, eq. 4) over mini-batches, Adam. Inside editor/ only. Same triples, seed, backend and thread count: same bytes.
 */
#ifndef AMEND_EDITOR_RELATION_H
#define AMEND_EDITOR_RELATION_H

#include "editor/route.h"

struct editor__triple {                         /* raw relation keys, hidden floats each */
	const float *prompt, *rephrase, *other; /* other NULL: none */
	bool other_is_near;                     /* of kind `near`: fitted on, with no say in the threshold */
	uint64_t form; /* questions of one form ask for the same relation: they are no negatives of one another */
	uint64_t rephrase_form, other_form, subject; /* as numbers; other_form of those that have one */
	float rephrase_words, other_words;           /* share of the prompt's words that they have (words.h) */
};

/* Sets relation.mean, deviation and, where relation.dims > 0, head (rounded to short rows, whiten.h). ERR_INVALID under
 * two triples. */
int editor__relation_fit(struct editor_calibration *c, struct model_backend *backend,
			 const struct editor__triple *triples, size_t triple_count, size_t step_count, uint64_t seed,
			 struct err *e) MUST_CHECK;

/* What a head does on groups that it did not see. Groups are dealt into folds by the form of their prompt; the head for
 * a fold is fitted on the groups of the others that share neither a subject nor the form of any of their questions
 * with it. Where that leaves too few, forms may be shared (forms_apart is false), and where there is one form only,
 * groups take turns. Scores are relation scores (EDITOR_RELATION_WORDS). The threshold is the one that lets
 * `false_share` of the other questions through, or more where it would keep fewer than EDITOR_RELATION_KEPT of
 * EDITOR_RELATION_KEPT_MIN or more rephrases; those of kind `near` count only where there are no others, and their
 * groups are then in no fold: every head is fitted on them. */
int editor__relation_test(size_t hidden, const struct editor_config *config, struct model_backend *backend,
			  const struct editor__triple *triples, size_t triple_count, struct editor_relation_report *out,
			  float *threshold, struct err *e) MUST_CHECK;

#endif
