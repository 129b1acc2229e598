/* inbox.c: the edits of a lease on their way to the engine: those of the group at hand, what the last commit holds
 * already, and those of earlier memories. Whatever gets lost on the way is asked for again. */
#include "worker/internal.h"

#include "base/fault.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

#define PAYLOAD_BYTES_MAX (256 * 1024 * 1024)

void worker__inbox_clear(struct worker__work *work)
{
	buf_clear(&work->payloads);
	free(work->edits);
	free(work->replays);
	free(work->removed);
	work->edits = work->replays = NULL;
	work->removed = NULL;
	work->edit_count = work->edit_cap = work->fresh_count = work->removed_count = 0;
	work->replay_count = work->replay_cap = 0;
}

static bool edit_known(const struct worker__work *work, uint64_t seq)
{
	for (size_t i = 0; i < work->edit_count; i++)
		if (work->edits[i].seq == seq)
			return true;
	for (size_t i = 0; i < work->received_count; i++)
		if (work->received[i] == seq)
			return true;
	return false;
}

/* Its payload goes to the end of the payload buffer. */
static int item_push(struct worker__work *work, const struct msg_edit_item *item, uint64_t memory,
		     struct worker__edit **list, size_t *count, size_t *cap, struct err *e)
{
	if (*count == *cap) {
		size_t grown_cap = *cap == 0 ? 64 : *cap * 2;
		struct worker__edit *grown = fault_realloc(*list, grown_cap * sizeof *grown);
		if (grown == NULL)
			return err_set(e, ERR_NOMEM, "out of memory for %zu edits", grown_cap);
		*list = grown;
		*cap = grown_cap;
	}
	if (work->payloads.len + item->payload.len > PAYLOAD_BYTES_MAX)
		return err_set(e, ERR_LIMIT, "edits of one group are over %d bytes", PAYLOAD_BYTES_MAX);
	(*list)[(*count)++] = (struct worker__edit){ item->seq, work->payloads.len, item->payload.len, memory };
	buf_append(&work->payloads, item->payload.bytes, item->payload.len);
	return buf_failed(&work->payloads) ? err_set(e, ERR_NOMEM, "out of memory for edits") : 0;
}

static int edit_push(struct worker__work *work, const struct msg_edit_item *item, bool fresh, struct err *e)
{
	if (edit_known(work, item->seq))
		return 0; /* sent again after a lost message, or of an earlier group */
	int rc = item_push(work, item, 0, &work->edits, &work->edit_count, &work->edit_cap, e);
	work->fresh_count += rc == 0 && fresh;
	return rc;
}

static int replay_push(struct worker__work *work, const struct msg_edit_item *item, uint64_t memory, struct err *e)
{
	for (size_t i = 0; i < work->replay_count; i++)
		if (work->replays[i].seq == item->seq)
			return 0; /* sent again */
	return item_push(work, item, memory, &work->replays, &work->replay_count, &work->replay_cap, e);
}

static int removed_push(struct worker__work *work, const struct msg_edits *edits, struct err *e)
{
	if (edits->removed_count == 0)
		return 0;
	uint64_t *removed =
		fault_realloc(work->removed, (work->removed_count + edits->removed_count) * sizeof *removed);
	if (removed == NULL)
		return err_set(e, ERR_NOMEM, "out of memory for %zu removed edits", edits->removed_count);
	memcpy(removed + work->removed_count, edits->removed_seqs, edits->removed_count * sizeof *removed);
	work->removed = removed;
	work->removed_count += edits->removed_count;
	return 0;
}

void worker__work_edits(struct worker *w, const struct msg_edits *edits)
{
	struct worker__work *work = worker__work_find(w, edits->shard, MSG_LEASE_TRAIN);
	if (work == NULL || work->epoch != edits->epoch || work->sm.state != WORKER__WANTING)
		work = worker__work_find(w, edits->shard, MSG_LEASE_GATE);
	if (work == NULL || work->epoch != edits->epoch || work->sm.state != WORKER__WANTING)
		return;
	struct err e = ERR_INIT;
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < edits->item_count; i++)
		rc = edits->memory != 0 ? replay_push(work, &edits->items[i], edits->memory, &e)
					: edit_push(work, &edits->items[i], !edits->replayed, &e);
	if (rc == 0)
		rc = removed_push(work, edits, &e);
	if (rc != 0) {
		log_event(LOG_ERROR, "WORKER-EDITS-REFUSED", LOGF_U("shard", work->shard), LOGF_S("reason", e.text));
		worker__work_give_back(w, work, rc);
		return;
	}
	work->asked_us = env_monotonic_us(w->env);
	if (!edits->group_end)
		return;
	if (work->received_count + work->edit_count != (size_t)edits->group_first + edits->group_count ||
	    work->replays_held + work->replay_count != edits->replay_count) {
		log_event(LOG_WARN, "WORKER-EDITS-INCOMPLETE", LOGF_U("shard", work->shard),
			  LOGF_U("held", work->received_count + work->edit_count),
			  LOGF_U("group_end", (size_t)edits->group_first + edits->group_count),
			  LOGF_U("replays_held", work->replays_held + work->replay_count),
			  LOGF_U("replays", edits->replay_count));
		worker__inbox_clear(work); /* a message was lost, or is of an earlier group: tick asks again */
		return;
	}
	work->group_first = edits->group_first;
	work->group_count = edits->group_count;
	work->closing = edits->closing;
	work->retrain = edits->retrain;
	sm_move(&work->sm, WORKER__QUEUED);
}
