#include "base/text.h"

#include "base/fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define BYTE_ORDER_MARK 0xFEFF

static bool is_ascii(const char *text, size_t len)
{
	unsigned char all = 0;
	for (size_t i = 0; i < len; i++)
		all |= (unsigned char)text[i];
	return all < 0x80;
}

/* The character at `text`, and how many bytes it takes; -1 and 1 when it is no UTF-8. */
static int32_t decode(const char *text, size_t len, size_t *taken)
{
	utf8proc_int32_t c;
	*taken = 1;
	if ((unsigned char)*text < 0x80)
		return *text;
	utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)len, &c);
	if (n <= 0)
		return -1;
	*taken = (size_t)n;
	return c;
}

static bool is_control(int32_t c)
{
	return c < 0x20 || (c >= 0x7F && c <= 0x9F);
}

static bool is_bidi(int32_t c)
{
	return (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069) || c == 0x200E || c == 0x200F ||
	       c == 0x061C;
}

static bool is_noncharacter(int32_t c)
{
	return (c >= 0xFDD0 && c <= 0xFDEF) || (c & 0xFFFE) == 0xFFFE;
}

static bool is_space(int32_t c)
{
	if (c < 0x80)
		return c == ' ' || (c >= 0x09 && c <= 0x0D);
	utf8proc_category_t k = utf8proc_category(c);
	return c == 0x85 || k == UTF8PROC_CATEGORY_ZS || k == UTF8PROC_CATEGORY_ZL || k == UTF8PROC_CATEGORY_ZP;
}

/* Marks belong to the letter before them. */
static bool is_word(int32_t c)
{
	if (c < 0x80)
		return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
	switch (utf8proc_category(c)) {
	case UTF8PROC_CATEGORY_LU:
	case UTF8PROC_CATEGORY_LL:
	case UTF8PROC_CATEGORY_LT:
	case UTF8PROC_CATEGORY_LM:
	case UTF8PROC_CATEGORY_LO:
	case UTF8PROC_CATEGORY_MN:
	case UTF8PROC_CATEGORY_MC:
	case UTF8PROC_CATEGORY_ME:
	case UTF8PROC_CATEGORY_ND:
	case UTF8PROC_CATEGORY_NL:
	case UTF8PROC_CATEGORY_NO:
		return true;
	default:
		return false;
	}
}

/* `text` mapped by utf8proc with `options` into *out (free() it). The memory is ours, so that a planted failure reaches
 * it. */
static int map_text(const char *text, size_t len, utf8proc_option_t options, char **out, size_t *out_len)
{
	const utf8proc_uint8_t *in = (const utf8proc_uint8_t *)text;
	utf8proc_ssize_t count = utf8proc_decompose(in, (utf8proc_ssize_t)len, NULL, 0, options);
	if (count < 0)
		return ERR_INVALID;
	utf8proc_int32_t *points = fault_malloc(((size_t)count + 1) * sizeof(*points));
	if (points == NULL)
		return ERR_NOMEM;
	utf8proc_ssize_t bytes = utf8proc_decompose(in, (utf8proc_ssize_t)len, points, count, options);
	if (bytes >= 0)
		bytes = utf8proc_reencode(points, bytes, options);
	if (bytes < 0) {
		free(points);
		return ERR_INVALID;
	}
	*out = (char *)points;
	*out_len = (size_t)bytes;
	return 0;
}

static int check_composed(const char *text, size_t len, struct err *e)
{
	char *composed;
	size_t composed_len;
	int rc = map_text(text, len, UTF8PROC_COMPOSE | UTF8PROC_STABLE, &composed, &composed_len);
	if (rc == ERR_NOMEM)
		return err_set(e, ERR_NOMEM, "checking text: out of memory");
	if (rc != 0)
		return err_set(e, ERR_INVALID, "is no valid UTF-8");
	size_t at = 0;
	while (at < len && at < composed_len && text[at] == composed[at])
		at++;
	bool same = at == len && at == composed_len;
	free(composed);
	if (!same)
		return err_set(e, ERR_INVALID, "is not in Unicode form NFC at byte %zu: normalise the text first", at);
	return 0;
}

int text_compose(const char *text, size_t len, struct buf *out)
{
	char *composed;
	size_t composed_len, start = 0;
	int rc = map_text(text, len, UTF8PROC_COMPOSE | UTF8PROC_STABLE, &composed, &composed_len);
	if (rc != 0)
		return rc;
	size_t len_before = out->len;
	for (size_t i = 0; i < composed_len; i++) {
		if (composed[i] != '\r')
			continue;
		buf_append(out, composed + start, i - start);
		start = i + 1;
		if (start == composed_len || composed[start] != '\n')
			buf_u8(out, '\n');
	}
	buf_append(out, composed + start, composed_len - start);
	free(composed);
	if (!buf_failed(out))
		return 0;
	out->len = len_before;
	return ERR_NOMEM;
}

size_t text_columns_step(const char *text, size_t len, size_t *columns)
{
	utf8proc_int32_t c;
	*columns = len > 0;
	if (len == 0)
		return 0;
	utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)len, &c);
	if (n <= 0)
		return 1;
	int width = utf8proc_charwidth(c);
	*columns = width > 0 ? (size_t)width : 0;
	return (size_t)n;
}

int text_check(const char *text, size_t len, bool multiline, struct err *e)
{
	bool ascii = true;
	size_t taken;
	for (size_t at = 0; at < len; at += taken) {
		int32_t c = decode(text + at, len - at, &taken);
		if (c < 0)
			return err_set(e, ERR_INVALID, "is no valid UTF-8 at byte %zu", at);
		if (multiline && (c == '\n' || c == '\t'))
			continue;
		if (is_control(c))
			return err_set(e, ERR_INVALID, "has the control character U+%04X at byte %zu", (unsigned)c, at);
		if (is_bidi(c))
			return err_set(e, ERR_INVALID, "has the bidirectional control U+%04X at byte %zu", (unsigned)c,
				       at);
		if (is_noncharacter(c))
			return err_set(e, ERR_INVALID, "has the non-character U+%04X at byte %zu", (unsigned)c, at);
		ascii = ascii && c < 0x80;
	}
	return ascii ? 0 : check_composed(text, len, e);
}

bool text_is_blank(const char *text, size_t len)
{
	size_t taken;
	for (size_t at = 0; at < len; at += taken) {
		if (!is_space(decode(text + at, len - at, &taken)))
			return false;
	}
	return true;
}

/* What utf8proc makes of it, without asking for every character. */
static int fold_ascii(const char *text, size_t len, struct buf *out)
{
	const size_t start = out->len;
	for (size_t at = 0, end; at < len; at = end + 1) {
		for (end = at; end < len && !is_space(text[end]);)
			end++;
		if (end > at && out->len > start)
			buf_u8(out, ' ');
		const size_t from = out->len;
		buf_append(out, text + at, end - at);
		for (size_t i = from; i < out->len; i++)
			out->data[i] = (uint8_t)(out->data[i] + (out->data[i] >= 'A' && out->data[i] <= 'Z' ? 32 : 0));
	}
	return buf_failed(out) ? ERR_NOMEM : 0;
}

int text_fold(const char *text, size_t len, struct buf *out)
{
	if (is_ascii(text, len))
		return fold_ascii(text, len, out);
	char *folded;
	size_t folded_len, taken;
	int rc = map_text(text, len, UTF8PROC_CASEFOLD | UTF8PROC_COMPOSE | UTF8PROC_STABLE, &folded, &folded_len);
	if (rc != 0)
		return rc;
	bool pending = false, any = false;
	for (size_t at = 0; at < folded_len; at += taken) {
		if (is_space(decode(folded + at, folded_len - at, &taken))) {
			pending = any;
			continue;
		}
		if (pending)
			buf_u8(out, ' ');
		pending = false;
		any = true;
		buf_append(out, folded + at, taken);
	}
	free(folded);
	return buf_failed(out) ? ERR_NOMEM : 0;
}

size_t text_escape_step(const char *text, size_t len, char out[TEXT_ESCAPE_BYTES], size_t *out_len)
{
	*out_len = 0;
	if (len == 0)
		return 0;
	size_t taken;
	int32_t c = decode(text, len, &taken);
	if (c < 0 || (c < 0x80 && is_control(c)))
		*out_len = (size_t)snprintf(out, TEXT_ESCAPE_BYTES, "\\x%02X", (unsigned)(unsigned char)text[0]);
	else if (is_control(c) || is_bidi(c) || is_noncharacter(c) || c == 0x2028 || c == 0x2029 ||
		 c == BYTE_ORDER_MARK)
		*out_len = (size_t)snprintf(out, TEXT_ESCAPE_BYTES, "\\u{%X}", (unsigned)c);
	else {
		memcpy(out, text, taken);
		*out_len = taken;
	}
	return taken;
}

void text_escape(const char *text, size_t len, struct buf *out)
{
	while (len > 0) {
		char escaped[TEXT_ESCAPE_BYTES];
		size_t escaped_len;
		size_t taken = text_escape_step(text, len, escaped, &escaped_len);
		buf_append(out, escaped, escaped_len);
		text += taken;
		len -= taken;
	}
}

void text_show_line(const char *text, size_t len, char *out, size_t out_bytes)
{
	size_t used = 0;
	while (len > 0 && *text != '\n') {
		char escaped[TEXT_ESCAPE_BYTES];
		size_t escaped_len;
		size_t taken = text_escape_step(text, len, escaped, &escaped_len);
		if (used + escaped_len >= out_bytes)
			break;
		memcpy(out + used, escaped, escaped_len);
		used += escaped_len;
		text += taken;
		len -= taken;
	}
	out[used] = '\0';
}

/* Splits text that is folded already. */
static int split_words(const char *text, size_t len, int (*each)(void *, const char *, size_t), void *context)
{
	size_t start = 0, taken;
	for (size_t at = 0; at <= len; at += taken) {
		taken = 1;
		if (at < len && is_word(decode(text + at, len - at, &taken)))
			continue;
		int rc = at > start ? each(context, text + start, at - start) : 0;
		if (rc != 0)
			return rc;
		start = at + taken;
	}
	return 0;
}

int text_words(const char *text, size_t len, int (*each)(void *context, const char *word, size_t len), void *context)
{
	struct buf folded = BUF_INIT;
	int rc = text_fold(text, len, &folded);
	if (rc == 0)
		rc = split_words((const char *)folded.data, folded.len, each, context);
	buf_free(&folded);
	return rc;
}

struct folding {
	int (*each)(void *context, const char *word, size_t len, size_t start, size_t end);
	void *context;
	const char *text;
	struct buf folded;
};

static int fold_word(void *context, const char *word, size_t len)
{
	struct folding *f = context;
	const size_t start = (size_t)(word - f->text);
	f->folded.len = 0;
	int rc = text_fold(word, len, &f->folded);
	return rc != 0 ? rc : f->each(f->context, (const char *)f->folded.data, f->folded.len, start, start + len);
}

int text_words_at(const char *text, size_t len,
		  int (*each)(void *context, const char *word, size_t len, size_t start, size_t end), void *context)
{
	struct folding f = { each, context, text, BUF_INIT };
	int rc = split_words(text, len, fold_word, &f);
	buf_free(&f.folded);
	return rc;
}
