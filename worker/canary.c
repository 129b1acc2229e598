/* canary.c: a candidate is asked the canaries: its manifest and what it names are fetched, then the engine asks. It
 * goes before the groups that wait, and between two steps of the one that is trained, as edits that are trained wait
 * for it. What is asked for next takes the place of the last.
 */
#include "worker/internal.h"

#include "base/log.h"

#include <string.h>

#define ROOTS_PART 1024 /* blobs of one fetch */

static const struct sm_state states[WORKER__CANARY_STATE_COUNT] = {
	[WORKER__CANARY_NONE] = { "none", SM_TO(WORKER__CANARY_MANIFEST) },
	[WORKER__CANARY_MANIFEST] = { "manifest", SM_TO(WORKER__CANARY_BLOBS) | SM_TO(WORKER__CANARY_NONE) },
	[WORKER__CANARY_BLOBS] = { "blobs", SM_TO(WORKER__CANARY_QUEUED) | SM_TO(WORKER__CANARY_NONE) },
	[WORKER__CANARY_QUEUED] = { "queued", SM_TO(WORKER__CANARY_ASKED) | SM_TO(WORKER__CANARY_NONE) },
	[WORKER__CANARY_ASKED] = { "asked", SM_TO(WORKER__CANARY_NONE) },
};
static const struct sm_table canary_states = { "canary", states, WORKER__CANARY_STATE_COUNT, WORKER__CANARY_NONE };

void worker__canary_init(struct worker *w)
{
	sm_init(&w->canary.sm, &canary_states, NULL);
}

/* Where it is lost, the coordinator asks again after a while. */
static void result_send(struct worker *w, int code, const struct err *e, const struct worker_canary_answer *answer)
{
	struct msg msg = { .type = MSG_CANARY_RESULT, .request_id = ++w->request_id };
	struct msg_canary_result *result = &msg.u.canary_result;
	result->content = w->canary.run.content;
	result->code = code;
	result->text = (struct msg_text){ code != 0 ? e->text : "", code != 0 ? strlen(e->text) : 0 };
	if (code == 0) {
		result->asked = answer->asked;
		result->changed_total = answer->changed_total;
		result->changed = answer->changed;
		result->changed_count = answer->changed_count;
		result->canaries = w->config.canaries->digest;
	}
	log_event(code == 0 ? LOG_INFO : LOG_WARN, "WORKER-CANARIES-ASKED",
		  LOGF_X("content", w->canary.run.content.bytes, 8), LOGF_U("asked", result->asked),
		  LOGF_U("changed", result->changed_total), LOGF_S("code", code == 0 ? "0" : err_name(code)),
		  LOGF_S("reason", code == 0 ? "" : e->text));
	sm_move(&w->canary.sm, WORKER__CANARY_NONE);
	(void)worker__send(w, &msg);
}

static void blobs_fetched(void *context, int code);

static void failed(struct worker *w, const struct err *e)
{
	result_send(w, e->code, e, NULL);
}

static struct worker *worker_of(struct worker__canary *canary)
{
	return (struct worker *)((char *)canary - offsetof(struct worker, canary));
}

/* The next part of what the manifest names: a large version has more memories than one fetch takes, and the disk is
 * read for what is here already. */
static int blobs_fetch(struct worker *w, struct err *e)
{
	struct worker__canary *canary = &w->canary;
	const struct hash *roots = (const void *)canary->roots.data;
	const size_t left = canary->roots.len / sizeof *roots - canary->root_next;
	const size_t count = left < ROOTS_PART ? left : ROOTS_PART;
	if (count == 0) {
		buf_free(&canary->roots);
		sm_move(&canary->sm, WORKER__CANARY_QUEUED);
		return 0;
	}
	const size_t first = canary->root_next;
	canary->root_next += count;
	return worker_fetch_verified(w->fetch, roots + first, count, blobs_fetched, canary, e);
}

static void blobs_fetched(void *context, int code)
{
	struct worker *w = worker_of(context);
	struct err e = ERR_INIT;
	if (code != 0)
		code = err_set(&e, code, "a memory of the candidate cannot be fetched: %s", err_text(code));
	else
		code = blobs_fetch(w, &e);
	if (code != 0)
		failed(w, &e);
}

static void manifest_fetched(void *context, int code)
{
	struct worker__canary *canary = context;
	struct worker *w = worker_of(canary);
	struct err e = ERR_INIT;
	buf_clear(&canary->roots);
	canary->root_next = 0;
	int rc = code != 0 ? err_set(&e, code, "the candidate's manifest cannot be fetched: %s", err_text(code))
			   : w->config.canaries->roots(w->config.canaries->context, w->blobs, &canary->run,
						       &canary->roots, &e);
	if (rc == 0) {
		sm_move(&canary->sm, WORKER__CANARY_BLOBS);
		rc = blobs_fetch(w, &e);
	}
	if (rc != 0)
		failed(w, &e);
}

/* What is under way for another content comes to nothing. */
static void forget(struct worker *w)
{
	worker_fetch_cancel(w->fetch, &w->canary);
	if (w->job != NULL && w->job->kind == WORKER__CANARIES)
		atomic_store(&w->job->cancel, true);
	if (w->canary.aside != NULL)
		atomic_store(&w->canary.aside->cancel, true);
	if (w->canary.sm.state != WORKER__CANARY_NONE)
		sm_move(&w->canary.sm, WORKER__CANARY_NONE);
}

void worker__canary_run(struct worker *w, const struct msg_canary_run *run)
{
	struct err e = ERR_INIT;
	if (w->closed || !w->greeted)
		return;
	if (w->canary.sm.state != WORKER__CANARY_NONE && hash_equal(&w->canary.run.content, &run->content))
		return; /* it is on its way */
	forget(w);
	w->canary.run = *run;
	sm_move(&w->canary.sm, WORKER__CANARY_MANIFEST);
	int rc = w->config.canaries == NULL
			 ? err_set(&e, ERR_UNSUPPORTED, "this worker has no canaries")
			 : worker_fetch_verified(w->fetch, &run->root, 1, manifest_fetched, &w->canary, &e);
	if (rc != 0)
		failed(w, &e);
}

static void job_submit(struct worker *w, struct worker__job *job)
{
	struct err e = ERR_INIT;
	w->job = job;
	int rc = pool_submit(w->pool, &job->pool_job);
	if (rc == 0)
		return;
	w->job = NULL;
	worker__job_destroy(&job);
	err_set(&e, rc, "the engine takes no job: %s", err_text(rc));
	failed(w, &e);
}

static void aside_done(struct worker *w)
{
	struct worker__job *job = w->canary.aside;
	w->canary.aside = NULL;
	worker__canary_done(w, job);
	worker__job_destroy(&job);
}

void worker__canary_start(struct worker *w)
{
	struct worker__job *job = NULL;
	struct err e = ERR_INIT;
	if (w->canary.aside != NULL && atomic_load(&w->canary.aside->finished))
		aside_done(w);
	const bool steps = w->job != NULL && (w->job->kind == WORKER__TRAIN || w->job->kind == WORKER__GATE);
	if ((w->job != NULL && !steps) || w->canary.aside != NULL || w->canary.sm.state != WORKER__CANARY_QUEUED)
		return;
	if (worker__job_new(w, WORKER__CANARIES, &job, &e) != 0) {
		failed(w, &e);
		return;
	}
	job->canary = w->canary.run;
	sm_move(&w->canary.sm, WORKER__CANARY_ASKED);
	if (!steps) {
		job_submit(w, job);
		return;
	}
	w->canary.aside = job;
	atomic_store(&w->canary.offered, job);
}

void worker__canary_aside(struct worker *w)
{
	struct worker__job *job = atomic_exchange(&w->canary.offered, NULL);
	if (job == NULL)
		return;
	job->pool_job.run(&job->pool_job);
	atomic_store(&job->finished, true);
}

/* What the engine has not come to is its next job. */
void worker__canary_aside_end(struct worker *w)
{
	struct worker__job *job = atomic_exchange(&w->canary.offered, NULL);
	if (job == NULL)
		return;
	w->canary.aside = NULL;
	if (w->job == NULL && !atomic_load(&job->cancel))
		job_submit(w, job);
	else
		worker__job_destroy(&job);
}

void worker__canary_fini(struct worker *w)
{
	worker__job_destroy(&w->canary.aside);
	buf_free(&w->canary.roots);
}

int worker__canary_job(struct worker__job *job, const struct editor_watch *watch)
{
	const struct worker_canaries *canaries = job->worker->config.canaries;
	return canaries->ask(canaries->context, job->worker->model, job->worker->blobs, &job->canary, watch,
			     &job->answer, &job->error);
}

void worker__canary_done(struct worker *w, struct worker__job *job)
{
	if (w->canary.sm.state != WORKER__CANARY_ASKED || !hash_equal(&w->canary.run.content, &job->canary.content))
		return; /* another is asked for since */
	result_send(w, job->code, &job->error, &job->answer);
}

/* --- Ahead: a little at a time, so that edits which come meanwhile hardly wait. */

void worker__canary_ahead_start(struct worker *w)
{
	const struct worker_canaries *canaries = w->config.canaries;
	struct worker__job *job = NULL;
	struct err e = ERR_INIT;
	if (w->job != NULL || w->canary.ahead || !w->greeted || w->closed || !w->config.canaries_ahead ||
	    canaries == NULL || canaries->prepare == NULL || w->config.editor.family == EDITOR_FAMILY_PAPER)
		return; /* by gaps nothing can be known ahead */
	if (worker__job_new(w, WORKER__CANARIES_AHEAD, &job, &e) != 0)
		return; /* at the next tick, perhaps */
	/* a copy: HelloReply may change the worker's meanwhile */
	buf_append(&job->calibration_in, w->calibration.data, w->calibration.len);
	w->job = job;
	if (!buf_failed(&job->calibration_in) && pool_submit(w->pool, &job->pool_job) == 0)
		return;
	w->job = NULL;
	worker__job_destroy(&job);
}

int worker__canary_ahead_job(struct worker__job *job, const struct editor_watch *watch)
{
	const struct worker *w = job->worker;
	return w->config.canaries->prepare(w->config.canaries->context, w->model, job->calibration_in.data,
					   job->calibration_in.len, watch, &job->more, &job->error);
}

/* Who is asked reads what is missing, and says what is wrong. */
void worker__canary_ahead_done(struct worker *w, const struct worker__job *job)
{
	w->canary.ahead = job->code != 0 || !job->more;
	if (job->code != 0 && job->code != ERR_INTERRUPTED)
		log_event(LOG_WARN, "WORKER-CANARIES-UNREAD", LOGF_S("code", err_name(job->code)),
			  LOGF_S("reason", job->error.text));
}
