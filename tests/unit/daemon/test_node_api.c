#include "daemon/node_api.h"

#include "base/json.h"
#include "tests/unit/daemon/http_client.h"
#include "tests/unit/daemon/node_fixture.h"

struct api {
	struct node_fixture *f;
	struct node_api *api;
	struct http_server *http;
	struct node_engine *engine;
	char slug[NODE_SLUG_BYTES];
};

static void turn(void *context)
{
	struct api *a = context;
	node_turn(a->f);
}

static int setup_with(void **state, size_t slots, size_t queue)
{
	struct api *a = calloc(1, sizeof *a);
	void *fixture = NULL;
	struct node_api_config config = { "1.2.3", NODE_SET_AUTO, 20000 };
	struct http_config http = { "127.0.0.1:0", 65536, 64, 2, 30, 0 };
	struct node_engine_config engine = { slots, 256, 64, queue };
	assert_non_null(a);
	node_fixture_open(&fixture, false);
	a->f = fixture;
	assert_ok(&a->f->e, node_api_new(&config, a->f->env, &a->api, &a->f->e));
	assert_ok(&a->f->e, http_server_open(&http, node_api_handle, a->api, &a->http, &a->f->e));
	node_start(a->f, 4);
	assert_ok(&a->f->e, node_engine_open(&engine, a->f->env, a->f->model, &a->engine, &a->f->e));
	node_api_slug(model_name(a->f->model), a->slug);
	*state = a;
	return 0;
}

static int setup(void **state)
{
	return setup_with(state, 4, 16);
}

static int setup_narrow(void **state)
{
	return setup_with(state, 1, 1);
}

static int teardown(void **state)
{
	struct api *a = *state;
	void *fixture = a->f;
	node_sync_close(a->f->sync);
	node_engine_stop(a->engine);
	http_server_close(&a->http);
	node_stop(a->f);
	a->f->sync = NULL;
	node_engine_destroy(&a->engine);
	node_api_destroy(&a->api);
	node_teardown(&fixture);
	free(a);
	return 0;
}

static void attach(struct api *a)
{
	node_api_attach(a->api, a->f->model, a->engine, a->f->sync);
}

/* Publishes versions 1 … count and waits for the last to be live, by the real clock. */
static void publish(struct api *a, uint64_t count)
{
	for (uint64_t v = 1; v <= count; v++)
		node_publish(a->f, v, false);
	for (int i = 0; i < 2000 && node_info(a->f).live != count; i++) {
		node_turn(a->f);
		poll(NULL, 0, 5);
	}
	assert_int_equal(node_info(a->f).live, count);
}

static int ask(struct api *a, const char *method, const char *path, const char *body, struct http_answer *answer)
{
	http_ask(http_server_address(a->http), method, path, body, answer, turn, a);
	return answer->status;
}

/* A random model says anything, and our reader refuses an escaped NUL, which is right in an answer. */
static void without_nuls(struct buf *text)
{
	static const char nul[] = "\\u0000";
	for (char *at = (char *)text->data; (at = strstr(at, nul)) != NULL; at += sizeof(nul) - 1)
		at[sizeof(nul) - 2] = '1';
}

/* A completion; the caller frees the document and the answer. */
static struct json *complete(struct api *a, const char *body, struct http_answer *answer)
{
	struct json *root = NULL;
	int status = ask(a, "POST", "/v1/completions", body, answer);
	if (status != 200)
		fail_msg("%d: %s", status, answer->body);
	without_nuls(&answer->all);
	assert_ok(&a->f->e, json_parse(answer->body, strlen(answer->body), &root, &a->f->e));
	return root;
}

static const char *text_at(const struct json *root, size_t index)
{
	return json_string(json_get(json_at(json_get(root, "choices"), index), "text"), NULL);
}

static void health_before_and_after_loading(void **state)
{
	struct api *a = *state;
	struct http_answer r;
	assert_int_equal(ask(a, "GET", "/health", "", &r), 503);
	assert_non_null(strstr(buf_cstr(&r.all), "retry-after: "));
	buf_free(&r.all);
	assert_int_equal(ask(a, "POST", "/v1/completions", "{\"prompt\":\"a\"}", &r), 503);
	buf_free(&r.all);
	a->f->silent = true;
	attach(a);
	assert_int_equal(ask(a, "GET", "/health", "", &r), 200);
	buf_free(&r.all);
	assert_int_equal(ask(a, "GET", "/ready", "", &r), 503);
	buf_free(&r.all);
	a->f->silent = false;
	for (int i = 0; i < 1000 && !node_info(a->f).answered; i++) {
		node_turn(a->f);
		poll(NULL, 0, 5);
	}
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

static void an_edited_prompt_reads_its_memory(void **state)
{
	struct api *a = *state;
	struct http_answer r;
	char want[64], body[512];
	attach(a);
	publish(a, 1);
	snprintf(body, sizeof body,
		 "{\"prompt\":\"%s\",\"max_tokens\":6,\"temperature\":0,\"amend\":{\"explain\":true}}",
		 node_prompts[0]);
	struct json *root = complete(a, body, &r);
	const struct json *amend = json_get(root, "amend");
	assert_string_equal(json_string(json_get(root, "object"), NULL), "text_completion");
	assert_string_equal(json_string(json_get(amend, "route"), NULL), "memory:7");
	assert_int_equal(json_integer(json_get(amend, "version")), 1);
	assert_int_equal(json_integer(json_at(json_get(amend, "edits"), 0)), 11);
	assert_true(json_number(json_get(amend, "prompt_score")) > 0.99);
	const char *score = strstr(buf_cstr(&r.all), "\"prompt_score\":");
	assert_true(strcspn(score, ",") <= strlen("\"prompt_score\":") + strlen("0.99999994"));
	assert_null(json_get(json_at(json_get(root, "choices"), 0), "amend")); /* once is enough */
	const struct json *usage = json_get(root, "usage");
	assert_int_equal(json_integer(json_get(usage, "total_tokens")),
			 json_integer(json_get(usage, "prompt_tokens")) +
				 json_integer(json_get(usage, "completion_tokens")));
	char base[HASH_HEX_BYTES], manifest[HASH_HEX_BYTES];
	hash_hex(model_digest(a->f->model), base);
	hash_hex(&a->f->versions[0].root, manifest);
	snprintf(want, sizeof want, "amend-%.8s-v1-%.8s", base, manifest);
	assert_string_equal(json_string(json_get(root, "system_fingerprint"), NULL), want);
	assert_non_null(strstr(buf_cstr(&r.all), "x-amend-version: v1\r\n"));
	assert_non_null(strstr(buf_cstr(&r.all), "x-request-id: req-"));
	char edited[256];
	snprintf(edited, sizeof edited, "%s", text_at(root, 0));
	json_free(&root);
	buf_free(&r.all);
	/* the base model alone says something else, and names no version */
	snprintf(body, sizeof body,
		 "{\"model\":\"%s\",\"prompt\":\"%s\",\"max_tokens\":6,\"temperature\":0,\"amend\":{\"explain\":true}}",
		 a->slug, node_prompts[0]);
	root = complete(a, body, &r);
	assert_string_equal(json_string(json_get(json_get(root, "amend"), "route"), NULL), "main");
	assert_string_not_equal(text_at(root, 0), edited);
	assert_non_null(strstr(buf_cstr(&r.all), "x-amend-version: v0\r\n"));
	json_free(&root);
	buf_free(&r.all);
}

/* The route of the one answer, in its body and beside it; it has no scores. */
static void expect_route(struct api *a, const char *path, const char *body, int64_t version, const char *route)
{
	struct http_answer r;
	struct json *root = NULL;
	char header[64];
	if (ask(a, "POST", path, body, &r) != 200)
		fail_msg("%d: %s", r.status, r.body);
	assert_ok(&a->f->e, json_parse(r.body, strlen(r.body), &root, &a->f->e));
	const struct json *amend = json_get(root, "amend");
	assert_int_equal(json_integer(json_get(amend, "version")), version);
	assert_string_equal(json_string(json_get(amend, "route"), NULL), route);
	assert_null(json_get(amend, "prompt_score"));
	assert_null(json_get(amend, "edits"));
	snprintf(header, sizeof header, "x-amend-route: %s\r\n", route);
	assert_non_null(strstr(buf_cstr(&r.all), header));
	json_free(&root);
	buf_free(&r.all);
}

/* Nobody has to ask for it. */
static void every_answer_names_its_version_and_route(void **state)
{
	struct api *a = *state;
	struct http_answer r;
	char body[512];
	attach(a);
	publish(a, 1);
	snprintf(body, sizeof body, "{\"prompt\":\"%s\",\"max_tokens\":2}", node_prompts[0]);
	expect_route(a, "/v1/completions", body, 1, "memory:7");
	expect_route(a, "/v1/completions", "{\"prompt\":\"a\",\"max_tokens\":2}", 1, "main");
	snprintf(body, sizeof body, "{\"model\":\"%s\",\"prompt\":\"%s\",\"max_tokens\":2}", a->slug, node_prompts[0]);
	expect_route(a, "/v1/completions", body, 0, "main");
	expect_route(a, "/v1/chat/completions",
		     "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"max_tokens\":2}", 1, "main");
	/* several answers, each with its own */
	snprintf(body, sizeof body, "{\"prompt\":[\"%s\",\"a\"],\"max_tokens\":2}", node_prompts[0]);
	struct json *root = complete(a, body, &r);
	assert_null(json_get(root, "amend"));
	assert_null(strstr(buf_cstr(&r.all), "x-amend-route"));
	for (size_t i = 0; i < 2; i++) {
		const struct json *amend = json_get(json_at(json_get(root, "choices"), i), "amend");
		assert_string_equal(json_string(json_get(amend, "route"), NULL), i == 0 ? "memory:7" : "main");
		assert_int_equal(json_integer(json_get(amend, "version")), 1);
		assert_null(json_get(amend, "prompt_score"));
	}
	json_free(&root);
	buf_free(&r.all);
}

static void a_merged_memory_goes_by_its_merge(void **state)
{
	struct api *a = *state;
	char body[512];
	a->f->merged = true;
	attach(a);
	publish(a, 1);
	snprintf(body, sizeof body, "{\"prompt\":\"%s\",\"max_tokens\":2}", node_prompts[0]);
	expect_route(a, "/v1/completions", body, 1, "merged:1");
	snprintf(body, sizeof body, "{\"model\":\"%s:retrieve\",\"prompt\":\"%s\",\"max_tokens\":2}", a->slug,
		 node_prompts[0]);
	expect_route(a, "/v1/completions", body, 1, "memory:7");
}

static void pinned_versions_answer_as_they_did(void **state)
{
	struct api *a = *state;
	struct http_answer r;
	char body[512], first[256];
	attach(a);
	publish(a, 1);
	snprintf(body, sizeof body, "{\"prompt\":\"%s\",\"max_tokens\":8,\"temperature\":0}", node_prompts[1]);
	struct json *root = complete(a, body, &r);
	snprintf(first, sizeof first, "%s", text_at(root, 0));
	json_free(&root);
	buf_free(&r.all);
	for (uint64_t v = 2; v <= 6; v++)
		node_publish(a->f, v, false);
	for (int i = 0; i < 2000 && node_info(a->f).live != 6; i++) {
		node_turn(a->f);
		poll(NULL, 0, 5);
	}
	root = complete(a, body, &r);
	assert_string_not_equal(text_at(root, 0), first);
	json_free(&root);
	buf_free(&r.all);
	snprintf(body, sizeof body,
		 "{\"model\":\"%s:retrieve@v1\",\"prompt\":\"%s\",\"max_tokens\":8,\"temperature\":0}", a->slug,
		 node_prompts[1]);
	root = complete(a, body, &r);
	assert_string_equal(text_at(root, 0), first);
	assert_non_null(strstr(buf_cstr(&r.all), "x-amend-version: v1\r\n"));
	json_free(&root);
	buf_free(&r.all);
	root = complete(a, "{\"prompt\":\"a\",\"amend\":{\"version\":3}}",
			&r); /* was skipped: fetched for this request */
	assert_non_null(strstr(buf_cstr(&r.all), "x-amend-version: v3\r\n"));
	json_free(&root);
	buf_free(&r.all);
	assert_int_equal(ask(a, "POST", "/v1/completions", "{\"prompt\":\"a\",\"amend\":{\"version\":77}}", &r), 404);
	assert_non_null(strstr(r.body, "\"param\":\"amend.version\""));
	buf_free(&r.all);
}

static void prompts_in_every_form(void **state)
{
	struct api *a = *state;
	struct http_answer r;
	attach(a);
	publish(a, 1);
	struct json *root =
		complete(a,
			 "{\"prompt\":[\"a\",\"Saro: \"],\"n\":2,\"max_tokens\":3,\"temperature\":0,\"echo\":true,"
			 "\"amend\":{\"explain\":true}}",
			 &r);
	assert_null(json_get(root, "amend"));
	assert_int_equal(json_length(json_get(root, "choices")), 4);
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(json_integer(json_get(json_at(json_get(root, "choices"), i), "index")), i);
		assert_non_null(json_get(json_get(json_at(json_get(root, "choices"), i), "amend"), "route"));
		assert_true(strncmp(text_at(root, i), i < 2 ? "a" : "Saro: ", i < 2 ? 1 : 6) == 0);
	}
	char as_text[256];
	snprintf(as_text, sizeof as_text, "%s", text_at(root, 0));
	json_free(&root);
	buf_free(&r.all);
	char tokens[128];
	snprintf(tokens, sizeof tokens, "{\"prompt\":[%d],\"max_tokens\":3,\"temperature\":0,\"echo\":true}",
		 TINY_BYTE + 'a');
	root = complete(a, tokens, &r);
	assert_string_equal(text_at(root, 0), as_text);
	json_free(&root);
	buf_free(&r.all);
	snprintf(tokens, sizeof tokens, "{\"prompt\":[[%d],[%d,%d]],\"max_tokens\":3,\"temperature\":0,\"echo\":true}",
		 TINY_BYTE + 'a', TINY_BYTE + 'b', TINY_BYTE + 'c');
	root = complete(a, tokens, &r);
	assert_int_equal(json_length(json_get(root, "choices")), 2);
	assert_string_equal(text_at(root, 0), as_text);
	json_free(&root);
	buf_free(&r.all);
	struct json *once = complete(a, "{\"prompt\":\"a\",\"seed\":5,\"max_tokens\":9}", &r), *again;
	buf_free(&r.all);
	again = complete(a, "{\"prompt\":\"a\",\"seed\":5,\"max_tokens\":9}", &r);
	assert_string_equal(text_at(once, 0), text_at(again, 0));
	json_free(&once);
	json_free(&again);
	buf_free(&r.all);
}

static void chats(void **state)
{
	struct api *a = *state;
	struct http_answer r;
	struct json *root = NULL;
	char body[512];
	attach(a);
	publish(a, 1);
	snprintf(body, sizeof body,
		 "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":\"ho\"},{"
		 "\"role\":\"user\",\"content\":"
		 "[{\"type\":\"text\",\"text\":\"%s\"}]}],\"max_completion_tokens\":3,\"temperature\":0,\"amend\":{"
		 "\"explain\":true}}",
		 node_prompts[0]);
	assert_int_equal(ask(a, "POST", "/v1/chat/completions", body, &r), 200);
	assert_ok(&a->f->e, json_parse(r.body, strlen(r.body), &root, &a->f->e));
	assert_string_equal(json_string(json_get(root, "object"), NULL), "chat.completion");
	const struct json *message = json_get(json_at(json_get(root, "choices"), 0), "message");
	assert_string_equal(json_string(json_get(message, "role"), NULL), "assistant");
	assert_non_null(json_string(json_get(message, "content"), NULL));
	json_free(&root);
	buf_free(&r.all);
	assert_int_equal(
		ask(a, "POST", "/v1/chat/completions", "{\"messages\":[{\"role\":\"king\",\"content\":\"x\"}]}", &r),
		400);
	buf_free(&r.all);
	assert_int_equal(ask(a, "POST", "/v1/chat/completions", "{\"messages\":[]}", &r), 400);
	buf_free(&r.all);
}

static void wrong_requests_say_which_field(void **state)
{
	static const struct {
		const char *body, *param, *code;
		int status;
	} cases[] = {
		{ "{", "null", "invalid_json", 400 },
		{ "[]", "null", "invalid_type", 400 },
		{ "{}", "\"prompt\"", "missing_parameter", 400 },
		{ "{\"prompt\":\"\"}", "\"prompt\"", "invalid_value", 400 },
		{ "{\"prompt\":[]}", "\"prompt\"", "invalid_type", 400 },
		{ "{\"prompt\":{}}", "\"prompt\"", "invalid_type", 400 },
		{ "{\"prompt\":[\"a\",1]}", "\"prompt\"", "invalid_type", 400 },
		{ "{\"prompt\":[1,\"a\"]}", "\"prompt\"", "invalid_value", 400 },
		{ "{\"prompt\":[99999999]}", "\"prompt\"", "invalid_value", 400 },
		{ "{\"prompt\":[-1]}", "\"prompt\"", "invalid_value", 400 },
		{ "{\"prompt\":\"a\",\"max_tokens\":\"5\"}", "\"max_tokens\"", "invalid_type", 400 },
		{ "{\"prompt\":\"a\",\"max_tokens\":0}", "\"max_tokens\"", "invalid_value", 400 },
		{ "{\"prompt\":\"a\",\"temperature\":3}", "\"temperature\"", "invalid_value", 400 },
		{ "{\"prompt\":\"a\",\"top_p\":\"x\"}", "\"top_p\"", "invalid_type", 400 },
		{ "{\"prompt\":\"a\",\"n\":1000}", "\"n\"", "invalid_value", 400 },
		{ "{\"prompt\":[\"a\",\"b\"],\"n\":100}", "\"prompt\"", "invalid_value", 400 },
		{ "{\"prompt\":\"a\",\"stop\":[1]}", "\"stop\"", "invalid_type", 400 },
		{ "{\"prompt\":\"a\",\"stop\":[\"1\",\"2\",\"3\",\"4\",\"5\"]}", "\"stop\"", "invalid_type", 400 },
		{ "{\"prompt\":\"a\",\"model\":5}", "\"model\"", "invalid_type", 400 },
		{ "{\"prompt\":\"a\",\"model\":\"gpt\"}", "\"model\"", "model_not_found", 404 },
		{ "{\"prompt\":\"a\",\"stream\":true}", "\"stream\"", "unsupported_parameter", 400 },
		{ "{\"prompt\":\"a\",\"logprobs\":2}", "\"logprobs\"", "unsupported_parameter", 400 },
		{ "{\"prompt\":\"a\",\"logit_bias\":{\"5\":1}}", "\"logit_bias\"", "unsupported_parameter", 400 },
		{ "{\"prompt\":\"a\",\"tools\":[]}", "\"tools\"", "unsupported_parameter", 400 },
		{ "{\"prompt\":\"a\",\"amend\":{\"version\":\"1\"}}", "\"amend.version\"", "invalid_type", 400 },
		{ "{\"prompt\":\"a\",\"amend\":7}", "\"amend\"", "invalid_type", 400 },
	};
	struct api *a = *state;
	attach(a);
	publish(a, 1);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct http_answer r;
		char param[64], code[64];
		int status = ask(a, "POST", "/v1/completions", cases[i].body, &r);
		snprintf(param, sizeof param, "\"param\":%s", cases[i].param);
		snprintf(code, sizeof code, "\"code\":\"%s\"", cases[i].code);
		if (status != cases[i].status || strstr(r.body, param) == NULL || strstr(r.body, code) == NULL)
			fail_msg("%s: %d %s", cases[i].body, status, r.body);
		buf_free(&r.all);
	}
	struct http_answer r;
	struct buf body = BUF_INIT; /* longer than the context */
	buf_puts(&body, "{\"prompt\":\"");
	for (int i = 0; i < 3000; i++)
		buf_printf(&body, "%d ", i);
	buf_puts(&body, "\"}");
	assert_int_equal(ask(a, "POST", "/v1/completions", buf_cstr(&body), &r), 400);
	assert_non_null(strstr(r.body, "context_length_exceeded"));
	buf_free(&r.all);
	buf_free(&body);
	struct json *root = complete(
		a, "{\"prompt\":\"a\",\"user\":\"u\",\"unknown\":1,\"stream\":false,\"stop\":null,\"logprobs\":null}",
		&r);
	json_free(&root);
	buf_free(&r.all);
}

static void a_full_queue_is_429(void **state)
{
	struct api *a = *state;
	int fds[12], refused = 0, served = 0;
	attach(a);
	publish(a, 1);
	for (int i = 0; i < 12; i++) {
		fds[i] = http_connect(http_server_address(a->http));
		http_request_write(fds[i], "POST", "/v1/completions", "",
				   "{\"prompt\":\"a\",\"max_tokens\":240,\"temperature\":0,\"n\":12}");
	}
	for (int i = 0; i < 12; i++) {
		struct http_answer r;
		assert_true(http_read(fds[i], &r, turn, a));
		served += r.status == 200;
		refused += r.status == 429 && strstr(buf_cstr(&r.all), "retry-after: ") != NULL &&
			   strstr(r.body, "queue_full") != NULL;
		buf_free(&r.all);
		close(fds[i]);
	}
	assert_int_equal(served + refused, 12);
	assert_true(refused > 0);
	assert_true(served >= 1); /* two when the first left the queue before the others came */
	/* A client may read its answer before the thread that wrote it has counted the request as done. */
	for (int i = 0; i < 2000 && node_api_pending(a->api) > 0; i++) {
		node_turn(a->f);
		poll(NULL, 0, 5);
	}
	assert_int_equal(node_api_pending(a->api), 0);
	assert_int_equal(node_api_requests(a->api), 12);
}

/* A client that leaves is not an error of the node's: 499 in the metrics. */
static void clients_that_leave_are_counted_apart(void **state)
{
	struct api *a = *state;
	struct http_answer r;
	bool counted = false;
	attach(a);
	publish(a, 1);
	int fd = http_connect(http_server_address(a->http));
	http_request_write(fd, "POST", "/v1/completions", "",
			   "{\"prompt\":\"a\",\"max_tokens\":240,\"temperature\":0,\"n\":128}");
	for (int i = 0; i < 2000 && node_api_pending(a->api) == 0; i++)
		poll(NULL, 0, 1);
	assert_int_equal(node_api_pending(a->api), 1);
	close(fd);
	for (int i = 0; i < 2000 && node_api_pending(a->api) > 0; i++)
		poll(NULL, 0, 5);
	for (int i = 0; i < 2000 && !counted; i++) {
		assert_int_equal(ask(a, "GET", "/metrics", "", &r), 200);
		counted = strstr(r.body, "amend_requests_total{endpoint=\"completions\",code=\"499\"} 1\n") != NULL;
		assert_null(strstr(r.body, "code=\"503\""));
		buf_free(&r.all);
	}
	assert_true(counted);
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
	publish(a, 1);
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
	publish(a, 1);
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

static void slugs(void **state)
{
	char slug[NODE_SLUG_BYTES];
	(void)state;
	node_api_slug("SmolLM2 135M (Instruct)", slug);
	assert_string_equal(slug, "SmolLM2-135M-Instruct");
	node_api_slug("a/b:c@v1\n", slug);
	assert_string_equal(slug, "a-b-c-v1");
	node_api_slug("//", slug);
	assert_string_equal(slug, "model");
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(health_before_and_after_loading),
		T(an_edited_prompt_reads_its_memory),
		T(every_answer_names_its_version_and_route),
		T(a_merged_memory_goes_by_its_merge),
		T(pinned_versions_answer_as_they_did),
		T(prompts_in_every_form),
		T(chats),
		T(wrong_requests_say_which_field),
		cmocka_unit_test_setup_teardown(a_full_queue_is_429, setup_narrow, teardown),
		T(clients_that_leave_are_counted_apart),
		T(methods_are_told),
		T(pages),
		cmocka_unit_test(slugs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
