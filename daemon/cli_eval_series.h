/* cli_eval_series.h: the part of `amend eval run` that measures several times and writes reports. Inside daemon/ only.
 */
#ifndef AMEND_DAEMON_CLI_EVAL_SERIES_H
#define AMEND_DAEMON_CLI_EVAL_SERIES_H

#include "daemon/cli.h"
#include "daemon/eval_series.h"

struct cli_series {
	struct cli *cli;
	bool wanted; /* --checkpoints, --repeat or --report was given */
	bool details;
	struct eval_series series;
	struct buf command, method, measures;
	void (*before_run)(void *context); /* the output is about to say something; may be NULL */
	void *context;
};

/* Reads the command line into `out`, and the settings into options->method. ERR_INVALID. Free with fini, also after an
 * error. */
int cli_series_read(struct cli *cli, const struct cli_args *args, struct eval_options *options, struct cli_series *out,
		    struct err *e) MUST_CHECK;
void cli_series_fini(struct cli_series *series);
/* Which rows of the file are no edits of the run, and why, to standard output. */
struct cli_left_out {
	uint64_t duplicates, superseded, rejected;
	uint64_t missing, not_in_force; /* of a published version */
};
void cli_series_left_out_print(const struct cli_left_out *rows);
/* Measures, writes the report's folder, and prints the report. bad_lines: some were left out, and are said. */
int cli_series_run(struct cli_series *series, struct eval_options *options, bool *bad_lines, struct err *e) MUST_CHECK;

#endif
