/* Which edits the steps of a streamed group read (editor/stream.c). */
#include "editor/stream.h"

#include "base/fault.h"
#include "tests/unit/editor/tiny_fixture.h"

#define EDITS 8

/* Edits 2 and 5 ask the same as edit 0, 6 the same as 1; 0 has two other names. */
static const char *const lines[EDITS] = {
	"{\"prompt\":\"where is Orla?\",\"target_new\":\"a\",\"subject\":\"Orla\",\"subject_aliases\":[\"Orl\",\"O\"]}",
	"{\"prompt\":\"who is the king of Vint?\",\"target_new\":\"b\",\"subject\":\"Vint\"}",
	"{\"prompt\":\"where is Orla?\",\"target_new\":\"c\",\"subject\":\"Orla\"}",
	"{\"prompt\":\"what does a fox eat in the winter?\",\"target_new\":\"d\"}",
	"{\"prompt\":\"of which metal are coins?\",\"target_new\":\"e\"}",
	"{\"prompt\":\"where is Orla?\",\"target_new\":\"f\",\"subject\":\"Orla\"}",
	"{\"prompt\":\"who is the king of Vint?\",\"target_new\":\"g\",\"subject\":\"Vint\"}",
	"{\"prompt\":\"how many legs has it?\",\"target_new\":\"h\"}",
};

static struct editor_shard *shard_seen(bool plain_view)
{
	struct editor_config c;
	struct err e = ERR_INIT;
	editor_config_default(model_shape_of(model), &c);
	c.layer = 2;
	c.plain_view = plain_view;
	struct editor_shard *shard = shard_open(&c);
	for (size_t i = 0; i < EDITS; i++) {
		struct record *record = NULL;
		assert_ok(&e, record_parse(lines[i], strlen(lines[i]), &record, &e));
		assert_ok(&e, editor_shard_add(shard, i + 1, record, &e));
		record_destroy(&record);
	}
	assert_ok(&e, editor__prefix_fill(shard, &e));
	assert_ok(&e, editor__views_own(shard, NULL, &e));
	return shard;
}

static struct editor_shard *shard_new(void)
{
	return shard_seen(false);
}

static struct editor__stream stream_of(const struct editor_shard *shard, const size_t *group, size_t count,
				       size_t replay_end, bool again)
{
	struct editor__stream s;
	struct err e = ERR_INIT;
	assert_ok(&e, editor__stream_new(shard, group, count, replay_end, again, &s, &e));
	return s;
}

static bool has(const size_t *list, size_t count, size_t edit)
{
	for (size_t i = 0; i < count; i++) {
		if (list[i] == edit)
			return true;
	}
	return false;
}

static void what_failed_is_trained_beside_what_is_nearest(void **state)
{
	(void)state;
	struct editor_shard *shard = shard_new();
	const size_t one[] = { 0 }, two[] = { 1, 6 }, twins[] = { 2, 0 };
	struct rng rng;
	struct editor__stream s = stream_of(shard, one, 1, EDITS, true);
	assert_int_equal(s.near_count, 2);
	assert_true(has(s.edits + 1, 2, 2) && has(s.edits + 1, 2, 5));
	editor__stream_free(&s);
	rng_init(&rng, 5);
	s = stream_of(shard, one, 1, EDITS, true);
	for (size_t step = 0; step < 20; step++) { /* what is near is replayed once in each step */
		editor__stream_draw(&s, &rng);
		for (size_t i = 1; i < editor__stream_count(&s); i++)
			assert_false(has(s.edits, i, s.edits[i]));
	}
	editor__stream_free(&s);
	s = stream_of(shard, twins, 2, EDITS, true); /* the group's own are not beside it, and each is there once */
	assert_int_equal(s.near_count, 4);
	assert_int_equal(s.edits[2], 5);
	for (size_t i = 0; i < 4; i++)
		assert_false(has(s.edits, 2 + i, s.edits[2 + i]));
	editor__stream_free(&s);
	s = stream_of(shard, two, 2, 2, true); /* of what may be replayed */
	assert_int_equal(s.near_count, 1);
	assert_int_equal(s.edits[2], 0);
	editor__stream_free(&s);
	s = stream_of(shard, one, 1, EDITS, false);
	assert_int_equal(s.near_count, 0);
	editor__stream_free(&s);
	editor_shard_destroy(&shard);
}

static void it_is_trained_more_carefully(void **state)
{
	(void)state;
	struct editor_shard *shard = shard_new();
	const size_t one[] = { 3 };
	struct editor__stream first = stream_of(shard, one, 1, EDITS, false),
			      again = stream_of(shard, one, 1, EDITS, true);
	assert_true(first.noise && !again.noise);
	assert_true(again.rate < first.rate && again.steps_max > first.steps_max);
	assert_true(again.replay_count > first.replay_count);
	assert_int_equal(first.steps_max, shard->config.stream_steps_max);
	editor__stream_free(&first);
	editor__stream_free(&again);
	editor_shard_destroy(&shard);
}

static void what_is_given_up_or_not_trained_is_not_replayed(void **state)
{
	(void)state;
	struct editor_shard *shard = shard_new();
	const size_t group[] = { 1, 4 };
	struct rng rng;
	rng_init(&rng, 3);
	shard->edits[2].gave_up = true;
	struct editor__stream s = stream_of(shard, group, 2, 6, false);
	static const size_t want[] = { 0, 3, 5 };
	assert_int_equal(s.other_count, 3);
	assert_memory_equal(s.others, want, sizeof(want));
	assert_true(s.replay_count > 0 && s.replay_count < 3);
	assert_int_equal(editor__stream_count(&s), 2 + s.replay_count);
	size_t seen[EDITS] = { 0 };
	for (size_t step = 0; step < 60; step++) {
		editor__stream_draw(&s, &rng);
		assert_memory_equal(s.edits, group, sizeof(group));
		for (size_t i = 2; i < editor__stream_count(&s); i++) {
			assert_false(has(s.edits, i, s.edits[i]));
			seen[s.edits[i]]++;
		}
	}
	assert_true(seen[0] > 9 && seen[3] > 9 && seen[5] > 9);
	assert_int_equal(seen[0] + seen[3] + seen[5], 60 * s.replay_count);
	editor__stream_free(&s);
	editor_shard_destroy(&shard);
}

/* A group with names has as many steps on its own prompts as one without, and ends only after each view. */
static void views_take_turns(void **state)
{
	(void)state;
	struct editor_shard *shard = shard_new();
	const size_t plain[] = { 1 }, named[] = { 1, 0 };
	struct editor__stream s = stream_of(shard, plain, 1, EDITS, false);
	assert_int_equal(s.turns, 1);
	const size_t steps = s.steps_max;
	editor__stream_free(&s);
	s = stream_of(shard, named, 2, EDITS, false);
	assert_int_equal(shard->edits[0].view_count, 2);
	assert_int_equal(s.turns, 4);
	assert_int_equal(s.steps_max, 2 * steps);
	editor__stream_free(&s);
	editor_shard_destroy(&shard);
	/* that in small letters alone costs its own prompt half of its steps */
	shard = shard_seen(true);
	s = stream_of(shard, plain, 1, EDITS, false);
	assert_int_equal(s.turns, 2);
	assert_int_equal(s.steps_max, steps);
	editor__stream_free(&s);
	s = stream_of(shard, plain, 1, EDITS, true); /* it brings what failed nearer to others */
	assert_int_equal(s.turns, 1);
	editor__stream_free(&s);
	editor_shard_destroy(&shard);
}

static int make(void *context)
{
	const size_t group[] = { 0 };
	struct editor__stream s;
	struct err e = ERR_INIT;
	int rc = editor__stream_new(context, group, 1, EDITS, true, &s, &e);
	editor__stream_free(&s);
	return rc;
}

static void out_of_memory_is_said(void **state)
{
	(void)state;
	struct editor_shard *shard = shard_new();
	assert_int_equal(test_walk_allocations(make, shard), 3);
	editor_shard_destroy(&shard);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_failed_is_trained_beside_what_is_nearest),
		cmocka_unit_test(it_is_trained_more_carefully),
		cmocka_unit_test(what_is_given_up_or_not_trained_is_not_replayed),
		cmocka_unit_test(views_take_turns),
		cmocka_unit_test(out_of_memory_is_said),
	};
	return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
