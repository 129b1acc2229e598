/* The bounds. A key k is held in 8 bits a component, u in [0, 255], and is near s·b, b = u − 127.5; with only the upper
 * four bits h of u it is near s·b, b = 16·h − 120. The error ‖k − s·b‖ of either is measured as the key is added; a
 * query q is held likewise as s'·b', b' in [−127, 127]. By Cauchy-Schwarz
 *   q·k ≤ s'·s·(b'·b) + ‖q‖·‖k − s·b‖ + ‖q − s'·b'‖·‖s·b‖
 * where b'·b comes from exact integers. Bounds are rounded up, and `slack` has room for the rounding of float32 in
 * these sums and in editor__dot. So a key whose bound lies below what a key must reach is not asked for.
 *
 * All keys are bounded by their upper four bits, the likeliest are scored, and say what a key must reach. What that
 * leaves is bounded by eight bits, and what these leave is scored. Scores themselves only ever come from editor__dot's
 * sum. */
#include "editor/key_index_internal.h"

#include "base/fault.h"

#include <stdlib.h>
#include <string.h>

#define PLAIN_KEYS (4 * EDITOR_CANDIDATES) /* fewer are scored faster than bounded */
#define LIKELY     (2 * EDITOR_NEAREST)
#define SCORED     32u /* so many are scored by one call */
#define LISTED     64u /* rows read by one call */

/* editor__candidate_keep, of the best `most`. */
static void keep(struct editor__candidate *best, size_t *count, size_t most, size_t entry, float score)
{
	size_t at = *count;
	if (at == most) {
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

void editor__candidate_keep(struct editor__candidate *best, size_t *count, size_t entry, float score)
{
	keep(best, count, EDITOR_CANDIDATES, entry, score);
}

struct query {
	const float *key;
	float least; /* what candidates behind the nearest must reach */
	struct editor__scan_query scan;
	float *bounds;  /* room for one of every key, in whole blocks */
	float *tops;    /* of each block */
	uint32_t *left; /* room for every key */
	struct editor__candidate *best;
	size_t *count;
};

static size_t block_count_of(size_t key_count)
{
	return (key_count + EDITOR__SCAN_KEYS - 1) / EDITOR__SCAN_KEYS;
}

/* q = scale · bytes + remainder; the upper bound of ‖remainder‖ is returned. */
static float round_query(const struct editor__key_index *index, const float *v, struct editor__scan_query *q)
{
	const size_t half = 4 * index->group_count;
	const float scale = editor__largest(v, index->width) / 127, inverse = editor__inverse(scale);
	int8_t bytes[EDITOR_HIDDEN_MAX];
	int32_t sum = 0;
	double error = 0;
	q->scale = inverse > 0 ? scale : 0;
	memset(bytes, 0, 2 * half);
#pragma omp simd reduction(+ : error, sum)
	for (size_t i = 0; i < index->width; i++) {
		const float whole = editor__nearest(v[i] * inverse);
		const double remainder = (double)v[i] - (double)q->scale * (double)whole;
		error += remainder * remainder;
		sum += (int32_t)whole;
		bytes[i] = (int8_t)whole;
	}
	q->sum = sum;
	memcpy(q->lower, bytes, half);
	memcpy(q->upper, bytes + half, half);
	return editor__rounded_up(sqrt(error));
}

/* `room` for two rows, zeros. */
static void init_query(const struct editor__key_index *index, struct query *q, int8_t *room)
{
	q->scan.lower = room;
	q->scan.upper = room + editor__row_bytes(index);
	const float error = round_query(index, q->key, &q->scan);
	q->scan.length = editor__length(q->key, index->width);
	/* editor__dot makes sums of width / 8 + 7 terms and adds eight of them, the bound takes a few roundings: each
	 * is at most 2^-24 of ‖q‖‖k‖; twice that */
	const double length = (double)q->scan.length + (double)error, longest = (double)index->length_max;
	const double rounding = (double)(index->width / 8 + 32) * 0x1p-23 * length * longest;
	q->scan.slack = editor__rounded_up((double)error * longest + rounding + 1e-30);
}

/* ---- All keys */

/* Every second time from the end: what the last search read last is still in the second-level cache. */
static void bound_all(const struct editor__key_index *index, const struct query *q)
{
	static _Thread_local bool backwards;
	const size_t pieces = (index->count + EDITOR__PIECE_KEYS - 1) / EDITOR__PIECE_KEYS;
	backwards = !backwards;
	for (size_t p = 0; p < pieces; p++) {
		const size_t first = (backwards ? pieces - 1 - p : p) * EDITOR__PIECE_KEYS;
		const size_t left = index->count - first;
		index->kernel->blocks(editor__block_at(index, first),
				      block_count_of(left < EDITOR__PIECE_KEYS ? left : EDITOR__PIECE_KEYS),
				      index->group_count, &q->scan, q->bounds + first,
				      q->tops + first / EDITOR__SCAN_KEYS);
	}
}

/* Which keys of the block from `first` on have a bound that reaches `bar`. */
static uint32_t reaching(const struct editor__key_index *index, const struct query *q, size_t first, float bar)
{
	const size_t count = index->count - first;
	const uint32_t all = index->kernel->reach(q->bounds + first, bar);
	return count < EDITOR__SCAN_KEYS ? all & ((1u << count) - 1) : all;
}

/* Entries whose bounds reach the bar, in order, into q->left. */
static size_t left_of(const struct editor__key_index *index, const struct query *q, float bar)
{
	size_t count = 0;
	for (size_t first = 0; first < index->count; first += EDITOR__SCAN_KEYS) {
		if (q->tops[first / EDITOR__SCAN_KEYS] < bar)
			continue;
		for (uint32_t keys = reaching(index, q, first, bar); keys != 0; keys &= keys - 1)
			q->left[count++] = (uint32_t)(first + (size_t)__builtin_ctz(keys));
	}
	return count;
}

/* ---- What a key must reach */

/* Scores of the keys `entries`, or where that is NULL of the `count` keys from `first` on. */
static void score_all(const struct editor__key_index *index, const struct query *q, const uint32_t *entries,
		      size_t first, size_t count, float *scores)
{
	const float *keys[SCORED];
	for (size_t from = 0; from < count; from += SCORED) {
		const size_t keys_count = count - from < SCORED ? count - from : SCORED;
		for (size_t i = 0; i < keys_count; i++)
			keys[i] = editor__key_at(index, entries != NULL ? entries[from + i] : first + from + i);
		index->kernel->score(q->key, keys, keys_count, index->width, scores + from);
	}
}

/* A score that `most` of the keys `entries` reach. */
static float reached_by(const struct editor__key_index *index, const struct query *q, const uint32_t *entries,
			size_t count, size_t most)
{
	struct editor__candidate best[EDITOR_CANDIDATES];
	float scores[EDITOR_CANDIDATES];
	size_t best_count = 0;
	score_all(index, q, entries, 0, count, scores);
	for (size_t i = 0; i < count; i++)
		keep(best, &best_count, most, entries[i], scores[i]);
	return best_count == most ? best[most - 1].score : -INFINITY;
}

static size_t likeliest_of_block(const struct query *q, size_t first)
{
	size_t at = first;
	for (size_t i = first; i < first + EDITOR__SCAN_KEYS; i++)
		at = q->bounds[i] > q->bounds[at] ? i : at;
	return at;
}

/* What a key must reach that is asked for or among the nearest: by the scores of some likely ones. */
static float bar_of(const struct editor__key_index *index, const struct query *q)
{
	struct editor__candidate blocks[LIKELY];
	uint32_t entries[LIKELY];
	size_t block_count = 0;
	/* in the last block keys may be missing, which are zeros */
	for (size_t b = 0; b < index->count / EDITOR__SCAN_KEYS; b++)
		keep(blocks, &block_count, LIKELY, b, q->tops[b]);
	for (size_t b = 0; b < block_count; b++)
		entries[b] = (uint32_t)likeliest_of_block(q, blocks[b].entry * EDITOR__SCAN_KEYS);
	const float nearest = reached_by(index, q, entries, block_count, EDITOR_NEAREST);
	return q->least < nearest ? q->least : nearest;
}

/* ---- Closer bounds */

/* By the low halves as well, of `count` keys, at most LISTED. */
static void bound_closer(const struct editor__key_index *index, const struct query *q, const uint32_t *entries,
			 size_t count)
{
	const uint8_t *rows[LISTED];
	int32_t dots[LISTED];
	for (size_t i = 0; i < count; i++)
		rows[i] = editor__row_at(index, entries[i]);
	index->kernel->rows(rows, count, editor__row_bytes(index), q->scan.lower, q->scan.upper, dots);
	for (size_t i = 0; i < count; i++) {
		const size_t at = entries[i], lane = at % EDITOR__SCAN_KEYS;
		const struct editor__scan_tail *tail = editor__row_tail(index, rows[i]);
		const float high = q->bounds[at] -
				   editor__scan_doubt(&q->scan, editor__tails_at(index, at)->error[lane]);
		const float low = q->scan.scale * tail->scale * (0.5f * (float)(2 * dots[i] - 15 * q->scan.sum));
		q->bounds[at] = high + low + editor__scan_doubt(&q->scan, tail->error);
	}
}

/* Of the first `count` in q->left those whose bounds reach the bar. */
static size_t still_left_of(const struct query *q, size_t count, float bar)
{
	size_t kept = 0;
	for (size_t i = 0; i < count; i++) {
		const uint32_t at = q->left[i];
		q->left[kept] = at;
		kept += q->bounds[at] >= bar ? 1 : 0;
	}
	return kept;
}

/* Of more than can be scored quickly those that may be among the best EDITOR_CANDIDATES, by the scores of the
 * likeliest. */
static size_t nearest_left_of(const struct editor__key_index *index, const struct query *q, size_t count)
{
	struct editor__candidate likely[EDITOR_CANDIDATES];
	uint32_t entries[EDITOR_CANDIDATES];
	size_t likely_count = 0;
	if (count <= PLAIN_KEYS)
		return count;
	for (size_t i = 0; i < count; i++)
		editor__candidate_keep(likely, &likely_count, q->left[i], q->bounds[q->left[i]]);
	for (size_t i = 0; i < likely_count; i++)
		entries[i] = (uint32_t)likely[i].entry;
	return still_left_of(q, count, reached_by(index, q, entries, likely_count, EDITOR_CANDIDATES));
}

static void search_bounded(const struct editor__key_index *index, const struct query *q)
{
	bound_all(index, q);
	const float bar = bar_of(index, q);
	size_t count = nearest_left_of(index, q, left_of(index, q, bar));
	for (size_t from = 0; from < count; from += LISTED)
		bound_closer(index, q, q->left + from, count - from < LISTED ? count - from : LISTED);
	count = nearest_left_of(index, q, still_left_of(q, count, bar));
	/* the bounds have done their duty and make room for the scores */
	score_all(index, q, q->left, 0, count, q->bounds);
	for (size_t i = 0; i < count; i++)
		editor__candidate_keep(q->best, q->count, q->left[i], q->bounds[i]);
}

static void search_plainly(const struct editor__key_index *index, const struct query *q)
{
	float scores[SCORED];
	for (size_t first = 0; first < index->count; first += SCORED) {
		const size_t left = index->count - first, count = left < SCORED ? left : SCORED;
		score_all(index, q, NULL, first, count, scores);
		for (size_t i = 0; i < count; i++)
			editor__candidate_keep(q->best, q->count, first + i, scores[i]);
	}
}

static bool is_bound_of_use(const struct editor__key_index *index, const float *query)
{
	return index->count > PLAIN_KEYS && index->unbounded_count == 0 && editor__is_bounded(query, index->width);
}

static int search(const struct editor__key_index *index, struct query *q)
{
	if (!is_bound_of_use(index, q->key)) {
		search_plainly(index, q);
		return 0;
	}
	const size_t blocks = block_count_of(index->count), keys = blocks * EDITOR__SCAN_KEYS;
	uint8_t *memory = fault_malloc(keys * (sizeof(*q->bounds) + sizeof(*q->left)) + blocks * sizeof(*q->tops) +
				       2 * editor__row_bytes(index));
	if (memory == NULL)
		return ERR_NOMEM;
	q->bounds = (float *)(void *)memory;
	q->tops = q->bounds + keys;
	q->left = (uint32_t *)(void *)(q->tops + blocks);
	init_query(index, q, memset(q->left + keys, 0, 2 * editor__row_bytes(index)));
	search_bounded(index, q);
	free(memory);
	return 0;
}

int editor__key_index_search(const struct editor__key_index *index, const float *query, float least,
			     struct editor__candidate *best, size_t *count)
{
	struct query q = { .key = query, .least = least, .best = best, .count = count };
	*count = 0;
	int rc = search(index, &q);
	while (*count > EDITOR_NEAREST && best[*count - 1].score < least)
		(*count)--;
	return rc;
}
