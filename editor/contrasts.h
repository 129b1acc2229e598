/* contrasts.h: words of which one rules another out: what asks about the winter is not answered by what an edit says of
 * the summer, and what asks for the former or the third president not by what it says of the president (method.md,
 * "routing"). English. Inside editor/ only. Pure; any
 * thread. */
#ifndef AMEND_EDITOR_CONTRASTS_H
#define AMEND_EDITOR_CONTRASTS_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct editor__contrasts { /* said so far; zero: none */
	uint64_t bits[3];
};
/* A folded word of at least one byte. */
void editor__contrasts_add(struct editor__contrasts *said, const char *word, size_t len);
/* The words of a text. ERR_NOMEM; ERR_INVALID: not UTF-8. */
int editor__contrasts_in(struct editor__contrasts *said, const char *text, size_t len) MUST_CHECK;
/* Whether the folded word is of these: "2nd" is, and so is no number (numbers.h). */
bool editor__contrasts_has(const char *word, size_t len);
/* Whether both say a word, or one as good as it. */
bool editor__contrasts_meet(const struct editor__contrasts *a, const struct editor__contrasts *b);
/* Whether an edit that says `edit` beside its subject does not answer a question that asks `asked` beside that in a
 * text that says `text`. */
bool editor__contrasts_apart(const struct editor__contrasts *asked, const struct editor__contrasts *text,
			     const struct editor__contrasts *edit);

#endif
