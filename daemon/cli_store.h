/* cli_store.h: what the commands on a stopped program's data folder share. */
#ifndef AMEND_DAEMON_CLI_STORE_H
#define AMEND_DAEMON_CLI_STORE_H

#include "daemon/cli.h"
#include "store/store.h"

/* The first word of the command, else the coordinator's folder below --data. ERR_INVALID: too long. */
int cli_store_folder(const struct cli *cli, const struct cli_args *args, char out[PATH_MAX], struct err *e) MUST_CHECK;

#endif
