#include "daemon/wise_settings.h"

#include "tests/lib/test.h"

static void refused(const char *name, const char *text)
{
	struct daemon_config config = { 0 };
	struct err e = ERR_INIT;
	assert_ok(&e, conf_init(&daemon_config_table, &config, &e));
	assert_int_equal(conf_set(&daemon_config_table, &config, name, text, &e), ERR_INVALID);
	assert_non_null(strstr(e.text, name));
	conf_fini(&daemon_config_table, &config);
}

/* The coordinator's settings travel in 32 bits, but for these: a larger one must not come in cut. */
static void what_the_coordinator_takes_fits_its_fields(void **state)
{
	(void)state;
	for (size_t i = 0; i < daemon_config_table.item_count; i++) {
		const struct conf_item *item = &daemon_config_table.items[i];
		bool wide = strcmp(item->name, "seed") == 0 || strcmp(item->name, "store.reserve_bytes") == 0;
		if (item->type == CONF_INT && (item->roles & DAEMON_COORDINATOR) != 0 && !wide &&
		    (item->min < 0 || item->max > (double)UINT32_MAX))
			fail_msg("%s: %g to %g", item->name, item->min, item->max);
	}
	refused("merge.interval_ms", "4294968296");
}

static void defaults_are_in_their_ranges(void **state)
{
	(void)state;
	for (size_t i = 0; i < daemon_config_table.item_count; i++) {
		const struct conf_item *item = &daemon_config_table.items[i];
		struct daemon_config config = { 0 };
		struct err e = ERR_INIT;
		if (item->type != CONF_INT)
			continue;
		assert_ok(&e, conf_init(&daemon_config_table, &config, &e));
		assert_ok(&e, conf_set(&daemon_config_table, &config, item->name, item->value_default, &e));
		conf_fini(&daemon_config_table, &config);
	}
}

static void defaults_of_the_papers_family_are_the_editors(void **state)
{
	(void)state;
	const struct model_shape shape = { .layers = 30, .hidden = 576, .ffn = 1536, .context = 2048 };
	struct daemon_config config = { 0 };
	struct editor_config editor;
	struct editor_wise_config wise;
	struct err e = ERR_INIT;
	assert_ok(&e, conf_init(&daemon_config_table, &config, &e));
	editor_config_default(&shape, &editor);
	daemon_wise_config(&config, &wise);
	assert_int_equal(daemon_family(&config), EDITOR_FAMILY_AMEND);
	assert_int_equal(daemon_wise_mode(&config), WISE_RETRIEVE);
	assert_true(wise.replay); /* there are several memories in this mode only */
	editor.wise.replay = true;
	assert_true(wise.alpha == editor.wise.alpha && wise.beta == editor.wise.beta &&
		    wise.gamma == editor.wise.gamma);
	assert_true(wise.rate == editor.wise.rate && wise.clip == editor.wise.clip);
	assert_true(wise.mask_ratio == editor.wise.mask_ratio && wise.act_ratio == editor.wise.act_ratio);
	assert_true(wise.stop_delta == editor.wise.stop_delta && wise.stop_loss == editor.wise.stop_loss);
	assert_true(wise.merge_density == editor.wise.merge_density);
	assert_int_equal(wise.steps_max, editor.wise.steps_max);
	assert_int_equal(wise.prefix_tokens[0], editor.wise.prefix_tokens[0]);
	assert_int_equal(wise.prefix_tokens[1], editor.wise.prefix_tokens[1]);
	assert_int_equal(wise.merge_shards, editor.wise.merge_shards);
	assert_int_equal(wise.merge_operator, editor.wise.merge_operator);
	assert_true(wise.prefixes && wise.activation_loss && !wise.merge_trim_nonzero);
	static const char *const operators[] = { "ties", "linear", "sign", "slerp", "dare", "dare-ties" };
	for (size_t i = 0; i < sizeof(operators) / sizeof(operators[0]); i++) {
		assert_ok(&e, conf_set(&daemon_config_table, &config, "wise.operator", operators[i], &e));
		daemon_wise_config(&config, &wise);
		assert_string_equal(merge_operator_name(wise.merge_operator), operators[i]);
	}
	assert_ok(&e, conf_set(&daemon_config_table, &config, "wise.mode", "merge", &e));
	daemon_wise_config(&config, &wise);
	assert_false(wise.replay);
	assert_ok(&e, conf_set(&daemon_config_table, &config, "family", "paper", &e));
	assert_int_equal(daemon_family(&config), EDITOR_FAMILY_PAPER);
	conf_fini(&daemon_config_table, &config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_coordinator_takes_fits_its_fields),
		cmocka_unit_test(defaults_are_in_their_ranges),
		cmocka_unit_test(defaults_of_the_papers_family_are_the_editors),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
