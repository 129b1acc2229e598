/* The loss of a step, its gradient, and the update (wise.h; eq. 4–5 of arXiv 2405.14768). */
#include "editor/dot.h"
#include "editor/wise_internal.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* Eight sums side by side: one chain of additions is slow. */
static float norm(const float *v, size_t n)
{
	double squares[8] = { 0 };
	for (size_t i = 0; i + 8 <= n; i += 8) {
		for (size_t j = 0; j < 8; j++)
			squares[j] += (double)v[i + j] * (double)v[i + j];
	}
	for (size_t i = n / 8 * 8; i < n; i++)
		squares[0] += (double)v[i] * (double)v[i];
	return (float)sqrt(editor__total(squares));
}

static double mean_norm(const float *product, size_t row_count, size_t hidden)
{
	double sum = 0;
	for (size_t i = 0; i < row_count; i++)
		sum += (double)norm(product + i * hidden, hidden);
	return sum / (double)row_count;
}

int editor_wise_gap(struct model_backend *backend, const float *inputs, size_t row_count, const float *delta,
		    size_t hidden, size_t ffn, float *product, double *gap, struct err *e)
{
	int rc = backend->ops->gemm(backend, product, inputs, delta, false, true, 1.0f, 0.0f, row_count, hidden, ffn);
	if (rc != 0)
		return err_set(e, rc, "gap: the product failed: %s", err_text(rc));
	*gap = mean_norm(product, row_count, hidden);
	return 0;
}

/* ---- Replay: which edits a step draws */

static void put_replayed(struct editor_wise *w, const struct editor__wise_edit *edit)
{
	struct editor__wise_rows *r = &w->rows;
	assert(edit->inputs != NULL && r->row_count + edit->prompt_count <= r->row_cap);
	memcpy(w->batch.x + r->row_count * w->shape->ffn, edit->inputs,
	       edit->prompt_count * w->shape->ffn * sizeof(float));
	r->spans[r->span_count++] = (struct editor__wise_span){ .row = r->row_count, .row_count = edit->prompt_count };
	r->row_count += edit->prompt_count;
}

static int draw_replayed(struct editor_wise *w, size_t step, struct err *e)
{
	struct editor__wise_rows *r = &w->rows;
	struct rng rng;
	r->row_count = r->fixed_row_count;
	r->span_count = r->fixed_span_count;
	if (!editor__wise_replays(w))
		return 0;
	rng_init(&rng, rng_derive(w->seed, w->edits.items[r->edit].seq, step + 1));
	for (size_t i = 0; i < w->group_count; i++) {
		struct editor__wise_edits *edits = &w->groups[i].edits;
		int rc = editor__wise_inputs(w, edits, edits->count, e);
		if (rc != 0)
			return rc;
		put_replayed(w, &edits->items[rng_below(&rng, edits->count)]);
	}
	int rc = editor__wise_inputs(w, &w->edits, r->edit + 1, e);
	if (rc == 0)
		put_replayed(w, &w->edits.items[rng_below(&rng, r->edit + 1)]);
	return rc;
}

/* ---- The hinges. Each adds to the loss and to the slopes of the gaps that it depends on. */

static double hinge(double value, double scale, struct editor__wise_span *up, struct editor__wise_span *down)
{
	if (!(value > 0.0))
		return 0.0;
	if (up != NULL)
		up->slope += scale;
	if (down != NULL)
		down->slope -= scale;
	return value * scale;
}

static void activation_loss(struct editor_wise *w, struct editor_wise_loss *loss)
{
	const struct editor_wise_config *c = &w->config.wise;
	struct editor__wise_span *spans = w->rows.spans, *out = &spans[w->rows.text_count];
	double mean = 1.0 / (double)w->rows.text_count;
	loss->gap_irrelevant = out->gap;
	/* eq. 4, the three terms */
	loss->irrelevant = hinge(out->gap - (double)c->alpha, 1.0, out, NULL);
	for (size_t i = 0; i < w->rows.text_count; i++) {
		loss->edit += hinge((double)c->beta - spans[i].gap, mean, NULL, &spans[i]);
		loss->margin += hinge((double)c->gamma - (spans[i].gap - out->gap), mean, out, &spans[i]);
	}
}

/* Appendix B.3 */
static void memo_loss(struct editor_wise *w, struct editor_wise_loss *loss)
{
	const struct editor_wise_config *c = &w->config.wise;
	struct editor__wise_span *first = &w->rows.spans[w->rows.fixed_span_count];
	for (size_t i = 0; i < w->group_count; i++)
		loss->memo_far += hinge(first[i].gap - (double)c->alpha, 1.0 / (double)w->group_count, &first[i], NULL);
	loss->memo_near = hinge((double)c->beta - first[w->group_count].gap, 1.0, NULL, &first[w->group_count]);
}

static void take_gaps(struct editor_wise *w, struct editor_wise_loss *loss)
{
	struct editor__wise_rows *r = &w->rows;
	size_t hidden = w->shape->hidden;
	for (size_t i = 0; i < r->span_count; i++) {
		struct editor__wise_span *span = &r->spans[i];
		span->gap = mean_norm(r->product + span->row * hidden, span->row_count, hidden);
		span->slope = 0.0;
		if (i < r->text_count)
			loss->gap_edit += span->gap / (double)r->text_count;
	}
	if (w->config.wise.activation_loss)
		activation_loss(w, loss);
	if (r->span_count > r->fixed_span_count)
		memo_loss(w, loss);
}

/* ∂Δ/∂(A·Dᵀ) of a token is its direction over the number of tokens; zero where the product is zero, as at the start. */
static void add_slopes(struct editor_wise *w)
{
	struct editor__wise_rows *r = &w->rows;
	size_t hidden = w->shape->hidden;
	for (size_t i = 0; i < r->span_count; i++) {
		const struct editor__wise_span *span = &r->spans[i];
		for (size_t row = span->row; span->slope != 0.0 && row < span->row + span->row_count; row++) {
			const float *z = r->product + row * hidden;
			float length = norm(z, hidden), *dy = w->batch.dy + row * hidden;
			float scale = length > 0.0f ? (float)(span->slope / (double)span->row_count) / length : 0.0f;
			for (size_t k = 0; k < hidden; k++)
				dy[k] += scale * z[k];
		}
	}
}

/* ---- Cross entropy through the layers above */

static int chunk_loss(struct editor_wise *w, const struct editor__wise_chunk *c, bool gradient, struct err *e)
{
	struct editor__batch *b = &w->batch;
	size_t hidden = w->shape->hidden;
	return model_loss(w->run, b->loss + c->label, b->argmax + c->label, gradient ? b->dy + c->row * hidden : NULL,
			  b->y + c->row * hidden, b->segments + c->segment, c->segment_count, w->config.layer + 1,
			  b->rows + c->label, b->labels + c->label, b->scale + c->label, c->label_count, e);
}

static int cross_entropy(struct editor_wise *w, bool gradient, struct editor_wise_loss *loss, struct err *e)
{
	struct editor__batch *b = &w->batch;
	struct editor__wise_rows *r = &w->rows;
	const struct model_backend_ops *ops = w->backend->ops;
	size_t n = r->edit_row_count * w->shape->hidden;
	int rc = 0;
	ops->copy(w->backend, b->y, r->base, n);
	ops->add(w->backend, b->y, r->product, n);
	for (size_t i = 0; rc == 0 && i < r->chunk_count; i++)
		rc = chunk_loss(w, &r->chunks[i], gradient, e);
	if (rc != 0)
		return rc;
	loss->right = true;
	for (size_t k = 0; k < b->label_count; k++) {
		loss->cross_entropy += (double)b->loss[k] * (double)b->scale[k];
		loss->right &= k >= r->bare_label_count || b->argmax[k] == b->labels[k];
	}
	return 0;
}

static int step_at(struct editor_wise *w, size_t step, bool gradient, struct editor_wise_loss *loss, struct err *e)
{
	struct editor__batch *b = &w->batch;
	struct editor__wise_rows *r = &w->rows;
	const struct model_backend_ops *ops = w->backend->ops;
	size_t hidden = w->shape->hidden, ffn = w->shape->ffn;
	*loss = (struct editor_wise_loss){ 0 };
	int rc = draw_replayed(w, step, e);
	if (rc != 0)
		return rc;
	rc = ops->gemm(w->backend, r->product, b->x, w->work, false, true, 1.0f, 0.0f, r->row_count, hidden, ffn);
	if (rc != 0)
		return err_set(e, rc, "training: the forward product failed: %s", err_text(rc));
	take_gaps(w, loss);
	rc = cross_entropy(w, gradient, loss, e);
	if (rc != 0)
		return rc;
	loss->total = loss->cross_entropy + loss->irrelevant + loss->edit + loss->margin + loss->memo_far +
		      loss->memo_near;
	if (!gradient)
		return 0;
	ops->clear(w->backend, b->dy + r->edit_row_count * hidden, (r->row_count - r->edit_row_count) * hidden);
	add_slopes(w);
	rc = ops->gemm(w->backend, w->grad, b->dy, b->x, true, false, 1.0f, 0.0f, hidden, ffn, r->row_count);
	return rc == 0 ? 0 : err_set(e, rc, "training: the backward product failed: %s", err_text(rc));
}

int editor__wise_step(struct editor_wise *w, size_t step, bool gradient, struct editor_wise_loss *loss, struct err *e)
{
	w->backend->training = gradient;
	int rc = step_at(w, step, gradient, loss, e);
	w->backend->training = false;
	return rc;
}

/* ---- The update */

void editor__wise_apply(struct editor_wise *w)
{
	const float rate = w->config.wise.rate, clip = w->config.wise.clip;
	const size_t bytes = (editor__wise_matrix_size(w) + 7) / 8; /* of the mask, whose bits end with the matrix */
	for (size_t byte = 0; byte < bytes; byte++) {
		for (unsigned bits = w->mask[byte]; bits != 0; bits &= bits - 1) {
			const size_t i = 8 * byte + (size_t)__builtin_ctz(bits);
			const float value = w->work[i] - rate * w->grad[i];
			w->work[i] = value > clip ? clip : value < -clip ? -clip : value;
		}
	}
}
