/* recv_fleet.c: who is there, what they do, and how the coordinator itself fares. */
#include "coordinator/internal.h"

#include "base/process.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What the reply's cap leaves for members, beside its own fields and so many reasons of failures, which are mostly the
 * same. A field takes at most a tag of two bytes, and ten of a number or of the length of a text. */
#define REASONS_MAX   64
#define FIELD_BYTES   12
#define MEMBER_FIELDS 19          /* with the one that it is itself */
#define OWN_BYTES     (16 * 1024) /* a folder of 4,096 bytes, ten texts of at most 1,024, 64 refused keys */
#define MEMBERS_BYTES_MAX                                                                                              \
	(MSG_FLEET_REPLY_BYTES_MAX - OWN_BYTES - REASONS_MAX * sizeof((struct peer *)0)->failed_reason)

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
					  .failing = coordinator__peer_live(c, peer) &&
						     (peer->failed_version != 0 || peer->failed_reason[0] != '\0'),
					  .failed_version = peer->failed_version,
					  .source = coordinator__text(peer->source) };
	memcpy(out->key, peer->key, sizeof out->key);
}

/* The most that it takes in the reply, without its reason. */
static size_t member_bytes(const struct msg_fleet_member *m)
{
	return MEMBER_FIELDS * FIELD_BYTES + sizeof m->key + m->name.len + m->endpoint.len + m->backend.len +
	       m->software.len + m->state.len + m->source.len;
}

/* The first peers, as many as the reply holds; gives their number. */
static size_t members_fill(struct coordinator *c, struct msg_fleet_member *members)
{
	size_t count = 0, bytes = 0, reasons = 0;
	for (; count < c->peer_count; count++) {
		const struct peer *peer = c->peers[count];
		member_fill(c, peer, &members[count]);
		bytes += member_bytes(&members[count]);
		if (bytes > MEMBERS_BYTES_MAX)
			break;
		if (members[count].failing && reasons++ < REASONS_MAX)
			members[count].failed_reason = coordinator__text(peer->failed_reason);
	}
	return count;
}

void coordinator__recv_fleet(struct coordinator *c, const struct msg_received *received)
{
	struct msg_fleet_member *members = fault_calloc(c->peer_count + 1, sizeof *members);
	if (members == NULL) {
		coordinator__reply_error(c, received, ERR_NOMEM, "out of memory");
		return;
	}
	struct msg msg = { .type = MSG_FLEET_REPLY };
	struct msg_fleet_reply *reply = &msg.u.fleet_reply;
	reply->members = members;
	reply->member_count = members_fill(c, members);
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
