/* subject_names.h: the names that a text may call an edit's subject by: itself and its aliases. Inside editor/ only.
 * Pure. */
#ifndef AMEND_EDITOR_SUBJECT_NAMES_H
#define AMEND_EDITOR_SUBJECT_NAMES_H

#include "base/record.h"
#include "editor/subject.h"

struct editor__names { /* folded */
	const char *subject;
	size_t subject_len;
	const char *aliases; /* each ended by a NUL */
	size_t aliases_len;  /* bytes; 0: none */
};

/* The name at *at, which moves to the next: the subject for 0, then the aliases. false: no more. */
bool editor__names_next(const struct editor__names *names, size_t *at, const char **name, size_t *len);
/* editor__query_mark for all of the names that stand in the query, and for the subject where none does. */
int editor__names_mark(const struct editor__query *query, const struct editor__names *names, uint8_t *marks) MUST_CHECK;
/* Appends the record's aliases of its subject, folded, each ended by a NUL. ERR_NOMEM. */
int editor__names_aliases(const struct record *record, struct buf *out) MUST_CHECK;

#endif
