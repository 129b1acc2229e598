/* Completions and chats over HTTP: routes, versions, wrong requests, a full queue. */
#include "tests/unit/daemon/node_api_fixture.h"

static void an_edited_prompt_reads_its_memory(void **state)
{
	struct api *a = *state;
	struct http_answer r;
	char want[64], body[512];
	attach(a);
	publish(a, 1, 1);
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
	assert_ok(&a->f->e, json_parse_nul(r.body, strlen(r.body), &root, &a->f->e));
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
	publish(a, 1, 1);
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
	publish(a, 1, 1);
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
	publish(a, 1, 1);
	snprintf(body, sizeof body, "{\"prompt\":\"%s\",\"max_tokens\":8,\"temperature\":0}", node_prompts[1]);
	struct json *root = complete(a, body, &r);
	snprintf(first, sizeof first, "%s", text_at(root, 0));
	json_free(&root);
	buf_free(&r.all);
	publish(a, 2, 6);
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
	publish(a, 1, 1);
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
	publish(a, 1, 1);
	snprintf(body, sizeof body,
		 "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":\"ho\"},{"
		 "\"role\":\"user\",\"content\":"
		 "[{\"type\":\"text\",\"text\":\"%s\"}]}],\"max_completion_tokens\":3,\"temperature\":0,\"amend\":{"
		 "\"explain\":true}}",
		 node_prompts[0]);
	assert_int_equal(ask(a, "POST", "/v1/chat/completions", body, &r), 200);
	assert_ok(&a->f->e, json_parse_nul(r.body, strlen(r.body), &root, &a->f->e));
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
	publish(a, 1, 1);
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
	publish(a, 1, 1);
	for (int i = 0; i < 12; i++) {
		fds[i] = http_connect(http_server_address(a->http));
		http_request_write(fds[i], "POST", "/v1/completions", "",
				   "{\"prompt\":\"a\",\"max_tokens\":240,\"temperature\":0,\"n\":6}");
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
	int64_t since = 0;
	while (node_api_pending(a->api) > 0 && test_wait(&since))
		node_turn(a->f);
	assert_int_equal(node_api_pending(a->api), 0);
	assert_int_equal(node_api_requests(a->api), 12);
}

/* A client that leaves is not an error of the node's: 499 in the metrics. */
static void clients_that_leave_are_counted_apart(void **state)
{
	struct api *a = *state;
	struct http_answer r;
	bool counted;
	attach(a);
	publish(a, 1, 1);
	int fd = http_connect(http_server_address(a->http));
	http_request_write(fd, "POST", "/v1/completions", "",
			   "{\"prompt\":\"a\",\"max_tokens\":240,\"temperature\":0,\"n\":128}");
	int64_t since = 0;
	while (node_api_pending(a->api) == 0 && test_wait(&since))
		;
	assert_int_equal(node_api_pending(a->api), 1);
	close(fd);
	while (node_api_pending(a->api) > 0 && test_wait(&since))
		;
	do {
		assert_int_equal(ask(a, "GET", "/metrics", "", &r), 200);
		counted = strstr(r.body, "amend_requests_total{endpoint=\"completions\",code=\"499\"} 1\n") != NULL;
		assert_null(strstr(r.body, "code=\"503\""));
		buf_free(&r.all);
	} while (!counted && test_wait(&since));
	assert_true(counted);
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
		T(an_edited_prompt_reads_its_memory),
		T(every_answer_names_its_version_and_route),
		T(a_merged_memory_goes_by_its_merge),
		T(pinned_versions_answer_as_they_did),
		T(prompts_in_every_form),
		T(chats),
		T(wrong_requests_say_which_field),
		cmocka_unit_test_setup_teardown(a_full_queue_is_429, setup_narrow, teardown),
		T(clients_that_leave_are_counted_apart),
		cmocka_unit_test(slugs),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
