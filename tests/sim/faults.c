/* faults.c: what happens to the cluster, and when it ends. */
#include "tests/sim/sim.h"

#include "base/fault.h"

#include <inttypes.h>
#include <stdio.h>

#define SECOND_US INT64_C(1000000)

/* Points between two durable steps; an error there is a failure at that very moment. */
static const char *const points[] = {
	"store.commit.before",
	"store.commit.after",
	"store.blob.before",
	"store.blob.after",
	"coordinator.submit.before_commit",
	"coordinator.submit.after_commit",
	"coordinator.group.before_commit",
	"coordinator.group.after_commit",
	"coordinator.publish.after_blobs",
	"coordinator.publish.before_commit",
	"coordinator.publish.after_commit",
	"coordinator.revoke.before_commit",
	"coordinator.revoke.after_commit",
	"coordinator.merge.before_publish",
	"worker.commit.before",
	"worker.commit.after",
	"worker.train.step",
};

static struct sim_proc *any_proc(struct sim *sim)
{
	/* the coordinator as often as all others together */
	size_t i = sim_below(sim, 2) == 0 ? 0 : sim_below(sim, sim->proc_count);
	return &sim->procs[i];
}

static int64_t some_seconds(struct sim *sim, int64_t max)
{
	return (int64_t)sim_below(sim, (uint64_t)(max * SECOND_US)) + 1000;
}

static const char *link_name(const struct sim *sim, size_t link)
{
	return link < sim->proc_count ? sim->procs[link].name : sim->clients[link - sim->proc_count].name;
}

static void link_cut(struct sim *sim, size_t link, int64_t until_us)
{
	unsigned way = (unsigned)sim_below(sim, 3);
	if (link == 0 || sim->cut[link])
		return;
	sim->cut[link] = true;
	sim->heal_us[link] = until_us;
	proto_mem_partition(sim->mem, link_name(sim, link), way != 1, way != 2);
}

static void link_heal(struct sim *sim, size_t link)
{
	sim->cut[link] = false;
	sim->heal_us[link] = INT64_MAX;
	proto_mem_partition(sim->mem, link_name(sim, link), false, false);
}

static size_t link_count(const struct sim *sim)
{
	return sim->proc_count + sim->world.clients;
}

static void swizzle(struct sim *sim)
{
	int64_t now = sim_now(sim);
	for (size_t i = 1; i < link_count(sim); i++)
		if (sim_below(sim, 2) == 0)
			link_cut(sim, i, now + 2 * SECOND_US + some_seconds(sim, 8));
}

static void network_set(struct sim *sim, bool calm)
{
	const struct sim_world *world = &sim->world;
	uint64_t share = calm ? 0 : 1 + sim_below(sim, 4); /* of the world's rates, in quarters, up to four times */
	struct proto_mem_faults faults = { .drop = world->drop * (double)share / 2,
					   .duplicate = world->duplicate * (double)share / 2,
					   .delay_us_min = 100 };
	faults.delay_us_max = calm ? 2000 : 100 + world->delay_us * (int64_t)share;
	proto_mem_faults_set(sim->mem, &faults);
}

static void point_arm(struct sim *sim)
{
	char spec[128];
	struct err e = ERR_INIT;
	fault_disarm_all();
	snprintf(spec, sizeof spec, "%s=errno@%" PRIu64, points[sim_below(sim, sizeof points / sizeof points[0])],
		 1 + sim_below(sim, 5));
	if (fault_arm(spec, &e) != 0)
		sim_break(sim, "%s", e.text);
	sim_trace(sim, 30, 0, "point %s", spec);
	sim->armed = true;
}

static void put(struct sim *sim, enum sim_fault kind)
{
	struct sim_proc *proc = any_proc(sim);
	int64_t now = sim_now(sim);
	size_t link;
	sim_trace(sim, 20, (uint64_t)kind, "fault %s (%s)", sim_fault_names[kind], proc->name);
	switch (kind) {
	case SIM_CRASH:
		if (proc->up)
			sim_proc_kill(proc, some_seconds(sim, sim_below(sim, 4) == 0 ? 20 : 3));
		break;
	case SIM_CRASH_IN_OP:
		proc->disk.crash_in = 1 + (int64_t)sim_below(sim, 25);
		break;
	case SIM_STOP:
		if (proc->up && !proc->stopping)
			sim_proc_stop(proc);
		break;
	case SIM_PAUSE:
		proc->paused_us = now + some_seconds(sim, 15);
		break;
	case SIM_LINK:
		link = 1 + sim_below(sim, link_count(sim) - 1);
		link_cut(sim, link, now + some_seconds(sim, 20));
		break;
	case SIM_NETWORK:
		network_set(sim, false);
		break;
	case SIM_DISK_FULL:
		proc->disk.full = true;
		sim->full_us[proc - sim->procs] = now + some_seconds(sim, 8);
		break;
	case SIM_DISK_ERROR:
		proc->disk.eio_in = 1 + (int64_t)sim_below(sim, 25);
		break;
	case SIM_MEMORY:
		proc->fail_alloc = (int64_t)sim_below(sim, 40);
		break;
	case SIM_POINT:
		point_arm(sim);
		break;
	case SIM_CLOCK:
		sim->clock.wall_offset_ms += (int64_t)sim_below(sim, 7200000) - 3600000;
		break;
	case SIM_SWIZZLE:
		swizzle(sim);
		break;
	case SIM_FAULT_COUNT:
		break;
	}
	sim->result->faults[kind]++;
	sim->result->fault_total++;
}

void sim_faults_begin(struct sim *sim)
{
	int64_t now = sim_now(sim);
	sim->calm_us = now + sim->world.chaos_ms * 1000;
	sim->fault_us = now + 1000 * (int64_t)sim_below(sim, (uint64_t)sim->world.fault_every_ms);
	for (size_t i = 0; i < SIM_PROCS_MAX + SIM_CLIENTS_MAX; i++)
		sim->heal_us[i] = INT64_MAX;
	for (size_t i = 0; i < SIM_PROCS_MAX; i++)
		sim->full_us[i] = INT64_MAX;
	network_set(sim, false);
}

void sim_faults_end(struct sim *sim)
{
	sim->calm = true;
	sim_trace(sim, 21, 0, "the faults have ended");
	network_set(sim, true);
	fault_disarm_all();
	for (size_t i = 1; i < link_count(sim); i++)
		link_heal(sim, i);
	for (size_t i = 0; i < sim->proc_count; i++) {
		struct sim_proc *proc = &sim->procs[i];
		proc->disk.full = false;
		proc->disk.crash_in = proc->disk.eio_in = 0;
		proc->fail_alloc = -1;
		sim->full_us[i] = INT64_MAX;
		if (proc->paused_us != INT64_MAX)
			proc->paused_us = sim_now(sim);
	}
}

static void pick(struct sim *sim)
{
	enum sim_fault kind = (enum sim_fault)sim_below(sim, SIM_FAULT_COUNT);
	int64_t pause_ms = 1 + (int64_t)sim_below(sim, (uint64_t)(2 * sim->world.fault_every_ms));
	sim->fault_us = sim_now(sim) + 1000 * pause_ms;
	for (int tries = 0; tries < SIM_FAULT_COUNT && !sim->world.enabled[kind]; tries++)
		kind = (enum sim_fault)((kind + 1) % SIM_FAULT_COUNT);
	if (sim->world.enabled[kind])
		put(sim, kind);
}

void sim_faults_step(struct sim *sim)
{
	int64_t now = sim_now(sim);
	if (sim->calm)
		return;
	for (size_t i = 1; i < link_count(sim); i++)
		if (now >= sim->heal_us[i])
			link_heal(sim, i);
	for (size_t i = 0; i < sim->proc_count; i++) {
		if (now < sim->full_us[i])
			continue;
		sim->full_us[i] = INT64_MAX;
		sim->procs[i].disk.full = false;
	}
	if (now >= sim->calm_us)
		sim_faults_end(sim);
	else if (now >= sim->fault_us)
		pick(sim);
}

int64_t sim_faults_next(const struct sim *sim)
{
	int64_t next = sim->fault_us < sim->calm_us ? sim->fault_us : sim->calm_us;
	if (sim->calm)
		return INT64_MAX;
	for (size_t i = 0; i < link_count(sim); i++)
		next = sim->heal_us[i] < next ? sim->heal_us[i] : next;
	for (size_t i = 0; i < sim->proc_count; i++)
		next = sim->full_us[i] < next ? sim->full_us[i] : next;
	return next;
}
