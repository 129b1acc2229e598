/* merge_internal.h: what merge.c (fixed point, rounds) and merge_operators.c share. */
#ifndef AMEND_EDITOR_MERGE_INTERNAL_H
#define AMEND_EDITOR_MERGE_INTERNAL_H

#include "editor/merge.h"

/* *fixed += round(value · scale); ERR_LIMIT as editor_fixed_add, naming entry `index`. */
int editor__fixed_add_one(int64_t *fixed, double value, size_t index, struct err *e) MUST_CHECK;
/* Every rank takes part in this even when its own work failed (rc, which it gets back): otherwise the others would wait
 * for it for ever. `also`: at most three numbers to sum on the way. */
int editor__merge_agree(struct editor_reduce *reduce, int rc, int64_t *also, size_t also_count,
			struct err *e) MUST_CHECK;

#endif
