/* key_index_internal.h: what key_index.c (keys) and key_search.c (search) share. */
#ifndef AMEND_EDITOR_KEY_INDEX_INTERNAL_H
#define AMEND_EDITOR_KEY_INDEX_INTERNAL_H

#include "base/arena.h"
#include "editor/key_index.h"
#include "editor/key_scan.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>

#define EDITOR__PIECE_KEYS    512u  /* keys that stand together */
#define EDITOR__COMPONENT_MAX 1e15f /* beyond it a score might overflow: such keys are searched without the bound */

struct editor__piece {   /* of EDITOR__PIECE_KEYS keys, aligned as blocks are */
	uint8_t *blocks; /* high halves, of key_scan.h */
	uint8_t *rows;   /* low halves */
	float *keys;     /* width each */
};

struct editor__key_index {
	size_t width, group_count;
	const struct editor__scan_kernel *kernel;
	struct arena *memory; /* of the pieces */
	struct editor__piece *pieces;
	size_t piece_count, count;
	size_t unbounded_count; /* keys that are not finite or too long: while there are any, all are scored */
	float length_max;       /* of ‖k‖ + the larger ‖k − s·b‖ */
};

/* ---- Where things stand */

static inline uint8_t *editor__block_at(const struct editor__key_index *index, size_t at)
{
	return index->pieces[at / EDITOR__PIECE_KEYS].blocks +
	       at % EDITOR__PIECE_KEYS / EDITOR__SCAN_KEYS * editor__scan_block_bytes(index->group_count);
}

static inline struct editor__scan_tails *editor__tails_at(const struct editor__key_index *index, size_t at)
{
	return (struct editor__scan_tails *)(void *)(editor__block_at(index, at) +
						     index->group_count * 4 * EDITOR__SCAN_KEYS);
}

static inline size_t editor__row_bytes(const struct editor__key_index *index)
{
	return editor__scan_row_bytes(index->group_count);
}

static inline struct editor__scan_tail *editor__row_tail(const struct editor__key_index *index, const uint8_t *row)
{
	return (struct editor__scan_tail *)(void *)(row + editor__row_bytes(index)) - 1;
}

static inline const float *editor__key_at(const struct editor__key_index *index, size_t at)
{
	return index->pieces[at / EDITOR__PIECE_KEYS].keys + at % EDITOR__PIECE_KEYS * index->width;
}

static inline uint8_t *editor__row_at(const struct editor__key_index *index, size_t at)
{
	return index->pieces[at / EDITOR__PIECE_KEYS].rows + at % EDITOR__PIECE_KEYS * editor__row_bytes(index);
}

/* ---- Rounding of keys and queries */

static inline float editor__rounded_up(double x)
{
	return (float)(x * (1 + 1e-5)) + FLT_MIN;
}

static inline bool editor__is_bounded(const float *v, size_t width)
{
	for (size_t i = 0; i < width; i++) {
		if (!(fabsf(v[i]) <= EDITOR__COMPONENT_MAX))
			return false;
	}
	return true;
}

/* To the nearest integer, |x| < 2^22. */
static inline float editor__nearest(float x)
{
	const float shift = 12582912.0f; /* 1.5 · 2^23 */
	return (x + shift) - shift;
}

static inline float editor__largest(const float *v, size_t width)
{
	float largest = 0;
#pragma omp simd reduction(max : largest)
	for (size_t i = 0; i < width; i++)
		largest = fabsf(v[i]) > largest ? fabsf(v[i]) : largest;
	return largest;
}

/* 0 where what it scales is as good as 0. */
static inline float editor__inverse(float scale)
{
	return scale >= FLT_MIN ? 1 / scale : 0;
}

static inline float editor__length(const float *v, size_t width)
{
	double square = 0;
#pragma omp simd reduction(+ : square)
	for (size_t i = 0; i < width; i++)
		square += (double)v[i] * (double)v[i];
	return editor__rounded_up(sqrt(square));
}

#endif
