/* delta.h: a side memory's bytes: header {"AMDL", format, layer, hidden, ffn, element encoding}, bf16 values (or a bit
 * mask and the non-zero bf16 values when that is smaller), zstd (base/delta_bytes.h). Deterministic: same delta, same
 * bytes. Pure. */
#ifndef AMEND_EDITOR_DELTA_H
#define AMEND_EDITOR_DELTA_H

#include "base/buf.h"

/* Rounds to bf16 in place: what is published is what was tested. */
void editor_delta_round(float *delta, size_t element_count);
int editor_delta_encode(const float *delta, size_t layer, size_t hidden, size_t ffn, struct buf *out,
			struct err *e) MUST_CHECK;
/* ERR_CORRUPT: damaged; ERR_MISMATCH: another layer or shape than expected; ERR_INVALID: NaN, infinity or |value| > 100
 * at which entry. */
int editor_delta_decode(const void *bytes, size_t len, size_t layer, size_t hidden, size_t ffn, float *delta,
			struct err *e) MUST_CHECK;

#endif
