/* lease.c: which worker holds which shard. A grant raises the shard's epoch for ever; what comes with another epoch is
 * refused. */
#include "coordinator/internal.h"

#include <inttypes.h>
#include <string.h>

static const struct sm_state states[LEASE_STATE_COUNT] = {
	[LEASE_FREE] = { "free", SM_TO(LEASE_GRANTED) },
	[LEASE_GRANTED] = { "granted", SM_TO(LEASE_HELD) | SM_TO(LEASE_FREE) },
	[LEASE_HELD] = { "held", SM_TO(LEASE_TRAINING) | SM_TO(LEASE_FREE) },
	[LEASE_TRAINING] = { "training", SM_TO(LEASE_TRAINING) | SM_TO(LEASE_HELD) | SM_TO(LEASE_FREE) },
};
static const struct sm_table lease_states = { "lease", states, LEASE_STATE_COUNT, LEASE_FREE };

static bool lease_holds(const struct sm *sm, int before)
{
	const struct lease *lease = (const void *)sm;
	(void)before;
	if (sm->state == LEASE_FREE)
		return lease->holder == NULL && !lease->sent && !lease->wants;
	return lease->holder != NULL && (!lease->wants || sm->state >= LEASE_HELD);
}

void coordinator__lease_init(struct lease *lease)
{
	*lease = (struct lease){ .holder = NULL };
	sm_init(&lease->sm, &lease_states, lease_holds);
}

void coordinator__lease_hold(struct lease *lease, struct peer *holder, int64_t expires_ms)
{
	lease->holder = holder;
	lease->expires_ms = expires_ms;
	sm_move(&lease->sm, LEASE_GRANTED);
}

void coordinator__lease_seen(struct lease *lease)
{
	lease->sent = true;
	if (lease->sm.state == LEASE_GRANTED)
		sm_move(&lease->sm, LEASE_HELD);
}

void coordinator__lease_renew(struct lease *lease, int64_t expires_ms)
{
	if (expires_ms > lease->expires_ms)
		lease->expires_ms = expires_ms;
	coordinator__lease_seen(lease);
}

void coordinator__lease_free(struct lease *lease)
{
	if (lease->sm.state == LEASE_FREE)
		return;
	lease->holder = NULL;
	lease->sent = lease->wants = false;
	lease->send_next = lease->replay_next = 0;
	sm_move(&lease->sm, LEASE_FREE);
}

bool coordinator__lease_is(const struct shard *shard, const struct peer *peer, uint64_t epoch)
{
	return shard != NULL && peer != NULL && shard->lease.holder == peer && shard->rec.epoch == epoch;
}

static int lease_event(struct coordinator *c, enum store_event_type type, const struct shard *shard, const char *why,
		       struct err *e)
{
	struct buf json = BUF_INIT;
	struct json_w w;
	char key[65];
	proto_key_hex(shard->rec.worker, key);
	json_w_init(&w, &json);
	json_w_open(&w, '{');
	json_w_member_uint(&w, "shard", shard->rec.id);
	json_w_member_uint(&w, "epoch", shard->rec.epoch);
	json_w_member_str(&w, "worker", key);
	if (why != NULL) {
		json_w_member_str(&w, "reason", why);
	}
	json_w_close(&w);
	return coordinator__event(c, type, NULL, &json, NULL, e);
}

void coordinator__fenced_send(struct coordinator *c, uint64_t route, uint64_t shard, uint64_t epoch)
{
	struct msg msg = { .type = MSG_FENCED };
	msg.u.fenced.shard = shard;
	msg.u.fenced.epoch = epoch;
	c->fenced_count++;
	(void)coordinator__send(c, route, &msg); /* lost: the next heartbeat with the old epoch is told again */
}

void coordinator__lease_advanced(struct coordinator *c, struct shard *shard)
{
	shard->advanced_ms = coordinator__now_ms(c);
	shard->release_count = 0;
	if (shard->lease.holder != NULL)
		shard->lease.holder->stalled = false;
}

static int end_write(struct coordinator *c, struct shard *shard, const char *why, bool blame, struct err *e)
{
	int rc = coordinator__begin(c, e);
	if (rc == 0)
		rc = lease_event(c, STORE_EVENT_LEASE_EXPIRED, shard, why, e);
	if (rc == 0 && (blame || shard->refused[0] != '\0') && shard->lease.sm.state == LEASE_TRAINING &&
	    shard->rec.group_count > 0)
		rc = coordinator__group_blame(c, shard, e);
	return rc == 0 ? coordinator__commit(c, NULL, NULL, e) : rc;
}

void coordinator__lease_end(struct coordinator *c, struct shard *shard, const char *why, bool blame)
{
	struct err e = ERR_INIT;
	if (end_write(c, shard, why, blame, &e) != 0)
		coordinator__txn_failed(
			c, &e); /* on a full disk the lease ends without its event: the next grant's epoch tells it */
	coordinator__lease_free(&shard->lease);
}

static void lose(struct coordinator *c, struct shard *shard, const char *why, bool blame)
{
	struct peer *peer = shard->lease.holder;
	log_event(LOG_WARN, "COORDINATOR-LEASE-LOST", LOGF_U("shard", shard->rec.id), LOGF_U("epoch", shard->rec.epoch),
		  LOGF_S("worker", peer->name), LOGF_S("reason", why));
	coordinator__lease_end(c, shard, why, blame);
	coordinator__fenced_send(c, peer->route, shard->rec.id, shard->rec.epoch);
}

void coordinator__lease_lost(struct coordinator *c, struct shard *shard, const char *why)
{
	lose(c, shard, why, true);
}

void coordinator__lease_send(struct coordinator *c, struct shard *shard)
{
	struct msg msg = { .type = MSG_LEASE };
	struct msg_lease *lease = &msg.u.lease;
	lease->kind = MSG_LEASE_TRAIN;
	lease->shard = shard->rec.id;
	lease->epoch = shard->rec.epoch;
	lease->lease_ms = c->config.lease_ms;
	lease->shard_version = shard->rec.version;
	lease->delta_root = shard->rec.delta_root;
	lease->index_root = shard->rec.index_root;
	lease->calibration_root = shard->rec.calibration_root;
	lease->trained_count = (uint32_t)shard->rec.trained_count;
	shard->lease.sent = coordinator__send(c, shard->lease.holder->route, &msg) == 0;
	shard->lease.sent_ms = coordinator__now_ms(c);
}

static void grant(struct coordinator *c, struct shard *shard, struct peer *peer)
{
	struct err e = ERR_INIT;
	int rc = coordinator__begin(c, &e);
	shard->rec.epoch++;
	memcpy(shard->rec.worker, peer->key, sizeof shard->rec.worker);
	coordinator__touch(shard);
	if (rc == 0)
		rc = lease_event(c, STORE_EVENT_LEASE_GRANTED, shard, NULL, &e);
	if (rc == 0)
		rc = coordinator__commit(c, NULL, NULL, &e);
	if (rc != 0) {
		coordinator__txn_failed(c, &e);
		return;
	}
	coordinator__lease_hold(&shard->lease, peer, coordinator__now_ms(c) + c->config.lease_ms);
	shard->advanced_ms = coordinator__now_ms(c);
	shard->advance_mark = 0;
	shard->refused[0] = '\0';
	log_event(LOG_INFO, "COORDINATOR-LEASE-GRANTED", LOGF_U("shard", shard->rec.id),
		  LOGF_U("epoch", shard->rec.epoch), LOGF_S("worker", peer->name));
	coordinator__lease_send(c, shard);
}

/* The previous holder has the shard's delta and edits at hand. */
static struct peer *choose(const struct coordinator *c, const struct shard *shard)
{
	struct peer *before = coordinator__peer_find(c, shard->rec.worker, MSG_PEER_WORKER);
	if (shard->rec.epoch > 0 && before != NULL && coordinator__peer_live(c, before) && !before->stalled &&
	    !before->leaving && coordinator__peer_leases(c, before) < MSG_WORKER_LEASES_MAX)
		return before;
	return coordinator__worker_least(c);
}

int coordinator__closed_event(struct coordinator *c, const struct shard *shard, struct err *e)
{
	struct buf json = BUF_INIT;
	struct json_w w;
	json_w_init(&w, &json);
	json_w_open(&w, '{');
	json_w_member_uint(&w, "shard", shard->rec.id);
	json_w_member_uint(&w, "version", shard->rec.version); /* 0: it never held an edit */
	json_w_close(&w);
	return coordinator__event(c, STORE_EVENT_SHARD_CLOSED, NULL, &json, NULL, e);
}

/* A shard that was told to close before it held an edit has nothing to train. */
static void close_empty(struct coordinator *c, struct shard *shard)
{
	struct err e = ERR_INIT;
	int rc = coordinator__begin(c, &e);
	shard->rec.state = STORE_SHARD_STATE_CLOSED;
	coordinator__touch(shard);
	if (rc == 0)
		rc = coordinator__closed_event(c, shard, &e);
	if (rc == 0)
		rc = coordinator__commit(c, NULL, NULL, &e);
	if (rc != 0)
		coordinator__txn_failed(c, &e);
	else
		coordinator__lease_free(&shard->lease);
}

/* A heartbeat says that the process lives, not that its engine does: a lease whose work stands still ends too. */
static void end_stuck(struct coordinator *c, struct shard *shard, int64_t now)
{
	if (!coordinator__shard_work(shard))
		shard->advanced_ms = now;
	if (c->config.progress_ms_max == 0 || now - shard->advanced_ms < c->config.progress_ms_max)
		return;
	log_event(LOG_WARN, "COORDINATOR-LEASE-STUCK", LOGF_U("shard", shard->rec.id),
		  LOGF_U("epoch", shard->rec.epoch), LOGF_S("worker", shard->lease.holder->name),
		  LOGF_U("edits", shard->rec.seq_count - shard->rec.trained_count),
		  LOGF_U("ms", now - shard->advanced_ms));
	shard->lease.holder->stalled = true;
	coordinator__lease_lost(c, shard, "no progress");
}

void coordinator__leases_advance(struct coordinator *c)
{
	int64_t now = coordinator__now_ms(c);
	for (size_t i = 0; i < c->shard_count && c->failure.code == 0 && !coordinator__write_held(c); i++) {
		struct shard *shard = c->shards[i];
		bool open = shard->rec.state == STORE_SHARD_STATE_OPEN;
		if (!open && !coordinator__shard_retrain(shard))
			continue;
		if (open && shard->rec.closing && shard->rec.seq_count == 0) {
			close_empty(c, shard);
			continue;
		}
		if (shard->lease.holder != NULL && shard->lease.holder->barred)
			lose(c, shard, COORDINATOR__BARRED, false); /* whoever did that, its edits did not */
		if (shard->lease.holder != NULL && now >= shard->lease.expires_ms)
			coordinator__lease_lost(c, shard, "no heartbeat");
		if (shard->lease.holder != NULL)
			end_stuck(c, shard, now);
		if (shard->lease.holder != NULL && !shard->lease.sent)
			coordinator__lease_send(c, shard);
		if (shard->lease.holder != NULL || c->closed || now < shard->grant_ms ||
		    !coordinator__shard_work(shard))
			continue;
		struct peer *peer = choose(c, shard);
		if (peer != NULL)
			grant(c, shard, peer);
	}
}
