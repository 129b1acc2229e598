/* needs.c: see needs.h. */
#include "proto/needs.h"

#include "base/fault.h"

#include <stdlib.h>
#include <string.h>

static struct proto_needs__peer *peer_of(struct proto_needs *needs, uint64_t route)
{
	for (size_t i = 0; i < needs->peer_count; i++)
		if (needs->peers[i].route == route)
			return &needs->peers[i];
	if (needs->peer_count == PROTO_NEED_PEERS_MAX)
		return NULL;
	if (needs->peer_count == needs->peer_cap) {
		size_t cap = needs->peer_cap == 0 ? 16 : needs->peer_cap * 2;
		struct proto_needs__peer *peers = fault_realloc(needs->peers, cap * sizeof *peers);
		if (peers == NULL)
			return NULL;
		needs->peers = peers;
		needs->peer_cap = cap;
	}
	struct proto_needs__peer *peer = &needs->peers[needs->peer_count++];
	*peer = (struct proto_needs__peer){ .route = route };
	return peer;
}

static int items_reserve(struct proto_needs__peer *peer, size_t more)
{
	if (peer->count + more > PROTO_NEED_HASHES_MAX)
		return ERR_AGAIN;
	if (peer->count + more <= peer->cap)
		return 0;
	struct proto_need *items = fault_realloc(peer->items, (peer->count + more) * sizeof *items);
	if (items == NULL)
		return ERR_NOMEM;
	peer->items = items;
	peer->cap = peer->count + more;
	return 0;
}

static struct proto_need *held_find(struct proto_needs__peer *peer, size_t count, const struct hash *hash)
{
	for (size_t i = 0; i < count; i++)
		if (peer->items[i].held && hash_equal(&peer->items[i].hash, hash))
			return &peer->items[i];
	return NULL;
}

static void peer_drop(struct proto_needs *needs, size_t index)
{
	free(needs->peers[index].items);
	needs->peers[index] = needs->peers[--needs->peer_count];
}

int proto_needs_add(struct proto_needs *needs, const struct msg_received *need, int64_t now_us)
{
	const struct msg_hashes *wanted = &need->msg.u.hashes;
	struct proto_needs__peer *peer = peer_of(needs, need->route);
	int rc = peer == NULL ? ERR_AGAIN : items_reserve(peer, wanted->hash_count);
	if (rc != 0)
		return rc; /* a peer without items goes with the next pump */
	peer->asked_us = now_us;
	size_t before = peer->count;
	for (size_t i = 0; i < wanted->hash_count; i++) {
		const struct proto_need item = { wanted->hashes[i], need->msg.request_id, wanted->version, false };
		struct proto_need *held = held_find(peer, before, &item.hash);
		*(held != NULL ? held : &peer->items[peer->count++]) = item;
	}
	return 0;
}

/* ERR_CLOSED, or 0. What stays owed moves to the front, in its order. */
static int peer_pump(struct proto_needs__peer *peer,
		     int (*give)(void *context, uint64_t route, const struct proto_need *need), void *context)
{
	size_t kept = 0, i = 0;
	for (; i < peer->count; i++) {
		const int rc = give(context, peer->route, &peer->items[i]);
		if (rc == ERR_CLOSED)
			return rc;
		if (rc == ERR_AGAIN)
			break; /* the rest as well */
		if (rc != ERR_BUSY)
			continue;
		peer->items[i].held = true;
		if (kept++ != i)
			peer->items[kept - 1] = peer->items[i];
	}
	if (kept != i)
		memmove(peer->items + kept, peer->items + i, (peer->count - i) * sizeof peer->items[0]);
	peer->count -= i - kept;
	return 0;
}

void proto_needs_pump(struct proto_needs *needs,
		      int (*give)(void *context, uint64_t route, const struct proto_need *need), void *context)
{
	for (size_t i = needs->peer_count; i-- > 0;)
		if (peer_pump(&needs->peers[i], give, context) != 0 || needs->peers[i].count == 0)
			peer_drop(needs, i);
}

void proto_needs_forget(struct proto_needs *needs, int64_t before_us)
{
	for (size_t i = needs->peer_count; i-- > 0;)
		if (needs->peers[i].asked_us < before_us)
			peer_drop(needs, i);
}

size_t proto_needs_count(const struct proto_needs *needs)
{
	size_t count = 0;
	for (size_t i = 0; i < needs->peer_count; i++)
		count += needs->peers[i].count;
	return count;
}

void proto_needs_fini(struct proto_needs *needs)
{
	while (needs->peer_count > 0)
		peer_drop(needs, needs->peer_count - 1);
	free(needs->peers);
	*needs = (struct proto_needs){ 0 };
}
