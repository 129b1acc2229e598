/* eval_compare.h: two reports of evaluations side by side, with bootstrap intervals of the differences (Efron and
 * Tibshirani 1993, percentile method). Pure. */
#ifndef AMEND_DAEMON_EVAL_COMPARE_H
#define AMEND_DAEMON_EVAL_COMPARE_H

#include "base/buf.h"
#include "base/json.h"

#define EVAL_RESAMPLES 10000u

/* Appends {"resamples", "seed", "checkpoints": [{"t_a", "t_b", "edits_a", "edits_b", "figures": [{"figure", "a", "b",
 * "difference", "low", "high", "rows", "paired"}]}]} of the checkpoints that both have, or, where they share none, of
 * the last of each. A checkpoint is known by the rows that it took (T). A row is an edit or a probe by its id, its
 * values the mean over the seeds. A figure is compared over the rows that both have, resampled together; where they
 * share none, over all rows of each, resampled apart (`rows` is then the smaller number, `paired` false). difference is
 * b − a, [low, high] its 95 % interval. a, b: report.json, or the output of `amend eval run --details -o json`.
 * ERR_INVALID: no such report, or one without rows. Same reports and seed: same bytes. */
int eval_compare(const struct json *a, const struct json *b, size_t resamples, uint64_t seed, struct buf *out,
		 struct err *e) MUST_CHECK;

#endif
