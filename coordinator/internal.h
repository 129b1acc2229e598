/* internal.h: what the files of coordinator/ share. One thread; everything hangs on struct coordinator.
 *
 * Memory mirrors the store. A change is made in memory and in c->txn together; when the transaction fails,
 * coordinator__txn_failed reads the touched shards back, so that memory never shows what the ledger does not hold. */
#ifndef AMEND_COORDINATOR_INTERNAL_H
#define AMEND_COORDINATOR_INTERNAL_H

#include "base/fault.h"
#include "base/json.h"
#include "base/log.h"
#include "base/pool.h"
#include "base/record.h"
#include "base/rng.h"
#include "coordinator/candidate.h"
#include "coordinator/coordinator.h"
#include "coordinator/ending.h"
#include "coordinator/turns.h"
#include "coordinator/upkeep.h"
#include "coordinator/versions.h"
#include "proto/needs.h"

#include <limits.h>

#define PEER_BUCKETS         4096
#define PEER_FENCED_BOOTS    8  /* earlier processes of one key that are remembered */
#define PEER_FORGET_LEASES   20 /* a silent peer is forgotten after this many lease times */
#define REFUSAL_BYTES        512
#define BACKGROUND_JOBS_MAX  COMMIT_CHECKS_MAX
#define UPKEEP_JOBS_MAX      2 /* the scrub, and a search */
#define COMMIT_CHECKS_MAX    64
#define SUBMITS_PENDING_MAX  4096 /* messages that wait for one group commit */
#define CHUNKS_PENDING_MAX   32   /* chunks stored in one synced transaction */
#define SUBJECT_EDITS_MAX    256  /* newest edits of a subject or prompt that a new one is compared with */
#define ID_SUFFIX_MAX        1000 /* edits that follow one another under one id */
#define SERVED_BATCH         1000 /* edits marked served in one transaction */
#define VISIBLE_SAMPLES      4096 /* reservoir of latencies */
#define VISIBLE_BUCKETS      12
#define EDITS_BODY_BYTES     (128 * 1024) /* payload bytes in one MSG_EDITS */
#define EDITS_ITEMS_MAX      256
#define MERGE_SHARDS_MAX     64
#define REPLAY_MEMORIES_MAX  16     /* newest memories whose edits a new shard replays (L_memo) ... */
#define REPLAY_EDITS_MAX     8      /* ... and so many edits of each */
#define MERGE_RETRY_MS       1000   /* between attempts of a merge */
#define MERGE_RENEW_MS       600000 /* after a failed one, before a memory is merged anew by itself */
#define CANARY_WAIT_MS       120000 /* for a worker's answer, which may be training; then another is asked */
#define CANARY_RETRY_MS      2000   /* after one that could not ask them */
#define CANARY_RESEND_MS     2000   /* to the same worker: the request may be lost, or it may have started anew */
#define RETRY_AFTER_AGAIN_MS 250
#define RETRY_AFTER_FULL_MS  2000
#define STORE_PAST_MAX       8
#define ROLLED_MAX           16
#define SPACE_CHECK_MS       1000
#define WRITE_RETRY_MS       1000 /* after a write that was refused */
#define WRITE_TRIAL_MS       5000 /* the same where nothing waits to be written */
#define RELEASE_RETRY_MS     1000 /* before a shard that was given back is granted again; doubles */
#define RELEASE_DOUBLINGS    6
/* A gate's lease names the merge's id where a shard's names the shard's; its epochs start here, so that the two never
 * meet. */
#define GATE_EPOCH_FIRST    (UINT64_C(1) << 32)
#define MERGED_MEMORY_FIRST (UINT64_C(1) << 32) /* memory id of a merge: this + merge id */

struct peer {
	uint8_t key[PROTO_KEY_BYTES];
	enum msg_peer_kind kind;
	uint64_t route, boot, fenced_boots[PEER_FENCED_BOOTS];
	size_t fenced_count; /* ever; the ring holds the newest */
	char name[64], software[96], backend[128], endpoint[128], state[32];
	uint32_t pid;
	int64_t seen_ms; /* monotonic */
	uint64_t version, resident_bytes;
	uint64_t failed_version; /* a node's, which it cannot load; 0: none */
	char failed_reason[256]; /* of that, or why a worker's result waits; empty: neither */
	char source[256];
	struct hash calibration, corpus; /* a worker's, zero: none */
	struct hash canaries;            /* the same: of the questions that it asks candidates */
	uint32_t edit_done, edit_total;
	bool stalled; /* lost a lease because nothing advanced, or gave one back; until something advances, others come
			 first */
	bool leaving; /* told that it is stopping: no lease for this process any more */
	bool barred;  /* its key may not be one of its kind any more */
	struct peer *bucket_next;
};

/* A lease, of a shard or of a merge's gate. Nothing of it outlives the process but the epoch, which the ledger holds.
 * free → granted → held, when its holder has shown it → training, while a group is in its hands; and back to free. */
enum lease_state { LEASE_FREE, LEASE_GRANTED, LEASE_HELD, LEASE_TRAINING, LEASE_STATE_COUNT };
struct lease {
	struct sm sm;        /* first: its invariant looks at the lease */
	struct peer *holder; /* NULL exactly when free */
	int64_t expires_ms, sent_ms;
	bool sent;          /* the Lease message; false: it is sent again */
	bool wants;         /* credit that has not been used */
	size_t send_next;   /* place of the next edit to send */
	size_t replay_next; /* and of the next edit of earlier memories */
};

struct shard {
	struct store_shard rec;
	uint8_t *states;         /* of the edits rec.seqs (coordinator__withdrawn_state) */
	uint64_t *groups;        /* their all-or-nothing groups (store_edit.group) */
	size_t cap;              /* places in rec.seqs, states and groups */
	size_t placed_from;      /* edits from here on are new in this transaction; SIZE_MAX: none */
	bool touched;            /* differs from the store until the commit */
	bool created;            /* by this transaction */
	uint32_t passed, tested; /* of the last commit's re-test */
	uint64_t committed;      /* event of the last commit; 0: none */
	struct lease lease;
	uint32_t want_credit;
	int64_t advanced_ms;   /* when its holder last came nearer to the next commit, or had nothing to do */
	uint64_t advance_mark; /* what its holder last said of how far it is */
	int64_t grant_ms;      /* not granted before: its last holder gave it back */
	char refused[STORE_REASON_BYTES]; /* why a delta of this lease was refused; "": none was */
	uint32_t release_count;           /* since its last advance: each doubles the wait */
};

struct unserved { /* trained, waits for every node */
	uint64_t seq;
	uint64_t version; /* the first that holds it and is not rolled back; 0: none yet */
	int64_t accepted_ms;
	bool ended; /* meanwhile: it was never served */
};

struct due {           /* an edit whose time will come, to begin or to end */
	int64_t at_ms; /* wall clock */
	uint64_t seq;
	bool begins;
};

struct rolled { /* a rollback, and what it was answered */
	uint64_t request_id;
	uint8_t key[PROTO_KEY_BYTES];
	uint64_t version;
	struct hash content;
	uint32_t back_count;
};

/* Between a commit and its version: a pause, or a gate. */
struct publishing {
	bool paused;
	bool unpublished;  /* memory holds what neither a version nor the candidate does */
	int64_t paused_ms; /* wall clock */
	uint8_t paused_by[STORE_KEY_BYTES];
	char reason[STORE_REASON_BYTES]; /* why it is paused */
};

struct merge_run {
	bool active;
	struct store_merge rec;
	uint64_t asked_id; /* of the MergeRun that planned it, and whose: it may come again */
	uint8_t asked_by[PROTO_KEY_BYTES];
	bool job_running;
	int64_t deadline_ms;          /* monotonic: of the job, or of the gate */
	int64_t started_ms, retry_ms; /* monotonic: of this attempt; not before, after a failed one */
	double progress;
	struct lease lease; /* the gate's */
	uint64_t epoch;
	uint32_t gate_tries;
	char gate_reason[STORE_REASON_BYTES]; /* why the last gate lease ended */
	uint64_t *seqs;                       /* live edits of its shards */
	size_t seq_count;
};

struct coordinator {
	struct coordinator_config config;
	char *data_folder, *family, *tensor_format;
	struct buf settings;
	char cluster_id[64];
	uint8_t key[STORE_KEY_BYTES];
	const struct proto_allow *allow; /* in force, of config.allow_file; NULL: there is no such file */
	uint64_t readers;                /* which of its keys may read; 0: none was read */
	struct {
		bool due; /* the list in force is not in the ledger yet: who changed it last, and why */
		uint8_t actor[PROTO_KEY_BYTES];
		char reason[MSG_REVOKE_REASON_BYTES_MAX + 1];
	} unrecorded;
	const struct env *env;
	struct store *store;
	struct proto_transport *transport;
	struct coordinator_merge_job *merge_job;
	struct store_txn *txn;
	struct err failure; /* code != 0: stopped */
	bool closed, shutdown;
	atomic_bool ending;                    /* being destroyed: threads look too, and do no more */
	int64_t write_retry_ms;                /* after a refused write nothing but an answer is written before */
	char write_reason[STORE_REASON_BYTES]; /* of the last refused write; "": it, or a later one, was taken */

	bool base_known;
	struct hash base_model;
	uint32_t layers, hidden, ffn;
	uint32_t layer; /* edited by every memory; UINT32_MAX: not fixed yet */

	struct {
		uint8_t key[PROTO_KEY_BYTES];
		char name[64], reason[REFUSAL_BYTES];
		int64_t at_ms;
	} refused; /* the last that could not join, for people; reason "": it has joined since, or there was none */

	struct peer *buckets[PEER_BUCKETS];
	struct peer **peers;
	size_t peer_count, peer_cap;

	struct shard **shards; /* ascending id */
	size_t shard_count, shard_cap;
	uint64_t counts[STORE_EDIT_STATE_COUNT];
	uint64_t last_seq;

	struct msg_received **submits;
	size_t submit_count, submit_records;
	int64_t submit_since_ms; /* of the oldest */
	struct turns turns;
	struct msg_received *chunks[CHUNKS_PENDING_MAX];
	size_t chunk_count;
	struct proto_needs needs;
	int64_t space_checked_ms, here_checked_ms;
	bool space_checked, space_low;

	uint64_t version; /* newest published */
	struct hash version_content;
	struct publishing publishing;
	struct candidate candidate;
	struct buf withheld; /* uint64_t, ascending: trained edits that candidates leave out (withhold.c) */
	struct rolled rolled[ROLLED_MAX]; /* the last rollbacks, newest last: each may be asked for again */
	size_t rolled_count;
	struct unserved *unserved; /* in no order: a restart lists them by seq */
	size_t unserved_count, unserved_cap;
	bool unserved_unknown; /* which of them the newest version holds: its manifest could not be read at the start */
	bool nodes_changed;
	struct due *dues; /* in no order; what ended meanwhile is found out when its time comes */
	size_t due_count, due_cap;
	int64_t due_next_ms; /* the earliest; INT64_MAX: none */

	struct store_merge *merges; /* published; no two of the same shard: the later one has taken the other's place */
	size_t merge_count, merge_cap;
	/* uint64_t, ascending: merges that the last draft left out, as their memories, which no version has had yet,
	 * are damaged here. */
	struct buf merges_out;
	bool merges_wait; /* nothing else is unpublished, or has changed since: a draft would leave them out again */
	struct merge_run merge;
	struct {
		uint64_t merge, epoch;
	} gated;                            /* the last gate that was passed: its result may come again */
	uint64_t merge_next_id, merge_mark; /* mark: trained edits when the last merge was planned */
	uint64_t renewed_id;                /* the merge that was renewed last, or tried */
	bool renew_look;                    /* a memory may have become outdated since the last look */
	int64_t renew_ms;                   /* none is renewed before: the last one failed */
	int64_t merge_mark_ms;

	struct commit_check *checks[COMMIT_CHECKS_MAX];
	size_t check_count;
	struct pool *background; /* checks of commits */
	struct pool *upkeep;     /* reads of the store that take long and that nobody waits for */
	struct heal heal;
	struct scrub scrub;
	struct collecting collecting;
	struct store_work *store_work;                 /* the last that was asked for; NULL: none */
	struct store_work *store_past[STORE_PAST_MAX]; /* done before it, newest first: who asked may ask again */
	struct rng rng;
	double visible_ms[VISIBLE_SAMPLES];
	uint64_t visible_count, visible_buckets[VISIBLE_BUCKETS];
	double visible_sum_ms;
	uint64_t refused_count, duplicate_count, fenced_count, merge_failed_count, published_count,
		canary_refused_count, lost_count, unnamed_count;
	double merge_last_s;
};

/* --- coordinator.c */
int64_t coordinator__now_ms(const struct coordinator *c);
int coordinator__send(struct coordinator *c, uint64_t route,
		      struct msg *msg); /* ERR_AGAIN: keep it; ERR_CLOSED: gone */
void coordinator__reply(struct coordinator *c, const struct msg_received *request, struct msg *msg);
void coordinator__reply_error(struct coordinator *c, const struct msg_received *request, int code, const char *text);
void coordinator__fail(struct coordinator *c, const struct err *e); /* stops everything */
struct msg_text coordinator__text(const char *text);
void coordinator__copy_text(char *out, size_t out_bytes, struct msg_text text);
/* Everything that may move without a message: leases, groups, merges; called after each message and by the tick. */
void coordinator__advance(struct coordinator *c);

/* --- txn.c */
int coordinator__begin(struct coordinator *c, struct err *e) MUST_CHECK;
/* Writes the touched shards, passes the fault points, commits. After a failure call txn_failed. */
int coordinator__commit(struct coordinator *c, const char *fault_before, const char *fault_after,
			struct err *e) MUST_CHECK;
/* Drops the transaction, reads touched shards back. What may pass (a full disk or map, no memory, a map that must
 * grow) holds further writes back for a while; anything else stops the coordinator. */
bool coordinator__write_held(const struct coordinator *c);
void coordinator__txn_failed(struct coordinator *c, struct err *e);
/* After a refused write that no other followed, writes what is there already: whether the trouble is over. */
void coordinator__write_trial(struct coordinator *c);
void coordinator__touch(struct shard *shard);
/* Appends `json` (freed) as an event of `actor` (NULL: this coordinator). */
int coordinator__event(struct coordinator *c, enum store_event_type type, const uint8_t *actor, struct buf *json,
		       uint64_t *seq, struct err *e) MUST_CHECK;
/* Moves an edit in the transaction and in memory; writes STORE_EVENT_EDIT_ENDED for final states. `reason` may be NULL.
 */
int coordinator__edit_move(struct coordinator *c, struct store_edit *edit, int state, const char *reason,
			   struct err *e) MUST_CHECK;
/* The same for a final state, with who caused it (NULL: this coordinator). */
int coordinator__edit_end(struct coordinator *c, struct store_edit *edit, int state, const uint8_t *actor,
			  const char *reason, struct err *e) MUST_CHECK;
bool coordinator__edit_live(int state);   /* it counts today: neither ended nor scheduled */
bool coordinator__state_ended(int state); /* of a trained edit, but superseded: it is served until its successor is */
bool coordinator__space_low(struct coordinator *c);
void coordinator__here_look(struct coordinator *c); /* each second: ends it when the store was taken away */
/* Why nothing new is kept, for people; "" when it is. */
const char *coordinator__write_trouble(struct coordinator *c);

/* --- load.c */
int coordinator__load(struct coordinator *c, struct err *e) MUST_CHECK;
/* load_blobs.c: ERR_CORRUPT: a chunk that the next version would name is not in the store. */
int coordinator__blobs_check(struct coordinator *c, struct store_txn *txn, struct err *e) MUST_CHECK;
/* Chunks of it are missing, and all of those are set apart as damaged, or about to be. */
int coordinator__blob_apart(struct coordinator *c, const struct hash *root, bool *apart, struct err *e) MUST_CHECK;
/* Whether nodes could load the version of this manifest. ERR_CORRUPT: they could not. *apart: what they would miss is
 * set apart, and may come back. */
int coordinator__version_whole(struct coordinator *c, const struct hash *manifest, bool *apart,
			       struct err *e) MUST_CHECK;
int coordinator__shard_reload(struct store_txn *txn, struct shard *shard, bool *gone, struct err *e) MUST_CHECK;
struct shard *coordinator__shard_find(struct coordinator *c, uint64_t id);
struct shard *coordinator__shard_add(struct coordinator *c, struct err *e); /* a new open one, in memory, touched */
void coordinator__shard_drop(struct coordinator *c, size_t index);
int coordinator__shard_append(struct shard *shard, const struct store_edit *edit, int state, struct err *e) MUST_CHECK;
void coordinator__shard_remove(struct shard *shard, size_t place);
size_t coordinator__shard_place(const struct shard *shard, uint64_t seq); /* SIZE_MAX: not in it */
int coordinator__shard_result_put(struct coordinator *c, const struct shard *shard, struct err *e) MUST_CHECK;

/* --- peer.c */
struct peer *coordinator__peer_find(const struct coordinator *c, const uint8_t *key, enum msg_peer_kind kind);
/* NULL: out of memory. */
struct peer *coordinator__peer_add(struct coordinator *c, const uint8_t *key, enum msg_peer_kind kind);
struct peer *coordinator__peer_any(const struct coordinator *c, const uint8_t *key); /* worker first, then node */
bool coordinator__peer_live(const struct coordinator *c, const struct peer *peer);
unsigned coordinator__kind_roles(enum msg_peer_kind kind); /* a key needs one of them to be such a peer */
size_t coordinator__peer_leases(const struct coordinator *c, const struct peer *peer);
size_t coordinator__workers_live(const struct coordinator *c);
struct peer *coordinator__worker_least(const struct coordinator *c); /* live, with room for a lease, not stalled if
									possible, fewest leases; NULL */
void coordinator__peers_forget(struct coordinator *c);
void coordinator__peers_free(struct coordinator *c);

/* --- keys.c: in c->txn. */
struct edit_keys {
	struct buf subject, prompt; /* folded; the same for an edit without a subject */
	struct buf aliases;         /* of the subject, folded, each ended by a NUL */
};
#define EDIT_KEYS_INIT                                                                                                 \
	{                                                                                                              \
		BUF_INIT, BUF_INIT, BUF_INIT                                                                           \
	}
int coordinator__keys_of(const struct record *record, struct edit_keys *keys, struct err *e) MUST_CHECK;
void coordinator__keys_free(struct edit_keys *keys);
int coordinator__keys_add(struct coordinator *c, const struct edit_keys *keys, uint64_t seq, struct err *e) MUST_CHECK;
/* A list of uint64_t into ledger order, each once. */
void coordinator__seqs_sort(struct buf *seqs);
/* The edits under any of the keys in ledger order, each once, as uint64_t. `seqs` may hold some before. */
int coordinator__keys_list(struct coordinator *c, const struct edit_keys *keys, struct buf *seqs,
			   struct err *e) MUST_CHECK;
/* The same and, where only one of the two names its subject, the edits whose subject a part of this prompt may be, or
 * the newest ones whose prompt may say this subject: those with its rarest word. `seqs` may hold some before. */
int coordinator__rivals_list(struct coordinator *c, const struct edit_keys *keys, struct buf *seqs,
			     struct err *e) MUST_CHECK;

/* --- names.c */
/* The bytes of an edit's record as it is trained and read, appended to `out`: those that were submitted, with the names
 * of what the edit superseded in `subject_aliases`. */
int coordinator__payload_put(struct store_txn *txn, uint64_t seq, struct buf *out, struct err *e) MUST_CHECK;
/* The same, parsed, in c->txn. ERR_INVALID: kept under older rules. */
int coordinator__record_of(struct coordinator *c, uint64_t seq, struct record **out, struct err *e) MUST_CHECK;
/* As it was submitted. */
int coordinator__record_submitted(struct coordinator *c, uint64_t seq, struct record **out, struct err *e) MUST_CHECK;
/* Lengthens a record by the names of those edits (uint64_t each, none of them unreadable) that are on its subject, as
 * far as a record can hold them, and gives these names, each ended by a NUL. In c->txn; on error it is as long as
 * before or longer. */
int coordinator__names_take(struct coordinator *c, struct record **record, const struct buf *earlier, struct buf *names,
			    struct err *e) MUST_CHECK;
/* Keeps what edit `seq` has taken over, if anything, and has it found under it. In c->txn. */
int coordinator__names_put(struct coordinator *c, uint64_t seq, const struct buf *names, struct err *e) MUST_CHECK;
/* Gives edit `to`, which brings `from` back, what that had taken over. In c->txn. */
int coordinator__names_copy(struct coordinator *c, uint64_t from, uint64_t to, struct err *e) MUST_CHECK;
/* What an edit has taken over, for people: ", answers for \"X\" and 2 more names too"; empty: nothing. */
int coordinator__names_tell(struct store_txn *txn, uint64_t seq, char *out, size_t out_bytes, struct err *e) MUST_CHECK;

/* --- place.c */
/* All below work in c->txn. */
/* A new edit, unless earlier ones wait for a place: then it waits behind them. An edit of a group goes to the shard of
 * those before it, else to where its subject or its prompt is. */
int coordinator__place(struct coordinator *c, struct store_edit *edit, const struct edit_keys *keys,
		       struct err *e) MUST_CHECK;
void coordinator__place_waiting(struct coordinator *c); /* its own transactions */
/* Live edits that stand in the way of `record` under a policy, newest last, appended to `seqs` as uint64_t: those that
 * conflict with it, or under MSG_KEEP those alone that say something else of the very same prompt. */
int coordinator__conflicts(struct coordinator *c, const struct record *record, const struct edit_keys *keys,
			   enum msg_on_conflict policy, struct buf *seqs, struct err *e) MUST_CHECK;
/* Where versions need approval: the first of `earlier` that was published and that `edit`, which is of no administrator
 * and expires, would end for good; 0: none. */
int coordinator__ends_approved(struct coordinator *c, const struct store_edit *edit, unsigned roles,
			       const struct buf *earlier, uint64_t *seq, struct err *e) MUST_CHECK;
/* The id for a new edit. 0; ERR_EXISTS (`*seq`: the first one's); ERR_CONFLICT; else a store error. */
int coordinator__edit_id(struct coordinator *c, const struct record *record, const struct hash *payload,
			 char out[STORE_ID_BYTES], uint64_t *seq, struct err *e) MUST_CHECK;

/* --- lease.c */
void coordinator__lease_init(struct lease *lease);
void coordinator__lease_hold(struct lease *lease, struct peer *holder, int64_t expires_ms);
void coordinator__lease_seen(struct lease *lease);                      /* its holder has shown it */
void coordinator__lease_renew(struct lease *lease, int64_t expires_ms); /* and has it until then, at least */
void coordinator__lease_free(struct lease *lease);
bool coordinator__lease_is(const struct shard *shard, const struct peer *peer, uint64_t epoch);
void coordinator__leases_advance(struct coordinator *c); /* expires and grants */
void coordinator__lease_send(struct coordinator *c, struct shard *shard);
/* The holder came nearer to the next commit. */
void coordinator__lease_advanced(struct coordinator *c, struct shard *shard);
#define COORDINATOR__BARRED "its worker's key was revoked, or is no worker's any more"
/* Ends it in the ledger and in memory. `blame`: the worker was lost with the group in hand, or says that an edit of it
 * is to blame; so is the group when a delta of it was refused. */
void coordinator__lease_end(struct coordinator *c, struct shard *shard, const char *why, bool blame);
void coordinator__lease_lost(struct coordinator *c, struct shard *shard, const char *why); /* ends and fences it */
int coordinator__closed_event(struct coordinator *c, const struct shard *shard,
			      struct err *e) MUST_CHECK; /* in c->txn */
void coordinator__fenced_send(struct coordinator *c, uint64_t route, uint64_t shard, uint64_t epoch);

/* --- group.c */
void coordinator__shard_pump(struct coordinator *c,
			     struct shard *shard); /* assigns a group when there is credit; sends what is due */
int coordinator__edits_send(struct coordinator *c, uint64_t route, struct msg_edits *head, const uint64_t *seqs,
			    size_t from, size_t to, size_t *next);
int coordinator__group_blame(struct coordinator *c, struct shard *shard, struct err *e) MUST_CHECK; /* in c->txn */
bool coordinator__shard_work(const struct shard *shard);    /* something a worker could do for it */
bool coordinator__shard_retrain(const struct shard *shard); /* its memory holds what was taken back, and may change */
/* Edits from `place` on that are trained together or not at all: 1, or what is there of an all-or-nothing group. */
size_t coordinator__group_length(const struct shard *shard, size_t place);

/* --- replay.c: edits of earlier memories that a shard of the paper's family replays (L_memo) */
/* With a shard's first group, in c->txn: which. Kept for the shard's life, so that all of its trainings replay the
 * same.
 */
int coordinator__replays_choose(struct coordinator *c, struct shard *shard, struct err *e) MUST_CHECK;
void coordinator__replays_write(struct json_w *w, const struct shard *shard); /* a member of the group's event */
/* From lease.replay_next on. */
int coordinator__replays_send(struct coordinator *c, struct shard *shard);

/* --- served.c */
int coordinator__unserved_add(struct coordinator *c, uint64_t seq, uint64_t version, int64_t accepted_ms,
			      struct err *e) MUST_CHECK;
void coordinator__served_advance(struct coordinator *c);
void coordinator__visible_quantiles(const struct coordinator *c, double *p50, double *p99);
extern const double coordinator__visible_bounds_s[VISIBLE_BUCKETS];

/* --- intake.c, recv_submit.c, recv_blob.c */
struct submit_answer { /* to one Submit */
	struct msg_submit_result *results;
	struct result_text {
		char id[STORE_ID_BYTES], reason[STORE_REASON_BYTES];
	} * texts; /* what the results' texts point to in the end */
};
void coordinator__submit_flush(struct coordinator *c);
void coordinator__submits_drop(struct coordinator *c);
/* Takes the records of one Submit into c->txn and fills the answer; only errors of the store are returned. */
int coordinator__intake(struct coordinator *c, const struct msg_received *request, struct submit_answer *answer,
			struct err *e) MUST_CHECK;
void coordinator__result_set(struct submit_answer *answer, size_t i, int code, const char *reason);
/* Ends those that `edit` contradicts (uint64_t each), in c->txn. */
int coordinator__supersede(struct coordinator *c, struct store_edit *edit, const struct buf *earlier,
			   const uint8_t *actor, struct err *e) MUST_CHECK;
/* Most edits of one all-or-nothing group. */
size_t coordinator__group_max(const struct coordinator *c);
void coordinator__chunks_flush(struct coordinator *c);
void coordinator__needs_pump(struct coordinator *c);
void coordinator__blobs_drop(struct coordinator *c);

/* --- merge.c, merge_event.c, merge_gate.c, merge_files.c, merge_job.c */
void coordinator__merge_advance(struct coordinator *c);
int coordinator__merge_start(struct coordinator *c,
			     struct err *e) MUST_CHECK;                 /* ERR_AGAIN, ERR_INVALID: nothing to merge */
void coordinator__merge_end(struct coordinator *c, const char *reason); /* failed for good; shards go back */
void coordinator__merge_job_stop(struct coordinator *c);
/* The published merge of a shard; NULL: none. */
const struct store_merge *coordinator__merge_of(const struct coordinator *c, uint64_t shard);
bool coordinator__merge_replaces(const struct store_merge *merge, const struct store_merge *earlier);
/* Room for one more, and then the one, in place of those that it replaces. */
int coordinator__merges_reserve(struct coordinator *c, struct err *e) MUST_CHECK;
void coordinator__merges_add(struct coordinator *c, const struct store_merge *merge);
/* All that are published and not refused, from the store. */
int coordinator__merges_load(struct coordinator *c, struct store_txn *txn, struct err *e) MUST_CHECK;
/* In c->txn: merges that only this candidate holds have failed, and their shards may be merged anew. *any: one has;
 * then call merges_refused after the commit. */
int coordinator__merges_refuse(struct coordinator *c, const struct candidate *refused, bool *any,
			       struct err *e) MUST_CHECK;
void coordinator__merges_refused(struct coordinator *c);
bool coordinator__holds_live(const struct shard *shard); /* a trained edit that has not ended */
const char *coordinator__merge_phase(const struct coordinator *c);
const char *coordinator__merge_reason(struct coordinator *c); /* why it does not go on; "" when it does */
int coordinator__merge_prepare_files(struct coordinator *c, struct store_merge *rec, struct err *e) MUST_CHECK;
int coordinator__merge_verify(struct coordinator *c, struct store_merge *rec,
			      struct err *e) MUST_CHECK; /* stores the delta: rec->output_root */
void coordinator__merge_attempt_failed(struct coordinator *c, const char *reason); /* tried again, or at its end */
void coordinator__merge_clean(const struct coordinator *c, uint64_t id); /* inputs and output; plan and log stay */
struct gate_lost { /* edits that a merged memory does not answer: their shards do */
	const uint64_t *seqs;
	size_t count;
};
/* In c->txn; `lost`, or NULL, is named in it. */
int coordinator__merge_event(struct coordinator *c, enum store_event_type type, const struct store_merge *rec,
			     const struct gate_lost *lost, struct err *e) MUST_CHECK;
/* Which merge's memory this one is to take the place of; 0: of none. */
uint64_t coordinator__merge_renews(const struct coordinator *c, const struct store_merge *rec);
int coordinator__merge_shards_move(struct coordinator *c, const struct store_merge *rec, int state,
				   struct err *e) MUST_CHECK;
void coordinator__merge_forget(struct coordinator *c);
/* DATA/merge/ID/NAME; "": the folder. ERR_LIMIT. */
int coordinator__merge_path(const struct coordinator *c, uint64_t id, const char *name, char out[PATH_MAX],
			    struct err *e) MUST_CHECK;
void coordinator__gate_advance(struct coordinator *c);
/* All bytes of the merged memory are here, also where they had to be read again from what the job wrote. False: its
 * holder, if any, has lost it; it is merged anew or, where this could not be told for now (out of memory, a full
 * disk), re-tested later. */
bool coordinator__gate_output_whole(struct coordinator *c);
/* Reads all of a published merge's memory; and has what is damaged of it fetched anew. An error says nothing of it. */
int coordinator__merge_read(struct coordinator *c, const struct store_merge *merge, bool *whole,
			    struct err *e) MUST_CHECK;
int coordinator__gate_publish(struct coordinator *c, double score, const struct hash *index_root,
			      const struct gate_lost *lost, struct err *e) MUST_CHECK;
bool coordinator__gate_is(const struct coordinator *c, const struct peer *peer, uint64_t merge, uint64_t epoch);
void coordinator__gate_lost(struct coordinator *c, const char *why);
void coordinator__gate_renew(struct coordinator *c, int64_t expires_ms);
void coordinator__gate_release(struct coordinator *c, int code);
void coordinator__gate_want(struct coordinator *c, uint32_t received_count);

/* --- one a message */
void coordinator__recv_submit(struct coordinator *c, struct msg_received **received);
void coordinator__recv_edit_list(struct coordinator *c, const struct msg_received *received);
void coordinator__recv_hello(struct coordinator *c, const struct msg_received *received);
void coordinator__recv_want(struct coordinator *c, const struct msg_received *received);
void coordinator__recv_release(struct coordinator *c, const struct msg_received *received);
void coordinator__recv_heartbeat(struct coordinator *c, const struct msg_received *received);
void coordinator__unknown(struct coordinator *c, const struct msg_received *received); /* asks for Hello */
void coordinator__recv_progress(struct coordinator *c, const struct msg_received *received);
void coordinator__recv_shard_commit(struct coordinator *c, struct msg_received **received);
/* --- commit_check.c: takes the commit and has its delta checked; then recv_shard_commit.c goes on with it. Takes
 * nothing of one that is being checked already. ERR_AGAIN: it is to be sent again. */
struct commit_verdict {
	int code;
	bool unread; /* the store could not give the delta: the code is not about what the worker made */
	struct err error;
};
int coordinator__commit_check(struct coordinator *c, struct msg_received **received, struct err *e) MUST_CHECK;
void coordinator__commit_checked(struct coordinator *c, const struct msg_received *received,
				 const struct commit_verdict *verdict);
void coordinator__recv_gate_result(struct coordinator *c, const struct msg_received *received);
void coordinator__recv_canary_result(struct coordinator *c, const struct msg_received *received);
void coordinator__recv_have(struct coordinator *c, const struct msg_received *received);
void coordinator__recv_need(struct coordinator *c, const struct msg_received *received);
void coordinator__recv_chunk(struct coordinator *c, struct msg_received **received);
void coordinator__recv_get_manifest(struct coordinator *c, const struct msg_received *received);
void coordinator__recv_version_list(struct coordinator *c, const struct msg_received *received);
void coordinator__recv_node_status(struct coordinator *c, const struct msg_received *received);
void coordinator__recv_merge_run(struct coordinator *c, const struct msg_received *received);
void coordinator__recv_fleet(struct coordinator *c, const struct msg_received *received);
void coordinator__recv_revoke(struct coordinator *c, const struct msg_received *received);
void coordinator__recv_publish(struct coordinator *c, const struct msg_received *received);
int coordinator__rolled_load(struct coordinator *c, struct store_txn *txn, struct err *e) MUST_CHECK;
void coordinator__keys_record_due(struct coordinator *c);
void coordinator__recv_candidate(struct coordinator *c, const struct msg_received *received);
void coordinator__recv_key_list(struct coordinator *c, const struct msg_received *received);
void coordinator__recv_reader_list(struct coordinator *c, const struct msg_received *received);
void coordinator__recv_event_list(struct coordinator *c, const struct msg_received *received);
void coordinator__recv_key_change(struct coordinator *c, const struct msg_received *received);

#endif
