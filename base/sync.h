/* sync.h: a mutex and the condition that is waited for under it. Every condition goes by the monotonic clock. Making
 * one counts as an allocation of fault.h. */
#ifndef AMEND_BASE_SYNC_H
#define AMEND_BASE_SYNC_H

#include "base/err.h"

#include <pthread.h>
#include <stdint.h>
#include <time.h>

/* ERR_NOMEM: neither is made. */
int sync_init(pthread_mutex_t *lock, pthread_cond_t *changed) MUST_CHECK;
void sync_fini(pthread_mutex_t *lock, pthread_cond_t *changed);
/* A further condition under a lock. ERR_NOMEM; ended with pthread_cond_destroy. */
int sync_cond_init(pthread_cond_t *cond) MUST_CHECK;
/* `ms` (not negative) from now, for pthread_cond_timedwait. */
struct timespec sync_deadline(int64_t ms);

#endif
