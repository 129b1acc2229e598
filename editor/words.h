/* words.h: the words of a question beside its subject. Two questions that name the same thing in them ("architect",
 * "designed") ask for the same relation more often than their hidden states tell. Lists of words are folded, with one
 * space between. Inside editor/ only. Pure. */
#ifndef AMEND_EDITOR_WORDS_H
#define AMEND_EDITOR_WORDS_H

#include "editor/subject.h"

#include <stdint.h>

/* What a question's words tell nothing by: those that many questions have. Hashes (hash_short), ascending. */
struct editor__common_words {
	const uint64_t *hashes;
	size_t count;
};
uint64_t editor__word_hash(const char *word, size_t len);
/* Appends the query's words whose mark is 0. ERR_NOMEM. */
int editor__words_unmarked(const struct editor__query *query, const uint8_t *marks, struct buf *out) MUST_CHECK;
/* Appends the words of a list that are not common; numbers never are. ERR_NOMEM. */
int editor__words_uncommon(const char *words, size_t len, const struct editor__common_words *common,
			   struct buf *out) MUST_CHECK;
/* Whether it is one of these. */
bool editor__word_is_one_of(const char *word, size_t len, const char *const *list, size_t count);
/* The list's word at *at, which moves behind it. false: no more. */
bool editor__words_next(const char *words, size_t len, size_t *at, const char **word, size_t *word_len);
/* Share in [0, 1] of the words of list a that have a match (editor__words_match) in list b, a word that stands twice
 * counting twice; 0 when a is empty. */
float editor__words_share(const char *a, size_t a_len, const char *b, size_t b_len);
/* The words that stand in at least `share` of `count` lists, at most `most` of them, those of the most lists: *hashes
 * ascending, free(). ERR_NOMEM. */
int editor__words_common(const struct buf *lists, size_t count, double share, size_t most, uint64_t **hashes,
			 size_t *hash_count) MUST_CHECK;

#endif
