/* Manifests of versions, and indexes of merged memories. What decodes must encode again, to bytes that decode to the
 * same bytes. Limits: -max_len=65536 -malloc_limit_mb=16 -rss_limit_mb=1024 */
#include "tests/fuzz/fuzz.h"

#include "proto/codec.h"
#include "tests/lib/messages.h"

#include <string.h>

static int decode(struct arena *arena, const void *bytes, size_t len, struct buf *out)
{
	struct proto_manifest manifest;
	struct err e = ERR_INIT;
	const int rc = proto_manifest_decode(bytes, len, arena, &manifest, &e);
	if (rc == 0)
		fuzz_check(proto_manifest_encode(&manifest, out, &e) == 0,
			   "a manifest that was decoded cannot be encoded");
	return rc;
}

static int index_decode(struct arena *arena, const void *bytes, size_t len, struct buf *out)
{
	struct proto_merge_index index;
	struct err e = ERR_INIT;
	const int rc = proto_merge_index_decode(bytes, len, arena, &index, &e);
	if (rc == 0)
		fuzz_check(proto_merge_index_encode(&index, out, &e) == 0,
			   "an index that was decoded cannot be encoded");
	return rc;
}

static void two_forms_check(int (*decode_any)(struct arena *, const void *, size_t, struct buf *), const void *data,
			    size_t len)
{
	struct arena *arena = NULL;
	struct buf once = BUF_INIT, twice = BUF_INIT;
	fuzz_check(arena_new(1 << 16, 64 << 20, &arena) == 0, "out of memory");
	if (decode_any(arena, data, len, &once) == 0) {
		fuzz_check(decode_any(arena, once.data, once.len, &twice) == 0, "its own bytes do not decode");
		fuzz_check(once.len == twice.len && (once.len == 0 || memcmp(once.data, twice.data, once.len) == 0),
			   "what was decoded has two forms");
	}
	buf_free(&once);
	buf_free(&twice);
	arena_destroy(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	two_forms_check(decode, data, len);
	two_forms_check(index_decode, data, len);
	return 0;
}

void fuzz_seeds(void (*add)(const void *bytes, size_t len))
{
	struct rng rng;
	rng_init(&rng, 2);
	for (size_t memories = 0; memories < 6; memories++) {
		struct arena *arena = NULL;
		struct proto_manifest manifest;
		struct buf out = BUF_INIT;
		struct err e = ERR_INIT;
		fuzz_check(arena_new(1 << 16, 0, &arena) == 0, "out of memory");
		test_manifest_fill(&rng, arena, memories, &manifest);
		if (proto_manifest_encode(&manifest, &out, &e) == 0 && out.len <= 8192)
			add(out.data, out.len);
		buf_free(&out);
		arena_destroy(&arena);
	}
	static const uint64_t lost[] = { 1, 300, UINT64_C(1) << 50 };
	const struct proto_merge_index index = { lost, 3 };
	struct buf out = BUF_INIT;
	struct err e = ERR_INIT;
	fuzz_check(proto_merge_index_encode(&index, &out, &e) == 0, "an index cannot be encoded");
	add(out.data, out.len);
	buf_free(&out);
}
