/* stored.h: weights as a file stores them, for products with few rows (decoding), which are bound by reading the weight
 * once. What is multiplied is what the file says; nothing is de-quantised beforehand. Blocks are only put in another
 * order: sixteen outputs side by side (a panel), so that a vector holds the same depth of each.
 *
 * Q4_1 and Q8_0: the rows of x are rounded to 65,025 steps a block of 32, with the block's largest value as 32,512, and
 * products are summed as integers within a block, exactly. Every x is 255 · high + low, so that instructions for 8 bits
 * do it in two products. A block then adds d · s · Σ q·x and, in Q4_1, m · s · Σ x in float32 (d, m: the weight's; s:
 * the scale of x), block after block. BF16: x stays float32; even and odd depths are summed apart. The order is the
 * same for any number of rows, so a row has the same bits in any company, and the integers are the same by every
 * kernel. */
#ifndef AMEND_MODEL_STORED_H
#define AMEND_MODEL_STORED_H

#include "model/gguf.h"

#define MODEL__STORED_BLOCK    32u /* depths that have one scale */
#define MODEL__STORED_PANEL    16u /* outputs side by side */
#define MODEL__STORED_ROWS_MAX 16u /* rows in one pass over a panel */
#define MODEL__STORED_LEAST                                                                                            \
	0x1p-100f /* a block of x with nothing larger is taken for zeros: largest / it overflows                       \
		   */

#define MODEL__STORED_BASE    255 /* odd, so that low is −127 … 127: AVX2 changes its sign */
#define MODEL__STORED_LARGEST 32512.0f

/* A block of a row of x. */
struct model__rounded {
	int8_t high[MODEL__STORED_BLOCK], low[MODEL__STORED_BLOCK];
	float scale, sum; /* sum: scale · total. Both NaN where the row has something that is no finite number. */
	int32_t total;    /* of 255 · high + low */
	int32_t spare;
};

/* One instruction set's products. `panel` as packed; sums: rows × MODEL__STORED_PANEL, set; rows ≤
 * MODEL__STORED_ROWS_MAX. */
struct model__stored_kernel {
	const char *name; /* "avx512vnni", "avx2", "portable" */
	void (*round)(struct model__rounded *out, const float *x, size_t block_count);
	void (*q4_1)(float *sums, const uint8_t *panel, const struct model__rounded *x, size_t block_count,
		     size_t rows);
	void (*q8_0)(float *sums, const uint8_t *panel, const struct model__rounded *x, size_t block_count,
		     size_t rows);
	void (*bf16)(float *sums, const uint8_t *panel, const float *x, size_t depth, size_t rows);
};

/* By name, or the best that the processor has when NULL. NULL: it has none of that name. */
const struct model__stored_kernel *model__stored_kernel_of(const char *name);
extern const struct model__stored_kernel model__stored_portable;
/* NULL where the processor, or the compiler's target, has no such instructions. */
const struct model__stored_kernel *model__stored_avx2(void);
const struct model__stored_kernel *model__stored_avx512(void);

/* A weight, width outputs × depth. Plain data; read-only after new, any thread. */
struct model__stored {
	enum model_type type;
	size_t depth, width;
	uint8_t *data;
};

/* What a weight takes; 0: there are no kernels for its type, or for a depth that is not whole blocks. */
size_t model__stored_bytes(enum model_type type, size_t width, size_t depth);
/* `data`: the weight as in the file, not kept. `memory`: model__stored_bytes of zeros, aligned to 64, kept. */
void model__stored_pack(struct model__stored *stored, void *memory, enum model_type type, const void *data,
			size_t width, size_t depth);
size_t model__stored_panels(const struct model__stored *stored);
bool model__stored_rounds(const struct model__stored *stored); /* reads x rounded */
/* Panels [from, to) of y (rows × width) = or += x · Wᵀ. x: rows × depth; rounded: its blocks, where the type reads
 * them. */
void model__stored_product(const struct model__stored_kernel *kernel, float *y, const float *x,
			   const struct model__rounded *rounded, const struct model__stored *stored, bool accumulate,
			   size_t rows, size_t from, size_t to);

/* The same sum in the plainest way, in double, from the file's bytes (backend_reference.c). */
float model__stored_reference(const struct model__rounded *rounded, const float *x, enum model_type type,
			      const uint8_t *row, size_t depth);

#endif
