/* metrics.h: metrics as Prometheus text (exposition format 0.0.4), appended to a buffer. Pure. */
#ifndef AMEND_BASE_METRICS_H
#define AMEND_BASE_METRICS_H

#include "base/buf.h"

/* HELP and TYPE; what follows are lines of `name`, with labels. type: "gauge", "counter", "histogram". */
void metrics_head(struct buf *out, const char *name, const char *type, const char *help);
/* One metric without labels, with its head. */
void metrics_value(struct buf *out, const char *name, const char *type, const char *help, double value);
/* Cumulative buckets from counts a bucket, `total` with what lies above the last bound. */
void metrics_histogram(struct buf *out, const char *name, const char *help, const double *bounds,
		       const uint64_t *counts, size_t bound_count, uint64_t total, double sum);

#endif
