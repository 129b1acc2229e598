/* subject.h: how much of an edit's subject stands in a query's text. Inside editor/ only. Not thread-safe per object.
 */
#ifndef AMEND_EDITOR_SUBJECT_H
#define AMEND_EDITOR_SUBJECT_H

#include "base/buf.h"

#define EDITOR__QUERY_WORDS_MAX 512u /* later words of a query are not looked at */

struct editor__query {
	struct buf folded;                    /* the text, folded */
	struct buf words;                     /* its words, one after the other */
	size_t ends[EDITOR__QUERY_WORDS_MAX]; /* of word i in `words` */
	struct {
		size_t start, end; /* of word i in the text */
	} spans[EDITOR__QUERY_WORDS_MAX];
	uint8_t signs[EDITOR__QUERY_WORDS_MAX]; /* 1: a sign follows that is part of the word ("C++", "C#") */
	size_t word_count;
};

/* A query without words, without writing the rest of it: what fini may be given as well. */
void editor__query_clear(struct editor__query *query);
/* Text that is no UTF-8 has no words: bytes that a model generates may be cut inside a character. ERR_NOMEM. */
int editor__query_init(struct editor__query *query, const char *text, size_t len) MUST_CHECK;
void editor__query_fini(struct editor__query *query);
/* Share in [0, 1] of the folded subject that the query holds: 1 when it stands there as it is or its words
 * do one behind the other ("Mann, Thomas"; none of them shorter than four bytes), else the letters of its words that
 * stand there in their order, over all its letters; 0 when one that is missing is a number (2022, VIII). Words stand
 * there that editor__names_match. */
int editor__query_share(const struct editor__query *query, const char *subject, size_t len, float *share) MUST_CHECK;
/* The letters of the subject's words that stand there, in any order and spelled as they are, over all its letters. */
int editor__query_share_spelled(const struct editor__query *query, const char *subject, size_t len,
				float *share) MUST_CHECK;
/* Whether the subject stands word by word at a place of the text that ends behind byte `from`. ERR_NOMEM. */
int editor__query_stands_behind(const struct editor__query *query, const char *subject, size_t len, size_t from,
				bool *stands) MUST_CHECK;
/* marks[i] = 1 for the query's words that are the subject's: those of the first place where it stands word by word,
 * else all that are like one of its words of EDITOR__SUBJECT_WORD_BYTES or more. `marks` has room for word_count. */
#define EDITOR__SUBJECT_WORD_BYTES 3
int editor__query_mark(const struct editor__query *query, const char *subject, size_t len, uint8_t *marks) MUST_CHECK;

/* Whether two folded words are one name: equal, or one the other's plural, or of eight letters and more with one letter
 * inside that is missing, added, another or exchanged with the next. */
bool editor__names_match(const char *a, size_t a_len, const char *b, size_t b_len);
/* Whether two folded words are forms of one: Levenshtein's distance is at most a quarter of the longer one's bytes; a
 * number that differs is another number. */
bool editor__words_match(const char *a, size_t a_len, const char *b, size_t b_len);
/* Years, "2nd", "VIII", and "V", which by itself is no number of numbers.h: they tell one of a name from the next. */
bool editor__word_is_numeral(const char *word, size_t len);
bool editor__word_has_digit(const char *word, size_t len); /* of ASCII */

#endif
