/* recv_manifest.c: which manifest a version or alias names, and the list of versions. */
#include "coordinator/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define VERSIONS_PAGE 200

static int find(struct store_txn *txn, const struct msg_get_manifest *get, struct store_version *out, struct err *e)
{
	char alias[STORE_ALIAS_BYTES];
	uint64_t version = get->version;
	if (version == 0 && get->alias.len >= sizeof alias) /* cut, it might be another's name */
		return err_set(e, ERR_NOT_FOUND, "alias: a name has at most %zu bytes", sizeof alias - 1);
	coordinator__copy_text(alias, sizeof alias, get->alias.len > 0 ? get->alias : coordinator__text("latest"));
	int rc = version == 0 ? store_alias_get(txn, alias, &version, e) : 0;
	return rc == 0 ? store_version_get(txn, version, out, e) : rc;
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
		reply->version = rec.version;
		reply->root = rec.root;
		reply->content = rec.content;
		reply->published_ms = rec.published_ms;
		reply->note = coordinator__text(rec.note);
	} else if (rc == ERR_NOT_FOUND) {
		reply->note = coordinator__text("no such version is published yet");
	} else {
		coordinator__reply_error(c, received, rc, e.text);
		return;
	}
	coordinator__reply(c, received, &msg);
}

void coordinator__recv_version_list(struct coordinator *c, const struct msg_received *received)
{
	const struct msg_version_list *list = &received->msg.u.version_list;
	uint64_t limit = list->limit == 0 || list->limit > VERSIONS_PAGE ? VERSIONS_PAGE : list->limit;
	struct store_version *recs = fault_malloc(limit * sizeof *recs);
	struct msg_version *versions = fault_calloc(limit, sizeof *versions);
	struct store_txn *txn = NULL;
	struct err e = ERR_INIT;
	struct msg msg = { .type = MSG_VERSION_LIST_REPLY };
	int rc = recs == NULL || versions == NULL ? err_set(&e, ERR_NOMEM, "out of memory")
						  : store_begin_read(c->store, &txn, &e);
	size_t n = 0;
	for (uint64_t v = list->from > 0 ? list->from : 1; rc == 0 && n < limit && v <= c->version; v++, n++) {
		rc = store_version_get(txn, v, &recs[n], &e);
		if (rc == 0)
			versions[n] = (struct msg_version){ recs[n].version,
							    recs[n].root,
							    recs[n].content,
							    recs[n].published_ms,
							    recs[n].memory_count,
							    recs[n].edit_count,
							    coordinator__text(recs[n].note) };
	}
	store_abort(&txn);
	msg.u.version_list_reply.versions = versions;
	msg.u.version_list_reply.version_count = n;
	msg.u.version_list_reply.latest = c->version;
	if (rc == 0)
		coordinator__reply(c, received, &msg);
	else
		coordinator__reply_error(c, received, rc, e.text);
	free(recs);
	free(versions);
}
