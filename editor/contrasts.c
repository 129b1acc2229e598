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
};
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
	"mother mothers mum mom|father fathers dad|grandmother|grandfather|stepmother|stepfather",
	"brother brothers|sister sisters",
	"son sons|daughter daughters|grandson grandsons|granddaughter granddaughters",
	"uncle uncles|aunt aunts",
	"nephew nephews|niece nieces",
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
	"when date year|where city town|why",
};
/* Nouns that an answer's form asks for, whatever is meant ("the last year of X": "which year did X end?"). */
static const char *const no_nouns[] = { "date", "day", "name", "time", "year" };
#define MARK_COUNT (sizeof(marks) / sizeof(marks[0]))
#define SET_COUNT  (sizeof(sets) / sizeof(sets[0]))

/* ---- The lists as one table */

struct row {
	const char *word;
	size_t len, side;
};

static struct row rows[512];
static size_t row_count;
static size_t set_ends[SET_COUNT]; /* sides of set i end before; those of the first begin behind the marks', two each */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static int compare_words(const char *a, size_t a_len, const char *b, size_t b_len)
{
	const int order = memcmp(a, b, a_len < b_len ? a_len : b_len);
	return order != 0 ? order : (a_len > b_len) - (a_len < b_len);
}

static int by_word(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	return compare_words(x->word, x->len, y->word, y->len);
}

/* Each run between bars is a side, from `side` on; the side behind the last. */
static size_t add_line(const char *line, size_t side)
{
	for (const char *at = line; *at != '\0';) {
		const size_t len = strcspn(at, " |");
		assert(row_count < sizeof(rows) / sizeof(rows[0]));
		rows[row_count++] = (struct row){ at, len, side };
		side += at[len] == '|';
		at += len + (at[len] != '\0');
	}
	assert(side < 64 * sizeof(((struct editor__contrasts *)0)->bits) / sizeof(uint64_t));
	return side + 1;
}

static void build(void)
{
	for (size_t i = 0; i < MARK_COUNT; i++)
		(void)add_line(marks[i], 2 * i);
	for (size_t i = 0, side = 2 * MARK_COUNT; i < SET_COUNT; i++)
		set_ends[i] = side = add_line(sets[i], side);
	qsort(rows, row_count, sizeof(rows[0]), by_word);
}

/* The first row of the word, of which some have two; row_count: none. */
static size_t find(const char *word, size_t len)
{
	(void)pthread_once(&once, build);
	size_t low = 0;
	for (size_t high = row_count; low < high;) {
		const size_t mid = low + (high - low) / 2;
		if (compare_words(rows[mid].word, rows[mid].len, word, len) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low < row_count && compare_words(rows[low].word, rows[low].len, word, len) == 0 ? low : row_count;
}

/* ---- What is said */

static bool says(const struct editor__contrasts *said, size_t side)
{
	return (said->bits[side / 64] >> side % 64 & 1) != 0;
}

static bool is_mark(size_t side)
{
	return side < 2 * MARK_COUNT && side % 2 == 0;
}

static bool is_noun(const char *word, size_t len)
{
	for (size_t i = 0; i < sizeof(no_nouns) / sizeof(no_nouns[0]); i++) {
		if (compare_words(no_nouns[i], strlen(no_nouns[i]), word, len) == 0)
			return false;
	}
	return wording_is_content(word, len);
}

static void add_word(struct editor__contrasts *said, const char *word, size_t len, const char *next, size_t next_len)
{
	for (size_t i = find(word, len); i < row_count && compare_words(rows[i].word, rows[i].len, word, len) == 0;
	     i++) {
		const size_t side = rows[i].side;
		said->bits[side / 64] |= UINT64_C(1) << side % 64;
		if (is_mark(side) && said->marked_count < EDITOR__CONTRASTS_MARKED && next != NULL &&
		    is_noun(next, next_len))
			said->marked[said->marked_count++] =
				(struct editor__marked){ side, editor__word_hash(next, next_len) };
	}
}

void editor__contrasts_in(struct editor__contrasts *said, const char *words, size_t len)
{
	const char *word, *next = NULL;
	*said = (struct editor__contrasts){ 0 };
	size_t at = 0, word_len = 0, next_len = 0;
	bool more = editor__words_next(words, len, &at, &word, &word_len);
	while (more) {
		more = editor__words_next(words, len, &at, &next, &next_len);
		add_word(said, word, word_len, more ? next : NULL, next_len);
		word = next;
		word_len = next_len;
	}
}

static bool says_noun(uint64_t noun, const char *words, size_t len)
{
	const char *word;
	for (size_t at = 0, word_len; editor__words_next(words, len, &at, &word, &word_len);) {
		if (editor__word_hash(word, word_len) == noun)
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

/* Whether the two say of the set, and nothing in common. */
static bool ruled_out(const struct editor__contrasts *a, const struct editor__contrasts *b, size_t first, size_t end)
{
	bool one = false, other = false, both = false;
	for (size_t side = first; side < end; side++) {
		one |= says(a, side);
		other |= says(b, side);
		both |= says(a, side) && says(b, side);
	}
	return one && other && !both;
}

bool editor__contrasts_apart(const struct editor__saying *asked, const struct editor__saying *text,
			     const struct editor__saying *edit)
{
	bool apart = lacks(asked->contrasts, edit->contrasts, edit->words, edit->words_len) ||
		     lacks(edit->contrasts, text->contrasts, text->words, text->words_len);
	for (size_t i = 0, first = 2 * MARK_COUNT; i < SET_COUNT && !apart; first = set_ends[i++])
		apart = ruled_out(asked->contrasts, edit->contrasts, first, set_ends[i]);
	return apart;
}
