/* recv_edit_list.c: what became of edits: one by id, a page by range and states, or only how many are in which state.
 */
#include "coordinator/internal.h"

#include <stdlib.h>
#include <string.h>

#define EDITS_PAGE         200
#define PAGE_PAYLOAD_BYTES (96 * 1024)
#define SCAN_MAX           2000 /* edits looked at for one page: of others' edits only the owners may see more */

struct page {
	struct store_edit *recs;
	struct msg_edit *edits;
	struct buf payloads; /* offsets in `edits` until the page is whole */
	size_t count;
	uint64_t next_seq;
	bool with_payload;
	const uint8_t *owner; /* NULL: everybody's edits; else those that this key submitted */
};

/* promises.md, Roles: a submitter sees the status of its own edits. */
static int page_add(struct store_txn *txn, struct page *page, struct err *e)
{
	struct store_event event = { .payload_len = 0 };
	const struct store_edit *rec = &page->recs[page->count];
	struct msg_edit *out = &page->edits[page->count];
	int rc = page->owner != NULL || page->with_payload ? store_event_get(txn, rec->seq, &event, e) : 0;
	if (rc != 0)
		return rc;
	if (page->owner != NULL && memcmp(event.actor, page->owner, sizeof event.actor) != 0)
		return 0;
	*out = (struct msg_edit){ .seq = rec->seq,
				  .shard = rec->shard,
				  .version = rec->version,
				  .supersedes = rec->supersedes,
				  .superseded_by = rec->superseded_by,
				  .accepted_ms = rec->accepted_ms,
				  .trained_ms = rec->trained_ms,
				  .served_ms = rec->served_ms,
				  .state = (uint32_t)rec->state,
				  .tries = rec->tries,
				  .id = coordinator__text(rec->id),
				  .reason = coordinator__text(rec->reason) };
	if (page->with_payload) {
		buf_append(&page->payloads, event.payload, event.payload_len);
		out->payload.len = event.payload_len;
	}
	page->count++;
	return 0;
}

static int page_range(struct store_txn *txn, const struct msg_edit_list *list, size_t limit, struct page *page,
		      struct err *e)
{
	uint64_t from = list->from_seq;
	uint32_t mask = list->state_mask != 0 ? list->state_mask : UINT32_MAX;
	for (size_t seen = 0;; seen++) {
		struct store_edit rec;
		int rc = store_edit_next(txn, from, mask, &rec, e);
		if (rc == ERR_NOT_FOUND) {
			err_clear(e);
			return 0;
		}
		if (rc != 0)
			return rc;
		if (page->count == limit || page->payloads.len > PAGE_PAYLOAD_BYTES || seen == SCAN_MAX) {
			page->next_seq = rec.seq;
			return 0;
		}
		page->recs[page->count] = rec;
		rc = page_add(txn, page, e);
		if (rc != 0)
			return rc;
		from = rec.seq + 1;
	}
}

static int page_id(struct store_txn *txn, const struct msg_edit_list *list, struct page *page, struct err *e)
{
	char id[STORE_ID_BYTES];
	if (list->id.len >= sizeof id)
		return 0;
	coordinator__copy_text(id, sizeof id, list->id);
	int rc = store_edit_find(txn, id, &page->recs[0], e);
	if (rc == ERR_NOT_FOUND) {
		err_clear(e);
		return 0;
	}
	return rc == 0 ? page_add(txn, page, e) : rc;
}

static int page_make(struct coordinator *c, const struct msg_edit_list *list, struct page *page, struct err *e)
{
	size_t limit = list->limit == 0 || list->limit > EDITS_PAGE ? EDITS_PAGE : list->limit;
	struct store_txn *txn = NULL;
	page->recs = fault_malloc(limit * sizeof *page->recs);
	page->edits = fault_calloc(limit, sizeof *page->edits);
	if (page->recs == NULL || page->edits == NULL)
		return err_set(e, ERR_NOMEM, "out of memory");
	int rc = store_begin_read(c->store, &txn, e);
	if (rc == 0)
		rc = list->id.len > 0 ? page_id(txn, list, page, e) : page_range(txn, list, limit, page, e);
	store_abort(&txn);
	if (rc == 0 && buf_failed(&page->payloads))
		rc = err_set(e, ERR_NOMEM, "out of memory");
	for (size_t i = 0, at = 0; rc == 0 && i < page->count; at += page->edits[i++].payload.len)
		page->edits[i].payload.bytes = page->payloads.data + at;
	return rc;
}

void coordinator__recv_edit_list(struct coordinator *c, const struct msg_received *received)
{
	const struct msg_edit_list *list = &received->msg.u.edit_list;
	bool all = (received->roles & (PROTO_ROLE_AUDITOR | PROTO_ROLE_ADMIN)) != 0;
	struct page page = { .with_payload = list->with_payload, .owner = all ? NULL : received->peer_key };
	struct err e = ERR_INIT;
	int rc = list->counts_only ? 0 : page_make(c, list, &page, &e);
	if (rc == 0) {
		struct msg msg = { .type = MSG_EDIT_LIST_REPLY };
		msg.u.edit_list_reply = (struct msg_edit_list_reply){
			page.edits, page.count, page.next_seq, c->counts, STORE_EDIT_STATE_COUNT, c->last_seq
		};
		coordinator__reply(c, received, &msg);
	} else {
		coordinator__reply_error(c, received, rc, e.text);
	}
	buf_free(&page.payloads);
	free(page.recs);
	free(page.edits);
}
