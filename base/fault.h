/* fault.h: planted faults. Named points sit between two steps that must survive a crash; tests arm one and let it fire.
 * Points are also armed by the environment of a real process:
 * AMEND_FAULT="worker.commit.before=kill@3,store.sync=errno@1:4" (name=action@countdown[:repeat]; actions: kill
 * (SIGKILL to itself), errno (returns ERR_FAULT), stop (SIGSTOP), delay-MS); the log tells then that an errno or a
 * delay has fired (FAULT-FIRED). Without AMEND_FAULT and fault_arm, a point costs one relaxed load. Thread-safe. */
#ifndef AMEND_BASE_FAULT_H
#define AMEND_BASE_FAULT_H

#include "base/err.h"

#include <stdint.h>

/* 0, or ERR_FAULT when the armed action is errno. */
int fault_point(const char *name) MUST_CHECK;
/* Reads AMEND_FAULT once at start-up. ERR_INVALID names the bad part. */
int fault_init_from_env(struct err *e) MUST_CHECK;
/* Arms `spec` ("name=action@countdown[:repeat]"). */
int fault_arm(const char *spec, struct err *e) MUST_CHECK;
void fault_disarm_all(void);
uint64_t
fault_hits(const char *name); /* how often a point was passed since start, armed or not, while any point is armed */

/* Allocation faults, counter-driven (house.md): the n-th checked allocation from now fails, `repeat` times. -1 turns
 * off. */
void fault_set(int64_t countdown, int64_t repeat);
/* malloc and calloc that honour fault_set; use them for memory that grows with input. free() as usual. */
void *fault_malloc(size_t bytes) MUST_CHECK;
void *fault_calloc(size_t item_count, size_t item_bytes) MUST_CHECK;
void *fault_realloc(void *p, size_t bytes) MUST_CHECK;
/* Stands for an allocation that a library makes: 0, or ERR_NOMEM when it is that one's turn to fail. */
int fault_memory(void) MUST_CHECK;

#endif
