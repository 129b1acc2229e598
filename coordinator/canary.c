/* canary.c: has a worker ask a candidate the canaries: questions that no edit is about. It is a request and no lease:
 * what comes back is true of the candidate's content, whoever says it and when. */
#include "coordinator/internal.h"

#include <stdio.h>
#include <string.h>

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
