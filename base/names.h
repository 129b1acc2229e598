/* names.h: the names that an edit's subject goes by: itself, and the aliases that its record lists. Pure. */
#ifndef AMEND_BASE_NAMES_H
#define AMEND_BASE_NAMES_H

#include "base/record.h"

#define NAMES_TEXT_WORDS_MAX 512u /* later words of a text are not looked at */

/* Appends a record, a JSON object, with these names (each ended by a NUL) behind those in its `subject_aliases`.
 * ERR_NOMEM. */
int names_add(const struct json *record, const char *names, size_t names_len, struct buf *out) MUST_CHECK;
/* Whether one of the record's aliases folds to the same as this text. ERR_NOMEM. */
int names_list(const struct record *record, const struct record_text *name, bool *listed) MUST_CHECK;
/* Appends the text with `name` in the place of the record's subject and of its aliases, where they stand word by word;
 * of names that begin at one word the longest counts. ERR_NOMEM; ERR_INVALID: not UTF-8. */
int names_say(const struct record *record, const struct record_text *name, const char *text, size_t len,
	      struct buf *out) MUST_CHECK;
/* The same with the subject, where the record has aliases; else the text as it is. */
int names_resolve(const struct record *record, const char *text, size_t len, struct buf *out) MUST_CHECK;

struct names { /* folded; borrowed */
	const char *subject;
	size_t subject_len;
	const char *aliases; /* each ended by a NUL */
	size_t aliases_len;  /* bytes; 0: none */
};
/* Appends the record's aliases, folded, each ended by a NUL. ERR_NOMEM; ERR_INVALID: not UTF-8. */
int names_fold_aliases(const struct record *record, struct buf *out) MUST_CHECK;
/* The name at *at, which moves to the next: the subject for 0, then the aliases. False: no more. */
bool names_next(const struct names *names, size_t *at, const char **name, size_t *len);

#endif
