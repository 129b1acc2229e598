#include "editor/metric.h"

#include "base/fault.h"
#include "base/rng.h"
#include "editor/delta.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int single_sum(struct editor_reduce *reduce, int64_t *values, size_t count, struct err *e)
{
	(void)values;
	(void)e;
	reduce->reduced_bytes += count * sizeof(*values);
	return 0;
}

void editor_reduce_single_init(struct editor_reduce *reduce)
{
	*reduce = (struct editor_reduce){ .rank_count = 1, .sum = single_sum };
}

int editor__reduce_alloc(struct editor_reduce *reduce, size_t count, int64_t **out, struct err *e)
{
	if (reduce->alloc != NULL)
		return reduce->alloc(reduce, count, out, e);
	*out = fault_calloc(count, sizeof(**out));
	const int rc = *out != NULL ? 0 : err_set(e, ERR_NOMEM, "merge: out of memory for %zu entries", count);
	const int agreed = editor__merge_agree(reduce, rc, NULL, 0, e);
	if (agreed != 0)
		editor__reduce_free(reduce, out);
	return agreed;
}

void editor__reduce_free(struct editor_reduce *reduce, int64_t **values)
{
	if (reduce->free != NULL)
		reduce->free(reduce, values);
	else
		free(*values);
	*values = NULL;
}

int editor__merge_agree(struct editor_reduce *reduce, int rc, int64_t *also, size_t also_count, struct err *e)
{
	int64_t values[4] = { rc != 0 };
	assert(also_count < sizeof(values) / sizeof(values[0]));
	for (size_t i = 0; i < also_count; i++)
		values[i + 1] = also[i];
	int reduced = reduce->sum(reduce, values, also_count + 1, rc == 0 ? e : NULL);
	if (rc != 0 || reduced != 0)
		return rc != 0 ? rc : reduced;
	for (size_t i = 0; i < also_count; i++)
		also[i] = values[i + 1];
	return values[0] == 0 ? 0 : err_set(e, ERR_EXTERNAL, "merge: another rank failed, its own message says why");
}

/* ---- Rounds */

struct rounds {
	struct editor_reduce *reduce;
	struct editor_shard *const *shards;
	const uint64_t *shard_ids;
	size_t shard_count, shard_total, ffn, element_count;
	const struct editor_config *config;
	const struct editor_watch *watch;
	double scale;  /* of the metrics: their sum has a mean diagonal of 1 */
	float *whiten; /* whiten·whitenᵀ is the inverse of that sum */
	float *common, *velocity, *local;
	int64_t *fixed; /* a sum over shards */
	size_t reduces; /* of matrices */
	double loss;
};

static int reduce_matrix(struct rounds *r, size_t count, struct err *e)
{
	r->reduces++;
	return r->reduce->sum(r->reduce, r->fixed, count, e);
}

/* The sum of the shards' metrics, whitened: what it costs to change the common delta in a direction. */
static int find_metric(struct rounds *r, struct err *e)
{
	const size_t size = editor__metric_size(r->ffn);
	int64_t sum = 0;
	int rc = 0;
	for (size_t s = 0; rc == 0 && s < r->shard_count; s++) {
		double mean = 0;
		rc = editor__metric_mean(r->shards[s], &mean, e);
		if (rc == 0)
			rc = editor__fixed_add_one(&sum, mean, 0, e);
	}
	rc = editor__merge_agree(r->reduce, rc, &sum, 1, e);
	if (rc != 0)
		return rc;
	r->scale = EDITOR_FIXED_SCALE / (double)sum;
	memset(r->fixed, 0, size * sizeof(*r->fixed));
	for (size_t s = 0; rc == 0 && s < r->shard_count; s++)
		rc = editor__metric_add(r->shards[s], r->scale, r->fixed, e);
	rc = editor__merge_agree(r->reduce, rc, NULL, 0, e);
	if (rc == 0)
		rc = reduce_matrix(r, size, e);
	if (rc != 0)
		return rc;
	if (r->shard_count > 0)
		rc = editor__metric_whiten(r->fixed, r->ffn, r->whiten, e);
	return editor__merge_agree(r->reduce, rc, NULL, 0, e);
}

/* The delta that shard `s` would have: in round 0 the one that it was published with, then what a few passes make of
 * the common one. */
static int find_local(struct rounds *r, size_t s, size_t round, double *loss, struct err *e)
{
	const struct editor_config *c = r->config;
	if (round == 0) {
		memcpy(r->local, editor_shard_delta(r->shards[s]), r->element_count * sizeof(*r->local));
		return 0;
	}
	const float rate = c->merge_rate * (1.0f - (float)(round - 1) / (float)c->merge_rounds);
	return editor_shard_local_passes(r->shards[s], r->common, c->merge_passes, rate,
					 rng_derive(c->seed, r->shard_ids[s], round), r->local, loss, NULL, e);
}

/* fixed = Σ (local − common)·G over this rank's shards. */
static int find_differences(struct rounds *r, size_t round, int64_t *loss, struct err *e)
{
	memset(r->fixed, 0, r->element_count * sizeof(*r->fixed));
	*loss = 0;
	for (size_t s = 0; s < r->shard_count; s++) {
		double mean = 0;
		int rc = find_local(r, s, round, &mean, e);
		if (rc == 0)
			rc = editor__fixed_add_one(loss, mean, 0, e);
		for (size_t i = 0; rc == 0 && i < r->element_count; i++)
			r->local[i] -= r->common[i];
		if (rc == 0)
			rc = editor__metric_apply(r->shards[s], r->scale, r->local, r->local, e);
		if (rc == 0)
			rc = editor_fixed_add(r->fixed, r->local, r->element_count, e);
		if (rc != 0)
			return rc;
	}
	return 0;
}

/* The common delta moves to where the shards' outputs for their own inputs are met best: argmin over d of
 * Σ tr((d − local)·G·(d − local)ᵀ) (regression mean, Jin et al. 2023, with the second moment of noisy inputs). That
 * step is minus the outer gradient; Nesterov momentum as in DiLoCo (Douillard et al. 2023, algorithm 1, line 14). */
static int outer_step(struct rounds *r, size_t round, struct err *e)
{
	/* the start is a solution, not a step */
	const float rate = round == 0 ? 1.0f : r->config->merge_outer_rate;
	const float momentum = round == 0 ? 0.0f : r->config->merge_outer_momentum;
	if (r->shard_count == 0) /* its common delta is of no use */
		return 0;
	editor_fixed_to_float(r->fixed, 1.0, r->element_count, r->local);
	int rc = editor__metric_solve(r->shards[0], r->whiten, r->local, r->local, e);
	for (size_t i = 0; rc == 0 && i < r->element_count; i++) {
		r->velocity[i] = round == 0 ? 0.0f : momentum * r->velocity[i] + r->local[i];
		r->common[i] += rate * (r->local[i] + momentum * r->velocity[i]);
	}
	return rc;
}

static int one_round(struct rounds *r, size_t round, struct err *e)
{
	const size_t rounds = r->config->merge_rounds;
	int64_t loss = 0;
	int rc = find_differences(r, round, &loss, e);
	if (rc == 0 && r->watch != NULL && r->watch->on_progress != NULL &&
	    r->watch->on_progress(r->watch->context, "merge", round, rounds, r->loss) != 0)
		rc = err_set(e, ERR_INTERRUPTED, "merge stopped in round %zu of %zu", round, rounds);
	rc = editor__merge_agree(r->reduce, rc, &loss, 1, e);
	if (rc == 0)
		rc = reduce_matrix(r, r->element_count, e);
	if (rc != 0)
		return rc;
	r->loss = (double)loss / EDITOR_FIXED_SCALE / (double)r->shard_total;
	return editor__merge_agree(r->reduce, outer_step(r, round, e), NULL, 0, e);
}

/* The size of the matrix, known to ranks that have shards, and whether the shards add up. A rank that finds another
 * size tells the others: they would wait for it in the first round. */
static int agree_on_sizes(struct rounds *r, struct err *e)
{
	int64_t sums[3] = { 0, (int64_t)r->shard_count, 0 }; /* sizes, shards, columns */
	for (size_t s = 0; s < r->shard_count; s++) {
		sums[0] += (int64_t)editor_shard_delta_size(r->shards[s]);
		sums[2] += (int64_t)editor__metric_columns(r->shards[s]);
	}
	int rc = editor__merge_agree(r->reduce, 0, sums, 3, e);
	if (rc != 0)
		return rc;
	if (sums[1] == 0 || (size_t)sums[1] != r->shard_total)
		return err_set(e, ERR_INVALID, "merge: %zu shards were planned, the ranks hold %zu", r->shard_total,
			       (size_t)sums[1]);
	r->element_count = (size_t)(sums[0] / sums[1]);
	r->ffn = (size_t)(sums[2] / sums[1]);
	if (r->ffn > EDITOR__METRIC_FFN_MAX)
		return err_set(e, ERR_UNSUPPORTED, "merge: a matrix with %zu columns, at most %zu can be merged",
			       r->ffn, EDITOR__METRIC_FFN_MAX);
	for (size_t s = 0; s < r->shard_count && rc == 0; s++)
		if (editor_shard_delta_size(r->shards[s]) != r->element_count ||
		    editor__metric_columns(r->shards[s]) != r->ffn)
			rc = err_set(e, ERR_MISMATCH,
				     "merge: the shards' matrices differ in size: their base models are not the same");
	return editor__merge_agree(r->reduce, rc, NULL, 0, e);
}

static int rounds_run(struct rounds *r, struct err *e)
{
	const size_t n = r->element_count, triangle = editor__metric_size(r->ffn);
	r->common = fault_calloc(n, sizeof(float));
	r->velocity = fault_calloc(n, sizeof(float));
	r->local = fault_calloc(n, sizeof(float));
	r->whiten = fault_calloc(r->shard_count > 0 ? r->ffn * r->ffn : 1, sizeof(float));
	int rc = 0;
	if (r->common == NULL || r->velocity == NULL || r->local == NULL || r->whiten == NULL)
		rc = err_set(e, ERR_NOMEM, "merge: out of memory for %zu entries", n);
	rc = editor__merge_agree(r->reduce, rc, NULL, 0, e);
	if (rc == 0)
		rc = editor__reduce_alloc(r->reduce, n > triangle ? n : triangle, &r->fixed, e);
	for (size_t s = 0; s < r->shard_count; s++)
		editor_shard_local_begin(r->shards[s], r->config->merge_noise, r->config->merge_prompt_noise);
	if (rc == 0)
		rc = find_metric(r, e);
	for (size_t round = 0; rc == 0 && round <= r->config->merge_rounds; round++)
		rc = one_round(r, round, e);
	return rc;
}

int editor_merge_rounds(struct editor_reduce *reduce, struct editor_shard *const *shards, const uint64_t *shard_ids,
			size_t shard_count, size_t shard_total, const struct editor_config *config,
			const struct editor_watch *watch, float *out, struct editor_round_stats *stats, struct err *e)
{
	struct rounds r = { .reduce = reduce, .shards = shards, .shard_ids = shard_ids, .shard_count = shard_count };
	r.shard_total = shard_total;
	r.config = config;
	r.watch = watch;
	int rc = agree_on_sizes(&r, e);
	if (rc == 0)
		rc = rounds_run(&r, e);
	if (rc == 0) {
		memcpy(out, r.common, r.element_count * sizeof(float));
		editor_delta_round(out, r.element_count);
		*stats = (struct editor_round_stats){ config->merge_rounds, r.reduces, reduce->reduced_bytes, r.loss };
	}
	free(r.common);
	free(r.velocity);
	free(r.local);
	free(r.whiten);
	editor__reduce_free(reduce, &r.fixed);
	return rc;
}
