/* sm.h: state machines as tables. Every long-lived thing with states (edit, shard, lease, merge, node sync) has one.
 * The table says which moves exist; an illegal move is a programmer error and asserts (dqlite lib/sm.h). */
#ifndef AMEND_BASE_SM_H
#define AMEND_BASE_SM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SM_STATES_MAX 32
#define SM_TO(state)  (UINT32_C(1) << (state))

struct sm_state {
	const char *name;
	uint32_t next; /* SM_TO(a) | SM_TO(b); 0: final */
};

struct sm_table {
	const char *name; /* "edit" */
	const struct sm_state *states;
	size_t state_count;
	int initial;
};

struct sm {
	const struct sm_table *table;
	bool (*invariant)(const struct sm *sm, int before); /* asserted after every move; may be NULL */
	int state;
};

void sm_init(struct sm *sm, const struct sm_table *table, bool (*invariant)(const struct sm *, int));
/* Restores a state read from disk; asserts that it exists. */
void sm_restore(struct sm *sm, const struct sm_table *table, bool (*invariant)(const struct sm *, int), int state);
void sm_move(struct sm *sm, int next);
bool sm_can_move(const struct sm_table *table, int from, int to);
bool sm_is_final(const struct sm_table *table, int state);
const char *sm_state_name(const struct sm_table *table, int state); /* "?" when none */
/* State of that name, or -1. */
int sm_state_find(const struct sm_table *table, const char *name);

#endif
