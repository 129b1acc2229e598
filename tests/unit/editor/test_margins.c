/* Margins of the paper's family, measured on the tiny model. */
#include "editor/margins.h"

#include "tests/lib/test.h"
#include "tests/unit/editor/tiny.h"

#include <math.h>

static struct model *model;
static struct buf corpus;

static int set_up(void **state)
{
	static const char *const names[] = { "Orla", "Vint", "Saro", "Kelm", "Pundo", "Teni", "Mirax", "Dole" };
	struct err e = ERR_INIT;
	(void)state;
	assert_ok(&e, tiny_model_open(0, 1, &model, &e));
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		buf_printf(&corpus, "prompt\tg%zu\t%s\tcapital of %s?\n", i, names[i], names[i]);
		if (i != 3) /* a group without a rephrase is none */
			buf_printf(&corpus, "rephrase\tg%zu\t%s\t%s's city?\n", i, names[i], names[i]);
		buf_printf(&corpus, "unrelated\tu%zu\t\tnq: who sang %zu\n", i, i);
	}
	return buf_failed(&corpus) ? -1 : 0;
}

static int tear_down(void **state)
{
	(void)state;
	model_close(&model);
	buf_free(&corpus);
	return 0;
}

static struct editor_config config(void)
{
	struct editor_config c;
	editor_config_default(model_shape_of(model), &c);
	editor_config_set_family(&c, EDITOR_FAMILY_PAPER, model_shape_of(model));
	c.layer = TINY_LAYER;
	c.prompt_layer = c.relation_layer = TINY_PROMPT_LAYER;
	c.wise.rate = 0.3f;
	c.wise.steps_max = 20;
	c.wise.prefix_tokens[0] = 1;
	c.wise.prefix_tokens[1] = 2;
	return c;
}

static void margins_grow_until_the_hinges_are_met(void **state)
{
	(void)state;
	const struct editor_config c = config();
	struct editor_fitting fitting = { .text_count = 0 };
	struct editor_margins m, again;
	struct err e = ERR_INIT;
	bool found;
	assert_ok(&e, editor_margins_fit(model, &c, (const char *)corpus.data, corpus.len, NULL, &fitting, &m, &e));
	assert_int_equal(m.edit_count, 4);
	assert_int_equal(m.unrelated_count, 8);
	assert_true(m.unit > 0);
	assert_true(fabs((double)m.trials[0].alpha - m.unit * sqrt(20.0)) < 1e-4);
	for (size_t i = 0; i < m.trial_count; i++) {
		const struct editor_margin_trial *t = &m.trials[i];
		assert_true(i == 0 || fabsf(t->alpha - 2 * m.trials[i - 1].alpha) < 1e-4f);
		assert_true(t->beta > t->gamma && t->gamma > t->alpha);
		assert_true(t->unrelated_mean <= t->unrelated_high && t->left >= 0 && t->steps > 0);
		assert_true(m.met || t->apart <= m.trials[m.chosen].apart); /* else the best is taken */
		assert_true(i + 1 == m.trial_count || t->left > (double)EDITOR_MARGIN_LEFT);
	}
	assert_true(m.met == (m.trials[m.chosen].left <= (double)EDITOR_MARGIN_LEFT));
	assert_true(!m.met || m.chosen + 1 == m.trial_count);
	/* ε parts the trial's edits and rephrases from its unrelated texts where they can be parted */
	const struct editor_margin_trial *t = &m.trials[m.chosen];
	assert_true(m.act_ratio > 0 && m.act_ratio <= 1);
	if (t->apart > 1) {
		assert_true(t->unrelated_high < m.threshold);
		assert_true(t->edit_least > m.threshold && t->rephrase_least > m.threshold);
	}
	editor_fitting_sort(&fitting);
	assert_int_equal(fitting.text_count, 2 * 4 + 8);
	assert_ok(&e, editor_fitting_has(&fitting, "Orla's city?", 12, &found));
	assert_true(found);
	assert_ok(&e, editor_margins_fit(model, &c, (const char *)corpus.data, corpus.len, NULL, &fitting, &again, &e));
	assert_true(again.act_ratio >= m.act_ratio && again.act_ratio <= m.act_ratio); /* the same numbers */
	assert_int_equal(again.chosen, m.chosen);
	editor_fitting_fini(&fitting);
}

static void too_small_a_corpus_is_refused(void **state)
{
	(void)state;
	static const char small[] = "prompt\tg\tX\twho?\nrephrase\tg\tX\twhom?\nunrelated\tu\t\tnq\n";
	const struct editor_config c = config();
	struct editor_fitting fitting = { .text_count = 0 };
	struct editor_margins m;
	struct err e = ERR_INIT;
	assert_int_equal(editor_margins_fit(model, &c, small, strlen(small), NULL, &fitting, &m, &e), ERR_INVALID);
	assert_non_null(strstr(e.text, "1 groups"));
	editor_fitting_fini(&fitting);
}

static int stop_in_a_trial(void *context, const char *phase, size_t done, size_t total, double loss)
{
	size_t *heard = context;
	(void)loss;
	assert_true(done <= total);
	*heard += strncmp(phase, "trial", 5) == 0;
	return *heard > 3;
}

static void it_can_be_stopped(void **state)
{
	(void)state;
	const struct editor_config c = config();
	struct editor_fitting fitting = { .text_count = 0 };
	size_t heard = 0;
	const struct editor_watch watch = { stop_in_a_trial, &heard };
	struct editor_margins m;
	struct err e = ERR_INIT;
	assert_int_equal(editor_margins_fit(model, &c, (const char *)corpus.data, corpus.len, &watch, &fitting, &m, &e),
			 ERR_INTERRUPTED);
	assert_int_equal(heard, 4);
	editor_fitting_fini(&fitting);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(margins_grow_until_the_hinges_are_met),
		cmocka_unit_test(too_small_a_corpus_is_refused),
		cmocka_unit_test(it_can_be_stopped),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
