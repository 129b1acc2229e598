/* Every role sends every type of message to a server over ZeroMQ: exactly what the table of rights has (test_rights.c
 * says what it shall have) comes out, the rest is answered "not allowed". */
#include "tests/unit/proto/zmq_fixture.h"

#include "base/log.h"
#include "tests/lib/messages.h"

#define SEED 7

static void message_make(struct arena *arena, int type, struct msg *out)
{
	struct rng rng;
	rng_init(&rng, SEED + (uint64_t)type);
	test_message_fill(&rng, arena, type, out);
	out->request_id = (uint64_t)type;
}

/* What comes of the message: 0, when the server's end gives it out, or the code of the Error that is the answer. */
static int verdict(struct net *net, const struct msg *msg)
{
	struct msg_received *got = NULL;
	int64_t since = 0;
	int code = ERR_TIMEOUT;
	assert_int_equal(test_send(net->client, 0, msg, SOON_MS), 0);
	do {
		if (test_receive(net->server, &got, 1) == 0) {
			code = 0;
			assert_int_equal(got->msg.type, msg->type);
		} else if (test_receive(net->client, &got, 1) == 0) {
			assert_int_equal(got->msg.type, MSG_ERROR);
			code = got->msg.u.error.code;
		}
	} while (got == NULL && test_wait(&since));
	assert_int_equal(got->msg.request_id, msg->request_id);
	msg_free(&got);
	return code;
}

static void walk(struct net *net, unsigned roles)
{
	size_t allowed = 0;
	for (size_t i = 0; i < test_message_type_count; i++) {
		const int type = test_message_types[i];
		struct arena *arena = NULL;
		struct msg msg = { .type = 0 };
		assert_int_equal(arena_new(4096, 8 << 20, &arena), 0);
		message_make(arena, type, &msg);
		const int code = verdict(net, &msg);
		if (code != (proto_right(roles, type) ? 0 : ERR_DENIED))
			fail_msg("roles %u, %s: %d", roles, msg_type_name(type), code);
		allowed += code == 0;
		arena_destroy(&arena);
	}
	assert_int_equal(net->server->counts.received, allowed);
	assert_int_equal(net->server->counts.forbidden, test_message_type_count - allowed);
	assert_int_equal(net->server->counts.undecodable, 0);
}

#define ROLE(name, role)                                                                                               \
	static int setup_##name(void **state)                                                                          \
	{                                                                                                              \
		return setup_with(state, role, 1000);                                                                  \
	}                                                                                                              \
	static void as_##name(void **state)                                                                            \
	{                                                                                                              \
		walk(*state, role);                                                                                    \
	}

ROLE(submitter, PROTO_ROLE_SUBMITTER)
ROLE(worker, PROTO_ROLE_WORKER)
ROLE(reader, PROTO_ROLE_READER)
ROLE(auditor, PROTO_ROLE_AUDITOR)
ROLE(admin, PROTO_ROLE_ADMIN)
ROLE(submitter_and_worker, PROTO_ROLE_SUBMITTER | PROTO_ROLE_WORKER)
ROLE(all, PROTO_ROLE_ALL)

int main(void)
{
#define AS(name) cmocka_unit_test_setup_teardown(as_##name, setup_##name, teardown)
	const struct CMUnitTest tests[] = { AS(submitter), AS(worker), AS(reader),
					    AS(auditor),   AS(admin),  AS(submitter_and_worker),
					    AS(all) };
	log_level_set(LOG_OFF);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
