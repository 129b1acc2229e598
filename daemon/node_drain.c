/* node_drain.c: see node_drain.h. */
#include "daemon/node_drain.h"

static const struct sm_state states[] = {
	[NODE_DRAIN_SERVING] = { "serving", SM_TO(NODE_DRAIN_LEAVING) },
	[NODE_DRAIN_LEAVING] = { "leaving", SM_TO(NODE_DRAIN_CLOSED) | SM_TO(NODE_DRAIN_ENDED) },
	[NODE_DRAIN_CLOSED] = { "closed", SM_TO(NODE_DRAIN_ENDED) },
	[NODE_DRAIN_ENDED] = { "ended", 0 },
};
const struct sm_table node_drain_states = { "node-drain", states, sizeof states / sizeof states[0],
					    NODE_DRAIN_SERVING };

void node_drain_init(struct node_drain *drain, int64_t wait_ms, int64_t run_ms)
{
	*drain = (struct node_drain){ .wait_us = wait_ms * 1000, .run_us = run_ms * 1000 };
	sm_init(&drain->sm, &node_drain_states, NULL);
}

void node_drain_signal(struct node_drain *drain, int64_t now_us)
{
	if (drain->sm.state == NODE_DRAIN_SERVING)
		sm_move(&drain->sm, NODE_DRAIN_LEAVING);
	else if (drain->sm.state != NODE_DRAIN_ENDED)
		sm_move(&drain->sm, NODE_DRAIN_ENDED);
	drain->since_us = now_us;
}

enum node_drain_state node_drain_step(struct node_drain *drain, int64_t now_us, size_t pending)
{
	int64_t past_us = now_us - drain->since_us;
	if (drain->sm.state == NODE_DRAIN_LEAVING && past_us >= drain->wait_us) {
		sm_move(&drain->sm, NODE_DRAIN_CLOSED);
		drain->since_us = now_us;
	} else if (drain->sm.state == NODE_DRAIN_CLOSED && (pending == 0 || past_us >= drain->run_us)) {
		sm_move(&drain->sm, NODE_DRAIN_ENDED);
	}
	return (enum node_drain_state)drain->sm.state;
}
