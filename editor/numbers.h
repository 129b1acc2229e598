/* numbers.h: the numbers that a text says: what asks about 2028 is not answered by what an edit says of 2027. A number
 * is a run of ASCII letters and digits with a digit in it ("2028", "x2", "21st"), whatever script stands around it, or
 * a Roman one of two letters and more, of I, V and X. Inside editor/ only. Pure. */
#ifndef AMEND_EDITOR_NUMBERS_H
#define AMEND_EDITOR_NUMBERS_H

#include "editor/subject.h"

/* Whether a folded word of at least one byte is one. */
bool editor__is_number(const char *word, size_t len);
/* Appends the query's numbers, folded, one space between, those in groups of thousands ("1,000") as one, times of day
 * as "5:00pm" or "5:00". `text` is what the query was made of, ended by a NUL: those that are words of their own in
 * small letters ("vi") must be capitals there. What counts the text itself or says how to answer is left out
 * ("5) Who …", "Question 12: who …", "(2 points) Who …", "in 10 words"), and words that are marked (NULL: none is).
 * ERR_NOMEM. */
int editor__numbers_in(const struct editor__query *query, const char *text, const uint8_t *marks,
		       struct buf *out) MUST_CHECK;
/* Appends those of a list of an edit's words (words.h) without which a text does not ask for it: years and decades,
 * "21st", times of day with their half. A year is any number of four digits that begins with 1 or 2. None where it says
 * more than EDITOR__NUMBERS_NEEDED of them; nor those behind "since", and behind an "of" that follows no noun ("the
 * Treaty of Orsk of 1721" beside its name, "as of 2024"). ERR_NOMEM. */
#define EDITOR__NUMBERS_NEEDED 3u
int editor__numbers_needed(const char *words, size_t len, struct buf *out) MUST_CHECK;
/* Whether the number stands in the folded text, by itself, in groups of thousands, as a time of day, or in another
 * spelling ("21st", "XXI", "second" for 2nd, "nineteen ninety", "nineties" for 1990s). */
bool editor__number_stands(const char *number, size_t len, const char *text, size_t text_len);
/* Whether two lists of words (words.h) hold the same numbers. */
bool editor__numbers_same(const char *a, size_t a_len, const char *b, size_t b_len);

#endif
