/* calibration_cache.h: calibrations in a folder, as files that end with their SHA-256: one for each model, corpus,
 * format and settings that shape it. The seed is none of them: it only begins the fit of the relation head, and a
 * worker is told its own after it has calibrated. Files; no threads' state. */
#ifndef AMEND_EDITOR_CALIBRATION_CACHE_H
#define AMEND_EDITOR_CALIBRATION_CACHE_H

#include "editor/route.h"

/* The bytes of editor_calibration_encode, in `out`, which is empty after a failure. ERR_NOT_FOUND: none is there;
 * ERR_CORRUPT: it is damaged: make it again. */
int editor_calibration_cache_load(const char *folder, const struct hash *base_model, const struct hash *corpus,
				  const struct editor_config *config, struct buf *out, struct err *e) MUST_CHECK;
/* Makes the folder when it is not there. */
int editor_calibration_cache_save(const char *folder, const struct hash *base_model, const struct hash *corpus,
				  const struct editor_config *config, const struct buf *bytes,
				  struct err *e) MUST_CHECK;

#endif
