/* prompt.h: a prompt as routes look at it: its tokens' text and words, and which tokens are a subject's. Inside editor/
 * only. Pure. */
#ifndef AMEND_EDITOR_PROMPT_H
#define AMEND_EDITOR_PROMPT_H

#include "editor/route.h"
#include "editor/subject.h"

struct editor__prompt {
	const struct editor_prompt *prompt;
	struct buf text; /* the tokens' pieces, one after the other */
	size_t *ends;    /* of each token's piece in text */
	struct editor__query query;
	struct editor__query asked; /* of the text's last prompt->asked_bytes; no words where that is all of it */
};

/* `prompt` is borrowed. ERR_NOMEM. Free with fini, also after an error. */
int editor__prompt_init(struct editor__prompt *p, const struct model_tokenizer *tokenizer,
			const struct editor_prompt *prompt) MUST_CHECK;
void editor__prompt_fini(struct editor__prompt *p);
/* raw (hidden): the mean of the relation states of the tokens that are not the subject's, without the first token (the
 * last token alone when nothing is left). marks: of the words of p->query (editor__query_mark). ERR_NOMEM. */
int editor__prompt_relation(const struct editor__prompt *p, size_t hidden, const uint8_t *marks, float *raw) MUST_CHECK;
/* longer[i] = 1 for the words of p->query that make a longer name of the subject where it stands first ("the Dove Inn
 * Society"), else 0; *any: there are some. They begin with a capital, behind the subject or before it ("New Mexico";
 * titles and a text's first word apart). Texts whose other words begin with capitals too have none. `longer` has room
 * for word_count. ERR_NOMEM. */
int editor__prompt_longer_name(const struct editor__prompt *p, const char *subject, size_t len, uint8_t *longer,
			       bool *any) MUST_CHECK;
/* What stands for the subject where none is given: the words with a capital inside the sentence or a digit, else the
 * one that the vocabulary splits most; folded, appended to `out`. *names: the former. */
int editor__prompt_subject(const struct editor__prompt *p, struct buf *out, bool *names) MUST_CHECK;

#endif
