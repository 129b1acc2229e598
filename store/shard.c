/* shard.c: shards with their lease and the edits placed on them. */
#include "store/record.h"
#include "base/fault.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const struct sm_state shard_states[STORE_SHARD_STATE_COUNT] = {
	[STORE_SHARD_STATE_OPEN] = { "open", SM_TO(STORE_SHARD_STATE_CLOSED) },
	[STORE_SHARD_STATE_CLOSED] = { "closed", SM_TO(STORE_SHARD_STATE_MERGING) },
	[STORE_SHARD_STATE_MERGING] = { "merging", SM_TO(STORE_SHARD_STATE_MERGED) | SM_TO(STORE_SHARD_STATE_CLOSED) },
	[STORE_SHARD_STATE_MERGED] = { "merged", SM_TO(STORE_SHARD_STATE_MERGING) },
};

const struct sm_table store_shard_states = { "shard", shard_states, STORE_SHARD_STATE_COUNT, STORE_SHARD_STATE_OPEN };

void store_shard_fini(struct store_shard *shard)
{
	free(shard->seqs);
	free(shard->replays);
	shard->seqs = NULL;
	shard->replays = NULL;
	shard->seq_count = shard->replay_count = 0;
}

static bool counts_fit(const struct store_shard *shard)
{
	return shard->seq_count <= STORE_SHARD_EDITS_MAX && shard->replay_count <= STORE_SHARD_REPLAYS_MAX &&
	       shard->trained_count <= shard->seq_count &&
	       shard->group_count <= shard->seq_count - shard->trained_count &&
	       shard->removals_covered <= shard->removals_assigned && shard->removals_assigned <= shard->removal_count;
}

static int take_seqs(struct reader *r, struct store_shard *out, struct err *e)
{
	out->seq_count = reader_u32le(r);
	out->trained_count = reader_u32le(r);
	out->group_count = reader_u32le(r);
	if (!counts_fit(out) || out->seq_count > (r->len - r->at) / 8) {
		r->overrun = true;
		out->seq_count = 0;
		return 0;
	}
	if (!out->seq_count)
		return 0;
	out->seqs = fault_malloc(out->seq_count * sizeof(*out->seqs));
	if (!out->seqs) {
		out->seq_count = 0;
		return err_set(e, ERR_NOMEM, "shard %" PRIu64 ": reading it: out of memory", out->id);
	}
	for (size_t i = 0; i < out->seq_count; i++)
		out->seqs[i] = reader_u64le(r);
	return 0;
}

static int take_replays(struct reader *r, struct store_shard *out, struct err *e)
{
	size_t count = reader_u32le(r);
	if (count > STORE_SHARD_REPLAYS_MAX || count > (r->len - r->at) / sizeof(*out->replays)) {
		r->overrun = true;
		return 0;
	}
	if (!count)
		return 0;
	out->replays = fault_malloc(count * sizeof(*out->replays));
	if (!out->replays)
		return err_set(e, ERR_NOMEM, "shard %" PRIu64 ": reading it: out of memory", out->id);
	out->replay_count = count;
	for (size_t i = 0; i < count; i++) {
		out->replays[i].memory = reader_u64le(r);
		out->replays[i].seq = reader_u64le(r);
	}
	return 0;
}

static int shard_decode(struct store_txn *txn, struct store__bytes key, struct reader *r, struct store_shard *out,
			struct err *e)
{
	memset(out, 0, sizeof(*out));
	out->id = reader_u64le(r);
	out->state = reader_u8(r);
	out->epoch = reader_u64le(r);
	store__take_bytes(r, out->worker, sizeof(out->worker));
	out->version = reader_u64le(r);
	out->closing = reader_u8(r) != 0;
	store__take_hash(r, &out->delta_root);
	store__take_hash(r, &out->index_root);
	store__take_hash(r, &out->calibration_root);
	store__take_text(r, out->note, sizeof(out->note));
	int rc = take_seqs(r, out, e);
	if (!rc && r->at < r->len) { /* records of the first form end here */
		out->removal_count = reader_u64le(r);
		out->removals_assigned = reader_u64le(r);
		out->removals_covered = reader_u64le(r);
	}
	if (!rc && r->at < r->len) /* and those of the second here */
		rc = take_replays(r, out, e);
	/* and those of the third here */
	out->replays_chosen = r->at < r->len ? reader_u8(r) != 0 : out->replay_count > 0;
	if (!rc && out->state >= STORE_SHARD_STATE_COUNT)
		rc = store__record_corrupt(txn, STORE__TABLE_SHARD, key, "has a state that does not exist", e);
	if (!rc)
		rc = store__record_done(txn, STORE__TABLE_SHARD, key, r, e);
	if (rc)
		store_shard_fini(out);
	return rc;
}

int store_shard_get(struct store_txn *txn, uint64_t id, struct store_shard *out, struct err *e)
{
	struct store__key key;
	struct reader r;
	store__key_number(id, &key);
	int rc = store__record_get(txn, STORE__TABLE_SHARD, &key, STORE__RECORD_SHARD, &r, e);
	return rc ? rc : shard_decode(txn, store__key_bytes(&key), &r, out, e);
}

int store_shard_next(struct store_txn *txn, uint64_t from, struct store_shard *out, struct err *e)
{
	struct store__key at;
	struct store__bytes key, value;
	struct reader r;
	store__key_number(from, &at);
	int rc = store__seek(txn, STORE__TABLE_SHARD, store__key_bytes(&at), &key, &value, e);
	if (rc == ERR_NOT_FOUND)
		return err_set(e, ERR_NOT_FOUND, "%s: no shard from %" PRIu64 " on", store__txn_path(txn), from);
	if (!rc)
		rc = store__record_check(txn, STORE__TABLE_SHARD, key, value, STORE__RECORD_SHARD, &r, e);
	return rc ? rc : shard_decode(txn, key, &r, out, e);
}

/* A put may change anything but go back: neither in state, nor in epoch, nor in version. */
static int shard_check(struct store_txn *txn, const struct store_shard *shard, struct err *e)
{
	struct store_shard old;
	if (!shard->id || shard->state < 0 || shard->state >= STORE_SHARD_STATE_COUNT || !counts_fit(shard) ||
	    !store__text_fits(shard->note, sizeof(shard->note)))
		return err_set(e, ERR_INVALID,
			       "shard %" PRIu64
			       ": its id, state %d, counts (%zu edits, %zu trained, %zu in the group) or note "
			       "are out of range",
			       shard->id, shard->state, shard->seq_count, shard->trained_count, shard->group_count);
	int rc = store_shard_get(txn, shard->id, &old, e);
	if (rc == ERR_NOT_FOUND) {
		err_clear(e);
		return 0;
	}
	if (rc)
		return rc;
	store_shard_fini(&old);
	if (old.state != shard->state && !sm_can_move(&store_shard_states, old.state, shard->state))
		return err_set(e, ERR_INVALID, "shard %" PRIu64 ": cannot go from %s to %s", shard->id,
			       sm_state_name(&store_shard_states, old.state),
			       sm_state_name(&store_shard_states, shard->state));
	if (shard->epoch < old.epoch || shard->version < old.version)
		return err_set(e, ERR_INVALID,
			       "shard %" PRIu64 ": epoch %" PRIu64 " and version %" PRIu64 " cannot go back to %" PRIu64
			       " and %" PRIu64,
			       shard->id, old.epoch, old.version, shard->epoch, shard->version);
	return 0;
}

int store_shard_put(struct store_txn *txn, const struct store_shard *shard, struct err *e)
{
	struct store__key key;
	int rc = shard_check(txn, shard, e);
	if (rc)
		return rc;
	struct buf *b = store__record_begin(txn, STORE__RECORD_SHARD);
	buf_u64le(b, shard->id);
	buf_u8(b, (uint8_t)shard->state);
	buf_u64le(b, shard->epoch);
	buf_append(b, shard->worker, sizeof(shard->worker));
	buf_u64le(b, shard->version);
	buf_u8(b, shard->closing);
	store__field_hash(b, &shard->delta_root);
	store__field_hash(b, &shard->index_root);
	store__field_hash(b, &shard->calibration_root);
	store__field_text(b, shard->note);
	buf_u32le(b, (uint32_t)shard->seq_count);
	buf_u32le(b, (uint32_t)shard->trained_count);
	buf_u32le(b, (uint32_t)shard->group_count);
	for (size_t i = 0; i < shard->seq_count; i++)
		buf_u64le(b, shard->seqs[i]);
	buf_u64le(b, shard->removal_count);
	buf_u64le(b, shard->removals_assigned);
	buf_u64le(b, shard->removals_covered);
	buf_u32le(b, (uint32_t)shard->replay_count);
	for (size_t i = 0; i < shard->replay_count; i++) {
		buf_u64le(b, shard->replays[i].memory);
		buf_u64le(b, shard->replays[i].seq);
	}
	buf_u8(b, shard->replays_chosen);
	store__key_number(shard->id, &key);
	return store__record_put(txn, STORE__TABLE_SHARD, &key, e);
}
