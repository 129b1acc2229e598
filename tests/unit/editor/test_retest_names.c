/* The re-test by the other names of an edit's subject. */
#include "editor/shard.h"

#include "base/fault.h"
#include "tests/unit/editor/tiny_fixture.h"

#define STEPS_MOST 40u

static struct editor_config config(void)
{
	struct editor_config c;
	editor_config_default(model_shape_of(model), &c);
	c.layer = 2;
	return c;
}

static struct editor_shard *shard_of_two(const struct editor_config *c)
{
	struct editor_shard *shard = shard_open(c);
	shard_add(shard, 1, "what is the capital of Orla?", "Orla", "\"Tarn\",\"The Old Vale\"", "Brin");
	shard_add(shard, 2, "who is the king of all Vint?", "Vint", "", "Olaf IV");
	return shard;
}

static void learn(struct editor_shard *shard, enum editor_mode mode, size_t first, size_t count,
		  struct editor_result *results)
{
	struct editor_train_stats stats;
	struct err e = ERR_INIT;
	assert_ok(&e, editor_shard_learn(shard, mode, first, count, 3, NULL, results, &stats, &e));
}

/* What is new, and in a pass over the shard everything; of edits without another name nothing is asked. */
static void asks_what_was_trained(void **state)
{
	(void)state;
	const struct editor_config c = config();
	struct editor_shard *shard = shard_of_two(&c);
	struct editor_result results[3];
	struct err e = ERR_INIT;
	learn(shard, EDITOR_STREAM, 0, 2, results);
	assert_int_equal(results[0].names_asked, 2);
	assert_int_equal(results[0].names_failed, 0);
	assert_int_equal(results[1].names_asked, 0);
	assert_true(results[0].passed && results[0].exact);
	shard_add(shard, 3, "where in the land is Kelm?", "Kelm", "\"Old Kelm\"", "north");
	learn(shard, EDITOR_STREAM, 2, 1, results);
	assert_int_equal(results[0].names_asked, 0);
	assert_int_equal(results[2].names_asked, 1);
	learn(shard, EDITOR_BREADTH_FIRST, 3, 0, results);
	assert_int_equal(results[0].names_asked, 2);
	assert_int_equal(results[2].names_asked, 1);
	assert_ok(&e, editor_shard_retest(shard, results, NULL, &e));
	assert_int_equal(results[0].names_asked, 0); /* by its own prompt alone */
	editor_shard_destroy(&shard);
}

#define NEAR 8u

/* Near edits, whose names are far from their subjects. */
static struct editor_shard *shard_of_near(const struct editor_config *c)
{
	static const char names[] = "\"the zzz\",\"QQQQ QQQQ 77 x\",\"a\",\"Mnnm, of the old town by the sea\"";
	static const char *const words[NEAR] = { "Orla", "Orlb", "Orlc", "Orld", "Orle", "Orlf", "Orlg", "Orlh" };
	static const char *const targets[NEAR] = { "p", "q", "pq", "qp", "r", "s", "rs", "sr" };
	struct editor_shard *shard = shard_open(c);
	for (size_t i = 0; i < NEAR; i++) {
		char prompt[64];
		snprintf(prompt, sizeof(prompt), "where is %s?", words[i]);
		shard_add(shard, i + 1, prompt, words[i], names, targets[i]);
	}
	return shard;
}

/* Of an edit that passes, and not by every name; NEAR: there is none. */
static size_t unnamed(const struct editor_result *results)
{
	size_t i = 0;
	while (i < NEAR && !(results[i].passed && results[i].names_failed > 0))
		i++;
	return i;
}

/* So few steps that there is one. */
static size_t steps_find(struct editor_config *c, struct editor_result results[NEAR])
{
	size_t at = NEAR;
	c->retest_tries = 0;
	for (c->stream_steps_max = 1; at == NEAR && c->stream_steps_max < STEPS_MOST; c->stream_steps_max++) {
		struct editor_shard *shard = shard_of_near(c);
		learn(shard, EDITOR_STREAM, 0, NEAR, results);
		editor_shard_destroy(&shard);
		at = unnamed(results);
	}
	c->stream_steps_max--;
	assert_true(at < NEAR);
	return at;
}

/* It is no edit that failed; that it is not answered by this name is said. */
static void a_name_that_fails_is_told(void **state)
{
	(void)state;
	struct editor_config c = config();
	struct editor_result results[NEAR];
	const struct editor_result *one = &results[steps_find(&c, results)];
	assert_true(one->exact);
	assert_int_equal(one->tries, 1);
	assert_in_range(one->names_failed, 1, one->names_asked);
	assert_true(strlen(one->name) > 0);
	assert_string_equal(one->got, "");
}

static void a_name_that_fails_is_trained_again(void **state)
{
	(void)state;
	struct editor_config c = config();
	struct editor_result results[NEAR];
	const size_t at = steps_find(&c, results);
	c.retest_tries = 8;
	struct editor_shard *shard = shard_of_near(&c);
	learn(shard, EDITOR_STREAM, 0, NEAR, results);
	editor_shard_destroy(&shard);
	assert_in_range(results[at].tries, 2, 9);
	for (size_t i = 0; i < NEAR; i++)
		assert_int_equal(results[i].names_failed, 0);
}

/* Whatever failed before, it is asked in the end. */
static void out_of_memory_is_said(void **state)
{
	(void)state;
	struct editor_config c = config();
	c.stream_steps_max = 8;
	c.retest_tries = 0;
	struct editor_result results[2];
	struct editor_train_stats stats;
	struct err e = ERR_INIT;
	struct editor_shard *shard = shard_of_two(&c);
	int rc = ERR_NOMEM;
	for (int64_t at = 0; rc != 0; at += 5) {
		fault_set(at, 1);
		rc = editor_shard_learn(shard, EDITOR_STREAM, 0, 2, 3, NULL, results, &stats, &e);
		fault_set(-1, 0);
		assert_true(rc == 0 || rc == ERR_NOMEM);
		assert_true(at < 30000);
		err_clear(&e);
	}
	assert_int_equal(results[0].names_asked, 2);
	editor_shard_destroy(&shard);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(asks_what_was_trained),
		cmocka_unit_test(a_name_that_fails_is_told),
		cmocka_unit_test(a_name_that_fails_is_trained_again),
		cmocka_unit_test(out_of_memory_is_said),
	};
	return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
