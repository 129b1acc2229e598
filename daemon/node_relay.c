/* node_relay.c: see node_relay.h. */
#include "daemon/node_relay.h"

#include "base/fault.h"
#include "base/log.h"
#include "proto/needs.h"

#include <stdlib.h>
#include <string.h>

#define ASK_AGAIN_US (2 * INT64_C(1000000))
#define FORGET_US    (10 * INT64_C(1000000)) /* a child asks every two seconds for what it lacks */

struct node_relay {
	struct node_relay_config config;
	const struct env *env;
	struct store *blobs;
	struct proto_needs needs;
	uint64_t version;
	uint32_t arrived;
	bool news; /* what is held may be there now */
	struct node_relay_counts counts;
	/* Keys */
	uint64_t readers_heard, readers; /* which the coordinator has, and which are let in; 0: none */
	bool told;                       /* that the coordinator names none */
	int64_t heard_us, asked_us;      /* asked_us: of the page that is waited for */
	uint64_t asked, request_id;      /* the keys that it is of; 0: none is */
	struct buf list;                 /* as a list of allowed keys, as far as it came */
	uint32_t listed;
	struct proto_allow *nobody; /* at hand while somebody is let in: closing needs no memory */
	int64_t closed_us;          /* when that was tried last */
};

static int nobody_make(struct node_relay *relay, struct err *e)
{
	struct buf none = BUF_INIT;
	return relay->nobody == NULL ? proto_allow_parse("nobody", &none, &relay->nobody, e) : 0;
}

int node_relay_new(const struct node_relay_config *config, const struct env *env, struct store *blobs,
		   struct node_relay **out, struct err *e)
{
	struct node_relay *relay = fault_calloc(1, sizeof *relay);
	if (relay == NULL)
		return err_set(e, ERR_NOMEM, "out of memory for the relay");
	relay->config = *config;
	relay->env = env;
	relay->blobs = blobs;
	*out = relay;
	return 0;
}

void node_relay_destroy(struct node_relay **relay)
{
	if (*relay == NULL)
		return;
	proto_needs_fini(&(*relay)->needs);
	buf_free(&(*relay)->list);
	proto_allow_destroy(&(*relay)->nobody);
	free(*relay);
	*relay = NULL;
}

/* ---- Chunks */

static int send(struct node_relay *relay, uint64_t route, const struct msg *msg)
{
	struct err e = ERR_INIT;
	int rc = relay->config.children->ops->send(relay->config.children, route, msg, &e);
	if (rc != 0 && rc != ERR_AGAIN && rc != ERR_CLOSED)
		log_event(LOG_WARN, "RELAY-SEND-FAILED", LOGF_S("type", msg_type_name((int)msg->type)),
			  LOGF_S("reason", e.text));
	return rc;
}

/* A chunk that the disk changed is one that is not here: the child has others to ask, and the node heals its own. */
static int give(void *context, uint64_t route, const struct proto_need *need)
{
	struct node_relay *relay = context;
	struct buf bytes = BUF_INIT;
	struct err e = ERR_INIT;
	struct msg msg = { .type = MSG_CHUNK, .request_id = need->request_id };
	if (need->held && !relay->news)
		return ERR_BUSY;
	const int code = store_chunk_get(relay->blobs, &need->hash, &bytes, &e);
	int rc = ERR_BUSY;
	if (code != 0 && code != ERR_NOT_FOUND)
		log_event(LOG_WARN, "RELAY-CHUNK-UNREADABLE", LOGF_S("reason", e.text));
	if (code == 0 || need->version <= relay->version) {
		msg.u.chunk =
			(struct msg_chunk){ need->hash, code == 0 ? 0 : ERR_NOT_FOUND, { bytes.data, bytes.len } };
		rc = send(relay, route, &msg);
	}
	if (rc == 0 && code == 0) {
		relay->counts.chunks++;
		relay->counts.bytes += bytes.len;
	}
	buf_free(&bytes);
	return rc;
}

static void error_send(struct node_relay *relay, const struct msg_received *received, int code, const char *text)
{
	struct msg msg = { .type = MSG_ERROR,
			   .request_id = received->msg.request_id,
			   .u.error = { code, { text, strlen(text) } } };
	(void)send(relay, received->route, &msg); /* it is asked again */
}

/* Tells the child that it is heard. */
static void missing_send(struct node_relay *relay, const struct msg_received *received)
{
	const struct msg_hashes *need = &received->msg.u.hashes;
	struct hash missing[MSG_HASHES_MAX];
	size_t count = 0;
	for (size_t i = 0; i < need->hash_count && need->version > relay->version; i++) {
		struct err e = ERR_INIT;
		bool has = false;
		if (store_chunk_has(relay->blobs, &need->hashes[i], &has, &e) == 0 && !has)
			missing[count++] = need->hashes[i];
	}
	struct msg msg = { .type = MSG_MISSING, .request_id = received->msg.request_id };
	msg.u.hashes = (struct msg_hashes){ missing, count, 0 };
	if (count > 0)
		(void)send(relay, received->route, &msg);
}

void node_relay_receive(struct node_relay *relay, const struct msg_received *received)
{
	if (received->msg.type != MSG_NEED) {
		error_send(relay, received, ERR_UNSUPPORTED, "a relay gives chunks, and nothing else");
		return;
	}
	if (proto_needs_add(&relay->needs, received, env_monotonic_us(relay->env)) != 0) {
		error_send(relay, received, ERR_AGAIN,
			   "too many chunks are owed already: wait for them, then ask again");
		return;
	}
	missing_send(relay, received);
	proto_needs_pump(&relay->needs, give, relay);
}

/* ---- Keys */

static int list_apply(struct node_relay *relay, struct err *e)
{
	struct proto_allow *list = NULL;
	int rc = buf_failed(&relay->list) ? err_set(e, ERR_NOMEM, "out of memory for a list of keys")
					  : nobody_make(relay, e);
	if (rc == 0)
		rc = proto_allow_parse("the coordinator's list of readers", &relay->list, &list, e);
	if (rc == 0)
		rc = relay->config.allow_set(relay->config.allow_context, &list, e);
	proto_allow_destroy(&list);
	return rc;
}

/* Whether it came to the list of `readers`. */
static void keys_done(struct node_relay *relay, int rc, uint64_t readers, uint32_t count, const struct err *e)
{
	buf_clear(&relay->list);
	relay->listed = 0;
	relay->request_id++; /* a page that comes again is none of it */
	if (rc != 0) {       /* and tried again, in two seconds */
		log_event(LOG_ERROR, "RELAY-KEYS-UNCHANGED", LOGF_S("reason", e->text));
		return;
	}
	relay->asked = 0;
	relay->readers = readers;
	relay->counts.keys = count;
	log_event(LOG_INFO, "RELAY-KEYS", LOGF_U("keys", count));
}

static void keys_set(struct node_relay *relay)
{
	struct err e = ERR_INIT;
	const int rc = list_apply(relay, &e);
	keys_done(relay, rc, relay->asked, relay->listed, &e);
}

static void keys_close(struct node_relay *relay)
{
	struct err e = ERR_INIT;
	relay->readers_heard = 0;
	relay->closed_us = env_monotonic_us(relay->env);
	const int rc = relay->config.allow_set(relay->config.allow_context, &relay->nobody, &e);
	keys_done(relay, rc, 0, 0, &e);
}

static void keys_ask(struct node_relay *relay)
{
	struct err e = ERR_INIT;
	struct msg msg = { .type = MSG_READER_LIST, .request_id = ++relay->request_id };
	msg.u.key_list.from = relay->listed;
	relay->asked_us = env_monotonic_us(relay->env);
	if (relay->config.coordinator->ops->send(relay->config.coordinator, 0, &msg, &e) != 0)
		log_event(LOG_DEBUG, "RELAY-KEYS-UNASKED", LOGF_S("reason", e.text));
}

static void keys_begin(struct node_relay *relay)
{
	buf_clear(&relay->list);
	relay->listed = 0;
	relay->asked = relay->readers_heard;
	keys_ask(relay);
}

static void page_take(struct node_relay *relay, const struct msg_key_list_reply *page)
{
	char hex[65];
	for (size_t i = 0; i < page->key_count && relay->listed < PROTO_ALLOW_KEYS_MAX; i++, relay->listed++) {
		proto_key_hex(page->keys[i].key, hex);
		buf_printf(&relay->list, "%s reader node\n", hex);
	}
	if (relay->listed < page->total && page->key_count > 0)
		keys_ask(relay);
	else
		keys_set(relay);
}

bool node_relay_answer(struct node_relay *relay, const struct msg *msg)
{
	if (msg->type == MSG_HEARTBEAT_REPLY && msg->u.heartbeat_reply.readers != 0) {
		relay->readers_heard = msg->u.heartbeat_reply.readers;
		relay->heard_us = env_monotonic_us(relay->env);
	} else if (msg->type == MSG_HEARTBEAT_REPLY && !relay->told) {
		relay->told = true;
		log_event(LOG_WARN, "RELAY-KEYS-UNKNOWN",
			  LOGF_S("reason", "the coordinator names no keys that may read: nobody is let in"));
	} else if (msg->type == MSG_READER_LIST_REPLY && relay->asked != 0 && msg->request_id == relay->request_id) {
		page_take(relay, &msg->u.key_list_reply);
	}
	return msg->type == MSG_READER_LIST_REPLY;
}

static void keys_keep(struct node_relay *relay)
{
	const int64_t now = env_monotonic_us(relay->env);
	if (relay->readers != 0 && now - relay->heard_us >= RELAY_TRUST_MS * INT64_C(1000)) {
		if (now - relay->closed_us >= ASK_AGAIN_US)
			keys_close(relay);
	} else if (relay->readers_heard != relay->readers &&
		   (relay->asked != relay->readers_heard || now - relay->asked_us >= ASK_AGAIN_US)) {
		keys_begin(relay);
	}
}

void node_relay_tick(struct node_relay *relay, uint64_t version, uint32_t arrived)
{
	keys_keep(relay);
	relay->news = version != relay->version || arrived != relay->arrived;
	relay->version = version;
	relay->arrived = arrived;
	proto_needs_forget(&relay->needs, env_monotonic_us(relay->env) - FORGET_US);
	proto_needs_pump(&relay->needs, give, relay);
	relay->news = false;
}

void node_relay_counts_get(const struct node_relay *relay, struct node_relay_counts *out)
{
	*out = relay->counts;
	out->owed = proto_needs_count(&relay->needs);
}
