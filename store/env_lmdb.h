/* env_lmdb.h (inside store/): what the two files that know LMDB share: env.c (transactions, tables, growth) and
 * env_open.c. */
#ifndef AMEND_STORE_ENV_LMDB_H
#define AMEND_STORE_ENV_LMDB_H

#include "store/env.h"

#include <lmdb.h>
#include <pthread.h>

#define STORE__READERS_MAX 510

struct store__env {
	MDB_env *mdb;        /* NULL: a cache that could not be opened anew, and is `broken` */
	char *folder, *path; /* FOLDER, FOLDER/ledger */
	enum store__env_kind kind;
	bool inspect;       /* nothing is written */
	bool no_quarantine; /* to inspect: there is no such table */
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

extern const char *const store__table_names[STORE__TABLE_COUNT];
bool store__table_is_here(const struct store__env *env, int table);
size_t store__env_used(const struct store__env *env); /* bytes up to the last page */
off_t store__env_file_bytes(const struct store__env *env);
/* Closes it and opens it anew; nobody else may use it meanwhile (`growing`). After a failure it is closed. */
int store__env_reopen(struct store__env *env, struct err *e) MUST_CHECK;
/* Maps an LMDB or errno code of anything but a commit. */
int store__env_fail(struct store__env *env, struct err *e, int rc, const char *what);
/* The same of a write to the file. */
int store__env_write_fail(struct store__env *env, struct err *e, int rc, const char *what);

#endif
