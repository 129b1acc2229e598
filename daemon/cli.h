/* cli.h: what the commands of `amend` share: the command line, output in tables and JSON, progress bars, the connection
 * to a cluster. Data goes to stdout, everything else to stderr. */
#ifndef AMEND_DAEMON_CLI_H
#define AMEND_DAEMON_CLI_H

#include "base/buf.h"
#include "base/json.h"
#include "daemon/config.h"
#include "proto/loop.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>

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

/* While work is waited for, a call without an answer is made again until the wait's own end; people are told once. */
struct cli_progress;
struct cli_wait {
	int64_t until_ms;              /* monotonic */
	struct cli_progress *progress; /* what is drawn meanwhile; NULL: nothing */
	bool told;
};

struct cli {
	enum cli_output output; /* -o; CLI_TABLE by default */
	bool no_headers, quiet, verbose, no_color, stderr_is_terminal, stdout_is_terminal;
	int64_t timeout_ms;          /* of one answer */
	bool timeout_given;          /* --timeout */
	int64_t wait_ms;             /* of commands that wait for work to be done: --timeout, else a day */
	const char *data;            /* --data: the folder of `amend up`; default ./amend-data */
	struct daemon_config config; /* endpoint, key and server key: from --config, flags, or <data>/amend.yaml written
					by `amend up` */
	bool node_known;             /* node.listen is that of this cluster's configuration file */
	struct cli_wait *wait;       /* NULL: no work is waited for, and silence is a failure */
	volatile sig_atomic_t interrupted; /* set by SIGINT and SIGTERM */
	const struct env *env;
	void (*pause)(void *context, int64_t ms); /* NULL: sleeps */
	void *pause_context;
	struct proto_keypair keys; /* after cli_connect over ZeroMQ */
	struct proto_zmq *zmq;
	struct proto_transport *transport; /* set before cli_run: used as it is, and not closed */
	struct proto_client client;        /* after cli_connect */
	bool connected;
};

/* From now on SIGINT and SIGTERM set cli->interrupted, and a broken pipe is an error like others. To be called by the
 * main thread, which then takes them on a stack of their own: oneDNN's and OpenMP's code may have the stack pointer
 * elsewhere (oneDNN's float32 products have it in their workspace on the heap), and the kernel writes a signal's frame
 * below it. */
int cli_signals_open(struct cli *cli, struct err *e) MUST_CHECK;

/* Runs one command line, argv[0] being the program's name, and gives its exit code. Output that could not be written is
 * a failure, but for a reader that has closed its pipe: it has what it wanted. */
int cli_run(struct cli *cli, int argc, char **argv);

/* Connects once; errors say which endpoint, and what to try next. */
int cli_connect(struct cli *cli, struct err *e) MUST_CHECK;
void cli_disconnect(struct cli *cli);
/* Prints "amend: <text>" on stderr and gives the exit code that belongs to the error's code. */
int cli_fail(struct cli *cli, const struct err *e);
/* The same for a wrong command line: CLI_USAGE, but for a lack of memory. */
int cli_misuse(const struct err *e);
/* Adds what to do next; gives the error's code. */
int cli_add_step(struct err *e, const char *step);

/* The file in `folder` whose settings hold: amend.yaml, but those of an `amend up` that has not ended, or was killed.
 */
int cli_config_path(const char *folder, char out[PATH_MAX], struct err *e) MUST_CHECK;
int cli_start_mark(const char *folder, char out[PATH_MAX], struct err *e) MUST_CHECK; /* the file that says so */
bool cli_start_unfinished(const char *folder);

/* A file to read is there and is no folder; the errors say what to do, `step` where nothing has that name. */
int cli_file_check(const char *path, const char *step, struct err *e) MUST_CHECK;

#define CLI_NEEDS_MODEL                                                                                                \
	"needs --model FILE, a GGUF file of the llama architecture (scripts/fetch-model gets a small one)"

/* --- Commands and their command lines: one table makes the parser, the help and the completion. */
#define CLI_FLAGS_MAX 20
#define CLI_STATE     "STATE" /* value of a flag that takes the name of an edit's state */
struct cli_args;
struct cli_flag {
	const char *name;  /* "edits" */
	const char *value; /* what stands for its value in the help; NULL: a switch. "a|b|c": completed */
	const char *help;
};
struct cli_command {
	const char *noun, *verb; /* verb NULL: none */
	const char *words;       /* "FILE"; optional ones in brackets; "" none */
	int words_min, words_max;
	const char *what; /* one line */
	const char *more; /* the rest of --help, whole lines; NULL none */
	int (*run)(struct cli *cli, const struct cli_args *args);
	unsigned settings; /* enum daemon_role: the settings that --help lists */
	bool names;        /* knows -o name */
	bool offline;      /* reads no configuration of a cluster */
	struct cli_flag flags[CLI_FLAGS_MAX];
};
extern const struct cli_command cli_commands[];
extern const size_t cli_command_count;
extern const struct cli_flag cli_global_flags[]; /* ends with a NULL name */

struct cli_args {
	const struct cli_command *command; /* NULL: none was named */
	const char *noun;                  /* of a command without its verb, else NULL */
	const char *values[CLI_FLAGS_MAX]; /* "" for a switch; of a flag that stands there again the last one */
	struct cli_given {                 /* every flag of the command as the line has it, freed by cli_args_fini */
		const struct cli_flag *flag;
		const char *value;
	} * given;
	size_t given_count;
	const char *config_file;
	char **words; /* in argv, which is reordered */
	int word_count;
	char **settings; /* argv of the settings, freed by cli_args_fini */
	int setting_count;
	bool help, version;
};
/* Sorts a command line into the command, its options, the global ones (set in `cli`) and settings. ERR_INVALID says
 * what is wrong and the nearest right word; args->command is set as far as it was known. */
int cli_args_parse(struct cli *cli, int argc, char **argv, struct cli_args *args, struct err *e) MUST_CHECK;
void cli_args_fini(struct cli_args *args);
const char *cli_value(const struct cli_args *args, const char *flag); /* NULL: not given */
/* Of a flag that may be given several times: its value number `at`, from 0; NULL: it was not given so often. */
const char *cli_value_at(const struct cli_args *args, const char *flag, size_t at);
bool cli_switch(const struct cli_args *args, const char *flag);

void cli_help_all(struct buf *out);
void cli_help_noun(const char *noun, struct buf *out);
void cli_help_command(const struct cli_command *command, struct buf *out);
void cli_help_usage(const struct cli_command *command, struct buf *out); /* its one line */
void cli_completion_bash(struct buf *out);

int cli_set_check(const char *set, struct err *e) MUST_CHECK; /* of --set: merged, retrieve, or NULL */
int cli_number(const char *text, const char *name, uint64_t min, uint64_t max, uint64_t *out, struct err *e) MUST_CHECK;
/* Connects when needed, sends, waits for the reply (proto_client_call); inside a wait, again and again. */
int cli_call(struct cli *cli, struct msg *request, struct msg_received **reply, struct err *e) MUST_CHECK;
void cli_pause(const struct cli *cli, int64_t ms); /* ends early when interrupted */
/* Begins a wait of cli->wait_ms; `wait` is borrowed until cli->wait is NULL again. */
void cli_wait_begin(struct cli *cli, struct cli_wait *wait);
bool cli_wait_over(const struct cli *cli);

/* --- Output */
/* printf of one line, whose end is added: control characters are escaped, as in tables, since what files hold and other
 * machines say is in it. Cut at 4 KiB. */
void cli_line(FILE *to, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool cli_is_structured(const struct cli *cli); /* json, jsonl or yaml: the command hands JSON to cli_emit */
/* Prints a JSON text in the form of -o, and frees it: jsonl puts each element of an array on a line of its own. */
int cli_emit(struct cli *cli, struct buf *json);
bool cli_output_open(void);             /* false: the reader has closed the pipe, more is in vain */
int cli_out_of_memory(struct cli *cli); /* says so; CLI_FAILED */
/* The end of a noun behind a count. */
static inline const char *cli_plural(uint64_t count)
{
	return count == 1 ? "" : "s";
}

/* Tables: columns are sized to their content; control characters are escaped; bold headers on a terminal. */
struct cli_table;
int cli_table_new(const char *const *headers, size_t column_count, struct cli_table **out) MUST_CHECK;
void cli_table_cell(struct cli_table *table, const char *format, ...)
	__attribute__((format(printf, 2, 3)));                                      /* row by row */
void cli_table_cell_cut(struct cli_table *table, size_t columns, const char *text); /* one of at most so many */
int cli_table_print(struct cli *cli, struct cli_table **table);                     /* and frees; gives an exit code */
void cli_table_free(struct cli_table **table);
/* Prints a JSON object's members as "key  value" lines, nested ones indented, and frees it. Gives an exit code. */
int cli_object_print(struct cli *cli, struct buf *json);

/* Progress with rate and time left, or with what is awaited, on stderr: a bar on a terminal, a plain line every few
 * seconds elsewhere; nothing with -q. */
struct cli_progress {
	const char *what, *unit;
	const char *awaited; /* set after begin: said instead of a rate that would mean nothing; NULL none */
	uint64_t total;
	int64_t began_us, shown_us;
	bool drawn;
};
void cli_progress_begin(struct cli *cli, struct cli_progress *progress, const char *what, const char *unit,
			uint64_t total);
void cli_progress_set(struct cli *cli, struct cli_progress *progress, uint64_t done);
void cli_progress_end(struct cli *cli, struct cli_progress *progress, uint64_t done);
/* What is printed next stands on a line of its own; the bar stays as it is. */
void cli_progress_break(struct cli *cli, struct cli_progress *progress);

/* --- The commands. Each gives an exit code. */
int cli_up(struct cli *cli, const struct cli_args *args);
int cli_down(struct cli *cli, const struct cli_args *args);
int cli_edit_add(struct cli *cli, const struct cli_args *args);
int cli_edit_import(struct cli *cli, const struct cli_args *args);
int cli_edit_list(struct cli *cli, const struct cli_args *args);
int cli_edit_show(struct cli *cli, const struct cli_args *args);
int cli_edit_revoke(struct cli *cli, const struct cli_args *args);
int cli_edit_wait(struct cli *cli, const struct cli_args *args);
int cli_version_list(struct cli *cli, const struct cli_args *args);
int cli_version_show(struct cli *cli, const struct cli_args *args);
int cli_version_rollback(struct cli *cli, const struct cli_args *args);
int cli_version_resume(struct cli *cli, const struct cli_args *args);
int cli_version_candidate(struct cli *cli, const struct cli_args *args);
int cli_version_approve(struct cli *cli, const struct cli_args *args);
int cli_version_reject(struct cli *cli, const struct cli_args *args);
/* Sends it and prints what came of it; `not_done` begins what is said when it was refused. Gives an exit code. */
int cli_publish_call(struct cli *cli, const struct msg_publish *ask, const char *not_done);
/* Of --reason, which `command` needs. */
int cli_publish_reason(const struct cli_args *args, const char *command, struct msg_text *out,
		       struct err *e) MUST_CHECK;
int cli_merge_run(struct cli *cli, const struct cli_args *args);
int cli_fleet_status(struct cli *cli, const struct cli_args *args);
int cli_ask(struct cli *cli, const struct cli_args *args);
int cli_calibrate(struct cli *cli, const struct cli_args *args);
int cli_eval_run(struct cli *cli, const struct cli_args *args);
int cli_eval_compare(struct cli *cli, const struct cli_args *args);
int cli_key_new(struct cli *cli, const struct cli_args *args);
int cli_store_verify(struct cli *cli, const struct cli_args *args);
int cli_store_backup(struct cli *cli, const struct cli_args *args);
int cli_store_gc(struct cli *cli, const struct cli_args *args);
int cli_store_restore(struct cli *cli, const struct cli_args *args);
int cli_audit_log(struct cli *cli, const struct cli_args *args);
int cli_audit_fsck(struct cli *cli, const struct cli_args *args);
int cli_key_list(struct cli *cli, const struct cli_args *args);
int cli_key_allow(struct cli *cli, const struct cli_args *args);
int cli_key_revoke(struct cli *cli, const struct cli_args *args);
int cli_key_rotate(struct cli *cli, const struct cli_args *args);
int cli_config_check(struct cli *cli, const struct cli_args *args);
int cli_config_view(struct cli *cli, const struct cli_args *args);
int cli_config_sample(struct cli *cli, const struct cli_args *args);
int cli_completion(struct cli *cli, const struct cli_args *args);

#endif
