#include "base/eventcount.h"

#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

static void futex(struct eventcount *events, int operation, unsigned value)
{
	syscall(SYS_futex, &events->count, events->shared ? operation : operation | FUTEX_PRIVATE_FLAG, value, NULL,
		NULL, 0);
}

/* Whoever goes to sleep says so first, and then the kernel looks at the count once more: a count that moves on
 * meanwhile sees the sleeper, or the sleeper the new count. */
void eventcount_advance(struct eventcount *events)
{
	atomic_fetch_add(&events->count, 1);
	if (atomic_load(&events->sleepers) > 0)
		futex(events, FUTEX_WAKE, INT_MAX);
}

void eventcount_wait(struct eventcount *events, unsigned seen, unsigned spin_rounds)
{
	for (unsigned i = 0; i < spin_rounds; i++) {
		if (atomic_load_explicit(&events->count, memory_order_acquire) != seen)
			return;
#if defined(__x86_64__) || defined(__i386__)
		__builtin_ia32_pause();
#else
		atomic_signal_fence(memory_order_seq_cst);
#endif
	}
	atomic_fetch_add(&events->sleepers, 1);
	while (atomic_load(&events->count) == seen)
		futex(events, FUTEX_WAIT, seen);
	atomic_fetch_sub(&events->sleepers, 1);
}
