#include "daemon/eval_file.h"
#include "base/env.h"
#include "base/fault.h"
#include "base/log.h"
#include "daemon/eval_rows.h"
#include "daemon/eval_train.h"
#include "daemon/eval_without.h"
#include "editor/calibration_cache.h"

#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CORPUS_BYTES_MAX (16u * 1024 * 1024)

struct run {
	const struct eval_options *options;
	struct eval_report *report;
	struct model *model; /* borrowed with a given set */
	struct editor_config config;
	struct buf corpus, calibration;
	struct editor_calibration_file given; /* options.calibration */
	struct eval__rows rows;
	struct eval__trained trained;
	struct editor_memory_set *set;
	enum editor_set_kind kind;
	uint64_t *seqs;
};

static double seconds_now(void)
{
	return (double)env_monotonic_us(env_system()) * 1e-6;
}

static size_t cores(void)
{
	cpu_set_t mask;
	const int count = sched_getaffinity(0, sizeof(mask), &mask) == 0 ? CPU_COUNT(&mask) : 1;
	return count > 0 ? (size_t)count : 1;
}

static int open_model(struct run *run, struct err *e)
{
	const struct eval_options *o = run->options;
	/* nothing is trained with this one: no transposed weights */
	const struct model_options options = {
		.backend = o->backend, .thread_count = o->threads, .backward_from = SIZE_MAX, .stored_too = true
	};
	run->model = o->open_model;
	return run->model != NULL ? 0 : model_open(o->model, &options, &run->model, e);
}

static int configure(struct run *run, struct err *e)
{
	const struct model_shape *shape = model_shape_of(run->model);
	editor_config_default(shape, &run->config);
	/* a version has its own */
	const bool given = run->options->calibration != NULL && run->options->set == NULL;
	int rc = 0;
	if (given)
		rc = editor_calibration_file_check(&run->given, run->options->calibration, run->options->family,
						   model_digest(run->model), e);
	if (rc == 0 && run->options->family == EDITOR_FAMILY_PAPER) {
		editor_config_set_family(&run->config, EDITOR_FAMILY_PAPER, shape);
		run->config.wise = run->options->wise;
	}
	if (run->options->layer > 0)
		run->config.layer = run->options->layer;
	if (rc == 0 && given && run->options->family == EDITOR_FAMILY_PAPER)
		rc = editor_calibration_file_alone(&run->given, run->options->calibration, &run->config.wise, e);
	if (rc == 0 && given && run->options->family == EDITOR_FAMILY_PAPER)
		rc = editor_calibration_file_margins(&run->given, run->options->calibration, run->config.layer,
						     &run->config.wise, e);
	if (rc != 0)
		return rc;
	if (run->options->rate > 0)
		run->config.rate = run->options->rate;
	eval_without_apply(run->options->without, &run->config);
	if (run->options->edits_per_shard > 0)
		run->config.edits_per_shard = run->options->edits_per_shard;
	if (run->options->seed != NULL)
		run->config.seed = *run->options->seed;
	return editor_config_check(&run->config, shape, e);
}

/* ---- The set of a training */

static int train(struct run *run, struct err *e)
{
	const size_t threads = run->options->threads > 0 ? run->options->threads : cores();
	/* one copy of the weights at a time */
	model_close(&run->model);
	int rc = eval__train(run->options, threads, &run->config, &run->rows, &run->corpus, &run->trained, run->report,
			     e);
	run->report->trained = true;
	return rc == 0 ? open_model(run, e) : rc;
}

static int paper_settings(struct run *run, struct buf *bytes, struct err *e)
{
	const struct editor_wise_calibration calibration = { .base_model = *model_digest(run->model),
							     .wise = run->config.wise };
	return editor_wise_calibration_encode(&calibration, bytes, e);
}

/* Nothing of the cache stops an evaluation: what cannot be read is made again, what cannot be kept is made next time.
 */
static bool calibration_cached(struct run *run, const struct hash *corpus, struct buf *bytes)
{
	struct err e = ERR_INIT;
	const char *folder = run->options->cache;
	int rc = folder == NULL ? ERR_NOT_FOUND
				: editor_calibration_cache_load(folder, model_digest(run->model), corpus, &run->config,
								bytes, &e);
	if (rc != 0 && rc != ERR_NOT_FOUND)
		log_event(LOG_WARN, "EVAL-CALIBRATION-UNREADABLE", LOGF_S("reason", e.text));
	return rc == 0;
}

static void calibration_keep(struct run *run, const struct hash *corpus, const struct buf *bytes)
{
	struct err e = ERR_INIT;
	if (run->options->cache != NULL && editor_calibration_cache_save(run->options->cache, model_digest(run->model),
									 corpus, &run->config, bytes, &e) != 0)
		log_event(LOG_WARN, "EVAL-CALIBRATION-UNSAVED", LOGF_S("reason", e.text));
}

static int calibration_make(struct run *run, struct buf *bytes, struct err *e)
{
	struct editor_calibration *calibration = NULL;
	int rc = editor_calibrate(run->model, &run->config, (const char *)run->corpus.data, run->corpus.len,
				  run->options->watch, &calibration, e);
	if (rc == 0)
		rc = editor_calibration_encode(calibration, bytes, e);
	editor_calibration_destroy(&calibration);
	return rc;
}

static int calibration_copy(const struct run *run, struct buf *bytes, struct err *e)
{
	buf_append(bytes, run->given.calibration.data, run->given.calibration.len);
	return buf_failed(bytes) ? err_set(e, ERR_NOMEM, "out of memory") : 0;
}

static int calibrate(struct run *run, struct buf *bytes, struct err *e)
{
	struct editor_calibration *calibration = NULL;
	struct eval_report *report = run->report;
	struct hash corpus;
	if (run->config.family == EDITOR_FAMILY_PAPER)
		return paper_settings(run, bytes, e);
	const double began = seconds_now();
	int rc = 0;
	hash_of(run->corpus.data, run->corpus.len, &corpus);
	if (run->options->calibration != NULL)
		rc = calibration_copy(run, bytes, e);
	else
		report->calibration_was_cached = calibration_cached(run, &corpus, bytes);
	if (bytes->len == 0 && rc == 0) {
		rc = calibration_make(run, bytes, e);
		if (rc == 0)
			calibration_keep(run, &corpus, bytes);
	}
	if (rc == 0)
		rc = editor_calibration_decode(bytes->data, bytes->len, &calibration, e);
	if (rc == 0) {
		report->open_threshold = editor_calibration_threshold(calibration, run->rows.edit_count);
		report->subject_threshold = calibration->subject_threshold;
		report->relation_threshold = calibration->relation.threshold;
	}
	editor_calibration_destroy(&calibration);
	report->calibrate_seconds = seconds_now() - began;
	return rc;
}

/* The memories [first, first + count), and with all of them the one that was merged from them. */
static int make_set(struct run *run, size_t first, size_t count, struct err *e)
{
	const struct buf *merged = &run->trained.merged;
	struct editor_memory_part *parts = fault_calloc(count + 1, sizeof(*parts));
	uint64_t *sources = fault_calloc(count, sizeof(*sources));
	if (parts == NULL || sources == NULL) {
		free(parts);
		free(sources);
		return err_set(e, ERR_NOMEM, "out of memory");
	}
	for (size_t i = 0; i < count; i++) {
		const struct eval__part *part = &run->trained.parts[first + i];
		parts[i] = (struct editor_memory_part){ .id = first + i + 1,
							.delta = part->delta.data,
							.delta_len = part->delta.len,
							.index = part->index.data,
							.index_len = part->index.len };
		sources[i] = parts[i].id;
	}
	parts[count] = (struct editor_memory_part){ .id = first + count + 1,
						    .delta = merged->data,
						    .delta_len = merged->len,
						    .merged = true,
						    .sources = sources,
						    .source_count = count };
	editor_memory_set_release(&run->set);
	int rc = editor_memory_set_new(model_shape_of(run->model), model_digest(run->model), run->config.layer, 0,
				       run->calibration.data, run->calibration.len, parts,
				       count + (merged->len > 0 ? 1 : 0), NULL, 0, EDITOR_SET_RETRIEVE, &run->set, e);
	free(parts);
	free(sources);
	run->kind = EDITOR_SET_RETRIEVE;
	return rc;
}

static int build_set(struct run *run, struct err *e)
{
	int rc = train(run, e);
	if (rc == 0)
		rc = calibrate(run, &run->calibration, e);
	if (rc == 0)
		rc = make_set(run, 0, run->trained.part_count, e);
	for (size_t i = 0; i < run->rows.edit_count && rc == 0; i++)
		run->seqs[i] = i + 1;
	return rc;
}

/* ---- A set that is there already */

/* Rows that stand in what the version was fitted on are refused: that takes the same corpus. */
static int check_corpus(const struct run *run, struct err *e)
{
	const struct hash *fitted = editor_memory_set_corpus(run->options->set);
	const bool known = editor_memory_set_fitting(run->options->set) != NULL; /* rows are compared with that */
	struct hash given;
	char hex[HASH_HEX_BYTES];
	hash_of(run->corpus.data, run->corpus.len, &given);
	if (known || fitted == NULL || hash_equal(fitted, &given))
		return 0;
	hash_hex(fitted, hex);
	return err_set(
		e, ERR_MISMATCH,
		"%s: the version was calibrated on another corpus, of SHA-256 %.16s…: name that file by --corpus, so "
		"that rows that stand in it are refused",
		run->options->corpus, hex);
}

/* The version says what is in force, not the ledger: an older one still holds what was superseded after it. */
static bool is_in_force(const struct run *run, uint64_t seq)
{
	uint64_t memory_id;
	return editor_memory_set_side_of(run->set, run->kind, seq, &memory_id) != NULL;
}

static int take_set(struct run *run, struct err *e)
{
	const struct eval_options *o = run->options;
	struct eval_report *report = run->report;
	size_t kept = 0;
	run->set = editor_memory_set_acquire(o->set);
	run->kind = o->set_kind;
	for (size_t i = 0; i < run->rows.edit_count; i++) {
		struct eval__row *row = &run->rows.edits[i];
		uint64_t seq = 0;
		int rc = o->seq_of(o->seq_context, row->record, &seq);
		if (rc != 0 && rc != ERR_NOT_FOUND)
			return err_set(e, rc, "%s: line %zu: which edit of the version it is cannot be found", o->file,
				       row->line_no);
		if (rc == ERR_NOT_FOUND || !is_in_force(run, seq)) {
			*(rc == ERR_NOT_FOUND ? &report->missing : &report->not_in_force) += 1;
			record_destroy(&row->record);
			continue;
		}
		run->seqs[kept] = seq;
		const struct eval__row found = *row;
		row->record = NULL;
		run->rows.edits[kept++] = found;
	}
	run->rows.edit_count = kept;
	if (kept == 0 && report->not_in_force > 0)
		return err_set(e, ERR_NOT_FOUND,
			       "%s: the version holds none of its edits: %zu are not in force in it, %zu are not there",
			       o->file, report->not_in_force, report->missing);
	if (kept == 0)
		return err_set(e, ERR_NOT_FOUND, "%s: the version holds none of its %zu edits: import the file first",
			       o->file, report->missing);
	return 0;
}

/* ---- Measuring */

static const struct record **records_of(struct eval__row *rows, size_t count)
{
	const struct record **records = fault_calloc(count + 1, sizeof(struct record *));
	for (size_t i = 0; records != NULL && i < count; i++)
		records[i] = rows[i].record;
	return records;
}

/* Evaluates `count` rows from `first` on, with the present set. */
static int measure_rows(struct run *run, const struct record *const *records, size_t first, size_t count,
			const struct record *const *probes, size_t probe_count, struct editor_scores *scores,
			struct err *e)
{
	const struct editor_evaluation what = { .records = records + first,
						.seqs = run->seqs + first,
						.record_count = count,
						.probes = probes,
						.probe_count = probe_count,
						.texts = run->rows.texts,
						.text_count = run->options->quick ? 0 : run->rows.text_count,
						.oracle = run->options->oracle,
						.before_too = run->options->before_too,
						.details = probes != NULL ? &run->report->details : NULL };
	return editor_evaluate(run->model, &run->config, run->set, run->kind, &what, scores,
			       run->report->answers + first, run->options->watch, e);
}

/* The shards' figures first, then those of the memory merged from them. */
static int measure_merged(struct run *run, const struct record *const *records, const struct record *const *probes,
			  struct err *e)
{
	struct eval_report *report = run->report;
	const size_t count = run->rows.edit_count, probe_count = run->rows.probe_count;
	int rc = measure_rows(run, records, 0, count, probes, probe_count, &report->merged.shards, e);
	editor_details_fini(&report->details);
	run->kind = EDITOR_SET_MERGED;
	return rc == 0 ? measure_rows(run, records, 0, count, probes, probe_count, &report->scores, e) : rc;
}

/* The mean over the runs that have the figure at all. */
static int measure_separate(struct run *run, const struct record *const *records, struct err *e)
{
	struct editor_scores *mean = &run->report->scores, own;
	size_t counts[EDITOR_FIGURE_COUNT] = { 0 };
	int rc = 0;
	memset(mean, 0, sizeof(*mean));
	for (size_t r = 0; r < run->rows.edit_count && rc == 0; r++) {
		rc = make_set(run, r, 1, e);
		if (rc == 0)
			rc = measure_rows(run, records, r, 1, NULL, 0, &own, e);
		for (size_t i = 0; i < EDITOR_FIGURE_COUNT && rc == 0; i++) {
			mean->mean.values[i] += isnan(own.mean.values[i]) ? 0 : own.mean.values[i];
			counts[i] += isnan(own.mean.values[i]) ? 0 : 1;
		}
	}
	for (size_t i = 0; i < EDITOR_FIGURE_COUNT; i++)
		mean->mean.values[i] = counts[i] > 0 ? mean->mean.values[i] / (double)counts[i] : (double)NAN;
	mean->edits = run->rows.edit_count;
	return rc;
}

static int measure(struct run *run, struct err *e)
{
	struct eval_report *report = run->report;
	const struct record **records = records_of(run->rows.edits, run->rows.edit_count);
	const struct record **probes = records_of(run->rows.probes, run->rows.probe_count);
	const double began = seconds_now();
	report->answers = fault_calloc(run->rows.edit_count, sizeof(*report->answers));
	int rc = 0;
	if (records == NULL || probes == NULL || report->answers == NULL)
		rc = err_set(e, ERR_NOMEM, "out of memory");
	else if (run->options->separate)
		rc = measure_separate(run, (const struct record *const *)records, e);
	else if (run->options->merged)
		rc = measure_merged(run, (const struct record *const *)records, (const struct record *const *)probes,
				    e);
	else
		rc = measure_rows(run, (const struct record *const *)records, 0, run->rows.edit_count,
				  (const struct record *const *)probes, run->rows.probe_count, &report->scores, e);
	report->evaluate_seconds = seconds_now() - began;
	free(records);
	free(probes);
	return rc;
}

static int describe(struct run *run, struct err *e)
{
	struct eval_report *report = run->report;
	struct model_backend *backend = model_backend_of(run->model);
	report->version = editor_memory_set_version(run->set);
	report->edit_count = editor_memory_set_edit_count(run->set);
	report->layer = editor_memory_set_layer(run->set);
	const struct editor_key_layers layers = editor_memory_set_key_layers(run->set);
	report->prompt_layer = layers.prompt;
	report->relation_layer = layers.relation;
	report->edits_per_shard = run->config.edits_per_shard;
	report->family = editor_memory_set_family(run->set);
	report->wise = run->config.wise;
	report->wise_mode = run->options->wise_mode;
	report->oracle = run->options->oracle;
	report->without = run->options->without;
	report->separate = run->options->separate;
	report->seed = run->config.seed;
	report->threads = run->options->threads > 0 ? run->options->threads : cores();
	snprintf(report->backend, sizeof(report->backend), "%s: %s", backend->ops->name,
		 backend->ops->describe(backend));
	snprintf(report->model_name, sizeof(report->model_name), "%s", model_name(run->model));
	report->model_digest = *model_digest(run->model);
	hash_of(run->corpus.data, run->corpus.len, &report->corpus_hash);
	/* the records go with the report */
	report->records = fault_calloc(run->rows.edit_count, sizeof(struct record *));
	if (report->records == NULL)
		return err_set(e, ERR_NOMEM, "out of memory");
	for (size_t i = 0; i < run->rows.edit_count; i++) {
		report->records[i] = run->rows.edits[i].record;
		run->rows.edits[i].record = NULL;
	}
	report->record_count = run->rows.edit_count;
	if (report->details.probes == NULL) /* --separate asks no probes */
		return 0;
	report->probes = run->rows.probes;
	report->probe_count = run->rows.probe_count;
	run->rows.probes = NULL;
	run->rows.probe_count = 0;
	return 0;
}

/* What the calibration was fitted on, as far as it is known: of the given file, or of the version. */
static const struct editor_fitting *fitting_of(const struct run *run)
{
	if (run->options->set != NULL)
		return editor_memory_set_fitting(run->options->set);
	return run->options->calibration != NULL ? &run->given.fitting : NULL;
}

static int read_calibration(struct run *run, struct err *e)
{
	struct buf bytes = BUF_INIT;
	int rc = 0;
	if (run->options->calibration != NULL && run->options->set == NULL) {
		rc = editor_calibration_file_read(run->options->calibration, &bytes, &run->given, e);
		hash_of(bytes.data, bytes.len, &run->report->calibration_hash);
	}
	const struct editor_fitting *fitting = rc == 0 ? fitting_of(run) : NULL;
	for (size_t i = 0; fitting != NULL && i < fitting->file_count; i++)
		run->report->fitted[run->report->fitted_count++] = fitting->files[i];
	buf_free(&bytes);
	return rc;
}

static int run_all(struct run *run, struct err *e)
{
	int rc = file_read(run->options->corpus, CORPUS_BYTES_MAX, &run->corpus, e);
	if (rc != 0) {
		err_wrap(e, "calibration corpus");
		return rc;
	}
	rc = read_calibration(run, e);
	if (rc == 0)
		rc = open_model(run, e);
	if (rc == 0)
		rc = configure(run, e);
	if (rc == 0) {
		const struct eval__rows_from from = { (const char *)run->corpus.data, run->corpus.len, fitting_of(run),
						      run->model, &run->config };
		rc = eval__rows_read(run->options, &from, &run->rows, run->report, e);
	}
	if (rc == 0) {
		run->seqs = fault_calloc(run->rows.edit_count, sizeof(*run->seqs));
		rc = run->seqs == NULL ? err_set(e, ERR_NOMEM, "out of memory") : 0;
	}
	if (rc == 0)
		rc = run->options->set != NULL ? check_corpus(run, e) : 0;
	if (rc == 0)
		rc = run->options->set != NULL ? take_set(run, e) : build_set(run, e);
	if (rc == 0)
		rc = measure(run, e);
	return rc == 0 ? describe(run, e) : rc;
}

int eval_file_run(const struct eval_options *options, struct eval_report *report, struct err *e)
{
	struct run run = { .options = options, .report = report };
	memset(report, 0, sizeof(*report));
	int rc = run_all(&run, e);
	editor_memory_set_release(&run.set);
	eval__trained_fini(&run.trained);
	eval__rows_fini(&run.rows);
	if (run.model != NULL && run.model != options->open_model)
		model_close(&run.model);
	buf_free(&run.corpus);
	buf_free(&run.calibration);
	editor_calibration_file_fini(&run.given);
	free(run.seqs);
	if (rc != 0)
		eval_report_fini(report);
	return rc;
}

void eval_report_fini(struct eval_report *report)
{
	for (size_t i = 0; i < report->record_count; i++)
		record_destroy(&report->records[i]);
	for (size_t i = 0; i < report->probe_count; i++)
		record_destroy(&report->probes[i].record);
	free(report->probes);
	free(report->records);
	free(report->answers);
	editor_details_fini(&report->details);
	report->probes = NULL;
	report->probe_count = 0;
	report->records = NULL;
	report->answers = NULL;
	report->record_count = 0;
}
