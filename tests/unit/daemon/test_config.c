#include "daemon/config.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_coordinator_takes_fits_its_fields),
		cmocka_unit_test(defaults_are_in_their_ranges),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
