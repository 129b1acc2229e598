/* recv_fleet.c: who is there, what they do, and how the coordinator itself fares. */
#include "coordinator/internal.h"

#include "base/process.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MEMBERS_MAX 340 /* fits the reply's cap with full texts ... */
#define REASONS_MAX 64  /* ... and so many reasons of failures: mostly they are the same */

/* A worker says what it does while it does it, and nothing when it is done: without work to do it is idle, whatever it
 * said last. */
static const char *state_of(struct coordinator *c, const struct peer *peer)
{
	if (!coordinator__peer_live(c, peer))
		return "lost";
	if (peer->kind != MSG_PEER_WORKER)
		return peer->state;
	bool busy = c->merge.lease.holder == peer;
	for (size_t i = 0; i < c->shard_count && !busy; i++)
		busy = c->shards[i]->lease.holder == peer && coordinator__shard_work(c->shards[i]);
	return !busy ? "idle" : peer->state[0] != '\0' ? peer->state : "starting";
}

static void member_fill(struct coordinator *c, const struct peer *peer, struct msg_fleet_member *out)
{
	*out = (struct msg_fleet_member){ .kind = peer->kind,
					  .name = coordinator__text(peer->name),
					  .endpoint = coordinator__text(peer->endpoint),
					  .backend = coordinator__text(peer->backend),
					  .software = coordinator__text(peer->software),
					  .state = coordinator__text(state_of(c, peer)),
					  .seen_ms_ago = coordinator__now_ms(c) - peer->seen_ms,
					  .version = peer->version,
					  .resident_bytes = peer->resident_bytes,
					  .lease_count = (uint32_t)coordinator__peer_leases(c, peer),
					  .edit_done = peer->edit_done,
					  .edit_total = peer->edit_total,
					  .pid = peer->pid,
					  .failed_version = peer->failed_version,
					  .source = coordinator__text(peer->source) };
	memcpy(out->key, peer->key, sizeof out->key);
}

void coordinator__recv_fleet(struct coordinator *c, const struct msg_received *received)
{
	size_t count = c->peer_count < MEMBERS_MAX ? c->peer_count : MEMBERS_MAX;
	struct msg_fleet_member *members = fault_calloc(count + 1, sizeof *members);
	if (members == NULL) {
		coordinator__reply_error(c, received, ERR_NOMEM, "out of memory");
		return;
	}
	for (size_t i = 0, reasons = 0; i < count; i++) {
		member_fill(c, c->peers[i], &members[i]);
		if (c->peers[i]->failed_reason[0] != '\0' && reasons++ < REASONS_MAX)
			members[i].failed_reason = coordinator__text(c->peers[i]->failed_reason);
	}
	struct msg msg = { .type = MSG_FLEET_REPLY };
	struct msg_fleet_reply *reply = &msg.u.fleet_reply;
	reply->members = members;
	reply->member_count = count;
	reply->member_total = (uint32_t)c->peer_count;
	reply->version = c->version;
	reply->queue_length = c->counts[STORE_EDIT_STATE_ACCEPTED] + c->counts[STORE_EDIT_STATE_PLACED];
	reply->last_seq = c->last_seq;
	for (size_t i = 0; i < c->shard_count; i++)
		*(c->shards[i]->rec.state == STORE_SHARD_STATE_OPEN ? &reply->shards_open : &reply->shards_closed) += 1;
	reply->pid = (uint32_t)getpid();
	reply->resident_bytes = process_resident_bytes();
	reply->base_model = c->base_model;
	reply->cluster_id = coordinator__text(c->cluster_id);
	reply->software = coordinator__text("amend " AMEND_VERSION);
	reply->data_folder = coordinator__text(c->data_folder);
	if (c->refused.reason[0] != '\0') {
		reply->refused_name = coordinator__text(c->refused.name);
		reply->refused_reason = coordinator__text(c->refused.reason);
		reply->refused_ms_ago = coordinator__now_ms(c) - c->refused.at_ms;
	}
	struct msg_refused_key refused_keys[MSG_REFUSED_KEYS_MAX];
	reply->refused_keys = refused_keys;
	reply->refused_key_count = c->transport->ops->refused(c->transport, refused_keys);
	if (c->merge.active) {
		reply->merge = c->merge.rec.id;
		reply->merge_phase = coordinator__text(coordinator__merge_phase(c));
		reply->merge_reason = coordinator__text(coordinator__merge_reason(c));
	}
	char held[ERR_TEXT_BYTES_MAX];
	coordinator__held_text(c, held, sizeof held);
	reply->publish_held = coordinator__text(held);
	char canaries[ERR_TEXT_BYTES_MAX];
	coordinator__canaries_text(c, canaries, sizeof canaries);
	reply->canaries = coordinator__text(canaries);
	struct buf damage = BUF_INIT;
	buf_append(&damage, c->heal.text.data, c->heal.text.len);
	coordinator__lost_text(c, &damage);
	reply->damage = (struct msg_text){ (const char *)damage.data, damage.len };
	reply->write_trouble = coordinator__text(coordinator__write_trouble(c));
	coordinator__visible_quantiles(c, &reply->visible_p50_ms, &reply->visible_p99_ms);
	coordinator__reply(c, received, &msg);
	buf_free(&damage);
	free(members);
}
