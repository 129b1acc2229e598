/* event.c: the chain of events. The stored bytes of an event are
 *   type u16, version u16, seq u64, time i64, actor 32, previous 32, payload …, SHA-256 of all that
 * in little-endian, so that its hash is the hash of its bytes. A head record beside the chain says which event is the
 * last: a tail that was cut off is found out as well. */
#include "store/record.h"

#include <inttypes.h>
#include <string.h>

static const char *const event_names[] = {
	[STORE_EVENT_EDIT_ACCEPTED] = "edit-accepted",   [STORE_EVENT_EDIT_PLACED] = "edit-placed",
	[STORE_EVENT_GROUP_ASSIGNED] = "group-assigned", [STORE_EVENT_SHARD_COMMITTED] = "shard-committed",
	[STORE_EVENT_SHARD_CLOSED] = "shard-closed",     [STORE_EVENT_LEASE_GRANTED] = "lease-granted",
	[STORE_EVENT_LEASE_EXPIRED] = "lease-expired",   [STORE_EVENT_MERGE_PLANNED] = "merge-planned",
	[STORE_EVENT_MERGE_ENDED] = "merge-ended",       [STORE_EVENT_VERSION_PUBLISHED] = "version-published",
	[STORE_EVENT_ALIAS_MOVED] = "alias-moved",       [STORE_EVENT_EDIT_ENDED] = "edit-ended",
	[STORE_EVENT_EDIT_REVOKED] = "edit-revoked",     [STORE_EVENT_KEY_CHANGED] = "key-changed",
	[STORE_EVENT_CONFIG_CHANGED] = "config-changed", [STORE_EVENT_EDIT_DUE] = "edit-due",
	[STORE_EVENT_SHARD_LOST] = "shard-lost",
};

static bool type_exists(int type)
{
	return type >= STORE_EVENT_EDIT_ACCEPTED && type <= STORE_EVENT_SHARD_LOST;
}

const char *store_event_name(int type)
{
	return type_exists(type) ? event_names[type] : "?";
}

static int event_decode(const struct store_txn *txn, struct store__bytes key, struct store__bytes value,
			struct store_event *out, struct err *e)
{
	struct reader r;
	int rc = store__record_check(txn, STORE__TABLE_EVENT, key, value, 0, &r, e);
	if (rc)
		return rc;
	struct reader head;
	reader_init(&head, value.data, value.len);
	out->type = reader_u16le(&head);
	out->seq = reader_u64le(&r);
	out->time_ms = (int64_t)reader_u64le(&r);
	store__take_bytes(&r, out->actor, sizeof(out->actor));
	store__take_hash(&r, &out->previous);
	out->payload_len = r.len - r.at;
	out->payload = reader_bytes(&r, out->payload_len);
	memcpy(out->self.bytes, (const uint8_t *)value.data + value.len - HASH_BYTES, HASH_BYTES);
	if (r.overrun || !type_exists((int)out->type))
		return store__record_corrupt(txn, STORE__TABLE_EVENT, key, "is no event", e);
	if (key.len != 8 || store__key_read_number(key.data) != out->seq)
		return store__record_corrupt(txn, STORE__TABLE_EVENT, key, "is another event than its number says", e);
	return 0;
}

int store_event_get(struct store_txn *txn, uint64_t seq, struct store_event *out, struct err *e)
{
	struct store__key key;
	struct store__bytes value;
	store__key_number(seq, &key);
	int rc = store__get(txn, STORE__TABLE_EVENT, store__key_bytes(&key), &value, e);
	if (rc == ERR_NOT_FOUND)
		return err_set(e, ERR_NOT_FOUND, "%s: no event %" PRIu64, store__txn_path(txn), seq);
	return rc ? rc : event_decode(txn, store__key_bytes(&key), value, out, e);
}

static int read_last(struct store_txn *txn, struct err *e)
{
	struct store__bytes key, value;
	struct store_event event;
	int rc = store__last(txn, STORE__TABLE_EVENT, &key, &value, e);
	if (rc == ERR_NOT_FOUND) {
		txn->head_seq = 0;
		memset(&txn->head_self, 0, sizeof(txn->head_self));
		err_clear(e);
		rc = 0;
	} else if (!rc) {
		rc = event_decode(txn, key, value, &event, e);
		if (rc)
			return rc;
		txn->head_seq = event.seq;
		txn->head_self = event.self;
	}
	txn->head_known = rc == 0;
	return rc;
}

static void head_key(struct store__key *key)
{
	store__key_text("event-head", key);
}

/* What the head record says the last event is; 0 before the first commit. */
static int read_head_record(struct store_txn *txn, uint64_t *seq, struct hash *self, struct err *e)
{
	struct store__key key;
	struct reader r;
	head_key(&key);
	*seq = 0;
	memset(self, 0, sizeof(*self));
	int rc = store__record_get(txn, STORE__TABLE_COUNTER, &key, STORE__RECORD_HEAD, &r, e);
	if (rc == ERR_NOT_FOUND) {
		err_clear(e);
		return 0;
	}
	if (rc)
		return rc;
	*seq = reader_u64le(&r);
	store__take_hash(&r, self);
	return store__record_done(txn, STORE__TABLE_COUNTER, store__key_bytes(&key), &r, e);
}

static int head_mismatch(struct store_txn *txn, uint64_t found, uint64_t said, struct err *e)
{
	return err_set(e, ERR_CORRUPT,
		       "%s: event %" PRIu64 ": the chain does not end where its head record says (event %" PRIu64
		       "): restore the folder from a backup",
		       store__txn_path(txn), found < said ? found + 1 : said + 1, said);
}

/* The last event, checked against the head record, read once a transaction. */
static int load_head(struct store_txn *txn, struct err *e)
{
	uint64_t seq;
	struct hash self;
	if (txn->head_known)
		return 0;
	int rc = read_last(txn, e);
	if (!rc)
		rc = read_head_record(txn, &seq, &self, e);
	if (!rc && (seq != txn->head_seq || !hash_equal(&self, &txn->head_self)))
		rc = head_mismatch(txn, txn->head_seq, seq, e);
	txn->head_known = rc == 0;
	return rc;
}

int store_event_last(struct store_txn *txn, uint64_t *seq, struct hash *self, struct err *e)
{
	int rc = load_head(txn, e);
	if (rc)
		return rc;
	*seq = txn->head_seq;
	if (self)
		*self = txn->head_self;
	return 0;
}

int store_event_append(struct store_txn *txn, enum store_event_type type, const uint8_t actor[STORE_KEY_BYTES],
		       const void *payload, size_t payload_len, uint64_t *seq, struct err *e)
{
	struct store__key key;
	if (!type_exists((int)type))
		return err_set(e, ERR_INVALID, "event: no type %d", (int)type);
	if (payload_len > STORE_EVENT_PAYLOAD_MAX)
		return err_set(e, ERR_LIMIT, "event %s: its payload of %zu bytes is over %d",
			       store_event_name((int)type), payload_len, STORE_EVENT_PAYLOAD_MAX);
	int rc = load_head(txn, e);
	if (rc)
		return rc;
	uint64_t next = txn->head_seq + 1;
	struct buf *b = store__record_begin(txn, (int)type);
	buf_u64le(b, next);
	buf_u64le(b, (uint64_t)env_wall_ms(txn->store->env));
	buf_append(b, actor, STORE_KEY_BYTES);
	buf_append(b, txn->head_self.bytes, HASH_BYTES);
	buf_append(b, payload, payload_len);
	store__key_number(next, &key);
	rc = store__record_put(txn, STORE__TABLE_EVENT, &key, e);
	if (rc)
		return rc;
	memcpy(txn->head_self.bytes, b->data + b->len - HASH_BYTES, HASH_BYTES);
	txn->head_seq = next;
	txn->appended = true;
	if (seq)
		*seq = next;
	return 0;
}

int store__event_seal(struct store_txn *txn, struct err *e)
{
	struct store__key key;
	if (!txn->appended)
		return 0;
	head_key(&key);
	struct buf *b = store__record_begin(txn, STORE__RECORD_HEAD);
	buf_u64le(b, txn->head_seq);
	store__field_hash(b, &txn->head_self);
	return store__record_put(txn, STORE__TABLE_COUNTER, &key, e);
}

/* The event that follows `last`, whole and chained. ERR_NOT_FOUND after the end. */
static int verify_next(struct store_txn *txn, uint64_t last, struct hash *chain, struct err *e)
{
	struct store__key from;
	struct store__bytes key, value;
	struct store_event event;
	store__key_number(last + 1, &from);
	int rc = store__seek(txn, STORE__TABLE_EVENT, store__key_bytes(&from), &key, &value, e);
	if (rc)
		return rc;
	if (key.len != 8 || store__key_read_number(key.data) != last + 1)
		return store__record_corrupt(txn, STORE__TABLE_EVENT, store__key_bytes(&from),
					     "is missing, later ones are there", e);
	rc = event_decode(txn, key, value, &event, e);
	if (rc)
		return rc;
	if (!hash_equal(&event.previous, chain))
		return store__record_corrupt(txn, STORE__TABLE_EVENT, key, "does not continue the event before it", e);
	*chain = event.self;
	return 0;
}

int store_event_verify(struct store_txn *txn, uint64_t *bad_seq, struct err *e)
{
	struct hash chain = { { 0 } }, self;
	uint64_t last = 0, head;
	int rc;
	*bad_seq = 0;
	while (!(rc = verify_next(txn, last, &chain, e)))
		last++;
	if (rc != ERR_NOT_FOUND) {
		*bad_seq = last + 1;
		return rc;
	}
	err_clear(e);
	/* A writer's own appends are sealed at its commit. */
	if (txn->appended)
		return 0;
	rc = read_head_record(txn, &head, &self, e);
	if (!rc && (head != last || !hash_equal(&self, &chain)))
		rc = head_mismatch(txn, last, head, e);
	if (rc)
		*bad_seq = head < last ? head + 1 : last + 1;
	return rc;
}
