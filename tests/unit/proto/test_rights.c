#include "tests/lib/test.h"

#include "proto/codec.h"
#include "proto/keys.h"
#include "tests/lib/messages.h"

/* The table of promises.md, written a second time: role by role, where rights.c goes type by type. */
static const int submitter[] = { MSG_SUBMIT, MSG_EDIT_LIST, 0 };
static const int worker[] = { MSG_HELLO,
			      MSG_WANT,
			      MSG_HEARTBEAT,
			      MSG_PROGRESS,
			      MSG_SHARD_COMMIT,
			      MSG_GATE_RESULT,
			      MSG_CANARY_RESULT,
			      MSG_RELEASE,
			      MSG_HAVE,
			      MSG_CHUNK,
			      MSG_NEED,
			      MSG_GET_MANIFEST,
			      0 };
static const int reader[] = { MSG_HELLO,        MSG_HEARTBEAT, MSG_GET_MANIFEST, MSG_NEED,        MSG_NODE_STATUS,
			      MSG_VERSION_LIST, MSG_FLEET,     MSG_CHUNK,        MSG_READER_LIST, 0 };
static const int auditor[] = { MSG_EDIT_LIST, MSG_VERSION_LIST, MSG_GET_MANIFEST, MSG_NEED,
			       MSG_FLEET,     MSG_CANDIDATE,    MSG_EVENT_LIST,   0 };
static const int admin_only[] = { MSG_MERGE_RUN, MSG_SHUTDOWN, MSG_REVOKE,     MSG_STORE_RUN,
				  MSG_PUBLISH,   MSG_KEY_LIST, MSG_KEY_CHANGE, 0 };

static bool in(const int *list, int type)
{
	for (; *list != 0; list++)
		if (*list == type)
			return true;
	return false;
}

static bool expected(unsigned roles, int type)
{
	bool admin = in(admin_only, type) || in(submitter, type) || in(reader, type) || in(auditor, type);
	return ((roles & PROTO_ROLE_SUBMITTER) != 0 && in(submitter, type)) ||
	       ((roles & PROTO_ROLE_WORKER) != 0 && in(worker, type)) ||
	       ((roles & PROTO_ROLE_READER) != 0 && in(reader, type)) ||
	       ((roles & PROTO_ROLE_AUDITOR) != 0 && in(auditor, type)) || ((roles & PROTO_ROLE_ADMIN) != 0 && admin);
}

/* Every set of roles × every number that a header can carry and its neighbours. */
static void exactly_the_table(void **state)
{
	(void)state;
	for (unsigned roles = 0; roles <= PROTO_ROLE_ALL; roles++)
		for (int type = -1; type < 300; type++)
			if (proto_right(roles, type) != expected(roles, type))
				fail_msg("roles %u, %s: %d", roles, msg_type_name(type), proto_right(roles, type));
	assert_false(proto_right(~PROTO_ROLE_ALL, MSG_SUBMIT));
	assert_false(proto_right(PROTO_ROLE_ALL, 65535));
}

/* What a coordinator sends, by which every type that the codec knows is either somebody's or an answer. */
static const int answers[] = { MSG_SUBMIT_REPLY,
			       MSG_EDIT_LIST_REPLY,
			       MSG_HELLO_REPLY,
			       MSG_LEASE,
			       MSG_EDITS,
			       MSG_HEARTBEAT_REPLY,
			       MSG_SHARD_COMMIT_REPLY,
			       MSG_FENCED,
			       MSG_CANARY_RUN,
			       MSG_MISSING,
			       MSG_CHUNK_STORED,
			       MSG_HINT,
			       MSG_MANIFEST,
			       MSG_VERSION_LIST_REPLY,
			       MSG_MERGE_STATUS,
			       MSG_FLEET_REPLY,
			       MSG_REVOKE_REPLY,
			       MSG_PUBLISH_REPLY,
			       MSG_CANDIDATE_REPLY,
			       MSG_STORE_STATUS,
			       MSG_EVENT_LIST_REPLY,
			       MSG_KEY_LIST_REPLY,
			       MSG_KEY_CHANGE_REPLY,
			       MSG_READER_LIST_REPLY,
			       MSG_ERROR,
			       0 };

static void answers_are_nobodys(void **state)
{
	(void)state;
	for (size_t i = 0; answers[i] != 0; i++)
		assert_false(proto_right(PROTO_ROLE_ALL, answers[i]));
}

static void every_type_stands_in_the_table(void **state)
{
	(void)state;
	for (int type = 0; type < 300; type++)
		if (proto_body_cap(type) > 0 && !in(answers, type) && !proto_right(PROTO_ROLE_ALL, type))
			fail_msg("%s is nobody's and no answer", msg_type_name(type));
	for (size_t i = 0; i < test_message_type_count; i++)
		assert_true(proto_body_cap(test_message_types[i]) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(exactly_the_table), cmocka_unit_test(answers_are_nobodys),
					    cmocka_unit_test(every_type_stands_in_the_table) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
