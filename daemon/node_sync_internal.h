/* node_sync_internal.h: between node_sync.c (words with the coordinator), node_versions.c (versions in memory) and
 * node_load.c (one version's way into memory). */
#ifndef AMEND_DAEMON_NODE_SYNC_INTERNAL_H
#define AMEND_DAEMON_NODE_SYNC_INTERNAL_H

#include "base/env.h"
#include "daemon/node_sync.h"
#include "daemon/version_set.h"
#include "worker/upload.h"

#include <pthread.h>

#define NODE_SYNC__VERSIONS_MAX  65 /* node.versions_kept, and one on its way in */
#define NODE_SYNC__CLUSTER_BYTES 128
#define NODE_SYNC__ASK_AGAIN_US  INT64_C(2000000) /* a question without an answer is repeated, under the same id */

enum node_load_phase {
	NODE_LOAD_NONE,
	NODE_LOAD_MANIFEST, /* its blob is fetched */
	NODE_LOAD_READ,     /* pool: read, list the blobs */
	NODE_LOAD_BLOBS,    /* fetched */
	NODE_LOAD_BUILD,    /* pool: verify, build the set */
	NODE_LOAD_INSPECT,  /* pool: something was corrupt: which chunks? */
	NODE_LOAD_HEAL,     /* those are fetched again */
};

struct node_load {
	struct pool_job job; /* first */
	struct node_sync *sync;
	enum node_load_phase phase, failed_phase;
	struct node_version version; /* set: what was built */
	bool pinned;                 /* for requests that name it; does not become live */
	bool healed;                 /* once a load */
	uint64_t generation;         /* of the sync when it began */
	int64_t began_us;
	struct arena *arena;
	struct proto_manifest manifest; /* in arena */
	struct buf roots;               /* struct hash */
	size_t roots_fetched;
	struct buf damaged; /* struct hash */
	size_t damaged_asked, damaged_left;
	int64_t heal_us; /* last asked */
	char cluster[NODE_SYNC__CLUSTER_BYTES];
	int code;
	struct err error;
};

struct node_sync__entry {
	struct node_version version;
	uint64_t used;
};

struct node_sync__want {
	uint64_t version;
	int64_t deadline_us;
	void (*on_end)(void *context, int code, struct node_version *version);
	void *context;
};

struct node_sync {
	struct node_sync_config config;
	const struct env *env;
	struct store *blobs;
	struct proto_transport *transport;
	struct pool *pool;
	struct worker_fetch *fetch;
	struct worker_upload *upload; /* only answers what the coordinator asks for */
	struct node_relay *relay;     /* of this node; NULL: it is none */
	struct sm sm;
	/* the loop thread's */
	uint64_t boot, request_id;
	bool failed;
	struct err error;
	int64_t hello_us, heard_us, heartbeat_us, poll_us, retry_us;
	uint32_t heartbeat_ms, lease_ms;
	uint64_t heard_version; /* by hints and heartbeats: asks for more */
	uint64_t poll_request;  /* id of the poll that waits for its answer; 0: none does */
	uint64_t behind;        /* the newest version by the last answer, where that is older than the live one; else
				   UINT64_MAX */
	uint64_t pin_version, pin_request; /* of the question that waits for its answer; 0: none does */
	int64_t pin_us;
	struct node_version pin_found; /* waits for its turn to be loaded */
	unsigned failures;             /* loads of `newest` that failed in a row */
	uint64_t failed_version;       /* of the last of them; 0: none since one went live */
	struct err failed_reason;
	bool pin_last; /* the last load was for a pin */
	char cluster[NODE_SYNC__CLUSTER_BYTES];
	uint64_t generation; /* grows when the cluster changes */
	uint64_t requests;
	struct node_load load;
	/* under the lock; written by the loop thread, but for wants and used */
	pthread_mutex_t lock;
	struct node_sync__entry entries[NODE_SYNC__VERSIONS_MAX];
	size_t entry_count;
	uint64_t clock;
	struct node_version live, newest; /* without sets: the entries hold them */
	bool greeted, answered, closed;
	int state;                     /* of sm, for info */
	struct node_sync__want *wants; /* wants_max */
	size_t want_count;
	struct node_sync_info info; /* the counters of it */
};

/* node_sync.c */
void node_sync__send(struct node_sync *sync, struct msg *msg);
void node_sync__state(struct node_sync *sync, int state); /* moves, and tells the coordinator */
/* The load's set becomes a version in memory, live unless pinned; its wants end. Takes version->set. */
void node_sync__loaded(struct node_sync *sync, struct node_load *load);
/* Nothing came of it. Its wants end with the code. */
void node_sync__load_failed(struct node_sync *sync, struct node_load *load);

/* node_versions.c. Under the lock: entry_find, entry_put. */
struct node_sync__entry *node_sync__entry_find(struct node_sync *sync, uint64_t version);
struct editor_memory_set *node_sync__entry_put(struct node_sync *sync, const struct node_version *version);
struct node_version
node_sync__version_held(const struct node_version *version); /* a copy with a reference of its own */
void node_sync__wants_end(struct node_sync *sync, uint64_t version, int code, const struct node_version *loaded);
void node_sync__wants_expire(struct node_sync *sync, bool all); /* all: the node is stopping */
void node_sync__load_next(struct node_sync *sync);              /* the newest version and pinned ones take turns */

/* node_load.c. The load is idle before start and after its end (node_sync__loaded or node_sync__load_failed). */
void node_load__start(struct node_load *load, const struct node_version *version, bool pinned);
void node_load__tick(struct node_load *load);
bool node_load__receive(struct node_load *load, const struct msg *msg); /* true: it was for a chunk being healed */
bool node_load__on_pool(const struct node_load *load);
void node_load__fini(struct node_load *load);
/* live.json */
int node_load__live_read(const char *folder, struct node_version *version, char cluster[NODE_SYNC__CLUSTER_BYTES],
			 struct err *e) MUST_CHECK;

#endif
