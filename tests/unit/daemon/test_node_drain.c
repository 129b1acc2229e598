#include "daemon/node_drain.h"

#include "tests/lib/test.h"

static void serves_on_then_waits_for_what_runs(void **state)
{
	struct node_drain d;
	(void)state;
	node_drain_init(&d, 5000, 120000);
	assert_int_equal(node_drain_step(&d, 1000000, 0), NODE_DRAIN_SERVING); /* however long nothing is asked */
	node_drain_signal(&d, 1000000);
	assert_int_equal(node_drain_step(&d, 1000000, 0), NODE_DRAIN_LEAVING); /* idle, but others still send */
	assert_int_equal(node_drain_step(&d, 5999999, 0), NODE_DRAIN_LEAVING);
	assert_int_equal(node_drain_step(&d, 6000000, 0), NODE_DRAIN_CLOSED);
	assert_int_equal(node_drain_step(&d, 6000001, 1), NODE_DRAIN_CLOSED);
	assert_int_equal(node_drain_step(&d, 125999999, 1), NODE_DRAIN_CLOSED);
	assert_int_equal(node_drain_step(&d, 126000000, 1), NODE_DRAIN_ENDED);
}

static void ends_with_the_last_request(void **state)
{
	struct node_drain d;
	(void)state;
	node_drain_init(&d, 0, 120000);
	node_drain_signal(&d, 1000000);
	assert_int_equal(node_drain_step(&d, 1000000, 3), NODE_DRAIN_CLOSED);
	assert_int_equal(node_drain_step(&d, 1020000, 1), NODE_DRAIN_CLOSED);
	assert_int_equal(node_drain_step(&d, 1040000, 0), NODE_DRAIN_ENDED);
}

static void the_second_signal_ends_it(void **state)
{
	struct node_drain d;
	(void)state;
	for (int64_t wait_ms = 0; wait_ms < 2000; wait_ms += 1000) { /* in either state */
		node_drain_init(&d, wait_ms, 120000);
		node_drain_signal(&d, 0);
		(void)node_drain_step(&d, 1, 1);
		node_drain_signal(&d, 2);
		assert_int_equal(node_drain_step(&d, 3, 1), NODE_DRAIN_ENDED);
		node_drain_signal(&d, 4); /* more change nothing */
		assert_int_equal(node_drain_step(&d, 5, 1), NODE_DRAIN_ENDED);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(serves_on_then_waits_for_what_runs),
		cmocka_unit_test(ends_with_the_last_request),
		cmocka_unit_test(the_second_signal_ends_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
