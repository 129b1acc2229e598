/* wording_forms.c: inflections of English words, and how a word stands to the subject (wording_internal.h). */
#include "base/wording_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- Inflections */

struct form {
	const char *word, *stem;
};

/* Irregular verbs and plurals, and short verbs, whose stems are below what wording.c compares; sorted bytewise. */
static const struct form forms[] = {
	{ "aired", "air" },    { "airing", "air" },      { "airs", "air" },          { "bearing", "bear" },
	{ "began", "begin" },  { "beginning", "begin" }, { "begins", "begin" },      { "begun", "begin" },
	{ "bought", "buy" },   { "brought", "bring" },   { "builds", "build" },      { "built", "build" },
	{ "came", "come" },    { "children", "child" },  { "chose", "choose" },      { "chosen", "choose" },
	{ "comes", "come" },   { "coming", "come" },     { "countries", "country" }, { "died", "die" },
	{ "dies", "die" },     { "drawn", "draw" },      { "drew", "draw" },         { "dying", "die" },
	{ "fought", "fight" }, { "gave", "give" },       { "given", "give" },        { "gives", "give" },
	{ "giving", "give" },  { "gone", "go" },         { "grew", "grow" },         { "grown", "grow" },
	{ "laid", "lay" },     { "led", "lead" },        { "lies", "lie" },          { "living", "live" },
	{ "lost", "lose" },    { "lying", "lie" },       { "made", "make" },         { "makes", "make" },
	{ "making", "make" },  { "men", "man" },         { "met", "meet" },          { "owned", "own" },
	{ "owner", "own" },    { "owners", "own" },      { "owning", "own" },        { "owns", "own" },
	{ "paid", "pay" },     { "ran", "run" },         { "rose", "rise" },         { "running", "run" },
	{ "runs", "run" },     { "sang", "sing" },       { "sells", "sell" },        { "sings", "sing" },
	{ "sold", "sell" },    { "speaking", "speak" },  { "speaks", "speak" },      { "spoke", "speak" },
	{ "spoken", "speak" }, { "spouses", "spouse" },  { "sung", "sing" },         { "takes", "take" },
	{ "taking", "take" },  { "taught", "teach" },    { "told", "tell" },         { "took", "take" },
	{ "used", "use" },     { "uses", "use" },        { "using", "use" },         { "winner", "win" },
	{ "winning", "win" },  { "wins", "win" },        { "wives", "wife" },        { "women", "woman" },
	{ "won", "win" },      { "writing", "write" },   { "written", "write" },     { "wrote", "write" },
};

bool wording__is(const struct word *word, const char *text)
{
	return strlen(text) == word->len && memcmp(text, word->text, word->len) == 0;
}

bool wording__listed(const struct word *word, const char *const *list)
{
	for (; *list != NULL; list++) {
		if ((word->len == 0 || (*list)[0] == word->text[0]) && wording__is(word, *list))
			return true;
	}
	return false;
}

static int compare_form(const void *key, const void *element)
{
	const struct word *word = key;
	const struct form *form = element;
	const int order = strncmp(word->text, form->word, word->len);
	return order != 0 ? order : -(form->word[word->len] != '\0');
}

const char *wording__stem(const struct word *word)
{
	const struct form *form =
		bsearch(word, forms, sizeof(forms) / sizeof(forms[0]), sizeof(forms[0]), compare_form);
	return form != NULL ? form->stem : NULL;
}

/* What a regular inflection puts behind the base, and behind it without its last letter, by that letter. */
static bool regular(const struct word *word, const char *base, size_t len)
{
	static const char *const behind[] = { "s", "es", "ed", "ing", NULL }, *const behind_e[] = { "d", "s", NULL },
				 *const for_e[] = { "ing", NULL }, *const for_y[] = { "ies", "ied", NULL };
	const char last = base[len - 1];
	const char *rest = word->text + len;
	const size_t cut = len - 1;
	if (word->len > len && memcmp(word->text, base, len) == 0) {
		const struct word tail = { .text = rest, .len = word->len - len };
		const struct word twice = { .text = rest + 1, .len = word->len - len - 1 };
		return wording__listed(&tail, last == 'e' ? behind_e : behind) ||
		       (twice.len > 1 && rest[0] == last && wording__listed(&twice, behind + 2));
	}
	if (word->len <= cut || memcmp(word->text, base, cut) != 0)
		return false;
	const struct word tail = { .text = word->text + cut, .len = word->len - cut };
	return (last == 'e' && wording__listed(&tail, for_e)) || (last == 'y' && wording__listed(&tail, for_y));
}

bool wording__inflects(const struct word *word, const char *base)
{
	if (word->stem != NULL && strcmp(word->stem, base) == 0)
		return true;
	return base[0] == word->text[0] && (wording__is(word, base) || regular(word, base, strlen(base)));
}

bool wording__same_stem(const struct word *a, const struct word *b)
{
	if (a->stem == NULL && b->stem == NULL)
		return false;
	return a->stem != NULL ? wording__inflects(b, a->stem) : wording__inflects(a, b->stem);
}

/* ---- Sides */

static const char *const articles[] = { "a", "an", "the", NULL };
static const char *const being[] = { "are", "be", "been", "is", "was", "were", NULL };
static const char *const doing[] = { "did", "do", "does", NULL };
static const char *const asking[] = { "which", "what", "who", "whom", NULL };
static const char *const behind_verbs[] = { "after", "against", "before", "under", "over", NULL };
/* What may stand before a name to say what it is: "the film S"; the words of a row may mean one thing. */
static const char *const classes[][4] = { { "album" },   { "band", "group" },  { "book", "novel" }, { "city", "town" },
					  { "company" }, { "country" },        { "film", "movie" }, { "game" },
					  { "musical" }, { "opera" },          { "painting" },      { "play" },
					  { "poem" },    { "series", "show" }, { "song" },          { "village" } };
#define CLASS_COUNT (sizeof(classes) / sizeof(classes[0]))

/* CLASS_COUNT: of none. */
static size_t class_of(const struct word *word)
{
	size_t i = 0;
	while (i < CLASS_COUNT && !wording__listed(word, classes[i]))
		i++;
	return i;
}

static bool subject_at(const struct prompt *p, const struct prompt *subject, size_t at)
{
	for (size_t n = 0; n < subject->count; n++) {
		const struct word *a = &p->items[at + n], *b = &subject->items[n];
		if (a->len != b->len || memcmp(a->text, b->text, a->len) != 0)
			return false;
	}
	return true;
}

static void find_subject(struct prompt *p, const struct prompt *subject)
{
	p->start = p->end = 0;
	for (size_t i = 0; subject->count > 0 && p->end == 0 && i + subject->count <= p->count; i++) {
		if (subject_at(p, subject, i)) {
			p->start = i;
			p->end = i + subject->count;
		}
	}
}

static bool any_listed(const struct prompt *p, size_t first, size_t last, const char *const *list)
{
	for (size_t i = first; i < last; i++) {
		if (wording__listed(&p->items[i], list))
			return true;
	}
	return false;
}

/* The word that governs the subject: the one before it, articles and "the film" aside. */
static size_t before_subject(const struct prompt *p)
{
	size_t i = p->start;
	while (i > 0 && (wording__listed(&p->items[i - 1], articles) || class_of(&p->items[i - 1]) < CLASS_COUNT))
		i--;
	return i;
}

bool wording__is_class(const struct prompt *p, size_t i)
{
	return i >= p->governor && i < p->start && p->items[i].role == ROLE_CONTENT;
}

bool wording__same_class(const struct prompt *a, const struct prompt *b)
{
	bool both = false;
	for (size_t i = a->governor; i < a->start; i++) {
		for (size_t k = b->governor; k < b->start; k++) {
			if (!wording__is_class(a, i) || !wording__is_class(b, k))
				continue;
			if (class_of(&a->items[i]) == class_of(&b->items[k]))
				return true;
			both = true;
		}
	}
	return !both;
}

/* "By whom was S written?" */
static bool asks_by(const struct prompt *p)
{
	return p->kinds != KIND_WHEN && p->start > 1 && wording__is(&p->items[0], "by") &&
	       wording__listed(&p->items[1], asking);
}

static enum side side_before(const struct prompt *p, size_t i, size_t governor)
{
	if (i > 0 && wording__is(&p->items[i - 1], "whose"))
		return SIDE_INVERSE;
	if (i >= governor)
		return SIDE_BESIDE; /* an article or "film" */
	const struct word *word = &p->items[governor - 1];
	if (wording__listed(word, behind_verbs))
		return SIDE_BESIDE;
	if (i + 1 == governor)
		return SIDE_ACTED;
	if (wording__is(word, "of"))
		return SIDE_OF;
	if (wording__listed(word, being) || wording__listed(word, doing) || wording__is(word, "has"))
		return SIDE_ASKED;
	if (wording__is(word, "by"))
		return SIDE_ACTING;
	return word->role == ROLE_STOP ? SIDE_BESIDE : SIDE_ASKED;
}

static enum side side_behind(const struct prompt *p, size_t i)
{
	static const char *const by[] = { "by", NULL };
	const bool be_before = p->start > 0 && wording__listed(&p->items[p->start - 1], being);
	if (wording__is(&p->items[p->end], "s"))
		return SIDE_OF;
	if (any_listed(p, i + 1, p->count, by) || asks_by(p))
		return SIDE_ACTED;
	if (i == p->end && p->kinds == KIND_WHO && p->start > 0 && wording__listed(&p->items[p->start - 1], doing))
		return SIDE_OBJECT;
	if (be_before || any_listed(p, p->end, i, being))
		return any_listed(p, p->end, i, articles) ? SIDE_INVERSE : SIDE_PASSIVE;
	return SIDE_ACTING;
}

void wording__sides(struct prompt *p, const struct prompt *subject)
{
	find_subject(p, subject);
	p->governor = before_subject(p);
	for (size_t i = 0; p->end > 0 && i < p->count; i++) {
		if (i < p->start)
			p->items[i].side = side_before(p, i, p->governor);
		else if (i >= p->end)
			p->items[i].side = side_behind(p, i);
	}
}
