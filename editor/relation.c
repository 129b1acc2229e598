#include "editor/relation.h"

#include "base/fault.h"
#include "base/rng.h"
#include "editor/whiten.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 64u
#define SCALE 16.0f /* inverse temperature of the softmax over cosines */
#define OWN   0.4f  /* cosine above which a rephrase, below which the own other question is to come: logistic loss */
#define RATE  2e-3f /* Adam, falling linearly to 0 */

/* Rows of z, h and their gradients: BATCH prompts, then their rephrases, then their other questions. */
struct fit {
	struct model_backend *b;
	const struct editor_calibration *c;
	const struct editor__triple *triples;
	size_t triple_count, batch, hidden, dims;
	float *z;                   /* 3·batch × hidden, standardised */
	float *h, *dh;              /* 3·batch × dims: z·head as unit vectors, and the loss's gradient */
	float *norms;               /* 3·batch */
	float *logits;              /* batch × 2·batch */
	float *grad, *head, *m, *v; /* hidden × dims */
	size_t *order;              /* triple_count */
};

static void statistics(struct editor_calibration *c, const struct editor__triple *triples, size_t count)
{
	for (size_t k = 0; k < c->hidden; k++) {
		double sum = 0, square = 0, n = 0;
		for (size_t i = 0; i < count; i++) {
			const float *const raws[] = { triples[i].prompt, triples[i].rephrase, triples[i].other };
			for (size_t r = 0; r < 3 && raws[r] != NULL; r++) {
				sum += (double)raws[r][k];
				square += (double)raws[r][k] * (double)raws[r][k];
				n++;
			}
		}
		const double mean = sum / n, variance = square / n - mean * mean;
		c->relation.mean[k] = (float)mean;
		c->relation.deviation[k] = (float)(sqrt(variance > 0 ? variance : 0) + 1e-6);
	}
}

static void put_row(struct fit *f, size_t row, const float *raw)
{
	float *z = f->z + row * f->hidden;
	for (size_t k = 0; k < f->hidden; k++)
		z[k] = raw == NULL ? 0 : (raw[k] - f->c->relation.mean[k]) / f->c->relation.deviation[k];
}

/* The first `batch` of a fresh shuffle (Fisher–Yates). */
static void draw_batch(struct fit *f, struct rng *rng)
{
	for (size_t i = 0; i < f->batch; i++) {
		const size_t j = i + (size_t)rng_below(rng, f->triple_count - i), swap = f->order[i];
		f->order[i] = f->order[j];
		f->order[j] = swap;
		const struct editor__triple *t = &f->triples[f->order[i]];
		put_row(f, i, t->prompt);
		put_row(f, f->batch + i, t->rephrase);
		put_row(f, 2 * f->batch + i, t->other);
	}
}

static void make_units(struct fit *f)
{
	for (size_t r = 0; r < 3 * f->batch; r++) {
		float *h = f->h + r * f->dims;
		double square = 0;
		for (size_t k = 0; k < f->dims; k++)
			square += (double)h[k] * (double)h[k];
		f->norms[r] = (float)sqrt(square) + 1e-6f;
		for (size_t k = 0; k < f->dims; k++)
			h[k] /= f->norms[r];
	}
}

/* Whether question j of the batch, a rephrase or behind these an other question, asks in a form in which the prompt or
 * the rephrase of `own` asks: then it is no negative of it. */
static bool shares_form(const struct fit *f, const struct editor__triple *own, size_t j)
{
	const struct editor__triple *t = &f->triples[f->order[j % f->batch]];
	if (j >= f->batch)
		return t->other_form == own->form || t->other_form == own->rephrase_form;
	return t->form == own->form || t->form == own->rephrase_form || t->rephrase_form == own->form ||
	       t->rephrase_form == own->rephrase_form;
}

static float logistic(float cosine)
{
	return 1.0f / (1.0f + expf(-SCALE * (cosine - OWN)));
}

/* Row i of logits becomes d loss / d cosine of prompt i with every rephrase and other question of the batch: of the
 * softmax over all, and of a logistic loss for its own two, as one threshold is to hold for every prompt. */
static void loss_gradient(struct fit *f, size_t i)
{
	const size_t n = 2 * f->batch;
	const struct editor__triple *own = &f->triples[f->order[i]];
	float *row = f->logits + i * n, largest = -INFINITY;
	const size_t other = f->batch + i;
	double sum = 0;
	float kept = 1, passed = 0; /* without an other question of its own: nothing to learn of one */
	for (size_t j = 0; j < n; j++) {
		const struct editor__triple *t = &f->triples[f->order[j % f->batch]];
		if ((j >= f->batch && t->other == NULL) || (j != i && shares_form(f, own, j)))
			row[j] = -INFINITY;
		largest = fmaxf(largest, row[j]);
	}
	if (isfinite(row[other])) {
		kept = logistic(row[i]);
		passed = logistic(row[other]);
	}
	for (size_t j = 0; j < n; j++) {
		row[j] = expf(SCALE * (row[j] - largest));
		sum += (double)row[j];
	}
	for (size_t j = 0; j < n; j++)
		row[j] =
			((float)((double)row[j] / sum) - (j == i ? 2.0f - kept : 0.0f) + (j == other ? passed : 0.0f)) *
			SCALE / (float)f->batch;
}

/* From the gradient of a unit vector to that of the vector. */
static void undo_units(struct fit *f)
{
	for (size_t r = 0; r < 3 * f->batch; r++) {
		const float *u = f->h + r * f->dims;
		float *d = f->dh + r * f->dims, along = 0;
		for (size_t k = 0; k < f->dims; k++)
			along += d[k] * u[k];
		for (size_t k = 0; k < f->dims; k++)
			d[k] = (d[k] - along * u[k]) / f->norms[r];
	}
}

static int step(struct fit *f, size_t number, size_t step_count)
{
	struct model_backend *b = f->b;
	const size_t batch = f->batch, dims = f->dims;
	float *others = f->h + batch * dims, *dothers = f->dh + batch * dims;
	int rc = b->ops->gemm(b, f->h, f->z, f->head, false, false, 1, 0, 3 * batch, dims, f->hidden);
	if (rc != 0)
		return rc;
	make_units(f);
	rc = b->ops->gemm(b, f->logits, f->h, others, false, true, 1, 0, batch, 2 * batch, dims);
	for (size_t i = 0; i < batch && rc == 0; i++)
		loss_gradient(f, i);
	if (rc == 0)
		rc = b->ops->gemm(b, f->dh, f->logits, others, false, false, 1, 0, batch, dims, 2 * batch);
	if (rc == 0)
		rc = b->ops->gemm(b, dothers, f->logits, f->h, true, false, 1, 0, 2 * batch, dims, batch);
	if (rc != 0)
		return rc;
	undo_units(f);
	rc = b->ops->gemm(b, f->grad, f->z, f->dh, true, false, 1, 0, f->hidden, dims, 3 * batch);
	if (rc == 0)
		b->ops->adam(b, f->head, f->m, f->v, f->grad, RATE * (1.0f - (float)number / (float)step_count), 0.9f,
			     0.999f, 1e-8f, number, f->hidden * dims);
	return rc;
}

static int fit_alloc(struct fit *f)
{
	struct model_backend *b = f->b;
	const size_t rows = 3 * f->batch, matrix = f->hidden * f->dims;
	f->z = b->ops->alloc(b, rows * f->hidden);
	f->h = b->ops->alloc(b, rows * f->dims);
	f->dh = b->ops->alloc(b, rows * f->dims);
	f->norms = fault_calloc(rows, sizeof(*f->norms));
	f->logits = b->ops->alloc(b, 2 * f->batch * f->batch);
	f->grad = b->ops->alloc(b, matrix);
	f->head = b->ops->alloc(b, matrix);
	f->m = b->ops->alloc(b, matrix);
	f->v = b->ops->alloc(b, matrix);
	f->order = fault_calloc(f->triple_count, sizeof(*f->order));
	return f->z == NULL || f->h == NULL || f->dh == NULL || f->norms == NULL || f->logits == NULL ||
			       f->grad == NULL || f->head == NULL || f->m == NULL || f->v == NULL || f->order == NULL
		       ? ERR_NOMEM
		       : 0;
}

static void fit_free(struct fit *f)
{
	float *const arrays[] = { f->z, f->h, f->dh, f->logits, f->grad, f->head, f->m, f->v };
	for (size_t i = 0; i < sizeof(arrays) / sizeof(arrays[0]); i++) {
		if (arrays[i] != NULL)
			f->b->ops->free(f->b, arrays[i]);
	}
	free(f->norms);
	free(f->order);
}

static int fit_head(struct fit *f, size_t step_count, uint64_t seed)
{
	const size_t matrix = f->hidden * f->dims;
	const float deviation = 1.0f / sqrtf((float)f->hidden);
	struct rng rng;
	rng_init(&rng, seed);
	for (size_t i = 0; i < matrix; i++)
		f->head[i] = deviation * rng_normal(&rng);
	f->b->ops->clear(f->b, f->m, matrix);
	f->b->ops->clear(f->b, f->v, matrix);
	for (size_t i = 0; i < f->triple_count; i++)
		f->order[i] = i;
	int rc = 0;
	for (size_t number = 1; number <= step_count && rc == 0; number++) {
		draw_batch(f, &rng);
		rc = step(f, number, step_count);
	}
	return rc;
}

int editor__relation_fit(struct editor_calibration *c, struct model_backend *backend,
			 const struct editor__triple *triples, size_t triple_count, size_t step_count, uint64_t seed,
			 struct err *e)
{
	if (triple_count < 2)
		return err_set(e, ERR_INVALID, "a relation head of %zu groups: at least 2 are needed", triple_count);
	statistics(c, triples, triple_count);
	if (c->relation.dims == 0)
		return 0;
	struct fit f = { .b = backend,
			 .c = c,
			 .triples = triples,
			 .triple_count = triple_count,
			 .batch = triple_count < BATCH ? triple_count : BATCH,
			 .hidden = c->hidden,
			 .dims = c->relation.dims };
	int rc = fit_alloc(&f);
	if (rc == 0)
		rc = fit_head(&f, step_count, seed);
	if (rc == 0) {
		backend->ops->copy(backend, c->relation.head, f.head, f.hidden * f.dims);
		editor__shorts_round(c->relation.head, f.hidden, f.dims);
	}
	fit_free(&f);
	return rc != 0 ? err_set(e, rc, "relation head: %s", err_text(rc)) : 0;
}
