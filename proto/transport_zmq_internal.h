/* transport_zmq_internal.h: between transport_zmq.c (sockets) and transport_zmq_zap.c (who may connect), the two files
 * that know zmq.h. */
#ifndef AMEND_PROTO_TRANSPORT_ZMQ_INTERNAL_H
#define AMEND_PROTO_TRANSPORT_ZMQ_INTERNAL_H

#include "proto/refusals.h"
#include "proto/transport.h"

#include <pthread.h>

#define PROTO__ENDPOINT_BYTES 256
#define PROTO__ZAP_DOMAIN     "amend"

struct proto__zap;
struct proto_zmq {
	void *context;
	struct proto_keypair keys;
	const struct env *env;
	pthread_mutex_t lock; /* of the next two: the ZAP thread's and the loop's */
	const struct proto_allow *allow;
	struct proto__refusals refusals; /* since `allow` was set */
	struct proto__zap *zap;          /* NULL for pure clients */
	size_t transport_count;
};
/* What the list allows the key. Any thread. */
unsigned proto__zmq_roles(struct proto_zmq *zmq, const uint8_t key[PROTO_KEY_BYTES]);
/* The same of a peer's; where it is nothing, that is a refusal by this very list: a later list forgets it. *told: it is
 * worth a line. */
unsigned proto__zmq_admit(struct proto_zmq *zmq, const uint8_t key[PROTO_KEY_BYTES], bool *told);
size_t proto__zmq_refused(struct proto_zmq *zmq, struct msg_refused_key out[MSG_REFUSED_KEYS_MAX]);

/* "tcp://HOST:PORT"; `wildcard`: to listen at, where the port may be "*". ERR_INVALID. */
int proto__endpoint_check(const char *endpoint, bool wildcard, struct err *e) MUST_CHECK;
uint16_t proto__endpoint_port(const char *endpoint); /* 0: it names none */

/* Binds the handler before it returns, so that no server socket is ever bound without one. */
int proto__zap_start(struct proto_zmq *zmq, struct proto__zap **out, struct err *e) MUST_CHECK;
void proto__zap_stop(struct proto__zap **zap);
/* Which endpoint the probe knocks at; "" for none. */
void proto__zap_target(struct proto__zap *zap, const char *endpoint);
/* A whole probe, waited for (at start-up). 0 when the random key was refused; ERR_DENIED, ERR_TIMEOUT. */
int proto__zap_probe_wait(struct proto__zap *zap, struct err *e) MUST_CHECK;

#endif
