/* merge.c: merges, from plan to end. */
#include "store/record.h"

#include <inttypes.h>
#include <string.h>

#define SHARDS_MAX (sizeof(((struct store_merge *)0)->shards) / sizeof(((struct store_merge *)0)->shards[0]))

/* A job that died is started again while it is running, until its tries are used up; so is one whose output was lost
 * before it was published. */
static const struct sm_state merge_states[STORE_MERGE_STATE_COUNT] = {
	[STORE_MERGE_STATE_PLANNED] = { "planned", SM_TO(STORE_MERGE_STATE_RUNNING) | SM_TO(STORE_MERGE_STATE_FAILED) },
	[STORE_MERGE_STATE_RUNNING] = { "running", SM_TO(STORE_MERGE_STATE_GATED) | SM_TO(STORE_MERGE_STATE_FAILED) },
	[STORE_MERGE_STATE_GATED] = { "gated", SM_TO(STORE_MERGE_STATE_PUBLISHED) | SM_TO(STORE_MERGE_STATE_FAILED) |
						       SM_TO(STORE_MERGE_STATE_RUNNING) },
	[STORE_MERGE_STATE_PUBLISHED] = { "published", 0 },
	[STORE_MERGE_STATE_FAILED] = { "failed", 0 },
};

const struct sm_table store_merge_states = { "merge", merge_states, STORE_MERGE_STATE_COUNT,
					     STORE_MERGE_STATE_PLANNED };

static void field_double(struct buf *b, double v)
{
	uint64_t bits;
	memcpy(&bits, &v, sizeof(bits));
	buf_u64le(b, bits);
}

static double take_double(struct reader *r)
{
	uint64_t bits = reader_u64le(r);
	double v;
	memcpy(&v, &bits, sizeof(v));
	return v;
}

static int merge_decode(struct store_txn *txn, struct store__bytes key, struct reader *r, struct store_merge *out,
			struct err *e)
{
	memset(out, 0, sizeof(*out));
	out->id = reader_u64le(r);
	out->state = reader_u8(r);
	out->tries = reader_u32le(r);
	out->ranks = reader_u32le(r);
	store__take_hash(r, &out->plan);
	store__take_hash(r, &out->output_root);
	out->version = reader_u64le(r);
	out->planned_ms = (int64_t)reader_u64le(r);
	out->ended_ms = (int64_t)reader_u64le(r);
	out->score = take_double(r);
	out->score_inputs = take_double(r);
	store__take_text(r, out->reason, sizeof(out->reason));
	out->shard_count = reader_u32le(r);
	if (out->shard_count > SHARDS_MAX || out->state >= STORE_MERGE_STATE_COUNT)
		return store__record_corrupt(txn, STORE__TABLE_MERGE, key, "has a state or a count that does not exist",
					     e);
	for (size_t i = 0; i < out->shard_count; i++)
		out->shards[i] = reader_u64le(r);
	if (r->at < r->len) /* older records end here, or behind it, or behind what follows it */
		store__take_hash(r, &out->index_root);
	if (r->at < r->len) {
		out->rounds = reader_u32le(r);
		out->reduces = reader_u32le(r);
		out->reduced_bytes = reader_u64le(r);
	}
	for (size_t i = 0; r->at < r->len && i < out->shard_count; i++)
		out->shard_versions[i] = reader_u64le(r);
	return store__record_done(txn, STORE__TABLE_MERGE, key, r, e);
}

int store_merge_get(struct store_txn *txn, uint64_t id, struct store_merge *out, struct err *e)
{
	struct store__key key;
	struct reader r;
	store__key_number(id, &key);
	int rc = store__record_get(txn, STORE__TABLE_MERGE, &key, STORE__RECORD_MERGE, &r, e);
	return rc ? rc : merge_decode(txn, store__key_bytes(&key), &r, out, e);
}

int store_merge_next(struct store_txn *txn, uint64_t from, struct store_merge *out, struct err *e)
{
	struct store__key at;
	struct store__bytes key, value;
	struct reader r;
	store__key_number(from, &at);
	int rc = store__seek(txn, STORE__TABLE_MERGE, store__key_bytes(&at), &key, &value, e);
	if (rc == ERR_NOT_FOUND)
		return err_set(e, ERR_NOT_FOUND, "%s: no merge from %" PRIu64 " on", store__txn_path(txn), from);
	if (!rc)
		rc = store__record_check(txn, STORE__TABLE_MERGE, key, value, STORE__RECORD_MERGE, &r, e);
	return rc ? rc : merge_decode(txn, key, &r, out, e);
}

static int merge_check(struct store_txn *txn, const struct store_merge *merge, struct err *e)
{
	struct store_merge old;
	if (!merge->id || merge->state < 0 || merge->state >= STORE_MERGE_STATE_COUNT ||
	    merge->shard_count > SHARDS_MAX || !store__text_fits(merge->reason, sizeof(merge->reason)))
		return err_set(e, ERR_INVALID,
			       "merge %" PRIu64 ": its id, state %d, %zu shards or reason are out of range", merge->id,
			       merge->state, merge->shard_count);
	int rc = store_merge_get(txn, merge->id, &old, e);
	if (rc == ERR_NOT_FOUND) {
		err_clear(e);
		return 0;
	}
	if (!rc && old.state != merge->state && !sm_can_move(&store_merge_states, old.state, merge->state))
		return err_set(e, ERR_INVALID, "merge %" PRIu64 ": cannot go from %s to %s", merge->id,
			       sm_state_name(&store_merge_states, old.state),
			       sm_state_name(&store_merge_states, merge->state));
	return rc;
}

int store_merge_put(struct store_txn *txn, const struct store_merge *merge, struct err *e)
{
	struct store__key key;
	int rc = merge_check(txn, merge, e);
	if (rc)
		return rc;
	struct buf *b = store__record_begin(txn, STORE__RECORD_MERGE);
	buf_u64le(b, merge->id);
	buf_u8(b, (uint8_t)merge->state);
	buf_u32le(b, merge->tries);
	buf_u32le(b, merge->ranks);
	store__field_hash(b, &merge->plan);
	store__field_hash(b, &merge->output_root);
	buf_u64le(b, merge->version);
	buf_u64le(b, (uint64_t)merge->planned_ms);
	buf_u64le(b, (uint64_t)merge->ended_ms);
	field_double(b, merge->score);
	field_double(b, merge->score_inputs);
	store__field_text(b, merge->reason);
	buf_u32le(b, (uint32_t)merge->shard_count);
	for (size_t i = 0; i < merge->shard_count; i++)
		buf_u64le(b, merge->shards[i]);
	store__field_hash(b, &merge->index_root);
	buf_u32le(b, merge->rounds);
	buf_u32le(b, merge->reduces);
	buf_u64le(b, merge->reduced_bytes);
	for (size_t i = 0; i < merge->shard_count; i++)
		buf_u64le(b, merge->shard_versions[i]);
	store__key_number(merge->id, &key);
	return store__record_put(txn, STORE__TABLE_MERGE, &key, e);
}
