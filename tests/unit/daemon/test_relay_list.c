/* The setting node.relays. */
#include "tests/lib/test.h"

#include "daemon/relay_list.h"

#define A "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define B "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static const uint8_t own[PROTO_KEY_BYTES] = { 1 };

static int parse(const char *text, struct relay_address *out, size_t *count, struct err *e)
{
	return relay_list_parse(text, own, out, count, e);
}

static void keys_and_endpoints(void **state)
{
	(void)state;
	struct relay_address list[RELAY_LIST_MAX];
	struct err e = ERR_INIT;
	size_t count;
	assert_ok(&e, parse("", list, &count, &e));
	assert_int_equal(count, 0);
	assert_ok(&e, parse(" " A "@tcp://10.0.0.1:7402, " B "@tcp://relay.example:1,", list, &count, &e));
	assert_int_equal(count, 2);
	assert_string_equal(list[0].endpoint, "tcp://10.0.0.1:7402");
	assert_string_equal(list[1].endpoint, "tcp://relay.example:1");
	assert_int_equal(list[0].key[1], 0x11);
	assert_int_equal(list[1].key[0], 0xff);
}

static void what_is_wrong_is_told(void **state)
{
	(void)state;
	static const struct {
		const char *text, *says;
	} wrong[] = {
		{ "tcp://10.0.0.1:7402", "KEY@tcp" },
		{ "00@tcp://10.0.0.1:7402", "KEY@tcp" },
		{ "@tcp://10.0.0.1:7402", "KEY@tcp" },
		{ A, "KEY@tcp" },
		{ A "0@tcp://10.0.0.1:7402", "KEY@tcp" },
		{ "zz112233445566778899aabbccddeeff00112233445566778899aabbccddeeff@tcp://h:1", "KEY@tcp" },
		{ A "@tcp://h:1," B "@tcp://h:1", "twice" },
		{ "0100000000000000000000000000000000000000000000000000000000000000@tcp://h:1", "own key" },
	};
	struct relay_address list[RELAY_LIST_MAX];
	size_t count;
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		struct err e = ERR_INIT;
		assert_int_equal(parse(wrong[i].text, list, &count, &e), ERR_INVALID);
		assert_non_null(strstr(e.text, wrong[i].says));
		assert_non_null(strstr(e.text, "node.relays"));
	}
}

static void within_limits(void **state)
{
	(void)state;
	struct relay_address list[RELAY_LIST_MAX];
	struct err e = ERR_INIT;
	char text[1024] = "", one[100];
	size_t count;
	for (int i = 0; i <= RELAY_LIST_MAX; i++) {
		assert_true(i == 0 || parse(text, list, &count, &e) == 0);
		snprintf(one, sizeof one, A "@tcp://h:%d,", i + 1);
		strcat(text, one);
	}
	assert_int_equal(count, RELAY_LIST_MAX);
	assert_int_equal(parse(text, list, &count, &e), ERR_LIMIT);
	memset(text, 'x', sizeof text - 1);
	memcpy(text, A "@", 65);
	assert_int_equal(parse(text, list, &count, &e), ERR_LIMIT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_and_endpoints),
		cmocka_unit_test(what_is_wrong_is_told),
		cmocka_unit_test(within_limits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
