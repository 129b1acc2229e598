#include "tests/torture/history.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FILE_BYTES_MAX ((size_t)1 << 30)

static const char *const kind_names[HISTORY_KIND_COUNT] = { "invoke", "ok", "dup", "fail", "unknown" };

uint64_t history_now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

int history_open(const char *path, int *fd, struct err *e)
{
	*fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
	return *fd >= 0 ? 0 : err_open(e, errno, "history %s", path);
}

int history_append(int fd, const struct history_line *line, struct err *e)
{
	char text[512], hex[HASH_HEX_BYTES], last[32] = "-";
	hash_hex(&line->content, hex);
	if (line->kind == HISTORY_OK || line->kind == HISTORY_DUP)
		snprintf(last, sizeof last, "%" PRIu64, line->seq);
	else if (line->kind == HISTORY_FAIL)
		snprintf(last, sizeof last, "%s", line->code);
	int len = snprintf(text, sizeof text, "%" PRIu64 " %s %s %s %s\n", history_now_ns(), kind_names[line->kind],
			   line->id, hex, last);
	return write(fd, text, (size_t)len) == len ? 0 : err_errno(e, ERR_IO, errno, "writing the history");
}

static int line_parse(const char *text, struct history_line *out)
{
	char kind[16], hex[HASH_HEX_BYTES], last[24];
	if (sscanf(text, "%" SCNu64 " %15s %159s %64s %23s", &out->ns, kind, out->id, hex, last) != 5 ||
	    hash_parse(hex, &out->content) != 0)
		return ERR_INVALID;
	int k = 0;
	while (k < HISTORY_KIND_COUNT && strcmp(kind, kind_names[k]) != 0)
		k++;
	if (k == HISTORY_KIND_COUNT)
		return ERR_INVALID;
	out->kind = (enum history_kind)k;
	snprintf(out->code, sizeof out->code, "%s", last);
	out->seq = 0;
	if ((k == HISTORY_OK || k == HISTORY_DUP) && sscanf(last, "%" SCNu64, &out->seq) != 1)
		return ERR_INVALID;
	return 0;
}

/* A client that was killed leaves half a line at most: it told nobody anything. */
int history_read(const char *path, struct history *history, struct err *e)
{
	struct buf text = BUF_INIT;
	int rc = file_read(path, FILE_BYTES_MAX, &text, e);
	char *at = rc == 0 && text.len > 0 ? (char *)(uintptr_t)buf_cstr(&text) : NULL, *end;
	for (uint64_t number = 1; rc == 0 && at != NULL && (end = strchr(at, '\n')) != NULL; number++) {
		struct history_line line = { .file = path, .number = number };
		*end = '\0';
		if (line_parse(at, &line) != 0)
			rc = err_set(e, ERR_INVALID, "%s:%" PRIu64 ": is no line of a history", path, number);
		buf_append(&history->lines, &line, sizeof line);
		at = end + 1;
	}
	if (rc == 0 && buf_failed(&history->lines))
		rc = err_set(e, ERR_NOMEM, "%s: out of memory", path);
	buf_free(&text);
	return rc;
}

size_t history_count(const struct history *history)
{
	return history->lines.len / sizeof(struct history_line);
}

const struct history_line *history_at(const struct history *history, size_t index)
{
	return (const struct history_line *)(const void *)history->lines.data + index;
}

void history_free(struct history *history)
{
	buf_free(&history->lines);
}
