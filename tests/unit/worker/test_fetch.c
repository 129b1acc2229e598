/* Blobs are pulled by credit, verified, and asked for again. */
#include "tests/lib/worker_fixture.h"
#include "worker/fetch.h"

struct done {
	int calls, code;
};

static void on_done(void *context, int code)
{
	struct done *d = context;
	d->calls++;
	d->code = code;
}

struct pull {
	struct stand *s;
	struct worker_fetch *fetch;
	size_t needs, asked, asked_max; /* in one message */
	size_t last_asked;              /* in the last message */
	bool mute;                      /* asks are not answered */
	size_t only;                    /* of the first ask for more than so many, and mute from then on; 0: all */
	size_t corrupt;                 /* so many asks are answered by one chunk with a wrong byte */
};

static void give(struct stand *s, const struct hash *hash, uint8_t wrong)
{
	struct buf bytes = BUF_INIT;
	struct msg chunk = { .type = MSG_CHUNK };
	assert_ok(&s->e, store_chunk_get(s->source, hash, &bytes, &s->e));
	bytes.data[bytes.len / 2] ^= wrong;
	chunk.u.chunk = (struct msg_chunk){ *hash, 0, { bytes.data, bytes.len } };
	stand_send(s, &chunk);
	buf_free(&bytes);
}

static bool watch(struct stand *s, const struct msg *msg)
{
	struct pull *p = s->hook_context;
	if (msg->type != MSG_NEED)
		return false;
	const struct msg_hashes *need = &msg->u.hashes;
	p->needs++;
	p->asked += need->hash_count;
	p->asked_max = need->hash_count > p->asked_max ? need->hash_count : p->asked_max;
	p->last_asked = need->hash_count;
	if (p->corrupt > 0) {
		p->corrupt--;
		give(s, &need->hashes[0], 1);
		return true;
	}
	if (p->only == 0 || need->hash_count <= p->only)
		return p->mute;
	for (size_t i = 0; i < p->only; i++)
		give(s, &need->hashes[i], 0);
	p->only = 0;
	p->mute = true;
	return true;
}

static void pull_open(struct pull *p, struct stand *s)
{
	*p = (struct pull){ .s = s };
	s->hook = watch;
	s->hook_context = p;
	assert_ok(&s->e, worker_fetch_new(&s->clock.env, s->blobs, s->client, &p->fetch, &s->e));
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
		worker_fetch_tick(p->fetch);
	}
}

static void start(struct pull *p, const struct hash *roots, size_t count, struct done *done)
{
	assert_ok(&p->s->e, worker_fetch_start(p->fetch, roots, count, on_done, done, &p->s->e));
}

static void fetches_by_windows(void **state)
{
	struct pull p;
	struct done done = { 0 };
	pull_open(&p, *state);
	struct hash roots[3] = { 0 }; /* a zero root is nothing to fetch */
	roots[0] = stand_blob_put(p.s, p.s->source, 1, 40 * STORE_CHUNK_BYTES);
	roots[2] = stand_blob_put(p.s, p.s->source, 2, 100);
	start(&p, roots, 3, &done);
	assert_int_equal(done.calls, 0);
	turns(&p, 1000);
	assert_int_equal(done.calls, 1);
	assert_int_equal(done.code, 0);
	assert_int_equal(p.asked, 40 + 1 + 1 + 1);
	assert_int_equal(p.asked_max, WORKER_FETCH_WINDOW);
	assert_int_equal(worker_fetch_arrived(p.fetch), 43);
	stand_blob_whole(p.s, p.s->blobs, &roots[0]);
	stand_blob_whole(p.s, p.s->blobs, &roots[2]);
	/* What is here is not asked for. */
	start(&p, roots, 3, &done);
	turns(&p, 200);
	assert_int_equal(done.calls, 2);
	assert_int_equal(p.asked, 43);
	worker_fetch_destroy(&p.fetch);
}

/* Of 45 chunks 32 are asked for; when a group has come the rest is asked for, while the others are still on their way.
 */
static void more_is_asked_for_before_the_window_is_done(void **state)
{
	struct pull p;
	struct done done = { 0 };
	pull_open(&p, *state);
	struct hash root = stand_blob_put(p.s, p.s->source, 7, 45 * STORE_CHUNK_BYTES);
	p.only = WORKER_FETCH_GROUP;
	start(&p, &root, 1, &done);
	turns(&p, 500);
	assert_int_equal(p.needs, 3);
	assert_int_equal(p.asked, 1 + 45);
	assert_int_equal(p.last_asked, 45 - WORKER_FETCH_WINDOW);
	assert_int_equal(worker_fetch_arrived(p.fetch), 1 + WORKER_FETCH_GROUP);
	p.mute = false;
	turns(&p, WORKER_FETCH_RETRY_MS + 500); /* what was not answered is asked for again */
	assert_int_equal(done.calls, 1);
	assert_int_equal(done.code, 0);
	stand_blob_whole(p.s, p.s->blobs, &root);
	worker_fetch_destroy(&p.fetch);
}

/* With others on their way a store that fails ends the request, and keeps nothing of it. */
static void a_fault_in_the_midst_ends_the_request(void **state)
{
	struct pull p;
	struct done done = { 0 };
	pull_open(&p, *state);
	struct hash root = stand_blob_put(p.s, p.s->source, 8, 45 * STORE_CHUNK_BYTES);
	p.only = WORKER_FETCH_GROUP;
	assert_ok(&p.s->e, fault_arm("store.blob.before=errno@2", &p.s->e)); /* the first is the root chunk's */
	start(&p, &root, 1, &done);
	turns(&p, 500);
	assert_int_equal(done.calls, 1);
	assert_int_equal(done.code, ERR_FAULT);
	p.mute = false;
	start(&p, &root, 1, &done);
	turns(&p, 1000);
	assert_int_equal(done.calls, 2);
	assert_int_equal(done.code, 0);
	stand_blob_whole(p.s, p.s->blobs, &root);
	worker_fetch_destroy(&p.fetch);
}

/* A delta of few values has equal chunks: the answer to a hash comes once, however often the blob names it. */
static void equal_chunks_are_asked_for_once(void **state)
{
	struct pull p;
	struct done done = { 0 };
	struct hash root;
	pull_open(&p, *state);
	size_t byte_count = 40 * (size_t)STORE_CHUNK_BYTES;
	uint8_t *bytes = calloc(byte_count, 1);
	assert_non_null(bytes);
	bytes[20 * STORE_CHUNK_BYTES] = 1;
	assert_ok(&p.s->e, store_blob_put(p.s->source, bytes, byte_count, &root, &p.s->e));
	free(bytes);
	struct hash roots[2] = { root, root };
	start(&p, roots, 2, &done);
	turns(&p, 10 * WORKER_FETCH_RETRY_MS);
	assert_int_equal(done.calls, 1);
	assert_int_equal(done.code, 0);
	assert_int_equal(p.asked_max, 2);
	stand_blob_whole(p.s, p.s->blobs, &root);
	worker_fetch_destroy(&p.fetch);
}

static void an_interrupted_fetch_goes_on_with_what_is_missing(void **state)
{
	struct pull p;
	struct done done = { 0 };
	pull_open(&p, *state);
	struct hash root = stand_blob_put(p.s, p.s->source, 3, 40 * STORE_CHUNK_BYTES);
	start(&p, &root, 1, &done);
	while (p.asked < 1 + WORKER_FETCH_WINDOW)
		turns(&p, STAND_TURN_MS);
	worker_fetch_destroy(&p.fetch); /* the process dies; its store does not */
	stand_script(p.s);              /* what it asked for comes too late */
	struct msg_received *late = NULL;
	while (p.s->client->ops->recv(p.s->client, &late, &p.s->e) == 0)
		msg_free(&late);
	assert_int_equal(done.calls, 0);
	struct pull q;
	pull_open(&q, p.s);
	start(&q, &root, 1, &done);
	turns(&q, 500);
	assert_int_equal(done.calls, 1);
	assert_int_equal(q.asked, 40 - WORKER_FETCH_WINDOW);
	stand_blob_whole(p.s, p.s->blobs, &root);
	worker_fetch_destroy(&q.fetch);
}

static void a_lost_answer_is_asked_for_again(void **state)
{
	struct pull p;
	struct done done = { 0 };
	pull_open(&p, *state);
	struct hash root = stand_blob_put(p.s, p.s->source, 4, 3 * STORE_CHUNK_BYTES);
	p.mute = true;
	start(&p, &root, 1, &done);
	turns(&p, 3 * WORKER_FETCH_RETRY_MS);
	assert_int_equal(p.needs, 3);
	p.mute = false;
	turns(&p, WORKER_FETCH_RETRY_MS + 200);
	assert_int_equal(done.calls, 1);
	assert_int_equal(done.code, 0);
	worker_fetch_destroy(&p.fetch);
}

static void a_wrong_chunk_is_never_stored(void **state)
{
	struct pull p;
	struct done done = { 0 };
	pull_open(&p, *state);
	struct hash root = stand_blob_put(p.s, p.s->source, 5, STORE_CHUNK_BYTES + 5);
	p.corrupt = 1; /* the root chunk */
	start(&p, &root, 1, &done);
	turns(&p, 500);
	bool has = true;
	assert_ok(&p.s->e, store_chunk_has(p.s->blobs, &root, &has, &p.s->e));
	assert_false(has);
	assert_int_equal(done.calls, 0);
	turns(&p, WORKER_FETCH_RETRY_MS + 200);
	assert_int_equal(done.calls, 1);
	stand_blob_whole(p.s, p.s->blobs, &root);
	worker_fetch_destroy(&p.fetch);
}

static void rot_is_found_when_asked_to_verify(void **state)
{
	struct pull p;
	struct done done = { 0 };
	struct buf chunks = BUF_INIT;
	struct hash third;
	pull_open(&p, *state);
	struct hash root = stand_blob_put(p.s, p.s->source, 6, 4 * STORE_CHUNK_BYTES);
	(void)stand_blob_put(p.s, p.s->blobs, 6, 4 * STORE_CHUNK_BYTES);
	stand_blob_chunks(p.s->blobs, &root, &chunks);
	memcpy(&third, (struct hash *)(void *)chunks.data + 2, sizeof third);
	stand_rot(p.s, &third);
	start(&p, &root, 1, &done);
	turns(&p, 200);
	assert_int_equal(p.asked, 0); /* it is there */
	assert_ok(&p.s->e, worker_fetch_verified(p.fetch, &root, 1, on_done, &done, &p.s->e));
	turns(&p, 200);
	assert_int_equal(p.asked, 1);
	assert_int_equal(done.calls, 2);
	stand_blob_whole(p.s, p.s->blobs, &root);
	buf_free(&chunks);
	worker_fetch_destroy(&p.fetch);
}

static void what_is_not_to_be_had_is_said_and_others_go_on(void **state)
{
	struct pull p;
	struct done lost = { 0 }, found = { 0 };
	pull_open(&p, *state);
	struct hash nowhere, root = stand_blob_put(p.s, p.s->source, 7, 10);
	memset(nowhere.bytes, 0x77, HASH_BYTES);
	start(&p, &nowhere, 1, &lost);
	start(&p, &root, 1, &found);
	turns(&p, 500);
	assert_int_equal(lost.calls, 1);
	assert_int_equal(lost.code, ERR_NOT_FOUND);
	assert_int_equal(found.calls, 1);
	assert_int_equal(found.code, 0);
	worker_fetch_destroy(&p.fetch);
}

static void cancelled_nobody_is_told(void **state)
{
	struct pull p;
	struct done first = { 0 }, second = { 0 };
	pull_open(&p, *state);
	struct hash a = stand_blob_put(p.s, p.s->source, 8, 3 * STORE_CHUNK_BYTES),
		    b = stand_blob_put(p.s, p.s->source, 9, 10);
	p.mute = true;
	start(&p, &a, 1, &first);
	start(&p, &b, 1, &second);
	turns(&p, 200);
	worker_fetch_cancel(p.fetch, &first);
	p.mute = false;
	turns(&p, WORKER_FETCH_RETRY_MS + 200);
	assert_int_equal(first.calls, 0);
	assert_int_equal(second.calls, 1);
	worker_fetch_destroy(&p.fetch);
}

static void a_fault_of_the_store_ends_the_request(void **state)
{
	struct pull p;
	struct done done = { 0 };
	pull_open(&p, *state);
	struct hash root = stand_blob_put(p.s, p.s->source, 10, STORE_CHUNK_BYTES);
	assert_ok(&p.s->e, fault_arm("store.blob.before=errno@2", &p.s->e));
	start(&p, &root, 1, &done);
	turns(&p, 500);
	assert_int_equal(done.calls, 1);
	assert_int_equal(done.code, ERR_FAULT);
	start(&p, &root, 1, &done);
	turns(&p, 500);
	assert_int_equal(done.calls, 2);
	assert_int_equal(done.code, 0);
	worker_fetch_destroy(&p.fetch);
}

static void the_queue_has_a_limit(void **state)
{
	struct pull p;
	struct done done = { 0 };
	pull_open(&p, *state);
	struct hash root = stand_blob_put(p.s, p.s->source, 11, 10);
	for (int i = 0; i < 64; i++)
		start(&p, &root, 1, &done);
	assert_int_equal(worker_fetch_start(p.fetch, &root, 1, on_done, &done, &p.s->e), ERR_LIMIT);
	turns(&p, 500);
	assert_int_equal(done.calls, 64);
	assert_int_equal(p.asked, 2);
	start(&p, &root, 1, &done);
	worker_fetch_destroy(&p.fetch); /* with one under way */
}

/* Every allocation of a fetch fails once: the request ends with ERR_NOMEM, or goes on by itself. */
static void without_memory_it_says_so_or_goes_on(void **state)
{
	struct pull p;
	int refused = 0;
	pull_open(&p, *state);
	for (int64_t n = 0; n < 40; n++) {
		struct done done = { 0 };
		struct hash root = stand_blob_put(p.s, p.s->source, 100 + (uint64_t)n, STORE_CHUNK_BYTES);
		fault_set(n, 1);
		int rc = worker_fetch_start(p.fetch, &root, 1, on_done, &done, &p.s->e);
		fault_set(-1, 0);
		assert_true(rc == 0 || rc == ERR_NOMEM);
		if (rc != 0) {
			refused++;
			continue;
		}
		stand_script(p.s);
		fault_set(n, 1);
		worker_fetch_tick(p.fetch);
		fault_set(-1, 0);
		stand_script(p.s);
		struct msg_received *received = NULL;
		while (p.s->client->ops->recv(p.s->client, &received, &p.s->e) == 0) {
			fault_set(n, 1);
			(void)worker_fetch_receive(p.fetch, &received->msg);
			fault_set(-1, 0);
			msg_free(&received);
		}
		turns(&p, WORKER_FETCH_RETRY_MS + 500);
		assert_int_equal(done.calls, 1);
		assert_true(done.code == 0 || done.code == ERR_NOMEM);
		refused += done.code != 0;
		if (done.code == 0)
			stand_blob_whole(p.s, p.s->blobs, &root);
	}
	assert_true(refused >= 3);
	worker_fetch_destroy(&p.fetch);
}

#define T(f) cmocka_unit_test_setup_teardown(f, stand_setup, stand_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(fetches_by_windows),
		T(more_is_asked_for_before_the_window_is_done),
		T(a_fault_in_the_midst_ends_the_request),
		T(equal_chunks_are_asked_for_once),
		T(an_interrupted_fetch_goes_on_with_what_is_missing),
		T(a_lost_answer_is_asked_for_again),
		T(a_wrong_chunk_is_never_stored),
		T(rot_is_found_when_asked_to_verify),
		T(what_is_not_to_be_had_is_said_and_others_go_on),
		T(cancelled_nobody_is_told),
		T(a_fault_of_the_store_ends_the_request),
		T(the_queue_has_a_limit),
		T(without_memory_it_says_so_or_goes_on),
	};
	return cmocka_run_group_tests(tests, stand_model_open, stand_model_close);
}
