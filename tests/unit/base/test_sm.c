#include "tests/lib/test.h"

#include "base/sm.h"

enum { IDLE, BUSY, DONE };
static const struct sm_state states[] = {
	[IDLE] = { "idle", SM_TO(BUSY) },
	[BUSY] = { "busy", SM_TO(IDLE) | SM_TO(DONE) },
	[DONE] = { "done", 0 },
};
static const struct sm_table table = { "thing", states, 3, IDLE };

static bool never_done(const struct sm *sm, int before)
{
	(void)before;
	return sm->state != DONE;
}

static void moves(void **state)
{
	(void)state;
	struct sm sm;
	sm_init(&sm, &table, NULL);
	assert_int_equal(sm.state, IDLE);
	sm_move(&sm, BUSY);
	sm_move(&sm, IDLE);
	sm_move(&sm, BUSY);
	sm_move(&sm, DONE);
	assert_true(sm_is_final(&table, sm.state));
	assert_false(sm_can_move(&table, DONE, IDLE));
	assert_false(sm_can_move(&table, IDLE, 31));
	assert_false(sm_can_move(&table, -1, IDLE));
	sm_restore(&sm, &table, NULL, BUSY);
	assert_int_equal(sm.state, BUSY);
}

static void names(void **state)
{
	(void)state;
	assert_string_equal(sm_state_name(&table, BUSY), "busy");
	assert_string_equal(sm_state_name(&table, 3), "?");
	assert_int_equal(sm_state_find(&table, "done"), DONE);
	assert_int_equal(sm_state_find(&table, "gone"), -1);
}

static void illegal_move(void *context)
{
	(void)context;
	struct sm sm;
	sm_init(&sm, &table, NULL);
	sm_move(&sm, DONE);
}

static void broken_invariant(void *context)
{
	(void)context;
	struct sm sm;
	sm_restore(&sm, &table, never_done, BUSY);
	sm_move(&sm, DONE);
}

static void unknown_state(void *context)
{
	(void)context;
	struct sm sm;
	sm_restore(&sm, &table, NULL, 3);
}

static void programmer_errors_abort(void **state)
{
	(void)state;
	assert_true(test_aborts(illegal_move, NULL));
	assert_true(test_aborts(broken_invariant, NULL));
	assert_true(test_aborts(unknown_state, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(moves),
		cmocka_unit_test(names),
		cmocka_unit_test(programmer_errors_abort),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
