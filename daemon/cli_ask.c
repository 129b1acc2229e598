/* cli_ask.c: `amend ask`: a question to a node, by any version and set, with the route explained. */
#include "daemon/cli_edit.h"
#include "daemon/cli_http.h"
#include "daemon/cli_pull.h"
#include "daemon/memory_name.h"

#include "base/text.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOKENS_DEFAULT 32

struct ask {
	const char *prompt, *set, *node;
	uint64_t tokens, version; /* 0: the newest */
	bool explain, base;
	bool alone; /* found out: no coordinator is there */
};

/* A node answers by what it holds also while its coordinator is away. */
static int node_configured(struct cli *cli, char *url, size_t url_bytes, const struct err *e)
{
	const char *address = cli->config.http_public[0] != '\0' ? cli->config.http_public : cli->config.http_listen;
	snprintf(url, url_bytes, "http://%s", address);
	if (!cli->quiet) {
		cli_line(stderr, "amend: %s", e->text);
		cli_line(stderr, "amend: asking %s, the node of the configuration file, without it", address);
	}
	return 0;
}

/* *alone: the coordinator is not there. */
static int node_find(struct cli *cli, const char *name, char *url, size_t url_bytes, bool *alone, struct err *e)
{
	struct msg request = { .type = MSG_FLEET };
	struct msg_received *reply = NULL;
	int rc = cli_call(cli, &request, &reply, e);
	*alone = (rc == ERR_TIMEOUT || rc == ERR_CLOSED) && name == NULL && cli->node_known;
	if (*alone)
		return node_configured(cli, url, url_bytes, e);
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
		rc = json_parse_nul((const char *)answer.data, answer.len, out, e);
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

/* Without --set and --base the model is not named: the node answers by what the version serves by default. */
static int body_make(const struct ask *ask, const char *base, struct buf *body, struct err *e)
{
	struct json_w w;
	char model[300];
	json_w_init(&w, body);
	json_w_open(&w, '{');
	snprintf(model, sizeof model, "%s%s%s", base, ask->set != NULL ? ":" : "", ask->set != NULL ? ask->set : "");
	if (ask->base || ask->set != NULL)
		json_w_member_str(&w, "model", model);
	json_w_member_str(&w, "prompt", ask->prompt);
	json_w_member_uint(&w, "max_tokens", ask->tokens);
	json_w_member_int(&w, "temperature", 0);
	json_w_key(&w, "amend");
	json_w_open(&w, '{');
	json_w_member_bool(&w, "explain", true);
	if (ask->version != 0)
		json_w_member_uint(&w, "version", ask->version);
	json_w_close(&w);
	json_w_close(&w);
	return buf_failed(body) ? err_set(e, ERR_NOMEM, "out of memory") : 0;
}

/* --- the answer */

struct route {
	char version[40], memory[MEMORY_NAME_BYTES];
	const struct json *amend;
};

static void route_read(const struct json *answer, struct route *r)
{
	r->amend = json_get(answer, "amend");
	int64_t version = json_integer(json_get(r->amend, "version"));
	const char *route = json_string(json_get(r->amend, "route"), NULL);
	snprintf(r->version, sizeof r->version, version > 0 ? "v%lld" : "no version", (long long)version);
	snprintf(r->memory, sizeof r->memory, "%.30s", route != NULL ? route : "main");
}

static int text_print(const struct json *answer, struct cli *cli)
{
	struct buf line = BUF_INIT;
	size_t len = 0;
	const char *text = json_string(json_get(json_at(json_get(answer, "choices"), 0), "text"), &len);
	while (len > 0 && isspace((unsigned char)text[0])) {
		text++;
		len--;
	}
	while (len > 0 && isspace((unsigned char)text[len - 1]))
		len--;
	if (len == 0)
		buf_puts(&line, "(empty answer)");
	while (len > 0) { /* what a model says never steers a terminal; its lines stay lines */
		const char *end = memchr(text, '\n', len);
		size_t taken = end != NULL ? (size_t)(end - text) : len;
		text_escape(text, taken, &line);
		if (end != NULL)
			buf_u8(&line, '\n');
		text += taken + (end != NULL);
		len -= taken + (end != NULL);
	}
	bool failed = buf_failed(&line);
	if (!failed)
		printf("%s\n", buf_cstr(&line));
	buf_free(&line);
	return failed ? cli_out_of_memory(cli) : CLI_OK;
}

/* "0.043 < 0.402": what a gate measured, and what it had to reach. */
static void gate_print(const struct json *amend, const char *name, const char *score, const char *threshold)
{
	const struct json *s = json_get(amend, score), *t = json_get(amend, threshold);
	if (s == NULL || t == NULL || json_type(s) == JSON_NULL)
		return;
	double reached = json_number(s), needed = json_number(t);
	printf("%-11s  %.3f %s %.3f%s\n", name, reached, reached >= needed ? ">=" : "<", needed,
	       reached >= needed ? "" : ", the least for a memory");
}

/* Without a coordinator (`alone`) nobody knows what the edits say. */
static int nearest_print(struct cli *cli, const struct json *amend, bool alone)
{
	static const char *const headers[] = { "SCORE", "SEQ", "ID", "PROMPT", "TARGET" };
	const struct json *seqs = json_get(amend, "edits"), *scores = json_get(amend, "scores");
	struct cli_table *table = NULL;
	if (json_length(seqs) == 0)
		return CLI_OK;
	if (cli_table_new(headers, 5, &table) != 0)
		return cli_out_of_memory(cli);
	for (size_t i = 0; i < json_length(seqs); i++) {
		struct err silent = ERR_INIT; /* a key that may not see edits still sees their numbers */
		struct msg_received *reply = NULL;
		uint64_t seq = (uint64_t)json_integer(json_at(seqs, i));
		bool known = !alone && cli_edit_get(cli, seq, true, &reply, &silent) == 0;
		const struct msg_edit *edit = known ? &reply->msg.u.edit_list_reply.edits[0] : NULL;
		if (i < json_length(scores))
			cli_table_cell(table, "%.3f", json_number(json_at(scores, i)));
		else
			cli_table_cell(table, "-");
		cli_table_cell(table, "%llu", (unsigned long long)seq);
		cli_edit_id_cell(cli, table, known ? edit->id : (struct msg_text){ "-", 1 });
		cli_edit_cells(cli, table, known ? edit->payload : (struct msg_bytes){ NULL, 0 });
		msg_free(&reply);
	}
	printf("\nnearest edits\n");
	return cli_table_print(cli, &table);
}

/* An edit that is read, or told apart by its words, although its subject was not found has none of its own. */
static const char *subject_says(const struct route *r, bool apart)
{
	if (json_bool(json_get(r->amend, "subject_found")))
		return "'s stands in the question";
	return strcmp(r->memory, "main") == 0 && !apart
		       ? "'s does not stand in the question"
		       : " was given none: names or a rare word of its prompt stand for it";
}

static int explain_print(struct cli *cli, const struct json *answer, const struct route *r, bool alone)
{
	const char *fingerprint = json_string(json_get(answer, "system_fingerprint"), NULL);
	printf("\n%-11s  %s, fingerprint %s\n", "version", r->version, fingerprint != NULL ? fingerprint : "-");
	printf("%-11s  %s\n", "route", r->memory);
	gate_print(r->amend, "similarity", "prompt_score", "prompt_threshold");
	const bool apart = json_bool(json_get(r->amend, "told_apart"));
	if (!apart) /* else it was not looked at */
		gate_print(r->amend, "relation", "relation_score", "relation_threshold");
	if (json_length(json_get(r->amend, "edits")) > 0)
		printf("%-11s  the nearest edit%s\n", "subject", subject_says(r, apart));
	if (apart)
		printf("%-11s  %s\n", "words",
		       "the nearest edit's are about another number, or as winter is to summer, or former to current");
	return nearest_print(cli, r->amend, alone);
}

static int answer_print(struct cli *cli, const struct ask *ask, const struct json *answer)
{
	struct route route;
	int status = text_print(answer, cli);
	route_read(answer, &route);
	if (status == CLI_OK && ask->explain)
		return explain_print(cli, answer, &route, ask->alone);
	if (status == CLI_OK && !cli->quiet) {
		const struct json *choice = json_at(json_get(answer, "choices"), 0);
		const char *end = json_string(json_get(choice, "finish_reason"), NULL);
		bool cut = end != NULL && strcmp(end, "length") == 0;
		fflush(stdout);
		fprintf(stderr, "(%s, %s%s)\n", route.version, route.memory,
			cut ? "; cut at its longest: --max-tokens N shows more" : "");
	}
	return status;
}

static int ask_read(const struct cli_args *args, struct ask *ask, struct err *e)
{
	const char *version = cli_value(args, "version");
	*ask = (struct ask){ .prompt = args->words[0],
			     .set = cli_value(args, "set"),
			     .node = cli_value(args, "node"),
			     .explain = cli_switch(args, "explain"),
			     .base = cli_switch(args, "base"),
			     .tokens = TOKENS_DEFAULT };
	if (ask->base && (ask->set != NULL || version != NULL))
		return err_set(e, ERR_INVALID, "--base is the model without edits: it has no --set and no --version");
	int rc = cli_set_check(ask->set, e);
	if (rc == 0 && version != NULL)
		rc = cli_version_parse(version, &ask->version, e);
	if (rc == 0 && cli_value(args, "max-tokens") != NULL)
		rc = cli_number(cli_value(args, "max-tokens"), "--max-tokens", 1, 4096, &ask->tokens, e);
	return rc;
}

static int ask_node(struct cli *cli, struct ask *ask, struct json **answer, struct err *e)
{
	char node[256], url[512], base[256];
	struct buf body = BUF_INIT;
	int rc = node_find(cli, ask->node, node, sizeof node, &ask->alone, e);
	if (rc == 0)
		rc = base_name(node, cli, base, sizeof base, e);
	if (rc == 0)
		rc = body_make(ask, base, &body, e);
	if (rc == 0) {
		snprintf(url, sizeof url, "%s/v1/completions", node);
		rc = http_json(url, buf_cstr(&body), cli, answer, e);
	}
	buf_free(&body);
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
