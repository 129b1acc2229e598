/* eval_page.c: report.md. */
#include "base/json.h"
#include "daemon/eval_series.h"

#include <stdio.h>
#include <string.h>

/* "0.912 ± 0.004"; "-" where nothing was measured. */
static void put_cell(struct buf *out, const struct json *value, int digits)
{
	const struct json *sd = json_get(value, "sd");
	if (value == NULL)
		buf_printf(out, " - |");
	else if (sd == NULL)
		buf_printf(out, " %.*f |", digits, json_number(json_get(value, "mean")));
	else
		buf_printf(out, " %.*f ± %.*f |", digits, json_number(json_get(value, "mean")), digits,
			   json_number(sd));
}

static bool is_measured(const struct json *summary, const char *path)
{
	for (size_t i = 0; i < json_length(summary); i++) {
		if (eval_series_get(json_at(summary, i), path) != NULL)
			return true;
	}
	return false;
}

static void put_digits(struct buf *out, const struct json *summary, const char *path, const char *what, int digits)
{
	if (!is_measured(summary, path))
		return;
	buf_printf(out, "| %s |", path);
	for (size_t i = 0; i < json_length(summary); i++)
		put_cell(out, eval_series_get(json_at(summary, i), path), digits);
	buf_printf(out, " %s |\n", what);
}

static void put_row(struct buf *out, const struct json *summary, const char *path, const char *what)
{
	put_digits(out, summary, path, what, 3);
}

static void put_rule(struct buf *out, const struct json *summary, const char *first)
{
	buf_printf(out, "| %s |", first);
	for (size_t i = 0; i < json_length(summary); i++)
		buf_printf(out, " T = %lld |", (long long)json_integer(json_get(json_at(summary, i), "rows")));
	buf_printf(out, " |\n|---|");
	for (size_t i = 0; i < json_length(summary); i++)
		buf_printf(out, "--:|");
	buf_printf(out, "---|\n");
}

/* Of T rows, how many are edits that are in force. */
static void put_edits(struct buf *out, const struct json *summary)
{
	buf_printf(out, "| edits |");
	for (size_t i = 0; i < json_length(summary); i++)
		buf_printf(out, " %lld |", (long long)json_integer(json_get(json_at(summary, i), "edits")));
	buf_printf(out, " of the first T rows |\n");
}

static const char *text_of(const struct json *object, const char *key)
{
	const char *text = json_string(json_get(object, key), NULL);
	return text != NULL ? text : "-";
}

static void put_files(struct buf *out, const struct json *files)
{
	buf_printf(out, "\n| file | SHA-256 | fitted on it |\n|---|---|---|\n");
	for (size_t i = 0; i < json_length(files); i++) {
		const struct json *file = json_at(files, i);
		const bool fitting = json_bool(json_get(file, "fitting"));
		buf_printf(out, "| %s: `%s` | `%s` | %s |\n", text_of(file, "role"), text_of(file, "path"),
			   text_of(file, "sha256"), fitting ? text_of(file, "fits") : "nothing");
	}
}

static void put_counts(struct buf *out, const struct json *run)
{
	static const char *const counts[] = { "bad_lines", "duplicates",       "superseded",
					      "rejected",  "missing",          "not_in_force",
					      "failed",    "probes_same_form", "rephrases_verbatim" };
	buf_printf(out, "\nLast run: %lld edits", (long long)json_integer(json_get(run, "edits")));
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		buf_printf(out, ", %s %lld", counts[i], (long long)json_integer(json_get(run, counts[i])));
	buf_printf(out, ".\n");
}

static void put_plots(struct buf *out, const struct eval_images *images)
{
	buf_printf(out, "\n");
	for (size_t i = 0; i < images->count; i++)
		buf_printf(out, "![%s](plots/%s.svg)\n", images->names[i], images->names[i]);
}

/* The shards' own figures stand below those of the merge. */
static void put_merged(struct buf *out, const struct json *summary)
{
	if (!is_measured(summary, "merged"))
		return;
	buf_printf(out, "\n");
	put_rule(out, summary, "merge");
	for (size_t m = 0; m < EVAL_MERGE_FIGURES; m++)
		put_digits(out, summary, eval_merge_figures[m].path, eval_merge_figures[m].what,
			   eval_merge_figures[m].digits);
	for (size_t f = 0; f < EDITOR_FIGURE_COUNT; f++) {
		char path[EVAL_PATH_BYTES];
		snprintf(path, sizeof(path), EVAL_SHARDS_PATH "%s", editor_figure_names[f]);
		put_row(out, summary, path, editor_figure_texts[f]);
	}
}

int eval_page(const struct json *report, const struct eval_images *images, struct buf *out, struct err *e)
{
	const struct json *summary = json_get(report, "summary"), *runs = json_get(report, "runs");
	const struct json *last = json_at(runs, json_length(runs) - 1);
	buf_printf(out, "# Evaluation of %s\n\nAmend %s, %s, %s.\n\n    %s\n\n", text_of(report, "model"),
		   text_of(report, "software"), text_of(report, "backend"), text_of(report, "created"),
		   text_of(report, "command"));
	put_rule(out, summary, "figure");
	put_edits(out, summary);
	for (size_t f = 0; f < EDITOR_FIGURE_COUNT; f++)
		put_row(out, summary, editor_figure_names[f], editor_figure_texts[f]);
	buf_printf(out, "\n");
	put_rule(out, summary, "time");
	put_row(out, summary, "seconds_per_edit", "training and re-test, wall clock");
	put_row(out, summary, "core_seconds_per_edit", "the same, processor time of all threads");
	put_row(out, summary, "train_seconds", "all edits");
	put_row(out, summary, "evaluate_seconds", "this measuring");
	put_merged(out, summary);
	put_counts(out, last);
	put_files(out, json_get(report, "files"));
	put_plots(out, images);
	return buf_failed(out) ? err_set(e, ERR_NOMEM, "out of memory for the report") : 0;
}
