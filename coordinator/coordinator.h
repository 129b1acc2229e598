/* coordinator.h: accepts edits, owns the ledger and the versions, places edits on shards, leases shards to workers,
 * plans merges and publishes. A state machine without tensors: messages in (coordinator_receive), time in
 * (coordinator_tick), messages out through the transport table. One thread (the loop's). After a crash, coordinator_new
 * on the same store goes on where the ledger ends. */
#ifndef AMEND_COORDINATOR_COORDINATOR_H
#define AMEND_COORDINATOR_COORDINATOR_H

#include "base/merge_plan.h"
#include "proto/transport.h"
#include "store/store.h"

struct coordinator;

struct coordinator_config {
	uint32_t peers_max;                        /* workers and nodes, 16384 */
	uint32_t edits_per_shard;                  /* 100 */
	uint32_t group_edits_max;                  /* edits of one training group, 100 */
	uint32_t commit_edits_max, commit_wait_ms; /* group commit: 100 edits (or one Submit, if it has more) or 5 ms */
	uint32_t heartbeat_ms, lease_ms;           /* 1000, 8000 */
	uint32_t progress_ms_max; /* a lease with edits to train ends after this time without any advance; 0: never */
	uint32_t edit_tries_max;  /* 3, then dead-lettered */
	uint32_t queue_edits_max; /* accepted and not trained: beyond it Submit is answered ERR_AGAIN with
				     retry_after_ms, and submitters that come back are taken in turn; one of more is
				     answered ERR_LIMIT; 0: no limit */
	uint32_t merge_every_edits, merge_interval_ms; /* 0: only by MergeRun */
	uint32_t merge_ranks, merge_deadline_ms, merge_tries_max;
	uint32_t merge_loss_points; /* 2: merged more than this many points below its inputs is not served by default */
	uint32_t store_threads;     /* 1; 0: copies of the store are made by the tick that begins them, and what a
				       thread checks by the loop's (tests) */
	uint64_t keep_versions;     /* once an hour the blobs of all but the newest so many are given back; 0: never */
	uint64_t scrub_bytes_per_s; /* chunks are read again at this pace, to find what the disk changed; 0: never */
	uint32_t retrain_ms; /* a memory of which nobody gave a chunk for so long since it was lost is trained again
				from the ledger; 0: never */
	uint64_t space_reserve_bytes; /* refuse writes below this much free disk */
	uint64_t seed;
	/* Edited layer; UINT32_MAX: the store's, and with the first worker 25 of 30 (family `paper`: 24), in
	 * proportion to its model. A store of another one is refused. */
	uint32_t layer;
	double rate;                        /* of a shard's breadth-first pass; 0: the workers' default */
	const char *data_folder;            /* holds the store's folder and merge/<id>/ */
	const char *cluster_id;             /* "" : made at first start */
	const char *family, *tensor_format; /* "amend" or "paper", "blk.%u.ffn_down.weight" */
	struct msg_bytes settings;          /* of family `paper`: handed to workers as they are; copied */
	struct hash calibration; /* of the file that workers must be started with; zero: any, but all the same */
	bool canaries;           /* a version with new memories waits until a worker has asked it the canaries ... */
	uint32_t canary_changes; /* ... and is refused when more than these answer otherwise than the base model */
	bool approve;            /* a version with new edits waits until a second administrator's key has approved it */
	bool replay;             /* family `paper`: a new shard is given edits of earlier memories (L_memo) */
	enum merge_operator merge_operator; /* and, for those that take finished deltas: */
	double merge_density;               /* 0: the default */
	bool merge_trim_nonzero;
	const uint8_t *key; /* own public key: actor of its own events */
	/* The file of allowed keys, which administrators change by KeyChange; NULL: none, and they cannot. `allow_set`
	 * has the transport keep to a new list: on success it takes it over and keeps it until the next one, or the
	 * coordinator's end. */
	const char *allow_file;
	int (*allow_set)(void *context, struct proto_allow **list, struct err *e);
	void *allow_context;
};

/* How a merge job is run; the real row forks mpirun (merge_job.c), tests bring their own. */
struct coordinator_merge_job {
	void *context;
	/* Starts the job for a plan file; output file to write; must be killed as a whole by `kill`. Kills first what
	 * an earlier process's attempt in the same run folder has left behind. */
	int (*start)(void *context, const char *plan_path, const char *output_path, uint32_t ranks, struct err *e);
	/* ERR_AGAIN while running (progress in [0, 1] in *progress); 0 ended (whatever its exit code: the output file
	 * decides). */
	int (*poll)(void *context, double *progress, struct err *e);
	void (*kill)(void *context); /* SIGKILL of the whole tree, reaps; idempotent */
};
/* The real row. `program` is started as
 *   mpirun … -np RANKS PROGRAM --plan PLAN --output OUTPUT --model MODEL --threads N
 * with its run folder (the plan's) as working folder; lines "progress DONE TOTAL" on stderr are its progress, the rest
 * is kept in job.log. */
struct coordinator_merge_options {
	const char *program; /* amend-merge */
	const char *model;   /* base model file for the ranks */
	uint32_t threads_per_rank;
	bool isolate; /* own pid, net and mount namespaces (unshare) where the system allows it; logs MERGE-NOT-ISOLATED
			 where not */
};
int coordinator_merge_job_new(const struct coordinator_merge_options *options, struct coordinator_merge_job *out,
			      struct err *e) MUST_CHECK;
void coordinator_merge_job_fini(struct coordinator_merge_job *job);

/* Borrowed: env, store, transport, merge_job. */
int coordinator_new(const struct coordinator_config *config, const struct env *env, struct store *store,
		    struct proto_transport *transport, struct coordinator_merge_job *merge_job,
		    struct coordinator **out, struct err *e) MUST_CHECK;
void coordinator_destroy(struct coordinator **coordinator);
/* Handles one message (may take ownership by nulling). Errors that must stop the process (ledger broken) set
 * coordinator_failed. */
void coordinator_receive(struct coordinator *coordinator, struct msg_received **received);
/* To be called at least every 5 ms while edits wait for their commit (coordinator_next_ms tells), else every 100 ms. */
void coordinator_tick(struct coordinator *coordinator);
int64_t coordinator_next_ms(const struct coordinator *coordinator); /* until the next tick is due */
bool coordinator_failed(const struct coordinator *coordinator, struct err *e);
/* An administrator asked for the end (MSG_SHUTDOWN): coordinator_close was called; the process should end its loop. */
bool coordinator_shutdown(const struct coordinator *coordinator);
/* Stops taking new work: Submit is answered ERR_AGAIN; kills a running merge (planned again after restart). Idempotent.
 */
void coordinator_close(struct coordinator *coordinator);
/* At start, and when the file of allowed keys was changed by hand: reads it, sets it, and records in the ledger what
 * has changed; where that cannot be written for now it is later, and the list holds meanwhile. A key that the ledger
 * knows as revoked stays so, whatever the file says: only an administrator allows it again. A file that cannot be read,
 * or is empty where a list is in force, changes nothing; 0 without such a file. */
int coordinator_keys_reload(struct coordinator *coordinator, struct err *e) MUST_CHECK;
/* The list of allowed keys as the ledger has it; empty where it has none. Any thread; the caller's to destroy. */
int coordinator_keys_recorded(struct store_txn *txn, struct proto_allow **out, struct err *e) MUST_CHECK;
/* What waits to become the next version, or was refused. Any thread. ERR_NOT_FOUND: there is nothing. */
int coordinator_candidate_get(struct store_txn *txn, struct store_version *out, struct err *e) MUST_CHECK;
/* Which versions need some chunks that are damaged. Any thread; reads the store alone, which may be open to inspect. */
struct coordinator_damage {
	size_t chunk_count;
	struct buf versions; /* uint64_t, ascending: of those that still have their blobs */
	bool shards;         /* a shard or a merge does, and so would the next version */
	bool candidate;      /* what waits to become it does */
	uint64_t healthy;    /* the newest version that needs none of them; 0: there is none */
};
/* `chunks`: struct hash; they are put in order. A version whose manifest cannot be read is among them. `stop` (may be
 * NULL) set: ERR_INTERRUPTED. */
int coordinator_damage_find(struct store *store, struct buf *chunks, const atomic_bool *stop,
			    struct coordinator_damage *out, struct err *e) MUST_CHECK;
void coordinator_damage_fini(struct coordinator_damage *damage);
/* For people, appended: what needs it, and what to do. */
void coordinator_damage_text(const struct coordinator_damage *damage, struct buf *out);
void coordinator_damage_advice(const struct coordinator_damage *damage, struct buf *out);
/* A page of the ledger's events. Any thread; reads the store alone, which may be open to inspect. Freed after use. */
struct coordinator_events {
	struct msg_event *items; /* valid until freed */
	size_t count;
	uint64_t next_seq, last_seq; /* as in msg_event_list_reply */
	struct buf payloads;
	void *names;
};
int coordinator_events_read(struct store *store, const struct msg_event_list *ask, struct coordinator_events *out,
			    struct err *e) MUST_CHECK;
void coordinator_events_free(struct coordinator_events *events);
/* Metrics in Prometheus text format, appended. */
void coordinator_metrics(struct coordinator *coordinator, struct buf *out);

#endif
