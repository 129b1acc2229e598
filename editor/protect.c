/* Keeps what is learnt while something new is: an update of the delta is multiplied by P = (I + Σ aᵀa / λ)⁻¹ over the
 * inputs a of the edited matrix that must keep their outputs, so that it acts on the directions which those do not use
 * (the idea of AlphaEdit, Fang et al. 2025, with a soft null space). P is built edit by edit with Woodbury's identity:
 * a Cholesky factor of rows × rows each, no inverse of ffn × ffn. */
#include "editor/shard_internal.h"

#include "base/fault.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FFN_MAX ((size_t)16384) /* P is ffn × ffn: 1 GiB there */

/* L of K = L·Lᵀ in place (lower), then K⁻¹·b for `width` columns in place of b. K is λI + a·P·aᵀ: never singular. */
static void solve(double *k, size_t n, float *b, size_t width)
{
	for (size_t j = 0; j < n; j++) {
		for (size_t i = j; i < n; i++) {
			double sum = k[i * n + j];
			for (size_t c = 0; c < j; c++)
				sum -= k[i * n + c] * k[j * n + c];
			k[i * n + j] = i == j ? sqrt(sum) : sum / k[j * n + j];
		}
	}
	for (size_t i = 0; i < n; i++) {
		for (size_t c = 0; c < i; c++) {
			float factor = (float)k[i * n + c];
			for (size_t w = 0; w < width; w++)
				b[i * width + w] -= factor * b[c * width + w];
		}
		float scale = (float)(1.0 / k[i * n + i]);
		for (size_t w = 0; w < width; w++)
			b[i * width + w] *= scale;
	}
	for (size_t i = n; i-- > 0;) {
		for (size_t c = i + 1; c < n; c++) {
			float factor = (float)k[c * n + i];
			for (size_t w = 0; w < width; w++)
				b[i * width + w] -= factor * b[c * width + w];
		}
		float scale = (float)(1.0 / k[i * n + i]);
		for (size_t w = 0; w < width; w++)
			b[i * width + w] *= scale;
	}
}

/* P ← P − P·aᵀ·(λI + a·P·aᵀ)⁻¹·a·P for the rows a of one edit. */
static int fold(struct editor_shard *shard, float *p, const struct editor__edit *edit, float lambda, struct err *e)
{
	const struct model_backend_ops *ops = shard->backend->ops;
	struct model_backend *b = shard->backend;
	size_t ffn = shard->shape->ffn, rows = editor__edit_rows(edit);
	float *ap = fault_malloc((2 * rows * ffn + rows * rows) * sizeof(float));
	double *k = fault_malloc(rows * rows * sizeof(*k));
	if (ap == NULL || k == NULL) {
		free(ap);
		free(k);
		return err_set(e, ERR_NOMEM, "training: out of memory");
	}
	float *solved = ap + rows * ffn, *gram = solved + rows * ffn;
	int rc = ops->gemm(b, ap, edit->inputs, p, false, false, 1.0f, 0.0f, rows, ffn, ffn);
	if (rc == 0)
		rc = ops->gemm(b, gram, ap, edit->inputs, false, true, 1.0f, 0.0f, rows, rows, ffn);
	if (rc == 0) {
		for (size_t i = 0; i < rows * rows; i++)
			k[i] = (double)gram[i] + (i % (rows + 1) == 0 ? (double)lambda : 0.0);
		memcpy(solved, ap, rows * ffn * sizeof(float));
		solve(k, rows, solved, ffn);
		rc = ops->gemm(b, p, ap, solved, true, false, -1.0f, 1.0f, ffn, ffn, rows);
	}
	free(ap);
	free(k);
	return rc == 0 ? 0 : err_set(e, rc, "training: protecting what is learnt failed: %s", err_text(rc));
}

/* Of the edits that P covers, in order, those that still come first in `others`; SIZE_MAX when P covers another. */
static size_t covered(const struct editor_shard *shard, const size_t *others, size_t other_count)
{
	const struct editor__trainer *t = &shard->trainer;
	if (t->protect == NULL || t->protected_count > other_count)
		return SIZE_MAX;
	for (size_t i = 0; i < t->protected_count; i++) {
		if (shard->edits[others[i]].seq != t->protected_seqs[i])
			return SIZE_MAX;
	}
	return t->protected_count;
}

static int start_at_identity(struct editor_shard *shard, struct err *e)
{
	struct editor__trainer *t = &shard->trainer;
	size_t ffn = shard->shape->ffn;
	t->protected_count = 0;
	if (t->protect == NULL)
		t->protect = shard->backend->ops->alloc(shard->backend, ffn * ffn);
	if (t->protect == NULL)
		return err_set(e, ERR_NOMEM, "training: out of memory for %zu × %zu", ffn, ffn);
	shard->backend->ops->clear(shard->backend, t->protect, ffn * ffn);
	for (size_t i = 0; i < ffn; i++)
		t->protect[i * ffn + i] = 1.0f;
	return 0;
}

/* λ in units of an input's mean square length; from the first edit alone, so that P does not depend on when it was
 * built. */
static float lambda_of(const struct editor_shard *shard, const size_t *others)
{
	const struct editor__edit *edit = &shard->edits[others[0]];
	return shard->config.stream_protect * (float)(edit->square_sum / (double)editor__edit_rows(edit));
}

int editor__protect_prepare(struct editor_shard *shard, const size_t *others, size_t other_count, bool *use,
			    struct err *e)
{
	struct editor__trainer *t = &shard->trainer;
	*use = other_count > 0 && shard->config.stream_protect > 0.0f && shard->shape->ffn <= FFN_MAX;
	if (!*use)
		return 0;
	int rc = 0;
	size_t first = covered(shard, others, other_count);
	if (first == SIZE_MAX) {
		first = 0;
		rc = start_at_identity(shard, e);
	}
	uint64_t *grown = rc == 0 ? fault_realloc(t->protected_seqs, other_count * sizeof(*grown)) : NULL;
	if (rc == 0 && grown == NULL)
		rc = err_set(e, ERR_NOMEM, "training: out of memory");
	if (rc != 0)
		return rc;
	t->protected_seqs = grown;
	for (size_t i = first; rc == 0 && i < other_count; i++) {
		rc = fold(shard, t->protect, &shard->edits[others[i]], lambda_of(shard, others), e);
		if (rc == 0)
			t->protected_seqs[t->protected_count++] = shard->edits[others[i]].seq;
	}
	if (rc != 0)
		t->protected_count = SIZE_MAX; /* P may be half folded: start again */
	return rc;
}

int editor__protect_gradient(struct editor_shard *shard, struct err *e)
{
	struct editor__trainer *t = &shard->trainer;
	struct model_backend *b = shard->backend;
	size_t hidden = shard->shape->hidden, ffn = shard->shape->ffn;
	/* `sum` is made anew after the step, so it can hold the product. */
	int rc = b->ops->gemm(b, t->sum, t->grad, t->protect, false, false, 1.0f, 0.0f, hidden, ffn, ffn);
	if (rc != 0)
		return err_set(e, rc, "training: protecting what is learnt failed: %s", err_text(rc));
	b->ops->copy(b, t->grad, t->sum, hidden * ffn);
	return 0;
}

void editor__protect_free(struct editor_shard *shard)
{
	struct editor__trainer *t = &shard->trainer;
	if (t->protect != NULL)
		shard->backend->ops->free(shard->backend, t->protect);
	free(t->protected_seqs);
	t->protect = NULL;
	t->protected_seqs = NULL;
	t->protected_count = 0;
}
