/* The forms of published data sets (import_zsre.c … import_hallu_csv.c, import_edit.c). Each fixture in
 * tests/fixtures/import has beside it what it must give. */
#include "tests/unit/daemon/import_fixture.h"

#include "base/fault.h"
#include "base/zstd.h"

static const struct {
	const char *name;
	enum import_format format;
} fixtures[] = {
	{ "facts.jsonl", IMPORT_AMEND },
	{ "zsre.json", IMPORT_ZSRE },
	{ "counterfact.json", IMPORT_COUNTERFACT },
	{ "counterfact-flat.json", IMPORT_COUNTERFACT },
	{ "knowedit.json", IMPORT_KNOWEDIT },
	{ "mquake.json", IMPORT_MQUAKE },
	{ "hallu.csv", IMPORT_HALLU_CSV },
};
#define FIXTURE_COUNT (sizeof(fixtures) / sizeof(fixtures[0]))

static void load(const char *name, const char *suffix, struct buf *out)
{
	char path[TEST_PATH_BYTES];
	struct err e = ERR_INIT;
	snprintf(path, sizeof(path), IMPORT_FIXTURES "%s%s", name, suffix);
	assert_ok(&e, file_read(path, 1 << 20, out, &e));
}

static void each_form_gives_its_records(void **state)
{
	(void)state;
	for (size_t i = 0; i < FIXTURE_COUNT; i++) {
		struct buf wanted = BUF_INIT;
		char path[TEST_PATH_BYTES];
		snprintf(path, sizeof(path), IMPORT_FIXTURES "%s", fixtures[i].name);
		load(fixtures[i].name, ".expected", &wanted);
		import_expect(path, IMPORT_AUTO, buf_cstr(&wanted));
		import_expect(path, fixtures[i].format, buf_cstr(&wanted));
		buf_free(&wanted);
	}
}

static void compressed_files_give_the_same(void **state)
{
	for (size_t i = 0; i < FIXTURE_COUNT; i++) {
		struct buf plain = BUF_INIT, packed = BUF_INIT, wanted = BUF_INIT;
		struct err e = ERR_INIT;
		char path[TEST_PATH_BYTES], name[64];
		snprintf(name, sizeof(name), "%s.zst", fixtures[i].name);
		test_path(path, *state, name);
		load(fixtures[i].name, "", &plain);
		load(fixtures[i].name, ".expected", &wanted);
		/* two frames, as `cat a.zst b.zst` leaves them */
		assert_ok(&e, zstd_compress(plain.data, plain.len / 2, 3, &packed, &e));
		assert_ok(&e, zstd_compress(plain.data + plain.len / 2, plain.len - plain.len / 2, 3, &packed, &e));
		assert_ok(&e, file_write_atomic(path, packed.data, packed.len, 0600, &e));
		import_expect(path, IMPORT_AUTO, buf_cstr(&wanted));
		buf_free(&plain);
		buf_free(&packed);
		buf_free(&wanted);
	}
}

/* One item a line, each of another form. */
static void auto_looks_at_every_item(void **state)
{
	import_expect_text(
		*state, "mixed.jsonl",
		"{\"src\":\"p1\",\"alt\":\"t\",\"subject\":\"s\"}\n"
		"{\"requested_rewrite\":{\"prompt\":\"{} p2 {}\",\"subject\":\"s\",\"target_new\":{\"str\":\"t\"}}}\n"
		"{\"requested_rewrite\":[{\"prompt\":\"p3\",\"subject\":\"s\",\"target_new_str\":\"t\"}]}\n"
		"{\"prompt\":\"p4\",\"subject\":\"s\",\"target_new\":\"t\",\"locality\":{}}\n"
		"{\"prompt\":\"p5\",\"subject\":\"s\",\"target_new\":\"t\",\"rephrase_prompt\":\"r\"}\n"
		"{\"question\":\"p6\",\"label\":2006}\n"
		"{\"prompt\":\"p7\",\"target_new\":\"t\"}\n",
		IMPORT_AUTO,
		"1 {\"prompt\":\"p1\",\"target_new\":\"t\",\"subject\":\"s\"}\n"
		"2 {\"prompt\":\"s p2 s\",\"target_new\":\"t\",\"subject\":\"s\"}\n"
		"3 {\"prompt\":\"p3\",\"target_new\":\"t\",\"subject\":\"s\"}\n"
		"4 {\"prompt\":\"p4\",\"target_new\":\"t\",\"subject\":\"s\"}\n"
		"5 {\"prompt\":\"p5\",\"target_new\":\"t\",\"subject\":\"s\",\"rephrase\":[\"r\"]}\n"
		"6 {\"prompt\":\"p6\",\"target_new\":\"2006\"}\n"
		"7 {\"prompt\":\"p7\",\"target_new\":\"t\"}\n");
}

/* What only a record has makes it one, whatever else stands there; the line is kept as it is. */
static void a_record_is_one_with_further_keys_too(void **state)
{
#define CORE "\"prompt\":\"p\",\"target_new\":\"t\""
	static const char *const kept[] = {
		"{\"id\":\"gc\",\"subject\":\"Wa\"," CORE
		",\"ground_truth\":\"note\",\"expires\":\"2030-01-01T00:00:00Z\","
		"\"group\":\"G1\",\"rephrase\":[\"r\"]}",
		"{" CORE ",\"ground_truth\":\"note\"}",
		"{" CORE ",\"subject\":\"s\",\"id\":\"i\",\"ground_truth\":\"note\"}",
		"{" CORE ",\"subject\":\"s\",\"ground_truth\":\"note\",\"rephrase\":[\"r\"]}",
		"{" CORE ",\"subject\":\"s\",\"ground_truth\":\"note\",\"locality\":[{\"prompt\":\"l\"}]}",
		"{" CORE ",\"subject\":\"s\",\"ground_truth\":\"note\",\"portability\":[]}",
		"{" CORE ",\"subject\":\"s\",\"rephrase_prompt\":\"x\",\"expires\":null}",
		"{" CORE ",\"subject\":\"s\",\"requested_rewrite\":{},\"valid_from\":\"2026-11-01T00:00:00Z\"}",
		"{" CORE ",\"subject\":\"s\",\"ground_truth\":\"note\",\"aliases\":[\"a\"]}",
		"{" CORE ",\"subject\":\"s\",\"ground_truth\":\"note\",\"subject_aliases\":[\"al\"]}",
		"{" CORE ",\"subject\":\"s\",\"ground_truth\":\"note\",\"actor\":\"a\"}",
		"{" CORE ",\"subject\":\"s\",\"ground_truth\":\"note\",\"source\":\"a\"}",
		"{" CORE ",\"subject\":\"s\",\"ground_truth\":\"note\",\"ticket\":\"a\"}",
		"{" CORE ",\"src\":\"from there\"}",
		"{" CORE ",\"question\":\"q\",\"label\":\"l\"}",
	};
	struct buf text = BUF_INIT, wanted = BUF_INIT;
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
		buf_printf(&text, "%s\n", kept[i]);
		buf_printf(&wanted, "%zu %s\n", i + 1, kept[i]);
	}
	import_expect_text(*state, "kept.jsonl", buf_cstr(&text), IMPORT_AUTO, buf_cstr(&wanted));
	/* a published row may have an id, and its rephrases in a list */
	import_expect_text(*state, "theirs.jsonl",
			   "{" CORE ",\"subject\":\"s\",\"id\":\"7\",\"rephrase_prompt\":\"r\"}\n"
			   "{" CORE ",\"subject\":\"s\",\"rephrase\":[\"r\"],\"locality\":{}}\n"
			   "{" CORE ",\"subject\":\"s\",\"ground_truth\":\"g\"}\n",
			   IMPORT_AUTO,
			   "1 {" CORE ",\"subject\":\"s\",\"rephrase\":[\"r\"]}\n"
			   "2 {" CORE ",\"subject\":\"s\",\"rephrase\":[\"r\"]}\n"
			   "3 {" CORE ",\"subject\":\"s\",\"target_true\":\"g\"}\n");
	buf_free(&text);
	buf_free(&wanted);
}

static void a_bad_item_names_its_field(void **state)
{
	static const struct {
		enum import_format format;
		const char *item, *reason;
	} bad[] = {
		{ IMPORT_ZSRE, "{\"prompt\":\"p\"}", "src: missing" },
		{ IMPORT_ZSRE, "{\"src\":7.5,\"alt\":[]}", "alt: must be a string" },
		{ IMPORT_ZSRE, "{\"src\":\"p\"}", "alt: missing" },
		{ IMPORT_ZSRE, "{\"src\":\"p\",\"alt\":\"t\",\"rephrase\":[{}]}", "rephrase: must be a string" },
		{ IMPORT_ZSRE, "{\"src\":\"p\",\"alt\":\"t\\u0007\"}",
		  "target_new: has the control character U+0007 at byte 1" },
		{ IMPORT_COUNTERFACT, "{\"requested_rewrite\":[]}",
		  "requested_rewrite: must be an object (a list of them: mquake)" },
		{ IMPORT_COUNTERFACT, "{\"prompt\":\"{} is\",\"target_new\":\"t\"}", "subject: missing" },
		{ IMPORT_COUNTERFACT,
		  "{\"prompt\":\"p\",\"target_new\":\"t\",\"subject\":\"s\",\"neighborhood_prompts\":\"n\"}",
		  "neighborhood_prompts: must be a list" },
		{ IMPORT_KNOWEDIT, "{\"prompt\":\"p\",\"target_new\":\"t\"}", "subject: missing" },
		{ IMPORT_KNOWEDIT, "{\"prompt\":\"p\",\"target_new\":\"t\",\"subject\":\"s\",\"locality\":[]}",
		  "locality: must be an object of groups" },
		{ IMPORT_KNOWEDIT,
		  "{\"prompt\":\"p\",\"target_new\":\"t\",\"subject\":\"s\",\"portability\":{\"R\":[1]}}",
		  "portability: every item must be an object" },
		{ IMPORT_MQUAKE, "{\"case_id\":1}", "requested_rewrite: missing" },
		{ IMPORT_MQUAKE, "{\"requested_rewrite\":[3]}", "prompt: missing" },
		{ IMPORT_MQUAKE, "{\"requested_rewrite\":[]}", "requested_rewrite: must be a list of edits" },
		{ IMPORT_HALLU_CSV, "{\"question\":\"p\",\"object\":\" \"}",
		  "object: empty: write its text, or take the row out" },
		{ IMPORT_AUTO, "{\"prompt\":\"p\"}", "target_new: missing" },
		{ IMPORT_AUTO,
		  "{\"prompt\":\"p\",\"target_new\":\"t\",\"locality\":{\"prompt\":\"q\",\"target\":\"a\"}}",
		  "locality: must be a list" },
		{ IMPORT_AUTO,
		  "{\"prompt\":\"p\",\"target_new\":\"t\",\"subject\":\"s\",\"locality\":{\"prompt\":\"q\"}}",
		  "locality: must be a list" },
		{ IMPORT_AUTO, "{\"prompt\":\"p\",\"target_new\":\"t\",\"portability\":{\"R\":[]}}",
		  "portability: must be a list" },
		{ IMPORT_AUTO, "[1]", "record: must be a JSON object" },
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char wanted[256], text[256];
		snprintf(text, sizeof(text), "\n \t\n[\n%s\n]", bad[i].item);
		snprintf(wanted, sizeof(wanted), "4! %s\n", bad[i].reason);
		import_expect_text(*state, "bad.json", text, bad[i].format, wanted);
	}
}

/* A case's edits come together or not at all, also when only the record's own check refuses one of them. */
static void a_case_is_taken_whole(void **state)
{
	import_expect_text(*state, "case.jsonl",
			   "{\"requested_rewrite\":[{\"prompt\":\"a\",\"subject\":\"s\",\"target_new\":\"t\"},"
			   "{\"prompt\":\"b\",\"subject\":\"s\\nt\",\"target_new\":\"t\"}]}\n"
			   "{\"requested_rewrite\":[{\"prompt\":\"a\",\"subject\":\"s\",\"target_new\":\"t\"}]}\n",
			   IMPORT_MQUAKE,
			   "1! edit 2 of 2: subject: has the control character U+000A at byte 1\n"
			   "2 {\"prompt\":\"a\",\"target_new\":\"t\",\"subject\":\"s\"}\n");
}

/* Published sets hold decomposed letters, Windows line ends and blanks around answers, which a record may not. */
static void texts_are_composed_and_trimmed(void **state)
{
	import_expect_text(*state, "nfd.jsonl", "{\"src\":\" Le\\u0301on\\r\\nis \",\"alt\":\"\\u00e9\\t\"}\n",
			   IMPORT_ZSRE, "1 {\"prompt\":\"L\xC3\xA9on\\nis\",\"target_new\":\"\xC3\xA9\"}\n");
}

/* What is over a record's limits is left out of the probes; the edit stands. */
static void long_lists_are_cut(void **state)
{
	struct buf text = BUF_INIT, log = BUF_INIT;
	char path[TEST_PATH_BYTES];
	struct err e = ERR_INIT;
	test_path(path, *state, "long.jsonl");
	buf_puts(&text, "{\"prompt\":\"p\",\"subject\":\"s\",\"target_new\":\"t\",\"locality\":{\"A\":[");
	for (int i = 0; i < 100; i++)
		buf_printf(&text, "%s{\"prompt\":\"q%d\",\"ground_truth\":[]}", i > 0 ? "," : "", i);
	buf_puts(&text, "]},\"portability\":{\"R\":[{\"prompt\":\"q\",\"ground_truth\":[[");
	for (int i = 0; i < 100; i++)
		buf_printf(&text, "%s\"a%d\"", i > 0 ? "," : "", i);
	buf_puts(&text, "]]}]}}\n");
	assert_ok(&e, file_write_atomic(path, text.data, text.len, 0600, &e));
	assert_int_equal(import_read(path, IMPORT_AUTO, &log), ERR_NOT_FOUND);
	assert_non_null(strstr(buf_cstr(&log), "\"q63\""));
	assert_null(strstr(buf_cstr(&log), "\"q64\""));
	assert_non_null(strstr(buf_cstr(&log), "\"target\":\"a0\",\"kind\":\"r\",\"aliases\":[\"a1\","));
	assert_non_null(strstr(buf_cstr(&log), "\"a16\"]"));
	buf_free(&text);
	buf_free(&log);
}

static void formats_have_names(void **state)
{
	(void)state;
	enum import_format format = IMPORT_ZSRE;
	struct err e = ERR_INIT;
	assert_ok(&e, import_format_parse(NULL, &format, &e));
	assert_int_equal(format, IMPORT_AUTO);
	assert_ok(&e, import_format_parse("hallu-csv", &format, &e));
	assert_int_equal(format, IMPORT_HALLU_CSV);
	assert_ok(&e, import_format_parse("auto", &format, &e));
	assert_int_equal(format, IMPORT_AUTO);
	assert_int_equal(import_format_parse("zsres", &format, &e), ERR_INVALID);
	assert_non_null(strstr(e.text, IMPORT_FORMATS));
}

static int read_fixture(void *path)
{
	struct import_file *file = NULL;
	int rc = import_open(path, IMPORT_AUTO, &file, NULL);
	while (rc == 0 || rc == ERR_INVALID) {
		struct import_row row = { .record = NULL };
		rc = import_next(file, &row, NULL);
		if (rc == 0)
			record_destroy(&row.record);
	}
	import_close(&file);
	return rc == ERR_NOT_FOUND ? 0 : rc;
}

/* libcsv asks again for less when memory is short, so one failure may go by without a trace. */
static void walk_table(char *path)
{
	int failed = 0;
	for (int n = 0; n < 300; n++) {
		fault_set(n, 1);
		int rc = read_fixture(path);
		fault_set(-1, 0);
		assert_true(rc == 0 || rc == ERR_NOMEM);
		failed += rc == ERR_NOMEM;
	}
	assert_true(failed > 50);
}

static void out_of_memory(void **state)
{
	(void)state;
	for (size_t i = 0; i < FIXTURE_COUNT; i++) {
		char path[TEST_PATH_BYTES];
		snprintf(path, sizeof(path), IMPORT_FIXTURES "%s", fixtures[i].name);
		if (fixtures[i].format == IMPORT_HALLU_CSV)
			walk_table(path);
		else
			assert_true(test_walk_allocations(read_fixture, path) > 100);
	}
}

#define T(test) cmocka_unit_test_setup_teardown(test, test_setup_folder, test_teardown_folder)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(each_form_gives_its_records),
		T(compressed_files_give_the_same),
		T(auto_looks_at_every_item),
		T(a_record_is_one_with_further_keys_too),
		T(a_bad_item_names_its_field),
		T(a_case_is_taken_whole),
		T(texts_are_composed_and_trimmed),
		T(long_lists_are_cut),
		T(formats_have_names),
		T(out_of_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
