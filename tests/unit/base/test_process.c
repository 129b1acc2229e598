#include "base/process.h"

#include "tests/lib/test.h"

#include <sys/mman.h>

#define BYTES ((size_t)64 << 20)

static void memory_that_is_touched_is_resident(void **state)
{
	(void)state;
	uint64_t before = process_resident_bytes();
	char *memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(memory != MAP_FAILED);
	assert_true(before > 0 && process_resident_bytes() < before + BYTES / 2);
	memset(memory, 1, BYTES);
	assert_true(process_resident_bytes() >= before + BYTES - BYTES / 8);
	assert_int_equal(munmap(memory, BYTES), 0);
	assert_true(process_resident_bytes() < before + BYTES / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(memory_that_is_touched_is_resident) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
