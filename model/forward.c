/* forward.c: the staged forward of the transformer, and the work space that it runs in. */
#include "model/parts.h"

#include "base/fault.h"
#include "model/quant.h"

#include <stdlib.h>
#include <string.h>

static void release_rows(struct model_run *run)
{
	float **buffers[] = { &run->x, &run->h, &run->q, &run->k, &run->v, &run->attended, &run->gate, &run->up };
	for (size_t i = 0; i < sizeof(buffers) / sizeof(buffers[0]); i++) {
		run->backend->ops->free(run->backend, *buffers[i]);
		*buffers[i] = NULL;
	}
	free(run->positions);
	run->positions = NULL;
	run->row_capacity = 0;
}

void model_run_destroy(struct model_run **run)
{
	if (run == NULL || *run == NULL)
		return;
	struct model_run *r = *run;
	if (r->backend != NULL) {
		const struct model_backend_ops *ops = r->backend->ops;
		release_rows(r);
		for (size_t i = 0; i < sizeof(r->gradient) / sizeof(r->gradient[0]); i++)
			ops->free(r->backend, r->gradient[i]);
		ops->free(r->backend, r->logits);
		ops->free(r->backend, r->head_rows);
		ops->free(r->backend, r->kept_memory);
	}
	model_backend_destroy(&r->backend);
	free(r->keys);
	free(r->values);
	free(r->kept);
	free(r->row_index);
	free(r->candidates);
	free(r);
	*run = NULL;
}

int model_run_new(struct model *model, size_t row_max, struct model_run **out, struct err *e)
{
	if (row_max == 0)
		return err_set(e, ERR_INVALID, "work space for 0 rows asked for: at least 1 is needed");
	struct model_run *run = fault_calloc(1, sizeof(*run));
	if (run == NULL)
		return err_set(e, ERR_NOMEM, "work space: out of memory");
	run->model = model;
	run->row_max = row_max;
	int rc = model_backend_new(model->backend_name, model->backend->thread_count, &run->backend, e);
	if (rc == 0) {
		run->head_rows =
			run->backend->ops->alloc(run->backend, 2 * MODEL__LOGIT_ROWS_MAX * model->shape.hidden);
		run->candidates = fault_malloc(model->shape.vocabulary * sizeof(*run->candidates));
		if (run->head_rows == NULL || run->candidates == NULL)
			rc = err_set(e, ERR_NOMEM, "work space: out of memory");
	}
	if (rc != 0) {
		model_run_destroy(&run);
		return rc;
	}
	*out = run;
	return 0;
}

static int reserve_segments(struct model_run *run, size_t segment_count, struct err *e)
{
	if (segment_count <= run->segment_capacity)
		return 0;
	const float **keys = fault_realloc(run->keys, segment_count * sizeof(*keys));
	if (keys != NULL)
		run->keys = keys;
	const float **values = fault_realloc(run->values, segment_count * sizeof(*values));
	if (values != NULL)
		run->values = values;
	if (keys == NULL || values == NULL)
		return err_set(e, ERR_NOMEM, "work space for %zu segments: out of memory", segment_count);
	run->segment_capacity = segment_count;
	return 0;
}

int model__run_reserve(struct model_run *run, size_t rows, size_t segment_count, struct err *e)
{
	const struct model_shape *s = &run->model->shape;
	size_t q = s->heads * s->head_size, kv = s->kv_heads * s->head_size;
	if (rows > run->row_max)
		return err_set(e, ERR_LIMIT,
			       "a batch of %zu rows, but the work space holds %zu: make the batch smaller", rows,
			       run->row_max);
	int rc = reserve_segments(run, segment_count, e);
	if (rc != 0 || rows <= run->row_capacity)
		return rc;
	size_t capacity = 2 * run->row_capacity > rows ? 2 * run->row_capacity : rows;
	capacity = capacity > run->row_max ? run->row_max : capacity;
	release_rows(run);
	struct {
		float **buffer;
		size_t width;
	} needs[] = { { &run->x, s->hidden }, { &run->h, s->hidden }, { &run->q, q },         { &run->k, kv },
		      { &run->v, kv },        { &run->attended, q },  { &run->gate, s->ffn }, { &run->up, s->ffn } };
	bool all = true;
	for (size_t i = 0; i < sizeof(needs) / sizeof(needs[0]); i++) {
		*needs[i].buffer = run->backend->ops->alloc(run->backend, capacity * needs[i].width);
		all = all && *needs[i].buffer != NULL;
	}
	run->positions = fault_malloc(capacity * sizeof(*run->positions));
	if (!all || run->positions == NULL) {
		release_rows(run);
		return err_set(e, ERR_NOMEM, "work space for %zu rows: out of memory", capacity);
	}
	run->row_capacity = capacity;
	return 0;
}

int model__run_reserve_logits(struct model_run *run, size_t rows, struct err *e)
{
	rows = rows < MODEL__LOGIT_ROWS_MAX ? rows : MODEL__LOGIT_ROWS_MAX;
	if (rows <= run->logit_capacity)
		return 0;
	float *logits = run->backend->ops->alloc(run->backend, rows * run->model->shape.vocabulary);
	if (logits == NULL)
		return err_set(e, ERR_NOMEM, "%zu rows of logits: out of memory", rows);
	run->backend->ops->free(run->backend, run->logits);
	run->logits = logits;
	run->logit_capacity = rows;
	return 0;
}

int model__op_check(int rc, const char *what, struct err *e)
{
	return rc == 0 ? 0 : err_set(e, rc, "%s: %s", what, err_text(rc));
}

int model__products(struct model_backend *b, float *const *y, const float *x, const struct model_weight *const *w,
		    size_t count, size_t rows)
{
	int rc = 0;
	if (b->ops->weights_forward != NULL)
		return b->ops->weights_forward(b, y, x, w, count, rows);
	for (size_t i = 0; i < count && rc == 0; i++)
		rc = b->ops->weight_forward(b, y[i], x, w[i], false, rows);
	return rc;
}

static int check_segment(const struct model_run *run, const struct model_kv *kv, const struct model_segment *s,
			 size_t index, struct err *e)
{
	size_t end, limit = run->model->shape.context;
	if (s->row_count == 0)
		return err_set(e, ERR_INVALID, "segment %zu has no rows", index);
	if (kv == NULL && s->position != 0)
		return err_set(e, ERR_INVALID,
			       "segment %zu starts at position %zu without a cache: earlier tokens are unknown", index,
			       s->position);
	if (kv != NULL && s->slot >= kv->slot_count)
		return err_set(e, ERR_INVALID, "segment %zu uses slot %zu of a cache with %zu slots", index, s->slot,
			       kv->slot_count);
	if (kv != NULL && kv->token_max < limit)
		limit = kv->token_max;
	if (__builtin_add_overflow(s->position, s->row_count, &end) || end > limit)
		return err_set(e, ERR_LIMIT, "segment %zu ends at token %zu, the limit is %zu: shorten the text", index,
			       s->position + s->row_count, limit);
	return 0;
}

int model__run_segments(struct model_run *run, const struct model_kv *kv, const struct model_segment *segments,
			size_t segment_count, size_t *row_count, struct err *e)
{
	size_t rows = 0;
	if (segment_count == 0)
		return err_set(e, ERR_INVALID, "a batch without segments");
	for (size_t s = 0; s < segment_count; s++) {
		int rc = check_segment(run, kv, &segments[s], s, e);
		if (rc != 0)
			return rc;
		rows += segments[s].row_count;
	}
	int rc = model__run_reserve(run, rows, segment_count, e);
	if (rc != 0)
		return rc;
	for (size_t s = 0, row = 0; s < segment_count; s++) {
		for (size_t r = 0; r < segments[s].row_count; r++)
			run->positions[row++] = (int32_t)(segments[s].position + r);
	}
	*row_count = rows;
	return 0;
}

int model_embed(struct model_run *run, float *x, const int32_t *ids, size_t row_count, struct err *e)
{
	const struct model *m = run->model;
	size_t elements, bytes, hidden = m->shape.hidden;
	if (!model_quant_block(m->embedding->type, &elements, &bytes))
		return err_set(e, ERR_UNSUPPORTED, "embedding of element type %d", (int)m->embedding->type);
	size_t row_bytes = hidden / elements * bytes;
	for (size_t r = 0; r < row_count; r++) {
		if (ids[r] < 0 || (size_t)ids[r] >= m->shape.vocabulary)
			return err_set(e, ERR_INVALID, "token %zu has id %d, the vocabulary ends at %zu", r, ids[r],
				       m->shape.vocabulary);
		const char *row = (const char *)m->embedding->data + (size_t)ids[r] * row_bytes;
		model_quant_dequantise(m->embedding->type, row, hidden, x + r * hidden);
	}
	return 0;
}

/* --- One layer */

struct pass { /* what stays the same from layer to layer */
	struct model_run *run;
	struct model_kv *kv;
	const struct model_segment *segments;
	size_t segment_count, rows;
	const struct model_reading *readings;
	const struct model_tap *taps;
	size_t tap_count;
	float *x;
	bool step; /* with the weights as stored */
};

static const struct model_weight *chosen(const struct pass *p, const struct model_weight *packed,
					 const struct model_weight *stored)
{
	return p->step && stored != NULL ? stored : packed;
}

static void fill_taps(const struct pass *p, enum model_tap_point point, size_t layer, const float *values, size_t width)
{
	for (size_t t = 0; t < p->tap_count; t++) {
		if (p->taps[t].point == point && p->taps[t].layer == layer)
			p->run->backend->ops->copy(p->run->backend, p->taps[t].out, values, p->rows * width);
	}
}

/* Where each segment's keys and values stand: the cache (the new ones are put there first) or this batch. */
static void place_keys(const struct pass *p, size_t layer)
{
	struct model_run *run = p->run;
	const struct model_shape *s = &run->model->shape;
	size_t width = s->kv_heads * s->head_size;
	for (size_t i = 0, row = 0; i < p->segment_count; row += p->segments[i].row_count, i++) {
		const struct model_segment *g = &p->segments[i];
		if (p->kv == NULL) {
			run->keys[i] = run->k + row * width;
			run->values[i] = run->v + row * width;
			continue;
		}
		float *keys = model__kv_at(p->kv, p->kv->keys, layer, g->slot),
		      *values = model__kv_at(p->kv, p->kv->values, layer, g->slot);
		run->backend->ops->copy(run->backend, keys + g->position * width, run->k + row * width,
					g->row_count * width);
		run->backend->ops->copy(run->backend, values + g->position * width, run->v + row * width,
					g->row_count * width);
		run->keys[i] = keys;
		run->values[i] = values;
	}
}

static int run_attention(const struct pass *p, size_t layer)
{
	struct model_run *run = p->run;
	const struct model *m = run->model;
	const struct model_shape *s = &m->shape;
	const struct model__layer *l = &m->layers[layer];
	struct model_backend *b = run->backend;
	float *const y[] = { run->q, run->k, run->v };
	const struct model_weight *const w[] = { chosen(p, l->q, l->stored.q), chosen(p, l->k, l->stored.k),
						 chosen(p, l->v, l->stored.v) };
	b->ops->rmsnorm(b, run->h, p->x, l->attn_norm, s->rms_eps, p->rows, s->hidden);
	int rc = model__products(b, y, run->h, w, 3, p->rows);
	if (rc != 0)
		return rc;
	b->ops->rope(b, run->q, run->positions, m->freq, true, false, p->rows, s->heads, s->head_size);
	b->ops->rope(b, run->k, run->positions, m->freq, true, false, p->rows, s->kv_heads, s->head_size);
	place_keys(p, layer);
	rc = b->ops->attention(b, run->attended, run->q, run->keys, run->values, p->segments, p->segment_count,
			       s->heads, s->kv_heads, s->head_size, s->window);
	return rc != 0 ? rc
		       : b->ops->weight_forward(b, p->x, run->attended, chosen(p, l->o, l->stored.o), true, p->rows);
}

/* The stored inputs of an anchored segment take the place of its own; the rows of A that W has read are free. */
static void put_anchors(const struct pass *p, const struct model_reading *reading, size_t row, size_t row_count)
{
	struct model_run *run = p->run;
	const size_t ffn = run->model->shape.ffn, from = reading->anchor_from;
	const size_t room = from < row_count ? row_count - from : 0;
	const size_t count = reading->anchor_count < room ? reading->anchor_count : room;
	if (count > 0)
		run->backend->ops->copy(run->backend, run->gate + (row + from) * ffn, reading->anchors, count * ffn);
}

/* Adds A·Dᵀ for the segments that read a side memory (WISE, arXiv 2405.14768, eq. 2, with D = W′ − W). */
static int read_sides(const struct pass *p, size_t layer)
{
	struct model_run *run = p->run;
	const struct model_shape *s = &run->model->shape;
	int rc = 0;
	for (size_t i = 0, row = 0; p->readings != NULL && rc == 0 && i < p->segment_count;) {
		const struct model_side *side = p->readings[i].side;
		size_t from = row;
		/* neighbours with the same memory are one product */
		do {
			if (side != NULL && side->layer == layer)
				put_anchors(p, &p->readings[i], row, p->segments[i].row_count);
			row += p->segments[i++].row_count;
		} while (i < p->segment_count && p->readings[i].side == side);
		if (side != NULL && side->layer == layer)
			rc = run->backend->ops->gemm(run->backend, p->x + from * s->hidden, run->gate + from * s->ffn,
						     side->delta, false, true, 1, 1, row - from, s->hidden, s->ffn);
	}
	return rc;
}

static int run_ffn(const struct pass *p, size_t layer)
{
	struct model_run *run = p->run;
	const struct model_shape *s = &run->model->shape;
	const struct model__layer *l = &run->model->layers[layer];
	struct model_backend *b = run->backend;
	float *const y[] = { run->gate, run->up };
	const struct model_weight *const w[] = { chosen(p, l->gate, l->stored.gate), chosen(p, l->up, l->stored.up) };
	fill_taps(p, MODEL_TAP_DOWN_RESIDUAL, layer, p->x, s->hidden);
	b->ops->rmsnorm(b, run->h, p->x, l->ffn_norm, s->rms_eps, p->rows, s->hidden);
	int rc = model__products(b, y, run->h, w, 2, p->rows);
	if (rc != 0)
		return rc;
	b->ops->silu_mul(b, run->gate, run->gate, run->up, p->rows * s->ffn);
	fill_taps(p, MODEL_TAP_DOWN_INPUT, layer, run->gate, s->ffn);
	rc = b->ops->weight_forward(b, p->x, run->gate, chosen(p, l->down, l->stored.down), true, p->rows);
	return rc != 0 ? rc : read_sides(p, layer);
}

static int layers_run(struct pass *p, size_t from, size_t to, struct err *e)
{
	struct model_run *run = p->run;
	int rc = model__run_segments(run, p->kv, p->segments, p->segment_count, &p->rows, e);
	for (size_t layer = from; rc == 0 && layer < to; layer++) {
		fill_taps(p, MODEL_TAP_INPUT, layer, p->x, run->model->shape.hidden);
		rc = run_attention(p, layer);
		if (rc == 0)
			rc = run_ffn(p, layer);
		if (rc != 0)
			return err_set(e, rc, "layer %zu, %zu rows: %s", layer, p->rows, err_text(rc));
	}
	return rc;
}

int model_layers(struct model_run *run, float *x, struct model_kv *kv, const struct model_segment *segments,
		 size_t segment_count, size_t from, size_t to, const struct model_reading *readings,
		 const struct model_tap *taps, size_t tap_count, struct err *e)
{
	struct pass p = { .run = run,
			  .kv = kv,
			  .segments = segments,
			  .segment_count = segment_count,
			  .readings = readings,
			  .taps = taps,
			  .tap_count = tap_count,
			  .x = x };
	if (from > to || to > run->model->shape.layers)
		return err_set(e, ERR_INVALID, "layers %zu to %zu of a model with %zu", from, to,
			       run->model->shape.layers);
	return layers_run(&p, from, to, e);
}

int model_step(struct model_run *run, float *x, struct model_kv *kv, const struct model_segment *segments,
	       size_t segment_count, const struct model_reading *readings, struct err *e)
{
	struct pass p = { .run = run,
			  .kv = kv,
			  .segments = segments,
			  .segment_count = segment_count,
			  .readings = readings,
			  .x = x,
			  .step = run->model->stored };
	run->backend->stepping = p.step;
	int rc = layers_run(&p, 0, run->model->shape.layers, e);
	run->backend->stepping = false;
	return rc;
}

/* --- Head */

/* Final norm and head of at most MODEL__LOGIT_ROWS_MAX rows. */
static int head_block(struct model_run *run, float *logits, const float *x, const size_t *rows, size_t row_count,
		      const struct model_weight *head, struct err *e)
{
	const struct model *m = run->model;
	struct model_backend *b = run->backend;
	size_t hidden = m->shape.hidden;
	float *normed = run->head_rows + MODEL__LOGIT_ROWS_MAX * hidden;
	for (size_t i = 0; i < row_count; i++)
		b->ops->copy(b, run->head_rows + i * hidden, x + rows[i] * hidden, hidden);
	b->ops->rmsnorm(b, normed, run->head_rows, m->output_norm, m->shape.rms_eps, row_count, hidden);
	return model__op_check(b->ops->weight_forward(b, logits, normed, head, false, row_count), "head", e);
}

static size_t block_at(size_t at, size_t count)
{
	return count - at < MODEL__LOGIT_ROWS_MAX ? count - at : MODEL__LOGIT_ROWS_MAX;
}

int model_head(struct model_run *run, float *logits, const float *x, const size_t *rows, size_t row_count,
	       struct err *e)
{
	const struct model *m = run->model;
	const struct model_weight *head = m->stored_head != NULL ? m->stored_head : m->head;
	int rc = 0;
	for (size_t at = 0; rc == 0 && at < row_count; at += MODEL__LOGIT_ROWS_MAX)
		rc = head_block(run, logits + at * m->shape.vocabulary, x, rows + at, block_at(at, row_count), head, e);
	return rc;
}

static int check_labels(const struct model_run *run, const int32_t *labels, size_t count, struct err *e)
{
	for (size_t i = 0; labels != NULL && i < count; i++) {
		if (labels[i] < 0 || (size_t)labels[i] >= run->model->shape.vocabulary)
			return err_set(e, ERR_INVALID, "label %zu is %d, the vocabulary ends at %zu", i, labels[i],
				       run->model->shape.vocabulary);
	}
	return 0;
}

int model_head_loss(struct model_run *run, float *loss, int32_t *argmax, const float *x, const size_t *rows,
		    const int32_t *labels, size_t row_count, struct err *e)
{
	static const int32_t no_labels[MODEL__LOGIT_ROWS_MAX];
	float block_loss[MODEL__LOGIT_ROWS_MAX];
	const struct model *m = run->model;
	struct model_backend *b = run->backend;
	int rc = check_labels(run, labels, row_count, e);
	if (rc == 0)
		rc = model__run_reserve_logits(run, row_count, e);
	for (size_t at = 0; rc == 0 && at < row_count; at += MODEL__LOGIT_ROWS_MAX) {
		size_t count = block_at(at, row_count);
		rc = head_block(run, run->logits, x, rows + at, count, m->head != NULL ? m->head : m->stored_head, e);
		if (rc != 0)
			break;
		b->ops->softmax_cross_entropy(b, block_loss, argmax + at, NULL, run->logits,
					      labels == NULL ? no_labels : labels + at, NULL, count,
					      run->model->shape.vocabulary);
		if (labels != NULL && loss != NULL)
			memcpy(loss + at, block_loss, count * sizeof(*loss));
	}
	return rc;
}
