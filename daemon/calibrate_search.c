#include "daemon/calibrate_search.h"

#include "base/env.h"
#include "base/json.h"
#include "editor/shard.h"
#include "editor/trial.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define CORPUS_BYTES_MAX (16u * 1024 * 1024)
#define EDITS_MIN        2u

struct search {
	const struct calibrate_search_options *options;
	struct calibrate_search_report *report;
	struct model *model;
	struct editor_config config; /* of the trial at hand */
	struct record *edits[CALIBRATE_SEARCH_EDITS], *rephrases[CALIBRATE_SEARCH_EDITS];
	size_t edit_count;
	char phase[32];
	struct editor_watch watch;
};

/* ---- Edits */

static int put_edit(struct search *s, const struct record_text *prompt, const struct record_text *rephrase,
		    const struct record_text *target, const struct record_text *subject, struct err *e)
{
	const size_t at = s->edit_count;
	int rc = editor_trial_record(prompt, target, subject, &s->edits[at], e);
	if (rc == 0)
		rc = editor_trial_record(rephrase, target, subject, &s->rephrases[at], e);
	s->edit_count = at + 1; /* freed with the others, whole or not */
	return rc;
}

static int edits_of_corpus(struct search *s, struct err *e)
{
	struct editor_trial_corpus corpus = { .group_count = 0 };
	struct buf text = BUF_INIT;
	int rc = file_read(s->options->corpus, CORPUS_BYTES_MAX, &text, e);
	if (rc == 0)
		rc = editor_trial_read((const char *)text.data, text.len, CALIBRATE_SEARCH_EDITS, 0, &corpus, e);
	for (size_t i = 0; rc == 0 && i < corpus.group_count; i++) {
		const struct editor_trial_group *g = &corpus.groups[i];
		rc = put_edit(s, &g->prompt, &g->rephrase, editor_trial_target(&corpus, i), &g->subject, e);
	}
	editor_trial_fini(&corpus);
	buf_free(&text);
	return rc;
}

static int read_edits(struct search *s, struct import_file *file, struct err *e)
{
	int rc = 0;
	while (rc == 0 && s->edit_count < CALIBRATE_SEARCH_EDITS) {
		struct import_row row = { .record = NULL };
		rc = import_next(file, &row, e);
		const struct record *record = row.record;
		if (rc == 0 && record->rephrase_count > 0)
			rc = put_edit(s, &record->prompt, &record->rephrases[0], &record->target_new, &record->subject,
				      e);
		if (rc == ERR_INVALID && row.record == NULL) { /* left out, and the rest goes on */
			const struct calibrate_bad *bad = &s->options->bad;
			if (bad->line != NULL)
				bad->line(bad->context, s->options->edits, row.line_no, e->text);
			err_clear(e);
			rc = 0;
		}
		record_destroy(&row.record);
	}
	return rc == ERR_NOT_FOUND ? 0 : rc;
}

static int edits_of_file(struct search *s, struct err *e)
{
	struct import_file *file = NULL;
	int rc = import_open(s->options->edits, s->options->format, &file, e);
	if (rc != 0)
		return rc;
	rc = read_edits(s, file, e);
	import_close(&file);
	if (rc == 0 && s->edit_count < EDITS_MIN)
		rc = err_set(e, ERR_INVALID,
			     "%zu edits with a rephrase, at least %u are needed: rephrases are what a "
			     "layer is judged by",
			     s->edit_count, EDITS_MIN);
	if (rc != 0)
		err_wrap(e, "%s", s->options->edits);
	return rc;
}

/* ---- A trial */

static int on_progress(void *context, const char *phase, size_t done, size_t total, double loss)
{
	const struct search *s = context;
	const struct editor_watch *outer = s->options->watch;
	(void)phase;
	return outer->on_progress(outer->context, s->phase, done, total, loss);
}

/* Most that decode to their targets, of the shard's edits at this delta (NULL: its own). */
static int count_right(struct editor_shard *shard, const float *delta, const struct editor_watch *watch, size_t *right,
		       struct err *e)
{
	struct editor_result results[CALIBRATE_SEARCH_EDITS];
	int rc = editor_shard_retest_delta(shard, delta, results, watch, e);
	*right = 0;
	for (size_t i = 0; rc == 0 && i < editor_shard_count(shard); i++)
		*right += results[i].passed;
	return rc;
}

static int shard_of(struct search *s, struct record *const *records, struct editor_shard **out, struct err *e)
{
	int rc = editor_shard_new(s->model, &s->config, out, e);
	for (size_t i = 0; rc == 0 && i < s->edit_count; i++)
		rc = editor_shard_add(*out, i + 1, records[i], e);
	return rc;
}

static int run_trial(struct search *s, size_t layer, float rate, struct err *e)
{
	struct calibrate_search_trial *trial = &s->report->trials[s->report->trial_count];
	const struct editor_watch *watch = s->options->watch != NULL ? &s->watch : NULL;
	struct editor_shard *trained = NULL, *asked = NULL;
	struct editor_train_stats stats;
	const int64_t began = env_monotonic_us(env_system());
	*trial = (struct calibrate_search_trial){ .layer = layer, .rate = rate };
	s->config.layer = layer;
	s->config.rate = rate;
	snprintf(s->phase, sizeof(s->phase), "layer %zu, rate %.3g", layer, (double)rate);
	int rc = shard_of(s, s->edits, &trained, e);
	if (rc == 0)
		rc = editor_shard_train(trained, EDITOR_BREADTH_FIRST, 0, s->edit_count, s->options->seed, watch,
					&stats, e);
	if (rc == 0)
		rc = count_right(trained, editor_shard_delta(trained), watch, &trial->prompts_right, e);
	trial->seconds = (double)(env_monotonic_us(env_system()) - began) * 1e-6;
	if (rc == 0)
		rc = shard_of(s, s->rephrases, &asked, e);
	if (rc == 0)
		rc = count_right(asked, editor_shard_delta(trained), watch, &trial->rephrases_right, e);
	editor_shard_destroy(&trained);
	editor_shard_destroy(&asked);
	if (rc != 0) {
		err_wrap(e, "%s", s->phase);
		return rc;
	}
	const struct calibrate_search_trial *best = &s->report->trials[s->report->best];
	if (trial->rephrases_right > best->rephrases_right ||
	    (trial->rephrases_right == best->rephrases_right && trial->prompts_right > best->prompts_right))
		s->report->best = s->report->trial_count;
	s->report->trial_count++;
	return 0;
}

/* ---- The search */

/* Routes are decided below the edited layer. */
static size_t least_layer(const struct editor_config *config)
{
	return config->prompt_layer > config->relation_layer ? config->prompt_layer : config->relation_layer;
}

/* Where the search begins; what it is to try of that is in range, or it says so before anything is trained. */
static int begin(struct search *s, const struct model_shape *shape, struct err *e)
{
	const struct calibrate_search_options *o = s->options;
	editor_config_default(shape, &s->config);
	if (o->layer > 0 && (o->layer < least_layer(&s->config) || o->layer >= shape->layers))
		return err_set(e, ERR_INVALID, "the search cannot begin at layer %zu: --layer may be %zu to %zu here",
			       o->layer, least_layer(&s->config), shape->layers - 1);
	if (o->layer > 0)
		s->config.layer = o->layer;
	if (o->rate > 0 && (o->rate < 2 * EDITOR_RATE_MIN || o->rate > EDITOR_RATE_MAX / 2))
		return err_set(e, ERR_INVALID,
			       "the search tries half and twice the rate %g, too: --train.rate may be %g to %g here",
			       (double)o->rate, (double)(2 * EDITOR_RATE_MIN), (double)(EDITOR_RATE_MAX / 2));
	if (o->rate > 0)
		s->config.rate = o->rate;
	return 0;
}

/* The first one, then up to two steps below and above it: a fifteenth of the depth each. */
static int try_layers(struct search *s, size_t middle, size_t layers, float rate, struct err *e)
{
	static const int steps[] = { 0, -1, 1, -2, 2 };
	const size_t step = layers < 30 ? 1 : layers / 15;
	const size_t least = least_layer(&s->config);
	int rc = 0;
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]) && rc == 0; i++) {
		const int64_t layer = (int64_t)middle + steps[i] * (int64_t)step;
		if (layer >= (int64_t)least && layer < (int64_t)layers)
			rc = run_trial(s, (size_t)layer, rate, e);
	}
	return rc;
}

static int run(struct search *s, struct err *e)
{
	const struct calibrate_search_options *o = s->options;
	const struct model_options options = { .backend = o->backend, .thread_count = o->threads };
	int rc = o->edits != NULL ? edits_of_file(s, e) : edits_of_corpus(s, e);
	if (rc == 0)
		rc = model_open(o->model, &options, &s->model, e);
	if (rc != 0)
		return rc;
	const struct model_shape *shape = model_shape_of(s->model);
	rc = begin(s, shape, e);
	if (rc != 0)
		return rc;
	const float rate = s->config.rate;
	s->report->edit_count = s->edit_count;
	s->report->layers = shape->layers;
	rc = try_layers(s, s->config.layer, shape->layers, rate, e);
	const size_t layer = s->report->trials[s->report->best].layer;
	if (rc == 0)
		rc = run_trial(s, layer, rate / 2, e);
	return rc == 0 ? run_trial(s, layer, rate * 2, e) : rc;
}

int calibrate_search(const struct calibrate_search_options *options, struct calibrate_search_report *report,
		     struct err *e)
{
	struct search s = { .options = options, .report = report };
	*report = (struct calibrate_search_report){ .trial_count = 0 };
	s.watch = (struct editor_watch){ on_progress, &s };
	int rc = run(&s, e);
	for (size_t i = 0; i < s.edit_count; i++) {
		record_destroy(&s.edits[i]);
		record_destroy(&s.rephrases[i]);
	}
	model_close(&s.model);
	return rc;
}

int calibrate_search_json(const struct calibrate_search_report *r, struct buf *out, struct err *e)
{
	struct json_w w;
	json_w_init(&w, out);
	json_w_open(&w, '{');
	json_w_member_uint(&w, "edits", r->edit_count);
	json_w_member_uint(&w, "layers", r->layers);
	json_w_member_uint(&w, "layer", r->trials[r->best].layer);
	json_w_member_float(&w, "rate", r->trials[r->best].rate);
	json_w_key(&w, "trials");
	json_w_open(&w, '[');
	for (size_t i = 0; i < r->trial_count; i++) {
		const struct calibrate_search_trial *t = &r->trials[i];
		json_w_open(&w, '{');
		json_w_member_uint(&w, "layer", t->layer);
		json_w_member_float(&w, "rate", t->rate);
		json_w_member_real(&w, "prompts", round(1e4 * (double)t->prompts_right / (double)r->edit_count) / 1e4);
		json_w_member_real(&w, "rephrases",
				   round(1e4 * (double)t->rephrases_right / (double)r->edit_count) / 1e4);
		json_w_member_real(&w, "seconds", round(t->seconds * 10) / 10);
		json_w_close(&w);
	}
	json_w_close(&w);
	json_w_close(&w);
	return buf_failed(out) ? err_set(e, ERR_NOMEM, "report: out of memory") : 0;
}
