/* subject.c: subject → edits. A subject may be longer than a key can be, so the key is its hash and the seq: one entry
 * an edit, in ledger order, and adding costs the same however many edits a subject has. */
#include "store/record.h"

#include <string.h>

/* Names of groups and words share the table: what is hashed tells them from subjects, which are text and hold no NUL.
 */
enum owner { OWNER_SUBJECT, OWNER_GROUP, OWNER_WORD };

static int owner_key(enum owner owner, const void *name, size_t name_len, uint64_t seq, struct store__key *key,
		     struct err *e)
{
	static const char group_mark[] = "\0group", word_mark[] = "\0word"; /* their NULs at the end belong to them */
	struct hash_stream s;
	struct hash hash;
	if (!name_len || name_len > STORE_SUBJECT_BYTES_MAX)
		return err_set(e, ERR_INVALID, "%s: has %zu bytes, allowed are 1 to %d",
			       owner == OWNER_SUBJECT ? "subject"
			       : owner == OWNER_GROUP ? "group"
						      : "word",
			       name_len, STORE_SUBJECT_BYTES_MAX);
	hash_begin(&s);
	if (owner == OWNER_GROUP)
		hash_add(&s, group_mark, sizeof(group_mark));
	if (owner == OWNER_WORD)
		hash_add(&s, word_mark, sizeof(word_mark));
	hash_add(&s, name, name_len);
	hash_end(&s, &hash);
	key->len = 0;
	store__key_add(key, hash.bytes, HASH_BYTES);
	store__key_add_number(key, seq);
	return 0;
}

static int owner_add(struct store_txn *txn, enum owner owner, const void *name, size_t name_len, uint64_t seq,
		     struct err *e)
{
	struct store__key key;
	int rc = owner_key(owner, name, name_len, seq, &key, e);
	if (rc)
		return rc;
	store__record_begin(txn, STORE__RECORD_SUBJECT);
	return store__record_put(txn, STORE__TABLE_SUBJECT, &key, e);
}

/* Takes the entry at `key` if it is of the same subject. */
static int take_entry(struct store_txn *txn, const struct store__key *at, struct store__bytes key,
		      struct store__bytes value, struct buf *seqs, uint64_t *seq, struct err *e)
{
	struct reader r;
	if (key.len != at->len || memcmp(key.data, at->bytes, HASH_BYTES) != 0)
		return ERR_NOT_FOUND;
	int rc = store__record_check(txn, STORE__TABLE_SUBJECT, key, value, STORE__RECORD_SUBJECT, &r, e);
	if (rc)
		return rc;
	*seq = store__key_read_number((const uint8_t *)key.data + HASH_BYTES);
	buf_append(seqs, seq, sizeof(*seq));
	return buf_failed(seqs) ? err_set(e, ERR_NOMEM, "subject: listing its edits: out of memory") : 0;
}

static int owner_list(struct store_txn *txn, enum owner owner, const void *name, size_t name_len, size_t max,
		      struct buf *seqs, struct err *e)
{
	uint64_t seq = 0;
	for (size_t n = 0; n < max; n++) {
		struct store__key at;
		struct store__bytes key, value;
		int rc = owner_key(owner, name, name_len, seq, &at, e);
		if (!rc)
			rc = store__seek(txn, STORE__TABLE_SUBJECT, store__key_bytes(&at), &key, &value, e);
		if (!rc)
			rc = take_entry(txn, &at, key, value, seqs, &seq, e);
		if (rc == ERR_NOT_FOUND) {
			err_clear(e);
			return 0;
		}
		if (rc)
			return rc;
		if (seq++ == UINT64_MAX)
			return 0;
	}
	return 0;
}

int store_subject_add(struct store_txn *txn, const void *subject, size_t subject_len, uint64_t seq, struct err *e)
{
	return owner_add(txn, OWNER_SUBJECT, subject, subject_len, seq, e);
}

int store_subject_list(struct store_txn *txn, const void *subject, size_t subject_len, struct buf *seqs, struct err *e)
{
	return owner_list(txn, OWNER_SUBJECT, subject, subject_len, SIZE_MAX, seqs, e);
}

int store_group_add(struct store_txn *txn, const char *name, size_t name_len, uint64_t seq, struct err *e)
{
	return owner_add(txn, OWNER_GROUP, name, name_len, seq, e);
}

int store_group_list(struct store_txn *txn, const char *name, size_t name_len, struct buf *seqs, struct err *e)
{
	return owner_list(txn, OWNER_GROUP, name, name_len, SIZE_MAX, seqs, e);
}

/* Newest first: the key counts down. */
int store_word_add(struct store_txn *txn, const char *word, size_t word_len, uint64_t seq, struct err *e)
{
	return owner_add(txn, OWNER_WORD, word, word_len, UINT64_MAX - seq, e);
}

int store_word_list(struct store_txn *txn, const char *word, size_t word_len, size_t max, struct buf *seqs,
		    struct err *e)
{
	const size_t from = seqs->len / sizeof(uint64_t);
	int rc = owner_list(txn, OWNER_WORD, word, word_len, max, seqs, e);
	uint64_t *list = (void *)seqs->data;
	for (size_t i = from; !rc && i < seqs->len / sizeof(*list); i++)
		list[i] = UINT64_MAX - list[i];
	return rc;
}
