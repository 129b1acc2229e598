/* lost.c: memories of which nobody has a chunk any more. After heal.c has asked everybody for as long as
 * config.retrain_ms says, a shard's edits go back to be trained from nothing, as the ledger still holds all of them: it
 * is leased like one that has to forget (group.c), and versions leave it out until it is committed again. A merged
 * memory is made anew from its shards, and a manifest by the next version. */
#include "coordinator/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define IN_FORCE "in_force"

bool coordinator__shard_memory(const struct shard *shard)
{
	return shard->rec.version > 0 && !hash_is_zero(&shard->rec.delta_root);
}

bool coordinator__shard_lost(const struct shard *shard)
{
	return shard->rec.version > 0 && hash_is_zero(&shard->rec.delta_root);
}

bool coordinator__merge_lost(const struct store_merge *merge)
{
	return hash_is_zero(&merge->output_root) && merge->reason[0] != '\0';
}

/* `chunk`: the first that is lost of these blobs. */
static int roots_lost(struct coordinator *c, const struct hash *const *roots, size_t root_count, bool *lost,
		      struct hash *chunk, struct err *e)
{
	struct buf missing = BUF_INIT;
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < root_count; i++)
		rc = hash_is_zero(roots[i]) ? 0 : store_blob_missing(c->store, roots[i], &missing, e);
	*lost = false;
	for (size_t at = 0; rc == 0 && !*lost && at < missing.len; at += HASH_BYTES) {
		memcpy(chunk->bytes, missing.data + at, HASH_BYTES);
		*lost = coordinator__heal_given_up(c, chunk);
	}
	buf_free(&missing);
	return rc;
}

/* --- A shard. */

/* Where the manifest is damaged, too, they are approved anew. */
static int in_force(struct coordinator *c, struct buf *served, struct err *e)
{
	int rc = coordinator__newest_seqs(c, served, e);
	if (rc == 0 || rc == ERR_NOMEM || rc == ERR_FULL || rc == ERR_IO)
		return rc;
	buf_clear(served);
	err_clear(e);
	return 0;
}

/* `in_force`: those of them that the newest version serves. */
static int lost_event(struct coordinator *c, const struct shard *shard, const struct hash *chunk, uint64_t *seq,
		      struct err *e)
{
	struct buf json = BUF_INIT, served = BUF_INIT;
	struct json_w w;
	int rc = in_force(c, &served, e);
	if (rc != 0) {
		buf_free(&served);
		return rc;
	}
	json_w_init(&w, &json);
	json_w_open(&w, '{');
	json_w_member_uint(&w, "shard", shard->rec.id);
	json_w_member_uint(&w, "shard_version", shard->rec.version);
	json_w_member_uint(&w, "version", c->version);
	json_w_member_hash(&w, "chunk", chunk);
	json_w_member_str(&w, "reason", "no worker and no node has this chunk of its memory");
	json_w_key(&w, "seqs");
	json_w_open(&w, '[');
	for (size_t i = 0; i < shard->rec.trained_count; i++)
		if (coordinator__edit_live(shard->states[i]))
			json_w_uint(&w, shard->rec.seqs[i]);
	json_w_close(&w);
	json_w_key(&w, IN_FORCE);
	json_w_open(&w, '[');
	for (size_t i = 0; i < shard->rec.trained_count; i++)
		if (coordinator__edit_live(shard->states[i]) && coordinator__seqs_hold(&served, shard->rec.seqs[i]))
			json_w_uint(&w, shard->rec.seqs[i]);
	json_w_close(&w);
	json_w_close(&w);
	buf_free(&served);
	return coordinator__event(c, STORE_EVENT_SHARD_LOST, NULL, &json, seq, e);
}

/* It keeps the version that it was in, if any, and why it is withheld, if it is: it is the same edit. */
static int edit_back(struct coordinator *c, const struct shard *shard, uint64_t seq, uint64_t event, struct err *e)
{
	struct store_edit edit;
	char reason[STORE_REASON_BYTES];
	int rc = store_edit_get(c->txn, seq, &edit, e);
	if (rc != 0 || (edit.state != STORE_EDIT_STATE_TRAINED && edit.state != STORE_EDIT_STATE_SERVED))
		return rc;
	snprintf(reason, sizeof reason,
		 "the memory of shard %" PRIu64 " was lost (v%" PRIu64 "): it is trained again from the ledger",
		 shard->rec.id, c->version);
	edit.trained_ms = edit.served_ms = 0;
	edit.ended_event = event;
	return coordinator__edit_move(c, &edit, STORE_EDIT_STATE_PLACED,
				      coordinator__seqs_hold(&c->withheld, seq) ? NULL : reason, e);
}

static int shard_write(struct coordinator *c, struct shard *shard, const struct hash *chunk, struct err *e)
{
	struct store_shard *rec = &shard->rec;
	uint64_t event = 0;
	int rc = coordinator__begin(c, e);
	if (rc == 0)
		rc = lost_event(c, shard, chunk, &event, e);
	for (size_t i = 0; rc == 0 && i < rec->trained_count; i++)
		rc = edit_back(c, shard, rec->seqs[i], event, e);
	memset(&rec->delta_root, 0, sizeof rec->delta_root);
	memset(&rec->index_root, 0, sizeof rec->index_root);
	memset(&rec->calibration_root, 0, sizeof rec->calibration_root);
	rec->group_count = 0;
	rec->removals_assigned = rec->removals_covered;
	rec->removal_count++; /* so that it is trained from nothing */
	coordinator__touch(shard);
	if (rc == 0)
		rc = coordinator__unpublished_put(c, e);
	return rc == 0 ? coordinator__commit(c, "coordinator.lost.before_commit", "coordinator.lost.after_commit", e)
		       : rc;
}

/* They wait for their next training first. */
static void unserved_drop(struct coordinator *c, const struct shard *shard)
{
	size_t kept = 0;
	for (size_t i = 0; i < c->unserved_count; i++) {
		const size_t place = coordinator__shard_place(shard, c->unserved[i].seq);
		if (place == SIZE_MAX || shard->states[place] != STORE_EDIT_STATE_PLACED)
			c->unserved[kept++] = c->unserved[i];
	}
	c->unserved_count = kept;
}

/* *later: it is lost, and in other hands for now: its commit may bring another memory. */
static int shard_look(struct coordinator *c, struct shard *shard, bool *later, struct err *e)
{
	const struct hash *roots[] = { &shard->rec.delta_root, &shard->rec.index_root, &shard->rec.calibration_root };
	struct hash chunk;
	bool lost = false;
	int rc = coordinator__shard_memory(shard) ? roots_lost(c, roots, 3, &lost, &chunk, e) : 0;
	if (rc != 0 || !lost)
		return rc;
	if (shard->lease.sm.state == LEASE_TRAINING || shard->rec.state == STORE_SHARD_STATE_MERGING) {
		*later = true;
		return 0;
	}
	if (shard->lease.holder != NULL)
		coordinator__lease_lost(c, shard, "its memory is lost");
	rc = c->failure.code == 0 ? shard_write(c, shard, &chunk, e) : 0;
	if (rc != 0 || c->failure.code != 0)
		return rc;
	unserved_drop(c, shard);
	log_event(LOG_ERROR, "COORDINATOR-SHARD-LOST", LOGF_U("shard", shard->rec.id),
		  LOGF_U("edits", shard->rec.trained_count), LOGF_X("chunk", chunk.bytes, HASH_BYTES));
	return 0;
}

/* --- What was approved before. */

static bool rolled_back_since(const struct coordinator *c, uint64_t version)
{
	return c->rolled_count > 0 && c->rolled[c->rolled_count - 1].version > version;
}

int coordinator__lost_in_force(struct coordinator *c, struct store_txn *txn, uint64_t ended_event, struct buf *seqs,
			       struct err *e)
{
	struct store_event event;
	struct json *said = NULL;
	buf_clear(seqs);
	int rc = ended_event != 0 ? store_event_get(txn, ended_event, &event, e) : 0;
	if (rc != 0 || ended_event == 0 || event.type != STORE_EVENT_SHARD_LOST)
		return rc;
	rc = json_parse((const char *)event.payload, event.payload_len, &said, e);
	if (rc != 0)
		return rc;
	const struct json *list = json_get(said, IN_FORCE);
	if (!rolled_back_since(c, (uint64_t)json_integer(json_get(said, "version"))))
		for (size_t i = 0; i < json_length(list); i++) {
			const uint64_t seq = (uint64_t)json_integer(json_at(list, i));
			buf_append(seqs, &seq, sizeof seq);
		}
	json_free(&said);
	if (buf_failed(seqs))
		return err_set(e, ERR_NOMEM, "what was in force: out of memory");
	coordinator__seqs_sort(seqs);
	return 0;
}

/* --- A version whose memories are lost. */

/* The ledger says so. */
static bool given_up(struct coordinator *c, const struct proto_memory *memory)
{
	if (memory->kind == PROTO_MEMORY_SHARD) {
		const struct shard *shard = coordinator__shard_find(c, memory->id);
		return shard != NULL && coordinator__shard_lost(shard);
	}
	for (size_t i = 0; i < c->merge_count; i++)
		if (c->merges[i].id == memory->id - MERGED_MEMORY_FIRST)
			return coordinator__merge_lost(&c->merges[i]);
	return false;
}

int coordinator__memory_lost(struct coordinator *c, const struct proto_memory *memory, bool *lost, struct err *e)
{
	const struct hash *roots[] = { &memory->delta_root, &memory->index_root };
	struct buf missing = BUF_INIT;
	struct hash chunk;
	int rc = roots_lost(c, roots, 2, lost, &chunk, e);
	for (size_t i = 0; rc == 0 && i < 2; i++) /* since a start it is not known for long enough */
		rc = hash_is_zero(roots[i]) ? 0 : store_blob_missing(c->store, roots[i], &missing, e);
	*lost = *lost || (missing.len > 0 && given_up(c, memory));
	buf_free(&missing);
	return rc;
}

int coordinator__root_lost(struct coordinator *c, const struct hash *root, bool *lost, struct err *e)
{
	struct hash chunk;
	return roots_lost(c, &root, 1, lost, &chunk, e);
}

/* --- A merged memory, a candidate, the newest version's manifest. */

static int merge_look(struct coordinator *c, struct store_merge *merge, struct err *e)
{
	const struct hash *roots[] = { &merge->output_root, &merge->index_root };
	struct store_merge next = *merge;
	struct hash chunk;
	bool lost = false;
	int rc = roots_lost(c, roots, 2, &lost, &chunk, e);
	if (rc != 0 || !lost)
		return rc;
	memset(&next.output_root, 0, sizeof next.output_root);
	memset(&next.index_root, 0, sizeof next.index_root);
	snprintf(next.reason, sizeof next.reason, "its memory was lost: it is merged anew");
	rc = coordinator__begin(c, e);
	if (rc == 0)
		rc = store_merge_put(c->txn, &next, e);
	if (rc == 0)
		rc = coordinator__unpublished_put(c, e);
	if (rc == 0)
		rc = coordinator__commit(c, NULL, NULL, e);
	if (rc != 0)
		return rc;
	*merge = next;
	c->renew_look = true;
	log_event(LOG_ERROR, "COORDINATOR-MERGE-LOST", LOGF_U("merge", merge->id),
		  LOGF_X("chunk", chunk.bytes, HASH_BYTES));
	return 0;
}

static int candidate_look(struct coordinator *c, struct err *e)
{
	bool apart;
	if (c->candidate.sm.state == CANDIDATE_NONE)
		return 0;
	const int rc = coordinator__version_whole(c, &c->candidate.rec.root, &apart, e);
	if (rc != ERR_CORRUPT && rc != ERR_NOT_FOUND) /* a memory's chunk, or the manifest's own */
		return rc;
	err_clear(e);
	c->candidate.lost = c->candidate.look = true;
	return 0;
}

/* And the ledger has no copy of it. */
static int newest_lost(struct coordinator *c, bool *lost, struct err *e)
{
	struct store_version newest;
	*lost = false;
	if (c->version == 0 || c->heal.count == 0)
		return 0;
	int rc = coordinator__newest_get(c, &newest, e);
	return rc == 0 ? coordinator__root_lost(c, &newest.root, lost, e) : rc;
}

static int manifest_look(struct coordinator *c, struct err *e)
{
	bool lost;
	int rc = newest_lost(c, &lost, e);
	if (rc != 0 || !lost)
		return rc;
	rc = coordinator__begin(c, e);
	if (rc == 0)
		rc = coordinator__unpublished_put(c, e);
	if (rc == 0)
		rc = coordinator__commit(c, NULL, NULL, e);
	if (rc == 0)
		log_event(LOG_ERROR, "COORDINATOR-MANIFEST-LOST", LOGF_U("version", c->version));
	return rc;
}

/* Before a gate nothing is published but what takes something back, with which the lost memories leave. */
static int newest_leave(struct coordinator *c, struct err *e)
{
	struct store_version publish;
	bool whole;
	if (!coordinator__gated(c) || c->publishing.paused)
		return 0;
	int rc = coordinator__newest_restore(c, &whole, e);
	if (rc != 0 || !whole)
		return rc;
	rc = coordinator__publish_removal(c, "what was lost has left", &publish, e);
	if (rc != 0 || publish.version == 0)
		return rc;
	rc = coordinator__begin(c, e);
	if (rc == 0)
		rc = coordinator__publish_put(c, &publish, e);
	if (rc == 0)
		rc = coordinator__commit(c, "coordinator.publish.before_commit", "coordinator.publish.after_commit", e);
	if (rc == 0)
		coordinator__publish_done(c, &publish);
	return rc;
}

bool coordinator__lost_look(struct coordinator *c)
{
	struct err e = ERR_INIT;
	bool later = false;
	int rc = 0;
	for (size_t i = 0; rc == 0 && c->failure.code == 0 && i < c->shard_count; i++)
		rc = shard_look(c, c->shards[i], &later, &e);
	for (size_t i = 0; rc == 0 && c->failure.code == 0 && i < c->merge_count; i++)
		rc = merge_look(c, &c->merges[i], &e);
	if (rc == 0 && c->failure.code == 0)
		rc = manifest_look(c, &e);
	if (rc == 0 && c->failure.code == 0)
		rc = newest_leave(c, &e);
	if (rc == 0 && c->failure.code == 0)
		rc = candidate_look(c, &e);
	if (rc != 0)
		coordinator__txn_failed(c, &e);
	return rc == 0 && !later;
}

void coordinator__lost_text(const struct coordinator *c, struct buf *out)
{
	size_t shards = 0, edits = 0;
	for (size_t i = 0; i < c->shard_count; i++) {
		const struct shard *shard = c->shards[i];
		if (!coordinator__shard_lost(shard))
			continue;
		shards++;
		for (size_t k = 0; k < shard->rec.trained_count; k++)
			edits += coordinator__edit_live(shard->states[k]);
	}
	if (shards > 0)
		buf_printf(out, "%s%zu edit%s of %zu shard%s whose memory was lost %s trained again from the ledger",
			   out->len > 0 ? "; " : "", edits, edits == 1 ? "" : "s", shards, shards == 1 ? "" : "s",
			   edits == 1 ? "is" : "are");
}
