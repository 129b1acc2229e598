/* merge_internal.h: what merge.c (fixed point, rounds) and merge_operators.c share. */
#ifndef AMEND_EDITOR_MERGE_INTERNAL_H
#define AMEND_EDITOR_MERGE_INTERNAL_H

#include "editor/fixed.h"

/* Memory for sums from the reduce, zeros: reduce->alloc, or plain memory where it has none. Every rank calls both, in
 * the same order; free takes what alloc has not given, too. */
int editor__reduce_alloc(struct editor_reduce *reduce, size_t count, int64_t **out, struct err *e) MUST_CHECK;
void editor__reduce_free(struct editor_reduce *reduce, int64_t **values);
/* Every rank takes part in this even when its own work failed (rc, which it gets back): otherwise the others would wait
 * for it for ever. `also`: at most three numbers to sum on the way. */
int editor__merge_agree(struct editor_reduce *reduce, int rc, int64_t *also, size_t also_count,
			struct err *e) MUST_CHECK;

#endif
