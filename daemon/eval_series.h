/* eval_series.h: evaluations one after the other, of the first T edits and by several seeds, put together in one report
 * (docs/evaluation.md says what it holds). With a folder, what is finished is kept there, and a run that was
 * interrupted goes on when it is started again. */
#ifndef AMEND_DAEMON_EVAL_SERIES_H
#define AMEND_DAEMON_EVAL_SERIES_H

#include "daemon/eval_file.h"
#include "daemon/eval_plot.h"

#define EVAL_CHECKPOINTS_MAX 32u
#define EVAL_SEEDS_MAX       64u

struct eval_series {
	const struct eval_options *options;
	size_t checkpoints[EVAL_CHECKPOINTS_MAX]; /* rows, ascending; 0: all. Where the file has fewer the first that
						     it does not reach is measured with all of them, and said in
						     `notice`; the others are left out */
	size_t checkpoint_count;                  /* ≥ 1 */
	uint64_t seeds[EVAL_SEEDS_MAX];
	size_t seed_count;  /* ≥ 1 */
	const char *folder; /* of the report, made where it is not there; NULL: nothing is written */
	/* told in the report */
	const char *command;
	const char *measures; /* settings that shape the measuring alone, as text; may be NULL */
	const struct env *env;
	/* Before each run; `kept`: it is finished already. May be NULL. */
	void (*on_run)(void *context, size_t index, size_t count, size_t edits, uint64_t seed, bool kept);
	void *context;
};

/* *report: the root of report.json; free it. With a folder: report.json, report.md and plots (eval_plot.h) are written.
 * `notice`: what the reader should know (gnuplot is missing; kept files that were damaged), one sentence a line. Errors
 * as of eval_file_run. */
int eval_series_run(const struct eval_series *series, struct json **report, struct buf *notice,
		    struct err *e) MUST_CHECK;
/* Without the rows of edits and probes and the routing scores. */
int eval_series_brief(const struct json *report, struct buf *out, struct err *e) MUST_CHECK;
/* Tables for people to paste and links to `images` (Markdown); eval_page.c. */
int eval_page(const struct json *report, const struct eval_images *images, struct buf *out, struct err *e) MUST_CHECK;

#endif
