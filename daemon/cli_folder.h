/* cli_folder.h: the data folder of `amend up`. */
#ifndef AMEND_DAEMON_CLI_FOLDER_H
#define AMEND_DAEMON_CLI_FOLDER_H

#include "base/err.h"

/* ERR_CORRUPT: a cluster has lived in the folder, and its coordinator's ledger is gone: a start would begin an empty
 * one beside the old one's keys and caches. A folder that is not there is fine. */
int cli_folder_check(const char *folder, struct err *e) MUST_CHECK;
/* Makes the folder and those in it. The coordinator's comes before the keys: who has keys has had it. */
int cli_folder_make(const char *folder, struct err *e) MUST_CHECK;

#endif
