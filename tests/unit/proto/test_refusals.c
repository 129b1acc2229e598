/* A peer that is refused for ever is told of ever less often. */
#include "proto/intake.h"
#include "proto/refusals.h"
#include "tests/lib/test.h"

#define RETRY_MS 2000
#define DAY_MS   (24 * 3600 * INT64_C(1000))

static void key_of(uint8_t n, uint8_t key[PROTO_KEY_BYTES])
{
	memset(key, 0, PROTO_KEY_BYTES);
	key[PROTO_KEY_BYTES - 1] = n;
}

static size_t lines(struct proto__refusals *r, const uint8_t *key, int64_t from, int64_t to)
{
	size_t count = 0;
	for (int64_t now = from; now < to; now += RETRY_MS)
		count += proto__refusals_take(r, key, now);
	return count;
}

static void one_key_is_told_of_ever_less(void **state)
{
	struct proto__refusals r = { 0 };
	uint8_t key[PROTO_KEY_BYTES];
	(void)state;
	key_of(1, key);
	assert_true(proto__refusals_take(&r, key, 5000));
	assert_false(proto__refusals_take(&r, key, 5999));
	assert_true(proto__refusals_take(&r, key, 6000));
	assert_false(proto__refusals_take(&r, key, 7999));
	assert_true(proto__refusals_take(&r, key, 8000));
	/* who waits for a second line has it soon */
	assert_true(lines(&r, key, 10000, 20000) >= 1);
	assert_in_range(lines(&r, key, 20000, DAY_MS), 140, 160);
}

static void keys_do_not_hide_each_other(void **state)
{
	struct proto__refusals r = { 0 };
	uint8_t noisy[PROTO_KEY_BYTES], other[PROTO_KEY_BYTES];
	(void)state;
	key_of(1, noisy);
	key_of(2, other);
	(void)lines(&r, noisy, 1000, DAY_MS);
	assert_true(proto__refusals_take(&r, other, DAY_MS));
	assert_true(proto__refusals_take(&r, other, DAY_MS + RETRY_MS));
}

static void more_keys_than_places(void **state)
{
	struct proto__refusals r = { 0 };
	uint8_t key[PROTO_KEY_BYTES];
	(void)state;
	for (unsigned i = 0; i <= PROTO__REFUSALS_KEYS; i++) {
		key_of((uint8_t)i, key);
		assert_true(proto__refusals_take(&r, key, 1000 + i));
	}
	key_of(PROTO__REFUSALS_KEYS, key); /* the last is known, the first was forgotten */
	assert_false(proto__refusals_take(&r, key, 1900));
	key_of(0, key);
	assert_true(proto__refusals_take(&r, key, 1900));
}

static void the_last_refused_is_the_first_listed(void **state)
{
	struct proto__refusals r = { 0 };
	struct msg_refused_key list[PROTO__REFUSALS_KEYS];
	uint8_t key[PROTO_KEY_BYTES];
	(void)state;
	assert_int_equal(proto__refusals_list(&r, 500, list), 0);
	for (unsigned i = 1; i <= 3; i++) {
		key_of((uint8_t)i, key);
		assert_true(proto__refusals_take(&r, key, 1000 * i));
	}
	key_of(2, key);
	assert_true(proto__refusals_take(&r, key, 3500));
	assert_false(proto__refusals_take(&r, key, 3600)); /* not told, and refused all the same */
	assert_int_equal(proto__refusals_list(&r, 4000, list), 3);
	static const struct {
		uint8_t key;
		int64_t ms_ago;
	} wanted[] = { { 2, 400 }, { 3, 1000 }, { 1, 3000 } };
	for (size_t i = 0; i < 3; i++) {
		key_of(wanted[i].key, key);
		assert_memory_equal(list[i].key, key, PROTO_KEY_BYTES);
		assert_int_equal(list[i].ms_ago, wanted[i].ms_ago);
	}
}

/* Of whatever else is refused: so many lines in ten seconds, and how many were not told since the last one. */
static void lines_of_all_peers_are_bounded(void **state)
{
	struct proto__rate rate = { 0 };
	uint64_t untold = 99;
	size_t told = 0;
	(void)state;
	for (int i = 0; i < 100; i++)
		told += proto__rate_take(&rate, 1000 + i, &untold);
	assert_in_range(told, 1, 10);
	assert_int_equal(untold, 0);
	assert_false(proto__rate_take(&rate, 10999, &untold));
	assert_true(proto__rate_take(&rate, 11000, &untold));
	assert_int_equal(untold, 101 - told);
	assert_true(proto__rate_take(&rate, 11001, &untold));
	assert_int_equal(untold, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_key_is_told_of_ever_less),
		cmocka_unit_test(keys_do_not_hide_each_other),
		cmocka_unit_test(more_keys_than_places),
		cmocka_unit_test(the_last_refused_is_the_first_listed),
		cmocka_unit_test(lines_of_all_peers_are_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
