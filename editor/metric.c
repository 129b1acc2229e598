#include "editor/metric.h"

#include "base/fault.h"
#include "editor/shard_internal.h"
#include "editor/spd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NOISE_MIN 5e-2 /* without any, directions that no input has would be open, and float32 products inexact */

struct product { /* with the shard's inputs */
	struct editor_shard *shard;
	float *out;     /* backend memory */
	const float *d; /* backend memory; NULL: out is G */
};

static int failed(struct err *e, int rc)
{
	return rc == 0 ? 0 : err_set(e, rc, "merge: a product failed: %s", err_text(rc));
}

/* out += xᵀ·x, or (x·dᵀ)ᵀ·x = d·xᵀ·x, for the inputs x of the packed batch. */
static int add_batch(struct product *p)
{
	struct editor__batch *b = &p->shard->batch;
	struct model_backend *backend = p->shard->backend;
	const size_t hidden = p->shard->shape->hidden, ffn = p->shard->shape->ffn;
	if (p->d == NULL)
		return backend->ops->gemm(backend, p->out, b->x, b->x, true, false, 1.0f, 1.0f, ffn, ffn, b->row_count);
	int rc = backend->ops->gemm(backend, b->y, b->x, p->d, false, true, 1.0f, 0.0f, b->row_count, hidden, ffn);
	return rc == 0 ? backend->ops->gemm(backend, p->out, b->y, b->x, true, false, 1.0f, 1.0f, hidden, ffn,
					    b->row_count)
		       : rc;
}

static int add_all(struct product *p, struct err *e)
{
	struct editor_shard *shard = p->shard;
	int rc = editor__prefix_fill(shard, e);
	size_t *all = fault_malloc((shard->edit_count + 1) * sizeof(*all)), taken = 0;
	if (rc == 0 && all == NULL)
		rc = err_set(e, ERR_NOMEM, "merge: out of memory");
	for (size_t i = 0; rc == 0 && i < shard->edit_count; i++)
		all[i] = i;
	for (size_t first = 0; rc == 0 && first < shard->edit_count; first += taken) {
		rc = editor__batch_fill(shard, all + first, shard->edit_count - first, 1.0f, &taken, e);
		if (rc == 0)
			rc = failed(e, add_batch(p));
	}
	free(all);
	return rc;
}

/* What the noise adds to every entry of the diagonal; *mean: what the inputs add, on average. */
static double ridge_of(const struct editor_shard *shard, double *mean)
{
	const double noise = fmax((double)shard->config.noise, NOISE_MIN), ffn = (double)shard->shape->ffn;
	double sum = 0, square = 0, n = 0;
	for (size_t i = 0; i < shard->edit_count; i++) {
		sum += shard->edits[i].sum;
		square += shard->edits[i].square_sum;
		n += (double)editor__edit_rows(&shard->edits[i]) * ffn;
	}
	*mean = square / ffn;
	return n > 0 ? noise * noise * (square - sum * sum / n) / ffn : 0;
}

size_t editor__metric_columns(const struct editor_shard *shard)
{
	return shard->shape->ffn;
}

int editor__metric_mean(struct editor_shard *shard, double *mean, struct err *e)
{
	int rc = editor__prefix_fill(shard, e);
	double inputs;
	const double ridge = ridge_of(shard, &inputs);
	if (rc == 0)
		*mean = inputs + ridge;
	return rc;
}

static int add_fixed(const struct editor_shard *shard, const float *gram, double scale, int64_t *fixed, struct err *e)
{
	const size_t ffn = shard->shape->ffn;
	double mean;
	const double ridge = ridge_of(shard, &mean);
	size_t at = 0;
	int rc = 0;
	for (size_t i = 0; i < ffn; i++) {
		for (size_t j = i; j < ffn && rc == 0; j++, at++)
			rc = editor__fixed_add_one(&fixed[at],
						   ((double)gram[i * ffn + j] + (i == j ? ridge : 0)) * scale, at, e);
	}
	return rc;
}

int editor__metric_add(struct editor_shard *shard, double scale, int64_t *fixed, struct err *e)
{
	const struct model_backend_ops *ops = shard->backend->ops;
	const size_t count = shard->shape->ffn * shard->shape->ffn;
	struct product p = { .shard = shard, .out = ops->alloc(shard->backend, count) };
	if (p.out == NULL)
		return err_set(e, ERR_NOMEM, "merge: out of memory for %zu entries", count);
	ops->clear(shard->backend, p.out, count);
	int rc = add_all(&p, e);
	if (rc == 0)
		rc = add_fixed(shard, p.out, scale, fixed, e);
	ops->free(shard->backend, p.out);
	return rc;
}

int editor__metric_whiten(const int64_t *fixed, size_t ffn, float *whiten, struct err *e)
{
	double *sum = fault_malloc(ffn * ffn * sizeof(*sum)), *inverse = fault_malloc(ffn * ffn * sizeof(*inverse));
	int rc = 0;
	if (sum == NULL || inverse == NULL) {
		rc = err_set(e, ERR_NOMEM, "merge: out of memory for %zu × %zu", ffn, ffn);
	} else {
		size_t at = 0;
		for (size_t i = 0; i < ffn; i++) {
			for (size_t j = i; j < ffn; j++)
				sum[i * ffn + j] = (double)fixed[at++] / EDITOR_FIXED_SCALE;
		}
		rc = editor__spd_factor(sum, ffn);
		if (rc == 0)
			editor__spd_whiten(sum, inverse, whiten, ffn);
		else
			err_set(e, rc, "merge: the shards' inputs hold a number that is not finite");
	}
	free(sum);
	free(inverse);
	return rc;
}

int editor__metric_apply(struct editor_shard *shard, double scale, const float *d, float *out, struct err *e)
{
	const struct model_backend_ops *ops = shard->backend->ops;
	const size_t n = editor__matrix_size(shard);
	float *room = ops->alloc(shard->backend, 2 * n);
	if (room == NULL)
		return err_set(e, ERR_NOMEM, "merge: out of memory for %zu entries", 2 * n);
	struct product p = { .shard = shard, .out = room, .d = room + n };
	ops->clear(shard->backend, room, n);
	ops->copy(shard->backend, room + n, d, n);
	int rc = add_all(&p, e);
	double mean;
	const double ridge = ridge_of(shard, &mean);
	for (size_t i = 0; rc == 0 && i < n; i++)
		out[i] = (float)(scale * ((double)p.out[i] + ridge * (double)d[i]));
	ops->free(shard->backend, room);
	return rc;
}

int editor__metric_solve(struct editor_shard *shard, const float *whiten, const float *d, float *out, struct err *e)
{
	struct model_backend *b = shard->backend;
	const size_t hidden = shard->shape->hidden, ffn = shard->shape->ffn, n = hidden * ffn;
	float *room = b->ops->alloc(b, 2 * n);
	if (room == NULL)
		return err_set(e, ERR_NOMEM, "merge: out of memory for %zu entries", 2 * n);
	b->ops->copy(b, room, d, n);
	int rc = failed(e, b->ops->gemm(b, room + n, room, whiten, false, false, 1.0f, 0.0f, hidden, ffn, ffn));
	if (rc == 0)
		rc = failed(e, b->ops->gemm(b, room, room + n, whiten, false, true, 1.0f, 0.0f, hidden, ffn, ffn));
	if (rc == 0)
		memcpy(out, room, n * sizeof(*out));
	b->ops->free(b, room);
	return rc;
}
