#include "editor/config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct model_shape smol = { .layers = 30, .hidden = 576, .ffn = 1536, .context = 8192 };

static void defaults_follow_the_depth(void **state)
{
	(void)state;
	struct editor_config c;
	struct err e = ERR_INIT;
	editor_config_default(&smol, &c);
	assert_int_equal(c.layer, 25);
	assert_int_equal(c.prompt_layer, 6);
	assert_int_equal(c.edits_per_shard, 100);
	assert_int_equal(c.prompt_dims, 384);
	struct model_shape deeper = smol;
	deeper.layers = 32; /* the coordinator has the same sum (tests/unit/coordinator/test_recv_hello.c) */
	editor_config_default(&deeper, &c);
	assert_int_equal(c.layer, 27);
	editor_config_set_family(&c, EDITOR_FAMILY_PAPER, &deeper);
	assert_int_equal(c.layer, 26);
	for (size_t layers = 2; layers <= 80; layers++) {
		struct model_shape shape = smol;
		shape.layers = layers;
		editor_config_default(&shape, &c);
		assert_true(c.layer < layers && c.prompt_layer <= c.layer);
		assert_int_equal(editor_config_check(&c, &shape, &e), 0);
	}
}

static void prompt_keys_have_two_thirds_of_the_hidden_state(void **state)
{
	(void)state;
	static const size_t dims_of[][2] = { { 8, 8 },     { 64, 64 },    { 100, 100 },  { 128, 128 },
					     { 576, 384 }, { 1024, 704 }, { 4096, 1024 } };
	struct err e = ERR_INIT;
	for (size_t i = 0; i < sizeof(dims_of) / sizeof(dims_of[0]); i++) {
		struct model_shape shape = smol;
		struct editor_config c;
		shape.hidden = dims_of[i][0];
		editor_config_default(&shape, &c);
		assert_int_equal(c.prompt_dims, dims_of[i][1]);
		assert_int_equal(editor_config_check(&c, &shape, &e), 0);
		c.prompt_dims = shape.hidden + 1;
		assert_int_equal(editor_config_check(&c, &shape, &e), ERR_INVALID);
	}
}

static void the_paper_edits_its_own_layer(void **state)
{
	(void)state;
	struct editor_config c;
	struct err e = ERR_INIT;
	editor_config_default(&smol, &c);
	assert_int_equal(c.family, EDITOR_FAMILY_AMEND);
	editor_config_set_family(&c, EDITOR_FAMILY_PAPER, &smol);
	assert_int_equal(c.family, EDITOR_FAMILY_PAPER);
	assert_int_equal(c.layer, 24);
	assert_true(c.wise.alpha == 5.0f && c.wise.beta == 20.0f && c.wise.gamma == 10.0f);
	for (size_t layers = 2; layers <= 80; layers++) {
		struct model_shape shape = smol;
		shape.layers = layers;
		editor_config_default(&shape, &c);
		editor_config_set_family(&c, EDITOR_FAMILY_PAPER, &shape);
		assert_int_equal(editor_config_check(&c, &shape, &e), 0);
	}
	editor_config_set_family(&c, EDITOR_FAMILY_AMEND, &smol);
	assert_int_equal(c.layer, 25);
}

static void expect_refused(const struct editor_config *c, const char *field)
{
	struct err e = ERR_INIT;
	assert_int_equal(editor_config_check(c, &smol, &e), ERR_INVALID);
	assert_non_null(strstr(e.text, field));
}

static void each_field_has_a_range(void **state)
{
	(void)state;
	struct editor_config good, c;
	editor_config_default(&smol, &good);
	c = good;
	c.layer = 30;
	expect_refused(&c, "layer");
	c = good;
	c.prompt_layer = 26;
	expect_refused(&c, "prompt_layer");
	c = good;
	c.epochs = 0;
	expect_refused(&c, "epochs");
	c = good;
	c.views = 65;
	expect_refused(&c, "views");
	c = good;
	c.batch_edits = 0;
	expect_refused(&c, "batch_edits");
	c = good;
	c.rate = NAN;
	expect_refused(&c, "rate");
	c = good;
	c.noise = -0.1f;
	expect_refused(&c, "noise");
	c = good;
	c.merge_rounds = 0;
	expect_refused(&c, "merge_rounds");
	c = good;
	c.merge_prompt_noise = 11;
	expect_refused(&c, "merge_prompt_noise");
	c = good;
	c.merge_noise = -0.1f;
	expect_refused(&c, "merge_noise");
	c = good;
	c.merge_outer_momentum = 1.0f;
	expect_refused(&c, "merge_outer_momentum");
	c = good;
	c.answer_tokens_max = 9000;
	expect_refused(&c, "answer_tokens_max");
	c = good;
	c.wise.mask_ratio = 0.0f;
	expect_refused(&c, "wise.mask_ratio");
	c = good;
	c.wise.beta = -1.0f;
	expect_refused(&c, "wise.beta");
	c = good;
	c.wise.steps_max = 0;
	expect_refused(&c, "wise.steps_max");
	c = good;
	c.wise.prefix_tokens[1] = 101;
	expect_refused(&c, "wise.prefix_tokens");
	c = good;
	c.wise.merge_operator = MERGE_ROUNDS;
	expect_refused(&c, "wise.merge_operator");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_follow_the_depth),
		cmocka_unit_test(prompt_keys_have_two_thirds_of_the_hidden_state),
		cmocka_unit_test(the_paper_edits_its_own_layer),
		cmocka_unit_test(each_field_has_a_range),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
