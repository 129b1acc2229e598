/* owner.h (inside coordinator/): whose keys are, as the ledger says: a key that took another's place is its owner's.
 * Keys of one name on the list are of one owner, too. */
#ifndef AMEND_COORDINATOR_OWNER_H
#define AMEND_COORDINATOR_OWNER_H

#include "base/buf.h"
#include "store/store.h"

struct coordinator;

/* All that the ledger says: pairs of keys. */
int coordinator__owners_load(struct store_txn *txn, struct buf *out, struct err *e) MUST_CHECK;
const uint8_t *coordinator__owner_of(const struct buf *owners, const uint8_t *key); /* its first key; valid as both */
bool coordinator__same_owner(const struct coordinator *c, const struct buf *owners, const uint8_t *a, const uint8_t *b);
/* Its own transaction: `key` is the owner's of the key that it replaces. ERR_CONFLICT: it is on the list, and somebody
 * else's. */
int coordinator__owner_put(struct coordinator *c, const uint8_t *key, const uint8_t *replaces,
			   struct err *e) MUST_CHECK;

#endif
