/* campaign.h: many seeds, in processes of their own: one that aborts is a finding like any other. */
#ifndef AMEND_TESTS_SIM_CAMPAIGN_H
#define AMEND_TESTS_SIM_CAMPAIGN_H

#include "tests/sim/sim.h"

#define CAMPAIGN_BROKEN_MAX 16

struct campaign_options {
	uint64_t first, count;
	size_t jobs; /* processes at a time */
	enum sim_plant plant;
	uint64_t broken_max; /* stop after so many findings; at most CAMPAIGN_BROKEN_MAX are kept */
	bool progress;       /* a line on stderr every few seconds */
};

struct campaign {
	uint64_t seeds, broken;
	struct campaign_broken {
		uint64_t seed;
		char text[SIM_TEXT_BYTES];
	} findings[CAMPAIGN_BROKEN_MAX];
	struct sim_result total; /* sums; digest: of all seeds' digests, whatever their order; settle_ms: the longest */
	double seconds, core_seconds; /* core_seconds: of the children */
};

/* One seed in a process of its own, of whose folder `options` need not speak. `story`: NULL, or what happened in it. */
void campaign_run_one(const struct sim_options *options, struct sim_result *result, struct sim_story *story);
void campaign_run(const struct campaign_options *options, struct campaign *out);
/* One line a figure. */
void campaign_print(const struct campaign *campaign);

#endif
