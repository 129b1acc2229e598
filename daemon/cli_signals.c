#include "daemon/cli.h"

#include <errno.h>
#include <signal.h>

#define STACK_BYTES ((size_t)64 << 10) /* a frame with the tile registers takes some 12 KiB */

static struct cli *told;

/* A second one changes nothing: `amend up` must stop what it has started, and some senders signal twice. */
static void on_signal(int signal_number)
{
	(void)signal_number;
	told->interrupted = 1;
}

int cli_signals_open(struct cli *cli, struct err *e)
{
	static _Alignas(64) uint8_t bytes[STACK_BYTES];
	const stack_t stack = { .ss_sp = bytes, .ss_size = sizeof bytes };
	const struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK };
	told = cli;
	if (sigaltstack(&stack, NULL) != 0 || sigaction(SIGINT, &action, NULL) != 0 ||
	    sigaction(SIGTERM, &action, NULL) != 0)
		return err_errno(e, ERR_EXTERNAL, errno, "signals cannot be taken");
	signal(SIGPIPE, SIG_IGN);
	return 0;
}
