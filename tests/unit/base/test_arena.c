#include "tests/lib/test.h"

#include "base/arena.h"

static void aligned_and_apart(void **state)
{
	(void)state;
	struct arena *a = NULL;
	assert_int_equal(arena_new(4096, 0, &a), 0);
	uint8_t *before = NULL;
	for (size_t i = 1; i < 300; i++) {
		uint8_t *p = arena_alloc(a, i);
		assert_non_null(p);
		assert_int_equal((uintptr_t)p % 64, 0);
		memset(p, (int)i, i);
		if (before != NULL)
			assert_int_equal(before[i - 2], (uint8_t)(i - 1));
		before = p;
	}
	char *s = arena_strndup(a, "hello", 4);
	assert_string_equal(s, "hell");
	assert_memory_equal(arena_copy(a, "xyz", 3), "xyz", 3);
	arena_destroy(&a);
	assert_null(a);
	arena_destroy(&a);
}

static void marks_nest(void **state)
{
	(void)state;
	struct arena *a = NULL;
	assert_int_equal(arena_new(4096, 0, &a), 0);
	assert_int_equal(arena_mark(a), 0);
	uint8_t *first = arena_alloc(a, 100);
	memset(first, 1, 100);
	size_t mark = arena_mark(a);
	uint8_t *second = arena_alloc(a, 64);
	for (int i = 0; i < 20; i++)
		assert_non_null(arena_alloc(a, 3000));
	assert_true(arena_used_bytes(a) > mark + 20 * 3000);
	arena_reset(a, mark);
	assert_int_equal(arena_used_bytes(a), mark);
	assert_ptr_equal(arena_alloc(a, 64), second);
	assert_int_equal(first[99], 1);
	arena_reset(a, 0);
	assert_ptr_equal(arena_alloc(a, 100), first);
	/* A block that is kept but too small for the next request is replaced, not written over. */
	uint8_t *big = arena_alloc(a, 100000);
	assert_non_null(big);
	memset(big, 2, 100000);
	assert_int_equal(first[99], 1);
	arena_destroy(&a);
}

static void limits(void **state)
{
	(void)state;
	struct arena *a = NULL;
	assert_int_equal(arena_new(4096, 10000, &a), 0);
	assert_null(arena_alloc(a, 10001));
	assert_non_null(arena_alloc(a, 4096));
	assert_non_null(arena_alloc(a, 4096));
	assert_null(arena_alloc(a, 4096));
	assert_non_null(arena_alloc(a, 1024));
	assert_null(arena_array(a, SIZE_MAX / 2, 4));
	assert_null(arena_alloc(a, SIZE_MAX));
	arena_reset(a, 0);
	assert_non_null(arena_array(a, 1024, 4));
	arena_destroy(&a);
}

static int make_one(void *context)
{
	(void)context;
	struct arena *a = NULL;
	int rc = arena_new(4096, 0, &a);
	if (rc == 0 && arena_alloc(a, 10) == NULL)
		rc = ERR_NOMEM;
	arena_destroy(&a);
	return rc;
}

static void out_of_memory(void **state)
{
	(void)state;
	assert_int_equal(test_walk_allocations(make_one, NULL), 2);
}

/* Small blocks come from the heap, where others have been. */
static void fresh_memory_is_zero(void **state)
{
	static const size_t sizes[] = { 1, 4096, 16384, 65536, 65537, 300000 };
	static const uint8_t zero[300000];
	(void)state;
	for (size_t round = 0; round < 3; round++)
		for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
			struct arena *arena = NULL;
			assert_int_equal(arena_new(4096, 0, &arena), 0);
			uint8_t *memory = arena_alloc(arena, sizes[i]);
			assert_non_null(memory);
			assert_int_equal((uintptr_t)memory % 64, 0);
			assert_memory_equal(memory, zero, sizes[i]);
			memset(memory, 0xa5, sizes[i]);
			arena_destroy(&arena);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(aligned_and_apart), cmocka_unit_test(marks_nest),           cmocka_unit_test(limits),
		cmocka_unit_test(out_of_memory),     cmocka_unit_test(fresh_memory_is_zero),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
