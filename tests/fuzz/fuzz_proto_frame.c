/* Frames of every message type. The first byte: odd, the header's lengths are made to fit, so that changes of length
 * reach the body; what decodes must encode again.
 * Limits: -max_len=65536 -malloc_limit_mb=8 -rss_limit_mb=1024 */
#include "tests/fuzz/fuzz.h"

#include "proto/codec.h"
#include "tests/lib/messages.h"

#include <stdlib.h>
#include <string.h>

enum { BODY_LEN_AT = 8, BULK_LEN_AT = 12 };

static size_t bulk_len_of(const uint8_t *frame, size_t len)
{
	struct reader r;
	reader_init(&r, frame + BULK_LEN_AT, 4);
	const size_t said = reader_u32le(&r), left = len - PROTO_HEADER_BYTES;
	return said < left ? said : left;
}

static void put_u32(uint8_t *at, size_t v)
{
	for (int i = 0; i < 4; i++, v >>= 8)
		at[i] = (uint8_t)v;
}

static void decode(const uint8_t *frame, size_t len)
{
	struct msg_received *got = NULL;
	struct err e = ERR_INIT;
	const size_t bulk_len = len < PROTO_HEADER_BYTES ? 0 : bulk_len_of(frame, len);
	int type;
	uint64_t request_id, trace_id;
	(void)!proto_peek(frame, len, &type, &request_id, &trace_id);
	if (proto_decode(frame, len - bulk_len, frame + len - bulk_len, bulk_len, &got, &e) != 0)
		return;
	struct buf head = BUF_INIT;
	struct msg_bytes bulk;
	/* Unpacked forms of one body may be longer, and so over the cap that it came under. */
	const int rc = proto_encode(&got->msg, &head, &bulk, &e);
	fuzz_check(rc == 0 || rc == ERR_LIMIT, "a message that was decoded cannot be encoded");
	buf_free(&head);
	msg_free(&got);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len < 2)
		return 0;
	uint8_t *frame = malloc(len - 1);
	fuzz_check(frame != NULL, "out of memory");
	memcpy(frame, data + 1, len - 1);
	if (data[0] % 2 == 1 && len - 1 >= PROTO_HEADER_BYTES) {
		const size_t bulk_len = bulk_len_of(frame, len - 1);
		put_u32(frame + BODY_LEN_AT, len - 1 - PROTO_HEADER_BYTES - bulk_len);
		put_u32(frame + BULK_LEN_AT, bulk_len);
	}
	decode(frame, len - 1);
	free(frame);
	return 0;
}

void fuzz_seeds(void (*add)(const void *bytes, size_t len))
{
	struct rng rng;
	rng_init(&rng, 1);
	for (size_t i = 0; i < test_message_type_count; i++) {
		struct arena *arena = NULL;
		struct msg msg;
		struct msg_bytes bulk;
		struct buf head = BUF_INIT;
		struct err e = ERR_INIT;
		fuzz_check(arena_new(1 << 16, 0, &arena) == 0, "out of memory");
		test_message_fill(&rng, arena, test_message_types[i], &msg);
		if (proto_encode(&msg, &head, &bulk, &e) == 0 && bulk.len <= 4096) {
			buf_append(&head, bulk.bytes, bulk.len);
			fuzz_add(add, 1, head.data, head.len);
		}
		buf_free(&head);
		arena_destroy(&arena);
	}
}
