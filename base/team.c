#include "base/team.h"

#include "base/eventcount.h"
#include "base/fault.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#define SPIN_ROUNDS 1000u /* some tens of microseconds */

struct team {
	struct eventcount begun, ended, met;
	_Alignas(EVENTCOUNT_LINE) atomic_size_t left; /* parts that have not returned */
	atomic_size_t absent;                         /* parts that have not come to the meeting */
	void (*work)(void *context, size_t part, size_t part_count);
	void *context;
	atomic_bool quit;
	size_t part_count, thread_count;
	struct member {
		struct team *team;
		size_t part;
		pthread_t thread;
	} members[];
};

static void do_part(struct team *team, size_t part)
{
	team->work(team->context, part, team->part_count);
	if (atomic_fetch_sub(&team->left, 1) == 1)
		eventcount_advance(&team->ended);
}

static void *member_main(void *context)
{
	const struct member *member = context;
	struct team *team = member->team;
	for (unsigned seen = 0;; seen++) {
		eventcount_wait(&team->begun, seen, SPIN_ROUNDS);
		if (atomic_load(&team->quit))
			return NULL;
		do_part(team, member->part);
	}
}

static int start_threads(struct team *team, struct err *e)
{
	sigset_t all, before;
	sigfillset(&all);
	sigdelset(&all, SIGBUS); /* as in pool.c */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int errnum = 0;
	while (errnum == 0 && team->thread_count + 1 < team->part_count) {
		struct member *member = &team->members[team->thread_count];
		*member = (struct member){ .team = team, .part = team->thread_count + 1 };
		errnum = pthread_create(&member->thread, NULL, member_main, member);
		team->thread_count += errnum == 0 ? 1 : 0;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return errnum == 0 ? 0
			   : err_errno(e, ERR_LIMIT, errnum, "starting thread %zu of a team", team->thread_count + 1);
}

int team_new(size_t part_count, struct team **out, struct err *e)
{
	if (part_count == 0 || part_count > TEAM_PARTS_MAX)
		return err_set(e, ERR_INVALID, "a team has 1 to %u parts, not %zu", TEAM_PARTS_MAX, part_count);
	const size_t bytes = sizeof(struct team) + part_count * sizeof(struct member);
	struct team *team = fault_memory() == 0
				    ? aligned_alloc(EVENTCOUNT_LINE,
						    (bytes + EVENTCOUNT_LINE - 1) / EVENTCOUNT_LINE * EVENTCOUNT_LINE)
				    : NULL;
	if (team == NULL)
		return err_set(e, ERR_NOMEM, "a team of %zu threads: out of memory", part_count);
	*team = (struct team){ .part_count = part_count };
	atomic_store(&team->absent, part_count);
	int rc = start_threads(team, e);
	if (rc != 0) {
		team_destroy(&team);
		return rc;
	}
	*out = team;
	return 0;
}

void team_destroy(struct team **team)
{
	struct team *t = *team;
	if (t == NULL)
		return;
	atomic_store(&t->quit, true);
	eventcount_advance(&t->begun);
	for (size_t i = 0; i < t->thread_count; i++)
		pthread_join(t->members[i].thread, NULL);
	free(t);
	*team = NULL;
}

size_t team_parts(const struct team *team)
{
	return team->part_count;
}

void team_run(struct team *team, void (*work)(void *context, size_t part, size_t part_count), void *context)
{
	const unsigned ended = atomic_load(&team->ended.count);
	assert(atomic_load(&team->left) == 0);
	team->work = work;
	team->context = context;
	atomic_store(&team->left, team->part_count);
	eventcount_advance(&team->begun);
	do_part(team, 0);
	eventcount_wait(&team->ended, ended, SPIN_ROUNDS);
}

void team_meet(struct team *team)
{
	const unsigned met = atomic_load(&team->met.count);
	if (atomic_fetch_sub(&team->absent, 1) == 1) {
		atomic_store(&team->absent, team->part_count);
		eventcount_advance(&team->met);
		return;
	}
	eventcount_wait(&team->met, met, SPIN_ROUNDS);
}
