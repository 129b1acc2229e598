/* recv_submit.c: taking edits in. Submits wait for one another (commit_edits_max edits or commit_wait_ms), are written
 * in one synced transaction, and are answered after it: an answer is a promise. */
#include "coordinator/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(STORE_ID_BYTES - 1 <= MSG_SUBMIT_ID_BYTES_MAX && STORE_REASON_BYTES - 1 <= MSG_SUBMIT_REASON_BYTES_MAX,
	       "an answer's texts must pass the codec");

struct result_text {
	char id[STORE_ID_BYTES], reason[STORE_REASON_BYTES];
};
struct answer { /* to one Submit */
	struct msg_submit_result *results;
	struct result_text *texts;
};

static void answer_free(struct answer *a)
{
	free(a->results);
	free(a->texts);
	*a = (struct answer){ NULL, NULL };
}

static int answer_new(size_t count, struct answer *a)
{
	a->results = fault_calloc(count + 1, sizeof *a->results);
	a->texts = fault_calloc(count + 1, sizeof *a->texts);
	if (a->results != NULL && a->texts != NULL)
		return 0;
	answer_free(a);
	return ERR_NOMEM;
}

static void result_set(struct answer *a, size_t i, int code, const char *reason)
{
	a->results[i].code = code;
	coordinator__copy_text(a->texts[i].reason, sizeof a->texts[i].reason, coordinator__text(reason));
}

static void answer_send(struct coordinator *c, const struct msg_received *request, struct answer *a,
			uint32_t retry_after_ms)
{
	struct msg msg = { .type = MSG_SUBMIT_REPLY };
	size_t count = request->msg.u.submit.record_count;
	for (size_t i = 0; i < count; i++) {
		a->results[i].id = coordinator__text(a->texts[i].id);
		a->results[i].reason = coordinator__text(a->texts[i].reason);
	}
	msg.u.submit_reply.results = a->results;
	msg.u.submit_reply.result_count = count;
	msg.u.submit_reply.retry_after_ms = retry_after_ms;
	coordinator__reply(c, request, &msg);
}

static void refuse_all(struct coordinator *c, const struct msg_received *request, int code, const char *reason,
		       uint32_t retry_after_ms)
{
	struct answer a;
	if (answer_new(request->msg.u.submit.record_count, &a) != 0) {
		coordinator__reply_error(c, request, code, reason);
		return;
	}
	for (size_t i = 0; i < request->msg.u.submit.record_count; i++)
		result_set(&a, i, code, reason);
	answer_send(c, request, &a, retry_after_ms);
	answer_free(&a);
	c->refused_count += request->msg.u.submit.record_count;
}

/* Takes an edit that its worker has not been given out of its shard's list: nobody needs to hear of it. */
static void leave_shard(struct coordinator *c, const struct store_edit *edit)
{
	struct shard *shard = edit->shard != 0 ? coordinator__shard_find(c, edit->shard) : NULL;
	size_t place = shard != NULL ? coordinator__shard_place(shard, edit->seq) : SIZE_MAX;
	if (place != SIZE_MAX && place >= shard->rec.trained_count + shard->rec.group_count)
		coordinator__shard_remove(shard, place);
}

static int supersede(struct coordinator *c, uint64_t seq, uint64_t by, struct err *e)
{
	struct store_edit edit;
	int rc = store_edit_get(c->txn, seq, &edit, e);
	if (rc != 0)
		return rc;
	edit.superseded_by = by;
	char reason[64];
	snprintf(reason, sizeof reason, "superseded by edit %" PRIu64, by);
	rc = coordinator__edit_move(c, &edit, STORE_EDIT_STATE_SUPERSEDED, reason, e);
	if (rc == 0)
		leave_shard(c, &edit);
	return rc;
}

struct intake { /* one record on its way into the transaction */
	const struct msg_bytes *bytes;
	const uint8_t *actor;
	struct record *record;
	struct buf subject, conflicts;
	struct store_edit edit;
};

static int intake_write(struct coordinator *c, struct intake *in, bool supersedes, struct err *e)
{
	struct store_edit *edit = &in->edit;
	const uint64_t *earlier = (const void *)in->conflicts.data;
	size_t earlier_count = supersedes ? in->conflicts.len / sizeof *earlier : 0;
	int rc = store_event_append(c->txn, STORE_EVENT_EDIT_ACCEPTED, in->actor, in->bytes->bytes, in->bytes->len,
				    &edit->seq, e);
	for (size_t i = 0; rc == 0 && i < earlier_count; i++) {
		edit->supersedes = earlier[i];
		rc = supersede(c, earlier[i], edit->seq, e);
	}
	edit->state = STORE_EDIT_STATE_ACCEPTED;
	edit->accepted_ms = env_wall_ms(c->env);
	if (rc == 0)
		rc = coordinator__place(c, edit, &in->subject, e);
	if (rc == 0)
		rc = store_edit_put(c->txn, edit, e);
	if (rc == 0)
		rc = store_subject_add(c->txn, in->subject.data, in->subject.len, edit->seq, e);
	if (rc == 0)
		c->counts[edit->state]++;
	return rc;
}

/* What makes a record refused is put into the answer, and gives 0 here; an error of the store is returned. */
static int intake_decide(struct coordinator *c, struct intake *in, enum msg_on_conflict policy, struct answer *a,
			 size_t i, struct err *e)
{
	uint64_t first = 0;
	int rc = coordinator__edit_id(c, in->record, &in->edit.content, in->edit.id, &first, e);
	coordinator__copy_text(a->texts[i].id, sizeof a->texts[i].id, coordinator__text(in->edit.id));
	if (rc == ERR_EXISTS || rc == ERR_CONFLICT || rc == ERR_LIMIT) {
		result_set(a, i, rc, e->text);
		a->results[i].seq = rc == ERR_EXISTS ? first : 0;
		err_clear(e);
		return 0;
	}
	if (rc == 0)
		rc = record_subject_key(in->record, &in->subject) != 0 ? err_set(e, ERR_NOMEM, "subject: out of memory")
								       : 0;
	if (rc == 0 && policy != MSG_KEEP)
		rc = coordinator__conflicts(c, in->record, &in->subject, &in->conflicts, e);
	if (rc != 0)
		return rc;
	if (policy == MSG_REJECT && in->conflicts.len > 0) {
		struct store_edit earlier;
		char reason[STORE_ID_BYTES + 160];
		rc = store_edit_get(c->txn, ((const uint64_t *)(const void *)in->conflicts.data)[0], &earlier, e);
		if (rc != 0)
			return rc;
		snprintf(reason, sizeof reason,
			 "contradicts edit %s (seq %" PRIu64
			 "): submit it with --on-conflict supersede (or keep) if that is meant",
			 earlier.id, earlier.seq);
		result_set(a, i, ERR_CONFLICT, reason);
		return 0;
	}
	rc = intake_write(c, in, policy == MSG_SUPERSEDE, e);
	if (rc == 0) {
		a->results[i].seq = in->edit.seq;
		a->results[i].supersedes = in->edit.supersedes;
	}
	return rc;
}

static int intake_one(struct coordinator *c, const struct msg_received *request, struct answer *a, size_t i,
		      struct err *e)
{
	const struct msg_submit *submit = &request->msg.u.submit;
	struct intake in = { .bytes = &submit->records[i], .actor = request->peer_key };
	struct err bad = ERR_INIT;
	int rc = record_parse(in.bytes->bytes, in.bytes->len, &in.record, &bad);
	if (rc != 0) {
		result_set(a, i, rc, bad.text);
		return 0;
	}
	hash_of(in.bytes->bytes, in.bytes->len, &in.edit.content);
	rc = intake_decide(c, &in, submit->on_conflict, a, i, e);
	if (rc == ERR_INVALID && in.edit.seq == 0) { /* the store refuses its text: nothing of it was written */
		result_set(a, i, rc, e->text);
		err_clear(e);
		rc = 0;
	}
	record_destroy(&in.record);
	buf_free(&in.subject);
	buf_free(&in.conflicts);
	return rc;
}

static int flush_write(struct coordinator *c, struct answer *answers, struct err *e)
{
	int rc = coordinator__begin(c, e);
	for (size_t s = 0; rc == 0 && s < c->submit_count; s++) {
		const struct msg_received *request = c->submits[s];
		for (size_t i = 0; rc == 0 && i < request->msg.u.submit.record_count; i++)
			rc = intake_one(c, request, &answers[s], i, e);
	}
	if (rc != 0)
		return rc;
	return coordinator__commit(c, "coordinator.submit.before_commit", "coordinator.submit.after_commit", e);
}

static void count_results(struct coordinator *c, const struct answer *a, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		c->duplicate_count += a->results[i].code == ERR_EXISTS;
		c->refused_count += a->results[i].code != 0 && a->results[i].code != ERR_EXISTS;
	}
}

static void flush_answer(struct coordinator *c, struct answer *answers, int rc)
{
	for (size_t s = 0; s < c->submit_count; s++) {
		const struct msg_received *request = c->submits[s];
		if (rc == 0) {
			answer_send(c, request, &answers[s], 0);
			count_results(c, &answers[s], request->msg.u.submit.record_count);
		} else {
			refuse_all(c, request, rc,
				   rc == ERR_AGAIN ? "the ledger had to grow first; nothing was kept: try again"
						   : "the coordinator's disk is full or at its limit; nothing was "
						     "kept: free space "
						     "and try again",
				   rc == ERR_AGAIN ? RETRY_AFTER_AGAIN_MS : RETRY_AFTER_FULL_MS);
		}
	}
}

void coordinator__submits_drop(struct coordinator *c)
{
	for (size_t s = 0; s < c->submit_count; s++)
		msg_free(&c->submits[s]);
	c->submit_count = c->submit_records = 0;
}

void coordinator__submit_flush(struct coordinator *c)
{
	struct err e = ERR_INIT;
	if (c->submit_count == 0)
		return;
	struct answer *answers = fault_calloc(c->submit_count, sizeof *answers);
	int rc = answers == NULL ? err_set(&e, ERR_NOMEM, "answers: out of memory") : 0;
	for (size_t s = 0; rc == 0 && s < c->submit_count; s++) {
		if (answer_new(c->submits[s]->msg.u.submit.record_count, &answers[s]) != 0)
			rc = err_set(&e, ERR_NOMEM, "answers: out of memory");
	}
	if (rc == 0)
		rc = flush_write(c, answers, &e);
	if (rc != 0)
		coordinator__txn_failed(c, &e);
	if (c->failure.code == 0) /* a stopped coordinator says nothing: what it kept is known after its restart */
		flush_answer(c, answers, rc);
	for (size_t s = 0; answers != NULL && s < c->submit_count; s++)
		answer_free(&answers[s]);
	free(answers);
	coordinator__submits_drop(c);
	if (c->failure.code == 0)
		coordinator__advance(c);
}

void coordinator__recv_submit(struct coordinator *c, struct msg_received **received)
{
	struct msg_received *r = *received;
	size_t count = r->msg.u.submit.record_count;
	uint64_t queued = c->counts[STORE_EDIT_STATE_ACCEPTED] + c->counts[STORE_EDIT_STATE_PLACED] + c->submit_records;
	if (c->closed) {
		refuse_all(c, r, ERR_AGAIN, "the coordinator is stopping: try again", RETRY_AFTER_FULL_MS);
	} else if (coordinator__space_low(c)) {
		refuse_all(c, r, ERR_FULL,
			   "the coordinator's disk has less free space than its reserve: free space and try again",
			   RETRY_AFTER_FULL_MS);
	} else if (c->config.queue_edits_max != 0 && queued + count > c->config.queue_edits_max) {
		refuse_all(c, r, ERR_AGAIN, "too many edits wait for training: try again", RETRY_AFTER_AGAIN_MS);
	} else {
		if (c->submit_count > 0 && c->submit_records + count > c->config.commit_edits_max)
			coordinator__submit_flush(c);
		if (c->failure.code != 0)
			return;
		if (c->submit_count == 0)
			c->submit_since_ms = coordinator__now_ms(c);
		c->submits[c->submit_count++] = r;
		c->submit_records += count;
		*received = NULL;
		if (c->submit_records >= c->config.commit_edits_max || c->submit_count == SUBMITS_PENDING_MAX)
			coordinator__submit_flush(c);
	}
}
