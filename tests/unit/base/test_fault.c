#include "tests/lib/test.h"

#include "base/fault.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int disarm(void **state)
{
	(void)state;
	fault_disarm_all();
	unsetenv("AMEND_FAULT");
	return 0;
}

static void counts_down(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	assert_int_equal(fault_point("a.b"), 0);
	assert_ok(&e, fault_arm("a.b=errno@3:2", &e));
	assert_int_equal(fault_point("a.b"), 0);
	assert_int_equal(fault_point("other"), 0);
	assert_int_equal(fault_point("a.b"), 0);
	assert_int_equal(fault_point("a.b"), ERR_FAULT);
	assert_int_equal(fault_point("a.b"), ERR_FAULT);
	assert_int_equal(fault_point("a.b"), 0);
	assert_int_equal(fault_hits("a.b"), 5);
	assert_int_equal(fault_hits("other"), 1);
	assert_int_equal(fault_hits("never"), 0);
	fault_disarm_all();
	assert_int_equal(fault_point("a.b"), 0);
	assert_int_equal(fault_hits("a.b"), 5);
}

static void refuses_bad_specs(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"",           "a",
		"a=errno",    "=errno@1",
		"a=boom@1",   "a=errno@0",
		"a=errno@x",  "a=errno@",
		"a=errno@1:", "a=errno@1:z",
		"a=delay-@1", "a=delay-x@1",
		"a@1=errno",  "a=errno@99999999999999999999",
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct err e = ERR_INIT;
		if (fault_arm(bad[i], &e) != ERR_INVALID)
			fail_msg("accepted '%s'", bad[i]);
	}
}

static void armed_limit(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	for (int i = 0; i < 32; i++)
		assert_ok(&e, fault_arm("x=errno@1", &e));
	assert_int_equal(fault_arm("x=errno@1", &e), ERR_LIMIT);
}

static void from_environment(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	assert_ok(&e, fault_init_from_env(&e));
	setenv("AMEND_FAULT", "p.one=errno@1,p.two=errno@2", 1);
	assert_ok(&e, fault_init_from_env(&e));
	assert_int_equal(fault_point("p.one"), ERR_FAULT);
	assert_int_equal(fault_point("p.two"), 0);
	assert_int_equal(fault_point("p.two"), ERR_FAULT);
	setenv("AMEND_FAULT", "p.one=errno@1,p.two=nonsense@2", 1);
	assert_int_equal(fault_init_from_env(&e), ERR_INVALID);
	assert_non_null(strstr(e.text, "p.two=nonsense@2"));
}

static void kills(void **state)
{
	(void)state;
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		if (fault_arm("k=kill@2", NULL) == 0 && fault_point("k") == 0 && fault_point("k") == 0)
			_exit(3);
		_exit(4);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void delays(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	struct timespec a, b;
	assert_ok(&e, fault_arm("d=delay-20@1", &e));
	clock_gettime(CLOCK_MONOTONIC, &a);
	assert_int_equal(fault_point("d"), 0);
	clock_gettime(CLOCK_MONOTONIC, &b);
	assert_true((b.tv_sec - a.tv_sec) * 1000000000L + b.tv_nsec - a.tv_nsec >= 20000000L);
}

static void allocations(void **state)
{
	(void)state;
	fault_set(1, 2);
	void *p = fault_malloc(8);
	assert_non_null(p);
	assert_null(fault_calloc(2, 8));
	assert_null(fault_realloc(p, 16));
	p = fault_realloc(p, 16);
	assert_non_null(p);
	fault_set(-1, 0);
	free(p);
	p = fault_malloc(0);
	assert_non_null(p);
	free(p);
	assert_null(fault_calloc(SIZE_MAX / 2, 4));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(counts_down, disarm),
		cmocka_unit_test_teardown(refuses_bad_specs, disarm),
		cmocka_unit_test_teardown(armed_limit, disarm),
		cmocka_unit_test_teardown(from_environment, disarm),
		cmocka_unit_test(kills),
		cmocka_unit_test_teardown(delays, disarm),
		cmocka_unit_test(allocations),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
