/* newest.c: the newest version and its manifest. What is served, to the edit, is said by nothing else, so it stands
 * twice: as a blob like every version's, and in the ledger, from where the blob is made again when the disk has changed
 * it. */
#include "coordinator/internal.h"

#include <inttypes.h>
#include <stdio.h>

#define PART_NAME "newest-manifest/%u" /* values of STORE_META_BYTES_MAX; the last one is shorter */

int coordinator__newest_get(struct coordinator *c, struct store_version *out, struct err *e)
{
	struct store_txn *txn = NULL;
	int rc = store_begin_read(c->store, &txn, e);
	if (rc == 0)
		rc = store_version_get(txn, c->version, out, e);
	store_abort(&txn);
	return rc;
}

int coordinator__newest_seqs(struct coordinator *c, struct buf *seqs, struct err *e)
{
	struct store_version newest;
	if (c->version == 0)
		return 0;
	int rc = coordinator__newest_get(c, &newest, e);
	return rc == 0 ? coordinator__manifest_seqs(c, &newest.root, seqs, e) : rc;
}

/* --- The copy in the ledger. */

int coordinator__newest_put(struct coordinator *c, const struct store_version *rec, struct err *e)
{
	struct buf bytes = BUF_INIT;
	char name[48];
	int rc = coordinator__manifest_bytes(c, &rec->root, &bytes, e);
	size_t at = 0;
	for (unsigned part = 0; rc == 0 && at <= bytes.len; part++, at += STORE_META_BYTES_MAX) {
		const size_t left = bytes.len - at;
		snprintf(name, sizeof name, PART_NAME, part);
		rc = store_meta_put(c->txn, name, bytes.data + at,
				    left < STORE_META_BYTES_MAX ? left : STORE_META_BYTES_MAX, e);
	}
	buf_free(&bytes);
	return rc;
}

/* ERR_NOT_FOUND: it has none of this version. */
static int copy_get(struct coordinator *c, const struct store_version *rec, struct buf *out, struct err *e)
{
	struct store_txn *txn = NULL;
	struct hash content;
	char name[48];
	int rc = store_begin_read(c->store, &txn, e);
	for (unsigned part = 0; rc == 0 && out->len == part * (size_t)STORE_META_BYTES_MAX; part++) {
		snprintf(name, sizeof name, PART_NAME, part);
		rc = store_meta_get(txn, name, out, e);
	}
	store_abort(&txn);
	if (rc != 0)
		return rc;
	hash_of(out->data, out->len, &content);
	return hash_equal(&content, &rec->content)
		       ? 0
		       : err_set(e, ERR_NOT_FOUND, "the ledger has no manifest of version %" PRIu64, rec->version);
}

int coordinator__newest_keep(struct coordinator *c, struct err *e)
{
	struct store_version newest;
	struct buf copy = BUF_INIT;
	if (c->version == 0)
		return 0;
	int rc = coordinator__newest_get(c, &newest, e);
	const bool kept = rc == 0 && copy_get(c, &newest, &copy, e) == 0;
	buf_free(&copy);
	if (rc != 0 || kept)
		return rc;
	err_clear(e);
	rc = coordinator__begin(c, e);
	if (rc == 0)
		rc = coordinator__newest_put(c, &newest, e);
	if (rc == 0)
		rc = coordinator__commit(c, NULL, NULL, e);
	store_abort(&c->txn);
	if (rc == 0 || rc == ERR_IO)
		return rc;
	log_event(LOG_WARN, "COORDINATOR-MANIFEST-UNKEPT", LOGF_U("version", c->version), LOGF_S("reason", e->text));
	err_clear(e); /* the next version's will be */
	return 0;
}

static int from_copy(struct coordinator *c, const struct store_version *newest, struct err *e)
{
	struct buf bytes = BUF_INIT;
	struct hash root;
	int rc = copy_get(c, newest, &bytes, e);
	if (rc == 0)
		rc = coordinator__heal_put(c, bytes.data, bytes.len, &root, e);
	buf_free(&bytes);
	return rc;
}

int coordinator__newest_restore(struct coordinator *c, bool *whole, struct err *e)
{
	struct store_version newest;
	bool apart = false;
	*whole = true;
	if (c->version == 0)
		return 0;
	int rc = coordinator__newest_get(c, &newest, e);
	if (rc == 0)
		rc = coordinator__blob_apart(c, &newest.root, &apart, e);
	if (rc == 0 && apart)
		rc = from_copy(c, &newest, e);
	if (rc == 0 && apart)
		log_event(LOG_WARN, "COORDINATOR-MANIFEST-RESTORED", LOGF_U("version", newest.version));
	*whole = rc == 0;
	if (rc != ERR_NOT_FOUND && rc != ERR_CORRUPT)
		return rc;
	err_clear(e);
	return 0;
}
