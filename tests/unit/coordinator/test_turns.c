/* Whose turn it is when the queue is full: shares of a queue that drains slower than it is asked for. */
#include "coordinator/turns.h"
#include "tests/lib/coordinator_fixture.h"

#define CLIENTS 4
#define ROUNDS  3000

struct queue {
	struct turns turns;
	size_t room;
	int64_t now_ms;
	uint64_t taken[CLIENTS];
};

static bool ask(struct queue *q, size_t client, size_t count)
{
	uint8_t key[PROTO_KEY_BYTES] = { (uint8_t)client };
	bool taken = coordinator__turn_take(&q->turns, key, count, count <= q->room, q->now_ms);
	if (taken) {
		q->room -= count;
		q->taken[client] += count;
	}
	return taken;
}

/* Each asks as often as it likes, for as much at a time as it likes. */
static void rounds(struct queue *q, const size_t *times, const size_t *counts, size_t n)
{
	for (size_t round = 0; round < n; round++) {
		q->room += 2;
		q->now_ms += 100;
		for (size_t client = 0; client < CLIENTS; client++)
			for (size_t i = 0; i < times[client]; i++)
				(void)ask(q, client, counts[client]);
	}
}

static void test_nobody_is_remembered_while_there_is_room(void **state)
{
	(void)state;
	struct queue q = { .room = 1000 };
	for (size_t i = 0; i < 100; i++)
		assert_true(ask(&q, i % CLIENTS, 10));
	assert_int_equal(q.turns.count, 0);
}

static void test_shares_are_equal_however_often_one_asks(void **state)
{
	(void)state;
	struct queue q = { .room = 10 };
	const size_t times[CLIENTS] = { 40, 1, 2, 1 }, counts[CLIENTS] = { 1, 1, 5, 10 };
	rounds(&q, times, counts, ROUNDS);
	for (size_t client = 0; client < CLIENTS; client++)
		assert_in_range(q.taken[client], 2 * ROUNDS / CLIENTS - 30, 2 * ROUNDS / CLIENTS + 30);
}

static void test_who_asks_little_waits_for_no_more_than_one_of_each(void **state)
{
	(void)state;
	struct queue q = { .room = 10 };
	const size_t times[CLIENTS] = { 40, 40, 40, 0 }, counts[CLIENTS] = { 5, 5, 5, 0 };
	rounds(&q, times, counts, 1000);
	const uint64_t before = q.taken[0] + q.taken[1] + q.taken[2];
	while (!ask(&q, 3, 1))
		rounds(&q, times, counts, 1);
	assert_in_range(q.taken[0] + q.taken[1] + q.taken[2] - before, 0, 15);
}

/* Having asked for nothing before gives no claim. */
static void test_who_comes_later_has_an_equal_share_from_then_on(void **state)
{
	(void)state;
	struct queue q = { .room = 10 };
	const size_t before[CLIENTS] = { 40, 40, 40, 0 }, then[CLIENTS] = { 40, 40, 40, 40 },
		     counts[CLIENTS] = { 1, 1, 1, 1 };
	rounds(&q, before, counts, ROUNDS);
	rounds(&q, then, counts, 200);
	assert_in_range(q.taken[3], 2 * 200 / CLIENTS - 10, 2 * 200 / CLIENTS + 10);
}

/* Nor has it a claim when one that was long away has just had its own turn. */
static void test_who_was_away_makes_nobody_earlier(void **state)
{
	(void)state;
	struct queue q = { .room = 0 };
	assert_false(ask(&q, 0, 1)); /* from here on turns count */
	q.room = 1000;
	assert_true(ask(&q, 0, 1));
	assert_true(ask(&q, 1, 1)); /* and is away */
	assert_true(ask(&q, 0, 50));
	assert_true(ask(&q, 0, 1));
	assert_true(ask(&q, 1, 1));
	q.room = 0;
	assert_false(ask(&q, 0, 1));
	q.room = 1000;
	assert_true(ask(&q, 2, 10));  /* it comes first with its first, */
	assert_false(ask(&q, 2, 10)); /* not with all that the other has had */
}

static void test_nobody_waits_for_one_that_has_gone(void **state)
{
	(void)state;
	struct queue q = { .room = 0 };
	assert_false(ask(&q, 1, 100));
	q.room = 10;
	assert_false(ask(&q, 0, 1)); /* the first has not enough room yet, and is before */
	q.now_ms += TURNS_WAIT_MS + 1;
	assert_true(ask(&q, 0, 1));
}

static void test_so_many_are_remembered(void **state)
{
	(void)state;
	struct queue q = { .room = 0 };
	for (int i = 0; i < 3 * TURNS_MAX; i++) {
		uint8_t key[PROTO_KEY_BYTES] = { (uint8_t)i, 1 };
		q.now_ms++;
		assert_false(coordinator__turn_take(&q.turns, key, 1, false, q.now_ms));
		assert_true(q.turns.count <= TURNS_MAX);
	}
	for (size_t i = 0; i < q.turns.count; i++) /* the last that asked */
		assert_true(q.turns.list[i].asked_ms > q.now_ms - TURNS_MAX);
}

static int code_of_one(struct cluster *c, struct end_peer *end, const char *record)
{
	struct msg_bytes bytes = { record, strlen(record) };
	struct msg msg = { .type = MSG_SUBMIT, .u.submit = { MSG_KEEP, &bytes, 1 } };
	end_send(end, &msg);
	cluster_run(c);
	cluster_advance(c, c->config.commit_wait_ms);
	struct msg_received *reply = end_expect(end, MSG_SUBMIT_REPLY);
	int code = reply->msg.u.submit_reply.results[0].code;
	msg_free(&reply);
	return code;
}

static void test_who_waits_for_the_full_queue_comes_before_who_filled_it(void **state)
{
	struct cluster *c = *state;
	const char *more = "{\"prompt\":\"One more?\",\"target_new\":\"no\"}";
	uint64_t shard;
	c->config.queue_edits_max = 3;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	client_facts(c, 1, 3);
	const char *mine = "{\"prompt\":\"And mine?\",\"target_new\":\"yes\"}";
	assert_int_equal(code_of_one(c, &c->submitter, mine), ERR_AGAIN);
	uint64_t epoch = worker_lease(&c->worker, &shard);
	assert_int_equal(worker_turn(&c->worker, shard, epoch), 1);
	assert_int_equal(code_of_one(c, &c->client, more), ERR_AGAIN);
	assert_int_equal(code_of_one(c, &c->submitter, mine), 0);
}

/* Coming back would not help: it is told how many. */
static void test_more_than_the_queue_can_hold_are_refused(void **state)
{
	struct cluster *c = *state;
	static const char limit[] = "at most 3 may wait";
	const char *more = "{\"prompt\":\"One more?\",\"target_new\":\"no\"}";
	const char *records[] = { more, more, more, more };
	c->config.queue_edits_max = 3;
	cluster_start(c);
	struct msg_received *reply = client_submit(c, MSG_SUPERSEDE, records, 4);
	const struct msg_submit_reply *answer = &reply->msg.u.submit_reply;
	assert_int_equal(answer->result_count, 4);
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(answer->results[i].code, ERR_LIMIT);
		assert_non_null(strstr(answer->results[i].reason.text, limit));
	}
	assert_int_equal(answer->retry_after_ms, 0);
	msg_free(&reply);
	client_facts(c, 1, 3); /* and nobody waits for it */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nobody_is_remembered_while_there_is_room),
		cmocka_unit_test(test_shares_are_equal_however_often_one_asks),
		cmocka_unit_test(test_who_asks_little_waits_for_no_more_than_one_of_each),
		cmocka_unit_test(test_who_comes_later_has_an_equal_share_from_then_on),
		cmocka_unit_test(test_who_was_away_makes_nobody_earlier),
		cmocka_unit_test(test_nobody_waits_for_one_that_has_gone),
		cmocka_unit_test(test_so_many_are_remembered),
		cmocka_unit_test_setup_teardown(test_who_waits_for_the_full_queue_comes_before_who_filled_it,
						cluster_setup, cluster_teardown),
		cmocka_unit_test_setup_teardown(test_more_than_the_queue_can_hold_are_refused, cluster_setup,
						cluster_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
