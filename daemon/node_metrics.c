/* node_metrics.c: see node_metrics.h. */
#include "daemon/node_metrics.h"

#include "base/fault.h"
#include "base/metrics.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

#define BOUNDS 12

static const double bounds[BOUNDS] = { 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60 };
static const int statuses[] = { 200, 400, 404, 405, 413, 429, 499, 500, 503, 504 };
#define STATUSES (sizeof statuses / sizeof statuses[0])
static const char *const endpoints[NODE_ENDPOINT_COUNT] = {
	[NODE_ENDPOINT_COMPLETIONS] = "completions",
	[NODE_ENDPOINT_CHAT] = "chat_completions",
	[NODE_ENDPOINT_MODELS] = "models",
	[NODE_ENDPOINT_HEALTH] = "health",
	[NODE_ENDPOINT_READY] = "ready",
	[NODE_ENDPOINT_VERSION] = "version",
	[NODE_ENDPOINT_METRICS] = "metrics",
	[NODE_ENDPOINT_OTHER] = "other",
};
static const struct {
	const char *name, *help;
} histograms[NODE_HISTOGRAM_COUNT] = {
	[NODE_REQUEST_SECONDS] = { "amend_request_duration_seconds", "Completions, from the request to its answer." },
	[NODE_FIRST_TOKEN_SECONDS] = { "amend_time_to_first_token_seconds",
				       "From the request to its first generated token." },
};
static const char *const routes[NODE_ROUTE_COUNT] = { "main", "memory" };

struct histogram {
	uint64_t counts[BOUNDS], total;
	double sum;
};

struct node_metrics {
	pthread_mutex_t lock;
	uint64_t requests[NODE_ENDPOINT_COUNT][STATUSES];
	uint64_t routes[NODE_ROUTE_COUNT];
	struct histogram histograms[NODE_HISTOGRAM_COUNT];
};

int node_metrics_new(struct node_metrics **out, struct err *e)
{
	struct node_metrics *metrics = fault_calloc(1, sizeof *metrics);
	if (metrics == NULL)
		return err_set(e, ERR_NOMEM, "out of memory for the metrics");
	pthread_mutex_init(&metrics->lock, NULL);
	*out = metrics;
	return 0;
}

void node_metrics_destroy(struct node_metrics **metrics)
{
	if (*metrics == NULL)
		return;
	pthread_mutex_destroy(&(*metrics)->lock);
	free(*metrics);
	*metrics = NULL;
}

void node_metrics_request(struct node_metrics *metrics, enum node_endpoint endpoint, int status)
{
	size_t at = 0;
	while (at < STATUSES - 1 && statuses[at] != status)
		at++;
	pthread_mutex_lock(&metrics->lock);
	metrics->requests[endpoint][at]++;
	pthread_mutex_unlock(&metrics->lock);
}

void node_metrics_observe(struct node_metrics *metrics, enum node_histogram which, double seconds)
{
	size_t at = 0;
	while (at < BOUNDS && seconds > bounds[at])
		at++;
	pthread_mutex_lock(&metrics->lock);
	struct histogram *histogram = &metrics->histograms[which];
	if (at < BOUNDS)
		histogram->counts[at]++;
	histogram->total++;
	histogram->sum += seconds;
	pthread_mutex_unlock(&metrics->lock);
}

void node_metrics_route(struct node_metrics *metrics, enum node_route_kind route)
{
	pthread_mutex_lock(&metrics->lock);
	metrics->routes[route]++;
	pthread_mutex_unlock(&metrics->lock);
}

uint64_t node_metrics_requests(struct node_metrics *metrics)
{
	uint64_t sum = 0;
	pthread_mutex_lock(&metrics->lock);
	for (size_t i = 0; i < STATUSES; i++)
		sum += metrics->requests[NODE_ENDPOINT_COMPLETIONS][i] + metrics->requests[NODE_ENDPOINT_CHAT][i];
	pthread_mutex_unlock(&metrics->lock);
	return sum;
}

void node_metrics_print(struct node_metrics *metrics, struct buf *out)
{
	pthread_mutex_lock(&metrics->lock);
	metrics_head(out, "amend_requests_total", "counter", "HTTP requests by endpoint and status.");
	for (size_t i = 0; i < NODE_ENDPOINT_COUNT; i++)
		for (size_t j = 0; j < STATUSES; j++)
			if (metrics->requests[i][j] > 0)
				buf_printf(out, "amend_requests_total{endpoint=\"%s\",code=\"%d\"} %" PRIu64 "\n",
					   endpoints[i], statuses[j], metrics->requests[i][j]);
	metrics_head(out, "amend_route_total", "counter",
		     "Sequences by the memory that they read: main, or an edited one.");
	for (size_t i = 0; i < NODE_ROUTE_COUNT; i++)
		buf_printf(out, "amend_route_total{route=\"%s\"} %" PRIu64 "\n", routes[i], metrics->routes[i]);
	for (size_t i = 0; i < NODE_HISTOGRAM_COUNT; i++) {
		const struct histogram *histogram = &metrics->histograms[i];
		metrics_histogram(out, histograms[i].name, histograms[i].help, bounds, histogram->counts, BOUNDS,
				  histogram->total, histogram->sum);
	}
	pthread_mutex_unlock(&metrics->lock);
}
