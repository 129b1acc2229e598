/* loop.c: epoll, timers and the turns of the transports.
 *
 * The descriptor of a ZeroMQ socket is edge-triggered, and any send may swallow its edge. So the loop sleeps only after
 * a pass over all transports in which nothing at all was received: no callback ran in between that could have sent
 * something. */
#include "proto/loop.h"

#include "base/fault.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define TRANSPORTS_MAX  64
#define TIMERS_MAX      64
#define WATCHES_MAX     64
#define MESSAGES_A_TURN 64
#define EVENTS_A_TURN   32
#define MEMORY_POLL_MS  1 /* transports without a descriptor */

struct transport_slot {
	struct proto_transport *t;
	void (*on_message)(void *context, struct msg_received **received);
	void *context;
};
struct timer_slot {
	int64_t period_ms, due_ms;
	void (*on_time)(void *context);
	void *context;
};
struct watch {
	int fd;
	void (*on_readable)(void *context);
	void *context;
};

struct proto_loop {
	const struct env *env;
	int epoll_fd, stop_fd, signal_fd;
	sigset_t mask_before;
	void (*on_signal)(void *context, int signal_number);
	void *signal_context;
	struct transport_slot transports[TRANSPORTS_MAX];
	struct timer_slot timers[TIMERS_MAX];
	struct watch watches[WATCHES_MAX];
	size_t transport_count, timer_count, watch_count;
	bool memory;        /* a transport without a descriptor is among them */
	atomic_int stopped; /* also set by other threads and signal handlers */
};

static int watch_add(struct proto_loop *loop, int fd, void (*on_readable)(void *context), void *context, struct err *e)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = loop->watch_count };
	if (loop->watch_count == WATCHES_MAX)
		return err_set(e, ERR_LIMIT, "the event loop watches %d descriptors already", WATCHES_MAX);
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
		return err_errno(e, ERR_IO, errno, "watching descriptor %d", fd);
	loop->watches[loop->watch_count++] = (struct watch){ fd, on_readable, context };
	return 0;
}

static void on_stop(void *context)
{
	struct proto_loop *loop = context;
	uint64_t count;
	(void)!read(loop->stop_fd, &count, sizeof(count));
}

int proto_loop_new(const struct env *env, struct proto_loop **out, struct err *e)
{
	struct proto_loop *loop = fault_calloc(1, sizeof(*loop));
	if (loop == NULL)
		return err_set(e, ERR_NOMEM, "no memory for the event loop");
	loop->env = env;
	loop->signal_fd = -1;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	loop->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int rc = 0;
	if (loop->epoll_fd < 0 || loop->stop_fd < 0)
		rc = err_errno(e, ERR_IO, errno, "making the event loop");
	else
		rc = watch_add(loop, loop->stop_fd, on_stop, loop, e);
	if (rc != 0)
		proto_loop_destroy(&loop);
	else
		*out = loop;
	return rc;
}

void proto_loop_destroy(struct proto_loop **pointer)
{
	struct proto_loop *loop = *pointer;
	*pointer = NULL;
	if (loop == NULL)
		return;
	if (loop->signal_fd >= 0) {
		close(loop->signal_fd);
		pthread_sigmask(SIG_SETMASK, &loop->mask_before, NULL);
	}
	if (loop->stop_fd >= 0)
		close(loop->stop_fd);
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	free(loop);
}

/* A transport's descriptor only wakes the loop: the passes look at every transport anyway. */
static void on_transport(void *context)
{
	(void)context;
}

int proto_loop_transport(struct proto_loop *loop, struct proto_transport *t,
			 void (*on_message)(void *context, struct msg_received **received), void *context,
			 struct err *e)
{
	if (loop->transport_count == TRANSPORTS_MAX)
		return err_set(e, ERR_LIMIT, "the event loop has %d transports already", TRANSPORTS_MAX);
	int fd = t->ops->fd(t);
	int rc = fd >= 0 ? watch_add(loop, fd, on_transport, NULL, e) : 0;
	if (rc != 0)
		return rc;
	loop->memory |= fd < 0;
	loop->transports[loop->transport_count++] = (struct transport_slot){ t, on_message, context };
	return 0;
}

int proto_loop_timer(struct proto_loop *loop, int64_t period_ms, void (*on_time)(void *context), void *context,
		     struct err *e)
{
	if (period_ms < 1)
		return err_set(e, ERR_INVALID, "a timer of %lld ms", (long long)period_ms);
	if (loop->timer_count == TIMERS_MAX)
		return err_set(e, ERR_LIMIT, "the event loop has %d timers already", TIMERS_MAX);
	loop->timers[loop->timer_count++] =
		(struct timer_slot){ period_ms, env_monotonic_ms(loop->env) + period_ms, on_time, context };
	return 0;
}

int proto_loop_fd(struct proto_loop *loop, int fd, void (*on_readable)(void *context), void *context, struct err *e)
{
	return watch_add(loop, fd, on_readable, context, e);
}

static void on_pool(void *context)
{
	(void)pool_poll(context);
}

int proto_loop_pool(struct proto_loop *loop, struct pool *pool, struct err *e)
{
	if (pool_fd(pool) >= 0)
		return watch_add(loop, pool_fd(pool), on_pool, pool, e);
	/* An inline pool has no descriptor: its jobs are done when they are submitted, and delivered at the next tick.
	 */
	return proto_loop_timer(loop, MEMORY_POLL_MS, on_pool, pool, e);
}

static void on_signal_readable(void *context)
{
	struct proto_loop *loop = context;
	struct signalfd_siginfo info;
	while (read(loop->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		loop->on_signal(loop->signal_context, (int)info.ssi_signo);
}

int proto_loop_signals(struct proto_loop *loop, void (*on_signal)(void *context, int signal_number), void *context,
		       struct err *e)
{
	sigset_t set;
	if (loop->signal_fd >= 0)
		return err_set(e, ERR_EXISTS, "the event loop takes signals already");
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	int errnum = pthread_sigmask(SIG_BLOCK, &set, &loop->mask_before);
	if (errnum != 0)
		return err_errno(e, ERR_IO, errnum, "blocking signals");
	loop->on_signal = on_signal;
	loop->signal_context = context;
	int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	int rc = fd < 0 ? err_errno(e, ERR_IO, errno, "signalfd") : 0;
	loop->signal_fd = fd;
	if (rc == 0)
		rc = watch_add(loop, fd, on_signal_readable, loop, e);
	if (rc == 0)
		return 0;
	if (fd >= 0)
		close(fd);
	loop->signal_fd = -1;
	pthread_sigmask(SIG_SETMASK, &loop->mask_before, NULL);
	return rc;
}

/* True when it may have left something behind. */
static bool transport_turn(struct transport_slot *slot)
{
	for (int i = 0; i < MESSAGES_A_TURN; i++) {
		struct msg_received *received = NULL;
		if (slot->t->ops->recv(slot->t, &received, NULL) != 0)
			return i > 0 || slot->t->pending;
		slot->on_message(slot->context, &received);
		if (received != NULL)
			msg_free(&received);
	}
	return true;
}

static bool transports_turn(struct proto_loop *loop)
{
	bool busy = false;
	for (size_t i = 0; i < loop->transport_count && !loop->stopped; i++)
		busy |= transport_turn(&loop->transports[i]);
	return busy;
}

/* Missed periods are not caught up: after a long turn a timer fires once. */
static void timers_turn(struct proto_loop *loop)
{
	for (size_t i = 0; i < loop->timer_count && !loop->stopped; i++) {
		struct timer_slot *timer = &loop->timers[i];
		int64_t now = env_monotonic_ms(loop->env);
		if (now < timer->due_ms)
			continue;
		timer->due_ms = now + timer->period_ms;
		timer->on_time(timer->context);
	}
}

static int wait_ms(const struct proto_loop *loop, int64_t timeout_ms)
{
	int64_t now = env_monotonic_ms(loop->env), wait = timeout_ms < 0 || timeout_ms > 60000 ? 60000 : timeout_ms;
	for (size_t i = 0; i < loop->timer_count; i++)
		if (loop->timers[i].due_ms - now < wait)
			wait = loop->timers[i].due_ms - now;
	if (loop->memory && wait > MEMORY_POLL_MS)
		wait = MEMORY_POLL_MS;
	return wait < 0 ? 0 : (int)wait;
}

int proto_loop_once(struct proto_loop *loop, int64_t timeout_ms, struct err *e)
{
	struct epoll_event events[EVENTS_A_TURN];
	bool busy = transports_turn(loop);
	if (loop->stopped)
		return 0;
	int count = epoll_wait(loop->epoll_fd, events, EVENTS_A_TURN, busy ? 0 : wait_ms(loop, timeout_ms));
	if (count < 0 && errno != EINTR)
		return err_errno(e, ERR_IO, errno, "waiting for events");
	for (int i = 0; i < count; i++) {
		struct watch *watch = &loop->watches[events[i].data.u64];
		watch->on_readable(watch->context);
	}
	timers_turn(loop);
	/* What woke it is handled in the same call; the next call begins with another pass before it may sleep. */
	(void)transports_turn(loop);
	return 0;
}

int proto_loop_run(struct proto_loop *loop, struct err *e)
{
	int rc = 0;
	while (rc == 0 && !loop->stopped)
		rc = proto_loop_once(loop, -1, e);
	loop->stopped = 0;
	return rc;
}

void proto_loop_stop(struct proto_loop *loop)
{
	uint64_t one = 1;
	int errnum = errno;
	loop->stopped = 1;
	(void)!write(loop->stop_fd, &one, sizeof(one));
	errno = errnum;
}
