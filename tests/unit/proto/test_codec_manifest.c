#include "tests/lib/messages.h"
#include "tests/lib/test.h"

static struct arena *arena_make(void)
{
	struct arena *arena = NULL;
	assert_int_equal(arena_new(1 << 20, 0, &arena), 0);
	return arena;
}

static void round_trip(uint64_t seed, size_t memory_count)
{
	struct rng rng;
	struct err e = ERR_INIT;
	struct proto_manifest manifest, back;
	struct buf bytes = BUF_INIT, again = BUF_INIT, x = BUF_INIT, y = BUF_INIT;
	struct arena *arena = arena_make();
	rng_init(&rng, seed);
	test_manifest_fill(&rng, arena, memory_count, &manifest);
	assert_ok(&e, proto_manifest_encode(&manifest, &bytes, &e));
	assert_ok(&e, proto_manifest_decode(bytes.data, bytes.len, arena, &back, &e));
	test_manifest_dump(&manifest, &x);
	test_manifest_dump(&back, &y);
	assert_same_bytes(&x, &y);
	/* The same manifest has the same bytes, and so the same name. */
	assert_ok(&e, proto_manifest_encode(&back, &again, &e));
	assert_same_bytes(&again, &bytes);
	buf_free(&bytes);
	buf_free(&again);
	buf_free(&x);
	buf_free(&y);
	arena_destroy(&arena);
}

static void it_comes_back(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 100; seed++)
		round_trip(seed, seed % 7);
	round_trip(1000, 5000);
}

static void bad_manifests_are_refused(void **state)
{
	(void)state;
	struct rng rng;
	struct err e = ERR_INIT;
	struct buf bytes = BUF_INIT;
	struct arena *arena = arena_make();
	struct proto_manifest m, back;
	rng_init(&rng, 1);
	test_manifest_fill(&rng, arena, 3, &m);
	m.format = 2;
	assert_int_equal(proto_manifest_encode(&m, &bytes, &e), ERR_UNSUPPORTED);
	m.format = 1;
	((struct proto_memory *)(uintptr_t)m.memories)[1].id = 1;
	assert_int_equal(proto_manifest_encode(&m, &bytes, &e), ERR_INVALID);
	((struct proto_memory *)(uintptr_t)m.memories)[1].id = 4;
	m.default_set = (enum proto_set)0;
	assert_int_equal(proto_manifest_encode(&m, &bytes, &e), ERR_INVALID);
	assert_int_equal(proto_manifest_decode("", 0, arena, &back, &e), ERR_INVALID); /* no format, no set */
	assert_int_equal(proto_manifest_decode("\x08\x02\x68\x01", 4, arena, &back, &e), ERR_UNSUPPORTED);
	assert_int_equal(proto_manifest_decode("\x08\x01\x68\x01", 4, arena, &back, &e), 0);
	assert_int_equal(back.memory_count, 0);
	buf_free(&bytes);
	arena_destroy(&arena);
}

static void mutations_are_survived(void **state)
{
	(void)state;
	struct rng rng;
	struct err e = ERR_INIT;
	struct buf bytes = BUF_INIT;
	struct arena *arena = arena_make();
	struct proto_manifest m, back;
	rng_init(&rng, 2);
	test_manifest_fill(&rng, arena, 4, &m);
	for (int i = 0; i < 5000; i++) {
		size_t mark = arena_mark(arena);
		assert_ok(&e, proto_manifest_encode(&m, &bytes, &e));
		for (uint64_t flips = 1 + rng_below(&rng, 6); flips > 0; flips--)
			bytes.data[rng_below(&rng, bytes.len)] ^= (uint8_t)(1 + rng_below(&rng, 255));
		size_t len = rng_below(&rng, 2) == 0 ? bytes.len : rng_below(&rng, bytes.len);
		int rc = proto_manifest_decode(bytes.data, len, arena, &back, NULL);
		assert_true(rc == 0 || rc == ERR_INVALID || rc == ERR_LIMIT || rc == ERR_UNSUPPORTED);
		arena_reset(arena, mark);
	}
	buf_free(&bytes);
	arena_destroy(&arena);
}

static void an_index_names_what_a_merge_lost(void **state)
{
	(void)state;
	static const uint64_t good[] = { 3, 700, UINT64_C(1) << 40 }, twice[] = { 3, 3 }, back[] = { 4, 3 };
	const struct proto_merge_index all = { good, 3 }, bad[] = { { good, 0 }, { twice, 2 }, { back, 2 } };
	struct proto_merge_index out;
	struct buf bytes = BUF_INIT;
	struct arena *arena = arena_make();
	struct err e = ERR_INIT;
	assert_ok(&e, proto_merge_index_encode(&all, &bytes, &e));
	assert_ok(&e, proto_merge_index_decode(bytes.data, bytes.len, arena, &out, &e));
	assert_int_equal(out.lost_count, 3);
	assert_memory_equal(out.lost_seqs, good, sizeof good);
	assert_int_not_equal(proto_merge_index_decode(bytes.data, bytes.len - 1, arena, &out, &e), 0);
	assert_int_equal(out.lost_count, 0);
	assert_int_equal(proto_merge_index_decode("", 0, arena, &out, &e), ERR_INVALID);
	/* packed: field 1, length 2, the numbers 5 and 4 */
	assert_int_equal(proto_merge_index_decode("\x0a\x02\x05\x04", 4, arena, &out, &e), ERR_INVALID);
	assert_non_null(strstr(e.text, "not in ascending order"));
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(proto_merge_index_encode(&bad[i], &bytes, &e), ERR_INVALID);
	buf_free(&bytes);
	arena_destroy(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_comes_back),
		cmocka_unit_test(bad_manifests_are_refused),
		cmocka_unit_test(mutations_are_survived),
		cmocka_unit_test(an_index_names_what_a_merge_lost),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
