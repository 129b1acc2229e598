#include "base/buf.h"

#include "base/fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_free(struct buf *b)
{
	free(b->data);
	*b = (struct buf)BUF_INIT;
}

void buf_clear(struct buf *b)
{
	b->len = 0;
	b->failed = false;
}

/* Room for `more` bytes after len; marks the buffer failed when there is none. */
static bool reserve(struct buf *b, size_t more)
{
	if (b->failed)
		return false;
	if (b->cap - b->len >= more && b->data != NULL)
		return true;
	if (more > SIZE_MAX / 2 - b->len) {
		b->failed = true;
		return false;
	}
	size_t cap = b->cap < 64 ? 64 : b->cap;
	while (cap < b->len + more)
		cap += cap / 2;
	uint8_t *grown = fault_realloc(b->data, cap);
	if (grown == NULL) {
		b->failed = true;
		return false;
	}
	b->data = grown;
	b->cap = cap;
	return true;
}

void buf_append(struct buf *b, const void *bytes, size_t byte_count)
{
	if (byte_count == 0 || !reserve(b, byte_count))
		return;
	memcpy(b->data + b->len, bytes, byte_count);
	b->len += byte_count;
}

void buf_puts(struct buf *b, const char *text)
{
	buf_append(b, text, strlen(text));
}

void buf_printf(struct buf *b, const char *format, ...)
{
	char small[256];
	va_list args;
	va_start(args, format);
	int written = vsnprintf(small, sizeof(small), format, args);
	va_end(args);
	if (written < 0) {
		b->failed = true;
		return;
	}
	size_t len = (size_t)written;
	if (len < sizeof(small)) {
		buf_append(b, small, len);
		return;
	}
	if (!reserve(b, len + 1))
		return;
	va_start(args, format);
	vsnprintf((char *)b->data + b->len, len + 1, format, args);
	va_end(args);
	b->len += len;
}

void buf_u8(struct buf *b, uint8_t v)
{
	buf_append(b, &v, 1);
}

static void put_le(struct buf *b, uint64_t v, size_t byte_count)
{
	uint8_t bytes[8];
	for (size_t i = 0; i < byte_count; i++)
		bytes[i] = (uint8_t)(v >> (8 * i));
	buf_append(b, bytes, byte_count);
}

void buf_u16le(struct buf *b, uint16_t v)
{
	put_le(b, v, 2);
}

void buf_u32le(struct buf *b, uint32_t v)
{
	put_le(b, v, 4);
}

void buf_u64le(struct buf *b, uint64_t v)
{
	put_le(b, v, 8);
}

void buf_u64be(struct buf *b, uint64_t v)
{
	uint8_t bytes[8];
	for (size_t i = 0; i < 8; i++)
		bytes[i] = (uint8_t)(v >> (56 - 8 * i));
	buf_append(b, bytes, 8);
}

void buf_f32le(struct buf *b, float v)
{
	uint32_t bits;
	memcpy(&bits, &v, sizeof(bits));
	buf_u32le(b, bits);
}

bool buf_failed(const struct buf *b)
{
	return b->failed;
}

const char *buf_cstr(struct buf *b)
{
	if (b->failed || !reserve(b, 1))
		return "";
	b->data[b->len] = '\0';
	return (const char *)b->data;
}

void reader_init(struct reader *r, const void *data, size_t len)
{
	*r = (struct reader){ .data = data, .len = len };
}

const void *reader_bytes(struct reader *r, size_t byte_count)
{
	if (r->overrun || byte_count > r->len - r->at) {
		r->overrun = true;
		return NULL;
	}
	const uint8_t *at = r->data != NULL ? r->data + r->at : (const uint8_t *)"";
	r->at += byte_count;
	return at;
}

static uint64_t get_le(struct reader *r, size_t byte_count)
{
	const uint8_t *bytes = reader_bytes(r, byte_count);
	uint64_t v = 0;
	for (size_t i = 0; bytes != NULL && i < byte_count; i++)
		v |= (uint64_t)bytes[i] << (8 * i);
	return v;
}

uint8_t reader_u8(struct reader *r)
{
	return (uint8_t)get_le(r, 1);
}

uint16_t reader_u16le(struct reader *r)
{
	return (uint16_t)get_le(r, 2);
}

uint32_t reader_u32le(struct reader *r)
{
	return (uint32_t)get_le(r, 4);
}

uint64_t reader_u64le(struct reader *r)
{
	return get_le(r, 8);
}

uint64_t reader_u64be(struct reader *r)
{
	const uint8_t *bytes = reader_bytes(r, 8);
	uint64_t v = 0;
	for (size_t i = 0; bytes != NULL && i < 8; i++)
		v = v << 8 | bytes[i];
	return v;
}

float reader_f32le(struct reader *r)
{
	uint32_t bits = reader_u32le(r);
	float v;
	memcpy(&v, &bits, sizeof(v));
	return v;
}
