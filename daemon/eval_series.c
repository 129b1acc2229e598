#include "daemon/eval_series.h"

#include "base/env.h"
#include "base/json.h"
#include "daemon/eval_part.h"
#include "daemon/eval_summary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct work {
	const struct eval_series *series;
	struct eval_keep keep;
	struct hash file, probes_file, corpus, calibration, model;
	size_t checkpoint_count; /* those behind the end of the file are left out */
	struct buf runs;         /* JSON texts of the runs, with commas between them */
	size_t run_count;
	struct buf *notice;
};

/* ---- One run */

static int hash_inputs(struct work *work, struct err *e)
{
	const struct eval_options *o = work->series->options;
	int rc = hash_of_file(o->file, &work->file, e);
	if (rc == 0)
		rc = hash_of_file(o->corpus, &work->corpus, e);
	if (rc == 0 && o->calibration != NULL)
		rc = hash_of_file(o->calibration, &work->calibration, e);
	if (rc == 0 && o->probes_file != NULL)
		rc = hash_of_file(o->probes_file, &work->probes_file, e);
	if (rc == 0 && o->model != NULL)
		rc = hash_of_file(o->model, &work->model, e);
	return rc;
}

/* What a finished run follows from. */
static int run_key(const struct work *work, const struct eval_options *o, struct hash *key, struct err *e)
{
	struct buf text = BUF_INIT;
	const struct hash *hashes[] = { &work->file, &work->probes_file, &work->corpus, &work->calibration };
	eval__key_begin(o, "run", &work->model, &text);
	buf_printf(&text, "\n%s\n", o->method != NULL ? o->method : "");
	for (size_t i = 0; i < sizeof(hashes) / sizeof(hashes[0]); i++)
		buf_append(&text, hashes[i]->bytes, HASH_BYTES);
	buf_printf(&text, "\n%zu %zu %zu %zu %llu %d %d %d %d\n%s", o->edits_per_shard, o->edits, o->rows_reserved,
		   o->probes, (unsigned long long)*o->seed, (int)o->on_conflict, (int)o->format, o->before_too,
		   o->quick, work->series->measures != NULL ? work->series->measures : "");
	int rc = buf_failed(&text) ? err_set(e, ERR_NOMEM, "out of memory") : 0;
	hash_of(text.data, text.len, key);
	buf_free(&text);
	return rc;
}

static int measure(const struct eval_options *options, struct buf *text, struct err *e)
{
	struct eval_report *report = calloc(1, sizeof(*report));
	if (report == NULL)
		return err_set(e, ERR_NOMEM, "out of memory");
	int rc = eval_file_run(options, report, e);
	if (rc == 0) {
		rc = eval_report_json(report, true, text, e);
		eval_report_fini(report);
	}
	free(report);
	return rc;
}

static void tell(const struct work *work, size_t edits, uint64_t seed, bool kept)
{
	const struct eval_series *series = work->series;
	if (series->on_run != NULL)
		series->on_run(series->context, work->run_count, work->checkpoint_count * series->seed_count, edits,
			       seed, kept);
}

/* Kept by an earlier start, or measured now. A published version is measured again: it is not in the key. */
static int find_run(struct work *work, const struct eval_options *o, struct buf *text, struct err *e)
{
	struct hash key;
	const bool keeps = o->keep != NULL && o->set == NULL;
	int rc = keeps ? run_key(work, o, &key, e) : 0;
	if (rc == 0 && keeps)
		rc = eval_keep_get(o->keep, "run", &key, text, e);
	else if (rc == 0)
		rc = ERR_NOT_FOUND;
	if (rc != ERR_NOT_FOUND) {
		tell(work, o->edits, *o->seed, true);
		return rc;
	}
	tell(work, o->edits, *o->seed, false);
	rc = measure(o, text, e);
	return rc == 0 && keeps ? eval_keep_put(o->keep, "run", &key, text, e) : rc;
}

/* Where the file ends before checkpoint `index` those behind it would be the same again. */
static int look_for_end(struct work *work, size_t index, struct buf *text, struct err *e)
{
	const size_t *checkpoints = work->series->checkpoints;
	struct json *run = NULL;
	int rc = json_parse(buf_cstr(text), text->len, &run, e);
	if (rc != 0) {
		err_wrap(e, "a finished run");
		return rc;
	}
	const size_t rows = (size_t)json_integer(json_get(run, "rows"));
	json_free(&run);
	if (rows >= checkpoints[index])
		return 0;
	buf_printf(work->notice,
		   "The file has %zu good rows, fewer than the %zu asked for: T = %zu stands for all of them", rows,
		   checkpoints[index], rows);
	for (size_t i = index + 1; i < work->checkpoint_count; i++)
		buf_printf(work->notice, "%s%zu", i == index + 1 ? ", and for " : ", ", checkpoints[i]);
	buf_puts(work->notice, ".\n");
	work->checkpoint_count = index + 1;
	return 0;
}

static int one_run(struct work *work, size_t index, const uint64_t *seed, struct err *e)
{
	const struct eval_series *series = work->series;
	struct eval_options o = *series->options;
	struct buf text = BUF_INIT;
	o.edits = series->checkpoints[index];
	o.rows_reserved = series->checkpoints[series->checkpoint_count - 1];
	o.seed = seed;
	o.keep = series->folder != NULL ? &work->keep : NULL;
	int rc = find_run(work, &o, &text, e);
	if (rc == 0 && seed == series->seeds)
		rc = look_for_end(work, index, &text, e);
	if (rc == 0) {
		buf_puts(&work->runs, work->run_count++ > 0 ? "," : "");
		buf_append(&work->runs, text.data, text.len);
		rc = buf_failed(&work->runs) ? err_set(e, ERR_NOMEM, "out of memory for the report") : 0;
	}
	buf_free(&text);
	return rc;
}

/* ---- The report */

static void put_file(struct json_w *w, const char *role, const char *path, const struct hash *hash, const char *fits)
{
	if (path == NULL)
		return;
	json_w_open(w, '{');
	json_w_member_str(w, "role", role);
	json_w_member_str(w, "path", path);
	json_w_member_hash(w, "sha256", hash);
	json_w_member_bool(w, "fitting", fits != NULL);
	if (fits != NULL)
		json_w_member_str(w, "fits", fits);
	json_w_close(w);
}

/* Files that the calibration was fitted on, as the runs tell them. */
static void put_fitted(struct json_w *w, const struct json *fitted)
{
	for (size_t i = 0; i < json_length(fitted); i++) {
		const struct json *file = json_at(fitted, i);
		struct hash sha256 = { { 0 } };
		char role[64];
		const char *as = json_string(json_get(file, "role"), NULL);
		snprintf(role, sizeof(role), "fitting: %.48s", as != NULL ? as : "");
		if (hash_parse(json_string(json_get(file, "sha256"), NULL), &sha256) == 0)
			put_file(w, role, json_string(json_get(file, "name"), NULL), &sha256, "the calibration");
	}
}

static void put_files(struct json_w *w, const struct work *work, const struct json *runs)
{
	static const char fits[] = "routing statistics, thresholds and relation head";
	const struct eval_options *o = work->series->options;
	const struct json *fitted = json_get(json_at(runs, 0), "fitted_on");
	json_w_key(w, "files");
	json_w_open(w, '[');
	put_file(w, "model", o->model, &work->model, NULL);
	put_file(w, "edits", o->file, &work->file, NULL);
	put_file(w, "probes", o->probes_file, &work->probes_file, NULL);
	put_file(w, "corpus", o->corpus, &work->corpus, fitted == NULL ? fits : NULL);
	put_file(w, "calibration", o->set == NULL ? o->calibration : NULL, &work->calibration, NULL);
	put_fitted(w, fitted);
	json_w_close(w);
}

static void put_head(struct json_w *w, const struct work *work, const struct json *runs)
{
	const struct eval_series *series = work->series;
	char time[ENV_TIME_BYTES];
	env_time_format(env_wall_ms(series->env), time);
	json_w_member_uint(w, "schema", 1);
	json_w_member_str(w, "software", AMEND_VERSION);
	json_w_member_str(w, "created", time);
	json_w_member_str(w, "command", series->command);
	json_w_member_str(w, "method", series->options->method != NULL ? series->options->method : "");
	json_w_member_str(w, "measures", series->measures != NULL ? series->measures : "");
	for (size_t i = 0; i < 3; i++) {
		static const char *const same[] = { "model", "backend", "threads" };
		json_w_key(w, same[i]);
		json_w_value(w, json_get(json_at(runs, 0), same[i]));
	}
	json_w_key(w, "seeds");
	json_w_open(w, '[');
	for (size_t i = 0; i < series->seed_count; i++)
		json_w_uint(w, series->seeds[i]);
	json_w_close(w);
}

static int assemble(const struct work *work, struct json **report, struct err *e)
{
	struct buf all = BUF_INIT, text = BUF_INIT;
	struct json *runs = NULL;
	struct json_w w;
	buf_printf(&all, "[");
	buf_append(&all, work->runs.data, work->runs.len);
	buf_printf(&all, "]");
	int rc = buf_failed(&all) ? err_set(e, ERR_NOMEM, "out of memory for the report")
				  : json_parse(buf_cstr(&all), all.len, &runs, e);
	buf_free(&all);
	if (rc != 0) {
		err_wrap(e, "finished runs");
		return rc;
	}
	json_w_init(&w, &text);
	json_w_open(&w, '{');
	put_head(&w, work, runs);
	put_files(&w, work, runs);
	json_w_key(&w, "summary");
	eval_summary_put(&w, runs, work->checkpoint_count, work->series->seed_count);
	json_w_key(&w, "runs");
	json_w_value(&w, runs);
	json_w_close(&w);
	json_free(&runs);
	rc = buf_failed(&text) ? err_set(e, ERR_NOMEM, "out of memory for the report")
			       : json_parse(buf_cstr(&text), text.len, report, e);
	buf_free(&text);
	return rc;
}

static int write_file(const char *folder, const char *name, const struct buf *text, struct err *e)
{
	char path[PATH_MAX];
	if (buf_failed(text))
		return err_set(e, ERR_NOMEM, "%s: out of memory", name);
	if (snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int)sizeof(path))
		return err_set(e, ERR_LIMIT, "%.200s…: the path is too long", folder);
	return file_write_atomic(path, text->data, text->len, 0644, e);
}

static int write_all(const struct work *work, const struct json *report, struct buf *notice, struct err *e)
{
	const char *folder = work->series->folder;
	struct eval_images images;
	struct buf text = BUF_INIT;
	json_canonical(report, &text);
	buf_puts(&text, "\n");
	int rc = write_file(folder, "report.json", &text, e);
	buf_clear(&text);
	if (rc == 0)
		rc = eval_plot(report, folder, &images, notice, e);
	if (rc == 0)
		rc = eval_page(report, &images, &text, e);
	if (rc == 0)
		rc = write_file(folder, "report.md", &text, e);
	buf_free(&text);
	const size_t damaged = atomic_load(&work->keep.damaged);
	if (rc == 0 && damaged > 0)
		buf_printf(notice, "%zu kept files did not match their hashes: what they held was made again.\n",
			   damaged);
	return rc;
}

int eval_series_run(const struct eval_series *series, struct json **report, struct buf *notice, struct err *e)
{
	struct work work = { .series = series, .checkpoint_count = series->checkpoint_count, .notice = notice };
	int rc = hash_inputs(&work, e);
	if (rc == 0 && series->folder != NULL)
		rc = eval_keep_open(&work.keep, series->folder, e);
	for (size_t i = 0; i < work.checkpoint_count * series->seed_count && rc == 0; i++)
		rc = one_run(&work, i / series->seed_count, &series->seeds[i % series->seed_count], e);
	if (rc == 0)
		rc = assemble(&work, report, e);
	if (rc == 0 && series->folder != NULL) {
		rc = write_all(&work, *report, notice, e);
		if (rc != 0)
			json_free(report);
	}
	buf_free(&work.runs);
	return rc;
}

static void put_brief(struct json_w *w, const struct json *run)
{
	const struct json *value;
	const char *key;
	json_w_open(w, '{');
	for (size_t i = 0; json_member(run, i, &key, &value); i++) {
		if (strcmp(key, "details") == 0 || strcmp(key, "probes") == 0 || strcmp(key, "scores") == 0)
			continue;
		json_w_key(w, key);
		json_w_value(w, value);
	}
	json_w_close(w);
}

int eval_series_brief(const struct json *report, struct buf *out, struct err *e)
{
	struct json_w w;
	const struct json *value;
	const char *key;
	json_w_init(&w, out);
	json_w_open(&w, '{');
	for (size_t i = 0; json_member(report, i, &key, &value); i++) {
		json_w_key(&w, key);
		if (strcmp(key, "runs") != 0) {
			json_w_value(&w, value);
			continue;
		}
		json_w_open(&w, '[');
		for (size_t r = 0; r < json_length(value); r++)
			put_brief(&w, json_at(value, r));
		json_w_close(&w);
	}
	json_w_close(&w);
	return buf_failed(out) ? err_set(e, ERR_NOMEM, "out of memory for the report") : 0;
}
