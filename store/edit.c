/* edit.c: what became of each edit, with two indexes (id → newest seq, state and seq) and a count by state, all kept in
 * the transaction that writes the edit. */
#include "store/record.h"

#include <inttypes.h>
#include <string.h>

/* An edit that ended keeps its last state. Served edits go back to trained when a rollback takes their version away,
 * and both to placed when their memory is lost;
 * trained and served ones may fail when the pass that retrains their shard cannot bring them back. */
static const struct sm_state edit_states[STORE_EDIT_STATE_COUNT] = {
#define ASIDE                                                                                                          \
	(SM_TO(STORE_EDIT_STATE_EXPIRED) | SM_TO(STORE_EDIT_STATE_FAILED) | SM_TO(STORE_EDIT_STATE_SUPERSEDED) |       \
	 SM_TO(STORE_EDIT_STATE_REVOKED) | SM_TO(STORE_EDIT_STATE_DEAD))
	[STORE_EDIT_STATE_ACCEPTED] = { "accepted",
					SM_TO(STORE_EDIT_STATE_PLACED) | SM_TO(STORE_EDIT_STATE_REJECTED) | ASIDE },
	[STORE_EDIT_STATE_PLACED] = { "placed", SM_TO(STORE_EDIT_STATE_TRAINED) | SM_TO(STORE_EDIT_STATE_REJECTED) |
							SM_TO(STORE_EDIT_STATE_ACCEPTED) | ASIDE },
	[STORE_EDIT_STATE_TRAINED] = { "trained",
				       SM_TO(STORE_EDIT_STATE_SERVED) | SM_TO(STORE_EDIT_STATE_PLACED) | ASIDE },
	[STORE_EDIT_STATE_SERVED] = { "served",
				      SM_TO(STORE_EDIT_STATE_TRAINED) | SM_TO(STORE_EDIT_STATE_PLACED) | ASIDE },
	[STORE_EDIT_STATE_EXPIRED] = { "expired", 0 },
	[STORE_EDIT_STATE_REJECTED] = { "rejected", 0 },
	[STORE_EDIT_STATE_FAILED] = { "failed", 0 },
	[STORE_EDIT_STATE_SUPERSEDED] = { "superseded", 0 },
	[STORE_EDIT_STATE_REVOKED] = { "revoked", 0 },
	[STORE_EDIT_STATE_DEAD] = { "dead-lettered", 0 },
	[STORE_EDIT_STATE_SCHEDULED] = { "scheduled", SM_TO(STORE_EDIT_STATE_ACCEPTED) |
							      SM_TO(STORE_EDIT_STATE_PLACED) |
							      SM_TO(STORE_EDIT_STATE_REJECTED) | ASIDE },
#undef ASIDE
};

const struct sm_table store_edit_states = { "edit", edit_states, STORE_EDIT_STATE_COUNT, STORE_EDIT_STATE_ACCEPTED };

static int edit_decode(struct store_txn *txn, struct store__bytes key, struct reader *r, struct store_edit *out,
		       struct err *e)
{
	out->seq = reader_u64le(r);
	store__take_text(r, out->id, sizeof(out->id));
	store__take_hash(r, &out->content);
	out->state = reader_u8(r);
	out->shard = reader_u64le(r);
	out->superseded_by = reader_u64le(r);
	out->supersedes = reader_u64le(r);
	out->version = reader_u64le(r);
	out->accepted_ms = (int64_t)reader_u64le(r);
	out->trained_ms = (int64_t)reader_u64le(r);
	out->served_ms = (int64_t)reader_u64le(r);
	out->tries = reader_u32le(r);
	out->losses = reader_u32le(r);
	store__take_text(r, out->reason, sizeof(out->reason));
	out->group = out->restores = out->ended_event = 0;
	out->valid_from_ms = out->expires_ms = 0;
	out->on_conflict = 0;
	if (r->at < r->len) { /* records of the first form end here */
		out->group = reader_u64le(r);
		out->restores = reader_u64le(r);
		out->ended_event = reader_u64le(r);
		out->valid_from_ms = (int64_t)reader_u64le(r);
		out->expires_ms = (int64_t)reader_u64le(r);
		out->on_conflict = reader_u8(r);
	}
	if (out->state >= STORE_EDIT_STATE_COUNT)
		return store__record_corrupt(txn, STORE__TABLE_EDIT, key, "has a state that does not exist", e);
	return store__record_done(txn, STORE__TABLE_EDIT, key, r, e);
}

static int edit_write(struct store_txn *txn, const struct store_edit *edit, struct err *e)
{
	struct store__key key;
	struct buf *b = store__record_begin(txn, STORE__RECORD_EDIT);
	buf_u64le(b, edit->seq);
	store__field_text(b, edit->id);
	store__field_hash(b, &edit->content);
	buf_u8(b, (uint8_t)edit->state);
	buf_u64le(b, edit->shard);
	buf_u64le(b, edit->superseded_by);
	buf_u64le(b, edit->supersedes);
	buf_u64le(b, edit->version);
	buf_u64le(b, (uint64_t)edit->accepted_ms);
	buf_u64le(b, (uint64_t)edit->trained_ms);
	buf_u64le(b, (uint64_t)edit->served_ms);
	buf_u32le(b, edit->tries);
	buf_u32le(b, edit->losses);
	store__field_text(b, edit->reason);
	buf_u64le(b, edit->group);
	buf_u64le(b, edit->restores);
	buf_u64le(b, edit->ended_event);
	buf_u64le(b, (uint64_t)edit->valid_from_ms);
	buf_u64le(b, (uint64_t)edit->expires_ms);
	buf_u8(b, (uint8_t)edit->on_conflict);
	store__key_number(edit->seq, &key);
	return store__record_put(txn, STORE__TABLE_EDIT, &key, e);
}

int store_edit_get(struct store_txn *txn, uint64_t seq, struct store_edit *out, struct err *e)
{
	struct store__key key;
	struct reader r;
	store__key_number(seq, &key);
	int rc = store__record_get(txn, STORE__TABLE_EDIT, &key, STORE__RECORD_EDIT, &r, e);
	return rc ? rc : edit_decode(txn, store__key_bytes(&key), &r, out, e);
}

/* --- Index by id */

static int id_read(struct store_txn *txn, const char *id, uint64_t *seq, struct err *e)
{
	struct store__key key;
	struct reader r;
	store__key_text(id, &key);
	int rc = store__record_get(txn, STORE__TABLE_EDIT_ID, &key, STORE__RECORD_EDIT_ID, &r, e);
	if (rc)
		return rc;
	*seq = reader_u64le(&r);
	return store__record_done(txn, STORE__TABLE_EDIT_ID, store__key_bytes(&key), &r, e);
}

static int id_index(struct store_txn *txn, const struct store_edit *edit, struct err *e)
{
	struct store__key key;
	uint64_t newest = 0;
	int rc = id_read(txn, edit->id, &newest, e);
	if (rc && rc != ERR_NOT_FOUND)
		return rc;
	if (!rc && newest >= edit->seq)
		return 0;
	err_clear(e);
	store__key_text(edit->id, &key);
	buf_u64le(store__record_begin(txn, STORE__RECORD_EDIT_ID), edit->seq);
	return store__record_put(txn, STORE__TABLE_EDIT_ID, &key, e);
}

int store_edit_find(struct store_txn *txn, const char *id, struct store_edit *out, struct err *e)
{
	uint64_t seq;
	if (!*id || !store__text_fits(id, STORE_ID_BYTES))
		return err_set(e, ERR_NOT_FOUND, "edit: an id has 1 to %d bytes", STORE_ID_BYTES - 1);
	int rc = id_read(txn, id, &seq, e);
	if (rc)
		return rc;
	rc = store_edit_get(txn, seq, out, e);
	if (rc == ERR_NOT_FOUND || (!rc && strcmp(out->id, id) != 0)) {
		struct store__key key;
		store__key_text(id, &key);
		return store__record_corrupt(txn, STORE__TABLE_EDIT_ID, store__key_bytes(&key),
					     "points to another edit", e);
	}
	return rc;
}

/* --- Index by state, and the counts */

static void state_key(int state, uint64_t seq, struct store__key *key)
{
	uint8_t s = (uint8_t)state;
	key->len = 0;
	store__key_add(key, &s, 1);
	store__key_add_number(key, seq);
}

static void counts_key(struct store__key *key)
{
	store__key_text("edit-states", key);
}

static int counts_read(struct store_txn *txn, uint64_t counts[STORE_EDIT_STATE_COUNT], struct err *e)
{
	struct store__key key;
	struct reader r;
	counts_key(&key);
	memset(counts, 0, STORE_EDIT_STATE_COUNT * sizeof(counts[0]));
	int rc = store__record_get(txn, STORE__TABLE_COUNTER, &key, STORE__RECORD_COUNTS, &r, e);
	if (rc == ERR_NOT_FOUND) {
		err_clear(e);
		return 0;
	}
	for (int s = 0; !rc && s < STORE_EDIT_STATE_COUNT && r.at < r.len; s++) /* older ones know fewer states */
		counts[s] = reader_u64le(&r);
	return rc ? rc : store__record_done(txn, STORE__TABLE_COUNTER, store__key_bytes(&key), &r, e);
}

/* A transaction reads the counts once, keeps them, and writes them when it commits. */
static int counts_load(struct store_txn *txn, struct err *e)
{
	if (txn->counts_known)
		return 0;
	int rc = counts_read(txn, txn->counts, e);
	txn->counts_known = rc == 0;
	return rc;
}

int store_edit_count(struct store_txn *txn, uint64_t counts[STORE_EDIT_STATE_COUNT], struct err *e)
{
	int rc = counts_load(txn, e);
	if (!rc)
		memcpy(counts, txn->counts, sizeof(txn->counts));
	return rc;
}

static int counts_move(struct store_txn *txn, int from, int to, struct err *e)
{
	int rc = counts_load(txn, e);
	if (rc)
		return rc;
	if (from >= 0 && !txn->counts[from]) {
		struct store__key key;
		counts_key(&key);
		return store__record_corrupt(txn, STORE__TABLE_COUNTER, store__key_bytes(&key),
					     "counts fewer edits than there are", e);
	}
	if (from >= 0)
		txn->counts[from]--;
	txn->counts[to]++;
	txn->counts_changed = true;
	return 0;
}

int store__edit_seal(struct store_txn *txn, struct err *e)
{
	struct store__key key;
	if (!txn->counts_changed)
		return 0;
	counts_key(&key);
	struct buf *b = store__record_begin(txn, STORE__RECORD_COUNTS);
	for (int s = 0; s < STORE_EDIT_STATE_COUNT; s++)
		buf_u64le(b, txn->counts[s]);
	return store__record_put(txn, STORE__TABLE_COUNTER, &key, e);
}

/* `from`: -1 for a new edit. */
static int state_index(struct store_txn *txn, int from, const struct store_edit *edit, struct err *e)
{
	struct store__key key;
	int rc = 0;
	if (from == edit->state)
		return 0;
	if (from >= 0) {
		state_key(from, edit->seq, &key);
		rc = store__remove(txn, STORE__TABLE_EDIT_STATE, store__key_bytes(&key), e);
		if (rc == ERR_NOT_FOUND)
			rc = store__record_corrupt(txn, STORE__TABLE_EDIT_STATE, store__key_bytes(&key), "is missing",
						   e);
	}
	state_key(edit->state, edit->seq, &key);
	if (!rc)
		rc = store__put(txn, STORE__TABLE_EDIT_STATE, store__key_bytes(&key), (struct store__bytes){ "", 0 },
				e);
	return rc ? rc : counts_move(txn, from, edit->state, e);
}

static int edit_check(struct store_txn *txn, const struct store_edit *edit, int *from, struct err *e)
{
	struct store_edit old;
	if (!edit->seq || !*edit->id || !store__text_fits(edit->id, sizeof(edit->id)) ||
	    !store__text_fits(edit->reason, sizeof(edit->reason)))
		return err_set(e, ERR_INVALID,
			       "edit %" PRIu64 ": its seq or id is empty, or a text of it is not terminated",
			       edit->seq);
	if (edit->state < 0 || edit->state >= STORE_EDIT_STATE_COUNT)
		return err_set(e, ERR_INVALID, "edit %" PRIu64 ": no state %d", edit->seq, edit->state);
	*from = -1;
	int rc = store_edit_get(txn, edit->seq, &old, e);
	if (rc == ERR_NOT_FOUND) {
		err_clear(e);
		return 0;
	}
	if (rc)
		return rc;
	if (strcmp(old.id, edit->id) != 0)
		return err_set(e, ERR_CONFLICT, "edit %" PRIu64 ": is named \"%s\" and cannot be renamed", edit->seq,
			       old.id);
	if (old.state != edit->state && !sm_can_move(&store_edit_states, old.state, edit->state))
		return err_set(e, ERR_INVALID, "edit %" PRIu64 ": cannot go from %s to %s", edit->seq,
			       sm_state_name(&store_edit_states, old.state),
			       sm_state_name(&store_edit_states, edit->state));
	*from = old.state;
	return 0;
}

int store_edit_put(struct store_txn *txn, const struct store_edit *edit, struct err *e)
{
	int from;
	int rc = edit_check(txn, edit, &from, e);
	if (rc)
		return rc;
	rc = edit_write(txn, edit, e);
	if (!rc && from < 0)
		rc = id_index(txn, edit, e);
	if (!rc)
		rc = state_index(txn, from, edit, e);
	return rc ? store__txn_spoil(txn, rc) : 0;
}

/* --- Walking */

/* The first seq ≥ `from` in that state; UINT64_MAX when none. */
static int state_seek(struct store_txn *txn, int state, uint64_t from, uint64_t *seq, struct err *e)
{
	struct store__key at;
	struct store__bytes key, value;
	*seq = UINT64_MAX;
	state_key(state, from, &at);
	int rc = store__seek(txn, STORE__TABLE_EDIT_STATE, store__key_bytes(&at), &key, &value, e);
	if (rc == ERR_NOT_FOUND) {
		err_clear(e);
		return 0;
	}
	if (!rc && key.len == 9 && ((const uint8_t *)key.data)[0] == state)
		*seq = store__key_read_number((const uint8_t *)key.data + 1);
	return rc;
}

static int next_any(struct store_txn *txn, uint64_t from, struct store_edit *out, struct err *e)
{
	struct store__key at;
	struct store__bytes key, value;
	struct reader r;
	store__key_number(from, &at);
	int rc = store__seek(txn, STORE__TABLE_EDIT, store__key_bytes(&at), &key, &value, e);
	if (rc == ERR_NOT_FOUND)
		return err_set(e, ERR_NOT_FOUND, "%s: no edit from %" PRIu64 " on", store__txn_path(txn), from);
	if (!rc)
		rc = store__record_check(txn, STORE__TABLE_EDIT, key, value, STORE__RECORD_EDIT, &r, e);
	return rc ? rc : edit_decode(txn, key, &r, out, e);
}

int store_edit_next(struct store_txn *txn, uint64_t from, uint32_t state_mask, struct store_edit *out, struct err *e)
{
	const uint32_t all = SM_TO(STORE_EDIT_STATE_COUNT) - 1;
	uint64_t best = UINT64_MAX, seq;
	int best_state = 0;
	if ((state_mask & all) == all)
		return next_any(txn, from, out, e);
	for (int s = 0; s < STORE_EDIT_STATE_COUNT; s++) {
		if (!(state_mask & SM_TO(s)))
			continue;
		int rc = state_seek(txn, s, from, &seq, e);
		if (rc)
			return rc;
		if (seq < best) {
			best = seq;
			best_state = s;
		}
	}
	if (best == UINT64_MAX)
		return err_set(e, ERR_NOT_FOUND, "%s: no such edit from %" PRIu64 " on", store__txn_path(txn), from);
	int rc = store_edit_get(txn, best, out, e);
	if (rc == ERR_NOT_FOUND || (!rc && out->state != best_state)) {
		struct store__key key;
		state_key(best_state, best, &key);
		return store__record_corrupt(txn, STORE__TABLE_EDIT_STATE, store__key_bytes(&key),
					     "does not match its edit", e);
	}
	return rc;
}
