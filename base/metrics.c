#include "base/metrics.h"

#include "base/json.h"

#include <inttypes.h>
#include <math.h>

void metrics_head(struct buf *out, const char *name, const char *type, const char *help)
{
	buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void metrics_value(struct buf *out, const char *name, const char *type, const char *help, double value)
{
	metrics_head(out, name, type, help);
	struct json_w w;
	json_w_init(&w, out);
	buf_printf(out, "%s ", name);
	if (isfinite(value))
		json_w_real(&w, value);
	else
		buf_printf(out, "%g", value);
	buf_u8(out, '\n');
}

void metrics_histogram(struct buf *out, const char *name, const char *help, const double *bounds,
		       const uint64_t *counts, size_t bound_count, uint64_t total, double sum)
{
	uint64_t below = 0;
	metrics_head(out, name, "histogram", help);
	for (size_t i = 0; i < bound_count; i++) {
		below += counts[i];
		buf_printf(out, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name, bounds[i], below);
	}
	buf_printf(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_sum %.9g\n%s_count %" PRIu64 "\n", name, total, name,
		   sum, name, total);
}
