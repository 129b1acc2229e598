/* amendd.c: the one server program: `amendd coordinator|worker|node [flags]`. */
#include "daemon/cli.h"
#include "daemon/openmp.h"
#include "daemon/roles.h"

#include "base/fault.h"
#include "base/log.h"
#include "base/process.h"
#include "model/backend.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* An idle coordinator has some 35 open; each peer is one more (peers.max). */
#define OPEN_FILES_LEAST 64
#define OPEN_FILES_MOST  20480

enum exit_code { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

static const struct {
	const char *name;
	unsigned role;
	int (*run)(const struct daemon_config *config, struct err *e);
	const char *what;
} roles[] = {
	{ "coordinator", DAEMON_COORDINATOR, daemon_coordinator_run,
	  "accepts edits, owns the ledger, places, merges, publishes" },
	{ "worker", DAEMON_WORKER, daemon_worker_run, "trains the shards it holds leases for" },
	{ "node", DAEMON_NODE, daemon_node_run, "pulls versions and answers over HTTP" },
};

static int usage(FILE *out)
{
	fprintf(out, "usage: amendd ROLE [--config FILE] [--flag value]...\n\nroles:\n");
	for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++)
		fprintf(out, "  %-12s %s\n", roles[i].name, roles[i].what);
	fprintf(out, "\n`amendd ROLE --help` lists a role's settings, `amendd ROLE --sample` prints a configuration "
		     "file.\n");
	return out == stdout ? EXIT_OK : EXIT_USAGE;
}

static int fail(const char *role, const struct err *e)
{
	cli_line(stderr, "amendd %s: %s", role, e->text);
	log_event(LOG_ERROR, "PROCESS-FAILED", LOGF_S("code", err_name(e->code)), LOGF_S("reason", e->text));
	return EXIT_FAILED;
}

/* Takes --config FILE off the line: the file comes first, flags override it wherever they stand. */
static int config_load(struct daemon_config *config, int *argc, char **argv, struct err *e)
{
	int kept = 1, rc = 0;
	for (int i = 1; rc == 0 && i < *argc; i++) {
		if (strncmp(argv[i], "--config=", 9) == 0)
			rc = conf_load_file(&daemon_config_table, config, argv[i] + 9, e);
		else if (strcmp(argv[i], "--config") == 0 && i + 1 < *argc)
			rc = conf_load_file(&daemon_config_table, config, argv[++i], e);
		else
			argv[kept++] = argv[i];
	}
	*argc = kept;
	if (rc != 0)
		return rc;
	rc = conf_parse_flags(&daemon_config_table, config, argc, argv, e);
	if (rc == 0 && *argc > 1)
		rc = err_set(e, ERR_INVALID, "unknown argument \"%s\"; `amendd ROLE --help` lists the settings",
			     argv[1]);
	return rc;
}

static int log_start(const struct daemon_config *config, const char *role, struct err *e)
{
	enum log_level level;
	if (log_level_parse(config->log_level, &level) != 0)
		return err_set(e, ERR_INVALID, "log.level: \"%s\" is none of debug, info, warn, error, off",
			       config->log_level);
	char context[128];
	snprintf(context, sizeof context, "role=%s name=%s", role, config->name);
	log_level_set(level);
	log_context_set(context);
	return 0;
}

static int name_default(struct daemon_config *config, const char *role, struct err *e)
{
	if (config->name[0] != '\0')
		return 0;
	char name[64];
	snprintf(name, sizeof name, "%s-%d", role, (int)getpid());
	return conf_set(&daemon_config_table, config, "name", name, e);
}

static int role_run(size_t index, int argc, char **argv)
{
	const char *role = roles[index].name;
	struct daemon_config config = { 0 };
	struct err e = ERR_INIT;
	int rc = conf_init(&daemon_config_table, &config, &e);
	if (rc == 0)
		rc = config_load(&config, &argc, argv, &e);
	if (rc == 0)
		rc = name_default(&config, role, &e);
	if (rc == 0)
		rc = log_start(&config, role, &e);
	bool started = rc == 0;
	if (rc == 0)
		rc = process_open_files(OPEN_FILES_LEAST, OPEN_FILES_MOST, &e);
	if (rc == 0)
		rc = fault_init_from_env(&e);
	if (rc == 0)
		rc = roles[index].run(&config, &e);
	int status = rc == 0 ? EXIT_OK : fail(role, &e);
	if (!started)
		status = EXIT_USAGE;
	conf_fini(&daemon_config_table, &config);
	return status;
}

static int text_print(size_t index, void (*make)(const struct conf_table *, unsigned, struct buf *))
{
	struct buf text = BUF_INIT;
	make(&daemon_config_table, roles[index].role, &text);
	printf("%s", buf_cstr(&text));
	buf_free(&text);
	return 0;
}

int main(int argc, char **argv)
{
	openmp_spinning_bound(argv);
	process_keep_secrets();
	process_name_bus_errors();
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a file-size limit shows as a full disk instead */
	if (argc >= 2 && strcmp(argv[1], "--version") == 0) {
		printf("amendd %s (backends: %s)\n", AMEND_VERSION, model_backend_list());
		return 0;
	}
	if (argc < 2 || strcmp(argv[1], "--help") == 0)
		return usage(argc < 2 ? stderr : stdout);
	for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
		if (strcmp(argv[1], roles[i].name) != 0)
			continue;
		if (argc == 3 && strcmp(argv[2], "--help") == 0)
			return text_print(i, conf_help);
		if (argc == 3 && strcmp(argv[2], "--sample") == 0)
			return text_print(i, conf_sample);
		return role_run(i, argc - 1, argv + 1);
	}
	cli_line(stderr, "amendd: unknown role \"%s\"", argv[1]);
	return usage(stderr);
}
