/* Trial edits of a corpus's questions. */
#include "editor/trial.h"

#include "tests/lib/test.h"

static const char corpus[] = "unrelated\tu0\t\tnq: one\n"
			     "prompt\tg0\tA\twho leads A?\n"
			     "other\tg0\tA\twhere is A?\n"
			     "rephrase\tg0\tA\twhose is A?\n"
			     "prompt\tg1\tB\twho leads B?\n" /* without a rephrase: none */
			     "prompt\tg2\tC\twho leads C?\n"
			     "rephrase\tg9\tC\tnot of its group\n"
			     "rephrase\tg2\tC\twhose is C?\n"
			     "rephrase\tg2\tC\tanother\n"
			     "prompt\tg3\t\twho?\n" /* without a subject: none */
			     "rephrase\tg3\t\twhom?\n"
			     "prompt\tg4\tD\twho leads D?\nrephrase\tg4\tD\twhose is D?\n"
			     "unrelated\tu1\t\tnq: two\nunrelated\tu2\t\tnq: three\nprompt\tg5\tE\twho leads E?";

static void expect(const struct record_text *text, const char *is)
{
	assert_int_equal(text->len, strlen(is));
	assert_memory_equal(text->text, is, text->len);
}

static void whole_groups_are_taken(void **state)
{
	(void)state;
	struct editor_trial_corpus c;
	struct err e = ERR_INIT;
	assert_ok(&e, editor_trial_read(corpus, strlen(corpus), 10, 10, &c, &e));
	assert_int_equal(c.group_count, 3);
	assert_int_equal(c.unrelated_count, 3);
	expect(&c.groups[1].prompt, "who leads C?");
	expect(&c.groups[1].rephrase, "whose is C?");
	expect(editor_trial_target(&c, 0), "C");
	expect(editor_trial_target(&c, 2), "A");
	editor_trial_fini(&c);
	assert_ok(&e, editor_trial_read(corpus, strlen(corpus), 2, 1, &c, &e));
	assert_int_equal(c.group_count, 2);
	assert_int_equal(c.unrelated_count, 1);
	editor_trial_fini(&c);
}

static void too_few_are_an_error(void **state)
{
	(void)state;
	struct editor_trial_corpus c;
	struct err e = ERR_INIT;
	assert_int_equal(editor_trial_read("prompt\tg\tA\tx\n", 13, 2, 2, &c, &e), ERR_INVALID);
	assert_non_null(strstr(e.text, "0 groups"));
}

static void records_hold_what_is_given(void **state)
{
	(void)state;
	const struct record_text prompt = { "who \"leads\" A?", 14 }, target = { "B", 1 }, subject = { "A", 1 };
	struct record *record = NULL;
	struct err e = ERR_INIT;
	assert_ok(&e, editor_trial_record(&prompt, &target, &subject, &record, &e));
	expect(&record->prompt, "who \"leads\" A?");
	expect(&record->subject, "A");
	record_destroy(&record);
	assert_ok(&e, editor_trial_record(&prompt, &target, NULL, &record, &e));
	assert_null(record->subject.text);
	record_destroy(&record);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_groups_are_taken),
		cmocka_unit_test(too_few_are_an_error),
		cmocka_unit_test(records_hold_what_is_given),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
