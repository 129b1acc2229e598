#include "base/wording.h"

#include "base/fault.h"
#include "base/text.h"
#include "base/wording_internal.h"

#include <stdlib.h>
#include <string.h>

#define STEM_BYTES_MIN 4
#define STEM_WORDS_MAX 64 /* words with one beginning that a word is compared with: no question has more */

/* "What" and "which" do not ask for a time or a place unless they say so. */
#define KIND_WHAT (KIND_ANY & ~(unsigned)(KIND_WHEN | KIND_WHERE))

/* ---- Lists of words */

static const char *const stop_words[] = {
	"a",     "about", "an",   "and",   "are",  "as",   "at",   "be",    "been",  "by",   "can",
	"could", "did",   "do",   "does",  "for",  "from", "had",  "has",   "have",  "he",   "her",
	"his",   "how",   "i",    "in",    "into", "is",   "it",   "its",   "me",    "my",   "of",
	"on",    "or",    "s",    "she",   "so",   "than", "that", "the",   "their", "them", "there",
	"these", "they",  "this", "those", "to",   "was",  "we",   "were",  "what",  "when", "where",
	"which", "who",   "whom", "whose", "why",  "will", "with", "would", "you",   "your", NULL,
};
/* They ask for nothing by themselves. */
static const char *const light_words[] = { "call",   "called", "current",  "currently", "held",  "hold",
					   "holds",  "kind",   "located",  "situated",  "known", "name",
					   "named",  "names",  "part",     "person",    "serve", "served",
					   "serves", "sort",   "specific", "type",      NULL };
/* They change who or what is meant, as numbers do. */
static const char *const mark_words[] = { "acting",     "against", "assistant", "before", "co",      "deputy",
					  "earlier",    "ex",      "first",     "former", "interim", "last",
					  "law",        "new",     "next",      "not",    "old",     "previous",
					  "previously", "second",  "third",     "vice",   "without", NULL };
/* What they do to the subject, it does to them. */
static const char *const mutual[] = { "border", "borders", "date",     "dated",     "married",
				      "marry",  "met",     "neighbor", "neighbors", NULL };
/* Stop words here; wording_is_content counts them, as ledgers have them in their index. */
static const char *const quiet_words[] = { "may",       "might", "must",   "now",   "nowadays",
					   "presently", "shall", "should", "today", NULL };
/* "Tell me", "Do you know": before what is asked. */
static const char *const leading_words[] = { "can",    "could", "do",   "give", "know", "me",
					     "please", "say",   "tell", "you",  NULL };
/* They say of a noun what it is without them: the musical instrument. */
static const char *const implied_words[] = { "musical", "political", "record", "television", "tv", NULL };
static const char *const join_words[] = { "and", "or", NULL };
static const char *const time_nouns[] = { "date", "day", "time", "year", NULL };
static const char *const place_nouns[] = { "location", "place", NULL };
/* What may stand behind a stem. */
static const char *const endings[] = { "",    "al",   "ally", "ance", "ant",  "ate",  "ated", "ation",
				       "d",   "e",    "ed",   "ence", "er",   "ers",  "es",   "ing",
				       "ion", "ions", "ity",  "ive",  "ly",   "ment", "or",   "ors",
				       "r",   "rs",   "s",    "ship", "tion", "y",    NULL };

static const struct {
	const char *const words[4];
	unsigned kinds;
} asking[] = { { { "who", "whom", "whose", NULL }, KIND_WHO },
	       { { "when", NULL }, KIND_WHEN },
	       { { "where", NULL }, KIND_WHERE },
	       { { "how", NULL }, KIND_HOW },
	       { { "why", NULL }, KIND_WHY },
	       { { "what", "which", NULL }, KIND_WHAT } },
  ending[] = { { { "by", NULL }, KIND_WHO }, { { "at", "in", "on", NULL }, KIND_WHEN | KIND_WHERE } };

/* ---- One prompt */

static int compare_words(const void *a, const void *b)
{
	const struct word *x = a, *y = b;
	size_t n = x->len < y->len ? x->len : y->len;
	int order = memcmp(x->text, y->text, n);
	if (order != 0)
		return order;
	return (x->len > y->len) - (x->len < y->len);
}

static int add_word(void *context, const char *text, size_t len)
{
	struct prompt *p = context;
	if (p->count == p->cap) {
		size_t cap = p->cap != 0 ? 2 * p->cap : 32;
		struct word *grown = fault_realloc(p->items, cap * sizeof(*grown));
		if (grown == NULL)
			return ERR_NOMEM;
		p->items = grown;
		p->cap = cap;
	}
	/* The words that text_words gives die with its folded copy: keep the bytes, and their offset for now. */
	p->items[p->count++] = (struct word){ .text = (const char *)(uintptr_t)p->folded.len, .len = len };
	buf_append(&p->folded, text, len);
	return buf_failed(&p->folded) ? ERR_NOMEM : 0;
}

static int prompt_read(const char *text, size_t len, struct prompt *out)
{
	int rc = len != 0 ? text_words(text, len, add_word, out) : 0;
	if (rc != 0 || out->count == 0)
		return rc;
	for (size_t i = 0; i < out->count; i++)
		out->items[i].text = (const char *)out->folded.data + (uintptr_t)out->items[i].text;
	out->terms = fault_malloc(out->count * sizeof(*out->terms));
	return out->terms != NULL ? 0 : ERR_NOMEM;
}

static void prompt_free(struct prompt *p)
{
	free(p->items);
	free(p->terms);
	buf_free(&p->folded);
}

static void terms_make(struct prompt *p)
{
	if (p->count == 0)
		return;
	memcpy(p->terms, p->items, p->count * sizeof(*p->terms));
	qsort(p->terms, p->count, sizeof(*p->terms), compare_words);
	for (size_t i = 0; i < p->count; i++) {
		if (i == 0 || compare_words(&p->terms[i], &p->terms[p->term_count - 1]) != 0)
			p->terms[p->term_count++] = p->terms[i];
	}
}

static const struct word *find(const struct prompt *p, const struct word *word)
{
	return p->term_count > 0 ? bsearch(word, p->terms, p->term_count, sizeof(*word), compare_words) : NULL;
}

/* Words that follow one another, "and" and "or" between them, are one phrase. */
static bool in_phrase(const struct word *word)
{
	return word->role <= ROLE_LIGHT || (word->role == ROLE_STOP && wording__listed(word, join_words));
}

/* The first word that asks; 0 where none does. */
static unsigned asked(const struct prompt *p)
{
	for (size_t i = 0; i < p->count; i++) {
		for (size_t k = 0; p->items[i].role == ROLE_STOP && k < sizeof(asking) / sizeof(asking[0]); k++) {
			if (wording__listed(&p->items[i], asking[k].words))
				return asking[k].kinds;
		}
	}
	return 0;
}

static bool phrase_has(const struct prompt *p, size_t first, const char *const *nouns)
{
	for (size_t i = first; i < p->count && in_phrase(&p->items[i]); i++) {
		if (wording__listed(&p->items[i], nouns))
			return true;
	}
	return false;
}

/* "How much does X cost?", "How many rooms does X have?" */
static bool asks_amount(const struct prompt *p)
{
	static const char *const amounts[] = { "many", "much", NULL };
	for (size_t i = 1; i < p->count; i++) {
		if (wording__is(&p->items[i - 1], "how") && wording__listed(&p->items[i], amounts))
			return true;
	}
	return false;
}

/* "How much" says no more than that; the number of rooms is how many. The phone number is not, nor the number of a
 * room. */
static void amounts_classify(struct prompt *p)
{
	for (size_t i = 0; i + 1 < p->count; i++) {
		struct word *word = &p->items[i], *next = word + 1;
		if (wording__is(word, "how") && wording__is(next, "much") && next->role == ROLE_CONTENT)
			next->role = ROLE_STOP;
		if (i + 2 < p->count && wording__is(word, "number") && wording__is(next, "of") &&
		    next[1].role == ROLE_CONTENT)
			word->stem = "many";
	}
}

/* "When was X founded?", "In what year was X founded?", "The year of X's founding is", "X was founded in" */
static unsigned kinds_of(const struct prompt *p)
{
	const unsigned kinds = asked(p);
	size_t first = 0;
	if (kinds == KIND_HOW && asks_amount(p))
		return KIND_AMOUNT;
	if (kinds != 0 && kinds != KIND_WHAT)
		return kinds;
	while (first < p->count && p->items[first].role > ROLE_LIGHT)
		first++;
	if (phrase_has(p, first, time_nouns))
		return KIND_WHEN;
	if (phrase_has(p, first, place_nouns))
		return KIND_WHERE;
	if (kinds != 0)
		return kinds;
	for (size_t k = 0; p->count > 0 && k < sizeof(ending) / sizeof(ending[0]); k++) {
		if (p->items[p->count - 1].role == ROLE_STOP &&
		    wording__listed(&p->items[p->count - 1], ending[k].words))
			return ending[k].kinds;
	}
	return KIND_ANY;
}

/* The noun of a kind says no more than the kind does. */
static void prompt_classify(struct prompt *p, const struct prompt *subject)
{
	for (size_t i = 0; i < p->count; i++) {
		struct word *word = &p->items[i];
		word->stem = wording__stem(word);
		word->role = find(subject, word) != NULL          ? ROLE_SUBJECT
			     : wording__listed(word, stop_words)  ? ROLE_STOP
			     : wording__listed(word, quiet_words) ? ROLE_STOP
			     : wording__listed(word, light_words) ? ROLE_LIGHT
								  : ROLE_CONTENT;
	}
	for (size_t i = 0; i < p->count && p->items[i].role != ROLE_SUBJECT; i++) {
		if (!wording__listed(&p->items[i], leading_words))
			break;
		p->items[i].role = ROLE_STOP;
	}
	amounts_classify(p);
	p->kinds = kinds_of(p);
	wording__sides(p, subject);
	for (size_t i = 0; i < p->count; i++) {
		struct word *word = &p->items[i];
		if (word->role == ROLE_CONTENT && ((p->kinds == KIND_WHEN && wording__listed(word, time_nouns)) ||
						   (p->kinds == KIND_WHERE && wording__listed(word, place_nouns))))
			word->role = ROLE_LIGHT;
	}
	terms_make(p);
}

/* ---- Two prompts */

static bool forms_of_one(const struct word *a, const struct word *b)
{
	size_t n = 0;
	while (n < a->len && n < b->len && a->text[n] == b->text[n])
		n++;
	const struct word x = { .text = a->text + n, .len = a->len - n },
			  y = { .text = b->text + n, .len = b->len - n };
	return (x.len == 0 && y.len == 0) ||
	       (n >= STEM_BYTES_MIN && wording__listed(&x, endings) && wording__listed(&y, endings));
}

/* Whether one of the words of `p` that count matches. */
static bool has_match(const struct prompt *p, const struct word *word, enum role level)
{
	const size_t start = word->len < STEM_BYTES_MIN ? word->len : STEM_BYTES_MIN;
	const struct word beginning = { .text = word->text, .len = start };
	size_t low = 0, high = p->term_count;
	while (low < high) {
		const size_t middle = (low + high) / 2;
		if (compare_words(&p->terms[middle], &beginning) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	for (size_t i = low; i < p->term_count && i < low + STEM_WORDS_MAX; i++) {
		const struct word *other = &p->terms[i];
		if (other->len < start || memcmp(other->text, word->text, start) != 0)
			break;
		if (other->role <= level && forms_of_one(word, other))
			return true;
	}
	for (size_t i = 0; i < p->term_count; i++) {
		if (p->terms[i].role <= level && wording__same_stem(word, &p->terms[i]))
			return true;
	}
	return false;
}

static size_t count_terms(const struct prompt *p, enum role level)
{
	size_t n = 0;
	for (size_t i = 0; i < p->term_count; i++)
		n += p->terms[i].role <= level;
	return n;
}

/* Whether `other` says word `i` of `p` too, as it is or by the relation. What stands beside the relation's words may be
 * part of a longer name, but not behind "which" ("Which company makes X?"). */
static bool covers_word(const struct prompt *other, const struct prompt *p, size_t i, uint32_t keys)
{
	static const char *const which[] = { "what", "which", NULL };
	const struct word *word = &p->items[i];
	/* Nouns of a kind ("year") are no light words of the list: the other may say the kind otherwise. */
	if (word->role != ROLE_CONTENT && (word->role != ROLE_LIGHT || !wording__listed(word, light_words)))
		return true;
	if (has_match(other, word, ROLE_LIGHT))
		return true;
	return i < WORDING_TOKENS_MAX && keys != 0 &&
	       ((keys & 1U << i) != 0 || (i > 0 && wording__listed(&p->items[i - 1], which)));
}

static bool covers(const struct prompt *other, const struct prompt *p, uint32_t keys)
{
	for (size_t i = 0; i < p->count; i++) {
		if (!covers_word(other, p, i, keys))
			return false;
	}
	return true;
}

static size_t count_matches(const struct prompt *p, const struct prompt *other, enum role level)
{
	size_t n = 0;
	for (size_t i = 0; i < p->term_count; i++)
		n += p->terms[i].role <= level && has_match(other, &p->terms[i], level);
	return n;
}

static bool is_mark(const struct word *word)
{
	for (size_t i = 0; i < word->len; i++) {
		if (word->text[i] >= '0' && word->text[i] <= '9')
			return true;
	}
	return wording__listed(word, mark_words);
}

static bool marks_in(const struct prompt *p, const struct prompt *other)
{
	for (size_t i = 0; i < p->term_count; i++) {
		if (p->terms[i].role != ROLE_SUBJECT && is_mark(&p->terms[i]) && find(other, &p->terms[i]) == NULL)
			return false;
	}
	return true;
}

/* The first phrase's last word is what it asks for; but one that ends at the subject ends with a verb ("Which company
 * made X?"), and any of its words will do. */
static bool head_in(const struct prompt *p, const struct prompt *other, enum role level)
{
	const struct word *last = NULL;
	bool any = false;
	for (size_t i = 0; i < p->count; i++) {
		const struct word *word = &p->items[i];
		if (word->role <= level) {
			last = word;
			any = any || has_match(other, word, level);
		} else if (!in_phrase(word) && last != NULL)
			return (word->role == ROLE_SUBJECT && any) || has_match(other, last, level);
	}
	return last == NULL || has_match(other, last, level);
}

/* "Where is X?" and "What is the location of X?" say nothing beside what they ask for. */
static bool same_kind_alone(const struct prompt *a, const struct prompt *b)
{
	return count_terms(a, ROLE_CONTENT) + count_terms(b, ROLE_CONTENT) == 0 && a->kinds == b->kinds &&
	       (a->kinds == KIND_WHEN || a->kinds == KIND_WHERE);
}

/* "Who leads X?" or "the leader of X" and "Who does X lead?", or "Who is led in X?", "X is a member of" and "the member
 * of X": one of them is the other way round. */
static bool turned(const struct word *a, const struct word *b)
{
	if ((a->side == SIDE_ACTED && (b->side == SIDE_ACTING || b->side == SIDE_OBJECT || b->side == SIDE_BESIDE)) ||
	    (a->side == SIDE_OBJECT && b->side == SIDE_OF))
		return forms_of_one(a, b) || wording__same_stem(a, b);
	return ((a->side == SIDE_INVERSE && (b->side == SIDE_OF || b->side == SIDE_BESIDE)) ||
		(a->side == SIDE_BESIDE && b->side == SIDE_PASSIVE)) &&
	       compare_words(a, b) == 0;
}

static bool sides_agree(const struct prompt *a, const struct prompt *b)
{
	for (size_t i = 0; i < a->count; i++) {
		const struct word *word = &a->items[i];
		if (word->role > ROLE_LIGHT || wording__listed(word, mutual) ||
		    (word->side != SIDE_ACTED && word->side != SIDE_OBJECT && word->side != SIDE_INVERSE &&
		     word->side != SIDE_BESIDE))
			continue;
		bool other_way = false, same_way = false;
		for (size_t k = 0; k < b->count; k++) {
			const struct word *other = &b->items[k];
			other_way = other_way || (other->role <= ROLE_LIGHT && turned(word, other));
			same_way = same_way || (other->side == word->side && compare_words(word, other) == 0);
		}
		if (other_way && !same_way)
			return false;
	}
	return true;
}

/* "Of the opposition in S": a place, and what stands there is asked of. */
static bool governs(const struct prompt *p)
{
	static const char *const places[] = { "at", "in", NULL };
	const struct word *last = &p->items[p->governor - 1];
	if (!wording__listed(last, places))
		return wording__is(last, "of");
	size_t of = p->governor - 2;
	while (of > 0 && wording__is(&p->items[of - 1], "the"))
		of--;
	return of > 0 && wording__is(&p->items[of - 1], "of");
}

/* Who owns the stadium of X is not who owns X, nor is X's father in law X's father: the noun that X is of, where the
 * other has a word in that place, too. */
static bool governor_in(const struct prompt *p, const struct prompt *other)
{
	if (p->governor < 2 || !governs(p) || other->governor < 1)
		return true;
	const struct word *noun = &p->items[p->governor - 2], *word = &other->items[other->governor - 1];
	const bool of = other->governor > 1 && wording__is(word, "of");
	return noun->role != ROLE_CONTENT || (of ? word - 1 : word)->role != ROLE_CONTENT ||
	       has_match(other, noun, ROLE_LIGHT);
}

/* What is asked of is the subject's, and not the subject: "the mascot of S's rival", "S's wife's father". NULL: it is
 * the subject. */
static const struct word *possessed(const struct prompt *p)
{
	if (p->end == 0 || p->end + 1 >= p->count || !wording__is(&p->items[p->end], "s"))
		return NULL;
	for (size_t i = p->end + 2; i < p->count; i++) {
		if (wording__is(&p->items[i], "s"))
			return &p->items[i - 1];
	}
	if (p->governor < 2 || !wording__is(&p->items[p->governor - 1], "of"))
		return NULL;
	return p->items[p->governor - 2].role <= ROLE_LIGHT ? &p->items[p->end + 1] : NULL;
}

static bool possessed_in(const struct prompt *p, const struct prompt *other)
{
	const struct word *word = possessed(p);
	return word == NULL || has_match(other, word, ROLE_LIGHT);
}

/* What stands directly before the noun that is asked for, "the art director", is in the other too. */
static bool qualifiers_in(const struct prompt *p, const struct prompt *other)
{
	size_t first = 0, last;
	while (first < p->count && p->items[first].role > ROLE_LIGHT)
		first++;
	for (last = first; last + 1 < p->count && p->items[last + 1].role <= ROLE_LIGHT; last++)
		;
	if (last + 1 < p->count && p->items[last + 1].role == ROLE_SUBJECT)
		return true; /* "which company made X": a verb */
	for (size_t i = first; i < last; i++) {
		const struct word *word = &p->items[i];
		if (word->role == ROLE_CONTENT && !wording__listed(word, implied_words) &&
		    !has_match(other, word, ROLE_LIGHT))
			return false;
	}
	return true;
}

/* Whether the other says word `i` of `p`, as it is or by another word for the same. */
static bool says_alike(const struct prompt *other, const struct prompt *p, size_t i)
{
	return has_match(other, &p->items[i], ROLE_LIGHT) || wording__same_relation(p, i, other);
}

/* A content word that the other lacks, be it a season, a role or a size; but "the film S" asks no other than "S". */
static bool has_more(const struct prompt *p, const struct prompt *other)
{
	for (size_t i = 0; i < p->count; i++) {
		if (p->items[i].role == ROLE_CONTENT && !wording__is_class(p, i) && !says_alike(other, p, i))
			return true;
	}
	return false;
}

/* "At Christmas", "in Europe": when or where, which is not to be left out. */
static bool settings_in(const struct prompt *p, const struct prompt *other)
{
	static const char *const articles[] = { "a", "an", "the", NULL };
	static const char *const prepositions[] = { "at", "during", "in", "on", NULL };
	for (size_t i = 1; i < p->count; i++) {
		size_t before = i;
		while (before > 1 && wording__listed(&p->items[before - 1], articles))
			before--;
		if (p->items[i].role == ROLE_CONTENT && wording__listed(&p->items[before - 1], prepositions) &&
		    !wording__is_class(p, i) && !says_alike(other, p, i))
			return false;
	}
	return true;
}

static bool same_details(const struct prompt *a, const struct prompt *b)
{
	return wording__same_class(a, b) && (!has_more(a, b) || !has_more(b, a)) && settings_in(a, b) &&
	       settings_in(b, a);
}

static enum wording_relation relation_of(const struct prompt *a, const struct prompt *b, struct wording_asked *x)
{
	struct wording_asked y;
	uint64_t any_x = 0, any_y = 0, both = 0;
	wording__relations(a, x);
	for (size_t i = 0; i < WORDING_RELATIONS_MAX / 64; i++)
		any_x |= x->relations[i];
	if (any_x == 0)
		return WORDING_UNKNOWN;
	wording__relations(b, &y);
	for (size_t i = 0; i < WORDING_RELATIONS_MAX / 64; i++) {
		any_y |= y.relations[i];
		both |= x->relations[i] & y.relations[i];
	}
	if (any_y == 0)
		return WORDING_UNKNOWN;
	return both != 0 && wording__same_class(a, b) ? WORDING_SAME : WORDING_OTHER;
}

static void compare(const struct prompt *a, const struct prompt *b, struct wording *out)
{
	enum role level = ROLE_CONTENT;
	while (level < ROLE_STOP && (count_terms(a, level) == 0 || count_terms(b, level) == 0))
		level++;
	const size_t a_both = count_matches(a, b, level), b_both = count_matches(b, a, level);
	const size_t both = a_both < b_both ? a_both : b_both;
	const size_t either = same_kind_alone(a, b) ? both : count_terms(a, level) + count_terms(b, level) - both;
	out->overlap = either == both ? 1.0 : (double)both / (double)either;
	out->apart = either - both;
	out->same_kind = (a->kinds & b->kinds) != 0;
	out->same_marks = marks_in(a, b) && marks_in(b, a);
	out->same_sides = sides_agree(a, b) && sides_agree(b, a);
	out->same_qualifiers = qualifiers_in(a, b) && qualifiers_in(b, a) && governor_in(a, b) && governor_in(b, a) &&
			       possessed_in(a, b) && possessed_in(b, a);
	out->same_details = either == both || (both > 0 && same_details(a, b));
	out->same_head = either == both || level == ROLE_STOP || (head_in(a, b, level) && head_in(b, a, level));
}

int wording_compare(const char *a, size_t a_len, const char *b, size_t b_len, const char *subject, size_t subject_len,
		    struct wording *out)
{
	struct prompt x = { .folded = BUF_INIT }, y = x, about = x;
	struct wording_asked asked_for;
	int rc = prompt_read(a, a_len, &x);
	if (rc == 0)
		rc = prompt_read(b, b_len, &y);
	if (rc == 0)
		rc = prompt_read(subject, subject_len, &about);
	if (rc == 0) {
		terms_make(&about);
		prompt_classify(&x, &about);
		prompt_classify(&y, &about);
		compare(&x, &y, out);
		out->relation = relation_of(&x, &y, &asked_for);
		out->named = x.end > 0;
		out->covered = covers(&y, &x, out->relation == WORDING_SAME ? asked_for.keys : 0);
	}
	prompt_free(&x);
	prompt_free(&y);
	prompt_free(&about);
	return rc;
}

bool wording_alike(const struct wording *wording)
{
	if (wording->relation != WORDING_UNKNOWN)
		return wording->relation == WORDING_SAME;
	return wording->overlap >= WORDING_OVERLAP_MIN && wording->apart <= WORDING_APART_MAX && wording->same_kind &&
	       wording->same_marks && wording->same_head && wording->same_sides && wording->same_qualifiers &&
	       wording->same_details;
}

bool wording_alike_unnamed(const struct wording *wording)
{
	return wording->named && wording->covered && wording_alike(wording);
}

bool wording_is_content(const char *text, size_t len)
{
	const struct word word = { .text = text, .len = len };
	return !wording__listed(&word, stop_words) && !wording__listed(&word, light_words);
}
