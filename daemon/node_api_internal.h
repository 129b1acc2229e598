/* node_api_internal.h: between node_api.c (dispatch, the way of a request), node_answer.c (its answer as JSON) and
 * node_pages.c (what a node tells about itself). */
#ifndef AMEND_DAEMON_NODE_API_INTERNAL_H
#define AMEND_DAEMON_NODE_API_INTERNAL_H

#include "daemon/memory_name.h"
#include "daemon/node_api.h"
#include "daemon/node_metrics.h"
#include "daemon/node_request.h"

#include <stdatomic.h>

enum node_model_kind { NODE_MODEL_DEFAULT, NODE_MODEL_BASE, NODE_MODEL_RETRIEVE, NODE_MODEL_MERGED };

struct node_api {
	struct node_api_config config;
	const struct env *env;
	struct node_metrics *metrics;
	/* set by attach, before `attached` */
	struct model *model;
	struct node_engine *engine;
	struct node_sync *sync;
	char slug[NODE_SLUG_BYTES];
	int64_t attached_s;
	atomic_bool attached, draining, closed;
	atomic_size_t pending;
};

struct node_call { /* one completion or chat on its way */
	struct node_api *api;
	struct http_exchange *exchange;
	struct node_request *request;
	enum node_model_kind kind;
	uint64_t wanted; /* version, 0: the newest */
	struct node_version version;
	int64_t began_us, created_s;
	char id[48];
};

/* node_api.c */
#define NODE_API__JSON    "application/json"
#define NODE_API__RETRY_S 1
void node_api__reply(struct node_api *api, struct http_exchange *x, enum node_endpoint endpoint, int status,
		     const char *type, struct buf *body);
void node_api__refuse(struct node_api *api, struct http_exchange *x, enum node_endpoint endpoint,
		      const struct node_refusal *refusal);
/* "<base>[:merged|:retrieve[@vN]]"; NULL: the default. False: no such model. */
bool node_api__model_parse(const struct node_api *api, const char *name, enum node_model_kind *kind, uint64_t *version);

/* node_pages.c */
void node_api__models(struct node_api *api, struct http_exchange *x);
void node_api__model(struct node_api *api, struct http_exchange *x, const char *id);
void node_api__health(struct node_api *api, struct http_exchange *x);
void node_api__ready(struct node_api *api, struct http_exchange *x);
void node_api__version(struct node_api *api, struct http_exchange *x);
void node_api__metrics(struct node_api *api, struct http_exchange *x);

/* node_answer.c */
/* Appends the answer of a job that succeeded. */
void node_answer__write(const struct node_call *call, const struct node_job *job, struct buf *out);
/* What the sequence read. */
void node_answer__route(const struct node_sequence *sequence, char out[MEMORY_NAME_BYTES]);
/* "amend-<base8>-v42-<root8>" */
#define NODE_ANSWER__FINGERPRINT_BYTES 64
void node_answer__fingerprint(const struct node_call *call, char out[NODE_ANSWER__FINGERPRINT_BYTES]);

#endif
