/* What the layers below the edited matrix make of texts, many packed at once. */
#include "editor/shard_internal.h"

#include "base/fault.h"

#include <stdlib.h>
#include <string.h>

struct prefix { /* a packed batch of texts */
	const struct editor__prefix_text *texts;
	size_t count, row_count;
	float *x, *inputs, *residual, *states, *relation; /* rows × hidden, ffn, hidden, hidden, hidden */
	int32_t *ids;
	struct model_segment *segments;
};

static int prefix_run(struct editor_shard *shard, struct prefix *p, editor__prefix_keep *keep, struct err *e)
{
	size_t row = 0, segments = p->count;
	const size_t layer = shard->config.layer, hidden = shard->shape->hidden;
	for (size_t i = 0; i < p->count; i++) {
		const size_t rows = p->texts[i].row_count;
		memcpy(p->ids + row, p->texts[i].ids, rows * sizeof(*p->ids));
		p->segments[i] = (struct model_segment){ .row_count = rows };
		row += rows;
	}
	if (row < p->row_count) { /* a text of nothing, that nobody looks at */
		memset(p->ids + row, 0, (p->row_count - row) * sizeof(*p->ids));
		p->segments[segments++] = (struct model_segment){ .row_count = p->row_count - row };
	}
	const struct model_tap taps[] = {
		{ MODEL_TAP_INPUT, shard->config.prompt_layer, p->states },
		{ MODEL_TAP_INPUT, shard->config.relation_layer, p->relation },
		{ MODEL_TAP_DOWN_INPUT, layer, p->inputs },
		{ MODEL_TAP_DOWN_RESIDUAL, layer, p->residual },
	};
	int rc = model_embed(shard->run, p->x, p->ids, p->row_count, e);
	if (rc == 0)
		rc = model_layers(shard->run, p->x, NULL, p->segments, segments, 0, layer + 1, NULL, taps, 4, e);
	row = 0;
	for (size_t i = 0; rc == 0 && i < p->count; i++) {
		const struct editor__prefix_rows rows = { .inputs = p->inputs + row * shard->shape->ffn,
							  .residual = p->residual + row * hidden,
							  .states = p->states + row * hidden,
							  .relation = p->relation + row * hidden };
		rc = keep(shard, p->texts[i].owner, &rows, e);
		row += p->texts[i].row_count;
	}
	return rc;
}

static int prefix_batch(struct editor_shard *shard, struct prefix *p, editor__prefix_keep *keep, struct err *e)
{
	const size_t hidden = shard->shape->hidden, ffn = shard->shape->ffn;
	if (p->row_count < MODEL_ROWS_APART) /* with fewer a text has other bits than in a larger batch */
		p->row_count = MODEL_ROWS_APART;
	p->x = fault_malloc(p->row_count * (4 * hidden + ffn) * sizeof(float));
	p->ids = fault_malloc(p->row_count * sizeof(*p->ids));
	p->segments = fault_malloc((p->count + 1) * sizeof(*p->segments));
	int rc = 0;
	if (p->x == NULL || p->ids == NULL || p->segments == NULL) {
		rc = err_set(e, ERR_NOMEM, "shard: out of memory for the inputs of %zu texts", p->count);
	} else {
		p->residual = p->x + p->row_count * hidden;
		p->states = p->residual + p->row_count * hidden;
		p->relation = p->states + p->row_count * hidden;
		p->inputs = p->relation + p->row_count * hidden;
		rc = prefix_run(shard, p, keep, e);
	}
	free(p->x);
	free(p->ids);
	free(p->segments);
	return rc;
}

int editor__prefix_run(struct editor_shard *shard, const struct editor__prefix_text *texts, size_t count,
		       editor__prefix_keep *keep, const struct editor_watch *watch, struct err *e)
{
	int rc = 0;
	for (size_t first = 0; rc == 0 && first < count;) {
		struct prefix p = { .texts = texts + first };
		for (; first < count; first++, p.count++) {
			if (p.count > 0 && p.row_count + texts[first].row_count > EDITOR__ROWS_MAX)
				break;
			p.row_count += texts[first].row_count;
		}
		rc = prefix_batch(shard, &p, keep, e);
		if (rc == 0)
			rc = editor__watch(watch, "inputs", first, count, 0, e);
	}
	return rc;
}
