/* The pages beside the completions: health, models, version, metrics. */
#include "tests/unit/daemon/node_api_fixture.h"

static void health_before_and_after_loading(void **state)
{
	struct api *a = *state;
	struct http_answer r;
	a->f->silent = true;
	assert_int_equal(ask(a, "GET", "/health", "", &r), 503);
	assert_non_null(strstr(buf_cstr(&r.all), "retry-after: "));
	buf_free(&r.all);
	assert_int_equal(ask(a, "POST", "/v1/completions", "{\"prompt\":\"a\"}", &r), 503);
	buf_free(&r.all);
	attach(a);
	assert_int_equal(ask(a, "GET", "/health", "", &r), 200);
	buf_free(&r.all);
	assert_int_equal(ask(a, "GET", "/ready", "", &r), 503);
	buf_free(&r.all);
	a->f->silent = false;
	int64_t since = 0;
	while (!node_info(a->f).answered && test_wait(&since))
		node_turn(a->f);
	assert_int_equal(ask(a, "GET", "/ready", "", &r), 200); /* nothing is published, and that is known */
	buf_free(&r.all);
	node_api_drain(a->api); /* who has not heard yet is still served */
	assert_int_equal(ask(a, "GET", "/ready", "", &r), 503);
	buf_free(&r.all);
	assert_int_equal(ask(a, "POST", "/v1/completions", "{\"prompt\":\"a\",\"max_tokens\":2}", &r), 200);
	buf_free(&r.all);
	node_api_close(a->api);
	assert_int_equal(ask(a, "GET", "/ready", "", &r), 503);
	buf_free(&r.all);
	assert_int_equal(ask(a, "POST", "/v1/completions", "{\"prompt\":\"a\"}", &r), 503);
	buf_free(&r.all);
}

/* The head of the answer to one request; the connection is closed after it. */
static void head_of(struct api *a, const char *method, const char *path, struct buf *out)
{
	char part[4096];
	ssize_t n;
	int fd = http_connect(http_server_address(a->http));
	http_request_write(fd, method, path, "Connection: close\r\n", "");
	while ((n = recv(fd, part, sizeof part, 0)) > 0)
		buf_append(out, part, (size_t)n);
	close(fd);
}

static void methods_are_told(void **state)
{
	struct api *a = *state;
	static const char *const paths[] = { "/health", "/version", "/metrics", "/v1/models", "/v1/models/" };
	char path[256];
	attach(a);
	publish(a, 1, 1);
	for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
		struct buf head = BUF_INIT, refused = BUF_INIT;
		snprintf(path, sizeof path, "%s%s", paths[i], i == 4 ? a->slug : "");
		head_of(a, "HEAD", path, &head);
		assert_non_null(strstr(buf_cstr(&head), "HTTP/1.1 200 "));
		assert_string_equal(strstr(buf_cstr(&head), "\r\n\r\n"), "\r\n\r\n"); /* no body */
		head_of(a, "POST", path, &refused);
		assert_non_null(strstr(buf_cstr(&refused), "HTTP/1.1 405 "));
		assert_non_null(strstr(buf_cstr(&refused), "allow: GET, HEAD\r\n"));
		buf_free(&head);
		buf_free(&refused);
	}
}

static void pages(void **state)
{
	struct api *a = *state;
	struct http_answer r;
	char path[256];
	attach(a);
	publish(a, 1, 1);
	struct json *root = complete(a, "{\"prompt\":\"a\",\"max_tokens\":2}", &r);
	json_free(&root);
	buf_free(&r.all);
	assert_int_equal(ask(a, "GET", "/v1/models", "", &r), 200);
	assert_non_null(strstr(r.body, ":retrieve\""));
	assert_null(strstr(r.body, ":merged\"")); /* version 1 has none */
	buf_free(&r.all);
	snprintf(path, sizeof path, "{\"model\":\"%s:merged\",\"prompt\":\"a\",\"max_tokens\":2}", a->slug);
	assert_int_equal(ask(a, "POST", "/v1/completions", path, &r), 404);
	assert_non_null(strstr(r.body, "version 1 has no merged memory"));
	buf_free(&r.all);
	snprintf(path, sizeof path, "/v1/models/%s:merged@v1", a->slug);
	assert_int_equal(ask(a, "GET", path, "", &r), 200);
	buf_free(&r.all);
	assert_int_equal(ask(a, "GET", "/v1/models/other", "", &r), 404);
	buf_free(&r.all);
	assert_int_equal(ask(a, "GET", "/v1/completions", "", &r), 405);
	assert_non_null(strstr(buf_cstr(&r.all), "allow: POST"));
	buf_free(&r.all);
	assert_int_equal(ask(a, "GET", "/nowhere", "", &r), 404);
	buf_free(&r.all);
	assert_int_equal(ask(a, "GET", "/version", "", &r), 200);
	assert_non_null(strstr(r.body, "\"software\":\"1.2.3\""));
	assert_non_null(strstr(r.body, "\"version\":1"));
	buf_free(&r.all);
	static const char *const names[] = { "amend_requests_total{endpoint=\"completions\",code=\"200\"} 1\n",
					     "amend_request_duration_seconds_count 1\n",
					     "amend_time_to_first_token_seconds_bucket{le=\"+Inf\"} 1\n",
					     "amend_prompt_tokens_total ",
					     "amend_generation_tokens_total ",
					     "amend_route_total{route=\"main\"} 1\n",
					     "amend_memory_version 1\n",
					     "amend_memory_lag_seconds 0\n",
					     "amend_memory_swap_seconds_count 1\n",
					     "amend_build_info{",
					     "process_resident_memory_bytes ",
					     "amend_requests_waiting 0\n" };
	assert_int_equal(ask(a, "GET", "/metrics", "", &r), 200);
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (strstr(r.body, names[i]) == NULL)
			fail_msg("no %s in %s", names[i], r.body);
	buf_free(&r.all);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(health_before_and_after_loading),
		T(methods_are_told),
		T(pages),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
