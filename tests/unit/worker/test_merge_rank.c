/* One rank of a merge: what a plan names is checked, all ranks end alike, and only rank 0 writes. */
#include "worker/merge_rank.h"

#include "base/fault.h"
#include "base/rng.h"
#include "editor/delta.h"
#include "tests/lib/test.h"
#include "tests/lib/tiny_model.h"

#include <pthread.h>
#include <unistd.h>

#define LAYER  2
#define SHARDS 3
#define COUNT  ((size_t)TINY_HIDDEN * TINY_FFN)

static const char *const prompts[SHARDS] = { "what is the capital of Orla?", "who is the king of Vint?",
					     "where in the land is Kelm?" };
static const char *const targets[SHARDS] = { "Brin", "Olaf IV", "north" };

struct run {
	char folder[TEST_PATH_BYTES], model[TEST_PATH_BYTES], plan[TEST_PATH_BYTES], output[TEST_PATH_BYTES];
	struct merge_plan *planned;
	struct err e;
};

static void file_put(struct run *r, const char *name, const void *bytes, size_t len, struct hash *digest)
{
	char path[TEST_PATH_BYTES];
	test_path(path, r->folder, name);
	assert_ok(&r->e, file_write_atomic(path, bytes, len, 0600, &r->e));
	hash_of(bytes, len, digest);
}

static void delta_put(struct run *r, struct merge_plan_shard *shard, uint64_t seed)
{
	struct buf bytes = BUF_INIT;
	struct rng rng;
	float *delta = calloc(COUNT, sizeof *delta);
	assert_non_null(delta);
	rng_init(&rng, seed);
	for (size_t i = 0; i < COUNT; i++)
		delta[i] = 0.01f * rng_normal(&rng);
	editor_delta_round(delta, COUNT);
	assert_ok(&r->e, editor_delta_encode(delta, LAYER, TINY_HIDDEN, TINY_FFN, &bytes, &r->e));
	file_put(r, shard->delta, bytes.data, bytes.len, &shard->delta_hash);
	buf_free(&bytes);
	free(delta);
}

static void edits_put(struct run *r, struct merge_plan_shard *shard, const char *text)
{
	file_put(r, shard->edits, text, strlen(text), &shard->edits_hash);
}

static void plan_put(struct run *r)
{
	struct buf text = BUF_INIT;
	struct hash ignored;
	assert_ok(&r->e, merge_plan_encode(r->planned, &text, &r->e));
	file_put(r, "plan.json", text.data, text.len, &ignored);
	buf_free(&text);
}

static void model_put(struct run *r)
{
	const struct model_options options = { .backend = "cpu", .thread_count = 1, .backward_from = SIZE_MAX };
	struct model *model = NULL;
	test_path(r->model, r->folder, "tiny.gguf");
	assert_ok(&r->e, tiny_model_write(r->model, 5, &r->e));
	assert_ok(&r->e, model_open(r->model, &options, &model, &r->e));
	r->planned->base_model = *model_digest(model);
	model_close(&model);
}

static int setup(void **state)
{
	struct run *r = calloc(1, sizeof *r);
	if (r == NULL)
		return -1;
	test_folder_make(r->folder);
	test_path(r->plan, r->folder, "plan.json");
	test_path(r->output, r->folder, "output");
	assert_ok(&r->e, merge_plan_new(SHARDS, &r->planned, &r->e));
	model_put(r);
	r->planned->merge = 7;
	r->planned->layer = LAYER;
	r->planned->seed = 11;
	r->planned->deadline_ms = 40000;
	r->planned->numbers.rounds = 2;
	r->planned->numbers.passes = 1;
	for (size_t i = 0; i < SHARDS; i++) {
		struct merge_plan_shard *shard = &r->planned->shards[i];
		char line[256];
		shard->id = i + 4;
		snprintf(shard->delta, sizeof shard->delta, "shard-%zu.delta", i + 4);
		snprintf(shard->edits, sizeof shard->edits, "shard-%zu.edits", i + 4);
		snprintf(line, sizeof line, "%zu\t{\"prompt\":\"%s\",\"target_new\":\"%s\"}\n", i + 1, prompts[i],
			 targets[i]);
		delta_put(r, shard, i + 1);
		edits_put(r, shard, line);
	}
	plan_put(r);
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct run *r = *state;
	fault_disarm_all();
	fault_set(-1, 0);
	merge_plan_destroy(&r->planned);
	test_folder_remove(r->folder);
	free(r);
	return 0;
}

static struct worker_merge_rank_options options_of(const struct run *r)
{
	return (struct worker_merge_rank_options){ .plan_path = r->plan,
						   .model_path = r->model,
						   .output_path = r->output,
						   .backend = "cpu",
						   .thread_count = 1 };
}

static int run_alone(struct run *r)
{
	const struct worker_merge_rank_options options = options_of(r);
	struct editor_reduce reduce;
	editor_reduce_single_init(&reduce);
	return worker_merge_rank_run(&options, &reduce, &r->e);
}

/* The output, checked against the plan as the coordinator does. */
static struct merge_output output_read(struct run *r, struct buf *delta)
{
	struct merge_output output;
	struct merge_plan *plan = NULL;
	struct hash digest;
	assert_ok(&r->e, merge_plan_read(r->plan, &plan, &digest, &r->e));
	assert_ok(&r->e, merge_output_read(r->output, &digest, &output, delta, &r->e));
	merge_plan_destroy(&plan);
	return output;
}

static void fails_with(struct run *r, int code, const char *says)
{
	assert_int_equal(run_alone(r), code);
	if (strstr(r->e.text, says) == NULL)
		fail_msg("'%s' does not say '%s'", r->e.text, says);
	assert_int_not_equal(access(r->output, F_OK), 0); /* nothing that could be taken for a result */
}

/* --- Ranks as threads. */
struct meeting {
	pthread_barrier_t barrier;
	pthread_mutex_t lock;
	int64_t *total;
};
struct seat {
	struct editor_reduce reduce; /* first member */
	struct meeting *meeting;
	struct run *run;
	int rc;
	struct err e;
};

static int meet(struct editor_reduce *reduce, int64_t *values, size_t count, struct err *e)
{
	struct meeting *m = ((struct seat *)reduce)->meeting;
	(void)e;
	if (reduce->rank == 0)
		m->total = calloc(count, sizeof *m->total);
	pthread_barrier_wait(&m->barrier);
	pthread_mutex_lock(&m->lock);
	for (size_t i = 0; i < count; i++)
		m->total[i] += values[i];
	pthread_mutex_unlock(&m->lock);
	pthread_barrier_wait(&m->barrier);
	memcpy(values, m->total, count * sizeof *values);
	pthread_barrier_wait(&m->barrier);
	if (reduce->rank == 0)
		free(m->total);
	reduce->reduced_bytes += count * sizeof *values;
	return 0;
}

static void *rank_main(void *context)
{
	struct seat *seat = context;
	const struct worker_merge_rank_options options = options_of(seat->run);
	seat->rc = worker_merge_rank_run(&options, &seat->reduce, &seat->e);
	return NULL;
}

static void run_ranks(struct run *r, struct seat *seats, size_t count)
{
	struct meeting meeting = { .lock = PTHREAD_MUTEX_INITIALIZER };
	pthread_t threads[SHARDS + 2];
	pthread_barrier_init(&meeting.barrier, NULL, (unsigned)count);
	for (size_t i = 0; i < count; i++) {
		seats[i] = (struct seat){ { .rank = i, .rank_count = count, .sum = meet }, &meeting, r, -1, ERR_INIT };
		assert_int_equal(pthread_create(&threads[i], NULL, rank_main, &seats[i]), 0);
	}
	for (size_t i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&meeting.barrier);
}

/* --- Tests. */
static void any_number_of_ranks_gives_the_same_bytes(void **state)
{
	struct run *r = *state;
	struct buf alone = BUF_INIT, together = BUF_INIT;
	struct seat seats[SHARDS + 2];
	assert_ok(&r->e, run_alone(r));
	struct merge_output output = output_read(r, &alone);
	assert_int_equal(output.merge, 7);
	assert_int_equal(output.layer, LAYER);
	assert_int_equal(output.ranks, 1);
	assert_int_equal(output.rounds, 2);
	assert_true(output.loss > 0);
	for (size_t ranks = 2; ranks <= SHARDS + 2; ranks += 3) { /* some without a shard */
		assert_int_equal(unlink(r->output), 0);
		run_ranks(r, seats, ranks);
		for (size_t i = 0; i < ranks; i++)
			assert_ok(&seats[i].e, seats[i].rc);
		buf_clear(&together);
		output = output_read(r, &together);
		assert_int_equal(output.ranks, ranks);
		assert_true(output.reduced_bytes > 0);
		assert_same_bytes(&alone, &together);
	}
	buf_free(&alone);
	buf_free(&together);
}

static void finished_deltas_are_put_together(void **state)
{
	struct run *r = *state;
	struct buf before = BUF_INIT;
	struct seat seats[2];
	for (size_t i = MERGE_TIES; i < MERGE_OPERATOR_COUNT; i++) {
		struct buf alone = BUF_INIT, together = BUF_INIT;
		r->planned->operator=(enum merge_operator) i;
		plan_put(r);
		assert_ok(&r->e, run_alone(r));
		struct merge_output output = output_read(r, &alone);
		assert_int_equal(output.rounds, 0);
		run_ranks(r, seats, 2);
		assert_ok(&seats[0].e, seats[0].rc);
		(void)output_read(r, &together);
		assert_same_bytes(&alone, &together);
		/* each does something else */
		assert_true(alone.len != before.len || memcmp(alone.data, before.data, alone.len) != 0);
		buf_free(&before);
		buf_free(&together);
		before = alone;
	}
	buf_free(&before);
}

static void inputs_that_do_not_match_their_digests_are_refused(void **state)
{
	struct run *r = *state;
	struct hash kept = r->planned->shards[1].delta_hash;
	r->planned->shards[1].delta_hash.bytes[3] ^= 1;
	plan_put(r);
	fails_with(r, ERR_CORRUPT, "shard 5");
	r->planned->operator= MERGE_TIES;
	plan_put(r);
	fails_with(r, ERR_CORRUPT, "shard-5.delta");
	r->planned->operator= MERGE_ROUNDS;
	r->planned->shards[1].delta_hash = kept;
	kept = r->planned->shards[2].edits_hash;
	r->planned->shards[2].edits_hash.bytes[0] ^= 1;
	plan_put(r);
	fails_with(r, ERR_CORRUPT, "shard-6.edits");
	r->planned->shards[2].edits_hash = kept;
	plan_put(r);
	assert_ok(&r->e, run_alone(r));
}

static void inputs_that_are_none_are_refused(void **state)
{
	struct run *r = *state;
	struct merge_plan_shard *shard = &r->planned->shards[0];
	edits_put(r, shard, "");
	plan_put(r);
	fails_with(r, ERR_CORRUPT, "holds no edits");
	edits_put(r, shard, "one\t{}\n");
	plan_put(r);
	fails_with(r, ERR_CORRUPT, "shard 4");
	edits_put(r, shard, "9\t{\"prompt\":\"\",\"target_new\":\"x\"}\n");
	plan_put(r);
	fails_with(r, ERR_INVALID, "edit 9");
	file_put(r, shard->delta, "not a delta", 11, &shard->delta_hash);
	plan_put(r);
	fails_with(r, ERR_CORRUPT, "shard 4");
	snprintf(shard->delta, sizeof shard->delta, "nowhere.delta");
	plan_put(r);
	fails_with(r, ERR_NOT_FOUND, "nowhere.delta");
	test_file_write(r->plan, "{\"format\":");
	fails_with(r, ERR_INVALID, "");
	assert_int_equal(unlink(r->plan), 0);
	fails_with(r, ERR_NOT_FOUND, "plan.json");
}

static void another_base_model_is_refused(void **state)
{
	struct run *r = *state;
	r->planned->base_model.bytes[7] ^= 1;
	plan_put(r);
	fails_with(r, ERR_MISMATCH, "is not the base model");
	r->planned->base_model.bytes[7] ^= 1;
	plan_put(r);
	assert_ok(&r->e, tiny_model_write(r->model, 6, &r->e)); /* same shape, other weights */
	fails_with(r, ERR_MISMATCH, "tiny.gguf");
	assert_int_equal(unlink(r->model), 0);
	fails_with(r, ERR_NOT_FOUND, "tiny.gguf");
}

static void a_rank_that_fails_tells_the_others(void **state)
{
	struct run *r = *state;
	struct seat seats[SHARDS];
	r->planned->shards[1].delta_hash.bytes[3] ^= 1; /* rank 1's */
	plan_put(r);
	run_ranks(r, seats, SHARDS);
	assert_int_equal(seats[0].rc, ERR_EXTERNAL);
	assert_int_equal(seats[1].rc, ERR_CORRUPT);
	assert_int_equal(seats[2].rc, ERR_EXTERNAL);
	assert_non_null(strstr(seats[0].e.text, "another rank"));
	assert_int_not_equal(access(r->output, F_OK), 0);
}

static void without_an_output_every_rank_fails(void **state)
{
	struct run *r = *state;
	struct seat seats[2];
	assert_ok(&r->e, fault_arm("worker.merge.before_output=errno@1", &r->e));
	run_ranks(r, seats, 2);
	assert_int_equal(seats[0].rc, ERR_FAULT);
	assert_int_equal(seats[1].rc, ERR_EXTERNAL);
	assert_int_not_equal(access(r->output, F_OK), 0);
}

static void out_of_memory_is_said(void **state)
{
	struct run *r = *state;
	int said = 0, rc = ERR_NOMEM;
	r->planned->numbers.rounds = 1;
	plan_put(r);
	for (int64_t n = 0; rc != 0; n += 1 + n / 16) {
		fault_set(n, 1);
		rc = run_alone(r);
		fault_set(-1, 0);
		if (rc != 0 && rc != ERR_NOMEM)
			fail_msg("allocation %d: %s: %s", (int)n, err_name(rc), r->e.text);
		said += rc != 0;
		if (rc != 0)
			assert_int_not_equal(access(r->output, F_OK), 0);
	}
	assert_true(said > 20);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(any_number_of_ranks_gives_the_same_bytes),
		T(finished_deltas_are_put_together),
		T(inputs_that_do_not_match_their_digests_are_refused),
		T(inputs_that_are_none_are_refused),
		T(another_base_model_is_refused),
		T(a_rank_that_fails_tells_the_others),
		T(without_an_output_every_rank_fails),
		T(out_of_memory_is_said),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
