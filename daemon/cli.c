/* cli.c: errors, numbers and the connection to a cluster. */
#include "daemon/cli.h"

#include "daemon/cli_process.h"
#include "daemon/wiring.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PROBE_MS 500

int cli_add_step(struct err *e, const char *step)
{
	char text[sizeof e->text];
	snprintf(text, sizeof text, "%s", e->text);
	return err_set(e, e->code, "%s; %s", text, step);
}

int cli_file_check(const char *path, const char *step, struct err *e)
{
	struct stat st;
	if (stat(path, &st) != 0) {
		int rc = err_open(e, errno, "opening %s", path);
		return rc == ERR_NOT_FOUND ? cli_add_step(e, step) : rc;
	}
	return S_ISDIR(st.st_mode) ? err_set(e, ERR_INVALID, "%s is a folder: give a file in it", path) : 0;
}

int cli_start_mark(const char *folder, char out[PATH_MAX], struct err *e)
{
	if (snprintf(out, PATH_MAX, "%s/run/starting", folder) >= PATH_MAX)
		return err_set(e, ERR_LIMIT, "%s: the path is too long", folder);
	return 0;
}

bool cli_start_unfinished(const char *folder)
{
	char mark[PATH_MAX];
	struct err silent = ERR_INIT;
	return cli_start_mark(folder, mark, &silent) == 0 && access(mark, F_OK) == 0;
}

int cli_config_path(const char *folder, char out[PATH_MAX], struct err *e)
{
	const char *part = cli_start_unfinished(folder) ? "/run" : "";
	if (snprintf(out, PATH_MAX, "%s%s/amend.yaml", folder, part) >= PATH_MAX)
		return err_set(e, ERR_LIMIT, "%s: the path is too long", folder);
	return 0;
}

static int exit_of(int code)
{
	switch (code) {
	case 0:
		return CLI_OK;
	case ERR_NOT_FOUND:
		return CLI_NOT_FOUND;
	case ERR_DENIED:
		return CLI_DENIED;
	case ERR_CONFLICT:
	case ERR_EXISTS:
		return CLI_CONFLICT;
	case ERR_TIMEOUT:
	case ERR_CLOSED:
		return CLI_UNREACHABLE;
	case ERR_CORRUPT:
		return CLI_VERIFY;
	case ERR_AGAIN:
		return CLI_PENDING;
	case ERR_INTERRUPTED:
		return CLI_INTERRUPTED;
	default:
		return CLI_FAILED;
	}
}

static void say(const struct err *e)
{
	cli_line(stderr, "amend: %s", e->text[0] != '\0' ? e->text : err_text(e->code));
}

int cli_fail(struct cli *cli, const struct err *e)
{
	say(e);
	return cli->interrupted ? CLI_INTERRUPTED : exit_of(e->code);
}

int cli_misuse(const struct err *e)
{
	say(e);
	return e->code == ERR_NOMEM ? CLI_FAILED : CLI_USAGE;
}

int cli_out_of_memory(struct cli *cli)
{
	struct err e = ERR_INIT;
	err_set(&e, ERR_NOMEM, "out of memory");
	return cli_fail(cli, &e);
}

int cli_number(const char *text, const char *name, uint64_t min, uint64_t max, uint64_t *out, struct err *e)
{
	uint64_t value = 0;
	bool right = text[0] != '\0';
	for (const char *p = text; right && *p != '\0'; p++)
		right = *p >= '0' && *p <= '9' && !__builtin_mul_overflow(value, (uint64_t)10, &value) &&
			!__builtin_add_overflow(value, (uint64_t)(*p - '0'), &value);
	if (!right || value < min || value > max)
		return err_set(e, ERR_INVALID, "%s: \"%s\" is not a number from %llu to %llu", name, text,
			       (unsigned long long)min, (unsigned long long)max);
	*out = value;
	return 0;
}

int cli_set_check(const char *set, struct err *e)
{
	if (set == NULL || strcmp(set, "merged") == 0 || strcmp(set, "retrieve") == 0)
		return 0;
	return err_set(e, ERR_INVALID, "--set %.64s: may be merged or retrieve", set);
}

/* `amend up` names its own key by a full path. */
static int key_missing(const struct cli *cli, struct err *e)
{
	static const char own[] = "/keys/cli.key";
	const char *file = cli->config.key_file;
	char here[PATH_MAX];
	size_t len = strlen(file), own_len = sizeof own - 1;
	if (len < own_len || strcmp(file + len - own_len, own) != 0 || !cli->node_known ||
	    snprintf(here, sizeof here, "%s%s", cli->data, own) >= (int)sizeof here)
		return cli_add_step(e, "check --key-file, or make a pair with `amend key new FILE`");
	if (access(here, F_OK) == 0)
		return err_set(
			e, ERR_NOT_FOUND,
			"the folder %s was moved: its settings name %s; move it back, or run `amend down --data %s` "
			"and `amend up --data %s`, which start the cluster where it lies now",
			cli->data, file, cli->data, cli->data);
	return err_set(e, ERR_NOT_FOUND,
		       "the key of the cluster in %s is missing: %s; bring it back, or run `amend down --data %s` and "
		       "`amend up --data %s`, which make another",
		       cli->data, file, cli->data, cli->data);
}

static int zmq_connect(struct cli *cli, struct err *e)
{
	uint8_t server[PROTO_KEY_BYTES];
	if (cli->config.key_file[0] == '\0' || cli->config.server_key[0] == '\0')
		return err_set(e, ERR_NOT_FOUND,
			       "no cluster: %s/amend.yaml is not there; start one with `amend up --model FILE`, name "
			       "its folder with --data, or give --coordinator, --server-key and --key-file",
			       cli->data);
	int rc = wiring_server_key(&cli->config, server, e);
	if (rc != 0)
		return rc;
	rc = proto_keypair_load(cli->config.key_file, &cli->keys, e);
	if (rc == ERR_NOT_FOUND)
		rc = key_missing(cli, e);
	if (rc == 0)
		rc = proto_zmq_new(&cli->keys, NULL, cli->env, &cli->zmq, e);
	if (rc == 0)
		rc = proto_zmq_connect(cli->zmq, cli->config.coordinator, NULL, server, &cli->transport, e);
	if (rc != 0)
		cli_disconnect(cli);
	return rc;
}

int cli_connect(struct cli *cli, struct err *e)
{
	if (cli->connected)
		return 0;
	int rc = cli->transport == NULL ? zmq_connect(cli, e) : 0;
	if (rc != 0)
		return rc;
	cli->connected = true;
	cli->client = (struct proto_client){ .transport = cli->transport,
					     .env = cli->env,
					     .endpoint = cli->config.coordinator,
					     .timeout_ms = cli->timeout_ms,
					     .interrupted = &cli->interrupted,
					     .next_request = env_random_u64(cli->env) };
	return 0;
}

void cli_disconnect(struct cli *cli)
{
	cli->connected = false;
	if (cli->zmq == NULL) /* not ours */
		return;
	if (cli->transport != NULL)
		cli->transport->ops->destroy(cli->transport);
	cli->transport = NULL;
	proto_zmq_destroy(&cli->zmq);
	proto_keypair_wipe(&cli->keys);
}

/* The folder is one of `amend up`, and its coordinator is no process of this machine. */
static bool coordinator_gone(const struct cli *cli)
{
	struct cli_process processes[CLI_PROCESSES_MAX];
	struct err silent = ERR_INIT;
	char path[PATH_MAX];
	size_t count = 0;
	if (snprintf(path, sizeof path, "%s/run", cli->data) >= (int)sizeof path || access(path, F_OK) != 0 ||
	    cli_process_list(cli->data, processes, CLI_PROCESSES_MAX, &count, &silent) != 0)
		return false;
	for (size_t i = 0; i < count; i++)
		if (strcmp(processes[i].name, "coordinator") == 0)
			return false;
	return true;
}

/* "tcp://A.B.C.D:PORT" of a machine that is there and says that nobody listens. */
static bool endpoint_refuses(const char *endpoint)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	char host[INET_ADDRSTRLEN];
	unsigned port;
	if (sscanf(endpoint, "tcp://%15[0-9.]:%5u", host, &port) != 2 || port > UINT16_MAX ||
	    inet_pton(AF_INET, host, &address.sin_addr) != 1)
		return false;
	address.sin_port = htons((uint16_t)port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), code = 0;
	if (fd < 0)
		return false;
	socklen_t len = sizeof code;
	struct pollfd ready = { .fd = fd, .events = POLLOUT };
	if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
		code = errno;
	if (code == EINPROGRESS &&
	    (poll(&ready, 1, PROBE_MS) != 1 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &len) != 0))
		code = 0;
	close(fd);
	return code == ECONNREFUSED;
}

/* A pid file alone proves nothing: the folder may be shared with another machine or container. */
static int gone_check(const struct cli *cli, struct err *e)
{
	if (!coordinator_gone(cli) || !endpoint_refuses(cli->config.coordinator))
		return 0;
	return err_set(e, ERR_CLOSED,
		       "nobody listens at %s: the coordinator of %s does not run; `amend up --data %s` starts it",
		       cli->config.coordinator, cli->data, cli->data);
}

/* Silence of a cluster of this machine may have a plain reason, and a way out. */
static int silence_explain(const struct cli *cli, int rc, struct err *e)
{
	char text[sizeof e->text];
	if (!coordinator_gone(cli))
		return rc;
	snprintf(text, sizeof text, "%s", e->text);
	return err_set(e, rc, "%s; the coordinator of %s does not run: `amend up --data %s` starts it", text, cli->data,
		       cli->data);
}

void cli_wait_begin(struct cli *cli, struct cli_wait *wait)
{
	*wait = (struct cli_wait){ .until_ms = env_monotonic_ms(cli->env) + cli->wait_ms };
	cli->wait = wait;
}

bool cli_wait_over(const struct cli *cli)
{
	return env_monotonic_ms(cli->env) >= cli->wait->until_ms;
}

static void silence_tell(struct cli *cli)
{
	if (cli->wait->told || cli->quiet)
		return;
	cli->wait->told = true;
	if (cli->wait->progress != NULL)
		cli_progress_break(cli, cli->wait->progress);
	bool gone = cli->zmq != NULL && coordinator_gone(cli);
	cli_line(stderr, "amend: %s has not answered for %.0f s: it is asked again until it does; Ctrl-C stops%s%s%s",
		 cli->config.coordinator, (double)cli->timeout_ms / 1e3,
		 gone ? ". It does not run: `amend up --data " : "", gone ? cli->data : "", gone ? "` starts it" : "");
}

static int call_once(struct cli *cli, struct msg *request, struct msg_received **reply, struct err *e)
{
	bool first = !cli->connected; /* one that starts again in the middle of a command is waited for */
	int rc = cli_connect(cli, e);
	if (rc == 0 && first && cli->zmq != NULL) {
		rc = gone_check(cli, e);
		if (rc != 0)
			return rc;
	}
	if (rc == 0)
		rc = proto_client_call(&cli->client, request, reply, e);
	return cli->zmq != NULL && (rc == ERR_TIMEOUT || rc == ERR_CLOSED) ? silence_explain(cli, rc, e) : rc;
}

int cli_call(struct cli *cli, struct msg *request, struct msg_received **reply, struct err *e)
{
	int rc = call_once(cli, request, reply, e);
	while (rc == ERR_TIMEOUT && cli->wait != NULL && !cli->interrupted && !cli_wait_over(cli)) {
		silence_tell(cli);
		rc = call_once(cli, request, reply, e);
	}
	return rc;
}

void cli_pause(const struct cli *cli, int64_t ms)
{
	if (cli->pause != NULL) {
		cli->pause(cli->pause_context, ms);
		return;
	}
	for (int64_t left = ms; left > 0 && !cli->interrupted; left -= 50) {
		struct timespec pause = { 0, (left < 50 ? left : 50) * 1000000L };
		nanosleep(&pause, NULL);
	}
}
