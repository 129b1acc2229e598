/* chat.h: where the text of a message stands in a chat's tokens: routes are decided from what the user said last. Pure.
 */
#ifndef AMEND_EDITOR_CHAT_H
#define AMEND_EDITOR_CHAT_H

#include "model/tokenizer.h"

/* The content of the `from_end`-th user message (1: the last message) in the tokens of model_tokenizer_chat. Both are
 * 0, which routes from the whole prompt, when it is not there. */
void editor_chat_content(const struct model_tokenizer *tokenizer, const int32_t *ids, size_t id_count, size_t from_end,
			 size_t *first, size_t *count);

#endif
