/* Only what the coordinator lacks is sent, with a window, until it confirms that nothing is missing. */
#include "tests/lib/worker_fixture.h"
#include "worker/upload.h"

struct push {
	struct stand *s;
	struct worker_upload *upload;
	int calls, code;
	size_t haves, largest_have, chunks, absent;
	bool mute_haves, mute_chunks, refuse;
};

static void on_done(void *context, int code)
{
	struct push *p = context;
	p->calls++;
	p->code = code;
}

static bool watch(struct stand *s, const struct msg *msg)
{
	struct push *p = s->hook_context;
	if (msg->type == MSG_HAVE) {
		p->haves++;
		p->largest_have = msg->u.hashes.hash_count > p->largest_have ? msg->u.hashes.hash_count
									     : p->largest_have;
		return p->mute_haves;
	}
	if (msg->type != MSG_CHUNK)
		return false;
	p->chunks++;
	if (msg->u.chunk.code != 0) {
		p->absent++;
		assert_int_equal(msg->u.chunk.code, ERR_NOT_FOUND);
		return true;
	}
	if (p->refuse) {
		struct msg stored = { .type = MSG_CHUNK_STORED };
		stored.u.chunk = (struct msg_chunk){ msg->u.chunk.hash, ERR_FULL, { NULL, 0 } };
		stand_send(s, &stored);
		return true;
	}
	return p->mute_chunks;
}

static void push_open(struct push *p, struct stand *s)
{
	*p = (struct push){ .s = s };
	s->hook = watch;
	s->hook_context = p;
	assert_ok(&s->e, worker_upload_new(&s->clock.env, s->blobs, s->client, &p->upload, &s->e));
}

static void turns(struct push *p, int64_t ms)
{
	struct stand *s = p->s;
	struct msg_received *received = NULL;
	for (; ms > 0; ms -= STAND_TURN_MS) {
		env_manual_advance(&s->clock, STAND_TURN_MS * 1000);
		stand_script(s);
		while (s->client->ops->recv(s->client, &received, &s->e) == 0) {
			assert_true(worker_upload_receive(p->upload, &received->msg));
			msg_free(&received);
		}
		worker_upload_tick(p->upload);
	}
}

static void start(struct push *p, const struct hash *roots, size_t count)
{
	assert_ok(&p->s->e, worker_upload_start(p->upload, roots, count, on_done, p, &p->s->e));
}

static void expect_whole(struct push *p, const struct hash *root)
{
	assert_int_equal(p->calls, 1);
	assert_int_equal(p->code, 0);
	stand_blob_whole(p->s, p->s->source, root);
}

static void sends_what_is_missing_and_no_more(void **state)
{
	struct push p;
	push_open(&p, *state);
	struct hash roots[3] = { 0 };
	roots[0] = stand_blob_put(p.s, p.s->blobs, 1, 20 * STORE_CHUNK_BYTES);
	roots[2] = stand_blob_put(p.s, p.s->blobs, 2, 10);
	(void)stand_blob_put(p.s, p.s->source, 2, 10); /* is there */
	start(&p, roots, 3);
	turns(&p, 2000);
	expect_whole(&p, &roots[0]);
	assert_int_equal(p.chunks, 21);
	assert_int_equal(worker_upload_stored(p.upload), 21);
	assert_int_equal(p.haves, 2); /* and once more, for the coordinator's word */
	worker_upload_destroy(&p.upload);
}

static void no_more_than_a_window_is_under_way(void **state)
{
	struct push p;
	push_open(&p, *state);
	struct hash root = stand_blob_put(p.s, p.s->blobs, 3, 60 * STORE_CHUNK_BYTES);
	p.mute_chunks = true;
	start(&p, &root, 1);
	turns(&p, 1500);
	assert_int_equal(p.chunks, WORKER_UPLOAD_WINDOW);
	/* What is not acknowledged is asked about and sent again. */
	p.mute_chunks = false;
	turns(&p, 4000);
	expect_whole(&p, &root);
	assert_int_equal(p.chunks, WORKER_UPLOAD_WINDOW + 61);
	worker_upload_destroy(&p.upload);
}

/* The coordinator's disk has changed what it had from here. It asks again for what is beyond the limit. */
static void what_the_coordinator_needs_is_given(void **state)
{
	struct push p;
	struct buf chunk = BUF_INIT, list = BUF_INIT;
	uint64_t byte_count;
	push_open(&p, *state);
	struct hash waiting = stand_blob_put(p.s, p.s->blobs, 11, 10);
	struct hash root = stand_blob_put(p.s, p.s->blobs, 12, 20 * STORE_CHUNK_BYTES), none = { { 1 } };
	assert_ok(&p.s->e, store_chunk_get(p.s->blobs, &root, &chunk, &p.s->e));
	buf_append(&list, none.bytes, HASH_BYTES);
	buf_append(&list, root.bytes, HASH_BYTES);
	assert_ok(&p.s->e, store_root_parse(chunk.data, chunk.len, &list, &byte_count, &p.s->e));
	const struct hash *hashes = (const struct hash *)(const void *)list.data;
	p.mute_haves = true;
	start(&p, &waiting, 1);
	worker_upload_needed(p.upload, &(struct msg_hashes){ hashes, 22, 0 });
	turns(&p, 500);
	assert_int_equal(p.chunks, MSG_NEED_GIVEN_MAX);
	worker_upload_needed(p.upload,
			     &(struct msg_hashes){ hashes + 1 + MSG_NEED_GIVEN_MAX, 21 - MSG_NEED_GIVEN_MAX, 0 });
	turns(&p, 500);
	assert_int_equal(p.absent, 0);
	worker_upload_needed(p.upload, &(struct msg_hashes){ hashes, 1, 0 });
	turns(&p, 500);
	assert_int_equal(p.absent, 1);
	p.mute_haves = false; /* and the upload that was under way goes on */
	turns(&p, 4000);
	expect_whole(&p, &waiting);
	expect_whole(&p, &root);
	buf_free(&chunk);
	buf_free(&list);
	worker_upload_destroy(&p.upload);
}

static void a_lost_question_is_asked_again(void **state)
{
	struct push p;
	push_open(&p, *state);
	struct hash root = stand_blob_put(p.s, p.s->blobs, 4, 10);
	p.mute_haves = true;
	start(&p, &root, 1);
	turns(&p, 4500);
	assert_int_equal(p.haves, 3);
	/* An answer to an earlier question counts no more. */
	struct msg late = { .type = MSG_MISSING, .request_id = 1, .u.hashes = { NULL, 0, 0 } };
	stand_send(p.s, &late);
	turns(&p, 200);
	assert_int_equal(p.calls, 0);
	p.mute_haves = false;
	turns(&p, 2500);
	expect_whole(&p, &root);
	worker_upload_destroy(&p.upload);
}

static void long_lists_are_asked_about_in_pages(void **state)
{
	struct push p;
	push_open(&p, *state);
	struct hash *roots = calloc(520, sizeof *roots);
	assert_non_null(roots);
	for (size_t i = 0; i < 520; i++) {
		roots[i] = stand_blob_put(p.s, p.s->blobs, 1000 + i, 8);
		(void)stand_blob_put(p.s, p.s->source, 1000 + i, 8);
	}
	struct hash last = roots[519] = stand_blob_put(p.s, p.s->blobs, 5, 8); /* only this one is not there */
	start(&p, roots, 520);
	turns(&p, 1000);
	expect_whole(&p, &last);
	assert_int_equal(p.largest_have, 1024);
	assert_int_equal(p.haves, 3);
	assert_int_equal(p.chunks, 2);
	free(roots);
	worker_upload_destroy(&p.upload);
}

static void a_refused_chunk_ends_it(void **state)
{
	struct push p;
	push_open(&p, *state);
	struct hash root = stand_blob_put(p.s, p.s->blobs, 6, 3 * STORE_CHUNK_BYTES);
	p.refuse = true;
	start(&p, &root, 1);
	turns(&p, 500);
	assert_int_equal(p.calls, 1);
	assert_int_equal(p.code, ERR_FULL);
	p.refuse = false;
	p.calls = 0;
	start(&p, &root, 1);
	turns(&p, 500);
	expect_whole(&p, &root);
	worker_upload_destroy(&p.upload);
}

static void one_at_a_time_until_cancelled(void **state)
{
	struct push p;
	push_open(&p, *state);
	struct hash root = stand_blob_put(p.s, p.s->blobs, 7, 10), other = stand_blob_put(p.s, p.s->blobs, 8, 10);
	start(&p, &root, 1);
	assert_int_equal(worker_upload_start(p.upload, &other, 1, on_done, &p, &p.s->e), ERR_AGAIN);
	worker_upload_cancel(p.upload);
	turns(&p, 3000);
	assert_int_equal(p.calls, 0);
	start(&p, &other, 1);
	turns(&p, 500);
	expect_whole(&p, &other);
	worker_upload_destroy(&p.upload);
}

static void what_is_not_on_this_disk_is_refused_or_said(void **state)
{
	struct push p;
	struct buf chunks = BUF_INIT;
	struct hash nowhere, second;
	push_open(&p, *state);
	memset(nowhere.bytes, 0x77, HASH_BYTES);
	assert_int_equal(worker_upload_start(p.upload, &nowhere, 1, on_done, &p, &p.s->e), ERR_NOT_FOUND);
	struct hash root = stand_blob_put(p.s, p.s->blobs, 9, 3 * STORE_CHUNK_BYTES);
	stand_blob_chunks(p.s->blobs, &root, &chunks);
	memcpy(&second, (struct hash *)(void *)chunks.data + 1, sizeof second);
	stand_rot(p.s, &second);
	start(&p, &root, 1);
	turns(&p, 500);
	assert_int_equal(p.calls, 1);
	assert_int_equal(p.code, ERR_CORRUPT);
	bool has = true;
	assert_ok(&p.s->e, store_chunk_has(p.s->source, &second, &has, &p.s->e));
	assert_false(has);
	buf_free(&chunks);
	worker_upload_destroy(&p.upload);
}

static void without_memory_it_says_so_or_goes_on(void **state)
{
	struct push p;
	int said = 0;
	push_open(&p, *state);
	for (int64_t n = 0; n < 40; n++) {
		struct hash root = stand_blob_put(p.s, p.s->blobs, 100 + (uint64_t)n, 2 * STORE_CHUNK_BYTES);
		p.calls = 0;
		fault_set(n, 1);
		int rc = worker_upload_start(p.upload, &root, 1, on_done, &p, &p.s->e);
		fault_set(-1, 0);
		assert_true(rc == 0 || rc == ERR_NOMEM);
		said += rc != 0;
		if (rc != 0)
			continue;
		stand_script(p.s);
		struct msg_received *received = NULL;
		while (p.s->client->ops->recv(p.s->client, &received, &p.s->e) == 0) {
			fault_set(n, 1);
			(void)worker_upload_receive(p.upload, &received->msg);
			fault_set(-1, 0);
			msg_free(&received);
		}
		turns(&p, 3000);
		assert_int_equal(p.calls, 1);
		assert_true(p.code == 0 || p.code == ERR_NOMEM);
		said += p.code != 0;
		if (p.code == 0)
			expect_whole(&p, &root);
	}
	assert_true(said >= 3);
	worker_upload_destroy(&p.upload);
}

#define T(f) cmocka_unit_test_setup_teardown(f, stand_setup, stand_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(sends_what_is_missing_and_no_more),    T(no_more_than_a_window_is_under_way),
		T(what_the_coordinator_needs_is_given),  T(a_lost_question_is_asked_again),
		T(long_lists_are_asked_about_in_pages),  T(a_refused_chunk_ends_it),
		T(one_at_a_time_until_cancelled),        T(what_is_not_on_this_disk_is_refused_or_said),
		T(without_memory_it_says_so_or_goes_on),
	};
	return cmocka_run_group_tests(tests, stand_model_open, stand_model_close);
}
