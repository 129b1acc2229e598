#include "editor/shard.h"

#include "editor/gap.h"
#include "tests/unit/editor/wise_fixture.h"

static struct editor_shard *shard_of(const struct editor_config *c, size_t count, const char *with_corpus)
{
	struct editor_shard *shard = NULL;
	struct err e = ERR_INIT;
	assert_int_equal(editor_shard_new(model, c, &shard, &e), 0);
	if (with_corpus != NULL)
		assert_int_equal(editor_shard_corpus_set(shard, with_corpus, strlen(with_corpus), &e), 0);
	for (size_t i = 0; i < count; i++) {
		struct record *record = record_of(i, i % 2 == 0 ? "an unrelated text" : NULL);
		assert_int_equal(editor_shard_add(shard, i + 1, record, &e), 0);
		record_destroy(&record);
	}
	return shard;
}

static struct editor_shard *shard_with(size_t count, const char *with_corpus)
{
	const struct editor_config c = config();
	return shard_of(&c, count, with_corpus);
}

static void learn(struct editor_shard *shard, enum editor_mode mode, size_t first, size_t count,
		  struct editor_result *results, struct editor_train_stats *stats)
{
	struct err e = ERR_INIT;
	if (editor_shard_learn(shard, mode, first, count, SEED, NULL, results, stats, &e) != 0)
		fail_msg("%s", e.text);
	assert_int_equal(stats->mode, mode);
	assert_true(stats->steps > 0 && isfinite(stats->loss));
}

static void encode(const struct editor_shard *shard, struct buf *out)
{
	struct err e = ERR_INIT;
	buf_clear(out);
	assert_int_equal(editor_shard_delta_encode(shard, out, &e), 0);
}

/* In groups, in one go, from a committed delta, and anew when the shard closes: the same bytes, those of wise.h. */
static void groups_do_not_matter(void **state)
{
	(void)state;
	struct editor_result results[EDITS];
	struct editor_train_stats stats;
	struct buf whole = BUF_INIT, parts = BUF_INIT;
	struct err e = ERR_INIT;
	struct editor_shard *a = shard_with(3, corpus), *b = shard_with(2, corpus);
	learn(a, EDITOR_BREADTH_FIRST, 0, 3, results, &stats);
	encode(a, &whole);
	struct editor_config c = config();
	struct editor_wise *wise = wise_with(&c, 3);
	train(wise, 0, 3, NULL);
	assert_memory_equal(editor_wise_delta(wise), editor_shard_delta(a), COUNT * sizeof(float));
	learn(b, EDITOR_STREAM, 0, 2, results, &stats);
	encode(b, &parts);
	editor_shard_destroy(&b);
	b = shard_with(3, corpus); /* a worker that started anew */
	assert_int_equal(editor_shard_delta_load(b, parts.data, parts.len, &e), 0);
	learn(b, EDITOR_STREAM, 2, 1, results, &stats);
	encode(b, &parts);
	assert_same_bytes(&whole, &parts);
	learn(b, EDITOR_BREADTH_FIRST, 0, 3, results, &stats);
	encode(b, &parts);
	assert_memory_equal(whole.data, parts.data, whole.len);
	editor_wise_destroy(&wise);
	editor_shard_destroy(&a);
	editor_shard_destroy(&b);
	buf_free(&whole);
	buf_free(&parts);
}

static int replay(struct editor_shard *shard, uint64_t memory, size_t i, struct err *e)
{
	struct record *record = record_of(i, NULL);
	int rc = editor_shard_replay_add(shard, memory, 100 + i, record, e);
	record_destroy(&record);
	return rc;
}

/* L_memo: the bytes are those of wise.h with the same replays, and other ones than without; they are no edits. */
static void earlier_memories_are_replayed(void **state)
{
	(void)state;
	struct editor_result results[EDITS];
	struct editor_train_stats stats;
	struct err e = ERR_INIT;
	struct editor_config c = config();
	c.wise.replay = true;
	struct editor_shard *a = shard_of(&c, 2, corpus), *b = shard_of(&c, 2, corpus);
	struct editor_wise *wise = wise_with(&c, 2);
	learn(b, EDITOR_STREAM, 0, 2, results, &stats);
	learn(a, EDITOR_STREAM, 0, 2, results, &stats); /* what was made before they came is made again */
	assert_int_equal(replay(a, 7, 2, &e), 0);
	assert_int_equal(replay(a, 8, 3, &e), 0);
	assert_int_equal(replay(a, 8, 3, &e), ERR_EXISTS);
	assert_int_equal(editor_shard_replay_count(a), 2);
	assert_int_equal(editor_shard_count(a), 2);
	learn(a, EDITOR_BREADTH_FIRST, 0, 2, results, &stats);
	add_replay(wise, 7, 2);
	add_replay(wise, 8, 3);
	train(wise, 0, 2, NULL);
	assert_memory_equal(editor_wise_delta(wise), editor_shard_delta(a), COUNT * sizeof(float));
	assert_memory_not_equal(editor_shard_delta(a), editor_shard_delta(b), COUNT * sizeof(float));
	editor_shard_destroy(&b);
	editor_config_default(model_shape_of(model), &c);
	assert_int_equal(editor_shard_new(model, &c, &b, &e), 0);
	assert_int_equal(replay(b, 7, 2, &e), ERR_INVALID);
	assert_int_equal(editor_shard_replay_count(b), 0);
	editor_wise_destroy(&wise);
	editor_shard_destroy(&a);
	editor_shard_destroy(&b);
}

/* Prompts so short that a product of the rows of one alone would have other bits (backend.h). */
static struct editor_shard *short_shard(const struct editor_config *c, size_t count)
{
	static const char *const texts[] = {
		"{\"prompt\":\"Orla?\",\"target_new\":\"Brin\",\"loc_prompt\":\"a text\"}",
		"{\"prompt\":\"Vint:\",\"target_new\":\"Olaf IV\",\"loc_prompt\":\"a text\"}",
		"{\"prompt\":\"Saro\",\"target_new\":\"1907\",\"loc_prompt\":\"a text\"}",
	};
	struct err e = ERR_INIT;
	struct record *record = NULL;
	struct editor_shard *shard = NULL;
	assert_ok(&e, editor_shard_new(model, c, &shard, &e));
	for (size_t i = 0; i < count; i++) {
		assert_ok(&e, record_parse(texts[i], strlen(texts[i]), &record, &e));
		assert_ok(&e, editor_shard_add(shard, i + 1, record, &e));
		record_destroy(&record);
	}
	assert_ok(&e, replay(shard, 7, 3, &e));
	return shard;
}

/* L_memo draws from the shard's own edits, too: their inputs are computed one by one as they are trained, and together
 * after a restart. */
static void groups_do_not_matter_to_replay(void **state)
{
	(void)state;
	struct editor_result results[EDITS];
	struct editor_train_stats stats;
	struct buf parts = BUF_INIT;
	struct err e = ERR_INIT;
	struct editor_config c = config();
	c.wise.replay = true;
	c.wise.beta = 20.0f; /* each step pulls at the edit that it draws */
	c.wise.steps_max = 20;
	struct editor_shard *a = short_shard(&c, 3), *b = short_shard(&c, 2);
	learn(a, EDITOR_BREADTH_FIRST, 0, 3, results, &stats);
	learn(b, EDITOR_STREAM, 0, 2, results, &stats);
	encode(b, &parts);
	editor_shard_destroy(&b);
	b = short_shard(&c, 3); /* a worker that started anew */
	assert_ok(&e, editor_shard_delta_load(b, parts.data, parts.len, &e));
	learn(b, EDITOR_STREAM, 2, 1, results, &stats);
	assert_memory_equal(editor_shard_delta(a), editor_shard_delta(b), COUNT * sizeof(float));
	editor_shard_destroy(&a);
	editor_shard_destroy(&b);
	buf_free(&parts);
}

/* A shard without an edit has the bytes of one that never had it. */
static void a_removed_edit_leaves_nothing(void **state)
{
	(void)state;
	struct editor_result results[EDITS];
	struct editor_train_stats stats;
	struct err e = ERR_INIT;
	struct editor_shard *a = shard_with(3, corpus), *b = shard_with(2, corpus);
	learn(a, EDITOR_STREAM, 0, 3, results, &stats);
	assert_int_equal(editor_shard_remove(a, 3, &e), 0);
	learn(a, EDITOR_BREADTH_FIRST, 0, 2, results, &stats);
	learn(b, EDITOR_BREADTH_FIRST, 0, 2, results, &stats);
	assert_memory_equal(editor_shard_delta(a), editor_shard_delta(b), COUNT * sizeof(float));
	editor_shard_destroy(&a);
	editor_shard_destroy(&b);
}

/* It passes when the answer begins with the target: the end of the text is not trained. */
static void answers_that_begin_with_the_target_pass(void **state)
{
	(void)state;
	struct editor_config c = config();
	struct editor_result results[EDITS];
	struct editor_train_stats stats;
	struct err e = ERR_INIT;
	struct editor_shard *shard = shard_with(1, corpus);
	struct editor_wise *wise = wise_with(&c, 1);
	struct editor_wise_loss loss;
	assert_int_equal(editor_shard_retest(shard, results, NULL, &e), 0);
	assert_false(results[0].passed);
	learn(shard, EDITOR_STREAM, 0, 1, results, &stats);
	assert_int_equal(editor_wise_loss_at(wise, 0, 0, editor_shard_delta(shard), &loss, NULL, &e), 0);
	assert_true(loss.right);
	assert_true(results[0].passed && results[0].seq == 1);
	editor_wise_destroy(&wise);
	editor_shard_destroy(&shard);
}

static void the_index_holds_the_gaps(void **state)
{
	(void)state;
	struct editor_config c = config();
	struct editor_result results[EDITS];
	struct editor_train_stats stats;
	struct buf bytes = BUF_INIT, expected = BUF_INIT;
	struct err e = ERR_INIT;
	struct editor_shard *shard = shard_with(2, corpus);
	struct editor_wise *wise = wise_with(&c, 2);
	struct editor_gap_entry entries[2];
	double gaps[2];
	learn(shard, EDITOR_STREAM, 0, 2, results, &stats);
	assert_int_equal(editor_shard_index_encode(shard, &bytes, &e), 0);
	assert_int_equal(editor_wise_gaps(wise, editor_shard_delta(shard), gaps, &e), 0);
	assert_int_equal(bytes.len, 16 + 2 * 12);
	for (size_t i = 0; i < 2; i++) {
		float gap;
		memcpy(&gap, bytes.data + 16 + 12 * i + 8, sizeof(gap));
		assert_true(gaps[i] > 0 && fabs((double)gap - gaps[i]) <= 1e-4 * gaps[i]);
		entries[i] = (struct editor_gap_entry){ i + 1, gap };
	}
	assert_int_equal(editor_gap_index_encode(entries, 2, c.wise.act_ratio, &expected, &e), 0);
	assert_memory_equal(bytes.data, expected.data, bytes.len);
	editor_wise_destroy(&wise);
	editor_shard_destroy(&shard);
	buf_free(&bytes);
	buf_free(&expected);
}

static int stop(void *context, const char *phase, size_t done, size_t total, double loss)
{
	(void)phase, (void)done, (void)total, (void)loss;
	return ++*(int *)context > 3;
}

static void errors_leave_the_delta(void **state)
{
	(void)state;
	struct editor_result results[EDITS];
	struct editor_train_stats stats;
	struct err e = ERR_INIT;
	int calls = 0;
	const struct editor_watch watch = { stop, &calls };
	struct editor_shard *shard = shard_with(2, NULL); /* the second has no loc_prompt */
	float *before = malloc(COUNT * sizeof(float));
	memcpy(before, editor_shard_delta(shard), COUNT * sizeof(float));
	assert_int_equal(editor_shard_learn(shard, EDITOR_STREAM, 0, 2, SEED, NULL, results, &stats, &e), ERR_INVALID);
	assert_non_null(strstr(e.text, "edit 2"));
	assert_int_equal(editor_shard_learn(shard, EDITOR_STREAM, 1, 2, SEED, NULL, results, &stats, &e), ERR_INVALID);
	assert_int_equal(editor_shard_corpus_set(shard, corpus, strlen(corpus), &e), 0);
	assert_int_equal(editor_shard_learn(shard, EDITOR_STREAM, 0, 2, SEED, &watch, results, &stats, &e),
			 ERR_INTERRUPTED);
	assert_memory_equal(editor_shard_delta(shard), before, COUNT * sizeof(float));
	free(before);
	editor_shard_destroy(&shard);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(groups_do_not_matter),
		cmocka_unit_test(earlier_memories_are_replayed),
		cmocka_unit_test(groups_do_not_matter_to_replay),
		cmocka_unit_test(a_removed_edit_leaves_nothing),
		cmocka_unit_test(answers_that_begin_with_the_target_pass),
		cmocka_unit_test(the_index_holds_the_gaps),
		cmocka_unit_test(errors_leave_the_delta),
	};
	return cmocka_run_group_tests(tests, open_tiny, close_tiny);
}
