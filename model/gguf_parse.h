/* gguf_parse.h: what gguf.c (file, look-ups) and gguf_parse.c (header) share. Inside model/ only. */
#ifndef AMEND_MODEL_GGUF_PARSE_H
#define AMEND_MODEL_GGUF_PARSE_H

#include "model/gguf.h"

#define GGUF_HEADER_BYTES_MAX     (64u * 1024 * 1024)
#define GGUF_TENSORS_MAX          4096u
#define GGUF_VALUES_MAX           4096u
#define GGUF_STRING_BYTES_MAX     (64u * 1024)
#define GGUF_ARRAY_TEXT_BYTES_MAX (16u * 1024 * 1024)
#define GGUF_ALIGNMENT_MAX        65536u

/* The file's numbers. */
enum model__gguf_type {
	GGUF_U8,
	GGUF_I8,
	GGUF_U16,
	GGUF_I16,
	GGUF_U32,
	GGUF_I32,
	GGUF_F32,
	GGUF_BOOL,
	GGUF_STRING,
	GGUF_ARRAY,
	GGUF_U64,
	GGUF_I64,
	GGUF_F64,
};

struct model__gguf_value {
	const char *key;
	size_t key_len;
	uint32_t type; /* of the value, or of an array's elements; never GGUF_ARRAY */
	bool is_array;
	size_t count;        /* elements; 1 for a scalar; a string's bytes */
	const uint8_t *data; /* in the map; unaligned */
	uint32_t *offsets;   /* arrays of strings: where each element's length field stands, from `data`; owned */
};

struct model_gguf {
	const uint8_t *map;
	size_t map_bytes;
	struct model__gguf_value *values; /* sorted by key */
	size_t value_count;
	struct model_tensor *tensors; /* as in the file */
	const struct model_tensor **by_name;
	size_t tensor_count;
	size_t alignment;
};

/* Text from the file for an error text: at most 63 bytes, printable ASCII only. */
struct model__shown {
	char text[64];
};
struct model__shown model__show(const char *name, size_t len);

/* Fills values and tensors from the map. What it allocated stays in `gguf` on failure too: gguf.c frees it. */
int model__gguf_parse(struct model_gguf *gguf, struct err *e) MUST_CHECK;
const struct model__gguf_value *model__gguf_find(const struct model_gguf *gguf, const char *key);
bool model__gguf_element_i64(const struct model__gguf_value *value, size_t index, int64_t *out);
bool model__gguf_element_u64(const struct model__gguf_value *value, size_t index, uint64_t *out);
size_t model__gguf_type_bytes(uint32_t type); /* 0: strings, arrays and unknown types */

#endif
