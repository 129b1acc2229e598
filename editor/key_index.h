/* key_index.h: the nearest of many keys: the plain float search's candidates, order and bits for a fraction of its
 * memory traffic. A first pass reads 4 bits of each component and bounds every score from above, a later one 4 bits
 * more of the keys that this leaves; only keys whose bound reaches what a candidate must reach are scored in float32
 * (key_search.c has the bounds). Any data is searched exactly: keys that the bounds cannot tell apart (all equal, one
 * tight cluster) are all scored, which takes the time of the plain search and of the passes. Inside editor/ only.
 * Threads: read-only after build, any number of them may search. Pure. */
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
/* Bytes of memory in all, room for keys to come in the last piece of 512 included; a mapping's pages that no piece
 * stands in yet are not. */
size_t editor__key_index_bytes(const struct editor__key_index *index);
/* The keys nearest to a query (width floats), best first: at most EDITOR_CANDIDATES that score `least` or more, and the
 * best EDITOR_NEAREST whatever they score. `best` has room for EDITOR_CANDIDATES. The higher `least`, the fewer keys
 * are read twice. Takes some 8 bytes a key while it searches. ERR_NOMEM. */
int editor__key_index_search(const struct editor__key_index *index, const float *query, float least,
			     struct editor__candidate *best, size_t *count) MUST_CHECK;

#endif
