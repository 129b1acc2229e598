/* eval_page.c: report.md. */
#include "base/json.h"
#include "daemon/eval_series.h"
#include "daemon/eval_summary.h"

static void put_row(void *context, const struct json *summary, const struct eval_row *row)
{
	struct buf *out = context;
	char cell[EVAL_CELL_BYTES];
	buf_printf(out, "| %s |", row->path);
	for (size_t i = 0; i < json_length(summary); i++) {
		eval_summary_cell(summary, i, row, cell);
		buf_printf(out, " %s |", cell);
	}
	buf_printf(out, " %s |\n", row->what);
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

int eval_page(const struct json *report, const struct eval_images *images, struct buf *out, struct err *e)
{
	const struct json *summary = json_get(report, "summary"), *runs = json_get(report, "runs");
	const struct json *last = json_at(runs, json_length(runs) - 1);
	buf_printf(out, "# Evaluation of %s\n\nAmend %s, %s, %s.\n\n    %s\n\n", text_of(report, "model"),
		   text_of(report, "software"), text_of(report, "backend"), text_of(report, "created"),
		   text_of(report, "command"));
	put_rule(out, summary, "figure");
	put_edits(out, summary);
	eval_summary_figures(summary, put_row, out);
	buf_printf(out, "\n");
	put_rule(out, summary, "time");
	eval_summary_times(summary, EVAL_TIMES, put_row, out);
	if (eval_summary_has(summary, "merged")) {
		buf_printf(out, "\n");
		put_rule(out, summary, "merge");
		eval_summary_merge(summary, put_row, out);
	}
	put_counts(out, last);
	put_files(out, json_get(report, "files"));
	put_plots(out, images);
	return buf_failed(out) ? err_set(e, ERR_NOMEM, "out of memory for the report") : 0;
}
