/* node_api.h: the HTTP interface of a node (interfaces.md, Inference HTTP): completions, chats, models, health,
 * readiness, metrics. Every answer names the version that it came from; a request keeps the version it started with. */
#ifndef AMEND_DAEMON_NODE_API_H
#define AMEND_DAEMON_NODE_API_H

#include "daemon/http.h"
#include "daemon/node_engine.h"
#include "daemon/node_sync.h"

enum node_api_set { NODE_SET_AUTO, NODE_SET_RETRIEVE, NODE_SET_MERGED }; /* node.set */

struct node_api_config {
	const char *software; /* version text */
	enum node_api_set set;
	int64_t request_ms;
};

struct node_api;
int node_api_new(const struct node_api_config *config, const struct env *env, struct node_api **out,
		 struct err *e) MUST_CHECK;
/* Before: /health says 503. All three outlive the HTTP server; call once. */
void node_api_attach(struct node_api *api, struct model *model, struct node_engine *engine, struct node_sync *sync);
http_handler node_api_handle; /* context: the api */
/* /ready says 503 from now on; completions are served. Idempotent, as close. */
void node_api_drain(struct node_api *api);
void node_api_close(struct node_api *api);           /* and new completions are answered 503 */
size_t node_api_pending(const struct node_api *api); /* completions that wait for their answer */
uint64_t node_api_requests(struct node_api *api);    /* completions answered so far */
void node_api_destroy(struct node_api **api);        /* after the HTTP server is closed */

/* "SmolLM2 135M Instruct" → "SmolLM2-135M-Instruct": letters, digits, '.', '_' and '-'. */
#define NODE_SLUG_BYTES 96
void node_api_slug(const char *name, char out[NODE_SLUG_BYTES]);

#endif
