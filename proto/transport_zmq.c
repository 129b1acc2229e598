/* transport_zmq.c: transports over ZeroMQ with CURVE. Facts of libzmq 4.3.4 that shape it: a ROUTER drops in silence
 * unless MANDATORY; MAXMSGSIZE bounds a frame, not a message; the ready descriptor is edge-triggered; ports are not
 * checked. */
#include "proto/transport_zmq_internal.h"

#include "base/fault.h"
#include "base/log.h"
#include "proto/guard.h"
#include "proto/intake.h"
#include "proto/peers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <zmq.h>

#define HANDSHAKE_MS         3000
#define HEARTBEAT_MS         2000
#define HEARTBEAT_TIMEOUT_MS 6000
#define LINGER_MS            1000
#define RECONNECT_MS         100
#define RECONNECT_MAX_MS     2000
#define BACKLOG              256
#define FRAME_BYTES_MAX      (PROTO_HEADER_BYTES + MSG_BODY_BYTES_MAX + 4096) /* the largest head; a chunk is smaller */
#define HINT_FRAME_BYTES_MAX 4096
#define HINT_QUEUE           64
#define WIRE_ID_BYTES        5 /* what a ROUTER makes up itself: a zero byte and a counter */
#define SOCKETS_MAX          1023

#ifndef ZMQ_ZAP_ENFORCE_DOMAIN
#define ZMQ_ZAP_ENFORCE_DOMAIN 93 /* since 4.3.0; some headers keep it among the drafts */
#endif

struct end {
	struct proto_transport base;
	struct proto_zmq *zmq;
	bool server;
	bool probed;  /* the probe knocks here */
	void *socket; /* ROUTER or DEALER */
	void *hints;  /* PUB or SUB, or NULL */
	int epoll_fd; /* readable when either of them may be */
	char endpoint[PROTO__ENDPOINT_BYTES], hint_endpoint[PROTO__ENDPOINT_BYTES];
	uint8_t server_key[PROTO_KEY_BYTES]; /* client: the one it accepts */
	struct proto__peers peers;           /* server */
	struct proto__guard *guard;          /* server */
	struct proto__intake intake;
	struct buf head; /* of the message being sent */
};

static int zmq_failed(struct err *e, const char *what, const char *where)
{
	return err_set(e, errno == ENOMEM ? ERR_NOMEM : ERR_EXTERNAL, "%s %s: %s", what, where, zmq_strerror(errno));
}

/* ---- The context. */

static void zmq_free(struct proto_zmq *zmq)
{
	proto__zap_stop(&zmq->zap);
	if (zmq->context != NULL)
		while (zmq_ctx_term(zmq->context) != 0 && errno == EINTR)
			;
	proto_keypair_wipe(&zmq->keys);
	pthread_mutex_destroy(&zmq->lock);
	free(zmq);
}

int proto_zmq_new(const struct proto_keypair *keys, const struct proto_allow *allow, const struct env *env,
		  struct proto_zmq **out, struct err *e)
{
	if (zmq_has("curve") != 1)
		return err_set(e, ERR_UNSUPPORTED,
			       "this libzmq was built without CURVE: install one that has it (Debian's libzmq5 does)");
	struct proto_zmq *zmq = fault_calloc(1, sizeof(*zmq));
	if (zmq == NULL)
		return err_set(e, ERR_NOMEM, "no memory for the network");
	pthread_mutex_init(&zmq->lock, NULL);
	zmq->keys = *keys;
	zmq->allow = allow;
	zmq->env = env;
	zmq->context = zmq_ctx_new();
	int rc = 0;
	if (zmq->context == NULL || zmq_ctx_set(zmq->context, ZMQ_MAX_SOCKETS, SOCKETS_MAX) != 0)
		rc = zmq_failed(e, "starting", "ZeroMQ");
	if (rc == 0 && allow != NULL)
		rc = proto__zap_start(zmq, &zmq->zap, e);
	if (rc != 0)
		zmq_free(zmq);
	else
		*out = zmq;
	return rc;
}

int proto_zmq_allow_set(struct proto_zmq *zmq, const struct proto_allow *allow)
{
	if (zmq->zap == NULL || allow == NULL)
		return ERR_INVALID;
	pthread_mutex_lock(&zmq->lock);
	zmq->allow = allow;
	zmq->refusals = (struct proto__refusals){ 0 }; /* each is told of anew: people look for what the list changed */
	pthread_mutex_unlock(&zmq->lock);
	return 0;
}

void proto_zmq_destroy(struct proto_zmq **zmq)
{
	if (*zmq == NULL)
		return;
	zmq_free(*zmq);
	*zmq = NULL;
}

/* ---- Options. */

struct option {
	int name, value;
};

static int options_set(void *socket, const struct option *options, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (zmq_setsockopt(socket, options[i].name, &options[i].value, sizeof(int)) != 0)
			return -1;
	return 0;
}

static int options_common(void *socket, size_t queue, int64_t frame_bytes_max)
{
	int high = queue == 0 ? 1 : queue > 1000000 ? 1000000 : (int)queue; /* 0 would mean no limit to ZeroMQ */
	const struct option options[] = {
		{ ZMQ_SNDHWM, high },
		{ ZMQ_RCVHWM, high },
		{ ZMQ_LINGER, LINGER_MS },
		{ ZMQ_IMMEDIATE, 1 },
		{ ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS },
		{ ZMQ_HEARTBEAT_IVL, HEARTBEAT_MS },
		{ ZMQ_HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS },
		{ ZMQ_HEARTBEAT_TTL, HEARTBEAT_TIMEOUT_MS },
	};
	if (zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &frame_bytes_max, sizeof(frame_bytes_max)) != 0)
		return -1;
	return options_set(socket, options, sizeof(options) / sizeof(options[0]));
}

static int options_server(const struct proto_zmq *zmq, void *socket)
{
	const struct option options[] = { { ZMQ_CURVE_SERVER, 1 }, { ZMQ_BACKLOG, BACKLOG } };
	const struct option enforce = { ZMQ_ZAP_ENFORCE_DOMAIN, 1 };
	/* Refuses when no handler is there. The probe and the missing User-Id catch a library without the option. */
	if (options_set(socket, &enforce, 1) != 0)
		log_event(LOG_WARN, "PROTO-ZAP-NOT-ENFORCED", LOGF_S("why", zmq_strerror(errno)));
	if (zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, zmq->keys.secret_key, PROTO_KEY_BYTES) != 0 ||
	    zmq_setsockopt(socket, ZMQ_ZAP_DOMAIN, PROTO__ZAP_DOMAIN, strlen(PROTO__ZAP_DOMAIN)) != 0)
		return -1;
	return options_set(socket, options, sizeof(options) / sizeof(options[0]));
}

static int options_client(const struct proto_zmq *zmq, void *socket, const uint8_t server_key[PROTO_KEY_BYTES])
{
	const struct option options[] = { { ZMQ_RECONNECT_IVL, RECONNECT_MS },
					  { ZMQ_RECONNECT_IVL_MAX, RECONNECT_MAX_MS } };
	if (zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, server_key, PROTO_KEY_BYTES) != 0 ||
	    zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, zmq->keys.public_key, PROTO_KEY_BYTES) != 0 ||
	    zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, zmq->keys.secret_key, PROTO_KEY_BYTES) != 0)
		return -1;
	return options_set(socket, options, sizeof(options) / sizeof(options[0]));
}

/* ---- Sending. */

static int send_failed(struct end *end, uint64_t route, struct err *e)
{
	switch (errno) {
	case EAGAIN:
		end->base.counts.full++;
		return err_set(e, ERR_AGAIN, "%s: %s", end->endpoint,
			       end->server ? "the peer's queue is full" : "not connected, or the queue is full");
	case EHOSTUNREACH:
		proto__peers_forget(&end->peers, route);
		return err_set(e, ERR_CLOSED, "%s: the peer is gone", end->endpoint);
	case ETERM:
	case ENOTSOCK:
		return err_set(e, ERR_CLOSED, "%s: closed", end->endpoint);
	default:
		return zmq_failed(e, "sending at", end->endpoint);
	}
}

static int send_frame(void *socket, const void *bytes, size_t len, bool more)
{
	int rc;
	do
		rc = zmq_send(socket, bytes, len, ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0));
	while (rc < 0 && errno == EINTR);
	return rc;
}

static int send_route(struct end *end, uint64_t route, struct err *e)
{
	uint32_t id;
	const uint8_t *key = proto__peers_find(&end->peers, route, &id);
	/* libzmq cannot cut one connection of a ROUTER: one whose key was revoked hears nothing instead. */
	if (key == NULL || proto__zmq_roles(end->zmq, key) == 0)
		return err_set(e, ERR_CLOSED, "%s: the peer is gone", end->endpoint);
	const uint8_t wire_id[WIRE_ID_BYTES] = { 0, (uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8),
						 (uint8_t)id };
	return send_frame(end->socket, wire_id, sizeof(wire_id), true) < 0 ? send_failed(end, route, e) : 0;
}

static int end_send(struct proto_transport *t, uint64_t route, const struct msg *msg, struct err *e)
{
	struct end *end = (struct end *)t;
	struct msg_bytes bulk;
	int rc = proto_encode(msg, &end->head, &bulk, e);
	if (rc == 0 && end->server)
		rc = send_route(end, route, e);
	if (rc != 0)
		return rc;
	if (send_frame(end->socket, end->head.data, end->head.len, bulk.len > 0) < 0 ||
	    (bulk.len > 0 && send_frame(end->socket, bulk.bytes, bulk.len, false) < 0))
		return send_failed(end, route, e);
	t->counts.sent++;
	t->counts.sent_bytes += end->head.len + bulk.len;
	return 0;
}

static int end_publish(struct proto_transport *t, const struct msg *msg, struct err *e)
{
	struct end *end = (struct end *)t;
	struct msg_bytes bulk;
	if (!end->server || end->hints == NULL)
		return err_set(e, ERR_UNSUPPORTED, "%s: no hint endpoint to publish at", end->endpoint);
	int rc = proto_encode(msg, &end->head, &bulk, e);
	if (rc == 0 && (bulk.len > 0 || end->head.len > HINT_FRAME_BYTES_MAX))
		rc = err_set(e, ERR_LIMIT, "%s: too large for a hint", msg_type_name((int)msg->type));
	if (rc == 0 && send_frame(end->hints, end->head.data, end->head.len, false) < 0)
		rc = zmq_failed(e, "publishing at", end->hint_endpoint);
	return rc;
}

/* ---- Receiving. */

/* One message, frames beyond the first three only counted. The engine hands over whole ones: nothing here waits. */
struct frames {
	zmq_msg_t frame[3];
	size_t count;
};

static void frames_close(struct frames *f)
{
	for (size_t i = 0; i < 3; i++)
		zmq_msg_close(&f->frame[i]);
}

static int frames_read(void *socket, struct frames *f)
{
	zmq_msg_t spill;
	bool more = true;
	f->count = 0;
	for (size_t i = 0; i < 3; i++)
		zmq_msg_init(&f->frame[i]);
	zmq_msg_init(&spill);
	while (more) {
		zmq_msg_t *to = f->count < 3 ? &f->frame[f->count] : &spill;
		int rc = zmq_msg_recv(to, socket, ZMQ_DONTWAIT);
		if (rc < 0 && errno == EINTR)
			continue;
		if (rc < 0)
			break;
		f->count++;
		more = zmq_msg_more(to) != 0;
	}
	int errnum = errno;
	zmq_msg_close(&spill);
	if (!more)
		return 0;
	frames_close(f);
	return errnum == EAGAIN ? ERR_AGAIN : ERR_CLOSED;
}

static void parcel_fill(struct proto__parcel *parcel, struct frames *f, size_t skip)
{
	parcel->frame_count = f->count - skip;
	if (f->count > skip) {
		parcel->head = zmq_msg_data(&f->frame[skip]);
		parcel->head_len = zmq_msg_size(&f->frame[skip]);
	}
	if (f->count > skip + 1 && skip + 1 < 3) {
		parcel->bulk = zmq_msg_data(&f->frame[skip + 1]);
		parcel->bulk_len = zmq_msg_size(&f->frame[skip + 1]);
	}
}

/* The sender's key as ZAP proved it. A routing id that the peer chose itself is refused: another peer could choose it
 * later. */
static bool sender_of(struct end *end, struct frames *f, uint8_t key[PROTO_KEY_BYTES], struct proto__parcel *parcel)
{
	const uint8_t *id = zmq_msg_data(&f->frame[0]);
	if (f->count < 2 || zmq_msg_size(&f->frame[0]) != WIRE_ID_BYTES || id[0] != 0)
		return false;
	bool told;
	const char *hex = zmq_msg_gets(&f->frame[1], "User-Id");
	proto__guard_seen(end->guard, zmq_msg_get(&f->frame[1], ZMQ_SRCFD));
	if (hex == NULL || proto_key_parse(hex, key) != 0)
		return false;
	parcel->key = key;
	parcel->roles = proto__zmq_admit(end->zmq, key, &told); /* the intake says what it drops */
	if (parcel->roles != 0)
		parcel->route = proto__peers_seen(
			&end->peers, (uint32_t)id[1] << 24 | (uint32_t)id[2] << 16 | (uint32_t)id[3] << 8 | id[4], key);
	return true;
}

/* ERR_DENIED and others: dropped, look for the next. */
static int server_take(struct end *end, struct frames *f, struct msg_received **out)
{
	struct proto__parcel parcel = { 0 };
	uint8_t key[PROTO_KEY_BYTES];
	struct msg denial;
	if (f->count > 0)
		parcel_fill(&parcel, f, 1);
	if (!sender_of(end, f, key, &parcel))
		parcel.key = NULL;
	int rc = proto__intake_server(&end->intake, &parcel, out, &denial);
	if (denial.type != 0 && end_send(&end->base, parcel.route, &denial, NULL) != 0)
		end->base.counts.full++; /* a courtesy: the refusal itself has been logged */
	return rc;
}

static int client_take(struct end *end, struct frames *f, bool hint, struct msg_received **out)
{
	struct proto__parcel parcel = { .key = end->server_key };
	parcel_fill(&parcel, f, 0);
	return proto__intake_client(&end->intake, &parcel, hint, out);
}

/* ERR_AGAIN when both sockets are empty; *dropped: something was there, and was dropped. */
static int recv_one(struct end *end, struct msg_received **out, bool *dropped)
{
	struct frames frames;
	bool hint = false;
	int rc = frames_read(end->socket, &frames);
	if (rc == ERR_AGAIN && !end->server && end->hints != NULL) {
		hint = true;
		rc = frames_read(end->hints, &frames);
	}
	if (rc != 0)
		return rc;
	rc = end->server ? server_take(end, &frames, out) : client_take(end, &frames, hint, out);
	frames_close(&frames);
	*dropped = rc != 0;
	return rc;
}

static int end_recv(struct proto_transport *t, struct msg_received **out, struct err *e)
{
	struct end *end = (struct end *)t;
	t->pending = false;
	for (int i = 0; i < PROTO__DROPS_MAX; i++) {
		bool dropped = false;
		int rc = recv_one(end, out, &dropped);
		if (rc == 0)
			return 0;
		if (!dropped)
			return rc == ERR_AGAIN ? err_set(e, ERR_AGAIN, "no message")
					       : err_set(e, rc, "%s: closed", end->endpoint);
	}
	t->pending = true;
	return err_set(e, ERR_AGAIN, "%d messages in a row were dropped", PROTO__DROPS_MAX);
}

static int end_fd(const struct proto_transport *t)
{
	return ((const struct end *)t)->epoll_fd;
}

static size_t end_refused(struct proto_transport *t, struct msg_refused_key out[MSG_REFUSED_KEYS_MAX])
{
	struct end *end = (struct end *)t;
	return end->server ? proto__zmq_refused(end->zmq, out) : 0;
}

static void end_destroy(struct proto_transport *t)
{
	struct end *end = (struct end *)t;
	if (end->probed)
		proto__zap_target(end->zmq->zap, "");
	proto__guard_stop(&end->guard);
	if (end->hints != NULL)
		zmq_close(end->hints);
	if (end->socket != NULL)
		zmq_close(end->socket);
	if (end->epoll_fd >= 0)
		close(end->epoll_fd);
	proto__peers_fini(&end->peers);
	buf_free(&end->head);
	end->zmq->transport_count--;
	free(end);
}

static const struct proto_transport_ops end_ops = { end_send, end_recv, end_fd, end_publish, end_refused, end_destroy };

/* ---- Making ends. */

static struct end *end_new(struct proto_zmq *zmq, bool server, size_t peers_max)
{
	struct end *end = fault_calloc(1, sizeof(*end));
	if (end == NULL)
		return NULL;
	if (server && proto__peers_init(&end->peers, peers_max) != 0) {
		free(end);
		return NULL;
	}
	end->base.ops = &end_ops;
	end->zmq = zmq;
	end->server = server;
	end->epoll_fd = -1;
	end->intake = (struct proto__intake){ .env = zmq->env, .counts = &end->base.counts };
	zmq->transport_count++;
	return end;
}

static int epoll_watch(struct end *end, void *socket)
{
	int fd;
	size_t bytes = sizeof(fd);
	struct epoll_event event = { .events = EPOLLIN };
	if (zmq_getsockopt(socket, ZMQ_FD, &fd, &bytes) != 0)
		return -1;
	return epoll_ctl(end->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static int epoll_make(struct end *end, struct err *e)
{
	end->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (end->epoll_fd < 0 || epoll_watch(end, end->socket) != 0 ||
	    (!end->server && end->hints != NULL && epoll_watch(end, end->hints) != 0))
		return err_errno(e, ERR_IO, errno, "watching %s", end->endpoint);
	return 0;
}

static int bind_failed(const char *endpoint, struct err *e)
{
	switch (errno) {
	case EADDRINUSE:
		return err_set(e, ERR_BUSY,
			       "%s: the port is in use by another process, perhaps an amendd that runs already; stop "
			       "that one or choose another port",
			       endpoint);
	case EADDRNOTAVAIL:
	case ENODEV:
		return err_set(e, ERR_INVALID,
			       "%s: no interface of this machine has that address; 0.0.0.0 stands for all of them",
			       endpoint);
	case EACCES:
		return err_set(e, ERR_DENIED, "%s: this user may not use that port; choose one from 1024 on", endpoint);
	case EINVAL:
		return err_set(e, ERR_INVALID, "%s: expected tcp://ADDRESS:PORT with a port from 1 to 65535, or *",
			       endpoint);
	default:
		return zmq_failed(e, "listening at", endpoint);
	}
}

static int bind_at(void *socket, const char *endpoint, char bound[PROTO__ENDPOINT_BYTES], struct err *e)
{
	size_t bytes = PROTO__ENDPOINT_BYTES;
	int rc = proto__endpoint_check(endpoint, true, e);
	if (rc != 0)
		return rc;
	if (zmq_bind(socket, endpoint) != 0)
		return bind_failed(endpoint, e);
	return zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, bound, &bytes) != 0 ? zmq_failed(e, "listening at", endpoint)
									     : 0;
}

static int listen_router(struct end *end, const char *endpoint, size_t queue, struct err *e)
{
	const struct option options[] = { { ZMQ_ROUTER_MANDATORY, 1 }, { ZMQ_ROUTER_HANDOVER, 0 } };
	end->socket = zmq_socket(end->zmq->context, ZMQ_ROUTER);
	if (end->socket == NULL || options_common(end->socket, queue, FRAME_BYTES_MAX) != 0 ||
	    options_server(end->zmq, end->socket) != 0 ||
	    options_set(end->socket, options, sizeof(options) / sizeof(options[0])) != 0)
		return zmq_failed(e, "preparing", endpoint);
	return bind_at(end->socket, endpoint, end->endpoint, e);
}

static int listen_hints(struct end *end, const char *endpoint, struct err *e)
{
	end->hints = zmq_socket(end->zmq->context, ZMQ_PUB);
	if (end->hints == NULL || options_common(end->hints, HINT_QUEUE, HINT_FRAME_BYTES_MAX) != 0 ||
	    options_server(end->zmq, end->hints) != 0)
		return zmq_failed(e, "preparing", endpoint);
	return bind_at(end->hints, endpoint, end->hint_endpoint, e);
}

int proto_zmq_listen(struct proto_zmq *zmq, const char *endpoint, const char *hint_endpoint,
		     const struct proto_limits *limits, struct proto_transport **out, struct err *e)
{
	if (zmq->zap == NULL)
		return err_set(e, ERR_DENIED,
			       "%s: no list of allowed keys, so nobody could be told apart; nothing is opened",
			       endpoint);
	struct end *end = end_new(zmq, true, limits->peers_max);
	if (end == NULL)
		return err_set(e, ERR_NOMEM, "%s: out of memory", endpoint);
	int rc = listen_router(end, endpoint, limits->queue_messages, e);
	if (rc == 0 && hint_endpoint != NULL)
		rc = listen_hints(end, hint_endpoint, e);
	if (rc == 0)
		rc = epoll_make(end, e);
	if (rc == 0) {
		const uint16_t ports[] = { proto__endpoint_port(end->endpoint),
					   proto__endpoint_port(end->hint_endpoint) };
		rc = proto__guard_start(ports, &end->guard, e);
	}
	if (rc == 0) {
		end->probed = true;
		proto__zap_target(zmq->zap, end->endpoint);
		rc = proto__zap_probe_wait(zmq->zap, e);
	}
	if (rc != 0) {
		end_destroy(&end->base);
		return rc;
	}
	log_event(LOG_INFO, "PROTO-LISTENING", LOGF_S("endpoint", end->endpoint), LOGF_S("hints", end->hint_endpoint));
	*out = &end->base;
	return 0;
}

const char *proto_zmq_endpoint(const struct proto_transport *t, bool hint)
{
	const struct end *end = (const struct end *)t;
	return hint ? end->hint_endpoint : end->endpoint;
}

static int connect_to(struct end *end, void *socket, const char *endpoint, char kept[PROTO__ENDPOINT_BYTES],
		      struct err *e)
{
	int rc = proto__endpoint_check(endpoint, false, e);
	if (rc != 0)
		return rc;
	snprintf(kept, PROTO__ENDPOINT_BYTES, "%s", endpoint);
	if (options_client(end->zmq, socket, end->server_key) != 0)
		return zmq_failed(e, "preparing", endpoint);
	if (zmq_connect(socket, endpoint) == 0)
		return 0;
	if (errno == EINVAL)
		return err_set(e, ERR_INVALID, "%s: not an address that can be connected to", endpoint);
	return zmq_failed(e, "connecting to", endpoint);
}

static int connect_both(struct end *end, const char *endpoint, const char *hint_endpoint, struct err *e)
{
	end->socket = zmq_socket(end->zmq->context, ZMQ_DEALER);
	if (end->socket == NULL ||
	    options_common(end->socket, PROTO_LIMITS_DEFAULT.queue_messages, FRAME_BYTES_MAX) != 0)
		return zmq_failed(e, "preparing", endpoint);
	int rc = connect_to(end, end->socket, endpoint, end->endpoint, e);
	if (rc != 0 || hint_endpoint == NULL)
		return rc;
	end->hints = zmq_socket(end->zmq->context, ZMQ_SUB);
	if (end->hints == NULL || options_common(end->hints, HINT_QUEUE, HINT_FRAME_BYTES_MAX) != 0 ||
	    zmq_setsockopt(end->hints, ZMQ_SUBSCRIBE, "", 0) != 0)
		return zmq_failed(e, "preparing", hint_endpoint);
	return connect_to(end, end->hints, hint_endpoint, end->hint_endpoint, e);
}

int proto_zmq_connect(struct proto_zmq *zmq, const char *endpoint, const char *hint_endpoint,
		      const uint8_t server_key[PROTO_KEY_BYTES], struct proto_transport **out, struct err *e)
{
	struct end *end = end_new(zmq, false, 0);
	if (end == NULL)
		return err_set(e, ERR_NOMEM, "%s: out of memory", endpoint);
	memcpy(end->server_key, server_key, PROTO_KEY_BYTES);
	int rc = connect_both(end, endpoint, hint_endpoint, e);
	if (rc == 0)
		rc = epoll_make(end, e);
	if (rc != 0)
		end_destroy(&end->base);
	else
		*out = &end->base;
	return rc;
}
