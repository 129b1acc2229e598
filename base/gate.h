/* gate.h: a count that threads, or processes, wait for to move on: they spin for a while, then sleep on a futex. */
#ifndef AMEND_BASE_GATE_H
#define AMEND_BASE_GATE_H

#include <stdatomic.h>
#include <stdbool.h>

#define GATE_LINE 64 /* bytes: gates stand on cache lines of their own */

/* All zeros: closed. `shared`: it lies in memory that processes share. */
struct gate {
	_Alignas(GATE_LINE) atomic_uint count;
	atomic_uint sleepers;
	bool shared;
};

/* Lets through all that wait. What was written before is seen by them. */
void gate_open(struct gate *gate);
/* Until the gate's count is no longer `seen`. spin_rounds: of some 50 ns, before it sleeps. */
void gate_wait(struct gate *gate, unsigned seen, unsigned spin_rounds);

#endif
