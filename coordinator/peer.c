/* peer.c: workers and nodes that said Hello, by key and kind. */
#include "coordinator/internal.h"

#include <stdlib.h>
#include <string.h>

static size_t bucket_of(const uint8_t *key, enum msg_peer_kind kind)
{
	return ((size_t)key[0] << 8 ^ (size_t)key[1] ^ (size_t)key[2] << 4 ^ (size_t)kind) % PEER_BUCKETS;
}

struct peer *coordinator__peer_find(const struct coordinator *c, const uint8_t *key, enum msg_peer_kind kind)
{
	struct peer *peer = c->buckets[bucket_of(key, kind)];
	while (peer != NULL && (peer->kind != kind || memcmp(peer->key, key, PROTO_KEY_BYTES) != 0))
		peer = peer->bucket_next;
	return peer;
}

struct peer *coordinator__peer_any(const struct coordinator *c, const uint8_t *key)
{
	struct peer *peer = coordinator__peer_find(c, key, MSG_PEER_WORKER);
	return peer != NULL ? peer : coordinator__peer_find(c, key, MSG_PEER_NODE);
}

struct peer *coordinator__peer_add(struct coordinator *c, const uint8_t *key, enum msg_peer_kind kind)
{
	if (c->peer_count == c->peer_cap) {
		size_t cap = c->peer_cap == 0 ? 16 : c->peer_cap * 2;
		struct peer **peers = fault_realloc(c->peers, cap * sizeof(struct peer *));
		if (peers == NULL)
			return NULL;
		c->peers = peers;
		c->peer_cap = cap;
	}
	struct peer *peer = fault_calloc(1, sizeof *peer);
	if (peer == NULL)
		return NULL;
	memcpy(peer->key, key, sizeof peer->key);
	peer->kind = kind;
	struct peer **bucket = &c->buckets[bucket_of(key, kind)];
	peer->bucket_next = *bucket;
	*bucket = peer;
	c->peers[c->peer_count++] = peer;
	return peer;
}

static void peer_remove(struct coordinator *c, size_t index)
{
	struct peer *peer = c->peers[index];
	struct peer **at = &c->buckets[bucket_of(peer->key, peer->kind)];
	while (*at != peer)
		at = &(*at)->bucket_next;
	*at = peer->bucket_next;
	c->peers[index] = c->peers[--c->peer_count];
	free(peer);
}

/* A node that serves nothing holds every edit back from `served`: only who may read may be one. */
unsigned coordinator__kind_roles(enum msg_peer_kind kind)
{
	switch (kind) {
	case MSG_PEER_WORKER:
		return PROTO_ROLE_WORKER;
	case MSG_PEER_NODE:
		return PROTO_ROLE_READER | PROTO_ROLE_ADMIN;
	default:
		return PROTO_ROLE_ALL;
	}
}

bool coordinator__peer_live(const struct coordinator *c, const struct peer *peer)
{
	return !peer->barred && coordinator__now_ms(c) - peer->seen_ms < (int64_t)c->config.lease_ms;
}

size_t coordinator__peer_leases(const struct coordinator *c, const struct peer *peer)
{
	size_t n = c->merge.lease.holder == peer ? 1 : 0;
	for (size_t i = 0; i < c->shard_count; i++)
		n += c->shards[i]->lease.holder == peer;
	return n;
}

size_t coordinator__workers_live(const struct coordinator *c)
{
	size_t n = 0;
	for (size_t i = 0; i < c->peer_count; i++)
		n += c->peers[i]->kind == MSG_PEER_WORKER && coordinator__peer_live(c, c->peers[i]);
	return n;
}

struct peer *coordinator__worker_least(const struct coordinator *c)
{
	struct peer *best = NULL;
	size_t best_leases = 0;
	for (size_t i = 0; i < c->peer_count; i++) {
		struct peer *peer = c->peers[i];
		if (peer->kind != MSG_PEER_WORKER || peer->leaving || !coordinator__peer_live(c, peer))
			continue;
		size_t leases = coordinator__peer_leases(c, peer);
		if (leases >= MSG_WORKER_LEASES_MAX)
			continue;
		if (best == NULL || (best->stalled && !peer->stalled) ||
		    (best->stalled == peer->stalled && leases < best_leases)) {
			best = peer;
			best_leases = leases;
		}
	}
	return best;
}

/* Silent ones, so that the table cannot fill up with the dead. Their leases ended long before. */
void coordinator__peers_forget(struct coordinator *c)
{
	int64_t before = coordinator__now_ms(c) - (int64_t)c->config.lease_ms * PEER_FORGET_LEASES;
	for (size_t i = c->peer_count; i-- > 0;) {
		if (c->peers[i]->seen_ms < before && coordinator__peer_leases(c, c->peers[i]) == 0)
			peer_remove(c, i);
	}
}

void coordinator__peers_free(struct coordinator *c)
{
	for (size_t i = 0; i < c->peer_count; i++)
		free(c->peers[i]);
	free(c->peers);
	c->peers = NULL;
	c->peer_count = c->peer_cap = 0;
}
