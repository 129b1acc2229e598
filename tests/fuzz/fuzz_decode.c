/* libFuzzer target: the frame decoder and the manifest reader. The first byte picks which; what decodes must encode
 * again. make fuzz && build/fuzz/fuzz_decode -max_len=65536 -max_total_time=60 */
#include "proto/codec.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void fuzz_message(const uint8_t *data, size_t len)
{
	struct msg_received *got = NULL;
	struct err e = ERR_INIT;
	if (proto_decode(data, len, NULL, 0, &got, &e) != 0)
		return;
	struct buf head = BUF_INIT;
	struct msg_bytes bulk;
	/* Unpacked forms of one body may be shorter or longer, but never over the cap that it came under by more than
	 * its own varints. */
	int rc = proto_encode(&got->msg, &head, &bulk, &e);
	if (rc != 0 && rc != ERR_LIMIT)
		abort();
	buf_free(&head);
	msg_free(&got);
}

static void fuzz_manifest(const uint8_t *data, size_t len)
{
	struct arena *arena = NULL;
	struct proto_manifest manifest;
	struct err e = ERR_INIT;
	if (arena_new(1 << 16, 64 << 20, &arena) != 0)
		return;
	if (proto_manifest_decode(data, len, arena, &manifest, &e) == 0) {
		struct buf out = BUF_INIT;
		if (proto_manifest_encode(&manifest, &out, &e) != 0)
			abort();
		buf_free(&out);
	}
	arena_destroy(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len == 0)
		return 0;
	if (data[0] % 2 == 0)
		fuzz_message(data + 1, len - 1);
	else
		fuzz_manifest(data + 1, len - 1);
	return 0;
}
