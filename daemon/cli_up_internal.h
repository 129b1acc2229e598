/* cli_up_internal.h: what the files of `amend up` share: the cluster that one start is about. */
#ifndef AMEND_DAEMON_CLI_UP_INTERNAL_H
#define AMEND_DAEMON_CLI_UP_INTERNAL_H

#include "daemon/cli.h"
#include "daemon/cli_port.h"
#include "daemon/cli_process.h"

#include <limits.h>

struct cli_up_refusal {
	bool key_known;               /* not the coordinator's, which nobody refuses */
	uint8_t key[PROTO_KEY_BYTES]; /* the public one */
	bool refused;                 /* its key, since this start began */
	int64_t first_ms, last_ms;
};
struct cli_cluster {
	struct cli *cli;
	char folder[PATH_MAX]; /* absolute once it is open */
	int folder_fd;         /* locked: one `amend up` at a time works on a folder; -1: not open */
	bool folder_new;       /* nothing was there before this start, which has the lock */
	char model[PATH_MAX];  /* absolute, as what follows, where "" is none */
	char calibration[PATH_MAX], corpus[PATH_MAX], merge_program[PATH_MAX];
	char amendd[PATH_MAX + 16], config[PATH_MAX + 32];
	char endpoint[128], hints[128], http[128];
	struct cli_ports ports;
	char server_key[65];
	uint64_t workers;
	struct cli_process processes[CLI_PROCESSES_MAX];
	int64_t began_ms; /* the start of programs; monotonic, as what follows */
	bool joined[CLI_PROCESSES_MAX];
	struct cli_up_refusal refusals[CLI_PROCESSES_MAX];
	size_t process_count;
	size_t running_count; /* the first of them ran before this start */
};

/* --- cli_up_folder.c: what lies in the folder */
/* The model and the other files that the settings name, looked at before a folder is made. */
int cli_up__files_find(struct cli_cluster *c, struct err *e) MUST_CHECK;
/* Makes the folder where there is none, and locks it: ERR_BUSY while another `amend up` works on it. */
int cli_up__folder_open(struct cli_cluster *c, struct err *e) MUST_CHECK;
void cli_up__folder_close(struct cli_cluster *c);
int cli_up__keys_ensure(struct cli_cluster *c, struct err *e) MUST_CHECK;
/* What the programs of this start read. Until config_keep or config_drop it is what every command reads. */
int cli_up__config_stage(struct cli_cluster *c, struct err *e) MUST_CHECK;
int cli_up__config_keep(struct cli_cluster *c, struct err *e) MUST_CHECK;
void cli_up__config_drop(struct cli_cluster *c);

/* --- cli_up_start.c: the programs */
bool cli_up__runs(const struct cli_cluster *c, const char *name);
int cli_up__start(struct cli_cluster *c, struct err *e) MUST_CHECK; /* and waits until all are there */
void cli_up__stop(struct cli_cluster *c, size_t first);             /* those from `first` on */

#endif
