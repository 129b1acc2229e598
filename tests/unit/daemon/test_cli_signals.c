/* An interruption may find the stack pointer in memory that is no stack, and must not write there. */
#include "daemon/cli.h"
#include "tests/lib/test.h"

#include <signal.h>
#include <ucontext.h>

#define STACK_BYTES ((size_t)256 << 10)
#define UNTOUCHED   0x5a

static struct cli cli;
static ucontext_t here, there;

static void one_is_sent(void)
{
	raise(SIGTERM);
}

/* How many bytes of a fresh stack one_is_sent() writes. */
static size_t written(void)
{
	uint8_t *stack = malloc(STACK_BYTES);
	size_t untouched = 0;
	assert_non_null(stack);
	memset(stack, UNTOUCHED, STACK_BYTES);
	assert_int_equal(getcontext(&there), 0);
	there.uc_stack.ss_sp = stack;
	there.uc_stack.ss_size = STACK_BYTES;
	there.uc_link = &here;
	makecontext(&there, one_is_sent, 0);
	assert_int_equal(swapcontext(&here, &there), 0);
	while (untouched < STACK_BYTES && stack[untouched] == UNTOUCHED)
		untouched++;
	free(stack);
	return STACK_BYTES - untouched;
}

static void an_interruption_leaves_the_interrupted_stack(void **state)
{
	struct err e = ERR_INIT;
	size_t ignored;
	(void)state;
	signal(SIGTERM, SIG_IGN);
	(void)written(); /* the dynamic linker's part */
	ignored = written();
	assert_ok(&e, cli_signals_open(&cli, &e));
	assert_int_equal(cli.interrupted, 0);
	assert_int_equal(written(), ignored);
	assert_int_equal(cli.interrupted, 1);
	raise(SIGINT);
	raise(SIGPIPE);
	assert_int_equal(cli.interrupted, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(an_interruption_leaves_the_interrupted_stack) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
