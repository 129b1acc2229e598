#include "base/arena.h"

#include "base/fault.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ALIGN       ((size_t)64)
#define HUGE_BYTES  ((size_t)2 << 20)
#define SMALL_BYTES ((size_t)64 << 10)

/* Blocks form one list in the order in which they are filled. A mark is the logical position: the bytes of the blocks
 * before, plus what is used in the current one. */
struct block {
	struct block *next;
	uint8_t *memory;
	size_t bytes;
	size_t start; /* logical position of its first byte */
};

struct arena {
	struct block *first, *current;
	size_t used; /* in the current block */
	size_t block_bytes, limit_bytes, mapped_bytes;
};

static size_t round_up(size_t n, size_t to)
{
	return (n + to - 1) / to * to;
}

int arena_new(size_t block_bytes, size_t limit_bytes, struct arena **out)
{
	struct arena *a = fault_calloc(1, sizeof(*a));
	if (a == NULL)
		return ERR_NOMEM;
	a->block_bytes = block_bytes < 4096 ? 4096 : block_bytes;
	a->limit_bytes = limit_bytes;
	*out = a;
	return 0;
}

/* A message's few KiB are not worth a mapping of their own: to map, fault in and unmap them takes longer than to encode
 * the message. */
static uint8_t *memory_get(size_t bytes)
{
	if (bytes > SMALL_BYTES) {
		void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		return memory == MAP_FAILED ? NULL : memory;
	}
	uint8_t *memory = aligned_alloc(ALIGN, round_up(bytes, ALIGN));
	if (memory != NULL)
		memset(memory, 0, bytes);
	return memory;
}

static void block_free(struct block *b)
{
	if (b->bytes > SMALL_BYTES)
		munmap(b->memory, b->bytes);
	else
		free(b->memory);
	free(b);
}

void arena_destroy(struct arena **arena)
{
	struct arena *a = *arena;
	if (a == NULL)
		return;
	for (struct block *b = a->first, *next; b != NULL; b = next) {
		next = b->next;
		block_free(b);
	}
	free(a);
	*arena = NULL;
}

static struct block *block_map(struct arena *a, size_t at_least)
{
	size_t bytes = round_up(at_least > a->block_bytes ? at_least : a->block_bytes, 4096);
	if (bytes >= HUGE_BYTES)
		bytes = round_up(bytes, HUGE_BYTES);
	if (a->limit_bytes != 0 && bytes > a->limit_bytes - a->mapped_bytes)
		bytes = a->limit_bytes - a->mapped_bytes;
	if (bytes < at_least)
		return NULL;
	struct block *b = fault_calloc(1, sizeof(*b));
	if (b == NULL)
		return NULL;
	b->bytes = bytes;
	b->memory = memory_get(bytes);
	if (b->memory == NULL) {
		free(b);
		return NULL;
	}
	if (bytes >= HUGE_BYTES)
		(void)madvise(b->memory, bytes, MADV_HUGEPAGE); /* only a hint */
	a->mapped_bytes += bytes;
	return b;
}

/* Makes the block after the current one hold `bytes`: kept blocks that are too small are given back. */
static bool next_block(struct arena *a, size_t bytes)
{
	struct block **link = a->current != NULL ? &a->current->next : &a->first;
	while (*link != NULL && (*link)->bytes < bytes) {
		struct block *small = *link;
		*link = small->next;
		a->mapped_bytes -= small->bytes;
		block_free(small);
	}
	if (*link == NULL)
		*link = block_map(a, bytes);
	if (*link == NULL)
		return false;
	(*link)->start = a->current != NULL ? a->current->start + a->current->bytes : 0;
	a->current = *link;
	a->used = 0;
	return true;
}

void *arena_alloc(struct arena *arena, size_t bytes)
{
	if (bytes > SIZE_MAX / 2)
		return NULL;
	bytes = bytes == 0 ? ALIGN : round_up(bytes, ALIGN);
	if ((arena->current == NULL || bytes > arena->current->bytes - arena->used) && !next_block(arena, bytes))
		return NULL;
	void *p = arena->current->memory + arena->used;
	arena->used += bytes;
	return p;
}

void *arena_array(struct arena *arena, size_t item_count, size_t item_bytes)
{
	size_t bytes;
	if (__builtin_mul_overflow(item_count, item_bytes, &bytes))
		return NULL;
	return arena_alloc(arena, bytes);
}

void *arena_copy(struct arena *arena, const void *bytes, size_t byte_count)
{
	void *p = arena_alloc(arena, byte_count);
	if (p != NULL && byte_count != 0)
		memcpy(p, bytes, byte_count);
	return p;
}

char *arena_strndup(struct arena *arena, const char *bytes, size_t byte_count)
{
	if (byte_count == SIZE_MAX)
		return NULL;
	char *p = arena_alloc(arena, byte_count + 1);
	if (p == NULL)
		return NULL;
	if (byte_count != 0)
		memcpy(p, bytes, byte_count);
	p[byte_count] = '\0';
	return p;
}

size_t arena_mark(const struct arena *arena)
{
	return arena->current != NULL ? arena->current->start + arena->used : 0;
}

void arena_reset(struct arena *arena, size_t mark)
{
	assert(mark <= arena_mark(arena));
	if (mark == 0) {
		arena->current = NULL;
		arena->used = 0;
		return;
	}
	for (struct block *b = arena->first; b != NULL; b = b->next) {
		if (mark <= b->start + b->bytes) {
			arena->current = b;
			arena->used = mark - b->start;
			return;
		}
	}
}

size_t arena_used_bytes(const struct arena *arena)
{
	return arena_mark(arena);
}
