#include "tests/lib/store_fixture.h"

/* Member by member: the bytes between them are nobody's. */
static void same(const struct store_merge *a, const struct store_merge *b)
{
	assert_int_equal(a->id, b->id);
	assert_int_equal(a->state, b->state);
	assert_int_equal(a->tries, b->tries);
	assert_int_equal(a->ranks, b->ranks);
	assert_int_equal(a->shard_count, b->shard_count);
	assert_memory_equal(a->shards, b->shards, a->shard_count * sizeof(a->shards[0]));
	assert_memory_equal(a->shard_versions, b->shard_versions, a->shard_count * sizeof(a->shard_versions[0]));
	assert_memory_equal(&a->plan, &b->plan, sizeof(a->plan));
	assert_memory_equal(&a->output_root, &b->output_root, sizeof(a->output_root));
	assert_memory_equal(&a->index_root, &b->index_root, sizeof(a->index_root));
	assert_int_equal(a->version, b->version);
	assert_int_equal(a->planned_ms, b->planned_ms);
	assert_int_equal(a->ended_ms, b->ended_ms);
	assert_memory_equal(&a->score, &b->score, sizeof(a->score));
	assert_memory_equal(&a->score_inputs, &b->score_inputs, sizeof(a->score_inputs)); /* minus zero too */
	assert_string_equal(a->reason, b->reason);
	assert_int_equal(a->rounds, b->rounds);
	assert_int_equal(a->reduces, b->reduces);
	assert_int_equal(a->reduced_bytes, b->reduced_bytes);
}

static void test_every_field_survives_a_restart(void **state)
{
	struct fixture *f = *state;
	struct store_merge merge, found;
	memset(&merge, 0, sizeof(merge));
	merge.id = 9;
	merge.state = STORE_MERGE_STATE_GATED;
	merge.tries = 2;
	merge.ranks = 5;
	merge.shard_count = 64;
	for (size_t i = 0; i < 64; i++) {
		merge.shards[i] = i + 1;
		merge.shard_versions[i] = 100 + i;
	}
	hash_of("plan", 4, &merge.plan);
	hash_of("out", 3, &merge.output_root);
	hash_of("index", 5, &merge.index_root);
	merge.version = 12;
	merge.planned_ms = 5;
	merge.ended_ms = 6;
	merge.score = 0.1;
	merge.score_inputs = -0.0;
	merge.rounds = 4;
	merge.reduces = 6;
	merge.reduced_bytes = UINT64_C(1) << 33;
	snprintf(merge.reason, sizeof(merge.reason), "lost 3 of 100");
	fixture_begin(f);
	OK(f, store_merge_put(f->txn, &merge, &f->e));
	fixture_commit(f);
	fixture_reopen(f);
	fixture_begin_read(f);
	OK(f, store_merge_get(f->txn, 9, &found, &f->e));
	same(&found, &merge);
	OK(f, store_merge_next(f->txn, 1, &found, &f->e));
	assert_int_equal(found.id, 9);
	FAILS(ERR_NOT_FOUND, store_merge_next(f->txn, 10, &found, &f->e));
	FAILS(ERR_NOT_FOUND, store_merge_get(f->txn, 8, &found, &f->e));
}

static void move(struct fixture *f, struct store_merge *merge, int state)
{
	merge->state = state;
	OK(f, store_merge_put(f->txn, merge, &f->e));
}

static void test_moves_only_as_the_table_says(void **state)
{
	struct fixture *f = *state;
	struct store_merge merge = { .id = 1 };
	fixture_begin(f);
	move(f, &merge, STORE_MERGE_STATE_PLANNED);
	merge.state = STORE_MERGE_STATE_PUBLISHED;
	FAILS(ERR_INVALID, store_merge_put(f->txn, &merge, &f->e));
	move(f, &merge, STORE_MERGE_STATE_RUNNING);
	move(f, &merge, STORE_MERGE_STATE_RUNNING); /* another try */
	move(f, &merge, STORE_MERGE_STATE_GATED);
	move(f, &merge, STORE_MERGE_STATE_PUBLISHED);
	merge.state = STORE_MERGE_STATE_FAILED;
	FAILS(ERR_INVALID, store_merge_put(f->txn, &merge, &f->e));
	assert_non_null(strstr(f->e.text, "from published to failed"));
	fixture_commit(f);
}

static void test_refuses_what_is_out_of_range(void **state)
{
	struct fixture *f = *state;
	struct store_merge merge = { .id = 1, .shard_count = 65 };
	fixture_begin(f);
	FAILS(ERR_INVALID, store_merge_put(f->txn, &merge, &f->e));
	merge.shard_count = 0;
	merge.state = -1;
	FAILS(ERR_INVALID, store_merge_put(f->txn, &merge, &f->e));
	merge.state = 0;
	merge.id = 0;
	FAILS(ERR_INVALID, store_merge_put(f->txn, &merge, &f->e));
	merge.id = 1;
	memset(merge.reason, 'r', sizeof(merge.reason));
	FAILS(ERR_INVALID, store_merge_put(f->txn, &merge, &f->e));
	fixture_commit(f);
}

static void test_a_changed_record_names_the_merge(void **state)
{
	struct fixture *f = *state;
	struct store_merge merge = { .id = 5, .reason = "reason to find" }, found;
	fixture_begin(f);
	OK(f, store_merge_put(f->txn, &merge, &f->e));
	fixture_commit(f);
	store_close(&f->store);
	assert_true(fixture_tamper(f, "ledger", "reason to find", 14, 0) > 0);
	fixture_open(f);
	fixture_begin_read(f);
	FAILS(ERR_CORRUPT, store_merge_get(f->txn, 5, &found, &f->e));
	assert_non_null(strstr(f->e.text, "merge 5:"));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(test_every_field_survives_a_restart),
		T(test_moves_only_as_the_table_says),
		T(test_refuses_what_is_out_of_range),
		T(test_a_changed_record_names_the_merge),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
