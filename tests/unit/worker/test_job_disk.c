/* What stays on the disk, or does not: damage, and faults of the store. */
#include "tests/unit/worker/lease_fixture.h"

/* --- A disk that changes what it holds. */
static void a_rotten_delta_is_fetched_again(void **state)
{
	struct stand *s = *state;
	struct buf chunks = BUF_INIT;
	struct hash first;
	begin(s, 2);
	stand_group(s, 1);
	stand_blob_chunks(s->blobs, &s->delta_root, &chunks);
	memcpy(&first, chunks.data, sizeof first);
	stand_rot(s, &first);
	restart_with_lease(s);
	stand_group(s, 1);
	assert_true(s->needs > 0);
	assert_int_equal(s->version, 2);
	/* Its root chunk as well. */
	struct hash root = s->delta_root;
	stand_rot(s, &root);
	stand_edit(s, prompts[2], targets[2]);
	restart_with_lease(s);
	stand_group(s, 1);
	assert_int_equal(s->version, 3);
	buf_free(&chunks);
}

/* Of what the coordinator lacks, the chunk after the delta's root chunk rots before it is sent. */
static bool rot_before_upload(struct stand *s, const struct msg *msg)
{
	struct hash *rotten = s->hook_context;
	if (msg->type != MSG_HAVE)
		return false;
	for (size_t i = 1; i < msg->u.hashes.hash_count && hash_is_zero(rotten); i++) {
		bool has = false;
		assert_ok(&s->e, store_chunk_has(s->source, &msg->u.hashes.hashes[i], &has, &s->e));
		if (!has) {
			*rotten = msg->u.hashes.hashes[i];
			stand_rot(s, rotten);
		}
	}
	return false;
}

static void a_rotten_result_is_stored_again(void **state)
{
	struct stand *s = *state;
	struct hash rotten = { 0 };
	struct buf bytes = BUF_INIT;
	begin(s, 2);
	stand_group(s, 1); /* the calibration is there */
	s->hook = rot_before_upload;
	s->hook_context = &rotten;
	s->group_count = 1;
	stand_until(s, &s->commits, 2);
	assert_false(hash_is_zero(&rotten));
	assert_ok(&s->e, store_chunk_get(s->source, &rotten, &bytes, &s->e));
	stand_turns(s, 200);
	assert_int_equal(s->version, 2);
	buf_free(&bytes);
}

static void a_delta_that_is_nowhere_ends_the_lease(void **state)
{
	struct stand *s = *state;
	begin(s, 1);
	stand_turns(s, 200);
	stand_fence(s, s->epoch);
	memset(s->delta_root.bytes, 0x55, HASH_BYTES);
	s->version = 4;
	stand_lease(s);
	stand_turns(s, 2500);
	assert_true(s->needs > 0);
	assert_int_equal(s->beat_leases, 0);
	assert_int_equal(s->releases, 1);
	assert_int_equal(s->release.code, ERR_NOT_FOUND);
}

/* --- Faults of the store. */
static void commit_on_a_full_disk(struct stand *s, int64_t ms)
{
	arm(s, "worker.commit.before=errno@1:1000000");
	s->group_count = 1;
	stand_turns(s, ms);
}

static void a_disk_that_stays_full_costs_the_lease_in_the_end(void **state)
{
	struct stand *s = *state;
	begin(s, 1);
	s->silent = true;
	stand_turn(s);
	s->silent = false;
	commit_on_a_full_disk(s, 110000);
	assert_int_equal(s->releases, 0);
	assert_int_equal(s->beat_leases, 1);
	assert_non_null(strstr(s->beat_trouble, "what it trained of shard 3 waits: planted fault at "));
	stand_turns(s, 20000);
	assert_int_equal(s->releases, 1);
	assert_int_equal(s->release.code, ERR_FAULT);
	assert_int_equal(s->commits, 0);
	fault_disarm_all();
	stand_lease(s);
	stand_until(s, &s->commits, 1);
	assert_int_equal(s->version, 1);
	stand_turns(s, 2000);
	assert_string_equal(s->beat_trouble, "");
}

static void a_disk_that_has_room_again_costs_nothing(void **state)
{
	struct stand *s = *state;
	begin(s, 1);
	commit_on_a_full_disk(s, 60000);
	assert_int_equal(s->commits, 0);
	uint64_t steps = steps_ever(s);
	assert_true(steps > 0);
	fault_disarm_all();
	stand_until(s, &s->commits, 1);
	assert_int_equal(steps_ever(s), steps);
	assert_int_equal(s->commit.epoch, s->epoch);
	assert_int_equal(s->releases, 0);
}

static void store_faults_do_not_lose_the_training(void **state)
{
	static const char *const specs[] = { "store.blob.before=errno@1", "store.blob.before=errno@2",
					     "store.blob.after=errno@1", "worker.commit.before=errno@1",
					     "worker.commit.after=errno@1" };
	struct stand *s = *state;
	begin(s, 5);
	for (size_t i = 0; i < 5; i++) {
		s->group_count = 1;
		s->silent = true;
		stand_turn(s);
		s->silent = false;
		arm(s, specs[i]);
		size_t wants = s->wants, commits = s->commits;
		uint64_t steps = steps_ever(s);
		stand_until(s, &s->commits, commits + 1);
		assert_int_equal(steps_ever(s), steps + s->commit.steps); /* trained once */
		stand_turns(s, 200);
		fault_disarm_all();
		assert_int_equal(s->version, i + 1);
		assert_true(s->wants <= wants + 3);
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, stand_setup, stand_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_rotten_delta_is_fetched_again),          T(a_rotten_result_is_stored_again),
		T(a_delta_that_is_nowhere_ends_the_lease),   T(a_disk_that_stays_full_costs_the_lease_in_the_end),
		T(a_disk_that_has_room_again_costs_nothing), T(store_faults_do_not_lose_the_training),
	};
	return cmocka_run_group_tests(tests, stand_model_open, stand_model_close);
}
