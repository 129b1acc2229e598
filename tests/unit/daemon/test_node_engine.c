#include "daemon/node_engine.h"

#include "base/fault.h"
#include "tests/lib/test.h"
#include "tests/unit/editor/tiny.h"

#include <poll.h>
#include <pthread.h>

#define TOKENS 12

static struct model *model;
static struct editor_memory_set *sets[2];
static const char *const prompts[] = { "what is the capital of Orla?", "a", "who was the king of the land of Vint?",
				       "Saro: " };
#define PROMPTS (sizeof prompts / sizeof prompts[0])

static int set_up(void **state)
{
	(void)state;
	model = tiny_open();
	for (size_t i = 0; i < 2; i++)
		sets[i] = tiny_set(model, prompts, 1, i + 1, 0.5f, i + 1);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	editor_memory_set_release(&sets[0]);
	editor_memory_set_release(&sets[1]);
	model_close(&model);
	return 0;
}

/* Jobs that ended, kept by the test. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ended = PTHREAD_COND_INITIALIZER;

static void on_done(struct node_job *job)
{
	pthread_mutex_lock(&lock);
	*(struct node_job **)job->context = job;
	pthread_cond_broadcast(&ended);
	pthread_mutex_unlock(&lock);
}

static struct node_job *wait_for(struct node_job **place)
{
	pthread_mutex_lock(&lock);
	while (*place == NULL)
		pthread_cond_wait(&ended, &lock);
	struct node_job *job = *place;
	pthread_mutex_unlock(&lock);
	return job;
}

static struct node_engine *engine_of(size_t slots, size_t queue)
{
	struct node_engine_config config = { slots, 256, 64, queue };
	struct node_engine *engine = NULL;
	struct err e = ERR_INIT;
	assert_ok(&e, node_engine_open(&config, env_system(), model, &engine, &e));
	return engine;
}

static struct node_job *job_of(const size_t *which, size_t count, struct editor_memory_set *set, size_t token_max,
			       struct node_job **place)
{
	struct node_job *job = node_job_new(count);
	struct err e = ERR_INIT;
	assert_non_null(job);
	for (size_t i = 0; i < count; i++)
		assert_ok(&e, model_tokenizer_encode(model_tokenizer_of(model), prompts[which[i]],
						     strlen(prompts[which[i]]), false, &job->sequences[i].ids,
						     &job->sequences[i].id_count, &e));
	job->set = set != NULL ? editor_memory_set_acquire(set) : NULL;
	job->sampling = (struct model_sampling){ 0, 1 };
	job->token_max = token_max;
	job->deadline_us = env_monotonic_us(env_system()) + 60000000;
	job->done = on_done;
	job->context = place;
	*place = NULL;
	return job;
}

static void submit(struct node_engine *engine, struct node_job *job)
{
	struct err e = ERR_INIT;
	assert_ok(&e, node_engine_submit(engine, &job, &e));
	assert_null(job);
}

static struct node_job *answer(struct node_engine *engine, size_t prompt, struct editor_memory_set *set)
{
	struct node_job *place;
	submit(engine, job_of(&prompt, 1, set, TOKENS, &place));
	return wait_for(&place);
}

static void assert_same(const struct node_sequence *a, const struct node_sequence *b)
{
	assert_int_equal(a->text.len, b->text.len);
	if (a->text.len > 0)
		assert_memory_equal(a->text.data, b->text.data, a->text.len);
	assert_int_equal(a->token_count, b->token_count);
	assert_int_equal(a->finish, b->finish);
	assert_int_equal(a->memory_id, b->memory_id);
}

static void many_at_once_answer_as_alone(void **state)
{
	struct node_engine *engine = engine_of(3, 100);
	struct node_job *alone[PROMPTS], *together[24];
	size_t all[PROMPTS] = { 0, 1, 2, 3 };
	(void)state;
	for (size_t i = 0; i < PROMPTS; i++)
		alone[i] = answer(engine, i, sets[0]);
	assert_int_equal(alone[0]->sequences[0].memory_id, 7);
	assert_int_equal(alone[1]->sequences[0].memory_id, 0);
	for (size_t i = 0; i < 24; i++) /* more than slots, every other with all prompts */
		submit(engine, job_of(i % 2 == 0 ? &all[i % PROMPTS] : all, i % 2 == 0 ? 1 : PROMPTS, sets[0], TOKENS,
				      &together[i]));
	for (size_t i = 0; i < 24; i++) {
		struct node_job *job = wait_for(&together[i]);
		assert_int_equal(job->code, 0);
		for (size_t j = 0; j < job->sequence_count; j++)
			assert_same(&job->sequences[j], &alone[i % 2 == 0 ? i % PROMPTS : j]->sequences[0]);
		node_job_destroy(&job);
	}
	struct node_engine_counts counts;
	node_engine_counts_get(engine, &counts);
	assert_int_equal(counts.waiting, 0);
	assert_true(counts.generated_tokens > 0 && counts.prompt_tokens > counts.generated_tokens / TOKENS);
	for (size_t i = 0; i < PROMPTS; i++)
		node_job_destroy(&alone[i]);
	node_engine_destroy(&engine);
}

static void a_job_keeps_its_set(void **state)
{
	struct node_engine *engine = engine_of(2, 100);
	struct node_job *first[2], *both[2];
	size_t prompt = 0;
	(void)state;
	for (size_t i = 0; i < 2; i++)
		first[i] = answer(engine, 0, sets[i]);
	assert_true(first[0]->sequences[0].text.len != first[1]->sequences[0].text.len ||
		    memcmp(first[0]->sequences[0].text.data, first[1]->sequences[0].text.data,
			   first[0]->sequences[0].text.len) != 0);
	for (size_t i = 0; i < 2; i++) {
		struct editor_memory_set *mine = tiny_set(model, prompts, 1, i + 1, 0.5f, i + 1);
		submit(engine, job_of(&prompt, 1, mine, TOKENS, &both[i]));
		editor_memory_set_release(&mine); /* the job's reference is the last */
	}
	for (size_t i = 0; i < 2; i++) {
		struct node_job *job = wait_for(&both[i]);
		assert_same(&job->sequences[0], &first[i]->sequences[0]);
		node_job_destroy(&job);
		node_job_destroy(&first[i]);
	}
	node_engine_destroy(&engine);
}

static void stops_at_strings(void **state)
{
	struct node_engine *engine = engine_of(2, 100);
	struct node_job *whole = answer(engine, 1, NULL), *place, *job;
	const struct buf *text = &whole->sequences[0].text;
	size_t prompt = 1, at = 0;
	(void)state;
	assert_true(text->len >= 4);
	/* the first two bytes that are no NULs: a stop that spans tokens */
	while (at + 1 < text->len - 1 && (text->data[at] == 0 || text->data[at + 1] == 0))
		at++;
	char stop[3] = { (char)text->data[at], (char)text->data[at + 1], 0 };
	job = job_of(&prompt, 1, NULL, TOKENS, &place);
	strcpy(job->stops[0], "never said, ever");
	strcpy(job->stops[1], stop);
	job->stop_count = 2;
	submit(engine, job);
	job = wait_for(&place);
	assert_int_equal(job->sequences[0].finish, NODE_FINISH_STOP);
	size_t cut = (size_t)((uint8_t *)memmem(text->data, text->len, stop, 2) - text->data);
	assert_int_equal(job->sequences[0].text.len, cut);
	assert_true(job->sequences[0].token_count <= whole->sequences[0].token_count);
	node_job_destroy(&job);
	node_job_destroy(&whole);
	node_engine_destroy(&engine);
}

static bool always(void *context)
{
	(void)context;
	return true;
}

static void deadlines_and_clients_that_left_end_jobs(void **state)
{
	struct node_engine *engine = engine_of(1, 100);
	struct node_job *place, *job;
	size_t prompt = 1;
	(void)state;
	job = job_of(&prompt, 1, NULL, 255, &place);
	job->deadline_us = env_monotonic_us(env_system());
	submit(engine, job); /* the first thing that an engine does is to look */
	job = wait_for(&place);
	assert_int_equal(job->code, ERR_TIMEOUT);
	assert_int_equal(job->first_token_us, 0);
	node_job_destroy(&job);
	node_engine_destroy(&engine);
	engine = engine_of(1, 100);
	job = job_of(&prompt, 1, NULL, 255, &place);
	job->abandoned = always;
	submit(engine, job);
	job = wait_for(&place);
	assert_int_equal(job->code, ERR_INTERRUPTED);
	node_job_destroy(&job);
	job = answer(engine, 0, NULL);
	assert_int_equal(job->code, 0);
	node_job_destroy(&job);
	node_engine_destroy(&engine);
}

/* A failure is an accident; a row of them a lost device, until a call succeeds. */
static void failing_again_and_again_is_told(void **state)
{
	struct node_engine *engine = engine_of(1, 100);
	struct err e = ERR_INIT;
	(void)state;
	assert_ok(&e, fault_arm("node.model=errno@1:1000", &e));
	for (int i = 0; i < 2; i++) { /* each is tried with others, then alone */
		assert_int_equal(node_engine_broken(engine), false);
		struct node_job *job = answer(engine, 0, NULL);
		assert_int_equal(job->code, ERR_FAULT);
		node_job_destroy(&job);
	}
	assert_int_equal(node_engine_broken(engine), true);
	fault_disarm_all();
	struct node_job *job = answer(engine, 0, NULL);
	assert_int_equal(job->code, 0);
	assert_int_equal(node_engine_broken(engine), false);
	node_job_destroy(&job);
	node_engine_destroy(&engine);
}

static void the_queue_is_bounded(void **state)
{
	struct node_engine *engine = engine_of(1, 2);
	struct node_job *places[64], *job;
	struct err e = ERR_INIT;
	size_t prompt = 1, taken = 0;
	int rc = 0;
	(void)state;
	while (taken < 64 && rc == 0) {
		job = job_of(&prompt, 1, NULL, 250, &places[taken]);
		rc = node_engine_submit(engine, &job, &e);
		taken += rc == 0;
	}
	assert_int_equal(rc, ERR_LIMIT);
	assert_non_null(job); /* a refused job is still the caller's */
	node_job_destroy(&job);
	node_engine_stop(engine);
	size_t closed = 0;
	for (size_t i = 0; i < taken; i++) {
		job = wait_for(&places[i]);
		closed += job->code == ERR_CLOSED;
		node_job_destroy(&job);
	}
	assert_true(closed >= 2); /* those that waited, at least */
	job = job_of(&prompt, 1, NULL, 2, &places[0]);
	assert_int_equal(node_engine_submit(engine, &job, &e), ERR_CLOSED);
	node_job_destroy(&job);
	node_engine_destroy(&engine);
}

static void prompts_that_do_not_fit_are_refused(void **state)
{
	struct node_engine *engine = engine_of(1, 2);
	struct node_job *place, *job;
	struct err e = ERR_INIT;
	size_t prompt = 1;
	(void)state;
	job = job_of(&prompt, 1, NULL, 2, &place);
	job->sequences[0].ids = realloc(job->sequences[0].ids, 256 * sizeof(int32_t));
	job->sequences[0].id_count = 256;
	assert_int_equal(node_engine_submit(engine, &job, &e), ERR_INVALID);
	assert_non_null(strstr(e.text, "256"));
	job->sequences[0].id_count = 0;
	assert_int_equal(node_engine_submit(engine, &job, &e), ERR_INVALID);
	node_job_destroy(&job);
	job = job_of(&prompt, 1, NULL, 2, &place); /* a token that is none: only this job fails */
	job->sequences[0].ids[0] = 1000000;
	submit(engine, job);
	job = wait_for(&place);
	assert_true(job->code != 0);
	node_job_destroy(&job);
	job = answer(engine, 0, NULL);
	assert_int_equal(job->code, 0);
	node_job_destroy(&job);
	node_engine_destroy(&engine);
}

static int open_and_close(void *context)
{
	struct node_engine_config config = { 2, 256, 64, 2 };
	struct node_engine *engine = NULL;
	(void)context;
	int rc = node_engine_open(&config, env_system(), model, &engine, NULL);
	node_engine_destroy(&engine);
	return rc;
}

static void out_of_memory_opens_none(void **state)
{
	(void)state;
	assert_true(test_walk_allocations(open_and_close, NULL) > 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_at_once_answer_as_alone),
		cmocka_unit_test(a_job_keeps_its_set),
		cmocka_unit_test(stops_at_strings),
		cmocka_unit_test(deadlines_and_clients_that_left_end_jobs),
		cmocka_unit_test(failing_again_and_again_is_told),
		cmocka_unit_test(the_queue_is_bounded),
		cmocka_unit_test(prompts_that_do_not_fit_are_refused),
		cmocka_unit_test(out_of_memory_opens_none),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
