/* history.h: what clients asked and were told, a line each, in a file that outlives every crash:
 *   TIME KIND ID CONTENT [SEQ|WORD]
 * TIME is nanoseconds of the monotonic clock, which all processes of a machine share; CONTENT the SHA-256 of the
 * record's bytes. KIND: invoke (before it is sent), ok SEQ (accepted), dup SEQ (it was there already), fail CODE (a
 * definite refusal), unknown (no answer came). One line is one write(2): several clients may share a file. */
#ifndef AMEND_TESTS_TORTURE_HISTORY_H
#define AMEND_TESTS_TORTURE_HISTORY_H

#include "base/buf.h"
#include "base/hash.h"

#define HISTORY_ID_BYTES 160

enum history_kind { HISTORY_INVOKE, HISTORY_OK, HISTORY_DUP, HISTORY_FAIL, HISTORY_UNKNOWN, HISTORY_KIND_COUNT };

struct history_line {
	uint64_t ns;
	enum history_kind kind;
	char id[HISTORY_ID_BYTES];
	struct hash content;
	uint64_t seq;     /* ok, dup */
	char code[24];    /* fail */
	const char *file; /* borrowed */
	uint64_t number;  /* its line in `file`, for findings */
};

struct history {
	struct buf lines; /* struct history_line, in the order of files and lines */
};

uint64_t history_now_ns(void);
int history_open(const char *path, int *fd, struct err *e) MUST_CHECK;                 /* for appending */
int history_append(int fd, const struct history_line *line, struct err *e) MUST_CHECK; /* with the time of now */
int history_read(const char *path, struct history *history, struct err *e) MUST_CHECK; /* adds to what is there */
size_t history_count(const struct history *history);
const struct history_line *history_at(const struct history *history, size_t index);
void history_free(struct history *history);

#endif
