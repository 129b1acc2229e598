/* sim.c: one seed from its begin to its end. */
#include "tests/sim/sim.h"

#include "base/fault.h"
#include "base/log.h"
#include "tests/sim/engine.h"
#include "tests/sim/fleet.h"

#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FDS_MAX       1024
#define IDLE_STEP_US  1000
#define REST_MS       180000 /* I7: at most so long after the last fault */
#define REST_CHECK_US 200000

int64_t sim_now(const struct sim *sim)
{
	return sim->clock.now_us;
}

uint64_t sim_below(struct sim *sim, uint64_t bound)
{
	return rng_below(&sim->rng, bound);
}

/* The run's folder has another name each time; what breaks has the same words. */
static void folder_hide(struct sim *sim)
{
	size_t len = strlen(sim->folder);
	char *at = len > 0 ? strstr(sim->result->text, sim->folder) : NULL;
	if (at != NULL)
		memmove(at, at + len + 1, strlen(at + len + 1) + 1);
}

void sim_break(struct sim *sim, const char *format, ...)
{
	va_list args;
	if (sim->result->broken || sim->muted)
		return;
	sim->result->broken = true;
	va_start(args, format);
	vsnprintf(sim->result->text, sizeof sim->result->text, format, args);
	va_end(args);
	folder_hide(sim);
	sim_trace(sim, 99, 0, "BROKEN %s", sim->result->text);
}

void sim_trace(struct sim *sim, uint64_t a, uint64_t b, const char *format, ...)
{
	uint64_t numbers[] = { (uint64_t)sim->clock.now_us, a, b };
	va_list args;
	sim->result->digest = hash_short(sim->result->digest, numbers, sizeof numbers);
	if (!sim->options.trace)
		return;
	printf("%10.3f ", (double)sim->clock.now_us / 1000);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

/* ---- Events */

bool sim_happens(struct sim *sim, uint32_t source, uint32_t number)
{
	const struct sim_keep *keep = sim->options.keep;
	struct sim_story *story = sim->options.story;
	bool happens = keep == NULL;
	for (size_t i = 0; !happens && i < keep->count; i++)
		happens = keep->ids[i].source == source && keep->ids[i].number == number;
	if (happens && story != NULL && story->count < SIM_EVENTS_MAX)
		story->events[story->count++] = (struct sim_event){ .id = { source, number }, .at_us = sim_now(sim) };
	return happens;
}

void sim_tell(struct sim *sim, uint32_t source, uint32_t number, const char *format, ...)
{
	struct sim_story *story = sim->options.story;
	struct sim_event_id of = { source, number };
	char id[SIM_EVENT_ID_BYTES], text[SIM_EVENT_TEXT_BYTES];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	sim_event_id_format(&of, id);
	sim_trace(sim, 20, (uint64_t)source << 32 | number, "event %s: %s", id, text);
	for (size_t i = story != NULL ? story->count : 0; i-- > 0;)
		if (story->events[i].id.source == source && story->events[i].id.number == number) {
			memcpy(story->events[i].text, text, sizeof text);
			break;
		}
}

void sim_stream(const struct sim *sim, uint32_t source, uint32_t number, struct rng *out)
{
	rng_init(out, rng_derive(rng_derive(sim->options.seed, 3, source), number, 0));
}

void sim_event_id_format(const struct sim_event_id *id, char out[SIM_EVENT_ID_BYTES])
{
	if (id->source >= SIM_SOURCE_CLIENTS)
		snprintf(out, SIM_EVENT_ID_BYTES, "c%" PRIu32 ".%" PRIu32, id->source - SIM_SOURCE_CLIENTS, id->number);
	else
		snprintf(out, SIM_EVENT_ID_BYTES, "%c%" PRIu32, id->source == SIM_SOURCE_FAULTS ? 'f' : 'm',
			 id->number);
}

bool sim_event_id_parse(const char *text, size_t len, struct sim_event_id *out)
{
	char copy[SIM_EVENT_ID_BYTES], rest;
	uint32_t client;
	if (len >= sizeof copy)
		return false;
	memcpy(copy, text, len);
	copy[len] = '\0';
	if (sscanf(copy, "c%" SCNu32 ".%" SCNu32 "%c", &client, &out->number, &rest) == 2) {
		out->source = SIM_SOURCE_CLIENTS + client;
		return client < SIM_CLIENTS_MAX;
	}
	out->source = copy[0] == 'f' ? SIM_SOURCE_FAULTS : SIM_SOURCE_MERGES;
	return (copy[0] == 'f' || copy[0] == 'm') && sscanf(copy + 1, "%" SCNu32 "%c", &out->number, &rest) == 1;
}

/* ---- Begin */

static void allow_write(struct sim *sim)
{
	char path[SIM_PATH_BYTES + 16];
	struct err e = ERR_INIT;
	int rc = 0;
	snprintf(path, sizeof path, "%s/allow", sim->folder);
	for (size_t i = 1; rc == 0 && !sim->world.fleet && i < sim->proc_count; i++)
		rc = proto_allow_add(path, sim->procs[i].key,
				     sim->procs[i].kind == SIM_WORKER ? PROTO_ROLE_WORKER : PROTO_ROLE_READER,
				     sim->procs[i].name, &e);
	for (size_t i = 0; rc == 0 && i < sim->world.clients; i++)
		rc = proto_allow_add(path, sim->clients[i].key, PROTO_ROLE_SUBMITTER | PROTO_ROLE_ADMIN,
				     sim->clients[i].name, &e);
	if (rc == 0 && sim->world.approve)
		rc = proto_allow_add(path, sim->approver.key, PROTO_ROLE_ADMIN, "approver", &e);
	if (rc == 0)
		rc = proto_allow_load(path, &sim->allow, &e);
	if (rc != 0)
		sim_break(sim, "%s", e.text);
}

void sim_begin(struct sim *sim)
{
	struct err e = ERR_INIT;
	snprintf(sim->folder, sizeof sim->folder, "%.180s/seed-%" PRIu64, sim->options.folder, sim->options.seed);
	snprintf(sim->corpus, sizeof sim->corpus, "%.220s/corpus", sim->folder);
	if (mkdir(sim->folder, 0700) != 0) {
		perror(sim->folder);
		abort();
	}
	rng_init(&sim->rng, rng_derive(sim->options.seed, 0, 0));
	env_manual_init(&sim->clock, sim->options.seed);
	sim_world_draw(sim);
	sim_engine_padding_set(sim->world.padding);
	if (proto_mem_new(&sim->clock.env, sim->options.seed, &sim->mem, &e) != 0)
		abort();
	sim->procs = calloc(1 + sim->world.workers + sim->world.nodes, sizeof *sim->procs);
	if (sim->procs == NULL)
		abort();
	sim_proc_init(sim, SIM_COORDINATOR, 0);
	for (size_t i = 0; i < sim->world.workers; i++)
		sim_proc_init(sim, SIM_WORKER, i);
	for (size_t i = 0; i < sim->world.nodes; i++)
		sim_proc_init(sim, SIM_NODE, i);
	for (size_t i = 0; i < sim->world.clients; i++)
		sim_client_init(sim, i);
	if (!sim_approver_init(sim))
		abort();
	allow_write(sim);
	sim_check_init(sim);
	if (file_write_atomic(sim->corpus, "corpus\n", 7, 0600, &e) != 0)
		abort();
	if (!sim->world.fleet)
		sim_faults_begin(sim);
}

/* ---- Time */

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t next_of(const struct sim *sim)
{
	int64_t next = least(sim_faults_next(sim), proto_mem_next_due(sim->mem));
	for (size_t i = 0; i < sim->proc_count; i++)
		next = least(next, sim_proc_next(&sim->procs[i]));
	for (size_t i = 0; i < sim->world.clients; i++)
		if (!sim->calm || !sim_client_idle(&sim->clients[i]))
			next = least(next, sim_client_next(sim, &sim->clients[i]));
	return least(next, sim->approver.act_us);
}

static bool step(struct sim *sim)
{
	bool done = false;
	sim_faults_step(sim);
	for (size_t i = 0; i < sim->proc_count && !sim->result->broken; i++)
		done |= sim_proc_step(&sim->procs[i]);
	for (size_t i = 0; i < sim->world.clients && !sim->result->broken; i++)
		done |= sim_client_step(sim, &sim->clients[i]);
	return (!sim->result->broken && sim_approver_step(sim)) || done;
}

static void run(struct sim *sim)
{
	char why[SIM_TEXT_BYTES] = "";
	int64_t rest_us = 0;
	uint64_t events = 0;
	bool rested = false;
	while (!sim->result->broken) {
		int64_t now = sim_now(sim), next = next_of(sim);
		if (!step(sim) || next > now) /* what waits for one that is stopped is no work now */
			env_manual_advance(&sim->clock, next > now && next < INT64_MAX ? next - now : IDLE_STEP_US);
		if (!sim->calm || now < rest_us)
			continue;
		rest_us = now + REST_CHECK_US;
		sim->result->settle_ms = (now - sim->calm_us) / 1000;
		if (sim_check_rest(sim, why, sizeof why)) {
			if (rested && events == sim->result->events)
				break; /* twice: what an event leads to by the next tick is part of it */
			rested = true;
			events = sim->result->events;
			continue;
		}
		rested = false;
		if (sim->result->settle_ms > REST_MS)
			sim_break(sim, "I7: %d s after the last fault %s", REST_MS / 1000, why);
	}
}

/* ---- End */

static int remove_one(const char *path, const struct stat *s, int type, struct FTW *at)
{
	(void)s, (void)type, (void)at;
	return remove(path);
}

void sim_remove(const char *folder)
{
	if (nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0)
		perror(folder);
}

void sim_end(struct sim *sim)
{
	struct proto_mem_counts counts;
	if (!sim->result->broken)
		sim_check_end(sim);
	sim->result->simulated_ms = sim_now(sim) / 1000;
	sim->result->requests = sim->request_count;
	proto_mem_counts_get(sim->mem, &counts);
	sim->result->tally.faults[SIM_TALLY_LOST][0] = counts.lost;
	sim->result->tally.faults[SIM_TALLY_DOUBLED][0] = counts.doubled;
	sim->result->tally.faults[SIM_TALLY_REORDERED][0] = counts.reordered;
	sim->result->tally.faults[SIM_TALLY_CUT][0] = counts.cut;
	for (size_t i = 0; i < sim->proc_count; i++)
		sim_proc_fini(&sim->procs[i]);
	free(sim->procs);
	sim_clients_fini(sim);
	sim_approver_fini(sim);
	sim_check_fini(sim);
	buf_free(&sim->rotted);
	buf_free(&sim->backups);
	buf_free(&sim->lost_contents);
	sim_merge_fini(sim);
	proto_mem_destroy(&sim->mem);
	proto_allow_destroy(&sim->allow);
	fault_disarm_all();
	sim_remove(sim->folder);
}

static size_t open_fds(void)
{
	size_t count = 0;
	for (int fd = 0; fd < FDS_MAX; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

void sim_run(const struct sim_options *options, struct sim_result *result)
{
	struct sim *sim = calloc(1, sizeof *sim);
	size_t fds = open_fds();
	if (sim == NULL)
		abort();
	memset(result, 0, sizeof *result);
	result->digest = HASH_SHORT_INIT;
	sim->options = *options;
	sim->result = result;
	sim_planted = options->plant;
	sim_engine_spoilt = false;
	log_level_set(options->trace ? LOG_INFO : LOG_OFF);
	sim_begin(sim);
	if (options->trace) {
		char world[SIM_TEXT_BYTES];
		sim_world_print(sim, world, sizeof world);
		printf("seed %" PRIu64 ": %s\n", options->seed, world);
		log_fd_set(STDOUT_FILENO);
		setvbuf(stdout, NULL, _IOLBF, 0);
	}
	run(sim);
	sim_end(sim);
	if (open_fds() != fds)
		sim_break(sim, "I6: %zu files are open that were not before", open_fds() - fds);
	free(sim);
}
