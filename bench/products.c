#include "bench/products.h"

#include "bench/bench.h"
#include "model/gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void weight_add(struct products *p, const struct model_tensor *t, bool stored)
{
	const struct model_backend_ops *ops = p->backend->ops;
	const size_t in = (size_t)t->dims[0], out = (size_t)t->dims[1];
	struct model_weight **to = &p->weights[p->count];
	if (stored && ops->weight_new_stored != NULL &&
	    ops->weight_new_stored(p->backend, t->type, t->data, out, in, to) == 0) {
		p->stored_count++;
	} else if (ops->weight_new(p->backend, t->type, t->data, out, in, false, to) != 0) {
		fprintf(stderr, "bench: out of memory\n");
		exit(1);
	}
	p->in[p->count++] = in;
	p->bytes += (size_t)t->byte_count;
	p->multiply_adds += (double)in * (double)out;
	p->in_max = in > p->in_max ? in : p->in_max;
	p->out_max = out > p->out_max ? out : p->out_max;
}

static bool is_named(const struct model_tensor *t, const char *name)
{
	return t->name_len >= strlen(name) && memcmp(t->name, name, strlen(name)) == 0;
}

void products_open(struct products *p, const char *path, const char *backend, size_t threads, bool stored,
		   size_t row_max)
{
	struct err e = ERR_INIT;
	struct model_gguf *file = NULL;
	memset(p, 0, sizeof(*p));
	p->row_max = row_max;
	bench_need(model_backend_new(backend, threads, &p->backend, &e), &e);
	bench_need(model_gguf_open(path, &file, &e), &e);
	const bool tied = model_gguf_tensor(file, "output.weight") == NULL;
	for (size_t i = 0; i < model_gguf_tensor_count(file) && p->count < PRODUCTS_WEIGHTS_MAX; i++) {
		const struct model_tensor *t = model_gguf_tensor_at(file, i);
		const bool embedding = is_named(t, "token_embd");
		if (t->dim_count != 2 || (embedding && !tied))
			continue;
		p->is_head[p->count] = embedding || is_named(t, "output.");
		weight_add(p, t, stored);
	}
	model_gguf_close(&file);
	p->x = bench_memory(row_max * p->in_max, sizeof(*p->x));
	p->y = bench_memory(row_max * p->out_max, sizeof(*p->y));
	for (size_t i = 0; i < row_max * p->in_max; i++)
		p->x[i] = (float)(i * 7919 % 1000) / 500 - 1;
}

void products_close(struct products *p)
{
	for (size_t i = 0; i < p->count; i++)
		p->backend->ops->weight_destroy(p->backend, &p->weights[i]);
	model_backend_destroy(&p->backend);
	free(p->x);
	free(p->y);
}

void products_run(struct products *p, size_t rows, size_t head_rows)
{
	p->backend->stepping = p->stored_count > 0;
	for (size_t i = 0; i < p->count; i++) {
		const size_t own = p->is_head[i] ? head_rows : rows;
		if (p->backend->ops->weight_forward(p->backend, p->y, p->x, p->weights[i], false, own) != 0) {
			fprintf(stderr, "bench: a product failed\n");
			exit(1);
		}
	}
	p->backend->stepping = false;
}
