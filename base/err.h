/* err.h: error codes, and error text that is wrapped on its way up.
 *
 * A fallible function returns 0 or one negative code of ERR_LIST, and describes the failure in the `struct err` it was
 * given. Each layer adds its own context in front: "importing facts.jsonl: line 7: prompt: empty".
 * A text says what failed, where, why, and what to do next. Thread-safe: an err belongs to one thread at a time. */
#ifndef AMEND_BASE_ERR_H
#define AMEND_BASE_ERR_H

#include <stddef.h>

#define ERR_LIST(X)                                                                                                    \
	X(ERR_NOMEM, -1, "out of memory")                                                                              \
	X(ERR_INVALID, -2, "invalid input")                                                                            \
	X(ERR_NOT_FOUND, -3, "not found")                                                                              \
	X(ERR_EXISTS, -4, "exists already")                                                                            \
	X(ERR_CONFLICT, -5, "conflicts with what is there")                                                            \
	X(ERR_AGAIN, -6, "not now, try again")                                                                         \
	X(ERR_IO, -7, "input or output failed")                                                                        \
	X(ERR_FULL, -8, "no space left")                                                                               \
	X(ERR_CORRUPT, -9, "content does not match its hash or format")                                                \
	X(ERR_UNSUPPORTED, -10, "not supported")                                                                       \
	X(ERR_DENIED, -11, "not allowed")                                                                              \
	X(ERR_FENCED, -12, "a newer holder has taken over")                                                            \
	X(ERR_TIMEOUT, -13, "timed out")                                                                               \
	X(ERR_CLOSED, -14, "closed")                                                                                   \
	X(ERR_LIMIT, -15, "over a stated limit")                                                                       \
	X(ERR_MISMATCH, -16, "belongs to another model or cluster")                                                    \
	X(ERR_BUSY, -17, "in use by another process")                                                                  \
	X(ERR_INTERRUPTED, -18, "interrupted")                                                                         \
	X(ERR_EXTERNAL, -19, "a library or program failed")                                                            \
	X(ERR_FAULT, -20, "a planted test fault")

enum err_code {
	ERR_OK = 0,
#define X(name, value, text) name = value,
	ERR_LIST(X)
#undef X
};

#define ERR_TEXT_BYTES_MAX 1024

struct err {
	int code;                      /* 0 or an enum err_code */
	char text[ERR_TEXT_BYTES_MAX]; /* UTF-8, "?" for other bytes; NUL-terminated, cut at a character */
};

#define ERR_INIT                                                                                                       \
	{                                                                                                              \
		0, ""                                                                                                  \
	}
#define MUST_CHECK __attribute__((warn_unused_result))

/* Sets code and text; returns `code`, so that `return err_set(e, ERR_INVALID, ...)` reads well. `e` may be NULL. */
int err_set(struct err *e, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* As err_set with ": " and the text of errno value `errnum` appended. ENOSPC and EDQUOT become ERR_FULL, ENOMEM
 * ERR_NOMEM. */
int err_errno(struct err *e, int code, int errnum, const char *format, ...) __attribute__((format(printf, 4, 5)));
/* As err_errno for an open() that failed: ENOENT is ERR_NOT_FOUND, EACCES and EPERM ERR_DENIED, EEXIST ERR_EXISTS, all
 * else ERR_IO. */
int err_open(struct err *e, int errnum, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Puts "<text>: " in front of what `e` says; the code stays, and the caller returns its own. `e` may be NULL. */
void err_wrap(struct err *e, const char *format, ...) __attribute__((format(printf, 2, 3)));
void err_clear(struct err *e);
/* "ERR_NOMEM" / "out of memory" for a code; "ERR_?" for a number that is none. */
const char *err_name(int code);
const char *err_text(int code);

#endif
