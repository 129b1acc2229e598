#include "editor/delta.h"

#include "base/delta_bytes.h"
#include "base/fault.h"
#include "base/zstd.h"
#include "model/quant.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ZSTD_LEVEL 3

static uint16_t bf16_of(float value)
{
	uint16_t bits = model_quant_to_bf16(value);
	return bits == 0x8000 ? 0 : bits; /* one zero, so that equal deltas have equal bytes */
}

void editor_delta_round(float *delta, size_t element_count)
{
	for (size_t i = 0; i < element_count; i++)
		delta[i] = model_quant_from_bf16(bf16_of(delta[i]));
}

static int check_values(const float *delta, size_t hidden, size_t ffn, struct err *e)
{
	for (size_t i = 0; i < hidden * ffn; i++) {
		if (!(fabsf(delta[i]) <= DELTA_VALUE_MAX))
			return err_set(e, ERR_INVALID, "delta: entry (%zu, %zu) is %g: it may be within ±%g", i / ffn,
				       i % ffn, (double)delta[i], (double)DELTA_VALUE_MAX);
	}
	return 0;
}

static uint64_t count_nonzero(const float *delta, size_t n)
{
	uint64_t count = 0;
	for (size_t i = 0; i < n; i++)
		count += bf16_of(delta[i]) != 0;
	return count;
}

static void fill_payload(enum delta_encoding encoding, const float *delta, size_t n, uint64_t nonzero, uint8_t *payload)
{
	uint8_t *mask = payload;
	uint8_t *low = encoding == DELTA_DENSE ? payload : payload + (n + 7) / 8;
	uint8_t *high = low + (encoding == DELTA_DENSE ? n : (size_t)nonzero);
	size_t at = 0;
	if (encoding == DELTA_MASKED)
		memset(mask, 0, (n + 7) / 8);
	for (size_t i = 0; i < n; i++) {
		uint16_t half = bf16_of(delta[i]);
		if (encoding == DELTA_MASKED) {
			if (half == 0)
				continue;
			mask[i / 8] = (uint8_t)(mask[i / 8] | 1u << i % 8);
		}
		low[at] = (uint8_t)half;
		high[at++] = (uint8_t)(half >> 8);
	}
}

int editor_delta_encode(const float *delta, size_t layer, size_t hidden, size_t ffn, struct buf *out, struct err *e)
{
	int rc = delta_shape_check(layer, hidden, ffn, e);
	if (rc == 0)
		rc = check_values(delta, hidden, ffn, e);
	if (rc != 0)
		return rc;
	size_t n = hidden * ffn;
	uint64_t nonzero = count_nonzero(delta, n);
	enum delta_encoding encoding = delta_payload_bytes(DELTA_MASKED, n, nonzero) <
						       delta_payload_bytes(DELTA_DENSE, n, nonzero)
					       ? DELTA_MASKED
					       : DELTA_DENSE;
	size_t len = delta_payload_bytes(encoding, n, nonzero);
	uint8_t *payload = fault_malloc(len);
	if (payload == NULL)
		return err_set(e, ERR_NOMEM, "delta: out of memory for %zu bytes", len);
	fill_payload(encoding, delta, n, nonzero, payload);
	size_t len_before = out->len;
	buf_append(out, DELTA_MAGIC, 4);
	buf_u16le(out, DELTA_FORMAT);
	buf_u16le(out, (uint16_t)encoding);
	buf_u32le(out, (uint32_t)layer);
	buf_u32le(out, (uint32_t)hidden);
	buf_u32le(out, (uint32_t)ffn);
	buf_u32le(out, 0);
	buf_u64le(out, nonzero);
	rc = zstd_compress(payload, len, ZSTD_LEVEL, out, e);
	free(payload);
	if (rc != 0) {
		out->len = len_before;
		err_wrap(e, "delta");
	}
	return rc;
}

static void expand(const struct delta_planes *planes, float *delta)
{
	for (size_t i = 0, at = 0; i < planes->entry_count; i++) {
		bool present = planes->mask == NULL || (planes->mask[i / 8] >> i % 8 & 1) != 0;
		delta[i] = present ? model_quant_from_bf16((uint16_t)(planes->low[at] | planes->high[at] << 8)) : 0.0f;
		at += present;
	}
}

int editor_delta_decode(const void *bytes, size_t len, size_t layer, size_t hidden, size_t ffn, float *delta,
			struct err *e)
{
	struct delta_planes planes;
	int rc = delta_planes_open(bytes, len, layer, hidden, ffn, &planes, e);
	if (rc != 0)
		return rc;
	expand(&planes, delta);
	delta_planes_fini(&planes);
	return check_values(delta, hidden, ffn, e);
}
