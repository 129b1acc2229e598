#include "worker/merge_rank.h"

#include "base/fault.h"
#include "base/record.h"
#include "editor/delta.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define DENSITY_DEFAULT 0.53 /* as published for WISE */

struct rank {
	const struct worker_merge_rank_options *options;
	struct editor_reduce *reduce;
	struct merge_plan *plan;
	struct hash plan_hash;
	struct model *model;
	struct editor_config config;
	size_t own_count; /* shards of this rank */
	uint64_t *ids;
	struct editor_shard **shards; /* rounds */
	float **deltas;               /* the other operators */
	float *merged;
	struct merge_output output;
};

static size_t element_count(const struct rank *r)
{
	const struct model_shape *shape = model_shape_of(r->model);
	return shape->hidden * shape->ffn;
}

static void apply_numbers(const struct merge_numbers *n, struct editor_config *c)
{
	if (n->rounds > 0)
		c->merge_rounds = n->rounds;
	if (n->passes > 0)
		c->merge_passes = n->passes;
	if (n->batch_edits > 0)
		c->batch_edits = n->batch_edits;
	if (n->rate > 0)
		c->merge_rate = (float)n->rate;
	if (n->outer_rate > 0)
		c->merge_outer_rate = (float)n->outer_rate;
	if (n->outer_momentum >= 0)
		c->merge_outer_momentum = (float)n->outer_momentum;
	if (n->noise >= 0)
		c->merge_noise = (float)n->noise;
}

static int open_model(struct rank *r, struct err *e)
{
	const struct model_options options = {
		.backend = r->options->backend,
		.thread_count = r->options->thread_count,
		.backward_from = r->plan->operator== MERGE_ROUNDS ? (size_t)r->plan->layer + 1 : SIZE_MAX,
	};
	int rc = model_open(r->options->model_path, &options, &r->model, e);
	if (rc != 0)
		return rc;
	if (!hash_equal(model_digest(r->model), &r->plan->base_model))
		return err_set(e, ERR_MISMATCH,
			       "%s is not the base model that the plan names: give the ranks the model of the cluster",
			       r->options->model_path);
	editor_config_default(model_shape_of(r->model), &r->config);
	r->config.layer = (size_t)r->plan->layer;
	if (r->config.prompt_layer > r->config.layer)
		r->config.prompt_layer = r->config.layer;
	r->config.seed = r->plan->seed;
	apply_numbers(&r->plan->numbers, &r->config);
	return editor_config_check(&r->config, model_shape_of(r->model), e);
}

static int add_edit(struct editor_shard *shard, uint64_t seq, const char *text, size_t len, struct err *e)
{
	struct record *record = NULL;
	int rc = record_parse(text, len, &record, e);
	if (rc == 0)
		rc = editor_shard_add(shard, seq, record, e);
	if (rc != 0)
		err_wrap(e, "edit %" PRIu64, seq);
	record_destroy(&record);
	return rc;
}

static int load_edits(struct rank *r, const struct merge_plan_shard *planned, struct editor_shard *shard, struct err *e)
{
	struct buf file = BUF_INIT;
	int rc = merge_plan_input(r->options->plan_path, planned->edits, &planned->edits_hash, MERGE_EDITS_BYTES_MAX,
				  &file, e);
	const char *text = buf_cstr(&file), *record;
	size_t len = file.len, record_len;
	uint64_t seq;
	if (rc == 0 && buf_failed(&file))
		rc = err_set(e, ERR_NOMEM, "merge: out of memory for %s", planned->edits);
	while (rc == 0 && (rc = merge_plan_edit_next(&text, &len, &seq, &record, &record_len, e)) == 0)
		rc = add_edit(shard, seq, record, record_len, e);
	buf_free(&file);
	if (rc != ERR_NOT_FOUND)
		return rc;
	return editor_shard_count(shard) > 0 ? 0 : err_set(e, ERR_CORRUPT, "%s holds no edits", planned->edits);
}

/* The delta is verified for both operators: a plan whose inputs have changed must not be carried out. */
static int load_shard(struct rank *r, const struct merge_plan_shard *planned, size_t slot, struct err *e)
{
	struct buf delta = BUF_INIT;
	const struct model_shape *shape = model_shape_of(r->model);
	int rc = merge_plan_input(r->options->plan_path, planned->delta, &planned->delta_hash, MERGE_DELTA_BYTES_MAX,
				  &delta, e);
	r->ids[slot] = planned->id;
	if (rc == 0 && r->plan->operator!= MERGE_ROUNDS) {
		r->deltas[slot] = fault_malloc(element_count(r) * sizeof(float));
		rc = r->deltas[slot] == NULL ? err_set(e, ERR_NOMEM, "merge: out of memory for a delta")
					     : editor_delta_decode(delta.data, delta.len, r->config.layer,
								   shape->hidden, shape->ffn, r->deltas[slot], e);
	} else if (rc == 0) {
		rc = editor_shard_new(r->model, &r->config, &r->shards[slot], e);
		if (rc == 0)
			rc = editor_shard_delta_load(r->shards[slot], delta.data, delta.len, e);
		if (rc == 0)
			rc = load_edits(r, planned, r->shards[slot], e);
	}
	buf_free(&delta);
	if (rc != 0)
		err_wrap(e, "shard %" PRIu64, planned->id);
	return rc;
}

static int load(struct rank *r, struct err *e)
{
	int rc = merge_plan_read(r->options->plan_path, &r->plan, &r->plan_hash, e);
	if (rc == 0)
		rc = open_model(r, e);
	if (rc != 0)
		return rc;
	size_t slots = r->plan->shard_count / r->reduce->rank_count + 1;
	r->ids = fault_calloc(slots, sizeof(*r->ids));
	r->shards = fault_calloc(slots, sizeof(struct editor_shard *));
	r->deltas = fault_calloc(slots, sizeof(float *));
	r->merged = fault_calloc(element_count(r), sizeof(float));
	if (r->ids == NULL || r->shards == NULL || r->deltas == NULL || r->merged == NULL)
		return err_set(e, ERR_NOMEM, "merge: out of memory");
	for (size_t i = r->reduce->rank; rc == 0 && i < r->plan->shard_count; i += r->reduce->rank_count)
		rc = load_shard(r, &r->plan->shards[i], r->own_count++, e);
	return rc;
}

/* All ranks learn whether one failed; a rank that failed keeps its own error. */
static int agree(struct editor_reduce *reduce, int rc, struct err *e)
{
	int64_t failed = rc != 0;
	int reduced = reduce->sum(reduce, &failed, 1, rc == 0 ? e : NULL);
	if (rc != 0 || reduced != 0)
		return rc != 0 ? rc : reduced;
	return failed == 0 ? 0 : err_set(e, ERR_EXTERNAL, "merge: another rank failed, its own message says why");
}

static int merge(struct rank *r, struct err *e)
{
	const struct merge_plan *plan = r->plan;
	if (plan->operator!= MERGE_ROUNDS) {
		const struct editor_merge_how how = {
			.operator= plan->operator,
			.density = plan->numbers.density> 0 ? plan->numbers.density : DENSITY_DEFAULT,
			.trim_nonzero = plan->numbers.trim_nonzero,
			.seed = plan->seed,
		};
		int rc = editor_merge_deltas(r->reduce, &how, (const float *const *)r->deltas, r->ids, r->own_count,
					     element_count(r), r->merged, e);
		if (rc == 0)
			editor_delta_round(r->merged, element_count(r));
		return rc;
	}
	struct editor_round_stats stats = { 0 };
	int rc = editor_merge_rounds(r->reduce, r->shards, r->ids, r->own_count, plan->shard_count, &r->config,
				     r->reduce->rank == 0 ? r->options->watch : NULL, r->merged, &stats, e);
	r->output.rounds = stats.rounds;
	r->output.reduces = stats.reduces;
	r->output.loss = stats.loss;
	return rc;
}

static int write_output(struct rank *r, struct err *e)
{
	struct buf delta = BUF_INIT;
	const struct model_shape *shape = model_shape_of(r->model);
	r->output.merge = r->plan->merge;
	r->output.plan = r->plan_hash;
	r->output.layer = r->config.layer;
	r->output.ranks = r->reduce->rank_count;
	r->output.reduced_bytes = r->reduce->reduced_bytes;
	int rc = editor_delta_encode(r->merged, r->config.layer, shape->hidden, shape->ffn, &delta, e);
	if (rc == 0)
		rc = fault_point("worker.merge.before_output") != 0 ? err_set(e, ERR_FAULT, "merge: planted fault") : 0;
	if (rc == 0)
		rc = merge_output_write(r->options->output_path, &r->output, delta.data, delta.len, e);
	buf_free(&delta);
	return rc;
}

static void rank_fini(struct rank *r)
{
	for (size_t i = 0; r->shards != NULL && i < r->own_count; i++)
		editor_shard_destroy(&r->shards[i]);
	for (size_t i = 0; r->deltas != NULL && i < r->own_count; i++)
		free(r->deltas[i]);
	free(r->shards);
	free(r->deltas);
	free(r->ids);
	free(r->merged);
	model_close(&r->model);
	merge_plan_destroy(&r->plan);
}

int worker_merge_rank_run(const struct worker_merge_rank_options *options, struct editor_reduce *reduce, struct err *e)
{
	struct rank r = { .options = options, .reduce = reduce };
	int rc = agree(reduce, load(&r, e), e);
	if (rc == 0)
		rc = merge(&r, e);
	if (rc == 0)
		rc = agree(reduce, reduce->rank == 0 ? write_output(&r, e) : 0, e);
	rank_fini(&r);
	return rc;
}
