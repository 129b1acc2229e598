/* The header of a GGUF file: nothing in it is believed before it is checked against the bytes that are there. */
#include "model/gguf_parse.h"
#include "model/quant.h"

#include "base/fault.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NEXT_DOWNLOAD "download the file again and compare its checksum with the publisher's"

struct parse {
	struct model_gguf *gguf;
	size_t at, limit;        /* limit: end of the file or of the largest header */
	size_t array_text_bytes; /* in arrays of strings, so far */
	struct err *e;
};

struct model__shown model__show(const char *name, size_t len)
{
	struct model__shown s;
	size_t n = len < sizeof(s.text) - 1 ? len : sizeof(s.text) - 1;

	for (size_t i = 0; i < n; i++)
		s.text[i] = name[i] >= 0x20 && name[i] < 0x7F ? name[i] : '?';
	s.text[n] = '\0';
	return s;
}

static int ends_early(struct parse *p, size_t byte_count)
{
	const size_t there = p->limit - p->at;

	if (p->limit < p->gguf->map_bytes)
		return err_set(p->e, ERR_LIMIT,
			       "its header is larger than %u bytes; this is no model that Amend can serve",
			       GGUF_HEADER_BYTES_MAX);
	return err_set(
		p->e, ERR_CORRUPT,
		"truncated: it ends inside its header at byte %zu, at least %zu bytes are missing; " NEXT_DOWNLOAD,
		p->gguf->map_bytes, byte_count - there);
}

static int take(struct parse *p, size_t byte_count, const uint8_t **out)
{
	if (byte_count > p->limit - p->at)
		return ends_early(p, byte_count);
	*out = p->gguf->map + p->at;
	p->at += byte_count;
	return 0;
}

static int take_u32(struct parse *p, uint32_t *out)
{
	const uint8_t *bytes = NULL;
	const int rc = take(p, sizeof(*out), &bytes);

	if (rc == 0)
		memcpy(out, bytes, sizeof(*out));
	return rc;
}

static int take_u64(struct parse *p, uint64_t *out)
{
	const uint8_t *bytes = NULL;
	const int rc = take(p, sizeof(*out), &bytes);

	if (rc == 0)
		memcpy(out, bytes, sizeof(*out));
	return rc;
}

static int take_string(struct parse *p, const char *what, const char **text, size_t *len)
{
	const uint8_t *bytes = NULL;
	uint64_t n = 0;
	int rc = take_u64(p, &n);

	if (rc)
		return rc;
	if (n > GGUF_STRING_BYTES_MAX)
		return err_set(p->e, ERR_LIMIT,
			       "%s at byte %zu: a string of %" PRIu64 " bytes (limit %u); " NEXT_DOWNLOAD, what, p->at,
			       n, GGUF_STRING_BYTES_MAX);
	rc = take(p, (size_t)n, &bytes);
	if (rc)
		return rc;
	*text = (const char *)bytes;
	*len = (size_t)n;
	return 0;
}

size_t model__gguf_type_bytes(uint32_t type)
{
	static const uint8_t bytes[] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };

	return type < sizeof(bytes) ? bytes[type] : 0;
}

static int parse_string_array(struct parse *p, struct model__gguf_value *v)
{
	/* Each string takes 8 bytes at least: the table below cannot be larger than the file makes believable. */
	if (v->count > (p->limit - p->at) / 8)
		return ends_early(p, v->count > SIZE_MAX / 8 ? SIZE_MAX : v->count * 8);
	v->data = p->gguf->map + p->at;
	v->offsets = fault_malloc((v->count ? v->count : 1) * sizeof(*v->offsets));
	if (!v->offsets)
		return err_set(p->e, ERR_NOMEM, "no memory for an array of %zu strings", v->count);
	const size_t start = p->at;
	for (size_t i = 0; i < v->count; i++) {
		const char *text = NULL;
		size_t len = 0;

		v->offsets[i] = (uint32_t)(p->at - start); /* the header is smaller than 4 GiB */
		int rc = take_string(p, "array", &text, &len);
		if (rc)
			return rc;
		p->array_text_bytes += len;
		if (p->array_text_bytes > GGUF_ARRAY_TEXT_BYTES_MAX)
			return err_set(
				p->e, ERR_LIMIT,
				"its arrays of strings hold more than %u bytes; use a model with a smaller vocabulary",
				GGUF_ARRAY_TEXT_BYTES_MAX);
	}
	return 0;
}

static int parse_array(struct parse *p, struct model__gguf_value *v)
{
	uint64_t count = 0;
	size_t bytes;
	int rc = take_u32(p, &v->type);

	rc = rc ? rc : take_u64(p, &count);
	if (rc)
		return rc;
	v->is_array = true;
	if (count > SIZE_MAX)
		return ends_early(p, SIZE_MAX);
	v->count = (size_t)count;
	if (v->type == GGUF_STRING)
		return parse_string_array(p, v);
	if (v->type == GGUF_ARRAY)
		return err_set(p->e, ERR_UNSUPPORTED, "an array of arrays; no model that Amend knows has one");
	const size_t element = model__gguf_type_bytes(v->type);
	if (element == 0)
		return err_set(p->e, ERR_CORRUPT, "unknown element type %" PRIu32 "; " NEXT_DOWNLOAD, v->type);
	if (__builtin_mul_overflow(v->count, element, &bytes))
		return ends_early(p, SIZE_MAX);
	return take(p, bytes, &v->data);
}

static int parse_value(struct parse *p, struct model__gguf_value *v)
{
	int rc = take_string(p, "metadata key", &v->key, &v->key_len);

	rc = rc ? rc : take_u32(p, &v->type);
	if (rc)
		return rc;
	v->count = 1;
	if (v->type == GGUF_ARRAY) {
		rc = parse_array(p, v);
	} else if (v->type == GGUF_STRING) {
		const char *text = NULL;

		rc = take_string(p, "metadata value", &text, &v->count);
		v->data = rc ? NULL : (const uint8_t *)text;
	} else if (model__gguf_type_bytes(v->type) == 0) {
		rc = err_set(p->e, ERR_CORRUPT, "unknown type %" PRIu32 "; " NEXT_DOWNLOAD, v->type);
	} else {
		rc = take(p, model__gguf_type_bytes(v->type), &v->data);
	}
	if (rc)
		err_wrap(p->e, "metadata \"%s\"", model__show(v->key, v->key_len).text);
	return rc;
}

static int compare_bytes(const char *a, size_t a_len, const char *b, size_t b_len)
{
	const int c = memcmp(a, b, a_len < b_len ? a_len : b_len);

	return c ? c : (a_len > b_len) - (a_len < b_len);
}

static int compare_values(const void *a, const void *b)
{
	const struct model__gguf_value *x = a, *y = b;

	return compare_bytes(x->key, x->key_len, y->key, y->key_len);
}

const struct model__gguf_value *model__gguf_find(const struct model_gguf *gguf, const char *key)
{
	const struct model__gguf_value wanted = { .key = key, .key_len = strlen(key) };

	return gguf->value_count ? bsearch(&wanted, gguf->values, gguf->value_count, sizeof(wanted), compare_values)
				 : NULL;
}

static int parse_values(struct parse *p, uint64_t count)
{
	struct model_gguf *g = p->gguf;

	if (count > GGUF_VALUES_MAX)
		return err_set(p->e, ERR_LIMIT,
			       "it says that it has %" PRIu64 " metadata entries (limit %u); " NEXT_DOWNLOAD, count,
			       GGUF_VALUES_MAX);
	g->values = fault_calloc(count ? (size_t)count : 1, sizeof(*g->values));
	if (!g->values)
		return err_set(p->e, ERR_NOMEM, "no memory for %" PRIu64 " metadata entries", count);
	for (uint64_t i = 0; i < count; i++) {
		g->value_count++; /* counted first: a half-read entry's offsets are freed too */
		const int rc = parse_value(p, &g->values[i]);
		if (rc)
			return rc;
	}
	qsort(g->values, g->value_count, sizeof(*g->values), compare_values);
	for (size_t i = 1; i < g->value_count; i++)
		if (compare_values(&g->values[i - 1], &g->values[i]) == 0)
			return err_set(p->e, ERR_CORRUPT, "metadata \"%s\" stands there twice; " NEXT_DOWNLOAD,
				       model__show(g->values[i].key, g->values[i].key_len).text);
	return 0;
}

static int parse_alignment(struct parse *p)
{
	const struct model__gguf_value *v = model__gguf_find(p->gguf, "general.alignment");
	uint64_t alignment = 32; /* the format's default */

	if (v && (v->is_array || !model__gguf_element_u64(v, 0, &alignment)))
		return err_set(p->e, ERR_CORRUPT, "general.alignment is no number; " NEXT_DOWNLOAD);
	if (alignment < 8 || alignment > GGUF_ALIGNMENT_MAX || (alignment & (alignment - 1)))
		return err_set(p->e, ERR_CORRUPT,
			       "general.alignment is %" PRIu64
			       ", it must be a power of two from 8 to %u; " NEXT_DOWNLOAD,
			       alignment, GGUF_ALIGNMENT_MAX);
	p->gguf->alignment = (size_t)alignment;
	return 0;
}

/* Fills the sizes of a tensor from its dimensions. */
static int measure(struct parse *p, struct model_tensor *t, uint32_t type)
{
	size_t block_elements, block_bytes;

	t->type = (enum model_type)type;
	if (!model_quant_block(t->type, &block_elements, &block_bytes))
		return err_set(p->e, ERR_UNSUPPORTED,
			       "ggml type %" PRIu32 "; use a file in F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q4_K or Q6_K",
			       type);
	t->element_count = 1;
	for (unsigned i = 0; i < t->dim_count; i++) {
		if (t->dims[i] == 0)
			return err_set(p->e, ERR_CORRUPT, "dimension %u is zero; " NEXT_DOWNLOAD, i);
		if (__builtin_mul_overflow(t->element_count, t->dims[i], &t->element_count))
			return err_set(p->e, ERR_CORRUPT, "its dimensions overflow; " NEXT_DOWNLOAD);
	}
	if (t->dims[0] % block_elements)
		return err_set(p->e, ERR_CORRUPT,
			       "its rows of %" PRIu64 " elements are no whole blocks of %zu; " NEXT_DOWNLOAD,
			       t->dims[0], block_elements);
	if (__builtin_mul_overflow(t->element_count / block_elements, (uint64_t)block_bytes, &t->byte_count))
		return err_set(p->e, ERR_CORRUPT, "its size overflows; " NEXT_DOWNLOAD);
	return 0;
}

/* The offset is kept in `data` as a number until the start of the data section is known. */
static int parse_tensor(struct parse *p, struct model_tensor *t, uint64_t *offset)
{
	uint32_t dim_count = 0, type = 0;
	int rc = take_string(p, "tensor name", &t->name, &t->name_len);

	rc = rc ? rc : take_u32(p, &dim_count);
	if (rc)
		return rc;
	if (dim_count < 1 || dim_count > 4)
		return err_set(p->e, dim_count ? ERR_LIMIT : ERR_CORRUPT,
			       "tensor \"%s\" has %" PRIu32 " dimensions (1 to 4); " NEXT_DOWNLOAD,
			       model__show(t->name, t->name_len).text, dim_count);
	t->dim_count = dim_count;
	for (unsigned i = 0; i < 4; i++)
		t->dims[i] = 1;
	for (unsigned i = 0; rc == 0 && i < dim_count; i++)
		rc = take_u64(p, &t->dims[i]);
	rc = rc ? rc : take_u32(p, &type);
	rc = rc ? rc : take_u64(p, offset);
	rc = rc ? rc : measure(p, t, type);
	if (rc)
		err_wrap(p->e, "tensor \"%s\"", model__show(t->name, t->name_len).text);
	return rc;
}

/* Where the tensor stands in the map; `missing`: by how much the file is too short for the worst of them. */
static int place(struct parse *p, struct model_tensor *t, uint64_t offset, uint64_t data_start, uint64_t *missing)
{
	const struct model_gguf *g = p->gguf;
	uint64_t start, end;

	if (offset % g->alignment)
		return err_set(p->e, ERR_CORRUPT,
			       "tensor \"%s\": offset %" PRIu64 " is not aligned to %zu; " NEXT_DOWNLOAD,
			       model__show(t->name, t->name_len).text, offset, g->alignment);
	if (__builtin_add_overflow(data_start, offset, &start) || __builtin_add_overflow(start, t->byte_count, &end))
		return err_set(p->e, ERR_CORRUPT, "tensor \"%s\": offset %" PRIu64 " overflows; " NEXT_DOWNLOAD,
			       model__show(t->name, t->name_len).text, offset);
	if (end > g->map_bytes) {
		*missing = *missing > end - g->map_bytes ? *missing : end - g->map_bytes;
		return 0; /* reported once, for all */
	}
	t->data = g->map + start;
	return 0;
}

static int compare_names(const void *a, const void *b)
{
	const struct model_tensor *x = *(const struct model_tensor *const *)a,
				  *y = *(const struct model_tensor *const *)b;

	return compare_bytes(x->name, x->name_len, y->name, y->name_len);
}

static int compare_data(const void *a, const void *b)
{
	const struct model_tensor *x = *(const struct model_tensor *const *)a,
				  *y = *(const struct model_tensor *const *)b;
	const uint8_t *left = x->data, *right = y->data;

	return (left > right) - (left < right);
}

/* Overlap and duplicates are seen between neighbours once the tensors are sorted; by_name ends up sorted by name. */
static int check_neighbours(struct parse *p)
{
	struct model_gguf *g = p->gguf;

	for (size_t i = 0; i < g->tensor_count; i++)
		g->by_name[i] = &g->tensors[i];
	qsort(g->by_name, g->tensor_count, sizeof(struct model_tensor *), compare_data);
	for (size_t i = 1; i < g->tensor_count; i++) {
		const struct model_tensor *a = g->by_name[i - 1], *b = g->by_name[i];

		if ((const uint8_t *)a->data + a->byte_count > (const uint8_t *)b->data)
			return err_set(p->e, ERR_CORRUPT, "tensors \"%s\" and \"%s\" overlap; " NEXT_DOWNLOAD,
				       model__show(a->name, a->name_len).text, model__show(b->name, b->name_len).text);
	}
	qsort(g->by_name, g->tensor_count, sizeof(struct model_tensor *), compare_names);
	for (size_t i = 1; i < g->tensor_count; i++)
		if (compare_names(&g->by_name[i - 1], &g->by_name[i]) == 0)
			return err_set(p->e, ERR_CORRUPT, "tensor \"%s\" stands there twice; " NEXT_DOWNLOAD,
				       model__show(g->by_name[i]->name, g->by_name[i]->name_len).text);
	return 0;
}

static int parse_tensors_into(struct parse *p, uint64_t *offsets)
{
	struct model_gguf *g = p->gguf;
	uint64_t missing = 0;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < g->tensor_count; i++)
		rc = parse_tensor(p, &g->tensors[i], &offsets[i]);
	const uint64_t data_start = ((uint64_t)p->at + g->alignment - 1) / g->alignment * g->alignment;
	for (size_t i = 0; rc == 0 && i < g->tensor_count; i++)
		rc = place(p, &g->tensors[i], offsets[i], data_start, &missing);
	if (rc == 0 && missing)
		rc = err_set(p->e, ERR_CORRUPT,
			     "truncated: %" PRIu64 " of %" PRIu64 " bytes are missing; " NEXT_DOWNLOAD, missing,
			     missing + g->map_bytes);
	return rc ? rc : check_neighbours(p);
}

static int parse_tensors(struct parse *p, uint64_t count)
{
	struct model_gguf *g = p->gguf;

	if (count > GGUF_TENSORS_MAX)
		return err_set(p->e, ERR_LIMIT, "it says that it has %" PRIu64 " tensors (limit %u); " NEXT_DOWNLOAD,
			       count, GGUF_TENSORS_MAX);
	const size_t slots = count ? (size_t)count : 1;
	uint64_t *offsets = fault_calloc(slots, sizeof(*offsets));
	g->tensors = fault_calloc(slots, sizeof(*g->tensors));
	g->by_name = fault_calloc(slots, sizeof(struct model_tensor *));
	g->tensor_count = (size_t)count;
	const int rc = offsets && g->tensors && g->by_name
			       ? parse_tensors_into(p, offsets)
			       : err_set(p->e, ERR_NOMEM, "no memory for %" PRIu64 " tensors", count);
	free(offsets);
	return rc;
}

/* What a file that is not GGUF seems to be, and what to do. */
static const char *looks_like(const uint8_t *b, size_t n)
{
	static const struct {
		const char *start, *text;
	} kinds[] = {
		{ "version https://git-lfs", "it is a Git LFS pointer: run `git lfs pull` where it came from" },
		{ "<", "it is a web page, perhaps an error page of the download: download the model file itself" },
		{ "PK\003\004", "it is a zip archive, perhaps a PyTorch checkpoint: convert it to GGUF" },
		{ "\037\213", "it is a gzip archive: unpack it first" },
		{ "(\265/\375", "it is a zstd archive: unpack it first" },
		{ "ggjt", "it is an old ggml file: convert it to GGUF" },
		{ "tjgg", "it is an old ggml file: convert it to GGUF" },
		{ "lmgg", "it is an old ggml file: convert it to GGUF" },
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (n >= strlen(kinds[i].start) && memcmp(b, kinds[i].start, strlen(kinds[i].start)) == 0)
			return kinds[i].text;
	if (n > 9 && b[8] == '{' && b[6] == 0 && b[7] == 0)
		return "it looks like a safetensors file: convert it to GGUF";
	return "give the path of a .gguf model file";
}

static int parse_start(struct parse *p, uint64_t *tensor_count, uint64_t *value_count)
{
	const struct model_gguf *g = p->gguf;
	const uint8_t *magic = NULL;
	uint32_t version = 0;

	if (g->map_bytes < 4 || memcmp(g->map, "GGUF", 4) != 0) {
		char hex[3 * 8 + 1] = "";

		for (size_t i = 0; i < 8 && i < g->map_bytes; i++)
			(void)snprintf(hex + 3 * i - (i > 0), 4, "%s%02x", i ? " " : "", g->map[i]);
		return err_set(p->e, ERR_INVALID, "not a GGUF file (%zu bytes, first: %s); %s", g->map_bytes, hex,
			       looks_like(g->map, g->map_bytes));
	}
	int rc = take(p, 4, &magic);
	rc = rc ? rc : take_u32(p, &version);
	if (rc)
		return rc;
	if (version == UINT32_C(0x02000000) || version == UINT32_C(0x03000000))
		return err_set(p->e, ERR_UNSUPPORTED, "a big-endian GGUF file; use the little-endian one");
	if (version != 2 && version != 3)
		return err_set(p->e, ERR_UNSUPPORTED,
			       "GGUF version %" PRIu32 " (2 and 3 are known); convert the model again", version);
	rc = take_u64(p, tensor_count);
	return rc ? rc : take_u64(p, value_count);
}

int model__gguf_parse(struct model_gguf *gguf, struct err *e)
{
	struct parse p = { .gguf = gguf, .e = e };
	uint64_t tensor_count = 0, value_count = 0;

	p.limit = gguf->map_bytes < GGUF_HEADER_BYTES_MAX ? gguf->map_bytes : GGUF_HEADER_BYTES_MAX;
	int rc = parse_start(&p, &tensor_count, &value_count);
	rc = rc ? rc : parse_values(&p, value_count);
	rc = rc ? rc : parse_alignment(&p);
	return rc ? rc : parse_tensors(&p, tensor_count);
}
