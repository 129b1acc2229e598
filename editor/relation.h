/* relation.h: fits the relation head of a calibration (route.h): a linear map under which a prompt is near its rephrase
 * and far from other questions on the same subject and from prompts of other forms. InfoNCE (van den Oord et al. 2018,
 * eq. 4) over mini-batches, Adam. Inside editor/ only. Same triples, seed, backend and thread count: same bytes. */
#ifndef AMEND_EDITOR_RELATION_H
#define AMEND_EDITOR_RELATION_H

#include "editor/route.h"

struct editor__triple {                         /* raw relation keys, hidden floats each */
	const float *prompt, *rephrase, *other; /* other NULL: none */
	uint64_t form; /* prompts of one form ask for the same relation: they are no negatives of one another */
};

/* Sets relation.mean, deviation and, where relation.dims > 0, head. ERR_INVALID under two triples. */
int editor__relation_fit(struct editor_calibration *c, struct model_backend *backend,
			 const struct editor__triple *triples, size_t triple_count, size_t step_count, uint64_t seed,
			 struct err *e) MUST_CHECK;

#endif
