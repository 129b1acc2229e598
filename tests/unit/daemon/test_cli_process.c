/* Programs in the background: found again by pid file, never confused with another that has their number. */
#include "daemon/cli_process.h"
#include "base/fault.h"
#include "tests/lib/test.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

struct world {
	char folder[TEST_PATH_BYTES], log[TEST_PATH_BYTES];
	struct err e;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);
	char run[TEST_PATH_BYTES];
	assert_non_null(w);
	test_folder_make(w->folder);
	test_path(run, w->folder, "run");
	test_path(w->log, w->folder, "log");
	assert_ok(&w->e, file_make_folder(run, &w->e));
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	test_folder_remove(w->folder);
	free(w);
	return 0;
}

static struct cli_process start(struct world *w, const char *name, const char *script)
{
	char *const argv[] = { (char *)(uintptr_t) "/bin/sh", (char *)(uintptr_t) "-c", (char *)(uintptr_t)script,
			       NULL };
	struct cli_process process;
	assert_ok(&w->e, cli_process_start(w->folder, name, argv, w->log, &process, &w->e));
	return process;
}

static bool ended(const struct cli_process *process)
{
	return cli_process_wait(process, 60000);
}

static void what_was_started_is_listed_until_it_ends(void **state)
{
	struct world *w = *state;
	struct cli_process b = start(w, "worker-1", "exec sleep 600"), a = start(w, "worker-0", "exec sleep 600"),
			   list[4];
	size_t count;
	assert_ok(&w->e, cli_process_list(w->folder, list, 4, &count, &w->e));
	assert_int_equal(count, 2);
	assert_string_equal(list[0].name, "worker-0");
	assert_int_equal(list[0].pid, a.pid);
	assert_true(list[1].start_time == b.start_time && b.start_time != 0);
	assert_true(cli_process_resident_bytes(&list[0]) > 0);
	cli_process_signal(&list[0], SIGTERM);
	assert_true(ended(&a));
	assert_ok(&w->e, cli_process_list(w->folder, list, 4, &count, &w->e));
	assert_int_equal(count, 1); /* and its file is gone */
	assert_int_equal(list[0].pid, b.pid);
	cli_process_signal(&b, SIGKILL);
	assert_true(ended(&b));
	cli_process_forget(w->folder, &b);
	assert_ok(&w->e, cli_process_list(w->folder, list, 4, &count, &w->e));
	assert_int_equal(count, 0);
}

/* A program without its file could not be found, and would hold its ports. */
static void a_program_runs_only_once_its_file_is_written(void **state)
{
	struct world *w = *state;
	char path[TEST_PATH_BYTES], script[TEST_PATH_BYTES + 16];
	char *const argv[] = { (char *)(uintptr_t) "/bin/sh", (char *)(uintptr_t) "-c", script, NULL };
	struct cli_process process = { .pid = 0 };
	test_path(path, w->folder, "ran");
	snprintf(script, sizeof script, "touch %s", path);
	assert_int_equal(fault_arm("base.file.before_rename=errno@1", &w->e), 0);
	errno = EINTR; /* left by an earlier call, which says nothing of this one */
	assert_int_not_equal(cli_process_start(w->folder, "worker-0", argv, w->log, &process, &w->e), 0);
	fault_disarm_all();
	assert_true(ended(&process));
	assert_int_not_equal(access(path, F_OK), 0);
}

static void a_suspended_program_is_told(void **state)
{
	struct world *w = *state;
	struct cli_process p = start(w, "worker-0", "exec sleep 600");
	int64_t since = 0;
	assert_false(cli_process_suspended(&p));
	cli_process_signal(&p, SIGSTOP);
	while (!cli_process_suspended(&p) && test_wait(&since))
		;
	assert_true(cli_process_suspended(&p));
	cli_process_signal(&p, SIGKILL);
	assert_true(ended(&p));
	assert_false(cli_process_suspended(&p));
}

/* What it said before this start is of another life. */
static void the_last_reason_is_of_this_start(void **state)
{
	struct world *w = *state;
	char reason[512] = "as it was";
	test_file_write(w->log, "ts=1 level=error id=OLD reason=\"of yesterday\"\n");
	struct cli_process p = start(w, "worker-0", "echo 'ts=1 level=info id=X reason=\"a note\"'");
	assert_true(ended(&p));
	assert_false(cli_process_last_reason(&p, w->log, reason, sizeof reason));
	assert_string_equal(reason, "as it was");
	p = start(w, "worker-0",
		  "echo 'ts=1 level=warn id=Y reason=\"the model differs\" key=ab'; echo 'ts=1 level=warn id=Z'");
	assert_true(ended(&p));
	assert_true(cli_process_last_reason(&p, w->log, reason, sizeof reason));
	assert_string_equal(reason, "the model differs");
}

/* Ours, and another's: `amend down` is not the parent of what it stops. */
static void the_end_of_a_program_is_waited_for(void **state)
{
	struct world *w = *state;
	char script[TEST_PATH_BYTES + 256];
	struct cli_process list[4];
	size_t count;
	int64_t since = 0;
	snprintf(script, sizeof script,
		 "sleep 600 & echo \"$! $(sed 's/.*) //' /proc/$!/stat | cut -d' ' -f20)\" >%s/run/worker-1.pid; "
		 "exec sleep 600",
		 w->folder);
	(void)start(w, "worker-0", script);
	do
		assert_ok(&w->e, cli_process_list(w->folder, list, 4, &count, &w->e));
	while (count < 2 && test_wait(&since));
	assert_int_equal(count, 2);
	for (size_t i = count; i-- > 0;) {
		assert_false(cli_process_wait(&list[i], 0));
		assert_false(cli_process_wait(&list[i], 30));
		cli_process_signal(&list[i], SIGKILL);
		assert_true(cli_process_wait(&list[i], 60000));
		assert_true(cli_process_wait(&list[i], 0));
	}
}

/* A pid file of yesterday names a number that now belongs to this test. */
static void a_number_given_to_another_is_not_signalled(void **state)
{
	struct world *w = *state;
	char path[TEST_PATH_BYTES], text[64];
	struct cli_process list[4], stale = { .name = "worker-0", .pid = getpid(), .start_time = 12345 };
	size_t count;
	test_path(path, w->folder, "run/worker-0.pid");
	snprintf(text, sizeof text, "%d 12345\n", (int)getpid());
	test_file_write(path, text);
	assert_false(cli_process_alive(&stale));
	cli_process_signal(&stale, SIGKILL); /* we are still here */
	assert_ok(&w->e, cli_process_list(w->folder, list, 4, &count, &w->e));
	assert_int_equal(count, 0);
	assert_int_not_equal(access(path, F_OK), 0);
}

static void what_is_no_pid_file_is_passed_over(void **state)
{
	struct world *w = *state;
	char path[TEST_PATH_BYTES];
	struct cli_process list[4];
	size_t count = 7;
	test_path(path, w->folder, "run/amend.yaml");
	test_file_write(path, "1 2\n");
	test_path(path, w->folder, "run/worker-0.pid");
	test_file_write(path, "garbage");
	assert_ok(&w->e, cli_process_list(w->folder, list, 4, &count, &w->e));
	assert_int_equal(count, 0);
	assert_ok(&w->e, cli_process_list("/nonexistent", list, 4, &count, &w->e)); /* no cluster is no error */
	assert_int_equal(count, 0);
}

static void the_last_words_are_the_last_failure(void **state)
{
	struct world *w = *state;
	char words[512];
	struct cli_process p = start(w, "worker-0",
				     "echo 'level=error id=PROCESS-FAILED reason=\"first\"';"
				     "echo 'level=error id=PROCESS-FAILED reason=\"the port is taken\"'; echo more");
	assert_true(ended(&p));
	cli_process_last_words(&p, w->log, words, sizeof words);
	assert_memory_equal(words, "the port is taken (", 19);
	assert_non_null(strstr(words, w->log));
	test_file_write(w->log, "level=error id=PROCESS-FAILED reason=\"\\\"x\\\" is no port: C:\\\\ a\\x0A\" pid=1\n");
	cli_process_last_words(&p, w->log, words, sizeof words);
	assert_ptr_equal(strstr(words, "\"x\" is no port: C:\\ a\\x0A ("), words);
	test_file_write(w->log, "level=error id=PROCESS-FAILED reason=plain pid=1\n");
	cli_process_last_words(&p, w->log, words, sizeof words);
	assert_memory_equal(words, "plain (", 7);
	test_file_write(w->log, "nothing of note\n");
	cli_process_last_words(&p, w->log, words, sizeof words);
	assert_memory_equal(words, "see ", 4);
}

/* One that is killed says nothing: what an earlier one of its name has said is not why. */
static void the_last_words_are_of_this_start(void **state)
{
	struct world *w = *state;
	char words[512];
	struct cli_process p =
		start(w, "worker-0", "echo 'level=error id=PROCESS-FAILED reason=\"the port is taken\"'");
	assert_true(ended(&p));
	p = start(w, "worker-0", "kill -KILL $$");
	assert_true(ended(&p));
	cli_process_last_words(&p, w->log, words, sizeof words);
	assert_memory_equal(words, "see ", 4);
}

static void a_program_that_is_not_there_says_so_in_its_log(void **state)
{
	struct world *w = *state;
	char *const argv[] = { (char *)(uintptr_t) "/nonexistent/amendd", NULL };
	struct cli_process p;
	char words[512];
	assert_ok(&w->e, cli_process_start(w->folder, "node-0", argv, w->log, &p, &w->e));
	assert_true(ended(&p));
	cli_process_last_words(&p, w->log, words, sizeof words);
	assert_non_null(strstr(words, "cannot run /nonexistent/amendd"));
	assert_int_equal(cli_process_start(w->folder, "node-0", argv, "/nonexistent/log", &p, &w->e), ERR_IO);
}

int main(void)
{
#define WORLD(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		WORLD(what_was_started_is_listed_until_it_ends),
		WORLD(a_program_runs_only_once_its_file_is_written),
		WORLD(a_suspended_program_is_told),
		WORLD(the_end_of_a_program_is_waited_for),
		WORLD(the_last_reason_is_of_this_start),
		WORLD(a_number_given_to_another_is_not_signalled),
		WORLD(what_is_no_pid_file_is_passed_over),
		WORLD(the_last_words_are_the_last_failure),
		WORLD(the_last_words_are_of_this_start),
		WORLD(a_program_that_is_not_there_says_so_in_its_log),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
