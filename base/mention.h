/* mention.h: what a prompt whose edit names no subject may be about, for an index: the words that it says, and the
 * parts of it that may be another edit's subject. Bounded, so that a long prompt costs no more than a question. Pure.
 */
#ifndef AMEND_BASE_MENTION_H
#define AMEND_BASE_MENTION_H

#include "base/buf.h"

#define MENTION_WORDS_MAX      16 /* content words of a text that count: the first ones */
#define MENTION_PART_WORDS_MAX 8  /* words of a part */
#define MENTION_TEXT_WORDS_MAX 64 /* parts are taken from so many words at the beginning */

/* Calls `each` for every different content word (wording.h) of a text, folded, and stops at the first non-zero result,
 * which it returns. ERR_NOMEM; ERR_INVALID: not UTF-8. */
int mention_words(const char *text, size_t len, int (*each)(void *context, const char *word, size_t len),
		  void *context) MUST_CHECK;
/* The same for every run of words of a folded text, as it stands there from the first word's beginning to the last
 * one's end, that has a content word; once more with a full stop behind it where one may have been ("Example Inc.").
 * The same errors. */
int mention_parts(const char *folded, size_t len, int (*each)(void *context, const char *part, size_t len),
		  void *context) MUST_CHECK;

#endif
