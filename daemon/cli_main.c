/* cli_main.c: one command line from its words to its exit code. */
#include "daemon/cli.h"

#include "base/log.h"
#include "model/backend.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int text_print(struct buf *text, FILE *out, int status)
{
	fprintf(out, "%s", buf_failed(text) ? "amend: out of memory\n" : buf_cstr(text));
	buf_free(text);
	return status;
}

/* What is wrong, then how it is written. */
static int misuse(const struct cli_args *args, const struct err *e)
{
	struct buf text = BUF_INIT;
	int status = cli_misuse(e);
	if (args->command != NULL) {
		cli_help_usage(args->command, &text);
		buf_printf(&text, "`amend %s%s%s --help` says more\n", args->command->noun,
			   args->command->verb != NULL ? " " : "",
			   args->command->verb != NULL ? args->command->verb : "");
	} else if (args->noun != NULL) {
		cli_help_noun(args->noun, &text);
	} else {
		buf_puts(&text, "usage: amend COMMAND [options]; `amend --help` lists the commands\n");
	}
	return text_print(&text, stderr, status);
}

static int help(const struct cli_args *args)
{
	struct buf text = BUF_INIT;
	if (args->command != NULL)
		cli_help_command(args->command, &text);
	else if (args->noun != NULL)
		cli_help_noun(args->noun, &text);
	else
		cli_help_all(&text);
	return args->help ? text_print(&text, stdout, CLI_OK) : text_print(&text, stderr, CLI_USAGE);
}

static int config_load(struct cli *cli, const struct cli_args *args, bool *loaded, struct err *e)
{
	char path[PATH_MAX];
	const char *file = args->config_file;
	if (file == NULL && cli_config_path(cli->data, path, e) == 0 && access(path, R_OK) == 0)
		file = path;
	*loaded = file != NULL;
	return file != NULL ? conf_load_file(&daemon_config_table, &cli->config, file, e) : 0;
}

static int command_run(struct cli *cli, struct cli_args *args)
{
	struct err e = ERR_INIT;
	char coordinator[256];
	bool loaded = false;
	int rc = conf_init(&daemon_config_table, &cli->config, &e);
	if (rc == 0 && !args->command->offline)
		rc = config_load(cli, args, &loaded, &e);
	if (rc != 0)
		return cli_fail(cli, &e);
	snprintf(coordinator, sizeof coordinator, "%s", cli->config.coordinator);
	if (conf_parse_flags(&daemon_config_table, &cli->config, &args->setting_count, args->settings, &e) != 0)
		return misuse(args, &e);
	cli->node_known = loaded && strcmp(coordinator, cli->config.coordinator) == 0;
	return args->command->run(cli, args);
}

/* A full disk must not look like success; a reader that wanted only the first lines is none of our failures. */
static int output_end(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	if (errno == EPIPE)
		return status;
	fprintf(stderr, "amend: cannot write the output: %s\n", strerror(errno));
	return status == CLI_OK ? CLI_FAILED : status;
}

static int dispatch(struct cli *cli, struct cli_args *args)
{
	if (args->version) {
		printf("amend %s (backends: %s)\n", AMEND_VERSION, model_backend_list());
		return CLI_OK;
	}
	if (args->help || args->command == NULL)
		return help(args);
	return command_run(cli, args);
}

int cli_run(struct cli *cli, int argc, char **argv)
{
	struct err e = ERR_INIT;
	struct cli_args args;
	cli->data = "amend-data";
	int rc = cli_args_parse(cli, argc, argv, &args, &e);
	log_level_set(cli->verbose ? LOG_INFO : LOG_ERROR);
	int status = output_end(rc != 0 ? misuse(&args, &e) : dispatch(cli, &args));
	cli_disconnect(cli);
	conf_fini(&daemon_config_table, &cli->config);
	cli_args_fini(&args);
	return status;
}
