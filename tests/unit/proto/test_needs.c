/* What peers are owed: in order, within limits, and what is held for them until it comes. */
#include "tests/lib/test.h"

#include "base/fault.h"
#include "proto/needs.h"

#define SAID_MAX 16384

struct giver {
	struct {
		uint64_t route, request_id;
		uint8_t hash;
	} said[SAID_MAX];
	size_t count, room; /* room: before the queue of a peer is full */
	bool gone;
	uint8_t absent; /* hashes that begin so are not there yet */
};

static int give(void *context, uint64_t route, const struct proto_need *need)
{
	struct giver *g = context;
	if (g->gone)
		return ERR_CLOSED;
	if (g->absent != 0 && need->hash.bytes[0] == g->absent)
		return ERR_BUSY;
	if (g->count == g->room)
		return ERR_AGAIN;
	g->said[g->count].route = route;
	g->said[g->count].request_id = need->request_id;
	g->said[g->count++].hash = need->hash.bytes[0];
	return 0;
}

static int ask(struct proto_needs *needs, uint64_t route, uint64_t request_id, const char *hashes, int64_t now_us)
{
	struct hash wanted[64];
	struct msg_received need = { .route = route };
	memset(wanted, 0, sizeof wanted);
	for (size_t i = 0; i < strlen(hashes); i++)
		wanted[i].bytes[0] = (uint8_t)hashes[i];
	need.msg = (struct msg){ .type = MSG_NEED, .request_id = request_id };
	need.msg.u.hashes = (struct msg_hashes){ wanted, strlen(hashes), 3 };
	return proto_needs_add(needs, &need, now_us);
}

static void expect_said(const struct giver *g, const char *hashes)
{
	assert_int_equal(g->count, strlen(hashes));
	for (size_t i = 0; i < g->count; i++)
		assert_int_equal(g->said[i].hash, hashes[i]);
}

static void in_order_as_far_as_the_queue_goes(void **state)
{
	(void)state;
	static struct giver g;
	struct proto_needs needs = { 0 };
	g = (struct giver){ .room = 2 };
	assert_int_equal(ask(&needs, 1, 10, "abc", 0), 0);
	assert_int_equal(ask(&needs, 1, 11, "aa", 0), 0); /* each is answered, however often it is asked for */
	proto_needs_pump(&needs, give, &g);
	expect_said(&g, "ab");
	assert_int_equal(proto_needs_count(&needs), 3);
	g.room = SAID_MAX;
	proto_needs_pump(&needs, give, &g);
	expect_said(&g, "abcaa");
	assert_int_equal(g.said[2].request_id, 10);
	assert_int_equal(g.said[3].request_id, 11);
	assert_int_equal(needs.peer_count, 0);
	proto_needs_fini(&needs);
}

/* A full queue ends it: what is owed behind what was given, or is held, stays in its order. */
static void a_full_queue_ends_it(void **state)
{
	(void)state;
	static struct giver g;
	struct proto_needs needs = { 0 };
	g = (struct giver){ .room = 2, .absent = 'b' };
	assert_int_equal(ask(&needs, 1, 10, "abcdef", 0), 0);
	proto_needs_pump(&needs, give, &g);
	expect_said(&g, "ac");
	assert_int_equal(proto_needs_count(&needs), 4);
	proto_needs_pump(&needs, give, &g); /* nothing goes */
	expect_said(&g, "ac");
	g.absent = 0;
	g.room = SAID_MAX;
	proto_needs_pump(&needs, give, &g);
	expect_said(&g, "acbdef");
	assert_int_equal(needs.peer_count, 0);
	proto_needs_fini(&needs);
}

/* What is not there yet stands in nobody's way, and is owed once, to the newest question. */
static void what_is_held_comes_later(void **state)
{
	(void)state;
	static struct giver g;
	struct proto_needs needs = { 0 };
	g = (struct giver){ .room = SAID_MAX, .absent = 'b' };
	assert_int_equal(ask(&needs, 1, 10, "abc", 0), 0);
	assert_int_equal(ask(&needs, 2, 20, "b", 0), 0);
	proto_needs_pump(&needs, give, &g);
	expect_said(&g, "ac");
	assert_int_equal(ask(&needs, 1, 12, "b", 0), 0);
	assert_int_equal(proto_needs_count(&needs), 2);
	g.absent = 0;
	proto_needs_pump(&needs, give, &g);
	assert_int_equal(g.count, 4);
	for (size_t i = 2; i < 4; i++)
		assert_int_equal(g.said[i].request_id, g.said[i].route == 1 ? 12 : 20);
	proto_needs_fini(&needs);
}

static void who_is_gone_or_silent_is_owed_nothing(void **state)
{
	(void)state;
	static struct giver g;
	struct proto_needs needs = { 0 };
	g = (struct giver){ .room = SAID_MAX, .absent = 'b' };
	assert_int_equal(ask(&needs, 1, 10, "b", 100), 0);
	assert_int_equal(ask(&needs, 2, 20, "b", 200), 0);
	proto_needs_pump(&needs, give, &g);
	proto_needs_forget(&needs, 150);
	assert_int_equal(proto_needs_count(&needs), 1);
	assert_int_equal(ask(&needs, 2, 21, "b", 400), 0); /* not silent */
	proto_needs_forget(&needs, 300);
	assert_int_equal(proto_needs_count(&needs), 1);
	g.gone = true;
	proto_needs_pump(&needs, give, &g);
	assert_int_equal(needs.peer_count, 0);
	proto_needs_fini(&needs);
}

static void within_limits(void **state)
{
	(void)state;
	static struct giver g;
	struct proto_needs needs = { 0 };
	char many[65] = "";
	g = (struct giver){ .room = SAID_MAX };
	memset(many, 'a', 64);
	for (size_t i = 0; i < PROTO_NEED_HASHES_MAX / 64; i++)
		assert_int_equal(ask(&needs, 1, i, many, 0), 0);
	assert_int_equal(ask(&needs, 1, 99, "a", 0), ERR_AGAIN);
	assert_int_equal(proto_needs_count(&needs), PROTO_NEED_HASHES_MAX);
	for (uint64_t route = 2; route <= PROTO_NEED_PEERS_MAX; route++)
		assert_int_equal(ask(&needs, route, 1, "a", 0), 0);
	assert_int_equal(ask(&needs, PROTO_NEED_PEERS_MAX + 1, 1, "a", 0), ERR_AGAIN);
	proto_needs_pump(&needs, give, &g);
	assert_int_equal(g.count, PROTO_NEED_HASHES_MAX + PROTO_NEED_PEERS_MAX - 1);
	assert_int_equal(ask(&needs, 1, 1, "a", 0), 0);
	proto_needs_fini(&needs);
}

static void without_memory_nothing_is_taken(void **state)
{
	(void)state;
	static struct giver g;
	struct proto_needs needs = { 0 };
	g = (struct giver){ .room = SAID_MAX };
	for (int64_t n = 0; n < 2; n++) {
		fault_set(n, 1);
		assert_true(ask(&needs, 1, 1, "abc", 0) != 0);
		fault_set(-1, 0);
		proto_needs_pump(&needs, give, &g);
		assert_int_equal(g.count, 0);
	}
	assert_int_equal(ask(&needs, 1, 1, "abc", 0), 0);
	proto_needs_fini(&needs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_order_as_far_as_the_queue_goes),
		cmocka_unit_test(a_full_queue_ends_it),
		cmocka_unit_test(what_is_held_comes_later),
		cmocka_unit_test(who_is_gone_or_silent_is_owed_nothing),
		cmocka_unit_test(within_limits),
		cmocka_unit_test(without_memory_nothing_is_taken),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
