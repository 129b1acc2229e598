#include "daemon/calibrate.h"

#include "base/env.h"
#include "base/fault.h"
#include "base/json.h"
#include "editor/gap.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define CORPUS_BYTES_MAX (16u * 1024 * 1024)
#define TEXT_BYTES_MAX   4000u /* of one question: a corpus's line has room for it and a subject */

struct run {
	const struct calibrate_options *options;
	struct calibrate_report *report;
	struct model *model;
	struct editor_config config;
	struct buf corpus, groups;
	struct editor_calibration_file file;
};

/* ---- Groups of the relation head */

static const struct record_text *other_of(const struct record *record)
{
	for (size_t i = 0; i < record->locality_count; i++) {
		const struct record_probe *probe = &record->locality[i];
		if (probe->kind.text != NULL && strcmp(probe->kind.text, "same_subject") == 0)
			return &probe->prompt;
	}
	return NULL;
}

/* A line of a corpus; what divides its columns and lines becomes a space. */
static void put_line(struct buf *out, const char *kind, size_t group, const struct record_text *subject,
		     const struct record_text *text)
{
	const struct record_text columns[] = { *subject, *text };
	buf_printf(out, "%s\thead-%zu", kind, group);
	for (size_t c = 0; c < 2; c++) {
		buf_u8(out, '\t');
		for (size_t i = 0; i < columns[c].len; i++) {
			const char byte = columns[c].text[i];
			buf_u8(out, byte == '\t' || byte == '\n' ? ' ' : (uint8_t)byte);
		}
	}
	buf_u8(out, '\n');
}

static bool is_usable(const struct record *record, const struct record_text *other)
{
	return record->subject.text != NULL && record->rephrase_count > 0 &&
	       record->subject.len <= TEXT_BYTES_MAX / 2 && record->prompt.len <= TEXT_BYTES_MAX &&
	       record->rephrases[0].len <= TEXT_BYTES_MAX && (other == NULL || other->len <= TEXT_BYTES_MAX);
}

static int take_group(struct run *run, const struct record *record, size_t *with_other, struct err *e)
{
	struct calibrate_report *report = run->report;
	struct editor_fitting *fitting = &run->file.fitting;
	const struct record_text *other = other_of(record);
	report->head_rows++;
	if (!is_usable(record, other)) {
		report->head_left_out++;
		return 0;
	}
	const struct record_text *const texts[] = { &record->prompt, &record->rephrases[0], other };
	static const char *const kinds[] = { "prompt", "rephrase", "other" };
	int rc = 0;
	for (size_t i = 0; i < 3 && texts[i] != NULL && rc == 0; i++) {
		put_line(&run->groups, kinds[i], report->head_groups, &record->subject, texts[i]);
		rc = editor_fitting_add_text(fitting, texts[i]->text, texts[i]->len, e);
	}
	report->head_groups++;
	*with_other += other != NULL;
	return rc;
}

static int read_rows(struct run *run, struct import_file *file, size_t *with_other, struct err *e)
{
	int rc = 0;
	while (rc == 0) {
		struct import_row row = { .record = NULL };
		rc = import_next(file, &row, e);
		if (rc == 0) {
			rc = take_group(run, row.record, with_other, e);
		} else if (rc == ERR_INVALID) {
			const struct calibrate_bad *bad = &run->options->bad;
			run->report->bad_lines++;
			if (bad->line != NULL)
				bad->line(bad->context, run->options->relation_head, row.line_no, e->text);
			err_clear(e);
			rc = 0;
		}
		record_destroy(&row.record);
	}
	return rc == ERR_NOT_FOUND ? 0 : rc;
}

static int read_groups(struct run *run, struct err *e)
{
	const char *path = run->options->relation_head;
	struct import_file *file = NULL;
	size_t with_other = 0;
	if (path == NULL)
		return 0;
	int rc = import_open(path, run->options->format, &file, e);
	if (rc != 0)
		return rc;
	rc = read_rows(run, file, &with_other, e);
	import_close(&file);
	if (rc == 0 && run->report->head_rows == 0)
		rc = run->report->bad_lines > 0
			     ? err_set(e, ERR_INVALID, "no record is left to learn from: %zu bad line%s",
				       run->report->bad_lines, run->report->bad_lines == 1 ? "" : "s")
			     : err_set(e, ERR_INVALID, "has no record");
	if (rc == 0 && with_other == 0)
		rc = err_set(e, ERR_INVALID,
			     "none of its %zu rows has a subject, a rephrase and a locality item of kind same_subject, "
			     "another question on that subject: add them, that is what the relation head learns from",
			     run->report->head_rows);
	if (rc == 0 && buf_failed(&run->groups))
		rc = err_set(e, ERR_NOMEM, "out of memory");
	if (rc == 0)
		rc = editor_fitting_add_file(&run->file.fitting, "relation-head", path, e);
	if (rc != 0)
		err_wrap(e, "%s", path);
	return rc;
}

/* ---- The default family */

static int calibrate_keys(struct run *run, struct err *e)
{
	struct calibrate_report *report = run->report;
	const struct editor_calibration_data data = { .corpus = (const char *)run->corpus.data,
						      .corpus_len = run->corpus.len,
						      .groups = (const char *)run->groups.data,
						      .groups_len = run->groups.len,
						      .groups_alone = run->options->groups_alone };
	struct editor_calibration *c = NULL;
	int rc = editor_calibrate_data(run->model, &run->config, &data, run->options->watch, &c, &report->texts, e);
	if (rc == 0)
		rc = editor_calibration_encode(c, &run->file.calibration, e);
	if (rc == 0) {
		for (size_t i = 0; i < EDITOR_THRESHOLDS; i++) {
			report->threshold_edits[i] = c->thresholds[i].edit_count;
			report->thresholds[i] = c->thresholds[i].threshold;
		}
		report->subject_threshold = c->subject_threshold;
		report->relation_threshold = c->relation.threshold;
		report->prompt_layer = c->prompt_layer;
		report->relation_layer = c->relation.layer;
		report->relation_dims = c->relation.dims;
	}
	editor_calibration_destroy(&c);
	return rc;
}

/* ---- The paper's family */

static int calibrate_margins(struct run *run, struct err *e)
{
	struct calibrate_report *report = run->report;
	struct editor_wise_calibration calibration = { .base_model = *model_digest(run->model) };
	int rc = editor_margins_fit(run->model, &run->config, (const char *)run->corpus.data, run->corpus.len,
				    run->options->watch, &run->file.fitting, &report->margins, e);
	if (rc != 0)
		return rc;
	const struct editor_margin_trial *chosen = &report->margins.trials[report->margins.chosen];
	report->wise = run->config.wise;
	report->wise.alpha = chosen->alpha;
	report->wise.beta = chosen->beta;
	report->wise.gamma = chosen->gamma;
	report->wise.act_ratio = report->margins.act_ratio;
	report->layer = run->config.layer;
	calibration.wise = report->wise;
	calibration.layer = (uint32_t)report->layer;
	hash_of(run->corpus.data, run->corpus.len, &calibration.corpus);
	return editor_wise_calibration_encode(&calibration, &run->file.calibration, e);
}

/* ---- All of it */

static int read_corpus(struct run *run, struct err *e)
{
	const char *path = run->options->corpus;
	int rc = file_read(path, CORPUS_BYTES_MAX, &run->corpus, e);
	if (rc != 0)
		err_wrap(e, "calibration corpus");
	if (rc == 0)
		rc = editor_fitting_add_file(&run->file.fitting, "corpus", path, e);
	if (rc == 0 && run->options->family == EDITOR_FAMILY_AMEND) /* margins are measured on a few of them only */
		rc = editor_fitting_add_corpus(&run->file.fitting, (const char *)run->corpus.data, run->corpus.len, e);
	return rc;
}

static int open_model(struct run *run, struct err *e)
{
	const struct calibrate_options *o = run->options;
	const bool trains = o->family == EDITOR_FAMILY_PAPER;
	const struct model_options options = { .backend = o->backend,
					       .thread_count = o->threads,
					       .backward_from = trains ? 0 : SIZE_MAX };
	int rc = model_open(o->model, &options, &run->model, e);
	if (rc != 0)
		return rc;
	const struct model_shape *shape = model_shape_of(run->model);
	editor_config_default(shape, &run->config);
	if (o->family == EDITOR_FAMILY_PAPER) {
		editor_config_set_family(&run->config, EDITOR_FAMILY_PAPER, shape);
		run->config.wise = o->wise;
	}
	if (o->layer > 0)
		run->config.layer = o->layer;
	run->config.seed = o->seed;
	return editor_config_check(&run->config, shape, e);
}

static void describe(struct run *run)
{
	struct calibrate_report *report = run->report;
	struct model_backend *backend = model_backend_of(run->model);
	report->family = run->options->family;
	report->model_digest = *model_digest(run->model);
	report->file_count = run->file.fitting.file_count;
	report->text_count = run->file.fitting.text_count;
	memcpy(report->files, run->file.fitting.files, sizeof(report->files));
	snprintf(report->model_name, sizeof(report->model_name), "%s", model_name(run->model));
	snprintf(report->backend, sizeof(report->backend), "%s: %s", backend->ops->name,
		 backend->ops->describe(backend));
}

int calibrate_run(const struct calibrate_options *options, struct buf *out, struct calibrate_report *report,
		  struct err *e)
{
	struct run run = { .options = options, .report = report };
	const int64_t began = env_monotonic_us(env_system());
	*report = (struct calibrate_report){ .seconds = 0 };
	int rc = read_corpus(&run, e);
	if (rc == 0)
		rc = read_groups(&run, e);
	if (rc == 0)
		rc = open_model(&run, e);
	if (rc == 0)
		rc = options->family == EDITOR_FAMILY_PAPER ? calibrate_margins(&run, e) : calibrate_keys(&run, e);
	if (rc == 0)
		rc = editor_calibration_file_encode(&run.file, out, e);
	if (rc == 0)
		describe(&run);
	report->seconds = (double)(env_monotonic_us(env_system()) - began) * 1e-6;
	editor_calibration_file_fini(&run.file);
	buf_free(&run.corpus);
	buf_free(&run.groups);
	model_close(&run.model);
	return rc;
}

/* ---- The report */

static void put_files(struct json_w *w, const struct calibrate_report *r)
{
	json_w_key(w, "fitted_on");
	json_w_open(w, '[');
	for (size_t i = 0; i < r->file_count; i++) {
		json_w_open(w, '{');
		json_w_member_str(w, "role", r->files[i].role);
		json_w_member_str(w, "name", r->files[i].name);
		json_w_member_hash(w, "sha256", &r->files[i].sha256);
		json_w_close(w);
	}
	json_w_close(w);
	json_w_member_uint(w, "texts", r->text_count);
}

static double rounded(double value)
{
	return round(value * 1e4) / 1e4;
}

static void put_relation(struct json_w *w, const struct calibrate_report *r)
{
	const struct editor_relation_report *relation = &r->texts.relation;
	json_w_key(w, "relation");
	json_w_open(w, '{');
	json_w_member_uint(w, "groups", relation->groups);
	json_w_member_uint(w, "groups_of_file", r->head_groups);
	json_w_member_uint(w, "rows_left_out", r->head_left_out);
	json_w_member_uint(w, "bad_lines", r->bad_lines);
	json_w_member_uint(w, "layer", r->relation_layer);
	json_w_member_uint(w, "dims", r->relation_dims);
	json_w_member_real(w, "threshold", rounded((double)r->relation_threshold));
	json_w_member_uint(w, "folds", relation->folds);
	json_w_member_bool(w, "forms_apart", relation->forms_apart);
	json_w_member_uint(w, "fitted_least", relation->fitted_least);
	json_w_member_uint(w, "rephrases_asked", relation->rephrases);
	json_w_member_real(w, "rephrases_kept", rounded(relation->kept));
	json_w_member_uint(w, "others_asked", relation->others);
	json_w_member_real(w, "others_passed", rounded(relation->passed));
	json_w_close(w);
}

static void put_keys(struct json_w *w, const struct calibrate_report *r)
{
	json_w_key(w, "corpus");
	json_w_open(w, '{');
	json_w_member_uint(w, "prompts", r->texts.prompts);
	json_w_member_uint(w, "rephrases", r->texts.rephrases);
	json_w_member_uint(w, "others", r->texts.others);
	json_w_member_uint(w, "unrelated", r->texts.unrelated);
	json_w_member_uint(w, "longer_than_context", r->texts.left_out);
	json_w_close(w);
	json_w_member_uint(w, "prompt_layer", r->prompt_layer);
	json_w_key(w, "open_thresholds"); /* by number of edits */
	json_w_open(w, '{');
	for (size_t i = 0; i < EDITOR_THRESHOLDS; i++) {
		char edits[16];
		snprintf(edits, sizeof(edits), "%u", r->threshold_edits[i]);
		json_w_member_real(w, edits, rounded((double)r->thresholds[i]));
	}
	json_w_close(w);
	json_w_member_real(w, "subject_threshold", rounded((double)r->subject_threshold));
	put_relation(w, r);
}

static void put_trials(struct json_w *w, const struct editor_margins *m)
{
	json_w_key(w, "trials");
	json_w_open(w, '[');
	for (size_t i = 0; i < m->trial_count; i++) {
		const struct editor_margin_trial *t = &m->trials[i];
		json_w_open(w, '{');
		json_w_member_real(w, "alpha", rounded((double)t->alpha));
		json_w_member_uint(w, "steps", t->steps);
		json_w_member_real(w, "hinges_left", rounded(t->left));
		json_w_member_real(w, "edit_least", rounded(t->edit_least));
		json_w_member_real(w, "rephrase_least", rounded(t->rephrase_least));
		json_w_member_real(w, "unrelated_high", rounded(t->unrelated_high));
		json_w_member_real(w, "unrelated_mean", rounded(t->unrelated_mean));
		json_w_member_real(w, "apart", rounded(t->apart));
		json_w_close(w);
	}
	json_w_close(w);
}

static void put_margins(struct json_w *w, const struct calibrate_report *r)
{
	const struct editor_margins *m = &r->margins;
	json_w_member_uint(w, "layer", r->layer);
	json_w_member_real(w, "alpha", rounded((double)r->wise.alpha));
	json_w_member_real(w, "beta", rounded((double)r->wise.beta));
	json_w_member_real(w, "gamma", rounded((double)r->wise.gamma));
	json_w_member_real(w, "act_ratio", rounded((double)r->wise.act_ratio));
	json_w_member_real(w, "epsilon_of_trial", rounded(m->threshold));
	json_w_member_bool(w, "hinges_met", m->met);
	json_w_member_real(w, "gap_of_one_step", rounded(m->unit));
	json_w_member_uint(w, "trial_edits", m->edit_count);
	json_w_member_uint(w, "unrelated", m->unrelated_count);
	put_trials(w, m);
}

int calibrate_report_json(const struct calibrate_report *r, const char *out_path, const struct hash *out_hash,
			  struct buf *out, struct err *e)
{
	struct json_w w;
	json_w_init(&w, out);
	json_w_open(&w, '{');
	json_w_member_str(&w, "file", out_path);
	json_w_member_hash(&w, "calibration_sha256", out_hash);
	json_w_member_str(&w, "family", r->family == EDITOR_FAMILY_PAPER ? "paper" : "amend");
	json_w_member_str(&w, "model", r->model_name);
	json_w_member_hash(&w, "model_sha256", &r->model_digest);
	json_w_member_str(&w, "backend", r->backend);
	put_files(&w, r);
	if (r->family == EDITOR_FAMILY_PAPER)
		put_margins(&w, r);
	else
		put_keys(&w, r);
	json_w_member_real(&w, "seconds", round(r->seconds * 10) / 10);
	json_w_close(&w);
	return buf_failed(out) ? err_set(e, ERR_NOMEM, "report: out of memory") : 0;
}
