#include "daemon/eval_compare.h"

#include "tests/lib/cli_fixture.h"

#include <math.h>
#include <sys/stat.h>

/* A report of one run: `count` rows, the first `right` of them with rel 1, the others 0. Ids are PREFIX-i. */
static void report_put(struct buf *out, const char *prefix, size_t count, size_t right)
{
	buf_printf(out, "{\"runs\":[{\"edits\":%zu,\"seed\":1,\"details\":[", count);
	for (size_t i = 0; i < count; i++)
		buf_printf(out, "%s{\"id\":\"%s-%03zu\",\"rel\":%d}", i > 0 ? "," : "", prefix, i, i < right ? 1 : 0);
	buf_printf(out, "],\"probes\":[{\"id\":\"probe\",\"loc_same_form\":1}]}]}");
}

static struct json *report_new(const char *prefix, size_t count, size_t right)
{
	struct buf text = BUF_INIT;
	struct json *root = NULL;
	struct err e = ERR_INIT;
	report_put(&text, prefix, count, right);
	assert_ok(&e, json_parse(buf_cstr(&text), text.len, &root, &e));
	buf_free(&text);
	return root;
}

static struct json *compare(const struct json *a, const struct json *b, uint64_t seed)
{
	struct buf text = BUF_INIT;
	struct json *root = NULL;
	struct err e = ERR_INIT;
	assert_ok(&e, eval_compare(a, b, EVAL_RESAMPLES, seed, &text, &e));
	assert_ok(&e, json_parse(buf_cstr(&text), text.len, &root, &e));
	buf_free(&text);
	return root;
}

static const struct json *figure(const struct json *comparison, const char *name)
{
	const struct json *figures = json_get(json_at(json_get(comparison, "checkpoints"), 0), "figures");
	for (size_t i = 0; i < json_length(figures); i++) {
		if (strcmp(json_string(json_get(json_at(figures, i), "figure"), NULL), name) == 0)
			return json_at(figures, i);
	}
	fail_msg("no %s", name);
	return NULL;
}

static double number(const struct json *comparison, const char *name, const char *key)
{
	return json_number(json_get(figure(comparison, name), key));
}

static void near(double value, double expected, double tolerance)
{
	if (!(fabs(value - expected) <= tolerance))
		fail_msg("%g, expected %g within %g", value, expected, tolerance);
}

/* 20 of 100 rows differ by one: the mean of n such draws has standard deviation √(p(1−p)/n) = .04. */
static void paired_rows_have_the_interval_of_their_differences(void **state)
{
	(void)state;
	struct json *a = report_new("r", 100, 60), *b = report_new("r", 100, 80), *c = compare(a, b, 1);
	near(number(c, "rel", "a"), 0.6, 1e-12);
	near(number(c, "rel", "b"), 0.8, 1e-12);
	near(number(c, "rel", "difference"), 0.2, 1e-12);
	near(number(c, "rel", "low"), 0.2 - 1.96 * 0.04, 0.012);
	near(number(c, "rel", "high"), 0.2 + 1.96 * 0.04, 0.012);
	assert_int_equal(json_integer(json_get(figure(c, "rel"), "rows")), 100);
	assert_true(json_bool(json_get(figure(c, "rel"), "paired")));
	/* what is the same everywhere has no width */
	near(number(c, "loc_same_form", "low"), 0, 0);
	near(number(c, "loc_same_form", "high"), 0, 0);
	json_free(&a);
	json_free(&b);
	json_free(&c);
}

/* Without common ids the two are resampled apart: √(.24/100 + .16/100) = .063. */
static void other_rows_are_resampled_apart(void **state)
{
	(void)state;
	struct json *a = report_new("r", 100, 60), *b = report_new("s", 100, 80), *c = compare(a, b, 1);
	near(number(c, "rel", "difference"), 0.2, 1e-12);
	near(number(c, "rel", "low"), 0.2 - 1.96 * 0.0632, 0.015);
	near(number(c, "rel", "high"), 0.2 + 1.96 * 0.0632, 0.015);
	assert_false(json_bool(json_get(figure(c, "rel"), "paired")));
	json_free(&a);
	json_free(&b);
	json_free(&c);
}

static void only_common_rows_are_paired(void **state)
{
	(void)state;
	struct json *a = report_new("r", 10, 10), *b = report_new("r", 20, 10), *c = compare(a, b, 1);
	const struct json *checkpoint = json_at(json_get(c, "checkpoints"), 0);
	/* no T is shared: the last of each */
	assert_int_equal(json_integer(json_get(checkpoint, "edits_a")), 10);
	assert_int_equal(json_integer(json_get(checkpoint, "edits_b")), 20);
	assert_int_equal(json_integer(json_get(figure(c, "rel"), "rows")), 10);
	near(number(c, "rel", "difference"), 0, 0);
	json_free(&a);
	json_free(&b);
	json_free(&c);
}

static void seeds_are_averaged_and_checkpoints_matched(void **state)
{
	(void)state;
	static const char text_a[] = "{\"runs\":[{\"edits\":1,\"details\":[{\"id\":\"x\",\"rel\":0}]},"
				     "{\"edits\":1,\"details\":[{\"id\":\"x\",\"rel\":1}]},{\"edits\":2,\"details\":[{"
				     "\"id\":\"x\",\"rel\":1}]}]}",
			  text_b[] = "{\"runs\":[{\"edits\":1,\"details\":[{\"id\":\"x\",\"rel\":1,\"gen\":null}]},"
				     "{\"edits\":3,\"details\":[{\"id\":\"x\",\"rel\":1}]}]}";
	struct json *a = NULL, *b = NULL;
	struct err e = ERR_INIT;
	assert_ok(&e, json_parse(text_a, strlen(text_a), &a, &e));
	assert_ok(&e, json_parse(text_b, strlen(text_b), &b, &e));
	struct json *c = compare(a, b, 1);
	assert_int_equal(json_length(json_get(c, "checkpoints")), 1);
	near(number(c, "rel", "a"), 0.5, 0);
	near(number(c, "rel", "difference"), 0.5, 0);
	assert_int_equal(json_length(json_get(json_at(json_get(c, "checkpoints"), 0), "figures")), 1);
	json_free(&a);
	json_free(&b);
	json_free(&c);
}

/* Two checkpoints with as many edits, of which the second's are others. */
static void checkpoints_are_known_by_their_rows(void **state)
{
	(void)state;
	static const char text[] = "{\"runs\":[{\"rows\":2,\"edits\":1,\"details\":[{\"id\":\"x\",\"rel\":0}]},"
				   "{\"rows\":3,\"edits\":1,\"details\":[{\"id\":\"y\",\"rel\":1}]}]}";
	struct json *a = NULL;
	struct err e = ERR_INIT;
	assert_ok(&e, json_parse(text, strlen(text), &a, &e));
	struct json *c = compare(a, a, 1);
	const struct json *checkpoints = json_get(c, "checkpoints");
	assert_int_equal(json_length(checkpoints), 2);
	for (size_t i = 0; i < 2; i++) {
		const struct json *of = json_at(checkpoints, i);
		assert_int_equal(json_integer(json_get(of, "t_a")), 2 + i);
		assert_int_equal(json_integer(json_get(of, "edits_b")), 1);
		assert_int_equal(json_integer(json_get(json_at(json_get(of, "figures"), 0), "rows")), 1);
	}
	near(number(c, "rel", "a"), 0, 0);
	json_free(&a);
	json_free(&c);
}

static void the_seed_decides(void **state)
{
	(void)state;
	struct json *a = report_new("r", 37, 11), *b = report_new("r", 37, 30);
	struct json *c = compare(a, b, 1), *d = compare(a, b, 1), *other = compare(a, b, 2);
	struct buf x = BUF_INIT, y = BUF_INIT, z = BUF_INIT;
	json_canonical(c, &x);
	json_canonical(d, &y);
	json_canonical(other, &z);
	assert_string_equal(buf_cstr(&x), buf_cstr(&y));
	assert_string_not_equal(buf_cstr(&x), buf_cstr(&z));
	buf_free(&x);
	buf_free(&y);
	buf_free(&z);
	json_free(&a);
	json_free(&b);
	json_free(&c);
	json_free(&d);
	json_free(&other);
}

static void what_is_no_report_is_refused(void **state)
{
	(void)state;
	static const char *const texts[] = { "{}",
					     "[]",
					     "{\"runs\":[]}",
					     "{\"edits\":3}",
					     "{\"runs\":[{\"edits\":1,\"details\":[]}]}",
					     "{\"edits\":1,\"details\":[{\"rel\":1}]}" };
	struct json *good = report_new("r", 2, 1);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct json *bad = NULL;
		struct buf out = BUF_INIT;
		struct err e = ERR_INIT;
		assert_ok(&e, json_parse(texts[i], strlen(texts[i]), &bad, &e));
		assert_int_equal(eval_compare(good, bad, 10, 1, &out, &e), ERR_INVALID);
		buf_free(&out);
		json_free(&bad);
	}
	json_free(&good);
}

static void the_command_prints_a_table_or_json(void **state)
{
	struct cli_world *w = *state;
	struct buf text = BUF_INIT;
	char a[TEST_PATH_BYTES], b[TEST_PATH_BYTES], folder[TEST_PATH_BYTES], inside[TEST_PATH_BYTES];
	test_path(a, w->folder, "a.json");
	test_path(b, w->folder, "b.json");
	report_put(&text, "r", 100, 60);
	test_file_write(a, buf_cstr(&text));
	buf_clear(&text);
	report_put(&text, "r", 100, 80);
	test_file_write(b, buf_cstr(&text));
	buf_free(&text);
	EXPECT(w, CLI_OK, "eval", "compare", a, b);
	cli_expect_out(w, "+0.200");
	cli_expect_out(w, " *");
	cli_expect_out(w, "loc_same_form");
	EXPECT(w, CLI_OK, "eval", "compare", a, b, "-o", "json");
	struct json *root = cli_json(w);
	near(number(root, "rel", "difference"), 0.2, 1e-12);
	json_free(&root);
	/* folders of reports */
	test_path(folder, w->folder, "r");
	assert_int_equal(mkdir(folder, 0700), 0);
	EXPECT(w, CLI_NOT_FOUND, "eval", "compare", a, folder);
	cli_expect_err(w, "/r/report.json");
	test_path(inside, folder, "report.json");
	assert_int_equal(rename(b, inside), 0);
	EXPECT(w, CLI_OK, "eval", "compare", a, folder);
	cli_expect_out(w, "+0.200");
	EXPECT(w, CLI_NOT_FOUND, "eval", "compare", a, "/nonexistent.json");
	cli_expect_err(w, "/nonexistent.json");
	EXPECT(w, CLI_USAGE, "eval", "compare", a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paired_rows_have_the_interval_of_their_differences),
		cmocka_unit_test(other_rows_are_resampled_apart),
		cmocka_unit_test(only_common_rows_are_paired),
		cmocka_unit_test(seeds_are_averaged_and_checkpoints_matched),
		cmocka_unit_test(checkpoints_are_known_by_their_rows),
		cmocka_unit_test(the_seed_decides),
		cmocka_unit_test(what_is_no_report_is_refused),
		cmocka_unit_test_setup_teardown(the_command_prints_a_table_or_json, cli_setup_plain, cli_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
