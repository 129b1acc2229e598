/* recv_progress.c: how far a worker is. What moves keeps its lease (lease.c). */
#include "coordinator/internal.h"

/* Saying the same again is no advance. */
static void note_advance(struct coordinator *c, const struct peer *peer, const struct msg_progress *progress)
{
	struct shard *shard = coordinator__shard_find(c, progress->shard);
	if (!coordinator__lease_is(shard, peer, progress->epoch))
		return;
	uint64_t said = (uint64_t)progress->done << 32 | progress->total,
		 mark = rng_derive(said, progress->phase.len, 0);
	for (size_t i = 0; i < progress->phase.len; i++)
		mark = rng_derive(mark, (uint8_t)progress->phase.text[i], i);
	if (mark != shard->advance_mark)
		coordinator__lease_advanced(c, shard);
	shard->advance_mark = mark;
}

void coordinator__recv_progress(struct coordinator *c, const struct msg_received *received)
{
	const struct msg_progress *progress = &received->msg.u.progress;
	struct peer *peer = coordinator__peer_find(c, received->peer_key, MSG_PEER_WORKER);
	if (peer == NULL)
		return;
	note_advance(c, peer, progress);
	peer->edit_done = progress->done;
	peer->edit_total = progress->total;
	coordinator__copy_text(peer->state, sizeof peer->state, progress->phase);
}
