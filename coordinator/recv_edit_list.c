/* recv_edit_list.c: what became of edits: one with its history, a page by range and states, or only how many are in
 * which state. */
#include "coordinator/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EDITS_PAGE         200
#define PAGE_PAYLOAD_BYTES (96 * 1024)
#define STEPS_MAX          4    /* accepted, memory lost, trained, served; or ended */
#define SCAN_MAX           2000 /* edits looked at for one page: of others' edits only the owners may see more */

struct page {
	struct store_edit *recs;
	struct msg_edit *edits;
	struct buf payloads; /* offsets in `edits` until the page is whole */
	size_t count;
	uint64_t next_seq;
	bool with_payload;
	const uint8_t *owner;                  /* NULL: everybody's edits; else those that this key submitted */
	struct msg_edit_step steps[STEPS_MAX]; /* of one that was asked for alone, with its payload */
	char texts[STEPS_MAX][STORE_REASON_BYTES + STORE_ID_BYTES + 32];
	size_t step_count;
};
_Static_assert(STEPS_MAX <= MSG_EDIT_HISTORY_MAX, "a history must pass the codec");

/* promises.md, Roles: a submitter sees the status of its own edits. */
static int page_add(struct store_txn *txn, struct page *page, struct err *e)
{
	struct store_event event = { .payload_len = 0 };
	const struct store_edit *rec = &page->recs[page->count];
	struct msg_edit *out = &page->edits[page->count];
	int rc = page->owner != NULL ? store_event_get(txn, rec->seq, &event, e) : 0;
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
				  .reason = coordinator__text(rec->reason),
				  .restores = rec->restores,
				  .valid_from_ms = rec->valid_from_ms,
				  .expires_ms = rec->expires_ms,
				  .ended_event = rec->ended_event };
	const size_t from = page->payloads.len;
	if (page->with_payload)
		rc = coordinator__payload_put(txn, rec->seq, &page->payloads, e);
	out->payload.len = page->payloads.len - from;
	page->count += rc == 0;
	return rc;
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
		from = rec.seq + 1;
		if (list->ended_after > 0 && rec.ended_event <= list->ended_after)
			continue;
		page->recs[page->count] = rec;
		rc = page_add(txn, page, e);
		if (rc != 0)
			return rc;
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

/* --- History: who and why stand in the ledger, at the events that began and ended the edit. */

static char *step_add(struct page *page, int64_t time_ms, const char *what)
{
	struct msg_edit_step *step = &page->steps[page->step_count];
	step->time_ms = time_ms;
	step->what = coordinator__text(what);
	return page->texts[page->step_count++];
}

static int step_event(struct store_txn *txn, uint64_t seq, const char *what, struct page *page, char **text,
		      struct err *e)
{
	struct store_event event;
	int rc = store_event_get(txn, seq, &event, e);
	if (rc != 0)
		return rc;
	*text = step_add(page, event.time_ms, what);
	page->steps[page->step_count - 1].event = seq;
	memcpy(page->steps[page->step_count - 1].actor, event.actor, sizeof event.actor);
	return 0;
}

static int id_of(struct store_txn *txn, uint64_t seq, char out[STORE_ID_BYTES], struct err *e)
{
	struct store_edit edit;
	int rc = store_edit_get(txn, seq, &edit, e);
	snprintf(out, STORE_ID_BYTES, "%s", rc == 0 ? edit.id : "");
	return rc;
}

static int step_accepted(struct store_txn *txn, const struct store_edit *rec, struct page *page, struct err *e)
{
	char *text, id[STORE_ID_BYTES], time[ENV_TIME_BYTES];
	size_t room = sizeof page->texts[0];
	int rc = step_event(txn, rec->seq, "accepted", page, &text, e);
	if (rc == 0 && rec->restores != 0 && (rc = id_of(txn, rec->restores, id, e)) == 0)
		snprintf(text, room, "brings back edit %s", id);
	else if (rc == 0 && rec->supersedes != 0 && (rc = id_of(txn, rec->supersedes, id, e)) == 0)
		snprintf(text, room, "supersedes edit %s", id);
	if (rc == 0) {
		const size_t at = strlen(text);
		rc = coordinator__names_tell(txn, rec->seq, text + at, room - at, e);
	}
	if (rc == 0 && rec->valid_from_ms > rec->accepted_ms) {
		size_t at = strlen(text);
		env_time_format(rec->valid_from_ms, time);
		snprintf(text + at, room - at, "%sbegins at %s", at > 0 ? ", " : "", time);
	}
	return rc;
}

/* lost.c */
static int step_lost(struct store_txn *txn, const struct store_edit *rec, struct page *page, struct err *e)
{
	char *text;
	int rc = step_event(txn, rec->ended_event, "memory lost", page, &text, e);
	if (rc == 0)
		snprintf(text, sizeof page->texts[0], "of shard %" PRIu64 ": it is trained again from the ledger",
			 rec->shard);
	return rc;
}

static int step_ended(struct store_txn *txn, const struct store_edit *rec, struct page *page, struct err *e)
{
	char *text, id[STORE_ID_BYTES] = "";
	int rc = step_event(txn, rec->ended_event, sm_state_name(&store_edit_states, rec->state), page, &text, e);
	if (rc == 0 && rec->superseded_by != 0)
		rc = id_of(txn, rec->superseded_by, id, e);
	const char *then = id[0] != 0 ? strstr(rec->reason, ", then ") : NULL; /* revoke.c: withdraw */
	if (rc == 0)
		snprintf(text, sizeof page->texts[0], "%s%s%s", id[0] != 0 ? "by edit " : "",
			 id[0] != 0 ? id : rec->reason, then != NULL ? then : "");
	return rc;
}

/* Of the version that it was in before its memory was lost nothing is said. */
static int step_trained(struct store_txn *txn, const struct store_edit *rec, bool lost, struct page *page,
			struct err *e)
{
	struct store_version version = { .event_seq = 0 };
	char *text = step_add(page, rec->trained_ms, "trained");
	int rc = lost && rec->version != 0 ? store_version_get(txn, rec->version, &version, e) : 0;
	text[0] = '\0';
	if (rc == 0 && rec->version != 0 && (!lost || version.event_seq > rec->ended_event)) /* else it waits for one */
		snprintf(text, sizeof page->texts[0], "in v%" PRIu64, rec->version);
	return rc;
}

static int history_make(struct store_txn *txn, struct page *page, struct err *e)
{
	const struct store_edit *rec = &page->recs[0];
	const bool lost = rec->ended_event != 0 && coordinator__edit_live(rec->state);
	int rc = step_accepted(txn, rec, page, e);
	if (rc == 0 && lost)
		rc = step_lost(txn, rec, page, e);
	if (rc == 0 && rec->trained_ms != 0)
		rc = step_trained(txn, rec, lost, page, e);
	if (rc == 0 && rec->served_ms != 0)
		snprintf(step_add(page, rec->served_ms, "served"), sizeof page->texts[0], "by every node");
	if (rc == 0 && rec->ended_event != 0 && !lost)
		rc = step_ended(txn, rec, page, e);
	for (size_t i = 0; i < page->step_count; i++)
		page->steps[i].text = coordinator__text(page->texts[i]);
	page->edits[0].history = page->steps;
	page->edits[0].history_count = page->step_count;
	return rc;
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
	if (rc == 0 && page->count == 1 && page->with_payload && (list->id.len > 0 || limit == 1))
		rc = history_make(txn, page, e);
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
