/* whiten.h: statistics of keys: mean, deviation, and a whitening of the ridge-regularised covariance. Inside editor/
 * only. Pure. */
#ifndef AMEND_EDITOR_WHITEN_H
#define AMEND_EDITOR_WHITEN_H

#include "editor/route.h"

#define EDITOR__CALIBRATION_FORMAT 3u /* of the encoded bytes */
#define EDITOR__CALIBRATION_METHOD 4u /* of the fitting: what an earlier one made is made again */

/* relation_dims 0: without a relation head. */
int editor__calibration_new(size_t hidden, size_t relation_dims, struct editor_calibration **out,
			    struct err *e) MUST_CHECK;
/* Sets mean, deviation and whiten of `c` from the raw keys (hidden floats each) whose `use` is not 0. ERR_INVALID under
 * two of them. */
int editor__whiten_fit(struct editor_calibration *c, const float *raw, const uint8_t *use, size_t key_count,
		       float ridge, struct err *e) MUST_CHECK;

#endif
