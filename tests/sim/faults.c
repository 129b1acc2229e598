/* faults.c: what happens to the cluster, and when it ends. */
#include "tests/sim/sim.h"

#include "base/fault.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define SECOND_US     INT64_C(1000000)
#define ROT_SHARE     5 /* beside the SIM_ROT other kinds */
#define RESTORE_SHARE 2

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
	"coordinator.candidate.before_commit",
	"coordinator.candidate.after_commit",
	"coordinator.approve.before_commit",
	"coordinator.approve.after_commit",
	"coordinator.revoke.before_commit",
	"coordinator.revoke.after_commit",
	"coordinator.merge.before_publish",
	"coordinator.rollback.before_commit",
	"coordinator.rollback.after_commit",
	"coordinator.resume.before_commit",
	"coordinator.resume.after_commit",
	"coordinator.keys.before_commit",
	"coordinator.keys.after_commit",
	"worker.commit.before",
	"worker.commit.after",
	"worker.train.step",
};

struct text {
	size_t len;
	char bytes[SIM_EVENT_TEXT_BYTES];
};

static void __attribute__((format(printf, 2, 3))) text_add(struct text *text, const char *format, ...)
{
	va_list args;
	if (text->len >= sizeof text->bytes)
		return;
	va_start(args, format);
	text->len += (size_t)vsnprintf(text->bytes + text->len, sizeof text->bytes - text->len, format, args);
	va_end(args);
}

static struct sim_proc *any_proc(struct sim *sim, struct rng *rng)
{
	/* the coordinator as often as all others together */
	size_t i = rng_below(rng, 2) == 0 ? 0 : rng_below(rng, sim->proc_count);
	return &sim->procs[i];
}

static int64_t some_seconds(struct rng *rng, int64_t max)
{
	return (int64_t)rng_below(rng, (uint64_t)(max * SECOND_US)) + 1000;
}

static const char *link_name(const struct sim *sim, size_t link)
{
	return link < sim->proc_count ? sim->procs[link].name : sim->clients[link - sim->proc_count].name;
}

static size_t link_column(const struct sim *sim, size_t link)
{
	return link < sim->proc_count ? (size_t)sim->procs[link].kind : SIM_TALLY_CLIENT;
}

static void link_cut(struct sim *sim, struct rng *rng, size_t link, int64_t until_us, struct text *told)
{
	static const char *const ways[] = { "both ways", "to it", "from it" };
	unsigned way = (unsigned)rng_below(rng, 3);
	if (link == 0 || sim->cut[link])
		return;
	sim->cut[link] = true;
	sim->heal_us[link] = until_us;
	proto_mem_partition(sim->mem, link_name(sim, link), way != 1, way != 2);
	sim->result->tally.faults[SIM_TALLY_LINK_BOTH + way][link_column(sim, link)]++;
	text_add(told, "; link of %s cut %s for %.3f s", link_name(sim, link), ways[way],
		 (double)(until_us - sim_now(sim)) / 1e6);
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

static void swizzle(struct sim *sim, struct rng *rng, struct text *told)
{
	int64_t now = sim_now(sim);
	for (size_t i = 1; i < link_count(sim); i++)
		if (rng_below(rng, 2) == 0)
			link_cut(sim, rng, i, now + 2 * SECOND_US + some_seconds(rng, 8), told);
}

/* `share` of the world's rates, in quarters, up to four times; 0: a calm network. */
static void network_set(struct sim *sim, uint64_t share, struct text *told)
{
	const struct sim_world *world = &sim->world;
	struct proto_mem_faults faults = { .drop = world->drop * (double)share / 2,
					   .duplicate = world->duplicate * (double)share / 2,
					   .delay_us_min = 100 };
	faults.delay_us_max = share == 0 ? faults.delay_us_min
					 : 100 + world->delay_us * (int64_t)share; /* calm: in order */
	proto_mem_faults_set(sim->mem, &faults);
	text_add(told, ": messages lost %.1f%%, doubled %.1f%%, under way up to %.1f ms", 100 * faults.drop,
		 100 * faults.duplicate, (double)faults.delay_us_max / 1000);
}

static void point_arm(struct sim *sim, struct rng *rng, struct text *told)
{
	char spec[128];
	struct err e = ERR_INIT;
	fault_disarm_all();
	snprintf(spec, sizeof spec, "%s=errno@%" PRIu64, points[rng_below(rng, sizeof points / sizeof points[0])],
		 1 + rng_below(rng, 5));
	if (fault_arm(spec, &e) != 0)
		sim_break(sim, "%s", e.text);
	text_add(told, " %s", spec);
	sim->armed = true;
	sim->result->tally.faults[SIM_TALLY_POINT][0]++;
}

static void clock_jump(struct sim_proc *proc, struct rng *rng, struct text *told)
{
	int64_t jump_ms = (int64_t)rng_below(rng, 7200000) - 3600000;
	proc->wall_offset_ms += jump_ms;
	text_add(told, ": its wall clock by %+.3f s", (double)jump_ms / 1000);
	proc->sim->result->tally.faults[jump_ms < 0 ? SIM_TALLY_CLOCK_BACK : SIM_TALLY_CLOCK_FORWARD][proc->kind]++;
}

static void crash(struct sim_proc *proc, int64_t down_us, struct text *told)
{
	text_add(told, ", back after %.3f s", (double)down_us / 1e6);
	if (!proc->up)
		return;
	proc->sim->result->tally.faults[SIM_TALLY_CRASH][proc->kind]++;
	sim_proc_kill(proc, down_us);
}

static void slow_down(struct sim_proc *proc, int64_t until_us, struct rng *rng, struct text *told)
{
	proc->slow_until_us = until_us;
	proc->slow_us = 20000 + (int64_t)rng_below(rng, 400000);
	text_add(told, ", a step each %.3f s for %.3f s", (double)proc->slow_us / 1e6,
		 (double)(until_us - sim_now(proc->sim)) / 1e6);
}

static void restore(struct sim *sim, struct rng *rng, int64_t down_us, struct text *told)
{
	const uint64_t last = sim_backup_restore(sim, rng, down_us);
	sim->result->tally.faults[SIM_TALLY_RESTORE][0] += last != 0;
	if (last != 0)
		text_add(told, ", of event %" PRIu64 ", back after %.3f s", last, (double)down_us / 1e6);
	else
		text_add(told, ": there is no backup yet");
}

static void disk_fill(struct sim_proc *proc, int64_t span_us, struct text *told)
{
	proc->disk.full = true;
	proc->sim->full_us[proc - proc->sim->procs] = sim_now(proc->sim) + span_us;
	text_add(told, " for %.3f s", (double)span_us / 1e6);
}

static void put(struct sim *sim, enum sim_fault kind, struct rng *rng, struct text *told)
{
	uint64_t(*tally)[SIM_TALLY_COLUMNS] = sim->result->tally.faults;
	struct sim_proc *proc = any_proc(sim, rng);
	int64_t now = sim_now(sim), span_us = some_seconds(rng, 20);
	size_t link = 1 + rng_below(rng, link_count(sim) - 1);
	uint64_t nth = 1 + rng_below(rng, 25);
	text_add(told, "%s", sim_fault_names[kind]);
	if (kind != SIM_LINK && kind != SIM_SWIZZLE && kind != SIM_NETWORK && kind != SIM_POINT && kind != SIM_RESTORE)
		text_add(told, " %s", proc->name);
	switch (kind) {
	case SIM_CRASH:
		crash(proc, rng_below(rng, 4) == 0 ? span_us : span_us * 3 / 20, told);
		break;
	case SIM_CRASH_IN_OP:
		proc->disk.crash_in = (int64_t)nth;
		text_add(told, ", in the %" PRIu64 ". write or sync from now", nth);
		break;
	case SIM_STOP:
		if (!proc->up || proc->stopping)
			break;
		tally[SIM_TALLY_STOP][proc->kind]++;
		sim_proc_stop(proc);
		break;
	case SIM_PAUSE:
		span_us = span_us * 3 / 4;
		proc->paused_us = now + span_us;
		tally[SIM_TALLY_PAUSE][proc->kind] += proc->up;
		text_add(told, " for %.3f s", (double)span_us / 1e6);
		break;
	case SIM_LINK:
		link_cut(sim, rng, link, now + span_us, told);
		break;
	case SIM_NETWORK:
		network_set(sim, 1 + rng_below(rng, 4), told);
		tally[SIM_TALLY_NETWORK][0]++;
		break;
	case SIM_DISK_FULL:
		disk_fill(proc, span_us * 2 / 5, told);
		break;
	case SIM_DISK_ERROR:
		proc->disk.eio_in = (int64_t)nth;
		text_add(told, ", the %" PRIu64 ". write or sync from now", nth);
		break;
	case SIM_MEMORY:
		proc->fail_alloc = (int64_t)rng_below(rng, 40);
		text_add(told, ", after %" PRId64 " allocations of its next step", proc->fail_alloc);
		break;
	case SIM_POINT:
		point_arm(sim, rng, told);
		break;
	case SIM_CLOCK:
		clock_jump(proc, rng, told);
		break;
	case SIM_SWIZZLE:
		swizzle(sim, rng, told);
		tally[SIM_TALLY_SWIZZLE][0]++;
		break;
	case SIM_SLOW:
		slow_down(proc, now + span_us, rng, told);
		tally[SIM_TALLY_SLOW][proc->kind] += proc->up;
		break;
	case SIM_ROT:
		text_add(told, ": %zu chunks", sim_rot_put(sim, proc, rng));
		break;
	case SIM_RESTORE:
		restore(sim, rng, span_us / 4, told);
		break;
	case SIM_FAULT_COUNT:
		break;
	}
	sim->result->fault_total++;
}

/* Event 0 is the network as it is from the beginning; then those of the schedule. */
static void happen(struct sim *sim, uint32_t number, enum sim_fault kind)
{
	struct text told = { .len = 0 };
	struct rng rng;
	if (!sim_happens(sim, SIM_SOURCE_FAULTS, number))
		return;
	sim_stream(sim, SIM_SOURCE_FAULTS, number, &rng);
	put(sim, kind, &rng, &told);
	sim_tell(sim, SIM_SOURCE_FAULTS, number, "%s", told.bytes);
}

/* Drawn apart: what other seeds were, they stay. */
static enum sim_fault kind_draw(struct sim *sim)
{
	const unsigned rot = sim->world.rot ? ROT_SHARE : 0, restore = sim->world.backups ? RESTORE_SHARE : 0;
	const unsigned dice = (unsigned)sim_below(sim, SIM_ROT + rot + restore);
	return dice < SIM_ROT ? (enum sim_fault)dice : dice < SIM_ROT + rot ? SIM_ROT : SIM_RESTORE;
}

/* The schedule is drawn as a whole: which of it happens changes nothing of the rest. */
static void schedule_draw(struct sim *sim)
{
	int64_t at_us = sim_now(sim) + 1000 * (int64_t)sim_below(sim, (uint64_t)sim->world.fault_every_ms);
	bool slept = false;
	while (at_us < sim->calm_us && sim->due_count < SIM_FAULTS_MAX) {
		enum sim_fault kind = kind_draw(sim);
		for (int tries = 0; kind < SIM_ROT && tries < SIM_ROT && !sim->world.enabled[kind]; tries++)
			kind = (enum sim_fault)((kind + 1) % SIM_ROT);
		if (sim->world.enabled[kind])
			sim->due[sim->due_count++] = (struct sim_fault_due){ kind, at_us };
		if (!slept && at_us >= sim->world.night_us) {
			slept = true;
			at_us += SIM_NIGHT_US;
		}
		at_us += 1000 * (1 + (int64_t)sim_below(sim, (uint64_t)(2 * sim->world.fault_every_ms)));
	}
}

void sim_faults_begin(struct sim *sim)
{
	int64_t now = sim_now(sim);
	sim->calm_us = now + sim->world.chaos_ms * 1000;
	sim->night_end_us = INT64_MAX;
	if (sim->world.night_us != INT64_MAX) {
		sim->night_end_us = sim->world.night_us + SIM_NIGHT_US;
		sim->calm_us += SIM_NIGHT_US;
		sim->result->tally.faults[SIM_TALLY_NIGHT][0]++;
	}
	for (size_t i = 0; i < SIM_PROCS_MAX + SIM_CLIENTS_MAX; i++)
		sim->heal_us[i] = INT64_MAX;
	for (size_t i = 0; i < SIM_PROCS_MAX; i++)
		sim->full_us[i] = INT64_MAX;
	schedule_draw(sim);
	network_set(sim, 0, &(struct text){ .len = 0 });
	happen(sim, 0, SIM_NETWORK);
}

void sim_faults_end(struct sim *sim)
{
	sim->calm = true;
	sim_trace(sim, 21, 0, "the faults have ended");
	network_set(sim, 0, &(struct text){ .len = 0 });
	fault_disarm_all();
	for (size_t i = 1; i < link_count(sim); i++)
		link_heal(sim, i);
	for (size_t i = 0; i < sim->proc_count; i++) {
		struct sim_proc *proc = &sim->procs[i];
		proc->disk.full = false;
		proc->disk.crash_in = proc->disk.eio_in = 0;
		proc->fail_alloc = -1;
		proc->slow_until_us = INT64_MIN;
		proc->wall_offset_ms = 0; /* clocks are set right */
		sim->full_us[i] = INT64_MAX;
		if (proc->paused_us != INT64_MAX)
			proc->paused_us = sim_now(sim);
	}
	if (sim->rotted.len > 0 && sim->procs[0].up)
		sim_proc_kill(&sim->procs[0], SECOND_US); /* a start reads all chunks; else that is done once an hour */
}

void sim_faults_step(struct sim *sim)
{
	int64_t now = sim_now(sim);
	if (sim->calm)
		return;
	sim->night = now >= sim->world.night_us && now < sim->night_end_us;
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
	while (!sim->calm && sim->due_next < sim->due_count && now >= sim->due[sim->due_next].at_us) {
		enum sim_fault kind = sim->due[sim->due_next++].kind;
		happen(sim, (uint32_t)sim->due_next, kind);
	}
}

int64_t sim_faults_next(const struct sim *sim)
{
	int64_t next = sim->due_next < sim->due_count ? sim->due[sim->due_next].at_us : sim->calm_us;
	if (sim->calm)
		return INT64_MAX;
	for (size_t i = 0; i < link_count(sim); i++)
		next = sim->heal_us[i] < next ? sim->heal_us[i] : next;
	for (size_t i = 0; i < sim->proc_count; i++)
		next = sim->full_us[i] < next ? sim->full_us[i] : next;
	return next;
}
