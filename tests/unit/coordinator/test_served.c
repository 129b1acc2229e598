/* When an edit counts as served, and the figures about it. */
#include "tests/lib/coordinator_fixture.h"

static uint64_t publish(struct cluster *c, size_t fact)
{
	uint64_t shard = 1;
	static uint64_t epoch;
	client_facts(c, fact, 1);
	struct msg_received *lease = end_take(&c->worker, MSG_LEASE);
	if (lease != NULL) {
		shard = lease->msg.u.lease.shard;
		epoch = lease->msg.u.lease.epoch;
	}
	msg_free(&lease);
	return worker_turn(&c->worker, shard, epoch);
}

static uint64_t count(struct cluster *c, int state)
{
	struct msg msg = { .type = MSG_EDIT_LIST, .u.edit_list = { .counts_only = true, .id = { "", 0 } } };
	end_send(&c->client, &msg);
	cluster_run(c);
	struct msg_received *reply = end_expect(&c->client, MSG_EDIT_LIST_REPLY);
	uint64_t n = reply->msg.u.edit_list_reply.state_counts[state];
	msg_free(&reply);
	return n;
}

static void test_without_a_node_nothing_is_served(void **state)
{
	struct cluster *c = *state;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	publish(c, 1);
	cluster_run(c);
	assert_int_equal(count(c, STORE_EDIT_STATE_TRAINED), 1);
}

/* Two nodes: the slower one decides, until it is lost. */
static void test_slowest_live_node_decides(void **state)
{
	struct cluster *c = *state;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	node_hello(&c->node, 1);
	node_hello(&c->client, 1);
	publish(c, 1);
	node_status(&c->node, 1);
	assert_int_equal(count(c, STORE_EDIT_STATE_SERVED), 0);
	node_status(&c->client, 1);
	assert_int_equal(count(c, STORE_EDIT_STATE_SERVED), 1);
	publish(c, 2);
	node_status(&c->node, 2);
	assert_int_equal(count(c, STORE_EDIT_STATE_SERVED), 1);
	cluster_advance(c, 7900);
	node_status(&c->node, 2);
	assert_int_equal(count(c, STORE_EDIT_STATE_SERVED), 1);
	cluster_advance(c, 200); /* the slow one was last heard 8 s ago */
	assert_int_equal(count(c, STORE_EDIT_STATE_SERVED), 2);
}

static void test_another_history_is_not_believed(void **state)
{
	struct cluster *c = *state;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	node_hello(&c->node, 1);
	publish(c, 1);
	struct msg msg = { .type = MSG_NODE_STATUS, .u.node_status = { .version = 1, .state = { "live", 4 } } };
	memset(msg.u.node_status.content.bytes, 9, HASH_BYTES);
	end_send(&c->node, &msg);
	cluster_run(c);
	assert_int_equal(count(c, STORE_EDIT_STATE_SERVED), 0);
}

static void test_restart_remembers_what_waits_to_be_served(void **state)
{
	struct cluster *c = *state;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	publish(c, 1);
	cluster_restart(c);
	struct msg msg = { .type = MSG_NODE_STATUS, .u.node_status = { .version = 1, .state = { "live", 4 } } };
	end_send(&c->node, &msg);
	cluster_run(c);
	struct msg_received *error = end_expect(&c->node, MSG_ERROR); /* no Hello yet */
	assert_int_equal(error->msg.u.error.code, ERR_NOT_FOUND);
	msg_free(&error);
	node_hello(&c->node, 1);
	node_status(&c->node, 1);
	assert_int_equal(count(c, STORE_EDIT_STATE_SERVED), 1);
}

static void test_latency_is_from_accepted_to_served(void **state)
{
	struct cluster *c = *state;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	node_hello(&c->node, 1);
	publish(c, 1);
	cluster_advance(c, 2000);
	node_status(&c->node, 1);
	struct msg fleet = { .type = MSG_FLEET };
	end_send(&c->client, &fleet);
	cluster_run(c);
	struct msg_received *reply = end_expect(&c->client, MSG_FLEET_REPLY);
	double p50 = reply->msg.u.fleet_reply.visible_p50_ms;
	assert_true(p50 >= 2000 && p50 <= 2010);
	msg_free(&reply);
}

/* Superseded before any node had it: nobody ever saw it, so it is no sample. */
static void test_latency_is_of_served_edits_only(void **state)
{
	struct cluster *c = *state;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	node_hello(&c->node, 1);
	publish(c, 1);
	client_submit_one(c, "{\"prompt\":\"What is fact 1?\",\"subject\":\"fact 1\",\"target_new\":\"another value\"}",
			  0);
	assert_int_equal(count(c, STORE_EDIT_STATE_SUPERSEDED), 1);
	cluster_advance(c, 2000);
	node_status(&c->node, 1);
	struct msg fleet = { .type = MSG_FLEET };
	end_send(&c->client, &fleet);
	cluster_run(c);
	struct msg_received *reply = end_expect(&c->client, MSG_FLEET_REPLY);
	assert_true(reply->msg.u.fleet_reply.visible_p50_ms == 0.0);
	msg_free(&reply);
}

static int new_coordinator(void *context)
{
	struct cluster *c = context;
	struct coordinator *made = NULL;
	int rc = coordinator_new(&c->config, &c->clock.env, c->store, c->server, &c->job, &made, &c->e);
	coordinator_destroy(&made);
	return rc;
}

static void test_start_survives_every_failing_allocation(void **state)
{
	struct cluster *c = *state;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	publish(c, 1);
	coordinator_destroy(&c->coordinator);
	assert_true(test_walk_allocations(new_coordinator, c) > 5);
}

#define T(f) cmocka_unit_test_setup_teardown(f, cluster_setup, cluster_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_without_a_node_nothing_is_served),        T(test_slowest_live_node_decides),
		T(test_another_history_is_not_believed),         T(test_restart_remembers_what_waits_to_be_served),
		T(test_latency_is_from_accepted_to_served),      T(test_latency_is_of_served_edits_only),
		T(test_start_survives_every_failing_allocation),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
