/* key_index.h: the nearest of many keys: the plain float search's candidates, order and bits for a fraction of its
 * memory traffic. A first pass reads 4 bits of a part of the components and bounds every score from above, later ones
 * the other components and 4 bits more of the keys that this leaves; only keys whose bound reaches a score that
 * EDITOR_CANDIDATES keys have are scored in float32 (key_search.c has the bounds). Any data is searched exactly: keys
 * that the bounds cannot tell apart (all equal, one tight cluster) are all scored, which takes the time of the plain
 * search and of the passes. Inside editor/ only. Threads: read-only after build, any number of them may search. Pure.
 */
#ifndef AMEND_EDITOR_KEY_INDEX_H
#define AMEND_EDITOR_KEY_INDEX_H

#include "editor/route.h"

struct editor__candidate {
	size_t entry; /* place in order of adding */
	float score;  /* editor__dot of query and key */
};

/* Keeps the best EDITOR_CANDIDATES in order, best first; offered in order of entries, the earlier one wins a tie.
 * `best` has room for EDITOR_CANDIDATES. */
void editor__candidate_keep(struct editor__candidate *best, size_t *count, size_t entry, float score);

struct editor__key_index;
/* Keys of `width` floats, 1 to EDITOR_HIDDEN_MAX. instructions: "portable", "avx2" or "avx512vnni"; NULL: the best that
 * the processor has. ERR_UNSUPPORTED: it lacks them; ERR_NOMEM. */
int editor__key_index_new(size_t width, const char *instructions, struct editor__key_index **out,
			  struct err *e) MUST_CHECK;
void editor__key_index_destroy(struct editor__key_index **index);
const char *editor__key_index_instructions(const struct editor__key_index *index);
size_t editor__key_index_count(const struct editor__key_index *index);
/* Room for `more` keys behind those that are there; none is moved or read again. ERR_NOMEM leaves what was there. */
int editor__key_index_reserve(struct editor__key_index *index, size_t more) MUST_CHECK;
/* Appends a copy of `key` (width floats, of any length). There must be room for it. */
void editor__key_index_add(struct editor__key_index *index, const float *key);
/* Takes back all but the first `count` keys; their room stays. */
void editor__key_index_cut(struct editor__key_index *index, size_t count);
/* Bytes of memory in all, room for keys to come included. */
size_t editor__key_index_bytes(const struct editor__key_index *index);
/* The best EDITOR_CANDIDATES keys for a query (width floats), of which `best` has room for as many, and how many there
 * are. Takes some 12 bytes a key while it searches. ERR_NOMEM. */
int editor__key_index_search(const struct editor__key_index *index, const float *query, struct editor__candidate *best,
			     size_t *count) MUST_CHECK;

#endif
