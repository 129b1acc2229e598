#include "tests/lib/network.h"
#include "tests/lib/test.h"

#include "base/log.h"
#include "proto/loop.h"

#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct world {
	char folder[TEST_PATH_BYTES];
	struct proto_loop *loop;
	struct proto_keypair server_keys, client_keys;
	struct proto_allow *allow;
	struct proto_zmq *server_zmq, *client_zmq;
	struct proto_transport *server, *client;
	int received, answered, ticks, readable, last_signal;
	int stop_after;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct err e = ERR_INIT;
	struct proto_limits limits = PROTO_LIMITS_DEFAULT;
	assert_non_null(w);
	test_folder_make(w->folder);
	assert_ok(&e, proto_loop_new(env_system(), &w->loop, &e));
	assert_ok(&e, proto_keypair_new(&w->server_keys, &e));
	assert_ok(&e, proto_keypair_new(&w->client_keys, &e));
	w->allow = test_allow_make(w->folder, w->client_keys.public_key, PROTO_ROLE_WORKER);
	assert_ok(&e, proto_zmq_new(&w->server_keys, w->allow, env_system(), &w->server_zmq, &e));
	assert_ok(&e, proto_zmq_new(&w->client_keys, NULL, env_system(), &w->client_zmq, &e));
	assert_ok(&e, proto_zmq_listen(w->server_zmq, "tcp://127.0.0.1:*", NULL, &limits, &w->server, &e));
	assert_ok(&e, proto_zmq_connect(w->client_zmq, proto_zmq_endpoint(w->server, false), NULL,
					w->server_keys.public_key, &w->client, &e));
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	proto_loop_destroy(&w->loop);
	test_end_destroy(&w->client);
	test_end_destroy(&w->server);
	proto_zmq_destroy(&w->client_zmq);
	proto_zmq_destroy(&w->server_zmq);
	proto_allow_destroy(&w->allow);
	test_folder_remove(w->folder);
	free(w);
	return 0;
}

static void on_server(void *context, struct msg_received **received)
{
	struct world *w = context;
	struct msg reply = { .type = MSG_HEARTBEAT_REPLY, .request_id = (*received)->msg.request_id };
	w->received++;
	assert_int_equal(w->server->ops->send(w->server, (*received)->route, &reply, NULL), 0);
}

static void on_client(void *context, struct msg_received **received)
{
	struct world *w = context;
	w->answered++;
	if (w->answered == w->stop_after)
		proto_loop_stop(w->loop);
	if (w->answered % 2 == 0)
		msg_free(received); /* taken over: nulled */
}

/* Both ends in one loop, and every send may swallow an edge of the descriptor: no message may be left lying. */
static void no_message_is_left_lying(void **state)
{
	struct world *w = *state;
	struct err e = ERR_INIT;
	struct msg msg = { .type = MSG_WANT };
	assert_ok(&e, proto_loop_transport(w->loop, w->server, on_server, w, &e));
	assert_ok(&e, proto_loop_transport(w->loop, w->client, on_client, w, &e));
	int64_t end = env_monotonic_ms(env_system()) + 20000;
	int sent = 0;
	while (w->answered < 2000 && env_monotonic_ms(env_system()) < end) {
		while (sent < 2000 && sent - w->answered < 100 && w->client->ops->send(w->client, 0, &msg, NULL) == 0)
			sent++;
		assert_ok(&e, proto_loop_once(w->loop, 1000, &e));
	}
	assert_int_equal(w->received, 2000);
	assert_int_equal(w->answered, 2000);
	w->stop_after = 2001;
	assert_int_equal(test_send(w->client, 0, &msg, 5000), 0);
	assert_ok(&e, proto_loop_run(w->loop, &e));
	assert_int_equal(w->answered, 2001);
}

static void on_tick(void *context)
{
	((struct world *)context)->ticks++;
}

static void timers_follow_the_clock_they_are_given(void **state)
{
	struct world *w = *state;
	struct env_manual clock;
	struct proto_loop *loop = NULL;
	struct err e = ERR_INIT;
	env_manual_init(&clock, 1);
	assert_ok(&e, proto_loop_new(&clock.env, &loop, &e));
	assert_ok(&e, proto_loop_timer(loop, 100, on_tick, w, &e));
	assert_int_equal(proto_loop_timer(loop, 0, on_tick, w, &e), ERR_INVALID);
	assert_ok(&e, proto_loop_once(loop, 0, &e));
	assert_int_equal(w->ticks, 0);
	env_manual_advance(&clock, 99000);
	assert_ok(&e, proto_loop_once(loop, 0, &e));
	assert_int_equal(w->ticks, 0);
	env_manual_advance(&clock, 1000);
	assert_ok(&e, proto_loop_once(loop, 0, &e));
	assert_ok(&e, proto_loop_once(loop, 0, &e));
	assert_int_equal(w->ticks, 1);
	env_manual_advance(&clock, 1000000); /* ten periods missed: one tick */
	assert_ok(&e, proto_loop_once(loop, 0, &e));
	assert_ok(&e, proto_loop_once(loop, 0, &e));
	assert_int_equal(w->ticks, 2);
	proto_loop_destroy(&loop);
	assert_null(loop);
}

static int event_fd;
static void on_event(void *context)
{
	uint64_t count;
	((struct world *)context)->readable++;
	assert_int_equal(read(event_fd, &count, sizeof(count)), (int)sizeof(count));
}

static void descriptors_wake_it(void **state)
{
	struct world *w = *state;
	struct err e = ERR_INIT;
	uint64_t one = 1;
	event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_ok(&e, proto_loop_fd(w->loop, event_fd, on_event, w, &e));
	assert_ok(&e, proto_loop_once(w->loop, 0, &e));
	assert_int_equal(w->readable, 0);
	assert_int_equal(write(event_fd, &one, sizeof(one)), (int)sizeof(one));
	assert_ok(&e, proto_loop_once(w->loop, 5000, &e));
	assert_int_equal(w->readable, 1);
	close(event_fd);
}

struct job {
	struct pool_job base;
	bool ran, done;
};
static void job_run(struct pool_job *base)
{
	((struct job *)base)->ran = true;
}
static void job_done(struct pool_job *base)
{
	((struct job *)base)->done = true;
}

static void finished_jobs_come_back(void **state)
{
	struct world *w = *state;
	struct err e = ERR_INIT;
	for (size_t threads = 0; threads < 2; threads++) { /* 0: inline */
		struct pool *pool = NULL;
		struct proto_loop *loop = NULL;
		struct job job = { .base = { .run = job_run, .done = job_done } };
		assert_ok(&e, proto_loop_new(env_system(), &loop, &e));
		assert_ok(&e, pool_new(threads, 4, &pool, &e));
		assert_ok(&e, proto_loop_pool(loop, pool, &e));
		assert_int_equal(pool_submit(pool, &job.base), 0);
		int64_t end = env_monotonic_ms(env_system()) + 20000;
		while (!job.done && env_monotonic_ms(env_system()) < end)
			assert_ok(&e, proto_loop_once(loop, 100, &e));
		assert_true(job.ran && job.done);
		proto_loop_destroy(&loop);
		pool_destroy(&pool);
	}
	(void)w;
}

static void on_signal(void *context, int number)
{
	struct world *w = context;
	w->last_signal = number;
	proto_loop_stop(w->loop);
}

static void signals_arrive_as_events(void **state)
{
	struct world *w = *state;
	struct err e = ERR_INIT;
	sigset_t before, after;
	pthread_sigmask(SIG_SETMASK, NULL, &before);
	assert_ok(&e, proto_loop_signals(w->loop, on_signal, w, &e));
	assert_int_equal(proto_loop_signals(w->loop, on_signal, w, &e), ERR_EXISTS);
	assert_int_equal(raise(SIGTERM), 0);
	assert_ok(&e, proto_loop_run(w->loop, &e));
	assert_int_equal(w->last_signal, SIGTERM);
	assert_int_equal(raise(SIGINT), 0);
	assert_ok(&e, proto_loop_run(w->loop, &e));
	assert_int_equal(w->last_signal, SIGINT);
	assert_int_equal(raise(SIGHUP), 0);
	assert_ok(&e, proto_loop_run(w->loop, &e));
	assert_int_equal(w->last_signal, SIGHUP);
	proto_loop_destroy(&w->loop);
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	assert_int_equal(sigismember(&after, SIGTERM), sigismember(&before, SIGTERM));
}

static void stop_before_run_is_kept(void **state)
{
	struct world *w = *state;
	struct err e = ERR_INIT;
	proto_loop_stop(w->loop);
	assert_ok(&e, proto_loop_run(w->loop, &e));
}

static void limits_are_stated(void **state)
{
	struct world *w = *state;
	struct err e = ERR_INIT;
	int rc = 0, count = 0;
	for (; rc == 0 && count < 1000; count++)
		rc = proto_loop_timer(w->loop, 1000, on_tick, w, &e);
	assert_int_equal(rc, ERR_LIMIT);
	assert_int_equal(proto_loop_fd(w->loop, -1, on_event, w, &e), ERR_IO);
}

int main(void)
{
#define WORLD(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		WORLD(no_message_is_left_lying), WORLD(timers_follow_the_clock_they_are_given),
		WORLD(descriptors_wake_it),      WORLD(finished_jobs_come_back),
		WORLD(signals_arrive_as_events), WORLD(stop_before_run_is_kept),
		WORLD(limits_are_stated),
	};
	log_level_set(LOG_OFF);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
