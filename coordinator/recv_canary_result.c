/* recv_canary_result.c: what a candidate answers to the canaries. Those that ask what one of its edits is about, in the
 * same words, are meant to change. */
#include "coordinator/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* --- Meant to change. */

/* The keys of an edit with this prompt and no subject. */
static int prompt_keys(struct msg_text prompt, struct edit_keys *keys, struct err *e)
{
	struct record *record = NULL;
	struct buf json = BUF_INIT;
	struct json_w w;
	json_w_init(&w, &json);
	json_w_open(&w, '{');
	json_w_member_strn(&w, "prompt", prompt.text, prompt.len);
	json_w_member_str(&w, "target_new", "x");
	json_w_close(&w);
	int rc = buf_failed(&json) ? err_set(e, ERR_NOMEM, "out of memory")
				   : record_parse((const char *)json.data, json.len, &record, e);
	if (rc == 0)
		rc = coordinator__keys_of(record, keys, e);
	record_destroy(&record);
	buf_free(&json);
	return rc;
}

static bool same_prompt(struct coordinator *c, uint64_t seq, const struct edit_keys *keys)
{
	struct record *record = NULL;
	struct edit_keys own = EDIT_KEYS_INIT;
	struct err silent = ERR_INIT;
	bool same = coordinator__record_of(c, seq, &record, &silent) == 0 &&
		    coordinator__keys_of(record, &own, &silent) == 0 && own.prompt.len == keys->prompt.len &&
		    memcmp(own.prompt.data, keys->prompt.data, own.prompt.len) == 0;
	record_destroy(&record);
	coordinator__keys_free(&own);
	return same;
}

/* In c->txn. One whose prompt cannot be an edit's is meant by none. */
static bool is_meant(struct coordinator *c, const struct msg_canary_change *change)
{
	struct edit_keys keys = EDIT_KEYS_INIT;
	struct buf seqs = BUF_INIT;
	struct err silent = ERR_INIT;
	bool meant = false;
	int rc = prompt_keys(change->prompt, &keys, &silent);
	if (rc == 0)
		rc = coordinator__keys_list(c, &keys, &seqs, &silent);
	const uint64_t *list = (const void *)seqs.data;
	for (size_t i = 0; rc == 0 && !meant && i < seqs.len / sizeof *list; i++)
		meant = coordinator__seqs_hold(&c->candidate.seqs, list[i]) && same_prompt(c, list[i], &keys);
	coordinator__keys_free(&keys);
	buf_free(&seqs);
	return meant;
}

static int meant_mark(struct coordinator *c, const struct msg_canary_result *result, bool meant[MSG_CANARY_CHANGES_MAX],
		      uint32_t *changed, struct err *e)
{
	int rc = coordinator__begin(c, e);
	*changed = result->changed_total;
	for (size_t i = 0; rc == 0 && i < result->changed_count; i++) {
		meant[i] = is_meant(c, &result->changed[i]);
		*changed -= meant[i];
	}
	store_abort(&c->txn);
	return rc;
}

/* --- The verdict. */

/* What answered it: an edit by its id, or a memory as a whole. */
static void taker_name(struct coordinator *c, const struct msg_canary_change *change, char *out, size_t out_bytes)
{
	struct store_txn *txn = NULL;
	struct store_edit edit;
	struct err silent = ERR_INIT;
	const bool merged = change->memory >= MERGED_MEMORY_FIRST;
	int rc = change->edit != 0 ? store_begin_read(c->store, &txn, &silent) : ERR_NOT_FOUND;
	if (rc == 0)
		rc = store_edit_get(txn, change->edit, &edit, &silent);
	store_abort(&txn);
	if (rc == 0)
		snprintf(out, out_bytes, "edit %s", edit.id);
	else
		snprintf(out, out_bytes, "%s %" PRIu64, merged ? "merge" : "memory",
			 change->memory - (merged ? MERGED_MEMORY_FIRST : 0));
}

static void reason_write(struct coordinator *c, const struct msg_canary_result *result, const bool *meant,
			 struct candidate *candidate)
{
	char taker[2][STORE_ID_BYTES + 32] = { "", "" }; /* this one's, and the last that was named */
	int at = snprintf(candidate->reason, sizeof candidate->reason,
			  "%" PRIu32 " of %" PRIu32 " canaries changed, %" PRIu32 " may:", candidate->changed,
			  candidate->canaries, c->config.canary_changes);
	for (size_t i = 0; i < result->changed_count; i++) {
		const struct msg_text id = result->changed[i].id;
		const size_t room = sizeof candidate->reason - (size_t)at;
		if (meant[i])
			continue;
		taker_name(c, &result->changed[i], taker[0], sizeof taker[0]);
		const bool same = strcmp(taker[0], taker[1]) == 0;
		if (id.len + strlen(same ? "same" : taker[0]) + 6 > room)
			continue;
		at += snprintf(candidate->reason + at, room, " %.*s (%s)", (int)id.len, id.text,
			       same ? "same" : taker[0]);
		memcpy(taker[1], taker[0], sizeof taker[1]);
	}
}

static void seqs_member(struct json_w *w, const char *key, const uint64_t *seqs, size_t count)
{
	json_w_key(w, key);
	json_w_open(w, '[');
	for (size_t i = 0; i < count; i++)
		json_w_uint(w, seqs[i]);
	json_w_close(w);
}

static int refuse(struct coordinator *c, const struct msg_received *received, const bool *meant,
		  const struct candidate *candidate, const struct withholding *withholding, struct err *e)
{
	const struct msg_canary_result *result = &received->msg.u.canary_result;
	struct buf json = BUF_INIT;
	struct json_w w;
	json_w_init(&w, &json);
	coordinator__candidate_json(candidate, "refused", &w);
	json_w_member_uint(&w, "canaries", candidate->canaries);
	json_w_member_uint(&w, "canaries_changed", candidate->changed);
	json_w_member_hash(&w, "canary_set", &result->canaries);
	json_w_key(&w, "changed");
	json_w_open(&w, '[');
	for (size_t i = 0; i < result->changed_count; i++) {
		const struct msg_canary_change *change = &result->changed[i];
		json_w_open(&w, '{');
		json_w_member_strn(&w, "id", change->id.text, change->id.len);
		json_w_member_strn(&w, "before", change->before.text, change->before.len);
		json_w_member_strn(&w, "after", change->after.text, change->after.len);
		json_w_member_bool(&w, "meant", meant[i]);
		json_w_member_uint(&w, "memory", change->memory);
		json_w_member_uint(&w, "edit", change->edit);
		json_w_close(&w);
	}
	json_w_close(&w);
	seqs_member(&w, "blamed", candidate->blamed, candidate->blamed_count);
	seqs_member(&w, "withheld", (const void *)withholding->seqs.data, withholding->seqs.len / sizeof(uint64_t));
	json_w_close(&w);
	int rc = coordinator__candidate_withhold(c, candidate, withholding, received->peer_key, &json, e);
	c->canary_refused_count += rc == 0;
	return rc;
}

/* On to the approval, or out. */
static int pass(struct coordinator *c, const struct candidate *candidate, struct err *e)
{
	const struct publish_cause cause = { .canaries = candidate->canaries, .changed = candidate->changed };
	if (coordinator__candidate_stale(c)) {
		int rc = coordinator__candidate_renew(c, e);
		if (rc != 0) {
			coordinator__txn_failed(c, e);
			return rc;
		}
		if (c->candidate.lost)
			return 0; /* it is made anew */
	}
	struct candidate next = c->candidate;
	next.canaries = candidate->canaries;
	next.changed = candidate->changed;
	if (!c->config.approve)
		return coordinator__candidate_publish(c, &cause, e);
	sm_move(&next.sm, CANDIDATE_WAITING);
	next.since_ms = env_wall_ms(c->env);
	int rc = coordinator__begin(c, e);
	if (rc == 0)
		rc = coordinator__candidate_put(c, &next, e);
	if (rc == 0)
		rc = coordinator__commit(c, NULL, NULL, e);
	if (rc != 0) {
		coordinator__txn_failed(c, e);
		return rc;
	}
	c->candidate = next;
	return 0;
}

/* More changed than may. Of what was taken back since it was asked nothing is held against the rest. */
static int fail(struct coordinator *c, const struct msg_received *received, const bool *meant,
		struct candidate *candidate, struct err *e)
{
	const struct msg_canary_result *result = &received->msg.u.canary_result;
	const uint32_t over = candidate->changed - c->config.canary_changes;
	struct withholding withholding;
	struct blame blame;
	coordinator__blame(c, result, meant, &blame);
	if (coordinator__blame_ended(c, &blame) >= over) {
		c->candidate.remake = c->candidate.look = true;
		coordinator__candidate_advance(c);
		return 0;
	}
	candidate->blamed_count = (uint32_t)blame.edit_count;
	for (size_t i = 0; i < blame.edit_count; i++)
		candidate->blamed[i] = blame.edits[i].seq;
	reason_write(c, result, meant, candidate);
	int rc = coordinator__withhold_choose(c, &blame, over, &withholding, e);
	if (rc == 0)
		rc = refuse(c, received, meant, candidate, &withholding, e);
	coordinator__withholding_free(&withholding);
	return rc;
}

static void judge(struct coordinator *c, const struct msg_received *received)
{
	const struct msg_canary_result *result = &received->msg.u.canary_result;
	struct candidate next = c->candidate; /* the lists stay its own */
	bool meant[MSG_CANARY_CHANGES_MAX] = { false };
	struct err e = ERR_INIT;
	c->candidate.check.asked = false; /* where nothing comes of it, it is asked again */
	c->candidate.check.until_ms = coordinator__now_ms(c) + CANARY_RETRY_MS;
	next.canaries = result->asked;
	int rc = meant_mark(c, result, meant, &next.changed, &e);
	if (rc != 0) {
		coordinator__txn_failed(c, &e);
		return;
	}
	if (next.changed > c->config.canary_changes) {
		rc = fail(c, received, meant, &next, &e);
	} else {
		rc = pass(c, &next, &e);
	}
	if (rc != 0) {
		coordinator__copy_text(c->candidate.check.trouble, sizeof c->candidate.check.trouble,
				       coordinator__text(e.text));
		log_event(LOG_WARN, "COORDINATOR-CANARIES-UNKEPT", LOGF_S("reason", e.text));
	}
}

static bool is_possible(const struct msg_canary_result *result)
{
	return result->asked > 0 && result->changed_total <= result->asked &&
	       result->changed_count <= result->changed_total;
}

void coordinator__recv_canary_result(struct coordinator *c, const struct msg_received *received)
{
	const struct msg_canary_result *result = &received->msg.u.canary_result;
	struct candidate *candidate = &c->candidate;
	coordinator__candidate_advance(c); /* it may be out of date */
	if (candidate->sm.state != CANDIDATE_CHECKING || coordinator__write_held(c) || c->failure.code != 0 ||
	    !hash_equal(&result->content, &candidate->rec.content) ||
	    !coordinator__canaries_asked(candidate, received->peer_key))
		return; /* of another candidate, or of one that is judged */
	if (result->code == 0 && is_possible(result)) {
		judge(c, received);
		return;
	}
	const bool last = candidate->check.asked &&
			  memcmp(candidate->check.worker, received->peer_key, sizeof candidate->check.worker) == 0;
	coordinator__canaries_unask(candidate, received->peer_key);
	snprintf(candidate->check.trouble, sizeof candidate->check.trouble, "%.*s",
		 result->code != 0 ? (int)result->text.len : 100,
		 result->code != 0 && result->text.len > 0 ? result->text.text : "the worker's counts are impossible");
	log_event(LOG_WARN, "COORDINATOR-CANARIES-FAILED", LOGF_U("version", candidate->rec.version),
		  LOGF_X("worker", received->peer_key, 8), LOGF_S("code", err_name(result->code)),
		  LOGF_S("reason", candidate->check.trouble));
	if (!last)
		return; /* another has it in hand */
	candidate->check.asked = false;
	candidate->check.until_ms = coordinator__now_ms(c) + CANARY_RETRY_MS;
}
