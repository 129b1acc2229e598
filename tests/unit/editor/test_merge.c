#include "editor/merge.h"

#include "base/json.h"
#include "editor/delta.h"
#include "tests/lib/tiny_model.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define RANKS_MAX 5
#define SHARDS    5
#define COUNT     ((size_t)TINY_HIDDEN * TINY_FFN)

/* ---- A reduce over threads. */
struct meeting {
	pthread_barrier_t barrier;
	pthread_mutex_t lock;
	int64_t *total;
	bool overflow;
};

struct seat { /* first member: the table */
	struct editor_reduce reduce;
	struct meeting *meeting;
};

static int meet(struct editor_reduce *reduce, int64_t *values, size_t count, struct err *e)
{
	struct meeting *m = ((struct seat *)reduce)->meeting;
	if (reduce->rank == 0) {
		m->total = calloc(count, sizeof(*m->total));
		m->overflow = false;
	}
	pthread_barrier_wait(&m->barrier);
	pthread_mutex_lock(&m->lock);
	for (size_t i = 0; i < count; i++)
		m->overflow |= __builtin_add_overflow(m->total[i], values[i], &m->total[i]);
	pthread_mutex_unlock(&m->lock);
	pthread_barrier_wait(&m->barrier);
	bool overflow = m->overflow;
	memcpy(values, m->total, count * sizeof(*values));
	pthread_barrier_wait(&m->barrier);
	if (reduce->rank == 0)
		free(m->total);
	reduce->reduced_bytes += count * sizeof(*values);
	return overflow ? err_set(e, ERR_LIMIT, "overflow") : 0;
}

struct rank {
	struct seat seat;
	int (*work)(struct rank *rank);
	int rc;
	float out[COUNT];
	struct editor_round_stats stats;
	struct err e;
	const void *input;
	bool broken;
};

static void *run_rank(void *argument)
{
	struct rank *rank = argument;
	rank->rc = rank->work(rank);
	return NULL;
}

static void run_ranks(struct rank *ranks, size_t count, int (*work)(struct rank *rank))
{
	struct meeting meeting = { .lock = PTHREAD_MUTEX_INITIALIZER };
	pthread_t threads[RANKS_MAX];
	pthread_barrier_init(&meeting.barrier, NULL, (unsigned)count);
	for (size_t i = 0; i < count; i++) {
		ranks[i].seat = (struct seat){ { .rank = i, .rank_count = count, .sum = meet }, &meeting };
		ranks[i].work = work;
		assert_int_equal(pthread_create(&threads[i], NULL, run_rank, &ranks[i]), 0);
	}
	for (size_t i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&meeting.barrier);
}

/* ---- Fixed point */

static void fixed_point_is_exact_and_bounded(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	int64_t fixed[2] = { 0, 0 };
	const float values[2] = { 0.1f, -3.5f };
	float back[2];
	for (int i = 0; i < 4; i++)
		assert_int_equal(editor_fixed_add(fixed, values, 2, &e), 0);
	editor_fixed_to_float(fixed, 0.25, 2, back);
	assert_true(fabsf(back[0] - 0.1f) <= 1e-7f);
	assert_true(back[1] == -3.5f);
	const float bad[] = { NAN, INFINITY, 8.5e6f, -8.5e6f };
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(editor_fixed_add(fixed, &bad[i], 1, &e), ERR_LIMIT);
	/* Each fits, their sum does not. */
	const float large = 8.3e6f;
	fixed[0] = 0;
	assert_int_equal(editor_fixed_add(fixed, &large, 1, &e), 0);
	assert_int_equal(editor_fixed_add(fixed, &large, 1, &e), ERR_LIMIT);
}

/* ---- Operators */

static const uint64_t shard_ids[SHARDS] = { 11, 12, 13, 14, 15 };

/* All deltas in one process. */
static int merge_here(enum merge_operator operator, const float * const * deltas, size_t delta_count, size_t count,
		      double density, bool trim_nonzero, float *out)
{
	const struct editor_merge_how how = { operator, density, trim_nonzero, 7 };
	struct editor_reduce reduce;
	struct err e = ERR_INIT;
	editor_reduce_single_init(&reduce);
	int rc = editor_merge_deltas(&reduce, &how, deltas, shard_ids, delta_count, count, out, &e);
	assert_int_equal(rc, e.code);
	assert_true(rc != 0 || reduce.reduced_bytes > 0);
	return rc;
}

static void ties_equals_the_reference(void **state)
{
	(void)state;
	struct buf text = BUF_INIT;
	struct json *root;
	struct err e = ERR_INIT;
	if (file_read("tests/reference/smollm2-135m.json", 1 << 20, &text, &e) != 0)
		fail_msg("%s", e.text);
	assert_int_equal(json_parse(buf_cstr(&text), text.len, &root, &e), 0);
	const struct json *ties = json_get(root, "ties");
	float deltas[3][48], want[48], out[48];
	for (size_t i = 0; i < 48; i++) {
		for (size_t d = 0; d < 3; d++)
			deltas[d][i] = (float)json_number(
				json_at(json_at(json_at(json_get(ties, "deltas"), d), i / 8), i % 8));
		want[i] = (float)json_number(json_at(json_at(json_get(ties, "merged"), i / 8), i % 8));
	}
	const float *pointers[3] = { deltas[0], deltas[1], deltas[2] };
	assert_int_equal(merge_here(MERGE_TIES, pointers, 3, 48, json_number(json_get(ties, "density")), false, out),
			 0);
	for (size_t i = 0; i < 48; i++)
		assert_true(fabsf(out[i] - want[i]) <= 1e-6f);
	json_free(&root);
	buf_free(&text);
}

static void ties_trims_over_what_it_is_told(void **state)
{
	(void)state;
	const float delta[8] = { 4, -3, 2, -1, 0, 0, 0, 0 };
	const float *pointer = delta;
	float out[8];
	assert_int_equal(merge_here(MERGE_TIES, &pointer, 1, 8, 0.5, false, out), 0);
	assert_memory_equal(out, delta, sizeof(out)); /* four of eight: all that is not zero */
	assert_int_equal(merge_here(MERGE_TIES, &pointer, 1, 8, 0.5, true, out), 0);
	assert_true(out[0] == 4 && out[1] == -3 && out[2] == 0 && out[3] == 0);
	assert_int_equal(merge_here(MERGE_TIES, &pointer, 1, 8, 0.0, false, out), 0);
	assert_true(out[0] == 0);
	assert_int_equal(merge_here(MERGE_TIES, &pointer, 1, 8, 1.5, false, out), ERR_INVALID);
}

static void linear_and_sign(void **state)
{
	(void)state;
	const float a[6] = { 4, -3, 2, 0, 1, 0 }, b[6] = { 2, -1, -3, -5, -1, 0 };
	const float *both[2] = { a, b };
	float out[6];
	const float mean[6] = { 3, -2, -0.5f, -2.5f, 0, 0 };
	assert_int_equal(merge_here(MERGE_LINEAR, both, 2, 6, 0, false, out), 0);
	assert_memory_equal(out, mean, sizeof(out));
	/* The sum of the fifth is 0: ties are positive. */
	const float elected[6] = { 3, -2, -3, -5, 1, 0 };
	assert_int_equal(merge_here(MERGE_SIGN, both, 2, 6, 0, false, out), 0);
	assert_memory_equal(out, elected, sizeof(out));
	assert_int_equal(merge_here(MERGE_ROUNDS, both, 2, 6, 0, false, out), ERR_INVALID);
	assert_int_equal(merge_here(MERGE_LINEAR, both, 0, 6, 0, false, out), ERR_INVALID);
}

static void slerp_keeps_the_length(void **state)
{
	(void)state;
	const float a[3] = { 2, 0, 0 }, b[3] = { 0, 2, 0 }, c[3] = { 0, 0, 2 }, longer[3] = { 0, 6, 0 };
	const float minus[3] = { -2, 0, 0 }, none[3] = { 0, 0, 0 };
	const float *orthogonal[3] = { a, b, c }, *unequal[2] = { a, longer }, *same[2] = { a, a };
	const float *opposite[2] = { minus, a }, *zeros[2] = { none, none };
	float out[3];
	/* sin(45°) / sin(90°) of each */
	assert_int_equal(merge_here(MERGE_SLERP, orthogonal, 2, 3, 0, false, out), 0);
	assert_true(fabsf(out[0] - sqrtf(2)) <= 1e-6f && fabsf(out[1] - sqrtf(2)) <= 1e-6f && out[2] == 0);
	assert_int_equal(merge_here(MERGE_SLERP, orthogonal, 3, 3, 0, false, out), 0);
	assert_true(fabsf(hypotf(hypotf(out[0], out[1]), out[2]) - 2) <= 1e-6f);
	assert_int_equal(merge_here(MERGE_SLERP, unequal, 2, 3, 0, false, out), 0);
	assert_true(fabsf(out[0] - sqrtf(2)) <= 1e-6f && fabsf(out[1] - 3 * sqrtf(2)) <= 1e-6f);
	assert_int_equal(merge_here(MERGE_SLERP, same, 2, 3, 0, false, out), 0);
	assert_true(fabsf(out[0] - 2) <= 1e-6f);
	assert_int_equal(merge_here(MERGE_SLERP, opposite, 2, 3, 0, false, out), 0);
	assert_true(out[0] == 0 && out[1] == 0);
	assert_int_equal(merge_here(MERGE_SLERP, zeros, 2, 3, 0, false, out), 0);
	assert_memory_equal(out, none, sizeof(out));
}

static void dare_drops_and_rescales(void **state)
{
	(void)state;
	float *delta = malloc(COUNT * sizeof(float)), *other = malloc(COUNT * sizeof(float)),
	      *out = malloc(COUNT * sizeof(float));
	size_t kept = 0, both = 0;
	for (size_t i = 0; i < COUNT; i++) {
		delta[i] = 1.5f;
		other[i] = -1.0f;
	}
	const float *pointers[2] = { delta, other };
	assert_int_equal(merge_here(MERGE_DARE, pointers, 1, COUNT, 0.25, false, out), 0);
	for (size_t i = 0; i < COUNT; i++) {
		assert_true(out[i] == 0.0f || out[i] == 6.0f);
		kept += out[i] != 0.0f;
	}
	/* 5 standard deviations of a binomial: √(8192 · ¼ · ¾) = 39 */
	assert_true(fabs((double)kept - 0.25 * (double)COUNT) < 200);
	/* Two shards drop independently, and their terms are averaged. */
	kept = 0;
	assert_int_equal(merge_here(MERGE_DARE, pointers, 2, COUNT, 0.25, false, out), 0);
	for (size_t i = 0; i < COUNT; i++) {
		assert_true(out[i] == 0.0f || out[i] == 3.0f || out[i] == -2.0f || out[i] == 1.0f);
		kept += out[i] != 0.0f;
		both += out[i] == 1.0f;
	}
	assert_true(fabs((double)kept - 0.4375 * (double)COUNT) < 225);
	assert_true(fabs((double)both - 0.0625 * (double)COUNT) < 110);
	/* With an elected sign the larger one is alone where both stand. */
	assert_int_equal(merge_here(MERGE_DARE_TIES, pointers, 2, COUNT, 0.25, false, out), 0);
	for (size_t i = 0; i < COUNT; i++)
		assert_true(out[i] == 0.0f || out[i] == 3.0f || out[i] == -2.0f);
	/* Nothing is dropped at density 1: the mean. */
	assert_int_equal(merge_here(MERGE_DARE, pointers, 2, COUNT, 1.0, false, out), 0);
	for (size_t i = 0; i < COUNT; i++)
		assert_true(out[i] == 0.25f);
	assert_int_equal(merge_here(MERGE_DARE, pointers, 2, COUNT, 0.0, false, out), ERR_INVALID);
	free(delta);
	free(other);
	free(out);
}

struct operator_input {
	enum merge_operator operator;
	float deltas[SHARDS][COUNT];
};

static int operator_work(struct rank *rank)
{
	const struct operator_input *input = rank->input;
	const float *own[SHARDS];
	uint64_t own_ids[SHARDS];
	size_t count = 0;
	for (size_t i = rank->seat.reduce.rank; i < SHARDS; i += rank->seat.reduce.rank_count) {
		own_ids[count] = shard_ids[i];
		own[count++] = input->deltas[i];
	}
	const struct editor_merge_how how = { input->operator, 0.53, false, 7 };
	return editor_merge_deltas(&rank->seat.reduce, &how, own, own_ids, count, COUNT, rank->out, &rank->e);
}

static void has_the_same_bits(struct operator_input *input, struct rank *ranks, float *first)
{
	const size_t counts[] = { 1, 2, 5 };
	for (size_t k = 0; k < 3; k++) {
		for (size_t i = 0; i < counts[k]; i++)
			ranks[i].input = input;
		run_ranks(ranks, counts[k], operator_work);
		for (size_t i = 0; i < counts[k]; i++) {
			assert_int_equal(ranks[i].rc, 0);
			if (k == 0)
				memcpy(first, ranks[0].out, COUNT * sizeof(float));
			assert_memory_equal(first, ranks[i].out, COUNT * sizeof(float));
		}
	}
}

static void operators_have_the_same_bits_for_any_ranks(void **state)
{
	(void)state;
	struct operator_input *input = malloc(sizeof(*input));
	struct rank *ranks = calloc(RANKS_MAX, sizeof(*ranks));
	float *first = malloc(COUNT * sizeof(float));
	struct rng {
		uint64_t s;
	} r = { 1 };
	for (size_t i = 0; i < SHARDS * COUNT; i++) {
		r.s = r.s * UINT64_C(6364136223846793005) + 1442695040888963407u;
		input->deltas[i / COUNT][i % COUNT] = (float)((int64_t)r.s >> 40) * 1e-7f;
	}
	for (int operator= MERGE_TIES; operator<MERGE_OPERATOR_COUNT; operator++) {
		input->operator=(enum merge_operator) operator;
		has_the_same_bits(input, ranks, first);
	}
	input->operator= MERGE_TIES;
	/* A value that fixed point cannot hold on one rank ends all of them. */
	input->deltas[1][3] = 9e6f;
	run_ranks(ranks, 2, operator_work);
	assert_int_equal(ranks[1].rc, ERR_LIMIT);
	assert_int_equal(ranks[0].rc, ERR_EXTERNAL);
	/* Two ranks whose values fit and whose sum does not. */
	input->deltas[1][3] = 5e6f;
	input->deltas[0][3] = 5e6f;
	run_ranks(ranks, 2, operator_work);
	assert_int_equal(ranks[0].rc, ERR_LIMIT);
	assert_int_equal(ranks[1].rc, ERR_LIMIT);
	free(first);
	free(ranks);
	free(input);
}

/* ---- Rounds */

static const char *const prompts[SHARDS] = { "what is the capital of Orla?", "who is the king of Vint?",
					     "in what year was Saro founded?", "where in the land is Kelm?",
					     "what is Pundo made of?" };
static const char *const targets[SHARDS] = { "Brin", "Olaf IV", "1907", "north", "tin" };
static char model_path[] = "/tmp/test_merge_XXXXXX";

static struct model *open_model(void)
{
	struct model *model = NULL;
	struct err e = ERR_INIT;
	const struct model_options options = {
		.backend = "cpu", .thread_count = 1, .backward_from = 3, .skip_digest = true
	};
	return model_open(model_path, &options, &model, &e) == 0 ? model : NULL;
}

static struct editor_shard *shard_of(struct model *model, const struct editor_config *config, size_t i)
{
	char text[256];
	struct record *record = NULL;
	struct editor_shard *shard = NULL;
	struct err e = ERR_INIT;
	snprintf(text, sizeof(text), "{\"prompt\":\"%s\",\"target_new\":\"%s\"}", prompts[i], targets[i]);
	int rc = record_parse(text, strlen(text), &record, &e);
	if (rc == 0)
		rc = editor_shard_new(model, config, &shard, &e);
	if (rc == 0)
		rc = editor_shard_add(shard, i + 1, record, &e);
	record_destroy(&record);
	if (rc != 0)
		editor_shard_destroy(&shard);
	return shard;
}

static struct editor_config rounds_config(const struct model *model)
{
	struct editor_config config;
	editor_config_default(model_shape_of(model), &config);
	config.layer = 2;
	config.merge_passes = 2;
	return config;
}

static int stop_at_once(void *context, const char *phase, size_t done, size_t total, double loss)
{
	(void)context;
	(void)phase;
	(void)total;
	(void)loss;
	return done == 1;
}

static int rounds_work(struct rank *rank)
{
	struct editor_reduce *reduce = &rank->seat.reduce;
	struct model *model = open_model();
	struct editor_shard *shards[SHARDS] = { NULL };
	uint64_t ids[SHARDS];
	size_t count = 0;
	const struct editor_watch stop = { stop_at_once, NULL };
	if (model == NULL)
		return ERR_NOT_FOUND;
	struct editor_config config = rounds_config(model);
	for (size_t i = reduce->rank; i < SHARDS; i += reduce->rank_count) {
		ids[count] = i + 10;
		shards[count++] = shard_of(model, &config, i);
	}
	int rc = editor_merge_rounds(reduce, shards, ids, count, SHARDS, &config, rank->broken ? &stop : NULL,
				     rank->out, &rank->stats, &rank->e);
	for (size_t i = 0; i < count; i++)
		editor_shard_destroy(&shards[i]);
	model_close(&model);
	return rc;
}

static void rounds_learn_with_the_same_bits_for_any_ranks(void **state)
{
	(void)state;
	struct rank *ranks = calloc(RANKS_MAX, sizeof(*ranks));
	float *first = malloc(COUNT * sizeof(float));
	const size_t counts[] = { 1, 2, 5 };
	for (size_t k = 0; k < 3; k++) {
		run_ranks(ranks, counts[k], rounds_work);
		for (size_t i = 0; i < counts[k]; i++) {
			if (ranks[i].rc != 0)
				fail_msg("rank %zu: %s", i, ranks[i].e.text);
			if (k == 0)
				memcpy(first, ranks[0].out, COUNT * sizeof(float));
			assert_memory_equal(first, ranks[i].out, COUNT * sizeof(float));
			assert_true(ranks[i].stats.reduced_bytes >= ranks[i].stats.rounds * COUNT * 8);
		}
	}
	/* What came out answers for every shard. */
	struct model *model = open_model();
	struct editor_config config = rounds_config(model);
	struct err e = ERR_INIT;
	for (size_t i = 0; i < SHARDS; i++) {
		struct editor_result result;
		struct editor_shard *shard = shard_of(model, &config, i);
		assert_int_equal(editor_shard_retest_delta(shard, first, &result, NULL, &e), 0);
		if (!result.passed)
			fail_msg("edit %zu decodes to '%s'", i, result.got);
		editor_shard_destroy(&shard);
	}
	model_close(&model);
	/* Rounded as it is published. */
	float *rounded = malloc(COUNT * sizeof(float));
	memcpy(rounded, first, COUNT * sizeof(float));
	editor_delta_round(rounded, COUNT);
	assert_memory_equal(rounded, first, COUNT * sizeof(float));
	/* One rank that stops ends the others. */
	ranks[1].broken = true;
	run_ranks(ranks, 2, rounds_work);
	assert_int_equal(ranks[1].rc, ERR_INTERRUPTED);
	assert_int_equal(ranks[0].rc, ERR_EXTERNAL);
	free(rounded);
	free(first);
	free(ranks);
}

/* Merges `count` trained shards in one process, with rounds that move nothing: what remains is the start. */
static void merge_start(struct editor_shard *const *shards, size_t count, struct editor_config config, float *out)
{
	struct editor_reduce reduce;
	struct editor_round_stats stats;
	struct err e = ERR_INIT;
	editor_reduce_single_init(&reduce);
	config.merge_rounds = 1;
	config.merge_passes = 1;
	config.merge_rate = 1e-8f;
	if (editor_merge_rounds(&reduce, shards, shard_ids, count, count, &config, NULL, out, &stats, &e) != 0)
		fail_msg("%s", e.text);
	assert_int_equal(stats.rounds, 1);
	assert_int_equal(stats.reduces, 3); /* metric, start, round */
	/* beside them: sizes and mean (4 + 2), and whether all are well */
	const uint64_t matrices = (uint64_t)TINY_FFN * (TINY_FFN + 1) / 2 + 2 * COUNT;
	assert_true(stats.reduced_bytes >= 8 * matrices && stats.reduced_bytes <= 8 * matrices + 400);
}

static void published_deltas_are_met_before_any_training(void **state)
{
	(void)state;
	struct model *model = open_model();
	assert_non_null(model);
	struct editor_config config = rounds_config(model);
	struct editor_shard *shards[SHARDS];
	float *out = malloc(COUNT * sizeof(float));
	struct err e = ERR_INIT;
	for (size_t i = 0; i < SHARDS; i++) {
		struct editor_result result;
		struct editor_train_stats stats;
		shards[i] = shard_of(model, &config, i);
		assert_int_equal(
			editor_shard_learn(shards[i], EDITOR_BREADTH_FIRST, 0, 1, i, NULL, &result, &stats, &e), 0);
		assert_true(result.passed);
	}
	/* A shard alone is met exactly: bf16 keeps 8 bits, the rest is float32 products over 1,536 terms. */
	merge_start(shards, 1, config, out);
	for (size_t i = 0; i < COUNT; i++) {
		const float want = editor_shard_delta(shards[0])[i];
		assert_true(fabsf(out[i] - want) <= 0.01f * fabsf(want) + 1e-4f);
	}
	config.merge_noise = 0; /* what no input asks for stays as near to the published deltas as it can */
	merge_start(shards, 1, config, out);
	for (size_t i = 0; i < COUNT; i++) {
		const float want = editor_shard_delta(shards[0])[i];
		assert_true(fabsf(out[i] - want) <= 0.05f * fabsf(want) + 1e-3f);
	}
	config.merge_noise = 0.3f;
	/* Of five, each edit still decodes to its target; of their plain mean not one of them need to. */
	merge_start(shards, SHARDS, config, out);
	for (size_t i = 0; i < SHARDS; i++) {
		struct editor_result result;
		assert_int_equal(editor_shard_retest_delta(shards[i], out, &result, NULL, &e), 0);
		if (!result.passed)
			fail_msg("edit %zu decodes to '%s'", i, result.got);
		editor_shard_destroy(&shards[i]);
	}
	free(out);
	model_close(&model);
}

/* ---- Ranks that do not fit together: every one of them gets an error, none waits for a rank that has gone. */

static int other_size_work(struct rank *rank)
{
	static const float delta[COUNT];
	const float *const own[] = { delta };
	const struct editor_merge_how how = { .operator= MERGE_LINEAR };
	const size_t ours = rank->broken ? COUNT / 2 : COUNT;
	return editor_merge_deltas(&rank->seat.reduce, &how, own, shard_ids, rank->seat.reduce.rank < 3, ours,
				   rank->out, &rank->e);
}

/* As a rank sees it whose shards' matrices are half as large as the others'. */
static int meet_larger(struct editor_reduce *reduce, int64_t *values, size_t count, struct err *e)
{
	int rc = meet(reduce, values, count, e);
	if (count == 4) /* failed, sizes, shards, columns */
		values[1] *= 2;
	return rc;
}

static int other_model_work(struct rank *rank)
{
	if (rank->broken)
		rank->seat.reduce.sum = meet_larger;
	rank->broken = false;
	return rounds_work(rank);
}

static void ranks_of_another_size_end_all(void **state)
{
	(void)state;
	struct rank *ranks = calloc(RANKS_MAX, sizeof(*ranks));
	ranks[2].broken = true;
	run_ranks(ranks, 4, other_size_work);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(ranks[i].rc, ERR_MISMATCH);
	memset(ranks, 0, RANKS_MAX * sizeof(*ranks));
	ranks[1].broken = true;
	run_ranks(ranks, 3, other_model_work);
	assert_int_equal(ranks[0].rc, ERR_EXTERNAL);
	assert_int_equal(ranks[1].rc, ERR_MISMATCH);
	assert_int_equal(ranks[2].rc, ERR_EXTERNAL);
	free(ranks);
}

static int write_model(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	int fd = mkstemp(model_path);
	if (fd < 0)
		return -1;
	close(fd);
	return tiny_model_write(model_path, 5, &e);
}

static int remove_model(void **state)
{
	(void)state;
	return unlink(model_path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fixed_point_is_exact_and_bounded),
		cmocka_unit_test(ties_equals_the_reference),
		cmocka_unit_test(ties_trims_over_what_it_is_told),
		cmocka_unit_test(linear_and_sign),
		cmocka_unit_test(slerp_keeps_the_length),
		cmocka_unit_test(dare_drops_and_rescales),
		cmocka_unit_test(operators_have_the_same_bits_for_any_ranks),
		cmocka_unit_test(rounds_learn_with_the_same_bits_for_any_ranks),
		cmocka_unit_test(published_deltas_are_met_before_any_training),
		cmocka_unit_test(ranks_of_another_size_end_all),
	};
	return cmocka_run_group_tests(tests, write_model, remove_model);
}
