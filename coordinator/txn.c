/* txn.c: the coordinator's one open transaction, its events, and what happens when it fails. */
#include "coordinator/internal.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

int coordinator__begin(struct coordinator *c, struct err *e)
{
	assert(c->txn == NULL);
	return store_begin(c->store, &c->txn, e);
}

void coordinator__touch(struct shard *shard)
{
	shard->touched = true;
}

bool coordinator__edit_live(int state)
{
	return state == STORE_EDIT_STATE_ACCEPTED || state == STORE_EDIT_STATE_PLACED ||
	       state == STORE_EDIT_STATE_TRAINED || state == STORE_EDIT_STATE_SERVED;
}

bool coordinator__state_ended(int state)
{
	return !coordinator__edit_live(state) && state != STORE_EDIT_STATE_SUPERSEDED;
}

/* One event for all edits that one transaction placed on a shard. */
static int placed_event(struct coordinator *c, struct shard *shard, struct err *e)
{
	struct buf json = BUF_INIT;
	struct json_w w;
	json_w_init(&w, &json);
	json_w_open(&w, '{');
	json_w_member_uint(&w, "shard", shard->rec.id);
	json_w_key(&w, "seqs");
	json_w_open(&w, '[');
	for (size_t i = shard->placed_from; i < shard->rec.seq_count; i++)
		json_w_uint(&w, shard->rec.seqs[i]);
	json_w_close(&w);
	json_w_close(&w);
	return coordinator__event(c, STORE_EVENT_EDIT_PLACED, NULL, &json, NULL, e);
}

static int write_touched(struct coordinator *c, struct err *e)
{
	for (size_t i = 0; i < c->shard_count; i++) {
		struct shard *shard = c->shards[i];
		if (!shard->touched)
			continue;
		int rc = 0;
		if (shard->placed_from < shard->rec.seq_count)
			rc = placed_event(c, shard, e);
		if (rc == 0)
			rc = store_shard_put(c->txn, &shard->rec, e);
		if (rc != 0) {
			err_wrap(e, "shard %" PRIu64, shard->rec.id);
			return rc;
		}
	}
	return 0;
}

static void untouch(struct coordinator *c)
{
	for (size_t i = 0; i < c->shard_count; i++) {
		c->shards[i]->touched = c->shards[i]->created = false;
		c->shards[i]->placed_from = SIZE_MAX;
	}
}

int coordinator__commit(struct coordinator *c, const char *fault_before, const char *fault_after, struct err *e)
{
	uint64_t last = 0;
	int rc = write_touched(c, e);
	if (rc == 0)
		rc = store_event_last(c->txn, &last, NULL, e);
	if (rc == 0 && fault_before != NULL && fault_point(fault_before) != 0)
		rc = err_set(e, ERR_FAULT, "planted fault at %s", fault_before);
	if (rc == 0)
		rc = store_commit(&c->txn, e);
	if (rc != 0)
		return rc;
	c->last_seq = last;
	c->write_retry_ms = 0;
	c->write_reason[0] = '\0';
	for (size_t i = 0; i < c->shard_count; i++) {
		if (c->shards[i]->created)
			log_event(LOG_INFO, "COORDINATOR-SHARD-OPENED", LOGF_U("shard", c->shards[i]->rec.id));
	}
	untouch(c);
	if (fault_after != NULL && fault_point(fault_after) != 0)
		return err_set(e, ERR_FAULT, "planted fault at %s", fault_after);
	return 0;
}

static int read_back(struct coordinator *c, struct err *e)
{
	struct store_txn *txn = NULL;
	int rc = store_begin_read(c->store, &txn, e);
	for (size_t i = c->shard_count; rc == 0 && i-- > 0;) {
		bool gone = false;
		if (!c->shards[i]->touched)
			continue;
		rc = coordinator__shard_reload(txn, c->shards[i], &gone, e);
		if (rc == 0 && gone)
			coordinator__shard_drop(c, i);
	}
	if (rc == 0)
		rc = store_edit_count(txn, c->counts, e);
	store_abort(&txn);
	return rc;
}

bool coordinator__write_held(const struct coordinator *c)
{
	return c->write_retry_ms != 0 && coordinator__now_ms(c) < c->write_retry_ms;
}

/* store.h: after these nothing of the transaction is kept, and a later one may pass. */
static bool may_pass(int code)
{
	return code == ERR_FULL || code == ERR_LIMIT || code == ERR_NOMEM || code == ERR_AGAIN;
}

void coordinator__txn_failed(struct coordinator *c, struct err *e)
{
	store_abort(&c->txn);
	if (may_pass(e->code)) {
		struct err back = ERR_INIT;
		c->write_retry_ms = coordinator__now_ms(c) + WRITE_RETRY_MS;
		coordinator__copy_text(c->write_reason, sizeof c->write_reason, coordinator__text(e->text));
		log_event(LOG_WARN, "COORDINATOR-WRITE-REFUSED", LOGF_S("code", err_name(e->code)),
			  LOGF_S("reason", e->text));
		if (read_back(c, &back) == 0) {
			untouch(c);
			return;
		}
		*e = back;
	}
	coordinator__fail(c, e);
}

void coordinator__write_trial(struct coordinator *c)
{
	struct err e = ERR_INIT;
	if (c->write_reason[0] == '\0' || coordinator__now_ms(c) < c->write_retry_ms + WRITE_TRIAL_MS)
		return;
	int rc = coordinator__begin(c, &e);
	if (rc == 0)
		rc = store_meta_put(c->txn, STORE_META_CLUSTER_ID, c->cluster_id, strlen(c->cluster_id), &e);
	if (rc == 0)
		rc = coordinator__commit(c, NULL, NULL, &e);
	if (rc != 0)
		coordinator__txn_failed(c, &e);
}

int coordinator__event(struct coordinator *c, enum store_event_type type, const uint8_t *actor, struct buf *json,
		       uint64_t *seq, struct err *e)
{
	uint64_t at = 0;
	int rc = buf_failed(json) ? err_set(e, ERR_NOMEM, "event %s: out of memory", store_event_name((int)type))
				  : store_event_append(c->txn, type, actor != NULL ? actor : c->key, json->data,
						       json->len, &at, e);
	buf_free(json);
	if (rc == 0 && seq != NULL)
		*seq = at;
	return rc;
}

static int ended_event(struct coordinator *c, struct store_edit *edit, const uint8_t *actor, struct err *e)
{
	struct buf json = BUF_INIT;
	struct json_w w;
	json_w_init(&w, &json);
	json_w_open(&w, '{');
	json_w_member_uint(&w, "seq", edit->seq);
	json_w_member_str(&w, "state", sm_state_name(&store_edit_states, edit->state));
	if (edit->superseded_by != 0) {
		json_w_member_uint(&w, "by", edit->superseded_by);
	}
	json_w_member_str(&w, "reason", edit->reason);
	json_w_close(&w);
	return coordinator__event(c, STORE_EVENT_EDIT_ENDED, actor, &json, &edit->ended_event, e);
}

/* What it superseded answers until a version replaces it, and this one brings none any more. */
static bool ends_untrained(const struct store_edit *edit, int state)
{
	bool waits = edit->state == STORE_EDIT_STATE_ACCEPTED || edit->state == STORE_EDIT_STATE_PLACED;
	return waits && sm_is_final(&store_edit_states, state) && state != STORE_EDIT_STATE_SUPERSEDED;
}

int coordinator__edit_end(struct coordinator *c, struct store_edit *edit, int state, const uint8_t *actor,
			  const char *reason, struct err *e)
{
	assert(sm_can_move(&store_edit_states, edit->state, state));
	bool replaced_nothing = edit->supersedes != 0 && ends_untrained(edit, state);
	c->counts[edit->state]--;
	c->counts[state]++;
	edit->state = state;
	if (reason != NULL)
		coordinator__copy_text(edit->reason, sizeof edit->reason, coordinator__text(reason));
	struct shard *shard = edit->shard != 0 ? coordinator__shard_find(c, edit->shard) : NULL;
	size_t place = shard != NULL ? coordinator__shard_place(shard, edit->seq) : SIZE_MAX;
	if (place != SIZE_MAX) {
		shard->states[place] = (uint8_t)state;
		coordinator__touch(shard);
	}
	int rc = sm_is_final(&store_edit_states, state) ? ended_event(c, edit, actor, e) : 0;
	if (rc == 0 && replaced_nothing)
		rc = coordinator__unpublished_put(c, e);
	return rc == 0 ? store_edit_put(c->txn, edit, e) : rc;
}

int coordinator__edit_move(struct coordinator *c, struct store_edit *edit, int state, const char *reason, struct err *e)
{
	return coordinator__edit_end(c, edit, state, NULL, reason, e);
}

void coordinator__here_look(struct coordinator *c)
{
	const int64_t now = coordinator__now_ms(c);
	struct err e = ERR_INIT;
	if (now - c->here_checked_ms < SPACE_CHECK_MS)
		return;
	c->here_checked_ms = now;
	if (store_here(c->store, &e) != 0)
		coordinator__fail(c, &e);
}

bool coordinator__space_low(struct coordinator *c)
{
	int64_t now = coordinator__now_ms(c);
	if (c->config.space_reserve_bytes == 0)
		return false;
	if (c->space_checked && now - c->space_checked_ms < SPACE_CHECK_MS)
		return c->space_low;
	struct store_space space;
	struct err e = ERR_INIT;
	if (store_space_get(c->store, &space, &e) != 0) {
		log_event(LOG_WARN, "COORDINATOR-SPACE-UNKNOWN", LOGF_S("reason", e.text));
		return c->space_low;
	}
	bool low = space.disk_free_bytes < c->config.space_reserve_bytes;
	if (low != c->space_low)
		log_event(low ? LOG_WARN : LOG_INFO, "COORDINATOR-SPACE-CHANGED",
			  LOGF_S("state", low ? "low" : "enough"), LOGF_U("free_bytes", space.disk_free_bytes),
			  LOGF_U("reserve_bytes", c->config.space_reserve_bytes));
	c->space_low = low;
	c->space_checked = true;
	c->space_checked_ms = now;
	return low;
}

const char *coordinator__write_trouble(struct coordinator *c)
{
	if (c->write_reason[0] != '\0')
		return c->write_reason;
	return coordinator__space_low(c) ? "its disk has less free space than its reserve: free space" : "";
}
