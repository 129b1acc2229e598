/* Reading JSONL line by line, for record.h. */
#include "base/record.h"

#include "base/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK_BYTES 65536

struct record_file {
	int fd;
	char *path;
	size_t line_no;
	size_t at, end; /* unread bytes of block */
	bool eof;
	size_t line_len;
	char line[RECORD_BYTES_MAX + 2]; /* with a carriage return and the NUL */
	char block[BLOCK_BYTES];
};

int record_file_open(const char *path, struct record_file **out, struct err *e)
{
	struct record_file *file = fault_malloc(sizeof(*file));
	size_t path_bytes = strlen(path) + 1;
	char *copy = fault_malloc(path_bytes);
	int fd = -1, rc = 0;
	if (file == NULL || copy == NULL)
		rc = err_set(e, ERR_NOMEM, "opening %s: out of memory", path);
	else if (strcmp(path, "-") == 0)
		fd = STDIN_FILENO;
	else if ((fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
		rc = err_errno(e,
			       errno == ENOENT   ? ERR_NOT_FOUND
			       : errno == EACCES ? ERR_DENIED
						 : ERR_IO,
			       errno, "opening %s", path);
	if (rc != 0) {
		free(file);
		free(copy);
		return rc;
	}
	memcpy(copy, path, path_bytes);
	file->fd = fd;
	file->path = copy;
	file->line_no = 0;
	file->at = file->end = 0;
	file->eof = false;
	*out = file;
	return 0;
}

void record_file_close(struct record_file **file)
{
	if (*file == NULL)
		return;
	if ((*file)->fd != STDIN_FILENO)
		close((*file)->fd);
	free((*file)->path);
	free(*file);
	*file = NULL;
}

static int refill(struct record_file *file, struct err *e)
{
	ssize_t got = read(file->fd, file->block, sizeof(file->block));
	if (got < 0 && errno == EINTR) /* Ctrl-C while a pipe or a terminal has nothing to give */
		return err_set(e, ERR_INTERRUPTED, "reading %s: interrupted", file->path);
	if (got < 0)
		return err_errno(e, ERR_IO, errno, "reading %s", file->path);
	file->eof = got == 0;
	file->at = 0;
	file->end = (size_t)got;
	return 0;
}

/* Reads up to and without the next line feed into `line`; what does not fit is passed over, and *too_long says so. */
static int read_line(struct record_file *file, bool *any, bool *too_long, struct err *e)
{
	file->line_len = 0;
	*any = *too_long = false;
	for (;;) {
		if (file->at == file->end) {
			int rc = file->eof ? 0 : refill(file, e);
			if (rc != 0 || file->eof)
				return rc;
		}
		*any = true;
		const char *start = file->block + file->at;
		const char *feed = memchr(start, '\n', file->end - file->at);
		size_t len = feed != NULL ? (size_t)(feed - start) : file->end - file->at;
		size_t room = sizeof(file->line) - 1 - file->line_len;
		if (len > room) {
			*too_long = true;
			memcpy(file->line + file->line_len, start, room);
			file->line_len += room;
		} else {
			memcpy(file->line + file->line_len, start, len);
			file->line_len += len;
		}
		file->at += len + (feed != NULL ? 1 : 0);
		if (feed != NULL)
			return 0;
	}
}

static bool is_blank(const char *line, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (line[i] != ' ' && line[i] != '\t')
			return false;
	}
	return true;
}

int record_file_next(struct record_file *file, const char **line, size_t *len, size_t *line_no, struct err *e)
{
	for (;;) {
		bool any, too_long;
		int rc = read_line(file, &any, &too_long, e);
		if (rc != 0)
			return rc;
		if (!any)
			return ERR_NOT_FOUND;
		file->line_no++;
		*line_no = file->line_no;
		char *text = file->line;
		size_t text_len = file->line_len;
		if (!too_long && text_len > 0 && text[text_len - 1] == '\r')
			text_len--;
		if (too_long || text_len > RECORD_BYTES_MAX)
			return err_set(e, ERR_LIMIT, "%s:%zu: over %d bytes", file->path, file->line_no,
				       RECORD_BYTES_MAX);
		if (file->line_no == 1 && text_len >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) {
			text += 3; /* a byte order mark that some editors put in front */
			text_len -= 3;
		}
		if (is_blank(text, text_len))
			continue;
		text[text_len] = '\0';
		*line = text;
		*len = text_len;
		return 0;
	}
}
