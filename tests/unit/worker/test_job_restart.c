/* What a worker that starts anew, or another one, makes of a shard: the bytes of one that did not; closing and
 * retraining. */
#include "tests/unit/worker/lease_fixture.h"

static void what_was_committed_is_not_trained_again(void **state)
{
	struct stand *s = *state;
	begin(s, 3);
	stand_group(s, 2);
	stand_group(s, 1);
	struct hash straight = s->delta_root;
	uint64_t last = s->commit.steps;
	/* The same again, with a restart between the groups. */
	s->version = s->trained_count = 0;
	s->delta_root = (struct hash){ 0 };
	restart_with_lease(s);
	stand_group(s, 2);
	restart_with_lease(s);
	size_t chunks = s->chunks;
	stand_group(s, 1);
	assert_true(hash_equal(&straight, &s->delta_root));
	assert_int_equal(s->commit.result_count, 3);
	assert_int_equal(steps_ever(s), last); /* of the second group alone */
	assert_int_equal(s->needs, 0);         /* its delta lies on this disk */
	assert_int_equal(s->chunks, chunks);   /* and the coordinator has all of it from before */
}

/* Chunks are kept, but only the first two are acknowledged. */
static bool stall_upload(struct stand *s, const struct msg *msg)
{
	return msg->type == MSG_CHUNK && s->chunks >= 2;
}

static void a_broken_upload_goes_on_with_what_is_missing(void **state)
{
	struct stand *s = *state;
	struct buf all = BUF_INIT;
	begin(s, 1);
	s->hook = stall_upload;
	s->group_count = 1;
	stand_until(s, &s->chunks, 2);
	stand_turns(s, 200);
	s->hook = NULL;
	restart_with_lease(s);
	stand_until(s, &s->commits, 1);
	const struct hash *roots[] = { &s->commit.delta_root, &s->commit.index_root, &s->commit.calibration_root };
	for (size_t i = 0; i < 3; i++)
		stand_blob_chunks(s->source, roots[i], &all);
	assert_int_equal(s->chunks, all.len / sizeof(struct hash) + 3); /* each once */
	assert_true(s->chunks > 4);
	buf_free(&all);
}

static void another_worker_fetches_the_delta(void **state)
{
	struct stand *s = *state;
	begin(s, 2);
	stand_group(s, 2);
	stand_edit(s, prompts[2], targets[2]);
	stand_group(s, 1);
	struct hash straight = s->delta_root;
	stand_stop(s);
	/* One with an empty disk, from the first commit on. */
	store_close(&s->blobs);
	test_folder_remove(s->data);
	test_path(s->data, s->folder, "worker-1");
	struct store_options options = { .env = &s->clock.env, .blobs_only = true };
	assert_ok(&s->e, store_open(s->data, &options, &s->blobs, &s->e));
	s->version = s->trained_count = 0;
	s->delta_root = (struct hash){ 0 };
	stand_greet(s);
	stand_lease(s);
	stand_group(s, 2);
	stand_stop(s);
	store_close(&s->blobs);
	test_folder_remove(s->data);
	assert_ok(&s->e, store_open(s->data, &options, &s->blobs, &s->e));
	stand_greet(s);
	stand_lease(s);
	stand_group(s, 1);
	assert_true(s->needs > 0);
	assert_true(hash_equal(&straight, &s->delta_root));
}

/* Which edits a worker has seen fail is nothing that it must remember: the coordinator tells it to forget them, and a
 * restarted worker, which hears of all of them again, trains to the same bytes. */
static void failed_edits_make_no_difference_after_a_restart(void **state)
{
	struct stand *s = *state;
	struct hash straight[3];
	s->config.editor.retest_tries = 1;
	begin(s, 2);
	stand_edit(s, prompts[0], "Quen"); /* contradicts the first */
	for (size_t i = 3; i < 5; i++)
		stand_edit(s, prompts[i], targets[i]);
	for (int restarts = 0; restarts < 2; restarts++) {
		static const size_t groups[] = { 3, 1, 1 };
		for (size_t i = 0; i < 3; i++) {
			if (restarts != 0)
				restart_with_lease(s);
			stand_group(s, groups[i]);
			assert_true(s->ended[0] || s->ended[2]);
			if (restarts == 0)
				straight[i] = s->delta_root;
			else
				assert_true(hash_equal(&straight[i], &s->delta_root));
		}
		s->version = s->trained_count = 0;
		s->delta_root = (struct hash){ 0 };
		memset(s->ended, 0, sizeof s->ended);
	}
}

/* A pass over the whole shard is known to have been made while the process lives; without that knowledge it is made
 * again, to the same bytes. */
static void a_closing_shard_is_the_same_after_a_restart(void **state)
{
	struct stand *s = *state;
	struct hash straight;
	s->config.editor.stream_group_max = 2; /* three new edits take the pass over the shard */
	begin(s, 3);
	stand_group(s, 3);
	s->closing = true;
	stand_until(s, &s->commits, 2);
	stand_turns(s, 200);
	assert_int_equal(s->commit.steps, 0);
	straight = s->delta_root;
	s->version = s->trained_count = 0;
	s->delta_root = (struct hash){ 0 };
	restart_with_lease(s);
	stand_group(s, 3);
	restart_with_lease(s);
	s->closing = true;
	stand_until(s, &s->commits, 4);
	assert_true(s->commit.steps > 0);
	assert_true(hash_equal(&straight, &s->delta_root));
}

static void retrain(struct stand *s)
{
	s->retrain = true;
	stand_group(s, 0);
}

static void close_shard(struct stand *s)
{
	size_t commits = s->commits;
	s->closing = true;
	stand_until(s, &s->commits, commits + 1);
	stand_turns(s, 200);
	assert_true(s->commit.closed);
}

/* The pass over the shard learns nothing here, and still no edit that was served is lost; only what was taken back goes
 * at any price. */
static void a_closing_shard_keeps_what_was_served(void **state)
{
	struct stand *s = *state;
	struct hash streamed;
	s->config.editor.epochs = 1;
	s->config.editor.rate = 1e-8f;
	s->config.editor.retest_tries = 0;
	s->keep_failed = true;
	begin(s, 3);
	for (int restarts = 0; restarts < 2; restarts++) {
		s->version = s->trained_count = 0;
		s->delta_root = (struct hash){ 0 };
		if (restarts != 0)
			restart_with_lease(s);
		stand_group(s, 3);
		streamed = s->delta_root;
		if (restarts != 0)
			restart_with_lease(s);
		close_shard(s);
		assert_true(s->commit.steps > 0);
		assert_int_equal(s->commit.result_count, 3);
		for (size_t i = 0; i < 3; i++)
			assert_true(s->results[i].passed);
		assert_true(hash_equal(&streamed, &s->delta_root));
	}
	s->ended[0] = true;
	restart_with_lease(s);
	retrain(s);
	assert_int_equal(s->commit.result_count, 2);
	assert_false(s->results[0].passed);
	assert_false(hash_equal(&streamed, &s->delta_root));
}

/* What was taken back leaves no trace in the memory: it is that of a shard which never trained the edit, whoever trains
 * it. */
static void a_retrained_shard_is_as_if_the_edit_had_never_been(void **state)
{
	struct stand *s = *state;
	struct hash with, without, never;
	begin(s, 4);
	stand_group(s, 3);
	with = s->delta_root;
	s->ended[1] = true;
	retrain(s);
	assert_true(s->commit.steps > 0);
	assert_false(s->commit.closed);
	assert_int_equal(s->commit.result_count, 2);
	for (size_t i = 0; i < 2; i++)
		assert_true(s->results[i].seq == 10 + 2 * i && s->results[i].passed);
	without = s->delta_root;
	assert_false(hash_equal(&with, &without));
	stand_group(s, 1); /* it goes on as before */
	assert_int_equal(s->commit.result_count, 3);
	s->version = s->trained_count = 0;
	s->delta_root = (struct hash){ 0 };
	restart_with_lease(s);
	s->retrain = true; /* the edit ended before its group was sent */
	stand_group(s, 3);
	never = s->delta_root;
	assert_true(hash_equal(&without, &never));
	restart_with_lease(s);
	retrain(s);
	assert_true(hash_equal(&without, &s->delta_root));
}

static uint32_t tries_max(const struct stand *s)
{
	uint32_t most = 0;
	for (size_t i = 0; i < s->commit.result_count; i++)
		most = s->results[i].tries > most ? s->results[i].tries : most;
	return most;
}

/* There is no earlier delta that could be kept instead. */
static void what_a_retrained_shard_loses_is_trained_more_often(void **state)
{
	struct stand *s = *state;
	s->config.editor.retest_tries = 1;
	s->keep_failed = true;
	begin(s, 3);
	stand_edit(s, prompts[0], "Quen"); /* contradicts the first */
	stand_group(s, 4);
	assert_int_equal(tries_max(s), 2);
	s->ended[1] = true;
	retrain(s);
	assert_int_equal(s->commit.result_count, 3);
	assert_int_equal(tries_max(s), 1 + EDITOR_ANEW_TRIES);
}

static void a_shard_that_lost_all_its_edits_is_empty(void **state)
{
	struct stand *s = *state;
	struct hash with, once;
	begin(s, 3);
	stand_group(s, 2);
	with = s->delta_root;
	s->ended[0] = s->ended[1] = true;
	retrain(s);
	assert_int_equal(s->commit.result_count, 0);
	assert_false(hash_equal(&with, &s->delta_root));
	once = s->delta_root;
	restart_with_lease(s);
	retrain(s);
	assert_true(hash_equal(&once, &s->delta_root));
	stand_group(s, 1);
	assert_int_equal(s->commit.result_count, 1);
	assert_true(s->results[0].passed);
}

#define T(f) cmocka_unit_test_setup_teardown(f, stand_setup, stand_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(what_was_committed_is_not_trained_again),
		T(a_broken_upload_goes_on_with_what_is_missing),
		T(another_worker_fetches_the_delta),
		T(failed_edits_make_no_difference_after_a_restart),
		T(a_closing_shard_is_the_same_after_a_restart),
		T(a_closing_shard_keeps_what_was_served),
		T(a_retrained_shard_is_as_if_the_edit_had_never_been),
		T(what_a_retrained_shard_loses_is_trained_more_often),
		T(a_shard_that_lost_all_its_edits_is_empty),
	};
	return cmocka_run_group_tests(tests, stand_model_open, stand_model_close);
}
