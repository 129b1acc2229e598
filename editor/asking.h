/* asking.h: which words of a question tell what it asks. "Wait a second, who is the mayor of X?" asks nothing of a
 * second. English. Inside editor/ only. Pure. */
#ifndef AMEND_EDITOR_ASKING_H
#define AMEND_EDITOR_ASKING_H

#include "editor/subject.h"

/* asks[i] = 1 for the query's words that do: all but those before the first question word ("who", "which", …), where a
 * mark, or a verb of asking, stands between; but a setting does ("in 2028, who …"). `text` is what the query was made
 * of, ended by a NUL; `asks` has room for word_count. */
void editor__asking_words(const struct editor__query *query, const char *text, uint8_t *asks);

#endif
