/* recv_revoke.c: an administrator takes one edit, or all of a group, back. Asked again it says what it said before: an
 * answer may have been lost. */
#include "coordinator/internal.h"

#include <inttypes.h>
#include <stdio.h>

static void reply(struct coordinator *c, const struct msg_received *received, const struct msg_revoke_reply *answer)
{
	struct msg msg = { .type = MSG_REVOKE_REPLY };
	msg.u.revoke_reply = *answer;
	coordinator__reply(c, received, &msg);
}

static void refuse(struct coordinator *c, const struct msg_received *received, int code, const char *text)
{
	struct msg_revoke_reply answer = { .code = code, .text = coordinator__text(text) };
	reply(c, received, &answer);
}

/* Why an edit cannot be revoked, with what stands in its place. */
static int not_live(struct store_txn *txn, const struct store_edit *edit, struct err *e)
{
	struct store_edit by;
	struct err unused = ERR_INIT;
	const char *state = sm_state_name(&store_edit_states, edit->state);
	if (edit->superseded_by != 0 && store_edit_get(txn, edit->superseded_by, &by, &unused) == 0)
		return err_set(e, ERR_CONFLICT, "edit %s is %s by edit %s: there is nothing to revoke; revoke that one",
			       edit->id, state, by.id);
	return err_set(e, ERR_CONFLICT, "edit %s is %s%s%s: there is nothing to revoke", edit->id, state,
		       edit->reason[0] != 0 ? ", " : "", edit->reason);
}

struct asked {
	struct buf seqs; /* uint64_t: those to end */
	bool already;    /* all were revoked before */
};

static int find_one(struct coordinator *c, struct store_txn *txn, const struct msg_revoke *ask, struct asked *out,
		    struct err *e)
{
	char id[STORE_ID_BYTES];
	struct store_edit edit;
	struct buf served = BUF_INIT;
	bool can = false;
	uint8_t state;
	coordinator__copy_text(id, sizeof id, ask->id);
	int rc = ask->id.len < sizeof id ? store_edit_find(txn, id, &edit, e) : ERR_NOT_FOUND;
	if (rc == ERR_NOT_FOUND)
		return err_set(e, rc, "no edit has the id %s", id);
	if (rc == 0)
		rc = coordinator__withdrawn_state(txn, &edit, &state, e);
	out->already = rc == 0 && state == STORE_EDIT_STATE_REVOKED;
	if (rc == 0 && !out->already)
		rc = coordinator__edit_can_end(c, &edit, &served, &can, e);
	buf_free(&served);
	if (rc == 0 && !out->already && !can)
		rc = not_live(txn, &edit, e);
	if (can)
		buf_append(&out->seqs, &edit.seq, sizeof edit.seq);
	return rc;
}

static int find_group(struct coordinator *c, struct store_txn *txn, const struct msg_revoke *ask, struct asked *out,
		      struct err *e)
{
	struct buf all = BUF_INIT, served = BUF_INIT;
	bool revoked = false, live = false;
	int rc = store_group_list(txn, ask->group.text, ask->group.len, &all, e);
	const uint64_t *seqs = (const void *)all.data;
	size_t count = all.len / sizeof *seqs;
	for (size_t i = 0; rc == 0 && i < count; i++) {
		struct store_edit edit;
		bool can = false;
		uint8_t state = 0;
		rc = store_edit_get(txn, seqs[i], &edit, e);
		if (rc == 0)
			rc = coordinator__withdrawn_state(txn, &edit, &state, e);
		if (rc == 0)
			rc = coordinator__edit_can_end(c, &edit, &served, &can, e);
		if (can || state == STORE_EDIT_STATE_SUPERSEDED) /* that one goes with the others */
			buf_append(&out->seqs, &edit.seq, sizeof edit.seq);
		live = live || can;
		revoked = revoked || (rc == 0 && state == STORE_EDIT_STATE_REVOKED);
	}
	buf_free(&all);
	buf_free(&served);
	out->already = rc == 0 && out->seqs.len == 0 && revoked;
	if (rc == 0 && count == 0)
		rc = err_set(e, ERR_NOT_FOUND, "no edit is of the group %s", ask->group.text);
	else if (rc == 0 && !live && !revoked)
		rc = err_set(e, ERR_CONFLICT, "no edit of the group %s is live: there is nothing to revoke",
			     ask->group.text);
	return rc;
}

static int find(struct coordinator *c, const struct msg_revoke *ask, struct asked *out, struct err *e)
{
	struct store_txn *txn = NULL;
	if ((ask->id.len > 0) == (ask->group.len > 0))
		return err_set(e, ERR_INVALID, "a revocation names an edit, or a group of edits");
	if (ask->reason.len == 0)
		return err_set(e, ERR_INVALID, "a revocation needs a reason: it is kept in the ledger");
	int rc = store_begin_read(c->store, &txn, e);
	if (rc == 0)
		rc = ask->group.len > 0 ? find_group(c, txn, ask, out, e) : find_one(c, txn, ask, out, e);
	store_abort(&txn);
	return rc == 0 && buf_failed(&out->seqs) ? err_set(e, ERR_NOMEM, "out of memory") : rc;
}

/* What came back, by name, as far as a reply has room. `ids`: MSG_RESTORED_MAX, for as long as `out` is used. */
static size_t restored_list(struct coordinator *c, const struct buf *seqs, char (*ids)[STORE_ID_BYTES],
			    struct msg_restored *out)
{
	const uint64_t *list = (const void *)seqs->data;
	const size_t count = seqs->len / sizeof *list < MSG_RESTORED_MAX ? seqs->len / sizeof *list : MSG_RESTORED_MAX;
	struct store_txn *txn = NULL;
	struct err unused = ERR_INIT;
	size_t n = 0;
	if (count == 0 || store_begin_read(c->store, &txn, &unused) != 0)
		return 0; /* it is done all the same, and `edit list` has them */
	for (size_t i = 0; i < count; i++) {
		struct store_edit edit;
		if (store_edit_get(txn, list[i], &edit, &unused) != 0)
			continue;
		snprintf(ids[n], sizeof ids[n], "%s", edit.id);
		out[n].id = coordinator__text(ids[n]);
		n++;
	}
	store_abort(&txn);
	return n;
}

static void revoke(struct coordinator *c, const struct msg_received *received, const struct asked *asked)
{
	const struct msg_revoke *ask = &received->msg.u.revoke;
	char ids[MSG_RESTORED_MAX][STORE_ID_BYTES];
	struct msg_restored list[MSG_RESTORED_MAX];
	struct buf restored = BUF_INIT;
	struct ending ending = { .seqs = (const void *)asked->seqs.data,
				 .count = asked->seqs.len / sizeof(uint64_t),
				 .state = STORE_EDIT_STATE_REVOKED,
				 .actor = received->peer_key,
				 .reason = ask->reason,
				 .group = ask->group,
				 .restore = ask->restore_superseded,
				 .restored = &restored };
	struct ending_result result;
	struct err e = ERR_INIT;
	int rc = coordinator__edits_end(c, &ending, &result, &e);
	const size_t listed = rc == 0 ? restored_list(c, &restored, ids, list) : 0;
	buf_free(&restored);
	if (c->failure.code != 0)
		return; /* what was kept is known after the restart */
	if (rc != 0) {
		char text[ERR_TEXT_BYTES_MAX];
		snprintf(text, sizeof text, "nothing was changed, try again: %s", e.text);
		refuse(c, received, rc, text);
		return;
	}
	log_event(LOG_INFO, "COORDINATOR-EDITS-REVOKED", LOGF_U("edits", result.ended_count),
		  LOGF_U("restored", result.restored_count), LOGF_U("version", result.version),
		  LOGF_X("by", received->peer_key, 8), LOGF_SN("reason", ask->reason.text, ask->reason.len));
	char held[ERR_TEXT_BYTES_MAX] = "";
	if (result.held)
		coordinator__held_text(c, held, sizeof held);
	struct msg_revoke_reply answer = { .version = result.version,
					   .revoked_count = (uint32_t)result.ended_count,
					   .restored_count = (uint32_t)result.restored_count,
					   .text = coordinator__text(held),
					   .restored = list,
					   .restored_listed = listed };
	reply(c, received, &answer);
}

void coordinator__recv_revoke(struct coordinator *c, const struct msg_received *received)
{
	struct asked asked = { .seqs = BUF_INIT };
	struct err e = ERR_INIT;
	coordinator__submit_flush(c); /* what was sent before it stands before it */
	if (c->failure.code != 0)
		return;
	int rc = find(c, &received->msg.u.revoke, &asked, &e);
	struct msg_revoke_reply again = { .already = true, .text = coordinator__text("it was revoked before") };
	if (rc != 0)
		refuse(c, received, rc, e.text);
	else if (asked.already)
		reply(c, received, &again);
	else
		revoke(c, received, &asked);
	buf_free(&asked.seqs);
}
