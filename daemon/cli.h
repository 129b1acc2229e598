/* cli.h: what the commands of `amend` share: the command line, output in tables and JSON, progress bars, the connection
 * to a cluster. Data goes to stdout, everything else to stderr. */
#ifndef AMEND_DAEMON_CLI_H
#define AMEND_DAEMON_CLI_H

#include "base/buf.h"
#include "base/json.h"
#include "daemon/config.h"
#include "proto/loop.h"

#include <signal.h>

enum cli_exit { /* interfaces.md */
		CLI_OK = 0,
		CLI_FAILED = 1,
		CLI_USAGE = 2,
		CLI_NOT_FOUND = 3,
		CLI_DENIED = 4,
		CLI_CONFLICT = 5,
		CLI_UNREACHABLE = 6,
		CLI_VERIFY = 7,
		CLI_PENDING = 8,
		CLI_INTERRUPTED = 130,
};
enum cli_output { CLI_TABLE, CLI_WIDE, CLI_JSON, CLI_JSONL, CLI_YAML, CLI_NAME };

struct cli {
	enum cli_output output; /* -o; CLI_TABLE by default */
	bool no_headers, quiet, verbose, no_color, yes, stderr_is_terminal, stdout_is_terminal;
	int64_t timeout_ms;          /* of one answer */
	int64_t wait_ms;             /* of commands that wait for work to be done: --timeout, else a day */
	char *data;                  /* --data: the folder of `amend up`; default ./amend-data */
	struct daemon_config config; /* endpoint, key and server key: from --config, flags, or <data>/cli.yaml written
					by `amend up` */
	volatile sig_atomic_t interrupted; /* set by SIGINT and SIGTERM */
	struct proto_zmq *zmq;
	struct proto_transport *transport;
	struct proto_client client; /* after cli_connect */
};

/* Connects once; errors say which endpoint, and what to try next. */
int cli_connect(struct cli *cli, struct err *e) MUST_CHECK;
void cli_disconnect(struct cli *cli);
/* Prints "amend: <text>" on stderr and gives the exit code that belongs to the error's code. */
int cli_fail(struct cli *cli, const struct err *e);
int cli_usage(const char *usage); /* prints it on stderr, gives CLI_USAGE */

/* Options of one command: takes --name value / --name=value / --flag off argv. */
struct cli_option {
	const char *name; /* "edits" */
	char letter;      /* 'o' or 0 */
	bool has_value;
	const char **value; /* has_value */
	bool *flag;         /* otherwise */
	const char *help;
};
/* Leaves positional arguments in argv[0..*argc). ERR_INVALID names the unknown option or the missing value. */
int cli_options(const struct cli_option *options, size_t option_count, int *argc, char **argv,
		struct err *e) MUST_CHECK;

/* As cli_options, but what it does not know stays on the line (global options). */
int cli_options_known(const struct cli_option *options, size_t option_count, int *argc, char **argv,
		      struct err *e) MUST_CHECK;
int cli_number(const char *text, const char *name, uint64_t min, uint64_t max, uint64_t *out, struct err *e) MUST_CHECK;
/* Connects when needed, sends, waits for the reply (proto_client_call). */
int cli_call(struct cli *cli, struct msg *request, struct msg_received **reply, struct err *e) MUST_CHECK;
bool cli_is_json(const struct cli *cli);
void cli_json_print(struct buf *text);             /* with a line feed; frees */
void cli_pause(const struct cli *cli, int64_t ms); /* ends early when interrupted */

/* Tables: columns are sized to their content; control characters are escaped; bold headers on a terminal. */
struct cli_table;
int cli_table_new(const char *const *headers, size_t column_count, struct cli_table **out) MUST_CHECK;
void cli_table_cell(struct cli_table *table, const char *format, ...)
	__attribute__((format(printf, 2, 3)));                   /* row by row */
void cli_table_print(struct cli *cli, struct cli_table **table); /* and frees */
void cli_table_free(struct cli_table **table);
/* A JSON object's members as "key  value" lines, nested ones indented. */
void cli_object_print(struct cli *cli, struct buf *json);

/* Progress with rate and time left on stderr: a bar on a terminal, a plain line every few seconds elsewhere; nothing
 * with -q. */
struct cli_progress {
	const char *what, *unit;
	uint64_t total;
	int64_t began_us, shown_us;
	bool drawn;
};
void cli_progress_begin(struct cli *cli, struct cli_progress *progress, const char *what, const char *unit,
			uint64_t total);
void cli_progress_set(struct cli *cli, struct cli_progress *progress, uint64_t done);
void cli_progress_end(struct cli *cli, struct cli_progress *progress, uint64_t done);

/* The commands; argv without the command's own words. Each gives an exit code. */
int cli_up(struct cli *cli, int argc, char **argv);
int cli_down(struct cli *cli, int argc, char **argv);
int cli_edit(struct cli *cli, int argc, char **argv);    /* add|import|list|show|wait */
int cli_version(struct cli *cli, int argc, char **argv); /* list|show */
int cli_merge(struct cli *cli, int argc, char **argv);   /* run */
int cli_fleet(struct cli *cli, int argc, char **argv);   /* status */
int cli_ask(struct cli *cli, int argc, char **argv);
int cli_eval(struct cli *cli, int argc, char **argv);       /* run */
int cli_key(struct cli *cli, int argc, char **argv);        /* new */
int cli_config(struct cli *cli, int argc, char **argv);     /* check|view|sample */
int cli_completion(struct cli *cli, int argc, char **argv); /* bash */

#endif
