/* `--set merged`: puts the trained shards together as the ranks of a merge do (worker/merge_rank.c), in one process. */
#include "base/env.h"
#include "base/fault.h"
#include "daemon/eval_train.h"
#include "editor/delta.h"
#include "editor/merge.h"

#include <stdlib.h>

struct merging {
	const struct eval__plan *plan;
	const struct eval__trained *trained;
	const struct editor_watch *watch;
	struct eval_merged *report;
	struct editor_shard **shards; /* plan->shard_count */
	uint64_t *ids;
	float *delta;
};

static int load_shard(struct merging *m, size_t index, struct err *e)
{
	const struct buf *delta = &m->trained->parts[index].delta;
	m->ids[index] = index + 1;
	int rc = editor_shard_new(m->plan->model, m->plan->config, &m->shards[index], e);
	if (rc == 0)
		rc = editor_shard_delta_load(m->shards[index], delta->data, delta->len, e);
	return rc == 0 ? eval__shard_fill(m->plan, index, m->shards[index], e) : rc;
}

/* The share of edits that pass with the merged memory: what a merge's gate asks. */
static int retest(struct merging *m, struct err *e)
{
	int rc = 0;
	for (size_t s = 0; s < m->plan->shard_count && rc == 0; s++) {
		const size_t count = editor_shard_count(m->shards[s]);
		struct editor_result *results = fault_calloc(count, sizeof(*results));
		rc = results == NULL ? err_set(e, ERR_NOMEM, "out of memory")
				     : editor_shard_retest_delta(m->shards[s], m->delta, results, m->watch, e);
		for (size_t i = 0; i < count && rc == 0; i++)
			m->report->passed += results[i].passed ? 1 : 0;
		free(results);
	}
	return rc;
}

static int merge(struct merging *m, struct buf *out, struct err *e)
{
	const struct editor_config *config = m->plan->config;
	const struct model_shape *shape = model_shape_of(m->plan->model);
	struct editor_reduce reduce;
	int rc = 0;
	editor_reduce_single_init(&reduce);
	for (size_t s = 0; s < m->plan->shard_count && rc == 0; s++)
		rc = load_shard(m, s, e);
	if (rc == 0)
		rc = editor_merge_rounds(&reduce, m->shards, m->ids, m->plan->shard_count, m->plan->shard_count, config,
					 m->watch, m->delta, &m->report->stats, e);
	if (rc == 0)
		rc = retest(m, e);
	return rc == 0 ? editor_delta_encode(m->delta, config->layer, shape->hidden, shape->ffn, out, e) : rc;
}

int eval__merge(const struct eval__plan *plan, struct eval__trained *trained, const struct editor_watch *watch,
		struct eval_merged *report, struct err *e)
{
	const struct model_shape *shape = model_shape_of(plan->model);
	struct merging m = { .plan = plan, .trained = trained, .watch = watch, .report = report };
	const int64_t began_us = env_monotonic_us(env_system());
	m.shards = fault_calloc(plan->shard_count, sizeof(struct editor_shard *));
	m.ids = fault_calloc(plan->shard_count, sizeof(*m.ids));
	m.delta = fault_calloc(shape->hidden * shape->ffn, sizeof(*m.delta));
	int rc = m.shards == NULL || m.ids == NULL || m.delta == NULL ? err_set(e, ERR_NOMEM, "merge: out of memory")
								      : merge(&m, &trained->merged, e);
	for (size_t s = 0; m.shards != NULL && s < plan->shard_count; s++)
		editor_shard_destroy(&m.shards[s]);
	free(m.shards);
	free(m.ids);
	free(m.delta);
	report->seconds = (double)(env_monotonic_us(env_system()) - began_us) * 1e-6;
	report->delta_bytes = trained->merged.len;
	report->done = rc == 0;
	return rc;
}
