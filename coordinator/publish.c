/* publish.c: a version is a manifest blob, then one transaction that records it and moves the alias. Versions only
 * grow. */
#include "coordinator/internal.h"

#include "base/arena.h"
#include "base/order.h"
#include "proto/codec.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENCODING "bf16+zstd"

uint32_t coordinator__layer_of(const struct coordinator *c, uint32_t layers)
{
	if (c->config.layer != UINT32_MAX)
		return c->config.layer;
	uint32_t layer = (layers * (strcmp(c->family, "paper") == 0 ? 24 : 25) + 15) / 30; /* as editor/config.c */
	return layer < layers ? layer : layers - 1;
}

uint32_t coordinator__layer(const struct coordinator *c)
{
	if (c->layer != UINT32_MAX)
		return c->layer;
	return c->base_known ? coordinator__layer_of(c, c->layers) : c->config.layer;
}

/* The format has one %u for the layer and comes from the configuration: it is filled in by hand, not by printf. */
static void tensor_name(const struct coordinator *c, char *out, size_t out_bytes)
{
	const char *at = strstr(c->tensor_format, "%u");
	if (at == NULL)
		snprintf(out, out_bytes, "%s", c->tensor_format);
	else
		snprintf(out, out_bytes, "%.*s%" PRIu32 "%s", (int)(at - c->tensor_format), c->tensor_format,
			 coordinator__layer(c), at + 2);
}

bool coordinator__merge_serves(const struct coordinator *c, const struct store_merge *merge)
{
	return merge->score >= merge->score_inputs - (double)c->config.merge_loss_points / 100.0;
}

struct draft { /* a manifest being made */
	struct proto_manifest manifest;
	struct proto_memory *memories;
	uint64_t *removed;
	struct buf kept;  /* uint64_t, ascending: superseded edits that stay (coordinator__withheld_keeps) */
	uint64_t **owned; /* lists of the merged memories */
	size_t owned_count, live_count;
	uint64_t calibrated; /* the commit that gave the calibration: an event */
	char tensor[128];
};

static void draft_free(struct draft *d)
{
	for (size_t i = 0; i < d->owned_count; i++)
		free(d->owned[i]);
	free(d->owned);
	buf_free(&d->kept);
	free(d->memories);
	free(d->removed);
}

static size_t trained_total(const struct coordinator *c)
{
	size_t n = 0;
	for (size_t i = 0; i < c->shard_count; i++)
		n += c->shards[i]->rec.trained_count;
	return n;
}

static void add_shard(const struct coordinator *c, struct draft *d, const struct shard *shard)
{
	const struct store_shard *rec = &shard->rec;
	if (!coordinator__shard_memory(shard))
		return;
	struct proto_memory *memory = &d->memories[d->manifest.memory_count++];
	memory->id = rec->id;
	memory->kind = PROTO_MEMORY_SHARD;
	memory->shard_version = rec->version;
	memory->delta_root = rec->delta_root;
	memory->index_root = rec->index_root;
	memory->encoding = coordinator__text(ENCODING);
	memory->seqs = rec->seqs;
	memory->seq_count = rec->trained_count;
	memory->score = shard->tested > 0 ? (double)shard->passed / shard->tested : 0.0;
	if (shard->committed >= d->calibrated) { /* the newest commit's: calibrations may change between starts */
		d->calibrated = shard->committed;
		d->manifest.calibration_root = rec->calibration_root;
	}
	for (size_t i = 0; i < rec->trained_count; i++) {
		if ((coordinator__edit_live(shard->states[i]) && !coordinator__seqs_hold(&c->withheld, rec->seqs[i])) ||
		    coordinator__seqs_hold(&d->kept, rec->seqs[i]))
			d->live_count++;
		else
			d->removed[d->manifest.removed_count++] = rec->seqs[i];
	}
}

static int add_merge(struct coordinator *c, struct draft *d, const struct store_merge *merge)
{
	size_t count = 0;
	for (size_t i = 0; i < merge->shard_count; i++) {
		const struct shard *shard = coordinator__shard_find(c, merge->shards[i]);
		count += shard != NULL ? shard->rec.trained_count : 0;
	}
	uint64_t *seqs = fault_malloc((count + 1) * sizeof *seqs);
	if (seqs == NULL)
		return ERR_NOMEM;
	d->owned[d->owned_count++] = seqs;
	struct proto_memory *memory = &d->memories[d->manifest.memory_count++];
	memory->id = MERGED_MEMORY_FIRST + merge->id;
	memory->kind = PROTO_MEMORY_MERGED;
	memory->shard_version = 1;
	memory->delta_root = merge->output_root;
	memory->encoding = coordinator__text(ENCODING);
	memory->index_root = merge->index_root;
	memory->seqs = seqs;
	memory->sources = merge->shards;
	memory->source_count = merge->shard_count;
	memory->score = merge->score;
	for (size_t i = 0; i < merge->shard_count; i++) {
		const struct shard *shard = coordinator__shard_find(c, merge->shards[i]);
		if (shard == NULL || shard->rec.trained_count == 0)
			continue;
		memcpy(seqs + memory->seq_count, shard->rec.seqs, shard->rec.trained_count * sizeof *seqs);
		memory->seq_count += shard->rec.trained_count;
	}
	return 0;
}

/* A memory whose edits have all ended answers nothing; one that is lost, or one of whose shards is, cannot. */
static bool merge_lives(struct coordinator *c, const struct store_merge *merge)
{
	bool lives = false;
	for (size_t i = 0; i < merge->shard_count; i++) {
		const struct shard *shard = coordinator__shard_find(c, merge->shards[i]);
		if (shard != NULL && coordinator__shard_lost(shard))
			return false;
		lives = lives || (shard != NULL && coordinator__holds_live(shard));
	}
	return lives && !coordinator__merge_lost(merge);
}

/* One that no version has had yet lies here alone: nobody has read it since its gate. Where the disk has changed it the
 * shards answer without it, until its chunks have come back or it is merged anew. */
static int merge_take(struct coordinator *c, const struct store_merge *merge, bool *taken, struct err *e)
{
	*taken = true;
	int rc = merge->version == 0 ? coordinator__merge_read(c, merge, taken, e) : 0;
	if (rc != 0 || *taken)
		return rc;
	buf_append(&c->merges_out, &merge->id, sizeof merge->id);
	log_event(LOG_WARN, "COORDINATOR-MERGE-LEFT-OUT", LOGF_U("merge", merge->id),
		  LOGF_S("reason", "its memory is damaged here"));
	return buf_failed(&c->merges_out) ? err_set(e, ERR_NOMEM, "out of memory") : 0;
}

static int draft_make(struct coordinator *c, const struct store_merge *merged, struct draft *d, struct err *e)
{
	d->memories = fault_calloc(c->shard_count + c->merge_count + 1, sizeof *d->memories);
	d->removed = fault_malloc((trained_total(c) + 1) * sizeof *d->removed);
	d->owned = fault_calloc(c->merge_count + 1, sizeof *d->owned);
	if (d->memories == NULL || d->removed == NULL || d->owned == NULL)
		return err_set(e, ERR_NOMEM, "out of memory");
	int rc = coordinator__withheld_keeps(c, &c->withheld, &d->kept, e);
	for (size_t i = 0; rc == 0 && i < c->shard_count; i++)
		add_shard(c, d, c->shards[i]);
	size_t count = 0, serving = 0;
	buf_free(&c->merges_out);
	for (size_t i = 0; rc == 0 && i < c->merge_count + (merged != NULL); i++) {
		const struct store_merge *merge = i < c->merge_count ? &c->merges[i] : merged;
		bool replaced = merged != NULL && merge != merged && coordinator__merge_replaces(merged, merge);
		bool taken = true;
		if (replaced || !merge_lives(c, merge))
			continue;
		if (merge != merged) /* the gate has just read it */
			rc = merge_take(c, merge, &taken, e);
		if (rc != 0 || !taken)
			continue;
		rc = add_merge(c, d, merge);
		if (rc != 0)
			err_set(e, rc, "out of memory");
		serving += coordinator__merge_serves(c, merge);
		count++;
	}
	d->manifest.default_set = count > 0 && serving == count ? PROTO_SET_MERGED : PROTO_SET_RETRIEVE;
	return rc;
}

static void draft_fill(struct coordinator *c, struct draft *d)
{
	struct proto_manifest *m = &d->manifest;
	m->format = 1;
	m->version = c->version + 1;
	m->parent = c->version_content;
	m->base_model = c->base_model;
	m->family = coordinator__text(c->family);
	m->layer = coordinator__layer(c);
	m->hidden = c->hidden;
	m->ffn = c->ffn;
	tensor_name(c, d->tensor, sizeof d->tensor);
	m->tensor = coordinator__text(d->tensor);
	m->ledger_seq = c->last_seq;
	m->published_ms = env_wall_ms(c->env);
	m->memories = d->memories;
	m->removed_seqs = d->removed;
	if (m->removed_count > 0)
		qsort(d->removed, m->removed_count, sizeof *d->removed, order_u64);
}

int coordinator__manifest_store(struct coordinator *c, const struct proto_manifest *m, size_t live_count,
				struct store_version *out, struct err *e)
{
	struct buf bytes = BUF_INIT;
	int rc = proto_manifest_encode(m, &bytes, e);
	if (rc == 0) {
		hash_of(bytes.data, bytes.len, &out->content);
		rc = store_blob_put(c->store, bytes.data, bytes.len, &out->root, e);
	}
	buf_free(&bytes);
	if (rc == 0 && fault_point("coordinator.publish.after_blobs") != 0)
		rc = err_set(e, ERR_FAULT, "planted fault at coordinator.publish.after_blobs");
	out->version = m->version;
	out->published_ms = m->published_ms;
	out->memory_count = (uint32_t)m->memory_count;
	out->edit_count = (uint32_t)live_count;
	return rc;
}

int coordinator__publish_prepare(struct coordinator *c, const struct store_merge *merged, const char *note,
				 struct store_version *out, struct err *e)
{
	struct draft d = { .memories = NULL };
	memset(out, 0, sizeof *out);
	if (coordinator__publish_held(c))
		return 0;
	int rc = draft_make(c, merged, &d, e);
	if (rc == 0)
		draft_fill(c, &d);
	bool says = d.manifest.memory_count > 0; /* else all that there was is lost, and trained again */
	if (rc == 0 && !says)
		rc = coordinator__newest_ended(c, &says, e);
	if (rc == 0 && says)
		rc = coordinator__manifest_store(c, &d.manifest, d.live_count, out, e);
	draft_free(&d);
	if (rc != 0) {
		err_wrap(e, "publishing version %" PRIu64 " (%s)", c->version + 1, note);
		return rc;
	}
	coordinator__copy_text(out->note, sizeof out->note, coordinator__text(note));
	return 0;
}

/* --- Past a gate. */

/* Its number, time and place in the ledger apart. */
static int draft_differs(struct coordinator *c, const struct draft *d, bool *differs, struct err *e)
{
	struct store_version newest;
	struct proto_manifest live, same = d->manifest;
	struct arena *arena = NULL;
	struct buf bytes = BUF_INIT;
	struct hash content;
	*differs = d->manifest.memory_count > 0;
	if (c->version == 0 || !*differs)
		return 0;
	int rc = coordinator__newest_get(c, &newest, e);
	if (rc == 0)
		rc = coordinator__manifest_read(c, &newest.root, &arena, &live, e);
	if (rc == 0) {
		same.version = live.version;
		same.parent = live.parent;
		same.ledger_seq = live.ledger_seq;
		same.published_ms = live.published_ms;
		rc = proto_manifest_encode(&same, &bytes, e);
	}
	if (rc == 0) {
		hash_of(bytes.data, bytes.len, &content);
		*differs = !hash_equal(&content, &newest.content);
	}
	buf_free(&bytes);
	arena_destroy(&arena);
	return rc;
}

int coordinator__publish_draft(struct coordinator *c, struct store_version *out, bool *differs, struct err *e)
{
	struct draft d = { .memories = NULL };
	memset(out, 0, sizeof *out);
	int rc = draft_make(c, NULL, &d, e);
	if (rc == 0)
		draft_fill(c, &d);
	if (rc == 0)
		rc = draft_differs(c, &d, differs, e);
	if (rc == 0 && *differs)
		rc = coordinator__manifest_store(c, &d.manifest, d.live_count, out, e);
	draft_free(&d);
	if (rc != 0)
		err_wrap(e, "making the candidate for version %" PRIu64, c->version + 1);
	return rc;
}

bool coordinator__unpublished(const struct coordinator *c)
{
	return c->publishing.unpublished && !c->merges_wait;
}

/* What would have become a version waits for the next one. */
int coordinator__unpublished_put(struct coordinator *c, struct err *e)
{
	c->candidate.look = true; /* one that was refused is made anew */
	c->merges_wait = false;
	if (c->publishing.unpublished)
		return 0;
	c->publishing.unpublished = true; /* should the transaction fail, a version more does no harm */
	return coordinator__publishing_put(c, &c->publishing, e);
}

int coordinator__publish_put(struct coordinator *c, struct store_version *rec, struct err *e)
{
	if (rec->version == 0)
		return coordinator__unpublished_put(c, e);
	if (coordinator__gated(c)) /* something is only taken back */
		return coordinator__version_put(c, rec, NULL, e);
	struct publishing next = c->publishing;
	next.unpublished = c->merges_out.len > 0;
	int rc = c->publishing.unpublished || next.unpublished ? coordinator__publishing_put(c, &next, e) : 0;
	if (rc == 0)
		rc = coordinator__version_put(c, rec, NULL, e);
	return rc == 0 ? coordinator__held_release(c, rec->version, NULL, e) : rc;
}

int coordinator__version_put(struct coordinator *c, struct store_version *rec, const struct publish_cause *cause,
			     struct err *e)
{
	struct buf json = BUF_INIT;
	struct json_w w;
	char content[HASH_HEX_BYTES], root[HASH_HEX_BYTES];
	hash_hex(&rec->content, content);
	hash_hex(&rec->root, root);
	json_w_init(&w, &json);
	json_w_open(&w, '{');
	json_w_member_uint(&w, "version", rec->version);
	json_w_member_str(&w, "content", content);
	json_w_member_str(&w, "root", root);
	json_w_member_str(&w, "alias", "latest");
	json_w_member_uint(&w, "memories", rec->memory_count);
	json_w_member_uint(&w, "edits", rec->edit_count);
	json_w_member_str(&w, "note", rec->note);
	if (cause != NULL && cause->rollback_to != 0) {
		json_w_member_uint(&w, "rollback_to", cause->rollback_to);
		json_w_member_strn(&w, "reason", cause->reason.text, cause->reason.len);
		json_w_member_str(&w, "publishing", "paused");
	}
	if (cause != NULL && cause->approved)
		json_w_member_bool(&w, "approved", true);
	if (cause != NULL && cause->canaries > 0) {
		json_w_member_uint(&w, "canaries", cause->canaries);
		json_w_member_uint(&w, "canaries_changed", cause->changed);
	}
	json_w_close(&w);
	int rc = coordinator__event(c, STORE_EVENT_VERSION_PUBLISHED, cause != NULL ? cause->actor : NULL, &json,
				    &rec->event_seq, e);
	if (rc == 0)
		rc = store_version_put(c->txn, rec, e);
	if (rc == 0)
		rc = store_alias_put(c->txn, "latest", rec->version, e);
	return rc == 0 ? coordinator__newest_put(c, rec, e) : rc;
}

void coordinator__unpublished_advance(struct coordinator *c)
{
	struct store_version publish;
	struct err e = ERR_INIT;
	if (!coordinator__unpublished(c) || c->version == 0 || c->failure.code != 0 || coordinator__publish_held(c) ||
	    coordinator__write_held(c))
		return;
	int rc = coordinator__publish_prepare(c, NULL, "what was superseded, or lost, has left", &publish, &e);
	if (rc == 0 && publish.version == 0)
		return;
	if (rc == 0)
		rc = coordinator__begin(c, &e);
	if (rc == 0)
		rc = coordinator__publish_put(c, &publish, &e);
	if (rc == 0)
		rc = coordinator__commit(c, "coordinator.publish.before_commit", "coordinator.publish.after_commit",
					 &e);
	if (rc == 0)
		coordinator__publish_done(c, &publish);
	else
		coordinator__txn_failed(c, &e);
}

void coordinator__publish_done(struct coordinator *c, const struct store_version *publish)
{
	c->candidate.look = true;
	if (publish->version == 0) {
		c->publishing.unpublished = true;
		log_event(LOG_INFO, "COORDINATOR-VERSION-HELD", LOGF_U("latest", c->version));
		return;
	}
	if (!coordinator__gated(c)) {
		c->publishing.unpublished = c->merges_wait = c->merges_out.len > 0;
		coordinator__held_released(c, publish->version, NULL);
	}
	coordinator__version_done(c, publish);
}

void coordinator__version_done(struct coordinator *c, const struct store_version *publish)
{
	struct err e = ERR_INIT;
	struct msg msg = { .type = MSG_HINT };
	c->version = publish->version;
	c->version_content = publish->content;
	c->published_count++;
	log_event(LOG_INFO, "COORDINATOR-VERSION-PUBLISHED", LOGF_U("version", c->version),
		  LOGF_X("content", c->version_content.bytes, 8), LOGF_U("edits", publish->edit_count),
		  LOGF_S("note", publish->note));
	msg.u.hint.version = c->version;
	if (c->transport->ops->publish(c->transport, &msg, &e) != 0)
		log_event(LOG_DEBUG, "COORDINATOR-HINT-LOST", LOGF_S("reason", e.text)); /* nodes poll */
}
