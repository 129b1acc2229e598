/* recv_version_list.c: a page of the published versions, also of those that cannot be read. */
#include "coordinator/internal.h"

#include <stdio.h>
#include <stdlib.h>

#define VERSIONS_PAGE 200

struct listed {
	struct store_version rec;
	char problem[STORE_REASON_BYTES];
};

/* A damaged record is one version's, and no reason to hide the others. */
static int version_read(struct coordinator *c, struct store_txn *txn, uint64_t version, struct listed *out,
			struct err *e)
{
	int rc = store_version_get(txn, version, &out->rec, e);
	if (rc == ERR_CORRUPT || rc == ERR_NOT_FOUND) {
		out->rec = (struct store_version){ .version = version };
		snprintf(out->problem, sizeof out->problem,
			 "its record in the ledger is %s: look with `amend store verify`",
			 rc == ERR_CORRUPT ? "damaged" : "missing");
		err_clear(e);
		rc = 0;
	} else if (rc == 0 && coordinator__seqs_hold(&c->heal.versions, version)) {
		snprintf(out->problem, sizeof out->problem, "it cannot be loaded: chunks of it are lost");
	}
	return rc;
}

static struct msg_version version_of(const struct listed *listed)
{
	const struct store_version *rec = &listed->rec;
	return (struct msg_version){ rec->version,
				     rec->root,
				     rec->content,
				     rec->published_ms,
				     rec->memory_count,
				     rec->edit_count,
				     coordinator__text(rec->note),
				     coordinator__text(listed->problem) };
}

void coordinator__recv_version_list(struct coordinator *c, const struct msg_received *received)
{
	const struct msg_version_list *list = &received->msg.u.version_list;
	uint64_t limit = list->limit == 0 || list->limit > VERSIONS_PAGE ? VERSIONS_PAGE : list->limit;
	struct listed *recs = fault_calloc(limit, sizeof *recs);
	struct msg_version *versions = fault_calloc(limit, sizeof *versions);
	struct store_txn *txn = NULL;
	struct err e = ERR_INIT;
	char held[ERR_TEXT_BYTES_MAX];
	struct msg msg = { .type = MSG_VERSION_LIST_REPLY };
	int rc = recs == NULL || versions == NULL ? err_set(&e, ERR_NOMEM, "out of memory")
						  : store_begin_read(c->store, &txn, &e);
	size_t n = 0;
	for (uint64_t v = list->from > 0 ? list->from : 1; rc == 0 && n < limit && v <= c->version; v++, n++) {
		rc = version_read(c, txn, v, &recs[n], &e);
		versions[n] = version_of(&recs[n]);
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
