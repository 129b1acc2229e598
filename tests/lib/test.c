#include "tests/lib/test.h"

#include "base/env.h"
#include "base/fault.h"
#include "base/log.h"

#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define ALLOCATIONS_MAX 100000
#define WAIT_MS_MAX     60000

void test_folder_make(char out[TEST_PATH_BYTES])
{
	const char *parent = getenv("TMPDIR");
	int written = snprintf(out, TEST_PATH_BYTES, "%s/amend-test.XXXXXX", parent != NULL ? parent : "/tmp");
	assert_true(written > 0 && written < TEST_PATH_BYTES);
	assert_non_null(mkdtemp(out));
}

static int remove_one(const char *path, const struct stat *s, int type, struct FTW *at)
{
	(void)s;
	(void)type;
	(void)at;
	return remove(path);
}

void test_folder_remove(const char *folder)
{
	assert_int_equal(nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

void test_path(char out[TEST_PATH_BYTES], const char *folder, const char *name)
{
	int written = snprintf(out, TEST_PATH_BYTES, "%s/%s", folder, name);
	assert_true(written > 0 && written < TEST_PATH_BYTES);
}

void test_file_write(const char *path, const char *text)
{
	FILE *f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
	assert_int_equal(fclose(f), 0);
}

static char log_path[TEST_PATH_BYTES];
static int log_fd = -1;

void test_log_begin(const char *folder)
{
	test_path(log_path, folder, "log");
	log_fd = open(log_path, O_CREAT | O_TRUNC | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
	assert_true(log_fd >= 0);
	log_fd_set(log_fd);
}

size_t test_log_count(const char *id)
{
	struct buf text = BUF_INIT;
	struct err e = ERR_INIT;
	char wanted[128];
	size_t count = 0;
	assert_ok(&e, file_read(log_path, (size_t)1 << 24, &text, &e));
	snprintf(wanted, sizeof wanted, " id=%s ", id);
	for (const char *at = buf_cstr(&text); (at = strstr(at, wanted)) != NULL; at++)
		count++;
	buf_free(&text);
	return count;
}

void test_log_end(void)
{
	log_fd_set(-1);
	close(log_fd);
}

void test_file_size_limit(uint64_t bytes)
{
	struct rlimit limit;
	assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

bool test_wait(int64_t *since_ms)
{
	const int64_t now = env_monotonic_ms(env_system());
	if (*since_ms == 0)
		*since_ms = now;
	if (now - *since_ms > WAIT_MS_MAX)
		return false;
	poll(NULL, 0, 2);
	return true;
}

int test_setup_folder(void **state)
{
	*state = malloc(TEST_PATH_BYTES);
	if (*state == NULL)
		return -1;
	test_folder_make(*state);
	return 0;
}

int test_teardown_folder(void **state)
{
	test_folder_remove(*state);
	free(*state);
	return 0;
}

int test_walk_allocations(int (*run)(void *context), void *context)
{
	for (int n = 0; n < ALLOCATIONS_MAX; n++) {
		fault_set(n, 1);
		int rc = run(context);
		fault_set(-1, 0);
		if (rc == 0)
			return n;
		if (rc != ERR_NOMEM)
			fail_msg("allocation %d failed: the result is %s, not ERR_NOMEM", n, err_name(rc));
	}
	fail_msg("more than %d allocations", ALLOCATIONS_MAX);
	return -1;
}

bool test_aborts(void (*run)(void *context), void *context)
{
	fflush(NULL);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		signal(SIGABRT, SIG_DFL);
		setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
		int null = open("/dev/null", O_WRONLY);
		if (null >= 0)
			dup2(null, STDERR_FILENO);
		run(context);
		_exit(0);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

const char *test_model_path(void)
{
	static char path[TEST_PATH_BYTES];
	const char *given = getenv("AMEND_MODEL"), *home = getenv("HOME");
	if (given != NULL && given[0] != '\0')
		snprintf(path, sizeof path, "%s", given);
	else
		snprintf(path, sizeof path, "%s/.cache/amend/SmolLM2-135M-Instruct.Q4_1.gguf", home ? home : "");
	if (access(path, R_OK) != 0)
		print_error("no model at %s: run scripts/fetch-model, or set AMEND_MODEL\n", path);
	return path;
}
