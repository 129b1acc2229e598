/* recv_manifest.c: which manifest a version or alias names. */
#include "coordinator/internal.h"

static int find(struct store_txn *txn, const struct msg_get_manifest *get, struct store_version *out, struct err *e)
{
	char alias[STORE_ALIAS_BYTES];
	uint64_t version = get->version;
	if (version == 0 && get->alias.len >= sizeof alias) /* cut, it might be another's name */
		return err_set(e, ERR_NOT_FOUND, "alias: a name has at most %zu bytes", sizeof alias - 1);
	coordinator__copy_text(alias, sizeof alias, get->alias.len > 0 ? get->alias : coordinator__text("latest"));
	int rc = version == 0 ? store_alias_get(txn, alias, &version, e) : 0;
	bool kept = true;
	if (rc == 0)
		rc = store_version_get(txn, version, out, e);
	if (rc == 0)
		rc = store_version_kept(txn, version, &kept, e);
	return rc == 0 && !kept ? err_set(e, ERR_CLOSED, "version: its memories were given back by a collection") : rc;
}

void coordinator__recv_get_manifest(struct coordinator *c, const struct msg_received *received)
{
	struct store_txn *txn = NULL;
	struct store_version rec;
	struct err e = ERR_INIT;
	struct msg msg = { .type = MSG_MANIFEST };
	struct msg_manifest_reply *reply = &msg.u.manifest;
	int rc = store_begin_read(c->store, &txn, &e);
	if (rc == 0)
		rc = find(txn, &received->msg.u.get_manifest, &rec, &e);
	store_abort(&txn);
	reply->code = rc;
	if (rc == 0) {
		coordinator__collect_asked(c, rec.version);
		reply->version = rec.version;
		reply->root = rec.root;
		reply->content = rec.content;
		reply->published_ms = rec.published_ms;
		reply->note = coordinator__text(rec.note);
	} else if (rc == ERR_CLOSED) {
		reply->note = coordinator__text("its memories were given back by a collection");
	} else if (rc == ERR_NOT_FOUND) {
		reply->note = coordinator__text("no such version is published yet");
	} else {
		coordinator__reply_error(c, received, rc, e.text);
		return;
	}
	coordinator__reply(c, received, &msg);
}
