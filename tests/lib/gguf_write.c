#include "tests/lib/gguf_write.h"

#include <string.h>

enum { U32 = 4, I32 = 5, F32 = 6, BOOL = 7, STRING = 8, ARRAY = 9, U64 = 10 };

void gguf_write_init(struct gguf_write *w)
{
	*w = (struct gguf_write){
		.values = BUF_INIT, .infos = BUF_INIT, .data = BUF_INIT, .version = 3, .alignment = 32
	};
}

void gguf_write_fini(struct gguf_write *w)
{
	buf_free(&w->values);
	buf_free(&w->infos);
	buf_free(&w->data);
}

static void put_string(struct buf *b, const char *text)
{
	buf_u64le(b, strlen(text));
	buf_append(b, text, strlen(text));
}

static void put_key(struct gguf_write *w, const char *key, uint32_t type)
{
	put_string(&w->values, key);
	buf_u32le(&w->values, type);
	w->value_count++;
}

static void pad(struct buf *b, size_t alignment)
{
	while (b->len % alignment && !buf_failed(b))
		buf_u8(b, 0);
}

void gguf_write_value(struct gguf_write *w, const char *key, uint32_t type, const void *payload, size_t byte_count)
{
	put_key(w, key, type);
	buf_append(&w->values, payload, byte_count);
}

void gguf_write_u32(struct gguf_write *w, const char *key, uint32_t v)
{
	put_key(w, key, U32);
	buf_u32le(&w->values, v);
}

void gguf_write_u64(struct gguf_write *w, const char *key, uint64_t v)
{
	put_key(w, key, U64);
	buf_u64le(&w->values, v);
}

void gguf_write_f32(struct gguf_write *w, const char *key, float v)
{
	put_key(w, key, F32);
	buf_f32le(&w->values, v);
}

void gguf_write_bool(struct gguf_write *w, const char *key, bool v)
{
	put_key(w, key, BOOL);
	buf_u8(&w->values, v);
}

void gguf_write_string(struct gguf_write *w, const char *key, const char *text)
{
	put_key(w, key, STRING);
	put_string(&w->values, text);
}

void gguf_write_strings(struct gguf_write *w, const char *key, const char *const *texts, size_t count)
{
	put_key(w, key, ARRAY);
	buf_u32le(&w->values, STRING);
	buf_u64le(&w->values, count);
	for (size_t i = 0; i < count; i++)
		put_string(&w->values, texts[i]);
}

void gguf_write_i32s(struct gguf_write *w, const char *key, const int32_t *items, size_t count)
{
	put_key(w, key, ARRAY);
	buf_u32le(&w->values, I32);
	buf_u64le(&w->values, count);
	for (size_t i = 0; i < count; i++)
		buf_u32le(&w->values, (uint32_t)items[i]);
}

void gguf_write_info(struct gguf_write *w, const char *name, uint32_t type, const uint64_t *dims, unsigned dim_count,
		     uint64_t offset)
{
	put_string(&w->infos, name);
	buf_u32le(&w->infos, dim_count);
	for (unsigned i = 0; i < dim_count; i++)
		buf_u64le(&w->infos, dims[i]);
	buf_u32le(&w->infos, type);
	buf_u64le(&w->infos, offset);
	w->tensor_count++;
}

void gguf_write_data(struct gguf_write *w, const void *data, size_t byte_count)
{
	buf_append(&w->data, data, byte_count);
}

void gguf_write_tensor(struct gguf_write *w, const char *name, uint32_t type, const uint64_t *dims, unsigned dim_count,
		       const void *data, size_t byte_count)
{
	pad(&w->data, w->alignment);
	gguf_write_info(w, name, type, dims, dim_count, w->data.len);
	buf_append(&w->data, data, byte_count);
}

int gguf_write_end(const struct gguf_write *w, struct buf *out, size_t *header_bytes)
{
	buf_append(out, "GGUF", 4);
	buf_u32le(out, w->version);
	buf_u64le(out, w->tensor_count);
	buf_u64le(out, w->value_count);
	if (w->values.len)
		buf_append(out, w->values.data, w->values.len);
	if (w->infos.len)
		buf_append(out, w->infos.data, w->infos.len);
	pad(out, w->alignment);
	if (header_bytes)
		*header_bytes = out->len;
	if (w->data.len)
		buf_append(out, w->data.data, w->data.len);
	return buf_failed(out) || buf_failed(&w->values) || buf_failed(&w->infos) || buf_failed(&w->data) ? ERR_NOMEM
													  : 0;
}

int gguf_write_file(const struct gguf_write *w, const char *path, struct err *e)
{
	struct buf bytes = BUF_INIT;
	int rc = gguf_write_end(w, &bytes, NULL);

	rc = rc ? err_set(e, rc, "no memory to write %s", path)
		: file_write_atomic(path, bytes.data, bytes.len, 0600, e);
	buf_free(&bytes);
	return rc;
}
