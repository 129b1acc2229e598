/* node_engine.c: see node_engine.h. Jobs wait in a list under the lock; everything else belongs to the engine's thread.
 */
#include "daemon/node_engine.h"

#include "base/fault.h"
#include "base/log.h"
#include "base/sync.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_US      INT64_C(50000) /* how often deadlines and clients that left are looked for */
#define FAILURES_MAX 3              /* calls to the model that failed in a row: it is broken */

struct running { /* what a slot of the decoder works on */
	struct node_job *job;
	struct node_sequence *sequence;
};

struct node_engine {
	struct node_engine_config config;
	const struct env *env;
	struct model *model;
	struct editor_decoder *decoder;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	/* under the lock */
	struct node_job *first, **last; /* waiting */
	struct node_engine_counts counts;
	bool closed;
	atomic_bool stopping; /* set under it, too */
	/* the thread's */
	struct node_job *partly;         /* taken from the queue, its sequences not all admitted yet */
	struct running *slots;           /* slot_count; job NULL: free */
	struct running *picked;          /* slot_count: admitted with one call */
	size_t *picked_slots;            /* slot_count */
	struct editor_request *requests; /* slot_count */
	size_t jobs_running;
	uint64_t prompt_tokens, generated_tokens;
	int64_t looked_us;
	atomic_uint failures; /* in a row; written by the thread alone */
};

struct node_job *node_job_new(size_t sequence_count)
{
	struct node_job *job = fault_calloc(1, sizeof *job);
	if (job == NULL)
		return NULL;
	job->sequences = fault_calloc(sequence_count, sizeof *job->sequences);
	job->sequence_count = sequence_count;
	if (job->sequences == NULL)
		node_job_destroy(&job);
	return job;
}

void node_job_destroy(struct node_job **job)
{
	struct node_job *j = *job;
	if (j == NULL)
		return;
	for (size_t i = 0; j->sequences != NULL && i < j->sequence_count; i++) {
		free(j->sequences[i].ids);
		buf_free(&j->sequences[i].text);
	}
	free(j->sequences);
	editor_memory_set_release(&j->set);
	free(j);
	*job = NULL;
}

/* ---- Ends of jobs */

static void job_end(struct node_job *job)
{
	if (job->code == 0)
		job->code = job->error.code;
	job->done(job);
}

static void slot_free(struct node_engine *engine, size_t slot)
{
	editor_decoder_release(engine->decoder, slot);
	engine->slots[slot] = (struct running){ NULL, NULL };
}

/* The whole job ends, whatever its sequences are at. */
static void job_fail(struct node_engine *engine, struct node_job *job, const struct err *error)
{
	for (size_t i = 0; i < engine->config.slot_count; i++)
		if (engine->slots[i].job == job)
			slot_free(engine, i);
	if (engine->partly == job)
		engine->partly = NULL;
	if (job->admitted > 0)
		engine->jobs_running--;
	job->error = *error;
	job_end(job);
}

static void sequence_end(struct node_engine *engine, size_t slot, enum node_finish finish)
{
	struct running r = engine->slots[slot];
	const struct editor_sequence *from = editor_decoder_sequence(engine->decoder, slot);
	r.sequence->finish = finish;
	r.sequence->token_count = from->id_count;
	r.sequence->route = from->route;
	r.sequence->route.anchor = (struct editor_anchor){ 0 }; /* borrowed from the set */
	r.sequence->anchored = from->anchored > 0;
	r.sequence->memory_id = from->memory_id;
	r.sequence->ended = true;
	slot_free(engine, slot);
	if (++r.job->ended < r.job->sequence_count)
		return;
	engine->jobs_running--;
	job_end(r.job);
}

/* ---- Texts */

/* Looks for a stop string in what came since the last look; true when the text was cut at one. */
static bool stop_found(const struct node_job *job, struct node_sequence *sequence)
{
	struct buf *text = &sequence->text;
	size_t best = SIZE_MAX;
	for (size_t i = 0; i < job->stop_count; i++) {
		size_t len = strlen(job->stops[i]);
		size_t from = sequence->searched > len ? sequence->searched - len : 0;
		const uint8_t *found =
			text->len > from ? memmem(text->data + from, text->len - from, job->stops[i], len) : NULL;
		if (found != NULL && (size_t)(found - text->data) < best)
			best = (size_t)(found - text->data);
	}
	sequence->searched = text->len;
	if (best != SIZE_MAX)
		text->len = best;
	return best != SIZE_MAX;
}

/* An edited memory, or a broken base model, can drive the scores out of range: that answer ends, the others go on. */
static void fail_scores(struct node_engine *engine, struct node_job *job)
{
	struct err e = ERR_INIT;
	err_set(&e, ERR_CORRUPT,
		"the model gives scores that are not numbers for this prompt: ask another version, or the base model");
	log_event(LOG_ERROR, "NODE-SCORES-BROKEN",
		  LOGF_U("version", job->set != NULL ? editor_memory_set_version(job->set) : 0));
	job_fail(engine, job, &e);
}

/* Takes the new tokens of a slot's sequence; ends it when it is done. */
static void slot_collect(struct node_engine *engine, size_t slot)
{
	struct running r = engine->slots[slot];
	const struct editor_sequence *from = editor_decoder_sequence(engine->decoder, slot);
	size_t fresh = from->id_count - r.sequence->decoded;
	engine->generated_tokens += fresh;
	if (r.job->first_token_us == 0)
		r.job->first_token_us = env_monotonic_us(engine->env);
	if (model_tokenizer_decode(model_tokenizer_of(engine->model), from->ids + r.sequence->decoded, fresh, false,
				   &r.sequence->text) != 0) {
		struct err e = ERR_INIT;
		err_set(&e, ERR_NOMEM, "out of memory for the answer's text");
		job_fail(engine, r.job, &e);
		return;
	}
	r.sequence->decoded = from->id_count;
	if (r.job->stop_count > 0 && stop_found(r.job, r.sequence))
		sequence_end(engine, slot, NODE_FINISH_STOP);
	else if (from->done && from->finish == EDITOR_FAILED)
		fail_scores(engine, r.job);
	else if (from->done)
		sequence_end(engine, slot, from->finish == EDITOR_STOP ? NODE_FINISH_STOP : NODE_FINISH_LENGTH);
}

static void collect(struct node_engine *engine)
{
	for (size_t i = 0; i < engine->config.slot_count; i++)
		if (engine->slots[i].job != NULL)
			slot_collect(engine, i);
}

/* ---- Admission */

static struct node_job *next_job(struct node_engine *engine)
{
	if (engine->partly != NULL)
		return engine->partly;
	pthread_mutex_lock(&engine->lock);
	struct node_job *job = engine->first;
	if (job != NULL) {
		engine->first = job->next;
		if (engine->first == NULL)
			engine->last = &engine->first;
		job->next = NULL;
		engine->counts.waiting--;
	}
	pthread_mutex_unlock(&engine->lock);
	engine->partly = job;
	return job;
}

static void pick(struct node_engine *engine, size_t at, struct node_job *job)
{
	struct node_sequence *sequence = &job->sequences[job->admitted];
	engine->picked[at] = (struct running){ job, sequence };
	engine->requests[at] = (struct editor_request){
		.ids = sequence->ids,
		.id_count = sequence->id_count,
		.route_first = sequence->route_first,
		.route_count = sequence->route_count,
		.token_max = job->token_max,
		.set = job->set,
		.kind = job->kind,
		.sampling = job->sampling,
		.seed = sequence->seed,
	};
	if (job->admitted++ == 0)
		engine->jobs_running++;
	if (job->admitted == job->sequence_count)
		engine->partly = NULL;
}

/* What a call to the model came to. Its own error is no sign of a bad request: the requests were checked. */
static int outcome(struct node_engine *engine, int rc)
{
	if (rc == 0)
		atomic_store(&engine->failures, 0);
	else if (rc != ERR_NOMEM && rc != ERR_LIMIT && rc != ERR_INVALID)
		atomic_fetch_add(&engine->failures, 1);
	return rc;
}

static int admit_range(struct node_engine *engine, size_t from, size_t count, struct err *e)
{
	int rc = fault_point("node.model");
	rc = rc != 0 ? err_set(e, rc, "prefill")
		     : editor_decoder_admit(engine->decoder, engine->requests + from, count,
					    engine->picked_slots + from, e);
	(void)outcome(engine, rc);
	for (size_t i = from; i < from + count && rc == 0; i++) {
		engine->slots[engine->picked_slots[i]] = engine->picked[i];
		engine->prompt_tokens += engine->requests[i].id_count;
	}
	return rc;
}

/* One by one, so that only those fail that cannot be admitted. */
static void admit_singly(struct node_engine *engine, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct err e = ERR_INIT;
		struct node_job *job = engine->picked[i].job;
		if (job == NULL || admit_range(engine, i, 1, &e) == 0)
			continue;
		log_event(LOG_WARN, "NODE-ADMIT-FAILED", LOGF_S("reason", e.text));
		for (size_t j = i; j < count; j++)
			if (engine->picked[j].job == job)
				engine->picked[j].job = NULL;
		job_fail(engine, job, &e);
	}
}

/* Fills free slots in order of arrival, one prefill call's worth of tokens (at least one prompt). */
static void admit(struct node_engine *engine)
{
	size_t free_slots = editor_decoder_free_slots(engine->decoder), count = 0, rows = 0;
	while (count < free_slots) {
		struct node_job *job = next_job(engine);
		if (job == NULL)
			break;
		size_t tokens = job->sequences[job->admitted].id_count;
		if (count > 0 && rows + tokens > engine->config.prefill_rows)
			break;
		rows += tokens;
		pick(engine, count++, job);
	}
	if (count == 0)
		return;
	struct err e = ERR_INIT;
	if (admit_range(engine, 0, count, &e) != 0)
		admit_singly(engine, count);
	collect(engine);
}

/* ---- Deadlines */

static int job_verdict(const struct node_engine *engine, const struct node_job *job, int64_t now, struct err *e)
{
	if (engine->stopping)
		return err_set(e, ERR_CLOSED, "the node is stopping");
	if (now >= job->deadline_us)
		return err_set(e, ERR_TIMEOUT,
			       "the request took longer than its limit; ask for fewer tokens, or "
			       "raise node.request_ms");
	if (job->abandoned != NULL && job->abandoned(job->context))
		return err_set(e, ERR_INTERRUPTED, "the client left");
	return 0;
}

/* Takes the waiting jobs that must end out of the queue; they are ended without the lock. */
static struct node_job *queue_expired(struct node_engine *engine, int64_t now)
{
	struct node_job *expired = NULL, **tail = &expired;
	pthread_mutex_lock(&engine->lock);
	struct node_job **at = &engine->first;
	while (*at != NULL) {
		struct node_job *job = *at;
		if (job_verdict(engine, job, now, &job->error) == 0) {
			at = &job->next;
			continue;
		}
		*at = job->next;
		job->next = NULL;
		*tail = job;
		tail = &job->next;
		engine->counts.waiting--;
	}
	engine->last = at;
	pthread_mutex_unlock(&engine->lock);
	return expired;
}

static void look(struct node_engine *engine, bool now_too)
{
	int64_t now = env_monotonic_us(engine->env);
	struct err e = ERR_INIT;
	if (!now_too && now - engine->looked_us < LOOK_US)
		return;
	engine->looked_us = now;
	for (size_t i = 0; i < engine->config.slot_count; i++)
		if (engine->slots[i].job != NULL && job_verdict(engine, engine->slots[i].job, now, &e) != 0)
			job_fail(engine, engine->slots[i].job, &e);
	if (engine->partly != NULL && job_verdict(engine, engine->partly, now, &e) != 0)
		job_fail(engine, engine->partly, &e);
	for (struct node_job *job = queue_expired(engine, now), *next; job != NULL; job = next) {
		next = job->next;
		job_end(job);
	}
}

/* ---- The thread */

static void step(struct node_engine *engine)
{
	struct err e = ERR_INIT;
	if (editor_decoder_active(engine->decoder) == 0)
		return;
	int rc = fault_point("node.model");
	rc = rc != 0 ? err_set(&e, rc, "step") : editor_decoder_step(engine->decoder, &e);
	if (outcome(engine, rc) == 0) {
		collect(engine);
		return;
	}
	log_event(LOG_ERROR, "NODE-STEP-FAILED", LOGF_S("reason", e.text));
	for (size_t i = 0; i < engine->config.slot_count; i++)
		if (engine->slots[i].job != NULL)
			job_fail(engine, engine->slots[i].job, &e);
}

static void counts_set(struct node_engine *engine)
{
	size_t tokens = 0;
	for (size_t i = 0; i < engine->config.slot_count; i++)
		if (engine->slots[i].job != NULL)
			tokens += engine->slots[i].sequence->id_count + engine->slots[i].sequence->decoded;
	pthread_mutex_lock(&engine->lock);
	engine->counts.running = engine->jobs_running + (engine->partly != NULL && engine->partly->admitted == 0);
	engine->counts.prompt_tokens = engine->prompt_tokens;
	engine->counts.generated_tokens = engine->generated_tokens;
	engine->counts.cache_ratio = (double)tokens /
				     (double)(engine->config.slot_count * engine->config.context_tokens);
	pthread_mutex_unlock(&engine->lock);
}

/* Sleeps while there is nothing to do. False when the engine ends. */
static bool wait_for_work(struct node_engine *engine)
{
	pthread_mutex_lock(&engine->lock);
	while (engine->first == NULL && engine->jobs_running == 0 && engine->partly == NULL && !engine->stopping)
		pthread_cond_wait(&engine->wake, &engine->lock);
	bool go_on = !engine->stopping;
	pthread_mutex_unlock(&engine->lock);
	return go_on;
}

static void *engine_main(void *context)
{
	struct node_engine *engine = context;
	while (wait_for_work(engine)) {
		look(engine, false);
		admit(engine);
		step(engine);
		counts_set(engine);
	}
	look(engine, true); /* ends everything */
	counts_set(engine);
	return NULL;
}

/* ---- From outside */

static int arrays_new(struct node_engine *engine, struct err *e)
{
	size_t n = engine->config.slot_count;
	engine->slots = fault_calloc(n, sizeof *engine->slots);
	engine->picked = fault_calloc(n, sizeof *engine->picked);
	engine->picked_slots = fault_calloc(n, sizeof *engine->picked_slots);
	engine->requests = fault_calloc(n, sizeof *engine->requests);
	if (engine->slots == NULL || engine->picked == NULL || engine->picked_slots == NULL || engine->requests == NULL)
		return err_set(e, ERR_NOMEM, "out of memory for %zu sequences", n);
	return editor_decoder_new(engine->model, n, engine->config.context_tokens, engine->config.prefill_rows,
				  &engine->decoder, e);
}

static void engine_free(struct node_engine *engine)
{
	editor_decoder_destroy(&engine->decoder);
	free(engine->slots);
	free(engine->picked);
	free(engine->picked_slots);
	free(engine->requests);
	sync_fini(&engine->lock, &engine->wake);
	free(engine);
}

int node_engine_open(const struct node_engine_config *config, const struct env *env, struct model *model,
		     struct node_engine **out, struct err *e)
{
	struct node_engine *engine = fault_calloc(1, sizeof *engine);
	if (engine == NULL || sync_init(&engine->lock, &engine->wake) != 0) {
		free(engine);
		return err_set(e, ERR_NOMEM, "out of memory for the engine");
	}
	size_t context = model_shape_of(model)->context;
	engine->config = *config;
	if (engine->config.context_tokens > context)
		engine->config.context_tokens = context;
	engine->env = env;
	engine->model = model;
	engine->last = &engine->first;
	int rc = arrays_new(engine, e);
	if (rc == 0 && pthread_create(&engine->thread, NULL, engine_main, engine) != 0)
		rc = err_set(e, ERR_LIMIT, "cannot start the engine's thread: too many threads?");
	if (rc != 0) {
		engine_free(engine);
		return rc;
	}
	*out = engine;
	return 0;
}

static int job_check(const struct node_engine *engine, const struct node_job *job, struct err *e)
{
	size_t context = engine->config.context_tokens;
	if (job->sequence_count == 0 || job->token_max == 0)
		return err_set(e, ERR_INVALID, "nothing to generate");
	for (size_t i = 0; i < job->sequence_count; i++) {
		if (job->sequences[i].id_count == 0)
			return err_set(e, ERR_INVALID, "the prompt has no tokens");
		if (job->sequences[i].id_count >= context)
			return err_set(e, ERR_INVALID,
				       "the prompt has %zu tokens, this node takes %zu with the answer: shorten it",
				       job->sequences[i].id_count, context);
	}
	return 0;
}

int node_engine_submit(struct node_engine *engine, struct node_job **job, struct err *e)
{
	struct node_job *j = *job;
	int rc = job_check(engine, j, e);
	if (rc != 0)
		return rc;
	j->next = NULL;
	pthread_mutex_lock(&engine->lock);
	if (engine->closed) {
		rc = err_set(e, ERR_CLOSED, "the node is stopping");
	} else if (engine->counts.waiting >= engine->config.queue_requests) {
		rc = err_set(e, ERR_LIMIT, "%zu requests wait already: come back later, or ask another node",
			     engine->counts.waiting);
	} else {
		*engine->last = j;
		engine->last = &j->next;
		engine->counts.waiting++;
		*job = NULL;
		pthread_cond_signal(&engine->wake);
	}
	pthread_mutex_unlock(&engine->lock);
	return rc;
}

size_t node_engine_context_tokens(const struct node_engine *engine)
{
	return engine->config.context_tokens;
}

bool node_engine_broken(const struct node_engine *engine)
{
	return atomic_load(&engine->failures) >= FAILURES_MAX;
}

void node_engine_stop(struct node_engine *engine)
{
	pthread_mutex_lock(&engine->lock);
	engine->closed = true;
	bool joined = atomic_exchange(&engine->stopping, true);
	pthread_cond_signal(&engine->wake);
	pthread_mutex_unlock(&engine->lock);
	if (!joined)
		pthread_join(engine->thread, NULL);
}

void node_engine_destroy(struct node_engine **engine)
{
	struct node_engine *x = *engine;
	if (x == NULL)
		return;
	node_engine_stop(x);
	engine_free(x);
	*engine = NULL;
}

void node_engine_counts_get(struct node_engine *engine, struct node_engine_counts *out)
{
	pthread_mutex_lock(&engine->lock);
	*out = engine->counts;
	pthread_mutex_unlock(&engine->lock);
}
