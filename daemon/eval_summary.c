#include "daemon/eval_summary.h"

#include "editor/evaluate.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define PATH_BYTES  64
#define SHARDS_PATH "merged.shards."

static const struct eval_row times[] = {
	{ "seconds_per_edit", "training and re-test, wall clock", 3 },
	{ "core_seconds_per_edit", "the same, processor time of all threads", 3 },
	{ "train_seconds", "all edits", 3 },
	{ "evaluate_seconds", "this measuring", 3 },
	{ "calibrate_seconds", "where the calibration was not kept", 3 },
};
static const struct eval_row merges[] = {
	{ "merged.passed", "edits that pass the re-test with the merged memory", 0 },
	{ "merged.rounds", "of training and putting together", 0 },
	{ "merged.reduces", "sums over the shards", 0 },
	{ "merged.reduced_bytes", "of these sums together", 0 },
	{ "merged.delta_bytes", "the merged memory", 0 },
	{ "merged.seconds", "merging and that re-test", 3 },
};
#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

static const struct json *get(const struct json *object, const char *path)
{
	char key[PATH_BYTES];
	for (;;) {
		const size_t len = strcspn(path, ".");
		if (len >= sizeof(key))
			return NULL;
		memcpy(key, path, len);
		key[len] = '\0';
		object = json_get(object, key);
		if (path[len] == '\0')
			return object;
		path += len + 1;
	}
}

/* ---- Making it */

struct seeds { /* the runs of one checkpoint */
	const struct json *runs;
	size_t first, count;
};

/* The last part of the path is the member's name. */
static void put_mean(struct json_w *w, const struct seeds *s, const char *path)
{
	double sum = 0, squares = 0;
	size_t n = 0;
	for (size_t i = 0; i < s->count; i++) {
		const struct json *value = get(json_at(s->runs, s->first + i), path);
		if (value == NULL || json_type(value) != JSON_NUMBER)
			continue;
		sum += json_number(value);
		squares += json_number(value) * json_number(value);
		n++;
	}
	if (n == 0)
		return;
	const double mean = sum / (double)n, variance = n > 1 ? (squares - sum * mean) / (double)(n - 1) : 0;
	const char *dot = strrchr(path, '.');
	json_w_key(w, dot != NULL ? dot + 1 : path);
	json_w_open(w, '{');
	json_w_member_real(w, "mean", mean);
	if (n > 1)
		json_w_member_real(w, "sd", sqrt(variance > 0 ? variance : 0));
	json_w_close(w);
}

static void put_figures(struct json_w *w, const struct seeds *s, const char *before)
{
	for (size_t f = 0; f < EDITOR_FIGURE_COUNT; f++) {
		char path[PATH_BYTES];
		snprintf(path, sizeof(path), "%s%s", before, editor_figure_names[f]);
		put_mean(w, s, path);
	}
}

static void put_merge(struct json_w *w, const struct seeds *s)
{
	if (json_get(json_at(s->runs, s->first), "merged") == NULL)
		return;
	json_w_key(w, "merged");
	json_w_open(w, '{');
	for (size_t m = 0; m < COUNT(merges); m++)
		put_mean(w, s, merges[m].path);
	json_w_key(w, "shards");
	json_w_open(w, '{');
	put_figures(w, s, SHARDS_PATH);
	json_w_close(w);
	json_w_close(w);
}

void eval_summary_put(struct json_w *w, const struct json *runs, size_t checkpoint_count, size_t seed_count)
{
	json_w_open(w, '[');
	for (size_t c = 0; c < checkpoint_count; c++) {
		const struct seeds s = { runs, c * seed_count, seed_count };
		const struct json *run = json_at(runs, s.first);
		json_w_open(w, '{');
		json_w_member_uint(w, "rows", (uint64_t)json_integer(json_get(run, "rows")));
		json_w_member_uint(w, "edits", (uint64_t)json_integer(json_get(run, "edits")));
		json_w_member_uint(w, "seeds", seed_count);
		put_figures(w, &s, "");
		for (size_t t = 0; t < COUNT(times); t++)
			put_mean(w, &s, times[t].path);
		put_merge(w, &s);
		json_w_close(w);
	}
	json_w_close(w);
}

/* ---- Reading it */

bool eval_summary_has(const struct json *summary, const char *path)
{
	for (size_t i = 0; i < json_length(summary); i++) {
		if (get(json_at(summary, i), path) != NULL)
			return true;
	}
	return false;
}

void eval_summary_cell(const struct json *summary, size_t checkpoint, const struct eval_row *row,
		       char out[EVAL_CELL_BYTES])
{
	const struct json *value = get(json_at(summary, checkpoint), row->path), *sd = json_get(value, "sd");
	const double mean = json_number(json_get(value, "mean"));
	if (value == NULL)
		snprintf(out, EVAL_CELL_BYTES, "-");
	else if (sd == NULL)
		snprintf(out, EVAL_CELL_BYTES, "%.*f", row->digits, mean);
	else
		snprintf(out, EVAL_CELL_BYTES, "%.*f ± %.*f", row->digits, mean, row->digits, json_number(sd));
}

static void show(const struct json *summary, const struct eval_row *rows, size_t count, eval_row_put *put,
		 void *context)
{
	for (size_t i = 0; i < count; i++) {
		if (eval_summary_has(summary, rows[i].path))
			put(context, summary, &rows[i]);
	}
}

static void show_figures(const struct json *summary, const char *before, eval_row_put *put, void *context)
{
	for (size_t f = 0; f < EDITOR_FIGURE_COUNT; f++) {
		char path[PATH_BYTES];
		snprintf(path, sizeof(path), "%s%s", before, editor_figure_names[f]);
		const struct eval_row row = { path, editor_figure_texts[f], 3 };
		show(summary, &row, 1, put, context);
	}
}

void eval_summary_figures(const struct json *summary, eval_row_put *put, void *context)
{
	show_figures(summary, "", put, context);
}

void eval_summary_times(const struct json *summary, size_t count, eval_row_put *put, void *context)
{
	show(summary, times, count, put, context);
}

void eval_summary_merge(const struct json *summary, eval_row_put *put, void *context)
{
	show(summary, merges, COUNT(merges), put, context);
	show_figures(summary, SHARDS_PATH, put, context);
}
