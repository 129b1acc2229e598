/* main.c: sim [--seed FIRST] [--seeds N] [--jobs N] [--plant NAME] [--trace] [--keep EVENTS] [--shrink] [--fleet
 * [--workers N] [--nodes N]
 * [--shards N] [--edits N] [--delta BYTES] [--link BYTES_A_SECOND] [--relays FAN_OUT]]. Exit status 1:
 * an invariant was broken; for each the command that replays it is printed. --trace and --shrink are of one seed. */
#include "tests/sim/campaign.h"
#include "tests/sim/fleet.h"
#include "tests/sim/shrink.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COVERING_SEEDS 1000 /* so many leave no row of the tables empty */

static enum sim_plant plant_of(const char *name)
{
	for (int i = 0; i < SIM_PLANT_COUNT; i++)
		if (strcmp(sim_plant_names[i], name) == 0)
			return (enum sim_plant)i;
	fprintf(stderr, "--plant: %s is none of", name);
	for (int i = 0; i < SIM_PLANT_COUNT; i++)
		fprintf(stderr, " %s", sim_plant_names[i]);
	fputc('\n', stderr);
	exit(2);
}

static void replay_print(uint64_t seed, enum sim_plant plant, const char *keep)
{
	printf("  replay: make sim SEED=%" PRIu64 "%s%s%s%s TRACE=1\n", seed, plant != SIM_PLANT_NONE ? " PLANT=" : "",
	       plant != SIM_PLANT_NONE ? sim_plant_names[plant] : "", keep != NULL ? " KEEP=" : "",
	       keep != NULL ? keep : "");
}

static int shrink_one(uint64_t seed, enum sim_plant plant)
{
	static struct shrunk shrunk; /* large */
	struct buf keep = BUF_INIT;
	if (!sim_shrink(&(struct sim_options){ .seed = seed, .plant = plant }, 0, &shrunk)) {
		printf("seed %" PRIu64 " breaks no invariant\n", seed);
		return 0;
	}
	printf("seed %" PRIu64 ": %s\n%zu of %zu events are enough (%" PRIu64 " runs):\n", seed, shrunk.result.text,
	       shrunk.keep.count, shrunk.event_count, shrunk.runs);
	for (size_t i = 0; i < shrunk.story.count; i++) {
		char id[SIM_EVENT_ID_BYTES];
		sim_event_id_format(&shrunk.story.events[i].id, id);
		printf("%10.3f s  %-6s %s\n", (double)shrunk.story.events[i].at_us / 1e6, id,
		       shrunk.story.events[i].text);
	}
	sim_keep_format(&shrunk.keep, &keep);
	buf_append(&keep, "", 1);
	replay_print(seed, plant, (const char *)keep.data);
	buf_free(&keep);
	return 1;
}

static const struct sim_fleet_options fleet_default = {
	.workers = 1000, .nodes = 10000, .shards = 20, .edits = 20, .delta_bytes = 4096, .link_bytes_per_s = 1250000000
};

static bool fleet_option(int option, const char *text, struct sim_fleet_options *fleet)
{
	const struct {
		int option;
		size_t *value;
	} all[] = { { 'W', &fleet->workers }, { 'N', &fleet->nodes },       { 'H', &fleet->shards },
		    { 'E', &fleet->edits },   { 'D', &fleet->delta_bytes }, { 'L', &fleet->link_bytes_per_s },
		    { 'R', &fleet->fan_out } };
	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
		if (all[i].option != option)
			continue;
		*all[i].value = strtoull(text, NULL, 10);
		return true;
	}
	return false;
}

static int fleet_one(const struct sim_fleet_options *fleet, uint64_t seed)
{
	char folder[] = "/dev/shm/amend-sim.XXXXXX";
	if (mkdtemp(folder) == NULL) {
		perror(folder);
		return 2;
	}
	int rc = sim_fleet_run(fleet, seed, folder, NULL);
	rmdir(folder);
	return rc;
}

static const struct sim_keep *keep_of(const char *text)
{
	static struct sim_keep keep;
	if (sim_keep_parse(text, &keep))
		return &keep;
	fprintf(stderr, "--keep: a list of events like f1,c0.3,m0; or none\n");
	exit(2);
}

static int trace_one(uint64_t seed, enum sim_plant plant, const struct sim_keep *keep)
{
	char folder[] = "/dev/shm/amend-sim.XXXXXX";
	struct sim_result result;
	if (mkdtemp(folder) == NULL) {
		perror(folder);
		return 2;
	}
	sim_run(&(struct sim_options){ .seed = seed, .plant = plant, .trace = true, .keep = keep, .folder = folder },
		&result);
	rmdir(folder);
	printf("digest=%016" PRIx64 " %s\n", result.digest, result.broken ? result.text : "no invariant broken");
	return result.broken;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' },    { "seeds", required_argument, NULL, 'n' },
		{ "jobs", required_argument, NULL, 'j' },    { "plant", required_argument, NULL, 'p' },
		{ "trace", no_argument, NULL, 't' },         { "keep", required_argument, NULL, 'k' },
		{ "shrink", no_argument, NULL, 'S' },        { "fleet", no_argument, NULL, 'F' },
		{ "workers", required_argument, NULL, 'W' }, { "nodes", required_argument, NULL, 'N' },
		{ "shards", required_argument, NULL, 'H' },  { "edits", required_argument, NULL, 'E' },
		{ "delta", required_argument, NULL, 'D' },   { "link", required_argument, NULL, 'L' },
		{ "relays", required_argument, NULL, 'R' },  { NULL, 0, NULL, 0 }
	};
	struct campaign_options todo = { .first = 1, .count = 100, .jobs = 2, .broken_max = 5, .progress = true };
	static struct campaign campaign;
	const struct sim_keep *keep = NULL;
	struct sim_fleet_options fleet = fleet_default;
	bool trace = false, shrink = false, is_fleet = false;
	int option;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 's':
			todo.first = strtoull(optarg, NULL, 10);
			break;
		case 'n':
			todo.count = strtoull(optarg, NULL, 10);
			break;
		case 'j':
			todo.jobs = strtoull(optarg, NULL, 10);
			break;
		case 'p':
			todo.plant = plant_of(optarg);
			break;
		case 't':
			trace = true;
			break;
		case 'k':
			keep = keep_of(optarg);
			break;
		case 'S':
			shrink = true;
			break;
		case 'F':
			is_fleet = true;
			break;
		default:
			if (!fleet_option(option, optarg, &fleet))
				return 2;
		}
	}
	if (is_fleet)
		return fleet_one(&fleet, todo.first);
	if (shrink)
		return shrink_one(todo.first, todo.plant);
	if (trace || keep != NULL)
		return trace_one(todo.first, todo.plant, keep);
	campaign_run(&todo, &campaign);
	for (uint64_t i = 0; i < campaign.broken && i < CAMPAIGN_BROKEN_MAX; i++) {
		printf("seed %" PRIu64 ": %s\n", campaign.findings[i].seed, campaign.findings[i].text);
		replay_print(campaign.findings[i].seed, todo.plant, NULL);
	}
	campaign_print(&campaign);
	if (campaign.seeds >= COVERING_SEEDS && sim_tally_missing(&campaign.total.tally) > 0) {
		printf("so many seeds should have met every fault and operation\n");
		return 1;
	}
	return campaign.broken != 0;
}
