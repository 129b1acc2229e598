/* core-speed: how many times slower than the machine on which the scripts' bars in seconds were set (BAR GFLOP/s a
 * core) one core of this one is, 1 to FACTOR_MAX, and what it reaches. Measured in float32 products of a training
 * step's shape, 64 tokens through a 1536 → 576 matrix, the best of a few repeats, in processor time: what else the
 * machine does is no excuse. Prints "FACTOR GFLOPS". */
#include "model/backend.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define FACTOR_MAX 5.0 /* slower than that is a fault of the product, whose products these are */
#define BAR        200.0
#define ROWS       64
#define OUT        576
#define IN         1536
#define CALLS      50
#define REPEATS    9

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int measure(struct model_backend *b, const struct model_weight *w, float *y, const float *x, double *gflops)
{
	double best = INFINITY;
	int rc = b->ops->weight_forward(b, y, x, w, false, ROWS); /* makes what the first call makes */
	for (size_t i = 0; i < REPEATS; i++) {
		const double began = now();
		for (size_t k = 0; k < CALLS && rc == 0; k++)
			rc = b->ops->weight_forward(b, y, x, w, false, ROWS);
		best = fmin(best, now() - began);
	}
	*gflops = 2.0 * ROWS * OUT * IN * CALLS / best * 1e-9;
	return rc;
}

int main(void)
{
	struct err e = ERR_INIT;
	struct model_backend *b = NULL;
	struct model_weight *w = NULL;
	double gflops = 0;
	float *values = malloc((OUT * IN + ROWS * IN) * sizeof(*values)), *y = malloc(ROWS * OUT * sizeof(*y));
	int rc = values == NULL || y == NULL ? err_set(&e, ERR_NOMEM, "out of memory")
					     : model_backend_new("cpu", 1, &b, &e);
	for (size_t i = 0; rc == 0 && i < OUT * IN + ROWS * IN; i++)
		values[i] = (float)(i % 17) - 8.0f;
	if (rc == 0)
		rc = b->ops->weight_new(b, MODEL_F32, values, OUT, IN, false, &w);
	if (rc == 0)
		rc = measure(b, w, y, values + OUT * IN, &gflops);
	if (rc == 0)
		printf("%.2f %.0f\n", fmin(fmax(BAR / gflops, 1.0), FACTOR_MAX), gflops);
	else
		fprintf(stderr, "core-speed: %s\n", e.text[0] != '\0' ? e.text : err_text(rc));
	if (w != NULL)
		b->ops->weight_destroy(b, &w);
	model_backend_destroy(&b);
	free(values);
	free(y);
	return rc == 0 ? 0 : 1;
}
