/* loop.h: the event loop of a process's one loop thread: transports, timers, file descriptors (job pools, signals). */
#ifndef AMEND_PROTO_LOOP_H
#define AMEND_PROTO_LOOP_H

#include "base/pool.h"
#include "proto/transport.h"

struct proto_loop;

int proto_loop_new(const struct env *env, struct proto_loop **out, struct err *e) MUST_CHECK;
void proto_loop_destroy(struct proto_loop **loop);
/* on_message takes ownership of *received when it nulls it; else it is freed after the call. At most 64 messages a turn
 * and transport. */
int proto_loop_transport(struct proto_loop *loop, struct proto_transport *t,
			 void (*on_message)(void *context, struct msg_received **received), void *context,
			 struct err *e) MUST_CHECK;
int proto_loop_timer(struct proto_loop *loop, int64_t period_ms, void (*on_time)(void *context), void *context,
		     struct err *e) MUST_CHECK;
int proto_loop_fd(struct proto_loop *loop, int fd, void (*on_readable)(void *context), void *context,
		  struct err *e) MUST_CHECK;
int proto_loop_pool(struct proto_loop *loop, struct pool *pool,
		    struct err *e) MUST_CHECK; /* polls it when its fd is readable */
/* SIGINT, SIGTERM and SIGHUP by signalfd (blocks them in this thread; call before making threads). */
int proto_loop_signals(struct proto_loop *loop, void (*on_signal)(void *context, int signal_number), void *context,
		       struct err *e) MUST_CHECK;
/* Waits at most `timeout_ms` (−1: until something happens), handles what is there. */
int proto_loop_once(struct proto_loop *loop, int64_t timeout_ms, struct err *e) MUST_CHECK;
int proto_loop_run(struct proto_loop *loop, struct err *e) MUST_CHECK; /* until proto_loop_stop */
void proto_loop_stop(struct proto_loop *loop); /* from a callback or a signal-safe place: writes to an eventfd */

/* --- A synchronous client for command lines: sends and waits for the reply with the same request id; resends every
 * second with the same request id (all requests are idempotent). ERR_TIMEOUT says what was asked of whom and the likely
 * causes (not running, wrong key, firewall). A MSG_ERROR reply becomes its code and text. `interrupted` (may be NULL)
 * is looked at every 100 ms: ERR_INTERRUPTED. */
struct proto_client {
	struct proto_transport *transport; /* borrowed */
	const struct env *env;
	const char *endpoint; /* for texts */
	int64_t timeout_ms;
	const volatile int *interrupted;
	uint64_t next_request;
};
int proto_client_call(struct proto_client *client, struct msg *request, struct msg_received **reply,
		      struct err *e) MUST_CHECK;

#endif
