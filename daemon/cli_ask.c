/* cli_ask.c: `amend ask`: a question to a node, by any version and set, with the route explained. */
#include "daemon/cli.h"
#include "daemon/cli_http.h"
#include "daemon/cli_pull.h"

#include "base/text.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define TOKENS_DEFAULT 32

struct ask {
	const char *prompt, *version, *set, *node;
	uint64_t tokens;
	bool explain, base;
};

static int node_find(struct cli *cli, const char *name, char *url, size_t url_bytes, struct err *e)
{
	struct msg request = { .type = MSG_FLEET };
	struct msg_received *reply = NULL;
	int rc = cli_call(cli, &request, &reply, e);
	if (rc != 0)
		return rc;
	rc = name != NULL ? err_set(e, ERR_NOT_FOUND, "no node is called \"%s\"; `amend fleet status` lists them", name)
			  : err_set(e, ERR_NOT_FOUND, "no node is there; start one with `amendd node`");
	const struct msg_fleet_reply *fleet = &reply->msg.u.fleet_reply;
	for (size_t i = 0; i < fleet->member_count; i++) {
		const struct msg_fleet_member *m = &fleet->members[i];
		if (m->kind != MSG_PEER_NODE || m->endpoint.len == 0 ||
		    (name != NULL && (strlen(name) != m->name.len || memcmp(name, m->name.text, m->name.len) != 0)))
			continue;
		snprintf(url, url_bytes, "http://%.*s", (int)m->endpoint.len, m->endpoint.text);
		err_clear(e);
		rc = 0;
		break;
	}
	msg_free(&reply);
	return rc;
}

static int http_json(const char *url, const char *body, const struct cli *cli, struct json **out, struct err *e)
{
	struct buf answer = BUF_INIT;
	long status = 0;
	struct cli_http_ask ask = { url, body, cli->timeout_ms, &cli->interrupted };
	int rc = cli_http(&ask, &status, &answer, e);
	if (rc == 0 && cli->interrupted) /* whoever asked has gone */
		rc = err_set(e, ERR_INTERRUPTED, "interrupted: the answer of %s is dropped", url);
	if (rc == 0)
		rc = json_parse((const char *)answer.data, answer.len, out, e);
	if (rc == 0 && status != 200) {
		const char *message = json_string(json_get(json_get(*out, "error"), "message"), NULL);
		int code = status == 404 ? ERR_NOT_FOUND : status == 429 || status == 503 ? ERR_AGAIN : ERR_INVALID;
		rc = err_set(e, code, "the node answered %ld: %s", status, message != NULL ? message : "no message");
		json_free(out);
	}
	buf_free(&answer);
	return rc;
}

/* The node's own name of the base model: the first of /v1/models is it. */
static int base_name(const char *node, const struct cli *cli, char *out, size_t out_bytes, struct err *e)
{
	char url[512];
	struct json *models = NULL;
	snprintf(url, sizeof url, "%s/v1/models", node);
	int rc = http_json(url, NULL, cli, &models, e);
	if (rc != 0)
		return rc;
	const char *id = json_string(json_get(json_at(json_get(models, "data"), 0), "id"), NULL);
	if (id == NULL)
		rc = err_set(e, ERR_INVALID, "%s names no model", url);
	else
		snprintf(out, out_bytes, "%.*s", (int)strcspn(id, ":@"), id);
	json_free(&models);
	return rc;
}

/* A pinned version is named with its set: without --set, the one that the version serves by default. */
static int set_of_version(struct cli *cli, const struct ask *ask, uint64_t version, const char **set, struct err *e)
{
	struct cli_manifest manifest;
	*set = ask->set;
	if (ask->set != NULL || version == 0)
		return 0;
	int rc = cli_manifest_pull(cli, version, &manifest, e);
	if (rc != 0)
		return rc;
	*set = manifest.manifest.default_set == PROTO_SET_MERGED ? "merged" : "retrieve";
	cli_manifest_free(&manifest);
	return 0;
}

static int model_name_make(struct cli *cli, const struct ask *ask, const char *base, struct buf *out, struct err *e)
{
	const char *set;
	uint64_t version = 0;
	int rc = ask->version != NULL ? cli_version_parse(ask->version, &version, e) : 0;
	if (rc == 0)
		rc = set_of_version(cli, ask, version, &set, e);
	if (rc != 0)
		return rc;
	buf_puts(out, base);
	if (set != NULL)
		buf_printf(out, ":%s", set);
	if (version != 0)
		buf_printf(out, "@v%llu", (unsigned long long)version);
	return buf_failed(out) ? err_set(e, ERR_NOMEM, "out of memory") : 0;
}

static int body_make(const struct ask *ask, const char *model, bool plain_default, struct buf *body, struct err *e)
{
	struct json_w w;
	json_w_init(&w, body);
	json_w_open(&w, '{');
	if (!plain_default) {
		json_w_member_str(&w, "model", model);
	}
	json_w_member_str(&w, "prompt", ask->prompt);
	json_w_member_uint(&w, "max_tokens", ask->tokens);
	json_w_member_int(&w, "temperature", 0);
	json_w_member_str(&w, "stop", "\n");
	json_w_key(&w, "amend");
	json_w_open(&w, '{');
	json_w_member_bool(&w, "explain", true);
	json_w_close(&w);
	json_w_close(&w);
	return buf_failed(body) ? err_set(e, ERR_NOMEM, "out of memory") : 0;
}

static int answer_print(struct cli *cli, const struct ask *ask, const struct json *answer)
{
	struct buf line = BUF_INIT;
	size_t len = 0;
	const char *text = json_string(json_get(json_at(json_get(answer, "choices"), 0), "text"), &len);
	const struct json *route = json_get(answer, "amend");
	while (len > 0 && isspace((unsigned char)text[0])) {
		text++;
		len--;
	}
	text_escape(len > 0 ? text : "", len, &line); /* what a model says never steers a terminal */
	printf("%s\n", buf_cstr(&line));
	bool failed = buf_failed(&line);
	buf_free(&line);
	if (failed)
		return cli_out_of_memory(cli);
	if (!ask->explain)
		return CLI_OK;
	const char *fingerprint = json_string(json_get(answer, "system_fingerprint"), NULL);
	printf("\n%-18s  %s\n", "fingerprint", fingerprint != NULL ? fingerprint : "-");
	if (route != NULL)
		json_canonical(route, &line);
	int status = line.len > 0 ? cli_object_print(cli, &line) : CLI_OK;
	buf_free(&line);
	return status;
}

static int ask_read(const struct cli_args *args, struct ask *ask, struct err *e)
{
	uint64_t number;
	*ask = (struct ask){ .prompt = args->words[0],
			     .version = cli_value(args, "version"),
			     .set = cli_value(args, "set"),
			     .node = cli_value(args, "node"),
			     .explain = cli_switch(args, "explain"),
			     .base = cli_switch(args, "base"),
			     .tokens = TOKENS_DEFAULT };
	if (ask->set != NULL && strcmp(ask->set, "merged") != 0 && strcmp(ask->set, "retrieve") != 0)
		return err_set(e, ERR_INVALID, "--set %.64s: may be merged or retrieve", ask->set);
	if (ask->base && (ask->set != NULL || ask->version != NULL))
		return err_set(e, ERR_INVALID, "--base is the model without edits: it has no --set and no --version");
	int rc = ask->version != NULL ? cli_version_parse(ask->version, &number, e) : 0;
	if (rc == 0 && cli_value(args, "max-tokens") != NULL)
		rc = cli_number(cli_value(args, "max-tokens"), "--max-tokens", 1, 4096, &ask->tokens, e);
	return rc;
}

static int ask_node(struct cli *cli, const struct ask *ask, struct json **answer, struct err *e)
{
	char node[256], url[512], base[256];
	struct buf body = BUF_INIT, model = BUF_INIT;
	int rc = node_find(cli, ask->node, node, sizeof node, e);
	if (rc == 0)
		rc = base_name(node, cli, base, sizeof base, e);
	if (rc == 0)
		rc = model_name_make(cli, ask, base, &model, e);
	if (rc == 0)
		rc = body_make(ask, buf_cstr(&model), !ask->base && ask->set == NULL && ask->version == NULL, &body, e);
	if (rc == 0) {
		snprintf(url, sizeof url, "%s/v1/completions", node);
		rc = http_json(url, buf_cstr(&body), cli, answer, e);
	}
	buf_free(&body);
	buf_free(&model);
	return rc;
}

int cli_ask(struct cli *cli, const struct cli_args *args)
{
	struct ask ask;
	struct err e = ERR_INIT;
	struct json *answer = NULL;
	struct buf text = BUF_INIT;
	int status;
	if (ask_read(args, &ask, &e) != 0)
		return cli_misuse(&e);
	if (ask_node(cli, &ask, &answer, &e) != 0)
		return cli_fail(cli, &e);
	if (cli_is_structured(cli)) {
		json_canonical(answer, &text);
		status = cli_emit(cli, &text);
	} else {
		status = answer_print(cli, &ask, answer);
	}
	json_free(&answer);
	return status;
}
