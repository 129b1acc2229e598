/* cli_edit.h: what the edit commands share. */
#ifndef AMEND_DAEMON_CLI_EDIT_H
#define AMEND_DAEMON_CLI_EDIT_H

#include "daemon/cli.h"

/* Waits until every accepted edit is served (or has ended otherwise), with a progress bar. Gives an exit code. */
int cli_edit_wait_all(struct cli *cli);
int cli_on_conflict_parse(const char *text, enum msg_on_conflict *out, struct err *e) MUST_CHECK; /* NULL: supersede */

#endif
