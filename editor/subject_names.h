/* subject_names.h: the names that a text may call an edit's subject by: itself and its aliases. Inside editor/ only.
 * Pure. */
#ifndef AMEND_EDITOR_SUBJECT_NAMES_H
#define AMEND_EDITOR_SUBJECT_NAMES_H

#include "base/names.h"
#include "editor/subject.h"

/* editor__query_mark for all of the names that stand in the query, and for the subject where none does. */
int editor__names_mark(const struct editor__query *query, const struct names *names, uint8_t *marks) MUST_CHECK;
/* Whether any of the names stands in the text as routes look at it. */
int editor__names_stand(const struct names *names, const char *text, size_t len, bool *stand) MUST_CHECK;

#endif
