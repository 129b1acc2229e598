#include "base/pool.h"

#include "base/fault.h"
#include "base/sync.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define THREADS_MAX 256
#define SPIN_ROUNDS 500 /* of one pause instruction: some tens of microseconds */

struct queue {
	struct pool_job *first, **last;
	size_t count;
};

struct pool {
	pthread_mutex_t lock;
	pthread_cond_t wake; /* waiting or closed changed */
	pthread_cond_t idle; /* a job has ended */
	struct queue waiting, finished;
	size_t running;
	atomic_size_t pending; /* submitted and not yet polled */
	atomic_size_t hint;    /* length of `waiting`, for the spin */
	bool closed, quit;
	size_t queue_max;
	int event_fd;
	size_t thread_count;
	pthread_t threads[];
};

static void queue_init(struct queue *q)
{
	q->first = NULL;
	q->last = &q->first;
	q->count = 0;
}

static void queue_put(struct queue *q, struct pool_job *job)
{
	job->next = NULL;
	*q->last = job;
	q->last = &job->next;
	q->count++;
}

static struct pool_job *queue_take(struct queue *q)
{
	struct pool_job *job = q->first;
	if (job == NULL)
		return NULL;
	q->first = job->next;
	if (q->first == NULL)
		q->last = &q->first;
	q->count--;
	return job;
}

static void signal_finished(struct pool *pool)
{
	uint64_t one = 1;
	ssize_t put;
	do
		put = write(pool->event_fd, &one, sizeof(one));
	while (put < 0 && errno == EINTR); /* EAGAIN: the counter is full, so it is readable already */
}

static void spin_for_work(struct pool *pool)
{
	for (int i = 0; i < SPIN_ROUNDS && atomic_load_explicit(&pool->hint, memory_order_relaxed) == 0; i++) {
#if defined(__x86_64__) || defined(__i386__)
		__builtin_ia32_pause();
#else
		atomic_signal_fence(memory_order_seq_cst);
#endif
	}
}

/* The next job; NULL when the pool quits. Called and returns with the lock held. */
static struct pool_job *wait_for_job(struct pool *pool)
{
	struct pool_job *job;
	bool spun = false;
	while ((job = queue_take(&pool->waiting)) == NULL && !pool->quit) {
		if (!spun) {
			pthread_mutex_unlock(&pool->lock);
			spin_for_work(pool);
			spun = true;
			pthread_mutex_lock(&pool->lock);
		} else {
			pthread_cond_wait(&pool->wake, &pool->lock);
			spun = false;
		}
	}
	atomic_store_explicit(&pool->hint, pool->waiting.count, memory_order_relaxed);
	return job;
}

static void *thread_main(void *context)
{
	struct pool *pool = context;
	pthread_mutex_lock(&pool->lock);
	for (;;) {
		struct pool_job *job = wait_for_job(pool);
		if (job == NULL)
			break;
		pool->running++;
		pthread_mutex_unlock(&pool->lock);
		job->run(job);
		pthread_mutex_lock(&pool->lock);
		pool->running--;
		bool was_empty = pool->finished.count == 0;
		queue_put(&pool->finished, job);
		if (was_empty)
			signal_finished(pool);
		pthread_cond_broadcast(&pool->idle);
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

/* Signals belong to the loop thread: pool threads start with all of them blocked but SIGBUS, which is of the thread
 * that read a page that is not there (process.h). */
static int start_threads(struct pool *pool, size_t thread_count, struct err *e)
{
	sigset_t all, before;
	sigfillset(&all);
	sigdelset(&all, SIGBUS);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int rc = 0;
	while (rc == 0 && pool->thread_count < thread_count) {
		int errnum = pthread_create(&pool->threads[pool->thread_count], NULL, thread_main, pool);
		if (errnum != 0)
			rc = err_errno(e, ERR_LIMIT, errnum, "starting pool thread %zu", pool->thread_count + 1);
		else
			pool->thread_count++;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc;
}

static int locks_init(struct pool *pool)
{
	int rc = sync_init(&pool->lock, &pool->wake);
	if (rc == 0 && sync_cond_init(&pool->idle) != 0) {
		sync_fini(&pool->lock, &pool->wake);
		rc = ERR_NOMEM;
	}
	return rc;
}

static void pool_free(struct pool *pool)
{
	if (pool->event_fd >= 0)
		close(pool->event_fd);
	sync_fini(&pool->lock, &pool->wake);
	pthread_cond_destroy(&pool->idle);
	free(pool);
}

int pool_new(size_t thread_count, size_t queue_max, struct pool **out, struct err *e)
{
	if (thread_count > THREADS_MAX || queue_max == 0)
		return err_set(e, ERR_INVALID, "a pool has 0 to %d threads and room for a job, not %zu and %zu",
			       THREADS_MAX, thread_count, queue_max);
	struct pool *pool = fault_calloc(1, sizeof(*pool) + thread_count * sizeof(pool->threads[0]));
	if (pool == NULL || locks_init(pool) != 0) {
		free(pool);
		return err_set(e, ERR_NOMEM, "making a pool: out of memory");
	}
	pool->event_fd = thread_count > 0 ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
	if (thread_count > 0 && pool->event_fd < 0) {
		int rc = err_errno(e, ERR_LIMIT, errno, "making the event descriptor of a pool");
		pool_free(pool);
		return rc;
	}
	queue_init(&pool->waiting);
	queue_init(&pool->finished);
	pool->queue_max = queue_max;
	int rc = start_threads(pool, thread_count, e);
	if (rc != 0) {
		pool_destroy(&pool);
		return rc;
	}
	*out = pool;
	return 0;
}

static int submit_inline(struct pool *pool, struct pool_job *job)
{
	if (pool->closed)
		return ERR_CLOSED;
	if (pool->finished.count >= pool->queue_max)
		return ERR_LIMIT;
	atomic_fetch_add(&pool->pending, 1);
	job->run(job);
	queue_put(&pool->finished, job);
	return 0;
}

int pool_submit(struct pool *pool, struct pool_job *job)
{
	if (pool->event_fd < 0)
		return submit_inline(pool, job);
	int rc = 0;
	pthread_mutex_lock(&pool->lock);
	if (pool->closed)
		rc = ERR_CLOSED;
	else if (pool->waiting.count >= pool->queue_max)
		rc = ERR_LIMIT;
	else {
		atomic_fetch_add(&pool->pending, 1);
		queue_put(&pool->waiting, job);
		atomic_store_explicit(&pool->hint, pool->waiting.count, memory_order_relaxed);
		pthread_cond_signal(&pool->wake);
	}
	pthread_mutex_unlock(&pool->lock);
	return rc;
}

size_t pool_poll(struct pool *pool)
{
	struct queue taken;
	pthread_mutex_lock(&pool->lock);
	taken = pool->finished;
	queue_init(&pool->finished);
	if (pool->event_fd >= 0 && taken.count > 0) {
		uint64_t value;
		ssize_t got = read(pool->event_fd, &value, sizeof(value));
		(void)got; /* EAGAIN: nothing to clear */
	}
	pthread_mutex_unlock(&pool->lock);
	size_t count = 0;
	for (struct pool_job *job = taken.first, *next; job != NULL; job = next) {
		next = job->next; /* done may free the job */
		atomic_fetch_sub(&pool->pending, 1);
		job->done(job);
		count++;
	}
	return count;
}

int pool_fd(const struct pool *pool)
{
	return pool->event_fd;
}

size_t pool_pending(const struct pool *pool)
{
	return atomic_load(&pool->pending);
}

void pool_close(struct pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	pool->closed = true;
	pthread_mutex_unlock(&pool->lock);
}

void pool_stop(struct pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	while (pool->waiting.count > 0 || pool->running > 0)
		pthread_cond_wait(&pool->idle, &pool->lock);
	pthread_mutex_unlock(&pool->lock);
}

void pool_destroy(struct pool **pool)
{
	struct pool *p = *pool;
	if (p == NULL)
		return;
	pool_close(p);
	pool_stop(p);
	pthread_mutex_lock(&p->lock);
	p->quit = true;
	pthread_cond_broadcast(&p->wake);
	pthread_mutex_unlock(&p->lock);
	for (size_t i = 0; i < p->thread_count; i++)
		pthread_join(p->threads[i], NULL);
	while (pool_poll(p) > 0)
		;
	pool_free(p);
	*pool = NULL;
}
