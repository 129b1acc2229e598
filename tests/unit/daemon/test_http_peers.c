/* Clients that send too slowly, or are too many at once: of an HTTP server, since nothing else makes its connections.
 */
#include "daemon/http.h"

#include "base/env.h"
#include "base/sync.h"
#include "tests/unit/daemon/http_client.h"

#include <pthread.h>

#define BODY_MAX   1000
#define BODIES_MAX 1500

#define HELD_MS_MAX 60000

struct server {
	struct err e;
	pthread_mutex_t lock;
	pthread_cond_t held_set;
	struct http_exchange *held; /* answered by reply_later */
};

static void on_request(void *context, struct http_exchange *x)
{
	struct server *s = context;
	struct buf text = BUF_INIT;
	if (strcmp(http_path(x), "/later") == 0) {
		pthread_mutex_lock(&s->lock);
		s->held = x;
		pthread_cond_signal(&s->held_set);
		pthread_mutex_unlock(&s->lock);
		return;
	}
	http_metrics_print(x, &text);
	http_reply(x, 200, "text/plain", &text);
}

static int setup(void **state)
{
	struct server *s = calloc(1, sizeof *s);
	assert_non_null(s);
	assert_int_equal(sync_init(&s->lock, &s->held_set), 0);
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct server *s = *state;
	sync_fini(&s->lock, &s->held_set);
	free(s);
	return 0;
}

/* `part_ms`: for a request's headers, and for its body; `address_max`: connections of one address, 0: no limit. */
static struct http_server *server_open(struct server *s, size_t connections_max, int64_t part_ms, size_t address_max)
{
	const struct http_config config = { .listen = "127.0.0.1:0",
					    .body_bytes_max = BODY_MAX,
					    .connections_max = connections_max,
					    .thread_count = 2,
					    .idle_seconds = 60,
					    .bodies_bytes_max = BODIES_MAX,
					    .header_ms = part_ms,
					    .body_ms = part_ms,
					    .address_connections_max = address_max };
	struct http_server *http = NULL;
	assert_ok(&s->e, http_server_open(&config, on_request, s, &http, &s->e));
	return http;
}

/* A connection whose request waits for its answer until later_end. */
static int later_begin(struct server *s, const struct http_server *http)
{
	const int fd = http_connect(http_server_address(http));
	http_request_write(fd, "GET", "/later", "", "");
	const struct timespec until = sync_deadline(HELD_MS_MAX);
	pthread_mutex_lock(&s->lock);
	for (int rc = 0; s->held == NULL && rc == 0;)
		rc = pthread_cond_timedwait(&s->held_set, &s->lock, &until);
	assert_non_null(s->held);
	pthread_mutex_unlock(&s->lock);
	return fd;
}

static void later_end(struct server *s, int fd)
{
	struct buf text = BUF_INIT;
	struct http_answer a;
	buf_puts(&text, "there");
	http_reply(s->held, 200, "text/plain", &text);
	assert_true(http_read(fd, &a, NULL, NULL));
	assert_string_equal(a.body, "there");
	buf_free(&a.all);
}

#define SLOW_PEERS 40

struct slow {
	int fds[SLOW_PEERS];
};

static void slow_open(struct slow *slow, const struct http_server *http, const char *head)
{
	for (size_t i = 0; i < SLOW_PEERS; i++) {
		slow->fds[i] = http_connect(http_server_address(http));
		http_write(slow->fds[i], head, strlen(head));
	}
}

/* One more byte of each, so that none is idle. The count of those that the server has closed. */
static size_t slow_turn(struct slow *slow)
{
	size_t closed = 0;
	for (size_t i = 0; i < SLOW_PEERS; i++) {
		char byte;
		http_write(slow->fds[i], "a", 1);
		const ssize_t n = recv(slow->fds[i], &byte, 1, MSG_DONTWAIT);
		closed += n == 0 || (n < 0 && errno != EAGAIN);
	}
	return closed;
}

/* Until the server has closed so many. */
static void slow_wait(struct slow *slow, size_t wanted)
{
	int64_t since = 0;
	size_t closed;
	while ((closed = slow_turn(slow)) < wanted && test_wait(&since))
		;
	assert_int_equal(closed, wanted);
}

static void slow_close(struct slow *slow)
{
	for (size_t i = 0; i < SLOW_PEERS; i++)
		close(slow->fds[i]);
}

static void assert_closed(const struct http_server *http, const char *reason, double least)
{
	struct http_answer a;
	char line[96];
	http_ask(http_server_address(http), "GET", "/metrics", "", &a, NULL, NULL);
	snprintf(line, sizeof line, "\namend_http_connections_closed_total{reason=\"%s\"} ", reason);
	const char *found = strstr(a.body, line);
	assert_non_null(found);
	assert_true(atof(found + strlen(line)) >= least);
	buf_free(&a.all);
}

/* All are closed though bytes keep coming and there is room for all. */
static void closes_slow(struct server *s, const char *head, const char *reason)
{
	struct http_server *http = server_open(s, 64, 300, 0);
	struct slow slow;
	slow_open(&slow, http, head);
	slow_wait(&slow, SLOW_PEERS);
	assert_closed(http, reason, SLOW_PEERS);
	slow_close(&slow);
	http_server_close(&http);
}

static void slow_headers_are_closed(void **state)
{
	closes_slow(*state, "GET /x HTTP/1.1\r\nHost: x\r\nX-a: ", "headers");
	closes_slow(*state, "", "headers");
}

static void slow_bodies_are_closed(void **state)
{
	closes_slow(*state, "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", "body");
}

/* An answer may take longer than a request may. */
static void a_late_answer_is_not_closed(void **state)
{
	struct server *s = *state;
	struct http_server *http = server_open(s, 64, 100, 0);
	struct http_answer a;
	struct slow slow;
	const int fd = later_begin(s, http);
	slow_open(&slow, http, "GET /x HTTP/1.1\r\nX-a: "); /* later than it, and closed */
	slow_wait(&slow, SLOW_PEERS);
	later_end(s, fd);
	slow_close(&slow);
	slow_open(&slow, http, "GET /x HTTP/1.1\r\nX-a: ");
	slow_wait(&slow, SLOW_PEERS); /* idle time is not a request's: it would be closed before these, if it were */
	http_request_write(fd, "GET", "/next", "", "");
	assert_true(http_read(fd, &a, NULL, NULL));
	buf_free(&a.all);
	close(fd);
	slow_close(&slow);
	http_server_close(&http);
}

/* Far more than it holds, none of which ends by itself. One that waits for its answer is not closed for others. */
static void probes_are_answered_when_full(void **state)
{
	struct server *s = *state;
	struct http_server *http = server_open(s, 8, 3600000, 0);
	struct http_answer a;
	struct slow slow;
	const int fd = later_begin(s, http);
	slow_open(&slow, http, "POST /x HTTP/1.1\r\nHost: x\r\nX-a: ");
	http_ask(http_server_address(http), "GET", "/health", "", &a, NULL, NULL);
	assert_int_equal(a.status, 200);
	buf_free(&a.all);
	assert_closed(http, "full", SLOW_PEERS - 16);
	later_end(s, fd);
	close(fd);
	slow_close(&slow);
	http_server_close(&http);
}

static void one_address_has_its_share(void **state)
{
	struct server *s = *state;
	struct http_server *http = server_open(s, 64, 3600000, 5);
	struct slow slow;
	slow_open(&slow, http, "POST /x HTTP/1.1\r\nHost: x\r\nX-a: ");
	slow_wait(&slow, SLOW_PEERS - 5);
	assert_int_equal(slow_turn(&slow), SLOW_PEERS - 5);
	slow_close(&slow);
	http_server_close(&http);
}

static void as_many_as_fit_are_kept(void **state)
{
	struct server *s = *state;
	struct http_server *http = server_open(s, SLOW_PEERS, 3600000, 0);
	struct slow slow;
	slow_open(&slow, http, "POST /x HTTP/1.1\r\nHost: x\r\nX-a: ");
	poll(NULL, 0, 1200); /* older than what is spared, and some looks */
	assert_int_equal(slow_turn(&slow), 0);
	slow_close(&slow);
	http_server_close(&http);
}

/* One that has just come may still be asking: it is not closed for another. */
static void who_has_just_come_is_not_closed(void **state)
{
	struct server *s = *state;
	struct http_server *http = server_open(s, 8, 3600000, 0);
	struct slow slow;
	int64_t since = 0;
	const int64_t began = env_monotonic_ms(env_system());
	slow_open(&slow, http, "POST /x HTTP/1.1\r\nHost: x\r\nX-a: ");
	while (slow_turn(&slow) == 0 && test_wait(&since))
		;
	assert_true(env_monotonic_ms(env_system()) - began >= 500);
	slow_close(&slow);
	http_server_close(&http);
}

/* ---- Its end */

#define ANSWER_BYTES ((size_t)32 << 20) /* more than sockets hold */

struct closing {
	struct http_server *http;
	pthread_t thread;
	int64_t ended_ms;
};

static void *close_server(void *context)
{
	struct closing *c = context;
	http_server_close(&c->http);
	c->ended_ms = env_monotonic_ms(env_system());
	return NULL;
}

static void closing_end(struct closing *c)
{
	const struct timespec until = { .tv_sec = time(NULL) + 60 };
	if (pthread_timedjoin_np(c->thread, NULL, &until) != 0)
		fail_msg("the server does not close");
}

/* A long answer, whose client reads it only when the server closes, if it does. How long closing took when it had. */
static int64_t close_behind_an_answer(struct server *s, bool reads)
{
	struct closing c = { .http = server_open(s, 64, 0, 0) };
	struct buf text = BUF_INIT;
	static char part[1 << 16];
	size_t came = 0;
	const int fd = later_begin(s, c.http);
	memset(part, 'x', sizeof part);
	while (text.len < ANSWER_BYTES)
		buf_append(&text, part, sizeof part);
	http_reply(s->held, 200, "text/plain", &text);
	s->held = NULL;
	buf_free(&text);
	assert_int_equal(pthread_create(&c.thread, NULL, close_server, &c), 0);
	poll(NULL, 0, 100); /* nobody sees how far closing is */
	for (ssize_t n; reads && came < ANSWER_BYTES && (n = recv(fd, part, sizeof part, 0)) > 0;)
		came += (size_t)n;
	const int64_t read_ms = env_monotonic_ms(env_system());
	closing_end(&c);
	assert_true(!reads || came >= ANSWER_BYTES);
	close(fd);
	return c.ended_ms - read_ms;
}

/* Mostly: others may have the processor. */
static void closing_waits_for_answers_and_no_longer(void **state)
{
	struct server *s = *state;
	int soon = 0;
	for (int i = 0; i < 5; i++)
		soon += close_behind_an_answer(s, true) < 1000;
	assert_true(soon >= 3);
	assert_true(close_behind_an_answer(s, false) < 30000); /* nobody reads it: it is given up */
}

/* The shortest of some. */
static void idle_connections_hold_nothing_up(void **state)
{
	struct server *s = *state;
	int64_t shortest = INT64_MAX;
	for (int i = 0; i < 5 && shortest >= 1000; i++) {
		struct closing c = { .http = server_open(s, 64, 0, 0) };
		struct http_answer a;
		const int fd = http_connect(http_server_address(c.http));
		http_request_write(fd, "GET", "/x", "", "");
		assert_true(http_read(fd, &a, NULL, NULL));
		buf_free(&a.all);
		const int64_t began = env_monotonic_ms(env_system());
		assert_int_equal(pthread_create(&c.thread, NULL, close_server, &c), 0);
		closing_end(&c);
		shortest = c.ended_ms - began < shortest ? c.ended_ms - began : shortest;
		close(fd);
	}
	assert_true(shortest < 1000);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(slow_headers_are_closed),          T(slow_bodies_are_closed),
		T(a_late_answer_is_not_closed),      T(probes_are_answered_when_full),
		T(one_address_has_its_share),        T(as_many_as_fit_are_kept),
		T(who_has_just_come_is_not_closed),  T(closing_waits_for_answers_and_no_longer),
		T(idle_connections_hold_nothing_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
