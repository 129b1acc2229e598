/* backup.c: copies of the coordinator's folder that the product makes while it works, and clusters that go on from one.
 * A copy passes what `amend store verify` looks at, and has all that was known when it was asked for (I12). Where the
 * coordinator comes back on one, what came after it is lost, and nothing of that may get into what follows. */
#include "tests/sim/check_internal.h"

#include "base/fault.h"
#include "daemon/version_set.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOB_BYTES ((size_t)1 << 24)

struct sim_backup {
	char folder[SIM_PATH_BYTES];
	uint64_t last; /* event */
};

static const struct sim_backup *backups_of(const struct sim *sim, size_t *count)
{
	*count = sim->backups.len / sizeof(struct sim_backup);
	return (const void *)sim->backups.data;
}

void sim_backup_folder(const struct sim *sim, const struct sim_request *request, char out[SIM_PATH_BYTES])
{
	snprintf(out, SIM_PATH_BYTES, "%.200s/backup-%016" PRIx64, sim->folder, request->id);
}

/* ---- What a copy holds */

/* Its chunks are there, or were found damaged and lie apart. */
static int root_check(struct store *copy, const struct hash *root, struct err *e)
{
	struct buf missing = BUF_INIT;
	int rc = hash_is_zero(root) ? 0 : store_blob_missing(copy, root, &missing, e);
	for (size_t at = 0; rc == 0 && at < missing.len; at += HASH_BYTES) {
		struct hash hash;
		bool apart = false;
		memcpy(hash.bytes, missing.data + at, HASH_BYTES);
		rc = store_quarantine_has(copy, &hash, &apart, e);
		if (rc == 0 && !apart)
			rc = err_set(e, ERR_NOT_FOUND, "chunks are missing");
	}
	buf_free(&missing);
	return rc;
}

static int roots_check(struct store *copy, const struct buf *roots, struct err *e)
{
	const struct hash *root = (const void *)roots->data;
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < roots->len / sizeof *root; i++)
		rc = root_check(copy, &root[i], e);
	return rc;
}

static int version_check(struct store *copy, struct store_txn *txn, uint64_t number, struct err *e)
{
	struct store_version version;
	struct proto_manifest manifest;
	struct arena *arena = NULL;
	struct buf roots = BUF_INIT;
	struct err silent = ERR_INIT;
	bool kept = false;
	int rc = store_version_kept(txn, number, &kept, e);
	if (rc != 0 || !kept)
		return rc;
	rc = store_version_get(txn, number, &version, e);
	if (rc == 0)
		rc = root_check(copy, &version.root, e);
	if (rc == 0 && arena_new(16 * 1024, BLOB_BYTES, &arena) != 0)
		abort();
	/* a manifest that lies apart cannot be read */
	if (rc == 0 &&
	    version_manifest_read(copy, &version.root, &version.content, NULL, arena, &manifest, &silent) == 0)
		rc = proto_manifest_roots(&manifest, &roots, e);
	if (rc == 0)
		rc = roots_check(copy, &roots, e);
	if (rc != 0)
		err_wrap(e, "version %" PRIu64, number);
	buf_free(&roots);
	arena_destroy(&arena);
	return rc;
}

static int copy_verify(struct store *copy, struct store_txn *txn, struct err *e)
{
	struct store_ledger_tally ledger = { .event_count = 0 };
	struct store_chunks_tally chunks = { .chunk_count = 0 };
	struct buf roots = BUF_INIT;
	int rc = store_ledger_verify(txn, &ledger, e);
	if (rc == 0)
		rc = store_chunks_verify(copy, &chunks, e);
	if (rc == 0)
		rc = store_ledger_roots(txn, &roots, e);
	if (rc == 0)
		rc = roots_check(copy, &roots, e);
	for (uint64_t version = 1; rc == 0 && version <= ledger.version_count; version++)
		rc = version_check(copy, txn, version, e);
	buf_free(&roots);
	return rc;
}

/* The ledger's own beginning. */
static int prefix_check(struct sim *sim, struct store_txn *txn, uint64_t last, struct err *e)
{
	struct store_txn *live = NULL;
	struct store_event ours, theirs;
	if (last == 0 || coordinator_of(sim)->store == NULL ||
	    sim_check__look(coordinator_of(sim)->store, &live, e) != 0)
		return 0;
	int rc = store_event_get(txn, last, &theirs, e);
	if (rc == 0)
		rc = store_event_get(live, last, &ours, e);
	if (rc == 0 && !hash_equal(&ours.self, &theirs.self))
		rc = err_set(e, ERR_CORRUPT, "its event %" PRIu64 " is another one", last);
	store_abort(&live);
	return rc;
}

static int acks_check(struct sim *sim, struct store_txn *txn, const struct sim_request *request, struct err *e)
{
	for (size_t i = 0; i < request->acks_since && i < sim->ack_count; i++) {
		const struct sim_ack *ack = &sim->acks[i];
		struct store_event event;
		struct hash content = { { 0 } };
		int rc = store_event_get(txn, ack->seq, &event, e);
		if (rc == 0 && event.type == STORE_EVENT_EDIT_ACCEPTED)
			hash_of(event.payload, event.payload_len, &content);
		if (rc != 0 || !hash_equal(&content, &sim->records[ack->record].content))
			return err_set(e, ERR_NOT_FOUND, "seq %" PRIu64 " was acknowledged before, and is not in it",
				       ack->seq);
	}
	return 0;
}

void sim_backup_made(struct sim *sim, const struct sim_request *request)
{
	struct sim_backup backup;
	struct store *copy = NULL;
	struct store_txn *txn = NULL;
	struct err e = ERR_INIT;
	const struct store_options options = { .env = &sim->clock.env, .inspect = true };
	sim_backup_folder(sim, request, backup.folder);
	int rc = store_open(backup.folder, &options, &copy, &e);
	if (rc == 0)
		rc = store_begin_read(copy, &txn, &e);
	if (rc == 0)
		rc = store_event_last(txn, &backup.last, NULL, &e);
	if (rc == 0)
		rc = copy_verify(copy, txn, &e);
	if (rc == 0 && backup.last < request->since)
		rc = err_set(&e, ERR_NOT_FOUND, "it ends at event %" PRIu64 ", and %" PRIu64 " was seen before",
			     backup.last, request->since);
	if (rc == 0)
		rc = acks_check(sim, txn, request, &e);
	if (rc == 0)
		rc = prefix_check(sim, txn, backup.last, &e);
	store_abort(&txn);
	store_close(&copy);
	if (rc != 0)
		sim_break(sim, "I12: a backup: %s", e.text);
	else
		buf_append(&sim->backups, &backup, sizeof backup);
	sim->result->checks++;
}

/* ---- Coming back on one */

/* Those that were made later are of the history that is lost. */
static void later_drop(struct sim *sim, uint64_t last)
{
	size_t count, kept = 0;
	struct sim_backup *all = (void *)sim->backups.data;
	(void)backups_of(sim, &count);
	for (size_t i = 0; i < count; i++)
		if (all[i].last <= last)
			all[kept++] = all[i];
	sim->backups.len = kept * sizeof *all;
}

static int folder_restore(struct sim *sim, const struct sim_backup *backup, struct err *e)
{
	struct sim_proc *c = coordinator_of(sim);
	char fresh[SIM_PATH_BYTES + 16];
	struct store_backup_tally tally;
	struct store *copy = NULL;
	const struct store_options options = { .env = &sim->clock.env, .inspect = true };
	fault_disarm_all(); /* it is done aside */
	snprintf(fresh, sizeof fresh, "%s.restored", c->folder);
	int rc = store_open(backup->folder, &options, &copy, e);
	if (rc == 0)
		rc = store_restore(copy, fresh, &tally, e);
	store_close(&copy);
	sim_remove(c->folder);
	if (rc == 0 && rename(fresh, c->folder) != 0)
		rc = err_set(e, ERR_IO, "%s cannot be put in its place", fresh);
	return rc;
}

uint64_t sim_backup_restore(struct sim *sim, struct rng *rng, int64_t down_us)
{
	size_t count;
	const struct sim_backup *all = backups_of(sim, &count);
	struct err e = ERR_INIT;
	if (count == 0)
		return 0;
	const struct sim_backup backup = all[rng_below(rng, count)];
	sim_proc_kill(coordinator_of(sim), down_us);
	if (folder_restore(sim, &backup, &e) != 0)
		sim_break(sim, "I12: a backup does not come back: %s", e.text);
	later_drop(sim, backup.last);
	sim_check_restored(sim, backup.last);
	return backup.last;
}
