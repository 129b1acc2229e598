/* proc.c: the programs of the cluster: started, stepped, killed. */
#include "tests/sim/sim.h"

#include "base/fault.h"
#include "tests/sim/engine.h"
#include "tests/sim/fleet.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define TICK_US       20000
#define STEP_MESSAGES 64
#define SLOW_MESSAGES 4
#define NIGHT_TICK_US 900000
#define RESTART_US    300000
#define STOP_US       3000000

/* ---- The wire */

/* I5: what the disk changed is given to nobody. */
static void check_chunk(struct sim_proc *proc, const struct msg_chunk *chunk)
{
	struct hash hash;
	hash_of(chunk->data.bytes, chunk->data.len, &hash);
	if (!hash_equal(&hash, &chunk->hash))
		sim_break(proc->sim, "I5: %s gives out a chunk that does not match its hash", proc->name);
}

static int wire_send(struct proto_transport *t, uint64_t route, const struct msg *msg, struct err *e)
{
	struct sim_wire *wire = (struct sim_wire *)t;
	struct sim_proc *proc = wire->proc;
	if (proc->disk.dead || wire->inner == NULL)
		return 0; /* nobody hears it */
	if (msg->type == MSG_CHUNK && msg->u.chunk.code == 0)
		check_chunk(proc, &msg->u.chunk);
	int rc = wire->inner->ops->send(wire->inner, route, msg, e);
	sim_trace(proc->sim, (uint64_t)msg->type << 8 | proc->kind, msg->request_id ^ (uint64_t)(int64_t)rc,
		  "%s sends %s id=%" PRIu64 " to=%" PRIu64 "%s%s", proc->name, msg_type_name((int)msg->type),
		  msg->request_id, route, rc != 0 ? " " : "", rc != 0 ? err_name(rc) : "");
	return rc;
}

static int wire_publish(struct proto_transport *t, const struct msg *msg, struct err *e)
{
	struct sim_wire *wire = (struct sim_wire *)t;
	if (wire->proc->disk.dead || wire->inner == NULL)
		return 0;
	return wire->inner->ops->publish(wire->inner, msg, e);
}

static size_t wire_refused(struct proto_transport *t, struct msg_refused_key out[MSG_REFUSED_KEYS_MAX])
{
	struct sim_wire *wire = (struct sim_wire *)t;
	return wire->inner == NULL ? 0 : wire->inner->ops->refused(wire->inner, out);
}

/* ---- Clocks: they run alike, and stand apart by what theirs has jumped. */

static int64_t proc_monotonic_us(void *context)
{
	return ((const struct sim_proc *)context)->sim->clock.now_us;
}

static int64_t proc_wall_ms(void *context)
{
	const struct sim_proc *proc = context;
	return env_wall_ms(&proc->sim->clock.env) + proc->wall_offset_ms;
}

static void proc_random(void *context, void *bytes, size_t byte_count)
{
	struct sim_proc *proc = context;
	for (uint8_t *out = bytes; byte_count > 0;) {
		uint64_t dice = rng_u64(&proc->random);
		size_t n = byte_count < sizeof dice ? byte_count : sizeof dice;
		memcpy(out, &dice, n);
		out += n;
		byte_count -= n;
	}
}

/* ---- Life */

void sim_proc_init(struct sim *sim, enum sim_kind kind, size_t number)
{
	static const char *const names[] = { "coordinator", "w", "n" };
	struct sim_proc *proc = &sim->procs[sim->proc_count];
	char path[SIM_PATH_BYTES];
	*proc = (struct sim_proc){ .sim = sim, .kind = kind, .fail_alloc = -1 };
	if (kind == SIM_COORDINATOR)
		snprintf(proc->name, sizeof proc->name, "%s", names[kind]);
	else
		snprintf(proc->name, sizeof proc->name, "%s%zu", names[kind], number);
	snprintf(path, sizeof path, "%.200s/%.15s", sim->folder, proc->name);
	memcpy(proc->folder, path, sizeof path);
	memset(proc->key, (int)(10 + sim->proc_count), sizeof proc->key);
	if (sim->world.fleet)
		sim_fleet_key(sim->proc_count, kind, proc->key);
	proc->env = (struct env){ proc, proc_monotonic_us, proc_wall_ms, proc_random };
	rng_init(&proc->rng, rng_derive(sim->options.seed, 4, sim->proc_count));
	rng_init(&proc->random, rng_derive(sim->options.seed, 5, sim->proc_count));
	sim_disk_init(&proc->disk, rng_derive(sim->options.seed, 1, sim->proc_count));
	proc->disk.lies = sim->options.plant == SIM_PLANT_NO_SYNC;
	proc->wire = (struct sim_wire){ .proc = proc };
	proc->wire.ops =
		(struct proto_transport_ops){ .send = wire_send, .publish = wire_publish, .refused = wire_refused };
	proc->wire.base.ops = &proc->wire.ops;
	proc->start_us = sim_now(sim) + (int64_t)rng_below(&proc->rng, 500000);
	proc->tick_us = proc->engine_us = proc->paused_us = proc->stop_us = INT64_MAX;
	proc->slow_until_us = proc->slow_next_us = INT64_MIN;
	sim->proc_count++;
}

static int allow_set(void *context, struct proto_allow **list, struct err *e)
{
	struct sim_proc *proc = context;
	(void)e;
	proto_mem_allow_set(proc->wire.inner, *list);
	proto_allow_destroy(&proc->sim->allow);
	proc->sim->allow = *list;
	*list = NULL;
	return 0;
}

static int start_coordinator(struct sim_proc *proc, struct err *e)
{
	struct sim *sim = proc->sim;
	const struct sim_world *world = &sim->world;
	static struct coordinator_merge_job job;
	static char allow_path[SIM_PATH_BYTES];
	struct coordinator_config config = { .peers_max = sim->world.fleet ? 16384 : 100,
					     .edits_per_shard = world->edits_per_shard,
					     .group_edits_max = world->group_edits,
					     .commit_edits_max = 10,
					     .commit_wait_ms = 5,
					     .heartbeat_ms = 1000,
					     .lease_ms = 8000,
					     .progress_ms_max = world->progress_ms,
					     .edit_tries_max = 3,
					     .queue_edits_max = world->queue_max,
					     .merge_every_edits = world->merge_every,
					     .merge_ranks = 2,
					     .merge_deadline_ms = 20000,
					     .merge_tries_max = 2,
					     .merge_loss_points = 2,
					     .approve = world->approve,
					     .canaries = world->canaries,
					     .canary_changes = world->canary_changes,
					     .retrain_ms = world->retrain ? 5000 : 0,
					     .scrub_bytes_per_s = world->rot ? UINT64_C(1) << 30 : 0,
					     .seed = sim->options.seed,
					     .layer = SIM_ENGINE_LAYER,
					     .data_folder = proc->folder,
					     .cluster_id = "",
					     .family = "amend",
					     .tensor_format = "blk.%u.ffn_down.weight",
					     .key = proc->key,
					     .allow_file = sim->world.fleet ? NULL : allow_path,
					     .allow_set = allow_set,
					     .allow_context = proc };
	const struct store_options options = { .env = &proc->env };
	snprintf(allow_path, sizeof allow_path, "%.240s/allow", sim->folder);
	sim_merge_init(sim, &job);
	int rc = store_open(proc->folder, &options, &proc->store, e);
	if (rc == 0)
		rc = coordinator_new(&config, &proc->env, proc->store, &proc->wire.base, &job, &proc->coordinator, e);
	return rc == 0 ? coordinator_keys_reload(proc->coordinator, e) : rc;
}

static int start_worker(struct sim_proc *proc, struct err *e)
{
	struct sim *sim = proc->sim;
	const struct store_options options = { .env = &proc->env, .blobs_only = true };
	struct worker_config config = {
		.name = proc->name, .calibration_corpus = sim->corpus, .data_folder = proc->folder, .software = "sim"
	};
	editor_config_default(model_shape_of(sim_engine_model()), &config.editor);
	config.editor.layer = SIM_ENGINE_LAYER;
	config.editor.prompt_layer = 1;
	config.canaries = sim->world.canaries ? sim_canaries(proc) : NULL;
	int rc = store_open(proc->folder, &options, &proc->store, e);
	if (rc == 0)
		rc = pool_new(0, 8, &proc->pool, e);
	if (rc == 0)
		rc = worker_new(&config, &proc->env, proc->store, &proc->wire.base, proc->pool, sim_engine_model(),
				&proc->worker, e);
	return rc;
}

static int start_node(struct sim_proc *proc, struct err *e)
{
	const struct store_options options = { .env = &proc->env, .blobs_only = true };
	const struct node_sync_config config = { .name = proc->name,
						 .endpoint = "127.0.0.1:1",
						 .software = "sim",
						 .backend = "stand-in",
						 .folder = proc->folder,
						 .base_model = *model_digest(sim_engine_model()),
						 .shape = *model_shape_of(sim_engine_model()),
						 .poll_ms = 1000,
						 .versions_kept = 2,
						 .wants_max = 8 };
	int rc = store_open(proc->folder, &options, &proc->store, e);
	if (rc == 0)
		rc = pool_new(0, 8, &proc->pool, e);
	if (rc == 0)
		rc = node_sync_new(&config, &proc->env, proc->store, &proc->wire.base, proc->pool, &proc->node, e);
	return rc;
}

static int connect_wire(struct sim_proc *proc, struct err *e)
{
	struct sim *sim = proc->sim;
	if (proc->kind == SIM_COORDINATOR)
		return proto_mem_listen(sim->mem, proc->name, sim->allow, &proc->wire.inner, e);
	return proto_mem_connect(sim->mem, proc->name, "coordinator", proc->key, &proc->wire.inner, e);
}

/* Everything of it but its disk is gone. */
static void clear(struct sim_proc *proc)
{
	if (proc->kind == SIM_COORDINATOR)
		sim_plant_crash();
	pool_destroy(&proc->pool);
	coordinator_destroy(&proc->coordinator);
	worker_destroy(&proc->worker);
	node_sync_destroy(&proc->node);
	store_close(&proc->store);
	if (proc->wire.inner != NULL)
		proc->wire.inner->ops->destroy(proc->wire.inner);
	proc->wire.inner = NULL;
	proc->up = proc->stopping = proc->excused = false;
	proc->tick_us = proc->engine_us = proc->paused_us = proc->stop_us = INT64_MAX;
	proc->fail_alloc = -1;
	proc->slow_until_us = INT64_MIN;
}

/* What the machine has spent, where that is measured: of a fleet's coordinator. */
static int64_t core_ns(const struct sim_proc *proc)
{
	return proc->sim->world.fleet && proc->kind == SIM_COORDINATOR ? sim_fleet_core_ns() : 0;
}

static void enter(struct sim_proc *proc)
{
	proc->core_ns -= core_ns(proc);
	sim_disk_now = &proc->disk;
	if (proc->fail_alloc >= 0) {
		fault_set(proc->fail_alloc, 1);
		proc->sim->result->tally.faults[SIM_TALLY_MEMORY][proc->kind]++;
		proc->excused = true;
	}
	proc->fail_alloc = -1;
}

static void leave(struct sim_proc *proc)
{
	proc->core_ns += core_ns(proc);
	sim_disk_now = NULL;
	fault_set(-1, 0);
}

/* A full disk is no reason for a coordinator to give up, once it is there. */
static bool excused(const struct sim_proc *proc, bool starting)
{
	return proc->sim->armed || proc->excused || proc->disk.failed || proc->disk.dead ||
	       (proc->disk.refused && (starting || proc->kind != SIM_COORDINATOR));
}

static void end(struct sim_proc *proc, bool crashed, int64_t down_us)
{
	if (proc->up && crashed)
		proc->sim->result->crashes++;
	sim_disk_now = &proc->disk;
	if (crashed) {
		uint64_t torn = proc->disk.torn_sectors;
		sim_disk_crash(&proc->disk);
		proc->sim->result->tally.faults[SIM_TALLY_TORN][proc->kind] += proc->disk.torn_sectors > torn;
		sim_trace(proc->sim, 1, proc->disk.torn_sectors - torn, "%s dies, %" PRIu64 " sectors lost", proc->name,
			  proc->disk.torn_sectors - torn);
	}
	clear(proc);
	sim_disk_settle(&proc->disk);
	sim_disk_now = NULL;
	proc->start_us = sim_now(proc->sim) + down_us;
}

void sim_proc_kill(struct sim_proc *proc, int64_t down_us)
{
	end(proc, true, down_us);
}

void sim_proc_start(struct sim_proc *proc)
{
	static int (*const starts[])(struct sim_proc *, struct err *) = { start_coordinator, start_worker, start_node };
	struct sim *sim = proc->sim;
	struct err e = ERR_INIT;
	proc->start_us = INT64_MAX;
	proc->live = 0;
	proc->stale = proc->kind == SIM_NODE && sim->lost_contents.len > 0;
	proc->up = true;
	int rc = connect_wire(proc, &e);
	enter(proc);
	if (rc == 0)
		rc = starts[proc->kind](proc, &e);
	leave(proc);
	sim_trace(sim, 2, (uint64_t)(int64_t)rc, "%s starts: %s", proc->name, rc == 0 ? "up" : e.text);
	if (rc != 0 || proc->disk.dead) {
		if (rc != 0 && !excused(proc, true))
			sim_break(sim, "%s does not start: %s: %s", proc->name, err_name(rc), e.text);
		end(proc, true, RESTART_US);
		return;
	}
	proc->tick_us = sim_now(sim);
	if (proc->kind == SIM_COORDINATOR)
		sim_check_start(sim);
}

void sim_proc_stop(struct sim_proc *proc)
{
	proc->stopping = true;
	proc->stop_us = sim_now(proc->sim) + STOP_US;
	enter(proc);
	if (proc->coordinator != NULL)
		coordinator_close(proc->coordinator);
	if (proc->worker != NULL)
		worker_close(proc->worker);
	if (proc->node != NULL)
		node_sync_close(proc->node);
	leave(proc);
}

void sim_proc_fini(struct sim_proc *proc)
{
	sim_disk_now = &proc->disk;
	clear(proc);
	sim_disk_settle(&proc->disk);
	sim_disk_now = NULL;
	proc->sim->result->disk_operations += proc->disk.operations;
	proc->sim->result->torn_sectors += proc->disk.torn_sectors;
	proc->sim->result->tally.faults[SIM_TALLY_DISK_ERROR][proc->kind] += proc->disk.errors;
	proc->sim->result->tally.faults[SIM_TALLY_DISK_FULL][proc->kind] += proc->disk.refusals;
}

/* ---- Steps */

/* I0: who was thrown out is not heard. */
static void check_allowed(struct sim *sim, const uint8_t *key)
{
	for (size_t i = 1; i < sim->proc_count; i++)
		if (sim->procs[i].revoked && memcmp(sim->procs[i].key, key, PROTO_KEY_BYTES) == 0)
			sim_break(sim, "I0: %s is heard after its key was revoked", sim->procs[i].name);
}

static void give(struct sim_proc *proc, struct msg_received **received)
{
	switch (proc->kind) {
	case SIM_COORDINATOR:
		check_allowed(proc->sim, (*received)->peer_key);
		if ((*received)->msg.type == MSG_SUBMIT || (*received)->msg.type == MSG_REVOKE)
			sim_client_delivered(proc->sim, (*received)->peer_key, (*received)->msg.request_id);
		coordinator_receive(proc->coordinator, received);
		break;
	case SIM_WORKER:
		worker_receive(proc->worker, received);
		break;
	case SIM_NODE:
		node_sync_receive(proc->node, received);
		break;
	}
	if (*received != NULL)
		msg_free(received);
}

static int64_t tick(struct sim_proc *proc)
{
	int64_t ms;
	switch (proc->kind) {
	case SIM_COORDINATOR:
		coordinator_tick(proc->coordinator);
		ms = coordinator_next_ms(proc->coordinator);
		return proc->sim->night ? NIGHT_TICK_US : (ms < 1 ? 1 : ms > 100 ? 100 : ms) * 1000;
	case SIM_WORKER:
		worker_tick(proc->worker);
		return proc->sim->night ? NIGHT_TICK_US : TICK_US;
	case SIM_NODE:
		node_sync_tick(proc->node);
		return proc->sim->night ? NIGHT_TICK_US : TICK_US;
	}
	return TICK_US;
}

static bool ended(struct sim_proc *proc, struct err *e)
{
	if (proc->coordinator != NULL)
		return coordinator_failed(proc->coordinator, e);
	return proc->worker != NULL ? worker_failed(proc->worker, e) : node_sync_failed(proc->node, e);
}

static bool drained(const struct sim_proc *proc)
{
	if (proc->worker != NULL)
		return worker_idle(proc->worker);
	return proc->node == NULL || node_sync_idle(proc->node);
}

static int64_t down_us(struct sim_proc *proc)
{
	return (int64_t)rng_below(&proc->rng, 2000000) + 1000;
}

/* After a step: it may have died in it, failed, or come to its end. */
static void look_after(struct sim_proc *proc)
{
	struct sim *sim = proc->sim;
	struct err e = ERR_INIT;
	int64_t now = sim_now(sim);
	if (proc->disk.dead) {
		sim->result->tally.faults[SIM_TALLY_CRASH_IN_OP][proc->kind]++;
		sim_proc_kill(proc, down_us(proc));
	} else if (ended(proc, &e)) {
		if (!excused(proc, false))
			sim_break(sim, "%s gives up: %s: %s", proc->name, err_name(e.code), e.text);
		sim_trace(sim, 3, (uint64_t)(int64_t)e.code, "%s gives up: %s", proc->name, e.text);
		sim_proc_kill(proc, down_us(proc));
	} else if (proc->stopping && (drained(proc) || now >= proc->stop_us)) {
		sim_trace(sim, 4, 0, "%s ends", proc->name);
		end(proc, false, down_us(proc));
	}
}

static void check_after(struct sim_proc *proc)
{
	if (proc->disk.dead)
		return;
	if (proc->kind == SIM_COORDINATOR)
		sim_check_step(proc->sim);
	else if (proc->kind == SIM_NODE)
		sim_check_node(proc->sim, proc);
}

static bool is_slow(const struct sim_proc *proc)
{
	return sim_now(proc->sim) < proc->slow_until_us;
}

static bool receive_all(struct sim_proc *proc)
{
	struct msg_received *received = NULL;
	int count = 0;
	int most = is_slow(proc) ? SLOW_MESSAGES : STEP_MESSAGES;
	for (; count < most && !proc->disk.dead; count++) {
		proc->core_ns -= core_ns(proc);
		int rc = proc->wire.inner->ops->recv(proc->wire.inner, &received, NULL);
		proc->core_ns += core_ns(proc);
		if (rc != 0)
			break;
		sim_trace(proc->sim, (uint64_t)received->msg.type << 8 | 0x80 | proc->kind, received->msg.request_id,
			  "%s gets %s id=%" PRIu64, proc->name, msg_type_name((int)received->msg.type),
			  received->msg.request_id);
		enter(proc);
		give(proc, &received);
		leave(proc);
		proc->sim->result->messages++;
		proc->received++;
		check_after(proc);
	}
	return count > 0;
}

bool sim_proc_step(struct sim_proc *proc)
{
	struct sim *sim = proc->sim;
	int64_t now = sim_now(sim);
	if (!proc->up && now >= proc->start_us) {
		sim_proc_start(proc);
		return true;
	}
	if (!proc->up || (proc->paused_us != INT64_MAX && now < proc->paused_us))
		return false;
	proc->paused_us = INT64_MAX;
	if (is_slow(proc)) {
		if (now < proc->slow_next_us)
			return false;
		proc->slow_next_us = now + proc->slow_us;
	}
	bool done = proc->disk.dead || receive_all(proc); /* dead: it died while it was told to stop */
	if (proc->pool != NULL && pool_pending(proc->pool) > 0 && proc->engine_us == INT64_MAX)
		proc->engine_us = now + 5000 + (int64_t)rng_below(&proc->rng, proc->kind == SIM_NODE ? 50000 : 500000);
	if (now >= proc->engine_us && !proc->disk.dead) {
		proc->engine_us = INT64_MAX;
		enter(proc);
		pool_poll(proc->pool);
		leave(proc);
		check_after(proc);
		done = true;
	}
	if (now >= proc->tick_us && !proc->disk.dead) {
		enter(proc);
		proc->tick_us = now + tick(proc);
		leave(proc);
		check_after(proc);
		done = true;
	}
	if (done)
		look_after(proc);
	return done;
}

int64_t sim_proc_next(const struct sim_proc *proc)
{
	if (!proc->up)
		return proc->start_us;
	if (proc->paused_us != INT64_MAX)
		return proc->paused_us;
	int64_t next = proc->engine_us < proc->tick_us ? proc->engine_us : proc->tick_us;
	return is_slow(proc) && next < proc->slow_next_us ? proc->slow_next_us : next;
}
