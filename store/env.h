/* env.h (inside store/): tables, transactions and the folder, without lmdb.h. env.c and env_open.c know
 * LMDB (env_lmdb.h); check.c knows the form of its files.
 *
 * Keys and values that come out point into the map: valid until the transaction ends or, for a writer, its next write.
 * After a write that failed half-way the transaction is spoilt: store_commit gives that error and keeps nothing. */
#ifndef AMEND_STORE_ENV_H
#define AMEND_STORE_ENV_H

#include "store/store.h"

#include <limits.h>
#include <sys/types.h>

#define STORE__KEY_BYTES_MAX 200 /* under LMDB's 511; longer text is hashed by the caller */
#define STORE__FORMAT        2

enum store__table {
	STORE__TABLE_FORMAT,
	STORE__TABLE_META,
	STORE__TABLE_COUNTER,
	STORE__TABLE_EVENT,
	STORE__TABLE_EDIT,
	STORE__TABLE_EDIT_ID,
	STORE__TABLE_EDIT_STATE,
	STORE__TABLE_SUBJECT,
	STORE__TABLE_SHARD,
	STORE__TABLE_MERGE,
	STORE__TABLE_VERSION,
	STORE__TABLE_ALIAS,
	STORE__TABLE_CHUNK,
	STORE__TABLE_QUARANTINE, /* chunks that were damaged, as they were found; not in caches */
	STORE__TABLE_COUNT,
};

struct store__bytes {
	const void *data;
	size_t len;
};

struct store__env; /* one LMDB environment */

struct store__lock {
	int fd;
};

struct store__file { /* what a path named when the store was opened */
	dev_t device;
	ino_t inode; /* 0: there was none */
};
enum { STORE__FILE_LOCK, STORE__FILE_LEDGER, STORE__FILE_BLOBS, STORE__FILE_COUNT };

struct store {
	char *folder;
	atomic_uint backup_count; /* running: nothing that the copied ledger names may go */
	const struct env *env;
	struct store__lock lock;
	struct store__file files[STORE__FILE_COUNT];
	struct store__env *ledger, *blobs; /* ledger: NULL with blobs_only */
	struct store__recent *recent;      /* NULL with blobs_only or to inspect */
};

struct store_txn {
	struct store *store;
	struct store__env *env;
	void *handle; /* MDB_txn */
	bool write;
	int failed;                /* the code that spoilt it */
	struct buf scratch;        /* the record being written */
	bool head_known, appended; /* event.c: the last event, read once a transaction */
	uint64_t head_seq;
	struct hash head_self;
	bool counts_known, counts_changed; /* edit.c: edits by state, likewise */
	uint64_t counts[STORE_EDIT_STATE_COUNT];
};

/* --- folder.c: the folder that holds both environments. Never on a network file system. */
int store__folder_open(const char *folder, struct store__lock *lock, struct err *e) MUST_CHECK;
/* Makes nothing but, where it can, the lock file. ERR_NOT_FOUND: there is no such folder. */
int store__folder_inspect(const char *folder, struct store__lock *lock, struct err *e) MUST_CHECK;
void store__folder_close(struct store__lock *lock);
/* Creates FOLDER/name when it is missing and reserves its LMDB lock file, whose pages are written through a map: a full
 * disk would be a SIGBUS later. */
int store__folder_sub(const char *folder, const char *name, size_t lock_bytes, struct err *e) MUST_CHECK;
int store__folder_sync(const char *folder, const char *name, struct err *e) MUST_CHECK;
/* Notes which files it holds; ERR_IO when a path names another one than it did, or none: what is written goes to a file
 * that nobody will find. */
void store__folder_note(const char *folder, struct store__file files[STORE__FILE_COUNT]);
int store__folder_same(const char *folder, const struct store__file files[STORE__FILE_COUNT], struct err *e) MUST_CHECK;
/* Whether a write into the folder fails for want of space (or a file size limit) rather than a broken disk. */
bool store__folder_full(const char *folder, off_t file_bytes);
int store__folder_space(const char *folder, uint64_t *free_bytes, uint64_t *disk_bytes, struct err *e) MUST_CHECK;

/* --- check.c: reads all pages of our trees, but what long values hold. 0 also where the file is not there or empty.
 * ERR_CORRUPT: it is damaged; the text says how, and no more. ERR_NOMEM, ERR_DENIED, ERR_IO. */
int store__file_check(const char *path, struct err *e) MUST_CHECK;

/* --- env.c, env_open.c */
bool store__table_known(const void *name, size_t name_len);
enum store__env_kind {
	STORE__LEDGER, /* all tables but chunks */
	STORE__BLOBS,  /* chunks, and damaged ones apart */
	STORE__CACHE,  /* chunks of a worker or a node, that are also elsewhere or can be made again */
};
/* map_bytes_max 0: the default. `inspect`: nothing is written, ERR_NOT_FOUND where there is none. */
int store__env_open(const char *folder, enum store__env_kind kind, bool inspect, size_t map_bytes_max,
		    struct store__env **out, struct err *e) MUST_CHECK;
/* What to do about an environment of another format: to remove it where it is a cache, else `otherwise`. */
const char *store__env_step(const struct store__env *env, const char *otherwise);
/* What to do about a damaged one. */
const char *store__env_mend(const struct store__env *env);
void store__env_close(struct store__env **env);
uint64_t store__env_used_bytes(struct store__env *env);
bool store__env_has_quarantine(const struct store__env *env);

/* Writes all of it as of one moment to `fd` (named `path` in errors), beside readers and writers. */
int store__env_copy(struct store__env *env, int fd, const char *path, const atomic_bool *stop,
		    struct err *e) MUST_CHECK; /* `stop`: as store_backup */

/* `need_bytes`: space that a writer is going to use; the map is grown for it before the transaction begins. */
int store__txn_begin(struct store *store, struct store__env *env, bool write, size_t need_bytes, struct store_txn **out,
		     struct err *e) MUST_CHECK;
/* ERR_AGAIN: the map was too small and will be larger for the next transaction. */
int store__txn_commit(struct store_txn **txn, struct err *e) MUST_CHECK;
void store__txn_abort(struct store_txn **txn);
/* Notes that a write failed half-way; returns `code`. */
int store__txn_spoil(struct store_txn *txn, int code);

int store__get(struct store_txn *txn, enum store__table table, struct store__bytes key, struct store__bytes *value,
	       struct err *e) MUST_CHECK; /* ERR_NOT_FOUND */
int store__put(struct store_txn *txn, enum store__table table, struct store__bytes key, struct store__bytes value,
	       struct err *e) MUST_CHECK; /* inserts or replaces */
int store__remove(struct store_txn *txn, enum store__table table, struct store__bytes key, struct err *e) MUST_CHECK;
/* The first entry whose key is not before `from`; the last entry. ERR_NOT_FOUND. */
int store__seek(struct store_txn *txn, enum store__table table, struct store__bytes from, struct store__bytes *key,
		struct store__bytes *value, struct err *e) MUST_CHECK;
int store__last(struct store_txn *txn, enum store__table table, struct store__bytes *key, struct store__bytes *value,
		struct err *e) MUST_CHECK;
/* Where the file lies in memory; *map NULL: not known. */
int store__map_find(struct store_txn *txn, const uint8_t **map, size_t *map_bytes, struct err *e) MUST_CHECK;
int store__count(struct store_txn *txn, enum store__table table, uint64_t *count, struct err *e) MUST_CHECK;
/* Where a transaction's data lies, for error text: "/data/ledger". */
const char *store__txn_path(const struct store_txn *txn);

/* --- disk.c: values of a transaction on the blobs as the disk has them. One thread; closed before the transaction. */
#define STORE__DISK_PAGE_BYTES 4096 /* where a page has another size, the map is all there is */
struct store__disk {
	int fd;
	bool direct;        /* reads do not come from memory */
	const uint8_t *map; /* NULL: not known where it lies, values are taken from it */
	size_t map_bytes;
	uint8_t *bytes; /* that were read last */
	char path[PATH_MAX];
};
int store__disk_open(struct store_txn *txn, struct store__disk *out, struct err *e) MUST_CHECK;
void store__disk_close(struct store__disk *disk);
/* False: the disk does not give it, and nothing may touch it in the map. Else *out is valid until the next read. */
bool store__disk_read(struct store__disk *disk, struct store__bytes value, struct store__bytes *out);
/* Before such a value is removed: LMDB looks at the head of its first page. Where the disk does not give that either,
 * it is written anew, the page's other bytes zero. ERR_IO. */
int store__disk_head_renew(struct store__disk *disk, struct store__bytes value, struct err *e) MUST_CHECK;

/* --- hashes.c: a set of hashes, in memory. One thread at a time. `add`: ERR_NOMEM, the set is as before. */
struct store__hashes {
	struct hash *slots;
	size_t slot_count, count; /* slots: a power of two, a quarter of them free */
};
int store__hashes_add(struct store__hashes *set, const struct hash *hash) MUST_CHECK;
bool store__hashes_has(const struct store__hashes *set, const struct hash *hash);
void store__hashes_free(struct store__hashes *set);

/* --- collect.c: chunks that somebody has put or asked for lately, and may be about to name in the ledger. */
int store__recent_new(const struct env *env, struct store__recent **out, struct err *e) MUST_CHECK;
void store__recent_free(struct store__recent **recent);
/* Any thread; nothing where `recent` is NULL. */
int store__recent_add(struct store *store, const struct hash *hash, struct err *e) MUST_CHECK;

/* --- quarantine.c: the right bytes are back: forgets the damaged ones. */
int store__quarantine_leave(struct store_txn *txn, const struct hash *hash, struct err *e) MUST_CHECK;
/* A copy's: sets apart chunks as they were found, their hashes wrong, but those that are here. */
int store__quarantine_add(struct store *copy, const struct store_chunk *chunks, size_t chunk_count,
			  struct err *e) MUST_CHECK;
int store__quarantine_count(struct store *store, uint64_t *count, struct err *e) MUST_CHECK;
/* The next entry behind *last, of a table whose keys are hashes; the first one unless *begun. Goes on to it. */
int store__hash_next(struct store_txn *txn, enum store__table table, struct hash *last, bool *begun,
		     struct store__bytes *value, struct err *e) MUST_CHECK; /* ERR_NOT_FOUND: it was the last */

/* --- event.c: writes the head record of a transaction that appended events, before its commit. */
int store__event_seal(struct store_txn *txn, struct err *e) MUST_CHECK;
/* --- edit.c: writes the counts by state, likewise. */
int store__edit_seal(struct store_txn *txn, struct err *e) MUST_CHECK;

#endif
