/* recv_want.c: credit from a worker. The newest Want counts: it says what the worker holds, so a lost message heals
 * with the next one. */
#include "coordinator/internal.h"

void coordinator__recv_want(struct coordinator *c, const struct msg_received *received)
{
	const struct msg_want *want = &received->msg.u.want;
	struct peer *peer = coordinator__peer_find(c, received->peer_key, MSG_PEER_WORKER);
	if (peer == NULL) {
		coordinator__unknown(c, received);
		return;
	}
	if (coordinator__gate_is(c, peer, want->shard, want->epoch)) {
		peer->route = received->route;
		coordinator__gate_want(c, want->received_count);
		return;
	}
	struct shard *shard = coordinator__shard_find(c, want->shard);
	if (!coordinator__lease_is(shard, peer, want->epoch)) {
		coordinator__fenced_send(c, received->route, want->shard, want->epoch);
		return;
	}
	size_t most = shard->rec.trained_count + shard->rec.group_count;
	peer->route = received->route;
	coordinator__lease_seen(&shard->lease);
	shard->lease.wants = true;
	shard->want_credit = want->credit;
	shard->lease.send_next = want->received_count < most ? want->received_count : most;
	shard->lease.replay_next = want->replay_count;
}
