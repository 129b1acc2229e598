/* eval_plot.h: the plots of a report. */
#ifndef AMEND_DAEMON_EVAL_PLOT_H
#define AMEND_DAEMON_EVAL_PLOT_H

#include "base/buf.h"
#include "base/json.h"

#define EVAL_PLOTS_MAX 4
/* The names of a report's plots: `scores` (figures against T), `routing-prompt` and `routing-relation`, in family
 * `paper` `routing-gap` (distributions of routing scores by kind of question, of the last run; none of rows that were
 * edited apart, which have no route in common), `time` (an edit's against T). One that would show nothing is none of
 * them: a published version has no `time`. Static strings; returns how many. */
size_t eval_plot_names(const struct json *report, const char *names[EVAL_PLOTS_MAX]);

struct eval_images { /* plots that there are images of */
	const char *names[EVAL_PLOTS_MAX];
	size_t count;
};

/* Writes folder/plots/NAME.dat and NAME.gp, and has gnuplot make NAME.svg and NAME.png of each; what an earlier report
 * left of any plot is removed before. Where there is no gnuplot `notice` gets one sentence, and one for every plot that
 * it fails on: that is no error, and they are not among `images`. Blocks while gnuplot runs. */
int eval_plot(const struct json *report, const char *folder, struct eval_images *images, struct buf *notice,
	      struct err *e) MUST_CHECK;

#endif
