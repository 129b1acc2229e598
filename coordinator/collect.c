/* collect.c: gives back the chunks that nothing needs any more. What is needed: the blobs of the versions that are
 * kept, and of every shard and merge as the ledger has them; store/collect.c adds what was uploaded lately. Step by
 * step, on the loop's thread: first the versions, each of which is read once as it never changes, then the ledger's
 * word that old ones are given up, then slices of what goes, each with what the ledger names by then: between two of
 * them anything may become needed again. */
#include "coordinator/internal.h"

#include <string.h>

#define SLICE_CHUNKS  2048 /* 134 MB */
#define STEP_VERSIONS 16

static int manifest_add(struct coordinator *c, const struct store_version *version, struct buf *roots, struct err *e)
{
	int rc = coordinator__manifest_roots(c->store, &version->root, roots, e);
	if (rc == ERR_CORRUPT)
		(void)coordinator__blob_suspect(c, &version->root);
	if (rc != 0)
		err_wrap(e, "version %llu is kept, and its manifest cannot be read: nothing is deleted",
			 (unsigned long long)version->version);
	return rc;
}

static int roots_keep(struct collection *collection, const struct buf *roots, struct err *e)
{
	if (buf_failed(roots))
		return err_set(e, ERR_NOMEM, "out of memory");
	return store_collect_keep(collection->store, (const struct hash *)(const void *)roots->data,
				  roots->len / HASH_BYTES, e);
}

/* The next few versions; `listed` goes behind them. */
static int versions_keep(struct coordinator *c, struct collection *collection, struct err *e)
{
	struct store_txn *txn = NULL;
	struct store_version version;
	struct buf roots = BUF_INIT;
	bool stays;
	int rc = store_begin_read(c->store, &txn, e);
	for (int looked = 0; rc == 0 && looked < STEP_VERSIONS && collection->listed < c->version;) {
		const uint64_t v = collection->listed + 1;
		rc = store_version_stays(txn, v, collection->from, &stays, e);
		if (rc == 0 && stays)
			rc = store_version_get(txn, v, &version, e);
		if (rc == 0 && stays)
			rc = manifest_add(c, &version, &roots, e);
		collection->listed += rc == 0;
		looked += stays;
	}
	store_abort(&txn);
	if (rc == 0)
		rc = roots_keep(collection, &roots, e);
	buf_free(&roots);
	return rc;
}

static int ledger_keep(struct coordinator *c, struct collection *collection, struct err *e)
{
	struct store_txn *txn = NULL;
	struct buf roots = BUF_INIT;
	int rc = store_begin_read(c->store, &txn, e);
	if (rc == 0)
		rc = store_ledger_roots(txn, &roots, e);
	store_abort(&txn);
	if (rc == 0)
		rc = roots_keep(collection, &roots, e);
	buf_free(&roots);
	return rc;
}

/* In the ledger before the first chunk goes: whoever looks after a crash in between knows what may be gone. And not
 * before all that stays is known to be readable: a refused collection has given nothing up. */
static int versions_give_up(struct coordinator *c, struct collection *collection, struct err *e)
{
	struct buf json = BUF_INIT;
	struct json_w w;
	json_w_init(&w, &json);
	json_w_open(&w, '{');
	json_w_member_uint(&w, "kept_from", collection->from);
	json_w_close(&w);
	int rc = coordinator__begin(c, e);
	if (rc == 0)
		rc = coordinator__event(c, STORE_EVENT_CONFIG_CHANGED, collection->actor, &json, NULL, e);
	else
		buf_free(&json);
	if (rc == 0)
		rc = store_kept_put(c->txn, collection->from, e);
	if (rc == 0)
		rc = coordinator__commit(c, NULL, NULL, e);
	if (rc != 0)
		coordinator__txn_failed(c, e);
	else
		collection->given_up = true;
	return rc;
}

int coordinator__collect_begin(struct coordinator *c, uint64_t keep_versions, const uint8_t *actor,
			       struct collection *out, struct err *e)
{
	const bool all = keep_versions == 0 || keep_versions >= c->version;
	*out = (struct collection){ .from = all ? 1 : c->version - keep_versions + 1, .given_up = all };
	memcpy(out->actor, actor, sizeof out->actor);
	return store_collect_new(c->store, &out->store, e);
}

void coordinator__collect_end(struct collection *collection)
{
	store_collect_destroy(&collection->store);
}

int coordinator__collect_step(struct coordinator *c, struct collection *collection, struct store_collect_tally *total,
			      struct err *e)
{
	struct store_collect_tally slice;
	total->more = true;
	if (collection->listed < c->version)
		return versions_keep(c, collection, e);
	int rc = ledger_keep(c, collection, e);
	if (rc == 0 && !collection->given_up)
		return versions_give_up(c, collection, e);
	if (rc == 0)
		rc = store_collect_slice(collection->store, SLICE_CHUNKS, &slice, e);
	if (rc != 0)
		return rc;
	total->chunk_count += slice.chunk_count;
	total->byte_count += slice.byte_count;
	total->kept_count += slice.kept_count;
	total->more = slice.more;
	return 0;
}
