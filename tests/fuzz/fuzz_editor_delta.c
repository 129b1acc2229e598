/* Deltas of shards. The first byte: odd, the rest is a header and what its zstd frame holds, which is compressed here,
 * so that changes reach the values. What decodes is within bounds and encodes to a delta that decodes to the same.
 * Limits: -max_len=4096 -malloc_limit_mb=4 -rss_limit_mb=1024 */
#include "tests/fuzz/fuzz.h"

#include "base/zstd.h"
#include "editor/delta.h"

#include <math.h>
#include <string.h>

#define LAYER        2
#define HIDDEN       12
#define FFN          20
#define ENTRIES      (HIDDEN * FFN)
#define HEADER_BYTES 32

static void decode(const void *bytes, size_t len)
{
	static float delta[ENTRIES], again[ENTRIES];
	struct buf out = BUF_INIT;
	struct err e = ERR_INIT;
	if (editor_delta_decode(bytes, len, LAYER, HIDDEN, FFN, delta, &e) != 0)
		return;
	for (size_t i = 0; i < ENTRIES; i++)
		fuzz_check(fabsf(delta[i]) <= 100, "an entry out of bounds");
	fuzz_check(editor_delta_encode(delta, LAYER, HIDDEN, FFN, &out, &e) == 0, "a delta cannot be encoded");
	fuzz_check(editor_delta_decode(out.data, out.len, LAYER, HIDDEN, FFN, again, &e) == 0,
		   "a delta's own bytes do not decode");
	for (size_t i = 0; i < ENTRIES; i++)
		fuzz_check(again[i] == delta[i], "a delta changed on its way");
	buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct buf packed = BUF_INIT;
	if (len == 0)
		return 0;
	if (data[0] % 2 == 0) {
		decode(data + 1, len - 1);
		return 0;
	}
	const size_t head = len - 1 < HEADER_BYTES ? len - 1 : HEADER_BYTES;
	buf_append(&packed, data + 1, head);
	fuzz_check(zstd_compress(data + 1 + head, len - 1 - head, 1, &packed, NULL) == 0, "out of memory");
	decode(packed.data, packed.len);
	buf_free(&packed);
	return 0;
}

/* As it is, and with what its frame holds laid open. */
static void seed(void (*add)(const void *bytes, size_t len), const float *delta)
{
	struct buf out = BUF_INIT;
	struct err e = ERR_INIT;
	uint8_t plain[3 * ENTRIES];
	fuzz_check(editor_delta_encode(delta, LAYER, HIDDEN, FFN, &out, &e) == 0, "no seed");
	fuzz_add(add, 0, out.data, out.len);
	const size_t nonzero = out.data[24] + 256u * out.data[25];
	const size_t plain_len = out.data[6] == 0 ? 2 * ENTRIES : (ENTRIES + 7) / 8 + 2 * nonzero;
	fuzz_check(zstd_decompress(out.data + HEADER_BYTES, out.len - HEADER_BYTES, plain, plain_len, &e) == 0,
		   "no seed");
	out.len = HEADER_BYTES;
	buf_append(&out, plain, plain_len);
	fuzz_add(add, 1, out.data, out.len);
	buf_free(&out);
}

void fuzz_seeds(void (*add)(const void *bytes, size_t len))
{
	float few[ENTRIES] = { 0 }, all[ENTRIES];
	for (size_t i = 0; i < ENTRIES; i++) {
		all[i] = (float)i / 7 - 3;
		few[i] = i % 9 == 0 ? all[i] : 0;
	}
	editor_delta_round(few, ENTRIES);
	editor_delta_round(all, ENTRIES);
	seed(add, few);
	seed(add, all);
}
