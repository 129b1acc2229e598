#include "editor/contrasts.h"

#include "base/wording.h"
#include "editor/words.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* What tells which one of several is meant, before the noun ("the third wife", "the deputy mayor"): where both say the
 * noun, both must say it. Behind the bar stands what is as good as it, and asks for nothing by itself. */
static const char *const marks[] = {
	"inlaw", /* "in law", behind its noun */
	"second 2nd|two 2",
	"third 3rd|three 3",
	"fourth 4th|four 4",
	"fifth 5th|five 5",
	"sixth 6th|six 6",
	"seventh 7th|seven 7",
	"eighth 8th|eight 8",
	"ninth 9th|nine 9",
	"tenth 10th|ten 10",
	"eleventh 11th|eleven 11",
	"twelfth 12th|twelve 12",
	"first 1st|1 original originally earliest initial inaugural",
	"last|final latest",
	"next upcoming incoming future|new coming",
	"former ex previous|previously formerly past earlier before prior once last old used until till original "
	"originally was were",
	"old|former ancient",
	"deputy vice assistant|vp second under associate",
	"acting interim|temporary caretaker provisional",
	"half|step",
	"step|half",
	"semi",
	"co",
	"adoptive foster|adopted",
	"grand",
	"great",
	"god",
};
/* The same of somebody ("the wife of the mayor", "the mayor's wife"). */
static const char *const relatives[] = {
	"wife wives husband husbands spouse|married marries marry marrying marriage partner",
	"mother mothers father fathers parent parents mum mom dad|born",
	"son sons daughter daughters child children",
	"brother brothers sister sisters sibling siblings",
	"uncle uncles aunt aunts nephew nephews niece nieces",
	"successor successors|succeeded succeeds succeed follows follow followed after next",
	"predecessor predecessors|succeeded succeed before preceded precedes previous former",
};
/* What compounds are made of: "stepmother" and "step-mother" are one. */
static const char *const fronts[] = { "step", "grand", "great", "god", "half", "ex", "vice", "co" };
static const char *const kin[] = { "mother",  "mothers",  "father",    "fathers", "parent",   "parents", "son",
				   "sons",    "daughter", "daughters", "child",   "children", "brother", "brothers",
				   "sister",  "sisters",  "uncle",     "uncles",  "aunt",     "aunts",   "nephew",
				   "nephews", "niece",    "nieces",    "grand",   "step" };
static const char *const offices[] = { "wife",    "husband",  "president", "chair",   "chairman",
				       "founder", "founders", "author",    "authors", "owner",
				       "owners",  "pilot",    "director",  "writer",  "producer" };
/* Sets of words, a bar between those that rule each other out. A word of two sides goes with both. "May" is a month,
 * and more often none. */
static const char *const sets[] = {
	"first|last",
	"next upcoming incoming future|current currently present presently|previous previously former outgoing",
	"spring|summer|autumn fall|winter",
	"january|february|march|april|june|july|august|september|october|november|december",
	"monday mondays|tuesday tuesdays|wednesday wednesdays|thursday thursdays|friday fridays|saturday "
	"saturdays|sunday sundays",
	"weekday weekdays|weekend weekends",
	"morning mornings|afternoon afternoons|evening evenings night nights nightly",
	"breakfast|lunch|dinner supper",
	"north northern|south southern|east eastern|west western",
	"wife wives husband husbands spouse spouses married marry marries|mother mothers mum mom birth born|father "
	"fathers "
	"dad|"
	"son sons|daughter daughters|brother brothers|sister sisters|uncle uncles|aunt aunts|nephew nephews|"
	"niece nieces|cousin cousins",
	"male males man men boy boys|female females woman women girl girls lady ladies",
	"king kings|queen queens",
	"prince|princess",
	"singles|doubles",
	"junior juniors|senior seniors",
	"highest tallest|lowest",
	"largest biggest|smallest",
	"longest|shortest",
	"oldest|youngest",
	"fastest|slowest",
	"best|worst",
	"maximum max|minimum min",
	"upper|lower",
	"inner|outer",
	"indoor indoors|outdoor outdoors",
	"primary|secondary",
	"domestic|international",
	"import imports imported|export exports exported",
	"arrival arrivals arrive arrives|departure departures depart departs",
	"entrance enter enters|exit exits",
	"born birth birthplace birthday birthdate|died die dies death",
	"open opens opened until till hours late|close closes closed closing until till hours late",
	"start starts started starting begin begins began beginning|end ends ended ending",
	"won win wins winner winners|lost lose loses loser losers",
	"before|after",
	"attack|defence defense",
	"input|output",
	"upload|download",
	"debit|credit",
	"sunrise|sunset",
	"top|bottom",
	"front|back rear",
	"hourly|daily|weekly|monthly|quarterly|yearly annual annually",
	"gross|net",
	"gold|silver|bronze",
	"bus buses|train trains|tram trams|ferry ferries|flight flights|taxi taxis",
	/* "who wrote the song" is who composed it */
	"wrote write writes written writer author composed compose composes composer|painted paints painter|"
	"directed directs director|illustrated illustrates illustrator|translated translates translator|"
	"edited edits editor|sculpted sculptor|photographed photographer|"
	"produced produces producer",
	"american america|arabic|australian australia|british britain english england|canadian canada|chinese china|"
	"czech|danish denmark|dutch netherlands|finnish finland|french france|german germany|greek greece|"
	"hindi indian india|hungarian hungary|irish ireland|italian italy|japanese japan|korean korea|latin|"
	"norwegian norway|polish poland|portuguese portugal|russian russia|scottish scotland|spanish spain|"
	"swedish sweden|swiss switzerland|turkish turkey|ukrainian ukraine|welsh wales",
	"when date year day time month|where city town place location located headquarters for|why|who whom whose for",
	"height tall|length long|width wide", /* not below: "long" asks for a time, too */
	"ceo executive|cfo financial finance|cto technology technical|coo operating operations|cmo marketing|"
	"chair chairman chairwoman chairperson|sales|support|hr personnel|legal",
	/* what is asked of somebody or something */
	"height tall|width wide|depth deep|weight heavy weigh weighs|speed fast|price cost costs|temperature|age old|"
	"population inhabitants residents people|area|capital|currency|language|religion|anthem|genre|instrument|"
	"nationality citizenship|occupation profession job|sport|salary wage|phone telephone|email|address "
	"addresses|fax|website url address|"
	"deadline|headcount people|coach coaches|captain|stadium|sponsor sponsors|mayor|governor|battery|screen|camera|"
	"warranty|calories|licence license|version|mascot|motto|colour color|diameter|dose dosage|password|"
	"postcode zip|climate|airport|newspaper|budget",
};
/* Nouns that an answer's form asks for, whatever is meant ("the last year of X": "which year did X end?"). */
static const char *const no_nouns[] = { "date", "day", "name", "time", "year" };
#define COUNT(a)       (sizeof(a) / sizeof((a)[0]))
#define MARK_COUNT     (COUNT(marks) + COUNT(relatives)) /* of which each has two sides */
#define SET_COUNT      COUNT(sets)
#define RELATIVES_SIDE (2 * COUNT(marks))
#define SETS_SIDE      (2 * MARK_COUNT)

/* ---- The lists as one table */

#define SLOTS 1024u /* a power of two */

static struct row {
	const char *word; /* NULL: none */
	uint64_t hash;
	size_t len, side, set; /* set: SET_COUNT where it is of none */
} rows[SLOTS];                 /* by hash; those of one word one behind the other, with no gap */
static uint64_t set_bits[SET_COUNT][COUNT(((struct editor__contrasts *)0)->bits)];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void add_row(const char *word, size_t len, size_t side, size_t set)
{
	static size_t count;
	const uint64_t hash = editor__word_hash(word, len);
	size_t at = hash % SLOTS;
	count++;
	assert(count < SLOTS); /* which ends every search */
	while (rows[at].word != NULL)
		at = (at + 1) % SLOTS;
	rows[at] = (struct row){ word, hash, len, side, set };
	if (set < SET_COUNT)
		set_bits[set][side / 64] |= UINT64_C(1) << side % 64;
}

/* Each run between bars is a side, from `side` on; the side behind the last. */
static size_t add_line(const char *line, size_t side, size_t set)
{
	for (const char *at = line; *at != '\0';) {
		const size_t len = strcspn(at, " |");
		add_row(at, len, side, set);
		side += at[len] == '|';
		at += len + (at[len] != '\0');
	}
	assert(side < 64 * COUNT(set_bits[0]));
	return side + 1;
}

static void build(void)
{
	_Static_assert(SET_COUNT <= 64, "sets are bits of editor__contrasts.sets");
	for (size_t i = 0; i < COUNT(marks); i++)
		(void)add_line(marks[i], 2 * i, SET_COUNT);
	for (size_t i = 0; i < COUNT(relatives); i++)
		(void)add_line(relatives[i], RELATIVES_SIDE + 2 * i, SET_COUNT);
	for (size_t i = 0, side = SETS_SIDE; i < SET_COUNT; i++)
		side = add_line(sets[i], side, i);
}

/* ---- Words, compounds as two */

struct token {
	const char *text; /* NULL: none */
	size_t len;
};
struct tokens {
	const char *words;
	size_t len, at;
	struct token rest; /* of a compound */
};

static bool token_is(struct token token, const char *word)
{
	return token.text[0] == word[0] && token.len == strlen(word) && memcmp(token.text, word, token.len) == 0;
}

static bool is_one_of(struct token token, const char *const *list, size_t count)
{
	return editor__word_is_one_of(token.text, token.len, list, count);
}

/* How long the front of a compound is; 0: it is none. */
static size_t front_of(struct token token)
{
	for (size_t i = 0; i < COUNT(fronts); i++) {
		const size_t n = strlen(fronts[i]);
		if (token.len <= n || token.text[0] != fronts[i][0] || memcmp(token.text, fronts[i], n) != 0)
			continue;
		const struct token rest = { token.text + n, token.len - n };
		if (is_one_of(rest, kin, COUNT(kin)) || is_one_of(rest, offices, COUNT(offices)) || front_of(rest) > 0)
			return n;
	}
	return 0;
}

static struct token next_token(struct tokens *tokens)
{
	struct token token = tokens->rest;
	tokens->rest.text = NULL;
	if (token.text == NULL && !editor__words_next(tokens->words, tokens->len, &tokens->at, &token.text, &token.len))
		return (struct token){ NULL, 0 };
	const size_t front = front_of(token);
	if (front > 0) {
		tokens->rest = (struct token){ token.text + front, token.len - front };
		token.len = front;
	}
	return token;
}

/* ---- What is said */

static bool says(const struct editor__contrasts *said, size_t side)
{
	return (said->bits[side / 64] >> side % 64 & 1) != 0;
}

static bool is_noun(struct token token)
{
	return token.text != NULL && !is_one_of(token, no_nouns, COUNT(no_nouns)) &&
	       wording_is_content(token.text, token.len);
}

static void add_mark(struct editor__contrasts *said, size_t side, struct token noun)
{
	if (said->marked_count < EDITOR__CONTRASTS_MARKED && is_noun(noun))
		said->marked[said->marked_count++] =
			(struct editor__marked){ editor__word_hash(noun.text, noun.len), side };
}

/* Whose "the wife of the mayor" and "the mayor's wife" is; around[2] is the wife. */
static struct token whose(const struct token around[6])
{
	static const char *const articles[] = { "a", "an", "her", "his", "its", "the", "their" };
	if (around[1].text != NULL && token_is(around[1], "s"))
		return around[0];
	if (around[3].text == NULL || !token_is(around[3], "of"))
		return (struct token){ NULL, 0 };
	return around[4].text != NULL && is_one_of(around[4], articles, COUNT(articles)) ? around[5] : around[4];
}

static bool is_of_kin(const char *mark)
{
	return strcmp(mark, "grand") == 0 || strcmp(mark, "great") == 0 || strcmp(mark, "god") == 0;
}

/* "takes place" asks for no place; "who does she work for?" asks for whom or where, and only "for" at its end does. */
static bool says_nothing(const struct token around[6])
{
	static const char *const takes[] = { "take", "taken", "takes", "taking", "took" };
	return (token_is(around[2], "place") && around[1].text != NULL && is_one_of(around[1], takes, COUNT(takes))) ||
	       (token_is(around[2], "for") && around[3].text != NULL);
}

/* around[2], with the tokens before and behind it. */
static void add_token(struct editor__contrasts *said, const struct token around[6])
{
	const struct token token = around[2], next = around[3];
	if (says_nothing(around))
		return;
	const uint64_t hash = editor__word_hash(token.text, token.len);
	for (size_t i = hash % SLOTS; rows[i].word != NULL; i = (i + 1) % SLOTS) {
		const struct row *row = &rows[i];
		if (row->hash != hash || row->len != token.len || memcmp(row->word, token.text, token.len) != 0)
			continue;
		said->bits[row->side / 64] |= UINT64_C(1) << row->side % 64;
		said->sets |= row->set < SET_COUNT ? UINT64_C(1) << row->set : 0;
		if (row->side >= SETS_SIDE || row->side % 2 != 0)
			continue;
		if (row->side >= RELATIVES_SIDE)
			add_mark(said, row->side, whose(around));
		else if (next.text != NULL && (!is_of_kin(row->word) || is_one_of(next, kin, COUNT(kin))))
			add_mark(said, row->side, next);
	}
}

static bool is_in_law(const struct token around[6])
{
	return around[3].text != NULL && token_is(around[3], "in") && around[4].text != NULL &&
	       token_is(around[4], "law") && is_one_of(around[2], kin, COUNT(kin));
}

static void add_in_law(struct editor__contrasts *said, struct token noun)
{
	const size_t side = 0; /* the first mark */
	said->bits[side / 64] |= UINT64_C(1) << side % 64;
	add_mark(said, side, noun);
}

void editor__contrasts_in(struct editor__contrasts *said, const char *words, size_t len)
{
	struct tokens tokens = { words, len, 0, { NULL, 0 } };
	struct token around[6] = { { NULL, 0 } };
	(void)pthread_once(&once, build);
	*said = (struct editor__contrasts){ 0 };
	for (size_t i = 3; i < 6; i++)
		around[i] = next_token(&tokens);
	while (around[3].text != NULL) {
		memmove(around, around + 1, 5 * sizeof(around[0]));
		around[5] = next_token(&tokens);
		add_token(said, around);
		if (is_in_law(around))
			add_in_law(said, around[2]);
	}
}

/* ---- What is told apart */

static bool says_noun(uint64_t noun, const char *words, size_t len)
{
	struct tokens tokens = { words, len, 0, { NULL, 0 } };
	for (struct token token = next_token(&tokens); token.text != NULL; token = next_token(&tokens)) {
		if (editor__word_hash(token.text, token.len) == noun)
			return true;
	}
	return false;
}

/* Whether `other`, whose words these are, says the noun of a mark without what it, or what is like it. */
static bool lacks(const struct editor__contrasts *said, const struct editor__contrasts *other, const char *words,
		  size_t len)
{
	for (size_t i = 0; i < said->marked_count; i++) {
		const size_t side = said->marked[i].side;
		if (!says(other, side) && !says(other, side + 1) && says_noun(said->marked[i].noun, words, len))
			return true;
	}
	return false;
}

/* Whether of a set that both say of they say nothing in common. */
static bool ruled_out(const struct editor__contrasts *a, const struct editor__contrasts *b)
{
	for (uint64_t left = a->sets & b->sets; left != 0; left &= left - 1) {
		const uint64_t *set = set_bits[__builtin_ctzll(left)];
		uint64_t common = 0;
		for (size_t i = 0; i < COUNT(a->bits); i++)
			common |= a->bits[i] & b->bits[i] & set[i];
		if (common == 0)
			return true;
	}
	return false;
}

bool editor__contrasts_apart(const struct editor__saying *asked, const struct editor__saying *text,
			     const struct editor__saying *edit)
{
	return ruled_out(asked->contrasts, edit->contrasts) ||
	       lacks(asked->contrasts, edit->contrasts, edit->words, edit->words_len) ||
	       lacks(edit->contrasts, text->contrasts, text->words, text->words_len);
}
