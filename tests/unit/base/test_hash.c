#include "tests/lib/test.h"

#include "base/hash.h"

#define ABC   "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" /* FIPS 180-4, example 1 */
#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static void known_answers(void **state)
{
	(void)state;
	struct hash h;
	char hex[HASH_HEX_BYTES];
	hash_of("abc", 3, &h);
	hash_hex(&h, hex);
	assert_string_equal(hex, ABC);
	hash_of(NULL, 0, &h);
	hash_hex(&h, hex);
	assert_string_equal(hex, EMPTY);
}

static void streams(void **state)
{
	(void)state;
	struct hash_stream s;
	struct hash a, b;
	hash_begin(&s);
	hash_add(&s, "a", 1);
	hash_add(&s, NULL, 0);
	hash_add(&s, "bc", 2);
	hash_end(&s, &a);
	hash_of("abc", 3, &b);
	assert_true(hash_equal(&a, &b));
	b.bytes[31] ^= 1;
	assert_false(hash_equal(&a, &b));
	memset(&b, 0, sizeof(b));
	assert_true(hash_is_zero(&b));
	assert_false(hash_is_zero(&a));
}

/* The test vectors of its authors (draft-eastlake-fnv, 64 bits). */
static void short_hashes(void **state)
{
	(void)state;
	assert_true(hash_short(HASH_SHORT_INIT, "", 0) == UINT64_C(0xcbf29ce484222325));
	assert_true(hash_short(HASH_SHORT_INIT, "a", 1) == UINT64_C(0xaf63dc4c8601ec8c));
	assert_true(hash_short(HASH_SHORT_INIT, "foobar", 6) == UINT64_C(0x85944171f73967e8));
	assert_true(hash_short(hash_short(HASH_SHORT_INIT, "foo", 3), "bar", 3) == UINT64_C(0x85944171f73967e8));
}

static void parses(void **state)
{
	(void)state;
	struct hash a, b;
	hash_of("abc", 3, &b);
	assert_int_equal(hash_parse(ABC, &a), 0);
	assert_true(hash_equal(&a, &b));
	assert_int_equal(hash_parse("BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD", &a), 0);
	assert_true(hash_equal(&a, &b));
	assert_int_equal(hash_parse("", &a), ERR_INVALID);
	assert_int_equal(hash_parse(ABC "0", &a), ERR_INVALID);
	assert_int_equal(hash_parse("b", &a), ERR_INVALID);
	assert_int_equal(hash_parse("ga7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", &a),
			 ERR_INVALID);
}

static void of_file(void **state)
{
	char path[TEST_PATH_BYTES];
	struct err e = ERR_INIT;
	struct hash a, b;
	test_path(path, *state, "f");
	assert_int_equal(hash_of_file(path, &a, &e), ERR_NOT_FOUND);
	test_file_write(path, "abc");
	assert_ok(&e, hash_of_file(path, &a, &e));
	hash_of("abc", 3, &b);
	assert_true(hash_equal(&a, &b));
	assert_int_equal(hash_of_file(*state, &a, &e), ERR_IO);
}

static int hash_it(void *path)
{
	struct hash h;
	return hash_of_file(path, &h, NULL);
}

static void out_of_memory(void **state)
{
	char path[TEST_PATH_BYTES];
	test_path(path, *state, "f");
	test_file_write(path, "abc");
	assert_int_equal(test_walk_allocations(hash_it, path), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_answers),
		cmocka_unit_test(streams),
		cmocka_unit_test(parses),
		cmocka_unit_test(short_hashes),
		cmocka_unit_test_setup_teardown(of_file, test_setup_folder, test_teardown_folder),
		cmocka_unit_test_setup_teardown(out_of_memory, test_setup_folder, test_teardown_folder),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
