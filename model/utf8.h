/* utf8.h: one UTF-8 character at a time (RFC 3629), for the pre-tokeniser's check and the vocabulary's byte letters.
 * Pure. */
#ifndef AMEND_MODEL_UTF8_H
#define AMEND_MODEL_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of the well-formed character at `p` (1…4) and its code point; 0 when there is none within `len` bytes. */
static inline size_t model__utf8_next(const char *p, size_t len, uint32_t *code)
{
	const unsigned char *s = (const unsigned char *)p;
	const size_t need = len == 0      ? 0
			    : s[0] < 0x80 ? 1
			    : s[0] < 0xC2 ? 0
			    : s[0] < 0xE0 ? 2
			    : s[0] < 0xF0 ? 3
			    : s[0] < 0xF5 ? 4
					  : 0;
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	uint32_t c;

	if (need == 0 || need > len)
		return 0;
	c = need == 1 ? s[0] : s[0] & (0xFFu >> (need + 1));
	for (size_t i = 1; i < need; i++) {
		if ((s[i] & 0xC0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3Fu);
	}
	if (c < least[need] || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000))
		return 0;
	*code = c;
	return need;
}

#endif
