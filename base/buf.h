/* buf.h: a growable byte buffer. Not thread-safe. A failed append leaves it as it was and sticks: check once with
 * buf_failed. */
#ifndef AMEND_BASE_BUF_H
#define AMEND_BASE_BUF_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct buf {
	uint8_t *data; /* NULL when empty; NUL-terminated only after buf_cstr */
	size_t len, cap;
	bool failed; /* an append ran out of memory */
};

#define BUF_INIT                                                                                                       \
	{                                                                                                              \
		NULL, 0, 0, false                                                                                      \
	}

void buf_free(struct buf *b);  /* back to BUF_INIT */
void buf_clear(struct buf *b); /* keeps the capacity */
void buf_append(struct buf *b, const void *bytes, size_t byte_count);
void buf_puts(struct buf *b, const char *text);
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_u8(struct buf *b, uint8_t v);
void buf_u16le(struct buf *b, uint16_t v);
void buf_u32le(struct buf *b, uint32_t v);
void buf_u64le(struct buf *b, uint64_t v);
void buf_u64be(struct buf *b, uint64_t v);
void buf_f32le(struct buf *b, float v);
bool buf_failed(const struct buf *b);
const char *buf_cstr(struct buf *b); /* "" when empty or failed */

/* A bounds-checked reader over bytes that it does not own. After an overrun every read gives 0 and `overrun` stays
 * true. */
struct reader {
	const uint8_t *data;
	size_t len, at;
	bool overrun;
};
void reader_init(struct reader *r, const void *data, size_t len);
uint8_t reader_u8(struct reader *r);
uint16_t reader_u16le(struct reader *r);
uint32_t reader_u32le(struct reader *r);
uint64_t reader_u64le(struct reader *r);
uint64_t reader_u64be(struct reader *r);
float reader_f32le(struct reader *r);
const void *reader_bytes(struct reader *r, size_t byte_count); /* NULL on overrun */

/* Whole files. read: `byte_limit` bounds it (ERR_LIMIT). write: to a temporary name, fsync, rename, fsync of the
 * folder. */
int file_read(const char *path, size_t byte_limit, struct buf *out, struct err *e) MUST_CHECK;
/* The same of a regular file: ERR_INVALID for a FIFO, on which it would wait, a folder or a device. */
int file_read_regular(const char *path, size_t byte_limit, struct buf *out, struct err *e) MUST_CHECK;
int file_write_atomic(const char *path, const void *bytes, size_t byte_count, unsigned mode, struct err *e) MUST_CHECK;
/* Whether such a write can begin: long work should not find out at its end. Nothing is left there. */
int file_write_check(const char *path, struct err *e) MUST_CHECK;
/* The same for a file that ends with the SHA-256 of what comes before: ERR_CORRUPT when it does not match. What is read
 * replaces what `out` held; it is empty after a failure. */
int file_read_sealed(const char *path, size_t byte_limit, struct buf *out, struct err *e) MUST_CHECK;
int file_write_sealed(const char *path, const void *bytes, size_t byte_count, unsigned mode, struct err *e) MUST_CHECK;
/* A new file, synced with its folder; ERR_EXISTS when something is there. After a failure nothing is left. */
int file_write_new(const char *path, const void *bytes, size_t byte_count, unsigned mode, struct err *e) MUST_CHECK;
/* The folder part of a path: "." when there is none. ERR_LIMIT when the path does not fit. */
int file_folder_of(const char *path, char *out, size_t out_bytes, struct err *e) MUST_CHECK;
/* fsync of a folder, where its file system has one. */
int file_sync_folder(const char *folder, struct err *e) MUST_CHECK;
/* mkdir -p with mode 0700. */
int file_make_folder(const char *path, struct err *e) MUST_CHECK;

#endif
