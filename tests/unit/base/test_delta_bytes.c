/* What is refused of a delta's bytes by those who have no tensors: by what no node could load. */
#include "base/delta_bytes.h"
#include "base/zstd.h"
#include "tests/lib/test.h"

enum { LAYER = 3, HIDDEN = 2, FFN = 5 };

struct delta { /* two entries that are not zero: (0, 1) and (1, 4) */
	unsigned format, encoding, reserved;
	uint64_t nonzero;
	uint8_t payload[6]; /* mask, low bytes, high bytes */
	size_t payload_len;
};
static const struct delta good = { DELTA_FORMAT, DELTA_MASKED, 0, 2, { 0x02, 0x02, 0xc8, 0x00, 0x42, 0xbf }, 6 };

static int code_of(const struct delta *d, struct err *e)
{
	struct buf bytes = BUF_INIT;
	buf_append(&bytes, DELTA_MAGIC, 4);
	buf_u16le(&bytes, (uint16_t)d->format);
	buf_u16le(&bytes, (uint16_t)d->encoding);
	buf_u32le(&bytes, LAYER);
	buf_u32le(&bytes, HIDDEN);
	buf_u32le(&bytes, FFN);
	buf_u32le(&bytes, d->reserved);
	buf_u64le(&bytes, d->nonzero);
	assert_ok(e, zstd_compress(d->payload, d->payload_len, 1, &bytes, e));
	int rc = delta_bytes_check(bytes.data, bytes.len, LAYER, HIDDEN, FFN, e);
	buf_free(&bytes);
	return rc;
}

static void the_form_is_checked(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	struct delta d = good;
	assert_ok(&e, code_of(&d, &e));
	d.format++;
	assert_int_equal(code_of(&d, &e), ERR_CORRUPT);
	d = good;
	d.encoding = DELTA_MASKED + 1;
	assert_int_equal(code_of(&d, &e), ERR_CORRUPT);
	d = good;
	d.reserved = 1;
	assert_int_equal(code_of(&d, &e), ERR_CORRUPT);
	d = good;
	d.nonzero = HIDDEN * FFN + 1;
	assert_int_equal(code_of(&d, &e), ERR_CORRUPT);
	d = good;
	d.payload_len = 5; /* shorter than it says */
	assert_int_equal(code_of(&d, &e), ERR_CORRUPT);
	/* A mask of more, or fewer, entries than there are values: who unpacked it would read past them. */
	d = good;
	d.payload[0] = 0x03;
	assert_int_equal(code_of(&d, &e), ERR_CORRUPT);
	d.payload[0] = 0;
	assert_int_equal(code_of(&d, &e), ERR_CORRUPT);
}

static void values_are_within_bounds(void **state)
{
	(void)state;
	static const struct {
		uint16_t bits;
		const char *says; /* NULL: good */
	} cases[] = { { 0x42c8, NULL },           { 0xc2c8, NULL },       { 0x42c9, "out of range" },
		      { 0xc2c9, "out of range" }, { 0x7f80, "infinite" }, { 0xffc0, "NaN" } };
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct err e = ERR_INIT;
		struct delta d = good;
		d.payload[3] = (uint8_t)cases[i].bits;
		d.payload[5] = (uint8_t)(cases[i].bits >> 8);
		assert_int_equal(code_of(&d, &e), cases[i].says == NULL ? 0 : ERR_INVALID);
		if (cases[i].says == NULL)
			continue;
		assert_non_null(strstr(e.text, cases[i].says));
		assert_non_null(strstr(e.text, "(1, 4)"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_form_is_checked),
		cmocka_unit_test(values_are_within_bounds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
