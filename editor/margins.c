#include "editor/margins.h"

#include "base/fault.h"
#include "base/order.h"
#include "base/rng.h"
#include "editor/delta.h"
#include "editor/merge.h"
#include "editor/trial.h"
#include "editor/wise.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define UNRELATED_MIN 4u

struct fit {
	struct model *model;
	struct editor_config config;
	const char *corpus;
	size_t corpus_len;
	struct editor_trial_corpus trials;
	size_t edit_count, unrelated_count; /* of trials */
	struct record *records[EDITOR_MARGIN_EDITS];
	struct editor_wise *edits, *rephrases, *others; /* without hinges: prompts whose gaps are asked for */
	float *delta;                                   /* hidden × ffn */
	struct editor_watch watch;                      /* of one shard of the trial */
	const struct editor_watch *outer;
	size_t trial, shard;
};

static size_t matrix_size(const struct fit *f)
{
	const struct model_shape *shape = model_shape_of(f->model);
	return shape->hidden * shape->ffn;
}

static int read_trials(struct fit *f, struct err *e)
{
	int rc = editor_trial_read(f->corpus, f->corpus_len, EDITOR_MARGIN_EDITS, EDITOR_MARGIN_UNRELATED, &f->trials,
				   e);
	f->edit_count = f->trials.group_count;
	f->unrelated_count = f->trials.unrelated_count;
	if (rc == 0 && f->unrelated_count < UNRELATED_MIN)
		rc = err_set(e, ERR_INVALID,
			     "calibration corpus: %zu unrelated texts, at least %u are needed to measure margins",
			     f->unrelated_count, UNRELATED_MIN);
	return rc;
}

/* ---- Edits, and prompts whose gaps are asked for */

static int add_asked(struct editor_wise *asked, uint64_t seq, const struct record_text *prompt, struct err *e)
{
	static const struct record_text target = { "x", 1 }; /* nothing is trained on it */
	struct record *record = NULL;
	int rc = editor_trial_record(prompt, &target, NULL, &record, e);
	if (rc == 0)
		rc = editor_wise_add(asked, seq, record, e);
	record_destroy(&record);
	return rc;
}

static int new_wise(struct fit *f, bool hinges, size_t shard, struct editor_wise **out, struct err *e)
{
	struct editor_config config = f->config;
	config.wise.activation_loss = hinges && config.wise.activation_loss;
	return editor_wise_new(f->model, &config, rng_derive(config.seed, shard + 1, 0), f->corpus, f->corpus_len, out,
			       e);
}

static int prepare(struct fit *f, struct editor_fitting *fitting, struct err *e)
{
	f->delta = fault_calloc(matrix_size(f), sizeof(*f->delta));
	int rc = f->delta == NULL ? err_set(e, ERR_NOMEM, "margins: out of memory")
				  : new_wise(f, false, 0, &f->edits, e);
	if (rc == 0)
		rc = new_wise(f, false, 0, &f->rephrases, e);
	if (rc == 0)
		rc = new_wise(f, false, 0, &f->others, e);
	for (size_t i = 0; i < f->edit_count && rc == 0; i++) {
		const struct editor_trial_group *group = &f->trials.groups[i];
		rc = editor_trial_record(&group->prompt, editor_trial_target(&f->trials, i), NULL, &f->records[i], e);
		if (rc == 0)
			rc = editor_wise_add(f->edits, i + 1, f->records[i], e);
		if (rc == 0)
			rc = add_asked(f->rephrases, i + 1, &group->rephrase, e);
		if (rc == 0)
			rc = editor_fitting_add_text(fitting, group->prompt.text, group->prompt.len, e);
		if (rc == 0)
			rc = editor_fitting_add_text(fitting, group->rephrase.text, group->rephrase.len, e);
	}
	for (size_t i = 0; i < f->unrelated_count && rc == 0; i++) {
		rc = add_asked(f->others, i + 1, &f->trials.unrelated[i], e);
		if (rc == 0)
			rc = editor_fitting_add_text(fitting, f->trials.unrelated[i].text, f->trials.unrelated[i].len,
						     e);
	}
	return rc;
}

/* high: 19 of 20 are no larger. */
static int gaps_of(struct fit *f, struct editor_wise *asked, double *least, double *high, double *mean, struct err *e)
{
	double gaps[EDITOR_MARGIN_UNRELATED];
	const size_t count = editor_wise_count(asked);
	int rc = editor_wise_gaps(asked, f->delta, gaps, e);
	*least = *high = *mean = 0;
	if (rc != 0)
		return rc;
	qsort(gaps, count, sizeof(*gaps), order_double);
	*least = gaps[0];
	*high = gaps[(count * 19 + 19) / 20 - 1];
	for (size_t i = 0; i < count; i++)
		*mean += gaps[i] / (double)count;
	return 0;
}

/* ---- One step without hinges */

static void first_step(struct fit *f, const float *gradient)
{
	const uint8_t *mask = editor_wise_mask(f->edits);
	const struct editor_wise_config *wise = &f->config.wise;
	const size_t size = matrix_size(f);
	for (size_t i = 0; i < size; i++) {
		const float change = -wise->rate * gradient[i];
		const float clipped = change > wise->clip ? wise->clip : change < -wise->clip ? -wise->clip : change;
		f->delta[i] = (mask[i / 8] >> (i % 8) & 1) != 0 ? clipped : 0.0f;
	}
}

static int measure_unit(struct fit *f, double *unit, struct err *e)
{
	const size_t bytes = matrix_size(f) * sizeof(float);
	float *gradient = fault_malloc(bytes), *zero = fault_calloc(1, bytes);
	int rc = gradient == NULL || zero == NULL ? err_set(e, ERR_NOMEM, "margins: out of memory") : 0;
	*unit = 0;
	for (size_t i = 0; i < f->edit_count && rc == 0; i++) {
		struct editor_wise_loss loss;
		double least, high, mean = 0;
		rc = editor_wise_loss_at(f->edits, i, 0, zero, &loss, gradient, e);
		if (rc == 0) {
			first_step(f, gradient);
			rc = gaps_of(f, f->others, &least, &high, &mean, e);
		}
		*unit += mean / (double)f->edit_count;
		if (rc == 0 && f->outer != NULL &&
		    f->outer->on_progress(f->outer->context, "one step", i + 1, f->edit_count, 0) != 0)
			rc = err_set(e, ERR_INTERRUPTED, "measuring margins was stopped");
	}
	free(gradient);
	free(zero);
	if (rc == 0 && !(isfinite(*unit) && *unit > 0))
		rc = err_set(
			e, ERR_INVALID,
			"margins: a step does not move the gap of unrelated texts: take another layer, or a larger "
			"wise.mask_ratio");
	return rc;
}

/* ---- A trial */

static int on_progress(void *context, const char *phase, size_t done, size_t total, double loss)
{
	static const char *const phases[EDITOR_MARGIN_TRIALS] = { "trial 1", "trial 2", "trial 3", "trial 4" };
	const struct fit *f = context;
	(void)phase;
	const size_t shards = f->config.wise.merge_shards;
	return f->outer->on_progress(f->outer->context, phases[f->trial], f->shard * total + done, shards * total,
				     loss);
}

static void take_stats(const struct fit *f, const struct editor_wise_stats *stats, struct editor_margin_trial *out)
{
	const struct editor_wise_loss *loss = &stats->loss;
	out->steps += stats->steps;
	out->left += (loss->irrelevant + loss->edit + loss->margin) / (double)out->alpha / (double)f->edit_count;
}

/* The edits of one shard of the trial: every k-th. */
static int train_shard(struct fit *f, size_t shard, float *delta, struct editor_margin_trial *out, struct err *e)
{
	struct editor_wise_stats stats[EDITOR_MARGIN_EDITS];
	struct editor_wise *wise = NULL;
	int rc = new_wise(f, true, shard, &wise, e);
	for (size_t i = shard; i < f->edit_count && rc == 0; i += f->config.wise.merge_shards)
		rc = editor_wise_add(wise, i + 1, f->records[i], e);
	f->shard = shard;
	if (rc == 0)
		rc = editor_wise_train(wise, 0, editor_wise_count(wise), f->outer != NULL ? &f->watch : NULL, stats, e);
	if (rc == 0) {
		memcpy(delta, editor_wise_delta(wise), matrix_size(f) * sizeof(float));
		for (size_t i = 0; i < editor_wise_count(wise); i++)
			take_stats(f, &stats[i], out);
	}
	editor_wise_destroy(&wise);
	return rc;
}

static int merge(struct fit *f, float *const *deltas, const uint64_t *ids, size_t count, struct err *e)
{
	const struct editor_wise_config *wise = &f->config.wise;
	const struct editor_merge_how how = { .operator= wise->merge_operator,
					      .density = (double)wise->merge_density,
					      .trim_nonzero = wise->merge_trim_nonzero,
					      .seed = f->config.seed };
	struct editor_reduce single;
	editor_reduce_single_init(&single);
	if (count == 1)
		memcpy(f->delta, deltas[0], matrix_size(f) * sizeof(float));
	int rc = count == 1 ? 0
			    : editor_merge_deltas(&single, &how, (const float *const *)deltas, ids, count,
						  matrix_size(f), f->delta, e);
	if (rc == 0)
		editor_delta_round(f->delta, matrix_size(f));
	return rc;
}

static int run_trial(struct fit *f, struct editor_margin_trial *out, struct err *e)
{
	float *deltas[EDITOR_MARGIN_EDITS] = { NULL };
	uint64_t ids[EDITOR_MARGIN_EDITS];
	const size_t shards = f->config.wise.merge_shards;
	double ignored[2], least;
	int rc = 0;
	for (size_t s = 0; s < shards && rc == 0; s++) {
		ids[s] = s + 1;
		deltas[s] = fault_malloc(matrix_size(f) * sizeof(float));
		rc = deltas[s] == NULL ? err_set(e, ERR_NOMEM, "margins: out of memory")
				       : train_shard(f, s, deltas[s], out, e);
	}
	if (rc == 0)
		rc = merge(f, deltas, ids, shards, e);
	for (size_t s = 0; s < shards; s++)
		free(deltas[s]);
	if (rc == 0)
		rc = gaps_of(f, f->edits, &out->edit_least, &ignored[0], &ignored[1], e);
	if (rc == 0)
		rc = gaps_of(f, f->rephrases, &out->rephrase_least, &ignored[0], &ignored[1], e);
	if (rc == 0)
		rc = gaps_of(f, f->others, &ignored[0], &out->unrelated_high, &out->unrelated_mean, e);
	least = out->edit_least < out->rephrase_least ? out->edit_least : out->rephrase_least;
	out->apart = out->unrelated_high > 0 ? least / out->unrelated_high : 0;
	return rc;
}

static int run_trials(struct fit *f, struct editor_margins *out, struct err *e)
{
	float alpha = (float)(out->unit * sqrt((double)f->config.wise.steps_max));
	int rc = 0;
	for (; out->trial_count < EDITOR_MARGIN_TRIALS && rc == 0 && !out->met; alpha *= 2) {
		struct editor_margin_trial *trial = &out->trials[out->trial_count];
		*trial = (struct editor_margin_trial){ .alpha = alpha, .beta = 3 * alpha, .gamma = 1.5f * alpha };
		f->config.wise.alpha = trial->alpha;
		f->config.wise.beta = trial->beta;
		f->config.wise.gamma = trial->gamma;
		f->trial = out->trial_count;
		rc = run_trial(f, trial, e);
		out->met = trial->left <= (double)EDITOR_MARGIN_LEFT;
		if (out->met || trial->apart > out->trials[out->chosen].apart)
			out->chosen = out->trial_count;
		out->trial_count++;
	}
	return rc;
}

/* ε stands between the two, as far (by factor) from the one as from the other. */
static int put_threshold(struct editor_margins *out, struct err *e)
{
	const struct editor_margin_trial *t = &out->trials[out->chosen];
	if (!(t->edit_least > 0 && t->rephrase_least > 0 && t->unrelated_high > 0))
		return err_set(e, ERR_INVALID, "margins: the trial's gaps are zero: take another layer or more steps");
	const double least = t->edit_least < t->rephrase_least ? t->edit_least : t->rephrase_least;
	const double ratio = sqrt(least * t->unrelated_high) / t->edit_least;
	out->act_ratio = (float)(ratio < 1 ? ratio : 1);
	out->threshold = (double)out->act_ratio * t->edit_least;
	return 0;
}

static void fit_free(struct fit *f)
{
	for (size_t i = 0; i < EDITOR_MARGIN_EDITS; i++)
		record_destroy(&f->records[i]);
	editor_wise_destroy(&f->edits);
	editor_wise_destroy(&f->rephrases);
	editor_wise_destroy(&f->others);
	editor_trial_fini(&f->trials);
	free(f->delta);
}

int editor_margins_fit(struct model *model, const struct editor_config *config, const char *corpus, size_t corpus_len,
		       const struct editor_watch *watch, struct editor_fitting *fitting, struct editor_margins *out,
		       struct err *e)
{
	struct fit f = {
		.model = model, .config = *config, .corpus = corpus, .corpus_len = corpus_len, .outer = watch
	};
	*out = (struct editor_margins){ .unit = 0 };
	f.watch = (struct editor_watch){ on_progress, &f };
	int rc = read_trials(&f, e);
	if (rc == 0 && f.config.wise.merge_shards > f.edit_count) /* a shard of the trial has an edit at least */
		f.config.wise.merge_shards = f.edit_count;
	if (rc == 0)
		rc = prepare(&f, fitting, e);
	if (rc == 0)
		rc = measure_unit(&f, &out->unit, e);
	if (rc == 0)
		rc = run_trials(&f, out, e);
	if (rc == 0)
		rc = put_threshold(out, e);
	if (rc == 0) {
		out->edit_count = f.edit_count;
		out->unrelated_count = f.unrelated_count;
	}
	fit_free(&f);
	return rc;
}
