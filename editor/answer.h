/* answer.h: when a decoded text counts as the target (method.md, Metrics, free decoding): cut at newline, and at "."
 * when the target has none; lower case, no punctuation, no articles, single spaces; equal to the target or one of its
 * aliases. Of an answer that is nothing but punctuation and articles they count. Pure. */
#ifndef AMEND_EDITOR_ANSWER_H
#define AMEND_EDITOR_ANSWER_H

#include "base/record.h"

/* All: ERR_NOMEM. What is no UTF-8 is left out. `out` is appended to. */
int editor_answer_normalise(const char *text, size_t len, struct buf *out) MUST_CHECK;
int editor_answer_matches(const char *decoded, size_t len, const struct record *record, bool *matches) MUST_CHECK;
/* Whether the text holds the answer, both normalised, from a word's beginning to a word's end. Where words have no
 * spaces between them (Chinese, Thai) any place will do. An answer of punctuation or articles alone stands nowhere. */
int editor_answer_stands_in(const char *text, size_t len, const struct record_text *answer, bool *stands) MUST_CHECK;

#endif
