/* quantise.h: rows of floats in a file's element types, for tests: a scale for every block of 32 from its largest
 * value (Q8_0) or its range (Q4_1), both rounded to half precision; BF16 by rounding. */
#ifndef AMEND_TESTS_QUANTISE_H
#define AMEND_TESTS_QUANTISE_H

#include "model/gguf.h"

/* `count` floats, whole blocks, in `type`: MODEL_F32, MODEL_BF16, MODEL_Q8_0 or MODEL_Q4_1. Returns the bytes written.
 */
size_t quantise(enum model_type type, const float *values, size_t count, uint8_t *out);
/* What it writes. */
size_t quantise_bytes(enum model_type type, size_t count);

#endif
