/* cli_pull.c: see cli_pull.h. The same fetch by credit as a node's, driven from a command. */
#include "daemon/cli_pull.h"

#include "daemon/version_set.h"
#include "store/store.h"
#include "worker/fetch.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int cli_version_parse(const char *text, uint64_t *version, struct err *e)
{
	*version = 0;
	if (strcmp(text, "latest") == 0)
		return 0;
	if (cli_number(text[0] == 'v' ? text + 1 : text, "version", 1, UINT64_MAX, version, e) == 0)
		return 0;
	return err_set(e, ERR_INVALID, "\"%s\" is no version; write v7, 7 or latest", text);
}

#define ROOTS_MAX 1024

struct wait {
	bool done;
	int code;
};

static void fetched(void *context, int code)
{
	struct wait *wait = context;
	wait->done = true;
	wait->code = code;
}

struct pulling {
	struct worker_fetch *fetch;
	bool advanced; /* a chunk came */
};

static void on_message(void *context, struct msg_received **received)
{
	struct pulling *pulling = context;
	if (worker_fetch_receive(pulling->fetch, &(*received)->msg))
		pulling->advanced = true;
}

static void on_tick(void *context)
{
	struct pulling *pulling = context;
	worker_fetch_tick(pulling->fetch);
}

/* --timeout is for one answer: a large version has many, and each moves the deadline on. */
static int roots_wait(struct cli *cli, struct proto_loop *loop, struct pulling *pulling, const struct wait *wait,
		      struct err *e)
{
	int64_t deadline = env_monotonic_ms(cli->env) + cli->timeout_ms;
	while (!wait->done) {
		int rc = proto_loop_once(loop, 100, e);
		if (rc != 0)
			return rc;
		if (cli->interrupted)
			return err_set(e, ERR_INTERRUPTED, "interrupted: the version was not fetched");
		if (pulling->advanced)
			deadline = env_monotonic_ms(cli->env) + cli->timeout_ms;
		pulling->advanced = false;
		if (env_monotonic_ms(cli->env) > deadline)
			return err_set(e, ERR_TIMEOUT,
				       "the coordinator at %s sent no memories for %lld s; is it running?",
				       cli->config.coordinator, (long long)(cli->timeout_ms / 1000));
	}
	return wait->code == 0 ? 0 : err_set(e, wait->code, "fetching memories: %s", err_text(wait->code));
}

static int slice_fetch(struct cli *cli, struct store *blobs, const struct hash *roots, size_t root_count, struct err *e)
{
	struct pulling pulling = { NULL, false };
	struct proto_loop *loop = NULL;
	struct wait wait = { false, 0 };
	int rc = proto_loop_new(cli->env, &loop, e);
	if (rc == 0)
		rc = worker_fetch_new(cli->env, blobs, cli->transport, &pulling.fetch, e);
	if (rc == 0)
		rc = proto_loop_transport(loop, cli->transport, on_message, &pulling, e);
	if (rc == 0)
		rc = proto_loop_timer(loop, 20, on_tick, &pulling, e);
	if (rc == 0)
		rc = worker_fetch_start(pulling.fetch, roots, root_count, fetched, &wait, e);
	if (rc == 0)
		rc = roots_wait(cli, loop, &pulling, &wait, e);
	proto_loop_destroy(&loop);
	worker_fetch_destroy(&pulling.fetch);
	return rc;
}

/* A fetch has at most so many roots. */
static int roots_fetch(struct cli *cli, struct store *blobs, const struct hash *roots, size_t root_count, struct err *e)
{
	int rc = 0;
	for (size_t at = 0; rc == 0 && at < root_count; at += ROOTS_MAX) {
		size_t count = root_count - at < ROOTS_MAX ? root_count - at : ROOTS_MAX;
		rc = slice_fetch(cli, blobs, roots + at, count, e);
	}
	return rc;
}

static int blobs_open(struct cli_manifest *out, struct err *e)
{
	struct store_options options = { .env = env_system(), .blobs_only = true };
	const char *tmp = getenv("TMPDIR"); /* POSIX's name for the folder of temporary files */
	snprintf(out->folder, sizeof out->folder, "%s/amend-pull.XXXXXX", tmp != NULL ? tmp : "/tmp");
	if (mkdtemp(out->folder) == NULL)
		return err_set(e, ERR_IO, "cannot make a folder for fetched memories: %s", out->folder);
	return store_open(out->folder, &options, &out->blobs, e);
}

/* *version: 0 asks for the newest; then the one that was found. */
static int manifest_ask(struct cli *cli, uint64_t *version, struct hash *root, struct hash *content,
			int64_t *published_ms, struct err *e)
{
	struct msg request = { .type = MSG_GET_MANIFEST, .u.get_manifest = { .version = *version } };
	struct msg_received *reply = NULL;
	int rc = cli_call(cli, &request, &reply, e);
	if (rc != 0)
		return rc;
	if (reply->msg.u.manifest.code != 0)
		rc = reply->msg.u.manifest.code == ERR_CLOSED
			     ? err_set(e, ERR_NOT_FOUND,
				       "version v%llu has no memories any more: `amend store gc` has given them back",
				       (unsigned long long)*version)
		     : *version == 0 ? err_set(e, ERR_NOT_FOUND, "no version is published yet; submit an edit first")
				     : err_set(e, ERR_NOT_FOUND,
					       "version v%llu does not exist; `amend version list` shows them all",
					       (unsigned long long)*version);
	*root = reply->msg.u.manifest.root;
	*content = reply->msg.u.manifest.content;
	*version = reply->msg.u.manifest.version;
	*published_ms = reply->msg.u.manifest.published_ms;
	msg_free(&reply);
	return rc;
}

int cli_manifest_pull(struct cli *cli, uint64_t version, struct cli_manifest *out, struct err *e)
{
	struct hash root;
	int64_t published_ms = 0;
	memset(out, 0, sizeof *out);
	int rc = manifest_ask(cli, &version, &root, &out->content, &published_ms, e);
	if (rc == 0)
		rc = blobs_open(out, e);
	if (rc == 0)
		rc = roots_fetch(cli, out->blobs, &root, 1, e);
	if (rc == 0)
		rc = arena_new(1 << 16, 0, &out->arena) != 0 ? err_set(e, ERR_NOMEM, "out of memory") : 0;
	if (rc == 0)
		rc = version_manifest_read(out->blobs, &root, &out->content, NULL, out->arena, &out->manifest, e);
	/* a manifest has the number and the time that it was made with: after a rollback or an approval others hold */
	out->manifest.version = version;
	out->manifest.published_ms = published_ms;
	if (rc != 0)
		cli_manifest_free(out);
	return rc;
}

static int entry_remove(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st, (void)kind, (void)ftw;
	(void)remove(path);
	return 0;
}

static void folder_remove(const char *folder)
{
	(void)nftw(folder, entry_remove, 8, FTW_DEPTH | FTW_PHYS);
}

void cli_manifest_free(struct cli_manifest *manifest)
{
	arena_destroy(&manifest->arena);
	store_close(&manifest->blobs);
	if (manifest->folder[0] != '\0')
		folder_remove(manifest->folder);
	manifest->folder[0] = '\0';
}

int cli_set_pull(struct cli *cli, struct cli_manifest *m, const struct hash *base_model,
		 const struct model_shape *shape, struct editor_memory_set **out, struct err *e)
{
	struct buf roots = BUF_INIT;
	if (!hash_equal(&m->manifest.base_model, base_model))
		return err_set(
			e, ERR_MISMATCH,
			"version v%llu belongs to another base model than --model; give the file that the cluster runs",
			(unsigned long long)m->manifest.version);
	int rc = proto_manifest_roots(&m->manifest, &roots, e);
	if (rc == 0)
		rc = roots_fetch(cli, m->blobs, (const struct hash *)(const void *)roots.data,
				 roots.len / sizeof(struct hash), e);
	if (rc == 0)
		rc = version_set_build(m->blobs, &m->manifest, shape, out, e);
	buf_free(&roots);
	return rc;
}
