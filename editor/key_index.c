/* The bounds. A key k is held in 8 bits a component, u in [0, 255], and is near s·b, b = u − 127.5; with only the upper
 * four bits h of u it is near s·b, b = 16·h − 120. The error ‖k − s·b‖ of either is measured as the key is added; a
 * query q is held likewise as s'·b', b' in [−127, 127]. By Cauchy-Schwarz
 *   q·k ≤ s'·s·(b'·b) + ‖q‖·‖k − s·b‖ + ‖q − s'·b'‖·‖s·b‖
 * where b'·b comes from exact integers. Bounds are rounded up, and `slack` has room for the rounding of float32 in this
 * sum and in editor__dot. So a key whose bound lies below EDITOR_CANDIDATES scores that were reached is none of the
 * best. All keys are bounded by four bits, which is what a search reads of them; those that remain by eight; what
 * remains then is scored. Scores themselves only ever come from editor__dot. */
#include "editor/key_index.h"
#include "base/fault.h"
#include "editor/dot.h"
#include "editor/key_scan.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PIECE_KEYS    512u /* memory is taken for so many */
#define PIECE_BLOCKS  (PIECE_KEYS / EDITOR__SCAN_KEYS)
#define ALIGN         EDITOR__SCAN_ALIGN
#define COMPONENT_MAX 1e15f /* beyond it a score might overflow: such keys are searched without the bound */
#define PLAIN_KEYS    (4 * EDITOR_CANDIDATES) /* fewer are scored faster than bounded */
#define KEY_RANGE     0.95f /* of the largest component: with a few of them cut off, four bits fit the others better */
#define ROWS_AHEAD    6u    /* fetched while others are bounded */

struct piece {
	void *memory;
	uint8_t *blocks; /* PIECE_BLOCKS of key_scan.h */
	uint8_t *rows;   /* PIECE_KEYS of key_scan.h */
	float *keys;     /* PIECE_KEYS × width */
};

struct editor__key_index {
	size_t width, group_count;
	const struct editor__scan_kernel *kernel;
	struct piece *pieces;
	size_t piece_count, count;
	size_t unbounded_count; /* keys that are not finite or too long: while there are any, all are scored */
	float length_max;       /* of ‖k‖ + the larger ‖k − s·b‖ */
};

void editor__candidate_keep(struct editor__candidate *best, size_t *count, size_t entry, float score)
{
	size_t at = *count;
	if (at == EDITOR_CANDIDATES) {
		if (!(score > best[at - 1].score))
			return;
		at--;
	} else {
		(*count)++;
	}
	for (; at > 0 && score > best[at - 1].score; at--)
		best[at] = best[at - 1];
	best[at] = (struct editor__candidate){ .entry = entry, .score = score };
}

/* ---- The keys */

int editor__key_index_new(size_t width, const char *instructions, struct editor__key_index **out, struct err *e)
{
	assert(width > 0 && width <= EDITOR_HIDDEN_MAX);
	struct editor__key_index *index = fault_calloc(1, sizeof(*index));
	if (index == NULL)
		return err_set(e, ERR_NOMEM, "key index: out of memory");
	index->kernel = editor__scan_kernel_of(instructions);
	if (index->kernel == NULL) {
		free(index);
		return err_set(
			e, ERR_UNSUPPORTED,
			"key index: this processor has no instructions \"%.32s\": take portable, avx2, avx512vnni or "
			"what the processor has",
			instructions);
	}
	index->width = width;
	index->group_count = (width + 7) / 8;
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
	return index->kernel->name;
}

size_t editor__key_index_count(const struct editor__key_index *index)
{
	return index->count;
}

static size_t block_bytes(const struct editor__key_index *index)
{
	return editor__scan_block_bytes(index->group_count);
}

static size_t row_bytes(const struct editor__key_index *index)
{
	return editor__scan_row_bytes(index->group_count);
}

static struct editor__scan_tail *tail_of(const struct editor__key_index *index, const uint8_t *row)
{
	return (struct editor__scan_tail *)(void *)(row + row_bytes(index)) - 1;
}

static size_t piece_bytes(const struct editor__key_index *index)
{
	return ALIGN + PIECE_BLOCKS * block_bytes(index) +
	       PIECE_KEYS * (row_bytes(index) + index->width * sizeof(float));
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
		uint8_t *rows = blocks + PIECE_BLOCKS * block_bytes(index);
		float *keys = (float *)(void *)(rows + PIECE_KEYS * row_bytes(index));
		pieces[index->piece_count++] =
			(struct piece){ .memory = memory, .blocks = blocks, .rows = rows, .keys = keys };
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

static float largest_of(const float *v, size_t width)
{
	float largest = 0;
	for (size_t i = 0; i < width; i++)
		largest = fabsf(v[i]) > largest ? fabsf(v[i]) : largest;
	return largest;
}

/* 0 where what it scales is as good as 0. */
static float inverse_of(float scale)
{
	return scale >= FLT_MIN ? 1 / scale : 0;
}

static float length_of(const float *v, size_t width)
{
	double square = 0;
	for (size_t i = 0; i < width; i++)
		square += (double)v[i] * (double)v[i];
	return rounded_up(sqrt(square));
}

struct rounding {              /* of a key = scale · b + rest */
	float scale;           /* 0: b tells nothing */
	float coarse, precise; /* upper bounds of ‖rest‖ without and with the lower four bits */
};

static int byte_of(float v, float inverse)
{
	const float whole = nearest(v * inverse + 127.5f);
	return (int)(whole < 0 ? 0 : whole > 255 ? 255 : whole);
}

/* `bytes` has room for 8 × group_count; what lies behind the width stays. */
static struct rounding round_key(const float *v, size_t width, uint8_t *bytes)
{
	const float scale = largest_of(v, width) * (KEY_RANGE / 127.5f), inverse = inverse_of(scale);
	struct rounding r = { .scale = inverse > 0 ? scale : 0 };
	double coarse = 0, precise = 0;
	for (size_t i = 0; i < width; i++) {
		const int byte = byte_of(v[i], inverse);
		const double four = (double)v[i] - (double)r.scale * ((byte & 0xf0) - 120);
		const double eight = (double)v[i] - (double)r.scale * (byte - 127.5);
		coarse += four * four;
		precise += eight * eight;
		bytes[i] = (uint8_t)byte;
	}
	r.coarse = rounded_up(sqrt(coarse));
	r.precise = rounded_up(sqrt(precise));
	return r;
}

/* Both halves of a key's bytes to where its block and its row hold them. */
static void put_bytes(const struct editor__key_index *index, const uint8_t *bytes, uint8_t *lane, uint8_t *row)
{
	const size_t half = 4 * index->group_count;
	memset(row, 0, row_bytes(index));
	for (size_t i = 0; i < half; i++) {
		const unsigned lower = bytes[i], upper = bytes[half + i];
		lane[i / 4 * 4 * EDITOR__SCAN_KEYS + i % 4] = (uint8_t)(lower >> 4 | (upper & 0xf0));
		row[i] = (uint8_t)((lower & 15) | upper << 4);
	}
}

/* A key without a bound is only counted: all keys are scored then. */
static void put_key(struct editor__key_index *index, const struct piece *piece, size_t at, const float *key)
{
	const size_t lane = at % EDITOR__SCAN_KEYS, tail = index->group_count * 4 * EDITOR__SCAN_KEYS;
	uint8_t *block = piece->blocks + at / EDITOR__SCAN_KEYS * block_bytes(index), bytes[EDITOR_HIDDEN_MAX],
		*row = piece->rows + at * row_bytes(index);
	if (lane == 0)
		memset(block, 0, block_bytes(index));
	if (!is_bounded(key, index->width)) {
		index->unbounded_count++;
		return;
	}
	memset(bytes, 0, 8 * index->group_count);
	const struct rounding r = round_key(key, index->width, bytes);
	put_bytes(index, bytes, block + 4 * lane, row);
	memcpy(block + tail + lane * sizeof(float), &r.scale, sizeof(r.scale));
	memcpy(block + tail + (EDITOR__SCAN_KEYS + lane) * sizeof(float), &r.coarse, sizeof(r.coarse));
	*tail_of(index, row) = (struct editor__scan_tail){ .scale = r.scale, .error = r.precise };
	const float longest = length_of(key, index->width) + (r.coarse > r.precise ? r.coarse : r.precise);
	if (longest > index->length_max)
		index->length_max = longest;
}

void editor__key_index_add(struct editor__key_index *index, const float *key)
{
	const size_t at = index->count % PIECE_KEYS;
	assert(index->count / PIECE_KEYS < index->piece_count);
	const struct piece *piece = &index->pieces[index->count / PIECE_KEYS];
	memcpy(piece->keys + at * index->width, key, index->width * sizeof(*key));
	put_key(index, piece, at, key);
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
	float *estimates;              /* room for one of every key, in whole blocks */
	struct editor__scan_top *tops; /* of each block */
	uint32_t *left;                /* room for every key */
	struct editor__candidate *best;
	size_t *count;
};

static size_t block_count_of(size_t key_count)
{
	return (key_count + EDITOR__SCAN_KEYS - 1) / EDITOR__SCAN_KEYS;
}

/* q = scale · bytes + rest; the upper bound of ‖rest‖ is returned. */
static float round_query(const struct editor__key_index *index, const float *v, struct editor__scan_query *q)
{
	const size_t half = 4 * index->group_count;
	const float scale = largest_of(v, index->width) / 127, inverse = inverse_of(scale);
	double error = 0;
	q->scale = inverse > 0 ? scale : 0;
	q->sum = 0;
	for (size_t i = 0; i < index->width; i++) {
		const float whole = nearest(v[i] * inverse);
		const double rest = (double)v[i] - (double)q->scale * (double)whole;
		error += rest * rest;
		q->sum += (int32_t)whole;
		*(i < half ? q->lower + i : q->upper + i - half) = (int8_t)whole;
	}
	return rounded_up(sqrt(error));
}

/* `room` for two rows, zeros. */
static void init_query(const struct editor__key_index *index, struct query *q, int8_t *room)
{
	q->scan.lower = room;
	q->scan.upper = room + row_bytes(index);
	const float error = round_query(index, q->key, &q->scan);
	q->scan.length = length_of(q->key, index->width);
	/* editor__dot makes sums of width / 8 + 7 terms and adds eight of them, the bound takes a few roundings: each
	 * is at most 2^-24 of ‖q‖‖k‖; twice that */
	const double length = (double)q->scan.length + (double)error, longest = (double)index->length_max;
	const double rounding = (double)(index->width / 8 + 32) * 0x1p-23 * length * longest;
	q->scan.slack = rounded_up((double)error * longest + rounding + 1e-30);
}

static void fetch(const void *from, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += ALIGN)
		__builtin_prefetch((const uint8_t *)from + i);
}

static float last_of(const struct editor__candidate *best, size_t count)
{
	return count == EDITOR_CANDIDATES ? best[count - 1].score : -INFINITY;
}

static void offer(const struct query *q, size_t at, struct editor__candidate *likely, size_t *count)
{
	if (q->estimates[at] > last_of(likely, *count))
		editor__candidate_keep(likely, count, at, q->estimates[at]);
}

/* The keys with the largest estimates: they are in the blocks whose largest estimates are the largest. */
static size_t likeliest(const struct editor__key_index *index, const struct query *q, struct editor__candidate *likely)
{
	struct editor__candidate blocks[EDITOR_CANDIDATES];
	size_t block_count = 0, count = 0;
	for (size_t b = 0; b < block_count_of(index->count); b++) {
		if (q->tops[b].estimate > last_of(blocks, block_count))
			editor__candidate_keep(blocks, &block_count, b, q->tops[b].estimate);
	}
	const float least = last_of(blocks, block_count); /* each of these blocks has a key that reaches it */
	for (size_t b = 0; b < block_count; b++) {
		const size_t first = blocks[b].entry * EDITOR__SCAN_KEYS;
		for (size_t i = first; i < first + EDITOR__SCAN_KEYS && i < index->count; i++) {
			if (q->estimates[i] >= least)
				offer(q, i, likely, &count);
		}
	}
	return count;
}

/* Scores of `count` keys; none waits for another, so that the processor is at several of them at once. */
static void score_all(const struct editor__key_index *index, const struct query *q, const uint32_t *entries,
		      size_t count, float *scores)
{
	const size_t bytes = index->width * sizeof(float);
	for (size_t i = 0; i < count; i++) {
		if (i + 1 < count)
			fetch(key_at(index, entries[i + 1]), bytes);
		scores[i] = editor__dot(q->key, key_at(index, entries[i]), index->width);
	}
}

/* A score that EDITOR_CANDIDATES keys reach, if there are as many: nearly the best such score where they are the
 * likeliest. */
static float bar_of(const struct editor__key_index *index, const struct query *q,
		    const struct editor__candidate *likely, size_t count)
{
	uint32_t entries[EDITOR_CANDIDATES] = { 0 };
	float scores[EDITOR_CANDIDATES], least = INFINITY;
	for (size_t i = 0; i < count; i++)
		entries[i] = (uint32_t)likely[i].entry;
	score_all(index, q, entries, count, scores);
	for (size_t i = 0; i < count; i++)
		least = scores[i] < least ? scores[i] : least;
	return count == EDITOR_CANDIDATES ? least : -INFINITY;
}

static float bound_of(const struct query *q, float estimate, float error)
{
	return estimate + q->scan.length * error + q->scan.slack;
}

static const float *errors_at(const struct editor__key_index *index, size_t first)
{
	const uint8_t *block = index->pieces[first / PIECE_KEYS].blocks +
			       first % PIECE_KEYS / EDITOR__SCAN_KEYS * block_bytes(index);
	return (const float *)(const void *)(block + block_bytes(index)) - EDITOR__SCAN_KEYS;
}

/* Entries whose bounds reach the bar, in order, into q->left. */
static size_t left_of(const struct editor__key_index *index, const struct query *q, float bar)
{
	size_t count = 0;
	for (size_t first = 0; first < index->count; first += EDITOR__SCAN_KEYS) {
		if (q->tops[first / EDITOR__SCAN_KEYS].bound < bar)
			continue;
		const float *errors = errors_at(index, first);
		for (size_t i = 0; i < EDITOR__SCAN_KEYS && first + i < index->count; i++) {
			q->left[count] = (uint32_t)(first + i);
			count += bound_of(q, q->estimates[first + i], errors[i]) >= bar ? 1 : 0;
		}
	}
	return count;
}

static uint8_t *row_at(const struct editor__key_index *index, size_t at)
{
	return index->pieces[at / PIECE_KEYS].rows + at % PIECE_KEYS * row_bytes(index);
}

/* By all eight bits now. */
static void refine(const struct editor__key_index *index, const struct query *q, size_t at)
{
	const uint8_t *row = row_at(index, at);
	const int32_t twice = 2 * index->kernel->fine(row, row_bytes(index), &q->scan) - 15 * q->scan.sum;
	q->estimates[at] += q->scan.scale * tail_of(index, row)->scale * (0.5f * (float)twice);
}

/* Of the first `count` in q->left, refined, those whose bounds reach the bar. */
static size_t still_left_of(const struct editor__key_index *index, const struct query *q, size_t count, float bar)
{
	size_t kept = 0;
	for (size_t i = 0; i < count; i++) {
		const uint32_t at = q->left[i];
		if (i + ROWS_AHEAD < count)
			fetch(row_at(index, q->left[i + ROWS_AHEAD]), row_bytes(index));
		refine(index, q, at);
		q->left[kept] = at;
		kept += bound_of(q, q->estimates[at], tail_of(index, row_at(index, at))->error) >= bar ? 1 : 0;
	}
	return kept;
}

/* What the bounds leave, in order of entries; the estimates have done their duty and make room for the scores. */
static void score_left(const struct editor__key_index *index, const struct query *q, size_t count)
{
	score_all(index, q, q->left, count, q->estimates);
	for (size_t i = 0; i < count; i++)
		editor__candidate_keep(q->best, q->count, q->left[i], q->estimates[i]);
}

/* The same for many: a better bar first. */
static size_t fewer_left_of(const struct editor__key_index *index, const struct query *q, size_t count)
{
	struct editor__candidate likely[EDITOR_CANDIDATES] = { { 0 } };
	size_t likely_count = 0, kept = 0;
	for (size_t i = 0; i < count; i++)
		offer(q, q->left[i], likely, &likely_count);
	const float bar = bar_of(index, q, likely, likely_count);
	for (size_t i = 0; i < count; i++) {
		const uint32_t at = q->left[i];
		q->left[kept] = at;
		kept += bound_of(q, q->estimates[at], tail_of(index, row_at(index, at))->error) >= bar ? 1 : 0;
	}
	return kept;
}

static void search_scanned(const struct editor__key_index *index, const struct query *q)
{
	struct editor__candidate likely[EDITOR_CANDIDATES] = { { 0 } };
	const float bar = bar_of(index, q, likely, likeliest(index, q, likely));
	size_t count = still_left_of(index, q, left_of(index, q, bar), bar);
	if (count > PLAIN_KEYS)
		count = fewer_left_of(index, q, count);
	score_left(index, q, count);
}

static void search_plainly(const struct editor__key_index *index, const struct query *q)
{
	for (size_t i = 0; i < index->count; i++)
		editor__candidate_keep(q->best, q->count, i, editor__dot(q->key, key_at(index, i), index->width));
}

static bool is_bound_of_use(const struct editor__key_index *index, const float *query)
{
	return index->count > PLAIN_KEYS && index->unbounded_count == 0 && is_bounded(query, index->width);
}

static void scan(const struct editor__key_index *index, const struct query *q)
{
	for (size_t first = 0; first < index->count; first += PIECE_KEYS) {
		const size_t left = index->count - first, keys = left < PIECE_KEYS ? left : PIECE_KEYS;
		index->kernel->coarse(index->pieces[first / PIECE_KEYS].blocks, block_count_of(keys),
				      index->group_count, &q->scan, q->estimates + first,
				      q->tops + first / EDITOR__SCAN_KEYS);
	}
}

int editor__key_index_search(const struct editor__key_index *index, const float *query, struct editor__candidate *best,
			     size_t *count)
{
	struct query q = { .key = query, .best = best, .count = count };
	*count = 0;
	if (!is_bound_of_use(index, query)) {
		search_plainly(index, &q);
		return 0;
	}
	const size_t blocks = block_count_of(index->count), keys = blocks * EDITOR__SCAN_KEYS;
	uint8_t *memory = fault_malloc(keys * (sizeof(*q.estimates) + sizeof(*q.left)) + blocks * sizeof(*q.tops) +
				       2 * row_bytes(index));
	if (memory == NULL)
		return ERR_NOMEM;
	q.estimates = (float *)(void *)memory;
	q.tops = (struct editor__scan_top *)(void *)(q.estimates + keys);
	q.left = (uint32_t *)(void *)(q.tops + blocks);
	init_query(index, &q, memset(q.left + keys, 0, 2 * row_bytes(index)));
	scan(index, &q);
	search_scanned(index, &q);
	free(memory);
	return 0;
}
