/* work.c: one lease, from Lease to ShardCommitReply: fetch the committed delta, want edits, hand the group to the
 * engine, store, upload, commit. */
#include "worker/internal.h"

#include "base/fault.h"
#include "base/log.h"
#include "base/text.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define DELTA_BYTES_MAX (128 * 1024 * 1024)
/* So long a finished group waits for its disk or the coordinator's; then another worker may try. */
#define RESULT_WAIT_US (120 * INT64_C(1000000))

static const struct sm_state states[WORKER__STATE_COUNT] = {
	[WORKER__FETCHING] = { "fetching", SM_TO(WORKER__WANTING) },
	[WORKER__WANTING] = { "wanting", SM_TO(WORKER__QUEUED) },
	[WORKER__QUEUED] = { "queued", SM_TO(WORKER__WORKING) },
	[WORKER__WORKING] = { "working", SM_TO(WORKER__UPLOADING) | SM_TO(WORKER__COMMITTING) },
	[WORKER__UPLOADING] = { "uploading", SM_TO(WORKER__COMMITTING) | SM_TO(WORKER__UPLOADING) },
	[WORKER__COMMITTING] = { "committing", SM_TO(WORKER__UPLOADING) | SM_TO(WORKER__WANTING) },
};
const struct sm_table worker__work_states = { "work", states, WORKER__STATE_COUNT, WORKER__FETCHING };

struct worker__work *worker__work_find(struct worker *w, uint64_t shard, enum msg_lease_kind kind)
{
	for (size_t i = 0; i < w->work_count; i++)
		if (w->works[i]->shard == shard && w->works[i]->kind == kind)
			return w->works[i];
	return NULL;
}

void worker__work_drop(struct worker *w, struct worker__work *work)
{
	worker_fetch_cancel(w->fetch, work);
	if (w->upload_owner == work) {
		worker_upload_cancel(w->upload);
		w->upload_owner = NULL;
	}
	if (w->job != NULL && w->job->work == work) {
		atomic_store(&w->job->cancel, true);
		w->job->work = NULL;
	}
	worker__job_destroy(&work->commit);
	worker__inbox_clear(work);
	buf_free(&work->payloads);
	editor_shard_destroy(&work->shard_memory);
	free(work->received);
	for (size_t i = 0; i < w->work_count; i++)
		if (w->works[i] == work)
			w->works[i] = w->works[--w->work_count];
	free(work);
}

void worker__work_give_back(struct worker *w, struct worker__work *work, int code)
{
	const uint64_t shard = work->shard, epoch = work->epoch;
	worker__work_drop(w, work);
	worker__release(w, shard, epoch, code);
}

/* Only what the engine says of an edit is held against the group (ERR_INVALID in msg.h). */
int worker__blameless(int code)
{
	return code == ERR_INVALID ? ERR_EXTERNAL : code;
}

static void want(struct worker__work *work)
{
	struct worker *w = work->worker;
	struct msg msg = { .type = MSG_WANT,
			   .request_id = ++w->request_id,
			   .u.want = { work->shard, work->epoch, (uint32_t)STORE_SHARD_EDITS_MAX, work->received_count,
				       work->replays_held } };
	work->asked_us = env_monotonic_us(w->env);
	(void)worker__send(w, &msg);
}

static void fetched(void *context, int code)
{
	struct worker__work *work = context;
	if (code != 0) { /* the coordinator names what it cannot give */
		log_event(LOG_ERROR, "WORKER-DELTA-UNAVAILABLE", LOGF_U("shard", work->shard),
			  LOGF_S("code", err_name(code)));
		worker__work_give_back(work->worker, work, worker__blameless(code));
		return;
	}
	sm_move(&work->sm, WORKER__WANTING);
	want(work);
}

static void committed(struct worker__work *work);

/* A lease that continues what is held already (the coordinator restarted, or granted it again): only the epoch is new.
 */
static bool lease_adopt(struct worker *w, const struct msg_lease *lease)
{
	struct worker__work *work = worker__work_find(w, lease->shard, lease->kind);
	if (work == NULL)
		return false;
	if (lease->epoch < work->epoch)
		return true; /* a late message */
	if (lease->kind == MSG_LEASE_TRAIN && work->sm.state == WORKER__COMMITTING &&
	    lease->shard_version == work->shard_version + 1 &&
	    hash_equal(&lease->delta_root, &work->commit->delta_root)) {
		work->epoch = lease->epoch; /* only the answer to the commit was lost */
		committed(work);
		return true;
	}
	if (lease->kind == MSG_LEASE_TRAIN && lease->shard_version == work->shard_version &&
	    hash_equal(&lease->delta_root, &work->delta_root)) {
		bool changed = lease->epoch != work->epoch;
		work->epoch = lease->epoch;
		if (changed && work->sm.state == WORKER__WANTING) {
			worker__inbox_clear(work);
			want(work);
		} else {
			work->asked_us = WORKER__ASK_NOW; /* a commit in flight is sent again under the new epoch */
		}
		return true;
	}
	if (lease->epoch == work->epoch)
		return true;
	worker__work_drop(w, work);
	return false;
}

void worker__work_lease(struct worker *w, const struct msg_lease *lease)
{
	struct err e = ERR_INIT;
	if (lease_adopt(w, lease))
		return;
	struct worker__work *work = w->work_count < WORKER__LEASES_MAX ? fault_calloc(1, sizeof *work) : NULL;
	if (work == NULL) {
		log_event(LOG_ERROR, "WORKER-LEASE-REFUSED", LOGF_U("shard", lease->shard),
			  LOGF_U("held", w->work_count));
		worker__release(w, lease->shard, lease->epoch,
				w->work_count < WORKER__LEASES_MAX ? ERR_NOMEM : ERR_LIMIT);
		return;
	}
	sm_init(&work->sm, &worker__work_states, NULL);
	work->worker = w;
	work->kind = lease->kind;
	work->shard = lease->shard;
	work->epoch = lease->epoch;
	work->shard_version = lease->shard_version;
	work->delta_root = lease->delta_root;
	work->covered = w->config.editor.family == EDITOR_FAMILY_PAPER; /* until an edit is removed */
	w->works[w->work_count++] = work;
	log_event(LOG_INFO, "WORKER-LEASE-HELD", LOGF_S("kind", lease->kind == MSG_LEASE_GATE ? "gate" : "train"),
		  LOGF_U("shard", lease->shard), LOGF_U("epoch", lease->epoch),
		  LOGF_U("version", lease->shard_version));
	int rc = worker_fetch_verified(w->fetch, &work->delta_root, 1, fetched, work, &e);
	if (rc != 0) {
		log_event(LOG_ERROR, "WORKER-FETCH-REFUSED", LOGF_U("shard", lease->shard), LOGF_S("reason", e.text));
		worker__work_give_back(w, work, worker__blameless(rc));
	}
}

/* Before the work, so that nothing is left to fail after its commit. */
static int received_reserve(struct worker__work *work, struct err *e)
{
	size_t count = work->received_count + work->edit_count;
	uint64_t *received = fault_realloc(work->received, (count + 1) * sizeof *received);
	if (received == NULL)
		return err_set(e, ERR_NOMEM, "out of memory for %zu edits", count);
	work->received = received;
	return 0;
}

static int job_fill(struct worker__work *work, struct worker__job *job, struct err *e)
{
	struct worker *w = work->worker;
	int reserved = received_reserve(work, e);
	if (reserved != 0)
		return reserved;
	if (work->shard_memory == NULL && !hash_is_zero(&work->delta_root)) {
		int rc = store_blob_get(w->blobs, &work->delta_root, DELTA_BYTES_MAX, &job->delta, e);
		if (rc != 0) {
			err_wrap(e, "reading the committed delta");
			return rc;
		}
	}
	job->work = work;
	job->shard = work->shard_memory;
	job->payloads = work->payloads;
	job->edits = work->edits;
	job->edit_count = work->edit_count;
	job->replays = work->replays;
	job->replay_count = work->replay_count;
	job->fresh_sent = job->fresh_count = work->fresh_count;
	job->removed = work->removed;
	job->removed_count = work->removed_count;
	job->closing = work->closing;
	job->retrain = work->retrain;
	job->covered = work->covered;
	job->shard_id = work->shard;
	job->shard_version = work->shard_version;
	work->shard_memory = NULL;
	work->payloads = (struct buf)BUF_INIT;
	work->edits = work->replays = NULL;
	work->removed = NULL;
	worker__inbox_clear(work);
	return 0;
}

static void job_start(struct worker__work *work)
{
	struct worker *w = work->worker;
	struct worker__job *job = NULL;
	struct err e = ERR_INIT;
	int rc = worker__job_new(w, work->kind == MSG_LEASE_GATE ? WORKER__GATE : WORKER__TRAIN, &job, &e);
	if (rc == 0)
		rc = job_fill(work, job, &e);
	if (rc == 0) {
		sm_move(&work->sm, WORKER__WORKING);
		w->job = job;
		rc = pool_submit(w->pool, &job->pool_job);
		if (rc == 0)
			return;
		w->job = NULL;
		err_set(&e, rc, "the engine takes no job: %s", err_text(rc));
	}
	log_event(LOG_ERROR, "WORKER-JOB-REFUSED", LOGF_U("shard", work->shard), LOGF_S("reason", e.text));
	worker__job_destroy(&job);
	worker__work_give_back(w, work, worker__blameless(rc));
}

/* Freed by one free: the reasons lie behind the results. */
static struct msg_edit_result *results_make(const struct worker__job *job)
{
	size_t count = job->result_count, reason_bytes = msg_result_reason_bytes(count);
	struct msg_edit_result *results = fault_calloc(count + 1, sizeof *results + STORE_REASON_BYTES);
	if (results == NULL)
		return NULL;
	char(*reasons)[STORE_REASON_BYTES] = (void *)(results + count + 1);
	for (size_t i = 0; i < count; i++) {
		const struct editor_result *r = &job->results[i];
		worker__reason_write(r, reasons[i]);
		results[i] = (struct msg_edit_result){ r->seq,
						       r->passed,
						       r->tries,
						       { reasons[i], worker__text_cut(reasons[i], reason_bytes) },
						       r->names_asked > 0 };
	}
	return results;
}

static void commit_send(struct worker__work *work)
{
	struct worker *w = work->worker;
	const struct worker__job *job = work->commit;
	struct msg_edit_result *results = results_make(job);
	if (results == NULL)
		return; /* tick tries again */
	struct msg msg = { .request_id = ++w->request_id };
	work->request_id = msg.request_id;
	work->asked_us = env_monotonic_us(w->env);
	if (work->kind == MSG_LEASE_GATE) {
		uint32_t passed = 0;
		for (size_t i = 0; i < job->result_count; i++)
			passed += job->results[i].passed;
		msg.type = MSG_GATE_RESULT;
		msg.u.gate_result = (struct msg_gate_result){ work->shard, work->epoch, passed,
							      (uint32_t)job->result_count, job->index_root };
	} else {
		const char *mode = job->stats.mode == EDITOR_BREADTH_FIRST ? "breadth-first" : "stream";
		const char *backend = model_backend_of(w->model)->ops->describe(model_backend_of(w->model));
		msg.type = MSG_SHARD_COMMIT;
		msg.u.shard_commit = (struct msg_shard_commit){
			.shard = work->shard,
			.epoch = work->epoch,
			.shard_version = work->shard_version + 1,
			.delta_root = job->delta_root,
			.index_root = job->index_root,
			.calibration_root = w->calibration_root,
			.trained_count = work->group_first + work->group_count,
			.group_first = work->group_first,
			.group_count = work->group_count,
			.closed = work->closing,
			.seed = job->seed,
			.mode = { mode, strlen(mode) },
			.backend = { backend, strlen(backend) },
			.results = results,
			.result_count = job->result_count,
			.train_ms = job->train_ms,
			.retest_ms = job->retest_ms,
			.steps = (uint32_t)job->stats.steps,
			.layer = (uint32_t)editor_shard_layer(work->shard_memory),
		};
	}
	int rc = worker__send(w, &msg);
	free(results);
	if (rc != 0 && rc != ERR_AGAIN && rc != ERR_CLOSED) /* it would fail again and again */
		worker__work_give_back(w, work, worker__blameless(rc));
}

/* Tick tries again, for a while. The copy on this disk may be damaged or not there: it is written anew. */
static void result_failed(struct worker__work *work, int code, const char *reason)
{
	int64_t now = env_monotonic_us(work->worker->env);
	work->commit->stored = false;
	work->asked_us = now;
	if (work->failing_us == 0)
		work->failing_us = now;
	text_show_line(reason, strlen(reason), work->failing, sizeof work->failing);
	if (now - work->failing_us >= RESULT_WAIT_US)
		worker__work_give_back(work->worker, work, worker__blameless(code));
}

static void uploaded(void *context, int code)
{
	struct worker__work *work = context;
	work->worker->upload_owner = NULL;
	if (code != 0) {
		log_event(LOG_ERROR, "WORKER-UPLOAD-FAILED", LOGF_U("shard", work->shard),
			  LOGF_S("code", err_name(code)));
		result_failed(work, code, err_text(code));
		return;
	}
	work->failing_us = 0;
	sm_move(&work->sm, WORKER__COMMITTING);
	commit_send(work);
}

/* Commits the result to the local store first: what is uploaded is what stands on this disk. Damaged chunks are
 * replaced. */
static int result_store(struct worker__work *work, struct worker__job *job, struct err *e)
{
	struct worker *w = work->worker;
	int rc = fault_point("worker.commit.before") != 0
			 ? err_set(e, ERR_FAULT, "planted fault at worker.commit.before")
			 : 0;
	if (rc == 0)
		rc = store_blob_put(w->blobs, job->index_out.data, job->index_out.len, &job->index_root, e);
	if (rc == 0 && work->kind == MSG_LEASE_TRAIN)
		rc = store_blob_put(w->blobs, job->delta_out.data, job->delta_out.len, &job->delta_root, e);
	if (rc == 0 && work->kind == MSG_LEASE_TRAIN)
		rc = store_blob_put(w->blobs, w->calibration.data, w->calibration.len, &w->calibration_root, e);
	if (rc == 0 && fault_point("worker.commit.after") != 0)
		rc = err_set(e, ERR_FAULT, "planted fault at worker.commit.after");
	job->stored = rc == 0;
	return rc;
}

static void upload_start(struct worker__work *work)
{
	struct worker *w = work->worker;
	struct worker__job *job = work->commit;
	struct err e = ERR_INIT;
	if (w->upload_owner != NULL)
		return; /* another lease's; tick comes back */
	int rc = job->stored ? 0 : result_store(work, job, &e);
	struct hash roots[] = { job->index_root, job->delta_root, w->calibration_root };
	const size_t root_count = work->kind == MSG_LEASE_GATE ? 1 : 3; /* a gate's delta is the coordinator's own */
	if (rc == 0)
		rc = worker_upload_start(w->upload, roots, root_count, uploaded, work, &e);
	if (rc == 0) {
		w->upload_owner = work;
		return;
	}
	log_event(LOG_ERROR, "WORKER-UPLOAD-REFUSED", LOGF_U("shard", work->shard), LOGF_S("code", err_name(rc)),
		  LOGF_S("reason", e.text));
	result_failed(work, rc, e.text);
}

static void result_count(struct worker *w, const struct worker__job *job)
{
	for (size_t i = 0; i < job->result_count; i++) {
		w->edits_passed += job->results[i].passed;
		w->edits_failed += !job->results[i].passed;
	}
	w->steps += job->stats.steps;
	w->train_seconds += job->train_ms / 1e3;
}

void worker__work_job_done(struct worker *w, struct worker__work *work, struct worker__job *job)
{
	struct err e = job->error;
	int rc = job->code;
	work->shard_memory = job->shard;
	job->shard = NULL;
	job->work = NULL;
	if (rc != 0) { /* after submit.tries of ERR_INVALID the coordinator singles the poisonous edit out */
		log_event(LOG_ERROR, "WORKER-JOB-FAILED", LOGF_U("shard", work->shard), LOGF_S("code", err_name(rc)),
			  LOGF_S("reason", e.text));
		worker__job_destroy(&job);
		worker__work_give_back(w, work, rc);
		return;
	}
	work->covered = job->covered_out;
	work->replays_held = (uint32_t)editor_shard_replay_count(work->shard_memory);
	work->commit = job;
	result_count(w, job);
	log_event(LOG_INFO, "WORKER-JOB-DONE", LOGF_U("shard", work->shard), LOGF_U("edits", job->result_count),
		  LOGF_U("replays", work->replays_held), LOGF_U("steps", job->stats.steps), LOGF_U("ms", job->train_ms),
		  LOGF_F("loss", job->stats.loss));
	if (work->kind == MSG_LEASE_GATE && job->index_out.len == 0) {
		sm_move(&work->sm, WORKER__COMMITTING);
		commit_send(work);
	} else {
		sm_move(&work->sm, WORKER__UPLOADING);
		upload_start(work);
	}
}

static void committed(struct worker__work *work)
{
	struct worker *w = work->worker;
	bool ended = work->kind == MSG_LEASE_GATE || work->closing;
	w->commits++;
	work->shard_version++;
	work->delta_root = work->commit->delta_root;
	for (size_t i = 0; i < work->commit->edit_count; i++)
		work->received[work->received_count++] = work->commit->edits[i].seq;
	assert(work->kind == MSG_LEASE_GATE || work->received_count == work->group_first + work->group_count);
	worker__job_destroy(&work->commit);
	log_event(LOG_INFO, "WORKER-COMMITTED", LOGF_U("shard", work->shard), LOGF_U("version", work->shard_version));
	if (ended) {
		worker__work_drop(w, work);
		return;
	}
	sm_move(&work->sm, WORKER__WANTING);
	want(work);
}

void worker__work_reply(struct worker *w, const struct msg_shard_commit_reply *reply)
{
	struct worker__work *work = worker__work_find(w, reply->shard, MSG_LEASE_TRAIN);
	if (work == NULL || work->sm.state != WORKER__COMMITTING || work->epoch != reply->epoch)
		work = worker__work_find(w, reply->shard, MSG_LEASE_GATE);
	if (work == NULL || work->sm.state != WORKER__COMMITTING || work->epoch != reply->epoch)
		return;
	if (reply->code == 0) {
		committed(work);
	} else if (reply->code == ERR_NOT_FOUND && work->commit->index_out.len > 0) {
		sm_move(&work->sm, WORKER__UPLOADING);
		upload_start(work);
	} else if (reply->code != ERR_AGAIN && reply->code != ERR_FULL) { /* those two: tick sends it again */
		log_event(LOG_WARN, "WORKER-COMMIT-REFUSED", LOGF_U("shard", work->shard),
			  LOGF_S("code", err_name(reply->code)), LOGF_SN("reason", reply->text.text, reply->text.len));
		if (reply->code == ERR_FENCED)
			worker__work_drop(w, work);
		else
			worker__work_give_back(w, work, worker__blameless(reply->code));
	}
}

static void work_tick(struct worker__work *work, int64_t now)
{
	struct worker *w = work->worker;
	bool late = now - work->asked_us > WORKER__RESEND_US;
	switch (work->sm.state) {
	case WORKER__WANTING:
		if (late) {
			worker__inbox_clear(work); /* what follows a lost message would stand in another order */
			want(work);
		}
		break;
	case WORKER__UPLOADING:
		if (w->upload_owner == NULL && late)
			upload_start(work);
		break;
	case WORKER__COMMITTING:
		if (late)
			commit_send(work);
		break;
	default:
		break;
	}
}

bool worker__work_progress(const struct worker__work *work, struct msg_progress *out)
{
	static const char *const phases[WORKER__STATE_COUNT] = {
		[WORKER__FETCHING] = "fetch", [WORKER__QUEUED] = "queued", [WORKER__UPLOADING] = "upload"
	};
	const struct worker *w = work->worker;
	const struct worker__job *job = w->job;
	const char *phase = phases[work->sm.state];
	*out = (struct msg_progress){ .shard = work->shard, .epoch = work->epoch };
	if (work->sm.state == WORKER__FETCHING) {
		out->done = worker_fetch_arrived(w->fetch);
	} else if (work->sm.state == WORKER__UPLOADING) {
		out->done = worker_upload_stored(w->upload);
	} else if (job != NULL) { /* its own, or the one that it waits for */
		out->done = atomic_load(&job->done);
		out->total = atomic_load(&job->total);
		phase = job->work == work ? atomic_load(&job->phase) : phase;
	}
	if (phase == NULL)
		return false;
	out->phase = (struct msg_text){ phase, strlen(phase) };
	return true;
}

/* The seq of the edit that has waited longest for it; 0: it has none, but would wait for ever behind edits that come
 * and come (a gate, a closing pass, a retraining). */
static uint64_t oldest_fresh(const struct worker__work *work)
{
	uint64_t oldest = UINT64_MAX;
	if (work->kind == MSG_LEASE_GATE || work->fresh_count == 0)
		return 0;
	for (size_t i = work->edit_count - work->fresh_count; i < work->edit_count; i++)
		if (work->edits[i].seq < oldest)
			oldest = work->edits[i].seq;
	return oldest;
}

static struct worker__work *next_queued(const struct worker *w)
{
	struct worker__work *next = NULL;
	uint64_t least = 0;
	for (size_t i = 0; i < w->work_count; i++) {
		struct worker__work *work = w->works[i];
		if (work->sm.state != WORKER__QUEUED)
			continue;
		const uint64_t oldest = oldest_fresh(work);
		if (next != NULL && oldest >= least)
			continue;
		next = work;
		least = oldest;
	}
	return next;
}

void worker__work_tick(struct worker *w)
{
	int64_t now = env_monotonic_us(w->env);
	for (size_t i = w->work_count; i-- > 0;)
		if (i < w->work_count) /* a tick may drop its lease */
			work_tick(w->works[i], now);
	worker__canary_start(w);
	struct worker__work *next = w->job == NULL ? next_queued(w) : NULL;
	if (next != NULL)
		job_start(next);
	worker__canary_ahead_start(w);
}
