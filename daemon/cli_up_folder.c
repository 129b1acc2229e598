/* cli_up_folder.c: what `amend up` keeps in its folder: the lock, keys, settings; and the files that those name. */
#include "daemon/cli_up_internal.h"

#include "base/fault.h"
#include "coordinator/coordinator.h"
#include "daemon/roles.h"
#include "daemon/wise_settings.h"
#include "editor/calibration_file.h"
#include "model/gguf.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- files that the settings name */

/* The next start may be made from another folder. */
static int absolute(const char *what, const char *path, char out[PATH_MAX], struct err *e)
{
	if (path[0] == '\0' || realpath(path, out) != NULL)
		return 0;
	int rc = err_open(e, errno, "%s %s", what, path);
	return rc == ERR_NOT_FOUND ? cli_add_step(e, "check the path") : rc;
}

static int model_find(struct cli_cluster *c, struct err *e)
{
	const char *file = c->cli->config.model;
	struct model_gguf *gguf = NULL;
	int rc = model_gguf_open(file, &gguf, e); /* its header is right: a wrong file leaves no folder behind */
	model_gguf_close(&gguf);
	return rc == 0 ? absolute("model", file, c->model, e) : rc;
}

/* A file that cannot be used leaves no folder behind either. */
static int calibration_find(struct cli_cluster *c, struct err *e)
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
int cli_up__files_find(struct cli_cluster *c, struct err *e)
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

/* --- keys */

/* Loads the pair of `name`, or makes it, and allows it: a start that ended between the two is made good. */
static int key_ensure(struct cli_cluster *c, const char *name, unsigned roles, struct proto_keypair *pair,
		      struct err *e)
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

/* The list as a stopped coordinator's ledger has it. */
static int list_recorded(const char *coordinator, struct proto_allow **out, struct err *e)
{
	struct store_options options = { .env = env_system(), .inspect = true };
	struct store *store = NULL;
	struct store_txn *txn = NULL;
	int rc = store_open(coordinator, &options, &store, e);
	if (rc == 0)
		rc = store_begin_read(store, &txn, e);
	if (rc == 0)
		rc = coordinator_keys_recorded(txn, out, e);
	store_abort(&txn);
	store_close(&store);
	return rc;
}

/* A list that was lost would be made anew of the key files that are here, revoked ones too, and lack all others. */
static int list_ensure(const struct cli_cluster *c, struct err *e)
{
	char allow[PATH_MAX + 80], key[PATH_MAX + 80], coordinator[PATH_MAX + 80], ledger[PATH_MAX + 80];
	struct proto_allow *recorded = NULL;
	bool restored = false;
	snprintf(allow, sizeof allow, "%s/keys/allow", c->folder);
	snprintf(key, sizeof key, "%s/keys/coordinator.key", c->folder);
	snprintf(coordinator, sizeof coordinator, "%s/coordinator", c->folder);
	snprintf(ledger, sizeof ledger, "%s/coordinator/ledger/data.mdb", c->folder);
	if (access(allow, F_OK) == 0 || access(key, F_OK) != 0 || access(ledger, F_OK) != 0)
		return 0;
	int rc = list_recorded(coordinator, &recorded, e);
	if (rc != 0)
		err_wrap(e, "the list of allowed keys is gone, and is written anew from the ledger of a stopped "
			    "coordinator (`amend down`)");
	else
		rc = proto_allow_restore(allow, recorded, &restored, e);
	if (restored)
		cli_line(stderr, "warning: %s was gone: it is written anew from the ledger, revoked keys as such",
			 allow);
	proto_allow_destroy(&recorded);
	return rc;
}

int cli_up__keys_ensure(struct cli_cluster *c, struct err *e)
{
	struct proto_keypair pair = { .public_key = { 0 } };
	char name[32];
	int rc = list_ensure(c, e);
	if (rc == 0)
		rc = key_ensure(c, "coordinator", PROTO_ROLE_ADMIN, &pair, e);
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

static int folder_lock(struct cli_cluster *c, struct err *e)
{
	struct stat locked, named;
	c->folder_fd = open(c->cli->data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (c->folder_fd < 0)
		return err_open(e, errno, "data folder %s", c->cli->data);
	int errnum = fault_point("cli.up.lock") != 0               ? EWOULDBLOCK
		     : flock(c->folder_fd, LOCK_EX | LOCK_NB) != 0 ? errno
								   : 0;
	if (errnum != 0 && errnum != EWOULDBLOCK)
		return err_errno(e, ERR_IO, errnum, "data folder %s: locking it", c->cli->data);
	/* what a start that failed has removed meanwhile is no folder to work in */
	if (errnum != 0 || fstat(c->folder_fd, &locked) != 0 || stat(c->cli->data, &named) != 0 ||
	    locked.st_ino != named.st_ino || locked.st_dev != named.st_dev)
		return err_set(e, ERR_BUSY,
			       "another `amend up` starts the cluster in %s: wait until it has ended, or name another "
			       "folder with --data",
			       c->cli->data);
	return 0;
}

int cli_up__folder_open(struct cli_cluster *c, struct err *e)
{
	const bool is_new = access(c->cli->data, F_OK) != 0;
	int rc = file_make_folder(c->cli->data, e);
	if (rc != 0)
		err_wrap(e, "data folder");
	else
		rc = folder_lock(c, e);
	c->folder_new = rc == 0 && is_new; /* else it may be another start's, who is about to use it */
	if (rc == 0 && realpath(c->cli->data, c->folder) == NULL)
		rc = err_errno(e, ERR_IO, errno, "data folder %s", c->cli->data);
	return rc;
}

void cli_up__folder_close(struct cli_cluster *c)
{
	if (c->folder_fd < 0)
		return;
	if (c->folder_new)
		rmdir(c->folder); /* an empty one: nothing came of the start */
	close(c->folder_fd);
	c->folder_fd = -1;
}

static int settings_keep(struct cli_cluster *c, struct err *e)
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

static int config_write(struct cli_cluster *c, const char *path, struct err *e)
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

/* amend.yaml, which later starts and every command read, is written only when all programs are there: a start that
 * fails leaves none of its settings behind. One that is killed leaves the mark, by which its own are read. */
int cli_up__config_stage(struct cli_cluster *c, struct err *e)
{
	char mark[PATH_MAX];
	int rc = settings_keep(c, e);
	snprintf(c->config, sizeof c->config, "%s/run/amend.yaml", c->folder);
	if (rc == 0)
		rc = config_write(c, c->config, e);
	if (rc == 0)
		rc = cli_start_mark(c->folder, mark, e);
	return rc == 0 ? file_write_atomic(mark, "", 0, 0600, e) : rc;
}

void cli_up__config_drop(struct cli_cluster *c)
{
	char mark[PATH_MAX];
	struct err silent = ERR_INIT;
	if (cli_start_mark(c->folder, mark, &silent) == 0)
		unlink(mark);
}

int cli_up__config_keep(struct cli_cluster *c, struct err *e)
{
	char path[PATH_MAX + 32];
	snprintf(path, sizeof path, "%s/amend.yaml", c->folder);
	int rc = config_write(c, path, e);
	if (rc == 0)
		cli_up__config_drop(c);
	return rc;
}
