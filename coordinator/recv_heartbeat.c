/* recv_heartbeat.c: a peer lives, and holds these leases. A lease that is not (or no longer) its own is fenced. */
#include "coordinator/internal.h"

/* A lease lasts lease_ms from when its holder last heard this coordinator, which is when the holder counts from, too:
 * where only the way here is open, both give it up at the same time. */
static int64_t heard_ms(const struct coordinator *c, const struct msg_heartbeat *beat)
{
	return coordinator__now_ms(c) - (int64_t)beat->unheard_ms;
}

static bool renew(struct coordinator *c, struct peer *peer, const struct msg_lease_ref *ref, int64_t expires_ms)
{
	if (ref->kind == MSG_LEASE_GATE) {
		if (!coordinator__gate_is(c, peer, ref->shard, ref->epoch))
			return false;
		coordinator__gate_renew(c, expires_ms);
		return true;
	}
	struct shard *shard = coordinator__shard_find(c, ref->shard);
	if (!coordinator__lease_is(shard, peer, ref->epoch))
		return false;
	coordinator__lease_renew(&shard->lease, expires_ms);
	return true;
}

/* Fenced ones hear it from here; a peer that is not known at all is asked to say Hello, and may go on with what it
 * holds under a new epoch (the coordinator restarted, or the peer was silent for long). */
void coordinator__unknown(struct coordinator *c, const struct msg_received *received)
{
	coordinator__reply_error(c, received, ERR_NOT_FOUND,
				 "this coordinator does not know you on this connection: say Hello first");
}

/* A grant that the peer has never shown after half a lease time was lost on its way. One that it showed and then
 * dropped without a Release runs out instead: that is what counts against a poisonous edit. */
static void resend_leases(struct coordinator *c, const struct peer *peer)
{
	int64_t now = coordinator__now_ms(c);
	for (size_t i = 0; i < c->shard_count; i++) {
		struct shard *shard = c->shards[i];
		if (shard->lease.holder == peer && shard->lease.sm.state == LEASE_GRANTED &&
		    now - shard->lease.sent_ms >= c->config.lease_ms / 2)
			coordinator__lease_send(c, shard);
	}
}

void coordinator__recv_heartbeat(struct coordinator *c, const struct msg_received *received)
{
	const struct msg_heartbeat *beat = &received->msg.u.heartbeat;
	struct peer *peer = coordinator__peer_any(c, received->peer_key);
	if (peer == NULL) {
		coordinator__unknown(c, received);
		return;
	}
	const int64_t heard = heard_ms(c, beat);
	bool valid = received->route == peer->route;
	for (size_t i = 0; i < beat->lease_count; i++) {
		if (renew(c, peer, &beat->leases[i], heard + c->config.lease_ms))
			valid = true;
		else
			coordinator__fenced_send(c, received->route, beat->leases[i].shard, beat->leases[i].epoch);
	}
	if (!valid) {
		/* A new connection without a lease says nothing of which process it is: it may be one that was fenced.
		 */
		coordinator__unknown(c, received);
		return;
	}
	peer->route = received->route;
	peer->seen_ms = heard > peer->seen_ms ? heard : peer->seen_ms;
	peer->resident_bytes = beat->resident_bytes;
	if (peer->kind == MSG_PEER_WORKER) /* a node tells of a version instead (recv_node_status.c) */
		coordinator__copy_text(peer->failed_reason, sizeof peer->failed_reason, beat->trouble);
	resend_leases(c, peer);
	struct msg msg = { .type = MSG_HEARTBEAT_REPLY };
	msg.u.heartbeat_reply.version = c->version;
	msg.u.heartbeat_reply.wall_ms = env_wall_ms(c->env);
	msg.u.heartbeat_reply.readers = peer->kind == MSG_PEER_NODE ? c->readers : 0;
	coordinator__reply(c, received, &msg);
}
