#include "tests/lib/cli_fixture.h"

#include "base/log.h"

#include <fcntl.h>
#include <stdio_ext.h>
#include <unistd.h>

/* --- The transport that runs the other side. */
static struct cli_world *world_of(const struct proto_transport *t)
{
	return (struct cli_world *)((char *)(uintptr_t)t - offsetof(struct cli_world, transport));
}

static int pump_send(struct proto_transport *t, uint64_t route, const struct msg *msg, struct err *e)
{
	struct cli_world *w = world_of(t);
	if (w->sends_to_interrupt > 0 && --w->sends_to_interrupt == 0)
		w->cli.interrupted = 1;
	return w->inner->ops->send(w->inner, route, msg, e);
}

static int pump_recv(struct proto_transport *t, struct msg_received **out, struct err *e)
{
	struct cli_world *w = world_of(t);
	int rc = w->deaf ? ERR_AGAIN : w->inner->ops->recv(w->inner, out, e);
	if (rc != ERR_AGAIN)
		return rc;
	if (w->deaf && w->deaf_receives > 0)
		w->deaf = --w->deaf_receives > 0;
	if (w->deaf)
		env_manual_advance(&w->cluster->clock, 10000);
	else
		cluster_advance(w->cluster, 1);
	return w->deaf ? ERR_AGAIN : w->inner->ops->recv(w->inner, out, e);
}

static int pump_fd(const struct proto_transport *t)
{
	(void)t;
	return -1;
}

static const struct proto_transport_ops pump_ops = { .send = pump_send, .recv = pump_recv, .fd = pump_fd };

static void on_pause(void *context, int64_t ms)
{
	struct cli_world *w = context;
	w->pauses++;
	if (w->pauses_to_interrupt > 0 && --w->pauses_to_interrupt == 0)
		w->cli.interrupted = 1;
	cluster_advance(w->cluster, ms);
	if (w->on_pause != NULL)
		w->on_pause(w);
}

/* --- Worlds. */
static struct cli_world *world_new(void)
{
	struct cli_world *w = calloc(1, sizeof *w);
	assert_non_null(w);
	w->saved_out = w->saved_err = -1;
	w->cli.no_color = true;
	return w;
}

int cli_setup_plain(void **state)
{
	struct cli_world *w = world_new();
	test_folder_make(w->folder);
	*state = w;
	return 0;
}

void cli_world_key(struct cli_world *w, uint8_t key_byte)
{
	uint8_t key[PROTO_KEY_BYTES];
	char name[16];
	memset(key, key_byte, sizeof key);
	snprintf(name, sizeof name, "cli-%d", (int)key_byte);
	if (w->inner != NULL)
		w->inner->ops->destroy(w->inner);
	assert_ok(&w->cluster->e,
		  proto_mem_connect(w->cluster->mem, name, "coordinator", key, &w->inner, &w->cluster->e));
}

int cli_setup_cluster(void **state)
{
	struct cli_world *w = world_new();
	void *cluster = NULL;
	log_level_set(LOG_ERROR);
	if (cluster_setup(&cluster) != 0)
		return -1;
	w->cluster = cluster;
	w->transport.ops = &pump_ops;
	cluster_start(w->cluster);
	cli_world_key(w, 4);
	test_path(w->folder, w->cluster->folder, "data");
	*state = w;
	return 0;
}

static void catch_end(struct cli_world *w)
{
	fflush(stdout);
	fflush(stderr);
	__fpurge(stdout);
	clearerr(stdout);
	if (w->saved_out >= 0) {
		dup2(w->saved_out, 1);
		dup2(w->saved_err, 2);
		close(w->saved_out);
		close(w->saved_err);
	}
	w->saved_out = w->saved_err = -1;
}

int cli_teardown(void **state)
{
	struct cli_world *w = *state;
	catch_end(w); /* a test that failed while a command ran */
	buf_free(&w->out);
	buf_free(&w->err);
	if (w->inner != NULL)
		w->inner->ops->destroy(w->inner);
	if (w->cluster != NULL) {
		void *cluster = w->cluster;
		cluster_teardown(&cluster);
	} else {
		test_folder_remove(w->folder);
	}
	free(w);
	return 0;
}

/* --- Running. */
static void caught_path(const struct cli_world *w, const char *name, char path[TEST_PATH_BYTES])
{
	test_path(path, w->cluster != NULL ? w->cluster->folder : w->folder, name);
}

static void redirect(const char *path, int fd)
{
	int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(file >= 0);
	assert_int_equal(dup2(file, fd), fd);
	close(file);
}

static void catch_begin(struct cli_world *w)
{
	char path[TEST_PATH_BYTES];
	fflush(stdout);
	fflush(stderr);
	w->saved_out = fcntl(1, F_DUPFD_CLOEXEC, 3);
	w->saved_err = fcntl(2, F_DUPFD_CLOEXEC, 3);
	caught_path(w, "caught-out", path);
	redirect(w->out_path != NULL ? w->out_path : path, 1);
	caught_path(w, "caught-err", path);
	redirect(path, 2);
}

static void caught_read(struct cli_world *w, const char *name, struct buf *out)
{
	char path[TEST_PATH_BYTES];
	struct err e = ERR_INIT;
	buf_free(out);
	caught_path(w, name, path);
	if (access(path, R_OK) == 0)
		assert_ok(&e, file_read(path, 64 << 20, out, &e));
}

/* The terminals and colours that the test has chosen; all else as the program starts. */
static void cli_fresh(struct cli_world *w)
{
	struct cli fresh = { .no_color = w->cli.no_color,
			     .stdout_is_terminal = w->cli.stdout_is_terminal,
			     .stderr_is_terminal = w->cli.stderr_is_terminal,
			     .timeout_ms = 10000,
			     .wait_ms = 3600000,
			     .env = w->cluster != NULL ? &w->cluster->clock.env : env_system() };
	w->cli = fresh;
	w->pauses = 0;
	if (w->cluster == NULL)
		return;
	w->cli.transport = &w->transport;
	w->cli.pause = on_pause;
	w->cli.pause_context = w;
}

int cli_do(struct cli_world *w, const char *const *words)
{
	char *argv[CLI_WORDS_MAX + 4] = { strdup("amend"), strdup("--data"), strdup(w->folder) };
	char *owned[CLI_WORDS_MAX + 4];
	int argc = 3;
	bool no_color = w->cli.no_color;
	for (; words[argc - 3] != NULL; argc++) {
		assert_true(argc < CLI_WORDS_MAX + 3);
		argv[argc] = strdup(words[argc - 3]);
	}
	memcpy(owned, argv, sizeof owned); /* cli_run reorders its own */
	cli_fresh(w);
	catch_begin(w);
	int status = cli_run(&w->cli, argc, argv);
	catch_end(w);
	w->cli.no_color = no_color;
	for (int i = 0; i < argc; i++)
		free(owned[i]);
	caught_read(w, "caught-out", &w->out);
	caught_read(w, "caught-err", &w->err);
	return status;
}

const char *cli_out(struct cli_world *w)
{
	return buf_cstr(&w->out);
}

const char *cli_err(struct cli_world *w)
{
	return buf_cstr(&w->err);
}

void cli_expect(struct cli_world *w, int got, int status)
{
	if (got != status)
		fail_msg("exit %d, not %d\nstdout: %s\nstderr: %s", got, status, cli_out(w), cli_err(w));
}

void cli_expect_out(struct cli_world *w, const char *text)
{
	if (strstr(cli_out(w), text) == NULL)
		fail_msg("\"%s\" is not in stdout: %s\nstderr: %s", text, cli_out(w), cli_err(w));
}

void cli_expect_err(struct cli_world *w, const char *text)
{
	if (strstr(cli_err(w), text) == NULL)
		fail_msg("\"%s\" is not in stderr: %s\nstdout: %s", text, cli_err(w), cli_out(w));
}

struct json *cli_json(struct cli_world *w)
{
	struct err e = ERR_INIT;
	struct json *root = NULL;
	if (json_parse(cli_out(w), w->out.len, &root, &e) != 0)
		fail_msg("no JSON (%s): %s", e.text, cli_out(w));
	return root;
}

/* --- The fleet. */
void cli_fleet_join(struct cli_world *w)
{
	worker_hello(&w->cluster->worker, 1);
	node_hello(&w->cluster->node, 1);
}

void cli_fleet_work(struct cli_world *w, uint64_t version)
{
	uint64_t shard, epoch = worker_lease(&w->cluster->worker, &shard);
	worker_turn(&w->cluster->worker, shard, epoch);
	node_status(&w->cluster->node, version);
}
