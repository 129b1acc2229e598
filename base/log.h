/* log.h: one logfmt line per event on stderr: time, level, a stable id, key=value.
 *
 *   ts=2026-11-23T08:45:00.123Z level=info id=WORKER-LEASE-HELD shard=3 epoch=2
 *
 * Ids are upper case with dashes, unique in the tree (make tidy checks it); tests assert on ids, never on prose.
 * Values are escaped: no raw control character ever reaches a log. Thread-safe; a line is one write(2). */
#ifndef AMEND_BASE_LOG_H
#define AMEND_BASE_LOG_H

#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_OFF };

struct log_field {
	const char *key;
	enum { LOG_STR, LOG_STRN, LOG_INT, LOG_UINT, LOG_REAL, LOG_HEX } type;
	const void *bytes; /* LOG_STR (NUL-terminated), LOG_STRN, LOG_HEX */
	size_t byte_count;
	int64_t i;
	uint64_t u;
	double real;
};

#define LOGF_S(k, v)     ((struct log_field){ .key = (k), .type = LOG_STR, .bytes = (v) })
#define LOGF_SN(k, v, n) ((struct log_field){ .key = (k), .type = LOG_STRN, .bytes = (v), .byte_count = (n) })
#define LOGF_I(k, v)     ((struct log_field){ .key = (k), .type = LOG_INT, .i = (int64_t)(v) })
#define LOGF_U(k, v)     ((struct log_field){ .key = (k), .type = LOG_UINT, .u = (uint64_t)(v) })
#define LOGF_F(k, v)     ((struct log_field){ .key = (k), .type = LOG_REAL, .real = (double)(v) })
#define LOGF_X(k, v, n)  ((struct log_field){ .key = (k), .type = LOG_HEX, .bytes = (v), .byte_count = (n) })

void log_level_set(enum log_level level);                   /* default LOG_INFO */
int log_level_parse(const char *name, enum log_level *out); /* "debug".."off"; ERR_INVALID */
/* Sends lines to `fd` instead of stderr (tests); -1 restores stderr. */
void log_fd_set(int fd);
/* A field put on every line, e.g. role=worker name=w0. `text` is copied, at most 127 bytes. */
void log_context_set(const char *text);
void log_event_fields(enum log_level level, const char *id, const struct log_field *fields, size_t field_count);

/* log_event(LOG_INFO, "STORE-OPENED", LOGF_S("path", path), LOGF_U("seq", seq)); at least one field. */
#define log_event(level, id, ...)                                                                                      \
	log_event_fields((level), (id), (const struct log_field[]){ __VA_ARGS__ },                                     \
			 sizeof((const struct log_field[]){ __VA_ARGS__ }) / sizeof(struct log_field))

#endif
