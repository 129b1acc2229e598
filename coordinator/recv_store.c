/* recv_store.c: work on the data folder that an administrator asks for while the coordinator runs. A copy is made on a
 * thread of its own, which only reads. */
#include "coordinator/internal.h"

#include <stdlib.h>
#include <string.h>

struct store_work {
	struct pool_job job; /* first: the pool gives it back */
	struct pool *pool;   /* NULL: a collection, which the tick does */
	struct store *store;
	atomic_bool stop;
	uint64_t id;
	char *folder;
	bool done;
	int code;
	struct err error;
	struct store_backup_tally tally; /* the job's until it is done */
	struct collection collection;
	struct store_collect_tally collected;
};

static void backup_run(struct pool_job *job)
{
	struct store_work *work = (struct store_work *)job;
	work->code = store_backup(work->store, work->folder, &work->stop, &work->tally, &work->error);
}

static void backup_done(struct pool_job *job)
{
	struct store_work *work = (struct store_work *)job;
	work->done = true;
	if (work->code != 0)
		log_event(LOG_ERROR, "COORDINATOR-BACKUP-FAILED", LOGF_S("folder", work->folder),
			  LOGF_S("reason", work->error.text));
	else
		log_event(LOG_INFO, "COORDINATOR-BACKUP-MADE", LOGF_S("folder", work->folder),
			  LOGF_U("seq", work->tally.event_count), LOGF_U("chunks", work->tally.chunk_count),
			  LOGF_U("damaged", work->tally.bad_count));
}

static void collect_advance(struct coordinator *c, struct store_work *work)
{
	work->code = coordinator__collect_step(c, &work->collection, &work->collected, &work->error);
	work->done = work->code != 0 || !work->collected.more;
	if (work->done)
		coordinator__collect_end(&work->collection);
	if (work->code == ERR_IO)
		coordinator__fail(c, &work->error);
	else if (work->done)
		coordinator__collect_log(&work->collected, work->code, &work->error);
}

void coordinator__store_work_poll(struct coordinator *c)
{
	struct store_work *work = c->store_work;
	if (work == NULL)
		return;
	if (work->pool != NULL)
		(void)pool_poll(work->pool);
	else if (!work->done && c->failure.code == 0 && !atomic_load(&work->stop))
		collect_advance(c, work);
}

void coordinator__store_work_stop(struct coordinator *c)
{
	if (c->store_work != NULL)
		atomic_store(&c->store_work->stop, true);
}

/* What it needed, but for its result. Waits for its end. */
static void work_end(struct store_work *work)
{
	atomic_store(&work->stop, true);
	pool_destroy(&work->pool);
	coordinator__collect_end(&work->collection);
	free(work->folder);
	work->folder = NULL;
}

static void work_free(struct store_work **work)
{
	if (*work == NULL)
		return;
	work_end(*work);
	free(*work);
	*work = NULL;
}

void coordinator__store_work_free(struct coordinator *c)
{
	work_free(&c->store_work);
	for (size_t i = 0; i < STORE_PAST_MAX; i++)
		work_free(&c->store_past[i]);
}

static void work_keep(struct coordinator *c)
{
	if (c->store_work == NULL)
		return;
	work_end(c->store_work);
	work_free(&c->store_past[STORE_PAST_MAX - 1]);
	memmove(&c->store_past[1], &c->store_past[0], (STORE_PAST_MAX - 1) * sizeof c->store_past[0]);
	c->store_past[0] = c->store_work;
	c->store_work = NULL;
}

static const struct store_work *work_find(const struct coordinator *c, uint64_t id)
{
	const struct store_work *found = c->store_work != NULL && c->store_work->id == id ? c->store_work : NULL;
	for (size_t i = 0; i < STORE_PAST_MAX && found == NULL && c->store_past[i] != NULL; i++)
		found = c->store_past[i]->id == id ? c->store_past[i] : NULL;
	return found;
}

static int backup_begin(struct coordinator *c, struct store_work *work, const struct msg_store_run *run, struct err *e)
{
	if (run->folder.len == 0 || run->folder.text[0] != '/')
		return err_set(e, ERR_INVALID, "a backup's folder is an absolute path on the coordinator's machine");
	work->store = c->store;
	work->job = (struct pool_job){ .run = backup_run, .done = backup_done };
	work->folder = strndup(run->folder.text, run->folder.len);
	int rc = work->folder == NULL ? err_set(e, ERR_NOMEM, "out of memory")
				      : pool_new(c->config.store_threads, 1, &work->pool, e);
	if (rc == 0 && (rc = pool_submit(work->pool, &work->job)) != 0)
		err_set(e, rc, "the backup does not begin: %s", err_text(rc));
	return rc;
}

static int work_begin(struct coordinator *c, const struct msg_received *received, struct err *e)
{
	const struct msg_store_run *run = &received->msg.u.store_run;
	if (c->closed)
		return err_set(e, ERR_AGAIN, "the coordinator ends");
	work_keep(c);
	struct store_work *work = fault_calloc(1, sizeof *work);
	if (work == NULL)
		return err_set(e, ERR_NOMEM, "out of memory");
	c->store_work = work;
	work->id = run->id;
	atomic_init(&work->stop, false);
	int rc = run->action == MSG_STORE_BACKUP
			 ? backup_begin(c, work, run, e)
			 : coordinator__collect_begin(c, run->keep_versions, received->peer_key, &work->collection, e);
	if (rc != 0)
		work_free(&c->store_work);
	return rc;
}

static void status_fill(const struct store_work *work, struct msg_store_status *out)
{
	out->done = work->done;
	if (!work->done)
		return;
	out->code = work->code;
	out->event_count = work->tally.event_count;
	out->version_count = work->tally.version_count;
	out->chunk_count = work->tally.chunk_count + work->collected.chunk_count;
	out->byte_count = work->tally.byte_count + work->collected.byte_count;
	out->bad_count = work->tally.bad_count;
	out->text = coordinator__text(work->code != 0 ? work->error.text : work->collection.note);
}

void coordinator__recv_store_run(struct coordinator *c, const struct msg_received *received)
{
	const struct msg_store_run *run = &received->msg.u.store_run;
	const struct store_work *work = work_find(c, run->id);
	struct err e = ERR_INIT;
	struct msg msg = { .type = MSG_STORE_STATUS };
	int rc = 0;
	if (work == NULL && c->store_work != NULL && !c->store_work->done)
		rc = err_set(&e, ERR_BUSY, "a backup or a collection is at work: wait for its end");
	else if (work == NULL)
		rc = work_begin(c, received, &e);
	if (c->failure.code != 0)
		return;
	if (rc == 0) {
		status_fill(work != NULL ? work : c->store_work, &msg.u.store_status);
	} else {
		msg.u.store_status.code = rc;
		msg.u.store_status.done = true;
		msg.u.store_status.text = coordinator__text(e.text);
	}
	coordinator__reply(c, received, &msg);
}
