#include "editor/segments.h"

#include "base/utf8.h"

#include <stdint.h>
#include <string.h>

#define LAST_SENTENCES 3u /* looked at for a question */

/* Before names or numbers, where more of the sentence follows. */
static const char *const abbreviations[] = { "Dr",  "Mr",  "Mrs",  "Ms",  "St",  "Mt",  "Ft",  "Prof",
					     "Gen", "Col", "Capt", "Lt",  "Sgt", "Rev", "Hon", "Fr",
					     "Sr",  "Jr",  "Inc",  "Ltd", "Co",  "No",  "Vol", "Op" };

static bool is_space(char c)
{
	return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static bool is_capital(char c)
{
	return c >= 'A' && c <= 'Z';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
	return is_capital(c) || (c >= 'a' && c <= 'z') || (unsigned char)c >= 0x80;
}

/* A full stop at `at` belongs to its word: "Dr.", "St.", "J.", the last one of "U.S."; not that of "B12M." or "IUD.".
 */
static bool is_abbreviation(const char *text, size_t at)
{
	size_t start = at;
	while (start > 0 && (is_letter(text[start - 1]) || is_digit(text[start - 1])))
		start--;
	if (at - start == 1)
		return is_capital(text[start]);
	for (size_t i = 0; i < sizeof(abbreviations) / sizeof(abbreviations[0]); i++) {
		if (strlen(abbreviations[i]) == at - start && memcmp(abbreviations[i], text + start, at - start) == 0)
			return true;
	}
	return false;
}

/* Marks after which a sentence ends whatever follows: of scripts that put no space there, and the Arabic ones. */
static bool ends_anyhow(uint32_t c)
{
	return c == 0x3002 || c == 0xFF01 || c == 0xFF1F || c == 0xFF0E || c == 0x061F || c == 0x06D4 || c == 0x0964;
}

static bool is_closing(char c)
{
	return c == '"' || c == '\'' || c == ')' || c == ']';
}

/* Where the marks and brackets end that begin with the mark at `at`; *ends: a sentence ends there too. `small`: the
 * text has no capitals, so that a sentence may begin without one. */
static size_t end_of_marks(const char *text, size_t len, size_t at, bool small, bool *ends)
{
	size_t end = at + 1;
	*ends = false;
	if ((text[at] != '.' && text[at] != '!' && text[at] != '?') || (text[at] == '.' && is_abbreviation(text, at)))
		return at;
	while (end < len && (is_closing(text[end]) || text[end] == text[at]))
		end++;
	size_t next = end;
	while (next < len && is_space(text[next]))
		next++;
	*ends = next > end && next < len && (small || !(text[next] >= 'a' && text[next] <= 'z'));
	return end;
}

/* Where the sentence from `from` ends: past its last byte. */
static size_t sentence_end(const char *text, size_t len, size_t from, bool small)
{
	for (size_t at = from; at < len;) {
		uint32_t c = 0;
		const size_t n = utf8_next(text + at, len - at, &c);
		bool ends;
		const size_t end = end_of_marks(text, len, at, small, &ends);
		if (text[at] == '\n')
			return at + 1;
		if (n > 1 && ends_anyhow(c))
			return at + n;
		if (ends)
			return end;
		at = end > at ? end : at + (n > 0 ? n : 1);
	}
	return len;
}

static struct editor_span trimmed(const char *text, size_t start, size_t end)
{
	while (start < end && is_space(text[start]))
		start++;
	while (end > start && is_space(text[end - 1]))
		end--;
	return (struct editor_span){ start, end };
}

static bool is_question(const char *text, struct editor_span sentence)
{
	static const char *const marks[] = { "?", "\xEF\xBC\x9F", "\xD8\x9F" };
	size_t end = sentence.end;
	while (end > sentence.start && is_closing(text[end - 1]))
		end--;
	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
		const size_t n = strlen(marks[i]);
		if (end - sentence.start > n && memcmp(text + end - n, marks[i], n) == 0)
			return true;
	}
	return false;
}

/* The last sentences that hold something, last first; returns how many. */
static size_t last_sentences(const char *text, size_t len, struct editor_span last[LAST_SENTENCES])
{
	size_t count = 0;
	bool small = true;
	for (size_t i = 0; i < len; i++)
		small = small && !is_capital(text[i]);
	for (size_t at = 0, end; at < len; at = end) {
		end = sentence_end(text, len, at, small);
		const struct editor_span sentence = trimmed(text, at, end);
		if (sentence.start == sentence.end)
			continue;
		memmove(last + 1, last, (LAST_SENTENCES - 1) * sizeof(*last));
		last[0] = sentence;
		count += count < LAST_SENTENCES ? 1 : 0;
	}
	return count;
}

size_t editor_segments(const char *text, size_t len, bool whole, struct editor_span spans[EDITOR_SEGMENTS_MAX])
{
	const struct editor_span all = trimmed(text, 0, len);
	struct editor_span last[LAST_SENTENCES] = { { 0 } };
	const size_t sentences = last_sentences(text, len, last);
	size_t count = 0, question = 0;
	if (whole && all.end > all.start)
		spans[count++] = all;
	if (sentences > 0 && last[0].start > all.start)
		spans[count++] = last[0];
	while (question < sentences && !is_question(text, last[question]))
		question++;
	if (question > 0 && question < sentences) /* the last sentence is there already */
		spans[count++] = last[question];
	return count;
}
