/* recv_version_list.c: a page of the published versions. */
#include "coordinator/internal.h"

#include <stdlib.h>

#define VERSIONS_PAGE 200

void coordinator__recv_version_list(struct coordinator *c, const struct msg_received *received)
{
	const struct msg_version_list *list = &received->msg.u.version_list;
	uint64_t limit = list->limit == 0 || list->limit > VERSIONS_PAGE ? VERSIONS_PAGE : list->limit;
	struct store_version *recs = fault_malloc(limit * sizeof *recs);
	struct msg_version *versions = fault_calloc(limit, sizeof *versions);
	struct store_txn *txn = NULL;
	struct err e = ERR_INIT;
	char held[ERR_TEXT_BYTES_MAX];
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
	coordinator__held_text(c, held, sizeof held);
	msg.u.version_list_reply.held = coordinator__text(held);
	if (rc == 0)
		coordinator__reply(c, received, &msg);
	else
		coordinator__reply_error(c, received, rc, e.text);
	free(recs);
	free(versions);
}
