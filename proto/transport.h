/* transport.h: how messages travel, as a table with two rows: ZeroMQ with CURVE (transport_zmq.c) and in memory
 * (transport_mem.c, for tests and the simulator: seeded drop, delay, duplicate, reorder, partition).
 *
 * A server end (ROUTER) receives from many peers; `route` names where an answer goes and is valid while the peer is
 * connected; it is never an identity: that is peer_key. A client end (DEALER) has one peer, route 0; it reconnects by
 * itself and may lose messages: request ids, idempotence and heartbeats above make that harmless. Ends live on the loop
 * thread that made them. */
#ifndef AMEND_PROTO_TRANSPORT_H
#define AMEND_PROTO_TRANSPORT_H

#include "proto/codec.h"
#include "proto/keys.h"

struct proto_transport;

struct proto_transport_ops {
	/* Never blocks. ERR_AGAIN: the peer's queue is full (stated limit), keep the message and try later; ERR_CLOSED:
	 * peer gone. */
	int (*send)(struct proto_transport *t, uint64_t route, const struct msg *msg, struct err *e);
	/* ERR_AGAIN when nothing is there. Undecodable, unauthenticated and forbidden messages are counted, logged
	 * (rate-limited) and dropped inside; a forbidden one is answered with MSG_ERROR ERR_DENIED. */
	int (*recv)(struct proto_transport *t, struct msg_received **out, struct err *e);
	int (*fd)(const struct proto_transport *t); /* edge-triggered readiness (ZMQ_FD); −1 in memory */
	/* To every subscriber of a server with a hint endpoint (PUB). May be lost. */
	int (*publish)(struct proto_transport *t, const struct msg *msg, struct err *e);
	/* The keys that a server has refused since its list of allowed ones was set, when they connected or later, the
	 * last first; of a client none. Returns how many. No more than MSG_REFUSED_KEYS_MAX are kept, and for new ones
	 * others are forgotten: a stranger with ever new keys pushes out those of people. Copied; on the end's thread.
	 */
	size_t (*refused)(struct proto_transport *t, struct msg_refused_key out[MSG_REFUSED_KEYS_MAX]);
	void (*destroy)(struct proto_transport *t);
};
/* Since the transport was made; read-only outside. */
struct proto_counts {
	uint64_t sent, received, sent_bytes;
	uint64_t full;                                    /* sends refused because the peer's queue was full */
	uint64_t undecodable, unauthenticated, forbidden; /* dropped on arrival */
};
struct proto_transport {
	const struct proto_transport_ops *ops;
	struct proto_counts counts;
	bool pending; /* the last recv gave ERR_AGAIN after dropping many: more may wait, call again before sleeping on
			 fd */
};

struct proto_limits {
	size_t queue_messages; /* per peer, both ways; default 1000 */
	size_t peers_max;      /* default 4096 */
};
#define PROTO_LIMITS_DEFAULT ((struct proto_limits){ 1000, 4096 })

struct proto_zmq; /* one ZeroMQ context with its ZAP thread; its transports are destroyed before it */
/* `keys` of this process; `allow` is consulted by the ZAP handler (borrowed; NULL for pure clients).
 * proto_zmq_allow_set swaps it at run time: of a key that it does not allow nothing is taken from then on, and nothing
 * is sent to it (ERR_CLOSED), also on connections that stand. Only hints, which say a version's number, go on. */
int proto_zmq_new(const struct proto_keypair *keys, const struct proto_allow *allow, const struct env *env,
		  struct proto_zmq **out, struct err *e) MUST_CHECK;
int proto_zmq_allow_set(struct proto_zmq *zmq, const struct proto_allow *allow) MUST_CHECK;
void proto_zmq_destroy(struct proto_zmq **zmq);
/* Binds ROUTER at `endpoint` ("tcp://127.0.0.1:7400"; port "*" takes a free one) and, when not NULL, PUB at
 * `hint_endpoint`. The ZAP handler is bound first and probed with a random key; ERR_DENIED when the probe gets in.
 * ERR_BUSY: the port is in use, says which and what to do. */
int proto_zmq_listen(struct proto_zmq *zmq, const char *endpoint, const char *hint_endpoint,
		     const struct proto_limits *limits, struct proto_transport **out, struct err *e) MUST_CHECK;
/* The endpoints that were really bound. */
const char *proto_zmq_endpoint(const struct proto_transport *t, bool hint);
/* A client: DEALER to `endpoint`, SUB to `hint_endpoint` (may be NULL); hints arrive through recv as MSG_HINT.
 * `server_key` is the one it accepts. Connecting is asynchronous: a wrong key or a dead server shows as silence
 * (proto_client_call times out and says so). */
int proto_zmq_connect(struct proto_zmq *zmq, const char *endpoint, const char *hint_endpoint,
		      const uint8_t server_key[PROTO_KEY_BYTES], struct proto_transport **out,
		      struct err *e) MUST_CHECK;
/* The probe, each minute by the server's loop: ERR_DENIED when a random key got in, or authentication does not answer:
 * stop accepting. Gives the verdict of the probe begun by the call before and begins the next: it takes up to 500 ms on
 * the ZAP side, none on the loop. */
int proto_zmq_probe(struct proto_zmq *zmq, struct err *e) MUST_CHECK;
/* Each second: ERR_DENIED when the thread that authenticates has ended, or a probe got in. Probes nothing. */
int proto_zmq_check(struct proto_zmq *zmq, struct err *e) MUST_CHECK;

/* In memory: a network with seeded faults; ends hang on it by name. Time comes from `env`. */
struct proto_mem;
struct proto_mem_faults {
	double drop, duplicate;             /* shares */
	int64_t delay_us_min, delay_us_max; /* unequal delays reorder */
};
int proto_mem_new(const struct env *env, uint64_t seed, struct proto_mem **out, struct err *e) MUST_CHECK;
void proto_mem_destroy(struct proto_mem **mem);
void proto_mem_faults_set(struct proto_mem *mem, const struct proto_mem_faults *faults);
/* Of each server's link: what it sends goes one after the other; 0: no limit. */
void proto_mem_link_set(struct proto_mem *mem, int64_t bytes_per_s);
struct proto_mem_counts {                  /* messages */
	uint64_t lost, doubled, reordered; /* reordered: came after a later one of the same way */
	uint64_t cut;                      /* lost to a partition */
	uint64_t to_server, to_server_bytes, from_server, from_server_bytes; /* sent */
};
void proto_mem_counts_get(const struct proto_mem *mem, struct proto_mem_counts *out);
/* What is on its way is lost too. Both false: the link is whole. */
void proto_mem_partition(struct proto_mem *mem, const char *client, bool to_server, bool from_server);
int proto_mem_listen(struct proto_mem *mem, const char *name, const struct proto_allow *allow,
		     struct proto_transport **out, struct err *e) MUST_CHECK;
void proto_mem_allow_set(struct proto_transport *server, const struct proto_allow *allow);
int proto_mem_connect(struct proto_mem *mem, const char *name, const char *server, const uint8_t key[PROTO_KEY_BYTES],
		      struct proto_transport **out, struct err *e) MUST_CHECK;
/* Microseconds (of env's monotonic clock) at which the next message is due; INT64_MAX when none. */
int64_t proto_mem_next_due(const struct proto_mem *mem);

#endif
