/* roots.c: the blobs that a ledger names. */
#include "base/order.h"
#include "store/store.h"

#include <stdlib.h>

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

/* The last published merge of each shard. */
struct last {
	uint64_t shard, merge;
};

static int last_order(const void *a, const void *b)
{
	const struct last *x = a, *y = b;
	if (x->shard != y->shard)
		return x->shard < y->shard ? -1 : 1;
	return (x->merge > y->merge) - (x->merge < y->merge);
}

static int lasts_list(struct store_txn *txn, struct buf *lasts, struct err *e)
{
	struct store_merge merge;
	size_t kept = 0;
	int rc;
	for (uint64_t id = 0; !(rc = store_merge_next(txn, id, &merge, e)); id = merge.id + 1)
		for (size_t i = 0; merge.state == STORE_MERGE_STATE_PUBLISHED && i < merge.shard_count; i++)
			buf_append(lasts, &(struct last){ merge.shards[i], merge.id }, sizeof(struct last));
	if (rc != ERR_NOT_FOUND)
		return rc;
	if (buf_failed(lasts))
		return err_set(e, ERR_NOMEM, "listing blobs: out of memory");
	struct last *list = (void *)lasts->data;
	const size_t count = lasts->len / sizeof(*list);
	if (count > 0)
		qsort(list, count, sizeof(*list), last_order);
	for (size_t i = 0; i < count; i++)
		if (i + 1 == count || list[i + 1].shard != list[i].shard)
			list[kept++] = list[i];
	lasts->len = kept * sizeof(*list);
	return 0;
}

/* Its memory stands in no version to come: a later merge has one of its shards. */
static bool is_replaced(const struct store_merge *merge, const struct buf *lasts)
{
	for (size_t i = 0; merge->state == STORE_MERGE_STATE_PUBLISHED && i < merge->shard_count; i++) {
		const struct last *found = bsearch(&merge->shards[i], lasts->data, lasts->len / sizeof(*found),
						   sizeof(*found), order_u64); /* the shard comes first */
		if (found && found->merge != merge->id)
			return true;
	}
	return false;
}

static int add_merges(struct store_txn *txn, struct buf *roots, struct err *e)
{
	struct buf lasts = BUF_INIT;
	struct store_merge merge;
	int rc = lasts_list(txn, &lasts, e);
	for (uint64_t id = 0; !rc && !(rc = store_merge_next(txn, id, &merge, e)); id = merge.id + 1) {
		if (merge.state == STORE_MERGE_STATE_FAILED || is_replaced(&merge, &lasts))
			continue;
		add(roots, &merge.output_root);
		add(roots, &merge.index_root);
	}
	buf_free(&lasts);
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
