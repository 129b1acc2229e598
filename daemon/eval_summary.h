/* eval_summary.h: the summary of a report: every figure's mean and standard deviation over the seeds, an entry a
 * checkpoint; and its rows for people, which the table and report.md show alike. */
#ifndef AMEND_DAEMON_EVAL_SUMMARY_H
#define AMEND_DAEMON_EVAL_SUMMARY_H

#include "base/json.h"

struct eval_row {
	const char *path; /* of a run's or an entry's member: "rel", "merged.shards.rel" */
	const char *what;
	int digits; /* behind the point */
};

/* The array of the summary, from the runs: those of a checkpoint stand together. */
void eval_summary_put(struct json_w *w, const struct json *runs, size_t checkpoint_count, size_t seed_count);
/* Whether any checkpoint has it. */
bool eval_summary_has(const struct json *summary, const char *path);
/* "0.912 ± 0.004"; "-" where it was not measured. */
#define EVAL_CELL_BYTES 64
void eval_summary_cell(const struct json *summary, size_t checkpoint, const struct eval_row *row,
		       char out[EVAL_CELL_BYTES]);

/* Call `put` for the rows that the summary has, in the order in which they are shown; `row` is valid until it returns.
 */
typedef void eval_row_put(void *context, const struct json *summary, const struct eval_row *row);
void eval_summary_figures(const struct json *summary, eval_row_put *put, void *context);
/* Times, of which the first are an edit's. */
#define EVAL_TIMES_OF_EDIT 2
#define EVAL_TIMES         4
void eval_summary_times(const struct json *summary, size_t count, eval_row_put *put, void *context);
/* Of `--set merged`: the merge, then the shards' own figures. */
void eval_summary_merge(const struct json *summary, eval_row_put *put, void *context);

#endif
