/* withhold.c: a candidate is refused by the canaries: which edits took them, and what goes on without those. A canary
 * that changed was answered by one memory, mostly by the route of one edit. Of the edits that the candidate would have
 * brought, those that changed most are withheld: later candidates have their tombstones, so that the rest can be
 * published, and they stay trained and without a version until somebody revokes them or a resume has them asked again.
 * What is served already is never withheld: only people take that back. */
#include "coordinator/internal.h"

#include "base/order.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define META_NAME   "withheld"
#define COUNT_MAX   4096 /* edits; beyond that a refused candidate stays refused */
#define SHOWN_MAX   2
#define REASON_HEAD "withheld: "

/* --- Who took them. */

static void blame_add(struct blame *blame, uint64_t seq)
{
	size_t i = 0;
	while (i < blame->edit_count && blame->edits[i].seq != seq)
		i++;
	if (i == blame->edit_count)
		blame->edits[blame->edit_count++] = (struct blame_edit){ .seq = seq };
	blame->edits[i].canary_count++;
}

static int worst_first(const void *a, const void *b)
{
	const struct blame_edit *x = a, *y = b;
	if (x->canary_count != y->canary_count)
		return x->canary_count > y->canary_count ? -1 : 1;
	return (x->seq < y->seq) - (x->seq > y->seq); /* the newer one */
}

void coordinator__blame(const struct coordinator *c, const struct msg_canary_result *result, const bool *meant,
			struct blame *out)
{
	uint32_t named = 0, meant_count = 0;
	*out = (struct blame){ .edit_count = 0 };
	for (size_t i = 0; i < result->changed_count; i++) {
		const struct msg_canary_change *change = &result->changed[i];
		const uint64_t merge = change->memory - MERGED_MEMORY_FIRST;
		meant_count += meant[i];
		if (meant[i])
			continue;
		if (change->memory >= MERGED_MEMORY_FIRST && coordinator__seqs_hold(&c->candidate.merges, merge)) {
			out->merges = true;
			out->merged_count++;
		} else if (change->edit != 0 && coordinator__seqs_hold(&c->candidate.seqs, change->edit)) {
			blame_add(out, change->edit);
			named++;
		}
	}
	out->unnamed_count = result->changed_total - meant_count - named - out->merged_count;
	if (out->edit_count > 0)
		qsort(out->edits, out->edit_count, sizeof out->edits[0], worst_first);
}

uint32_t coordinator__blame_ended(const struct coordinator *c, const struct blame *blame)
{
	uint32_t count = 0;
	for (size_t i = 0; i < blame->edit_count; i++)
		if (coordinator__candidate_ended(c, blame->edits[i].seq))
			count += blame->edits[i].canary_count;
	return count;
}

/* --- What is withheld. */

/* The edits that the candidate would bring of its all-or-nothing group, itself among them. */
static void group_add(const struct coordinator *c, uint64_t seq, const struct buf *added, struct buf *out)
{
	for (size_t i = 0; i < c->shard_count; i++) {
		const struct shard *shard = c->shards[i];
		const size_t place = coordinator__shard_place(shard, seq);
		const uint64_t group = place != SIZE_MAX ? shard->groups[place] : 0;
		for (size_t k = 0; group != 0 && k < shard->rec.trained_count; k++)
			if (shard->groups[k] == group && shard->rec.seqs[k] != seq &&
			    coordinator__seqs_hold(added, shard->rec.seqs[k]))
				buf_append(out, &shard->rec.seqs[k], sizeof seq);
	}
	buf_append(out, &seq, sizeof seq);
}

/* The worst first, until the rest is within what may change. */
static void edits_choose(const struct coordinator *c, const struct blame *blame, uint32_t over, const struct buf *added,
			 struct buf *out)
{
	for (size_t i = 0; i < blame->edit_count && over > 0; i++) {
		if (!coordinator__seqs_hold(added, blame->edits[i].seq))
			continue;
		group_add(c, blame->edits[i].seq, added, out);
		over -= over < blame->edits[i].canary_count ? over : blame->edits[i].canary_count;
	}
	over -= over < blame->merged_count ? over : blame->merged_count;
	if (over > 0 && blame->unnamed_count == 0)
		buf_clear(out); /* it would not do: what is served already takes more than may change */
	if ((c->withheld.len + out->len) / sizeof(uint64_t) > COUNT_MAX)
		buf_clear(out);
	if (!buf_failed(out))
		coordinator__seqs_sort(out);
}

static bool brings_merge(const struct coordinator *c)
{
	for (size_t i = 0; i < c->merge_count; i++)
		if (c->merges[i].version == 0 && coordinator__seqs_hold(&c->candidate.merges, c->merges[i].id))
			return true;
	return false;
}

static bool any_left(const struct buf *seqs, const struct buf *without)
{
	const uint64_t *list = (const void *)seqs->data;
	for (size_t i = 0; i < seqs->len / sizeof *list; i++)
		if (!coordinator__seqs_hold(without, list[i]))
			return true;
	return false;
}

int coordinator__withhold_choose(struct coordinator *c, const struct blame *blame, uint32_t over,
				 struct withholding *out, struct err *e)
{
	struct buf added = BUF_INIT, removed = BUF_INIT, kept = BUF_INIT;
	*out = (struct withholding){ .seqs = BUF_INIT };
	int rc = coordinator__candidate_changes(c, &added, &removed, e);
	if (rc == 0) {
		edits_choose(c, blame, over, &added, &out->seqs);
		rc = buf_failed(&out->seqs) ? err_set(e, ERR_NOMEM, "withheld edits: out of memory") : 0;
	}
	if (rc == 0)
		rc = coordinator__withheld_keeps(c, &out->seqs, &kept, e);
	if (rc == 0) {
		/* where nobody is named, merges are suspected first */
		out->merges = blame->merges || out->seqs.len == 0;
		out->rest = out->seqs.len > 0 &&
			    (any_left(&removed, &kept) || brings_merge(c) || any_left(&added, &out->seqs));
	}
	buf_free(&added);
	buf_free(&removed);
	buf_free(&kept);
	return rc;
}

void coordinator__withholding_free(struct withholding *withholding)
{
	buf_free(&withholding->seqs);
}

/* Those that are live in a shard's memory. */
static int live_list(const struct coordinator *c, const struct buf *seqs, struct buf *out)
{
	for (size_t i = 0; seqs->len > 0 && i < c->shard_count; i++) {
		const struct shard *shard = c->shards[i];
		for (size_t k = 0; k < shard->rec.trained_count; k++)
			if (coordinator__edit_live(shard->states[k]) &&
			    coordinator__seqs_hold(seqs, shard->rec.seqs[k]))
				buf_append(out, &shard->rec.seqs[k], sizeof shard->rec.seqs[k]);
	}
	if (!buf_failed(out))
		coordinator__seqs_sort(out);
	return buf_failed(out) ? ERR_NOMEM : 0;
}

int coordinator__withheld_keeps(struct coordinator *c, const struct buf *withheld, struct buf *out, struct err *e)
{
	struct store_txn *txn = NULL;
	struct buf live = BUF_INIT;
	int rc = live_list(c, withheld, &live) != 0 ? err_set(e, ERR_NOMEM, "withheld edits: out of memory") : 0;
	if (rc == 0 && live.len > 0)
		rc = store_begin_read(c->store, &txn, e);
	for (size_t i = 0; live.len > 0 && i < c->shard_count; i++) {
		const struct shard *shard = c->shards[i];
		for (size_t k = 0; rc == 0 && k < shard->rec.trained_count; k++) {
			struct store_edit edit;
			if (shard->states[k] != STORE_EDIT_STATE_SUPERSEDED)
				continue;
			rc = store_edit_get(txn, shard->rec.seqs[k], &edit, e);
			if (rc == 0 && edit.version != 0 && coordinator__seqs_hold(&live, edit.superseded_by) &&
			    coordinator__shard_place(shard, edit.superseded_by) == SIZE_MAX)
				buf_append(out, &edit.seq, sizeof edit.seq);
		}
	}
	store_abort(&txn);
	buf_free(&live);
	if (rc == 0 && buf_failed(out))
		rc = err_set(e, ERR_NOMEM, "withheld edits: out of memory");
	if (rc == 0)
		coordinator__seqs_sort(out);
	return rc;
}

static int reasons_put(struct coordinator *c, const struct buf *seqs, const char *reason, struct err *e)
{
	const uint64_t *list = (const void *)seqs->data;
	char text[2 * STORE_REASON_BYTES];
	int rc = 0;
	snprintf(text, sizeof text, REASON_HEAD "%s", reason);
	for (size_t i = 0; rc == 0 && i < seqs->len / sizeof *list; i++) {
		struct store_edit edit;
		rc = store_edit_get(c->txn, list[i], &edit, e);
		coordinator__copy_text(edit.reason, sizeof edit.reason, coordinator__text(text));
		if (rc == 0)
			rc = store_edit_put(c->txn, &edit, e);
	}
	return rc;
}

void coordinator__withheld_over(struct store_edit *edit)
{
	if (strncmp(edit->reason, REASON_HEAD, sizeof REASON_HEAD - 1) == 0)
		edit->reason[0] = '\0';
}

int coordinator__withheld_add(struct coordinator *c, const struct buf *seqs, const char *reason, struct buf *all,
			      struct err *e)
{
	int rc = live_list(c, &c->withheld, all);
	buf_append(all, seqs->data, seqs->len);
	if (rc != 0 || buf_failed(all))
		return err_set(e, ERR_NOMEM, "withheld edits: out of memory");
	coordinator__seqs_sort(all);
	rc = reasons_put(c, seqs, reason, e);
	return rc == 0 ? coordinator__withheld_put(c, all, e) : rc;
}

int coordinator__withheld_put(struct coordinator *c, const struct buf *seqs, struct err *e)
{
	struct buf bytes = BUF_INIT;
	const uint64_t *list = (const void *)seqs->data;
	for (size_t i = 0; i < seqs->len / sizeof *list; i++)
		buf_u64le(&bytes, list[i]);
	int rc = buf_failed(&bytes) ? err_set(e, ERR_NOMEM, "out of memory")
				    : store_meta_put(c->txn, META_NAME, bytes.data, bytes.len, e);
	buf_free(&bytes);
	return rc;
}

int coordinator__withheld_forget(struct coordinator *c, const struct buf *seqs, struct err *e)
{
	const uint64_t *list = (const void *)seqs->data;
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < seqs->len / sizeof *list; i++) {
		struct store_edit edit;
		rc = store_edit_get(c->txn, list[i], &edit, e);
		if (rc != 0 || !coordinator__edit_live(edit.state))
			continue;
		coordinator__withheld_over(&edit);
		rc = store_edit_put(c->txn, &edit, e);
	}
	return rc == 0 ? coordinator__withheld_put(c, &(struct buf)BUF_INIT, e) : rc;
}

int coordinator__withheld_load(struct coordinator *c, struct store_txn *txn, struct err *e)
{
	struct buf bytes = BUF_INIT;
	struct reader r;
	int rc = store_meta_get(txn, META_NAME, &bytes, e);
	reader_init(&r, bytes.data, bytes.len);
	while (rc == 0 && r.at < r.len && !r.overrun) {
		const uint64_t seq = reader_u64le(&r);
		buf_append(&c->withheld, &seq, sizeof seq);
	}
	if (rc == ERR_NOT_FOUND) {
		err_clear(e);
		rc = 0;
	} else if (rc == 0 && r.overrun) {
		rc = err_set(e, ERR_CORRUPT, META_NAME ": %zu bytes are not of its form", bytes.len);
	} else if (rc == 0 && buf_failed(&c->withheld)) {
		rc = err_set(e, ERR_NOMEM, "out of memory");
	}
	buf_free(&bytes);
	return rc;
}

/* --- For people. */

static void ids_write(struct coordinator *c, const uint64_t *seqs, size_t count, char *out, size_t out_bytes)
{
	struct store_txn *txn = NULL;
	struct err unused = ERR_INIT;
	size_t at = 0;
	int rc = store_begin_read(c->store, &txn, &unused);
	out[0] = '\0';
	for (size_t i = 0; rc == 0 && i < count && i < SHOWN_MAX; i++) {
		struct store_edit edit;
		rc = store_edit_get(txn, seqs[i], &edit, &unused);
		if (rc != 0)
			break;
		at += (size_t)snprintf(out + at, out_bytes - at, "%s%s", i > 0 ? ", " : "", edit.id);
	}
	if (count > SHOWN_MAX)
		snprintf(out + at, out_bytes - at, " and others");
	store_abort(&txn);
}

int coordinator__withheld_list(struct coordinator *c, struct buf *out, struct err *e)
{
	return live_list(c, &c->withheld, out) != 0 ? err_set(e, ERR_NOMEM, "withheld edits: out of memory") : 0;
}

bool coordinator__withheld_any(const struct coordinator *c)
{
	for (size_t i = 0; c->withheld.len > 0 && i < c->shard_count; i++) {
		const struct shard *shard = c->shards[i];
		for (size_t k = 0; k < shard->rec.trained_count; k++)
			if (coordinator__edit_live(shard->states[k]) &&
			    coordinator__seqs_hold(&c->withheld, shard->rec.seqs[k]))
				return true;
	}
	return false;
}

void coordinator__withheld_text(struct coordinator *c, char *out, size_t out_bytes)
{
	struct buf seqs = BUF_INIT;
	char ids[(SHOWN_MAX + 1) * STORE_ID_BYTES];
	out[0] = '\0';
	const bool any = live_list(c, &c->withheld, &seqs) == 0 && seqs.len > 0;
	const size_t count = seqs.len / sizeof(uint64_t);
	if (any) {
		ids_write(c, (const void *)seqs.data, count, ids, sizeof ids);
		snprintf(
			out, out_bytes,
			"%zu edit%s withheld, as unrelated questions are answered otherwise with %s (%s): take %s back "
			"by `amend edit revoke`, or have %s asked again by `amend version resume`",
			count, count == 1 ? " is" : "s are", count == 1 ? "it" : "them", ids,
			count == 1 ? "it" : "them", count == 1 ? "it" : "them");
	}
	buf_free(&seqs);
}
