/* eventcount.h: a count that threads, or processes, wait for to move on (D. Vyukov's eventcount): they spin for a
 * while, then sleep on a futex(2). */
#ifndef AMEND_BASE_EVENTCOUNT_H
#define AMEND_BASE_EVENTCOUNT_H

#include <stdatomic.h>
#include <stdbool.h>

#define EVENTCOUNT_LINE 64 /* bytes: each stands on a line of its own */

/* All zeros at first. `shared`: it lies in memory that processes share. */
struct eventcount {
	_Alignas(EVENTCOUNT_LINE) atomic_uint count;
	atomic_uint sleepers;
	bool shared;
};

/* Moves on by one: lets through all that wait. What was written before is seen by them. */
void eventcount_advance(struct eventcount *events);
/* Until the count is no longer `seen`. spin_rounds: of some 50 ns, before it sleeps. */
void eventcount_wait(struct eventcount *events, unsigned seen, unsigned spin_rounds);

#endif
