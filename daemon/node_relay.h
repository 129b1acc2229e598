/* node_relay.h: a node that gives the chunks of its store to other nodes, so that these need not all fetch them from
 * the coordinator. It answers Need and nothing else: bytes that match the hash by which they are asked for. What it has
 * not yet of a version newer than its own it says (Missing), and sends when it comes; what it does not have of others
 * it refuses (ERR_NOT_FOUND).
 *
 * Whom it lets in the coordinator tells it: the keys with the role reader. Heartbeats say when these have changed.
 * Before it has heard them, and when it has not heard the coordinator for RELAY_TRUST_MS, it lets in nobody.
 *
 * One thread. */
#ifndef AMEND_DAEMON_NODE_RELAY_H
#define AMEND_DAEMON_NODE_RELAY_H

#include "proto/transport.h"
#include "store/store.h"

#define RELAY_TRUST_MS 60000

struct node_relay;

struct node_relay_config {
	struct proto_transport *children;    /* the server end */
	struct proto_transport *coordinator; /* that the keys are asked of */
	/* Has the server end keep to the list; takes it when it returns 0. */
	int (*allow_set)(void *context, struct proto_allow **list, struct err *e);
	void *allow_context;
};
struct node_relay_counts {      /* since it was made */
	uint64_t chunks, bytes; /* given */
	size_t owed;            /* chunks, now */
	size_t keys;            /* that are let in, now */
};

/* Everything is borrowed. */
int node_relay_new(const struct node_relay_config *config, const struct env *env, struct store *blobs,
		   struct node_relay **out, struct err *e) MUST_CHECK;
void node_relay_destroy(struct node_relay **relay);
void node_relay_receive(struct node_relay *relay, const struct msg_received *received); /* of a child */
/* Of the coordinator: true when it was of its keys. */
bool node_relay_answer(struct node_relay *relay, const struct msg *msg);
/* The version that this node serves, whose chunks it has; how many chunks have come: those that are owed are looked for
 * when it has changed. */
void node_relay_tick(struct node_relay *relay, uint64_t version, uint32_t arrived);
void node_relay_counts_get(const struct node_relay *relay, struct node_relay_counts *out);

#endif
