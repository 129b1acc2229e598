#include "tests/lib/network.h"
#include "tests/lib/test.h"

#include "base/fault.h"
#include "base/log.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define SOON_MS    60000 /* deadline of what must come */
#define SILENCE_MS 400   /* how long what must not come is waited for */

struct net {
	char folder[TEST_PATH_BYTES];
	struct proto_keypair server_keys, client_keys;
	struct proto_allow *allow;
	struct proto_zmq *server_zmq, *client_zmq;
	struct proto_transport *server, *client;
};

static int setup_with(void **state, unsigned roles, size_t queue)
{
	struct net *net = calloc(1, sizeof(*net));
	struct err e = ERR_INIT;
	struct proto_limits limits = { queue, 16 };
	assert_non_null(net);
	test_folder_make(net->folder);
	assert_ok(&e, proto_keypair_new(&net->server_keys, &e));
	assert_ok(&e, proto_keypair_new(&net->client_keys, &e));
	net->allow = test_allow_make(net->folder, net->client_keys.public_key, roles);
	assert_ok(&e, proto_zmq_new(&net->server_keys, net->allow, env_system(), &net->server_zmq, &e));
	assert_ok(&e, proto_zmq_new(&net->client_keys, NULL, env_system(), &net->client_zmq, &e));
	assert_ok(&e, proto_zmq_listen(net->server_zmq, "tcp://127.0.0.1:*", "tcp://127.0.0.1:*", &limits, &net->server,
				       &e));
	assert_ok(&e, proto_zmq_connect(net->client_zmq, proto_zmq_endpoint(net->server, false),
					proto_zmq_endpoint(net->server, true), net->server_keys.public_key,
					&net->client, &e));
	*state = net;
	return 0;
}

static int setup(void **state)
{
	return setup_with(state, PROTO_ROLE_WORKER | PROTO_ROLE_SUBMITTER, 1000);
}

static int setup_small_queue(void **state)
{
	return setup_with(state, PROTO_ROLE_WORKER, 8);
}

static int teardown(void **state)
{
	struct net *net = *state;
	fault_disarm_all();
	test_end_destroy(&net->client);
	test_end_destroy(&net->server);
	proto_zmq_destroy(&net->client_zmq);
	proto_zmq_destroy(&net->server_zmq);
	proto_allow_destroy(&net->allow);
	test_folder_remove(net->folder);
	free(net);
	return 0;
}

static struct msg want(uint64_t shard)
{
	return (struct msg){ .type = MSG_WANT, .request_id = 42 + shard, .u.want = { shard, 2, 3, 4 } };
}

/* The client sends, the server receives: proves that the connection stands. */
static uint64_t handshake(struct net *net)
{
	struct msg msg = want(1);
	struct msg_received *got = NULL;
	assert_int_equal(test_send(net->client, 0, &msg, SOON_MS), 0);
	assert_int_equal(test_receive(net->server, &got, SOON_MS), 0);
	assert_int_equal(got->msg.type, MSG_WANT);
	uint64_t route = got->route;
	msg_free(&got);
	return route;
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

static bool is_refused(struct net *net, const uint8_t key[PROTO_KEY_BYTES])
{
	struct msg_refused_key refused[MSG_REFUSED_KEYS_MAX];
	const size_t count = net->server->ops->refused(net->server, refused);
	bool found = false;
	for (size_t i = 0; i < count; i++)
		found = found || memcmp(refused[i].key, key, PROTO_KEY_BYTES) == 0;
	return found;
}

/* Its peer tries again by itself: nobody has to start it anew. */
static void a_key_that_is_allowed_later_comes_in(void **state)
{
	struct net *net = *state;
	struct proto_keypair late;
	struct proto_zmq *zmq = NULL;
	struct proto_transport *end = NULL;
	struct err e = ERR_INIT;
	struct msg_refused_key refused[MSG_REFUSED_KEYS_MAX];
	struct msg msg = want(66);
	int64_t since = 0;
	assert_ok(&e, proto_keypair_new(&late, &e));
	assert_ok(&e, proto_zmq_new(&late, NULL, env_system(), &zmq, &e));
	assert_ok(&e, proto_zmq_connect(zmq, proto_zmq_endpoint(net->server, false), NULL, net->server_keys.public_key,
					&end, &e));
	while (net->server->ops->refused(net->server, refused) == 0 && test_wait(&since))
		;
	assert_int_equal(net->server->ops->refused(net->server, refused), 1);
	assert_memory_equal(refused[0].key, late.public_key, PROTO_KEY_BYTES);
	assert_in_range(refused[0].ms_ago, 0, 60000);
	struct proto_transport *client = NULL; /* of the very process that refuses */
	assert_ok(&e, proto_zmq_connect(net->server_zmq, proto_zmq_endpoint(net->server, false), NULL,
					net->server_keys.public_key, &client, &e));
	assert_int_equal(client->ops->refused(client, refused), 0);
	test_end_destroy(&client);
	assert_int_equal(test_send(end, 0, &msg, 0), ERR_AGAIN);
	struct proto_allow *allow = test_allow_make(net->folder, late.public_key, PROTO_ROLE_WORKER);
	assert_int_equal(proto_zmq_allow_set(net->server_zmq, allow), 0);
	proto_allow_destroy(&net->allow);
	net->allow = allow;
	assert_int_equal(test_send(end, 0, &msg, SOON_MS), 0);
	assert_false(is_refused(net, late.public_key));
	test_end_destroy(&end);
	proto_zmq_destroy(&zmq);
}

/* The new list is set while the old one refuses the key: the refusal is the old one's. */
static void a_refusal_is_of_the_list_that_made_it(void **state)
{
	struct net *net = *state;
	struct proto_keypair late;
	struct proto_zmq *zmq = NULL;
	struct proto_transport *end = NULL;
	struct err e = ERR_INIT;
	struct msg msg = want(66);
	int64_t since = 0;
	assert_ok(&e, proto_keypair_new(&late, &e));
	assert_ok(&e, proto_zmq_new(&late, NULL, env_system(), &zmq, &e));
	struct proto_allow *allow = test_allow_make(net->folder, late.public_key, PROTO_ROLE_WORKER);
	assert_ok(&e, fault_arm("proto.key.refused=delay-300@1", &e));
	const uint64_t before = fault_hits("proto.key.refused");
	assert_ok(&e, proto_zmq_connect(zmq, proto_zmq_endpoint(net->server, false), NULL, net->server_keys.public_key,
					&end, &e));
	while (fault_hits("proto.key.refused") == before && test_wait(&since))
		;
	assert_int_equal(proto_zmq_allow_set(net->server_zmq, allow), 0);
	proto_allow_destroy(&net->allow);
	net->allow = allow;
	assert_int_equal(test_send(end, 0, &msg, SOON_MS), 0); /* the next try of its peer */
	assert_false(is_refused(net, late.public_key));
	test_end_destroy(&end);
	proto_zmq_destroy(&zmq);
}

/* A refusal of the key that is younger than the call. */
static void refusal_wait(struct net *net, const uint8_t key[PROTO_KEY_BYTES])
{
	struct msg_refused_key refused[MSG_REFUSED_KEYS_MAX];
	const int64_t began = env_monotonic_ms(env_system());
	int64_t since = 0;
	do {
		size_t count = net->server->ops->refused(net->server, refused);
		if (count > 0 && memcmp(refused[0].key, key, PROTO_KEY_BYTES) == 0 &&
		    env_monotonic_ms(env_system()) - refused[0].ms_ago > began)
			return;
	} while (test_wait(&since));
	fail_msg("the key is not refused");
}

/* A line at first, then after a second, two, four (proto/refusals.h): one that tries often does not fill the log. */
static void a_refused_key_is_logged_ever_less(void **state)
{
	struct net *net = *state;
	struct proto_keypair stranger;
	struct proto_zmq *zmq = NULL;
	struct proto_transport *ends[5];
	struct err e = ERR_INIT;
	size_t lines = 1;
	const int64_t began = env_monotonic_ms(env_system());
	assert_ok(&e, proto_keypair_new(&stranger, &e));
	assert_ok(&e, proto_zmq_new(&stranger, NULL, env_system(), &zmq, &e));
	log_level_set(LOG_WARN);
	test_log_begin(net->folder);
	for (size_t i = 0; i < 5; i++) {
		assert_ok(&e, proto_zmq_connect(zmq, proto_zmq_endpoint(net->server, false), NULL,
						net->server_keys.public_key, &ends[i], &e));
		refusal_wait(net, stranger.public_key);
	}
	test_log_end();
	log_level_set(LOG_OFF);
	for (int64_t left = env_monotonic_ms(env_system()) - began; left >= 1000; left /= 2)
		lines++;
	assert_in_range(test_log_count("PROTO-KEY-REFUSED"), 1, lines);
	for (size_t i = 0; i < 5; i++)
		test_end_destroy(&ends[i]);
	proto_zmq_destroy(&zmq);
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

static void the_probe_of_each_minute_finds_it_too(void **state)
{
	struct net *net = *state;
	assert_int_equal(probe_until(net, 0), 0);
	assert_int_equal(fault_arm("proto.zap.open=errno@1:1000000", NULL), 0);
	assert_int_equal(probe_until(net, ERR_DENIED), ERR_DENIED);
}

static void the_end_of_authentication_is_noticed(void **state)
{
	struct net *net = *state;
	handshake(net);
	assert_int_equal(fault_arm("proto.zap.dies=errno@1", NULL), 0);
	assert_int_equal(probe_until(net, ERR_DENIED), ERR_DENIED);
	/* And nobody new comes in. */
	struct proto_keypair stranger;
	assert_int_equal(proto_keypair_new(&stranger, NULL), 0);
	refused_with(net, &stranger, net->server_keys.public_key);
}

static void a_key_that_was_removed_is_out(void **state)
{
	struct net *net = *state;
	struct proto_keypair other;
	struct msg msg = want(3);
	struct msg_received *got = NULL;
	handshake(net);
	assert_int_equal(proto_keypair_new(&other, NULL), 0);
	struct proto_allow *allow = test_allow_make(net->folder, other.public_key, PROTO_ROLE_WORKER);
	assert_int_equal(proto_zmq_allow_set(net->server_zmq, allow), 0);
	proto_allow_destroy(&net->allow);
	net->allow = allow;
	assert_int_equal(test_send(net->client, 0, &msg, SOON_MS), 0);
	int64_t since = 0;
	do
		assert_int_equal(test_receive(net->server, &got, 20), ERR_AGAIN);
	while (net->server->counts.unauthenticated == 0 && test_wait(&since));
	assert_int_equal(test_receive(net->server, &got, SILENCE_MS), ERR_AGAIN);
	assert_int_equal(net->server->counts.unauthenticated, 1);
	struct msg_refused_key refused[MSG_REFUSED_KEYS_MAX];
	assert_int_equal(net->server->ops->refused(net->server, refused), 1);
	assert_memory_equal(refused[0].key, net->client_keys.public_key, PROTO_KEY_BYTES);
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
		NET(a_wrong_client_key_is_refused),
		NET(a_key_that_is_allowed_later_comes_in),
		NET(a_refusal_is_of_the_list_that_made_it),
		NET(a_refused_key_is_logged_ever_less),
		NET(a_wrong_server_key_is_refused),
		NET(a_peer_without_curve_is_refused),
		NET(garbage_does_not_hurt),
		NET(without_a_list_nothing_listens),
		NET(the_probe_finds_an_open_door),
		NET(the_probe_of_each_minute_finds_it_too),
		NET(the_end_of_authentication_is_noticed),
		NET(a_key_that_was_removed_is_out),
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
