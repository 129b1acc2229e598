#include "base/gate.h"

#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

static void futex(struct gate *gate, int operation, unsigned value)
{
	syscall(SYS_futex, &gate->count, gate->shared ? operation : operation | FUTEX_PRIVATE_FLAG, value, NULL, NULL,
		0);
}

/* Whoever goes to sleep says so first, and then the kernel looks at the count once more: a gate that opens meanwhile
 * sees the sleeper, or the sleeper the open gate. */
void gate_open(struct gate *gate)
{
	atomic_fetch_add(&gate->count, 1);
	if (atomic_load(&gate->sleepers) > 0)
		futex(gate, FUTEX_WAKE, INT_MAX);
}

void gate_wait(struct gate *gate, unsigned seen, unsigned spin_rounds)
{
	for (unsigned i = 0; i < spin_rounds; i++) {
		if (atomic_load_explicit(&gate->count, memory_order_acquire) != seen)
			return;
#if defined(__x86_64__) || defined(__i386__)
		__builtin_ia32_pause();
#else
		atomic_signal_fence(memory_order_seq_cst);
#endif
	}
	atomic_fetch_add(&gate->sleepers, 1);
	while (atomic_load(&gate->count) == seen)
		futex(gate, FUTEX_WAIT, seen);
	atomic_fetch_sub(&gate->sleepers, 1);
}
