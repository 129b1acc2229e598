#include "base/sync.h"

#include "base/fault.h"

int sync_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t monotonic;
	if (fault_memory() != 0 || pthread_condattr_init(&monotonic) != 0)
		return ERR_NOMEM;
	int failed = pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	if (!failed)
		failed = pthread_cond_init(cond, &monotonic);
	pthread_condattr_destroy(&monotonic);
	return failed ? ERR_NOMEM : 0;
}

int sync_init(pthread_mutex_t *lock, pthread_cond_t *changed)
{
	int rc = sync_cond_init(changed);
	if (rc == 0 && pthread_mutex_init(lock, NULL) != 0) {
		pthread_cond_destroy(changed);
		rc = ERR_NOMEM;
	}
	return rc;
}

void sync_fini(pthread_mutex_t *lock, pthread_cond_t *changed)
{
	pthread_mutex_destroy(lock);
	pthread_cond_destroy(changed);
}

struct timespec sync_deadline(int64_t ms)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	const int64_t ns = now.tv_nsec + ms % 1000 * 1000000;
	return (struct timespec){ now.tv_sec + ms / 1000 + ns / 1000000000, ns % 1000000000 };
}
