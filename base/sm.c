#include "base/sm.h"

#include <assert.h>
#include <string.h>

static bool exists(const struct sm_table *table, int state)
{
	return state >= 0 && (size_t)state < table->state_count;
}

void sm_init(struct sm *sm, const struct sm_table *table, bool (*invariant)(const struct sm *, int))
{
	sm_restore(sm, table, invariant, table->initial);
}

void sm_restore(struct sm *sm, const struct sm_table *table, bool (*invariant)(const struct sm *, int), int state)
{
	assert(table->state_count <= SM_STATES_MAX);
	assert(exists(table, state));
	*sm = (struct sm){ .table = table, .invariant = invariant, .state = state };
}

void sm_move(struct sm *sm, int next)
{
	assert(sm_can_move(sm->table, sm->state, next));
	int before = sm->state;
	sm->state = next;
	assert(sm->invariant == NULL || sm->invariant(sm, before));
}

bool sm_can_move(const struct sm_table *table, int from, int to)
{
	return exists(table, from) && exists(table, to) && (table->states[from].next & SM_TO(to)) != 0;
}

bool sm_is_final(const struct sm_table *table, int state)
{
	return exists(table, state) && table->states[state].next == 0;
}

const char *sm_state_name(const struct sm_table *table, int state)
{
	return exists(table, state) && table->states[state].name != NULL ? table->states[state].name : "?";
}

int sm_state_find(const struct sm_table *table, const char *name)
{
	for (size_t i = 0; i < table->state_count; i++) {
		if (table->states[i].name != NULL && strcmp(table->states[i].name, name) == 0)
			return (int)i;
	}
	return -1;
}
