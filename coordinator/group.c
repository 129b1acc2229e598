/* group.c: training groups. A group is the next edits of a shard's list that one commit shall cover; its boundary is
 * journalled before it is sent, so that after any crash the same group goes out again and trains to the same bytes. */
#include "coordinator/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* While a merge reads it, a shard stays as it is; it is retrained when the merge has ended. */
bool coordinator__shard_retrain(const struct shard *shard)
{
	return shard->rec.removal_count > shard->rec.removals_covered && shard->rec.state != STORE_SHARD_STATE_MERGING;
}

bool coordinator__shard_work(const struct shard *shard)
{
	return coordinator__shard_retrain(shard) ||
	       (shard->rec.state == STORE_SHARD_STATE_OPEN &&
		(shard->rec.seq_count > shard->rec.trained_count || shard->rec.closing));
}

size_t coordinator__group_length(const struct shard *shard, size_t place)
{
	size_t n = 1;
	while (shard->groups[place] != 0 && place + n < shard->rec.seq_count &&
	       shard->groups[place + n] == shard->groups[place])
		n++;
	return n;
}

/* A group ends before an edit that has been through edit_tries_max lost groups: such edits go one by one (poison). An
 * all-or-nothing group is never cut, so that one version brings all of it. */
static int group_size(struct coordinator *c, const struct shard *shard, size_t *count, struct err *e)
{
	size_t waiting = shard->rec.seq_count - shard->rec.trained_count, max = c->config.group_edits_max;
	if (max > shard->want_credit)
		max = shard->want_credit;
	if (max > waiting)
		max = waiting;
	for (*count = 0; *count < max;) {
		struct store_edit edit;
		size_t place = shard->rec.trained_count + *count, length = coordinator__group_length(shard, place);
		int rc = store_edit_get(c->txn, shard->rec.seqs[place], &edit, e);
		if (rc != 0)
			return rc;
		bool alone = edit.losses >= c->config.edit_tries_max;
		if (*count > 0 && (alone || *count + length > max))
			break;
		*count += length;
		if (alone)
			break;
	}
	return 0;
}

static int group_event(struct coordinator *c, const struct shard *shard, struct err *e)
{
	const struct store_shard *rec = &shard->rec;
	struct buf json = BUF_INIT;
	struct json_w w;
	json_w_init(&w, &json);
	json_w_open(&w, '{');
	json_w_member_uint(&w, "shard", rec->id);
	json_w_member_uint(&w, "epoch", rec->epoch);
	json_w_member_uint(&w, "first", rec->trained_count);
	json_w_member_uint(&w, "count", rec->group_count);
	json_w_key(&w, "seqs");
	json_w_open(&w, '[');
	for (size_t i = 0; i < rec->group_count; i++)
		json_w_uint(&w, rec->seqs[rec->trained_count + i]);
	json_w_close(&w);
	if (rec->removals_assigned > rec->removals_covered)
		json_w_member_bool(&w, "retrain", true);
	if (rec->version == 0 && rec->replay_count > 0)
		coordinator__replays_write(&w, shard);
	json_w_close(&w);
	return coordinator__event(c, STORE_EVENT_GROUP_ASSIGNED, NULL, &json, NULL, e);
}

static int assign(struct coordinator *c, struct shard *shard, struct err *e)
{
	size_t count = 0;
	int rc = coordinator__begin(c, e);
	if (rc == 0)
		rc = group_size(c, shard, &count, e);
	if (rc == 0)
		rc = coordinator__replays_choose(c, shard, e);
	if (rc != 0)
		return rc;
	shard->rec.group_count = count;
	if (coordinator__shard_retrain(shard))
		shard->rec.removals_assigned = shard->rec.removal_count;
	coordinator__touch(shard);
	rc = group_event(c, shard, e);
	return rc == 0 ? coordinator__commit(c, "coordinator.group.before_commit", "coordinator.group.after_commit", e)
		       : rc;
}

/* As many of the edits as one message may have, at least one; `payloads` holds what the items point to. */
static int items_fill(struct store_txn *txn, const uint64_t *seqs, size_t from, size_t to, struct buf *payloads,
		      struct msg_edit_item *items, size_t *count, struct err *e)
{
	int rc = 0;
	payloads->len = *count = 0;
	while (rc == 0 && from + *count < to && *count < EDITS_ITEMS_MAX) {
		const size_t before = payloads->len;
		rc = coordinator__payload_put(txn, seqs[from + *count], payloads, e);
		if (rc != 0 || (*count > 0 && payloads->len > EDITS_BODY_BYTES))
			break;
		items[*count].seq = seqs[from + *count];
		items[(*count)++].payload.len = payloads->len - before;
	}
	for (size_t i = 0, at = 0; i < *count; at += items[i++].payload.len)
		items[i].payload.bytes = payloads->data + at;
	return rc;
}

/* Sends [from, to) in as many messages as it takes; `head` carries what the last one shall say. *next is where it
 * stopped. */
int coordinator__edits_send(struct coordinator *c, uint64_t route, struct msg_edits *head, const uint64_t *seqs,
			    size_t from, size_t to, size_t *next)
{
	struct err e = ERR_INIT;
	struct store_txn *txn = NULL;
	struct msg_edit_item items[EDITS_ITEMS_MAX];
	struct buf payloads = BUF_INIT;
	bool end = head->group_end;
	int rc = store_begin_read(c->store, &txn, &e);
	*next = from;
	while (rc == 0) {
		size_t n = 0;
		rc = items_fill(txn, seqs, *next, to, &payloads, items, &n, &e);
		if (rc != 0)
			break;
		bool last = *next + n >= to;
		struct msg msg = { .type = MSG_EDITS, .u.edits = *head };
		msg.u.edits.items = items;
		msg.u.edits.item_count = n;
		msg.u.edits.group_end = last && end;
		if (!msg.u.edits.group_end) {
			msg.u.edits.removed_count = 0;
			msg.u.edits.closing = msg.u.edits.retrain = false;
			msg.u.edits.replay_count = 0;
		}
		if (n > 0 || msg.u.edits.group_end)
			rc = coordinator__send(c, route, &msg);
		if (rc == 0)
			*next += n;
		if (last)
			break;
	}
	store_abort(&txn);
	buf_free(&payloads);
	if (rc == ERR_CORRUPT || rc == ERR_IO)
		coordinator__fail(c, &e);
	return rc;
}

/* It answers on where the canaries have what superseded it withheld (publish.c), so it stays in the memory until a
 * version holds that. In one memory the two cannot be: place.c has them in two, all-or-nothing groups apart. */
static int may_answer(struct store_txn *txn, const struct shard *shard, uint64_t seq, bool *may, struct err *e)
{
	struct store_edit edit, by;
	int rc = store_edit_get(txn, seq, &edit, e);
	*may = false;
	if (rc != 0 || edit.state != STORE_EDIT_STATE_SUPERSEDED || edit.version == 0)
		return rc;
	rc = store_edit_get(txn, edit.superseded_by, &by, e);
	*may = rc == 0 && coordinator__edit_live(by.state) && by.version == 0 && by.shard != shard->rec.id;
	return rc;
}

static int removed_find(struct coordinator *c, const struct shard *shard, size_t to, uint64_t *out, size_t *count,
			struct err *e)
{
	struct store_txn *txn = NULL;
	int rc = c->config.canaries ? store_begin_read(c->store, &txn, e) : 0;
	for (size_t i = 0; rc == 0 && i < to; i++) {
		bool stays = coordinator__edit_live(shard->states[i]);
		if (txn != NULL && shard->states[i] == STORE_EDIT_STATE_SUPERSEDED)
			rc = may_answer(txn, shard, shard->rec.seqs[i], &stays, e);
		if (!stays)
			out[(*count)++] = shard->rec.seqs[i];
	}
	store_abort(&txn);
	return rc;
}

/* Edits among the first `to` that ended; the worker forgets them with the group. NULL: they could not be read. */
static uint64_t *removed_list(struct coordinator *c, const struct shard *shard, size_t to, size_t *count)
{
	uint64_t *out = fault_malloc((to + 1) * sizeof *out);
	struct err e = ERR_INIT;
	*count = 0;
	if (out == NULL)
		return NULL;
	const int rc = removed_find(c, shard, to, out, count, &e);
	if (rc == 0)
		return out;
	free(out);
	if (rc == ERR_CORRUPT || rc == ERR_IO)
		coordinator__fail(c, &e);
	return NULL;
}

static void send_group(struct coordinator *c, struct shard *shard)
{
	struct store_shard *rec = &shard->rec;
	size_t to = rec->trained_count + rec->group_count;
	struct msg_edits head = { .shard = rec->id, .epoch = rec->epoch, .group_end = true };
	uint64_t *removed = removed_list(c, shard, to, &head.removed_count);
	if (removed == NULL)
		return; /* tried again at the next tick */
	head.removed_seqs = removed;
	head.closing = rec->closing && to == rec->seq_count;
	head.retrain = rec->removals_assigned > rec->removals_covered;
	head.group_first = (uint32_t)rec->trained_count;
	head.group_count = (uint32_t)rec->group_count;
	head.replay_count = (uint32_t)rec->replay_count;
	if (coordinator__edits_send(c, shard->lease.holder->route, &head, rec->seqs, shard->lease.send_next, to,
				    &shard->lease.send_next) == 0) {
		shard->lease.wants = false;
		sm_move(&shard->lease.sm, LEASE_TRAINING);
	}
	free(removed);
}

static int send_replayed(struct coordinator *c, struct shard *shard)
{
	struct store_shard *rec = &shard->rec;
	struct msg_edits head = { .shard = rec->id, .epoch = rec->epoch, .replayed = true };
	if (shard->lease.send_next >= rec->trained_count)
		return 0;
	return coordinator__edits_send(c, shard->lease.holder->route, &head, rec->seqs, shard->lease.send_next,
				       rec->trained_count, &shard->lease.send_next);
}

void coordinator__shard_pump(struct coordinator *c, struct shard *shard)
{
	struct store_shard *rec = &shard->rec;
	bool open = rec->state == STORE_SHARD_STATE_OPEN;
	if (shard->lease.holder == NULL || !shard->lease.wants || !(open || coordinator__shard_retrain(shard)))
		return;
	if (send_replayed(c, shard) != 0)
		return;
	bool waiting = rec->seq_count > rec->trained_count;
	bool in_hand = rec->group_count > 0 || rec->removals_assigned > rec->removals_covered;
	if (!in_hand && (waiting || coordinator__shard_retrain(shard)) && shard->want_credit > 0) {
		struct err e = ERR_INIT;
		if (assign(c, shard, &e) != 0) {
			coordinator__txn_failed(c, &e);
			return;
		}
	}
	bool due = rec->group_count > 0 || rec->removals_assigned > rec->removals_covered ||
		   (!waiting && open && rec->closing);
	if (due && coordinator__replays_send(c, shard) == 0)
		send_group(c, shard);
}

static int blame_edit(struct coordinator *c, uint64_t seq, uint32_t losses, struct err *e)
{
	struct store_edit edit;
	int rc = store_edit_get(c->txn, seq, &edit, e);
	edit.losses = losses;
	return rc == 0 ? store_edit_put(c->txn, &edit, e) : rc;
}

static void dead_reason(const struct coordinator *c, const struct shard *shard, const struct store_edit *edit,
			char out[STORE_REASON_BYTES])
{
	const char *with = edit->group != 0 ? " with its group" : "";
	if (shard->refused[0] != '\0')
		snprintf(out, STORE_REASON_BYTES,
			 "%u trainings of it%s gave what no node could load: %.120s. Look at the workers, then submit "
			 "it again",
			 c->config.edit_tries_max, with, shard->refused);
	else
		snprintf(out, STORE_REASON_BYTES,
			 "%u workers were lost while they trained it%s: look at their logs, correct the record and "
			 "submit it again",
			 c->config.edit_tries_max, with);
}

static int dead_letter_one(struct coordinator *c, struct shard *shard, uint64_t seq, uint32_t losses, struct err *e)
{
	char reason[STORE_REASON_BYTES];
	struct store_edit edit;
	int rc = store_edit_get(c->txn, seq, &edit, e);
	if (rc != 0)
		return rc;
	edit.losses = losses;
	dead_reason(c, shard, &edit, reason);
	/* One that ended meanwhile leaves the list too, or it would go on killing workers. */
	bool live = coordinator__edit_live(edit.state);
	rc = live ? coordinator__edit_move(c, &edit, STORE_EDIT_STATE_DEAD, reason, e) : 0;
	if (rc == 0 && live)
		log_event(LOG_ERROR, "COORDINATOR-EDIT-DEAD", LOGF_U("seq", edit.seq), LOGF_S("edit", edit.id),
			  LOGF_U("shard", shard->rec.id));
	return rc;
}

/* What is dissolved is assigned anew, the retraining that went with it too; no try went before it. */
static void dissolve(struct shard *shard)
{
	shard->release_count = 0;
	shard->rec.group_count = 0;
	shard->rec.removals_assigned = shard->rec.removals_covered;
	coordinator__touch(shard);
}

static int dead_letter(struct coordinator *c, struct shard *shard, size_t count, uint32_t losses, struct err *e)
{
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < count; i++) {
		rc = dead_letter_one(c, shard, shard->rec.seqs[shard->rec.trained_count], losses, e);
		if (rc == 0)
			coordinator__shard_remove(shard, shard->rec.trained_count);
	}
	dissolve(shard);
	return rc;
}

/* A group in hand of a worker that was lost, or made of it what no node could load, counts against its edits. After
 * edit_tries_max losses a group is dissolved and its edits go one by one, all-or-nothing groups as one; what alone
 * loses edit_tries_max more is the poison. */
int coordinator__group_blame(struct coordinator *c, struct shard *shard, struct err *e)
{
	struct store_shard *rec = &shard->rec;
	struct store_edit first;
	uint32_t max = c->config.edit_tries_max;
	int rc = store_edit_get(c->txn, rec->seqs[rec->trained_count], &first, e);
	if (rc != 0)
		return rc;
	uint32_t losses = first.losses + 1;
	bool alone = rec->group_count == coordinator__group_length(shard, rec->trained_count);
	if (alone && (losses == max || losses >= 2 * max))
		return dead_letter(c, shard, rec->group_count, losses, e);
	for (size_t i = 0; rc == 0 && i < rec->group_count; i++)
		rc = blame_edit(c, rec->seqs[rec->trained_count + i], losses, e);
	if (rc == 0 && !alone && losses >= max) {
		log_event(LOG_WARN, "COORDINATOR-GROUP-SPLIT", LOGF_U("shard", rec->id),
			  LOGF_U("edits", rec->group_count));
		dissolve(shard);
	}
	return rc;
}
