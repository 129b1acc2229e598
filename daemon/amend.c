/* amend.c: the command line's process: signals, terminals, the clock. Everything else is cli_run. */
#include "daemon/cli.h"
#include "daemon/openmp.h"

#include "base/process.h"

#include <stdlib.h>
#include <unistd.h>

#define TIMEOUT_MS_DEFAULT 10000
#define WAIT_MS_DEFAULT    (24 * 3600 * INT64_C(1000))

static struct cli cli;

int main(int argc, char **argv)
{
	struct err e = ERR_INIT;
	const char *no_color = getenv("NO_COLOR"); /* the convention of no-color.org */
	openmp_spinning_bound(argv);
	process_keep_secrets();
	process_name_bus_errors();
	if (cli_signals_open(&cli, &e) != 0)
		return cli_fail(&cli, &e);
	cli.env = env_system();
	cli.timeout_ms = TIMEOUT_MS_DEFAULT;
	cli.wait_ms = WAIT_MS_DEFAULT;
	cli.stderr_is_terminal = isatty(2);
	cli.stdout_is_terminal = isatty(1);
	cli.no_color = (no_color != NULL && no_color[0] != '\0') || !cli.stdout_is_terminal;
	return cli_run(&cli, argc, argv);
}
