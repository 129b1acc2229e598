#include "base/process.h"

#include "base/pool.h"
#include "tests/lib/test.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define BYTES ((size_t)64 << 20)

static void memory_that_is_touched_is_resident(void **state)
{
	(void)state;
	uint64_t before = process_resident_bytes();
	char *memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(memory != MAP_FAILED);
	assert_true(before > 0 && process_resident_bytes() < before + BYTES / 2);
	memset(memory, 1, BYTES);
	assert_true(process_resident_bytes() >= before + BYTES - BYTES / 8);
	assert_int_equal(munmap(memory, BYTES), 0);
	assert_true(process_resident_bytes() < before + BYTES / 2);
}

/* In a process of its own: it holds for good. */
static void secrets_are_kept(void **state)
{
	(void)state;
	int status;
	const pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct rlimit core = { 1, 1 };
		process_keep_secrets();
		const bool kept = getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_cur == 0 && core.rlim_max == 0;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
		_exit(kept ? 0 : 1);
#else
		_exit(kept && prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 ? 0 : 1);
#endif
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static int open_files_in_a_child(rlim_t soft, rlim_t hard, uint64_t least, uint64_t most)
{
	int status;
	const pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct rlimit limit = { soft, hard };
		struct err e = ERR_INIT;
		if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
			_exit(250);
		const int rc = process_open_files(least, most, &e);
		if (rc != 0)
			_exit(rc == ERR_LIMIT && strstr(e.text, "may open 40 files, and needs 64") != NULL ? 251 : 252);
		_exit(getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max == hard ? (int)limit.rlim_cur : 253);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void more_files_may_be_opened_where_the_system_lets_it(void **state)
{
	(void)state;
	assert_int_equal(open_files_in_a_child(40, 240, 64, 200), 200);
	assert_int_equal(open_files_in_a_child(40, 150, 64, 200), 150);
	assert_int_equal(open_files_in_a_child(100, 150, 64, 80), 100); /* never fewer */
	assert_int_equal(open_files_in_a_child(30, 40, 64, 200), 251);
}

struct page_read {
	struct pool_job job;
	const volatile char *page;
};

static void read_page(struct pool_job *job)
{
	_exit(2 + *((struct page_read *)(void *)job)->page);
}

static void read_on_a_thread(const volatile char *page)
{
	struct page_read asked = { .job = { .run = read_page }, .page = page };
	struct pool *pool = NULL;
	struct err e = ERR_INIT;
	if (pool_new(1, 1, &pool, &e) != 0 || pool_submit(pool, &asked.job) != 0)
		_exit(1);
	pool_stop(pool);
}

/* A page that the file has not any more; on a pool's threads signals are blocked. */
static void expect_named(bool threaded)
{
	char path[] = "/tmp/amend-test-cut.XXXXXX", text[2048] = "";
	int ends[2], status, fd = mkstemp(path);
	assert_true(fd >= 0 && ftruncate(fd, 8192) == 0 && pipe(ends) == 0);
	const pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		dup2(ends[1], STDERR_FILENO);
		process_keep_secrets();
		process_name_bus_errors();
		const volatile char *map = mmap(NULL, 8192, PROT_READ, MAP_SHARED, fd, 0);
		if (map == MAP_FAILED || ftruncate(fd, 0) != 0)
			_exit(1);
		if (threaded)
			read_on_a_thread(map + 4096);
		_exit(2 + map[4096]);
	}
	close(ends[1]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(read(ends[0], text, sizeof text - 1) > 0);
	close(ends[0]);
	close(fd);
	unlink(path);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	if (strstr(text, "id=PROCESS-BUS-ERROR") == NULL || strstr(text, path) == NULL)
		fail_msg("%s", text);
}

static void a_bus_error_names_the_file(void **state)
{
	(void)state;
	expect_named(false);
}

static void a_bus_error_of_a_pools_thread_too(void **state)
{
	(void)state;
	expect_named(true);
}

static void one_that_was_sent_ends_the_process(void **state)
{
	(void)state;
	int status;
	const pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		process_keep_secrets();
		process_name_bus_errors();
		(void)raise(SIGBUS);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(memory_that_is_touched_is_resident),
					    cmocka_unit_test(secrets_are_kept),
					    cmocka_unit_test(more_files_may_be_opened_where_the_system_lets_it),
					    cmocka_unit_test(a_bus_error_names_the_file),
					    cmocka_unit_test(a_bus_error_of_a_pools_thread_too),
					    cmocka_unit_test(one_that_was_sent_ends_the_process) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
