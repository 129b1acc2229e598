/* Whose a key is, and that approval takes another person. */
#include "tests/unit/coordinator/candidate_fixture.h"

static int key_allow(struct cluster *c, uint8_t byte, const char *name, uint8_t replaces)
{
	struct msg msg = { .type = MSG_KEY_CHANGE };
	msg.u.key_change =
		(struct msg_key_change){ .action = MSG_KEY_ALLOW,
					 .key = { .roles = PROTO_ROLE_ADMIN, .name = { name, strlen(name) } } };
	memset(msg.u.key_change.key.key, byte, PROTO_KEY_BYTES);
	memset(msg.u.key_change.replaces, replaces, PROTO_KEY_BYTES);
	end_send(&c->admin, &msg);
	cluster_run(c);
	struct msg_received *reply = end_expect(&c->admin, MSG_KEY_CHANGE_REPLY);
	const int code = reply->msg.u.key_change_reply.code;
	msg_free(&reply);
	return code;
}

static struct published approve_as(struct cluster *c, uint8_t byte)
{
	const struct seen s = look(c);
	c->submitter.transport->ops->destroy(c->submitter.transport);
	end_connect(c, &c->submitter, "submitter", byte);
	return say(&c->submitter, MSG_PUBLISH_APPROVE, &s.content, "");
}

/* A rotated key is no second person: of whichever the edits were, and after a restart too. */
static void test_a_rotated_key_approves_nothing_of_its_owner(void **state)
{
	struct cluster *c = *state;
	struct fact f;
	c->config.approve = true;
	cluster_start(c);
	cluster_keys(c);
	cluster_stop(c);
	held_facts(c, &f); /* of key 4, named client */
	assert_ok(&c->e, coordinator_keys_reload(c->coordinator, &c->e));
	assert_int_equal(key_allow(c, 7, "nobody", 9), ERR_NOT_FOUND);
	assert_int_equal(key_allow(c, 7, "renamed", 4), 0);
	assert_true(event_says(c, 0, STORE_EVENT_KEY_CHANGED, &c->admin, "\"owner\":\"0404"));
	assert_int_equal(key_allow(c, 8, "again", 7), 0);
	assert_int_equal(key_allow(c, 9, "client", 0), 0); /* rotated before owners were kept */
	assert_int_equal(key_allow(c, 10, "another", 0), 0);
	assert_int_equal(key_allow(c, 10, "another", 4), ERR_CONFLICT); /* an owner does not change unseen */
	assert_int_equal(key_allow(c, 7, "renamed", 4), 0);             /* asked again */
	cluster_restart(c);
	assert_ok(&c->e, coordinator_keys_reload(c->coordinator, &c->e));
	for (uint8_t byte = 7; byte < 10; byte++) {
		struct published p = approve_as(c, byte);
		assert_int_equal(p.code, ERR_DENIED);
		assert_non_null(strstr(p.text, "another key of this one's owner"));
	}
	assert_int_equal(approve_as(c, 10).version, 1);
}

static bool is_stuck(struct cluster *c)
{
	struct msg msg = { .type = MSG_CANDIDATE };
	end_send(&c->client, &msg);
	cluster_run(c);
	struct msg_received *reply = end_expect(&c->client, MSG_CANDIDATE_REPLY);
	const bool stuck = strstr(reply->msg.u.candidate_reply.text.text, "no administrator's key on the list") != NULL;
	msg_free(&reply);
	return stuck;
}

/* Of all administrators' keys one submitted it, and the others are out. */
static void test_a_candidate_that_nobody_may_approve_says_so(void **state)
{
	struct cluster *c = *state;
	struct msg out = { .type = MSG_KEY_CHANGE };
	struct fact f;
	c->config.approve = true;
	cluster_start(c);
	cluster_keys(c);
	cluster_stop(c);
	held_facts(c, &f);
	assert_ok(&c->e, coordinator_keys_reload(c->coordinator, &c->e));
	assert_false(is_stuck(c));
	out.u.key_change = (struct msg_key_change){ .action = MSG_KEY_REVOKE, .reason = { "gone", 4 } };
	memset(out.u.key_change.key.key, 6, PROTO_KEY_BYTES);
	end_send(&c->client, &out);
	cluster_run(c);
	end_drop(&c->client, MSG_KEY_CHANGE_REPLY);
	assert_true(is_stuck(c));
	cluster_restart(c);
	assert_ok(&c->e, coordinator_keys_reload(c->coordinator, &c->e));
	assert_true(is_stuck(c));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_rotated_key_approves_nothing_of_its_owner, cluster_setup,
						cluster_teardown),
		cmocka_unit_test_setup_teardown(test_a_candidate_that_nobody_may_approve_says_so, cluster_setup,
						cluster_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
