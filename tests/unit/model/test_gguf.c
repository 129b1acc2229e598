#include "model/gguf.h"

#include "base/fault.h"
#include "tests/lib/gguf_write.h"
#include "tests/lib/test.h"
#include "tests/lib/tiny_model.h"

#include <sys/mman.h>
#include <unistd.h>

enum { F32 = 0, Q4_1 = 3, Q5_K = 13 };

struct place {
	char folder[256], path[300];
};

static int setup(void **state)
{
	static struct place p;
	const char *base = getenv("TMPDIR");

	snprintf(p.folder, sizeof(p.folder), "%s/amend-gguf.XXXXXX", base && *base ? base : "/tmp");
	if (!mkdtemp(p.folder))
		return -1;
	snprintf(p.path, sizeof(p.path), "%s/m.gguf", p.folder);
	*state = &p;
	return 0;
}

static int teardown(void **state)
{
	const struct place *p = *state;

	unlink(p->path);
	return rmdir(p->folder);
}

/* Opens these bytes as a file (in memory: thousands of them); the result is closed at once when it opens. */
static int open_bytes(const void *bytes, size_t len, struct err *e)
{
	struct model_gguf *g = NULL;
	char path[64];
	const int fd = memfd_create("gguf", MFD_CLOEXEC);

	assert_true(fd >= 0);
	if (len)
		assert_int_equal(write(fd, bytes, len), len);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	err_clear(e);
	const int rc = model_gguf_open(path, &g, e);
	assert_int_equal(rc, e->code);
	assert_true((rc == 0) == (g != NULL));
	model_gguf_close(&g);
	(void)close(fd);
	return rc;
}

/* Ends the writer and opens what it gives. */
static int open_written(struct gguf_write *w, struct err *e)
{
	struct buf bytes = BUF_INIT;

	assert_int_equal(gguf_write_end(w, &bytes, NULL), 0);
	const int rc = open_bytes(bytes.data, bytes.len, e);
	buf_free(&bytes);
	gguf_write_fini(w);
	return rc;
}

static void write_sample(struct gguf_write *w)
{
	static const float matrix[6] = { 1, 2, 3, 4, 5, 6 };
	static const uint8_t blocks[40] = { 7 };
	static const char *const texts[] = { "a", "", "\xc4\xa0the" };
	static const int32_t numbers[] = { -1, 0, 2147483647 };
	static const uint8_t doubles[] = { 6, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0 };

	gguf_write_init(w);
	gguf_write_string(w, "general.architecture", "llama");
	gguf_write_u32(w, "n.u32", 4000000000u);
	gguf_write_u64(w, "n.u64", UINT64_MAX);
	gguf_write_f32(w, "n.f32", 0.5f);
	gguf_write_bool(w, "n.true", true);
	gguf_write_bool(w, "n.false", false);
	gguf_write_value(w, "n.i8", 1, "\xfe", 1);
	gguf_write_value(w, "n.u8", 0, "\xfe", 1);
	gguf_write_value(w, "n.i16", 3, "\x00\x80", 2);
	gguf_write_value(w, "n.u16", 2, "\x00\x80", 2);
	gguf_write_value(w, "n.i64", 11, "\xff\xff\xff\xff\xff\xff\xff\xff", 8);
	gguf_write_value(w, "n.f64", 12, "\0\0\0\0\0\0\xf8\x3f", 8);
	gguf_write_strings(w, "a.texts", texts, 3);
	gguf_write_i32s(w, "a.numbers", numbers, 3);
	gguf_write_value(w, "a.floats", 9, doubles, sizeof(doubles));
	gguf_write_i32s(w, "a.none", NULL, 0);
	gguf_write_tensor(w, "matrix", F32, (const uint64_t[]){ 3, 2 }, 2, matrix, sizeof(matrix));
	gguf_write_tensor(w, "blocks", Q4_1, (const uint64_t[]){ 32, 2 }, 2, blocks, sizeof(blocks));
}

static struct model_gguf *open_sample(void **state, uint32_t version)
{
	const struct place *p = *state;
	struct gguf_write w;
	struct model_gguf *g = NULL;
	struct err e = ERR_INIT;

	write_sample(&w);
	w.version = version;
	assert_int_equal(gguf_write_file(&w, p->path, &e), 0);
	gguf_write_fini(&w);
	assert_int_equal(model_gguf_open(p->path, &g, &e), 0);
	return g;
}

static void test_tensors(void **state)
{
	for (uint32_t version = 2; version <= 3; version++) {
		struct model_gguf *g = open_sample(state, version);
		const struct model_tensor *t = model_gguf_tensor(g, "matrix");

		assert_int_equal(model_gguf_tensor_count(g), 2);
		assert_ptr_equal(model_gguf_tensor_at(g, 0), t);
		assert_int_equal(t->type, MODEL_F32);
		assert_int_equal(t->dim_count, 2);
		assert_int_equal(t->dims[0], 3);
		assert_int_equal(t->dims[1], 2);
		assert_int_equal(t->dims[2], 1);
		assert_int_equal(t->element_count, 6);
		assert_int_equal(t->byte_count, 24);
		assert_int_equal((uintptr_t)t->data % 32, 0);
		assert_true(((const float *)t->data)[5] == 6.0f);
		t = model_gguf_tensor(g, "blocks");
		assert_int_equal(t->byte_count, 40);
		assert_int_equal(((const uint8_t *)t->data)[0], 7);
		assert_null(model_gguf_tensor(g, "matri"));
		assert_null(model_gguf_tensor(g, "matrix2"));
		assert_null(model_gguf_tensor(g, ""));
		assert_null(model_gguf_tensor_at(g, 2));
		model_gguf_close(&g);
		assert_null(g);
	}
}

static void test_numbers(void **state)
{
	struct model_gguf *g = open_sample(state, 3);
	uint64_t u = 1;
	double d = 1;
	bool b = false;
	struct err e = ERR_INIT;

	assert_true(model_gguf_u64(g, "n.u32", &u) && u == 4000000000u);
	assert_true(model_gguf_u64(g, "n.u64", &u) && u == UINT64_MAX);
	assert_true(model_gguf_u64(g, "n.u8", &u) && u == 254);
	assert_true(model_gguf_u64(g, "n.u16", &u) && u == 0x8000);
	assert_false(model_gguf_u64(g, "n.i8", &u)); /* negative */
	assert_false(model_gguf_u64(g, "n.i64", &u));
	assert_false(model_gguf_u64(g, "n.f32", &u));
	assert_false(model_gguf_u64(g, "n.true", &u));
	assert_false(model_gguf_u64(g, "a.numbers", &u));
	assert_false(model_gguf_u64(g, "general.architecture", &u));
	assert_false(model_gguf_u64(g, "absent", &u));
	assert_true(model_gguf_f64(g, "n.f32", &d) && d == 0.5);
	assert_true(model_gguf_f64(g, "n.f64", &d) && d == 1.5);
	assert_true(model_gguf_f64(g, "n.i8", &d) && d == -2);
	assert_true(model_gguf_f64(g, "n.i16", &d) && d == -32768);
	assert_false(model_gguf_f64(g, "n.u64", &d)); /* has no exact double */
	assert_true(model_gguf_bool(g, "n.true", &b) && b);
	assert_true(model_gguf_bool(g, "n.false", &b) && !b);
	assert_false(model_gguf_bool(g, "n.u8", &b));
	b = true; /* absent: as it was; of another type: said */
	assert_int_equal(model_gguf_bool_or(g, "n.absent", &b, &e), 0);
	assert_true(b);
	assert_int_equal(model_gguf_bool_or(g, "n.false", &b, &e), 0);
	assert_false(b);
	assert_int_equal(model_gguf_bool_or(g, "n.u8", &b, &e), ERR_INVALID);
	assert_non_null(strstr(e.text, "n.u8"));
	assert_int_equal(model_gguf_u64_or(g, "n.true", &u, &e), ERR_INVALID);
	assert_int_equal(model_gguf_f64_or(g, "n.true", &d, &e), ERR_INVALID);
	model_gguf_close(&g);
}

static void test_strings_and_arrays(void **state)
{
	struct model_gguf *g = open_sample(state, 3);
	const char *text;
	size_t len, count;
	int64_t i;

	assert_true(model_gguf_string(g, "general.architecture", &text, &len));
	assert_int_equal(len, 5);
	assert_memory_equal(text, "llama", 5);
	assert_false(model_gguf_string(g, "n.u32", &text, &len));
	assert_false(model_gguf_string(g, "a.texts", &text, &len));
	assert_true(model_gguf_array(g, "a.texts", &count) && count == 3);
	assert_true(model_gguf_array(g, "a.none", &count) && count == 0);
	assert_false(model_gguf_array(g, "n.u32", &count));
	assert_true(model_gguf_array_string(g, "a.texts", 0, &text, &len) && len == 1 && text[0] == 'a');
	assert_true(model_gguf_array_string(g, "a.texts", 1, &text, &len) && len == 0);
	assert_true(model_gguf_array_string(g, "a.texts", 2, &text, &len) && len == 5);
	assert_memory_equal(text, "\xc4\xa0the", 5);
	assert_false(model_gguf_array_string(g, "a.texts", 3, &text, &len));
	assert_false(model_gguf_array_string(g, "a.numbers", 0, &text, &len));
	assert_true(model_gguf_array_i64(g, "a.numbers", 0, &i) && i == -1);
	assert_true(model_gguf_array_i64(g, "a.numbers", 2, &i) && i == INT32_MAX);
	assert_false(model_gguf_array_i64(g, "a.numbers", 3, &i));
	assert_false(model_gguf_array_i64(g, "a.texts", 0, &i));
	assert_false(model_gguf_array_i64(g, "a.floats", 0, &i));
	model_gguf_close(&g);
}

static void test_files_that_are_none(void **state)
{
	static const char *const starts[] = {
		"GGUG\3\0\0\0", "<!DOCTYPE html>", "version https://git-lfs.github.com/spec/v1", "ggjt", "G", "PK\3\4"
	};
	struct model_gguf *g = NULL;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(model_gguf_open("/nonexistent/m.gguf", &g, &e), ERR_NOT_FOUND);
	assert_int_equal(model_gguf_open("/", &g, &e), ERR_INVALID);
	assert_null(g);
	assert_int_equal(open_bytes("", 0, &e), ERR_INVALID);
	for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++)
		assert_int_equal(open_bytes(starts[i], strlen(starts[i]), &e), ERR_INVALID);
	assert_int_equal(open_bytes("hello, world", 12, &e), ERR_INVALID);
	assert_non_null(strstr(e.text, "not a GGUF file (12 bytes, first: 68 65 6c 6c 6f 2c 20 77); give the path"));
	assert_int_equal(open_bytes("GGUF\0\0\0\3", 8, &e), ERR_UNSUPPORTED); /* big-endian */
	assert_int_equal(open_bytes("GGUF\1\0\0\0", 8, &e), ERR_UNSUPPORTED);
	assert_int_equal(open_bytes("GGUF\4\0\0\0", 8, &e), ERR_UNSUPPORTED);
	assert_int_equal(model_gguf_open("/nonexistent/m.gguf", &g, NULL), ERR_NOT_FOUND);
}

/* Cut at every 37th part of the header, at every byte of the first 200, and in the data. */
static void test_truncated(void **state)
{
	struct buf bytes = BUF_INIT;
	struct gguf_write w;
	struct err e = ERR_INIT;
	size_t header_bytes;

	(void)state;
	write_sample(&w);
	assert_int_equal(gguf_write_end(&w, &bytes, &header_bytes), 0);
	gguf_write_fini(&w);
	for (size_t k = 1; k < 37; k++)
		assert_int_equal(open_bytes(bytes.data, header_bytes * k / 37, &e), ERR_CORRUPT);
	for (size_t n = 4; n < 200; n++)
		assert_int_equal(open_bytes(bytes.data, n, &e), ERR_CORRUPT);
	for (size_t n = header_bytes; n < bytes.len; n++)
		assert_int_equal(open_bytes(bytes.data, n, &e), ERR_CORRUPT);
	assert_non_null(strstr(e.text, "1 of"));
	assert_int_equal(open_bytes(bytes.data, bytes.len, &e), 0);
	buf_free(&bytes);
}

/* One byte at a time turned into its opposite and into 0xFF: any result, but no crash. Sanitizers make this a real
 * test. */
static void test_every_byte_wrong(void **state)
{
	struct buf bytes = BUF_INIT;
	struct gguf_write w;
	struct err e = ERR_INIT;
	size_t header_bytes, refused = 0;

	(void)state;
	write_sample(&w);
	assert_int_equal(gguf_write_end(&w, &bytes, &header_bytes), 0);
	gguf_write_fini(&w);
	for (size_t i = 0; i < header_bytes; i++) {
		const uint8_t was = bytes.data[i];

		bytes.data[i] = (uint8_t)~was;
		refused += open_bytes(bytes.data, bytes.len, &e) != 0;
		bytes.data[i] = 0xFF;
		refused += open_bytes(bytes.data, bytes.len, &e) != 0;
		bytes.data[i] = was;
	}
	assert_true(refused > header_bytes / 4);
	buf_free(&bytes);
}

static int open_start(uint64_t tensor_count, uint64_t value_count, const void *rest, size_t rest_bytes)
{
	struct buf b = BUF_INIT;
	struct err e = ERR_INIT;

	buf_append(&b, "GGUF", 4);
	buf_u32le(&b, 3);
	buf_u64le(&b, tensor_count);
	buf_u64le(&b, value_count);
	buf_append(&b, rest, rest_bytes);
	const int rc = open_bytes(b.data, b.len, &e);
	buf_free(&b);
	return rc;
}

static void test_absurd_counts(void **state)
{
	static const uint8_t zeros[64];

	(void)state;
	assert_int_equal(open_start(UINT64_MAX, 0, zeros, 64), ERR_LIMIT);
	assert_int_equal(open_start(4097, 0, zeros, 64), ERR_LIMIT);
	assert_int_equal(open_start(0, UINT64_MAX, zeros, 64), ERR_LIMIT);
	assert_int_equal(open_start(0, 4097, zeros, 64), ERR_LIMIT);
	assert_int_equal(open_start(4096, 0, zeros, 64), ERR_CORRUPT);
	assert_int_equal(open_start(0, 4096, zeros, 64), ERR_CORRUPT);
	assert_int_equal(open_start(0, 0, zeros, 64), 0);
}

static int open_array(uint32_t type, uint64_t count, size_t payload_bytes, uint8_t fill)
{
	struct gguf_write w;
	struct buf payload = BUF_INIT;
	struct err e = ERR_INIT;

	buf_u32le(&payload, type);
	buf_u64le(&payload, count);
	for (size_t i = 0; i < payload_bytes; i++)
		buf_u8(&payload, fill);
	gguf_write_init(&w);
	gguf_write_value(&w, "a", 9, payload.data, payload.len);
	buf_free(&payload);
	return open_written(&w, &e);
}

static void test_hostile_arrays(void **state)
{
	(void)state;
	assert_int_equal(open_array(8, UINT64_MAX, 64, 0), ERR_CORRUPT); /* strings */
	assert_int_equal(open_array(8, 1000, 64, 0), ERR_CORRUPT);
	assert_int_equal(open_array(8, 2, 64, 0xFF), ERR_LIMIT);                  /* a string of 2⁶⁴−1 bytes */
	assert_int_equal(open_array(10, UINT64_MAX / 8 + 2, 64, 0), ERR_CORRUPT); /* count × 8 overflows */
	assert_int_equal(open_array(0, UINT64_MAX, 64, 0), ERR_CORRUPT);
	assert_int_equal(open_array(9, 1, 64, 0), ERR_UNSUPPORTED); /* array of arrays */
	assert_int_equal(open_array(13, 1, 64, 0), ERR_CORRUPT);
	assert_int_equal(open_array(8, 8, 64, 0), 0);
	assert_int_equal(open_array(0, 64, 64, 0), 0);
}

static void test_text_of_arrays_is_limited(void **state)
{
	const size_t len = 65536, count = 257; /* one string over 16 MiB */
	char *text = malloc(len + 1);
	const char *texts[257];
	struct gguf_write w;
	struct err e = ERR_INIT;

	(void)state;
	assert_non_null(text);
	memset(text, 'x', len);
	text[len] = '\0';
	for (size_t i = 0; i < count; i++)
		texts[i] = text;
	gguf_write_init(&w);
	gguf_write_strings(&w, "a", texts, count);
	assert_int_equal(open_written(&w, &e), ERR_LIMIT);
	gguf_write_init(&w);
	gguf_write_strings(&w, "a", texts, count - 1);
	assert_int_equal(open_written(&w, &e), 0);
	free(text);
}

static void test_hostile_values(void **state)
{
	struct gguf_write w;
	struct err e = ERR_INIT;

	(void)state;
	gguf_write_init(&w);
	gguf_write_u32(&w, "same", 1);
	gguf_write_u32(&w, "same", 2);
	assert_int_equal(open_written(&w, &e), ERR_CORRUPT);
	gguf_write_init(&w);
	gguf_write_value(&w, "x", 99, "abcd", 4);
	assert_int_equal(open_written(&w, &e), ERR_CORRUPT);
	for (uint32_t alignment = 0; alignment < 7; alignment++) {
		gguf_write_init(&w);
		gguf_write_u32(&w, "general.alignment", alignment);
		assert_int_equal(open_written(&w, &e), ERR_CORRUPT);
	}
	gguf_write_init(&w);
	gguf_write_u32(&w, "general.alignment", 48);
	assert_int_equal(open_written(&w, &e), ERR_CORRUPT);
	gguf_write_init(&w);
	gguf_write_string(&w, "general.alignment", "32");
	assert_int_equal(open_written(&w, &e), ERR_CORRUPT);
	/* A key with control characters does not reach the error text raw. */
	gguf_write_init(&w);
	gguf_write_value(&w, "k\x1b[31m\n", 99, "", 0);
	assert_int_equal(open_written(&w, &e), ERR_CORRUPT);
	assert_null(strpbrk(e.text, "\x1b\n"));
}

static void test_other_alignment(void **state)
{
	const struct place *p = *state;
	static const float one = 1.0f, two = 2.0f;
	struct model_gguf *g = NULL;
	struct gguf_write w;
	struct err e = ERR_INIT;

	gguf_write_init(&w);
	w.alignment = 256;
	gguf_write_u32(&w, "general.alignment", 256);
	gguf_write_tensor(&w, "b", F32, (const uint64_t[]){ 1 }, 1, &one, 4);
	gguf_write_tensor(&w, "a", F32, (const uint64_t[]){ 1 }, 1, &two, 4);
	assert_int_equal(gguf_write_file(&w, p->path, &e), 0);
	gguf_write_fini(&w);
	assert_int_equal(model_gguf_open(p->path, &g, &e), 0);
	assert_true(*(const float *)model_gguf_tensor(g, "b")->data == 1.0f);
	assert_true(*(const float *)model_gguf_tensor(g, "a")->data == 2.0f);
	model_gguf_close(&g);
}

struct lie {
	uint32_t type;
	unsigned dim_count;
	uint64_t dims[4];
	uint64_t offset;
	int wanted;
};

static void test_hostile_tensors(void **state)
{
	static const struct lie lies[] = {
		{ F32, 1, { 64 }, 0, 0 },
		{ F32, 0, { 1 }, 0, ERR_CORRUPT },
		{ F32, 5, { 1, 1, 1, 1 }, 0, ERR_LIMIT },
		{ F32, UINT32_MAX, { 1, 1, 1, 1 }, 0, ERR_LIMIT },
		{ F32, 2, { 4, 0 }, 0, ERR_CORRUPT },
		{ F32, 1, { 0 }, 0, ERR_CORRUPT },
		{ F32, 2, { UINT64_C(1) << 33, UINT64_C(1) << 33 }, 0, ERR_CORRUPT }, /* elements overflow */
		{ F32, 1, { UINT64_C(1) << 62 }, 0, ERR_CORRUPT },                    /* bytes overflow */
		{ F32, 1, { UINT64_C(1) << 61 }, 0, ERR_CORRUPT }, /* end overflows or is past the file */
		{ F32, 1, { 65 }, 0, ERR_CORRUPT },                /* past the end by 4 bytes */
		{ F32, 1, { 1 }, 256, ERR_CORRUPT },               /* starts at the end */
		{ F32, 1, { 1 }, 4, ERR_CORRUPT },                 /* not aligned */
		{ F32, 1, { 1 }, UINT64_MAX - 31, ERR_CORRUPT },   /* offset overflows */
		{ Q4_1, 2, { 16, 2 }, 0, ERR_CORRUPT },            /* rows are no whole blocks */
		{ Q5_K, 1, { 256 }, 0, ERR_UNSUPPORTED },
		{ UINT32_MAX, 1, { 32 }, 0, ERR_UNSUPPORTED },
		{ 4, 1, { 32 }, 0, ERR_UNSUPPORTED }, /* a type that was removed */
	};
	static const uint8_t data[256];
	struct err e = ERR_INIT;

	(void)state;
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		const struct lie *l = &lies[i];
		struct gguf_write w;

		gguf_write_init(&w);
		gguf_write_info(&w, "t", l->type, l->dims, l->dim_count < 4 ? l->dim_count : 4, l->offset);
		if (l->dim_count > 4) /* after the name's length (8) and byte (1) */
			memcpy(w.infos.data + 9, &l->dim_count, 4);
		gguf_write_data(&w, data, sizeof(data));
		const int rc = open_written(&w, &e);
		if (rc != l->wanted)
			fail_msg("case %zu: %d, not %d: %s", i, rc, l->wanted, e.text);
	}
}

static int open_two(const char *a, uint64_t a_offset, const char *b, uint64_t b_offset)
{
	static const uint8_t data[256];
	struct gguf_write w;
	struct err e = ERR_INIT;

	gguf_write_init(&w);
	gguf_write_info(&w, a, F32, (const uint64_t[]){ 16 }, 1, a_offset);
	gguf_write_info(&w, b, F32, (const uint64_t[]){ 16 }, 1, b_offset);
	gguf_write_data(&w, data, sizeof(data));
	return open_written(&w, &e);
}

static void test_overlap_and_duplicates(void **state)
{
	(void)state;
	assert_int_equal(open_two("a", 0, "b", 64), 0);
	assert_int_equal(open_two("a", 64, "b", 0), 0);
	assert_int_equal(open_two("a", 0, "b", 0), ERR_CORRUPT);
	assert_int_equal(open_two("a", 0, "b", 32), ERR_CORRUPT);
	assert_int_equal(open_two("a", 96, "b", 64), ERR_CORRUPT);
	assert_int_equal(open_two("a", 0, "a", 64), ERR_CORRUPT);
}

static void test_out_of_memory(void **state)
{
	const struct place *p = *state;
	struct model_gguf *g = open_sample(state, 3);
	struct err e = ERR_INIT;
	int rc = ERR_NOMEM;
	int64_t n;

	model_gguf_close(&g);
	for (n = 0; n < 1000 && rc; n++) {
		fault_set(n, 1);
		rc = model_gguf_open(p->path, &g, &e);
		fault_set(-1, 0);
		assert_true(rc == 0 || (rc == ERR_NOMEM && g == NULL));
	}
	assert_int_equal(rc, 0);
	assert_true(n > 4);
	model_gguf_close(&g);
	model_gguf_close(&g); /* again: nothing */
}

static void test_tiny_model_is_seeded(void **state)
{
	const struct place *p = *state;
	struct buf first = BUF_INIT, second = BUF_INIT;
	struct model_gguf *g = NULL;
	struct err e = ERR_INIT;

	assert_int_equal(tiny_model_write(p->path, 5, &e), 0);
	assert_int_equal(file_read(p->path, 1 << 24, &first, &e), 0);
	assert_int_equal(tiny_model_write(p->path, 5, &e), 0);
	assert_int_equal(file_read(p->path, 1 << 24, &second, &e), 0);
	assert_same_bytes(&first, &second);
	assert_int_equal(tiny_model_write(p->path, 6, &e), 0);
	buf_clear(&second);
	assert_int_equal(file_read(p->path, 1 << 24, &second, &e), 0);
	assert_true(memcmp(first.data, second.data, first.len) != 0);
	assert_int_equal(model_gguf_open(p->path, &g, &e), 0);
	assert_int_equal(model_gguf_tensor_count(g), 2 + 9 * TINY_LAYERS);
	const struct model_tensor *t = model_gguf_tensor(g, "blk.3.ffn_down.weight");
	assert_true(t && t->dims[0] == TINY_FFN && t->dims[1] == TINY_HIDDEN);
	model_gguf_close(&g);
	buf_free(&first);
	buf_free(&second);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tensors),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_strings_and_arrays),
		cmocka_unit_test(test_files_that_are_none),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_every_byte_wrong),
		cmocka_unit_test(test_absurd_counts),
		cmocka_unit_test(test_hostile_arrays),
		cmocka_unit_test(test_text_of_arrays_is_limited),
		cmocka_unit_test(test_hostile_values),
		cmocka_unit_test(test_other_alignment),
		cmocka_unit_test(test_hostile_tensors),
		cmocka_unit_test(test_overlap_and_duplicates),
		cmocka_unit_test(test_out_of_memory),
		cmocka_unit_test(test_tiny_model_is_seeded),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
