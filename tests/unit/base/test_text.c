#include "tests/lib/test.h"

#include "base/rng.h"
#include "base/text.h"

#include <ctype.h>

static int check(const char *text, bool multiline)
{
	struct err e = ERR_INIT;
	return text_check(text, strlen(text), multiline, &e);
}

static void accepts(void **state)
{
	(void)state;
	assert_int_equal(check("", false), 0);
	assert_int_equal(check("The twin city of Köln is — 東京 😀", false), 0);
	assert_int_equal(check("a\nb\tc", true), 0);
}

static void refuses(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"a\nb",         "a\tb",         "\x1b[31m",         "\x7f",
		"\xc2\x85",                                                     /* controls */
		"\xe2\x80\xae", "\xe2\x81\xa6", "\xe2\x80\x8e",     "\xd8\x9c", /* bidirectional */
		"\xef\xbf\xbe", "\xef\xb7\x90", "\xf0\x9f\xbf\xbf",             /* non-characters */
		"\xff",         "\xc0\x80",     "\xed\xa0\x80",     "\xf4\x90\x80\x80",
		"\xe2\x82",                     /* no UTF-8 */
		"e\xcc\x81",    "\xe2\x84\xab", /* not composed: e + acute, the Angstrom sign */
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (check(bad[i], false) != ERR_INVALID)
			fail_msg("accepted item %zu", i);
	}
	assert_int_equal(check("a\rb", true), ERR_INVALID);
	assert_int_equal(text_check("a\0b", 3, true, NULL), ERR_INVALID);
	struct err e = ERR_INIT;
	assert_int_equal(text_check("abc\x1b", 4, false, &e), ERR_INVALID);
	assert_non_null(strstr(e.text, "U+001B"));
	assert_non_null(strstr(e.text, "byte 3"));
	assert_int_equal(text_check("abe\xcc\x81", 5, false, &e), ERR_INVALID);
	assert_non_null(strstr(e.text, "NFC at byte 2"));
}

static void folds(void **state)
{
	(void)state;
	struct buf b = BUF_INIT;
	const char *text = "  Die STRASSE\t\n von\xc2\xa0 Ängström  ";
	assert_int_equal(text_fold(text, strlen(text), &b), 0);
	assert_string_equal(buf_cstr(&b), "die strasse von ängström");
	buf_clear(&b);
	assert_int_equal(text_fold("Straße", strlen("Straße"), &b), 0);
	assert_string_equal(buf_cstr(&b), "strasse");
	buf_clear(&b);
	assert_int_equal(text_fold(" \t ", 3, &b), 0);
	assert_int_equal(b.len, 0);
	buf_free(&b);
}

/* A letter beyond ASCII behind it has the same bytes folded character by character. */
static void ascii_folds_as_other_text(void **state)
{
	(void)state;
	struct rng rng;
	rng_init(&rng, 3);
	for (size_t i = 0; i < 3000; i++) {
		char text[40];
		struct buf alone = BUF_INIT, followed = BUF_INIT;
		const size_t before = (size_t)rng_below(&rng, 30), len = before + 1;
		for (size_t k = 0; k < before; k++)
			text[k] = (char)(rng_below(&rng, 3) > 0 ? rng_below(&rng, 128) : ' ');
		text[before] = (char)('A' + rng_below(&rng, 26));
		memcpy(text + len, "é", 2);
		buf_puts(&alone, "before");
		assert_int_equal(text_fold(text, len, &alone), 0);
		assert_int_equal(text_fold(text, len + 2, &followed), 0);
		assert_int_equal(alone.len - 6, followed.len - 2);
		assert_memory_equal(alone.data + 6, followed.data, alone.len - 6);
		buf_free(&alone);
		buf_free(&followed);
	}
}

static void blanks(void **state)
{
	(void)state;
	static const char *const blank[] = {
		"", " \t\n", "\xc2\xa0", "\xe3\x80\x80", "\xe2\x80\xa8", "\xe2\x80\xa9 \xe2\x80\x83"
	};
	static const char *const written[] = { "a", " a ", "\xc2\xa0.", "\xe2\x80\x8b" /* zero width: no space */,
					       "\xff" };
	for (size_t i = 0; i < sizeof(blank) / sizeof(blank[0]); i++) {
		struct buf folded = BUF_INIT;
		assert_true(text_is_blank(blank[i], strlen(blank[i])));
		assert_int_equal(text_fold(blank[i], strlen(blank[i]), &folded), 0);
		assert_int_equal(folded.len, 0);
		buf_free(&folded);
	}
	for (size_t i = 0; i < sizeof(written) / sizeof(written[0]); i++)
		assert_false(text_is_blank(written[i], strlen(written[i])));
}

static void composes(void **state)
{
	(void)state;
	static const char *const from[] = { "Le\xCC\x81on", "a\r\nb\rc\r", "plain", "" };
	static const char *const to[] = { "L\xC3\xA9on", "a\nb\nc\n", "plain", "" };
	struct buf b = BUF_INIT;
	for (size_t i = 0; i < sizeof(from) / sizeof(from[0]); i++) {
		buf_clear(&b);
		assert_int_equal(text_compose(from[i], strlen(from[i]), &b), 0);
		assert_string_equal(buf_cstr(&b), to[i]);
	}
	assert_int_equal(text_compose("\xE9", 1, &b), ERR_INVALID);
	buf_free(&b);
}

static void escapes(void **state)
{
	(void)state;
	struct buf b = BUF_INIT;
	text_escape("a\x1b[0m\xff\xe2\x80\xae\xc2\x85é\0", 14, &b);
	assert_string_equal(buf_cstr(&b), "a\\x1B[0m\\xFF\\u{202E}\\u{85}é\\x00");
	buf_clear(&b);
	text_escape("a\xEF\xBB\xBFz", 5, &b); /* it would not be seen */
	assert_string_equal(buf_cstr(&b), "a\\u{FEFF}z");
	buf_free(&b);
}

static void shows_one_line(void **state)
{
	(void)state;
	char out[9];
	text_show_line("", 0, out, sizeof(out));
	assert_string_equal(out, "");
	text_show_line("\nlater", 6, out, sizeof(out));
	assert_string_equal(out, "");
	text_show_line("one\ntwo", 7, out, sizeof(out));
	assert_string_equal(out, "one");
	text_show_line("12345678", 8, out, sizeof(out));
	assert_string_equal(out, "12345678");
	text_show_line("123456789", 9, out, sizeof(out));
	assert_string_equal(out, "12345678");
	text_show_line("1234567é", 9, out, sizeof(out)); /* not within a character */
	assert_string_equal(out, "1234567");
	text_show_line("12345\x1b", 6, out, sizeof(out)); /* nor within an escape */
	assert_string_equal(out, "12345");
	text_show_line("1234\xff", 5, out, sizeof(out));
	assert_string_equal(out, "1234\\xFF");
}

static int join(void *context, const char *word, size_t len)
{
	struct buf *b = context;
	buf_append(b, word, len);
	buf_u8(b, '|');
	return b->len > 60 ? 7 : 0;
}

static void words(void **state)
{
	(void)state;
	struct buf b = BUF_INIT;
	const char *text = "What's the Capital-City of Köln, 2006?";
	assert_int_equal(text_words(text, strlen(text), join, &b), 0);
	assert_string_equal(buf_cstr(&b), "what|s|the|capital|city|of|köln|2006|");
	buf_clear(&b);
	assert_int_equal(text_words("!?", 2, join, &b), 0);
	assert_int_equal(b.len, 0);
	text = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa b";
	assert_int_equal(text_words(text, strlen(text), join, &b), 7);
	buf_free(&b);
}

static void ascii_letters_and_digits_make_words(void **state)
{
	(void)state;
	for (char c = 1; c < 127; c++) {
		struct buf b = BUF_INIT;
		const char text[] = { 'x', c, 'y' };
		assert_int_equal(text_words(text, 3, join, &b), 0);
		assert_int_equal(b.len, 4); /* xcy| or x|y| */
		assert_int_equal(b.data[1] != '|', isalnum((unsigned char)c) != 0);
		buf_free(&b);
	}
}

static int all_of_it(void *context)
{
	struct buf folded = BUF_INIT;
	const char *text = "Wie heißt die Hauptstadt von Österreich";
	(void)context;
	int rc = text_check(text, strlen(text), false, NULL);
	if (rc == 0)
		rc = text_words(text, strlen(text), join, &folded);
	rc = rc == 0 && buf_failed(&folded) ? ERR_NOMEM : rc;
	buf_free(&folded);
	return rc;
}

static void out_of_memory(void **state)
{
	(void)state;
	assert_true(test_walk_allocations(all_of_it, NULL) >= 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepts),
		cmocka_unit_test(refuses),
		cmocka_unit_test(folds),
		cmocka_unit_test(composes),
		cmocka_unit_test(blanks),
		cmocka_unit_test(escapes),
		cmocka_unit_test(shows_one_line),
		cmocka_unit_test(words),
		cmocka_unit_test(out_of_memory),
		cmocka_unit_test(ascii_folds_as_other_text),
		cmocka_unit_test(ascii_letters_and_digits_make_words),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
