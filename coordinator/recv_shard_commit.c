/* recv_shard_commit.c: a worker's finished group becomes a version: checks, the manifest's blob, then one transaction.
 */
#include "coordinator/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void reply(struct coordinator *c, const struct msg_received *received, int code, uint64_t version,
		  const char *text)
{
	const struct msg_shard_commit *commit = &received->msg.u.shard_commit;
	struct msg msg = { .type = MSG_SHARD_COMMIT_REPLY };
	msg.u.shard_commit_reply.code = code;
	msg.u.shard_commit_reply.shard = commit->shard;
	msg.u.shard_commit_reply.epoch = commit->epoch;
	msg.u.shard_commit_reply.version = version;
	msg.u.shard_commit_reply.text = coordinator__text(text);
	coordinator__reply(c, received, &msg);
	if (code != 0)
		log_event(LOG_WARN, "COORDINATOR-COMMIT-REFUSED", LOGF_U("shard", commit->shard),
			  LOGF_U("epoch", commit->epoch), LOGF_S("code", err_name(code)), LOGF_S("reason", text));
}

static int check_chunks(struct coordinator *c, const struct msg_shard_commit *commit, struct err *e)
{
	const struct hash *roots[] = { &commit->delta_root, &commit->index_root, &commit->calibration_root };
	static const char *const names[] = { "delta", "index", "calibration" };
	for (size_t i = 0; i < 3; i++) {
		struct buf missing = BUF_INIT;
		int rc = hash_is_zero(roots[i]) ? err_set(e, ERR_INVALID, "the %s's root is zero", names[i])
						: store_blob_missing(c->store, roots[i], &missing, e);
		size_t count = missing.len / sizeof(struct hash);
		buf_free(&missing);
		if (rc != 0)
			return rc;
		if (count > 0)
			return err_set(e, ERR_NOT_FOUND,
				       "%zu chunks of the %s are not here: upload them, then commit again", count,
				       names[i]);
	}
	return 0;
}

/* A version with memories of two layers is one that no node can load. */
static int check_layer(const struct coordinator *c, const struct msg_shard_commit *commit, struct err *e)
{
	const uint32_t layer = coordinator__layer(c);
	return commit->layer == 0 || commit->layer == layer
		       ? 0
		       : err_set(e, ERR_MISMATCH,
				 "the delta edits layer %" PRIu32 ", this cluster's memories edit layer %" PRIu32
				 ": the worker trains the shard anew",
				 commit->layer, layer);
}

static int check_counts(const struct shard *shard, const struct msg_shard_commit *commit, struct err *e)
{
	const struct store_shard *rec = &shard->rec;
	if (commit->shard_version != rec->version + 1)
		return err_set(e, ERR_INVALID, "version %" PRIu64 " does not follow the stored %" PRIu64,
			       commit->shard_version, rec->version);
	if (commit->group_first != rec->trained_count || commit->group_count != rec->group_count ||
	    commit->trained_count != rec->trained_count + rec->group_count)
		return err_set(e, ERR_INVALID,
			       "group [%" PRIu32 ", +%" PRIu32 ") up to %" PRIu32
			       " is not the assigned one [%zu, +%zu)",
			       commit->group_first, commit->group_count, commit->trained_count, rec->trained_count,
			       rec->group_count);
	if (commit->closed && (!rec->closing || commit->trained_count != rec->seq_count))
		return err_set(e, ERR_INVALID, "the shard is not to be closed yet: edits may still come");
	if (commit->group_count == 0 && !commit->closed && rec->removals_assigned == rec->removals_covered)
		return err_set(e, ERR_INVALID, "an empty group can only close its shard or retrain it");
	for (size_t i = 0; i < commit->result_count; i++) {
		size_t place = coordinator__shard_place(shard, commit->results[i].seq);
		if (place >= commit->trained_count)
			return err_set(e, ERR_INVALID,
				       "result %zu: edit %" PRIu64 " is not in the committed part of the shard", i,
				       commit->results[i].seq);
	}
	return 0;
}

/* All that a replay needs (design.md, "Replays exactly"). */
static int commit_event(struct coordinator *c, const struct msg_received *received, struct shard *shard, struct err *e)
{
	const struct msg_shard_commit *commit = &received->msg.u.shard_commit;
	struct buf json = BUF_INIT;
	struct json_w w;
	json_w_init(&w, &json);
	json_w_open(&w, '{');
	json_w_member_uint(&w, "shard", commit->shard);
	json_w_member_uint(&w, "epoch", commit->epoch);
	json_w_member_uint(&w, "shard_version", commit->shard_version);
	json_w_member_hash(&w, "delta", &commit->delta_root);
	json_w_member_hash(&w, "index", &commit->index_root);
	json_w_member_hash(&w, "calibration", &commit->calibration_root);
	json_w_member_uint(&w, "trained", commit->trained_count);
	json_w_member_uint(&w, "group_first", commit->group_first);
	json_w_member_uint(&w, "group_count", commit->group_count);
	json_w_member_bool(&w, "closed", commit->closed);
	json_w_member_uint(&w, "seed", commit->seed);
	json_w_member_strn(&w, "mode", commit->mode.text, commit->mode.len);
	json_w_member_strn(&w, "backend", commit->backend.text, commit->backend.len);
	json_w_member_uint(&w, "train_ms", commit->train_ms);
	json_w_member_uint(&w, "retest_ms", commit->retest_ms);
	json_w_member_uint(&w, "steps", commit->steps);
	json_w_member_uint(&w, "passed", shard->passed);
	json_w_key(&w, "results");
	json_w_open(&w, '[');
	for (size_t i = 0; i < commit->result_count; i++) {
		const struct msg_edit_result *result = &commit->results[i];
		json_w_open(&w, '{');
		json_w_member_uint(&w, "seq", result->seq);
		json_w_member_bool(&w, "passed", result->passed);
		json_w_member_uint(&w, "tries", result->tries);
		if (result->reason.len > 0)
			json_w_member_strn(&w, "reason", result->reason.text, result->reason.len);
		json_w_close(&w);
	}
	json_w_close(&w);
	json_w_close(&w);
	return coordinator__event(c, STORE_EVENT_SHARD_COMMITTED, received->peer_key, &json, &shard->committed, e);
}

static const struct msg_edit_result *result_of(const struct msg_shard_commit *commit, uint64_t seq)
{
	for (size_t i = 0; i < commit->result_count; i++) {
		if (commit->results[i].seq == seq)
			return &commit->results[i];
	}
	return NULL;
}

/* All or nothing: with one edit of a group its others fail. Those are in the memory, and it is retrained without them.
 */
static void groups_apply(struct shard *shard)
{
	struct store_shard *rec = &shard->rec;
	for (size_t i = 0; i < rec->trained_count; i++) {
		if (shard->groups[i] == 0 || shard->states[i] != STORE_EDIT_STATE_FAILED)
			continue;
		for (size_t k = 0; k < rec->trained_count; k++) {
			if (shard->groups[k] != shard->groups[i] || !coordinator__edit_live(shard->states[k]))
				continue;
			shard->states[k] = STORE_EDIT_STATE_FAILED;
			shard->passed -= shard->passed > 0;
			rec->removal_count++;
		}
	}
}

/* The states that the commit leads to, in memory only: the manifest is made from them before the transaction. */
static void apply(struct shard *shard, const struct msg_shard_commit *commit)
{
	struct store_shard *rec = &shard->rec;
	shard->passed = shard->tested = 0;
	for (size_t i = 0; i < commit->trained_count; i++) {
		const struct msg_edit_result *result = result_of(commit, rec->seqs[i]);
		bool live = coordinator__edit_live(shard->states[i]);
		if (result == NULL && i < commit->group_first && shard->states[i] != STORE_EDIT_STATE_PLACED)
			continue; /* not tested again: as it was */
		bool passed = result != NULL && result->passed;
		if (live) {
			shard->tested++;
			shard->passed += passed;
		}
		if (live && !passed)
			shard->states[i] = STORE_EDIT_STATE_FAILED;
		else if (live && shard->states[i] == STORE_EDIT_STATE_PLACED)
			shard->states[i] = STORE_EDIT_STATE_TRAINED;
	}
	rec->version = commit->shard_version;
	rec->delta_root = commit->delta_root;
	rec->index_root = commit->index_root;
	rec->calibration_root = commit->calibration_root;
	rec->trained_count = commit->trained_count;
	rec->group_count = 0;
	rec->removals_covered = rec->removals_assigned;
	groups_apply(shard);
	if (commit->closed && rec->state == STORE_SHARD_STATE_OPEN)
		rec->state = STORE_SHARD_STATE_CLOSED;
	coordinator__copy_text(rec->note, sizeof rec->note, commit->backend);
	coordinator__touch(shard);
}

/* A version held it, or could have: its shard was trained anew as something was taken back, or its memory was lost. */
static void tell_lost(struct coordinator *c, const struct store_edit *edit, char reason[STORE_REASON_BYTES])
{
	char text[2 * STORE_REASON_BYTES];
	if (edit->state == STORE_EDIT_STATE_PLACED && edit->version == 0)
		return;
	c->lost_count++;
	log_event(LOG_WARN, "COORDINATOR-EDIT-LOST", LOGF_U("seq", edit->seq), LOGF_S("edit", edit->id),
		  LOGF_U("shard", edit->shard), LOGF_S("reason", reason));
	snprintf(text, sizeof text, "lost when shard %" PRIu64 " was trained anew: %s", edit->shard, reason);
	coordinator__copy_text(reason, STORE_REASON_BYTES, coordinator__text(text));
}

#define NAMES_HEAD "not by every name: "

/* Its own prompt is answered, and so it is served; what else its record promises is told (editor/retest.c). */
static void names_note(struct coordinator *c, struct store_edit *edit, const struct msg_edit_result *result)
{
	char text[2 * STORE_REASON_BYTES];
	const bool noted = strncmp(edit->reason, NAMES_HEAD, sizeof NAMES_HEAD - 1) == 0;
	if (result == NULL || !result->passed || !result->names_asked || (edit->reason[0] != '\0' && !noted))
		return;
	const bool fails = result->reason.len > 0;
	snprintf(text, sizeof text, NAMES_HEAD "%.*s", (int)result->reason.len, fails ? result->reason.text : "");
	coordinator__copy_text(edit->reason, sizeof edit->reason, coordinator__text(fails ? text : ""));
	if (!fails || noted)
		return;
	c->unnamed_count++;
	log_event(LOG_WARN, "COORDINATOR-EDIT-NAMES", LOGF_U("seq", edit->seq), LOGF_S("edit", edit->id),
		  LOGF_U("shard", edit->shard), LOGF_SN("reason", result->reason.text, result->reason.len));
}

/* Trained again, it stays in its state. */
static int names_put(struct coordinator *c, struct store_edit *edit, const struct msg_edit_result *result,
		     struct err *e)
{
	char before[STORE_REASON_BYTES];
	memcpy(before, edit->reason, sizeof before);
	names_note(c, edit, result);
	return strcmp(before, edit->reason) != 0 ? store_edit_put(c->txn, edit, e) : 0;
}

static int move_edit(struct coordinator *c, const struct msg_shard_commit *commit, const struct shard *shard, size_t i,
		     uint64_t version, struct err *e)
{
	struct store_edit edit;
	int rc = store_edit_get(c->txn, shard->rec.seqs[i], &edit, e);
	if (rc != 0 || sm_is_final(&store_edit_states, edit.state))
		return rc;
	const struct msg_edit_result *result = result_of(commit, edit.seq);
	if (edit.state == shard->states[i])
		return names_put(c, &edit, result, e);
	if (result != NULL)
		edit.tries = result->tries;
	if (shard->states[i] == STORE_EDIT_STATE_TRAINED) {
		edit.trained_ms = env_wall_ms(c->env);
		if (version != 0) /* where its memory had been lost it may have been in one */
			edit.version = version;
		if (!coordinator__seqs_hold(&c->withheld, edit.seq))
			edit.reason[0] = '\0';
		names_note(c, &edit, result);
		return coordinator__edit_move(c, &edit, STORE_EDIT_STATE_TRAINED, NULL, e);
	}
	char reason[STORE_REASON_BYTES] = "the worker reported no result for it";
	if (result != NULL && result->passed)
		snprintf(reason, sizeof reason, "another edit of its group failed: none of the group is served");
	else if (result != NULL && result->reason.len > 0)
		coordinator__copy_text(reason, sizeof reason, result->reason);
	else if (result != NULL)
		snprintf(reason, sizeof reason, "the re-test did not give the target");
	tell_lost(c, &edit, reason);
	return coordinator__edit_move(c, &edit, STORE_EDIT_STATE_FAILED, reason, e);
}

static int write_commit(struct coordinator *c, const struct msg_received *received, struct shard *shard, bool closes,
			struct store_version *publish, struct err *e)
{
	const struct msg_shard_commit *commit = &received->msg.u.shard_commit;
	int rc = coordinator__begin(c, e);
	if (rc == 0)
		rc = commit_event(c, received, shard, e);
	for (size_t i = 0; rc == 0 && i < commit->trained_count; i++)
		rc = move_edit(c, commit, shard, i, publish->version, e);
	if (rc == 0 && closes)
		rc = coordinator__closed_event(c, shard, e);
	if (rc == 0)
		rc = coordinator__shard_result_put(c, shard, e);
	if (rc == 0)
		rc = coordinator__publish_put(c, publish, e);
	return rc == 0 ? coordinator__commit(c, "coordinator.publish.before_commit", "coordinator.publish.after_commit",
					     e)
		       : rc;
}

/* Edits of the group, or all of a shard whose memory had been lost, wait to be served from now on, by `version` if it
 * is not 0. */
static int note_unserved(struct coordinator *c, const struct shard *shard, const struct msg_shard_commit *commit,
			 bool was_lost, uint64_t version, struct err *e)
{
	struct store_txn *txn = NULL;
	int rc = store_begin_read(c->store, &txn, e);
	for (size_t i = was_lost ? 0 : commit->group_first; rc == 0 && i < commit->trained_count; i++) {
		struct store_edit edit;
		rc = store_edit_get(txn, shard->rec.seqs[i], &edit, e);
		if (rc == 0 && edit.state == STORE_EDIT_STATE_TRAINED)
			rc = coordinator__unserved_add(c, edit.seq, version, edit.accepted_ms, e);
	}
	store_abort(&txn);
	return rc;
}

static int take(struct coordinator *c, const struct msg_received *received, struct shard *shard, struct err *e)
{
	const struct msg_shard_commit *commit = &received->msg.u.shard_commit;
	struct store_version publish;
	char note[STORE_REASON_BYTES];
	snprintf(note, sizeof note, "shard %" PRIu64 " version %" PRIu64, commit->shard, commit->shard_version);
	const bool was_lost = coordinator__shard_lost(shard);
	const uint64_t committed = shard->committed, lost_count = c->lost_count, unnamed_count = c->unnamed_count;
	bool closes = commit->closed &&
		      shard->rec.state == STORE_SHARD_STATE_OPEN; /* one that is retrained is closed */
	apply(shard, commit);
	shard->committed = c->last_seq + 1; /* behind all others, while the version is drafted */
	int rc = coordinator__publish_prepare(c, NULL, note, &publish, e);
	if (rc == 0)
		rc = write_commit(c, received, shard, closes, &publish, e);
	if (rc != 0) {
		shard->committed = committed;
		c->lost_count = lost_count;
		c->unnamed_count = unnamed_count;
		coordinator__txn_failed(c, e);
		return rc;
	}
	shard->refused[0] = '\0';
	coordinator__lease_seen(&shard->lease);
	shard->lease.wants = false; /* what it asks for from now on counts from this commit */
	if (shard->lease.sm.state == LEASE_TRAINING)
		sm_move(&shard->lease.sm, LEASE_HELD);
	coordinator__lease_advanced(c, shard);
	coordinator__publish_done(c, &publish);
	c->renew_look = true;
	if (commit->closed)
		coordinator__lease_free(&shard->lease);
	rc = note_unserved(c, shard, commit, was_lost, publish.version, e);
	if (rc != 0)
		coordinator__fail(c, e);
	return rc;
}

/* The answer was lost of one that was taken. */
static bool is_taken(const struct shard *shard, const struct msg_shard_commit *commit)
{
	return shard != NULL && commit->shard_version > 0 && shard->rec.version == commit->shard_version &&
	       hash_equal(&shard->rec.delta_root, &commit->delta_root);
}

static bool is_fenced(struct coordinator *c, const struct msg_received *received, const struct shard *shard)
{
	const struct msg_shard_commit *commit = &received->msg.u.shard_commit;
	const struct peer *peer = coordinator__peer_find(c, received->peer_key, MSG_PEER_WORKER);
	if (coordinator__lease_is(shard, peer, commit->epoch))
		return false;
	reply(c, received, ERR_FENCED, 0, "the lease is not yours any more: drop the shard");
	coordinator__fenced_send(c, received->route, commit->shard, commit->epoch);
	return true;
}

void coordinator__recv_shard_commit(struct coordinator *c, struct msg_received **received)
{
	const struct msg_received *r = *received;
	const struct msg_shard_commit *commit = &r->msg.u.shard_commit;
	struct shard *shard = coordinator__shard_find(c, commit->shard);
	struct err e = ERR_INIT;
	if (is_taken(shard, commit)) {
		/* Behind a gate the newest version need not hold it, whether or not a candidate does. */
		reply(c, r, 0, coordinator__publish_held(c) || coordinator__unpublished(c) ? 0 : c->version, "");
		return;
	}
	if (coordinator__peer_find(c, r->peer_key, MSG_PEER_WORKER) == NULL) {
		/* after our restart: its work is good once it holds a lease again */
		reply(c, r, ERR_AGAIN, 0, "say Hello first");
		coordinator__unknown(c, r);
		return;
	}
	if (is_fenced(c, r, shard))
		return;
	int rc = check_layer(c, commit, &e);
	if (rc == 0)
		rc = check_counts(shard, commit, &e);
	if (rc == 0)
		rc = check_chunks(c, commit, &e);
	if (rc == 0)
		rc = coordinator__commit_check(c, received, &e);
	if (rc != 0)
		reply(c, r, rc, 0, e.text);
}

/* What the coordinator's own disk has changed since it came is uploaded again; what the worker made is held against the
 * group when its lease ends. */
static int refuse(struct coordinator *c, struct shard *shard, const struct msg_shard_commit *commit,
		  const struct commit_verdict *verdict, struct err *e)
{
	*e = verdict->error;
	if (!verdict->unread && verdict->code != ERR_NOMEM)
		coordinator__copy_text(shard->refused, sizeof shard->refused, coordinator__text(e->text));
	if (!verdict->unread || verdict->code != ERR_CORRUPT)
		return verdict->code;
	size_t bad;
	if (coordinator__blob_suspect(c, &commit->delta_root, &bad, e) != 0)
		return err_set(e, ERR_AGAIN, "the delta cannot be read here for now: commit again");
	return err_set(e, ERR_NOT_FOUND, "chunks of the delta were damaged here: upload them, then commit again");
}

/* Meanwhile the lease may have ended, and the shard have changed. */
void coordinator__commit_checked(struct coordinator *c, const struct msg_received *received,
				 const struct commit_verdict *verdict)
{
	const struct msg_shard_commit *commit = &received->msg.u.shard_commit;
	struct shard *shard = coordinator__shard_find(c, commit->shard);
	struct err e = ERR_INIT;
	if (is_fenced(c, received, shard))
		return;
	int rc = verdict->code != 0 ? refuse(c, shard, commit, verdict, &e) : check_layer(c, commit, &e);
	if (rc == 0)
		rc = check_counts(shard, commit, &e);
	if (rc == 0)
		rc = take(c, received, shard, &e);
	if (c->failure.code == 0)
		reply(c, received, rc, rc == 0 && !coordinator__unpublished(c) ? c->version : 0, rc == 0 ? "" : e.text);
	coordinator__advance(c);
}
