#include "tests/unit/proto/zmq_fixture.h"

#include "base/log.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

static int setup_small_queue(void **state)
{
	return setup_with(state, PROTO_ROLE_WORKER, 8);
}

static void a_message_and_its_answer(void **state)
{
	struct net *net = *state;
	struct msg msg = want(7);
	struct msg_received *got = NULL;
	assert_int_equal(test_send(net->client, 0, &msg, SOON_MS), 0);
	assert_int_equal(test_receive(net->server, &got, SOON_MS), 0);
	assert_int_equal(got->msg.request_id, 49);
	assert_int_equal(got->msg.u.want.shard, 7);
	assert_memory_equal(got->peer_key, net->client_keys.public_key, 32);
	assert_int_equal(got->roles, PROTO_ROLE_WORKER | PROTO_ROLE_SUBMITTER);
	uint64_t route = got->route;
	msg_free(&got);
	static uint8_t bulk[MSG_BULK_BYTES_MAX];
	memset(bulk, 0x5a, sizeof(bulk));
	struct msg chunk = { .type = MSG_CHUNK, .request_id = 49, .u.chunk = { .data = { bulk, sizeof(bulk) } } };
	assert_int_equal(test_send(net->server, route, &chunk, SOON_MS), 0);
	assert_int_equal(test_receive(net->client, &got, SOON_MS), 0);
	assert_int_equal(got->msg.u.chunk.data.len, sizeof(bulk));
	assert_memory_equal(got->msg.u.chunk.data.bytes, bulk, sizeof(bulk));
	assert_memory_equal(got->peer_key, net->server_keys.public_key, 32);
	msg_free(&got);
	assert_int_equal(net->server->ops->recv(net->server, &got, NULL), ERR_AGAIN);
	assert_int_equal(net->server->counts.received, 1);
	assert_int_equal(net->server->counts.sent, 1);
}

static void a_forbidden_message_is_answered(void **state)
{
	struct net *net = *state;
	struct msg msg = { .type = MSG_SHUTDOWN, .request_id = 9 };
	struct msg_received *got = NULL;
	assert_int_equal(test_send(net->client, 0, &msg, SOON_MS), 0);
	/* The server's end answers inside recv; nothing comes out of it. */
	int64_t end = env_monotonic_ms(env_system()) + SOON_MS;
	int rc;
	while ((rc = net->client->ops->recv(net->client, &got, NULL)) == ERR_AGAIN &&
	       env_monotonic_ms(env_system()) < end) {
		struct msg_received *none = NULL;
		assert_int_equal(test_receive(net->server, &none, 20), ERR_AGAIN);
	}
	assert_int_equal(rc, 0);
	assert_int_equal(got->msg.type, MSG_ERROR);
	assert_int_equal(got->msg.request_id, 9);
	assert_int_equal(got->msg.u.error.code, ERR_DENIED);
	msg_free(&got);
	assert_int_equal(net->server->counts.forbidden, 1);
}

static void hints_reach_subscribers(void **state)
{
	struct net *net = *state;
	struct msg_received *got = NULL;
	int64_t end = env_monotonic_ms(env_system()) + SOON_MS;
	handshake(net);
	/* A subscription takes a moment, and what was published before it is lost: hints are repeated by nature. */
	int rc = ERR_AGAIN;
	for (uint64_t v = 1; rc == ERR_AGAIN && env_monotonic_ms(env_system()) < end; v++) {
		struct msg hint = { .type = MSG_HINT, .u.hint.version = v };
		struct err e = ERR_INIT;
		assert_ok(&e, net->server->ops->publish(net->server, &hint, &e));
		rc = test_receive(net->client, &got, 50);
	}
	assert_int_equal(rc, 0);
	assert_int_equal(got->msg.type, MSG_HINT);
	assert_in_range(got->msg.u.hint.version, 1, 1000);
	msg_free(&got);
	assert_int_equal(net->client->ops->publish(net->client, &(struct msg){ .type = MSG_HINT }, NULL),
			 ERR_UNSUPPORTED);
}

/* By their own endpoint, and by no other. */
static void a_hint_among_the_answers_is_dropped(void **state)
{
	struct net *net = *state;
	struct msg_received *got = NULL;
	const uint64_t route = handshake(net);
	struct msg hint = { .type = MSG_HINT, .u.hint.version = 1 };
	assert_int_equal(test_send(net->server, route, &hint, SOON_MS), 0);
	assert_int_equal(test_send(net->server, route, &(struct msg){ .type = MSG_HEARTBEAT_REPLY }, SOON_MS), 0);
	assert_int_equal(test_receive(net->client, &got, SOON_MS), 0);
	assert_int_equal(got->msg.type, MSG_HEARTBEAT_REPLY);
	msg_free(&got);
	assert_int_equal(net->client->counts.forbidden, 1);
}

/* A client with those keys gets nothing through; then a good one still does. */
static void refused_with(struct net *net, const struct proto_keypair *keys, const uint8_t server_key[32])
{
	struct proto_zmq *zmq = NULL;
	struct proto_transport *bad = NULL;
	struct msg_received *got = NULL;
	struct err e = ERR_INIT;
	struct msg msg = want(66);
	assert_ok(&e, proto_zmq_new(keys, NULL, env_system(), &zmq, &e));
	assert_ok(&e, proto_zmq_connect(zmq, proto_zmq_endpoint(net->server, false), NULL, server_key, &bad, &e));
	assert_int_equal(test_send(bad, 0, &msg, SILENCE_MS), ERR_AGAIN);
	assert_int_equal(test_receive(net->server, &got, 50), ERR_AGAIN);
	handshake(net);
	test_end_destroy(&bad);
	proto_zmq_destroy(&zmq);
}

static void a_wrong_client_key_is_refused(void **state)
{
	struct net *net = *state;
	struct proto_keypair stranger;
	assert_int_equal(proto_keypair_new(&stranger, NULL), 0);
	refused_with(net, &stranger, net->server_keys.public_key);
}

static void a_wrong_server_key_is_refused(void **state)
{
	struct net *net = *state;
	struct proto_keypair other;
	assert_int_equal(proto_keypair_new(&other, NULL), 0);
	refused_with(net, &net->client_keys, other.public_key);
}

static int raw_connect(const struct net *net)
{
	const char *colon = strrchr(proto_zmq_endpoint(net->server, false), ':');
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(colon + 1)) };
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* True when the server closes the connection. */
static bool raw_closed(int fd)
{
	char bytes[4096];
	int64_t end = env_monotonic_ms(env_system()) + SOON_MS;
	while (env_monotonic_ms(env_system()) < end) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		if (poll(&p, 1, 100) == 1 && recv(fd, bytes, sizeof(bytes), 0) <= 0)
			return true;
	}
	return false;
}

/* ZMTP 3.0 greeting that offers the NULL mechanism, then READY and a message. */
static void a_peer_without_curve_is_refused(void **state)
{
	struct net *net = *state;
	uint8_t greeting[64] = { 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3, 0, 'N', 'U', 'L', 'L' };
	static const uint8_t ready[] = "\x04\x26\x05READY\x0bSocket-Type\0\0\0\x06"
				       "DEALER\x08Identity\0\0\0\0";
	int fd = raw_connect(net);
	assert_int_equal(send(fd, greeting, sizeof(greeting), MSG_NOSIGNAL), (int)sizeof(greeting));
	(void)!send(fd, ready, sizeof(ready) - 1, MSG_NOSIGNAL);
	assert_true(raw_closed(fd));
	close(fd);
	handshake(net);
	assert_int_equal(net->server->counts.received, 1);
}

static void garbage_does_not_hurt(void **state)
{
	struct net *net = *state;
	uint8_t garbage[3000];
	memset(garbage, 0xee, sizeof(garbage));
	int fd = raw_connect(net), idle = raw_connect(net);
	(void)!send(fd, garbage, sizeof(garbage), MSG_NOSIGNAL);
	handshake(net);
	assert_true(raw_closed(idle)); /* a handshake has 3 s */
	close(fd);
	close(idle);
	handshake(net);
}

static void without_a_list_nothing_listens(void **state)
{
	struct net *net = *state;
	struct err e = ERR_INIT;
	struct proto_transport *t = NULL;
	struct proto_limits limits = PROTO_LIMITS_DEFAULT;
	assert_int_equal(proto_zmq_listen(net->client_zmq, "tcp://127.0.0.1:*", NULL, &limits, &t, &e), ERR_DENIED);
	assert_null(t);
	assert_int_equal(proto_zmq_probe(net->client_zmq, &e), ERR_DENIED);
}

static void the_probe_finds_an_open_door(void **state)
{
	struct net *net = *state;
	struct err e = ERR_INIT;
	struct proto_transport *t = NULL;
	struct proto_limits limits = PROTO_LIMITS_DEFAULT;
	assert_int_equal(fault_arm("proto.zap.open=errno@1:1000000", &e), 0);
	assert_int_equal(proto_zmq_listen(net->server_zmq, "tcp://127.0.0.1:*", NULL, &limits, &t, &e), ERR_DENIED);
	assert_non_null(strstr(e.text, "random key"));
	assert_null(t);
}

static int probe_until(struct net *net, int wanted)
{
	struct err e = ERR_INIT;
	int64_t since = 0;
	int rc;
	while ((rc = proto_zmq_probe(net->server_zmq, &e)) != wanted && test_wait(&since))
		;
	return rc;
}

/* A probe that is asked for too soon says that it got no answer; the verdict of the last one comes a moment later. */
static void check_refuses(struct net *net, const char *why)
{
	struct err e = ERR_INIT;
	int64_t since = 0;
	while (proto_zmq_check(net->server_zmq, &e) != ERR_DENIED && test_wait(&since))
		;
	assert_non_null(strstr(e.text, why));
}

static void the_probe_of_each_minute_finds_it_too(void **state)
{
	struct net *net = *state;
	assert_int_equal(probe_until(net, 0), 0);
	assert_int_equal(fault_arm("proto.zap.open=errno@1:1000000", NULL), 0);
	assert_int_equal(probe_until(net, ERR_DENIED), ERR_DENIED);
	check_refuses(net, "a random key was let in");
}

static void the_end_of_authentication_is_noticed(void **state)
{
	struct net *net = *state;
	struct err e = ERR_INIT;
	handshake(net);
	assert_ok(&e, proto_zmq_check(net->server_zmq, &e));
	assert_int_equal(fault_arm("proto.zap.dies=errno@1", NULL), 0);
	assert_int_equal(probe_until(net, ERR_DENIED), ERR_DENIED);
	check_refuses(net, "the authentication thread has ended");
	/* And nobody new comes in, not even with a key that is allowed. */
	struct proto_keypair stranger;
	assert_int_equal(proto_keypair_new(&stranger, NULL), 0);
	refused_with(net, &stranger, net->server_keys.public_key);
	refused_with(net, &net->client_keys, net->server_keys.public_key);
}

static void a_full_queue_says_so(void **state)
{
	struct net *net = *state;
	uint64_t route = handshake(net);
	static uint8_t bulk[MSG_BULK_BYTES_MAX];
	struct msg chunk = { .type = MSG_CHUNK, .u.chunk = { .data = { bulk, sizeof(bulk) } } };
	struct err e = ERR_INIT;
	int rc = 0, sent = 0;
	/* The client does not read: its queue, the sockets' buffers and the server's queue fill up. */
	while (rc == 0 && sent < 5000) {
		rc = net->server->ops->send(net->server, route, &chunk, &e);
		sent += rc == 0;
	}
	assert_int_equal(rc, ERR_AGAIN);
	assert_int_equal(net->server->counts.full, 1);
	/* All that was taken arrives: nothing was dropped in silence. */
	int got_count = 0;
	struct msg_received *got = NULL;
	while (got_count < sent && test_receive(net->client, &got, SOON_MS) == 0) {
		got_count++;
		msg_free(&got);
	}
	assert_int_equal(got_count, sent);
	assert_int_equal(test_receive(net->client, &got, 50), ERR_AGAIN);
	assert_int_equal(test_send(net->server, route, &chunk, SOON_MS), 0);
}

static void a_peer_that_left_is_closed(void **state)
{
	struct net *net = *state;
	uint64_t route = handshake(net);
	struct msg msg = { .type = MSG_HEARTBEAT_REPLY };
	assert_int_equal(net->server->ops->send(net->server, route + (UINT64_C(1) << 40), &msg, NULL), ERR_CLOSED);
	assert_int_equal(net->server->ops->send(net->server, 0, &msg, NULL), ERR_CLOSED);
	test_end_destroy(&net->client);
	int64_t since = 0;
	int rc;
	while ((rc = net->server->ops->send(net->server, route, &msg, NULL)) != ERR_CLOSED && test_wait(&since))
		;
	assert_int_equal(rc, ERR_CLOSED);
}

static void bad_endpoints_have_reasons(void **state)
{
	struct net *net = *state;
	struct err e = ERR_INIT;
	struct proto_transport *t = NULL;
	struct proto_limits limits = PROTO_LIMITS_DEFAULT;
	assert_int_equal(
		proto_zmq_listen(net->server_zmq, proto_zmq_endpoint(net->server, false), NULL, &limits, &t, &e),
		ERR_BUSY);
	assert_non_null(strstr(e.text, proto_zmq_endpoint(net->server, false)));
	assert_non_null(strstr(e.text, "another port"));
	assert_int_equal(proto_zmq_listen(net->server_zmq, "tcp://127.0.0.1:*", proto_zmq_endpoint(net->server, true),
					  &limits, &t, &e),
			 ERR_BUSY);
	assert_int_equal(proto_zmq_listen(net->server_zmq, "tcp://192.0.2.1:7400", NULL, &limits, &t, &e), ERR_INVALID);
	assert_int_equal(proto_zmq_listen(net->server_zmq, "inproc://x", NULL, &limits, &t, &e), ERR_INVALID);
	assert_int_equal(proto_zmq_listen(net->server_zmq, "tcp://127.0.0.1:99999", NULL, &limits, &t, &e),
			 ERR_INVALID);
	assert_int_equal(proto_zmq_connect(net->client_zmq, "7400", NULL, net->server_keys.public_key, &t, &e),
			 ERR_INVALID);
	assert_int_equal(
		proto_zmq_connect(net->client_zmq, "tcp://127.0.0.1", NULL, net->server_keys.public_key, &t, &e),
		ERR_INVALID);
	assert_null(t);
}

static void a_client_finds_a_restarted_server(void **state)
{
	struct net *net = *state;
	struct err e = ERR_INIT;
	char endpoint[256];
	struct proto_limits limits = PROTO_LIMITS_DEFAULT;
	handshake(net);
	snprintf(endpoint, sizeof(endpoint), "%s", proto_zmq_endpoint(net->server, false));
	test_end_destroy(&net->server);
	int64_t since = 0;
	int rc;
	while ((rc = proto_zmq_listen(net->server_zmq, endpoint, NULL, &limits, &net->server, &e)) == ERR_BUSY &&
	       test_wait(&since))
		;
	assert_ok(&e, rc);
	/* What stood in the old connection's queue may be lost: send until one arrives. */
	struct msg msg = want(5);
	struct msg_received *got = NULL;
	do {
		(void)test_send(net->client, 0, &msg, 200);
		(void)test_receive(net->server, &got, 100);
	} while (got == NULL && test_wait(&since));
	assert_non_null(got);
	msg_free(&got);
}

static int setup_few_peers(void **state)
{
	return setup_with(state, PROTO_ROLE_WORKER, 3000);
}

/* More connections than the server keeps (16): the ones silent longest lose their route, and get a new one when they
 * speak. */
static void routes_are_bounded(void **state)
{
	struct net *net = *state;
	enum { CLIENTS = 24 };
	struct proto_transport *clients[CLIENTS] = { NULL };
	uint64_t routes[CLIENTS];
	struct msg reply = { .type = MSG_HEARTBEAT_REPLY };
	struct err e = ERR_INIT;
	struct msg_received *got = NULL;
	for (uint64_t i = 0; i < CLIENTS; i++) {
		struct msg msg = want(i);
		assert_ok(&e, proto_zmq_connect(net->client_zmq, proto_zmq_endpoint(net->server, false), NULL,
						net->server_keys.public_key, &clients[i], &e));
		assert_int_equal(test_send(clients[i], 0, &msg, SOON_MS), 0);
		assert_int_equal(test_receive(net->server, &got, SOON_MS), 0);
		routes[i] = got->route;
		msg_free(&got);
	}
	for (size_t i = 0; i < CLIENTS; i++)
		assert_int_equal(net->server->ops->send(net->server, routes[i], &reply, NULL),
				 i < CLIENTS - 16 ? ERR_CLOSED : 0);
	for (size_t i = CLIENTS - 16; i < CLIENTS; i++) {
		assert_int_equal(test_receive(clients[i], &got, SOON_MS), 0);
		msg_free(&got);
	}
	struct msg again = want(99);
	assert_int_equal(test_send(clients[0], 0, &again, SOON_MS), 0);
	assert_int_equal(test_receive(net->server, &got, SOON_MS), 0);
	assert_true(got->route != routes[0]);
	assert_int_equal(test_send(net->server, got->route, &reply, SOON_MS), 0);
	msg_free(&got);
	assert_int_equal(test_receive(clients[0], &got, SOON_MS), 0);
	msg_free(&got);
	for (size_t i = 0; i < CLIENTS; i++)
		test_end_destroy(&clients[i]);
}

static int start_and_stop(void *context)
{
	const struct net *net = context;
	struct proto_zmq *zmq = NULL;
	int rc = proto_zmq_new(&net->server_keys, net->allow, env_system(), &zmq, NULL);
	proto_zmq_destroy(&zmq);
	return rc;
}

static void out_of_memory_starts_none(void **state)
{
	assert_int_equal(test_walk_allocations(start_and_stop, *state), 3);
}

int main(void)
{
#define NET(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		NET(a_message_and_its_answer),
		NET(a_forbidden_message_is_answered),
		NET(hints_reach_subscribers),
		NET(a_hint_among_the_answers_is_dropped),
		NET(a_wrong_client_key_is_refused),
		NET(a_wrong_server_key_is_refused),
		NET(a_peer_without_curve_is_refused),
		NET(garbage_does_not_hurt),
		NET(without_a_list_nothing_listens),
		NET(the_probe_finds_an_open_door),
		NET(the_probe_of_each_minute_finds_it_too),
		NET(the_end_of_authentication_is_noticed),
		cmocka_unit_test_setup_teardown(a_full_queue_says_so, setup_small_queue, teardown),
		NET(a_peer_that_left_is_closed),
		cmocka_unit_test_setup_teardown(routes_are_bounded, setup_few_peers, teardown),
		NET(bad_endpoints_have_reasons),
		NET(a_client_finds_a_restarted_server),
		NET(out_of_memory_starts_none),
	};
	log_level_set(LOG_OFF);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
