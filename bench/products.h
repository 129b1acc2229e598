/* products.h: every matrix product of a model file by itself, without what a model does between them: what prefill and
 * decoding are compared with. One thread. */
#ifndef AMEND_BENCH_PRODUCTS_H
#define AMEND_BENCH_PRODUCTS_H

#include "model/backend.h"

#include <stdbool.h>
#include <stddef.h>

#define PRODUCTS_WEIGHTS_MAX 1024u

struct products {
	struct model_backend *backend;
	struct model_weight *weights[PRODUCTS_WEIGHTS_MAX];
	size_t in[PRODUCTS_WEIGHTS_MAX];
	bool is_head[PRODUCTS_WEIGHTS_MAX];
	size_t count, stored_count; /* weights; those that are kept as stored */
	size_t bytes;               /* of the weights in the file */
	double multiply_adds;       /* of a row by all of them */
	size_t row_max, in_max, out_max;
	float *x, *y;
};

/* Matrices of the file at `path`, as the file stores them (`stored`, where the backend can) or packed, for up to
 * `row_max` rows. Ends the program on errors. */
void products_open(struct products *p, const char *path, const char *backend, size_t threads, bool stored,
		   size_t row_max);
void products_close(struct products *p);
/* `rows` rows by every matrix, `head_rows` by the head. */
void products_run(struct products *p, size_t rows, size_t head_rows);

#endif
