#include "daemon/http.h"
#include "daemon/metrics_page.h"

#include "tests/unit/daemon/http_client.h"

#include <pthread.h>
#include <stdatomic.h>

#define BODY_MAX   1000
#define BODIES_MAX 1500

struct server {
	struct http_server *http;
	struct err e;
	pthread_t later;
	struct http_exchange *held; /* answered by `later` */
	pthread_mutex_t lock;
	pthread_cond_t held_set; /* any of these changed */
	bool busy, busy_ends;    /* a handler that keeps its thread, and may end */
};

static void echo(struct http_exchange *x)
{
	struct buf text = BUF_INIT;
	size_t len;
	const char *body = http_body(x, &len);
	buf_printf(&text, "%s %s ", http_method(x), http_path(x));
	buf_append(&text, body, len);
	http_header_set(x, "x-echo", "%s",
			http_request_header(x, "x-given") != NULL ? http_request_header(x, "x-given") : "none");
	http_header_set(x, "x-evil", "a\r\nSet-Cookie: b");
	http_reply(x, 200, "text/plain", &text);
}

static void on_request(void *context, struct http_exchange *x)
{
	struct server *s = context;
	if (strcmp(http_path(x), "/failed") == 0) {
		struct buf text = BUF_INIT;
		buf_puts(&text, "{\"half\":");
		text.failed = true;
		http_reply(x, 200, "application/json", &text);
		return;
	}
	const bool busy = strcmp(http_path(x), "/busy") == 0, later = strcmp(http_path(x), "/later") == 0;
	if (!later)
		echo(x);
	if (!later && !busy)
		return;
	pthread_mutex_lock(&s->lock);
	if (later)
		s->held = x;
	else
		s->busy = true;
	pthread_cond_broadcast(&s->held_set);
	while (busy && !s->busy_ends)
		pthread_cond_wait(&s->held_set, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

static int setup(void **state)
{
	struct server *s = calloc(1, sizeof *s);
	struct http_config config = { "127.0.0.1:0", BODY_MAX, 4, 2, 5, BODIES_MAX, 0, 0, 0 };
	assert_non_null(s);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->held_set, NULL);
	assert_ok(&s->e, http_server_open(&config, on_request, s, &s->http, &s->e));
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	struct server *s = *state;
	http_server_close(&s->http);
	free(s);
	return 0;
}

static void answers_with_what_came(void **state)
{
	struct server *s = *state;
	struct http_answer a;
	int fd = http_connect(http_server_address(s->http));
	http_request_write(fd, "POST", "/a%20b?q=1", "X-Given: 7\r\n", "text");
	assert_true(http_read(fd, &a, NULL, NULL));
	assert_int_equal(a.status, 200);
	assert_string_equal(a.body, "POST /a b text");
	assert_non_null(strstr((char *)a.all.data, "x-echo: 7\r\n"));
	assert_null(strstr((char *)a.all.data, "Set-Cookie")); /* a header cannot be split */
	buf_free(&a.all);
	http_request_write(fd, "GET", "/again", "", ""); /* the connection stays */
	assert_true(http_read(fd, &a, NULL, NULL));
	assert_string_equal(a.body, "GET /again ");
	buf_free(&a.all);
	close(fd);
}

/* The exchange that is to be answered later. */
static struct http_exchange *held_wait(struct server *s)
{
	pthread_mutex_lock(&s->lock);
	while (s->held == NULL)
		pthread_cond_wait(&s->held_set, &s->lock);
	struct http_exchange *x = s->held;
	pthread_mutex_unlock(&s->lock);
	return x;
}

static void *reply_later(void *context)
{
	struct server *s = context;
	struct buf text = BUF_INIT;
	struct http_exchange *x = held_wait(s);
	pthread_mutex_lock(&s->lock);
	s->held = NULL;
	pthread_mutex_unlock(&s->lock);
	buf_puts(&text, http_gone(x) ? "gone" : "there");
	http_reply(x, 201, "text/plain", &text);
	return NULL;
}

static void another_thread_may_answer(void **state)
{
	struct server *s = *state;
	for (int i = 0; i < 200; i++) { /* before and after the connection is suspended */
		struct http_answer a;
		assert_int_equal(pthread_create(&s->later, NULL, reply_later, s), 0);
		http_ask(http_server_address(s->http), "GET", "/later", "", &a, NULL, NULL);
		pthread_join(s->later, NULL);
		assert_int_equal(a.status, 201);
		assert_string_equal(a.body, "there");
		buf_free(&a.all);
	}
}

static void sees_that_the_client_left(void **state)
{
	struct server *s = *state;
	int fd = http_connect(http_server_address(s->http));
	http_request_write(fd, "GET", "/later", "", "");
	struct http_exchange *x = held_wait(s);
	assert_false(http_gone(x));
	close(fd);
	int64_t since = 0;
	while (!http_gone(x) && test_wait(&since))
		;
	assert_true(http_gone(x));
	http_reply(x, 200, "text/plain", NULL);
}

static void long_bodies_are_413(void **state)
{
	struct server *s = *state;
	struct http_answer a;
	char body[BODY_MAX + 2];
	memset(body, 'x', sizeof body);
	body[BODY_MAX] = '\0';
	http_ask(http_server_address(s->http), "POST", "/", body, &a, NULL, NULL);
	assert_int_equal(a.status, 200);
	buf_free(&a.all);
	body[BODY_MAX] = 'x';
	body[BODY_MAX + 1] = '\0';
	http_ask(http_server_address(s->http), "POST", "/", body, &a, NULL, NULL);
	assert_int_equal(a.status, 413);
	assert_non_null(strstr(a.body, "request_too_large"));
	buf_free(&a.all);
	struct buf chunked = BUF_INIT; /* not announced */
	buf_printf(&chunked, "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n%zx\r\n%s\r\n0\r\n\r\n",
		   strlen(body), body);
	int fd = http_connect(http_server_address(s->http));
	http_write(fd, (char *)chunked.data, chunked.len);
	assert_true(http_read(fd, &a, NULL, NULL));
	assert_int_equal(a.status, 413);
	buf_free(&a.all);
	buf_free(&chunked);
	close(fd);
}

/* Nobody could tell where the next request begins: it is not read. */
static void lengths_that_differ_are_400(void **state)
{
	struct server *s = *state;
	struct http_answer a;
	static const char *const bad[] = {
		"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
		"Content-Length: 4\r\ncontent-length: 3\r\n\r\nabcd",
		"Content-Length: 0\r\nContent-Length: 4\r\n\r\nabcd",
		"Content-Length: 4\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
		"Content-Length: 3, 4\r\n\r\nabcd",
		"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct buf text = BUF_INIT;
		buf_printf(&text, "POST /x HTTP/1.1\r\nHost: t\r\n%sGET /y HTTP/1.1\r\nHost: t\r\n\r\n", bad[i]);
		int fd = http_connect(http_server_address(s->http));
		http_write(fd, (char *)text.data, text.len);
		assert_true(http_read(fd, &a, NULL, NULL));
		assert_int_equal(a.status, 400);
		assert_null(strstr((char *)a.all.data, "GET /y"));
		buf_free(&a.all);
		assert_false(http_read(fd, &a, NULL, NULL)); /* closed */
		buf_free(&a.all);
		buf_free(&text);
		close(fd);
	}
	static const char same[] = "POST /x HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab";
	int fd = http_connect(http_server_address(s->http));
	http_write(fd, same, strlen(same));
	assert_true(http_read(fd, &a, NULL, NULL));
	assert_string_equal(a.body, "POST /x ab");
	buf_free(&a.all);
	close(fd);
}

/* What many connections hold together is bounded too, and let go with the answer. */
static void bodies_are_bounded_together(void **state)
{
	struct server *s = *state;
	struct http_answer a;
	char body[BODY_MAX + 1];
	memset(body, 'x', BODY_MAX);
	body[BODY_MAX] = '\0';
	int fd = http_connect(http_server_address(s->http));
	http_request_write(fd, "POST", "/later", "", body);
	pthread_mutex_lock(&s->lock);
	while (s->held == NULL)
		pthread_cond_wait(&s->held_set, &s->lock);
	struct http_exchange *x = s->held;
	pthread_mutex_unlock(&s->lock);
	http_ask(http_server_address(s->http), "POST", "/", body, &a, NULL, NULL);
	assert_int_equal(a.status, 503);
	assert_non_null(strstr(a.body, "overloaded"));
	assert_non_null(strcasestr(buf_cstr(&a.all), "retry-after: 1"));
	buf_free(&a.all);
	body[400] = '\0';
	http_ask(http_server_address(s->http), "POST", "/", body, &a, NULL, NULL);
	assert_int_equal(a.status, 200);
	buf_free(&a.all);
	body[400] = 'x';
	http_reply(x, 200, "text/plain", NULL);
	assert_true(http_read(fd, &a, NULL, NULL));
	buf_free(&a.all);
	close(fd);
	int64_t since = 0;
	do { /* the exchange ends just after its answer */
		http_ask(http_server_address(s->http), "POST", "/", body, &a, NULL, NULL);
		buf_free(&a.all);
	} while (a.status != 200 && test_wait(&since));
	assert_int_equal(a.status, 200);
}

static void an_answer_that_failed_says_so(void **state)
{
	struct server *s = *state;
	struct http_answer a;
	http_ask(http_server_address(s->http), "GET", "/failed", "", &a, NULL, NULL);
	assert_int_equal(a.status, 500);
	assert_non_null(strcasestr(buf_cstr(&a.all), "content-type: application/json"));
	assert_non_null(strstr(a.body, "\"code\":\"out_of_memory\""));
	buf_free(&a.all);
}

static void garbage_does_not_stop_it(void **state)
{
	struct server *s = *state;
	static const char *const bad[] = { "\r\n\r\n\r\n", "GET\r\n\r\n",
					   "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
					   "\x16\x03\x01\x02garbage\r\n\r\n", "GET / HTTP/9.9\r\n\r\n" };
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		int fd = http_connect(http_server_address(s->http));
		http_write(fd, bad[i], strlen(bad[i]));
		close(fd);
	}
	struct http_answer a = { .all = BUF_INIT };
	bool ok;
	int64_t since = 0;
	do { /* refused while the four before it are being closed */
		int fd = http_connect(http_server_address(s->http));
		http_request_write(fd, "GET", "/x", "", "");
		ok = http_read(fd, &a, NULL, NULL) && a.status == 200;
		buf_free(&a.all);
		close(fd);
	} while (!ok && test_wait(&since));
	assert_true(ok);
}

static void a_busy_port_is_named(void **state)
{
	struct server *s = *state;
	struct http_server *second = NULL;
	struct http_config config = { http_server_address(s->http), BODY_MAX, 4, 1, 5, 0, 0, 0, 0 };
	assert_int_equal(http_server_open(&config, on_request, s, &second, &s->e), ERR_BUSY);
	assert_non_null(strstr(s->e.text, http_server_address(s->http)));
	assert_non_null(strstr(s->e.text, "choose another port"));
	static const char *const bad[] = { "", "7480", "host:", "host:99999", "127.0.0.1:x" };
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		config.listen = bad[i];
		assert_int_equal(http_server_open(&config, on_request, s, &second, &s->e), ERR_INVALID);
	}
}

static void drains(void **state)
{
	struct server *s = *state;
	struct http_answer a;
	int fd = http_connect(http_server_address(s->http));
	http_request_write(fd, "GET", "/one", "", "");
	assert_true(http_read(fd, &a, NULL, NULL));
	buf_free(&a.all);
	http_server_drain(s->http);
	assert_int_equal(http_knock(http_server_address(s->http)), -1);
	http_request_write(fd, "GET", "/two", "", "");
	assert_true(http_read(fd, &a, NULL, NULL));
	assert_non_null(strcasestr((char *)a.all.data, "connection: close"));
	buf_free(&a.all);
	close(fd);
}

struct caller {
	uint16_t port;
	const char *text;
	atomic_bool stop;
};

/* Connects and asks as fast as it can; whatever comes of it. */
static void *call_on(void *context)
{
	struct caller *c = context;
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct timeval soon = { .tv_usec =
					20000 }; /* or connect() waits a second for a socket that closed its backlog */
	to.sin_port = htons(c->port);
	while (!atomic_load(&c->stop)) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);
		if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof soon) == 0 &&
		    connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
			http_write(fd, c->text, strlen(c->text));
		if (fd >= 0)
			close(fd);
	}
	return NULL;
}

/* Opens and closes a server `rounds` times while four threads send it `text`. */
static void serve_rounds(struct server *s, const char *text, int rounds)
{
	struct http_config config = { "127.0.0.1:0", BODY_MAX, 8, 2, 5, BODIES_MAX, 0, 0, 0 };
	for (int round = 0; round < rounds; round++) {
		struct http_server *http = NULL;
		pthread_t threads[4];
		assert_ok(&s->e, http_server_open(&config, on_request, s, &http, &s->e));
		struct caller caller = { .text = text };
		caller.port = (uint16_t)atoi(strrchr(http_server_address(http), ':') + 1);
		for (size_t i = 0; i < 4; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, call_on, &caller), 0);
		poll(NULL, 0, round % 5);
		http_server_close(&http);
		atomic_store(&caller.stop, true);
		for (size_t i = 0; i < 4; i++)
			pthread_join(threads[i], NULL);
	}
}

/* libmicrohttpd's epoll workers ended the process here. */
static void drains_while_connections_come(void **state)
{
	serve_rounds(*state, "GET /x HTTP/1.1\r\nHost: test\r\n\r\n", 150);
}

/* Stopping libmicrohttpd while it refused a malformed request ended the process here. */
static void closes_while_garbage_comes(void **state)
{
	serve_rounds(*state, "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 150);
}

static void *close_server(void *context)
{
	http_server_close(context);
	return NULL;
}

/* Asks until it is refused, on one connection after the other and ever later: what is served while the server only
 * drains is the last of its connection. */
static void ask_until_refused(const int *fds, size_t count, struct http_answer *a)
{
	int64_t since = 0;
	for (size_t i = 0; i < count; poll(NULL, 0, 1 << i++)) {
		bool closes;
		do {
			http_request_write(fds[i], "GET", "/x", "", "");
			assert_true(http_read(fds[i], a, NULL, NULL));
			if (a->status == 503)
				return;
			closes = strcasestr(buf_cstr(&a->all), "connection: close") != NULL;
			buf_free(&a->all);
		} while (!closes && test_wait(&since));
	}
	fail_msg("requests begin while the server closes");
}

/* A request that begins late would be left without an answer. */
static void nothing_begins_while_it_closes(void **state)
{
	struct server *s = *state;
	struct http_config config = { "127.0.0.1:0", BODY_MAX, 64, 2, 5, BODIES_MAX, 0, 0, 0 };
	struct http_server *http = NULL;
	struct http_answer a;
	int late[12];
	pthread_t closer;
	assert_ok(&s->e, http_server_open(&config, on_request, s, &http, &s->e));
	for (size_t i = 0; i < 12; i++) {
		late[i] = http_connect(http_server_address(http));
		http_request_write(late[i], "GET", "/x", "", "");
		assert_true(http_read(late[i], &a, NULL, NULL)); /* it is accepted */
		buf_free(&a.all);
	}
	int waiting = http_connect(http_server_address(http));
	http_request_write(waiting, "GET", "/later", "", "");
	(void)held_wait(s);
	assert_int_equal(pthread_create(&closer, NULL, close_server, &http), 0);
	ask_until_refused(late, 12, &a);
	assert_non_null(strstr(a.body, "this server is stopping"));
	assert_non_null(strcasestr(buf_cstr(&a.all), "connection: close"));
	buf_free(&a.all);
	assert_int_equal(http_knock(http_server_address(http)), -1); /* it drains before it closes */
	assert_null(reply_later(s));
	assert_true(http_read(waiting, &a, NULL, NULL));
	assert_string_equal(a.body, "there");
	buf_free(&a.all);
	pthread_join(closer, NULL);
	close(waiting);
	for (size_t i = 0; i < 12; i++)
		close(late[i]);
}

static void busy_wait(struct server *s, bool ends)
{
	pthread_mutex_lock(&s->lock);
	s->busy_ends = ends;
	pthread_cond_broadcast(&s->held_set);
	while (!s->busy)
		pthread_cond_wait(&s->held_set, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

/* libmicrohttpd drops an answer that it was just handed when it reads the end of the connection first: here it has not
 * come to send it when the server closes. */
static void the_last_answer_arrives(void **state)
{
	struct server *s = *state;
	struct http_config config = { "127.0.0.1:0", BODY_MAX, 4, 1, 5, BODIES_MAX, 0, 0, 0 };
	struct http_server *http = NULL;
	struct http_answer a;
	pthread_t closer;
	assert_ok(&s->e, http_server_open(&config, on_request, s, &http, &s->e));
	int last = http_connect(http_server_address(http)), busy = http_connect(http_server_address(http));
	http_request_write(last, "GET", "/later", "", "");
	(void)held_wait(s);
	http_request_write(busy, "GET", "/busy", "", "");
	busy_wait(s, false);
	assert_int_equal(pthread_create(&closer, NULL, close_server, &http), 0);
	assert_null(reply_later(s));
	poll(NULL, 0, 50); /* nobody sees how far closing is: time to do the wrong thing, if it would */
	busy_wait(s, true);
	assert_true(http_read(last, &a, NULL, NULL));
	assert_string_equal(a.body, "there");
	buf_free(&a.all);
	close(last);
	close(busy);
	pthread_join(closer, NULL);
}

static void metrics_page_shows_what_was_set(void **state)
{
	struct metrics_page *page = NULL;
	struct err e = ERR_INIT;
	struct http_answer a;
	struct buf text = BUF_INIT;
	(void)state;
	struct env_manual clock;
	env_manual_init(&clock, 1);
	assert_ok(&e, metrics_page_open("127.0.0.1:0", 3000, &clock.env, &page, &e));
	buf_puts(&text, "amend_leases 3\n");
	metrics_page_set(page, &text);
	http_ask(metrics_page_address(page), "GET", "/metrics", "", &a, NULL, NULL);
	assert_int_equal(a.status, 200);
	assert_non_null(strstr(a.body, "amend_leases 3\n"));
	assert_non_null(strstr(a.body, "amend_build_info{version="));
	assert_non_null(strstr(a.body, "\nprocess_resident_memory_bytes "));
	buf_free(&a.all);
	text.failed = true; /* half a text is not shown */
	metrics_page_set(page, &text);
	http_ask(metrics_page_address(page), "GET", "/metrics", "", &a, NULL, NULL);
	assert_non_null(strstr(a.body, "amend_leases 3\n"));
	buf_free(&a.all);
	http_ask(metrics_page_address(page), "GET", "/health", "", &a, NULL, NULL);
	assert_int_equal(a.status, 200);
	buf_free(&a.all);
	env_manual_advance(&clock, 3000001); /* the loop was not here for longer than it may */
	http_ask(metrics_page_address(page), "GET", "/health", "", &a, NULL, NULL);
	assert_int_equal(a.status, 503);
	assert_non_null(strstr(a.body, "stuck"));
	buf_free(&a.all);
	metrics_page_set(page, &text);
	http_ask(metrics_page_address(page), "GET", "/health", "", &a, NULL, NULL);
	assert_int_equal(a.status, 200);
	buf_free(&a.all);
	http_ask(metrics_page_address(page), "POST", "/metrics", "", &a, NULL, NULL);
	assert_int_equal(a.status, 405);
	buf_free(&a.all);
	http_ask(metrics_page_address(page), "GET", "/", "", &a, NULL, NULL);
	assert_int_equal(a.status, 404);
	buf_free(&a.all);
	buf_free(&text);
	metrics_page_close(&page);
	assert_null(page);
}

static int open_and_close(void *context)
{
	struct http_config config = { "127.0.0.1:0", BODY_MAX, 4, 2, 5, BODIES_MAX, 0, 0, 0 };
	struct http_server *http = NULL;
	int rc = http_server_open(&config, on_request, context, &http, NULL);
	http_server_close(&http);
	return rc;
}

static void out_of_memory_opens_none(void **state)
{
	(void)state;
	assert_int_equal(test_walk_allocations(open_and_close, NULL), 5);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(answers_with_what_came),
		T(another_thread_may_answer),
		T(sees_that_the_client_left),
		T(long_bodies_are_413),
		T(lengths_that_differ_are_400),
		T(bodies_are_bounded_together),
		T(an_answer_that_failed_says_so),
		T(garbage_does_not_stop_it),
		T(a_busy_port_is_named),
		T(drains),
		T(drains_while_connections_come),
		T(closes_while_garbage_comes),
		T(nothing_begins_while_it_closes),
		T(the_last_answer_arrives),
		cmocka_unit_test(metrics_page_shows_what_was_set),
		cmocka_unit_test(out_of_memory_opens_none),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
