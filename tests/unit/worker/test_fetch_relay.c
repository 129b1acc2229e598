/* Chunks are asked of relays first, and of the coordinator in the end. */
#include "tests/lib/worker_fixture.h"
#include "worker/fetch.h"

#define PATIENCE_MS 5000
#define VERSION     7

enum manner { GIVES, SILENT, LACKS, LIES, HOLDS, REFUSES, DRIPS };

struct relay {
	struct proto_transport *server, *client;
	enum manner manner;
	size_t asked, gives_first; /* it gives so many chunks first, whatever its manner */
	uint64_t version;          /* of the last Need */
};

struct pull {
	struct stand *s;
	struct worker_fetch *fetch;
	struct relay relays[2];
	size_t relay_count, asked; /* asked: of the coordinator */
	int calls, code;
};

static void on_done(void *context, int code)
{
	struct pull *p = context;
	p->calls++;
	p->code = code;
}

static bool watch(struct stand *s, const struct msg *msg)
{
	struct pull *p = s->hook_context;
	if (msg->type == MSG_NEED)
		p->asked += msg->u.hashes.hash_count;
	return false;
}

static void relay_give(struct pull *p, struct relay *relay, const struct msg_received *need, const struct hash *hash)
{
	struct buf bytes = BUF_INIT;
	struct msg msg = { .type = MSG_CHUNK, .request_id = need->msg.request_id, .u.chunk.hash = *hash };
	const bool first = relay->gives_first > 0;
	relay->gives_first -= first;
	if (!first && relay->manner == LACKS) {
		msg.u.chunk.code = ERR_NOT_FOUND;
	} else if (first || relay->manner == GIVES || relay->manner == LIES) {
		assert_ok(&p->s->e, store_chunk_get(p->s->source, hash, &bytes, &p->s->e));
		bytes.data[bytes.len / 2] ^= !first && relay->manner == LIES;
		msg.u.chunk.data = (struct msg_bytes){ bytes.data, bytes.len };
	} else {
		return;
	}
	assert_ok(&p->s->e, relay->server->ops->send(relay->server, need->route, &msg, &p->s->e));
	buf_free(&bytes);
}

static void relay_script(struct pull *p, struct relay *relay)
{
	struct msg_received *need = NULL;
	while (relay->server != NULL && relay->server->ops->recv(relay->server, &need, &p->s->e) == 0) {
		assert_int_equal(need->msg.type, MSG_NEED);
		relay->asked += need->msg.u.hashes.hash_count;
		relay->version = need->msg.u.hashes.version;
		if (relay->manner == DRIPS) /* the first of what it is asked for: every two seconds */
			relay->gives_first = 1;
		for (size_t i = 0; i < need->msg.u.hashes.hash_count; i++)
			relay_give(p, relay, need, &need->msg.u.hashes.hashes[i]);
		struct msg said = { .type = MSG_MISSING, .request_id = need->msg.request_id };
		said.u.hashes = need->msg.u.hashes;
		if (relay->manner == REFUSES) {
			said.type = MSG_ERROR;
			said.u.error = (struct msg_error){ ERR_UNSUPPORTED, { "", 0 } };
		}
		if (relay->manner == HOLDS || relay->manner == REFUSES)
			assert_ok(&p->s->e, relay->server->ops->send(relay->server, need->route, &said, &p->s->e));
		msg_free(&need);
	}
}

static void turns(struct pull *p, int64_t ms)
{
	struct stand *s = p->s;
	struct msg_received *received = NULL;
	for (; ms > 0; ms -= STAND_TURN_MS) {
		env_manual_advance(&s->clock, STAND_TURN_MS * 1000);
		stand_script(s);
		while (s->client->ops->recv(s->client, &received, &s->e) == 0) {
			(void)worker_fetch_receive(p->fetch, &received->msg);
			msg_free(&received);
		}
		for (size_t i = 0; i < p->relay_count; i++) {
			relay_script(p, &p->relays[i]);
			while (p->relays[i].client->ops->recv(p->relays[i].client, &received, &s->e) == 0) {
				worker_fetch_relay_receive(p->fetch, i, &received->msg);
				msg_free(&received);
			}
		}
		worker_fetch_tick(p->fetch);
	}
}

static const char *const names[] = { "relay-a", "relay-b" };

static void pull_open(struct pull *p, struct stand *s, size_t relay_count, enum manner first, enum manner second)
{
	static const uint8_t key[PROTO_KEY_BYTES] = { 9 }; /* the stand's worker */
	static const char *const ends[] = { "child-a", "child-b" };
	*p = (struct pull){ .s = s, .relay_count = relay_count };
	p->relays[0].manner = first;
	p->relays[1].manner = second;
	s->hook = watch;
	s->hook_context = p;
	assert_ok(&s->e, worker_fetch_new(&s->clock.env, s->blobs, s->client, &p->fetch, &s->e));
	for (size_t i = 0; i < relay_count; i++) {
		assert_ok(&s->e, proto_mem_listen(s->mem, names[i], s->allow, &p->relays[i].server, &s->e));
		assert_ok(&s->e, proto_mem_connect(s->mem, ends[i], names[i], key, &p->relays[i].client, &s->e));
		assert_ok(&s->e, worker_fetch_relay_add(p->fetch, p->relays[i].client, names[i], PATIENCE_MS, &s->e));
	}
}

static void relay_die(struct relay *relay)
{
	relay->server->ops->destroy(relay->server);
	relay->server = NULL;
}

static void pull_close(struct pull *p)
{
	worker_fetch_destroy(&p->fetch);
	for (size_t i = 0; i < p->relay_count; i++) {
		p->relays[i].client->ops->destroy(p->relays[i].client);
		if (p->relays[i].server != NULL)
			relay_die(&p->relays[i]);
	}
}

static struct hash blob_put(struct stand *s, uint64_t seed, size_t chunk_count)
{
	return stand_blob_put(s, s->source, seed, chunk_count * STORE_CHUNK_BYTES);
}

static void start(struct pull *p, const struct hash *root)
{
	assert_ok(&p->s->e, worker_fetch_version(p->fetch, VERSION, root, 1, on_done, p, &p->s->e));
}

static void expect_done(struct pull *p, const struct hash *root)
{
	assert_int_equal(p->calls, 1);
	assert_int_equal(p->code, 0);
	stand_blob_whole(p->s, p->s->blobs, root);
}

static void fetch_more(struct pull *p, uint64_t seed, size_t chunk_count)
{
	const struct hash more = blob_put(p->s, seed, chunk_count);
	p->calls = 0;
	start(p, &more);
	turns(p, 500);
	expect_done(p, &more);
}

static struct worker_fetch_counts counts(const struct pull *p)
{
	struct worker_fetch_counts counts;
	worker_fetch_counts_get(p->fetch, &counts);
	return counts;
}

static void the_first_relay_gives_all(void **state)
{
	struct pull p;
	pull_open(&p, *state, 2, GIVES, GIVES);
	assert_string_equal(worker_fetch_source(p.fetch), "");
	struct hash root = blob_put(p.s, 1, 40);
	start(&p, &root);
	turns(&p, 1000);
	expect_done(&p, &root);
	assert_int_equal(p.relays[0].asked, 41);
	assert_int_equal(p.relays[0].version, VERSION);
	assert_int_equal(p.relays[1].asked, 0);
	assert_int_equal(p.asked, 0);
	assert_int_equal(counts(&p).relay_chunks, 41);
	assert_true(counts(&p).relay_bytes > 40 * STORE_CHUNK_BYTES);
	assert_int_equal(counts(&p).chunks, 0);
	assert_string_equal(worker_fetch_source(p.fetch), "relay-a");
	pull_close(&p);
}

/* Chunk by chunk to the next, and from there to the coordinator. */
static void what_a_relay_lacks_is_asked_of_the_next(void **state)
{
	struct pull p;
	pull_open(&p, *state, 2, LACKS, LACKS);
	p.relays[0].gives_first = 11;
	p.relays[1].gives_first = 20;
	struct hash root = blob_put(p.s, 2, 40);
	start(&p, &root);
	turns(&p, 2000);
	expect_done(&p, &root);
	assert_int_equal(p.relays[0].asked, 41);
	assert_int_equal(p.relays[1].asked, 30);
	assert_int_equal(p.asked, 10);
	assert_int_equal(counts(&p).faults[WORKER_FETCH_LACKING], 30 + 10);
	assert_string_equal(worker_fetch_source(p.fetch), "coordinator");
	pull_close(&p);
}

/* What nobody has fails the request, as without relays. */
static void what_nobody_has_is_said(void **state)
{
	struct pull p;
	struct hash nowhere;
	pull_open(&p, *state, 1, LACKS, GIVES);
	memset(nowhere.bytes, 0x77, HASH_BYTES);
	start(&p, &nowhere);
	turns(&p, 1000);
	assert_int_equal(p.calls, 1);
	assert_int_equal(p.code, ERR_NOT_FOUND);
	pull_close(&p);
}

/* In the midst of a blob a relay falls silent; it is asked once more, and then the other. It stays out of the way. */
static void a_silent_relay_is_left(void **state)
{
	struct pull p;
	pull_open(&p, *state, 2, SILENT, GIVES);
	p.relays[0].gives_first = 20;
	struct hash root = blob_put(p.s, 3, 40);
	start(&p, &root);
	turns(&p, 3500);
	assert_int_equal(p.calls, 0);
	turns(&p, 1500);
	expect_done(&p, &root);
	assert_int_equal(counts(&p).relay_chunks, 41);
	assert_int_equal(counts(&p).faults[WORKER_FETCH_SILENT], 1);
	assert_int_equal(p.asked, 0);
	size_t asked = p.relays[0].asked;
	fetch_more(&p, 4, 3);
	assert_int_equal(p.relays[0].asked, asked);
	pull_close(&p);
}

/* Its process ends in the midst of a blob: what it owes is asked of the coordinator, and nothing twice. When it is
 * there again it is asked again. */
static void a_dead_relay_is_left_at_once(void **state)
{
	struct pull p;
	pull_open(&p, *state, 1, HOLDS, GIVES);
	p.relays[0].gives_first = 17;
	struct hash root = blob_put(p.s, 5, 40);
	start(&p, &root);
	turns(&p, 500);
	assert_int_equal(counts(&p).relay_chunks, 17);
	relay_die(&p.relays[0]);
	turns(&p, 2500); /* the question is repeated every two seconds, and does not go through */
	expect_done(&p, &root);
	assert_int_equal(p.asked, 41 - 17);
	assert_int_equal(counts(&p).faults[WORKER_FETCH_UNREACHABLE], 1);
	turns(&p, 5000);
	assert_ok(&p.s->e, proto_mem_listen(p.s->mem, names[0], p.s->allow, &p.relays[0].server, &p.s->e));
	p.relays[0].manner = GIVES;
	fetch_more(&p, 6, 3);
	assert_int_equal(p.asked, 41 - 17);
	pull_close(&p);
}

/* It says that it has nothing yet: it is waited for, between once and twice its patience; then the coordinator gives.
 */
static void one_that_holds_is_waited_for(void **state)
{
	struct pull p;
	pull_open(&p, *state, 1, HOLDS, GIVES);
	struct hash root = blob_put(p.s, 7, 3), more = blob_put(p.s, 8, 3);
	start(&p, &root);
	turns(&p, PATIENCE_MS - 500);
	assert_int_equal(p.asked, 0);
	p.relays[0].manner = GIVES; /* it comes while it is waited for */
	turns(&p, 2500);
	expect_done(&p, &root);
	assert_int_equal(p.asked, 0);
	assert_int_equal(counts(&p).faults[WORKER_FETCH_LATE], 0);
	p.relays[0].manner = HOLDS;
	turns(&p, 2 * PATIENCE_MS); /* while it owes nothing it makes nobody wait */
	p.calls = 0;
	start(&p, &more);
	turns(&p, PATIENCE_MS - 500);
	assert_int_equal(p.asked, 0);
	turns(&p, PATIENCE_MS + 1500);
	expect_done(&p, &more);
	assert_int_equal(p.asked, 4);
	assert_int_equal(counts(&p).faults[WORKER_FETCH_LATE], 1);
	pull_close(&p);
}

/* A chunk now and then keeps nobody with it, nor shortens the time for which it is left alone. */
static void one_that_drips_is_left(void **state)
{
	struct pull p;
	pull_open(&p, *state, 1, DRIPS, GIVES);
	for (uint64_t i = 0; i < 2; i++) {
		const size_t asked = p.relays[0].asked;
		struct hash root = blob_put(p.s, 20 + i, 40);
		p.calls = 0;
		start(&p, &root);
		turns(&p, 2 * PATIENCE_MS - 500);
		assert_true(p.relays[0].asked > asked);
		assert_int_equal(counts(&p).faults[WORKER_FETCH_LATE], i);
		for (int ms = 0; ms <= 2 * PATIENCE_MS + 1000 && counts(&p).faults[WORKER_FETCH_LATE] == i; ms += 500)
			turns(&p, 500);
		assert_int_equal(counts(&p).faults[WORKER_FETCH_LATE], i + 1);
		turns(&p, 1000);
		expect_done(&p, &root);
		turns(&p, 5000);
	}
	const size_t asked = p.relays[0].asked; /* for ten seconds, the second time */
	fetch_more(&p, 22, 3);
	assert_int_equal(p.relays[0].asked, asked);
	pull_close(&p);
}

/* Wrong bytes are never stored; who gave them is not asked for 320 s, whoever else fails. */
static void a_liar_is_left_for_long(void **state)
{
	struct pull p;
	pull_open(&p, *state, 1, LIES, GIVES);
	struct hash root = blob_put(p.s, 9, 40);
	start(&p, &root);
	turns(&p, 100);
	bool has = true;
	assert_ok(&p.s->e, store_chunk_has(p.s->blobs, &root, &has, &p.s->e));
	assert_false(has);
	turns(&p, 1000);
	expect_done(&p, &root);
	assert_int_equal(p.relays[0].asked, 1);
	assert_int_equal(counts(&p).faults[WORKER_FETCH_WRONG], 1);
	assert_int_equal(counts(&p).relay_chunks, 0);
	for (uint64_t i = 0; i < 2; i++) {
		turns(&p, i == 0 ? 300000 : 20000);
		fetch_more(&p, 10 + i, 1);
		assert_int_equal(p.relays[0].asked, 1 + i);
	}
	pull_close(&p);
}

/* The rest of a window that is on its way is no news, and is not stored either. */
static void a_liar_is_told_once(void **state)
{
	struct pull p;
	pull_open(&p, *state, 2, LIES, GIVES);
	p.relays[0].gives_first = 1;
	struct hash root = blob_put(p.s, 15, 40);
	start(&p, &root);
	turns(&p, 1000);
	expect_done(&p, &root);
	assert_int_equal(p.relays[0].asked, 1 + WORKER_FETCH_WINDOW);
	assert_int_equal(p.relays[1].asked, 40);
	assert_int_equal(counts(&p).faults[WORKER_FETCH_WRONG], 1);
	assert_int_equal(p.asked, 0);
	pull_close(&p);
}

/* A server that is no relay, or of another version, says so at once. */
static void one_that_refuses_is_left(void **state)
{
	struct pull p;
	pull_open(&p, *state, 1, REFUSES, GIVES);
	struct hash root = blob_put(p.s, 12, 3);
	start(&p, &root);
	turns(&p, 500);
	expect_done(&p, &root);
	assert_int_equal(p.asked, 4);
	pull_close(&p);
}

/* Neither the log nor the counters grow with what it says. */
static void one_that_refuses_on_is_told_once(void **state)
{
	struct pull p;
	pull_open(&p, *state, 1, SILENT, GIVES);
	const struct msg refused = { .type = MSG_ERROR, .u.error = { ERR_UNSUPPORTED, { "", 0 } } };
	for (int i = 0; i < 100; i++)
		worker_fetch_relay_receive(p.fetch, 0, &refused); /* it was asked nothing */
	assert_int_equal(counts(&p).faults[WORKER_FETCH_UNREACHABLE], 0);
	struct hash root = blob_put(p.s, 16, 3);
	start(&p, &root);
	turns(&p, 2 * STAND_TURN_MS);
	assert_int_equal(p.relays[0].asked, 1);
	const struct msg busy = { .type = MSG_ERROR, .u.error = { ERR_AGAIN, { "", 0 } } };
	worker_fetch_relay_receive(p.fetch, 0, &busy); /* it owes so much: it is asked again */
	assert_int_equal(counts(&p).faults[WORKER_FETCH_UNREACHABLE], 0);
	for (int i = 0; i < 100; i++)
		worker_fetch_relay_receive(p.fetch, 0, &refused);
	assert_int_equal(counts(&p).faults[WORKER_FETCH_UNREACHABLE], 1);
	turns(&p, 500);
	expect_done(&p, &root);
	turns(&p, 5000); /* it is left alone for so long, and once */
	struct hash more = blob_put(p.s, 17, 3);
	start(&p, &more);
	turns(&p, 2 * STAND_TURN_MS);
	assert_int_equal(p.relays[0].asked, 2);
	pull_close(&p);
}

/* What a relay says of a chunk that another is asked for meanwhile fails nothing; good bytes are taken from anybody. */
static void late_words_do_no_harm(void **state)
{
	struct pull p;
	pull_open(&p, *state, 1, GIVES, GIVES);
	struct hash root = blob_put(p.s, 13, 1);
	struct buf bytes = BUF_INIT;
	p.relays[0].manner = SILENT;
	start(&p, &root);
	turns(&p, 4500);
	expect_done(&p, &root);
	struct msg late = { .type = MSG_CHUNK, .u.chunk = { .hash = root, .code = ERR_NOT_FOUND } };
	worker_fetch_relay_receive(p.fetch, 0, &late);
	p.calls = 0;
	root = blob_put(p.s, 14, 1);
	p.s->silent = true; /* the coordinator */
	start(&p, &root);
	turns(&p, 100);
	assert_true(p.asked > 0);
	late.u.chunk.hash = root;
	worker_fetch_relay_receive(p.fetch, 0, &late);
	assert_int_equal(p.calls, 0);
	assert_ok(&p.s->e, store_chunk_get(p.s->source, &root, &bytes, &p.s->e));
	late.u.chunk = (struct msg_chunk){ root, 0, { bytes.data, bytes.len } };
	worker_fetch_relay_receive(p.fetch, 0, &late);
	bool has = false;
	assert_ok(&p.s->e, store_chunk_has(p.s->blobs, &root, &has, &p.s->e));
	assert_true(has);
	buf_free(&bytes);
	pull_close(&p);
}

/* Nor does the coordinator's late word of a chunk that a relay is asked for. */
static void the_coordinators_late_word_does_no_harm(void **state)
{
	struct pull p;
	pull_open(&p, *state, 1, SILENT, GIVES);
	struct hash root = blob_put(p.s, 18, 1);
	start(&p, &root);
	turns(&p, 2 * STAND_TURN_MS);
	assert_int_equal(p.relays[0].asked, 1);
	const struct msg late = { .type = MSG_CHUNK, .u.chunk = { .hash = root, .code = ERR_NOT_FOUND } };
	assert_true(worker_fetch_receive(p.fetch, &late));
	assert_int_equal(p.calls, 0);
	turns(&p, 4500);
	expect_done(&p, &root);
	pull_close(&p);
}

/* Falls silent after so many chunks, the rest of which the coordinator gives. */
static void fall_silent(struct pull *p, uint64_t seed, size_t gives_first)
{
	struct hash root = blob_put(p->s, seed, gives_first + 2);
	const uint64_t faults = counts(p).faults[WORKER_FETCH_SILENT];
	p->relays[0].manner = SILENT;
	p->relays[0].gives_first = gives_first;
	p->calls = 0;
	start(p, &root);
	turns(p, 5000);
	expect_done(p, &root);
	assert_int_equal(counts(p).faults[WORKER_FETCH_SILENT], faults + 1);
	p->relays[0].manner = GIVES;
}

/* It fell silent about a second ago. */
static void expect_left_for(struct pull *p, uint64_t seed, int64_t seconds)
{
	const size_t asked = p->relays[0].asked;
	env_manual_advance(&p->s->clock, (seconds - 2) * 1000000 - 500000);
	fetch_more(p, seed, 1);
	assert_int_equal(p->relays[0].asked, asked);
	env_manual_advance(&p->s->clock, 1500000);
	fetch_more(p, seed + 1, 1);
	assert_true(p->relays[0].asked > asked);
}

/* Twice as long each time, up to 320 s, until it has given a window of chunks, all of them since. */
static void what_has_given_a_window_is_trusted_again(void **state)
{
	struct pull p;
	pull_open(&p, *state, 1, GIVES, GIVES);
	fall_silent(&p, 30, 20);
	expect_left_for(&p, 100, 5);
	fall_silent(&p, 31, 20); /* more than a window in all */
	expect_left_for(&p, 102, 10);
	fetch_more(&p, 32, WORKER_FETCH_WINDOW);
	fall_silent(&p, 33, 0);
	expect_left_for(&p, 104, 5);
	for (uint64_t i = 1; i < 9; i++) {
		fall_silent(&p, 40 + i, 0);
		expect_left_for(&p, 104 + 2 * i, i < 6 ? INT64_C(5) << i : 320);
	}
	pull_close(&p);
}

#define SMALL_BLOBS 128

/* So many blobs of one chunk in one request. */
static void start_small(struct pull *p, struct hash roots[SMALL_BLOBS], size_t count)
{
	for (size_t i = 0; i < count; i++)
		roots[i] = stand_blob_put(p->s, p->s->source, 1000 + i, 64);
	assert_ok(&p->s->e, worker_fetch_version(p->fetch, VERSION, roots, count, on_done, p, &p->s->e));
}

static void give(struct pull *p, const struct hash *hash)
{
	struct buf bytes = BUF_INIT;
	struct msg msg = { .type = MSG_CHUNK, .u.chunk.hash = *hash };
	assert_ok(&p->s->e, store_chunk_get(p->s->source, hash, &bytes, &p->s->e));
	msg.u.chunk.data = (struct msg_bytes){ bytes.data, bytes.len };
	worker_fetch_relay_receive(p->fetch, 0, &msg);
	buf_free(&bytes);
}

/* Two seconds without a chunk, not two seconds since the question. */
static void one_that_gives_is_not_asked_again(void **state)
{
	static struct hash roots[SMALL_BLOBS];
	struct pull p;
	pull_open(&p, *state, 1, SILENT, GIVES);
	start_small(&p, roots, 4);
	turns(&p, 1500);
	give(&p, &roots[0]);
	turns(&p, 1500);
	give(&p, &roots[1]);
	turns(&p, 1500);
	assert_int_equal(p.relays[0].asked, 4);
	turns(&p, 1000);
	assert_int_equal(p.relays[0].asked, 4 + 2);
	pull_close(&p);
}

/* However many others it gives meanwhile. */
static void one_that_keeps_a_chunk_back_is_left(void **state)
{
	static struct hash roots[SMALL_BLOBS];
	struct pull p;
	pull_open(&p, *state, 1, SILENT, GIVES);
	start_small(&p, roots, SMALL_BLOBS);
	turns(&p, 2 * STAND_TURN_MS);
	size_t given = 1;
	for (int64_t ms = 0; ms < 4 * PATIENCE_MS + 1000 && counts(&p).faults[WORKER_FETCH_LATE] == 0; ms += 3500) {
		for (size_t i = 0; i < WORKER_FETCH_GROUP && given < SMALL_BLOBS; i++)
			give(&p, &roots[given++]);
		turns(&p, 3500);
	}
	assert_true(given < SMALL_BLOBS);
	assert_int_equal(counts(&p).faults[WORKER_FETCH_LATE], 1);
	pull_close(&p);
}

static void relays_have_a_limit(void **state)
{
	struct pull p;
	pull_open(&p, *state, 1, GIVES, GIVES);
	for (int i = 1; i < WORKER_FETCH_RELAYS_MAX; i++)
		assert_ok(&p.s->e,
			  worker_fetch_relay_add(p.fetch, p.relays[0].client, "another", PATIENCE_MS, &p.s->e));
	assert_int_equal(worker_fetch_relay_add(p.fetch, p.relays[0].client, "more", PATIENCE_MS, &p.s->e), ERR_LIMIT);
	pull_close(&p);
}

#define T(f) cmocka_unit_test_setup_teardown(f, stand_setup, stand_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(the_first_relay_gives_all),
		T(what_a_relay_lacks_is_asked_of_the_next),
		T(what_nobody_has_is_said),
		T(a_silent_relay_is_left),
		T(a_dead_relay_is_left_at_once),
		T(one_that_holds_is_waited_for),
		T(a_liar_is_left_for_long),
		T(a_liar_is_told_once),
		T(one_that_refuses_is_left),
		T(one_that_refuses_on_is_told_once),
		T(late_words_do_no_harm),
		T(one_that_drips_is_left),
		T(relays_have_a_limit),
		T(the_coordinators_late_word_does_no_harm),
		T(what_has_given_a_window_is_trusted_again),
		T(one_that_gives_is_not_asked_again),
		T(one_that_keeps_a_chunk_back_is_left),
	};
	return cmocka_run_group_tests(tests, stand_model_open, stand_model_close);
}
