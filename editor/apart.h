/* apart.h: what single words and numbers tell of a text: which edits it cannot ask for, however near it is to them
 * (method.md, "routing"). Inside editor/ only. Not thread-safe per object. */
#ifndef AMEND_EDITOR_APART_H
#define AMEND_EDITOR_APART_H

#include "editor/prompt.h"
#include "editor/route_internal.h"

struct editor__apart {
	const struct editor__prompt *prompt;   /* borrowed */
	const struct editor__query *query;     /* of what asks: all of the text, or the end of it */
	const char *text;                      /* that `query` was made of */
	struct buf numbers;                    /* that are asked, one space between */
	uint8_t asks[EDITOR__QUERY_WORDS_MAX]; /* of `query`, as in asking.h */
	struct buf asked_words, all_words;     /* of those, and of all of the text: lists, "-" for what is left out */
	struct editor__saying asked, all;      /* the same, the former often the latter */
	struct editor__contrasts asked_says, all_says; /* in them */
};

/* ERR_NOMEM. Free with fini, also after an error; zeroed it has nothing to free. */
int editor__apart_init(struct editor__apart *apart, const struct editor__prompt *prompt) MUST_CHECK;
void editor__apart_fini(struct editor__apart *apart);
/* Whether the text does not ask for the edit. ERR_NOMEM. */
int editor__apart_from(const struct editor__apart *apart, const struct editor_router *router,
		       const struct editor__entry *entry, bool *told_apart) MUST_CHECK;

#endif
