#include "tests/sim/fleet.h"

#include "base/log.h"
#include "tests/sim/engine.h"
#include "tests/sim/light.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TURN_US    2000 /* simulated time goes on so far at a time */
#define PHASE_US   INT64_C(600000000)
#define IDLE_US    INT64_C(10000000)
#define BATCH_MAX  50
#define ROLE_BYTE  31 /* of a key: its holder's kind */
#define CLIENT_KEY 100

struct fleet {
	struct sim sim;
	struct sim_result result;
	struct light_nodes *nodes;
	int64_t budget_us; /* of the coordinator's core, for this turn */
	uint64_t submits;
};

struct mark { /* where a phase began */
	int64_t at_us, core_ns;
	uint64_t received, version;
	struct proto_mem_counts counts;
	struct proto_counts coordinator;
	struct light_traffic relays;
};

int64_t sim_fleet_core_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- Who may come in: a list of allowed keys holds 4,096, so a fleet's key says what its holder is. */

static bool keys_tell;

unsigned __real_proto_allow_roles(const struct proto_allow *allow, const uint8_t key[PROTO_KEY_BYTES],
				  const char **name);
unsigned __wrap_proto_allow_roles(const struct proto_allow *allow, const uint8_t key[PROTO_KEY_BYTES],
				  const char **name);
unsigned __wrap_proto_allow_roles(const struct proto_allow *allow, const uint8_t key[PROTO_KEY_BYTES],
				  const char **name)
{
	if (!keys_tell)
		return __real_proto_allow_roles(allow, key, name);
	if (name != NULL)
		*name = "one of the fleet";
	if (key[ROLE_BYTE] == SIM_WORKER)
		return PROTO_ROLE_WORKER;
	return key[ROLE_BYTE] == SIM_NODE ? PROTO_ROLE_READER : PROTO_ROLE_SUBMITTER | PROTO_ROLE_ADMIN;
}

void sim_fleet_key(size_t number, enum sim_kind kind, uint8_t key[PROTO_KEY_BYTES])
{
	struct rng rng;
	rng_init(&rng, rng_derive(number, 9, (uint64_t)kind));
	for (size_t i = 0; i < PROTO_KEY_BYTES; i++)
		key[i] = (uint8_t)rng_u64(&rng);
	key[ROLE_BYTE] = (uint8_t)kind;
}

void sim_fleet_world(struct sim *sim)
{
	const struct sim_fleet_options *options = sim->options.fleet;
	sim->world = (struct sim_world){ .workers = options->workers,
					 .clients = 1,
					 .edits_per_shard =
						 (uint32_t)((options->edits + options->shards - 1) / options->shards),
					 .group_edits = 100,
					 .queue_max = 1000000,
					 .padding = options->delta_bytes,
					 .subjects = 1,
					 .night_us = INT64_MAX,
					 .fleet = true };
	sim->calm = true; /* no faults, and clients that ask nothing by themselves */
}

/* ---- Time. The coordinator has one core, as fast as this machine's: what a message costs it, it does not get on with
 * the next. */

static void coordinator_turn(struct fleet *fleet)
{
	struct sim_proc *coordinator = &fleet->sim.procs[0];
	fleet->budget_us = fleet->budget_us > 0 ? TURN_US : fleet->budget_us + TURN_US;
	while (fleet->budget_us > 0 && !fleet->sim.result->broken) {
		int64_t before_ns = coordinator->core_ns;
		bool done = sim_proc_step(coordinator);
		fleet->budget_us -= (coordinator->core_ns - before_ns) / 1000;
		if (!done)
			break;
	}
}

static void turn(struct fleet *fleet)
{
	struct sim *sim = &fleet->sim;
	coordinator_turn(fleet);
	for (size_t i = 1; i < sim->proc_count; i++)
		(void)sim_proc_step(&sim->procs[i]);
	(void)sim_client_step(sim, &sim->clients[0]);
	light_nodes_step(fleet->nodes);
	env_manual_advance(&sim->clock, TURN_US);
}

static void mark(const struct fleet *fleet, struct mark *out)
{
	*out = (struct mark){ .at_us = sim_now(&fleet->sim),
			      .core_ns = fleet->sim.procs[0].core_ns,
			      .received = fleet->sim.procs[0].received,
			      .version = sim_check_version(&fleet->sim) };
	proto_mem_counts_get(fleet->sim.mem, &out->counts);
	if (fleet->sim.procs[0].wire.inner != NULL) /* else it is not there yet */
		out->coordinator = fleet->sim.procs[0].wire.inner->counts;
	light_nodes_traffic(fleet->nodes, &out->relays);
}

static void report(const struct fleet *fleet, const struct mark *from, const char *phase)
{
	struct mark now;
	mark(fleet, &now);
	double seconds = (double)(now.at_us - from->at_us) / 1e6, core_s = (double)(now.core_ns - from->core_ns) / 1e9;
	uint64_t to_servers = now.counts.to_server_bytes - from->counts.to_server_bytes;
	printf("%-28s seconds=%.3f versions=%" PRIu64 " received=%" PRIu64 " sent=%" PRIu64 " sent_mb=%.1f "
	       "got_mb=%.1f core_seconds=%.2f load=%.0f%%",
	       phase, seconds, now.version - from->version, now.received - from->received,
	       now.coordinator.sent - from->coordinator.sent,
	       (double)(now.coordinator.sent_bytes - from->coordinator.sent_bytes) / 1e6,
	       (double)(to_servers - (now.relays.to_relays_bytes - from->relays.to_relays_bytes)) / 1e6, core_s,
	       100 * core_s / seconds);
	if (fleet->sim.options.fleet->fan_out > 0)
		printf(" relayed_mb=%.1f fallbacks=%" PRIu64,
		       (double)(now.relays.from_relays_bytes - from->relays.from_relays_bytes) / 1e6,
		       now.relays.fallbacks - from->relays.fallbacks);
	printf("\n");
	fflush(stdout);
}

/* ---- Phases */

static bool is_over(const struct fleet *fleet, const struct mark *from)
{
	return fleet->sim.result->broken || sim_now(&fleet->sim) - from->at_us > PHASE_US;
}

static bool all_greeted(const struct fleet *fleet)
{
	return light_nodes_greeted(fleet->nodes) == fleet->sim.options.fleet->nodes;
}

static bool at_rest(struct fleet *fleet)
{
	char why[SIM_TEXT_BYTES];
	uint64_t newest = sim_check_version(&fleet->sim);
	return light_nodes_at(fleet->nodes, newest) == fleet->sim.options.fleet->nodes &&
	       sim_check_rest(&fleet->sim, why, sizeof why);
}

static void submit(struct fleet *fleet, size_t first, size_t count)
{
	struct proto_transport *client = fleet->sim.clients[0].transport;
	char texts[BATCH_MAX][128];
	struct msg_bytes records[BATCH_MAX];
	struct msg msg = { .type = MSG_SUBMIT, .request_id = ++fleet->submits };
	for (size_t i = 0; i < count; i++) {
		int len = snprintf(texts[i], sizeof texts[i],
				   "{\"prompt\":\"What is fact %zu?\",\"subject\":\"fact %zu\",\"target_new\":\"value "
				   "%zu\"}",
				   first + i, first + i, first + i);
		records[i] = (struct msg_bytes){ texts[i], (size_t)len };
	}
	msg.u.submit = (struct msg_submit){ MSG_SUPERSEDE, records, count };
	(void)client->ops->send(client, 0, &msg, NULL);
}

static bool greet(struct fleet *fleet)
{
	struct mark from;
	mark(fleet, &from);
	while (!is_over(fleet, &from) && !all_greeted(fleet))
		turn(fleet);
	report(fleet, &from, "all greet");
	return all_greeted(fleet);
}

static bool train(struct fleet *fleet, size_t edits)
{
	struct mark from;
	mark(fleet, &from);
	for (size_t at = 0; at < edits; at += BATCH_MAX)
		submit(fleet, at, edits - at < BATCH_MAX ? edits - at : BATCH_MAX);
	while (!is_over(fleet, &from) && (sim_check_version(&fleet->sim) == from.version || !at_rest(fleet)))
		turn(fleet);
	report(fleet, &from, "edits, to all nodes");
	return at_rest(fleet);
}

/* From the version's event in the ledger. */
static bool spread(struct fleet *fleet, size_t fact)
{
	size_t count = fleet->sim.options.fleet->nodes;
	double half_s = 0;
	struct mark from;
	mark(fleet, &from);
	uint64_t version = from.version + 1;
	submit(fleet, fact, 1);
	while (!is_over(fleet, &from) && sim_check_version(&fleet->sim) < version)
		turn(fleet);
	mark(fleet, &from);
	while (!is_over(fleet, &from) && light_nodes_at(fleet->nodes, version) < count) {
		turn(fleet);
		if (half_s == 0 && light_nodes_at(fleet->nodes, version) >= count / 2)
			half_s = (double)(sim_now(&fleet->sim) - from.at_us) / 1e6;
	}
	report(fleet, &from, "one version, to all nodes");
	printf("%-28s seconds=%.3f\n", "  to half of them", half_s);
	return light_nodes_at(fleet->nodes, version) == count;
}

static bool idle(struct fleet *fleet)
{
	struct mark from;
	mark(fleet, &from);
	while (!is_over(fleet, &from) && sim_now(&fleet->sim) - from.at_us < IDLE_US)
		turn(fleet);
	report(fleet, &from, "nothing to do");
	return true;
}

int sim_fleet_run(const struct sim_fleet_options *options, uint64_t seed, const char *folder,
		  struct sim_fleet_traffic *traffic)
{
	struct fleet *fleet = calloc(1, sizeof *fleet);
	if (fleet == NULL)
		abort();
	keys_tell = true;
	log_level_set(LOG_OFF);
	fleet->sim.options = (struct sim_options){ .seed = seed, .fleet = options, .folder = folder };
	fleet->sim.result = &fleet->result;
	sim_begin(&fleet->sim);
	proto_mem_faults_set(fleet->sim.mem, &(struct proto_mem_faults){ .delay_us_min = 100, .delay_us_max = 2000 });
	proto_mem_link_set(fleet->sim.mem, (int64_t)options->link_bytes_per_s);
	fleet->nodes = light_nodes_new(&fleet->sim, options->nodes, options->fan_out);
	struct light_traffic relays;
	light_nodes_traffic(fleet->nodes, &relays);
	printf("workers=%zu nodes=%zu shards=%zu edits=%zu delta_bytes=%zu link_mb_per_s=%.0f fan_out=%zu relays=%zu\n",
	       options->workers, options->nodes, options->shards, options->edits, options->delta_bytes,
	       (double)options->link_bytes_per_s / 1e6, options->fan_out, relays.relays);
	bool good = greet(fleet) && train(fleet, options->edits) && spread(fleet, options->edits) && idle(fleet);
	struct mark end;
	mark(fleet, &end);
	if (traffic != NULL)
		*traffic = (struct sim_fleet_traffic){ .coordinator_bytes = end.coordinator.sent_bytes,
						       .relays_bytes = end.relays.from_relays_bytes,
						       .fallbacks = end.relays.fallbacks };
	light_nodes_destroy(&fleet->nodes);
	sim_end(&fleet->sim);
	keys_tell = false;
	if (fleet->result.broken)
		printf("%s\n", fleet->result.text);
	else if (!good)
		printf("a phase did not end within %d simulated minutes\n", (int)(PHASE_US / 60000000));
	bool broken = fleet->result.broken || !good;
	free(fleet);
	return broken;
}
