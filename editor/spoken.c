#include "editor/spoken.h"

#include <stdbool.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct numeral {
	const char *word;
	unsigned value;
	bool last; /* an ordinal: nothing of the number comes behind it */
};
static const struct numeral numerals[] = {
	{ "one", 1, false },          { "two", 2, false },         { "three", 3, false },
	{ "four", 4, false },         { "five", 5, false },        { "six", 6, false },
	{ "seven", 7, false },        { "eight", 8, false },       { "nine", 9, false },
	{ "ten", 10, false },         { "eleven", 11, false },     { "twelve", 12, false },
	{ "thirteen", 13, false },    { "fourteen", 14, false },   { "fifteen", 15, false },
	{ "sixteen", 16, false },     { "seventeen", 17, false },  { "eighteen", 18, false },
	{ "nineteen", 19, false },    { "twenty", 20, false },     { "thirty", 30, false },
	{ "forty", 40, false },       { "fifty", 50, false },      { "sixty", 60, false },
	{ "seventy", 70, false },     { "eighty", 80, false },     { "ninety", 90, false },
	{ "hundred", 100, false },    { "thousand", 1000, false }, { "first", 1, true },
	{ "second", 2, true },        { "third", 3, true },        { "fourth", 4, true },
	{ "fifth", 5, true },         { "sixth", 6, true },        { "seventh", 7, true },
	{ "eighth", 8, true },        { "ninth", 9, true },        { "tenth", 10, true },
	{ "eleventh", 11, true },     { "twelfth", 12, true },     { "thirteenth", 13, true },
	{ "fourteenth", 14, true },   { "fifteenth", 15, true },   { "sixteenth", 16, true },
	{ "seventeenth", 17, true },  { "eighteenth", 18, true },  { "nineteenth", 19, true },
	{ "twentieth", 20, true },    { "thirtieth", 30, true },   { "fortieth", 40, true },
	{ "fiftieth", 50, true },     { "sixtieth", 60, true },    { "seventieth", 70, true },
	{ "eightieth", 80, true },    { "ninetieth", 90, true },   { "hundredth", 100, true },
	{ "thousandth", 1000, true },
};

static const struct numeral *find(const char *word, size_t len)
{
	for (size_t i = 0; i < COUNT(numerals); i++) {
		if (strlen(numerals[i].word) == len && memcmp(numerals[i].word, word, len) == 0)
			return &numerals[i];
	}
	return NULL;
}

static bool is_letter(char c)
{
	return c >= 'a' && c <= 'z';
}

static size_t word_at(const char *text, size_t len, size_t at)
{
	size_t end = at;
	while (end < len && is_letter(text[end]))
		end++;
	return end - at;
}

/* The word behind byte `at`, one space or hyphen between. */
static size_t word_behind(const char *text, size_t len, size_t *at)
{
	if (*at + 1 >= len || (text[*at] != ' ' && text[*at] != '-'))
		return 0;
	++*at;
	return word_at(text, len, *at);
}

struct said {
	uint64_t thousands, century, value; /* century: of "nineteen ninety", where two numbers below 100 are a year */
};

static bool take_scale(struct said *said, unsigned scale)
{
	if (scale == 1000) {
		if (said->thousands > 0 || said->century > 0 || said->value == 0)
			return false;
		said->thousands = said->value * scale;
		said->value = 0;
		return true;
	}
	if (said->century > 0 || said->value == 0 || said->value >= 100)
		return false;
	said->value *= scale;
	return true;
}

/* Whether the numeral belongs to the number, which it then is a part of. */
static bool take(struct said *said, unsigned value)
{
	if (value >= 100)
		return take_scale(said, value);
	const bool is_round = said->value % 100 == 0 && (said->value > 0 || said->thousands > 0);
	if (is_round || (value < 10 && said->value % 100 >= 20 && said->value % 10 == 0)) {
		said->value += value;
		return true;
	}
	if (said->thousands > 0 || said->century > 0 || said->value < 10 || said->value >= 100 || value < 10)
		return false;
	said->century = said->value;
	said->value = value;
	return true;
}

uint64_t editor__spoken_at(const char *text, size_t len, size_t at, size_t *end)
{
	const struct numeral *numeral = find(text + at, word_at(text, len, at));
	if (numeral == NULL || numeral->value >= 100)
		return 0;
	struct said said = { .value = numeral->value };
	*end = at + strlen(numeral->word);
	while (!numeral->last) {
		size_t next = *end, n = word_behind(text, len, &next);
		if (n == 3 && memcmp(text + next, "and", 3) == 0 && said.value % 100 == 0) {
			next += n;
			n = word_behind(text, len, &next);
		}
		numeral = n > 0 ? find(text + next, n) : NULL;
		if (numeral == NULL || !take(&said, numeral->value))
			break;
		*end = next + n;
	}
	return said.thousands + 100 * said.century + said.value;
}

unsigned editor__spoken_decade(const char *word, size_t len)
{
	static const char *const decades[] = { "twenties", "thirties",  "forties",  "fifties",
					       "sixties",  "seventies", "eighties", "nineties" };
	for (unsigned i = 0; i < COUNT(decades); i++) {
		if (strlen(decades[i]) == len && memcmp(decades[i], word, len) == 0)
			return 20 + 10 * i;
	}
	return 0;
}
