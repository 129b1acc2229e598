#include "editor/words.h"

#include "base/fault.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void expect_text(const struct buf *got, const char *want)
{
	assert_int_equal(got->len, strlen(want));
	assert_memory_equal(got->len > 0 ? (const char *)got->data : "", want, got->len);
}

static void words_beside_the_subject_are_taken(void **state)
{
	(void)state;
	static const char text[] = "Who DESIGNED the Angel of the North, and when?";
	struct editor__query query;
	uint8_t marks[EDITOR__QUERY_WORDS_MAX];
	struct buf words = BUF_INIT;
	assert_int_equal(editor__query_init(&query, text, strlen(text)), 0);
	assert_int_equal(editor__query_mark(&query, "angel of the north", 18, marks), 0);
	assert_int_equal(editor__words_unmarked(&query, marks, &words), 0);
	expect_text(&words, "who designed the and when");
	words.len = 0;
	memset(marks, 1, sizeof(marks));
	assert_int_equal(editor__words_unmarked(&query, marks, &words), 0);
	assert_int_equal(words.len, 0);
	buf_free(&words);
	editor__query_fini(&query);
}

static void the_share_counts_words_of_the_first_list(void **state)
{
	(void)state;
	static const struct {
		const char *a, *b;
		float share;
	} cases[] = {
		{ "architect designed", "designer architect famous", 1 }, /* spellings of one word */
		{ "architect designed", "who owns", 0 },
		{ "architect designed", "architect", 0.5f },
		{ "architect", "architect designed", 1 },
		{ "year 1984", "year 1985", 0.5f }, /* another number */
		{ "", "architect", 0 },
		{ "architect", "", 0 },
		{ "", "", 0 },
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		const float share = editor__words_share(cases[i].a, strlen(cases[i].a), cases[i].b, strlen(cases[i].b));
		if (share != cases[i].share)
			fail_msg("\"%s\" in \"%s\": %g", cases[i].a, cases[i].b, (double)share);
	}
}

static void list_set(struct buf *list, const char *text)
{
	*list = (struct buf)BUF_INIT;
	buf_append(list, text, strlen(text));
	assert_false(buf_failed(list));
}

static void words_of_many_lists_are_common(void **state)
{
	(void)state;
	static const char *const texts[] = { "what is the colour", "what what what", "is the owner",
					     "the architect is" };
	struct buf lists[COUNT(texts)], distinct = BUF_INIT;
	uint64_t *hashes = NULL;
	size_t count = 0;
	for (size_t i = 0; i < COUNT(texts); i++)
		list_set(&lists[i], texts[i]);
	/* `what` stands four times, but in two lists */
	assert_int_equal(editor__words_common(lists, COUNT(lists), 0.75, 10, &hashes, &count), 0);
	assert_int_equal(count, 2);
	assert_true(hashes[0] < hashes[1]);
	const struct editor__common_words common = { hashes, count };
	assert_int_equal(editor__words_uncommon("what is the colour", 18, &common, &distinct), 0);
	expect_text(&distinct, "what colour");
	free(hashes);
	/* the most frequent stay when there are too many */
	assert_int_equal(editor__words_common(lists, COUNT(lists), 0.25, 3, &hashes, &count), 0);
	assert_int_equal(count, 3);
	const struct editor__common_words three = { hashes, count };
	distinct.len = 0;
	assert_int_equal(editor__words_uncommon("what is the colour", 18, &three, &distinct), 0);
	expect_text(&distinct, "colour");
	free(hashes);
	buf_free(&distinct);
	for (size_t i = 0; i < COUNT(lists); i++)
		buf_free(&lists[i]);
}

static void nothing_is_common_to_no_lists(void **state)
{
	(void)state;
	uint64_t *hashes = NULL;
	size_t count = 1;
	struct buf distinct = BUF_INIT;
	assert_int_equal(editor__words_common(NULL, 0, 0.02, 10, &hashes, &count), 0);
	assert_int_equal(count, 0);
	const struct editor__common_words none = { hashes, count };
	assert_int_equal(editor__words_uncommon("is it", 5, &none, &distinct), 0);
	expect_text(&distinct, "is it");
	free(hashes);
	buf_free(&distinct);
}

static void running_out_of_memory_is_told(void **state)
{
	(void)state;
	struct buf list;
	list_set(&list, "a b c");
	int rc = ERR_NOMEM;
	for (unsigned at = 0; rc == ERR_NOMEM && at < 10; at++) {
		uint64_t *hashes = NULL;
		size_t count = 0;
		fault_set((int64_t)at, 1);
		rc = editor__words_common(&list, 1, 0.5, 10, &hashes, &count);
		fault_set(-1, 0);
		assert_true(rc == 0 || rc == ERR_NOMEM);
		assert_true((rc == 0) == (hashes != NULL));
		free(hashes);
	}
	assert_int_equal(rc, 0);
	buf_free(&list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_beside_the_subject_are_taken),
		cmocka_unit_test(the_share_counts_words_of_the_first_list),
		cmocka_unit_test(words_of_many_lists_are_common),
		cmocka_unit_test(nothing_is_common_to_no_lists),
		cmocka_unit_test(running_out_of_memory_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
