/* text.h: rules for text that people submit: UTF-8, NFC, no controls (promises.md), word splitting. */
#ifndef AMEND_BASE_TEXT_H
#define AMEND_BASE_TEXT_H

#include "base/buf.h"

/* Accepts UTF-8 (RFC 3629) in NFC without NUL, C0 and C1 controls (line feed and tab are allowed when `multiline`),
 * bidirectional controls (U+202A–202E, U+2066–2069, U+200E/F, U+061C) and non-characters. ERR_INVALID says which and at
 * which byte. */
int text_check(const char *text, size_t len, bool multiline, struct err *e) MUST_CHECK;
/* For text that comes from elsewhere: `text` in NFC, with line ends as line feeds, appended to `out`. ERR_INVALID when
 * it is no UTF-8. What text_check refuses besides stays. */
int text_compose(const char *text, size_t len, struct buf *out) MUST_CHECK;
/* Nothing but Unicode white space: what text_fold makes nothing of. */
bool text_is_blank(const char *text, size_t len);
/* Case-folded (Unicode), whitespace runs to one space, trimmed; appended to `out`. Input must have passed text_check.
 */
int text_fold(const char *text, size_t len, struct buf *out) MUST_CHECK;
/* Escapes for logs and terminals: controls, ESC, bidi and byte order marks, which show nothing, become \xNN or \u{…}.
 */
void text_escape(const char *text, size_t len, struct buf *out);
/* One step of text_escape for callers without a buffer: writes the next character, escaped, to `out` (not terminated),
 * sets *out_len and returns how many bytes of `text` it took; 0 when len is 0. Bytes that are no UTF-8 become \xNN. */
#define TEXT_ESCAPE_BYTES 12
size_t text_escape_step(const char *text, size_t len, char out[TEXT_ESCAPE_BYTES], size_t *out_len);
/* The columns of a terminal that the next character takes: 0 for a mark on the one before, 2 for wide ones and emoji.
 * Returns how many bytes of `text` it took; 0 when len is 0. A byte that is no UTF-8 takes a column. */
size_t text_columns_step(const char *text, size_t len, size_t *columns);
/* The first line of `text` for people, escaped, and cut at a character (or an escape) to out_bytes with the NUL. */
void text_show_line(const char *text, size_t len, char *out, size_t out_bytes);
/* Content words: folded, split at anything that is no letter or digit; calls `each` for every word of ≥ 1 character,
 * and stops at the first non-zero result, which it returns. */
int text_words(const char *text, size_t len, int (*each)(void *context, const char *word, size_t len),
	       void *context) MUST_CHECK;
/* The same with the bytes of `text` that each word was: text[start .. end). */
int text_words_at(const char *text, size_t len,
		  int (*each)(void *context, const char *word, size_t len, size_t start, size_t end),
		  void *context) MUST_CHECK;

#endif
