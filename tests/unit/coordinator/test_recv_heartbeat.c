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
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, cluster_setup, cluster_teardown)
	const struct CMUnitTest tests[] = {
		T(test_lease_counts_from_when_its_holder_heard_last),
		T(test_late_heartbeat_takes_nothing_away),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
