/* recv_submit.c: taking edits in. Submits wait for one another (commit_edits_max edits or commit_wait_ms), are written
 * in one synced transaction (intake.c), and are answered after it: an answer is a promise. */
#include "coordinator/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(STORE_ID_BYTES - 1 <= MSG_SUBMIT_ID_BYTES_MAX && STORE_REASON_BYTES - 1 <= MSG_SUBMIT_REASON_BYTES_MAX,
	       "an answer's texts must pass the codec");

static void answer_free(struct submit_answer *a)
{
	free(a->results);
	free(a->texts);
	*a = (struct submit_answer){ NULL, NULL };
}

static int answer_new(size_t count, struct submit_answer *a)
{
	a->results = fault_calloc(count + 1, sizeof *a->results);
	a->texts = fault_calloc(count + 1, sizeof *a->texts);
	if (a->results != NULL && a->texts != NULL)
		return 0;
	answer_free(a);
	return ERR_NOMEM;
}

static void answer_send(struct coordinator *c, const struct msg_received *request, struct submit_answer *a,
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
	struct submit_answer a;
	if (answer_new(request->msg.u.submit.record_count, &a) != 0) {
		coordinator__reply_error(c, request, code, reason);
		return;
	}
	for (size_t i = 0; i < request->msg.u.submit.record_count; i++)
		coordinator__result_set(&a, i, code, reason);
	answer_send(c, request, &a, retry_after_ms);
	answer_free(&a);
	c->refused_count += request->msg.u.submit.record_count;
}

static int flush_write(struct coordinator *c, struct submit_answer *answers, struct err *e)
{
	int rc = coordinator__begin(c, e);
	for (size_t s = 0; rc == 0 && s < c->submit_count; s++)
		rc = coordinator__intake(c, c->submits[s], &answers[s], e);
	if (rc != 0)
		return rc;
	return coordinator__commit(c, "coordinator.submit.before_commit", "coordinator.submit.after_commit", e);
}

static void count_results(struct coordinator *c, const struct submit_answer *a, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		c->duplicate_count += a->results[i].code == ERR_EXISTS;
		c->refused_count += a->results[i].code != 0 && a->results[i].code != ERR_EXISTS;
	}
}

static void flush_answer(struct coordinator *c, struct submit_answer *answers, int rc)
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
	struct submit_answer *answers = fault_calloc(c->submit_count, sizeof *answers);
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

/* It would wait for ever, and everybody else for it. */
static void refuse_unqueueable(struct coordinator *c, const struct msg_received *r)
{
	char reason[128];
	snprintf(reason, sizeof reason,
		 "%zu edits at once, and at most %u may wait for training (submit.queue_edits): submit fewer",
		 r->msg.u.submit.record_count, c->config.queue_edits_max);
	refuse_all(c, r, ERR_LIMIT, reason, 0);
}

static bool queue_takes(struct coordinator *c, const struct msg_received *r)
{
	uint64_t queued = c->counts[STORE_EDIT_STATE_ACCEPTED] + c->counts[STORE_EDIT_STATE_PLACED] + c->submit_records;
	size_t count = r->msg.u.submit.record_count;
	return coordinator__turn_take(&c->turns, r->peer_key, count, queued + count <= c->config.queue_edits_max,
				      coordinator__now_ms(c));
}

void coordinator__recv_submit(struct coordinator *c, struct msg_received **received)
{
	struct msg_received *r = *received;
	size_t count = r->msg.u.submit.record_count;
	const bool limited = c->config.queue_edits_max > 0;
	if (c->closed) {
		refuse_all(c, r, ERR_AGAIN, "the coordinator is stopping: try again", RETRY_AFTER_FULL_MS);
	} else if (coordinator__space_low(c)) {
		refuse_all(c, r, ERR_FULL,
			   "the coordinator's disk has less free space than its reserve: free space and try again",
			   RETRY_AFTER_FULL_MS);
	} else if (limited && count > c->config.queue_edits_max) {
		refuse_unqueueable(c, r);
	} else if (limited && !queue_takes(c, r)) {
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
