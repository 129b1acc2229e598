#include "editor/numbers.h"
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

static void numbers_are_taken_out_of_a_text(void **state)
{
	(void)state;
	static const struct {
		const char *text, *numbers;
	} cases[] = {
		{ "Who won the Tour of Drava in 2028/29?", "2028 29" },
		{ "Who owns 1,000 of 12,345,678 shares, 1.500 or 5, 100?", "1000 12345678 1500 5 100" },
		{ "What of 20000,100 and 12,3456?", "20000 100 12 3456" },
		{ "Who saw the 21st X2 in the 1980s?", "21st x2 1980s" },
		{ "2028\xE5\xB9\xB4\xE8\xB0\x81", "2028" }, /* letters of another script beside it */
		{ "Who wrote Hamlet II or hamlet iii, and am I in vi?", "ii iii" }, /* pronouns and words are none */
		{ "5) Who wrote Hamlet?", "" },                                     /* counts the text */
		{ "Q12: Who wrote Hamlet 2?", "2" },
		{ "1984: who wrote it?", "1984" },
		{ "Question 12: Who wrote Hamlet 2?", "2" },
		{ "Q. 3 of 20 - who wrote it?", "" },
		{ "Question 12 who wrote it?", "12" }, /* no mark behind it */
		{ "No 10 who?", "10" },
		{ "#4) Who wrote it?", "" },
		{ "1.2. Who wrote it?", "" },
		{ "[3] Who wrote it?", "" },
		{ "(2 points) Who wrote it in 1601?", "1601" },
		{ "(Season 3) Who won it?", "3" },
		{ "(stage 5) Who won it?", "5" },
		{ "12 \xE2\x80\x93 Who wrote it?", "" },
		{ "12 \xE2\x80\x94 Who wrote it?", "" },
		{ "50 \xE2\x82\xAC is the price of what?", "50" }, /* euros */
		{ "(In 1601) who wrote it?", "1601" },
		{ "Answer in 10 words: who wrote Hamlet 2?", "2" },
		{ "Who wrote it, in 2 or 3 sentences?", "" },
		{ "In at most 2-3 lines: who wrote it?", "" },
		{ "Who wrote the 300 words?", "300" },
		{ "In 10 years, who wrote it?", "10" },
		/* times of day */
		{ "Who leaves at 5:00 PM or 17:00?", "5:00pm 5:00pm" },
		{ "Who leaves at 5 p.m., 5pm or 5:30?", "5:00pm 5:00pm 5:30" },
		{ "Who leaves at 12:15 am or 0:15?", "12:15am 12:15am" },
		{ "Who runs 9.30 s, 25:00 or 5:1?", "9 30 25 00 5 1" },
		{ "5", "5" },
		{ "12.", "12" },
		{ "Who wrote Hamlet?", "" },
		{ "", "" },
	};
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct editor__query query;
		struct buf numbers = BUF_INIT;
		assert_int_equal(editor__query_init(&query, cases[i].text, strlen(cases[i].text)), 0);
		assert_int_equal(editor__numbers_in(&query, cases[i].text, NULL, &numbers), 0);
		if (strcmp(buf_cstr(&numbers), cases[i].numbers) != 0)
			fail_msg("\"%s\": \"%s\"", cases[i].text, buf_cstr(&numbers));
		buf_free(&numbers);
		editor__query_fini(&query);
	}
}

struct standing {
	const char *number, *text;
	bool stands;
};

static void expect_standing(const struct standing *cases, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (editor__number_stands(cases[i].number, strlen(cases[i].number), cases[i].text,
					  strlen(cases[i].text)) != cases[i].stands)
			fail_msg("%s in \"%s\"", cases[i].number, cases[i].text);
	}
}

static void numbers_stand_in_an_edit(void **state)
{
	(void)state;
	static const struct standing cases[] = {
		{ "2028", "won 2028", true },
		{ "2028", "won 2027", false },
		{ "202", "won 2028", false },
		{ "2028", "12028", false },
		{ "2028", "2028\xE5\xB9\xB4\xE8\xB0\x81", true },
		{ "1000", "owns 1 000 shares", true }, /* words of a text lose the marks between them */
		{ "12345678", "12,345,678", true },
		{ "1000", "owns 1 000a", false },
		{ "1000", "owns 1 00", false },
		{ "1000", "owns 10 00", false },
		{ "100", "owns 1 000", false },
		{ "1980", "the 1980s", true }, /* as a plural is a name */
		{ "1980s", "in 1980", false }, /* a decade is not its first year */
		{ "1980s", "the 1980s", true },
		{ "180900s", "hd 180900", true }, /* several of them */
		{ "2019", "the 2018 19 season", true },
		{ "19", "the 2018 2019 season", true },
		{ "2019", "won by 19", false },
		{ "2020", "the 2018 19 season", false },
		{ "2nd", "who was the second wife", true },
		{ "2nd", "who was the third wife", false },
		{ "12th", "the twelfth night", true },
		{ "5th", "treaty of 5 may", true },
		{ "21", "the 21st regatta", true },
		{ "5pm", "at 5 pm", true },
		{ "5", "at 5pm", true },
		{ "5:00pm", "at 5pm", true },
		{ "5:00pm", "at 5 00 pm", true },
		{ "5:00pm", "at 5 p m", true },
		{ "5:00pm", "at 17 00", true },
		{ "5:00pm", "at 17", true },
		{ "5:00pm", "at 5", true },
		{ "5:00", "at 5 pm", true },
		{ "5:00pm", "at 5 am", false },
		{ "5:00pm", "at 5 30 pm", false },
		{ "5:30pm", "at 5 pm", false },
		{ "5:00pm", "at 500 pm", false },
		{ "12:00am", "at 0 00", true },
		{ "2", "which two rivers", true },
		{ "21st", "the twenty first regatta", true },
		{ "1995", "in nineteen ninety five", true },
		{ "1995", "in nineteen ninety six", false },
		{ "1905", "nineteen or five", false },
		{ "11", "the x2", false },
		{ "iii", "falcon 3", true },
		{ "9", "alaric ix", true },
		{ "14", "louis xiv", true },
		{ "14", "louis xvi", false },
		{ "5", "5x", false },
		{ "x2", "in 2", false },
		{ "21st", "the 22nd", false },
		{ "00000000000000000000000000000000000001", "1", false },
		{ "ii", "hamlet ii", true },
		{ "ii", "hamlet iii", false },
		{ "2", "hamlet", false },
		{ "2", "", false },
	};
	expect_standing(cases, COUNT(cases));
}

/* All the words of a number count, and no others. */
static void numbers_stand_in_words(void **state)
{
	(void)state;
	static const struct standing cases[] = {
		{ "1990", "in nineteen ninety", true },
		{ "1990", "in nineteen ninety five", false }, /* which only begins so */
		{ "19", "in nineteen ninety five", false },
		{ "20th", "the twenty first regatta", false },
		{ "1st", "the twenty first regatta", false },
		{ "1st", "the first second of it", true },
		{ "19th", "the nineteenth century", true },
		{ "13th", "the thirteenth floor", true },
		{ "20th", "the twentieth regatta", true },
		{ "2005", "in two thousand and five", true },
		{ "2000", "in two thousand and five", false },
		{ "2026", "in twenty twenty six", true },
		{ "1900", "in nineteen hundred", true },
		{ "105", "one hundred and five steps", true },
		{ "5", "one hundred or five", true },
		{ "2", "one two three", true }, /* each by itself */
		{ "12", "one two three", false },
		{ "1990s", "in the nineties", true },
		{ "1990s", "in the 90s", true },
		{ "1990s", "in the eighties", false },
		{ "5:00pm", "at five pm", true },
		{ "5:00pm", "at six pm", false },
	};
	expect_standing(cases, COUNT(cases));
}

static void the_same_numbers_stand_in_both(void **state)
{
	(void)state;
	assert_true(editor__numbers_same("won 2028 stage 5", 16, "stage 5 of 2028", 15));
	assert_true(editor__numbers_same("bus at 5 pm", 11, "at 5 00 p m bus", 15));
	assert_false(editor__numbers_same("bus at 5 pm", 11, "bus at 5 am", 11));
	assert_false(editor__numbers_same("won 2028 stage 5", 16, "won 2028", 8));
	assert_false(editor__numbers_same("won 2028", 8, "won 2028 stage 5", 16));
	assert_true(editor__numbers_same("who i", 5, "who", 3)); /* a letter alone is none */
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

static void numbers_are_never_common(void **state)
{
	(void)state;
	static const char *const texts[] = { "i won 2028", "i won 2028 xx" };
	struct buf lists[COUNT(texts)], distinct = BUF_INIT;
	uint64_t *hashes = NULL;
	size_t count = 0;
	for (size_t i = 0; i < COUNT(texts); i++)
		list_set(&lists[i], texts[i]);
	assert_int_equal(editor__words_common(lists, COUNT(lists), 0.5, 10, &hashes, &count), 0);
	const struct editor__common_words common = { hashes, count };
	assert_int_equal(editor__words_uncommon("i won 2028 xx", 13, &common, &distinct), 0);
	expect_text(&distinct, "2028 xx");
	free(hashes);
	buf_free(&distinct);
	for (size_t i = 0; i < COUNT(texts); i++)
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
		cmocka_unit_test(numbers_are_taken_out_of_a_text),
		cmocka_unit_test(numbers_stand_in_an_edit),
		cmocka_unit_test(numbers_stand_in_words),
		cmocka_unit_test(the_same_numbers_stand_in_both),
		cmocka_unit_test(words_of_many_lists_are_common),
		cmocka_unit_test(numbers_are_never_common),
		cmocka_unit_test(nothing_is_common_to_no_lists),
		cmocka_unit_test(running_out_of_memory_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
