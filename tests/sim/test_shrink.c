/* Shrinking: a list of all events is the seed itself, and each planted fault is shown by a few of a seed's events,
 * which replay it. */
#include "tests/lib/test.h"

#include "tests/sim/campaign.h"
#include "tests/sim/shrink.h"

#define SEEDS_MAX     80
#define EVENTS_LEAST  12 /* of a seed that is worth it */
#define SHRUNK_TO_MAX 5
#define RUNS_MAX      120

static struct sim_story story; /* large */
static struct sim_keep keep;
static struct shrunk shrunk;

static void all_events_are_the_seed(void **state)
{
	struct sim_result whole, kept;
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++) {
		struct sim_options options = { .seed = seed };
		campaign_run_one(&options, &whole, &story);
		assert_true(story.count > 0 && story.count < SIM_EVENTS_MAX);
		keep.count = story.count;
		for (size_t i = 0; i < story.count; i++)
			keep.ids[i] = story.events[i].id;
		options.keep = &keep;
		campaign_run_one(&options, &kept, NULL);
		assert_int_equal(whole.digest, kept.digest);
		keep.count = 0;
		campaign_run_one(&options, &kept, &story);
		assert_int_equal(kept.fault_total, 0);
		assert_int_equal(kept.edits_acked, 0);
		assert_int_equal(story.count, 0);
	}
}

static void a_list_is_read_as_it_is_written(void **state)
{
	static const char *const bad[] = { "", "f", "f1,", "c0", "c9.1", "x1", "f1 ", "f1,,f2", "c0.1.2" };
	struct buf text = BUF_INIT;
	(void)state;
	assert_true(sim_keep_parse("f0,c2.17,m3", &keep));
	sim_keep_format(&keep, &text);
	assert_int_equal(text.len, 11);
	assert_memory_equal(text.data, "f0,c2.17,m3", 11);
	buf_free(&text);
	assert_true(sim_keep_parse("none", &keep));
	assert_int_equal(keep.count, 0);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_false(sim_keep_parse(bad[i], &keep));
}

/* As somebody does who was given the list. */
static void replay(const struct sim_options *options)
{
	struct sim_options again = *options;
	struct buf text = BUF_INIT;
	struct sim_result result;
	sim_keep_format(&shrunk.keep, &text);
	buf_append(&text, "", 1);
	assert_true(sim_keep_parse((const char *)text.data, &keep));
	buf_free(&text);
	again.keep = &keep;
	campaign_run_one(&again, &result, NULL);
	assert_true(result.broken);
	assert_string_equal(result.text, shrunk.result.text);
	assert_int_equal(result.digest, shrunk.result.digest);
}

/* The first `wanted` findings; of a race one may stay long. */
static void shrinks(enum sim_plant plant, size_t wanted)
{
	size_t findings = 0, least = SIZE_MAX;
	for (uint64_t seed = 1; seed <= SEEDS_MAX && findings < wanted; seed++) {
		const struct sim_options options = { .seed = seed, .plant = plant };
		struct sim_result result;
		campaign_run_one(&options, &result, &story);
		if (!result.broken || story.count < EVENTS_LEAST)
			continue;
		assert_true(sim_shrink(&options, RUNS_MAX, &shrunk));
		assert_int_equal(shrunk.event_count, story.count);
		assert_int_equal(shrunk.keep.count, shrunk.story.count);
		assert_true(shrunk.keep.count < shrunk.event_count);
		assert_int_equal(strncmp(result.text, shrunk.result.text, 3), 0);
		replay(&options);
		least = shrunk.keep.count < least ? shrunk.keep.count : least;
		findings++;
	}
	assert_int_equal(findings, wanted);
	assert_in_range(least, 1, SHRUNK_TO_MAX); /* of at least EVENTS_LEAST */
}

static void an_answer_before_its_commit_is_shown_by_few_events(void **state)
{
	(void)state;
	shrinks(SIM_PLANT_EARLY_ACK, 1);
}

static void a_record_taken_twice_is_shown_by_few_events(void **state)
{
	(void)state;
	shrinks(SIM_PLANT_NO_DEDUP, 1);
}

static void an_old_epoch_is_shown_by_few_events(void **state)
{
	(void)state;
	shrinks(SIM_PLANT_NO_FENCE, 7);
}

static void a_sync_that_is_none_is_shown_by_few_events(void **state)
{
	(void)state;
	shrinks(SIM_PLANT_NO_SYNC, 1);
}

static void an_edit_left_out_is_shown_by_few_events(void **state)
{
	(void)state;
	shrinks(SIM_PLANT_SKIP, 1);
}

static void a_key_that_stays_is_shown_by_few_events(void **state)
{
	(void)state;
	shrinks(SIM_PLANT_NO_REVOKE, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_events_are_the_seed),
		cmocka_unit_test(a_list_is_read_as_it_is_written),
		cmocka_unit_test(an_answer_before_its_commit_is_shown_by_few_events),
		cmocka_unit_test(a_record_taken_twice_is_shown_by_few_events),
		cmocka_unit_test(an_old_epoch_is_shown_by_few_events),
		cmocka_unit_test(a_sync_that_is_none_is_shown_by_few_events),
		cmocka_unit_test(an_edit_left_out_is_shown_by_few_events),
		cmocka_unit_test(a_key_that_stays_is_shown_by_few_events),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
