/* revoke.c: edits are taken back, by people (recv_revoke.c) or by time (due.c). The next version has their tombstones,
 * so that no answer is theirs any more; then their shards are trained anew without them (group.c). */
#include "coordinator/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

void coordinator__leave_shard(struct coordinator *c, const struct store_edit *edit)
{
	struct shard *shard = edit->shard != 0 ? coordinator__shard_find(c, edit->shard) : NULL;
	size_t place = shard != NULL ? coordinator__shard_place(shard, edit->seq) : SIZE_MAX;
	if (place != SIZE_MAX && place >= shard->rec.trained_count + shard->rec.group_count)
		coordinator__shard_remove(shard, place);
}

/* Of a superseded edit, which stays one: whether it was taken back before, as memory's state of it says. */
static bool is_withdrawn(const struct coordinator *c, const struct store_edit *edit)
{
	const struct shard *shard = edit->shard != 0 ? coordinator__shard_find((struct coordinator *)c, edit->shard)
						     : NULL;
	size_t place = shard != NULL ? coordinator__shard_place(shard, edit->seq) : SIZE_MAX;
	return place != SIZE_MAX && shard->states[place] != STORE_EDIT_STATE_SUPERSEDED;
}

int coordinator__edit_can_end(struct coordinator *c, const struct store_edit *edit, struct buf *served, bool *can,
			      struct err *e)
{
	*can = coordinator__edit_live(edit->state) || edit->state == STORE_EDIT_STATE_SCHEDULED;
	if (edit->state != STORE_EDIT_STATE_SUPERSEDED || is_withdrawn(c, edit))
		return 0;
	int rc = served->len == 0 ? coordinator__newest_seqs(c, served, e) : 0;
	const bool waits = c->candidate.sm.state != CANDIDATE_NONE;
	*can = rc == 0 && (coordinator__seqs_hold(served, edit->seq) ||
			   (waits && coordinator__seqs_hold(&c->candidate.seqs, edit->seq)));
	return rc;
}

/* Its last event says which. */
int coordinator__withdrawn_state(struct store_txn *txn, const struct store_edit *edit, uint8_t *state, struct err *e)
{
	struct store_event event;
	*state = (uint8_t)edit->state;
	if (edit->state != STORE_EDIT_STATE_SUPERSEDED || edit->ended_event == 0)
		return 0;
	int rc = store_event_get(txn, edit->ended_event, &event, e);
	if (rc == 0 && event.type == STORE_EVENT_EDIT_REVOKED)
		*state = STORE_EDIT_STATE_REVOKED;
	if (rc == 0 && event.type == STORE_EVENT_EDIT_DUE)
		*state = STORE_EDIT_STATE_EXPIRED;
	return rc;
}

/* In memory only: the manifest with the tombstones is made from it before the transaction. */
static void mark(struct coordinator *c, const struct store_edit *edit, int state, bool *published)
{
	struct shard *shard = edit->shard != 0 ? coordinator__shard_find(c, edit->shard) : NULL;
	size_t place = shard != NULL ? coordinator__shard_place(shard, edit->seq) : SIZE_MAX;
	if (place == SIZE_MAX || place >= shard->rec.trained_count + shard->rec.group_count)
		return;
	shard->states[place] = (uint8_t)state;
	shard->rec.removal_count++;
	*published = *published || place < shard->rec.trained_count;
	coordinator__touch(shard);
}

/* Of a group what is superseded goes with the rest, whether it answers now or not: an older version may hold it, and be
 * gone back to. */
static int ends(struct coordinator *c, struct store_txn *txn, const struct ending *ending,
		const struct store_edit *edit, struct buf *served, bool *yes, struct err *e)
{
	uint8_t state = 0;
	int rc = coordinator__edit_can_end(c, edit, served, yes, e);
	if (rc != 0 || *yes || ending->group.len == 0)
		return rc;
	rc = coordinator__withdrawn_state(txn, edit, &state, e);
	*yes = rc == 0 && state == STORE_EDIT_STATE_SUPERSEDED;
	return rc;
}

static int find_all(struct coordinator *c, const struct ending *ending, struct store_edit *edits, size_t *count,
		    struct err *e)
{
	struct store_txn *txn = NULL;
	struct buf served = BUF_INIT;
	int rc = store_begin_read(c->store, &txn, e);
	for (size_t i = 0; rc == 0 && i < ending->count; i++) {
		bool yes = false;
		rc = store_edit_get(txn, ending->seqs[i], &edits[*count], e);
		if (rc == 0)
			rc = ends(c, txn, ending, &edits[*count], &served, &yes, e);
		*count += yes;
	}
	store_abort(&txn);
	buf_free(&served);
	return rc;
}

static int revoked_event(struct coordinator *c, const struct ending *ending, const struct store_edit *edits,
			 size_t count, uint64_t *seq, struct err *e)
{
	struct buf json = BUF_INIT;
	struct json_w w;
	json_w_init(&w, &json);
	json_w_open(&w, '{');
	if (ending->group.len > 0)
		json_w_member_strn(&w, "group", ending->group.text, ending->group.len);
	json_w_key(&w, "seqs");
	json_w_open(&w, '[');
	for (size_t i = 0; i < count; i++)
		json_w_uint(&w, edits[i].seq);
	json_w_close(&w);
	json_w_member_strn(&w, "reason", ending->reason.text, ending->reason.len);
	json_w_member_bool(&w, "restore_superseded", ending->restore);
	json_w_close(&w);
	return coordinator__event(c, STORE_EVENT_EDIT_REVOKED, ending->actor, &json, seq, e);
}

static int answered(struct coordinator *c, const struct record *record, const struct edit_keys *keys, bool *yes,
		    struct err *e)
{
	struct buf seqs = BUF_INIT;
	int rc = coordinator__conflicts(c, record, keys, MSG_KEEP, &seqs, e);
	*yes = seqs.len > 0;
	buf_free(&seqs);
	return rc;
}

static int restore_append(struct coordinator *c, const struct ending *ending, struct store_edit *edit,
			  const struct record *record, const struct edit_keys *keys, const struct buf *payload,
			  struct err *e)
{
	int rc = store_event_append(c->txn, STORE_EVENT_EDIT_ACCEPTED, ending->actor, payload->data, payload->len,
				    &edit->seq, e);
	if (rc == 0)
		rc = coordinator__place(c, edit, keys, e);
	if (rc == 0)
		rc = store_edit_put(c->txn, edit, e);
	if (rc == 0)
		rc = coordinator__keys_add(c, keys, edit->seq, e);
	if (rc == 0)
		rc = coordinator__names_copy(c, edit->restores, edit->seq, e);
	if (rc == 0 && record->group.text != NULL)
		rc = store_group_add(c->txn, record->group.text, record->group.len, edit->seq, e);
	if (rc == 0)
		rc = coordinator__due_add(c, edit, e);
	if (rc == 0)
		c->counts[edit->state]++;
	return rc;
}

/* A superseded edit has ended for good: what it says comes back as a new edit of the same bytes, under its id with a
 * suffix. It stands beside what else is live, as it did before, unless that answers its very prompt. */
static int restore_write(struct coordinator *c, const struct ending *ending, const struct store_edit *old,
			 const struct record *record, const struct buf *payload, struct err *e)
{
	struct store_edit edit = { .content = old->content,
				   .restores = old->seq,
				   .state = STORE_EDIT_STATE_ACCEPTED,
				   .accepted_ms = env_wall_ms(c->env),
				   .valid_from_ms = old->valid_from_ms,
				   .expires_ms = old->expires_ms,
				   .on_conflict = MSG_KEEP };
	struct edit_keys keys = EDIT_KEYS_INIT;
	uint64_t first = 0;
	bool taken = false;
	int rc = coordinator__edit_id(c, record, &old->content, edit.id, &first, e);
	if (rc == ERR_EXISTS || rc == ERR_CONFLICT || rc == ERR_LIMIT) {
		err_clear(e);
		return 0; /* somebody has submitted it again: it is back already */
	}
	if (rc == 0)
		rc = coordinator__keys_of(record, &keys, e);
	if (rc == 0)
		rc = answered(c, record, &keys, &taken, e);
	if (rc == 0 && !taken) {
		rc = restore_append(c, ending, &edit, record, &keys, payload, e);
		buf_append(ending->restored, &edit.seq, sizeof edit.seq);
	}
	coordinator__keys_free(&keys);
	return rc;
}

static int restore_one(struct coordinator *c, const struct ending *ending, const struct store_edit *old, struct err *e)
{
	struct store_event event;
	struct record *record = NULL;
	struct buf payload = BUF_INIT;
	if (old->expires_ms != 0 && old->expires_ms <= env_wall_ms(c->env))
		return 0; /* it would have left by now */
	int rc = store_event_get(c->txn, old->seq, &event, e);
	if (rc == 0) {
		buf_append(&payload, event.payload, event.payload_len); /* the next write ends what the event shows */
		rc = buf_failed(&payload) ? err_set(e, ERR_NOMEM, "restoring edit %" PRIu64 ": out of memory", old->seq)
					  : record_parse((const char *)payload.data, payload.len, &record, e);
	}
	if (rc == 0)
		rc = restore_write(c, ending, old, record, &payload, e);
	else if (rc == ERR_INVALID) { /* kept under older rules */
		err_clear(e);
		rc = 0;
	}
	record_destroy(&record);
	buf_free(&payload);
	return rc;
}

/* What superseded the edit stands, or what superseded that: nothing older comes back beside it. */
static int successor_stands(struct coordinator *c, const struct store_edit *edit, bool *stands, struct err *e)
{
	struct store_edit by = *edit;
	int rc = 0;
	while (rc == 0 && by.state == STORE_EDIT_STATE_SUPERSEDED && by.superseded_by != 0)
		rc = store_edit_get(c->txn, by.superseded_by, &by, e);
	*stands = rc == 0 && coordinator__edit_live(by.state);
	return rc;
}

/* All that `edit` superseded: edits under its keys that name it. */
static int restore_of(struct coordinator *c, const struct ending *ending, const struct store_edit *edit, struct err *e)
{
	struct record *record = NULL;
	struct edit_keys keys = EDIT_KEYS_INIT;
	struct buf seqs = BUF_INIT;
	uint8_t state;
	bool stands = false;
	int rc = successor_stands(c, edit, &stands, e);
	if (rc != 0 || stands || edit->supersedes == 0)
		return rc;
	rc = coordinator__record_of(c, edit->seq, &record, e);
	if (rc == 0)
		rc = coordinator__keys_of(record, &keys, e);
	buf_append(&seqs, &edit->supersedes, sizeof edit->supersedes); /* newer edits may hide it from the list */
	if (rc == 0)
		rc = coordinator__rivals_list(c, &keys, &seqs, e);
	const uint64_t *list = (const void *)seqs.data;
	for (size_t i = 0; rc == 0 && i < seqs.len / sizeof *list; i++) {
		struct store_edit old;
		rc = store_edit_get(c->txn, list[i], &old, e);
		if (rc == 0)
			rc = coordinator__withdrawn_state(c->txn, &old, &state, e);
		if (rc == 0 && state == STORE_EDIT_STATE_SUPERSEDED && old.superseded_by == edit->seq)
			rc = restore_one(c, ending, &old, e);
	}
	record_destroy(&record);
	coordinator__keys_free(&keys);
	buf_free(&seqs);
	return rc;
}

/* It stays superseded, by whom its record goes on to say. */
static int withdraw(struct coordinator *c, const struct ending *ending, struct store_edit *edit, uint64_t event,
		    struct err *e)
{
	char text[2 * STORE_REASON_BYTES];
	int len = snprintf(text, sizeof text, "%s, then %s: %.*s", edit->reason,
			   sm_state_name(&store_edit_states, ending->state), (int)ending->reason.len,
			   ending->reason.text);
	const size_t shown = (size_t)len < sizeof text ? (size_t)len : sizeof text - 1;
	coordinator__copy_text(edit->reason, sizeof edit->reason, (struct msg_text){ text, shown });
	edit->ended_event = event;
	int rc = event == 0 ? coordinator__due_event(c, edit->seq, &edit->ended_event, e) : 0;
	return rc == 0 ? store_edit_put(c->txn, edit, e) : rc;
}

static int end_one(struct coordinator *c, const struct ending *ending, struct store_edit *edit, uint64_t event,
		   struct err *e)
{
	char reason[STORE_REASON_BYTES];
	if (edit->state == STORE_EDIT_STATE_SUPERSEDED)
		return withdraw(c, ending, edit, event, e);
	coordinator__copy_text(reason, sizeof reason, ending->reason);
	int rc = coordinator__edit_end(c, edit, ending->state, ending->actor, reason, e);
	if (rc == 0)
		coordinator__leave_shard(c, edit);
	return rc;
}

static int end_write(struct coordinator *c, const struct ending *ending, struct store_edit *edits, size_t count,
		     bool published, struct store_version *publish, struct err *e)
{
	uint64_t event = 0;
	int rc = coordinator__begin(c, e);
	if (rc == 0 && ending->state == STORE_EDIT_STATE_REVOKED)
		rc = revoked_event(c, ending, edits, count, &event, e);
	for (size_t i = 0; rc == 0 && i < count; i++)
		rc = end_one(c, ending, &edits[i], event, e);
	for (size_t i = 0; rc == 0 && ending->restore && i < count; i++)
		rc = restore_of(c, ending, &edits[i], e);
	if (rc == 0 && published)
		rc = coordinator__publish_put(c, publish, e);
	return rc == 0 ? coordinator__commit(c, "coordinator.revoke.before_commit", "coordinator.revoke.after_commit",
					     e)
		       : rc;
}

static int publish_note(struct coordinator *c, const struct ending *ending, size_t count, struct store_version *publish,
			struct err *e)
{
	char note[STORE_REASON_BYTES];
	const char *verb = sm_state_name(&store_edit_states, ending->state);
	if (ending->group.len > 0)
		snprintf(note, sizeof note, "%s group %.*s (%zu edits)", verb, (int)ending->group.len,
			 ending->group.text, count);
	else
		snprintf(note, sizeof note, "%s %zu edit%s", verb, count, count == 1 ? "" : "s");
	char whole[STORE_REASON_BYTES];
	coordinator__copy_text(whole, sizeof whole, coordinator__text(note));
	return coordinator__publish_removal(c, whole, publish, e);
}

static uint64_t accepted_total(const struct coordinator *c)
{
	uint64_t n = 0;
	for (int s = 0; s < STORE_EDIT_STATE_COUNT; s++)
		n += c->counts[s];
	return n;
}

int coordinator__edits_end(struct coordinator *c, const struct ending *ending, struct ending_result *out, struct err *e)
{
	struct store_version publish = { .version = 0 };
	bool published = false;
	uint64_t before = accepted_total(c);
	*out = (struct ending_result){ .version = 0 };
	bool whole = true;
	int rc = coordinator__gated(c) && !c->publishing.paused ? coordinator__newest_restore(c, &whole, e) : 0;
	if (rc != 0)
		return rc;
	if (!whole)
		return err_set(
			e, ERR_AGAIN,
			"the newest version's manifest is damaged: workers and nodes are asked for it; if nobody "
			"has it, go back to a version that is whole by `amend version rollback`");
	struct store_edit *edits = fault_calloc(ending->count + 1, sizeof *edits);
	rc = edits != NULL ? 0 : err_set(e, ERR_NOMEM, "%zu edits: out of memory", ending->count);
	if (rc == 0)
		rc = find_all(c, ending, edits, &out->ended_count, e);
	if (rc == ERR_AGAIN) {
		free(edits);
		return rc;
	}
	for (size_t i = 0; rc == 0 && i < out->ended_count; i++)
		mark(c, &edits[i], ending->state, &published);
	if (rc == 0 && published)
		rc = publish_note(c, ending, out->ended_count, &publish, e);
	if (rc == 0 && out->ended_count > 0)
		rc = end_write(c, ending, edits, out->ended_count, published, &publish, e);
	free(edits);
	if (rc != 0) {
		coordinator__txn_failed(c, e);
		return rc;
	}
	out->restored_count = (size_t)(accepted_total(c) - before);
	out->version = publish.version;
	out->held = published && publish.version == 0 && c->publishing.paused;
	if (published)
		coordinator__publish_done(c, &publish);
	return 0;
}
