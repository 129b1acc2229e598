/* peers.h: inside proto/ only. The connections of a server end: route → key that was proven on it. A bounded hash
 * table; when it is full, the peer that was silent longest is forgotten (its next message brings it back under a new
 * route). */
#ifndef AMEND_PROTO_PEERS_H
#define AMEND_PROTO_PEERS_H

#include "proto/keys.h"

struct proto__peer {
	uint64_t route;   /* 0: free */
	uint32_t wire_id; /* ZeroMQ's */
	uint64_t seen;    /* a counter */
	uint8_t key[PROTO_KEY_BYTES];
};
struct proto__peers {
	struct proto__peer *slots;                /* places by wire_id, linear probing */
	size_t slot_count, peer_count, peers_max; /* slot_count: power of two, at least 2 × peers_max */
	uint64_t clock, next_generation;
};

int proto__peers_init(struct proto__peers *peers, size_t peers_max) MUST_CHECK;
void proto__peers_fini(struct proto__peers *peers);
/* The route of a message's sender. The same connection with another key is another peer: its old route ends. */
uint64_t proto__peers_seen(struct proto__peers *peers, uint32_t wire_id, const uint8_t key[PROTO_KEY_BYTES]);
/* The key that was proven on it; borrowed until the table changes. NULL when the route has ended. */
const uint8_t *proto__peers_find(const struct proto__peers *peers, uint64_t route, uint32_t *wire_id);
void proto__peers_forget(struct proto__peers *peers, uint64_t route);

#endif
