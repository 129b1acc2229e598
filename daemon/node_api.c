/* node_api.c: endpoints, and the way of a completion: parse (HTTP thread) → version (at once, or the loop thread when
 * it must be loaded) → engine → answer (engine thread). See node_api.h. */
#include "daemon/node_api_internal.h"

#include "base/fault.h"
#include "base/log.h"
#include "base/rng.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WANT_MS_MAX    INT64_C(60000) /* a pinned version is loaded within this time */
#define REQUEST_ID_MAX 128
#define MODEL_PREFIX   "/v1/models/"

/* ---- Small things */

void node_api_slug(const char *name, char out[NODE_SLUG_BYTES])
{
	size_t n = 0;
	for (; *name != '\0' && n < NODE_SLUG_BYTES - 1; name++) {
		bool keep = (*name >= 'a' && *name <= 'z') || (*name >= 'A' && *name <= 'Z') ||
			    (*name >= '0' && *name <= '9') || *name == '.' || *name == '_' || *name == '-';
		if (keep)
			out[n++] = *name;
		else if (n > 0 && out[n - 1] != '-')
			out[n++] = '-';
	}
	while (n > 0 && out[n - 1] == '-')
		n--;
	out[n] = '\0';
	if (n == 0)
		strcpy(out, "model");
}

void node_api__reply(struct node_api *api, struct http_exchange *x, enum node_endpoint endpoint, int status,
		     const char *type, struct buf *body)
{
	if (body != NULL && buf_failed(body))
		status = 500; /* as http_reply has it */
	node_metrics_request(api->metrics, endpoint, status);
	http_reply(x, status, type, body);
}

void node_api__refuse(struct node_api *api, struct http_exchange *x, enum node_endpoint endpoint,
		      const struct node_refusal *refusal)
{
	struct buf text = BUF_INIT;
	node_refusal_json(refusal, &text);
	if (refusal->status == 429 || refusal->status == 503)
		http_header_set(x, "retry-after", "%d", NODE_API__RETRY_S);
	node_api__reply(api, x, endpoint, refusal->status, NODE_API__JSON, &text);
}

/* The client's own id when it is harmless, else a new one. */
static void request_id_set(struct node_api *api, struct http_exchange *x)
{
	const char *given = http_request_header(x, "x-request-id");
	static const char harmless[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:";
	size_t len = given != NULL ? strlen(given) : 0;
	if (len > 0 && len <= REQUEST_ID_MAX && strspn(given, harmless) == len)
		http_header_set(x, "x-request-id", "%s", given);
	else
		http_header_set(x, "x-request-id", "req-%016" PRIx64, env_random_u64(api->env));
}

/* ---- A completion's end */

static void call_free(struct node_call *call)
{
	struct node_api *api = call->api;
	node_request_destroy(&call->request);
	node_version_release(&call->version);
	free(call);
	atomic_fetch_sub(&api->pending, 1);
}

static enum node_endpoint endpoint_of(const struct node_call *call)
{
	return call->request->chat ? NODE_ENDPOINT_CHAT : NODE_ENDPOINT_COMPLETIONS;
}

static void call_refuse(struct node_call *call, const struct node_refusal *refusal)
{
	node_api__refuse(call->api, call->exchange, endpoint_of(call), refusal);
	call_free(call);
}

static void refusal_of_job(const struct node_job *job, struct node_refusal *refusal)
{
	if (job->code == ERR_TIMEOUT)
		node_refusal_set(refusal, 504, "request_timeout", NULL, "%s", job->error.text);
	else if (job->code == ERR_INTERRUPTED)
		node_refusal_set(refusal, 499, "client_left", NULL, "%s", job->error.text); /* for the metrics alone */
	else if (job->code == ERR_CLOSED)
		node_refusal_set(refusal, 503, "stopping", NULL, "%s", job->error.text);
	else if (job->code == ERR_NOMEM)
		node_refusal_set(refusal, 503, "out_of_memory", NULL, "%s", job->error.text);
	else
		node_refusal_set(refusal, 500, "internal_error", NULL, "%s", job->error.text);
}

static void observe(const struct node_call *call, const struct node_job *job)
{
	struct node_metrics *metrics = call->api->metrics;
	node_metrics_observe(metrics, NODE_REQUEST_SECONDS,
			     (double)(env_monotonic_us(call->api->env) - call->began_us) / 1e6);
	if (job->first_token_us != 0)
		node_metrics_observe(metrics, NODE_FIRST_TOKEN_SECONDS,
				     (double)(job->first_token_us - call->began_us) / 1e6);
	for (size_t i = 0; i < job->sequence_count; i++)
		if (job->sequences[i].ended)
			node_metrics_route(metrics,
					   job->sequences[i].route.routed ? NODE_ROUTE_MEMORY : NODE_ROUTE_MAIN);
}

/* On the engine's thread. */
static void on_job_done(struct node_job *job)
{
	struct node_call *call = job->context;
	struct node_refusal refusal;
	observe(call, job);
	if (job->code != 0) {
		refusal_of_job(job, &refusal);
		call_refuse(call, &refusal);
	} else {
		struct buf text = BUF_INIT;
		char route[MEMORY_NAME_BYTES];
		node_answer__write(call, job, &text);
		node_answer__route(&job->sequences[0], route);
		if (job->sequence_count == 1) /* answers of several prompts differ in their routes */
			http_header_set(call->exchange, "x-amend-route", "%s", route);
		node_api__reply(call->api, call->exchange, endpoint_of(call), 200, NODE_API__JSON, &text);
		call_free(call);
	}
	node_job_destroy(&job);
}

static bool is_abandoned(void *context)
{
	const struct node_call *call = context;
	return http_gone(call->exchange);
}

/* ---- To the engine */

static struct node_job *job_new(const struct node_call *call)
{
	const struct node_request *r = call->request;
	uint64_t seed = r->has_seed ? r->seed : env_random_u64(call->api->env);
	struct node_job *job = node_job_new(r->prompt_count * r->n);
	for (size_t i = 0; job != NULL && i < job->sequence_count; i++) {
		const struct node_prompt *prompt = &r->prompts[i / r->n];
		struct node_sequence *sequence = &job->sequences[i];
		sequence->ids = fault_malloc(prompt->id_count * sizeof *sequence->ids);
		if (sequence->ids == NULL) {
			node_job_destroy(&job);
			return NULL;
		}
		memcpy(sequence->ids, prompt->ids, prompt->id_count * sizeof *sequence->ids);
		sequence->id_count = prompt->id_count;
		sequence->route_first = prompt->route_first;
		sequence->route_count = prompt->route_count;
		sequence->seed = rng_derive(seed, i / r->n, i % r->n);
	}
	return job;
}

static enum editor_set_kind set_kind(const struct node_call *call)
{
	if (call->kind != NODE_MODEL_DEFAULT)
		return call->kind == NODE_MODEL_MERGED ? EDITOR_SET_MERGED : EDITOR_SET_RETRIEVE;
	if (call->api->config.set != NODE_SET_AUTO)
		return call->api->config.set == NODE_SET_MERGED ? EDITOR_SET_MERGED : EDITOR_SET_RETRIEVE;
	return editor_memory_set_default(call->version.set);
}

/* The version is known: from here on the answer is its. */
static void call_submit(struct node_call *call)
{
	const struct node_request *r = call->request;
	struct node_refusal refusal;
	struct err e = ERR_INIT;
	struct node_job *job = job_new(call);
	if (job == NULL) {
		node_refusal_set(&refusal, 503, "out_of_memory", NULL, "this node is out of memory, try again");
		call_refuse(call, &refusal);
		return;
	}
	if (call->version.set != NULL && call->kind == NODE_MODEL_MERGED &&
	    !editor_memory_set_has_merged(call->version.set)) {
		node_refusal_set(&refusal, 404, "model_not_found", "model",
				 "version %" PRIu64
				 " has no merged memory: `amend merge run` makes one; %s:retrieve reads the "
				 "shards",
				 call->version.version, call->api->slug);
		node_job_destroy(&job);
		call_refuse(call, &refusal);
		return;
	}
	if (call->version.set != NULL) {
		job->set = editor_memory_set_acquire(call->version.set);
		job->kind = set_kind(call);
	}
	job->sampling = r->sampling;
	job->token_max = r->token_max != 0 ? r->token_max : node_engine_context_tokens(call->api->engine);
	memcpy(job->stops, r->stops, sizeof job->stops);
	job->stop_count = r->stop_count;
	job->deadline_us = call->began_us + call->api->config.request_ms * 1000;
	job->abandoned = is_abandoned;
	job->done = on_job_done;
	job->context = call;
	http_header_set(call->exchange, "x-amend-version", "v%" PRIu64, call->version.version);
	int rc = node_engine_submit(call->api->engine, &job, &e);
	if (rc == 0)
		return; /* the call is the engine thread's */
	if (rc == ERR_LIMIT)
		node_refusal_set(&refusal, 429, "queue_full", NULL, "%s", e.text);
	else if (rc == ERR_INVALID)
		node_refusal_set(&refusal, 400, "context_length_exceeded", r->chat ? "messages" : "prompt", "%s",
				 e.text);
	else
		node_refusal_set(&refusal, 503, "stopping", NULL, "%s", e.text);
	node_job_destroy(&job);
	call_refuse(call, &refusal);
}

/* ---- To a version */

static const char *version_param(const struct node_call *call)
{
	return call->request->version != 0 ? "amend.version" : "model";
}

static void refusal_of_want(const struct node_call *call, int code, struct node_refusal *refusal)
{
	if (code == ERR_NOT_FOUND)
		node_refusal_set(refusal, 404, "model_not_found", version_param(call),
				 "version %" PRIu64 " was never published, or its content is gone: `amend version "
				 "list` shows what there is",
				 call->wanted);
	else
		node_refusal_set(refusal, 503, "version_unavailable", version_param(call),
				 "version %" PRIu64 " could not be loaded in time: %s; try again", call->wanted,
				 err_text(code));
}

/* On the loop thread. */
static void on_version(void *context, int code, struct node_version *version)
{
	struct node_call *call = context;
	struct node_refusal refusal;
	if (code == 0) {
		call->version = *version;
		version->set = NULL;
		call_submit(call);
		return;
	}
	refusal_of_want(call, code, &refusal);
	call_refuse(call, &refusal);
}

static void call_want(struct node_call *call)
{
	struct node_refusal refusal;
	struct err e = ERR_INIT;
	int64_t ms = call->api->config.request_ms < WANT_MS_MAX ? call->api->config.request_ms : WANT_MS_MAX;
	int rc = node_sync_want(call->api->sync, call->wanted, call->began_us + ms * 1000, on_version, call, &e);
	if (rc == 0)
		return;
	node_refusal_set(&refusal, rc == ERR_LIMIT ? 429 : 503, rc == ERR_LIMIT ? "queue_full" : "stopping", NULL, "%s",
			 e.text);
	call_refuse(call, &refusal);
}

static void call_resolve(struct node_call *call)
{
	struct node_refusal refusal;
	if (call->kind == NODE_MODEL_BASE) {
		call_submit(call);
		return;
	}
	int rc = node_sync_acquire(call->api->sync, call->wanted, &call->version);
	if (rc == 0) {
		call_submit(call);
	} else if (rc == ERR_NOT_FOUND) {
		call_want(call);
	} else {
		node_refusal_set(&refusal, 503, "loading", NULL,
				 "this node has no version yet and has not heard of its coordinator: try again, or ask "
				 "%s for answers without memories",
				 call->api->slug);
		call_refuse(call, &refusal);
	}
}

/* "<base>[:merged|:retrieve[@vN]]". False: no such model. */
bool node_api__model_parse(const struct node_api *api, const char *name, enum node_model_kind *kind, uint64_t *version)
{
	size_t len = strlen(api->slug);
	*kind = NODE_MODEL_DEFAULT;
	*version = 0;
	if (name == NULL)
		return true;
	if (strncmp(name, api->slug, len) != 0)
		return false;
	name += len;
	*kind = NODE_MODEL_BASE;
	if (*name == '\0')
		return true;
	if (strncmp(name, ":merged", 7) == 0) {
		*kind = NODE_MODEL_MERGED;
		name += 7;
	} else if (strncmp(name, ":retrieve", 9) == 0) {
		*kind = NODE_MODEL_RETRIEVE;
		name += 9;
	}
	if (*kind == NODE_MODEL_BASE || *name == '\0')
		return *kind != NODE_MODEL_BASE;
	if (strncmp(name, "@v", 2) != 0 || name[2] < '1' || name[2] > '9' || strlen(name + 2) > 15 ||
	    strspn(name + 2, "0123456789") != strlen(name + 2))
		return false;
	*version = strtoull(name + 2, NULL, 10);
	return true;
}

static bool call_model(struct node_call *call, struct node_refusal *refusal)
{
	struct node_request *r = call->request;
	if (!node_api__model_parse(call->api, r->model, &call->kind, &call->wanted)) {
		node_refusal_set(refusal, 404, "model_not_found", "model",
				 "no model \"%.100s\" here; there are %s, %s:retrieve and %s:merged, with @vN for a "
				 "version",
				 r->model, call->api->slug, call->api->slug, call->api->slug);
		return false;
	}
	if (r->version == 0)
		return true;
	if (call->wanted != 0 && call->wanted != r->version) {
		node_refusal_set(refusal, 400, "invalid_value", "amend.version",
				 "amend.version: %" PRIu64 ", but the model's name says version %" PRIu64, r->version,
				 call->wanted);
		return false;
	}
	call->wanted = r->version;
	return true;
}

static struct node_call *call_new(struct node_api *api, struct http_exchange *x, struct node_request *request)
{
	struct node_call *call = fault_calloc(1, sizeof *call);
	if (call == NULL)
		return NULL;
	call->api = api;
	call->exchange = x;
	call->request = request;
	call->began_us = env_monotonic_us(api->env);
	call->created_s = env_wall_ms(api->env) / 1000;
	snprintf(call->id, sizeof call->id, "%s-%016" PRIx64, request->chat ? "chatcmpl" : "cmpl",
		 env_random_u64(api->env));
	atomic_fetch_add(&api->pending, 1);
	return call;
}

static void completions(struct node_api *api, struct http_exchange *x, bool chat)
{
	enum node_endpoint endpoint = chat ? NODE_ENDPOINT_CHAT : NODE_ENDPOINT_COMPLETIONS;
	struct node_refusal refusal;
	struct node_request *request = NULL;
	size_t len;
	const char *body = http_body(x, &len);
	if (!atomic_load(&api->attached) || atomic_load(&api->closed)) {
		bool stopping = atomic_load(&api->closed);
		node_refusal_set(&refusal, 503, stopping ? "stopping" : "loading", NULL,
				 stopping ? "this node is stopping: ask another" : "the model is being loaded");
		node_api__refuse(api, x, endpoint, &refusal);
		return;
	}
	if (!node_request_parse(body, len, chat, model_tokenizer_of(api->model), &request, &refusal)) {
		node_api__refuse(api, x, endpoint, &refusal);
		return;
	}
	struct node_call *call = call_new(api, x, request);
	if (call == NULL) {
		node_request_destroy(&request);
		node_refusal_set(&refusal, 503, "out_of_memory", NULL, "this node is out of memory, try again");
		node_api__refuse(api, x, endpoint, &refusal);
	} else if (!call_model(call, &refusal)) {
		call_refuse(call, &refusal);
	} else {
		call_resolve(call);
	}
}

/* ---- Dispatch */

static void post_completions(struct node_api *api, struct http_exchange *x)
{
	completions(api, x, false);
}

static void post_chat(struct node_api *api, struct http_exchange *x)
{
	completions(api, x, true);
}

static const struct {
	const char *method, *path;
	void (*handle)(struct node_api *api, struct http_exchange *x);
} routes[] = {
	{ "POST", "/v1/completions", post_completions },
	{ "POST", "/v1/chat/completions", post_chat },
	{ "GET", "/v1/models", node_api__models },
	{ "GET", "/health", node_api__health },
	{ "GET", "/ready", node_api__ready },
	{ "GET", "/version", node_api__version },
	{ "GET", "/metrics", node_api__metrics },
};

static void one_model(struct node_api *api, struct http_exchange *x)
{
	node_api__model(api, x, http_path(x) + strlen(MODEL_PREFIX));
}

/* The method that the path is served by, and its handler; NULL: there is no such page. */
static const char *route_find(const char *path, void (**handle)(struct node_api *api, struct http_exchange *x))
{
	for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
		if (strcmp(path, routes[i].path) == 0) {
			*handle = routes[i].handle;
			return routes[i].method;
		}
	}
	*handle = one_model;
	return strncmp(path, MODEL_PREFIX, strlen(MODEL_PREFIX)) == 0 ? "GET" : NULL;
}

void node_api_handle(void *context, struct http_exchange *x)
{
	struct node_api *api = context;
	struct node_refusal refusal;
	void (*handle)(struct node_api *, struct http_exchange *) = NULL;
	const char *method = route_find(http_path(x), &handle);
	request_id_set(api, x);
	if (method != NULL && http_method_is(x, method)) {
		handle(api, x);
		return;
	}
	if (method != NULL) {
		http_header_set(x, "allow", "%s", strcmp(method, "GET") == 0 ? "GET, HEAD" : method);
		node_refusal_set(&refusal, 405, "method_not_allowed", NULL, "only %s is served here", method);
	} else {
		node_refusal_set(&refusal, 404, "not_found", NULL,
				 "no such page; there are /v1/completions, /v1/chat/completions, /v1/models, /health, "
				 "/ready, /version and /metrics");
	}
	node_api__refuse(api, x, NODE_ENDPOINT_OTHER, &refusal);
}

/* ---- Life */

int node_api_new(const struct node_api_config *config, const struct env *env, struct node_api **out, struct err *e)
{
	struct node_api *api = fault_calloc(1, sizeof *api);
	if (api == NULL)
		return err_set(e, ERR_NOMEM, "out of memory for the HTTP interface");
	api->config = *config;
	api->env = env;
	int rc = node_metrics_new(&api->metrics, e);
	if (rc != 0) {
		free(api);
		return rc;
	}
	*out = api;
	return 0;
}

void node_api_attach(struct node_api *api, struct model *model, struct node_engine *engine, struct node_sync *sync)
{
	api->model = model;
	api->engine = engine;
	api->sync = sync;
	api->attached_s = env_wall_ms(api->env) / 1000;
	node_api_slug(model_name(model), api->slug);
	atomic_store(&api->attached, true);
}

void node_api_drain(struct node_api *api)
{
	atomic_store(&api->draining, true);
}

void node_api_close(struct node_api *api)
{
	node_api_drain(api);
	atomic_store(&api->closed, true);
}

size_t node_api_pending(const struct node_api *api)
{
	return atomic_load(&api->pending);
}

uint64_t node_api_requests(struct node_api *api)
{
	return node_metrics_requests(api->metrics);
}

void node_api_destroy(struct node_api **api)
{
	if (*api == NULL)
		return;
	node_metrics_destroy(&(*api)->metrics);
	free(*api);
	*api = NULL;
}
