/* cli_up.c: `amend up` and `amend down`: a whole cluster on this machine, with generated keys and a data folder. */
#include "daemon/cli.h"
#include "daemon/cli_folder.h"
#include "daemon/cli_port.h"
#include "daemon/cli_process.h"
#include "daemon/roles.h"
#include "daemon/wise_settings.h"
#include "editor/calibration_file.h"
#include "model/gguf.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define ARGS_MAX 40
#define START_MS (180 * INT64_C(1000)) /* the first start calibrates on the shipped corpus */
#define STOP_MS  (30 * INT64_C(1000))

struct cluster {
	struct cli *cli;
	char folder[PATH_MAX]; /* absolute */
	char model[PATH_MAX];  /* absolute, as what follows, where "" is none */
	char calibration[PATH_MAX], corpus[PATH_MAX], merge_program[PATH_MAX];
	char amendd[PATH_MAX + 16], config[PATH_MAX + 32];
	char endpoint[128], hints[128], http[128];
	struct cli_ports ports;
	char server_key[65];
	uint64_t workers;
	struct cli_process processes[CLI_PROCESSES_MAX];
	size_t process_count;
	size_t running_count; /* the first of them ran before this start */
};

/* --- addresses */

static int ports_choose(struct cluster *c, struct err *e)
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

/* --- keys */

/* Loads the pair of `name`, or makes it, and allows it: a start that ended between the two is made good. */
static int key_ensure(struct cluster *c, const char *name, unsigned roles, struct proto_keypair *pair, struct err *e)
{
	char path[PATH_MAX + 80], allow[PATH_MAX + 80];
	snprintf(path, sizeof path, "%s/keys/%s.key", c->folder, name);
	snprintf(allow, sizeof allow, "%s/keys/allow", c->folder);
	bool known = access(path, F_OK) == 0;
	int rc = known ? proto_keypair_load(path, pair, e) : proto_keypair_new(pair, e);
	if (rc == 0 && !known)
		rc = proto_keypair_save(pair, path, e);
	struct err already = ERR_INIT;
	int allowed = rc == 0 ? proto_allow_add(allow, pair->public_key, roles, name, &already) : 0;
	return allowed == 0 || allowed == ERR_EXISTS ? rc : err_set(e, allowed, "%s", already.text);
}

static int keys_ensure(struct cluster *c, struct err *e)
{
	struct proto_keypair pair;
	char name[32];
	int rc = key_ensure(c, "coordinator", PROTO_ROLE_ADMIN, &pair, e);
	proto_key_hex(pair.public_key, c->server_key);
	for (uint64_t i = 0; rc == 0 && i < c->workers; i++) {
		snprintf(name, sizeof name, "worker-%llu", (unsigned long long)i);
		rc = key_ensure(c, name, PROTO_ROLE_WORKER, &pair, e);
	}
	if (rc == 0)
		rc = key_ensure(c, "node-0", PROTO_ROLE_READER, &pair, e);
	if (rc == 0)
		rc = key_ensure(c, "cli",
				PROTO_ROLE_SUBMITTER | PROTO_ROLE_READER | PROTO_ROLE_AUDITOR | PROTO_ROLE_ADMIN, &pair,
				e);
	proto_keypair_wipe(&pair);
	if (rc != 0)
		err_wrap(e, "keys in %s/keys", c->folder);
	return rc;
}

/* --- the folder */

/* Every data folder remembers its model by name only; the ledger holds the digest, and refuses another one. */
static int folder_make(struct cluster *c, struct err *e)
{
	int rc = cli_folder_make(c->folder, e);
	if (rc != 0)
		return rc;
	if (realpath(c->cli->data, c->folder) == NULL)
		return err_errno(e, ERR_IO, errno, "data folder %s", c->cli->data);
	return 0;
}

static int settings_keep(struct cluster *c, struct err *e)
{
	char path[PATH_MAX + 32];
	snprintf(path, sizeof path, "%s/keys/cli.key", c->folder);
	const struct {
		const char *name, *value;
	} settings[] = { { "key.file", path },
			 { "key.server", c->server_key },
			 { "coordinator.endpoint", c->endpoint },
			 { "coordinator.hints", c->hints },
			 { "node.listen", c->http },
			 { "calibration.file", c->calibration },
			 { "worker.corpus", c->corpus },
			 { "merge.program", c->merge_program },
			 { "model.file", c->model } };
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < sizeof settings / sizeof settings[0]; i++)
		rc = conf_set(&daemon_config_table, &c->cli->config, settings[i].name, settings[i].value, e);
	return rc;
}

static int config_write(struct cluster *c, const char *path, struct err *e)
{
	struct buf text = BUF_INIT;
	buf_puts(&text,
		 "# Written by `amend up`; its programs and every amend command that is given this folder read it.\n");
	conf_view(&daemon_config_table, &c->cli->config, DAEMON_ALL | DAEMON_CLI | DAEMON_UP, &text);
	int rc = buf_failed(&text) ? err_set(e, ERR_NOMEM, "out of memory")
				   : file_write_atomic(path, text.data, text.len, 0600, e);
	buf_free(&text);
	return rc;
}

/* What the programs of this start read. amend.yaml, which the next start and every command read, is written only when
 * all of them are there: a start that fails leaves none of its settings behind. */
static int config_stage(struct cluster *c, struct err *e)
{
	int rc = settings_keep(c, e);
	snprintf(c->config, sizeof c->config, "%s/run/amend.yaml", c->folder);
	return rc == 0 ? config_write(c, c->config, e) : rc;
}

static int config_keep(struct cluster *c, struct err *e)
{
	char path[PATH_MAX + 32];
	snprintf(path, sizeof path, "%s/amend.yaml", c->folder);
	return config_write(c, path, e);
}

/* --- processes */

struct args {
	char *list[ARGS_MAX];
	size_t count;
	bool failed;
};

static void arg(struct args *args, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void arg(struct args *args, const char *format, ...)
{
	va_list list;
	char *text = NULL;
	va_start(list, format);
	int len = vasprintf(&text, format, list);
	va_end(list);
	if (len < 0 || args->count + 1 >= ARGS_MAX) {
		args->failed = true;
		return;
	}
	args->list[args->count++] = text;
	args->list[args->count] = NULL;
}

static bool runs(const struct cluster *c, const char *name)
{
	for (size_t i = 0; i < c->running_count; i++)
		if (strcmp(c->processes[i].name, name) == 0)
			return true;
	return false;
}

static int process_add(struct cluster *c, const char *role, const char *name, struct args *extra, struct err *e)
{
	struct args args = { 0 };
	char log_path[PATH_MAX + 80];
	snprintf(log_path, sizeof log_path, "%s/log/%s.log", c->folder, name);
	arg(&args, "%s", c->amendd);
	arg(&args, "%s", role);
	arg(&args, "--config=%s", c->config);
	arg(&args, "--name=%s", name);
	arg(&args, "--data=%s/%s", c->folder, name);
	arg(&args, "--key-file=%s/keys/%s.key", c->folder, name);
	for (size_t i = 0; i < extra->count; i++)
		arg(&args, "%s", extra->list[i]);
	int rc = runs(c, name) ? 0
		 : args.failed || extra->failed
			 ? err_set(e, ERR_NOMEM, "too many settings for %s", name)
			 : cli_process_start(c->folder, name, args.list, log_path, &c->processes[c->process_count], e);
	c->process_count += rc == 0 && !runs(c, name);
	for (size_t i = 0; i < args.count; i++)
		free(args.list[i]);
	for (size_t i = 0; i < extra->count; i++)
		free(extra->list[i]);
	return rc;
}

static int coordinator_add(struct cluster *c, struct err *e)
{
	struct args args = { 0 };
	arg(&args, "--allow-file=%s/keys/allow", c->folder);
	return process_add(c, "coordinator", "coordinator", &args, e);
}

static int workers_add(struct cluster *c, struct err *e)
{
	int64_t cores = sysconf(_SC_NPROCESSORS_ONLN), threads = c->cli->config.threads;
	int rc = 0;
	if (threads == 0) /* the cores are shared out evenly: training never needs more threads than there are cores */
		threads = cores > (int64_t)c->workers ? cores / (int64_t)c->workers : 1;
	for (uint64_t i = 0; rc == 0 && i < c->workers; i++) {
		struct args args = { 0 };
		char name[32];
		snprintf(name, sizeof name, "worker-%llu", (unsigned long long)i);
		arg(&args, "--threads=%lld", (long long)threads);
		rc = process_add(c, "worker", name, &args, e);
	}
	return rc;
}

static int node_add(struct cluster *c, struct err *e)
{
	struct args args = { 0 };
	return process_add(c, "node", "node-0", &args, e);
}

static int processes_check(struct cluster *c, struct err *e)
{
	for (size_t i = 0; i < c->process_count; i++) {
		char log_path[PATH_MAX + 80], words[ERR_TEXT_BYTES_MAX];
		if (cli_process_alive(&c->processes[i]))
			continue;
		snprintf(log_path, sizeof log_path, "%s/log/%s.log", c->folder, c->processes[i].name);
		cli_process_last_words(log_path, words, sizeof words);
		return err_set(e, ERR_EXTERNAL, "%s ended: %s", c->processes[i].name, words);
	}
	return c->cli->interrupted ? err_set(e, ERR_INTERRUPTED, "interrupted: what had started is stopped again") : 0;
}

/* Those from `first` on. */
static void processes_stop(struct cluster *c, size_t first)
{
	for (size_t i = first; i < c->process_count; i++)
		cli_process_signal(&c->processes[i], SIGTERM);
	int64_t deadline = env_monotonic_ms(c->cli->env) + STOP_MS;
	for (size_t i = first; i < c->process_count;) {
		if (!cli_process_alive(&c->processes[i])) {
			cli_process_forget(c->folder, &c->processes[i++]);
			continue;
		}
		if (env_monotonic_ms(c->cli->env) > deadline)
			cli_process_signal(&c->processes[i], SIGKILL);
		usleep(20000);
	}
}

/* --- waiting until everyone is there */

/* A member that died a moment ago still stands in the coordinator's table. */
static bool ours(const struct cluster *c, uint32_t pid)
{
	for (size_t i = 0; i < c->process_count; i++)
		if ((uint32_t)c->processes[i].pid == pid)
			return true;
	return false;
}

static int fleet_ask(struct cluster *c, size_t *workers, size_t *nodes, struct err *e)
{
	struct msg request = { .type = MSG_FLEET };
	struct msg_received *reply = NULL;
	c->cli->client.timeout_ms = 1000;
	int rc = cli_call(c->cli, &request, &reply, e);
	*workers = *nodes = 0;
	for (size_t i = 0; rc == 0 && i < reply->msg.u.fleet_reply.member_count; i++) {
		const struct msg_fleet_member *member = &reply->msg.u.fleet_reply.members[i];
		*workers += member->kind == MSG_PEER_WORKER && ours(c, member->pid);
		bool answers = member->version > 0 || reply->msg.u.fleet_reply.version == 0;
		*nodes += member->kind == MSG_PEER_NODE && ours(c, member->pid) && answers;
	}
	msg_free(&reply);
	return rc;
}

/* What the start waits for. */
static void awaited_say(size_t workers, size_t nodes, char *out, size_t out_bytes)
{
	char some[48] = "";
	if (workers > 0)
		snprintf(some, sizeof some, "%zu worker%s%s", workers, cli_plural(workers), nodes > 0 ? " and " : "");
	snprintf(out, out_bytes, "%s%s to load the model", some, nodes > 0 ? "the node" : "");
}

static int fleet_wait(struct cluster *c, size_t workers, size_t nodes, struct err *e)
{
	int64_t deadline = env_monotonic_ms(c->cli->env) + START_MS;
	size_t have_workers = 0, have_nodes = 0;
	struct cli_progress progress;
	char awaited[96];
	cli_progress_begin(c->cli, &progress, "start", "programs", workers + nodes);
	progress.awaited = awaited;
	for (;;) {
		struct err silent = ERR_INIT;
		int rc = processes_check(c, e);
		if (rc != 0) {
			cli_progress_break(c->cli, &progress);
			return rc;
		}
		rc = fleet_ask(c, &have_workers, &have_nodes, &silent);
		if (rc == 0 && have_workers >= workers && have_nodes >= nodes) {
			cli_progress_break(c->cli, &progress);
			return 0;
		}
		awaited_say(workers - (have_workers < workers ? have_workers : workers),
			    nodes - (have_nodes < nodes ? have_nodes : nodes), awaited, sizeof awaited);
		if (workers > 0)
			cli_progress_set(c->cli, &progress, have_workers + have_nodes);
		if (env_monotonic_ms(c->cli->env) > deadline)
			return err_set(e, ERR_TIMEOUT,
				       "after %lld s: %zu of %zu workers and %zu of %zu nodes have joined; see %s/log",
				       (long long)(START_MS / 1000), have_workers, workers, have_nodes, nodes,
				       c->folder);
		cli_pause(c->cli, 50);
	}
}

static int cluster_start(struct cluster *c, struct err *e)
{
	int rc = coordinator_add(c, e);
	if (rc == 0)
		rc = cli_connect(c->cli, e);
	if (rc == 0)
		rc = fleet_wait(c, 0, 0, e); /* the coordinator answers: its ports and its ledger are fine */
	if (rc == 0)
		rc = workers_add(c, e);
	if (rc == 0)
		rc = node_add(c, e);
	if (rc == 0)
		rc = fleet_wait(c, c->workers, 1, e);
	return rc == 0 ? config_keep(c, e) : rc;
}

/* What runs of a cluster knows the others by the addresses that it was started with. */
static int addresses_keep(struct cluster *c, struct err *e)
{
	struct daemon_config kept = { 0 };
	char path[PATH_MAX];
	if (snprintf(path, sizeof path, "%s/amend.yaml", c->cli->data) >= (int)sizeof path)
		return err_set(e, ERR_LIMIT, "%s: the path is too long", c->cli->data);
	int rc = conf_init(&daemon_config_table, &kept, e);
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

static int running_take(struct cluster *c, struct err *e)
{
	bool whole;
	int rc = cli_process_list(c->cli->data, c->processes, CLI_PROCESSES_MAX, &c->running_count, e);
	c->process_count = c->running_count;
	whole = runs(c, "coordinator") && runs(c, "node-0");
	for (uint64_t i = 0; i < c->workers; i++) {
		char name[32];
		snprintf(name, sizeof name, "worker-%llu", (unsigned long long)i);
		whole = whole && runs(c, name);
	}
	if (rc == 0 && whole)
		rc = err_set(e, ERR_BUSY,
			     "a cluster runs in %s already (%s, pid %d); stop it with `amend down --data %s`, or "
			     "choose another folder",
			     c->cli->data, c->processes[0].name, (int)c->processes[0].pid, c->cli->data);
	if (rc != 0 || c->running_count == 0)
		return rc;
	if (!c->cli->quiet)
		fprintf(stderr, "a part of the cluster in %s runs already (%zu program%s): the rest is started\n",
			c->cli->data, c->running_count, cli_plural(c->running_count));
	return addresses_keep(c, e);
}

/* What is accepted with less than this free is nothing. */
static void space_warn(const struct cluster *c)
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

static const char *listens(const struct cluster *c, const char *name)
{
	return strcmp(name, "coordinator") == 0 ? c->endpoint : strncmp(name, "node", 4) == 0 ? c->http : "-";
}

static int cluster_emit(struct cluster *c)
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

static int cluster_print(struct cluster *c)
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

/* The next start may be made from another folder. */
static int absolute(const char *what, const char *path, char out[PATH_MAX], struct err *e)
{
	if (path[0] == '\0' || realpath(path, out) != NULL)
		return 0;
	int rc = err_open(e, errno, "%s %s", what, path);
	return rc == ERR_NOT_FOUND ? cli_add_step(e, "check the path") : rc;
}

static int model_find(struct cluster *c, struct err *e)
{
	const char *file = c->cli->config.model;
	struct model_gguf *gguf = NULL;
	int rc = model_gguf_open(file, &gguf, e); /* its header is right: a wrong file leaves no folder behind */
	model_gguf_close(&gguf);
	return rc == 0 ? absolute("model", file, c->model, e) : rc;
}

/* A file that cannot be used leaves no folder behind either. */
static int calibration_find(struct cluster *c, struct err *e)
{
	const char *path = c->cli->config.calibration;
	struct editor_calibration_file file;
	if (path[0] == '\0')
		return 0;
	int rc = editor_calibration_file_read(path, NULL, &file, e);
	if (rc != 0)
		return rc;
	rc = editor_calibration_file_check(&file, path, daemon_family(&c->cli->config), NULL, e);
	editor_calibration_file_fini(&file);
	return rc == 0 ? absolute("calibration file", path, c->calibration, e) : rc;
}

/* A program named without a folder is looked for in PATH. */
static int files_find(struct cluster *c, struct err *e)
{
	const char *program = c->cli->config.merge_program;
	int rc = model_find(c, e);
	if (rc == 0)
		rc = calibration_find(c, e);
	if (rc == 0)
		rc = absolute("calibration corpus", c->cli->config.corpus, c->corpus, e);
	if (rc == 0 && strchr(program, '/') != NULL)
		return absolute("merge program", program, c->merge_program, e);
	snprintf(c->merge_program, sizeof c->merge_program, "%s", program);
	return rc;
}

static int cluster_up(struct cluster *c, struct err *e)
{
	char folder[PATH_MAX];
	int rc = running_take(c, e);
	if (rc == 0)
		rc = cli_folder_check(c->cli->data, e);
	if (rc == 0)
		rc = files_find(c, e);
	if (rc == 0)
		rc = daemon_program_folder(folder, sizeof folder, e);
	if (rc == 0 && c->running_count == 0)
		rc = ports_choose(c, e);
	if (rc == 0)
		rc = folder_make(c, e);
	if (rc == 0)
		space_warn(c);
	if (rc == 0)
		rc = keys_ensure(c, e);
	if (rc == 0)
		rc = config_stage(c, e);
	if (rc != 0)
		return rc;
	snprintf(c->amendd, sizeof c->amendd, "%s/amendd", folder);
	rc = cluster_start(c, e);
	if (rc != 0)
		processes_stop(c, c->running_count);
	return rc;
}

static struct cluster *cluster_new(struct cli *cli)
{
	struct cluster *c = calloc(1, sizeof *c);
	if (c == NULL)
		return NULL;
	c->cli = cli;
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
	struct cluster *c = cluster_new(cli);
	if (c == NULL)
		return cli_out_of_memory(cli);
	int status = cluster_up(c, &e) == 0 ? cluster_print(c) : cli_fail(cli, &e);
	free(c);
	return status;
}

int cli_down(struct cli *cli, const struct cli_args *args)
{
	struct cluster *c = cluster_new(cli);
	struct err e = ERR_INIT;
	(void)args;
	if (c == NULL)
		return cli_out_of_memory(cli);
	int rc = cli_process_list(cli->data, c->processes, CLI_PROCESSES_MAX, &c->process_count, &e);
	if (rc == 0 && c->process_count == 0)
		rc = err_set(&e, ERR_NOT_FOUND, "no cluster runs in %s; name another folder with --data", cli->data);
	if (rc == 0)
		processes_stop(c, 0);
	if (rc == 0 && !cli->quiet)
		fprintf(stderr, "stopped %zu program%s; `amend up` in %s goes on where they ended\n", c->process_count,
			cli_plural(c->process_count), cli->data);
	free(c);
	return rc == 0 ? CLI_OK : cli_fail(cli, &e);
}
