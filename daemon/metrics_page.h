/* metrics_page.h: GET /metrics and GET /health for programs without another HTTP interface. Serves the last text set; the loop thread
 * sets, HTTP threads read. Implemented in http.c, the one file that includes microhttpd.h. */
#ifndef AMEND_DAEMON_METRICS_PAGE_H
#define AMEND_DAEMON_METRICS_PAGE_H

#include "base/buf.h"

struct metrics_page;
int metrics_page_open(const char *listen, struct metrics_page **out, struct err *e) MUST_CHECK; /* "host:port"; ERR_BUSY names the port */
void metrics_page_set(struct metrics_page *page, const struct buf *text); /* copies; build_info and process_* are added */
void metrics_page_close(struct metrics_page **page);

#endif
