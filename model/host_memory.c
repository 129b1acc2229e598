#include "model/host_memory.h"

#include "base/fault.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_FROM_BYTES   ((size_t)4 << 20)
#define PAGES_BLOCK_BYTES ((size_t)32 << 20)

static void *host_bytes(size_t byte_count, bool huge)
{
	size_t total;
	if (__builtin_add_overflow(byte_count, (size_t)2 * MODEL__ALIGN, &total))
		return NULL;
	char *base = fault_malloc(total);
	if (base == NULL)
		return NULL;
	/* The start of malloc's block stands in the word before the aligned address. */
	uintptr_t at = ((uintptr_t)base + sizeof(void *) + MODEL__ALIGN - 1) & ~(uintptr_t)(MODEL__ALIGN - 1);
	void *aligned = base + (at - (uintptr_t)base);
	memcpy((char *)aligned - sizeof(void *), &base, sizeof(base));
	if (total >= HUGE_FROM_BYTES) { /* a refusal costs only speed, or memory */
		uintptr_t page = ((uintptr_t)base + 4095) & ~(uintptr_t)4095;
		(void)madvise(base + (page - (uintptr_t)base), total - (page - (uintptr_t)base),
			      huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	}
	return aligned;
}

void *model__host_bytes(size_t byte_count)
{
	return host_bytes(byte_count, true);
}

void model__host_bytes_free(void *p)
{
	void *base;
	if (p == NULL)
		return;
	memcpy(&base, (char *)p - sizeof(void *), sizeof(base));
	free(base);
}

void model__pages_init(struct model__pages *pages)
{
	pages->arena = NULL;
	pthread_mutex_init(&pages->lock, NULL);
}

void model__pages_fini(struct model__pages *pages)
{
	arena_destroy(&pages->arena);
	pthread_mutex_destroy(&pages->lock);
}

void *model__pages_alloc(struct model__pages *pages, size_t byte_count)
{
	void *memory = NULL;
	pthread_mutex_lock(&pages->lock);
	if (pages->arena != NULL || arena_new(PAGES_BLOCK_BYTES, 0, &pages->arena) == 0)
		memory = arena_alloc(pages->arena, byte_count);
	pthread_mutex_unlock(&pages->lock);
	return memory;
}

static float *host_floats(size_t float_count, bool huge)
{
	size_t bytes;
	return __builtin_mul_overflow(float_count, sizeof(float), &bytes) ? NULL : host_bytes(bytes, huge);
}

float *model__host_alloc(struct model_backend *b, size_t float_count)
{
	(void)b;
	return host_floats(float_count, true);
}

float *model__host_alloc_sparse(struct model_backend *b, size_t float_count)
{
	(void)b;
	return host_floats(float_count, false);
}

void model__host_free(struct model_backend *b, float *p)
{
	(void)b;
	model__host_bytes_free(p);
}

void model__host_copy(struct model_backend *b, float *dst, const float *src, size_t n)
{
	(void)b;
	memcpy(dst, src, n * sizeof(float));
}

void model__host_clear(struct model_backend *b, float *dst, size_t n)
{
	(void)b;
	memset(dst, 0, n * sizeof(float));
}
