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
		buf_u32le(&bytes, candidate->blamed_count);
		for (size_t i = 0; i < candidate->blamed_count; i++)
			buf_u64le(&bytes, candidate->blamed[i]);
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

static void blamed_take(struct reader *r, struct candidate *out)
{
	out->blamed_count = reader_u32le(r);
	r->overrun = r->overrun || out->blamed_count > MSG_CANARY_CHANGES_MAX;
	for (size_t i = 0; !r->overrun && i < out->blamed_count; i++)
		out->blamed[i] = reader_u64le(r);
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
	if (state != CANDIDATE_NONE && r.at != r.len) /* earlier programs wrote no more */
		blamed_take(&r, out);
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

uint64_t coordinator__candidate_number(const struct coordinator *c)
{
	return c->candidate.sm.state == CANDIDATE_REFUSED ? c->candidate.rec.version : c->version + 1;
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
			 coordinator__candidate_number(c), candidate->rec.note, content, what,
			 state != CANDIDATE_REFUSED ? ""
			 : candidate->blamed_count > 0
				 ? ": `amend version candidate` names the edits to take back; the next is made then, "
				   "when "
				   "an edit is trained, or by `amend version resume`"
				 : ": the next is made when an edit is trained or taken back, or by `amend version "
				   "resume`");
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
	c->merges_wait = false;
	c->publishing.unpublished = c->publishing.unpublished || !published;
}

bool coordinator__candidate_ended(const struct coordinator *c, uint64_t seq)
{
	for (size_t i = 0; i < c->shard_count; i++) {
		const size_t place = coordinator__shard_place(c->shards[i], seq);
		if (place != SIZE_MAX)
			return coordinator__state_ended(c->shards[i]->states[place]);
	}
	return true;
}

/* An edit that failed later, or was taken back. */
static bool serves_ended(const struct coordinator *c)
{
	for (size_t i = 0; i < c->shard_count; i++) {
		const struct shard *shard = c->shards[i];
		for (size_t k = 0; k < shard->rec.trained_count; k++) {
			if (coordinator__state_ended(shard->states[k]) &&
			    coordinator__seqs_hold(&c->candidate.seqs, shard->rec.seqs[k]))
				return true;
		}
	}
	return false;
}

/* Its manifest names the version before it. */
bool coordinator__candidate_stale(const struct coordinator *c)
{
	return c->candidate.rec.version != c->version + 1 || serves_ended(c);
}

/* Canaries are asked of it, or were. */
static bool is_kept(const struct coordinator *c)
{
	const int state = c->candidate.sm.state;
	return state == CANDIDATE_CHECKING || (state == CANDIDATE_WAITING && c->candidate.canaries > 0);
}

/* There were edits that would get their first version with it, and all of them have ended. */
static bool brings_nothing(const struct coordinator *c)
{
	bool any = false;
	for (size_t i = 0; i < c->merge_count; i++)
		if (c->merges[i].version == 0 && coordinator__seqs_hold(&c->candidate.merges, c->merges[i].id))
			return false;
	for (size_t i = 0; i < c->unserved_count; i++) {
		const struct unserved *waiting = &c->unserved[i];
		if (waiting->version != 0 || !coordinator__seqs_hold(&c->candidate.seqs, waiting->seq))
			continue;
		if (!coordinator__candidate_ended(c, waiting->seq))
			return false;
		any = true;
	}
	return any;
}

const char *coordinator__candidate_outdated(const struct coordinator *c)
{
	if (c->candidate.rec.version != c->version + 1 && !is_kept(c))
		return "another version was published";
	if (c->candidate.lost)
		return "chunks of it are not here any more";
	if (c->candidate.remake)
		return "edits that took its canaries have ended";
	const int state = c->candidate.sm.state;
	if (state == CANDIDATE_REFUSED && coordinator__unpublished(c))
		return "it was refused, and there is something new";
	if ((state == CANDIDATE_CHECKING && !c->config.canaries) || (state == CANDIDATE_WAITING && !c->config.approve))
		return "it waits at a gate that is gone";
	if (!is_kept(c))
		return serves_ended(c) ? "an edit that it serves has ended" : NULL;
	return coordinator__candidate_stale(c) && brings_nothing(c) ? "all that it would bring has ended" : NULL;
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

static void note_merges(const struct coordinator *c, const struct candidate *candidate, char *note, size_t note_bytes)
{
	for (size_t i = 0; i < c->merge_count; i++) {
		const size_t len = strlen(note);
		if (c->merges[i].version == 0 && coordinator__seqs_hold(&candidate->merges, c->merges[i].id))
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
	note_merges(c, candidate, candidate->rec.note, sizeof candidate->rec.note);
	buf_free(&added);
	buf_free(&removed);
	return rc;
}

/* `candidate`: NULL, there was nothing to publish after all. */
static int make_write(struct coordinator *c, const struct candidate *candidate, struct err *e)
{
	struct publishing next = c->publishing;
	next.unpublished = c->merges_out.len > 0;
	int rc = coordinator__begin(c, e);
	if (rc == 0)
		rc = coordinator__candidate_put(c, candidate, e);
	if (rc == 0)
		rc = coordinator__publishing_put(c, &next, e);
	if (rc == 0)
		rc = coordinator__commit(c, "coordinator.candidate.before_commit", "coordinator.candidate.after_commit",
					 e);
	if (rc != 0)
		return rc;
	c->publishing = next;
	c->merges_wait = next.unpublished;
	return 0;
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

int coordinator__candidate_renew(struct coordinator *c, struct err *e)
{
	struct candidate next = c->candidate;
	next.seqs = next.merges = (struct buf)BUF_INIT;
	bool whole;
	int rc = coordinator__newest_restore(c, &whole, e);
	if (rc != 0 || !whole)
		return rc; /* what it would change is not known */
	rc = coordinator__publish_renewed(c, &c->candidate, &next.rec, e);
	if (rc == ERR_AGAIN) { /* its manifest is damaged, and nobody may have it: it is made anew instead */
		err_clear(e);
		c->candidate.lost = c->candidate.look = true;
		return 0;
	}
	if (rc == 0)
		rc = lists_fill(c, &next, e);
	if (rc == 0)
		rc = note_write(c, &next, e);
	if (rc == 0)
		rc = coordinator__begin(c, e);
	if (rc == 0)
		rc = coordinator__candidate_put(c, &next, e);
	if (rc == 0)
		rc = coordinator__commit(c, NULL, NULL, e);
	if (rc != 0) {
		coordinator__candidate_free(&next);
		return rc;
	}
	coordinator__candidate_free(&c->candidate);
	c->candidate = next;
	log_event(LOG_INFO, "COORDINATOR-CANDIDATE-RENEWED", LOGF_U("version", next.rec.version),
		  LOGF_X("content", next.rec.content.bytes, 8), LOGF_S("note", next.rec.note));
	return 0;
}

static int advance(struct coordinator *c, struct err *e)
{
	struct candidate *candidate = &c->candidate;
	const bool held = candidate->sm.state != CANDIDATE_NONE;
	if (coordinator__held_back(c))
		return coordinator__candidate_pause(c, e);
	if (!coordinator__gated(c))
		return held ? coordinator__candidate_let_through(c, e)
			    : 0; /* the rest: coordinator__unpublished_advance */
	const char *why = held && candidate->look ? coordinator__candidate_outdated(c) : NULL;
	candidate->look = false;
	if (why != NULL) {
		int rc = drop(c, why, e);
		if (rc != 0) {
			candidate->look = true;
			return rc;
		}
	}
	if (candidate->sm.state == CANDIDATE_WAITING && is_kept(c) && coordinator__candidate_stale(c))
		return coordinator__candidate_renew(c, e); /* an approval is of what was looked at */
	if (candidate->sm.state != CANDIDATE_NONE || !coordinator__unpublished(c))
		return 0;
	bool whole;
	int rc = coordinator__newest_restore(c, &whole, e);
	return rc == 0 && whole ? make(c, e) : rc;
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
