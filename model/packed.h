/* packed.h: weights held in oneDNN's blocked form, for processors with AVX-512: packed once, when they are loaded, and
 * multiplied at about the same rate from a few rows on, while a plain product packs them anew each time. The bits of a
 * row depend neither on the other rows nor on how many there are. */
#ifndef AMEND_MODEL_PACKED_H
#define AMEND_MODEL_PACKED_H

#include "model/host_memory.h"

#include <stdbool.h>
#include <stddef.h>

/* A matrix B (depth × width). Plain data; read-only after new, any thread. */
struct model__packed {
	size_t depth, width;
	void *data;
};

/* Prepared products by shape and number of rows. For one thread at a time. */
struct model__products;

/* False where the processor or the build has none; the rest only after it was true. */
bool model__packed_ready(void);
/* B[k][n] = w[n · depth + k]: the weight as stored (width × depth). In `pages`. Any thread. ERR_NOMEM, ERR_EXTERNAL. */
int model__packed_new(struct model__packed *packed, struct model__pages *pages, const float *w, size_t depth,
		      size_t width) MUST_CHECK;

/* ERR_NOMEM, ERR_EXTERNAL. */
int model__products_new(struct model__products **out) MUST_CHECK;
void model__products_free(struct model__products **products);
/* y (rows × width) = or += x (rows × depth) · B, by `thread_count` threads, the same for all calls with these products,
 * or by one where the work is little. ERR_NOMEM, ERR_EXTERNAL. */
int model__packed_product(struct model__products *products, float *y, const float *x,
			  const struct model__packed *packed, bool accumulate, size_t rows,
			  size_t thread_count) MUST_CHECK;

#endif
