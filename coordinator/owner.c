/* owner.c: whose a key is. A key that was rotated is its owner's as the one before was: an owner is named by its first
 * key. The ledger's value `key-owners` holds the pairs, newest last. */
#include "coordinator/internal.h"
#include "coordinator/owner.h"

#include <string.h>

#define META_NAME "key-owners"
#define PAIRS_MAX 8192 /* twice as many keys as a list can have; the oldest go */

struct pair {
	uint8_t key[PROTO_KEY_BYTES], owner[PROTO_KEY_BYTES];
};

int coordinator__owners_load(struct store_txn *txn, struct buf *out, struct err *e)
{
	int rc = store_meta_get(txn, META_NAME, out, e);
	if (rc == ERR_NOT_FOUND) {
		err_clear(e);
		rc = 0;
	}
	if (rc == 0 && out->len % sizeof(struct pair) != 0)
		rc = err_set(e, ERR_CORRUPT, META_NAME ": %zu bytes are not of its form", out->len);
	return rc;
}

const uint8_t *coordinator__owner_of(const struct buf *owners, const uint8_t *key)
{
	const struct pair *pairs = (const void *)owners->data;
	for (size_t i = owners->len / sizeof *pairs; i-- > 0;)
		if (memcmp(pairs[i].key, key, PROTO_KEY_BYTES) == 0)
			return pairs[i].owner;
	return key;
}

/* Before there were owners a rotated key had nothing in common with the one before but its name. */
static bool same_name(const struct coordinator *c, const uint8_t *a, const uint8_t *b)
{
	const char *name_a = NULL, *name_b = NULL;
	if (c->allow == NULL)
		return false;
	(void)proto_allow_roles(c->allow, a, &name_a);
	(void)proto_allow_roles(c->allow, b, &name_b);
	return name_a != NULL && name_b != NULL && strcmp(name_a, name_b) == 0;
}

bool coordinator__same_owner(const struct coordinator *c, const struct buf *owners, const uint8_t *a, const uint8_t *b)
{
	return memcmp(coordinator__owner_of(owners, a), coordinator__owner_of(owners, b), PROTO_KEY_BYTES) == 0 ||
	       same_name(c, a, b);
}

static int pair_put(struct coordinator *c, const struct buf *owners, const struct pair *pair, struct err *e)
{
	struct buf next = BUF_INIT;
	const size_t kept = owners->len / sizeof *pair < PAIRS_MAX ? owners->len : (PAIRS_MAX - 1) * sizeof *pair;
	buf_append(&next, owners->data + owners->len - kept, kept);
	buf_append(&next, pair, sizeof *pair);
	int rc = buf_failed(&next) ? err_set(e, ERR_NOMEM, "out of memory")
				   : store_meta_put(c->txn, META_NAME, next.data, next.len, e);
	buf_free(&next);
	return rc;
}

static bool is_listed(const struct coordinator *c, const uint8_t *key)
{
	const char *name = NULL;
	(void)proto_allow_roles(c->allow, key, &name);
	return name != NULL;
}

int coordinator__owner_put(struct coordinator *c, const uint8_t *key, const uint8_t *replaces, struct err *e)
{
	struct buf owners = BUF_INIT;
	struct pair pair;
	int rc = coordinator__begin(c, e);
	if (rc == 0)
		rc = coordinator__owners_load(c->txn, &owners, e);
	if (rc == 0) {
		memcpy(pair.key, key, sizeof pair.key);
		memcpy(pair.owner, coordinator__owner_of(&owners, replaces), sizeof pair.owner);
	}
	const bool known = rc == 0 && memcmp(coordinator__owner_of(&owners, key), pair.owner, sizeof pair.owner) == 0;
	if (rc == 0 && !known && is_listed(c, key)) {
		store_abort(&c->txn);
		buf_free(&owners);
		return err_set(e, ERR_CONFLICT,
			       "this key is on the list already: a key that takes another's place is a new one");
	}
	if (rc == 0 && !known)
		rc = pair_put(c, &owners, &pair, e);
	if (rc == 0 && !known)
		rc = coordinator__commit(c, NULL, NULL, e);
	store_abort(&c->txn);
	buf_free(&owners);
	if (rc != 0)
		coordinator__txn_failed(c, e);
	return rc;
}
