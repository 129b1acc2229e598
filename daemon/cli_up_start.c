/* cli_up_start.c: the programs of `amend up`: started, awaited, stopped. */
#include "daemon/cli_up_internal.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARGS_MAX   40
#define START_MS   (180 * INT64_C(1000)) /* the first start calibrates on the shipped corpus */
#define STOP_MS    (30 * INT64_C(1000))
#define REFUSED_MS 5000 /* a key that was refused is refused still after so long: that counts */

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

bool cli_up__runs(const struct cli_cluster *c, const char *name)
{
	for (size_t i = 0; i < c->running_count; i++)
		if (strcmp(c->processes[i].name, name) == 0)
			return true;
	return false;
}

static void log_path_of(const struct cli_cluster *c, const char *name, char out[PATH_MAX + 80])
{
	snprintf(out, PATH_MAX + 80, "%s/log/%s.log", c->folder, name);
}

/* Once: secret keys are not read again and again. */
static void key_note(struct cli_cluster *c, size_t process, const char *name)
{
	char path[PATH_MAX + 80];
	struct proto_keypair pair;
	struct cli_up_refusal *refusal = &c->refusals[process];
	snprintf(path, sizeof path, "%s/keys/%s.key", c->folder, name);
	if (strcmp(name, "coordinator") == 0 || proto_keypair_load(path, &pair, NULL) != 0)
		return;
	memcpy(refusal->key, pair.public_key, PROTO_KEY_BYTES);
	refusal->key_known = true;
	proto_keypair_wipe(&pair);
}

static int process_add(struct cli_cluster *c, const char *role, const char *name, struct args *extra, struct err *e)
{
	struct args args = { 0 };
	char log_path[PATH_MAX + 80];
	log_path_of(c, name, log_path);
	arg(&args, "%s", c->amendd);
	arg(&args, "%s", role);
	arg(&args, "--config=%s", c->config);
	arg(&args, "--name=%s", name);
	arg(&args, "--data=%s/%s", c->folder, name);
	arg(&args, "--key-file=%s/keys/%s.key", c->folder, name);
	for (size_t i = 0; i < extra->count; i++)
		arg(&args, "%s", extra->list[i]);
	const bool runs = cli_up__runs(c, name);
	if (!runs)
		key_note(c, c->process_count, name);
	int rc = runs ? 0
		 : args.failed || extra->failed
			 ? err_set(e, ERR_NOMEM, "too many settings for %s", name)
			 : cli_process_start(c->folder, name, args.list, log_path, &c->processes[c->process_count], e);
	c->process_count += rc == 0 && !runs;
	for (size_t i = 0; i < args.count; i++)
		free(args.list[i]);
	for (size_t i = 0; i < extra->count; i++)
		free(extra->list[i]);
	return rc;
}

static int coordinator_add(struct cli_cluster *c, struct err *e)
{
	struct args args = { 0 };
	arg(&args, "--allow-file=%s/keys/allow", c->folder);
	return process_add(c, "coordinator", "coordinator", &args, e);
}

static int workers_add(struct cli_cluster *c, struct err *e)
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

static int node_add(struct cli_cluster *c, struct err *e)
{
	struct args args = { 0 };
	return process_add(c, "node", "node-0", &args, e);
}

static int processes_check(struct cli_cluster *c, struct err *e)
{
	for (size_t i = 0; i < c->process_count; i++) {
		char log_path[PATH_MAX + 80], words[ERR_TEXT_BYTES_MAX];
		if (cli_process_alive(&c->processes[i]))
			continue;
		log_path_of(c, c->processes[i].name, log_path);
		cli_process_last_words(&c->processes[i], log_path, words, sizeof words);
		return err_set(e, ERR_EXTERNAL, "%s ended: %s", c->processes[i].name, words);
	}
	return c->cli->interrupted ? err_set(e, ERR_INTERRUPTED, "interrupted: what had started is stopped again") : 0;
}

void cli_up__stop(struct cli_cluster *c, size_t first)
{
	for (size_t i = first; i < c->process_count; i++) {
		cli_process_signal(&c->processes[i], SIGTERM);
		cli_process_signal(&c->processes[i], SIGCONT); /* one that is suspended takes no other signal */
	}
	const int64_t deadline = env_monotonic_ms(c->cli->env) + STOP_MS;
	for (size_t i = first; i < c->process_count; i++) {
		int64_t left = deadline - env_monotonic_ms(c->cli->env);
		while (!cli_process_wait(&c->processes[i], left)) {
			cli_process_signal(&c->processes[i], SIGKILL);
			left = STOP_MS;
		}
		cli_process_forget(c->folder, &c->processes[i]);
	}
}

/* --- waiting until everyone is there */

/* One that died a moment ago still stands in the coordinator's table, with another pid. */
static void member_note(struct cli_cluster *c, const struct msg_fleet_member *member, uint64_t version)
{
	bool answers = member->kind == MSG_PEER_WORKER || member->version > 0 || version == 0;
	for (size_t i = 0; i < c->process_count; i++)
		if ((uint32_t)c->processes[i].pid == member->pid)
			c->joined[i] = answers;
}

static const struct msg_refused_key *refusal_of(const struct cli_up_refusal *refusal,
						const struct msg_fleet_reply *fleet)
{
	for (size_t i = 0; refusal->key_known && i < fleet->refused_key_count; i++)
		if (memcmp(fleet->refused_keys[i].key, refusal->key, PROTO_KEY_BYTES) == 0)
			return &fleet->refused_keys[i];
	return NULL;
}

/* Of this start only: the coordinator may not have read the list again yet that this start has added to. */
static void refusals_note(struct cli_cluster *c, const struct msg_fleet_reply *fleet)
{
	const int64_t now = env_monotonic_ms(c->cli->env);
	for (size_t i = 0; i < c->process_count; i++) {
		struct cli_up_refusal *refusal = &c->refusals[i];
		const struct msg_refused_key *key = c->joined[i] ? NULL : refusal_of(refusal, fleet);
		const bool refused = key != NULL && now - key->ms_ago >= c->began_ms;
		if (refused && !refusal->refused)
			refusal->first_ms = now;
		if (refused)
			refusal->last_ms = now - key->ms_ago;
		refusal->refused = refused;
	}
}

static int fleet_ask(struct cli_cluster *c, struct err *e)
{
	struct msg request = { .type = MSG_FLEET };
	struct msg_received *reply = NULL;
	c->cli->client.timeout_ms = 1000;
	int rc = cli_call(c->cli, &request, &reply, e);
	memset(c->joined, 0, sizeof c->joined);
	for (size_t i = 0; rc == 0 && i < reply->msg.u.fleet_reply.member_count; i++)
		member_note(c, &reply->msg.u.fleet_reply.members[i], reply->msg.u.fleet_reply.version);
	if (rc == 0)
		refusals_note(c, &reply->msg.u.fleet_reply);
	msg_free(&reply);
	return rc;
}

static size_t joined_count(const struct cli_cluster *c, const char *role)
{
	size_t count = 0;
	for (size_t i = 0; i < c->process_count; i++)
		count += c->joined[i] && strncmp(c->processes[i].name, role, strlen(role)) == 0;
	return count;
}

/* --- why one does not come */

static bool is_any_refused(const struct cli_cluster *c)
{
	bool any = false;
	for (size_t i = 0; i < c->process_count; i++)
		any = any || c->refusals[i].refused;
	return any;
}

/* A key that is allowed meanwhile comes in by itself; one that is refused still after a while does not. */
static int refusals_check(const struct cli_cluster *c, struct err *e)
{
	char path[PATH_MAX + 80];
	for (size_t i = 0; i < c->process_count; i++) {
		if (!c->refusals[i].refused || c->refusals[i].last_ms - c->refusals[i].first_ms < REFUSED_MS)
			continue;
		log_path_of(c, "coordinator", path);
		return err_set(e, ERR_DENIED,
			       "the coordinator refuses the key of %s: %s/keys/allow, or the list that it reads, lacks "
			       "it, or cannot be read; look into %s, and have it read the list again with SIGHUP",
			       c->processes[i].name, c->folder, path);
	}
	return 0;
}

/* What the first of those says that have not joined. */
static void missing_say(const struct cli_cluster *c, char *out, size_t out_bytes)
{
	char path[PATH_MAX + 80], reason[ERR_TEXT_BYTES_MAX];
	out[0] = '\0';
	for (size_t i = 0; i < c->process_count && out[0] == '\0'; i++) {
		const struct cli_process *p = &c->processes[i];
		log_path_of(c, p->name, path);
		if (c->joined[i] || strcmp(p->name, "coordinator") == 0)
			continue;
		if (cli_process_suspended(p))
			snprintf(out, out_bytes, "%s (pid %d) is suspended: `kill -CONT %d` lets it go on", p->name,
				 (int)p->pid, (int)p->pid);
		else if (cli_process_last_reason(p, path, reason, sizeof reason))
			snprintf(out, out_bytes, "%s says: %.300s", p->name, reason);
	}
}

/* --- waiting */

struct wait {
	size_t workers, nodes;
	int64_t limit_ms, deadline;
	char awaited[160];
};

static void awaited_say(const struct cli_cluster *c, struct wait *w)
{
	size_t have_workers = joined_count(c, "worker-"), have_nodes = joined_count(c, "node-");
	size_t workers = w->workers > have_workers ? w->workers - have_workers : 0;
	const bool node = w->nodes > have_nodes;
	char some[48] = "";
	if (workers > 0)
		snprintf(some, sizeof some, "%zu worker%s%s", workers, cli_plural(workers), node ? " and " : "");
	snprintf(w->awaited, sizeof w->awaited, "%s%s to get ready%s", some, node ? "the node" : "",
		 is_any_refused(c) ? " (a key is refused)" : "");
}

static int timeout_say(const struct cli_cluster *c, const struct wait *w, struct err *e)
{
	char why[ERR_TEXT_BYTES_MAX];
	missing_say(c, why, sizeof why);
	return err_set(e, ERR_TIMEOUT,
		       "after %lld s: %zu of %zu workers and %zu of %zu nodes have joined%s%s; see %s/log, or wait "
		       "longer with --timeout",
		       (long long)(w->limit_ms / 1000), joined_count(c, "worker-"), w->workers,
		       joined_count(c, "node-"), w->nodes, why[0] != '\0' ? "; " : "", why, c->folder);
}

static int wait_step(struct cli_cluster *c, struct wait *w, bool *done, struct err *e)
{
	struct err silent = ERR_INIT;
	int rc = processes_check(c, e);
	if (rc != 0)
		return rc;
	rc = fleet_ask(c, &silent);
	*done = rc == 0 && joined_count(c, "worker-") >= w->workers && joined_count(c, "node-") >= w->nodes;
	if (*done)
		return 0;
	rc = refusals_check(c, e);
	if (rc == 0 && env_monotonic_ms(c->cli->env) > w->deadline)
		rc = timeout_say(c, w, e);
	return rc;
}

static int fleet_wait(struct cli_cluster *c, size_t workers, size_t nodes, struct err *e)
{
	struct wait w = { .workers = workers, .nodes = nodes };
	struct cli_progress progress;
	bool done = false;
	w.limit_ms = c->cli->timeout_given ? c->cli->wait_ms : START_MS;
	w.deadline = env_monotonic_ms(c->cli->env) + w.limit_ms;
	cli_progress_begin(c->cli, &progress, "start", "programs", workers + nodes);
	progress.awaited = w.awaited;
	for (;;) {
		int rc = wait_step(c, &w, &done, e);
		if (rc != 0 || done) {
			cli_progress_break(c->cli, &progress);
			return rc;
		}
		awaited_say(c, &w);
		if (workers > 0)
			cli_progress_set(c->cli, &progress, joined_count(c, "worker-") + joined_count(c, "node-"));
		cli_pause(c->cli, 50);
	}
}

/* One that ran before may have read the list of keys as it was, before this start or one that was killed. */
static void keys_reread(const struct cli_cluster *c)
{
	for (size_t i = 0; i < c->running_count; i++)
		if (strcmp(c->processes[i].name, "coordinator") == 0)
			cli_process_signal(&c->processes[i], SIGHUP);
}

int cli_up__start(struct cli_cluster *c, struct err *e)
{
	c->began_ms = env_monotonic_ms(c->cli->env);
	for (size_t i = 0; i < c->running_count; i++)
		key_note(c, i, c->processes[i].name);
	keys_reread(c);
	int rc = coordinator_add(c, e);
	if (rc == 0)
		rc = cli_connect(c->cli, e);
	if (rc == 0)
		rc = fleet_wait(c, 0, 0, e); /* it answers: its ports and its ledger are fine */
	if (rc == 0)
		rc = workers_add(c, e);
	if (rc == 0)
		rc = node_add(c, e);
	return rc == 0 ? fleet_wait(c, c->workers, 1, e) : rc;
}
