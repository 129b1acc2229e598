#include "tests/lib/test.h"

#include "base/zstd.h"

static void pack(const char *text, struct buf *out)
{
	struct err e = ERR_INIT;
	assert_ok(&e, zstd_compress(text, strlen(text), 3, out, &e));
}

static void buffers_come_back(void **state)
{
	(void)state;
	struct buf packed = BUF_INIT;
	struct err e = ERR_INIT;
	char back[16];
	buf_puts(&packed, "kept");
	pack("twelve bytes", &packed);
	assert_memory_equal(packed.data, "kept", 4);
	assert_true(zstd_is_frame(packed.data + 4, packed.len - 4));
	assert_false(zstd_is_frame(packed.data, packed.len));
	assert_false(zstd_is_frame(packed.data + 4, 3));
	assert_ok(&e, zstd_decompress(packed.data + 4, packed.len - 4, back, 12, &e));
	assert_memory_equal(back, "twelve bytes", 12);
	assert_int_equal(zstd_decompress(packed.data + 4, packed.len - 4, back, 11, &e), ERR_CORRUPT);
	assert_int_equal(zstd_decompress(packed.data + 4, packed.len - 4, back, 13, &e), ERR_CORRUPT);
	assert_non_null(strstr(e.text, "12 bytes instead of 13"));
	assert_int_equal(zstd_decompress(packed.data, packed.len, back, 12, &e), ERR_CORRUPT);
	buf_free(&packed);
}

/* Whatever the pieces of input and output, the stream is the same; an end inside a frame is seen. */
static void streams_come_in_pieces(void **state)
{
	(void)state;
	struct buf packed = BUF_INIT;
	pack("the first frame, ", &packed);
	pack("", &packed);
	pack("the second one", &packed);
	for (size_t in_max = 1; in_max < 40; in_max += 3) {
		for (size_t out_cap = 1; out_cap < 20; out_cap += 4) {
			struct zstd_reader *reader = NULL;
			struct err e = ERR_INIT;
			struct buf plain = BUF_INIT;
			const uint8_t *at = packed.data, *end = packed.data + packed.len;
			size_t out_len = 1;
			assert_ok(&e, zstd_reader_new(&reader, &e));
			assert_false(zstd_reader_inside_frame(reader));
			while (at < end || out_len > 0) {
				uint8_t out[20];
				size_t in_len = (size_t)(end - at) < in_max ? (size_t)(end - at) : in_max;
				if (at == packed.data + 5)
					assert_true(zstd_reader_inside_frame(reader));
				assert_ok(&e, zstd_reader_step(reader, &at, &in_len, out, out_cap, &out_len, &e));
				buf_append(&plain, out, out_len);
			}
			assert_string_equal(buf_cstr(&plain), "the first frame, the second one");
			assert_false(zstd_reader_inside_frame(reader));
			buf_free(&plain);
			zstd_reader_destroy(&reader);
			assert_null(reader);
		}
	}
	buf_free(&packed);
}

static void damage_is_reported(void **state)
{
	(void)state;
	struct zstd_reader *reader = NULL;
	struct buf packed = BUF_INIT;
	struct err e = ERR_INIT;
	uint8_t out[64];
	pack("some text", &packed);
	packed.data[0] ^= 1;
	const uint8_t *at = packed.data;
	size_t in_len = packed.len, out_len;
	assert_ok(&e, zstd_reader_new(&reader, &e));
	assert_int_equal(zstd_reader_step(reader, &at, &in_len, out, sizeof(out), &out_len, &e), ERR_CORRUPT);
	assert_non_null(strstr(e.text, "zstd: "));
	zstd_reader_destroy(&reader);
	zstd_reader_destroy(&reader);
	buf_free(&packed);
}

static int compress_and_open(void *context)
{
	struct zstd_reader *reader = NULL;
	struct buf packed = BUF_INIT;
	int rc = zstd_compress(context, strlen(context), 3, &packed, NULL);
	if (rc != 0)
		assert_int_equal(packed.len, 0);
	if (rc == 0)
		rc = zstd_reader_new(&reader, NULL);
	zstd_reader_destroy(&reader);
	buf_free(&packed);
	return rc;
}

static void out_of_memory(void **state)
{
	(void)state;
	char text[] = "some text";
	assert_int_equal(test_walk_allocations(compress_and_open, text), 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(buffers_come_back),
		cmocka_unit_test(streams_come_in_pieces),
		cmocka_unit_test(damage_is_reported),
		cmocka_unit_test(out_of_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
