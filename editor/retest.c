#include "editor/shard_internal.h"

#include "base/fault.h"
#include "base/text.h"
#include "editor/answer.h"
#include "editor/decode.h"

#include <stdlib.h>
#include <string.h>

#define DECODE_SLOTS 16

/* ---- Teacher-forced argmax: greedy decoding yields the target exactly when each position's argmax is the target's
 * token. */

static bool ends_answer(const struct editor_shard *shard, const struct editor__edit *edit, int32_t id)
{
	const struct model_tokenizer *tokenizer = model_tokenizer_of(shard->model);
	if (id == model_tokenizer_eos(tokenizer))
		return true;
	size_t len;
	const char *piece = model_tokenizer_piece(tokenizer, id, &len);
	const struct record_text *target = &edit->record->target_new;
	bool dot_ends = memchr(target->text, '.', target->len) == NULL;
	return len > 0 && (piece[0] == '\n' || (dot_ends && piece[0] == '.'));
}

static bool decodes_to_target(const struct editor_shard *shard, const struct editor__edit *edit, const int32_t *argmax)
{
	size_t target_count = editor__edit_labels(edit) - 1;
	if (memcmp(argmax, edit->ids + edit->prompt_count, target_count * sizeof(*argmax)) != 0)
		return false;
	/* The paper's loss has no end of the text in it: an answer that begins with the target is what is asked for. */
	return shard->config.family == EDITOR_FAMILY_PAPER || ends_answer(shard, edit, argmax[target_count]);
}

/* right[edit] for the edits of one packed batch; *taken of them. */
static int force_batch(struct editor_shard *shard, const size_t *edits, size_t count, size_t *taken, bool *right,
		       struct err *e)
{
	struct editor__batch *b = &shard->batch;
	struct model_backend *backend = shard->backend;
	const struct model_shape *shape = shard->shape;
	int rc = editor__batch_fill(shard, edits, count, 1.0f, taken, e);
	if (rc != 0)
		return rc;
	rc = backend->ops->gemm(backend, b->y, b->x, shard->trainer.sum, false, true, 1.0f, 1.0f, b->row_count,
				shape->hidden, shape->ffn);
	if (rc != 0)
		return err_set(e, rc, "re-test: the side memory's product failed: %s", err_text(rc));
	rc = model_loss(shard->run, b->loss, b->argmax, NULL, b->y, b->segments, b->segment_count,
			shard->config.layer + 1, b->rows, b->labels, b->scale, b->label_count, e);
	size_t label = 0;
	for (size_t i = 0; rc == 0 && i < *taken; i++) {
		const struct editor__edit *edit = &shard->edits[edits[i]];
		right[edits[i]] = decodes_to_target(shard, edit, b->argmax + label);
		label += editor__edit_labels(edit);
	}
	return rc;
}

/* With the delta that the trainer's sum holds, each edit as it is seen. */
static int force_list(struct editor_shard *shard, const size_t *edits, size_t count, bool *right,
		      const struct editor_watch *watch, struct err *e)
{
	size_t taken = 0;
	int rc = 0;
	for (size_t first = 0; rc == 0 && first < count; first += taken) {
		rc = force_batch(shard, edits + first, count - first, &taken, right, e);
		if (rc == 0)
			rc = editor__watch(watch, "retest", first + taken, count, 0, e);
	}
	return rc;
}

static int force_all(struct editor_shard *shard, const float *delta, bool *right, const struct editor_watch *watch,
		     struct err *e)
{
	int rc = editor__prefix_fill(shard, e);
	if (rc == 0)
		rc = editor__trainer_prepare(shard, e);
	size_t *all = fault_malloc(shard->edit_count * sizeof(*all));
	if (rc == 0 && all == NULL)
		rc = err_set(e, ERR_NOMEM, "re-test: out of memory");
	if (rc == 0)
		editor__trainer_sum(shard, delta);
	for (size_t i = 0; rc == 0 && i < shard->edit_count; i++) {
		editor__edit_see(&shard->edits[i], EDITOR__TURN_OWN, false);
		all[i] = i;
	}
	if (rc == 0)
		rc = force_list(shard, all, shard->edit_count, right, watch, e);
	free(all);
	return rc;
}

/* ---- The same question by the other names of the subject, which has the edit's views by name (views.c): its prompt's
 * rows are the question's, and its answer's read the edit's own inputs, as those of an anchored answer do. */

struct range {
	size_t first, end; /* of the shard's edits */
};

/* Of the range those that have another name number `at`, and see it. */
static size_t see_names(struct editor_shard *shard, struct range range, size_t at, const struct editor_result *results,
			size_t *out)
{
	size_t count = 0;
	for (size_t i = range.first; i < range.end; i++) {
		if (!results[i].exact || at >= shard->edits[i].name_view_count)
			continue;
		editor__edit_see_name(&shard->edits[i], at);
		out[count++] = i;
	}
	return count;
}

/* `right` is of those in the list. */
static void count_names(const struct editor_shard *shard, const size_t *list, size_t count, size_t at,
			const bool *right, struct editor_result *results)
{
	for (size_t i = 0; i < count; i++) {
		struct editor_result *result = &results[list[i]];
		result->names_asked++;
		if (!right[list[i]] && result->names_failed++ == 0) {
			const struct record_text *name = editor__edit_name(&shard->edits[list[i]], at);
			text_show_line(name->text, name->len, result->name, sizeof(result->name));
		}
	}
}

/* With the delta that the trainer's sum holds. */
static int force_names(struct editor_shard *shard, struct range range, struct editor_result *results,
		       const struct editor_watch *watch, struct err *e)
{
	size_t *list = fault_malloc((shard->edit_count + 1) * sizeof(*list));
	bool *right = fault_calloc(shard->edit_count + 1, sizeof(*right));
	int rc = list == NULL || right == NULL ? err_set(e, ERR_NOMEM, "re-test: out of memory") : 0;
	for (size_t at = 0; rc == 0; at++) {
		const size_t count = see_names(shard, range, at, results, list);
		if (count == 0)
			break;
		rc = force_list(shard, list, count, right, watch, e);
		if (rc == 0)
			count_names(shard, list, count, at, right, results);
		for (size_t i = 0; i < count; i++)
			editor__edit_see(&shard->edits[list[i]], EDITOR__TURN_OWN, false);
	}
	free(list);
	free(right);
	return rc;
}

/* ---- What is not the target token by token is decoded, and may still be an answer that counts (an alias, another
 * spelling). */

struct decode {
	struct editor_shard *shard;
	struct editor_result *results;
	const struct editor_request *requests;
	int rc;
};

static void on_decoded(void *context, size_t request, const struct editor_sequence *sequence)
{
	struct decode *d = context;
	struct editor_result *result = d->requests[request].user;
	const struct editor__edit *edit = &d->shard->edits[result - d->results];
	struct buf text = BUF_INIT;
	int rc = model_tokenizer_decode(model_tokenizer_of(d->shard->model), sequence->ids, sequence->id_count, false,
					&text);
	if (rc == 0)
		rc = editor_answer_matches(buf_cstr(&text), text.len, edit->record, &result->passed);
	if (rc == 0 && !result->passed) {
		const struct record_text *target = &edit->record->target_new;
		text_show_line(buf_cstr(&text), text.len, result->got, sizeof(result->got));
		text_show_line(target->text, target->len, result->wanted, sizeof(result->wanted));
	}
	buf_free(&text);
	if (d->rc == 0)
		d->rc = rc;
}

static int decode_requests(struct decode *d, size_t count, const struct editor_watch *watch, struct err *e)
{
	size_t token_max = 0, rows_max = EDITOR__ROWS_MAX;
	for (size_t i = 0; i < count; i++) {
		size_t tokens = d->requests[i].id_count + d->requests[i].token_max;
		token_max = tokens > token_max ? tokens : token_max;
		rows_max = tokens > rows_max ? tokens : rows_max;
	}
	struct editor_decoder *decoder = NULL;
	int rc = editor_decoder_new(d->shard->model, count < DECODE_SLOTS ? count : DECODE_SLOTS, token_max, rows_max,
				    &decoder, e);
	if (rc == 0)
		rc = editor_decoder_run(decoder, d->requests, count, on_decoded, d, watch, e);
	if (rc == 0 && d->rc != 0)
		rc = err_set(e, d->rc, "re-test: reading an answer failed: %s", err_text(d->rc));
	editor_decoder_destroy(&decoder);
	return rc;
}

/* Enough for every answer that counts to end, whatever its tokens; a wrong answer need not be decoded for longer. */
static size_t decode_tokens(const struct editor_shard *shard, const struct editor__edit *edit)
{
	size_t longest = editor__edit_labels(edit);
	for (size_t i = 0; i < edit->record->alias_count; i++) {
		size_t bytes = edit->record->aliases[i].len; /* an alias has at most as many tokens */
		longest = bytes / 2 > longest ? bytes / 2 : longest;
	}
	size_t enough = 2 * longest + 4, shown = shard->config.answer_tokens_max;
	if (enough < shown)
		return enough;
	/* A target longer than what people are shown must be able to end. */
	return editor__edit_labels(edit) > shown ? editor__edit_labels(edit) : shown;
}

static int decode_failures(struct editor_shard *shard, const float *delta, struct editor_result *results,
			   const struct editor_watch *watch, struct err *e)
{
	size_t count = 0, context = shard->shape->context;
	const struct model_side side = { shard->config.layer, delta };
	struct editor_request *requests = fault_calloc(shard->edit_count, sizeof(*requests));
	if (requests == NULL)
		return err_set(e, ERR_NOMEM, "re-test: out of memory");
	for (size_t i = 0; i < shard->edit_count; i++) {
		const struct editor__edit *edit = &shard->edits[i];
		if (results[i].passed || edit->prompt_count >= context)
			continue;
		size_t tokens = decode_tokens(shard, edit);
		requests[count++] = (struct editor_request){
			.ids = edit->ids,
			.id_count = edit->prompt_count,
			.token_max = tokens < context - edit->prompt_count ? tokens : context - edit->prompt_count,
			.forced = &side,
			.sampling = { .temperature = 0.0f, .top_p = 1.0f },
			.stop_at_newline = true,
			.user = &results[i],
		};
	}
	struct decode d = { shard, results, requests, 0 };
	int rc = count > 0 ? decode_requests(&d, count, watch, e) : 0;
	free(requests);
	return rc;
}

/* Teacher-forced only: what does not pass here may still pass when it is decoded. Those in `named` are asked by the
 * names of their subjects too. */
static int retest_forced(struct editor_shard *shard, const float *delta, struct range named,
			 struct editor_result *results, const struct editor_watch *watch, struct err *e)
{
	bool *right = fault_calloc(shard->edit_count, sizeof(*right));
	if (right == NULL)
		return err_set(e, ERR_NOMEM, "re-test: out of memory");
	int rc = force_all(shard, delta, right, watch, e);
	for (size_t i = 0; rc == 0 && i < shard->edit_count; i++)
		results[i] = (struct editor_result){
			.seq = shard->edits[i].seq, .passed = right[i], .exact = right[i], .tries = 1
		};
	free(right);
	return rc == 0 ? force_names(shard, named, results, watch, e) : rc;
}

int editor_shard_retest_delta(struct editor_shard *shard, const float *delta, struct editor_result *results,
			      const struct editor_watch *watch, struct err *e)
{
	if (shard->edit_count == 0)
		return 0;
	int rc = retest_forced(shard, delta, (struct range){ 0, 0 }, results, watch, e);
	return rc == 0 ? decode_failures(shard, delta, results, watch, e) : rc;
}

int editor_shard_retest(struct editor_shard *shard, struct editor_result *results, const struct editor_watch *watch,
			struct err *e)
{
	return editor_shard_retest_delta(shard, shard->delta, results, watch, e);
}

/* ---- Learning: train, re-test, train failures again, keep the best */

struct learn {
	struct editor_shard *shard;
	size_t first, count; /* the new edits; those below were held by `before` */
	size_t trained_end;  /* edits below it have been trained */
	bool all_new;
	uint32_t tries_max;
	uint64_t seed;
	const struct editor_watch *watch;
	float *before, *best;                  /* deltas */
	struct editor_result *results, *trial; /* of the best delta; of the present one */
	uint32_t *tries;                       /* per edit */
	size_t *failed;                        /* indices */
	struct editor_train_stats *stats;
};

static size_t passed_count(const struct editor_result *results, size_t count)
{
	size_t passed = 0;
	for (size_t i = 0; i < count; i++)
		passed += results[i].passed;
	return passed;
}

/* Those that are asked by other names. Of the ones before a streamed group nothing is asked: what this process knew of
 * them would decide what is trained, and one that starts anew knows nothing. */
static struct range named(const struct learn *l)
{
	return l->all_new ? (struct range){ 0, l->shard->edit_count } : (struct range){ l->first, l->first + l->count };
}

static size_t names_passed_count(const struct editor_result *results, size_t count)
{
	size_t passed = 0;
	for (size_t i = 0; i < count; i++)
		passed += results[i].names_asked - results[i].names_failed;
	return passed;
}

/* More edits pass, or just the same ones by more names. */
static bool is_better(const struct editor_result *a, const struct editor_result *b, size_t count)
{
	const size_t one = passed_count(a, count), other = passed_count(b, count);
	if (one != other)
		return one > other;
	for (size_t i = 0; i < count; i++) {
		if (a[i].passed != b[i].passed)
			return false;
	}
	return names_passed_count(a, count) > names_passed_count(b, count);
}

/* Edits to train again: of the trained ones those that fail, but not for the sake of one that failed for good before.
 */
static size_t collect_failed(const struct learn *l)
{
	size_t count = 0;
	for (size_t i = 0; i < l->trained_end; i++) {
		bool is_new = l->all_new || (i >= l->first && i < l->first + l->count);
		const bool fails = !l->results[i].passed || l->results[i].names_failed > 0;
		if (fails && (is_new || !l->shard->edits[i].gave_up))
			l->failed[count++] = i;
	}
	return count;
}

static int train_failed(struct learn *l, size_t failed_count, uint32_t try, struct err *e)
{
	size_t group_max = l->shard->config.stream_group_max;
	int rc = 0;
	for (size_t first = 0; rc == 0 && first < failed_count; first += group_max) {
		size_t left = failed_count - first, count = left < group_max ? left : group_max;
		uint64_t seed = rng_derive(l->seed, try, first + 1);
		rc = editor__train_group(l->shard, l->failed + first, count, l->trained_end, true, seed, l->watch,
					 l->stats, e);
	}
	for (size_t i = 0; i < failed_count; i++)
		l->tries[l->failed[i]]++;
	return rc;
}

static void keep_best(struct learn *l)
{
	struct editor_shard *shard = l->shard;
	size_t bytes = editor__matrix_size(shard) * sizeof(float);
	if (is_better(l->trial, l->results, shard->edit_count)) {
		memcpy(l->best, shard->delta, bytes);
		memcpy(l->results, l->trial, shard->edit_count * sizeof(*l->trial));
	} else {
		memcpy(shard->delta, l->best, bytes);
	}
}

/* From the present delta, whose re-test stands in l->results. */
static int train_again(struct learn *l, struct err *e)
{
	struct editor_shard *shard = l->shard;
	size_t failed_count;
	int rc = 0;
	memcpy(l->best, shard->delta, editor__matrix_size(shard) * sizeof(float));
	for (uint32_t try = 0; rc == 0 && try < l->tries_max && (failed_count = collect_failed(l)) > 0; try++) {
		rc = train_failed(l, failed_count, try, e);
		if (rc == 0)
			rc = retest_forced(shard, shard->delta, named(l), l->trial, l->watch, e);
		if (rc == 0)
			keep_best(l);
	}
	/* Decoding is dear, so only the end result's failures are decoded: until then they are worth another training
	 * anyway. */
	if (rc == 0)
		rc = decode_failures(shard, shard->delta, l->results, l->watch, e);
	for (size_t i = 0; rc == 0 && i < shard->edit_count; i++)
		l->results[i].tries = 1 + l->tries[i];
	return rc;
}

static int tries_alloc(struct learn *l, size_t edit_count, size_t bytes)
{
	l->best = fault_malloc(bytes);
	l->tries = fault_calloc(edit_count, sizeof(*l->tries));
	return l->best == NULL || l->tries == NULL ? ERR_NOMEM : 0;
}

static void tries_free(struct learn *l)
{
	free(l->best);
	free(l->tries);
}

/* The breadth-first pass lost what the delta before it held: that delta goes on with its own failures trained again.
 * Everything here follows from that delta and the list of edits, so whoever repeats it decides the same. */
static int continue_held(struct learn *l, struct err *e)
{
	struct editor_shard *shard = l->shard;
	size_t count = shard->edit_count, bytes = editor__matrix_size(shard) * sizeof(float);
	struct learn held = *l;
	int rc = tries_alloc(&held, count, bytes);
	held.results = fault_calloc(count, sizeof(*held.results));
	if (rc != 0 || held.results == NULL) {
		rc = err_set(e, ERR_NOMEM, "learning: out of memory");
	} else {
		memcpy(shard->delta, l->before, bytes);
		/* Decoded at once: what passes already needs no training that could cost it. */
		rc = retest_forced(shard, shard->delta, named(l), held.results, l->watch, e);
		if (rc == 0)
			rc = decode_failures(shard, shard->delta, held.results, l->watch, e);
		if (rc == 0)
			rc = train_again(&held, e);
	}
	if (rc == 0 && passed_count(held.results, count) > passed_count(l->results, count)) {
		memcpy(l->results, held.results, count * sizeof(*held.results));
		l->stats->mode = EDITOR_STREAM;
	} else {
		memcpy(shard->delta, l->best, bytes);
	}
	free(held.results);
	tries_free(&held);
	return rc;
}

static bool lost_held(const struct learn *l)
{
	return passed_count(l->results, l->first) < l->first;
}

static int learn_run(struct learn *l, enum editor_mode mode, struct err *e)
{
	struct editor_shard *shard = l->shard;
	int rc = editor_shard_train(shard, mode, l->first, l->count, l->seed, l->watch, l->stats, e);
	if (rc != 0)
		return rc;
	l->all_new = l->stats->mode == EDITOR_BREADTH_FIRST;
	l->trained_end = l->all_new ? shard->edit_count : l->first + l->count;
	rc = retest_forced(shard, shard->delta, named(l), l->results, l->watch, e);
	if (rc == 0)
		rc = train_again(l, e);
	if (rc == 0 && l->all_new && lost_held(l))
		rc = continue_held(l, e);
	for (size_t i = 0; rc == 0 && i < shard->edit_count; i++)
		shard->edits[i].gave_up = i < l->trained_end && !l->results[i].passed;
	return rc;
}

int editor_shard_learn(struct editor_shard *shard, enum editor_mode mode, size_t first, size_t count, uint64_t seed,
		       const struct editor_watch *watch, struct editor_result *results,
		       struct editor_train_stats *stats, struct err *e)
{
	if (shard->config.family == EDITOR_FAMILY_PAPER)
		return editor__wise_learn(shard, mode == EDITOR_ANEW ? EDITOR_BREADTH_FIRST : mode, first, count, seed,
					  watch, results, stats, e);
	size_t bytes = editor__matrix_size(shard) * sizeof(float);
	struct learn l = { .shard = shard,
			   .first = first,
			   .count = count,
			   .tries_max = (mode == EDITOR_ANEW ? EDITOR_ANEW_TRIES : 1) *
					(uint32_t)shard->config.retest_tries,
			   .seed = seed,
			   .watch = watch,
			   .results = results,
			   .stats = stats };
	l.before = fault_malloc(bytes);
	l.trial = fault_calloc(shard->edit_count, sizeof(*l.trial));
	l.failed = fault_calloc(shard->edit_count, sizeof(*l.failed));
	int rc = tries_alloc(&l, shard->edit_count, bytes);
	if (rc != 0 || l.before == NULL || l.trial == NULL || l.failed == NULL) {
		rc = err_set(e, ERR_NOMEM, "learning: out of memory");
	} else {
		memcpy(l.before, shard->delta, bytes);
		rc = learn_run(&l, mode, e);
		if (rc != 0)
			memcpy(shard->delta, l.before, bytes);
	}
	free(l.before);
	free(l.trial);
	free(l.failed);
	tries_free(&l);
	return rc;
}
