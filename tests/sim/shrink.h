/* shrink.h: from a seed that breaks an invariant, the least of its events that still break it. */
#ifndef AMEND_TESTS_SIM_SHRINK_H
#define AMEND_TESTS_SIM_SHRINK_H

#include "tests/sim/sim.h"

struct shrunk {
	struct sim_keep keep;     /* for a replay: struct sim_options */
	struct sim_story story;   /* the same, told */
	struct sim_result result; /* of that replay */
	size_t event_count;       /* of the seed */
	uint64_t runs;
};

/* Delta debugging (Zeller and Hildebrandt 2002, ddmin over complements): leaves out chunks of events, then random ones,
 * as long as the same invariant breaks, in at most `runs_max` runs (0: as many as it takes; then no single event can be
 * left out).
 * `options` names seed and plant; each run is a process of its own. False: the seed breaks nothing. */
bool sim_shrink(const struct sim_options *options, uint64_t runs_max, struct shrunk *out);

/* "f1,c0.3", as --keep takes it. */
void sim_keep_format(const struct sim_keep *keep, struct buf *out);
bool sim_keep_parse(const char *text, struct sim_keep *out);

#endif
