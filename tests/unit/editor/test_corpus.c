/* Lines of a calibration corpus. */
#include "editor/corpus.h"

#include "tests/lib/test.h"

static void expect(const struct record_text *text, const char *is)
{
	assert_int_equal(text->len, strlen(is));
	assert_memory_equal(text->text, is, text->len);
}

static void columns_are_told_apart(void **state)
{
	static const char bytes[] = "prompt\tg1\tVint\twho rules Vint?\n\nunrelated\tu\t\tnq: one\ttwo\n"
				    "rephrase\tg1\tVint\tr\nnear\tg1\tVint\tn\nother\t\t\t o";
	struct editor_corpus corpus;
	struct editor_corpus_line line;
	struct err e = ERR_INIT;
	(void)state;
	editor_corpus_init(&corpus, "corpus", bytes, strlen(bytes));
	assert_ok(&e, editor_corpus_next(&corpus, &line, &e));
	assert_int_equal(line.kind, EDITOR_PROMPT);
	expect(&line.group, "g1");
	expect(&line.subject, "Vint");
	expect(&line.text, "who rules Vint?");
	assert_ok(&e, editor_corpus_next(&corpus, &line, &e));
	assert_int_equal(line.kind, EDITOR_UNRELATED);
	assert_int_equal(corpus.line_no, 3);
	expect(&line.subject, "");
	expect(&line.text, "nq: one\ttwo"); /* the last column has the rest */
	assert_ok(&e, editor_corpus_next(&corpus, &line, &e));
	assert_int_equal(line.kind, EDITOR_REPHRASE);
	assert_ok(&e, editor_corpus_next(&corpus, &line, &e));
	assert_int_equal(line.kind, EDITOR_NEAR);
	expect(&line.text, "n");
	assert_ok(&e, editor_corpus_next(&corpus, &line, &e));
	assert_int_equal(line.kind, EDITOR_OTHER);
	expect(&line.text, " o");
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(editor_corpus_next(&corpus, &line, &e), ERR_NOT_FOUND);
	assert_int_equal(editor_corpus_lines(bytes, strlen(bytes)), 6);
	editor_corpus_init(&corpus, "corpus", NULL, 0);
	assert_int_equal(editor_corpus_next(&corpus, &line, &e), ERR_NOT_FOUND);
}

static void other_lines_are_said_and_passed(void **state)
{
	static const char *const bad[] = { "prompt\tg\tno text",
					   "prompt\tg\ts\t",
					   "prompts\tg\ts\tt",
					   "promp\tg\ts\tt",
					   "\tg\ts\tt",
					   "prompt",
					   "\t\t\t" };
	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct editor_corpus corpus;
		struct editor_corpus_line line;
		struct err e = ERR_INIT;
		char bytes[64];
		snprintf(bytes, sizeof(bytes), "\n%s\nother\tg\ts\tlast", bad[i]);
		editor_corpus_init(&corpus, "own.tsv", bytes, strlen(bytes));
		assert_int_equal(editor_corpus_next(&corpus, &line, &e), ERR_INVALID);
		assert_non_null(strstr(e.text, "own.tsv: line 2: must read \"kind<tab>group"));
		assert_ok(&e, editor_corpus_next(&corpus, &line, &e));
		expect(&line.text, "last");
	}
}

static void a_line_has_a_length_that_it_may_have(void **state)
{
	struct editor_corpus corpus;
	struct editor_corpus_line line;
	struct buf bytes = BUF_INIT;
	struct err e = ERR_INIT;
	(void)state;
	for (size_t longer = 0; longer < 2; longer++) {
		buf_clear(&bytes);
		buf_puts(&bytes, "other\tg\ts\t");
		while (bytes.len < EDITOR_CORPUS_LINE_BYTES_MAX + longer)
			buf_u8(&bytes, 'x');
		editor_corpus_init(&corpus, "corpus", (const char *)bytes.data, bytes.len);
		assert_int_equal(editor_corpus_next(&corpus, &line, &e), longer == 0 ? 0 : ERR_LIMIT);
	}
	assert_non_null(strstr(e.text, "line 1: 8193 bytes, at most 8192"));
	buf_free(&bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(columns_are_told_apart),
		cmocka_unit_test(other_lines_are_said_and_passed),
		cmocka_unit_test(a_line_has_a_length_that_it_may_have),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
