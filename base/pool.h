/* pool.h: threads that run jobs. A job struct is touched by one thread at a time: it is handed over by pool_submit and
 * handed back through pool_poll on the loop thread (valkey bio, zactor). Workers spin for tens of microseconds, then
 * sleep on a futex-backed condition. */
#ifndef AMEND_BASE_POOL_H
#define AMEND_BASE_POOL_H

#include "base/err.h"

#include <stdbool.h>

struct pool;

struct pool_job {
	void (*run)(struct pool_job *job);  /* on a pool thread */
	void (*done)(struct pool_job *job); /* called by pool_poll, on the polling thread; may free the job */
	struct pool_job *next;              /* the pool's */
};

/* `thread_count` ≥ 1; 0 makes an inline pool: pool_submit runs the job at once, pool_poll delivers it (simulation). */
int pool_new(size_t thread_count, size_t queue_max, struct pool **out, struct err *e) MUST_CHECK;
/* Takes the job on success. ERR_LIMIT when `queue_max` jobs wait already; ERR_CLOSED after pool_close. */
int pool_submit(struct pool *pool, struct pool_job *job) MUST_CHECK;
/* Runs `done` of every finished job; returns how many. Never blocks. */
size_t pool_poll(struct pool *pool);
/* Readable (eventfd) while finished jobs wait for pool_poll. -1 for an inline pool. */
int pool_fd(const struct pool *pool);
size_t pool_pending(const struct pool *pool); /* submitted and not yet polled */
void pool_close(struct pool *pool);           /* no new jobs; does not wait; idempotent */
void pool_stop(struct pool *pool);            /* waits until all submitted jobs have run */
void pool_destroy(struct pool **pool);        /* close, stop, polls what is left, frees */

#endif
