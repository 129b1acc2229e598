/* role_node.c: `amendd node`. The HTTP port opens first and says "loading" until the model is there. SIGTERM drains
 * (node_drain.h). */
#include "daemon/node_api.h"
#include "daemon/node_drain.h"
#include "daemon/relay_list.h"
#include "daemon/roles.h"
#include "daemon/wiring.h"

#include "base/log.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#define TICK_MS  20
#define JOBS_MAX 8
/* A relay that gives nothing is waited for so long, or up to twice that. Relays wait less than the nodes that wait for
 * them. */
#define RELAY_PATIENCE_MS 5000
#define LEAF_PATIENCE_MS  15000
#define RELAY_QUEUE       64 /* messages a child; it asks for 32 chunks at a time */

/* Of which chunks are fetched. */
struct source {
	struct role *role;
	size_t number;
	struct proto_transport *transport;
};

struct role {
	struct wiring wiring;
	struct relay_address relays[RELAY_LIST_MAX];
	struct source sources[RELAY_LIST_MAX];
	size_t relay_count;
	struct proto_transport *children; /* the server end of a relay */
	struct node_relay *relay;
	int code; /* of an end by itself */
	struct err error;
	struct http_server *http;
	struct node_api *api;
	struct model *model;
	struct node_engine *engine;
	struct store *blobs;
	struct pool *pool;
	struct node_sync *sync;
	struct node_drain drain;
};

static void on_message(void *context, struct msg_received **received)
{
	struct role *role = context;
	node_sync_receive(role->sync, received);
}

static void on_relay_message(void *context, struct msg_received **received)
{
	const struct source *source = context;
	node_sync_relay_receive(source->role->sync, source->number, *received);
}

static void on_child_message(void *context, struct msg_received **received)
{
	struct role *role = context;
	node_relay_receive(role->relay, *received);
}

static void on_auth_open(void *context, const struct err *e)
{
	struct role *role = context;
	log_event(LOG_ERROR, "NODE-AUTH-OPEN", LOGF_S("reason", e->text));
	role->code = e->code;
	role->error = *e;
}

static void on_signal(void *context, int signal_number)
{
	struct role *role = context;
	if (signal_number == SIGHUP)
		return; /* there is nothing to read again */
	log_event(LOG_INFO, "NODE-STOPPING", LOGF_I("signal", signal_number),
		  LOGF_U("requests", node_api_pending(role->api)));
	node_drain_signal(&role->drain, env_monotonic_us(env_system()));
	node_api_drain(role->api);
}

static void on_tick(void *context)
{
	struct role *role = context;
	node_sync_requests_set(role->sync, node_api_requests(role->api));
	node_sync_tick(role->sync);
	enum node_drain_state drain =
		node_drain_step(&role->drain, env_monotonic_us(env_system()), node_api_pending(role->api));
	if (drain >= NODE_DRAIN_CLOSED) {
		node_api_close(role->api);
		http_server_drain(role->http);
	}
	if (drain == NODE_DRAIN_ENDED || node_sync_failed(role->sync, NULL))
		proto_loop_stop(role->wiring.loop);
}

static int http_open(struct role *role, const struct daemon_config *config, struct err *e)
{
	struct node_api_config api = { AMEND_VERSION, (enum node_api_set)config->set, config->request_ms };
	struct http_config http = { .listen = config->http_listen,
				    .body_bytes_max = (size_t)config->http_body_bytes,
				    .bodies_bytes_max = (size_t)config->http_bodies_bytes,
				    .connections_max = (size_t)config->http_connections,
				    .thread_count = (size_t)config->http_threads,
				    .idle_seconds = (unsigned)((config->http_idle_ms + 999) / 1000),
				    .header_ms = config->http_header_ms,
				    .body_ms = config->http_body_ms,
				    .address_connections_max = (size_t)config->http_address_connections };
	int rc = node_api_new(&api, env_system(), &role->api, e);
	return rc == 0 ? http_server_open(&http, node_api_handle, role->api, &role->http, e) : rc;
}

static int engine_open(struct role *role, const struct daemon_config *config, struct err *e)
{
	struct model_options options = { .backend = config->backend,
					 .thread_count = (size_t)config->threads,
					 .backward_from = SIZE_MAX,
					 .stored_too = true,
					 .head_stored_only = true };
	struct node_engine_config engine = { (size_t)config->slots, (size_t)config->context_tokens,
					     (size_t)config->prefill_rows, (size_t)config->queue_requests };
	int rc = model_open(config->model, &options, &role->model, e);
	return rc == 0 ? node_engine_open(&engine, env_system(), role->model, &role->engine, e) : rc;
}

/* ---- Relays: those that this node pulls from, and the one that it is itself. */

static int sources_connect(struct role *role, const struct daemon_config *config, struct err *e)
{
	int rc = relay_list_parse(config->relays, role->wiring.keys.public_key, role->relays, &role->relay_count, e);
	for (size_t i = 0; i < role->relay_count && rc == 0; i++) {
		role->sources[i] = (struct source){ .role = role, .number = i };
		rc = proto_zmq_connect(role->wiring.zmq, role->relays[i].endpoint, NULL, role->relays[i].key,
				       &role->sources[i].transport, e);
		if (rc != 0)
			err_wrap(e, "node.relays");
	}
	return rc;
}

static int children_listen(struct role *role, const struct daemon_config *config, struct err *e)
{
	const struct proto_limits limits = { RELAY_QUEUE, (size_t)config->relay_peers };
	if (config->relay_listen[0] == '\0')
		return 0;
	int rc = proto_zmq_listen(role->wiring.zmq, config->relay_listen, NULL, &limits, &role->children, e);
	if (rc != 0)
		err_wrap(e, "node.relay_listen");
	return rc;
}

static int allow_set(void *context, struct proto_allow **list, struct err *e)
{
	struct role *role = context;
	return wiring_allow_set(&role->wiring, list, e);
}

static int relay_open(struct role *role, struct err *e)
{
	const struct node_relay_config config = { role->children, role->wiring.transport, allow_set, role };
	int rc = 0;
	for (size_t i = 0; i < role->relay_count && rc == 0; i++)
		rc = node_sync_relay_add(role->sync, role->sources[i].transport, role->relays[i].endpoint,
					 role->children != NULL ? RELAY_PATIENCE_MS : LEAF_PATIENCE_MS, e);
	if (rc == 0 && role->children != NULL)
		rc = node_relay_new(&config, env_system(), role->blobs, &role->relay, e);
	if (rc == 0 && role->relay != NULL)
		node_sync_relay_serve(role->sync, role->relay);
	return rc;
}

static int relay_watch(struct role *role, struct proto_loop *loop, struct err *e)
{
	int rc = 0;
	for (size_t i = 0; i < role->relay_count && rc == 0; i++)
		rc = proto_loop_transport(loop, role->sources[i].transport, on_relay_message, &role->sources[i], e);
	if (rc == 0 && role->children != NULL)
		rc = proto_loop_transport(loop, role->children, on_child_message, role, e);
	return rc == 0 && role->children != NULL ? wiring_auth_watch(&role->wiring, on_auth_open, role, e) : rc;
}

static void relay_close(struct role *role)
{
	node_relay_destroy(&role->relay);
	for (size_t i = 0; i < role->relay_count; i++)
		if (role->sources[i].transport != NULL)
			role->sources[i].transport->ops->destroy(role->sources[i].transport);
	if (role->children != NULL)
		role->children->ops->destroy(role->children);
}

static int sync_open(struct role *role, const struct daemon_config *config, struct err *e)
{
	struct model_backend *backend = model_backend_of(role->model);
	struct store_options blobs = { .env = env_system(), .blobs_only = true };
	struct node_sync_config sync = {
		.name = config->name,
		.endpoint = config->http_public[0] != '\0' ? config->http_public : http_server_address(role->http),
		.software = AMEND_VERSION,
		.backend = backend->ops->describe(backend),
		.folder = config->data,
		.base_model = *model_digest(role->model),
		.shape = *model_shape_of(role->model),
		.poll_ms = config->poll_ms,
		.versions_kept = (size_t)config->versions_kept,
		.wants_max = (size_t)config->pinned_waits,
	};
	int rc = store_open(config->data, &blobs, &role->blobs, e);
	if (rc == 0)
		rc = pool_new(1, JOBS_MAX, &role->pool, e);
	return rc == 0 ? node_sync_new(&sync, env_system(), role->blobs, role->wiring.transport, role->pool,
				       &role->sync, e)
		       : rc;
}

static int open_all(struct role *role, const struct daemon_config *config, struct err *e)
{
	int rc = wiring_require(config->data, "data", "data", e);
	if (rc == 0)
		rc = wiring_require(config->model, "model.file", "model", e);
	if (rc == 0)
		rc = wiring_client_open(config, config->relay_listen[0] != '\0', &role->wiring, e);
	if (rc == 0)
		rc = wiring_signals(&role->wiring, on_signal, role, e);
	if (rc == 0)
		rc = sources_connect(role, config, e);
	if (rc == 0)
		rc = children_listen(role, config, e);
	if (rc == 0)
		rc = http_open(role, config, e);
	if (rc == 0)
		rc = engine_open(role, config, e);
	if (rc == 0)
		rc = sync_open(role, config, e);
	if (rc == 0)
		rc = relay_open(role, e);
	return rc;
}

static int loop_run(struct role *role, struct err *e)
{
	struct proto_loop *loop = role->wiring.loop;
	int rc = proto_loop_transport(loop, role->wiring.transport, on_message, role, e);
	if (rc == 0)
		rc = relay_watch(role, loop, e);
	if (rc == 0)
		rc = proto_loop_pool(loop, role->pool, e);
	if (rc == 0)
		rc = proto_loop_timer(loop, TICK_MS, on_tick, role, e);
	if (rc == 0) {
		on_tick(role); /* what was live before is loaded at once */
		rc = proto_loop_run(loop, e);
	}
	if (rc == 0 && node_sync_failed(role->sync, e))
		rc = e->code;
	if (rc == 0 && role->code != 0) {
		*e = role->error;
		rc = role->code;
	}
	return rc;
}

/* Every request is answered before the port closes; nothing asks engine or sync after that. */
static void close_all(struct role *role)
{
	if (role->api != NULL)
		node_api_close(role->api);
	if (role->http != NULL)
		http_server_drain(role->http);
	if (role->sync != NULL)
		node_sync_close(role->sync);
	if (role->engine != NULL)
		node_engine_stop(role->engine);
	http_server_close(&role->http);
	pool_destroy(&role->pool);
	node_sync_destroy(&role->sync);
	node_engine_destroy(&role->engine);
	node_api_destroy(&role->api);
	store_close(&role->blobs);
	model_close(&role->model);
	relay_close(role);
	wiring_close(&role->wiring);
}

int daemon_node_run(const struct daemon_config *config, struct err *e)
{
	struct role role = { 0 };
	node_drain_init(&role.drain, config->drain_wait_ms,
			config->drain_ms != 0 ? config->drain_ms : config->request_ms);
	int rc = open_all(&role, config, e);
	if (rc == 0) {
		struct model_backend *backend = model_backend_of(role.model);
		node_api_attach(role.api, role.model, role.engine, role.sync);
		log_event(LOG_INFO, "NODE-STARTED", LOGF_S("http", http_server_address(role.http)),
			  LOGF_S("backend", backend->ops->describe(backend)),
			  LOGF_S("coordinator", config->coordinator));
		rc = loop_run(&role, e);
	}
	close_all(&role);
	return rc;
}
