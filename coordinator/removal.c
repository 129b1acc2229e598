/* removal.c: versions that only take something back: an earlier manifest with more tombstones, and without memories
 * that are lost. */
#include "coordinator/internal.h"

#include "base/arena.h"
#include "base/order.h"
#include "proto/codec.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static bool is_taken_back(uint8_t state)
{
	return state == STORE_EDIT_STATE_REVOKED || state == STORE_EDIT_STATE_EXPIRED;
}

/* What `served` (ascending) holds and people or time have ended; `failed`: or what has ended by itself. */
static int ended_list(const struct coordinator *c, const struct buf *served, bool failed, struct buf *out,
		      struct err *e)
{
	for (size_t i = 0; i < c->shard_count; i++) {
		const struct shard *shard = c->shards[i];
		for (size_t k = 0; k < shard->rec.trained_count; k++) {
			const uint8_t state = shard->states[k];
			if ((failed ? coordinator__state_ended(state) : is_taken_back(state)) &&
			    coordinator__seqs_hold(served, shard->rec.seqs[k]))
				buf_append(out, &shard->rec.seqs[k], sizeof shard->rec.seqs[k]);
		}
	}
	return buf_failed(out) ? err_set(e, ERR_NOMEM, "edits that have ended: out of memory") : 0;
}

static int names_ended(const struct coordinator *c, const struct proto_manifest *m, bool *any, struct err *e)
{
	struct proto_manifest bare = *m;
	struct buf named = BUF_INIT, ended = BUF_INIT;
	bare.removed_count = 0;
	int rc = coordinator__manifest_live(&bare, &named, e);
	if (rc == 0)
		rc = ended_list(c, &named, false, &ended, e);
	*any = ended.len > 0;
	buf_free(&named);
	buf_free(&ended);
	return rc;
}

int coordinator__newest_ended(struct coordinator *c, bool *any, struct err *e)
{
	struct store_version newest;
	struct proto_manifest m;
	struct arena *arena = NULL;
	*any = false;
	if (c->version == 0)
		return 0;
	int rc = coordinator__newest_get(c, &newest, e);
	if (rc == 0)
		rc = coordinator__manifest_read(c, &newest.root, &arena, &m, e);
	if (rc == 0)
		rc = names_ended(c, &m, any, e);
	arena_destroy(&arena);
	if (rc != ERR_AGAIN)
		return rc;
	err_clear(e);
	*any = true; /* as far as can be known */
	return 0;
}

/* --- Memories that are lost. */

static bool is_left(const struct proto_memory *memories, size_t count, uint64_t id)
{
	for (size_t i = 0; i < count; i++)
		if (memories[i].id == id)
			return true;
	return false;
}

/* A merged memory goes with each of its sources; shards come first, by their ids. */
static int memory_stays(struct coordinator *c, const struct proto_memory *memory, const struct proto_memory *left,
			size_t left_count, bool *stays, struct err *e)
{
	bool lost = false;
	int rc = coordinator__memory_lost(c, memory, &lost, e);
	for (size_t i = 0; i < memory->source_count; i++)
		lost = lost || !is_left(left, left_count, memory->sources[i]);
	*stays = !lost;
	return rc;
}

/* *left (the caller's to free, also after an error): those of `m` that are not lost; the set by default is of what is
 * there. */
static int lost_leave(struct coordinator *c, struct proto_manifest *m, struct proto_memory **left, struct err *e)
{
	size_t count = 0, merged = 0;
	bool unrouted = false;
	*left = fault_calloc(m->memory_count + 1, sizeof **left);
	if (*left == NULL)
		return err_set(e, ERR_NOMEM, "out of memory");
	int rc = hash_is_zero(&m->calibration_root) ? 0 : coordinator__root_lost(c, &m->calibration_root, &unrouted, e);
	for (size_t i = 0; rc == 0 && !unrouted && i < m->memory_count; i++) {
		bool stays = false;
		rc = memory_stays(c, &m->memories[i], *left, count, &stays, e);
		if (rc != 0 || !stays)
			continue;
		(*left)[count++] = m->memories[i];
		merged += m->memories[i].kind == PROTO_MEMORY_MERGED;
	}
	if (merged == 0)
		m->default_set = PROTO_SET_RETRIEVE;
	if (count == 0)
		memset(&m->calibration_root, 0, sizeof m->calibration_root);
	m->memories = *left;
	m->memory_count = count;
	return rc;
}

/* --- The next version. */

/* `m` without `ended`. */
static int removal_store(struct coordinator *c, const struct proto_manifest *of, const struct buf *ended,
			 struct store_version *out, struct err *e)
{
	struct proto_manifest m = *of;
	struct buf removed = BUF_INIT, live = BUF_INIT;
	buf_append(&removed, m.removed_seqs, m.removed_count * sizeof *m.removed_seqs);
	buf_append(&removed, ended->data, ended->len);
	int rc = buf_failed(&removed) ? err_set(e, ERR_NOMEM, "out of memory") : 0;
	if (rc == 0) {
		m.version = c->version + 1;
		m.parent = c->version_content;
		m.ledger_seq = c->last_seq;
		m.published_ms = env_wall_ms(c->env);
		m.removed_count = removed.len / sizeof *m.removed_seqs;
		if (m.removed_count > 0)
			qsort(removed.data, m.removed_count, sizeof *m.removed_seqs, order_u64);
		m.removed_seqs = (const void *)removed.data;
		rc = coordinator__manifest_live(&m, &live, e);
	}
	if (rc == 0)
		rc = coordinator__manifest_store(c, &m, live.len / sizeof(uint64_t), out, e);
	buf_free(&removed);
	buf_free(&live);
	return rc;
}

static int removal_make(struct coordinator *c, struct proto_manifest *m, struct store_version *out, struct err *e)
{
	struct buf served = BUF_INIT, ended = BUF_INIT;
	struct proto_memory *left = NULL;
	const size_t before = m->memory_count;
	bool due = false;
	int rc = coordinator__manifest_live(m, &served, e);
	if (rc == 0)
		rc = ended_list(c, &served, false, &ended, e);
	if (rc == 0)
		rc = names_ended(c, m, &due, e);
	if (rc == 0 && due && c->heal.count > 0) /* what is lost is looked for still */
		rc = lost_leave(c, m, &left, e);
	if (rc == 0 && due && (ended.len > 0 || m->memory_count < before))
		rc = removal_store(c, m, &ended, out, e);
	free(left);
	buf_free(&served);
	buf_free(&ended);
	return rc;
}

int coordinator__publish_removal(struct coordinator *c, const char *note, struct store_version *out, struct err *e)
{
	struct store_version newest;
	struct proto_manifest m;
	struct arena *arena = NULL;
	if (c->publishing.paused || !coordinator__gated(c))
		return coordinator__publish_prepare(c, NULL, note, out, e);
	memset(out, 0, sizeof *out);
	if (c->version == 0)
		return 0;
	int rc = coordinator__newest_get(c, &newest, e);
	if (rc == 0)
		rc = coordinator__manifest_read(c, &newest.root, &arena, &m, e);
	if (rc == 0)
		rc = removal_make(c, &m, out, e);
	arena_destroy(&arena);
	coordinator__copy_text(out->note, sizeof out->note, coordinator__text(note));
	if (rc != 0)
		err_wrap(e, "publishing version %" PRIu64 " (%s)", c->version + 1, note);
	return rc;
}

int coordinator__publish_renewed(struct coordinator *c, const struct candidate *candidate, struct store_version *out,
				 struct err *e)
{
	struct proto_manifest m;
	struct arena *arena = NULL;
	struct buf ended = BUF_INIT;
	*out = candidate->rec; /* its note */
	int rc = ended_list(c, &candidate->seqs, true, &ended, e);
	if (rc == 0)
		rc = coordinator__manifest_read(c, &candidate->rec.root, &arena, &m, e);
	if (rc == 0)
		rc = removal_store(c, &m, &ended, out, e);
	buf_free(&ended);
	arena_destroy(&arena);
	return rc;
}
