/* wise_settings.h: the settings of the paper's family as the editor takes them. */
#ifndef AMEND_DAEMON_WISE_SETTINGS_H
#define AMEND_DAEMON_WISE_SETTINGS_H

#include "daemon/config.h"
#include "editor/config.h"

/* Both modes merge k finished shards at a time (WISE, section 2.3.3). */
enum wise_mode {
	WISE_RETRIEVE, /* a memory for every k shards, told apart by gap */
	WISE_MERGE,    /* one memory for all of them */
};

enum editor_family daemon_family(const struct daemon_config *config);
enum wise_mode daemon_wise_mode(const struct daemon_config *config);
/* ERR_INVALID names a setting that was given and that the family does not have. */
int daemon_family_check(const struct daemon_config *config, struct err *e) MUST_CHECK;
void daemon_wise_config(const struct daemon_config *config, struct editor_wise_config *out);

#endif
