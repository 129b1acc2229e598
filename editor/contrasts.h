/* contrasts.h: words of which one rules another out: what asks about the winter is not answered by what an edit says of
 * the summer, and what asks for the former or the third president not by what it says of the president (method.md,
 * "routing"). English. Inside editor/ only. Pure; any thread. */
#ifndef AMEND_EDITOR_CONTRASTS_H
#define AMEND_EDITOR_CONTRASTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EDITOR__CONTRASTS_MARKED 3u /* later ones are not looked at */
struct editor__contrasts {          /* zero: none */
	uint64_t bits[5];
	uint64_t sets;          /* bit i: it says of set i */
	struct editor__marked { /* "third" before its noun, "wife" of hers */
		uint64_t noun;
		size_t side;
	} marked[EDITOR__CONTRASTS_MARKED];
	size_t marked_count;
};
/* Of a list of folded words, one space between. */
void editor__contrasts_in(struct editor__contrasts *said, const char *words, size_t len);
struct editor__saying { /* borrowed */
	const struct editor__contrasts *contrasts;
	const char *words; /* a list, which may lack common ones */
	size_t words_len;
};
/* Whether an edit that says `edit` beside its subject does not answer a question that asks `asked` beside that, in a
 * text that says `text`. */
bool editor__contrasts_apart(const struct editor__saying *asked, const struct editor__saying *text,
			     const struct editor__saying *edit);

#endif
