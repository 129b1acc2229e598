/* host_memory.h: memory of the backends that compute on the host, aligned to a cache line: of activations, and of
 * weights. Shared inside model/. */
#ifndef AMEND_MODEL_HOST_MEMORY_H
#define AMEND_MODEL_HOST_MEMORY_H

#include "base/arena.h"
#include "model/backend.h"

#include <pthread.h>

#define MODEL__ALIGN 64

/* NULL when out of memory (honours fault_set). Not cleared. Freed by model__host_free only. */
void *model__host_bytes(size_t byte_count) MUST_CHECK;
void model__host_bytes_free(void *p);
/* Memory of weights: in blocks on huge pages (at 4 KiB each page costs a fault when it is filled, and a walk through
 * the tables of a virtual machine when it is read), given back as a whole. Any thread. */
struct model__pages {
	struct arena *arena;
	pthread_mutex_t lock;
};
void model__pages_init(struct model__pages *pages);
void model__pages_fini(struct model__pages *pages);
/* Zeros. NULL when out of memory (honours fault_set). */
void *model__pages_alloc(struct model__pages *pages, size_t byte_count) MUST_CHECK;

/* The `alloc`, `alloc_sparse`, `free`, `copy` and `clear` of reference and cpu. */
float *model__host_alloc(struct model_backend *b, size_t float_count);
float *model__host_alloc_sparse(struct model_backend *b, size_t float_count);
void model__host_free(struct model_backend *b, float *p);
void model__host_copy(struct model_backend *b, float *dst, const float *src, size_t n);
void model__host_clear(struct model_backend *b, float *dst, size_t n);

#endif
