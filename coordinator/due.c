/* due.c: edits that begin (valid_from) or end (expires) by themselves, by this coordinator's wall clock. What the clock
 * has once caused stands in the ledger: a clock that jumps back changes nothing of it. */
#include "coordinator/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define DUE_BATCH 500 /* edits that begin in one transaction; more when a group must not be cut */

static int due_push(struct coordinator *c, int64_t at_ms, uint64_t seq, bool begins, struct err *e)
{
	if (c->due_count == c->due_cap) {
		size_t cap = c->due_cap == 0 ? 64 : c->due_cap * 2;
		struct due *dues = fault_realloc(c->dues, cap * sizeof *dues);
		if (dues == NULL)
			return err_set(e, ERR_NOMEM, "edits that begin or end by themselves: out of memory");
		c->dues = dues;
		c->due_cap = cap;
	}
	c->dues[c->due_count++] = (struct due){ at_ms, seq, begins };
	if (at_ms < c->due_next_ms)
		c->due_next_ms = at_ms;
	return 0;
}

int coordinator__due_add(struct coordinator *c, const struct store_edit *edit, struct err *e)
{
	int rc = edit->expires_ms != 0 ? due_push(c, edit->expires_ms, edit->seq, false, e) : 0;
	if (rc == 0 && edit->state == STORE_EDIT_STATE_SCHEDULED)
		rc = due_push(c, edit->valid_from_ms, edit->seq, true, e);
	return rc;
}

static int by_time(const void *a, const void *b)
{
	const struct due *x = a, *y = b;
	if (x->at_ms != y->at_ms)
		return x->at_ms < y->at_ms ? -1 : 1;
	return (x->seq > y->seq) - (x->seq < y->seq);
}

/* Puts those that are due first, by time and ledger order, and gives their number. */
static size_t due_sort(struct coordinator *c, int64_t now)
{
	size_t n = 0;
	qsort(c->dues, c->due_count, sizeof *c->dues, by_time);
	while (n < c->due_count && c->dues[n].at_ms <= now)
		n++;
	return n;
}

static void due_drop(struct coordinator *c, size_t n, int64_t now)
{
	size_t kept = 0;
	for (size_t i = 0; i < c->due_count; i++) {
		if (i >= n || c->dues[i].at_ms > now)
			c->dues[kept++] = c->dues[i];
	}
	c->due_count = kept;
	c->due_next_ms = INT64_MAX;
	for (size_t i = 0; i < kept; i++) {
		if (c->dues[i].at_ms < c->due_next_ms)
			c->due_next_ms = c->dues[i].at_ms;
	}
}

/* A seq may be of a transaction that was given up, and another event's now: only the ledger says what is due. */
static int overdue(struct coordinator *c, size_t n, int64_t now, uint64_t *seqs, size_t *count, struct err *e)
{
	struct store_txn *txn = NULL;
	int rc = store_begin_read(c->store, &txn, e);
	for (size_t i = 0; rc == 0 && i < n; i++) {
		struct store_edit edit;
		if (c->dues[i].begins)
			continue;
		rc = store_edit_get(txn, c->dues[i].seq, &edit, e);
		if (rc == 0 && edit.expires_ms != 0 && edit.expires_ms <= now)
			seqs[(*count)++] = edit.seq;
		if (rc == ERR_NOT_FOUND) {
			err_clear(e);
			rc = 0;
		}
	}
	store_abort(&txn);
	return rc;
}

static int expire(struct coordinator *c, size_t n, int64_t now, struct err *e)
{
	static const char reason[] = "its time (expires) has passed";
	struct ending_result result = { .version = 0 };
	uint64_t *seqs = fault_malloc((n + 1) * sizeof *seqs);
	size_t count = 0;
	int rc = seqs != NULL ? overdue(c, n, now, seqs, &count, e)
			      : err_set(e, ERR_NOMEM, "%zu edits that expire: out of memory", n);
	if (rc != 0) {
		free(seqs);
		coordinator__txn_failed(c, e);
		return rc;
	}
	struct ending ending = {
		.seqs = seqs, .count = count, .state = STORE_EDIT_STATE_EXPIRED, .reason = coordinator__text(reason)
	};
	rc = count > 0 ? coordinator__edits_end(c, &ending, &result, e) : 0;
	free(seqs);
	if (rc == 0 && result.ended_count > 0)
		log_event(LOG_INFO, "COORDINATOR-EDITS-EXPIRED", LOGF_U("edits", result.ended_count),
			  LOGF_U("version", result.version));
	return rc;
}

/* --- Beginning. */

int coordinator__due_event(struct coordinator *c, uint64_t seq, uint64_t *event, struct err *e)
{
	struct buf json = BUF_INIT;
	struct json_w w;
	json_w_init(&w, &json);
	json_w_open(&w, '{');
	json_w_member_uint(&w, "seq", seq);
	json_w_close(&w);
	return coordinator__event(c, STORE_EVENT_EDIT_DUE, NULL, &json, event, e);
}

/* Of whom submitted it, today. */
static int roles_of(struct coordinator *c, uint64_t seq, unsigned *roles, struct err *e)
{
	struct store_event event;
	*roles = PROTO_ROLE_ALL;
	int rc = c->allow != NULL ? store_event_get(c->txn, seq, &event, e) : 0;
	if (rc == 0 && c->allow != NULL)
		*roles = proto_allow_roles(c->allow, event.actor, NULL);
	return rc;
}

/* What it contradicts today. `refused`: it was submitted to be rejected then, or to be kept where nothing can be, or
 * may not supersede that. */
static int meets(struct coordinator *c, const struct store_edit *edit, const struct record *record,
		 const struct edit_keys *keys, struct buf *earlier, bool *refused, struct err *e)
{
	enum msg_on_conflict policy = (enum msg_on_conflict)edit->on_conflict;
	int rc = coordinator__conflicts(c, record, keys, policy, earlier, e);
	unsigned roles;
	uint64_t seq = 0;
	*refused = rc == 0 && policy != MSG_SUPERSEDE && earlier->len > 0;
	if (rc == 0 && policy == MSG_SUPERSEDE)
		rc = roles_of(c, edit->seq, &roles, e);
	if (rc == 0 && policy == MSG_SUPERSEDE)
		rc = coordinator__ends_approved(c, edit, roles, earlier, &seq, e);
	*refused = *refused || seq != 0;
	return rc;
}

static int supersede(struct coordinator *c, struct store_edit *edit, struct record **record, const struct buf *earlier,
		     struct err *e)
{
	struct buf names = BUF_INIT;
	int rc = coordinator__names_take(c, record, earlier, &names, e);
	if (rc == 0)
		rc = coordinator__names_put(c, edit->seq, &names, e);
	buf_free(&names);
	return rc == 0 ? coordinator__supersede(c, edit, earlier, NULL, e) : rc;
}

static int begin_write(struct coordinator *c, struct store_edit *edit, struct record **record,
		       const struct edit_keys *keys, struct err *e)
{
	struct buf earlier = BUF_INIT;
	bool refused = false;
	int rc = coordinator__due_event(c, edit->seq, NULL, e);
	if (rc == 0)
		rc = meets(c, edit, *record, keys, &earlier, &refused, e);
	if (rc == 0 && refused) {
		char reason[96];
		snprintf(reason, sizeof reason, "when its time came it contradicted edit %" PRIu64,
			 *(const uint64_t *)(const void *)earlier.data);
		rc = coordinator__edit_move(c, edit, STORE_EDIT_STATE_REJECTED, reason, e);
		buf_free(&earlier);
		return rc;
	}
	if (rc == 0 && edit->on_conflict == MSG_SUPERSEDE)
		rc = supersede(c, edit, record, &earlier, e);
	buf_free(&earlier);
	c->counts[STORE_EDIT_STATE_SCHEDULED]--;
	edit->state = STORE_EDIT_STATE_ACCEPTED;
	if (rc == 0)
		rc = coordinator__place(c, edit, keys, e);
	c->counts[edit->state]++;
	return rc == 0 ? store_edit_put(c->txn, edit, e) : rc;
}

static int begin_one(struct coordinator *c, struct store_edit *edit, struct err *e)
{
	struct record *record = NULL;
	struct edit_keys keys = EDIT_KEYS_INIT;
	int rc = coordinator__record_of(c, edit->seq, &record, e);
	if (rc == ERR_INVALID) { /* kept under older rules */
		struct err bad = *e;
		err_clear(e);
		return coordinator__edit_move(c, edit, STORE_EDIT_STATE_REJECTED, bad.text, e);
	}
	if (rc == 0)
		rc = coordinator__keys_of(record, &keys, e);
	if (rc == 0)
		rc = begin_write(c, edit, &record, &keys, e);
	coordinator__keys_free(&keys);
	record_destroy(&record);
	return rc;
}

/* All or nothing: whether one of the group that begins at dues[from] would be rejected. */
static int group_refused(struct coordinator *c, const struct due *from, size_t count, bool *refused, struct err *e)
{
	int rc = 0;
	*refused = false;
	for (size_t i = 0; rc == 0 && !*refused && i < count; i++) {
		struct store_edit edit;
		struct record *record = NULL;
		struct edit_keys keys = EDIT_KEYS_INIT;
		struct buf earlier = BUF_INIT;
		rc = from[i].begins ? store_edit_get(c->txn, from[i].seq, &edit, e) : ERR_NOT_FOUND;
		bool member = rc == 0 && edit.group == from->seq && edit.state == STORE_EDIT_STATE_SCHEDULED;
		if (rc == ERR_NOT_FOUND || (rc == 0 && !member)) {
			err_clear(e);
			rc = 0;
			continue;
		}
		if (rc == 0)
			rc = coordinator__record_of(c, edit.seq, &record, e);
		if (rc == 0)
			rc = coordinator__keys_of(record, &keys, e);
		if (rc == 0)
			rc = meets(c, &edit, record, &keys, &earlier, refused, e);
		record_destroy(&record);
		coordinator__keys_free(&keys);
		buf_free(&earlier);
		if (rc == ERR_INVALID) {
			err_clear(e);
			*refused = true;
			rc = 0;
		}
	}
	return rc;
}

/* The transaction of the first `n`; *taken is where it stopped. */
static int begin_batch(struct coordinator *c, size_t n, size_t *taken, struct err *e)
{
	uint64_t group = 0;
	bool refused = false;
	int rc = coordinator__begin(c, e);
	for (*taken = 0; rc == 0 && *taken < n; (*taken)++) {
		struct store_edit edit;
		const struct due *due = &c->dues[*taken];
		if (!due->begins)
			continue;
		rc = store_edit_get(c->txn, due->seq, &edit, e);
		bool waits = rc == 0 && edit.state == STORE_EDIT_STATE_SCHEDULED && edit.valid_from_ms <= due->at_ms;
		if (rc == ERR_NOT_FOUND) {
			err_clear(e);
			rc = 0;
		}
		if (!waits)
			continue;
		bool same = edit.group != 0 && edit.group == group;
		if (*taken >= DUE_BATCH && !same)
			break;
		if (!same)
			refused = false;
		if (!same && edit.group == edit.seq)
			rc = group_refused(c, due, n - *taken, &refused, e);
		group = edit.group;
		if (rc == 0 && refused)
			rc = coordinator__edit_move(c, &edit, STORE_EDIT_STATE_REJECTED,
						    "when its time came an edit of its group contradicted another", e);
		else if (rc == 0)
			rc = begin_one(c, &edit, e);
	}
	return rc == 0 ? coordinator__commit(c, "coordinator.due.before_commit", "coordinator.due.after_commit", e)
		       : rc;
}

void coordinator__due_advance(struct coordinator *c)
{
	int64_t now = env_wall_ms(c->env);
	struct err e = ERR_INIT;
	if (c->closed || c->due_next_ms > now || coordinator__write_held(c))
		return;
	size_t n = due_sort(c, now), taken = 0;
	if (expire(c, n, now, &e) != 0)
		return; /* first: what is over by now need not begin */
	bool begins = false;
	for (size_t i = 0; i < n; i++)
		begins = begins || c->dues[i].begins;
	if (begins && begin_batch(c, n, &taken, &e) != 0) {
		coordinator__txn_failed(c, &e);
		return;
	}
	due_drop(c, begins ? taken : n, now);
}
