/* worker.c: the process's side: hello, heartbeats, dispatch, progress, stop. */
#include "worker/internal.h"

#include "base/fault.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/process.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HELLO_US INT64_C(1000000)

int worker_new(const struct worker_config *config, const struct env *env, struct store *blobs,
	       struct proto_transport *transport, struct pool *pool, struct model *model, struct worker **out,
	       struct err *e)
{
	struct worker *w = fault_calloc(1, sizeof *w);
	if (w == NULL)
		return err_set(e, ERR_NOMEM, "out of memory for the worker");
	w->config = *config;
	w->rate_default = config->editor.rate;
	w->env = env;
	w->blobs = blobs;
	w->transport = transport;
	w->pool = pool;
	w->model = model;
	w->boot = env_random_u64(env);
	w->heartbeat_ms = 1000;
	w->lease_ms = 8000;
	w->hello_us = -HELLO_US;
	worker__canary_init(w);
	int rc = worker_fetch_new(env, blobs, transport, &w->fetch, e);
	if (rc == 0)
		rc = worker_upload_new(env, blobs, transport, &w->upload, e);
	if (rc == 0) {
		rc = worker__calibration_open(w, e);
	}
	if (rc != 0) {
		worker_destroy(&w);
		err_wrap(e, "starting worker %s", config->name);
		return rc;
	}
	*out = w;
	return 0;
}

void worker_destroy(struct worker **worker)
{
	struct worker *w = *worker;
	if (w == NULL)
		return;
	assert(w->job == NULL);
	while (w->work_count > 0)
		worker__work_drop(w, w->works[0]);
	worker__canary_fini(w);
	worker_fetch_destroy(&w->fetch);
	worker_upload_destroy(&w->upload);
	buf_free(&w->calibration);
	editor_calibration_file_fini(&w->given);
	free(w);
	*worker = NULL;
}

/* The coordinator that is there next may have been restored from a backup, and give the same epochs to other work:
 * before it has said which cluster it is nobody hears of what is held. */
static bool is_for_its_cluster(const struct worker *w, const struct msg *msg)
{
	const bool of_lease = msg->type == MSG_WANT || msg->type == MSG_SHARD_COMMIT || msg->type == MSG_GATE_RESULT ||
			      msg->type == MSG_RELEASE;
	return of_lease && !w->closed && w->cluster[0] != '\0';
}

int worker__send(struct worker *w, struct msg *msg)
{
	struct err e = ERR_INIT;
	int rc = !w->greeted && is_for_its_cluster(w, msg)
			 ? err_set(&e, ERR_AGAIN, "the coordinator has not answered the Hello yet")
			 : w->transport->ops->send(w->transport, 0, msg, &e);
	if (rc == ERR_AGAIN || rc == ERR_CLOSED)
		log_event(LOG_DEBUG, "WORKER-UNSENT", LOGF_S("type", msg_type_name((int)msg->type)),
			  LOGF_S("reason", e.text));
	else if (rc != 0)
		log_event(LOG_ERROR, "WORKER-SEND-FAILED", LOGF_S("type", msg_type_name((int)msg->type)),
			  LOGF_S("reason", e.text));
	return rc;
}

static void releases_send(struct worker *w)
{
	int64_t now = env_monotonic_us(w->env);
	size_t kept = 0;
	for (size_t i = 0; i < w->release_count; i++) {
		const struct worker__release release = w->releases[i];
		struct msg msg = { .type = MSG_RELEASE,
				   .request_id = ++w->request_id,
				   .u.release = { release.shard, release.epoch, release.code } };
		int rc = worker__send(w, &msg);
		if ((rc == ERR_AGAIN || rc == ERR_CLOSED) && now < release.until_us)
			w->releases[kept++] = release;
	}
	w->release_count = kept;
}

void worker__release(struct worker *w, uint64_t shard, uint64_t epoch, int code)
{
	log_event(LOG_INFO, "WORKER-LEASE-GIVEN-BACK", LOGF_U("shard", shard), LOGF_U("epoch", epoch),
		  LOGF_S("code", code == 0 ? "0" : err_name(code)));
	if (w->release_count == WORKER__RELEASES_MAX) /* the oldest runs out instead */
		memmove(w->releases, w->releases + 1, --w->release_count * sizeof w->releases[0]);
	w->releases[w->release_count++] =
		(struct worker__release){ shard, epoch, code, env_monotonic_us(w->env) + WORKER__RELEASE_WAIT_US };
	releases_send(w);
}

static struct msg_text text_of(const char *s)
{
	return (struct msg_text){ s, strlen(s) };
}

/* The first worker fixes the cluster's model and layer: who has not taken both, or has no calibration, only asks. */
static bool is_ready(const struct worker *w)
{
	return w->calibrated && w->taken && !w->failed;
}

static void hello_send(struct worker *w)
{
	const struct model_shape *shape = model_shape_of(w->model);
	struct model_backend *backend = model_backend_of(w->model);
	struct msg msg = { .type = MSG_HELLO, .request_id = ++w->request_id };
	if (is_ready(w) && w->joining_id == 0)
		w->joining_id = msg.request_id;
	msg.u.hello = (struct msg_hello){
		.kind = is_ready(w) ? MSG_PEER_WORKER : MSG_PEER_CLIENT,
		.protocol_min = MSG_PROTOCOL_VERSION,
		.protocol_max = MSG_PROTOCOL_VERSION,
		.name = text_of(w->config.name),
		.software = text_of(w->config.software),
		.backend = text_of(backend->ops->describe(backend)),
		.endpoint = text_of(""),
		.boot = w->boot,
		.base_model = *model_digest(w->model),
		.layers = (uint32_t)shape->layers,
		.hidden = (uint32_t)shape->hidden,
		.ffn = (uint32_t)shape->ffn,
		.pid = (uint32_t)getpid(),
		.calibration = w->calibration_named,
		.corpus = w->corpus,
		.canaries = w->config.canaries != NULL ? w->config.canaries->digest : (struct hash){ .bytes = { 0 } },
		.refusal = { w->error.text, w->failed ? strlen(w->error.text) : 0 },
	};
	w->hello_us = env_monotonic_us(w->env);
	(void)worker__send(w, &msg);
}

/* How the cluster trains: with other numbers than another worker's, a shard would have other bytes. */
static int training_take(const struct worker *w, const struct msg_hello_reply *reply, struct editor_config *editor,
			 struct err *e)
{
	editor->seed = reply->seed;
	editor->rate = reply->rate > 0 ? (float)reply->rate : w->rate_default;
	if (reply->layer != UINT32_MAX)
		editor->layer = reply->layer;
	int rc = editor_config_check(editor, model_shape_of(w->model), e);
	if (rc != 0)
		err_wrap(e,
			 "this model cannot be edited with the coordinator's layer %zu and rate %g, set another "
			 "--layer or train.rate",
			 editor->layer, (double)editor->rate);
	return rc;
}

/* The last word of a worker that ends; what the coordinator has said itself it knows. */
static void refusal_tell(struct worker *w)
{
	if (!w->refusal_known)
		hello_send(w);
	w->refusal_known = true;
}

/* The coordinator that is there next may be another one, with another layer. */
static void acquaintance_end(struct worker *w)
{
	w->greeted = w->taken = false;
	w->joining_id = 0;
}

/* Leases of one cluster say nothing in another, as after a restoration: shards, epochs and edits are numbered anew. */
static void cluster_set(struct worker *w, const struct msg_text *id)
{
	char name[WORKER__CLUSTER_BYTES];
	snprintf(name, sizeof name, "%.*s", (int)id->len, id->text != NULL ? id->text : "");
	if (strcmp(name, w->cluster) == 0)
		return;
	const bool changed = w->cluster[0] != '\0';
	memcpy(w->cluster, name, sizeof name);
	if (!changed)
		return;
	log_event(LOG_WARN, "WORKER-CLUSTER-CHANGED", LOGF_S("cluster", name), LOGF_U("leases", w->work_count));
	while (w->work_count > 0)
		worker__work_drop(w, w->works[0]);
	w->release_count = 0;
}

static void hello_reply(struct worker *w, const struct msg_hello_reply *reply, uint64_t request_id)
{
	if (w->failed || reply->code == ERR_AGAIN)
		return; /* asked again in a second */
	if (reply->code != 0) {
		w->failed = w->refusal_known = true;
		err_set(&w->error, reply->code, "the coordinator refused this worker: %.*s", (int)reply->text.len,
			reply->text.text);
		return;
	}
	struct err e = ERR_INIT;
	int rc = worker__calibration_settings(w, reply, &e);
	struct editor_config trial = w->config.editor;
	if (rc == 0)
		rc = training_take(w, reply, &trial, &e);
	if (rc != 0) {
		w->failed = true;
		w->error = e;
		return;
	}
	w->taken = true;
	if (w->joining_id == 0 && is_ready(w))
		hello_send(w);
	if (w->joining_id == 0 || request_id < w->joining_id)
		return;
	w->heartbeat_ms = reply->heartbeat_ms > 0 ? reply->heartbeat_ms : w->heartbeat_ms;
	w->lease_ms = reply->lease_ms > 0 ? reply->lease_ms : w->lease_ms;
	w->config.editor = trial;
	cluster_set(w, &reply->cluster_id);
	if (!w->greeted)
		log_event(LOG_INFO, "WORKER-JOINED", LOGF_SN("cluster", reply->cluster_id.text, reply->cluster_id.len),
			  LOGF_U("version", reply->version), LOGF_U("layer", w->config.editor.layer),
			  LOGF_F("rate", w->config.editor.rate));
	w->greeted = true;
	w->heard_us = w->heartbeat_us = env_monotonic_us(w->env);
}

static void fenced(struct worker *w, const struct msg_fenced *fenced)
{
	for (int kind = MSG_LEASE_TRAIN; kind <= MSG_LEASE_GATE; kind++) {
		struct worker__work *work = worker__work_find(w, fenced->shard, (enum msg_lease_kind)kind);
		/* a gate's epochs start above 2^32: its merge may have the number of a shard */
		if (work == NULL || work->epoch > fenced->epoch || work->epoch >> 32 != fenced->epoch >> 32)
			continue;
		log_event(LOG_WARN, "WORKER-LEASE-LOST", LOGF_U("shard", work->shard), LOGF_U("epoch", work->epoch));
		worker__work_drop(w, work);
	}
}

static void error_reply(struct worker *w, const struct msg_error *error)
{
	log_event(LOG_WARN, "WORKER-REFUSED", LOGF_S("code", err_name(error->code)),
		  LOGF_SN("reason", error->text.text, error->text.len));
	if (error->code == ERR_DENIED || error->code == ERR_UNSUPPORTED) {
		w->failed = w->refusal_known = true;
		err_set(&w->error, error->code, "the coordinator refused this worker: %.*s", (int)error->text.len,
			error->text.text);
	} else if (error->code == ERR_NOT_FOUND) { /* a coordinator that does not know us: greet it again */
		acquaintance_end(w);
	}
}

void worker_receive(struct worker *w, struct msg_received **received)
{
	const struct msg *msg = &(*received)->msg;
	int64_t now = env_monotonic_us(w->env);
	if (msg->type == MSG_HINT)
		return; /* it comes on a link of its own and says nothing of the leases' */
	if (w->greeted && now - w->heard_us > (int64_t)w->heartbeat_ms * 2000)
		w->heartbeat_us = 0; /* leases counted from the silence's begin: they are renewed at once */
	w->heard_us = now;
	if (worker_fetch_receive(w->fetch, msg) || worker_upload_receive(w->upload, msg))
		return;
	switch (msg->type) {
	case MSG_HELLO_REPLY:
		hello_reply(w, &msg->u.hello_reply, msg->request_id);
		break;
	case MSG_LEASE:
		if (!w->closed && !w->greeted && w->cluster[0] != '\0')
			break; /* it is sent again; what is held may be another cluster's */
		if (!w->closed)
			worker__work_lease(w, &msg->u.lease);
		else
			worker__release(w, msg->u.lease.shard, msg->u.lease.epoch, 0);
		break;
	case MSG_NEED:
		worker_upload_needed(w->upload, &msg->u.hashes);
		break;
	case MSG_EDITS:
		worker__work_edits(w, &msg->u.edits);
		break;
	case MSG_SHARD_COMMIT_REPLY:
		worker__work_reply(w, &msg->u.shard_commit_reply);
		break;
	case MSG_CANARY_RUN:
		worker__canary_run(w, &msg->u.canary_run);
		break;
	case MSG_FENCED:
		fenced(w, &msg->u.fenced);
		break;
	case MSG_ERROR:
		error_reply(w, &msg->u.error);
		break;
	default:
		break; /* HeartbeatReply: that it was heard is all there is to it */
	}
}

static void progress_send(struct worker *w, const struct worker__work *work)
{
	struct msg msg = { .type = MSG_PROGRESS, .request_id = ++w->request_id };
	if (worker__work_progress(work, &msg.u.progress))
		(void)worker__send(w, &msg);
}

/* Every lease tells how far it is; the one that the engine has comes last, for it is what the fleet's table shows. */
static void progress_send_all(struct worker *w)
{
	const struct worker__work *running = w->job != NULL ? w->job->work : NULL;
	for (size_t i = 0; i < w->work_count; i++)
		if (w->works[i] != running)
			progress_send(w, w->works[i]);
	if (running != NULL)
		progress_send(w, running);
}

static uint32_t unheard_ms(const struct worker *w)
{
	int64_t ms = (w->heartbeat_us - w->heard_us) / 1000;
	return ms < 0 ? 0 : ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
}

/* Of the first lease whose result waits. */
static void trouble_tell(const struct worker *w, char *out, size_t out_bytes)
{
	out[0] = '\0';
	for (size_t i = 0; i < w->work_count && out[0] == '\0'; i++) {
		if (w->works[i]->failing_us != 0)
			snprintf(out, out_bytes, "what it trained of shard %" PRIu64 " waits: %s", w->works[i]->shard,
				 w->works[i]->failing);
	}
}

static void heartbeat_send(struct worker *w)
{
	char trouble[320];
	struct msg_lease_ref leases[WORKER__LEASES_MAX];
	for (size_t i = 0; i < w->work_count; i++)
		leases[i] = (struct msg_lease_ref){ w->works[i]->shard, w->works[i]->epoch, w->works[i]->kind };
	struct msg msg = { .type = MSG_HEARTBEAT, .request_id = ++w->request_id };
	w->heartbeat_us = env_monotonic_us(w->env);
	trouble_tell(w, trouble, sizeof trouble);
	msg.u.heartbeat = (struct msg_heartbeat){
		leases, w->work_count, process_resident_bytes(), unheard_ms(w), { trouble, strlen(trouble) }
	};
	(void)worker__send(w, &msg);
	progress_send_all(w);
}

/* The first job of a worker without a cached calibration; it joins once it can train. */
static void calibration_start(struct worker *w)
{
	struct worker__job *job = NULL;
	struct err e = ERR_INIT;
	int rc = worker__job_new(w, WORKER__CALIBRATE, &job, &e);
	if (rc == 0) {
		w->job = job;
		rc = pool_submit(w->pool, &job->pool_job);
	}
	if (rc != 0) {
		w->job = NULL;
		worker__job_destroy(&job);
		w->failed = true;
		err_set(&w->error, rc, "the engine takes no job: %s", err_text(rc));
		return;
	}
	log_event(LOG_INFO, "WORKER-CALIBRATING", LOGF_S("corpus", w->config.calibration_corpus));
}

static void calibration_keep(struct worker *w)
{
	struct err e = ERR_INIT;
	if (store_blob_put(w->blobs, w->calibration.data, w->calibration.len, &w->calibration_root, &e) != 0) {
		w->failed = true;
		w->error = e;
		return;
	}
	w->calibrated = true;
	w->taken = false; /* while it was made the coordinator may have begun anew with another layer */
	w->hello_us = env_monotonic_us(w->env) - HELLO_US; /* now */
}

/* With another base model it would be refused after all that work: the coordinator is asked first. */
static void calibration_tick(struct worker *w, int64_t now)
{
	if (w->calibration.len > 0)
		calibration_keep(w);
	else if (w->job == NULL && w->taken)
		calibration_start(w);
	else if (w->job == NULL && now - w->hello_us >= HELLO_US)
		hello_send(w);
}

static void calibrated_tick(struct worker *w, int64_t now)
{
	if (w->greeted && now - w->heard_us > (int64_t)w->lease_ms * 1000) {
		log_event(LOG_WARN, "WORKER-COORDINATOR-SILENT", LOGF_U("ms", (uint64_t)(now - w->heard_us) / 1000));
		acquaintance_end(w);
	}
	if (!w->greeted) {
		if (now - w->hello_us >= HELLO_US)
			hello_send(w);
	} else if (now - w->heartbeat_us >= (int64_t)w->heartbeat_ms * 1000) {
		heartbeat_send(w);
	}
	worker_fetch_tick(w->fetch);
	worker_upload_tick(w->upload);
	worker__work_tick(w);
}

void worker_tick(struct worker *w)
{
	int64_t now = env_monotonic_us(w->env);
	releases_send(w);
	if (w->closed)
		return;
	if (!w->failed && w->calibrated)
		calibrated_tick(w, now);
	else if (!w->failed)
		calibration_tick(w, now);
	if (w->failed)
		refusal_tell(w);
}

bool worker_failed(const struct worker *w, struct err *e)
{
	if (w->failed && e != NULL)
		*e = w->error;
	return w->failed;
}

void worker_close(struct worker *w)
{
	w->closed = true;
	if (w->job != NULL)
		atomic_store(&w->job->cancel, true);
	if (w->canary.aside != NULL)
		atomic_store(&w->canary.aside->cancel, true);
	while (w->work_count > 0)
		worker__work_give_back(w, w->works[0], 0);
}

bool worker_idle(const struct worker *w)
{
	return w->job == NULL && w->release_count == 0;
}

void worker_metrics(struct worker *w, struct buf *out)
{
	metrics_head(out, "amend_edits_total", "counter", "Edits re-tested after training, by result.");
	buf_printf(out, "amend_edits_total{result=\"passed\"} %llu\n", (unsigned long long)w->edits_passed);
	buf_printf(out, "amend_edits_total{result=\"failed\"} %llu\n", (unsigned long long)w->edits_failed);
	metrics_value(out, "amend_edit_steps_total", "counter", "Optimiser steps.", (double)w->steps);
	metrics_value(out, "amend_edit_train_seconds_total", "counter", "Time spent training.", w->train_seconds);
	metrics_value(out, "amend_shard_commits_total", "counter", "Shard versions committed.", (double)w->commits);
	metrics_value(out, "amend_leases", "gauge", "Leases held.", (double)w->work_count);
}
