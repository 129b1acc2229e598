/* internal.h: what worker.c (the process's side), work.c (one lease) and job.c (the engine's side) share. */
#ifndef AMEND_WORKER_INTERNAL_H
#define AMEND_WORKER_INTERNAL_H

#include "worker/fetch.h"
#include "worker/upload.h"
#include "worker/worker.h"

#include "editor/calibration_file.h"

#include "base/sm.h"

#include <stdatomic.h>

#define WORKER__LEASES_MAX MSG_WORKER_LEASES_MAX
#define WORKER__RESEND_US  (2 * INT64_C(1000000))
#define WORKER__ASK_NOW    (-WORKER__RESEND_US - 1) /* as asked_us: the next tick asks */

#define WORKER__RELEASES_MAX    64
#define WORKER__RELEASE_WAIT_US (2 * INT64_C(1000000)) /* a Release that cannot be sent for so long is let go */

enum worker__job_kind { WORKER__CALIBRATE, WORKER__TRAIN, WORKER__GATE, WORKER__CANARIES, WORKER__CANARIES_AHEAD };

/* Edits on their way to the engine: payload bytes in one buffer. */
struct worker__edit {
	uint64_t seq;
	size_t offset, len; /* in the payload buffer */
	uint64_t memory;    /* of an edit of an earlier memory (L_memo), else 0 */
};

/* All that one pool job reads and writes; nobody else touches it, nor the shard, while `worker->job_running`. */
struct worker__job {
	struct pool_job pool_job; /* first member */
	struct worker *worker;
	struct worker__work *work; /* NULL once the lease is dropped: the result is thrown away */
	enum worker__job_kind kind;
	struct editor_config editor; /* a copy: HelloReply may change the worker's meanwhile */
	_Atomic bool cancel;
	_Atomic uint32_t done, total;
	_Atomic(const char *) phase;
	/* in */
	struct editor_shard *shard; /* taken from the lease, given back */
	struct buf delta;           /* committed delta to start from, when the shard is new */
	struct buf payloads;
	struct worker__edit *edits; /* to add, in order */
	size_t edit_count;
	struct worker__edit *replays; /* of earlier memories */
	size_t replay_count;
	size_t fresh_sent, fresh_count; /* the last `fresh_sent` are new; of them, not removed at once */
	uint64_t *removed;
	size_t removed_count;
	bool closing, covered; /* covered: the delta is that of a breadth-first pass over all edits, and no others */
	bool retrain;          /* from nothing: the delta holds what was taken back */
	uint64_t shard_id, shard_version;
	struct msg_canary_run canary;
	struct buf calibration_in;
	/* out */
	struct worker_canary_answer answer;
	bool more;             /* canaries to read ahead */
	_Atomic bool finished; /* of a job that is done aside */
	int code;
	struct err error;
	struct buf delta_out, index_out, calibration_out;
	bool stored; /* the two outputs lie in the local store, whole as far as is known, under these roots */
	struct hash delta_root, index_root;
	struct editor_result *results; /* of the shard's edits, then of those that it refused */
	size_t result_count;
	struct editor_result *refused;
	size_t refused_count;
	struct editor_train_stats stats;
	bool covered_out;
	uint64_t seed;
	uint32_t train_ms, retest_ms;
};

enum worker__state {
	WORKER__FETCHING, /* the committed delta is on its way */
	WORKER__WANTING,  /* credit is out, edits arrive */
	WORKER__QUEUED,   /* a complete group waits for the engine */
	WORKER__WORKING,  /* the engine has it */
	WORKER__UPLOADING,
	WORKER__COMMITTING, /* ShardCommit or GateResult is out */
	WORKER__STATE_COUNT,
};

struct worker__work { /* one lease */
	struct worker *worker;
	struct sm sm;
	enum msg_lease_kind kind;
	uint64_t shard, epoch, shard_version;
	struct hash delta_root;            /* of the last commit, which the next group continues */
	struct editor_shard *shard_memory; /* NULL while a job has it or before the first */
	struct buf payloads;
	struct worker__edit *edits; /* received and not yet given to the engine */
	size_t edit_count, edit_cap, fresh_count;
	struct worker__edit *replays; /* edits of earlier memories, the same */
	size_t replay_count, replay_cap;
	uint32_t replays_held; /* by the shard's memory */
	uint64_t *removed;
	size_t removed_count;
	uint32_t received_count; /* places of the shard's list that have been received */
	uint64_t *received;      /* their seqs; room for those of the group that the engine has */
	uint32_t group_first, group_count;
	bool closing, covered, retrain;
	int64_t asked_us;   /* when Want, the commit or the gate result was last sent */
	int64_t failing_us; /* since when the result can be neither stored nor uploaded; 0: it can */
	char failing[256];  /* why */
	uint64_t request_id;
	struct worker__job *commit; /* the finished job whose result is being uploaded and committed */
};

struct worker__release { /* not sent yet */
	uint64_t shard, epoch;
	int code;
	int64_t until_us;
};

enum worker__canary_state {
	WORKER__CANARY_NONE,
	WORKER__CANARY_MANIFEST, /* is fetched */
	WORKER__CANARY_BLOBS,    /* are fetched */
	WORKER__CANARY_QUEUED,   /* waits for the engine */
	WORKER__CANARY_ASKED,    /* the engine has it */
	WORKER__CANARY_STATE_COUNT
};
struct worker__canary { /* the last that was asked for */
	struct sm sm;
	struct msg_canary_run run;
	struct buf roots; /* struct hash: what its manifest names, of which those from `root_next` on are not fetched
			     yet */
	size_t root_next;
	bool ahead; /* all that can be read before one comes is read */
	/* Asked aside, between two steps of the job that the engine has: `aside` is the loop's, and the engine's from
	 * when it takes `offered` until it is finished. */
	struct worker__job *aside; /* NULL: none */
	_Atomic(struct worker__job *) offered;
};

#define WORKER__CLUSTER_BYTES 128
struct worker {
	struct worker_config config;
	float rate_default; /* where HelloReply names none */
	const struct env *env;
	struct store *blobs;
	struct proto_transport *transport;
	struct pool *pool;
	struct model *model;
	struct worker_fetch *fetch;
	struct worker_upload *upload;
	struct worker__work *upload_owner;
	struct worker__work *works[WORKER__LEASES_MAX];
	size_t work_count;
	struct worker__job *job; /* the one running, or NULL */
	struct worker__canary canary;
	struct worker__release releases[WORKER__RELEASES_MAX];
	size_t release_count;
	struct hash calibration_root;
	struct buf calibration;
	struct hash calibration_named;        /* what is said in Hello */
	struct hash corpus;                   /* the same; zero: there is none */
	struct editor_calibration_file given; /* config.calibration_file, if it names one */
	enum editor_family given_family;
	char cluster[WORKER__CLUSTER_BYTES]; /* whose leases it holds; "": it has joined none yet */
	bool taken; /* the model by the coordinator, its settings by this worker: before that nothing is calibrated */
	bool calibrated, greeted, closed, failed;
	bool refusal_known; /* to the coordinator: why it has failed */
	struct err error;
	uint64_t boot, request_id;
	uint64_t joining_id; /* of the first Hello as a worker; what went before only asked */
	uint32_t heartbeat_ms, lease_ms;
	int64_t hello_us, heartbeat_us, heard_us; /* last sent, last sent, last heard */
	uint64_t edits_passed, edits_failed, commits, steps;
	double train_seconds;
};

/* worker.c */
int worker__send(struct worker *w,
		 struct msg *msg); /* ERR_AGAIN and ERR_CLOSED are logged at debug level: tick sends again */
/* Gives a lease back; sent by tick when it cannot be sent now. */
void worker__release(struct worker *w, uint64_t shard, uint64_t epoch, int code);
/* work.c */
extern const struct sm_table worker__work_states;
struct worker__work *worker__work_find(struct worker *w, uint64_t shard, enum msg_lease_kind kind);
void worker__work_lease(struct worker *w, const struct msg_lease *lease);
void worker__work_reply(struct worker *w, const struct msg_shard_commit_reply *reply);
void worker__work_drop(struct worker *w, struct worker__work *work);
/* Drops it and gives the lease back. */
void worker__work_give_back(struct worker *w, struct worker__work *work, int code);
void worker__work_tick(struct worker *w);
/* How far it is; false where there is nothing to say. */
bool worker__work_progress(const struct worker__work *work, struct msg_progress *out);
void worker__work_job_done(struct worker *w, struct worker__work *work, struct worker__job *job);
/* calibration.c: the file that was given, else what is cached for the corpus, else nothing yet. */
int worker__calibration_open(struct worker *w, struct err *e) MUST_CHECK;
int worker__calibration_save(const struct worker *w, const struct buf *bytes, struct err *e) MUST_CHECK;
/* Settings of HelloReply: of the paper's family with its layer, or none. ERR_MISMATCH: not for the file that was given,
 * or measured with another layer. */
int worker__calibration_settings(struct worker *w, const struct msg_hello_reply *reply, struct err *e) MUST_CHECK;
/* The code to give a lease back with: only what the engine says of an edit is held against the group (ERR_INVALID in
 * msg.h). */
int worker__blameless(int code);
/* canary.c */
void worker__canary_init(struct worker *w);
void worker__canary_run(struct worker *w, const struct msg_canary_run *run);
void worker__canary_start(struct worker *w); /* when one waits for the engine, which is free */
int worker__canary_job(struct worker__job *job, const struct editor_watch *watch) MUST_CHECK; /* the engine's part */
void worker__canary_done(struct worker *w, struct worker__job *job);
void worker__canary_aside(struct worker *w);     /* the engine's part, between two steps of another job */
void worker__canary_aside_end(struct worker *w); /* that job is done */
void worker__canary_fini(struct worker *w);
void worker__canary_ahead_start(struct worker *w); /* when the engine has nothing to do */
int worker__canary_ahead_job(struct worker__job *job, const struct editor_watch *watch) MUST_CHECK;
void worker__canary_ahead_done(struct worker *w, const struct worker__job *job);
/* inbox.c */
void worker__work_edits(struct worker *w, const struct msg_edits *edits);
void worker__inbox_clear(struct worker__work *work);
/* job.c */
/* Length of `text`, or less where it is longer than `max` bytes: whole characters. */
size_t worker__text_cut(const char *text, size_t max);
/* Why it failed, "" where it passed; one that was refused before any try says so itself. */
void worker__reason_write(const struct editor_result *result, char out[STORE_REASON_BYTES]);
int worker__job_new(struct worker *w, enum worker__job_kind kind, struct worker__job **out, struct err *e) MUST_CHECK;
void worker__job_destroy(struct worker__job **job);

#endif
