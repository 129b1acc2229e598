#include "base/err.h"

#include "base/utf8.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Cuts after `len` bytes, back to the last whole UTF-8 character. */
static void cut_at_character(char *text, size_t len)
{
	size_t start = len;
	while (start > 0 && ((unsigned char)text[start - 1] & 0xC0) == 0x80)
		start--;
	if (start > 0 && (unsigned char)text[start - 1] >= 0xC0) {
		unsigned char lead = (unsigned char)text[start - 1];
		size_t need = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
		if (len - (start - 1) < need)
			len = start - 1;
	}
	text[len] = '\0';
}

/* A name of a file may hold any bytes, but a text with them could not be sent, and would leave its message unsent. */
static void keep_utf8(char *text)
{
	uint32_t code;
	for (size_t left = strlen(text), n; left > 0; text += n, left -= n) {
		n = utf8_next(text, left, &code);
		if (n > 0)
			continue;
		*text = '?';
		n = 1;
	}
}

static void set_text(struct err *e, int written)
{
	if (written < 0)
		e->text[0] = '\0';
	else if ((size_t)written >= sizeof(e->text))
		cut_at_character(e->text, sizeof(e->text) - 1);
	keep_utf8(e->text);
}

int err_set(struct err *e, int code, const char *format, ...)
{
	assert(code < 0);
	if (e == NULL)
		return code;
	e->code = code;
	va_list args;
	va_start(args, format);
	set_text(e, vsnprintf(e->text, sizeof(e->text), format, args));
	va_end(args);
	return code;
}

static int __attribute__((format(printf, 4, 0)))
set_errno(struct err *e, int code, int errnum, const char *format, va_list args)
{
	if (errnum == ENOSPC || errnum == EDQUOT)
		code = ERR_FULL;
	else if (errnum == ENOMEM)
		code = ERR_NOMEM;
	if (e == NULL)
		return code;
	e->code = code;
	set_text(e, vsnprintf(e->text, sizeof(e->text), format, args));
	char reason[128];
	const char *why = strerror_r(errnum, reason, sizeof(reason));
	size_t len = strlen(e->text);
	set_text(e, (int)len + snprintf(e->text + len, sizeof(e->text) - len, ": %s", why));
	return code;
}

int err_errno(struct err *e, int code, int errnum, const char *format, ...)
{
	assert(code < 0);
	va_list args;
	va_start(args, format);
	code = set_errno(e, code, errnum, format, args);
	va_end(args);
	return code;
}

int err_open(struct err *e, int errnum, const char *format, ...)
{
	int code = errnum == ENOENT                      ? ERR_NOT_FOUND
		   : errnum == EACCES || errnum == EPERM ? ERR_DENIED
		   : errnum == EEXIST                    ? ERR_EXISTS
							 : ERR_IO;
	va_list args;
	va_start(args, format);
	code = set_errno(e, code, errnum, format, args);
	va_end(args);
	return code;
}

void err_wrap(struct err *e, const char *format, ...)
{
	if (e == NULL)
		return;
	char front[ERR_TEXT_BYTES_MAX];
	va_list args;
	va_start(args, format);
	int written = vsnprintf(front, sizeof(front), format, args);
	va_end(args);
	if (written < 0)
		return;
	size_t front_len = (size_t)written < sizeof(front) ? (size_t)written : sizeof(front) - 1;
	char both[2 * ERR_TEXT_BYTES_MAX + 4];
	int total = snprintf(both, sizeof(both), "%.*s: %s", (int)front_len, front, e->text);
	size_t keep = (size_t)total < sizeof(e->text) ? (size_t)total : sizeof(e->text) - 1;
	memcpy(e->text, both, keep);
	e->text[keep] = '\0';
	if (keep < (size_t)total)
		cut_at_character(e->text, keep);
	keep_utf8(e->text);
}

void err_clear(struct err *e)
{
	if (e == NULL)
		return;
	e->code = 0;
	e->text[0] = '\0';
}

const char *err_name(int code)
{
	switch (code) {
	case ERR_OK:
		return "ERR_OK";
#define X(name, value, text)                                                                                           \
	case value:                                                                                                    \
		return #name;
		ERR_LIST(X)
#undef X
	default:
		return "ERR_?";
	}
}

const char *err_text(int code)
{
	switch (code) {
	case ERR_OK:
		return "no error";
#define X(name, value, text)                                                                                           \
	case value:                                                                                                    \
		return text;
		ERR_LIST(X)
#undef X
	default:
		return "ERR_?";
	}
}
