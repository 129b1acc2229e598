/* recv_hello.c: who is there. The first worker fixes the cluster's base model and edited layer; a second process with a
 * worker's key fences the first. */
#include "coordinator/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The one that is fixed, else the one that a worker with this model would fix. */
static uint32_t layer_for(const struct coordinator *c, const struct msg_hello *hello)
{
	return !c->base_known && hello->layers > 0 ? coordinator__layer_of(c, hello->layers) : coordinator__layer(c);
}

static void reply(struct coordinator *c, const struct msg_received *received, int code, const char *text)
{
	struct msg msg = { .type = MSG_HELLO_REPLY };
	struct msg_hello_reply *r = &msg.u.hello_reply;
	r->code = code;
	r->text = coordinator__text(text);
	r->cluster_id = coordinator__text(c->cluster_id);
	r->heartbeat_ms = c->config.heartbeat_ms;
	r->lease_ms = c->config.lease_ms;
	r->seed = c->config.seed;
	r->layer = layer_for(c, &received->msg.u.hello);
	r->version = c->version;
	r->settings = c->config.settings;
	r->rate = c->config.rate;
	coordinator__reply(c, received, &msg);
}

static int fix_base_write(struct coordinator *c, const struct msg_hello *hello, uint32_t layer, const uint8_t *actor,
			  struct err *e)
{
	struct buf bytes = BUF_INIT, layer_bytes = BUF_INIT, json = BUF_INIT;
	struct json_w w;
	buf_u32le(&layer_bytes, layer);
	buf_append(&bytes, hello->base_model.bytes, HASH_BYTES);
	buf_u32le(&bytes, hello->layers);
	buf_u32le(&bytes, hello->hidden);
	buf_u32le(&bytes, hello->ffn);
	json_w_init(&w, &json);
	json_w_open(&w, '{');
	json_w_member_hash(&w, "base_model", &hello->base_model);
	json_w_member_uint(&w, "layers", hello->layers);
	json_w_member_uint(&w, "hidden", hello->hidden);
	json_w_member_uint(&w, "ffn", hello->ffn);
	json_w_member_str(&w, "family", c->family);
	json_w_member_uint(&w, "layer", layer);
	json_w_close(&w);
	int rc = coordinator__begin(c, e);
	if (rc == 0)
		rc = buf_failed(&bytes) || buf_failed(&layer_bytes)
			     ? err_set(e, ERR_NOMEM, "out of memory")
			     : store_meta_put(c->txn, "base-model", bytes.data, bytes.len, e);
	if (rc == 0)
		rc = store_meta_put(c->txn, "family", c->family, strlen(c->family), e);
	if (rc == 0)
		rc = store_meta_put(c->txn, "layer", layer_bytes.data, layer_bytes.len, e);
	if (rc == 0)
		rc = coordinator__event(c, STORE_EVENT_CONFIG_CHANGED, actor, &json, NULL, e);
	buf_free(&json);
	buf_free(&layer_bytes);
	buf_free(&bytes);
	return rc == 0 ? coordinator__commit(c, NULL, NULL, e) : rc;
}

static int fix_base(struct coordinator *c, const struct msg_hello *hello, const uint8_t *actor)
{
	struct err e = ERR_INIT;
	const uint32_t layer = coordinator__layer_of(c, hello->layers);
	int rc = fix_base_write(c, hello, layer, actor, &e);
	if (rc != 0) {
		coordinator__txn_failed(c, &e);
		return rc;
	}
	c->base_known = true;
	c->base_model = hello->base_model;
	c->layers = hello->layers;
	c->hidden = hello->hidden;
	c->ffn = hello->ffn;
	c->layer = layer;
	log_event(LOG_INFO, "COORDINATOR-BASE-FIXED", LOGF_X("model", hello->base_model.bytes, HASH_BYTES),
		  LOGF_U("layers", hello->layers), LOGF_U("layer", layer));
	return 0;
}

/* Two processes with one key: the one that started later wins, and an earlier one stays out however often it
 * reconnects. */
static bool is_fenced(const struct peer *peer, uint64_t boot)
{
	size_t n = peer->fenced_count < PEER_FENCED_BOOTS ? peer->fenced_count : PEER_FENCED_BOOTS;
	for (size_t i = 0; i < n; i++) {
		if (peer->fenced_boots[i] == boot)
			return true;
	}
	return false;
}

static void fence_earlier(struct coordinator *c, struct peer *peer)
{
	log_event(LOG_INFO, "COORDINATOR-PEER-RESTARTED", LOGF_S("peer", peer->name), LOGF_X("key", peer->key, 8));
	for (size_t i = 0; i < c->shard_count && c->failure.code == 0; i++) {
		if (c->shards[i]->lease.holder == peer)
			coordinator__lease_lost(c, c->shards[i], "its worker started anew");
	}
	if (c->merge.lease.holder == peer)
		coordinator__gate_lost(c, "its worker started anew");
	peer->stalled = peer->leaving = false;
	peer->fenced_boots[peer->fenced_count++ % PEER_FENCED_BOOTS] = peer->boot;
}

static void remember(struct coordinator *c, struct peer *peer, const struct msg_received *received)
{
	const struct msg_hello *hello = &received->msg.u.hello;
	peer->route = received->route;
	peer->boot = hello->boot;
	peer->pid = hello->pid;
	peer->seen_ms = coordinator__now_ms(c);
	peer->calibration = hello->calibration;
	peer->corpus = hello->corpus;
	peer->canaries = hello->canaries;
	coordinator__copy_text(peer->name, sizeof peer->name, hello->name);
	coordinator__copy_text(peer->software, sizeof peer->software, hello->software);
	coordinator__copy_text(peer->backend, sizeof peer->backend, hello->backend);
	coordinator__copy_text(peer->endpoint, sizeof peer->endpoint, hello->endpoint);
}

/* Another worker that is here and has named it; NULL: none. */
static const struct peer *another_with(const struct coordinator *c, const struct msg_received *received, bool corpus)
{
	for (size_t i = 0; i < c->peer_count; i++) {
		const struct peer *peer = c->peers[i];
		if (peer->kind == MSG_PEER_WORKER && !peer->leaving && coordinator__peer_live(c, peer) &&
		    !hash_is_zero(corpus ? &peer->corpus : &peer->calibration) &&
		    memcmp(peer->key, received->peer_key, PROTO_KEY_BYTES) != 0)
			return peer;
	}
	return NULL;
}

/* Edits trained by workers with two calibrations would be routed by whichever came last. The file that the
 * configuration names counts, else what another worker has. */
static int check_calibration(const struct coordinator *c, const struct msg_received *received, char *text,
			     size_t text_bytes)
{
	const struct hash *theirs = &received->msg.u.hello.calibration;
	const bool named = !hash_is_zero(&c->config.calibration);
	const struct peer *another = another_with(c, received, false);
	const struct hash *ours = named ? &c->config.calibration : another != NULL ? &another->calibration : NULL;
	char names[2][HASH_HEX_BYTES];
	if (ours == NULL || hash_is_zero(theirs) || hash_equal(ours, theirs))
		return 0;
	hash_hex(ours, names[0]);
	hash_hex(theirs, names[1]);
	snprintf(text, text_bytes,
		 "your calibration is %.12s, %s %.12s: all workers of a cluster need the same one. Start with the same "
		 "--calibration file (or, without one, the same --corpus); to change it, stop all workers first",
		 names[1], named ? "this cluster's configuration names" : "the other workers have", names[0]);
	return ERR_MISMATCH;
}

/* The paper's family has its margins from the coordinator, and trains on texts of the worker's corpus. */
static int check_corpus(const struct coordinator *c, const struct msg_received *received, char *text, size_t text_bytes)
{
	const struct hash *theirs = &received->msg.u.hello.corpus;
	const struct peer *another = another_with(c, received, true);
	char names[2][HASH_HEX_BYTES];
	if (another == NULL || hash_is_zero(theirs) || hash_equal(&another->corpus, theirs))
		return 0;
	hash_hex(&another->corpus, names[0]);
	hash_hex(theirs, names[1]);
	snprintf(
		text, text_bytes,
		"your corpus is %.12s, the other workers have %.12s: family paper trains on its texts, and all workers "
		"of a cluster need the same one. Start with the same --corpus; to change it, stop all workers first",
		names[1], names[0]);
	return ERR_MISMATCH;
}

/* A layer that the model has not would be fixed for ever, and nothing could be trained. */
static int check_layer(const struct coordinator *c, const struct msg_hello *hello, char *text, size_t text_bytes)
{
	const uint32_t layer = layer_for(c, hello);
	if (hello->layers == 0 || layer == UINT32_MAX || layer < hello->layers)
		return 0;
	snprintf(text, text_bytes,
		 "this cluster edits layer %" PRIu32 ", your model has layers 0 to %" PRIu32
		 ": start the coordinator, or `amend up`, with --layer 1 to %" PRIu32,
		 layer, hello->layers - 1, hello->layers - 1);
	return ERR_INVALID;
}

/* A client may name a model to ask whether it is this cluster's: so do workers before they calibrate. */
static bool names_base(const struct msg_hello *hello)
{
	return hello->kind != MSG_PEER_CLIENT || !hash_is_zero(&hello->base_model);
}

static bool is_worker(const struct msg_received *received)
{
	const struct msg_hello *hello = &received->msg.u.hello;
	return hello->kind == MSG_PEER_WORKER ||
	       (hello->kind == MSG_PEER_CLIENT && names_base(hello) && (received->roles & PROTO_ROLE_WORKER) != 0);
}

static int check(struct coordinator *c, const struct msg_received *received, char *text, size_t text_bytes)
{
	const struct msg_hello *hello = &received->msg.u.hello;
	if (hello->protocol_min > MSG_PROTOCOL_VERSION || hello->protocol_max < MSG_PROTOCOL_VERSION) {
		snprintf(text, text_bytes,
			 "this coordinator speaks protocol %d, you speak %" PRIu32 " to %" PRIu32
			 ": update the older of the two",
			 MSG_PROTOCOL_VERSION, hello->protocol_min, hello->protocol_max);
		return ERR_UNSUPPORTED;
	}
	if ((received->roles & coordinator__kind_roles(hello->kind)) == 0) {
		const char *kind = hello->kind == MSG_PEER_WORKER ? "worker" : "node";
		snprintf(text, text_bytes,
			 "your key may not be a %s: give it the role %s in the coordinator's allow list, then SIGHUP",
			 kind, hello->kind == MSG_PEER_WORKER ? "worker" : "reader");
		return ERR_DENIED;
	}
	if (hello->kind == MSG_PEER_WORKER &&
	    (hello->layers == 0 || hello->hidden == 0 || hello->ffn == 0 || hash_is_zero(&hello->base_model))) {
		snprintf(text, text_bytes, "a worker must name its base model's digest and shape");
		return ERR_INVALID;
	}
	if (c->base_known && names_base(hello) && !hash_equal(&c->base_model, &hello->base_model)) {
		char ours[HASH_HEX_BYTES], theirs[HASH_HEX_BYTES];
		hash_hex(&c->base_model, ours);
		hash_hex(&hello->base_model, theirs);
		snprintf(text, text_bytes,
			 "this cluster edits the base model %.12s, you loaded %.12s: start with the same model file, "
			 "or start another cluster for this one",
			 ours, theirs);
		return ERR_MISMATCH;
	}
	int code = check_layer(c, hello, text, text_bytes);
	if (code != 0 || !is_worker(received))
		return code;
	return strcmp(c->family, "paper") == 0 ? check_corpus(c, received, text, text_bytes)
					       : check_calibration(c, received, text, text_bytes);
}

/* Its own log may lie where nobody looks: the fleet's table says it. */
static void refused_keep(struct coordinator *c, const struct msg_received *received, struct msg_text reason)
{
	c->refused.at_ms = coordinator__now_ms(c);
	memcpy(c->refused.key, received->peer_key, sizeof c->refused.key);
	coordinator__copy_text(c->refused.name, sizeof c->refused.name, received->msg.u.hello.name);
	coordinator__copy_text(c->refused.reason, sizeof c->refused.reason, reason);
}

static void refuse(struct coordinator *c, const struct msg_received *received, int code, const char *text)
{
	const struct msg_text name = received->msg.u.hello.name;
	log_event(LOG_WARN, "COORDINATOR-HELLO-REFUSED", LOGF_S("code", err_name(code)),
		  LOGF_SN("peer", name.text != NULL ? name.text : "", name.len), LOGF_S("reason", text));
	if (is_worker(received) || received->msg.u.hello.kind == MSG_PEER_NODE)
		refused_keep(c, received, coordinator__text(text));
	reply(c, received, code, text);
}

/* It asks, or says that it will not come. */
static void recv_client(struct coordinator *c, const struct msg_received *received)
{
	const struct msg_hello *hello = &received->msg.u.hello;
	if (hello->refusal.len > 0 && is_worker(received)) {
		log_event(LOG_WARN, "COORDINATOR-WORKER-UNABLE",
			  LOGF_SN("peer", hello->name.text != NULL ? hello->name.text : "", hello->name.len),
			  LOGF_SN("reason", hello->refusal.text, hello->refusal.len));
		refused_keep(c, received, hello->refusal);
	}
	reply(c, received, 0, "");
}

static void canaries_compare(struct coordinator *c)
{
	char text[REFUSAL_BYTES];
	coordinator__canaries_text(c, text, sizeof text);
	if (text[0] != '\0')
		log_event(LOG_WARN, "COORDINATOR-CANARIES-DIFFER", LOGF_S("reason", text));
}

void coordinator__recv_hello(struct coordinator *c, const struct msg_received *received)
{
	const struct msg_hello *hello = &received->msg.u.hello;
	char text[REFUSAL_BYTES] = "";
	int code = check(c, received, text, sizeof text);
	if (code != 0) {
		refuse(c, received, code, text);
		return;
	}
	if (hello->kind == MSG_PEER_CLIENT) {
		recv_client(c, received);
		return;
	}
	struct peer *peer = coordinator__peer_find(c, received->peer_key, hello->kind);
	if (peer != NULL && is_fenced(peer, hello->boot)) {
		reply(c, received, ERR_DENIED,
		      "another process with this key started later and took over: stop this one, or give it a key of "
		      "its own");
		return;
	}
	const bool fixed = c->base_known && c->layer != UINT32_MAX;
	if (hello->kind == MSG_PEER_WORKER && !fixed && fix_base(c, hello, received->peer_key) != 0) {
		reply(c, received, ERR_AGAIN,
		      "the base model could not be written down, see the coordinator's log: try again");
		return;
	}
	if (peer != NULL && peer->boot != hello->boot)
		fence_earlier(c, peer);
	bool known = peer != NULL && peer->boot == hello->boot;
	if (peer == NULL && c->peer_count >= c->config.peers_max) {
		refuse(c, received, ERR_LIMIT, "too many workers and nodes for this coordinator");
		return;
	}
	if (peer == NULL)
		peer = coordinator__peer_add(c, received->peer_key, hello->kind);
	if (peer == NULL) {
		reply(c, received, ERR_AGAIN, "the coordinator is out of memory: try again");
		return;
	}
	remember(c, peer, received);
	if (memcmp(c->refused.key, received->peer_key, sizeof c->refused.key) == 0)
		c->refused.reason[0] = c->refused.name[0] = '\0';
	if (!known)
		canaries_compare(c);
	if (!known)
		log_event(LOG_INFO, "COORDINATOR-PEER-JOINED", LOGF_S("peer", peer->name),
			  LOGF_S("kind", hello->kind == MSG_PEER_WORKER ? "worker" : "node"),
			  LOGF_S("backend", peer->backend), LOGF_X("key", peer->key, 8));
	c->nodes_changed = true;
	reply(c, received, 0, "");
	/* What was sent on the old connection may be lost. */
	for (size_t i = 0; known && i < c->shard_count; i++) {
		if (c->shards[i]->lease.holder == peer)
			c->shards[i]->lease.sent = false;
	}
	coordinator__place_waiting(c);
}
