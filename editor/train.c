#include "editor/shard_internal.h"

#include "base/fault.h"
#include "editor/delta.h"
#include "editor/stream.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BETA1   0.9f /* Adam, Kingma and Ba 2015 */
#define BETA2   0.999f
#define EPSILON 1e-8f
/* Adam's first steps move every entry by the whole rate, whatever its gradient, and so disturb what the shard holds.
 * With an epsilon of a few times the gradient's own size, entries move in proportion to their gradients. */
#define CALM     4.0f
#define STEP_MIN 40 /* of a breadth-first pass: a shard of a few edits would see too few otherwise */

/* Normals are drawn once and rows take windows of the pool: drawing rows × ffn of them anew would cost a tenth of a
 * step. */
#define POOL_COUNT (1u << 18)
#define POOL_SEED  UINT64_C(0x414D454E44)

/* ---- Memory */

int editor__trainer_prepare(struct editor_shard *shard, struct err *e)
{
	struct editor__trainer *t = &shard->trainer;
	struct model_backend *b = shard->backend;
	size_t n = editor__matrix_size(shard), pool = POOL_COUNT + shard->shape->ffn;
	if (t->noise != NULL)
		return 0;
	float **arrays[] = { &t->base, &t->delta, &t->sum, &t->grad, &t->m, &t->v };
	bool missing = false;
	for (size_t i = 0; i < sizeof(arrays) / sizeof(arrays[0]); i++) {
		if (*arrays[i] == NULL)
			*arrays[i] = b->ops->alloc(b, n);
		missing |= *arrays[i] == NULL;
	}
	float *w = fault_malloc(n * sizeof(*w));
	t->noise = missing || w == NULL ? NULL : fault_malloc(pool * sizeof(*t->noise));
	if (t->noise == NULL) {
		free(w);
		editor__trainer_free(shard);
		return err_set(e, ERR_NOMEM, "shard: out of memory for training");
	}
	model_down_proj_get(shard->model, shard->config.layer, w);
	b->ops->copy(b, t->base, w, n);
	free(w);
	struct rng rng;
	rng_init(&rng, POOL_SEED);
	for (size_t i = 0; i < pool; i++)
		t->noise[i] = rng_normal(&rng);
	t->step = 0;
	return 0;
}

void editor__trainer_free(struct editor_shard *shard)
{
	struct editor__trainer *t = &shard->trainer;
	float **arrays[] = { &t->base, &t->delta, &t->sum, &t->grad, &t->m, &t->v };
	for (size_t i = 0; i < sizeof(arrays) / sizeof(arrays[0]); i++) {
		if (*arrays[i] != NULL)
			shard->backend->ops->free(shard->backend, *arrays[i]);
		*arrays[i] = NULL;
	}
	free(t->noise);
	t->noise = NULL;
	editor__protect_free(shard);
}

void editor__trainer_forget(struct editor_shard *shard)
{
	shard->trainer.step = 0;
}

void editor__trainer_sum(struct editor_shard *shard, const float *delta)
{
	const struct model_backend_ops *ops = shard->backend->ops;
	ops->copy(shard->backend, shard->trainer.sum, shard->trainer.base, editor__matrix_size(shard));
	ops->add(shard->backend, shard->trainer.sum, delta, editor__matrix_size(shard));
}

/* Training starts at `delta` (NULL: zero). */
static int trainer_start(struct editor_shard *shard, const float *delta, struct err *e)
{
	int rc = editor__prefix_fill(shard, e);
	if (rc == 0)
		rc = editor__trainer_prepare(shard, e);
	if (rc != 0)
		return rc;
	const struct model_backend_ops *ops = shard->backend->ops;
	if (delta != NULL)
		ops->copy(shard->backend, shard->trainer.delta, delta, editor__matrix_size(shard));
	else
		ops->clear(shard->backend, shard->trainer.delta, editor__matrix_size(shard));
	editor__trainer_sum(shard, shard->trainer.delta);
	return 0;
}

/* What is published is what was tested: the delta is rounded before anyone sees it. */
static void trainer_finish(struct editor_shard *shard)
{
	memcpy(shard->delta, shard->trainer.delta, editor__matrix_size(shard) * sizeof(float));
	editor_delta_round(shard->delta, editor__matrix_size(shard));
}

/* ---- One step */

struct step {
	const size_t *edits;
	size_t edit_count;
	float rate;
	struct rng *rng; /* NULL: no noise */
	bool again;      /* of what failed its re-test, which small letters bring nearer to other edits */
	uint64_t turn;   /* of the edits, for is_anchored_turn */
	double loss;     /* out: mean over the labels */
	bool right;      /* out: every argmax is its label */
};

/* Standard deviation of A(x) over the tokens of the mini-batch's edits as they stand in the ledger, whatever they are
 * read behind: what noise is measured in does not depend on the turn. */
static float inputs_deviation(const struct editor_shard *shard, const struct step *step)
{
	double sum = 0, square = 0, n = 0;
	for (size_t i = 0; i < step->edit_count; i++) {
		const struct editor__edit *edit = &shard->edits[step->edits[i]];
		sum += edit->sum;
		square += edit->square_sum;
		n += (double)(editor__edit_rows(edit) * shard->shape->ffn);
	}
	double variance = (square - sum * sum / n) / (n > 1 ? n - 1 : 1);
	return variance > 0 ? (float)sqrt(variance) : 0.0f;
}

/* An anchored question reads the edit's own inputs in the answer's rows and others in the prompt's (anchor.h). A merge
 * trains every second turn of an edit for that. */
static bool is_anchored_turn(const struct editor_shard *shard, const struct step *step, size_t edit)
{
	return shard->trainer.prompt_noise > 0 && (step->turn + edit) % 2 == 1;
}

static void add_noise(struct editor_shard *shard, const struct step *step, size_t first, float deviation)
{
	struct editor__batch *b = &shard->batch;
	const size_t ffn = shard->shape->ffn;
	for (size_t s = 0, row = 0; s < b->segment_count; s++) {
		const size_t at = step->edits[first + s];
		const size_t answer = editor__edit_reading(&shard->edits[at]).prompt_rows;
		const bool anchored = is_anchored_turn(shard, step, at);
		for (size_t r = 0; r < b->segments[s].row_count; r++, row++) {
			const float share = !anchored    ? shard->config.noise
					    : r < answer ? shard->trainer.prompt_noise
							 : 0;
			if (share <= 0)
				continue;
			const float *noise = shard->trainer.noise + rng_below(step->rng, POOL_COUNT);
			for (size_t i = 0; i < ffn; i++)
				b->x[row * ffn + i] += share * deviation * noise[i];
		}
	}
}

/* Adds the batch's losses; ERR_INVALID names the edit whose loss is no number. */
static int take_losses(struct editor_shard *shard, struct step *step, size_t first, struct err *e)
{
	struct editor__batch *b = &shard->batch;
	size_t k = 0;
	for (size_t i = 0; i < b->segment_count; i++) {
		const struct editor__edit *edit = &shard->edits[step->edits[first + i]];
		for (size_t end = k + editor__edit_labels(edit); k < end; k++) {
			if (!isfinite(b->loss[k]))
				return err_set(e, ERR_INVALID,
					       "training: the loss of edit %" PRIu64
					       " is no number: revoke it, or lower the rate",
					       edit->seq);
			step->loss += (double)b->loss[k] * (double)b->scale[k];
			step->right &= b->argmax[k] == b->labels[k] || b->scale[k] <= 0;
		}
	}
	return 0;
}

/* loss(delta) and its gradient: y = residual + (A + noise)·(W + delta)ᵀ; with dy = ∂loss/∂y, ∂loss/∂delta = dyᵀ·(A +
 * noise). */
static int batches_gradient(struct editor_shard *shard, struct step *step, struct err *e)
{
	struct editor__batch *b = &shard->batch;
	struct model_backend *backend = shard->backend;
	size_t hidden = shard->shape->hidden, ffn = shard->shape->ffn, labels = 0, taken = 0;
	for (size_t i = 0; i < step->edit_count; i++)
		labels += editor__edit_labels(&shard->edits[step->edits[i]]);
	const float deviation = inputs_deviation(shard, step);
	step->loss = 0;
	step->right = true;
	for (size_t first = 0; first < step->edit_count; first += taken) {
		int rc = editor__batch_fill(shard, step->edits + first, step->edit_count - first, 1.0f / (float)labels,
					    &taken, e);
		if (rc != 0)
			return rc;
		if (step->rng != NULL)
			add_noise(shard, step, first, deviation);
		rc = backend->ops->gemm(backend, b->y, b->x, shard->trainer.sum, false, true, 1.0f, 1.0f, b->row_count,
					hidden, ffn);
		if (rc != 0)
			return err_set(e, rc, "training: the forward product failed: %s", err_text(rc));
		rc = model_loss(shard->run, b->loss, b->argmax, b->dy, b->y, b->segments, b->segment_count,
				shard->config.layer + 1, b->rows, b->labels, b->scale, b->label_count, e);
		if (rc == 0)
			rc = take_losses(shard, step, first, e);
		if (rc != 0)
			return rc;
		rc = backend->ops->gemm(backend, shard->trainer.grad, b->dy, b->x, true, false, 1.0f,
					first == 0 ? 0.0f : 1.0f, hidden, ffn, b->row_count);
		if (rc != 0)
			return err_set(e, rc, "training: the backward product failed: %s", err_text(rc));
	}
	return 0;
}

static int step_gradient(struct editor_shard *shard, struct step *step, struct err *e)
{
	shard->backend->training = true;
	int rc = batches_gradient(shard, step, e);
	shard->backend->training = false;
	return rc;
}

/* The same with each edit in its own turn of seeing a view. */
static int step_seeing(struct editor_shard *shard, struct step *step, uint64_t turn, struct err *e)
{
	for (size_t i = 0; i < step->edit_count; i++)
		editor__edit_see(&shard->edits[step->edits[i]], turn + step->edits[i], !step->again);
	int rc = step_gradient(shard, step, e);
	for (size_t i = 0; i < step->edit_count; i++)
		editor__edit_see(&shard->edits[step->edits[i]], EDITOR__TURN_OWN, false);
	return rc;
}

static void step_apply(struct editor_shard *shard, float rate, float epsilon)
{
	struct editor__trainer *t = &shard->trainer;
	const struct model_backend_ops *ops = shard->backend->ops;
	size_t n = editor__matrix_size(shard);
	if (t->step == 0) {
		ops->clear(shard->backend, t->m, n);
		ops->clear(shard->backend, t->v, n);
	}
	ops->adam(shard->backend, t->delta, t->m, t->v, t->grad, rate, BETA1, BETA2, epsilon, ++t->step, n);
	editor__trainer_sum(shard, t->delta);
}

int editor_shard_gradient(struct editor_shard *shard, const float *delta, double *loss, float *gradient, struct err *e)
{
	size_t *all = fault_malloc(shard->edit_count * sizeof(*all));
	if (all == NULL)
		return err_set(e, ERR_NOMEM, "gradient: out of memory");
	for (size_t i = 0; i < shard->edit_count; i++)
		all[i] = i;
	struct step step = { .edits = all, .edit_count = shard->edit_count };
	int rc = shard->edit_count == 0 ? err_set(e, ERR_INVALID, "gradient: the shard has no edits")
					: trainer_start(shard, delta, e);
	if (rc == 0)
		rc = step_gradient(shard, &step, e);
	if (rc == 0) {
		*loss = step.loss;
		memcpy(gradient, shard->trainer.grad, editor__matrix_size(shard) * sizeof(float));
	}
	editor__trainer_forget(shard);
	free(all);
	return rc;
}

/* ---- Passes over all edits */

struct pass {
	size_t *order; /* all edits, shuffled here */
	uint64_t seed; /* of this pass */
	float rate;
	size_t *done, total; /* steps, for the watch */
	double loss;         /* out: mean over its steps */
};

static int run_pass(struct editor_shard *shard, struct pass *pass, const struct editor_watch *watch, struct err *e)
{
	struct rng rng;
	const size_t batch = shard->config.batch_edits, batches = (shard->edit_count + batch - 1) / batch;
	/* passes are counted over the rounds of a merge */
	const uint64_t turn = batches > 0 ? shard->trainer.step / batches : 0;
	size_t steps = 0;
	rng_init(&rng, pass->seed);
	for (size_t i = 0; i < shard->edit_count; i++)
		pass->order[i] = i;
	rng_shuffle(&rng, pass->order, shard->edit_count);
	double total = 0;
	for (size_t first = 0; first < shard->edit_count; first += batch, steps++) {
		size_t left = shard->edit_count - first;
		struct step step = { .edits = pass->order + first,
				     .edit_count = left < batch ? left : batch,
				     .rng = &rng,
				     .turn = turn };
		int rc = step_seeing(shard, &step, turn, e);
		if (rc != 0)
			return rc;
		step_apply(shard, pass->rate, EPSILON);
		total += step.loss;
		rc = editor__watch(watch, "train", ++*pass->done, pass->total, step.loss, e);
		if (rc != 0)
			return rc;
	}
	pass->loss = steps > 0 ? total / (double)steps : 0;
	return 0;
}

static int views_make(struct editor_shard *shard, uint64_t seed, const struct editor_watch *watch, struct err *e)
{
	int rc = editor__views_own(shard, watch, e);
	return rc == 0 ? editor__views_lend(shard, seed, watch, e) : rc;
}

static int breadth_first(struct editor_shard *shard, uint64_t seed, const struct editor_watch *watch,
			 struct editor_train_stats *stats, struct err *e)
{
	size_t batches = (shard->edit_count + shard->config.batch_edits - 1) / shard->config.batch_edits;
	size_t epochs = shard->config.epochs, done = 0;
	if (batches > 0 && epochs * batches < STEP_MIN)
		epochs = (STEP_MIN + batches - 1) / batches;
	struct pass pass = { .order = fault_malloc(shard->edit_count * sizeof(size_t)),
			     .done = &done,
			     .total = epochs * batches };
	if (pass.order == NULL)
		return err_set(e, ERR_NOMEM, "training: out of memory");
	editor__trainer_forget(shard);
	int rc = trainer_start(shard, NULL, e);
	if (rc == 0) /* the passes' own seeds end before `epochs` */
		rc = views_make(shard, rng_derive(seed, shard->config.seed, epochs), watch, e);
	for (size_t epoch = 0; rc == 0 && epoch < epochs; epoch++) {
		pass.seed = rng_derive(seed, shard->config.seed, epoch);
		pass.rate = shard->config.rate * (1.0f - (float)epoch / (float)epochs);
		rc = run_pass(shard, &pass, watch, e);
	}
	free(pass.order);
	editor__views_give_back(shard);
	if (rc == 0)
		trainer_finish(shard);
	editor__trainer_forget(shard);
	*stats = (struct editor_train_stats){ EDITOR_BREADTH_FIRST, done, pass.loss };
	return rc;
}

void editor_shard_local_begin(struct editor_shard *shard, float noise, float prompt_noise)
{
	shard->config.noise = noise;
	shard->trainer.prompt_noise = prompt_noise;
	shard->trainer.views_made = false;
	editor__trainer_forget(shard);
}

int editor_shard_local_passes(struct editor_shard *shard, const float *common, size_t passes, float rate, uint64_t seed,
			      float *out_delta, double *loss, const struct editor_watch *watch, struct err *e)
{
	size_t batches = (shard->edit_count + shard->config.batch_edits - 1) / shard->config.batch_edits, done = 0;
	struct pass pass = { .order = fault_malloc(shard->edit_count * sizeof(size_t)),
			     .rate = rate,
			     .done = &done,
			     .total = passes * batches };
	if (pass.order == NULL)
		return err_set(e, ERR_NOMEM, "merge: out of memory");
	int rc = trainer_start(shard, common, e);
	if (rc == 0 && !shard->trainer.views_made)
		rc = views_make(shard, rng_derive(seed, shard->config.seed, passes), watch, e);
	shard->trainer.views_made = rc == 0;
	for (size_t i = 0; rc == 0 && i < passes; i++) {
		pass.seed = rng_derive(seed, shard->config.seed, i);
		rc = run_pass(shard, &pass, watch, e);
	}
	free(pass.order);
	if (rc != 0) {
		editor__trainer_forget(shard);
		return rc;
	}
	memcpy(out_delta, shard->trainer.delta, editor__matrix_size(shard) * sizeof(float));
	*loss = pass.loss;
	return 0;
}

/* ---- Streaming */

static float gradient_rms(const struct editor_shard *shard)
{
	size_t n = editor__matrix_size(shard);
	double square = 0;
	for (size_t i = 0; i < n; i++)
		square += (double)shard->trainer.grad[i] * (double)shard->trainer.grad[i];
	return (float)sqrt(square / (double)n) + EPSILON;
}

static int stream_run(struct editor_shard *shard, struct editor__stream *s, uint64_t seed,
		      const struct editor_watch *watch, struct editor_train_stats *stats, struct err *e)
{
	struct rng rng;
	float epsilon = EPSILON;
	size_t calm = 0; /* steps in a row after which training could end */
	bool protect;
	int rc = editor__protect_prepare(shard, s->others, s->other_count, &protect, e);
	if (rc != 0)
		return rc;
	rng_init(&rng, seed);
	for (size_t i = 0; i < s->steps_max; i++) {
		editor__stream_draw(s, &rng);
		struct step step = { .edits = s->edits,
				     .edit_count = editor__stream_count(s),
				     .rng = s->noise ? &rng : NULL,
				     .again = !s->noise };
		rc = step_seeing(shard, &step, i, e);
		if (rc != 0)
			return rc;
		stats->loss = step.loss;
		calm = step.right && step.loss <= (double)shard->config.stream_stop_loss ? calm + 1 : 0;
		if (calm == s->turns)
			break;
		rc = protect ? editor__protect_gradient(shard, e) : 0;
		if (rc != 0)
			return rc;
		if (i == 0)
			epsilon = CALM * gradient_rms(shard);
		step_apply(shard, s->rate, epsilon);
		stats->steps++;
		rc = editor__watch(watch, "train", i + 1, s->steps_max, step.loss, e);
		if (rc != 0)
			return rc;
	}
	return 0;
}

int editor__train_group(struct editor_shard *shard, const size_t *group, size_t group_count, size_t replay_end,
			bool again, uint64_t seed, const struct editor_watch *watch, struct editor_train_stats *stats,
			struct err *e)
{
	assert(group_count > 0);
	struct editor__stream s = { 0 };
	editor__trainer_forget(shard);
	int rc = trainer_start(shard, shard->delta, e);
	if (rc == 0)
		rc = editor__views_own(shard, watch, e);
	if (rc == 0)
		rc = editor__stream_new(shard, group, group_count, replay_end, again, &s, e);
	if (rc == 0)
		rc = stream_run(shard, &s, rng_derive(seed, shard->config.seed, group[0]), watch, stats, e);
	if (rc == 0)
		trainer_finish(shard);
	editor__trainer_forget(shard);
	editor__stream_free(&s);
	return rc;
}

static int stream(struct editor_shard *shard, size_t first, size_t count, uint64_t seed,
		  const struct editor_watch *watch, struct editor_train_stats *stats, struct err *e)
{
	size_t *group = fault_malloc(count * sizeof(*group));
	if (group == NULL)
		return err_set(e, ERR_NOMEM, "training: out of memory");
	for (size_t i = 0; i < count; i++)
		group[i] = first + i;
	*stats = (struct editor_train_stats){ .mode = EDITOR_STREAM };
	int rc = editor__train_group(shard, group, count, first, false, seed, watch, stats, e);
	free(group);
	return rc;
}

int editor_shard_train(struct editor_shard *shard, enum editor_mode mode, size_t first, size_t count, uint64_t seed,
		       const struct editor_watch *watch, struct editor_train_stats *stats, struct err *e)
{
	if (first > shard->edit_count || count > shard->edit_count - first || shard->edit_count == 0 ||
	    (mode == EDITOR_STREAM && count == 0))
		return err_set(e, ERR_INVALID, "training: edits %zu to %zu of %zu", first, first + count,
			       shard->edit_count);
	if (mode == EDITOR_STREAM && count <= shard->config.stream_group_max)
		return stream(shard, first, count, seed, watch, stats, e);
	return breadth_first(shard, seed, watch, stats, e);
}
