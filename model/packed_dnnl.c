#include "model/packed.h"

#include "base/fault.h"

#include <assert.h>
#include <dnnl.h> /* beside gemm_dnnl.c: another of oneDNN's interfaces, used by itself */
#include <omp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Rows are handed over in calls of up to CALL_ROWS, a multiple of STEP_ROWS, and one of the rest: oneDNN compiles
 * kernels for every number of rows, when it is first asked for. */
#define CALL_ROWS     256u
#define STEP_ROWS     16u
#define CALLS         (STEP_ROWS - 1 + CALL_ROWS / STEP_ROWS)
#define WORK_A_THREAD ((size_t)64 * 1024) /* fewer multiply-adds than this do not pay for waking another thread */

struct call {
	dnnl_primitive_t primitive; /* NULL: not asked for yet */
	dnnl_memory_t x, y;
};

struct shape {
	size_t depth, width;
	dnnl_memory_desc_t layout;
	dnnl_memory_t weight;
	struct call calls[2][2][CALLS]; /* added to y or not; one thread or all */
};

struct model__products {
	dnnl_stream_t stream;
	struct shape **shapes;
	size_t shape_count;
};

static int status_of(dnnl_status_t status)
{
	if (status == dnnl_out_of_memory)
		return ERR_NOMEM;
	return status == dnnl_success ? 0 : ERR_EXTERNAL;
}

/* ---- oneDNN's objects */

static dnnl_engine_t engine; /* of the process; oneDNN keeps its kernels by it */
static pthread_once_t engine_once = PTHREAD_ONCE_INIT;

static void engine_open(void)
{
	if (dnnl_engine_create(&engine, dnnl_cpu, 0) != dnnl_success)
		engine = NULL;
}

bool model__packed_ready(void)
{
	pthread_once(&engine_once, engine_open);
	return engine != NULL && (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core) == dnnl_cpu_isa_avx512_core;
}

static dnnl_status_t matrix(dnnl_memory_desc_t *out, size_t rows, size_t columns, dnnl_format_tag_t tag)
{
	const dnnl_dims_t dims = { (dnnl_dim_t)rows, (dnnl_dim_t)columns };
	return dnnl_memory_desc_init_by_tag(out, 2, dims, dnnl_f32, tag);
}

/* How oneDNN multiplies `rows` rows by a weight in `layout`, which may be left to it. */
static dnnl_status_t describe(dnnl_primitive_desc_t *out, size_t rows, size_t depth, size_t width,
			      const dnnl_memory_desc_t *layout, const_dnnl_primitive_attr_t attributes)
{
	dnnl_memory_desc_t x, y;
	dnnl_matmul_desc_t product;
	dnnl_status_t status = matrix(&x, rows, depth, dnnl_ab);
	if (status == dnnl_success)
		status = matrix(&y, rows, width, dnnl_ab);
	if (status == dnnl_success)
		status = dnnl_matmul_desc_init(&product, &x, layout, NULL, &y);
	return status == dnnl_success ? dnnl_primitive_desc_create(out, &product, attributes, engine, NULL) : status;
}

static int with_threads(size_t thread_count)
{
	const int before = omp_get_max_threads();
	if (before != (int)thread_count)
		omp_set_num_threads((int)thread_count);
	return before;
}

/* The same for every caller: asked for with one thread and CALL_ROWS rows. */
static dnnl_status_t layout_of(size_t depth, size_t width, dnnl_memory_desc_t *out)
{
	dnnl_memory_desc_t any;
	dnnl_primitive_desc_t description = NULL;
	const int before = with_threads(1);
	dnnl_status_t status = matrix(&any, depth, width, dnnl_format_tag_any);
	if (status == dnnl_success)
		status = describe(&description, CALL_ROWS, depth, width, &any, NULL);
	if (status == dnnl_success)
		*out = *dnnl_primitive_desc_query_md(description, dnnl_query_weights_md, 0);
	dnnl_primitive_desc_destroy(description);
	omp_set_num_threads(before);
	return status;
}

/* ---- Weights */

static dnnl_status_t reorder(const float *w, const dnnl_memory_desc_t *layout, const struct model__packed *packed)
{
	dnnl_memory_desc_t plain;
	dnnl_memory_t from = NULL, to = NULL;
	dnnl_primitive_desc_t description = NULL;
	dnnl_primitive_t primitive = NULL;
	dnnl_stream_t stream = NULL;
	dnnl_status_t status = matrix(&plain, packed->depth, packed->width, dnnl_ba);
	if (status == dnnl_success)
		status = dnnl_memory_create(&from, &plain, engine, (void *)(uintptr_t)w);
	if (status == dnnl_success)
		status = dnnl_memory_create(&to, layout, engine, packed->data);
	if (status == dnnl_success)
		status = dnnl_reorder_primitive_desc_create(&description, &plain, engine, layout, engine, NULL);
	if (status == dnnl_success)
		status = dnnl_primitive_create(&primitive, description);
	if (status == dnnl_success)
		status = dnnl_stream_create(&stream, engine, dnnl_stream_default_flags);
	if (status == dnnl_success) {
		const dnnl_exec_arg_t args[] = { { DNNL_ARG_FROM, from }, { DNNL_ARG_TO, to } };
		status = dnnl_primitive_execute(primitive, stream, 2, args);
	}
	if (status == dnnl_success)
		status = dnnl_stream_wait(stream);
	dnnl_stream_destroy(stream);
	dnnl_primitive_destroy(primitive);
	dnnl_primitive_desc_destroy(description);
	dnnl_memory_destroy(from);
	dnnl_memory_destroy(to);
	return status;
}

int model__packed_new(struct model__packed *packed, struct model__pages *pages, const float *w, size_t depth,
		      size_t width)
{
	dnnl_memory_desc_t layout;
	assert(engine != NULL);
	*packed = (struct model__packed){ .depth = depth, .width = width };
	const int before = with_threads(1); /* the caller's; several fill weights side by side */
	dnnl_status_t status = layout_of(depth, width, &layout);
	if (status == dnnl_success) {
		packed->data = model__pages_alloc(pages, dnnl_memory_desc_get_size(&layout));
		status = packed->data == NULL ? dnnl_out_of_memory : reorder(w, &layout, packed);
	}
	omp_set_num_threads(before);
	return status_of(status);
}

/* ---- Products */

int model__products_new(struct model__products **out)
{
	struct model__products *made = fault_calloc(1, sizeof(*made));
	if (made == NULL)
		return ERR_NOMEM;
	const dnnl_status_t status = dnnl_stream_create(&made->stream, engine, dnnl_stream_default_flags);
	if (status != dnnl_success) {
		free(made);
		return status_of(status);
	}
	*out = made;
	return 0;
}

static void shape_free(struct shape *shape)
{
	struct call *calls = (struct call *)shape->calls; /* all of them, in a row */
	for (size_t i = 0; i < sizeof(shape->calls) / sizeof(*calls); i++) {
		dnnl_primitive_destroy(calls[i].primitive);
		dnnl_memory_destroy(calls[i].x);
		dnnl_memory_destroy(calls[i].y);
	}
	dnnl_memory_destroy(shape->weight);
	free(shape);
}

void model__products_free(struct model__products **products)
{
	struct model__products *p = *products;
	if (p == NULL)
		return;
	for (size_t i = 0; i < p->shape_count; i++)
		shape_free(p->shapes[i]);
	free(p->shapes);
	dnnl_stream_destroy(p->stream);
	free(p);
	*products = NULL;
}

static int shape_add(struct model__products *products, size_t depth, size_t width, struct shape **out)
{
	struct shape **grown = fault_realloc(products->shapes, (products->shape_count + 1) * sizeof(struct shape *));
	if (grown == NULL)
		return ERR_NOMEM;
	products->shapes = grown;
	struct shape *shape = fault_calloc(1, sizeof(*shape));
	if (shape == NULL)
		return ERR_NOMEM;
	shape->depth = depth;
	shape->width = width;
	dnnl_status_t status = layout_of(depth, width, &shape->layout);
	if (status == dnnl_success)
		status = dnnl_memory_create(&shape->weight, &shape->layout, engine, DNNL_MEMORY_NONE);
	if (status != dnnl_success) {
		free(shape);
		return status_of(status);
	}
	grown[products->shape_count++] = shape;
	*out = shape;
	return 0;
}

static int shape_of(struct model__products *products, size_t depth, size_t width, struct shape **out)
{
	for (size_t i = 0; i < products->shape_count; i++) {
		*out = products->shapes[i];
		if ((*out)->depth == depth && (*out)->width == width)
			return 0;
	}
	return shape_add(products, depth, width, out);
}

static dnnl_status_t adding(dnnl_primitive_attr_t *out)
{
	dnnl_post_ops_t sum = NULL;
	dnnl_status_t status = dnnl_primitive_attr_create(out);
	if (status == dnnl_success)
		status = dnnl_post_ops_create(&sum);
	if (status == dnnl_success)
		status = dnnl_post_ops_append_sum(sum, 1.0f);
	if (status == dnnl_success)
		status = dnnl_primitive_attr_set_post_ops(*out, sum);
	dnnl_post_ops_destroy(sum);
	return status;
}

static dnnl_status_t call_make(const struct shape *shape, struct call *call, bool accumulate, size_t rows)
{
	dnnl_primitive_attr_t attributes = NULL;
	dnnl_primitive_desc_t description = NULL;
	dnnl_status_t status = accumulate ? adding(&attributes) : dnnl_success;
	if (status == dnnl_success)
		status = describe(&description, rows, shape->depth, shape->width, &shape->layout, attributes);
	if (status == dnnl_success && call->x == NULL)
		status = dnnl_memory_create(&call->x, dnnl_primitive_desc_query_md(description, dnnl_query_src_md, 0),
					    engine, DNNL_MEMORY_NONE);
	if (status == dnnl_success && call->y == NULL)
		status = dnnl_memory_create(&call->y, dnnl_primitive_desc_query_md(description, dnnl_query_dst_md, 0),
					    engine, DNNL_MEMORY_NONE);
	if (status == dnnl_success)
		status = dnnl_primitive_create(&call->primitive, description);
	dnnl_primitive_desc_destroy(description);
	dnnl_primitive_attr_destroy(attributes);
	return status;
}

/* The rows of the first call for `rows` rows, and its place. */
static size_t call_rows(size_t rows, size_t *at)
{
	if (rows < STEP_ROWS) {
		*at = rows - 1;
		return rows;
	}
	const size_t steps = (rows < CALL_ROWS ? rows : CALL_ROWS) / STEP_ROWS;
	*at = STEP_ROWS - 2 + steps;
	return steps * STEP_ROWS;
}

static dnnl_status_t call_run(const struct model__products *products, struct shape *shape, bool accumulate, bool all,
			      float *y, const float *x, size_t *rows)
{
	size_t at;
	*rows = call_rows(*rows, &at);
	struct call *call = &shape->calls[accumulate][all][at];
	dnnl_status_t status = call->primitive == NULL ? call_make(shape, call, accumulate, *rows) : dnnl_success;
	if (status == dnnl_success)
		status = dnnl_memory_set_data_handle(call->x, (void *)(uintptr_t)x);
	if (status == dnnl_success)
		status = dnnl_memory_set_data_handle(call->y, y);
	if (status != dnnl_success)
		return status;
	const dnnl_exec_arg_t args[] = { { DNNL_ARG_SRC, call->x },
					 { DNNL_ARG_WEIGHTS, shape->weight },
					 { DNNL_ARG_DST, call->y } };
	status = dnnl_primitive_execute(call->primitive, products->stream, 3, args);
	return status == dnnl_success ? dnnl_stream_wait(products->stream) : status;
}

int model__packed_product(struct model__products *products, float *y, const float *x,
			  const struct model__packed *packed, bool accumulate, size_t rows, size_t thread_count)
{
	struct shape *shape = NULL;
	int rc = shape_of(products, packed->depth, packed->width, &shape);
	if (rc != 0)
		return rc;
	const bool all = thread_count > 1 && rows * packed->depth * packed->width >= 2 * WORK_A_THREAD;
	const int before = with_threads(all ? thread_count : 1);
	dnnl_status_t status = dnnl_memory_set_data_handle(shape->weight, packed->data);
	for (size_t first = 0, taken; status == dnnl_success && first < rows; first += taken) {
		taken = rows - first;
		status = call_run(products, shape, accumulate, all, y + first * packed->width,
				  x + first * packed->depth, &taken);
	}
	omp_set_num_threads(before);
	return status_of(status);
}
