#include "editor/chat.h"

#include <string.h>

static const char user_head[] = "user\n"; /* what stands between a message's start and its content */

/* Where the control token number `ordinal` stands. */
static size_t control_at(const struct model_tokenizer *tokenizer, const int32_t *ids, size_t id_count, size_t ordinal)
{
	size_t at = 0;
	for (; at < id_count; at++) {
		if (model_tokenizer_is_control(tokenizer, ids[at]) && ordinal-- == 0)
			break;
	}
	return at;
}

static size_t head_end(const struct model_tokenizer *tokenizer, const int32_t *ids, size_t id_count, size_t at)
{
	size_t head = 0, len;
	for (; at < id_count && head < strlen(user_head); at++) {
		(void)model_tokenizer_piece(tokenizer, ids[at], &len);
		if (head + len > strlen(user_head))
			break; /* the token holds the line feed and more: it is the content's first */
		head += len;
	}
	return at;
}

/* The template's markers are the only control tokens: a start and an end for each message, and a last start for the
 * answer. Between them stands ROLE, a line feed, CONTENT. */
void editor_chat_content(const struct model_tokenizer *tokenizer, const int32_t *ids, size_t id_count, size_t from_end,
			 size_t *first, size_t *count)
{
	size_t controls = 0;
	*first = *count = 0;
	for (size_t i = 0; i < id_count; i++)
		controls += model_tokenizer_is_control(tokenizer, ids[i]);
	if (controls < 2 * from_end + 1)
		return;
	const size_t start = control_at(tokenizer, ids, id_count, controls - 1 - 2 * from_end);
	const size_t at = head_end(tokenizer, ids, id_count, start + 1);
	size_t end = at;
	while (end < id_count && !model_tokenizer_is_control(tokenizer, ids[end]))
		end++;
	*first = at;
	*count = end - at;
}
