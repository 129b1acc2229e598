/* roots.c: the blobs that a ledger names. */
#include "store/store.h"

static void add(struct buf *roots, const struct hash *root)
{
	if (!hash_is_zero(root))
		buf_append(roots, root, sizeof(*root));
}

static int add_shards(struct store_txn *txn, struct buf *roots, struct err *e)
{
	struct store_shard shard;
	int rc;
	for (uint64_t id = 0; !(rc = store_shard_next(txn, id, &shard, e)); id = shard.id + 1) {
		add(roots, &shard.delta_root);
		add(roots, &shard.index_root);
		add(roots, &shard.calibration_root);
		store_shard_fini(&shard);
	}
	return rc;
}

static int add_merges(struct store_txn *txn, struct buf *roots, struct err *e)
{
	struct store_merge merge;
	int rc;
	for (uint64_t id = 0; !(rc = store_merge_next(txn, id, &merge, e)); id = merge.id + 1) {
		if (merge.state == STORE_MERGE_STATE_FAILED)
			continue;
		add(roots, &merge.output_root);
		add(roots, &merge.index_root);
	}
	return rc;
}

int store_ledger_roots(struct store_txn *txn, struct buf *roots, struct err *e)
{
	int rc = add_shards(txn, roots, e);
	if (rc == ERR_NOT_FOUND)
		rc = add_merges(txn, roots, e);
	if (rc != ERR_NOT_FOUND)
		return rc;
	err_clear(e);
	return buf_failed(roots) ? err_set(e, ERR_NOMEM, "listing blobs: out of memory") : 0;
}
