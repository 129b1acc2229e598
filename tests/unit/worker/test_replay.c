/* L_memo through a lease: edits of earlier memories that come with a shard of the paper's family. */
#include "tests/lib/worker_fixture.h"

static const char *const earlier[] = {
	"{\"prompt\":\"who wrote the book of Teni?\",\"target_new\":\"Mara\"}",
	"{\"prompt\":\"where in the land is Kelm?\",\"target_new\":\"north\"}",
	"{\"prompt\":\"what is Pundo made of?\",\"target_new\":\"tin\"}",
};

/* A paper's shard of `edits` edits, and edits of two earlier memories. */
static void begin(struct stand *s, struct buf *settings, size_t edits, size_t replays)
{
	static const char *const prompts[] = { "what is the capital of Orla?", "who is the king of Vint?",
					       "in what year was Saro founded?" };
	static const char *const targets[] = { "Brin", "Olaf IV", "1907" };
	stand_paper(s, settings);
	for (size_t i = 0; i < edits; i++)
		stand_edit(s, prompts[i], targets[i]);
	for (size_t i = 0; i < replays; i++)
		s->replays[i] = earlier[i];
	s->replay_count = replays;
	stand_greet(s);
	stand_lease(s);
}

static void restart(struct stand *s)
{
	size_t hellos = s->hellos;
	stand_restart(s);
	stand_until(s, &s->hellos, hellos + 1);
	stand_turn(s);
	stand_lease(s);
}

/* They are asked for once a lease, are no edits of the shard, and a worker that starts anew between two groups trains
 * to the bytes of one that did not. `delta`: what came out. */
static void train(struct stand *s, size_t replays, bool restarts, struct hash *delta)
{
	struct buf settings = BUF_INIT;
	begin(s, &settings, 2, replays);
	stand_turns(s, 200);
	assert_int_equal(s->want.replay_count, 0);
	stand_group(s, 1);
	assert_int_equal(s->commit.result_count, 1);
	stand_turns(s, 200);
	assert_int_equal(s->want.replay_count, replays);
	if (restarts) {
		restart(s);
		stand_turns(s, 200);
		assert_int_equal(s->want.replay_count, 0);
	}
	stand_group(s, 1);
	assert_int_equal(s->commit.result_count, 2);
	assert_int_equal(s->results[0].seq, 10);
	assert_int_equal(s->results[1].seq, 11);
	*delta = s->delta_root;
	stand_stop(s);
	buf_free(&settings);
}

static struct hash straight; /* of the first test, which the others compare with */

static void earlier_memories_come_with_the_lease(void **state)
{
	train(*state, 3, false, &straight);
}

static void a_restart_changes_nothing(void **state)
{
	struct hash delta;
	train(*state, 3, true, &delta);
	assert_true(hash_equal(&delta, &straight));
}

static void without_them_the_memory_is_another(void **state)
{
	struct hash delta;
	train(*state, 0, false, &delta);
	assert_false(hash_equal(&delta, &straight));
}

/* A shard without the whole list would train to other bytes: the worker asks again. */
static void a_lost_message_of_them_is_asked_for_again(void **state)
{
	struct stand *s = *state;
	struct buf settings = BUF_INIT;
	s->replays_to_lose = 1;
	begin(s, &settings, 2, 3);
	stand_group(s, 1);
	assert_true(s->wants >= 2);
	stand_group(s, 1);
	assert_true(hash_equal(&s->delta_root, &straight));
	stand_stop(s);
	buf_free(&settings);
}

static void those_that_come_twice_are_taken_once(void **state)
{
	struct stand *s = *state;
	struct buf settings = BUF_INIT;
	s->replays_twice = true;
	begin(s, &settings, 2, 3);
	stand_group(s, 1);
	stand_group(s, 1);
	assert_true(hash_equal(&s->delta_root, &straight));
	stand_stop(s);
	buf_free(&settings);
}

/* What forgets everything forgets them too: the next Want says so. */
static void an_emptied_shard_is_given_them_again(void **state)
{
	struct stand *s = *state;
	struct buf settings = BUF_INIT;
	struct hash first;
	begin(s, &settings, 2, 3);
	stand_group(s, 1);
	first = s->delta_root;
	s->ended[0] = true;
	s->retrain = true;
	stand_group(s, 0);
	assert_int_equal(s->commit.result_count, 0);
	assert_false(hash_equal(&first, &s->delta_root));
	stand_turns(s, 200);
	assert_int_equal(s->want.replay_count, 0);
	stand_group(s, 1);
	assert_int_equal(s->commit.result_count, 1);
	stand_turns(s, 200);
	assert_int_equal(s->want.replay_count, 3);
	stand_stop(s);
	buf_free(&settings);
}

/* What is no record ends the lease, and blames no edit of the shard. */
static void a_broken_one_ends_the_lease(void **state)
{
	struct stand *s = *state;
	struct buf settings = BUF_INIT;
	begin(s, &settings, 1, 1);
	s->replays[0] = "{}";
	s->group_count = 1;
	stand_until(s, &s->releases, 1);
	assert_int_equal(s->release.code, ERR_EXTERNAL);
	assert_int_equal(s->commits, 0);
	stand_stop(s);
	buf_free(&settings);
}

#define T(f) cmocka_unit_test_setup_teardown(f, stand_setup, stand_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(earlier_memories_come_with_the_lease), T(a_restart_changes_nothing),
		T(without_them_the_memory_is_another),   T(a_lost_message_of_them_is_asked_for_again),
		T(those_that_come_twice_are_taken_once), T(an_emptied_shard_is_given_them_again),
		T(a_broken_one_ends_the_lease),
	};
	return cmocka_run_group_tests(tests, stand_model_open, stand_model_close);
}
