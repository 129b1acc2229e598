/* candidate.c: what becomes the next version when versions go through a gate. It is made of what memory holds, stands
 * in the store as its manifest's blob and the ledger's value `candidate`, and is published as it is or not at all.
 * Edits and merges that came after it wait for the next one. */
#include "coordinator/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define META_NAME "candidate"

static const struct sm_state states[CANDIDATE_STATE_COUNT] = {
	[CANDIDATE_NONE] = { "none", SM_TO(CANDIDATE_CHECKING) | SM_TO(CANDIDATE_WAITING) },
	[CANDIDATE_CHECKING] = { "checking",
				 SM_TO(CANDIDATE_NONE) | SM_TO(CANDIDATE_WAITING) | SM_TO(CANDIDATE_REFUSED) },
	[CANDIDATE_WAITING] = { "waiting", SM_TO(CANDIDATE_NONE) | SM_TO(CANDIDATE_REFUSED) },
	[CANDIDATE_REFUSED] = { "refused", SM_TO(CANDIDATE_NONE) },
};
const struct sm_table coordinator__candidate_states = { "candidate", states, CANDIDATE_STATE_COUNT, CANDIDATE_NONE };

bool coordinator__gated(const struct coordinator *c)
{
	return c->config.approve || c->config.canaries;
}

void coordinator__candidate_free(struct candidate *candidate)
{
	buf_free(&candidate->seqs);
	buf_free(&candidate->merges);
}

/* --- In the store: one small value. */

int coordinator__candidate_put(struct coordinator *c, const struct candidate *candidate, struct err *e)
{
	struct buf bytes = BUF_INIT;
	buf_u32le(&bytes, candidate != NULL ? (uint32_t)candidate->sm.state : CANDIDATE_NONE);
	if (candidate != NULL) {
		const struct store_version *rec = &candidate->rec;
		buf_u64le(&bytes, rec->version);
		buf_append(&bytes, rec->root.bytes, HASH_BYTES);
		buf_append(&bytes, rec->content.bytes, HASH_BYTES);
		buf_u64le(&bytes, (uint64_t)rec->published_ms);
		buf_u32le(&bytes, rec->memory_count);
		buf_u32le(&bytes, rec->edit_count);
		buf_append(&bytes, rec->note, sizeof rec->note);
		buf_u64le(&bytes, (uint64_t)candidate->since_ms);
		buf_append(&bytes, candidate->refused_by, sizeof candidate->refused_by);
		buf_append(&bytes, candidate->reason, sizeof candidate->reason);
		buf_u32le(&bytes, candidate->canaries);
		buf_u32le(&bytes, candidate->changed);
	}
	int rc = buf_failed(&bytes) ? err_set(e, ERR_NOMEM, "out of memory")
				    : store_meta_put(c->txn, META_NAME, bytes.data, bytes.len, e);
	buf_free(&bytes);
	return rc;
}

static void take(struct reader *r, void *out, size_t bytes)
{
	const void *from = reader_bytes(r, bytes);
	if (from != NULL)
		memcpy(out, from, bytes);
}

static int parse(const struct buf *bytes, struct candidate *out, struct err *e)
{
	struct store_version *rec = &out->rec;
	struct reader r;
	reader_init(&r, bytes->data, bytes->len);
	const uint32_t state = reader_u32le(&r);
	if (state != CANDIDATE_NONE) {
		rec->version = reader_u64le(&r);
		take(&r, rec->root.bytes, HASH_BYTES);
		take(&r, rec->content.bytes, HASH_BYTES);
		rec->published_ms = (int64_t)reader_u64le(&r);
		rec->memory_count = reader_u32le(&r);
		rec->edit_count = reader_u32le(&r);
		take(&r, rec->note, sizeof rec->note);
		out->since_ms = (int64_t)reader_u64le(&r);
		take(&r, out->refused_by, sizeof out->refused_by);
		take(&r, out->reason, sizeof out->reason);
		out->canaries = reader_u32le(&r);
		out->changed = reader_u32le(&r);
	}
	if (r.overrun || r.at != r.len || state >= CANDIDATE_STATE_COUNT)
		return err_set(e, ERR_CORRUPT, META_NAME ": %zu bytes are not of its form", bytes->len);
	rec->note[sizeof rec->note - 1] = out->reason[sizeof out->reason - 1] = '\0';
	sm_restore(&out->sm, &coordinator__candidate_states, NULL, (int)state);
	return 0;
}

/* What its manifest holds. */
static int lists_fill(struct coordinator *c, struct candidate *candidate, struct err *e)
{
	struct proto_manifest manifest;
	struct arena *arena = NULL;
	buf_clear(&candidate->seqs);
	buf_clear(&candidate->merges);
	int rc = coordinator__manifest_seqs(c, &candidate->rec.root, &candidate->seqs, e);
	if (rc == 0)
		rc = coordinator__manifest_read(c, &candidate->rec.root, &arena, &manifest, e);
	for (size_t i = 0; rc == 0 && i < manifest.memory_count; i++) {
		const uint64_t merge = manifest.memories[i].id - MERGED_MEMORY_FIRST;
		if (manifest.memories[i].kind == PROTO_MEMORY_MERGED)
			buf_append(&candidate->merges, &merge, sizeof merge);
	}
	arena_destroy(&arena);
	return rc == 0 && buf_failed(&candidate->merges) ? err_set(e, ERR_NOMEM, "out of memory") : rc;
}

int coordinator_candidate_get(struct store_txn *txn, struct store_version *out, struct err *e)
{
	struct candidate candidate = { .since_ms = 0 };
	struct buf bytes = BUF_INIT;
	int rc = store_meta_get(txn, META_NAME, &bytes, e);
	if (rc == 0)
		rc = parse(&bytes, &candidate, e);
	if (rc == 0 && candidate.sm.state == CANDIDATE_NONE)
		rc = err_set(e, ERR_NOT_FOUND, "there is no candidate");
	buf_free(&bytes);
	*out = candidate.rec;
	return rc;
}

/* Memory holds all of it, so that what is not whole is made anew; what may come back is waited for. */
static int contents_load(struct coordinator *c, struct candidate *candidate, struct err *e)
{
	bool apart = false;
	int rc = lists_fill(c, candidate, e);
	if (rc == 0)
		rc = coordinator__version_whole(c, &candidate->rec.root, &apart, e);
	if (rc != ERR_AGAIN && rc != ERR_NOT_FOUND && rc != ERR_CORRUPT)
		return rc;
	err_clear(e);
	candidate->lost = !apart;
	return 0;
}

int coordinator__candidate_load(struct coordinator *c, struct store_txn *txn, struct err *e)
{
	struct candidate *candidate = &c->candidate;
	struct buf bytes = BUF_INIT;
	sm_init(&candidate->sm, &coordinator__candidate_states, NULL);
	candidate->look = true;
	int rc = store_meta_get(txn, META_NAME, &bytes, e);
	if (rc == 0) {
		rc = parse(&bytes, candidate, e);
	} else if (rc == ERR_NOT_FOUND) {
		err_clear(e);
		rc = 0;
	}
	buf_free(&bytes);
	return rc == 0 && candidate->sm.state != CANDIDATE_NONE ? contents_load(c, candidate, e) : rc;
}

/* --- What it changes. */

static int list_without(const struct buf *all, const struct buf *without, struct buf *out)
{
	const uint64_t *list = (const void *)all->data;
	for (size_t i = 0; i < all->len / sizeof *list; i++) {
		if (!coordinator__seqs_hold(without, list[i]))
			buf_append(out, &list[i], sizeof list[i]);
	}
	return buf_failed(out) ? ERR_NOMEM : 0;
}

static int changes(struct coordinator *c, const struct candidate *candidate, struct buf *added, struct buf *removed,
		   struct err *e)
{
	struct buf served = BUF_INIT;
	int rc = coordinator__newest_seqs(c, &served, e);
	if (rc == 0 && (list_without(&candidate->seqs, &served, added) != 0 ||
			list_without(&served, &candidate->seqs, removed) != 0))
		rc = err_set(e, ERR_NOMEM, "what a candidate changes: out of memory");
	buf_free(&served);
	return rc;
}

int coordinator__candidate_changes(struct coordinator *c, struct buf *added, struct buf *removed, struct err *e)
{
	return changes(c, &c->candidate, added, removed, e);
}

static void verdict(const struct candidate *candidate, const char *time, char *out, size_t out_bytes)
{
	static const uint8_t nobody[STORE_KEY_BYTES];
	char key[65];
	proto_key_hex(candidate->refused_by, key);
	if (memcmp(candidate->refused_by, nobody, sizeof nobody) == 0)
		snprintf(out, out_bytes, "was refused at %s (%s)", time, candidate->reason);
	else
		snprintf(out, out_bytes, "was rejected at %s by key %.16s (%s)", time, key, candidate->reason);
}

void coordinator__candidate_text(const struct coordinator *c, char *out, size_t out_bytes)
{
	const struct candidate *candidate = &c->candidate;
	const int state = candidate->sm.state;
	const bool trouble = candidate->check.trouble[0] != '\0';
	char content[HASH_HEX_BYTES], time[ENV_TIME_BYTES], what[2 * STORE_REASON_BYTES] = "";
	hash_hex(&candidate->rec.content, content);
	env_time_format(candidate->since_ms, time);
	if (state == CANDIDATE_CHECKING)
		snprintf(what, sizeof what, "is asked the canaries since %s%s%s", time, trouble ? ", and again: " : "",
			 candidate->check.trouble);
	else if (state == CANDIDATE_WAITING)
		snprintf(what, sizeof what, "waits for approval since %s: `amend version candidate` shows it", time);
	else if (state == CANDIDATE_REFUSED)
		verdict(candidate, time, what, sizeof what);
	out[0] = '\0';
	if (state != CANDIDATE_NONE)
		snprintf(out, out_bytes, "a candidate for v%" PRIu64 " (%s; content %.12s) %s%s",
			 candidate->rec.version, candidate->rec.note, content, what,
			 state == CANDIDATE_REFUSED ? ": the next is made when an edit is trained or taken back, or by "
						      "`amend version resume`"
						    : "");
}

/* --- Its life. */

void coordinator__candidate_end(struct coordinator *c, bool published)
{
	struct candidate *candidate = &c->candidate;
	if (candidate->sm.state == CANDIDATE_NONE)
		return;
	coordinator__candidate_free(candidate);
	sm_move(&candidate->sm, CANDIDATE_NONE);
	*candidate = (struct candidate){ .sm = candidate->sm };
	c->publishing.unpublished = c->publishing.unpublished || !published;
}

/* An edit that failed later, or was taken back: what is superseded is served until its successor is. */
static bool serves_ended(const struct coordinator *c)
{
	for (size_t i = 0; i < c->shard_count; i++) {
		const struct shard *shard = c->shards[i];
		for (size_t k = 0; k < shard->rec.trained_count; k++) {
			if (!coordinator__edit_live(shard->states[k]) &&
			    shard->states[k] != STORE_EDIT_STATE_SUPERSEDED &&
			    coordinator__seqs_hold(&c->candidate.seqs, shard->rec.seqs[k]))
				return true;
		}
	}
	return false;
}

/* Its manifest names the version before it. */
const char *coordinator__candidate_outdated(const struct coordinator *c)
{
	if (c->candidate.rec.version != c->version + 1)
		return "another version was published";
	if (c->candidate.lost)
		return "chunks of it are not here any more";
	const int state = c->candidate.sm.state;
	if (state == CANDIDATE_REFUSED && c->publishing.unpublished)
		return "it was refused, and there is something new";
	if ((state == CANDIDATE_CHECKING && !c->config.canaries) || (state == CANDIDATE_WAITING && !c->config.approve))
		return "it waits at a gate that is gone";
	return serves_ended(c) ? "an edit that it serves has ended" : NULL;
}

static int drop(struct coordinator *c, const char *why, struct err *e)
{
	struct publishing next = c->publishing;
	next.unpublished = true;
	int rc = coordinator__begin(c, e);
	if (rc == 0)
		rc = coordinator__candidate_put(c, NULL, e);
	if (rc == 0)
		rc = coordinator__publishing_put(c, &next, e);
	if (rc == 0)
		rc = coordinator__commit(c, NULL, NULL, e);
	if (rc != 0)
		return rc;
	log_event(LOG_INFO, "COORDINATOR-CANDIDATE-DROPPED", LOGF_U("version", c->candidate.rec.version),
		  LOGF_X("content", c->candidate.rec.content.bytes, 8), LOGF_S("reason", why));
	coordinator__candidate_end(c, false);
	return 0;
}

static void note_merges(const struct coordinator *c, char *note, size_t note_bytes)
{
	for (size_t i = 0; i < c->merge_count; i++) {
		const size_t len = strlen(note);
		if (c->merges[i].version == 0)
			snprintf(note + len, note_bytes - len, ", merge %" PRIu64, c->merges[i].id);
	}
}

static int note_write(struct coordinator *c, struct candidate *candidate, struct err *e)
{
	struct buf added = BUF_INIT, removed = BUF_INIT;
	int rc = changes(c, candidate, &added, &removed, e);
	const size_t more = added.len / sizeof(uint64_t), less = removed.len / sizeof(uint64_t);
	snprintf(candidate->rec.note, sizeof candidate->rec.note, "%zu edit%s more, %zu less", more,
		 more == 1 ? "" : "s", less);
	note_merges(c, candidate->rec.note, sizeof candidate->rec.note);
	buf_free(&added);
	buf_free(&removed);
	return rc;
}

/* `candidate`: NULL, there was nothing to publish after all. */
static int make_write(struct coordinator *c, const struct candidate *candidate, struct err *e)
{
	struct publishing next = c->publishing;
	next.unpublished = false;
	int rc = coordinator__begin(c, e);
	if (rc == 0)
		rc = coordinator__candidate_put(c, candidate, e);
	if (rc == 0)
		rc = coordinator__publishing_put(c, &next, e);
	if (rc == 0)
		rc = coordinator__commit(c, "coordinator.candidate.before_commit", "coordinator.candidate.after_commit",
					 e);
	if (rc == 0)
		c->publishing = next;
	return rc;
}

static int make(struct coordinator *c, struct err *e)
{
	struct candidate next = { .since_ms = env_wall_ms(c->env) };
	bool differs;
	int rc = coordinator__publish_draft(c, &next.rec, &differs, e);
	if (rc != 0 || !differs)
		return rc == 0 ? make_write(c, NULL, e) : rc;
	sm_init(&next.sm, &coordinator__candidate_states, NULL);
	sm_move(&next.sm, c->config.canaries ? CANDIDATE_CHECKING : CANDIDATE_WAITING);
	rc = lists_fill(c, &next, e);
	if (rc == 0)
		rc = note_write(c, &next, e);
	if (rc == 0)
		rc = make_write(c, &next, e);
	if (rc != 0) {
		coordinator__candidate_free(&next);
		return rc;
	}
	c->candidate = next;
	log_event(LOG_INFO, "COORDINATOR-CANDIDATE-MADE", LOGF_U("version", next.rec.version),
		  LOGF_X("content", next.rec.content.bytes, 8), LOGF_S("note", next.rec.note),
		  LOGF_S("state", sm_state_name(next.sm.table, next.sm.state)));
	return 0;
}

/* --- Its end. */

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

int coordinator__candidate_publish(struct coordinator *c, const struct publish_cause *cause, struct err *e)
{
	struct store_version rec = c->candidate.rec;
	bool apart;
	rec.published_ms = env_wall_ms(c->env);
	int rc = coordinator__version_whole(c, &rec.root, &apart, e);
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
	struct candidate next = *refused; /* the lists stay those of c->candidate */
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
	if (rc == 0)
		rc = coordinator__merges_refuse(c, &next, &merges, e);
	if (rc == 0 && merges)
		rc = coordinator__unpublished_put(c, e); /* the rest of it may pass */
	if (rc == 0)
		rc = coordinator__commit(c, NULL, NULL, e);
	if (rc != 0) {
		coordinator__txn_failed(c, e);
		return rc;
	}
	c->candidate = next;
	c->candidate.look = true; /* there may be something new already */
	if (merges)
		coordinator__merges_refused(c);
	log_event(LOG_WARN, "COORDINATOR-CANDIDATE-REFUSED", LOGF_U("version", next.rec.version),
		  LOGF_X("content", next.rec.content.bytes, 8), LOGF_X("by", actor, 8), LOGF_S("reason", next.reason));
	return 0;
}

/* The gate is gone: a start with another configuration. What it held becomes a version. */
static int let_through(struct coordinator *c, struct err *e)
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

/* What was refused is not published because nobody asks any more: people say so, by a resume. */
static int hold_refused(struct coordinator *c, struct err *e)
{
	struct publishing next = { .paused = true, .unpublished = true, .paused_ms = env_wall_ms(c->env) };
	struct buf json = BUF_INIT;
	struct json_w w;
	memcpy(next.paused_by, c->key, sizeof next.paused_by);
	snprintf(next.reason, sizeof next.reason, "a candidate was refused before its gate was switched off: %.180s",
		 c->candidate.reason);
	json_w_init(&w, &json);
	json_w_open(&w, '{');
	json_w_member_str(&w, "publishing", "paused");
	json_w_member_str(&w, "reason", next.reason);
	json_w_close(&w);
	int rc = coordinator__begin(c, e);
	if (rc == 0)
		rc = coordinator__event(c, STORE_EVENT_CONFIG_CHANGED, NULL, &json, NULL, e);
	else
		buf_free(&json);
	if (rc == 0)
		rc = coordinator__candidate_put(c, NULL, e);
	if (rc == 0)
		rc = coordinator__publishing_put(c, &next, e);
	if (rc == 0)
		rc = coordinator__commit(c, NULL, NULL, e);
	if (rc != 0)
		return rc;
	c->publishing = next;
	log_event(LOG_WARN, "COORDINATOR-PUBLISHING-PAUSED", LOGF_S("reason", next.reason));
	coordinator__candidate_end(c, false);
	return 0;
}

static int advance(struct coordinator *c, struct err *e)
{
	struct candidate *candidate = &c->candidate;
	const bool held = candidate->sm.state != CANDIDATE_NONE;
	if (!coordinator__gated(c) && candidate->sm.state == CANDIDATE_REFUSED)
		return hold_refused(c, e);
	if (!coordinator__gated(c))
		return held ? let_through(c, e) : 0; /* the rest: coordinator__unpublished_advance */
	const char *why = held && candidate->look ? coordinator__candidate_outdated(c) : NULL;
	candidate->look = false;
	if (why != NULL) {
		int rc = drop(c, why, e);
		if (rc != 0) {
			candidate->look = true;
			return rc;
		}
	}
	const bool due = candidate->sm.state == CANDIDATE_NONE && c->publishing.unpublished;
	return due && (!coordinator__newest_apart(c) || coordinator__newest_lost(c)) ? make(c, e) : 0;
}

void coordinator__candidate_advance(struct coordinator *c)
{
	struct err e = ERR_INIT;
	if (c->failure.code != 0 || coordinator__write_held(c) || c->publishing.paused)
		return;
	if (advance(c, &e) != 0)
		coordinator__txn_failed(c, &e);
	else
		coordinator__canaries_advance(c);
}
