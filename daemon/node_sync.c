/* node_sync.c: words with the coordinator, and the versions in memory. See node_sync.h. */
#include "daemon/node_sync_internal.h"

#include "base/fault.h"
#include "base/log.h"
#include "base/process.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HELLO_US        INT64_C(1000000)
#define RETRY_US        INT64_C(1000000) /* after a load that failed, doubled each time */
#define RETRY_DOUBLINGS 5
#define POLL_SOON_US    INT64_C(100000) /* least time between two polls, however many hints */

static const struct sm_state states[] = {
	[NODE_SYNC_IDLE] = { "idle", SM_TO(NODE_SYNC_FETCHING) },
	[NODE_SYNC_FETCHING] = { "fetching",
				 SM_TO(NODE_SYNC_VERIFYING) | SM_TO(NODE_SYNC_IDLE) | SM_TO(NODE_SYNC_LIVE) },
	[NODE_SYNC_VERIFYING] = { "verifying", SM_TO(NODE_SYNC_STAGED) | SM_TO(NODE_SYNC_FETCHING) |
						       SM_TO(NODE_SYNC_IDLE) | SM_TO(NODE_SYNC_LIVE) },
	[NODE_SYNC_STAGED] = { "staged", SM_TO(NODE_SYNC_LIVE) },
	[NODE_SYNC_LIVE] = { "live", SM_TO(NODE_SYNC_FETCHING) | SM_TO(NODE_SYNC_IDLE) },
};
const struct sm_table node_sync_states = { "node-sync", states, sizeof states / sizeof states[0], NODE_SYNC_IDLE };

const double node_swap_bounds[NODE_SWAP_BUCKETS] = { 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60 };

/* ---- Sending */

void node_sync__send(struct node_sync *sync, struct msg *msg)
{
	struct err e = ERR_INIT;
	if (msg->request_id == 0)
		msg->request_id = ++sync->request_id;
	int rc = sync->transport->ops->send(sync->transport, 0, msg, &e);
	if (rc == ERR_AGAIN || rc == ERR_CLOSED)
		log_event(LOG_DEBUG, "NODE-UNSENT", LOGF_S("type", msg_type_name((int)msg->type)),
			  LOGF_S("reason", e.text));
	else if (rc != 0)
		log_event(LOG_ERROR, "NODE-SEND-FAILED", LOGF_S("type", msg_type_name((int)msg->type)),
			  LOGF_S("reason", e.text));
}

static struct msg_text text_of(const char *s)
{
	return (struct msg_text){ s, strlen(s) };
}

static void hello_send(struct node_sync *sync)
{
	struct msg msg = { .type = MSG_HELLO };
	msg.u.hello = (struct msg_hello){
		.kind = MSG_PEER_NODE,
		.protocol_min = MSG_PROTOCOL_VERSION,
		.protocol_max = MSG_PROTOCOL_VERSION,
		.name = text_of(sync->config.name),
		.software = text_of(sync->config.software),
		.backend = text_of(sync->config.backend),
		.endpoint = text_of(sync->config.endpoint),
		.boot = sync->boot,
		.base_model = sync->config.base_model,
		.layers = (uint32_t)sync->config.shape.layers,
		.hidden = (uint32_t)sync->config.shape.hidden,
		.ffn = (uint32_t)sync->config.shape.ffn,
		.pid = (uint32_t)getpid(),
	};
	sync->hello_us = env_monotonic_us(sync->env);
	node_sync__send(sync, &msg);
}

static void status_send(struct node_sync *sync)
{
	struct msg msg = { .type = MSG_NODE_STATUS };
	msg.u.node_status = (struct msg_node_status){
		.version = sync->live.version,
		.content = sync->live.content,
		.state = text_of(sm_state_name(&node_sync_states, sync->sm.state)),
		.resident_bytes = process_resident_bytes(),
		.requests = sync->requests,
		.failed_version = sync->failed_version,
		.failed_reason = text_of(sync->failed_reason.text),
		.source = text_of(worker_fetch_source(sync->fetch)),
	};
	if (sync->greeted)
		node_sync__send(sync, &msg);
}

static void heartbeat_send(struct node_sync *sync)
{
	struct msg msg = { .type = MSG_HEARTBEAT };
	msg.u.heartbeat = (struct msg_heartbeat){ .resident_bytes = process_resident_bytes() };
	sync->heartbeat_us = env_monotonic_us(sync->env);
	node_sync__send(sync, &msg);
	status_send(sync);
}

/* A poll that was not answered is sent again as it was: whichever answer comes first counts, however long its way. */
static void poll_send(struct node_sync *sync)
{
	struct msg msg = { .type = MSG_GET_MANIFEST };
	if (sync->poll_request == 0)
		sync->poll_request = ++sync->request_id;
	msg.request_id = sync->poll_request;
	msg.u.get_manifest.alias = text_of("latest");
	sync->poll_us = env_monotonic_us(sync->env);
	node_sync__send(sync, &msg);
}

void node_sync__state(struct node_sync *sync, int state)
{
	sm_move(&sync->sm, state);
	pthread_mutex_lock(&sync->lock);
	sync->state = state;
	pthread_mutex_unlock(&sync->lock);
	status_send(sync);
}

static void greeted_set(struct node_sync *sync, bool greeted)
{
	pthread_mutex_lock(&sync->lock);
	sync->greeted = greeted;
	pthread_mutex_unlock(&sync->lock);
}

/* ---- Ends of loads */

static void swap_count(struct node_sync *sync, double seconds)
{
	size_t at = 0;
	while (at < NODE_SWAP_BUCKETS && seconds > node_swap_bounds[at])
		at++;
	if (at < NODE_SWAP_BUCKETS)
		sync->info.swap_buckets[at]++;
	sync->info.swaps++;
	sync->info.swap_seconds_sum += seconds;
}

static void state_settle(struct node_sync *sync)
{
	int state = sync->live.version != 0 ? NODE_SYNC_LIVE : NODE_SYNC_IDLE;
	if (sync->sm.state != state)
		node_sync__state(sync, state);
}

/* The next load need not wait, and nothing is told of the last ones. */
static void failures_forget(struct node_sync *sync)
{
	sync->retry_us = env_monotonic_us(sync->env);
	sync->failures = 0;
	sync->failed_version = 0;
	err_clear(&sync->failed_reason);
}

void node_sync__loaded(struct node_sync *sync, struct node_load *load)
{
	double seconds = (double)(env_monotonic_us(sync->env) - load->began_us) / 1e6;
	if (load->generation != sync->generation) { /* of a cluster that this node left */
		err_set(&load->error, ERR_MISMATCH, "this node joined another cluster");
		load->code = ERR_MISMATCH;
		node_sync__load_failed(sync, load);
		return;
	}
	if (!load->pinned) {
		failures_forget(sync);
		node_sync__state(sync, NODE_SYNC_STAGED);
	}
	struct node_version version = load->version;
	load->version.set = NULL;
	struct node_version served = node_sync__version_held(&version);
	pthread_mutex_lock(&sync->lock);
	if (!load->pinned) {
		sync->live = version;
		sync->live.set = NULL;
		swap_count(sync, seconds);
	}
	struct editor_memory_set *old = node_sync__entry_put(sync, &version);
	pthread_mutex_unlock(&sync->lock);
	editor_memory_set_release(&old);
	log_event(LOG_INFO, load->pinned ? "NODE-VERSION-LOADED" : "NODE-VERSION-LIVE",
		  LOGF_U("version", version.version), LOGF_U("edits", editor_memory_set_edit_count(served.set)),
		  LOGF_F("seconds", seconds), LOGF_X("content", version.content.bytes, 8));
	if (!load->pinned)
		node_sync__state(sync, NODE_SYNC_LIVE);
	node_sync__wants_end(sync, version.version, 0, &served);
	node_version_release(&served);
}

void node_sync__load_failed(struct node_sync *sync, struct node_load *load)
{
	bool fetching = load->failed_phase <= NODE_LOAD_BLOBS || load->failed_phase == NODE_LOAD_HEAL;
	log_event(LOG_WARN, "NODE-VERSION-FAILED", LOGF_U("version", load->version.version),
		  LOGF_S("code", err_name(load->code)), LOGF_S("reason", load->error.text));
	pthread_mutex_lock(&sync->lock);
	if (fetching)
		sync->info.failures_fetch++;
	else
		sync->info.failures_build++;
	pthread_mutex_unlock(&sync->lock);
	if (!load->pinned && load->generation == sync->generation) {
		sync->retry_us = env_monotonic_us(sync->env) + (RETRY_US << sync->failures);
		if (sync->failures < RETRY_DOUBLINGS)
			sync->failures++;
		sync->failed_version = load->version.version;
		sync->failed_reason = load->error;
	}
	if (!load->pinned)
		state_settle(sync);
	node_sync__wants_end(sync, load->version.version, load->code, NULL);
}

/* ---- Receiving */

static struct node_version version_of(const struct msg_manifest_reply *reply)
{
	return (struct node_version){ reply->version, reply->root, reply->content, reply->published_ms, NULL };
}

/* Another newest version: what went wrong with the one before says nothing about it. Under the lock. */
static void newest_set(struct node_sync *sync, const struct node_version *version)
{
	if (version->version != sync->newest.version)
		failures_forget(sync);
	sync->newest = *version;
}

static void pin_reply(struct node_sync *sync, const struct msg_manifest_reply *reply)
{
	uint64_t version = sync->pin_version;
	sync->pin_request = sync->pin_version = 0;
	if (reply->code != 0) {
		node_sync__wants_end(sync, version, reply->code, NULL);
		return;
	}
	if (reply->version != version)
		return;
	sync->pin_found = version_of(reply);
	if (version <= sync->newest.version || version <= sync->live.version)
		return;
	pthread_mutex_lock(&sync->lock); /* it is the newest that is known: loaded as such */
	newest_set(sync, &sync->pin_found);
	pthread_mutex_unlock(&sync->lock);
	sync->pin_found = (struct node_version){ 0 };
}

static void poll_reply(struct node_sync *sync, const struct msg_manifest_reply *reply)
{
	struct node_version found = version_of(reply);
	if (reply->code != 0)
		found = (struct node_version){ 0 };
	if (found.version < sync->live.version && found.version != sync->behind)
		log_event(LOG_WARN, "NODE-VERSION-BEHIND", LOGF_U("live", sync->live.version),
			  LOGF_U("newest", found.version));
	sync->behind = found.version < sync->live.version ? found.version : UINT64_MAX;
	pthread_mutex_lock(&sync->lock);
	sync->answered = true;
	if (found.version >= sync->live.version)
		newest_set(sync, &found);
	pthread_mutex_unlock(&sync->lock);
}

static void manifest_reply(struct node_sync *sync, const struct msg *msg)
{
	const struct msg_manifest_reply *reply = &msg->u.manifest;
	if (msg->request_id == 0 || (reply->code != 0 && reply->code != ERR_NOT_FOUND))
		return; /* asked again */
	if (msg->request_id == sync->poll_request) {
		sync->poll_request = 0;
		poll_reply(sync, reply);
	} else if (msg->request_id == sync->pin_request) {
		pin_reply(sync, reply);
	}
}

static void heard(struct node_sync *sync, uint64_t version)
{
	if (version > sync->heard_version)
		sync->heard_version = version;
}

/* Versions of one cluster say nothing in another: what was live is forgotten, requests that hold it end with it. */
static void cluster_set(struct node_sync *sync, const struct msg_text *id)
{
	char name[NODE_SYNC__CLUSTER_BYTES];
	snprintf(name, sizeof name, "%.*s", (int)id->len, id->text != NULL ? id->text : "");
	if (strcmp(name, sync->cluster) == 0)
		return;
	bool changed = sync->cluster[0] != '\0';
	memcpy(sync->cluster, name, sizeof name);
	if (!changed)
		return;
	log_event(LOG_WARN, "NODE-CLUSTER-CHANGED", LOGF_S("cluster", name));
	struct node_sync__entry entries[NODE_SYNC__VERSIONS_MAX];
	sync->generation++;
	sync->heard_version = 0;
	sync->poll_request = sync->pin_request = sync->pin_version = 0;
	sync->pin_found = (struct node_version){ 0 };
	failures_forget(sync);
	pthread_mutex_lock(&sync->lock);
	size_t count = sync->entry_count;
	memcpy(entries, sync->entries, sizeof entries);
	memset(sync->entries, 0, sizeof sync->entries);
	sync->entry_count = 0;
	sync->live = sync->newest = (struct node_version){ 0 };
	sync->answered = false;
	pthread_mutex_unlock(&sync->lock);
	for (size_t i = 0; i < count; i++)
		node_version_release(&entries[i].version);
	if (sync->sm.state == NODE_SYNC_LIVE)
		node_sync__state(sync, NODE_SYNC_IDLE);
}

static void fail(struct node_sync *sync, int code, const struct msg_text *text)
{
	sync->failed = true;
	err_set(&sync->error, code, "the coordinator refused this node: %.*s", (int)text->len,
		text->text != NULL ? text->text : "");
}

static void hello_reply(struct node_sync *sync, const struct msg_hello_reply *reply)
{
	if (reply->code == ERR_AGAIN || reply->code == ERR_LIMIT)
		return; /* asked again in a second */
	if (reply->code != 0) {
		fail(sync, reply->code, &reply->text);
		return;
	}
	sync->heartbeat_ms = reply->heartbeat_ms > 0 ? reply->heartbeat_ms : sync->heartbeat_ms;
	sync->lease_ms = reply->lease_ms > 0 ? reply->lease_ms : sync->lease_ms;
	cluster_set(sync, &reply->cluster_id);
	heard(sync, reply->version);
	if (!sync->greeted)
		log_event(LOG_INFO, "NODE-JOINED", LOGF_S("cluster", sync->cluster), LOGF_U("version", reply->version));
	greeted_set(sync, true);
	sync->heartbeat_us = env_monotonic_us(sync->env);
	status_send(sync);
	poll_send(sync);
}

static void error_reply(struct node_sync *sync, const struct msg_error *error)
{
	log_event(LOG_WARN, "NODE-REFUSED", LOGF_S("code", err_name(error->code)),
		  LOGF_SN("reason", error->text.text, error->text.len));
	if (error->code == ERR_DENIED)
		fail(sync, ERR_DENIED, &error->text);
	else
		greeted_set(sync, false); /* a coordinator that does not know us: greet it again */
}

void node_sync_receive(struct node_sync *sync, struct msg_received **received)
{
	const struct msg *msg = &(*received)->msg;
	if (msg->type != MSG_HINT)
		sync->heard_us = env_monotonic_us(sync->env);
	if (node_load__receive(&sync->load, msg) || worker_fetch_receive(sync->fetch, msg))
		return;
	if (sync->relay != NULL && node_relay_answer(sync->relay, msg))
		return;
	switch (msg->type) {
	case MSG_HELLO_REPLY:
		hello_reply(sync, &msg->u.hello_reply);
		break;
	case MSG_NEED:
		worker_upload_needed(sync->upload, &msg->u.hashes);
		break;
	case MSG_HEARTBEAT_REPLY:
		heard(sync, msg->u.heartbeat_reply.version);
		break;
	case MSG_HINT:
		heard(sync, msg->u.hint.version);
		break;
	case MSG_MANIFEST:
		manifest_reply(sync, msg);
		break;
	case MSG_ERROR:
		error_reply(sync, &msg->u.error);
		break;
	default:
		break;
	}
}

/* ---- Relays */

int node_sync_relay_add(struct node_sync *sync, struct proto_transport *transport, const char *name,
			int64_t patience_ms, struct err *e)
{
	sync->info.relays = true;
	return worker_fetch_relay_add(sync->fetch, transport, name, patience_ms, e);
}

void node_sync_relay_receive(struct node_sync *sync, size_t relay, const struct msg_received *received)
{
	worker_fetch_relay_receive(sync->fetch, relay, &received->msg);
}

void node_sync_relay_serve(struct node_sync *sync, struct node_relay *relay)
{
	sync->relay = relay;
	sync->info.serves = true;
}

static void relays_tick(struct node_sync *sync)
{
	if (sync->relay != NULL)
		node_relay_tick(sync->relay, sync->live.version, worker_fetch_arrived(sync->fetch));
	pthread_mutex_lock(&sync->lock);
	worker_fetch_counts_get(sync->fetch, &sync->info.fetch);
	if (sync->relay != NULL)
		node_relay_counts_get(sync->relay, &sync->info.relay);
	pthread_mutex_unlock(&sync->lock);
}

/* ---- Time */

static void greet(struct node_sync *sync, int64_t now)
{
	if (sync->greeted && now - sync->heard_us > (int64_t)sync->lease_ms * 1000) {
		log_event(LOG_WARN, "NODE-COORDINATOR-SILENT", LOGF_I("ms", (now - sync->heard_us) / 1000));
		greeted_set(sync, false);
	}
	if (!sync->greeted) {
		if (now - sync->hello_us >= HELLO_US)
			hello_send(sync);
		return;
	}
	if (now - sync->heartbeat_us >= (int64_t)sync->heartbeat_ms * 1000)
		heartbeat_send(sync);
	bool news = sync->heard_version > sync->newest.version && sync->heard_version > sync->live.version;
	int64_t pause_us = sync->poll_request != 0 ? NODE_SYNC__ASK_AGAIN_US
			   : news                  ? POLL_SOON_US
						   : sync->config.poll_ms * 1000;
	if (now - sync->poll_us >= pause_us)
		poll_send(sync);
}

void node_sync_tick(struct node_sync *sync)
{
	node_sync__wants_expire(sync, false);
	if (sync->failed || sync->closed)
		return;
	greet(sync, env_monotonic_us(sync->env));
	node_sync__load_next(sync);
	worker_fetch_tick(sync->fetch);
	node_load__tick(&sync->load);
	relays_tick(sync);
}

/* ---- Life */

/* Begins with what was live when the process ended before. */
static void resume(struct node_sync *sync)
{
	struct node_version last = { 0 };
	struct err e = ERR_INIT;
	int rc = node_load__live_read(sync->config.folder, &last, sync->cluster, &e);
	if (rc == 0) {
		sync->newest = last;
	} else if (rc != ERR_NOT_FOUND) {
		sync->cluster[0] = '\0';
		log_event(LOG_WARN, "NODE-LIVE-UNREADABLE", LOGF_S("reason", e.text));
	}
}

int node_sync_new(const struct node_sync_config *config, const struct env *env, struct store *blobs,
		  struct proto_transport *transport, struct pool *pool, struct node_sync **out, struct err *e)
{
	if (config->versions_kept == 0 || config->versions_kept >= NODE_SYNC__VERSIONS_MAX)
		return err_set(e, ERR_INVALID, "node.versions_kept: %zu, may be 1 to %d", config->versions_kept,
			       NODE_SYNC__VERSIONS_MAX - 1);
	struct node_sync *sync = fault_calloc(1, sizeof *sync);
	if (sync == NULL)
		return err_set(e, ERR_NOMEM, "out of memory for the node");
	sync->config = *config;
	sync->env = env;
	sync->blobs = blobs;
	sync->transport = transport;
	sync->pool = pool;
	sync->boot = env_random_u64(env);
	sync->heartbeat_ms = 1000;
	sync->lease_ms = 8000;
	sync->hello_us = env_monotonic_us(env) - HELLO_US;
	sync->poll_us = sync->retry_us = sync->hello_us;
	sync->behind = UINT64_MAX;
	sync->load.sync = sync;
	sm_init(&sync->sm, &node_sync_states, NULL);
	pthread_mutex_init(&sync->lock, NULL);
	sync->wants = fault_calloc(config->wants_max, sizeof *sync->wants);
	int rc = sync->wants == NULL ? err_set(e, ERR_NOMEM, "out of memory for the node")
				     : worker_fetch_new(env, blobs, transport, &sync->fetch, e);
	if (rc == 0)
		rc = worker_upload_new(env, blobs, transport, &sync->upload, e);
	if (rc != 0) {
		node_sync_destroy(&sync);
		return rc;
	}
	resume(sync);
	*out = sync;
	return 0;
}

bool node_sync_failed(const struct node_sync *sync, struct err *e)
{
	if (sync->failed && e != NULL)
		*e = sync->error;
	return sync->failed;
}

void node_sync_close(struct node_sync *sync)
{
	pthread_mutex_lock(&sync->lock);
	sync->closed = true;
	pthread_mutex_unlock(&sync->lock);
	node_sync__wants_expire(sync, true);
}

bool node_sync_idle(const struct node_sync *sync)
{
	return !node_load__on_pool(&sync->load);
}

void node_sync_requests_set(struct node_sync *sync, uint64_t requests)
{
	sync->requests = requests;
}

void node_sync_destroy(struct node_sync **sync)
{
	struct node_sync *s = *sync;
	if (s == NULL)
		return;
	assert(node_sync_idle(s));
	node_sync_close(s);
	worker_fetch_destroy(&s->fetch);
	worker_upload_destroy(&s->upload);
	node_load__fini(&s->load);
	for (size_t i = 0; i < s->entry_count; i++)
		node_version_release(&s->entries[i].version);
	pthread_mutex_destroy(&s->lock);
	free(s->wants);
	free(s);
	*sync = NULL;
}

void node_sync_info_get(struct node_sync *sync, struct node_sync_info *out)
{
	pthread_mutex_lock(&sync->lock);
	*out = sync->info;
	out->state = (enum node_sync_state)sync->state;
	out->greeted = sync->greeted;
	out->answered = sync->answered;
	out->live = sync->live.version;
	out->newest = sync->newest.version;
	out->root = sync->live.root;
	out->content = sync->live.content;
	out->versions = sync->entry_count;
	struct node_sync__entry *entry = out->live != 0 ? node_sync__entry_find(sync, out->live) : NULL;
	out->edits = entry != NULL ? editor_memory_set_edit_count(entry->version.set) : 0;
	if (out->newest > out->live)
		out->lag_seconds = fmax((double)(env_wall_ms(sync->env) - sync->newest.published_ms) / 1000.0, 0);
	pthread_mutex_unlock(&sync->lock);
}
