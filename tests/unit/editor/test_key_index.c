/* The index against the plain search that it stands for: the same candidates, order and bits, by every instruction set
 * that the processor has. */
#include "editor/key_index.h"

#include "base/fault.h"
#include "base/rng.h"
#include "editor/dot.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KEYS_MAX 3000
#define QUERIES  6

static const char *const kinds[] = { "portable", "avx2", "avx512vnni" };
#define KIND_COUNT (sizeof(kinds) / sizeof(kinds[0]))

struct data {
	size_t width, count;
	float *keys, *queries; /* KEYS_MAX and QUERIES × width */
};

static struct data data_new(size_t width, size_t count)
{
	struct data d = { .width = width, .count = count };
	assert_true(count <= KEYS_MAX);
	d.keys = calloc(KEYS_MAX * width, sizeof(float));
	d.queries = calloc(QUERIES * width, sizeof(float));
	assert_true(d.keys != NULL && d.queries != NULL);
	return d;
}

static void data_free(struct data *d)
{
	free(d->keys);
	free(d->queries);
}

/* v = normalise(center + spread · normal noise); center NULL: 0 */
static void draw(struct rng *rng, float *v, size_t width, const float *center, float spread)
{
	double square = 0;
	for (size_t k = 0; k < width; k++) {
		v[k] = (center != NULL ? center[k] : 0) + spread * rng_normal(rng);
		square += (double)v[k] * (double)v[k];
	}
	for (size_t k = 0; k < width; k++)
		v[k] = (float)(v[k] / sqrt(square));
}

static struct data random_data(size_t width, size_t count, uint64_t seed)
{
	struct data d = data_new(width, count);
	struct rng rng;
	rng_init(&rng, seed);
	for (size_t i = 0; i < count; i++)
		draw(&rng, d.keys + i * width, width, NULL, 1);
	for (size_t i = 0; i < QUERIES; i++)
		draw(&rng, d.queries + i * width, width, i % 2 == 0 ? d.keys + i * 7 % count * width : NULL, 0.02f);
	return d;
}

static void search_plainly(const struct data *d, size_t count, const float *query, struct editor__candidate *best,
			   size_t *best_count)
{
	*best_count = 0;
	for (size_t i = 0; i < count; i++)
		editor__candidate_keep(best, best_count, i, editor__dot(query, d->keys + i * d->width, d->width));
}

/* How many of the candidates are asked for. */
static size_t asked_of(const struct editor__candidate *best, size_t count, float least)
{
	while (count > EDITOR_NEAREST && best[count - 1].score < least)
		count--;
	return count;
}

static struct editor__key_index *index_of(const struct data *d, const char *kind)
{
	struct editor__key_index *index = NULL;
	struct err e = ERR_INIT;
	int rc = editor__key_index_new(d->width, kind, &index, &e);
	if (rc == ERR_UNSUPPORTED)
		return NULL;
	assert_int_equal(rc, 0);
	return index;
}

static void add_keys(struct editor__key_index *index, const struct data *d, size_t to)
{
	const size_t from = editor__key_index_count(index);
	assert_int_equal(editor__key_index_reserve(index, to - from), 0);
	for (size_t i = from; i < to; i++)
		editor__key_index_add(index, d->keys + i * d->width);
	assert_int_equal(editor__key_index_count(index), to);
}

static void check_search(const struct editor__key_index *index, size_t q, const float *query, float least,
			 const struct editor__candidate *best, size_t best_count)
{
	struct editor__candidate found[EDITOR_CANDIDATES];
	size_t found_count;
	assert_int_equal(editor__key_index_search(index, query, least, found, &found_count), 0);
	assert_int_equal(found_count, asked_of(best, best_count, least));
	for (size_t i = 0; i < found_count; i++) {
		if (found[i].entry != best[i].entry || memcmp(&found[i].score, &best[i].score, sizeof(float)) != 0)
			fail_msg("%s, %zu keys, query %zu, least %g, place %zu: entry %zu (%.9g) for %zu (%.9g)",
				 editor__key_index_instructions(index), editor__key_index_count(index), q,
				 (double)least, i, found[i].entry, (double)found[i].score, best[i].entry,
				 (double)best[i].score);
	}
}

/* Asked for all, for the best to the last bit, for what is in between, for none but the nearest. */
static void check_searches(const struct editor__key_index *index, const struct data *d)
{
	struct editor__candidate best[EDITOR_CANDIDATES];
	size_t best_count;
	const size_t count = editor__key_index_count(index);
	for (size_t q = 0; q < QUERIES; q++) {
		const float *query = d->queries + q * d->width;
		search_plainly(d, count, query, best, &best_count);
		const float last = best[best_count - 1].score, middle = best[best_count / 2].score;
		const float least[] = { -INFINITY, last, nextafterf(middle, INFINITY), INFINITY };
		for (size_t l = 0; l < sizeof(least) / sizeof(least[0]); l++)
			check_search(index, q, query, least[l], best, best_count);
	}
}

/* Against the plain search after each of several adds, and after keys were taken back. */
static void check(const struct data *d)
{
	for (size_t k = 0; k < KIND_COUNT; k++) {
		struct editor__key_index *index = index_of(d, kinds[k]);
		if (index == NULL)
			continue;
		assert_string_equal(editor__key_index_instructions(index), kinds[k]);
		const size_t steps[] = { 1, d->count / 8, d->count / 8 + 1, d->count / 2, d->count };
		for (size_t s = 0; s < sizeof(steps) / sizeof(steps[0]); s++) {
			if (steps[s] > editor__key_index_count(index))
				add_keys(index, d, steps[s]);
			check_searches(index, d);
		}
		editor__key_index_cut(index, d->count / 3);
		check_searches(index, d);
		add_keys(index, d, d->count);
		check_searches(index, d);
		editor__key_index_destroy(&index);
		assert_null(index);
	}
}

static void random_keys(void **state)
{
	(void)state;
	/* of 768 every piece of keys has a mapping of its own */
	static const size_t widths[] = { 1, 3, 4, 7, 8, 63, 64, 130, 576, 768 };
	for (size_t w = 0; w < sizeof(widths) / sizeof(widths[0]); w++) {
		struct data d = random_data(widths[w], widths[w] > 100 ? 2500 : 1200, w + 1);
		check(&d);
		data_free(&d);
	}
}

static void clustered_keys(void **state)
{
	(void)state;
	static const float spreads[] = { 1e-1f, 1e-2f, 1e-3f, 1e-5f, 1e-7f };
	for (size_t s = 0; s < sizeof(spreads) / sizeof(spreads[0]); s++) {
		struct data d = random_data(96, 2200, 100 + s);
		struct rng rng;
		rng_init(&rng, s);
		/* all but 100 keys in three clusters, each much tighter than 4 bits, then than 8 bits tell apart */
		for (size_t i = 100; i < d.count; i++)
			draw(&rng, d.keys + i * 96, 96, d.keys + i % 3 * 96, spreads[s]);
		memcpy(d.queries, d.keys, 3 * 96 * sizeof(float));
		check(&d);
		data_free(&d);
	}
}

static void tied_keys(void **state)
{
	(void)state;
	struct data d = random_data(64, 2100, 7);
	/* every key many times, far apart */
	for (size_t i = 50; i < d.count; i++)
		memcpy(d.keys + i * 64, d.keys + i % 50 * 64, 64 * sizeof(float));
	check(&d);
	/* all equal */
	for (size_t i = 1; i < d.count; i++)
		memcpy(d.keys + i * 64, d.keys, 64 * sizeof(float));
	check(&d);
	/* a last bit between them */
	for (size_t i = 1; i < d.count; i++)
		d.keys[i * 64 + i % 64] = nextafterf(d.keys[i * 64 + i % 64], i % 2 == 0 ? 2.0f : -2.0f);
	check(&d);
	data_free(&d);
}

static void zeros_and_ascending_scores(void **state)
{
	(void)state;
	struct data d = random_data(40, 2100, 8);
	memset(d.queries, 0, 40 * sizeof(float)); /* a zero query: every score is a zero, of either sign */
	for (size_t i = 0; i < d.count; i += 2)
		memset(d.keys + i * 40, 0, 40 * sizeof(float));
	check(&d);
	memset(d.keys, 0, d.count * 40 * sizeof(float));
	check(&d);
	/* every key is nearer than all before it */
	for (size_t i = 0; i < d.count; i++) {
		d.keys[i * 40] = 1e-4f * (float)i;
		d.keys[i * 40 + 1 + i % 39] = -1e-5f;
	}
	for (size_t q = 1; q < QUERIES; q++)
		d.queries[q * 40] = 1;
	check(&d);
	data_free(&d);
}

static void lengths_far_apart(void **state)
{
	(void)state;
	static const float lengths[] = { 1, 1e-3f, 1e8f, 1e-20f, FLT_MIN, 1e-44f, 1e14f };
	struct data d = random_data(48, 2100, 9);
	for (size_t i = 0; i < d.count; i++) {
		for (size_t k = 0; k < 48; k++)
			d.keys[i * 48 + k] *= lengths[i % 7 * (i % 3 != 0)];
	}
	for (size_t q = 0; q < QUERIES; q++) {
		for (size_t k = 0; k < 48; k++)
			d.queries[q * 48 + k] *= lengths[q];
	}
	check(&d);
	/* one component outweighs the rest: 8 bits hold nothing of the others */
	for (size_t i = 0; i < d.count; i++)
		d.keys[i * 48 + 5] = 1000;
	check(&d);
	data_free(&d);
}

#define WIDE 576

/* Forty copies of every key, moved by `spread`. */
static struct data copied_data(float spread, uint64_t seed)
{
	struct data d = random_data(WIDE, 2400, seed);
	struct rng rng;
	rng_init(&rng, seed);
	for (size_t i = 60; i < d.count; i++)
		draw(&rng, d.keys + i * WIDE, WIDE, d.keys + i % 60 * WIDE, spread);
	return d;
}

static void copies_of_keys(void **state)
{
	(void)state;
	static const float spreads[] = { 0, 1e-3f, 0.01f, 0.02f, 0.03f, 0.04f, 0.06f };
	for (size_t s = 0; s < sizeof(spreads) / sizeof(spreads[0]); s++) {
		struct data d = copied_data(spreads[s], 50 + s);
		check(&d);
		data_free(&d);
	}
}

/* Nothing of a score stands in the first components, or all of it and the others take it back. */
static void scores_in_some_components(void **state)
{
	(void)state;
	for (size_t border = 192; border <= 448; border += 64) {
		struct data d = copied_data(0.02f, 60 + border);
		for (size_t i = 0; i < d.count; i += 37) {
			const float *query = d.queries + i % QUERIES * WIDE;
			for (size_t k = 0; k < WIDE; k++)
				d.keys[i * WIDE + k] = k < border ? 0 : (1.4f + 1e-3f * (float)(i % 100)) * query[k];
		}
		for (size_t i = 5; i < d.count; i += 41) {
			const float *query = d.queries + i % QUERIES * WIDE;
			for (size_t k = 0; k < WIDE; k++)
				d.keys[i * WIDE + k] = k < border ? 2 * query[k] : -query[k];
		}
		check(&d);
		data_free(&d);
	}
}

/* A component that stands as byte u, exactly, where the largest component is LARGEST. */
#define STEP    0.01f
#define LARGEST (STEP * 127.5f / 0.95f)
static float component_of(int u)
{
	return STEP * ((float)u - 127.5f);
}

/* Keys that score more than others and estimate less: their four bits are too low everywhere. The first component tells
 * the others from most keys, or nothing. */
static void keys_that_four_bits_hold_badly(void **state)
{
	(void)state;
	for (float sign = -1; sign <= 1; sign += 2) {
		struct data d = random_data(WIDE, 2400, 45);
		memset(d.keys, 0, d.count * WIDE * sizeof(float));
		memset(d.queries, 0, QUERIES * WIDE * sizeof(float));
		for (size_t i = 0; i < d.count; i++) {
			float *key = d.keys + i * WIDE;
			key[0] = i % 8 == 0 ? LARGEST : -LARGEST;
			for (size_t k = 320; k < WIDE && i % 8 == 0; k++)
				key[k] = sign * component_of(i % 128 != 0 ? 136 : k % 4 == 0 ? 127 : 143);
		}
		for (size_t q = 0; q < QUERIES; q++) {
			d.queries[q * WIDE] = 0.5f * (float)q;
			for (size_t k = 320; k < WIDE; k++)
				d.queries[q * WIDE + k] = sign * 0.1f;
		}
		check(&d);
		data_free(&d);
	}
}

/* What a query loses in its bytes counts for every key here: it puts keys first that are not the likeliest, and no
 * other part of the bound makes up for it. */
static void queries_between_their_bytes(void **state)
{
	(void)state;
	const float lost = 0.45f / 127; /* of 1 / 127 */
	struct data d = random_data(2, 1500, 40);
	for (size_t i = 0; i < d.count; i++) {
		const bool gains = i % 50 == 0;
		const float length = gains ? 1 - lost * (0.5f + 3e-4f * (float)i) : 1 + 1e-6f * (float)(i % 97);
		d.keys[2 * i] = length;
		d.keys[2 * i + 1] = (gains ? length : -length) * component_of(194) / LARGEST;
	}
	for (size_t q = 0; q < QUERIES; q++) {
		d.queries[2 * q] = 1;
		d.queries[2 * q + 1] = lost;
	}
	check(&d);
	data_free(&d);
}

/* Such keys do not come out of a calibration, but must not be searched otherwise than before. */
static void keys_that_are_not_finite(void **state)
{
	(void)state;
	static const float odd[] = { NAN, INFINITY, -INFINITY, FLT_MAX, 1e16f };
	for (size_t o = 0; o < sizeof(odd) / sizeof(odd[0]); o++) {
		struct data d = random_data(32, 1100, 10 + o);
		d.queries[32 + 3] = odd[o];
		check(&d);
		d.keys[(d.count - 5) * 32 + 7] = odd[o];
		d.keys[700 * 32 + 9] = odd[o];
		check(&d);
		data_free(&d);
	}
}

static void few_keys(void **state)
{
	(void)state;
	struct data d = random_data(24, KEYS_MAX, 20);
	for (size_t count = 8; count < 200; count += 24) {
		d.count = count;
		check(&d);
	}
	data_free(&d);
	struct editor__candidate best[EDITOR_CANDIDATES];
	size_t found = 1;
	const float query[2] = { 1, 0 };
	struct err e = ERR_INIT;
	struct editor__key_index *index = NULL;
	assert_int_equal(editor__key_index_new(2, NULL, &index, &e), 0);
	assert_int_equal(editor__key_index_search(index, query, 0, best, &found), 0);
	assert_int_equal(found, 0); /* no keys */
	editor__key_index_destroy(&index);
	assert_int_equal(editor__key_index_new(2, "mmx", &index, &e), ERR_UNSUPPORTED);
	assert_null(index);
}

static void the_best_instructions_are_taken(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	struct editor__key_index *best = NULL;
	const char *expected = NULL;
	for (size_t k = 0; k < KIND_COUNT; k++) {
		const struct data d = { .width = 8 };
		struct editor__key_index *index = index_of(&d, kinds[k]);
		expected = index != NULL ? kinds[k] : expected;
		editor__key_index_destroy(&index);
	}
	assert_int_equal(editor__key_index_new(8, NULL, &best, &e), 0);
	assert_string_equal(editor__key_index_instructions(best), expected);
	editor__key_index_destroy(&best);
}

static void out_of_memory_leaves_what_was_there(void **state)
{
	(void)state;
	struct data d = random_data(16, 1500, 30);
	struct err e = ERR_INIT;
	struct editor__key_index *index = NULL;
	fault_set(0, 1);
	const int none = editor__key_index_new(16, NULL, &index, &e);
	fault_set(-1, 0);
	assert_int_equal(none, ERR_NOMEM);
	assert_int_equal(editor__key_index_new(16, NULL, &index, &e), 0);
	add_keys(index, &d, 1000);
	const size_t bytes = editor__key_index_bytes(index);
	for (int64_t nth = 0; nth < 2; nth++) {
		fault_set(nth, 1);
		const int rc = editor__key_index_reserve(index, 500);
		fault_set(-1, 0);
		assert_int_equal(rc, ERR_NOMEM);
		assert_int_equal(editor__key_index_bytes(index), bytes);
		check_searches(index, &d);
	}
	struct editor__candidate best[EDITOR_CANDIDATES];
	size_t count;
	fault_set(0, 1);
	const int searched = editor__key_index_search(index, d.queries, 0, best, &count);
	fault_set(-1, 0);
	assert_int_equal(searched, ERR_NOMEM);
	add_keys(index, &d, d.count);
	assert_true(editor__key_index_bytes(index) > bytes);
	check_searches(index, &d);
	editor__key_index_destroy(&index);
	data_free(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_keys),
		cmocka_unit_test(clustered_keys),
		cmocka_unit_test(tied_keys),
		cmocka_unit_test(zeros_and_ascending_scores),
		cmocka_unit_test(lengths_far_apart),
		cmocka_unit_test(copies_of_keys),
		cmocka_unit_test(scores_in_some_components),
		cmocka_unit_test(keys_that_four_bits_hold_badly),
		cmocka_unit_test(queries_between_their_bytes),
		cmocka_unit_test(keys_that_are_not_finite),
		cmocka_unit_test(few_keys),
		cmocka_unit_test(the_best_instructions_are_taken),
		cmocka_unit_test(out_of_memory_leaves_what_was_there),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
