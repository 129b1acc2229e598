/* The table of connections: as full as it may be, and while wire ids come, go and share places. */
#include "proto/peers.h"
#include "tests/lib/test.h"

#include "base/rng.h"

#define PEERS_MAX 8

static const uint8_t key[PROTO_KEY_BYTES] = { 7 }, other_key[PROTO_KEY_BYTES] = { 8 };

static bool has(const struct proto__peers *peers, uint64_t route)
{
	uint32_t wire_id;
	return proto__peers_find(peers, route, &wire_id) != NULL;
}

static void who_was_silent_longest_is_forgotten(void **state)
{
	(void)state;
	struct proto__peers peers;
	uint64_t routes[PEERS_MAX];
	assert_int_equal(proto__peers_init(&peers, PEERS_MAX), 0);
	for (uint32_t id = 0; id < PEERS_MAX; id++)
		routes[id] = proto__peers_seen(&peers, 100 + id, key);
	assert_int_equal(proto__peers_seen(&peers, 100, key), routes[0]); /* speaks again */
	const uint64_t more = proto__peers_seen(&peers, 200, key);
	assert_false(has(&peers, routes[1]));
	for (size_t i = 0; i < PEERS_MAX; i++)
		assert_int_equal(has(&peers, routes[i]), i != 1);
	assert_true(has(&peers, more));
	assert_int_equal(peers.peer_count, PEERS_MAX);
	assert_int_not_equal(proto__peers_seen(&peers, 101, key), routes[1]);
	proto__peers_fini(&peers);
}

/* An answer to the old one must not reach the new one. */
static void another_key_is_another_peer(void **state)
{
	(void)state;
	struct proto__peers peers;
	uint32_t wire_id = 0;
	assert_int_equal(proto__peers_init(&peers, PEERS_MAX), 0);
	const uint64_t first = proto__peers_seen(&peers, 5, key), second = proto__peers_seen(&peers, 5, other_key);
	assert_int_not_equal(first, second);
	assert_null(proto__peers_find(&peers, first, &wire_id));
	assert_memory_equal(proto__peers_find(&peers, second, &wire_id), other_key, PROTO_KEY_BYTES);
	assert_int_equal(wire_id, 5);
	assert_int_equal(peers.peer_count, 1);
	proto__peers_forget(&peers, first); /* ended already */
	assert_true(has(&peers, second));
	proto__peers_forget(&peers, second);
	assert_int_equal(peers.peer_count, 0);
	assert_null(proto__peers_find(&peers, 0, &wire_id));
	proto__peers_fini(&peers);
}

/* Whom the table does not forget it finds, though others leave the places before. */
static void who_leaves_hides_nobody(void **state)
{
	(void)state;
	struct proto__peers peers;
	struct rng rng;
	uint64_t routes[64] = { 0 };
	uint32_t ids[64]; /* of any kind: half of the places are taken, so that many stand where another belongs */
	rng_init(&rng, 1);
	for (size_t i = 0; i < 64; i++)
		ids[i] = (uint32_t)rng_u64(&rng);
	assert_int_equal(proto__peers_init(&peers, 64), 0);
	for (int i = 0; i < 20000; i++) {
		const size_t at = (size_t)rng_below(&rng, 64);
		if (routes[at] != 0 && rng_below(&rng, 2) == 0) {
			proto__peers_forget(&peers, routes[at]);
			routes[at] = 0;
		} else {
			const uint64_t route = proto__peers_seen(&peers, ids[at], key);
			assert_true(routes[at] == 0 || routes[at] == route);
			routes[at] = route;
		}
		size_t count = 0;
		for (size_t k = 0; k < 64; k++) {
			assert_true(routes[k] == 0 || has(&peers, routes[k]));
			count += routes[k] != 0;
		}
		assert_int_equal(peers.peer_count, count);
	}
	proto__peers_fini(&peers);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_was_silent_longest_is_forgotten),
		cmocka_unit_test(another_key_is_another_peer),
		cmocka_unit_test(who_leaves_hides_nobody),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
