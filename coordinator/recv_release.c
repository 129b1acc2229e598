/* recv_release.c: a worker gives a lease back. A worker that stops or whose disk is full is no edit's fault: only
 * ERR_INVALID, or a lease that ends without a word, counts against the group (lease.c). */
#include "coordinator/internal.h"

#include <stdio.h>

static void shard_release(struct coordinator *c, struct shard *shard, int code)
{
	struct peer *peer = shard->lease.holder;
	char why[64];
	snprintf(why, sizeof why, "given back: %s", code == 0 ? "its worker is stopping" : err_name(code));
	log_event(LOG_INFO, "COORDINATOR-LEASE-RELEASED", LOGF_U("shard", shard->rec.id),
		  LOGF_U("epoch", shard->rec.epoch), LOGF_S("worker", peer->name),
		  LOGF_S("code", code == 0 ? "0" : err_name(code)));
	coordinator__lease_end(c, shard, why, code == ERR_INVALID);
	if (code == 0)
		return;
	const uint32_t doublings = shard->release_count < RELEASE_DOUBLINGS ? shard->release_count : RELEASE_DOUBLINGS;
	peer->stalled = true;
	shard->release_count++;
	shard->grant_ms = coordinator__now_ms(c) + ((int64_t)RELEASE_RETRY_MS << doublings);
}

void coordinator__recv_release(struct coordinator *c, const struct msg_received *received)
{
	const struct msg_release *release = &received->msg.u.release;
	struct peer *peer = coordinator__peer_find(c, received->peer_key, MSG_PEER_WORKER);
	struct shard *shard = coordinator__shard_find(c, release->shard);
	if (peer == NULL)
		return; /* after our restart no lease is held: there is nothing to give back */
	if (coordinator__gate_is(c, peer, release->shard, release->epoch)) {
		peer->leaving = peer->leaving || release->code == 0;
		coordinator__gate_release(c, release->code);
	} else if (coordinator__lease_is(shard, peer, release->epoch)) {
		peer->leaving = peer->leaving || release->code == 0;
		shard_release(c, shard, release->code);
	}
}
