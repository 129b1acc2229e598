/* metrics_page.h: GET /metrics and GET /health for programs without another HTTP interface. Serves the last text set;
 * the loop thread sets, HTTP threads read. Setting is the sign of life: /health says 503 when it stops. */
#ifndef AMEND_DAEMON_METRICS_PAGE_H
#define AMEND_DAEMON_METRICS_PAGE_H

#include "base/buf.h"
#include "base/env.h"

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct metrics_page;
/* "host:port"; ERR_BUSY names the port. stale_ms: the longest time between two sets of a program that lives. */
int metrics_page_open(const char *listen, int64_t stale_ms, const struct env *env, struct metrics_page **out,
		      struct err *e) MUST_CHECK;
const char *metrics_page_address(const struct metrics_page *page); /* what is really bound */
void metrics_page_set(struct metrics_page *page,
		      const struct buf *text); /* copies; build_info and process_* are added */
void metrics_page_close(struct metrics_page **page);

/* Appends amend_build_info and process_*: every page ends with them. Any thread. */
void metrics_process(struct buf *out);

#endif
