/* chat.h: ChatML out of the file's template: <|im_start|>ROLE, line feed, CONTENT, <|im_end|>, line feed. Inside model/
 * only. */
#ifndef AMEND_MODEL_CHAT_H
#define AMEND_MODEL_CHAT_H

#include "model/tokenizer.h"

struct model__chat {
	int32_t start, end; /* ids of the markers; -1: no template that is known, `why` says why */
	char *system;       /* what the template says when no system message comes first; NULL: nothing */
	size_t system_len;
	const char *why;
};

/* Reads tokenizer.chat_template. A missing or foreign template is no error here: base models have none. ERR_NOMEM. */
int model__chat_init(struct model__chat *chat, const struct model_gguf *gguf, const struct model_tokenizer *tokenizer,
		     struct err *e) MUST_CHECK;
void model__chat_fini(struct model__chat *chat);
/* The tokenizer's own (tokenizer.c). */
const struct model__chat *model__tokenizer_chat_of(const struct model_tokenizer *tokenizer);

#endif
