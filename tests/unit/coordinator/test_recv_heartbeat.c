/* How long a lease lasts, of what heartbeats say. */
#include "tests/lib/coordinator_fixture.h"

/* It hears nothing of us and counts its lease from then: so do we, or it would be the holder for twice as long. */
static void test_lease_counts_from_when_its_holder_heard_last(void **state)
{
	struct cluster *c = *state;
	uint64_t shard, shard2;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	client_facts(c, 1, 1);
	uint64_t epoch = worker_lease(&c->worker, &shard);
	worker_beat(&c->worker, shard, epoch);
	for (uint32_t unheard_ms = 1000; unheard_ms < 8000; unheard_ms += 1000) {
		cluster_advance(c, 1000);
		worker_beat_unheard(&c->worker, shard, epoch, unheard_ms);
	}
	worker_hello(&c->worker2, 1);
	assert_null(end_take(&c->worker2, MSG_LEASE));
	cluster_advance(c, 1000);
	worker_beat_unheard(&c->worker, shard, epoch, 8000);
	assert_int_equal(worker_lease(&c->worker2, &shard2), epoch + 1);
	assert_int_equal(shard2, shard);
}

/* What was late says little of what came in time: no heartbeat shortens a lease. */
static void test_late_heartbeat_takes_nothing_away(void **state)
{
	struct cluster *c = *state;
	uint64_t shard;
	c->config.edits_per_shard = 1;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	client_facts(c, 1, 1);
	uint64_t epoch = worker_lease(&c->worker, &shard);
	worker_beat(&c->worker, shard, epoch);
	worker_beat_unheard(&c->worker, shard, epoch, UINT32_MAX);
	cluster_advance(c, 7000);
	worker_beat(&c->worker, shard, epoch);
	cluster_advance(c, 7000);
	assert_null(end_take(&c->worker, MSG_FENCED));
	worker_beat_unheard(&c->worker, shard, epoch, UINT32_MAX);
	client_facts(c, 2, 1);
	(void)worker_lease(&c->worker, NULL); /* it is here as before */
}

/* A grant that its holder has not shown after half a lease time is sent again, and only then. */
static void test_a_lost_grant_is_sent_again(void **state)
{
	struct cluster *c = *state;
	uint64_t shard;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	client_facts(c, 1, 1);
	const uint64_t epoch = worker_lease(&c->worker, &shard);
	cluster_advance(c, 3999);
	worker_beat(&c->worker, 0, 0);
	assert_null(end_take(&c->worker, MSG_LEASE));
	cluster_advance(c, 1);
	worker_beat(&c->worker, 0, 0);
	assert_int_equal(worker_lease(&c->worker, NULL), epoch);
	worker_beat(&c->worker, 0, 0);
	assert_null(end_take(&c->worker, MSG_LEASE));
	worker_beat(&c->worker, shard, epoch); /* it has it */
	cluster_advance(c, 4000);
	worker_beat(&c->worker, shard, epoch);
	assert_null(end_take(&c->worker, MSG_LEASE));
}

static int heard(struct end_peer *end, enum msg_type type)
{
	struct msg_received *received = NULL;
	int count = 0;
	while (end->transport->ops->recv(end->transport, &received, NULL) == 0) {
		count += received->msg.type == type;
		msg_free(&received);
	}
	return count;
}

/* It may be of a process that was fenced; with the lease that its key holds it is the one. */
static void test_a_new_connection_shows_its_lease_or_says_hello(void **state)
{
	struct cluster *c = *state;
	struct end_peer second;
	uint64_t shard;
	c->config.edits_per_shard = 1;
	cluster_start(c);
	worker_hello(&c->worker, 1);
	client_facts(c, 1, 1);
	const uint64_t epoch = worker_lease(&c->worker, &shard);
	end_connect(c, &second, "worker-again", 1);
	worker_beat(&second, 0, 0);
	assert_int_equal(heard(&second, MSG_ERROR), 1);
	client_facts(c, 2, 1);
	assert_int_equal(heard(&second, MSG_LEASE), 0);
	(void)worker_lease(&c->worker, NULL);
	worker_beat(&second, shard, epoch);
	assert_int_equal(heard(&second, MSG_HEARTBEAT_REPLY), 1);
	client_facts(c, 3, 1);
	assert_int_equal(heard(&second, MSG_LEASE), 1);
	second.transport->ops->destroy(second.transport);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, cluster_setup, cluster_teardown)
	const struct CMUnitTest tests[] = {
		T(test_lease_counts_from_when_its_holder_heard_last),
		T(test_late_heartbeat_takes_nothing_away),
		T(test_a_lost_grant_is_sent_again),
		T(test_a_new_connection_shows_its_lease_or_says_hello),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
