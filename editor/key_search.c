/* The bounds. A key k is held in 8 bits a component, u in [0, 255], and is near s·b, b = u − 127.5; with only the upper
 * four bits h of u it is near s·b, b = 16·h − 120. The error ‖k − s·b‖ of either is measured as the key is added; a
 * query q is held likewise as s'·b', b' in [−127, 127]. By Cauchy-Schwarz
 *   q·k ≤ s'·s·(b'·b) + ‖q‖·‖k − s·b‖ + ‖q − s'·b'‖·‖s·b‖
 * where b'·b comes from exact integers. The sum may be split: with q1, k1 the first components of both (key_scan.h's
 * front) and q2, k2 the others (the rest),
 *   q·k ≤ s'·s·(b1'·b1) + ‖q1‖·‖k1 − s·b1‖ + ‖q − s'·b'‖·‖s·b‖ + ‖q2‖·‖k2‖
 * and once b2 is read, ‖q2‖·‖k2‖ gives way to s'·s·(b2'·b2) + ‖q2‖·‖k2 − s·b2‖. Bounds are rounded up, and `slack` has
 * room for the rounding of float32 in these sums and in editor__dot. So a key whose bound lies below EDITOR_CANDIDATES
 * scores that were reached is none of the best.
 *
 * All keys are bounded by the upper four bits of their fronts. Where many keys are much like the query that leaves few,
 * and the rests of these are read; else the rests of all. What remains then is bounded by eight bits, and what that
 * leaves is scored. Scores themselves only ever come from editor__dot's sum. */
#include "editor/key_index_internal.h"

#include "base/fault.h"

#include <stdlib.h>
#include <string.h>

#define PLAIN_KEYS (4 * EDITOR_CANDIDATES) /* fewer are scored faster than bounded */
#define SCORED     32u                     /* so many are scored by one call */
#define LISTED     64u                     /* rows read by one call */
#define FEW        4u                      /* one key of so many may be left by bounds of fronts alone */

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
	float *estimates, *bounds;                         /* room for one of every key, in whole blocks */
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

/* The query's bytes of a part with 2 × `half` components, and their sum. */
static int32_t split_bytes(const int8_t *bytes, size_t half, int8_t *lower, int8_t *upper)
{
	int32_t sum = 0;
	memcpy(lower, bytes, half);
	memcpy(upper, bytes + half, half);
	for (size_t i = 0; i < 2 * half; i++)
		sum += bytes[i];
	return sum;
}

/* q = scale · bytes + remainder; the upper bound of ‖remainder‖ is returned. */
static float round_query(const struct editor__key_index *index, const float *v, struct editor__scan_query *q)
{
	const size_t front_bytes = 4 * index->front_groups;
	const float scale = editor__largest(v, index->width) / 127, inverse = editor__inverse(scale);
	int8_t bytes[EDITOR_HIDDEN_MAX];
	double error = 0;
	q->scale = inverse > 0 ? scale : 0;
	memset(bytes, 0, 8 * index->group_count);
#pragma omp simd reduction(+ : error)
	for (size_t i = 0; i < index->width; i++) {
		const float whole = editor__nearest(v[i] * inverse);
		const double remainder = (double)v[i] - (double)q->scale * (double)whole;
		error += remainder * remainder;
		bytes[i] = (int8_t)whole;
	}
	q->front_sum = split_bytes(bytes, front_bytes, q->lower, q->upper);
	q->rest_sum =
		split_bytes(bytes + 2 * front_bytes, index->rest_bytes, q->lower + front_bytes, q->upper + front_bytes);
	return editor__rounded_up(sqrt(error));
}

/* `room` for two rows, zeros. */
static void init_query(const struct editor__key_index *index, struct query *q, int8_t *room)
{
	const size_t front_width = editor__front_width(index);
	q->scan.lower = room;
	q->scan.upper = room + editor__row_bytes(index);
	const float error = round_query(index, q->key, &q->scan);
	q->scan.length = editor__length(q->key, index->width);
	q->scan.front_length = editor__length(q->key, front_width);
	q->scan.rest_length = editor__length(q->key + front_width, index->width - front_width);
	/* editor__dot makes sums of width / 8 + 7 terms and adds eight of them, the bound takes a few roundings: each
	 * is at most 2^-24 of ‖q‖‖k‖; twice that */
	const double length = (double)q->scan.length + (double)error, longest = (double)index->length_max;
	const double rounding = (double)(index->width / 8 + 32) * 0x1p-23 * length * longest;
	q->scan.slack = editor__rounded_up((double)error * longest + rounding + 1e-30);
}

/* ---- Passes over all keys */

static size_t blocks_from(const struct editor__key_index *index, size_t first)
{
	const size_t left = index->count - first;
	return block_count_of(left < EDITOR__PIECE_KEYS ? left : EDITOR__PIECE_KEYS);
}

static void scan_fronts(const struct editor__key_index *index, const struct query *q)
{
	for (size_t first = 0; first < index->count; first += EDITOR__PIECE_KEYS)
		index->kernel->fronts(editor__block_at(index, first), blocks_from(index, first), index->front_groups,
				      &q->scan, q->estimates + first, q->bounds + first,
				      q->tops + first / EDITOR__SCAN_KEYS);
}

static void scan_rests(const struct editor__key_index *index, const struct query *q)
{
	for (size_t first = 0; first < index->count; first += EDITOR__PIECE_KEYS)
		index->kernel->rests(editor__block_at(index, first), editor__rest_at(index, first),
				     blocks_from(index, first), index->front_groups, index->rest_bytes, &q->scan,
				     q->estimates + first, q->bounds + first, q->tops + first / EDITOR__SCAN_KEYS);
}

/* ---- The likeliest */

static float last_of(const struct editor__candidate *best, size_t count)
{
	return count == EDITOR_CANDIDATES ? best[count - 1].score : -INFINITY;
}

static void offer(const struct query *q, size_t at, struct editor__candidate *likely, size_t *count)
{
	if (q->estimates[at] > last_of(likely, *count))
		editor__candidate_keep(likely, count, at, q->estimates[at]);
}

/* Which keys of the block from `first` on have such a value, of `values` of all keys. */
static uint32_t reaching(const struct editor__key_index *index, const float *values, size_t first, float least)
{
	const size_t count = index->count - first;
	const uint32_t all = index->kernel->reach(values + first, least);
	return count < EDITOR__SCAN_KEYS ? all & ((1u << count) - 1) : all;
}

/* The blocks whose largest estimates are the largest: the keys with the largest estimates are in them. */
static size_t likeliest_blocks(const struct editor__key_index *index, const struct query *q,
			       struct editor__candidate *blocks)
{
	size_t count = 0;
	for (size_t b = 0; b < block_count_of(index->count); b++) {
		if (q->tops[b].estimate > last_of(blocks, count))
			editor__candidate_keep(blocks, &count, b, q->tops[b].estimate);
	}
	return count;
}

static size_t likeliest(const struct editor__key_index *index, const struct query *q,
			const struct editor__candidate *blocks, size_t block_count, struct editor__candidate *likely)
{
	const float least = last_of(blocks, block_count); /* each of these blocks has a key that reaches it */
	size_t count = 0;
	for (size_t b = 0; b < block_count; b++) {
		const size_t first = blocks[b].entry * EDITOR__SCAN_KEYS;
		for (uint32_t keys = reaching(index, q->estimates, first, least); keys != 0; keys &= keys - 1)
			offer(q, first + (size_t)__builtin_ctz(keys), likely, &count);
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

/* Entries whose bounds reach the bar, in order, into q->left. */
static size_t left_of(const struct editor__key_index *index, const struct query *q, float bar)
{
	size_t count = 0;
	for (size_t first = 0; first < index->count; first += EDITOR__SCAN_KEYS) {
		if (q->tops[first / EDITOR__SCAN_KEYS].bound < bar)
			continue;
		for (uint32_t keys = reaching(index, q->bounds, first, bar); keys != 0; keys &= keys - 1)
			q->left[count++] = (uint32_t)(first + (size_t)__builtin_ctz(keys));
	}
	return count;
}

/* ---- Closer bounds */

/* What keys that are left are known by besides: adds it to the estimates of `count` of them, at most LISTED. */
typedef void add_bits(const struct editor__key_index *index, const struct query *q, const uint32_t *entries,
		      size_t count);

/* High halves of the rests. */
static void add_rests(const struct editor__key_index *index, const struct query *q, const uint32_t *entries,
		      size_t count)
{
	const size_t front_bytes = 4 * index->front_groups;
	const uint8_t *rows[LISTED];
	int32_t dots[LISTED];
	for (size_t i = 0; i < count; i++)
		rows[i] = editor__rest_at(index, entries[i]);
	index->kernel->rows(rows, count, index->rest_bytes, q->scan.lower + front_bytes, q->scan.upper + front_bytes,
			    dots);
	for (size_t i = 0; i < count; i++) {
		const size_t at = entries[i], lane = at % EDITOR__SCAN_KEYS;
		const struct editor__scan_tails *tails = editor__tails_at(index, at);
		q->estimates[at] += editor__scan_estimate(&q->scan, tails->scale[lane], dots[i], q->scan.rest_sum);
		q->bounds[at] = editor__scan_bound(&q->scan, q->estimates[at], tails->front_error[lane],
						   tails->rest_error[lane]);
	}
}

/* Low halves of all components. */
static void add_lows(const struct editor__key_index *index, const struct query *q, const uint32_t *entries,
		     size_t count)
{
	const uint8_t *rows[LISTED];
	int32_t dots[LISTED];
	for (size_t i = 0; i < count; i++)
		rows[i] = editor__row_at(index, entries[i]);
	index->kernel->rows(rows, count, editor__row_bytes(index), q->scan.lower, q->scan.upper, dots);
	for (size_t i = 0; i < count; i++) {
		const struct editor__scan_tail *tail = editor__row_tail(index, rows[i]);
		const int32_t twice = 2 * dots[i] - 15 * (q->scan.front_sum + q->scan.rest_sum);
		q->estimates[entries[i]] += q->scan.scale * tail->scale * (0.5f * (float)twice);
		q->bounds[entries[i]] = q->estimates[entries[i]] + q->scan.length * tail->error + q->scan.slack;
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

/* The same with closer bounds. */
static size_t fewer_left_of(const struct editor__key_index *index, const struct query *q, add_bits *add, size_t count,
			    float bar)
{
	for (size_t from = 0; from < count; from += LISTED)
		add(index, q, q->left + from, count - from < LISTED ? count - from : LISTED);
	return still_left_of(q, count, bar);
}

/* ---- Scores of what is left */

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

/* Of many that are left those that reach a better bar. */
static size_t nearest_left_of(const struct editor__key_index *index, struct query *q, size_t count)
{
	struct editor__candidate likely[EDITOR_CANDIDATES] = { { 0 } };
	size_t likely_count = 0;
	for (size_t i = 0; i < count; i++)
		offer(q, q->left[i], likely, &likely_count);
	return still_left_of(q, count, bar_of(index, q, likely, likely_count));
}

/* Whether bounds by fronts alone leave few keys, where EDITOR_CANDIDATES keys have such an estimate. If they do, those
 * keys are much like the query, and their fronts have as much of the score as the query's front has of the query. */
static bool are_fronts_enough(const struct editor__key_index *index, const struct query *q, float estimate)
{
	const float share = q->scan.front_length / q->scan.length, bar = estimate / (share * share);
	size_t left = 0;
	for (size_t first = 0; bar > 0 && first < index->count; first += EDITOR__SCAN_KEYS) {
		if (q->tops[first / EDITOR__SCAN_KEYS].bound >= bar)
			left += (size_t)__builtin_popcount(reaching(index, q->bounds, first, bar));
	}
	return bar > 0 && left <= index->count / FEW;
}

static void search_scanned(const struct editor__key_index *index, struct query *q)
{
	struct editor__candidate blocks[EDITOR_CANDIDATES], likely[EDITOR_CANDIDATES] = { { 0 } };
	size_t block_count = likeliest_blocks(index, q, blocks);
	const bool by_fronts = are_fronts_enough(index, q, last_of(blocks, block_count));
	if (!by_fronts) {
		scan_rests(index, q);
		block_count = likeliest_blocks(index, q, blocks);
	}
	const float bar = bar_of(index, q, likely, likeliest(index, q, blocks, block_count, likely));
	size_t count = left_of(index, q, bar);
	if (by_fronts)
		count = fewer_left_of(index, q, add_rests, count, bar);
	count = fewer_left_of(index, q, add_lows, count, bar);
	if (count > PLAIN_KEYS)
		count = nearest_left_of(index, q, count);
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
	uint8_t *memory = fault_malloc(keys * (2 * sizeof(float) + sizeof(*q.left)) + blocks * sizeof(*q.tops) +
				       2 * editor__row_bytes(index));
	if (memory == NULL)
		return ERR_NOMEM;
	q.estimates = (float *)(void *)memory;
	q.bounds = q.estimates + keys;
	q.tops = (struct editor__scan_top *)(void *)(q.bounds + keys);
	q.left = (uint32_t *)(void *)(q.tops + blocks);
	init_query(index, &q, memset(q.left + keys, 0, 2 * editor__row_bytes(index)));
	scan_fronts(index, &q);
	search_scanned(index, &q);
	free(memory);
	return 0;
}
