/* record.c: keys, and records that are verified whenever they are read. */
#include "store/record.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define RECORD_VERSION 1

struct store__bytes store__key_bytes(const struct store__key *key)
{
	return (struct store__bytes){ .data = key->bytes, .len = key->len };
}

void store__key_add(struct store__key *key, const void *bytes, size_t byte_count)
{
	assert(byte_count <= STORE__KEY_BYTES_MAX - key->len);
	if (byte_count)
		memcpy(key->bytes + key->len, bytes, byte_count);
	key->len += byte_count;
}

void store__key_add_number(struct store__key *key, uint64_t number)
{
	uint8_t b[8];
	for (int i = 7; i >= 0; i--, number >>= 8)
		b[i] = (uint8_t)number;
	store__key_add(key, b, sizeof(b));
}

void store__key_number(uint64_t number, struct store__key *out)
{
	out->len = 0;
	store__key_add_number(out, number);
}

void store__key_text(const char *text, struct store__key *out)
{
	out->len = 0;
	store__key_add(out, text, strlen(text));
}

uint64_t store__key_read_number(const void *bytes)
{
	uint64_t n = 0;
	for (int i = 0; i < 8; i++)
		n = n << 8 | ((const uint8_t *)bytes)[i];
	return n;
}

static const char *const table_nouns[STORE__TABLE_COUNT] = {
	[STORE__TABLE_FORMAT] = "format",
	[STORE__TABLE_META] = "value",
	[STORE__TABLE_COUNTER] = "counter",
	[STORE__TABLE_EVENT] = "event",
	[STORE__TABLE_EDIT] = "edit",
	[STORE__TABLE_EDIT_ID] = "edit id",
	[STORE__TABLE_EDIT_STATE] = "edit state",
	[STORE__TABLE_SUBJECT] = "subject",
	[STORE__TABLE_SHARD] = "shard",
	[STORE__TABLE_MERGE] = "merge",
	[STORE__TABLE_VERSION] = "version",
	[STORE__TABLE_ALIAS] = "alias",
	[STORE__TABLE_CHUNK] = "chunk",
	[STORE__TABLE_QUARANTINE] = "damaged chunk",
};

static bool is_number_key(enum store__table table, struct store__bytes key)
{
	return key.len == 8 &&
	       (table == STORE__TABLE_EVENT || table == STORE__TABLE_EDIT || table == STORE__TABLE_SHARD ||
		table == STORE__TABLE_MERGE || table == STORE__TABLE_VERSION);
}

static bool is_text_key(enum store__table table)
{
	return table == STORE__TABLE_FORMAT || table == STORE__TABLE_META || table == STORE__TABLE_COUNTER ||
	       table == STORE__TABLE_EDIT_ID || table == STORE__TABLE_ALIAS;
}

/* "edit 7", "alias \"stable\"", for error text. */
static void key_describe(enum store__table table, struct store__bytes key, char out[STORE__KEY_TEXT_BYTES])
{
	const uint8_t *b = key.data;
	if (is_number_key(table, key)) {
		snprintf(out, STORE__KEY_TEXT_BYTES, "%s %" PRIu64, table_nouns[table], store__key_read_number(b));
		return;
	}
	int n = snprintf(out, STORE__KEY_TEXT_BYTES, "%s ", table_nouns[table]);
	size_t at = (size_t)n, shown = key.len < 100 ? key.len : 100;
	bool text = is_text_key(table);
	for (size_t i = 0; i < shown; i++) {
		if (text && b[i] >= 0x20 && b[i] < 0x7f)
			out[at++] = (char)b[i];
		else
			at += (size_t)snprintf(out + at, STORE__KEY_TEXT_BYTES - at, "%02x", b[i]);
	}
	out[at] = '\0';
}

/* An event's hash must be computable from its own bytes, so that the chain can be checked outside of this store. */
static void record_hash(enum store__table table, struct store__bytes key, const void *bytes, size_t byte_count,
			struct hash *out)
{
	struct hash_stream s;
	hash_begin(&s);
	if (table != STORE__TABLE_EVENT)
		hash_add(&s, key.data, key.len);
	hash_add(&s, bytes, byte_count);
	hash_end(&s, out);
}

struct buf *store__record_begin(struct store_txn *txn, int type)
{
	struct buf *b = &txn->scratch;
	if (buf_failed(b))
		buf_free(b);
	buf_clear(b);
	buf_u16le(b, (uint16_t)type);
	buf_u16le(b, RECORD_VERSION);
	return b;
}

int store__record_put(struct store_txn *txn, enum store__table table, const struct store__key *key, struct err *e)
{
	struct buf *b = &txn->scratch;
	struct hash hash;
	if (!buf_failed(b)) {
		record_hash(table, store__key_bytes(key), b->data, b->len, &hash);
		buf_append(b, hash.bytes, HASH_BYTES);
	}
	if (buf_failed(b)) {
		char text[STORE__KEY_TEXT_BYTES];
		key_describe(table, store__key_bytes(key), text);
		err_set(e, ERR_NOMEM, "%s: writing %s: out of memory", store__txn_path(txn), text);
		return store__txn_spoil(txn, ERR_NOMEM);
	}
	return store__put(txn, table, store__key_bytes(key), (struct store__bytes){ b->data, b->len }, e);
}

int store__record_corrupt(const struct store_txn *txn, enum store__table table, struct store__bytes key,
			  const char *why, struct err *e)
{
	char text[STORE__KEY_TEXT_BYTES];
	key_describe(table, key, text);
	return err_set(e, ERR_CORRUPT, "%s: %s: %s: the disk or someone changed it: %s", store__txn_path(txn), text,
		       why, store__env_mend(txn->env));
}

int store__record_check(const struct store_txn *txn, enum store__table table, struct store__bytes key,
			struct store__bytes value, int type, struct reader *fields, struct err *e)
{
	struct hash hash;
	if (value.len < STORE__RECORD_MIN_BYTES)
		return store__record_corrupt(txn, table, key, "too short", e);
	size_t len = value.len - HASH_BYTES;
	record_hash(table, key, value.data, len, &hash);
	if (memcmp(hash.bytes, (const uint8_t *)value.data + len, HASH_BYTES) != 0)
		return store__record_corrupt(txn, table, key, "does not match its hash", e);
	reader_init(fields, value.data, len);
	int found = reader_u16le(fields), version = reader_u16le(fields);
	if (table != STORE__TABLE_EVENT && found != type)
		return store__record_corrupt(txn, table, key, "is a record of another type", e);
	if (version != RECORD_VERSION) {
		char text[STORE__KEY_TEXT_BYTES];
		key_describe(table, key, text);
		return err_set(e, ERR_UNSUPPORTED,
			       "%s: %s: has record version %d, this program reads %d: use the version that wrote it",
			       store__txn_path(txn), text, version, RECORD_VERSION);
	}
	return 0;
}

int store__record_get(struct store_txn *txn, enum store__table table, const struct store__key *key, int type,
		      struct reader *fields, struct err *e)
{
	struct store__bytes value;
	int rc = store__get(txn, table, store__key_bytes(key), &value, e);
	if (rc == ERR_NOT_FOUND) {
		char text[STORE__KEY_TEXT_BYTES];
		key_describe(table, store__key_bytes(key), text);
		return err_set(e, ERR_NOT_FOUND, "%s: no %s", store__txn_path(txn), text);
	}
	return rc ? rc : store__record_check(txn, table, store__key_bytes(key), value, type, fields, e);
}

int store__record_done(const struct store_txn *txn, enum store__table table, struct store__bytes key,
		       const struct reader *fields, struct err *e)
{
	if (fields->overrun || fields->at != fields->len)
		return store__record_corrupt(txn, table, key, "its fields do not fit its length", e);
	return 0;
}

/* --- Fields */

bool store__text_fits(const char *text, size_t cap)
{
	return strnlen(text, cap) < cap;
}

void store__field_text(struct buf *b, const char *text)
{
	size_t len = strlen(text);
	buf_u16le(b, (uint16_t)len);
	buf_append(b, text, len);
}

void store__field_hash(struct buf *b, const struct hash *hash)
{
	buf_append(b, hash->bytes, HASH_BYTES);
}

void store__take_text(struct reader *r, char *out, size_t cap)
{
	size_t len = reader_u16le(r);
	const void *bytes = len < cap ? reader_bytes(r, len) : NULL;
	if (!bytes) {
		r->overrun = true;
		len = 0;
	}
	if (len)
		memcpy(out, bytes, len);
	memset(out + len, 0, cap - len);
}

void store__take_bytes(struct reader *r, void *out, size_t byte_count)
{
	const void *bytes = reader_bytes(r, byte_count);
	if (bytes)
		memcpy(out, bytes, byte_count);
	else
		memset(out, 0, byte_count);
}

void store__take_hash(struct reader *r, struct hash *out)
{
	store__take_bytes(r, out->bytes, HASH_BYTES);
}
