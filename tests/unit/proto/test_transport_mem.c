#include "tests/lib/network.h"
#include "tests/lib/test.h"

#include "base/fault.h"
#include "base/log.h"

struct world {
	char folder[TEST_PATH_BYTES];
	struct env_manual clock;
	struct proto_mem *mem;
	struct proto_allow *allow;
	uint8_t key[PROTO_KEY_BYTES], stranger[PROTO_KEY_BYTES];
	struct proto_transport *server, *client;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct err e = ERR_INIT;
	assert_non_null(w);
	test_folder_make(w->folder);
	env_manual_init(&w->clock, 1);
	memset(w->key, 0x11, sizeof(w->key));
	memset(w->stranger, 0x22, sizeof(w->stranger));
	w->allow = test_allow_make(w->folder, w->key, PROTO_ROLE_WORKER);
	assert_ok(&e, proto_mem_new(&w->clock.env, 5, &w->mem, &e));
	assert_ok(&e, proto_mem_listen(w->mem, "coordinator", w->allow, &w->server, &e));
	assert_ok(&e, proto_mem_connect(w->mem, "w0", "coordinator", w->key, &w->client, &e));
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	test_end_destroy(&w->client);
	test_end_destroy(&w->server);
	proto_mem_destroy(&w->mem);
	proto_allow_destroy(&w->allow);
	test_folder_remove(w->folder);
	free(w);
	return 0;
}

static struct msg want(uint64_t id)
{
	return (struct msg){ .type = MSG_WANT, .request_id = id, .u.want = { 1, 2, 3, 4 } };
}

static size_t receive_all(struct proto_transport *t, uint64_t *ids, size_t max)
{
	struct msg_received *got = NULL;
	size_t count = 0;
	while (t->ops->recv(t, &got, NULL) == 0) {
		if (count < max)
			ids[count] = got->msg.request_id;
		count++;
		msg_free(&got);
	}
	return count;
}

static void there_and_back(void **state)
{
	struct world *w = *state;
	struct err e = ERR_INIT;
	struct msg msg = want(9);
	struct msg_received *got = NULL;
	assert_true(proto_mem_next_due(w->mem) == INT64_MAX);
	assert_ok(&e, w->client->ops->send(w->client, 0, &msg, &e));
	assert_ok(&e, w->server->ops->recv(w->server, &got, &e));
	assert_int_equal(got->msg.u.want.credit, 3);
	assert_int_equal(got->roles, PROTO_ROLE_WORKER);
	assert_memory_equal(got->peer_key, w->key, 32);
	uint64_t route = got->route;
	assert_int_not_equal(route, 0);
	msg_free(&got);
	struct msg chunk = { .type = MSG_CHUNK, .request_id = 9, .u.chunk = { .data = { "bytes", 5 } } };
	assert_ok(&e, w->server->ops->send(w->server, route, &chunk, &e));
	assert_ok(&e, w->client->ops->recv(w->client, &got, &e));
	assert_memory_equal(got->msg.u.chunk.data.bytes, "bytes", 5);
	msg_free(&got);
	assert_int_equal(w->client->ops->recv(w->client, &got, NULL), ERR_AGAIN);
	assert_int_equal(w->client->ops->fd(w->client), -1);
	test_end_destroy(&w->client);
	assert_int_equal(w->server->ops->send(w->server, route, &chunk, &e), ERR_CLOSED);
}

static void the_same_rights_hold(void **state)
{
	struct world *w = *state;
	struct err e = ERR_INIT;
	struct proto_transport *stranger = NULL;
	struct msg msg = { .type = MSG_SHUTDOWN, .request_id = 3 }, fine = want(4);
	struct msg_refused_key refused[MSG_REFUSED_KEYS_MAX];
	struct msg_received *got = NULL;
	assert_ok(&e, w->client->ops->send(w->client, 0, &msg, &e));
	assert_int_equal(w->server->ops->recv(w->server, &got, NULL), ERR_AGAIN);
	assert_int_equal(w->server->counts.forbidden, 1);
	assert_ok(&e, w->client->ops->recv(w->client, &got, &e));
	assert_int_equal(got->msg.type, MSG_ERROR);
	assert_int_equal(got->msg.u.error.code, ERR_DENIED);
	assert_int_equal(got->msg.request_id, 3);
	msg_free(&got);
	assert_ok(&e, proto_mem_connect(w->mem, "x", "coordinator", w->stranger, &stranger, &e));
	assert_ok(&e, stranger->ops->send(stranger, 0, &fine, &e));
	assert_int_equal(w->server->ops->recv(w->server, &got, NULL), ERR_AGAIN);
	assert_int_equal(w->server->counts.unauthenticated, 1);
	assert_int_equal(w->server->ops->refused(w->server, refused), 1);
	assert_memory_equal(refused[0].key, w->stranger, PROTO_KEY_BYTES);
	assert_int_equal(w->client->ops->refused(w->client, refused), 0);
	assert_int_equal(stranger->ops->recv(stranger, &got, NULL), ERR_AGAIN);
	test_end_destroy(&stranger);
}

static void delays_follow_the_clock_and_reorder(void **state)
{
	struct world *w = *state;
	uint64_t ids[200];
	proto_mem_faults_set(w->mem, &(struct proto_mem_faults){ 0, 0, 1000, 50000 });
	for (uint64_t i = 0; i < 100; i++) {
		struct msg msg = want(i);
		assert_int_equal(w->client->ops->send(w->client, 0, &msg, NULL), 0);
	}
	assert_int_equal(receive_all(w->server, ids, 200), 0);
	int64_t due = proto_mem_next_due(w->mem);
	assert_in_range(due - w->clock.now_us, 1000, 50000);
	env_manual_advance(&w->clock, due - w->clock.now_us);
	assert_in_range(receive_all(w->server, ids, 200), 1, 5);
	env_manual_advance(&w->clock, 50000);
	size_t rest = receive_all(w->server, ids, 200);
	assert_in_range(rest, 95, 99);
	bool ordered = true;
	for (size_t i = 1; i < rest; i++)
		ordered = ordered && ids[i] > ids[i - 1];
	assert_false(ordered);
	struct proto_mem_counts counts;
	proto_mem_counts_get(w->mem, &counts);
	assert_in_range(counts.reordered, 10, 99);
	assert_int_equal(counts.lost + counts.doubled + counts.cut, 0);
	assert_true(proto_mem_next_due(w->mem) == INT64_MAX);
}

/* What arrives of 1,000 messages under faults; the same seed must give the same. */
static size_t faulty_run(uint64_t seed, double drop, double duplicate, uint64_t *ids, size_t max, const struct world *w)
{
	struct proto_mem *mem = NULL;
	struct proto_transport *server = NULL, *client = NULL;
	assert_int_equal(proto_mem_new(&w->clock.env, seed, &mem, NULL), 0);
	assert_int_equal(proto_mem_listen(mem, "s", w->allow, &server, NULL), 0);
	assert_int_equal(proto_mem_connect(mem, "c", "s", w->key, &client, NULL), 0);
	proto_mem_faults_set(mem, &(struct proto_mem_faults){ drop, duplicate, 0, 0 });
	for (uint64_t i = 0; i < 1000; i++) {
		struct msg msg = want(i);
		assert_int_equal(client->ops->send(client, 0, &msg, NULL), 0);
	}
	size_t count = receive_all(server, ids, max);
	struct proto_mem_counts counts;
	proto_mem_counts_get(mem, &counts);
	assert_int_equal(1000 - counts.lost + counts.doubled, count);
	assert_int_equal(counts.reordered + counts.cut, 0);
	test_end_destroy(&client);
	test_end_destroy(&server);
	proto_mem_destroy(&mem);
	return count;
}

static void drops_and_duplicates_are_seeded(void **state)
{
	struct world *w = *state;
	static uint64_t a[2000], b[2000];
	size_t n = faulty_run(1, 0, 0, a, 2000, w);
	assert_int_equal(n, 1000);
	for (uint64_t i = 0; i < 1000; i++)
		assert_int_equal(a[i], i); /* in order without faults */
	n = faulty_run(1, 0.2, 0, a, 2000, w);
	assert_in_range(n, 740, 860);
	n = faulty_run(1, 0, 0.2, a, 2000, w);
	assert_in_range(n, 1140, 1260);
	n = faulty_run(7, 0.1, 0.1, a, 2000, w);
	assert_int_equal(faulty_run(7, 0.1, 0.1, b, 2000, w), n);
	assert_memory_equal(a, b, n * sizeof(a[0]));
	size_t other = faulty_run(8, 0.1, 0.1, b, 2000, w);
	assert_true(other != n || memcmp(a, b, n * sizeof(a[0])) != 0);
}

static void a_servers_link_carries_one_after_the_other(void **state)
{
	struct world *w = *state;
	static const uint8_t bytes[60000];
	struct msg msg = want(1), chunk = { .type = MSG_CHUNK, .u.chunk = { .data = { bytes, sizeof bytes } } };
	struct msg_received *got = NULL;
	struct proto_mem_counts counts;
	uint64_t ids[8];
	proto_mem_link_set(w->mem, 1000000);
	assert_int_equal(w->client->ops->send(w->client, 0, &msg, NULL), 0);
	assert_int_equal(w->server->ops->recv(w->server, &got, NULL), 0); /* at once: the client's link has no limit */
	for (int i = 0; i < 3; i++)
		assert_int_equal(w->server->ops->send(w->server, got->route, &chunk, NULL), 0);
	msg_free(&got);
	assert_int_equal(receive_all(w->client, ids, 8), 0);
	for (int i = 0; i < 3; i++) {
		assert_in_range(proto_mem_next_due(w->mem) - w->clock.now_us, 60000 * (i == 0), 61000);
		env_manual_advance(&w->clock, 61000);
		assert_int_equal(receive_all(w->client, ids, 8), 1);
	}
	proto_mem_counts_get(w->mem, &counts);
	assert_int_equal(counts.to_server, 1);
	assert_int_equal(counts.from_server, 3);
	assert_in_range(counts.from_server_bytes, 3 * sizeof bytes, 3 * sizeof bytes + 600);
}

/* A send that failed has sent nothing, and is not counted. */
static void want_of_memory_sends_nothing(void **state)
{
	struct world *w = *state;
	for (int n = 0; n < 8; n++) {
		struct proto_mem *mem = NULL;
		struct proto_transport *server = NULL, *client = NULL;
		struct msg msg = want(1);
		uint64_t ids[4];
		assert_int_equal(proto_mem_new(&w->clock.env, 1, &mem, NULL), 0);
		assert_int_equal(proto_mem_listen(mem, "s", w->allow, &server, NULL), 0);
		assert_int_equal(proto_mem_connect(mem, "c", "s", w->key, &client, NULL), 0);
		proto_mem_faults_set(mem, &(struct proto_mem_faults){ 0, 1.0, 0, 0 });
		fault_set(n, 1);
		int rc = client->ops->send(client, 0, &msg, NULL);
		fault_set(-1, 0);
		size_t arrived = receive_all(server, ids, 4);
		if (rc == 0 ? arrived == 0 : arrived != 0)
			fail_msg("allocation %d failed: the result is %d, %zu arrived", n, rc, arrived);
		assert_int_equal(client->counts.sent, rc == 0);
		test_end_destroy(&client);
		test_end_destroy(&server);
		proto_mem_destroy(&mem);
	}
}

/* What the server answers the client by. */
static uint64_t route_learn(struct world *w)
{
	struct msg msg = want(1);
	struct msg_received *got = NULL;
	assert_int_equal(w->client->ops->send(w->client, 0, &msg, NULL), 0);
	assert_int_equal(w->server->ops->recv(w->server, &got, NULL), 0);
	const uint64_t route = got->route;
	msg_free(&got);
	return route;
}

static void a_partition_cuts_both_ways(void **state)
{
	struct world *w = *state;
	struct msg msg = want(1), reply = { .type = MSG_HEARTBEAT_REPLY };
	struct msg_received *got = NULL;
	const uint64_t route = route_learn(w);
	proto_mem_faults_set(w->mem, &(struct proto_mem_faults){ 0, 0, 1000, 1000 });
	assert_int_equal(w->client->ops->send(w->client, 0, &msg, NULL), 0); /* on its way when the line is cut */
	proto_mem_partition(w->mem, "w0", true, true);
	assert_int_equal(w->client->ops->send(w->client, 0, &msg, NULL), 0);
	assert_int_equal(w->server->ops->send(w->server, route, &reply, NULL), 0);
	env_manual_advance(&w->clock, 5000);
	assert_int_equal(w->server->ops->recv(w->server, &got, NULL), ERR_AGAIN);
	assert_int_equal(w->client->ops->recv(w->client, &got, NULL), ERR_AGAIN);
	struct proto_mem_counts counts;
	proto_mem_counts_get(w->mem, &counts);
	assert_int_equal(counts.cut, 3);
	proto_mem_partition(w->mem, "w0", false, false);
	assert_int_equal(w->server->ops->send(w->server, route, &reply, NULL), 0);
	env_manual_advance(&w->clock, 5000);
	assert_int_equal(w->client->ops->recv(w->client, &got, NULL), 0);
	msg_free(&got);
}

static void a_link_is_cut_one_way(void **state)
{
	struct world *w = *state;
	struct msg msg = want(1), reply = { .type = MSG_HEARTBEAT_REPLY };
	struct msg_received *got = NULL;
	const uint64_t route = route_learn(w);
	proto_mem_partition(w->mem, "w0", true, false);
	assert_int_equal(w->client->ops->send(w->client, 0, &msg, NULL), 0);
	assert_int_equal(w->server->ops->send(w->server, route, &reply, NULL), 0);
	assert_int_equal(w->server->ops->recv(w->server, &got, NULL), ERR_AGAIN);
	assert_int_equal(w->client->ops->recv(w->client, &got, NULL), 0);
	msg_free(&got);
	proto_mem_partition(w->mem, "w0", false, true);
	assert_int_equal(w->client->ops->send(w->client, 0, &msg, NULL), 0);
	assert_int_equal(w->server->ops->send(w->server, route, &reply, NULL), 0);
	assert_int_equal(w->server->ops->recv(w->server, &got, NULL), 0);
	msg_free(&got);
	assert_int_equal(w->client->ops->recv(w->client, &got, NULL), ERR_AGAIN);
}

static void hints_go_to_those_on_the_list(void **state)
{
	struct world *w = *state;
	struct err e = ERR_INIT;
	struct proto_transport *stranger = NULL;
	struct msg hint = { .type = MSG_HINT, .u.hint.version = 12 };
	struct msg_received *got = NULL;
	assert_ok(&e, proto_mem_connect(w->mem, "x", "coordinator", w->stranger, &stranger, &e));
	assert_ok(&e, w->server->ops->publish(w->server, &hint, &e));
	assert_ok(&e, w->client->ops->recv(w->client, &got, &e));
	assert_int_equal(got->msg.u.hint.version, 12);
	msg_free(&got);
	assert_int_equal(stranger->ops->recv(stranger, &got, NULL), ERR_AGAIN);
	assert_int_equal(w->client->ops->publish(w->client, &hint, NULL), ERR_UNSUPPORTED);
	test_end_destroy(&stranger);
}

static void a_full_queue_says_so(void **state)
{
	struct world *w = *state;
	struct msg msg = want(1), reply = { .type = MSG_HEARTBEAT_REPLY };
	struct msg_received *got = NULL;
	assert_int_equal(w->client->ops->send(w->client, 0, &msg, NULL), 0);
	assert_int_equal(w->server->ops->recv(w->server, &got, NULL), 0);
	uint64_t route = got->route, ids[1];
	msg_free(&got);
	size_t sent = 0;
	while (w->server->ops->send(w->server, route, &reply, NULL) == 0)
		sent++;
	assert_int_equal(sent, 1000);
	assert_int_equal(w->server->ops->send(w->server, route, &reply, NULL), ERR_AGAIN);
	assert_int_equal(receive_all(w->client, ids, 1), 1000);
	assert_int_equal(w->server->ops->send(w->server, route, &reply, NULL), 0);
}

static void names_and_restarts(void **state)
{
	struct world *w = *state;
	struct err e = ERR_INIT;
	struct proto_transport *t = NULL;
	struct msg msg = want(1);
	uint64_t ids[1];
	assert_int_equal(proto_mem_listen(w->mem, "coordinator", w->allow, &t, &e), ERR_BUSY);
	assert_int_equal(proto_mem_connect(w->mem, "w0", "coordinator", w->key, &t, &e), ERR_BUSY);
	test_end_destroy(&w->server);
	assert_int_equal(w->client->ops->send(w->client, 0, &msg, &e), ERR_AGAIN);
	assert_ok(&e, proto_mem_listen(w->mem, "coordinator", w->allow, &w->server, &e));
	assert_ok(&e, w->client->ops->send(w->client, 0, &msg, &e));
	assert_int_equal(receive_all(w->server, ids, 1), 1);
	proto_mem_destroy(&w->mem); /* lives on while ends do */
	assert_ok(&e, w->client->ops->send(w->client, 0, &msg, &e));
	assert_int_equal(receive_all(w->server, ids, 1), 1);
}

int main(void)
{
#define WORLD(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		WORLD(there_and_back),
		WORLD(the_same_rights_hold),
		WORLD(delays_follow_the_clock_and_reorder),
		WORLD(drops_and_duplicates_are_seeded),
		WORLD(a_servers_link_carries_one_after_the_other),
		WORLD(want_of_memory_sends_nothing),
		WORLD(a_partition_cuts_both_ways),
		WORLD(a_link_is_cut_one_way),
		WORLD(hints_go_to_those_on_the_list),
		WORLD(a_full_queue_says_so),
		WORLD(names_and_restarts),
	};
	log_level_set(LOG_OFF);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
