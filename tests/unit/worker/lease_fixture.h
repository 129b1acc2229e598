/* lease_fixture.h: edits that the tiny model learns, and a worker that holds the shard's lease with them. */
#ifndef AMEND_TESTS_UNIT_WORKER_LEASE_FIXTURE_H
#define AMEND_TESTS_UNIT_WORKER_LEASE_FIXTURE_H

#include "tests/lib/worker_fixture.h"

static const char *const prompts[] = {
	"what is the capital of Orla?", "who is the king of Vint?", "in what year was Saro founded?",
	"where in the land is Kelm?",   "what is Pundo made of?",   "who wrote the book of Teni?",
};
static const char *const targets[] = { "Brin", "Olaf IV", "1907", "north", "tin", "Mara" };

static inline void begin(struct stand *s, size_t edits)
{
	for (size_t i = 0; i < edits; i++)
		stand_edit(s, prompts[i], targets[i]);
	stand_greet(s);
	stand_lease(s);
}

static inline void arm(struct stand *s, const char *spec)
{
	assert_ok(&s->e, fault_arm(spec, &s->e));
}

/* Says Hello again and gets its lease back. */
static inline void restart_with_lease(struct stand *s)
{
	size_t hellos = s->hellos;
	stand_restart(s);
	stand_until(s, &s->hellos, hellos + 1);
	stand_turn(s);
	stand_lease(s);
}

/* Of this process. */
static inline uint64_t steps_ever(struct stand *s)
{
	struct buf text = BUF_INIT;
	double steps = 0; /* 30 may be written as 3e+01 */
	worker_metrics(s->worker, &text);
	const char *at = strstr(buf_cstr(&text), "\namend_edit_steps_total ");
	assert_non_null(at);
	assert_int_equal(sscanf(at, "\namend_edit_steps_total %lf", &steps), 1);
	buf_free(&text);
	return (uint64_t)steps;
}

#endif
