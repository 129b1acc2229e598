#include "base/eventcount.h"

#include "tests/lib/test.h"

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define TURNS 200

struct table { /* in memory of two processes */
	struct eventcount ours, theirs;
	int turn;
};

/* Takes turns: what one has written before it moves a count on, the other sees. */
static void play(struct table *t, bool first, unsigned spin_rounds)
{
	for (unsigned i = 0; i < TURNS; i++) {
		if (!first)
			eventcount_wait(&t->ours, i, spin_rounds);
		t->turn++;
		eventcount_advance(first ? &t->ours : &t->theirs);
		if (first)
			eventcount_wait(&t->theirs, i, spin_rounds);
	}
}

static void processes_wait_for_one_another(void **state)
{
	static const unsigned spins[] = { 0, 1000 };
	(void)state;
	for (size_t s = 0; s < 2; s++) {
		struct table *t = mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		assert_true(t != MAP_FAILED);
		t->ours.shared = t->theirs.shared = true;
		const pid_t child = fork();
		assert_true(child >= 0);
		if (child == 0) {
			play(t, false, spins[s]);
			_exit(0);
		}
		play(t, true, spins[s]);
		int status = -1;
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(status, 0);
		assert_int_equal(t->turn, 2 * TURNS);
		munmap(t, sizeof(*t));
	}
}

/* It has moved on before anybody came. */
static void a_count_that_has_moved_on_lets_through(void **state)
{
	struct eventcount events = { .shared = false };
	(void)state;
	eventcount_advance(&events);
	eventcount_wait(&events, 0, 0);
	assert_int_equal(events.count, 1);
	assert_int_equal(events.sleepers, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(processes_wait_for_one_another),
		cmocka_unit_test(a_count_that_has_moved_on_lets_through),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
