/* light.h: nodes by the thousand: what a node says to a coordinator, without a node. */
#ifndef AMEND_TESTS_SIM_LIGHT_H
#define AMEND_TESTS_SIM_LIGHT_H

#include "tests/sim/sim.h"

struct light_nodes;

struct light_nodes *light_nodes_new(struct sim *sim, size_t count);
void light_nodes_destroy(struct light_nodes **nodes);
void light_nodes_step(struct light_nodes *nodes); /* takes what came, and sends what is due */
size_t light_nodes_greeted(const struct light_nodes *nodes);
size_t light_nodes_at(const struct light_nodes *nodes, uint64_t version); /* that serve it, or a newer one */

#endif
