/* job.c: what runs on the engine's thread: calibration, training with its re-test, and the re-test of a merged memory.
 */
#include "worker/internal.h"

#include "base/fault.h"
#include "base/log.h"
#include "base/order.h"
#include "base/rng.h"
#include "proto/codec.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CORPUS_BYTES_MAX      (16 * 1024 * 1024)
#define PURPOSE_BREADTH_FIRST UINT64_C(0x627265616474) /* keeps the seeds of the two modes apart */
#define PURPOSE_WISE          UINT64_C(0x77697365)

static int on_progress(void *context, const char *phase, size_t done, size_t total, double loss)
{
	struct worker__job *job = context;
	(void)loss;
	atomic_store(&job->phase, phase);
	atomic_store(&job->done, (uint32_t)done);
	atomic_store(&job->total, (uint32_t)total);
	if (job->kind == WORKER__TRAIN && fault_point("worker.train.step") != 0)
		return 1;
	if (job->kind == WORKER__TRAIN || job->kind == WORKER__GATE)
		worker__canary_aside(job->worker);
	return atomic_load(&job->cancel);
}

static int calibrate(struct worker__job *job)
{
	struct worker *w = job->worker;
	struct buf corpus = BUF_INIT;
	struct editor_calibration *calibration = NULL;
	struct editor_watch watch = { on_progress, job };
	int rc = file_read(w->config.calibration_corpus, CORPUS_BYTES_MAX, &corpus, &job->error);
	if (rc == 0)
		rc = editor_calibrate(w->model, &job->editor, (const char *)corpus.data, corpus.len, &watch,
				      &calibration, &job->error);
	if (rc == 0)
		rc = editor_calibration_encode(calibration, &job->calibration_out, &job->error);
	editor_calibration_destroy(&calibration);
	buf_free(&corpus);
	if (rc != 0)
		err_wrap(&job->error, "calibrating on %s", w->config.calibration_corpus);
	return rc;
}

size_t worker__text_cut(const char *text, size_t max)
{
	size_t len = strnlen(text, max + 1);
	if (len <= max)
		return len;
	for (len = max; len > 0 && ((uint8_t)text[len] & 0xC0) == 0x80;)
		len--;
	return len;
}

static bool is_removed(const struct worker__job *job, uint64_t seq)
{
	for (size_t i = 0; i < job->removed_count; i++)
		if (job->removed[i] == seq)
			return true;
	return false;
}

/* What the model cannot take is that edit's failure, not its group's. */
static int edit_refuse(struct worker__job *job, uint64_t seq, const struct err *why)
{
	struct editor_result *refused = fault_realloc(job->refused, (job->refused_count + 1) * sizeof *refused);
	if (refused == NULL)
		return err_set(&job->error, ERR_NOMEM, "out of memory for the result of edit %llu",
			       (unsigned long long)seq);
	job->refused = refused;
	struct editor_result *result = &refused[job->refused_count++];
	*result = (struct editor_result){ .seq = seq };
	memcpy(result->got, why->text, worker__text_cut(why->text, sizeof result->got - 1));
	return 0;
}

void worker__reason_write(const struct editor_result *result, char out[STORE_REASON_BYTES])
{
	out[0] = '\0';
	if (!result->passed && result->tries == 0)
		snprintf(out, STORE_REASON_BYTES, "%s", result->got);
	else if (!result->passed)
		snprintf(out, STORE_REASON_BYTES, "re-test after %" PRIu32 " %s: answers \"%s\", wanted \"%s\"",
			 result->tries, result->tries == 1 ? "try" : "tries", result->got, result->wanted);
	else if (result->names_failed > 0)
		snprintf(out, STORE_REASON_BYTES,
			 "re-test after %" PRIu32 " %s: of %" PRIu32
			 " other names of its subject it is not answered by %" PRIu32 ", such as \"%s\"",
			 result->tries, result->tries == 1 ? "try" : "tries", result->names_asked, result->names_failed,
			 result->name);
}

static int edit_add(struct worker__job *job, size_t i)
{
	const struct worker__edit *edit = &job->edits[i];
	struct record *record = NULL;
	int rc = record_parse((const char *)job->payloads.data + edit->offset, edit->len, &record, &job->error);
	if (rc == 0)
		rc = editor_shard_add(job->shard, edit->seq, record, &job->error);
	record_destroy(&record);
	if (rc == ERR_INVALID) {
		struct err why = job->error;
		job->fresh_count -= i >= job->edit_count - job->fresh_sent;
		return is_removed(job, edit->seq) ? 0 : edit_refuse(job, edit->seq, &why);
	}
	if (rc != 0)
		err_wrap(&job->error, "edit %llu", (unsigned long long)edit->seq);
	return rc;
}

/* No edit of the group is to blame for what is wrong with it. */
static int replay_add(struct worker__job *job, const struct worker__edit *edit)
{
	struct record *record = NULL;
	int rc = record_parse((const char *)job->payloads.data + edit->offset, edit->len, &record, &job->error);
	if (rc == 0)
		rc = editor_shard_replay_add(job->shard, edit->memory, edit->seq, record, &job->error);
	record_destroy(&record);
	if (rc == 0)
		return 0;
	const struct err why = job->error;
	return err_set(&job->error, rc == ERR_INVALID ? ERR_EXTERNAL : rc, "edit %llu of an earlier memory: %s",
		       (unsigned long long)edit->seq, why.text);
}

/* Ended before its group was sent: never trained, and what is trained counts without it. */
static bool is_fresh(const struct worker__job *job, uint64_t seq)
{
	for (size_t i = job->edit_count - job->fresh_sent; i < job->edit_count; i++)
		if (job->edits[i].seq == seq)
			return true;
	return false;
}

static int results_make(struct worker__job *job)
{
	size_t held = editor_shard_count(job->shard);
	job->result_count = held + job->refused_count;
	job->results = fault_calloc(job->result_count + 1, sizeof *job->results);
	if (job->results == NULL)
		return err_set(&job->error, ERR_NOMEM, "out of memory for %zu results", job->result_count);
	if (job->refused_count > 0)
		memcpy(job->results + held, job->refused, job->refused_count * sizeof *job->refused);
	return 0;
}

/* Where edits without a locality prompt find an irrelevant text. */
static int corpus_give(struct worker__job *job)
{
	struct buf corpus = BUF_INIT;
	int rc = file_read(job->worker->config.calibration_corpus, CORPUS_BYTES_MAX, &corpus, &job->error);
	if (rc == 0)
		rc = editor_shard_corpus_set(job->shard, (const char *)corpus.data, corpus.len, &job->error);
	buf_free(&corpus);
	return rc;
}

static int shard_open(struct worker__job *job)
{
	int rc = editor_shard_new(job->worker->model, &job->editor, &job->shard, &job->error);
	return rc == 0 && job->editor.family == EDITOR_FAMILY_PAPER ? corpus_give(job) : rc;
}

/* Edits that failed are among the removed: what this process remembers of them (editor/retest.c) decides nothing, so a
 * worker that started anew trains to the same bytes. */
static int shard_fill(struct worker__job *job)
{
	struct err *e = &job->error;
	int rc = 0;
	if (job->shard == NULL) {
		rc = shard_open(job);
		if (rc == 0 && job->delta.len > 0)
			rc = editor_shard_delta_load(job->shard, job->delta.data, job->delta.len, e);
	}
	for (size_t i = 0; rc == 0 && i < job->replay_count; i++)
		rc = replay_add(job, &job->replays[i]);
	for (size_t i = 0; rc == 0 && i < job->edit_count; i++)
		rc = edit_add(job, i);
	for (size_t i = 0; rc == 0 && i < job->removed_count; i++) {
		struct err absent = ERR_INIT;
		if (editor_shard_remove(job->shard, job->removed[i], &absent) != 0)
			continue;
		if (is_fresh(job, job->removed[i]))
			job->fresh_count--;
		else
			job->covered = false; /* the memory still holds it: the closing pass starts from nothing */
	}
	return rc == 0 ? results_make(job) : rc;
}

/* The breadth-first pass starts from nothing, so its seed depends on the shard alone: whoever repeats it gets the same
 * bytes. Where it loses an edit, the committed delta is weighed against it (editor/retest.c). */
static void mode_choose(struct worker__job *job, enum editor_mode *mode, size_t *fresh)
{
	size_t count = editor_shard_count(job->shard);
	const struct editor_config *config = &job->editor;
	*fresh = job->fresh_count < count ? job->fresh_count : count;
	if (config->family == EDITOR_FAMILY_PAPER) {
		*mode = job->retrain || (job->closing && !job->covered) ? EDITOR_BREADTH_FIRST : EDITOR_STREAM;
		job->seed = rng_derive(config->seed, job->shard_id, PURPOSE_WISE);
		return;
	}
	if (job->retrain)
		*mode = EDITOR_ANEW;
	else
		*mode = job->closing || *fresh > config->stream_group_max ? EDITOR_BREADTH_FIRST : EDITOR_STREAM;
	job->seed = *mode != EDITOR_STREAM ? rng_derive(config->seed, job->shard_id, PURPOSE_BREADTH_FIRST)
					   : rng_derive(config->seed, job->shard_id, job->shard_version + 1);
}

/* Nothing is left to train, but the delta still holds what was taken back. */
static int shard_forget(struct worker__job *job)
{
	editor_shard_destroy(&job->shard);
	job->covered = true;
	return shard_open(job);
}

static int train(struct worker__job *job)
{
	struct worker *w = job->worker;
	struct editor_watch watch = { on_progress, job };
	enum editor_mode mode;
	size_t fresh, count, held;
	int rc = shard_fill(job);
	if (rc == 0 && job->retrain && editor_shard_count(job->shard) == 0)
		rc = shard_forget(job);
	if (rc != 0)
		return rc;
	mode_choose(job, &mode, &fresh);
	count = editor_shard_count(job->shard);
	held = job->retrain ? 0 : count - fresh; /* what was taken back must not stay with the delta that held it */
	int64_t began = env_monotonic_ms(w->env);
	if (count == 0 || (fresh == 0 && !job->retrain && (job->covered || !job->closing))) {
		/* Nothing new to learn: the memory stays, its edits are tested again. */
		job->stats.mode = mode == EDITOR_STREAM ? EDITOR_STREAM : EDITOR_BREADTH_FIRST;
		rc = editor_shard_retest(job->shard, job->results, &watch, &job->error);
		job->retest_ms = (uint32_t)(env_monotonic_ms(w->env) - began);
		job->covered_out = job->covered;
	} else {
		rc = editor_shard_learn(job->shard, mode, held, count - held, job->seed, &watch, job->results,
					&job->stats, &job->error);
		job->train_ms = (uint32_t)(env_monotonic_ms(w->env) - began);
		/* In the paper's family edits train one after the other either way. */
		job->covered_out = job->stats.mode == EDITOR_BREADTH_FIRST ||
				   (job->covered && job->editor.family == EDITOR_FAMILY_PAPER);
	}
	if (rc == 0)
		rc = editor_shard_delta_encode(job->shard, &job->delta_out, &job->error);
	if (rc == 0)
		rc = editor_shard_index_encode(job->shard, &job->index_out, &job->error);
	return rc;
}

/* What its shards have to answer themselves; nothing lost: no index. */
static int lost_encode(struct worker__job *job)
{
	uint64_t *lost = fault_malloc((job->result_count + 1) * sizeof *lost);
	size_t count = 0;
	if (lost == NULL)
		return err_set(&job->error, ERR_NOMEM, "out of memory");
	for (size_t i = 0; i < job->result_count; i++) {
		if (!job->results[i].passed)
			lost[count++] = job->results[i].seq;
	}
	qsort(lost, count, sizeof *lost, order_u64);
	const struct proto_merge_index index = { lost, count };
	int rc = count > 0 ? proto_merge_index_encode(&index, &job->index_out, &job->error) : 0;
	free(lost);
	return rc;
}

static int gate(struct worker__job *job)
{
	struct editor_watch watch = { on_progress, job };
	int rc = shard_fill(job);
	if (rc == 0)
		rc = editor_shard_retest(job->shard, job->results, &watch, &job->error);
	if (rc == 0 && job->editor.family == EDITOR_FAMILY_PAPER) /* the gaps at the merged delta are others */
		rc = editor_shard_index_encode(job->shard, &job->index_out, &job->error);
	else if (rc == 0)
		rc = lost_encode(job);
	return rc;
}

static void run(struct pool_job *pool_job)
{
	struct worker__job *job = (struct worker__job *)pool_job;
	struct editor_watch watch = { on_progress, job };
	switch (job->kind) {
	case WORKER__CALIBRATE:
		job->code = calibrate(job);
		break;
	case WORKER__TRAIN:
		job->code = train(job);
		break;
	case WORKER__GATE:
		job->code = gate(job);
		break;
	case WORKER__CANARIES:
		job->code = worker__canary_job(job, &watch);
		break;
	case WORKER__CANARIES_AHEAD:
		job->code = worker__canary_ahead_job(job, &watch);
		break;
	}
}

/* On the loop thread. */
static void done(struct pool_job *pool_job)
{
	struct worker__job *job = (struct worker__job *)pool_job;
	struct worker *w = job->worker;
	w->job = NULL;
	if (job->kind == WORKER__CALIBRATE) {
		if (job->code == 0) {
			struct err e = ERR_INIT;
			w->calibration = job->calibration_out;
			job->calibration_out = (struct buf)BUF_INIT;
			if (worker__calibration_save(w, &w->calibration, &e) != 0)
				log_event(LOG_WARN, "WORKER-CALIBRATION-UNSAVED", LOGF_S("reason", e.text));
		} else {
			w->failed = !w->closed;
			w->error = job->error;
		}
		worker__job_destroy(&job);
	} else if (job->kind == WORKER__CANARIES) {
		worker__canary_done(w, job);
		worker__job_destroy(&job);
	} else if (job->kind == WORKER__CANARIES_AHEAD) {
		worker__canary_ahead_done(w, job);
		worker__job_destroy(&job);
	} else if (job->work == NULL) { /* the lease went away meanwhile */
		worker__job_destroy(&job);
	} else {
		worker__work_job_done(w, job->work, job);
	}
	worker__canary_aside_end(w);
}

int worker__job_new(struct worker *w, enum worker__job_kind kind, struct worker__job **out, struct err *e)
{
	struct worker__job *job = fault_calloc(1, sizeof *job);
	if (job == NULL)
		return err_set(e, ERR_NOMEM, "out of memory for a job");
	job->pool_job = (struct pool_job){ run, done, NULL };
	job->worker = w;
	job->kind = kind;
	job->editor = w->config.editor;
	atomic_store(&job->phase, "waiting");
	*out = job;
	return 0;
}

void worker__job_destroy(struct worker__job **job)
{
	struct worker__job *j = *job;
	if (j == NULL)
		return;
	editor_shard_destroy(&j->shard);
	arena_destroy(&j->answer.arena);
	buf_free(&j->delta);
	buf_free(&j->payloads);
	buf_free(&j->delta_out);
	buf_free(&j->index_out);
	buf_free(&j->calibration_in);
	buf_free(&j->calibration_out);
	free(j->edits);
	free(j->replays);
	free(j->removed);
	free(j->results);
	free(j->refused);
	free(j);
	*job = NULL;
}
