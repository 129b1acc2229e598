#include "tests/lib/test.h"

#include "base/record.h"

static const char full[] =
	"{\"id\":\"zsre-0000\",\"prompt\":\"Bridge X was opened in\",\"target_new\":\"2006\",\"subject\":\"Bridge X\","
	"\"rephrase\":[\"When was Bridge X opened?\"],\"aliases\":\"in 2006\","
	"\"subject_aliases\":[\"X Bridge\",\"BX\"],\"target_true\":\"2001\","
	"\"locality\":[{\"prompt\":\"Bridge Y was opened in\",\"target\":\"1999\",\"kind\":\"neighborhood\"},"
	"{\"prompt\":\"The sky "
	"is\"}],\"portability\":[{\"prompt\":\"p\",\"target\":\"t\",\"kind\":\"hop2\",\"aliases\":[\"u\",\"v\"]}],"
	"\"loc_prompt\":\"an unrelated "
	"text\",\"group\":\"g\",\"actor\":\"alice@corp\",\"source\":\"https://example.org\","
	"\"ticket\":\"KM-311\",\"valid_from\":\"2026-11-01T00:00:00Z\",\"expires\":null,\"tags\":{\"lang\":\"en\"},"
	"\"schema\":1,\"kept\":{\"deep\":[1]}}";

static struct record *parsed(const char *text)
{
	struct record *r = NULL;
	struct err e = ERR_INIT;
	assert_ok(&e, record_parse(text, strlen(text), &r, &e));
	return r;
}

static void reads_all_fields(void **state)
{
	(void)state;
	struct record *r = parsed(full);
	assert_string_equal(r->id.text, "zsre-0000");
	assert_true(r->id_explicit);
	assert_string_equal(r->prompt.text, "Bridge X was opened in");
	assert_int_equal(r->prompt.len, strlen(r->prompt.text));
	assert_string_equal(r->target_new.text, "2006");
	assert_string_equal(r->subject.text, "Bridge X");
	assert_int_equal(r->rephrase_count, 1);
	assert_string_equal(r->rephrases[0].text, "When was Bridge X opened?");
	assert_int_equal(r->alias_count, 1);
	assert_string_equal(r->aliases[0].text, "in 2006");
	assert_int_equal(r->subject_alias_count, 2);
	assert_string_equal(r->subject_aliases[1].text, "BX");
	assert_int_equal(r->locality_count, 2);
	assert_string_equal(r->locality[0].kind.text, "neighborhood");
	assert_string_equal(r->locality[0].target.text, "1999");
	assert_string_equal(r->locality[1].kind.text, "unrelated");
	assert_null(r->locality[1].target.text);
	assert_int_equal(r->portability_count, 1);
	assert_int_equal(r->portability[0].alias_count, 2);
	assert_string_equal(r->portability[0].aliases[1].text, "v");
	assert_string_equal(r->group.text, "g");
	assert_string_equal(r->loc_prompt.text, "an unrelated text");
	assert_non_null(json_get(r->document, "kept"));
	record_destroy(&r);
	assert_null(r);
	record_destroy(&r);
}

static void identity(void **state)
{
	(void)state;
	struct record *a = parsed("{\"prompt\":\"p\",\"target_new\":\"t\"}");
	struct record *b = parsed(" { \"target_new\" : \"t\", \"prompt\":\"\\u0070\" } ");
	struct record *c = parsed("{\"prompt\":\"p\",\"target_new\":\"t\",\"id\":\"mine\"}");
	struct record *d = parsed("{\"prompt\":\"p\",\"target_new\":\"t\",\"extra\":1}");
	struct hash expected;
	hash_of("{\"prompt\":\"p\",\"target_new\":\"t\"}", 31, &expected);
	assert_false(a->id_explicit);
	assert_int_equal(a->id.len, 64);
	assert_true(hash_equal(&a->content, &expected));
	assert_string_equal(a->id.text, b->id.text);
	assert_true(hash_equal(&a->content, &c->content));
	assert_string_equal(c->id.text, "mine");
	assert_string_not_equal(a->id.text, d->id.text);
	assert_null(a->subject.text);
	record_destroy(&a);
	record_destroy(&b);
	record_destroy(&c);
	record_destroy(&d);
}

#define CORE "\"prompt\":\"p\",\"target_new\":\"t\""

/* What a ledger may hold from before is read, and taken from nobody. */
static void refuses_what_is_new_and_says_too_little(void **state)
{
	(void)state;
	static const struct {
		const char *text, *says;
	} bad[] = {
		{ "{" CORE ",\"subject\":\"s\",\"subject_aliases\":[\"NHT\",\"Who\"]}",
		  "subject_aliases: item 2, \"Who\", has no word of its own" },
		{ "{" CORE ",\"subject\":\"s\",\"subject_aliases\":\"the\"}",
		  "subject_aliases: item 1, \"the\", has no word of its own" },
		{ "{" CORE ",\"subject\":\"s\",\"subject_aliases\":[\"?!\"]}",
		  "subject_aliases: item 1, \"?!\", has no word of its own" },
		{ "{" CORE ",\"subject\":\"s\",\"subject_aliases\":[\"What is the name of it\"]}",
		  "subject_aliases: item 1, \"What is the name of it\", has no word of its own" },
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct record *record = NULL;
		struct err e = ERR_INIT;
		assert_int_equal(record_parse_new(bad[i].text, strlen(bad[i].text), &record, &e), ERR_INVALID);
		assert_null(record);
		assert_non_null(strstr(e.text, bad[i].says));
		err_clear(&e);
		assert_ok(&e, record_parse(bad[i].text, strlen(bad[i].text), &record, &e));
		record_destroy(&record);
	}
	static const char good[] = "{" CORE ",\"subject\":\"s\",\"subject_aliases\":[\"NHT\"]}";
	struct record *record = NULL;
	struct err e = ERR_INIT;
	assert_ok(&e, record_parse_new(good, sizeof(good) - 1, &record, &e));
	record_destroy(&record);
}

static void refuses(void **state)
{
	(void)state;
	static const struct {
		const char *text, *says;
	} bad[] = {
		{ "[]", "record: " },
		{ "{", "record: " },
		{ "{\"target_new\":\"t\"}", "prompt: missing" },
		{ "{\"prompt\":\"p\"}", "target_new: missing" },
		{ "{\"prompt\":\" \",\"target_new\":\"t\"}", "prompt: empty: write its text" },
		{ "{\"prompt\":3,\"target_new\":\"t\"}", "prompt: must be a string" },
		{ "{\"prompt\":\"\\u202e\",\"target_new\":\"t\"}", "prompt: has the bidi" },
		{ "{\"prompt\":\"p\",\"target_new\":\"e\\u0301\"}", "target_new: is not in Unicode form NFC" },
		{ "{" CORE ",\"subject\":\"a\\nb\"}", "subject: has the control" },
		{ "{" CORE ",\"rephrase\":[1]}", "rephrase: must be a string" },
		{ "{" CORE ",\"rephrase\":{}}", "rephrase: must be a string or a list" },
		{ "{" CORE ",\"subject\":\"s\",\"subject_aliases\":[1]}", "subject_aliases: must be a string" },
		{ "{" CORE ",\"subject\":\"s\",\"subject_aliases\":[\"a\\nb\"]}", "subject_aliases: has the control" },
		{ "{" CORE ",\"subject\":\"s\",\"subject_aliases\":{}}",
		  "subject_aliases: must be a string or a list" },
		{ "{" CORE ",\"subject_aliases\":[\"a\"]}",
		  "subject_aliases: other names of the subject: give the subject too" },
		{ "{" CORE ",\"locality\":\"x\"}", "locality: must be a list" },
		{ "{" CORE ",\"locality\":[\"x\"]}", "locality: every item" },
		{ "{" CORE ",\"locality\":[{\"prompt\":\"x\",\"kind\":\"odd\"}]}", "locality: kind:" },
		{ "{" CORE ",\"portability\":[{\"prompt\":\"x\"}]}", "portability: target: missing" },
		{ "{" CORE ",\"portability\":[{\"prompt\":\"x\",\"target\":\"y\",\"aliases\":[1]}]}",
		  "portability: aliases: must be a string" },
		{ "{" CORE ",\"valid_from\":\"yesterday\"}", "valid_from: " },
		{ "{" CORE ",\"valid_from\":\"2026-01-01T00:00:00Z\",\"expires\":\"2025-01-01T00:00:00Z\"}",
		  "expires: must be" },
		{ "{" CORE ",\"tags\":[]}", "tags: must be" },
		{ "{" CORE ",\"tags\":{\"a\":1}}", "tags: must be" },
		{ "{" CORE ",\"schema\":2}", "schema: must be 1" },
		{ "{" CORE ",\"id\":\"\"}",
		  "id: empty: write its text, white space alone is none, or leave the field out" },
		{ "{" CORE ",\"kept\":[\"\\u001b\"]}", "kept: has the control" },
		{ "{" CORE ",\"k\\u001b\":1}", "a key: has the control" },
		{ "{" CORE ",\"prompt\":\"p\"}", "record: " },
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct record *r = NULL;
		struct err e = ERR_INIT;
		int rc = record_parse(bad[i].text, strlen(bad[i].text), &r, &e);
		if (rc != ERR_INVALID || strncmp(e.text, bad[i].says, strlen(bad[i].says)) != 0)
			fail_msg("%s: %s: %s", bad[i].text, err_name(rc), e.text);
		assert_null(r);
	}
}

/* Of the subject nothing of the kind is asked, nor of an alias that has one such word. */
static void takes_names_with_a_word_of_their_own(void **state)
{
	(void)state;
	static const char *const good[] = {
		"{" CORE ",\"subject\":\"The Who\",\"subject_aliases\":[\"the Thamesmen\"]}",
		"{" CORE ",\"subject\":\"It\"}",
		"{" CORE ",\"subject\":\"s\",\"subject_aliases\":[\"C++\",\"X\",\"7\"]}",
		"{" CORE ",\"subject\":\"Tokyo\",\"subject_aliases\":[\"\xe6\x9d\xb1\xe4\xba\xac\"]}"
	};
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct record *r = parsed(good[i]);
		record_destroy(&r);
	}
}

static void sizes(void **state)
{
	(void)state;
	struct buf b = BUF_INIT;
	struct record *r = NULL;
	struct err e = ERR_INIT;
	for (int extra = 0; extra <= 1; extra++) {
		buf_clear(&b);
		buf_printf(&b, "{\"target_new\":\"t\",\"prompt\":\"%0*d\"}", RECORD_PROMPT_BYTES_MAX + extra, 7);
		assert_int_equal(record_parse((const char *)b.data, b.len, &r, &e), extra ? ERR_INVALID : 0);
		record_destroy(&r);
	}
	buf_clear(&b);
	buf_printf(&b, "{" CORE ",\"x\":\"%0*d\"}", RECORD_BYTES_MAX, 7);
	assert_int_equal(record_parse((const char *)b.data, b.len, &r, &e), ERR_INVALID);
	for (int count = RECORD_LIST_MAX; count <= RECORD_LIST_MAX + 1; count++) {
		buf_clear(&b);
		buf_puts(&b, "{" CORE ",\"aliases\":[\"a\"");
		for (int i = 1; i < count; i++)
			buf_puts(&b, ",\"a\"");
		buf_puts(&b, "]}");
		assert_int_equal(record_parse((const char *)b.data, b.len, &r, &e),
				 count == RECORD_LIST_MAX ? 0 : ERR_INVALID);
		record_destroy(&r);
	}
	buf_free(&b);
}

static bool conflict(const char *a_text, const char *b_text)
{
	struct record *a = parsed(a_text), *b = parsed(b_text);
	bool forth = false, back = true;
	assert_int_equal(record_conflicts(a, b, &forth), 0);
	assert_int_equal(record_conflicts(b, a, &back), 0);
	assert_true(forth == back);
	record_destroy(&a);
	record_destroy(&b);
	return forth;
}

static void conflicts(void **state)
{
	(void)state;
	static const char a[] =
		"{\"prompt\":\"The capital of Atlantis is\",\"subject\":\"Atlantis\",\"target_new\":\"Poseidonis\"}";
	assert_true(conflict(
		a,
		"{\"prompt\":\"What is the capital of Atlantis?\",\"subject\":\"ATLANTIS\",\"target_new\":\"Rome\"}"));
	assert_false(conflict(a, "{\"prompt\":\"What is the capital of "
				 "Atlantis?\",\"subject\":\"Atlantis\",\"target_new\":\"poseidonis \"}"));
	assert_true(conflict(
		"{\"prompt\":\"Who ruled Atlantis?\",\"subject\":\"Atlantis\",\"target_new\":\"Atlas\"}",
		"{\"prompt\":\"Who is the ruler of Atlantis?\",\"subject\":\"atlantis\",\"target_new\":\"x\"}"));
	assert_false(
		conflict("{\"prompt\":\"When was Atlantis sunk?\",\"subject\":\"Atlantis\",\"target_new\":\"x\"}",
			 "{\"prompt\":\"Where was Atlantis sunk?\",\"subject\":\"Atlantis\",\"target_new\":\"y\"}"));
	assert_false(conflict(
		a, "{\"prompt\":\"The king of Atlantis is\",\"subject\":\"Atlantis\",\"target_new\":\"Rome\"}"));
	assert_false(conflict(
		a, "{\"prompt\":\"The capital of Lemuria is\",\"subject\":\"Lemuria\",\"target_new\":\"Rome\"}"));
	assert_true(conflict("{\"prompt\":\"Who won\",\"target_new\":\"a\"}",
			     "{\"prompt\":\"who  WON\",\"target_new\":\"b\"}"));
	/* the same prompt, whoever names the subject and as what; another prompt needs the same subject */
	assert_true(conflict(a, "{\"prompt\":\"the capital of Atlantis is\",\"target_new\":\"Rome\"}"));
	assert_true(conflict(a, "{\"prompt\":\"The capital of Atlantis is\",\"subject\":\"The capital\","
				"\"target_new\":\"Rome\"}"));
	assert_false(conflict(a, "{\"prompt\":\"The capital of Atlantis is\",\"target_new\":\"Poseidonis\"}"));
	/* of two prompts one may leave its subject to the text, when it says that and nothing more */
	assert_true(conflict(a, "{\"prompt\":\"What is the capital of Atlantis?\",\"target_new\":\"Rome\"}"));
	assert_false(conflict(a, "{\"prompt\":\"What is the capital of Lemuria?\",\"target_new\":\"Rome\"}"));
	assert_false(conflict(a, "{\"prompt\":\"What is the capital of Atlantis Minor?\",\"target_new\":\"Rome\"}"));
	assert_false(conflict(a, "{\"prompt\":\"Who is the king of Atlantis?\",\"target_new\":\"Rome\"}"));
	assert_false(conflict("{\"prompt\":\"The capital of Atlantis is\",\"target_new\":\"Rome\"}",
			      "{\"prompt\":\"What is the capital of Atlantis?\",\"target_new\":\"Kyoto\"}"));
}

#define NHT "\"subject\":\"New Harborton\",\"subject_aliases\":[\"NHT\"]"

static void conflicts_by_an_alias(void **state)
{
	(void)state;
	static const char mayor[] = "{\"prompt\":\"Who is the mayor of New Harborton?\"," NHT
				    ",\"target_new\":\"Ada\"}";
	/* the alias is the other's subject, or stands in a prompt for the same subject, or for one that is not named */
	assert_true(conflict(mayor, "{\"prompt\":\"The mayor of nht is\",\"subject\":\"nht\",\"target_new\":\"Bo\"}"));
	assert_true(conflict(mayor, "{\"prompt\":\"NHT's mayor is\"," NHT ",\"target_new\":\"Bo\"}"));
	assert_true(conflict(mayor, "{\"prompt\":\"NHT's mayor is\",\"target_new\":\"Bo\"}"));
	assert_true(conflict("{\"prompt\":\"The mayor of NHT is\"," NHT ",\"target_new\":\"Ada\"}",
			     "{\"prompt\":\"Who is the mayor of New Harborton?\",\"subject\":\"New "
			     "Harborton\",\"target_new\":\"Bo\"}"));
	/* names that each lists of the other */
	assert_true(conflict(mayor,
			     "{\"prompt\":\"The mayor of NHT is\",\"subject\":\"NHT\",\"subject_aliases\":[\"New "
			     "Harborton\"],\"target_new\":\"Bo\"}"));
	assert_false(
		conflict(mayor, "{\"prompt\":\"The harbour of NHT is\",\"subject\":\"NHT\",\"target_new\":\"Bo\"}"));
	assert_false(
		conflict(mayor, "{\"prompt\":\"The mayor of NHT is\",\"subject\":\"NHT\",\"target_new\":\"ada\"}"));
	assert_false(
		conflict(mayor, "{\"prompt\":\"The mayor of Orla is\",\"subject\":\"Orla\",\"target_new\":\"Bo\"}"));
	/* two that share an alias are two */
	assert_false(conflict(mayor, "{\"prompt\":\"Who is the mayor of North Heath?\",\"subject\":\"North "
				     "Heath\",\"subject_aliases\":[\"NHT\"],\"target_new\":\"Bo\"}"));
}

static bool same_prompt(const char *a_prompt, const char *b_prompt)
{
	char a[160], b[160];
	snprintf(a, sizeof a, "{\"prompt\":\"%s\",\"target_new\":\"a\"}", a_prompt);
	snprintf(b, sizeof b, "{\"prompt\":\"%s\",\"target_new\":\"b\"}", b_prompt);
	return conflict(a, b);
}

static void marks_at_the_end(void **state)
{
	(void)state;
	assert_true(same_prompt("Who won the cup?", "Who won the cup"));
	assert_true(same_prompt("Who won the cup ?!", "who won the cup: "));
	assert_true(same_prompt("The cup was won by", "The cup was won by ..."));
	assert_true(same_prompt("The cup was won by", "The cup was won by\xe2\x80\xa6"));             /* an ellipsis */
	assert_true(same_prompt("\xe8\xb0\x81\xe8\xb5\xa2", "\xe8\xb0\x81\xe8\xb5\xa2\xef\xbc\x9f")); /* wide */
	assert_true(same_prompt("Who won?", "Who won\xd8\x9f"));                                      /* Arabic */
	assert_false(same_prompt("Who won the cup?", "Who won the cups?"));
	assert_false(same_prompt("What is 5?", "What is 5!"));
	assert_false(same_prompt("What is 5?", "What is 5!?"));
	assert_false(same_prompt("Who won. the cup?", "Who won the cup?"));
	/* nothing else is there */
	assert_false(same_prompt("?", "!"));
	assert_false(same_prompt("? ?", "?"));
	assert_true(same_prompt("?!", " ?!"));
	assert_true(same_prompt("a?", "A"));
}

/* An edit without a subject lies under one key, not two. */
static void keys_without_subject(void **state)
{
	(void)state;
	struct record *r = parsed("{\"prompt\":\"Who won the Cup?\",\"target_new\":\"a\"}");
	struct buf subject = BUF_INIT, prompt = BUF_INIT;
	assert_int_equal(record_subject_key(r, &subject), 0);
	assert_int_equal(record_prompt_key(r, &prompt), 0);
	assert_int_equal(subject.len, 15);
	assert_memory_equal(subject.data, "who won the cup", 15);
	assert_int_equal(prompt.len, 15);
	assert_memory_equal(prompt.data, "who won the cup", 15);
	assert_int_equal(record_prompt_key(r, &prompt), 0); /* appended */
	assert_int_equal(prompt.len, 30);
	assert_memory_equal(prompt.data, "who won the cupwho won the cup", 30);
	buf_free(&subject);
	buf_free(&prompt);
	record_destroy(&r);
}

static int parse_and_compare(void *context)
{
	struct record *r = NULL;
	bool conflicts_itself;
	int rc = record_parse(context, strlen(context), &r, NULL);
	if (rc == 0)
		rc = record_conflicts(r, r, &conflicts_itself);
	record_destroy(&r);
	return rc;
}

static void out_of_memory(void **state)
{
	(void)state;
	char text[sizeof(full)];
	memcpy(text, full, sizeof(full));
	assert_true(test_walk_allocations(parse_and_compare, text) > 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_all_fields),
		cmocka_unit_test(identity),
		cmocka_unit_test(refuses),
		cmocka_unit_test(refuses_what_is_new_and_says_too_little),
		cmocka_unit_test(takes_names_with_a_word_of_their_own),
		cmocka_unit_test(sizes),
		cmocka_unit_test(conflicts),
		cmocka_unit_test(conflicts_by_an_alias),
		cmocka_unit_test(marks_at_the_end),
		cmocka_unit_test(keys_without_subject),
		cmocka_unit_test(out_of_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
