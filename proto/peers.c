/* peers.c: the table of a server's connections. A route is {generation, wire id}, so that it is found without a second
 * index. */
#include "proto/peers.h"

#include "base/fault.h"

#include <stdlib.h>
#include <string.h>

int proto__peers_init(struct proto__peers *peers, size_t peers_max)
{
	memset(peers, 0, sizeof(*peers));
	peers->peers_max = peers_max == 0 ? 1 : peers_max;
	peers->slot_count = 4;
	while (peers->slot_count < 2 * peers->peers_max)
		peers->slot_count *= 2;
	peers->slots = fault_calloc(peers->slot_count, sizeof(peers->slots[0]));
	peers->next_generation = 1;
	return peers->slots == NULL ? ERR_NOMEM : 0;
}

void proto__peers_fini(struct proto__peers *peers)
{
	free(peers->slots);
	memset(peers, 0, sizeof(*peers));
}

static size_t home(const struct proto__peers *peers, uint32_t wire_id)
{
	return (size_t)(((uint64_t)wire_id * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (peers->slot_count - 1);
}

/* The peer's slot, or the free one where it would stand. */
static size_t locate(const struct proto__peers *peers, uint32_t wire_id)
{
	size_t at = home(peers, wire_id);
	while (peers->slots[at].route != 0 && peers->slots[at].wire_id != wire_id)
		at = (at + 1) & (peers->slot_count - 1);
	return at;
}

/* Backward shift, so that no probe path is cut. */
static void erase(struct proto__peers *peers, size_t hole)
{
	size_t mask = peers->slot_count - 1;
	for (size_t at = (hole + 1) & mask; peers->slots[at].route != 0; at = (at + 1) & mask) {
		size_t wanted = home(peers, peers->slots[at].wire_id);
		if (((at - wanted) & mask) < ((at - hole) & mask))
			continue;
		peers->slots[hole] = peers->slots[at];
		hole = at;
	}
	peers->slots[hole].route = 0;
	peers->peer_count--;
}

static void erase_oldest(struct proto__peers *peers)
{
	size_t oldest = peers->slot_count;
	for (size_t i = 0; i < peers->slot_count; i++)
		if (peers->slots[i].route != 0 &&
		    (oldest == peers->slot_count || peers->slots[i].seen < peers->slots[oldest].seen))
			oldest = i;
	if (oldest < peers->slot_count)
		erase(peers, oldest);
}

uint64_t proto__peers_seen(struct proto__peers *peers, uint32_t wire_id, const uint8_t key[PROTO_KEY_BYTES])
{
	size_t at = locate(peers, wire_id);
	struct proto__peer *peer = &peers->slots[at];
	if (peer->route != 0 && memcmp(peer->key, key, PROTO_KEY_BYTES) == 0) {
		peer->seen = ++peers->clock;
		return peer->route;
	}
	if (peer->route == 0) {
		if (peers->peer_count == peers->peers_max) {
			erase_oldest(peers);
			peer = &peers->slots[locate(peers, wire_id)];
		}
		peers->peer_count++;
	}
	*peer = (struct proto__peer){ .route = peers->next_generation++ << 32 | wire_id,
				      .wire_id = wire_id,
				      .seen = ++peers->clock };
	memcpy(peer->key, key, PROTO_KEY_BYTES);
	return peer->route;
}

const uint8_t *proto__peers_find(const struct proto__peers *peers, uint64_t route, uint32_t *wire_id)
{
	*wire_id = (uint32_t)route;
	const struct proto__peer *peer = &peers->slots[locate(peers, *wire_id)];
	return route != 0 && peer->route == route ? peer->key : NULL;
}

void proto__peers_forget(struct proto__peers *peers, uint64_t route)
{
	uint32_t wire_id;
	if (proto__peers_find(peers, route, &wire_id) != NULL)
		erase(peers, locate(peers, wire_id));
}
