/* gguf.h: a reader of GGUF files (v2, v3; spec: ggml docs/gguf.md) over mmap. Bounds are checked before anything is
 * used: at most 4,096 tensors and metadata entries, 4 dimensions, strings of 64 KiB (token arrays: 16 MiB in all),
 * header of 64 MiB; every product by __builtin_*_overflow. Read-only and thread-safe after open. Everything returned
 * lives until gguf close. */
#ifndef AMEND_MODEL_GGUF_H
#define AMEND_MODEL_GGUF_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

/* The numbers of ggml_type. */
enum model_type {
	MODEL_F32 = 0,
	MODEL_F16 = 1,
	MODEL_Q4_0 = 2,
	MODEL_Q4_1 = 3,
	MODEL_Q8_0 = 8,
	MODEL_Q4_K = 12,
	MODEL_Q6_K = 14,
	MODEL_BF16 = 30,
};

struct model_tensor {
	const char *name;
	size_t name_len;
	enum model_type type;
	unsigned dim_count;
	uint64_t dims[4]; /* dims[0] is the contiguous one: a matrix out × in has dims {in, out} */
	uint64_t element_count;
	uint64_t byte_count;
	const void *data; /* in the map */
};

struct model_gguf;

/* ERR_NOT_FOUND (no such file), ERR_INVALID (not GGUF: says what the first bytes look like), ERR_CORRUPT (truncated:
 * says how many bytes are missing), ERR_UNSUPPORTED (version, tensor type), ERR_LIMIT. Texts end with the next step. */
int model_gguf_open(const char *path, struct model_gguf **out, struct err *e) MUST_CHECK;
void model_gguf_close(struct model_gguf **gguf);
const struct model_tensor *model_gguf_tensor(const struct model_gguf *gguf, const char *name); /* NULL when absent */
size_t model_gguf_tensor_count(const struct model_gguf *gguf);
const struct model_tensor *model_gguf_tensor_at(const struct model_gguf *gguf, size_t index);
/* Metadata by key; false when absent or of another type (integers of any width convert when they fit). */
bool model_gguf_u64(const struct model_gguf *gguf, const char *key, uint64_t *out);
bool model_gguf_f64(const struct model_gguf *gguf, const char *key, double *out);
bool model_gguf_bool(const struct model_gguf *gguf, const char *key, bool *out);
/* Not NUL-terminated. */
bool model_gguf_string(const struct model_gguf *gguf, const char *key, const char **text, size_t *len);
/* The same for keys that a file may leave out: *out then stays as it is. ERR_INVALID: the key is there, with a value of
 * another type; the text names it. */
int model_gguf_u64_or(const struct model_gguf *gguf, const char *key, uint64_t *out, struct err *e) MUST_CHECK;
int model_gguf_f64_or(const struct model_gguf *gguf, const char *key, double *out, struct err *e) MUST_CHECK;
int model_gguf_bool_or(const struct model_gguf *gguf, const char *key, bool *out, struct err *e) MUST_CHECK;
int model_gguf_string_or(const struct model_gguf *gguf, const char *key, const char **text, size_t *len,
			 struct err *e) MUST_CHECK;
/* Arrays of strings and of numbers. index < count. */
bool model_gguf_array(const struct model_gguf *gguf, const char *key, size_t *count);
bool model_gguf_array_string(const struct model_gguf *gguf, const char *key, size_t index, const char **text,
			     size_t *len);
bool model_gguf_array_i64(const struct model_gguf *gguf, const char *key, size_t index, int64_t *out);

#endif
