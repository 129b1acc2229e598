#include "tests/lib/messages.h"
#include "tests/lib/test.h"

#include <malloc.h>
#include <math.h>

static struct arena *arena_make(void)
{
	struct arena *arena = NULL;
	assert_int_equal(arena_new(1 << 20, 0, &arena), 0);
	return arena;
}

static void assert_same(const struct msg *a, const struct msg *b)
{
	struct buf x = BUF_INIT, y = BUF_INIT;
	test_message_dump(a, &x);
	test_message_dump(b, &y);
	assert_same_bytes(&x, &y);
	buf_free(&x);
	buf_free(&y);
}

static void every_type_comes_back(void **state)
{
	(void)state;
	struct rng rng;
	struct err e = ERR_INIT;
	struct buf head = BUF_INIT;
	struct arena *arena = arena_make();
	rng_init(&rng, 1);
	for (int round = 0; round < 60; round++)
		for (size_t i = 0; i < test_message_type_count; i++) {
			struct msg msg;
			struct msg_bytes bulk;
			struct msg_received *back = NULL;
			test_message_fill(&rng, arena, test_message_types[i], &msg);
			assert_ok(&e, proto_encode(&msg, &head, &bulk, &e));
			assert_ok(&e, proto_decode(head.data, head.len, bulk.bytes, bulk.len, &back, &e));
			assert_same(&msg, &back->msg);
			msg_free(&back);
			assert_null(back);
			arena_reset(arena, 0);
		}
	buf_free(&head);
	arena_destroy(&arena);
}

static void every_type_has_a_name_and_a_cap(void **state)
{
	(void)state;
	for (size_t i = 0; i < test_message_type_count; i++) {
		assert_string_not_equal(msg_type_name(test_message_types[i]), "?");
		assert_in_range(proto_body_cap(test_message_types[i]), 1, MSG_BODY_BYTES_MAX);
	}
	assert_string_equal(msg_type_name(MSG_SHARD_COMMIT), "ShardCommit");
	assert_string_equal(msg_type_name(999), "?");
	assert_int_equal(proto_body_cap(999), 0);
}

static void texts_end_in_nul(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	struct buf head = BUF_INIT;
	struct msg_bytes bulk;
	struct msg_received *back = NULL;
	struct msg msg = { .type = MSG_GET_MANIFEST, .u.get_manifest = { 0, { "latestXX", 6 } } };
	assert_ok(&e, proto_encode(&msg, &head, &bulk, &e));
	assert_ok(&e, proto_decode(head.data, head.len, NULL, 0, &back, &e));
	assert_string_equal(back->msg.u.get_manifest.alias.text, "latest");
	msg_free(&back);
	msg.u.get_manifest.alias = (struct msg_text){ NULL, 0 };
	assert_ok(&e, proto_encode(&msg, &head, &bulk, &e));
	assert_ok(&e, proto_decode(head.data, head.len, NULL, 0, &back, &e));
	assert_string_equal(back->msg.u.get_manifest.alias.text, "");
	msg_free(&back);
	buf_free(&head);
}

static int encode_code(const struct msg *msg)
{
	struct buf head = BUF_INIT;
	struct msg_bytes bulk;
	struct err e = ERR_INIT;
	int rc = proto_encode(msg, &head, &bulk, &e);
	assert_true(rc == 0 || e.text[0] != '\0');
	buf_free(&head);
	return rc;
}

static void what_a_peer_would_refuse_is_not_sent(void **state)
{
	(void)state;
	static uint8_t big[MSG_BULK_BYTES_MAX + 1];
	struct msg m = { .type = MSG_ERROR, .u.error = { ERR_IO, { "\xff", 1 } } };
	assert_int_equal(encode_code(&m), ERR_INVALID);
	m.u.error.text = (struct msg_text){ "a\0b", 3 };
	assert_int_equal(encode_code(&m), ERR_INVALID);
	m.u.error.text = (struct msg_text){ "\xed\xa0\x80", 3 }; /* a surrogate */
	assert_int_equal(encode_code(&m), ERR_INVALID);
	m.u.error.text = (struct msg_text){ "\xc0\x80", 2 }; /* an overlong NUL */
	assert_int_equal(encode_code(&m), ERR_INVALID);
	static const char *const beyond[] = { "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xf0\x8f\xbf\xbf",
					      "\xe0\x9f\xbf",     "\xf4\x8f\xbf",     "\x80" };
	for (size_t i = 0; i < sizeof(beyond) / sizeof(beyond[0]); i++) { /* of what UTF-8 can say */
		m.u.error.text = (struct msg_text){ beyond[i], strlen(beyond[i]) };
		assert_int_equal(encode_code(&m), ERR_INVALID);
	}
	m.u.error.text = (struct msg_text){ "\xf4\x8f\xbf\xbf", 4 };
	assert_int_equal(encode_code(&m), 0);
	m.u.error = (struct msg_error){ -99, { "x", 1 } };
	assert_int_equal(encode_code(&m), ERR_INVALID);
	m = (struct msg){ .type = MSG_PROGRESS, .u.progress = { .loss = (double)NAN } };
	assert_int_equal(encode_code(&m), ERR_INVALID);
	m = (struct msg){ .type = MSG_RELEASE, .u.release = { .code = 1 } };
	assert_int_equal(encode_code(&m), ERR_INVALID);
	m = (struct msg){ .type = MSG_HELLO }; /* no kind */
	assert_int_equal(encode_code(&m), ERR_INVALID);
	m = (struct msg){ .type = MSG_CHUNK, .u.chunk.data = { big, sizeof(big) } };
	assert_int_equal(encode_code(&m), ERR_LIMIT);
	struct msg_bytes records[2] = { { big, 40000 }, { big, 40000 } };
	m = (struct msg){ .type = MSG_SUBMIT, .u.submit = { MSG_KEEP, records, 2 } };
	assert_int_equal(encode_code(&m), ERR_LIMIT);
	records[0].len = 0;
	assert_int_equal(encode_code(&m), ERR_INVALID);
	static struct hash hashes[MSG_HASHES_MAX + 1];
	m = (struct msg){ .type = MSG_NEED, .u.hashes = { hashes, MSG_HASHES_MAX + 1, 0 } };
	assert_int_equal(encode_code(&m), ERR_LIMIT);
	m.u.hashes.hash_count--;
	assert_int_equal(encode_code(&m), 0);
	m = (struct msg){ .type = (enum msg_type)999 };
	assert_int_equal(encode_code(&m), ERR_UNSUPPORTED);
}

/* The largest messages that the limits allow must also pass the receiver's caps. */
static void full_messages_pass(void **state)
{
	(void)state;
	static struct msg_edit_result results[MSG_RESULTS_MAX];
	static struct msg_submit_result answers[MSG_SUBMIT_RECORDS_MAX];
	static char words[1024];
	static struct msg_fleet_member members[1500];
	struct err e = ERR_INIT;
	struct buf head = BUF_INIT;
	struct msg_bytes bulk;
	struct msg_received *back = NULL;
	memset(words, 'w', sizeof words);
	for (size_t i = 0; i < MSG_RESULTS_MAX; i++)
		results[i] = (struct msg_edit_result){ (UINT64_C(1) << 61) + i,
						       true,
						       UINT32_MAX,
						       { words, msg_result_reason_bytes(MSG_RESULTS_MAX) },
						       true };
	struct msg m = { .type = MSG_SHARD_COMMIT,
			 .u.shard_commit = { .results = results, .result_count = MSG_RESULTS_MAX } };
	m.u.shard_commit.mode = (struct msg_text){ words, 128 };
	m.u.shard_commit.backend = (struct msg_text){ words, 512 };
	assert_ok(&e, proto_encode(&m, &head, &bulk, &e));
	assert_ok(&e, proto_decode(head.data, head.len, NULL, 0, &back, &e));
	assert_int_equal(back->msg.u.shard_commit.result_count, MSG_RESULTS_MAX);
	assert_int_equal(back->msg.u.shard_commit.results[4095].seq, (UINT64_C(1) << 61) + 4095);
	msg_free(&back);
	for (size_t i = 1; i <= MSG_RESULTS_MAX; i *= 2) {
		for (size_t k = 0; k < i; k++)
			results[k].reason.len = msg_result_reason_bytes(i);
		m.u.shard_commit.result_count = i;
		assert_ok(&e, proto_encode(&m, &head, &bulk, &e));
	}
	for (size_t i = 0; i < MSG_SUBMIT_RECORDS_MAX; i++)
		answers[i] = (struct msg_submit_result){ ERR_CONFLICT,
							 UINT64_C(1) << 61,
							 UINT64_C(1) << 61,
							 { words, MSG_SUBMIT_ID_BYTES_MAX },
							 { words, MSG_SUBMIT_REASON_BYTES_MAX } };
	m = (struct msg){ .type = MSG_SUBMIT_REPLY, .u.submit_reply = { answers, MSG_SUBMIT_RECORDS_MAX, 1 } };
	assert_ok(&e, proto_encode(&m, &head, &bulk, &e));
	assert_ok(&e, proto_decode(head.data, head.len, NULL, 0, &back, &e));
	assert_int_equal(back->msg.u.submit_reply.result_count, MSG_SUBMIT_RECORDS_MAX);
	msg_free(&back);
	m.u.submit_reply.result_count++;
	assert_int_equal(encode_code(&m), ERR_LIMIT);
	for (size_t i = 0; i < 1500; i++) {
		members[i] = (struct msg_fleet_member){
			.kind = MSG_PEER_NODE, .name = { "n", 1 }, .endpoint = { "h:1", 3 }, .backend = { "cpu", 3 }
		};
		memset(members[i].key, 7, 32);
	}
	m = (struct msg){ .type = MSG_FLEET_REPLY, .u.fleet_reply = { .members = members, .member_count = 1500 } };
	assert_ok(&e, proto_encode(&m, &head, &bulk, &e));
	assert_ok(&e, proto_decode(head.data, head.len, NULL, 0, &back, &e));
	assert_int_equal(back->msg.u.fleet_reply.member_count, 1500);
	msg_free(&back);
	buf_free(&head);
}

/* Every field of every member is there, each as short as can be: most members, and most fields, for the reply's cap. */
static void a_full_fleet_passes(void **state)
{
	(void)state;
	enum { MEMBERS = 3276 };
	static struct msg_fleet_member members[MEMBERS + 1];
	const struct msg_text text = { "x", 1 };
	struct err e = ERR_INIT;
	struct buf head = BUF_INIT;
	struct msg_bytes bulk;
	struct msg_received *back = NULL;
	for (size_t i = 0; i < MEMBERS + 1; i++) {
		struct msg_fleet_member *m = &members[i];
		m->kind = MSG_PEER_NODE;
		m->name = m->endpoint = m->backend = m->software = m->state = m->failed_reason = m->source = text;
		m->seen_ms_ago = 1;
		m->version = m->resident_bytes = m->failed_version = 1;
		m->lease_count = m->edit_done = m->edit_total = m->pid = 1;
		m->failing = true;
		memset(m->key, 7, 32);
	}
	struct msg m = { .type = MSG_FLEET_REPLY, .u.fleet_reply = { .members = members, .member_count = MEMBERS } };
	assert_ok(&e, proto_encode(&m, &head, &bulk, &e));
	assert_int_equal(head.len, PROTO_HEADER_BYTES + MEMBERS * 80);
	assert_ok(&e, proto_decode(head.data, head.len, NULL, 0, &back, &e));
	assert_int_equal(back->msg.u.fleet_reply.member_count, MEMBERS);
	assert_int_equal(back->msg.u.fleet_reply.members[MEMBERS - 1].pid, 1);
	msg_free(&back);
	memset(members, 0, sizeof members); /* no more of shorter ones: their fields are bounded by their count */
	m.u.fleet_reply.member_count++;
	assert_int_equal(encode_code(&m), ERR_LIMIT);
	buf_free(&head);
}

/* ---- Hostile bytes. */

static void header_put(uint8_t *head, int type, size_t body_len)
{
	memset(head, 0, PROTO_HEADER_BYTES);
	memcpy(head, "AMND", 4);
	head[4] = MSG_PROTOCOL_VERSION;
	head[6] = (uint8_t)type;
	for (int i = 0; i < 4; i++)
		head[8 + i] = (uint8_t)(body_len >> (8 * i));
}

static int decode_code(const uint8_t *head, size_t len)
{
	struct msg_received *back = NULL;
	struct err e = ERR_INIT;
	int rc = proto_decode(head, len, NULL, 0, &back, &e);
	assert_true(rc == 0 || (back == NULL && e.text[0] != '\0'));
	if (rc == 0)
		msg_free(&back);
	return rc;
}

static void header_errors(void **state)
{
	(void)state;
	uint8_t head[PROTO_HEADER_BYTES + 4];
	for (size_t len = 0; len < PROTO_HEADER_BYTES; len++) {
		header_put(head, MSG_FLEET, 0);
		assert_int_equal(decode_code(head, len), ERR_INVALID);
	}
	header_put(head, MSG_FLEET, 0);
	assert_int_equal(decode_code(head, PROTO_HEADER_BYTES), 0);
	assert_int_equal(decode_code(head, PROTO_HEADER_BYTES + 1), ERR_INVALID); /* longer than it says */
	head[0] = 'X';
	assert_int_equal(decode_code(head, PROTO_HEADER_BYTES), ERR_INVALID);
	header_put(head, MSG_FLEET, 0);
	head[4] = MSG_PROTOCOL_VERSION + 1;
	assert_int_equal(decode_code(head, PROTO_HEADER_BYTES), ERR_UNSUPPORTED);
	assert_int_equal(proto_version_check(head, PROTO_HEADER_BYTES, NULL), ERR_UNSUPPORTED);
	header_put(head, MSG_ERROR, 0); /* the one message that is the same in all versions */
	head[4] = MSG_PROTOCOL_VERSION + 1;
	assert_int_equal(decode_code(head, PROTO_HEADER_BYTES), 0);
	header_put(head, 200, 0);
	assert_int_equal(decode_code(head, PROTO_HEADER_BYTES), ERR_UNSUPPORTED);
	header_put(head, MSG_FLEET, 0);
	head[16] = 1; /* flags */
	assert_int_equal(decode_code(head, PROTO_HEADER_BYTES), ERR_UNSUPPORTED);
	header_put(head, MSG_FLEET, 0);
	head[12] = 1; /* a bulk frame that did not come */
	assert_int_equal(decode_code(head, PROTO_HEADER_BYTES), ERR_INVALID);
	struct msg_received *back = NULL;
	assert_int_equal(proto_decode(head, PROTO_HEADER_BYTES, "x", 1, &back, NULL), ERR_INVALID); /* not a chunk */
}

static void peek_reads_only_the_header(void **state)
{
	(void)state;
	uint8_t head[PROTO_HEADER_BYTES];
	int type;
	uint64_t request_id, trace_id;
	header_put(head, 200, 77);
	head[24] = 5;
	head[39] = 1;
	assert_int_equal(proto_peek(head, sizeof(head), &type, &request_id, &trace_id), 0);
	assert_int_equal(type, 200);
	assert_int_equal(request_id, 5);
	assert_true(trace_id == UINT64_C(1) << 56);
	assert_int_equal(proto_peek(head, sizeof(head) - 1, &type, &request_id, &trace_id), ERR_INVALID);
}

/* Bodies that would overflow protobuf-c's stack or multiply in its memory, under a type whose cap lets them in. */
static void nesting_and_swarms_are_refused(void **state)
{
	(void)state;
	size_t cap = proto_body_cap(MSG_EDIT_LIST_REPLY);
	uint8_t *head = malloc(PROTO_HEADER_BYTES + cap);
	assert_non_null(head);
	uint8_t *body = head + PROTO_HEADER_BYTES;
	size_t before = mallinfo2().uordblks;
	/* 50,000 levels: field 1, length of all that follows. */
	size_t at = 0;
	for (size_t level = 0; level < 50000; level++) {
		size_t rest = 4 * (50000 - level - 1);
		body[at++] = 0x0a;
		body[at++] = (uint8_t)(rest & 0x7f) | 0x80;
		body[at++] = (uint8_t)((rest >> 7) & 0x7f) | 0x80;
		body[at++] = (uint8_t)((rest >> 14) & 0x7f);
	}
	header_put(head, MSG_EDIT_LIST_REPLY, at);
	assert_int_equal(decode_code(head, PROTO_HEADER_BYTES + at), ERR_INVALID);
	/* Empty submessages up to the cap. */
	for (at = 0; at + 2 <= cap; at += 2) {
		body[at] = 0x0a;
		body[at + 1] = 0;
	}
	header_put(head, MSG_EDIT_LIST_REPLY, at);
	assert_int_equal(decode_code(head, PROTO_HEADER_BYTES + at), ERR_LIMIT);
	/* Unknown fields up to the cap. */
	for (at = 0; at + 3 <= cap; at += 3)
		memcpy(body + at, "\xf8\x07\x01", 3);
	header_put(head, MSG_EDIT_LIST_REPLY, at);
	assert_int_equal(decode_code(head, PROTO_HEADER_BYTES + at), ERR_LIMIT);
	/* A packed list far over its count. */
	memset(body, 1, cap);
	memcpy(body, "\x1a\xf0\xff\x0f", 4);
	header_put(head, MSG_EDIT_LIST_REPLY, 4 + 0x3fff0);
	assert_int_equal(decode_code(head, PROTO_HEADER_BYTES + 4 + 0x3fff0), ERR_LIMIT);
	/* A group, which has no length. */
	header_put(head, MSG_EDIT_LIST_REPLY, 2);
	memcpy(body, "\x0b\x0c", 2);
	assert_int_equal(decode_code(head, PROTO_HEADER_BYTES + 2), ERR_INVALID);
	/* Fields 0 and 2^29, which there cannot be. */
	header_put(head, MSG_EDIT_LIST_REPLY, 2);
	memcpy(body, "\x00\x01", 2);
	assert_int_equal(decode_code(head, PROTO_HEADER_BYTES + 2), ERR_INVALID);
	header_put(head, MSG_EDIT_LIST_REPLY, 6);
	memcpy(body, "\x80\x80\x80\x80\x10\x01", 6);
	assert_int_equal(decode_code(head, PROTO_HEADER_BYTES + 6), ERR_INVALID);
	assert_in_range(mallinfo2().uordblks, 0, before + (1 << 20));
	free(head);
}

static void bodies_over_the_cap_are_refused(void **state)
{
	(void)state;
	uint8_t *head = calloc(1, PROTO_HEADER_BYTES + (1 << 20));
	assert_non_null(head);
	for (size_t i = 0; i < test_message_type_count; i++) {
		size_t len = proto_body_cap(test_message_types[i]) + 1;
		header_put(head, test_message_types[i], len);
		assert_int_equal(decode_code(head, PROTO_HEADER_BYTES + len), ERR_LIMIT);
	}
	header_put(head, MSG_SUBMIT, 1 << 20);
	assert_int_equal(decode_code(head, PROTO_HEADER_BYTES + (1 << 20)), ERR_LIMIT);
	free(head);
}

/* Copies into a block of the exact size, so that AddressSanitizer sees every read behind the end. */
static int decode_exact(const uint8_t *head, size_t len)
{
	uint8_t *copy = malloc(len);
	assert_non_null(copy);
	memcpy(copy, head, len);
	if (len >= PROTO_HEADER_BYTES)
		for (int i = 0; i < 4; i++)
			copy[8 + i] = (uint8_t)((len - PROTO_HEADER_BYTES) >> (8 * i));
	int rc = decode_code(copy, len);
	free(copy);
	return rc;
}

static void truncations_and_mutations_are_survived(void **state)
{
	(void)state;
	struct rng rng;
	struct err e = ERR_INIT;
	struct buf head = BUF_INIT;
	struct arena *arena = arena_make();
	size_t refused = 0, rounds = 20000, cuts = 0;
	rng_init(&rng, 2);
	for (size_t i = 0; i < test_message_type_count; i++) {
		struct msg msg;
		struct msg_bytes bulk;
		test_message_fill(&rng, arena, test_message_types[i], &msg);
		msg.u.chunk.data.len = msg.type == MSG_CHUNK ? 0 : msg.u.chunk.data.len;
		assert_ok(&e, proto_encode(&msg, &head, &bulk, &e));
		size_t step = head.len > 4000 ? 13 : 1;
		for (size_t len = 1; len < head.len; len += step, cuts++)
			refused += decode_exact(head.data, len) != 0;
		arena_reset(arena, 0);
	}
	assert_in_range(refused, cuts / 2, cuts);
	for (size_t i = 0; i < rounds; i++) {
		struct msg msg;
		struct msg_bytes bulk;
		test_message_fill(&rng, arena, test_message_types[rng_below(&rng, test_message_type_count)], &msg);
		assert_ok(&e, proto_encode(&msg, &head, &bulk, &e));
		for (uint64_t flips = 1 + rng_below(&rng, 8); flips > 0; flips--)
			head.data[rng_below(&rng, head.len)] ^= (uint8_t)(1 + rng_below(&rng, 255));
		struct msg_received *back = NULL;
		if (proto_decode(head.data, head.len, bulk.bytes, bulk.len, &back, NULL) == 0)
			msg_free(&back);
		assert_null(back);
		arena_reset(arena, 0);
	}
	buf_free(&head);
	arena_destroy(&arena);
}

/* ---- Memory. */

static int encode_and_decode(void *context)
{
	const struct msg *msg = context;
	struct buf head = BUF_INIT;
	struct msg_bytes bulk;
	struct msg_received *back = NULL;
	int rc = proto_encode(msg, &head, &bulk, NULL);
	if (rc == 0)
		rc = proto_decode(head.data, head.len, bulk.bytes, bulk.len, &back, NULL);
	if (rc == 0)
		msg_free(&back);
	buf_free(&head);
	return rc;
}

static void failing_allocations_are_errors(void **state)
{
	(void)state;
	struct rng rng;
	struct arena *arena = arena_make();
	struct msg msg;
	rng_init(&rng, 3);
	for (int i = 0; i < 4; i++) {
		static const int types[] = { MSG_SHARD_COMMIT, MSG_SUBMIT, MSG_FLEET_REPLY, MSG_CHUNK };
		test_message_fill(&rng, arena, types[i], &msg);
		assert_true(test_walk_allocations(encode_and_decode, &msg) > 3);
	}
	arena_destroy(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_type_comes_back),
		cmocka_unit_test(every_type_has_a_name_and_a_cap),
		cmocka_unit_test(texts_end_in_nul),
		cmocka_unit_test(what_a_peer_would_refuse_is_not_sent),
		cmocka_unit_test(full_messages_pass),
		cmocka_unit_test(a_full_fleet_passes),
		cmocka_unit_test(header_errors),
		cmocka_unit_test(peek_reads_only_the_header),
		cmocka_unit_test(nesting_and_swarms_are_refused),
		cmocka_unit_test(bodies_over_the_cap_are_refused),
		cmocka_unit_test(truncations_and_mutations_are_survived),
		cmocka_unit_test(failing_allocations_are_errors),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
