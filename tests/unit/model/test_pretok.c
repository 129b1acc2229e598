#include "model/pretok.h"

#include "base/fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct words {
	char text[1024]; /* each word in brackets */
	size_t len, count, stop_at;
};

static int each(void *context, const char *word, size_t len)
{
	struct words *w = context;

	if (w->stop_at && w->count + 1 == w->stop_at)
		return ERR_CLOSED;
	w->count++;
	if (w->len + len + 3 > sizeof(w->text))
		return 0;
	w->text[w->len++] = '[';
	memcpy(w->text + w->len, word, len);
	w->len += len;
	w->text[w->len++] = ']';
	w->text[w->len] = '\0';
	return 0;
}

static void check(const char *name, const char *text, const char *wanted)
{
	struct model_pretok *p = NULL;
	struct words w = { "", 0, 0, 0 };
	struct err e = ERR_INIT;

	assert_int_equal(model_pretok_new(name, strlen(name), &p, &e), 0);
	assert_int_equal(model_pretok_split(p, text, strlen(text), each, &w, &e), 0);
	assert_string_equal(w.text, wanted);
	model_pretok_destroy(&p);
	assert_null(p);
}

static void test_gpt2(void **state)
{
	(void)state;
	check("gpt2", "", "");
	check("gpt2", "Hello world, it's 2026!", "[Hello][ world][,][ it]['s][ 2026][!]");
	check("gpt2", "we'll they've I'd don'T", "[we]['ll][ they]['ve][ I]['d][ don]['][T]");
	check("gpt2", "a  b   c", "[a][ ][ b][  ][ c]");
	check("gpt2", "end  ", "[end][  ]");
	check("gpt2", "a\n\nb\tc", "[a][\n][\n][b][\t][c]");
	check("gpt2", "caf\u00e9 \u4f60\u597d \u00b2\u00bd", "[caf\u00e9][ \u4f60\u597d][ \u00b2\u00bd]");
	check("gpt2", "x\u00a0y", "[x][\u00a0][y]");
	/* U+180E is no white space since Unicode 6.3; U+0085 is. */
	check("gpt2",
	      "a\u180e\xc2\x85"
	      "b",
	      "[a][\u180e][\xc2\x85][b]");
	check("gpt2", "a \u2028b", "[a][ ][\u2028][b]"); /* the line separator is white space */
	check("default", "12ab", "[12][ab]");
	check("gpt-2", " 12", "[ 12]");
}

static void test_smollm_takes_digits_alone(void **state)
{
	(void)state;
	check("smollm", "In 2026, 10km", "[In][ ][2][0][2][6][,][ ][1][0][km]");
	check("smollm", "a  5", "[a][  ][5]");
	check("smollm", "5  a", "[5][ ][ a]");
	check("smollm", "\u0664\u00bd", "[\u0664][\u00bd]");
	check("smollm", "it's", "[it]['s]");
	check("smollm", "7", "[7]");
}

static void test_llama3(void **state)
{
	(void)state;
	check("llama-bpe", "Hello world, IT'S 123456!\n\n", "[Hello][ world][,][ IT]['S][ ][123][456][!\n\n]");
	check("llama-bpe", "a\n\n b  c\n", "[a][\n\n][ b][ ][ c][\n]");
	check("llama3", "(word) x", "[(word][)][ x]");
	check("llama", "tail   ", "[tail][   ]");
}

static void test_only_llama3_ignores_merges(void **state)
{
	struct model_pretok *p = NULL;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(model_pretok_new("llama-bpe", 9, &p, &e), 0);
	assert_true(model_pretok_ignores_merges(p));
	model_pretok_destroy(&p);
	assert_int_equal(model_pretok_new("smollm", 6, &p, &e), 0);
	assert_false(model_pretok_ignores_merges(p));
	model_pretok_destroy(&p);
}

static void test_unknown_names_are_refused(void **state)
{
	static const char *const names[] = { "", "qwen2", "smol", "smollm2", "gpt2 gpt-2", " " };
	struct model_pretok *p = NULL;
	struct err e = ERR_INIT;

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		assert_int_equal(model_pretok_new(names[i], strlen(names[i]), &p, &e), ERR_UNSUPPORTED);
		assert_null(p);
	}
	assert_int_equal(model_pretok_new("smollm", 4, &p, &e), ERR_UNSUPPORTED);
	for (size_t len = 1; len <= 32; len++) { /* past the end of each list of names */
		static const char zeros[32] = { 0 };

		assert_int_equal(model_pretok_new(zeros, len, &p, &e), ERR_UNSUPPORTED);
	}
	assert_int_equal(model_pretok_new("\x1b[31m", 5, &p, &e), ERR_UNSUPPORTED);
	assert_null(strchr(e.text, 0x1b)); /* not to the terminal */
}

static void test_bad_utf8_is_refused(void **state)
{
	static const struct {
		const char *text;
		size_t len;
	} bad[] = { { "\xff", 1 },         { "a\xc3", 2 },        { "\xc0\x80", 2 },
		    { "\xed\xa0\x80", 3 }, { "\xe2\x82", 2 },     { "\xf4\x90\x80\x80", 4 },
		    { "\x80", 1 },         { "\xe0\x80\x80", 3 }, { "\xf0\x80\x80\x80", 4 },
		    { "ab\xe2(\xa1", 5 } };
	struct model_pretok *p = NULL;
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(model_pretok_new("smollm", 6, &p, &e), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct words w = { "", 0, 0, 0 };

		assert_int_equal(model_pretok_split(p, bad[i].text, bad[i].len, each, &w, &e), ERR_INVALID);
		assert_int_equal(w.count, 0);
	}
	struct words w = { "", 0, 0, 0 };
	assert_int_equal(model_pretok_split(p, "a\0b", 3, each, &w, &e), 0); /* NUL is a character like others here */
	assert_int_equal(w.count, 3);
	model_pretok_destroy(&p);
}

static void test_stops_when_told(void **state)
{
	struct model_pretok *p = NULL;
	struct words w = { "", 0, 0, 3 };
	struct err e = ERR_INIT;

	(void)state;
	assert_int_equal(model_pretok_new("smollm", 6, &p, &e), 0);
	assert_int_equal(model_pretok_split(p, "a b c d 1 2", 11, each, &w, &e), ERR_CLOSED);
	assert_string_equal(w.text, "[a][ b]");
	model_pretok_destroy(&p);
}

/* One megabyte of the shapes that make expressions backtrack; the test's time limit is the assertion. */
static void test_long_texts(void **state)
{
	static const char *const units[] = { " ", "a", "'", "\n ", " \xc2\xa0", "1", "a1 " };
	const size_t len = 1 << 20;
	char *text = malloc(len);
	struct err e = ERR_INIT;

	(void)state;
	assert_non_null(text);
	for (size_t u = 0; u < sizeof(units) / sizeof(units[0]); u++) {
		const size_t unit = strlen(units[u]);

		for (size_t i = 0; i < len; i++)
			text[i] = units[u][i % unit];
		for (int k = 0; k < 2; k++) {
			struct model_pretok *p = NULL;
			struct words w = { "", 0, 0, 0 };
			const char *name = k ? "llama-bpe" : "smollm";

			assert_int_equal(model_pretok_new(name, strlen(name), &p, &e), 0);
			assert_int_equal(model_pretok_split(p, text, len - len % unit, each, &w, &e), 0);
			assert_true(w.count > 0);
			model_pretok_destroy(&p);
		}
	}
	free(text);
}

/* The just-in-time compiler's memory may fail without harm: so every place is tried, not only those up to the first
 * success. */
static void test_out_of_memory(void **state)
{
	struct err e = ERR_INIT;
	int rc = ERR_NOMEM, failures = 0;

	(void)state;
	for (int64_t n = 0; n < 64; n++) {
		struct model_pretok *p = NULL;
		struct words w = { "", 0, 0, 0 };

		fault_set(n, 1);
		rc = model_pretok_new("smollm", 6, &p, &e);
		if (rc == 0)
			rc = model_pretok_split(p, "a 1", 3, each, &w, &e);
		fault_set(-1, 0);
		failures += rc != 0;
		assert_true(rc == 0 || rc == ERR_NOMEM);
		model_pretok_destroy(&p);
	}
	assert_int_equal(rc, 0);
	assert_true(failures > 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gpt2),
		cmocka_unit_test(test_smollm_takes_digits_alone),
		cmocka_unit_test(test_llama3),
		cmocka_unit_test(test_only_llama3_ignores_merges),
		cmocka_unit_test(test_unknown_names_are_refused),
		cmocka_unit_test(test_bad_utf8_is_refused),
		cmocka_unit_test(test_stops_when_told),
		cmocka_unit_test(test_long_texts),
		cmocka_unit_test(test_out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
