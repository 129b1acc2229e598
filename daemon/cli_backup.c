/* cli_backup.c: `amend store backup`: a copy of the coordinator's folder while it runs; `amend store restore`: that
 * copy as a coordinator's folder; `amend store gc`: gives back what nothing in it needs. */
#include "daemon/cli_store.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define POLL_MS 200

/* Asks until it is done; the status is the last reply's. */
static int run_wait(struct cli *cli, struct msg_store_run run, const char *what, struct msg_received **reply,
		    struct err *e)
{
	struct msg request = { .type = MSG_STORE_RUN };
	struct cli_wait wait;
	int rc;
	while ((run.id = env_random_u64(cli->env)) == 0)
		;
	request.u.store_run = run;
	cli_wait_begin(cli, &wait);
	while ((rc = cli_call(cli, &request, reply, e)) == 0 && !(*reply)->msg.u.store_status.done) {
		msg_free(reply);
		cli_pause(cli, POLL_MS);
		if (cli->interrupted)
			rc = err_set(e, ERR_INTERRUPTED, "interrupted: the %s goes on without us", what);
		else if (cli_wait_over(cli))
			rc = err_set(e, ERR_AGAIN, "the %s is not done; it goes on without us", what);
		if (rc != 0)
			break;
	}
	cli->wait = NULL;
	if (rc == 0 && (*reply)->msg.u.store_status.code != 0) {
		const struct msg_text *text = &(*reply)->msg.u.store_status.text;
		rc = err_set(e, (*reply)->msg.u.store_status.code, "%.*s", (int)text->len,
			     text->len > 0 ? text->text : "");
		msg_free(reply);
	}
	return rc;
}

static int copy_emit(struct cli *cli, const char *folder, const struct store_backup_tally *t)
{
	struct buf text = BUF_INIT;
	struct json_w w;
	json_w_init(&w, &text);
	json_w_open(&w, '{');
	json_w_member_str(&w, "folder", folder);
	json_w_member_uint(&w, "events", t->event_count);
	json_w_member_uint(&w, "versions", t->version_count);
	json_w_member_uint(&w, "chunks", t->chunk_count);
	json_w_member_uint(&w, "chunk_bytes", t->byte_count);
	json_w_member_uint(&w, "bad_chunks", t->bad_count);
	json_w_close(&w);
	return cli_emit(cli, &text);
}

static int copy_print(struct cli *cli, const char *folder, const struct store_backup_tally *t)
{
	struct err e = ERR_INIT;
	int status = CLI_OK;
	if (cli_is_structured(cli))
		status = copy_emit(cli, folder, t);
	else
		cli_line(stdout,
			 "%s: %" PRIu64 " event%s, %" PRIu64 " version%s, %" PRIu64 " chunk%s, %" PRIu64 " bytes",
			 folder, t->event_count, cli_plural(t->event_count), t->version_count,
			 cli_plural(t->version_count), t->chunk_count, cli_plural(t->chunk_count), t->byte_count);
	if (t->bad_count == 0)
		return status;
	err_set(&e, ERR_CORRUPT,
		"%" PRIu64
		" chunk%s did not match %s hash and %s set apart in the copy: `amend store verify` says what "
		"needs them; a coordinator that starts on it fetches them from workers and nodes that have them",
		t->bad_count, cli_plural(t->bad_count), t->bad_count == 1 ? "its" : "their",
		t->bad_count == 1 ? "is" : "are");
	return cli_fail(cli, &e);
}

/* The coordinator has another working folder than we. */
static int path_absolute(const char *path, char out[PATH_MAX], struct err *e)
{
	char here[PATH_MAX] = "";
	if (path[0] != '/' && getcwd(here, sizeof here) == NULL)
		return err_errno(e, ERR_IO, errno, "looking for the working folder");
	size_t len = strlen(path);
	while (len > 1 && path[len - 1] == '/')
		len--;
	int n = path[0] == '/' ? snprintf(out, PATH_MAX, "%.*s", (int)len, path)
			       : snprintf(out, PATH_MAX, "%s/%.*s", here, (int)len, path);
	return n <= MSG_FOLDER_BYTES_MAX && len > 0 ? 0
						    : err_set(e, ERR_INVALID, "FOLDER: its path is empty or too long");
}

int cli_store_backup(struct cli *cli, const struct cli_args *args)
{
	struct err e = ERR_INIT;
	struct msg_received *reply = NULL;
	char folder[PATH_MAX];
	if (path_absolute(args->words[0], folder, &e) != 0)
		return cli_misuse(&e);
	struct msg_store_run run = { .action = MSG_STORE_BACKUP, .folder = { folder, strlen(folder) } };
	if (run_wait(cli, run, "backup", &reply, &e) != 0)
		return cli_fail(cli, &e);
	const struct msg_store_status *s = &reply->msg.u.store_status;
	struct store_backup_tally tally = { s->event_count, s->version_count, s->chunk_count, s->byte_count,
					    s->bad_count };
	msg_free(&reply);
	return copy_print(cli, folder, &tally);
}

/* The same copy, the other way: whatever cuts it short leaves no folder that could be started. */
static int restore(const char *from, const char *to, struct store_backup_tally *tally, struct err *e)
{
	struct store *store = NULL;
	struct store_options options = { .env = env_system(), .inspect = true };
	int rc = store_open(from, &options, &store, e);
	if (rc == 0)
		rc = store_restore(store, to, tally, e);
	store_close(&store);
	return rc;
}

int cli_store_restore(struct cli *cli, const struct cli_args *args)
{
	struct err e = ERR_INIT;
	struct store_backup_tally tally;
	char from[PATH_MAX], below[PATH_MAX], to[PATH_MAX];
	int n = snprintf(below, sizeof below, "%s/coordinator", cli->data);
	int rc = n < (int)sizeof below ? path_absolute(args->words[0], from, &e)
				       : err_set(&e, ERR_INVALID, "--data: its path is too long");
	if (rc == 0)
		rc = path_absolute(args->word_count > 1 ? args->words[1] : below, to, &e);
	if (rc != 0)
		return cli_misuse(&e);
	if (restore(from, to, &tally, &e) != 0)
		return cli_fail(cli, &e);
	return copy_print(cli, to, &tally);
}

static int collected_print(struct cli *cli, const struct msg_store_status *s)
{
	struct buf text = BUF_INIT;
	struct json_w w;
	if (!cli_is_structured(cli)) {
		cli_line(stdout,
			 "%" PRIu64 " chunk%s, %" PRIu64
			 " bytes given back: later chunks take their place, the file stays as large as it is",
			 s->chunk_count, cli_plural(s->chunk_count), s->byte_count);
		if (s->text.len > 0)
			cli_line(stdout, "%.*s", (int)s->text.len, s->text.text);
		return CLI_OK;
	}
	json_w_init(&w, &text);
	json_w_open(&w, '{');
	json_w_member_uint(&w, "chunks", s->chunk_count);
	json_w_member_uint(&w, "chunk_bytes", s->byte_count);
	json_w_member_strn(&w, "note", s->text.text, s->text.len);
	json_w_close(&w);
	return cli_emit(cli, &text);
}

int cli_store_gc(struct cli *cli, const struct cli_args *args)
{
	struct err e = ERR_INIT;
	struct msg_received *reply = NULL;
	struct msg_store_run run = { .action = MSG_STORE_COLLECT, .folder = { "", 0 } };
	const char *keep = cli_value(args, "keep");
	if (keep != NULL && cli_number(keep, "--keep", 1, UINT64_MAX, &run.keep_versions, &e) != 0)
		return cli_misuse(&e);
	if (run_wait(cli, run, "collection", &reply, &e) != 0)
		return cli_fail(cli, &e);
	int status = collected_print(cli, &reply->msg.u.store_status);
	msg_free(&reply);
	return status;
}
