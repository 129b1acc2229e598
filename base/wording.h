/* wording.h: whether two prompts about one subject ask the same, as far as their words tell (decisions.md,
 * "Conflicts are told by words"). English, as the lists of words are; in other languages what is equal is found, and
 * little else. Pure.
 */
#ifndef AMEND_BASE_WORDING_H
#define AMEND_BASE_WORDING_H

#include "base/buf.h"

/* Of the table of common relations (wording_relations.c). */
enum wording_relation {
	WORDING_UNKNOWN, /* one of the two asks for none of it, or for more */
	WORDING_SAME,
	WORDING_OTHER,
};

/* What is compared are the words that are not the subject's and no stop words ("what", "is", "the", …) nor light ones
 * ("name", "type", …) as long as anything else is left. Words match when they are equal or forms of one stem
 * ("leads", "leader"). */
struct wording {
	double overlap;  /* Jaccard, |A∩B| / |A∪B|; 1 when no words are left on either side */
	size_t apart;    /* words that only one of the two has */
	bool same_kind;  /* not two different ones of who, when, where, how and why */
	bool same_marks; /* the same numbers, and the same words that change who is meant ("first", "vice", …) */
	bool same_head;  /* what each asks for first (of "the population of the capital" the population) is in the other
			  */
	bool same_sides; /* what is done to the subject in one is not done by it in the other ("Who leads X?", "Who does
			  * X lead?") */
	bool same_qualifiers; /* the words directly before what each asks for ("art director") are in the other */
	bool same_details;    /* at most one of them has a content word that the other lacks ("the support desk", "the
			       * sales desk"), and none says when or where ("in winter") if the other does not; two words
			       * of one relation ("leads", "heads") are one here; false where words are left and none is
			       * shared */
	enum wording_relation relation; /* decides where it is known */
	bool named;                     /* `a` says the subject, word for word ... */
	bool covered; /* ... and nothing beside it that `b` does not say too, not even a light word: it may well be
		       * part of a longer name ("Who wrote The Name of the Rose?" is not about a Rose) */
};
/* ERR_NOMEM; ERR_INVALID for text that is no UTF-8. */
int wording_compare(const char *a, size_t a_len, const char *b, size_t b_len, const char *subject, size_t subject_len,
		    struct wording *out) MUST_CHECK;
/* The decision. */
#define WORDING_OVERLAP_MIN 0.5
#define WORDING_APART_MAX   4
bool wording_alike(const struct wording *wording);
/* The decision where the edit of `a` names no subject, and that of `b` the one that was given. */
bool wording_alike_unnamed(const struct wording *wording);
/* Content words: neither stop words nor light ones. `word` as text_words gives it. */
bool wording_is_content(const char *word, size_t len);

#endif
