/* node_drain.h: how a node leaves. It first only says so (/ready) and serves on, until those who send it requests have
 * heard; then it takes nothing new and waits for what runs. Pure; one thread. */
#ifndef AMEND_DAEMON_NODE_DRAIN_H
#define AMEND_DAEMON_NODE_DRAIN_H

#include "base/sm.h"

enum node_drain_state {
	NODE_DRAIN_SERVING,
	NODE_DRAIN_LEAVING, /* not ready, serves */
	NODE_DRAIN_CLOSED,  /* nothing new */
	NODE_DRAIN_ENDED,
};
extern const struct sm_table node_drain_states;

struct node_drain {
	struct sm sm;
	int64_t wait_us, run_us, since_us;
};

void node_drain_init(struct node_drain *drain, int64_t wait_ms, int64_t run_ms);
/* A signal to end: the first begins, the second ends at once. */
void node_drain_signal(struct node_drain *drain, int64_t now_us);
/* The state at this time; `pending` requests have no answer yet. At most one move a call. */
enum node_drain_state node_drain_step(struct node_drain *drain, int64_t now_us, size_t pending);

#endif
