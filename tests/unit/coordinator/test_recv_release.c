/* A lease that is given back: who gets it next, and when. */
#include "tests/lib/coordinator_fixture.h"

/* One edit more, and the lease that comes for it. */
static uint64_t begin(struct cluster *c, uint64_t *shard)
{
	cluster_start(c);
	worker_hello(&c->worker, 1);
	client_facts(c, 1, 1);
	return worker_lease(&c->worker, shard);
}

/* Given back, and granted again after so long. */
static void expect_wait(struct cluster *c, uint64_t shard, uint64_t *epoch, int64_t ms)
{
	worker_release(&c->worker, shard, *epoch, ERR_FULL);
	for (int64_t left = ms - 1; left > 0; left -= 1000) {
		worker_beat(&c->worker, 0, 0);
		cluster_advance(c, left < 1000 ? left : 1000);
		assert_null(end_take(&c->worker, MSG_LEASE));
	}
	cluster_advance(c, 1);
	assert_int_equal(worker_lease(&c->worker, NULL), ++*epoch);
}

/* Twice as long each time, up to 64 s; what has been trained meanwhile begins again with one. */
static void test_the_wait_grows_until_something_is_trained(void **state)
{
	struct cluster *c = *state;
	uint64_t shard, epoch = begin(c, &shard);
	for (int i = 0; i < 9; i++)
		expect_wait(c, shard, &epoch, INT64_C(1000) << (i < 6 ? i : 6));
	worker_turn(&c->worker, shard, epoch);
	client_facts(c, 2, 1);
	expect_wait(c, shard, &epoch, 1000);
	expect_wait(c, shard, &epoch, 2000);
}

/* Others first; but what its job failed of has ended with a process that starts anew. */
static void test_a_worker_that_starts_anew_is_trusted_again(void **state)
{
	struct cluster *c = *state;
	uint64_t shard, epoch = begin(c, &shard);
	worker_hello(&c->worker2, 1);
	worker_release(&c->worker, shard, epoch, ERR_IO);
	cluster_advance(c, 1000);
	assert_null(end_take(&c->worker, MSG_LEASE));
	assert_int_equal(worker_lease(&c->worker2, NULL), ++epoch);
	worker_release(&c->worker2, shard, epoch, ERR_IO);
	worker_hello(&c->worker2, 2);
	cluster_advance(c, 2000);
	assert_null(end_take(&c->worker, MSG_LEASE));
	assert_int_equal(worker_lease(&c->worker2, NULL), ++epoch);
}

/* The one that held it does not get it while it has as many as it takes. */
static void test_who_holds_enough_gets_nothing_back(void **state)
{
	struct cluster *c = *state;
	struct msg_received *lease;
	size_t count = 0;
	c->config.edits_per_shard = 1;
	cluster_start(c);
	client_facts(c, 0, MSG_WORKER_LEASES_MAX + 1);
	worker_hello(&c->worker, 1);
	for (; (lease = end_take(&c->worker, MSG_LEASE)) != NULL; count++)
		msg_free(&lease);
	assert_int_equal(count, MSG_WORKER_LEASES_MAX);
	worker_release(&c->worker, 1, 1, ERR_FULL);
	uint64_t next;
	assert_int_equal(worker_lease(&c->worker, &next), 1); /* the one that waited */
	assert_int_equal(next, MSG_WORKER_LEASES_MAX + 1);
	struct msg progress = { .type = MSG_PROGRESS };
	progress.u.progress = (struct msg_progress){ 2, 1, 1, 100, { "train", 5 }, 0 };
	worker_want(&c->worker, 2, 1, 10, 0);
	end_clear(&c->worker);
	end_send(&c->worker, &progress); /* it is trusted again */
	cluster_run(c);
	cluster_advance(c, 1000);
	assert_null(end_take(&c->worker, MSG_LEASE));
	worker_hello(&c->worker2, 1);
	assert_int_equal(worker_lease(&c->worker2, &next), 2);
	assert_int_equal(next, 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, cluster_setup, cluster_teardown)
	const struct CMUnitTest tests[] = {
		T(test_the_wait_grows_until_something_is_trained),
		T(test_a_worker_that_starts_anew_is_trusted_again),
		T(test_who_holds_enough_gets_nothing_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
