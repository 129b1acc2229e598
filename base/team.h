/* team.h: threads that do one piece of work together, many thousand times a second: a call costs a microsecond, not a
 * wake-up. Helpers spin for some tens of microseconds after their share, then sleep on a futex; so does the caller
 * while it waits for them. For short shares one after the other (a decode step); jobs that come by themselves go to
 * pool.h. */
#ifndef AMEND_BASE_TEAM_H
#define AMEND_BASE_TEAM_H

#include "base/err.h"

#include <stddef.h>

#define TEAM_PARTS_MAX 1024u

struct team;

/* part_count ≥ 1 with the caller, who is part 0: part_count − 1 threads are started, with all signals blocked.
 * ERR_INVALID, ERR_NOMEM, ERR_LIMIT (a thread could not be started). */
int team_new(size_t part_count, struct team **out, struct err *e) MUST_CHECK;
/* Not while team_run runs. */
void team_destroy(struct team **team);
size_t team_parts(const struct team *team);
/* Calls work(context, part, part_count) once in every part, and returns when all have returned. What was written before
 * is seen by all parts, what they wrote by the caller afterwards. One caller at a time; not from within `work`. */
void team_run(struct team *team, void (*work)(void *context, size_t part, size_t part_count), void *context);
/* Within `work`: waits until every part is here. */
void team_meet(struct team *team);

#endif
