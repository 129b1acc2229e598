/* fixed.h: sums in fixed point (merge.h) by vectors: what one rank adds up, and what ranks that see one another's
 * memory do. By kernels for AVX-512, AVX2 or plain C, chosen at run time; all give the same bits. Pure. */
#ifndef AMEND_EDITOR_FIXED_H
#define AMEND_EDITOR_FIXED_H

#include "editor/merge.h"

struct editor__fixed_kernel {
	const char *name; /* "avx512", "avx2", "portable" */
	/* fixed[i] += round(values[i] · scale) of EDITOR__FIXED_BLOCK; false, and nothing is added, where one is not
	 * finite or too large for this kernel, or a sum does not fit. */
	bool (*add)(int64_t *fixed, const float *values);
	/* sums[i] += values[i], wrapping. What is returned is at least every magnitude less one, and under twice the
	 * largest. */
	uint64_t (*gather)(int64_t *sums, const int64_t *values, size_t count);
};
#define EDITOR__FIXED_BLOCK 64u

/* By name, or the best that the processor has when NULL. NULL: it has none of that name. */
const struct editor__fixed_kernel *editor__fixed_kernel_of(const char *name);

/* editor_fixed_add by this kernel. */
int editor__fixed_add(const struct editor__fixed_kernel *kernel, int64_t *fixed, const float *values, size_t count,
		      struct err *e) MUST_CHECK;
/* *fixed += round(value · scale); ERR_LIMIT as editor_fixed_add, naming entry `index`. */
int editor__fixed_add_one(int64_t *fixed, double value, size_t index, struct err *e) MUST_CHECK;

/* editor_fixed_gather by this kernel. */
uint64_t editor__fixed_gather(const struct editor__fixed_kernel *kernel, int64_t *const *arrays, size_t count,
			      size_t from, size_t to, uint64_t limit);

/* ---- For worker/, too */

/* The largest magnitude, 0 of none. */
uint64_t editor_fixed_largest(const int64_t *values, size_t count);
/* Items [from, to) of each of `count` arrays become their sum over all arrays. 0, or the largest magnitude where it is
 * over `limit`: then these items have no meaning. No sum wraps where limit · count fits 63 bits. Any thread; several
 * may be at items of their own. */
uint64_t editor_fixed_gather(int64_t *const *arrays, size_t count, size_t from, size_t to, uint64_t limit);

#endif
