/* The bound. A key k is held as s·b, b in [−127, 127] per component, with its error ‖k − s·b‖ measured as it is made; a
 * query q likewise as s'·b'. By Cauchy-Schwarz
 *   q·k ≤ s'·s·(b'·b) + ‖q‖·‖k − s·b‖ + ‖q − s'·b'‖·‖s·b‖
 * where b'·b is an exact integer. Bounds are rounded up, and `slack` has room for the rounding of float32 in this sum
 * and in editor__dot. So a key whose bound lies below EDITOR_CANDIDATES scores that were reached is none of the best.
 * Scores themselves only ever come from editor__dot. */
#include "editor/key_index.h"
#include "base/fault.h"
#include "editor/dot.h"
#include "editor/key_scan.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PIECE_KEYS    512u /* scanned at once; its 8-bit keys stay in the second-level cache for the next query */
#define ALIGN         64u
#define COMPONENT_MAX 1e15f /* beyond it a score might overflow: such keys are searched without the bound */
#define PLAIN_KEYS    (4 * EDITOR_CANDIDATES) /* fewer are scored faster than bounded */

struct piece {
	void *memory;
	uint8_t *blocks; /* PIECE_KEYS / EDITOR__SCAN_KEYS blocks of key_scan.h */
	float *keys;     /* PIECE_KEYS × width */
};

struct editor__key_index {
	size_t width, group_count;
	editor__scan *scan;
	const char *instructions;
	struct piece *pieces;
	size_t piece_count, count;
	size_t unbounded_count; /* keys that are not finite or too long: while there are any, all are scored */
	float length_max;       /* of ‖k‖ + ‖k − s·b‖ */
};

void editor__candidate_keep(struct editor__candidate *best, size_t *count, size_t entry, float score)
{
	size_t at = *count;
	while (at > 0 && score > best[at - 1].score)
		at--;
	if (at == EDITOR_CANDIDATES)
		return;
	if (*count < EDITOR_CANDIDATES)
		(*count)++;
	memmove(best + at + 1, best + at, (*count - 1 - at) * sizeof(*best));
	best[at] = (struct editor__candidate){ .entry = entry, .score = score };
}

/* ---- The keys */

static bool choose_scan(struct editor__key_index *index, const char *instructions)
{
	const struct {
		const char *name;
		editor__scan *scan;
	} kinds[] = { { "avx512vnni", editor__scan_avx512vnni() },
		      { "avx2", editor__scan_avx2() },
		      { "portable", editor__scan_portable } };
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (kinds[i].scan == NULL || (instructions != NULL && strcmp(instructions, kinds[i].name) != 0))
			continue;
		index->scan = kinds[i].scan;
		index->instructions = kinds[i].name;
		return true;
	}
	return false;
}

int editor__key_index_new(size_t width, const char *instructions, struct editor__key_index **out, struct err *e)
{
	assert(width > 0 && width <= EDITOR_HIDDEN_MAX);
	struct editor__key_index *index = fault_calloc(1, sizeof(*index));
	if (index == NULL)
		return err_set(e, ERR_NOMEM, "key index: out of memory");
	if (!choose_scan(index, instructions)) {
		free(index);
		return err_set(
			e, ERR_UNSUPPORTED,
			"key index: this processor has no instructions \"%.32s\": take portable, avx2, avx512vnni or "
			"what the processor has",
			instructions);
	}
	index->width = width;
	index->group_count = (width + 3) / 4;
	*out = index;
	return 0;
}

void editor__key_index_destroy(struct editor__key_index **index)
{
	if (*index == NULL)
		return;
	for (size_t i = 0; i < (*index)->piece_count; i++)
		free((*index)->pieces[i].memory);
	free((*index)->pieces);
	free(*index);
	*index = NULL;
}

const char *editor__key_index_instructions(const struct editor__key_index *index)
{
	return index->instructions;
}

size_t editor__key_index_count(const struct editor__key_index *index)
{
	return index->count;
}

static size_t block_bytes(const struct editor__key_index *index)
{
	return editor__scan_block_bytes(index->group_count);
}

static size_t piece_bytes(const struct editor__key_index *index)
{
	return ALIGN + PIECE_KEYS / EDITOR__SCAN_KEYS * block_bytes(index) + PIECE_KEYS * index->width * sizeof(float);
}

size_t editor__key_index_bytes(const struct editor__key_index *index)
{
	return sizeof(*index) + index->piece_count * (sizeof(struct piece) + piece_bytes(index));
}

int editor__key_index_reserve(struct editor__key_index *index, size_t more)
{
	const size_t need = (index->count + more + PIECE_KEYS - 1) / PIECE_KEYS;
	if (need <= index->piece_count)
		return 0;
	struct piece *pieces = fault_realloc(index->pieces, need * sizeof(*pieces));
	if (pieces == NULL)
		return ERR_NOMEM;
	index->pieces = pieces;
	while (index->piece_count < need) {
		uint8_t *memory = fault_malloc(piece_bytes(index));
		if (memory == NULL)
			return ERR_NOMEM;
		uint8_t *blocks = memory + (ALIGN - (uintptr_t)memory % ALIGN) % ALIGN;
		float *keys = (float *)(void *)(blocks + PIECE_KEYS / EDITOR__SCAN_KEYS * block_bytes(index));
		pieces[index->piece_count++] = (struct piece){ .memory = memory, .blocks = blocks, .keys = keys };
	}
	return 0;
}

static float rounded_up(double x)
{
	return (float)(x * (1 + 1e-5)) + FLT_MIN;
}

static bool is_bounded(const float *v, size_t width)
{
	for (size_t i = 0; i < width; i++) {
		if (!(fabsf(v[i]) <= COMPONENT_MAX))
			return false;
	}
	return true;
}

/* To the nearest integer, |x| < 2^22. */
static float nearest(float x)
{
	const float shift = 12582912.0f; /* 1.5 · 2^23 */
	return (x + shift) - shift;
}

struct rounding {                   /* of v = scale · bytes + rest */
	float scale, length, error; /* upper bounds of ‖v‖ and ‖rest‖ */
	int32_t sum;                /* of the bytes */
};

/* Bytes of components 4g … 4g + 3 go to bytes + g × stride. */
static struct rounding round_to_bytes(const float *v, size_t width, int8_t *bytes, size_t stride)
{
	struct rounding r = { 0 };
	double length = 0, error = 0;
	float largest = 0;
	for (size_t i = 0; i < width; i++)
		largest = fabsf(v[i]) > largest ? fabsf(v[i]) : largest;
	r.scale = largest / 127 >= FLT_MIN ? largest / 127 : 0;
	const float inverse = r.scale > 0 ? 1 / r.scale : 0;
	for (size_t i = 0; i < width; i++) {
		const float whole = nearest(v[i] * inverse);
		const double rest = (double)v[i] - (double)r.scale * (double)whole;
		length += (double)v[i] * (double)v[i];
		error += rest * rest;
		bytes[i / 4 * stride + i % 4] = (int8_t)whole;
		r.sum += (int32_t)whole;
	}
	r.length = rounded_up(sqrt(length));
	r.error = rounded_up(sqrt(error));
	return r;
}

/* A key without a bound is only counted: all keys are scored then. */
static void put_block(struct editor__key_index *index, uint8_t *block, size_t lane, const float *key)
{
	const size_t stride = 4 * EDITOR__SCAN_KEYS, tail = index->group_count * stride;
	if (lane == 0)
		memset(block, 0, block_bytes(index));
	if (!is_bounded(key, index->width)) {
		index->unbounded_count++;
		return;
	}
	const struct rounding r = round_to_bytes(key, index->width, (int8_t *)block + 4 * lane, stride);
	const int32_t shifted = 128 * r.sum;
	memcpy(block + tail + lane * sizeof(float), &r.scale, sizeof(r.scale));
	memcpy(block + tail + stride + lane * sizeof(float), &r.error, sizeof(r.error));
	memcpy(block + tail + 2 * stride + lane * sizeof(float), &shifted, sizeof(shifted));
	if (r.length + r.error > index->length_max)
		index->length_max = r.length + r.error;
}

void editor__key_index_add(struct editor__key_index *index, const float *key)
{
	const size_t at = index->count % PIECE_KEYS, lane = at % EDITOR__SCAN_KEYS;
	assert(index->count / PIECE_KEYS < index->piece_count);
	const struct piece *piece = &index->pieces[index->count / PIECE_KEYS];
	memcpy(piece->keys + at * index->width, key, index->width * sizeof(*key));
	put_block(index, piece->blocks + at / EDITOR__SCAN_KEYS * block_bytes(index), lane, key);
	index->count++;
}

static const float *key_at(const struct editor__key_index *index, size_t at)
{
	return index->pieces[at / PIECE_KEYS].keys + at % PIECE_KEYS * index->width;
}

void editor__key_index_cut(struct editor__key_index *index, size_t count)
{
	for (; index->count > count; index->count--)
		index->unbounded_count -= is_bounded(key_at(index, index->count - 1), index->width) ? 0 : 1;
}

/* ---- Search */

struct query {
	const float *key;
	struct editor__scan_query scan;
	float *upper; /* room for a bound of every key, in whole blocks */
	struct editor__candidate *best;
	size_t *count;
};

static size_t block_count_of(size_t key_count)
{
	return (key_count + EDITOR__SCAN_KEYS - 1) / EDITOR__SCAN_KEYS;
}

static void init_query(const struct editor__key_index *index, struct query *q, uint8_t *room)
{
	const size_t bytes = 4 * index->group_count;
	q->scan.bytes = (int8_t *)room;
	q->scan.absolute = room + bytes;
	q->scan.shifted = room + 2 * bytes;
	const struct rounding r = round_to_bytes(q->key, index->width, q->scan.bytes, 4);
	for (size_t i = 0; i < bytes; i++) {
		q->scan.absolute[i] = (uint8_t)abs(q->scan.bytes[i]);
		q->scan.shifted[i] = (uint8_t)(q->scan.bytes[i] + 128);
	}
	/* editor__dot makes sums of width / 8 + 7 terms and adds eight of them, the bound takes a few roundings: each
	 * is at most 2^-24 of ‖q‖‖k‖; twice that */
	const double length = (double)r.length + (double)r.error, longest = (double)index->length_max;
	const double rounding = (double)(index->width / 8 + 32) * 0x1p-23 * length * longest;
	q->scan.scale = r.scale;
	q->scan.length = r.length;
	q->scan.slack = rounded_up((double)r.error * longest + rounding + 1e-30);
}

static void score(const struct editor__key_index *index, const struct query *q, size_t at,
		  struct editor__candidate *best, size_t *count)
{
	editor__candidate_keep(best, count, at, editor__dot(q->key, key_at(index, at), index->width));
}

/* The next key to be scored is not where the last one was. */
static void fetch_ahead(const struct editor__key_index *index, size_t at)
{
	const float *key = key_at(index, at);
	for (size_t i = 0; i < index->width; i += ALIGN / sizeof(float))
		__builtin_prefetch(key + i);
}

static float last_of(const struct editor__candidate *best, size_t count)
{
	return count == EDITOR_CANDIDATES ? best[count - 1].score : -INFINITY;
}

static float largest_of(const float *block)
{
	float largest = block[0];
#pragma omp simd reduction(max : largest)
	for (size_t i = 0; i < EDITOR__SCAN_KEYS; i++)
		largest = block[i] > largest ? block[i] : largest;
	return largest;
}

/* A score that EDITOR_CANDIDATES keys reach: those with the largest bounds are scored, which makes it nearly the best
 * such score. */
static float bar_of(const struct editor__key_index *index, const struct query *q)
{
	struct editor__candidate likely[EDITOR_CANDIDATES], reached[EDITOR_CANDIDATES];
	size_t likely_count = 0, reached_count = 0;
	for (size_t first = 0; first < index->count; first += EDITOR__SCAN_KEYS) {
		if (largest_of(q->upper + first) <= last_of(likely, likely_count))
			continue;
		for (size_t i = first; i < first + EDITOR__SCAN_KEYS && i < index->count; i++) {
			if (q->upper[i] > last_of(likely, likely_count))
				editor__candidate_keep(likely, &likely_count, i, q->upper[i]);
		}
	}
	for (size_t i = 0; i < likely_count; i++) {
		fetch_ahead(index, likely[i + 1 < likely_count ? i + 1 : i].entry);
		score(index, q, likely[i].entry, reached, &reached_count);
	}
	return last_of(reached, reached_count);
}

/* Scores what the bounds leave, in order of entries. */
static void score_rest(const struct editor__key_index *index, const struct query *q, float bar)
{
	size_t ahead = SIZE_MAX;
	for (size_t first = 0; first < index->count; first += EDITOR__SCAN_KEYS) {
		if (largest_of(q->upper + first) < bar)
			continue;
		for (size_t i = first; i < first + EDITOR__SCAN_KEYS && i < index->count; i++) {
			if (q->upper[i] < bar)
				continue;
			fetch_ahead(index, i);
			if (ahead != SIZE_MAX)
				score(index, q, ahead, q->best, q->count);
			ahead = i;
		}
	}
	if (ahead != SIZE_MAX)
		score(index, q, ahead, q->best, q->count);
}

static void search_plainly(const struct editor__key_index *index, const struct query *q)
{
	for (size_t i = 0; i < index->count; i++)
		score(index, q, i, q->best, q->count);
}

/* Those of the queries that a bound helps, in `list`; the others are searched. */
static size_t sort_out(const struct editor__key_index *index, const float *queries, size_t query_count,
		       struct editor__candidate *best, size_t *counts, struct query *list)
{
	size_t listed = 0;
	for (size_t i = 0; i < query_count; i++) {
		struct query *q = &list[listed];
		*q = (struct query){ .key = queries + i * index->width,
				     .best = best + i * EDITOR_CANDIDATES,
				     .count = &counts[i] };
		counts[i] = 0;
		if (index->count <= PLAIN_KEYS || index->unbounded_count > 0 || !is_bounded(q->key, index->width))
			search_plainly(index, q);
		else
			listed++;
	}
	return listed;
}

static void search_listed(const struct editor__key_index *index, struct query *list, size_t count)
{
	for (size_t first = 0; first < index->count; first += PIECE_KEYS) {
		const size_t left = index->count - first, keys = left < PIECE_KEYS ? left : PIECE_KEYS;
		for (size_t i = 0; i < count; i++)
			index->scan(index->pieces[first / PIECE_KEYS].blocks, block_count_of(keys), index->group_count,
				    &list[i].scan, list[i].upper + first);
	}
	for (size_t i = 0; i < count; i++)
		score_rest(index, &list[i], bar_of(index, &list[i]));
}

int editor__key_index_search(const struct editor__key_index *index, const float *queries, size_t query_count,
			     struct editor__candidate *best, size_t *counts)
{
	const size_t bytes = 3 * 4 * index->group_count, bounds = block_count_of(index->count) * EDITOR__SCAN_KEYS;
	struct query *list = fault_malloc(query_count * sizeof(*list) + 1);
	if (list == NULL)
		return ERR_NOMEM;
	const size_t count = sort_out(index, queries, query_count, best, counts, list);
	float *upper = fault_malloc(count * (bounds * sizeof(*upper) + bytes) + 1);
	for (size_t i = 0; i < count && upper != NULL; i++) {
		uint8_t *room = (uint8_t *)(upper + count * bounds) + i * bytes;
		list[i].upper = upper + i * bounds;
		init_query(index, &list[i], memset(room, 0, bytes));
	}
	if (upper != NULL)
		search_listed(index, list, count);
	free(list);
	free(upper);
	return upper == NULL ? ERR_NOMEM : 0;
}
