/* verify.c: reads every record of a ledger and every chunk, and looks whether they fit together. */
#include "base/order.h"
#include "store/record.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef int entry_fn(struct store_txn *txn, struct store__bytes key, struct store__bytes value, void *context,
		     struct err *e);

/* Calls `entry` for each entry of a table, in the order of the keys. */
static int table_walk(struct store_txn *txn, enum store__table table, entry_fn *entry, void *context, struct err *e)
{
	struct store__key at = { .len = 0 };
	struct store__bytes key, value;
	store__key_add(&at, "", 1); /* the first key there can be: none is empty */
	int rc;
	while (!(rc = store__seek(txn, table, store__key_bytes(&at), &key, &value, e))) {
		if (key.len >= STORE__KEY_BYTES_MAX)
			return store__record_corrupt(txn, table, key, "has a key that is too long", e);
		at.len = 0;
		store__key_add(&at, key.data, key.len);
		store__key_add(&at, "", 1); /* the next key there can be */
		rc = entry(txn, key, value, context, e);
		if (rc)
			return rc;
	}
	if (rc == ERR_NOT_FOUND) {
		err_clear(e);
		rc = 0;
	}
	return rc;
}

/* --- The ledger */

struct placed { /* an edit of a shard's list */
	uint64_t shard, seq;
};

struct walk {
	struct store_ledger_tally *tally;
	struct buf placed; /* of all shards, in order */
	uint64_t counts[STORE_EDIT_STATE_COUNT], accepted_count, indexed_count;
};

static int edit_fail(struct store_txn *txn, struct walk *w, uint64_t seq, const char *why, struct err *e)
{
	struct store__key key;
	store__key_number(seq, &key);
	w->tally->bad_seq = seq;
	return store__record_corrupt(txn, STORE__TABLE_EDIT, store__key_bytes(&key), why, e);
}

/* An accepted record has its edit, of the same bytes. */
static int accepted_check(struct store_txn *txn, struct walk *w, const struct store_event *event, struct err *e)
{
	struct store_edit edit;
	struct hash content;
	const uint64_t seq = event->seq;
	hash_of(event->payload, event->payload_len, &content);
	w->accepted_count++;
	int rc = store_edit_get(txn, seq, &edit, e);
	if (rc == ERR_NOT_FOUND)
		return edit_fail(txn, w, seq, "is missing: its event is there", e);
	if (rc) {
		w->tally->bad_seq = seq;
		return rc;
	}
	if (edit.seq != seq || !hash_equal(&edit.content, &content))
		return edit_fail(txn, w, seq, "is of other bytes than its event", e);
	w->counts[edit.state]++;
	return 0;
}

static int events_check(struct store_txn *txn, struct walk *w, struct err *e)
{
	struct store_event event;
	int rc = store_event_verify(txn, &w->tally->bad_seq, e);
	if (!rc)
		rc = store_event_last(txn, &w->tally->event_count, NULL, e);
	for (uint64_t seq = 1; !rc && seq <= w->tally->event_count; seq++) {
		rc = store_event_get(txn, seq, &event, e);
		if (!rc && event.type == STORE_EVENT_EDIT_ACCEPTED)
			rc = accepted_check(txn, w, &event, e);
	}
	return rc;
}

static int placed_order(const void *a, const void *b)
{
	const struct placed *x = a, *y = b;
	return x->shard != y->shard ? order_u64(&x->shard, &y->shard) : order_u64(&x->seq, &y->seq);
}

/* It is found by its id, unless a later one has that, and in its shard's list. */
static int edit_indexed(struct store_txn *txn, struct walk *w, uint64_t seq, struct err *e)
{
	struct store_edit edit, newest;
	int rc = store_edit_get(txn, seq, &edit, e);
	if (rc)
		return rc;
	const struct placed place = { edit.shard, seq };
	const bool placed = edit.state == STORE_EDIT_STATE_PLACED || edit.state == STORE_EDIT_STATE_TRAINED ||
			    edit.state == STORE_EDIT_STATE_SERVED;
	rc = store_edit_find(txn, edit.id, &newest, e);
	if (rc == ERR_NOT_FOUND || (!rc && newest.seq < seq))
		return edit_fail(txn, w, seq, "is not found by its id", e);
	if (!rc && placed &&
	    (w->placed.len == 0 ||
	     !bsearch(&place, w->placed.data, w->placed.len / sizeof(place), sizeof(place), placed_order)))
		return edit_fail(txn, w, seq, "is not in its shard's list", e);
	return rc;
}

static int edit_entry(struct store_txn *txn, struct store__bytes key, struct store__bytes value, void *context,
		      struct err *e)
{
	struct walk *w = context;
	(void)value;
	w->tally->record_count++;
	w->tally->edit_count++;
	if (key.len != 8)
		return store__record_corrupt(txn, STORE__TABLE_EDIT, key, "has no number for a key", e);
	struct store_event event;
	const uint64_t seq = store__key_read_number(key.data);
	int rc = store_event_get(txn, seq, &event, e);
	if (rc == ERR_NOT_FOUND || (!rc && event.type != STORE_EVENT_EDIT_ACCEPTED))
		return edit_fail(txn, w, seq, "was never accepted: there is no such event", e);
	return rc ? rc : edit_indexed(txn, w, seq, e);
}

static int state_entry(struct store_txn *txn, struct store__bytes key, struct store__bytes value, void *context,
		       struct err *e)
{
	struct walk *w = context;
	struct store_edit edit;
	(void)value;
	w->indexed_count++;
	if (key.len != 9)
		return store__record_corrupt(txn, STORE__TABLE_EDIT_STATE, key, "has another key than its kind", e);
	const uint8_t *bytes = key.data;
	const uint64_t seq = store__key_read_number(bytes + 1);
	int rc = store_edit_get(txn, seq, &edit, e);
	if (rc == ERR_NOT_FOUND || (!rc && edit.state != bytes[0]))
		return edit_fail(txn, w, seq, "has another state than the index says", e);
	return rc;
}

static int id_entry(struct store_txn *txn, struct store__bytes key, struct err *e)
{
	struct store_edit edit;
	char id[STORE_ID_BYTES] = "";
	if (key.len >= sizeof(id))
		return store__record_corrupt(txn, STORE__TABLE_EDIT_ID, key, "is longer than an id can be", e);
	memcpy(id, key.data, key.len);
	return store_edit_find(txn, id, &edit, e);
}

/* Under a hash lie edits by their numbers, under a word's by the numbers counted down. What the hash is of, their
 * records say, which are not read here. */
static int subject_entry(struct store_txn *txn, struct store__bytes key, struct err *e)
{
	struct store_edit edit;
	if (key.len != HASH_BYTES + 8)
		return store__record_corrupt(txn, STORE__TABLE_SUBJECT, key, "has another key than its kind", e);
	const uint64_t seq = store__key_read_number((const uint8_t *)key.data + HASH_BYTES);
	int rc = store_edit_get(txn, seq, &edit, e);
	if (rc == ERR_NOT_FOUND)
		rc = store_edit_get(txn, UINT64_MAX - seq, &edit, e);
	return rc == ERR_NOT_FOUND ? store__record_corrupt(txn, STORE__TABLE_SUBJECT, key, "points to no edit", e) : rc;
}

struct record_kind {
	enum store__table table;
	int type; /* 0: any; counters are of two types */
	int (*fits)(struct store_txn *txn, struct store__bytes key, struct err *e); /* NULL: nothing to look up */
};

struct record_walk {
	struct walk *walk;
	const struct record_kind *kind;
};

static int record_entry(struct store_txn *txn, struct store__bytes key, struct store__bytes value, void *context,
			struct err *e)
{
	struct record_walk *r = context;
	struct reader fields;
	int type = r->kind->type;
	r->walk->tally->record_count++;
	if (!type && value.len >= 2)
		type = ((const uint8_t *)value.data)[0] | ((const uint8_t *)value.data)[1] << 8;
	int rc = store__record_check(txn, r->kind->table, key, value, type, &fields, e);
	return rc || !r->kind->fits ? rc : r->kind->fits(txn, key, e);
}

static int records_check(struct store_txn *txn, struct walk *w, struct err *e)
{
	static const struct record_kind kinds[] = {
		{ STORE__TABLE_FORMAT, STORE__RECORD_FORMAT, NULL },
		{ STORE__TABLE_META, STORE__RECORD_META, NULL },
		{ STORE__TABLE_COUNTER, 0, NULL },
		{ STORE__TABLE_EDIT_ID, STORE__RECORD_EDIT_ID, id_entry },
		{ STORE__TABLE_SUBJECT, STORE__RECORD_SUBJECT, subject_entry },
		{ STORE__TABLE_ALIAS, STORE__RECORD_ALIAS, NULL },
	};
	int rc = 0;
	for (size_t i = 0; !rc && i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct record_walk r = { w, &kinds[i] };
		rc = table_walk(txn, kinds[i].table, record_entry, &r, e);
	}
	return rc;
}

static int shard_check(struct store_txn *txn, struct walk *w, const struct store_shard *shard, struct err *e)
{
	struct store_edit edit;
	int rc = 0;
	for (size_t i = 0; !rc && i < shard->seq_count; i++) {
		rc = store_edit_get(txn, shard->seqs[i], &edit, e);
		if (rc == ERR_NOT_FOUND || (!rc && edit.shard != shard->id)) {
			w->tally->bad_seq = shard->seqs[i];
			return err_set(e, ERR_CORRUPT, "%s: shard %" PRIu64 ": edit %" PRIu64 " of its list %s",
				       store__txn_path(txn), shard->id, shard->seqs[i],
				       rc ? "is missing" : "is another shard's");
		}
		buf_append(&w->placed, &(struct placed){ shard->id, shard->seqs[i] }, sizeof(struct placed));
	}
	return rc || !buf_failed(&w->placed) ? rc : err_set(e, ERR_NOMEM, "listing the edits of shards: out of memory");
}

static int placed_sort(struct store_txn *txn, struct walk *w, struct err *e)
{
	struct placed *list = (void *)w->placed.data;
	const size_t count = w->placed.len / sizeof(*list);
	if (count > 0)
		qsort(list, count, sizeof(*list), placed_order);
	for (size_t i = 1; i < count; i++)
		if (placed_order(&list[i - 1], &list[i]) == 0) {
			w->tally->bad_seq = list[i].seq;
			return err_set(e, ERR_CORRUPT, "%s: shard %" PRIu64 ": edit %" PRIu64 " is twice in its list",
				       store__txn_path(txn), list[i].shard, list[i].seq);
		}
	return 0;
}

/* Shards and merges by their own readers, which know all their fields. */
static int shards_check(struct store_txn *txn, struct walk *w, struct err *e)
{
	struct store_shard shard;
	struct store_merge merge;
	int rc = 0;
	for (uint64_t id = 0; !(rc = store_shard_next(txn, id, &shard, e)); w->tally->record_count++) {
		id = shard.id + 1;
		rc = shard_check(txn, w, &shard, e);
		store_shard_fini(&shard);
		if (rc)
			return rc;
	}
	if (rc != ERR_NOT_FOUND || (rc = placed_sort(txn, w, e)) != 0)
		return rc;
	for (uint64_t id = 0; !(rc = store_merge_next(txn, id, &merge, e)); w->tally->record_count++)
		id = merge.id + 1;
	if (rc != ERR_NOT_FOUND)
		return rc;
	err_clear(e);
	return 0;
}

static int versions_check(struct store_txn *txn, struct walk *w, struct err *e)
{
	struct store_version version;
	struct store_event event;
	int rc = store_version_last(txn, &w->tally->version_count, e);
	for (uint64_t v = 1; !rc && v <= w->tally->version_count; v++) {
		w->tally->record_count++;
		rc = store_version_get(txn, v, &version, e);
		if (rc == ERR_NOT_FOUND)
			return err_set(e, ERR_CORRUPT, "%s: version %" PRIu64 ": is missing, later ones are there",
				       store__txn_path(txn), v);
		if (!rc)
			rc = store_event_get(txn, version.event_seq, &event, e);
		if (rc == ERR_NOT_FOUND || (!rc && event.type != STORE_EVENT_VERSION_PUBLISHED)) {
			w->tally->bad_seq = version.event_seq;
			return err_set(e, ERR_CORRUPT, "%s: version %" PRIu64 ": event %" PRIu64 " does not publish it",
				       store__txn_path(txn), v, version.event_seq);
		}
	}
	return rc;
}

static int counts_check(struct store_txn *txn, const struct walk *w, struct err *e)
{
	uint64_t counts[STORE_EDIT_STATE_COUNT];
	int rc = store_edit_count(txn, counts, e);
	if (!rc && (memcmp(counts, w->counts, sizeof(counts)) != 0 || w->indexed_count != w->tally->edit_count))
		rc = err_set(e, ERR_CORRUPT, "%s: its counts of edits by state are not those of its edits",
			     store__txn_path(txn));
	return rc;
}

int store_ledger_verify(struct store_txn *txn, struct store_ledger_tally *out, struct err *e)
{
	struct walk w = { .tally = out, .placed = BUF_INIT };
	memset(out, 0, sizeof(*out));
	int rc = events_check(txn, &w, e);
	if (!rc)
		rc = shards_check(txn, &w, e);
	if (!rc)
		rc = table_walk(txn, STORE__TABLE_EDIT, edit_entry, &w, e);
	buf_free(&w.placed);
	if (!rc)
		rc = table_walk(txn, STORE__TABLE_EDIT_STATE, state_entry, &w, e);
	if (!rc)
		rc = records_check(txn, &w, e);
	if (!rc)
		rc = versions_check(txn, &w, e);
	return rc ? rc : counts_check(txn, &w, e);
}

/* --- Chunks */

struct chunk_walk {
	struct store_chunks_tally *tally;
	struct err first; /* the first damaged one is named, and the rest read on */
};

static int chunk_entry(struct store_txn *txn, struct store__bytes key, struct store__bytes value, void *context,
		       struct err *e)
{
	struct chunk_walk *w = context;
	struct hash found;
	(void)e;
	hash_of(value.data, value.len, &found);
	w->tally->chunk_count++;
	w->tally->byte_count += value.len;
	if (key.len == HASH_BYTES && memcmp(key.data, found.bytes, HASH_BYTES) == 0)
		return 0;
	if (w->tally->bad_count++ == 0)
		(void)store__record_corrupt(txn, STORE__TABLE_CHUNK, key, "does not match its hash", &w->first);
	return 0;
}

int store_chunks_verify(struct store *store, struct store_chunks_tally *out, struct err *e)
{
	struct store_txn *txn;
	struct chunk_walk w = { out, ERR_INIT };
	memset(out, 0, sizeof(*out));
	int rc = store__txn_begin(store, store->blobs, false, 0, &txn, e);
	if (rc)
		return rc;
	rc = table_walk(txn, STORE__TABLE_CHUNK, chunk_entry, &w, e);
	store__txn_abort(&txn);
	return rc || !out->bad_count ? rc : err_set(e, ERR_CORRUPT, "%s", w.first.text);
}
