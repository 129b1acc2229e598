/* delta_bytes.c: see delta_bytes.h. */
#include "base/delta_bytes.h"

#include "base/fault.h"
#include "base/zstd.h"

#include <stdlib.h>
#include <string.h>

#define HEADER_BYTES 32
#define BF16_MAX     0x42c8 /* 100; NaN and infinity have larger exponents */

size_t delta_payload_bytes(enum delta_encoding encoding, size_t n, uint64_t nonzero)
{
	return encoding == DELTA_DENSE ? 2 * n : (n + 7) / 8 + 2 * (size_t)nonzero;
}

int delta_shape_check(size_t layer, size_t hidden, size_t ffn, struct err *e)
{
	if (hidden == 0 || ffn == 0 || layer > UINT32_MAX || hidden > UINT32_MAX || ffn > UINT32_MAX ||
	    (uint64_t)hidden * ffn > DELTA_ENTRIES_MAX)
		return err_set(e, ERR_INVALID, "delta: layer %zu of %zu × %zu is no shape that fits this format", layer,
			       hidden, ffn);
	return 0;
}

struct header {
	enum delta_encoding encoding;
	uint64_t nonzero;
};

static int read_header(struct reader *r, size_t layer, size_t hidden, size_t ffn, struct header *header, struct err *e)
{
	const void *magic = reader_bytes(r, 4);
	unsigned format = reader_u16le(r), encoding = reader_u16le(r);
	size_t its_layer = reader_u32le(r), its_hidden = reader_u32le(r), its_ffn = reader_u32le(r);
	uint32_t reserved = reader_u32le(r);
	header->nonzero = reader_u64le(r);
	if (r->overrun || memcmp(magic, DELTA_MAGIC, 4) != 0)
		return err_set(e, ERR_CORRUPT, "delta: these %zu bytes are no delta", r->len);
	if (format != DELTA_FORMAT || encoding > DELTA_MASKED || reserved != 0)
		return err_set(e, ERR_CORRUPT, "delta: format %u, encoding %u is unknown here: update this program",
			       format, encoding);
	header->encoding = (enum delta_encoding)encoding;
	if (its_layer != layer || its_hidden != hidden || its_ffn != ffn)
		return err_set(e, ERR_MISMATCH,
			       "delta: made for layer %zu of %zu × %zu, this model takes layer %zu of %zu × %zu",
			       its_layer, its_hidden, its_ffn, layer, hidden, ffn);
	if (header->nonzero > (uint64_t)hidden * ffn)
		return err_set(e, ERR_CORRUPT, "delta: more non-zero entries than entries");
	return 0;
}

static size_t mask_count(const uint8_t *mask, size_t n)
{
	size_t count = 0;
	for (size_t i = 0; i < n; i++)
		count += mask[i / 8] >> i % 8 & 1;
	return count;
}

int delta_planes_open(const void *bytes, size_t len, size_t layer, size_t hidden, size_t ffn, struct delta_planes *out,
		      struct err *e)
{
	struct reader r;
	struct header header = { DELTA_DENSE, 0 };
	*out = (struct delta_planes){ .payload = NULL };
	reader_init(&r, bytes, len);
	int rc = delta_shape_check(layer, hidden, ffn, e);
	if (rc == 0)
		rc = read_header(&r, layer, hidden, ffn, &header, e);
	if (rc != 0)
		return rc;
	const bool dense = header.encoding == DELTA_DENSE;
	const size_t n = hidden * ffn, payload_len = delta_payload_bytes(header.encoding, n, header.nonzero);
	out->payload = fault_malloc(payload_len);
	if (out->payload == NULL)
		return err_set(e, ERR_NOMEM, "delta: out of memory for %zu bytes", payload_len);
	rc = zstd_decompress(r.data + HEADER_BYTES, len - HEADER_BYTES, out->payload, payload_len, e);
	if (rc != 0) {
		delta_planes_fini(out);
		err_wrap(e, "delta");
		return rc;
	}
	out->entry_count = n;
	out->plane_count = dense ? n : (size_t)header.nonzero;
	out->mask = dense ? NULL : out->payload;
	out->low = dense ? out->payload : out->payload + (n + 7) / 8;
	out->high = out->low + out->plane_count;
	if (out->mask != NULL && mask_count(out->mask, n) != out->plane_count) {
		delta_planes_fini(out);
		return err_set(e, ERR_CORRUPT, "delta: the mask and the values disagree");
	}
	return 0;
}

void delta_planes_fini(struct delta_planes *planes)
{
	free(planes->payload);
	*planes = (struct delta_planes){ .payload = NULL };
}

static size_t entry_of(const struct delta_planes *planes, size_t at)
{
	if (planes->mask == NULL)
		return at;
	for (size_t i = 0;; i++) {
		if ((planes->mask[i / 8] >> i % 8 & 1) != 0 && at-- == 0)
			return i;
	}
}

static const char *kind_of(unsigned bits)
{
	if ((bits & 0x7f80) != 0x7f80)
		return "out of range";
	return (bits & 0x7f) != 0 ? "NaN" : "infinite";
}

int delta_bytes_check(const void *bytes, size_t len, size_t layer, size_t hidden, size_t ffn, struct err *e)
{
	struct delta_planes planes;
	int rc = delta_planes_open(bytes, len, layer, hidden, ffn, &planes, e);
	for (size_t at = 0; rc == 0 && at < planes.plane_count; at++) {
		unsigned bits = (unsigned)planes.low[at] | (unsigned)planes.high[at] << 8;
		if ((bits & 0x7fff) <= BF16_MAX)
			continue;
		size_t i = entry_of(&planes, at);
		rc = err_set(e, ERR_INVALID, "delta: entry (%zu, %zu) is %s: it may be within ±%g", i / ffn, i % ffn,
			     kind_of(bits), (double)DELTA_VALUE_MAX);
	}
	delta_planes_fini(&planes);
	return rc;
}
