#include "model/chat.h"

#include "base/buf.h"
#include "base/fault.h"

#include <stdlib.h>
#include <string.h>

#define START        "<|im_start|>"
#define END          "<|im_end|>"
#define MESSAGES_MAX 1024

static const char *find(const char *text, size_t len, const char *word)
{
	return memmem(text, len, word, strlen(word));
}

/* One character of a Jinja string literal, or of plain template text (quote '\0'). False at the end of the literal. */
static bool literal_next(const char **p, const char *end, char quote, char *out)
{
	if (*p == end || (quote && **p == quote))
		return false;
	if (!quote && end - *p >= 2 && (*p)[0] == '{' && ((*p)[1] == '{' || (*p)[1] == '%'))
		return false;
	if (quote && **p == '\\' && end - *p >= 2) {
		const char c = (*p)[1];

		*out = c;
		if (c == 'n')
			*out = '\n';
		if (c == 't')
			*out = '\t';
		*p += 2;
		return true;
	}
	*out = *(*p)++;
	return true;
}

/* The text of one "<|im_start|>system\nTEXT<|im_end|>" that stands whole in a literal which begins with it; false when
 * the literal ends before (then the text comes from a message). */
static bool literal_system(const char *at, const char *template, const char *end, struct buf *out)
{
	const char before = at > template ? at[-1] : '\0';
	const char quote = before == '\'' || before == '"' ? before : '\0';
	const char *p = at + strlen(START "system");
	char c;

	buf_clear(out);
	if (!literal_next(&p, end, quote, &c) || c != '\n')
		return false;
	while (!((size_t)(end - p) >= strlen(END) && memcmp(p, END, strlen(END)) == 0)) {
		if (!literal_next(&p, end, quote, &c))
			return false;
		buf_u8(out, (uint8_t)c);
	}
	return true;
}

/* SmolLM2's template, like Qwen's, puts in a system message of its own when the first message is not one. */
static int read_default_system(struct model__chat *chat, const char *template, size_t len, struct err *e)
{
	struct buf text = BUF_INIT;
	const char *end = template + len;
	bool found = false;

	for (const char *at = template; !found && (at = find(at, (size_t)(end - at), START "system")) != NULL; at++)
		found = literal_system(at, template, end, &text);
	int rc = buf_failed(&text) ? ERR_NOMEM : 0;
	if (rc == 0 && found) {
		chat->system = fault_malloc(text.len + 1);
		if (chat->system && text.len)
			memcpy(chat->system, text.data, text.len);
		chat->system_len = text.len;
		rc = chat->system ? 0 : ERR_NOMEM;
	}
	buf_free(&text);
	return rc ? err_set(e, rc, "no memory for the chat template") : 0;
}

/* Why this template is not ChatML, or NULL when it is. */
static const char *refuse(const char *template, size_t len)
{
	static const char *const foreign[] = { "[INST]", "<|start_header_id|>", "<start_of_turn>", "<|start|>",
					       "<|user|>" };

	if (!find(template, len, START) || !find(template, len, END) || !find(template, len, "assistant"))
		return "the file's tokenizer.chat_template is not ChatML (<|im_start|>, <|im_end|>)";
	for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++)
		if (find(template, len, foreign[i]))
			return "the file's tokenizer.chat_template mixes ChatML with markers of another form";
	return NULL;
}

int model__chat_init(struct model__chat *chat, const struct model_gguf *gguf, const struct model_tokenizer *tokenizer,
		     struct err *e)
{
	const char *template;
	size_t len;

	*chat = (struct model__chat){ .start = -1,
				      .end = -1,
				      .why = "the file has no tokenizer.chat_template: it is a base model" };
	if (!model_gguf_string(gguf, "tokenizer.chat_template", &template, &len))
		return 0;
	chat->why = refuse(template, len);
	if (chat->why)
		return 0;
	const int32_t start = model_tokenizer_find(tokenizer, START, strlen(START));
	const int32_t end = model_tokenizer_find(tokenizer, END, strlen(END));
	if (!model_tokenizer_is_control(tokenizer, start) || !model_tokenizer_is_control(tokenizer, end)) {
		chat->why = "the file's tokenizer.chat_template is ChatML, but <|im_start|> and <|im_end|> are no "
			    "control tokens of its vocabulary";
		return 0;
	}
	const int rc = read_default_system(chat, template, len, e);
	if (rc == 0) {
		chat->start = start;
		chat->end = end;
	}
	return rc;
}

void model__chat_fini(struct model__chat *chat)
{
	free(chat->system);
	*chat = (struct model__chat){ .start = -1, .end = -1 };
}

static int push_id(int32_t id, int32_t **ids, size_t *id_count, struct err *e)
{
	int32_t *items = fault_realloc(*ids, (*id_count + 1) * sizeof(*items));

	if (!items)
		return err_set(e, ERR_NOMEM, "no memory for %zu tokens", *id_count + 1);
	*ids = items;
	items[(*id_count)++] = id;
	return 0;
}

/* Role and content go through the pre-tokeniser as one text: a content that begins with a line feed joins the one
 * before it, as in the text that the model was trained on. */
static int put_message(const struct model_tokenizer *t, const struct model__chat *chat, const char *role,
		       const char *content, size_t len, int32_t **ids, size_t *id_count, struct err *e)
{
	struct buf text = BUF_INIT;
	int rc = push_id(chat->start, ids, id_count, e);

	buf_puts(&text, role);
	buf_u8(&text, '\n');
	buf_append(&text, content, len);
	if (rc == 0 && buf_failed(&text))
		rc = err_set(e, ERR_NOMEM, "no memory for a message of %zu bytes", len);
	rc = rc ? rc : model_tokenizer_encode(t, (const char *)text.data, text.len, false, ids, id_count, e);
	rc = rc ? rc : push_id(chat->end, ids, id_count, e);
	rc = rc ? rc : model_tokenizer_encode(t, "\n", 1, false, ids, id_count, e);
	buf_free(&text);
	return rc;
}

static int put_all(const struct model_tokenizer *t, const struct model__chat *chat,
		   const struct model_message *messages, size_t count, int32_t **ids, size_t *id_count, struct err *e)
{
	int rc = 0;

	if (chat->system && strcmp(messages[0].role, "system") != 0)
		rc = put_message(t, chat, "system", chat->system, chat->system_len, ids, id_count, e);
	for (size_t i = 0; rc == 0 && i < count; i++) {
		rc = put_message(t, chat, messages[i].role, messages[i].content, messages[i].content_len, ids, id_count,
				 e);
		if (rc) {
			err_wrap(e, "message %zu", i);
			return rc;
		}
	}
	rc = rc ? rc : push_id(chat->start, ids, id_count, e);
	return rc ? rc : model_tokenizer_encode(t, "assistant\n", strlen("assistant\n"), false, ids, id_count, e);
}

static int check_messages(const struct model_message *messages, size_t count, struct err *e)
{
	size_t total = 0;

	if (count == 0)
		return err_set(e, ERR_INVALID, "messages: empty; send one at least");
	if (count > MESSAGES_MAX)
		return err_set(e, ERR_LIMIT, "messages: %zu (limit %d); leave older ones out", count, MESSAGES_MAX);
	for (size_t i = 0; i < count; i++) {
		const char *role = messages[i].role;

		if (strcmp(role, "system") != 0 && strcmp(role, "user") != 0 && strcmp(role, "assistant") != 0)
			return err_set(e, ERR_INVALID, "message %zu: role must be system, user or assistant", i);
		if (messages[i].content_len > MODEL_TEXT_BYTES_MAX - total)
			return err_set(e, ERR_LIMIT, "messages: more than %d bytes of text; leave older ones out",
				       MODEL_TEXT_BYTES_MAX);
		total += messages[i].content_len;
	}
	return 0;
}

int model_tokenizer_chat(const struct model_tokenizer *tokenizer, const struct model_message *messages,
			 size_t message_count, int32_t **ids, size_t *id_count, struct err *e)
{
	const struct model__chat *chat = model__tokenizer_chat_of(tokenizer);
	const size_t count_before = *id_count;

	if (chat->start < 0)
		return err_set(e, ERR_UNSUPPORTED, "chat: %s; use completions, or an instruct model with ChatML",
			       chat->why);
	int rc = check_messages(messages, message_count, e);
	rc = rc ? rc : put_all(tokenizer, chat, messages, message_count, ids, id_count, e);
	if (rc)
		*id_count = count_before;
	return rc;
}
