/* zstd.h: Zstandard frames (RFC 8878): whole buffers, and a reader that gives a stream piece by piece. A reader
 * belongs to one thread at a time. */
#ifndef AMEND_BASE_ZSTD_H
#define AMEND_BASE_ZSTD_H

#include "base/buf.h"

/* One frame, appended to `out`; on error `out` is as it was. ERR_NOMEM, ERR_EXTERNAL. */
int zstd_compress(const void *bytes, size_t len, int level, struct buf *out, struct err *e) MUST_CHECK;
/* The frames in `bytes` must give exactly `out_len` bytes, else ERR_CORRUPT. */
int zstd_decompress(const void *bytes, size_t len, void *out, size_t out_len, struct err *e) MUST_CHECK;

/* True when the bytes begin as a frame does. */
bool zstd_is_frame(const void *bytes, size_t len);

struct zstd_reader;
int zstd_reader_new(struct zstd_reader **out, struct err *e) MUST_CHECK;
void zstd_reader_destroy(struct zstd_reader **reader);
/* Takes from *in (moved past what was used) and writes at most out_cap bytes. *out_len is 0 only when more input is
 * needed. Holds a window of at most 128 MiB; a stream that needs more, or that is damaged, is ERR_CORRUPT. */
int zstd_reader_step(struct zstd_reader *reader, const uint8_t **in, size_t *in_len, void *out, size_t out_cap,
		     size_t *out_len, struct err *e) MUST_CHECK;
/* Whether a frame is begun and not ended: a stream that ends so was cut short. */
bool zstd_reader_inside_frame(const struct zstd_reader *reader);

#endif
