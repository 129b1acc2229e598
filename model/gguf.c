#include "model/gguf_parse.h"

#include "base/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int map_file(int fd, struct model_gguf *g, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_errno(e, ERR_IO, errno, "stat");
	if (!S_ISREG(st.st_mode))
		return err_set(e, ERR_INVALID, "not a regular file; give the path of a .gguf model file");
	if (st.st_size <= 0)
		return err_set(e, ERR_INVALID, "not a GGUF file: it is empty; download it again");
	void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		return err_errno(e, ERR_IO, errno, "mmap of %lld bytes", (long long)st.st_size);
	g->map = map;
	g->map_bytes = (size_t)st.st_size;
	return 0;
}

static int open_into(const char *path, struct model_gguf *g, struct err *e)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return err_set(e, ERR_NOT_FOUND, "no such file; check the path, or download the model first");
	if (fd < 0)
		return err_errno(e, errno == EACCES || errno == EPERM ? ERR_DENIED : ERR_IO, errno, "open");
	const int rc = map_file(fd, g, e);
	(void)close(fd); /* only read; the map holds the file */
	return rc ? rc : model__gguf_parse(g, e);
}

int model_gguf_open(const char *path, struct model_gguf **out, struct err *e)
{
	struct model_gguf *g = fault_calloc(1, sizeof(*g));

	if (!g)
		return err_set(e, ERR_NOMEM, "no memory to open the model %s", path);
	const int rc = open_into(path, g, e);
	if (rc) {
		model_gguf_close(&g);
		err_wrap(e, "model %s", path);
		return rc;
	}
	*out = g;
	return 0;
}

void model_gguf_close(struct model_gguf **gguf)
{
	struct model_gguf *g = *gguf;

	if (!g)
		return;
	for (size_t i = 0; i < g->value_count; i++)
		free(g->values[i].offsets);
	free(g->values);
	free(g->tensors);
	free(g->by_name);
	if (g->map)
		(void)munmap((void *)(uintptr_t)g->map, g->map_bytes);
	free(g);
	*gguf = NULL;
}

const struct model_tensor *model_gguf_tensor(const struct model_gguf *gguf, const char *name)
{
	const size_t len = strlen(name);
	size_t low = 0, high = gguf->tensor_count;

	while (low < high) {
		const size_t mid = low + (high - low) / 2;
		const struct model_tensor *t = gguf->by_name[mid];
		int c = memcmp(t->name, name, t->name_len < len ? t->name_len : len);

		c = c ? c : (t->name_len > len) - (t->name_len < len);
		if (c == 0)
			return t;
		if (c < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

size_t model_gguf_tensor_count(const struct model_gguf *gguf)
{
	return gguf->tensor_count;
}

const struct model_tensor *model_gguf_tensor_at(const struct model_gguf *gguf, size_t index)
{
	return index < gguf->tensor_count ? &gguf->tensors[index] : NULL;
}

bool model__gguf_element_u64(const struct model__gguf_value *value, size_t index, uint64_t *out)
{
	const size_t bytes = model__gguf_type_bytes(value->type);
	int64_t signed_value;

	if (value->type == GGUF_U64) {
		memcpy(out, value->data + index * bytes, sizeof(*out));
		return true;
	}
	if (!model__gguf_element_i64(value, index, &signed_value) || signed_value < 0)
		return false;
	*out = (uint64_t)signed_value;
	return true;
}

bool model__gguf_element_i64(const struct model__gguf_value *value, size_t index, int64_t *out)
{
	const size_t bytes = model__gguf_type_bytes(value->type);
	uint64_t raw = 0;

	if (value->type == GGUF_STRING || value->type == GGUF_F32 || value->type == GGUF_F64 ||
	    value->type == GGUF_BOOL)
		return false;
	memcpy(&raw, value->data + index * bytes, bytes); /* little-endian: checked in quant.c */
	switch (value->type) {
	case GGUF_I8:
		*out = (int8_t)raw;
		return true;
	case GGUF_I16:
		*out = (int16_t)raw;
		return true;
	case GGUF_I32:
		*out = (int32_t)raw;
		return true;
	default:
		*out = (int64_t)raw;
		return value->type != GGUF_U64 || raw <= INT64_MAX;
	}
}

static bool element_f64(const struct model__gguf_value *value, size_t index, double *out)
{
	int64_t integer;

	if (value->type == GGUF_F32) {
		float f;

		memcpy(&f, value->data + index * sizeof(f), sizeof(f));
		*out = (double)f;
		return true;
	}
	if (value->type == GGUF_F64) {
		memcpy(out, value->data + index * sizeof(*out), sizeof(*out));
		return true;
	}
	if (!model__gguf_element_i64(value, index, &integer) || integer > (INT64_C(1) << 53) ||
	    integer < -(INT64_C(1) << 53))
		return false;
	*out = (double)integer;
	return true;
}

static const struct model__gguf_value *find_scalar(const struct model_gguf *gguf, const char *key)
{
	const struct model__gguf_value *v = model__gguf_find(gguf, key);

	return v && !v->is_array ? v : NULL;
}

static const struct model__gguf_value *find_element(const struct model_gguf *gguf, const char *key, size_t index)
{
	const struct model__gguf_value *v = model__gguf_find(gguf, key);

	return v && v->is_array && index < v->count ? v : NULL;
}

bool model_gguf_u64(const struct model_gguf *gguf, const char *key, uint64_t *out)
{
	const struct model__gguf_value *v = find_scalar(gguf, key);

	return v && model__gguf_element_u64(v, 0, out);
}

bool model_gguf_f64(const struct model_gguf *gguf, const char *key, double *out)
{
	const struct model__gguf_value *v = find_scalar(gguf, key);

	return v && element_f64(v, 0, out);
}

bool model_gguf_bool(const struct model_gguf *gguf, const char *key, bool *out)
{
	const struct model__gguf_value *v = find_scalar(gguf, key);

	if (!v || v->type != GGUF_BOOL)
		return false;
	*out = v->data[0] != 0;
	return true;
}

bool model_gguf_string(const struct model_gguf *gguf, const char *key, const char **text, size_t *len)
{
	const struct model__gguf_value *v = find_scalar(gguf, key);

	if (!v || v->type != GGUF_STRING)
		return false;
	*text = (const char *)v->data;
	*len = v->count;
	return true;
}

static int optional(const struct model_gguf *gguf, const char *key, bool read, const char *wanted, struct err *e)
{
	if (read || model__gguf_find(gguf, key) == NULL)
		return 0;
	return err_set(e, ERR_INVALID, "%s is no %s: the file is malformed, download it again", key, wanted);
}

int model_gguf_u64_or(const struct model_gguf *gguf, const char *key, uint64_t *out, struct err *e)
{
	return optional(gguf, key, model_gguf_u64(gguf, key, out), "whole number", e);
}

int model_gguf_f64_or(const struct model_gguf *gguf, const char *key, double *out, struct err *e)
{
	return optional(gguf, key, model_gguf_f64(gguf, key, out), "number", e);
}

int model_gguf_bool_or(const struct model_gguf *gguf, const char *key, bool *out, struct err *e)
{
	return optional(gguf, key, model_gguf_bool(gguf, key, out), "truth value", e);
}

int model_gguf_string_or(const struct model_gguf *gguf, const char *key, const char **text, size_t *len, struct err *e)
{
	return optional(gguf, key, model_gguf_string(gguf, key, text, len), "text", e);
}

bool model_gguf_array(const struct model_gguf *gguf, const char *key, size_t *count)
{
	const struct model__gguf_value *v = model__gguf_find(gguf, key);

	if (!v || !v->is_array)
		return false;
	*count = v->count;
	return true;
}

bool model_gguf_array_string(const struct model_gguf *gguf, const char *key, size_t index, const char **text,
			     size_t *len)
{
	const struct model__gguf_value *v = find_element(gguf, key, index);
	uint64_t n;

	if (!v || v->type != GGUF_STRING)
		return false;
	memcpy(&n, v->data + v->offsets[index], sizeof(n));
	*text = (const char *)v->data + v->offsets[index] + sizeof(n);
	*len = (size_t)n;
	return true;
}

bool model_gguf_array_i64(const struct model_gguf *gguf, const char *key, size_t index, int64_t *out)
{
	const struct model__gguf_value *v = find_element(gguf, key, index);

	return v && model__gguf_element_i64(v, index, out);
}
