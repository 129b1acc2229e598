/* recv_event_list.c: a page of the ledger's events as they are, with what people call those that they name: keys by the
 * list of allowed keys as the ledger has it, edits by their ids. */
#include "coordinator/internal.h"

#include <stdlib.h>
#include <string.h>

#define EVENTS_PAGE        200
#define PAGE_PAYLOAD_BYTES (96 * 1024)
#define SCAN_MAX           5000 /* events looked at for one page */

struct named { /* what an event's texts point to */
	char actor[PROTO_ALLOW_NAME_BYTES_MAX + 1], edit[STORE_ID_BYTES];
};

struct events_page {
	struct store_txn *txn;
	struct proto_allow *allow; /* as the ledger has it */
	struct named *names;
	struct coordinator_events *out;
};

/* The edit that it is about, where it is one; 0: none. */
static uint64_t edit_of(const struct store_event *event)
{
	struct json *json = NULL;
	if (event->type == STORE_EVENT_EDIT_ACCEPTED)
		return event->seq;
	if (event->type != STORE_EVENT_EDIT_ENDED && event->type != STORE_EVENT_EDIT_DUE)
		return 0;
	if (json_parse(event->payload, event->payload_len, &json, NULL) != 0)
		return 0;
	const int64_t seq = json_integer(json_get(json, "seq"));
	json_free(&json);
	return seq > 0 ? (uint64_t)seq : 0;
}

static int names_fill(struct events_page *page, const struct store_event *event, struct named *out, struct err *e)
{
	struct store_edit edit;
	const char *name = NULL;
	const uint64_t seq = edit_of(event);
	(void)proto_allow_roles(page->allow, event->actor, &name);
	coordinator__copy_text(out->actor, sizeof out->actor, coordinator__text(name != NULL ? name : ""));
	out->edit[0] = '\0';
	int rc = seq != 0 ? store_edit_get(page->txn, seq, &edit, e) : 0;
	if (rc == ERR_NOT_FOUND || rc == ERR_CORRUPT) { /* its number is told */
		err_clear(e);
		return 0;
	}
	if (rc == 0 && seq != 0)
		coordinator__copy_text(out->edit, sizeof out->edit, coordinator__text(edit.id));
	return rc;
}

static int event_add(struct events_page *page, const struct store_event *event, struct err *e)
{
	struct coordinator_events *out = page->out;
	struct named *names = &page->names[out->count];
	struct msg_event *to = &out->items[out->count];
	int rc = names_fill(page, event, names, e);
	if (rc != 0)
		return rc;
	*to = (struct msg_event){ .seq = event->seq,
				  .type = (uint32_t)event->type,
				  .time_ms = event->time_ms,
				  .actor_name = coordinator__text(names->actor),
				  .edit = coordinator__text(names->edit) };
	memcpy(to->actor, event->actor, sizeof to->actor);
	to->omitted = event->payload_len > MSG_EVENT_PAYLOAD_MAX;
	to->payload.len = to->omitted ? 0 : event->payload_len;
	buf_append(&out->payloads, event->payload, to->payload.len);
	out->count++;
	return buf_failed(&out->payloads) ? err_set(e, ERR_NOMEM, "out of memory") : 0;
}

static int events_scan(struct events_page *page, const struct msg_event_list *ask, size_t limit, struct err *e)
{
	struct coordinator_events *out = page->out;
	const uint32_t mask = ask->type_mask != 0 ? ask->type_mask : UINT32_MAX;
	int rc = store_event_last(page->txn, &out->last_seq, NULL, e);
	uint64_t seq = ask->from_seq > 0 ? ask->from_seq : 1;
	for (size_t seen = 0; rc == 0 && seq <= out->last_seq; seq++, seen++) {
		struct store_event event;
		if (out->count == limit || out->payloads.len > PAGE_PAYLOAD_BYTES || seen == SCAN_MAX) {
			out->next_seq = seq;
			break;
		}
		rc = store_event_get(page->txn, seq, &event, e);
		if (rc == 0 && (mask >> event.type & 1) != 0)
			rc = event_add(page, &event, e);
	}
	return rc;
}

int coordinator_events_read(struct store *store, const struct msg_event_list *ask, struct coordinator_events *out,
			    struct err *e)
{
	const size_t limit = ask->limit == 0 || ask->limit > EVENTS_PAGE ? EVENTS_PAGE : ask->limit;
	struct events_page page = { .out = out };
	*out = (struct coordinator_events){ .payloads = BUF_INIT };
	page.names = out->names = fault_calloc(limit, sizeof *page.names);
	out->items = fault_calloc(limit, sizeof *out->items);
	int rc = page.names == NULL || out->items == NULL ? err_set(e, ERR_NOMEM, "out of memory")
							  : store_begin_read(store, &page.txn, e);
	if (rc == 0)
		rc = coordinator_keys_recorded(page.txn, &page.allow, e);
	if (rc == 0)
		rc = events_scan(&page, ask, limit, e);
	store_abort(&page.txn);
	proto_allow_destroy(&page.allow);
	for (size_t i = 0, at = 0; rc == 0 && i < out->count; at += out->items[i++].payload.len)
		out->items[i].payload.bytes = out->payloads.data + at;
	if (rc != 0)
		coordinator_events_free(out);
	return rc;
}

void coordinator_events_free(struct coordinator_events *events)
{
	free(events->items);
	free(events->names);
	buf_free(&events->payloads);
	*events = (struct coordinator_events){ .payloads = BUF_INIT };
}

void coordinator__recv_event_list(struct coordinator *c, const struct msg_received *received)
{
	struct coordinator_events events;
	struct err e = ERR_INIT;
	struct msg msg = { .type = MSG_EVENT_LIST_REPLY };
	int rc = coordinator_events_read(c->store, &received->msg.u.event_list, &events, &e);
	if (rc != 0) {
		coordinator__reply_error(c, received, rc, e.text);
		return;
	}
	msg.u.event_list_reply =
		(struct msg_event_list_reply){ events.items, events.count, events.next_seq, events.last_seq };
	coordinator__reply(c, received, &msg);
	coordinator_events_free(&events);
}
