#include "base/utf8.h"

#include "tests/lib/test.h"

/* Every code point has one form; its beginnings, and its bytes with one changed, are another or none. */
static void every_code_point(void **state)
{
	(void)state;
	for (uint32_t code = 0; code < 0x110000; code++) {
		char text[4];
		uint32_t got = UINT32_MAX;
		size_t need = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
		static const unsigned first[] = { 0, 0, 0xC0, 0xE0, 0xF0 };
		for (size_t i = need - 1; i > 0; i--)
			text[i] = (char)(0x80 | (code >> (6 * (need - 1 - i)) & 0x3F));
		text[0] = (char)(first[need] | code >> (6 * (need - 1)));
		bool surrogate = code >= 0xD800 && code < 0xE000;
		assert_int_equal(utf8_next(text, 4, &got), surrogate ? 0 : need);
		if (surrogate)
			continue;
		assert_int_equal(got, code);
		for (size_t len = 0; len < need; len++)
			assert_int_equal(utf8_next(text, len, &got), 0);
	}
}

static void what_is_no_character(void **state)
{
	static const struct {
		const char *text;
		size_t len, bad;
	} cases[] = {
		{ "\x80", 1, 1 },
		{ "\xff", 1, 1 },
		{ "\xc0\x80", 2, 1 },
		{ "\xc1\xbf", 2, 1 },
		{ "\xc3", 1, 1 },
		{ "\xc3(", 2, 1 },
		{ "\xe0\x9f\xbf", 3, 1 },
		{ "\xe2\x82", 2, 2 },
		{ "\xe2\x82(", 3, 2 },
		{ "\xed\xa0\x80", 3, 1 },
		{ "\xf0\x9f\x98", 3, 3 },
		{ "\xf0\x8f\xbf\xbf", 4, 1 },
		{ "\xf4\x90\x80\x80", 4, 1 },
		{ "\xf5\x80\x80", 3, 1 },
		{ "\xf0\x9f(\x80", 4, 2 },
	};
	uint32_t code;
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		assert_int_equal(utf8_next(cases[i].text, cases[i].len, &code), 0);
		assert_int_equal(utf8_bad(cases[i].text, cases[i].len), cases[i].bad);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_code_point),
		cmocka_unit_test(what_is_no_character),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
