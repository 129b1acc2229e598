/* The simulator as a test: a few dozen seeds hold, a seed replays to the last event, and each planted fault is found.
 */
#include "tests/lib/test.h"

#include "tests/sim/campaign.h"
#include "tests/sim/fleet.h"

#define SEEDS       60
#define PLANT_SEEDS 600

static struct campaign campaign; /* large */

static void seeds_hold(void **state)
{
	const struct campaign_options options = { .first = 1, .count = SEEDS, .jobs = 2, .broken_max = 1 };
	(void)state;
	campaign_run(&options, &campaign);
	if (campaign.broken > 0)
		fail_msg("seed %llu: %s\nreplay: make sim SEED=%llu TRACE=1",
			 (unsigned long long)campaign.findings[0].seed, campaign.findings[0].text,
			 (unsigned long long)campaign.findings[0].seed);
	assert_int_equal(campaign.seeds, SEEDS);
	/* It was no idle time: faults, crashes that lost something, and work that went on. */
	assert_true(campaign.total.fault_total > SEEDS);
	assert_true(campaign.total.crashes > 0 && campaign.total.torn_sectors > 0);
	assert_true(campaign.total.edits_acked > 10 * SEEDS);
	for (int i = 0; i < SIM_TALLY_OPERATIONS; i++)
		if (campaign.total.tally.operations[i][SIM_TALLY_OK] == 0)
			fail_msg("operation %d was never answered with success", i);
	assert_true(campaign.total.versions > SEEDS);
}

static struct sim_result run_one(const char *folder, uint64_t seed, enum sim_plant plant)
{
	struct sim_result result;
	sim_run(&(struct sim_options){ .seed = seed, .plant = plant, .folder = folder }, &result);
	return result;
}

static void a_seed_gives_the_same_trace(void **state)
{
	const char *folder = *state;
	for (uint64_t seed = 1; seed <= 3; seed++) {
		struct sim_result first = run_one(folder, seed, SIM_PLANT_NONE),
				  again = run_one(folder, seed, SIM_PLANT_NONE);
		assert_false(first.broken);
		assert_int_equal(first.digest, again.digest);
		assert_int_equal(first.events, again.events);
		assert_int_equal(first.messages, again.messages);
		assert_int_equal(first.disk_operations, again.disk_operations);
	}
	assert_int_not_equal(run_one(folder, 1, SIM_PLANT_NONE).digest, run_one(folder, 2, SIM_PLANT_NONE).digest);
}

static void a_broken_seed_replays(void **state)
{
	const char *folder = *state;
	uint64_t seed = 1;
	struct sim_result first = run_one(folder, seed, SIM_PLANT_NO_DEDUP);
	while (!first.broken && seed < PLANT_SEEDS)
		first = run_one(folder, ++seed, SIM_PLANT_NO_DEDUP);
	struct sim_result again = run_one(folder, seed, SIM_PLANT_NO_DEDUP);
	assert_true(first.broken && again.broken);
	assert_string_equal(first.text, again.text);
	assert_int_equal(first.digest, again.digest);
}

/* One of the first findings is of the invariant; NULL: of any. */
static void finds(enum sim_plant plant, const char *invariant, uint64_t findings)
{
	const struct campaign_options options = {
		.first = 1, .count = PLANT_SEEDS, .jobs = 2, .plant = plant, .broken_max = findings
	};
	campaign_run(&options, &campaign);
	if (campaign.broken == 0)
		fail_msg("%s was not found in %d seeds", sim_plant_names[plant], PLANT_SEEDS);
	for (uint64_t i = 0; i < campaign.broken && i < CAMPAIGN_BROKEN_MAX; i++)
		if (invariant == NULL || strstr(campaign.findings[i].text, invariant) != NULL)
			return;
	fail_msg("%s shows as: %s", sim_plant_names[plant], campaign.findings[0].text);
}

static void an_answer_before_its_commit_is_found(void **state)
{
	(void)state;
	finds(SIM_PLANT_EARLY_ACK, "I1", 4);
}

static void a_record_taken_twice_is_found(void **state)
{
	(void)state;
	finds(SIM_PLANT_NO_DEDUP, "I1", 1);
}

static void an_old_epoch_is_found(void **state)
{
	(void)state;
	finds(SIM_PLANT_NO_FENCE, "its lease is epoch", 1);
}

static void a_sync_that_is_none_is_found(void **state)
{
	(void)state;
	finds(SIM_PLANT_NO_SYNC, NULL, 1);
}

static void an_edit_left_out_is_found(void **state)
{
	(void)state;
	finds(SIM_PLANT_SKIP, "I4", 1);
}

static void check_hash(const uint8_t *bytes, size_t byte_count)
{
	struct hash whole, parts;
	struct hash_stream stream;
	hash_of(bytes, byte_count, &whole);
	hash_begin(&stream);
	hash_add(&stream, bytes, byte_count);
	hash_end(&stream, &parts);
	assert_true(hash_equal(&whole, &parts));
}

/* memo.c: of bytes that it has seen, of others of their length, and of one bit that rotted. */
static void remembered_hashes_are_sha256(void **state)
{
	static const size_t sizes[] = { 0, 1, 511, 512, 513, 544, 4095, 65536 };
	static uint8_t bytes[65536];
	struct rng rng;
	(void)state;
	rng_init(&rng, 1);
	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)rng_u64(&rng);
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		check_hash(bytes, sizes[i]);
		check_hash(bytes, sizes[i]);
		for (size_t flip = 0; sizes[i] > 0 && flip < 100; flip++) {
			size_t at = rng_below(&rng, sizes[i]);
			bytes[at] ^= (uint8_t)(1 << flip % 8);
			check_hash(bytes, sizes[i]);
		}
	}
}

static void a_key_that_stays_is_found(void **state)
{
	(void)state;
	finds(SIM_PLANT_NO_REVOKE, "I0", 1);
}

static void a_pause_that_is_forgotten_is_found(void **state)
{
	(void)state;
	finds(SIM_PLANT_NO_PAUSE, "while publishing is paused", 1);
}

static void chunks_that_are_needed_and_collected_are_found(void **state)
{
	(void)state;
	finds(SIM_PLANT_COLLECT, "I5", 4); /* or a start finds it first */
}

static void a_damaged_chunk_that_is_given_out_is_found(void **state)
{
	(void)state;
	finds(SIM_PLANT_UNCHECKED, "does not match its hash", 4);
}

static void a_damaged_chunk_that_nobody_is_asked_for_is_found(void **state)
{
	(void)state;
	finds(SIM_PLANT_HEAL, "whole at", 4);
}

static void a_version_past_the_canaries_is_found(void **state)
{
	(void)state;
	finds(SIM_PLANT_CANARIES, "I10", 1);
}

static void a_revocation_that_is_only_acknowledged_is_found(void **state)
{
	(void)state;
	finds(SIM_PLANT_REVOKED, "I9", 1);
}

static void a_node_that_answers_from_what_is_revoked_is_found(void **state)
{
	(void)state;
	finds(SIM_PLANT_TOMBSTONE, "I9", 1);
}

static void a_refused_record_that_is_kept_is_found(void **state)
{
	(void)state;
	finds(SIM_PLANT_REFUSED, "which was refused", 1);
}

static void what_a_start_forgets_to_withhold_is_found(void **state)
{
	(void)state;
	finds(SIM_PLANT_WITHHELD, "withheld a second time", 1);
}

static void edits_that_are_withheld_without_cause_are_found(void **state)
{
	(void)state;
	finds(SIM_PLANT_BLAME, "takes no canary", 1);
}

static void what_a_withheld_edit_takes_out_is_found(void **state)
{
	(void)state;
	finds(SIM_PLANT_KEEPS, "what superseded it", 1);
}

static void a_lost_memory_that_stays_lost_is_found(void **state)
{
	(void)state;
	finds(SIM_PLANT_RETRAIN, "I7", 1);
}

static void edits_that_are_not_trained_again_are_found(void **state)
{
	(void)state;
	finds(SIM_PLANT_LOST, "is given up, and its edit", 1);
}

static void a_backup_that_is_old_is_found(void **state)
{
	(void)state;
	finds(SIM_PLANT_BACKUP, "was seen before", 1);
}

static void a_cluster_that_keeps_its_id_is_found(void **state)
{
	(void)state;
	finds(SIM_PLANT_SAME_ID, "no cluster of its own", 1);
}

static void a_fleet_has_every_version(void **state)
{
	const struct sim_fleet_options options = { .workers = 20,
						   .nodes = 200,
						   .shards = 4,
						   .edits = 8,
						   .delta_bytes = 70000,
						   .link_bytes_per_s = 125000000 };
	struct sim_fleet_traffic traffic;
	assert_int_equal(sim_fleet_run(&options, 1, *state, &traffic), 0);
	assert_true(traffic.relays_bytes == 0 && traffic.coordinator_bytes > 200 * 70000u);
}

/* 200 nodes below 4 relays, and these below 4 more: the coordinator gives to 4 what others give on. */
static void a_fleet_below_relays_has_every_version(void **state)
{
	const struct sim_fleet_options options = { .workers = 20,
						   .nodes = 200,
						   .shards = 4,
						   .edits = 8,
						   .delta_bytes = 70000,
						   .link_bytes_per_s = 125000000,
						   .fan_out = 4 };
	struct sim_fleet_traffic traffic;
	assert_int_equal(sim_fleet_run(&options, 1, *state, &traffic), 0);
	assert_true(traffic.relays_bytes > 10 * traffic.coordinator_bytes);
	/* A relay lets go of what the next version no longer holds, while one below it may still ask for that. */
	assert_true(traffic.fallbacks < traffic.relays_bytes / options.delta_bytes / 100);
}

#define FOLDER(test) cmocka_unit_test_setup_teardown(test, test_setup_folder, test_teardown_folder)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(seeds_hold),
		FOLDER(a_seed_gives_the_same_trace),
		FOLDER(a_broken_seed_replays),
		cmocka_unit_test(an_answer_before_its_commit_is_found),
		cmocka_unit_test(a_record_taken_twice_is_found),
		cmocka_unit_test(an_old_epoch_is_found),
		cmocka_unit_test(a_sync_that_is_none_is_found),
		cmocka_unit_test(an_edit_left_out_is_found),
		cmocka_unit_test(a_key_that_stays_is_found),
		cmocka_unit_test(a_pause_that_is_forgotten_is_found),
		cmocka_unit_test(chunks_that_are_needed_and_collected_are_found),
		cmocka_unit_test(a_damaged_chunk_that_is_given_out_is_found),
		cmocka_unit_test(a_damaged_chunk_that_nobody_is_asked_for_is_found),
		cmocka_unit_test(a_version_past_the_canaries_is_found),
		cmocka_unit_test(a_revocation_that_is_only_acknowledged_is_found),
		cmocka_unit_test(a_node_that_answers_from_what_is_revoked_is_found),
		cmocka_unit_test(a_refused_record_that_is_kept_is_found),
		cmocka_unit_test(what_a_start_forgets_to_withhold_is_found),
		cmocka_unit_test(edits_that_are_withheld_without_cause_are_found),
		cmocka_unit_test(what_a_withheld_edit_takes_out_is_found),
		cmocka_unit_test(a_lost_memory_that_stays_lost_is_found),
		cmocka_unit_test(edits_that_are_not_trained_again_are_found),
		cmocka_unit_test(a_backup_that_is_old_is_found),
		cmocka_unit_test(a_cluster_that_keeps_its_id_is_found),
		FOLDER(a_fleet_has_every_version),
		FOLDER(a_fleet_below_relays_has_every_version),
		cmocka_unit_test(remembered_hashes_are_sha256),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
