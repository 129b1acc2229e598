/* coordinator_ledger.c: what the store of a fixture's coordinator has (coordinator_fixture.h). */
#include "tests/lib/coordinator_fixture.h"

#include "proto/codec.h"

void edit_get(struct cluster *c, uint64_t seq, struct store_edit *out)
{
	struct store_txn *txn = NULL;
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_edit_get(txn, seq, out, &c->e));
	store_abort(&txn);
}

int edit_state(struct cluster *c, uint64_t seq)
{
	struct store_edit edit;
	edit_get(c, seq, &edit);
	return edit.state;
}

struct store_version version_get(struct cluster *c, uint64_t version)
{
	struct store_txn *txn = NULL;
	struct store_version rec;
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, store_version_get(txn, version, &rec, &c->e));
	store_abort(&txn);
	return rec;
}

struct store_version candidate_get(struct cluster *c)
{
	struct store_txn *txn = NULL;
	struct store_version rec;
	assert_ok(&c->e, store_begin_read(c->store, &txn, &c->e));
	assert_ok(&c->e, coordinator_candidate_get(txn, &rec, &c->e));
	store_abort(&txn);
	return rec;
}

void manifest_read(struct cluster *c, uint64_t version, struct arena *arena, struct proto_manifest *out)
{
	const struct store_version rec = version_get(c, version);
	struct buf bytes = BUF_INIT;
	struct hash content;
	assert_ok(&c->e, store_blob_get(c->store, &rec.root, 1 << 20, &bytes, &c->e));
	hash_of(bytes.data, bytes.len, &content);
	assert_true(hash_equal(&content, &rec.content));
	assert_ok(&c->e, proto_manifest_decode(bytes.data, bytes.len, arena, out, &c->e));
	buf_free(&bytes);
}
