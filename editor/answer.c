#include "editor/answer.h"

#include "base/text.h"
#include "base/utf8.h"

#include <string.h>

static bool is_punctuation(unsigned char c)
{
	return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
}

/* Bytes of a character outside ASCII count as letters. */
static bool is_word(unsigned char c)
{
	return c >= 0x80 || c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_article(const char *word, size_t len)
{
	return (len == 1 && word[0] == 'a') || (len == 2 && memcmp(word, "an", 2) == 0) ||
	       (len == 3 && memcmp(word, "the", 3) == 0);
}

/* What a model decodes may end inside a character and hold controls; folding wants text without either. */
static void copy_clean(const char *text, size_t len, struct buf *out)
{
	for (size_t i = 0; i < len;) {
		uint32_t c;
		size_t n = utf8_next(text + i, len - i, &c);
		if (n > 0 && (c < 0x20 || c == 0x7F))
			buf_u8(out, ' ');
		else if (n > 0 && (c < 0x80 || c >= 0xA0))
			buf_append(out, text + i, n);
		i += n > 0 ? n : 1;
	}
}

/* Appends without articles and punctuation, words separated by one space. */
static void append_plain(const char *text, size_t len, struct buf *out)
{
	size_t start = out->len;
	bool space = false;
	for (size_t i = 0; i < len;) {
		size_t end = i;
		while (end < len && is_word((unsigned char)text[end]))
			end++;
		if (end == i) {
			space |= !is_punctuation((unsigned char)text[i]);
			i++;
			continue;
		}
		if (is_article(text + i, end - i)) {
			space = true;
		} else {
			if (space && out->len > start)
				buf_u8(out, ' ');
			space = false;
			for (size_t k = i; k < end; k++) {
				if (text[k] != '_')
					buf_u8(out, (uint8_t)text[k]);
			}
		}
		i = end;
	}
}

static int fold(const char *text, size_t len, struct buf *out)
{
	struct buf clean = BUF_INIT;
	copy_clean(text, len, &clean);
	int rc = buf_failed(&clean) ? ERR_NOMEM : text_fold(buf_cstr(&clean), clean.len, out);
	buf_free(&clean);
	return rc;
}

int editor_answer_normalise(const char *text, size_t len, struct buf *out)
{
	struct buf folded = BUF_INIT;
	size_t len_before = out->len;
	int rc = fold(text, len, &folded);
	if (rc == 0) {
		append_plain((const char *)folded.data, folded.len, out);
		rc = buf_failed(out) ? ERR_NOMEM : 0;
	}
	if (rc != 0)
		out->len = len_before;
	buf_free(&folded);
	return rc;
}

/* How much of `decoded` counts against this answer. */
static size_t cut_len(const char *decoded, size_t len, const struct record_text *answer)
{
	const char *newline = len > 0 ? memchr(decoded, '\n', len) : NULL;
	if (newline != NULL)
		len = (size_t)(newline - decoded);
	const char *stop = memchr(answer->text, '.', answer->len) == NULL && len > 0 ? memchr(decoded, '.', len) : NULL;
	return stop != NULL ? (size_t)(stop - decoded) : len;
}

static int matches_one(const char *decoded, size_t len, const struct record_text *answer, bool *matches)
{
	const size_t cut = cut_len(decoded, len, answer);
	struct buf got = BUF_INIT, want = BUF_INIT;
	int rc = editor_answer_normalise(answer->text, answer->len, &want);
	/* An answer of punctuation or articles alone would equal every such text: they are compared with both. */
	const bool bare = rc == 0 && want.len == 0;
	if (bare)
		rc = fold(answer->text, answer->len, &want);
	if (rc == 0)
		rc = bare ? fold(decoded, cut, &got) : editor_answer_normalise(decoded, cut, &got);
	if (rc == 0)
		*matches = want.len > 0 && got.len == want.len && memcmp(got.data, want.data, got.len) == 0;
	buf_free(&got);
	buf_free(&want);
	return rc;
}

int editor_answer_matches(const char *decoded, size_t len, const struct record *record, bool *matches)
{
	*matches = false;
	int rc = matches_one(decoded, len, &record->target_new, matches);
	for (size_t i = 0; rc == 0 && !*matches && i < record->alias_count; i++)
		rc = matches_one(decoded, len, &record->aliases[i], matches);
	return rc;
}

/* A letter or a digit of a script that has spaces between words. */
static bool has_borders(uint32_t c)
{
	const bool ascii = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z');
	const bool spaced = c >= 0xC0 && c < 0x2000 && c != 0xD7 && c != 0xF7;
	const bool unspaced = (c >= 0xE00 && c < 0xF00) || (c >= 0x1000 && c < 0x10A0) || (c >= 0x1780 && c < 0x1800);
	return ascii || (spaced && !unspaced);
}

/* The character of valid UTF-8 that ends at `end`. */
static uint32_t character_before(const char *text, size_t end)
{
	uint32_t c = 0;
	size_t at = end - 1;
	while (at > 0 && ((unsigned char)text[at] & 0xC0) == 0x80)
		at--;
	return utf8_next(text + at, end - at, &c) > 0 ? c : 0;
}

static uint32_t character_at(const char *text, size_t len, size_t at)
{
	uint32_t c = 0;
	return utf8_next(text + at, len - at, &c) > 0 ? c : 0;
}

static bool is_inside_word(const char *text, size_t len, size_t at)
{
	return at > 0 && at < len && has_borders(character_before(text, at)) &&
	       has_borders(character_at(text, len, at));
}

int editor_answer_stands_in(const char *text, size_t len, const struct record_text *answer, bool *stands)
{
	struct buf all = BUF_INIT, one = BUF_INIT;
	int rc = editor_answer_normalise(text, len, &all);
	if (rc == 0)
		rc = editor_answer_normalise(answer->text, answer->len, &one);
	const char *data = buf_cstr(&all), *hit = data;
	*stands = false;
	while (rc == 0 && one.len > 0 && !*stands && (hit = strstr(hit, buf_cstr(&one))) != NULL) {
		const size_t at = (size_t)(hit++ - data);
		*stands = !is_inside_word(data, all.len, at) && !is_inside_word(data, all.len, at + one.len);
	}
	buf_free(&all);
	buf_free(&one);
	return rc;
}
