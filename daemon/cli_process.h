/* cli_process.h: the server processes of `amend up`: started, found again by pid file, stopped. A pid file holds "pid
 * starttime", so that a number that the system gave to another process meanwhile is never signalled. */
#ifndef AMEND_DAEMON_CLI_PROCESS_H
#define AMEND_DAEMON_CLI_PROCESS_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define CLI_PROCESSES_MAX 80 /* of one folder */

struct cli_process {
	char name[64]; /* "worker-0" */
	pid_t pid;
	uint64_t start_time; /* field 22 of /proc/PID/stat */
	int64_t log_from;    /* bytes that its log had when it was started; 0: it ran before */
};

/* Starts argv[0] in a session of its own with output to log_path (appended), once FOLDER/run/NAME.pid is written. */
int cli_process_start(const char *folder, const char *name, char *const argv[], const char *log_path,
		      struct cli_process *out, struct err *e) MUST_CHECK;
/* Reads every pid file in FOLDER/run; the files of processes that are gone are removed. At most `max` are returned. */
int cli_process_list(const char *folder, struct cli_process *out, size_t max, size_t *count, struct err *e) MUST_CHECK;
bool cli_process_alive(const struct cli_process *process);
bool cli_process_suspended(const struct cli_process *process); /* by SIGSTOP or a terminal */
void cli_process_signal(const struct cli_process *process, int signal_number);
/* Waits until it has ended, at most so long. False: it runs still. */
bool cli_process_wait(const struct cli_process *process, int64_t ms) MUST_CHECK;
void cli_process_forget(const char *folder,
			const struct cli_process *process);             /* removes the pid file; reaps when a child */
uint64_t cli_process_resident_bytes(const struct cli_process *process); /* 0 when it is gone */
/* Why it failed, as it has logged itself: reason="…", for "worker-0 ended: …"; where it has said nothing, which log. */
void cli_process_last_words(const struct cli_process *process, const char *log_path, char *out, size_t out_bytes);
/* The reason of the last warning or error that it has logged; false: none, and `out` is as it was. */
bool cli_process_last_reason(const struct cli_process *process, const char *log_path, char *out, size_t out_bytes);

#endif
