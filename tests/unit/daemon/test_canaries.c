/* Canaries: their files, and what a version of the tiny model answers to them. */
#include "tests/unit/daemon/node_fixture.h"

#include "base/buf.h"
#include "daemon/canaries.h"

#include <sys/stat.h>

static const char *file(struct node_fixture *f, const char *name, const char *text)
{
	static char paths[2][TEST_PATH_BYTES];
	char *path = paths[name[0] == 'o'];
	test_path(path, f->folder, name);
	assert_ok(&f->e, file_write_atomic(path, text, strlen(text), 0600, &f->e));
	return path;
}

static struct worker_canary_answer ask(struct node_fixture *f, const struct canaries *c, const struct published *p)
{
	const struct worker_canaries *row = canaries_worker(c);
	const struct msg_canary_run run = { p->root, p->content };
	struct worker_canary_answer answer = { .arena = NULL };
	struct buf roots = BUF_INIT;
	assert_ok(&f->e, row->roots(row->context, f->source, &run, &roots, &f->e));
	assert_int_equal(roots.len / sizeof(struct hash), f->merged ? 4 : 3);
	buf_free(&roots);
	assert_ok(&f->e, row->ask(row->context, f->model, f->source, &run, NULL, &answer, &f->e));
	return answer;
}

static void only_what_a_memory_answers_counts(void **state)
{
	struct node_fixture *f = *state;
	struct canaries *c = NULL;
	const char *shipped = file(f, "shipped.jsonl",
				   "{\"id\":\"far\",\"prompt\":\"a cat is on the mat\",\"kind\":\"x\"}\n\n"
				   "{\"id\":\"chat\",\"chat\":\"how are you?\"}\n");
	const char *own = file(f, "own.jsonl", "{\"id\":\"edited\",\"prompt\":\"what is the capital of Orla?\"}");
	assert_ok(&f->e, canaries_open(shipped, own, &c, &f->e));
	assert_int_equal(canaries_count(c), 3);
	for (int merged = 0; merged < 2; merged++) {
		f->merged = merged == 1;
		struct published *p = node_publish(f, 3 + (uint64_t)merged, false);
		struct worker_canary_answer answer = ask(f, c, p);
		assert_in_range(answer.asked, 2, 3); /* the tiny model may know no chat */
		assert_int_equal(answer.changed_total, 1);
		assert_int_equal(answer.changed_count, 1);
		assert_string_equal(answer.changed[0].id.text, "edited");
		assert_string_equal(answer.changed[0].prompt.text, "what is the capital of Orla?");
		assert_string_not_equal(answer.changed[0].before.text, answer.changed[0].after.text);
		assert_int_equal(answer.changed[0].memory, 7);
		assert_int_equal(answer.changed[0].edit, 11);
		arena_destroy(&answer.arena);
	}
	canaries_close(&c);
}

static void same_answers(const struct worker_canary_answer *a, const struct worker_canary_answer *b)
{
	assert_int_equal(a->asked, b->asked);
	assert_int_equal(a->changed_total, b->changed_total);
	assert_int_equal(a->changed_count, b->changed_count);
	for (size_t i = 0; i < a->changed_count; i++) {
		assert_string_equal(a->changed[i].id.text, b->changed[i].id.text);
		assert_string_equal(a->changed[i].before.text, b->changed[i].before.text);
		assert_string_equal(a->changed[i].after.text, b->changed[i].after.text);
	}
}

/* One that has read them ahead and has asked before answers as one that begins with this version. */
static void what_is_kept_changes_no_answer(void **state)
{
	struct node_fixture *f = *state;
	struct canaries *kept = NULL;
	struct buf calibration = BUF_INIT;
	size_t steps = 0;
	const char *own = file(f, "own.jsonl",
			       "{\"id\":\"edited\",\"prompt\":\"what is the capital of Orla?\"}\n"
			       "{\"id\":\"part\",\"prompt\":\"I rest. who was the king of Vint in 1907?\"}\n");
	assert_ok(&f->e, canaries_open("data/canaries.jsonl", own, &kept, &f->e));
	plain_calibration(model_digest(f->model), TINY_HIDDEN, 0.5f, 0.9999f, -1, &calibration);
	const struct worker_canaries *row = canaries_worker(kept);
	for (bool more = true; more; steps++)
		assert_ok(&f->e,
			  row->prepare(row->context, f->model, calibration.data, calibration.len, NULL, &more, &f->e));
	assert_in_range(steps, 10, 20);
	buf_free(&calibration);
	for (uint64_t version = 3; version < 7; version++) {
		f->merged = version > 4;
		struct published *p = node_publish(f, version, false);
		struct canaries *fresh = NULL;
		assert_ok(&f->e, canaries_open("data/canaries.jsonl", own, &fresh, &f->e));
		struct worker_canary_answer a = ask(f, kept, p), b = ask(f, fresh, p);
		assert_in_range(a.changed_total, 1, 20);
		same_answers(&a, &b);
		arena_destroy(&a.arena);
		arena_destroy(&b.arena);
		canaries_close(&fresh);
	}
	canaries_close(&kept);
}

static void bad_files_are_refused(void **state)
{
	struct node_fixture *f = *state;
	struct canaries *c = NULL;
	static const struct {
		const char *text, *says;
	} bad[] = {
		{ "{\"id\":\"a\",\"prompt\":\"p\"}\n{\"id\":\"a\",\"prompt\":\"q\"}\n", ":2: its id stands before" },
		{ "{\"prompt\":\"p\"}\n", ":1: needs an \"id\"" },
		{ "{\"id\":\"a\"}\n", ":1: needs a \"prompt\", or \"chat\"" },
		{ "{\"id\":\"a\",\"prompt\":\"\"}\n", ":1: its text is empty" },
		{ "\n{\"id\":\n", ":2" },
	};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		assert_int_not_equal(canaries_open(file(f, "shipped.jsonl", bad[i].text), NULL, &c, &f->e), 0);
		assert_non_null(strstr(f->e.text, bad[i].says));
		assert_null(c);
	}
	assert_int_equal(canaries_open("/nowhere/canaries.jsonl", NULL, &c, &f->e), ERR_NOT_FOUND);
}

/* A FIFO would be waited for. */
static void only_regular_files_are_read(void **state)
{
	struct node_fixture *f = *state;
	struct canaries *c = NULL;
	char fifo[TEST_PATH_BYTES];
	test_path(fifo, f->folder, "fifo");
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_int_equal(canaries_open("data/canaries.jsonl", fifo, &c, &f->e), ERR_INVALID);
	assert_non_null(strstr(f->e.text, "is not a regular file"));
	assert_non_null(strstr(f->e.text, fifo));
	assert_null(c);
	assert_int_equal(canaries_open("data/canaries.jsonl", f->folder, &c, &f->e), ERR_INVALID);
	assert_non_null(strstr(f->e.text, "is not a regular file"));
}

static void other_questions_have_another_digest(void **state)
{
	struct node_fixture *f = *state;
	struct canaries *c = NULL;
	struct hash seen[3];
	static const char *const own[] = { NULL, "{\"id\":\"a\",\"prompt\":\"p\"}\n",
					   "{\"id\":\"a\",\"chat\":\"p\"}\n" };
	for (size_t i = 0; i < 3; i++) {
		const char *path = own[i] != NULL ? file(f, "own.jsonl", own[i]) : NULL;
		assert_ok(&f->e, canaries_open("data/canaries.jsonl", path, &c, &f->e));
		seen[i] = canaries_worker(c)->digest;
		canaries_close(&c);
		assert_ok(&f->e, canaries_open("data/canaries.jsonl", path, &c, &f->e));
		assert_true(hash_equal(&canaries_worker(c)->digest, &seen[i]));
		canaries_close(&c);
		for (size_t k = 0; k < i; k++)
			assert_false(hash_equal(&seen[k], &seen[i]));
	}
}

static void the_shipped_ones_are_read(void **state)
{
	struct node_fixture *f = *state;
	struct canaries *c = NULL;
	assert_ok(&f->e, canaries_open("data/canaries.jsonl", NULL, &c, &f->e));
	assert_in_range(canaries_count(c), 200, 300);
	canaries_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(only_what_a_memory_answers_counts, node_setup, node_teardown),
		cmocka_unit_test_setup_teardown(what_is_kept_changes_no_answer, node_setup, node_teardown),
		cmocka_unit_test_setup_teardown(bad_files_are_refused, node_setup, node_teardown),
		cmocka_unit_test_setup_teardown(only_regular_files_are_read, node_setup, node_teardown),
		cmocka_unit_test_setup_teardown(other_questions_have_another_digest, node_setup, node_teardown),
		cmocka_unit_test_setup_teardown(the_shipped_ones_are_read, node_setup, node_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
