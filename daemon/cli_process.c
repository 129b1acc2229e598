/* cli_process.c: see cli_process.h. */
#include "daemon/cli_process.h"

#include "base/buf.h"
#include "base/env.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOG_TAIL_BYTES 4096
#define LOOK_MS        20 /* how often, where the system cannot say when a process ends */

/* Start time in clock ticks since boot; 0 when there is no such process, or it is a zombie. One whose other threads
 * still end is none: it holds its ports and locks. */
static uint64_t start_time_of(pid_t pid, char *state)
{
	char path[64], text[1024];
	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	FILE *f = fopen(path, "r");
	if (f == NULL)
		return 0;
	size_t len = fread(text, 1, sizeof text - 1, f);
	fclose(f);
	text[len] = '\0';
	const char *after = strrchr(text, ')'); /* the name may hold spaces and brackets */
	int threads;
	unsigned long long start;
	if (after == NULL ||
	    sscanf(after + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %d %*d %llu", state,
		   &threads, &start) != 3)
		return 0;
	return *state == 'X' || (*state == 'Z' && threads <= 1) ? 0 : start;
}

static int pid_path(const char *folder, const char *name, char out[PATH_MAX])
{
	return snprintf(out, PATH_MAX, "%s/run/%s.pid", folder, name) < PATH_MAX ? 0 : ERR_LIMIT;
}

/* In the child: only descriptors 0 to 2, then the program. It begins when its pid file is there, which is said through
 * `go_fd`: a parent that is killed before leaves no program that nobody could find. */
static void child_run(char *const argv[], int log_fd, int go_fd)
{
	char go;
	int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	sigset_t none;
	ssize_t got;
	while ((got = read(go_fd, &go, 1)) < 0 && errno == EINTR)
		;
	if (got != 1)
		_exit(126);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	if (setsid() < 0 || null_fd < 0 || dup2(null_fd, 0) < 0 || dup2(log_fd, 1) < 0 || dup2(log_fd, 2) < 0)
		_exit(126);
	execv(argv[0], argv);
	dprintf(2, "level=error id=PROCESS-FAILED reason=\"cannot run %s: %s\"\n", argv[0], strerror(errno));
	_exit(127);
}

static int pid_write(const char *folder, const struct cli_process *process, struct err *e)
{
	char path[PATH_MAX], text[64];
	int len = snprintf(text, sizeof text, "%d %llu\n", (int)process->pid, (unsigned long long)process->start_time);
	return pid_path(folder, process->name, path) != 0 ? err_set(e, ERR_LIMIT, "%s: the path is too long", folder)
							  : file_write_atomic(path, text, (size_t)len, 0600, e);
}

/* Takes both ends of the pipe. */
static int child_start(const char *folder, const char *name, char *const argv[], int log_fd, const int go[2],
		       struct cli_process *out, struct err *e)
{
	char state;
	pid_t pid = fork();
	if (pid == 0) {
		close(go[1]);
		child_run(argv, log_fd, go[0]);
	}
	int errnum = errno;
	close(go[0]);
	int rc = pid < 0 ? err_errno(e, ERR_EXTERNAL, errnum, "cannot start %s", name) : 0;
	if (rc == 0) {
		off_t log_bytes = lseek(log_fd, 0, SEEK_END);
		*out = (struct cli_process){ .pid = pid,
					     .start_time = start_time_of(pid, &state),
					     .log_from = log_bytes > 0 ? log_bytes : 0 };
		snprintf(out->name, sizeof out->name, "%s", name);
		rc = pid_write(folder, out, e);
	}
	if (rc == 0 && write(go[1], "", 1) != 1)
		rc = err_errno(e, ERR_EXTERNAL, errno, "cannot start %s", name);
	close(go[1]);
	return rc;
}

int cli_process_start(const char *folder, const char *name, char *const argv[], const char *log_path,
		      struct cli_process *out, struct err *e)
{
	int go[2];
	int log_fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (log_fd < 0)
		return err_errno(e, ERR_IO, errno, "cannot write %s", log_path);
	int rc = pipe2(go, O_CLOEXEC) != 0 ? err_errno(e, ERR_EXTERNAL, errno, "cannot start %s", name)
					   : child_start(folder, name, argv, log_fd, go, out, e);
	close(log_fd);
	return rc;
}

bool cli_process_alive(const struct cli_process *process)
{
	char state;
	(void)waitpid(process->pid, NULL, WNOHANG); /* reaps it when it is our child */
	return process->start_time != 0 && start_time_of(process->pid, &state) == process->start_time;
}

bool cli_process_suspended(const struct cli_process *process)
{
	char state = 0;
	return start_time_of(process->pid, &state) == process->start_time && state == 'T';
}

void cli_process_signal(const struct cli_process *process, int signal_number)
{
	if (cli_process_alive(process))
		kill(process->pid, signal_number);
}

bool cli_process_wait(const struct cli_process *process, int64_t ms)
{
	/* Opened before it is looked at: the number may be another's by then, and is not waited for. */
	struct pollfd end = { .fd = (int)syscall(SYS_pidfd_open, process->pid, 0), .events = POLLIN };
	const int64_t until = env_monotonic_ms(env_system()) + ms;
	int64_t left = ms;
	while (cli_process_alive(process) && left > 0) {
		poll(&end, 1, end.fd >= 0 && left < INT_MAX ? (int)left : LOOK_MS);
		left = until - env_monotonic_ms(env_system());
	}
	if (end.fd >= 0)
		close(end.fd);
	return !cli_process_alive(process);
}

void cli_process_forget(const char *folder, const struct cli_process *process)
{
	char path[PATH_MAX];
	(void)waitpid(process->pid, NULL, WNOHANG);
	if (pid_path(folder, process->name, path) == 0)
		unlink(path);
}

static bool pid_file_read(const char *folder, const char *file, struct cli_process *out)
{
	char path[PATH_MAX];
	int pid;
	unsigned long long start;
	size_t len = strlen(file);
	if (len < 5 || len - 4 >= sizeof out->name || strcmp(file + len - 4, ".pid") != 0 ||
	    snprintf(path, sizeof path, "%s/run/%s", folder, file) >= PATH_MAX)
		return false;
	FILE *f = fopen(path, "r");
	if (f == NULL)
		return false;
	int fields = fscanf(f, "%d %llu", &pid, &start);
	fclose(f);
	if (fields != 2)
		return false;
	*out = (struct cli_process){ .pid = pid, .start_time = start };
	memcpy(out->name, file, len - 4);
	return true;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct cli_process *)a)->name, ((const struct cli_process *)b)->name);
}

int cli_process_list(const char *folder, struct cli_process *out, size_t max, size_t *count, struct err *e)
{
	char path[PATH_MAX];
	*count = 0;
	if (snprintf(path, sizeof path, "%s/run", folder) >= PATH_MAX)
		return err_set(e, ERR_LIMIT, "%s: the path is too long", folder);
	DIR *dir = opendir(path);
	if (dir == NULL)
		return errno == ENOENT ? 0
				       : err_errno(e, ERR_IO, errno,
						   "cannot read %s; name the folder of `amend up` with --data, and see "
						   "that it is this user's",
						   path);
	for (struct dirent *entry; *count < max && (entry = readdir(dir)) != NULL;) {
		struct cli_process process;
		if (!pid_file_read(folder, entry->d_name, &process))
			continue;
		if (cli_process_alive(&process))
			out[(*count)++] = process;
		else
			cli_process_forget(folder, &process);
	}
	closedir(dir);
	qsort(out, *count, sizeof *out, by_name);
	return 0;
}

uint64_t cli_process_resident_bytes(const struct cli_process *process)
{
	char path[64];
	unsigned long long pages = 0;
	snprintf(path, sizeof path, "/proc/%d/statm", (int)process->pid);
	FILE *f = fopen(path, "r");
	if (f == NULL)
		return 0;
	int fields = fscanf(f, "%*u %llu", &pages);
	fclose(f);
	return fields == 1 ? pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

/* A value of a log line, with the escapes undone that the log put before a quotation mark or a backslash. */
static size_t value_read(const char *text, char *out, size_t out_bytes)
{
	const bool quoted = *text == '"';
	size_t len = 0;
	for (text += quoted; *text != '\0' && *text != '\n' && *text != (quoted ? '"' : ' '); text++) {
		if (quoted && *text == '\\' && (text[1] == '"' || text[1] == '\\'))
			text++;
		if (len + 1 < out_bytes)
			out[len++] = *text;
	}
	out[len] = '\0';
	return len;
}

/* The end of a log, from byte `from` on: whole lines of the last `bytes - 1` at most. */
static void tail_read(const char *log_path, int64_t from, char *tail, size_t bytes)
{
	tail[0] = '\0';
	FILE *f = fopen(log_path, "r");
	if (f == NULL)
		return;
	int64_t end = fseek(f, 0, SEEK_END) == 0 ? ftell(f) : 0, first = end - (int64_t)(bytes - 1);
	first = first > from ? first : from;
	if (first < end && fseek(f, (long)first, SEEK_SET) == 0)
		tail[fread(tail, 1, bytes - 1, f)] = '\0';
	fclose(f);
}

/* reason="…" of a line. */
static bool reason_read(const char *line, char *out, size_t out_bytes)
{
	const char *reason = strstr(line, " reason="), *end = strchr(line, '\n');
	if (reason == NULL || (end != NULL && reason > end))
		return false;
	value_read(reason + strlen(" reason="), out, out_bytes);
	return true;
}

void cli_process_last_words(const struct cli_process *process, const char *log_path, char *out, size_t out_bytes)
{
	char tail[LOG_TAIL_BYTES + 1];
	const char *last = NULL;
	tail_read(log_path, process->log_from, tail, sizeof tail);
	for (const char *p = tail; (p = strstr(p, "id=PROCESS-FAILED")) != NULL; p++)
		last = p;
	if (last == NULL || !reason_read(last, out, out_bytes)) {
		snprintf(out, out_bytes, "see %s", log_path);
		return;
	}
	size_t used = strlen(out);
	snprintf(out + used, out_bytes - used, " (%s)", log_path);
}

bool cli_process_last_reason(const struct cli_process *process, const char *log_path, char *out, size_t out_bytes)
{
	char tail[LOG_TAIL_BYTES + 1];
	bool found = false;
	tail_read(log_path, process->log_from, tail, sizeof tail);
	for (const char *p = tail; (p = strstr(p, " level=")) != NULL; p++)
		if (strncmp(p, " level=warn ", 12) == 0 || strncmp(p, " level=error ", 13) == 0)
			found = reason_read(p, out, out_bytes) || found;
	return found;
}
