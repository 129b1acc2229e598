/* place.c: text rules only: which shard an edit goes to, which earlier edits it contradicts, and which id it gets
 * (design.md, Decisions). */
#include "coordinator/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool takes_edits(const struct shard *shard)
{
	return shard->rec.state == STORE_SHARD_STATE_OPEN && !shard->rec.closing;
}

/* One open shard for each live worker; with none alive but one known, one. */
static size_t shards_wanted(const struct coordinator *c)
{
	size_t live = coordinator__workers_live(c), known = 0;
	for (size_t i = 0; i < c->peer_count; i++)
		known += c->peers[i]->kind == MSG_PEER_WORKER;
	return live > 0 ? live : (known > 0 ? 1 : 0);
}

/* What the edit supersedes lies in this shard, and is answered until a version holds the edit. The canaries may have
 * the edit withheld, so it must not take the place of that in the memory: it is trained in another shard. */
static int answers_before(struct coordinator *c, const struct shard *shard, const struct store_edit *edit, bool *out,
			  struct err *e)
{
	int rc = 0;
	*out = false;
	for (size_t i = 0;
	     rc == 0 && !*out && edit->supersedes != 0 && c->config.canaries && i < shard->rec.trained_count; i++) {
		struct store_edit earlier;
		if (shard->states[i] != STORE_EDIT_STATE_SUPERSEDED)
			continue;
		rc = store_edit_get(c->txn, shard->rec.seqs[i], &earlier, e);
		*out = rc == 0 && earlier.superseded_by == edit->seq && earlier.version != 0;
	}
	return rc;
}

/* The newest edit of a subject or prompt names its shard: what people say about one thing is trained together. */
static int shard_of_keys(struct coordinator *c, const struct store_edit *of, const struct edit_keys *keys,
			 struct shard **out, struct err *e)
{
	struct buf seqs = BUF_INIT;
	int rc = coordinator__keys_list(c, keys, &seqs, e);
	const uint64_t *list = (const void *)seqs.data;
	for (size_t i = seqs.len / sizeof *list; rc == 0 && *out == NULL && i-- > 0;) {
		struct store_edit edit;
		rc = store_edit_get(c->txn, list[i], &edit, e);
		struct shard *shard = rc == 0 && edit.shard != 0 ? coordinator__shard_find(c, edit.shard) : NULL;
		bool taken = shard != NULL && !takes_edits(shard);
		if (shard != NULL && !taken)
			rc = answers_before(c, shard, of, &taken, e);
		if (shard != NULL && rc == 0 && !taken)
			*out = shard;
		else if (shard != NULL)
			break; /* the subject moves to another shard like any other */
	}
	buf_free(&seqs);
	if (rc == ERR_NOT_FOUND) {
		err_clear(e);
		rc = 0;
	}
	return rc;
}

/* Of those that may take the edit; *out NULL: none is. */
static int emptiest(struct coordinator *c, const struct store_edit *edit, size_t *open, struct shard **out,
		    struct err *e)
{
	int rc = 0;
	*out = NULL;
	*open = 0;
	for (size_t i = 0; rc == 0 && i < c->shard_count; i++) {
		struct shard *shard = c->shards[i];
		bool taken;
		if (!takes_edits(shard))
			continue;
		(*open)++;
		rc = answers_before(c, shard, edit, &taken, e);
		if (rc == 0 && !taken && (*out == NULL || shard->rec.seq_count < (*out)->rec.seq_count))
			*out = shard;
	}
	return rc;
}

static int choose(struct coordinator *c, const struct store_edit *edit, const struct edit_keys *keys,
		  struct shard **out, struct err *e)
{
	size_t open;
	*out = NULL;
	int rc = shard_of_keys(c, edit, keys, out, e);
	if (rc != 0 || *out != NULL)
		return rc;
	rc = emptiest(c, edit, &open, out, e);
	if (rc == 0 && (open < shards_wanted(c) || (open > 0 && *out == NULL))) {
		*out = coordinator__shard_add(c, e);
		return *out != NULL ? 0 : e->code;
	}
	return rc;
}

/* A group lies in one shard, place after place: one training, one commit and one version for all of it. `*first`: no
 * edit of it lies anywhere yet, and none before this one will. */
static int choose_beside(struct coordinator *c, const struct store_edit *edit, struct shard **out, bool *first,
			 struct err *e)
{
	struct store_edit before = { .seq = edit->group - 1 };
	int rc = 0;
	*out = NULL;
	*first = true;
	while (rc == 0 && *out == NULL) {
		rc = store_edit_next(c->txn, before.seq + 1, UINT32_MAX, &before, e);
		if (rc == 0 && before.seq >= edit->seq)
			return 0;
		if (rc != 0 || before.group != edit->group)
			continue;
		if (before.shard != 0)
			*out = coordinator__shard_find(c, before.shard);
		*first &= before.shard == 0 && !coordinator__edit_live(before.state);
	}
	if (rc != ERR_NOT_FOUND)
		return rc;
	err_clear(e); /* this one is not kept yet, and the last */
	return 0;
}

/* For the first of a group, when there is no room for the others behind it. */
static int choose_roomy(struct coordinator *c, struct shard **shard, struct err *e)
{
	if (*shard == NULL || (*shard)->rec.seq_count + coordinator__group_max(c) <= STORE_SHARD_EDITS_MAX)
		return 0;
	(*shard)->rec.closing = true;
	coordinator__touch(*shard);
	*shard = coordinator__shard_add(c, e);
	return *shard != NULL ? 0 : e->code;
}

static int place(struct coordinator *c, struct store_edit *edit, const struct edit_keys *keys, struct err *e)
{
	struct shard *shard = NULL;
	bool first = edit->group == edit->seq;
	int rc = edit->group == 0 || first ? 0 : choose_beside(c, edit, &shard, &first, e);
	if (rc == 0 && (edit->group == 0 || first))
		rc = choose(c, edit, keys, &shard, e);
	if (rc == 0 && first)
		rc = choose_roomy(c, &shard, e);
	if (rc != 0 || shard == NULL)
		return rc;
	rc = coordinator__shard_append(shard, edit, STORE_EDIT_STATE_PLACED, e);
	if (rc != 0)
		return rc;
	edit->state = STORE_EDIT_STATE_PLACED;
	edit->shard = shard->rec.id;
	if (shard->rec.seq_count >= c->config.edits_per_shard)
		shard->rec.closing = true;
	return 0;
}

/* Behind those that wait: a shard's edits are in ledger order. */
int coordinator__place(struct coordinator *c, struct store_edit *edit, const struct edit_keys *keys, struct err *e)
{
	return c->counts[STORE_EDIT_STATE_ACCEPTED] > 0 ? 0 : place(c, edit, keys, e);
}

static int place_one(struct coordinator *c, struct store_edit *edit, struct err *e)
{
	struct record *record = NULL;
	struct edit_keys keys = EDIT_KEYS_INIT;
	int rc = coordinator__record_of(c, edit->seq, &record, e);
	if (rc == ERR_INVALID) {
		struct err bad = *e;
		err_clear(e);
		return coordinator__edit_move(c, edit, STORE_EDIT_STATE_REJECTED, bad.text, e);
	}
	if (rc == 0)
		rc = coordinator__keys_of(record, &keys, e);
	if (rc == 0)
		rc = place(c, edit, &keys, e);
	if (rc == 0 && edit->state == STORE_EDIT_STATE_PLACED) {
		c->counts[STORE_EDIT_STATE_ACCEPTED]--;
		c->counts[STORE_EDIT_STATE_PLACED]++;
		rc = store_edit_put(c->txn, edit, e);
	}
	coordinator__keys_free(&keys);
	record_destroy(&record);
	return rc;
}

static int place_batch(struct coordinator *c, uint64_t *from, struct err *e)
{
	uint64_t group = 0;
	int rc = coordinator__begin(c, e);
	for (uint32_t n = 0; rc == 0; n++) {
		struct store_edit edit = { .seq = 0 };
		rc = store_edit_next(c->txn, *from, SM_TO(STORE_EDIT_STATE_ACCEPTED), &edit, e);
		if (rc == 0 && n >= c->config.commit_edits_max && (edit.group == 0 || edit.group != group))
			break; /* a group is placed in one transaction */
		if (rc == 0)
			rc = place_one(c, &edit, e);
		*from = edit.seq + 1;
		group = edit.group;
	}
	if (rc == ERR_NOT_FOUND) {
		*from = 0;
		rc = 0;
	}
	return rc == 0 ? coordinator__commit(c, NULL, NULL, e) : rc;
}

void coordinator__place_waiting(struct coordinator *c)
{
	uint64_t from = 1;
	bool open = false;
	if (c->failure.code != 0 || coordinator__write_held(c) || c->counts[STORE_EDIT_STATE_ACCEPTED] == 0)
		return;
	for (size_t i = 0; !open && i < c->shard_count; i++)
		open = takes_edits(c->shards[i]);
	if (!open && shards_wanted(c) == 0)
		return;
	while (from != 0) {
		struct err e = ERR_INIT;
		if (place_batch(c, &from, &e) != 0) {
			coordinator__txn_failed(c, &e);
			return;
		}
	}
}

static int conflicts_with(struct coordinator *c, const struct record *record, enum msg_on_conflict policy, uint64_t seq,
			  bool *conflicts, struct err *e)
{
	int (*compare)(const struct record *, const struct record *, bool *) = policy == MSG_KEEP ? record_clashes
												  : record_conflicts;
	struct store_edit edit;
	struct record *other = NULL;
	*conflicts = false;
	int rc = store_edit_get(c->txn, seq, &edit, e);
	if (rc != 0 || !coordinator__edit_live(edit.state))
		return rc;
	rc = coordinator__record_of(c, seq, &other, e);
	if (rc == ERR_INVALID) { /* kept under older rules: it cannot be compared, and must not stop anything */
		err_clear(e);
		return 0;
	}
	if (rc == 0 && compare(record, other, conflicts) != 0)
		rc = err_set(e, ERR_NOMEM, "comparing with edit %" PRIu64 ": out of memory", seq);
	record_destroy(&other);
	return rc;
}

/* The newest SUBJECT_EDITS_MAX of a list, which is ascending. */
static int conflicts_among(struct coordinator *c, const struct record *record, enum msg_on_conflict policy,
			   const struct buf *seqs, struct buf *out, struct err *e)
{
	const uint64_t *list = (const void *)seqs->data;
	const size_t count = seqs->len / sizeof *list;
	int rc = 0;
	for (size_t i = count > SUBJECT_EDITS_MAX ? count - SUBJECT_EDITS_MAX : 0; rc == 0 && i < count; i++) {
		bool conflicts;
		rc = conflicts_with(c, record, policy, list[i], &conflicts, e);
		if (rc == 0 && conflicts)
			buf_append(out, &list[i], sizeof list[i]);
	}
	return rc;
}

/* Gives the record of an edit that asks the same of what bears another name, else NULL. */
static int known_by_alias(struct coordinator *c, const struct record *record, const struct edit_keys *keys,
			  uint64_t seq, struct record **out, struct err *e)
{
	struct record *other = NULL;
	struct buf name = BUF_INIT;
	bool clashes = true;
	int rc = coordinator__record_of(c, seq, &other, e);
	if (rc == 0 && record->subject.text != NULL && other->subject.text != NULL)
		rc = record_clashes(record, other, &clashes);
	if (rc == 0 && !clashes)
		rc = record_subject_key(other, &name);
	*out = rc == 0 && !clashes &&
			       (name.len != keys->subject.len || memcmp(name.data, keys->subject.data, name.len) != 0)
		       ? other
		       : NULL;
	if (*out == NULL)
		record_destroy(&other);
	buf_free(&name);
	return rc == ERR_NOMEM ? err_set(e, rc, "comparing with edit %" PRIu64 ": out of memory", seq) : rc;
}

/* One alias that two subjects have names neither: what conflicts by it alone stays. Two that know each other by their
 * names are one subject. */
static int ambiguous_leave(struct coordinator *c, const struct record *record, const struct edit_keys *keys,
			   struct buf *out, struct err *e)
{
	uint64_t *seqs = (void *)out->data;
	const size_t count = out->len / sizeof *seqs;
	struct record *first = NULL;
	struct buf kept = BUF_INIT;
	bool ambiguous = false;
	int rc = 0;
	for (size_t i = 0; rc == 0 && count > 1 && i < count; i++) {
		struct record *other = NULL;
		bool same = true;
		rc = known_by_alias(c, record, keys, seqs[i], &other, e);
		if (rc == 0 && other == NULL)
			buf_append(&kept, &seqs[i], sizeof seqs[i]);
		if (first == NULL) {
			first = other;
			continue;
		}
		if (rc == 0 && other != NULL && (rc = record_same_subject(first, other, &same)) != 0)
			rc = err_set(e, rc, "comparing with edit %" PRIu64 ": out of memory", seqs[i]);
		ambiguous |= !same;
		record_destroy(&other);
	}
	if (rc == 0 && buf_failed(&kept))
		rc = err_set(e, ERR_NOMEM, "conflicts: out of memory");
	if (rc == 0 && ambiguous) {
		out->len = kept.len;
		if (kept.len > 0)
			memcpy(out->data, kept.data, kept.len);
	}
	record_destroy(&first);
	buf_free(&kept);
	return rc;
}

/* The very same prompt is looked for by itself: other edits on the subject, however many, do not hide it. */
int coordinator__conflicts(struct coordinator *c, const struct record *record, const struct edit_keys *keys,
			   enum msg_on_conflict policy, struct buf *out, struct err *e)
{
	struct buf same = BUF_INIT, rivals = BUF_INIT;
	int rc = store_subject_list(c->txn, keys->prompt.data, keys->prompt.len, &same, e);
	if (rc == 0)
		rc = conflicts_among(c, record, policy, &same, out, e);
	if (rc == 0 && policy != MSG_KEEP)
		rc = coordinator__rivals_list(c, keys, &rivals, e);
	if (rc == 0 && policy != MSG_KEEP)
		rc = conflicts_among(c, record, policy, &rivals, out, e);
	buf_free(&same);
	buf_free(&rivals);
	if (rc == 0 && buf_failed(out))
		return err_set(e, ERR_NOMEM, "conflicts: out of memory");
	if (rc == 0)
		coordinator__seqs_sort(out);
	return rc == 0 && policy != MSG_KEEP ? ambiguous_leave(c, record, keys, out, e) : rc;
}

/* The same text in other bytes (spaces, order of keys) is the same edit. */
static int same_content(struct coordinator *c, const struct record *record, const struct hash *payload,
			const struct store_edit *edit, bool *same, struct err *e)
{
	struct record *other = NULL;
	*same = hash_equal(payload, &edit->content);
	if (*same)
		return 0;
	int rc = coordinator__record_submitted(c, edit->seq, &other, e);
	if (rc == ERR_INVALID) {
		err_clear(e);
		return 0;
	}
	if (rc == 0)
		*same = hash_equal(&record->content, &other->content);
	record_destroy(&other);
	return rc;
}

/* design.md, Decisions: the id is free again once its edit was superseded, revoked or expired, so that A → B → A works.
 * One that failed keeps it: sending a file twice must change nothing. */
static bool ended_for_resubmit(int state)
{
	return state == STORE_EDIT_STATE_SUPERSEDED || state == STORE_EDIT_STATE_REVOKED ||
	       state == STORE_EDIT_STATE_EXPIRED;
}

int coordinator__edit_id(struct coordinator *c, const struct record *record, const struct hash *payload,
			 char out[STORE_ID_BYTES], uint64_t *seq, struct err *e)
{
	for (unsigned n = 1; n <= ID_SUFFIX_MAX; n++) {
		struct store_edit edit;
		bool same;
		if (n == 1)
			snprintf(out, STORE_ID_BYTES, "%s", record->id.text);
		else
			snprintf(out, STORE_ID_BYTES, "%.*s~%u", RECORD_ID_BYTES_MAX, record->id.text, n);
		int rc = store_edit_find(c->txn, out, &edit, e);
		if (rc == ERR_NOT_FOUND) {
			err_clear(e);
			return 0;
		}
		if (rc != 0)
			return rc;
		if (ended_for_resubmit(edit.state))
			continue;
		*seq = edit.seq;
		rc = same_content(c, record, payload, &edit, &same, e);
		if (rc != 0)
			return rc;
		return same ? err_set(e, ERR_EXISTS, "edit %s is there already as seq %" PRIu64, out, edit.seq)
			    : err_set(e, ERR_CONFLICT,
				      "id: edit %s (seq %" PRIu64
				      ") has this id with other content: give the new one an id of its own",
				      out, edit.seq);
	}
	return err_set(e, ERR_LIMIT, "id: %s was used %d times: give this edit another id", record->id.text,
		       ID_SUFFIX_MAX);
}

int coordinator__ends_approved(struct coordinator *c, const struct store_edit *edit, unsigned roles,
			       const struct buf *earlier, uint64_t *seq, struct err *e)
{
	const uint64_t *seqs = (const void *)earlier->data;
	int rc = 0;
	*seq = 0;
	if (!c->config.approve || edit->expires_ms == 0 || (roles & PROTO_ROLE_ADMIN) != 0)
		return 0;
	for (size_t i = 0; rc == 0 && *seq == 0 && i < earlier->len / sizeof *seqs; i++) {
		struct store_edit old;
		rc = store_edit_get(c->txn, seqs[i], &old, e);
		if (rc == 0 && old.version != 0)
			*seq = old.seq;
	}
	return rc;
}
