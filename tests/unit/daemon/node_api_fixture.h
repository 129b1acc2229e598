/* node_api_fixture.h: a node's HTTP interface on a port of this machine, with the tiny model and a coordinator that
 * plays a script (node_fixture.h). */
#ifndef AMEND_TESTS_UNIT_DAEMON_NODE_API_FIXTURE_H
#define AMEND_TESTS_UNIT_DAEMON_NODE_API_FIXTURE_H

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

static inline void turn(void *context)
{
	struct api *a = context;
	node_turn(a->f);
}

static inline int setup_with(void **state, size_t slots, size_t queue)
{
	struct api *a = calloc(1, sizeof *a);
	void *fixture = NULL;
	struct node_api_config config = { "1.2.3", NODE_SET_AUTO, 60000 };
	struct http_config http = { "127.0.0.1:0", 65536, 64, 2, 30, 0, 0, 0, 0 };
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

static inline int setup(void **state)
{
	return setup_with(state, 4, 16);
}

static inline int setup_narrow(void **state)
{
	return setup_with(state, 1, 1);
}

static inline int teardown(void **state)
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

static inline void attach(struct api *a)
{
	node_api_attach(a->api, a->f->model, a->engine, a->f->sync);
}

/* Publishes versions first … last and waits for the last to be live, by the real clock. */
static inline void publish(struct api *a, uint64_t first, uint64_t last)
{
	int64_t since = 0;
	for (uint64_t v = first; v <= last; v++)
		node_publish(a->f, v, false);
	while (node_info(a->f).live != last && test_wait(&since))
		node_turn(a->f);
	assert_int_equal(node_info(a->f).live, last);
}

static inline int ask(struct api *a, const char *method, const char *path, const char *body, struct http_answer *answer)
{
	http_ask(http_server_address(a->http), method, path, body, answer, turn, a);
	return answer->status;
}

/* A completion (a random model says anything); the caller frees the document and the answer. */
static inline struct json *complete(struct api *a, const char *body, struct http_answer *answer)
{
	struct json *root = NULL;
	int status = ask(a, "POST", "/v1/completions", body, answer);
	if (status != 200)
		fail_msg("%d: %s", status, answer->body);
	assert_ok(&a->f->e, json_parse_nul(answer->body, strlen(answer->body), &root, &a->f->e));
	return root;
}

static inline const char *text_at(const struct json *root, size_t index)
{
	return json_string(json_get(json_at(json_get(root, "choices"), index), "text"), NULL);
}

#endif
