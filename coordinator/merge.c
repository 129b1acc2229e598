/* merge.c: the life of a merge: planned (its open shards close) → running (a job on frozen inputs) → gated (a worker
 * re-tests the result) → published; or failed, with the old versions served throughout. One at a time. A memory of
 * which an edit was taken back is merged anew by itself, once its shards are trained without it, and serves until then.
 */
#include "coordinator/internal.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *coordinator__merge_phase(const struct coordinator *c)
{
	const struct merge_run *run = &c->merge;
	switch (run->rec.state) {
	case STORE_MERGE_STATE_PLANNED:
		return "closing its shards";
	case STORE_MERGE_STATE_RUNNING:
		return run->job_running ? "merging" : "waiting to try again";
	case STORE_MERGE_STATE_GATED:
		return run->lease.holder != NULL ? "re-testing" : "waiting for a worker to re-test it";
	default:
		return "";
	}
}

const char *coordinator__merge_reason(struct coordinator *c)
{
	const char *trouble = coordinator__write_trouble(c);
	bool between = !c->merge.job_running && c->merge.rec.state == STORE_MERGE_STATE_RUNNING;
	return trouble[0] != '\0' ? trouble : between ? c->merge.rec.reason : "";
}

const struct store_merge *coordinator__merge_of(const struct coordinator *c, uint64_t shard)
{
	for (size_t i = 0; i < c->merge_count; i++) {
		for (size_t k = 0; k < c->merges[i].shard_count; k++) {
			if (c->merges[i].shards[k] == shard)
				return &c->merges[i];
		}
	}
	return NULL;
}

bool coordinator__merge_replaces(const struct store_merge *merge, const struct store_merge *earlier)
{
	for (size_t i = 0; i < merge->shard_count; i++) {
		for (size_t k = 0; k < earlier->shard_count; k++) {
			if (merge->shards[i] == earlier->shards[k])
				return true;
		}
	}
	return false;
}

int coordinator__merges_reserve(struct coordinator *c, struct err *e)
{
	struct store_merge *merges = fault_realloc(c->merges, (c->merge_count + 1) * sizeof *merges);
	if (merges == NULL)
		return err_set(e, ERR_NOMEM, "merges: out of memory");
	c->merges = merges;
	return 0;
}

void coordinator__merges_add(struct coordinator *c, const struct store_merge *merge)
{
	size_t kept = 0;
	for (size_t i = 0; i < c->merge_count; i++) {
		if (!coordinator__merge_replaces(merge, &c->merges[i]))
			c->merges[kept++] = c->merges[i];
	}
	c->merges[kept++] = *merge;
	c->merge_count = kept;
}

int coordinator__merge_shards_move(struct coordinator *c, const struct store_merge *rec, int state, struct err *e)
{
	for (size_t i = 0; i < rec->shard_count; i++) {
		struct shard *shard = coordinator__shard_find(c, rec->shards[i]);
		if (shard == NULL)
			return err_set(e, ERR_CORRUPT, "merge %" PRIu64 ": shard %" PRIu64 " is not there", rec->id,
				       rec->shards[i]);
		if (!sm_can_move(&store_shard_states, shard->rec.state, state))
			continue;
		shard->rec.state = state;
		coordinator__touch(shard);
	}
	return 0;
}

/* A shard whose edits have all ended has nothing to give. */
bool coordinator__holds_live(const struct shard *shard)
{
	for (size_t i = 0; i < shard->rec.trained_count; i++) {
		if (coordinator__edit_live(shard->states[i]))
			return true;
	}
	return false;
}

/* What a merge takes: closed shards that hold something, and open ones with edits, which close first. */
static size_t collect(struct coordinator *c, uint64_t ids[MERGE_SHARDS_MAX])
{
	size_t n = 0;
	for (size_t i = 0; i < c->shard_count && n < MERGE_SHARDS_MAX; i++) {
		const struct store_shard *rec = &c->shards[i]->rec;
		if ((rec->state == STORE_SHARD_STATE_CLOSED && coordinator__holds_live(c->shards[i])) ||
		    (rec->state == STORE_SHARD_STATE_OPEN && rec->seq_count > 0))
			ids[n++] = rec->id;
	}
	return n;
}

static uint64_t trained_unmerged(const struct coordinator *c)
{
	uint64_t n = 0;
	for (size_t i = 0; i < c->shard_count; i++) {
		if (c->shards[i]->rec.state <= STORE_SHARD_STATE_CLOSED)
			n += c->shards[i]->rec.trained_count;
	}
	return n;
}

static int plan_write(struct coordinator *c, const struct store_merge *rec, struct err *e)
{
	int rc = coordinator__begin(c, e);
	for (size_t i = 0; rc == 0 && i < rec->shard_count; i++) {
		struct shard *shard = coordinator__shard_find(c, rec->shards[i]);
		if (shard->rec.state != STORE_SHARD_STATE_OPEN || shard->rec.closing)
			continue;
		shard->rec.closing = true;
		coordinator__touch(shard);
	}
	if (rc == 0)
		rc = store_merge_put(c->txn, rec, e);
	return rc == 0 ? coordinator__commit(c, NULL, NULL, e) : rc;
}

/* Why there is nothing: what could be merged is not trained yet, or all of it is merged, or nothing was ever sent. */
static int nothing_say(const struct coordinator *c, struct err *e)
{
	uint64_t untrained = c->counts[STORE_EDIT_STATE_ACCEPTED] + c->counts[STORE_EDIT_STATE_PLACED];
	if (untrained > 0)
		return err_set(e, ERR_CONFLICT,
			       "nothing to merge yet: %" PRIu64
			       " edits wait to be trained; `amend edit wait` waits for them",
			       untrained);
	if (c->counts[STORE_EDIT_STATE_TRAINED] + c->counts[STORE_EDIT_STATE_SERVED] > 0)
		return err_set(e, ERR_CONFLICT,
			       "nothing to merge: every trained edit is in a merged memory already; submit some first");
	return err_set(e, ERR_CONFLICT, "nothing to merge: no edit is in force; submit some first");
}

static int can_start(const struct coordinator *c, struct err *e)
{
	if (c->merge_job == NULL)
		return err_set(e, ERR_UNSUPPORTED, "this coordinator was started without a merge program");
	if (c->closed)
		return err_set(e, ERR_AGAIN, "the coordinator is stopping: ask again when it has started");
	if (c->merge.active)
		return err_set(e, ERR_AGAIN,
			       "merge %" PRIu64 " is under way (%s): wait for its end; `amend fleet status` shows it",
			       c->merge.rec.id, coordinator__merge_phase(c));
	return 0;
}

static int start_of(struct coordinator *c, const uint64_t *shards, size_t shard_count, struct err *e)
{
	struct store_merge rec = { .id = c->merge_next_id,
				   .state = STORE_MERGE_STATE_PLANNED,
				   .shard_count = shard_count,
				   .planned_ms = env_wall_ms(c->env) };
	memcpy(rec.shards, shards, shard_count * sizeof *shards);
	rec.ranks = c->config.merge_ranks > 0 ? c->config.merge_ranks : 1;
	if (rec.ranks > rec.shard_count)
		rec.ranks = (uint32_t)rec.shard_count;
	int rc = plan_write(c, &rec, e);
	if (rc != 0) {
		coordinator__txn_failed(c, e);
		return rc;
	}
	c->merge_next_id++;
	c->merge = (struct merge_run){ .active = true, .rec = rec };
	coordinator__lease_init(&c->merge.lease);
	c->merge_mark_ms = coordinator__now_ms(c);
	log_event(LOG_INFO, "COORDINATOR-MERGE-PLANNED", LOGF_U("merge", rec.id), LOGF_U("shards", rec.shard_count),
		  LOGF_U("renews", coordinator__merge_renews(c, &rec)));
	return 0;
}

/* A shard of it was trained anew since: the memory holds what the shard has forgotten. Not before all of them are. */
static bool outdated(struct coordinator *c, const struct store_merge *merge)
{
	bool newer = coordinator__merge_lost(merge), live = false;
	for (size_t i = 0; i < merge->shard_count; i++) {
		const struct shard *shard = coordinator__shard_find(c, merge->shards[i]);
		if (shard == NULL)
			continue;
		if (coordinator__shard_retrain(shard))
			return false;
		newer = newer || (shard->rec.removals_covered > 0 && shard->rec.version > merge->shard_versions[i]);
		live = live || coordinator__holds_live(shard);
	}
	return newer && live;
}

/* One after the other, so that one which fails keeps none waiting. */
static const struct store_merge *outdated_next(struct coordinator *c)
{
	const struct store_merge *first = NULL;
	for (size_t i = 0; i < c->merge_count; i++) {
		if (!outdated(c, &c->merges[i]))
			continue;
		if (c->merges[i].id > c->renewed_id)
			return &c->merges[i];
		if (first == NULL)
			first = &c->merges[i];
	}
	return first;
}

/* The same shards but those that hold nothing any more. */
static int renew(struct coordinator *c, const struct store_merge *merge, struct err *e)
{
	uint64_t shards[MERGE_SHARDS_MAX];
	size_t count = 0;
	for (size_t i = 0; i < merge->shard_count; i++) {
		const struct shard *shard = coordinator__shard_find(c, merge->shards[i]);
		if (shard != NULL && coordinator__holds_live(shard))
			shards[count++] = merge->shards[i];
	}
	c->renewed_id = merge->id;
	return start_of(c, shards, count, e);
}

int coordinator__merge_start(struct coordinator *c, struct err *e)
{
	uint64_t shards[MERGE_SHARDS_MAX];
	int rc = can_start(c, e);
	if (rc != 0)
		return rc;
	const size_t count = collect(c, shards);
	const struct store_merge *old = count == 0 ? outdated_next(c) : NULL;
	if (old != NULL)
		return renew(c, old, e);
	return count > 0 ? start_of(c, shards, count, e) : nothing_say(c, e);
}

static void mark(struct coordinator *c)
{
	c->merge_mark = trained_unmerged(c);
	c->merge_mark_ms = coordinator__now_ms(c);
	c->renew_look = true;
}

void coordinator__merge_forget(struct coordinator *c)
{
	free(c->merge.seqs);
	c->merge = (struct merge_run){ .active = false };
	coordinator__lease_init(&c->merge.lease);
	mark(c);
}

int coordinator__merges_load(struct coordinator *c, struct store_txn *txn, struct err *e)
{
	struct store_merge rec;
	int rc = 0;
	c->merge_count = 0;
	for (uint64_t from = 1; rc == 0; from = rec.id + 1) {
		rc = store_merge_next(txn, from, &rec, e);
		const bool stands = rc == 0 && rec.state == STORE_MERGE_STATE_PUBLISHED && rec.shard_count > 0;
		if (stands)
			rc = coordinator__merges_reserve(c, e);
		if (stands && rc == 0)
			coordinator__merges_add(c, &rec);
	}
	if (rc != ERR_NOT_FOUND)
		return rc;
	err_clear(e);
	return 0;
}

void coordinator__merges_refused(struct coordinator *c)
{
	struct store_txn *txn = NULL;
	struct err e = ERR_INIT;
	int rc = store_begin_read(c->store, &txn, &e);
	if (rc == 0)
		rc = coordinator__merges_load(c, txn, &e);
	store_abort(&txn);
	if (rc != 0)
		coordinator__fail(c, &e);
	mark(c);
	c->renew_ms = coordinator__now_ms(c) + MERGE_RENEW_MS;
}

void coordinator__merge_job_stop(struct coordinator *c)
{
	if (c->merge.job_running)
		c->merge_job->kill(c->merge_job->context);
	c->merge.job_running = false;
}

/* The state that its shards had when it took them. */
static int state_before(const struct coordinator *c, const struct store_merge *rec)
{
	return coordinator__merge_renews(c, rec) != 0 ? STORE_SHARD_STATE_MERGED : STORE_SHARD_STATE_CLOSED;
}

static int end_write(struct coordinator *c, const struct store_merge *rec, struct err *e)
{
	int rc = coordinator__begin(c, e);
	if (rc == 0)
		rc = coordinator__merge_shards_move(c, rec, state_before(c, rec), e);
	if (rc == 0)
		rc = coordinator__merge_event(c, STORE_EVENT_MERGE_ENDED, rec, NULL, e);
	if (rc == 0)
		rc = store_merge_put(c->txn, rec, e);
	return rc == 0 ? coordinator__commit(c, NULL, NULL, e) : rc;
}

/* Moves only shards of the merge that were frozen: MERGING is the one state that may go back to CLOSED, but open ones
 * of a merge that is still being planned may move there too by the table, and must not. */
static void keep_frozen(struct coordinator *c, struct store_merge *rec)
{
	size_t kept = 0;
	for (size_t i = 0; i < rec->shard_count; i++) {
		const struct shard *shard = coordinator__shard_find(c, rec->shards[i]);
		if (shard != NULL && shard->rec.state != STORE_SHARD_STATE_OPEN)
			rec->shards[kept++] = rec->shards[i];
	}
	rec->shard_count = kept;
}

void coordinator__merge_end(struct coordinator *c, const char *reason)
{
	struct store_merge rec = c->merge.rec;
	struct err e = ERR_INIT;
	coordinator__merge_job_stop(c);
	keep_frozen(c, &rec);
	rec.state = STORE_MERGE_STATE_FAILED;
	rec.ended_ms = env_wall_ms(c->env);
	coordinator__copy_text(rec.reason, sizeof rec.reason, coordinator__text(reason));
	if (end_write(c, &rec, &e) != 0) {
		c->merge.retry_ms = coordinator__now_ms(c) + MERGE_RETRY_MS;
		coordinator__txn_failed(c, &e); /* a full disk: ended at a later tick */
		return;
	}
	log_event(LOG_ERROR, "COORDINATOR-MERGE-FAILED", LOGF_U("merge", rec.id), LOGF_S("reason", reason));
	coordinator__merge_clean(c, rec.id);
	if (coordinator__merge_renews(c, &rec) != 0)
		c->renew_ms = coordinator__now_ms(c) + MERGE_RENEW_MS;
	coordinator__merge_forget(c);
}

void coordinator__merge_attempt_failed(struct coordinator *c, const char *reason)
{
	struct merge_run *run = &c->merge;
	coordinator__merge_job_stop(c);
	c->merge_failed_count++;
	log_event(LOG_WARN, "COORDINATOR-MERGE-ATTEMPT-FAILED", LOGF_U("merge", run->rec.id),
		  LOGF_U("try", run->rec.tries), LOGF_S("reason", reason));
	coordinator__copy_text(run->rec.reason, sizeof run->rec.reason, coordinator__text(reason));
	run->progress = 0;
	run->retry_ms = coordinator__now_ms(c) + MERGE_RETRY_MS;
	if (run->rec.tries >= c->config.merge_tries_max)
		coordinator__merge_end(c, reason);
}

/* Shards that closed without a live edit (all theirs ended) are left out. */
static void prune(struct coordinator *c, struct store_merge *rec)
{
	size_t kept = 0;
	uint64_t passed = 0, tested = 0;
	for (size_t i = 0; i < rec->shard_count; i++) {
		const struct shard *shard = coordinator__shard_find(c, rec->shards[i]);
		if (shard == NULL || !coordinator__holds_live(shard))
			continue;
		passed += shard->passed;
		tested += shard->tested;
		rec->shard_versions[kept] = shard->rec.version;
		rec->shards[kept++] = rec->shards[i];
	}
	rec->shard_count = kept;
	if (kept > 0 && rec->ranks > kept)
		rec->ranks = (uint32_t)kept;
	rec->score_inputs = tested > 0 ? (double)passed / (double)tested : 0.0;
}

/* What an earlier attempt had frozen and this one leaves out goes back to where it was. */
static int left_out_move(struct coordinator *c, const struct store_merge *rec, struct err *e)
{
	struct store_merge left = { .id = rec->id };
	for (size_t i = 0; i < c->merge.rec.shard_count; i++) {
		const struct shard *shard = coordinator__shard_find(c, c->merge.rec.shards[i]);
		bool kept = false;
		for (size_t k = 0; k < rec->shard_count; k++)
			kept = kept || rec->shards[k] == c->merge.rec.shards[i];
		if (!kept && shard != NULL && shard->rec.state == STORE_SHARD_STATE_MERGING)
			left.shards[left.shard_count++] = c->merge.rec.shards[i];
	}
	return coordinator__merge_shards_move(c, &left, state_before(c, &left), e);
}

static int attempt_write(struct coordinator *c, const struct store_merge *rec, struct err *e)
{
	int rc = coordinator__begin(c, e);
	if (rc == 0)
		rc = left_out_move(c, rec, e);
	if (rc == 0)
		rc = coordinator__merge_shards_move(c, rec, STORE_SHARD_STATE_MERGING, e);
	if (rc == 0)
		rc = coordinator__merge_event(c, STORE_EVENT_MERGE_PLANNED, rec, NULL, e);
	if (rc == 0)
		rc = store_merge_put(c->txn, rec, e);
	return rc == 0 ? coordinator__commit(c, NULL, NULL, e) : rc;
}

static void attempt(struct coordinator *c)
{
	struct merge_run *run = &c->merge;
	struct store_merge rec = run->rec;
	char plan[PATH_MAX], output[PATH_MAX];
	struct err e = ERR_INIT;
	rec.state = STORE_MERGE_STATE_RUNNING;
	rec.tries++;
	prune(c, &rec);
	if (rec.shard_count == 0) {
		coordinator__merge_end(c, "its shards hold no trained edit");
		return;
	}
	if (coordinator__merge_prepare_files(c, &rec, &e) != 0) {
		run->rec.tries = rec.tries;
		coordinator__merge_attempt_failed(c, e.text);
		return;
	}
	if (attempt_write(c, &rec, &e) != 0) {
		run->retry_ms = coordinator__now_ms(c) + MERGE_RETRY_MS;
		coordinator__txn_failed(c, &e);
		return;
	}
	run->rec = rec;
	if (coordinator__merge_path(c, rec.id, "plan.json", plan, &e) != 0 ||
	    coordinator__merge_path(c, rec.id, "output", output, &e) != 0 ||
	    c->merge_job->start(c->merge_job->context, plan, output, rec.ranks, &e) != 0) {
		coordinator__merge_attempt_failed(c, e.text);
		return;
	}
	run->job_running = true;
	run->progress = 0;
	run->started_ms = coordinator__now_ms(c);
	run->deadline_ms = run->started_ms + c->config.merge_deadline_ms;
	log_event(LOG_INFO, "COORDINATOR-MERGE-STARTED", LOGF_U("merge", rec.id), LOGF_U("try", rec.tries),
		  LOGF_U("ranks", rec.ranks));
}

static int gated_write(struct coordinator *c, const struct store_merge *rec, struct err *e)
{
	int rc = coordinator__begin(c, e);
	if (rc == 0)
		rc = store_merge_put(c->txn, rec, e);
	return rc == 0 ? coordinator__commit(c, NULL, NULL, e) : rc;
}

/* The job ended: its exit code says nothing certain, its output file does. */
static void judge(struct coordinator *c)
{
	struct merge_run *run = &c->merge;
	struct store_merge rec = run->rec;
	struct err e = ERR_INIT;
	run->job_running = false;
	c->merge_last_s = (double)(coordinator__now_ms(c) - run->started_ms) / 1000.0;
	if (coordinator__merge_verify(c, &rec, &e) != 0) {
		coordinator__merge_attempt_failed(c, e.text);
		return;
	}
	rec.state = STORE_MERGE_STATE_GATED;
	if (gated_write(c, &rec, &e) != 0) {
		coordinator__txn_failed(c, &e);
		if (c->failure.code == 0)
			coordinator__merge_attempt_failed(c, e.text);
		return;
	}
	run->rec = rec;
	log_event(LOG_INFO, "COORDINATOR-MERGE-VERIFIED", LOGF_U("merge", rec.id),
		  LOGF_X("root", rec.output_root.bytes, 8));
}

static void watch(struct coordinator *c)
{
	struct err e = ERR_INIT;
	int rc = c->merge_job->poll(c->merge_job->context, &c->merge.progress, &e);
	if (rc == 0)
		judge(c);
	else if (rc != ERR_AGAIN)
		coordinator__merge_attempt_failed(c, e.text);
	else if (coordinator__now_ms(c) >= c->merge.deadline_ms)
		coordinator__merge_attempt_failed(c, "it did not end by its deadline and was killed");
}

/* None is open, and none waits for its retraining: what was taken back must not get into the merged memory. */
static bool all_closed(struct coordinator *c)
{
	const struct store_merge *rec = &c->merge.rec;
	for (size_t i = 0; i < rec->shard_count; i++) {
		const struct shard *shard = coordinator__shard_find(c, rec->shards[i]);
		if (shard != NULL && (shard->rec.state == STORE_SHARD_STATE_OPEN || coordinator__shard_retrain(shard)))
			return false;
	}
	return true;
}

static void start_if_due(struct coordinator *c)
{
	uint64_t trained = trained_unmerged(c);
	/* After a failed merge the same edits are not tried again at once: it takes as many new ones. */
	bool by_edits = c->config.merge_every_edits > 0 && trained >= c->merge_mark + c->config.merge_every_edits;
	bool by_time = c->config.merge_interval_ms > 0 && trained > 0 &&
		       coordinator__now_ms(c) - c->merge_mark_ms >= (int64_t)c->config.merge_interval_ms;
	struct err e = ERR_INIT;
	const struct store_merge *old = NULL;
	if (!by_edits && !by_time && c->renew_look && coordinator__now_ms(c) >= c->renew_ms &&
	    !coordinator__write_held(c)) {
		old = outdated_next(c);
		c->renew_look = old != NULL;
	}
	if (!by_edits && !by_time && old == NULL)
		return;
	c->merge_mark_ms = coordinator__now_ms(c);
	if ((old != NULL ? renew(c, old, &e) : coordinator__merge_start(c, &e)) != 0)
		log_event(LOG_DEBUG, "COORDINATOR-MERGE-NOT-STARTED", LOGF_S("reason", e.text));
}

void coordinator__merge_advance(struct coordinator *c)
{
	struct merge_run *run = &c->merge;
	if (c->closed || c->merge_job == NULL)
		return;
	if (!run->active) {
		start_if_due(c);
		return;
	}
	if (run->job_running) {
		watch(c);
		return;
	}
	if (coordinator__now_ms(c) < run->retry_ms)
		return;
	if (run->rec.state == STORE_MERGE_STATE_GATED)
		coordinator__gate_advance(c);
	else if (run->rec.state == STORE_MERGE_STATE_RUNNING && run->rec.tries >= c->config.merge_tries_max)
		coordinator__merge_end(c, run->rec.reason[0] != 0 ? run->rec.reason
								  : "the coordinator restarted in its last attempt");
	else if (all_closed(c))
		attempt(c);
}
