/* recv_publish.c: an administrator rolls back to an old version, which pauses publishing, or lets it go on; or approves
 * or rejects a candidate. */
#include "coordinator/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define ROLLED_NAME "rolled"

static void reply(struct coordinator *c, const struct msg_received *received, const struct msg_publish_reply *answer)
{
	struct msg msg = { .type = MSG_PUBLISH_REPLY };
	msg.u.publish_reply = *answer;
	msg.u.publish_reply.text = answer->text.text != NULL ? answer->text : coordinator__text("");
	coordinator__reply(c, received, &msg);
}

static void refuse(struct coordinator *c, const struct msg_received *received, const struct err *e)
{
	struct msg_publish_reply answer = { .code = e->code, .text = coordinator__text(e->text) };
	reply(c, received, &answer);
}

/* --- Rolling back. */

struct rollback {
	struct store_version to, rec; /* the old version, and its new record */
	struct buf seqs;              /* uint64_t, ascending: the edits that it serves */
	uint32_t back_count;
	struct rolled done;
};

/* --- Those that were done: a small value of the ledger, written with the version. */

static const struct rolled *rolled_first(const struct coordinator *c) /* of those that stay when one is added */
{
	return &c->rolled[c->rolled_count == ROLLED_MAX ? 1 : 0];
}

static void rolled_add(struct coordinator *c, const struct rolled *done)
{
	const struct rolled *first = rolled_first(c);
	c->rolled_count -= (size_t)(first - c->rolled);
	memmove(c->rolled, first, c->rolled_count * sizeof c->rolled[0]);
	c->rolled[c->rolled_count++] = *done;
}

static void rolled_write(struct buf *bytes, const struct rolled *rolled)
{
	buf_u64le(bytes, rolled->request_id);
	buf_append(bytes, rolled->key, sizeof rolled->key);
	buf_u64le(bytes, rolled->version);
	buf_append(bytes, rolled->content.bytes, HASH_BYTES);
	buf_u32le(bytes, rolled->back_count);
}

static int rolled_put(struct coordinator *c, const struct rolled *done, struct err *e)
{
	struct buf bytes = BUF_INIT;
	for (const struct rolled *at = rolled_first(c); at < c->rolled + c->rolled_count; at++)
		rolled_write(&bytes, at);
	rolled_write(&bytes, done);
	int rc = buf_failed(&bytes) ? err_set(e, ERR_NOMEM, "out of memory")
				    : store_meta_put(c->txn, ROLLED_NAME, bytes.data, bytes.len, e);
	buf_free(&bytes);
	return rc;
}

static int rolled_parse(struct coordinator *c, const struct buf *bytes, struct err *e)
{
	struct reader r;
	reader_init(&r, bytes->data, bytes->len);
	while (r.at < r.len && !r.overrun && c->rolled_count < ROLLED_MAX) {
		struct rolled *rolled = &c->rolled[c->rolled_count++];
		rolled->request_id = reader_u64le(&r);
		const void *key = reader_bytes(&r, sizeof rolled->key);
		rolled->version = reader_u64le(&r);
		const void *content = reader_bytes(&r, HASH_BYTES);
		rolled->back_count = reader_u32le(&r);
		if (r.overrun)
			break;
		memcpy(rolled->key, key, sizeof rolled->key);
		memcpy(rolled->content.bytes, content, HASH_BYTES);
	}
	return r.overrun || r.at != r.len
		       ? err_set(e, ERR_CORRUPT, ROLLED_NAME ": %zu bytes are not of its form", bytes->len)
		       : 0;
}

int coordinator__rolled_load(struct coordinator *c, struct store_txn *txn, struct err *e)
{
	struct buf bytes = BUF_INIT;
	int rc = store_meta_get(txn, ROLLED_NAME, &bytes, e);
	if (rc == 0) {
		rc = rolled_parse(c, &bytes, e);
	} else if (rc == ERR_NOT_FOUND) {
		err_clear(e);
		rc = 0;
	}
	buf_free(&bytes);
	return rc;
}

/* Edits that it serves and that have ended since. */
static int count_back(struct store_txn *txn, struct rollback *roll, struct err *e)
{
	const uint64_t *seqs = (const void *)roll->seqs.data;
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < roll->seqs.len / sizeof *seqs; i++) {
		struct store_edit edit;
		rc = store_edit_get(txn, seqs[i], &edit, e);
		roll->back_count += rc == 0 && !coordinator__edit_live(edit.state);
	}
	return rc;
}

/* A copy leaves damaged chunks out, and may be what this store was restored from: what no node could load does not take
 * the place of what they have. */
static int memories_check(struct coordinator *c, const struct store_version *version, struct err *e)
{
	bool apart;
	int rc = coordinator__version_whole(c, &version->root, &apart, e);
	if (rc != 0)
		err_wrap(e,
			 "version %" PRIu64
			 " cannot be loaded; look with `amend store verify`, or choose another version",
			 version->version);
	return rc;
}

static int rollback_find(struct coordinator *c, const struct msg_publish *ask, struct rollback *roll, struct err *e)
{
	struct store_txn *txn = NULL;
	bool kept = false;
	if (ask->reason.len == 0)
		return err_set(e, ERR_INVALID, "a rollback needs a reason: it is kept in the ledger");
	int rc = store_begin_read(c->store, &txn, e);
	if (rc == 0)
		rc = store_version_get(txn, ask->version, &roll->to, e);
	if (rc == ERR_NOT_FOUND)
		err_set(e, rc, "version %" PRIu64 " does not exist; `amend version list` shows them all", ask->version);
	if (rc == 0)
		rc = store_version_kept(txn, ask->version, &kept, e);
	if (rc == 0 && !kept)
		rc = err_set(e, ERR_NOT_FOUND,
			     "version %" PRIu64 " has no memories any more: `amend store gc` has given them back",
			     ask->version);
	if (rc == 0)
		rc = memories_check(c, &roll->to, e);
	if (rc == 0)
		rc = coordinator__manifest_seqs(c, &roll->to.root, &roll->seqs, e);
	if (rc == 0)
		rc = count_back(txn, roll, e);
	store_abort(&txn);
	return rc;
}

static int rollback_write(struct coordinator *c, const struct msg_received *received, struct rollback *roll,
			  struct publishing *next, struct err *e)
{
	const struct msg_publish *ask = &received->msg.u.publish;
	struct publish_cause cause = { .actor = received->peer_key,
				       .rollback_to = ask->version,
				       .reason = ask->reason };
	char note[STORE_REASON_BYTES + MSG_PUBLISH_REASON_BYTES_MAX];
	snprintf(note, sizeof note, "rollback to v%" PRIu64 ": %.*s", ask->version, (int)ask->reason.len,
		 ask->reason.text);
	roll->rec = roll->to;
	roll->rec.version = c->version + 1;
	roll->rec.published_ms = env_wall_ms(c->env);
	coordinator__copy_text(roll->rec.note, sizeof roll->rec.note, coordinator__text(note));
	*next = (struct publishing){ .paused = true, .unpublished = true, .paused_ms = roll->rec.published_ms };
	memcpy(next->paused_by, received->peer_key, sizeof next->paused_by);
	coordinator__copy_text(next->reason, sizeof next->reason, coordinator__text(note));
	roll->done = (struct rolled){ .request_id = received->msg.request_id,
				      .version = roll->rec.version,
				      .content = roll->rec.content,
				      .back_count = roll->back_count };
	memcpy(roll->done.key, received->peer_key, sizeof roll->done.key);
	int rc = coordinator__begin(c, e);
	if (rc == 0)
		rc = rolled_put(c, &roll->done, e);
	if (rc == 0)
		rc = coordinator__version_put(c, &roll->rec, &cause, e);
	if (rc == 0)
		rc = coordinator__publishing_put(c, next, e);
	if (rc == 0)
		rc = coordinator__candidate_put(c, NULL, e);
	return rc == 0 ? coordinator__commit(c, "coordinator.rollback.before_commit",
					     "coordinator.rollback.after_commit", e)
		       : rc;
}

static void rolled_reply(struct coordinator *c, const struct msg_received *received, const struct rolled *rolled)
{
	struct msg_publish_reply answer = { .version = rolled->version,
					    .content = rolled->content,
					    .back_count = rolled->back_count };
	reply(c, received, &answer);
}

/* The same one, asked again as its answer was lost, also by another process of this coordinator: request ids of one key
 * are drawn at random (proto_client_call). */
static const struct rolled *rolled_find(const struct coordinator *c, const struct msg_received *received)
{
	for (size_t i = 0; i < c->rolled_count; i++) {
		const struct rolled *rolled = &c->rolled[i];
		if (rolled->request_id == received->msg.request_id &&
		    memcmp(rolled->key, received->peer_key, sizeof rolled->key) == 0)
			return rolled;
	}
	return NULL;
}

static void rollback(struct coordinator *c, const struct msg_received *received)
{
	const struct msg_publish *ask = &received->msg.u.publish;
	struct rollback roll = { .seqs = BUF_INIT };
	struct publishing next;
	struct err e = ERR_INIT;
	if (rolled_find(c, received) != NULL) {
		rolled_reply(c, received, rolled_find(c, received));
		return;
	}
	int rc = rollback_find(c, ask, &roll, &e);
	if (rc != 0) {
		refuse(c, received, &e);
		buf_free(&roll.seqs);
		return;
	}
	rc = rollback_write(c, received, &roll, &next, &e);
	if (rc == 0) {
		coordinator__candidate_end(c, false);
		c->publishing = next;
		coordinator__unserved_hold(c, &roll.seqs, roll.rec.version);
		coordinator__version_done(c, &roll.rec);
		rolled_add(c, &roll.done);
		log_event(LOG_WARN, "COORDINATOR-ROLLED-BACK", LOGF_U("to", ask->version),
			  LOGF_U("version", roll.rec.version), LOGF_X("by", received->peer_key, 8),
			  LOGF_SN("reason", ask->reason.text, ask->reason.len));
		rolled_reply(c, received, &roll.done);
	} else {
		coordinator__txn_failed(c, &e);
		if (c->failure.code == 0)
			refuse(c, received, &e);
	}
	buf_free(&roll.seqs);
}

/* --- Going on. */

static int resume_event(struct coordinator *c, const struct msg_received *received, struct err *e)
{
	struct buf json = BUF_INIT;
	struct json_w w;
	json_w_init(&w, &json);
	json_w_open(&w, '{');
	json_w_member_str(&w, "publishing", "resumed");
	json_w_close(&w);
	return coordinator__event(c, STORE_EVENT_CONFIG_CHANGED, received->peer_key, &json, NULL, e);
}

/* What there is becomes a version with the same transaction, so that a resume is the end of it; before a gate it
 * becomes a candidate. */
static int resume_write(struct coordinator *c, const struct msg_received *received, const struct buf *withheld,
			struct store_version *publish, struct err *e)
{
	const struct publishing next = { .unpublished = coordinator__gated(c) };
	int rc = coordinator__begin(c, e);
	if (rc == 0)
		rc = resume_event(c, received, e);
	if (rc == 0)
		rc = coordinator__candidate_put(c, NULL, e);
	if (rc == 0)
		rc = coordinator__publishing_put(c, &next, e);
	if (rc == 0)
		rc = coordinator__withheld_forget(c, withheld, e);
	if (rc == 0)
		rc = coordinator__publish_put(c, publish, e);
	return rc == 0 ? coordinator__commit(c, "coordinator.resume.before_commit", "coordinator.resume.after_commit",
					     e)
		       : rc;
}

static void resume(struct coordinator *c, const struct msg_received *received)
{
	struct publishing before = c->publishing;
	struct buf withheld = c->withheld;
	struct store_version publish;
	struct err e = ERR_INIT;
	if (!before.paused && c->candidate.sm.state != CANDIDATE_REFUSED &&
	    !coordinator__withheld_any(c)) { /* asked again, or by another */
		struct msg_publish_reply answer = { .already = true };
		reply(c, received, &answer);
		return;
	}
	c->publishing = (struct publishing){ .unpublished = coordinator__gated(c) };
	c->withheld = (struct buf)BUF_INIT;                                           /* they are asked again */
	int rc = coordinator__publish_removal(c, "publishing goes on", &publish, &e); /* all of it without a gate */
	if (rc == 0)
		rc = resume_write(c, received, &withheld, &publish, &e);
	if (rc != 0) {
		c->publishing = before;
		c->withheld = withheld;
		coordinator__txn_failed(c, &e);
		if (c->failure.code == 0)
			refuse(c, received, &e);
		return;
	}
	buf_free(&withheld);
	log_event(LOG_INFO, "COORDINATOR-PUBLISHING-RESUMED", LOGF_X("by", received->peer_key, 8));
	coordinator__candidate_end(c, false);
	coordinator__publish_done(c, &publish);
	struct msg_publish_reply answer = { .version = publish.version, .content = publish.content };
	reply(c, received, &answer);
}

/* --- A candidate. */

static void judge(struct coordinator *c, const struct msg_received *received)
{
	const struct msg_publish *ask = &received->msg.u.publish;
	const bool approves = ask->action == MSG_PUBLISH_APPROVE;
	struct msg_publish_reply answer = { .content = ask->content };
	struct err e = ERR_INIT;
	int rc = 0;
	if (approves && c->version > 0 && hash_equal(&ask->content, &c->version_content)) /* its answer was lost */
		answer.already = true;
	else if (approves)
		rc = coordinator__candidate_approve(c, received->peer_key, &ask->content, &e);
	else
		rc = coordinator__candidate_reject(c, received->peer_key, &ask->content, ask->reason, &e);
	if (c->failure.code != 0)
		return;
	answer.version = approves ? c->version : 0;
	if (rc != 0)
		refuse(c, received, &e);
	else
		reply(c, received, &answer);
}

void coordinator__recv_publish(struct coordinator *c, const struct msg_received *received)
{
	switch (received->msg.u.publish.action) {
	case MSG_PUBLISH_ROLLBACK:
		rollback(c, received);
		break;
	case MSG_PUBLISH_RESUME:
		resume(c, received);
		break;
	default:
		judge(c, received);
		break;
	}
}
