/* gguf_write.h: writes small GGUF files for tests: metadata, then tensors, then all at once. Out of memory sticks in
 * the buffers and comes out of gguf_write_end. Not thread-safe. */
#ifndef AMEND_TESTS_GGUF_WRITE_H
#define AMEND_TESTS_GGUF_WRITE_H

#include "base/buf.h"

struct gguf_write {
	struct buf values, infos, data;
	uint64_t value_count, tensor_count;
	uint32_t version; /* 3 */
	size_t alignment; /* 32; say so with gguf_write_u32("general.alignment") when changed */
};

void gguf_write_init(struct gguf_write *w);
void gguf_write_fini(struct gguf_write *w);
void gguf_write_u32(struct gguf_write *w, const char *key, uint32_t v);
void gguf_write_u64(struct gguf_write *w, const char *key, uint64_t v);
void gguf_write_f32(struct gguf_write *w, const char *key, float v);
void gguf_write_bool(struct gguf_write *w, const char *key, bool v);
void gguf_write_string(struct gguf_write *w, const char *key, const char *text);
/* NUL-terminated strings. */
void gguf_write_strings(struct gguf_write *w, const char *key, const char *const *texts, size_t count);
void gguf_write_i32s(struct gguf_write *w, const char *key, const int32_t *items, size_t count);
/* A value of any type number whose payload is given as bytes. */
void gguf_write_value(struct gguf_write *w, const char *key, uint32_t type, const void *payload, size_t byte_count);
/* Appends the data, padded to the alignment. */
void gguf_write_tensor(struct gguf_write *w, const char *name, uint32_t type, const uint64_t *dims, unsigned dim_count,
		       const void *data, size_t byte_count);
/* Only says that there is a tensor at `offset` of the data section (for files that lie). */
void gguf_write_info(struct gguf_write *w, const char *name, uint32_t type, const uint64_t *dims, unsigned dim_count,
		     uint64_t offset);
/* Raw data behind what is there (for gguf_write_info). */
void gguf_write_data(struct gguf_write *w, const void *data, size_t byte_count);
/* The file's bytes. `header_bytes` (may be NULL): where the data section starts. ERR_NOMEM. */
int gguf_write_end(const struct gguf_write *w, struct buf *out, size_t *header_bytes) MUST_CHECK;
int gguf_write_file(const struct gguf_write *w, const char *path, struct err *e) MUST_CHECK;

#endif
