/* A shard of the paper's family behind shard.h: wise.h trains, the shard re-tests and indexes. */
#include "editor/shard_internal.h"

#include "base/fault.h"
#include "editor/gap.h"
#include "editor/wise_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

int editor_shard_corpus_set(struct editor_shard *shard, const char *corpus, size_t corpus_len, struct err *e)
{
	editor_wise_destroy(&shard->wise);
	buf_clear(&shard->corpus);
	buf_append(&shard->corpus, corpus, corpus_len);
	return buf_failed(&shard->corpus) ? err_set(e, ERR_NOMEM, "shard: out of memory for its corpus") : 0;
}

int editor_shard_replay_add(struct editor_shard *shard, uint64_t memory, uint64_t seq, const struct record *record,
			    struct err *e)
{
	struct editor__replay replay = { .memory = memory, .seq = seq };
	if (shard->config.family != EDITOR_FAMILY_PAPER)
		return err_set(e, ERR_INVALID, "edit %" PRIu64 ": only the paper's family replays edits of memories",
			       seq);
	for (size_t i = 0; i < shard->replay_count; i++) {
		if (shard->replays[i].seq == seq)
			return err_set(e, ERR_EXISTS, "edit %" PRIu64 " is replayed already", seq);
	}
	struct editor__replay *grown =
		fault_realloc(shard->replays, (shard->replay_count + 1) * sizeof(*shard->replays));
	if (grown == NULL)
		return err_set(e, ERR_NOMEM, "edit %" PRIu64 ": out of memory", seq);
	shard->replays = grown;
	int rc = editor__record_copy(record, false, &replay.record, e);
	if (rc != 0)
		return rc;
	shard->replays[shard->replay_count++] = replay;
	editor_wise_destroy(&shard->wise); /* made again with it, at the next training */
	return 0;
}

size_t editor_shard_replay_count(const struct editor_shard *shard)
{
	return shard->replay_count;
}

void editor__wise_replays_free(struct editor_shard *shard)
{
	for (size_t i = 0; i < shard->replay_count; i++)
		record_destroy(&shard->replays[i].record);
	free(shard->replays);
	shard->replays = NULL;
	shard->replay_count = 0;
}

/* Whether what was trained with before holds the first of the shard's edits, in their order, and no others. */
static bool is_of_shard(const struct editor_shard *shard, uint64_t seed)
{
	const struct editor_wise *wise = shard->wise;
	if (wise == NULL || wise->seed != seed || editor_wise_count(wise) > shard->edit_count)
		return false;
	for (size_t i = 0; i < editor_wise_count(wise); i++) {
		if (wise->edits.items[i].seq != shard->edits[i].seq)
			return false;
	}
	return true;
}

static int wise_make(struct editor_shard *shard, uint64_t seed, struct err *e)
{
	editor_wise_destroy(&shard->wise);
	int rc = editor_wise_new(shard->model, &shard->config, seed, (const char *)shard->corpus.data,
				 shard->corpus.len, &shard->wise, e);
	for (size_t i = 0; rc == 0 && i < shard->replay_count; i++) {
		const struct editor__replay *replay = &shard->replays[i];
		rc = editor_wise_replay_add(shard->wise, replay->memory, replay->seq, replay->record, e);
	}
	if (rc != 0)
		editor_wise_destroy(&shard->wise);
	return rc;
}

static int wise_sync(struct editor_shard *shard, uint64_t seed, struct err *e)
{
	int rc = is_of_shard(shard, seed) ? 0 : wise_make(shard, seed, e);
	for (size_t i = rc == 0 ? editor_wise_count(shard->wise) : 0; rc == 0 && i < shard->edit_count; i++)
		rc = editor_wise_add(shard->wise, shard->edits[i].seq, shard->edits[i].record, e);
	return rc;
}

static void sum_up(const struct editor_wise_stats *each, size_t count, enum editor_mode mode,
		   struct editor_train_stats *stats)
{
	*stats = (struct editor_train_stats){ .mode = mode };
	for (size_t i = 0; i < count; i++) {
		stats->steps += each[i].steps;
		stats->loss += each[i].loss.total / (double)count;
	}
}

/* Edits train one after the other, each until it stops: what is new goes on from the present delta, so a shard that is
 * trained in several groups has the bytes of one that is trained at once. */
static int train(struct editor_shard *shard, enum editor_mode mode, size_t first, size_t count, uint64_t seed,
		 const struct editor_watch *watch, struct editor_train_stats *stats, struct err *e)
{
	const size_t bytes = editor__matrix_size(shard) * sizeof(float);
	const size_t from = mode == EDITOR_BREADTH_FIRST ? 0 : first;
	const size_t train_count = mode == EDITOR_BREADTH_FIRST ? shard->edit_count : count;
	int rc = wise_sync(shard, seed, e);
	if (rc != 0)
		return rc;
	struct editor_wise_stats *each = fault_calloc(train_count + 1, sizeof(*each));
	if (each == NULL)
		return err_set(e, ERR_NOMEM, "learning: out of memory");
	if (mode == EDITOR_BREADTH_FIRST)
		memset(shard->wise->delta, 0, bytes);
	else
		memcpy(shard->wise->delta, shard->delta, bytes);
	rc = editor_wise_train(shard->wise, from, train_count, watch, each, e);
	if (rc == 0) {
		memcpy(shard->delta, shard->wise->delta, bytes);
		sum_up(each, train_count, mode, stats);
	}
	free(each);
	return rc;
}

int editor__wise_learn(struct editor_shard *shard, enum editor_mode mode, size_t first, size_t count, uint64_t seed,
		       const struct editor_watch *watch, struct editor_result *results,
		       struct editor_train_stats *stats, struct err *e)
{
	const size_t bytes = editor__matrix_size(shard) * sizeof(float);
	if (first > shard->edit_count || count > shard->edit_count - first)
		return err_set(e, ERR_INVALID, "training: edits %zu to %zu of %zu", first, first + count,
			       shard->edit_count);
	float *before = fault_malloc(bytes);
	if (before == NULL)
		return err_set(e, ERR_NOMEM, "learning: out of memory");
	memcpy(before, shard->delta, bytes);
	int rc = train(shard, mode, first, count, seed, watch, stats, e);
	if (rc == 0)
		rc = editor_shard_retest(shard, results, watch, e);
	if (rc != 0)
		memcpy(shard->delta, before, bytes);
	free(before);
	return rc;
}

static int gaps_of(struct editor_shard *shard, struct editor_gap_entry *entries, float *product, struct err *e)
{
	int rc = 0;
	for (size_t i = 0; i < shard->edit_count && rc == 0; i++) {
		const struct editor__edit *edit = &shard->edits[i];
		double gap = 0;
		rc = editor_wise_gap(shard->backend, edit->inputs, edit->prompt_count, shard->delta,
				     shard->shape->hidden, shard->shape->ffn, product, &gap, e);
		entries[i] = (struct editor_gap_entry){ edit->seq, (float)gap };
	}
	return rc;
}

int editor__wise_index(struct editor_shard *shard, struct buf *out, struct err *e)
{
	size_t longest = 1;
	int rc = editor__prefix_fill(shard, e);
	for (size_t i = 0; i < shard->edit_count; i++) {
		if (shard->edits[i].prompt_count > longest)
			longest = shard->edits[i].prompt_count;
	}
	struct editor_gap_entry *entries = fault_calloc(shard->edit_count + 1, sizeof(*entries));
	float *product = fault_malloc(longest * shard->shape->hidden * sizeof(*product));
	if (rc == 0 && (entries == NULL || product == NULL))
		rc = err_set(e, ERR_NOMEM, "index: out of memory");
	if (rc == 0)
		rc = gaps_of(shard, entries, product, e);
	if (rc == 0)
		rc = editor_gap_index_encode(entries, shard->edit_count, shard->config.wise.act_ratio, out, e);
	free(entries);
	free(product);
	return rc;
}
