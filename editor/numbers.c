#include "editor/numbers.h"

#include <string.h>

#define VALUE_DIGITS_MAX 18u
#define SEASON_DIGITS    2u
#define YEAR_DIGITS      4u
#define GROUP_DIGITS     3u /* of thousands; a number that counts texts has no more either */

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

bool editor__is_number(const char *word, size_t len)
{
	return editor__word_is_numeral(word, len) && (len > 1 || is_digit(word[0]));
}

/* The run of letters and digits from *at on, which moves behind it. false: no more. */
static bool next_run(const char *text, size_t len, size_t *at, struct run *run)
{
	while (*at < len && !is_plain(text[*at]))
		++*at;
	run->at = text + *at;
	run->len = 0;
	while (*at < len && is_plain(text[*at])) {
		++*at;
		run->len++;
	}
	return run->len > 0;
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

/* "5) Who …", "12. Who …", "Q5: Who …" */
static bool counts_the_text(const struct editor__query *query, size_t word, const char *text)
{
	const size_t end = query->spans[word].end;
	return word == 0 && query->word_count > 1 && word_of(query, word).len <= GROUP_DIGITS &&
	       memchr(".):", text[end], 3) != NULL && text[end + 1] == ' ';
}

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

int editor__numbers_in(const struct editor__query *query, const char *text, struct buf *out)
{
	const size_t start = out->len;
	bool inside = false; /* of a number in groups */
	for (size_t i = 0; i < query->word_count; i++) {
		const struct run word = word_of(query, i);
		if (inside)
			buf_append(out, word.at, word.len);
		else if (!counts_the_text(query, i, text))
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

/* 0: it is none of them. */
static uint64_t ordinal_value(struct run run)
{
	static const char *const ordinals[] = { "first",   "second", "third", "fourth", "fifth",    "sixth",
						"seventh", "eighth", "ninth", "tenth",  "eleventh", "twelfth" };
	for (size_t i = 0; i < sizeof(ordinals) / sizeof(ordinals[0]); i++) {
		if (strlen(ordinals[i]) == run.len && memcmp(ordinals[i], run.at, run.len) == 0)
			return i + 1;
	}
	return 0;
}

/* Of "21", "21st", "9pm", "xxi" and "second"; 0: it is more than a number, or none. */
static uint64_t value_of(struct run run)
{
	static const char *const behind[] = { "", "st", "nd", "rd", "th", "am", "pm" };
	const size_t digits = count_digits(run.at, run.len);
	uint64_t value = 0;
	if (digits == 0)
		return editor__is_number(run.at, run.len) ? roman_value(run) : ordinal_value(run);
	if (digits > VALUE_DIGITS_MAX)
		return 0;
	for (size_t i = 0; i < digits; i++)
		value = 10 * value + (uint64_t)(run.at[i] - '0');
	for (size_t i = 0; i < sizeof(behind) / sizeof(behind[0]); i++) {
		if (strlen(behind[i]) == run.len - digits && memcmp(behind[i], run.at + digits, run.len - digits) == 0)
			return value;
	}
	return 0;
}

/* A decade is not its first year; a year may be of one. */
static bool is_decade_of(struct run number, struct run run)
{
	return run.len == YEAR_DIGITS && number.len == run.len + 1 && number.at[run.len] == 's' &&
	       number.at[run.len - 1] == '0' && count_digits(number.at, number.len) == run.len;
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

bool editor__number_stands(const char *number, size_t len, const char *text, size_t text_len)
{
	const struct run wanted = { number, len };
	const uint64_t value = value_of(wanted);
	struct run run, before = { NULL, 0 };
	for (size_t at = 0; next_run(text, text_len, &at, &run); before = run) {
		if (is_decade_of(wanted, run))
			continue;
		if (ends_season(before, wanted, run))
			return true;
		if ((value > 0 && value_of(run) == value) || editor__names_match(number, len, run.at, run.len) ||
		    stands_in_groups(wanted, text, text_len, (size_t)(run.at - text)))
			return true;
	}
	return false;
}

static bool all_stand(const char *a, size_t a_len, const char *b, size_t b_len)
{
	struct run run;
	for (size_t at = 0; next_run(a, a_len, &at, &run);) {
		if (editor__is_number(run.at, run.len) && !editor__number_stands(run.at, run.len, b, b_len))
			return false;
	}
	return true;
}

bool editor__numbers_same(const char *a, size_t a_len, const char *b, size_t b_len)
{
	return all_stand(a, a_len, b, b_len) && all_stand(b, b_len, a, a_len);
}
