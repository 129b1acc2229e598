/* main.c: sim [--seed FIRST] [--seeds N] [--jobs N] [--plant NAME] [--trace]. Exit status 1: an invariant was broken;
 * for each the command that replays it is printed. */
#include "tests/sim/campaign.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

static int trace_one(uint64_t seed, enum sim_plant plant)
{
	char folder[] = "/dev/shm/amend-sim.XXXXXX";
	struct sim_result result;
	if (mkdtemp(folder) == NULL) {
		perror(folder);
		return 2;
	}
	sim_run(&(struct sim_options){ .seed = seed, .plant = plant, .trace = true, .folder = folder }, &result);
	rmdir(folder);
	printf("digest=%016" PRIx64 " %s\n", result.digest, result.broken ? result.text : "no invariant broken");
	return result.broken;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' }, { "seeds", required_argument, NULL, 'n' },
		{ "jobs", required_argument, NULL, 'j' }, { "plant", required_argument, NULL, 'p' },
		{ "trace", no_argument, NULL, 't' },      { NULL, 0, NULL, 0 }
	};
	struct campaign_options todo = { .first = 1, .count = 100, .jobs = 2, .broken_max = 5, .progress = true };
	static struct campaign campaign;
	bool trace = false;
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
		default:
			return 2;
		}
	}
	if (trace)
		return trace_one(todo.first, todo.plant);
	campaign_run(&todo, &campaign);
	for (uint64_t i = 0; i < campaign.broken && i < CAMPAIGN_BROKEN_MAX; i++)
		printf("seed %" PRIu64 ": %s\n  replay: make sim SEED=%" PRIu64 " TRACE=1%s%s\n",
		       campaign.findings[i].seed, campaign.findings[i].text, campaign.findings[i].seed,
		       todo.plant != SIM_PLANT_NONE ? " PLANT=" : "",
		       todo.plant != SIM_PLANT_NONE ? sim_plant_names[todo.plant] : "");
	campaign_print(&campaign);
	return campaign.broken != 0;
}
