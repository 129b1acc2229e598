/* store.h: what is kept: the ledger of events and its projections, and content-addressed blobs, in two LMDB
 * environments.
 *
 * FOLDER/ledger (small, every acknowledgement) and FOLDER/blobs (large). Records are our own format: type u16, version
 * u16, fields, SHA-256; keys are big-endian. Every read verifies the hash (LMDB has no page checksums): ERR_CORRUPT
 * names the key. The store knows bytes and roots, not protobuf.
 *
 * Threads: one thread writes the ledger (begin to commit) and one the blobs; it may be the same. Everything else about
 * chunks and blobs, and read transactions, may run on other threads. A read transaction never outlives the call that
 * opened it.
 *
 * Folder: one process opens it at a time; a lock file gives ERR_BUSY with the holder's pid.
 *
 * Durability: store_commit and store_chunks_put return after fdatasync (LMDB default flags). A full disk is ERR_FULL
 * (statvfs tells it from a broken one, ERR_IO): nothing of the transaction is kept, reading goes on, and writing too as
 * soon as there is room. After ERR_IO nothing is written until the store is opened again; a cache opens itself
 * anew for what is asked of it next.
 *
 * Room: maps grow by themselves (doubling, up to the stated maximum) between transactions; ERR_LIMIT at the maximum. A
 * write transaction on the ledger finds 16 MiB at least; one that needs more gets ERR_AGAIN and a larger map when it is
 * begun again. A read transaction held for 5 s while the map must grow makes store_begin give ERR_AGAIN.
 *
 * A write that failed half-way (ERR_NOMEM, ERR_AGAIN, …) spoils its transaction: commit gives the code again and keeps
 * nothing. Input that is refused (ERR_INVALID, ERR_EXISTS, ERR_CONFLICT, ERR_LIMIT) does not spoil it.
 *
 * Looking: a store that is opened to `inspect` changes nothing, not even what is damaged; it may lie on a read-only
 * disk. It holds the folder's lock like any other opener, and may hold one read transaction for long.
 *
 * Fault points: store.commit.before, store.commit.after, store.blob.before, store.blob.after, store.disk.read. An error
 * planted after a commit means "kept, but not said". */
#ifndef AMEND_STORE_STORE_H
#define AMEND_STORE_STORE_H

#include "base/buf.h"
#include "base/env.h"
#include "base/hash.h"
#include "base/sm.h"

#include <stdatomic.h>

#define STORE_CHUNK_BYTES       65520
#define STORE_BLOB_CHUNKS_MAX   2046 /* one root chunk lists them: 134 MB */
#define STORE_KEY_BYTES         32   /* a CURVE public key */
#define STORE_ID_BYTES          160  /* edit id with the NUL */
#define STORE_REASON_BYTES      256
#define STORE_SHARD_EDITS_MAX   4096
#define STORE_SHARD_REPLAYS_MAX 256
#define STORE_ALIAS_BYTES       64
#define STORE_META_NAME_BYTES   128
#define STORE_SUBJECT_BYTES_MAX 65536
#define STORE_EVENT_PAYLOAD_MAX 1048576
#define STORE_META_BYTES_MAX    1048576

struct store;
struct store_txn;

struct store_options {
	const struct env *env;
	bool blobs_only; /* workers and nodes: no ledger; what is there is a cache, and set aside where it is damaged */
	bool inspect;    /* only reads what is there: ERR_NOT_FOUND where there is no store, no cache is set aside */
	size_t ledger_map_bytes_max, blobs_map_bytes_max; /* 0: 16 GiB, 256 GiB */
};

/* Makes the folder (0700) when it is missing. ERR_BUSY: another process has it open; ERR_DENIED: not writable;
 * ERR_UNSUPPORTED: another format, another program's data, or a network file system; ERR_CORRUPT: a data file is lost
 * or damaged. A cache's is renamed to data.mdb.damaged and begun anew (STORE-CACHE-SET-ASIDE). */
int store_open(const char *folder, const struct store_options *options, struct store **out, struct err *e) MUST_CHECK;
void store_close(struct store **store);
/* ERR_IO: a file of it was deleted or replaced since it was opened, so that what is written would be lost. A commit
 * looks by itself, and keeps nothing then. Any thread. */
int store_here(struct store *store, struct err *e) MUST_CHECK;

/* --- Transactions on the ledger environment. commit frees the transaction whatever it returns; abort too. */
int store_begin(struct store *store, struct store_txn **out, struct err *e) MUST_CHECK; /* for writing */
int store_begin_read(struct store *store, struct store_txn **out, struct err *e) MUST_CHECK;
int store_commit(struct store_txn **txn, struct err *e) MUST_CHECK;
void store_abort(struct store_txn **txn);

/* --- Events: seq 1, 2, 3, … without gaps, each with the hash of the one before. */
enum store_event_type {
	STORE_EVENT_EDIT_ACCEPTED = 1, /* payload: the record's bytes exactly as received */
	STORE_EVENT_EDIT_PLACED,
	STORE_EVENT_GROUP_ASSIGNED,
	STORE_EVENT_SHARD_COMMITTED,
	STORE_EVENT_SHARD_CLOSED,
	STORE_EVENT_LEASE_GRANTED,
	STORE_EVENT_LEASE_EXPIRED,
	STORE_EVENT_MERGE_PLANNED,
	STORE_EVENT_MERGE_ENDED,
	STORE_EVENT_VERSION_PUBLISHED,
	STORE_EVENT_ALIAS_MOVED,
	STORE_EVENT_EDIT_ENDED /* superseded, failed, rejected, … */,
	STORE_EVENT_EDIT_REVOKED,
	STORE_EVENT_KEY_CHANGED,
	STORE_EVENT_CONFIG_CHANGED,
	STORE_EVENT_EDIT_DUE /* the time has come of a scheduled edit, or the end of a superseded one that was answered
				still */
	,
	STORE_EVENT_SHARD_LOST, /* nobody has its memory any more: its edits are trained again */
};
const char *store_event_name(int type);

struct store_event {
	uint64_t seq;
	enum store_event_type type;
	int64_t time_ms;
	uint8_t actor[STORE_KEY_BYTES]; /* who caused it: a public key */
	struct hash previous, self;     /* self = SHA-256(type, version, seq, time, actor, previous, payload) */
	const void *payload;            /* in the transaction: valid until it ends or, for a writer, the next write */
	size_t payload_len;
};
int store_event_append(struct store_txn *txn, enum store_event_type type, const uint8_t actor[STORE_KEY_BYTES],
		       const void *payload, size_t payload_len, uint64_t *seq, struct err *e) MUST_CHECK;
int store_event_get(struct store_txn *txn, uint64_t seq, struct store_event *out,
		    struct err *e) MUST_CHECK; /* ERR_NOT_FOUND */
int store_event_last(struct store_txn *txn, uint64_t *seq, struct hash *self,
		     struct err *e) MUST_CHECK; /* 0 when empty */
/* Walks [1, last]: gaps, hashes and the chain. ERR_CORRUPT with the first bad seq in *bad_seq. */
int store_event_verify(struct store_txn *txn, uint64_t *bad_seq, struct err *e) MUST_CHECK;

/* --- All records: hashes, fields and what refers to what: the chain of events, an edit for every accepted record and
 * no other, which its id, its state and its shard's list find, counts that fit, no entry of an index, a shard's list or
 * under a subject without its edit, versions without gaps. Whether a record's subject finds it is not looked at: it
 * takes the coordinator's reading of records. ERR_CORRUPT names the first bad one; *bad_seq is its event's, or that of
 * its edit, 0 where it has none. */
struct store_ledger_tally {
	uint64_t event_count, edit_count, version_count, record_count; /* records of every kind but events */
	uint64_t bad_seq;
};
int store_ledger_verify(struct store_txn *txn, struct store_ledger_tally *out, struct err *e) MUST_CHECK;

/* --- Edits. The state table is shared by everything that shows states. */
enum store_edit_state {
	STORE_EDIT_STATE_ACCEPTED,
	STORE_EDIT_STATE_PLACED,
	STORE_EDIT_STATE_TRAINED,
	STORE_EDIT_STATE_SERVED,
	STORE_EDIT_STATE_EXPIRED,
	STORE_EDIT_STATE_REJECTED,
	STORE_EDIT_STATE_FAILED,
	STORE_EDIT_STATE_SUPERSEDED,
	STORE_EDIT_STATE_REVOKED,
	STORE_EDIT_STATE_DEAD,
	STORE_EDIT_STATE_SCHEDULED, /* accepted, its time has not come; last: the numbers are on disk */
	STORE_EDIT_STATE_COUNT,
};
extern const struct sm_table store_edit_states; /* "accepted", "placed", "trained", "served", …, "scheduled" */

struct store_edit {
	uint64_t seq; /* of its STORE_EVENT_EDIT_ACCEPTED event */
	char id[STORE_ID_BYTES];
	struct hash content; /* of the payload bytes */
	int state;
	uint64_t shard;                             /* 0: not placed yet */
	uint64_t superseded_by, supersedes;         /* seq, 0: none */
	uint64_t version;                           /* first published version that contains it, 0: none yet */
	int64_t accepted_ms, trained_ms, served_ms; /* wall clock, 0: not yet */
	uint32_t tries;                             /* trainings that the last commit's re-test took */
	uint32_t losses;                            /* workers lost while they had it in hand */
	char reason[STORE_REASON_BYTES];            /* why failed, rejected, … */
	uint64_t group;                             /* seq of the first edit of its all-or-nothing group, 0: none */
	uint64_t restores;                          /* seq of the superseded edit that it brings back, 0: none */
	uint64_t ended_event;              /* seq of the event that ended it, or took its memory; 0: none has */
	int64_t valid_from_ms, expires_ms; /* wall clock, 0: none */
	int on_conflict;                   /* what a scheduled edit does when its time comes */
};
/* Inserts or replaces by seq; keeps the id and state indexes and the counts. ERR_CONFLICT: another id; ERR_INVALID: a
 * move that store_edit_states does not have (the same of shards and merges). */
int store_edit_put(struct store_txn *txn, const struct store_edit *edit, struct err *e) MUST_CHECK;
int store_edit_get(struct store_txn *txn, uint64_t seq, struct store_edit *out, struct err *e) MUST_CHECK;
/* The newest edit with that id (an id whose edit ended may be used again with a suffix: design.md). */
int store_edit_find(struct store_txn *txn, const char *id, struct store_edit *out, struct err *e) MUST_CHECK;
/* The first edit with seq ≥ `from` whose state is in `state_mask` (SM_TO bits; UINT32_MAX: any). ERR_NOT_FOUND at the
 * end. */
int store_edit_next(struct store_txn *txn, uint64_t from, uint32_t state_mask, struct store_edit *out,
		    struct err *e) MUST_CHECK;
int store_edit_count(struct store_txn *txn, uint64_t counts[STORE_EDIT_STATE_COUNT], struct err *e) MUST_CHECK;
/* Subject or prompt key (folded text) → seqs of its edits in ledger order. add is idempotent. `seqs` is appended to as
 * uint64_t in host order. */
int store_subject_add(struct store_txn *txn, const void *subject, size_t subject_len, uint64_t seq,
		      struct err *e) MUST_CHECK;
int store_subject_list(struct store_txn *txn, const void *subject, size_t subject_len, struct buf *seqs,
		       struct err *e) MUST_CHECK;
/* The same for a word that a prompt without a subject says; the newest `max` edits, newest first. */
int store_word_add(struct store_txn *txn, const char *word, size_t word_len, uint64_t seq, struct err *e) MUST_CHECK;
int store_word_list(struct store_txn *txn, const char *word, size_t word_len, size_t max, struct buf *seqs,
		    struct err *e) MUST_CHECK;
/* The same for the name of a group of edits, which is taken as it is. */
int store_group_add(struct store_txn *txn, const char *name, size_t name_len, uint64_t seq, struct err *e) MUST_CHECK;
int store_group_list(struct store_txn *txn, const char *name, size_t name_len, struct buf *seqs,
		     struct err *e) MUST_CHECK;

/* --- Shards with their lease. */
enum store_shard_state {
	STORE_SHARD_STATE_OPEN,
	STORE_SHARD_STATE_CLOSED,
	STORE_SHARD_STATE_MERGING,
	STORE_SHARD_STATE_MERGED,
	STORE_SHARD_STATE_COUNT
};
extern const struct sm_table store_shard_states; /* open → closed → merging → merged, merging → closed (failed merge),
						    merged → merging (without what was taken back) */

struct store_shard {
	uint64_t id; /* 1, 2, … */
	int state;
	uint64_t epoch;                  /* of the last lease granted; grows for ever */
	uint8_t worker[STORE_KEY_BYTES]; /* who holds or held it */
	uint64_t version;                /* number of commits */
	bool closing;                    /* no more edits are placed here; the closing pass is due */
	struct hash delta_root, index_root, calibration_root; /* of the last commit; zero before the first */
	uint64_t *seqs; /* every edit placed here, ledger order; the first `trained_count` are in the last commit, the
			   next `group_count` are assigned */
	size_t seq_count, trained_count, group_count;
	char note[STORE_REASON_BYTES]; /* backend and instruction set of the last commit */
	/* Edits that left the trained part because people or time took them back; how many of them the assigned
	 * retraining forgets, and how many the last commit has forgotten. assigned > covered: it is in a worker's
	 * hands. */
	uint64_t removal_count, removals_assigned, removals_covered;
	/* Edits of memories that were merged before its first group, chosen with it (L_memo, family `paper`); one
	 * memory's follow one another. */
	struct store_replay {
		uint64_t memory, seq;
	} * replays;
	size_t replay_count;
	bool replays_chosen; /* also where there was none to choose */
};
void store_shard_fini(struct store_shard *shard); /* frees seqs and replays */
int store_shard_put(struct store_txn *txn, const struct store_shard *shard, struct err *e) MUST_CHECK;
int store_shard_get(struct store_txn *txn, uint64_t id, struct store_shard *out,
		    struct err *e) MUST_CHECK; /* caller finis */
int store_shard_next(struct store_txn *txn, uint64_t from, struct store_shard *out,
		     struct err *e) MUST_CHECK; /* id ≥ from; ERR_NOT_FOUND */

/* --- Merges. */
enum store_merge_state {
	STORE_MERGE_STATE_PLANNED,
	STORE_MERGE_STATE_RUNNING,
	STORE_MERGE_STATE_GATED,
	STORE_MERGE_STATE_PUBLISHED,
	STORE_MERGE_STATE_FAILED,
	STORE_MERGE_STATE_COUNT
};
extern const struct sm_table store_merge_states;

struct store_merge {
	uint64_t id;
	int state;
	uint32_t tries, ranks;
	uint64_t shards[64];
	uint64_t shard_versions[64]; /* commits of each shard that the merge has taken; 0: none yet */
	size_t shard_count;
	struct hash plan, output_root; /* SHA-256 of the plan file; blob root of the merged delta */
	struct hash index_root;        /* of the merged memory's index (family `paper`); zero: none */
	uint64_t version;              /* published with, 0: none */
	int64_t planned_ms, ended_ms;
	double score, score_inputs; /* share of edits that pass the re-test, merged and in their shards */
	char reason[STORE_REASON_BYTES];
	uint32_t rounds, reduces; /* of training; sums of matrices over the ranks */
	uint64_t reduced_bytes;   /* of all sums, on one rank */
};
int store_merge_put(struct store_txn *txn, const struct store_merge *merge, struct err *e) MUST_CHECK;
int store_merge_get(struct store_txn *txn, uint64_t id, struct store_merge *out, struct err *e) MUST_CHECK;
int store_merge_next(struct store_txn *txn, uint64_t from, struct store_merge *out, struct err *e) MUST_CHECK;

/* --- Versions and aliases. Versions are 1, 2, 3, …; a manifest is a blob (root). */
struct store_version {
	uint64_t version;
	struct hash root;    /* blob root of the manifest */
	struct hash content; /* SHA-256 of the manifest's bytes: its name */
	int64_t published_ms;
	uint64_t event_seq; /* its STORE_EVENT_VERSION_PUBLISHED event */
	uint32_t memory_count, edit_count;
	char note[STORE_REASON_BYTES]; /* why: "shard 3 version 2", "merge 1" */
};
int store_version_put(struct store_txn *txn, const struct store_version *version,
		      struct err *e) MUST_CHECK; /* ERR_EXISTS: immutable; ERR_INVALID: leaves a gap */
int store_version_get(struct store_txn *txn, uint64_t version, struct store_version *out, struct err *e) MUST_CHECK;
int store_version_last(struct store_txn *txn, uint64_t *version, struct err *e) MUST_CHECK; /* 0 when none */
/* put: ERR_NOT_FOUND when there is no such version. */
int store_alias_put(struct store_txn *txn, const char *name, uint64_t version, struct err *e) MUST_CHECK;
int store_alias_get(struct store_txn *txn, const char *name, uint64_t *version, struct err *e) MUST_CHECK;
/* Versions before `from` have lost their blobs, or are losing them, but for those that an alias names. 1: none. Never
 * lowered. */
int store_kept_put(struct store_txn *txn, uint64_t from, struct err *e) MUST_CHECK;
int store_version_kept(struct store_txn *txn, uint64_t version, bool *kept, struct err *e) MUST_CHECK;
/* Whether it would be kept after store_kept_put(from). */
int store_version_stays(struct store_txn *txn, uint64_t version, uint64_t from, bool *stays, struct err *e) MUST_CHECK;
/* Small named values: "cluster-id", "base-model", "next-shard", … */
#define STORE_META_CLUSTER_ID    "cluster-id"    /* empty or not there: a coordinator's start gives one */
#define STORE_META_RESTORED_FROM "restored-from" /* the id that the store had before it was restored */
int store_meta_put(struct store_txn *txn, const char *name, const void *bytes, size_t byte_count,
		   struct err *e) MUST_CHECK;
int store_meta_get(struct store_txn *txn, const char *name, struct buf *out,
		   struct err *e) MUST_CHECK; /* ERR_NOT_FOUND */

/* The blobs that shards name now, and merges but those that failed and those published ones in whose place a later one
 * of the same shards stands, appended as struct hash, some perhaps twice. Those of versions are in their manifests. */
int store_ledger_roots(struct store_txn *txn, struct buf *roots, struct err *e) MUST_CHECK;

/* --- Blobs: bytes cut into chunks of STORE_CHUNK_BYTES by SHA-256. A root is the hash of the root chunk, which is
 * "AMRT", format u32le 1, length u64le, then the chunks' hashes in order. Everyone splits the same way. */
struct store_chunk {
	struct hash hash;
	const void *bytes;
	size_t byte_count; /* ≤ STORE_CHUNK_BYTES */
};
/* Verifies each hash (ERR_CORRUPT), writes all in one synced transaction; chunks that are there already are skipped,
 * unless their bytes were damaged: then they are replaced. */
int store_chunks_put(struct store *store, const struct store_chunk *chunks, size_t chunk_count,
		     struct err *e) MUST_CHECK;
int store_chunk_get(struct store *store, const struct hash *hash, struct buf *out,
		    struct err *e) MUST_CHECK; /* verified; appended */
int store_chunk_has(struct store *store, const struct hash *hash, bool *has, struct err *e) MUST_CHECK;
/* Splits and stores bytes, the root chunk last, so that a root that was put here is whole; gives the root. */
int store_blob_put(struct store *store, const void *bytes, size_t byte_count, struct hash *root,
		   struct err *e) MUST_CHECK;
/* Reads a whole blob, verified; ERR_NOT_FOUND names the first missing chunk. `byte_limit`: ERR_LIMIT. */
int store_blob_get(struct store *store, const struct hash *root, size_t byte_limit, struct buf *out,
		   struct err *e) MUST_CHECK;
/* Hashes of a root chunk's bytes, appended to `hashes` as struct hash; *byte_count is the blob's length. ERR_CORRUPT.
 * Pure. */
int store_root_parse(const void *root_chunk, size_t root_len, struct buf *hashes, uint64_t *byte_count,
		     struct err *e) MUST_CHECK;
/* The chunks (root chunk first) of a root that are not here, appended as struct hash. If the root chunk itself is
 * missing it is the only one. */
int store_blob_missing(struct store *store, const struct hash *root, struct buf *hashes, struct err *e) MUST_CHECK;
/* As store_blob_missing, but reads every chunk: those that the disk changed are listed too. store_chunks_put with the
 * right bytes heals them. */
int store_blob_damaged(struct store *store, const struct hash *root, struct buf *hashes, struct err *e) MUST_CHECK;
/* Quarantine: a chunk that the disk changed is set apart. It counts as missing from then on, so that whoever has it
 * brings it again, and its bytes are kept as they were found until the right ones are put (LMDB's table "quarantine").
 * Takes those of `hashes` that are here and damaged, in one synced transaction, and appends them to `apart` as struct
 * hash; of one that the disk does not give no bytes are kept. One that is damaged on the disk and right in memory is
 * written anew instead. ERR_UNSUPPORTED: a cache, which needs none. */
int store_quarantine_put(struct store *store, const struct hash *hashes, size_t hash_count, struct buf *apart,
			 struct err *e) MUST_CHECK;
/* Those that are set apart, at most `max`, appended as struct hash, ascending. */
int store_quarantine_list(struct store *store, size_t max, struct buf *hashes, struct err *e) MUST_CHECK;
int store_quarantine_has(struct store *store, const struct hash *hash, bool *has, struct err *e) MUST_CHECK;
/* Reads on from where the walk stands (zero: at the first chunk), at most `chunk_max` chunks, and appends the damaged
 * ones to `bad` as struct hash, also those that the disk does not give. It reads the disk, and not what is in memory,
 * where the file system has direct reads and pages are of 4 KiB; never a page of LMDB's tree. Any thread. */
struct store_scrub {
	struct hash last; /* that was read */
	bool begun, ended;
	uint64_t chunk_count, byte_count; /* read since it began */
};
int store_scrub_step(struct store *store, struct store_scrub *scrub, size_t chunk_max, struct buf *bad,
		     struct err *e) MUST_CHECK;
/* Reads every chunk that is here. ERR_CORRUPT names the first damaged one; the others are read all the same. */
struct store_chunks_tally {
	uint64_t chunk_count, byte_count, bad_count;
};
int store_chunks_verify(struct store *store, struct store_chunks_tally *out, struct err *e) MUST_CHECK;
/* Copies the store as it is used, into `folder`, which must not be there or be empty; it appears whole and synced, or
 * not at all. The ledger is copied first, as of one moment: all chunks that it names are in the store by then, and
 * nothing is collected while a copy runs, so the chunks read afterwards hold all of them. Damaged chunks are set apart
 * in the copy, with their bytes as they were found, and counted. Blocks for as long as it takes, on any thread; the
 * store must stay open. `stop` (may be NULL) set: ERR_INTERRUPTED. ERR_CORRUPT: the copied ledger's chain of events is
 * broken (store_event_verify); ERR_EXISTS: the folder, or FOLDER.part, holds something; ERR_BUSY: another copy to it is
 * being made; ERR_FULL, ERR_IO, ERR_DENIED: of `folder`. */
struct store_backup_tally {
	uint64_t event_count, version_count, chunk_count, byte_count, bad_count; /* bytes of chunks */
};
int store_backup(struct store *store, const char *folder, const atomic_bool *stop, struct store_backup_tally *out,
		 struct err *e) MUST_CHECK;
/* As store_backup, of a backup, for a coordinator to start on: what happens from there on is another history than the
 * one that the cluster had after the backup was made. The copy's cluster id is taken away, so that it gets one of its
 * own, and nodes do not take its versions for the earlier ones of the same numbers. */
int store_restore(struct store *backup, const char *folder, struct store_backup_tally *out, struct err *e) MUST_CHECK;
/* Deletes chunks that nothing needs, a slice a call, so that the thread has other work in between. Needed is what the
 * roots given to `keep` reach; kept as well: what was put or asked for (store_chunk_has) in the last STORE_GRACE_MS, as
 * an upload has no root yet. All by the thread that writes the blobs and the ledger. Before each slice `keep` is to
 * have been given every root that the ledger names by then; it reads a root once, and what it was given stays needed
 * until the end. A slice deletes at most `chunk_max`, looks at 32 times as many, and goes on behind the one before:
 * `more` says that it is not the last, with which goes what is set apart and not needed. The pages are used again for
 * later chunks; the file does not become smaller. ERR_AGAIN (of new and slice): a backup is running, the store was
 * opened less than STORE_GRACE_MS ago, or more than a million chunks came lately; ERR_CORRUPT (of keep): a root's own
 * chunk is damaged or missing, so that nobody knows what it reaches. */
#define STORE_GRACE_MS 600000
struct store_collect;
struct store_collect_tally {
	uint64_t chunk_count, byte_count; /* deleted */
	uint64_t kept_count;              /* looked at and kept */
	bool more;
};
int store_collect_new(struct store *store, struct store_collect **out, struct err *e) MUST_CHECK;
void store_collect_destroy(struct store_collect **collect);
int store_collect_keep(struct store_collect *collect, const struct hash *roots, size_t root_count,
		       struct err *e) MUST_CHECK;
int store_collect_slice(struct store_collect *collect, size_t chunk_max, struct store_collect_tally *out,
			struct err *e) MUST_CHECK;
/* Bytes used and free of the two environments' maps and the file system (for metrics and space thresholds). */
struct store_space {
	uint64_t ledger_bytes, blobs_bytes, disk_free_bytes, disk_bytes;
};
int store_space_get(struct store *store, struct store_space *out, struct err *e) MUST_CHECK;

#endif
