/* What a memory is called. */
#include "daemon/memory_name.h"
#include "tests/lib/test.h"

static void names_tell_shards_from_merges(void **state)
{
	static const struct {
		uint64_t id;
		const char *name;
	} cases[] = {
		{ 0, "main" },
		{ 1, "memory:1" },
		{ UINT32_MAX, "memory:4294967295" },
		{ (UINT64_C(1) << 32) + 1, "merged:1" },
		{ (UINT64_C(1) << 32) + 12, "merged:12" },
	};
	char name[MEMORY_NAME_BYTES];
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		memory_name(cases[i].id, name);
		assert_string_equal(name, cases[i].name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(names_tell_shards_from_merges) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
