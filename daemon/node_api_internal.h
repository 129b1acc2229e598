/* node_api_internal.h: between node_api.c (endpoints, the way of a request) and node_answer.c (its answer as JSON). */
#ifndef AMEND_DAEMON_NODE_API_INTERNAL_H
#define AMEND_DAEMON_NODE_API_INTERNAL_H

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
	atomic_bool attached, draining;
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

/* Appends the answer of a job that succeeded. */
void node_answer__write(const struct node_call *call, const struct node_job *job, struct buf *out);
/* "amend-<base8>-v42-<root8>" */
#define NODE_ANSWER__FINGERPRINT_BYTES 64
void node_answer__fingerprint(const struct node_call *call, char out[NODE_ANSWER__FINGERPRINT_BYTES]);

#endif
