/* replay.c: L_memo of the paper's family: with its first group a shard is given a few edits of every memory that was
 * merged before (the newest REPLAY_MEMORIES_MAX), and its trainings keep their gaps small. They are drawn from the
 * seeds, stand in the group's event, and stay with the shard: what trains again replays the same. One that is taken
 * back later stays too: only its prompt is looked at, and that as a text which the memory must leave alone. */
#include "coordinator/internal.h"

#include <stdlib.h>

/* Live trained edits of a merge's shards, in the order of shards and places. */
static int edits_of(struct coordinator *c, const struct store_merge *merge, struct buf *seqs, struct err *e)
{
	for (size_t i = 0; i < merge->shard_count; i++) {
		const struct shard *shard = coordinator__shard_find(c, merge->shards[i]);
		for (size_t k = 0; shard != NULL && k < shard->rec.trained_count; k++) {
			if (coordinator__edit_live(shard->states[k]))
				buf_append(seqs, &shard->rec.seqs[k], sizeof shard->rec.seqs[k]);
		}
	}
	return buf_failed(seqs) ? err_set(e, ERR_NOMEM, "out of memory for the edits of a merge") : 0;
}

/* The first REPLAY_EDITS_MAX of a shuffle. */
static int draw(struct coordinator *c, struct store_shard *rec, const struct store_merge *merge, struct err *e)
{
	struct buf bytes = BUF_INIT;
	struct rng rng;
	int rc = edits_of(c, merge, &bytes, e);
	uint64_t *seqs = (uint64_t *)(void *)bytes.data;
	size_t count = bytes.len / sizeof *seqs;
	rng_init(&rng, rng_derive(c->config.seed, rec->id, merge->id));
	for (size_t i = 0; rc == 0 && i < count && i < REPLAY_EDITS_MAX; i++) {
		size_t at = i + rng_below(&rng, count - i);
		uint64_t seq = seqs[at];
		seqs[at] = seqs[i];
		rec->replays[rec->replay_count++] = (struct store_replay){ MERGED_MEMORY_FIRST + merge->id, seq };
	}
	buf_free(&bytes);
	return rc;
}

int coordinator__replays_choose(struct coordinator *c, struct shard *shard, struct err *e)
{
	struct store_shard *rec = &shard->rec;
	_Static_assert(REPLAY_MEMORIES_MAX * REPLAY_EDITS_MAX <= STORE_SHARD_REPLAYS_MAX, "a shard's record has room");
	if (!c->config.replay || rec->version > 0 || rec->replays_chosen)
		return 0;
	rec->replays_chosen = true;
	coordinator__touch(shard);
	if (c->merge_count == 0)
		return 0;
	rec->replays = fault_malloc(REPLAY_MEMORIES_MAX * REPLAY_EDITS_MAX * sizeof *rec->replays);
	if (rec->replays == NULL)
		return err_set(e, ERR_NOMEM, "out of memory for the edits that shard %llu replays",
			       (unsigned long long)rec->id);
	int rc = 0;
	for (size_t i = c->merge_count > REPLAY_MEMORIES_MAX ? c->merge_count - REPLAY_MEMORIES_MAX : 0;
	     rc == 0 && i < c->merge_count; i++)
		rc = draw(c, rec, &c->merges[i], e);
	return rc;
}

/* Where the edits of the memory of the one at `from` end. */
static size_t memory_end(const struct store_shard *rec, size_t from)
{
	size_t to = from + 1;
	while (to < rec->replay_count && rec->replays[to].memory == rec->replays[from].memory)
		to++;
	return to;
}

void coordinator__replays_write(struct json_w *w, const struct shard *shard)
{
	const struct store_shard *rec = &shard->rec;
	json_w_key(w, "replays");
	json_w_open(w, '[');
	for (size_t i = 0, to; i < rec->replay_count; i = to) {
		to = memory_end(rec, i);
		json_w_open(w, '{');
		json_w_member_uint(w, "memory", rec->replays[i].memory);
		json_w_key(w, "seqs");
		json_w_open(w, '[');
		for (size_t k = i; k < to; k++)
			json_w_uint(w, rec->replays[k].seq);
		json_w_close(w);
		json_w_close(w);
	}
	json_w_close(w);
}

int coordinator__replays_send(struct coordinator *c, struct shard *shard)
{
	const struct store_shard *rec = &shard->rec;
	uint64_t seqs[STORE_SHARD_REPLAYS_MAX];
	int rc = 0;
	for (size_t i = 0; i < rec->replay_count; i++)
		seqs[i] = rec->replays[i].seq;
	while (rc == 0 && shard->lease.replay_next < rec->replay_count) {
		size_t from = shard->lease.replay_next, to = memory_end(rec, from);
		struct msg_edits head = {
			.shard = rec->id, .epoch = rec->epoch, .replayed = true, .memory = rec->replays[from].memory
		};
		rc = coordinator__edits_send(c, shard->lease.holder->route, &head, seqs, from, to,
					     &shard->lease.replay_next);
	}
	return rc;
}
