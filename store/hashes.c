/* hashes.c: a set of hashes in memory, by open addressing. SHA-256 needs no further mixing; the zero hash, which
 * nothing has, marks a free place. */
#include "base/fault.h"
#include "store/env.h"

#include <stdlib.h>
#include <string.h>

#define SLOTS_MIN 1024

static size_t slot_of(const struct hash *slots, size_t slot_count, const struct hash *hash)
{
	uint64_t at;
	memcpy(&at, hash->bytes, sizeof(at));
	for (at &= slot_count - 1; !hash_is_zero(&slots[at]); at = (at + 1) & (slot_count - 1))
		if (memcmp(&slots[at], hash, HASH_BYTES) == 0)
			break;
	return at;
}

bool store__hashes_has(const struct store__hashes *set, const struct hash *hash)
{
	return set->count > 0 && !hash_is_zero(hash) &&
	       !hash_is_zero(&set->slots[slot_of(set->slots, set->slot_count, hash)]);
}

static int grow(struct store__hashes *set)
{
	size_t slot_count = set->slot_count ? 2 * set->slot_count : SLOTS_MIN;
	struct hash *slots = fault_calloc(slot_count, sizeof(*slots));
	if (!slots)
		return ERR_NOMEM;
	for (size_t i = 0; i < set->slot_count; i++)
		if (!hash_is_zero(&set->slots[i]))
			slots[slot_of(slots, slot_count, &set->slots[i])] = set->slots[i];
	free(set->slots);
	set->slots = slots;
	set->slot_count = slot_count;
	return 0;
}

int store__hashes_add(struct store__hashes *set, const struct hash *hash)
{
	if (hash_is_zero(hash) || store__hashes_has(set, hash))
		return 0;
	int rc = set->count >= set->slot_count / 4 * 3 ? grow(set) : 0;
	if (rc)
		return rc;
	set->slots[slot_of(set->slots, set->slot_count, hash)] = *hash;
	set->count++;
	return 0;
}

void store__hashes_free(struct store__hashes *set)
{
	free(set->slots);
	*set = (struct store__hashes){ NULL, 0, 0 };
}
