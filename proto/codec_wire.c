/* codec_wire.c: the engine that walks the tables of codec_*.c, in both directions. The same checks run before sending
 * and after receiving: what a peer would drop in silence is an error with text at the sender. */
#include "proto/codec_wire.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define TIME_MS_MAX        INT64_C(253402300799999)
#define ENCODE_BLOCK_BYTES (16 * 1024)
#define ENCODE_BYTES_MAX   (64 * 1024 * 1024)

struct place {
	const struct codec__table *table;
	const struct codec__row *row;
	const ProtobufCFieldDescriptor *field;
};

static int bad(const struct place *p, struct err *e, int code, const char *why)
{
	return err_set(e, code, "%s.%s: %s", p->table->wire->name, p->field->name, why);
}

static int check_range(const struct place *p, uint64_t v, struct err *e)
{
	if (v >= p->row->min && v <= p->row->max)
		return 0;
	return err_set(e, ERR_INVALID, "%s.%s: %llu is not in %llu..%llu", p->table->wire->name, p->field->name,
		       (unsigned long long)v, (unsigned long long)p->row->min, (unsigned long long)p->row->max);
}

static int check_code(const struct place *p, int64_t v, struct err *e)
{
	if (v == 0)
		return 0;
#define X(name, value, text)                                                                                           \
	if (v == (value))                                                                                              \
		return 0;
	ERR_LIST(X)
#undef X
	return bad(p, e, ERR_INVALID, "no error code");
}

static int check_real(const struct place *p, double v, struct err *e)
{
	if (!isfinite(v))
		return bad(p, e, ERR_INVALID, "not a finite number");
	if (p->row->kind == CODEC_SHARE && (v < 0 || v > 1))
		return bad(p, e, ERR_INVALID, "not a share between 0 and 1");
	return 0;
}

static int check_time(const struct place *p, int64_t v, struct err *e)
{
	return v >= 0 && v <= TIME_MS_MAX ? 0 : bad(p, e, ERR_INVALID, "no time");
}

static int check_count(const struct place *p, size_t count, struct err *e)
{
	if (count <= p->row->max)
		return 0;
	return err_set(e, ERR_LIMIT, "%s.%s: %zu items, at most %llu are allowed", p->table->wire->name, p->field->name,
		       count, (unsigned long long)p->row->max);
}

static int check_bytes(const struct place *p, const void *bytes, size_t len, size_t max, struct err *e)
{
	if (len > max)
		return err_set(e, ERR_LIMIT, "%s.%s: %zu bytes, at most %zu are allowed", p->table->wire->name,
			       p->field->name, len, max);
	if (p->row->kind != CODEC_TEXT)
		return 0;
	size_t at = codec__utf8_bad(bytes, len);
	if (at == len)
		return 0;
	return err_set(e, ERR_INVALID, "%s.%s: not UTF-8 without NUL at byte %zu", p->table->wire->name, p->field->name,
		       at);
}

/* A number of the plain struct or of the packed one, as both have the same size. */
static int check_number(const struct place *p, const void *at, struct err *e)
{
	uint64_t u64;
	uint32_t u32;
	double real;
	int32_t code;
	switch (p->row->kind) {
	case CODEC_U32:
		memcpy(&u32, at, sizeof(u32));
		return check_range(p, u32, e);
	case CODEC_U64:
		memcpy(&u64, at, sizeof(u64));
		return check_range(p, u64, e);
	case CODEC_TIME:
		memcpy(&u64, at, sizeof(u64));
		return check_time(p, (int64_t)u64, e);
	case CODEC_CODE:
		memcpy(&code, at, sizeof(code));
		return check_code(p, code, e);
	case CODEC_REAL:
	case CODEC_SHARE:
		memcpy(&real, at, sizeof(real));
		return check_real(p, real, e);
	default:
		return 0;
	}
}

static size_t number_bytes(enum codec__kind kind)
{
	return kind == CODEC_U32 || kind == CODEC_CODE ? 4 : 8;
}

static struct place place_of(const struct codec__table *table, size_t i)
{
	struct place p = { table, &table->rows[i], NULL };
	p.field = protobuf_c_message_descriptor_get_field(table->wire, p.row->number);
	assert(p.field != NULL); /* a row without a field is a mistake in a table */
	return p;
}

/* ---- Plain to packed. Bytes and numbers are borrowed from the plain struct. */

static int pack(const struct codec__table *table, const void *plain, struct arena *arena, ProtobufCMessage **out,
		struct err *e);

static int no_memory(struct err *e)
{
	return err_set(e, ERR_NOMEM, "no memory for a message");
}

static int pack_list(const struct place *p, const uint8_t *items, size_t count, struct arena *arena, void *to,
		     struct err *e)
{
	ProtobufCMessage **list = arena_array(arena, count, sizeof(ProtobufCMessage *));
	if (list == NULL)
		return no_memory(e);
	for (size_t i = 0; i < count; i++) {
		int rc = pack(p->row->sub, items + i * p->row->sub->plain_bytes, arena, &list[i], e);
		if (rc != 0)
			return rc;
	}
	memcpy(to, &list, sizeof(list));
	return 0;
}

static int pack_blobs(const struct place *p, const void *items, size_t count, struct arena *arena, void *to,
		      struct err *e)
{
	ProtobufCBinaryData *list = arena_array(arena, count, sizeof(*list));
	if (list == NULL)
		return no_memory(e);
	const struct msg_bytes *blobs = items;
	const struct hash *hashes = items;
	for (size_t i = 0; i < count; i++) {
		if (p->row->kind == CODEC_HASHES) {
			list[i] = (ProtobufCBinaryData){ HASH_BYTES, (uint8_t *)(uintptr_t)hashes[i].bytes };
			continue;
		}
		int rc = check_bytes(p, blobs[i].bytes, blobs[i].len, p->row->each_max, e);
		if (rc != 0)
			return rc;
		if (blobs[i].len == 0)
			return bad(p, e, ERR_INVALID, "an empty item");
		list[i] = (ProtobufCBinaryData){ blobs[i].len, (uint8_t *)(uintptr_t)blobs[i].bytes };
	}
	memcpy(to, &list, sizeof(list));
	return 0;
}

static int pack_many(const struct place *p, const uint8_t *plain, struct arena *arena, uint8_t *wire, struct err *e)
{
	const void *items;
	size_t count;
	memcpy(&items, plain + p->row->offset, sizeof(items));
	memcpy(&count, plain + p->row->count_offset, sizeof(count));
	int rc = check_count(p, count, e);
	if (rc != 0 || count == 0)
		return rc;
	memcpy(wire + p->field->quantifier_offset, &count, sizeof(count));
	uint8_t *to = wire + p->field->offset;
	if (p->row->kind == CODEC_LIST)
		return pack_list(p, items, count, arena, to, e);
	if (p->row->kind == CODEC_U64S) {
		memcpy(to, &items, sizeof(items));
		return 0;
	}
	return pack_blobs(p, items, count, arena, to, e);
}

static int pack_bytes(const struct place *p, const uint8_t *from, uint8_t *to, struct err *e)
{
	static const uint8_t zero[HASH_BYTES];
	struct msg_bytes b = { from, HASH_BYTES };
	if (p->row->kind == CODEC_HASH) {
		if (memcmp(from, zero, sizeof(zero)) == 0)
			return 0;
	} else {
		memcpy(&b, from, sizeof(b)); /* msg_text has the same shape */
		int rc = check_bytes(p, b.bytes, b.len, p->row->max, e);
		if (rc != 0 || b.len == 0)
			return rc;
	}
	ProtobufCBinaryData data = { b.len, (uint8_t *)(uintptr_t)b.bytes };
	memcpy(to, &data, sizeof(data));
	return 0;
}
_Static_assert(offsetof(struct msg_text, len) == offsetof(struct msg_bytes, len), "texts are read as bytes");

static int pack_row(const struct place *p, const uint8_t *plain, struct arena *arena, uint8_t *wire, struct err *e)
{
	const uint8_t *from = plain + p->row->offset;
	uint8_t *to = wire + p->field->offset;
	switch (p->row->kind) {
	case CODEC_BOOL: {
		protobuf_c_boolean b = *from != 0;
		memcpy(to, &b, sizeof(b));
		return 0;
	}
	case CODEC_TEXT:
	case CODEC_BYTES:
	case CODEC_HASH:
		return pack_bytes(p, from, to, e);
	case CODEC_LIST:
	case CODEC_U64S:
	case CODEC_BLOBS:
	case CODEC_HASHES:
		return pack_many(p, plain, arena, wire, e);
	default:
		memcpy(to, from, number_bytes(p->row->kind));
		return check_number(p, from, e);
	}
}

static int pack(const struct codec__table *table, const void *plain, struct arena *arena, ProtobufCMessage **out,
		struct err *e)
{
	ProtobufCMessage *wire = arena_alloc(arena, table->wire->sizeof_message);
	if (wire == NULL)
		return no_memory(e);
	protobuf_c_message_init(table->wire, wire);
	for (size_t i = 0; i < table->row_count; i++) {
		struct place p = place_of(table, i);
		int rc = pack_row(&p, plain, arena, (uint8_t *)wire, e);
		if (rc != 0)
			return rc;
	}
	*out = wire;
	return 0;
}

struct buf_writer {
	ProtobufCBuffer base;
	struct buf *out;
};

static void writer_append(ProtobufCBuffer *buffer, size_t len, const uint8_t *data)
{
	buf_append(((struct buf_writer *)buffer)->out, data, len);
}

int codec__encode(const struct codec__table *table, const void *plain, size_t body_cap, struct buf *out, struct err *e)
{
	struct arena *arena;
	if (arena_new(ENCODE_BLOCK_BYTES, ENCODE_BYTES_MAX, &arena) != 0)
		return no_memory(e);
	ProtobufCMessage *wire = NULL;
	int rc = pack(table, plain, arena, &wire, e);
	size_t bytes = rc == 0 ? protobuf_c_message_get_packed_size(wire) : 0;
	if (rc == 0 && bytes > body_cap)
		rc = err_set(e, ERR_LIMIT, "%s: %zu bytes, at most %zu fit a message of this type: send less at a time",
			     table->wire->name, bytes, body_cap);
	if (rc == 0) {
		struct buf_writer writer = { { writer_append }, out };
		protobuf_c_message_pack_to_buffer(wire, &writer.base);
		if (buf_failed(out))
			rc = no_memory(e);
	}
	arena_destroy(&arena);
	return rc;
}

/* ---- Packed to plain. Everything is copied: the packed form is freed at once. */

static int unpack(const struct codec__table *table, const void *wire, struct arena *arena, void *plain, struct err *e);

static int unpack_list(const struct place *p, const void *from, size_t count, struct arena *arena, void **out,
		       struct err *e)
{
	ProtobufCMessage *const *list;
	memcpy(&list, from, sizeof(list));
	uint8_t *items = arena_array(arena, count, p->row->sub->plain_bytes);
	if (items == NULL)
		return no_memory(e);
	for (size_t i = 0; i < count; i++) {
		int rc = unpack(p->row->sub, list[i], arena, items + i * p->row->sub->plain_bytes, e);
		if (rc != 0)
			return rc;
	}
	*out = items;
	return 0;
}

static int unpack_hashes(const struct place *p, const ProtobufCBinaryData *list, size_t count, struct arena *arena,
			 void **out, struct err *e)
{
	struct hash *hashes = arena_array(arena, count, sizeof(*hashes));
	if (hashes == NULL)
		return no_memory(e);
	for (size_t i = 0; i < count; i++) {
		if (list[i].len != HASH_BYTES)
			return bad(p, e, ERR_INVALID, "a hash is not 32 bytes");
		memcpy(hashes[i].bytes, list[i].data, HASH_BYTES);
	}
	*out = hashes;
	return 0;
}

static int unpack_blobs(const struct place *p, const ProtobufCBinaryData *list, size_t count, struct arena *arena,
			void **out, struct err *e)
{
	struct msg_bytes *blobs = arena_array(arena, count, sizeof(*blobs));
	if (blobs == NULL)
		return no_memory(e);
	for (size_t i = 0; i < count; i++) {
		int rc = check_bytes(p, list[i].data, list[i].len, p->row->each_max, e);
		if (rc != 0)
			return rc;
		if (list[i].len == 0)
			return bad(p, e, ERR_INVALID, "an empty item");
		blobs[i] = (struct msg_bytes){ arena_copy(arena, list[i].data, list[i].len), list[i].len };
		if (blobs[i].bytes == NULL)
			return no_memory(e);
	}
	*out = blobs;
	return 0;
}

static int unpack_many(const struct place *p, const uint8_t *wire, struct arena *arena, uint8_t *plain, struct err *e)
{
	size_t count;
	memcpy(&count, wire + p->field->quantifier_offset, sizeof(count));
	int rc = check_count(p, count, e);
	if (rc != 0 || count == 0)
		return rc;
	const uint8_t *from = wire + p->field->offset;
	const void *list;
	memcpy(&list, from, sizeof(list));
	void *items = NULL;
	if (p->row->kind == CODEC_LIST)
		rc = unpack_list(p, from, count, arena, &items, e);
	else if (p->row->kind == CODEC_HASHES)
		rc = unpack_hashes(p, list, count, arena, &items, e);
	else if (p->row->kind == CODEC_BLOBS)
		rc = unpack_blobs(p, list, count, arena, &items, e);
	else if ((items = arena_copy(arena, list, count * sizeof(uint64_t))) == NULL)
		rc = no_memory(e);
	if (rc != 0)
		return rc;
	memcpy(plain + p->row->offset, &items, sizeof(items));
	memcpy(plain + p->row->count_offset, &count, sizeof(count));
	return 0;
}

static int unpack_bytes(const struct place *p, const uint8_t *from, struct arena *arena, uint8_t *to, struct err *e)
{
	ProtobufCBinaryData data;
	memcpy(&data, from, sizeof(data));
	if (p->row->kind == CODEC_HASH) {
		if (data.len != 0 && data.len != HASH_BYTES)
			return bad(p, e, ERR_INVALID, "not 32 bytes");
		if (data.len != 0)
			memcpy(to, data.data, HASH_BYTES);
		return 0;
	}
	int rc = check_bytes(p, data.data, data.len, p->row->max, e);
	if (rc != 0)
		return rc;
	struct msg_bytes b = { "", data.len };
	if (data.len > 0)
		b.bytes = arena_strndup(arena, (const char *)data.data, data.len);
	if (b.bytes == NULL)
		return no_memory(e);
	memcpy(to, &b, sizeof(b));
	return 0;
}

static int unpack_row(const struct place *p, const uint8_t *wire, struct arena *arena, uint8_t *plain, struct err *e)
{
	const uint8_t *from = wire + p->field->offset;
	uint8_t *to = plain + p->row->offset;
	switch (p->row->kind) {
	case CODEC_BOOL: {
		protobuf_c_boolean b;
		memcpy(&b, from, sizeof(b));
		bool value = b != 0;
		memcpy(to, &value, sizeof(value));
		return 0;
	}
	case CODEC_TEXT:
	case CODEC_BYTES:
	case CODEC_HASH:
		return unpack_bytes(p, from, arena, to, e);
	case CODEC_LIST:
	case CODEC_U64S:
	case CODEC_BLOBS:
	case CODEC_HASHES:
		return unpack_many(p, wire, arena, plain, e);
	default:
		memcpy(to, from, number_bytes(p->row->kind));
		return check_number(p, from, e);
	}
}

static int unpack(const struct codec__table *table, const void *wire, struct arena *arena, void *plain, struct err *e)
{
	memset(plain, 0, table->plain_bytes);
	for (size_t i = 0; i < table->row_count; i++) {
		struct place p = place_of(table, i);
		int rc = unpack_row(&p, wire, arena, plain, e);
		if (rc != 0)
			return rc;
	}
	return 0;
}

int codec__decode(const struct codec__table *table, const void *bytes, size_t len, const struct codec__caps *caps,
		  struct arena *arena, void *plain, struct err *e)
{
	if (len > caps->body_bytes)
		return err_set(e, ERR_LIMIT, "%s: %zu bytes, at most %zu are allowed", table->wire->name, len,
			       caps->body_bytes);
	size_t fields_left = caps->field_count;
	int rc = codec__scan(table->wire, bytes, len, &fields_left, e);
	if (rc != 0)
		return rc;
	struct codec__budget budget;
	codec__budget_init(&budget, caps->unpack_bytes);
	ProtobufCMessage *wire = protobuf_c_message_unpack(table->wire, &budget.allocator, len, bytes);
	if (wire == NULL && budget.no_memory)
		return no_memory(e);
	if (wire == NULL && budget.exhausted)
		return err_set(e, ERR_LIMIT, "%s: needs more than %zu bytes when unpacked", table->wire->name,
			       caps->unpack_bytes);
	if (wire == NULL)
		return err_set(e, ERR_INVALID, "%s: not a message of this type", table->wire->name);
	rc = unpack(table, wire, arena, plain, e);
	protobuf_c_message_free_unpacked(wire, &budget.allocator);
	return rc;
}
