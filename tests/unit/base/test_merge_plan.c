#include "tests/lib/test.h"

#include "base/merge_plan.h"

#include <unistd.h>

static char folder[] = "/tmp/test_merge_plan_XXXXXX";
static char plan_path[128], output_path[128];

static struct merge_plan *plan_of_two(void)
{
	struct merge_plan *plan = NULL;
	struct err e = ERR_INIT;
	assert_int_equal(merge_plan_new(2, &plan, &e), 0);
	plan->merge = 7;
	plan->layer = 25;
	plan->seed = 11;
	plan->deadline_ms = 40000;
	hash_of("model", 5, &plan->base_model);
	plan->numbers.rounds = 24;
	plan->numbers.outer_momentum = 0.0;
	plan->numbers.rate = 0.01;
	for (size_t i = 0; i < 2; i++) {
		struct merge_plan_shard *s = &plan->shards[i];
		s->id = i + 3;
		snprintf(s->delta, sizeof(s->delta), "shard-%zu.delta", i + 3);
		snprintf(s->edits, sizeof(s->edits), "shard-%zu.edits", i + 3);
		hash_of("delta", 5, &s->delta_hash);
		hash_of("edits", 5, &s->edits_hash);
	}
	return plan;
}

static void a_plan_comes_back(void **state)
{
	(void)state;
	struct merge_plan *plan = plan_of_two(), *back = NULL;
	struct buf text = BUF_INIT;
	struct err e = ERR_INIT;
	struct hash digest, want;
	assert_int_equal(merge_plan_encode(plan, &text, &e), 0);
	assert_int_equal(file_write_atomic(plan_path, text.data, text.len, 0600, &e), 0);
	if (merge_plan_read(plan_path, &back, &digest, &e) != 0)
		fail_msg("%s", e.text);
	hash_of(text.data, text.len, &want);
	assert_true(hash_equal(&digest, &want));
	assert_int_equal(back->merge, 7);
	assert_int_equal(back->operator, MERGE_ROUNDS);
	assert_int_equal(back->layer, 25);
	assert_int_equal(back->seed, 11);
	assert_int_equal(back->deadline_ms, 40000);
	assert_true(hash_equal(&back->base_model, &plan->base_model));
	assert_int_equal(back->numbers.rounds, 24);
	assert_int_equal(back->numbers.passes, 0);
	assert_true(back->numbers.outer_momentum == 0.0 && back->numbers.noise < 0 && back->numbers.rate == 0.01);
	assert_int_equal(back->shard_count, 2);
	assert_memory_equal(back->shards, plan->shards, 2 * sizeof(*plan->shards));
	merge_plan_destroy(&plan);
	merge_plan_destroy(&back);
	buf_free(&text);
}

/* Replaces `from` by `to` in a good plan: it must be refused and the text must name the field. */
static void expect_refused(const char *from, const char *to, const char *field)
{
	struct merge_plan *plan = plan_of_two(), *back = NULL;
	struct buf text = BUF_INIT, changed = BUF_INIT;
	struct err e = ERR_INIT;
	assert_int_equal(merge_plan_encode(plan, &text, &e), 0);
	const char *whole = buf_cstr(&text), *at = strstr(whole, from);
	assert_non_null(at);
	buf_append(&changed, whole, (size_t)(at - whole));
	buf_puts(&changed, to);
	buf_puts(&changed, at + strlen(from));
	assert_int_equal(merge_plan_parse(buf_cstr(&changed), changed.len, &back, &e), ERR_INVALID);
	if (strstr(e.text, field) == NULL)
		fail_msg("'%s' does not name %s", e.text, field);
	assert_null(back);
	merge_plan_destroy(&plan);
	buf_free(&text);
	buf_free(&changed);
}

static void wrong_plans_are_refused(void **state)
{
	(void)state;
	expect_refused("\"format\":1", "\"format\":2", "format");
	expect_refused("\"rounds\",\"base", "\"sum\",\"base", "operator");
	expect_refused("\"merge\":7", "\"merge\":-7", "merge");
	expect_refused("\"merge\":7,", "", "merge");
	expect_refused("\"layer\":25", "\"layer\":\"25\"", "layer");
	expect_refused("shard-3.delta", "../shard-3.delta", "delta");
	expect_refused("shard-4.edits", "", "edits");
	expect_refused("\"id\":4", "\"id\":3", "twice");
	expect_refused("\"base_model\":\"", "\"base_model\":\"x", "base_model");
	expect_refused("\"rate\":0.01", "\"rate\":-1", "rate");
	expect_refused("{", "", "merge plan");
}

static void every_operator_has_a_name(void **state)
{
	(void)state;
	for (size_t i = 0; i < MERGE_OPERATOR_COUNT; i++) {
		struct merge_plan *plan = plan_of_two(), *back = NULL;
		struct buf text = BUF_INIT;
		struct err e = ERR_INIT;
		plan->operator=(enum merge_operator) i;
		assert_int_equal(merge_plan_encode(plan, &text, &e), 0);
		assert_int_equal(merge_plan_parse(buf_cstr(&text), text.len, &back, &e), 0);
		assert_int_equal(back->operator, i);
		merge_plan_destroy(&plan);
		merge_plan_destroy(&back);
		buf_free(&text);
	}
}

static void inputs_are_verified(void **state)
{
	(void)state;
	char path[160];
	struct buf got = BUF_INIT;
	struct err e = ERR_INIT;
	struct hash want;
	snprintf(path, sizeof(path), "%s/in", folder);
	assert_int_equal(file_write_atomic(path, "delta", 5, 0600, &e), 0);
	hash_of("delta", 5, &want);
	assert_int_equal(merge_plan_input(plan_path, "in", &want, 100, &got, &e), 0);
	assert_int_equal(got.len, 5);
	assert_int_equal(merge_plan_input(plan_path, "in", &want, 4, &got, &e), ERR_LIMIT);
	assert_int_equal(merge_plan_input(plan_path, "none", &want, 100, &got, &e), ERR_NOT_FOUND);
	hash_of("other", 5, &want);
	assert_int_equal(merge_plan_input(plan_path, "in", &want, 100, &got, &e), ERR_CORRUPT);
	assert_int_equal(got.len, 5);
	unlink(path);
	buf_free(&got);
}

static void edits_are_read_line_by_line(void **state)
{
	(void)state;
	const char *text = "4\t{\"a\":1}\n19\t{}\n", *record;
	size_t len = strlen(text), record_len;
	uint64_t seq;
	struct err e = ERR_INIT;
	assert_int_equal(merge_plan_edit_next(&text, &len, &seq, &record, &record_len, &e), 0);
	assert_int_equal(seq, 4);
	assert_int_equal(record_len, 7);
	assert_memory_equal(record, "{\"a\":1}", 7);
	assert_int_equal(merge_plan_edit_next(&text, &len, &seq, &record, &record_len, &e), 0);
	assert_int_equal(seq, 19);
	assert_int_equal(merge_plan_edit_next(&text, &len, &seq, &record, &record_len, &e), ERR_NOT_FOUND);
	const char *const bad[] = { "4 {}\n", "x\t{}\n", "\t{}\n", "4\t{}", "99999999999999999999999\t{}\n", "\n" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		text = bad[i];
		len = strlen(text);
		assert_int_equal(merge_plan_edit_next(&text, &len, &seq, &record, &record_len, &e), ERR_CORRUPT);
	}
}

static int read_output(void *context)
{
	struct merge_output back;
	struct buf delta = BUF_INIT;
	int rc = merge_output_read(output_path, context, &back, &delta, NULL);
	buf_free(&delta);
	return rc;
}

/* Want of memory is no damage: a merge is not given up for it. */
static void an_output_without_memory_is_not_corrupt(void **state)
{
	(void)state;
	struct merge_output output = { .merge = 7 };
	hash_of("plan", 4, &output.plan);
	assert_int_equal(merge_output_write(output_path, &output, "bytes", 5, NULL), 0);
	assert_true(test_walk_allocations(read_output, &output.plan) > 2);
}

static void an_output_comes_back_or_is_refused(void **state)
{
	(void)state;
	struct merge_output output = { .merge = 7,
				       .layer = 25,
				       .rounds = 24,
				       .ranks = 2,
				       .reduces = 26,
				       .reduced_bytes = 99,
				       .loss = 0.25 },
			    back;
	struct err e = ERR_INIT;
	struct buf delta = BUF_INIT, file = BUF_INIT;
	struct hash other;
	hash_of("plan", 4, &output.plan);
	hash_of("another", 7, &other);
	assert_int_equal(merge_output_read(output_path, &output.plan, &back, &delta, &e), ERR_NOT_FOUND);
	assert_int_equal(merge_output_write(output_path, &output, "bytes\nof it", 11, &e), 0);
	if (merge_output_read(output_path, &output.plan, &back, &delta, &e) != 0)
		fail_msg("%s", e.text);
	assert_memory_equal(&back, &output, sizeof(back));
	assert_int_equal(delta.len, 11);
	assert_memory_equal(delta.data, "bytes\nof it", 11);
	assert_int_equal(merge_output_read(output_path, &other, &back, &delta, &e), ERR_MISMATCH);
	assert_int_equal(delta.len, 11);
	/* Every byte counts, and so does the end. */
	assert_int_equal(file_read(output_path, 4096, &file, &e), 0);
	assert_int_equal(file_write_atomic(output_path, file.data, file.len - 1, 0600, &e), 0);
	assert_int_equal(merge_output_read(output_path, &output.plan, &back, &delta, &e), ERR_CORRUPT);
	file.data[file.len - 4] ^= 1;
	assert_int_equal(file_write_atomic(output_path, file.data, file.len, 0600, &e), 0);
	assert_int_equal(merge_output_read(output_path, &output.plan, &back, &delta, &e), ERR_CORRUPT);
	assert_int_equal(file_write_atomic(output_path, "no header", 9, 0600, &e), 0);
	assert_int_equal(merge_output_read(output_path, &output.plan, &back, &delta, &e), ERR_CORRUPT);
	assert_int_equal(file_write_atomic(output_path, "", 0, 0600, &e), 0);
	assert_int_equal(merge_output_read(output_path, &output.plan, &back, &delta, &e), ERR_CORRUPT);
	assert_int_equal(file_write_atomic(output_path, "{\"format\":1}\n", 13, 0600, &e), 0);
	assert_int_equal(merge_output_read(output_path, &output.plan, &back, &delta, &e), ERR_CORRUPT);
	assert_int_equal(e.code, ERR_CORRUPT);
	buf_free(&delta);
	buf_free(&file);
}

static int make_folder(void **state)
{
	(void)state;
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(plan_path, sizeof(plan_path), "%s/plan.json", folder);
	snprintf(output_path, sizeof(output_path), "%s/output", folder);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	unlink(plan_path);
	unlink(output_path);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_plan_comes_back),
		cmocka_unit_test(wrong_plans_are_refused),
		cmocka_unit_test(every_operator_has_a_name),
		cmocka_unit_test(inputs_are_verified),
		cmocka_unit_test(edits_are_read_line_by_line),
		cmocka_unit_test(an_output_comes_back_or_is_refused),
		cmocka_unit_test(an_output_without_memory_is_not_corrupt),
	};
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
