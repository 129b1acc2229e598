/* env.c: LMDB, and nothing but LMDB: transactions, tables, map growth, error mapping.
 *
 * A map may only be resized while no transaction of this process uses it. So every transaction is counted, and a writer
 * that needs room waits (a bounded time) until it is alone, then doubles the map. */
#include "store/env_lmdb.h"
#include "base/fault.h"
#include "base/sync.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define GROW_WAIT_MS    5000
#define COPY_ROOM_BYTES ((size_t)64 << 20) /* for writers beside a copy: the map cannot grow as long as it runs */

const char *const store__table_names[STORE__TABLE_COUNT] = {
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
	[STORE__TABLE_QUARANTINE] = "quarantine",
};

bool store__table_known(const void *name, size_t name_len)
{
	for (int t = 0; t < STORE__TABLE_COUNT; t++)
		if (strlen(store__table_names[t]) == name_len && memcmp(store__table_names[t], name, name_len) == 0)
			return true;
	return false;
}

bool store__table_is_here(const struct store__env *env, int table)
{
	if (table == STORE__TABLE_FORMAT)
		return true;
	if (table == STORE__TABLE_QUARANTINE)
		return env->kind == STORE__BLOBS;
	return env->kind == STORE__LEDGER ? table != STORE__TABLE_CHUNK : table == STORE__TABLE_CHUNK;
}

bool store__env_has_quarantine(const struct store__env *env)
{
	return env->kind == STORE__BLOBS && !env->no_quarantine;
}

off_t store__env_file_bytes(const struct store__env *env)
{
	mdb_filehandle_t fd;
	struct stat st;
	if (mdb_env_get_fd(env->mdb, &fd) || fstat(fd, &st))
		return 0;
	return st.st_size;
}

/* LMDB gives a write that was cut short as EIO, whether the disk is full or broken. */
int store__env_write_fail(struct store__env *env, struct err *e, int rc, const char *what)
{
	bool full = rc == ENOSPC || rc == EDQUOT || rc == EFBIG;
	if (full || (rc == EIO && store__folder_full(env->folder, store__env_file_bytes(env))))
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

const char *store__env_mend(const struct store__env *env)
{
	return env->kind == STORE__CACHE
		       ? "a worker's or a node's is a cache: start the program again, and an empty one takes its place"
		       : "restore the folder from a backup";
}

int store__env_fail(struct store__env *env, struct err *e, int rc, const char *what)
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
			       store__env_mend(env));
	case MDB_VERSION_MISMATCH:
		return err_set(e, ERR_UNSUPPORTED, "%s: %s: written by another version of LMDB: %s", env->path, what,
			       store__env_step(env, "use the program that wrote it"));
	case MDB_READERS_FULL:
		return err_set(e, ERR_AGAIN, "%s: %s: %d transactions read at once already", env->path, what,
			       STORE__READERS_MAX);
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
		return store__env_write_fail(env, e, rc, what);
	}
}

/* --- Map growth */

size_t store__env_used(const struct store__env *env)
{
	MDB_envinfo info;
	mdb_env_info(env->mdb, &info);
	return (info.me_last_pgno + 1) * env->page_bytes;
}

uint64_t store__env_used_bytes(struct store__env *env)
{
	return env->mdb ? store__env_used(env) : 0;
}

static bool wait_alone(struct store__env *env)
{
	/* a thread waits here: the simulated clock of struct env cannot end that */
	const struct timespec until = sync_deadline(GROW_WAIT_MS);
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

/* How large the map should be, as it is or larger. */
static size_t want_locked(const struct store__env *env, size_t need_bytes)
{
	size_t used = store__env_used(env), want = env->map_bytes;
	while (want < env->map_bytes_max && used + need_bytes + want / 4 > want)
		want = want > env->map_bytes_max / 2 ? env->map_bytes_max : want * 2;
	if (env->grow_wanted && want == env->map_bytes)
		want = want > env->map_bytes_max / 2 ? env->map_bytes_max : want * 2;
	return want;
}

static int grow_for(struct store__env *env, size_t need_bytes, struct err *e)
{
	int rc = 0;
	pthread_mutex_lock(&env->mutex);
	bool tight = env->grow_wanted || store__env_used(env) + need_bytes > env->map_bytes;
	if (want_locked(env, need_bytes) > env->map_bytes) {
		/* Without need now, a reader is no reason to wait: the next writer tries again. */
		bool alone = tight ? wait_alone(env) : env->txn_count == 0;
		const size_t want = want_locked(env, need_bytes); /* another may have grown it meanwhile */
		if (alone && want > env->map_bytes)
			rc = resize_locked(env, want, e);
		else if (tight && !alone)
			rc = err_set(e, ERR_AGAIN, "%s: growing: a transaction has been open for %d s: end it first",
				     env->path, GROW_WAIT_MS / 1000);
		env->growing = false;
		pthread_cond_broadcast(&env->changed);
	}
	pthread_mutex_unlock(&env->mutex);
	return rc;
}

/* What a cache holds is elsewhere too: after a write that failed it is opened anew, as by a restart. For reading too:
 * of a meta page that could not be written LMDB does not read on. */
static int mend(struct store__env *env, struct err *e)
{
	int rc = 0;
	pthread_mutex_lock(&env->mutex);
	while (env->growing)
		pthread_cond_wait(&env->changed, &env->mutex);
	if (env->broken && env->kind == STORE__CACHE && wait_alone(env)) {
		pthread_mutex_unlock(&env->mutex);
		rc = store__env_reopen(env, e);
		pthread_mutex_lock(&env->mutex);
		env->broken = rc != 0;
	}
	env->growing = false;
	pthread_cond_broadcast(&env->changed);
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
	if (write && env->inspect)
		return err_set(e, ERR_DENIED, "%s: is open to be looked at: nothing is written", env->path);
	struct store_txn *txn = fault_calloc(1, sizeof(*txn));
	if (!txn)
		return err_set(e, ERR_NOMEM, "%s: beginning a transaction: out of memory", env->path);
	int rc = mend(env, e);
	if (!rc && write)
		rc = grow_for(env, need_bytes, e);
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
		return store__env_fail(env, e, rc, "beginning a transaction");
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
	return rc ? store__env_fail(env, e, rc, "committing") : 0;
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

/* --- A copy. LMDB's own goes on until it has written all of it: through a pipe, whose end can be closed. */

struct copy {
	MDB_env *mdb;
	int fd, rc;
};

static void *copy_run(void *context)
{
	struct copy *copy = context;
	sigset_t pipe;
	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe, NULL); /* a closed end is an error of the write */
	copy->rc = mdb_env_copyfd(copy->mdb, copy->fd);
	close(copy->fd);
	return NULL;
}

static int write_all(int fd, const char *bytes, size_t len, const char *path, struct err *e)
{
	while (len > 0) {
		ssize_t n = write(fd, bytes, len);
		if (n < 0 && errno != EINTR)
			return err_errno(e, ERR_IO, errno, "writing %s", path);
		bytes += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static int copy_drain(int from, int to, const char *path, const atomic_bool *stop, struct err *e)
{
	char bytes[1 << 16];
	for (;;) {
		ssize_t n = read(from, bytes, sizeof(bytes));
		if (n == 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return err_errno(e, ERR_IO, errno, "copying to %s", path);
		if (stop && atomic_load(stop))
			return err_set(e, ERR_INTERRUPTED, "copying to %s: the program ends", path);
		int rc = n > 0 ? write_all(to, bytes, (size_t)n, path, e) : 0;
		if (rc)
			return rc;
	}
}

static int copy_through(struct store__env *env, int fd, const char *path, const atomic_bool *stop, struct err *e)
{
	int ends[2];
	pthread_t thread;
	if (pipe2(ends, O_CLOEXEC))
		return err_errno(e, ERR_IO, errno, "copying to %s: a pipe", path);
	struct copy copy = { env->mdb, ends[1], 0 };
	int rc = pthread_create(&thread, NULL, copy_run, &copy);
	if (rc) {
		close(ends[0]);
		close(ends[1]);
		return err_errno(e, ERR_NOMEM, rc, "copying to %s: a thread", path);
	}
	rc = copy_drain(ends[0], fd, path, stop, e);
	close(ends[0]);
	pthread_join(thread, NULL);
	if (rc || !copy.rc)
		return rc;
	if (copy.rc == MDB_READERS_FULL || copy.rc == ENOMEM)
		return store__env_fail(env, e, copy.rc, "copying it");
	return err_errno(e, ERR_IO, copy.rc, "copying to %s", path);
}

int store__env_copy(struct store__env *env, int fd, const char *path, const atomic_bool *stop, struct err *e)
{
	int rc = env->inspect ? 0 : grow_for(env, COPY_ROOM_BYTES, e);
	if (!rc)
		rc = enter(env, false, e); /* it reads the map all the while, in a transaction of its own */
	if (rc)
		return rc;
	rc = copy_through(env, fd, path, stop, e);
	leave(env);
	return rc;
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
	assert(store__table_is_here(txn->env, (int)table));
	return txn->env->tables[table];
}

int store__get(struct store_txn *txn, enum store__table table, struct store__bytes key, struct store__bytes *value,
	       struct err *e)
{
	MDB_val k = to_val(key), v;
	int rc = mdb_get(txn->handle, dbi(txn, table), &k, &v);
	if (rc)
		return store__env_fail(txn->env, e, rc, store__table_names[table]);
	*value = from_val(v);
	return 0;
}

int store__put(struct store_txn *txn, enum store__table table, struct store__bytes key, struct store__bytes value,
	       struct err *e)
{
	assert(txn->write);
	MDB_val k = to_val(key), v = to_val(value);
	int rc = mdb_put(txn->handle, dbi(txn, table), &k, &v, 0);
	return rc ? store__txn_spoil(txn, store__env_fail(txn->env, e, rc, store__table_names[table])) : 0;
}

int store__remove(struct store_txn *txn, enum store__table table, struct store__bytes key, struct err *e)
{
	assert(txn->write);
	MDB_val k = to_val(key);
	int rc = mdb_del(txn->handle, dbi(txn, table), &k, NULL);
	return rc ? store__txn_spoil(txn, store__env_fail(txn->env, e, rc, store__table_names[table])) : 0;
}

static int cursor_at(struct store_txn *txn, enum store__table table, MDB_cursor_op op, MDB_val *k,
		     struct store__bytes *key, struct store__bytes *value, struct err *e)
{
	MDB_cursor *cursor;
	MDB_val v;
	int rc = mdb_cursor_open(txn->handle, dbi(txn, table), &cursor);
	if (rc)
		return store__env_fail(txn->env, e, rc, store__table_names[table]);
	rc = mdb_cursor_get(cursor, k, &v, op);
	mdb_cursor_close(cursor);
	if (rc)
		return store__env_fail(txn->env, e, rc, store__table_names[table]);
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

int store__count(struct store_txn *txn, enum store__table table, uint64_t *count, struct err *e)
{
	MDB_stat stat;
	int rc = mdb_stat(txn->handle, dbi(txn, table), &stat);
	if (rc)
		return store__env_fail(txn->env, e, rc, store__table_names[table]);
	*count = stat.ms_entries;
	return 0;
}

/* LMDB does not tell. The format's record lies in a page of its tree, which begins with the page's number. */
int store__map_find(struct store_txn *txn, const uint8_t **map, size_t *map_bytes, struct err *e)
{
	struct store__bytes key, value;
	MDB_stat stat;
	uint64_t number;
	*map = NULL;
	int rc = store__last(txn, STORE__TABLE_FORMAT, &key, &value, e);
	if (rc)
		return rc;
	rc = mdb_env_stat(txn->env->mdb, &stat);
	if (rc)
		return store__env_fail(txn->env, e, rc, "looking where it is mapped");
	if (stat.ms_psize != STORE__DISK_PAGE_BYTES || txn->env->page_bytes != STORE__DISK_PAGE_BYTES)
		return 0;
	const uint8_t *page = (const uint8_t *)value.data - (uintptr_t)value.data % stat.ms_psize;
	memcpy(&number, page, sizeof(number));
	*map = page - number * stat.ms_psize;
	*map_bytes = store__env_used(txn->env);
	return 0;
}
