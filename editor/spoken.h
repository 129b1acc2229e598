/* spoken.h: numbers that words say, in English: "twenty-first", "nineteen ninety-five", "two thousand and five".
 * Inside editor/ only. Pure. */
#ifndef AMEND_EDITOR_SPOKEN_H
#define AMEND_EDITOR_SPOKEN_H

#include <stddef.h>
#include <stdint.h>

/* The number of the words from byte `at` of a folded text on, where a word begins, as many of them as belong to it;
 * *end: the byte behind the last. 0: the word is no numeral, and *end is not written. */
uint64_t editor__spoken_at(const char *text, size_t len, size_t at, size_t *end);
/* 90 of "nineties"; 0: it is no decade. */
unsigned editor__spoken_decade(const char *word, size_t len);

#endif
