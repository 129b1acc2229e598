#include "editor/segments.h"

#include "tests/lib/test.h"

#include <string.h>

/* The parts of `text`, one a line. */
static void parts_are(const char *text, bool whole, const char *expected)
{
	struct editor_span spans[EDITOR_SEGMENTS_MAX];
	char all[1024] = "";
	const size_t count = editor_segments(text, strlen(text), whole, spans);
	assert_true(count <= EDITOR_SEGMENTS_MAX);
	for (size_t i = 0; i < count; i++) {
		assert_true(spans[i].start < spans[i].end && spans[i].end <= strlen(text));
		strncat(all, text + spans[i].start, spans[i].end - spans[i].start);
		strcat(all, i + 1 < count ? "|" : "");
	}
	assert_string_equal(all, expected);
}

static void one_sentence_has_no_parts(void **state)
{
	(void)state;
	parts_are("Where is the Angel of the North?", false, "");
	parts_are("Where did Dr. J. R. Smith of the U.S. Army live", false, "");
	parts_are("Who released Hello! in 1.5 weeks? ", false, "");
	parts_are("who sang Yahoo! and more", false, "");
	parts_are("Which sea does the Example Inc. Yacht cross?", false, "");
	parts_are("", false, "");
	parts_are(" \n\n ", true, "");
}

static void the_end_of_a_text_is_asked(void **state)
{
	(void)state;
	parts_are("one line\nanother\n\n  Where is it?", false, "Where is it?");
	parts_are("It rains. \"Does it?\" Yes! Who is he?", false, "Who is he?");
	parts_are("A b c. D e f. G h i. J k l", false, "J k l");
	parts_are("i was at dove inn. who owns raven inn?", false, "who owns raven inn?");
	parts_are("I drove a Volvo B12M. Who is he?", false, "Who is he?"); /* no initials */
	parts_are("She has an IUD. Who is she?", false, "Who is she?");
	parts_are("I met Chlorophyll Kid. Who is he?", false, "Who is he?");
	parts_are("\xE9\x9B\xA8\xE3\x80\x82\xE8\xAA\xB0\xEF\xBC\x9F", false, "\xE8\xAA\xB0\xEF\xBC\x9F");
}

static void the_last_question_is_asked_alone(void **state)
{
	(void)state;
	parts_are("Where is it?\nAnswer:", false, "Answer:|Where is it?");
	parts_are("Hello there. Where is it? Be brief. Thanks!", false, "Thanks!|Where is it?");
	parts_are("Where is it? One here. Two here. Three here.", false, "Three here.");
}

static void a_message_is_a_part_itself(void **state)
{
	(void)state;
	parts_are(" Where is it? ", true, "Where is it?");
	parts_are("Hello. Where is it?", true, "Hello. Where is it?|Where is it?");
}

static void any_bytes_may_stand_in_a_text(void **state)
{
	(void)state;
	struct editor_span spans[EDITOR_SEGMENTS_MAX];
	const char bytes[] = "\xFF\xE3\x80 a.\0 B \xC3";
	assert_int_equal(editor_segments(bytes, sizeof(bytes) - 1, false, spans), 0);
	parts_are("\xE3\x80\nx", false, "x");
}

/* Every mark of a run is looked at once: with all of the rest for each, this would take minutes. */
static void long_runs_of_marks_are_one(void **state)
{
	(void)state;
	enum { MARKS = 1000000 };
	char *text = malloc(MARKS + 1);
	struct editor_span spans[EDITOR_SEGMENTS_MAX];
	assert_non_null(text);
	memset(text, '!', MARKS);
	assert_int_equal(editor_segments(text, MARKS, false, spans), 0);
	memset(text, '.', MARKS);
	text[0] = 'Q'; /* a text with capitals */
	text[MARKS - 2] = ' ';
	text[MARKS - 1] = 'a';
	assert_int_equal(editor_segments(text, MARKS, true, spans), 1);
	assert_int_equal(spans[0].end, MARKS);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(long_runs_of_marks_are_one), cmocka_unit_test(one_sentence_has_no_parts),
		cmocka_unit_test(the_end_of_a_text_is_asked), cmocka_unit_test(the_last_question_is_asked_alone),
		cmocka_unit_test(a_message_is_a_part_itself), cmocka_unit_test(any_bytes_may_stand_in_a_text),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
