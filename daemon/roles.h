/* roles.h: what `amendd ROLE` runs: each takes a checked configuration, runs until SIGTERM or SIGINT, and returns the
 * exit code. */
#ifndef AMEND_DAEMON_ROLES_H
#define AMEND_DAEMON_ROLES_H

#include "daemon/config.h"

int daemon_coordinator_run(const struct daemon_config *config, struct err *e) MUST_CHECK;
int daemon_worker_run(const struct daemon_config *config, struct err *e) MUST_CHECK;
int daemon_node_run(const struct daemon_config *config, struct err *e) MUST_CHECK;
/* Path of the shipped file `name` (calibration.tsv): share/ beside the program (build tree), else ../share/amend
 * (installed). */
int daemon_data_file(const char *name, char *out, size_t out_bytes, struct err *e) MUST_CHECK;
/* Folder of the running program. */
int daemon_program_folder(char *out, size_t out_bytes, struct err *e) MUST_CHECK;

#endif
