/* The paper's family in an evaluation: shards one beside the other, then WISE-Merge or WISE-Retrieve. */
#include "base/fault.h"
#include "base/rng.h"
#include "daemon/eval_train.h"
#include "editor/delta.h"
#include "editor/gap.h"
#include "editor/merge.h"
#include "editor/wise.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- One shard */

static int add_edit(const struct eval__paper *p, struct editor_wise *wise, size_t i, struct err *e)
{
	int rc = editor_wise_add(wise, i + 1, p->rows->edits[i].record, e);
	if (rc != 0)
		err_wrap(e, "line %zu", p->rows->edits[i].line_no);
	return rc;
}

/* Edits of the groups of k shards before this one's: L_memo keeps their gaps small (appendix B.3). */
bool eval__paper_replays(const struct eval_options *options, const struct editor_config *config, size_t earlier,
			 size_t shard, uint64_t *memory)
{
	const size_t k = config->wise.merge_shards;
	*memory = earlier / k;
	return config->wise.replay && !options->separate && earlier / k < shard / k;
}

static int add_replayed(const struct eval__paper *p, struct editor_wise *wise, size_t index, struct err *e)
{
	uint64_t memory;
	int rc = 0;
	for (size_t i = 0; i < p->rows->edit_count && rc == 0; i++) {
		if (eval__paper_replays(p->options, p->config, p->shard_of[i], index, &memory))
			rc = editor_wise_replay_add(wise, memory, i + 1, p->rows->edits[i].record, e);
	}
	return rc;
}

static int new_wise(const struct eval__paper *p, size_t index, struct editor_wise **out, struct err *e)
{
	return editor_wise_new(p->model, p->config, rng_derive(p->config->seed, index + 1, 0),
			       (const char *)p->corpus->data, p->corpus->len, out, e);
}

static int learn(struct editor_wise *wise, const struct editor_watch *watch, struct buf *delta,
		 struct eval__paper_stats *stats, struct err *e)
{
	const size_t count = editor_wise_count(wise);
	struct editor_wise_stats *each = fault_calloc(count, sizeof(*each));
	int rc = each == NULL ? err_set(e, ERR_NOMEM, "out of memory")
			      : editor_wise_train(wise, 0, count, watch, each, e);
	if (rc == 0)
		rc = editor_wise_delta_encode(wise, delta, e);
	stats->edits = count;
	for (size_t i = 0; i < count && rc == 0; i++) {
		stats->steps += each[i].steps;
		stats->failed += each[i].loss.right ? 0 : 1;
	}
	free(each);
	return rc;
}

int eval__paper_train(const struct eval__paper *paper, size_t index, const struct editor_watch *watch,
		      struct buf *delta, struct eval__paper_stats *stats, struct err *e)
{
	struct editor_wise *wise = NULL;
	int rc = new_wise(paper, index, &wise, e);
	for (size_t i = 0; i < paper->rows->edit_count && rc == 0; i++) {
		if (paper->shard_of[i] == index)
			rc = add_edit(paper, wise, i, e);
	}
	if (rc == 0)
		rc = add_replayed(paper, wise, index, e);
	if (rc == 0)
		rc = learn(wise, watch, delta, stats, e);
	editor_wise_destroy(&wise);
	return rc;
}

/* ---- Shards into memories */

struct memory { /* shards [first, first + count) */
	size_t first, count;
};

/* Where fewer than k shards are left they stay as they are: shards in progress. */
static size_t plan_memories(const struct eval__paper *p, struct memory *memories)
{
	const size_t k = p->options->separate ? 1 : p->config->wise.merge_shards;
	const size_t whole = p->shard_count - p->shard_count % k;
	const size_t step = p->options->wise_mode == WISE_MERGE && !p->options->separate ? whole : k;
	size_t count = 0;
	for (size_t at = 0; at < whole; at += step)
		memories[count++] = (struct memory){ at, step };
	for (size_t at = whole; at < p->shard_count; at++)
		memories[count++] = (struct memory){ at, 1 };
	return count;
}

static int merge_deltas(const struct eval__paper *p, const struct eval__trained *trained, const struct memory *m,
			float **deltas, uint64_t *ids, float *merged, struct err *e)
{
	const struct model_shape *shape = model_shape_of(p->model);
	const size_t size = shape->hidden * shape->ffn;
	const struct editor_merge_how how = { .operator= p->config->wise.merge_operator,
					      .density = (double)p->config->wise.merge_density,
					      .trim_nonzero = p->config->wise.merge_trim_nonzero,
					      .seed = p->config->seed };
	struct editor_reduce single;
	int rc = 0;
	for (size_t s = 0; s < m->count && rc == 0; s++) {
		const struct buf *bytes = &trained->parts[m->first + s].delta;
		ids[s] = m->first + s + 1;
		deltas[s] = fault_malloc(size * sizeof(float));
		rc = deltas[s] == NULL ? err_set(e, ERR_NOMEM, "out of memory")
				       : editor_delta_decode(bytes->data, bytes->len, p->config->layer, shape->hidden,
							     shape->ffn, deltas[s], e);
	}
	editor_reduce_single_init(&single);
	if (rc == 0 && m->count == 1)
		memcpy(merged, deltas[0], size * sizeof(float));
	else if (rc == 0)
		rc = editor_merge_deltas(&single, &how, (const float *const *)deltas, ids, m->count, size, merged, e);
	if (rc == 0)
		editor_delta_round(merged, size);
	return rc;
}

/* The gaps of the memory's own edits, at its delta: merging changes them. */
static int index_memory(const struct eval__paper *p, const struct memory *m, const float *delta, struct buf *out,
			struct err *e)
{
	struct editor_wise *wise = NULL;
	struct editor_gap_entry *entries = fault_calloc(p->rows->edit_count, sizeof(*entries));
	double *gaps = fault_calloc(p->rows->edit_count, sizeof(*gaps));
	size_t count = 0;
	int rc = entries == NULL || gaps == NULL ? err_set(e, ERR_NOMEM, "out of memory")
						 : new_wise(p, m->first, &wise, e);
	for (size_t i = 0; i < p->rows->edit_count && rc == 0; i++) {
		if (p->shard_of[i] < m->first || p->shard_of[i] >= m->first + m->count)
			continue;
		rc = add_edit(p, wise, i, e);
		entries[count++].seq = i + 1;
	}
	if (rc == 0)
		rc = editor_wise_gaps(wise, delta, gaps, e);
	for (size_t i = 0; i < count; i++)
		entries[i].gap = (float)gaps[i];
	if (rc == 0)
		rc = editor_gap_index_encode(entries, count, p->config->wise.act_ratio, out, e);
	editor_wise_destroy(&wise);
	free(entries);
	free(gaps);
	return rc;
}

static int make_memory(const struct eval__paper *p, const struct eval__trained *trained, const struct memory *m,
		       struct eval__part *out, struct err *e)
{
	const struct model_shape *shape = model_shape_of(p->model);
	float *merged = fault_malloc(shape->hidden * shape->ffn * sizeof(*merged));
	float **deltas = fault_calloc(m->count, sizeof(float *));
	uint64_t *ids = fault_calloc(m->count, sizeof(*ids));
	int rc = merged == NULL || deltas == NULL || ids == NULL ? err_set(e, ERR_NOMEM, "out of memory")
								 : merge_deltas(p, trained, m, deltas, ids, merged, e);
	if (rc == 0)
		rc = editor_delta_encode(merged, p->config->layer, shape->hidden, shape->ffn, &out->delta, e);
	if (rc == 0)
		rc = index_memory(p, m, merged, &out->index, e);
	for (size_t s = 0; deltas != NULL && s < m->count; s++)
		free(deltas[s]);
	free(deltas);
	free(ids);
	free(merged);
	if (rc != 0)
		err_wrap(e, "memory of shards %zu to %zu", m->first + 1, m->first + m->count);
	return rc;
}

int eval__paper_merge(const struct eval__paper *paper, struct eval__trained *trained, struct err *e)
{
	struct memory *memories = fault_calloc(paper->shard_count, sizeof(*memories));
	struct eval__trained out = { .parts = fault_calloc(paper->shard_count, sizeof(*out.parts)) };
	int rc = memories == NULL || out.parts == NULL ? err_set(e, ERR_NOMEM, "out of memory") : 0;
	const size_t count = rc == 0 ? plan_memories(paper, memories) : 0;
	for (size_t i = 0; i < count && rc == 0; i++) {
		out.part_count = i + 1;
		rc = make_memory(paper, trained, &memories[i], &out.parts[i], e);
	}
	free(memories);
	if (rc == 0) {
		eval__trained_fini(trained);
		*trained = out;
	} else {
		eval__trained_fini(&out);
	}
	return rc;
}
