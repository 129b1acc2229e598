/* cpu_amx.h: matrix products by AMX tiles with nearly float32's precision: every number is split into two bfloat16, x =
 * hi + lo, and x·w ≈ hi·hi + hi·lo + lo·hi, summed in float32 (Henry, Tang and Heinecke 2019, "Leveraging the bfloat16
 * Artificial Intelligence Datatype For Higher-Precision Computations"). 16 bits of each factor count. By the name
 * "cpu:bf16" and while the backend is `training`, hi·hi is all there is: 8 bits of each factor. */
#ifndef AMEND_MODEL_CPU_AMX_H
#define AMEND_MODEL_CPU_AMX_H

#include "model/host_memory.h"

#define MODEL__TILES_ROWS ((size_t)32)

struct model__cpu;

/* A matrix B (depth × width) in tile form. Plain data: zeros after new, written by model__tiles_fill, from
 * when every panel is filled on only read, by any thread. */
struct model__tiles {
	size_t depth, width;
	uint16_t *data;
};

/* Asks the kernel for the tile registers; false where processor, kernel or build have none. */
bool model__amx_ready(void);
/* Room for B, zeros, in `pages`. Any thread. ERR_NOMEM. */
int model__tiles_new(struct model__tiles *tiles, struct model__pages *pages, size_t depth, size_t width);
/* Up to MODEL__TILES_ROWS rows of w, from row MODEL__TILES_ROWS · panel on: B[k][n] = w[n · depth + k] (transposed: the
 * weight as stored), or w[k · width + n]. Different panels may be filled by different threads. */
void model__tiles_fill(const struct model__tiles *tiles, const float *rows, bool transposed, size_t panel,
		       size_t row_count);
/* y[i] (rows × width of tiles[i]) = or += x (rows × depth) · B[i], all of the same depth. ERR_NOMEM. The thread count
 * does not change a bit. */
int model__amx_products(struct model__cpu *cpu, float *const *y, const float *x,
			const struct model__tiles *const *tiles, size_t count, bool accumulate, size_t rows);
/* c (m × n) = or += op(a) · op(b), as struct model_backend_ops has it. ERR_NOMEM. */
int model__amx_gemm(struct model__cpu *cpu, float *c, const float *a, const float *b, bool ta, bool tb, bool accumulate,
		    size_t m, size_t n, size_t k);
/* Of one weight and rows ≤ MODEL__SKINNY_ROWS_MAX: bound by reading B once. Never rounded to one bfloat16. */
void model__amx_skinny(struct model__cpu *cpu, float *y, const float *x, const struct model__tiles *tiles,
		       bool accumulate, size_t rows);

#endif
