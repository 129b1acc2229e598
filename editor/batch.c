/* Packs edits into a batch: what training and re-test hand to the layers above the edited matrix. */
#include "editor/shard_internal.h"

#include "base/fault.h"

#include <stdlib.h>
#include <string.h>

static void free_rows(struct editor__batch *b, struct model_backend *backend)
{
	float **arrays[] = { &b->x, &b->y, &b->dy };
	for (size_t i = 0; i < 3; i++) {
		if (*arrays[i] != NULL)
			backend->ops->free(backend, *arrays[i]);
		*arrays[i] = NULL;
	}
	b->row_cap = 0;
}

static void free_lists(struct editor__batch *b)
{
	free(b->segments);
	free(b->rows);
	free(b->labels);
	free(b->argmax);
	free(b->scale);
	free(b->loss);
	b->segments = NULL;
	b->rows = NULL;
	b->labels = b->argmax = NULL;
	b->scale = b->loss = NULL;
	b->segment_cap = b->label_cap = 0;
}

void editor__batch_free(struct editor__batch *batch, struct model_backend *backend)
{
	free_rows(batch, backend);
	free_lists(batch);
}

static int reserve_rows(struct editor__batch *b, struct model_backend *backend, const struct model_shape *shape,
			size_t rows, struct err *e)
{
	if (rows <= b->row_cap)
		return 0;
	free_rows(b, backend);
	rows += rows / 4; /* mini-batches differ a little in length */
	b->x = backend->ops->alloc(backend, rows * shape->ffn);
	b->y = backend->ops->alloc(backend, rows * shape->hidden);
	b->dy = backend->ops->alloc(backend, rows * shape->hidden);
	if (b->x == NULL || b->y == NULL || b->dy == NULL) {
		free_rows(b, backend);
		return err_set(e, ERR_NOMEM, "shard: out of memory for a batch of %zu rows", rows);
	}
	b->row_cap = rows;
	return 0;
}

static int reserve_lists(struct editor__batch *b, size_t segments, size_t labels, struct err *e)
{
	if (segments <= b->segment_cap && labels <= b->label_cap)
		return 0;
	free_lists(b);
	b->segments = fault_malloc(segments * sizeof(*b->segments));
	b->rows = fault_malloc(labels * sizeof(*b->rows));
	b->labels = fault_malloc(labels * sizeof(*b->labels));
	b->argmax = fault_malloc(labels * sizeof(*b->argmax));
	b->scale = fault_malloc(labels * sizeof(*b->scale));
	b->loss = fault_malloc(labels * sizeof(*b->loss));
	if (b->segments == NULL || b->rows == NULL || b->labels == NULL || b->argmax == NULL || b->scale == NULL ||
	    b->loss == NULL) {
		free_lists(b);
		return err_set(e, ERR_NOMEM, "shard: out of memory for a batch of %zu edits", segments);
	}
	b->segment_cap = segments;
	b->label_cap = labels;
	return 0;
}

int editor__batch_reserve(struct editor__batch *batch, struct model_backend *backend, const struct model_shape *shape,
			  size_t rows, size_t segments, size_t labels, struct err *e)
{
	int rc = reserve_rows(batch, backend, shape, rows, e);
	return rc == 0 ? reserve_lists(batch, segments, labels, e) : rc;
}

static void pack_edit(struct editor_shard *shard, const struct editor__edit *edit, float scale)
{
	struct editor__batch *b = &shard->batch;
	const struct editor__reading read = editor__edit_reading(edit);
	const size_t ffn = shard->shape->ffn, hidden = shard->shape->hidden, labels = editor__edit_labels(edit),
		     rows = read.prompt_rows + labels;
	float *x = b->x + b->row_count * ffn;
	memcpy(x, read.inputs, read.prompt_rows * ffn * sizeof(float));
	memcpy(x + read.prompt_rows * ffn, edit->inputs + (edit->prompt_count - 1) * ffn, labels * ffn * sizeof(float));
	memcpy(b->y + b->row_count * hidden, read.residual, rows * hidden * sizeof(float));
	b->segments[b->segment_count++] = (struct model_segment){ .row_count = rows };
	for (size_t i = 0; i < labels; i++) {
		b->rows[b->label_count] = b->row_count + read.prompt_rows + i;
		b->labels[b->label_count] = edit->ids[edit->prompt_count + i];
		b->scale[b->label_count++] = shard->config.end_token || i + 1 < labels ? scale : 0;
	}
	b->row_count += rows;
}

int editor__batch_fill(struct editor_shard *shard, const size_t *edits, size_t edit_count, float scale, size_t *taken,
		       struct err *e)
{
	size_t rows = 0, labels = 0, count = 0;
	for (; count < edit_count; count++) {
		const struct editor__edit *edit = &shard->edits[edits[count]];
		const size_t own = editor__edit_labels(edit), more = editor__edit_reading(edit).prompt_rows + own;
		if (count > 0 && rows + more > EDITOR__ROWS_MAX)
			break;
		rows += more;
		labels += own;
	}
	struct editor__batch *b = &shard->batch;
	int rc = editor__batch_reserve(b, shard->backend, shard->shape, rows, count, labels, e);
	if (rc != 0)
		return rc;
	b->row_count = b->segment_count = b->label_count = 0;
	for (size_t i = 0; i < count; i++)
		pack_edit(shard, &shard->edits[edits[i]], scale);
	*taken = count;
	return 0;
}
