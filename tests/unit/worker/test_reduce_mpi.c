/* One rank, as without mpirun; several ranks are an integration test. */
#include "worker/reduce_mpi.h"

#include "base/fault.h"
#include "tests/lib/test.h"

static struct editor_reduce reduce;

static void one_rank_keeps_its_values(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	int64_t values[3] = { 5, -7, INT64_MAX };
	assert_int_equal(reduce.rank, 0);
	assert_int_equal(reduce.rank_count, 1);
	assert_ok(&e, reduce.sum(&reduce, values, 3, &e));
	assert_true(values[0] == 5 && values[1] == -7 && values[2] == INT64_MAX);
	assert_int_equal(reduce.reduced_bytes, 24);
}

/* The bound goes by the number of ranks that the table names: as if there were two. */
static void what_could_wrap_is_refused(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	struct editor_reduce two = reduce;
	two.rank_count = 2;
	const int64_t bad[] = { INT64_MAX / 2 + 1, INT64_MIN / 2 - 1, INT64_MIN };
	for (size_t i = 0; i < 3; i++) {
		int64_t value = bad[i];
		assert_int_equal(two.sum(&two, &value, 1, &e), ERR_LIMIT);
		assert_true(value == bad[i]);
	}
	assert_false(two.broken); /* all ranks know of it */
	int64_t fits = INT64_MAX / 2;
	assert_ok(&e, two.sum(&two, &fits, 1, &e));
}

static void a_transport_that_fails_is_marked(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	struct editor_reduce other = reduce;
	int64_t value = 1;
	assert_ok(&e, fault_arm("worker.merge.reduce=errno@1", &e));
	assert_int_equal(other.sum(&other, &value, 1, &e), ERR_EXTERNAL);
	assert_true(other.broken);
	fault_disarm_all();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_rank_keeps_its_values),
		cmocka_unit_test(a_transport_that_fails_is_marked),
		cmocka_unit_test(what_could_wrap_is_refused),
	};
	struct err e = ERR_INIT;
	if (worker_reduce_mpi_init(&argc, &argv, &reduce, &e) != 0) {
		fprintf(stderr, "%s\n", e.text);
		return 1;
	}
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	worker_reduce_mpi_fini();
	return failed;
}
