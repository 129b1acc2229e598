#include "daemon/eval_without.h"

#include "tests/lib/test.h"

static void names_are_read(void **state)
{
	unsigned without = 77;
	struct err e = ERR_INIT;
	(void)state;
	assert_ok(&e, eval_without_parse(NULL, &without, &e));
	assert_int_equal(without, 0);
	assert_ok(&e, eval_without_parse("closing,noise", &without, &e));
	assert_int_equal(without, EVAL_WITHOUT_CLOSING | EVAL_WITHOUT_NOISE);
	assert_ok(&e, eval_without_parse(EVAL_WITHOUT_PARTS, &without, &e));
	assert_int_equal(without, EVAL_WITHOUT_NOISE | EVAL_WITHOUT_VIEWS | EVAL_WITHOUT_END_TOKEN |
					  EVAL_WITHOUT_RETRAINING | EVAL_WITHOUT_CLOSING | EVAL_WITHOUT_PLAIN);
}

static void others_are_refused(void **state)
{
	static const char *const bad[] = { "", "nois", "noises", "noise,", ",views", "views;noise", "noise, views" };
	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		unsigned without;
		struct err e = ERR_INIT;
		assert_int_equal(eval_without_parse(bad[i], &without, &e), ERR_INVALID);
		assert_non_null(strstr(e.text, EVAL_WITHOUT_PARTS));
	}
}

static void each_changes_what_it_names(void **state)
{
	const struct model_shape shape = { .layers = 30 };
	struct editor_config plain, c;
	(void)state;
	editor_config_default(&shape, &plain);
	editor_config_default(&shape, &c);
	eval_without_apply(EVAL_WITHOUT_CLOSING, &c);
	assert_true(c.views == plain.views && c.retest_tries == plain.retest_tries && c.end_token && c.noise > 0);
	eval_without_apply(EVAL_WITHOUT_VIEWS | EVAL_WITHOUT_RETRAINING, &c);
	assert_int_equal(c.views, 0);
	assert_int_equal(c.retest_tries, 0);
	assert_true(c.noise > 0 && c.end_token && c.plain_view);
	eval_without_apply(EVAL_WITHOUT_NOISE | EVAL_WITHOUT_END_TOKEN, &c);
	assert_true(c.noise <= 0 && !c.end_token);
	eval_without_apply(EVAL_WITHOUT_PLAIN, &c);
	assert_false(c.plain_view);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_read),
		cmocka_unit_test(others_are_refused),
		cmocka_unit_test(each_changes_what_it_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
