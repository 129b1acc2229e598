/* hold.c: what stands between a commit and its version: a pause, which an administrator's rollback begins and a resume
 * ends, or a gate (candidate.c). Edits are accepted and trained meanwhile; they have no version until one that holds
 * them is published. */
#include "coordinator/internal.h"

#include "base/arena.h"
#include "base/order.h"
#include "proto/codec.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define META_NAME  "publishing"
#define ARENA_STEP (1 << 16)

bool coordinator__held_back(const struct coordinator *c)
{
	return !coordinator__gated(c) && (c->candidate.sm.state == CANDIDATE_REFUSED || coordinator__withheld_any(c));
}

bool coordinator__publish_held(const struct coordinator *c)
{
	return c->publishing.paused || coordinator__gated(c) || coordinator__held_back(c);
}

static size_t waiting_count(const struct coordinator *c)
{
	size_t n = 0;
	for (size_t i = 0; i < c->unserved_count; i++)
		n += c->unserved[i].version == 0;
	return n;
}

/* A candidate, and what it leaves out. */
static void gate_text(struct coordinator *c, char *out, size_t out_bytes)
{
	char candidate[ERR_TEXT_BYTES_MAX], withheld[ERR_TEXT_BYTES_MAX], both[2 * ERR_TEXT_BYTES_MAX + 2];
	coordinator__candidate_text(c, candidate, sizeof candidate);
	coordinator__withheld_text(c, withheld, sizeof withheld);
	snprintf(both, sizeof both, "%s%s%s", candidate, candidate[0] != '\0' && withheld[0] != '\0' ? "; " : "",
		 withheld);
	coordinator__copy_text(out, out_bytes, coordinator__text(both));
}

void coordinator__held_text(struct coordinator *c, char *out, size_t out_bytes)
{
	const struct publishing *p = &c->publishing;
	char key[65], time[ENV_TIME_BYTES];
	if (!p->paused) {
		gate_text(c, out, out_bytes);
		return;
	}
	proto_key_hex(p->paused_by, key);
	env_time_format(p->paused_ms, time);
	size_t n = waiting_count(c);
	snprintf(out, out_bytes,
		 "publishing is paused since %s by key %.16s (%s): v%" PRIu64
		 " stays, and %zu trained edit%s for `amend version resume`",
		 time, key, p->reason, c->version, n, n == 1 ? " waits" : "s wait");
}

/* --- In the store: one small value. */

int coordinator__publishing_put(struct coordinator *c, const struct publishing *p, struct err *e)
{
	struct buf bytes = BUF_INIT;
	buf_u32le(&bytes, p->paused);
	buf_u32le(&bytes, p->unpublished);
	buf_u64le(&bytes, (uint64_t)p->paused_ms);
	buf_append(&bytes, p->paused_by, sizeof p->paused_by);
	buf_append(&bytes, p->reason, sizeof p->reason);
	int rc = buf_failed(&bytes) ? err_set(e, ERR_NOMEM, "out of memory")
				    : store_meta_put(c->txn, META_NAME, bytes.data, bytes.len, e);
	buf_free(&bytes);
	return rc;
}

static int publishing_parse(const struct buf *bytes, struct publishing *p, struct err *e)
{
	struct reader r;
	reader_init(&r, bytes->data, bytes->len);
	p->paused = reader_u32le(&r) != 0;
	p->unpublished = reader_u32le(&r) != 0;
	p->paused_ms = (int64_t)reader_u64le(&r);
	const void *key = reader_bytes(&r, sizeof p->paused_by), *reason = reader_bytes(&r, sizeof p->reason);
	if (r.overrun || r.at != r.len)
		return err_set(e, ERR_CORRUPT, META_NAME ": %zu bytes are not of its form", bytes->len);
	memcpy(p->paused_by, key, sizeof p->paused_by);
	memcpy(p->reason, reason, sizeof p->reason);
	p->reason[sizeof p->reason - 1] = '\0';
	return 0;
}

int coordinator__publishing_load(struct coordinator *c, struct store_txn *txn, struct err *e)
{
	struct buf bytes = BUF_INIT;
	int rc = store_meta_get(txn, META_NAME, &bytes, e);
	if (rc == 0) {
		rc = publishing_parse(&bytes, &c->publishing, e);
	} else if (rc == ERR_NOT_FOUND) {
		err_clear(e);
		rc = 0;
	}
	buf_free(&bytes);
	return rc;
}

/* --- What waits. */

static int edit_release(struct coordinator *c, uint64_t seq, uint64_t version, struct err *e)
{
	struct store_edit edit;
	int rc = store_edit_get(c->txn, seq, &edit, e);
	if (rc != 0 || edit.state != STORE_EDIT_STATE_TRAINED)
		return rc;
	edit.version = version;
	coordinator__withheld_over(&edit);
	return store_edit_put(c->txn, &edit, e);
}

static bool edit_goes(const struct coordinator *c, const struct unserved *edit, const struct candidate *only)
{
	return edit->version == 0 && (only == NULL ? !coordinator__seqs_hold(&c->withheld, edit->seq)
						   : coordinator__seqs_hold(&only->seqs, edit->seq));
}

static bool merge_goes(const struct coordinator *c, const struct store_merge *merge, const struct candidate *only)
{
	if (merge->version != 0)
		return false;
	return only == NULL ? !coordinator__merge_lost(merge) && !coordinator__seqs_hold(&c->merges_out, merge->id)
			    : coordinator__seqs_hold(&only->merges, merge->id);
}

int coordinator__held_release(struct coordinator *c, uint64_t version, const struct candidate *only, struct err *e)
{
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < c->unserved_count; i++) {
		if (edit_goes(c, &c->unserved[i], only))
			rc = edit_release(c, c->unserved[i].seq, version, e);
	}
	for (size_t i = 0; rc == 0 && i < c->merge_count; i++) {
		struct store_merge merge = c->merges[i];
		if (!merge_goes(c, &merge, only))
			continue;
		merge.version = version;
		rc = store_merge_put(c->txn, &merge, e);
	}
	return rc;
}

void coordinator__held_released(struct coordinator *c, uint64_t version, const struct candidate *only)
{
	for (size_t i = 0; i < c->unserved_count; i++) {
		if (edit_goes(c, &c->unserved[i], only))
			c->unserved[i].version = version;
	}
	for (size_t i = 0; i < c->merge_count; i++) {
		if (merge_goes(c, &c->merges[i], only))
			c->merges[i].version = version;
	}
}

static bool holds(const uint64_t *seqs, size_t count, uint64_t seq)
{
	return count > 0 && bsearch(&seq, seqs, count, sizeof *seqs, order_u64) != NULL;
}

bool coordinator__seqs_hold(const struct buf *seqs, uint64_t seq)
{
	return holds((const void *)seqs->data, seqs->len / sizeof seq, seq);
}

void coordinator__unserved_hold(struct coordinator *c, const struct buf *seqs, uint64_t version)
{
	for (size_t i = 0; i < c->unserved_count; i++) {
		struct unserved *waiting = &c->unserved[i];
		if (!coordinator__seqs_hold(seqs, waiting->seq))
			waiting->version = 0;
		else if (waiting->version == 0)
			waiting->version = version;
	}
}

int coordinator__manifest_live(const struct proto_manifest *m, struct buf *seqs, struct err *e)
{
	struct buf removed = BUF_INIT;
	buf_append(&removed, m->removed_seqs, m->removed_count * sizeof *m->removed_seqs);
	uint64_t *gone = (void *)removed.data;
	if (!buf_failed(&removed) && m->removed_count > 0)
		qsort(gone, m->removed_count, sizeof *gone, order_u64);
	for (size_t i = 0; !buf_failed(&removed) && i < m->memory_count; i++) {
		const struct proto_memory *memory = &m->memories[i];
		for (size_t k = 0; memory->kind == PROTO_MEMORY_SHARD && k < memory->seq_count; k++) {
			if (!holds(gone, m->removed_count, memory->seqs[k]))
				buf_append(seqs, &memory->seqs[k], sizeof memory->seqs[k]);
		}
	}
	bool failed = buf_failed(&removed) || buf_failed(seqs);
	buf_free(&removed);
	if (failed)
		return err_set(e, ERR_NOMEM, "a version's edits: out of memory");
	if (seqs->len > 0)
		qsort(seqs->data, seqs->len / sizeof(uint64_t), sizeof(uint64_t), order_u64);
	return 0;
}

/* Not *again: it is another version's, or cannot be had from there. */
static int from_ledger(struct coordinator *c, const struct hash *root, struct buf *out, bool *again, struct err *e)
{
	struct store_version newest;
	*again = false;
	if (c->version == 0)
		return 0;
	int rc = coordinator__newest_get(c, &newest, e);
	if (rc != 0 || !hash_equal(&newest.root, root))
		return rc;
	rc = coordinator__newest_restore(c, again, e);
	if (rc != 0 || !*again)
		return rc;
	rc = store_blob_get(c->store, root, PROTO_MANIFEST_BYTES_MAX, out, e);
	*again = rc == 0;
	return rc == ERR_CORRUPT || rc == ERR_NOT_FOUND ? 0 : rc;
}

/* Damage passes: the chunk is set apart and fetched anew (heal.c), the newest version's from the ledger. */
int coordinator__manifest_bytes(struct coordinator *c, const struct hash *root, struct buf *out, struct err *e)
{
	struct err look = ERR_INIT;
	int rc = coordinator__blob_get(c, root, PROTO_MANIFEST_BYTES_MAX, out, e);
	bool apart = rc == ERR_CORRUPT, again = false;
	const int looked = rc == ERR_NOT_FOUND ? coordinator__blob_apart(c, root, &apart, &look) : 0;
	if (looked == 0 && !apart)
		return rc;
	buf_clear(out);
	*e = look;
	rc = looked == 0 ? from_ledger(c, root, out, &again, e) : looked;
	if (rc != 0 || again)
		return rc;
	return err_set(e, ERR_AGAIN, "the version's manifest is damaged here: workers and nodes are asked for it");
}

int coordinator__manifest_read(struct coordinator *c, const struct hash *root, struct arena **arena,
			       struct proto_manifest *out, struct err *e)
{
	struct buf bytes = BUF_INIT;
	*arena = NULL;
	int rc = coordinator__manifest_bytes(c, root, &bytes, e);
	if (rc == 0)
		rc = arena_new(ARENA_STEP, 0, arena) != 0 ? err_set(e, ERR_NOMEM, "out of memory") : 0;
	if (rc == 0)
		rc = proto_manifest_decode(bytes.data, bytes.len, *arena, out, e);
	buf_free(&bytes);
	return rc;
}

int coordinator__manifest_seqs(struct coordinator *c, const struct hash *root, struct buf *seqs, struct err *e)
{
	struct proto_manifest manifest;
	struct arena *arena = NULL;
	int rc = coordinator__manifest_read(c, root, &arena, &manifest, e);
	if (rc == 0)
		rc = coordinator__manifest_live(&manifest, seqs, e);
	arena_destroy(&arena);
	return rc;
}

int coordinator__unserved_look(struct coordinator *c, struct err *e)
{
	struct buf seqs = BUF_INIT;
	int rc = coordinator__newest_seqs(c, &seqs, e);
	if (rc == 0)
		coordinator__unserved_hold(c, &seqs, c->version);
	buf_free(&seqs);
	return rc;
}
