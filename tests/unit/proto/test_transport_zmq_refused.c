/* Keys that the list of a server over ZeroMQ does not allow, and what a new list changes. */
#include "tests/unit/proto/zmq_fixture.h"

#include "base/log.h"

/* A client with a new key, which nobody has allowed. */
static struct proto_transport *stranger_connect(struct net *net, struct proto_keypair *keys, struct proto_zmq **zmq)
{
	struct proto_transport *end = NULL;
	struct err e = ERR_INIT;
	assert_ok(&e, proto_keypair_new(keys, &e));
	assert_ok(&e, proto_zmq_new(keys, NULL, env_system(), zmq, &e));
	assert_ok(&e, proto_zmq_connect(*zmq, proto_zmq_endpoint(net->server, false), NULL, net->server_keys.public_key,
					&end, &e));
	return end;
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
	struct err e = ERR_INIT;
	struct msg_refused_key refused[MSG_REFUSED_KEYS_MAX];
	struct msg msg = want(66);
	int64_t since = 0;
	struct proto_transport *end = stranger_connect(net, &late, &zmq);
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
	allow_only(net, late.public_key);
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
	struct err e = ERR_INIT;
	struct msg msg = want(66);
	int64_t since = 0;
	assert_ok(&e, fault_arm("proto.key.refused=delay-300@1", &e));
	const uint64_t before = fault_hits("proto.key.refused");
	struct proto_transport *end = stranger_connect(net, &late, &zmq);
	while (fault_hits("proto.key.refused") == before && test_wait(&since))
		;
	allow_only(net, late.public_key);
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

static void a_key_that_was_removed_is_out(void **state)
{
	struct net *net = *state;
	struct proto_keypair other;
	struct msg msg = want(3);
	struct msg_received *got = NULL;
	struct msg reply = { .type = MSG_HEARTBEAT_REPLY };
	const uint64_t route = handshake(net);
	assert_int_equal(proto_keypair_new(&other, NULL), 0);
	assert_int_equal(net->server->ops->send(net->server, route, &reply, NULL), 0);
	allow_only(net, other.public_key);
	assert_int_equal(net->server->ops->send(net->server, route, &reply, NULL), ERR_CLOSED);
	assert_int_equal(test_receive(net->client, &got, SOON_MS), 0);
	msg_free(&got);
	assert_int_equal(test_receive(net->client, &got, SILENCE_MS), ERR_AGAIN);
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

int main(void)
{
#define NET(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		NET(a_key_that_is_allowed_later_comes_in),
		NET(a_refusal_is_of_the_list_that_made_it),
		NET(a_refused_key_is_logged_ever_less),
		NET(a_key_that_was_removed_is_out),
	};
	log_level_set(LOG_OFF);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
