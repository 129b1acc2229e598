/* arena.h: bump allocation for activations and decoded messages: small blocks from the heap, others mapped, on huge
 * pages where the system gives them (MAP_HUGETLB is not required: madvise(MADV_HUGEPAGE)). Not thread-safe: one owner.
 * Memory is zero only when fresh. */
#ifndef AMEND_BASE_ARENA_H
#define AMEND_BASE_ARENA_H

#include "base/err.h"

struct arena;

/* Grows in blocks of at least `block_bytes` up to `limit_bytes` in all (0: no limit). */
int arena_new(size_t block_bytes, size_t limit_bytes, struct arena **out) MUST_CHECK;
void arena_destroy(struct arena **arena);
/* Aligned to 64 bytes. NULL when memory or the limit is exhausted. Valid until a reset below it, or destroy. */
void *arena_alloc(struct arena *arena, size_t bytes) MUST_CHECK;
/* item_count × item_bytes with the overflow checked. */
void *arena_array(struct arena *arena, size_t item_count, size_t item_bytes) MUST_CHECK;
void *arena_copy(struct arena *arena, const void *bytes, size_t byte_count) MUST_CHECK;
/* A NUL-terminated copy of `byte_count` bytes. */
char *arena_strndup(struct arena *arena, const char *bytes, size_t byte_count) MUST_CHECK;
/* Marks nest: arena_reset(a, mark) frees all that came after the mark; mark 0 frees everything (blocks are kept). */
size_t arena_mark(const struct arena *arena);
void arena_reset(struct arena *arena, size_t mark);
size_t arena_used_bytes(const struct arena *arena);

#endif
