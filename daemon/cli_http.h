/* cli_http.h: one HTTP exchange over libcurl, for commands that talk to nodes. */
#ifndef AMEND_DAEMON_CLI_HTTP_H
#define AMEND_DAEMON_CLI_HTTP_H

#include "base/buf.h"

#define CLI_HTTP_BYTES_MAX (16 * 1024 * 1024)

/* POSTs `body` as JSON (NULL: GET). ERR_TIMEOUT or ERR_CLOSED: not reachable, says the URL and why; ERR_LIMIT: an
 * answer over CLI_HTTP_BYTES_MAX. */
int cli_http(const char *url, const char *body, int64_t timeout_ms, long *status, struct buf *answer,
	     struct err *e) MUST_CHECK;

#endif
