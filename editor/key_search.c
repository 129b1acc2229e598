/* The bounds. A key k is held in 8 bits a component, u in [0, 255], and is near s·b, b = u − 127.5; with only the upper
 * four bits h of u it is near s·b, b = 16·h − 120. The error ‖k − s·b‖ of either is measured as the key is added; a
 * query q is held likewise as s'·b', b' in [−127, 127]. By Cauchy-Schwarz
 *   q·k ≤ s'·s·(b'·b) + ‖q‖·‖k − s·b‖ + ‖q − s'·b'‖·‖s·b‖
 * where b'·b comes from exact integers. Bounds are rounded up, and `slack` has room for the rounding of float32 in this
 * sum and in editor__dot. So a key whose bound lies below EDITOR_CANDIDATES scores that were reached is none of the
 * best. All keys are bounded by four bits, which is what a search reads of them; those that remain by eight; what
 * remains then is scored. Scores themselves only ever come from editor__dot. */
#include "editor/key_index_internal.h"

#include "base/fault.h"

#include <stdlib.h>
#include <string.h>

#define PLAIN_KEYS (4 * EDITOR_CANDIDATES) /* fewer are scored faster than bounded */
#define SCORED     32u                     /* so many are scored by one call */
#define ROWS_AHEAD 6u                      /* fetched while others are bounded */

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

struct query {
	const float *key;
	struct editor__scan_query scan;
	float *estimates;                                  /* room for one of every key, in whole blocks */
	struct editor__scan_top *tops;                     /* of each block */
	uint32_t *left;                                    /* room for every key */
	struct editor__candidate known[EDITOR_CANDIDATES]; /* keys that were scored, in order of entries */
	size_t known_count;
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
	const float scale = editor__largest(v, index->width) / 127, inverse = editor__inverse(scale);
	double error = 0;
	q->scale = inverse > 0 ? scale : 0;
	q->sum = 0;
	for (size_t i = 0; i < index->width; i++) {
		const float whole = editor__nearest(v[i] * inverse);
		const double rest = (double)v[i] - (double)q->scale * (double)whole;
		error += rest * rest;
		q->sum += (int32_t)whole;
		*(i < half ? q->lower + i : q->upper + i - half) = (int8_t)whole;
	}
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

static void fetch(const void *from, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += EDITOR__SCAN_ALIGN)
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

/* A score that EDITOR_CANDIDATES keys reach, if there are as many: nearly the best such score where they are the
 * likeliest. Their scores are known from then on. */
static float bar_of(const struct editor__key_index *index, struct query *q, const struct editor__candidate *likely,
		    size_t count)
{
	uint32_t entries[EDITOR_CANDIDATES] = { 0 };
	float scores[EDITOR_CANDIDATES], least = INFINITY;
	for (size_t i = 0; i < count; i++) {
		size_t at = i;
		for (; at > 0 && entries[at - 1] > likely[i].entry; at--)
			entries[at] = entries[at - 1];
		entries[at] = (uint32_t)likely[i].entry;
	}
	score_all(index, q, entries, 0, count, scores);
	for (size_t i = 0; i < count; i++) {
		q->known[i] = (struct editor__candidate){ .entry = entries[i], .score = scores[i] };
		least = scores[i] < least ? scores[i] : least;
	}
	q->known_count = count;
	return count == EDITOR_CANDIDATES ? least : -INFINITY;
}

static float bound_of(const struct query *q, float estimate, float error)
{
	return estimate + q->scan.length * error + q->scan.slack;
}

static const float *errors_at(const struct editor__key_index *index, size_t first)
{
	const uint8_t *block = index->pieces[first / EDITOR__PIECE_KEYS].blocks +
			       first % EDITOR__PIECE_KEYS / EDITOR__SCAN_KEYS * editor__block_bytes(index);
	return (const float *)(const void *)(block + editor__block_bytes(index)) - EDITOR__SCAN_KEYS;
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

/* By all eight bits now. */
static void refine(const struct editor__key_index *index, const struct query *q, size_t at)
{
	const uint8_t *row = editor__row_at(index, at);
	const int32_t twice = 2 * index->kernel->fine(row, editor__row_bytes(index), &q->scan) - 15 * q->scan.sum;
	q->estimates[at] += q->scan.scale * editor__row_tail(index, row)->scale * (0.5f * (float)twice);
}

/* Of the first `count` in q->left, refined, those whose bounds reach the bar. */
static size_t still_left_of(const struct editor__key_index *index, const struct query *q, size_t count, float bar)
{
	size_t kept = 0;
	for (size_t i = 0; i < count; i++) {
		const uint32_t at = q->left[i];
		if (i + ROWS_AHEAD < count)
			fetch(editor__row_at(index, q->left[i + ROWS_AHEAD]), editor__row_bytes(index));
		refine(index, q, at);
		q->left[kept] = at;
		kept += bound_of(q, q->estimates[at], editor__row_tail(index, editor__row_at(index, at))->error) >= bar
				? 1
				: 0;
	}
	return kept;
}

/* Of the first `count` in q->left those whose scores are not known. */
static size_t unknown_of(const struct query *q, size_t count)
{
	size_t known = 0, kept = 0;
	for (size_t i = 0; i < count; i++) {
		const uint32_t at = q->left[i];
		while (known < q->known_count && q->known[known].entry < at)
			known++;
		q->left[kept] = at;
		kept += known == q->known_count || q->known[known].entry != at ? 1 : 0;
	}
	return kept;
}

/* What the bounds leave, in order of entries; the estimates have done their duty and make room for the scores. */
static void score_left(const struct editor__key_index *index, const struct query *q, size_t count)
{
	const size_t unknown = unknown_of(q, count);
	size_t known = 0;
	score_all(index, q, q->left, 0, unknown, q->estimates);
	for (size_t i = 0; i <= unknown; i++) {
		for (; known < q->known_count && (i == unknown || q->known[known].entry < q->left[i]); known++)
			editor__candidate_keep(q->best, q->count, q->known[known].entry, q->known[known].score);
		if (i < unknown)
			editor__candidate_keep(q->best, q->count, q->left[i], q->estimates[i]);
	}
}

/* The same for many: a better bar first. */
static size_t fewer_left_of(const struct editor__key_index *index, struct query *q, size_t count)
{
	struct editor__candidate likely[EDITOR_CANDIDATES] = { { 0 } };
	size_t likely_count = 0, kept = 0;
	for (size_t i = 0; i < count; i++)
		offer(q, q->left[i], likely, &likely_count);
	const float bar = bar_of(index, q, likely, likely_count);
	for (size_t i = 0; i < count; i++) {
		const uint32_t at = q->left[i];
		q->left[kept] = at;
		kept += bound_of(q, q->estimates[at], editor__row_tail(index, editor__row_at(index, at))->error) >= bar
				? 1
				: 0;
	}
	return kept;
}

static void search_scanned(const struct editor__key_index *index, struct query *q)
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

static void scan(const struct editor__key_index *index, const struct query *q)
{
	for (size_t first = 0; first < index->count; first += EDITOR__PIECE_KEYS) {
		const size_t left = index->count - first, keys = left < EDITOR__PIECE_KEYS ? left : EDITOR__PIECE_KEYS;
		index->kernel->coarse(index->pieces[first / EDITOR__PIECE_KEYS].blocks, block_count_of(keys),
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
				       2 * editor__row_bytes(index));
	if (memory == NULL)
		return ERR_NOMEM;
	q.estimates = (float *)(void *)memory;
	q.tops = (struct editor__scan_top *)(void *)(q.estimates + keys);
	q.left = (uint32_t *)(void *)(q.tops + blocks);
	init_query(index, &q, memset(q.left + keys, 0, 2 * editor__row_bytes(index)));
	scan(index, &q);
	search_scanned(index, &q);
	free(memory);
	return 0;
}
