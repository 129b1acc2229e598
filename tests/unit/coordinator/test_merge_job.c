/* The real merge job: mpirun with a shell script in the place of amend-merge. */
#include "coordinator/coordinator.h"
#include "tests/lib/test.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct run {
	char folder[TEST_PATH_BYTES], program[TEST_PATH_BYTES], plan[TEST_PATH_BYTES], output[TEST_PATH_BYTES];
	struct coordinator_merge_job job;
	struct err e;
};

/* `isolate` asks for namespaces; where they are not permitted the same must hold without. */
static void run_open(struct run *r, const char *folder, const char *script, bool isolate)
{
	snprintf(r->folder, sizeof r->folder, "%s", folder);
	test_path(r->program, folder, "stand-in");
	test_path(r->plan, folder, "plan.json");
	test_path(r->output, folder, "output");
	test_file_write(r->program, script);
	test_file_write(r->plan, "{}");
	assert_int_equal(chmod(r->program, 0700), 0);
	struct coordinator_merge_options options = { r->program, "model.gguf", 1, isolate };
	assert_ok(&r->e, coordinator_merge_job_new(&options, &r->job, &r->e));
}

static int run_start(struct run *r, uint32_t ranks)
{
	return r->job.start(r->job.context, r->plan, r->output, ranks, &r->e);
}

/* Polls until the job ended (0) or `path` exists (ERR_AGAIN). */
static int run_wait(struct run *r, const char *path, double *progress)
{
	int64_t since = 0;
	for (;;) {
		int rc = r->job.poll(r->job.context, progress, &r->e);
		if (rc != ERR_AGAIN || (path != NULL && access(path, F_OK) == 0))
			return rc;
		if (!test_wait(&since))
			fail_msg("the job does not get there");
	}
}

static char *file_text(const char *folder, const char *name, struct buf *out)
{
	char path[TEST_PATH_BYTES];
	struct err e = ERR_INIT;
	test_path(path, folder, name);
	assert_ok(&e, file_read(path, 1 << 20, out, &e));
	return (char *)(uintptr_t)buf_cstr(out);
}

/* Ranks hold a shared lock while they live: nobody holds it once all are dead. */
static bool all_dead(const char *folder)
{
	char path[TEST_PATH_BYTES];
	test_path(path, folder, "lock");
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	bool free_ = flock(fd, LOCK_EX | LOCK_NB) == 0;
	close(fd);
	return free_;
}

#define WORKS                                                                                                          \
	"#!/bin/sh\n"                                                                                                  \
	"echo progress 1 2 >&2\n"                                                                                      \
	"echo rank $OMPI_COMM_WORLD_RANK of $OMPI_COMM_WORLD_SIZE >&2\n"                                               \
	"[ $OMPI_COMM_WORLD_RANK = 0 ] && echo \"$@\" >output\n"                                                       \
	"exit 0\n"
#define HANGS                                                                                                          \
	"#!/bin/sh\n"                                                                                                  \
	"exec 9>lock; flock -s 9; : >ready-$OMPI_COMM_WORLD_RANK\n"                                                    \
	"trap '' TERM INT\n"                                                                                           \
	"(sleep 1000) & sleep 1000\n"

static void works(const char *folder, bool isolate)
{
	struct run r;
	struct buf text = BUF_INIT;
	double progress = 0;
	run_open(&r, folder, WORKS, isolate);
	assert_ok(&r.e, run_start(&r, 2));
	assert_int_equal(run_wait(&r, NULL, &progress), 0);
	assert_true(progress > 0.49 && progress < 0.51);
	char *args = file_text(folder, "output", &text);
	assert_non_null(strstr(args, "--plan /"));
	assert_non_null(strstr(args, "--model model.gguf --threads 1"));
	buf_clear(&text);
	char *log = file_text(folder, "job.log", &text);
	assert_non_null(strstr(log, "rank 0 of 2"));
	assert_non_null(strstr(log, "rank 1 of 2"));
	assert_int_equal(r.job.poll(r.job.context, &progress, &r.e), ERR_CLOSED);
	buf_free(&text);
	coordinator_merge_job_fini(&r.job);
}

static void test_job_runs_with_namespaces_where_permitted(void **state)
{
	works(*state, true);
}

static void test_job_runs_without_namespaces(void **state)
{
	works(*state, false);
}

static void killed(const char *folder, bool isolate)
{
	struct run r;
	char ready[2][TEST_PATH_BYTES];
	double progress;
	test_path(ready[0], folder, "ready-0");
	test_path(ready[1], folder, "ready-1");
	run_open(&r, folder, HANGS, isolate);
	assert_ok(&r.e, run_start(&r, 2));
	assert_int_equal(run_wait(&r, ready[0], &progress), ERR_AGAIN);
	assert_int_equal(run_wait(&r, ready[1], &progress), ERR_AGAIN);
	assert_false(all_dead(folder));
	r.job.kill(r.job.context);
	int64_t since = 0;
	while (!all_dead(folder) && test_wait(&since)) /* SIGKILL is sent; a loaded system takes its time */
		;
	assert_true(all_dead(folder));
	r.job.kill(r.job.context); /* idempotent */
	coordinator_merge_job_fini(&r.job);
}

static void test_kill_leaves_nothing_behind(void **state)
{
	killed(*state, true);
}

static void test_kill_without_namespaces_leaves_nothing_behind(void **state)
{
	killed(*state, false);
}

/* A second coordinator finds in the run folder what the first one, now gone, has started. */
static void test_leftover_of_a_crash_is_killed(void **state)
{
	struct run first, second;
	char ready[TEST_PATH_BYTES];
	double progress;
	test_path(ready, *state, "ready-0");
	run_open(&first, *state, HANGS, false);
	assert_ok(&first.e, run_start(&first, 1));
	assert_int_equal(run_wait(&first, ready, &progress), ERR_AGAIN);
	run_open(&second, *state, WORKS, false);
	assert_ok(&second.e, run_start(&second, 1));
	assert_true(all_dead(*state));
	assert_int_equal(run_wait(&second, NULL, &progress), 0);
	assert_int_equal(run_wait(&first, NULL, &progress), 0);
	coordinator_merge_job_fini(&first.job);
	coordinator_merge_job_fini(&second.job);
}

static void test_rank_that_dies_ends_the_job(void **state)
{
	struct run r;
	double progress;
	run_open(&r, *state,
		 "#!/bin/sh\n[ $OMPI_COMM_WORLD_RANK = 1 ] && kill -9 $$\nexec 9>lock; flock -s 9; sleep 1000\n", true);
	assert_ok(&r.e, run_start(&r, 2));
	assert_int_equal(run_wait(&r, NULL, &progress), 0);
	assert_true(all_dead(*state));
	assert_int_not_equal(access(r.output, F_OK), 0);
	coordinator_merge_job_fini(&r.job);
}

static void test_missing_program_ends_without_output(void **state)
{
	struct run r;
	double progress;
	run_open(&r, *state, WORKS, true);
	assert_int_equal(unlink(r.program), 0);
	assert_ok(&r.e, run_start(&r, 1));
	assert_int_equal(run_wait(&r, NULL, &progress), 0);
	assert_int_not_equal(access(r.output, F_OK), 0);
	coordinator_merge_job_fini(&r.job);
}

#define T(f) cmocka_unit_test_setup_teardown(f, test_setup_folder, test_teardown_folder)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_job_runs_with_namespaces_where_permitted),
		T(test_job_runs_without_namespaces),
		T(test_kill_leaves_nothing_behind),
		T(test_kill_without_namespaces_leaves_nothing_behind),
		T(test_leftover_of_a_crash_is_killed),
		T(test_rank_that_dies_ends_the_job),
		T(test_missing_program_ends_without_output),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
