/* world.c: what a seed's cluster is like. Not every seed meets every kind of fault: a cluster that is always hit by all
 * of them never gets far enough to meet some. */
#include "tests/sim/fleet.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *const sim_fault_names[SIM_FAULT_COUNT] = { "crash",   "crash-in-op", "stop",       "pause",  "link",
						       "network", "disk-full",   "disk-error", "memory", "point",
						       "clock",   "swizzle",     "slow",       "rot",    "restore" };

static bool chance(struct sim *sim, uint64_t percent)
{
	return sim_below(sim, 100) < percent;
}

static uint64_t between(struct sim *sim, uint64_t low, uint64_t high)
{
	return low + sim_below(sim, high - low + 1);
}

void sim_world_draw(struct sim *sim)
{
	static const int64_t delays_us[] = { 500, 5000, 50000, 400000 };
	static const size_t subjects[] = { 3, 30, 300, 3000 }; /* few: edits supersede one another */
	struct sim_world *world = &sim->world;
	if (sim->options.fleet != NULL) {
		sim_fleet_world(sim);
		return;
	}
	world->workers = between(sim, 1, 3);
	world->nodes = between(sim, 1, 2);
	world->clients = between(sim, 1, SIM_CLIENTS_MAX);
	world->edits_per_shard = (uint32_t)between(sim, 3, 20);
	world->group_edits = (uint32_t)between(sim, 1, 10);
	world->merge_every = chance(sim, 40) ? (uint32_t)between(sim, 5, 15) : 0;
	world->queue_max = chance(sim, 20) ? (uint32_t)between(sim, 10, 20) : 10000;
	world->progress_ms = chance(sim, 50) ? 15000 : 0;
	world->padding = chance(sim, 25) ? between(sim, 1, 3) * 60000 : 0;
	world->subjects = subjects[sim_below(sim, sizeof subjects / sizeof subjects[0])];
	world->chaos_ms = (int64_t)between(sim, 5, 25) * 1000;
	world->fault_every_ms = (int64_t)between(sim, 300, 4000);
	world->think_ms = (int64_t)between(sim, 100, 1500);
	world->rollbacks = chance(sim, 40);
	world->keys = chance(sim, 30);
	world->night_us = chance(sim, 10) ? sim_now(sim) + world->chaos_ms * 700 : INT64_MAX;
	world->collections = world->night_us != INT64_MAX || chance(sim, 20);
	for (int i = 0; i < SIM_ROT; i++)
		world->enabled[i] = chance(sim, 45);
	world->drop = chance(sim, 50) ? (double)between(sim, 1, 20) / 100 : 0;
	world->duplicate = chance(sim, 50) ? (double)between(sim, 1, 15) / 100 : 0;
	world->approve = rng_derive(sim->options.seed, 3, 0) % 4 == 0; /* drawn apart: what a seed was, it stays */
	world->canaries = rng_derive(sim->options.seed, 6, 0) % 4 == 0;
	world->canary_changes = (uint32_t)(rng_derive(sim->options.seed, 6, 2) % 4 / 2); /* 0, 0, 1, 1 */
	world->takes_back = rng_derive(sim->options.seed, 6, 3) % 2 == 0;
	world->rot = world->enabled[SIM_ROT] = rng_derive(sim->options.seed, 6, 1) % 4 == 0;
	world->backups = world->enabled[SIM_RESTORE] = rng_derive(sim->options.seed, 6, 5) % 5 == 0;
	world->retrain = world->rot && rng_derive(sim->options.seed, 6, 4) % 3 != 0;
	if (world->canaries && world->subjects > 30)
		world->subjects = 10; /* so that what is withheld has superseded something */
	world->delay_us = delays_us[sim_below(sim, sizeof delays_us / sizeof delays_us[0])];
}

void sim_world_print(const struct sim *sim, char *out, size_t out_bytes)
{
	const struct sim_world *w = &sim->world;
	int at = snprintf(out, out_bytes,
			  "workers=%zu nodes=%zu clients=%zu shard=%" PRIu32 " group=%" PRIu32 " merge=%" PRIu32
			  " queue=%" PRIu32 " approve=%d canaries=%d changes=%" PRIu32
			  " takes_back=%d rot=%d retrain=%d backups=%d padding=%zu subjects=%zu chaos=%" PRId64
			  "ms drop=%.2f duplicate=%.2f "
			  "delay=%" PRId64 "us faults=",
			  w->workers, w->nodes, w->clients, w->edits_per_shard, w->group_edits, w->merge_every,
			  w->queue_max, w->approve, w->canaries, w->canary_changes, w->takes_back, w->rot, w->retrain,
			  w->backups, w->padding, w->subjects, w->chaos_ms, w->drop, w->duplicate, w->delay_us);
	for (int i = 0; i < SIM_FAULT_COUNT && at > 0 && (size_t)at < out_bytes; i++)
		if (w->enabled[i])
			at += snprintf(out + at, out_bytes - (size_t)at, "%s,", sim_fault_names[i]);
}
