/* backup.c: a copy of a store that is in use. It is made beside its place, as FOLDER.part, and renamed when all of it
 * is on disk. */
#include "base/fault.h"
#include "store/env.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define UNFINISHED  "/unfinished"
#define STEP_CHUNKS 64 /* read at once, so that no read transaction is held while the copy is synced: 4 MB */

static int path_make(char out[PATH_MAX], const char *folder, const char *name, struct err *e)
{
	return snprintf(out, PATH_MAX, "%s%s", folder, name) < PATH_MAX
		       ? 0
		       : err_set(e, ERR_INVALID, "backup: its path is longer than %d bytes", PATH_MAX);
}

/* --- FOLDER.part: it is ours while we hold its lock, and an unfinished copy while UNFINISHED is in it. */

static int part_unlink(const char *part, const char *name, struct err *e)
{
	char path[PATH_MAX];
	int rc = path_make(path, part, name, e);
	if (!rc && unlink(path) && errno != ENOENT && errno != ENOTDIR)
		rc = err_errno(e, ERR_IO, errno, "backup: removing %s", path);
	return rc;
}

static int part_rmdir(const char *part, const char *name, struct err *e)
{
	char path[PATH_MAX];
	int rc = path_make(path, part, name, e);
	if (!rc && rmdir(path) && errno != ENOENT)
		rc = err_errno(e, ERR_IO, errno, "backup: %s is in the way: remove it", path);
	return rc;
}

/* What a copy has left, but for the two files that say whose the folder is. */
static int part_clear(const char *part, struct err *e)
{
	static const char *const files[] = { "/ledger/data.mdb", "/ledger/lock.mdb", "/blobs/data.mdb",
					     "/blobs/lock.mdb" };
	int rc = 0;
	for (size_t i = 0; !rc && i < sizeof(files) / sizeof(files[0]); i++)
		rc = part_unlink(part, files[i], e);
	if (!rc)
		rc = part_rmdir(part, "/ledger", e);
	return rc ? rc : part_rmdir(part, "/blobs", e);
}

static int part_remove(const char *part, struct err *e)
{
	int rc = part_clear(part, e);
	if (!rc)
		rc = part_unlink(part, UNFINISHED, e);
	if (!rc)
		rc = part_unlink(part, "/lock", e);
	return rc ? rc : part_rmdir(part, "", e);
}

/* Only what a copy that was cut short has left is cleared, never a data folder that has this name. */
static int part_check(const char *part, struct err *e)
{
	bool unfinished = false, filled = false, alien = false;
	DIR *dir = opendir(part);
	if (!dir)
		return errno == ENOENT ? 0 : err_errno(e, ERR_IO, errno, "backup: looking into %s", part);
	for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
		const char *name = entry->d_name;
		if (strcmp(name, UNFINISHED + 1) == 0)
			unfinished = true;
		else if (strcmp(name, "ledger") == 0 || strcmp(name, "blobs") == 0)
			filled = true;
		else if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && strcmp(name, "lock") != 0)
			alien = true;
	}
	closedir(dir);
	return alien || (filled && !unfinished)
		       ? err_set(e, ERR_EXISTS,
				 "backup: %s is in the way, and no unfinished copy: remove it, or name another folder",
				 part)
		       : 0;
}

/* The lock is of the folder that has the name now: another copy may have been done, or given up, in between. */
static bool lock_is_of(const char *part, const struct store__lock *lock)
{
	char path[PATH_MAX];
	struct stat ours, there;
	return snprintf(path, sizeof(path), "%s/lock", part) < (int)sizeof(path) && !fstat(lock->fd, &ours) &&
	       !stat(path, &there) && ours.st_dev == there.st_dev && ours.st_ino == there.st_ino;
}

static int part_mark(const char *part, struct err *e)
{
	char path[PATH_MAX];
	int rc = path_make(path, part, UNFINISHED, e);
	if (rc)
		return rc;
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_open(e, errno, "backup: making %s", path);
	close(fd);
	return file_sync_folder(part, e);
}

static int part_lock(const char *part, struct store__lock *lock, struct err *e)
{
	int rc = part_check(part, e);
	if (!rc)
		rc = store__folder_open(part, lock, e); /* refuses network file systems, too */
	if (!rc && !lock_is_of(part, lock))
		rc = err_set(e, ERR_BUSY, "backup: %s: another copy was being made: try again", part);
	if (!rc)
		rc = part_check(part, e);
	if (!rc)
		rc = part_mark(part, e);
	if (!rc)
		rc = part_clear(part, e);
	if (rc)
		store__folder_close(lock);
	return rc;
}

/* rename() takes the place of a folder only where it is empty; said before the work is done. */
static int place_check(const char *folder, struct err *e)
{
	struct stat st;
	if (stat(folder, &st))
		return errno == ENOENT ? 0 : err_errno(e, ERR_IO, errno, "backup folder %s", folder);
	if (S_ISDIR(st.st_mode) && !rmdir(folder))
		return 0;
	return err_set(e, ERR_EXISTS, "backup folder %s: holds something already: name a new one", folder);
}

static int copy_ledger(struct store *store, const char *part, const atomic_bool *stop, struct err *e)
{
	char path[PATH_MAX];
	int rc = path_make(path, part, "/ledger", e);
	if (!rc && mkdir(path, 0700))
		rc = err_errno(e, ERR_IO, errno, "backup: making %s", path);
	if (!rc)
		rc = path_make(path, part, "/ledger/data.mdb", e);
	if (rc)
		return rc;
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_open(e, errno, "backup: making %s", path);
	rc = store__env_copy(store->ledger, fd, path, stop, e);
	if (!rc && fsync(fd))
		rc = err_errno(e, ERR_IO, errno, "backup: syncing %s", path);
	close(fd);
	return rc ? rc : store__folder_sync(part, "ledger", e);
}

/* --- Chunks: by their order, a step a transaction. One that was there when the ledger was copied stays, so no step
 * misses it; but one that is healed meanwhile goes from the quarantine to where a step has been, and one that is found
 * damaged the other way. So the quarantine is copied before and after: what is in either is in the copy. */

struct lot {
	struct store_chunk chunks[STEP_CHUNKS];
	size_t count;
	struct buf bytes; /* of one after the other; they outlive the transaction */
};

struct walk {
	enum store__table table;
	struct lot whole, damaged; /* of this step */
	struct hash last;          /* goes on behind it */
	bool begun, ended;
};

static void lot_clear(struct lot *lot)
{
	lot->count = 0;
	buf_clear(&lot->bytes);
}

static void lot_add(struct lot *lot, const struct hash *hash, struct store__bytes value)
{
	lot->chunks[lot->count++] = (struct store_chunk){ .hash = *hash, .byte_count = value.len };
	buf_append(&lot->bytes, value.data, value.len);
}

static int lot_end(struct lot *lot, struct err *e)
{
	size_t at = 0;
	if (buf_failed(&lot->bytes))
		return err_set(e, ERR_NOMEM, "backup: out of memory");
	for (size_t i = 0; i < lot->count; at += lot->chunks[i++].byte_count)
		lot->chunks[i].bytes = lot->bytes.data + at;
	return 0;
}

static bool is_whole(const struct walk *walk, struct store__bytes value)
{
	struct hash found;
	hash_of(value.data, value.len, &found);
	return walk->table == STORE__TABLE_CHUNK && hash_equal(&found, &walk->last) && value.len <= STORE_CHUNK_BYTES;
}

/* What the disk does not give is damaged, and nothing is known of its bytes. */
static void walk_take(struct walk *walk, struct store__disk *disk, struct store__bytes value)
{
	struct store__bytes found = { NULL, 0 };
	const bool read = store__disk_read(disk, value, &found);
	if (read && is_whole(walk, found))
		lot_add(&walk->whole, &walk->last, found);
	else if (read && is_whole(walk, value)) /* memory has it still */
		lot_add(&walk->whole, &walk->last, value);
	else
		lot_add(&walk->damaged, &walk->last, found);
}

static int walk_read(struct store *store, struct walk *walk, struct err *e)
{
	struct store_txn *txn;
	struct store__disk disk;
	struct store__bytes value;
	int rc = store__txn_begin(store, store->blobs, false, 0, &txn, e);
	if (rc)
		return rc;
	lot_clear(&walk->whole);
	lot_clear(&walk->damaged);
	rc = store__disk_open(txn, &disk, e);
	for (size_t looked = 0; !rc && looked < STEP_CHUNKS; looked++) {
		rc = store__hash_next(txn, walk->table, &walk->last, &walk->begun, &value, e);
		if (!rc)
			walk_take(walk, &disk, value);
	}
	store__disk_close(&disk);
	store__txn_abort(&txn);
	walk->ended = rc == ERR_NOT_FOUND;
	if (walk->ended) {
		err_clear(e);
		rc = 0;
	}
	if (!rc)
		rc = lot_end(&walk->whole, e);
	return rc ? rc : lot_end(&walk->damaged, e);
}

static int copy_step(struct store *store, struct store *copy, struct walk *walk, struct store_backup_tally *tally,
		     struct err *e)
{
	int rc = walk_read(store, walk, e);
	if (!rc && walk->whole.count > 0)
		rc = store_chunks_put(copy, walk->whole.chunks, walk->whole.count, e);
	if (!rc && walk->damaged.count > 0)
		rc = store__quarantine_add(copy, walk->damaged.chunks, walk->damaged.count, e);
	tally->chunk_count += walk->whole.count;
	tally->byte_count += walk->whole.bytes.len;
	return rc;
}

static int copy_table(struct store *store, struct store *copy, enum store__table table, const atomic_bool *stop,
		      struct store_backup_tally *tally, struct err *e)
{
	struct walk *walk = fault_calloc(1, sizeof(*walk));
	int rc = walk ? 0 : err_set(e, ERR_NOMEM, "backup: out of memory");
	if (!rc)
		walk->table = table;
	while (!rc && !walk->ended) {
		rc = stop != NULL && atomic_load(stop) ? err_set(e, ERR_INTERRUPTED, "backup: the program ends") : 0;
		if (!rc)
			rc = copy_step(store, copy, walk, tally, e);
	}
	if (walk) {
		buf_free(&walk->whole.bytes);
		buf_free(&walk->damaged.bytes);
	}
	free(walk);
	return rc;
}

static int copy_chunks(struct store *store, struct store *copy, const atomic_bool *stop,
		       struct store_backup_tally *tally, struct err *e)
{
	static const enum store__table tables[] = { STORE__TABLE_QUARANTINE, STORE__TABLE_CHUNK,
						    STORE__TABLE_QUARANTINE };
	int rc = 0;
	for (size_t i = 0; !rc && i < sizeof(tables) / sizeof(tables[0]); i++)
		if (tables[i] == STORE__TABLE_CHUNK || store__env_has_quarantine(store->blobs))
			rc = copy_table(store, copy, tables[i], stop, tally, e);
	return rc ? rc : store__quarantine_count(copy, &tally->bad_count, e);
}

/* What the copied ledger says, not what the store's says by now: its chain, from the beginning, and its counts. */
static int copy_check(const char *part, struct store_backup_tally *tally, struct err *e)
{
	struct store copy = { .folder = (char *)part, .lock = { .fd = -1 } };
	struct store_txn *txn = NULL;
	uint64_t bad_seq;
	int rc = store__env_open(part, STORE__LEDGER, true, 0, &copy.ledger, e);
	if (!rc)
		rc = store_begin_read(&copy, &txn, e);
	if (!rc)
		rc = store_event_verify(txn, &bad_seq, e);
	if (!rc)
		rc = store_event_last(txn, &tally->event_count, NULL, e);
	if (!rc)
		rc = store_version_last(txn, &tally->version_count, e);
	store_abort(&txn);
	store__env_close(&copy.ledger);
	return rc;
}

static int part_fill(struct store *store, const char *part, const atomic_bool *stop, struct store_backup_tally *tally,
		     struct err *e)
{
	struct store copy = { .folder = (char *)part, .env = store->env, .lock = { .fd = -1 } };
	int rc = copy_ledger(store, part, stop, e);
	if (!rc && fault_point("store.backup.ledger"))
		rc = err_set(e, ERR_FAULT, "backup: fault planted behind the ledger");
	if (!rc)
		rc = copy_check(part, tally, e);
	if (rc == ERR_CORRUPT)
		err_wrap(e, "backup: the ledger of %s is damaged, no copy is made of it", store->folder);
	if (!rc)
		rc = store__env_open(part, STORE__BLOBS, false, 0, &copy.blobs, e);
	if (!rc)
		rc = copy_chunks(store, &copy, stop, tally, e);
	store__env_close(&copy.blobs);
	return rc;
}

/* Another history begins with this copy: the coordinator that starts on it gives it an id of its own. */
static int part_mark_restored(struct store *store, const char *part, struct err *e)
{
	struct store copy = { .folder = (char *)part, .env = store->env, .lock = { .fd = -1 } };
	struct store_txn *txn = NULL;
	struct buf id = BUF_INIT;
	int rc = store__env_open(part, STORE__LEDGER, false, 0, &copy.ledger, e);
	if (!rc)
		rc = store_begin(&copy, &txn, e);
	if (!rc)
		rc = store_meta_get(txn, STORE_META_CLUSTER_ID, &id, e);
	if (!rc && id.len > 0) /* else nobody has started the last restored copy */
		rc = store_meta_put(txn, STORE_META_RESTORED_FROM, id.data, id.len, e);
	if (!rc)
		rc = store_meta_put(txn, STORE_META_CLUSTER_ID, "", 0, e);
	if (!rc)
		rc = store_commit(&txn, e);
	if (rc == ERR_NOT_FOUND) { /* no coordinator has ever started on it */
		err_clear(e);
		rc = 0;
	}
	store_abort(&txn);
	store__env_close(&copy.ledger);
	buf_free(&id);
	return rc;
}

static int part_place(const char *part, const char *folder, struct err *e)
{
	char above[PATH_MAX];
	struct err ignored = ERR_INIT;
	if (rename(part, folder))
		return err_errno(e, errno == ENOTEMPTY || errno == EEXIST ? ERR_EXISTS : ERR_IO, errno,
				 "backup folder %s: putting %s in its place", folder, part);
	int rc = path_make(above, folder, "/..", e);
	if (!rc)
		rc = file_sync_folder(above, e);
	if (!rc && fault_point("store.backup.placed"))
		rc = err_set(e, ERR_FAULT, "fault planted behind the rename");
	if (rc)
		err_wrap(e, "backup folder %s: is there and whole, but its name may be lost with the power", folder);
	(void)part_unlink(folder, UNFINISHED, &ignored); /* says nothing here: it speaks of FOLDER.part */
	return rc;
}

static int copy_make(struct store *store, const char *folder, const atomic_bool *stop, bool restored,
		     struct store_backup_tally *out, struct err *e)
{
	char part[PATH_MAX];
	struct store__lock lock = { .fd = -1 };
	memset(out, 0, sizeof(*out));
	if (!store->ledger)
		return err_set(e, ERR_UNSUPPORTED, "data folder %s: holds no ledger: it is a cache", store->folder);
	size_t len = strlen(folder);
	if (!len || folder[len - 1] == '/')
		return err_set(e, ERR_INVALID, "backup folder \"%.100s\": is empty or ends in a slash", folder);
	int rc = path_make(part, folder, ".part", e);
	if (!rc)
		rc = place_check(folder, e);
	if (!rc)
		rc = part_lock(part, &lock, e);
	if (rc)
		return rc;
	atomic_fetch_add(&store->backup_count, 1);
	rc = part_fill(store, part, stop, out, e);
	atomic_fetch_sub(&store->backup_count, 1);
	if (!rc && restored)
		rc = part_mark_restored(store, part, e);
	if (!rc)
		rc = part_place(part, folder, e);
	if (rc) {
		struct err ignored = ERR_INIT;
		(void)part_remove(part, &ignored); /* else the next copy does */
	}
	store__folder_close(&lock);
	return rc;
}

int store_backup(struct store *store, const char *folder, const atomic_bool *stop, struct store_backup_tally *out,
		 struct err *e)
{
	return copy_make(store, folder, stop, false, out, e);
}

int store_restore(struct store *backup, const char *folder, struct store_backup_tally *out, struct err *e)
{
	return copy_make(backup, folder, NULL, true, out, e);
}
