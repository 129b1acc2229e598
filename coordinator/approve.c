/* approve.c: a candidate that waits is published when a second administrator's key says so: none that submitted an
 * edit which it adds. The approval names the content that was looked at. */
#include "coordinator/internal.h"
#include "coordinator/owner.h"

#include <stdlib.h>
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

struct added {
	uint64_t ended_event, seq;
	uint8_t actor[STORE_KEY_BYTES];
};

struct submitter {
	uint8_t key[STORE_KEY_BYTES];
	uint64_t seq; /* the first that it submitted */
};

static int by_event(const void *a, const void *b)
{
	const struct added *x = a, *y = b;
	const int order = (x->ended_event > y->ended_event) - (x->ended_event < y->ended_event);
	return order != 0 ? order : (x->seq > y->seq) - (x->seq < y->seq);
}

/* All that the candidate adds, so that each event is read once. */
static int added_load(struct store_txn *txn, const struct buf *seqs, struct buf *out, struct err *e)
{
	const uint64_t *list = (const void *)seqs->data;
	const size_t count = seqs->len / sizeof *list;
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < count; i++) {
		struct store_event event;
		struct store_edit edit;
		rc = store_event_get(txn, list[i], &event, e);
		if (rc == 0)
			rc = store_edit_get(txn, list[i], &edit, e);
		if (rc != 0)
			break;
		struct added item = { edit.ended_event, list[i], { 0 } };
		memcpy(item.actor, event.actor, sizeof item.actor);
		buf_append(out, &item, sizeof item);
	}
	if (rc == 0 && buf_failed(out))
		rc = err_set(e, ERR_NOMEM, "who submitted what a candidate adds: out of memory");
	if (rc == 0 && out->len > 0)
		qsort(out->data, out->len / sizeof(struct added), sizeof(struct added), by_event);
	return rc;
}

static void submitter_add(struct buf *submitters, const struct added *item)
{
	struct submitter *list = (void *)submitters->data;
	for (size_t i = 0; i < submitters->len / sizeof *list; i++) {
		if (memcmp(list[i].key, item->actor, sizeof list[i].key) != 0)
			continue;
		list[i].seq = item->seq < list[i].seq ? item->seq : list[i].seq;
		return;
	}
	struct submitter new = { .seq = item->seq };
	memcpy(new.key, item->actor, sizeof new.key);
	buf_append(submitters, &new, sizeof new);
}

/* What was in force until its memory was lost is not new: else administrators who had approved each other's edits could
 * not approve them together. */
static int submitters_find(struct coordinator *c, struct store_txn *txn, const struct buf *seqs, struct buf *out,
			   struct err *e)
{
	struct buf items = BUF_INIT, in_force = BUF_INIT;
	int rc = added_load(txn, seqs, &items, e);
	const struct added *list = (const void *)items.data;
	for (size_t i = 0; rc == 0 && i < items.len / sizeof *list; i++) {
		if (i == 0 || list[i].ended_event != list[i - 1].ended_event)
			rc = coordinator__lost_in_force(c, txn, list[i].ended_event, &in_force, e);
		if (rc == 0 && !coordinator__seqs_hold(&in_force, list[i].seq))
			submitter_add(out, &list[i]);
	}
	if (rc == 0 && buf_failed(out))
		rc = err_set(e, ERR_NOMEM, "who submitted what a candidate adds: out of memory");
	buf_free(&items);
	buf_free(&in_force);
	return rc;
}

/* Of what the candidate adds and nobody has approved: the keys that submitted it, each once. */
static int submitters_load(struct coordinator *c, struct buf *submitters, struct buf *owners, struct err *e)
{
	struct buf added = BUF_INIT, removed = BUF_INIT;
	struct store_txn *txn = NULL;
	int rc = coordinator__candidate_changes(c, &added, &removed, e);
	if (rc == 0)
		rc = store_begin_read(c->store, &txn, e);
	if (rc == 0)
		rc = coordinator__owners_load(txn, owners, e);
	if (rc == 0)
		rc = submitters_find(c, txn, &added, submitters, e);
	store_abort(&txn);
	buf_free(&added);
	buf_free(&removed);
	return rc;
}

/* The one whose owner has `actor` too, with the first edit; NULL: none. A key that took another's place is its owner's
 * as that was. */
static const struct submitter *submitter_of(const struct coordinator *c, const struct buf *submitters,
					    const struct buf *owners, const uint8_t *actor)
{
	const struct submitter *list = (const void *)submitters->data, *found = NULL;
	for (size_t i = 0; i < submitters->len / sizeof *list; i++)
		if ((found == NULL || list[i].seq < found->seq) &&
		    coordinator__same_owner(c, owners, list[i].key, actor))
			found = &list[i];
	return found;
}

static int denied(struct coordinator *c, const struct submitter *submitter, const uint8_t *actor, struct err *e)
{
	const bool same = memcmp(submitter->key, actor, sizeof submitter->key) == 0;
	struct store_txn *txn = NULL;
	struct store_edit edit;
	int rc = store_begin_read(c->store, &txn, e);
	if (rc == 0)
		rc = store_edit_get(txn, submitter->seq, &edit, e);
	store_abort(&txn);
	return rc != 0 ? rc
		       : err_set(e, ERR_DENIED,
				 "edit %s was submitted with %s: another administrator's key has to approve it",
				 edit.id, same ? "this key" : "another key of this one's owner");
}

static int second_key_check(struct coordinator *c, const uint8_t *actor, struct err *e)
{
	struct buf submitters = BUF_INIT, owners = BUF_INIT;
	int rc = submitters_load(c, &submitters, &owners, e);
	const struct submitter *same = rc == 0 ? submitter_of(c, &submitters, &owners, actor) : NULL;
	if (same != NULL)
		rc = denied(c, same, actor, e);
	buf_free(&submitters);
	buf_free(&owners);
	return rc;
}

bool coordinator__candidate_stuck(struct coordinator *c)
{
	struct buf submitters = BUF_INIT, owners = BUF_INIT;
	struct proto_allowed allowed;
	struct err unused = ERR_INIT;
	bool stuck = c->candidate.sm.state == CANDIDATE_WAITING && c->allow != NULL &&
		     submitters_load(c, &submitters, &owners, &unused) == 0;
	for (size_t i = 0; stuck && proto_allow_at(c->allow, i, &allowed); i++)
		stuck = (allowed.roles & PROTO_ROLE_ADMIN) == 0 || memcmp(allowed.key, c->key, PROTO_KEY_BYTES) == 0 ||
			submitter_of(c, &submitters, &owners, allowed.key) != NULL;
	buf_free(&submitters);
	buf_free(&owners);
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
