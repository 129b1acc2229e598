/* recorder.c: a library for LD_PRELOAD that writes down, in order, every write to files below TORTURE_DISK_UNDER and
 * every sync of them, into TORTURE_DISK_LOG (disk_log.h); and lets syncs fail. One operation at a time: the log's order
 * is the order in which they were done. Without these variables it does nothing. TORTURE_DISK_EIO=N  the N-th sync
 * (fsync, fdatasync, a write to a descriptor opened with O_DSYNC) fails once with EIO */
#include "tests/torture/disk_log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FDS_MAX 1024
#define PUBLIC  __attribute__((visibility("default")))

enum fd_kind { FD_UNKNOWN, FD_OTHER, FD_OURS };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct fd {
	enum fd_kind kind;
	bool dsync;
	uint32_t file;
} fds[FDS_MAX];
static const char *under;
static int log_fd = -1;
static long eio_in;
static uint32_t file_count;
static char paths[FDS_MAX][256];

__attribute__((constructor)) static void recorder_start(void)
{
	const char *path = getenv("TORTURE_DISK_LOG"), *eio = getenv("TORTURE_DISK_EIO");
	under = getenv("TORTURE_DISK_UNDER");
	eio_in = eio != NULL ? atol(eio) : 0;
	if (under != NULL && path != NULL)
		log_fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

static uint64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void log_write(const struct disk_op *op, const void *bytes)
{
	struct iovec parts[2] = { { (void *)(uintptr_t)op, sizeof *op }, { (void *)(uintptr_t)bytes, op->byte_count } };
	if (log_fd >= 0 &&
	    syscall(SYS_writev, log_fd, parts, op->byte_count > 0 ? 2 : 1) != (ssize_t)(sizeof *op + op->byte_count))
		abort(); /* a history with holes proves nothing */
}

static uint32_t file_number(const char *path)
{
	for (uint32_t i = 0; i < file_count; i++)
		if (strcmp(paths[i], path) == 0)
			return i;
	if (file_count == FDS_MAX || strlen(path) >= sizeof paths[0])
		abort();
	snprintf(paths[file_count], sizeof paths[0], "%s", path);
	struct disk_op op = { DISK_FILE, file_count, now_ns(), now_ns(), 0, strlen(path) };
	log_write(&op, path);
	return file_count++;
}

/* With the lock. NULL: no regular file below the folder. */
static struct fd *fd_of(int fd)
{
	char link[32], path[PATH_MAX];
	struct stat st;
	if (under == NULL || fd <= STDERR_FILENO || fd >= FDS_MAX || fd == log_fd)
		return NULL;
	struct fd *f = &fds[fd];
	if (f->kind == FD_UNKNOWN) {
		f->kind = FD_OTHER;
		snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
		ssize_t len = readlink(link, path, sizeof path - 1);
		path[len > 0 ? len : 0] = '\0';
		if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && strncmp(path, under, strlen(under)) == 0) {
			f->kind = FD_OURS;
			f->dsync = (fcntl(fd, F_GETFL) & O_DSYNC) != 0;
			f->file = file_number(path + strlen(under));
		}
	}
	return f->kind == FD_OURS ? f : NULL;
}

static bool sync_fails(void)
{
	return eio_in > 0 && --eio_in == 0;
}

static ssize_t written(struct fd *f, int fd, const void *bytes, size_t byte_count, off_t offset)
{
	struct disk_op op = { f->dsync ? DISK_SYNCED : DISK_WRITE, f->file, now_ns(), 0, (uint64_t)offset, 0 };
	if (f->dsync && sync_fails()) {
		errno = EIO;
		return -1;
	}
	ssize_t n = syscall(SYS_pwrite64, fd, bytes, byte_count, offset);
	int errnum = errno;
	op.end_ns = now_ns();
	op.byte_count = n > 0 ? (uint64_t)n : 0;
	if (n > 0)
		log_write(&op, bytes);
	errno = errnum;
	return n;
}

PUBLIC ssize_t pwrite(int fd, const void *bytes, size_t byte_count, off_t offset)
{
	pthread_mutex_lock(&lock);
	struct fd *f = fd_of(fd);
	ssize_t n = f != NULL ? written(f, fd, bytes, byte_count, offset)
			      : syscall(SYS_pwrite64, fd, bytes, byte_count, offset);
	pthread_mutex_unlock(&lock);
	return n;
}

PUBLIC ssize_t pwrite64(int fd, const void *bytes, size_t byte_count, off64_t offset)
{
	return pwrite(fd, bytes, byte_count, offset);
}

PUBLIC ssize_t write(int fd, const void *bytes, size_t byte_count)
{
	if (under == NULL)
		return syscall(SYS_write, fd, bytes, byte_count);
	pthread_mutex_lock(&lock);
	struct fd *f = fd_of(fd);
	ssize_t n;
	if (f == NULL) {
		pthread_mutex_unlock(&lock);
		return syscall(SYS_write, fd, bytes, byte_count); /* may block */
	}
	off_t at = lseek(fd, 0, fcntl(fd, F_GETFL) & O_APPEND ? SEEK_END : SEEK_CUR);
	n = written(f, fd, bytes, byte_count, at);
	if (n > 0)
		(void)lseek(fd, at + n, SEEK_SET);
	pthread_mutex_unlock(&lock);
	return n;
}

static ssize_t vector(int fd, const struct iovec *parts, int part_count, off_t offset)
{
	ssize_t total = 0;
	for (int i = 0; i < part_count; i++) {
		ssize_t n = offset < 0 ? write(fd, parts[i].iov_base, parts[i].iov_len)
				       : pwrite(fd, parts[i].iov_base, parts[i].iov_len, offset + total);
		if (n < 0)
			return total > 0 ? total : n;
		total += n;
		if ((size_t)n < parts[i].iov_len)
			break;
	}
	return total;
}

static bool is_ours(int fd)
{
	pthread_mutex_lock(&lock);
	bool ours = fd_of(fd) != NULL;
	pthread_mutex_unlock(&lock);
	return ours;
}

PUBLIC ssize_t writev(int fd, const struct iovec *parts, int part_count)
{
	return is_ours(fd) ? vector(fd, parts, part_count, -1) : syscall(SYS_writev, fd, parts, part_count);
}

PUBLIC ssize_t pwritev(int fd, const struct iovec *parts, int part_count, off_t offset)
{
	return is_ours(fd) ? vector(fd, parts, part_count, offset)
			   : syscall(SYS_pwritev, fd, parts, part_count, offset, 0L);
}

PUBLIC ssize_t pwritev64(int fd, const struct iovec *parts, int part_count, off64_t offset)
{
	return pwritev(fd, parts, part_count, offset);
}

static int synced(int fd, long number)
{
	pthread_mutex_lock(&lock);
	struct fd *f = fd_of(fd);
	struct disk_op op = { DISK_SYNC, f != NULL ? f->file : 0, now_ns(), 0, 0, 0 };
	int rc = -1, errnum = EIO;
	if (f == NULL || !sync_fails()) {
		rc = (int)syscall(number, fd);
		errnum = errno;
	}
	op.end_ns = now_ns();
	if (f != NULL && rc == 0)
		log_write(&op, NULL);
	pthread_mutex_unlock(&lock);
	errno = errnum;
	return rc;
}

PUBLIC int fsync(int fd)
{
	return synced(fd, SYS_fsync);
}

PUBLIC int fdatasync(int fd)
{
	return synced(fd, SYS_fdatasync);
}

PUBLIC int ftruncate(int fd, off_t length)
{
	pthread_mutex_lock(&lock);
	struct fd *f = fd_of(fd);
	struct disk_op op = { DISK_CUT, f != NULL ? f->file : 0, now_ns(), 0, (uint64_t)length, 0 };
	int rc = (int)syscall(SYS_ftruncate, fd, length);
	op.end_ns = now_ns();
	if (f != NULL && rc == 0)
		log_write(&op, NULL);
	pthread_mutex_unlock(&lock);
	return rc;
}

PUBLIC int ftruncate64(int fd, off64_t length)
{
	return ftruncate(fd, length);
}

PUBLIC int close(int fd)
{
	if (fd >= 0 && fd < FDS_MAX && under != NULL) {
		pthread_mutex_lock(&lock);
		fds[fd].kind = FD_UNKNOWN;
		pthread_mutex_unlock(&lock);
	}
	return (int)syscall(SYS_close, fd);
}
