/* node_sync.h: how a node comes to the versions that it serves: greets the coordinator, hears of versions (hints,
 * heartbeats, polls), fetches what it lacks, builds the memory set on a pool thread and then flips the pointer to it.
 * Requests that hold the old set keep it.
 *
 * One version is loaded at a time. A newer one that is published meanwhile waits for it, and those in between are
 * skipped: every load ends, so none starves. A load that fails gives way to the newest. Versions that a request pins
 * are loaded on demand. The last live version is written down (FOLDER/live.json): a node that starts without a
 * coordinator serves what it had.
 *
 * Threads: acquire, want and state_get from any; everything else on the loop thread. */
#ifndef AMEND_DAEMON_NODE_SYNC_H
#define AMEND_DAEMON_NODE_SYNC_H

#include "base/pool.h"
#include "base/sm.h"
#include "daemon/node_relay.h"
#include "editor/memory.h"
#include "proto/transport.h"
#include "store/store.h"
#include "worker/fetch.h"

enum node_sync_state { NODE_SYNC_IDLE, NODE_SYNC_FETCHING, NODE_SYNC_VERIFYING, NODE_SYNC_STAGED, NODE_SYNC_LIVE };
extern const struct sm_table node_sync_states;

struct node_sync_config {
	const char *name, *endpoint, *software,
		*backend;   /* told to the coordinator; endpoint: the public HTTP host:port */
	const char *folder; /* for live.json */
	struct hash base_model;
	struct model_shape shape;
	int64_t poll_ms;
	size_t versions_kept; /* in memory, the live one included */
	size_t wants_max;     /* requests that wait for a version to be loaded */
};

/* A version in memory. `set` is a reference of the holder's. */
struct node_version {
	uint64_t version; /* 0: none was published yet, set is NULL */
	struct hash root, content;
	int64_t published_ms;
	struct editor_memory_set *set;
};
void node_version_release(struct node_version *version);

struct node_sync;

/* The configuration's texts are borrowed. Starts with the version of live.json when there is one. */
int node_sync_new(const struct node_sync_config *config, const struct env *env, struct store *blobs,
		  struct proto_transport *transport, struct pool *pool, struct node_sync **out,
		  struct err *e) MUST_CHECK;
/* After the pool's jobs have ended. Ends waiting wants with ERR_CLOSED. */
void node_sync_destroy(struct node_sync **sync);
/* Before anything is received. A relay that its chunks are asked of before the coordinator (worker_fetch_relay_add; its
 * messages go to relay_receive with the number of those that were added before it); and this node's own, which serves
 * others from its blobs. Both are borrowed. What a version is, and which is the newest, the coordinator alone says. */
int node_sync_relay_add(struct node_sync *sync, struct proto_transport *transport, const char *name,
			int64_t patience_ms, struct err *e) MUST_CHECK;
void node_sync_relay_receive(struct node_sync *sync, size_t relay, const struct msg_received *received);
void node_sync_relay_serve(struct node_sync *sync, struct node_relay *relay);
void node_sync_receive(struct node_sync *sync, struct msg_received **received);
void node_sync_tick(struct node_sync *sync); /* every 20 ms or so */
/* The coordinator refused this node (another base model, key not allowed): the process ends with this text. */
bool node_sync_failed(const struct node_sync *sync, struct err *e);
/* No new loads; ends waiting wants with ERR_CLOSED. Idempotent. */
void node_sync_close(struct node_sync *sync);
bool node_sync_idle(const struct node_sync *sync);                      /* no job of its own is on the pool */
void node_sync_requests_set(struct node_sync *sync, uint64_t requests); /* for NodeStatus */

/* version 0: the live one, else that one; ERR_AGAIN: nothing is known yet (no live version, no word from a
 * coordinator); ERR_NOT_FOUND: not in memory. The caller releases *out. */
int node_sync_acquire(struct node_sync *sync, uint64_t version, struct node_version *out) MUST_CHECK;
/* Loads a version for a request and calls on_end once, on the loop thread: 0 (version is the callee's to release),
 * ERR_NOT_FOUND (no such version), ERR_TIMEOUT (by deadline_us), ERR_CLOSED, or why it could not be loaded. ERR_LIMIT:
 * too many wait; ERR_CLOSED. */
int node_sync_want(struct node_sync *sync, uint64_t version, int64_t deadline_us,
		   void (*on_end)(void *context, int code, struct node_version *version), void *context,
		   struct err *e) MUST_CHECK;

#define NODE_SWAP_BUCKETS 8
extern const double node_swap_bounds[NODE_SWAP_BUCKETS];
struct node_sync_info {
	enum node_sync_state state;
	bool greeted, answered;    /* a coordinator said, in this process's life, what the newest version is */
	uint64_t live, newest;     /* 0: none */
	struct hash root, content; /* of live */
	size_t versions, edits;    /* in memory; of the live version */
	double lag_seconds;        /* since the newest known version was published, while it is not live; else 0 */
	uint64_t swaps, swap_buckets[NODE_SWAP_BUCKETS]; /* load begun → live; not cumulative */
	double swap_seconds_sum;
	uint64_t failures_fetch, failures_build;
	struct worker_fetch_counts fetch;
	bool relays;                    /* chunks are fetched from relays */
	bool serves;                    /* it is a relay ... */
	struct node_relay_counts relay; /* ... and has given so much */
};
void node_sync_info_get(struct node_sync *sync, struct node_sync_info *out);

#endif
