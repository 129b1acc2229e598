/* env_open.c: opening and closing an LMDB environment; what is in its file is checked before. */
#include "store/env_lmdb.h"
#include "base/fault.h"
#include "base/sync.h"
#include "store/record.h"

#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_BYTES       (64 * (STORE__READERS_MAX + 2)) /* LMDB takes the readers it has from the file's size */
#define LEDGER_MAP_BYTES ((size_t)32 << 20)              /* to begin with; only address space until it is used */
#define BLOBS_MAP_BYTES  ((size_t)64 << 20)
#define LEDGER_MAP_MAX   ((size_t)16 << 30)
#define BLOBS_MAP_MAX    ((size_t)256 << 30)
#define MAP_BYTES_MIN    ((size_t)256 << 10)

static int damaged(const struct store__env *env, const char *why, struct err *e)
{
	return err_set(e, ERR_CORRUPT, "%s/data.mdb: is damaged: %s: %s", env->path, why, store__env_mend(env));
}

static int check_format(struct store_txn *txn, struct err *e)
{
	struct store__key key;
	struct reader r;
	store__key_text("store", &key);
	int rc = store__record_get(txn, STORE__TABLE_FORMAT, &key, STORE__RECORD_FORMAT, &r, e);
	if (rc == ERR_NOT_FOUND)
		return damaged(txn->env, "its format is not in it", e);
	if (rc)
		return rc;
	uint32_t format = reader_u32le(&r);
	bool ledger = reader_u8(&r) != 0;
	if (format != STORE__FORMAT)
		return err_set(e, ERR_UNSUPPORTED, "%s: has format %u, this program reads format %d: %s",
			       txn->env->path, format, STORE__FORMAT,
			       store__env_step(txn->env, "use the version of the program that wrote it"));
	rc = store__record_done(txn, STORE__TABLE_FORMAT, store__key_bytes(&key), &r, e);
	if (!rc && ledger != (txn->env->kind == STORE__LEDGER))
		rc = err_set(e, ERR_UNSUPPORTED,
			     "%s: is the other environment: the folder's ledger and blobs were swapped",
			     txn->env->path);
	return rc;
}

static int write_format(struct store_txn *txn, struct err *e)
{
	struct store__key key;
	store__key_text("store", &key);
	struct buf *b = store__record_begin(txn, STORE__RECORD_FORMAT);
	buf_u32le(b, STORE__FORMAT);
	buf_u8(b, txn->env->kind == STORE__LEDGER);
	return store__record_put(txn, STORE__TABLE_FORMAT, &key, e);
}

static int open_table(struct store_txn *txn, int table, struct err *e)
{
	int rc = mdb_dbi_open(txn->handle, store__table_names[table], txn->env->inspect ? 0 : MDB_CREATE,
			      &txn->env->tables[table]);
	if (rc == MDB_NOTFOUND && table == STORE__TABLE_QUARANTINE) {
		txn->env->no_quarantine = true; /* written by a program of before that table */
		return 0;
	}
	if (rc == MDB_NOTFOUND)
		return damaged(txn->env, "a table of it is gone", e);
	return rc ? store__env_fail(txn->env, e, rc, store__table_names[table]) : 0;
}

static bool has_our_table(struct store_txn *txn)
{
	MDB_dbi table;
	for (int t = 0; t < STORE__TABLE_COUNT; t++)
		if (!mdb_dbi_open(txn->handle, store__table_names[t], 0, &table))
			return true;
	return false;
}

/* The root table holds one entry a table: empty when new; with none of ours it is another program's. */
static int open_format(struct store_txn *txn, bool *is_new, struct err *e)
{
	MDB_dbi root;
	MDB_stat stat;
	struct store__env *env = txn->env;
	int rc = mdb_dbi_open(txn->handle, NULL, 0, &root);
	if (!rc)
		rc = mdb_stat(txn->handle, root, &stat);
	if (rc)
		return store__env_fail(env, e, rc, "reading its tables");
	*is_new = stat.ms_entries == 0;
	if (*is_new && env->inspect)
		return 0;
	rc = mdb_dbi_open(txn->handle, store__table_names[STORE__TABLE_FORMAT], *is_new ? MDB_CREATE : 0,
			  &env->tables[STORE__TABLE_FORMAT]);
	if (rc == MDB_NOTFOUND && has_our_table(txn))
		return damaged(env, "its format is not in it", e);
	if (rc == MDB_NOTFOUND || rc == MDB_INCOMPATIBLE)
		return err_set(e, ERR_UNSUPPORTED, "%s: holds the data of another program: name another folder",
			       env->path);
	return rc ? store__env_fail(env, e, rc, "reading its format") : 0;
}

static int open_tables(struct store__env *env, struct err *e)
{
	struct store_txn *txn;
	bool is_new = false;
	int rc = store__txn_begin(NULL, env, !env->inspect, 0, &txn, e);
	if (rc)
		return rc;
	rc = open_format(txn, &is_new, e);
	if (!rc && is_new && env->inspect)
		rc = err_set(e, ERR_NOT_FOUND, "%s: is empty", env->path);
	if (!rc)
		rc = is_new ? write_format(txn, e) : check_format(txn, e);
	for (int t = 0; !rc && t < STORE__TABLE_COUNT; t++)
		if (t != STORE__TABLE_FORMAT && store__table_is_here(env, t))
			rc = open_table(txn, t, e);
	if (!rc)
		return store__txn_commit(&txn, e); /* writes nothing when all tables were there */
	store__txn_abort(&txn);
	return rc;
}

static int init_locks(struct store__env *env, struct err *e)
{
	int rc = sync_init(&env->mutex, &env->changed);
	env->mutex_ready = rc == 0;
	return rc ? err_set(e, rc, "%s: opening: out of memory", env->path) : 0;
}

static int open_lmdb(struct store__env *env, struct err *e)
{
	int rc = mdb_env_create(&env->mdb);
	if (!rc)
		rc = mdb_env_set_maxdbs(env->mdb, STORE__TABLE_COUNT);
	if (!rc)
		rc = mdb_env_set_maxreaders(env->mdb, STORE__READERS_MAX);
	if (!rc)
		rc = mdb_env_set_mapsize(env->mdb, env->map_bytes);
	if (!rc)
		/* NOTLS: a thread may read while it writes. NOLOCK: the folder's lock keeps writers out. */
		rc = mdb_env_open(env->mdb, env->path, MDB_NOTLS | (env->inspect ? MDB_RDONLY | MDB_NOLOCK : 0), 0600);
	if (rc)
		return store__env_fail(env, e, rc, "opening");
	MDB_envinfo info;
	mdb_env_info(env->mdb, &info);
	env->map_bytes = info.me_mapsize; /* larger than asked when the data is */
	return 0;
}

static int check_file(struct store__env *env, struct err *e)
{
	char path[PATH_MAX];
	struct err why = ERR_INIT;
	struct stat st;
	if (snprintf(path, sizeof(path), "%s/data.mdb", env->path) >= (int)sizeof(path))
		return err_set(e, ERR_INVALID, "data folder: its path is longer than %d bytes", PATH_MAX);
	if (env->inspect && (stat(path, &st) || st.st_size == 0))
		return err_set(e, ERR_NOT_FOUND, "%s: is not there, or empty", path);
	int rc = store__file_check(path, &why);
	if (rc == ERR_CORRUPT)
		return damaged(env, why.text, e);
	return rc ? err_set(e, rc, "%s", why.text) : 0;
}

static int env_setup(struct store__env *env, const char *name, struct err *e)
{
	int rc = init_locks(env, e);
	if (!rc && !env->inspect)
		rc = store__folder_sub(env->folder, name, LOCK_BYTES, e);
	if (!rc)
		rc = check_file(env, e);
	if (!rc)
		rc = open_lmdb(env, e);
	if (!rc)
		rc = open_tables(env, e);
	return rc || env->inspect ? rc : store__folder_sync(env->folder, name, e);
}

/* They are all there: what was opened once has them. */
static int open_tables_again(struct store__env *env, struct err *e)
{
	MDB_txn *txn;
	int rc = mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, &txn);
	if (rc)
		return store__env_fail(env, e, rc, "opening it again");
	for (int t = 0; !rc && t < STORE__TABLE_COUNT; t++)
		if (store__table_is_here(env, t))
			rc = mdb_dbi_open(txn, store__table_names[t], 0, &env->tables[t]);
	if (!rc)
		rc = mdb_txn_commit(txn); /* keeps the tables' handles */
	else
		mdb_txn_abort(txn);
	return rc ? store__env_fail(env, e, rc, "opening its tables again") : 0;
}

int store__env_reopen(struct store__env *env, struct err *e)
{
	if (env->mdb)
		mdb_env_close(env->mdb);
	env->mdb = NULL;
	int rc = check_file(env, e);
	if (!rc)
		rc = open_lmdb(env, e);
	if (!rc)
		rc = open_tables_again(env, e);
	if (rc && env->mdb) {
		mdb_env_close(env->mdb);
		env->mdb = NULL;
	}
	return rc;
}

static size_t clamp_map(size_t max, size_t standard)
{
	if (!max)
		return standard;
	return max < MAP_BYTES_MIN ? MAP_BYTES_MIN : max;
}

int store__env_open(const char *folder, enum store__env_kind kind, bool inspect, size_t map_bytes_max,
		    struct store__env **out, struct err *e)
{
	const bool ledger = kind == STORE__LEDGER;
	const char *name = ledger ? "ledger" : "blobs";
	size_t folder_len = strlen(folder);
	struct store__env *env = fault_calloc(1, sizeof(*env));
	if (!env)
		return err_set(e, ERR_NOMEM, "data folder %s: opening: out of memory", folder);
	env->kind = kind;
	env->inspect = inspect;
	env->page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	env->map_bytes_max = clamp_map(map_bytes_max, ledger ? LEDGER_MAP_MAX : BLOBS_MAP_MAX);
	env->map_bytes = ledger ? LEDGER_MAP_BYTES : BLOBS_MAP_BYTES;
	if (env->map_bytes > env->map_bytes_max)
		env->map_bytes = env->map_bytes_max;
	env->folder = fault_malloc(folder_len + 1);
	env->path = fault_malloc(folder_len + sizeof("/ledger"));
	int rc = env->folder && env->path ? 0 : err_set(e, ERR_NOMEM, "data folder %s: opening: out of memory", folder);
	if (!rc) {
		memcpy(env->folder, folder, folder_len + 1);
		snprintf(env->path, folder_len + sizeof("/ledger"), "%s/%s", folder, name);
		rc = env_setup(env, name, e);
	}
	if (rc)
		store__env_close(&env);
	else
		*out = env;
	return rc;
}

void store__env_close(struct store__env **env_pointer)
{
	struct store__env *env = *env_pointer;
	if (!env)
		return;
	assert(env->txn_count == 0);
	if (env->mdb)
		mdb_env_close(env->mdb);
	if (env->mutex_ready)
		sync_fini(&env->mutex, &env->changed);
	free(env->folder);
	free(env->path);
	free(env);
	*env_pointer = NULL;
}
