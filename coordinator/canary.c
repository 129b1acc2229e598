/* canary.c: has a worker ask a candidate the canaries: questions that no edit is about. It is a request and no lease:
 * what comes back is true of the candidate's content, whoever says it and when. */
#include "coordinator/internal.h"

#include <stdio.h>
#include <string.h>

#define CANARY_SETS_SHOWN 3

/* Its engine is taken for a while. */
static bool works(const struct coordinator *c, const struct peer *peer)
{
	if (c->merge.lease.holder == peer)
		return true;
	for (size_t i = 0; i < c->shard_count; i++)
		if (c->shards[i]->lease.holder == peer && c->shards[i]->lease.sm.state == LEASE_TRAINING)
			return true;
	return false;
}

static bool is_freer(const struct coordinator *c, const struct peer *peer, const struct peer *than)
{
	const bool busy = works(c, peer), than_busy = works(c, than);
	return busy != than_busy ? than_busy : coordinator__peer_leases(c, peer) < coordinator__peer_leases(c, than);
}

/* A live one that trains nothing, of these the one with the fewest leases; rather another than the last. */
static const struct peer *worker_choose(const struct coordinator *c)
{
	const struct peer *best = NULL, *last = NULL;
	for (size_t i = 0; i < c->peer_count; i++) {
		const struct peer *peer = c->peers[i];
		if (peer->kind != MSG_PEER_WORKER || peer->leaving || !coordinator__peer_live(c, peer))
			continue;
		if (memcmp(peer->key, c->candidate.check.worker, sizeof peer->key) == 0)
			last = peer;
		else if (best == NULL || is_freer(c, peer, best))
			best = peer;
	}
	return best != NULL ? best : last;
}

bool coordinator__canaries_asked(const struct candidate *candidate, const uint8_t *worker)
{
	for (size_t i = 0; i < candidate->check.all_count; i++)
		if (memcmp(candidate->check.all[i], worker, PROTO_KEY_BYTES) == 0)
			return true;
	return false;
}

void coordinator__canaries_unask(struct candidate *candidate, const uint8_t *worker)
{
	size_t kept = 0;
	for (size_t i = 0; i < candidate->check.all_count; i++)
		if (memcmp(candidate->check.all[i], worker, PROTO_KEY_BYTES) != 0)
			memmove(candidate->check.all[kept++], candidate->check.all[i], PROTO_KEY_BYTES);
	candidate->check.all_count = kept;
}

/* In place of the one that was asked first, where all places are taken. */
static void asked_add(struct candidate *candidate, const uint8_t *worker)
{
	coordinator__canaries_unask(candidate, worker);
	if (candidate->check.all_count == CANARY_ASKED_MAX)
		memmove(candidate->check.all[0], candidate->check.all[1],
			--candidate->check.all_count * sizeof candidate->check.all[0]);
	memcpy(candidate->check.all[candidate->check.all_count++], worker, PROTO_KEY_BYTES);
}

static int request_send(struct coordinator *c, const struct peer *peer)
{
	struct candidate *candidate = &c->candidate;
	struct msg msg = { .type = MSG_CANARY_RUN, .u.canary_run = { candidate->rec.root, candidate->rec.content } };
	candidate->check.sent_ms = coordinator__now_ms(c);
	return coordinator__send(c, peer->route, &msg);
}

static void ask(struct coordinator *c)
{
	struct candidate *candidate = &c->candidate;
	const struct peer *peer = worker_choose(c);
	if (peer == NULL) {
		snprintf(candidate->check.trouble, sizeof candidate->check.trouble, "no worker is there");
		return;
	}
	if (request_send(c, peer) != 0)
		return; /* tried again at the next tick */
	candidate->check.asked = true;
	candidate->check.until_ms = coordinator__now_ms(c) + CANARY_WAIT_MS;
	memcpy(candidate->check.worker, peer->key, sizeof peer->key);
	asked_add(candidate, peer->key);
	log_event(LOG_INFO, "COORDINATOR-CANARIES-ASKED", LOGF_U("version", candidate->rec.version),
		  LOGF_X("content", candidate->rec.content.bytes, 8), LOGF_S("worker", peer->name));
}

void coordinator__canaries_advance(struct coordinator *c)
{
	struct candidate *candidate = &c->candidate;
	const int64_t now = coordinator__now_ms(c);
	if (candidate->sm.state != CANDIDATE_CHECKING)
		return;
	if (candidate->check.asked) {
		const struct peer *peer = coordinator__peer_find(c, candidate->check.worker, MSG_PEER_WORKER);
		const bool gone = peer == NULL || !coordinator__peer_live(c, peer);
		if (!gone && now < candidate->check.until_ms) {
			if (now - candidate->check.sent_ms >= CANARY_RESEND_MS)
				(void)request_send(c, peer); /* one that has it in hand heeds it not */
			return;
		}
		snprintf(candidate->check.trouble, sizeof candidate->check.trouble, "the worker %s",
			 gone ? "is gone" : "did not answer in time");
		log_event(LOG_WARN, "COORDINATOR-CANARIES-LOST", LOGF_U("version", candidate->rec.version),
			  LOGF_X("worker", candidate->check.worker, 8), LOGF_S("reason", candidate->check.trouble));
		candidate->check.asked = false;
		candidate->check.until_ms = now;
	}
	if (now >= candidate->check.until_ms)
		ask(c);
}

/* --- Other workers, other questions. */

static bool asks(const struct coordinator *c, const struct peer *peer)
{
	return peer->kind == MSG_PEER_WORKER && !hash_is_zero(&peer->canaries) && coordinator__peer_live(c, peer);
}

/* Whether one before it asks the same. */
static bool is_told(const struct coordinator *c, size_t at)
{
	for (size_t i = 0; i < at; i++)
		if (asks(c, c->peers[i]) && hash_equal(&c->peers[i]->canaries, &c->peers[at]->canaries))
			return true;
	return false;
}

static size_t count_like(const struct coordinator *c, const struct hash *canaries)
{
	size_t n = 0;
	for (size_t i = 0; i < c->peer_count; i++)
		n += asks(c, c->peers[i]) && hash_equal(&c->peers[i]->canaries, canaries);
	return n;
}

void coordinator__canaries_text(const struct coordinator *c, char *out, size_t out_bytes)
{
	char sets[CANARY_SETS_SHOWN * 128] = "";
	size_t count = 0, at = 0;
	for (size_t i = 0; c->config.canaries && i < c->peer_count; i++) {
		const struct peer *peer = c->peers[i];
		char digest[HASH_HEX_BYTES], others[48] = "";
		if (!asks(c, peer) || is_told(c, i))
			continue;
		if (count++ >= CANARY_SETS_SHOWN)
			continue;
		const size_t like = count_like(c, &peer->canaries);
		hash_hex(&peer->canaries, digest);
		if (like > 1)
			snprintf(others, sizeof others, " and %zu more", like - 1);
		at += (size_t)snprintf(sets + at, sizeof sets - at, "%s%s%s: %.12s", at > 0 ? ", " : "", peer->name,
				       others, digest);
	}
	out[0] = '\0';
	if (count > 1)
		snprintf(out, out_bytes,
			 "workers ask candidates different canaries (%s): start all with the same program and "
			 "publish.canary_file",
			 sets);
}
