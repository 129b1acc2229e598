#include "editor/numbers.h"

#include "base/wording.h"
#include "editor/clock.h"
#include "editor/spoken.h"
#include "editor/words.h"

#include <stdio.h>
#include <string.h>

#define VALUE_DIGITS_MAX 18u
#define SEASON_DIGITS    2u
#define YEAR_DIGITS      4u
#define GROUP_DIGITS     3u /* of thousands; a number that counts texts has no more either */
#define COUNT(a)         (sizeof(a) / sizeof((a)[0]))

struct run {
	const char *at;
	size_t len;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_plain(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z');
}

static size_t count_digits(const char *text, size_t len)
{
	size_t count = 0;
	while (count < len && is_digit(text[count]))
		count++;
	return count;
}

static bool is_one_of(struct run run, const char *const *list, size_t count)
{
	return editor__word_is_one_of(run.at, run.len, list, count);
}

bool editor__is_number(const char *word, size_t len)
{
	return editor__word_is_numeral(word, len) && (len > 1 || is_digit(word[0]));
}

/* The run of letters and digits from *at on, which moves behind it. false: no more. */
static bool next_run(const char *text, size_t len, size_t *at, struct run *run)
{
	while (*at < len && !is_plain(text[*at]))
		++*at;
	if (*at >= len)
		return false;
	run->at = text + *at;
	run->len = 0;
	while (*at < len && is_plain(text[*at])) {
		++*at;
		run->len++;
	}
	return true;
}

/* ---- Of a query */

static struct run word_of(const struct editor__query *query, size_t word)
{
	const size_t from = word > 0 ? query->ends[word - 1] : 0;
	return (struct run){ (const char *)query->words.data + from, query->ends[word] - from };
}

/* "vi" is we in Danish, Xi a name, xx kisses. */
static bool is_word_too(struct run run)
{
	return run.len == 2 &&
	       (memcmp(run.at, "vi", 2) == 0 || memcmp(run.at, "xi", 2) == 0 || memcmp(run.at, "xx", 2) == 0);
}

static bool has_small_letter(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (text[i] >= 'a' && text[i] <= 'z')
			return true;
	}
	return false;
}

/* ---- What counts the text or says how to answer */

static bool is_short_number(struct run run)
{
	return run.len <= GROUP_DIGITS && editor__is_number(run.at, run.len);
}

static bool is_label(struct run word)
{
	static const char *const labels[] = { "exercise", "item",  "no",       "nr",   "number", "problem", "q",
					      "qn",       "query", "question", "quiz", "riddle", "task",    "trivia" };
	return is_one_of(word, labels, COUNT(labels));
}

/* The word behind what counts the text: "5) Who …", "12. Who …", "Q5: Who …", "Question 12 of 20 - who …". */
static size_t behind_label(const struct editor__query *query, const char *text)
{
	const size_t count = query->word_count, first = is_label(word_of(query, 0)) ? 1 : 0;
	size_t i = first;
	while (i < count && is_short_number(word_of(query, i)))
		i += i + 1 < count && word_of(query, i + 1).len == 2 && memcmp(word_of(query, i + 1).at, "of", 2) == 0
			     ? 2
			     : 1;
	if (i == first || i >= count)
		return 0;
	const char *mark = text + query->spans[i - 1].end;
	const bool dash = strncmp(mark, " -", 2) == 0 || strncmp(mark, " \xE2\x80\x93", 4) == 0 ||
			  strncmp(mark, " \xE2\x80\x94", 4) == 0;
	return dash || (memchr(".):],-", mark[0], 6) != NULL && (mark[1] == ' ' || mark[1] == '\n')) ? i : 0;
}

/* The word behind a bracket that opens the text and says its number or what it counts: "(2 points) Who …". */
static size_t behind_bracket(const struct editor__query *query, const char *text)
{
	static const char *const scores[] = { "mark", "marks", "of", "point", "points", "pt", "pts" };
	const char *open = text + strspn(text, " \n\t"), *close = *open == '(' ? strchr(open, ')') : NULL;
	close = *open == '[' ? strchr(open, ']') : close;
	size_t i = 0;
	for (; close != NULL && i < query->word_count && text + query->spans[i].end <= close; i++) {
		const struct run word = word_of(query, i);
		if (!is_short_number(word) && !is_one_of(word, scores, COUNT(scores)) && !is_label(word))
			return 0; /* "(In 2028) who …", "(Season 3) who …" */
	}
	return i < query->word_count ? i : 0;
}

/* "in 10 words", "in 2 or 3 sentences" from the number on. */
static bool says_how(const struct editor__query *query, size_t word)
{
	static const char *const before[] = { "about", "around", "at", "exactly", "in",    "least", "maximum", "most",
					      "or",    "than",   "to", "under",   "using", "with",  "within" },
				 *const units[] = { "bullet", "bullets",   "characters", "letters",  "line",
						    "lines",  "paragraph", "paragraphs", "sentence", "sentences",
						    "token",  "tokens",    "word",       "words" },
				 *const joined[] = { "or", "to" };
	size_t unit = word + 1;
	if (word == 0 || !(is_one_of(word_of(query, word - 1), before, COUNT(before)) ||
			   (word > 1 && editor__is_number(word_of(query, word - 1).at, word_of(query, word - 1).len))))
		return false;
	if (unit < query->word_count && is_one_of(word_of(query, unit), joined, COUNT(joined)))
		unit++;
	if (unit < query->word_count && is_short_number(word_of(query, unit)))
		unit++;
	return unit < query->word_count && is_one_of(word_of(query, unit), units, COUNT(units));
}

/* ---- Of the rest */

/* The word behind is the next group of the number that ends with this word. */
static bool goes_on(const struct editor__query *query, size_t word, const char *text)
{
	if (word + 1 >= query->word_count || query->spans[word + 1].start != query->spans[word].end + 1)
		return false;
	const struct run this = word_of(query, word), next = word_of(query, word + 1);
	const char mark = text[query->spans[word].end];
	return (mark == ',' || mark == '.') && this.len <= GROUP_DIGITS && next.len == GROUP_DIGITS &&
	       count_digits(this.at, this.len) == this.len && count_digits(next.at, next.len) == next.len;
}

static void put(struct buf *out, size_t start, struct run run)
{
	if (out->len > start)
		buf_u8(out, ' ');
	buf_append(out, run.at, run.len);
}

/* Those inside one word: letters of other scripts need no space around them. */
static void put_numbers_of(const struct editor__query *query, size_t word, const char *text, struct buf *out,
			   size_t start)
{
	const size_t from = query->spans[word].start, end = query->spans[word].end;
	const struct run all = word_of(query, word);
	struct run run;
	for (size_t at = 0; next_run(all.at, all.len, &at, &run);) {
		if (editor__is_number(run.at, run.len) &&
		    (!is_word_too(run) || !has_small_letter(text + from, end - from)))
			put(out, start, run);
	}
}

static void put_clock(struct buf *out, size_t start, const struct editor__clock *clock)
{
	char text[16];
	const unsigned hours = clock->minute / 60;
	const int len = snprintf(text, sizeof(text), "%u:%02u%s", hours % 12 == 0 ? 12 : hours % 12, clock->minute % 60,
				 !clock->sure ? ""
				 : hours < 12 ? "am"
					      : "pm");
	put(out, start, (struct run){ text, (size_t)len });
}

/* Whether a time of day begins with the word. */
static bool is_clock(const struct editor__query *query, size_t word, const char *text, struct editor__clock *clock)
{
	const size_t len = query->spans[query->word_count - 1].end;
	return editor__clock_at(text, len, query->spans[word].start, clock) && (clock->half || clock->colon);
}

int editor__numbers_in(const struct editor__query *query, const char *text, const uint8_t *marks, struct buf *out)
{
	const size_t start = out->len, label = query->word_count > 0 ? behind_label(query, text) : 0,
		     bracket = query->word_count > 0 ? behind_bracket(query, text) : 0;
	bool inside = false; /* of a number in groups */
	struct editor__clock clock = { .end = 0 };
	for (size_t i = label > bracket ? label : bracket; i < query->word_count; i++) {
		const struct run word = word_of(query, i);
		if (query->spans[i].start < clock.end)
			continue;
		if (marks != NULL && marks[i]) {
			inside = false;
			continue;
		}
		if (inside)
			buf_append(out, word.at, word.len);
		else if (is_digit(word.at[0]) && is_clock(query, i, text, &clock))
			put_clock(out, start, &clock);
		else if (!says_how(query, i))
			put_numbers_of(query, i, text, out, start);
		inside = goes_on(query, i, text);
	}
	return buf_failed(out) ? ERR_NOMEM : 0;
}

/* ---- In the words of an edit */

/* The number as its groups stand from `at` on. */
static bool stands_in_groups(struct run number, const char *text, size_t len, size_t at)
{
	size_t done = count_digits(text + at, len - at);
	if (done == 0 || done > GROUP_DIGITS || done > number.len || memcmp(text + at, number.at, done) != 0)
		return false;
	for (at += done; done < number.len; at += 1 + GROUP_DIGITS, done += GROUP_DIGITS) {
		if (at >= len || memchr(" ,.", text[at], 3) == NULL ||
		    count_digits(text + at + 1, len - at - 1) != GROUP_DIGITS || done + GROUP_DIGITS > number.len ||
		    memcmp(text + at + 1, number.at + done, GROUP_DIGITS) != 0)
			return false;
	}
	return at == len || !is_plain(text[at]);
}

static uint64_t roman_value(struct run run)
{
	uint64_t value = 0;
	for (size_t i = 0; i < run.len; i++) {
		const uint64_t one = run.at[i] == 'x' ? 10 : run.at[i] == 'v' ? 5 : 1;
		const bool before = i + 1 < run.len && one == 1 && run.at[i + 1] != 'i';
		value = before ? value - one : value + one;
	}
	return value;
}

/* Of "21", "21st", "9pm" and "xxi"; 0: it is more than a number, or none. */
static uint64_t value_of(struct run run)
{
	static const char *const behind[] = { "st", "nd", "rd", "th", "am", "pm" };
	const size_t digits = count_digits(run.at, run.len);
	uint64_t value = 0;
	if (digits == 0)
		return editor__is_number(run.at, run.len) && !editor__word_has_digit(run.at, run.len) ? roman_value(run)
												      : 0;
	if (digits > VALUE_DIGITS_MAX)
		return 0;
	for (size_t i = 0; i < digits; i++)
		value = 10 * value + (uint64_t)(run.at[i] - '0');
	const struct run rest = { run.at + digits, run.len - digits };
	return rest.len == 0 || is_one_of(rest, behind, COUNT(behind)) ? value : 0;
}

/* A decade is not its first year; a year may be of one. */
static bool is_decade_of(struct run number, struct run run)
{
	return run.len == YEAR_DIGITS && number.len == run.len + 1 && number.at[run.len] == 's' &&
	       number.at[run.len - 1] == '0' && count_digits(number.at, number.len) == run.len;
}

/* "90s" and "nineties" for 1990s. */
static bool says_decade(struct run number, struct run run)
{
	if (number.len != YEAR_DIGITS + 1 || count_digits(number.at, number.len) != YEAR_DIGITS ||
	    number.at[YEAR_DIGITS] != 's')
		return false;
	const unsigned decade = editor__spoken_decade(run.at, run.len);
	return (run.len == 3 && memcmp(run.at, number.at + 2, 3) == 0) ||
	       (decade > 0 && number.at[2] == (char)('0' + decade / 10) && number.at[3] == '0');
}

static bool is_digits(struct run run, size_t digits)
{
	return run.len == digits && count_digits(run.at, run.len) == digits;
}

/* "2018-19" and "2018/2019" end with one year: of the two the shorter ends the longer, behind another year. */
static bool ends_season(struct run before, struct run a, struct run b)
{
	const struct run year = a.len > b.len ? a : b, end = a.len > b.len ? b : a;
	return is_digits(before, YEAR_DIGITS) && is_digits(year, YEAR_DIGITS) && is_digits(end, SEASON_DIGITS) &&
	       memcmp(year.at + YEAR_DIGITS - SEASON_DIGITS, end.at, SEASON_DIGITS) == 0;
}

/* Whether it is the hour of a full one. */
static bool is_hour(uint64_t value, const struct editor__clock *clock)
{
	return clock->minute % 60 == 0 &&
	       (value == clock->minute / 60 || (value <= 12 && value % 12 == clock->minute / 60 % 12 && value > 0));
}

static bool clock_stands(const struct editor__clock *wanted, const char *text, size_t len)
{
	struct editor__clock clock;
	struct run run;
	for (size_t at = 0; next_run(text, len, &at, &run);) {
		const size_t from = (size_t)(run.at - text);
		if (editor__clock_at(text, len, from, &clock)) {
			if (editor__clocks_meet(wanted, &clock))
				return true;
			at = clock.end;
		} else if (is_hour(is_digits(run, run.len) ? value_of(run) : editor__spoken_at(text, len, from, &at),
				   wanted)) {
			return true;
		}
	}
	return false;
}

bool editor__number_stands(const char *number, size_t len, const char *text, size_t text_len)
{
	const struct run wanted = { number, len };
	const uint64_t value = value_of(wanted);
	struct run run, before = { NULL, 0 };
	struct editor__clock clock;
	if (editor__clock_at(number, len, 0, &clock))
		return clock_stands(&clock, text, text_len);
	for (size_t at = 0; next_run(text, text_len, &at, &run); before = run) {
		const uint64_t said = editor__spoken_at(text, text_len, (size_t)(run.at - text), &at);
		if (is_decade_of(wanted, run))
			continue;
		if (ends_season(before, wanted, run) || says_decade(wanted, run))
			return true;
		if ((value > 0 && (said > 0 ? said : value_of(run)) == value) ||
		    editor__names_match(number, len, run.at, run.len) ||
		    stands_in_groups(wanted, text, text_len, (size_t)(run.at - text)))
			return true;
	}
	return false;
}

static bool all_stand(const char *a, size_t a_len, const char *b, size_t b_len)
{
	struct editor__clock clock;
	struct run run;
	for (size_t at = 0; next_run(a, a_len, &at, &run);) {
		if (editor__clock_at(a, a_len, (size_t)(run.at - a), &clock) && clock.half) {
			if (!clock_stands(&clock, b, b_len))
				return false;
			at = clock.end;
		} else if (editor__is_number(run.at, run.len) && !editor__number_stands(run.at, run.len, b, b_len)) {
			return false;
		}
	}
	return true;
}

bool editor__numbers_same(const char *a, size_t a_len, const char *b, size_t b_len)
{
	return all_stand(a, a_len, b, b_len) && all_stand(b, b_len, a, a_len);
}

/* ---- Without which an edit is not asked for */

/* "1990", "1990s", "21st"; not the day of a date, which its month may tell. */
static bool is_needed(struct run run)
{
	static const char *const ordinal[] = { "st", "nd", "rd", "th" };
	const size_t digits = count_digits(run.at, run.len);
	const struct run rest = { run.at + digits, run.len - digits };
	if (digits == YEAR_DIGITS && (run.at[0] == '1' || run.at[0] == '2'))
		return rest.len == 0 || (rest.len == 1 && rest.at[0] == 's');
	return digits > 0 && is_one_of(rest, ordinal, COUNT(ordinal));
}

static bool is_month(struct run run)
{
	static const char *const months[] = { "january", "february", "march",     "april",   "may",      "june",
					      "july",    "august",   "september", "october", "november", "december" };
	return is_one_of(run, months, COUNT(months));
}

/* Whether a number behind these two words is a part of a name, or says since when. */
static bool is_optional(struct run before_lead, struct run lead)
{
	static const char *const of[] = { "of" }, *const since[] = { "since" };
	return is_one_of(lead, since, 1) ||
	       (is_one_of(lead, of, 1) &&
		(before_lead.len == 0 || !wording_is_content(before_lead.at, before_lead.len)));
}

int editor__numbers_needed(const char *words, size_t len, struct buf *out)
{
	const size_t start = out->len;
	struct run run, lead = { words, 0 }, before_lead = { words, 0 }; /* words before a date's own */
	struct editor__clock clock;
	size_t count = 0;
	for (size_t at = 0; next_run(words, len, &at, &run);) {
		const bool is_time = editor__clock_at(words, len, (size_t)(run.at - words), &clock) && clock.half;
		if (is_time) {
			put_clock(out, start, &clock);
			at = clock.end;
		} else if (is_needed(run) && !is_optional(before_lead, lead)) {
			put(out, start, run);
		}
		count += is_time || is_needed(run);
		if (is_time || count_digits(run.at, run.len) > 0 || is_month(run))
			continue;
		before_lead = lead;
		lead = run;
	}
	if (count > EDITOR__NUMBERS_NEEDED)
		out->len = start;
	return buf_failed(out) ? ERR_NOMEM : 0;
}
