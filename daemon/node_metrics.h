/* node_metrics.h: counters and histograms of a node's HTTP interface (interfaces.md, Metrics). Any thread. */
#ifndef AMEND_DAEMON_NODE_METRICS_H
#define AMEND_DAEMON_NODE_METRICS_H

#include "base/buf.h"

enum node_endpoint {
	NODE_ENDPOINT_COMPLETIONS,
	NODE_ENDPOINT_CHAT,
	NODE_ENDPOINT_MODELS,
	NODE_ENDPOINT_HEALTH,
	NODE_ENDPOINT_READY,
	NODE_ENDPOINT_VERSION,
	NODE_ENDPOINT_METRICS,
	NODE_ENDPOINT_OTHER,
	NODE_ENDPOINT_COUNT,
};
enum node_histogram { NODE_REQUEST_SECONDS, NODE_FIRST_TOKEN_SECONDS, NODE_HISTOGRAM_COUNT };
enum node_route_kind { NODE_ROUTE_MAIN, NODE_ROUTE_MEMORY, NODE_ROUTE_COUNT };

struct node_metrics;
int node_metrics_new(struct node_metrics **out, struct err *e) MUST_CHECK;
void node_metrics_destroy(struct node_metrics **metrics);
void node_metrics_request(struct node_metrics *metrics, enum node_endpoint endpoint, int status);
void node_metrics_observe(struct node_metrics *metrics, enum node_histogram histogram, double seconds);
void node_metrics_route(struct node_metrics *metrics, enum node_route_kind route);
uint64_t node_metrics_requests(struct node_metrics *metrics); /* completions and chats, all codes */
/* Prometheus text. */
void node_metrics_print(struct node_metrics *metrics, struct buf *out);

#endif
