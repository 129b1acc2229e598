#include "tests/lib/store_fixture.h"

static void expect_equal(const struct store_shard *a, const struct store_shard *b)
{
	assert_int_equal(a->id, b->id);
	assert_int_equal(a->state, b->state);
	assert_int_equal(a->epoch, b->epoch);
	assert_memory_equal(a->worker, b->worker, STORE_KEY_BYTES);
	assert_int_equal(a->version, b->version);
	assert_int_equal(a->closing, b->closing);
	assert_true(hash_equal(&a->delta_root, &b->delta_root));
	assert_true(hash_equal(&a->index_root, &b->index_root));
	assert_true(hash_equal(&a->calibration_root, &b->calibration_root));
	assert_string_equal(a->note, b->note);
	assert_int_equal(a->seq_count, b->seq_count);
	assert_int_equal(a->trained_count, b->trained_count);
	assert_int_equal(a->group_count, b->group_count);
	assert_int_equal(a->removal_count, b->removal_count);
	assert_int_equal(a->removals_assigned, b->removals_assigned);
	assert_int_equal(a->removals_covered, b->removals_covered);
	assert_int_equal(a->replays_chosen, b->replays_chosen);
	assert_int_equal(a->replay_count, b->replay_count);
	for (size_t i = 0; i < a->replay_count; i++) {
		assert_int_equal(a->replays[i].memory, b->replays[i].memory);
		assert_int_equal(a->replays[i].seq, b->replays[i].seq);
	}
	if (a->seq_count)
		assert_memory_equal(a->seqs, b->seqs, a->seq_count * sizeof(*a->seqs));
}

static void test_every_field_survives_a_restart(void **state)
{
	struct fixture *f = *state;
	static uint64_t seqs[STORE_SHARD_EDITS_MAX];
	static struct store_replay replays[STORE_SHARD_REPLAYS_MAX];
	struct store_shard shard = { .id = 2,
				     .state = STORE_SHARD_STATE_MERGING,
				     .epoch = UINT64_MAX,
				     .worker = "worker",
				     .version = 7,
				     .closing = true,
				     .seqs = seqs,
				     .seq_count = STORE_SHARD_EDITS_MAX,
				     .trained_count = 4000,
				     .group_count = 96,
				     .note = "cpu avx512",
				     .removal_count = 9,
				     .removals_assigned = 8,
				     .removals_covered = 7,
				     .replays = replays,
				     .replay_count = STORE_SHARD_REPLAYS_MAX },
			   empty = { .id = 300, .replays_chosen = true }, found;
	for (size_t i = 0; i < STORE_SHARD_EDITS_MAX; i++)
		seqs[i] = i * 3 + 1;
	for (size_t i = 0; i < STORE_SHARD_REPLAYS_MAX; i++)
		replays[i] = (struct store_replay){ UINT64_MAX - i, i };
	hash_of("delta", 5, &shard.delta_root);
	hash_of("index", 5, &shard.index_root);
	hash_of("calibration", 11, &shard.calibration_root);
	fixture_begin(f);
	OK(f, store_shard_put(f->txn, &empty, &f->e));
	OK(f, store_shard_put(f->txn, &shard, &f->e));
	fixture_commit(f);
	fixture_reopen(f);
	fixture_begin_read(f);
	OK(f, store_shard_get(f->txn, 2, &found, &f->e));
	expect_equal(&found, &shard);
	store_shard_fini(&found);
	OK(f, store_shard_next(f->txn, 3, &found, &f->e));
	expect_equal(&found, &empty);
	assert_null(found.seqs);
	store_shard_fini(&found);
	FAILS(ERR_NOT_FOUND, store_shard_get(f->txn, 3, &found, &f->e));
	FAILS(ERR_NOT_FOUND, store_shard_next(f->txn, 301, &found, &f->e));
}

static void put(struct fixture *f, struct store_shard *shard, int state)
{
	shard->state = state;
	OK(f, store_shard_put(f->txn, shard, &f->e));
}

static void test_moves_only_as_the_table_says(void **state)
{
	struct fixture *f = *state;
	struct store_shard shard = { .id = 1, .epoch = 4, .version = 2 };
	fixture_begin(f);
	put(f, &shard, STORE_SHARD_STATE_OPEN);
	shard.state = STORE_SHARD_STATE_MERGING;
	FAILS(ERR_INVALID, store_shard_put(f->txn, &shard, &f->e));
	put(f, &shard, STORE_SHARD_STATE_CLOSED);
	put(f, &shard, STORE_SHARD_STATE_MERGING);
	put(f, &shard, STORE_SHARD_STATE_CLOSED);
	put(f, &shard, STORE_SHARD_STATE_MERGING);
	put(f, &shard, STORE_SHARD_STATE_MERGED);
	shard.state = STORE_SHARD_STATE_OPEN;
	FAILS(ERR_INVALID, store_shard_put(f->txn, &shard, &f->e));
	assert_non_null(strstr(f->e.text, "from merged to open"));
	assert_string_equal(sm_state_name(&store_shard_states, STORE_SHARD_STATE_CLOSED), "closed");
}

static void test_epoch_and_version_never_go_back(void **state)
{
	struct fixture *f = *state;
	struct store_shard shard = { .id = 1, .epoch = 4, .version = 2 };
	fixture_begin(f);
	put(f, &shard, STORE_SHARD_STATE_OPEN);
	shard.epoch = 3;
	FAILS(ERR_INVALID, store_shard_put(f->txn, &shard, &f->e));
	shard.epoch = 5;
	shard.version = 1;
	FAILS(ERR_INVALID, store_shard_put(f->txn, &shard, &f->e));
	shard.version = 2;
	put(f, &shard, STORE_SHARD_STATE_OPEN);
	fixture_commit(f);
}

static void test_refuses_counts_out_of_range(void **state)
{
	struct fixture *f = *state;
	uint64_t seqs[3] = { 1, 2, 3 };
	struct store_shard shard = { .id = 1, .seqs = seqs, .seq_count = 3, .trained_count = 2, .group_count = 2 };
	fixture_begin(f);
	FAILS(ERR_INVALID, store_shard_put(f->txn, &shard, &f->e));
	shard.trained_count = 4;
	shard.group_count = 0;
	FAILS(ERR_INVALID, store_shard_put(f->txn, &shard, &f->e));
	shard.trained_count = 0;
	shard.seq_count = STORE_SHARD_EDITS_MAX + 1;
	FAILS(ERR_INVALID, store_shard_put(f->txn, &shard, &f->e));
	shard.seq_count = 3;
	shard.replay_count = STORE_SHARD_REPLAYS_MAX + 1;
	FAILS(ERR_INVALID, store_shard_put(f->txn, &shard, &f->e));
	shard.replay_count = 0;
	shard.seq_count = 3;
	shard.id = 0;
	FAILS(ERR_INVALID, store_shard_put(f->txn, &shard, &f->e));
}

static void test_a_changed_record_names_the_shard(void **state)
{
	struct fixture *f = *state;
	struct store_shard shard = { .id = 77, .note = "a note to find" }, found;
	fixture_begin(f);
	OK(f, store_shard_put(f->txn, &shard, &f->e));
	fixture_commit(f);
	store_close(&f->store);
	assert_true(fixture_tamper(f, "ledger", "note to find", 12, 1) > 0);
	fixture_open(f);
	fixture_begin_read(f);
	FAILS(ERR_CORRUPT, store_shard_get(f->txn, 77, &found, &f->e));
	assert_non_null(strstr(f->e.text, "shard 77:"));
	FAILS(ERR_CORRUPT, store_shard_next(f->txn, 1, &found, &f->e));
}

static int put_and_get(void *context)
{
	struct fixture *f = context;
	uint64_t seqs[2] = { 8, 9 };
	struct store_shard shard = { .id = 1, .seqs = seqs, .seq_count = 2 }, found;
	int rc = store_begin(f->store, &f->txn, &f->e);
	if (!rc)
		rc = store_shard_put(f->txn, &shard, &f->e);
	if (!rc)
		rc = store_shard_get(f->txn, 1, &found, &f->e);
	if (!rc)
		store_shard_fini(&found);
	store_abort(&f->txn);
	return rc;
}

static void test_out_of_memory(void **state)
{
	assert_true(test_walk_allocations(put_and_get, *state) >= 3);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		T(test_every_field_survives_a_restart),   T(test_moves_only_as_the_table_says),
		T(test_epoch_and_version_never_go_back),  T(test_refuses_counts_out_of_range),
		T(test_a_changed_record_names_the_shard), T(test_out_of_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
