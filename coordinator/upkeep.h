/* upkeep.h (inside coordinator/): what keeps the store whole and small: damaged chunks are found (scrub.c reads them
 * from the disk), set apart and fetched anew (heal.c), and what nothing needs is given back (collect.c; needed.c says
 * what is). */
#ifndef AMEND_COORDINATOR_UPKEEP_H
#define AMEND_COORDINATOR_UPKEEP_H

#include "base/pool.h"
#include "coordinator/coordinator.h"

struct proto_memory;
struct shard;

struct heal { /* chunks that the disk changed and that are looked for */
	struct heal_item {
		struct hash hash;
		uint32_t rounds; /* in which nobody gave it */
		bool given_up;   /* what needs it was looked at (lost.c) */
		int64_t lost_ms; /* monotonic: when it became lost */
	} * items;               /* ascending */
	size_t count, room;
	bool beyond;            /* more than the list may hold are set apart */
	struct hash from, upto; /* those of this round, which one message can name */
	size_t round_next;      /* place of the peer that is asked next */
	uint64_t asked_route;
	size_t given;   /* by the one that was asked last */
	int64_t ask_ms; /* monotonic */
	bool changed, searching;
	struct buf versions; /* uint64_t, ascending: those that need what is lost, as the last search found them */
	struct buf text;     /* what is lost and what to do, for people; empty: nothing */
	uint64_t found_count, healed_count;
};

struct collection { /* one that is under way */
	struct store_collect *store;
	uint64_t listed, from;          /* versions that were looked at; those from here on stay */
	uint8_t actor[PROTO_KEY_BYTES]; /* who asked */
	bool given_up;                  /* the ledger says so of those before, or there are none */
	char note[STORE_REASON_BYTES];  /* which stay besides, as they are in use; "": none */
};

struct collecting {
	/* The lowest versions whose manifest somebody has asked for, in the last one or two times STORE_GRACE_MS;
	 * UINT64_MAX: none. */
	uint64_t asked_young, asked_old;
	int64_t turned_ms; /* monotonic */
	/* What the coordinator does by itself (store.keep_versions). */
	bool running;
	int64_t next_ms;
	struct collection work;
	struct store_collect_tally tally;
};

struct scrub {
	struct pool_job job; /* first: the pool gives it back */
	struct coordinator *coordinator;
	bool running; /* what follows is the job's until it is done */
	struct store *store;
	struct store_scrub walk;
	struct buf bad;
	struct err error;
	int code;
	uint64_t step_bytes;
	uint64_t byte_count, pass_count; /* since the start; the loop's */
	int64_t next_ms;
};

/* --- collect.c: gives back chunks. Versions but the newest `keep_versions` (0: all) lose their blobs, but for those
 * that are in use. A step is a part of it that the loop has time for; adds to *total, `more` until all is gone. After
 * an error, ERR_AGAIN too, it is to be ended. `actor`: NULL, this coordinator. */
int coordinator__collect_begin(struct coordinator *c, uint64_t keep_versions, const uint8_t *actor,
			       struct collection *out, struct err *e) MUST_CHECK;
int coordinator__collect_step(struct coordinator *c, struct collection *collection, struct store_collect_tally *total,
			      struct err *e) MUST_CHECK;
void coordinator__collect_end(struct collection *collection);
void coordinator__collect_asked(struct coordinator *c, uint64_t version); /* somebody is about to fetch it */
void coordinator__collect_log(const struct store_collect_tally *tally, int code, const struct err *e);
void coordinator__collect_advance(struct coordinator *c); /* what it does by itself */
void coordinator__collect_init(struct coordinator *c);
/* --- needed.c: the blobs of a manifest, its own first, appended as struct hash, also where it cannot be read. */
int coordinator__manifest_roots(struct store *store, const struct hash *root, struct buf *roots,
				struct err *e) MUST_CHECK;
/* --- heal.c: chunks whose bytes do not match their hash. */
int coordinator__heal_load(struct coordinator *c, struct err *e) MUST_CHECK;
/* Sets them apart, those that are damaged, and has them fetched anew. `by`: what found them, for the log. */
void coordinator__rot_found(struct coordinator *c, const struct hash *hashes, size_t count, const char *by);
/* Reads all of a blob, and does the same for what is damaged of it. *bad_count: chunks that are damaged or not here; 0:
 * it is whole. An error says nothing of that. */
int coordinator__blob_suspect(struct coordinator *c, const struct hash *root, size_t *bad_count,
			      struct err *e) MUST_CHECK;
/* store_blob_get, and what it finds damaged is set apart. */
int coordinator__blob_get(struct coordinator *c, const struct hash *root, size_t byte_limit, struct buf *out,
			  struct err *e) MUST_CHECK;
bool coordinator__heal_wants(const struct coordinator *c, const struct hash *hash);
bool coordinator__heal_waits(const struct coordinator *c, const struct hash *hash); /* and it is not lost yet */
/* It has been lost for config.retrain_ms: what is of it is made anew. */
bool coordinator__heal_given_up(const struct coordinator *c, const struct hash *hash);
void coordinator__heal_stored(struct coordinator *c, const struct hash *hash, const uint8_t *by);
/* store_blob_put of a blob that may have been damaged: its chunks are looked for no more. */
int coordinator__heal_put(struct coordinator *c, const void *bytes, size_t byte_count, struct hash *root,
			  struct err *e) MUST_CHECK;
void coordinator__heal_refused(struct coordinator *c, uint64_t route); /* this peer has not got it */
void coordinator__heal_advance(struct coordinator *c);
void coordinator__heal_count(const struct coordinator *c, size_t *wanted, size_t *lost);
void coordinator__heal_free(struct coordinator *c);
/* --- lost.c: memories of which nobody has a chunk any more. */
bool coordinator__shard_memory(const struct shard *shard); /* its last commit is one that versions name */
bool coordinator__shard_lost(const struct shard *shard);   /* that is lost, and its edits are trained again */
bool coordinator__merge_lost(const struct store_merge *merge);
/* A memory of a version can be loaded by nobody any more: a chunk has been lost for long enough, or the ledger says so.
 */
int coordinator__memory_lost(struct coordinator *c, const struct proto_memory *memory, bool *lost,
			     struct err *e) MUST_CHECK;
int coordinator__root_lost(struct coordinator *c, const struct hash *root, bool *lost,
			   struct err *e) MUST_CHECK; /* the same of a blob */
/* `seqs`: the edits with this ended_event that the newest version served when their memory was lost, in order, as
 * uint64_t, if no rollback has taken that back: whoever approved that has approved them. None: the event is another. */
int coordinator__lost_in_force(struct coordinator *c, struct store_txn *txn, uint64_t ended_event, struct buf *seqs,
			       struct err *e) MUST_CHECK;
/* Gives up what is lost for good. False: something of it could not be for now, and is to be looked at again. */
bool coordinator__lost_look(struct coordinator *c);
void coordinator__lost_text(const struct coordinator *c, struct buf *out); /* for people, appended; nothing: none is */
/* --- scrub.c */
void coordinator__scrub_advance(struct coordinator *c);

/* --- recv_store.c */
void coordinator__recv_store_run(struct coordinator *c, const struct msg_received *received);
void coordinator__store_work_poll(struct coordinator *c);
void coordinator__store_work_stop(struct coordinator *c); /* asks it to end; does not wait */
void coordinator__store_work_free(struct coordinator *c); /* waits for its end */

#endif
