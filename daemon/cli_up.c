/* cli_up.c: `amend up` and `amend down`: a whole cluster on this machine, with generated keys and a data folder. */
#include "daemon/cli_folder.h"
#include "daemon/cli_up_internal.h"
#include "daemon/roles.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

/* --- addresses */

static int ports_choose(struct cli_cluster *c, struct err *e)
{
	const struct daemon_config *config = &c->cli->config;
	const struct env *env = c->cli->env;
	int rc = cli_port_resolve(&c->ports, env, "tcp://", config->coordinator, "coordinator.endpoint", c->endpoint,
				  sizeof c->endpoint, e);
	if (rc == 0)
		rc = cli_port_resolve(&c->ports, env, "tcp://", config->hints, "coordinator.hints", c->hints,
				      sizeof c->hints, e);
	if (rc == 0)
		rc = cli_port_resolve(&c->ports, env, "", config->http_listen, "node.listen", c->http, sizeof c->http,
				      e);
	return rc;
}

/* What runs of a cluster knows the others by the addresses that it was started with. */
static int addresses_keep(struct cli_cluster *c, struct err *e)
{
	struct daemon_config kept = { 0 };
	char path[PATH_MAX];
	int rc = conf_init(&daemon_config_table, &kept, e);
	if (rc == 0)
		rc = cli_config_path(c->cli->data, path, e);
	if (rc == 0)
		rc = conf_load_file(&daemon_config_table, &kept, path, e);
	if (rc == 0) {
		snprintf(c->endpoint, sizeof c->endpoint, "%s", kept.coordinator);
		snprintf(c->hints, sizeof c->hints, "%s", kept.hints);
		snprintf(c->http, sizeof c->http, "%s", kept.http_listen);
	}
	conf_fini(&daemon_config_table, &kept);
	if (rc != 0)
		err_wrap(e, "a part of a cluster runs in %s; `amend down --data %s` stops it", c->cli->data,
			 c->cli->data);
	return rc;
}

static bool whole(const struct cli_cluster *c)
{
	bool all = cli_up__runs(c, "coordinator") && cli_up__runs(c, "node-0");
	for (uint64_t i = 0; i < c->workers; i++) {
		char name[32];
		snprintf(name, sizeof name, "worker-%llu", (unsigned long long)i);
		all = all && cli_up__runs(c, name);
	}
	return all;
}

/* They hold their place, and do nothing. */
static void suspended_warn(const struct cli_cluster *c)
{
	for (size_t i = 0; i < c->running_count; i++) {
		const struct cli_process *p = &c->processes[i];
		if (cli_process_suspended(p))
			fprintf(stderr,
				"amend: warning: %s (pid %d) is suspended and does nothing: `kill -CONT %d` lets it go "
				"on\n",
				p->name, (int)p->pid, (int)p->pid);
	}
}

static int running_take(struct cli_cluster *c, struct err *e)
{
	bool interrupted = cli_start_unfinished(c->cli->data);
	int rc = cli_process_list(c->cli->data, c->processes, CLI_PROCESSES_MAX, &c->running_count, e);
	c->process_count = c->running_count;
	suspended_warn(c);
	if (rc == 0 && whole(c) && !interrupted)
		rc = err_set(e, ERR_BUSY,
			     "a cluster runs in %s already (%s, pid %d); stop it with `amend down --data %s`, or "
			     "choose another folder",
			     c->cli->data, c->processes[0].name, (int)c->processes[0].pid, c->cli->data);
	if (rc != 0 || c->running_count == 0)
		return rc;
	if (!c->cli->quiet)
		fprintf(stderr, "%s in %s runs already (%zu program%s): the rest is started\n",
			interrupted ? "a part of the cluster of an interrupted `amend up`" : "a part of the cluster",
			c->cli->data, c->running_count, cli_plural(c->running_count));
	return addresses_keep(c, e);
}

/* What is accepted with less than this free is nothing. */
static void space_warn(const struct cli_cluster *c)
{
	struct statvfs st;
	uint64_t reserve = (uint64_t)c->cli->config.space_reserve_bytes;
	if (statvfs(c->folder, &st) != 0 || (uint64_t)st.f_bavail * st.f_frsize >= reserve)
		return;
	fprintf(stderr,
		"amend: warning: %s has %llu MiB free, less than store.reserve_bytes (%llu MiB): every edit will be "
		"refused until there is more\n",
		c->folder, (unsigned long long)((uint64_t)st.f_bavail * st.f_frsize >> 20),
		(unsigned long long)(reserve >> 20));
}

static const char *listens(const struct cli_cluster *c, const char *name)
{
	return strcmp(name, "coordinator") == 0 ? c->endpoint : strncmp(name, "node", 4) == 0 ? c->http : "-";
}

static int cluster_emit(struct cli_cluster *c)
{
	struct buf text = BUF_INIT;
	struct json_w w;
	json_w_init(&w, &text);
	json_w_open(&w, '{');
	json_w_member_str(&w, "folder", c->folder);
	json_w_member_str(&w, "model", c->model);
	json_w_key(&w, "programs");
	json_w_open(&w, '[');
	for (size_t i = 0; i < c->process_count; i++) {
		json_w_open(&w, '{');
		json_w_member_str(&w, "name", c->processes[i].name);
		json_w_member_int(&w, "pid", c->processes[i].pid);
		json_w_member_str(&w, "listens", listens(c, c->processes[i].name));
		json_w_close(&w);
	}
	json_w_close(&w);
	json_w_close(&w);
	return cli_emit(c->cli, &text);
}

static int cluster_print(struct cli_cluster *c)
{
	struct cli_table *table;
	static const char *const headers[] = { "NAME", "PID", "LISTENS", "LOG" };
	if (cli_is_structured(c->cli))
		return cluster_emit(c);
	if (cli_table_new(headers, 4, &table) != 0)
		return cli_out_of_memory(c->cli);
	for (size_t i = 0; i < c->process_count; i++) {
		const char *name = c->processes[i].name;
		cli_table_cell(table, "%s", name);
		cli_table_cell(table, "%d", (int)c->processes[i].pid);
		cli_table_cell(table, "%s", listens(c, name));
		cli_table_cell(table, "log/%s.log", name);
	}
	printf("cluster in %s, model %s\n", c->folder, strrchr(c->model, '/') + 1);
	return cli_table_print(c->cli, &table);
}

static int cluster_prepare(struct cli_cluster *c, struct err *e)
{
	char folder[PATH_MAX];
	int rc = cli_up__files_find(c, e);
	if (rc == 0)
		rc = daemon_program_folder(folder, sizeof folder, e);
	if (rc == 0 && c->running_count == 0)
		rc = ports_choose(c, e);
	if (rc == 0)
		rc = cli_folder_make(c->folder, e);
	if (rc != 0)
		return rc;
	space_warn(c);
	snprintf(c->amendd, sizeof c->amendd, "%s/amendd", folder);
	rc = cli_up__keys_ensure(c, e);
	return rc == 0 ? cli_up__config_stage(c, e) : rc;
}

static int cluster_start(struct cli_cluster *c, struct err *e)
{
	int rc = cli_up__start(c, e);
	if (rc == 0)
		rc = cli_up__config_keep(c, e);
	if (rc != 0) {
		cli_up__stop(c, c->running_count);
		cli_up__config_drop(c);
	}
	return rc;
}

static int cluster_up(struct cli_cluster *c, struct err *e)
{
	int rc = cli_up__folder_open(c, e);
	if (rc == 0)
		rc = running_take(c, e);
	if (rc == 0 && c->running_count == 0)
		rc = cli_folder_check(c->folder, e);
	if (rc == 0)
		rc = cluster_prepare(c, e);
	if (rc == 0)
		rc = cluster_start(c, e);
	cli_up__folder_close(c);
	return rc;
}

static struct cli_cluster *cluster_new(struct cli *cli)
{
	struct cli_cluster *c = calloc(1, sizeof *c);
	if (c == NULL)
		return NULL;
	c->cli = cli;
	c->folder_fd = -1;
	c->workers = (uint64_t)cli->config.workers;
	snprintf(c->folder, sizeof c->folder, "%s", cli->data);
	return c;
}

int cli_up(struct cli *cli, const struct cli_args *args)
{
	struct err e = ERR_INIT;
	(void)args;
	if (cli->config.model[0] == '\0') {
		err_set(&e, ERR_INVALID, CLI_NEEDS_MODEL);
		return cli_misuse(&e);
	}
	struct cli_cluster *c = cluster_new(cli);
	if (c == NULL)
		return cli_out_of_memory(cli);
	int status = cluster_up(c, &e) == 0 ? cluster_print(c) : cli_fail(cli, &e);
	free(c);
	return status;
}

int cli_down(struct cli *cli, const struct cli_args *args)
{
	struct cli_cluster *c = cluster_new(cli);
	struct err e = ERR_INIT;
	(void)args;
	if (c == NULL)
		return cli_out_of_memory(cli);
	int rc = cli_process_list(cli->data, c->processes, CLI_PROCESSES_MAX, &c->process_count, &e);
	if (rc == 0 && c->process_count == 0)
		rc = err_set(&e, ERR_NOT_FOUND, "no cluster runs in %s; name another folder with --data", cli->data);
	if (rc == 0)
		cli_up__stop(c, 0);
	if (rc == 0 && !cli->quiet)
		fprintf(stderr, "stopped %zu program%s; `amend up` in %s goes on where they ended\n", c->process_count,
			cli_plural(c->process_count), cli->data);
	free(c);
	return rc == 0 ? CLI_OK : cli_fail(cli, &e);
}
