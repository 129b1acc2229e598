/* merge_gate.c: a merged memory is re-tested by a worker before it is published. The gate is a lease of its own kind:
 * it names the merge's id, and the edits of all its shards go to the holder as replayed ones. */
#include "coordinator/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool coordinator__gate_is(const struct coordinator *c, const struct peer *peer, uint64_t merge, uint64_t epoch)
{
	const struct merge_run *run = &c->merge;
	return run->active && run->rec.state == STORE_MERGE_STATE_GATED && run->lease.holder == peer &&
	       run->rec.id == merge && run->epoch == epoch;
}

void coordinator__gate_renew(struct coordinator *c, int64_t expires_ms)
{
	coordinator__lease_renew(&c->merge.lease, expires_ms);
}

void coordinator__gate_want(struct coordinator *c, uint32_t received_count)
{
	coordinator__lease_seen(&c->merge.lease);
	c->merge.lease.wants = true;
	c->merge.lease.send_next = received_count < c->merge.seq_count ? received_count : c->merge.seq_count;
}

void coordinator__gate_lost(struct coordinator *c, const char *why)
{
	struct merge_run *run = &c->merge;
	log_event(LOG_WARN, "COORDINATOR-GATE-LOST", LOGF_U("merge", run->rec.id),
		  LOGF_S("worker", run->lease.holder->name), LOGF_S("reason", why));
	coordinator__fenced_send(c, run->lease.holder->route, run->rec.id, run->epoch);
	coordinator__copy_text(run->gate_reason, sizeof run->gate_reason, coordinator__text(why));
	coordinator__lease_free(&run->lease);
}

/* A worker that stops takes no try with it; one whose job failed does, and the next try waits. */
void coordinator__gate_release(struct coordinator *c, int code)
{
	struct merge_run *run = &c->merge;
	char why[64];
	snprintf(why, sizeof why, "given back: %s", code == 0 ? "its worker is stopping" : err_name(code));
	log_event(LOG_INFO, "COORDINATOR-GATE-RELEASED", LOGF_U("merge", run->rec.id),
		  LOGF_S("worker", run->lease.holder->name), LOGF_S("code", code == 0 ? "0" : err_name(code)));
	coordinator__copy_text(run->gate_reason, sizeof run->gate_reason, coordinator__text(why));
	coordinator__lease_free(&run->lease);
	if (code == 0)
		run->gate_tries--;
	else
		run->retry_ms = coordinator__now_ms(c) + MERGE_RETRY_MS;
}

/* The job is started again, while it has tries. */
static void merge_again(struct coordinator *c, const char *reason)
{
	struct merge_run *run = &c->merge;
	struct store_merge rec = run->rec;
	struct err e = ERR_INIT;
	rec.state = STORE_MERGE_STATE_RUNNING;
	int rc = coordinator__begin(c, &e);
	if (rc == 0)
		rc = store_merge_put(c->txn, &rec, &e);
	if (rc == 0)
		rc = coordinator__commit(c, NULL, NULL, &e);
	if (rc != 0) {
		run->retry_ms = coordinator__now_ms(c) + MERGE_RETRY_MS;
		coordinator__txn_failed(c, &e); /* at a later tick */
		return;
	}
	run->rec = rec;
	run->gate_tries = 0;
	coordinator__merge_attempt_failed(c, reason);
}

/* The disk may have changed it since its job ended. What the job wrote is read again; where that is gone too it is
 * merged anew. */
bool coordinator__gate_output_whole(struct coordinator *c)
{
	struct merge_run *run = &c->merge;
	struct store_merge rec = run->rec;
	struct err e = ERR_INIT;
	size_t bad;
	int rc = coordinator__blob_suspect(c, &rec.output_root, &bad, &e);
	if (c->failure.code != 0 || (rc == 0 && bad == 0))
		return c->failure.code == 0;
	if (rc == 0)
		rc = coordinator__merge_verify(c, &rec, &e);
	if (rc == 0 && hash_equal(&rec.output_root, &run->rec.output_root)) {
		log_event(LOG_WARN, "COORDINATOR-MERGE-READ-AGAIN", LOGF_U("merge", rec.id));
		return true;
	}
	const bool later = rc == ERR_NOMEM || rc == ERR_FULL || rc == ERR_AGAIN;
	if (run->lease.holder != NULL) {
		coordinator__gate_lost(c, later ? "the merged memory cannot be read here for now"
						: "the merged memory is damaged here");
		run->gate_tries -= later; /* no worker's fault */
	}
	if (later)
		run->retry_ms = coordinator__now_ms(c) + MERGE_RETRY_MS;
	else
		merge_again(c, "the disk changed the merged memory before it was published");
	return false;
}

int coordinator__merge_read(struct coordinator *c, const struct store_merge *merge, bool *whole, struct err *e)
{
	const struct hash *roots[] = { &merge->output_root, &merge->index_root };
	int rc = 0;
	*whole = true;
	for (size_t i = 0; rc == 0 && i < 2; i++) {
		size_t bad = 0;
		rc = hash_is_zero(roots[i]) ? 0 : coordinator__blob_suspect(c, roots[i], &bad, e);
		*whole = *whole && rc == 0 && bad == 0;
	}
	return rc;
}

static int collect_edits(struct coordinator *c)
{
	struct merge_run *run = &c->merge;
	size_t count = 0;
	for (size_t i = 0; i < run->rec.shard_count; i++) {
		const struct shard *shard = coordinator__shard_find(c, run->rec.shards[i]);
		count += shard != NULL ? shard->rec.trained_count : 0;
	}
	free(run->seqs);
	run->seq_count = 0;
	run->seqs = fault_malloc((count + 1) * sizeof *run->seqs);
	if (run->seqs == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < run->rec.shard_count; i++) {
		const struct shard *shard = coordinator__shard_find(c, run->rec.shards[i]);
		for (size_t k = 0; shard != NULL && k < shard->rec.trained_count; k++) {
			if (coordinator__edit_live(shard->states[k]))
				run->seqs[run->seq_count++] = shard->rec.seqs[k];
		}
	}
	return 0;
}

static void lease_send(struct coordinator *c)
{
	struct merge_run *run = &c->merge;
	struct msg msg = { .type = MSG_LEASE };
	struct msg_lease *lease = &msg.u.lease;
	lease->kind = MSG_LEASE_GATE;
	lease->shard = run->rec.id;
	lease->epoch = run->epoch;
	lease->lease_ms = c->config.lease_ms;
	lease->delta_root = run->rec.output_root;
	lease->trained_count = (uint32_t)run->seq_count;
	run->lease.sent = coordinator__send(c, run->lease.holder->route, &msg) == 0;
}

static int grant_write(struct coordinator *c, const struct peer *peer, uint64_t *seq, struct err *e)
{
	struct buf json = BUF_INIT;
	char key[65];
	proto_key_hex(peer->key, key);
	struct json_w w;
	json_w_init(&w, &json);
	json_w_open(&w, '{');
	json_w_member_uint(&w, "gate", c->merge.rec.id);
	json_w_member_str(&w, "worker", key);
	json_w_close(&w);
	int rc = coordinator__begin(c, e);
	if (rc != 0) {
		buf_free(&json);
		return rc;
	}
	rc = coordinator__event(c, STORE_EVENT_LEASE_GRANTED, NULL, &json, seq, e);
	return rc == 0 ? coordinator__commit(c, NULL, NULL, e) : rc;
}

static void grant(struct coordinator *c, struct peer *peer)
{
	struct merge_run *run = &c->merge;
	struct err e = ERR_INIT;
	uint64_t seq = 0;
	if (collect_edits(c) != 0)
		return; /* tried again at the next tick */
	if (grant_write(c, peer, &seq, &e) != 0) {
		run->retry_ms = coordinator__now_ms(c) + MERGE_RETRY_MS;
		coordinator__txn_failed(c, &e);
		return;
	}
	run->gate_tries++;
	run->epoch = GATE_EPOCH_FIRST + seq; /* grows for ever, as the ledger does */
	coordinator__lease_hold(&run->lease, peer, coordinator__now_ms(c) + c->config.lease_ms);
	run->deadline_ms = coordinator__now_ms(c) + c->config.merge_deadline_ms;
	log_event(LOG_INFO, "COORDINATOR-GATE-GRANTED", LOGF_U("merge", run->rec.id), LOGF_S("worker", peer->name),
		  LOGF_U("edits", run->seq_count));
	lease_send(c);
}

static void send_edits(struct coordinator *c)
{
	struct merge_run *run = &c->merge;
	struct msg_edits head = { .shard = run->rec.id,
				  .epoch = run->epoch,
				  .replayed = true,
				  .group_end = true,
				  .group_count = (uint32_t)run->seq_count };
	if (coordinator__edits_send(c, run->lease.holder->route, &head, run->seqs, run->lease.send_next, run->seq_count,
				    &run->lease.send_next) == 0)
		run->lease.wants = false;
}

void coordinator__gate_advance(struct coordinator *c)
{
	struct merge_run *run = &c->merge;
	int64_t now = coordinator__now_ms(c);
	if (run->lease.holder != NULL && run->lease.holder->barred) {
		coordinator__gate_lost(c, COORDINATOR__BARRED);
		run->gate_tries--;
	}
	if (run->lease.holder != NULL && now >= run->lease.expires_ms)
		coordinator__gate_lost(c, "no heartbeat from the worker that re-tested it");
	else if (run->lease.holder != NULL && now >= run->deadline_ms)
		coordinator__gate_lost(c, "the re-test did not end by its deadline");
	if (run->lease.holder == NULL && run->gate_tries >= c->config.merge_tries_max) {
		char reason[STORE_REASON_BYTES + 16];
		snprintf(reason, sizeof reason, "gate: %s", run->gate_reason);
		coordinator__merge_end(c, reason);
		return;
	}
	if (run->lease.holder == NULL) {
		struct peer *peer = coordinator__worker_least(c);
		if (peer != NULL && coordinator__gate_output_whole(c))
			grant(c, peer);
		return;
	}
	if (!run->lease.sent)
		lease_send(c);
	if (run->lease.wants)
		send_edits(c);
}

static int publish_write(struct coordinator *c, const struct store_merge *rec, const struct gate_lost *lost,
			 struct store_version *publish, struct err *e)
{
	int rc = coordinator__begin(c, e);
	if (rc == 0)
		rc = coordinator__merge_shards_move(c, rec, STORE_SHARD_STATE_MERGED, e);
	if (rc == 0)
		rc = coordinator__merge_event(c, STORE_EVENT_MERGE_ENDED, rec, lost, e);
	if (rc == 0)
		rc = store_merge_put(c->txn, rec, e);
	if (rc == 0)
		rc = coordinator__publish_put(c, publish, e);
	return rc == 0 ? coordinator__commit(c, "coordinator.publish.before_commit", "coordinator.publish.after_commit",
					     e)
		       : rc;
}

static int publish_merge(struct coordinator *c, struct store_merge *rec, const struct gate_lost *lost, const char *note,
			 struct store_version *publish, struct err *e)
{
	int rc = coordinator__merges_reserve(c, e);
	if (rc != 0)
		return rc;
	if (fault_point("coordinator.merge.before_publish") != 0)
		return err_set(e, ERR_FAULT, "planted fault at coordinator.merge.before_publish");
	rc = coordinator__publish_prepare(c, rec, note, publish, e);
	if (rc != 0)
		return rc;
	rec->version = publish->version;
	return publish_write(c, rec, lost, publish, e);
}

/* "merge 3: 98.8 % pass, …": says what was lost, and who answers that. */
static void note_write(const struct store_merge *rec, const struct gate_lost *lost, bool serves, char *note,
		       size_t note_bytes)
{
	int n = snprintf(note, note_bytes, "merge %" PRIu64 ": %.1f %% pass, %.1f %% in its shards", rec->id,
			 100 * rec->score, 100 * rec->score_inputs);
	if (!serves)
		snprintf(note + n, note_bytes - (size_t)n,
			 "; too much lost, so answers come from the shards by default");
	else if (lost->count > 0)
		snprintf(note + n, note_bytes - (size_t)n, "; its shards answer the %zu edit%s that it lost",
			 lost->count, lost->count == 1 ? "" : "s");
}

int coordinator__gate_publish(struct coordinator *c, double score, const struct hash *index_root,
			      const struct gate_lost *lost, struct err *e)
{
	struct store_merge rec = c->merge.rec;
	struct store_version publish;
	char note[STORE_REASON_BYTES];
	rec.score = score;
	rec.index_root = *index_root;
	rec.state = STORE_MERGE_STATE_PUBLISHED;
	rec.ended_ms = env_wall_ms(c->env);
	bool serves = coordinator__merge_serves(c, &rec);
	note_write(&rec, lost, serves, note, sizeof note);
	coordinator__copy_text(rec.reason, sizeof rec.reason, coordinator__text(serves ? "" : note));
	int rc = publish_merge(c, &rec, lost, note, &publish, e);
	if (rc != 0) {
		coordinator__txn_failed(c, e);
		return rc;
	}
	coordinator__merges_add(c, &rec);
	coordinator__publish_done(c, &publish);
	coordinator__merge_clean(c, rec.id);
	coordinator__merge_forget(c);
	return 0;
}

/* --- Refused behind a gate of versions. Its record stays "published", which is final, but names no shards and no blobs
 * any more: no draft finds a memory in it, and what it was to take the place of has its shards again. */

static bool holds_shard(const struct store_merge *merge, uint64_t shard)
{
	for (size_t i = 0; i < merge->shard_count; i++) {
		if (merge->shards[i] == shard)
			return true;
	}
	return false;
}

/* Merged: in one of those that are left. */
static int is_merged(struct coordinator *c, uint64_t shard, bool *merged, struct err *e)
{
	struct store_merge rec;
	int rc = 0;
	*merged = false;
	for (uint64_t from = 1; rc == 0 && !*merged; from = rec.id + 1) {
		rc = store_merge_next(c->txn, from, &rec, e);
		*merged = rc == 0 && rec.state == STORE_MERGE_STATE_PUBLISHED && holds_shard(&rec, shard);
	}
	if (rc != ERR_NOT_FOUND)
		return rc;
	err_clear(e);
	return 0;
}

static int shard_back(struct coordinator *c, uint64_t id, struct err *e)
{
	struct shard *shard = coordinator__shard_find(c, id);
	bool merged = false;
	if (shard == NULL || shard->rec.state != STORE_SHARD_STATE_MERGED)
		return 0;
	int rc = is_merged(c, id, &merged, e);
	if (rc != 0 || merged)
		return rc;
	coordinator__touch(shard);
	shard->rec.state = STORE_SHARD_STATE_MERGING; /* by way of it, says the table */
	rc = store_shard_put(c->txn, &shard->rec, e);
	shard->rec.state = STORE_SHARD_STATE_CLOSED;
	return rc;
}

static int merge_refuse(struct coordinator *c, const struct store_merge *merge, const char *reason, struct err *e)
{
	struct store_merge ended = *merge;
	char text[2 * STORE_REASON_BYTES];
	snprintf(text, sizeof text, "the version with it was refused: %s", reason);
	coordinator__copy_text(ended.reason, sizeof ended.reason, coordinator__text(text));
	ended.state = STORE_MERGE_STATE_FAILED;
	ended.ended_ms = env_wall_ms(c->env);
	int rc = coordinator__merge_event(c, STORE_EVENT_MERGE_ENDED, &ended, NULL, e);
	ended.state = merge->state;
	ended.shard_count = 0;
	ended.output_root = ended.index_root = (struct hash){ .bytes = { 0 } };
	if (rc == 0)
		rc = store_merge_put(c->txn, &ended, e);
	for (size_t i = 0; rc == 0 && i < merge->shard_count; i++)
		rc = shard_back(c, merge->shards[i], e);
	return rc;
}

int coordinator__merges_refuse(struct coordinator *c, const struct candidate *refused, bool *any, struct err *e)
{
	int rc = 0;
	*any = false;
	for (size_t i = 0; rc == 0 && i < c->merge_count; i++) {
		const struct store_merge *merge = &c->merges[i];
		if (merge->version != 0 || !coordinator__seqs_hold(&refused->merges, merge->id))
			continue;
		*any = true;
		rc = merge_refuse(c, merge, refused->reason, e);
	}
	return rc;
}
