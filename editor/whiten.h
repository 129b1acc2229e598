/* whiten.h: statistics of keys: mean, deviation, and a whitening of the ridge-regularised covariance. Inside editor/
 * only. Pure. */
#ifndef AMEND_EDITOR_WHITEN_H
#define AMEND_EDITOR_WHITEN_H

#include "editor/route.h"

#define EDITOR__CALIBRATION_FORMAT 4u  /* of the encoded bytes */
#define EDITOR__CALIBRATION_METHOD 11u /* of the fitting: what an earlier one made is made again */

/* dims: of prompt keys, at most `hidden`. relation_dims 0: without a relation head. */
int editor__calibration_new(size_t hidden, size_t dims, size_t relation_dims, struct editor_calibration **out,
			    struct err *e) MUST_CHECK;
/* Each number to the nearest that 16 bits hold beside a power of two for its row: by at most 2^-15 of the row's
 * largest. */
void editor__shorts_round(float *rows, size_t row_count, size_t width);
/* Keeps the matrices in 16 bits a number as well, where that loses nothing and the processor reads them: keys are the
 * same, sooner. Once, when all is set. ERR_NOMEM. */
int editor__calibration_shorten(struct editor_calibration *c, struct err *e) MUST_CHECK;
void editor__short_rows_destroy(struct editor_short_rows **rows);
/* Sets mean, deviation and whiten (rounded to short rows) of `c` from the raw keys (hidden floats each) whose `use` is
 * not 0. ERR_INVALID under two of them. */
int editor__whiten_fit(struct editor_calibration *c, const float *raw, const uint8_t *use, size_t key_count,
		       float ridge, struct err *e) MUST_CHECK;

#endif
