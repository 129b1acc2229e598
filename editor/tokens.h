/* tokens.h: the tokens of texts, of questions with their answers, and of edits. Inside editor/ only. Pure. */
#ifndef AMEND_EDITOR_TOKENS_H
#define AMEND_EDITOR_TOKENS_H

#include "base/record.h"
#include "model/model.h"

struct editor__tokens {
	int32_t *ids; /* free() */
	size_t id_count;
};

/* Special tokens off. ERR_INVALID: nothing is left; ERR_LIMIT: it does not fit the model's context. */
int editor__tokens_of(const struct model *model, const char *text, size_t len, struct editor__tokens *out,
		      struct err *e) MUST_CHECK;
/* text + " " + target without the spaces around it, as one text (EasyEdit's convention). */
int editor__tokens_of_pair(const struct model *model, const char *text, size_t len, const char *target,
			   size_t target_len, struct editor__tokens *out, struct err *e) MUST_CHECK;
void editor__tokens_free(struct editor__tokens *tokens, size_t count); /* their ids, not the array */

/* What an edit is trained on: prompt + " " + target without the spaces around it, the prompt's own tokens first, and
 * end-of-text if asked. *ids: free(). ERR_INVALID: empty, or longer than the model's context. */
int editor__tokenise(const struct model *model, const char *prompt, size_t prompt_len, const struct record_text *target,
		     bool end_of_text, int32_t **ids, size_t *id_count, size_t *prompt_count, struct err *e) MUST_CHECK;

#endif
