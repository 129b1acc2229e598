#include "daemon/eval_train.h"
#include "base/env.h"
#include "base/fault.h"
#include "daemon/eval_without.h"
#include "editor/shard.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define THREADS_MAX 64u

struct plan { /* which shard each edit goes to */
	size_t *shard_of;
	size_t shard_count;
};

struct team {
	const struct eval_options *options;
	const struct editor_config *config;
	const struct eval__rows *rows;
	const struct plan *plan;
	const struct buf *corpus;
	struct eval__trained *out;
	struct model *model;
	atomic_size_t next;
	atomic_bool stop;
	size_t beside;        /* shards that train at once */
	pthread_mutex_t lock; /* guards what follows, and calls of the watch */
	size_t edits_done;
	struct err err;
};

struct keyed { /* an edit, to be sorted by its subject */
	uint64_t key_hash;
	size_t edit;
};

static int by_subject(const void *a, const void *b)
{
	const struct keyed *x = a, *y = b;
	if (x->key_hash != y->key_hash)
		return x->key_hash < y->key_hash ? -1 : 1;
	return (x->edit > y->edit) - (x->edit < y->edit);
}

/* first[i]: the first edit with the subject of edit i; group[i], for a first one: how many edits its subject has. */
static int group_by_subject(const struct eval__rows *rows, size_t *first, size_t *group)
{
	const size_t count = rows->edit_count;
	struct keyed *keyed = fault_malloc(count * sizeof(*keyed));
	if (keyed == NULL)
		return ERR_NOMEM;
	for (size_t i = 0; i < count; i++)
		keyed[i] = (struct keyed){ rows->edits[i].keys[EVAL__SUBJECT], i };
	qsort(keyed, count, sizeof(*keyed), by_subject);
	for (size_t i = 0, start = 0; i < count; i++) {
		if (keyed[i].key_hash != keyed[start].key_hash)
			start = i;
		first[keyed[i].edit] = keyed[start].edit;
		group[keyed[start].edit] = i - start + 1;
	}
	free(keyed);
	return 0;
}

/* Edits of one subject go to one shard, in the order of the file; a shard that cannot take a subject's edits is closed.
 */
static int make_plan(const struct eval__rows *rows, size_t per_shard, struct plan *plan, struct err *e)
{
	const size_t count = rows->edit_count;
	size_t in_shard = 0, *first = fault_calloc(2 * count, sizeof(*first));
	size_t *group = first != NULL ? first + count : NULL;
	plan->shard_of = fault_malloc(count * sizeof(*plan->shard_of));
	if (first == NULL || plan->shard_of == NULL || group_by_subject(rows, first, group) != 0) {
		free(first);
		return err_set(e, ERR_NOMEM, "out of memory");
	}
	plan->shard_count = 1;
	for (size_t i = 0; i < count; i++) {
		if (first[i] != i) {
			plan->shard_of[i] = plan->shard_of[first[i]];
			continue;
		}
		if (in_shard > 0 && in_shard + group[i] > per_shard) {
			plan->shard_count++;
			in_shard = 0;
		}
		in_shard += group[i];
		plan->shard_of[i] = plan->shard_count - 1;
	}
	free(first);
	return 0;
}

/* As published, edits fill shards in the order of the file; an edit alone is a shard of its own. */
static int make_plain_plan(size_t edit_count, size_t per_shard, struct plan *plan, struct err *e)
{
	plan->shard_of = fault_malloc(edit_count * sizeof(*plan->shard_of));
	if (plan->shard_of == NULL)
		return err_set(e, ERR_NOMEM, "out of memory");
	for (size_t i = 0; i < edit_count; i++)
		plan->shard_of[i] = i / per_shard;
	plan->shard_count = (edit_count + per_shard - 1) / per_shard;
	return 0;
}

/* One shard's share of the watch: what others have done comes on top. */
struct shard_watch {
	struct team *team;
	size_t held, edits; /* that the shard has learnt before, and learns now */
};

static int on_progress(void *context, const char *phase, size_t done, size_t total, double loss)
{
	struct shard_watch *own = context;
	struct team *team = own->team;
	const struct editor_watch *watch = team->options->watch;
	int stop = atomic_load(&team->stop) ? 1 : 0;
	(void)phase;
	if (stop == 0 && watch != NULL && watch->on_progress != NULL) {
		pthread_mutex_lock(&team->lock);
		/* a shard's passes count as its edits, so that one bar covers all shards */
		const size_t now = team->edits_done + own->held + (total > 0 ? own->edits * done / total : 0);
		stop = watch->on_progress(watch->context, "train", now, team->rows->edit_count, loss);
		pthread_mutex_unlock(&team->lock);
	}
	return stop;
}

static int shard_add(const struct eval__plan *plan, size_t i, struct editor_shard *shard, struct err *e)
{
	int rc = editor_shard_add(shard, i + 1, plan->rows->edits[i].record, e);
	if (rc != 0)
		err_wrap(e, "line %zu", plan->rows->edits[i].line_no);
	return rc;
}

int eval__shard_fill(const struct eval__plan *plan, size_t index, struct editor_shard *shard, struct err *e)
{
	int rc = 0;
	for (size_t i = 0; i < plan->rows->edit_count && rc == 0; i++) {
		if (plan->shard_of[i] == index)
			rc = shard_add(plan, i, shard, e);
	}
	return rc;
}

static struct eval__plan plan_of(const struct team *team)
{
	return (struct eval__plan){ team->model, team->config, team->rows, team->plan->shard_of,
				    team->plan->shard_count };
}

struct learning {
	struct team *team;
	struct editor_shard *shard;
	size_t index, edit_count;
	struct editor_result *results; /* one an edit */
};

/* The edits behind the first `held`. */
static int learn(const struct learning *l, enum editor_mode mode, size_t held, struct err *e)
{
	const size_t fresh = editor_shard_count(l->shard) - held;
	struct shard_watch own = { .team = l->team, .held = held, .edits = fresh };
	const struct editor_watch watch = { .on_progress = on_progress, .context = &own };
	struct editor_train_stats stats = { 0 };
	int rc = editor_shard_learn(l->shard, mode, held, fresh, l->team->config->seed + l->index, &watch, l->results,
				    &stats, e);
	l->team->out->parts[l->index].steps += stats.steps;
	return rc;
}

/* As a worker has it before it closes: its edits come in groups. */
static int learn_streamed(const struct learning *l, const struct eval__plan *plan, struct err *e)
{
	int rc = 0;
	for (size_t i = 0, held = 0; i < plan->rows->edit_count && rc == 0; i++) {
		if (plan->shard_of[i] != l->index)
			continue;
		rc = shard_add(plan, i, l->shard, e);
		const size_t count = editor_shard_count(l->shard);
		if (rc == 0 && (count - held == l->team->config->stream_group_max || count == l->edit_count)) {
			rc = learn(l, EDITOR_STREAM, held, e);
			held = count;
		}
	}
	return rc;
}

static int learn_shard(struct team *team, size_t index, struct editor_shard *shard, struct err *e)
{
	const struct eval__plan plan = plan_of(team);
	struct learning l = { .team = team, .shard = shard, .index = index };
	for (size_t i = 0; i < plan.rows->edit_count; i++)
		l.edit_count += plan.shard_of[i] == index ? 1 : 0;
	l.results = fault_calloc(l.edit_count, sizeof(*l.results));
	if (l.results == NULL)
		return err_set(e, ERR_NOMEM, "out of memory");
	int rc;
	if ((team->options->without & EVAL_WITHOUT_CLOSING) != 0) {
		rc = learn_streamed(&l, &plan, e);
	} else {
		rc = eval__shard_fill(&plan, index, shard, e);
		if (rc == 0)
			rc = learn(&l, EDITOR_BREADTH_FIRST, 0, e);
	}
	if (rc == 0)
		rc = editor_shard_delta_encode(shard, &team->out->parts[index].delta, e);
	if (rc == 0)
		rc = editor_shard_index_encode(shard, &team->out->parts[index].index, e);
	for (size_t i = 0; i < l.edit_count && rc == 0; i++)
		team->out->parts[index].failed += l.results[i].passed ? 0 : 1;
	free(l.results);
	return rc;
}

static struct eval__paper paper_of(const struct team *team)
{
	return (struct eval__paper){ team->options, team->model,          team->config,
				     team->rows,    team->plan->shard_of, team->plan->shard_count,
				     team->corpus };
}

static int train_paper_shard(struct team *team, size_t index, struct err *e)
{
	const struct eval__paper paper = paper_of(team);
	struct shard_watch own = { .team = team };
	const struct editor_watch watch = { .on_progress = on_progress, .context = &own };
	struct eval__paper_stats stats = { 0 };
	for (size_t i = 0; i < team->rows->edit_count; i++)
		own.edits += team->plan->shard_of[i] == index ? 1 : 0;
	int rc = eval__paper_train(&paper, index, &watch, &team->out->parts[index].delta, &stats, e);
	if (rc == 0) {
		team->out->parts[index].failed = stats.failed;
		team->out->parts[index].steps = stats.steps;
	}
	return rc;
}

/* Processor time of all threads of this process: not a time of day, so env.h has no part in it. */
static double core_seconds(void)
{
	struct timespec t = { 0 };
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int train_own_shard(struct team *team, size_t index, struct err *e)
{
	struct editor_shard *shard = NULL;
	int rc = editor_shard_new(team->model, team->config, &shard, e);
	if (rc == 0)
		rc = learn_shard(team, index, shard, e);
	editor_shard_destroy(&shard);
	return rc;
}

static int make_shard(struct team *team, size_t index, struct err *e)
{
	struct eval__part *part = &team->out->parts[index];
	const int64_t began_us = env_monotonic_us(env_system());
	const double core_began = core_seconds();
	int rc = team->config->family == EDITOR_FAMILY_PAPER ? train_paper_shard(team, index, e)
							     : train_own_shard(team, index, e);
	part->seconds = (double)(env_monotonic_us(env_system()) - began_us) * 1e-6 / (double)team->beside;
	part->core_seconds = (core_seconds() - core_began) / (double)team->beside;
	return rc;
}

/* From the report's folder, where an earlier run has left it, or by training. */
static int train_shard(struct team *team, size_t index, struct err *e)
{
	struct eval_keep *keep = team->options->keep;
	struct eval__part *part = &team->out->parts[index];
	struct hash key;
	int rc = ERR_NOT_FOUND;
	if (keep != NULL) {
		const struct eval__part_of of = { team->config, model_digest(team->model), team->rows,
						  team->corpus, team->plan->shard_of,      index };
		rc = eval__part_key(team->options, &of, &key, e);
		if (rc == 0)
			rc = eval__part_get(keep, &key, part, e);
	}
	if (rc == ERR_NOT_FOUND) {
		rc = make_shard(team, index, e);
		if (rc == 0 && keep != NULL)
			rc = eval__part_put(keep, &key, part, e);
	}
	pthread_mutex_lock(&team->lock);
	for (size_t i = 0; i < team->rows->edit_count && rc == 0; i++)
		team->edits_done += team->plan->shard_of[i] == index ? 1 : 0;
	pthread_mutex_unlock(&team->lock);
	return rc;
}

static void *train_some(void *argument)
{
	struct team *team = argument;
	for (;;) {
		const size_t index = atomic_fetch_add(&team->next, 1);
		struct err e = ERR_INIT;
		if (index >= team->plan->shard_count || atomic_load(&team->stop))
			return NULL;
		if (train_shard(team, index, &e) == 0)
			continue;
		pthread_mutex_lock(&team->lock);
		if (team->err.code == 0)
			team->err = e;
		pthread_mutex_unlock(&team->lock);
		atomic_store(&team->stop, true);
		return NULL;
	}
}

static int run_team(struct team *team, size_t thread_count, struct err *e)
{
	pthread_t threads[THREADS_MAX];
	size_t started = 0;
	while (started + 1 < thread_count && pthread_create(&threads[started], NULL, train_some, team) == 0)
		started++;
	train_some(team); /* this thread too: with none started it trains alone */
	for (size_t i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	if (team->err.code != 0 && e != NULL)
		*e = team->err;
	return team->err.code;
}

/* What an earlier run trained took its time then. */
static void count_parts(const struct team *team, struct eval_report *report)
{
	for (size_t i = 0; i < team->out->part_count; i++) {
		const struct eval__part *part = &team->out->parts[i];
		report->train_seconds += part->reused ? part->seconds : 0;
		report->train_core_seconds += part->reused ? part->core_seconds : 0;
		report->shards_reused += part->reused ? 1 : 0;
		report->failed += part->failed;
		report->steps += part->steps;
	}
}

/* The model is open: only the training counts. */
static int run_timed(struct team *team, size_t thread_count, struct eval_report *report, struct err *e)
{
	const int64_t began_us = env_monotonic_us(env_system());
	const double core_began = core_seconds();
	int rc = run_team(team, thread_count, e);
	/* merging puts memories in the shards' place */
	count_parts(team, report);
	if (rc == 0 && team->config->family == EDITOR_FAMILY_PAPER) {
		const struct eval__paper paper = paper_of(team);
		rc = eval__paper_merge(&paper, team->out, e);
		report->memories = team->out->part_count;
	}
	report->train_seconds += (double)(env_monotonic_us(env_system()) - began_us) * 1e-6;
	report->train_core_seconds += core_seconds() - core_began;
	if (rc == 0 && team->options->merged) {
		const struct eval__plan plan = plan_of(team);
		rc = eval__merge(&plan, team->out, team->options->watch, &report->merged, e);
	}
	return rc;
}

int eval__train(const struct eval_options *options, size_t threads, const struct editor_config *config,
		const struct eval__rows *rows, const struct buf *corpus, struct eval__trained *out,
		struct eval_report *report, struct err *e)
{
	struct plan plan = { 0 };
	struct team team = {
		.options = options, .config = config, .rows = rows, .plan = &plan, .corpus = corpus, .out = out
	};
	*out = (struct eval__trained){ 0 };
	int rc = options->separate ? make_plain_plan(rows->edit_count, 1, &plan, e)
		 : config->family == EDITOR_FAMILY_PAPER
			 ? make_plain_plan(rows->edit_count, config->edits_per_shard, &plan, e)
			 : make_plan(rows, config->edits_per_shard, &plan, e);
	if (rc == 0) {
		out->parts = fault_calloc(plan.shard_count, sizeof(*out->parts));
		rc = out->parts == NULL ? err_set(e, ERR_NOMEM, "out of memory") : 0;
	}
	if (rc == 0) {
		out->part_count = plan.shard_count;
		const size_t both = threads < plan.shard_count ? threads : plan.shard_count;
		const size_t beside = both < THREADS_MAX ? both : THREADS_MAX;
		const struct model_options model = {
			.backend = options->backend,
			.thread_count = threads / beside,
			.backward_from = config->layer + 1,
			.stored_too = true,
		};
		rc = model_open(options->model, &model, &team.model, e);
		pthread_mutex_init(&team.lock, NULL);
		team.beside = beside;
		if (rc == 0)
			rc = run_timed(&team, beside, report, e);
		pthread_mutex_destroy(&team.lock);
		model_close(&team.model);
		report->shards = plan.shard_count;
	}
	free(plan.shard_of);
	if (rc != 0)
		eval__trained_fini(out);
	return rc;
}

void eval__trained_fini(struct eval__trained *trained)
{
	for (size_t i = 0; i < trained->part_count; i++) {
		eval__part_fini(&trained->parts[i]);
	}
	free(trained->parts);
	buf_free(&trained->merged);
	*trained = (struct eval__trained){ 0 };
}
