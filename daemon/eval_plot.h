/* eval_plot.h: the plots of a report. */
#ifndef AMEND_DAEMON_EVAL_PLOT_H
#define AMEND_DAEMON_EVAL_PLOT_H

#include "base/buf.h"
#include "base/json.h"

/* Writes folder/plots/NAME.dat and NAME.gp, and has gnuplot make NAME.svg and NAME.png of each: `scores` (figures
 * against T), `routing-prompt` and `routing-relation` (distributions of routing scores by kind of question, of the last
 * run), `time` (an edit's against T). Where there is no gnuplot, or it fails, `notice` gets one sentence, and that is
 * no error. Blocks while gnuplot runs. */
int eval_plot(const struct json *report, const char *folder, struct buf *notice, struct err *e) MUST_CHECK;

#endif
