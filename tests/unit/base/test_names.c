#include "tests/lib/test.h"

#include "base/names.h"

static struct record *record_with(const char *subject, const char *aliases)
{
	char text[512];
	struct record *r = NULL;
	struct err e = ERR_INIT;
	snprintf(text, sizeof text,
		 "{\"prompt\":\"p\",\"target_new\":\"t\",\"subject\":\"%s\",\"subject_aliases\":[%s]}", subject,
		 aliases);
	assert_ok(&e, record_parse(text, strlen(text), &r, &e));
	return r;
}

static void expect(const struct record *r, const char *text, const char *resolved)
{
	struct buf out = BUF_INIT;
	assert_int_equal(names_resolve(r, text, strlen(text), &out), 0);
	assert_string_equal(buf_cstr(&out), resolved);
	buf_free(&out);
}

static void aliases_become_the_subject(void **state)
{
	(void)state;
	struct record *r = record_with("New Harborton", "\"NHT\",\"Harborton\",\"the N. H. Town\",\"Port N.\"");
	expect(r, "Who is the mayor of NHT?", "Who is the mayor of New Harborton?");
	expect(r, "nht's mayor, and NHT", "New Harborton's mayor, and New Harborton");
	expect(r, "The mayor of New Harborton is", "The mayor of New Harborton is"); /* and not New New Harborton */
	expect(r, "Is the N.H. Town old?", "Is New Harborton old?");
	expect(r, "Is the N.H. village or Port old?", "Is the N.H. village or Port old?"); /* parts of names */
	expect(r, "NHTs", "NHTs");
	expect(r, "", "");
	struct buf out = BUF_INIT;
	assert_int_equal(names_say(r, &r->subject_aliases[0], "Harborton and New Harborton's port n.", 37, &out), 0);
	assert_string_equal(buf_cstr(&out), "NHT and NHT's NHT.");
	buf_free(&out);
	record_destroy(&r);
	r = record_with("Orla", "");
	expect(r, "The mayor of NHT", "The mayor of NHT");
	record_destroy(&r);
	r = record_with("Harborton", "\"NHT\",\"NHT Old Town\",\"NHT Old\""); /* the longest that stands there */
	expect(r, "Is NHT Old Town or NHT New Town old?", "Is Harborton or Harborton New Town old?");
	record_destroy(&r);
}

static void aliases_are_listed_as_they_fold(void **state)
{
	(void)state;
	struct record *r = record_with("New Harborton", "\"NHT\",\"Old  Town\"");
	static const struct {
		struct record_text name;
		bool listed;
	} cases[] = { { { "nht", 3 }, true },
		      { { "OLD town", 8 }, true },
		      { { "New Harborton", 13 }, false },
		      { { "NH", 2 }, false } };
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		bool listed = !cases[i].listed;
		assert_int_equal(names_list(r, &cases[i].name, &listed), 0);
		assert_int_equal(listed, cases[i].listed);
	}
	record_destroy(&r);
}

static void a_record_takes_more_names(void **state)
{
	(void)state;
	static const struct {
		const char *record, *longer;
	} cases[] = {
		{ "{\"target_new\":\"t\",\"subject\":\"S\",\"n\":1.50}",
		  "{\"target_new\":\"t\",\"subject\":\"S\",\"n\":1.5,\"subject_aliases\":[\"A\",\"\\\"B\"]}" },
		{ "{\"subject_aliases\":\"X\"}", "{\"subject_aliases\":[\"X\",\"A\",\"\\\"B\"]}" },
		{ "{\"subject_aliases\":null}", "{\"subject_aliases\":[\"A\",\"\\\"B\"]}" },
		{ "{\"subject_aliases\":[\"X\",\"Y\"],\"a\":[]}",
		  "{\"a\":[],\"subject_aliases\":[\"X\",\"Y\",\"A\",\"\\\"B\"]}" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct json *record = NULL;
		struct buf out = BUF_INIT;
		struct err e = ERR_INIT;
		assert_ok(&e, json_parse(cases[i].record, strlen(cases[i].record), &record, &e));
		assert_int_equal(names_add(record, "A\0\"B", 5, &out), 0);
		assert_string_equal(buf_cstr(&out), cases[i].longer);
		buf_free(&out);
		json_free(&record);
	}
}

static int add_and_compare(void *context)
{
	const struct record *r = context;
	const struct record other = { .subject = { "NHT", 3 } };
	struct buf out = BUF_INIT;
	bool same = false;
	int rc = names_add(r->document, "A", 2, &out);
	if (rc == 0)
		rc = record_same_subject(r, &other, &same);
	if (rc == 0)
		assert_true(same);
	buf_free(&out);
	return rc;
}

static void out_of_memory(void **state)
{
	(void)state;
	struct record *r = record_with("New Harborton", "\"NHT\"");
	assert_true(test_walk_allocations(add_and_compare, r) > 2);
	record_destroy(&r);
}

static void names_are_gone_through(void **state)
{
	(void)state;
	static const char *const wanted[] = { "new harborton", "nht", "old town" };
	struct record *r = record_with("New Harborton", "\"NHT\",\"Old  Town\"");
	struct buf aliases = BUF_INIT;
	const char *name;
	size_t len, count = 0;
	assert_int_equal(names_fold_aliases(r, &aliases), 0);
	const struct names names = { wanted[0], strlen(wanted[0]), (const char *)aliases.data, aliases.len };
	for (size_t at = 0; names_next(&names, &at, &name, &len); count++) {
		assert_in_range(count, 0, 2);
		assert_int_equal(len, strlen(wanted[count]));
		assert_memory_equal(name, wanted[count], len);
	}
	assert_int_equal(count, 3);
	buf_free(&aliases);
	record_destroy(&r);
}

static void long_texts_end_somewhere(void **state)
{
	(void)state;
	struct record *r = record_with("X", "\"a b\"");
	struct buf text = BUF_INIT, out = BUF_INIT;
	for (size_t i = 0; i < NAMES_TEXT_WORDS_MAX; i++)
		buf_puts(&text, "a b ");
	assert_int_equal(names_resolve(r, buf_cstr(&text), text.len, &out), 0);
	assert_int_equal(out.len, text.len - NAMES_TEXT_WORDS_MAX); /* half of them: two letters less a name */
	assert_memory_equal(out.data, "X X X ", 6);
	assert_memory_equal(out.data + out.len - 8, "a b a b ", 8);
	buf_free(&text);
	buf_free(&out);
	record_destroy(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(aliases_become_the_subject), cmocka_unit_test(aliases_are_listed_as_they_fold),
		cmocka_unit_test(a_record_takes_more_names),  cmocka_unit_test(out_of_memory),
		cmocka_unit_test(names_are_gone_through),     cmocka_unit_test(long_texts_end_somewhere),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
