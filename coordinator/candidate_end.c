/* candidate_end.c: what becomes of a candidate: a version, a refusal, or what a start without its gate makes of it. */
#include "coordinator/internal.h"

#include <stdio.h>
#include <string.h>

static int publish_write(struct coordinator *c, const struct publish_cause *cause, struct store_version *rec,
			 struct err *e)
{
	int rc = coordinator__begin(c, e);
	if (rc == 0)
		rc = coordinator__version_put(c, rec, cause, e);
	if (rc == 0)
		rc = coordinator__held_release(c, rec->version, &c->candidate, e);
	if (rc == 0)
		rc = coordinator__candidate_put(c, NULL, e);
	return rc == 0 ? coordinator__commit(c, "coordinator.approve.before_commit", "coordinator.approve.after_commit",
					     e)
		       : rc;
}

/* A merged memory that no version has had yet lies here alone: nobody has read it since its gate. */
static int merges_read(struct coordinator *c, struct err *e)
{
	bool whole = true;
	int rc = 0;
	for (size_t i = 0; rc == 0 && whole && i < c->merge_count; i++)
		if (c->merges[i].version == 0 && coordinator__seqs_hold(&c->candidate.merges, c->merges[i].id))
			rc = coordinator__merge_read(c, &c->merges[i], &whole, e);
	return rc != 0 || whole ? rc : err_set(e, ERR_CORRUPT, "chunks of its merged memory are damaged here");
}

int coordinator__candidate_publish(struct coordinator *c, const struct publish_cause *cause, struct err *e)
{
	struct store_version rec = c->candidate.rec;
	bool apart;
	rec.published_ms = env_wall_ms(c->env);
	if (coordinator__candidate_stale(c)) /* it could not be renewed yet */
		return err_set(e, ERR_AGAIN, "what the candidate serves has ended since: try again");
	int rc = merges_read(c, e);
	if (rc == 0)
		rc = coordinator__version_whole(c, &rec.root, &apart, e);
	if (rc != 0) {
		err_wrap(e, "the candidate cannot be loaded");
		return rc;
	}
	rc = publish_write(c, cause, &rec, e);
	if (rc != 0) {
		coordinator__txn_failed(c, e);
		return rc;
	}
	coordinator__held_released(c, rec.version, &c->candidate);
	coordinator__candidate_end(c, true);
	coordinator__version_done(c, &rec);
	return 0;
}

void coordinator__candidate_json(const struct candidate *candidate, const char *what, struct json_w *w)
{
	json_w_open(w, '{');
	json_w_member_str(w, "candidate", what);
	json_w_member_uint(w, "version", candidate->rec.version);
	json_w_member_hash(w, "content", &candidate->rec.content);
	json_w_member_str(w, "note", candidate->rec.note);
	json_w_member_str(w, "reason", candidate->reason);
}

int coordinator__candidate_refuse(struct coordinator *c, const struct candidate *refused, const uint8_t *actor,
				  struct buf *json, struct err *e)
{
	const struct withholding none = { .seqs = BUF_INIT, .merges = true };
	return coordinator__candidate_withhold(c, refused, &none, actor, json, e);
}

int coordinator__candidate_withhold(struct coordinator *c, const struct candidate *refused,
				    const struct withholding *withholding, const uint8_t *actor, struct buf *json,
				    struct err *e)
{
	struct candidate next = *refused; /* the lists stay those of c->candidate */
	struct buf withheld = BUF_INIT;
	bool merges = false;
	sm_move(&next.sm, CANDIDATE_REFUSED);
	next.since_ms = env_wall_ms(c->env);
	int rc = coordinator__begin(c, e);
	if (rc == 0)
		rc = coordinator__event(c, STORE_EVENT_CONFIG_CHANGED, actor, json, NULL, e);
	else
		buf_free(json);
	if (rc == 0)
		rc = coordinator__candidate_put(c, &next, e);
	if (rc == 0 && withholding->merges)
		rc = coordinator__merges_refuse(c, &next, &merges, e);
	if (rc == 0 && withholding->seqs.len > 0)
		rc = coordinator__withheld_add(c, &withholding->seqs, next.reason, &withheld, e);
	if (rc == 0 && (merges || withholding->rest))
		rc = coordinator__unpublished_put(c, e); /* the rest of it may pass */
	if (rc == 0)
		rc = coordinator__commit(c, "coordinator.refuse.before_commit", "coordinator.refuse.after_commit", e);
	if (rc != 0) {
		coordinator__txn_failed(c, e);
		buf_free(&withheld);
		return rc;
	}
	if (withholding->seqs.len > 0) {
		buf_free(&c->withheld);
		c->withheld = withheld;
	}
	c->candidate = next;
	c->candidate.look = true; /* there may be something new already */
	if (merges)
		coordinator__merges_refused(c);
	log_event(LOG_WARN, "COORDINATOR-CANDIDATE-REFUSED", LOGF_U("version", next.rec.version),
		  LOGF_X("content", next.rec.content.bytes, 8), LOGF_X("by", actor, 8), LOGF_S("reason", next.reason));
	return 0;
}

int coordinator__candidate_let_through(struct coordinator *c, struct err *e)
{
	const struct publishing next = { .paused = false };
	struct store_version publish;
	int rc = coordinator__publish_prepare(c, NULL, "what a gate had held", &publish, e);
	if (rc == 0)
		rc = coordinator__begin(c, e);
	if (rc == 0)
		rc = coordinator__candidate_put(c, NULL, e);
	if (rc == 0)
		rc = coordinator__publishing_put(c, &next, e);
	if (rc == 0)
		rc = coordinator__publish_put(c, &publish, e);
	if (rc == 0)
		rc = coordinator__commit(c, NULL, NULL, e);
	if (rc != 0)
		return rc;
	coordinator__candidate_end(c, true);
	coordinator__publish_done(c, &publish);
	return 0;
}

int coordinator__candidate_pause(struct coordinator *c, struct err *e)
{
	struct buf withheld = BUF_INIT;
	int rc = coordinator__withheld_list(c, &withheld, e);
	const size_t count = withheld.len / sizeof(uint64_t);
	buf_free(&withheld);
	if (rc != 0)
		return rc;
	struct publishing next = { .paused = true, .unpublished = true, .paused_ms = env_wall_ms(c->env) };
	struct buf json = BUF_INIT;
	struct json_w w;
	memcpy(next.paused_by, c->key, sizeof next.paused_by);
	if (c->candidate.sm.state == CANDIDATE_REFUSED)
		snprintf(next.reason, sizeof next.reason,
			 "a candidate was refused before its gate was switched off: %.180s", c->candidate.reason);
	else
		snprintf(next.reason, sizeof next.reason, "%zu edit%s withheld before the gate was switched off", count,
			 count == 1 ? " was" : "s were");
	json_w_init(&w, &json);
	json_w_open(&w, '{');
	json_w_member_str(&w, "publishing", "paused");
	json_w_member_str(&w, "reason", next.reason);
	json_w_close(&w);
	rc = coordinator__begin(c, e);
	if (rc == 0)
		rc = coordinator__event(c, STORE_EVENT_CONFIG_CHANGED, NULL, &json, NULL, e);
	else
		buf_free(&json);
	if (rc == 0)
		rc = coordinator__candidate_put(c, NULL, e);
	if (rc == 0)
		rc = coordinator__publishing_put(c, &next, e);
	if (rc == 0)
		rc = coordinator__withheld_put(c, &(struct buf)BUF_INIT, e);
	if (rc == 0)
		rc = coordinator__commit(c, NULL, NULL, e);
	if (rc != 0)
		return rc;
	c->publishing = next;
	buf_clear(&c->withheld);
	log_event(LOG_WARN, "COORDINATOR-PUBLISHING-PAUSED", LOGF_S("reason", next.reason));
	coordinator__candidate_end(c, false);
	return 0;
}
