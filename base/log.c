#include "base/log.h"

#include "base/env.h"
#include "base/err.h"
#include "base/text.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A line never allocates: it must come out when memory has run out. What does not fit is cut, and the line says so. */
#define LINE_BYTES_MAX    4096
#define CONTEXT_BYTES_MAX 128
#define CUT_TEXT          " cut=true\n"

struct line {
	char text[LINE_BYTES_MAX];
	size_t len;
	bool cut;
};

static atomic_int level_min = LOG_INFO;
static atomic_int line_fd = STDERR_FILENO;
static pthread_mutex_t context_lock = PTHREAD_MUTEX_INITIALIZER;
static char context_text[CONTEXT_BYTES_MAX];

static const char *const level_names[] = { "debug", "info", "warn", "error", "off" };

void log_level_set(enum log_level level)
{
	atomic_store(&level_min, (int)level);
}

int log_level_parse(const char *name, enum log_level *out)
{
	for (size_t i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++) {
		if (strcmp(name, level_names[i]) == 0) {
			*out = (enum log_level)i;
			return 0;
		}
	}
	return ERR_INVALID;
}

void log_fd_set(int fd)
{
	atomic_store(&line_fd, fd >= 0 ? fd : STDERR_FILENO);
}

void log_context_set(const char *text)
{
	pthread_mutex_lock(&context_lock);
	size_t len = text != NULL ? strnlen(text, CONTEXT_BYTES_MAX - 1) : 0;
	if (len > 0)
		memcpy(context_text, text, len);
	context_text[len] = '\0';
	pthread_mutex_unlock(&context_lock);
}

static void put(struct line *line, const char *bytes, size_t byte_count)
{
	if (line->cut || byte_count > LINE_BYTES_MAX - sizeof(CUT_TEXT) - line->len) {
		line->cut = true;
		return;
	}
	memcpy(line->text + line->len, bytes, byte_count);
	line->len += byte_count;
}

static void put_text(struct line *line, const char *text)
{
	put(line, text, strlen(text));
}

static bool needs_quotes(const char *text, size_t len)
{
	if (len == 0)
		return true;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c >= 0x7F)
			return true;
	}
	return false;
}

static void put_value(struct line *line, const char *text, size_t len)
{
	if (!needs_quotes(text, len)) {
		put(line, text, len);
		return;
	}
	put(line, "\"", 1);
	if (line->cut)
		return; /* nothing was opened */
	while (len > 0 && !line->cut) {
		char escaped[TEXT_ESCAPE_BYTES];
		size_t escaped_len;
		size_t taken = text_escape_step(text, len, escaped, &escaped_len);
		if (*text == '"' || *text == '\\')
			put(line, "\\", 1);
		put(line, escaped, escaped_len);
		text += taken;
		len -= taken;
	}
	put(line, "\"", 1);
	if (line->cut)
		line->text[line->len++] = '"'; /* the reserve for CUT_TEXT has one byte to spare */
}

static void put_hex(struct line *line, const unsigned char *bytes, size_t byte_count)
{
	static const char digits[] = "0123456789abcdef";
	for (size_t i = 0; i < byte_count; i++) {
		char pair[2] = { digits[bytes[i] >> 4], digits[bytes[i] & 15] };
		put(line, pair, 2);
	}
}

static void put_field(struct line *line, const struct log_field *field)
{
	char number[48];
	put(line, " ", 1);
	put_text(line, field->key);
	put(line, "=", 1);
	switch (field->type) {
	case LOG_STR:
		put_value(line, field->bytes != NULL ? field->bytes : "",
			  field->bytes != NULL ? strlen(field->bytes) : 0);
		return;
	case LOG_STRN:
		put_value(line, field->bytes, field->byte_count);
		return;
	case LOG_HEX:
		put_hex(line, field->bytes, field->byte_count);
		return;
	case LOG_INT:
		snprintf(number, sizeof(number), "%lld", (long long)field->i);
		break;
	case LOG_UINT:
		snprintf(number, sizeof(number), "%llu", (unsigned long long)field->u);
		break;
	case LOG_REAL:
		snprintf(number, sizeof(number), "%.9g", field->real);
		break;
	}
	put_text(line, number);
}

static void put_head(struct line *line, enum log_level level, const char *id)
{
	char time[ENV_TIME_BYTES];
	env_time_format(env_wall_ms(env_system()), time);
	put_text(line, "ts=");
	put_text(line, time);
	put_text(line, " level=");
	put_text(line, level_names[level]);
	put_text(line, " id=");
	put_text(line, id);
	pthread_mutex_lock(&context_lock);
	if (context_text[0] != '\0') {
		put(line, " ", 1);
		put_text(line, context_text);
	}
	pthread_mutex_unlock(&context_lock);
}

void log_event_fields(enum log_level level, const char *id, const struct log_field *fields, size_t field_count)
{
	if ((int)level < atomic_load_explicit(&level_min, memory_order_relaxed) || level >= LOG_OFF)
		return;
	int saved_errno = errno;
	struct line line;
	line.len = 0;
	line.cut = false;
	put_head(&line, level, id);
	for (size_t i = 0; i < field_count; i++)
		put_field(&line, &fields[i]);
	const char *end = line.cut ? CUT_TEXT : "\n";
	memcpy(line.text + line.len, end, strlen(end));
	line.len += strlen(end);
	/* One write, so that lines of several processes do not mix; a log that cannot be written has nowhere to say so.
	 */
	ssize_t put_bytes = write(atomic_load(&line_fd), line.text, line.len);
	(void)put_bytes;
	errno = saved_errno;
}
