/* An allowed key in the hands of a program that does not keep to the protocol: raw libzmq against our server. */
#include "tests/lib/network.h"
#include "tests/lib/test.h"

#include "base/log.h"

#include <zmq.h>

#define SOON_MS 60000

struct net {
	char folder[TEST_PATH_BYTES];
	struct proto_keypair server_keys, client_keys;
	struct proto_allow *allow;
	struct proto_zmq *server_zmq, *client_zmq;
	struct proto_transport *server, *client;
	void *context, *raw;
};

static void *raw_open(struct net *net, const char *routing_id)
{
	void *raw = zmq_socket(net->context, ZMQ_DEALER);
	int linger = 0;
	assert_non_null(raw);
	zmq_setsockopt(raw, ZMQ_LINGER, &linger, sizeof(linger));
	if (routing_id != NULL)
		assert_int_equal(zmq_setsockopt(raw, ZMQ_ROUTING_ID, routing_id, strlen(routing_id)), 0);
	assert_int_equal(zmq_setsockopt(raw, ZMQ_CURVE_SERVERKEY, net->server_keys.public_key, 32), 0);
	assert_int_equal(zmq_setsockopt(raw, ZMQ_CURVE_PUBLICKEY, net->client_keys.public_key, 32), 0);
	assert_int_equal(zmq_setsockopt(raw, ZMQ_CURVE_SECRETKEY, net->client_keys.secret_key, 32), 0);
	assert_int_equal(zmq_connect(raw, proto_zmq_endpoint(net->server, false)), 0);
	return raw;
}

static int setup(void **state)
{
	struct net *net = calloc(1, sizeof(*net));
	struct err e = ERR_INIT;
	struct proto_limits limits = { 100, 16 };
	assert_non_null(net);
	test_folder_make(net->folder);
	assert_ok(&e, proto_keypair_new(&net->server_keys, &e));
	assert_ok(&e, proto_keypair_new(&net->client_keys, &e));
	net->allow = test_allow_make(net->folder, net->client_keys.public_key, PROTO_ROLE_WORKER);
	assert_ok(&e, proto_zmq_new(&net->server_keys, net->allow, env_system(), &net->server_zmq, &e));
	assert_ok(&e, proto_zmq_new(&net->client_keys, NULL, env_system(), &net->client_zmq, &e));
	assert_ok(&e, proto_zmq_listen(net->server_zmq, "tcp://127.0.0.1:*", NULL, &limits, &net->server, &e));
	assert_ok(&e, proto_zmq_connect(net->client_zmq, proto_zmq_endpoint(net->server, false), NULL,
					net->server_keys.public_key, &net->client, &e));
	net->context = zmq_ctx_new();
	*state = net;
	return 0;
}

static int teardown(void **state)
{
	struct net *net = *state;
	if (net->raw != NULL)
		zmq_close(net->raw);
	zmq_ctx_term(net->context);
	test_end_destroy(&net->client);
	test_end_destroy(&net->server);
	proto_zmq_destroy(&net->client_zmq);
	proto_zmq_destroy(&net->server_zmq);
	proto_allow_destroy(&net->allow);
	test_folder_remove(net->folder);
	free(net);
	return 0;
}

static void a_good_peer_is_served(struct net *net)
{
	struct msg msg = { .type = MSG_WANT, .request_id = 5 };
	struct msg_received *got = NULL;
	assert_int_equal(test_send(net->client, 0, &msg, SOON_MS), 0);
	assert_int_equal(test_receive(net->server, &got, SOON_MS), 0);
	assert_int_equal(got->msg.request_id, 5);
	assert_int_equal(test_send(net->server, got->route,
				   &(struct msg){ .type = MSG_HEARTBEAT_REPLY, .request_id = 6 }, SOON_MS),
			 0);
	msg_free(&got);
	assert_int_equal(test_receive(net->client, &got, SOON_MS), 0);
	assert_int_equal(got->msg.request_id, 6);
	msg_free(&got);
}

/* Receives until `count` reaches `wanted`: nothing may come out. */
static void wait_count(struct net *net, const uint64_t *count, uint64_t wanted)
{
	int64_t end = env_monotonic_ms(env_system()) + SOON_MS;
	struct msg_received *got = NULL;
	while (*count < wanted && env_monotonic_ms(env_system()) < end)
		assert_int_equal(test_receive(net->server, &got, 20), ERR_AGAIN);
	assert_int_equal(*count, wanted);
}

static void junk_is_counted_and_dropped(void **state)
{
	struct net *net = *state;
	net->raw = raw_open(net, NULL);
	zmq_send(net->raw, "", 0, 0);
	zmq_send(net->raw, "GET / HTTP/1.1", 14, 0);
	zmq_send(net->raw, "a", 1, ZMQ_SNDMORE);
	zmq_send(net->raw, "b", 1, ZMQ_SNDMORE);
	zmq_send(net->raw, "c", 1, 0);
	wait_count(net, &net->server->counts.undecodable, 3);
	a_good_peer_is_served(net);
}

/* More junk than one recv may drop: `pending` says that the rest still waits. */
static void a_flood_of_junk_leaves_turns(void **state)
{
	struct net *net = *state;
	net->raw = raw_open(net, NULL);
	for (int i = 0; i < 500; i++)
		assert_int_equal(zmq_send(net->raw, "junk", 4, 0), 4);
	wait_count(net, &net->server->counts.undecodable, 500);
	a_good_peer_is_served(net);
}

static void an_oversized_frame_ends_only_its_connection(void **state)
{
	struct net *net = *state;
	size_t bytes = 8 << 20;
	char *frame = calloc(1, bytes);
	assert_non_null(frame);
	net->raw = raw_open(net, NULL);
	assert_int_equal(zmq_send(net->raw, frame, bytes, 0), (int)bytes);
	a_good_peer_is_served(net);
	free(frame);
	assert_int_equal(net->server->counts.undecodable, 0); /* it never came up */
}

static void a_long_multipart_message_is_dropped(void **state)
{
	struct net *net = *state;
	static const char frame[1000];
	net->raw = raw_open(net, NULL);
	for (int i = 0; i < 5000; i++)
		assert_int_equal(zmq_send(net->raw, frame, sizeof(frame), ZMQ_SNDMORE), (int)sizeof(frame));
	assert_int_equal(zmq_send(net->raw, frame, sizeof(frame), 0), (int)sizeof(frame));
	wait_count(net, &net->server->counts.undecodable, 1);
	a_good_peer_is_served(net);
}

/* An id that a peer gave itself is none that a route may be made of. */
static void a_chosen_routing_id_is_refused(void **state)
{
	struct net *net = *state;
	struct buf head = BUF_INIT;
	struct msg_bytes bulk;
	struct msg msg = { .type = MSG_WANT };
	assert_int_equal(proto_encode(&msg, &head, &bulk, NULL), 0);
	net->raw = raw_open(net, "w0");
	assert_int_equal(zmq_send(net->raw, head.data, head.len, 0), (int)head.len);
	wait_count(net, &net->server->counts.unauthenticated, 1);
	buf_free(&head);
	a_good_peer_is_served(net);
}

int main(void)
{
#define NET(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		NET(junk_is_counted_and_dropped),
		NET(a_flood_of_junk_leaves_turns),
		NET(an_oversized_frame_ends_only_its_connection),
		NET(a_long_multipart_message_is_dropped),
		NET(a_chosen_routing_id_is_refused),
	};
	log_level_set(LOG_OFF);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
