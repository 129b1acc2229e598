/* light.c: greets, keeps its heartbeat, polls at hints and every second, fetches the manifest and every chunk that it
 * lacks 32 at a time, checks each by its hash, and tells when it has them all: node_sync.c and worker/fetch.c by their
 * messages. One that is a relay answers its children as node_relay.c does, from the product's queue of what is owed.
 * What it does not do: keep the chunks (which ones it has is a set of hashes; the bytes of root chunks and manifests,
 * and where there are relays of all, are kept once), build memories, write anything down. */
#include "tests/sim/light.h"

#include "daemon/version_set.h"
#include "proto/needs.h"
#include "tests/sim/engine.h"
#include "tests/sim/fleet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW       32
#define SHARED_MAX   65536
#define PATIENCE_US  INT64_C(15000000) /* or up to twice as long, until a child turns to the coordinator */
#define BEAT_US      INT64_C(1000000)
#define POLL_US      INT64_C(1000000)
#define POLL_SOON_US INT64_C(100000)
#define AGAIN_US     INT64_C(2000000)
#define GREET_US     INT64_C(5000000) /* they come within so long */

struct set { /* of hashes, by their first bytes; open addressing, 0: empty */
	uint64_t *marks;
	size_t count, cap;
};

struct light {
	struct proto_transport *transport;
	uint64_t boot, request, poll_request, heard, live;
	int64_t hello_us, beat_us, poll_us, asked_us;
	bool greeted, loading, has_manifest;
	struct msg_manifest_reply target;
	struct hash live_content;
	struct hash asks[WINDOW];
	bool arrived[WINDOW];
	size_t ask_count, arrived_count;
	struct set have;
	/* relays */
	struct proto_transport *parent, *children; /* NULL: it has none */
	struct proto_needs needs;
	bool fed; /* what it owes may be there */
	int64_t gave_us, patience_us;
};

struct shared { /* bytes of a root chunk or of a manifest's chunk */
	struct hash hash;
	struct buf bytes;
};

struct light_nodes {
	struct sim *sim;
	struct light *nodes;
	size_t count;
	struct shared shared[SHARED_MAX]; /* open addressing; an empty one has no bytes */
	size_t shared_count;
	size_t fan_out, relay_count;
	uint64_t fallbacks;
	struct hash listed_root; /* the manifest of `listed` */
	struct buf listed;       /* struct hash: its blobs */
};

/* ---- Which chunks a node has */

static uint64_t mark_of(const struct hash *hash)
{
	uint64_t mark;
	memcpy(&mark, hash->bytes, sizeof mark);
	return mark | 1;
}

static size_t place_of(const struct set *set, uint64_t mark)
{
	size_t at = (mark >> 8) % set->cap;
	while (set->marks[at] != 0 && set->marks[at] != mark)
		at = (at + 1) % set->cap;
	return at;
}

static bool set_has(const struct set *set, const struct hash *hash)
{
	return set->cap > 0 && set->marks[place_of(set, mark_of(hash))] != 0;
}

static void set_add(struct set *set, uint64_t mark)
{
	if (2 * (set->count + 1) > set->cap) {
		struct set more = { .cap = set->cap == 0 ? 64 : 2 * set->cap };
		more.marks = calloc(more.cap, sizeof *more.marks);
		if (more.marks == NULL)
			abort();
		for (size_t i = 0; i < set->cap; i++)
			if (set->marks[i] != 0)
				set_add(&more, set->marks[i]);
		free(set->marks);
		*set = more;
	}
	size_t at = place_of(set, mark);
	set->count += set->marks[at] == 0;
	set->marks[at] = mark;
}

/* ---- What is the same for all */

static size_t shared_place(const struct light_nodes *nodes, const struct hash *hash)
{
	size_t at = (mark_of(hash) >> 8) % SHARED_MAX;
	while (nodes->shared[at].bytes.len > 0 && !hash_equal(&nodes->shared[at].hash, hash))
		at = (at + 1) % SHARED_MAX;
	return at;
}

static const struct buf *shared_find(const struct light_nodes *nodes, const struct hash *hash)
{
	const struct buf *bytes = &nodes->shared[shared_place(nodes, hash)].bytes;
	return bytes->len > 0 ? bytes : NULL;
}

static void shared_keep(struct light_nodes *nodes, const struct msg_chunk *chunk, bool manifest)
{
	bool root = chunk->data.len >= 4 && memcmp(chunk->data.bytes, "AMRT", 4) == 0;
	if ((!root && !manifest && nodes->fan_out == 0) || shared_find(nodes, &chunk->hash) != NULL)
		return;
	if (++nodes->shared_count > SHARED_MAX / 2)
		abort();
	struct shared *one = &nodes->shared[shared_place(nodes, &chunk->hash)];
	one->hash = chunk->hash;
	buf_append(&one->bytes, chunk->data.bytes, chunk->data.len);
}

static void broken(struct light_nodes *nodes, const struct err *e)
{
	sim_break(nodes->sim, "a light node: %s", e->text);
}

static void chunks_of(struct light_nodes *nodes, const struct hash *root, struct buf *out)
{
	const struct buf *bytes = shared_find(nodes, root);
	struct err e = ERR_INIT;
	uint64_t byte_count;
	if (bytes == NULL || store_root_parse(bytes->data, bytes->len, out, &byte_count, &e) != 0)
		broken(nodes, &e);
}

/* The blobs of the manifest with this root, whose chunks have come. */
static void manifest_list(struct light_nodes *nodes, const struct hash *root)
{
	struct buf hashes = BUF_INIT, bytes = BUF_INIT;
	struct proto_manifest manifest;
	struct arena *arena = NULL;
	struct err e = ERR_INIT;
	if (hash_equal(root, &nodes->listed_root))
		return;
	chunks_of(nodes, root, &hashes);
	for (size_t i = 0; i < hashes.len / sizeof(struct hash); i++) {
		const struct buf *part = shared_find(nodes, (const struct hash *)(const void *)hashes.data + i);
		if (part != NULL)
			buf_append(&bytes, part->data, part->len);
	}
	buf_clear(&nodes->listed);
	int rc = arena_new(1 << 16, 0, &arena);
	if (rc == 0)
		rc = proto_manifest_decode(bytes.data, bytes.len, arena, &manifest, &e);
	if (rc == 0)
		rc = proto_manifest_roots(&manifest, &nodes->listed, &e);
	if (rc != 0)
		broken(nodes, &e);
	nodes->listed_root = *root;
	arena_destroy(&arena);
	buf_free(&hashes);
	buf_free(&bytes);
}

/* ---- Messages */

static struct msg_text text_of(const char *text)
{
	return (struct msg_text){ text, strlen(text) };
}

static void tell_to(struct proto_transport *to, struct msg *msg)
{
	(void)to->ops->send(to, 0, msg, NULL);
}

static void tell(struct light *node, struct msg *msg)
{
	tell_to(node->transport, msg);
}

static void hello(struct light_nodes *nodes, struct light *node)
{
	const struct model_shape *shape = model_shape_of(sim_engine_model());
	struct msg msg = { .type = MSG_HELLO, .request_id = ++node->request };
	msg.u.hello = (struct msg_hello){ .kind = MSG_PEER_NODE,
					  .protocol_min = MSG_PROTOCOL_VERSION,
					  .protocol_max = MSG_PROTOCOL_VERSION,
					  .name = text_of("light"),
					  .software = text_of("sim"),
					  .backend = text_of("none"),
					  .endpoint = text_of("127.0.0.1:1"),
					  .refusal = text_of(""),
					  .boot = node->boot,
					  .base_model = *model_digest(sim_engine_model()),
					  .layers = (uint32_t)shape->layers,
					  .hidden = (uint32_t)shape->hidden,
					  .ffn = (uint32_t)shape->ffn,
					  .pid = 1 };
	node->hello_us = sim_now(nodes->sim) + AGAIN_US;
	tell(node, &msg);
}

static void status(struct light *node)
{
	struct msg msg = { .type = MSG_NODE_STATUS, .request_id = ++node->request };
	msg.u.node_status = (struct msg_node_status){ .version = node->live,
						      .content = node->live_content,
						      .state = text_of(node->loading ? "fetching" : "live"),
						      .failed_reason = text_of("") };
	tell(node, &msg);
}

static void poll_newest(struct light_nodes *nodes, struct light *node)
{
	struct msg msg = { .type = MSG_GET_MANIFEST };
	if (node->poll_request == 0)
		node->poll_request = ++node->request;
	msg.request_id = node->poll_request;
	node->poll_us = sim_now(nodes->sim);
	tell(node, &msg);
}

static void need(struct light_nodes *nodes, struct light *node, struct proto_transport *of)
{
	struct hash hashes[WINDOW];
	struct msg msg = { .type = MSG_NEED, .request_id = ++node->request };
	size_t count = 0;
	for (size_t i = 0; i < node->ask_count; i++)
		if (!node->arrived[i])
			hashes[count++] = node->asks[i];
	msg.u.hashes = (struct msg_hashes){ hashes, count, node->target.version };
	node->asked_us = sim_now(nodes->sim);
	tell_to(of, &msg);
}

static struct proto_transport *source_of(const struct light *node)
{
	return node->parent != NULL ? node->parent : node->transport;
}

/* ---- Loading */

static void ask_for(struct light *node, const struct hash *hash)
{
	for (size_t i = 0; i < node->ask_count; i++)
		if (hash_equal(&node->asks[i], hash))
			return;
	if (node->ask_count < WINDOW && !set_has(&node->have, hash)) {
		node->arrived[node->ask_count] = false;
		node->asks[node->ask_count++] = *hash;
	}
}

static void ask_for_blob(struct light_nodes *nodes, struct light *node, const struct hash *root)
{
	struct buf hashes = BUF_INIT;
	if (!set_has(&node->have, root)) {
		ask_for(node, root);
		return;
	}
	chunks_of(nodes, root, &hashes);
	for (size_t i = 0; i < hashes.len / sizeof(struct hash); i++)
		ask_for(node, (const struct hash *)(const void *)hashes.data + i);
	buf_free(&hashes);
}

static void load_on(struct light_nodes *nodes, struct light *node)
{
	node->ask_count = node->arrived_count = 0;
	if (!node->has_manifest) {
		ask_for_blob(nodes, node, &node->target.root);
		node->has_manifest = node->ask_count == 0;
	}
	if (node->has_manifest) {
		manifest_list(nodes, &node->target.root);
		const struct hash *roots = (const void *)nodes->listed.data;
		for (size_t i = 0; i < nodes->listed.len / sizeof *roots && node->ask_count < WINDOW; i++)
			ask_for_blob(nodes, node, &roots[i]);
	}
	if (node->ask_count > 0) {
		need(nodes, node, source_of(node));
		return;
	}
	node->loading = false;
	node->fed = true;
	node->live = node->target.version;
	node->live_content = node->target.content;
	status(node);
	poll_newest(nodes, node);
}

static void manifest_take(struct light_nodes *nodes, struct light *node, const struct msg_manifest_reply *reply)
{
	node->poll_request = 0;
	if (reply->code != 0 || node->loading || reply->version <= node->live)
		return;
	node->target = *reply;
	node->target.note = text_of(""); /* the reply's goes with it */
	node->loading = true;
	node->has_manifest = false;
	node->gave_us = sim_now(nodes->sim);
	status(node);
	load_on(nodes, node);
}

/* What its relay does not have, or not in time. */
static void fallback(struct light_nodes *nodes, struct light *node, const struct hash *hash)
{
	struct msg msg = { .type = MSG_NEED, .request_id = ++node->request, .u.hashes = { hash, 1, 0 } };
	nodes->fallbacks++;
	tell(node, &msg);
}

static void chunk_take(struct light_nodes *nodes, struct light *node, const struct msg_chunk *chunk)
{
	struct hash found;
	size_t at = 0;
	while (at < node->ask_count && !hash_equal(&node->asks[at], &chunk->hash))
		at++;
	if (!node->loading || at == node->ask_count || node->arrived[at])
		return;
	if (chunk->code == ERR_NOT_FOUND && node->parent != NULL) {
		fallback(nodes, node, &chunk->hash);
		return;
	}
	hash_of(chunk->data.bytes, chunk->data.len, &found);
	if (chunk->code != 0 || !hash_equal(&found, &chunk->hash)) {
		sim_break(nodes->sim, "a light node gets no chunk that it asked for: %s", err_name(chunk->code));
		return;
	}
	node->arrived[at] = true;
	node->fed = true;
	node->asked_us = node->gave_us = sim_now(nodes->sim);
	shared_keep(nodes, chunk, !node->has_manifest);
	set_add(&node->have, mark_of(&chunk->hash));
	if (++node->arrived_count == node->ask_count)
		load_on(nodes, node);
}

static void take(struct light_nodes *nodes, struct light *node, const struct msg *msg)
{
	switch (msg->type) {
	case MSG_HELLO_REPLY:
		if (msg->u.hello_reply.code != 0)
			sim_break(nodes->sim, "a light node is refused: %s", err_name(msg->u.hello_reply.code));
		node->greeted = true;
		node->beat_us = sim_now(nodes->sim);
		status(node);
		poll_newest(nodes, node);
		break;
	case MSG_HEARTBEAT_REPLY:
		node->heard = msg->u.heartbeat_reply.version;
		break;
	case MSG_HINT:
		node->heard = msg->u.hint.version;
		break;
	case MSG_MANIFEST:
		manifest_take(nodes, node, &msg->u.manifest);
		break;
	case MSG_CHUNK:
		chunk_take(nodes, node, &msg->u.chunk);
		break;
	default:
		break; /* an error of the moment: asked again */
	}
}

static void due(struct light_nodes *nodes, struct light *node)
{
	int64_t now = sim_now(nodes->sim);
	if (!node->greeted) {
		if (now >= node->hello_us)
			hello(nodes, node);
		return;
	}
	if (now - node->beat_us >= BEAT_US) {
		struct msg msg = { .type = MSG_HEARTBEAT, .request_id = ++node->request };
		node->beat_us = now;
		tell(node, &msg);
		status(node);
	}
	if (node->loading && now - node->asked_us >= AGAIN_US)
		need(nodes, node, source_of(node));
	if (node->loading && node->parent != NULL && now - node->gave_us >= node->patience_us) {
		node->gave_us = now;
		for (size_t i = 0; i < node->ask_count; i++)
			if (!node->arrived[i])
				fallback(nodes, node, &node->asks[i]);
	}
	bool news = node->heard > node->live && !node->loading;
	if (now - node->poll_us >= (node->poll_request != 0 ? AGAIN_US : news ? POLL_SOON_US : POLL_US))
		poll_newest(nodes, node);
}

/* ---- A relay's children */

struct giving {
	struct light_nodes *nodes;
	struct light *relay;
};

static int give(void *context, uint64_t route, const struct proto_need *need)
{
	struct giving *giving = context;
	struct light *relay = giving->relay;
	struct msg msg = { .type = MSG_CHUNK, .request_id = need->request_id, .u.chunk.hash = need->hash };
	const bool has = set_has(&relay->have, &need->hash);
	if (!has && need->version > relay->live)
		return ERR_BUSY;
	const struct buf *bytes = has ? shared_find(giving->nodes, &need->hash) : NULL;
	msg.u.chunk.code = bytes != NULL ? 0 : ERR_NOT_FOUND;
	if (bytes != NULL)
		msg.u.chunk.data = (struct msg_bytes){ bytes->data, bytes->len };
	return relay->children->ops->send(relay->children, route, &msg, NULL);
}

static void need_take(struct light_nodes *nodes, struct light *relay, const struct msg_received *received)
{
	const struct msg_hashes *need = &received->msg.u.hashes;
	struct hash missing[WINDOW];
	struct msg msg = { .type = MSG_MISSING, .request_id = received->msg.request_id };
	size_t count = 0;
	for (size_t i = 0; i < need->hash_count && need->version > relay->live; i++)
		if (!set_has(&relay->have, &need->hashes[i]))
			missing[count++] = need->hashes[i];
	msg.u.hashes = (struct msg_hashes){ missing, count, 0 };
	if (count > 0)
		(void)relay->children->ops->send(relay->children, received->route, &msg, NULL);
	if (proto_needs_add(&relay->needs, received, sim_now(nodes->sim)) != 0)
		sim_break(nodes->sim, "a light relay owes too much");
	relay->fed = true;
}

static void children_step(struct light_nodes *nodes, struct light *relay)
{
	struct msg_received *received = NULL;
	while (relay->children->ops->recv(relay->children, &received, NULL) == 0) {
		need_take(nodes, relay, received);
		msg_free(&received);
	}
	if (relay->fed)
		proto_needs_pump(&relay->needs, give, &(struct giving){ nodes, relay });
	relay->fed = false;
}

static void listen_to(struct light_nodes *nodes, struct light *node, struct proto_transport *from)
{
	struct msg_received *received = NULL;
	while (from != NULL && from->ops->recv(from, &received, NULL) == 0) {
		take(nodes, node, &received->msg);
		msg_free(&received);
	}
}

void light_nodes_step(struct light_nodes *nodes)
{
	for (size_t i = 0; i < nodes->count; i++) {
		struct light *node = &nodes->nodes[i];
		listen_to(nodes, node, node->transport);
		listen_to(nodes, node, node->parent);
		if (node->children != NULL)
			children_step(nodes, node);
		due(nodes, node);
	}
}

/* ---- All of them */

/* Its relay, and its children's end, where it has them. The relays come first, so that a parent is there. */
static int relay_connect(struct light_nodes *nodes, size_t i, size_t count, const uint8_t *key, struct err *e)
{
	struct light *node = &nodes->nodes[i];
	char name[32], parent[32];
	int rc = 0;
	if (nodes->fan_out == 0)
		return 0;
	snprintf(name, sizeof name, "relay-%zu", i);
	if ((i + 1) * nodes->fan_out < count) {
		nodes->relay_count++;
		rc = proto_mem_listen(nodes->sim->mem, name, nodes->sim->allow, &node->children, e);
	}
	if (rc != 0 || i < nodes->fan_out)
		return rc;
	snprintf(name, sizeof name, "child-%zu", i);
	snprintf(parent, sizeof parent, "relay-%zu", i / nodes->fan_out - 1);
	node->patience_us = PATIENCE_US + (int64_t)sim_below(nodes->sim, (uint64_t)PATIENCE_US);
	if (node->children != NULL)
		node->patience_us /= 3;
	return proto_mem_connect(nodes->sim->mem, name, parent, key, &node->parent, e);
}

struct light_nodes *light_nodes_new(struct sim *sim, size_t count, size_t fan_out)
{
	struct light_nodes *nodes = calloc(1, sizeof *nodes);
	struct err e = ERR_INIT;
	if (nodes == NULL || (nodes->nodes = calloc(count, sizeof *nodes->nodes)) == NULL)
		abort();
	nodes->sim = sim;
	nodes->count = count;
	nodes->fan_out = fan_out;
	for (size_t i = 0; i < nodes->count; i++) {
		struct light *node = &nodes->nodes[i];
		uint8_t key[PROTO_KEY_BYTES];
		char name[32];
		snprintf(name, sizeof name, "light-%zu", i);
		sim_fleet_key(i, SIM_NODE, key);
		node->boot = rng_derive(sim->options.seed, 8, i) | 1;
		node->hello_us = sim_now(sim) + (int64_t)sim_below(sim, (uint64_t)GREET_US);
		if (proto_mem_connect(sim->mem, name, "coordinator", key, &node->transport, &e) != 0) {
			broken(nodes, &e);
			nodes->count = i;
		} else if (relay_connect(nodes, i, count, key, &e) != 0) {
			broken(nodes, &e);
		}
	}
	return nodes;
}

void light_nodes_destroy(struct light_nodes **pointer)
{
	struct light_nodes *nodes = *pointer;
	for (size_t i = 0; i < nodes->count; i++) {
		struct light *node = &nodes->nodes[i];
		struct proto_transport *const ends[] = { node->transport, node->parent, node->children };
		for (size_t j = 0; j < sizeof ends / sizeof ends[0]; j++)
			if (ends[j] != NULL)
				ends[j]->ops->destroy(ends[j]);
		proto_needs_fini(&node->needs);
		free(node->have.marks);
	}
	for (size_t i = 0; i < SHARED_MAX; i++)
		buf_free(&nodes->shared[i].bytes);
	buf_free(&nodes->listed);
	free(nodes->nodes);
	free(nodes);
	*pointer = NULL;
}

size_t light_nodes_greeted(const struct light_nodes *nodes)
{
	size_t count = 0;
	for (size_t i = 0; i < nodes->count; i++)
		count += nodes->nodes[i].greeted;
	return count;
}

void light_nodes_traffic(const struct light_nodes *nodes, struct light_traffic *out)
{
	*out = (struct light_traffic){ .fallbacks = nodes->fallbacks, .relays = nodes->relay_count };
	for (size_t i = 0; i < nodes->count; i++) {
		const struct light *node = &nodes->nodes[i];
		out->to_relays_bytes += node->parent != NULL ? node->parent->counts.sent_bytes : 0;
		out->from_relays_bytes += node->children != NULL ? node->children->counts.sent_bytes : 0;
	}
}

size_t light_nodes_at(const struct light_nodes *nodes, uint64_t version)
{
	size_t count = 0;
	for (size_t i = 0; i < nodes->count; i++)
		count += nodes->nodes[i].live >= version;
	return count;
}
