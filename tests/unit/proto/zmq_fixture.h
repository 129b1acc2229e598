/* zmq_fixture.h: a server and its client over real sockets, for the tests of the transport over ZeroMQ. */
#ifndef AMEND_TESTS_UNIT_PROTO_ZMQ_FIXTURE_H
#define AMEND_TESTS_UNIT_PROTO_ZMQ_FIXTURE_H

#include "tests/lib/network.h"
#include "tests/lib/test.h"

#include "base/fault.h"

#define SOON_MS    60000 /* deadline of what must come */
#define SILENCE_MS 400   /* how long what must not come is waited for */

struct net {
	char folder[TEST_PATH_BYTES];
	struct proto_keypair server_keys, client_keys;
	struct proto_allow *allow;
	struct proto_zmq *server_zmq, *client_zmq;
	struct proto_transport *server, *client;
};

static inline int setup_with(void **state, unsigned roles, size_t queue)
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

static inline int setup(void **state)
{
	return setup_with(state, PROTO_ROLE_WORKER | PROTO_ROLE_SUBMITTER, 1000);
}

static inline int teardown(void **state)
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

static inline struct msg want(uint64_t shard)
{
	return (struct msg){ .type = MSG_WANT, .request_id = 42 + shard, .u.want = { shard, 2, 3, 4 } };
}

/* The client sends, the server receives: proves that the connection stands. */
static inline uint64_t handshake(struct net *net)
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

static inline void allow_only(struct net *net, const uint8_t key[PROTO_KEY_BYTES])
{
	struct proto_allow *allow = test_allow_make(net->folder, key, PROTO_ROLE_WORKER);
	assert_int_equal(proto_zmq_allow_set(net->server_zmq, allow), 0);
	proto_allow_destroy(&net->allow);
	net->allow = allow;
}

#endif
