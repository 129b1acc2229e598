/* cli_http.h: one HTTP exchange over libcurl, for commands that talk to nodes. */
#ifndef AMEND_DAEMON_CLI_HTTP_H
#define AMEND_DAEMON_CLI_HTTP_H

#include "base/buf.h"

#include <signal.h>

#define CLI_HTTP_BYTES_MAX (16 * 1024 * 1024)

struct cli_http_ask {
	const char *url, *body; /* body NULL: GET, else POSTed as JSON */
	int64_t timeout_ms;
	const volatile sig_atomic_t *interrupted; /* looked at about once a second */
};
/* ERR_TIMEOUT or ERR_CLOSED: not reachable, says the URL and why; ERR_LIMIT: an answer over CLI_HTTP_BYTES_MAX;
 * ERR_INTERRUPTED. */
int cli_http(const struct cli_http_ask *ask, long *status, struct buf *answer, struct err *e) MUST_CHECK;

#endif
