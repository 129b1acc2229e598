/* fleet.h: one coordinator with a thousand workers and ten thousand nodes: how long until all nodes have a version,
 * what goes over its link, and what the coordinator has to do. The harness of the seeds, without faults: coordinator
 * and workers are the product's, on their own stores, and the checker follows the ledger. Nodes are light (fleet.c):
 * the product's messages, in the product's order, but no store, no memories and no loading. */
#ifndef AMEND_TESTS_SIM_FLEET_H
#define AMEND_TESTS_SIM_FLEET_H

#include "tests/sim/sim.h"

struct sim_fleet_options {
	size_t workers, nodes;
	size_t shards, edits;    /* that are trained before it is measured */
	size_t delta_bytes;      /* of a shard */
	size_t link_bytes_per_s; /* of the coordinator, and of each relay; 0: no limit */
	size_t fan_out;          /* nodes that pull from one relay; 0: all pull from the coordinator */
};

struct sim_fleet_traffic {                        /* of the whole run */
	uint64_t coordinator_bytes, relays_bytes; /* sent */
	uint64_t fallbacks;                       /* chunks that were asked of the coordinator, as no relay gave them */
};
/* Prints a line a phase. 0; 1: an invariant was broken, or a phase did not end. traffic: may be NULL. */
int sim_fleet_run(const struct sim_fleet_options *options, uint64_t seed, const char *folder,
		  struct sim_fleet_traffic *traffic);

/* ---- Inside */
void sim_fleet_world(struct sim *sim);
void sim_fleet_key(size_t number, enum sim_kind kind, uint8_t key[PROTO_KEY_BYTES]);
int64_t sim_fleet_core_ns(void); /* of this thread */

#endif
