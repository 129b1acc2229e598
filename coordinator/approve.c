/* approve.c: a candidate that waits is published when a second administrator's key says so: none that submitted an
 * edit which it adds. The approval names the content that was looked at. */
#include "coordinator/internal.h"
#include "coordinator/owner.h"

#include <string.h>

/* The one that is there, as it is now. */
static int candidate_check(struct coordinator *c, const struct hash *content, struct err *e)
{
	char now[HASH_HEX_BYTES], asked[HASH_HEX_BYTES];
	coordinator__candidate_advance(c);
	const struct candidate *candidate = &c->candidate;
	hash_hex(&candidate->rec.content, now);
	hash_hex(content, asked);
	if (candidate->sm.state == CANDIDATE_NONE)
		return err_set(e, ERR_NOT_FOUND, "there is no candidate%s",
			       c->publishing.paused ? ": publishing is paused" : "");
	if (!hash_equal(&candidate->rec.content, content))
		return err_set(e, ERR_CONFLICT,
			       "the candidate is %.12s now, not %.12s: it was made anew; `amend version candidate` "
			       "shows it",
			       now, asked);
	if (candidate->sm.state == CANDIDATE_REFUSED)
		return err_set(e, ERR_CONFLICT,
			       "it was refused (%s): the next candidate is made when an edit is trained or taken "
			       "back, or by `amend version resume`",
			       candidate->reason);
	const char *why = coordinator__candidate_outdated(c);
	if (why != NULL || coordinator__write_held(c)) /* it could not be dropped, or not made anew */
		return err_set(e, ERR_AGAIN, "%s: try again",
			       why != NULL ? why : "the coordinator could not write a moment ago");
	return 0;
}

/* A key that took another's place is its owner's as that was. What was in force until its memory was lost is not new:
 * else administrators who had approved each other's edits could not approve them together. */
static int submitter_check(struct coordinator *c, struct store_txn *txn, const struct buf *owners, uint64_t seq,
			   const uint8_t *actor, struct err *e)
{
	struct store_event event;
	struct store_edit edit;
	bool approved = false;
	int rc = store_event_get(txn, seq, &event, e);
	if (rc != 0 || !coordinator__same_owner(c, owners, event.actor, actor))
		return rc;
	const bool same = memcmp(event.actor, actor, sizeof event.actor) == 0;
	rc = store_edit_get(txn, seq, &edit, e);
	if (rc == 0)
		rc = coordinator__lost_in_force(c, txn, &edit, &approved, e);
	return rc != 0 || approved
		       ? rc
		       : err_set(e, ERR_DENIED,
				 "edit %s was submitted with %s: another administrator's key has to approve it",
				 edit.id, same ? "this key" : "another key of this one's owner");
}

static int second_key_check(struct coordinator *c, const uint8_t *actor, struct err *e)
{
	struct buf added = BUF_INIT, removed = BUF_INIT, owners = BUF_INIT;
	struct store_txn *txn = NULL;
	int rc = coordinator__candidate_changes(c, &added, &removed, e);
	if (rc == 0)
		rc = store_begin_read(c->store, &txn, e);
	if (rc == 0)
		rc = coordinator__owners_load(txn, &owners, e);
	const uint64_t *seqs = (const void *)added.data;
	for (size_t i = 0; rc == 0 && i < added.len / sizeof *seqs; i++)
		rc = submitter_check(c, txn, &owners, seqs[i], actor, e);
	store_abort(&txn);
	buf_free(&owners);
	buf_free(&added);
	buf_free(&removed);
	return rc;
}

bool coordinator__candidate_stuck(struct coordinator *c)
{
	struct proto_allowed allowed;
	struct err e = ERR_INIT;
	bool stuck = c->candidate.sm.state == CANDIDATE_WAITING && c->allow != NULL;
	for (size_t i = 0; stuck && proto_allow_at(c->allow, i, &allowed); i++)
		stuck = (allowed.roles & PROTO_ROLE_ADMIN) == 0 || memcmp(allowed.key, c->key, PROTO_KEY_BYTES) == 0 ||
			second_key_check(c, allowed.key, &e) == ERR_DENIED;
	return stuck;
}

int coordinator__candidate_approve(struct coordinator *c, const uint8_t *actor, const struct hash *content,
				   struct err *e)
{
	int rc = candidate_check(c, content, e);
	if (rc == 0 && c->candidate.sm.state == CANDIDATE_CHECKING)
		rc = err_set(e, ERR_AGAIN, "the canaries are still asked about it: approve it when it waits for that");
	if (rc == 0 && memcmp(actor, c->key, PROTO_KEY_BYTES) == 0)
		rc = err_set(e, ERR_DENIED,
			     "this is the coordinator's own key, which stands for no person: another administrator's "
			     "key has "
			     "to approve it");
	if (rc == 0)
		rc = second_key_check(c, actor, e);
	if (rc != 0)
		return rc;
	const struct publish_cause cause = {
		.actor = actor, .approved = true, .canaries = c->candidate.canaries, .changed = c->candidate.changed
	};
	const struct store_version rec = c->candidate.rec;
	rc = coordinator__candidate_publish(c, &cause, e);
	if (rc == 0)
		log_event(LOG_INFO, "COORDINATOR-CANDIDATE-APPROVED", LOGF_U("version", rec.version),
			  LOGF_X("content", rec.content.bytes, 8), LOGF_X("by", actor, 8));
	return rc;
}

int coordinator__candidate_reject(struct coordinator *c, const uint8_t *actor, const struct hash *content,
				  struct msg_text reason, struct err *e)
{
	struct buf json = BUF_INIT;
	struct json_w w;
	if (reason.len == 0)
		return err_set(e, ERR_INVALID, "a rejection needs a reason: it is kept in the ledger");
	int rc = candidate_check(c, content, e);
	if (rc != 0)
		return rc;
	struct candidate next = c->candidate;
	memcpy(next.refused_by, actor, sizeof next.refused_by);
	coordinator__copy_text(next.reason, sizeof next.reason, reason);
	json_w_init(&w, &json);
	coordinator__candidate_json(&next, "rejected", &w);
	json_w_close(&w);
	return coordinator__candidate_refuse(c, &next, actor, &json, e);
}
