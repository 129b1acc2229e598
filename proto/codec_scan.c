/* codec_scan.c: what is done to a body before protobuf-c may see it. protobuf-c limits neither depth nor memory: 60 KB
 * of nested messages overflow its stack, 1 MiB of empty submessages takes 64 MiB. */
#include "proto/codec_wire.h"

#include "base/fault.h"

#include <stdlib.h>
#include <string.h>

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

struct cursor {
	const uint8_t *bytes;
	size_t len, at;
};

static bool read_varint(struct cursor *c, uint64_t *out)
{
	*out = 0;
	for (unsigned shift = 0; shift < 70 && c->at < c->len; shift += 7) {
		uint8_t byte = c->bytes[c->at++];
		if (shift < 64)
			*out |= (uint64_t)(byte & 0x7f) << shift;
		if ((byte & 0x80) == 0)
			return true;
	}
	return false;
}

static bool skip(struct cursor *c, uint64_t count)
{
	if (count > c->len - c->at)
		return false;
	c->at += (size_t)count;
	return true;
}

struct field {
	uint32_t number;
	unsigned wire;
	const uint8_t *bytes; /* of WIRE_BYTES */
	size_t len;
};

static bool read_field(struct cursor *c, struct field *f)
{
	uint64_t key, n;
	if (!read_varint(c, &key) || key >> 3 == 0 || key >> 3 > (1u << 29) - 1)
		return false;
	*f = (struct field){ .number = (uint32_t)(key >> 3), .wire = (unsigned)(key & 7) };
	switch (f->wire) {
	case WIRE_VARINT:
		return read_varint(c, &n);
	case WIRE_64:
		return skip(c, 8);
	case WIRE_32:
		return skip(c, 4);
	case WIRE_BYTES:
		if (!read_varint(c, &n))
			return false;
		f->bytes = c->bytes + c->at;
		f->len = (size_t)n;
		return skip(c, n);
	default:
		return false; /* groups are not used */
	}
}

static int scan_level(const ProtobufCMessageDescriptor *wire, const uint8_t *bytes, size_t len, unsigned depth,
		      size_t *fields_left, struct err *e)
{
	if (depth > CODEC_DEPTH_MAX)
		return err_set(e, ERR_LIMIT, "%s: nested deeper than %d", wire->name, CODEC_DEPTH_MAX);
	struct cursor c = { bytes, len, 0 };
	while (c.at < c.len) {
		size_t at = c.at;
		struct field f;
		if (!read_field(&c, &f))
			return err_set(e, ERR_INVALID, "%s: not protobuf at byte %zu", wire->name, at);
		if (*fields_left == 0)
			return err_set(e, ERR_LIMIT, "%s: too many fields", wire->name);
		--*fields_left;
		const ProtobufCFieldDescriptor *d = protobuf_c_message_descriptor_get_field(wire, f.number);
		if (d == NULL || d->type != PROTOBUF_C_TYPE_MESSAGE || f.wire != WIRE_BYTES)
			continue;
		int rc = scan_level(d->descriptor, f.bytes, f.len, depth + 1, fields_left, e);
		if (rc != 0)
			return rc;
	}
	return 0;
}

int codec__scan(const ProtobufCMessageDescriptor *wire, const uint8_t *bytes, size_t len, size_t *fields_left,
		struct err *e)
{
	return scan_level(wire, bytes, len, 1, fields_left, e);
}

/* Each block carries its size in front, so that a free gives it back to the budget. */
union head {
	size_t bytes;
	max_align_t align;
};

static void *budget_alloc(void *context, size_t bytes)
{
	struct codec__budget *budget = context;
	if (bytes > budget->left || budget->left - bytes < sizeof(union head)) {
		budget->exhausted = true;
		return NULL;
	}
	union head *head = fault_malloc(sizeof(*head) + bytes);
	if (head == NULL) {
		budget->no_memory = true;
		return NULL;
	}
	head->bytes = sizeof(*head) + bytes;
	budget->left -= head->bytes;
	return head + 1;
}

static void budget_free(void *context, void *p)
{
	if (p == NULL)
		return;
	struct codec__budget *budget = context;
	union head *head = (union head *)p - 1;
	budget->left += head->bytes;
	free(head);
}

void codec__budget_init(struct codec__budget *budget, size_t bytes)
{
	budget->allocator = (ProtobufCAllocator){ budget_alloc, budget_free, budget };
	budget->left = bytes;
	budget->exhausted = budget->no_memory = false;
}

/* Bytes of the sequence that starts with `first`, 0 when none may; *low and *high bound its second byte (RFC 3629,
 * section 4). */
static size_t utf8_length(uint8_t first, uint8_t *low, uint8_t *high)
{
	*low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
	*high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
	if (first < 0x80)
		return first != 0;
	if (first < 0xc2 || first > 0xf4)
		return 0;
	return first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

size_t codec__utf8_bad(const uint8_t *text, size_t len)
{
	size_t at = 0;
	while (at < len) {
		uint8_t low, high;
		size_t n = utf8_length(text[at], &low, &high);
		if (n == 0 || n > len - at)
			return at;
		for (size_t i = 1; i < n; i++)
			if (text[at + i] < (i == 1 ? low : 0x80) || text[at + i] > (i == 1 ? high : 0xbf))
				return at;
		at += n;
	}
	return len;
}
