#include "editor/delta.h"

#include "base/fault.h"
#include "base/zstd.h"
#include "model/quant.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Bytes: "AMDL", u16 format, u16 encoding, u32 layer, u32 hidden, u32 ffn, u32 reserved (0), u64 non-zero entries, then
 * one zstd frame. The frame holds, dense: hidden·ffn low bytes, then as many high bytes of the bf16 values (planes
 * compress better than pairs); masked: a bit per entry, entry 0 in the lowest bit of the first byte, then the planes of
 * the non-zero values. */
#define FORMAT       1
#define HEADER_BYTES 32
#define ENTRIES_MAX  (UINT64_C(1) << 31) /* 46,341 squared: past the widest layer of any model that this reads */
#define VALUE_MAX    100.0f
#define ZSTD_LEVEL   3

enum encoding { DENSE, MASKED };

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
		if (!(fabsf(delta[i]) <= VALUE_MAX))
			return err_set(e, ERR_INVALID, "delta: entry (%zu, %zu) is %g: it may be within ±%g", i / ffn,
				       i % ffn, (double)delta[i], (double)VALUE_MAX);
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

static size_t payload_bytes(enum encoding encoding, size_t n, uint64_t nonzero)
{
	return encoding == DENSE ? 2 * n : (n + 7) / 8 + 2 * (size_t)nonzero;
}

static void fill_payload(enum encoding encoding, const float *delta, size_t n, uint64_t nonzero, uint8_t *payload)
{
	uint8_t *mask = payload;
	uint8_t *low = encoding == DENSE ? payload : payload + (n + 7) / 8;
	uint8_t *high = low + (encoding == DENSE ? n : (size_t)nonzero);
	size_t at = 0;
	if (encoding == MASKED)
		memset(mask, 0, (n + 7) / 8);
	for (size_t i = 0; i < n; i++) {
		uint16_t half = bf16_of(delta[i]);
		if (encoding == MASKED) {
			if (half == 0)
				continue;
			mask[i / 8] = (uint8_t)(mask[i / 8] | 1u << i % 8);
		}
		low[at] = (uint8_t)half;
		high[at++] = (uint8_t)(half >> 8);
	}
}

static int check_shape(size_t layer, size_t hidden, size_t ffn, struct err *e)
{
	if (hidden == 0 || ffn == 0 || layer > UINT32_MAX || hidden > UINT32_MAX || ffn > UINT32_MAX ||
	    (uint64_t)hidden * ffn > ENTRIES_MAX)
		return err_set(e, ERR_INVALID, "delta: layer %zu of %zu × %zu is no shape that fits this format", layer,
			       hidden, ffn);
	return 0;
}

int editor_delta_encode(const float *delta, size_t layer, size_t hidden, size_t ffn, struct buf *out, struct err *e)
{
	int rc = check_shape(layer, hidden, ffn, e);
	if (rc == 0)
		rc = check_values(delta, hidden, ffn, e);
	if (rc != 0)
		return rc;
	size_t n = hidden * ffn;
	uint64_t nonzero = count_nonzero(delta, n);
	enum encoding encoding = payload_bytes(MASKED, n, nonzero) < payload_bytes(DENSE, n, nonzero) ? MASKED : DENSE;
	size_t len = payload_bytes(encoding, n, nonzero);
	uint8_t *payload = fault_malloc(len);
	if (payload == NULL)
		return err_set(e, ERR_NOMEM, "delta: out of memory for %zu bytes", len);
	fill_payload(encoding, delta, n, nonzero, payload);
	size_t len_before = out->len;
	buf_append(out, "AMDL", 4);
	buf_u16le(out, FORMAT);
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

struct header {
	enum encoding encoding;
	uint64_t nonzero;
};

static int read_header(struct reader *r, size_t layer, size_t hidden, size_t ffn, struct header *header, struct err *e)
{
	const void *magic = reader_bytes(r, 4);
	unsigned format = reader_u16le(r), encoding = reader_u16le(r);
	size_t its_layer = reader_u32le(r), its_hidden = reader_u32le(r), its_ffn = reader_u32le(r);
	uint32_t reserved = reader_u32le(r);
	header->nonzero = reader_u64le(r);
	if (r->overrun || memcmp(magic, "AMDL", 4) != 0)
		return err_set(e, ERR_CORRUPT, "delta: these %zu bytes are no delta", r->len);
	if (format != FORMAT || encoding > MASKED || reserved != 0)
		return err_set(e, ERR_CORRUPT, "delta: format %u, encoding %u is unknown here: update this program",
			       format, encoding);
	header->encoding = (enum encoding)encoding;
	if (its_layer != layer || its_hidden != hidden || its_ffn != ffn)
		return err_set(e, ERR_MISMATCH,
			       "delta: made for layer %zu of %zu × %zu, this model takes layer %zu of %zu × %zu",
			       its_layer, its_hidden, its_ffn, layer, hidden, ffn);
	if (header->nonzero > (uint64_t)hidden * ffn)
		return err_set(e, ERR_CORRUPT, "delta: more non-zero entries than entries");
	return 0;
}

static int expand(enum encoding encoding, const uint8_t *payload, size_t n, uint64_t nonzero, float *delta)
{
	const uint8_t *mask = payload;
	const uint8_t *low = encoding == DENSE ? payload : payload + (n + 7) / 8;
	size_t plane = encoding == DENSE ? n : (size_t)nonzero, at = 0;
	for (size_t i = 0; i < n; i++) {
		bool present = encoding == DENSE || (mask[i / 8] >> i % 8 & 1) != 0;
		if (present && at == plane)
			return ERR_CORRUPT;
		delta[i] = present ? model_quant_from_bf16((uint16_t)(low[at] | low[plane + at] << 8)) : 0.0f;
		at += present;
	}
	return at == plane ? 0 : ERR_CORRUPT;
}

int editor_delta_decode(const void *bytes, size_t len, size_t layer, size_t hidden, size_t ffn, float *delta,
			struct err *e)
{
	struct reader r;
	struct header header = { DENSE, 0 };
	reader_init(&r, bytes, len);
	int rc = check_shape(layer, hidden, ffn, e);
	if (rc == 0)
		rc = read_header(&r, layer, hidden, ffn, &header, e);
	if (rc != 0)
		return rc;
	size_t n = hidden * ffn, payload_len = payload_bytes(header.encoding, n, header.nonzero);
	uint8_t *payload = fault_malloc(payload_len);
	if (payload == NULL)
		return err_set(e, ERR_NOMEM, "delta: out of memory for %zu bytes", payload_len);
	rc = zstd_decompress(r.data + HEADER_BYTES, len - HEADER_BYTES, payload, payload_len, e);
	if (rc != 0)
		err_wrap(e, "delta");
	else if (expand(header.encoding, payload, n, header.nonzero, delta) != 0)
		rc = err_set(e, ERR_CORRUPT, "delta: the mask and the values disagree");
	free(payload);
	return rc == 0 ? check_values(delta, hidden, ffn, e) : rc;
}
