#include "base/sync.h"

#include "tests/lib/test.h"

#include <errno.h>

static int make(void *context)
{
	pthread_mutex_t lock;
	pthread_cond_t changed, more;
	(void)context;
	if (sync_init(&lock, &changed) != 0)
		return ERR_NOMEM;
	int rc = sync_cond_init(&more);
	if (rc == 0)
		pthread_cond_destroy(&more);
	sync_fini(&lock, &changed);
	return rc;
}

static void without_memory_nothing_is_made(void **state)
{
	(void)state;
	assert_int_equal(test_walk_allocations(make, NULL), 2);
}

static bool before(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec : a->tv_nsec < b->tv_nsec;
}

/* By the clock of the condition: with another the wait would end at once or in years. */
static void a_wait_ends_at_its_deadline(void **state)
{
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct timespec now;
	int rc;
	(void)state;
	assert_int_equal(sync_init(&lock, &changed), 0);
	const struct timespec until = sync_deadline(30);
	pthread_mutex_lock(&lock);
	do
		rc = pthread_cond_timedwait(&changed, &lock, &until);
	while (rc == 0); /* woken without a signal */
	pthread_mutex_unlock(&lock);
	clock_gettime(CLOCK_MONOTONIC, &now);
	assert_int_equal(rc, ETIMEDOUT);
	assert_false(before(&now, &until));
	sync_fini(&lock, &changed);
}

static void deadlines_are_whole_moments(void **state)
{
	(void)state;
	for (int64_t ms = 0; ms < 5000; ms += 7) {
		struct timespec early, late;
		clock_gettime(CLOCK_MONOTONIC, &early);
		const struct timespec until = sync_deadline(ms);
		clock_gettime(CLOCK_MONOTONIC, &late);
		const int64_t from = early.tv_sec * INT64_C(1000000000) + early.tv_nsec + ms * 1000000;
		const int64_t to = late.tv_sec * INT64_C(1000000000) + late.tv_nsec + ms * 1000000;
		assert_in_range(until.tv_nsec, 0, 999999999);
		assert_in_range(until.tv_sec * INT64_C(1000000000) + until.tv_nsec, from, to);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_memory_nothing_is_made),
		cmocka_unit_test(a_wait_ends_at_its_deadline),
		cmocka_unit_test(deadlines_are_whole_moments),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
