/* load_blobs.c: whether the blobs are those of the ledger. Whoever adds a root to the ledger has seen its chunks in the
 * store (recv_shard_commit.c, recv_gate_result.c, merge_files.c), so what is whole at the start is whole in every
 * version that is published: a start looks each chunk up once, a publication none. */
#include "coordinator/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct tally {
	size_t needed_count, lost_count;
	char first[128]; /* of the lost ones */
};

/* Of the chunks that are missing: whether all have been set apart as damaged, or are about to be. */
static int all_damaged(struct coordinator *c, const struct buf *missing, bool *damaged, struct err *e)
{
	int rc = 0;
	*damaged = missing->len > 0;
	for (size_t at = 0; rc == 0 && *damaged && at < missing->len; at += HASH_BYTES) {
		struct hash hash;
		memcpy(hash.bytes, missing->data + at, HASH_BYTES);
		rc = store_chunk_has(c->store, &hash, damaged, e);
		if (rc == 0 && !*damaged)
			rc = store_quarantine_has(c->store, &hash, damaged, e);
	}
	return rc;
}

int coordinator__blob_apart(struct coordinator *c, const struct hash *root, bool *apart, struct err *e)
{
	struct buf missing = BUF_INIT;
	*apart = false;
	int rc = store_blob_missing(c->store, root, &missing, e);
	if (rc == 0)
		rc = all_damaged(c, &missing, apart, e);
	buf_free(&missing);
	return rc;
}

int coordinator__version_whole(struct coordinator *c, const struct hash *manifest, bool *apart, struct err *e)
{
	struct buf roots = BUF_INIT, missing = BUF_INIT;
	*apart = false;
	int rc = coordinator__manifest_roots(c->store, manifest, &roots, e);
	if (rc == 0 && buf_failed(&roots))
		rc = err_set(e, ERR_NOMEM, "out of memory");
	const struct hash *root = (const void *)roots.data;
	for (size_t i = 0; rc == 0 && i < roots.len / sizeof *root; i++)
		rc = store_blob_missing(c->store, &root[i], &missing, e);
	if (rc == 0)
		rc = all_damaged(c, &missing, apart, e);
	if (rc == 0 && missing.len > 0)
		rc = err_set(e, ERR_CORRUPT, "%zu chunk%s missing of its memories%s", missing.len / HASH_BYTES,
			     missing.len == HASH_BYTES ? " is" : "s are",
			     *apart ? ": damaged, and asked for from workers and nodes" : "");
	buf_free(&roots);
	buf_free(&missing);
	return rc;
}

/* A chunk that is damaged is no reason to stand still: workers and nodes may hold it (heal.c). */
static int root_check(struct coordinator *c, const struct hash *root, const char *what, uint64_t id,
		      struct tally *tally, struct err *e)
{
	struct buf missing = BUF_INIT;
	bool damaged = false;
	char hex[HASH_HEX_BYTES];
	if (hash_is_zero(root))
		return 0;
	tally->needed_count++;
	int rc = store_blob_missing(c->store, root, &missing, e);
	if (rc == 0)
		rc = all_damaged(c, &missing, &damaged, e);
	if (rc == 0 && damaged) {
		struct err unused = ERR_INIT; /* its root is apart already; what else is damaged is found later, too */
		size_t bad;
		(void)!coordinator__blob_suspect(c, root, &bad, &unused);
		log_event(LOG_ERROR, "COORDINATOR-BLOB-DAMAGED", LOGF_S("what", what), LOGF_U("of", id),
			  LOGF_X("root", root->bytes, HASH_BYTES));
	} else if (rc == 0 && missing.len > 0 && tally->lost_count++ == 0) {
		hash_hex(root, hex);
		snprintf(tally->first, sizeof tally->first, "%s %" PRIu64 " (%s)", what, id, hex);
	}
	buf_free(&missing);
	return rc;
}

static int shard_check(struct coordinator *c, const struct store_shard *rec, struct tally *tally, struct err *e)
{
	int rc = root_check(c, &rec->delta_root, "the delta of shard", rec->id, tally, e);
	if (rc == 0)
		rc = root_check(c, &rec->index_root, "the index of shard", rec->id, tally, e);
	return rc == 0 ? root_check(c, &rec->calibration_root, "the calibration of shard", rec->id, tally, e) : rc;
}

static int merge_check(struct coordinator *c, const struct store_merge *rec, struct tally *tally, struct err *e)
{
	int rc = root_check(c, &rec->output_root, "the delta of merge", rec->id, tally, e);
	return rc == 0 ? root_check(c, &rec->index_root, "the index of merge", rec->id, tally, e) : rc;
}

int coordinator__blobs_check(struct coordinator *c, struct store_txn *txn, struct err *e)
{
	struct tally tally = { .needed_count = 0 };
	struct store_version version;
	if (c->version == 0)
		return 0;
	int rc = store_version_get(txn, c->version, &version, e);
	if (rc == 0)
		rc = root_check(c, &version.root, "the manifest of version", c->version, &tally, e);
	for (size_t i = 0; rc == 0 && i < c->shard_count; i++)
		rc = shard_check(c, &c->shards[i]->rec, &tally, e);
	for (size_t i = 0; rc == 0 && i < c->merge_count; i++)
		rc = merge_check(c, &c->merges[i], &tally, e);
	if (rc == 0 && c->merge.active)
		rc = merge_check(c, &c->merge.rec, &tally, e);
	if (rc == 0 && tally.lost_count > 0)
		rc = err_set(e, ERR_CORRUPT,
			     "data folder %s: %zu of the %zu blobs of version %" PRIu64
			     " and its memories are not in blobs/, first %s: put ledger/ and blobs/ back from one "
			     "backup; these blobs are another ledger's, or older",
			     c->data_folder, tally.lost_count, tally.needed_count, c->version, tally.first);
	return rc;
}
