/* amend.c: the command line. Global options may stand anywhere; `noun verb` picks the command. */
#include "daemon/cli.h"

#include "base/log.h"
#include "model/backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const struct {
	const char *name;
	int (*run)(struct cli *cli, int argc, char **argv);
	const char *what;
} commands[] = {
	{ "up", cli_up, "start a whole cluster on this machine" },
	{ "down", cli_down, "stop it" },
	{ "edit", cli_edit, "add | import | list | show | wait: submit facts and follow them" },
	{ "ask", cli_ask, "ask a node, by any version, with the route explained" },
	{ "version", cli_version, "list | show: published versions" },
	{ "merge", cli_merge, "run: merge the shards into one memory" },
	{ "fleet", cli_fleet, "status: who is there and on which version" },
	{ "eval", cli_eval, "run: train and measure edits in this process, or measure a published version" },
	{ "key", cli_key, "new: make a key pair" },
	{ "config", cli_config, "check | view | sample: the configuration file" },
	{ "completion", cli_completion, "bash: a completion script" },
};
#define COMMAND_COUNT (sizeof commands / sizeof commands[0])

#define WAIT_MS_DEFAULT (24 * 3600 * INT64_C(1000))

static struct cli cli;

static void on_signal(int signal_number)
{
	(void)signal_number;
	cli.interrupted = 1;
}

static int usage(FILE *out)
{
	fprintf(out, "usage: amend COMMAND [options]\n\ncommands:\n");
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		fprintf(out, "  %-12s %s\n", commands[i].name, commands[i].what);
	fprintf(out, "\nglobal options:\n"
		     "  --data FOLDER          folder of `amend up` (default: ./amend-data)\n"
		     "  --config FILE          configuration file (default: FOLDER/amend.yaml)\n"
		     "  --coordinator, --server-key, --key-file: a cluster elsewhere\n"
		     "  --timeout SECONDS      longest wait for one answer (default: 10)\n"
		     "  -o, --output FORM      table, wide, json, jsonl, yaml or name\n"
		     "  --no-headers, -q, -v, --no-color, --version, --help\n");
	return out == stdout ? CLI_OK : CLI_USAGE;
}

static int output_parse(const char *text, enum cli_output *out, struct err *e)
{
	static const char *const names[] = { "table", "wide", "json", "jsonl", "yaml", "name" };
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		if (strcmp(text, names[i]) == 0) {
			*out = (enum cli_output)i;
			return 0;
		}
	}
	return err_set(e, ERR_INVALID, "-o %s: may be table, wide, json, jsonl, yaml or name", text);
}

static int timeout_parse(const char *text, int64_t *timeout_ms, struct err *e)
{
	char *end;
	double seconds = strtod(text, &end);
	if (end == text || *end != '\0' || !(seconds > 0 && seconds < 1e6))
		return err_set(e, ERR_INVALID, "--timeout %s: needs a number of seconds above 0", text);
	*timeout_ms = (int64_t)(seconds * 1000);
	cli.wait_ms = *timeout_ms;
	return 0;
}

/* Global options are taken off the line wherever they stand; what is left is the command's. */
static int globals_take(int *argc, char **argv, const char **config_file, struct err *e)
{
	const char *output = NULL, *timeout = NULL, *data = NULL;
	const struct cli_option options[] = {
		{ "output", 'o', true, &output, NULL, NULL },
		{ "timeout", 0, true, &timeout, NULL, NULL },
		{ "data", 0, true, &data, NULL, NULL },
		{ "config", 0, true, config_file, NULL, NULL },
		{ "no-headers", 0, false, NULL, &cli.no_headers, NULL },
		{ "quiet", 'q', false, NULL, &cli.quiet, NULL },
		{ "verbose", 'v', false, NULL, &cli.verbose, NULL },
		{ "no-color", 0, false, NULL, &cli.no_color, NULL },
		{ "yes", 0, false, NULL, &cli.yes, NULL },
	};
	int rc = cli_options_known(options, sizeof options / sizeof options[0], argc, argv, e);
	if (rc == 0 && output != NULL)
		rc = output_parse(output, &cli.output, e);
	if (rc == 0 && timeout != NULL)
		rc = timeout_parse(timeout, &cli.timeout_ms, e);
	if (rc == 0) {
		cli.data = strdup(data != NULL ? data : "amend-data");
		rc = cli.data != NULL ? 0 : err_set(e, ERR_NOMEM, "out of memory");
	}
	return rc;
}

static int config_load(int *argc, char **argv, const char *file, struct err *e)
{
	char path[4096];
	int rc = conf_init(&daemon_config_table, &cli.config, e);
	if (file == NULL && snprintf(path, sizeof path, "%s/amend.yaml", cli.data) < (int)sizeof path &&
	    access(path, R_OK) == 0)
		file = path;
	if (rc == 0 && file != NULL)
		rc = conf_load_file(&daemon_config_table, &cli.config, file, e);
	if (rc == 0)
		rc = conf_parse_flags(&daemon_config_table, &cli.config, argc, argv, e);
	return rc;
}

static int dispatch(int argc, char **argv)
{
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(&cli, argc - 2, argv + 2);
	fprintf(stderr, "amend: unknown command \"%s\"\n", argv[1]);
	return usage(stderr);
}

static void start(void)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct rlimit no_core = { 0, 0 };
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	(void)setrlimit(RLIMIT_CORE, &no_core); /* keys never reach a core dump */
	cli.timeout_ms = 10000;
	cli.wait_ms = WAIT_MS_DEFAULT;
	cli.stderr_is_terminal = isatty(2);
	cli.stdout_is_terminal = isatty(1);
	cli.no_color = getenv("NO_COLOR") != NULL || !cli.stdout_is_terminal; /* the convention of no-color.org */
}

int main(int argc, char **argv)
{
	struct err e = ERR_INIT;
	const char *config_file = NULL;
	start();
	if (argc >= 2 && strcmp(argv[1], "--version") == 0) {
		printf("amend %s (backends: %s)\n", AMEND_VERSION, model_backend_list());
		return CLI_OK;
	}
	if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0))
		return usage(stdout);
	int rc = globals_take(&argc, argv, &config_file, &e);
	bool needs_config = argc >= 2 && strcmp(argv[1], "config") != 0 && strcmp(argv[1], "completion") != 0;
	if (rc == 0)
		rc = needs_config ? config_load(&argc, argv, config_file, &e)
				  : conf_init(&daemon_config_table, &cli.config, &e);
	log_level_set(cli.verbose ? LOG_INFO : LOG_ERROR);
	int status = rc != 0 ? cli_fail(&cli, &e) : argc < 2 ? usage(stderr) : dispatch(argc, argv);
	cli_disconnect(&cli);
	conf_fini(&daemon_config_table, &cli.config);
	free(cli.data);
	return status;
}
