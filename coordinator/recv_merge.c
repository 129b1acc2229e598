/* recv_merge.c: starting a merge, and asking how one fares. */
#include "coordinator/internal.h"

#include <string.h>

/* It has passed its own gate, and no version has it: one that a later merge has replaced never gets one. */
static bool waits(const struct coordinator *c, const struct store_merge *rec)
{
	bool there = false;
	for (size_t i = 0; i < c->merge_count; i++)
		there = there || c->merges[i].id == rec->id;
	return there && rec->state == STORE_MERGE_STATE_PUBLISHED && rec->version == 0;
}

/* Publishing goes on only when people say so. */
static bool publishing_stands(const struct coordinator *c)
{
	return c->publishing.paused || c->candidate.sm.state == CANDIDATE_WAITING ||
	       c->candidate.sm.state == CANDIDATE_REFUSED;
}

/* `held`: room for why it waits. */
static void fill(struct coordinator *c, const struct store_merge *rec, char held[ERR_TEXT_BYTES_MAX],
		 struct msg_merge_status *out)
{
	bool active = c->merge.active && c->merge.rec.id == rec->id;
	bool refused = rec->state == STORE_MERGE_STATE_PUBLISHED && rec->shard_count == 0; /* merge_gate.c */
	out->id = rec->id;
	out->version = rec->version;
	out->state = (uint32_t)(refused ? STORE_MERGE_STATE_FAILED : rec->state);
	out->tries = rec->tries;
	out->ranks = rec->ranks;
	out->shard_count = (uint32_t)rec->shard_count;
	out->rounds = rec->rounds;
	out->reduces = rec->reduces;
	out->reduced_bytes = rec->reduced_bytes;
	out->score = rec->score;
	out->score_inputs = rec->score_inputs;
	out->done = !active;
	out->progress = active ? c->merge.progress : 1.0;
	out->served_by_default = rec->state == STORE_MERGE_STATE_PUBLISHED && !refused &&
				 coordinator__merge_serves(c, rec);
	out->text = coordinator__text(active ? coordinator__merge_phase(c) : rec->reason);
	if (waits(c, rec)) {
		out->done = publishing_stands(c);
		coordinator__held_text(c, held, ERR_TEXT_BYTES_MAX);
		out->text = coordinator__text(out->done ? held : "waiting for its version");
	}
	if (active)
		out->reason = coordinator__text(coordinator__merge_reason(c));
	out->planned_ms = rec->planned_ms;
	out->ended_ms = rec->ended_ms;
}

static int find(struct coordinator *c, uint64_t id, struct store_merge *out, struct err *e)
{
	struct store_txn *txn = NULL;
	if (c->merge.active && c->merge.rec.id == id) {
		*out = c->merge.rec;
		return 0;
	}
	int rc = store_begin_read(c->store, &txn, e);
	if (rc == 0)
		rc = store_merge_get(txn, id, out, e);
	store_abort(&txn);
	return rc;
}

static bool asked_before(const struct coordinator *c, const struct msg_received *received)
{
	return c->merge.active && c->merge.asked_id != 0 && c->merge.asked_id == received->msg.request_id &&
	       memcmp(c->merge.asked_by, received->peer_key, sizeof c->merge.asked_by) == 0;
}

void coordinator__recv_merge_run(struct coordinator *c, const struct msg_received *received)
{
	uint64_t id = received->msg.u.merge_run.id;
	struct store_merge rec;
	struct err e = ERR_INIT;
	struct msg msg = { .type = MSG_MERGE_STATUS };
	char held[ERR_TEXT_BYTES_MAX];
	struct msg_merge_status *status = &msg.u.merge_status;
	int rc;
	if (id == 0 && asked_before(c, received)) {
		rec = c->merge.rec; /* its answer was lost */
		rc = 0;
	} else if (id == 0) {
		rc = coordinator__merge_start(c, &e);
		rec = c->merge.rec;
		if (c->failure.code != 0)
			return;
		if (rc == 0) {
			c->merge.asked_id = received->msg.request_id;
			memcpy(c->merge.asked_by, received->peer_key, sizeof c->merge.asked_by);
		}
	} else {
		rc = find(c, id, &rec, &e);
	}
	if (rc == 0 || (rc == ERR_AGAIN && c->merge.active))
		fill(c, &rec, held, status);
	status->code = rc;
	if (rc != 0)
		status->text = coordinator__text(e.text);
	coordinator__reply(c, received, &msg);
}
