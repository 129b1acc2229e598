/* light.h: nodes by the thousand: what a node says to a coordinator, and to relays, without a node. */
#ifndef AMEND_TESTS_SIM_LIGHT_H
#define AMEND_TESTS_SIM_LIGHT_H

#include "tests/sim/sim.h"

struct light_nodes;

/* fan_out: node i pulls from node i / fan_out − 1, the first ones from the coordinator; 0: all do. */
struct light_nodes *light_nodes_new(struct sim *sim, size_t count, size_t fan_out);
void light_nodes_destroy(struct light_nodes **nodes);
void light_nodes_step(struct light_nodes *nodes); /* takes what came, and sends what is due */
size_t light_nodes_greeted(const struct light_nodes *nodes);
struct light_traffic {
	uint64_t to_relays_bytes, from_relays_bytes; /* sent, since they were made */
	uint64_t fallbacks; /* chunks that were asked of the coordinator, as no relay gave them */
	size_t relays;
};
void light_nodes_traffic(const struct light_nodes *nodes, struct light_traffic *out);
size_t light_nodes_at(const struct light_nodes *nodes, uint64_t version); /* that serve it, or a newer one */

#endif
