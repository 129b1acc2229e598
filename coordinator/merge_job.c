/* merge_job.c: the real row of struct coordinator_merge_job: mpirun with the merge program, in namespaces of its own
 * where the system allows.
 *
 * MPI has no authentication and a dead rank can hang mpirun for minutes: so the job sees only its own loopback, is
 * killed by SIGKILL as a whole, and is judged by its output file alone. Every process of a job carries a token in its
 * environment: mpirun puts ranks into process groups of their own, and ranks outlive an mpirun that dies, so the token
 * is what finds them all; it is written to the run folder, for the coordinator that comes after a crash. */
#include "coordinator/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROBE_MS          3000
#define TOKEN_NAME        "AMEND_MERGE_JOB"
#define TOKEN_BYTES       96
#define ARGS_MAX          64
#define LINE_BYTES        512
#define LOG_BYTES_MAX     (1024 * 1024) /* of job.log */
#define KILL_ROUNDS       100
#define KILL_ROUND_MS     10
#define ENVIRON_BYTES_MAX (256 * 1024)
/* Own /dev/shm: shared memory of a killed job is gone with its namespace. A fresh net namespace has `lo` down, and
 * mpirun refuses then. */
#define ISOLATED_SHELL "mount -t tmpfs tmpfs /dev/shm 2>/dev/null; ip link set lo up || exit 97; exec \"$@\""

extern char **environ;

struct job {
	struct coordinator_merge_options options;
	char *program, *model;
	bool isolated;
	pid_t pid; /* of the wrapper or mpirun; 0: none */
	char token[TOKEN_BYTES];
	int output_fd, log_fd; /* −1: none */
	size_t log_bytes;
	char line[LINE_BYTES];
	size_t line_len;
	double progress;
};

struct args {
	const char *list[ARGS_MAX];
	size_t count;
};

static void arg(struct args *a, const char *text)
{
	if (a->count < ARGS_MAX - 1)
		a->list[a->count++] = text;
	a->list[a->count] = NULL;
}

static void args_isolate(struct args *a)
{
	static const char *const words[] = { "unshare", "-pfnm", "--kill-child", "--mount-proc",
					     "sh",      "-c",    ISOLATED_SHELL, "amend-merge" };
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		arg(a, words[i]);
}

/* Only what is safe between fork and exec in a process with threads. */
static void child_run(const struct args *a, char *const *env, const char *folder, int out_fd)
{
	sigset_t none;
	sigemptyset(&none);
	for (int s = 1; s < 32; s++) {
		if (s != SIGKILL && s != SIGSTOP)
			signal(s, SIG_DFL);
	}
	sigprocmask(SIG_SETMASK, &none, NULL);
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	int null_fd = open("/dev/null", O_RDWR);
	if (null_fd < 0 || dup2(null_fd, 0) < 0 || dup2(out_fd, 1) < 0 || dup2(out_fd, 2) < 0)
		_exit(127);
	syscall(SYS_close_range, 3u, ~0u, 0u);
	if (folder != NULL && chdir(folder) != 0)
		_exit(127);
	char **argv = (char **)(uintptr_t)a->list;
	execvpe(argv[0], argv, env);
	_exit(127);
}

/* Waits for a process that is about to end; true when it did within `ms`. */
static bool wait_ended(pid_t pid, int ms, int *status)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int rc;
	do {
		rc = fd >= 0 ? poll(&p, 1, ms) : 0;
	} while (rc < 0 && errno == EINTR);
	if (fd >= 0)
		close(fd);
	if (rc <= 0)
		kill(pid, SIGKILL);
	while (waitpid(pid, status, 0) < 0 && errno == EINTR)
		;
	return rc > 0;
}

static bool probe_isolation(void)
{
	struct args a = { .count = 0 };
	int status = 0, null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	args_isolate(&a);
	arg(&a, "true");
	pid_t pid = null_fd >= 0 ? fork() : -1;
	if (pid == 0)
		child_run(&a, environ, NULL, null_fd);
	bool ok = pid > 0 && wait_ended(pid, PROBE_MS, &status) && WIFEXITED(status) && WEXITSTATUS(status) == 0;
	if (null_fd >= 0)
		close(null_fd);
	return ok;
}

/* --- Finding and killing what carries a token. */
static bool has_token(pid_t pid, const char *token)
{
	char path[64];
	struct buf text = BUF_INIT;
	struct err e = ERR_INIT;
	snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
	bool found = file_read(path, ENVIRON_BYTES_MAX, &text, &e) == 0 &&
		     text.len > 0 && /* a process that ends has none */
		     memmem(text.data, text.len, token, strlen(token) + 1) != NULL;
	buf_free(&text);
	return found;
}

static size_t kill_token(const char *token)
{
	size_t killed = 0;
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	if (proc == NULL)
		return 0;
	while ((entry = readdir(proc)) != NULL) {
		long pid = strtol(entry->d_name, NULL, 10);
		if (pid > 1 && pid != (long)getpid() && has_token((pid_t)pid, token) && kill((pid_t)pid, SIGKILL) == 0)
			killed++;
	}
	closedir(proc);
	return killed;
}

/* A process may fork while the list is read: until a look finds nobody (a dead process has no environment). */
static void kill_all(const char *token)
{
	for (int round = 0; round < KILL_ROUNDS; round++) {
		if (kill_token(token) == 0)
			return;
		poll(NULL, 0, KILL_ROUND_MS);
	}
	log_event(LOG_ERROR, "MERGE-JOB-NOT-KILLED", LOGF_S("token", token));
}

static void job_kill(void *context)
{
	struct job *job = context;
	int status;
	if (job->pid > 0) {
		kill(-job->pid, SIGKILL);
		kill(job->pid, SIGKILL);
		while (waitpid(job->pid, &status, 0) < 0 && errno == EINTR)
			;
		job->pid = 0;
	}
	if (job->token[0] != 0)
		kill_all(job->token);
	job->token[0] = 0;
	if (job->output_fd >= 0)
		close(job->output_fd);
	if (job->log_fd >= 0)
		close(job->log_fd);
	job->output_fd = job->log_fd = -1;
}

/* --- Starting. */
static void folder_of(const char *path, char *out)
{
	snprintf(out, PATH_MAX, "%s", path);
	char *slash = strrchr(out, '/');
	if (slash == NULL)
		snprintf(out, PATH_MAX, ".");
	else
		*slash = 0;
}

/* An earlier process of ours may have crashed with a job running. */
static void kill_recorded(const char *path)
{
	struct buf text = BUF_INIT;
	struct err e = ERR_INIT;
	if (file_read(path, TOKEN_BYTES, &text, &e) == 0) {
		const char *token = buf_cstr(&text);
		if (strncmp(token, TOKEN_NAME "=", sizeof TOKEN_NAME) == 0 && strlen(token) > sizeof TOKEN_NAME + 16) {
			log_event(LOG_INFO, "MERGE-JOB-LEFTOVER", LOGF_S("token", token));
			kill_all(token);
		}
	}
	buf_free(&text);
}

static char **environment(const char *token)
{
	size_t n = 0;
	while (environ[n] != NULL)
		n++;
	char **out = fault_calloc(n + 2, sizeof(char *));
	if (out == NULL)
		return NULL;
	size_t kept = 0;
	for (size_t i = 0; i < n; i++) {
		if (strncmp(environ[i], TOKEN_NAME "=", sizeof TOKEN_NAME) != 0)
			out[kept++] = environ[i];
	}
	out[kept] = (char *)(uintptr_t)token;
	return out;
}

struct spawn {
	char folder[PATH_MAX], tmp[PATH_MAX + 8], token_path[PATH_MAX + 16], log_path[PATH_MAX + 16], ranks[16],
		threads[16];
	char plan[PATH_MAX], output[PATH_MAX];
};

static void args_mpirun(struct args *a, const struct job *job, const struct spawn *s)
{
	/* No ssh, no resource manager, one host: launched locally; shared memory only between ranks, copied through (no
	 * ptrace rights needed). */
	static const char *const words[] = { "--oversubscribe",
					     "--bind-to",
					     "none",
					     "--mca",
					     "plm",
					     "isolated",
					     "--mca",
					     "ras",
					     "^slurm",
					     "--mca",
					     "btl",
					     "self,vader",
					     "--mca",
					     "btl_vader_single_copy_mechanism",
					     "none",
					     "--mca",
					     "oob_tcp_if_include",
					     "lo" };
	arg(a, "mpirun");
	if (geteuid() == 0)
		arg(a, "--allow-run-as-root");
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		arg(a, words[i]);
	arg(a, "--mca");
	arg(a, "orte_tmpdir_base");
	arg(a, s->tmp);
	arg(a, "-np");
	arg(a, s->ranks);
	arg(a, job->program);
	arg(a, "--plan");
	arg(a, s->plan);
	arg(a, "--output");
	arg(a, s->output);
	arg(a, "--model");
	arg(a, job->model);
	arg(a, "--threads");
	arg(a, s->threads);
}

/* The job runs in its run folder: relative paths are made absolute first. */
static int absolute(const char *path, char out[PATH_MAX], struct err *e)
{
	char cwd[PATH_MAX];
	int n;
	if (path[0] == '/')
		n = snprintf(out, PATH_MAX, "%s", path);
	else if (getcwd(cwd, sizeof cwd) == NULL)
		return err_errno(e, ERR_IO, errno, "merge job: the working folder");
	else
		n = snprintf(out, PATH_MAX, "%s/%s", cwd, path);
	return n < PATH_MAX ? 0 : err_set(e, ERR_LIMIT, "merge job: the path %.64s… is too long", path);
}

static int spawn_prepare(struct job *job, const char *plan, const char *output, uint32_t ranks, struct spawn *s,
			 struct err *e)
{
	int rc = absolute(plan, s->plan, e);
	if (rc == 0)
		rc = absolute(output, s->output, e);
	if (rc != 0)
		return rc;
	folder_of(s->plan, s->folder);
	snprintf(s->tmp, sizeof s->tmp, "%s/tmp", s->folder);
	snprintf(s->token_path, sizeof s->token_path, "%s/job.token", s->folder);
	snprintf(s->log_path, sizeof s->log_path, "%s/job.log", s->folder);
	snprintf(s->ranks, sizeof s->ranks, "%" PRIu32, ranks);
	snprintf(s->threads, sizeof s->threads, "%" PRIu32,
		 job->options.threads_per_rank > 0 ? job->options.threads_per_rank : 1);
	kill_recorded(s->token_path);
	snprintf(job->token, sizeof job->token, TOKEN_NAME "=%d-%016" PRIx64 "%016" PRIx64, (int)getpid(),
		 env_random_u64(env_system()), env_random_u64(env_system()));
	rc = file_make_folder(s->tmp, e);
	if (rc == 0)
		rc = file_write_atomic(s->token_path, job->token, strlen(job->token), 0600, e);
	return rc;
}

static int spawn(struct job *job, const struct spawn *s, struct err *e)
{
	struct args a = { .count = 0 };
	int fds[2];
	if (job->isolated)
		args_isolate(&a);
	args_mpirun(&a, job, s);
	char **env = environment(job->token);
	if (env == NULL)
		return err_set(e, ERR_NOMEM, "merge job: out of memory");
	if (pipe2(fds, O_CLOEXEC) != 0) {
		free(env);
		return err_errno(e, ERR_IO, errno, "merge job: pipe");
	}
	pid_t pid = fork();
	int errnum = errno;
	if (pid == 0)
		child_run(&a, env, s->folder, fds[1]);
	free(env);
	close(fds[1]);
	if (pid < 0) {
		close(fds[0]);
		return err_errno(e, ERR_IO, errnum, "merge job: fork");
	}
	setpgid(pid, pid); /* here too: a kill may come before the child has run */
	job->pid = pid;
	job->output_fd = fds[0];
	(void)fcntl(fds[0], F_SETFL, O_NONBLOCK);
	job->log_fd = open(s->log_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	return 0;
}

static int job_start(void *context, const char *plan_path, const char *output_path, uint32_t ranks, struct err *e)
{
	struct job *job = context;
	struct spawn s;
	job_kill(job);
	int rc = spawn_prepare(job, plan_path, output_path, ranks, &s, e);
	if (rc == 0)
		rc = spawn(job, &s, e);
	if (rc != 0) {
		job->token[0] = 0;
		return rc;
	}
	job->line_len = job->log_bytes = 0;
	job->progress = 0;
	return 0;
}

/* --- Watching. */
static void line_take(struct job *job)
{
	uint64_t done, total;
	job->line[job->line_len] = 0;
	if (sscanf(job->line, "progress %" SCNu64 " %" SCNu64, &done, &total) == 2) {
		if (total > 0 && done <= total)
			job->progress = (double)done / (double)total;
	} else if (job->log_fd >= 0 && job->log_bytes < LOG_BYTES_MAX) {
		job->line[job->line_len] = '\n';
		ssize_t n = write(job->log_fd, job->line, job->line_len + 1);
		job->log_bytes += n > 0 ? (size_t)n : 0;
	}
	job->line_len = 0;
}

static void output_read(struct job *job)
{
	char bytes[4096];
	ssize_t n;
	while (job->output_fd >= 0 && (n = read(job->output_fd, bytes, sizeof bytes)) > 0) {
		for (ssize_t i = 0; i < n; i++) {
			if (bytes[i] == '\n' || job->line_len == LINE_BYTES - 2)
				line_take(job);
			if (bytes[i] != '\n')
				job->line[job->line_len++] = bytes[i];
		}
	}
}

static int job_poll(void *context, double *progress, struct err *e)
{
	struct job *job = context;
	int status = 0;
	if (job->pid <= 0)
		return err_set(e, ERR_CLOSED, "no merge job runs");
	output_read(job);
	*progress = job->progress;
	pid_t ended = waitpid(job->pid, &status, WNOHANG);
	if (ended == 0)
		return ERR_AGAIN;
	job->pid = 0;
	output_read(job);
	if (job->line_len > 0)
		line_take(job);
	*progress = job->progress;
	log_event(LOG_INFO, "MERGE-JOB-ENDED", LOGF_I("exit", WIFEXITED(status) ? WEXITSTATUS(status) : -1),
		  LOGF_I("signal", WIFSIGNALED(status) ? WTERMSIG(status) : 0));
	job_kill(job); /* ranks that outlived mpirun */
	return 0;
}

/* The job runs in its run folder, so a file named from our working folder gets its full path; a program without a slash
 * is left to PATH. */
static char *full_path(const char *path)
{
	char *found = realpath(path, NULL);
	return found != NULL ? found : strdup(path);
}

int coordinator_merge_job_new(const struct coordinator_merge_options *options, struct coordinator_merge_job *out,
			      struct err *e)
{
	struct job *job = fault_calloc(1, sizeof *job);
	if (job == NULL)
		return err_set(e, ERR_NOMEM, "merge job: out of memory");
	job->options = *options;
	job->program = strchr(options->program, '/') != NULL ? full_path(options->program) : strdup(options->program);
	job->model = full_path(options->model != NULL ? options->model : "");
	job->output_fd = job->log_fd = -1;
	*out = (struct coordinator_merge_job){ job, job_start, job_poll, job_kill };
	if (job->program == NULL || job->model == NULL) {
		coordinator_merge_job_fini(out);
		return err_set(e, ERR_NOMEM, "merge job: out of memory");
	}
	job->isolated = options->isolate && probe_isolation();
	if (!job->isolated)
		log_event(LOG_WARN, "MERGE-NOT-ISOLATED",
			  LOGF_S("reason", options->isolate ? "unshare or ip is missing here, or not permitted"
							    : "switched off"));
	return 0;
}

void coordinator_merge_job_fini(struct coordinator_merge_job *job)
{
	struct job *own = job->context;
	if (own == NULL)
		return;
	job_kill(own);
	free(own->program);
	free(own->model);
	free(own);
	job->context = NULL;
}
