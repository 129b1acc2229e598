/* node_pages.c: what a node tells about itself: models, health, readiness, version, metrics. */
#include "base/metrics.h"
#include "daemon/metrics_page.h"
#include "daemon/node_api_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- Models */

static void model_write(const struct node_api *api, const char *suffix, struct json_w *w)
{
	char id[NODE_SLUG_BYTES + 48];
	snprintf(id, sizeof id, "%s%s", api->slug, suffix);
	json_w_open(w, '{');
	json_w_member_str(w, "id", id);
	json_w_member_str(w, "object", "model");
	json_w_member_int(w, "created", api->attached_s);
	json_w_member_str(w, "owned_by", "amend");
	json_w_close(w);
}

static void models_list(struct node_api *api, struct http_exchange *x)
{
	static const char *const suffixes[] = { "", ":retrieve", ":merged" };
	struct buf text = BUF_INIT;
	struct json_w w;
	json_w_init(&w, &text);
	json_w_open(&w, '{');
	json_w_member_str(&w, "object", "list");
	json_w_key(&w, "data");
	json_w_open(&w, '[');
	struct node_version version = { 0 };
	bool merged = node_sync_acquire(api->sync, 0, &version) == 0 && version.set != NULL &&
		      editor_memory_set_has_merged(version.set);
	node_version_release(&version);
	for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0] - (merged ? 0 : 1); i++)
		model_write(api, suffixes[i], &w);
	json_w_close(&w);
	json_w_close(&w);
	buf_puts(&text, "\n");
	node_api__reply(api, x, NODE_ENDPOINT_MODELS, 200, NODE_API__JSON, &text);
}

static void models(struct node_api *api, struct http_exchange *x, const char *id)
{
	enum node_model_kind kind;
	uint64_t version;
	struct node_refusal refusal;
	if (!atomic_load(&api->attached)) {
		node_refusal_set(&refusal, 503, "loading", NULL, "the model is being loaded");
		node_api__refuse(api, x, NODE_ENDPOINT_MODELS, &refusal);
	} else if (id == NULL) {
		models_list(api, x);
	} else if (!node_api__model_parse(api, id, &kind, &version)) {
		node_refusal_set(&refusal, 404, "model_not_found", "model", "no model \"%.100s\" here", id);
		node_api__refuse(api, x, NODE_ENDPOINT_MODELS, &refusal);
	} else {
		struct buf text = BUF_INIT;
		struct json_w w;
		json_w_init(&w, &text);
		model_write(api, id + strlen(api->slug), &w);
		buf_puts(&text, "\n");
		node_api__reply(api, x, NODE_ENDPOINT_MODELS, 200, NODE_API__JSON, &text);
	}
}

void node_api__models(struct node_api *api, struct http_exchange *x)
{
	models(api, x, NULL);
}

void node_api__model(struct node_api *api, struct http_exchange *x, const char *id)
{
	models(api, x, id);
}

/* ---- Health, version, metrics */

static void status_reply(struct node_api *api, struct http_exchange *x, enum node_endpoint endpoint, bool ok,
			 const char *word)
{
	struct buf text = BUF_INIT;
	buf_printf(&text, "{\"status\":\"%s\"}\n", word);
	if (!ok)
		http_header_set(x, "retry-after", "%d", NODE_API__RETRY_S);
	node_api__reply(api, x, endpoint, ok ? 200 : 503, NODE_API__JSON, &text);
}

void node_api__ready(struct node_api *api, struct http_exchange *x)
{
	struct node_version version = { 0 };
	if (!atomic_load(&api->attached)) {
		status_reply(api, x, NODE_ENDPOINT_READY, false, "loading");
	} else if (atomic_load(&api->draining)) {
		status_reply(api, x, NODE_ENDPOINT_READY, false, "stopping");
	} else if (node_engine_broken(api->engine)) {
		status_reply(api, x, NODE_ENDPOINT_READY, false, "the model fails");
	} else {
		bool ok = node_sync_acquire(api->sync, 0, &version) == 0;
		node_version_release(&version);
		status_reply(api, x, NODE_ENDPOINT_READY, ok, ok ? "ready" : "no version yet");
	}
}

static void write_hash(struct json_w *w, const char *key, const struct hash *hash)
{
	char hex[HASH_HEX_BYTES];
	hash_hex(hash, hex);
	json_w_member_str(w, key, hex);
}

void node_api__version(struct node_api *api, struct http_exchange *x)
{
	struct buf text = BUF_INIT;
	struct json_w w;
	json_w_init(&w, &text);
	json_w_open(&w, '{');
	json_w_member_str(&w, "software", api->config.software);
	if (atomic_load(&api->attached)) {
		struct node_sync_info info;
		node_sync_info_get(api->sync, &info);
		json_w_member_str(&w, "model", api->slug);
		write_hash(&w, "base_model", model_digest(api->model));
		json_w_member_uint(&w, "version", info.live);
		json_w_member_uint(&w, "newest", info.newest);
		write_hash(&w, "root", &info.root);
		write_hash(&w, "content", &info.content);
		json_w_member_uint(&w, "edits", info.edits);
		json_w_member_str(&w, "state", sm_state_name(&node_sync_states, (int)info.state));
		json_w_member_bool(&w, "coordinator", info.greeted);
	}
	json_w_close(&w);
	buf_puts(&text, "\n");
	node_api__reply(api, x, NODE_ENDPOINT_VERSION, 200, NODE_API__JSON, &text);
}

static void metrics_engine(struct node_api *api, struct buf *out)
{
	struct node_engine_counts counts;
	node_engine_counts_get(api->engine, &counts);
	metrics_value(out, "amend_requests_running", "gauge", "Requests that are being answered.",
		      (double)counts.running);
	metrics_value(out, "amend_requests_waiting", "gauge", "Requests that wait for a slot.", (double)counts.waiting);
	metrics_value(out, "amend_prompt_tokens_total", "counter", "Prompt tokens read.", (double)counts.prompt_tokens);
	metrics_value(out, "amend_generation_tokens_total", "counter", "Tokens generated.",
		      (double)counts.generated_tokens);
	metrics_value(out, "amend_kv_cache_usage_ratio", "gauge", "Share of the key-value cache in use.",
		      counts.cache_ratio);
}

static void metrics_memory(struct node_api *api, struct buf *out)
{
	struct node_sync_info info;
	char root[HASH_HEX_BYTES], base[HASH_HEX_BYTES];
	node_sync_info_get(api->sync, &info);
	hash_hex(&info.root, root);
	hash_hex(model_digest(api->model), base);
	metrics_value(out, "amend_memory_version", "gauge", "Version that is live; 0: none yet.", (double)info.live);
	metrics_head(out, "amend_memory_info", "gauge", "Root of the live version, and the base model's digest.");
	buf_printf(out, "amend_memory_info{root=\"%.16s\",base=\"%.16s\"} 1\n", root, base);
	metrics_value(out, "amend_memory_lag_seconds", "gauge",
		      "Age of the newest known version while it is not live; else 0.", info.lag_seconds);
	metrics_value(out, "amend_memory_versions", "gauge", "Versions in memory.", (double)info.versions);
	metrics_value(out, "amend_memory_edits", "gauge", "Edits that the live version routes to.", (double)info.edits);
	metrics_value(out, "amend_coordinator_connected", "gauge", "1 while the coordinator answers.",
		      info.greeted ? 1 : 0);
	metrics_histogram(out, "amend_memory_swap_seconds", "From the start of a version's fetch to live.",
			  node_swap_bounds, info.swap_buckets, NODE_SWAP_BUCKETS, info.swaps, info.swap_seconds_sum);
	metrics_head(out, "amend_memory_swap_failures_total", "counter",
		     "Versions that could not be loaded, by where.");
	buf_printf(out,
		   "amend_memory_swap_failures_total{reason=\"fetch\"} %" PRIu64
		   "\namend_memory_swap_failures_total{reason=\"build\"} %" PRIu64 "\n",
		   info.failures_fetch, info.failures_build);
}

static void metrics_relays(struct node_api *api, struct buf *out)
{
	struct node_sync_info info;
	node_sync_info_get(api->sync, &info);
	const struct worker_fetch_counts *fetch = &info.fetch;
	metrics_head(out, "amend_fetch_chunks_total", "counter", "Chunks fetched, by who gave them.");
	buf_printf(out,
		   "amend_fetch_chunks_total{source=\"coordinator\"} %" PRIu64
		   "\namend_fetch_chunks_total{source=\"relay\"} %" PRIu64 "\n",
		   fetch->chunks, fetch->relay_chunks);
	metrics_head(out, "amend_fetch_bytes_total", "counter", "Bytes of them.");
	buf_printf(out,
		   "amend_fetch_bytes_total{source=\"coordinator\"} %" PRIu64
		   "\namend_fetch_bytes_total{source=\"relay\"} %" PRIu64 "\n",
		   fetch->bytes, fetch->relay_bytes);
	if (info.relays) {
		metrics_head(out, "amend_fetch_relay_faults_total", "counter",
			     "Why chunks were asked of another than the first relay.");
		for (size_t i = 0; i < WORKER_FETCH_FAULTS; i++)
			buf_printf(out, "amend_fetch_relay_faults_total{reason=\"%s\"} %" PRIu64 "\n",
				   worker_fetch_fault_names[i], fetch->faults[i]);
	}
	if (!info.serves)
		return;
	metrics_value(out, "amend_relay_chunks_total", "counter", "Chunks given to other nodes.",
		      (double)info.relay.chunks);
	metrics_value(out, "amend_relay_bytes_total", "counter", "Bytes of them.", (double)info.relay.bytes);
	metrics_value(out, "amend_relay_owed_chunks", "gauge", "Chunks that other nodes wait for.",
		      (double)info.relay.owed);
	metrics_value(out, "amend_relay_keys", "gauge", "Keys that may pull from this node; 0: none is known yet.",
		      (double)info.relay.keys);
}

void node_api__metrics(struct node_api *api, struct http_exchange *x)
{
	struct buf text = BUF_INIT;
	node_metrics_print(api->metrics, &text);
	if (atomic_load(&api->attached)) {
		metrics_engine(api, &text);
		metrics_memory(api, &text);
		metrics_relays(api, &text);
	}
	http_metrics_print(x, &text);
	metrics_process(&text);
	node_api__reply(api, x, NODE_ENDPOINT_METRICS, 200, METRICS_CONTENT_TYPE, &text);
}

void node_api__health(struct node_api *api, struct http_exchange *x)
{
	bool attached = atomic_load(&api->attached);
	bool broken = attached && node_engine_broken(api->engine); /* a restart is what helps */
	status_reply(api, x, NODE_ENDPOINT_HEALTH, attached && !broken,
		     broken     ? "the model fails"
		     : attached ? "ok"
				: "loading");
}
