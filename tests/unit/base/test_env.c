#include "tests/lib/test.h"

#include "base/env.h"

static void system_moves_on(void **state)
{
	(void)state;
	const struct env *env = env_system();
	int64_t a = env_monotonic_us(env), b = env_monotonic_us(env);
	assert_true(b >= a && a > 0);
	assert_true(env_wall_ms(env) > INT64_C(1600000000000));
	assert_true(env_random_u64(env) != env_random_u64(env));
}

static void manual_stands_still(void **state)
{
	(void)state;
	struct env_manual a, b;
	env_manual_init(&a, 7);
	env_manual_init(&b, 7);
	int64_t start = env_monotonic_ms(&a.env), wall = env_wall_ms(&a.env);
	assert_int_equal(env_monotonic_ms(&a.env), start);
	env_manual_advance(&a, 5000);
	assert_int_equal(env_monotonic_ms(&a.env), start + 5);
	assert_int_equal(env_wall_ms(&a.env), wall + 5);
	uint64_t x = env_random_u64(&a.env);
	assert_true(x == env_random_u64(&b.env));
	assert_true(x != env_random_u64(&a.env));
	env_manual_init(&b, 8);
	assert_true(x != env_random_u64(&b.env));
}

static void formats(void **state)
{
	(void)state;
	char text[ENV_TIME_BYTES];
	env_time_format(0, text);
	assert_string_equal(text, "1970-01-01T00:00:00.000Z");
	env_time_format(-1, text);
	assert_string_equal(text, "1969-12-31T23:59:59.999Z");
	env_time_format(INT64_C(1763887500123), text);
	assert_string_equal(text, "2025-11-23T08:45:00.123Z");
	env_time_format(INT64_MAX, text);
	assert_int_equal(strlen(text), 24);
}

static void parses(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"",
		"2025-11-23",
		"2025-11-23T08:45:00",
		"2025-13-01T00:00:00Z",
		"2025-02-29T00:00:00Z",
		"2025-11-23T24:00:00Z",
		"2025-11-23T08:45:00.Z",
		"2025-11-23T08:45:00Zx",
		"2025-11-23T08:45:00+1:00",
		"x025-11-23T08:45:00Z",
	};
	int64_t ms;
	struct err e = ERR_INIT;
	assert_ok(&e, env_time_parse("2025-11-23T08:45:00.123Z", &ms, &e));
	assert_true(ms == INT64_C(1763887500123));
	assert_ok(&e, env_time_parse("2025-11-23T10:45:00.123999+02:00", &ms, &e));
	assert_true(ms == INT64_C(1763887500123));
	assert_ok(&e, env_time_parse("2024-02-29t00:00:00z", &ms, &e));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (env_time_parse(bad[i], &ms, &e) != ERR_INVALID)
			fail_msg("accepted '%s'", bad[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(system_moves_on),
		cmocka_unit_test(manual_stands_still),
		cmocka_unit_test(formats),
		cmocka_unit_test(parses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
