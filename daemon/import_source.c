#include "base/fault.h"
#include "base/utf8.h"
#include "base/zstd.h"
#include "daemon/import_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK_BYTES (64 * 1024)
#define PLAIN_BYTES (128 * 1024)
#define UTF16_LOOK  8 /* characters */

static int read_block(struct import__source *s, size_t *len, struct err *e)
{
	ssize_t got = read(s->fd, s->block, BLOCK_BYTES);
	if (got < 0 && errno == EINTR) /* Ctrl-C while a pipe or a terminal has nothing to give */
		return err_set(e, ERR_INTERRUPTED, "reading %s: interrupted", s->path);
	if (got < 0)
		return err_errno(e, ERR_IO, errno, "reading %s", s->path);
	s->bytes_read += (uint64_t)got;
	*len = (size_t)got;
	return 0;
}

static int fill_plain(struct import__source *s, struct err *e)
{
	size_t len = 0;
	int rc = read_block(s, &len, e);
	if (rc != 0)
		return rc;
	s->at = s->block;
	s->end = s->block + len;
	return 0;
}

static int fill_compressed(struct import__source *s, struct err *e)
{
	size_t len = 0;
	while (len == 0) {
		int rc = zstd_reader_step(s->zstd, &s->packed, &s->packed_len, s->plain, PLAIN_BYTES, &len, e);
		if (rc != 0) {
			err_wrap(e, "reading %s", s->path);
			return rc;
		}
		if (len > 0 || s->packed_len > 0)
			continue;
		rc = read_block(s, &s->packed_len, e);
		if (rc != 0)
			return rc;
		s->packed = s->block;
		if (s->packed_len > 0)
			continue;
		if (zstd_reader_inside_frame(s->zstd))
			return err_set(e, ERR_CORRUPT, "reading %s: the compressed file was cut short", s->path);
		break;
	}
	s->at = s->plain;
	s->end = s->plain + len;
	return 0;
}

int import__source_fill(struct import__source *source, struct err *e)
{
	return source->zstd != NULL ? fill_compressed(source, e) : fill_plain(source, e);
}

/* Fills the first block as far as the marks go that it may begin with; a pipe may give single bytes. */
static int fill_head(struct import__source *s, size_t *len, struct err *e)
{
	*len = 0;
	while (*len < 4) {
		ssize_t got = read(s->fd, s->block + *len, BLOCK_BYTES - *len);
		if (got < 0 && errno == EINTR)
			return err_set(e, ERR_INTERRUPTED, "reading %s: interrupted", s->path);
		if (got < 0)
			return err_errno(e, ERR_IO, errno, "reading %s", s->path);
		if (got == 0)
			break;
		*len += (size_t)got;
	}
	s->bytes_read = *len;
	return 0;
}

/* The first line, as far as the piece has it, is UTF-8. A bad byte further on is a bad line among others. */
static bool first_line_is_utf8(const uint8_t *at, size_t len)
{
	const uint8_t *line_end = memchr(at, '\n', len);
	size_t line_bytes = line_end != NULL ? (size_t)(line_end - at) : len;
	for (size_t i = 0, step; i < line_bytes; i += step) {
		uint32_t code;
		step = utf8_next((const char *)at + i, line_bytes - i, &code);
		if (step == 0)
			return line_end == NULL && line_bytes - i < 4; /* the piece may end in a character */
	}
	return true;
}

/* By its mark or, without one, by its first characters, which are ASCII in all that is taken; NULL: it is none. */
static const char *utf16_name(const uint8_t *at, size_t len)
{
	size_t pairs = len / 2 < UTF16_LOOK ? len / 2 : UTF16_LOOK, little = 0, big = 0;
	if (len >= 2 && (memcmp(at, "\xFF\xFE", 2) == 0 || memcmp(at, "\xFE\xFF", 2) == 0))
		return "UTF-16";
	for (size_t i = 0; i < pairs; i++) {
		little += at[2 * i] != 0 && at[2 * i + 1] == 0;
		big += at[2 * i] == 0 && at[2 * i + 1] != 0;
	}
	return pairs < 2 ? NULL : little == pairs ? "UTF-16LE" : big == pairs ? "UTF-16BE" : NULL;
}

/* A model, an archive or another program's encoding would be one bad line after the other. */
static int text_like(const struct import__source *s, struct err *e)
{
	size_t len = (size_t)(s->end - s->at);
	const char *utf16 = utf16_name(s->at, len);
	if (utf16 != NULL)
		return err_set(e, ERR_INVALID, "%s is UTF-16 text: convert it to UTF-8 (iconv -f %s -t UTF-8)", s->path,
			       utf16);
	if (memchr(s->at, 0, len) != NULL)
		return err_set(e, ERR_INVALID,
			       "%s is no text file (it holds NUL bytes): give edits as JSON lines, a JSON array or CSV",
			       s->path);
	if (!first_line_is_utf8(s->at, len))
		return err_set(e, ERR_INVALID,
			       "%s is no text file, or not in UTF-8: give edits as JSON lines, a JSON array or CSV in "
			       "UTF-8",
			       s->path);
	return 0;
}

static int begin(struct import__source *s, struct err *e)
{
	struct stat st;
	size_t len;
	int rc = fill_head(s, &len, e), c;
	if (rc != 0)
		return rc;
	if (fstat(s->fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0)
		s->bytes_total = (uint64_t)st.st_size;
	s->at = s->block;
	s->end = s->block + len;
	if (zstd_is_frame(s->block, len)) {
		s->packed = s->block;
		s->packed_len = len;
		s->at = s->end = NULL;
		s->plain = fault_malloc(PLAIN_BYTES);
		if (s->plain == NULL)
			return err_set(e, ERR_NOMEM, "opening %s: out of memory", s->path);
		rc = zstd_reader_new(&s->zstd, e);
	}
	if (rc == 0)
		rc = import__peek(s, &c, e);
	if (rc == 0 && s->end - s->at >= 3 && memcmp(s->at, "\xEF\xBB\xBF", 3) == 0)
		s->at += 3; /* a byte order mark that some editors put in front */
	return rc == 0 && s->at != s->end ? text_like(s, e) : rc;
}

int import__source_open(const char *path, struct import__source *out, struct err *e)
{
	size_t path_bytes = strlen(path) + 1;
	*out = (struct import__source){ .fd = -1, .line_no = 1 };
	out->path = fault_malloc(path_bytes);
	out->block = fault_malloc(BLOCK_BYTES);
	int rc = 0;
	if (out->path == NULL || out->block == NULL)
		rc = err_set(e, ERR_NOMEM, "opening %s: out of memory", path);
	else
		memcpy(out->path, path, path_bytes);
	if (rc == 0 && strcmp(path, "-") == 0)
		out->fd = STDIN_FILENO;
	else if (rc == 0 && (out->fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
		rc = err_errno(e,
			       errno == ENOENT   ? ERR_NOT_FOUND
			       : errno == EACCES ? ERR_DENIED
						 : ERR_IO,
			       errno, "opening %s", path);
	if (rc == 0)
		rc = begin(out, e);
	if (rc != 0)
		import__source_close(out);
	return rc;
}

void import__source_close(struct import__source *source)
{
	if (source->fd >= 0 && source->fd != STDIN_FILENO)
		close(source->fd);
	zstd_reader_destroy(&source->zstd);
	free(source->path);
	free(source->block);
	free(source->plain);
	*source = (struct import__source){ .fd = -1 };
}
