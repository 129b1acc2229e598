#include "base/metrics.h"

#include "tests/lib/test.h"

static void values_have_a_head(void **state)
{
	(void)state;
	struct buf b = BUF_INIT;
	metrics_value(&b, "amend_leases", "gauge", "Leases held.", 3);
	assert_string_equal(buf_cstr(&b),
			    "# HELP amend_leases Leases held.\n# TYPE amend_leases gauge\namend_leases 3\n");
	buf_clear(&b);
	metrics_value(&b, "t", "gauge", "T.", 1.360464); /* the shortest that reads back */
	assert_non_null(strstr(buf_cstr(&b), "\nt 1.360464\n"));
	metrics_value(&b, "t", "gauge", "T.", 0.1 + 0.2);
	assert_non_null(strstr(buf_cstr(&b), "\nt 0.30000000000000004\n"));
	buf_free(&b);
}

static void buckets_are_cumulative(void **state)
{
	(void)state;
	static const double bounds[] = { 0.5, 2 };
	static const uint64_t counts[] = { 3, 4 };
	struct buf b = BUF_INIT;
	metrics_histogram(&b, "t", "Time.", bounds, counts, 2, 9, 12.5);
	assert_string_equal(buf_cstr(&b), "# HELP t Time.\n# TYPE t histogram\nt_bucket{le=\"0.5\"} 3\n"
					  "t_bucket{le=\"2\"} 7\nt_bucket{le=\"+Inf\"} 9\nt_sum 12.5\nt_count 9\n");
	buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_have_a_head),
		cmocka_unit_test(buckets_are_cumulative),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
