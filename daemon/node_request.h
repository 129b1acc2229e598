/* node_request.h: the body of a completion or chat request, checked field by field (interfaces.md, Inference HTTP),
 * with its prompts as tokens. Prompt text is tokenised with special tokens off; only the chat template emits them.
 * Pure; any thread. */
#ifndef AMEND_DAEMON_NODE_REQUEST_H
#define AMEND_DAEMON_NODE_REQUEST_H

#include "base/json.h"
#include "daemon/node_engine.h"

#define NODE_SEQUENCES_MAX 128 /* prompts × n of one request */
#define NODE_MESSAGES_MAX  1024

struct node_prompt {
	int32_t *ids;
	size_t id_count;
	size_t route_first, route_count; /* chat: the content of the last user message; else 0, 0: all */
};

struct node_request {
	struct json *document; /* owns `model` */
	const char *model;     /* NULL: the default */
	struct node_prompt *prompts;
	size_t prompt_count;
	size_t token_max; /* 0: as many as fit */
	size_t n;
	struct model_sampling sampling;
	char stops[NODE_STOPS_MAX][NODE_STOP_BYTES_MAX + 1];
	size_t stop_count;
	bool chat, echo, has_seed, explain;
	uint64_t seed;
	uint64_t version; /* amend.version; 0: not given */
};

/* Why a request is not served, as the error object says it. */
struct node_refusal {
	int status;
	const char *type, *code;
	char param[64]; /* "": null */
	char message[640];
};
void node_refusal_set(struct node_refusal *refusal, int status, const char *code, const char *param, const char *format,
		      ...) __attribute__((format(printf, 5, 6)));
void node_refusal_json(const struct node_refusal *refusal, struct buf *out);

/* False: refused. */
bool node_request_parse(const char *body, size_t len, bool chat, const struct model_tokenizer *tokenizer,
			struct node_request **out, struct node_refusal *refusal) MUST_CHECK;
void node_request_destroy(struct node_request **request);

#endif
