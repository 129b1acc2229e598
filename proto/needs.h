/* needs.h: the chunks that the peers of a server end have asked for (Need) and are owed: each peer's in the order in
 * which it asked, within stated limits. On the end's thread. */
#ifndef AMEND_PROTO_NEEDS_H
#define AMEND_PROTO_NEEDS_H

#include "proto/msg.h"

#include "base/err.h"

#define PROTO_NEED_HASHES_MAX 4096 /* chunks one peer may be owed */
#define PROTO_NEED_PEERS_MAX  4096 /* that are owed any */

struct proto_need {
	struct hash hash;
	uint64_t request_id, version; /* of the Need */
	bool held;                    /* it was not there yet */
};
struct proto_needs__peer {
	uint64_t route;
	int64_t asked_us;
	struct proto_need *items;
	size_t count, cap;
};
struct proto_needs { /* zeroed: nothing is owed */
	struct proto_needs__peer *peers;
	size_t peer_count, peer_cap;
};

/* What a Need asks for. ERR_AGAIN: so much is owed already that nothing of it was taken; ERR_NOMEM the same. A chunk
 * that is held for this peer is owed once, to the newest Need. */
int proto_needs_add(struct proto_needs *needs, const struct msg_received *need, int64_t now_us) MUST_CHECK;
/* Has everything that is owed given, peer by peer. `give`: 0, said, or nothing is to be said; ERR_AGAIN, the peer's
 * queue is full: it and what is behind it stay owed; ERR_BUSY, it is not there yet: it alone stays, held; ERR_CLOSED,
 * the peer is gone, and all that it was owed. */
void proto_needs_pump(struct proto_needs *needs,
		      int (*give)(void *context, uint64_t route, const struct proto_need *need), void *context);
/* Peers that have asked for nothing since then are owed nothing any more: for ends that hold chunks. */
void proto_needs_forget(struct proto_needs *needs, int64_t before_us);
size_t proto_needs_count(const struct proto_needs *needs); /* chunks owed */
void proto_needs_fini(struct proto_needs *needs);

#endif
