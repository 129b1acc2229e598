/* store.c: opening and closing a store, and transactions on its ledger. */
#include "store/store.h"
#include "base/fault.h"
#include "base/log.h"
#include "store/env.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Room that every writer finds: a group of 100 records of 32 KiB, their events and the pages copied on the way, four
 * times over. */
#define GROUP_BYTES ((size_t)16 << 20)

struct data_file {
	bool there, empty; /* empty: also where it is not there */
};

static int look_at(const char *folder, const char *name, struct data_file *out, struct err *e)
{
	char path[PATH_MAX];
	struct stat st = { .st_size = 0 };
	if (snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int)sizeof(path))
		return err_set(e, ERR_INVALID, "data folder: its path is longer than %d bytes", PATH_MAX);
	bool there = stat(path, &st) == 0;
	if (!there && errno != ENOENT && errno != ENOTDIR)
		return err_errno(e, ERR_IO, errno, "data folder %s: looking for %s", folder, name);
	*out = (struct data_file){ there, st.st_size == 0 };
	return 0;
}

static const char *lost_how(const struct data_file *file)
{
	return file->there ? "empty" : "missing";
}

/* Blobs are made after the ledger, so they never stand beside none unless it was lost. LMDB takes a file of no bytes
 * for a new one. */
static int refuse_lost_ledger(const char *folder, const struct data_file *ledger, const struct data_file *blobs,
			      struct err *e)
{
	if (!ledger->empty || !blobs->there)
		return 0;
	return err_set(e, ERR_CORRUPT,
		       "data folder %s: ledger/data.mdb is %s beside its blobs: put both back from a backup, or, where "
		       "it was a worker's or a node's, name another folder",
		       folder, lost_how(ledger));
}

/* A ledger without versions may be one whose first opening was cut short. */
static int refuse_lost_blobs(struct store *store, const struct data_file *blobs, struct err *e)
{
	struct store_txn *txn = NULL;
	uint64_t version = 0;
	int rc = store_begin_read(store, &txn, e);
	if (!rc)
		rc = store_version_last(txn, &version, e);
	store_abort(&txn);
	if (rc || version == 0)
		return rc;
	return err_set(e, ERR_CORRUPT,
		       "data folder %s: blobs/data.mdb is %s beside a ledger of %" PRIu64
		       " version(s), whose deltas were in it: put both back from a backup, or name another folder",
		       store->folder, lost_how(blobs), version);
}

/* The damaged file is kept for who wants to look at it, until the next one takes its place. */
static int set_aside(const char *folder, const struct err *why, struct err *e)
{
	char from[PATH_MAX], to[PATH_MAX];
	if (snprintf(from, sizeof(from), "%s/blobs/data.mdb", folder) >= (int)sizeof(from) ||
	    snprintf(to, sizeof(to), "%s.damaged", from) >= (int)sizeof(to))
		return err_set(e, ERR_INVALID, "data folder: its path is longer than %d bytes", PATH_MAX);
	if (rename(from, to))
		return err_errno(e, ERR_IO, errno, "%s: it is damaged: renaming it to %s", from, to);
	log_event(LOG_WARN, "STORE-CACHE-SET-ASIDE", LOGF_S("kept", to), LOGF_S("reason", why->text));
	return 0;
}

static int open_cache(const char *folder, const struct store_options *options, struct store__env **out, struct err *e)
{
	struct err why = ERR_INIT;
	int rc = store__env_open(folder, STORE__CACHE, options->inspect, options->blobs_map_bytes_max, out, &why);
	if (rc == ERR_CORRUPT && !options->inspect) {
		rc = set_aside(folder, &why, e);
		return rc ? rc
			  : store__env_open(folder, STORE__CACHE, options->inspect, options->blobs_map_bytes_max, out,
					    e);
	}
	return rc ? err_set(e, rc, "%s", why.text) : 0;
}

static int open_parts(struct store *store, const char *folder, const struct store_options *options, struct err *e)
{
	struct data_file ledger = { false, true }, blobs = { false, true };
	int rc = options->inspect ? store__folder_inspect(folder, &store->lock, e)
				  : store__folder_open(folder, &store->lock, e);
	if (!rc)
		rc = look_at(folder, "ledger/data.mdb", &ledger, e);
	if (!rc)
		rc = look_at(folder, "blobs/data.mdb", &blobs, e);
	if (!rc && !options->blobs_only)
		rc = refuse_lost_ledger(folder, &ledger, &blobs, e);
	if (!rc && !options->blobs_only)
		rc = store__env_open(folder, STORE__LEDGER, options->inspect, options->ledger_map_bytes_max,
				     &store->ledger, e);
	if (!rc && !ledger.empty && blobs.empty && !options->blobs_only)
		rc = refuse_lost_blobs(store, &blobs, e);
	if (!rc && options->blobs_only)
		rc = open_cache(folder, options, &store->blobs, e);
	else if (!rc)
		rc = store__env_open(folder, STORE__BLOBS, options->inspect, options->blobs_map_bytes_max,
				     &store->blobs, e);
	if (!rc && !options->blobs_only && !options->inspect)
		rc = store__recent_new(store->env, &store->recent, e);
	return rc;
}

int store_open(const char *folder, const struct store_options *options, struct store **out, struct err *e)
{
	struct store *store = fault_calloc(1, sizeof(*store));
	if (!store)
		return err_set(e, ERR_NOMEM, "data folder %s: opening: out of memory", folder);
	store->lock.fd = -1;
	store->env = options->env ? options->env : env_system();
	store->folder = fault_malloc(strlen(folder) + 1);
	int rc = ERR_NOMEM;
	if (store->folder) {
		strcpy(store->folder, folder);
		rc = open_parts(store, folder, options, e);
	} else {
		err_set(e, ERR_NOMEM, "data folder %s: opening: out of memory", folder);
	}
	if (rc) {
		store_close(&store);
		return rc;
	}
	store__folder_note(folder, store->files);
	*out = store;
	return 0;
}

void store_close(struct store **store_pointer)
{
	struct store *store = *store_pointer;
	if (!store)
		return;
	store__recent_free(&store->recent);
	store__env_close(&store->blobs);
	store__env_close(&store->ledger);
	store__folder_close(&store->lock);
	free(store->folder);
	free(store);
	*store_pointer = NULL;
}

static int begin(struct store *store, bool write, struct store_txn **out, struct err *e)
{
	if (!store->ledger)
		return err_set(e, ERR_UNSUPPORTED, "data folder %s: was opened for blobs only: its ledger is not open",
			       store->folder);
	return store__txn_begin(store, store->ledger, write, GROUP_BYTES, out, e);
}

int store_here(struct store *store, struct err *e)
{
	return store__folder_same(store->folder, store->files, e);
}

int store_begin(struct store *store, struct store_txn **out, struct err *e)
{
	return begin(store, true, out, e);
}

int store_begin_read(struct store *store, struct store_txn **out, struct err *e)
{
	return begin(store, false, out, e);
}

int store_commit(struct store_txn **txn, struct err *e)
{
	if (!(*txn)->write) {
		store__txn_abort(txn);
		return 0;
	}
	int rc = (*txn)->failed ? 0 : store__event_seal(*txn, e);
	if (!rc && !(*txn)->failed)
		rc = store__edit_seal(*txn, e);
	if (!rc)
		rc = store_here((*txn)->store, e);
	if (!rc && fault_point("store.commit.before"))
		rc = err_set(e, ERR_FAULT, "data folder %s: fault planted before the commit", (*txn)->store->folder);
	if (rc) {
		store__txn_abort(txn);
		return rc;
	}
	const char *folder = (*txn)->store->folder;
	rc = store__txn_commit(txn, e);
	if (rc)
		return rc;
	if (fault_point("store.commit.after"))
		return err_set(e, ERR_FAULT, "data folder %s: fault planted after the commit: it is kept", folder);
	return 0;
}

void store_abort(struct store_txn **txn)
{
	store__txn_abort(txn);
}

int store_space_get(struct store *store, struct store_space *out, struct err *e)
{
	uint64_t free_bytes, disk_bytes;
	int rc = store__folder_space(store->folder, &free_bytes, &disk_bytes, e);
	if (rc)
		return rc;
	*out = (struct store_space){ .ledger_bytes = store->ledger ? store__env_used_bytes(store->ledger) : 0,
				     .blobs_bytes = store__env_used_bytes(store->blobs),
				     .disk_free_bytes = free_bytes,
				     .disk_bytes = disk_bytes };
	return 0;
}
