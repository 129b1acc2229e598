#include "tests/lib/test.h"

#include "base/fault.h"

static void appends(void **state)
{
	(void)state;
	struct buf b = BUF_INIT;
	assert_string_equal(buf_cstr(&b), "");
	buf_puts(&b, "ab");
	buf_printf(&b, "-%d", 7);
	assert_string_equal(buf_cstr(&b), "ab-7");
	char big[1000];
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	buf_printf(&b, "%s!", big);
	assert_int_equal(b.len, 4 + 999 + 1);
	assert_int_equal(b.data[b.len - 1], '!');
	buf_clear(&b);
	assert_int_equal(b.len, 0);
	buf_free(&b);
	assert_null(b.data);
}

static void round_trip(void **state)
{
	(void)state;
	struct buf b = BUF_INIT;
	buf_u8(&b, 0xAB);
	buf_u16le(&b, 0x1234);
	buf_u32le(&b, 0x89ABCDEF);
	buf_u64le(&b, UINT64_C(0x0123456789ABCDEF));
	buf_u64be(&b, UINT64_C(0x0123456789ABCDEF));
	buf_f32le(&b, -1.5f);
	assert_int_equal(b.data[1], 0x34);
	assert_int_equal(b.data[15], 0x01);
	struct reader r;
	reader_init(&r, b.data, b.len);
	assert_int_equal(reader_u8(&r), 0xAB);
	assert_int_equal(reader_u16le(&r), 0x1234);
	assert_int_equal(reader_u32le(&r), 0x89ABCDEF);
	assert_true(reader_u64le(&r) == UINT64_C(0x0123456789ABCDEF));
	assert_true(reader_u64be(&r) == UINT64_C(0x0123456789ABCDEF));
	assert_true(reader_f32le(&r) == -1.5f);
	assert_false(r.overrun);
	assert_int_equal(r.at, r.len);
	assert_int_equal(reader_u8(&r), 0);
	assert_true(r.overrun);
	buf_free(&b);
}

static void overrun_sticks(void **state)
{
	(void)state;
	struct reader r;
	reader_init(&r, "abc", 3);
	assert_int_equal(reader_u32le(&r), 0);
	assert_true(r.overrun);
	assert_int_equal(reader_u8(&r), 0);
	reader_init(&r, "abc", 3);
	assert_null(reader_bytes(&r, SIZE_MAX));
	reader_init(&r, NULL, 0);
	assert_non_null(reader_bytes(&r, 0));
	assert_false(r.overrun);
}

static void failed_append_sticks(void **state)
{
	(void)state;
	struct buf b = BUF_INIT;
	buf_puts(&b, "kept");
	char big[4096];
	memset(big, 'y', sizeof(big));
	fault_set(0, 1);
	buf_append(&b, big, sizeof(big));
	fault_set(-1, 0);
	assert_true(buf_failed(&b));
	assert_int_equal(b.len, 4);
	buf_puts(&b, "more");
	assert_int_equal(b.len, 4);
	assert_string_equal(buf_cstr(&b), "");
	buf_clear(&b);
	buf_puts(&b, "again");
	assert_false(buf_failed(&b));
	assert_string_equal(buf_cstr(&b), "again");
	buf_append(&b, big, SIZE_MAX / 2 + 1);
	assert_true(buf_failed(&b));
	buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(appends),
		cmocka_unit_test(round_trip),
		cmocka_unit_test(overrun_sticks),
		cmocka_unit_test(failed_append_sticks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
