/* FleetReply: that it is sent, whatever its members say of themselves. */
#include "tests/lib/coordinator_fixture.h"

#define MEMBERS 340

static struct end_peer ends[MEMBERS];

static void ends_connect(struct cluster *c)
{
	struct buf text = BUF_INIT;
	char hex[65];
	proto_allow_format(c->allow, &text);
	for (size_t i = 0; i < MEMBERS; i++) {
		struct end_peer *end = &ends[i];
		*end = (struct end_peer){ .cluster = c, .name = "member" };
		memset(end->key, 0xe0, sizeof end->key);
		end->key[0] = (uint8_t)i;
		end->key[1] = (uint8_t)(i >> 8);
		proto_key_hex(end->key, hex);
		buf_printf(&text, "%s worker+reader member\n", hex);
	}
	proto_allow_destroy(&c->allow);
	assert_ok(&c->e, proto_allow_parse("members", &text, &c->allow, &c->e));
	buf_free(&text);
	proto_mem_allow_set(c->server, c->allow);
	for (size_t i = 0; i < MEMBERS; i++) {
		char name[32];
		snprintf(name, sizeof name, "member-%zu", i);
		assert_ok(&c->e,
			  proto_mem_connect(c->mem, name, "coordinator", ends[i].key, &ends[i].transport, &c->e));
	}
	c->config.peers_max = MEMBERS;
	cluster_start(c);
}

static int teardown(void **state)
{
	for (size_t i = 0; i < MEMBERS; i++)
		if (ends[i].transport != NULL)
			ends[i].transport->ops->destroy(ends[i].transport);
	memset(ends, 0, sizeof ends);
	return cluster_teardown(state);
}

static void hello(struct end_peer *end, enum msg_peer_kind kind, struct msg_text name, struct msg_text text)
{
	struct msg msg = { .type = MSG_HELLO };
	msg.u.hello = (struct msg_hello){ .kind = kind,
					  .protocol_min = 1,
					  .protocol_max = 1,
					  .name = name,
					  .software = name,
					  .backend = text,
					  .endpoint = text,
					  .layers = 30,
					  .hidden = CLUSTER_HIDDEN,
					  .ffn = CLUSTER_FFN,
					  .boot = UINT64_MAX,
					  .pid = UINT32_MAX };
	memset(msg.u.hello.base_model.bytes, 0xab, HASH_BYTES);
	end_send(end, &msg);
}

static struct msg_received *fleet_get(struct cluster *c)
{
	struct msg msg = { .type = MSG_FLEET };
	end_send(&c->client, &msg);
	cluster_run(c);
	return end_expect(&c->client, MSG_FLEET_REPLY);
}

/* Peers choose their texts: however long these are, the reply fits its cap. */
static void test_members_with_full_texts_fit(void **state)
{
	struct cluster *c = *state;
	char words[512];
	const struct msg_text name = { words, 128 }, text = { words, sizeof words };
	struct msg status = { .type = MSG_NODE_STATUS };
	memset(words, 'w', sizeof words);
	status.u.node_status = (struct msg_node_status){ .state = name,
							 .resident_bytes = UINT64_MAX,
							 .failed_version = UINT64_MAX,
							 .failed_reason = text,
							 .source = text };
	ends_connect(c);
	for (size_t i = 0; i < MEMBERS; i++) {
		hello(&ends[i], MSG_PEER_NODE, name, text);
		end_send(&ends[i], &status);
	}
	cluster_run(c);
	struct msg_received *reply = fleet_get(c);
	const struct msg_fleet_reply *fleet = &reply->msg.u.fleet_reply;
	assert_int_equal(fleet->member_total, MEMBERS);
	assert_in_range(fleet->member_count, 200, MEMBERS - 1);
	for (size_t i = 0; i < fleet->member_count; i++)
		assert_int_equal(fleet->members[i].source.len, 255);
	assert_int_equal(fleet->members[0].failed_reason.len, 255);
	msg_free(&reply);
	status.u.node_status.source.len = status.u.node_status.state.len = 1; /* shorter ones leave room for more */
	for (size_t i = 0; i < MEMBERS; i++)
		end_send(&ends[i], &status);
	cluster_run(c);
	reply = fleet_get(c);
	assert_int_equal(reply->msg.u.fleet_reply.member_count, MEMBERS);
	msg_free(&reply);
}

/* Not all reasons have room; whether a member fails is told of each, and of none that is lost. */
static void test_each_that_fails_is_told(void **state)
{
	enum { FAILING = 100 };
	struct cluster *c = *state;
	const struct msg_text name = { "member", 6 }, text = { "cpu", 3 };
	struct msg beat = { .type = MSG_HEARTBEAT, .u.heartbeat.trouble = { "its disk is full", 16 } };
	size_t reasons = 0, failing = 0;
	ends_connect(c);
	for (size_t i = 0; i <= FAILING; i++)
		hello(&ends[i], MSG_PEER_WORKER, name, text);
	cluster_run(c);
	for (size_t i = 0; i < FAILING; i++)
		end_send(&ends[i], &beat);
	cluster_run(c);
	struct msg_received *reply = fleet_get(c);
	const struct msg_fleet_reply *fleet = &reply->msg.u.fleet_reply;
	assert_int_equal(fleet->member_count, FAILING + 1);
	for (size_t i = 0; i < fleet->member_count; i++) {
		const struct msg_fleet_member *m = &fleet->members[i];
		assert_int_equal(m->failing, memcmp(m->key, ends[FAILING].key, sizeof m->key) != 0);
		reasons += m->failed_reason.len > 0;
	}
	assert_in_range(reasons, 1, FAILING - 1);
	msg_free(&reply);
	cluster_advance(c, c->config.lease_ms + 1); /* they are lost, but one */
	end_send(&ends[0], &beat);
	cluster_run(c);
	reply = fleet_get(c);
	fleet = &reply->msg.u.fleet_reply;
	reasons = 0;
	for (size_t i = 0; i < fleet->member_count; i++) {
		failing += fleet->members[i].failing;
		reasons += fleet->members[i].failed_reason.len > 0;
	}
	assert_int_equal(failing, 1);
	assert_int_equal(reasons, 1);
	msg_free(&reply);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, cluster_setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_members_with_full_texts_fit),
		T(test_each_that_fails_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
