/* env.c: LMDB, and nothing but LMDB: environments, transactions, tables, map growth, error mapping.
 *
 * A map may only be resized while no transaction of this process uses it. So every transaction is counted, and a writer
 * that needs room waits (a bounded time) until it is alone, then doubles the map. */
#include "store/env.h"
#include "base/fault.h"
#include "store/record.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define READERS_MAX       510
#define LOCK_BYTES        (64 * (READERS_MAX + 2)) /* LMDB takes the readers it has from the file's size */
#define LEDGER_MAP_BYTES  ((size_t)32 << 20)       /* to begin with; only address space until it is used */
#define BLOBS_MAP_BYTES   ((size_t)64 << 20)
#define LEDGER_MAP_MAX    ((size_t)16 << 30)
#define BLOBS_MAP_MAX     ((size_t)256 << 30)
#define MAP_BYTES_MIN     ((size_t)256 << 10)
#define GROW_WAIT_SECONDS 5

struct store__env {
	MDB_env *mdb;
	char *folder, *path; /* FOLDER, FOLDER/ledger */
	enum store__env_kind kind;
	size_t page_bytes, map_bytes_max;
	pthread_mutex_t mutex; /* guards what follows */
	pthread_cond_t changed;
	bool mutex_ready;
	size_t map_bytes;
	unsigned txn_count; /* transactions open, of either kind */
	bool growing;       /* a writer waits to be alone: no new transaction begins */
	bool grow_wanted;   /* the last writer ran out of map */
	bool broken;        /* a write failed and may have left the file's state unknown: read only from here on */
	MDB_dbi tables[STORE__TABLE_COUNT];
};

static const char *const table_names[STORE__TABLE_COUNT] = {
	[STORE__TABLE_FORMAT] = "format",
	[STORE__TABLE_META] = "meta",
	[STORE__TABLE_COUNTER] = "counter",
	[STORE__TABLE_EVENT] = "event",
	[STORE__TABLE_EDIT] = "edit",
	[STORE__TABLE_EDIT_ID] = "edit-id",
	[STORE__TABLE_EDIT_STATE] = "edit-state",
	[STORE__TABLE_SUBJECT] = "subject",
	[STORE__TABLE_SHARD] = "shard",
	[STORE__TABLE_MERGE] = "merge",
	[STORE__TABLE_VERSION] = "version",
	[STORE__TABLE_ALIAS] = "alias",
	[STORE__TABLE_CHUNK] = "chunk",
};

static bool table_is_here(const struct store__env *env, int table)
{
	if (table == STORE__TABLE_FORMAT)
		return true;
	return env->kind == STORE__LEDGER ? table != STORE__TABLE_CHUNK : table == STORE__TABLE_CHUNK;
}

static off_t data_file_bytes(const struct store__env *env)
{
	mdb_filehandle_t fd;
	struct stat st;
	if (mdb_env_get_fd(env->mdb, &fd) || fstat(fd, &st))
		return 0;
	return st.st_size;
}

/* LMDB gives a write that was cut short as EIO, whether the disk is full or broken. */
static int write_fail(struct store__env *env, struct err *e, int rc, const char *what)
{
	bool full = rc == ENOSPC || rc == EDQUOT || rc == EFBIG;
	if (full || (rc == EIO && store__folder_full(env->folder, data_file_bytes(env))))
		return err_set(e, ERR_FULL,
			       "%s: %s: the disk is full: free some space and try again; nothing of this was kept",
			       env->path, what);
	pthread_mutex_lock(&env->mutex);
	env->broken = true;
	pthread_mutex_unlock(&env->mutex);
	return err_set(e, ERR_IO, "%s: %s: %s: check the disk, then restart; nothing more is written until then",
		       env->path, what, mdb_strerror(rc));
}

static int map_full(struct store__env *env, struct err *e, const char *what)
{
	pthread_mutex_lock(&env->mutex);
	bool at_limit = env->map_bytes >= env->map_bytes_max;
	env->grow_wanted = !at_limit;
	size_t map_bytes = env->map_bytes;
	pthread_mutex_unlock(&env->mutex);
	if (at_limit)
		return err_set(e, ERR_LIMIT,
			       "%s: %s: its %zu MiB are used up: raise the limit of the data folder's size", env->path,
			       what, env->map_bytes_max >> 20);
	return err_set(e, ERR_AGAIN,
		       "%s: %s: one transaction needs more than the %zu MiB mapped: begin it again, it grows first",
		       env->path, what, map_bytes >> 20);
}

const char *store__env_step(const struct store__env *env, const char *otherwise)
{
	return env->kind == STORE__CACHE
		       ? "a worker's or a node's is a cache: stop the program, remove this folder and start again"
		       : otherwise;
}

/* Maps an LMDB or errno code of anything but a commit. */
static int env_fail(struct store__env *env, struct err *e, int rc, const char *what)
{
	switch (rc) {
	case MDB_NOTFOUND:
		return err_set(e, ERR_NOT_FOUND, "%s: %s: not there", env->path, what);
	case MDB_MAP_FULL:
		return map_full(env, e, what);
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_CURSOR_FULL:
	case MDB_PAGE_FULL:
	case MDB_INVALID:
	case MDB_INCOMPATIBLE:
		return err_set(e, ERR_CORRUPT, "%s: %s: %s: %s", env->path, what, mdb_strerror(rc),
			       store__env_step(env, "restore the folder from a backup"));
	case MDB_VERSION_MISMATCH:
		return err_set(e, ERR_UNSUPPORTED, "%s: %s: written by another version of LMDB: %s", env->path, what,
			       store__env_step(env, "use the program that wrote it"));
	case MDB_READERS_FULL:
		return err_set(e, ERR_AGAIN, "%s: %s: %d transactions read at once already", env->path, what,
			       READERS_MAX);
	case MDB_TXN_FULL:
		return err_set(e, ERR_LIMIT, "%s: %s: too many pages in one transaction: commit smaller groups",
			       env->path, what);
	case MDB_BAD_TXN:
	case MDB_BAD_VALSIZE:
		return err_set(e, ERR_INVALID, "%s: %s: %s", env->path, what, mdb_strerror(rc));
	case ENOMEM:
		return err_set(e, ERR_NOMEM, "%s: %s: out of memory", env->path, what);
	case EACCES:
	case EPERM:
	case EROFS:
		return err_errno(e, ERR_DENIED, rc, "%s: %s: give this user write access to it, or name another folder",
				 env->path, what);
	default:
		return write_fail(env, e, rc, what);
	}
}

/* --- Map growth */

static size_t used_bytes(const struct store__env *env)
{
	MDB_envinfo info;
	mdb_env_info(env->mdb, &info);
	return (info.me_last_pgno + 1) * env->page_bytes;
}

uint64_t store__env_used_bytes(struct store__env *env)
{
	return used_bytes(env);
}

static bool wait_alone(struct store__env *env)
{
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC,
		      &until); /* a thread waits here: the simulated clock of struct env cannot end that */
	until.tv_sec += GROW_WAIT_SECONDS;
	env->growing = true;
	while (env->txn_count > 0)
		if (pthread_cond_timedwait(&env->changed, &env->mutex, &until))
			break;
	return env->txn_count == 0;
}

/* LMDB unmaps the old range before it maps the new one, and cannot go back: see first that there is address space. */
static bool can_map(size_t bytes)
{
	void *probe = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (probe == MAP_FAILED)
		return false;
	munmap(probe, bytes);
	return true;
}

static int resize_locked(struct store__env *env, size_t bytes, struct err *e)
{
	if (!can_map(bytes))
		return err_set(e, ERR_NOMEM, "%s: growing: no address space for %zu MiB: raise the memory limit",
			       env->path, bytes >> 20);
	int rc = mdb_env_set_mapsize(env->mdb, bytes);
	if (rc) {
		env->broken = true;
		return err_set(e, ERR_NOMEM, "%s: growing to %zu MiB: %s: restart", env->path, bytes >> 20,
			       mdb_strerror(rc));
	}
	env->map_bytes = bytes;
	env->grow_wanted = false;
	return 0;
}

static int grow_for(struct store__env *env, size_t need_bytes, struct err *e)
{
	int rc = 0;
	pthread_mutex_lock(&env->mutex);
	size_t used = used_bytes(env), want = env->map_bytes;
	bool tight = env->grow_wanted || used + need_bytes > env->map_bytes;
	while (want < env->map_bytes_max && used + need_bytes + want / 4 > want)
		want = want > env->map_bytes_max / 2 ? env->map_bytes_max : want * 2;
	if (env->grow_wanted && want == env->map_bytes)
		want = want > env->map_bytes_max / 2 ? env->map_bytes_max : want * 2;
	if (want > env->map_bytes) {
		/* Without need now, a reader is no reason to wait: the next writer tries again. */
		if (tight ? wait_alone(env) : env->txn_count == 0)
			rc = resize_locked(env, want, e);
		else if (tight)
			rc = err_set(e, ERR_AGAIN, "%s: growing: a transaction has been open for %d s: end it first",
				     env->path, GROW_WAIT_SECONDS);
		env->growing = false;
		pthread_cond_broadcast(&env->changed);
	}
	pthread_mutex_unlock(&env->mutex);
	return rc;
}

static int enter(struct store__env *env, bool write, struct err *e)
{
	int rc = 0;
	pthread_mutex_lock(&env->mutex);
	while (env->growing)
		pthread_cond_wait(&env->changed, &env->mutex); /* bounded by the writer's deadline */
	if (write && env->broken)
		rc = err_set(e, ERR_IO, "%s: an earlier write failed: check the disk, then restart", env->path);
	else
		env->txn_count++;
	pthread_mutex_unlock(&env->mutex);
	return rc;
}

static void leave(struct store__env *env)
{
	pthread_mutex_lock(&env->mutex);
	assert(env->txn_count > 0);
	env->txn_count--;
	pthread_cond_broadcast(&env->changed);
	pthread_mutex_unlock(&env->mutex);
}

/* --- Transactions */

int store__txn_begin(struct store *store, struct store__env *env, bool write, size_t need_bytes, struct store_txn **out,
		     struct err *e)
{
	struct store_txn *txn = fault_calloc(1, sizeof(*txn));
	if (!txn)
		return err_set(e, ERR_NOMEM, "%s: beginning a transaction: out of memory", env->path);
	int rc = write ? grow_for(env, need_bytes, e) : 0;
	if (!rc)
		rc = enter(env, write, e);
	if (rc) {
		free(txn);
		return rc;
	}
	*txn = (struct store_txn){ .store = store, .env = env, .write = write, .scratch = BUF_INIT };
	MDB_txn *handle;
	rc = mdb_txn_begin(env->mdb, NULL, write ? 0 : MDB_RDONLY, &handle);
	if (rc) {
		leave(env);
		free(txn);
		return env_fail(env, e, rc, "beginning a transaction");
	}
	txn->handle = handle;
	*out = txn;
	return 0;
}

static void txn_free(struct store_txn **txn)
{
	leave((*txn)->env);
	buf_free(&(*txn)->scratch);
	free(*txn);
	*txn = NULL;
}

void store__txn_abort(struct store_txn **txn)
{
	if (!*txn)
		return;
	mdb_txn_abort((*txn)->handle);
	txn_free(txn);
}

int store__txn_commit(struct store_txn **txn, struct err *e)
{
	struct store__env *env = (*txn)->env;
	if ((*txn)->failed) {
		int failed = (*txn)->failed;
		store__txn_abort(txn);
		return err_set(e, failed, "%s: committing: a write of this transaction failed before: begin it again",
			       env->path);
	}
	int rc = mdb_txn_commit((*txn)->handle);
	txn_free(txn);
	return rc ? env_fail(env, e, rc, "committing") : 0;
}

int store__txn_spoil(struct store_txn *txn, int code)
{
	if (!txn->failed)
		txn->failed = code;
	return code;
}

const char *store__txn_path(const struct store_txn *txn)
{
	return txn->env->path;
}

/* --- Tables */

static MDB_val to_val(struct store__bytes b)
{
	return (MDB_val){ .mv_size = b.len, .mv_data = (void *)b.data };
}

static struct store__bytes from_val(MDB_val v)
{
	return (struct store__bytes){ .data = v.mv_data, .len = v.mv_size };
}

static MDB_dbi dbi(const struct store_txn *txn, enum store__table table)
{
	assert(table_is_here(txn->env, (int)table));
	return txn->env->tables[table];
}

int store__get(struct store_txn *txn, enum store__table table, struct store__bytes key, struct store__bytes *value,
	       struct err *e)
{
	MDB_val k = to_val(key), v;
	int rc = mdb_get(txn->handle, dbi(txn, table), &k, &v);
	if (rc)
		return env_fail(txn->env, e, rc, table_names[table]);
	*value = from_val(v);
	return 0;
}

int store__put(struct store_txn *txn, enum store__table table, struct store__bytes key, struct store__bytes value,
	       struct err *e)
{
	assert(txn->write);
	MDB_val k = to_val(key), v = to_val(value);
	int rc = mdb_put(txn->handle, dbi(txn, table), &k, &v, 0);
	return rc ? store__txn_spoil(txn, env_fail(txn->env, e, rc, table_names[table])) : 0;
}

int store__remove(struct store_txn *txn, enum store__table table, struct store__bytes key, struct err *e)
{
	assert(txn->write);
	MDB_val k = to_val(key);
	int rc = mdb_del(txn->handle, dbi(txn, table), &k, NULL);
	return rc ? store__txn_spoil(txn, env_fail(txn->env, e, rc, table_names[table])) : 0;
}

static int cursor_at(struct store_txn *txn, enum store__table table, MDB_cursor_op op, MDB_val *k,
		     struct store__bytes *key, struct store__bytes *value, struct err *e)
{
	MDB_cursor *cursor;
	MDB_val v;
	int rc = mdb_cursor_open(txn->handle, dbi(txn, table), &cursor);
	if (rc)
		return env_fail(txn->env, e, rc, table_names[table]);
	rc = mdb_cursor_get(cursor, k, &v, op);
	mdb_cursor_close(cursor);
	if (rc)
		return env_fail(txn->env, e, rc, table_names[table]);
	*key = from_val(*k);
	*value = from_val(v);
	return 0;
}

int store__seek(struct store_txn *txn, enum store__table table, struct store__bytes from, struct store__bytes *key,
		struct store__bytes *value, struct err *e)
{
	MDB_val k = to_val(from);
	return cursor_at(txn, table, MDB_SET_RANGE, &k, key, value, e);
}

int store__last(struct store_txn *txn, enum store__table table, struct store__bytes *key, struct store__bytes *value,
		struct err *e)
{
	MDB_val k;
	return cursor_at(txn, table, MDB_LAST, &k, key, value, e);
}

/* --- Opening */

/* A file that was cut short would be a SIGBUS at the first read behind its end; zeros are a page that LMDB refuses. */
static int refill_file(struct store__env *env, struct err *e)
{
	mdb_filehandle_t fd;
	off_t want = (off_t)used_bytes(env);
	int rc = mdb_env_get_fd(env->mdb, &fd);
	if (rc)
		return env_fail(env, e, rc, "opening");
	if (data_file_bytes(env) < want && ftruncate(fd, want))
		return write_fail(env, e, errno, "filling up its data file");
	return 0;
}

static int check_format(struct store_txn *txn, struct err *e)
{
	struct store__key key;
	struct reader r;
	store__key_text("store", &key);
	int rc = store__record_get(txn, STORE__TABLE_FORMAT, &key, STORE__RECORD_FORMAT, &r, e);
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
		rc = err_set(e, ERR_CORRUPT, "%s: is the other environment: the folder's ledger and blobs were swapped",
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
	int rc = mdb_dbi_open(txn->handle, table_names[table], MDB_CREATE, &txn->env->tables[table]);
	return rc ? env_fail(txn->env, e, rc, table_names[table]) : 0;
}

/* The root table holds one entry a table: empty when new; without "format" it is not ours. */
static int open_format(struct store_txn *txn, bool *is_new, struct err *e)
{
	MDB_dbi root;
	MDB_stat stat;
	struct store__env *env = txn->env;
	int rc = mdb_dbi_open(txn->handle, NULL, 0, &root);
	if (!rc)
		rc = mdb_stat(txn->handle, root, &stat);
	if (rc)
		return env_fail(env, e, rc, "reading its tables");
	*is_new = stat.ms_entries == 0;
	rc = mdb_dbi_open(txn->handle, table_names[STORE__TABLE_FORMAT], *is_new ? MDB_CREATE : 0,
			  &env->tables[STORE__TABLE_FORMAT]);
	if (rc == MDB_NOTFOUND || rc == MDB_INCOMPATIBLE)
		return err_set(e, ERR_UNSUPPORTED, "%s: holds the data of another program: name another folder",
			       env->path);
	return rc ? env_fail(env, e, rc, "reading its format") : 0;
}

static int open_tables(struct store__env *env, struct err *e)
{
	struct store_txn *txn;
	bool is_new = false;
	int rc = store__txn_begin(NULL, env, true, 0, &txn, e);
	if (rc)
		return rc;
	rc = open_format(txn, &is_new, e);
	if (!rc)
		rc = is_new ? write_format(txn, e) : check_format(txn, e);
	for (int t = 0; !rc && t < STORE__TABLE_COUNT; t++)
		if (t != STORE__TABLE_FORMAT && table_is_here(env, t))
			rc = open_table(txn, t, e);
	if (!rc)
		return store__txn_commit(&txn, e); /* writes nothing when all tables were there */
	store__txn_abort(&txn);
	return rc;
}

static int init_locks(struct store__env *env, struct err *e)
{
	pthread_condattr_t attr;
	if (pthread_condattr_init(&attr))
		return err_set(e, ERR_NOMEM, "%s: opening: out of memory", env->path);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	int rc = pthread_cond_init(&env->changed, &attr);
	pthread_condattr_destroy(&attr);
	if (!rc && pthread_mutex_init(&env->mutex, NULL)) {
		pthread_cond_destroy(&env->changed);
		rc = ENOMEM;
	}
	env->mutex_ready = rc == 0;
	return rc ? err_set(e, ERR_NOMEM, "%s: opening: out of memory", env->path) : 0;
}

static int open_lmdb(struct store__env *env, struct err *e)
{
	int rc = mdb_env_create(&env->mdb);
	if (!rc)
		rc = mdb_env_set_maxdbs(env->mdb, STORE__TABLE_COUNT);
	if (!rc)
		rc = mdb_env_set_maxreaders(env->mdb, READERS_MAX);
	if (!rc)
		rc = mdb_env_set_mapsize(env->mdb, env->map_bytes);
	if (!rc)
		rc = mdb_env_open(env->mdb, env->path, MDB_NOTLS, 0600); /* NOTLS: a thread may read while it writes */
	if (rc == MDB_INVALID)
		return err_set(e, ERR_CORRUPT, "%s/data.mdb: is not a data file of this program: %s", env->path,
			       store__env_step(env, "restore a backup, or name another folder"));
	if (rc)
		return env_fail(env, e, rc, "opening");
	MDB_envinfo info;
	mdb_env_info(env->mdb, &info);
	env->map_bytes = info.me_mapsize; /* larger than asked when the data is */
	return 0;
}

static int env_setup(struct store__env *env, const char *name, struct err *e)
{
	int rc = init_locks(env, e);
	if (!rc)
		rc = store__folder_sub(env->folder, name, LOCK_BYTES, e);
	if (!rc)
		rc = open_lmdb(env, e);
	if (!rc)
		rc = refill_file(env, e);
	if (!rc)
		rc = open_tables(env, e);
	return rc ? rc : store__folder_sync(env->folder, name, e);
}

static size_t clamp_map(size_t max, size_t standard)
{
	if (!max)
		return standard;
	return max < MAP_BYTES_MIN ? MAP_BYTES_MIN : max;
}

int store__env_open(const char *folder, enum store__env_kind kind, size_t map_bytes_max, struct store__env **out,
		    struct err *e)
{
	const bool ledger = kind == STORE__LEDGER;
	const char *name = ledger ? "ledger" : "blobs";
	size_t folder_len = strlen(folder);
	struct store__env *env = fault_calloc(1, sizeof(*env));
	if (!env)
		return err_set(e, ERR_NOMEM, "data folder %s: opening: out of memory", folder);
	env->kind = kind;
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
	if (env->mutex_ready) {
		pthread_mutex_destroy(&env->mutex);
		pthread_cond_destroy(&env->changed);
	}
	free(env->folder);
	free(env->path);
	free(env);
	*env_pointer = NULL;
}
