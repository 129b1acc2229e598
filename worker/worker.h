/* worker.h: trains the shards it holds leases for: asks whether its base model is the cluster's, calibrates when
 * nothing is cached, receives edits by credit, trains a group on a pool thread, re-tests, commits to its local blob
 * store, uploads, reports ShardCommit. State machine on the loop thread; the engine (model, shards) is touched only by
 * its one pool job at a time. Every lease carries an epoch; a Fenced message or a lost lease stops the job and forgets
 * the shard. A lease that cannot be carried out is given back with the reason (Release). */
#ifndef AMEND_WORKER_WORKER_H
#define AMEND_WORKER_WORKER_H

#include "base/pool.h"
#include "editor/gap.h"
#include "editor/shard.h"
#include "proto/transport.h"
#include "store/store.h"

struct worker;

/* What a version that is not published yet answers to questions that no edit is about. */
struct worker_canary_answer {
	uint32_t asked, changed_total;
	struct msg_canary_change changed[MSG_CANARY_CHANGES_MAX]; /* the first ones; texts in `arena` */
	size_t changed_count;
	struct arena *arena; /* destroyed by the worker */
};
struct worker_canaries { /* how they are asked (daemon/canaries.c; tests bring their own) */
	void *context;
	struct hash digest; /* of the questions: who asks others would judge otherwise */
	/* On the loop's thread: the blobs that a manifest of the store names, appended as struct hash. */
	int (*roots)(void *context, struct store *blobs, const struct msg_canary_run *run, struct buf *roots,
		     struct err *e);
	/* On the engine's: all blobs are there. */
	int (*ask)(void *context, struct model *model, struct store *blobs, const struct msg_canary_run *run,
		   const struct editor_watch *watch, struct worker_canary_answer *out, struct err *e);
	/* On the engine's, while it has nothing else to do: reads some of what asking needs, for versions with this
	 * calibration; *more: there is more to read. NULL: nothing is read ahead. */
	int (*prepare)(void *context, struct model *model, const void *calibration, size_t calibration_len,
		       const struct editor_watch *watch, bool *more, struct err *e);
};

struct worker_config {
	const char *name;               /* "worker-0" */
	struct editor_config editor;    /* seed, layer, rate and family may be set by HelloReply */
	const char *calibration_corpus; /* path of the corpus; the calibration is cached in the data folder by model and
					   corpus digest */
	const char *calibration_file;   /* of `amend calibrate`; NULL: calibrated on the corpus */
	const char *data_folder;
	const char *software;                   /* version text */
	const struct worker_canaries *canaries; /* borrowed; NULL: it cannot ask them */
	bool canaries_ahead;                    /* read what they need before a candidate comes */
};

/* Borrowed: env, blobs, transport, pool, model. The pool has one thread (or is inline in simulation). */
int worker_new(const struct worker_config *config, const struct env *env, struct store *blobs,
	       struct proto_transport *transport, struct pool *pool, struct model *model, struct worker **out,
	       struct err *e) MUST_CHECK;
void worker_destroy(struct worker **worker); /* after the pool is destroyed: no job may be running */
void worker_receive(struct worker *worker, struct msg_received **received);
void worker_tick(struct worker *worker); /* every 50 ms */
/* Refused for good by the coordinator (another base model, protocol, key): the process should end with this text. */
bool worker_failed(const struct worker *worker, struct err *e);
/* Takes nothing new, asks the running job to stop, gives all leases back; idempotent. */
void worker_close(struct worker *worker);
/* No job is running, and no lease waits to be given back (ticks try for two seconds at most). */
bool worker_idle(const struct worker *worker);
void worker_metrics(struct worker *worker, struct buf *out);

#endif
