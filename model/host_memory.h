/* host_memory.h: activation memory of the backends that compute on the host, aligned to a cache line. Shared inside
 * model/. */
#ifndef AMEND_MODEL_HOST_MEMORY_H
#define AMEND_MODEL_HOST_MEMORY_H

#include "model/backend.h"

#define MODEL__ALIGN 64

/* NULL when out of memory (honours fault_set). Not cleared. Freed by model__host_free only. */
void *model__host_bytes(size_t byte_count) MUST_CHECK;
void model__host_bytes_free(void *p);
/* The `alloc`, `free`, `copy` and `clear` of reference and cpu. */
float *model__host_alloc(struct model_backend *b, size_t float_count);
void model__host_free(struct model_backend *b, float *p);
void model__host_copy(struct model_backend *b, float *dst, const float *src, size_t n);
void model__host_clear(struct model_backend *b, float *dst, size_t n);

#endif
