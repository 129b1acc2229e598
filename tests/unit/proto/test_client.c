#include "tests/lib/network.h"
#include "tests/lib/test.h"

#include "base/log.h"
#include "proto/loop.h"

#include <pthread.h>
#include <stdatomic.h>

struct world {
	char folder[TEST_PATH_BYTES];
	struct proto_keypair server_keys, client_keys;
	struct proto_allow *allow;
	struct proto_zmq *server_zmq, *client_zmq;
	struct proto_transport *server, *transport;
	struct proto_client client;
	char endpoint[256];
	pthread_t thread;
	bool serving;
	atomic_int stop, asked;
	atomic_int ignore; /* how many questions go unanswered */
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct err e = ERR_INIT;
	struct proto_limits limits = PROTO_LIMITS_DEFAULT;
	assert_non_null(w);
	test_folder_make(w->folder);
	assert_ok(&e, proto_keypair_new(&w->server_keys, &e));
	assert_ok(&e, proto_keypair_new(&w->client_keys, &e));
	w->allow = test_allow_make(w->folder, w->client_keys.public_key, PROTO_ROLE_READER);
	assert_ok(&e, proto_zmq_new(&w->server_keys, w->allow, env_system(), &w->server_zmq, &e));
	assert_ok(&e, proto_zmq_new(&w->client_keys, NULL, env_system(), &w->client_zmq, &e));
	assert_ok(&e, proto_zmq_listen(w->server_zmq, "tcp://127.0.0.1:*", NULL, &limits, &w->server, &e));
	snprintf(w->endpoint, sizeof(w->endpoint), "%s", proto_zmq_endpoint(w->server, false));
	assert_ok(&e,
		  proto_zmq_connect(w->client_zmq, w->endpoint, NULL, w->server_keys.public_key, &w->transport, &e));
	w->client = (struct proto_client){
		.transport = w->transport, .env = env_system(), .endpoint = w->endpoint, .timeout_ms = 10000
	};
	*state = w;
	return 0;
}

/* Answers a version list with one, get-manifest with an error; from here on the server's end belongs to this thread. */
static void *serve(void *context)
{
	struct world *w = context;
	while (!w->stop) {
		struct msg_received *got = NULL;
		if (test_receive(w->server, &got, 20) != 0)
			continue;
		w->asked++;
		struct msg reply = { .type = MSG_VERSION_LIST_REPLY,
				     .request_id = got->msg.request_id,
				     .u.version_list_reply.latest = 7 };
		if (got->msg.type == MSG_GET_MANIFEST) {
			reply.type = MSG_ERROR;
			reply.u.error = (struct msg_error){ ERR_NOT_FOUND, { "no version 9", 12 } };
		}
		struct msg stale = reply;
		stale.request_id--;
		if (w->ignore > 0) {
			w->ignore--;
		} else {
			(void)test_send(w->server, got->route, &stale, 1000);
			(void)test_send(w->server, got->route, &reply, 1000);
		}
		msg_free(&got);
	}
	return NULL;
}

static void serve_start(struct world *w)
{
	assert_int_equal(pthread_create(&w->thread, NULL, serve, w), 0);
	w->serving = true;
}

static int teardown(void **state)
{
	struct world *w = *state;
	w->stop = 1;
	if (w->serving)
		pthread_join(w->thread, NULL);
	test_end_destroy(&w->transport);
	test_end_destroy(&w->server);
	proto_zmq_destroy(&w->client_zmq);
	proto_zmq_destroy(&w->server_zmq);
	proto_allow_destroy(&w->allow);
	test_folder_remove(w->folder);
	free(w);
	return 0;
}

static void a_question_has_its_answer(void **state)
{
	struct world *w = *state;
	struct err e = ERR_INIT;
	struct msg ask = { .type = MSG_VERSION_LIST };
	struct msg_received *reply = NULL;
	serve_start(w);
	for (int i = 0; i < 20; i++) {
		assert_ok(&e, proto_client_call(&w->client, &ask, &reply, &e));
		assert_int_equal(reply->msg.type, MSG_VERSION_LIST_REPLY);
		assert_true(reply->msg.request_id == ask.request_id && ask.request_id != 0);
		assert_int_equal(reply->msg.u.version_list_reply.latest, 7);
		msg_free(&reply);
	}
}

static void a_lost_answer_is_asked_for_again(void **state)
{
	struct world *w = *state;
	struct err e = ERR_INIT;
	struct msg ask = { .type = MSG_VERSION_LIST };
	struct msg_received *reply = NULL;
	w->ignore = 1;
	serve_start(w);
	int64_t began = env_monotonic_ms(env_system());
	assert_ok(&e, proto_client_call(&w->client, &ask, &reply, &e));
	assert_in_range(w->asked, 2, 1 + (env_monotonic_ms(env_system()) - began) / 1000); /* once a second */
	msg_free(&reply);
}

static void an_error_becomes_code_and_text(void **state)
{
	struct world *w = *state;
	struct err e = ERR_INIT;
	struct msg ask = { .type = MSG_GET_MANIFEST }, forbidden = { .type = MSG_SHUTDOWN };
	struct msg_received *reply = NULL;
	serve_start(w);
	assert_int_equal(proto_client_call(&w->client, &ask, &reply, &e), ERR_NOT_FOUND);
	assert_string_equal(e.text, "no version 9");
	assert_int_equal(proto_client_call(&w->client, &forbidden, &reply, &e), ERR_DENIED);
	assert_non_null(strstr(e.text, "roles"));
	assert_null(reply);
}

static void silence_says_what_to_look_at(void **state)
{
	struct world *w = *state;
	struct err e = ERR_INIT;
	struct msg ask = { .type = MSG_VERSION_LIST };
	struct msg_received *reply = NULL;
	assert_int_equal(test_send(w->transport, 0, &ask, 10000), 0); /* nobody serves, but the connection stands */
	w->client.timeout_ms = 300;
	assert_int_equal(proto_client_call(&w->client, &ask, &reply, &e), ERR_TIMEOUT);
	assert_null(strstr(e.text, "VersionList")); /* a name of our own */
	assert_non_null(strstr(e.text, w->endpoint));
	assert_non_null(strstr(e.text, "did not answer within 300 ms"));
	test_end_destroy(&w->transport);
	test_end_destroy(&w->server); /* nobody listens at all */
	assert_ok(&e,
		  proto_zmq_connect(w->client_zmq, w->endpoint, NULL, w->server_keys.public_key, &w->transport, &e));
	w->client.transport = w->transport;
	assert_int_equal(proto_client_call(&w->client, &ask, &reply, &e), ERR_TIMEOUT);
	assert_non_null(strstr(e.text, "no connection to"));
	assert_non_null(strstr(e.text, "allow list"));
	assert_non_null(strstr(e.text, "firewall"));
}

static void an_interrupt_ends_the_wait(void **state)
{
	struct world *w = *state;
	struct err e = ERR_INIT;
	struct msg ask = { .type = MSG_VERSION_LIST };
	struct msg_received *reply = NULL;
	volatile int interrupted = 1;
	w->client.interrupted = &interrupted;
	assert_int_equal(proto_client_call(&w->client, &ask, &reply, &e), ERR_INTERRUPTED);
}

static void what_cannot_be_sent_fails_at_once(void **state)
{
	struct world *w = *state;
	struct err e = ERR_INIT;
	struct msg ask = { .type = MSG_EDIT_LIST, .u.edit_list.id = { "\xff", 1 } };
	struct msg_received *reply = NULL;
	assert_int_equal(proto_client_call(&w->client, &ask, &reply, &e), ERR_INVALID);
}

int main(void)
{
#define WORLD(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		WORLD(a_question_has_its_answer),      WORLD(a_lost_answer_is_asked_for_again),
		WORLD(an_error_becomes_code_and_text), WORLD(silence_says_what_to_look_at),
		WORLD(an_interrupt_ends_the_wait),     WORLD(what_cannot_be_sent_fails_at_once),
	};
	log_level_set(LOG_OFF);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
