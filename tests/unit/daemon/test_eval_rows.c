/* Which rows of a file are edited, which are asked as probes, and which are left out or refused. */
#include "tests/unit/daemon/eval_fixture.h"

#include <math.h>

#define TWO_ROWS                                                                                                       \
	"{\"prompt\":\"who is the king of Vint?\",\"target_new\":\"Olaf\",\"subject\":\"Vint\"}\n"                     \
	"{\"prompt\":\"where is Orla?\",\"target_new\":\"north\",\"subject\":\"Orla\"}\n"

static void first_rows_are_edited_and_others_probe(void **state)
{
	const struct eval_fixture *f = *state;
	struct eval_options o = eval_fixture_options(f);
	struct eval_report r;
	test_file_write(f->file, eval_fixture_rows);
	o.edits = 2;
	o.edits_per_shard = 1;
	eval_fixture_run(&o, &r);
	assert_int_equal(r.scores.edits, 2);
	assert_int_equal(r.shards, 2); /* two subjects, one edit a shard */
	assert_int_equal(r.edit_count, 2);
	assert_int_equal(r.bad_lines, 1);
	assert_int_equal(r.bad[0].line_no, 3);
	assert_non_null(strstr(r.bad[0].text, "prompt"));
	/* of the others only Saro's: Vint and Orla are edited, Bolt's prompt stands in the corpus */
	assert_int_equal(r.scores.probes_same_form, 1);
	assert_true(r.trained && r.steps > 0 && r.train_seconds > 0);
	assert_true(isnan(r.scores.gen) && isnan(r.scores.loc));
	assert_true(r.scores.right_memory_prompts >= 0);
	eval_report_fini(&r);
}

static void conflicts_follow_the_policy(void **state)
{
	const struct eval_fixture *f = *state;
	static const struct {
		enum eval_on_conflict policy;
		size_t edits, superseded, rejected;
		const char *king; /* of the row that is evaluated first */
	} cases[] = { { EVAL_KEEP, 4, 0, 0, "Olaf" },
		      { EVAL_SUPERSEDE, 3, 1, 0, "north" },
		      { EVAL_REJECT, 3, 0, 1, "Olaf" } };
	for (size_t i = 0; i < 3; i++) {
		struct eval_options o = eval_fixture_options(f);
		struct eval_report r;
		test_file_write(f->file, eval_fixture_rows);
		o.edits = 5; /* good eval_fixture_rows: Vint, Orla, Vint again, Orla's duplicate, Orla's colour */
		o.on_conflict = cases[i].policy;
		eval_fixture_run(&o, &r);
		assert_int_equal(r.scores.edits, cases[i].edits);
		assert_int_equal(r.record_count, cases[i].edits);
		assert_int_equal(r.superseded, cases[i].superseded);
		assert_int_equal(r.rejected, cases[i].rejected);
		assert_int_equal(r.duplicates, 1);
		assert_string_equal(r.records[0]->target_new.text, cases[i].king);
		assert_int_equal(r.shards, 1);
		eval_report_fini(&r);
	}
}

/* Rows before the last are bad in one field each; the model's context is 512 tokens. Checkpoints before the bad rows
 * count as those behind them do. */
static void rows_that_are_too_long_are_bad_lines(void **state)
{
	const struct eval_fixture *f = *state;
	static const char *const fields[] = {
		"prompt", "target_new", "rephrase", "rephrase", "locality", "portability"
	};
	struct eval_options o = eval_fixture_options(f);
	struct eval_report r;
	char just[512], too[1024];
	struct buf text = BUF_INIT;
	struct err e = ERR_INIT;
	memset(just, 'q', sizeof(just) - 1); /* no token of the tiny model spans two of them */
	memset(too, 'q', sizeof(too) - 1);
	just[sizeof(just) - 1] = too[sizeof(too) - 1] = '\0';
#define ROW "{\"prompt\":\"where is %s?\",\"target_new\":\"%s\",\"subject\":\"%s\""
	buf_printf(&text, "{\"prompt\":\"%s\",\"target_new\":\"north\"}\n", too);
	buf_printf(&text, ROW "}\n", "Orla", too, "Orla");
	buf_printf(&text, ROW ",\"rephrase\":[\"%s\"]}\n", "Orla", "north", "Orla", too);
	buf_printf(&text, ROW ",\"rephrase\":[\"%s\"]}\n", "Orla", "north", "Orla", just); /* with its target */
	buf_printf(&text, ROW ",\"locality\":[{\"prompt\":\"%s\"}]}\n", "Orla", "north", "Orla", too);
	buf_printf(&text, ROW ",\"portability\":[{\"prompt\":\"%s\",\"target\":\"x\"}]}\n", "Orla", "north", "Orla",
		   too);
	buf_printf(&text,
		   ROW ",\"aliases\":[\"%s\"],\"locality\":[{\"prompt\":\"%s\"}],"
		       "\"portability\":[{\"prompt\":\"%s\",\"target\":\"x\"}]}\n",
		   "Orla", "north", "Orla", too, just, just);
	buf_printf(&text, ROW "}\n", "Vint", "east", "Vint");
	buf_printf(&text, ROW "}\n", "Saro", too, "Saro"); /* as a probe its prompt alone counts */
#undef ROW
	test_file_write(f->file, buf_cstr(&text));
	o.edits = 1;
	o.rows_reserved = 2;
	eval_fixture_run(&o, &r);
	assert_int_equal(r.scores.edits, 1);
	assert_string_equal(r.records[0]->subject.text, "Orla");
	assert_int_equal(r.scores.probes_same_form, 1);
	assert_int_equal(r.bad_lines, 6);
	for (size_t i = 0; i < 6; i++) {
		assert_int_equal(r.bad[i].line_no, i + 1);
		if (strncmp(r.bad[i].text, fields[i], strlen(fields[i])) != 0 ||
		    strstr(r.bad[i].text, "context") == NULL)
			fail_msg("line %zu: %s", i + 1, r.bad[i].text);
	}
	eval_report_fini(&r);
	o.edits = 0;
	assert_int_equal(eval_file_run(&o, &r, &e), 0);
	assert_int_equal(r.scores.edits, 2);
	assert_int_equal(r.bad_lines, 7);
	eval_report_fini(&r);
	buf_free(&text);
}

/* Also of rows that only a later checkpoint edits, and of one that asks an edit's question and names no subject. */
static void what_is_edited_is_no_probe(void **state)
{
	const struct eval_fixture *f = *state;
	struct eval_options o = eval_fixture_options(f);
	struct eval_report r;
	test_file_write(f->file, TWO_ROWS
			"{\"prompt\":\"what is the colour of Orla?\",\"target_new\":\"blue\",\"subject\":\"Orla\"}\n"
			"{\"prompt\":\"who is the king of  VINT?\",\"target_new\":\"Sven\"}\n"
			"{\"prompt\":\"who rules Vint?\",\"target_new\":\"Sven\",\"subject\":\"Vint\"}\n"
			"{\"prompt\":\"what is the capital of Saro?\",\"target_new\":\"Kir\",\"subject\":\"Saro\"}\n");
	o.edits = 1;
	o.rows_reserved = 2;
	eval_fixture_run(&o, &r);
	assert_int_equal(r.scores.edits, 1);
	assert_int_equal(r.scores.probes_same_form, 1);
	assert_string_equal(r.probes[0].record->subject.text, "Saro");
	eval_report_fini(&r);
}

/* As in the ledger: one of the two names no subject. */
static void the_same_prompt_is_a_conflict(void **state)
{
	const struct eval_fixture *f = *state;
	struct eval_options o = eval_fixture_options(f);
	struct eval_report r;
	test_file_write(f->file, TWO_ROWS "{\"prompt\":\"Who is the king of Vint?\",\"target_new\":\"Sven\"}\n");
	o.on_conflict = EVAL_SUPERSEDE;
	eval_fixture_run(&o, &r);
	assert_int_equal(r.superseded, 1);
	assert_int_equal(r.scores.edits, 2);
	assert_string_equal(r.records[1]->target_new.text, "Sven");
	eval_report_fini(&r);
}

/* In other words, which `keep` lets stand, and whichever of the two names the subject. */
static void one_names_the_subject(void **state)
{
	const struct eval_fixture *f = *state;
	static const char named[] =
		"{\"prompt\":\"who is the king of Vint?\",\"target_new\":\"Olaf\",\"subject\":\"Vint\"}\n";
	static const char unnamed[] = "{\"prompt\":\"the king of Vint is\",\"target_new\":\"Sven\"}\n";
	static const char other[] = "{\"prompt\":\"the king of South Vint is\",\"target_new\":\"Knut\"}\n";
	static const enum eval_on_conflict policies[] = { EVAL_KEEP, EVAL_SUPERSEDE, EVAL_REJECT };
	for (size_t i = 0; i < 6; i++) {
		const bool first = i % 2 == 0;
		struct eval_options o = eval_fixture_options(f);
		struct eval_report r;
		char text[512];
		snprintf(text, sizeof text, "%s%s%s", first ? named : unnamed, other, first ? unnamed : named);
		test_file_write(f->file, text);
		o.on_conflict = policies[i / 2];
		eval_fixture_run(&o, &r);
		assert_int_equal(r.scores.edits, o.on_conflict == EVAL_KEEP ? 3 : 2);
		assert_int_equal(r.superseded, o.on_conflict == EVAL_SUPERSEDE ? 1 : 0);
		assert_int_equal(r.rejected, o.on_conflict == EVAL_REJECT ? 1 : 0);
		eval_report_fini(&r);
	}
}

/* The marks at a prompt's end make no other of it; and one prompt has one answer, under `keep` too. */
static void keep_takes_the_first_of_two_answers(void **state)
{
	const struct eval_fixture *f = *state;
	struct eval_options o = eval_fixture_options(f);
	struct eval_report r;
	test_file_write(f->file, TWO_ROWS "{\"prompt\":\"Who is the king of Vint\",\"target_new\":\"Sven\"}\n");
	eval_fixture_run(&o, &r);
	assert_int_equal(r.scores.edits, 2);
	assert_int_equal(r.rejected, 1);
	assert_string_equal(r.records[0]->target_new.text, "Olaf");
	eval_report_fini(&r);
}

static void calibration_rows_are_refused(void **state)
{
	const struct eval_fixture *f = *state;
	struct eval_options o = eval_fixture_options(f);
	struct eval_report r;
	struct err e = ERR_INIT;
	test_file_write(f->file, eval_fixture_rows);
	assert_int_equal(eval_file_run(&o, &r, &e), ERR_INVALID);
	assert_non_null(strstr(e.text, "line 8"));
	assert_non_null(strstr(e.text, "1 of "));
	assert_non_null(strstr(e.text, "calibration corpus"));
}

/* Also among more rows than their table begins with. */
static void every_duplicate_is_found(void **state)
{
	const struct eval_fixture *f = *state;
	struct eval_options o = eval_fixture_options(f);
	struct eval_report r;
	struct err e = ERR_INIT;
	struct buf text = BUF_INIT;
	for (size_t i = 0; i < 1200; i++)
		buf_printf(&text, "{\"prompt\":\"who leads %zu?\",\"target_new\":\"Olaf\",\"subject\":\"%zu\"}\n",
			   i % 600, i % 600);
	for (size_t i = 0; i < 600; i += 100)
		buf_printf(&text, "{\"prompt\":\"who leads %zu?\",\"target_new\":\"Sven\",\"subject\":\"%zu\"}\n", i,
			   i);
	buf_puts(&text, "{\"prompt\":\"What is the capital of Bolt?\",\"target_new\":\"Kir\"}\n");
	test_file_write(f->file, buf_cstr(&text));
	o.on_conflict = EVAL_REJECT;
	assert_int_equal(eval_file_run(&o, &r, &e), ERR_INVALID); /* of the last row; nothing is trained */
	assert_non_null(strstr(e.text, "1 of 601"));
	assert_int_equal(r.duplicates, 600);
	assert_int_equal(r.rejected, 6);
	buf_free(&text);
}

static void a_file_without_edits_is_an_error(void **state)
{
	const struct eval_fixture *f = *state;
	struct eval_options o = eval_fixture_options(f);
	struct eval_report r;
	struct err e = ERR_INIT;
	test_file_write(f->file, "nonsense\n");
	assert_int_equal(eval_file_run(&o, &r, &e), ERR_INVALID);
	assert_non_null(strstr(e.text, f->file));
	test_file_write(f->file, "\x8f\x01\n");
	assert_int_equal(eval_file_run(&o, &r, &e), ERR_INVALID);
	assert_non_null(strstr(e.text, " is no text file"));
	o.file = "/nonexistent/edits.jsonl";
	assert_int_not_equal(eval_file_run(&o, &r, &e), 0);
	assert_non_null(strstr(e.text, "/nonexistent/edits.jsonl"));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, eval_fixture_new, eval_fixture_free)
	const struct CMUnitTest tests[] = {
		CASE(first_rows_are_edited_and_others_probe),
		CASE(conflicts_follow_the_policy),
		CASE(rows_that_are_too_long_are_bad_lines),
		CASE(what_is_edited_is_no_probe),
		CASE(the_same_prompt_is_a_conflict),
		CASE(one_names_the_subject),
		CASE(keep_takes_the_first_of_two_answers),
		CASE(calibration_rows_are_refused),
		CASE(every_duplicate_is_found),
		CASE(a_file_without_edits_is_an_error),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
