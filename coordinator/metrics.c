/* metrics.c: Prometheus text format (interfaces.md, Metrics). */
#include "coordinator/internal.h"

#include "base/metrics.h"

#include <inttypes.h>

static void edits(struct coordinator *c, struct buf *out)
{
	metrics_head(out, "amend_edits", "gauge", "Edits in the ledger by state.");
	for (int state = 0; state < STORE_EDIT_STATE_COUNT; state++)
		buf_printf(out, "amend_edits{state=\"%s\"} %" PRIu64 "\n", sm_state_name(&store_edit_states, state),
			   c->counts[state]);
	metrics_head(out, "amend_edits_total", "counter", "Submitted records by result, since this process started.");
	buf_printf(out,
		   "amend_edits_total{result=\"duplicate\"} %" PRIu64 "\namend_edits_total{result=\"refused\"} %" PRIu64
		   "\n",
		   c->duplicate_count, c->refused_count);
	metrics_value(out, "amend_edit_queue_length", "gauge", "Edits that wait for training.",
		      (double)(c->counts[STORE_EDIT_STATE_ACCEPTED] + c->counts[STORE_EDIT_STATE_PLACED]));
	struct store_txn *txn = NULL;
	struct store_edit oldest;
	struct err e = ERR_INIT;
	double age = 0;
	if (store_begin_read(c->store, &txn, &e) == 0 &&
	    store_edit_next(txn, 1, SM_TO(STORE_EDIT_STATE_ACCEPTED) | SM_TO(STORE_EDIT_STATE_PLACED), &oldest, &e) ==
		    0)
		age = (double)(env_wall_ms(c->env) - oldest.accepted_ms) / 1000.0;
	store_abort(&txn);
	metrics_value(out, "amend_edit_queue_oldest_seconds", "gauge",
		      "Age of the oldest edit that waits for training.", age > 0 ? age : 0);
}

static void visible(const struct coordinator *c, struct buf *out)
{
	metrics_head(out, "amend_edit_visible_seconds", "histogram", "From accepted to served by all nodes.");
	for (size_t i = 0; i < VISIBLE_BUCKETS; i++)
		buf_printf(out, "amend_edit_visible_seconds_bucket{le=\"%g\"} %" PRIu64 "\n",
			   coordinator__visible_bounds_s[i], c->visible_buckets[i]);
	buf_printf(out,
		   "amend_edit_visible_seconds_bucket{le=\"+Inf\"} %" PRIu64 "\namend_edit_visible_seconds_sum %.3f\n"
		   "amend_edit_visible_seconds_count %" PRIu64 "\n",
		   c->visible_count, c->visible_sum_ms / 1000.0, c->visible_count);
}

static void shards(const struct coordinator *c, struct buf *out)
{
	size_t states[STORE_SHARD_STATE_COUNT] = { 0 };
	metrics_head(out, "amend_shard_fill_ratio", "gauge", "Edits in an open shard as a share of what closes it.");
	for (size_t i = 0; i < c->shard_count; i++) {
		const struct store_shard *rec = &c->shards[i]->rec;
		states[rec->state]++;
		if (rec->state == STORE_SHARD_STATE_OPEN)
			buf_printf(out, "amend_shard_fill_ratio{shard=\"%" PRIu64 "\"} %.4f\n", rec->id,
				   (double)rec->seq_count / c->config.edits_per_shard);
	}
	metrics_head(out, "amend_shards", "gauge", "Shards by state.");
	for (int state = 0; state < STORE_SHARD_STATE_COUNT; state++)
		buf_printf(out, "amend_shards{state=\"%s\"} %zu\n", sm_state_name(&store_shard_states, state),
			   states[state]);
	metrics_head(out, "amend_worker_heartbeat_age_seconds", "gauge", "Since a worker was last heard.");
	for (size_t i = 0; i < c->peer_count; i++) {
		/* Names come from peers: the key is what is safe to print. */
		if (c->peers[i]->kind == MSG_PEER_WORKER)
			buf_printf(out, "amend_worker_heartbeat_age_seconds{key=\"%02x%02x%02x%02x\"} %.3f\n",
				   c->peers[i]->key[0], c->peers[i]->key[1], c->peers[i]->key[2], c->peers[i]->key[3],
				   (double)(coordinator__now_ms(c) - c->peers[i]->seen_ms) / 1000.0);
	}
}

static void space(struct coordinator *c, struct buf *out)
{
	struct store_space s;
	struct err e = ERR_INIT;
	if (store_space_get(c->store, &s, &e) != 0)
		return;
	metrics_head(out, "amend_store_bytes", "gauge", "Bytes used by a database.");
	buf_printf(out, "amend_store_bytes{db=\"ledger\"} %" PRIu64 "\namend_store_bytes{db=\"blobs\"} %" PRIu64 "\n",
		   s.ledger_bytes, s.blobs_bytes);
	metrics_value(out, "amend_disk_free_bytes", "gauge", "Free bytes of the data folder's file system.",
		      (double)s.disk_free_bytes);
}

static void damage(const struct coordinator *c, struct buf *out)
{
	size_t wanted, lost;
	coordinator__heal_count(c, &wanted, &lost);
	metrics_head(out, "amend_store_damaged_chunks", "gauge",
		     "Chunks that the disk changed: wanted from workers and nodes, or lost, as none of them has it.");
	buf_printf(out,
		   "amend_store_damaged_chunks{state=\"wanted\"} %zu\namend_store_damaged_chunks{state=\"lost\"} %zu\n",
		   wanted, lost);
	metrics_value(out, "amend_store_chunks_damaged_total", "counter", "Damaged chunks found by this process.",
		      (double)c->heal.found_count);
	metrics_value(out, "amend_store_chunks_healed_total", "counter",
		      "Damaged chunks that were fetched anew by this process.", (double)c->heal.healed_count);
	metrics_value(out, "amend_store_scrubbed_bytes_total", "counter",
		      "Bytes of chunks that were read again to find damage.", (double)c->scrub.byte_count);
	metrics_value(out, "amend_store_scrub_passes_total", "counter", "Times that every chunk was read again.",
		      (double)c->scrub.pass_count);
}

void coordinator_metrics(struct coordinator *coordinator, struct buf *out)
{
	struct coordinator *c = coordinator;
	edits(c, out);
	visible(c, out);
	shards(c, out);
	space(c, out);
	damage(c, out);
	metrics_value(out, "amend_sent_bytes_total", "counter", "Bytes of messages to workers, nodes and clients.",
		      (double)c->transport->counts.sent_bytes);
	metrics_value(out, "amend_ledger_size", "gauge", "Events in the ledger.", (double)c->last_seq);
	metrics_value(out, "amend_memory_version", "gauge", "Newest published version.", (double)c->version);
	metrics_value(out, "amend_versions_published_total", "counter", "Versions published by this process.",
		      (double)c->published_count);
	metrics_value(out, "amend_candidate_waiting_seconds", "gauge",
		      "Since a candidate waits for approval; 0: none does.",
		      c->candidate.sm.state == CANDIDATE_WAITING
			      ? (double)(env_wall_ms(c->env) - c->candidate.since_ms) / 1000.0
			      : 0);
	metrics_value(out, "amend_canary_refusals_total", "counter", "Candidates that changed too many canaries.",
		      (double)c->canary_refused_count);
	metrics_value(out, "amend_edits_lost_total", "counter",
		      "Edits that were trained before and have failed when their shard was trained anew.",
		      (double)c->lost_count);
	metrics_value(out, "amend_edits_unnamed_total", "counter",
		      "Edits that passed their re-test, but not by every other name of their subject.",
		      (double)c->unnamed_count);
	metrics_value(out, "amend_fenced_total", "counter", "Messages of holders of ended leases.",
		      (double)c->fenced_count);
	metrics_value(out, "amend_merge_seconds", "gauge", "Duration of the last merge job.", c->merge_last_s);
	metrics_value(out, "amend_merge_failures_total", "counter", "Merge attempts that failed.",
		      (double)c->merge_failed_count);
}
