/* wording_internal.h: what wording.c and wording_relations.c share: a prompt as words. */
#ifndef AMEND_BASE_WORDING_INTERNAL_H
#define AMEND_BASE_WORDING_INTERNAL_H

#include "base/buf.h"

enum role { ROLE_CONTENT, ROLE_LIGHT, ROLE_STOP, ROLE_SUBJECT };
enum kind {
	KIND_WHO = 1,
	KIND_WHEN = 2,
	KIND_WHERE = 4,
	KIND_HOW = 8,
	KIND_WHY = 16,
	KIND_AMOUNT = 32,
	KIND_OTHER = 64,
	KIND_ANY = 127
};

/* How a word stands to the subject S. */
enum side {
	SIDE_NONE,    /* the prompt does not say S in one piece */
	SIDE_OF,      /* the author of S; S's author */
	SIDE_ASKED,   /* what language does S ... */
	SIDE_ACTED,   /* who wrote S; S was written by */
	SIDE_ACTING,  /* which team does S lead; S leads; led by S */
	SIDE_OBJECT,  /* who does S lead */
	SIDE_PASSIVE, /* when was S founded; S was founded in */
	SIDE_BESIDE,  /* who stars in S; named after S */
	SIDE_INVERSE, /* S is a member of; whose son is S */
};

struct word {
	const char *text;
	size_t len;
	const char *stem; /* of irregular and short ones; NULL of others */
	enum role role;
	enum side side;
};

struct prompt {
	struct buf folded;
	struct word *items; /* in the order of the text; they point into `folded` */
	struct word *terms; /* the different ones, sorted bytewise */
	size_t count, cap, term_count;
	unsigned kinds;
	size_t governor;   /* how many words stand before "S", "the S" or "the film S" */
	size_t start, end; /* where it says the subject first: items [start, end); both 0 where it does not */
};

bool wording__is(const struct word *word, const char *text);
bool wording__listed(const struct word *word, const char *const *list);
/* "leads", "led" of "lead": the inflections of a verb or a noun, irregular ones too. */
bool wording__inflects(const struct word *word, const char *base);
/* Of two words of one irregular or short stem ("wrote", "written"). */
bool wording__same_stem(const struct word *a, const struct word *b);
const char *wording__stem(const struct word *word);
/* Whether the word says of the subject what it is, directly before it: "the film S". */
bool wording__is_class(const struct prompt *p, size_t i);
/* Not "the film S" in one and "the book S" in the other. */
bool wording__same_class(const struct prompt *a, const struct prompt *b);
/* Sets start, end and the side of every word; roles are known. */
void wording__sides(struct prompt *p, const struct prompt *subject);

#define WORDING_RELATIONS_MAX 192
#define WORDING_TOKENS_MAX    32 /* a question of more words than that asks for no common relation */
struct wording_asked {
	uint64_t relations[WORDING_RELATIONS_MAX / 64]; /* bits */
	uint32_t keys;                                  /* bits: the words of the prompt that say them */
};
/* Which relations of the table `p` asks for, and for nothing else. */
void wording__relations(const struct prompt *p, struct wording_asked *out);
/* Whether word `i` of `p` and a content word of `other` each say one relation of the table by themselves, and the same
 * way round ("founded", "established"; not "succeeded", "preceded"). */
bool wording__same_relation(const struct prompt *p, size_t i, const struct prompt *other);

#endif
