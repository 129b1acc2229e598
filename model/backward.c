/* backward.c: model_loss. Only gradients of activations are computed: the weights above the edited matrix are frozen,
 * so a product needs dy·W and no more. In the last layer only labelled rows go through queries, output and FFN; the
 * others are needed for their keys and values alone. This is exact. */
#include "model/parts.h"

#include "base/fault.h"

#include <stdlib.h>
#include <string.h>

struct training {
	struct model_run *run;
	struct model_backend *b;
	const struct model_backend_ops *ops;
	const struct model_shape *s;
	const struct model_segment *segments;
	size_t segment_count, rows, from;
	size_t q_size, kv_size;
	size_t chosen_count; /* distinct labelled rows */
	size_t *chosen;      /* ascending; place[row]: where a labelled row stands among them */
	size_t *place;
	int32_t *chosen_positions;
	/* gradients, named by what they hold */
	float *dgate, *dup, *dx, *dh, *compact, *compact_q;
};

static bool is_last(const struct training *t, size_t layer)
{
	return layer + 1 == t->s->layers;
}

static void gather(const struct training *t, float *to, const float *from, size_t width)
{
	for (size_t i = 0; i < t->chosen_count; i++)
		t->ops->copy(t->b, to + i * width, from + t->chosen[i] * width, width);
}

/* The other rows become 0. */
static void scatter(const struct training *t, float *to, const float *from, size_t width)
{
	t->ops->clear(t->b, to, t->rows * width);
	for (size_t i = 0; i < t->chosen_count; i++)
		t->ops->copy(t->b, to + t->chosen[i] * width, from + i * width, width);
}

/* --- Work space */

static int reserve_kept(struct training *t, size_t layers, struct err *e)
{
	struct model_run *run = t->run;
	const size_t widths[7] = {
		t->s->hidden, t->q_size, t->kv_size, t->kv_size, t->s->hidden, t->s->ffn, t->s->ffn
	};
	size_t a_row = 0, need;
	for (size_t i = 0; i < 7; i++)
		a_row += widths[i];
	if (__builtin_mul_overflow(a_row * t->rows, layers, &need))
		return err_set(e, ERR_LIMIT, "activations of %zu rows in %zu layers: too large", t->rows, layers);
	if (layers > run->kept_layers) {
		struct model__kept *kept = fault_realloc(run->kept, layers * sizeof(*kept));
		if (kept == NULL)
			return err_set(e, ERR_NOMEM, "activations of %zu layers: out of memory", layers);
		run->kept = kept;
		run->kept_layers = layers;
	}
	if (need > run->kept_memory_floats) {
		float *memory = t->ops->alloc(t->b, need);
		if (memory == NULL)
			return err_set(e, ERR_NOMEM, "activations of %zu rows in %zu layers: out of memory", t->rows,
				       layers);
		t->ops->free(t->b, run->kept_memory);
		run->kept_memory = memory;
		run->kept_memory_floats = need;
	}
	float *at = run->kept_memory;
	for (size_t l = 0; l < layers; l++) {
		struct model__kept *k = &run->kept[l];
		float **parts[7] = { &k->x, &k->q, &k->k, &k->v, &k->middle, &k->gate, &k->up };
		for (size_t i = 0; i < 7; at += widths[i] * t->rows, i++)
			*parts[i] = at;
	}
	return 0;
}

static int reserve_gradients(struct training *t, struct err *e)
{
	struct model_run *run = t->run;
	size_t wide = t->q_size > t->s->hidden ? t->q_size : t->s->hidden;
	const size_t widths[6] = { t->s->ffn, t->s->ffn, t->s->hidden, t->s->hidden, wide, wide };
	float **names[6] = { &t->dgate, &t->dup, &t->dx, &t->dh, &t->compact, &t->compact_q };
	bool grow = run->gradient_capacity < run->row_capacity;
	for (size_t i = 0; i < 6; i++) {
		if (grow) {
			t->ops->free(t->b, run->gradient[i]);
			run->gradient[i] = t->ops->alloc(t->b, run->row_capacity * widths[i]);
		}
		if (run->gradient[i] == NULL) {
			run->gradient_capacity = 0;
			return err_set(e, ERR_NOMEM, "gradients of %zu rows: out of memory", t->rows);
		}
		*names[i] = run->gradient[i];
	}
	run->gradient_capacity = run->row_capacity;
	return 0;
}

/* Sets chosen, place and chosen_positions from the labelled rows. */
static int choose_rows(struct training *t, const size_t *rows, size_t label_count, struct err *e)
{
	struct model_run *run = t->run;
	if (t->rows > run->row_index_capacity) {
		size_t *index = fault_realloc(run->row_index, t->rows * (2 * sizeof(size_t) + sizeof(int32_t)));
		if (index == NULL)
			return err_set(e, ERR_NOMEM, "labelled rows: out of memory");
		run->row_index = index;
		run->row_index_capacity = t->rows;
	}
	t->chosen = run->row_index;
	t->place = t->chosen + t->rows;
	t->chosen_positions = (int32_t *)(t->place + t->rows);
	memset(t->place, 0, t->rows * sizeof(size_t));
	for (size_t i = 0; i < label_count; i++) {
		if (rows[i] >= t->rows)
			return err_set(e, ERR_INVALID, "label %zu belongs to row %zu of a batch with %zu", i, rows[i],
				       t->rows);
		t->place[rows[i]] = 1;
	}
	for (size_t r = 0; r < t->rows; r++) {
		if (t->place[r] == 0)
			continue;
		t->chosen_positions[t->chosen_count] = run->positions[r];
		t->place[r] = t->chosen_count;
		t->chosen[t->chosen_count++] = r;
	}
	return 0;
}

/* --- Forward. run->x holds the rows; after the last layer only its first chosen_count rows count. */

/* In the last layer the product as well. */
static int queries_forward(const struct training *t, const struct model__layer *l, struct model__kept *k, bool last)
{
	struct model_run *run = t->run;
	const float *freq = run->model->freq;
	if (!last) {
		t->ops->rope(t->b, k->q, run->positions, freq, true, false, t->rows, t->s->heads, t->s->head_size);
		return 0;
	}
	gather(t, t->compact, run->h, t->s->hidden);
	int rc = t->ops->weight_forward(t->b, t->compact_q, t->compact, l->q, false, t->chosen_count);
	t->ops->rope(t->b, t->compact_q, t->chosen_positions, freq, true, false, t->chosen_count, t->s->heads,
		     t->s->head_size);
	scatter(t, k->q, t->compact_q, t->q_size);
	return rc;
}

static int attention_forward(const struct training *t, size_t layer, struct model__kept *k)
{
	struct model_run *run = t->run;
	const struct model__layer *l = &run->model->layers[layer];
	t->ops->copy(t->b, k->x, run->x, t->rows * t->s->hidden);
	t->ops->rmsnorm(t->b, run->h, run->x, l->attn_norm, t->s->rms_eps, t->rows, t->s->hidden);
	float *const y[] = { k->k, k->v, k->q };
	const struct model_weight *const w[] = { l->k, l->v, l->q };
	const bool last = is_last(t, layer);
	int rc = model__products(t->b, y, run->h, w, last ? 2 : 3, t->rows);
	if (rc == 0)
		rc = queries_forward(t, l, k, last);
	if (rc != 0)
		return rc;
	t->ops->rope(t->b, k->k, run->positions, run->model->freq, true, false, t->rows, t->s->kv_heads,
		     t->s->head_size);
	for (size_t i = 0, row = 0; i < t->segment_count; row += t->segments[i].row_count, i++) {
		run->keys[i] = k->k + row * t->kv_size;
		run->values[i] = k->v + row * t->kv_size;
	}
	return t->ops->attention(t->b, run->attended, k->q, run->keys, run->values, t->segments, t->segment_count,
				 t->s->heads, t->s->kv_heads, t->s->head_size, t->s->window);
}

static int layer_forward(const struct training *t, size_t layer, struct model__kept *k)
{
	struct model_run *run = t->run;
	const struct model__layer *l = &run->model->layers[layer];
	const float *attended = run->attended;
	size_t n = t->rows;
	int rc = attention_forward(t, layer, k);
	if (rc != 0)
		return rc;
	if (is_last(t, layer)) {
		n = t->chosen_count;
		gather(t, t->compact_q, run->attended, t->q_size);
		attended = t->compact_q;
		gather(t, run->x, k->x, t->s->hidden);
	}
	rc = t->ops->weight_forward(t->b, run->x, attended, l->o, true, n);
	t->ops->copy(t->b, k->middle, run->x, n * t->s->hidden);
	t->ops->rmsnorm(t->b, run->h, k->middle, l->ffn_norm, t->s->rms_eps, n, t->s->hidden);
	float *const y[] = { k->gate, k->up };
	const struct model_weight *const w[] = { l->gate, l->up };
	if (rc == 0)
		rc = model__products(t->b, y, run->h, w, 2, n);
	if (rc != 0)
		return rc;
	t->ops->silu_mul(t->b, run->gate, k->gate, k->up, n * t->s->ffn);
	return t->ops->weight_forward(t->b, run->x, run->gate, l->down, true, n);
}

/* --- Head: loss of a block of labels, and its gradient added to the rows of dx. */

static int head_block(const struct training *t, float *loss, int32_t *argmax, bool backward, const size_t *rows,
		      const int32_t *labels, const float *scale, size_t count)
{
	struct model_run *run = t->run;
	const struct model *m = run->model;
	size_t hidden = t->s->hidden;
	float *normed = run->head_rows + MODEL__LOGIT_ROWS_MAX * hidden, *dnormed = t->dh;
	for (size_t i = 0; i < count; i++)
		t->ops->copy(t->b, run->head_rows + i * hidden, run->x + t->place[rows[i]] * hidden, hidden);
	t->ops->rmsnorm(t->b, normed, run->head_rows, m->output_norm, t->s->rms_eps, count, hidden);
	int rc = t->ops->weight_forward(t->b, run->logits, normed, m->head != NULL ? m->head : m->stored_head, false,
					count);
	if (rc != 0)
		return rc;
	t->ops->softmax_cross_entropy(t->b, loss, argmax, backward ? run->logits : NULL, run->logits, labels, scale,
				      count, t->s->vocabulary);
	if (!backward)
		return 0;
	rc = t->ops->weight_backward(t->b, dnormed, run->logits, m->head, false, count);
	t->ops->clear(t->b, normed, count * hidden);
	t->ops->rmsnorm_backward(t->b, normed, dnormed, run->head_rows, m->output_norm, t->s->rms_eps, count, hidden);
	for (size_t i = 0; i < count; i++)
		t->ops->add(t->b, t->dx + t->place[rows[i]] * hidden, normed + i * hidden, hidden);
	return rc;
}

static int head_all(const struct training *t, float *loss, int32_t *argmax, bool backward, const size_t *rows,
		    const int32_t *labels, const float *scale, size_t label_count)
{
	/* dnormed stands in dh, which holds row_capacity rows */
	size_t block = t->run->row_capacity < MODEL__LOGIT_ROWS_MAX ? t->run->row_capacity : MODEL__LOGIT_ROWS_MAX;
	int rc = 0;
	block = block < t->run->logit_capacity ? block : t->run->logit_capacity;
	t->ops->clear(t->b, t->dx, t->chosen_count * t->s->hidden);
	for (size_t at = 0; rc == 0 && at < label_count; at += block) {
		size_t count = label_count - at < block ? label_count - at : block;
		rc = head_block(t, loss + at, argmax + at, backward, rows + at, labels + at,
				scale == NULL ? NULL : scale + at, count);
	}
	return rc;
}

/* --- Backward. dx holds the gradient of the layer's output (chosen rows after the last layer), then of its input. */

static int ffn_backward(const struct training *t, const struct model__layer *l, const struct model__kept *k, size_t n)
{
	struct model_run *run = t->run;
	int rc = t->ops->weight_backward(t->b, run->gate, t->dx, l->down, false, n);
	if (rc != 0)
		return rc;
	t->ops->silu_mul_backward(t->b, t->dgate, t->dup, run->gate, k->gate, k->up, n * t->s->ffn);
	rc = t->ops->weight_backward(t->b, t->dh, t->dgate, l->gate, false, n);
	if (rc == 0)
		rc = t->ops->weight_backward(t->b, t->dh, t->dup, l->up, true, n);
	t->ops->rmsnorm_backward(t->b, t->dx, t->dh, k->middle, l->ffn_norm, t->s->rms_eps, n, t->s->hidden);
	return rc;
}

/* dh += gradient through the queries; dq stands in run->q. */
static int queries_backward(const struct training *t, const struct model__layer *l, bool last)
{
	struct model_run *run = t->run;
	const float *freq = run->model->freq;
	if (!last) {
		t->ops->rope(t->b, run->q, run->positions, freq, true, true, t->rows, t->s->heads, t->s->head_size);
		return t->ops->weight_backward(t->b, t->dh, run->q, l->q, true, t->rows);
	}
	gather(t, t->compact_q, run->q, t->q_size);
	t->ops->rope(t->b, t->compact_q, t->chosen_positions, freq, true, true, t->chosen_count, t->s->heads,
		     t->s->head_size);
	int rc = t->ops->weight_backward(t->b, t->compact, t->compact_q, l->q, false, t->chosen_count);
	for (size_t i = 0; i < t->chosen_count; i++)
		t->ops->add(t->b, t->dh + t->chosen[i] * t->s->hidden, t->compact + i * t->s->hidden, t->s->hidden);
	return rc;
}

static int layer_backward(const struct training *t, size_t layer, const struct model__kept *k)
{
	struct model_run *run = t->run;
	const struct model__layer *l = &run->model->layers[layer];
	bool last = is_last(t, layer);
	size_t n = last ? t->chosen_count : t->rows;
	int rc = ffn_backward(t, l, k, n);
	if (rc == 0)
		rc = t->ops->weight_backward(t->b, last ? t->compact_q : run->attended, t->dx, l->o, false, n);
	if (rc != 0)
		return rc;
	if (last) {
		scatter(t, run->attended, t->compact_q, t->q_size);
		t->ops->copy(t->b, t->compact, t->dx, n * t->s->hidden);
		scatter(t, t->dx, t->compact, t->s->hidden);
	}
	rc = t->ops->attention_backward(t->b, run->q, run->k, run->v, run->attended, k->q, k->k, k->v, t->segments,
					t->segment_count, t->s->heads, t->s->kv_heads, t->s->head_size, t->s->window);
	if (rc != 0)
		return rc;
	t->ops->rope(t->b, run->k, run->positions, run->model->freq, true, true, t->rows, t->s->kv_heads,
		     t->s->head_size);
	rc = t->ops->weight_backward(t->b, t->dh, run->k, l->k, false, t->rows);
	if (rc == 0)
		rc = t->ops->weight_backward(t->b, t->dh, run->v, l->v, true, t->rows);
	if (rc == 0)
		rc = queries_backward(t, l, last);
	t->ops->rmsnorm_backward(t->b, t->dx, t->dh, k->x, l->attn_norm, t->s->rms_eps, t->rows, t->s->hidden);
	return rc;
}

/* --- The whole */

static int prepare(struct training *t, bool backward, const size_t *rows, const int32_t *labels, size_t label_count,
		   struct err *e)
{
	struct model_run *run = t->run;
	size_t layers = t->s->layers;
	if (t->from > layers)
		return err_set(e, ERR_INVALID, "loss from layer %zu of a model with %zu", t->from, layers);
	if (backward && t->from < run->model->backward_from)
		return err_set(e, ERR_INVALID,
			       "gradient from layer %zu, but the model was opened for gradients from layer %zu",
			       t->from, run->model->backward_from);
	if (label_count == 0)
		return err_set(e, ERR_INVALID, "a loss without labels");
	for (size_t i = 0; i < label_count; i++) {
		if (labels[i] < 0 || (size_t)labels[i] >= t->s->vocabulary)
			return err_set(e, ERR_INVALID, "label %zu is %d, the vocabulary ends at %zu", i, labels[i],
				       t->s->vocabulary);
	}
	int rc = model__run_segments(run, NULL, t->segments, t->segment_count, &t->rows, e);
	if (rc == 0)
		rc = choose_rows(t, rows, label_count, e);
	if (rc == 0)
		rc = model__run_reserve_logits(run, label_count, e);
	if (rc == 0)
		rc = reserve_gradients(t, e);
	/* without a backward, every layer uses the first layer's place */
	return rc != 0 ? rc : reserve_kept(t, backward ? layers - t->from : 1, e);
}

static int compute(const struct training *t, float *loss, int32_t *argmax, float *dy, const float *y,
		   const size_t *rows, const int32_t *labels, const float *scale, size_t label_count)
{
	struct model_run *run = t->run;
	size_t layers = t->s->layers, hidden = t->s->hidden;
	int rc = 0;
	t->ops->copy(t->b, run->x, y, t->rows * hidden);
	for (size_t l = t->from; rc == 0 && l < layers; l++)
		rc = layer_forward(t, l, &run->kept[dy != NULL ? l - t->from : 0]);
	if (t->from == layers) { /* nothing above: the labelled rows are the input's */
		gather(t, t->compact, run->x, hidden);
		t->ops->copy(t->b, run->x, t->compact, t->chosen_count * hidden);
	}
	if (rc == 0)
		rc = head_all(t, loss, argmax, dy != NULL, rows, labels, scale, label_count);
	if (rc != 0 || dy == NULL)
		return rc;
	if (t->from == layers) {
		scatter(t, t->compact, t->dx, hidden);
		t->ops->copy(t->b, dy, t->compact, t->rows * hidden);
		return 0;
	}
	for (size_t l = layers; rc == 0 && l-- > t->from;)
		rc = layer_backward(t, l, &run->kept[l - t->from]);
	t->ops->copy(t->b, dy, t->dx, t->rows * hidden);
	return rc;
}

int model_loss(struct model_run *run, float *loss, int32_t *argmax, float *dy, const float *y,
	       const struct model_segment *segments, size_t segment_count, size_t from, const size_t *rows,
	       const int32_t *labels, const float *scale, size_t label_count, struct err *e)
{
	const struct model_shape *s = &run->model->shape;
	struct training t = { .run = run,
			      .b = run->backend,
			      .ops = run->backend->ops,
			      .s = s,
			      .segments = segments,
			      .segment_count = segment_count,
			      .from = from,
			      .q_size = s->heads * s->head_size,
			      .kv_size = s->kv_heads * s->head_size };
	if (dy != NULL && scale == NULL)
		return err_set(e, ERR_INVALID, "a gradient needs the scale of every label");
	int rc = prepare(&t, dy != NULL, rows, labels, label_count, e);
	if (rc != 0) {
		err_wrap(e, "loss");
		return rc;
	}
	rc = compute(&t, loss, argmax, dy, y, rows, labels, scale, label_count);
	return model__op_check(rc, "loss", e);
}
