/* record.h (inside store/): the form of everything stored but chunks: type u16le, version u16le, fields, SHA-256.
 * The hash covers the key and all bytes before it, so that a record moved to another key is found out; an event names
 * its seq itself and its hash is of its bytes alone. Numbers are little-endian, keys big-endian. */
#ifndef AMEND_STORE_RECORD_H
#define AMEND_STORE_RECORD_H

#include "store/env.h"

#define STORE__RECORD_HEAD_BYTES 4
#define STORE__RECORD_MIN_BYTES  (STORE__RECORD_HEAD_BYTES + HASH_BYTES)
#define STORE__KEY_TEXT_BYTES    320

enum store__record_type { /* below 100: an event's own type */
			  STORE__RECORD_FORMAT = 100,
			  STORE__RECORD_META,
			  STORE__RECORD_COUNTS,
			  STORE__RECORD_HEAD,
			  STORE__RECORD_EDIT,
			  STORE__RECORD_EDIT_ID,
			  STORE__RECORD_SUBJECT,
			  STORE__RECORD_SHARD,
			  STORE__RECORD_MERGE,
			  STORE__RECORD_VERSION,
			  STORE__RECORD_ALIAS,
};

struct store__key {
	uint8_t bytes[STORE__KEY_BYTES_MAX];
	size_t len;
};
struct store__bytes store__key_bytes(const struct store__key *key);
void store__key_number(uint64_t number, struct store__key *out);
void store__key_text(const char *text, struct store__key *out); /* strlen ≤ STORE__KEY_BYTES_MAX asserted */
void store__key_add(struct store__key *key, const void *bytes, size_t byte_count);
void store__key_add_number(struct store__key *key, uint64_t number);
uint64_t store__key_read_number(const void *bytes); /* 8 bytes, big-endian */

/* Starts a record in the transaction's scratch buffer; add the fields, then store__record_put. */
struct buf *store__record_begin(struct store_txn *txn, int type);
int store__record_put(struct store_txn *txn, enum store__table table, const struct store__key *key,
		      struct err *e) MUST_CHECK;
/* Reads and verifies; `fields` starts behind the head. ERR_NOT_FOUND, ERR_CORRUPT, ERR_UNSUPPORTED. */
int store__record_get(struct store_txn *txn, enum store__table table, const struct store__key *key, int type,
		      struct reader *fields, struct err *e) MUST_CHECK;
/* Verifies a value that a cursor found. */
int store__record_check(const struct store_txn *txn, enum store__table table, struct store__bytes key,
			struct store__bytes value, int type, struct reader *fields, struct err *e) MUST_CHECK;
/* After the last field: nothing missing, nothing left. */
int store__record_done(const struct store_txn *txn, enum store__table table, struct store__bytes key,
		       const struct reader *fields, struct err *e) MUST_CHECK;
int store__record_corrupt(const struct store_txn *txn, enum store__table table, struct store__bytes key,
			  const char *why, struct err *e);

/* Fields. Text is length u16 and bytes; a text that does not fit its array marks the reader overrun. */
void store__field_text(struct buf *b, const char *text);
void store__field_hash(struct buf *b, const struct hash *hash);
void store__take_text(struct reader *r, char *out, size_t cap);
void store__take_hash(struct reader *r, struct hash *out);
void store__take_bytes(struct reader *r, void *out, size_t byte_count);
bool store__text_fits(const char *text, size_t cap); /* a NUL within cap */

#endif
