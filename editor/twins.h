/* twins.h: evaluated records that stand in each other's way. Inside editor/ only. Pure. */
#ifndef AMEND_EDITOR_TWINS_H
#define AMEND_EDITOR_TWINS_H

#include "editor/evaluate.h"

/* Sets conflict[i] for the records that share their subject with another one whose target differs. */
int editor__twins_mark(const struct editor_evaluation *what, bool *conflict, struct err *e) MUST_CHECK;
/* Sets verbatim[i] for the rephrases that are, word for word, the prompt of another edited record: one flag a rephrase,
 * in the order of the records. *count: how many. */
int editor__twins_mark_verbatim(const struct editor_evaluation *what, bool *verbatim, size_t *count,
				struct err *e) MUST_CHECK;

#endif
