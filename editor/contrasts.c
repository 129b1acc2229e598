#include "editor/contrasts.h"

#include "base/text.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Each word before the bar must be said by both; behind it stands what is as good as it, and asks for nothing. */
static const char *const alone[] = {
	"second 2nd",
	"third 3rd",
	"fourth 4th",
	"fifth 5th",
	"sixth 6th",
	"seventh 7th",
	"eighth 8th",
	"ninth 9th",
	"tenth 10th",
	"eleventh 11th",
	"twelfth 12th",
	"former ex previous previously|formerly past earlier before prior once last old used until till original "
	"originally",
	"deputy vice assistant|vp second under associate",
	"acting interim|temporary caretaker provisional actor actress act film",
};
/* Sets of words, a bar between those that rule each other out. "May" is a month, and more often none. */
static const char *const sets[] = {
	"first 1st|last",
	"next upcoming incoming future|current currently present presently|previous previously former outgoing",
	"spring|summer|autumn fall|winter",
	"january|february|march|april|june|july|august|september|october|november|december",
	"monday mondays|tuesday tuesdays|wednesday wednesdays|thursday thursdays|friday fridays|saturday saturdays|"
	"sunday sundays",
	"weekday weekdays|weekend weekends",
	"morning mornings|afternoon afternoons|evening evenings night nights nightly",
	"breakfast|lunch|dinner supper",
	"north northern|south southern|east eastern|west western",
	"mother mothers mum mom|father fathers dad",
	"wife wives|husband husbands",
	"brother brothers|sister sisters",
	"son sons|daughter daughters",
	"uncle uncles|aunt aunts",
	"nephew nephews|niece nieces",
	"grandfather|grandmother",
	"grandson grandsons|granddaughter granddaughters",
	"male males man men boy boys|female females woman women girl girls lady ladies",
	"actor|actress",
	"king kings|queen queens",
	"prince|princess",
	"singles|doubles",
	"home|away",
	"junior juniors|senior seniors",
	"highest tallest|lowest",
	"largest biggest|smallest",
	"longest|shortest",
	"oldest|youngest",
	"fastest|slowest",
	"best|worst",
	"most|least fewest",
	"maximum max|minimum min",
	"left|right",
	"upper|lower",
	"inner|outer",
	"indoor indoors|outdoor outdoors",
	"primary|secondary",
	"domestic|international",
	"import imports imported|export exports exported",
	"arrival arrivals arrive arrives|departure departures depart departs",
	"entrance enter enters|exit exits",
	"born birth birthplace birthday birthdate|died die dies death",
	"open opens opened opening|close closes closed closing",
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
};
#define ALONE_COUNT (sizeof(alone) / sizeof(alone[0]))
#define SET_COUNT   (sizeof(sets) / sizeof(sets[0]))

/* ---- The lists as one table */

struct row {
	const char *word;
	size_t len, side;
};

static struct row rows[512];
static size_t row_count;
static size_t set_ends[SET_COUNT]; /* sides of set i end before; those of the first begin behind `alone`'s, two each */
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
	for (size_t i = 0; i < ALONE_COUNT; i++)
		(void)add_line(alone[i], 2 * i);
	for (size_t i = 0, side = 2 * ALONE_COUNT; i < SET_COUNT; i++)
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

void editor__contrasts_add(struct editor__contrasts *said, const char *word, size_t len)
{
	for (size_t i = find(word, len); i < row_count && compare_words(rows[i].word, rows[i].len, word, len) == 0; i++)
		said->bits[rows[i].side / 64] |= UINT64_C(1) << rows[i].side % 64;
}

static int add_word(void *context, const char *word, size_t len)
{
	editor__contrasts_add(context, word, len);
	return 0;
}

int editor__contrasts_in(struct editor__contrasts *said, const char *text, size_t len)
{
	return text_words(text, len, add_word, said);
}

bool editor__contrasts_has(const char *word, size_t len)
{
	return find(word, len) < row_count;
}

static bool lacks(const struct editor__contrasts *asked, const struct editor__contrasts *other, size_t side)
{
	return says(asked, side) && !says(other, side) && !says(other, side + 1);
}

/* Of the set one says a side that the other, which says another, does not. */
static bool ruled_out(const struct editor__contrasts *asked, const struct editor__contrasts *edit, size_t first,
		      size_t end)
{
	bool other = false, missing = false;
	for (size_t side = first; side < end; side++) {
		other |= says(edit, side);
		missing |= says(asked, side) && !says(edit, side);
	}
	return other && missing;
}

bool editor__contrasts_meet(const struct editor__contrasts *a, const struct editor__contrasts *b)
{
	uint64_t both = 0;
	for (size_t i = 0; i < sizeof(a->bits) / sizeof(a->bits[0]); i++)
		both |= a->bits[i] & b->bits[i];
	return both != 0;
}

bool editor__contrasts_apart(const struct editor__contrasts *asked, const struct editor__contrasts *text,
			     const struct editor__contrasts *edit)
{
	bool apart = false;
	for (size_t side = 0; side < 2 * ALONE_COUNT && !apart; side += 2)
		apart = lacks(asked, edit, side) || lacks(edit, text, side);
	for (size_t i = 0, first = 2 * ALONE_COUNT; i < SET_COUNT && !apart; first = set_ends[i++])
		apart = ruled_out(asked, edit, first, set_ends[i]);
	return apart;
}
