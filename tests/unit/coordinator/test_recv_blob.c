/* Chunks up and down by hash. */
#include "tests/lib/coordinator_fixture.h"

static void chunk_send(struct cluster *c, const char *bytes, const struct hash *hash)
{
	struct msg msg = { .type = MSG_CHUNK };
	msg.u.chunk.hash = *hash;
	msg.u.chunk.data = (struct msg_bytes){ bytes, strlen(bytes) };
	end_send(&c->worker, &msg);
}

static void test_have_missing_chunk_stored(void **state)
{
	struct cluster *c = *state;
	struct hash hashes[2];
	cluster_start(c);
	hash_of("one", 3, &hashes[0]);
	hash_of("two", 3, &hashes[1]);
	chunk_send(c, "one", &hashes[0]);
	cluster_run(c);
	struct msg_received *stored = end_expect(&c->worker, MSG_CHUNK_STORED);
	assert_int_equal(stored->msg.u.chunk.code, 0);
	assert_true(hash_equal(&stored->msg.u.chunk.hash, &hashes[0]));
	msg_free(&stored);
	struct msg have = { .type = MSG_HAVE, .u.hashes = { hashes, 2, 0 } };
	end_send(&c->worker, &have);
	cluster_run(c);
	struct msg_received *missing = end_expect(&c->worker, MSG_MISSING);
	assert_int_equal(missing->msg.u.hashes.hash_count, 1);
	assert_true(hash_equal(&missing->msg.u.hashes.hashes[0], &hashes[1]));
	msg_free(&missing);
}

/* One chunk of a batch lies about its hash: it alone is refused. */
static void test_flipped_chunk_is_refused_alone(void **state)
{
	struct cluster *c = *state;
	struct hash good, bad;
	bool has = true;
	cluster_start(c);
	hash_of("good", 4, &good);
	hash_of("evil", 4, &bad);
	chunk_send(c, "good", &good);
	chunk_send(c, "EVIL", &bad);
	cluster_run(c);
	struct msg_received *one = end_expect(&c->worker, MSG_CHUNK_STORED),
			    *two = end_expect(&c->worker, MSG_CHUNK_STORED);
	assert_int_equal(one->msg.u.chunk.code, 0);
	assert_int_equal(two->msg.u.chunk.code, ERR_CORRUPT);
	msg_free(&one);
	msg_free(&two);
	assert_ok(&c->e, store_chunk_has(c->store, &bad, &has, &c->e));
	assert_false(has);
	assert_ok(&c->e, store_chunk_has(c->store, &good, &has, &c->e));
	assert_true(has);
}

static void test_need_is_answered_one_chunk_a_hash(void **state)
{
	struct cluster *c = *state;
	struct hash hashes[2], root;
	cluster_start(c);
	assert_ok(&c->e, store_blob_put(c->store, "content", 7, &root, &c->e));
	hash_of("content", 7, &hashes[0]);
	hash_of("nothing", 7, &hashes[1]);
	struct msg need = { .type = MSG_NEED, .u.hashes = { hashes, 2, 0 } };
	end_send(&c->node, &need);
	cluster_run(c);
	struct msg_received *one = end_expect(&c->node, MSG_CHUNK), *two = end_expect(&c->node, MSG_CHUNK);
	assert_int_equal(one->msg.u.chunk.code, 0);
	assert_int_equal(one->msg.u.chunk.data.len, 7);
	assert_memory_equal(one->msg.u.chunk.data.bytes, "content", 7);
	assert_int_equal(one->msg.request_id, c->node.next_request);
	assert_int_equal(two->msg.u.chunk.code, ERR_NOT_FOUND);
	msg_free(&one);
	msg_free(&two);
}

/* More than a peer's queue holds: the rest waits in the backlog, and none is lost. */
static void test_need_backlog_is_kept_and_bounded(void **state)
{
	struct cluster *c = *state;
	static struct hash hashes[MSG_HASHES_MAX];
	size_t got = 0;
	cluster_start(c);
	hash_of("nothing", 7, &hashes[0]);
	for (size_t i = 1; i < MSG_HASHES_MAX; i++)
		hashes[i] = hashes[0];
	struct msg need = { .type = MSG_NEED, .u.hashes = { hashes, MSG_HASHES_MAX, 0 } };
	for (int i = 0; i < 5; i++)
		end_send(&c->node, &need);
	struct msg_received *received = NULL;
	while (c->server->ops->recv(c->server, &received, NULL) == 0) {
		coordinator_receive(c->coordinator, &received);
		msg_free(&received);
	}
	size_t refused = 0;
	for (int turn = 0; turn < 50; turn++) {
		while (c->node.transport->ops->recv(c->node.transport, &received, NULL) == 0) {
			got += received->msg.type == MSG_CHUNK;
			refused += received->msg.type == MSG_ERROR;
			msg_free(&received);
		}
		coordinator_tick(c->coordinator);
	}
	assert_true(got % MSG_HASHES_MAX == 0);
	assert_true(got >= 2 * MSG_HASHES_MAX && got < 5 * MSG_HASHES_MAX);
	(void)refused; /* the answer itself finds a full queue and may be dropped */
}

#define T(f) cmocka_unit_test_setup_teardown(f, cluster_setup, cluster_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_have_missing_chunk_stored),
		T(test_flipped_chunk_is_refused_alone),
		T(test_need_is_answered_one_chunk_a_hash),
		T(test_need_backlog_is_kept_and_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
