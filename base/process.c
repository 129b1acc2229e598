/* process.c: see process.h. */
#include "base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define MAP_LINE_BYTES 1024 /* of /proc/self/maps; the rest of a longer one is passed over */

uint64_t process_resident_bytes(void)
{
	unsigned long long pages = 0;
	FILE *f = fopen("/proc/self/statm", "re");
	if (f == NULL)
		return 0;
	int fields = fscanf(f, "%*u %llu", &pages);
	fclose(f);
	return fields == 1 ? (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

void process_keep_secrets(void)
{
	const struct rlimit none = { 0, 0 };
	(void)setrlimit(RLIMIT_CORE, &none);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
}

int process_open_files(uint64_t least, uint64_t most, struct err *e)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return err_errno(e, ERR_IO, errno, "the limit of open files");
	const rlim_t wanted = limit.rlim_max < most ? limit.rlim_max : most;
	if (limit.rlim_cur < wanted) {
		const struct rlimit more = { wanted, limit.rlim_max };
		if (setrlimit(RLIMIT_NOFILE, &more) == 0)
			limit.rlim_cur = wanted;
	}
	if (limit.rlim_cur >= least)
		return 0;
	return err_set(e, ERR_LIMIT,
		       "this process may open %" PRIu64 " files, and needs %" PRIu64
		       ": raise the limit (`ulimit -n`, LimitNOFILE= of a systemd unit)",
		       (uint64_t)limit.rlim_cur, least);
}

/* --- In a signal handler: calls that POSIX allows there (signal-safety(7)), and no memory but the stack. */

static const char *hex_read(const char *at, uintptr_t *out)
{
	for (*out = 0;; at++) {
		const char c = *at;
		if (c >= '0' && c <= '9')
			*out = *out << 4 | (uintptr_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			*out = *out << 4 | (uintptr_t)(c - 'a' + 10);
		else
			return at;
	}
}

/* Of a line "START-END PERMS OFFSET DEVICE INODE   PATH" with that address: its path. */
static const char *line_path(const char *line, uintptr_t address)
{
	uintptr_t start, end;
	const char *at = hex_read(line, &start);
	if (*at != '-')
		return NULL;
	(void)hex_read(at + 1, &end);
	return address >= start && address < end ? strchr(line, '/') : NULL;
}

static void say(const char *text)
{
	if (write(STDERR_FILENO, text, strlen(text)) < 0)
		return; /* nobody is left to tell */
}

static void path_say(const char *path)
{
	say("level=error id=PROCESS-BUS-ERROR file=\"");
	say(path);
	say("\" reason=\"a mapped file was cut or cannot be read: look at its disk (`amend store verify` for a data "
	    "folder, the file's hash for a model), restore it, and start again\"\n");
}

static void on_bus_error(int number, siginfo_t *info, void *context)
{
	const int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	char line[MAP_LINE_BYTES], bytes[1024];
	const char *found = NULL;
	size_t len = 0;
	ssize_t n;
	(void)context;
	while (fd >= 0 && found == NULL && (n = read(fd, bytes, sizeof(bytes))) > 0) {
		for (ssize_t i = 0; i < n && found == NULL; i++) {
			if (bytes[i] != '\n' && len + 1 < sizeof(line))
				line[len++] = bytes[i];
			if (bytes[i] != '\n')
				continue;
			line[len] = '\0';
			len = 0;
			found = line_path(line, (uintptr_t)info->si_addr);
		}
	}
	path_say(found != NULL ? found : "(not known)");
	/* SA_RESETHAND: what failed is tried again and ends the process as if there were no handler; a signal that
	 * somebody sent is sent again */
	if (info->si_code <= 0)
		raise(number);
}

void process_name_bus_errors(void)
{
	struct sigaction action = { .sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | (int)SA_RESETHAND };
	(void)sigemptyset(&action.sa_mask);
	(void)sigaction(SIGBUS, &action, NULL);
}
