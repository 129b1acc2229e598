#include "base/team.h"

#include "base/fault.h"
#include "tests/lib/test.h"

#include <stdatomic.h>
#include <time.h>

#define PARTS 4

struct tally {
	struct team *team;
	atomic_int begun[PARTS];
	int plain[PARTS]; /* written by a part, read by others after a meeting and by the caller afterwards */
	atomic_int wrong;
};

static void count(void *context, size_t part, size_t part_count)
{
	struct tally *t = context;
	atomic_fetch_add(&t->begun[part], 1);
	t->plain[part]++;
	if (part_count != team_parts(t->team))
		atomic_fetch_add(&t->wrong, 1);
}

static void every_part_runs_once_a_call(void **state)
{
	struct err e = ERR_INIT;
	(void)state;
	for (size_t parts = 1; parts <= PARTS; parts++) {
		struct tally t = { 0 };
		assert_ok(&e, team_new(parts, &t.team, &e));
		assert_int_equal(team_parts(t.team), parts);
		for (int call = 1; call <= 300; call++) {
			team_run(t.team, count, &t);
			for (size_t p = 0; p < PARTS; p++)
				assert_int_equal(t.plain[p], p < parts ? call : 0);
		}
		assert_int_equal(t.wrong, 0);
		team_destroy(&t.team);
		assert_null(t.team);
	}
}

static void meet_often(void *context, size_t part, size_t part_count)
{
	struct tally *t = context;
	for (int round = 1; round <= 40; round++) {
		t->plain[part] = round;
		team_meet(t->team);
		for (size_t p = 0; p < part_count; p++)
			atomic_fetch_add(&t->wrong, t->plain[p] != round);
		team_meet(t->team);
	}
}

static void parts_meet(void **state)
{
	struct err e = ERR_INIT;
	struct tally t = { 0 };
	(void)state;
	assert_ok(&e, team_new(PARTS, &t.team, &e));
	for (int call = 0; call < 5; call++)
		team_run(t.team, meet_often, &t);
	assert_int_equal(t.wrong, 0);
	team_destroy(&t.team);
}

/* Longer than anyone spins: all but the last part are asleep when it comes, and so is the caller. */
static void dawdle(void *context, size_t part, size_t part_count)
{
	struct tally *t = context;
	const struct timespec moment = { 0, 5000000 };
	if (part + 1 == part_count)
		nanosleep(&moment, NULL);
	t->plain[part]++;
	team_meet(t->team);
	for (size_t p = 0; p < part_count; p++)
		atomic_fetch_add(&t->wrong, t->plain[p] != t->plain[part]);
	team_meet(t->team);
	if (part + 1 == part_count)
		nanosleep(&moment, NULL);
}

static void sleepers_are_woken(void **state)
{
	struct err e = ERR_INIT;
	struct tally t = { 0 };
	const struct timespec moment = { 0, 5000000 };
	(void)state;
	assert_ok(&e, team_new(PARTS, &t.team, &e));
	for (int call = 1; call <= 10; call++) {
		nanosleep(&moment, NULL);
		team_run(t.team, dawdle, &t);
		for (size_t p = 0; p < PARTS; p++)
			assert_int_equal(t.plain[p], call);
	}
	assert_int_equal(t.wrong, 0);
	team_destroy(&t.team);
}

static void refusals(void **state)
{
	struct err e = ERR_INIT;
	struct team *team = NULL;
	(void)state;
	assert_int_equal(team_new(0, &team, &e), ERR_INVALID);
	assert_int_equal(team_new(TEAM_PARTS_MAX + 1, &team, &e), ERR_INVALID);
	fault_set(0, 1);
	assert_int_equal(team_new(2, &team, &e), ERR_NOMEM);
	fault_set(-1, 0);
	assert_null(team);
	team_destroy(&team);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_part_runs_once_a_call),
		cmocka_unit_test(parts_meet),
		cmocka_unit_test(sleepers_are_woken),
		cmocka_unit_test(refusals),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
