/* backend_cpu.c: weights and matrix products of the cpu backend, and its table. With AVX-512 weights are packed when
 * they are loaded (packed.h), with AMX they are held as tiles. Else they stay as they are: few rows (decoding) are
 * bound by reading W once, and an own kernel streams it; many rows go to the GEMM library. */
#include "model/cpu.h"
#include "model/cpu_amx.h"

#include "base/fault.h"
#include "model/quant.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORK_A_THREAD ((size_t)32 * 1024) /* fewer multiply-adds than this do not pay for waking another thread */
#define OUT_BLOCK     ((size_t)16)        /* columns a thread takes at once in the skinny product */

struct model_weight {
	size_t out_size, in_size;
	float *w; /* plain, or NULL */
	struct model__packed packed;
	struct model__tiles forward, backward;
	struct model__stored stored; /* data NULL, or the only form that there is */
};

int model__cpu_threads(const struct model__cpu *cpu, size_t work)
{
	size_t useful = cpu->base.stepping ? 1 : work / WORK_A_THREAD;
	size_t count = useful < cpu->base.thread_count ? useful : cpu->base.thread_count;
	return count < 1 ? 1 : (int)count;
}

int model__cpu_scratch(struct model__cpu *cpu, size_t float_count)
{
	if (float_count <= cpu->scratch_size)
		return 0;
	size_t size = (2 * float_count + 15) & ~(size_t)15; /* whole cache lines: no false sharing */
	float *scratch = model__host_alloc(&cpu->base, size * cpu->base.thread_count);
	if (scratch == NULL)
		return ERR_NOMEM;
	model__host_bytes_free(cpu->scratch);
	cpu->scratch = scratch;
	cpu->scratch_size = size;
	return 0;
}

static const char *describe(const struct model_backend *b)
{
	return ((const struct model__cpu *)b)->text;
}

static void destroy(struct model_backend *b)
{
	struct model__cpu *cpu = (struct model__cpu *)b;
	model__host_bytes_free(cpu->scratch);
	model__host_bytes_free(cpu->rotations);
	model__host_bytes_free(cpu->rows);
	model__host_bytes_free(cpu->columns);
	model__host_bytes_free(cpu->rounded);
	model__products_free(&cpu->products);
	team_destroy(&cpu->team);
	model__pages_fini(&cpu->weight_pages);
	free(cpu);
}

/* What it holds goes with the backend. */
static void weight_destroy(struct model_backend *b, struct model_weight **weight)
{
	(void)b;
	free(*weight);
	*weight = NULL;
}

/* A panel of rows is de-quantised while it is in the caches, and goes into both forms. */
static int tiles_fill(struct model_weight *made, enum model_type type, const uint8_t *data, size_t row_bytes,
		      bool transposed_too)
{
	float *rows = model__host_bytes(MODEL__TILES_ROWS * made->in_size * sizeof(float));
	if (rows == NULL)
		return ERR_NOMEM;
	for (size_t panel = 0; panel * MODEL__TILES_ROWS < made->out_size; panel++) {
		const size_t first = panel * MODEL__TILES_ROWS, left = made->out_size - first;
		const size_t count = left < MODEL__TILES_ROWS ? left : MODEL__TILES_ROWS;
		model_quant_dequantise(type, data + first * row_bytes, count * made->in_size, rows);
		model__tiles_fill(&made->forward, rows, true, panel, count);
		if (transposed_too)
			model__tiles_fill(&made->backward, rows, false, panel, count);
	}
	model__host_bytes_free(rows);
	return 0;
}

static int fill_tiles(struct model__cpu *cpu, struct model_weight *made, enum model_type type, const void *data,
		      bool transposed_too)
{
	size_t elements, bytes;
	const bool known = model_quant_block(type, &elements, &bytes);
	assert(known);
	int rc = model__tiles_new(&made->forward, &cpu->weight_pages, made->in_size, made->out_size);
	if (rc == 0 && transposed_too)
		rc = model__tiles_new(&made->backward, &cpu->weight_pages, made->out_size, made->in_size);
	return rc != 0 ? rc : tiles_fill(made, type, data, made->in_size / elements * bytes, transposed_too);
}

static int fill_packed(struct model__cpu *cpu, struct model_weight *made, enum model_type type, const void *data)
{
	float *w = made->w != NULL ? made->w : model__host_bytes(made->out_size * made->in_size * sizeof(float));
	if (w == NULL)
		return ERR_NOMEM;
	if (w != made->w)
		model_quant_dequantise(type, data, made->out_size * made->in_size, w);
	int rc = model__packed_new(&made->packed, &cpu->weight_pages, w, made->in_size, made->out_size);
	if (w != made->w)
		model__host_bytes_free(w);
	return rc;
}

static int weight_fill(struct model__cpu *cpu, struct model_weight *made, enum model_type type, const void *data,
		       bool transposed_too)
{
	const size_t count = made->out_size * made->in_size;
	if (cpu->amx)
		return fill_tiles(cpu, made, type, data, transposed_too);
	if (cpu->products == NULL || transposed_too) {
		made->w = model__pages_alloc(&cpu->weight_pages, count * sizeof(float));
		if (made->w == NULL)
			return ERR_NOMEM;
		model_quant_dequantise(type, data, count, made->w);
	}
	return cpu->products == NULL ? 0 : fill_packed(cpu, made, type, data);
}

static int weight_new(struct model_backend *b, enum model_type type, const void *data, size_t out_size, size_t in_size,
		      bool transposed_too, struct model_weight **weight)
{
	struct model_weight *made = fault_calloc(1, sizeof(*made));
	if (made == NULL)
		return ERR_NOMEM;
	made->out_size = out_size;
	made->in_size = in_size;
	int rc = weight_fill((struct model__cpu *)b, made, type, data, transposed_too);
	if (rc != 0) {
		weight_destroy(b, &made);
		return rc;
	}
	*weight = made;
	return 0;
}

static int weight_new_stored(struct model_backend *b, enum model_type type, const void *data, size_t out_size,
			     size_t in_size, struct model_weight **weight)
{
	struct model__cpu *cpu = (struct model__cpu *)b;
	const size_t bytes = model__stored_bytes(type, out_size, in_size);
	if (bytes == 0)
		return ERR_UNSUPPORTED;
	struct model_weight *made = fault_calloc(1, sizeof(*made));
	void *memory = made == NULL ? NULL : model__pages_alloc(&cpu->weight_pages, bytes);
	if (memory == NULL) {
		free(made);
		return ERR_NOMEM;
	}
	made->out_size = out_size;
	made->in_size = in_size;
	model__stored_pack(&made->stored, memory, type, data, out_size, in_size);
	*weight = made;
	return 0;
}

static void skinny(const struct model__cpu *cpu, float *y, const float *x, const struct model_weight *w,
		   bool accumulate, size_t rows)
{
	int threads = model__cpu_threads(cpu, rows * w->out_size * w->in_size / 4);
	size_t blocks = (w->out_size + OUT_BLOCK - 1) / OUT_BLOCK;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
	for (size_t block = 0; block < blocks; block++) {
		size_t from = block * OUT_BLOCK, to = from + OUT_BLOCK < w->out_size ? from + OUT_BLOCK : w->out_size;
		cpu->k->skinny(y, x, w->w, accumulate, rows, from, to, w->out_size, w->in_size);
	}
}

static int weight_forward(struct model_backend *b, float *y, const float *x, const struct model_weight *w,
			  bool accumulate, size_t rows)
{
	struct model__cpu *cpu = (struct model__cpu *)b;
	if (rows == 0)
		return 0;
	if (w->stored.data != NULL) {
		const struct model__stored *stored = &w->stored;
		return model__cpu_stored_products(cpu, &y, x, &stored, 1, accumulate, rows);
	}
	assert(w->packed.data == NULL || cpu->products != NULL); /* a weight of a backend by another name */
	if (w->packed.data != NULL)
		return model__packed_product(cpu->products, y, x, &w->packed, accumulate, rows, b->thread_count);
	if (w->w == NULL) {
		const struct model__tiles *tiles = &w->forward;
		if (rows > MODEL__SKINNY_ROWS_MAX)
			return model__amx_products(cpu, &y, x, &tiles, 1, accumulate, rows);
		model__amx_skinny(cpu, y, x, &w->forward, accumulate, rows);
		return 0;
	}
	if (rows <= MODEL__SKINNY_ROWS_MAX) {
		skinny(cpu, y, x, w, accumulate, rows);
		return 0;
	}
	return cpu->gemm->product(y, x, w->w, false, true, 1, accumulate ? 1 : 0, rows, w->out_size, w->in_size,
				  b->thread_count);
}

/* Of tiles, by rows that are split once for all. */
static int tile_products(struct model__cpu *cpu, float *const *y, const float *x, const struct model_weight *const *w,
			 size_t count, size_t rows)
{
	const struct model__tiles *tiles[MODEL_TOGETHER_MAX];
	for (size_t i = 0; i < count; i++)
		tiles[i] = &w[i]->forward;
	return model__amx_products(cpu, y, x, tiles, count, false, rows);
}

static bool are_tiles(const struct model_weight *const *w, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (w[i]->forward.data == NULL)
			return false;
	}
	return true;
}

static int weights_forward(struct model_backend *b, float *const *y, const float *x,
			   const struct model_weight *const *w, size_t count, size_t rows)
{
	const struct model__stored *stored[MODEL_TOGETHER_MAX];
	size_t taken = 0;
	assert(count <= MODEL_TOGETHER_MAX);
	for (; taken < count && w[taken]->stored.data != NULL; taken++)
		stored[taken] = &w[taken]->stored;
	if (taken == count)
		return rows == 0 ? 0
				 : model__cpu_stored_products((struct model__cpu *)b, y, x, stored, count, false, rows);
	if (rows > MODEL__SKINNY_ROWS_MAX && are_tiles(w, count))
		return tile_products((struct model__cpu *)b, y, x, w, count, rows);
	int rc = 0;
	for (size_t i = 0; i < count && rc == 0; i++)
		rc = weight_forward(b, y[i], x, w[i], false, rows);
	return rc;
}

static int weight_backward(struct model_backend *b, float *dx, const float *dy, const struct model_weight *w,
			   bool accumulate, size_t rows)
{
	struct model__cpu *cpu = (struct model__cpu *)b;
	if (rows == 0)
		return 0;
	if (w->w == NULL) { /* as tiles, or as stored */
		const struct model__tiles *tiles = &w->backward;
		return tiles->data == NULL ? ERR_INVALID
					   : model__amx_products(cpu, &dx, dy, &tiles, 1, accumulate, rows);
	}
	return cpu->gemm->product(dx, dy, w->w, false, false, 1, accumulate ? 1 : 0, rows, w->in_size, w->out_size,
				  b->thread_count);
}

struct step_product {
	const struct model__cpu *cpu;
	float *c;
	const float *a, *b;
	bool accumulate;
	size_t m, n, k;
};

static void step_columns(void *context, size_t part, size_t index)
{
	const struct step_product *p = context;
	const size_t from = index * OUT_BLOCK, to = from + OUT_BLOCK < p->n ? from + OUT_BLOCK : p->n;
	(void)part;
	for (size_t r = 0; r < p->m; r += MODEL__SKINNY_ROWS_MAX)
		p->cpu->k->skinny(p->c + r * p->n, p->a + r * p->k, p->b, p->accumulate,
				  p->m - r < MODEL__SKINNY_ROWS_MAX ? p->m - r : MODEL__SKINNY_ROWS_MAX, from, to, p->n,
				  p->k);
}

/* A side memory in a decode step: few rows, and each row has the bits that it has alone. */
static int step_product(struct model__cpu *cpu, float *c, const float *a, const float *b, bool accumulate, size_t m,
			size_t n, size_t k)
{
	struct step_product p = { cpu, c, a, b, accumulate, m, n, k };
	model__cpu_loop(cpu, m * n * k, (n + OUT_BLOCK - 1) / OUT_BLOCK, step_columns, &p);
	return 0;
}

static int gemm(struct model_backend *b, float *c, const float *a, const float *bm, bool ta, bool tb, float alpha,
		float beta, size_t m, size_t n, size_t k)
{
	struct model__cpu *cpu = (struct model__cpu *)b;
	if (m == 0 || n == 0)
		return 0;
	if (b->stepping && !ta && tb && alpha == 1 && (beta == 0 || beta == 1))
		return step_product(cpu, c, a, bm, beta == 1, m, n, k);
	if (b->training && cpu->amx && alpha == 1 && (beta == 0 || beta == 1) && k > 0)
		return model__amx_gemm(cpu, c, a, bm, ta, tb, beta == 1, m, n, k);
	return cpu->gemm->product(c, a, bm, ta, tb, alpha, beta, m, n, k, b->thread_count);
}

static const struct model_backend_ops cpu_ops = {
	.name = "cpu",
	.fills_side_by_side = true,
	.describe = describe,
	.destroy = destroy,
	.alloc = model__host_alloc,
	.alloc_sparse = model__host_alloc_sparse,
	.free = model__host_free,
	.copy = model__host_copy,
	.clear = model__host_clear,
	.weight_new = weight_new,
	.weight_destroy = weight_destroy,
	.weight_new_stored = weight_new_stored,
	.weight_forward = weight_forward,
	.weights_forward = weights_forward,
	.weight_backward = weight_backward,
	.gemm = gemm,
	.rmsnorm = model__cpu_rmsnorm,
	.rmsnorm_backward = model__cpu_rmsnorm_backward,
	.rope = model__cpu_rope,
	.attention = model__cpu_attention,
	.attention_backward = model__cpu_attention_backward,
	.silu_mul = model__cpu_silu_mul,
	.silu_mul_backward = model__cpu_silu_mul_backward,
	.add = model__cpu_add,
	.softmax_cross_entropy = model__cpu_cross_entropy,
	.adam = model__cpu_adam,
};

/* Sets the kernels for `instructions`, or the best that the processor has when NULL; false when it lacks them. */
static bool choose_kernels(struct model__cpu *cpu, const char *instructions)
{
	const struct model__cpu_kernels *avx512 = model__cpu_kernels_avx512(), *avx2 = model__cpu_kernels_avx2();
	const bool simple = instructions != NULL &&
			    (strcmp(instructions, "avx2") == 0 || strcmp(instructions, "portable") == 0);
	cpu->k = &model__cpu_kernels_portable;
	cpu->stored = model__stored_kernel_of(simple ? instructions : NULL);
	if (instructions == NULL) {
		cpu->k = avx512 != NULL ? avx512 : avx2 != NULL ? avx2 : cpu->k;
		cpu->amx = avx512 != NULL && model__amx_ready();
		return true;
	}
	if (strcmp(instructions, "avx2") == 0)
		cpu->k = avx2;
	else if (strcmp(instructions, "avx512") == 0 || strcmp(instructions, "amx") == 0 ||
		 strcmp(instructions, "bf16") == 0)
		cpu->k = avx512;
	else if (strcmp(instructions, "portable") != 0)
		return false;
	cpu->bf16 = strcmp(instructions, "bf16") == 0;
	cpu->amx = cpu->bf16 || strcmp(instructions, "amx") == 0;
	return cpu->k != NULL && cpu->stored != NULL && (!cpu->amx || model__amx_ready());
}

int model__backend_cpu_new(const char *instructions, size_t thread_count, struct model_backend **out, struct err *e)
{
	struct model__cpu *cpu = fault_calloc(1, sizeof(*cpu));
	if (cpu == NULL)
		return err_set(e, ERR_NOMEM, "cpu backend: out of memory");
	if (!choose_kernels(cpu, instructions)) {
		free(cpu);
		return err_set(e, ERR_UNSUPPORTED,
			       "this processor or build has no instructions \"%.32s\": choose cpu, or one of cpu:amx, "
			       "cpu:bf16, cpu:avx512, cpu:avx2, cpu:portable",
			       instructions);
	}
	if (!cpu->amx && cpu->k == model__cpu_kernels_avx512() && model__packed_ready()) {
		int rc = model__products_new(&cpu->products);
		if (rc != 0) {
			free(cpu);
			return err_set(e, rc, "cpu backend: matrix products: %s", err_text(rc));
		}
	}
	model__pages_init(&cpu->weight_pages);
	cpu->base.ops = &cpu_ops;
	cpu->base.thread_count = thread_count;
#if AMEND_DNNL
	cpu->gemm = &model__gemm_dnnl;
#else
	cpu->gemm = &model__gemm_blas;
#endif
	snprintf(cpu->text, sizeof(cpu->text), "%s%s+%s%s, %zu thread%s", cpu->k->name, cpu->amx ? "+amx" : "",
		 cpu->gemm->describe(), cpu->bf16 ? ", training in bf16" : "", thread_count,
		 thread_count == 1 ? "" : "s");
	*out = &cpu->base;
	return 0;
}
