/* metric.h: how much a shard's outputs change with its delta, for merging. The metric of a shard is the second moment
 * of the inputs that its training sees, G = Σ aᵀa + rows · (noise · deviation)² · I over all rows a of its edits: with
 * independent noise of training, tr(d·G·dᵀ) is the expected Σ ‖d·(a + noise)‖². Inside editor/ only. Matrices of deltas
 * are hidden × ffn, those of metrics ffn × ffn; sums over shards are fixed point (merge.h). Pure. */
#ifndef AMEND_EDITOR_METRIC_H
#define AMEND_EDITOR_METRIC_H

#include "editor/merge_internal.h"

#define EDITOR__METRIC_FFN_MAX ((size_t)16384) /* 3 GiB of working memory there */

static inline size_t editor__metric_size(size_t ffn) /* of a packed upper triangle */
{
	return ffn * (ffn + 1) / 2;
}
size_t editor__metric_columns(const struct editor_shard *shard); /* ffn */
/* Mean of the diagonal of G. */
int editor__metric_mean(struct editor_shard *shard, double *mean, struct err *e) MUST_CHECK;
/* fixed += G · scale, the upper triangle packed row by row. ERR_LIMIT. */
int editor__metric_add(struct editor_shard *shard, double scale, int64_t *fixed, struct err *e) MUST_CHECK;
/* whiten (ffn × ffn) of the sum of metrics: whiten·whitenᵀ is its inverse. ERR_INVALID: an entry is not finite. */
int editor__metric_whiten(const int64_t *fixed, size_t ffn, float *whiten, struct err *e) MUST_CHECK;
/* out = scale · d·G */
int editor__metric_apply(struct editor_shard *shard, double scale, const float *d, float *out,
			 struct err *e) MUST_CHECK;
/* out = d · whiten·whitenᵀ; the shard lends its backend. */
int editor__metric_solve(struct editor_shard *shard, const float *whiten, const float *d, float *out,
			 struct err *e) MUST_CHECK;

#endif
