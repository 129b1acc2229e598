#include "tests/lib/test.h"

#include "base/pool.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

struct job {
	struct pool_job base;  /* first: a job is cast back to its struct */
	pthread_mutex_t *gate; /* held by the test to keep the job running */
	int runs, dones;
	int late_ms; /* of its end */
	atomic_bool begun;
	pthread_t thread;
};

static void run(struct pool_job *base)
{
	struct job *job = (struct job *)base;
	atomic_store(&job->begun, true);
	if (job->gate != NULL) {
		pthread_mutex_lock(job->gate);
		pthread_mutex_unlock(job->gate);
	}
	poll(NULL, 0, job->late_ms);
	job->runs++;
	job->thread = pthread_self();
}

static void done(struct pool_job *base)
{
	((struct job *)base)->dones++;
}

static struct pool *pool_make(size_t threads, size_t queue_max)
{
	struct pool *pool = NULL;
	struct err e = ERR_INIT;
	assert_ok(&e, pool_new(threads, queue_max, &pool, &e));
	return pool;
}

static void wait_polled(struct pool *pool, size_t wanted)
{
	size_t got = 0;
	while (got < wanted) {
		struct pollfd p = { .fd = pool_fd(pool), .events = POLLIN };
		if (poll(&p, 1, 10000) != 1)
			fail_msg("no job finished within 10 s: %zu of %zu", got, wanted);
		got += pool_poll(pool);
	}
	assert_int_equal(got, wanted);
}

static void runs_all(void **state)
{
	(void)state;
	struct pool *pool = pool_make(3, 1000);
	struct job jobs[500] = { 0 };
	for (size_t i = 0; i < 500; i++) {
		jobs[i].base = (struct pool_job){ .run = run, .done = done };
		assert_int_equal(pool_submit(pool, &jobs[i].base), 0);
	}
	wait_polled(pool, 500);
	assert_int_equal(pool_pending(pool), 0);
	for (size_t i = 0; i < 500; i++) {
		assert_int_equal(jobs[i].runs, 1);
		assert_int_equal(jobs[i].dones, 1);
		assert_false(pthread_equal(jobs[i].thread, pthread_self()));
	}
	struct pollfd p = { .fd = pool_fd(pool), .events = POLLIN };
	assert_int_equal(poll(&p, 1, 0), 0);
	pool_destroy(&pool);
	assert_null(pool);
	pool_destroy(&pool);
}

static void full_and_closed(void **state)
{
	(void)state;
	pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
	struct pool *pool = pool_make(1, 2);
	struct job jobs[5] = { 0 };
	for (size_t i = 0; i < 5; i++)
		jobs[i] = (struct job){ .base = { .run = run, .done = done }, .gate = &gate };
	pthread_mutex_lock(&gate);
	jobs[2].late_ms = 30; /* who does not wait for the last that runs has time to go on without it */
	int64_t since = 0;
	assert_int_equal(pool_submit(pool, &jobs[0].base), 0);
	while (!atomic_load(&jobs[0].begun) && test_wait(&since))
		;
	/* One job runs, and two wait. */
	assert_int_equal(pool_submit(pool, &jobs[1].base), 0);
	assert_int_equal(pool_submit(pool, &jobs[2].base), 0);
	assert_int_equal(pool_submit(pool, &jobs[3].base), ERR_LIMIT);
	assert_int_equal(pool_pending(pool), 3);
	assert_int_equal(pool_poll(pool), 0);
	pool_close(pool);
	pool_close(pool);
	assert_int_equal(pool_submit(pool, &jobs[4].base), ERR_CLOSED);
	pthread_mutex_unlock(&gate);
	pool_stop(pool);
	assert_int_equal(pool_poll(pool), 3);
	assert_int_equal(jobs[3].runs + jobs[4].runs, 0);
	pool_destroy(&pool);
}

/* destroy waits for what was submitted, and hands it back. */
static void destroy_delivers(void **state)
{
	(void)state;
	struct pool *pool = pool_make(2, 100);
	struct job jobs[50] = { 0 };
	for (size_t i = 0; i < 50; i++) {
		jobs[i].base = (struct pool_job){ .run = run, .done = done };
		assert_int_equal(pool_submit(pool, &jobs[i].base), 0);
	}
	pool_destroy(&pool);
	for (size_t i = 0; i < 50; i++)
		assert_int_equal(jobs[i].dones, 1);
}

static void inline_pool(void **state)
{
	(void)state;
	struct pool *pool = pool_make(0, 1);
	struct job a = { .base = { .run = run, .done = done } }, b = a;
	assert_int_equal(pool_fd(pool), -1);
	assert_int_equal(pool_submit(pool, &a.base), 0);
	assert_int_equal(a.runs, 1);
	assert_int_equal(a.dones, 0);
	assert_true(pthread_equal(a.thread, pthread_self()));
	assert_int_equal(pool_submit(pool, &b.base), ERR_LIMIT);
	assert_int_equal(pool_poll(pool), 1);
	assert_int_equal(a.dones, 1);
	pool_close(pool);
	assert_int_equal(pool_submit(pool, &b.base), ERR_CLOSED);
	pool_destroy(&pool);
}

static int make_pool(void *context)
{
	(void)context;
	struct pool *pool = NULL;
	int rc = pool_new(1, 1, &pool, NULL);
	pool_destroy(&pool);
	return rc;
}

static void refuses(void **state)
{
	(void)state;
	struct pool *pool = NULL;
	struct err e = ERR_INIT;
	assert_int_equal(pool_new(100000, 1, &pool, &e), ERR_INVALID);
	assert_int_equal(pool_new(1, 0, &pool, &e), ERR_INVALID);
	assert_null(pool);
	assert_int_equal(test_walk_allocations(make_pool, NULL), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(runs_all),    cmocka_unit_test(full_and_closed), cmocka_unit_test(destroy_delivers),
		cmocka_unit_test(inline_pool), cmocka_unit_test(refuses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
