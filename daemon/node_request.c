/* node_request.c: see node_request.h. */
#include "daemon/node_request.h"

#include "base/fault.h"
#include "editor/chat.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOKENS_MAX 1000000

/* ---- Refusals */

void node_refusal_set(struct node_refusal *refusal, int status, const char *code, const char *param, const char *format,
		      ...)
{
	va_list args;
	refusal->status = status;
	refusal->code = code;
	refusal->type = status == 429 ? "rate_limit_error" : status < 500 ? "invalid_request_error" : "server_error";
	snprintf(refusal->param, sizeof refusal->param, "%s", param != NULL ? param : "");
	va_start(args, format);
	vsnprintf(refusal->message, sizeof refusal->message, format, args);
	va_end(args);
}

void node_refusal_json(const struct node_refusal *refusal, struct buf *out)
{
	struct json_w w;
	json_w_init(&w, out);
	json_w_open(&w, '{');
	json_w_key(&w, "error");
	json_w_open(&w, '{');
	json_w_member_str(&w, "message", refusal->message);
	json_w_member_str(&w, "type", refusal->type);
	json_w_key(&w, "param");
	if (refusal->param[0] != '\0')
		json_w_str(&w, refusal->param);
	else
		json_w_null(&w);
	json_w_member_str(&w, "code", refusal->code);
	json_w_close(&w);
	json_w_close(&w);
	buf_puts(out, "\n");
}

static bool bad_type(struct node_refusal *refusal, const char *param, const char *wanted)
{
	node_refusal_set(refusal, 400, "invalid_type", param, "%s: must be %s", param, wanted);
	return false;
}

static bool unsupported(struct node_refusal *refusal, const char *param, const char *why)
{
	node_refusal_set(refusal, 400, "unsupported_parameter", param, "%s: not supported here%s", param, why);
	return false;
}

static bool no_memory(struct node_refusal *refusal)
{
	node_refusal_set(refusal, 503, "out_of_memory", NULL, "this node is out of memory, try again");
	return false;
}

/* ---- Fields. A null is as good as an absent field. */

static const struct json *field(const struct json *object, const char *name)
{
	const struct json *v = json_get(object, name);
	return v != NULL && json_type(v) != JSON_NULL ? v : NULL;
}

static bool take_integer(const struct json *object, const char *name, int64_t min, int64_t max, int64_t *out,
			 struct node_refusal *refusal)
{
	const struct json *v = field(object, name);
	if (v == NULL)
		return true;
	if (!json_is_integer(v))
		return bad_type(refusal, name, "an integer");
	*out = json_integer(v);
	if (*out >= min && *out <= max)
		return true;
	node_refusal_set(refusal, 400, "invalid_value", name, "%s: %lld, may be %lld to %lld", name, (long long)*out,
			 (long long)min, (long long)max);
	return false;
}

static bool take_real(const struct json *object, const char *name, double min, double max, float *out,
		      struct node_refusal *refusal)
{
	const struct json *v = field(object, name);
	if (v == NULL)
		return true;
	if (json_type(v) != JSON_NUMBER)
		return bad_type(refusal, name, "a number");
	double value = json_number(v);
	if (!(value >= min && value <= max)) {
		node_refusal_set(refusal, 400, "invalid_value", name, "%s: %g, may be %g to %g", name, value, min, max);
		return false;
	}
	*out = (float)value;
	return true;
}

static bool take_bool(const struct json *object, const char *name, bool *out, struct node_refusal *refusal)
{
	const struct json *v = field(object, name);
	if (v == NULL)
		return true;
	if (json_type(v) != JSON_BOOL)
		return bad_type(refusal, name, "true or false");
	*out = json_bool(v);
	return true;
}

static bool take_stop(struct node_request *r, const struct json *v, struct node_refusal *refusal)
{
	size_t len;
	const char *text = json_string(v, &len);
	if (text == NULL)
		return bad_type(refusal, "stop", "a string or a list of up to 4 strings");
	if (len > NODE_STOP_BYTES_MAX) {
		node_refusal_set(refusal, 400, "invalid_value", "stop", "stop: longer than %d bytes",
				 NODE_STOP_BYTES_MAX);
		return false;
	}
	if (len > 0)
		memcpy(r->stops[r->stop_count++], text, len); /* zeroed: ends with a NUL */
	return true;
}

static bool take_stops(struct node_request *r, const struct json *body, struct node_refusal *refusal)
{
	const struct json *v = field(body, "stop");
	if (v == NULL)
		return true;
	if (json_type(v) != JSON_ARRAY)
		return take_stop(r, v, refusal);
	if (json_length(v) > NODE_STOPS_MAX)
		return bad_type(refusal, "stop", "a string or a list of up to 4 strings");
	for (size_t i = 0; i < json_length(v); i++)
		if (!take_stop(r, json_at(v, i), refusal))
			return false;
	return true;
}

/* What is not served must not be dropped silently when it would change the answer. */
static bool refuse_unsupported(const struct json *body, bool chat, struct node_refusal *refusal)
{
	static const char *const any[] = { "tools",      "tool_choice", "functions",    "function_call", "audio",
					   "modalities", "suffix",      "top_logprobs", "prediction",    "best_of" };
	static const char *const zero[] = { "presence_penalty", "frequency_penalty" };
	bool stream = false;
	if (!take_bool(body, "stream", &stream, refusal))
		return false;
	if (stream)
		return unsupported(refusal, "stream", " yet: ask without it");
	for (size_t i = 0; i < sizeof any / sizeof any[0]; i++)
		if (field(body, any[i]) != NULL)
			return unsupported(refusal, any[i], "");
	for (size_t i = 0; i < sizeof zero / sizeof zero[0]; i++) {
		float value = 0;
		if (!take_real(body, zero[i], -2, 2, &value, refusal))
			return false;
		if (value != 0)
			return unsupported(refusal, zero[i], ": only 0");
	}
	const struct json *format = field(body, "response_format"), *bias = field(body, "logit_bias");
	const struct json *logprobs = field(body, "logprobs");
	const char *kind = json_string(json_get(format, "type"), NULL);
	if (format != NULL && (kind == NULL || strcmp(kind, "text") != 0))
		return unsupported(refusal, "response_format", ": only text");
	if (bias != NULL && json_type(bias) != JSON_OBJECT)
		return bad_type(refusal, "logit_bias", "an object");
	if (bias != NULL && json_length(bias) > 0)
		return unsupported(refusal, "logit_bias", "");
	if (logprobs != NULL && !(json_type(logprobs) == JSON_BOOL && !json_bool(logprobs)))
		return unsupported(refusal, "logprobs", "");
	if (chat && field(body, "echo") != NULL)
		return unsupported(refusal, "echo", " in chats");
	return true;
}

static bool take_amend(struct node_request *r, const struct json *body, struct node_refusal *refusal)
{
	const struct json *amend = field(body, "amend");
	int64_t version = 0;
	if (amend == NULL)
		return true;
	if (json_type(amend) != JSON_OBJECT)
		return bad_type(refusal, "amend", "an object");
	if (!take_bool(amend, "explain", &r->explain, refusal) ||
	    !take_integer(amend, "version", 1, INT64_MAX, &version, refusal)) {
		char inner[sizeof refusal->param];
		memcpy(inner, refusal->param, sizeof inner);
		snprintf(refusal->param, sizeof refusal->param, "amend.%.50s", inner);
		return false;
	}
	r->version = (uint64_t)version;
	return true;
}

static bool take_numbers(struct node_request *r, const struct json *body, struct node_refusal *refusal)
{
	int64_t tokens = r->chat ? 0 : 16, n = 1, seed = 0;
	r->sampling = (struct model_sampling){ 1, 1 };
	if (!take_integer(body, "max_tokens", 1, TOKENS_MAX, &tokens, refusal) ||
	    !take_integer(body, "max_completion_tokens", 1, TOKENS_MAX, &tokens, refusal) ||
	    !take_integer(body, "n", 1, NODE_SEQUENCES_MAX, &n, refusal) ||
	    !take_integer(body, "seed", INT64_MIN, INT64_MAX, &seed, refusal) ||
	    !take_real(body, "temperature", 0, 2, &r->sampling.temperature, refusal) ||
	    !take_real(body, "top_p", 0, 1, &r->sampling.top_p, refusal) || !take_bool(body, "echo", &r->echo, refusal))
		return false;
	if (r->sampling.top_p <= 0) /* the likeliest token alone: greedy */
		r->sampling = (struct model_sampling){ 0, 1 };
	r->token_max = (size_t)tokens;
	r->n = (size_t)n;
	r->has_seed = field(body, "seed") != NULL;
	r->seed = (uint64_t)seed;
	return true;
}

/* ---- Prompts */

static bool tokens_refused(int code, const char *param, const struct err *e, struct node_refusal *refusal)
{
	if (code == ERR_NOMEM)
		return no_memory(refusal);
	node_refusal_set(refusal, 400, code == ERR_UNSUPPORTED ? "unsupported_parameter" : "invalid_value", param,
			 "%s: %s", param, e->text);
	return false;
}

static bool prompt_text(struct node_prompt *prompt, const struct json *v, const struct model_tokenizer *tokenizer,
			struct node_refusal *refusal)
{
	struct err e = ERR_INIT;
	size_t len;
	const char *text = json_string(v, &len);
	int rc = model_tokenizer_encode(tokenizer, text, len, false, &prompt->ids, &prompt->id_count, &e);
	if (rc != 0)
		return tokens_refused(rc, "prompt", &e, refusal);
	if (prompt->id_count > 0)
		return true;
	node_refusal_set(refusal, 400, "invalid_value", "prompt", "prompt: is empty");
	return false;
}

static bool prompt_tokens(struct node_prompt *prompt, const struct json *v, const struct model_tokenizer *tokenizer,
			  struct node_refusal *refusal)
{
	size_t count = json_length(v);
	int64_t vocabulary = (int64_t)model_tokenizer_vocabulary(tokenizer);
	if (count == 0 || count > TOKENS_MAX)
		return bad_type(refusal, "prompt", "a text or a list of tokens, not empty");
	prompt->ids = fault_calloc(count, sizeof *prompt->ids);
	if (prompt->ids == NULL)
		return no_memory(refusal);
	for (size_t i = 0; i < count; i++) {
		const struct json *id = json_at(v, i);
		if (!json_is_integer(id) || json_integer(id) < 0 || json_integer(id) >= vocabulary) {
			node_refusal_set(refusal, 400, "invalid_value", "prompt",
					 "prompt: token %zu is no number from 0 to %lld", i, (long long)vocabulary - 1);
			return false;
		}
		prompt->ids[i] = (int32_t)json_integer(id);
	}
	prompt->id_count = count;
	return true;
}

static bool prompt_one(struct node_prompt *prompt, const struct json *v, const struct model_tokenizer *tokenizer,
		       struct node_refusal *refusal)
{
	if (json_type(v) == JSON_STRING)
		return prompt_text(prompt, v, tokenizer, refusal);
	if (json_type(v) == JSON_ARRAY)
		return prompt_tokens(prompt, v, tokenizer, refusal);
	return bad_type(refusal, "prompt", "a string, a list of strings, a list of tokens, or a list of such lists");
}

static bool take_prompts(struct node_request *r, const struct json *body, const struct model_tokenizer *tokenizer,
			 struct node_refusal *refusal)
{
	const struct json *v = field(body, "prompt");
	if (v == NULL) {
		node_refusal_set(refusal, 400, "missing_parameter", "prompt", "prompt: is missing");
		return false;
	}
	bool list = json_type(v) == JSON_ARRAY && json_length(v) > 0 && json_type(json_at(v, 0)) != JSON_NUMBER;
	size_t count = list ? json_length(v) : 1;
	if (count * r->n > NODE_SEQUENCES_MAX) {
		node_refusal_set(refusal, 400, "invalid_value", list && count > 1 ? "prompt" : "n",
				 "%zu prompts times n = %zu are over the limit of %d answers a request", count, r->n,
				 NODE_SEQUENCES_MAX);
		return false;
	}
	r->prompts = fault_calloc(count, sizeof *r->prompts);
	if (r->prompts == NULL)
		return no_memory(refusal);
	for (size_t i = 0; i < count; i++) {
		r->prompt_count = i + 1;
		if (!prompt_one(&r->prompts[i], list ? json_at(v, i) : v, tokenizer, refusal))
			return false;
	}
	return true;
}

/* ---- Chats */

/* A content is a string or a list of text parts, which are joined. */
static bool message_content(const struct json *v, struct buf *joined, struct node_refusal *refusal)
{
	static const char wanted[] = "a string or a list of {\"type\":\"text\",\"text\":…}";
	size_t len;
	const char *text = json_string(v, &len);
	if (text != NULL)
		buf_append(joined, text, len);
	else if (v == NULL || json_type(v) != JSON_ARRAY)
		return bad_type(refusal, "messages.content", wanted);
	for (size_t i = 0; text == NULL && i < json_length(v); i++) {
		const char *kind = json_string(json_get(json_at(v, i), "type"), NULL);
		const char *part = json_string(json_get(json_at(v, i), "text"), &len);
		if (kind == NULL || strcmp(kind, "text") != 0 || part == NULL)
			return bad_type(refusal, "messages.content", wanted);
		buf_append(joined, part, len);
	}
	return buf_failed(joined) ? no_memory(refusal) : true;
}

static bool chat_tokens(struct node_request *r, const struct model_message *messages, size_t count,
			const struct model_tokenizer *tokenizer, struct node_refusal *refusal)
{
	struct err e = ERR_INIT;
	struct node_prompt *prompt = &r->prompts[0];
	int rc = model_tokenizer_chat(tokenizer, messages, count, &prompt->ids, &prompt->id_count, &e);
	if (rc != 0)
		return tokens_refused(rc, "messages", &e, refusal);
	for (size_t i = count; i-- > 0;)
		if (strcmp(messages[i].role, "user") == 0) {
			editor_chat_content(tokenizer, prompt->ids, prompt->id_count, count - i, &prompt->route_first,
					    &prompt->route_count);
			break;
		}
	return true;
}

static bool messages_read(struct node_request *r, const struct json *list, struct model_message *messages,
			  struct buf *contents, const struct model_tokenizer *tokenizer, struct node_refusal *refusal)
{
	size_t count = json_length(list);
	for (size_t i = 0; i < count; i++) {
		messages[i].role = json_string(json_get(json_at(list, i), "role"), NULL);
		if (messages[i].role == NULL)
			return bad_type(refusal, "messages.role", "system, user or assistant");
		if (!message_content(json_get(json_at(list, i), "content"), &contents[i], refusal))
			return false;
		messages[i].content = buf_cstr(&contents[i]);
		messages[i].content_len = contents[i].len;
	}
	return chat_tokens(r, messages, count, tokenizer, refusal);
}

static bool take_messages(struct node_request *r, const struct json *body, const struct model_tokenizer *tokenizer,
			  struct node_refusal *refusal)
{
	const struct json *list = field(body, "messages");
	size_t count = list != NULL ? json_length(list) : 0;
	if (list == NULL) {
		node_refusal_set(refusal, 400, "missing_parameter", "messages", "messages: is missing");
		return false;
	}
	if (json_type(list) != JSON_ARRAY || count == 0 || count > NODE_MESSAGES_MAX)
		return bad_type(refusal, "messages", "a list of 1 to 1024 messages");
	struct model_message *messages = fault_calloc(count, sizeof *messages);
	struct buf *contents = fault_calloc(count, sizeof *contents);
	r->prompts = fault_calloc(1, sizeof *r->prompts);
	r->prompt_count = r->prompts != NULL;
	bool ok = messages == NULL || contents == NULL || r->prompts == NULL
			  ? no_memory(refusal)
			  : messages_read(r, list, messages, contents, tokenizer, refusal);
	for (size_t i = 0; contents != NULL && i < count; i++)
		buf_free(&contents[i]);
	free(contents);
	free(messages);
	return ok;
}

/* ---- The whole */

static bool parse(struct node_request *r, const struct model_tokenizer *tokenizer, struct node_refusal *refusal)
{
	const struct json *body = r->document, *model = field(body, "model");
	if (json_type(body) != JSON_OBJECT) {
		node_refusal_set(refusal, 400, "invalid_type", NULL, "the body must be a JSON object");
		return false;
	}
	r->model = json_string(model, NULL);
	if (model != NULL && r->model == NULL)
		return bad_type(refusal, "model", "a string");
	if (!refuse_unsupported(body, r->chat, refusal) || !take_numbers(r, body, refusal) ||
	    !take_stops(r, body, refusal) || !take_amend(r, body, refusal))
		return false;
	return r->chat ? take_messages(r, body, tokenizer, refusal) : take_prompts(r, body, tokenizer, refusal);
}

bool node_request_parse(const char *body, size_t len, bool chat, const struct model_tokenizer *tokenizer,
			struct node_request **out, struct node_refusal *refusal)
{
	struct err e = ERR_INIT;
	struct node_request *r = fault_calloc(1, sizeof *r);
	if (r == NULL)
		return no_memory(refusal);
	r->chat = chat;
	int rc = json_parse(body, len, &r->document, &e);
	bool ok = rc == 0 && parse(r, tokenizer, refusal);
	if (rc != 0 && rc != ERR_NOMEM)
		node_refusal_set(refusal, 400, "invalid_json", NULL, "the body is no JSON: %s", e.text);
	else if (rc != 0)
		(void)no_memory(refusal);
	if (!ok) {
		node_request_destroy(&r);
		return false;
	}
	*out = r;
	return true;
}

void node_request_destroy(struct node_request **request)
{
	struct node_request *r = *request;
	if (r == NULL)
		return;
	for (size_t i = 0; i < r->prompt_count; i++)
		free(r->prompts[i].ids);
	free(r->prompts);
	json_free(&r->document);
	free(r);
	*request = NULL;
}
