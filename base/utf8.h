/* utf8.h: one UTF-8 character at a time (RFC 3629). Pure. */
#ifndef AMEND_BASE_UTF8_H
#define AMEND_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of a character that begins with this one; 0: none does. */
static inline size_t utf8__need(unsigned char first)
{
	return first < 0x80 ? 1 : first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
}

/* Overlong forms, surrogates and what lies above U+10FFFF show in the first two bytes. */
static inline bool utf8__pair_is_bad(unsigned char first, unsigned char second)
{
	return (first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F) ||
	       (first == 0xF0 && second < 0x90) || (first == 0xF4 && second > 0x8F);
}

/* Bytes of the well-formed character at `p` (1…4) and its code point; 0 when there is none within `len` bytes. */
static inline size_t utf8_next(const char *p, size_t len, uint32_t *code)
{
	const unsigned char *s = (const unsigned char *)p;
	const size_t need = len > 0 ? utf8__need(s[0]) : 0;
	uint32_t c;

	if (need == 0 || need > len || (need > 1 && utf8__pair_is_bad(s[0], s[1])))
		return 0;
	c = need == 1 ? s[0] : s[0] & (0xFFu >> (need + 1));
	for (size_t i = 1; i < need; i++) {
		if ((s[i] & 0xC0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3Fu);
	}
	*code = c;
	return need;
}

/* Where utf8_next finds none in len > 0 bytes: how many of them one U+FFFD stands for (Unicode 3.9, "maximal subpart":
 * the beginning of a character that breaks off, else 1). */
static inline size_t utf8_bad(const char *p, size_t len)
{
	const unsigned char *s = (const unsigned char *)p;
	const size_t need = utf8__need(s[0]);
	size_t n = 1;

	while (n < need && n < len && (s[n] & 0xC0) == 0x80)
		n++;
	return n > 1 && utf8__pair_is_bad(s[0], s[1]) ? 1 : n;
}

#endif
